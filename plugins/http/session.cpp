#include "session.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <ctime>
#include <string>
#include <utility>

#include "connection.h"
#include "content_type.h"
#include "document.h"
#include "file_cache.h"
#include "path.h"
#include "request.h"
#include "response.h"

namespace http {

using namespace std::chrono_literals;
using umbel::operator""_KiB;

namespace {

// Seconds since 1970. The coarse clock is a few milliseconds behind, and a header has no use for these.
std::int64_t wall_clock() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec;
}

class Session {
public:
    Session(umbel::self& me, umbel::socket peer, const Site& site, umbel::actor_id cache)
        : me_(me), site_(site), cache_(cache), wire_(me, std::move(peer), site.send_timeout), parser_(site.limits) {}

    void run() {
        while (serve_one()) {
        }
        wire_.flush();
    }

private:
    enum class Received : std::uint8_t { request, refusal, late_request, nothing };

    // False: the connection has seen its last request.
    bool serve_one() {
        switch (receive()) {
            case Received::request:
                return answer() && !closing_;
            case Received::refusal:
                refuse(parser_.status());
                return false;
            case Received::late_request:
                refuse(408);
                return false;
            case Received::nothing:
                break;
        }
        return false;
    }

    void refuse(int status) {
        closing_ = true;
        if (send_page(status_page(status))) wire_.linger();
    }

    Received receive() {
        parser_.begin();
        umbel::nanoseconds time = site_.idle_timeout;
        umbel::nanoseconds deadline{0};  // once it has begun
        bool begun = false;
        for (;;) {
            wire_.consume(parser_.feed(wire_.unread()));
            if (parser_.finished()) break;
            parser_.keep();
            if (!begun && parser_.state() != RequestParser::State::waiting) {
                // One deadline for the whole of it: a byte now and then does not keep a connection.
                begun = true;
                deadline = me_.now() + site_.header_timeout;
            }
            if (begun && (time = deadline - me_.now()) <= 0ns) return Received::late_request;
            switch (wire_.receive(time, begun)) {
                case Connection::Arrival::bytes:
                    break;
                case Connection::Arrival::late:
                    return begun ? Received::late_request : Received::nothing;
                case Connection::Arrival::end:
                case Connection::Arrival::drained:
                case Connection::Arrival::broken:
                    return Received::nothing;
            }
        }
        if (parser_.state() == RequestParser::State::refused) return Received::refusal;
        closing_ = !parser_.keep_alive() || me_.draining();
        return Received::request;
    }

    // Each way to answer returns false when the connection cannot be used any more.

    bool answer() {
        if (parser_.method() == Method::other) return send_page(status_page(405, "Allow: GET, HEAD\r\n"));
        if (last_ && parser_.target() == last_target_ && me_.now() < last_until_) return send_entry(*last_);

        if (const int refusal = parse_target(parser_.target(), path_); refusal != 0)
            return send_page(status_page(refusal));
        if (const EntryRef cached = from_cache()) return send_entry(*cached);

        const Document document = open_document(me_, site_, path_);
        if (document.status == 301) {
            std::string location = "/" + encode_path(path_) + "/";
            return send_page(redirect_page(location.append(query_of(parser_.target()))));
        }
        if (document.status != 200) return send_page(status_page(document.status));
        if (document.what.size > site_.cache_file_limit) return send_file(document);

        const auto entry = read_document(me_, document, path_);
        if (!entry) return send_page(status_page(500));
        if (!*entry) return send_page(status_page(503));  // It was being written.
        if (may_be_kept(document)) {
            remember(*entry, me_.now() + site_.cache_valid);
            keep(*entry);
        }
        return send_entry(**entry);
    }

    // A file that was changed just now may be changed again without a later time of change.
    static bool may_be_kept(const Document& document) {
        constexpr std::int64_t coarsest_file_system = 2;
        const std::int64_t age = wall_clock() - document.what.modified_s;
        return document.first_choice && (age > coarsest_file_system || age < -coarsest_file_system);
    }

    // -- the cache --

    EntryRef from_cache() {
        question_.resize(sizeof(CacheQuestion));
        const CacheQuestion header{.serial = ++serial_};
        std::memcpy(question_.data(), &header, sizeof header);
        question_.append(path_);
        const auto asked =
            me_.send_to(cache_, umbel::message_type_of<CacheQuestion>(), std::as_bytes(std::span(question_)));
        // Without a cache, or with one that is overrun, files come from the disk.
        if (!asked) return {};
        while (auto message = wire_.receive_other(250ms)) {
            const auto* const answer = message->as<CacheAnswer>();
            if (answer == nullptr) continue;
            const CacheAnswer got = *answer;
            EntryRef entry = EntryRef::unpack(got.entry);
            if (got.serial != serial_) continue;  // To a question that was given up.
            if (!entry) return {};
            if (!got.stale) {
                remember(entry, got.until);
                return entry;
            }
            if (!still_there(me_, site_, *entry)) return {};
            remember(entry, me_.now() + site_.cache_valid);
            keep(entry);
            return entry;
        }
        return {};
    }

    void keep(EntryRef entry) {
        const CacheKeep message{.entry = std::move(entry).pack()};
        if (!me_.send_to(cache_, message)) (void)EntryRef::unpack(message.entry);
    }

    void remember(EntryRef entry, umbel::nanoseconds until) {
        last_ = std::move(entry);
        last_until_ = until;
        last_target_ = parser_.target();
    }

    // -- sending --

    std::string_view ending() {
        const bool old = parser_.state() == RequestParser::State::complete && parser_.old();
        const auto connection = closing_ ? Ending::Connection::closes
                                : old    ? Ending::Connection::goes_on_old
                                         : Ending::Connection::goes_on;
        return ending_.text(wall_clock(), connection);
    }

    [[nodiscard]] bool without_body() const { return parser_.method() == Method::head; }

    bool send_page(const Page& page) {
        return wire_.send({page.head, ending(), without_body() ? std::string_view() : page.body});
    }

    bool send_entry(const Entry& entry) {
        if (not_modified(entry.validators, parser_.if_none_match(), parser_.if_modified_since()))
            return wire_.send({not_modified_head(entry.validators), ending(), {}});
        if (without_body() || !entry.content) return wire_.send({entry.head, ending(), {}});
        return wire_.send({entry.head, ending()}, entry.content, 0, entry.size);
    }

    // A file too large to be kept: block by block, the next being read while one is sent, none copied.
    bool send_file(const Document& document) {
        const std::uint64_t size = document.what.size;
        const Validators tags = validators(size, document.what.modified_s, document.what.modified_ns);
        if (not_modified(tags, parser_.if_none_match(), parser_.if_modified_since()))
            return wire_.send({not_modified_head(tags), ending(), {}});
        const std::string head = file_head(content_type(document.path), size, tags);
        if (without_body()) return wire_.send({head, ending(), {}});
        if (!wire_.send({head, ending(), {}}, MSG_MORE)) return false;

        std::size_t block = largest_block;
        std::uint64_t offset = 0;
        const auto read_next = [&] {
            return me_.read(document.file, std::min<std::uint64_t>(block, size - offset), offset);
        };
        umbel::pending<umbel::buffer> next = read_next();
        while (offset < size) {
            auto got = me_.await(std::exchange(next, {}));
            if (!got && got.error().code == UMBEL_E_IO_HEAP_FULL && block > smallest_block) {
                block /= 2;
                if (!wire_.flush()) return false;
                next = read_next();
                continue;
            }
            // Whatever is wrong now, the promised length cannot be kept any more: the connection must end.
            if (!got || got->empty()) return false;
            offset += got->size();
            if (!wire_.send(std::move(*got))) return false;
            if (offset < size) next = read_next();
        }
        return true;
    }

    static constexpr std::size_t smallest_block = 4_KiB;

    umbel::self& me_;
    const Site& site_;
    umbel::actor_id cache_;
    Connection wire_;
    RequestParser parser_;
    Ending ending_;
    bool closing_ = false;  // The answer being sent is the connection's last.
    std::string path_;
    std::string question_;
    std::uint64_t serial_ = 0;

    // What was sent last and may be sent again until then.
    EntryRef last_;
    umbel::nanoseconds last_until_{0};
    std::string last_target_;
};

}  // namespace

// Small regions share their page tables. The I/O heap has to hold two blocks, or an answer made of a cached file while the
// next file is read, and records; the mailbox, the completions that a stream may bring.
std::size_t session_memory(const Site&) { return 4 * largest_block; }

void session(umbel::self& me, umbel::socket peer, const Site* site, umbel::actor_id cache) {
    Session(me, std::move(peer), *site, cache).run();
}

}  // namespace http
