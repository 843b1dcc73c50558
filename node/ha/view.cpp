// What this node tells of itself, and shows of all.
#include <boost/json.hpp>

#include "base/metrics.hpp"
#include "base/text.hpp"
#include "ha/json_fields.hpp"
#include "ha/manager.hpp"
#include "placement/capacity.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

json::object check(std::string_view name, bool ok, const std::string& detail) {
    json::object out{{"check", name}, {"ok", ok}};
    if (!ok) out["detail"] = detail;
    return out;
}
std::int64_t count(std::size_t n) { return static_cast<std::int64_t>(n); }
json::value or_none(std::string text) { return text.empty() ? json::value(nullptr) : json::value(text); }

/// What an administrator does about a state, in words (docs/redundancy-groups.md has the whole table).
std::string advice(const std::string& state, const std::string& node, const std::string& group) {
    if (state == "idle") return "hexactl ha fallback " + node;
    if (state == "failed") return "mend the cause, then hexactl ha recover " + group;
    if (state == "failed-over-down") return "mend the service or its path to the store: see problems";
    if (state == "fenced") return "mend the node's way to Redis and its peer";
    if (state == "unknown") return "start the node, or mend its network";
    return {};
}

}  // namespace

/// Sent with each heartbeat and kept in Redis.
json::object HaManager::status() {
    const auto now = SteadyClock::now();
    json::array serving, down;
    for (const auto& home : serving_) serving.push_back(json::value(home));
    for (const auto& problem : problems()) down.push_back(json::value(problem));
    const auto unhealthy = situation().unhealthy;
    json::object links;
    if (link_) {
        for (const auto& group : config_.groups) {
            for (const auto& n : group.nodes) {
                if (n.name == node_) continue;
                const auto& view = link_->view(n.name);
                json::object one{{"up", view.up}};
                one["round_trip_ms"] =
                    view.measured ? json::value(std::int64_t{view.round_trip.count()}) : json::value(nullptr);
                links[n.name] = std::move(one);
            }
        }
    }
    const auto age = cluster_.lease_until() == SteadyClock::time_point{}
                         ? json::value(nullptr)
                         : json::value(std::int64_t{std::chrono::duration_cast<milliseconds>(
                                                        now - (cluster_.lease_until() - timers_.lease))
                                                        .count()});
    return {{"node", node_},
            {"state", name_of(state_)},
            {"reason", name_of(reason_)},
            {"since", format_time_s(since_)},
            {"epoch", std::max(partitions_[node_].epoch, stored_[node_].epoch)},
            {"serving", std::move(serving)},
            {"sessions", count(router_.sessions().size())},
            {"active", count(router_.attached())},
            {"session_limit", sessions_limit()},
            {"version", version_},
            {"protocol",
             {{"min", spoken_protocol.min}, {"max", spoken_protocol.max}, {"written", cluster_.protocol()}}},
            {"config", config_.hash},
            {"redis", redis_fresh()},
            {"store", store_answers()},
            {"healthy", down.empty() && !stopping_},
            {"unhealthy_ms", std::int64_t{unhealthy.count()}},
            {"problems", std::move(down)},
            {"draining", draining_},
            {"stopping", stopping_},
            {"admitting", admission_.moves()},
            {"lease_age_ms", age},
            {"gate", gate_reason().empty() ? "open" : "waits for " + gate_reason()},
            {"relogin", relogin_report()},
            {"canary", canary_report()},
            {"links", std::move(links)}};
}

/// The newest word of every node: its heartbeat, else what it left in Redis. `lives`: it holds a lease or
/// speaks.
awaitable<std::map<std::string, json::object>> HaManager::reports() {
    std::vector<std::string> names;
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) names.push_back(n.name);
    }
    const auto leases = co_await cluster_.leases(names);
    const auto kept = co_await cluster_.node_states();
    std::map<std::string, json::object> out;
    for (const auto& name : names) {
        json::object told;
        if (name == node_) {
            told = status();
        } else if (link_ && link_->view(name).up && !link_->view(name).told.empty()) {
            told = link_->view(name).told;
        } else if (kept && kept->contains(name)) {
            error_code error;
            auto value = json::parse(kept->at(name), error);
            if (!error && value.is_object()) told = std::move(value.as_object());
        }
        const bool leased = leases && leases->contains(name) && leases->at(name);
        const bool speaks = name == node_ || (link_ && link_->view(name).up);
        told["lives"] = leased || (!leases && speaks) || name == node_;
        told["leased"] = leased;
        out[name] = std::move(told);
    }
    co_return out;
}

/// Would a failover of `from` work now? Every check, those that fail with what to do.
json::array HaManager::failover_checks(const std::map<std::string, json::object>& reports,
                                       const std::map<std::string, std::uint64_t>& assigned,
                                       const std::string& from) const {
    json::array out;
    const auto* group = config_.group_of(from);
    out.push_back(check("pair", group->nodes.size() == 2, from + " is alone in its group " + group->name));
    if (group->nodes.size() != 2) return out;
    const auto& to = group->nodes[group->nodes[0].name == from ? 1 : 0].name;
    const auto& a = reports.at(from);
    const auto& b = reports.at(to);
    const auto state = text(b, "state");
    out.push_back(check("high-availability", settings_.high_availability,
                        "high availability is off: hexactl ha enable"));
    out.push_back(
        check("lease", flag(b, "lives"), to + " holds no lease: is it running, does it reach Redis?"));
    const bool at_home = state == "normal" || (!settings_.high_availability && state == "standalone");
    out.push_back(check("state", at_home, to + " is " + (state.empty() ? "unknown" : state)));
    std::string down;
    for (const auto& problem :
         field(b, "problems").is_array() ? field(b, "problems").as_array() : json::array{})
        down += (down.empty() ? "" : ", ") + std::string(problem.as_string());
    out.push_back(
        check("services", flag(b, "healthy"), to + (down.empty() ? " is not healthy" : ": down: " + down)));
    out.push_back(check("store", flag(b, "store"), to + " does not reach the store"));
    out.push_back(check("state-store", flag(b, "redis"), to + " does not reach Redis"));
    const auto& links = field(b, "links");
    const bool linked = links.is_object() && links.as_object().contains(from) &&
                        flag(links.as_object().at(from).as_object(), "up");
    out.push_back(
        check("peer-link", linked || !flag(a, "lives"), "the peer link " + from + " - " + to + " is down"));
    const bool fits = fit(protocol_of(a), protocol_of(b)) || !flag(a, "lives");
    out.push_back(
        check("version", fits, from + " runs " + text(a, "version") + ", " + to + " " + text(b, "version")));
    // As it will be once high availability is on, whether it is now or not.
    const auto places = places_of(config_, {assigned, "on"});
    SessionCounts sessions;
    for (const auto& [name, told] : reports) {
        // What a dead node told last has been taken over, or is gone.
        if (const auto& n = field(told, "sessions"); n.is_int64() && flag(told, "lives"))
            sessions[name] = static_cast<std::uint64_t>(n.as_int64());
    }
    const auto full = too_full_for_one(*places.group_of(from), sessions);
    out.push_back(check("room", full.empty(), full + " (--force goes on)"));
    return out;
}

/// What the other node of its group finds when it logs in to this one: `serves`, or why not. Null: nobody
/// looks.
json::value HaManager::service_of(const std::map<std::string, json::object>& reports,
                                  const std::string& node) const {
    for (const auto& n : config_.group_of(node)->nodes) {
        const auto& told = reports.at(n.name);
        const auto& report = field(told, "canary");
        if (n.name == node || !flag(told, "lives") || !report.is_object()) continue;
        const auto& found = report.as_object();
        const auto why = text(found, "why");
        const auto& serves = field(found, "serves");
        if (serves.is_bool()) return json::string(serves.as_bool() ? "serves" : "does not serve: " + why);
        return json::string(why.empty() ? "not looked at" : "cannot be judged: " + why);
    }
    return nullptr;
}

awaitable<std::vector<json::object>> HaManager::nodes(std::map<std::string, std::uint64_t> assigned) {
    const auto known = co_await reports();
    std::vector<std::string> names;
    for (const auto& [name, told] : known) names.push_back(name);
    const auto in_redis = co_await cluster_.partitions(names);
    const auto row_of = [&](const std::string& home) {
        EpochStore::Partition row;
        if (const auto it = stored_.find(home); it != stored_.end()) row = it->second;
        if (in_redis && in_redis->contains(home)) {
            const auto& p = in_redis->at(home);
            if (!p.serving.empty() && p.epoch >= row.epoch) row = {home, p.serving, p.epoch};
        }
        return row;
    };
    std::vector<json::object> out;
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) {
            const auto& told = known.at(n.name);
            const bool lives = flag(told, "lives") && told.contains("state");
            const auto users = assigned.contains(n.name) ? assigned.at(n.name) : 0;
            json::array serving;
            for (const auto& name : names) {
                if (row_of(name).serving == n.name) serving.push_back(json::value(name));
            }
            json::object object{{"name", n.name}, {"group", group.name}};
            object["state"] = lives ? field(told, "state") : json::value("unknown");
            object["reason"] = !lives                         ? json::value("peer-down")
                               : draining_ && n.name == node_ ? json::value("maintenance")
                                                              : field(told, "reason");
            object["since"] = field(told, "since");
            object["serving"] = serving;
            object["epoch"] = row_of(n.name).epoch;
            object["assigned"] = users;
            object["capacity"] = n.capacity;
            object["capacity_percent"] = n.capacity == 0 ? 0 : 100 * users / n.capacity;
            object["sessions"] = lives ? field(told, "sessions") : json::value(0);
            object["active"] = lives ? field(told, "active") : json::value(0);
            object["session_limit"] = lives ? field(told, "session_limit") : json::value(nullptr);
            object["version"] = field(told, "version");
            object["protocol"] = lives ? field(told, "protocol") : json::value(nullptr);
            object["draining"] = lives && flag(told, "draining");
            object["site"] = or_none(n.site);
            object["gate"] = lives ? field(told, "gate") : json::value(nullptr);
            object["service"] = lives ? service_of(known, n.name) : json::value(nullptr);
            object["relogin"] = lives ? field(told, "relogin") : json::value(nullptr);
            object["lease_age_ms"] = lives ? field(told, "lease_age_ms") : json::value(nullptr);
            out.push_back(std::move(object));
        }
    }
    co_return out;
}

awaitable<json::object> HaManager::topology(std::map<std::string, std::uint64_t> assigned) {
    const auto known = co_await reports();
    const auto flat = co_await nodes(assigned);
    json::object out{{"cluster", config_.id}, {"seen_by", node_}};
    out["high_availability"] = settings_.high_availability;
    out["state_store"] = redis_fresh() ? "up" : "down";
    out["store"] = store_fresh() ? "up" : "down";
    const auto places = places_of(config_, {assigned, settings_.high_availability ? "on" : "off"});
    out["unassigned"] = places.unassigned;
    json::array groups;
    for (const auto& group : config_.groups) {
        const auto& place = *places.group_of(group.nodes.front().name);
        json::object one{{"name", group.name}, {"assignment", name_of(place.mode)}};
        one["assigned"] = place.assigned();
        one["capacity"] = place.capacity();
        json::array members;
        for (const auto& entry : flat) {
            if (text(entry, "group") != group.name) continue;
            auto node = entry;
            const auto name = text(node, "name");
            const auto& told = known.at(name);
            node.erase("group");
            bool held = false;
            for (const auto& home : settings_.held) held = held || home == name;
            node["held"] = held;
            node["problems"] =
                told.contains("problems") ? field(told, "problems") : json::value(json::array{});
            node["links"] = told.contains("links") ? field(told, "links") : json::value(json::object{});
            auto checks = failover_checks(known, assigned, name);
            json::array failing;
            for (const auto& c : checks) {
                if (!flag(c.as_object(), "ok")) failing.push_back(c.as_object().at("detail"));
            }
            json::object failover{{"possible", failing.empty()}};
            failover["failing"] = std::move(failing);
            node["failover"] = std::move(failover);
            node["do"] = or_none(advice(text(node, "state"), name, group.name));
            members.push_back(std::move(node));
        }
        one["nodes"] = std::move(members);
        groups.push_back(std::move(one));
    }
    out["groups"] = std::move(groups);
    json::array transitions;
    if (const auto last = co_await redundancy_.events(0, "HaStateChanged", 20)) {
        for (const auto& event : *last) {
            error_code error;
            auto fields = json::parse(event.fields, error);
            json::object row{{"at", format_time(event.at)}, {"node", event.node}};
            if (!error && fields.is_object()) {
                for (const auto& [key, value] : fields.as_object()) row[key] = value;
            }
            transitions.push_back(std::move(row));
        }
    }
    out["transitions"] = std::move(transitions);
    co_return out;
}

void HaManager::register_metrics() {
    auto& metrics = Metrics::instance();
    for (int i = 0; i <= static_cast<int>(NodeState::fenced); ++i) {
        const auto state = static_cast<NodeState>(i);
        if (state == NodeState::unknown) continue;
        metrics.gauge("hexad_ha_state", "state=\"" + std::string(name_of(state)) + '"',
                      "1 for the state this node is in",
                      [this, state] { return state_ == state ? 1.0 : 0.0; });
    }
    logins_refused_ = &metrics.counter("hexad_c2s_logins_refused_total", "",
                                       "Logins refused because there are as many sessions as may be");
    metrics.gauge("hexad_c2s_session_limit", "", "Sessions above which a login is refused",
                  [this] { return double(sessions_limit()); });
    metrics.gauge("hexad_ha_partitions", "", "Partitions this node serves",
                  [this] { return double(serving_.size()); });
    metrics.gauge("hexad_ha_events_waiting", "", "Events that the store has not taken yet",
                  [this] { return double(log_.waiting()); });
    if (!link_) return;
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) {
            if (n.name == node_) continue;
            const auto label = "peer=\"" + n.name + '"';
            if (n.name == peer_) {
                metrics.gauge(
                    "hexad_ha_peer_serves", label, "0 if that node lives, and clients do not get in",
                    [this] { return canary_.verdict() == CanaryJudge::Verdict::not_serving ? 0.0 : 1.0; });
            }
            metrics.gauge("hexad_ha_peer_link", label, "1 while heartbeats of that node arrive",
                          [this, name = n.name] { return link_->view(name).up ? 1.0 : 0.0; });
            metrics.gauge(
                "hexad_ha_peer_round_trip_seconds", label, "Of the last heartbeat",
                [this, name = n.name] { return double(link_->view(name).round_trip.count()) / 1000; });
        }
    }
}

}  // namespace hexad
