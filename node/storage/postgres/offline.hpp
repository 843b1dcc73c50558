#pragma once

#include "storage/postgres/connection.hpp"
#include "storage/store_writer.hpp"

namespace hexad::postgres {

// OfflineStore over one connection, each a transaction; they throw Failure. All of them may be repeated.
Result<OfflineStore::Taken> take_offline(Connection& db, AccountId owner, const SessionToken& token,
                                         std::uint64_t filled);
void offline_done(Connection& db, const std::string& sid, std::uint64_t batch);
Result<bool> put_back_offline(Connection& db, AccountId owner, const SessionToken& token, const Jid& jid,
                              std::uint64_t in, std::uint64_t filled, const std::vector<OfflineRow>& due);
std::optional<SessionTomb> find_tomb(Connection& db, const std::string& sid);
Result<std::vector<OfflineStore::Row>> withdraw_offline(Connection& db, const SessionToken& token,
                                                        const std::vector<OfflineStore::RowName>& rows);

/// Holds off, until the end of the transaction, who shuts out older epochs of the session; an offline row of
/// it is written only `unless_fenced`.
void share_session(Connection& db, const std::string& sid);
void put_offline_unless_fenced(Connection& db, const OfflineRow& row, const SessionToken& token);

/// Removes what is too old: done offline rows and tombs after a day, fences after two.
void purge(Connection& db);

}  // namespace hexad::postgres
