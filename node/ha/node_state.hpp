#pragma once

#include <optional>
#include <string_view>

namespace hexad {

/// States of a node in its redundancy group (docs/redundancy-groups.md).
enum class NodeState {
    initializing,
    normal,
    failing_over,  ///< its peer takes it over in order
    taking_over,
    backup,
    idle,         ///< taken over because an administrator said so
    failed_over,  ///< healthy again, waits for its fallback
    failed_over_down,
    taking_back,
    falling_back,
    failed,
    unknown,  ///< only seen from outside
    standalone,
    fenced,
};

/// Why a node is in its state.
enum class Reason {
    normal,
    initialization,
    admin_request,
    automatic_fallback,
    critical_service_down,
    database_failure,
    peer_down,
    peer_reboot,
    peer_down_during_initialization,
    start_of_critical_services_failed,
    take_over_users_failed,
    take_back_users_failed,
    auto_recover_database_failure,
    auto_recover_critical_service_down,
    ha_not_enabled,
    isolated,
    state_store_lost,
    maintenance,
    version_mismatch,
};

/// `failed-over-down`: as commands, the API and events write it.
std::string_view name_of(NodeState state);
std::string_view name_of(Reason reason);
std::optional<NodeState> node_state_of(std::string_view name);
std::optional<Reason> reason_of(std::string_view name);

/// Between two stable states; bounded by the step limit (T14).
constexpr bool is_moving(NodeState s) {
    return s == NodeState::failing_over || s == NodeState::taking_over || s == NodeState::taking_back ||
           s == NodeState::falling_back;
}
/// The node's own partition is served by the node itself.
constexpr bool serves_own(NodeState s) {
    return s == NodeState::normal || s == NodeState::standalone || s == NodeState::backup ||
           s == NodeState::taking_over || s == NodeState::falling_back;
}
/// Clients may come in: any live node carries sessions, whoever serves their partition.
constexpr bool takes_clients(NodeState s) {
    return serves_own(s) || s == NodeState::failed_over || s == NodeState::taking_back ||
           s == NodeState::failed;
}

}  // namespace hexad
