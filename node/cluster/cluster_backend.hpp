#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "cluster/redis_connection.hpp"
#include "storage/session_log.hpp"
#include "storage/store_writer.hpp"

namespace hexad {

struct ClusterOptions {
    std::string id;  ///< of the cluster: all its keys are `{hexad:<id>}:…`
    std::string node;
    RedisOptions redis;
    milliseconds lease{10000};
    milliseconds renew{3000};
};

/// What this node learns from the cluster's streams, in their one order. Protocol thread.
struct ClusterEvents {
    std::function<void(const std::string& sid, const LogEntry&)> entry;
    std::function<void(const RouteChange&, std::uint64_t version)> route;
    std::function<void(const Notice&)> notice;
    std::function<void(const RoomInput&, std::uint64_t position)> room_input;
    /// A session has another carrier; `lost`: it was ours.
    std::function<void(const std::string& sid, const Jid& jid, const std::string& node)> claimed;
    std::function<void(const std::string& sid)> lost;
    std::function<void(const Jid& account)> account_changed;
    std::function<void(const std::string& home, const std::string& serving, std::uint64_t epoch)> partition;
};

/// Committer and session log of a cluster: store rows through the StoreWriter, then one Redis script per
/// batch (docs/delivery.md). Also this node's lease and its place in the change stream. Protocol thread.
class ClusterBackend final : public Committer, public SessionLog {
public:
    ClusterBackend(asio::io_context& io, ClusterOptions options, StoreWriter& writer, OfflineStore& offline,
                   EpochStore& epochs);
    ~ClusterBackend() override;

    ClusterEvents events;
    /// `true` when this node may act: connected, generation open, lease held.
    std::function<void(bool)> on_state;

    /// A write of this node was refused because somebody else owns what it is about: `where` is `store` or
    /// `state-store`, `now` the epoch in force (0: not known).
    std::function<void(std::string_view where, const Batch& batch, std::uint64_t now)> on_refused;

    /// Connects, agrees on the generation, takes the lease. False after `time`.
    awaitable<bool> join(milliseconds time);
    /// Reads the routes as they are and follows the streams from there.
    awaitable<error_code> follow();
    /// Gives the lease back: the others know at once that this node is gone.
    awaitable<void> leave();
    bool active() const { return active_; }
    /// Since when Redis answers without a break: other nodes' leases say nothing before they had the time to
    /// renew.
    SteadyClock::time_point connected_since() const { return connected_since_; }
    /// Until when the lease holds, counted from the start of its last renewal.
    SteadyClock::time_point lease_until() const { return lease_until_; }
    std::uint64_t generation() const { return generation_; }
    std::uint64_t incarnation() const { return incarnation_; }

    // ---- other nodes ----
    awaitable<Result<std::map<std::string, bool>>> leases(std::vector<std::string> nodes);
    struct Partition {
        std::string serving;
        std::uint64_t epoch = 0;
    };
    awaitable<Result<std::map<std::string, Partition>>> partitions(std::vector<std::string> homes);
    /// Serves a partition under an epoch that the store gave.
    awaitable<bool> adopt_partition(std::string home, std::uint64_t epoch);
    /// Sessions that `node` carries, from the session records.
    awaitable<Result<std::vector<std::string>>> sessions_of(std::string node);
    /// Takes a lost node's session without its client (delivery §6). `ending`: for one that cannot be
    /// resumed.
    awaitable<Result<ClaimedSession, ClaimRefusal>> adopt(std::string sid, std::string from, Timestamp until,
                                                          bool ending);
    awaitable<bool> put_node_state(std::string node, std::string bytes);
    awaitable<Result<std::map<std::string, std::string>>> node_states();
    void announce_account(const Jid& account);

    // ---- Committer ----
    void submit(Batch batch, std::function<void(const CommitOutcome&, Batch&)> done) override;
    bool never_refuses() const override { return false; }
    std::size_t pending_bytes() const override { return pending_bytes_; }

    // ---- SessionLog ----
    awaitable<Result<std::vector<SessionRecord>>> load_sessions() override;
    awaitable<Result<ClaimedSession, ClaimRefusal>> claim(std::string sid, AccountId account,
                                                          std::string node) override;
    awaitable<Result<bool>> settle(std::string sid, Epoch epoch, std::uint32_t h) override;
    awaitable<Result<bool>> number(std::string sid, Epoch epoch, std::vector<Number> numbers) override;
    void ack(std::string sid, Epoch epoch, std::uint64_t position) override;
    awaitable<Result<Filled>> fill(std::string sid, Epoch epoch) override;
    awaitable<Result<Ended>> end(std::string sid, Epoch epoch, Batch farewell) override;
    awaitable<Result<std::optional<SessionTomb>>> tomb(std::string sid) override;
    awaitable<Result<std::vector<RoomEntry>>> room_inbox(Jid room, std::uint64_t position,
                                                         std::size_t limit) override;
    awaitable<Result<RoomState>> room_state(Jid room) override;
    awaitable<Result<std::vector<Jid>>> active_rooms() override;
    /// Who serves a room's home node, and which nodes carry sessions of an account: asked while a batch is
    /// encoded.
    std::function<std::string(const Jid& room)> home_of_room;
    std::function<std::vector<std::string>(const Jid& account)> nodes_of_account;
    std::function<std::optional<Jid>(AccountId)> account_name;

private:
    struct Item {
        Batch batch;
        std::function<void(const CommitOutcome&, Batch&)> done;
        CommitOutcome outcome;
        std::size_t bytes = 0;
        bool answered = false;
    };
    using ItemPtr = std::shared_ptr<Item>;

    void pump();
    awaitable<void> store_group(std::vector<ItemPtr> group);
    void commit_group(std::vector<ItemPtr> group);
    void send_commit(const ItemPtr& item);
    void commit_answered(const ItemPtr& item, Result<RedisReply> reply);
    void release();
    std::string encode(const Batch& batch) const;
    std::vector<std::string> arguments(std::vector<std::string> own) const;
    awaitable<Result<RedisReply>> run(const RedisScript& script, std::vector<std::string> own);
    awaitable<Result<RedisReply>> run_owned(const RedisScript& script, std::string sid, Epoch epoch,
                                            std::vector<std::string> own);
    Result<ClaimedSession, ClaimRefusal> read_claim(const std::string& sid, const RedisReply& reply);
    std::string key(std::string_view kind, std::string_view name) const;
    awaitable<bool> agree_on_generation();
    awaitable<void> keep_lease();
    awaitable<bool> renew();
    awaitable<void> tail();
    void handle(const std::string& kind, const std::string& data);
    void set_active(bool active);
    awaitable<void> load_scripts();

    asio::io_context& io_;
    ClusterOptions options_;
    StoreWriter& writer_;
    OfflineStore& offline_;
    EpochStore& epochs_;
    std::string prefix_;
    RedisConnection commands_;
    RedisConnection reader_;
    std::uint64_t generation_ = 0;
    std::uint64_t incarnation_ = 0;
    bool active_ = false;
    bool stopping_ = false;
    bool follows_ = false;
    SteadyClock::time_point lease_until_{};
    SteadyClock::time_point connected_since_{};
    std::string chg_position_ = "0-0", bus_position_ = "0-0";

    std::deque<ItemPtr> queue_;      ///< submitted, in order
    std::deque<ItemPtr> in_flight_;  ///< in order; released from the front
    bool storing_ = false;
    std::size_t pending_bytes_ = 0;
    asio::steady_timer retry_;
    struct Scripts;
    std::unique_ptr<Scripts> scripts_;
    std::unordered_map<std::string, AccountId> session_accounts_;  ///< of fill and end: whose session
    std::unordered_map<std::string, std::string> session_names_;
};

}  // namespace hexad
