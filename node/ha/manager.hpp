#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "base/config.hpp"
#include "cluster/cluster_backend.hpp"
#include "ha/canary.hpp"
#include "ha/cluster_nodes.hpp"
#include "ha/event_log.hpp"
#include "ha/flap_budget.hpp"
#include "ha/gate.hpp"
#include "ha/peer_link.hpp"
#include "ha/state_machine.hpp"
#include "routing/admission.hpp"
#include "routing/router.hpp"
#include "storage/redundancy_store.hpp"
#include "storage/store_writer.hpp"

namespace hexad {

/// This node's part in its redundancy group: watches Redis, the store and the other nodes, asks the state
/// machine what to do, and does it. Protocol thread.
///
/// A node becomes owner only by raising the partition's epoch, in the store first, then in Redis; evidence
/// alone (a silent peer) is never enough: the peer's lease must be gone.
class HaManager final : public ClusterNodes {
public:
    struct Parts {
        asio::io_context& io;
        const Config& config;
        std::string node;
        std::string version;
        ClusterBackend& cluster;
        EpochStore& epochs;
        RedundancyStore& redundancy;
        Router& router;
        Admission& admission;
    };
    explicit HaManager(Parts parts);
    ~HaManager() override;

    /// Watches what client service waits for; before anything else.
    void open_gate_when_ready();
    /// This node has read all routes.
    void has_routes() { has_routes_ = true; }
    /// Client service begins.
    void clients_come_in();
    /// What the gate waits for; empty: it is open.
    std::string gate_reason() const;

    /// Takes its place in the group and watches until `leave`.
    awaitable<void> run();
    /// A stop in order: announces it, lets the peer take over, and sends the clients there.
    awaitable<void> leave();

    /// Whether every other node that can be heard says that it does not reach Redis either: sessions may go
    /// on without it (docs/delivery.md, "Redis or PostgreSQL away").
    bool nobody_reaches_redis() const;

    NodeState state() const { return state_; }
    Reason reason() const { return reason_; }
    bool is_high_availability_on() const override { return settings_.high_availability; }
    bool serves(const std::string& home) const { return serving_.contains(home); }
    /// Where a client whose account has this home node is better off: the address of the node that serves it,
    /// if that is in another group and lets clients in. Empty: here.
    std::string better_host(const std::string& home) const;

    /// Whether one more session may be carried here; if not, it is counted and told. Resumptions are not
    /// asked.
    bool has_room_for_login();
    std::uint64_t sessions_limit() const;

    /// Partitions came to this node or left it: the rooms follow.
    std::function<void(const std::string& home, bool ours)> on_partition;
    /// Gives a room that this node has, or nobody, to another home node: empty, or why not.
    std::function<awaitable<std::string>(Jid room, std::string to, std::int64_t run)> move_room_here;
    /// Rooms in this node's memory, each with its home.
    std::function<std::map<std::string, std::string>()> rooms_here;
    /// Client listeners are to be opened or closed.
    std::function<void(bool open)> on_clients;
    /// Names of critical services that are down.
    std::function<std::vector<std::string>()> services_down;
    /// Agreements none of whose directory's hosts can be reached, each with the reason.
    std::function<std::map<std::string, std::string>()> directories_down;
    /// Whether clients were refused since then because there is no room for more connections.
    std::function<bool(SteadyClock::time_point since)> clients_refused;

    /// An administrator's command, `{"command": "failover", "node": "n1", …}`, sent on to the node it is for.
    /// The answer holds `error` if it was refused.
    awaitable<boost::json::object> command(boost::json::object request);
    /// Cluster → groups → nodes, as this node sees them (docs/redundancy-groups.md).
    awaitable<boost::json::object> topology(std::map<std::string, std::uint64_t> assigned);
    /// Redis, the store and the memory of all nodes, compared (docs/delivery.md, "Invariants"): `clean`,
    /// `findings`, counts. A finding was seen twice, a second and a half apart.
    awaitable<Result<boost::json::object>> verify();
    /// Store and Redis as each node reaches them.
    awaitable<boost::json::object> replication();
    /// What an administrator should know or mend, in plain words.
    awaitable<boost::json::object> doctor();
    /// As RedundancyStore::events; if the store does not answer, what this node could not store yet (id 0).
    awaitable<Result<std::vector<HaEvent>>> events(std::uint64_t after, std::string kind, std::size_t limit);

    // ---- ClusterNodes ----
    awaitable<std::vector<boost::json::object>> nodes(std::map<std::string, std::uint64_t> assigned) override;
    void tell(std::string kind, boost::json::object fields) override {
        log_.add(std::move(kind), std::move(fields));
    }
    awaitable<std::uint64_t> send_home(std::vector<Jid> accounts, std::string home) override;
    bool rooms_move() const override { return cluster_.protocol() >= rooms_move_since; }
    awaitable<std::string> move_room(Jid room, std::string home, std::string to, std::int64_t run) override;
    awaitable<bool> finish_room_move(RoomMove move) override;
    void set_overfull(std::string why) override { overfull_ = std::move(why); }

private:
    // manager.cpp: watching and deciding
    awaitable<void> watch_redis();
    awaitable<void> watch_store();
    void watch_clock();
    Situation situation();
    void tick();
    void perform(const Decision& decision);
    void enter(NodeState state, Reason reason, int transition);
    void fence(const Decision& decision);
    void restart(bool by_admin);
    void write_refused(std::string_view where, const Batch& batch, std::uint64_t now);
    awaitable<void> tell_refused(std::string where, std::string actor, std::uint64_t epoch,
                                 std::uint64_t now);
    void partition_moved(const std::string& home, const std::string& serving, std::uint64_t epoch);
    Owner owner_of(const std::string& home) const;
    bool is_blind() const;
    bool redis_fresh() const;
    bool store_fresh() const;
    bool store_answers() const;
    std::vector<std::string> problems();

    // alarms.cpp: what an administrator is told once
    void alarms(const Situation& s);
    void service_alarms(SteadyClock::time_point now);
    void back_end_alarms(const Situation& s, SteadyClock::time_point now);
    void alarm(bool now, bool& told, const char* kind, const char* over, boost::json::object fields);

    // canary_watch.cpp: whether the peer serves clients, and whether it says that this node does not
    awaitable<void> watch_service();
    bool may_judge_peer() const;
    void pause_canary();
    boost::json::value canary_report() const;
    milliseconds not_serving();
    std::vector<std::string> critical_down();

    // moves.cpp: what takes time; one at once
    awaitable<void> take_own(NodeState to, Reason reason);
    awaitable<std::string> take_over(Reason reason, int transition);
    awaitable<void> take_both(Reason reason, int transition);
    awaitable<std::string> take_back(Reason reason, int transition);
    awaitable<std::string> hand_over(NodeState to, Reason reason, int transition, bool hold);
    awaitable<std::uint64_t> move(std::string home);
    awaitable<std::uint64_t> adopt_sessions(std::string from);
    awaitable<void> release_clients(std::string target, milliseconds window);
    std::uint64_t release_accounts(const std::vector<Jid>& accounts, const std::string& target);
    bool may_take_clients(const std::string& node) const;
    awaitable<void> pause(milliseconds time);
    // carriers.cpp: sessions that nobody carries, or that are carried twice
    awaitable<void> watch_carriers();
    bool inherits_from_peer();
    awaitable<void> adopt_left(std::string from, std::vector<std::string> sids);
    // verify.cpp
    struct Carried {
        std::map<std::string, std::string> sessions, rooms;  ///< sid → epoch, room → home
    };
    std::map<std::string, std::string> carried() const;
    boost::json::object answer_carried(const boost::json::object& request) const;
    awaitable<bool> ask_carried(std::string node, Carried& carried);
    // room_moves.cpp
    awaitable<boost::json::object> answer_move_room(boost::json::object request);
    std::map<std::string, std::string> rooms_in_memory() const;
    awaitable<void> compare_rooms(Inspection& found);
    static void compare_rooms_of(const std::string& node, const std::map<std::string, std::string>& rooms,
                                 Inspection& found);
    awaitable<void> compare_memory(Inspection& found);
    awaitable<void> compare_store(Inspection& found);
    awaitable<Result<Inspection>> look();
    void failed(Reason reason, const std::string& step, int transition);

    // gate_watch.cpp
    awaitable<void> watch_gate();
    awaitable<void> find_bootstrap();
    void look_at_gate();
    awaitable<boost::json::object> override_gate(std::string node, std::int64_t for_seconds);

    // relogin.cpp
    void expect_clients_of(const std::string& node, bool unplanned);
    void adopted(const std::string& from, const std::vector<std::string>& sids);
    boost::json::value relogin_report();

    // health.cpp
    awaitable<boost::json::object> health();
    awaitable<std::map<std::string, boost::json::object>> health_of_all();
    boost::json::array certificates() const;

    // commands.cpp: what others ask for
    awaitable<boost::json::object> answer(std::string from, boost::json::object request);
    awaitable<boost::json::object> carry_out(std::string command, boost::json::object request);
    awaitable<boost::json::object> switch_availability(bool on, bool force);
    awaitable<boost::json::object> drain(bool on);

    // view.cpp: what is shown
    boost::json::object status();
    awaitable<std::map<std::string, boost::json::object>> reports();
    boost::json::array failover_checks(const std::map<std::string, boost::json::object>& reports,
                                       const std::map<std::string, std::uint64_t>& assigned,
                                       const std::string& from) const;
    boost::json::value service_of(const std::map<std::string, boost::json::object>& reports,
                                  const std::string& node) const;
    void register_metrics();

    asio::io_context& io_;
    const Config& config_;
    const HaTimers& timers_;
    std::string node_;
    std::string version_;
    std::string peer_;  ///< empty: a group of one
    ClusterBackend& cluster_;
    EpochStore& epochs_;
    RedundancyStore& redundancy_;
    Router& router_;
    Admission& admission_;
    EventLog log_;
    std::unique_ptr<PeerLink> link_;

    NodeState state_ = NodeState::initializing;
    Reason reason_ = Reason::initialization;
    Timestamp since_ = wall_now();
    SteadyClock::time_point entered_ = SteadyClock::now();
    SteadyClock::time_point progress_;  ///< the last session that was adopted or sent on
    SteadyClock::time_point started_ = SteadyClock::now();
    std::set<std::string> serving_;
    std::map<std::string, EpochStore::Partition> partitions_;  ///< as Redis says, by home
    std::map<std::string, EpochStore::Partition> stored_;      ///< as the store says
    std::map<std::string, std::uint64_t> served_;  ///< home → epoch under which this node last served it
    RedundancyStore::Settings settings_;

    struct Redis {
        SteadyClock::time_point answered{};
        bool peer_lease = false;
        SteadyClock::time_point peer_lease_gone{};
    } redis_;
    SteadyClock::time_point store_answered_{};
    SteadyClock::time_point services_down_since_{};
    SteadyClock::time_point healthy_since_ = SteadyClock::now();
    SteadyClock::time_point last_tick_ = SteadyClock::now();
    SteadyClock::time_point woke_{};  ///< the last time it had stood still
    SteadyClock::time_point recovered_{};
    int recoveries_ = 0;
    SteadyClock::time_point peer_only_since_ = SteadyClock::now();
    SteadyClock::time_point store_alone_since_ = SteadyClock::now();
    bool frozen_ = false;
    bool saw_peer_ = false;
    bool peer_stopping_ = false;
    bool asked_take_over_ = false;
    SteadyClock::time_point hand_over_refused_{};
    bool busy_ = false;  ///< a move is under way
    bool draining_ = false;
    bool stopping_ = false;
    std::string overfull_;
    bool told_link_down_ = false, told_redis_down_ = false, told_budget_ = false, told_alone_ = false,
         told_not_serving_ = false, told_sessions_ = false, told_store_down_ = false;
    std::set<std::string> told_directories_;
    std::uint64_t peer_sessions_ = 0;  ///< as it last told
    Counter* logins_refused_ = nullptr;
    SteadyClock::time_point login_refused_at_{};
    std::tuple<bool, bool, bool, bool> told_condition_{};
    SteadyClock::time_point redis_fresh_at_ = SteadyClock::now();
    SteadyClock::time_point refusals_since_{};
    int refusals_ = 0;
    CanaryJudge canary_;
    std::uint64_t canary_pauses_ = 0;
    SteadyClock::time_point not_served_at_{}, not_served_since_{};  ///< as the peer last told
    bool to_be_proved_ = false;  ///< … and it has not found since that this node serves
    Gate gate_;
    Gate::Conditions gate_sees_;
    bool gate_known_ = false;  ///< the store was asked
    bool has_routes_ = false;
    /// The clients of a node that was lost without a word.
    struct Relogin {
        std::string of;
        Timestamp at;
        SteadyClock::time_point since;
        milliseconds lower{0};               ///< from the loss to the take-over
        std::vector<std::string> resumable;  ///< sessions that wait for their clients
        std::uint64_t others = 0;            ///< … whose clients can only log in anew
        std::uint64_t early = 0;             ///< … that were back before they were counted
        std::uint64_t logins_before = 0, resumptions_before = 0, refused_before = 0;
        bool listed = false;
        std::uint64_t away = 0;
        SteadyClock::time_point counted{};
    };
    std::optional<Relogin> relogin_;
    std::uint64_t move_ = 0;  ///< a move that was given up sees another number
    FlapBudget budget_;
    asio::steady_timer timer_;
    asio::steady_timer clock_timer_;
};

}  // namespace hexad
