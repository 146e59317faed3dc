// main.cpp: the plugin `http`: serves a folder, and the routes of other plugins, over HTTP/1.1.
//
// Shape.  Main runs once. It opens the folder and one listener for each executor, and spawns on each a file cache and a
//         gate; a gate spawns one session a connection (session.h). When settings change, main opens the folder anew and
//         gives the new Site to the gates; of the old ones it keeps the folder open until nobody uses them any more.

#include <fcntl.h>

#include <atomic>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "file_cache.h"
#include "gate.h"
#include "session.h"
#include "settings.h"
#include "site.h"
#include "umbel/umbel.h"

namespace http {
namespace {

// The Site that load or the last reload made, packed, until main takes it.
std::atomic<const Site*> wanted{nullptr};

void want(Ref<Site> site) noexcept {
    // acq_rel: publishes the Site; of one that nobody took, whoever takes it out sees it whole.
    (void)Ref<Site>::unpack(wanted.exchange(std::move(site).pack(), std::memory_order_acq_rel));
}

void read_settings(const umbel::settings& settings) {
    Ref<Site> site = read_site(settings);
    umbel::actor_type<session>.memory_limit = session_memory;
    connection_counts().clear();
    want(std::move(site));
}

Ref<Site> prepare(const umbel::settings& settings) { return read_site(settings); }
void apply(Ref<Site>&& site) noexcept { want(std::move(site)); }

template <class T>
T or_fail(umbel::self& me, const std::string& what, umbel::result<T> result) {
    if (!result) me.fail(what + ": " + std::string(result.error().message()));
    return std::move(*result);
}

class Main {
public:
    explicit Main(umbel::self& me) : me_(me) {}

    void run() {
        auto first = take();
        if (!first) me_.fail("there are no settings");
        auto opened = open(std::move(*first));
        if (!opened) me_.fail("cannot open the folder " + refused_root_ + ": " + std::string(opened.error().message()));

        listen_ = current().listen;
        auto listening = me_.listen_everywhere(listen_);
        if (!listening) me_.fail(listening.error());

        const std::size_t executors = me_.executor_count();
        std::vector<umbel::actor_id> caches;
        caches.reserve(executors);
        for (std::size_t i = 0; i < executors; ++i) {
            caches.push_back(or_fail(
                me_, "cannot spawn a cache",
                me_.spawn_at<FileCache>(static_cast<int>(i), current().cache_size / executors, current().cache_valid)));
        }
        for (std::size_t i = 0; i < listening->sockets.size(); ++i) {
            const std::size_t executor = i % executors;
            const Site* const site = Ref<Site>(in_use_.back().site).pack();
            gates_.push_back(or_fail(me_, "cannot spawn a gate",
                                     me_.spawn_at<gate>(static_cast<int>(executor), std::move(listening->sockets[i]),
                                                        site, caches[executor])));
        }
        me_.ready("listening on " + listening->text + ", serving " + current().root);
        // For ever: what is in flight when the daemon drains still needs the folder.
        for (;;) {
            if (me_.receive().is_reload()) reload();
        }
    }

private:
    struct InUse {
        Ref<Site> site;
        umbel::file root;
    };

    [[nodiscard]] const Site& current() const { return *in_use_.back().site; }

    static std::optional<Ref<Site>> take() {
        // acquire: the Site is whole. Pairs with want().
        const Site* const packed = wanted.exchange(nullptr, std::memory_order_acq_rel);
        if (packed == nullptr) return std::nullopt;
        return Ref<Site>::unpack(packed);
    }

    // The Site is main's alone until it is given to the gates.
    umbel::result<void> open(Ref<Site> site) {
        auto root = me_.await(me_.open(site->root, O_PATH | O_DIRECTORY));
        if (!root) {
            refused_root_ = site->root;
            return std::unexpected(root.error());
        }
        const_cast<Site&>(*site).root_fd = root->fd();
        in_use_.push_back({std::move(site), std::move(*root)});
        return {};
    }

    void reload() {
        auto next = take();
        if (!next) return;
        if (auto opened = open(std::move(*next)); !opened) {
            me_.log_error("the settings before stay in force: cannot open the folder " + refused_root_ + ": " +
                          std::string(opened.error().message()));
            return;
        }
        if (current().listen != listen_)
            me_.log_warning("listen = " + current().listen + " needs a restart; still listening on " + listen_);
        for (const umbel::actor_id gate : gates_) {
            const SiteChanged changed{Ref<Site>(in_use_.back().site).pack()};
            if (!me_.send_to(gate, changed)) (void)Ref<Site>::unpack(changed.site);
        }
        // Those of earlier reloads, except what sessions have not let go of yet.
        while (in_use_.size() > 1 && in_use_.front().site.only()) in_use_.erase(in_use_.begin());
    }

    umbel::self& me_;
    std::vector<InUse> in_use_;  // the one in force last
    std::vector<umbel::actor_id> gates_;
    std::string listen_;
    std::string refused_root_;
};

void main_actor(umbel::self& me) { Main(me).run(); }

}  // namespace
}  // namespace http

UMBEL_PLUGIN(.setting_count = http::setting_count, .settings = http::setting_table, .name = "http", .version = "0.2.0",
             .description = "Serves a folder and the routes of other plugins over HTTP/1.1",
             .load = umbel::load<http::read_settings>, .unload = nullptr, .main = &umbel::actor_type<http::main_actor>,
             .main_placement = UMBEL_MAIN_ONCE, .reserved = 0, .reload = umbel::reload<http::prepare, http::apply>);
