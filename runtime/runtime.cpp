#include "runtime/runtime.h"

#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <latch>
#include <list>
#include <map>
#include <mutex>
#include <thread>

#include "runtime/io/real_ring.h"
#include "runtime/plugin/host.h"
#include "runtime/plugin/loader.h"
#include "runtime/plugin/settings.h"
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

// A socket that a setting names must have been passed, and be wanted by one plugin: better said now than by an actor that
// cannot start. takers: which plugin wants a name.
Result<void> check_wanted_listeners(const PluginOptions& wanted, const LoadedPlugin& plugin,
                                    const std::vector<PassedSocket>& passed,
                                    std::map<std::string, std::string>& takers) {
    for (const auto& [key, name] : plugin.settings->wanted_listeners()) {
        std::string why = why_no_listener(passed, name);
        if (const std::string& taker = takers.emplace(name, wanted.name).first->second; taker != wanted.name)
            why = "plugin." + taker + " wants it too (give each plugin a socket of its own name)";
        if (why.empty()) continue;
        std::string origin = wanted.origin;
        for (const PluginSetting& setting : wanted.settings) {
            if (setting.key == key) origin = setting.origin;
        }
        std::string refusal = origin;
        if (!origin.empty()) refusal += ": ";
        refusal.append("plugin.").append(wanted.name).append(".").append(key);
        return fail(ErrorClass::configuration, refusal.append(": systemd:").append(name).append(": ").append(why));
    }
    return {};
}

class RuntimeCore final : public Runtime {
public:
    RuntimeCore(Options options, std::vector<LoadedPlugin> plugins) : options_(std::move(options)) {
        std::size_t count = options_.executors.count;
        if (count == 0) count = std::max<std::size_t>(1, options_.executors.cpus.size());
        shared_ = std::make_unique<Shared>(options_, count, descriptor_limit(), &host_table());
        for (std::size_t i = 0; i < plugins.size(); ++i) {
            plugins_.push_back(Plugin{options_.plugins[i], std::move(plugins[i])});
            plugins_.back().place = i;
            plugins_.back().progress = &shared_->plugins.push_back(new_progress(plugins_.back().loaded));
        }
        initial_ = plugins_.size();
    }
    ~RuntimeCore() override { stop(); }

    Result<void> start() override {
        const std::size_t count = shared_->ports.size();
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
        for (std::size_t i = 0; i < initial_; ++i) {
            const PluginProgress* const plugin = shared_->plugins[i];
            if (plugin->phase.load(std::memory_order_relaxed) != PluginPhase::serving) continue;  // retired since
            // acquire: what the mains wrote is seen. Pairs with the release in Executor::ready and main_has_ended.
            waiting = plugin->awaited.load(std::memory_order_acquire) > 0 || waiting;
            if (plugin->failed.load(std::memory_order_relaxed)) return RuntimeState::failed;
        }
        if (draining_.load(std::memory_order_relaxed)) return RuntimeState::draining;
        return waiting ? RuntimeState::starting : RuntimeState::ready;
    }

    Error failure() const override {
        for (PluginProgress* const plugin : shared_->plugins) {
            if (!plugin->failed.load(std::memory_order_relaxed)) continue;
            const std::scoped_lock lock(plugin->mutex);
            return {ErrorClass::failure, std::string("plugin ") + plugin->name + " cannot start: " + plugin->reason};
        }
        return {};
    }

    std::vector<std::pair<std::string, std::string>> announcements() const override {
        std::vector<std::pair<std::string, std::string>> all;
        for (PluginProgress* const plugin : shared_->plugins) {
            if (plugin->phase.load(std::memory_order_relaxed) != PluginPhase::serving) continue;
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
        drop_plugins();
        for (const Plugin& plugin : plugins_) {
            if (started_) unload(plugin.loaded);
        }
    }

    void call_roll() override {
        for (const auto& port : shared_->ports) {
            // relaxed: the command that follows is published by a release of its own; the answer carries nothing.
            port->present.store(false, std::memory_order_relaxed);
            port->command(command_answer);
        }
    }

    std::vector<AbsentExecutor> absent() const override {
        std::vector<AbsentExecutor> all;
        for (std::size_t i = 0; i < shared_->ports.size(); ++i) {
            const Port& port = *shared_->ports[i];
            if (port.present.load(std::memory_order_relaxed)) continue;
            AbsentExecutor absent;
            absent.executor = static_cast<ExecutorIndex>(i);
            // relaxed: types live as long as the runtime, and were made before any actor of theirs ran.
            if (const ActorType* type = port.running_type.load(std::memory_order_relaxed); type != nullptr) {
                absent.actor = port.running_actor.load(std::memory_order_relaxed);
                absent.type = type->declared->name;
                absent.plugin = type->plugin;
            }
            all.push_back(std::move(absent));
        }
        return all;
    }

    // ---- Plugins that come, change and go.

    std::expected<PluginChanges, std::vector<std::string>> prepare_plugins(std::vector<PluginOptions> wanted) override {
        CHECK(!prepared_);
        Prepared made;
        PluginChanges changes;
        std::vector<std::string> problems;
        if (state() != RuntimeState::ready) {
            problems.emplace_back("the daemon is starting or ending; reload when it is ready");
            return std::unexpected(std::move(problems));
        }
        for (PluginOptions& section : wanted) {
            Plugin* const present = find(section.name);
            if (present == nullptr) {
                load_new(section, made, problems);
                changes.added.push_back(section.name);
            } else if (present->retired()) {
                problems.push_back(section.origin + ": plugin." + section.name +
                                   ": the plugin of this name that was retired has not ended yet; reload again when "
                                   "`plugin_retired` has been logged");
            } else {
                check_present(*present, section, made, changes, problems);
            }
        }
        for (Plugin& plugin : plugins_) {
            if (plugin.retired()) continue;
            if (std::ranges::find(wanted, plugin.options.name, &PluginOptions::name) != wanted.end()) continue;
            made.retired.push_back(&plugin);
            changes.retired.push_back(plugin.options.name);
        }
        prepared_ = std::move(made);
        if (problems.empty()) return changes;
        drop_plugins();
        return std::unexpected(std::move(problems));
    }

    void apply_plugins() override {
        CHECK(prepared_);
        const auto now = std::chrono::steady_clock::now();
        for (Reset& reset : prepared_->reset) {
            call_reload_apply(reset.plugin->loaded, std::move(reset.settings));
            reset.plugin->options = std::move(reset.options);
            // relaxed: seen with the command below.
            reset.plugin->progress->reloads.fetch_add(1, std::memory_order_relaxed);
        }
        for (Reset& same : prepared_->same) same.plugin->options = std::move(same.options);
        for (Plugin* const plugin : prepared_->retired) retire(*plugin, now);
        for (Plugin& plugin : prepared_->added) {
            auto progress = new_progress(plugin.loaded);
            progress->descriptor = plugin.loaded.descriptor;
            plugin.place = shared_->plugins.size();
            plugin.progress = &shared_->plugins.push_back(std::move(progress));
            plugin.since = now;
            plugin.is_new = true;
            plugins_.push_back(std::move(plugin));
        }
        prepared_.reset();
        command(command_plugins);
    }

    void drop_plugins() override {
        if (!prepared_) return;
        for (const Reset& reset : prepared_->reset) call_reload_drop(reset.plugin->loaded, *reset.settings);
        for (const Plugin& plugin : prepared_->added) unload(plugin.loaded);
        prepared_.reset();
    }

    bool plugins_changing() const override {
        return std::ranges::any_of(plugins_, [](const Plugin& plugin) { return plugin.is_new || plugin.retired(); });
    }

    std::vector<PluginNews> tend_plugins(const PluginPatience& patience) override {
        CHECK(!prepared_);
        std::vector<PluginNews> news;
        const auto now = std::chrono::steady_clock::now();
        bool commanded = false;
        for (auto plugin = plugins_.begin(); plugin != plugins_.end();) {
            if (plugin->is_new) tend_new(*plugin, now, patience, news);
            if (plugin->retired()) commanded = tend_retired(*plugin, now, patience, news) || commanded;
            commanded = std::exchange(plugin->command_wanted, false) || commanded;
            if (plugin->phase() == PluginPhase::ended) {
                shared_->passed.give_back(plugin->loaded.name);
                plugin = plugins_.erase(plugin);
            } else {
                ++plugin;
            }
        }
        if (commanded) command(command_plugins);
        return news;
    }

    std::vector<PluginOptions> running_plugins() const override {
        std::vector<PluginOptions> all;
        for (const Plugin& plugin : plugins_) {
            if (!plugin.retired()) all.push_back(plugin.options);
        }
        return all;
    }

    std::vector<std::string> untaken_listeners() const override { return shared_->passed.untaken(); }

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

    using Time = std::chrono::steady_clock::time_point;

    /// A plugin that is to run or on its way out.
    struct Plugin {
        PluginOptions options;  // as they are in force
        LoadedPlugin loaded;
        std::size_t place = 0;  // in shared_->plugins
        PluginProgress* progress = nullptr;
        bool is_new = false;          // added while others run, and not ready yet
        bool command_wanted = false;  // its phase has changed: the executors are to be told
        Time since{};                 // when it was added, then when it was retired
        Time phase_since{};           // when its phase last changed
        bool quiet_before = false;    // the last look found it quiet on all executors; what they had seen by then:
        std::vector<std::uint64_t> looks{};
        std::vector<std::uint64_t> slices{};

        // relaxed: this thread alone writes it.
        [[nodiscard]] PluginPhase phase() const { return progress->phase.load(std::memory_order_relaxed); }
        [[nodiscard]] bool retired() const { return phase() != PluginPhase::serving; }
    };
    struct Reset {
        Plugin* plugin;
        PluginOptions options;
        std::unique_ptr<const umbel_settings> settings;
    };
    struct Prepared {
        std::vector<Plugin> added;
        std::vector<Reset> reset;
        std::vector<Reset> same;  // only their places in the file may be others
        std::vector<Plugin*> retired;
    };

    [[nodiscard]] std::unique_ptr<PluginProgress> new_progress(const LoadedPlugin& plugin) const {
        auto progress = std::make_unique<PluginProgress>();
        const std::size_t executors = shared_->ports.size();
        progress->name = plugin.name;
        progress->places = std::vector<PluginProgress::Place>(executors);
        const bool everywhere = plugin.descriptor->main_placement == UMBEL_MAIN_EVERYWHERE;
        progress->awaited.store(everywhere ? static_cast<int>(executors) : 1, std::memory_order_relaxed);
        return progress;
    }

    Plugin* find(const std::string& name) {
        const auto found =
            std::ranges::find_if(plugins_, [&](const Plugin& plugin) { return plugin.options.name == name; });
        return found == plugins_.end() ? nullptr : &*found;
    }

    static void unload(const LoadedPlugin& plugin) {
        if (plugin.descriptor->unload != nullptr) plugin.descriptor->unload();
    }

    void load_new(const PluginOptions& section, Prepared& made, std::vector<std::string>& problems) {
        if (shared_->plugins.size() + made.added.size() >= PluginList::capacity) {
            problems.push_back(section.origin + ": plugin." + section.name + ": " +
                               std::to_string(PluginList::capacity) +
                               " plugins have been added since the daemon started, which is the most; restart it");
            return;
        }
        Result<LoadedPlugin> loaded = open_plugin(section);
        if (!loaded) {
            problems.push_back(loaded.error().message);
            return;
        }
        std::map<std::string, std::string> takers = shared_->passed.takers();
        for (const Plugin& plugin : made.added) {
            for (const auto& [key, name] : plugin.loaded.settings->wanted_listeners())
                takers[name] = plugin.options.name;
        }
        if (const auto fits = check_wanted_listeners(section, *loaded, options_.passed, takers); !fits) {
            problems.push_back(fits.error().message);
            return;
        }
        const umbel_actor_type& main = *loaded->descriptor->main;
        if (const Result<void> done = call_load(*loaded, host_table()); !done) {
            problems.push_back(done.error().message);
            return;
        }
        if (main.memory_limit != 0 && !RegionSize::from(Bytes{main.memory_limit})) {
            problems.push_back(section.origin + ": plugin." + section.name +
                               ": its main actor's memory_limit is no power of two from 64 KiB to 4 GiB (an error of "
                               "the plugin)");
            unload(*loaded);
            return;
        }
        register_plugin_code(reinterpret_cast<const void*>(loaded->descriptor->load));
        made.added.push_back(Plugin{section, std::move(*loaded)});
    }

    static bool same_settings(const std::vector<PluginSetting>& left, const std::vector<PluginSetting>& right) {
        const auto has = [](const std::vector<PluginSetting>& all, const PluginSetting& one) {
            return std::ranges::any_of(
                all, [&](const PluginSetting& other) { return other.key == one.key && other.value == one.value; });
        };
        return left.size() == right.size() &&
               std::ranges::all_of(left, [&](const PluginSetting& setting) { return has(right, setting); });
    }

    void check_present(Plugin& plugin, const PluginOptions& section, Prepared& made, PluginChanges& changes,
                       std::vector<std::string>& problems) {
        if (plugin.options.path != section.path) {
            changes.need_restart.push_back(
                {section.name, "its path has changed; or take its section out, reload, and put it in again"});
            return;
        }
        if (same_settings(plugin.options.settings, section.settings)) {
            made.same.push_back({&plugin, section, nullptr});
            return;
        }
        auto settings = check_new_settings(plugin.loaded, section);
        if (!settings) {
            problems.push_back(settings.error().message);
            return;
        }
        if (plugin.loaded.descriptor->reload == nullptr) {
            changes.need_restart.push_back({section.name, "it cannot take new settings while it runs"});
            return;
        }
        if (const Result<void> checked = call_reload_check(plugin.loaded, **settings, section); !checked) {
            problems.push_back(checked.error().message);
            return;
        }
        changes.reset.push_back(section.name);
        made.reset.push_back({&plugin, section, std::move(*settings)});
    }

    static void set_phase(Plugin& plugin, PluginPhase phase, Time now) {
        // relaxed: seen with the command that follows.
        plugin.progress->phase.store(phase, std::memory_order_relaxed);
        plugin.phase_since = now;
        plugin.command_wanted = true;
    }

    static void retire(Plugin& plugin, Time now) {
        plugin.is_new = false;
        plugin.since = now;
        set_phase(plugin, PluginPhase::draining, now);
    }

    static void tend_new(Plugin& plugin, Time now, const PluginPatience& patience, std::vector<PluginNews>& news) {
        PluginProgress& progress = *plugin.progress;
        // acquire: the texts are seen. Pairs with the release in Executor::ready and main_has_ended.
        const bool ready = progress.awaited.load(std::memory_order_acquire) <= 0;
        const bool failed = progress.failed.load(std::memory_order_relaxed);
        const bool late = now - plugin.since >= patience.start;
        if (!ready && !failed && !late) return;
        const std::scoped_lock lock(progress.mutex);
        const Nanoseconds took = now - plugin.since;
        if (failed) {
            news.push_back({PluginNews::Kind::failed, plugin.options.name, progress.reason, took});
        } else if (!ready) {
            news.push_back(
                {PluginNews::Kind::failed, plugin.options.name, "its main actor was not ready in time", took});
        } else {
            news.push_back({PluginNews::Kind::running, plugin.options.name, progress.announcement, took});
            plugin.is_new = false;
            return;
        }
        retire(plugin, now);
    }

    // Nothing of the plugin runs, and nothing has run between two looks of every executor: then no mail is under way either,
    // or it would have been delivered between the two and have made somebody run.
    static bool has_drained(Plugin& plugin) {
        const std::vector<PluginProgress::Place>& places = plugin.progress->places;
        std::vector<std::uint64_t> looks;
        std::vector<std::uint64_t> slices;
        for (const PluginProgress::Place& place : places) {
            // acquire: pairs with the release in Executor::look_for_work.
            looks.push_back(place.looks.load(std::memory_order_acquire));
            slices.push_back(place.slices.load(std::memory_order_relaxed));
            if (looks.back() == 0 || !place.quiet.load(std::memory_order_relaxed)) {
                plugin.quiet_before = false;
                return false;
            }
        }
        if (!plugin.quiet_before || slices != plugin.slices) {
            plugin.quiet_before = true;
            plugin.looks = std::move(looks);
            plugin.slices = std::move(slices);
            return false;
        }
        for (std::size_t i = 0; i < looks.size(); ++i) {
            if (looks[i] < plugin.looks[i] + 2) return false;
        }
        return true;
    }

    /// Returns whether executors are to be told.
    bool tend_retired(Plugin& plugin, Time now, const PluginPatience& patience, std::vector<PluginNews>& news) {
        const Nanoseconds took = now - plugin.since;
        switch (plugin.phase()) {
            case PluginPhase::draining:
                if (has_drained(plugin)) {
                    set_phase(plugin, PluginPhase::ending, now);
                } else if (took >= patience.drain) {
                    news.push_back({PluginNews::Kind::cancelled, plugin.options.name, "", took});
                    set_phase(plugin, PluginPhase::cancelling, now);
                    plugin.quiet_before = false;
                }
                break;
            case PluginPhase::cancelling:
                if (has_drained(plugin) || now - plugin.phase_since >= patience.cancel) {
                    set_phase(plugin, PluginPhase::ending, now);
                }
                break;
            case PluginPhase::ending:
                for (const PluginProgress::Place& place : plugin.progress->places) {
                    // acquire: what its actors did has happened. Pairs with the release in Executor::evict_some.
                    if (!place.gone.load(std::memory_order_acquire)) return false;
                }
                unload(plugin.loaded);
                shared_->forget_types(plugin.place);
                news.push_back({PluginNews::Kind::gone, plugin.options.name, "", took});
                set_phase(plugin, PluginPhase::ended, now);
                break;
            case PluginPhase::serving:
            case PluginPhase::ended:
                break;
        }
        return plugin.command_wanted;
    }

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
        for (const Plugin& plugin : plugins_) {
            const umbel_plugin& descriptor = *plugin.loaded.descriptor;
            if (descriptor.main_placement != UMBEL_MAIN_EVERYWHERE && i != 0) continue;
            if (executor->spawn_main(*descriptor.main, plugin.place)) continue;
            return fail(ErrorClass::configuration,
                        std::string("plugin ") + plugin.loaded.name +
                            ": its main actor cannot be spawned: its memory_limit is no power of two from 64 KiB to "
                            "4 GiB, or actors.max is smaller than the number of main actors");
        }
        return {};
    }

    const Options options_;
    std::list<Plugin> plugins_;
    std::size_t initial_ = 0;  // the first so many of shared_->plugins were there from the start
    std::optional<Prepared> prepared_;
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
    std::map<std::string, std::string> takers;
    for (const PluginOptions& wanted : options.plugins) {
        Result<LoadedPlugin> plugin = open_plugin(wanted);
        if (!plugin) return std::unexpected(plugin.error());
        if (const auto fits = check_wanted_listeners(wanted, *plugin, options.passed, takers); !fits)
            return std::unexpected(fits.error());
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
