// thread_ring: a hundred actors in a ring, one token that goes round. As ping_pong, but with more actors than the nearest
// caches like; with more executors each hand-over goes to the next one.
#include "bench/umbel_bench/measure.h"

namespace umbel::bench {
namespace {

constexpr std::size_t members = 100;

struct Token {
    std::uint64_t passed;
};
struct Next {
    actor_id member;
};
struct Linked {};

class Member {
public:
    Member(self& me, actor_id owner, bool watches, Limit limit) : owner_(owner), watches_(watches), meter_(me, limit) {}
    void on_message(self& me, message& received) {
        if (const auto* next = received.as<Next>()) {
            next_ = next->member;
            (void)me.send_to(received.sender(), Linked{});
        } else if (const auto* token = received.as<Token>()) {
            if (watches_ && meter_.over(me, token->passed)) {
                (void)me.send_to(owner_, Outcome{token->passed, meter_.lasted(me)});
            } else {
                (void)me.send_to(next_, Token{token->passed + 1});
            }
        }
    }

private:
    actor_id owner_;
    actor_id next_;
    bool watches_;
    Meter meter_;
};

void main_actor(self& me) {
    std::vector<actor_id> ring;
    for (std::size_t i = 0; i < members; ++i) {
        const int where = static_cast<int>(i % me.executor_count());
        const auto member = me.spawn_at<Member>(where, me.id(), i == 0, Measure::current->limit());
        if (!member) me.fail("cannot spawn");
        ring.push_back(*member);
    }
    for (std::size_t i = 0; i < members; ++i) (void)me.send_to(ring[i], Next{ring[(i + 1) % members]});
    for (std::size_t linked = 0; linked < members;) linked += me.receive().as<Linked>() != nullptr ? 1 : 0;
    (void)me.send_to(ring[0], Token{0});
    end_with_outcome(me);
}

constexpr umbel_plugin plugin = plugin_of<main_actor>("thread_ring");

int run(const BenchOptions& options) { return Measure(plugin, options).run("thread_ring", ""); }

}  // namespace

const Benchmark thread_ring{"thread_ring", "a token goes round a ring of 100 actors", run};

}  // namespace umbel::bench
