#pragma once

#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "storage/assignment_store.hpp"
#include "storage/offline_login.hpp"
#include "storage/open_failure.hpp"
#include "storage/redundancy_store.hpp"
#include "storage/store.hpp"
#include "storage/store_writer.hpp"

namespace hexad {

/// The store of a cluster on PostgreSQL ≥ 15.
///
/// Reads, administration, offline messages and epochs run on a few worker threads with a connection each; the
/// writer has a thread and a connection of its own. Results come back on the io_context, on whose thread it
/// is used and ended. A data base that does not answer within 5 s is `unavailable`; connections are made
/// again with a growing pause.
///
/// A room's rows are written only under `room.epoch`, which move_partition() raises for all rooms of that
/// home: a batch with room rows carries it in `epoch.e` (0 = not checked).
class PostgresStore {
public:
    struct Options {
        std::size_t connections = 4;  ///< workers
        bool migrate = false;         ///< bring an older schema up to date; an empty data base always is
        milliseconds patience{5000};  ///< for one answer
    };
    /// `conninfo`: a URL (`postgresql://…`) or `key=value …` of libpq.
    static Result<std::unique_ptr<PostgresStore>, OpenFailure> open(asio::io_context& io,
                                                                    const std::string& conninfo,
                                                                    Options options);
    static Result<std::unique_ptr<PostgresStore>, OpenFailure> open(asio::io_context& io,
                                                                    const std::string& conninfo) {
        return open(io, conninfo, Options{});
    }
    ~PostgresStore();
    PostgresStore(const PostgresStore&) = delete;
    PostgresStore& operator=(const PostgresStore&) = delete;

    Store& store();
    StoreWriter& writer();
    OfflineStore& offline();
    EpochStore& epochs();
    OfflineLoginStore& offline_logins();
    RedundancyStore& redundancy();
    AssignmentStore& assignment();

private:
    struct Impl;
    explicit PostgresStore(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace hexad
