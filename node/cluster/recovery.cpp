// Redis came back without its last writes, or empty: every node gives back what it knows (docs/delivery.md,
// "Redis or PostgreSQL away").
#include "base/log.hpp"
#include "cluster/backend_scripts.hpp"
#include "cluster/cluster_backend.hpp"
#include "cluster/msgpack.hpp"
#include "cluster/wire_codec.hpp"
#include "cluster/words.hpp"

namespace hexad {

namespace {

constexpr milliseconds orphans_within{10000};

void write_origins(MsgpackWriter& w, const Origins& origins) {
    w.text("origins").array(static_cast<std::uint32_t>(origins.all().size()));
    for (const auto& [source, value] : origins.all()) w.array(2).text(source).number(value);
}

std::string encode_carried(const CarriedSession& session, std::uint64_t route_version) {
    const auto& r = session.record;
    MsgpackWriter w;
    w.map(20);
    w.text("sid").text(r.sid).text("jid").text(r.jid.to_string()).text("acc").text(std::to_string(r.account));
    w.text("g").text(std::to_string(r.epoch.g)).text("e").text(std::to_string(r.epoch.e));
    w.text("in").number(r.in).text("last").number(r.last);
    w.text("mode").text(word_of(r.mode)).text("st").text(word_of(r.phase));
    w.text("till").text(micros(r.until));
    w.text("res").text(r.resumable ? "1" : "0").text("state").text(r.state);
    w.text("fill").text(std::to_string(session.filled));
    const auto write = [&](std::uint32_t fields, const LogEntry& entry) {
        LogAppend append;
        append.origin = entry.origin;
        append.stanza_id = entry.stanza_id;
        append.kind = entry.kind;
        append.co_targets = entry.co_targets;
        append.owner = r.account;
        append.xml = entry.xml;
        w.array(fields).text(codec::encode(append)).text(entry.origin.source);
        w.number(Origins::value_of(entry.origin));
    };
    const auto shared = [](const LogEntry& e) { return e.co_targets.empty() ? std::string() : e.stanza_id; };
    w.text("entries").array(static_cast<std::uint32_t>(session.entries.size()));
    for (const auto& entry : session.entries) {
        write(5, entry);
        w.number(entry.number).text(shared(entry));
    }
    w.text("held").array(static_cast<std::uint32_t>(session.held.size()));
    for (const auto& entry : session.held) {
        write(4, entry);
        w.text(shared(entry));
    }
    write_origins(w, session.origins);
    RouteChange route;
    route.account = r.jid.bare();
    route.entry = session.route;
    w.text("u").text(route.account.to_string()).text("v").number(route_version);
    w.text("entry").text(codec::encode(route));
    w.text("node").text(r.node);
    return w.take();
}

}  // namespace

/// recover → refill → stage → open. False: Redis went away again, or somebody started a newer generation.
awaitable<bool> ClusterBackend::recover(std::uint64_t generation, bool fresh) {
    const auto begin = SteadyClock::now();
    generation_ = generation;
    std::vector<std::string> own{commands_.run_id()};
    const auto reply = co_await run(scripts_->recover, std::move(own));
    if (verdict(reply) != "OK") co_return false;
    const auto survived = to_number(reply->items[2].text);
    pipeline_.hold();
    if (!co_await refill_partitions() || !co_await refill_sessions() || !co_await refill_rooms() ||
        !co_await stage(survived) || !co_await wait_open(fresh)) {
        co_return false;
    }
    member_of_ = generation;
    connected_since_ = SteadyClock::now();
    froze_ = false;
    if (!co_await renew()) co_return false;
    const auto took = std::chrono::duration_cast<milliseconds>(SteadyClock::now() - begin).count();
    log_warn("state_store_recovered", {{"g", generation},
                                       {"survived", survived},
                                       {"sessions", events.carried_sids().size()},
                                       {"took_ms", std::int64_t{took}}});
    pipeline_.thaw();
    if (events.recovered) events.recovered();
    if (follows_) {
        asio::co_spawn(io_, reread_routes(), asio::detached);
        asio::co_spawn(io_, end_orphans(), asio::detached);
    }
    co_return true;
}

awaitable<bool> ClusterBackend::refill_partitions() {
    const auto partitions = co_await epochs_.partitions();
    if (!partitions) co_return false;
    for (const auto& p : *partitions) {
        std::vector<std::string> own{p.home, p.serving, std::to_string(p.epoch)};
        if (verdict(co_await run(scripts_->refill_partition, std::move(own))) != "OK") co_return false;
    }
    co_return true;
}

awaitable<bool> ClusterBackend::refill_sessions() {
    for (const auto& sid : events.carried_sids()) {
        if (!co_await refill_session(sid)) co_return false;
    }
    co_return true;
}

awaitable<bool> ClusterBackend::refill_session(const std::string& sid) {
    auto session = events.carried_session(sid);
    if (!session) co_return true;  // it ended meanwhile
    const auto unlogged = pipeline_.counted_unlogged(sid);
    session->record.in = std::max(session->record.in, unlogged);
    std::vector<std::string> own{encode_carried(*session, events.route_version(session->record.jid.bare()))};
    const auto reply = co_await run(scripts_->refill, std::move(own));
    const auto what = verdict(reply);
    if (what == "LOST") {
        events.lost(sid);
        co_return true;
    }
    if (what != "OK") co_return false;
    std::vector<LogEntry> late;
    for (const auto& item : reply->items[2].items) {
        auto decoded = codec::decode_entry(item.items[1].text);
        if (!decoded) continue;
        decoded->entry.position = to_number(item.items[0].text);
        late.push_back(std::move(decoded->entry));
    }
    events.refilled(sid, to_number(reply->items[1].text), late);
    co_return true;
}

awaitable<bool> ClusterBackend::refill_rooms() {
    for (const auto& room : events.carried_rooms()) {
        MsgpackWriter w;
        RoomInput counted;  // what stands where an input is missing: its writer hands it in behind the others
        counted.room = room.room;
        counted.from = room.room.domain_jid();
        counted.xml = make_bytes("<presence type='probe'/>");
        w.map(10).text("home").text(knows_homes() ? room.home.node : std::string());
        w.text("id").text(std::to_string(room.home.id)).text("epoch").text(std::to_string(room.home.epoch));
        w.text("former")
            .boolean(room.former)
            .text("room")
            .text(room.room.to_string())
            .text("pos")
            .number(room.position);
        w.text("occupants").array(static_cast<std::uint32_t>(room.occupants.size()));
        for (const auto& o : room.occupants) w.array(2).text(o.sid).text(o.bytes);
        write_origins(w, room.origins);
        w.text("inputs").array(static_cast<std::uint32_t>(room.inputs.size()));
        for (const auto& [position, input] : room.inputs)
            w.array(2).number(position).text(codec::encode(input));
        w.text("counted").text(codec::encode(counted));
        std::vector<std::string> own{w.take()};
        if (verdict(co_await run(scripts_->refill_room, std::move(own))) != "OK") co_return false;
    }
    co_return true;
}

awaitable<bool> ClusterBackend::stage(std::uint64_t survived) {
    std::vector<std::string> own;
    std::size_t size = 0;
    const auto outputs = pipeline_.lost_outputs(survived);
    for (std::size_t i = 0; i < outputs.size(); ++i) {
        MsgpackWriter w;
        w.array(3).text(outputs[i].source).number(outputs[i].n).text(outputs[i].bytes);
        own.push_back(w.take());
        size += own.back().size();
        if (own.size() < 500 && size < (1u << 20) && i + 1 < outputs.size()) continue;
        if (verdict(co_await run(scripts_->stage, std::move(own))) != "OK") co_return false;
        own.clear();
        size = 0;
    }
    if (!outputs.empty()) log_warn("outputs_staged", {{"count", outputs.size()}});
    co_return true;
}

/// Who has not come by the end of a lease (and a tenth) is fenced: it starts empty.
awaitable<bool> ClusterBackend::wait_open(bool fresh) {
    const auto wait = fresh ? milliseconds(0) : options_.lease * 11 / 10;
    for (;;) {
        std::vector<std::string> own{std::to_string(wait.count())};
        own.insert(own.end(), options_.nodes.begin(), options_.nodes.end());
        const auto reply = co_await run(scripts_->open, std::move(own));
        const auto what = verdict(reply);
        if (what == "OPEN") co_return true;
        if (what != "WAIT") co_return false;
        asio::steady_timer pause(io_, milliseconds(50));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

/// Sessions that Redis says this node carries, and that it knows nothing of: their end was lost.
awaitable<void> ClusterBackend::end_orphans() {
    if (!co_await wait_active(orphans_within)) co_return;
    const auto sids = co_await sessions_of(options_.node);
    if (!sids) co_return;
    const auto mine = events.carried_sids();
    const std::set<std::string> known(mine.begin(), mine.end());
    for (const auto& sid : *sids) {
        if (!known.contains(sid)) co_await end_if_over(sid, options_.node);
    }
}

awaitable<std::optional<bool>> ClusterBackend::end_if_over(std::string sid, std::string carrier) {
    const auto left = co_await offline_.tomb(sid);
    if (!left) co_return std::nullopt;
    if (!*left) co_return false;  // being bound, or claimed a moment ago
    const auto claimed = co_await adopt(sid, std::move(carrier), wall_now(), true);
    if (!claimed) co_return true;
    // What it had is stored already; only its record came back.
    Batch farewell;
    RouteChange change;
    change.account = claimed->record.jid.bare();
    change.entry.sid = sid;
    change.entry.jid = claimed->record.jid;
    change.ended = change.moves_version = true;
    farewell.routes.push_back(std::move(change));
    std::vector<std::string> own{std::to_string(claimed->record.last), "0", encode(farewell, {})};
    co_await run_owned(scripts_->end, sid, claimed->record.epoch, std::move(own));
    log_info("session_orphan_ended", {{"jid", claimed->record.jid.to_string()}});
    co_return true;
}

}  // namespace hexad
