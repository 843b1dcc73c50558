#pragma once

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "base/result.hpp"

namespace hexad {

/// Runs `work()` on a thread of the pool and resumes the caller on its own executor with the value; what
/// `work` throws is thrown there. The caller's io_context is kept running meanwhile.
template <class Work>
awaitable<std::invoke_result_t<Work&>> offload(asio::thread_pool& pool, Work work) {
    using Value = std::invoke_result_t<Work&>;
    auto home = co_await asio::this_coro::executor;
    auto begin = [&pool, home](auto handler, Work job) {
        asio::post(pool, [guard = asio::make_work_guard(home), handler = std::move(handler),
                          job = std::move(job)]() mutable {
            std::exception_ptr fault;
            std::optional<Value> result;
            try {
                result.emplace(job());
            } catch (...) {
                fault = std::current_exception();
            }
            asio::post(guard.get_executor(),
                       [handler = std::move(handler), fault, result = std::move(result)]() mutable {
                           std::move(handler)(fault, std::move(result));
                       });
        });
    };
    auto value = co_await asio::async_initiate<const asio::use_awaitable_t<>&,
                                               void(std::exception_ptr, std::optional<Value>)>(
        std::move(begin), asio::use_awaitable, std::move(work));
    co_return std::move(*value);
}

/// Result<T> of a T, and of a Result<T>.
template <class T>
struct LiftResult {
    using type = Result<T>;
};
template <class T>
struct LiftResult<Result<T>> {
    using type = Result<T>;
};
template <class T>
using Lifted = typename LiftResult<T>::type;

}  // namespace hexad
