#include "ha/manager.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/json.hpp>

#include "base/fail_point.hpp"
#include "base/log.hpp"
#include "cluster/protocol.hpp"
#include "ha/elapsed.hpp"
#include "ha/json_fields.hpp"
#include "placement/capacity.hpp"

namespace hexad {

namespace json = boost::json;

HaManager::HaManager(Parts parts)
    : io_(parts.io),
      config_(parts.config),
      timers_(parts.config.timers),
      node_(std::move(parts.node)),
      version_(std::move(parts.version)),
      cluster_(parts.cluster),
      epochs_(parts.epochs),
      redundancy_(parts.redundancy),
      router_(parts.router),
      admission_(parts.admission),
      log_(io_, redundancy_, node_),
      canary_(timers_.service_down),
      gate_(timers_.gate_timeout, SteadyClock::now()),
      budget_(timers_.automatic_moves),
      timer_(io_),
      clock_timer_(io_) {
    settings_.high_availability = config_.high_availability;
    for (const auto& n : config_.group_of(node_)->nodes) {
        if (n.name != node_) peer_ = n.name;
    }
    cluster_.events.partition = [this](const std::string& home, const std::string& serving,
                                       std::uint64_t epoch) { partition_moved(home, serving, epoch); };
    cluster_.on_refused = [this](std::string_view where, const Batch& batch, std::uint64_t now) {
        write_refused(where, batch, now);
    };
    if (!config_.peer_tls.cert.empty()) {
        PeerLink::Options options;
        options.cluster = config_.id;
        options.node = node_;
        options.address = config_.node(node_)->address;
        options.port = config_.peer_port;
        options.tls = config_.peer_tls;
        for (const auto& group : config_.groups) {
            for (const auto& n : group.nodes) options.nodes.push_back(n);
        }
        options.heartbeat = timers_.heartbeat;
        options.timeout = timers_.peer_timeout;
        options.hello = {
            {"version", version_}, {"config", config_.hash}, {"protocol", to_json(spoken_protocol)}};
        link_ = std::make_unique<PeerLink>(io_, std::move(options));
        link_->status = [this] { return status(); };
        link_->answer = [this](std::string from, json::object request) {
            return answer(std::move(from), std::move(request));
        };
        link_->on_change = [this](const std::string& node, bool up) {
            log_info("peer_link", {{"node", node_}, {"peer", node}, {"up", up}});
            // If it died, its clients are here before its lease is known to be over; they may come to any
            // node.
            const bool announced = node == peer_ ? peer_stopping_ : flag(link_->view(node).told, "stopping");
            if (!up && !announced) admission_.holds_for(timers_.lease + timers_.peer_timeout);
        };
    }
    // Whether this node reaches Redis decides what the others do: they hear it at once.
    cluster_.on_state = [this](bool) {
        if (!link_) return;
        for (const auto& group : config_.groups) {
            for (const auto& n : group.nodes) {
                if (n.name != node_) link_->tell(n.name);
            }
        }
    };
    register_metrics();
}

HaManager::~HaManager() = default;

awaitable<void> HaManager::run() {
    if (link_) link_->start();
    asio::co_spawn(io_, watch_redis(), asio::detached);
    asio::co_spawn(io_, watch_store(), asio::detached);
    asio::co_spawn(io_, watch_service(), asio::detached);
    asio::co_spawn(io_, watch_carriers(), asio::detached);
    last_tick_ = SteadyClock::now();
    watch_clock();
    while (!stopping_) {
        tick();
        timer_.expires_after(state_ == NodeState::initializing ? milliseconds(50) : timers_.heartbeat / 4);
        co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

// ---- watching ----

awaitable<void> HaManager::watch_redis() {
    while (!stopping_) {
        std::vector<std::string> homes{node_};
        if (!peer_.empty()) homes.push_back(peer_);
        const auto asked = SteadyClock::now();
        const auto partitions = co_await cluster_.partitions(homes);
        if (partitions) {
            for (const auto& [home, p] : *partitions) {
                if (!p.serving.empty()) partition_moved(home, p.serving, p.epoch);
            }
            if (!peer_.empty()) {
                std::vector<std::string> peers{peer_};
                const auto leases = co_await cluster_.leases(std::move(peers));
                if (leases) {
                    const bool held = leases->at(peer_);
                    if (redis_.peer_lease && !held) redis_.peer_lease_gone = SteadyClock::now();
                    redis_.peer_lease = held;
                    redis_.answered = asked;
                    saw_peer_ = saw_peer_ || held;
                }
            } else {
                redis_.answered = asked;
            }
        }
        if (redis_fresh()) co_await cluster_.put_node_state(node_, json::serialize(status()));
        co_await pause(state_ == NodeState::initializing ? milliseconds(100) : timers_.heartbeat / 2);
    }
}

awaitable<void> HaManager::watch_store() {
    while (!stopping_) {
        const auto asked = SteadyClock::now();
        const auto rows = co_await epochs_.partitions();
        Result<RedundancyStore::Settings> settings(RedundancyStore::Settings{});
        if (rows) settings = co_await redundancy_.settings();
        if (rows && settings) {
            for (const auto& row : *rows) {
                auto& known = stored_[row.home];
                if (row.epoch >= known.epoch) known = row;
            }
            settings_ = *settings;
            if (!settings_.changed) settings_.high_availability = config_.high_availability;
            store_answered_ = asked;
        }
        co_await pause(state_ == NodeState::initializing ? milliseconds(100) : timers_.heartbeat / 2);
    }
}

void HaManager::watch_clock() {
    // A process that stood still until its lease was over may have been taken over: whatever its sockets hold
    // is stale. One that was only slow has its clients still; to turn them away would make it slower.
    clock_timer_.expires_after(milliseconds(100));
    clock_timer_.async_wait([this](error_code error) {
        if (error || stopping_) return;
        fail_point("turn");
        const auto now = SteadyClock::now();
        if (now - last_tick_ > timers_.lease / 2) {
            const auto stood = elapsed(last_tick_, now).count();
            log_warn("stood_still", {{"node", node_}, {"stood_still_ms", std::int64_t{stood}}});
            // What was seen of others is as old; that the store said nothing meanwhile says nothing of it.
            redis_.answered = {};
            store_answered_ += now - last_tick_;
            woke_ = now;
            pause_canary();
            if (now >= cluster_.lease_until()) {
                router_.close_streams("system-shutdown");
                if (serves_own(state_)) fence({Step::fence, NodeState::fenced, Reason::isolated, 16});
            }
        }
        last_tick_ = now;
        watch_clock();
    });
}

bool HaManager::redis_fresh() const {
    // The lease is renewed several times in its length: half of it without is trouble.
    return cluster_.active() && cluster_.lease_until() - SteadyClock::now() >= timers_.lease / 2;
}

bool HaManager::nobody_reaches_redis() const {
    if (!link_) return peer_.empty();
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) {
            if (n.name == node_) continue;
            const auto& view = link_->view(n.name);
            if (view.up) {
                if (view.told.empty() || flag(view.told, "redis")) return false;
            } else if (!view.closed && elapsed(view.since, SteadyClock::now()) < timers_.lease * 11 / 10) {
                return false;  // silent for a moment only: it may well reach Redis
            }
        }
    }
    return true;
}

bool HaManager::store_fresh() const {
    return elapsed(store_answered_, SteadyClock::now()) < timers_.peer_timeout;
}

bool HaManager::store_answers() const {
    return elapsed(store_answered_, SteadyClock::now()) < 2 * timers_.heartbeat;
}

std::vector<std::string> HaManager::problems() {
    auto out = critical_down();
    if (elapsed(store_answered_, SteadyClock::now()) >= timers_.store_down) out.emplace_back("store");
    return out;
}

Owner HaManager::owner_of(const std::string& home) const {
    EpochStore::Partition best;
    for (const auto* table : {&stored_, &partitions_}) {
        const auto it = table->find(home);
        if (it != table->end() && it->second.epoch >= best.epoch) best = it->second;
    }
    if (best.serving.empty()) return Owner::nobody;
    return best.serving == node_ ? Owner::self : Owner::peer;
}

Situation HaManager::situation() {
    const auto now = SteadyClock::now();
    Situation s;
    s.state = state_;
    s.reason = reason_;
    s.in_state = elapsed(entered_, now);
    s.since_progress = elapsed(progress_, now);
    s.uptime = elapsed(started_, now);
    s.paired = !peer_.empty();
    s.enabled = settings_.high_availability;
    s.redis = redis_fresh() && elapsed(redis_.answered, now) < timers_.peer_timeout;
    s.lease_over = now >= cluster_.lease_until();
    s.store = store_fresh();
    s.trust_leases = s.redis && now - cluster_.connected_since() >= timers_.lease * 11 / 10 &&
                     elapsed(redis_.answered, now) < 2 * timers_.heartbeat;
    s.peer_lease = redis_.peer_lease;
    s.peer_lease_gone = s.peer_lease ? milliseconds(0) : elapsed(redis_.peer_lease_gone, now);
    s.peer_seen = saw_peer_;
    if (link_ && s.paired) {
        const auto& view = link_->view(peer_);
        s.link = view.up && !view.told.empty();
        s.link_closed = view.closed;
        if (s.link) {
            s.peer_redis = flag(view.told, "redis");
            s.peer_store = flag(view.told, "store");
            s.peer_healthy = flag(view.told, "healthy");
            if (const auto* ms = view.told.if_contains("unhealthy_ms"); ms != nullptr && ms->is_int64())
                s.peer_unhealthy = milliseconds(ms->as_int64());
            s.peer_state = node_state_of(text(view.told, "state")).value_or(NodeState::unknown);
            s.peer_version_fits = fit(protocol_of(view.hello), spoken_protocol);
            peer_stopping_ = flag(view.told, "stopping");
            if (const auto* n = view.told.if_contains("sessions"); n != nullptr && n->is_int64())
                peer_sessions_ = static_cast<std::uint64_t>(n->as_int64());
        }
    }
    frozen_ = !s.redis && (frozen_ || (s.link && !s.peer_redis));
    s.was_frozen = frozen_;
    if (s.redis || !s.link || !s.peer_redis) peer_only_since_ = now;
    s.peer_only = elapsed(peer_only_since_, now);
    if (!s.link || !s.peer_store || store_answers()) store_alone_since_ = now;
    s.store_alone = elapsed(store_alone_since_, now);
    s.peer_stopping = peer_stopping_;
    s.own = owner_of(node_);
    s.peers = s.paired ? owner_of(peer_) : Owner::nobody;
    for (const auto& home : settings_.held) {
        s.held = s.held || home == node_;
        s.peer_held = s.peer_held || home == peer_;
    }

    s.services_up = critical_down().empty();
    if (s.services_up) {
        services_down_since_ = {};
    } else if (services_down_since_ == SteadyClock::time_point{}) {
        services_down_since_ = now;
    }
    // The peer has looked for as long as a service may be down before it says that clients do not get in.
    if (!s.services_up)
        s.unhealthy = std::max({milliseconds(1), elapsed(services_down_since_, now), not_serving()});
    // The store has a grace of its own; at its end the node is as unfit as one whose service is down.
    const auto without_store = elapsed(store_answered_, now);
    if (without_store >= timers_.store_down)
        s.unhealthy = std::max(s.unhealthy, without_store - timers_.store_down + timers_.service_down);
    if (s.unhealthy > milliseconds(0) || to_be_proved_ || !s.redis || !s.store) healthy_since_ = now;
    s.healthy = elapsed(healthy_since_, now);
    s.budget = budget_.left(now);
    s.asked_take_over = asked_take_over_;
    s.recoveries = recoveries_;
    s.since_recovery = std::min(elapsed(recovered_, now), s.in_state);
    return s;
}

// ---- deciding ----

/// After this thread stood still: Redis and the store have not answered since, and had little time to.
bool HaManager::is_blind() const {
    return elapsed(woke_, SteadyClock::now()) < 2 * timers_.heartbeat &&
           (redis_.answered < woke_ || store_answered_ < woke_);
}

void HaManager::tick() {
    // What it does not know yet is no reason to give its users away.
    if (is_blind() && SteadyClock::now() < cluster_.lease_until()) return;
    const auto now = situation();
    if (!may_judge_peer()) pause_canary();
    alarms(now);
    // What the peer decides by is told at once, not with the next heartbeat.
    const auto condition = std::tuple(now.redis, now.store, now.unhealthy > milliseconds(0),
                                      canary_.verdict() == CanaryJudge::Verdict::not_serving);
    if (condition != told_condition_ && link_ && !peer_.empty()) link_->tell(peer_);
    told_condition_ = condition;
    if (now.redis) asked_take_over_ = false;
    look_at_gate();
    if (!gate_.passed()) return;
    const auto decision = decide(now, timers_);
    // While a move is under way only its time limit and the loss of ownership interrupt it.
    if (busy_ && decision.step != Step::fence && decision.transition != 14) return;
    if (decision.step != Step::stay) perform(decision);
}

void HaManager::perform(const Decision& d) {
    switch (d.step) {
        case Step::stay:
            break;
        case Step::enter:
            if (d.transition == 14 || d.transition == 13) {
                failed(d.reason, std::string(name_of(state_)), d.transition);
            } else {
                enter(d.to, d.reason, d.transition);
            }
            break;
        case Step::fence:
            fence(d);
            break;
        case Step::restart:
            restart(false);
            break;
        case Step::take_own:
            busy_ = true;
            asio::co_spawn(io_, take_own(d.to, d.reason), asio::detached);
            break;
        case Step::take_over:
            busy_ = true;
            budget_.spend(SteadyClock::now());
            asio::co_spawn(io_, take_over(d.reason, d.transition), asio::detached);
            break;
        case Step::take_both:
            busy_ = true;
            budget_.spend(SteadyClock::now());
            asio::co_spawn(io_, take_both(d.reason, d.transition), asio::detached);
            break;
        case Step::take_back:
            busy_ = true;
            budget_.spend(SteadyClock::now());
            asio::co_spawn(io_, take_back(d.reason, d.transition), asio::detached);
            break;
        case Step::hand_over:
            // The peer has just said why it cannot: that is asked again when something may have changed.
            if (elapsed(hand_over_refused_, SteadyClock::now()) < timers_.peer_timeout) break;
            busy_ = true;
            budget_.spend(SteadyClock::now());
            if (d.reason == Reason::state_store_lost) asked_take_over_ = true;
            asio::co_spawn(io_, hand_over(d.to, d.reason, d.transition, false), asio::detached);
            break;
    }
}

void HaManager::enter(NodeState state, Reason reason, int transition) {
    if (state == state_ && reason == reason_) return;
    json::object fields{{"from", name_of(state_)}, {"to", name_of(state)}, {"reason", name_of(reason)}};
    const auto own = partitions_.find(node_);
    fields["epoch"] = own == partitions_.end() ? stored_[node_].epoch : own->second.epoch;
    if (transition != 0) fields["transition"] = "T" + std::to_string(transition);
    log_.add("HaStateChanged", std::move(fields));
    const bool same = state == state_;
    state_ = state;
    reason_ = reason;
    since_ = wall_now();
    if (!same) entered_ = SteadyClock::now();
    if (state != NodeState::failed && state != NodeState::initializing && !is_moving(state)) recoveries_ = 0;
    if (on_clients) on_clients(takes_clients(state_) && !draining_ && !stopping_);
    if (link_ && !peer_.empty()) link_->tell(peer_);
    // While starting, what is seen is a few milliseconds old; do not wait for the next look.
    timer_.cancel();
}

void HaManager::fence(const Decision& d) {
    ++move_;
    busy_ = false;
    json::object fields{{"reason", name_of(d.reason)}};
    fields["epoch"] = served_[node_];
    fields["epoch_now"] = partitions_[node_].epoch;
    log_.add("NodeFenced", std::move(fields));
    enter(NodeState::fenced, d.reason, d.transition);
    router_.close_streams("system-shutdown");
}

void HaManager::restart(bool by_admin) {
    ++move_;
    busy_ = false;
    if (state_ == NodeState::failed) {
        recovered_ = SteadyClock::now();
        recoveries_ = by_admin ? 0 : recoveries_ + 1;
    }
    enter(NodeState::initializing, by_admin ? Reason::admin_request : Reason::initialization,
          by_admin ? 15 : 16);
}

void HaManager::partition_moved(const std::string& home, const std::string& serving, std::uint64_t epoch) {
    auto& known = partitions_[home];
    if (epoch < known.epoch) return;
    known = {home, serving, epoch};
    const bool ours = serving == node_;
    if (ours) served_[home] = epoch;
    if (ours == serving_.contains(home)) return;
    if (ours) {
        serving_.insert(home);
    } else {
        serving_.erase(home);
    }
    if (on_partition) on_partition(home, ours);
    if (!ours) timer_.cancel();
}

/// What a node that was taken over meanwhile still tries to write. A few of each minute are told in full.
void HaManager::write_refused(std::string_view where, const Batch& batch, std::uint64_t now) {
    const auto at = SteadyClock::now();
    if (at - refusals_since_ > std::chrono::minutes(1)) {
        refusals_since_ = at;
        refusals_ = 0;
    }
    if (++refusals_ > 20) return;
    auto actor = batch.origin.source;
    auto epoch = batch.epoch.e;
    if (batch.room_step) {
        actor = actor.substr(actor.find(':') + 1);
        const auto room = Jid::parse(actor);
        // Redis fences rooms by the partition's epoch, the store by the room's own.
        if (where == "state-store" && room) epoch = served_[router_.home_of_room(*room)];
    }
    asio::co_spawn(io_, tell_refused(std::string(where), std::move(actor), epoch, now), asio::detached);
}

awaitable<void> HaManager::tell_refused(std::string where, std::string actor, std::uint64_t epoch,
                                        std::uint64_t now) {
    const auto jid = Jid::parse(actor);
    if (now == 0 && jid && !jid->local().empty()) {
        const auto room = co_await router_.store().load_room(*jid);
        if (room && *room) now = (*room)->epoch;
    }
    log_.add("WriteRefused", {{"where", where}, {"actor", actor}, {"epoch", epoch}, {"epoch_now", now}});
}

std::uint64_t HaManager::sessions_limit() const {
    SessionShare share;
    share.capacity = config_.node(node_)->capacity;
    if (!peer_.empty() && settings_.high_availability) {
        share.peer_capacity = config_.node(peer_)->capacity;
        share.peer_sessions = peer_sessions_;
        share.alone = serving_.contains(peer_) || !redis_.peer_lease;
        if (link_ && link_->view(peer_).up && !link_->view(peer_).told.empty()) {
            const auto& told = link_->view(peer_).told;
            const auto state = node_state_of(text(told, "state")).value_or(NodeState::unknown);
            share.alone =
                share.alone || !takes_clients(state) || flag(told, "draining") || flag(told, "stopping");
        }
    }
    return session_limit(share);
}

bool HaManager::has_room_for_login() {
    // Who is between two streams is counted only while he comes back.
    const auto limit = sessions_limit();
    if (router_.sessions().size() < limit || router_.attached() < limit) return true;
    logins_refused_->add();
    login_refused_at_ = SteadyClock::now();
    return false;
}

awaitable<void> HaManager::pause(milliseconds time) {
    asio::steady_timer timer(io_, time);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

namespace {

using Events = Result<std::vector<HaEvent>>;

/// What `read_events` waits for: the answer, or the end of its patience.
struct EventsRead {
    EventsRead(asio::io_context& io, milliseconds patience) : timer(io, patience) {}
    asio::steady_timer timer;
    std::optional<Events> answer;
};

awaitable<void> read_events(std::shared_ptr<EventsRead> read, RedundancyStore& store, std::uint64_t after,
                            std::string kind, std::size_t limit) {
    read->answer = co_await store.events(after, std::move(kind), limit);
    read->timer.cancel();
}

}  // namespace

awaitable<Events> HaManager::events(std::uint64_t after, std::string kind, std::size_t limit) {
    auto read = std::make_shared<EventsRead>(io_, milliseconds(told_store_down_ ? 500 : 2000));
    asio::co_spawn(io_, read_events(read, redundancy_, after, kind, limit), asio::detached);
    co_await read->timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (read->answer && *read->answer) co_return std::move(*read->answer);
    // What a node has to tell most urgently is why the store does not answer.
    if (log_.waiting() > 0) co_return log_.not_stored(kind, limit);
    co_return make_error_code(StorageError::unavailable);
}

}  // namespace hexad
