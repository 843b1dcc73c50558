#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cluster/redis_connection.hpp"
#include "storage/batch.hpp"
#include "storage/store_writer.hpp"

namespace hexad {

/// A batch that Redis has, or may have, and that not every node has read yet: handed in again if Redis loses
/// its last writes (docs/delivery.md, "Redis or PostgreSQL away").
struct Output {
    std::uint64_t id = 0;  ///< the cluster's counter after it; 0 = unknown whether it was executed
    std::string source;    ///< origin, empty if none
    std::uint64_t n = 0;
    std::string bytes;  ///< as the commit script gets it
};

/// Whether a message is acknowledged once its archive rows are stored too, or once the session logs have it;
/// its rows follow within the time that a write takes, and a crash may lose those on their way.
enum class Durability : std::uint8_t { strict, relaxed };

/// The way of a batch: store rows, then the commit script, then its caller is told. Batches of one source (a
/// session, a room) go one behind the other; sources do not wait for each other. Protocol thread.
///
/// While Redis is away batches wait. If nobody reaches it (`freeze`), what concerns only sessions of this
/// node is delivered, not counted. While the data base is away, rows travel with the script as a spill.
class CommitPipeline {
public:
    using Done = std::function<void(const CommitOutcome&, Batch&)>;
    struct Calls {
        /// Batch → the script's argument; `spill`: encoded store rows that go with it.
        std::function<std::string(const Batch&, const std::string& spill)> encode;
        std::function<std::string(const Batch&)> encode_rows;
        std::function<void(const std::string& bytes, std::function<void(Result<RedisReply>)>)> send;
        /// Redis answered that it is of another generation, or that this node has no lease.
        std::function<void()> distrusted;
        /// Everything that was spilled is in the store.
        std::function<void()> drained;
        /// Delivers a batch that concerns only sessions of this node; false if it does not.
        std::function<bool(const Batch&)> deliver_unlogged;
        /// Somebody else owns what the batch is about; `now`: the epoch in force, 0 = not known.
        std::function<void(std::string_view where, const Batch&, std::uint64_t now)> refused;
    };

    CommitPipeline(asio::io_context& io, StoreWriter& writer, Durability durability, Calls calls);
    ~CommitPipeline();

    void submit(Batch batch, Done done);
    /// Scripts may be sent: this node has its lease in an open generation.
    void open(bool is_open);
    void freeze();
    /// What was delivered unlogged is being handed in: from here on everything waits for `open`.
    void hold() { frozen_ = false; }
    bool frozen() const { return frozen_; }
    void stop() { stopping_ = true; }
    void store_state(bool up);
    bool store_up() const { return store_up_; }
    /// Rows that went with a script and are not in the store yet.
    std::size_t spilled() const { return spilled_rows_; }
    /// Of batches on their way, and of rows that follow.
    std::size_t pending_bytes() const { return pending_bytes_ + following_bytes_; }

    /// Whether anything was delivered that Redis does not know.
    bool delivered_unlogged() const { return unlogged_ > 0; }
    /// Counter of a session after what was delivered unlogged; 0 = nothing was.
    std::uint64_t counted_unlogged(const std::string& sid) const;
    /// Outputs that Redis lost, if it has everything up to `survived`.
    std::vector<Output> lost_outputs(std::uint64_t survived) const;
    /// All nodes have read up to `id`.
    void confirmed(std::uint64_t id);
    void keep(Output output);
    /// What was delivered unlogged is in Redis now; its callers are told.
    void thaw();
    /// This node may not go on with what it has: every caller hears `not_owner`.
    void refuse_all();

private:
    struct Item;
    using ItemPtr = std::shared_ptr<Item>;
    void pump();
    void write(std::vector<ItemPtr> group);
    void stored(const std::vector<ItemPtr>& group, const std::vector<CommitStatus>& statuses);
    void spill_stored(const ItemPtr& item);
    void spill_over(const ItemPtr& item);
    void advance(const std::string& lane);
    bool may_go(const ItemPtr& item);
    void send(const ItemPtr& item);
    void answered(const ItemPtr& item, Result<RedisReply> reply);
    static bool rows_come_late(const Item& item);
    void release(const std::string& lane);
    void advance_all();

    asio::io_context& io_;
    StoreWriter& writer_;
    Durability durability_;
    Calls calls_;
    std::uint64_t next_ = 0;
    std::map<std::uint64_t, ItemPtr> items_;  ///< in flight, in order of submission
    std::unordered_map<std::string, std::deque<ItemPtr>> lanes_;
    std::vector<ItemPtr> queue_;  ///< not handed to the store yet
    std::size_t groups_ = 0;      ///< at the store
    std::deque<Output> outputs_;
    std::size_t output_bytes_ = 0;
    std::size_t pending_bytes_ = 0;
    std::size_t spilled_rows_ = 0, spilled_bytes_ = 0;
    std::size_t following_bytes_ = 0;
    std::size_t unlogged_ = 0;
    bool open_ = false;
    bool frozen_ = false;
    bool store_up_ = true;
    bool stopping_ = false;
    std::shared_ptr<CommitPipeline*> self_;
};

}  // namespace hexad
