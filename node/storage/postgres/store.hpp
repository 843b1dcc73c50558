#pragma once

#include <memory>
#include <optional>
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
        bool may_wait = false;        ///< opens also what does not answer yet; prepare() says when it does
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
    /// Whether the schema was found as it must be; nothing else is asked before.
    bool is_prepared() const;
    /// Looks again. The failure, if it cannot be used yet (`unavailable`) or at all (`schema`).
    awaitable<std::optional<OpenFailure>> prepare();
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
