#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace hexad {

/// Monotonic count; adding is one relaxed atomic increment, from any thread.
class Counter {
public:
    void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
    std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> value_{0};
};

/// Process-wide registry of Prometheus metrics. Names as `hexad_<area>_<what>_<unit>`; labels are the text
/// between the braces, e.g. `kind="message",direction="in"`, never a JID. Registering twice returns the same
/// counter.
class Metrics {
public:
    static Metrics& instance();
    Counter& counter(std::string_view name, std::string_view labels, std::string_view help);
    /// A gauge is read when it is asked for. `read` runs on the thread that renders (the protocol thread).
    void gauge(std::string_view name, std::string_view labels, std::string_view help,
               std::function<double()> read);
    /// The text exposition format, version 0.0.4.
    std::string render() const;

private:
    struct Impl;
    Metrics();
    Impl* impl_;
};

}  // namespace hexad
