#include "gate.h"

#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "file_cache.h"
#include "path.h"
#include "response.h"
#include "session.h"
#include "umbel/http_wire.h"

namespace http {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t routes_max = 1024;
constexpr std::size_t answerers_max = 256;  // of one route

class Gate {
public:
    Gate(umbel::self& me, umbel::socket listener, Ref<Site> site, umbel::actor_id cache)
        : me_(me), listener_(std::move(listener)), cache_(cache), site_(std::move(site)) {
        renew();
    }

    [[noreturn]] void run() {
        if (!me_.register_name(umbel::http::wire::gate_name(me_.executor())))
            me_.log_warning("another http plugin has the routes: this one serves files only");
        listen();
        for (;;) {
            auto message = me_.receive();
            if (auto peer = incoming_.fulfilled_by(message)) {
                accepted(std::move(*peer));
            } else if (pause_.fulfilled_by(message)) {
                listen();
            } else {
                take(message);
            }
        }
    }

private:
    // -- connections --

    void listen() {
        if (me_.draining()) return listener_.reset();
        incoming_ = me_.accept_many(listener_);
        if (incoming_.done()) cannot_accept(incoming_.refused());
    }

    void accepted(umbel::result<umbel::socket> peer) {
        if (!peer) {
            if (peer.error().cancelled()) return listener_.reset();  // The daemon drains: nobody new is let in.
            cannot_accept(peer.error());
            return;
        }
        admit(std::move(*peer));
        if (incoming_.done()) listen();
    }

    void cannot_accept(umbel::error why) {
        switch (why.code) {
            case -EBADF:
            case -EINVAL:
            case -ENOTSOCK:
            case UMBEL_E_INVALID:
            case UMBEL_E_UNSUPPORTED:
                me_.fail("cannot accept connections: " + std::string(why.message()));
            default:
                break;  // No descriptors or memory left, a connection that broke early.
        }
        if (!incoming_.done()) return;
        me_.log_warning("cannot accept a connection: " + std::string(why.message()) + "; trying again in 100 ms");
        pause_ = me_.submit(umbel::op::timeout(100ms, {.drains = true}));
    }

    void admit(umbel::socket peer) {
        sockaddr_storage address{};
        socklen_t size = sizeof address;
        std::uint64_t key = 0;
        if (site_->connections_per_address != 0 &&
            getpeername(peer.fd(), reinterpret_cast<sockaddr*>(&address), &size) == 0)
            key = address_key(&address, size);
        const Admission admission = connection_counts().look(key, site_->connections, site_->connections_per_address);
        if (admission != Admission::granted) return turn_away(peer, admission);

        const Served* const served = Ref<Served>(served_).pack();
        if (const auto spawned = me_.spawn<session>(std::move(peer), served, me_.id(), cache_, key); !spawned) {
            (void)Ref<Served>::unpack(served);
            me_.log_warning("connection closed: " + std::string(spawned.error().message()));
        }
    }

    // A moment of the gate's time and no memory: this is what is left when there are too many.
    void turn_away(const umbel::socket& peer, Admission why) {
        static const Page page = status_page(503, "Retry-After: 5\r\n");
        const std::string text = page.head + "Connection: close\r\n\r\n" + page.body;
        (void)::send(peer.fd(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        ++turned_away_;
        const umbel::nanoseconds now = me_.now();
        if (now < quiet_until_) return;
        quiet_until_ = now + 1s;
        me_.log_warning(std::string("connections turned away: ") + std::to_string(turned_away_) + " (" +
                        (why == Admission::too_many ? "connections is reached: " + std::to_string(site_->connections)
                                                    : "connections_per_address is reached: " +
                                                          std::to_string(site_->connections_per_address)) +
                        ")");
        turned_away_ = 0;
    }

    // -- what is served --

    void renew() {
        auto* const fresh = new Served;
        Ref<Served> reference(fresh);
        fresh->site = site_;
        fresh->routes = routes_;
        // release: the new one is complete. Pairs with the acquire in the sessions.
        if (served_) served_->outdated.store(true, std::memory_order_release);
        served_ = std::move(reference);
    }

    void take(umbel::message& message) {
        using namespace umbel::http;
        if (message.as<ServedQuestion>() != nullptr) {
            const ServedAnswer answer{Ref<Served>(served_).pack()};
            if (!me_.send_to(message.sender(), answer)) (void)Ref<Served>::unpack(answer.served);
        } else if (const auto* changed = message.as<SiteChanged>()) {
            site_ = Ref<Site>::unpack(changed->site);
            renew();
            const CacheReset reset{site_->cache_size / me_.executor_count(), site_->cache_valid};
            (void)me_.send_to(cache_, reset);
        } else if (const auto* ended = message.as<AnswererEnded>()) {
            remove(ended->actor);
        } else if (message.type() == wire::type_join && message.from_actor()) {
            join(message);
        }
    }

    // -- routes --

    void join(umbel::message& message) {
        using namespace umbel::http;
        std::uint32_t executor = 0;
        std::string_view path;
        const umbel::actor_id sender = message.sender();
        wire::joined answer{UMBEL_E_INVALID};
        std::string normal;
        if (wire::decode_join(message.bytes(), executor, path) && parse_target(path, normal) == 0 &&
            path.substr(1) == normal)
            answer.status = enter(std::move(normal), {sender, executor});
        if (answer.status == 0) renew();
        (void)me_.send_to(sender, answer);
    }

    std::int32_t enter(std::string path, Route::Answerer answerer) {
        // What the dead have left behind makes room first.
        for (Route& route : routes_)
            std::erase_if(route.answerers, [&](const Route::Answerer& one) { return !me_.alive(one.actor); });
        const auto found = std::ranges::find(routes_, path, &Route::path);
        if (found != routes_.end()) {
            if (found->answerers.size() >= answerers_max) return UMBEL_E_NO_MEMORY;
            const bool again = std::ranges::any_of(
                found->answerers, [&](const Route::Answerer& one) { return one.actor == answerer.actor; });
            if (!again) found->answerers.push_back(answerer);
            return 0;
        }
        if (routes_.size() >= routes_max) return UMBEL_E_NO_MEMORY;
        routes_.push_back({std::move(path), {answerer}});
        std::ranges::sort(routes_, [](const Route& a, const Route& b) { return a.path.size() > b.path.size(); });
        return 0;
    }

    // The route stays, with 502 for its answer: files must not show up where an actor's answers are expected.
    void remove(umbel::actor_id actor) {
        std::size_t removed = 0;
        for (Route& route : routes_)
            removed += std::erase_if(route.answerers, [&](const Route::Answerer& one) { return one.actor == actor; });
        if (removed != 0) renew();
    }

    umbel::self& me_;
    umbel::socket listener_;
    umbel::stream<umbel::socket> incoming_;
    umbel::pending<void> pause_;
    umbel::actor_id cache_;
    Ref<Site> site_;
    std::vector<Route> routes_;  // the longest path first
    Ref<Served> served_;

    std::uint64_t turned_away_ = 0;  // since the last log line
    umbel::nanoseconds quiet_until_{0};
};

}  // namespace

std::uint64_t secret() {
    static const std::uint64_t number = [] {
        std::uint64_t random = 0;
        if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)  // The system has just been started.
            random = static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
        return random;
    }();
    return number;
}

ConnectionCounts& connection_counts() {
    static ConnectionCounts counts(secret());
    return counts;
}

void gate(umbel::self& me, umbel::socket listener, const Site* site, umbel::actor_id cache) {
    Gate(me, std::move(listener), Ref<Site>::unpack(site), cache).run();
}

}  // namespace http
