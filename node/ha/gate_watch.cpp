// A node's gate: what is looked at, and what is told.
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/json.hpp>

#include "base/text.hpp"
#include "ha/manager.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

constexpr milliseconds between_looks{100};
constexpr seconds longest_override{86400};

}  // namespace

void HaManager::open_gate_when_ready() { asio::co_spawn(io_, watch_gate(), asio::detached); }

awaitable<void> HaManager::watch_gate() {
    std::vector<std::string> agreements;
    for (const auto& agreement : config_.agreements) agreements.push_back(agreement.name);
    while (!stopping_ && !gate_.passed()) {
        const auto health = co_await redundancy_.health();
        Result<RedundancyStore::Settings> settings(RedundancyStore::Settings{});
        if (health) settings = co_await redundancy_.settings();
        gate_sees_.store = health && settings;
        if (gate_sees_.store) {
            gate_sees_.standby = health->standby;
            const auto until = settings->gate_overrides.find(node_);
            gate_sees_.overridden = until != settings->gate_overrides.end() && until->second > wall_now();
            if (!agreements.empty()) {
                auto copy = agreements;
                auto never = co_await redundancy_.never_synced(std::move(copy));
                gate_sees_.store = never.has_value();
                if (never) gate_sees_.never_synced = std::move(*never);
            }
            if (cluster_.active() && !gate_sees_.never_synced.empty()) co_await find_bootstrap();
        }
        gate_known_ = true;
        look_at_gate();
        co_await pause(between_looks);
    }
}

/// The first node of the configuration that holds a lease: one of them waits for the directory, so that a
/// cluster that has never seen its people turns nobody away as unknown.
awaitable<void> HaManager::find_bootstrap() {
    std::vector<std::string> names;
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) names.push_back(n.name);
    }
    const auto leases = co_await cluster_.leases(names);
    if (!leases) co_return;
    for (const auto& name : names) {
        if (!leases->contains(name) || !leases->at(name)) continue;
        gate_sees_.bootstrap = name == node_;
        co_return;
    }
}

void HaManager::look_at_gate() {
    if (gate_.passed() || !gate_known_) return;
    gate_sees_.versions = cluster_.refused_protocol() == 0;
    if (state_ == NodeState::initializing && gate_sees_.versions == (reason_ == Reason::version_mismatch))
        enter(state_, gate_sees_.versions ? Reason::initialization : Reason::version_mismatch, 0);
    gate_sees_.state_store = cluster_.active();
    gate_sees_.replica = has_routes_;
    const auto now = SteadyClock::now();
    const auto look = gate_.look(gate_sees_, now);
    json::object fields{{"reason", look.reason}, {"waited_ms", std::int64_t{gate_.waited(now).count()}}};
    switch (look.tells) {
        case Gate::Tells::nothing:
            break;
        case Gate::Tells::waiting:
            log_.add("GateWaiting", std::move(fields));
            break;
        case Gate::Tells::timeout:
            log_.add("GateTimeout", std::move(fields));
            break;
        case Gate::Tells::overridden:
            log_.add("GateOverridden", std::move(fields));
            break;
    }
}

void HaManager::clients_come_in() {
    log_.add("GateOpened", {{"waited_ms", std::int64_t{gate_.waited(SteadyClock::now()).count()}}});
}

std::string HaManager::gate_reason() const {
    if (!gate_.passed()) return gate_.reason();
    return state_ == NodeState::initializing ? "partition" : std::string();
}

/// Kept in the store: the node that waits need not be reachable for it.
awaitable<json::object> HaManager::override_gate(std::string node, std::int64_t for_seconds) {
    if (for_seconds < 1 || for_seconds > longest_override.count())
        co_return json::object{{"error", "an override lasts 1 second to 24 hours: say --for 10m"}};
    const auto until = wall_now() + seconds(for_seconds);
    auto copy = node;
    if (!co_await redundancy_.set_gate_override(std::move(copy), until))
        co_return json::object{{"error", "the store does not answer; an override is kept there"}};
    log_.add("GateOverrideSet", {{"of", node}, {"for_seconds", for_seconds}});
    co_return json::object{{"node", node}, {"until", format_time_s(until)}};
}

}  // namespace hexad
