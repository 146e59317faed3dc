// Specification of log_sink.h, and of append_journal.
#include "daemon/log_sink.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "temporary_folder.h"

namespace umbel::daemon {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

LogLine numbered(int number, std::size_t padding = 0) {
    LogLine line = line_of(rt::EventKind::config_warning, std::to_string(number) + std::string(padding, '.'));
    return line;
}

/// Fields of a datagram as journald reads them; empty if it is none.
std::map<std::string, std::string> fields_of(std::string_view datagram) {
    std::map<std::string, std::string> fields;
    while (!datagram.empty()) {
        const std::size_t end = datagram.find('\n');
        const std::size_t equals = datagram.substr(0, end).find('=');
        if (end == std::string_view::npos) return {};
        const std::string name(datagram.substr(0, std::min(end, equals)));
        if (equals != std::string_view::npos) {
            fields[name] = datagram.substr(equals + 1, end - equals - 1);
            datagram.remove_prefix(end + 1);
            continue;
        }
        datagram.remove_prefix(end + 1);
        std::uint64_t length = 0;
        for (int i = 0; i < 8; ++i)
            length |= std::uint64_t{static_cast<unsigned char>(datagram[std::size_t(i)])} << (8 * i);
        if (datagram.size() < 8 + length + 1 || datagram[8 + length] != '\n') return {};
        fields[name] = datagram.substr(8, length);
        datagram.remove_prefix(8 + length + 1);
    }
    return fields;
}

/// A journald that is only a socket.
struct FakeJournal {
    explicit FakeJournal(const std::string& path) : fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path.copy(address.sun_path, sizeof address.sun_path - 1);
        EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    }
    ~FakeJournal() { ::close(fd); }
    std::string take() const {
        std::string bytes(65536, ' ');
        const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
        bytes.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
        return bytes;
    }
    int fd;
};

// Spec.   A line becomes a datagram with the documented fields; a value with line breaks comes through whole.
TEST(JournalSink, SendsEachLineWithItsFields) {
    const TemporaryFolder folder;
    const FakeJournal journal(folder / "socket");
    Patience patience;
    auto sink = JournalSink::open(folder / "socket", patience);
    ASSERT_TRUE(sink) << sink.error().message;
    LogLine line = line_of(rt::EventKind::ready, "two\nlines \xff", {41});
    line.time_ns = 0;
    line.executor = 2;
    line.plugin = "web";
    line.actor = 0x10;
    line.fields.emplace_back("plugin.my-web", "listening\non 1");
    (*sink)->add(LineView(line));
    const auto fields = fields_of(journal.take());
    EXPECT_EQ(fields, (std::map<std::string, std::string>{{"MESSAGE", "two\\nlines \xef\xbf\xbd"},
                                                          {"PRIORITY", "6"},
                                                          {"SYSLOG_IDENTIFIER", "umbeld"},
                                                          {"UMBEL_EVENT", "ready"},
                                                          {"UMBEL_TS", "1970-01-01T00:00:00.000000Z"},
                                                          {"UMBEL_EXECUTOR", "2"},
                                                          {"UMBEL_PLUGIN", "web"},
                                                          {"UMBEL_ACTOR", "0x10"},
                                                          {"UMBEL_STARTUP_MS", "41"},
                                                          {"UMBEL_PLUGIN_MY_WEB", "listening\non 1"}}));
    EXPECT_EQ((*sink)->lost(), 0u);
}

// Spec.   A journald that does not read is waited for, but not when patience is over; one that has gone loses lines, and
//         one that has come back gets them again. Every line is written or counted.
TEST(JournalSink, CountsWhatItCannotSend) {
    const TemporaryFolder folder;
    auto journal = std::make_unique<FakeJournal>(folder / "socket");
    Patience patience;
    auto sink = JournalSink::open(folder / "socket", patience);
    ASSERT_TRUE(sink);
    patience.end_by(std::chrono::steady_clock::now());
    for (int i = 0; i < 5000; ++i) (*sink)->add(LineView(numbered(i)));
    std::uint64_t received = 0;
    while (!journal->take().empty()) ++received;
    EXPECT_GT((*sink)->lost(), 0u);
    EXPECT_EQ((*sink)->lost() + received, 5000u);
    journal.reset();
    std::filesystem::remove(folder / "socket");
    (*sink)->add(LineView(numbered(1)));
    EXPECT_EQ((*sink)->lost() + received, 5001u);
    const FakeJournal again(folder / "socket");
    (*sink)->add(LineView(numbered(2)));
    EXPECT_FALSE(again.take().empty());
    const auto refused = JournalSink::open(folder / "nowhere", patience);
    ASSERT_FALSE(refused);
    EXPECT_THAT(refused.error().message, HasSubstr("start systemd-journald"));
}

// Spec.   A pipe that nobody reads blocks nothing for longer than patience lasts; its reader sees whole lines only, each
//         that was not counted as lost, also after some were (I1, I2).
TEST(DescriptorSink, ABlockedPipeLosesWholeLines) {
    for (const std::size_t pieces : {std::size_t{64 * 1024}, std::size_t{4096}}) {
        int ends[2];
        ASSERT_EQ(::pipe2(ends, O_CLOEXEC | (pieces == 4096 ? 0 : O_NONBLOCK)), 0);
        ASSERT_GE(::fcntl(ends[1], F_SETPIPE_SZ, 8192), 0);
        Patience patience;
        DescriptorSink sink(ends[1], false, pieces, config::LogFormat::json, patience);
        patience.end_by(std::chrono::steady_clock::now() + milliseconds(20));
        for (int i = 0; i < 1000; ++i) sink.add(LineView(numbered(i, static_cast<std::size_t>(i % 300))));
        sink.flush();
        EXPECT_GT(sink.lost(), 0u);
        EXPECT_THAT(sink.trouble(), HasSubstr("nobody takes it"));
        std::string read;
        const auto drain = [&] {
            std::array<char, 4096> bytes{};
            ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
            for (ssize_t got = 0; (got = ::read(ends[0], bytes.data(), bytes.size())) > 0;) {
                read.append(bytes.data(), static_cast<std::size_t>(got));
            }
        };
        drain();
        for (int i = 1000; i < 1003; ++i) sink.add(LineView(numbered(i)));
        sink.flush();
        drain();
        std::uint64_t lines = 0;
        for (std::size_t end = 0; (end = read.find('\n')) != std::string::npos; read.erase(0, end + 1)) {
            ASSERT_TRUE(nlohmann::json::accept(read.substr(0, end))) << read.substr(0, end);
            ++lines;
        }
        EXPECT_EQ(read, "");
        EXPECT_EQ(lines + sink.lost(), 1003u);
        ::close(ends[0]);
    }
}

// Spec.   A full disk and a reader that has gone lose lines, and say why.
TEST(DescriptorSink, AFullDiskAndAClosedPipeAreCounted) {
    std::signal(SIGPIPE, SIG_IGN);  // as the daemon does (signals.h)
    Patience patience;
    DescriptorSink full(::open("/dev/full", O_WRONLY | O_CLOEXEC), false, 64 * 1024, config::LogFormat::json, patience);
    for (int i = 0; i < 10; ++i) full.add(LineView(numbered(i)));
    full.flush();
    EXPECT_EQ(full.lost(), 10u);
    EXPECT_THAT(full.trouble(), HasSubstr("No space left"));
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    ::close(ends[0]);
    DescriptorSink closed(ends[1], false, 64 * 1024, config::LogFormat::json, patience);
    closed.add(LineView(numbered(1)));
    closed.flush();
    EXPECT_EQ(closed.lost(), 1u);
    EXPECT_THAT(closed.trouble(), HasSubstr("Broken pipe"));
}

// Spec.   auto is the journal if and only if systemd says that stdout goes there.
TEST(ResolvedSink, AutoLooksAtTheJournalStream) {
    struct stat status{};
    ASSERT_EQ(::fstat(1, &status), 0);
    const std::string mine = std::to_string(status.st_dev) + ":" + std::to_string(status.st_ino);
    ::unsetenv("JOURNAL_STREAM");
    EXPECT_EQ(resolved_sink("auto"), "stdout");
    ::setenv("JOURNAL_STREAM", "1:2", 1);
    EXPECT_EQ(resolved_sink("auto"), "stdout");
    ::setenv("JOURNAL_STREAM", mine.c_str(), 1);
    EXPECT_EQ(resolved_sink("auto"), "journal");
    EXPECT_EQ(resolved_sink("stderr"), "stderr");
    ::unsetenv("JOURNAL_STREAM");
}

}  // namespace
}  // namespace umbel::daemon
