// ref.h: counted references to things that never change after they were made, and so may be read on every executor.
//
// Why.    Sessions read settings, routes and cached files with each request, and any of these may be replaced meanwhile:
//         what a request began with must stay until it is answered. shared_ptr would do, but a reference must also travel in
//         a message, which is bytes.
// Shape.  T derives from Counted. pack() turns a reference into a pointer that a message may hold, unpack() back.
// Owner.  Those who hold references, the messages under way included.
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace http {

class Counted {
public:
    Counted() = default;
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;

private:
    template <class T>
    friend class Ref;
    mutable std::atomic<std::uint32_t> references_{0};
};

/// A reference; the last one frees the thing.
template <class T>
class Ref {
public:
    Ref() = default;
    explicit Ref(const T* thing) : thing_(thing) {
        // relaxed: whoever adds a reference has one, or has just made the thing.
        if (thing_ != nullptr) thing_->references_.fetch_add(1, std::memory_order_relaxed);
    }
    Ref(const Ref& other) : Ref(other.thing_) {}
    Ref(Ref&& other) noexcept : thing_(std::exchange(other.thing_, nullptr)) {}
    Ref& operator=(Ref other) noexcept {
        std::swap(thing_, other.thing_);
        return *this;
    }
    ~Ref() {
        // release: this holder's reads are over. acquire: pairs with the other holders' releases, before it is freed.
        if (thing_ != nullptr && thing_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete thing_;
    }

    [[nodiscard]] explicit operator bool() const { return thing_ != nullptr; }
    const T& operator*() const { return *thing_; }
    const T* operator->() const { return thing_; }
    [[nodiscard]] const T* get() const { return thing_; }
    /// Nobody else holds one (and nobody can get one, if this one is not handed on).
    [[nodiscard]] bool only() const {
        // acquire: the others' reads are over. Pairs with their releases.
        return thing_ != nullptr && thing_->references_.load(std::memory_order_acquire) == 1;
    }

    /// Puts the reference into a message, and takes it out again.
    [[nodiscard]] const T* pack() && { return std::exchange(thing_, nullptr); }
    [[nodiscard]] static Ref unpack(const T* packed) {
        Ref reference;
        reference.thing_ = packed;
        return reference;
    }

private:
    const T* thing_ = nullptr;
};

}  // namespace http
