// What the other nodes and administrators ask of this one.
#include <boost/json.hpp>

#include "base/log.hpp"
#include "ha/json_fields.hpp"
#include "ha/manager.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

json::object refusal(const std::string& why) { return {{"error", why}}; }

/// The failing checks of one list, as a sentence.
std::string failing(const json::array& checks) {
    std::string out;
    for (const auto& check : checks) {
        const auto& c = check.as_object();
        if (!flag(c, "ok")) out += (out.empty() ? "" : "; ") + text(c, "detail");
    }
    return out;
}
bool only_room(const json::array& checks) {
    for (const auto& check : checks) {
        const auto& c = check.as_object();
        if (!flag(c, "ok") && text(c, "check") != "room") return false;
    }
    return true;
}

}  // namespace

awaitable<json::object> HaManager::answer(std::string from, json::object request) {
    const auto what = text(request, "do");
    const auto reason = reason_of(text(request, "reason")).value_or(Reason::peer_down);
    if (what == "command") {
        auto command = text(request, "command");
        co_return co_await carry_out(std::move(command), std::move(request));
    }
    if (what == "health") co_return co_await health();
    if (what == "send-home") {
        std::vector<Jid> accounts;
        const auto* names = request.if_contains("accounts");
        for (const auto& name : names != nullptr && names->is_array() ? names->as_array() : json::array{}) {
            if (!name.is_string()) continue;
            if (auto jid = Jid::parse(name.as_string())) accounts.push_back(*jid);
        }
        const auto home = text(request, "home");
        if (config_.node(home) == nullptr) co_return refusal("there is no node " + home);
        co_return json::object{{"sessions", release_accounts(accounts, home)}};
    }
    if (what == "carried") co_return answer_carried(request);
    if (what == "move-room") co_return co_await answer_move_room(std::move(request));
    if (from != peer_) co_return refusal("not of this group");
    if (what == "take-over") {
        if (busy_) co_return refusal("another move is under way");
        if (!redis_fresh() || !store_fresh()) co_return refusal(node_ + " reaches no Redis or no store");
        if (!problems().empty()) co_return refusal(node_ + " is not healthy");
        // Not by what was true a moment ago: a Redis that has gone for all is nobody's reason to move.
        std::vector<std::string> peers{peer_};
        if (!co_await cluster_.leases(std::move(peers))) co_return refusal(node_ + " reaches no Redis");
        if (state_ == NodeState::failed_over) {
            // The backup goes: this node takes its own partition and the backup's.
            co_await take_both(reason, 12);
            if (state_ != NodeState::backup) co_return refusal("the partitions could not be taken");
            co_return json::object{{"ok", true}};
        }
        if (state_ != NodeState::normal) co_return refusal(node_ + " is " + std::string(name_of(state_)));
        if (reason == Reason::state_store_lost || reason == Reason::database_failure ||
            reason == Reason::critical_service_down)
            budget_.spend(SteadyClock::now());
        const auto error = co_await take_over(reason, reason == Reason::admin_request ? 8 : 7);
        if (!error.empty()) co_return refusal(error);
        co_return json::object{{"ok", true}};
    }
    if (what == "adopt") {
        const auto sessions = co_await adopt_sessions(from);
        co_return json::object{{"ok", true}, {"sessions", sessions}};
    }
    if (what == "falling-back") {
        if (state_ == NodeState::backup) enter(NodeState::falling_back, reason, 10);
        co_return json::object{{"ok", true}};
    }
    if (what == "failed") {
        if (state_ != NodeState::failed && !busy_) enter(NodeState::failed, reason, 14);
        co_return json::object{{"ok", true}};
    }
    if (what == "recover") {
        if (state_ == NodeState::failed) restart(true);
        co_return json::object{{"ok", true}};
    }
    co_return refusal("unknown request: " + what);
}

awaitable<json::object> HaManager::command(json::object request) {
    const auto what = text(request, "command");
    auto target = text(request, "node");
    if (const auto group = text(request, "group"); !group.empty() && target.empty()) {
        for (const auto& g : config_.groups) {
            if (g.name == group) target = g.nodes.front().name;
        }
        if (target.empty()) co_return refusal("there is no group " + group);
        if (config_.group_of(node_)->name == group) target = node_;
    }
    if (target.empty()) target = node_;
    const auto* known = config_.node(target);
    if (known == nullptr) co_return refusal("there is no node " + target);
    if (what == "gate-override") {
        const auto* time = request.if_contains("seconds");
        const auto seconds = time != nullptr && time->is_int64() ? time->as_int64() : 0;
        co_return co_await override_gate(std::move(target), seconds);
    }
    if (target != node_ && link_ && !link_->view(target).up && (what == "failover" || what == "recover")) {
        // A node that is gone cannot hand itself over; the other one of its group does it.
        for (const auto& n : config_.group_of(target)->nodes) {
            if (n.name == target) continue;
            request["dead"] = target;
            target = n.name;
            break;
        }
    }
    if (target == node_) co_return co_await carry_out(what, std::move(request));
    if (!link_) co_return refusal("no [cluster.tls] is configured: ask " + target + " itself");
    request["do"] = "command";
    auto reply = co_await link_->ask(target, std::move(request), timers_.step_limit + timers_.release_window);
    if (!reply)
        co_return refusal(target + " does not answer at the peer link (" + reply.error().message() + ')');
    co_return std::move(*reply);
}

awaitable<json::object> HaManager::carry_out(std::string what, json::object request) {
    if (what == "enable" || what == "disable")
        co_return co_await switch_availability(what == "enable", flag(request, "force"));
    if (what == "drain" || what == "return") co_return co_await drain(what == "drain");
    std::map<std::string, std::uint64_t> assigned;
    if (const auto counts = co_await router_.store().assignment_counts()) assigned = *counts;
    const auto known = co_await reports();
    if (what == "simulate") {
        auto checks = failover_checks(known, assigned, node_);
        const bool possible = failing(checks).empty();
        json::object out{{"node", node_}, {"to", peer_}, {"possible", possible}};
        out["clients"] = router_.attached();
        out["window_ms"] = std::int64_t{timers_.release_window.count()};
        out["checks"] = std::move(checks);
        co_return out;
    }
    if (busy_) co_return refusal(node_ + ": a move is under way (" + std::string(name_of(state_)) + ')');
    if (peer_.empty() && what != "recover") co_return refusal(node_ + " is alone in its group");
    std::string error;
    if (const auto dead = text(request, "dead"); what == "failover" && !dead.empty()) {
        if (state_ != NodeState::normal) error = node_ + " is " + std::string(name_of(state_));
        if (error.empty() && redis_.peer_lease)
            error = dead + " still holds its lease, but does not answer at the peer link";
        if (error.empty() && !co_await redundancy_.set_hold(dead, true)) error = "the store does not answer";
        if (error.empty()) error = co_await take_over(Reason::admin_request, 8);
    } else if (what == "failover") {
        if (state_ != NodeState::normal)
            co_return refusal(node_ + " is " + std::string(name_of(state_)) + ", not normal");
        const auto checks = failover_checks(known, assigned, node_);
        error = failing(checks);
        if (!error.empty() && flag(request, "force") && only_room(checks)) error.clear();
        if (error.empty()) error = co_await hand_over(NodeState::idle, Reason::admin_request, 8, true);
        if (error.empty()) budget_.reset();
    } else if (what == "fallback") {
        if (state_ != NodeState::idle && state_ != NodeState::failed_over)
            co_return refusal(node_ + " is " + std::string(name_of(state_)) + "; nothing to take back");
        if (!redis_fresh() || !store_fresh()) co_return refusal(node_ + " reaches no Redis or no store");
        if (const auto down = problems(); !down.empty())
            co_return refusal(node_ + ": " + down.front() + " is down");
        error = co_await take_back(Reason::admin_request, 10);
        if (error.empty()) budget_.reset();
    } else if (what == "recover") {
        if (link_ && !peer_.empty()) {
            json::object to_peer{{"do", "recover"}};
            co_await link_->ask(peer_, std::move(to_peer), seconds(5));
        }
        if (state_ == NodeState::failed) {
            restart(true);
        } else if (state_ == NodeState::normal || state_ == NodeState::standalone) {
            co_return refusal(node_ + " is " + std::string(name_of(state_)) + "; nothing to recover");
        }
    } else {
        error = "unknown command: " + what;
    }
    if (!error.empty()) co_return refusal(error);
    co_return json::object{{"node", node_}, {"state", name_of(state_)}, {"reason", name_of(reason_)}};
}

/// T17. Switching on is refused unless every group of two could carry a failure; switching off while a
/// partition is not at home.
awaitable<json::object> HaManager::switch_availability(bool on, bool force) {
    std::map<std::string, std::uint64_t> assigned;
    if (const auto counts = co_await router_.store().assignment_counts()) assigned = *counts;
    const auto known = co_await reports();
    json::array against;
    for (const auto& group : config_.groups) {
        if (group.nodes.size() < 2) continue;
        for (const auto& n : group.nodes) {
            if (on) {
                for (const auto& check : failover_checks(known, assigned, n.name)) {
                    const auto& c = check.as_object();
                    const auto name = text(c, "check");
                    if (!flag(c, "ok") && name != "high-availability") against.push_back(c.at("detail"));
                }
            } else if (const auto it = stored_.find(n.name);
                       it != stored_.end() && it->second.serving != n.name) {
                against.push_back(json::value(n.name + " is served by " + it->second.serving +
                                              ": hexactl ha fallback " + n.name));
            }
        }
    }
    // Mixed versions are for the time of an upgrade, and that is no time to begin with it.
    std::set<std::string> versions;
    for (const auto& [name, told] : known) {
        if (flag(told, "lives")) versions.insert(text(told, "version"));
    }
    if (on && versions.size() > 1) against.push_back("the nodes run different versions: hexactl topology");
    if (!against.empty() && !(force && on)) {
        std::string why;
        for (const auto& one : against) why += (why.empty() ? "" : "; ") + std::string(one.as_string());
        co_return json::object{{"error", why}, {"refused", against}};
    }
    if (!co_await redundancy_.set_high_availability(on)) co_return refusal("the store does not answer");
    settings_.high_availability = on;
    settings_.changed = true;
    log_.add("HighAvailability", {{"on", on}});
    co_return json::object{{"high_availability", on}};
}

/// A node that drains takes no new clients and sends those it has to the other node; it keeps its partition.
awaitable<json::object> HaManager::drain(bool on) {
    draining_ = on;
    if (on_clients) on_clients(takes_clients(state_) && !draining_);
    log_.add(on ? "NodeDraining" : "NodeReturned", {{"clients", router_.attached()}});
    if (on) {
        std::string target = peer_;
        for (const auto& group : config_.groups) {
            for (const auto& n : group.nodes) {
                const bool there = link_ && n.name != node_ && link_->view(n.name).up;
                if (there && (target.empty() || !link_->view(target).up)) target = n.name;
            }
        }
        if (target.empty() || !link_ || !link_->view(target).up) {
            draining_ = false;
            if (on_clients) on_clients(takes_clients(state_));
            co_return refusal("no other node is there to take the clients");
        }
        co_await release_clients(target, timers_.release_window);
    }
    co_return json::object{{"node", node_}, {"draining", draining_}, {"clients", router_.attached()}};
}

}  // namespace hexad
