// connection.h: the bytes of one connection, in and out, with their deadlines.
//
// Why.    A server's loop should read: receive, answer, receive. What makes that hard is kept here: the end of the stream
//         when the daemon drains or buffers run out, messages of others that arrive in between, an answer that is still
//         being taken while the next request is waited for.
// Shape.  One multishot receive brings buffers as they come. A send is submitted and left alone: it is waited for when
//         the next one follows, or flush() asks. The actor is then woken once a request, by the next one.
// Owner.  The connection's actor, on whose stack it lives.
//
// Invariants
//   I1  bytes are handed out in the order in which they came: early_ before buffer after buffer of input_
//   I2  one send is in flight at most: two could change places when the first has to wait for room in the socket
//
// Cost.   A request that comes in one buffer and is answered in time: one wake-up, no copy of it, one of the answer.
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

    Connection(umbel::self& me, umbel::socket peer);
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    /// What has come and has not been consumed; valid until receive().
    [[nodiscard]] std::string_view unread() const { return buffer_.text().substr(consumed_); }
    void consume(std::size_t size) { consumed_ += size; }

    /// Waits for more, at most this long (more than 0); only when unread() is empty.
    /// seen: when the client has last asked for something: if a drain comes soon after, it is given a moment for the request
    /// that may be on its way. `busy`: a request is under way, and draining does not end it.
    static constexpr umbel::nanoseconds busy{-1};
    [[nodiscard]] Arrival receive(umbel::nanoseconds time, umbel::nanoseconds seen);
    /// Waits for a message that is none of the connection's own; also ends when the client has gone away (gone()).
    [[nodiscard]] std::optional<umbel::message> receive_other(umbel::nanoseconds within);
    /// What was received last says that nobody is there any more: the end of the stream, or an error.
    [[nodiscard]] bool gone() const { return gone_; }

    /// Sends a copy of the parts, one behind the other, when the send before it is over. False: the connection is broken
    /// or too slow, and cannot be used any more; of the parts themselves, that shows later.
    [[nodiscard]] bool send(std::array<std::string_view, 3> parts, int flags = 0);
    /// The same with a part of a block behind the parts; a small part is copied, a large one goes as it lies there.
    [[nodiscard]] bool send(std::array<std::string_view, 2> parts, const umbel::shared_block& block, std::size_t offset,
                            std::size_t size, int flags = 0);
    /// The same with a buffer as it is.
    [[nodiscard]] bool send(umbel::buffer&& block, int flags = 0);
    /// Waits until all has been accepted by the client's side. What has not is lost when the connection goes away.
    bool flush();
    /// How long a client may take to accept what one send brings, for each 256 KiB of it.
    void set_send_timeout(umbel::nanoseconds time) { send_timeout_ = time; }
    /// Whatever is sent from now on must be accepted by then, on the clock of self::now(); nanoseconds::max(): any time.
    void set_send_deadline(umbel::nanoseconds deadline) { send_deadline_ = deadline; }
    /// Bytes handed to send() since the connection began.
    [[nodiscard]] std::uint64_t sent() const { return sent_; }

    /// Says that nothing more will be sent, and drops what still comes for a moment: closing at once would reset the
    /// connection, and the client might lose the answer.
    void linger();
    [[nodiscard]] int fd() const { return peer_.fd(); }

private:
    Arrival take(umbel::result<umbel::buffer> received);
    Arrival receive_once(umbel::nanoseconds time);
    Arrival receive_last(umbel::nanoseconds seen);
    umbel::result<umbel::buffer> next(umbel::nanoseconds time);
    bool submit(umbel::operation<std::size_t> send, std::size_t size);

    umbel::self& me_;
    umbel::socket peer_;

    // In.
    umbel::stream<umbel::buffer> input_;
    umbel::buffer buffer_;
    std::size_t consumed_ = 0;
    std::vector<umbel::result<umbel::buffer>> early_;  // came while somebody else's message was waited for
    bool drained_ = false;                             // the stream has been cancelled
    bool stopping_ = false;                            // it was cancelled because early_ has much
    bool gone_ = false;

    // Out.
    umbel::nanoseconds send_timeout_{0};
    umbel::nanoseconds send_deadline_ = umbel::nanoseconds::max();
    std::uint64_t sent_ = 0;
    umbel::pending<std::size_t> sending_;
    std::size_t in_flight_ = 0;  // bytes of sending_
    bool broken_ = false;        // a send has failed
};

}  // namespace http
