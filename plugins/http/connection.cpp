#include "connection.h"

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <utility>

namespace http {

using namespace std::chrono_literals;

namespace {

constexpr std::size_t single_receive = 16 << 10;
constexpr std::size_t linger_bytes = 1 << 20;
constexpr auto linger_time = 1s;

// The stream ends early when buffers or mailbox run out; what the client has sent waits in the socket.
bool ran_dry(const umbel::error& error) { return error.code == -ENOBUFS || error.code == UMBEL_E_MAILBOX_FULL; }

}  // namespace

Connection::Connection(umbel::self& me, umbel::socket peer, umbel::nanoseconds send_timeout)
    : me_(me), send_timeout_(send_timeout), peer_(std::move(peer)) {}

Connection::Arrival Connection::receive(umbel::nanoseconds deadline, bool busy) {
    buffer_.reset();
    consumed_ = 0;
    Arrival arrival = Arrival::drained;
    if (!early_.empty()) {
        umbel::result<umbel::buffer> first = std::move(early_.front());
        early_.erase(early_.begin());
        if (!first && ran_dry(first.error())) return receive_once(deadline);
        arrival = take(std::move(first));
    } else if (!drained_) {
        if (input_.done()) input_ = me_.recv_many(peer_, {.drains = true});
        if (input_.done()) return Arrival::broken;  // Refused.
        arm(deadline);
        for (;;) {
            umbel::message message = me_.receive();
            if (auto received = input_.fulfilled_by(message)) {
                if (!*received && ran_dry(received->error())) return receive_once(deadline);
                arrival = take(std::move(*received));
                break;
            }
            if (timer_.fulfilled_by(message)) {
                if (me_.now() >= deadline) return Arrival::late;
                arm(deadline);
            }
        }
    }
    if (arrival != Arrival::drained) return arrival;
    drained_ = true;
    return busy ? receive_once(deadline) : receive_last();
}

std::optional<umbel::message> Connection::receive_other(umbel::nanoseconds within) {
    const umbel::nanoseconds deadline = me_.now() + within;
    for (umbel::nanoseconds now = me_.now(); now < deadline; now = me_.now()) {
        auto message = me_.receive_within(deadline - now);
        if (!message) return std::nullopt;
        if (auto received = input_.fulfilled_by(*message)) {
            early_.push_back(std::move(*received));  // I1
        } else if (!timer_.fulfilled_by(*message)) {
            return message;
        }
    }
    return std::nullopt;
}

Connection::Arrival Connection::take(umbel::result<umbel::buffer> received) {
    if (!received) {
        if (received.error().cancelled() && !drained_) return Arrival::drained;
        return received.error().code == UMBEL_E_DEADLINE ? Arrival::late : Arrival::broken;
    }
    if (received->empty()) return Arrival::end;
    buffer_ = std::move(*received);
    return Arrival::bytes;
}

// Without the stream: it has been cancelled, or there was no buffer for it.
Connection::Arrival Connection::receive_once(umbel::nanoseconds deadline) {
    const umbel::nanoseconds now = me_.now();
    if (now >= deadline) return Arrival::late;
    return take(me_.await(me_.recv(peer_, single_receive, {.deadline = deadline - now, .drains = !drained_})));
}

// A request that had come before the daemon began to drain is still answered.
Connection::Arrival Connection::receive_last() {
    auto received = me_.await(me_.submit(umbel::op::recv(peer_, single_receive, {.deadline = 100ms}, MSG_DONTWAIT)));
    if (!received || received->empty()) return Arrival::drained;
    return take(std::move(received));
}

void Connection::arm(umbel::nanoseconds deadline) {
    if (!timer_.done() && timer_rings_ <= deadline) return;  // I2
    const umbel::nanoseconds now = me_.now();
    timer_ = me_.timeout(deadline > now ? deadline - now : umbel::nanoseconds(1));
    timer_rings_ = deadline;
}

bool Connection::send(std::array<std::string_view, 3> parts, int flags) {
    umbel::operation<std::size_t> send{UMBEL_OP_SEND, peer_.fd(), {.deadline = send_timeout_}};
    send.raw.arg = static_cast<std::uint32_t>(flags);
    std::size_t size = 0;
    for (const std::string_view part : parts) {
        if (!part.empty()) send.data(part);
        size += part.size();
    }
    const auto sent = me_.await(me_.submit(send));
    return sent && *sent == size;
}

umbel::pending<std::size_t> Connection::send(umbel::buffer&& block) {
    return me_.send(peer_, std::move(block), {.deadline = send_timeout_});
}

void Connection::linger() {
    if (!me_.await(me_.shutdown(peer_, SHUT_WR))) return;
    const umbel::nanoseconds deadline = me_.now() + linger_time;
    std::size_t dropped = unread().size();
    while (dropped < linger_bytes && receive(deadline, true) == Arrival::bytes) dropped += unread().size();
}

}  // namespace http
