#include "base/log.hpp"
#include "base/text.hpp"
#include "hooks/module.hpp"
#include "routing/router.hpp"
#include "routing/stanza_id.hpp"
#include "storage/sub_number.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

std::string content_hash(const Element& message) {
    std::string text(message.attr("to"));
    text += '\0';
    text += message.attr("type");
    for (const auto* child : message.elements()) {
        if (child->ns() == ns::delay || child->ns() == ns::sid) continue;
        child->append_to(text, ns::client);
    }
    return sha1(text);
}

std::string stanza_id_of(const std::string& source, std::uint64_t n, const std::string& hash) {
    return hex_encode(sha256(source + '/' + std::to_string(n) + '/' + hash)).substr(0, 32);
}

namespace {

bool no_store(const Element& message) { return message.find("no-store", ns::hints) != nullptr; }

/// Logged or at most once (docs/delivery.md, "What is logged"): headlines, and messages that say nothing
/// lasting.
bool is_lasting(const Element& message, MessageType type) {
    if (type == MessageType::headline) return false;
    if (type == MessageType::error || message.find("body", ns::client) != nullptr) return true;
    if (message.find("store", ns::hints) != nullptr) return true;
    for (const auto* child : message.elements()) {
        const auto& space = child->ns();
        if (space != ns::chatstates && space != ns::markers && space != ns::hints &&
            child->name() != "thread")
            return true;
    }
    return message.elements().empty();
}

}  // namespace

void Router::send_to_self(const SessionPtr& session, std::string xml, EntryKind kind, bool logged,
                          Batch& batch) {
    auto bytes = make_bytes(std::move(xml));
    if (logged && session->resumable) {
        LogAppend append;
        append.sid = session->state.sid;
        append.origin = batch.origin;
        append.origin.sub = next_sub(batch, append.sid);
        append.kind = kind;
        append.owner = session->state.account->id;
        append.xml = std::move(bytes);
        batch.appends.push_back(std::move(append));
    } else {
        Notice notice;
        notice.account = session->state.account->jid;
        notice.sid = session->state.sid;
        notice.xml = std::move(bytes);
        batch.notices.push_back(std::move(notice));
    }
}

void Router::refuse(const Stanza& stanza, const SessionPtr& session, const StanzaError& error, Batch& batch) {
    const auto type = stanza.type();
    if (type == "error" || (stanza.kind == StanzaKind::iq && type == "result")) return;
    auto reply = make_error_reply(stanza.xml, error);
    reply.set("to", session->state.jid.to_string());
    if (stanza.xml.attr("to").empty()) reply.set("from", session->state.account->jid.to_string());
    const auto kind = stanza.kind == StanzaKind::iq ? EntryKind::iq : EntryKind::transient;
    send_to_self(session, reply.to_string(ns::client), kind, stanza.kind != StanzaKind::presence, batch);
}

void Router::reply_iq(const Stanza& stanza, const SessionPtr& session, IqResult result, Batch& batch) {
    if (!result) {
        refuse(stanza, session, result.error(), batch);
        return;
    }
    auto reply = make_iq_result(stanza.xml);
    reply.set("to", session->state.jid.to_string());
    if (!result->name().empty()) reply.add(std::move(*result));
    send_to_self(session, reply.to_string(ns::client), EntryKind::iq, true, batch);
}

// ---- messages ----

void Router::decide_message(Stanza& stanza, const SessionPtr& session, Batch& batch) {
    const auto type = message_type(stanza.xml);
    if (stanza.to.empty()) {
        stanza.to = session->state.account->jid;
        stanza.xml.set("to", stanza.to.to_string());
    }
    const auto at = wall_now();
    const auto hash = content_hash(stanza.xml);
    auto id = stanza_id_of(session->state.sid, batch.origin.n, hash);
    if (const auto repeat = session->repeats.find(batch.origin.n); repeat != session->repeats.end()) {
        if (repeat->second.empty()) return;  // handled in a former session: it is only counted
        id = repeat->second;
    }
    // An earlier attempt put it offline and a login has taken it from there. That holds for every further
    // attempt: the batch that only counts it may be refused as well.
    const bool delivered = session->offline_taken.contains(id);

    std::string label;
    const bool to_own_host = is_local_host(stanza.to.domain());
    const bool to_our_service = !to_own_host && !host_of_service(stanza.to.domain(), label).empty();
    if (!to_own_host && !to_our_service) {
        refuse(stanza, session, StanzaError::remote_server_not_found(), batch);
        return;
    }
    if (to_own_host && !stanza.to.local().empty()) {
        const auto recipient = accounts_.find(stanza.to.bare());
        if (recipient && ModuleContext::blocks(*recipient, stanza.from)) {
            refuse(stanza, session, StanzaError::service_unavailable(), batch);
            return;
        }
    }
    if (type != MessageType::error && type != MessageType::groupchat) {
        Element copy = stanza.xml;
        MessageFromAccount event{stanza, copy, session->state, id, hash, at, batch};
        hooks_.run(event);
    }
    if (delivered) {
        log_info("message_taken_before", {{"jid", stanza.from.to_string()}, {"to", stanza.to.to_string()}});
        return;
    }
    if (to_our_service) {
        to_service(stanza, session, batch);
    } else if (stanza.to.local().empty()) {
        refuse(stanza, session, StanzaError::service_unavailable(), batch);
    } else {
        message_to_account(stanza, &session->state, id, at, batch);
    }
}

void Router::message_to_account(const Stanza& stanza, SessionState* sender, const std::string& stanza_id,
                                Timestamp at, Batch& batch) {
    const auto type = message_type(stanza.xml);
    const auto bare = stanza.to.bare();
    const auto sender_session = sender == nullptr ? nullptr : find_session(sender->sid);
    const auto bounce = [&](const StanzaError& error) {
        if (sender_session) refuse(stanza, sender_session, error, batch);
    };
    const auto recipient = accounts_.find(bare);
    if (!recipient) {  // RFC 6121 §8.5.1
        if (type != MessageType::headline) bounce(StanzaError::service_unavailable());
        return;
    }
    // A room is not told: it may be one among many senders (XEP-0191 §3.3).
    if (sender == nullptr && ModuleContext::blocks(*recipient, stanza.from)) return;
    const auto* route = routes_.find(bare);
    batch.checks.push_back({bare, route == nullptr ? 0 : route->version});

    std::vector<MessageTarget> targets;
    bool offline = false;
    const auto to_all_available = [&] {
        if (route == nullptr) return;
        for (const auto& entry : route->sessions) {
            if (entry.available && entry.priority >= 0)
                targets.push_back({&entry, EntryKind::message, nullptr, true});
        }
    };
    const RouteEntry* exact = nullptr;
    if (route != nullptr && stanza.to.is_full()) {
        for (const auto& entry : route->sessions) {
            if (entry.jid == stanza.to) exact = &entry;
        }
    }
    if (exact != nullptr) {  // §8.5.3.1
        targets.push_back({exact, EntryKind::message, nullptr, true});
    } else if (type == MessageType::normal && sender != nullptr && stanza.to.is_full()) {
        bounce(StanzaError::service_unavailable());  // §8.5.3.2.1: it is for that resource alone
        return;
    } else if (type == MessageType::normal || type == MessageType::chat) {  // §8.5.2.1.1, §8.5.3.2.1
        to_all_available();
        offline = targets.empty();
    } else if (type == MessageType::headline) {
        if (!stanza.to.is_full()) to_all_available();
    } else if (type == MessageType::groupchat) {
        bounce(StanzaError::service_unavailable());
        return;
    } else {
        return;  // error: silently ignored
    }
    Element xml = stanza.xml;
    const bool lasting = is_lasting(xml, type);
    MessageToAccount event{stanza, xml, *recipient, sender, stanza_id, at, targets, offline, batch};
    const auto waiting = batch.offline.size();
    hooks_.run(event);
    // §8.5.2.2.1, §8.5.3.2.1: what nobody gets and may not wait is not lost without a word.
    if (offline && lasting && targets.empty() && batch.offline.size() == waiting)
        bounce(StanzaError::service_unavailable());

    const bool keep = (type == MessageType::normal || type == MessageType::chat) && !no_store(xml);
    Bytes bytes;
    for (auto& target : targets) {
        if (target.xml == nullptr) {
            if (bytes == nullptr) bytes = make_bytes(xml.to_string(ns::client));
            target.xml = bytes;
        }
        if (!lasting) {
            Notice notice;
            notice.account = bare;
            notice.sid = target.session->sid;
            notice.xml = target.xml;
            batch.notices.push_back(std::move(notice));
            continue;
        }
        LogAppend append;
        append.sid = target.session->sid;
        append.origin = batch.origin;
        append.origin.sub = next_sub(batch, append.sid);
        append.stanza_id = stanza_id;
        append.kind = target.kind != EntryKind::message ? target.kind
                      : keep                            ? EntryKind::message
                                                        : EntryKind::transient;
        append.owner = recipient->id;
        append.xml = target.xml;
        if (append.kind == EntryKind::message) {
            for (const auto& other : targets) {
                if (other.kind == EntryKind::message && other.session != target.session) {
                    append.co_targets.push_back(other.session->sid);
                }
            }
        }
        batch.appends.push_back(std::move(append));
    }
}

void Router::to_service(Stanza& stanza, const SessionPtr& session, Batch& batch) {
    if (stanza.to.local().empty()) {
        refuse(stanza, session, StanzaError::service_unavailable(), batch);
        return;
    }
    RoomInput input;
    input.room = stanza.to.bare();
    input.origin = batch.origin;
    input.origin.sub = static_cast<std::uint32_t>(batch.room_inputs.size()) + 1;
    input.sid = session->state.sid;
    input.from = stanza.from;
    input.xml = make_bytes(stanza.xml.to_string(ns::client));
    batch.room_inputs.push_back(std::move(input));
}

void Router::route_from_service(const Element& stanza, const Jid& from, const Jid& to, Batch& batch) {
    if (!is_local_host(to.domain()) || to.local().empty() || stanza.name() != "message") return;
    Stanza message;
    message.kind = StanzaKind::message;
    message.from = from;
    message.to = to;
    message.xml = stanza;
    message.xml.set("from", from.to_string());
    message.xml.set("to", to.to_string());
    const auto hash = content_hash(message.xml);
    const auto id = stanza_id_of(batch.origin.source, batch.origin.n, to.to_string() + '/' + hash);
    message_to_account(message, nullptr, id, wall_now(), batch);
}

// ---- IQ ----

bool Router::decide_iq(Stanza& stanza, const SessionPtr& session,
                       const std::shared_ptr<Session::Input>& input) {
    auto& batch = input->batch;
    const auto type = stanza.type();
    const bool is_request = type == "get" || type == "set";
    const auto children = stanza.xml.elements();
    if (stanza.id().empty() || (!is_request && type != "result" && type != "error") ||
        (is_request && children.size() != 1)) {
        refuse(stanza, session, StanzaError::bad_request(), batch);
        return true;
    }
    const auto& own = session->state.account->jid;
    const auto to = stanza.to.empty() ? own : stanza.to;
    std::string label;
    Target target;
    AccountPtr account;
    if (is_local_host(to.domain())) {
        if (to.is_full() && !to.local().empty()) {
            iq_to_resource(stanza, session, batch);
            return true;
        }
        if (!is_request) return true;
        target = to.local().empty() ? Target::server() : Target::account();
        if (!to.local().empty()) {
            account = accounts_.find(to);
            if (!account) {
                target = Target::missing_account();
            } else if (ModuleContext::blocks(*account, stanza.from)) {
                refuse(stanza, session, StanzaError::service_unavailable(), batch);
                return true;
            }
        }
    } else if (!host_of_service(to.domain(), label).empty()) {
        if (!to.local().empty()) {
            to_service(stanza, session, batch);
            return true;
        }
        if (!is_request) return true;
        target = Target::of_service(label);
    } else {
        refuse(stanza, session, StanzaError::remote_server_not_found(), batch);
        return true;
    }

    IqRequest request;
    request.iq.from = stanza.from;
    request.iq.to = to;
    request.iq.id = std::string(stanza.id());
    request.iq.is_set = type == "set";
    request.iq.payload = *children.front();
    request.session = &session->state;
    request.sender = session->state.account;
    request.account = account;
    const QName payload{children.front()->ns(), children.front()->name()};
    if (const auto* decision = hooks_.find_decision(target, request.iq.is_set, payload)) {
        if (request.iq.is_set && !committer_.store_up()) {
            // What cannot be stored is not changed either; the client may ask again.
            refuse(stanza, session, StanzaError::try_again(), batch);
            return true;
        }
        auto result = (*decision)(request, batch);
        for (auto& bytes : request.before) session->push(std::move(bytes));
        reply_iq(stanza, session, std::move(result), batch);
        return true;
    }
    if (const auto* handler = hooks_.find_answer(target, request.iq.is_set, payload)) {
        asio::co_spawn(io_, answer(*handler, std::move(request), session, input, stanza.xml), asio::detached);
        return false;
    }
    refuse(stanza, session, StanzaError::service_unavailable(), batch);
    return true;
}

awaitable<void> Router::answer(IqAnswer handler, IqRequest request, SessionPtr session,
                               std::shared_ptr<Session::Input> input, Element request_xml) {
    // RFC 6120 §10.1: what this client sent before is safe by the time that the store is asked, unless that
    // is what the store or Redis are away for.
    for (const auto patience = SteadyClock::now() + seconds(2); SteadyClock::now() < patience;) {
        const auto& inputs = session->inputs;
        // Over; or decided again, which answers it then.
        if (session->finished || std::ranges::find(inputs, input) == inputs.end()) co_return;
        if (inputs.front() == input) break;
        asio::steady_timer pause(io_, milliseconds(1));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    IqResult result = StanzaError::internal_server_error();
    try {
        result = co_await handler(request);
    } catch (const std::exception& e) {
        log_error("iq_handler_failed", {{"error", e.what()}});
        result = StanzaError::internal_server_error();
    }
    if (session->finished) co_return;
    for (auto& bytes : request.before) session->push(std::move(bytes));
    Stanza stanza;
    stanza.kind = StanzaKind::iq;
    stanza.from = request.iq.from;
    stanza.to = request.iq.to;
    stanza.xml = std::move(request_xml);
    reply_iq(stanza, session, std::move(result), input->batch);
    input->ready = true;
    finish_input(session, *input);
    drain(session);
}

void Router::iq_to_resource(const Stanza& stanza, const SessionPtr& session, Batch& batch) {
    const auto bare = stanza.to.bare();
    const auto recipient = accounts_.find(bare);
    const auto* entry = routes_.find_session(stanza.to);
    if (!recipient || entry == nullptr || ModuleContext::blocks(*recipient, stanza.from)) {
        refuse(stanza, session, StanzaError::service_unavailable(), batch);
        return;
    }
    batch.checks.push_back({bare, routes_.version_of(bare)});
    LogAppend append;
    append.sid = entry->sid;
    append.origin = batch.origin;
    append.origin.sub = next_sub(batch, append.sid);
    append.kind = EntryKind::iq;
    append.owner = recipient->id;
    append.xml = make_bytes(stanza.xml.to_string(ns::client));
    batch.appends.push_back(std::move(append));
}

}  // namespace hexad
