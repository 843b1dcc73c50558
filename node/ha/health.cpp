// What each node finds when it looks at the store, Redis and its own certificates; collected for
// administrators.
#include <cmath>

#include <boost/asio/co_spawn.hpp>
#include <boost/json.hpp>

#include "ha/doctor.hpp"
#include "ha/manager.hpp"
#include "io/tls_context.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

/// The store answers within five seconds or not at all; a node that takes longer is told apart from one that
/// is gone.
constexpr seconds patience{8};

std::int64_t wall_ms() {
    return std::chrono::duration_cast<milliseconds>(wall_now().time_since_epoch()).count();
}
std::int64_t since_ms(SteadyClock::time_point begin) {
    return std::chrono::duration_cast<milliseconds>(SteadyClock::now() - begin).count();
}

json::object store_report(const Result<RedundancyStore::Health>& health) {
    json::object out{{"reachable", health.has_value()}};
    if (!health) return out;
    out["schema"] = health->schema;
    out["wanted_schema"] = health->wanted_schema;
    out["role"] = health->standby ? "standby" : "primary";
    out["lag_ms"] = health->lag ? json::value(std::int64_t{health->lag->count()}) : json::value(nullptr);
    json::array replicas;
    for (const auto& one : health->replicas) {
        json::object row{{"name", one.name}, {"state", one.state}};
        row["synchronous"] = one.synchronous;
        row["lag_ms"] = std::int64_t{one.lag.count()};
        replicas.push_back(std::move(row));
    }
    out["replicas"] = std::move(replicas);
    return out;
}

/// Leaves `out` as it is if the node does not answer.
awaitable<void> ask_health(PeerLink& link, std::string node, json::object& out) {
    json::object request{{"do", "health"}};
    const auto asked = SteadyClock::now();
    auto reply = co_await link.ask(std::move(node), std::move(request), patience);
    if (!reply || !reply->contains("wall_ms") || !reply->contains("took_ms")) co_return;
    // Its clock was read when the answer left: somewhere between now and a whole way there and back ago.
    const auto way = std::max<std::int64_t>(0, since_ms(asked) - reply->at("took_ms").as_int64());
    const auto ahead = reply->at("wall_ms").as_int64() - wall_ms();
    (*reply)["clock_ahead_ms"] = ahead > 0 ? ahead : std::min<std::int64_t>(0, ahead + way);
    out = std::move(*reply);
}

}  // namespace

/// Days until each certificate of this node ends, as its files are now.
json::array HaManager::certificates() const {
    json::array out;
    const auto look = [&out](const std::string& name, const TlsCertificate& certificate) {
        json::object one{{"name", name}, {"file", certificate.chain_file}};
        try {
            const auto left = TlsContext({certificate}).info().at(0).not_after - wall_now();
            one["days"] = std::chrono::floor<std::chrono::days>(left).count();
        } catch (const std::exception& e) {
            one["error"] = e.what();
        }
        out.push_back(std::move(one));
    };
    for (const auto& host : config_.hosts) look(host.name, {{host.name}, host.certificate, host.key});
    if (link_) look("peer link", {{node_}, config_.peer_tls.cert, config_.peer_tls.key});
    return out;
}

awaitable<json::object> HaManager::health() {
    const auto asked = SteadyClock::now();
    const auto stored = co_await redundancy_.health();
    auto store = store_report(stored);
    store["took_ms"] = since_ms(asked);
    const auto asked_redis = SteadyClock::now();
    std::vector<std::string> own{node_};
    const auto leases = co_await cluster_.leases(std::move(own));
    const bool redis = leases.has_value();
    json::object state_store{{"reachable", redis}, {"active", cluster_.active()}};
    state_store["generation"] = cluster_.generation();
    state_store["took_ms"] = since_ms(asked_redis);
    json::object out{{"reachable", true}, {"node", node_}, {"version", version_}, {"config", config_.hash}};
    out["state"] = name_of(state_);
    out["gate"] = gate_reason();
    out["store"] = std::move(store);
    out["state_store"] = std::move(state_store);
    out["certificates"] = certificates();
    out["took_ms"] = since_ms(asked);
    out["wall_ms"] = wall_ms();  // last: as close as can be to the answer's leaving
    co_return out;
}

/// Every node is asked at the same time; who does not answer is `{"reachable": false}`.
awaitable<std::map<std::string, json::object>> HaManager::health_of_all() {
    std::map<std::string, json::object> out;
    asio::steady_timer done(io_, SteadyClock::time_point::max());
    std::size_t open = 0;
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) {
            out[n.name] = {{"reachable", false}, {"node", n.name}};
            if (n.name == node_ || !link_ || !link_->view(n.name).up) continue;
            ++open;
            asio::co_spawn(io_, ask_health(*link_, n.name, out[n.name]), [&](const std::exception_ptr&) {
                if (--open == 0) done.cancel();
            });
        }
    }
    auto own = co_await health();
    own["clock_ahead_ms"] = 0;
    out[node_] = std::move(own);
    while (open > 0) co_await done.async_wait(asio::as_tuple(asio::use_awaitable));
    co_return out;
}

awaitable<json::object> HaManager::replication() {
    const auto known = co_await health_of_all();
    json::array nodes, replicas;
    std::set<std::int64_t> generations;
    bool good = true;
    for (const auto& [name, told] : known) {
        const auto seen = replication_row(name, told);
        good = good && seen.at("good").as_bool();
        if (seen.at("generation").is_int64()) generations.insert(seen.at("generation").as_int64());
        if (replicas.empty() && told.contains("store")) {
            const auto& store = told.at("store").as_object();
            if (const auto* list = store.if_contains("replicas"); list != nullptr)
                replicas = list->as_array();
        }
        nodes.push_back(seen);
    }
    // Two generations at once: a node has not noticed that Redis came back empty.
    co_return json::object{{"good", good && generations.size() <= 1},
                           {"nodes", std::move(nodes)},
                           {"replicas", std::move(replicas)}};
}

awaitable<json::object> HaManager::doctor() {
    Symptoms symptoms;
    symptoms.health = co_await health_of_all();
    symptoms.high_availability = settings_.high_availability;
    std::map<std::string, std::uint64_t> assigned;
    if (const auto counts = co_await router_.store().assignment_counts()) assigned = *counts;
    const auto known = co_await reports();
    for (const auto& group : config_.groups) {
        if (group.nodes.size() < 2) continue;
        for (const auto& n : group.nodes) {
            for (const auto& check : failover_checks(known, assigned, n.name)) {
                const auto& c = check.as_object();
                if (!c.at("ok").as_bool() && c.at("check").as_string() != "high-availability")
                    symptoms.no_failover[n.name].emplace_back(c.at("detail").as_string());
            }
        }
    }
    for (const auto& [name, told] : known) {
        if (const auto found = service_of(known, name); found.is_string())
            symptoms.service[name] = found.as_string().c_str();
    }
    if (link_) {
        for (const auto& [name, told] : symptoms.health) {
            const auto& view = link_->view(name);
            if (view.measured) symptoms.round_trips[name] = view.round_trip;
        }
    }
    co_return diagnose(config_, symptoms);
}

}  // namespace hexad
