#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "cluster/commit_pipeline.hpp"
#include "cluster/inspection.hpp"
#include "cluster/lease_keeper.hpp"
#include "cluster/protocol.hpp"
#include "cluster/redis_connection.hpp"
#include "storage/session_log.hpp"
#include "storage/store_writer.hpp"

namespace hexad {

struct ClusterOptions {
    std::string id;  ///< of the cluster: all its keys are `{hexad:<id>}:…`
    std::string node;
    std::vector<std::string> nodes;  ///< all of the cluster
    RedisOptions redis;
    milliseconds lease{10000};
    milliseconds renew{3000};
    milliseconds longest_turn{15000};  ///< a protocol thread that is busy for longer loses the lease
    Durability durability = Durability::strict;
};

/// What this node learns from the cluster's streams, in their one order. Protocol thread.
struct ClusterEvents {
    /// Position 0: it waits behind the session's login backlog.
    std::function<void(const std::string& sid, const LogEntry&)> entry;
    std::function<void(const RouteChange&, std::uint64_t version)> route;
    /// A resource that went away so long ago, before this node read the streams.
    std::function<void(const Jid& full, milliseconds ago)> gone;
    std::function<void(const Notice&)> notice;
    std::function<void(const RoomInput&, std::uint64_t position)> room_input;
    /// A room has another home node; empty: there is no such room any more.
    std::function<void(const Jid& room, const std::string& home)> room_home;
    /// Another node has the room in its memory, which this one had before.
    std::function<void(const Jid& room)> room_held;
    /// A session has another carrier; `lost`: it was ours.
    std::function<void(const std::string& sid, const Jid& jid, const std::string& node)> claimed;
    std::function<void(const std::string& sid)> lost;
    /// A session was claimed elsewhere that this node does not have yet: check_lost() when it has it.
    std::function<void(const std::string& sid)> lost_early;
    std::function<void(const Jid& account)> account_changed;
    std::function<void(const std::string& home, const std::string& serving, std::uint64_t epoch)> partition;

    // ---- Redis away, or come back without its last writes ----
    /// Whether this node may act: scripts run, or everything waits.
    std::function<void(bool)> active;
    /// Nobody reaches Redis: sessions go on without it.
    std::function<void()> freeze;
    /// Delivers a batch that concerns only sessions of this node; false if it does not.
    std::function<bool(const Batch&)> deliver_unlogged;
    /// What this node carries.
    std::function<std::vector<std::string>()> carried_sids;
    std::function<std::optional<Epoch>(const std::string& sid)> carried_epoch;
    /// To be handed in: until `refilled`, it takes no entries.
    std::function<std::optional<CarriedSession>(const std::string& sid)> carried_session;
    std::function<void(const std::string& sid, std::uint64_t base, const std::vector<LogEntry>& late)>
        refilled;
    std::function<std::vector<CarriedRoom>()> carried_rooms;
    /// The routes of the replica, and one that turned out to be gone.
    std::function<std::vector<std::pair<Jid, RouteEntry>>()> known_routes;
    std::function<std::vector<RouteEntry>(const Jid& account)> known_route;
    std::function<void(const Jid& account, const RouteEntry& entry)> route_gone;
    std::function<std::uint64_t(const Jid& account)> route_version;
    /// Redis was filled again: what the streams told of homes of rooms meanwhile may be lost.
    std::function<void()> recovered;
    /// This node missed a recovery: nothing it carries is its own any more.
    std::function<void()> fenced;
    /// Whether no other node reaches Redis either, as far as can be known.
    std::function<bool()> nobody_reaches_redis;
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
    SteadyClock::time_point lease_until() const { return keeper_.until(); }
    std::uint64_t generation() const { return generation_; }
    std::uint64_t incarnation() const { return incarnation_; }
    /// The form of what goes between nodes that all of them can read (Protocol); 0: not known yet.
    std::uint32_t protocol() const { return protocol_; }
    /// The form that the others write and this node cannot read: it gets no lease. 0: none.
    std::uint32_t refused_protocol() const { return refused_protocol_; }

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
    /// Takes a lost node's session without its client (docs/delivery.md, "A node is taken over"). `ending`:
    /// for one that cannot be resumed.
    awaitable<Result<ClaimedSession, ClaimRefusal>> adopt(std::string sid, std::string from, Timestamp until,
                                                          bool ending);
    /// Ends what Redis still has of a session that is over by the store; whether it is. Empty: the store does
    /// not answer.
    awaitable<std::optional<bool>> end_if_over(std::string sid, std::string carrier);
    awaitable<bool> put_node_state(std::string node, std::string bytes);
    awaitable<Result<std::map<std::string, std::string>>> node_states();
    /// Store rows that a node left in Redis when the data base was away (docs/delivery.md, "Redis or
    /// PostgreSQL away").
    awaitable<bool> drain_spill(std::string node);
    /// Whether rows of this node, whose effects are true, are not in the store yet.
    bool rows_wait() const { return pipeline_.spilled() > 0; }
    /// Entries of a session's log behind `position`.
    awaitable<Result<std::vector<LogEntry>>> entries_after(std::string sid, std::uint64_t position);
    void announce_account(const Jid& account);
    /// Makes the replica's route of an account what Redis has: for who was refused because of it and hears of
    /// no change.
    awaitable<void> refresh_route(Jid account);
    /// Asks Redis whether a session is still this node's; if not, it is `events.lost`.
    awaitable<void> check_lost(std::string sid);
    /// What Redis has, against itself and the epochs of the store. Reads all of it: for administrators.
    awaitable<Result<Inspection>> inspect();

    // ---- Committer ----
    void submit(Batch batch, std::function<void(const CommitOutcome&, Batch&)> done) override;
    bool never_refuses() const override { return false; }
    std::size_t pending_bytes() const override { return pipeline_.pending_bytes(); }
    bool store_up() const override { return pipeline_.store_up(); }

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
    using SessionLog::room_state;
    awaitable<Result<RoomState>> room_state(Jid room, RoomHome home) override;
    awaitable<Result<bool>> move_room(Jid room, RoomHome home,
                                      std::optional<std::uint64_t> position) override;
    awaitable<Result<bool>> hold_room(Jid room) override;
    awaitable<Result<std::vector<std::string>>> missing_sessions(std::vector<std::string> sids) override;
    awaitable<Result<std::vector<Jid>>> active_rooms() override;
    /// Who serves a room's home node, and which nodes carry sessions of an account: asked while a batch is
    /// encoded.
    std::function<std::string(const Jid& room)> home_of_room;
    std::function<std::vector<std::string>(const Jid& account)> nodes_of_account;
    std::function<std::optional<Jid>(AccountId)> account_name;
    std::function<void(bool up)> on_store_state;

private:
    CommitPipeline::Calls pipeline_calls();
    std::string encode(const Batch& batch, const std::string& spill) const;
    std::vector<std::string> arguments(std::vector<std::string> own) const;
    awaitable<Result<RedisReply>> run(const RedisScript& script, std::vector<std::string> own);
    awaitable<Result<RedisReply>> run_owned(const RedisScript& script, std::string sid, Epoch epoch,
                                            std::vector<std::string> own);
    Result<ClaimedSession, ClaimRefusal> read_claim(const std::string& sid, const RedisReply& reply);
    std::string key(std::string_view kind, std::string_view name) const;
    bool knows_homes() const { return protocol_ >= rooms_move_since; }
    awaitable<bool> agree_on_generation();
    awaitable<bool> recover(std::uint64_t generation, bool fresh);
    awaitable<bool> refill_sessions();
    awaitable<bool> refill_session(const std::string& sid);
    awaitable<bool> refill_rooms();
    awaitable<bool> refill_partitions();
    awaitable<bool> stage(std::uint64_t survived);
    awaitable<bool> wait_open(bool fresh);
    awaitable<Result<std::vector<RedisReply>>> ask_all(std::vector<std::vector<std::string>> commands);
    awaitable<Result<std::set<std::string>>> apply_routes(std::vector<std::string> names);
    awaitable<Result<std::set<std::string>>> read_routes();
    awaitable<bool> drop_missing(std::vector<std::pair<Jid, RouteEntry>> entries);
    void route_changed(const Jid& account);
    awaitable<void> reread_routes();
    awaitable<void> end_orphans();
    awaitable<bool> inspect_epochs(Inspection& out);
    awaitable<bool> inspect_sessions(Inspection& out);
    awaitable<bool> inspect_routes(Inspection& out);
    awaitable<bool> inspect_rooms(Inspection& out);
    awaitable<bool> wait_active(milliseconds time);
    awaitable<bool> was_trusted();
    awaitable<bool> take_part();
    void fence(std::uint64_t generation);
    void distrust();
    awaitable<void> keep_lease();
    awaitable<bool> renew();
    awaitable<void> watch_spills();
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
    LeaseKeeper keeper_;
    std::uint64_t generation_ = 0;
    std::uint64_t incarnation_ = 0;
    std::uint32_t protocol_ = 0, refused_protocol_ = 0;
    bool active_ = false;
    bool stopping_ = false;
    bool follows_ = false;
    SteadyClock::time_point connected_since_{};
    std::string chg_position_ = "0-0", bus_position_ = "0-0";

    struct Scripts;
    std::unique_ptr<Scripts> scripts_;
    asio::steady_timer wake_;      ///< of keep_lease
    asio::steady_timer opened_;    ///< cancelled when scripts may run again
    std::uint64_t member_of_ = 0;  ///< last open generation that this node took part in
    std::uint64_t seen_ = 0;       ///< counter of the cluster as last told
    std::uint64_t read_ = 0;       ///< everything up to here has been read from the streams
    int routes_read_ = 0;          ///< readings of routes under way …
    std::uint64_t route_changes_ = 0;
    std::map<Jid, std::uint64_t> routes_changed_;  ///< … and when the streams changed which meanwhile
    bool trusted_ = false;
    bool froze_ = false;            ///< sessions of this node went on without Redis
    std::uint64_t connection_ = 0;  ///< counts the comings and goings
    CommitPipeline pipeline_;
};

}  // namespace hexad
