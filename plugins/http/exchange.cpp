#include "exchange.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

namespace http {

using namespace std::chrono_literals;
namespace wire = umbel::http::wire;

namespace {

// How often it is looked whether the other actor still lives.
constexpr auto look = 100ms;

}  // namespace

Exchange::~Exchange() {
    if (open_) (void)me_.send_to(answerer_, wire::cancel{number_});
}

bool Exchange::send_part(std::string_view block) {
    bool last = false;
    const std::string_view bytes = wire::part_of(block, sent_parts_, last);
    const std::string text = wire::encode_part({number_, sent_parts_, last ? 1U : 0U}, bytes);
    const auto sent = me_.send_to(answerer_, wire::type_ask, std::as_bytes(std::span(text)));
    if (!sent) return false;
    ++sent_parts_;
    last_sent_ = last;
    return true;
}

// Waits for the next message of this exchange.
Exchange::End Exchange::wait(Wanted& came) {
    const umbel::pending<void> in_flight = me_.timeout(timeout_ + 1s);  // E1
    const umbel::nanoseconds deadline = me_.now() + timeout_;
    came = Wanted::nothing;
    for (;;) {
        const umbel::nanoseconds left = deadline - me_.now();
        if (left <= 0ns) return End::late;
        auto message = wire_.receive_other(std::min<umbel::nanoseconds>(left, look));
        if (!message) {
            if (wire_.gone() || !wire_.flush()) return End::abandoned;
            if (me_.alive(answerer_)) continue;
            open_ = false;
            return End::died;
        }
        if (message->sender() != answerer_) continue;  // E2
        if (const auto* more = message->as<wire::more>()) {
            if (more->exchange != number_ || last_sent_) continue;
            came = Wanted::room;
            return End::answered;
        }
        wire::part part;
        std::string_view bytes;
        if (message->type() != wire::type_answer || !wire::decode_part(message->bytes(), part, bytes) ||
            part.exchange != number_)
            continue;
        if (part.number != got_parts_ || part.last > 1) {
            open_ = part.last == 0;
            return End::invalid;
        }
        ++got_parts_;
        last_got_ = part.last != 0;
        if (last_got_) open_ = false;
        bytes_.append(bytes);
        came = Wanted::part;
        return End::answered;
    }
}

Exchange::End Exchange::ask(std::string_view block) {
    if (!send_part(block)) return me_.alive(answerer_) ? End::refused : End::died;
    open_ = true;
    for (;;) {
        Wanted came{};
        if (const End end = wait(came); end != End::answered) return end;
        if (came == Wanted::room) {
            if (!send_part(block)) return me_.alive(answerer_) ? End::refused : End::died;
            continue;
        }
        std::size_t size = 0;
        std::string_view headers;
        switch (wire::decode_answer_head(bytes_, head_limit_, head_, headers, size)) {
            case wire::answer_state::invalid:
                return End::invalid;
            case wire::answer_state::incomplete:
                if (last_got_) return End::invalid;
                (void)me_.send_to(answerer_, wire::more{number_, 1});
                continue;
            case wire::answer_state::complete:
                headers_ = headers;
                bytes_.erase(0, size);
                return End::answered;
        }
    }
}

Exchange::Piece Exchange::next() {
    if (bytes_.empty() && !last_got_) {
        // What was handed out has been sent on: there is room for another.
        (void)me_.send_to(answerer_, wire::more{number_, 1});
        Wanted came{};
        do {
            if (const End end = wait(came); end != End::answered) return {end, {}, false};
        } while (came != Wanted::part);
    }
    piece_ = std::exchange(bytes_, {});
    return {End::answered, piece_, last_got_};
}

}  // namespace http
