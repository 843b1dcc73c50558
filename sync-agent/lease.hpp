#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/clock.hpp"

namespace hexad::sync {

/// The lease of the one agent that runs. A thread with a connection of its own takes it when it is free and
/// renews it, however long a read of the directory takes; the destructor gives it back. What is written
/// checks holder and epoch itself (GuardedStore): a process that was frozen cannot do harm.
class Lease {
public:
    Lease(std::string url, std::string holder, seconds length);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    /// The epoch while the lease is ours, 0 while it is not.
    std::int64_t epoch() const { return epoch_; }

private:
    void keep();

    const std::string url_;
    const std::string holder_;
    const seconds length_;
    std::atomic<std::int64_t> epoch_ = 0;
    std::mutex mutex_;
    std::condition_variable stopping_;
    bool is_stopping_ = false;
    std::thread thread_;
};

}  // namespace hexad::sync
