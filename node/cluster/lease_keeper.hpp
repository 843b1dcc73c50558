#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

#include "cluster/redis_connection.hpp"

namespace hexad {

/// Keeps the lease that this node holds while its protocol thread is busy with clients: a thread and a
/// connection to Redis that do nothing else. It never takes a lease, it only makes one last that Redis still
/// has under this node's incarnation; and it stops when the protocol thread gives no sign of life, so that a
/// node that hangs is taken over. Called from the protocol thread unless it says otherwise.
class LeaseKeeper {
public:
    struct Options {
        RedisOptions redis;
        std::string prefix;  ///< of all keys of the cluster
        std::string node;
        milliseconds lease{10000};
        milliseconds renew{3000};
        milliseconds patience{15000};  ///< with a protocol thread that gives no sign
    };
    explicit LeaseKeeper(Options options);
    ~LeaseKeeper();
    LeaseKeeper(const LeaseKeeper&) = delete;

    void start();
    /// Does not wait for Redis.
    void stop();
    /// The lease was renewed by a call that began at `asked`; from now on it is kept.
    void held(std::uint64_t generation, std::uint64_t incarnation, SteadyClock::time_point asked);
    /// This node has doubts about Redis, or gives the lease back: it is not kept any more.
    void let_go();
    /// The protocol thread is alive.
    void sign_of_life() { alive_.store(SteadyClock::now()); }
    /// Until when the lease holds, counted from the start of its last renewal. Any thread.
    SteadyClock::time_point until() const { return until_.load(); }

private:
    awaitable<void> run();
    awaitable<void> keep();
    void extend(SteadyClock::time_point asked);

    const Options options_;
    asio::io_context io_{1};  ///< of the keeper's thread, as what follows
    RedisConnection redis_;
    RedisScript script_;
    asio::steady_timer timer_;
    std::thread thread_;
    std::atomic<SteadyClock::time_point> until_{}, alive_{};
    std::mutex mutex_;  ///< of held_
    struct Held {
        std::uint64_t generation = 0, incarnation = 0;  ///< 0: nothing is kept
        bool operator==(const Held&) const = default;
    } held_;
};

}  // namespace hexad
