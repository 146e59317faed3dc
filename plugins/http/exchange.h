// exchange.h: one request that another actor answers, from the session's side.
//
// Why.    The other actor may be slow, have ended, or answer nonsense, and the client may go away: whatever happens, there is
//         an end to the waiting, and the client gets a status that says what it was.
// Shape.  ask() sends the request, part by part as the actor asks for them, and waits for the head of the answer; then
//         next() gives the body, piece by piece. The session's other messages are not lost: Connection keeps its own.
// Owner.  The session's actor, on whose stack it lives. One that goes out of scope before the end cancels the exchange.
//
// Invariants
//   E1  while it waits, an operation is in flight (a timeout): a drain waits for it
//   E2  messages of other exchanges, and of other actors, are dropped
//
// Source. umbel/http_wire.h.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "connection.h"
#include "site.h"
#include "umbel/http_wire.h"
#include "umbel/umbel.h"

namespace http {

class Exchange {
public:
    enum class End : std::uint8_t {
        answered,   // head() is complete.
        refused,    // 503: its mailbox is full.
        died,       // 502: it has ended.
        invalid,    // 502: what it sent is no answer.
        late,       // 504
        abandoned,  // Nobody waits any more: the client has gone away.
    };

    Exchange(umbel::self& me, Connection& wire, umbel::actor_id answerer, std::uint64_t number,
             umbel::nanoseconds timeout, std::size_t head_limit)
        : me_(me), wire_(wire), answerer_(answerer), number_(number), timeout_(timeout), head_limit_(head_limit) {}
    Exchange(const Exchange&) = delete;
    Exchange& operator=(const Exchange&) = delete;
    ~Exchange();

    /// block: the encoded request. Waits.
    [[nodiscard]] End ask(std::string_view block);
    [[nodiscard]] const umbel::http::wire::answer_head& head() const { return head_; }
    [[nodiscard]] std::string_view headers() const { return headers_; }

    /// The next piece of the body, valid until next(); "" and last: it is whole. Waits. Not `answered`: it will never be.
    struct Piece {
        End end = End::answered;
        std::string_view bytes;
        bool last = false;
    };
    [[nodiscard]] Piece next();

private:
    enum class Wanted : std::uint8_t { nothing, part, room };

    bool send_part(std::string_view block);
    End wait(Wanted& came);

    umbel::self& me_;
    Connection& wire_;
    umbel::actor_id answerer_;
    std::uint64_t number_;
    umbel::nanoseconds timeout_;
    std::size_t head_limit_;

    std::uint32_t sent_parts_ = 0;
    std::uint32_t got_parts_ = 0;
    bool last_sent_ = false;
    bool last_got_ = false;
    bool open_ = false;  // the actor may be working for us
    std::string bytes_;  // of the answer, that have come and have not been handed out
    std::string piece_;
    umbel::http::wire::answer_head head_;
    std::string headers_;
};

}  // namespace http
