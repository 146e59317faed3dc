// simulation.h: runtime/testkit/simulation.h for our own tests: one plugin, "test", and GoogleTest's way of saying no.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "runtime/testkit/simulation.h"

namespace umbel::test {

using rt::SimulationOptions;

class Simulation : public rt::Simulation {
public:
    explicit Simulation(std::uint64_t seed, const SimulationOptions& options = {}) : rt::Simulation(seed, options) {
        add_plugin("test");
    }

    void spawn_main(umbel_actor_type& type, std::size_t executor = 0) {
        ASSERT_TRUE(rt::Simulation::spawn_main(type, executor, 0));
    }

    /// What must hold when all actors have ended and everything is over.
    void expect_nothing_left() {
        for (const std::string& what : left_behind()) ADD_FAILURE() << "left behind: " << what;
    }

    /// What the executors have reported, one line each; for people who look into a failure.
    [[nodiscard]] std::string log() {
        std::string lines;
        take_events([&lines](const rt::LogRecord& record) {
            const rt::Event& event = record.event;
            lines += std::string(rt::describe(event.kind).name) + " executor " +
                     std::to_string(rt::index_of(event.executor)) + " actor " + std::to_string(event.actor) + " " +
                     std::string(record.text) + "\n";
        });
        return lines;
    }
};

}  // namespace umbel::test
