#pragma once

#include "storage/sqlite/session_table.hpp"
#include "storage/store.hpp"

namespace hexad::sqlite {

/// Writes batches inside the writer's transaction. A batch is first checked, then written: one that is
/// refused has written nothing and needs no savepoint.
class BatchWriter {
public:
    BatchWriter(Connection& db, SessionTable& sessions);

    CommitOutcome write(const Batch& batch);

private:
    struct Verdict {
        CommitStatus status = CommitStatus::ok;
        bool done_before = false;
    };
    Verdict check(const Batch& batch);
    CommitStatus check_records(const Batch& batch);
    CommitStatus check_versions(const Batch& batch);
    void archive(const Batch& batch);
    void rooms(const Batch& batch);

    Connection& db_;
    SessionTable& sessions_;
    Statement insert_archive_;
};

}  // namespace hexad::sqlite
