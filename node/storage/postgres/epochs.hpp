#pragma once

#include "storage/postgres/connection.hpp"
#include "storage/store_writer.hpp"

namespace hexad::postgres {

// EpochStore over one connection; they throw Failure.
EpochStore::Generation generation(Connection& db);
EpochStore::Generation raise_generation(Connection& db, std::uint64_t known, const std::string& run);
std::vector<EpochStore::Partition> partitions(Connection& db);
EpochStore::Partition ensure_partition(Connection& db, const std::string& home);
/// Raises the epoch of the partition's rooms with it. Waits for writes under the old epochs that are under
/// way, so after it none can commit.
EpochStore::Partition move_partition(Connection& db, const std::string& home, const std::string& serving,
                                     std::uint64_t known);
std::uint64_t next_incarnation(Connection& db, const std::string& node);

}  // namespace hexad::postgres
