// http.h: HTTP requests answered by an actor. Part of the C++ SDK; include it beside umbel.h.
//
// Why.    The plugin `http` speaks to clients (syntax, limits, deadlines, slow ones, drains); an actor of another plugin that
//         wants to answer some of their requests should only have to say which, and how:
//
//             umbel::http::serve(me, "/hello", [](umbel::self&, const umbel::http::request& ask, umbel::http::response& answer) {
//                 answer.body("Hello, " + ask.parameter("name").value_or("world") + "!\n");
//             });
//
// Shape.  `serve` registers a path with http's gates (one on each executor, by the name "http.N") and answers for ever. A
//         path that ends with '/' stands for itself and all below, another for itself; the longest wins, and routes go before
//         files. Several actors may serve one path: a request goes to one of its own executor if there is one. `server` is
//         the same in pieces, for an actor with several paths or messages of its own. What travels is in http_wire.h.
// Owner.  The serving actor. Requests are answered one at a time: for more at once spawn several actors.
//
// What http sees to.  A handler that takes longer than `route_timeout`: the client gets 504, and write() says false. An actor
//         that has ended: 502, until another serves the path. One whose mailbox is full: 503. A client that has gone away, its side of the connection closed:
//         the request is not handed to the handler any more, or write() says false. Requests have come whole, at most
//         `body_limit` long. HEAD is answered with the head of the handler's answer.
// What the handler decides.  Which methods it answers (allow()). An exception that leaves it is logged and answered with 500.
// Refused. Headers that http writes itself (Content-Length, Transfer-Encoding, Connection, Date, Keep-Alive, Upgrade, Trailer),
//         names that are no tokens and values with control characters: the answer is then 500, and a warning says why.
#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "umbel/http_wire.h"
#include "umbel/umbel.h"

// Each plugin has its own copy of everything here: nothing of it is exported.
#pragma GCC visibility push(hidden)
namespace umbel::http {

/// A request as the handler sees it; valid while the handler runs.
class request {
public:
    explicit request(wire::request_text text) : text_(std::move(text)) {}
    [[nodiscard]] std::string_view method() const { return text_.method; }
    /// As the client wrote it, with its query.
    [[nodiscard]] std::string_view target() const { return text_.target; }
    /// Decoded once and normalised: "/a b/c". A slash at its end stays.
    [[nodiscard]] std::string_view path() const { return text_.path; }
    /// Behind the '?', as the client wrote it; "" if there is none.
    [[nodiscard]] std::string_view query() const {
        const std::string_view target = text_.target.substr(0, text_.target.find('#'));
        const std::size_t mark = target.find('?');
        return mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
    }
    /// The first parameter of this name in the query, decoded; nullopt: there is none.
    [[nodiscard]] std::optional<std::string> parameter(std::string_view name) const {
        return wire::query_parameter(query(), name);
    }
    /// The value of the first header of this name, whatever its capitals; nullopt: there is none.
    [[nodiscard]] std::optional<std::string_view> header(std::string_view name) const {
        for (const auto& [known, value] : text_.headers) {
            if (wire::same_name(known, name)) return value;
        }
        return std::nullopt;
    }
    /// All of them, in the client's order.
    [[nodiscard]] const std::vector<std::pair<std::string_view, std::string_view>>& headers() const {
        return text_.headers;
    }
    [[nodiscard]] std::string_view body() const { return text_.body; }
    /// The client's address, "127.0.0.1:41234".
    [[nodiscard]] std::string_view peer() const { return text_.peer; }

private:
    wire::request_text text_;
};

class server;

/// The answer to one request: 200 with no body, until it is said otherwise.
class response {
public:
    response& status(int status) {
        status_ = status;
        return *this;
    }
    response& header(std::string_view name, std::string_view value) {
        if (!wire::header_allowed(name, value)) {
            refused_ = name;
        } else {
            headers_.append(name).append(": ").append(value).append("\r\n");
        }
        return *this;
    }
    /// Content-Type.
    response& type(std::string_view type) { return header("Content-Type", type); }
    /// The whole body.
    response& body(std::string text) {
        body_ = std::move(text);
        return *this;
    }
    /// 405: only these methods are answered here ("GET, HEAD").
    response& allow(std::string_view methods) { return status(405).header("Allow", methods).body({}); }
    /// Sends a piece of the body at once, and waits while the client has not taken enough of what came before. The head
    /// goes out with the first piece. False: nobody wants the rest. Waits.
    bool write(std::string_view piece);

private:
    friend class server;
    response(server& owner, self& me, wire::exchange_id id) : owner_(owner), me_(me), id_(id) {}
    void fail();
    [[nodiscard]] std::string head(std::int64_t length) const {
        return wire::encode_answer_head(status_, headers_, length);
    }

    server& owner_;
    self& me_;
    wire::exchange_id id_;
    int status_ = 200;
    std::string headers_;
    std::string body_;
    std::string refused_;  // the name of a header that was refused
    bool streaming_ = false;
    bool gone_ = false;  // nobody wants the answer
};

using handler = std::function<void(self&, const request&, response&)>;

/// Paths and their handlers, served by one actor.
class server {
public:
    explicit server(self& me) : me_(me) {}
    server(const server&) = delete;
    server& operator=(const server&) = delete;

    /// Registers a path with all of http's gates, waiting for http to come up for a while. Fails the actor with a sentence
    /// if there is no http, or another plugin's path is in the way. Waits.
    void on(std::string path, handler answers) {
        if (!path.starts_with('/') || path.size() > wire::path_max)
            me_.fail("http: not the path of a route: \"" + path + "\"; it begins with '/' and has at most " +
                     std::to_string(wire::path_max) + " bytes");
        for (std::uint32_t i = 0; i < me_.executor_count(); ++i) join(i, path);
        routes_[std::move(path)] = std::move(answers);
    }
    /// What to do with messages that are not http's; without it they are dropped.
    void on_message(std::function<void(self&, message&)> others) { others_ = std::move(others); }

    /// Answers for ever: what is in flight when the daemon drains is still answered.
    [[noreturn]] void run() {
        for (;;) {
            // What has come meanwhile may say that some of the requests are nobody's any more.
            while (auto next = me_.receive_within(nanoseconds(0))) take(*next);
            if (!ready_.empty()) {
                answer_first();
            } else {
                message next = me_.receive();
                take(next);
            }
        }
    }
    /// For an actor with a loop of its own: true if the message was http's, and has been dealt with. Waits.
    bool handle(message& next) {
        const bool taken = take_own(next);
        while (taken && !ready_.empty()) answer_first();
        return taken;
    }

private:
    friend class response;
    using key = std::pair<umbel_actor_id, std::uint64_t>;  // a session and its exchange

    // A request of which parts are still to come.
    struct incoming {
        key id{};
        std::string bytes{};
        std::uint32_t next_part = 0;
        bool asked = false;  // for its further parts
        nanoseconds deadline{0};
    };
    // An answer that its session has not had room for yet.
    struct outgoing {
        key id{};
        std::string bytes{};
        std::size_t sent = 0;
        std::uint32_t next_part = 0;
        std::uint32_t room = wire::answer_window;  // parts that may be sent
        bool last = false;                         // nothing will be added
        nanoseconds deadline{0};                   // for the session to ask for more
    };

    static constexpr std::size_t waiting_max = 1024;         // requests that wait here
    static constexpr std::size_t outgoing_bytes = 64 << 20;  // of answers that wait here
    static constexpr auto patience = std::chrono::seconds(10);
    static constexpr auto part_patience = std::chrono::seconds(60);

    void join(std::uint32_t executor, const std::string& path) {
        const std::string name = wire::gate_name(executor);
        const nanoseconds deadline = me_.now() + patience;
        actor_id gate;
        while (!(gate = me_.whereis(name))) {
            if (me_.now() >= deadline) {
                std::string why = "http: cannot serve " + path;
                why.append(": no actor has the name ").append(name);
                me_.fail(why.append("; is there a section [plugin.http] in the config file?"));
            }
            me_.sleep(std::chrono::milliseconds(20));
        }
        std::string text = wire::encode_join(me_.executor(), path);
        (void)me_.send_to(gate, wire::type_join, std::as_bytes(std::span(text)));
        while (me_.now() < deadline) {
            auto got = me_.receive_within(deadline - me_.now());
            if (!got) break;
            if (const auto* joined = got->as<wire::joined>(); joined != nullptr && got->sender() == gate) {
                if (joined->status == 0) return;
                me_.fail("http: cannot serve " + path + ": " +
                         (joined->status == UMBEL_E_NAME_TAKEN ? "another plugin serves it"
                                                               : std::string(error{joined->status}.message())));
            }
            take(*got);
        }
        me_.fail("http: cannot serve " + path + ": " + name + " does not answer");
    }

    void take(message& next) {
        if (!take_own(next) && others_) others_(me_, next);
    }

    bool take_own(message& next) {
        if (!next.from_actor()) return false;
        switch (next.type()) {
            case wire::type_ask:
                take_part(next);
                return true;
            case wire::type_more:
                if (const auto* more = next.as<wire::more>())
                    take_room({next.sender().value, more->exchange}, more->parts);
                return true;
            case wire::type_cancel:
                if (const auto* cancel = next.as<wire::cancel>()) drop({next.sender().value, cancel->exchange});
                return true;
            case wire::type_joined:
                return true;  // To a question that was given up.
            default:
                return false;
        }
    }

    void take_part(message& next) {
        wire::part part;
        std::string_view bytes;
        if (!wire::decode_part(next.bytes(), part, bytes)) return;
        const key id{next.sender().value, part.exchange};
        if (part.number == 0) {
            forget_late();
            if (ready_.size() + assembling_.size() >= waiting_max) {
                (void)send_part(id, 0, true, wire::encode_answer_head(503, {}, 0));
                return;
            }
            assembling_.push_back({.id = id, .bytes = {}, .deadline = me_.now() + part_patience});
        }
        const auto found = std::ranges::find(assembling_, id, &incoming::id);
        if (found == assembling_.end() || found->next_part != part.number) return;
        ++found->next_part;
        found->bytes.append(bytes);
        if (part.last != 0) {
            ready_.push_back(std::move(*found));
            assembling_.erase(found);
        }
        // One long request at a time: what the others have not sent yet waits with them, not here.
        while (!assembling_.empty() && (!assembling_.front().asked || part.number != 0)) {
            assembling_.front().asked = true;
            const auto front = assembling_.front().id;
            if (me_.send_to(actor_id{front.first}, wire::more{front.second, 1})) break;
            assembling_.pop_front();  // It has ended.
        }
    }

    // A session that has ended without a word must not keep the others' requests waiting.
    void forget_late() {
        const nanoseconds now = me_.now();
        std::erase_if(assembling_, [&](const incoming& one) { return one.deadline < now; });
        std::erase_if(sending_, [&](const outgoing& one) { return one.last && one.deadline < now; });
    }

    void take_room(const key& id, std::uint32_t parts) {
        const auto found = std::ranges::find(sending_, id, &outgoing::id);
        if (found == sending_.end()) return;
        found->room += parts;
        if (!push(*found) || (found->last && found->sent == found->bytes.size())) sending_.erase(found);
    }

    void drop(const key& id) {
        const auto same = [&](const auto& one) { return one.id == id; };
        std::erase_if(assembling_, same);
        std::erase_if(ready_, same);
        std::erase_if(sending_, same);
    }

    bool send_part(const key& id, std::uint32_t number, bool last, std::string_view bytes) {
        const std::string text = wire::encode_part({id.second, number, last ? 1U : 0U}, bytes);
        return me_.send_to(actor_id{id.first}, wire::type_answer, std::as_bytes(std::span(text))).has_value();
    }

    // Sends what there is room for. False: nobody takes it.
    bool push(outgoing& one) {
        one.deadline = me_.now() + part_patience;
        while (one.room > 0 && (one.sent < one.bytes.size() || (one.last && one.next_part == 0))) {
            const std::size_t size = std::min(one.bytes.size() - one.sent, wire::part_max);
            const bool last = one.last && one.sent + size == one.bytes.size();
            if (!send_part(one.id, one.next_part, last, std::string_view(one.bytes).substr(one.sent, size)))
                return false;
            ++one.next_part;
            --one.room;
            one.sent += size;
        }
        if (one.sent == one.bytes.size() || one.sent > (1U << 20)) {
            one.bytes.erase(0, one.sent);
            one.sent = 0;
        }
        return true;
    }

    void answer_first() {
        incoming first = std::move(ready_.front());
        ready_.pop_front();
        const wire::exchange_id id{first.id.first, first.id.second};
        response answer(*this, me_, id);
        auto text = wire::decode_request(first.bytes);
        const handler* const answers = text ? find(text->path) : nullptr;
        if (!text) {
            answer.status(400);
        } else if (answers == nullptr) {
            answer.status(404);
        } else {
            try {
                (*answers)(me_, request(std::move(*text)), answer);
            } catch (const std::exception& failure) {
                me_.log_error(std::string("http: a handler failed: ").append(failure.what()));
                answer.fail();
            }
        }
        finish(answer);
    }

    const handler* find(std::string_view path) const {
        const handler* found = nullptr;
        std::size_t longest = 0;
        for (const auto& [of, answers] : routes_) {
            const bool matches = of.ends_with('/') ? path.starts_with(of) : path == of;
            if (matches && of.size() >= longest) {
                found = &answers;
                longest = of.size();
            }
        }
        return found;
    }

    void finish(response& answer);
    // Waits until there is room for the rest of a streamed answer; takes messages meanwhile. False: nobody wants it.
    bool wait_for_room(const key& id, std::size_t at_most) {
        const nanoseconds deadline = me_.now() + part_patience;
        for (;;) {
            const auto found = std::ranges::find(sending_, id, &outgoing::id);
            if (found == sending_.end()) return false;
            if (found->bytes.size() - found->sent <= at_most) return true;
            const nanoseconds left = deadline - me_.now();
            auto next = left > nanoseconds(0) ? me_.receive_within(left) : std::nullopt;
            if (!next) {
                drop(id);
                return false;
            }
            take(*next);
        }
    }

    self& me_;
    std::map<std::string, handler> routes_;
    std::function<void(self&, message&)> others_;
    std::deque<incoming> assembling_;
    std::deque<incoming> ready_;
    std::deque<outgoing> sending_;
};

inline bool response::write(std::string_view piece) {
    if (gone_ || !refused_.empty()) return false;
    const server::key id{id_.session, id_.exchange};
    if (!streaming_) {
        streaming_ = true;
        owner_.sending_.push_back({.id = id, .bytes = head(wire::unknown_length)});
    }
    const auto found = std::ranges::find(owner_.sending_, id, &server::outgoing::id);
    gone_ = found == owner_.sending_.end();
    if (gone_) return false;
    found->bytes.append(piece);
    if (!owner_.push(*found)) {
        owner_.drop(id);
        gone_ = true;
    } else {
        gone_ = !owner_.wait_for_room(id, wire::part_max);
    }
    return !gone_;
}

// The handler could not answer: 500, or if some of the answer is on its way already, an end that is seen to be none.
inline void response::fail() {
    status_ = 500;
    headers_.clear();
    body_.clear();
    refused_.clear();
    if (!streaming_ || gone_) return;
    const server::key id{id_.session, id_.exchange};
    const auto found = std::ranges::find(owner_.sending_, id, &server::outgoing::id);
    gone_ = true;
    if (found == owner_.sending_.end()) return;
    const std::string text = wire::encode_part({id_.exchange, found->next_part, wire::part_aborted}, {});
    (void)me_.send_to(actor_id{id_.session}, wire::type_answer, std::as_bytes(std::span(text)));
    owner_.drop(id);
}

inline void server::finish(response& answer) {
    if (!answer.refused_.empty() && !answer.streaming_) {
        me_.log_warning("http: the header " + wire::printable(answer.refused_) +
                        " was refused: http writes it itself, or it has characters that no header may have");
        answer.fail();
    }
    const key id{answer.id_.session, answer.id_.exchange};
    if (answer.streaming_) {
        const auto found = std::ranges::find(sending_, id, &outgoing::id);
        if (answer.gone_ || found == sending_.end()) return;
        found->last = true;
        // The end is a part of its own if all else has gone.
        if (found->bytes.empty() && found->next_part > 0) {
            (void)send_part(id, found->next_part, true, {});
            sending_.erase(found);
            return;
        }
        if (!push(*found) || found->bytes.empty()) sending_.erase(found);
        return;
    }
    outgoing whole{.id = id, .bytes = answer.head(static_cast<std::int64_t>(answer.body_.size()))};
    whole.bytes.append(answer.body_);
    whole.last = true;
    if (!push(whole) || whole.bytes.empty()) return;
    std::size_t waiting = whole.bytes.size();
    for (const outgoing& one : sending_) waiting += one.bytes.size();
    sending_.push_back(std::move(whole));
    // Others' answers wait here while their clients take them; but there is an end to it.
    if (waiting > outgoing_bytes) (void)wait_for_room(sending_.front().id, 0);
}

/// Serves one path for ever. A main actor is thereby ready.
[[noreturn]] inline void serve(self& me, std::string path, handler answers) {
    server only(me);
    const std::string announced = "answering " + path;
    only.on(std::move(path), std::move(answers));
    me.ready(announced);
    only.run();
}

}  // namespace umbel::http
#pragma GCC visibility pop
