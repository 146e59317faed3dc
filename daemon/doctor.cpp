#include "daemon/doctor.h"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>

#include "config/configuration.h"
#include "daemon/version.h"
#include "runtime/base/options.h"
#include "runtime/base/quantity.h"
#include "runtime/io/kernel_report.h"

namespace umbel::daemon {

namespace {

constexpr std::uint64_t few_descriptors = 1024;  // the usual soft limit of a shell
constexpr std::uint64_t enough_descriptors = 65536;

std::optional<int> number_in(const char* file) {
    std::ifstream in(file);
    int number = 0;
    if (!(in >> number)) return std::nullopt;
    return number;
}

rlimit limit_of(__rlimit_resource resource) {
    rlimit limit{};
    ::getrlimit(resource, &limit);
    return limit;
}

std::optional<rt::Bytes> bytes_of(rlim_t limit) {
    if (limit == RLIM_INFINITY) return std::nullopt;
    return rt::Bytes{limit};
}

bool has_ipc_lock() {
    constexpr unsigned cap_ipc_lock = 14;
    std::ifstream in("/proc/self/status");
    for (std::string line; std::getline(in, line);) {
        if (line.starts_with("CapEff:")) return (std::stoull(line.substr(7), nullptr, 16) >> cap_ipc_lock & 1) != 0;
    }
    return false;
}

Finding ring_finding(const MachineFacts& facts) {
    if (facts.ring) return {Health::good, *facts.ring, ""};
    // The sentence ends with its remedy, after the last semicolon.
    const std::string& message = facts.ring.error().message;
    const std::size_t split = message.rfind("; ");
    if (split == std::string::npos) return {Health::broken, "io_uring: " + message, "see docs/operator-guide.md"};
    return {Health::broken, "io_uring: " + message.substr(0, split), message.substr(split + 2)};
}

Finding switch_finding(int disabled) {
    const std::string text = "kernel.io_uring_disabled is " + std::to_string(disabled);
    if (disabled == 0) return {Health::good, text, ""};
    if (disabled == 1) {
        return {Health::poor, text + ": only privileged processes and one group may use io_uring",
                "sysctl kernel.io_uring_disabled=0, or add the daemon's group to kernel.io_uring_group"};
    }
    return {Health::broken, text + ": nobody may use io_uring", "sysctl kernel.io_uring_disabled=0"};
}

Finding memlock_finding(const MachineFacts& facts) {
    if (!facts.memlock_limit) return {Health::good, "locked memory: unlimited", ""};
    const rt::Bytes needed = facts.ring_memory * facts.executors;
    const std::string text = "locked memory: " + rt::to_text(*facts.memlock_limit) + " allowed; " +
                             std::to_string(facts.executors) + " executors need " + rt::to_text(needed);
    if (facts.may_exceed_memlock) return {Health::good, text + "; CAP_IPC_LOCK lifts the limit", ""};
    if (*facts.memlock_limit >= needed) return {Health::good, text, ""};
    return {Health::poor, text,
            "LimitMEMLOCK=infinity in the unit, ulimit -l in a shell, or lower executors.completion_entries"};
}

Finding descriptors_finding(std::uint64_t limit) {
    const std::string text = "descriptors: " + std::to_string(limit) + " allowed";
    if (limit >= enough_descriptors) return {Health::good, text, ""};
    const bool few = limit <= few_descriptors;
    return {Health::poor, text + (few ? ": each connection and open file takes one" : ": enough for a small service"),
            "LimitNOFILE=" + std::to_string(enough_descriptors) + " or more in the unit, ulimit -n in a shell"};
}

}  // namespace

MachineFacts facts() {
    const rt::ExecutorOptions defaults;
    MachineFacts facts;
    facts.kernel = kernel_release();
    facts.ring = rt::kernel_report(defaults.ring_entries, defaults.completion_entries);
    facts.io_uring_disabled = number_in("/proc/sys/kernel/io_uring_disabled");
    facts.ring_memory = rt::locked_memory(defaults.ring_entries, defaults.completion_entries);
    facts.executors = std::clamp<std::size_t>(config::this_machine({}).allowed_cpus.size(), 1, rt::max_executors);
    facts.memlock_limit = bytes_of(limit_of(RLIMIT_MEMLOCK).rlim_cur);
    facts.may_exceed_memlock = has_ipc_lock();
    facts.descriptor_limit = limit_of(RLIMIT_NOFILE).rlim_cur;
    facts.address_space = bytes_of(limit_of(RLIMIT_AS).rlim_cur);
    facts.overcommit_memory = number_in("/proc/sys/vm/overcommit_memory").value_or(0);
    return facts;
}

std::vector<Finding> diagnose(const MachineFacts& facts) {
    std::vector<Finding> findings;
    findings.push_back({Health::good, "kernel: " + facts.kernel, ""});
    findings.push_back(ring_finding(facts));
    if (facts.io_uring_disabled) findings.push_back(switch_finding(*facts.io_uring_disabled));
    findings.push_back(memlock_finding(facts));
    findings.push_back(descriptors_finding(facts.descriptor_limit));
    if (facts.address_space) {
        findings.push_back({Health::broken,
                            "address space: limited to " + rt::to_text(*facts.address_space) +
                                "; contexts of actors are cut from reservations far larger than memory",
                            "LimitAS=infinity in the unit, ulimit -v unlimited in a shell"});
    } else {
        findings.push_back({Health::good, "address space: unlimited", ""});
    }
    if (facts.overcommit_memory == 2) {
        findings.push_back({Health::broken, "vm.overcommit_memory is 2: reservations count as memory in use",
                            "sysctl vm.overcommit_memory=0, or lower actors.max and actors.memory_limit"});
    } else {
        findings.push_back({Health::good, "vm.overcommit_memory is " + std::to_string(facts.overcommit_memory), ""});
    }
    return findings;
}

}  // namespace umbel::daemon
