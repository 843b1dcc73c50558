#pragma once

#include <mutex>
#include <optional>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "base/result.hpp"

namespace hexad {

/// Keeps an io_context running while something that another thread does for it is on its way. Any thread.
class KeepRunning {
public:
    explicit KeepRunning(asio::io_context& io) : io_(io) {}
    void more(std::size_t count = 1) {
        const std::lock_guard lock(mutex_);
        if (count_ == 0) work_.emplace(io_.get_executor());
        count_ += count;
    }
    void less(std::size_t count = 1) {
        const std::lock_guard lock(mutex_);
        count_ -= count;
        if (count_ == 0) work_.reset();
    }

private:
    asio::io_context& io_;
    std::mutex mutex_;
    std::size_t count_ = 0;
    std::optional<asio::executor_work_guard<asio::io_context::executor_type>> work_;
};

}  // namespace hexad
