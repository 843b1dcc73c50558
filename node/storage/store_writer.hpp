#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "storage/batch.hpp"
#include "storage/session_log.hpp"
#include "storage/store.hpp"

namespace hexad {

/// The store's half of a commit in a cluster: rows first, the Redis script after (docs/delivery.md, "The
/// rule").
///
/// Protocol thread; works on its own. Groups are written in the order of the calls; the next group may be
/// handed in before the last one is done.
class StoreWriter {
public:
    virtual ~StoreWriter() = default;
    /// Writes the store rows of many batches as one group commit. Account changes are transactions of their
    /// own, in order, before the rows; a batch whose change or token is refused (`version_moved`,
    /// `not_owner`) writes nothing of the rest. Every row is idempotent by its key. `done` gets one status
    /// per batch. While the data base is away it retries; `done` comes late.
    virtual void write(std::vector<const Batch*> group,
                       std::function<void(std::vector<CommitStatus>)> done) = 0;
    /// Told when the data base stops answering, and when it is back.
    std::function<void(bool up)> on_state;
};

/// A session and the epoch under which the asking node carries it.
struct SessionToken {
    std::string sid;
    Epoch epoch;
};

/// The offline messages and what is left of ended sessions, for a session log that lives elsewhere
/// (docs/delivery.md, "Login, backlog, end").
///
/// A call with a token shuts out older epochs of its session for good: what a former carrier asked or wrote
/// and arrives late, out of the buffers of a network that was cut, changes nothing. Such a call answers
/// `fenced`.
class OfflineStore {
public:
    virtual ~OfflineStore() = default;
    struct Taken {
        std::uint64_t batch = 0;
        std::vector<OfflineRow> rows;  ///< in order of the archive; empty: nothing waits
    };
    /// Rows that an earlier batch ≤ `filled` of this session took become done; those of a later batch are
    /// handed out again; else the next ≤ 100 queued rows are marked taken by (sid, filled + 1).
    virtual awaitable<Result<Taken>> take(AccountId owner, SessionToken token, std::uint64_t filled) = 0;
    /// The session has batches ≤ `batch` in its log.
    virtual awaitable<Result<bool>> done(std::string sid, std::uint64_t batch) = 0;
    /// A session ends: `due` rows become queued (again), rows it took and did not fill likewise, a tomb is
    /// left.
    virtual awaitable<Result<bool>> put_back(AccountId owner, SessionToken token, Jid jid, std::uint64_t in,
                                             std::uint64_t filled, std::vector<OfflineRow> due) = 0;
    virtual awaitable<Result<std::optional<SessionTomb>>> tomb(std::string sid) = 0;
    enum class Row { none, queued, taken };
    struct RowName {
        AccountId owner = 0;
        std::string stanza_id;
    };
    /// Before stanzas of the session are decided again: what became of the rows that earlier attempts wrote.
    /// `queued` rows are deleted. All at once: a login that takes rows meanwhile gets the first of them or
    /// none, so that nothing overtakes.
    virtual awaitable<Result<std::vector<Row>>> withdraw(SessionToken token, std::vector<RowName> rows) = 0;
};

/// The epochs that outlive Redis: generation of the cluster, serving node and epoch of each partition, node
/// incarnations.
class EpochStore {
public:
    virtual ~EpochStore() = default;
    struct Generation {
        std::uint64_t g = 0;
        std::string run;  ///< run_id of the Redis it belongs to
    };
    virtual awaitable<Result<Generation>> generation() = 0;
    /// g+1 for another incarnation of Redis, if it still is `known`; else what it is now.
    virtual awaitable<Result<Generation>> raise_generation(std::uint64_t known, std::string run) = 0;
    struct Partition {
        std::string home;
        std::string serving;
        std::uint64_t epoch = 0;
    };
    virtual awaitable<Result<std::vector<Partition>>> partitions() = 0;
    /// Makes the row (serving = home, epoch 1) if it is not there.
    virtual awaitable<Result<Partition>> ensure_partition(std::string home) = 0;
    /// Epoch +1 and `serving`, if the epoch still is `known`; else what it is now.
    virtual awaitable<Result<Partition>> move_partition(std::string home, std::string serving,
                                                        std::uint64_t known) = 0;
    /// A new incarnation number of a node, higher than any before.
    virtual awaitable<Result<std::uint64_t>> next_incarnation(std::string node) = 0;
};

}  // namespace hexad
