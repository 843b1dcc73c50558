#pragma once

#include <optional>
#include <string>

#include "storage/sqlite/connection.hpp"
#include "storage/store.hpp"

namespace hexad::sqlite {

enum class ArchiveOf { account, room };

/// One page of the archive of an account or a room; `id` is its owner.
ArchivePage archive_page(Connection& db, ArchiveOf kind, std::int64_t id, const ArchiveQuery& query);
std::optional<ArchiveSpan> archive_span(Connection& db, ArchiveOf kind, std::int64_t id);
std::optional<std::string> find_sent(Connection& db, AccountId owner, const Jid& with,
                                     const std::string& origin_id, const std::string& content_hash);
std::uint64_t offline_count(Connection& db, AccountId owner);

}  // namespace hexad::sqlite
