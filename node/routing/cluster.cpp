// A router in a cluster: what the streams tell it, batches that were refused, sessions that come and go
// between nodes.
#include "base/fail_point.hpp"
#include "base/ids.hpp"
#include "base/log.hpp"
#include "hooks/module.hpp"
#include "routing/router.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

void Router::join(ClusterBackend& backend, OfflineStore& offline) {
    cluster_ = &backend;
    offline_ = &offline;
    auto& events = backend.events;
    events.entry = [this](const std::string& sid, const LogEntry& entry) {
        const auto session = find_session(sid);
        if (!session) {
            if (const auto it = claiming_.find(sid); it != claiming_.end())
                it->second.entries.push_back(entry);
            return;
        }
        if (session->finished) return;
        fail_point("entry");
        session->entry(entry);
        if (session->has_gap() && !session->reading_gap) {
            session->reading_gap = true;
            asio::co_spawn(io_, read_gap(session), asio::detached);
        }
        if (session->over_limit()) kick(session, "policy-violation", "too many unacknowledged stanzas");
    };
    events.route = [this](const RouteChange& change, std::uint64_t version) {
        replace_namesake(change);
        apply_route(change);
        routes_.set_version(change.account, version);
    };
    events.gone = [this](const Jid& full, milliseconds ago) { remember_gone(full, ago); };
    events.notice = [this](const Notice& notice) { deliver_notice(notice); };
    events.room_input = [this](const RoomInput& input, std::uint64_t position) {
        RoomInputArrived event{input, position};
        hooks_.run(event);
    };
    events.room_home = [this](const Jid& room, const std::string& home) {
        if (home.empty()) {
            room_homes_.erase(room);
            return;
        }
        learn_room_home(room, home);
        RoomHomeMoved event{room, home};
        hooks_.run(event);
    };
    events.room_held = [this](const Jid& room) {
        RoomHeldElsewhere event{room};
        hooks_.run(event);
    };
    events.claimed = [this](const std::string& sid, const Jid& jid, const std::string& node) {
        const auto* entry = routes_.find_sid(jid.bare(), sid);
        if (entry == nullptr) return;
        RouteChange change;
        change.account = jid.bare();
        change.entry = *entry;
        change.entry.node = node;
        routes_.apply(change);
    };
    events.lost = [this](const std::string& sid) {
        if (const auto session = find_session(sid)) drop(session);
    };
    events.lost_early = [this](const std::string& sid) {
        if (const auto it = claiming_.find(sid); it != claiming_.end()) it->second.lost = true;
    };
    events.account_changed = [this](const Jid& account) {
        accounts_.forget_missing(account);
        if (accounts_.find(account)) {
            accounts_.mark_stale(account);
            asio::co_spawn(
                io_,
                [](AccountCache& cache, Jid jid) -> awaitable<void> { co_await cache.load(std::move(jid)); }(
                                                     accounts_, account),
                asio::detached);
        }
    };
    join_recovery(events);
    backend.home_of_room = [this](const Jid& room) { return home_of_room(room); };
    backend.account_name = [this](AccountId id) { return accounts_.name_of(id); };
    backend.nodes_of_account = [this](const Jid& account) {
        std::vector<std::string> nodes;
        if (const auto* route = routes_.find(account)) {
            for (const auto& entry : route->sessions) {
                if (std::find(nodes.begin(), nodes.end(), entry.node) == nodes.end())
                    nodes.push_back(entry.node);
            }
        }
        return nodes;
    };
}

/// Redis away, or back without what it knew (docs/delivery.md, "Redis or PostgreSQL away").
void Router::join_recovery(ClusterEvents& events) {
    events.active = [this](bool active) {
        for (const auto& [sid, session] : sessions_) {
            if (active) session->widen_window(false);
            if (session->wire != nullptr && !session->wants_pause()) session->wire->input_window_open();
        }
    };
    events.freeze = [this] {
        // Only now: of what one node alone keeps from Redis, another could take over no more than is looked
        // back for.
        for (const auto& [sid, session] : sessions_) {
            session->freeze();
            session->widen_window(true);
            if (session->wire != nullptr && !session->wants_pause()) session->wire->input_window_open();
        }
    };
    events.deliver_unlogged = [this](const Batch& batch) { return deliver_unlogged(batch); };
    events.carried_sids = [this] {
        // One that is being bound is not handed in: its client may have given up, and be elsewhere.
        std::vector<std::string> sids;
        for (const auto& [sid, session] : sessions_) {
            if (!session->binding) sids.push_back(sid);
        }
        return sids;
    };
    events.carried_epoch = [this](const std::string& sid) -> std::optional<Epoch> {
        const auto session = find_session(sid);
        if (!session) return std::nullopt;
        return session->state.epoch;
    };
    events.carried_session = [this](const std::string& sid) -> std::optional<CarriedSession> {
        const auto session = find_session(sid);
        if (!session) return std::nullopt;
        auto out = session->carried();
        const auto last = out.record.last;
        out.record = record_of(session);
        out.record.last = last;
        out.record.in = session->in_safe;
        if (session->closing) out.record.phase = SessionPhase::ending;
        return out;
    };
    events.refilled = [this](const std::string& sid, std::uint64_t base, const std::vector<LogEntry>& late) {
        if (const auto session = find_session(sid)) session->refilled(base, late);
    };
    events.carried_rooms = [this] {
        std::vector<CarriedRoom> rooms;
        RoomsCarried event{rooms};
        hooks_.run(event);
        return rooms;
    };
    events.known_routes = [this] {
        std::vector<std::pair<Jid, RouteEntry>> out;
        routes_.for_each([&out](const Jid& account, const Route& route) {
            for (const auto& entry : route.sessions) out.emplace_back(account, entry);
        });
        return out;
    };
    events.known_route = [this](const Jid& account) {
        const auto* route = routes_.find(account);
        return route == nullptr ? std::vector<RouteEntry>() : route->sessions;
    };
    events.route_version = [this](const Jid& account) { return routes_.version_of(account); };
    events.route_gone = [this](const Jid& account, const RouteEntry& entry) {
        if (routes_.find_sid(account, entry.sid) == nullptr) return;
        RouteChange change;
        change.account = account;
        change.entry = entry;
        change.ended = change.moves_version = true;
        if (entry.available)
            change.broadcast = make_presence(entry.jid, {}, "unavailable").to_string(ns::client);
        apply_route(change);
    };
    events.recovered = [this] { room_homes_.clear(); };
    events.fenced = [this] {
        std::vector<SessionPtr> all;
        for (const auto& [sid, session] : sessions_) all.push_back(session);
        for (const auto& session : all) drop(session);
        RoomsFenced event;
        hooks_.run(event);
    };
}

/// A batch whose effects all concern sessions of this node, while nobody reaches Redis: delivered, not
/// counted.
bool Router::deliver_unlogged(const Batch& batch) {
    const bool needs_redis = batch.room_step || batch.origin.source.empty() || !batch.sessions.empty() ||
                             !batch.filling.empty() || !batch.room_inputs.empty() ||
                             !batch.occupants.empty() || !batch.routes.empty() || !batch.accounts.empty() ||
                             !batch.documents.empty() || !batch.offline.empty();
    if (needs_redis) return false;
    for (const auto& append : batch.appends) {
        const auto target = find_session(append.sid);
        const bool waits = append.kind != EntryKind::iq && append.kind != EntryKind::transient;
        if (!target || target->closing || (waits && target->mode == SessionMode::filling)) return false;
    }
    for (const auto& notice : batch.notices) {
        const auto* route = routes_.find(notice.account);
        if (route == nullptr) continue;
        for (const auto& entry : route->sessions) {
            if (entry.node != options_.node) return false;
        }
    }
    for (const auto& append : batch.appends) {
        LogEntry entry;
        entry.kind = append.kind;
        entry.origin = append.origin;
        entry.stanza_id = append.stanza_id;
        entry.co_targets = append.co_targets;
        entry.xml = append.xml;
        if (const auto target = find_session(append.sid)) target->entry_unlogged(entry);
    }
    for (const auto& notice : batch.notices) deliver_notice(notice);
    return true;
}

/// Entries before some that have come are on their way with the answer to a fill; if they do not come, they
/// are read from the log.
awaitable<void> Router::read_gap(SessionPtr session) {
    while (session->has_gap() && !session->closing) {
        asio::steady_timer pause(io_, milliseconds(300));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        if (!session->has_gap() || session->filling_now || !cluster_->active()) continue;
        const auto missing = co_await cluster_->entries_after(session->state.sid, session->last_position());
        if (!missing) continue;
        log_warn("log_gap_read", {{"jid", session->state.jid.to_string()}, {"entries", missing->size()}});
        for (const auto& entry : *missing) session->entry(entry);
        session->skip_gap();
    }
    session->reading_gap = false;
}

// ---- batches that were decided on something that has changed ----

void Router::refused(const SessionPtr& session, const std::shared_ptr<Session::Input>& input,
                     const CommitOutcome& outcome) {
    if (outcome.status == CommitStatus::not_owner) {
        drop(session);
        return;
    }
    if (!session->deciding_again) {
        session->deciding_again = true;
        log_debug("decided_again",
                  {{"jid", session->state.jid.to_string()}, {"status", static_cast<int>(outcome.status)}});
    }
    if (outcome.status == CommitStatus::version_moved) session->reload_accounts = true;
    if (outcome.status == CommitStatus::route_moved) ++session->routes_refused;
    input->submitted = false;
    again_if_idle(session);
}

void Router::again_if_idle(const SessionPtr& session) {
    // What was submitted behind it comes back too; only then is everything decided anew, in order.
    const bool under_way = std::any_of(session->inputs.begin(), session->inputs.end(),
                                       [](const auto& i) { return i->submitted && !i->done; });
    if (!under_way) asio::co_spawn(io_, decide_again(session), asio::detached);
}

awaitable<void> Router::decide_again(SessionPtr session) {
    // Inputs that were committed in the meantime leave; the rest goes back to the unread ones.
    std::deque<Element> again;
    std::vector<OfflineStore::RowName> rows;
    std::set<Jid> decided_for;
    std::uint64_t first = 0;
    while (!session->inputs.empty()) {
        auto input = session->inputs.front();
        session->inputs.pop_front();
        const bool committed = input->done && input->submitted;
        if (committed && again.empty()) continue;
        for (const auto& row : input->batch.offline) rows.push_back({row.owner, row.stanza_id});
        for (const auto& check : input->checks) decided_for.insert(check.account);
        for (const auto& append : input->batch.appends) {
            if (const auto target = accounts_.name_of(append.owner)) decided_for.insert(*target);
        }
        if (input->original) {
            if (again.empty()) first = input->n;
            again.push_back(std::move(*input->original));
        }
    }
    // Rows that an earlier attempt put offline may be on their way to their owner already.
    if (!rows.empty()) co_await withdraw(session, std::move(rows));
    if (session->reload_accounts) {
        session->reload_accounts = false;
        co_await accounts_.reload(session->state.account->jid, true);
        for (const auto& xml : again) {
            if (const auto to = Jid::parse(xml.attr("to")); to && accounts_.find(to->bare()))
                co_await accounts_.reload(to->bare(), true);
        }
    } else {
        // The change that refused us is on its way through the stream.
        asio::steady_timer pause(io_, milliseconds(2));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        // Or it is not, and this node's replica is wrong.
        if (session->routes_refused >= patience_with_routes) {
            session->routes_refused = 0;
            for (const auto& account : decided_for) co_await cluster_->refresh_route(account);
        }
    }
    if (session->finished) co_return;
    if (session->sm && first > 0) session->in_submitted = first - 1;
    while (!again.empty()) {
        session->unread.push_front(std::move(again.back()));
        again.pop_back();
    }
    session->state.touch();
    session->deciding_again = false;
    session->looked_back = 0;
    pump(session);
}

// ---- sessions between nodes ----

void Router::drop(const SessionPtr& session) {
    if (session->closing) return;
    session->closing = session->finished = true;
    auto* wire = session->wire;
    session->detach();
    forget(session);
    log_info("session_lost", {{"jid", session->state.jid.to_string()}});
    if (wire != nullptr) wire->end("conflict", "resumed at another node");
}

void Router::close_streams(const std::string& condition) {
    std::vector<SessionPtr> all;
    for (const auto& [sid, session] : sessions_) all.push_back(session);
    for (const auto& session : all) {
        if (auto* wire = session->wire) {
            stream_lost(session, false);
            wire->end(condition, "");
        }
    }
}

awaitable<void> Router::release(SessionPtr session, std::string host) {
    session->leaving = true;
    asio::steady_timer pause(io_);
    for (int i = 0; i < 100; ++i) {
        if (session->unread.empty() && session->inputs.empty()) {
            if (session->in_safe >= session->in_read) break;
            schedule_advance(session);
        }
        pause.expires_after(milliseconds(10));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    session->leaving = false;
    auto* wire = session->wire;
    if (session->closing || wire == nullptr) co_return;
    // The last count, unasked: a client that knows it resends nothing.
    if (session->sm) session->answer_ack();
    stream_lost(session, false);
    wire->end(host.empty() ? "system-shutdown" : "see-other-host", host);
}

awaitable<SessionPtr> Router::build(ClaimedSession claimed) {
    auto& record = claimed.record;
    // Redis says that this node carries it: with the store away it is taken in as soon as that is back.
    auto account = co_await accounts_.load(record.jid.bare());
    while (!account && !stopping_) {
        asio::steady_timer pause(io_, milliseconds(200));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        account = co_await accounts_.load(record.jid.bare());
    }
    if (!account || !*account) co_return nullptr;
    if (auto other = find_session(record.sid); other && !other->closing) {
        // Adopted and resumed at the same moment: of two claims of one node the later one counts.
        other->state.epoch = std::max(other->state.epoch, record.epoch);
        co_return other;
    }
    auto session = new_session();
    session->state.sid = record.sid;
    session->state.jid = record.jid;
    session->state.account = *account;
    session->state.epoch = record.epoch;
    session->window = options_.resume_window;
    session->mode = record.mode;
    session->phase = record.phase;
    session->sm = session->resumable = record.resumable;
    session->restored = session->in_cluster = true;
    session->until = record.until;
    session->in_read = session->in_submitted = session->in_safe = record.in;
    expect_repeats(session);
    session->detach();
    if (!decode_state(record.state, session->state))
        log_warn("session_record_broken", {{"jid", record.jid.to_string()}});
    session->restore(claimed);
    session->route = route_entry(session->state, options_.node);
    session->routed = true;
    session->wants_tick = [this, weak = std::weak_ptr(session)] {
        if (auto s = weak.lock()) ticking_.insert(s);
    };
    sessions_[record.sid] = session;
    by_jid_[record.jid] = session;
    if (const auto it = claiming_.find(record.sid); it != claiming_.end()) {
        for (const auto& entry : std::exchange(it->second.entries, {})) session->entry(entry);
    }
    co_return session;
}

void Router::claim_ended(const std::string& sid) {
    const auto it = claiming_.find(sid);
    if (it == claiming_.end() || --it->second.claims > 0) return;
    const bool lost = it->second.lost;
    claiming_.erase(it);
    // Which of the two claims was the later one, Redis knows.
    if (lost && cluster_ != nullptr) asio::co_spawn(io_, cluster_->check_lost(sid), asio::detached);
}

awaitable<void> Router::adopt(std::string sid, std::string from) {
    claim_begins(sid);
    strays_.erase(sid);
    co_await adopt_now(sid, std::move(from));
    claim_ended(sid);
}

awaitable<void> Router::adopt_now(std::string sid, std::string from) {
    for (int attempt = 0; attempt < 100; ++attempt) {
        auto claimed = co_await cluster_->adopt(sid, from, wall_now() + options_.resume_window, false);
        if (!claimed && claimed.error() == ClaimRefusal::ending) {
            claimed = co_await cluster_->adopt(sid, from, wall_now(), true);
        }
        if (!claimed) {
            if (claimed.error() != ClaimRefusal::unavailable) co_return;
            asio::steady_timer pause(io_, milliseconds(100));
            co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
            continue;
        }
        const bool resumable = claimed->record.resumable && claimed->record.phase != SessionPhase::ending;
        const auto session = co_await build(std::move(*claimed));
        // Its client may have come at the same moment.
        if (!session || session->wire != nullptr) co_return;
        session->phase = SessionPhase::detached;
        if (!resumable) begin_end(session);
        co_return;
    }
}

std::vector<std::string> Router::without_carrier(const std::string& node) const {
    std::vector<std::string> out;
    const auto look = [&](const std::string& sid) {
        if (!sessions_.contains(sid) && !claiming_.contains(sid)) out.push_back(sid);
    };
    routes_.for_each([&](const Jid&, const Route& route) {
        for (const auto& entry : route.sessions) {
            if (entry.node == node) look(entry.sid);
        }
    });
    if (node == options_.node) std::for_each(strays_.begin(), strays_.end(), look);
    return out;
}

std::vector<std::string> Router::in_doubt() const {
    std::vector<std::string> out;
    for (const auto& [sid, session] : sessions_) {
        if (session->binding || session->closing || session->finished) continue;
        const auto* entry = routes_.find_sid(session->state.account->jid, sid);
        if (entry == nullptr || entry->node != options_.node) out.push_back(sid);
    }
    return out;
}

awaitable<bool> Router::evict_remote(Jid full) {
    bool was_available = false;
    for (int attempt = 0; attempt < 50; ++attempt) {
        const auto* entry = routes_.find_session(full);
        if (entry == nullptr) co_return was_available;
        if (entry->node == options_.node && find_session(entry->sid)) {
            was_available = was_available || entry->available;
            const auto old = find_session(entry->sid);
            old->replaced = true;
            kick(old, "conflict", "replaced by a new session");
        } else {
            was_available = was_available || entry->available;
            auto claimed = co_await cluster_->adopt(entry->sid, "", wall_now(), true);
            if (claimed) {
                if (const auto session = co_await build(std::move(*claimed))) {
                    session->replaced = true;
                    begin_end(session);
                }
            }
        }
        asio::steady_timer pause(io_, milliseconds(10));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return was_available;
}

/// Two nodes bound one full JID at the same moment. All nodes see the changes in one order: the later session
/// stays, the carrier of the earlier one ends it.
void Router::replace_namesake(const RouteChange& change) {
    if (change.ended || routes_.find_sid(change.account, change.entry.sid) != nullptr) return;
    const auto* former = routes_.find_session(change.entry.jid);
    if (former == nullptr || former->node != options_.node) return;
    const auto session = find_session(former->sid);
    if (!session || session->closing) return;
    session->replaced = session->outrun = true;
    kick(session, "conflict", "replaced by a new session");
}

void Router::resync(const SessionPtr& session) {
    greet(session, true);
    if (!session->state.rooms.empty()) asio::co_spawn(io_, refresh_rooms(session), asio::detached);
    // Who went away while the session was between two nodes is not in any log; the client hears it now.
    const auto& account = *session->state.account;
    for (const auto& [jid, item] : account.roster) {
        if (!item.has_to()) continue;
        const auto* route = routes_.find(jid.bare());
        const bool online = route != nullptr && std::any_of(route->sessions.begin(), route->sessions.end(),
                                                            [](const RouteEntry& e) { return e.available; });
        const auto tell = [&](const Jid& from) {
            session->push(make_bytes(make_presence(from, account.jid, "unavailable").to_string(ns::client)));
        };
        // By name where it is known: not every client takes a bare address for all resources.
        bool told = false;
        if (const auto gone = gone_.find(jid.bare()); gone != gone_.end()) {
            for (const auto& one : gone->second) {
                const auto* now = routes_.find_session(one.full);
                if (now != nullptr && now->available) continue;
                tell(one.full);
                told = true;
            }
        }
        if (!online && !told) tell(jid.bare());
    }
}

awaitable<void> Router::refresh_rooms(SessionPtr session) {
    const auto rooms = session->state.rooms;
    for (const auto& occupant : rooms) {
        if (cluster_ != nullptr && needs_room_home(occupant)) {
            const auto row = co_await store_.load_room(occupant.bare());
            if (!row || !*row) continue;
            learn_room_home(occupant.bare(), (*row)->home_node);
        }
        if (session->finished) co_return;
        RoomInput input;
        input.room = occupant.bare();
        input.origin = {"resync:" + session->state.sid + ':' + random_id(6), 1, 0};
        input.sid = session->state.sid;
        input.from = session->state.jid;
        input.xml = make_bytes(make_presence(session->state.jid, occupant, "probe").to_string(ns::client));
        Batch batch;
        batch.room_inputs.push_back(std::move(input));
        submit(std::move(batch));
    }
}

// ---- rooms ----

std::string Router::home_of_room(const Jid& room) const {
    const auto it = room_homes_.find(room);
    return it == room_homes_.end() ? options_.node : it->second;
}

void Router::learn_room_home(const Jid& room, const std::string& home) {
    if (cluster_ == nullptr) return;
    if (room_homes_.size() > 100000) room_homes_.clear();
    room_homes_[room] = home;
}

bool Router::needs_room_home(const Jid& to) const {
    std::string label;
    return !to.local().empty() && !is_local_host(to.domain()) &&
           !host_of_service(to.domain(), label).empty() && !room_homes_.contains(to.bare());
}

awaitable<void> Router::load_room_home(SessionPtr session, Jid room) {
    // Only who enters makes a room; whatever else is sent to a name that nobody uses is refused here.
    const auto& stanza = session->unread.front();
    const bool enters = stanza.name() == "presence" && !stanza.has_attr("type") &&
                        stanza.find("x", ns::muc) != nullptr && Jid::parse(stanza.attr("to"))->is_full();
    for (;;) {
        if (enters) {
            // The row decides where a room lives: two first joins on two nodes end in one room.
            if (const auto found = co_await store_.create_room(room, options_.node, {})) {
                learn_room_home(room, found->room.home_node);
                break;
            }
        } else if (const auto found = co_await store_.load_room(room)) {
            if (*found) {
                learn_room_home(room, (*found)->home_node);
            } else {
                session->homeless = room;
            }
            break;
        }
        if (session->finished) break;
        asio::steady_timer pause(io_, milliseconds(500));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    session->loading = false;
    pump(session);
}

}  // namespace hexad
