// main_queue.h: work for the main thread.
//
// Why.    What touches the runtime is the control thread's, which is the main one (runtime.h). Whoever else is asked for
//         such a thing, as the admin socket is, hands it over here.
// Shape.  A list of functions under a lock; `wake` ends the main thread's wait for signals (signals.h).
// Owner.  post(): any thread. run(): the main thread. A function that was posted and never run, because the daemon has
//         ended, is destroyed with the queue.
#pragma once

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

namespace umbel::daemon {

class MainQueue {
public:
    explicit MainQueue(std::function<void()> wake) : wake_(std::move(wake)) {}

    void post(std::function<void()> work) {
        {
            const std::lock_guard lock(mutex_);
            work_.push_back(std::move(work));
        }
        wake_();
    }
    /// Runs what has been posted, in order.
    void run() {
        std::vector<std::function<void()>> taken;
        {
            const std::lock_guard lock(mutex_);
            taken.swap(work_);
        }
        for (const auto& work : taken) work();
    }

private:
    const std::function<void()> wake_;
    std::mutex mutex_;
    std::vector<std::function<void()>> work_;
};

}  // namespace umbel::daemon
