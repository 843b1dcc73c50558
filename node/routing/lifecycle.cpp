#include "base/fail_point.hpp"
#include "base/log.hpp"
#include "routing/router.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

constexpr std::size_t max_sessions_per_account = 100;
constexpr int most_bind_attempts = 50;
constexpr std::size_t ends_at_once = 64;  ///< of sessions that are over together
constexpr seconds patience{20};  ///< of a resume, with a store that is away or a session that is ending

/// What a callback will bring, to wait for.
template <class T>
class Awaited {
public:
    explicit Awaited(asio::io_context& io) : timer_(io, asio::steady_timer::time_point::max()) {}
    void set(T value) {
        value_ = std::move(value);
        timer_.cancel();
    }
    awaitable<T> get() {
        while (!value_) co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
        co_return *value_;
    }

private:
    asio::steady_timer timer_;
    std::optional<T> value_;
};

/// Submits a batch and waits until it is safe.
awaitable<bool> committed(Router& router, asio::io_context& io, Batch batch) {
    const auto ok = std::make_shared<Awaited<bool>>(io);
    router.submit(std::move(batch), [ok](bool value) { ok->set(value); });
    co_return co_await ok->get();
}

awaitable<void> pause(asio::io_context& io, milliseconds time) {
    asio::steady_timer timer(io, time);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace

awaitable<error_code> Router::start() {
    auto records = co_await log_.load_sessions();
    if (!records) co_return records.error();
    for (auto& record : *records) {
        auto account = co_await accounts_.load(record.jid.bare());
        if (!account) co_return account.error();
        if (!*account || !record.resumable || record.phase == SessionPhase::ending) {
            co_await log_.end(record.sid, record.epoch);
            continue;
        }
        auto session = new_session();
        session->state.sid = record.sid;
        session->state.jid = record.jid;
        session->state.account = *account;
        session->state.epoch = record.epoch;
        session->mode = record.mode;
        session->sm = session->resumable = true;
        session->restored = true;
        session->in_read = session->in_submitted = session->in_safe = record.in;
        session->detach();
        if (!decode_state(record.state, session->state)) {
            log_warn("session_record_broken", {{"jid", record.jid.to_string()}});
            co_await log_.end(record.sid, record.epoch);
            continue;
        }
        session->phase = SessionPhase::detached;
        session->until = wall_now() + options_.resume_window;
        session->route = route_entry(session->state, options_.node);
        session->routed = true;
        sessions_[record.sid] = session;
        by_jid_[record.jid] = session;
        RouteChange change;
        change.account = (*account)->jid;
        change.entry = session->route;
        change.moves_version = true;
        routes_.apply(change);
    }
    log_info("sessions_restored", {{"count", static_cast<std::uint64_t>(sessions_.size())}});
    asio::co_spawn(io_, sweep(), asio::detached);
    NodeStarted started;
    hooks_.run(started);
    co_return error_code{};
}

/// XEP-0045 §11.2: whoever cannot resume loses its places in rooms with this stream.
void Router::tell_rooms_close(const SessionPtr& session) {
    for (const auto& occupant : session->state.rooms) {
        auto presence = make_presence(occupant, session->state.jid, "unavailable");
        Element x("x", ns::muc_user);
        x.add(Element("item", ns::muc_user).set("affiliation", "none").set("role", "none"));
        for (const auto* code : {"110", "332"}) x.add(Element("status", ns::muc_user).set("code", code));
        presence.add(std::move(x));
        session->push(make_bytes(presence.to_string(ns::client)));
    }
}

awaitable<void> Router::stop() {
    stopping_ = true;
    std::vector<SessionPtr> all;
    for (const auto& [sid, session] : sessions_) all.push_back(session);
    for (int i = 0; i < 500; ++i) {  // what was read is finished first; at most five seconds
        const bool busy = std::any_of(all.begin(), all.end(), [](const SessionPtr& s) {
            return !s->inputs.empty() || !s->unread.empty();
        });
        if (!busy) break;
        co_await pause(io_, milliseconds(10));
    }
    for (const auto& session : all) {
        if (auto* wire = session->wire) {
            if (!session->resumable) tell_rooms_close(session);
            stream_lost(session, false);
            wire->end("system-shutdown", "");
        }
    }
    for (int i = 0; i < 500; ++i) {
        const bool ending = std::any_of(all.begin(), all.end(), [&](const SessionPtr& s) {
            return s->closing && sessions_.contains(s->state.sid);
        });
        if (!ending && committer_.pending_bytes() == 0) break;
        co_await pause(io_, milliseconds(10));
    }
    sweep_timer_.cancel();
}

awaitable<Result<SessionPtr, StanzaError>> Router::bind(Jid bare, std::string resource, Wire& wire) {
    if (stopping_) co_return StanzaError::resource_constraint("the server is stopping");
    if (resource.empty()) resource = random_id(8);
    bool inherits = false;
    for (int attempt = 1;; ++attempt) {
        auto account = co_await accounts_.load(bare);
        if (!account) co_return StanzaError::try_again();
        if (!*account || (*account)->state != AccountState::active) co_return StanzaError::not_allowed();
        const auto full = (*account)->jid.with_resource(resource);
        if (!full) co_return StanzaError::bad_request("the resource is not acceptable");
        inherits = co_await evict(*full) || inherits;
        const auto* route = routes_.find(bare);
        if (route != nullptr && route->sessions.size() >= max_sessions_per_account) {
            co_return StanzaError::resource_constraint("too many sessions of this account");
        }
        auto session = new_session();
        session->state.sid = random_id(16);
        session->state.jid = *full;
        session->state.account = *account;
        session->in_cluster = cluster_ != nullptr;
        session->window = options_.resume_window;
        session->wants_tick = [this, weak = std::weak_ptr(session)] {
            if (auto s = weak.lock()) ticking_.insert(s);
        };
        session->attach(wire);
        session->inherits_presence = inherits;
        const auto status = co_await commit_bind(session);
        if (status != CommitStatus::ok) {
            forget(session);
            if (status != CommitStatus::route_moved || attempt == most_bind_attempts)
                co_return StanzaError::try_again();
            // Somebody else bound, came or went; the news is on its way, unless this node's replica is wrong.
            if (attempt % patience_with_routes == 0) co_await cluster_->refresh_route(bare);
            co_await pause(io_, milliseconds(2));
            continue;
        }
        session->binding = false;
        if (inherits) asio::co_spawn(io_, drop_inherited(session), asio::detached);
        // What is meant for the session goes by the routes: it is theirs before its client hears that it is
        // bound.
        for (int i = 0;
             i < 5000 && !session->closing && routes_.find_sid(bare, session->state.sid) == nullptr; ++i)
            co_await pause(io_, milliseconds(1));
        co_return session;
    }
}

/// An older session of this name ends with `conflict`. Its farewell comes before the new one's greeting, or
/// contacts would be left with the former. Whether the new one has an availability to take over.
awaitable<bool> Router::evict(Jid full) {
    bool inherits = false;
    for (auto old = find_full(full); old; old = find_full(full)) {
        // Contacts see no flap: the new session takes the old one's availability over until it speaks for
        // itself.
        if (!old->closing && (old->state.available || old->inherits_presence))
            inherits = old->replaced = true;
        kick(old, "conflict", "replaced by a new session");
        co_await pause(io_, milliseconds(1));
    }
    if (cluster_ != nullptr) inherits = co_await evict_remote(full) || inherits;
    co_return inherits;
}

awaitable<CommitStatus> Router::commit_bind(SessionPtr session) {
    auto& state = session->state;
    sessions_[state.sid] = session;
    by_jid_[state.jid] = session;
    Batch batch;
    SessionBound event{state, batch};
    hooks_.run(event);
    RouteChange change;
    change.account = state.account->jid;
    change.entry = session->route = route_entry(state, options_.node);
    change.moves_version = true;
    session->routed = true;
    state.epoch = {cluster_ != nullptr ? cluster_->generation() : 0, 0};
    // On one node the route is true at once: a second bind of the same name must see this one.
    if (committer_.never_refuses()) {
        routes_.apply(change);
    } else {
        // A bind that was under way for so long that its client has given up must not end the session that
        // the client has bound elsewhere since.
        batch.checks.push_back({change.account, routes_.version_of(change.account)});
    }
    batch.routes.push_back(std::move(change));
    batch.sessions.push_back(record_of(session));
    batch.sessions.back().fresh = true;
    batch.withdrawn = session->given_up;
    session->binding = true;
    const auto status = std::make_shared<Awaited<CommitStatus>>(io_);
    commit(std::move(batch), [status](CommitStatus value, Batch&) { status->set(value); });
    co_return co_await status->get();
}

SessionPtr Router::find_full(const Jid& full) const {
    const auto it = by_jid_.find(full);
    return it == by_jid_.end() ? nullptr : it->second;
}

awaitable<bool> Router::enable(SessionPtr session, bool resumable, seconds wanted) {
    // What came before <enable/> is not counted by the client; it is finished first so that the counters
    // start clean.
    while (!session->finished && (!session->unread.empty() || !session->inputs.empty())) {
        co_await pause(io_, milliseconds(1));
    }
    if (session->finished || session->sm) co_return false;
    session->resumable = resumable;
    session->window =
        resumable ? std::min(wanted.count() > 0 ? wanted : options_.resume_window, options_.resume_window)
                  : seconds(0);
    Batch batch;
    batch.sessions.push_back(record_of(session));
    co_return co_await committed(*this, io_, std::move(batch));
}

namespace {

/// Whether nobody had a session between these two epochs; a generation of Redis counts from 1.
bool follows_on(const Epoch& before, const Epoch& claimed) {
    return claimed.g == before.g ? claimed.e == before.e + 1 : claimed.e == 1;
}

}  // namespace

awaitable<Result<SessionPtr, SessionRefusal>> Router::resume(std::string sid, Jid bare, std::uint32_t h,
                                                             Wire& wire) {
    const SessionRefusal not_found{"cancel", "item-not-found", 0, false};
    auto session = find_session(sid);
    if (!session && cluster_ != nullptr) {
        // Not claimed before it can be carried: with the store away its carrier goes on meanwhile.
        auto account = co_await accounts_.load(bare);
        for (const auto end = SteadyClock::now() + patience; !account && SteadyClock::now() < end;) {
            co_await pause(io_, milliseconds(200));
            account = co_await accounts_.load(bare);
        }
        if (!account) co_return SessionRefusal{"wait", "resource-constraint", 0, false};
        if (!*account) co_return not_found;
        claim_begins(sid);
        auto claimed = co_await log_.claim(sid, (*account)->id, options_.node);
        if (claimed) {
            fail_point("claimed");
            session = co_await build(std::move(*claimed));
        }
        claim_ended(sid);
        if (claimed) {
            if (!session || !session->resumable) co_return not_found;
            session->attach(wire);
            co_return session;
        }
        if (claimed.error() == ClaimRefusal::unavailable) {
            co_return SessionRefusal{"wait", "resource-constraint", 0, false};
        }
        if (claimed.error() == ClaimRefusal::ending) co_return co_await how_it_ends(sid, bare, true);
    }
    if (!session) co_return co_await how_it_ends(sid, bare, false);
    if (session->state.account->jid != bare || !session->resumable) co_return not_found;
    if (session->closing) co_return co_await how_it_ends(sid, bare, true);
    if (!session->restored && !session->may_be_acknowledged(h))
        co_return SessionRefusal{"modify", "bad-request", 0, false};
    // The old stream reads no more; what it brought is finished, so that the counter given to the client is
    // exact. Should this resumption come to nothing, the session waits for another one, as after any loss.
    const auto end_stream = [&session] {
        auto* old = session->wire;
        session->detach();
        session->phase = SessionPhase::detached;
        session->until = wall_now() + session->window;
        old->end("conflict", "resumed on another stream");
    };
    if (session->wire != nullptr) end_stream();
    for (int i = 0; i < 3000 && !session->closing; ++i) {
        if (session->unread.empty() && session->inputs.empty()) {
            if (session->in_safe >= session->in_read) break;
            schedule_advance(session);
        }
        co_await pause(io_, milliseconds(10));
    }
    if (session->closing) {
        if (find_session(sid) == session) co_return co_await how_it_ends(sid, bare, true);
        co_return co_await resume(sid, bare, h, wire);  // it was claimed elsewhere meanwhile
    }
    if (session->in_safe < session->in_read)
        co_return SessionRefusal{"wait", "resource-constraint", 0, false};
    claim_begins(sid);
    auto claimed = co_await log_.claim(sid, session->state.account->id, options_.node);
    // Another node claimed it in between, or its end has begun here: this claim is the later one, and what is
    // known here is old.
    const bool again = claimed && cluster_ != nullptr &&
                       (session->closing || !follows_on(session->state.epoch, claimed->record.epoch));
    if (again) {
        drop(session);
        session = co_await build(std::move(*claimed));
    }
    claim_ended(sid);
    if (!claimed) {
        if (claimed.error() == ClaimRefusal::unavailable) {
            co_return SessionRefusal{"wait", "resource-constraint", 0, false};
        }
        co_return co_await how_it_ends(sid, bare, claimed.error() == ClaimRefusal::ending);
    }
    if (again) {
        if (!session || !session->resumable) co_return not_found;
        session->attach(wire);
        co_return session;
    }
    if (session->closing) {
        session->state.epoch = claimed->record.epoch;  // under which it ends
        co_return co_await how_it_ends(sid, bare, true);
    }
    // A second resume came in while we waited: the later one wins.
    if (session->wire != nullptr) end_stream();
    session->state.epoch = claimed->record.epoch;
    if (session->restored) {
        session->restore(*claimed);
        session->wants_tick = [this, weak = std::weak_ptr(session)] {
            if (auto s = weak.lock()) ticking_.insert(s);
        };
    }
    session->attach(wire);
    co_return session;
}

/// XEP-0198 §5: a client whose session is over learns how much of what it sent was handled. Of one that is
/// ending that is known when its end is stored.
awaitable<SessionRefusal> Router::how_it_ends(std::string sid, Jid bare, bool ending) {
    const auto deadline = SteadyClock::now() + patience;
    for (;;) {
        const auto tomb = co_await log_.tomb(sid);
        if (tomb && *tomb && (*tomb)->jid.bare() == bare)
            co_return SessionRefusal{"cancel", "item-not-found", (*tomb)->in, true};
        if (tomb && !ending) co_return SessionRefusal{"cancel", "item-not-found", 0, false};
        if (SteadyClock::now() > deadline) co_return SessionRefusal{"wait", "resource-constraint", 0, false};
        co_await pause(io_, milliseconds(50));
    }
}

awaitable<bool> Router::settle(SessionPtr session, std::uint32_t h) {
    auto* const wire = session->wire;
    for (;;) {
        const auto ok = co_await log_.settle(session->state.sid, session->state.epoch, h);
        if (session->finished || session->wire != wire || wire == nullptr) co_return false;
        if (ok && *ok) break;
        if (ok) {  // another node has claimed it: the client is there, or comes again
            drop(session);
            co_return false;
        }
        co_await pause(io_, milliseconds(200));
    }
    fail_point("settled");
    session->settle(h);
    if (session->restored) {
        // Presence is state, not log: after a restart the client gets the state of its contacts again.
        session->restored = false;
        if (session->state.available) resync(session);
    }
    Batch batch;
    batch.sessions.push_back(record_of(session));
    submit(std::move(batch));
    begin_fill(session);
    co_return true;
}

void Router::stream_lost(const SessionPtr& session, bool clean) {
    session->close_accounts();
    session->detach();
    if (session->closing) return;
    if (clean || !session->resumable) {
        begin_end(session);
        return;
    }
    session->phase = SessionPhase::detached;
    session->until = wall_now() + session->window;
    Batch batch;
    batch.sessions.push_back(record_of(session));
    submit(std::move(batch));
    if (session->over_limit()) begin_end(session);
}

void Router::wire_lost(const Wire& wire) {
    std::vector<SessionPtr> attached;
    for (const auto& [sid, session] : sessions_) {
        if (session->wire == &wire) attached.push_back(session);
    }
    for (const auto& session : attached) stream_lost(session, false);
}

awaitable<void> Router::drop_inherited(SessionPtr session) {
    co_await pause(io_, seconds(5));
    if (!session->inherits_presence || session->closing) co_return;
    session->inherits_presence = false;
    Batch batch;
    RouteChange change;
    change.account = session->state.account->jid;
    change.entry = session->route;
    change.broadcast = make_presence(session->state.jid, {}, "unavailable").to_string(ns::client);
    batch.routes.push_back(std::move(change));
    submit(std::move(batch));
}

void Router::forget(const SessionPtr& session) {
    const auto it = by_jid_.find(session->state.jid);
    if (it != by_jid_.end() && it->second == session) by_jid_.erase(it);
    ticking_.erase(session);
    // It may have been claimed again meanwhile.
    const auto known = sessions_.find(session->state.sid);
    if (known != sessions_.end() && known->second == session) sessions_.erase(known);
}

void Router::kick(const SessionPtr& session, std::string condition, std::string text) {
    if (session->closing) return;
    auto* wire = session->wire;
    session->close_accounts();
    session->detach();
    begin_end(session);
    if (wire != nullptr) wire->end(condition, text);
}

void Router::set_inactive(const SessionPtr& session, bool inactive) {
    session->state.inactive = inactive;
    if (!session->resumable) return;
    Batch batch;
    batch.sessions.push_back(record_of(session));
    submit(std::move(batch));
}

void Router::begin_end(const SessionPtr& session) {
    if (session->closing) return;
    session->closing = *session->given_up = true;
    if (committer_.never_refuses()) {
        // From here on nothing is routed to it; what was decided before is in its log before the log is
        // closed.
        RouteChange change;
        change.account = session->state.account->jid;
        change.entry = session->route;
        change.ended = true;
        routes_.apply(change);
    }
    asio::co_spawn(io_, end_session(session), asio::detached);
}

awaitable<void> Router::end_session(SessionPtr session) {
    ++ends_under_way_;
    co_await end_now(std::move(session));
    --ends_under_way_;
}

awaitable<void> Router::end_now(SessionPtr session) {
    auto& state = session->state;
    // What the client sent before it went is finished first; only a store that is away makes this end early.
    for (int i = 0; i < 1000 && !(session->unread.empty() && session->inputs.empty()); ++i) {
        co_await pause(io_, milliseconds(5));
    }
    session->finished = true;
    RouteChange change;
    change.account = state.account->jid;
    change.entry = session->route;
    change.ended = true;
    change.moves_version = true;
    Batch batch;
    // Who bound the name at the same moment did not see this session and takes nothing over from it.
    const auto shown_by_other = [&] {
        const auto* route = routes_.find(state.account->jid);
        return route != nullptr &&
               std::any_of(route->sessions.begin(), route->sessions.end(), [&](const RouteEntry& e) {
                   return e.sid != state.sid && e.jid == state.jid && e.available;
               });
    };
    const bool taken_over = session->replaced && (!session->outrun || shown_by_other());
    if ((state.available && !taken_over) || session->inherits_presence) {
        change.broadcast = make_presence(state.jid, {}, "unavailable").to_string(ns::client);
        ResourceUnavailable event{state, {}, batch};
        hooks_.run(event);
    }
    take_back_directed(state, batch);
    SessionClosed closed{state, batch};
    hooks_.run(closed);
    state.available = false;
    batch.routes.push_back(std::move(change));
    // In a cluster the session stays a target until what it did not deliver is stored (docs/delivery.md,
    // "Login, backlog, end").
    Batch farewell;
    if (cluster_ != nullptr) {
        farewell = std::move(batch);
    } else {
        submit(std::move(batch));
    }
    for (;;) {
        const auto ended = co_await log_.end(state.sid, state.epoch, farewell);
        if (ended) {
            Batch errors;
            for (const auto& entry : ended->unanswered) {
                auto request = parse_element(*entry.xml);
                if (!request || (request->attr("type") != "get" && request->attr("type") != "set")) continue;
                const auto from = Jid::parse(request->attr("from"));
                if (!from) continue;
                const auto* asker = routes_.find_session(*from);
                if (asker == nullptr) continue;
                LogAppend append;
                append.sid = asker->sid;
                append.kind = EntryKind::iq;
                append.xml = make_bytes(
                    make_error_reply(*request, StanzaError::service_unavailable()).to_string(ns::client));
                errors.appends.push_back(std::move(append));
            }
            if (!errors.appends.empty()) submit(std::move(errors));
            // In a cluster the route change tells it, to whichever node carries the account's next session.
            if (cluster_ == nullptr && !ended->stored.empty()) late_backlog(state.account->jid);
            break;
        }
        co_await pause(io_, milliseconds(500));
    }
    forget(session);
}

void Router::tick_sessions() {
    auto due = std::move(ticking_);
    ticking_.clear();
    for (const auto& session : due) {
        session->tick_scheduled = false;
        if (session->tick()) {
            session->tick_scheduled = true;
            ticking_.insert(session);
        }
    }
}

/// Ends sessions whose clients stayed away, some at a time: those of a lost node or network are over
/// together, and the node has others to serve. False: none is left.
bool Router::expire_some() {
    const auto now = wall_now();
    std::vector<SessionPtr> expired;
    bool more = false;
    for (const auto& [sid, session] : sessions_) {
        if (session->phase != SessionPhase::detached || session->wire != nullptr || session->closing ||
            (session->until > now && !session->over_limit()))
            continue;
        more = ends_under_way_ + expired.size() >= ends_at_once;
        if (more) break;
        expired.push_back(session);
    }
    for (const auto& session : expired) {
        log_info("session_expired", {{"jid", session->state.jid.to_string()}});
        begin_end(session);
    }
    return more;
}

awaitable<void> Router::sweep() {
    auto ticked = SteadyClock::now();
    for (bool more = false; !stopping_; more = expire_some()) {
        sweep_timer_.expires_after(more ? milliseconds(50) : milliseconds(1000));
        const auto [ec] = co_await sweep_timer_.async_wait(asio::as_tuple(asio::use_awaitable));
        if (ec) co_return;
        if (more && SteadyClock::now() - ticked < seconds(1)) continue;
        ticked = SteadyClock::now();
        tick_sessions();
    }
}

}  // namespace hexad
