#include "storage/postgres/epochs.hpp"

#include "storage/postgres/transaction.hpp"

namespace hexad::postgres {
namespace {

EpochStore::Partition partition_of(const Rows& row) { return {row.string(0), row.string(1), row.count(2)}; }

}  // namespace

EpochStore::Generation generation(Connection& db) {
    auto row = db.query("SELECT g, run FROM cluster WHERE id=1");
    if (!row.next()) throw Failure("the row of the cluster is missing", "P0002");
    return {row.count(0), row.string(1)};
}

EpochStore::Generation raise_generation(Connection& db, std::uint64_t known, const std::string& run) {
    db.run("UPDATE cluster SET g=g+1, run=?2 WHERE id=1 AND g=?1", static_cast<std::int64_t>(known), run);
    return generation(db);
}

std::vector<EpochStore::Partition> partitions(Connection& db) {
    std::vector<EpochStore::Partition> out;
    auto row = db.query("SELECT home, serving, epoch FROM partition ORDER BY home");
    while (row.next()) out.push_back(partition_of(row));
    return out;
}

EpochStore::Partition ensure_partition(Connection& db, const std::string& home) {
    db.run("INSERT INTO partition VALUES(?1, ?1, 1) ON CONFLICT DO NOTHING", home);
    auto row = db.query("SELECT home, serving, epoch FROM partition WHERE home=?1", home);
    if (!row.next()) throw Failure("the row of the partition is missing", "P0002");
    return partition_of(row);
}

EpochStore::Partition move_partition(Connection& db, const std::string& home, const std::string& serving,
                                     std::uint64_t known) {
    Transaction transaction(db);
    const auto moved = db.run("UPDATE partition SET epoch=epoch+1, serving=?2 WHERE home=?1 AND epoch=?3",
                              home, serving, static_cast<std::int64_t>(known));
    if (moved > 0) db.run("UPDATE room SET epoch=epoch+1 WHERE home_node=?1", home);
    auto partition = ensure_partition(db, home);
    transaction.commit();
    return partition;
}

std::uint64_t next_incarnation(Connection& db, const std::string& node) {
    auto row = db.query(
        "INSERT INTO node VALUES(?1, 1) ON CONFLICT(name) DO UPDATE SET incarnation=node.incarnation+1 "
        "RETURNING "
        "incarnation",
        node);
    if (!row.next()) throw Failure("no incarnation was given", "P0002");
    return row.count(0);
}

}  // namespace hexad::postgres
