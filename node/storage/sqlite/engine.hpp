#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "storage/open_failure.hpp"
#include "storage/session_log.hpp"
#include "storage/sqlite/connection.hpp"
#include "storage/store.hpp"

namespace hexad {

/// The embedded back end: store, committer and session log on one SQLite file.
///
/// One thread writes: it takes what is queued (batches and operations of the session log, in the order of the
/// calls) and runs it in one transaction. Reads of the store run on two other threads and see everything
/// whose `done` was called before. Results come back on the io_context in order; it is kept running while
/// something is on its way. Used, and ended, on the io_context's thread. Not to be opened by two processes:
/// the second one is refused.
///
/// Of a batch, `checks`, `routes` and `notices` are not kept: with one node they live in memory. A batch is
/// refused only with `version_moved`, `not_owner` or `out_of_order`, and has then written nothing. A
/// SessionRecord carries the epoch in force (else `not_owner`); its `mode` counts only when the
/// session is new. An entry that is
/// `held` gets its position from `fill`.
class SqliteEngine {
public:
    struct Options {
        sqlite::Durability durability = sqlite::Durability::strict;
        bool migrate = false;          ///< bring an older schema up to date; an empty file always is
        std::size_t max_group = 1024;  ///< operations per transaction
    };
    /// `path`: a file, made with mode 0600 if absent, or `:memory:`.
    static Result<std::unique_ptr<SqliteEngine>, OpenFailure> open(asio::io_context& io,
                                                                   const std::string& path, Options options);
    static Result<std::unique_ptr<SqliteEngine>, OpenFailure> open(asio::io_context& io,
                                                                   const std::string& path) {
        return open(io, path, Options{});
    }
    ~SqliteEngine();
    SqliteEngine(const SqliteEngine&) = delete;
    SqliteEngine& operator=(const SqliteEngine&) = delete;

    Store& store();
    Committer& committer();
    SessionLog& session_log();
    bool healthy() const;  ///< false while the disk refuses to write

private:
    struct Impl;
    explicit SqliteEngine(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace hexad
