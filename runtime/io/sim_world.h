// sim_world.h: the simulated kernel: a clock, files, pipes, sockets, clients, signals, processes, and operations that
// complete in any order.
//
// Why.    One seed decides every delay, piece of data, fault and order, so that a failure found once is found again.
// Shape.  A queue of events by simulated time. An operation is attempted after a random delay; what would block is
//         parked on its descriptor and attempted again, after another delay, when the descriptor changes. Clients are
//         sockets without a descriptor, scripted by the test. Every SimRing of a world shares its descriptor table, as
//         the threads of one process do.
// Owner.  The test that drives it; one thread. Rings are destroyed before the world.
//
// Invariants (check_invariants())
//   W1  every operation consumed gives exactly one completion without F_MORE, unless its ring is destroyed first
//   W2  the caller's buffers are touched only while their operation is in flight, and only when its turn comes;
//       paths, addresses and times are copied when the entry is consumed (SUBMIT_STABLE)
//   W3  an open description lives while a descriptor, an operation, a message under way or a client refers to it
//   W4  nothing depends on addresses or on the machine's time: equal seed and equal calls give an equal trace_hash()
//   W5  a chain's operations run in order; after a failure the rest complete with ECANCELED
//
// Where it is kinder than a kernel: a short submission does not split a chain; queues of datagrams have no limit; a watch is
// told of a file's end with its last name. Where it knows less: timeouts that count
// completions, updates of polls and timeouts, IOSQE_IO_DRAIN, _FIXED_FILE and _CQE_SKIP_SUCCESS, buffer selection other
// than by RECV end with EINVAL, as does every opcode not listed at sim_supports().
//
// Driver.  while (work is left) { for each executor: one turn; if (world.all_asleep() && !world.advance()) break; }
//
// Not here.  The queues: sim_ring.h.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/io/sim_ring.h"

namespace umbel::rt {

class SimWorld;

/// How likely each trouble is, 0 … 1 each time it could happen, and how long things take.
struct SimFaults {
    double refused_enter = 0;     // enter() → -EBUSY, nothing consumed.
    double no_memory_enter = 0;   // enter() → -EAGAIN, nothing consumed.
    double partial_enter = 0;     // enter() consumes only some entries.
    double interrupted = 0;       // An operation ends with EINTR.
    double short_transfer = 0;    // A read, write, send or receive moves less than it could.
    double io_error = 0;          // A file's read, write or fsync ends with EIO.
    double open_no_memory = 0;    // An open ends with ENOMEM.
    double connection_reset = 0;  // A connection is reset when it is used.
    double accept_error = 0;      // An accept ends with ECONNABORTED or EMFILE.
    double lost_datagram = 0;     // A UDP datagram does not arrive.
    double no_buffers = 0;        // A receive that selects a buffer ends with ENOBUFS although there are some.
    double ended_multishot = 0;   // A multishot operation ends (no F_MORE) with a good completion.
    double uncancellable = 0.5;   // A file operation is already running when it is cancelled: EALREADY.
    double long_delay = 0;        // A delay is a thousand times as long.
    Nanoseconds shortest_delay{1'000};
    Nanoseconds longest_delay{100'000};

    /// Delays and orders are random, pieces arrive as they like, but nothing fails.
    static SimFaults none() { return {}; }
    /// Everything above happens, some of it often.
    static SimFaults harsh();
};

/// Whether the simulated kernel knows the opcode: NOP, OPENAT2, CLOSE, READ, WRITE, READV, WRITEV, FSYNC, STATX, FALLOCATE,
/// FTRUNCATE, UNLINKAT, RENAMEAT, MKDIRAT, LINKAT, SYMLINKAT, SPLICE, SOCKET, BIND, LISTEN, ACCEPT, CONNECT, RECV, SEND,
/// RECVMSG, SENDMSG, SHUTDOWN, POLL_ADD, POLL_REMOVE, TIMEOUT, TIMEOUT_REMOVE, LINK_TIMEOUT, ASYNC_CANCEL.
[[nodiscard]] bool sim_supports(unsigned opcode);

/// The far end of a connection, outside the simulated process. Made by SimWorld::connect_client().
class SimClient {
public:
    /// Bytes for the server; they arrive in order, in random pieces, at random times; before the connection is
    /// accepted as well.
    void send(std::string_view bytes);
    /// No more bytes will be sent (the server reads 0); goes on receiving.
    void finish();
    /// Closes both directions, after what was sent.
    void close();
    /// Breaks the connection at once: both ends see ECONNRESET.
    void reset();
    /// Whether arriving bytes are taken; if not, they fill the window and the server's sends wait.
    void set_reading(bool reading);

    [[nodiscard]] const std::string& received() const { return received_; }
    [[nodiscard]] bool connected() const { return connected_; }  // A listener has taken it into its backlog.
    [[nodiscard]] bool refused() const { return refused_; }      // Nobody listened.
    [[nodiscard]] bool ended() const { return ended_; }          // The server has finished or closed.
    [[nodiscard]] bool was_reset() const { return was_reset_; }

    // Hooks; they may call anything here.
    std::function<void(std::string_view)> on_data;
    std::function<void()> on_end;  // The server has ended, refused or reset the connection.

private:
    friend class SimWorld;
    SimWorld* world_ = nullptr;
    std::uint64_t description_ = 0;
    std::string received_;
    bool reading_ = true;
    bool connected_ = false;
    bool refused_ = false;
    bool ended_ = false;
    bool was_reset_ = false;
    bool closed_ = false;
};

class SimWorld {
public:
    explicit SimWorld(std::uint64_t seed, SimFaults faults = SimFaults::none());
    SimWorld(const SimWorld&) = delete;
    SimWorld& operator=(const SimWorld&) = delete;
    ~SimWorld();

    [[nodiscard]] std::unique_ptr<SimRing> make_ring(const SimRingOptions& options = {});

    // ---- Time. Reading clock() and every enter() take a little of it, so that a busy executor does not stop it.

    [[nodiscard]] Nanoseconds now() const { return now_; }
    [[nodiscard]] Clock& clock() { return clock_; }
    [[nodiscard]] bool all_asleep() const;
    /// When something will happen by itself: an operation, a client, a script, the end of a ring's sleep. max(): never.
    [[nodiscard]] Nanoseconds next_event() const;
    /// Moves the clock to what happens next: an operation, a client, a script or the end of a ring's sleep.
    /// Returns false if nothing will ever happen again.
    bool advance();
    /// Lets so much time pass, with everything that happens in it.
    void pass(Nanoseconds time);
    /// Runs a script after `delay`.
    void after(Nanoseconds delay, std::function<void()> script);

    // ---- Files. Paths are absolute; a directory exists if it was added or something is in it.

    void add_file(std::string_view path, std::string bytes);
    void add_directory(std::string_view path);
    [[nodiscard]] std::optional<std::string> file(std::string_view path) const;

    // ---- Signals and processes.

    /// Sends the simulated process a signal; nobody who reads it: it is dropped.
    void send_signal(int signal, int value = 0);
    /// A child of the simulated process, and its end.
    void add_process(int pid);
    void end_process(int pid, int code, int status);

    // ---- Network.

    /// A client that connects from 127.0.0.1 to whoever listens on the port (host byte order) when it gets there.
    std::shared_ptr<SimClient> connect_client(std::uint16_t port);

    // ---- Chance: the same source for everything; scripts may draw from it.

    [[nodiscard]] std::uint64_t seed() const { return seed_; }
    [[nodiscard]] std::uint64_t random();
    [[nodiscard]] std::uint64_t random_below(std::uint64_t bound);  // bound ≥ 1
    [[nodiscard]] bool chance(double probability);
    void set_faults(const SimFaults& faults) { faults_ = faults; }
    [[nodiscard]] const SimFaults& faults() const { return faults_; }
    /// Asked when an operation's turn comes; an errno ends it with that error, 0 lets it go its way. Not asked for timeouts
    /// and cancels.
    std::function<int(const io_uring_sqe&)> on_attempt;

    // ---- Witness.

    /// A digest of everything the kernel did and when.
    [[nodiscard]] std::uint64_t trace_hash() const { return trace_hash_; }
    /// Gets a line for each thing the kernel does.
    std::function<void(const std::string&)> on_trace;
    /// Open descriptors, wake descriptors not counted: 0 when everything was closed.
    [[nodiscard]] std::size_t open_descriptors() const { return descriptors_.size() - rings_.size(); }
    void check_invariants() const;

private:
    friend class SimRing;
    friend class SimClient;

    using OperationId = std::uint64_t;
    using DescriptionId = std::uint64_t;
    using RightsId = std::uint64_t;  // Descriptors that travel in a message; 0: none.

    struct Inode;
    struct Watch;
    struct Datagram;
    struct Description;
    struct Operation;
    using Chain = std::deque<std::unique_ptr<Operation>>;

    class SimClock final : public Clock {
    public:
        explicit SimClock(SimWorld& world) : world_(world) {}
        [[nodiscard]] Nanoseconds now() override;

    private:
        SimWorld& world_;
    };

    // Rings.
    int enter(SimRing& ring, unsigned min_complete, Nanoseconds timeout);
    unsigned consume(SimRing& ring, unsigned count);
    void run_work(SimRing& ring);
    void forget(SimRing& ring);
    void wake(int fd);
    std::unique_ptr<Operation> prepare(SimRing& ring, const io_uring_sqe& sqe);

    // Operations.
    void start(std::unique_ptr<Operation> operation);
    void schedule(Operation& operation, Nanoseconds delay);
    void fire(OperationId id);
    void attempt(Operation& operation);
    [[nodiscard]] int refusal_of(const io_uring_sqe& sqe) const;
    void park(Operation& operation);
    bool complete(Operation& operation, int result, unsigned flags = 0);
    void retire(OperationId id, bool failed);
    void cancel_chain(Chain& chain);
    bool cancel(Operation& operation);
    void post(SimRing& ring, const Operation& operation, int result, unsigned flags);

    void attempt_read(Operation& operation);
    void attempt_write(Operation& operation);
    void attempt_file_change(Operation& operation);
    void read_file(Operation& operation);
    void write_file(Operation& operation);
    void read_records(Operation& operation);
    void read_pipe(Operation& operation);
    void write_pipe(Operation& operation);
    void attempt_splice(Operation& operation);
    void attempt_receive(Operation& operation);
    void receive_datagram(Operation& operation);
    bool select_buffer(Operation& operation, unsigned& result_flags);
    void finish_receive(Operation& operation, int result, unsigned flags, RightsId rights, const std::string& from,
                        int message_flags);
    void attempt_send(Operation& operation);
    void send_datagram(Operation& operation);
    int collect_rights(const Operation& operation, RightsId& rights);
    void drop_rights(RightsId rights);
    void attempt_accept(Operation& operation);
    void attempt_connect(Operation& operation);
    void attempt_poll(Operation& operation);
    void attempt_wake_read(Operation& operation);
    int do_open(Operation& operation);
    int do_statx(Operation& operation);
    int do_unlink(Operation& operation);
    int do_rename(Operation& operation);
    int do_mkdir(Operation& operation);
    int do_link(Operation& operation);
    int do_symlink(Operation& operation);
    int do_cancel(Operation& operation);
    int do_remove(Operation& operation);
    int do_socket(int domain, int type, int protocol);
    int do_bind(Description* socket, std::string address);
    int do_listen(Description* socket, unsigned backlog);
    int do_close(int fd);
    int do_shutdown(Description* socket, int how);
    int call(const io_uring_sqe& sqe);
    std::int64_t push(int fd, std::string_view bytes);
    int set_socket_option(int fd, int level, int option, int value);
    int local_address(int fd, sockaddr* address, socklen_t* length);
    int duplicate(int fd);
    int make_pipe(int flags, std::array<int, 2>& ends);
    int open_watcher();
    int add_watch(int watcher, int path_fd, std::uint32_t mask);
    int remove_watch(int watcher, int watch);
    int open_process(int pid);
    int process_status(int process, umbel_process_status& status);
    int open_signals(std::uint64_t signals);

    // Descriptions.
    Description& make_description();
    Description& make_connected(Description& to, const std::string& local, const std::string& remote);
    Description* find(DescriptionId id);
    Description* at(int fd);
    int install(Description& description);
    void release(DescriptionId id);
    void let_go(Description& description);
    void hang_up(Description& description);
    void poke(Description& description);
    [[nodiscard]] unsigned readiness(Description& description);
    [[nodiscard]] std::size_t room_to_send(const Description& socket);
    void transmit(Description& from, std::string_view bytes, RightsId rights = 0);
    void transmit_end(Description& from);
    void arrive(DescriptionId from, DescriptionId to, const std::string& bytes, RightsId rights);
    void take_from_inbox(Description& socket, std::size_t bytes);
    void break_connection(Description& description);
    void mark_broken(Description& description);
    void tell_client(DescriptionId id);
    Description* find_listener(const std::string& address);
    void arrive_at_listener(DescriptionId id, const std::string& address, unsigned tries);
    void open_client(Description& description);
    /// The absolute path that `path` means, relative to `directory`; or -errno. follow: the last part as well.
    int resolve(int directory, std::string path, std::uint64_t flags, bool follow, std::string& resolved);
    [[nodiscard]] bool is_directory(const std::string& path) const;
    [[nodiscard]] bool is_empty(const std::string& directory) const;
    [[nodiscard]] bool exists(const std::string& path) const;
    void remove_name(const std::string& path);
    void move_tree(const std::string& from, const std::string& to);
    /// Tells watches of something that happened to `path`, and to the file there (null: a directory).
    void notify(const std::string& path, const std::shared_ptr<Inode>& inode, std::uint32_t what,
                std::uint32_t cookie = 0);
    void add_record(Description& watcher, int watch, std::uint32_t mask, std::uint32_t cookie, const std::string& name);

    // Time and trace.
    Nanoseconds delay();
    void run_until(Nanoseconds time);
    void trace(const char* what, std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d);

    const std::uint64_t seed_;
    std::uint64_t random_state_;
    SimFaults faults_;
    Nanoseconds now_{1'000'000'000};
    SimClock clock_;
    bool in_event_ = false;
    std::uint64_t trace_hash_ = 0xcbf29ce484222325;

    std::map<std::pair<Nanoseconds, std::uint64_t>, std::function<void()>> events_;
    std::uint64_t next_event_ = 0;
    std::map<OperationId, std::unique_ptr<Operation>> operations_;
    OperationId next_operation_ = 1;
    std::map<DescriptionId, std::unique_ptr<Description>> descriptions_;
    DescriptionId next_description_ = 1;
    std::map<int, DescriptionId> descriptors_;
    std::map<std::string, std::shared_ptr<Inode>, std::less<>> files_;
    std::set<std::string, std::less<>> directories_;
    std::uint64_t next_inode_ = 1;
    std::uint32_t next_cookie_ = 1;
    std::map<RightsId, std::vector<DescriptionId>> rights_;  // In messages under way or not received.
    RightsId next_rights_ = 1;
    struct Process {
        bool ended = false;
        bool reported = false;
        umbel_process_status status{};
    };
    std::map<int, Process> processes_;
    std::uint16_t next_port_ = 40000;
    std::vector<SimRing*> rings_;
    unsigned next_ring_ = 0;
};

}  // namespace umbel::rt
