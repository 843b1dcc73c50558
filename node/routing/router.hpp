#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cluster/cluster_backend.hpp"
#include "hooks/cluster_view.hpp"
#include "hooks/hooks.hpp"
#include "session/session.hpp"
#include "storage/session_log.hpp"
#include "storage/store.hpp"

namespace hexad {

struct RouterOptions {
    std::string node = "n1";
    std::vector<std::string> hosts;
    SessionLimits limits;
    seconds resume_window{300};
    std::size_t account_cache = 100000;
};

/// Why a bind or resume failed, as the stanza or SM error condition on the wire.
struct SessionRefusal {
    std::string type;
    std::string condition;
    std::uint64_t h = 0;  ///< resume: stanzas known to be handled (XEP-0198 §5), if `has_h`
    bool has_h = false;
};

/// The heart of a node: carries sessions, decides on every stanza of theirs, commits and delivers the
/// effects.
///
/// Protocol thread. Deciding is synchronous over loaded accounts and the route table; loading is the one
/// place that waits, and stanzas queue behind it. Effects are values in a Batch: what is durable goes through
/// the Committer, and sockets and acknowledgements are released in the order in which the effects were made.
class Router final : public ClusterView {
public:
    Router(asio::io_context& io, Store& store, Committer& committer, SessionLog& log, Hooks& hooks,
           RouterOptions options);
    ~Router() override;

    /// Reads the sessions that survived the last run of this node and waits for their clients.
    awaitable<error_code> start();
    /// Ends all streams with `system-shutdown`; sessions that can be resumed stay.
    awaitable<void> stop();

    // ---- sessions (called by connections) ----
    /// Binds a resource (RFC 6120 §7); an older session of the same full JID ends with `conflict`.
    awaitable<Result<SessionPtr, StanzaError>> bind(Jid bare, std::string resource, Wire& wire);
    /// Continues a session on a new stream (XEP-0198 §5). After this the connection sends `<resumed/>`, then
    /// calls `settle`.
    awaitable<Result<SessionPtr, SessionRefusal>> resume(std::string sid, Jid bare, std::uint32_t h,
                                                         Wire& wire);
    awaitable<bool> settle(SessionPtr session, std::uint32_t h);
    /// Whether a resumed stream must first answer an `<r/>`: another node could hold a newer stream of the
    /// same client.
    bool resume_needs_proof() const { return !committer_.never_refuses(); }
    /// Enables stream management; false if it was enabled before. Resolves when it is safe.
    awaitable<bool> enable(SessionPtr session, bool resumable, seconds wanted);
    /// A stanza of the client, in the order of the stream.
    /// By value: what the stanza causes may end the stream, and its hold on the session.
    void receive(SessionPtr session, Element stanza);
    /// The stream went away without a word (`clean` = `</stream:stream>`): the session waits for a resume, or
    /// ends.
    void stream_lost(const SessionPtr& session, bool clean);
    /// A stream ended while bind() or resume() had it: whatever they attached to it goes on without.
    void wire_lost(const Wire& wire);
    /// Ends a session now: the client is told `condition`.
    void kick(const SessionPtr& session, std::string condition, std::string text);
    /// The client sent `<r/>`: answered with what is safe now or within a tenth of a second, and again when
    /// it grows.
    void ack_requested(const SessionPtr& session);
    void set_inactive(const SessionPtr& session, bool inactive);
    /// The session comes in place of `former`, which its client could not resume and of which `handled`
    /// stanzas were handled: what is sent again is recognised by its origin-id (XEP-0359) and content.
    void follows(const SessionPtr& session, std::string former, std::uint64_t handled);

    // ---- cluster ----
    /// Follows what the cluster's streams tell; called once before `start`.
    void join(ClusterBackend& backend, OfflineStore& offline);
    /// Carries on with a lost node's session without its client (docs/delivery.md, "A node is taken over").
    awaitable<void> adopt(std::string sid, std::string from);
    /// Sessions that `node` carries by the routes and that this node knows nothing of.
    std::vector<std::string> without_carrier(const std::string& node) const;
    /// Sessions of this node's memory that are over, or somebody else's, by the routes.
    std::vector<std::string> in_doubt() const;
    /// Closes every client stream; the sessions wait for a resume.
    void close_streams(const std::string& condition);
    /// Sends the client of a session to another node (RFC 6120 §4.9.3.19): reads no more, finishes what was
    /// read, ends the stream with `see-other-host`. `host` empty: with `system-shutdown`.
    awaitable<void> release(SessionPtr session, std::string host);
    /// Home node of a room, as the store says; empty while unknown.
    std::string home_of_room(const Jid& room) const;

    SessionPtr find_session(const std::string& sid) const;
    SessionPtr find_full(const Jid& full) const;
    const std::unordered_map<std::string, SessionPtr>& sessions() const { return sessions_; }
    /// How many of them have a stream.
    std::size_t attached() const { return *attached_; }

    // ---- ClusterView ----
    RouteTable& routes() override { return routes_; }
    AccountCache& accounts() override { return accounts_; }
    Store& store() override { return store_; }
    SessionLog& session_log() override { return log_; }
    bool is_local_host(std::string_view domain) const override;
    std::string host_of_service(std::string_view domain, std::string& label) const override;
    const std::vector<std::string>& hosts() const override { return options_.hosts; }
    void submit(Batch batch) override { submit(std::move(batch), nullptr); }
    void submit(Batch batch, std::function<void(bool)> done) override;
    const std::string& node_name() const override { return options_.node; }
    asio::io_context& io() override { return io_; }
    void route_from_service(const Element& stanza, const Jid& from, const Jid& to, Batch& batch) override;
    void change_account(AccountData& account, AccountChange change, Batch& batch) override;
    void learn_room_home(const Jid& room, const std::string& home) override;

private:
    friend struct Decision;
    /// Refusals because of a route, two milliseconds apart, that a change on its way through the streams
    /// explains.
    static constexpr int patience_with_routes = 10;

    SessionPtr new_session();
    // router.cpp: input queue and commits
    void pump(const SessionPtr& session);
    awaitable<void> load_for(SessionPtr session, std::vector<Jid> accounts);
    void decide(const SessionPtr& session, Element xml);
    void drain(const SessionPtr& session);
    void commit_input(const SessionPtr& session, const std::shared_ptr<Session::Input>& input);
    void finish_input(const SessionPtr& session, Session::Input& input);
    void schedule_advance(const SessionPtr& session);
    void advance_now(const SessionPtr& session);
    /// Commits what no client's stanza causes, and delivers it.
    void commit(Batch batch, std::function<void(CommitStatus, Batch&)> done);
    void add_state(const SessionPtr& session, Batch& batch);

    // decide.cpp: what becomes of a stanza
    void decide_message(Stanza& stanza, const SessionPtr& session, Batch& batch);
    void decide_presence(Stanza& stanza, const SessionPtr& session, Batch& batch);
    /// False: an answer is under way and will finish `input` later.
    bool decide_iq(Stanza& stanza, const SessionPtr& session, const std::shared_ptr<Session::Input>& input);
    void message_to_account(const Stanza& stanza, SessionState* sender, const std::string& stanza_id,
                            Timestamp at, Batch& batch);
    void iq_to_resource(const Stanza& stanza, const SessionPtr& session, Batch& batch);
    void to_service(Stanza& stanza, const SessionPtr& session, Batch& batch);
    awaitable<void> answer(IqAnswer handler, IqRequest request, SessionPtr session,
                           std::shared_ptr<Session::Input> input, Element request_xml);
    void refuse(const Stanza& stanza, const SessionPtr& session, const StanzaError& error, Batch& batch);
    void reply_iq(const Stanza& stanza, const SessionPtr& session, IqResult result, Batch& batch);
    void send_to_self(const SessionPtr& session, std::string xml, EntryKind kind, bool logged, Batch& batch);

    // repeats.cpp
    void expect_repeats(const SessionPtr& session);
    bool may_be_repeat(const SessionPtr& session, const Element& stanza, std::uint64_t n) const;
    awaitable<SessionRefusal> how_it_ends(std::string sid, Jid bare, bool ending);
    /// What earlier attempts at stanzas of the session put offline is taken back, or noted as taken.
    awaitable<void> withdraw(SessionPtr session, std::vector<OfflineStore::RowName> rows);
    awaitable<void> look_back(SessionPtr session, std::uint64_t n);

    // presence.cpp
    void broadcast_presence(Stanza& stanza, const SessionPtr& session, Batch& batch);
    void directed_presence(Stanza& stanza, const SessionPtr& session, Batch& batch);
    void probe(const Stanza& stanza, const SessionPtr& session, Batch& batch);
    void fan_out(const RouteChange& change);
    /// The presence of everybody the session sees; `again`: after a resume that may have missed its own.
    void greet(const SessionPtr& session, bool again = false);
    /// `said`: the unavailable presence that the client sent, if it sent one.
    void take_back_directed(SessionState& state, Batch& batch, const Element* said = nullptr);

    // deliver.cpp: committed effects
    void reserve_numbers(Batch& batch, std::vector<Session::SlotPtr>& slots);
    void deliver(Batch& batch, const CommitOutcome& outcome, const std::vector<Session::SlotPtr>& slots);
    void deliver_notice(const Notice& notice);
    void apply_route(const RouteChange& change);
    void remember_gone(const Jid& full, milliseconds ago = milliseconds(0));
    /// Messages of this account went to the offline store while others of its sessions are there: the one
    /// that a message to the bare JID would reach first takes them as a login does. For the node that carries
    /// it.
    void late_backlog(const Jid& account);
    void begin_fill(const SessionPtr& session);
    awaitable<void> fill(SessionPtr session);

    // lifecycle.cpp
    awaitable<bool> evict(Jid full);
    awaitable<CommitStatus> commit_bind(SessionPtr session);
    awaitable<void> end_session(SessionPtr session);
    void begin_end(const SessionPtr& session);
    void forget(const SessionPtr& session);
    void tell_rooms_close(const SessionPtr& session);
    awaitable<void> drop_inherited(SessionPtr session);
    awaitable<void> end_now(SessionPtr session);
    void tick_sessions();
    bool expire_some();
    awaitable<void> sweep();
    SessionRecord record_of(const SessionPtr& session) const;

    // cluster.cpp
    void refused(const SessionPtr& session, const std::shared_ptr<Session::Input>& input,
                 const CommitOutcome& outcome);
    awaitable<void> decide_again(SessionPtr session);
    void drop(const SessionPtr& session);
    void join_recovery(ClusterEvents& events);
    awaitable<void> read_gap(SessionPtr session);
    bool deliver_unlogged(const Batch& batch);
    bool needs_room_home(const Jid& to) const;
    awaitable<void> load_room_home(SessionPtr session, Jid room);
    /// Asks the rooms of a session for their present state: notices on their way to it were lost.
    awaitable<void> refresh_rooms(SessionPtr session);
    /// The session of a claim, in memory. Entries that came since the claim was executed are in `claiming_`.
    awaitable<SessionPtr> build(ClaimedSession claimed);
    void claim_begins(const std::string& sid) { ++claiming_[sid].claims; }
    void claim_ended(const std::string& sid);
    awaitable<void> adopt_now(std::string sid, std::string from);
    awaitable<bool> evict_remote(Jid full);
    void resync(const SessionPtr& session);
    void replace_namesake(const RouteChange& change);
    void again_if_idle(const SessionPtr& session);
    bool may_follow(const SessionPtr& session, const Session::Input& input) const;

    asio::io_context& io_;
    ClusterBackend* cluster_ = nullptr;  ///< nullptr on a single node
    OfflineStore* offline_ = nullptr;
    std::unordered_map<Jid, std::string> room_homes_;
    Store& store_;
    Committer& committer_;
    SessionLog& log_;
    Hooks& hooks_;
    RouterOptions options_;
    RouteTable routes_;
    AccountCache accounts_;
    std::unordered_map<std::string, SessionPtr> sessions_;
    std::shared_ptr<std::size_t> attached_ = std::make_shared<std::size_t>(0);
    /// Sessions on their way to this node, with what was handed to it for them meanwhile.
    struct Claiming {
        int claims = 0;
        bool lost = false;  ///< another node claimed it, before or after this one
        std::vector<LogEntry> entries;
    };
    std::unordered_map<std::string, Claiming> claiming_;
    /// Sessions that this node carries by their routes, and does not (any more): news that is late, or a
    /// session that nobody has. Not in `routes_`.
    std::unordered_set<std::string> strays_;
    /// Resources that went away lately, by account: a client that was between two nodes meanwhile has not
    /// heard of it.
    struct Gone {
        Jid full;
        SteadyClock::time_point at;
    };
    std::unordered_map<Jid, std::vector<Gone>> gone_;
    SteadyClock::time_point gone_pruned_;
    std::unordered_map<Jid, SessionPtr> by_jid_;
    std::unordered_set<SessionPtr> ticking_;
    std::unordered_set<std::string> host_set_;
    asio::steady_timer sweep_timer_;
    std::size_t ends_under_way_ = 0;
    bool stopping_ = false;
};

}  // namespace hexad
