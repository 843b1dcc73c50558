#include "ha/node_state.hpp"

#include <array>
#include <utility>

namespace hexad {

namespace {

constexpr std::array<std::pair<NodeState, std::string_view>, 14> states{{
    {NodeState::initializing, "initializing"},
    {NodeState::normal, "normal"},
    {NodeState::failing_over, "failing-over"},
    {NodeState::taking_over, "taking-over"},
    {NodeState::backup, "backup"},
    {NodeState::idle, "idle"},
    {NodeState::failed_over, "failed-over"},
    {NodeState::failed_over_down, "failed-over-down"},
    {NodeState::taking_back, "taking-back"},
    {NodeState::falling_back, "falling-back"},
    {NodeState::failed, "failed"},
    {NodeState::unknown, "unknown"},
    {NodeState::standalone, "standalone"},
    {NodeState::fenced, "fenced"},
}};

constexpr std::array<std::pair<Reason, std::string_view>, 19> reasons{{
    {Reason::normal, "normal"},
    {Reason::initialization, "initialization"},
    {Reason::admin_request, "admin-request"},
    {Reason::automatic_fallback, "automatic-fallback"},
    {Reason::critical_service_down, "critical-service-down"},
    {Reason::database_failure, "database-failure"},
    {Reason::peer_down, "peer-down"},
    {Reason::peer_reboot, "peer-reboot"},
    {Reason::peer_down_during_initialization, "peer-down-during-initialization"},
    {Reason::start_of_critical_services_failed, "start-of-critical-services-failed"},
    {Reason::take_over_users_failed, "take-over-users-failed"},
    {Reason::take_back_users_failed, "take-back-users-failed"},
    {Reason::auto_recover_database_failure, "auto-recover-database-failure"},
    {Reason::auto_recover_critical_service_down, "auto-recover-critical-service-down"},
    {Reason::ha_not_enabled, "ha-not-enabled"},
    {Reason::isolated, "isolated"},
    {Reason::state_store_lost, "state-store-lost"},
    {Reason::maintenance, "maintenance"},
    {Reason::version_mismatch, "version-mismatch"},
}};

template <class Table, class Value>
std::string_view name_in(const Table& table, Value value) {
    for (const auto& [one, name] : table) {
        if (one == value) return name;
    }
    return {};
}

template <class Value, class Table>
std::optional<Value> value_in(const Table& table, std::string_view name) {
    for (const auto& [one, text] : table) {
        if (text == name) return one;
    }
    return std::nullopt;
}

}  // namespace

std::string_view name_of(NodeState state) { return name_in(states, state); }
std::string_view name_of(Reason reason) { return name_in(reasons, reason); }
std::optional<NodeState> node_state_of(std::string_view name) { return value_in<NodeState>(states, name); }
std::optional<Reason> reason_of(std::string_view name) { return value_in<Reason>(reasons, name); }

}  // namespace hexad
