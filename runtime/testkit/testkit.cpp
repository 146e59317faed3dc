// testkit.cpp: umbel/testkit.h over simulation.h.
#include "umbel/testkit.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <random>

#include "runtime/base/event_fields.h"
#include "runtime/plugin/loader.h"
#include "runtime/testkit/simulation.h"

namespace umbel::testkit {

namespace {

constexpr std::size_t log_lines_of_a_failure = 20;
constexpr const char* probe_name = "testkit";

rt::SimFaults simulated(const faults& from) {
    rt::SimFaults to;
    to.refused_enter = from.refused_enter;
    to.no_memory_enter = from.refused_enter / 2;
    to.partial_enter = from.refused_enter;
    to.interrupted = from.interrupted;
    to.short_transfer = from.short_transfer;
    to.io_error = from.io_error;
    to.open_no_memory = from.open_no_memory;
    to.connection_reset = from.connection_reset;
    to.accept_error = from.accept_error;
    to.no_buffers = from.no_buffers;
    to.ended_multishot = from.ended_stream;
    to.uncancellable = from.uncancellable;
    to.long_delay = from.long_delay;
    to.shortest_delay = from.shortest_delay;
    to.longest_delay = from.longest_delay;
    return to;
}

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view blanks = " \t\r";
    const std::size_t begin = text.find_first_not_of(blanks);
    return begin == std::string_view::npos ? std::string_view()
                                           : text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

std::string text_of(const rt::EventField& field) {
    switch (field.type) {
        case UMBEL_FIELD_INTEGER:
            return std::to_string(field.integer);
        case UMBEL_FIELD_NUMBER: {
            std::array<char, 32> digits{};
            const auto [end, status] = std::to_chars(digits.data(), digits.data() + digits.size(), field.number);
            return {digits.data(), end};
        }
        case UMBEL_FIELD_FLAG:
            return field.integer != 0 ? "true" : "false";
        default:
            return std::string(field.text);
    }
}

std::vector<rt::PluginSetting> parse_settings(std::string_view text) {
    std::vector<rt::PluginSetting> parsed;
    for (unsigned number = 1; !text.empty(); ++number) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = trimmed(text.substr(0, std::min(text.find('#'), end)));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty()) continue;
        const std::size_t equals = line.find('=');
        const std::string origin = "settings:" + std::to_string(number);
        if (equals == std::string_view::npos)
            throw failure(origin + ": '" + std::string(line) +
                          "' is not `key = value` (the section's head is not given)");
        parsed.push_back(
            {std::string(trimmed(line.substr(0, equals))), std::string(trimmed(line.substr(equals + 1))), origin});
    }
    return parsed;
}

rt::PluginOptions plugin_options(const options& wanted) {
    if (wanted.plugin.empty() == (wanted.descriptor == nullptr))
        throw failure("testkit: give options.plugin, the .so, or options.descriptor, not both and not neither");
    rt::PluginOptions plugin;
    plugin.settings = parse_settings(wanted.settings);
    plugin.origin = "settings";
    plugin.builtin = wanted.descriptor;
    if (wanted.descriptor != nullptr) {
        plugin.name = wanted.descriptor->name != nullptr ? wanted.descriptor->name : "plugin";
    } else {
        plugin.path = wanted.plugin;
        plugin.name = std::filesystem::path(wanted.plugin).stem().string();
    }
    return plugin;
}

rt::SimulationOptions simulation_options(const options& wanted) {
    rt::SimulationOptions simulation;
    simulation.executors = wanted.executors;
    simulation.faults = simulated(wanted.faults);
    if (wanted.any_kernel) {
        rt::SimWorld dice(wanted.seed ^ 0x5eed);
        simulation.choose_kernel(dice);
    }
    simulation.runtime.actors.memory_limit = rt::Bytes{wanted.memory_limit};
    simulation.runtime.actors.stack_size = rt::Bytes{wanted.stack_size};
    if (wanted.executors == 0 || wanted.executors > rt::max_executors)
        throw failure("testkit: options.executors is " + std::to_string(wanted.executors) + ", 1 to 255 are possible");
    if (const auto size = rt::RegionSize::from(simulation.runtime.actors.memory_limit); !size)
        throw failure("testkit: options.memory_limit: " + size.error().message);
    if (wanted.stack_size > wanted.memory_limit / 2)
        throw failure("testkit: options.stack_size is more than half of options.memory_limit");
    return simulation;
}

}  // namespace

std::optional<std::uint64_t> requested_seed() {
    const char* text = std::getenv("UMBEL_SEED");
    if (text == nullptr || *text == '\0') return std::nullopt;
    std::uint64_t number = 0;
    const std::string_view digits(text);
    const auto [end, status] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (status != std::errc() || end != digits.data() + digits.size()) {
        throw failure("UMBEL_SEED is '" + std::string(digits) + "', which is not a number from 0 to 2^64-1");
    }
    return number;
}

std::uint64_t seed() {
    static const std::uint64_t chosen = requested_seed().value_or(std::random_device{}());
    return chosen;
}

faults faults::harsh() {
    const rt::SimFaults from = rt::SimFaults::harsh();
    faults to;
    to.short_transfer = from.short_transfer;
    to.interrupted = from.interrupted;
    to.io_error = from.io_error;
    to.open_no_memory = from.open_no_memory;
    to.connection_reset = from.connection_reset;
    to.accept_error = from.accept_error;
    to.no_buffers = from.no_buffers;
    to.ended_stream = from.ended_multishot;
    to.refused_enter = from.refused_enter;
    to.long_delay = from.long_delay;
    return to;
}

// ---- The machine ---------------------------------------------------------------------------------------------------------

struct simulation::machine {
    struct Rule {
        std::uint16_t code;
        int error;
        unsigned times;
        unsigned skipped;
    };
    struct Letter {
        rt::ActorId to;
        std::uint32_t type;
        std::vector<std::byte> bytes;
    };

    explicit machine(const options& wanted)
        : plugin(opened(wanted)),
          sim(wanted.seed, simulation_options(wanted)),
          plugin_number(sim.add_plugin(plugin.name)) {
        if (running != nullptr)
            throw failure("testkit: there is a simulation already, and actor types belong to one at a time");
        if (const auto loaded = rt::call_load(plugin, rt::host_table()); !loaded) throw failure(loaded.error().message);
        running = this;
        sim.world.on_attempt = [this](const io_uring_sqe& sqe) { return judge(sqe); };
        const std::size_t probe_number = sim.add_plugin(probe_name);
        const bool everywhere = plugin.descriptor->main_placement == UMBEL_MAIN_EVERYWHERE;
        bool spawned = sim.spawn_main(probe, 0, probe_number);
        for (std::size_t i = 0; i < (everywhere ? sim.executors.size() : 1); ++i)
            spawned = sim.spawn_main(*plugin.descriptor->main, i, plugin_number) && spawned;
        if (!spawned) {
            running = nullptr;
            throw failure(
                std::string("plugin ") + plugin.name +
                ": its main actor cannot be spawned: its memory_limit is no power of two from 64 KiB to 4 GiB");
        }
    }
    machine(const machine&) = delete;
    machine& operator=(const machine&) = delete;
    ~machine() {
        end();
        running = nullptr;
    }

    static rt::LoadedPlugin opened(const options& wanted) {
        auto plugin = rt::open_plugin(plugin_options(wanted));
        if (!plugin) throw failure(plugin.error().message);
        return std::move(*plugin);
    }

    // ---- The probe: the actor that has the test's id.

    static void probe_start(umbel_self* self, void*) { running->probe_id = umbel_id(self); }
    static void probe_message(umbel_self*, void*, umbel_message* message) {
        if (message->kind != UMBEL_MESSAGE_USER) return;  // a drain is the plugin's business
        const auto* bytes = static_cast<const std::byte*>(message->data);
        running->inbox.push_back({message->sender, message->type, {bytes, bytes + message->size}});
    }
    static inline umbel_actor_type probe = {.size = sizeof(umbel_actor_type),
                                            .state_size = 0,
                                            .name = "test",
                                            .memory_limit = 0,
                                            .run = nullptr,
                                            .start = probe_start,
                                            .message = probe_message,
                                            .stop = nullptr,
                                            .runtime = nullptr};

    // ---- Driving.

    template <class Done>
    bool run(Done&& done, nanoseconds within) {
        if (stepping) throw failure("testkit: a script cannot run the simulation, which runs already");
        if (ended) throw failure("testkit: the simulation is over: finish() was called");
        const nanoseconds now = sim.world.now();
        const nanoseconds until = within >= nanoseconds::max() - now ? nanoseconds::max() : now + within;
        for (;;) {
            take_events();
            if (done()) return true;
            if (sim.all_asleep() && sim.world.next_event() > until) {
                sim.world.pass(until - sim.world.now());
                return done();
            }
            if (sim.world.now() >= until) return false;
            stepping = true;
            const bool more = sim.step();
            stepping = false;
            for (const Letter& letter : outbox) (void)deliver(letter.to, letter.type, letter.bytes);
            const bool delivered = !outbox.empty();
            outbox.clear();
            if (!more && !delivered) {
                take_events();
                return done();
            }
        }
    }

    int deliver(rt::ActorId to, std::uint32_t type, std::span<const std::byte> bytes) {
        const rt::ActorRecord* record = sim.shared.directory.find(to);
        if (record == nullptr) return UMBEL_E_NO_ACTOR;
        return sim.executors[record->home.load(std::memory_order_relaxed)]->deliver_from_outside(
            to, probe_id, type, bytes.data(), static_cast<std::uint32_t>(bytes.size()));
    }

    // An operation's turn has come: its error by the first rule that fits, or 0.
    int judge(const io_uring_sqe& sqe) {
        if (rules.empty() || sqe.user_data == 0) return 0;
        const auto& operation = *reinterpret_cast<const rt::Operation*>(sqe.user_data);
        if (operation.owner->actor == 0) return 0;  // the executor's own
        for (auto rule = rules.begin(); rule != rules.end(); ++rule) {
            if (rule->code != operation.code) continue;
            if (rule->skipped != 0) {
                --rule->skipped;
                return 0;
            }
            const int error = rule->error;
            if (--rule->times == 0) rules.erase(rule);
            return error;
        }
        return 0;
    }

    void take_events() {
        sim.take_events([this](const rt::LogRecord& record) {
            const bool own = record.event.kind == rt::EventKind::plugin_event;
            log_line line;
            line.event = own ? record.name : rt::describe(record.event.kind).name;
            line.level = static_cast<int>(record.event.level);
            line.actor = record.event.actor;
            line.text = record.text;
            rt::EventField field;
            for (std::string_view rest = record.fields; rt::next_field(rest, field);)
                line.fields.emplace_back(field.name, text_of(field));
            if (record.event.kind == rt::EventKind::actor_failed)
                failures.push_back(type_of(line.actor) + ": " + line.text);
            log.push_back(std::move(line));
        });
    }
    // Of an actor that may have ended just now.
    std::string type_of(umbel_actor_id id) const {
        const rt::ActorRecord& record = sim.shared.directory.at(rt::ActorId{id});
        return record.id.value == id ? record.type->declared->name : "an actor";
    }

    // ---- Looking.

    std::vector<actor> actors() const {
        std::vector<actor> all;
        sim.shared.directory.each_living([&](const rt::ActorRecord& record) {
            if (record.type->declared == &probe) return;
            all.push_back({record.id.value, record.type->declared->name, record.is_main});
        });
        return all;
    }

    holdings held() {
        holdings all;
        all.actors = actors().size();
        all.descriptors = sim.world.open_descriptors();
        all.block_bytes = sim.shared.blocks.in_use().count;
        for (const auto& executor : sim.executors) {
            executor->each_context([&all](rt::ActorContext& context) {
                std::size_t spans = context.io_heap.live_spans() + context.provided_held;
                for (rt::Operation* operation = context.operations.front(); operation != nullptr;
                     operation = context.operations.after(operation)) {
                    spans -= operation->buffer.data != nullptr ? 2 : 1;  // the record, the buffer that is lent
                    if (operation->buffer.data == nullptr || operation->buffer.origin != rt::from_vector) continue;
                    for (const umbel_buffer& part : rt::buffers_of(operation->buffer)) spans -= part.data != nullptr;
                }
                all.operations += context.in_flight;
                all.buffers += spans;
            });
        }
        return all;
    }

    void drain(nanoseconds within) {
        if (!draining) sim.command(rt::command_drain);
        draining = true;
        if (run([this] { return sim.at_rest(); }, within)) return;
        std::string who;
        for (const auto& executor : sim.executors) {
            executor->each_context([&who](const rt::ActorContext& context) {
                if (context.record == nullptr || (context.in_flight == 0 && context.wait == rt::Wait::message)) return;
                who += std::string(who.empty() ? "" : ", ") + context.record->type->declared->name + " (" +
                       std::to_string(context.in_flight) + " operations in flight)";
            });
        }
        throw failure(described("draining does not end within " + std::to_string(within.count() / 1'000'000) +
                                " ms, what would be cancelled: " + (who.empty() ? "messages without end" : who)));
    }

    void end() {
        if (ended) return;
        ended = true;
        sim.command(rt::command_stop);
        for (const auto& executor : sim.executors) {
            while (executor->turn()) {
            }
        }
        for (const auto& executor : sim.executors) executor->shut_down();
        take_events();
        if (plugin.descriptor->unload != nullptr) plugin.descriptor->unload();
    }

    // What happened, with what one needs to make it happen again.
    std::string described(std::string what) {
        take_events();
        what += "\n  again: UMBEL_SEED=" + std::to_string(sim.world.seed());
        if (!log.empty()) what += "\n  the last lines of the log:";
        for (std::size_t i = log.size() - std::min(log.size(), log_lines_of_a_failure); i < log.size(); ++i) {
            what += "\n    " + log[i].event + (log[i].text.empty() ? "" : ": ") + log[i].text;
            for (const auto& [name, value] : log[i].fields) what.append(" ").append(name).append("=").append(value);
        }
        return what;
    }

    static inline machine* running = nullptr;

    rt::LoadedPlugin plugin;
    rt::Simulation sim;
    std::size_t plugin_number;
    umbel_actor_id probe_id = 0;
    std::deque<received> inbox;
    std::vector<Letter> outbox;  // of scripts, which run in the middle of a turn
    std::vector<Rule> rules;
    std::vector<log_line> log;
    std::vector<std::string> failures;
    bool stepping = false;
    bool draining = false;
    bool ended = false;
};

// ---- Clients ---------------------------------------------------------------------------------------------------------------

struct client::state {
    simulation::machine* machine;
    std::shared_ptr<rt::SimClient> client;
    std::size_t taken = 0;  // of what was received, by read_…

    // Runs until `done`, and says what was there instead if it never is.
    template <class Done>
    void run(Done&& done, nanoseconds within, const std::string& wanted) {
        if (machine->run([&] { return done() || over(); }, within) && done()) return;
        const std::string_view unread = std::string_view(client->received()).substr(taken);
        const char* why = client->refused()     ? "nobody listens on the port"
                          : client->was_reset() ? "the connection was reset"
                          : client->ended()     ? "the plugin has ended the connection"
                                                : "nothing more came in time";
        throw failure(machine->described("client: waited for " + wanted + ": " + why + "; unread: \"" +
                                         std::string(unread.substr(0, 500)) + "\""));
    }
    [[nodiscard]] bool over() const { return client->refused() || client->was_reset() || client->ended(); }
    std::string take(std::size_t bytes) {
        std::string text = client->received().substr(taken, bytes);
        taken += text.size();
        return text;
    }
};

void client::send(std::string_view bytes) { state_->client->send(bytes); }
void client::finish() { state_->client->finish(); }
void client::close() { state_->client->close(); }
void client::reset() { state_->client->reset(); }
void client::set_reading(bool reading) { state_->client->set_reading(reading); }
const std::string& client::all() const { return state_->client->received(); }
bool client::connected() const { return state_->client->connected(); }
bool client::refused() const { return state_->client->refused(); }
bool client::ended() const { return state_->client->ended(); }
bool client::was_reset() const { return state_->client->was_reset(); }

std::string client::read_until(std::string_view end, nanoseconds within) {
    std::size_t found = std::string::npos;
    state_->run(
        [&] {
            found = state_->client->received().find(end, state_->taken);
            return found != std::string::npos;
        },
        within, "\"" + std::string(end) + "\"");
    return state_->take(found + end.size() - state_->taken);
}

std::string client::read_line(nanoseconds within) {
    std::string line = read_until("\n", within);
    line.pop_back();
    return line;
}

std::string client::read_all(nanoseconds within) {
    state_->run([&] { return state_->client->ended(); }, within, "the end");
    return state_->take(std::string::npos);
}

// ---- The simulation ----------------------------------------------------------------------------------------------------------

simulation::simulation(const options& wanted) : machine_(std::make_unique<machine>(wanted)) {}
simulation::~simulation() = default;

void simulation::start(nanoseconds within) {
    machine& m = *machine_;
    rt::PluginProgress& progress = *m.sim.shared.plugins[m.plugin_number];
    const bool ready = m.run([&] { return progress.awaited.load() == 0 && m.probe_id != 0; }, within);
    if (progress.failed.load()) {
        m.failures.clear();
        throw failure(m.described(std::string("plugin ") + m.plugin.name + " cannot start: " + progress.reason));
    }
    if (!ready) throw failure(m.described("not every main actor called ready() or ended in time"));
}

void simulation::reload(std::string_view settings) {
    machine& m = *machine_;
    if (m.plugin.descriptor->reload == nullptr)
        throw failure(std::string("plugin ") + m.plugin.name + ": it has no reload: new settings need a restart");
    rt::PluginOptions section;
    section.name = m.plugin.name;
    section.origin = "settings";
    section.settings = parse_settings(settings);
    auto checked = rt::check_new_settings(m.plugin, section);
    if (!checked) throw failure(m.described(checked.error().message));
    if (const auto agreed = rt::call_reload_check(m.plugin, **checked, section); !agreed)
        throw failure(m.described(agreed.error().message));
    rt::call_reload_apply(m.plugin, std::move(*checked));
    m.sim.shared.plugins[m.plugin_number]->reloads.fetch_add(1);
    m.sim.command(rt::command_plugins);
}

bool simulation::run_until(const std::function<bool()>& condition, nanoseconds within) {
    return machine_->run(condition, within);
}
void simulation::run_for(nanoseconds time) {
    machine_->run([] { return false; }, time);
}
bool simulation::run_until_idle(nanoseconds quiet, nanoseconds within) {
    machine& m = *machine_;
    const auto idle = [&] { return m.sim.all_asleep() && m.sim.world.next_event() - quiet > m.sim.world.now(); };
    return m.run(idle, within);
}
nanoseconds simulation::now() const { return machine_->sim.world.now(); }
void simulation::after(nanoseconds delay, std::function<void()> script) {
    machine_->sim.world.after(delay, std::move(script));
}
std::uint64_t simulation::random_below(std::uint64_t bound) {
    if (bound == 0) throw failure("testkit: random_below(0): there is no number below 0");
    return machine_->sim.world.random_below(bound);
}
std::uint64_t simulation::seed() const { return machine_->sim.world.seed(); }
std::uint64_t simulation::trace() const { return machine_->sim.world.trace_hash(); }

client simulation::connect(std::uint16_t port) {
    auto state = std::make_shared<client::state>();
    state->machine = machine_.get();
    state->client = machine_->sim.world.connect_client(port);
    return client(std::move(state));
}
void simulation::add_file(std::string_view path, std::string bytes) {
    if (!path.starts_with('/')) throw failure("testkit: add_file: the path must be absolute: " + std::string(path));
    machine_->sim.world.add_file(path, std::move(bytes));
}
void simulation::add_folder(std::string_view path) {
    if (!path.starts_with('/')) throw failure("testkit: add_folder: the path must be absolute: " + std::string(path));
    machine_->sim.world.add_directory(path);
}
std::optional<std::string> simulation::file(std::string_view path) const { return machine_->sim.world.file(path); }

void simulation::fail_next(std::uint16_t code, int error, unsigned times, unsigned skipped) {
    const bool without_kernel = code == UMBEL_OP_TIMEOUT || code == UMBEL_OP_CANCEL || code == UMBEL_OP_CANCEL_FD ||
                                code == UMBEL_OP_CANCEL_ALL;
    if (code >= UMBEL_OP_COUNT || without_kernel)
        throw failure("testkit: fail_next: operation " + std::to_string(code) + " cannot be made to fail");
    if (error <= 0 || error >= 4096)
        throw failure("testkit: fail_next: the error is an errno above 0, ENOSPC for instance");
    if (times == 0) return;
    machine_->rules.push_back({code, error, times, skipped});
}
void simulation::set_faults(const faults& from_now_on) { machine_->sim.world.set_faults(simulated(from_now_on)); }

std::vector<actor> simulation::actors() const { return machine_->actors(); }
umbel_actor_id simulation::whereis(std::string_view name) const {
    return machine_->sim.shared.directory.whereis(name).value;
}
umbel_actor_id simulation::id() const { return machine_->probe_id; }
int simulation::send(umbel_actor_id to, std::uint32_t type, std::span<const std::byte> bytes) {
    machine& m = *machine_;
    if (bytes.size() > UMBEL_MESSAGE_MAX) return UMBEL_E_INVALID;
    if (m.probe_id == 0) throw failure("testkit: call start() first: until then nobody is there to be the sender");
    if (!m.stepping) return m.deliver(rt::ActorId{to}, type, bytes);
    if (m.sim.shared.directory.find(rt::ActorId{to}) == nullptr) return UMBEL_E_NO_ACTOR;
    m.outbox.push_back({rt::ActorId{to}, type, {bytes.begin(), bytes.end()}});
    return 0;
}
std::optional<received> simulation::receive(nanoseconds within) {
    machine& m = *machine_;
    if (!m.run([&] { return !m.inbox.empty(); }, within)) return std::nullopt;
    received first = std::move(m.inbox.front());
    m.inbox.pop_front();
    return first;
}

const std::vector<log_line>& simulation::log() const {
    machine_->take_events();
    return machine_->log;
}
bool simulation::logged(std::string_view text) const {
    return std::ranges::any_of(log(), [text](const log_line& line) { return line.text.contains(text); });
}
std::vector<std::string> simulation::take_failures() {
    machine_->take_events();
    return std::exchange(machine_->failures, {});
}
holdings simulation::held() const { return machine_->held(); }

void simulation::drain(nanoseconds within) { machine_->drain(within); }

void simulation::finish(std::initializer_list<std::string_view> may_remain) {
    machine& m = *machine_;
    m.drain(std::chrono::seconds(10));
    std::string wrong;
    std::size_t remaining = 0;
    for (const actor& living : m.actors()) {
        if (std::ranges::find(may_remain, living.type) != may_remain.end()) continue;
        wrong += "\n  an actor that lives on: " + living.type +
                 " (end it when the daemon drains, or name its type: finish({\"" + living.type + "\"}))";
    }
    for (const std::string& reason : m.failures) wrong += "\n  an actor that failed: " + reason;
    m.failures.clear();
    m.end();
    remaining = m.sim.living();
    if (const rt::Bytes blocks = m.sim.shared.blocks.in_use(); remaining <= 1 && blocks != rt::Bytes{0})
        wrong += "\n  shared blocks of " + std::to_string(blocks.count) + " bytes that nobody let go of";
    for (const std::string& what : m.sim.left_behind(remaining)) wrong += "\n  left after the end: " + what;
    if (!wrong.empty()) throw failure(m.described("the plugin has left something behind:" + wrong));
}

}  // namespace umbel::testkit
