#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "storage/offline_login.hpp"
#include "storage/store.hpp"

namespace hexad::sql {

/// Group names in one column, separated by U+001F (no XML text can hold it).
std::string join_groups(const std::vector<std::string>& groups);
std::vector<std::string> split_groups(std::string_view text);
template <class Db>
std::int64_t host_id(Db& db, std::string_view name);  ///< made if absent; writer only

// Store's account nouns over one connection. They throw Failure; what is read and makes no sense is
// `corrupt`.
template <class Db>
Result<std::optional<AccountData>> load_account(Db& db, const Jid& bare);
template <class Db>
std::vector<ScramCredential> credentials(Db& db, AccountId account);
template <class Db>
std::string document(Db& db, AccountId owner, const std::string& kind, const std::string& key);
template <class Db>
Result<std::optional<AccountRow>> find_account(Db& db, const Jid& bare);
template <class Db>
Result<std::vector<AccountRow>> list_accounts(Db& db, const std::string& domain, const std::string& after,
                                              std::size_t limit);
template <class Db>
std::map<std::string, std::uint64_t> assignment_counts(Db& db);
template <class Db>
std::string meta(Db& db, const std::string& key);

template <class Db>
Assignments assignments(Db& db);
/// Gives new accounts without a home node one. Inside the transaction that makes them.
template <class Db>
void place_new(Db& db, const Placer& placer, const std::vector<AccountRow*>& rows);
/// Nothing if the name is taken.
template <class Db>
std::optional<AccountId> insert_account(Db& db, const AccountRow& row,
                                        const std::vector<ScramCredential>& keys);
template <class Db>
bool set_credentials(Db& db, AccountId account, const std::vector<ScramCredential>& keys);
template <class Db>
bool set_account_state(Db& db, AccountId account, AccountState state);
template <class Db>
std::optional<OfflineLogin> offline_login(Db& db, AccountId account);
template <class Db>
bool set_offline_login(Db& db, AccountId account, const std::optional<OfflineLogin>& login);
template <class Db>
bool remove_account(Db& db, AccountId account);
template <class Db>
bool set_meta(Db& db, const std::string& key, const std::string& value);

/// Writes a change whose version has been checked, and the version it leads to.
template <class Db>
void write_change(Db& db, const AccountChange& change);
template <class Db>
void write_document(Db& db, const Document& document);

}  // namespace hexad::sql
