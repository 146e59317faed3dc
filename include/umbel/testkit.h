// testkit.h: a plugin's actors on a simulated kernel and clock, for the plugin's tests. C++23; link with Umbel::testkit.
//
// Why.    What breaks a plugin is what a kernel does once a year: bytes that come in pieces, an operation that is late or
//         fails, a client that goes away in the middle, a drain at the wrong moment. Here one number, the seed, decides all
//         of that, so that a test sees thousands of such days in a second, and the one that failed again and again.
// Shape.  A `simulation` loads the plugin (its .so, or a descriptor linked into the test), runs its actors unchanged on
//         simulated rings, files, sockets and time, all in the test's own thread, and is driven by the test: until something
//         holds, until nothing happens any more, for a while. `finish()` drains as the daemon does and looks for what is left.
//         With GoogleTest: testkit_gtest.h walks a test through many seeds.
// Errors. What cannot go on throws `failure`; its text ends with the seed and the last log lines.
// Not here.  Real files and sockets, threads, real time, a stack that overflows: those want the daemon.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "umbel/types.h"

namespace umbel::testkit {

/// A test that cannot go on. GoogleTest reports it with its text.
class failure : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// This run's seed: UMBEL_SEED of the environment if it is set, else a new one in each run.
[[nodiscard]] std::uint64_t seed();
/// The seed somebody asked for with UMBEL_SEED.
[[nodiscard]] std::optional<std::uint64_t> requested_seed();

/// How likely each trouble is, 0 … 1 each time it could happen, and how long operations take.
struct faults {
    double short_transfer = 0;    // a read, write, send or receive moves less than it could
    double interrupted = 0;       // an operation ends with EINTR
    double io_error = 0;          // a file's read, write or sync ends with EIO
    double open_no_memory = 0;    // an open ends with ENOMEM
    double connection_reset = 0;  // a connection is reset when it is used
    double accept_error = 0;      // an accept ends with ECONNABORTED or EMFILE
    double no_buffers = 0;        // a stream of receives finds no buffer
    double ended_stream = 0;      // the kernel ends a stream; the runtime begins it anew
    double uncancellable = 0.5;   // a cancel comes too late for a file's operation
    double refused_enter = 0;     // the kernel takes nothing at the moment
    double long_delay = 0;        // a delay is a thousand times as long
    nanoseconds shortest_delay{1'000};
    nanoseconds longest_delay{100'000};

    /// Delays and orders are random, bytes arrive in pieces, but nothing fails.
    static faults none() { return {}; }
    /// Everything above happens, some of it often.
    static faults harsh();
};

struct options {
    std::string plugin{};                      // its .so; or
    const umbel_plugin* descriptor = nullptr;  // … its descriptor, if it is linked into the test
    std::string settings{};                    // its section of the config file: lines `key = value`
    std::uint64_t seed = testkit::seed();
    unsigned executors = 1;
    testkit::faults faults{};
    bool any_kernel = false;               // rings of any size, kernels of any age, as the seed will have it
    std::uint64_t memory_limit = 1 << 22;  // as actors.memory_limit
    std::uint64_t stack_size = 1 << 18;    // as actors.stack_size
};

/// One line of the log: what an actor logged, or what the runtime has to say.
struct log_line {
    std::string event;  // a structured event's own name; "plugin_log" for a line of text; else see docs/log-events.md
    int level = 0;      // UMBEL_LOG_…
    umbel_actor_id actor = 0;
    std::string text;
    std::vector<std::pair<std::string, std::string>> fields;  // of a structured event, in its order; values as text

    /// The value of a field, or nothing if there is none of this name.
    [[nodiscard]] std::optional<std::string> field(std::string_view name) const {
        for (const auto& [key, value] : fields) {
            if (key == name) return value;
        }
        return std::nullopt;
    }
};

/// A living actor.
struct actor {
    umbel_actor_id id = 0;
    std::string type;  // the actor type's name
    bool main = false;
};

/// What the plugin holds at this moment.
struct holdings {
    std::size_t actors = 0;
    std::size_t operations = 0;     // in flight
    std::size_t buffers = 0;        // of living actors, not lent to an operation
    std::size_t descriptors = 0;    // open
    std::uint64_t block_bytes = 0;  // of shared blocks that somebody refers to
    bool operator==(const holdings&) const = default;
};

/// A message that an actor has sent to the test.
struct received {
    umbel_actor_id sender = 0;
    std::uint32_t type = 0;
    std::vector<std::byte> bytes;

    /// The message as a T, or nothing if it is something else; as umbel::message::as.
    template <class T>
    [[nodiscard]] std::optional<T> as() const {
        static_assert(std::is_trivially_copyable_v<T>);
        if (type != message_type_of<T>() || bytes.size() != sizeof(T)) return std::nullopt;
        T value;
        std::memcpy(static_cast<void*>(&value), bytes.data(), sizeof value);
        return value;
    }
};

class simulation;

/// The far end of a TCP connection. Copies are the same client. Not used after its simulation.
class client {
public:
    /// Bytes for the plugin; they arrive in order, in random pieces, at random times.
    void send(std::string_view bytes);
    /// No more bytes will be sent (the plugin reads the end); goes on receiving.
    void finish();
    /// Closes both directions, after what was sent.
    void close();
    /// Breaks the connection at once.
    void reset();
    /// Whether arriving bytes are taken; if not, the plugin's sends have to wait.
    void set_reading(bool reading);

    /// All bytes that have arrived here.
    [[nodiscard]] const std::string& all() const;
    [[nodiscard]] bool connected() const;
    [[nodiscard]] bool refused() const;  // nobody listened
    [[nodiscard]] bool ended() const;    // the plugin has finished or closed, and all it sent has arrived
    [[nodiscard]] bool was_reset() const;
    /// Refused, ended or reset: nothing will come any more.
    [[nodiscard]] bool over() const { return refused() || ended() || was_reset(); }

    // These run the simulation until it is so, and throw a failure that says what came instead.

    /// The next bytes up to and with `end`.
    std::string read_until(std::string_view end, nanoseconds within = std::chrono::minutes(1));
    /// The next line, without its end.
    std::string read_line(nanoseconds within = std::chrono::minutes(1));
    /// Everything that still comes, until the plugin ends the connection.
    std::string read_all(nanoseconds within = std::chrono::minutes(1));

private:
    friend class simulation;
    struct state;
    explicit client(std::shared_ptr<state> from) : state_(std::move(from)) {}
    std::shared_ptr<state> state_;
};

/// One plugin on its own small machine. One at a time in a process.
class simulation {
public:
    /// Loads the plugin and checks its settings, as the daemon would. Nothing runs yet.
    explicit simulation(const options& wanted);
    simulation(const simulation&) = delete;
    simulation& operator=(const simulation&) = delete;
    ~simulation();

    /// Runs until every main actor is ready. A failure if one has failed; its text is the reason.
    void start(nanoseconds within = std::chrono::minutes(1));

    /// New settings, as the daemon does it at SIGHUP: all or nothing, and then the mains are told. A failure, and nothing has
    /// changed, if they are wrong, if the plugin refuses them, or if it has no `reload`.
    void reload(std::string_view settings);

    // ---- Driving. All times are simulated: a minute is over in no time if nothing happens in it.

    /// Runs until `condition` holds; false if it does not within the time, or if nothing will ever happen again.
    bool run_until(const std::function<bool()>& condition, nanoseconds within = std::chrono::minutes(1));
    /// Lets so much time pass, with everything that happens in it.
    void run_for(nanoseconds time);
    /// Runs until nothing will happen within `quiet`, as long as nobody does something from outside: timers that are further
    /// away do not count. At most `within`; false if it never became quiet.
    bool run_until_idle(nanoseconds quiet = std::chrono::seconds(1), nanoseconds within = std::chrono::hours(1));
    [[nodiscard]] nanoseconds now() const;
    /// Does something later, while the simulation runs. It may call everything here that does not run the simulation.
    void after(nanoseconds delay, std::function<void()> script);
    /// 0 … bound-1, by the seed.
    [[nodiscard]] std::uint64_t random_below(std::uint64_t bound);
    [[nodiscard]] std::uint64_t seed() const;
    /// A digest of everything the kernel did and when: the same for the same seed and the same test.
    [[nodiscard]] std::uint64_t trace() const;

    // ---- The world around the plugin.

    /// Connects to whoever listens on the port when the connection gets there.
    [[nodiscard]] client connect(std::uint16_t port);
    /// Absolute paths. A folder is there if it was added, or if something is in it.
    void add_file(std::string_view path, std::string bytes);
    void add_folder(std::string_view path);
    [[nodiscard]] std::optional<std::string> file(std::string_view path) const;

    /// Of the operations of this code (UMBEL_OP_…) that the plugin's actors begin from now on, `skipped` run as usual and then
    /// `times` end with `error` (an errno) without having done anything. Each call is a rule of its own; the oldest that fits
    /// counts. Not for timeouts and cancels, which need no kernel.
    void fail_next(std::uint16_t code, int error, unsigned times = 1, unsigned skipped = 0);
    /// Other troubles than the options said, from now on.
    void set_faults(const faults& from_now_on);

    // ---- Actors.

    [[nodiscard]] std::vector<actor> actors() const;
    /// Who has registered this name: an id or 0.
    [[nodiscard]] umbel_actor_id whereis(std::string_view name) const;
    /// The test's own id: the sender of what it sends, and where replies go.
    [[nodiscard]] umbel_actor_id id() const;
    /// Puts a message into an actor's mailbox. 0 or an error, as umbel_send.
    int send(umbel_actor_id to, std::uint32_t type, std::span<const std::byte> bytes);
    template <class T>
    int send(umbel_actor_id to, const T& value) {
        static_assert(std::is_trivially_copyable_v<T>, "a message is copied as bytes");
        return send(to, message_type_of<T>(), std::as_bytes(std::span(&value, 1)));
    }
    /// Runs until the next message for the test has come, and takes it; nothing if none comes.
    std::optional<received> receive(nanoseconds within = std::chrono::minutes(1));

    // ---- What has happened.

    [[nodiscard]] const std::vector<log_line>& log() const;
    /// Whether a line of the log contains `text`.
    [[nodiscard]] bool logged(std::string_view text) const;
    /// "TYPE: REASON" of each actor that has failed since the last call. Those that nobody takes are found by finish().
    std::vector<std::string> take_failures();
    [[nodiscard]] holdings held() const;

    // ---- The end.

    /// As the daemon at SIGTERM: accepts and operations that drain are cancelled, mains are told; then runs until nothing is
    /// in flight. A failure names who goes on for longer than `within` (daemon.drain_timeout).
    void drain(nanoseconds within = std::chrono::seconds(10));
    /// Drains if that has not been done, and looks at what is left. A failure names
    ///   every actor that lives on, unless `may_remain` names its type (those that wait for messages for ever);
    ///   every actor that failed and was not taken by take_failures();
    ///   shared blocks that nobody let go of, if no actor remains.
    /// Buffers and descriptors end with their actors; whether a living one hoards them is seen by held().
    /// Then it ends the plugin's actors and calls its `unload`.
    void finish(std::initializer_list<std::string_view> may_remain = {});

private:
    friend class client;
    struct machine;
    std::unique_ptr<machine> machine_;
};

}  // namespace umbel::testkit
