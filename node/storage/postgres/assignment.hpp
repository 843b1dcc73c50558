#pragma once

#include "storage/assignment_store.hpp"
#include "storage/postgres/connection.hpp"

namespace hexad::postgres {

/// Nobody else assigns accounts until the transaction ends.
void lock_assignment(Connection& db);

// AssignmentStore over one connection; they throw Failure.
std::vector<AssignmentStore::Load> loads(Connection& db);
std::string set_home(Connection& db, const AssignmentStore::SetHome& wanted, const RoomCheck& check);
bool clear_pin(Connection& db, AccountId account);
std::vector<AssignmentStore::Moved> place_unassigned(Connection& db, const Placer& placer, std::size_t most);
bool hold_job(Connection& db, const std::string& name, const std::string& holder, milliseconds time);
std::int64_t start_run(Connection& db, const RebalanceRun& wanted);
std::vector<RebalanceRun> rebalance_runs(Connection& db, std::size_t most);
bool end_run(Connection& db, std::int64_t id, const std::string& state, const std::string& reason,
             std::uint64_t sessions);
AssignmentStore::MovedSome move_some(Connection& db, const AssignmentStore::MoveSome& wanted,
                                     const RoomCheck& check);

}  // namespace hexad::postgres
