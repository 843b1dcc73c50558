// What takes time: partitions change hands, sessions are adopted, clients are sent on.
#include <random>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/json.hpp>

#include "base/fail_point.hpp"
#include "base/log.hpp"
#include "ha/json_fields.hpp"
#include "ha/manager.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

/// So many share the way to Redis, with the clients that resume meanwhile.
constexpr seconds redis_comes_back{30};
constexpr std::size_t adopted_at_once = 32;

struct Adoption {
    std::vector<std::string> sids;
    std::string from;
    SteadyClock::time_point& progress;
    std::size_t next = 0, working = 0;
};

awaitable<void> adopt_some(Router& router, std::shared_ptr<Adoption> adoption) {
    while (adoption->next < adoption->sids.size()) {
        auto sid = adoption->sids[adoption->next++];
        co_await router.adopt(std::move(sid), adoption->from);
        adoption->progress = SteadyClock::now();
    }
}

std::string error_of(const Result<json::object>& reply) {
    if (!reply) return reply.error().message();
    const auto* error = reply->if_contains("error");
    if (error == nullptr) return {};
    return error->is_string() ? std::string(error->as_string()) : "refused";
}

/// As `see-other-host` has it.
std::string client_address(const Config& config, const std::string& node) {
    const auto* n = config.node(node);
    if (n == nullptr) return {};
    auto address = n->address.find(':') == std::string::npos ? n->address : '[' + n->address + ']';
    if (config.c2s_port != 5222) address += ':' + std::to_string(config.c2s_port);
    return address;
}

/// A refusal leaves everything as it was; only a step that broke midway makes the group fail.
bool refused(const Result<json::object>& reply) { return reply && reply->contains("error"); }

}  // namespace

awaitable<std::uint64_t> HaManager::move(std::string home) {
    const auto token = move_;
    const auto row = co_await epochs_.ensure_partition(home);
    if (!row) co_return 0;
    auto moved = *row;
    if (row->serving != node_) {
        const auto raised = co_await epochs_.move_partition(home, node_, row->epoch);
        if (!raised || raised->serving != node_) co_return 0;
        moved = *raised;
        fail_point("epoch-raised");
    }
    stored_[home] = moved;
    // Store first; only a Redis that follows makes it true for the routers.
    for (int i = 0; i < 100 && token == move_ && !stopping_; ++i) {
        if (co_await cluster_.adopt_partition(home, moved.epoch)) {
            partition_moved(home, node_, moved.epoch);
            co_return moved.epoch;
        }
        co_await pause(milliseconds(100));
    }
    co_return 0;
}

void HaManager::failed(Reason reason, const std::string& step, int transition) {
    ++move_;
    busy_ = false;
    log_.add("FailoverFailed", {{"step", step},
                                {"reason", name_of(reason)},
                                {"do", "hexactl ha recover " + config_.group_of(node_)->name}});
    enter(NodeState::failed, reason, transition);
    if (!link_ || peer_.empty()) return;
    asio::co_spawn(
        io_,
        [](PeerLink& link, std::string peer, std::string why) -> awaitable<void> {
            json::object request{{"do", "failed"}, {"reason", why}};
            co_await link.ask(std::move(peer), std::move(request), seconds(5));
        }(*link_, peer_, std::string(name_of(reason))),
        asio::detached);
}

awaitable<std::uint64_t> HaManager::adopt_sessions(std::string from) {
    auto sids = co_await cluster_.sessions_of(from);
    for (const auto end = SteadyClock::now() + redis_comes_back; !sids;
         sids = co_await cluster_.sessions_of(from)) {
        if (stopping_ || SteadyClock::now() > end) co_return 0;
        co_await pause(milliseconds(200));
    }
    auto adoption = std::make_shared<Adoption>(Adoption{*sids, std::move(from), progress_});
    asio::steady_timer done(io_, asio::steady_timer::time_point::max());
    for (std::size_t i = 0; i < std::min(adopted_at_once, sids->size()); ++i) {
        ++adoption->working;
        asio::co_spawn(io_, adopt_some(router_, adoption), [adoption, &done](const std::exception_ptr&) {
            if (--adoption->working == 0) done.cancel();
        });
    }
    while (adoption->working > 0) co_await done.async_wait(asio::as_tuple(asio::use_awaitable));
    adopted(adoption->from, *sids);
    co_return sids->size();
}

/// T2. Also what a backup finds when it starts again: it goes on serving both partitions.
awaitable<void> HaManager::take_own(NodeState to, Reason reason) {
    const auto token = move_;
    const auto own = co_await epochs_.ensure_partition(node_);
    Result<EpochStore::Partition> other(EpochStore::Partition{});
    if (own && !peer_.empty()) other = co_await epochs_.ensure_partition(peer_);
    bool ok = own && other && token == move_;
    // Somebody may have been quicker: then the next look finds it.
    if (ok && own->serving == peer_ && !peer_.empty() && redis_.peer_lease) ok = false;
    const bool both = ok && !peer_.empty() && other->serving == node_;
    if (ok) ok = co_await move(node_) > 0;
    if (ok && both) ok = co_await move(peer_) > 0;
    if (token != move_) co_return;
    if (!ok) {
        log_warn("gate_waiting", {{"node", node_}, {"reason", "partition"}});
        co_await pause(milliseconds(500));
        if (token == move_) busy_ = false;
        co_return;
    }
    // Sessions that this node carried before it stopped, and that nobody took over.
    co_await adopt_sessions(node_);
    if (token != move_) co_return;
    busy_ = false;
    if (both) {
        bool held = false;
        for (const auto& home : settings_.held) held = held || home == peer_;
        enter(NodeState::backup, held ? Reason::admin_request : Reason::peer_down, 2);
    } else {
        enter(to, reason, 2);
    }
}

/// The peer's partition comes here. Empty, or what went wrong.
awaitable<std::string> HaManager::take_over(Reason reason, int transition) {
    const auto token = ++move_;
    busy_ = true;
    enter(NodeState::taking_over, reason, transition);
    expect_clients_of(peer_, !redis_.peer_lease);
    log_.add("FailoverStarted", {{"of", peer_}, {"reason", name_of(reason)}});
    const auto begin = SteadyClock::now();
    auto epoch = co_await move(peer_);
    if (epoch == 0 && token == move_) epoch = co_await move(peer_);  // one retry
    if (token != move_) co_return "given up";
    if (epoch == 0) {
        failed(Reason::take_over_users_failed, "epoch", 14);
        co_return "the partition's epoch could not be raised";
    }
    // A peer that lives hands its sessions over itself.
    const auto adopted = redis_.peer_lease ? 0 : co_await adopt_sessions(peer_);
    if (token != move_) co_return "given up";
    const auto took = std::chrono::duration_cast<milliseconds>(SteadyClock::now() - begin).count();
    log_.add("FailoverFinished",
             {{"of", peer_}, {"epoch", epoch}, {"sessions", adopted}, {"took_ms", std::int64_t{took}}});
    busy_ = false;
    enter(NodeState::backup, reason, transition);
    co_return std::string();
}

/// T12: the backup is lost; its users and this node's own are served from here.
awaitable<void> HaManager::take_both(Reason reason, int transition) {
    const auto token = ++move_;
    busy_ = true;
    enter(NodeState::taking_over, reason, transition);
    expect_clients_of(peer_, !redis_.peer_lease);
    log_.add("FailoverStarted", {{"of", peer_}, {"reason", name_of(reason)}});
    auto epoch = co_await move(node_);
    if (epoch > 0 && token == move_) epoch = co_await move(peer_);
    if (token != move_) co_return;
    if (epoch == 0) {
        failed(Reason::take_over_users_failed, "epoch", 14);
        co_return;
    }
    const auto adopted = co_await adopt_sessions(peer_);
    if (token != move_) co_return;
    log_.add("FailoverFinished", {{"of", peer_}, {"epoch", epoch}, {"sessions", adopted}});
    busy_ = false;
    enter(NodeState::backup, reason, transition);
}

/// T10, T11: this node's own partition comes home. Sessions stay where they are: any node carries any
/// session.
awaitable<std::string> HaManager::take_back(Reason reason, int transition) {
    const auto token = ++move_;
    busy_ = true;
    enter(NodeState::taking_back, reason, transition);
    log_.add("FallbackStarted", {{"of", node_}, {"from", peer_}, {"reason", name_of(reason)}});
    if (link_) {
        json::object request{{"do", "falling-back"}, {"reason", name_of(reason)}};
        co_await link_->ask(peer_, std::move(request), timers_.peer_timeout);
    }
    auto epoch = co_await move(node_);
    if (epoch == 0 && token == move_) epoch = co_await move(node_);  // one retry
    if (epoch > 0) co_await redundancy_.set_hold(node_, false);
    if (token != move_) co_return "given up";
    if (epoch == 0) {
        failed(Reason::take_back_users_failed, "epoch", 14);
        co_return "the partition's epoch could not be raised";
    }
    std::erase(settings_.held, node_);
    log_.add("FallbackFinished", {{"of", node_}, {"epoch", epoch}});
    busy_ = false;
    enter(NodeState::normal, reason, transition);
    co_return std::string();
}

/// T7, T8: asks the peer to take this node over, then sends the clients there. Empty, or why not.
awaitable<std::string> HaManager::hand_over(NodeState to, Reason reason, int transition, bool hold) {
    const auto token = ++move_;
    busy_ = true;
    const auto before = state_;
    const auto before_reason = reason_;
    enter(NodeState::failing_over, reason, transition);
    std::string error;
    if (hold && !co_await redundancy_.set_hold(node_, true)) error = "the store does not answer";
    if (error.empty() && hold) settings_.held.push_back(node_);
    bool broken = false;
    for (int attempt = 0; attempt < 2 && token == move_; ++attempt) {
        if (attempt == 0 && !error.empty()) break;
        Result<json::object> reply{asio::error::make_error_code(asio::error::not_connected)};
        if (link_) {
            json::object request{{"do", "take-over"}, {"reason", name_of(reason)}};
            reply = co_await link_->ask(peer_, std::move(request), timers_.step_limit / 2);
        }
        error = error_of(reply);
        broken = !error.empty() && !refused(reply);
        if (!broken) break;
    }
    if (token != move_) co_return "given up";
    if (!error.empty()) {
        hand_over_refused_ = SteadyClock::now();
        if (hold) {
            co_await redundancy_.set_hold(node_, false);
            std::erase(settings_.held, node_);
        }
        if (broken && reason != Reason::state_store_lost && owner_of(node_) == Owner::peer) {
            failed(Reason::take_over_users_failed, error, 14);
        } else {
            log_.add("FailoverFailed", {{"step", "ask"}, {"error", error}});
            busy_ = false;
            enter(before, before_reason, 0);
        }
        co_return error;
    }
    if (const auto row = co_await epochs_.ensure_partition(node_)) stored_[node_] = *row;
    co_await release_clients(peer_, timers_.release_window);
    if (link_) {
        json::object request{{"do", "adopt"}};
        co_await link_->ask(peer_, std::move(request), seconds(30));
    }
    if (token != move_) co_return "given up";
    busy_ = false;
    enter(to, reason, transition);
    co_return std::string();
}

bool HaManager::may_take_clients(const std::string& node) const {
    if (node == node_) return takes_clients(state_) && !draining_ && !stopping_;
    if (!link_ || !link_->view(node).up) return false;
    const auto& told = link_->view(node).told;
    const auto flag = [&told](std::string_view key) {
        const auto* value = told.if_contains(key);
        return value != nullptr && value->is_bool() && value->as_bool();
    };
    const auto* state = told.if_contains("state");
    if (state == nullptr || !state->is_string() || flag("draining") || flag("stopping")) return false;
    const auto known = node_state_of(std::string(state->as_string()));
    return known && takes_clients(*known);
}

std::uint64_t HaManager::release_accounts(const std::vector<Jid>& accounts, const std::string& target) {
    std::vector<SessionPtr> leaving;
    for (const auto& account : accounts) {
        const auto* route = router_.routes().find(account);
        if (route == nullptr) continue;
        for (const auto& entry : route->sessions) {
            // Whoever cannot resume would lose his session for nothing: any node carries any session.
            auto session = entry.node == node_ ? router_.find_session(entry.sid) : nullptr;
            if (session && session->wire != nullptr && session->resumable && !session->closing)
                leaving.push_back(std::move(session));
        }
    }
    const auto address = client_address(config_, target);
    for (const auto& session : leaving)
        asio::co_spawn(io_, router_.release(session, address), asio::detached);
    return leaving.size();
}

awaitable<std::uint64_t> HaManager::send_home(std::vector<Jid> accounts, std::string home) {
    if (!may_take_clients(home)) co_return 0;
    std::map<std::string, std::vector<Jid>> carried;
    for (const auto& account : accounts) {
        const auto* route = router_.routes().find(account);
        if (route == nullptr) continue;
        for (const auto& entry : route->sessions) {
            auto& there = carried[entry.node];
            if (entry.node != home && (there.empty() || there.back() != account)) there.push_back(account);
        }
    }
    std::uint64_t sent = 0;
    for (const auto& [node, all] : carried) {
        if (all.empty()) continue;
        if (node == node_) {
            sent += release_accounts(all, home);
            continue;
        }
        if (!link_) continue;
        json::array names;
        for (const auto& jid : all) names.push_back(json::value(jid.to_string()));
        json::object request{{"do", "send-home"}, {"home", home}};
        request["accounts"] = std::move(names);
        const auto reply = co_await link_->ask(node, std::move(request), seconds(5));
        if (!reply || !reply->contains("sessions")) continue;
        sent += reply->at("sessions").to_number<std::uint64_t>();
    }
    co_return sent;
}

/// Clients are told to go to `target`, each at a random instant of the window, so that they do not all come
/// at once.
awaitable<void> HaManager::release_clients(std::string target, milliseconds window) {
    const auto address = client_address(config_, target);
    std::vector<std::string> sids;
    for (const auto& [sid, session] : router_.sessions()) {
        if (session->wire != nullptr) sids.push_back(sid);
    }
    // No faster than a node lets clients back in after a loss.
    window = std::max(window, milliseconds(1000 * sids.size() / config_.admission.resumptions));
    std::mt19937 random(std::random_device{}());
    std::shuffle(sids.begin(), sids.end(), random);
    const auto begin = SteadyClock::now();
    for (std::size_t i = 0; i < sids.size(); ++i) {
        const auto due =
            begin + window * static_cast<std::int64_t>(i) / static_cast<std::int64_t>(sids.size());
        const auto now = SteadyClock::now();
        if (due > now) co_await pause(std::chrono::duration_cast<milliseconds>(due - now));
        if (auto session = router_.find_session(sids[i]); session && session->wire != nullptr)
            asio::co_spawn(io_, router_.release(std::move(session), address), asio::detached);
        progress_ = SteadyClock::now();
    }
    // What they had sent is finished first; a stuck store holds nobody back for long.
    for (int i = 0; i < 200 && router_.attached() > 0; ++i) co_await pause(milliseconds(10));
}

std::string HaManager::better_host(const std::string& home) const {
    const auto* group = config_.group_of(home);
    if (group == nullptr || group == config_.group_of(node_) || !link_) return {};
    // Who serves it says so itself, and that it lets clients in; else the client stays.
    for (const auto& n : group->nodes) {
        const auto& view = link_->view(n.name);
        if (!view.up || view.told.empty() || flag(view.told, "draining") || flag(view.told, "stopping"))
            continue;
        const auto state = node_state_of(text(view.told, "state"));
        if (!state || !takes_clients(*state)) continue;
        const auto* serving = view.told.if_contains("serving");
        if (serving == nullptr || !serving->is_array()) continue;
        for (const auto& one : serving->as_array()) {
            if (one.as_string() == home) return client_address(config_, n.name);
        }
    }
    return {};
}

awaitable<void> HaManager::leave() {
    stopping_ = true;
    timer_.cancel();
    clock_timer_.cancel();
    if (on_clients) on_clients(false);
    if (link_ && !peer_.empty()) link_->tell(peer_);
    if (redis_fresh()) co_await cluster_.put_node_state(node_, json::serialize(status()));
    std::string target;
    if (link_ && !peer_.empty() && link_->view(peer_).up) {
        target = peer_;
        if (!serving_.empty() && settings_.high_availability) {
            json::object request{{"do", "take-over"}, {"reason", name_of(Reason::peer_reboot)}};
            const auto reply = co_await link_->ask(peer_, std::move(request), seconds(10));
            if (const auto error = error_of(reply); !error.empty())
                log_info("stop_without_take_over", {{"node", node_}, {"error", error}});
        }
    } else if (link_) {
        // Alone in its group: any live node carries sessions.
        for (const auto& group : config_.groups) {
            for (const auto& n : group.nodes) {
                if (target.empty() && n.name != node_ && link_->view(n.name).up) target = n.name;
            }
        }
    }
    if (!target.empty()) {
        co_await release_clients(target, timers_.release_window);
        if (target == peer_) {
            json::object request{{"do", "adopt"}};
            co_await link_->ask(peer_, std::move(request), seconds(10));
        }
    }
    co_await log_.flush(seconds(2));
    if (link_) link_->stop();
}

}  // namespace hexad
