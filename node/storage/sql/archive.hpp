#pragma once

#include <optional>
#include <string>

#include "storage/store.hpp"

namespace hexad::sql {

enum class ArchiveOf { account, room };

/// One page of the archive of an account or a room; `id` is its owner.
template <class Db>
ArchivePage archive_page(Db& db, ArchiveOf kind, std::int64_t id, const ArchiveQuery& query);
template <class Db>
std::optional<ArchiveSpan> archive_span(Db& db, ArchiveOf kind, std::int64_t id);
template <class Db>
std::optional<std::string> find_sent(Db& db, AccountId owner, const Jid& with, const std::string& origin_id,
                                     const std::string& content_hash);
template <class Db>
std::uint64_t offline_count(Db& db, AccountId owner);

}  // namespace hexad::sql
