#include "routing/router.hpp"

#include "base/fail_point.hpp"
#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

/// Stanzas that may change rosters, block lists or preferences.
bool changes_lists(const Element& stanza) {
    const auto type = stanza.attr("type");
    if (stanza.name() == "presence") return type.starts_with("subscribe") || type.starts_with("unsubscribe");
    if (stanza.name() != "iq" || type != "set") return false;
    return std::ranges::any_of(stanza.elements(), [](const Element* payload) {
        return payload->ns() == ns::roster || payload->ns() == ns::blocking || payload->name() == "prefs";
    });
}

}  // namespace

Router::Router(asio::io_context& io, Store& store, Committer& committer, SessionLog& log, Hooks& hooks,
               RouterOptions options)
    : io_(io),
      store_(store),
      committer_(committer),
      log_(log),
      hooks_(hooks),
      options_(std::move(options)),
      accounts_(store, options_.account_cache),
      host_set_(options_.hosts.begin(), options_.hosts.end()),
      sweep_timer_(io) {}

Router::~Router() = default;

bool Router::is_local_host(std::string_view domain) const { return host_set_.contains(std::string(domain)); }

std::string Router::host_of_service(std::string_view domain, std::string& label) const {
    const auto dot = domain.find('.');
    if (dot == std::string_view::npos) return {};
    const auto host = domain.substr(dot + 1);
    if (!is_local_host(host)) return {};
    label = std::string(domain.substr(0, dot));
    if (!hooks_.services().contains(label)) return {};
    return std::string(host);
}

SessionPtr Router::find_session(const std::string& sid) const {
    const auto it = sessions_.find(sid);
    return it == sessions_.end() ? nullptr : it->second;
}

SessionPtr Router::new_session() {
    auto session = std::make_shared<Session>(log_, options_.limits, io_.get_executor());
    session->attached_count = attached_;
    return session;
}

void Router::receive(SessionPtr session, Element stanza) {
    if (session->finished) return;
    fail_point("read");
    ++session->in_read;
    session->unread.push_back(std::move(stanza));
    pump(session);
}

void Router::pump(const SessionPtr& session) {
    while (!session->loading && !session->deciding_again && !session->unread.empty() && !session->finished) {
        const auto to = Jid::parse(session->unread.front().attr("to"));
        if (to && cluster_ != nullptr && session->homeless != to->bare() && needs_room_home(*to)) {
            session->loading = true;
            asio::co_spawn(io_, load_room_home(session, to->bare()), asio::detached);
            return;
        }
        if (to && !to->local().empty() && is_local_host(to->domain())) {
            auto bare = to->bare();
            if (!accounts_.is_loaded(bare)) {
                session->loading = true;
                asio::co_spawn(io_, load_for(session, {std::move(bare)}), asio::detached);
                return;
            }
        }
        if (cluster_ != nullptr && !accounts_.is_loaded(session->state.account->jid)) {
            session->loading = true;
            asio::co_spawn(io_, load_for(session, {session->state.account->jid}), asio::detached);
            return;
        }
        const auto n = session->in_read - session->unread.size() + 1;
        if (may_be_repeat(session, session->unread.front(), n)) {
            session->loading = true;
            asio::co_spawn(io_, look_back(session, n), asio::detached);
            return;
        }
        // Another node may change the same accounts at the same moment. What is refused for it is decided
        // again, with nothing before and behind it under way: what the store has of a later stanza would show
        // as no change.
        const bool alone = cluster_ != nullptr && changes_lists(session->unread.front());
        if ((alone || session->alone) && !session->inputs.empty()) return;
        session->alone = alone;
        session->homeless = {};
        Element xml = std::move(session->unread.front());
        session->unread.pop_front();
        decide(session, std::move(xml));
    }
}

awaitable<void> Router::load_for(SessionPtr session, std::vector<Jid> accounts) {
    for (const auto& bare : accounts) {
        // With the store away the stanza waits here, and what follows it: back-pressure, not an error.
        for (;;) {
            const auto loaded = co_await accounts_.load(bare);
            if (loaded || session->finished) break;
            asio::steady_timer pause(io_, milliseconds(500));
            co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        }
    }
    session->loading = false;
    pump(session);
}

void Router::decide(const SessionPtr& session, Element xml) {
    auto input = std::make_shared<Session::Input>();
    // The counter was moved when the stanza was read; what is still unread comes behind this one.
    input->n = session->in_read - session->unread.size();
    // What comes before <enable/> is numbered apart: the counter of the session is the client's `h`.
    input->batch.origin = {session->sm ? session->state.sid : session->state.sid + '#', input->n, 0};
    input->batch.epoch = session->state.epoch;
    session->inputs.push_back(input);

    Stanza stanza;
    stanza.from = session->state.jid;
    stanza.kind = xml.name() == "message"    ? StanzaKind::message
                  : xml.name() == "presence" ? StanzaKind::presence
                                             : StanzaKind::iq;
    if (cluster_ != nullptr) input->original = xml;
    const auto to_text = std::string(xml.attr("to"));
    xml.set("from", session->state.jid.to_string());
    stanza.xml = std::move(xml);
    bool decided = true;
    if (!to_text.empty()) {
        auto to = Jid::parse(to_text);
        if (!to) {
            refuse(stanza, session, StanzaError::jid_malformed(), input->batch);
            input->ready = true;
            finish_input(session, *input);
            drain(session);
            return;
        }
        stanza.to = std::move(*to);
        // A room tells who enters when his nickname was prepared (status 210): it sees what was sent.
        const bool enters = stanza.kind == StanzaKind::presence && !is_local_host(stanza.to.domain());
        if (!enters) stanza.xml.set("to", stanza.to.to_string());
    } else {
        stanza.xml.remove_attr("to");  // an empty one says as much
    }
    StanzaFromClient event{session->state, stanza, input->batch, std::nullopt};
    if (hooks_.run(event) == Verdict::handled) {
        if (event.refusal) refuse(stanza, session, *event.refusal, input->batch);
    } else {
        switch (stanza.kind) {
            case StanzaKind::message:
                decide_message(stanza, session, input->batch);
                break;
            case StanzaKind::presence:
                decide_presence(stanza, session, input->batch);
                break;
            case StanzaKind::iq:
                decided = decide_iq(stanza, session, input);
                break;
        }
    }
    if (decided) {
        input->ready = true;
        finish_input(session, *input);
    }
    drain(session);
}

void Router::finish_input(const SessionPtr& session, Session::Input& input) {
    add_state(session, input.batch);
    const auto& b = input.batch;
    input.durable = !committer_.never_refuses() || b.touches_store() || !b.sessions.empty() ||
                    !b.filling.empty() || !b.appends.empty() || !b.room_inputs.empty() ||
                    !b.occupants.empty();
}

void Router::add_state(const SessionPtr& session, Batch& batch) {
    auto& state = session->state;
    if (!state.dirty) return;
    state.dirty = false;
    auto entry = route_entry(state, options_.node);
    if (!session->routed || !(entry == session->route) || !state.broadcast.empty()) {
        const auto& old = session->route;
        RouteChange change;
        change.account = state.account->jid;
        change.moves_version = !session->routed || entry.available != old.available ||
                               (entry.priority < 0) != (old.priority < 0) || entry.carbons != old.carbons ||
                               entry.hidden_from != old.hidden_from;
        change.broadcast = std::move(state.broadcast);
        state.broadcast.clear();
        session->route = entry;
        session->routed = true;
        change.entry = std::move(entry);
        batch.routes.push_back(std::move(change));
    }
    // A stream that cannot be resumed has nothing to continue from; its record only carries its log.
    if (session->resumable || !committer_.never_refuses()) batch.sessions.push_back(record_of(session));
}

SessionRecord Router::record_of(const SessionPtr& session) const {
    SessionRecord record;
    record.sid = session->state.sid;
    record.account = session->state.account->id;
    record.jid = session->state.jid;
    record.node = options_.node;
    record.epoch = session->state.epoch;
    record.mode = session->mode;
    record.phase = session->phase;
    record.resumable = session->resumable;
    record.until = session->until;
    record.state = encode_state(session->state);
    return record;
}

namespace {

/// Whether others see an effect of this batch that is not logged: presence, a directed notice.
bool shows_to_others(const Batch& batch) {
    return !batch.routes.empty() ||
           std::any_of(batch.notices.begin(), batch.notices.end(), [&](const Notice& n) {
               return n.audience != Notice::Audience::session || !batch.origin.source.starts_with(n.sid);
           });
}

}  // namespace

void Router::drain(const SessionPtr& session) {
    if (session->deciding_again) return;
    for (bool more = true; more;) {
        more = false;
        for (auto& input : session->inputs) {
            if (!input->ready) break;
            if (input->submitted) continue;
            // A presence between two messages is seen between them: it waits for the first, the second waits
            // for it.
            const bool fence = !input->durable && shows_to_others(input->batch);
            if (fence && input != session->inputs.front()) break;
            if (input->durable && !may_follow(session, *input)) break;
            input->submitted = true;
            if (input->durable) {
                commit_input(session, input);
            } else {
                input->done = true;
            }
            if (fence) break;
        }
        // Effects that need no commit are delivered when everything before them has been.
        while (!session->inputs.empty() && session->inputs.front()->done) {
            auto input = session->inputs.front();
            session->inputs.pop_front();
            if (!input->durable) deliver(input->batch, {}, {});
            more = true;
        }
    }
    if (session->inputs.empty() && session->unread.empty() && session->sm &&
        session->in_read > session->in_submitted) {
        schedule_advance(session);
    }
    if (session->wire != nullptr && !session->wants_pause()) session->wire->input_window_open();
}

void Router::commit_input(const SessionPtr& session, const std::shared_ptr<Session::Input>& input) {
    auto& batch = input->batch;
    if (session->sm) {
        batch.advances = true;
        batch.previous = session->in_submitted;
        session->in_submitted = input->n;
    }
    input->checks = batch.checks;
    input->changes_accounts = !batch.accounts.empty();
    auto slots = std::make_shared<std::vector<Session::SlotPtr>>();
    reserve_numbers(batch, *slots);
    committer_.submit(std::move(batch),
                      [this, session, input, slots](const CommitOutcome& outcome, Batch& back) {
                          input->done = true;
                          if (outcome.status == CommitStatus::ok) {
                              session->routes_refused = 0;
                              deliver(back, outcome, *slots);
                              if (back.advances) session->counted(input->n);
                          } else {
                              input->batch = std::move(back);
                              refused(session, input, outcome);
                              return;
                          }
                          input->batch = Batch{};
                          if (session->deciding_again) return again_if_idle(session);
                          drain(session);
                          if (session->inputs.empty()) pump(session);
                      });
}

/// In a cluster a batch may be refused and the next one pass: the order would be lost, and origins tell only
/// how far a source has come. The counter of XEP-0198 forbids it; without one, a batch goes out behind others
/// only if what refuses one of them refuses all that follow.
bool Router::may_follow(const SessionPtr& session, const Session::Input& input) const {
    if (committer_.never_refuses() || session->sm) return true;
    const auto same = [](const RouteCheck& a, const RouteCheck& b) {
        return a.account == b.account && a.version == b.version;
    };
    const auto& mine = input.batch;
    return std::none_of(session->inputs.begin(), session->inputs.end(), [&](const auto& other) {
        return other->submitted && !other->done &&
               (other->changes_accounts || !mine.accounts.empty() ||
                !std::equal(other->checks.begin(), other->checks.end(), mine.checks.begin(),
                            mine.checks.end(), same));
    });
}

void Router::schedule_advance(const SessionPtr& session) {
    if (session->advance_timer || session->finished) return;
    session->advance_timer = true;
    auto timer = std::make_shared<asio::steady_timer>(io_, milliseconds(50));
    timer->async_wait([this, session, timer](error_code) {
        session->advance_timer = false;
        advance_now(session);
    });
}

void Router::advance_now(const SessionPtr& session) {
    if (session->finished || !session->sm || !session->inputs.empty()) return;
    if (session->in_read - session->unread.size() == session->in_submitted) return;
    auto input = std::make_shared<Session::Input>();
    input->n = session->in_read - session->unread.size();
    input->batch.origin = {session->state.sid, input->n, 0};
    input->batch.epoch = session->state.epoch;
    input->ready = input->durable = true;
    session->inputs.push_back(std::move(input));
    drain(session);
}

void Router::ack_requested(const SessionPtr& session) {
    if (!session->sm || session->client_asks_ack()) return;
    advance_now(session);
    // A commit takes a millisecond or two; waiting for it spares the client a second answer.
    auto timer = std::make_shared<asio::steady_timer>(io_, milliseconds(100));
    timer->async_wait([session, timer](error_code) {
        if (session->ack_wanted()) session->answer_ack();
    });
}

void Router::submit(Batch batch, std::function<void(bool)> done) {
    commit(std::move(batch), [this, done = std::move(done)](CommitStatus status, Batch& back) {
        if (status == CommitStatus::route_moved) {
            // No stanza of a client: the effects stand, whatever has become of the route.
            back.checks.clear();
            submit(std::move(back), done);
        } else if (done) {
            done(status == CommitStatus::ok);
        }
    });
}

void Router::commit(Batch batch, std::function<void(CommitStatus, Batch&)> done) {
    auto slots = std::make_shared<std::vector<Session::SlotPtr>>();
    reserve_numbers(batch, *slots);
    committer_.submit(std::move(batch),
                      [this, slots, done = std::move(done)](const CommitOutcome& outcome, Batch& back) {
                          if (outcome.status == CommitStatus::ok) deliver(back, outcome, *slots);
                          done(outcome.status, back);
                      });
}

void Router::change_account(AccountData& account, AccountChange change, Batch& batch) {
    change.account = account.id;
    change.base_version = account.version;
    change.base_author = account.changed_by;
    change.author = batch.origin.source.empty() ? '~' + random_id(8)
                                                : batch.origin.source + '/' + std::to_string(batch.origin.n);
    accounts_.apply(account, change);
    RosterChanged event{account, change, batch};
    hooks_.run(event);
    batch.accounts.push_back(std::move(change));
}

}  // namespace hexad
