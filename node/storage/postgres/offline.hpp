#pragma once

#include "storage/postgres/connection.hpp"
#include "storage/store_writer.hpp"

namespace hexad::postgres {

// OfflineStore over one connection, each a transaction; they throw Failure. All of them may be repeated.
OfflineStore::Taken take_offline(Connection& db, AccountId owner, const std::string& sid,
                                 std::uint64_t filled);
void offline_done(Connection& db, const std::string& sid, std::uint64_t batch);
void put_back_offline(Connection& db, AccountId owner, const std::string& sid, const Jid& jid,
                      std::uint64_t in, std::uint64_t filled, const std::vector<OfflineRow>& due);
std::optional<SessionTomb> find_tomb(Connection& db, const std::string& sid);
std::vector<OfflineStore::Row> withdraw_offline(Connection& db,
                                                const std::vector<OfflineStore::RowName>& rows);

/// Removes what is too old: done offline rows and tombs after a day, fences after two.
void purge(Connection& db);

}  // namespace hexad::postgres
