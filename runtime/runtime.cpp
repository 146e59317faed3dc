#include "runtime/runtime.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <latch>
#include <map>
#include <mutex>
#include <thread>

#include "runtime/io/real_ring.h"
#include "runtime/plugin/host.h"
#include "runtime/plugin/loader.h"
#include "runtime/sched/executor.h"
#include "runtime/sched/fault.h"

namespace umbel::rt {

namespace {

std::size_t descriptor_limit() {
    rlimit limit{};
    constexpr std::size_t most = std::size_t{1} << 24;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max == RLIM_INFINITY) return most;
    return std::min<std::size_t>(most, limit.rlim_max);
}

Result<void> pin_this_thread(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<std::size_t>(cpu), &set);
    const int error = pthread_setaffinity_np(pthread_self(), sizeof set, &set);
    if (error == 0) return {};
    return fail(ErrorClass::system, "executors.cpus: an executor cannot be pinned to CPU " + std::to_string(cpu) +
                                        ": " + strerrordesc_np(error) +
                                        "; name CPUs that exist and that this process may use (taskset -p)");
}

class RuntimeCore final : public Runtime {
public:
    RuntimeCore(Options options, std::vector<LoadedPlugin> plugins)
        : options_(std::move(options)), plugins_(std::move(plugins)) {
        std::size_t count = options_.executors.count;
        if (count == 0) count = std::max<std::size_t>(1, options_.executors.cpus.size());
        shared_ = std::make_unique<Shared>(options_, count, descriptor_limit(), &host_table());
        for (const LoadedPlugin& plugin : plugins_) {
            shared_->plugins.push_back(std::make_unique<PluginProgress>());
            shared_->plugins.back()->name = plugin.name;
        }
    }
    ~RuntimeCore() override { stop(); }

    Result<void> start() override {
        const std::size_t count = shared_->ports.size();
        for (std::size_t i = 0; i < plugins_.size(); ++i) {
            const bool everywhere = plugins_[i].descriptor->main_placement == UMBEL_MAIN_EVERYWHERE;
            shared_->plugins[i]->awaited.store(everywhere ? static_cast<int>(count) : 1, std::memory_order_relaxed);
        }
        std::vector<Result<void>> made(count);
        std::latch all_made(static_cast<std::ptrdiff_t>(count));
        all_over_ = std::make_unique<std::latch>(static_cast<std::ptrdiff_t>(count) + 1);
        for (std::size_t i = 0; i < count; ++i) {
            threads_.emplace_back([this, i, &made, &all_made] { run_executor(i, made[i], all_made); });
        }
        all_made.wait();
        const auto refused = std::find_if(made.begin(), made.end(), [](const auto& result) { return !result; });
        const bool go = refused == made.end();
        {
            const std::scoped_lock lock(go_mutex_);
            go_ = go ? Go::run : Go::end;
        }
        go_changed_.notify_all();
        started_ = true;
        if (go) return {};
        const Error error = refused->error();
        join();
        return std::unexpected(error);
    }

    RuntimeState state() const override {
        if (stopped_.load(std::memory_order_relaxed)) return RuntimeState::stopped;
        if (!started_) return RuntimeState::loaded;
        bool waiting = false;
        for (const auto& plugin : shared_->plugins) {
            // acquire: what the mains wrote is seen. Pairs with the release in Executor::ready and main_has_ended.
            waiting = plugin->awaited.load(std::memory_order_acquire) > 0 || waiting;
            if (plugin->failed.load(std::memory_order_relaxed)) return RuntimeState::failed;
        }
        if (draining_.load(std::memory_order_relaxed)) return RuntimeState::draining;
        return waiting ? RuntimeState::starting : RuntimeState::ready;
    }

    Error failure() const override {
        for (const auto& plugin : shared_->plugins) {
            if (!plugin->failed.load(std::memory_order_relaxed)) continue;
            const std::scoped_lock lock(plugin->mutex);
            return {ErrorClass::failure, std::string("plugin ") + plugin->name + " cannot start: " + plugin->reason};
        }
        return {};
    }

    std::vector<std::pair<std::string, std::string>> announcements() const override {
        std::vector<std::pair<std::string, std::string>> all;
        for (const auto& plugin : shared_->plugins) {
            const std::scoped_lock lock(plugin->mutex);
            if (!plugin->announcement.empty()) all.emplace_back(plugin->name, plugin->announcement);
        }
        return all;
    }

    void begin_drain() override {
        draining_.store(true, std::memory_order_relaxed);
        command(command_drain);
    }
    void cancel_operations() override { command(command_cancel); }

    // An executor at rest stays so unless mail or a command comes, or it wakes for a completion. So: all at rest, no mail
    // anywhere, and nobody has woken up between two looks.
    bool drained() override {
        if (!started_ || stopped_.load(std::memory_order_relaxed)) return true;
        const auto look = [this](std::uint64_t& awakenings) {
            for (const auto& port : shared_->ports) {
                awakenings += port->awakenings.load(std::memory_order_seq_cst);
                if (!port->at_rest.load(std::memory_order_seq_cst) || port->has_commands() || port->has_mail())
                    return false;
            }
            return true;
        };
        std::uint64_t before = 0;
        std::uint64_t after = 0;
        return look(before) && look(after) && before == after;
    }

    void stop() override {
        if (stopped_.exchange(true)) return;
        if (started_) command(command_stop);
        if (started_ && !threads_.empty()) all_over_->count_down();
        join();
        for (const LoadedPlugin& plugin : plugins_) {
            if (started_ && plugin.descriptor->unload != nullptr) plugin.descriptor->unload();
        }
    }

    std::size_t take_log(const std::function<void(const LogRecord&)>& sink) override {
        const std::scoped_lock lock(log_mutex_);
        struct Source {
            EventRing* ring;
            std::size_t end;
            LogRecord front;
        };
        std::vector<Source> sources;
        for (const auto& port : shared_->ports) {
            Source source{&port->events, port->events.published(), {}};
            if (source.ring->front(source.end, source.front)) sources.push_back(source);
        }
        std::size_t taken = 0;
        while (!sources.empty()) {
            const auto oldest =
                std::ranges::min_element(sources, {}, [](const Source& source) { return source.front.event.time_ns; });
            sink(oldest->front);
            ++taken;
            oldest->ring->pop(oldest->front);
            if (!oldest->ring->front(oldest->end, oldest->front)) sources.erase(oldest);
        }
        return taken;
    }

    std::vector<ExecutorCounters> counters() const override {
        std::vector<ExecutorCounters> all;
        for (const auto& port : shared_->ports) all.push_back(port->counters.read());
        return all;
    }

    std::vector<std::string> log_modules() const override {
        std::vector<std::string> names;
        for (const auto& plugin : shared_->plugins) names.emplace_back(plugin->name);
        return names;
    }

    void set_log_level(std::string_view module, Level level) override {
        // relaxed: each level is a figure of its own, and executors may see it a little later.
        if (module == "runtime") shared_->log_level.store(level, std::memory_order_relaxed);
        for (const auto& plugin : shared_->plugins) {
            if (module == plugin->name) plugin->log_level.store(level, std::memory_order_relaxed);
        }
    }

private:
    enum class Go : std::uint8_t { wait, run, end };

    void command(std::uint32_t bits) {
        for (const auto& port : shared_->ports) port->command(bits);
    }

    void join() {
        for (std::thread& thread : threads_) thread.join();
        threads_.clear();
    }

    // An executor's thread: a ring of its own, the mains that belong here, the loop.
    void run_executor(std::size_t i, Result<void>& made, std::latch& all_made) {
        const std::string name = "umbel-exec-" + std::to_string(i);
        pthread_setname_np(pthread_self(), name.c_str());
        const ExecutorOptions& options = options_.executors;
        if (!options.cpus.empty()) made = pin_this_thread(options.cpus[i % options.cpus.size()]);
        std::unique_ptr<Executor> executor;
        if (made) made = make_executor(i, executor);
        all_made.count_down();
        {
            std::unique_lock lock(go_mutex_);
            go_changed_.wait(lock, [this] { return go_ != Go::wait; });
        }
        if (go_ == Go::run) {
            const FaultGuard guard(*executor);
            executor->loop();
            executor->shut_down();
            // Whoever wakes us until now, an executor or the control thread, must find our ring.
            all_over_->arrive_and_wait();
        }
    }

    Result<void> make_executor(std::size_t i, std::unique_ptr<Executor>& executor) {
        RingOptions ring_options;
        ring_options.submission_entries = options_.executors.ring_entries;
        ring_options.completion_entries = options_.executors.completion_entries;
        ring_options.bounded_workers = options_.executors.kernel_workers;
        ring_options.unbounded_workers = options_.executors.kernel_workers;
        auto ring = RealRing::create(ring_options);
        if (!ring) return std::unexpected(ring.error());
        const int cpu =
            options_.executors.cpus.empty() ? -1 : options_.executors.cpus[i % options_.executors.cpus.size()];
        executor = std::make_unique<Executor>(*shared_, static_cast<ExecutorIndex>(i), std::move(*ring));
        executor->announce(cpu);
        for (std::size_t plugin = 0; plugin < plugins_.size(); ++plugin) {
            const umbel_plugin& descriptor = *plugins_[plugin].descriptor;
            if (descriptor.main_placement != UMBEL_MAIN_EVERYWHERE && i != 0) continue;
            if (executor->spawn_main(*descriptor.main, plugin)) continue;
            return fail(ErrorClass::configuration,
                        std::string("plugin ") + plugins_[plugin].name +
                            ": its main actor cannot be spawned: its memory_limit is no power of two from 64 KiB to "
                            "4 GiB, or actors.max is smaller than the number of main actors");
        }
        return {};
    }

    const Options options_;
    std::vector<LoadedPlugin> plugins_;
    std::unique_ptr<Shared> shared_;
    std::vector<std::thread> threads_;
    std::mutex go_mutex_;
    std::condition_variable go_changed_;
    Go go_ = Go::wait;
    std::unique_ptr<std::latch> all_over_;  // the loops, and the control thread's last command
    bool started_ = false;                  // the control thread's
    std::atomic<bool> draining_{false};
    std::atomic<bool> stopped_{false};
    std::mutex log_mutex_;
};

}  // namespace

Result<std::unique_ptr<Runtime>> Runtime::load(Options options) {
    std::vector<LoadedPlugin> plugins;
    for (const PluginOptions& wanted : options.plugins) {
        Result<LoadedPlugin> plugin = open_plugin(wanted);
        if (!plugin) return std::unexpected(plugin.error());
        if (const Result<void> loaded = call_load(*plugin, host_table()); !loaded)
            return std::unexpected(loaded.error());
        register_plugin_code(reinterpret_cast<const void*>(plugin->descriptor->load));
        plugins.push_back(std::move(*plugin));
    }
    if (const auto size = RegionSize::from(options.actors.memory_limit); !size) {
        return fail(ErrorClass::configuration, "actors.memory_limit: " + size.error().message);
    }
    return std::make_unique<RuntimeCore>(std::move(options), std::move(plugins));
}

Result<PluginDescription> preflight(const PluginOptions& wanted) {
    const Result<LoadedPlugin> plugin = open_plugin(wanted);
    if (!plugin) return std::unexpected(plugin.error());
    if (const Result<void> loaded = call_load(*plugin, host_table()); !loaded) return std::unexpected(loaded.error());
    return PluginDescription{plugin->descriptor->name, plugin->descriptor->version, plugin->descriptor->description,
                             plugin->setting_lines};
}

}  // namespace umbel::rt
