#include "connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

namespace http {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t single_receive = 16 << 10;
// Up to here, one operation with a copy is cheaper than lending.
constexpr std::size_t copied_at_most = 8 << 10;
constexpr std::size_t timed_block = 256 << 10;
constexpr std::size_t linger_bytes = 1 << 20;
constexpr auto linger_time = 1s;
constexpr std::size_t early_most = 16;
constexpr auto lately = 10s;
constexpr auto grace = 1s;

// A stream needs room in the mailbox; without it, what the client has sent waits in the socket.
bool ran_dry(const umbel::error& error) { return error.code == UMBEL_E_MAILBOX_FULL; }

// The stream has ended, but the connection has not.
bool ran_dry_or_drained(const umbel::result<umbel::buffer>& received) {
    return !received && (ran_dry(received.error()) || received.error().cancelled());
}

}  // namespace

Connection::Connection(umbel::self& me, umbel::socket peer) : me_(me), peer_(std::move(peer)) {}

Connection::Arrival Connection::receive(umbel::nanoseconds time, umbel::nanoseconds seen) {
    buffer_.reset();
    consumed_ = 0;
    Arrival arrival = Arrival::drained;
    if (!early_.empty() || !drained_) {
        auto received = next(time);
        arrival = !received && ran_dry(received.error()) ? receive_once(time) : take(std::move(received));
    }
    if (arrival != Arrival::drained) return arrival;
    drained_ = true;
    return seen == busy ? receive_once(time) : receive_last(seen);
}

umbel::result<umbel::buffer> Connection::next(umbel::nanoseconds time) {
    if (!early_.empty()) {
        auto first = std::move(early_.front());
        early_.erase(early_.begin());
        return first;
    }
    for (;;) {
        if (input_.done()) input_ = me_.recv_many(peer_, {.drains = true});
        auto received = me_.next_within(input_, time);
        const bool stopped = stopping_ && !received && received.error().cancelled();
        if (!stopped) return received;
        stopping_ = false;  // By receive_other(); if it was a drain, the next stream says so again.
    }
}

std::optional<umbel::message> Connection::receive_other(umbel::nanoseconds within) {
    if (!flush()) return std::nullopt;
    const umbel::nanoseconds deadline = me_.now() + within;
    for (umbel::nanoseconds now = me_.now(); now < deadline; now = me_.now()) {
        auto message = me_.receive_within(deadline - now);
        if (!message) return std::nullopt;
        auto received = input_.fulfilled_by(*message);
        if (!received) return message;
        // The stream has ended, the connection has not: next() begins another when it is its turn.
        if (ran_dry_or_drained(*received)) {
            stopping_ = false;
            continue;
        }
        gone_ = !*received || (*received)->empty();
        early_.push_back(std::move(*received));  // I1
        if (gone_) return std::nullopt;
        if (early_.size() >= early_most && !input_.done() && !stopping_) {
            // The client runs far ahead of the answers: the rest waits in the socket, not in buffers that others want.
            stopping_ = true;
            (void)me_.await(me_.cancel(input_));
        }
    }
    return std::nullopt;
}

Connection::Arrival Connection::take(umbel::result<umbel::buffer> received) {
    if (!received) {
        if (received.error().cancelled() && !drained_) return Arrival::drained;
        const bool late = received.error().code == UMBEL_E_TIMEOUT || received.error().code == UMBEL_E_DEADLINE;
        return late ? Arrival::late : Arrival::broken;
    }
    if (received->empty()) return Arrival::end;
    buffer_ = std::move(*received);
    return Arrival::bytes;
}

// Without the stream: it has been cancelled, or there was no buffer for it.
Connection::Arrival Connection::receive_once(umbel::nanoseconds time) {
    if (!flush()) return Arrival::broken;
    return take(me_.await(me_.recv(peer_, single_receive, {.deadline = time, .drains = !drained_})));
}

// A request that had come before the daemon began to drain is still answered, and one that is on its way.
Connection::Arrival Connection::receive_last(umbel::nanoseconds seen) {
    const bool waits = me_.now() - seen < lately;
    const umbel::op_options options{.deadline = waits ? grace : 100ms};
    auto received = me_.await(me_.submit(umbel::op::recv(peer_, single_receive, options, waits ? 0 : MSG_DONTWAIT)));
    if (!received || received->empty()) return Arrival::drained;
    return take(std::move(received));
}

bool Connection::send(std::array<std::string_view, 3> parts, int flags) {
    umbel::operation<std::size_t> send{UMBEL_OP_SEND, peer_.fd()};
    send.raw.arg = static_cast<std::uint32_t>(flags);
    std::size_t size = 0;
    for (const std::string_view part : parts) {
        if (!part.empty()) send.data(part);
        size += part.size();
    }
    return submit(send, size);
}

bool Connection::send(std::array<std::string_view, 2> parts, const umbel::shared_block& block, std::size_t offset,
                      std::size_t size, int flags) {
    if (size <= copied_at_most) return send({parts[0], parts[1], block.text().substr(offset, size)}, flags);
    if (!flush()) return false;  // I2
    auto lent = me_.lend(block, offset, size);
    if (!lent) return false;
    auto send = umbel::op::send(peer_, *lent);
    send.raw.arg = static_cast<std::uint32_t>(flags);
    for (const std::string_view part : parts) {
        if (!part.empty()) send.data(part);
    }
    return submit(send, parts[0].size() + parts[1].size() + size);
}

bool Connection::send(umbel::buffer&& block, int flags) {
    const std::size_t size = block.size();
    auto send = umbel::op::send(peer_, block);
    send.raw.arg = static_cast<std::uint32_t>(flags);
    return submit(send, size);
}

bool Connection::submit(umbel::operation<std::size_t> send, std::size_t size) {
    if (!flush()) return false;  // I2
    sending_ = me_.submit(send);
    in_flight_ = size;
    sent_ += size;
    if (!sending_) broken_ = true;
    return !broken_;
}

bool Connection::flush() {
    if (sending_ && !broken_) {
        umbel::nanoseconds time = send_timeout_ * static_cast<std::int64_t>(1 + in_flight_ / timed_block);
        if (send_deadline_ != umbel::nanoseconds::max())
            time = std::clamp(send_deadline_ - me_.now(), umbel::nanoseconds(0), time);
        const auto sent = me_.await_within(sending_, time);
        broken_ = !sent || *sent != in_flight_;
    }
    return !broken_;
}

void Connection::linger() {
    if (!flush() || !me_.await(me_.shutdown(peer_, SHUT_WR))) return;
    const umbel::nanoseconds deadline = me_.now() + linger_time;
    std::size_t dropped = unread().size();
    while (dropped < linger_bytes) {
        const umbel::nanoseconds left = deadline - me_.now();
        if (left <= 0ns || receive(left, busy) != Arrival::bytes) return;
        dropped += unread().size();
    }
}

}  // namespace http
