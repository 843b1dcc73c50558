#include "routing/ha_manager.hpp"

#include <boost/json.hpp>

#include "base/log.hpp"
#include "base/text.hpp"

namespace hexad {

namespace json = boost::json;

std::string_view node_state_name(NodeState state) {
    switch (state) {
        case NodeState::initializing:
            return "initializing";
        case NodeState::normal:
            return "normal";
        case NodeState::taking_over:
            return "taking-over";
        case NodeState::backup:
            return "backup";
        case NodeState::failed_over:
            return "failed-over";
        case NodeState::taking_back:
            return "taking-back";
        case NodeState::falling_back:
            return "falling-back";
        case NodeState::standalone:
            return "standalone";
        case NodeState::unknown:
            break;
    }
    return "unknown";
}

HaManager::HaManager(asio::io_context& io, const Config& config, std::string node, ClusterBackend& cluster,
                     EpochStore& epochs, Router& router)
    : io_(io),
      config_(config),
      node_(std::move(node)),
      cluster_(cluster),
      epochs_(epochs),
      router_(router),
      timer_(io),
      clock_timer_(io) {
    for (const auto& n : config_.group_of(node_)->nodes) {
        if (n.name != node_) peer_ = n.name;
    }
    cluster_.events.partition = [this](const std::string& home, const std::string& serving,
                                       std::uint64_t epoch) { partition_moved(home, serving, epoch); };
}

void HaManager::enter(NodeState state, std::string reason) {
    if (state == state_ && reason == reason_) return;
    log_info("ha_state_changed", {{"node", node_},
                                  {"from", node_state_name(state_)},
                                  {"to", node_state_name(state)},
                                  {"reason", reason},
                                  {"epoch", epochs_known_[node_]}});
    state_ = state;
    reason_ = std::move(reason);
    since_ = wall_now();
    asio::co_spawn(io_, publish(), asio::detached);
}

void HaManager::partition_moved(const std::string& home, const std::string& serving, std::uint64_t epoch) {
    if (epoch < epochs_known_[home]) return;
    epochs_known_[home] = epoch;
    partition_of_[home] = serving;
    const bool ours = serving == node_;
    const bool had = serving_.contains(home);
    if (ours == had) return;
    if (ours) {
        serving_.insert(home);
    } else {
        serving_.erase(home);
    }
    if (on_partition) on_partition(home, ours);
    if (ours || stopping_) return;
    if (home == node_) {
        // Somebody took this node over while it was away: it waits for its fallback.
        healthy_since_ = SteadyClock::now();
        enter(NodeState::failed_over, "peer-down");
    } else if (home == peer_ && state_ == NodeState::backup) {
        enter(NodeState::falling_back, "automatic-fallback");
        enter(NodeState::normal, "normal");
    }
}

awaitable<std::uint64_t> HaManager::move(std::string home, std::uint64_t known) {
    const auto moved = co_await epochs_.move_partition(home, node_, known);
    if (!moved || moved->serving != node_) co_return 0;
    // Store first; only a Redis that follows makes it true for the routers.
    for (int i = 0; i < 100; ++i) {
        if (co_await cluster_.adopt_partition(home, moved->epoch)) co_return moved->epoch;
        asio::steady_timer pause(io_, milliseconds(100));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return 0;
}

awaitable<void> HaManager::take_place() {
    for (;;) {
        const auto own = co_await epochs_.ensure_partition(node_);
        auto in_redis = own ? co_await cluster_.partitions({1, node_})
                            : Result<std::map<std::string, ClusterBackend::Partition>>(own.error());
        if (own && in_redis) {
            epochs_known_[node_] = own->epoch;
            if (!peer_.empty()) co_await epochs_.ensure_partition(peer_);
            const auto at_peer = own->serving == peer_ && !peer_.empty();
            const auto leases = at_peer ? co_await cluster_.leases({1, peer_})
                                        : Result<std::map<std::string, bool>>(std::map<std::string, bool>{});
            const bool peer_lives = leases && leases->contains(peer_) && leases->at(peer_);
            if (at_peer && peer_lives) {
                partition_moved(node_, peer_, own->epoch);
                healthy_since_ = SteadyClock::now();
                enter(NodeState::failed_over, "peer-down");
                co_return;
            }
            const bool same = own->serving == node_ && (*in_redis)[node_].serving == node_;
            std::uint64_t epoch = own->epoch;
            if (own->serving != node_) {
                epoch = co_await move(node_, own->epoch);
            } else if (!same && !co_await cluster_.adopt_partition(node_, own->epoch)) {
                epoch = 0;
            }
            if (epoch > 0) {
                partition_moved(node_, node_, epoch);
                // Sessions that this node carried before it stopped, and that nobody took over.
                const auto left = co_await cluster_.sessions_of(node_);
                if (left) {
                    for (const auto& sid : *left) co_await router_.adopt(sid, node_);
                }
                enter(peer_.empty() || !config_.high_availability ? NodeState::standalone : NodeState::normal,
                      peer_.empty() || !config_.high_availability ? "ha-not-enabled" : "normal");
                co_return;
            }
        }
        log_warn("gate_waiting", {{"node", node_}, {"reason", "partition"}});
        asio::steady_timer pause(io_, milliseconds(500));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

awaitable<void> HaManager::run() {
    co_await take_place();
    watch_clock();
    while (!stopping_) {
        timer_.expires_after(config_.timers.heartbeat / 2);
        co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
        if (stopping_) co_return;
        if (cluster_.active()) co_await step();
    }
}

awaitable<void> HaManager::step() {
    co_await publish();
    std::vector<std::string> homes{node_};
    if (!peer_.empty()) homes.push_back(peer_);
    const auto partitions = co_await cluster_.partitions(homes);
    if (!partitions) co_return;
    for (const auto& [home, p] : *partitions) {
        if (!p.serving.empty()) partition_moved(home, p.serving, p.epoch);
    }
    if (peer_.empty() || !config_.high_availability) co_return;
    const auto leases = co_await cluster_.leases({1, peer_});
    if (!leases) co_return;
    const bool peer_lives = leases->at(peer_);
    // A Redis that was away for all gives everybody the time to renew before anybody is called dead.
    if (SteadyClock::now() - cluster_.connected_since() < config_.timers.lease * 11 / 10) co_return;
    saw_peer_ = saw_peer_ || peer_lives;
    const auto now = SteadyClock::now();
    if (now - budget_since_ > std::chrono::hours(1)) {
        budget_since_ = now;
        automatic_moves_ = 0;
    }
    if (state_ == NodeState::normal && !peer_lives) {
        // A peer that never came gets the initialisation timeout (T5); one whose lease ended is taken over
        // now (T6).
        if (!saw_peer_ && now - started_ < config_.timers.init_timeout) co_return;
        const auto known = (*partitions).at(peer_);
        if (known.serving == node_) {
            co_await take_over(peer_, known.epoch, "peer-down");
        } else {
            const auto states = co_await cluster_.node_states();
            std::string reason = saw_peer_ ? "peer-down" : "peer-down-during-initialization";
            if (states && states->contains(peer_) &&
                states->at(peer_).find("\"stopped\"") != std::string::npos)
                reason = "peer-reboot";
            co_await take_over(peer_, 0, reason);
        }
    } else if (state_ == NodeState::failed_over) {
        if (!peer_lives) {
            // The backup is gone too: its own users and the peer's are served from here (T12).
            co_await take_back();
            co_await take_over(peer_, 0, "auto-recover-critical-service-down");
        } else if (config_.timers.automatic_fallback &&
                   now - healthy_since_ >= config_.timers.fallback_delay) {
            if (automatic_moves_ >= 20) co_return;
            ++automatic_moves_;
            co_await take_back();
        }
    }
}

awaitable<void> HaManager::take_over(std::string peer, std::uint64_t, std::string reason) {
    const auto row = co_await epochs_.ensure_partition(peer);
    if (!row) co_return;
    enter(NodeState::taking_over, reason);
    log_info("failover_started", {{"node", peer}, {"by", node_}, {"reason", reason}, {"epoch", row->epoch}});
    const auto begin = SteadyClock::now();
    const auto epoch = row->serving == node_ ? row->epoch : co_await move(peer, row->epoch);
    if (epoch == 0) {
        log_warn("failover_failed", {{"node", peer}, {"step", "epoch"}});
        enter(NodeState::normal, "take-over-users-failed");
        co_return;
    }
    partition_moved(peer, node_, epoch);
    std::uint64_t adopted = 0;
    if (const auto sids = co_await cluster_.sessions_of(peer)) {
        for (const auto& sid : *sids) {
            co_await router_.adopt(sid, peer);
            ++adopted;
        }
    }
    const auto took = std::chrono::duration_cast<milliseconds>(SteadyClock::now() - begin).count();
    log_info("failover_finished", {{"node", peer},
                                   {"by", node_},
                                   {"epoch", epoch},
                                   {"sessions", adopted},
                                   {"took_ms", std::int64_t{took}}});
    enter(NodeState::backup, reason);
}

awaitable<void> HaManager::take_back() {
    const auto row = co_await epochs_.ensure_partition(node_);
    if (!row) co_return;
    enter(NodeState::taking_back, "automatic-fallback");
    log_info("fallback_started", {{"node", node_}, {"epoch", row->epoch}});
    const auto epoch = co_await move(node_, row->epoch);
    if (epoch == 0) {
        enter(NodeState::failed_over, "take-back-users-failed");
        co_return;
    }
    partition_moved(node_, node_, epoch);
    log_info("fallback_finished", {{"node", node_}, {"epoch", epoch}});
    enter(NodeState::normal, "automatic-fallback");
}

void HaManager::watch_clock() {
    // A process that stood still longer than half its lease may have been taken over: whatever its sockets
    // hold is stale.
    clock_timer_.expires_after(milliseconds(100));
    clock_timer_.async_wait([this](error_code error) {
        if (error || stopping_) return;
        const auto now = SteadyClock::now();
        if (now - last_tick_ > config_.timers.lease / 2) {
            const auto stood = std::chrono::duration_cast<milliseconds>(now - last_tick_).count();
            log_warn("node_fenced",
                     {{"node", node_}, {"reason", "isolated"}, {"stood_still_ms", std::int64_t{stood}}});
            router_.close_streams("system-shutdown");
        }
        last_tick_ = now;
        watch_clock();
    });
}

awaitable<void> HaManager::publish() {
    json::array serving;
    for (const auto& home : serving_) serving.push_back(json::value(home));
    const json::object object{
        {"state", node_state_name(state_)}, {"reason", reason_},   {"since", format_time_s(since_)},
        {"epoch", epochs_known_[node_]},    {"serving", serving},  {"sessions", router_.sessions().size()},
        {"config", config_.hash},           {"stopped", stopping_}};
    auto text = json::serialize(object);
    // `stopped` is searched for as text by the peer.
    if (!stopping_) {
        if (const auto at = text.find("\"stopped\":false"); at != std::string::npos)
            text.replace(at, 15, "\"going\":true");
    }
    co_await cluster_.put_node_state(node_, std::move(text));
}

awaitable<void> HaManager::stop() {
    stopping_ = true;
    timer_.cancel();
    clock_timer_.cancel();
    co_await publish();
}

awaitable<std::vector<json::object>> HaManager::nodes(std::map<std::string, std::uint64_t> assigned) {
    std::vector<std::string> names;
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) names.push_back(n.name);
    }
    const auto leases = co_await cluster_.leases(names);
    const auto states = co_await cluster_.node_states();
    const auto partitions = co_await cluster_.partitions(names);
    std::vector<json::object> out;
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) {
            json::object object;
            object["name"] = n.name;
            object["group"] = group.name;
            const bool lives = leases && leases->contains(n.name) && leases->at(n.name);
            json::object told;
            if (states && states->contains(n.name)) {
                error_code error;
                auto value = json::parse(states->at(n.name), error);
                if (!error && value.is_object()) told = std::move(value.as_object());
            }
            object["state"] = lives && told.contains("state") ? told["state"] : json::value("unknown");
            object["reason"] = lives && told.contains("reason") ? told["reason"] : json::value("peer-down");
            object["since"] = told.contains("since") ? told["since"] : json::value(nullptr);
            json::array serving;
            std::uint64_t epoch = 0;
            if (partitions) {
                for (const auto& [home, p] : *partitions) {
                    if (p.serving == n.name) serving.push_back(json::value(home));
                }
                epoch = partitions->contains(n.name) ? partitions->at(n.name).epoch : 0;
            }
            object["serving"] = serving;
            object["epoch"] = epoch;
            object["assigned"] = assigned.contains(n.name) ? assigned.at(n.name) : 0;
            object["capacity"] = n.capacity;
            object["sessions"] = lives && told.contains("sessions") ? told["sessions"] : json::value(0);
            out.push_back(std::move(object));
        }
    }
    co_return out;
}

}  // namespace hexad
