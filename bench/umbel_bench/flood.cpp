// flood: many more operations wanted in flight than the ring has room for, of all kinds, and every one accounted for.
//
// Why.    Submission case 3 (parked, reaped, resumed by the high-priority queue) is where an operation could be lost or
//         come twice. Here it is the ordinary case: a ring of 4 entries and 8 completions, thousands of actors.
// Shape.  Each operation has a number of its own, and the ledger a byte for it: how often it has completed. Actors find
//         the number by their own table of pendings, so the ledger is independent of what the runtime counts. Results and
//         data are checked as well.
// Ends.   An operation that waits for another one (a receive for its send) is submitted first, and its actor goes on to
//         submit the other whatever happens: so the flood ends unless operations that wait hold all the room there is.
//         If nothing completes for `patience`, it says so and counts what is lost.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bench/umbel_bench/bench.h"
#include "bench/umbel_bench/measure.h"
#include "bench/umbel_bench/refusals.h"
#include "umbel/umbel.h"

namespace umbel::bench {
namespace {

using namespace std::chrono_literals;

constexpr unsigned default_ring_entries = 4;
constexpr unsigned default_completion_entries = 8;
constexpr std::size_t source_bytes = 1 << 20;
constexpr std::size_t place_bytes = 512;    // each place in an actor's window has so much of the scratch file
constexpr std::size_t most_in_flight = 24;  // the largest window, and the largest step on top
constexpr unsigned descriptors_an_actor = 4;
constexpr unsigned patience_s = 15;

// What stands at `position` of the source file, and of whatever is written or sent under the number `position`.
constexpr std::uint8_t pattern(std::uint64_t position) {
    return static_cast<std::uint8_t>((position * 2654435761u) >> 13 ^ position);
}

bool is_pattern(std::span<const std::byte> bytes, std::uint64_t position) {
    for (const std::byte byte : bytes) {
        if (std::to_integer<std::uint8_t>(byte) != pattern(position++)) return false;
    }
    return true;
}

// One actor's share of the figures, on cache lines of its own.
struct alignas(64) Tally {
    std::uint64_t submitted = 0;
    std::uint64_t wrong = 0;   // another result than it must have, or other bytes
    std::uint64_t strays = 0;  // completions of nothing that is in flight
};

// What all actors share. Made by the control thread; an actor writes what has its numbers only.
struct Ledger {
    std::vector<std::uint8_t> submitted;  // by operation number
    std::vector<std::uint8_t> completed;  // how often
    std::vector<Tally> tallies;           // by actor
    std::uint32_t quota = 0;              // operations of one actor
    std::uint32_t actors = 0;
    std::uint32_t window = 0;
    int source = -1;
    int scratch = -1;
    int never = -1;   // an eventfd that nobody writes
    int always = -1;  // one that is always readable
    std::string source_path;
    std::int64_t nanoseconds = 0;  // how long it took
    Session* session = nullptr;
};

Ledger* ledger = nullptr;

struct Done {};

// ---- One actor of the flood ------------------------------------------------------------------------------------------

enum class Kind : std::uint8_t {
    plain,            // result 0
    exact,            // result `length`
    read,             // … and the buffer holds the pattern
    read_into,        // … the memory does
    status,           // statx: the file's size
    readable,         // poll
    opened,           // a descriptor, closed by the next operation
    cancelled,        // -ECANCELED
    bad,              // -EBADF
    cancels,          // result 1
    late,             // UMBEL_E_DEADLINE
    pipe_polled,      // poll of the pipe: now read it
    pipe_read,        // … the last one on the pipe
    socket_received,  // the last one on the sockets
    to_hand_over,     // read; the buffer itself is written next
    handed_over,      // … and comes back
};

class Flooder {
public:
    Flooder(self& me, std::uint32_t number)
        : me_(me),
          book_(*ledger),
          tally_(book_.tallies[number]),
          next_(std::uint64_t{number} * book_.quota),
          end_(next_ + book_.quota),
          first_place_(std::uint64_t{number} * most_in_flight * place_bytes),
          random_(number * 0x9e3779b97f4a7c15u + 1),
          source_(me.raw(), book_.source),
          scratch_(me.raw(), book_.scratch) {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) me.fail("pipe2 was refused");
        pipe_out_ = file(me.raw(), ends[0]);
        pipe_in_ = file(me.raw(), ends[1]);
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) me.fail("socketpair was refused");
        left_ = socket(me.raw(), ends[0]);
        right_ = socket(me.raw(), ends[1]);
    }
    ~Flooder() {
        // They are everybody's.
        (void)source_.release();
        (void)scratch_.release();
    }
    Flooder(const Flooder&) = delete;
    Flooder& operator=(const Flooder&) = delete;

    void run() {
        while (next_ < end_ || in_flight_ != 0) {
            while (next_ < end_ && in_flight_ < book_.window) begin();
            std::optional<message> received = me_.receive_within(std::chrono::seconds(patience_s));
            if (!received) return;  // What is in flight still is lost.
            take(*received);
        }
        // Nothing may come any more.
        me_.yield();
        while (const auto stray = me_.receive_within(0ns)) ++tally_.strays;
    }

private:
    struct Flight {
        umbel_pending pending = 0;  // 0: this place is free
        std::uint64_t number = 0;
        std::uint64_t position = 0;  // of the pattern
        std::uint64_t reserved = 0;  // the number of the operation that follows it
        std::uint32_t length = 0;
        Kind kind = Kind::plain;
        std::array<std::byte, 256> memory;  // for read_into
    };

    std::uint64_t random() {
        random_ ^= random_ << 13;
        random_ ^= random_ >> 7;
        random_ ^= random_ << 17;
        return random_;
    }
    [[nodiscard]] std::uint64_t left() const { return end_ - next_; }

    Flight& new_flight(Kind kind, std::uint32_t length = 0, std::uint64_t position = 0) {
        Flight* const flight = std::ranges::find(flights_, umbel_pending{0}, &Flight::pending);
        flight->kind = kind;
        flight->length = length;
        flight->position = position;
        flight->reserved = 0;
        flight->pending = ~umbel_pending{0};  // taken
        return *flight;
    }
    [[nodiscard]] std::uint64_t place_of(const Flight& flight) const {
        return first_place_ + static_cast<std::uint64_t>(&flight - flights_.data()) * place_bytes;
    }

    // Submits one operation, or a chain, each for the flight of the same index.
    template <class... T>
    void submit(std::array<Flight*, sizeof...(T)> flights, operation<T>... operations) {
        ((operations.raw.slices = operations.slices.data()), ...);
        const std::array<umbel_operation, sizeof...(T)> raw{operations.raw...};
        std::array<umbel_pending, sizeof...(T)> ids{};
        for (Flight* flight : flights) flight->number = next_++;
        submit_raw(flights, raw, ids);
    }
    void submit_raw(std::span<Flight* const> flights, std::span<const umbel_operation> operations,
                    std::span<umbel_pending> ids) {
        const int status =
            umbel_submit(me_.raw(), operations.data(), static_cast<std::uint32_t>(operations.size()), ids.data());
        for (std::size_t i = 0; i < flights.size(); ++i) {
            if (status < 0) {
                ++tally_.wrong;  // It was never submitted: not lost, but refused without a reason.
                flights[i]->pending = 0;
                continue;
            }
            flights[i]->pending = ids[i];
            book_.submitted[flights[i]->number] = 1;
            ++tally_.submitted;
            ++in_flight_;
        }
    }
    // The operation for which a number was kept.
    template <class T>
    void submit_reserved(Flight& flight, std::uint64_t number, operation<T> operation) {
        operation.raw.slices = operation.slices.data();
        std::array<Flight*, 1> flights{&flight};
        std::array<umbel_pending, 1> ids{};
        flight.number = number;
        submit_raw(flights, {&operation.raw, 1}, ids);
    }

    // ---- Beginnings. Each takes its numbers from next_ and never more than are left.

    void begin() {
        const std::uint64_t dice = random() % 100;
        if (dice < 20) return begin_nop();
        if (dice < 36) return begin_read();
        if (dice < 44) return begin_read_into();
        if (dice < 52) return begin_write();
        if (dice < 57) return begin_write_and_read_back();
        if (dice < 60) return begin_long_chain();
        if (dice < 63) return begin_broken_chain();
        if (dice < 66) return begin_timed_chain();
        if (dice < 70) return begin_status();
        if (dice < 75) return begin_open();
        if (dice < 80) return begin_timeout();
        if (dice < 84) return begin_poll();
        if (dice < 91) return begin_sockets();
        if (dice < 97) return begin_pipe();
        if (dice < 99) return begin_cancel();
        return random() % 8 == 0 ? begin_deadline() : begin_nop();
    }

    void begin_nop() { submit({&new_flight(Kind::plain)}, op::nop()); }

    void begin_read() {
        const auto length = static_cast<std::uint32_t>(1 + random() % 4096);
        const std::uint64_t position = random() % (source_bytes - length);
        if (left() >= 2 && random() % 4 == 0) {
            Flight& flight = new_flight(Kind::to_hand_over, std::min<std::uint32_t>(length, place_bytes), position);
            submit({&flight}, op::read(source_, flight.length, position));
            flight.reserved = next_++;
        } else {
            submit({&new_flight(Kind::read, length, position)}, op::read(source_, length, position));
        }
    }

    void begin_read_into() {
        const std::uint64_t position = random() % (source_bytes - 256);
        Flight& flight = new_flight(Kind::read_into, static_cast<std::uint32_t>(1 + random() % 256), position);
        submit({&flight}, op::read_into(source_, std::span(flight.memory).first(flight.length), position));
    }

    void begin_write() {
        Flight& flight = new_flight(Kind::exact, static_cast<std::uint32_t>(1 + random() % place_bytes));
        submit({&flight}, op::write(scratch_, made(flight.length, 0), place_of(flight)));
    }

    void begin_write_and_read_back() {
        if (left() < 2) return begin_nop();
        const auto length = static_cast<std::uint32_t>(1 + random() % place_bytes);
        const std::uint64_t position = random() % source_bytes;
        Flight& written = new_flight(Kind::exact, length);
        Flight& read = new_flight(Kind::read, length, position);
        const std::uint64_t place = place_of(read);  // free again when it has been read, not before
        submit({&written, &read}, op::write(scratch_, made(length, position), place),
               op::read(scratch_, length, place));
    }

    void begin_long_chain() {
        if (left() < 4) return begin_nop();
        const auto length = static_cast<std::uint32_t>(1 + random() % place_bytes);
        const std::uint64_t position = random() % source_bytes;
        Flight& written = new_flight(Kind::exact, length);
        Flight& synced = new_flight(Kind::plain);
        Flight& read = new_flight(Kind::read, length, position);
        Flight& last = new_flight(Kind::plain);
        const std::uint64_t place = place_of(read);  // free again when it has been read, not before
        submit({&written, &synced, &read, &last}, op::write(scratch_, made(length, position), place),
               op::sync(scratch_), op::read(scratch_, length, place), op::nop());
    }

    // The first one fails, so the others must not happen.
    void begin_broken_chain() {
        if (left() < 3) return begin_nop();
        const file nothing;  // -1
        submit({&new_flight(Kind::bad), &new_flight(Kind::cancelled), &new_flight(Kind::cancelled)},
               op::read(nothing, 64, 0), op::nop(), op::nop());
    }

    void begin_timed_chain() {
        if (left() < 2) return begin_nop();
        submit({&new_flight(Kind::plain), &new_flight(Kind::plain)}, op::timeout(nanoseconds(random() % 20'000)),
               op::nop());
    }

    void begin_status() { submit({&new_flight(Kind::status)}, op::status(book_.source_path)); }

    void begin_open() {
        if (left() < 2) return begin_nop();
        Flight& flight = new_flight(Kind::opened);
        submit({&flight}, op::open(book_.source_path, O_RDONLY));
        flight.reserved = next_++;
    }

    void begin_timeout() { submit({&new_flight(Kind::plain)}, op::timeout(nanoseconds(random() % 200'000))); }

    void begin_poll() { submit({&new_flight(Kind::readable)}, op::poll(book_.always, POLLIN)); }

    // The receive waits for the send.
    void begin_sockets() {
        if (left() < 2 || sockets_busy_) return begin_nop();
        sockets_busy_ = true;
        const auto length = static_cast<std::uint32_t>(1 + random() % 1024);
        const std::uint64_t position = random() % source_bytes;
        submit({&new_flight(Kind::socket_received, length, position)}, op::recv(right_, length));
        submit({&new_flight(Kind::exact, length)}, op::send(left_, made(length, position)));
    }

    // The poll waits for the write, the read comes when there is something; or the read itself waits.
    void begin_pipe() {
        if (left() < 3 || pipe_busy_) return begin_nop();
        pipe_busy_ = true;
        const auto length = static_cast<std::uint32_t>(1 + random() % 1024);
        const std::uint64_t position = random() % source_bytes;
        if (random() % 2 == 0) {
            Flight& polled = new_flight(Kind::pipe_polled, length, position);
            submit({&polled}, op::poll(pipe_out_.fd(), POLLIN));
            polled.reserved = next_++;
        } else {
            submit({&new_flight(Kind::pipe_read, length, position)}, op::read(pipe_out_, length));
        }
        submit({&new_flight(Kind::exact, length)}, op::write(pipe_in_, made(length, position)));
    }

    void begin_cancel() {
        if (left() < 2) return begin_nop();
        Flight& victim = new_flight(Kind::cancelled);
        if (random() % 2 == 0) {
            submit({&victim}, op::poll(book_.never, POLLIN));
        } else {
            submit({&victim}, op::timeout(1h));
        }
        submit({&new_flight(Kind::cancels)}, op::cancel(victim.pending));
    }

    void begin_deadline() {
        submit({&new_flight(Kind::late)},
               op::poll(book_.never, POLLIN, {.deadline = nanoseconds(20'000), .drains = false}));
    }

    // `length` bytes of the pattern from `position`. Copied at submission, so one piece of memory serves all.
    std::span<const std::byte> made(std::uint32_t length, std::uint64_t position) {
        for (std::uint32_t i = 0; i < length; ++i) bytes_[i] = std::byte{pattern(position + i)};
        return std::span(bytes_).first(length);
    }

    // ---- Ends.

    void take(message& received) {
        umbel_message& raw = received.raw();
        const auto flight = std::ranges::find(flights_, raw.pending, &Flight::pending);
        if (raw.kind != UMBEL_MESSAGE_COMPLETION || flight == flights_.end()) {
            ++tally_.strays;
            return;
        }
        std::uint8_t& times = book_.completed[flight->number];
        if (times < 255) ++times;
        --in_flight_;
        const Flight ended = *flight;
        flight->pending = 0;
        if (!is_right(ended, raw)) {
            ++tally_.wrong;
            if (tally_.wrong == 1) complain(ended, raw);
        }
        follow(ended, raw);
    }

    [[nodiscard]] bool is_right(const Flight& flight, const umbel_message& raw) const {
        const std::span<const std::byte> buffer{reinterpret_cast<const std::byte*>(raw.buffer.data), raw.buffer.size};
        const bool exact = raw.result == flight.length;
        switch (flight.kind) {
            case Kind::plain:
                return raw.result == 0;
            case Kind::exact:
            case Kind::handed_over:
                return exact;
            case Kind::read:
            case Kind::pipe_read:
            case Kind::socket_received:
            case Kind::to_hand_over:
                return exact && buffer.size() == flight.length && is_pattern(buffer, flight.position);
            case Kind::read_into:
                return exact && is_pattern(std::span(flight.memory).first(flight.length), flight.position);
            case Kind::status: {
                struct statx status{};
                if (raw.result != 0 || buffer.size() != sizeof status) return false;
                std::memcpy(&status, buffer.data(), sizeof status);
                return status.stx_size == source_bytes;
            }
            case Kind::readable:
            case Kind::pipe_polled:
                return raw.result == POLLIN;
            case Kind::opened:
                return raw.result >= 0;
            case Kind::cancelled:
                return raw.result == -ECANCELED;
            case Kind::bad:
                return raw.result == -EBADF;
            case Kind::cancels:
                return raw.result == 1;
            case Kind::late:
                return raw.result == UMBEL_E_DEADLINE;
        }
        return false;
    }

    // What comes after it. Its number has been kept: it must be submitted, or its absence is counted as wrong.
    void follow(const Flight& ended, umbel_message& raw) {
        if (ended.kind == Kind::pipe_read) pipe_busy_ = false;
        if (ended.kind == Kind::socket_received) sockets_busy_ = false;
        if (ended.reserved == 0) return;
        switch (ended.kind) {
            case Kind::opened:
                submit_reserved(new_flight(Kind::plain), ended.reserved,
                                op::close(file(me_.raw(), static_cast<int>(raw.result))));
                break;
            case Kind::pipe_polled:
                submit_reserved(new_flight(Kind::pipe_read, ended.length, ended.position), ended.reserved,
                                op::read(pipe_out_, ended.length));
                break;
            case Kind::to_hand_over: {
                buffer bytes(me_.raw(), std::exchange(raw.buffer, {}));
                Flight& flight = new_flight(Kind::handed_over, ended.length);
                submit_reserved(flight, ended.reserved, op::write(scratch_, bytes, place_of(flight)));
                break;
            }
            default:
                break;
        }
    }

    void complain(const Flight& flight, const umbel_message& raw) {
        me_.log_warning("flood: operation " + std::to_string(flight.number) + " of kind " +
                        std::to_string(static_cast<int>(flight.kind)) + ", length " + std::to_string(flight.length) +
                        ", gave " + std::to_string(raw.result) + " and a buffer of " + std::to_string(raw.buffer.size));
    }

    self& me_;
    Ledger& book_;
    Tally& tally_;
    std::uint64_t next_;  // the next operation's number
    std::uint64_t end_;
    std::uint64_t first_place_;
    std::uint64_t random_;
    std::size_t in_flight_ = 0;
    bool sockets_busy_ = false;
    bool pipe_busy_ = false;
    file source_;
    file scratch_;
    file pipe_out_;
    file pipe_in_;
    socket left_;
    socket right_;
    std::array<Flight, most_in_flight> flights_{};
    std::array<std::byte, 1024> bytes_{};
};

void flooder(self& me, std::uint32_t number, actor_id owner) {
    Flooder(me, number).run();
    if (!me.send_to(owner, Done{})) me.fail("nobody waits for the end");
}

void main_actor(self& me) {
    const nanoseconds began = me.now();
    for (std::uint32_t i = 0; i < ledger->actors; ++i) {
        if (!me.spawn_at<flooder>(UMBEL_SPREAD, i, me.id())) me.fail("cannot spawn");
    }
    for (std::uint32_t done = 0; done < ledger->actors;) done += me.receive().as<Done>() != nullptr ? 1 : 0;
    ledger->nanoseconds = (me.now() - began).count();
    ledger->session->finish();
}

constexpr umbel_plugin plugin = plugin_of<main_actor>("flood");

// ---- The control thread's side ---------------------------------------------------------------------------------------

class Descriptor {
public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    [[nodiscard]] int fd() const { return fd_; }

private:
    int fd_;
};

// A file of the pattern, on a disk if there is one; it has no name left.
int make_source() {
    std::string path = (std::filesystem::temp_directory_path() / "umbel-flood-XXXXXX").string();
    const int fd = ::mkostemp(path.data(), O_CLOEXEC);
    if (fd < 0) return fd;
    ::unlink(path.c_str());
    std::vector<std::uint8_t> bytes(source_bytes);
    for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = pattern(i);
    for (std::size_t done = 0; done < bytes.size();) {
        const ssize_t count = ::write(fd, bytes.data() + done, bytes.size() - done);
        if (count <= 0) {
            ::close(fd);
            return -1;
        }
        done += static_cast<std::size_t>(count);
    }
    return fd;
}

// Whether so many actors may have their descriptors; raises the soft limit.
bool allow_descriptors(std::uint64_t wanted) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
    if (limit.rlim_cur >= wanted) return true;
    limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
    return ::setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= wanted;
}

std::uint64_t completions_of(const rt::Runtime& runtime) {
    std::uint64_t all = 0;
    for (const rt::ExecutorCounters& one : runtime.counters()) all += one.completions;
    return all;
}

int run(const BenchOptions& options) {
    // Opened descriptors, and those whose close is under way, come on top.
    if (!allow_descriptors(std::uint64_t{options.actors} * (descriptors_an_actor + options.window) + 256) &&
        !allow_descriptors(std::uint64_t{options.actors} * (descriptors_an_actor + 1) + 256)) {
        return failed("flood", "each actor needs " + std::to_string(descriptors_an_actor) +
                                   " descriptors: raise `ulimit -n`, or give fewer --actors");
    }
    const Descriptor source(make_source());
    const Descriptor scratch(::memfd_create("umbel-flood", MFD_CLOEXEC));
    const Descriptor never(::eventfd(0, EFD_CLOEXEC));
    const Descriptor always(::eventfd(1, EFD_CLOEXEC));
    if (source.fd() < 0 || scratch.fd() < 0 || never.fd() < 0 || always.fd() < 0) {
        return failed("flood", std::string("its files cannot be made: ") + std::strerror(errno));
    }
    Ledger book;
    book.actors = options.actors;
    book.window = options.window;
    book.quota = static_cast<std::uint32_t>((options.operations + options.actors - 1) / options.actors);
    book.submitted.resize(std::uint64_t{book.actors} * book.quota);
    book.completed.resize(book.submitted.size());
    book.tallies.resize(book.actors);
    book.source = source.fd();
    book.scratch = scratch.fd();
    book.never = never.fd();
    book.always = always.fd();
    book.source_path = "/proc/self/fd/" + std::to_string(source.fd());
    ledger = &book;

    std::unique_ptr<Refusals> refusals;
    if (options.refuse_every != 0) {
        std::string trouble;
        refusals = Refusals::begin(options.refuse_every, trouble);
        if (refusals == nullptr) return failed("flood", trouble);
    }
    rt::ExecutorOptions executors;
    executors.ring_entries = default_ring_entries;
    executors.completion_entries = default_completion_entries;
    executors.buffer_count = 0;
    Session session(plugin, options, executors);
    book.session = &session;
    std::uint64_t before = 0;
    unsigned quiet = 0;
    const std::string trouble = session.run([&](const rt::Runtime& runtime) {
        const std::uint64_t now = completions_of(runtime);
        quiet = now == before ? quiet + 1 : 0;
        before = now;
        return quiet < patience_s;
    });
    ledger = nullptr;

    std::uint64_t operations = 0;
    std::uint64_t lost = 0;
    std::uint64_t duplicated = 0;
    std::uint64_t wrong = 0;
    for (std::size_t i = 0; i < book.submitted.size(); ++i) {
        operations += book.submitted[i];
        lost += book.submitted[i] > book.completed[i] ? 1 : 0;
        duplicated += book.completed[i] > 1 ? book.completed[i] - 1u : 0u;
    }
    for (const Tally& tally : book.tallies) {
        wrong += tally.wrong;
        duplicated += tally.strays;
    }
    if (trouble.empty() && operations + wrong < book.submitted.size()) wrong += book.submitted.size() - operations;
    const rt::ExecutorCounters& counters = session.counters();
    const double seconds = static_cast<double>(book.nanoseconds) / 1e9;
    Line line;
    line.add("name", "flood").add("executors", std::uint64_t{options.executors}).add("operations", operations);
    line.add("lost", lost).add("duplicated", duplicated).add("wrong_results", wrong);
    line.add("cq_overflows", counters.cq_overflows).add("high_priority_yields", counters.high_priority_yields);
    if (refusals != nullptr) line.add("refusals", refusals->count());
    line.add("seconds", seconds);
    line.add("ns_per_operation", operations == 0 ? 0.0 : seconds * 1e9 / static_cast<double>(operations));
    line.add("operations_per_enter", static_cast<double>(counters.operations) /
                                         static_cast<double>(std::max<std::uint64_t>(counters.enters, 1)));
    line.print(options.json);
    if (!trouble.empty()) return failed("flood", trouble + ": it did not come to its end");
    return lost + duplicated + wrong + counters.cq_overflows == 0 ? 0 : 1;
}

}  // namespace

const Benchmark flood{"flood", "more operations wanted than the ring has room for, each accounted for", run};

}  // namespace umbel::bench
