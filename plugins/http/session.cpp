#include "session.h"

#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "access_log.h"
#include "admission.h"
#include "body.h"
#include "connection.h"
#include "document.h"
#include "encoding.h"
#include "exchange.h"
#include "file_cache.h"
#include "folder.h"
#include "gate.h"
#include "listing.h"
#include "multipart.h"
#include "path.h"
#include "range.h"
#include "request.h"
#include "response.h"

namespace http {

using namespace std::chrono_literals;

namespace {

constexpr std::string_view file_methods = "GET, HEAD, OPTIONS";

// Seconds since 1970. The coarse clock is a few milliseconds behind, and a header has no use for these.
std::int64_t wall_clock() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    return now.tv_sec;
}

class Session {
public:
    Session(umbel::self& me, umbel::socket peer, Ref<Served> served, umbel::actor_id gate, umbel::actor_id cache)
        : me_(me),
          served_(std::move(served)),
          site_(served_->site.get()),
          gate_(gate),
          cache_(cache),
          wire_(me, std::move(peer)),
          parser_(site_->limits) {
        wire_.set_send_timeout(site_->send_timeout);
        seen_ = me_.now();
    }

    void run() {
        while (serve_one()) {
        }
        // Closing while something of the client's is unread would reset the connection, and it might lose the answer.
        if (lingers_ || (closing_ && (me_.draining() || !wire_.unread().empty()))) {
            wire_.linger();
        } else {
            (void)wire_.flush();
        }
    }

    /// There are too many connections.
    void turn_away() {
        closing_ = true;
        if (send_page(status_page(503, "Retry-After: 5\r\n"))) (void)wire_.flush();
    }

private:
    enum class Received : std::uint8_t { request, refusal, late_request, nothing };

    // False: the connection has seen its last request.
    bool serve_one() {
        bool goes_on = false;
        switch (receive()) {
            case Received::request:
                goes_on = answer() && !closing_;
                break;
            case Received::refusal:
                refuse(parser_.status());
                break;
            case Received::late_request:
                refuse(408);
                break;
            case Received::nothing:
                return false;
        }
        if (site_->access_log != AccessLog::off) log_request();
        return goes_on;
    }

    bool refuse(int status) {
        closing_ = true;
        lingers_ = send_page(status_page(status));
        return false;
    }

    // Waits for a request's head, or for the whole of one without a body.
    Received receive() {
        bool begun = !wire_.unread().empty();
        umbel::nanoseconds deadline{0};  // once it has begun
        if (begun) {
            begin_request();
        } else {
            parser_.begin();
        }
        for (;;) {
            wire_.consume(parser_.feed(wire_.unread()));
            if (parser_.state() >= RequestParser::State::body) break;
            // One deadline for all of it: a byte now and then, or an empty line, does not keep a connection.
            if (begun && deadline == 0ns) deadline = me_.now() + site_->header_timeout;
            const umbel::nanoseconds time = begun ? deadline - me_.now() : site_->idle_timeout;
            const bool waiting = parser_.state() == RequestParser::State::waiting;
            const auto arrival =
                time <= 0ns ? Connection::Arrival::late : wire_.receive(time, waiting ? seen_ : Connection::busy);
            if (arrival == Connection::Arrival::late) return waiting ? Received::nothing : Received::late_request;
            if (arrival != Connection::Arrival::bytes) return Received::nothing;
            if (!begun) begin_request();
            begun = true;
        }
        if (parser_.state() == RequestParser::State::refused) return Received::refusal;
        closing_ = !parser_.keep_alive() || me_.draining();
        return Received::request;
    }

    // The first bytes of a request are here: it is served under what is in force now.
    void begin_request() {
        // acquire: the gate has a new one ready. Pairs with the release in Gate::renew().
        if (served_->outdated.load(std::memory_order_acquire)) renew();
        parser_.begin(site_->limits);
        status_ = 0;
        if (site_->access_log == AccessLog::off) return;
        began_ = me_.now();
        bytes_before_ = wire_.sent();
    }

    void renew() {
        if (!me_.send_to(gate_, ServedQuestion{})) return;
        while (auto message = wire_.receive_other(1s)) {
            const auto* const answer = message->as<ServedAnswer>();
            if (answer == nullptr) continue;
            served_ = Ref<Served>::unpack(answer->served);
            site_ = served_->site.get();
            last_ = {};
            wire_.set_send_timeout(site_->send_timeout);
            return;
        }
    }

    // Takes the rest of the request. False: it has been refused, or the client has gone.
    bool receive_body(std::string* into) {
        if (parser_.state() != RequestParser::State::body) return true;
        parser_.keep_body(into);
        const umbel::nanoseconds deadline = me_.now() + site_->body_timeout;
        while (!parser_.finished()) {
            if (wire_.unread().empty()) {
                const umbel::nanoseconds left = deadline - me_.now();
                if (left <= 0ns) return refuse(408);
                switch (wire_.receive(left, Connection::busy)) {
                    case Connection::Arrival::bytes:
                        break;
                    case Connection::Arrival::late:
                        return refuse(408);
                    default:
                        closing_ = true;
                        return false;
                }
            }
            wire_.consume(parser_.feed(wire_.unread()));
        }
        return parser_.state() == RequestParser::State::complete || refuse(parser_.status());
    }

    // Nobody wants the request's body. False: the connection is at its end.
    bool drop_body() {
        if (!parser_.expects_continue()) return receive_body(nullptr);
        // The client has not sent it yet, and is told the answer instead of "Continue" (RFC 9110, 10.1.1).
        closing_ = true;
        lingers_ = true;
        return true;
    }

    // Each way to answer returns false when the connection cannot be used any more.

    bool answer() {
        // The same again, and nothing in it that would make another answer of it.
        if (last_ && parser_.state() == RequestParser::State::complete && parser_.method() <= Method::head &&
            parser_.target() == last_target_ && parser_.value(Known::accept_encoding) == last_accept_) {
            seen_ = me_.now();
            if (seen_ < last_until_) return send_entry(*last_);
        }
        seen_ = me_.now();
        if (parser_.method() == Method::options && parser_.target() == "*")
            return drop_body() && send_page(options_page(file_methods));
        if (parser_.method() == Method::known && parser_.method_text() == "CONNECT")
            return drop_body() && send_page(not_allowed());
        if (const int refusal = parse_target(parser_.target(), path_); refusal != 0)
            return drop_body() && send_page(status_page(refusal));
        if (const Route* const route = served_->route_of(path_)) return answer_by_route(*route);
        if (!drop_body()) return false;
        switch (parser_.method()) {
            case Method::get:
            case Method::head:
                return answer_by_file();
            case Method::options:
                return send_page(options_page(file_methods));
            case Method::known:
                return send_page(not_allowed());
            case Method::other:
                break;
        }
        return send_page(status_page(501));
    }

    static Page not_allowed() { return status_page(405, "Allow: " + std::string(file_methods) + "\r\n"); }

    // -- files --

    bool answer_by_file() {
        const CodingList codings = acceptable(site_->precompressed, parser_.value(Known::accept_encoding));
        key_.clear();
        put_cache_key(key_, path_, codings, site_->serial);
        if (const EntryRef cached = from_cache()) {
            if (!cached->large) return send_entry(*cached);
            Document document = open_entry(me_, *site_, *cached);
            if (document.status == 200) return send_large(*cached, document.file);
        }
        const Document document = open_document(me_, *site_, path_, codings);
        if (document.status == 301) {
            std::string location = "/" + encode_path(path_) + "/";
            return send_page(redirect_page(location.append(query_of(parser_.target()))));
        }
        if (document.status != 200) return send_page(status_page(document.status));
        if (document.folder) return send_listing(document.file);

        bool large = document.what.size > site_->cache_file_limit;
        auto entry = make_entry(me_, document, key_, !large, wall_clock());
        if (!entry && !large) {  // There is no room for its content: it is read from the disk each time.
            large = true;
            entry = make_entry(me_, document, key_, false, wall_clock());
        }
        if (!entry) return send_page(status_page(500));
        if (!*entry) return send_page(status_page(503));  // It was being written.
        // A file that was changed just now may be changed again without a later time of change: its tag is weak.
        if ((*entry)->validators.strong && document.first_choice) {
            if (!large) remember(*entry, me_.now() + site_->cache_valid);
            keep(*entry);
        }
        return large ? send_large(**entry, document.file) : send_entry(**entry);
    }

    EntryRef from_cache() {
        question_.resize(sizeof(CacheQuestion));
        const CacheQuestion header{.serial = ++serial_};
        std::memcpy(question_.data(), &header, sizeof header);
        question_.append(key_);
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
            umbel::nanoseconds until = got.until;
            if (got.stale) {
                if (!still_there(me_, *site_, *entry)) return {};
                until = me_.now() + site_->cache_valid;
                keep(entry);
            }
            if (!entry->large) remember(entry, until);
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
        last_accept_ = parser_.value(Known::accept_encoding);
    }

    bool send_entry(const Entry& entry) {
        if (!parser_.plain()) [[unlikely]] {
            const Choice choice = choose(entry);
            if (choice.page) return send_page(*choice.page);
            if (choice.not_modified) return send_head(304, not_modified_head(entry.representation()));
            if (!choice.slices.empty()) return send_slices(entry, choice.slices, nullptr);
        }
        status_ = 200;
        if (without_body() || !entry.content) return wire_.send({entry.head, ending(), {}});
        return wire_.send({entry.head, ending()}, entry.content, 0, entry.size);
    }

    // A file too large to be kept.
    bool send_large(const Entry& entry, const umbel::file& file) {
        const Choice choice = choose(entry);
        if (choice.page) return send_page(*choice.page);
        if (choice.not_modified) return send_head(304, not_modified_head(entry.representation()));
        if (!choice.slices.empty()) return send_slices(entry, choice.slices, &file);
        status_ = 200;
        if (without_body()) return wire_.send({entry.head, ending(), {}});
        begin_long(entry.size);
        const bool sent =
            wire_.send({entry.head, ending(), {}}, MSG_MORE) && send_slice(me_, wire_, file, {0, entry.size});
        return end_long(sent);
    }

    // What the request's conditions and ranges make of a file's answer.
    struct Choice {
        std::optional<Page> page;
        bool not_modified = false;
        std::vector<Slice> slices;  // empty: the whole
    };
    Choice choose(const Entry& entry) {
        Choice choice;
        if (parser_.plain()) return choice;
        const std::int64_t now = wall_clock();
        const Conditions conditions{.if_match = parser_.value(Known::if_match),
                                    .if_none_match = parser_.value(Known::if_none_match),
                                    .if_modified_since = parser_.value(Known::if_modified_since),
                                    .if_unmodified_since = parser_.value(Known::if_unmodified_since),
                                    .has_if_match = parser_.has(Known::if_match),
                                    .has_if_none_match = parser_.has(Known::if_none_match)};
        switch (evaluate(conditions, entry.validators, true, now)) {
            case Verdict::failed:
                choice.page = status_page(412);
                return choice;
            case Verdict::not_modified:
                choice.not_modified = true;
                return choice;
            case Verdict::perform:
                break;
        }
        // RFC 9110, 14.2: ranges are for GET alone.
        if (parser_.method() != Method::get || !parser_.has(Known::range)) return choice;
        if (parser_.has(Known::if_range) && !range_applies(parser_.value(Known::if_range), entry.validators, now))
            return choice;
        Ranges ranges = parse_ranges(parser_.value(Known::range), entry.size);
        if (ranges.kind == Ranges::Kind::unsatisfiable) choice.page = unsatisfiable_page(entry.size);
        if (ranges.kind == Ranges::Kind::some) choice.slices = std::move(ranges.slices);
        return choice;
    }

    // file: of an entry without content.
    bool send_slices(const Entry& entry, std::span<const Slice> slices, const umbel::file* file) {
        status_ = 206;
        const Representation what = entry.representation();
        const bool one = slices.size() == 1;
        const std::string mark = one ? std::string() : boundary(secret(), ++serial_);
        const std::uint64_t length = one ? slices[0].length : parts_length(mark, what.content_type, slices, entry.size);
        const std::string head = one ? part_of_file_head(what, slices[0]) : parts_of_file_head(what, mark, length);
        begin_long(length);
        bool sent = wire_.send({head, ending(), {}}, MSG_MORE);
        for (const Slice& slice : slices) {
            if (!sent) break;
            if (!one) sent = wire_.send({part_head(mark, what.content_type, slice, entry.size), {}, {}}, MSG_MORE);
            const int flags = one ? 0 : MSG_MORE;
            if (!sent) break;
            if (file != nullptr) {
                sent = send_slice(me_, wire_, *file, slice, flags);
            } else {
                sent = wire_.send({std::string_view(), {}}, entry.content, slice.offset, slice.length, flags);
            }
        }
        if (sent && !one) sent = wire_.send({parts_end(mark), {}, {}});
        return end_long(sent);
    }

    bool send_listing(const umbel::file& folder) {
        auto content = read_folder(me_, folder);
        if (!content) return send_page(status_page(content.error().code == -EAGAIN ? 503 : 500));
        return send_page(html_page(listing_page(path_, std::move(content->entries), content->complete)));
    }

    // -- routes --

    bool answer_by_route(const Route& route) {
        if (parser_.expects_continue() && !wire_.send({"HTTP/1.1 100 Continue\r\n\r\n", {}, {}})) return false;
        body_.clear();
        if (!receive_body(&body_)) return false;
        umbel::http::wire::request_text text;
        text.method = parser_.method_text();
        text.target = parser_.target();
        const std::string path = "/" + path_;
        text.path = path;
        if (peer_.empty()) peer_ = peer_text(wire_.fd());
        text.peer = peer_;
        for (std::size_t i = 0; i < parser_.field_count(); ++i)
            text.headers.emplace_back(parser_.field(i).name, parser_.field(i).value);
        text.body = body_;
        const std::string block = umbel::http::wire::encode_request(text);
        // Its memory may be large, and the connection may wait long for the next.
        if (body_.capacity() > (64 << 10)) std::string().swap(body_);

        // The route may be replaced while it is waited: served_ does not change before the next request.
        for (std::size_t tries = 0; tries < route.answerers.size(); ++tries) {
            const umbel::actor_id answerer = choose_answerer(route, tries);
            if (!me_.alive(answerer)) {
                (void)me_.send_to(gate_, AnswererEnded{answerer});
                continue;
            }
            return answer_by(answerer, block);
        }
        return send_page(status_page(502));
    }

    // One of this executor if there is one, in turn.
    [[nodiscard]] umbel::actor_id choose_answerer(const Route& route, std::size_t tries) {
        const std::size_t count = route.answerers.size();
        const std::size_t first = tries == 0 ? turn_++ : turn_;
        if (tries == 0) {
            for (std::size_t i = 0; i < count; ++i) {
                const Route::Answerer& one = route.answerers[(first + i) % count];
                if (one.executor == me_.executor()) return one.actor;
            }
        }
        return route.answerers[(first + tries) % count].actor;
    }

    bool answer_by(umbel::actor_id answerer, std::string_view block) {
        Exchange exchange(me_, wire_, answerer, ++serial_, site_->route_timeout, site_->limits.head);
        switch (exchange.ask(block)) {
            case Exchange::End::answered:
                return send_answer(exchange);
            case Exchange::End::refused:
                return send_page(status_page(503, "Retry-After: 1\r\n"));
            case Exchange::End::died:
                (void)me_.send_to(gate_, AnswererEnded{answerer});
                return send_page(status_page(502));
            case Exchange::End::invalid:
                me_.log_warning("an actor's answer is none: its head or its headers are not valid");
                return send_page(status_page(502));
            case Exchange::End::late:
                return send_page(status_page(504));
            case Exchange::End::abandoned:
                break;
        }
        status_ = 499;  // Nobody is told; it is for the log.
        return false;
    }

    bool send_answer(Exchange& exchange) {
        const int status = static_cast<int>(exchange.head().status);
        const std::int64_t length = exchange.head().length;
        const bool bodiless = status == 204 || status == 304;
        const bool chunked = length < 0 && !parser_.old();
        if (length < 0 && !chunked && !bodiless) closing_ = true;  // The end of the connection is the end of the body.
        std::string head = first_lines(status);
        head.append(exchange.headers());
        if (!bodiless) {
            if (length >= 0) put_header(head, "Content-Length", std::to_string(length));
            if (chunked) put_header(head, "Transfer-Encoding", "chunked");
        }
        status_ = status;
        if (bodiless || without_body()) return wire_.send({head, ending(), {}});

        // The first piece goes with the head.
        std::uint64_t left = length < 0 ? ~std::uint64_t{0} : static_cast<std::uint64_t>(length);
        if (length >= 0) begin_long(static_cast<std::uint64_t>(length));
        bool first = true;
        for (;;) {
            const Exchange::Piece piece = exchange.next();
            // The head has promised more than there is: only the end of the connection can say so.
            if (piece.end != Exchange::End::answered || piece.bytes.size() > left) {
                if (first && length != 0) (void)wire_.send({head, ending(), {}});
                return end_long(false);
            }
            if (length >= 0) left -= piece.bytes.size();
            if (piece.last && length >= 0 && left != 0) return end_long(false);
            std::string framed;
            std::string_view bytes = piece.bytes;
            if (chunked) {
                framed = chunk(piece.bytes, piece.last);
                bytes = framed;
            }
            const bool sent =
                first ? wire_.send({head, ending(), bytes}) : bytes.empty() || wire_.send({bytes, {}, {}});
            first = false;
            if (!sent) return end_long(false);
            if (piece.last) return end_long(true);
        }
    }

    static std::string chunk(std::string_view bytes, bool last) {
        std::string framed;
        if (!bytes.empty()) {
            constexpr std::string_view digits = "0123456789abcdef";
            std::string size;
            for (std::size_t rest = bytes.size(); rest != 0; rest >>= 4) size.insert(size.begin(), digits[rest & 15]);
            framed.append(size).append("\r\n").append(bytes).append("\r\n");
        }
        if (last) framed.append("0\r\n\r\n");
        return framed;
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

    bool send_head(int status, std::string_view head) {
        status_ = status;
        return wire_.send({head, ending(), {}});
    }

    bool send_page(const Page& page) {
        status_ = page.status;
        std::string_view body = without_body() ? std::string_view() : page.body;
        constexpr std::size_t block = 64 << 10;
        if (body.size() <= block) return wire_.send({page.head, ending(), body});
        // More than the I/O heap may have room for.
        begin_long(body.size());
        bool sent = wire_.send({page.head, ending(), {}}, MSG_MORE);
        for (; sent && !body.empty(); body.remove_prefix(std::min(block, body.size())))
            sent = wire_.send({body.substr(0, block), {}, {}});
        return end_long(sent);
    }

    // An answer of several sends has a deadline as a whole: a client that takes a block just in time, again and again,
    // would hold the connection, and what is behind it, for days.
    void begin_long(std::uint64_t length) {
        if (site_->send_rate == 0) return;
        const auto seconds = std::chrono::seconds(length / site_->send_rate + 1);
        wire_.set_send_deadline(me_.now() + site_->send_timeout + seconds);
    }
    bool end_long(bool sent) {
        // The last block may still be under way: from here on it has send_timeout.
        wire_.set_send_deadline(umbel::nanoseconds::max());
        if (!sent) closing_ = true;
        return sent;
    }

    void log_request() {
        if (peer_.empty()) peer_ = peer_text(wire_.fd());
        const bool known =
            parser_.state() == RequestParser::State::complete || parser_.state() == RequestParser::State::body;
        log_access(me_, {.peer = peer_,
                         .request = known ? &parser_ : nullptr,
                         .status = status_,
                         .bytes = wire_.sent() - bytes_before_,
                         .duration = me_.now() - began_,
                         .full = site_->access_log == AccessLog::full});
    }

    umbel::self& me_;
    Ref<Served> served_;
    const Site* site_;  // of served_
    umbel::actor_id gate_;
    umbel::actor_id cache_;
    Connection wire_;
    RequestParser parser_;
    Ending ending_;
    bool closing_ = false;            // The answer being sent is the connection's last.
    bool lingers_ = false;            // The client may have sent what is not read any more.
    int status_ = 0;                  // of the answer
    umbel::nanoseconds seen_{0};      // when the last request was answered
    umbel::nanoseconds began_{0};     // when the request began; if it is logged
    std::uint64_t bytes_before_ = 0;  // sent before its answer; if it is logged
    std::string peer_;                // once it has been asked for
    std::string path_;
    std::string key_;
    std::string question_;
    std::string body_;
    std::uint64_t serial_ = 0;  // of questions, exchanges and boundaries
    std::size_t turn_ = 0;      // of a route's actors

    // What was sent last and may be sent again until then.
    EntryRef last_;
    umbel::nanoseconds last_until_{0};
    std::string last_target_;
    std::string last_accept_;
};

}  // namespace

void session(umbel::self& me, umbel::socket peer, const Served* served, umbel::actor_id gate, umbel::actor_id cache,
             std::uint64_t address) {
    Ref<Served> now = Ref<Served>::unpack(served);
    const Ref<Site> site = now->site;
    ConnectionCounts::Ticket ticket;
    const Admission admission =
        connection_counts().enter(address, site->connections, site->connections_per_address, ticket);
    if (admission != Admission::granted) {
        Session(me, std::move(peer), std::move(now), gate, cache).turn_away();
        return;
    }
    struct Guest {
        ConnectionCounts::Ticket ticket;
        ~Guest() { connection_counts().leave(ticket); }
    } const guest{ticket};
    Session(me, std::move(peer), std::move(now), gate, cache).run();
}

}  // namespace http
