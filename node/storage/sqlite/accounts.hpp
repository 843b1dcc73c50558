#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "storage/sqlite/connection.hpp"
#include "storage/store.hpp"

namespace hexad::sqlite {

/// Group names in one column, separated by U+001F (no XML text can hold it).
std::string join_groups(const std::vector<std::string>& groups);
std::vector<std::string> split_groups(std::string_view text);
std::int64_t host_id(Connection& db, std::string_view name);  ///< made if absent; writer only

// Store's account nouns over one connection. They throw Failure; what is read and makes no sense is
// `corrupt`.
Result<std::optional<AccountData>> load_account(Connection& db, const Jid& bare);
std::vector<ScramCredential> credentials(Connection& db, AccountId account);
std::string document(Connection& db, AccountId owner, const std::string& kind, const std::string& key);
Result<std::optional<AccountRow>> find_account(Connection& db, const Jid& bare);
Result<std::vector<AccountRow>> list_accounts(Connection& db, const std::string& domain,
                                              const std::string& after, std::size_t limit);
std::map<std::string, std::uint64_t> assignment_counts(Connection& db);
std::string meta(Connection& db, const std::string& key);

/// Nothing if the name is taken.
std::optional<AccountId> insert_account(Connection& db, const AccountRow& row,
                                        const std::vector<ScramCredential>& keys);
bool set_credentials(Connection& db, AccountId account, const std::vector<ScramCredential>& keys);
bool set_account_state(Connection& db, AccountId account, AccountState state);
bool remove_account(Connection& db, AccountId account);

}  // namespace hexad::sqlite
