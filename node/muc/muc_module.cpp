// XEP-0045 Multi-User Chat, version 1.35.1, with XEP-0410 Self-Ping and XEP-0421 Occupant identifiers
#include <algorithm>
#include <charconv>

#include "base/log.hpp"
#include "hooks/disco.hpp"
#include "muc/live_room.hpp"
#include "xml/stanza_parser.hpp"
#include "xmpp/namespaces.hpp"

namespace hexad {

namespace {

constexpr std::size_t max_rooms = 5000;  ///< in memory, before new ones are refused
constexpr std::size_t inbox_page = 500;
constexpr milliseconds store_pause{500};

awaitable<void> pause(asio::io_context& io, milliseconds time) {
    asio::steady_timer timer(io, time);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace

MucModule::MucModule(ModuleContext& ctx) : ctx_(ctx) {
    const auto target = Target::of_service(ctx.options().rooms_label);
    ctx.hooks().service(ctx.options().rooms_label, "Rooms");
    ctx.hooks().identity(target, {"conference", "text", "Rooms"});
    ctx.feature(target, ns::muc);
    ctx.feature(target, ns::rsm);
    // What all rooms have.
    ctx.feature(target, "http://jabber.org/protocol/muc#stable_id");
    ctx.feature(target, ns::occupant_id);
    ctx.decide_get(target, QName{std::string(ns::disco_info), "query"}, this, &MucModule::service_info);
    ctx.on_get(target, QName{std::string(ns::disco_items), "query"}, this, &MucModule::service_items);
    ctx.decide_get(target, QName{std::string(ns::ping), "ping"}, this, &MucModule::service_ping);
    ctx.on(Phase::act, this, &MucModule::arrived);
    ctx.on(Phase::act, this, &MucModule::held_elsewhere);
    ctx.on(Phase::act, this, &MucModule::home_moved);
    ctx.on(Phase::act, this, &MucModule::started);
    ctx.on(Phase::observe, this, &MucModule::carried);
    ctx.on(Phase::act, this, &MucModule::fenced);
}

MucModule::~MucModule() = default;

// ---- the service ----

IqResult MucModule::service_info(IqRequest& request, Batch&) {
    if (!request.iq.payload.attr("node").empty()) return StanzaError::item_not_found();
    return disco_info(ctx_.hooks(), Target::of_service(ctx_.options().rooms_label));
}

IqResult MucModule::service_ping(IqRequest&, Batch&) { return Element{}; }

/// §6.3: the public rooms, in pages if asked (XEP-0059).
awaitable<IqResult> MucModule::service_items(IqRequest& request) {
    const auto payload = request.iq.payload;
    if (!payload.attr("node").empty()) co_return StanzaError::item_not_found();
    const auto rows = co_await ctx_.store().list_rooms(std::string(request.iq.to.domain()));
    if (!rows) co_return StanzaError::try_again();
    std::vector<std::pair<std::string, std::string>> rooms;
    for (const auto& row : *rows) {
        const auto config = muc::RoomConfig::decode(row.config);
        if (!config || !config->is_public || config->locked) continue;
        rooms.emplace_back(row.jid.to_string(),
                           config->name.empty() ? std::string(row.jid.local()) : config->name);
    }
    std::sort(rooms.begin(), rooms.end());
    std::size_t first = 0, count = rooms.size();
    const auto* set = payload.find("set", ns::rsm);
    if (set != nullptr) {
        const auto max = set->child_text("max", ns::rsm);
        if (!max.empty()) {
            const auto [end, error] = std::from_chars(max.data(), max.data() + max.size(), count);
            if (error != std::errc{} || end != max.data() + max.size())
                co_return StanzaError::bad_request("max is no number");
        }
        std::size_t index = 0;
        const auto wanted = set->child_text("index", ns::rsm);
        if (!wanted.empty()) {
            const auto [end, error] = std::from_chars(wanted.data(), wanted.data() + wanted.size(), index);
            if (error != std::errc{} || end != wanted.data() + wanted.size())
                co_return StanzaError::bad_request("index is no number");
            first = std::min(index, rooms.size());
        }
        const auto place = [&](const std::string& jid) {
            return static_cast<std::size_t>(
                std::lower_bound(rooms.begin(), rooms.end(), std::pair(jid, std::string())) - rooms.begin());
        };
        if (const auto* before = set->find("before", ns::rsm)) {
            const auto end = before->text().empty() ? rooms.size() : place(before->text());
            first = end - std::min(end, count);
            count = end - first;
        } else if (const auto after = set->child_text("after", ns::rsm); !after.empty()) {
            first = place(after);
            if (first < rooms.size() && rooms[first].first == after) ++first;
        }
    }
    const auto end = std::min(rooms.size(), first + std::min(count, rooms.size()));
    Element query("query", ns::disco_items);
    for (auto i = first; i < end; ++i) {
        query.add(Element("item", ns::disco_items).set("jid", rooms[i].first).set("name", rooms[i].second));
    }
    if (set != nullptr) {
        Element page("set", ns::rsm);
        if (first < end) {
            Element element("first", ns::rsm);
            page.add(std::move(element.set("index", std::to_string(first)).text(rooms[first].first)));
            page.add_text_child("last", ns::rsm, rooms[end - 1].first);
        }
        page.add_text_child("count", ns::rsm, std::to_string(rooms.size()));
        query.add(std::move(page));
    }
    co_return query;
}

// ---- rooms in memory ----

bool MucModule::is_room(const Jid& room) const {
    std::string label;
    return !ctx_.cluster().host_of_service(room.domain(), label).empty() &&
           label == ctx_.options().rooms_label;
}

MucModule::LivePtr MucModule::live(const Jid& room) {
    auto& slot = rooms_[room];
    if (!slot || slot->lost) slot = std::make_shared<Live>(room, ctx_.cluster().io());
    return slot;
}

Verdict MucModule::started(NodeStarted&) {
    if (!partitioned_) asio::co_spawn(ctx_.cluster().io(), resume_rooms({}), asio::detached);
    return Verdict::pass;
}

/// Continues the rooms that have occupants or unread input: all, or those of one partition.
awaitable<void> MucModule::resume_rooms(std::string home) {
    for (;;) {
        const auto active = co_await ctx_.cluster().session_log().active_rooms();
        if (active) {
            for (const auto& jid : *active) {
                if (!home.empty()) {
                    const auto row = co_await ctx_.store().load_room(jid);
                    if (row && (!*row || (*row)->home_node != home)) continue;
                }
                run(live(jid));
            }
            co_return;
        }
        co_await pause(ctx_.cluster().io(), store_pause);
    }
}

Verdict MucModule::arrived(RoomInputArrived& event) {
    const auto room = live(event.input.room);
    if (event.position > room->position) room->inbox.emplace(event.position, event.input);
    run(room);
    return Verdict::pass;
}

void MucModule::run(const LivePtr& room) {
    if (room->running || room->lost || room->moving) return;
    room->running = true;
    asio::co_spawn(ctx_.cluster().io(), work(room), asio::detached);
}

awaitable<MucModule::Loaded> MucModule::load(LivePtr live) {
    auto& room = live->room;
    const auto row = co_await ctx_.store().load_room(room.jid);
    if (!row) co_return Loaded::later;
    if (*row) ctx_.cluster().learn_room_home(room.jid, (*row)->home_node);
    live->home = *row ? RoomHome{(*row)->home_node, (*row)->id, (*row)->epoch}
                      : RoomHome{ctx_.cluster().node_name(), 0, 0};
    if (partitioned_ && !served_.contains(live->home.node)) co_return Loaded::elsewhere;
    const auto state = co_await ctx_.cluster().session_log().room_state(room.jid, live->home);
    if (!state) co_return Loaded::later;
    std::map<std::uint64_t, RoomInput> inbox;
    for (auto after = state->position;;) {
        auto entries = co_await ctx_.cluster().session_log().room_inbox(room.jid, after, inbox_page);
        if (!entries) co_return Loaded::later;
        for (auto& entry : *entries) {
            after = std::max(after, entry.position);
            inbox.emplace(entry.position, std::move(entry.input));
        }
        if (entries->size() < inbox_page) break;
    }
    if (*row) {
        if (!room.read(**row)) {
            log_error("room_broken", {{"room", room.jid.to_string()}});
            co_return Loaded::later;
        }
        if (room.exists && room.config.archived) {
            ArchiveQuery newest;
            newest.before_id = "";
            newest.limit = muc::Room::kept_past;
            auto page = co_await ctx_.store().room_archive_page(room.id, newest);
            if (!page) co_return Loaded::later;
            for (auto& item : page->items) {
                room.stored.insert(item.stanza_id);
                muc::without_sender(item.xml);
                if (item.xml.find("<body") != std::string::npos) room.remember(item.at, std::move(item.xml));
            }
        }
    }
    live->position = live->safe = state->position;
    live->occupants.clear();
    live->taken = state->origins;
    live->inbox.merge(inbox);
    if (room.exists) {
        for (const auto& put : state->occupants) {
            if (!room.read(put)) log_warn("occupant_broken", {{"room", room.jid.to_string()}});
            live->occupants[put.sid] = put.bytes;
        }
        if (!co_await leave_missing(live)) co_return Loaded::later;
    }
    if (!co_await ctx_.cluster().session_log().hold_room(room.jid)) co_return Loaded::later;
    former_.erase(room.jid);
    if (*row && !(*row)->moves_from.empty())
        asio::co_spawn(ctx_.cluster().io(), end_move(room.jid, (*row)->id, (*row)->epoch), asio::detached);
    live->loaded = true;
    co_return Loaded::yes;
}

/// Sessions that are gone leave their rooms now. A session that this node has not heard of yet may be one
/// that was bound a moment ago, or is being taken over: the session log tells.
awaitable<bool> MucModule::leave_missing(LivePtr live) {
    const auto& room = live->room;
    std::vector<std::string> unknown;
    for (const auto& [nick, occupant] : room.occupants) {
        for (const auto& session : occupant.sessions) {
            if (ctx_.routes().find_sid(occupant.account, session.sid) == nullptr)
                unknown.push_back(session.sid);
        }
    }
    if (unknown.empty()) co_return true;
    const auto missing = co_await ctx_.cluster().session_log().missing_sessions(std::move(unknown));
    if (!missing) co_return false;
    Batch batch;
    for (const auto& sid : *missing) {
        for (const auto& [nick, occupant] : room.occupants) {
            for (const auto& session : occupant.sessions) {
                if (session.sid != sid) continue;
                RoomInput input;
                input.room = room.jid;
                input.origin = {"gone:" + sid + ':' + random_id(5), 1, 0};
                input.sid = sid;
                input.from = session.jid;
                const auto to = room.occupant_jid(nick);
                input.xml = make_bytes(make_presence(session.jid, to, "unavailable").to_string(ns::client));
                batch.room_inputs.push_back(std::move(input));
            }
        }
    }
    if (!batch.room_inputs.empty()) ctx_.cluster().submit(std::move(batch));
    co_return true;
}

// ---- one input after another ----

awaitable<void> MucModule::work(LivePtr live) {
    while (!live->loaded && !live->lost && !live->moving) {
        const auto loaded = co_await load(live);
        if (loaded == Loaded::yes) break;
        live->room.forget();
        if (loaded == Loaded::later) {
            co_await pause(ctx_.cluster().io(), store_pause);
        } else {
            co_await not_ours(live);
        }
    }
    while (!live->inbox.empty() && live->loaded && !live->lost && !live->moving) {
        if (!owns(live->room)) {
            co_await not_ours(live);
            break;
        }
        if (live->inbox.begin()->first > live->position + 1) {
            if (!co_await fill_gap(live)) continue;
            if (live->inbox.begin()->first > live->position + 1) {
                // Somebody else has decided on what is missing: what is in memory is old.
                live->lost = live->stale = true;
                break;
            }
        }
        auto node = live->inbox.extract(live->inbox.begin());
        const auto position = node.key();
        if (position <= live->position) continue;
        const auto input = std::move(node.mapped());
        auto stanza = parse_element(*input.xml);
        if (!stanza) stanza = Element("presence", ns::client).set("type", "probe");  // only counted
        co_await prepare(live, input, *stanza);
        if (live->lost) break;
        if (!owns(live->room)) {  // another node was faster to create it
            live->inbox.emplace(position, input);
            continue;
        }
        live->position = position;
        live->taken.take(input.origin);
        live->decided.emplace(position, input);
        muc::Step step(live->room, ctx_, input, std::move(*stanza), position);
        decide(live, step);
        co_await commit(live, step);
    }
    live->running = false;
    const auto jid = live->room.jid;
    if (live->stale) {
        if (const auto it = rooms_.find(jid); it != rooms_.end() && it->second == live) rooms_.erase(it);
        run(this->live(jid));
        co_return;
    }
    unload(live);
}

/// Inputs that were announced to another node: they lie in the inbox all the same.
awaitable<bool> MucModule::fill_gap(LivePtr live) {
    auto entries =
        co_await ctx_.cluster().session_log().room_inbox(live->room.jid, live->position, inbox_page);
    if (!entries) {
        co_await pause(ctx_.cluster().io(), store_pause);
        co_return false;
    }
    for (auto& entry : *entries) live->inbox.emplace(entry.position, std::move(entry.input));
    co_return true;
}

/// Reads what the decision will ask for: accounts that the stanza names, the row of a room that is to be.
awaitable<void> MucModule::prepare(LivePtr live, const RoomInput& input, const Element& stanza) {
    for (const auto& account : muc::accounts_named(stanza)) {
        if (!ctx_.cluster().is_local_host(account.domain())) continue;
        while (!co_await ctx_.accounts().load(account)) co_await pause(ctx_.cluster().io(), store_pause);
    }
    auto& room = live->room;
    if (room.id != 0 || !muc::is_join(stanza) || !is_room(input.room) || rooms_.size() > max_rooms) co_return;
    // The end of a former room of this name comes first.
    co_await settle(live);
    while (!live->lost) {
        const auto found = co_await ctx_.store().create_room(room.jid, ctx_.cluster().node_name(), {});
        if (found) {
            if (!room.read(found->room)) log_error("room_broken", {{"room", room.jid.to_string()}});
            ctx_.cluster().learn_room_home(room.jid, found->room.home_node);
            break;
        }
        co_await pause(ctx_.cluster().io(), store_pause);
    }
}

awaitable<void> MucModule::settle(LivePtr live) {
    while (live->in_flight > 0 && !live->lost)
        co_await live->settled.async_wait(asio::as_tuple(asio::use_awaitable));
}

void MucModule::decide(const LivePtr& live, muc::Step& step) {
    auto& room = live->room;
    if (!room.exists && !muc::is_join(step.xml)) {
        // Who leaves a room that is no more is not told so twice.
        const auto type = step.xml.attr("type");
        if (step.xml.name() != "presence") {
            // XEP-0410 §3.3: item-not-found would tell that only the nickname has changed.
            const auto* payload = step.xml.first_element();
            const bool self_ping = step.xml.name() == "iq" && type == "get" && step.to.is_full() &&
                                   payload != nullptr && payload->is("ping", ns::ping);
            step.refuse(!is_room(room.jid) ? StanzaError::service_unavailable()
                        : self_ping ? StanzaError("cancel", "not-acceptable", "you are not in the room")
                                    : StanzaError::item_not_found());
        } else if (type.empty() && step.to.is_bare()) {
            step.refuse(StanzaError::jid_malformed("a nickname is needed"));
        } else if (type.empty()) {
            muc::decide_presence(step);
        }
        return;
    }
    if (room.id == 0) {
        step.refuse(is_room(room.jid) ? StanzaError::resource_constraint("too many rooms")
                                      : StanzaError::service_unavailable());
        return;
    }
    if (step.xml.name() == "presence") {
        muc::decide_presence(step);
    } else if (step.xml.name() == "message") {
        muc::decide_message(step);
    } else {
        muc::decide_iq(step);
    }
    step.finish();
}

awaitable<void> MucModule::commit(LivePtr live, muc::Step& step) {
    const auto& appends = step.batch.appends;
    const bool overtakes = std::any_of(appends.begin(), appends.end(),
                                       [&](const LogAppend& a) { return live->noticed.contains(a.sid); });
    if (overtakes) co_await settle(live);
    if (live->lost) co_return;
    std::vector<std::string> noticed;
    for (const auto& notice : step.batch.notices) {
        noticed.push_back(notice.sid);
        ++live->noticed[notice.sid];
    }
    ++live->in_flight;
    step.batch.room_gone = live->room.id == 0;
    auto later = std::move(step.later);
    const auto position = step.batch.room_position;
    auto occupants = step.batch.occupants;
    ctx_.cluster().submit(std::move(step.batch), [this, live, position, noticed = std::move(noticed),
                                                  occupants = std::move(occupants)](bool ok) {
        if (ok) {
            for (const auto& put : occupants) {
                if (put.removed) {
                    live->occupants.erase(put.sid);
                } else {
                    live->occupants[put.sid] = put.bytes;
                }
            }
            live->safe = std::max(live->safe, position);
            live->decided.erase(live->decided.begin(), live->decided.upper_bound(live->safe));
        }
        for (const auto& sid : noticed) {
            if (const auto it = live->noticed.find(sid); --it->second == 0) live->noticed.erase(it);
        }
        --live->in_flight;
        if (!ok && !live->lost) {
            live->lost = true;
            log_warn("room_lost", {{"room", live->room.jid.to_string()}});
        }
        if (live->in_flight == 0 || live->lost) live->settled.cancel();
        if (!live->running) unload(live);
    });
    if (later) {
        ++live->reading;
        asio::co_spawn(ctx_.cluster().io(), answer_later(live, std::move(later), step.input, step.xml),
                       asio::detached);
    }
}

/// An answer that takes reading does not hold the room up. It is not logged: a client whose node dies asks
/// again.
awaitable<void> MucModule::answer_later(LivePtr live, std::function<awaitable<IqResult>(IqRequest&)> handler,
                                        RoomInput input, Element stanza) {
    // What was sent before the question is part of the answer.
    co_await settle(live);
    IqRequest request;
    request.iq.from = input.from;
    request.iq.to = input.room;
    request.iq.id = std::string(stanza.attr("id"));
    request.iq.is_set = stanza.attr("type") == "set";
    if (const auto* payload = stanza.first_element()) request.iq.payload = *payload;
    auto result = co_await handler(request);
    Batch batch;
    const auto send = [&](Bytes bytes) {
        Notice notice;
        notice.account = input.from.bare();
        notice.sid = input.sid;
        notice.xml = std::move(bytes);
        batch.notices.push_back(std::move(notice));
    };
    for (auto& bytes : request.before) send(std::move(bytes));
    auto reply = result ? make_iq_result(stanza) : make_error_reply(stanza, result.error());
    reply.set("to", input.from.to_string());
    if (result && !result->name().empty()) reply.add(std::move(*result));
    send(make_bytes(reply.to_string(ns::client)));
    ctx_.cluster().submit(std::move(batch));
    --live->reading;
    unload(live);
}

void MucModule::unload(const LivePtr& live) {
    if (live->running || live->moving || live->reading > 0) return;
    const auto it = rooms_.find(live->room.jid);
    if (it == rooms_.end() || it->second != live) return;
    if (live->lost || (live->in_flight == 0 && live->inbox.empty() && live->room.occupants.empty()))
        rooms_.erase(it);
}

awaitable<bool> MucModule::destroy_room(Jid room) {
    const auto row = co_await ctx_.store().load_room(room.bare());
    if (!row || !*row || (*row)->config.empty()) co_return false;
    Element iq("iq", ns::client);
    iq.set("type", "set").set("id", "destroy").set("to", room.bare().to_string());
    Element query("query", ns::muc_owner);
    query.add(Element("destroy", ns::muc_owner));
    iq.add(std::move(query));
    RoomInput input;
    input.room = room.bare();
    input.origin = {"admin:" + random_id(8), 1, 0};
    input.from = room.domain_jid();
    input.xml = make_bytes(iq.to_string(ns::client));
    Batch batch;
    batch.room_inputs.push_back(std::move(input));
    ctx_.cluster().submit(std::move(batch));
    co_return true;
}

std::unique_ptr<MucModule> make_muc(ModuleContext& ctx) { return std::make_unique<MucModule>(ctx); }

}  // namespace hexad
