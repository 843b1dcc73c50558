#include <utility>

#include "base/log.hpp"
#include "routing/router.hpp"

namespace hexad {

void Router::reserve_numbers(Batch& batch, std::vector<Session::SlotPtr>& slots) {
    slots.resize(batch.appends.size());
    if (!committer_.never_refuses()) return;
    for (std::size_t i = 0; i < batch.appends.size(); ++i) {
        auto& append = batch.appends[i];
        const auto session = find_session(append.sid);
        if (!session) continue;
        const bool live_message = append.kind != EntryKind::iq && append.kind != EntryKind::transient;
        append.held = live_message && session->mode == SessionMode::filling;
        if (append.held || !session->can_reserve()) {
            ++session->unreserved;
            continue;
        }
        slots[i] = session->reserve(append.xml, append.kind);
        append.number = slots[i]->number;
    }
}

void Router::deliver(Batch& batch, const CommitOutcome& outcome, const std::vector<Session::SlotPtr>& slots) {
    if (cluster_ != nullptr) {
        // The effects come back through the streams, in the one order that all nodes see.
        for (const auto& then : batch.after) then();
        return;
    }
    for (const auto& change : batch.routes) apply_route(change);
    for (std::size_t i = 0; i < batch.appends.size(); ++i) {
        const auto& append = batch.appends[i];
        const auto session = find_session(append.sid);
        if (!session) continue;
        const auto position = i < outcome.positions.size() ? outcome.positions[i] : 0;
        if (i < slots.size() && slots[i]) {
            session->committed(slots[i], position);
            if (session->over_limit()) kick(session, "policy-violation", "too many unacknowledged stanzas");
            continue;
        }
        if (session->unreserved > 0) --session->unreserved;
        if (position != 0) {  // a held entry has no position until the backlog is through
            LogEntry entry;
            entry.position = position;
            entry.kind = append.kind;
            entry.xml = append.xml;
            session->entry(entry);
        }
        if (session->over_limit()) kick(session, "policy-violation", "too many unacknowledged stanzas");
    }
    for (const auto& notice : batch.notices) deliver_notice(notice);
    for (std::size_t i = 0; i < batch.room_inputs.size(); ++i) {
        const auto position = i < outcome.room_positions.size() ? outcome.room_positions[i] : 0;
        if (position == 0) continue;
        RoomInputArrived event{batch.room_inputs[i], position};
        hooks_.run(event);
    }
    for (const auto& then : batch.after) then();
}

void Router::deliver_notice(const Notice& notice) {
    const auto give = [&](const RouteEntry& entry) {
        const auto session = find_session(entry.sid);
        if (!session || session->finished) return;
        if (!notice.address) {
            session->push(notice.xml);
        } else {
            // `<name …` → `<name to='full' …`
            const auto space = notice.xml->find_first_of(" >/", 1);
            std::string to = " to='";
            append_escaped(to, entry.jid.to_string(), true);
            to += '\'';
            std::string text = *notice.xml;
            text.insert(space, to);
            session->push(make_bytes(std::move(text)));
        }
        if (session->over_limit()) kick(session, "policy-violation", "too many unacknowledged stanzas");
    };
    if (notice.audience == Notice::Audience::session) {
        if (const auto session = find_session(notice.sid); session && !session->finished) {
            if (notice.address) {
                give(route_entry(session->state, options_.node));
            } else {
                session->push(notice.xml);
                if (session->over_limit())
                    kick(session, "policy-violation", "too many unacknowledged stanzas");
            }
        }
        return;
    }
    const auto* route = routes_.find(notice.account);
    if (route == nullptr) return;
    std::vector<RouteEntry> entries;
    for (const auto& entry : route->sessions) {
        const bool wanted = notice.audience == Notice::Audience::available    ? entry.available
                            : notice.audience == Notice::Audience::interested ? entry.interested
                                                                              : entry.block_interested;
        if (wanted) entries.push_back(entry);
    }
    for (const auto& entry : entries) give(entry);
}

void Router::apply_route(const RouteChange& change) {
    const auto* before = routes_.find_sid(change.account, change.entry.sid);
    const bool was_available = before != nullptr && before->available;
    const auto carried = find_session(change.entry.sid);
    // A late change of a session that is on its way out must not bring its route back.
    const bool stale = change.entry.node == options_.node && (!carried || carried->closing);
    if (change.ended || !stale) {
        routes_.apply(change);
        strays_.erase(change.entry.sid);
    } else {
        strays_.insert(change.entry.sid);
    }
    fan_out(change);
    if (cluster_ != nullptr && was_available && (change.ended || !change.entry.available))
        remember_gone(change.entry.jid);
    if (!change.ended && change.entry.available && !was_available) {
        if (carried && !carried->closing) greet(carried);
    }
    if (!change.ended && carried && !carried->closing) begin_fill(carried);
    if (change.ended && change.left_messages) late_backlog(change.account);
}

void Router::late_backlog(const Jid& account) {
    const auto* route = routes_.find(account);
    if (route == nullptr) return;
    const RouteEntry* first = nullptr;
    for (const auto& entry : route->sessions) {
        if (!entry.available || entry.priority < 0) continue;
        if (first == nullptr || entry.priority > first->priority ||
            (entry.priority == first->priority && entry.sid < first->sid))
            first = &entry;
    }
    const auto session = first != nullptr ? find_session(first->sid) : nullptr;
    if (!session || session->closing) return;  // at another node, or nobody: the next login takes them
    if (session->mode == SessionMode::filling) {
        session->more_backlog = true;
        return;
    }
    session->mode = SessionMode::filling;
    Batch batch;
    batch.origin.source = session->state.sid;  // refused if it is carried elsewhere by then
    batch.epoch = session->state.epoch;
    batch.filling.push_back(session->state.sid);
    submit(std::move(batch), [this, session](bool ok) {
        if (ok) begin_fill(session);
    });
}

void Router::begin_fill(const SessionPtr& session) {
    if (session->mode != SessionMode::filling || session->filling_now) return;
    session->filling_now = true;
    asio::co_spawn(io_, fill(session), asio::detached);
}

/// As long as a client may take to resume.
void Router::remember_gone(const Jid& full, milliseconds ago) {
    const auto now = SteadyClock::now();
    const auto old = [&](const Gone& gone) { return gone.at + options_.resume_window < now; };
    auto& of_account = gone_[full.bare()];
    std::erase_if(of_account, [&](const Gone& gone) { return gone.full == full; });
    of_account.push_back({full, now - ago});
    if (gone_pruned_ + std::chrono::minutes(1) > now) return;
    gone_pruned_ = now;
    for (auto it = gone_.begin(); it != gone_.end();) {
        std::erase_if(it->second, old);
        it = it->second.empty() ? gone_.erase(it) : std::next(it);
    }
}

awaitable<void> Router::fill(SessionPtr session) {
    auto wait = milliseconds(10);
    while (!session->closing && session->mode == SessionMode::filling) {
        // A client that is slow to acknowledge gets its backlog in portions.
        if (session->unacked() > 300 || session->wire == nullptr) {
            asio::steady_timer pause(io_, milliseconds(session->wire == nullptr ? 500 : 50));
            co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
            continue;
        }
        const auto filled = co_await log_.fill(session->state.sid, session->state.epoch);
        if (!filled) {  // often only until the session that this one replaces has ended
            asio::steady_timer pause(io_, wait);
            co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
            wait = std::min(2 * wait, milliseconds(500));
            continue;
        }
        wait = milliseconds(10);
        session->filled = std::max(session->filled, filled->batch);
        for (const auto& entry : filled->entries) session->entry(entry);
        if (filled->finished) session->goes_live();
    }
    session->filling_now = false;
    if (std::exchange(session->more_backlog, false) && !session->closing)
        late_backlog(session->state.account->jid);
}

}  // namespace hexad
