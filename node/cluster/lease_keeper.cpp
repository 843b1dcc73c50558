#include "cluster/lease_keeper.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include "base/log.hpp"
#include "cluster/scripts.hpp"
#include "cluster/words.hpp"

namespace hexad {

LeaseKeeper::LeaseKeeper(Options options)
    : options_(std::move(options)),
      redis_(io_, options_.redis),
      script_(script_source("keep_lease")),
      timer_(io_),
      alive_(SteadyClock::now()) {}

LeaseKeeper::~LeaseKeeper() { stop(); }

void LeaseKeeper::start() {
    redis_.start();
    asio::co_spawn(io_, run(), asio::detached);
    thread_ = std::thread([this] { io_.run(); });
}

void LeaseKeeper::stop() {
    let_go();
    io_.stop();
    if (thread_.joinable()) thread_.join();
}

void LeaseKeeper::held(std::uint64_t generation, std::uint64_t incarnation, SteadyClock::time_point asked) {
    extend(asked);
    const std::lock_guard lock(mutex_);
    held_ = {generation, incarnation};
}

void LeaseKeeper::let_go() {
    const std::lock_guard lock(mutex_);
    held_ = {};
}

void LeaseKeeper::extend(SteadyClock::time_point asked) {
    const auto until = asked + options_.lease;
    auto known = until_.load();
    while (known < until && !until_.compare_exchange_weak(known, until)) {
    }
}

awaitable<void> LeaseKeeper::run() {
    for (;;) {
        timer_.expires_after(options_.renew);
        co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
        if (SteadyClock::now() - alive_.load() < options_.patience) co_await keep();
    }
}

awaitable<void> LeaseKeeper::keep() {
    Held held;
    {
        const std::lock_guard lock(mutex_);
        held = held_;
    }
    if (held.incarnation == 0) co_return;
    const auto asked = SteadyClock::now();
    std::vector<std::string> words{options_.prefix, std::to_string(held.generation), options_.node,
                                   std::to_string(held.incarnation), std::to_string(options_.lease.count())};
    const auto reply = co_await script_.run(redis_, std::move(words));
    if (!reply) co_return;
    if (verdict(*reply) == "OK") {
        extend(asked);
        co_return;
    }
    // Whatever it is, the protocol thread finds out and says when there is a lease again.
    if (reply->is_error()) log_error("redis_script_failed", {{"error", reply->text}});
    const std::lock_guard lock(mutex_);
    if (held_ == held) held_ = {};
}

}  // namespace hexad
