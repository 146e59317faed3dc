// poll_reads.cpp: several descriptors polled, several reads in flight, each matched with its message as it is fulfilled.
// See README.md.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string>
#include <utility>

#include "umbel/umbel.h"

namespace {

using namespace std::chrono_literals;

constexpr std::size_t pipes = 3;

// Writes to its pipe after a while, and ends; which closes its end of the pipe.
void writer(umbel::self& me, umbel::file pipe, std::size_t number, umbel::nanoseconds pause) {
    me.sleep(pause);
    const std::string text = "written by " + std::to_string(number);
    if (const auto written = me.await(me.write(pipe, std::as_bytes(std::span(text)))); !written)
        me.fail("write: " + std::string(written.error().message()));
}

struct Source {
    umbel::file pipe;
    umbel::pending<std::size_t> polled;
    umbel::pending<umbel::buffer> read;
};

void main_actor(umbel::self& me) {
    std::array<Source, pipes> sources;
    for (std::size_t i = 0; i < pipes; ++i) {
        // pipe2 does not block, so it needs no operation. What it makes is closed by the `file`s that hold it.
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) me.fail("pipe2 failed");
        sources[i].pipe = umbel::file(me.raw(), ends[0]);
        sources[i].polled = me.poll(ends[0], POLLIN);
        // The last writer writes first.
        const umbel::nanoseconds pause = 10ms * (pipes - i);
        if (const auto spawned = me.spawn<writer>(umbel::file(me.raw(), ends[1]), i, pause); !spawned)
            me.fail("cannot spawn a writer: " + std::string(spawned.error().message()));
    }

    // Each message is offered to each pending; the one it fulfils takes it. What arrives first is handled first.
    std::string order;
    for (std::size_t done = 0; done < pipes;) {
        umbel::message message = me.receive();
        for (std::size_t i = 0; i < pipes; ++i) {
            Source& source = sources[i];
            if (const auto events = source.polled.fulfilled_by(message)) {
                if (!*events) me.fail("poll: " + std::string(events->error().message()));
                me.log_info("pipe " + std::to_string(i) + " is readable: events " + std::to_string(**events));
                source.read = me.read(source.pipe, 64);  // The other polls, and other reads, stay in flight.
            } else if (const auto got = source.read.fulfilled_by(message)) {
                if (!*got) me.fail("read: " + std::string(got->error().message()));
                me.log_info("pipe " + std::to_string(i) + ": \"" + std::string((*got)->text()) + "\"");
                order += order.empty() ? std::to_string(i) : ", " + std::to_string(i);
                ++done;
            } else {
                continue;
            }
            break;
        }
    }
    me.ready("read " + std::to_string(pipes) + " pipes, in the order " + order);
}

}  // namespace

UMBEL_PLUGIN(.setting_count = 0, .settings = nullptr, .name = "poll_reads", .version = "0.1.0",
             .description = "Example: polls and reads in flight, matched as they are fulfilled", .load = umbel::load<>,
             .unload = nullptr, .main = &umbel::actor_type<main_actor>, .main_placement = UMBEL_MAIN_ONCE,
             .reserved = 0);
