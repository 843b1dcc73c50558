#pragma once

#include "storage/postgres/connection.hpp"
#include "storage/redundancy_store.hpp"

namespace hexad::postgres {

// RedundancyStore over one connection; they throw Failure.
RedundancyStore::Settings redundancy_settings(Connection& db);
bool set_hold(Connection& db, const std::string& home, bool held);
void set_high_availability(Connection& db, bool on);
void set_gate_override(Connection& db, const std::string& node, Timestamp until);
RedundancyStore::Health store_health(Connection& db);
std::vector<RedundancyStore::Waiting> offline_waiting(Connection& db);
std::map<std::string, std::string> history_holes(Connection& db);
std::vector<std::string> never_synced(Connection& db, const std::vector<std::string>& agreements);
void add_ha_events(Connection& db, const std::vector<HaEvent>& events);
std::vector<HaEvent> ha_events(Connection& db, std::uint64_t after, const std::string& kind,
                               std::size_t limit);

}  // namespace hexad::postgres
