#include "daemon/preflight.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "daemon/signals.h"

namespace umbel::daemon {

namespace {

constexpr std::size_t max_answer = 1 << 20;

// The answer: one byte (`accepted`, or the class of the error), then texts, each with its length before it. A child
// that dies halfway leaves an answer that does not end where its last text does.

constexpr char accepted = 'A';

void put(std::string& out, std::string_view text) {
    const auto length = static_cast<std::uint32_t>(text.size());
    out.append(reinterpret_cast<const char*>(&length), sizeof length);
    out += text;
}

std::optional<std::string> take(std::string_view& in) {
    std::uint32_t length = 0;
    if (in.size() < sizeof length) return std::nullopt;
    std::memcpy(&length, in.data(), sizeof length);
    in.remove_prefix(sizeof length);
    if (in.size() < length) return std::nullopt;
    std::string text(in.substr(0, length));
    in.remove_prefix(length);
    return text;
}

std::string encoded(const rt::Result<rt::PluginDescription>& result) {
    std::string answer;
    if (result) {
        answer += accepted;
        put(answer, result->name);
        put(answer, result->version);
        put(answer, result->description);
        for (const std::string& setting : result->settings) put(answer, setting);
    } else {
        answer += static_cast<char>(result.error().error_class);
        put(answer, result.error().message);
    }
    return answer;
}

/// The child's answer, or nothing if it is not a whole one.
std::optional<rt::Result<rt::PluginDescription>> decoded(std::string_view answer) {
    if (answer.empty()) return std::nullopt;
    const char kind = answer.front();
    answer.remove_prefix(1);
    std::vector<std::string> texts;
    while (!answer.empty()) {
        auto text = take(answer);
        if (!text) return std::nullopt;
        texts.push_back(std::move(*text));
    }
    if (kind == accepted) {
        if (texts.size() < 3) return std::nullopt;
        return rt::PluginDescription{texts[0], texts[1], texts[2], {texts.begin() + 3, texts.end()}};
    }
    if (texts.size() != 1 || kind < 0 || kind > static_cast<char>(rt::ErrorClass::failure)) return std::nullopt;
    return rt::fail(static_cast<rt::ErrorClass>(kind), texts[0]);
}

// The section, as a child is told of it: name, path, origin, then key, value and origin of each setting.
std::string encoded(const rt::PluginOptions& plugin) {
    std::string section;
    for (const std::string* text : {&plugin.name, &plugin.path, &plugin.origin}) put(section, *text);
    for (const rt::PluginSetting& setting : plugin.settings) {
        for (const std::string* text : {&setting.key, &setting.value, &setting.origin}) put(section, *text);
    }
    return section;
}

std::optional<rt::PluginOptions> decoded_section(std::string_view section) {
    std::vector<std::string> texts;
    while (!section.empty()) {
        auto text = take(section);
        if (!text) return std::nullopt;
        texts.push_back(std::move(*text));
    }
    if (texts.size() < 3 || texts.size() % 3 != 0) return std::nullopt;
    rt::PluginOptions plugin{texts[0], texts[1], texts[2], {}};
    for (std::size_t i = 3; i < texts.size(); i += 3) plugin.settings.push_back({texts[i], texts[i + 1], texts[i + 2]});
    return plugin;
}

// A child's first argument; the second is its parent's process id. Its section is its stdin.
constexpr const char* child_argument = "--internal-preflight-child";
constexpr int answer_fd = 3;

bool write_all(int fd, std::string_view left) {
    while (!left.empty()) {
        const ssize_t written = ::write(fd, left.data(), left.size());
        if (written < 0 && errno != EINTR) return false;
        left.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(0, written)));
    }
    return true;
}

std::string read_section() {
    std::string text;
    std::array<char, 4096> piece{};
    ssize_t got = 0;
    while ((got = ::read(STDIN_FILENO, piece.data(), piece.size())) > 0) {
        text.append(piece.data(), static_cast<std::size_t>(got));
    }
    return text;
}

[[noreturn]] void be_the_child(pid_t parent, const Preflight& preflight) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(1);  // It died before the line above.
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    ::dup2(STDERR_FILENO, STDOUT_FILENO);
    ::fcntl(answer_fd, F_SETFD, FD_CLOEXEC);
    const auto plugin = decoded_section(read_section());
    if (!plugin) ::_exit(1);

    std::string answer;
    try {
        answer = encoded(preflight(*plugin));
    } catch (const std::exception& error) {
        answer = encoded(rt::fail(rt::ErrorClass::configuration,
                                  plugin->origin + ": plugin." + plugin->name + ": its code threw: " + error.what()));
    }
    static_cast<void>(write_all(answer_fd, answer));
    ::_exit(0);  // No destructor of the plugin runs: they are not what is tested.
}

/// Starts the child, or returns the error's number.
int start_child(int section_fd, int writing_fd, pid_t& child) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawn_file_actions_adddup2(&actions, section_fd, STDIN_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, writing_fd, answer_fd);
    sigset_t nothing;
    sigset_t defaults;
    sigemptyset(&nothing);
    sigemptyset(&defaults);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) sigaddset(&defaults, signal);
    ::posix_spawnattr_setsigmask(&attributes, &nothing);
    ::posix_spawnattr_setsigdefault(&attributes, &defaults);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    std::string program = program_invocation_name;  // for ps
    std::string argument = child_argument;
    std::string parent = std::to_string(::getpid());
    char* const arguments[] = {program.data(), argument.data(), parent.data(), nullptr};
    const int error = ::posix_spawn(&child, "/proc/self/exe", &actions, &attributes, arguments, environ);
    ::posix_spawnattr_destroy(&attributes);
    ::posix_spawn_file_actions_destroy(&actions);
    return error;
}

/// Reads until the child has closed its end, has ended, or the time is over. False: the last of these.
bool read_answer(int fd, int child_fd, rt::Nanoseconds timeout, std::string& answer) {
    const auto until = std::chrono::steady_clock::now() + timeout;
    for (;;) {
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
        if (left.count() <= 0) return false;
        std::array<pollfd, 2> watched{{{fd, POLLIN, 0}, {child_fd, POLLIN, 0}}};
        if (::poll(watched.data(), watched.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) return false;
        // What it wrote before it ended is in the pipe; a descendant may hold the pipe open.
        const bool ended = (watched[1].revents & POLLIN) != 0;
        std::array<char, 4096> piece{};
        ssize_t got = 0;
        while ((got = ::read(fd, piece.data(), piece.size())) > 0 && answer.size() < max_answer) {
            answer.append(piece.data(), static_cast<std::size_t>(got));
        }
        if (ended) return true;
        if (got == 0) {
            // It has answered, or given up its end: it ends by itself very soon.
            pollfd child{child_fd, POLLIN, 0};
            return ::poll(&child, 1, static_cast<int>(left.count())) > 0;
        }
    }
}

struct Descriptor {
    int fd = -1;
    Descriptor() = default;
    explicit Descriptor(int number) : fd(number) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() { reset(); }
    void reset() {
        if (fd >= 0) ::close(std::exchange(fd, -1));
    }
};

/// The same open file under a number that is neither a standard stream's nor answer_fd.
int raised(int fd) {
    if (fd < 0 || fd > answer_fd) return fd;
    const int other = ::fcntl(fd, F_DUPFD_CLOEXEC, answer_fd + 1);
    ::close(fd);
    return other;
}

}  // namespace

void preflight_child(int argc, char** argv, const Preflight& preflight) {
    if (argc != 3 || std::string_view(argv[1]) != child_argument) return;
    be_the_child(static_cast<pid_t>(std::strtol(argv[2], nullptr, 10)), preflight);
}

rt::Result<rt::PluginDescription> preflight_in_child(const rt::PluginOptions& plugin, rt::Nanoseconds timeout) {
    const auto system_error = [&](const char* what, int error) {
        return rt::fail(rt::ErrorClass::system, std::string(what) + " for checking plugin." + plugin.name + ": " +
                                                    std::system_category().message(error) +
                                                    "; see the limits of processes and memory (ulimit -u, TasksMax=)");
    };
    const auto fault = [&](const std::string& what) {
        return rt::fail(rt::ErrorClass::configuration,
                        plugin.origin + ": plugin." + plugin.name + ": " + plugin.path + " " + what);
    };
    // Above the numbers that the child's own will have.
    const Descriptor section(raised(::memfd_create("umbel-plugin-section", MFD_CLOEXEC)));
    if (section.fd < 0 || !write_all(section.fd, encoded(plugin)) || ::lseek(section.fd, 0, SEEK_SET) != 0) {
        return system_error("no memory", errno);
    }
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return system_error("no pipe", errno);
    const Descriptor reading(raised(ends[0]));
    Descriptor writing(raised(ends[1]));
    if (reading.fd < 0 || writing.fd < 0) return system_error("no pipe", errno);
    ::fcntl(reading.fd, F_SETFL, O_NONBLOCK);
    pid_t child = -1;
    if (const int error = start_child(section.fd, writing.fd, child); error != 0) {
        return system_error("no process", error);
    }
    writing.reset();
    const Descriptor child_fd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    const int no_descriptor = child_fd.fd < 0 ? errno : 0;

    std::string answer;
    const bool in_time = child_fd.fd >= 0 && read_answer(reading.fd, child_fd.fd, timeout, answer);
    if (!in_time) ::kill(child, SIGKILL);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (no_descriptor != 0) return system_error("no process descriptor", no_descriptor);
    if (!in_time) {
        const auto seconds = std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count();
        return fault("did not finish loading in " + std::to_string(seconds) +
                     " ms; its constructors and its load() must return at once");
    }
    if (WIFSIGNALED(status)) {
        return fault("crashed while it was loaded: " + signal_name(WTERMSIG(status)) +
                     "; its constructors or its load() are at fault");
    }
    if (auto result = decoded(answer); result && WEXITSTATUS(status) == 0) return std::move(*result);
    return fault("ended the process while it was loaded (exit code " + std::to_string(WEXITSTATUS(status)) +
                 "); a plugin must not call exit");
}

}  // namespace umbel::daemon
