// connection.h: the bytes of one connection, in and out, with their deadlines.
//
// Why.    A server's loop should read: receive, answer, receive. What makes that hard is kept here: receiving with a
//         deadline that costs nothing while it is not reached, the end of the stream when the daemon drains, messages
//         of others that arrive in between.
// Shape.  One multishot receive brings buffers as they come. One timer is armed for the connection, not one a request:
//         a deadline that moves later leaves it alone, and when it rings too early it is armed again.
// Owner.  The connection's actor, on whose stack it lives.
//
// Invariants
//   I1  bytes are handed out in the order in which they came: early_ before buffer after buffer of input_
//   I2  the timer in flight never rings later than the deadline being waited for
//
// Cost.   A request that comes in one buffer and is answered in time: one message, no timer, no copy.
#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "umbel/umbel.h"

namespace http {

class Connection {
public:
    enum class Arrival : std::uint8_t {
        bytes,    // unread() has some.
        end,      // The client has finished sending.
        late,     // The deadline has passed.
        drained,  // The daemon drains, and the client has sent nothing.
        broken,
    };

    Connection(umbel::self& me, umbel::socket peer, umbel::nanoseconds send_timeout);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    /// What has come and has not been consumed; valid until receive().
    [[nodiscard]] std::string_view unread() const { return buffer_.text().substr(consumed_); }
    void consume(std::size_t size) { consumed_ += size; }

    /// Waits for more; only when unread() is empty. deadline: on the clock of self::now().
    /// busy: a request is under way, and draining does not end it.
    [[nodiscard]] Arrival receive(umbel::nanoseconds deadline, bool busy);
    /// Waits for a message that is none of the connection's own.
    [[nodiscard]] std::optional<umbel::message> receive_other(umbel::nanoseconds within);

    /// Sends the parts, one behind the other, as one; false if the connection is broken or too slow.
    [[nodiscard]] bool send(std::array<std::string_view, 3> parts, int flags = 0);
    /// Sends a buffer as it is, from its start.
    [[nodiscard]] umbel::pending<std::size_t> send(umbel::buffer&& block);

    /// Says that nothing more will be sent, and drops what still comes for a moment: closing at once would reset the
    /// connection, and the client might lose the answer.
    void linger();

private:
    Arrival take(umbel::result<umbel::buffer> received);
    Arrival receive_once(umbel::nanoseconds deadline);
    Arrival receive_last();
    void arm(umbel::nanoseconds deadline);

    umbel::self& me_;
    umbel::nanoseconds send_timeout_;
    umbel::socket peer_;
    umbel::stream<umbel::buffer> input_;
    umbel::pending<void> timer_;
    umbel::nanoseconds timer_rings_{0};
    umbel::buffer buffer_;
    std::size_t consumed_ = 0;
    std::vector<umbel::result<umbel::buffer>> early_;  // came while somebody else's message was waited for
    bool drained_ = false;                             // the stream has been cancelled
};

}  // namespace http
