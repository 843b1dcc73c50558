#include "cluster/cluster_backend.hpp"

#include "base/fail_point.hpp"
#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "cluster/backend_scripts.hpp"
#include "cluster/msgpack.hpp"
#include "cluster/wire_codec.hpp"
#include "cluster/words.hpp"

namespace hexad {

namespace {

/// How long a resume waits for a Redis that is away or recovering (docs/delivery.md, "Resume").
constexpr milliseconds resume_patience{30000};

}  // namespace

ClusterBackend::ClusterBackend(asio::io_context& io, ClusterOptions options, StoreWriter& writer,
                               OfflineStore& offline, EpochStore& epochs)
    : io_(io),
      options_(std::move(options)),
      writer_(writer),
      offline_(offline),
      epochs_(epochs),
      prefix_("{hexad:" + options_.id + "}:"),
      commands_(io, options_.redis),
      reader_(io, options_.redis),
      keeper_(
          {options_.redis, prefix_, options_.node, options_.lease, options_.renew, options_.longest_turn}),
      scripts_(std::make_unique<Scripts>()),
      wake_(io, asio::steady_timer::time_point::max()),
      opened_(io, asio::steady_timer::time_point::max()),
      pipeline_(io, writer, options_.durability, pipeline_calls()) {
    writer_.on_state = [this](bool up) {
        pipeline_.store_state(up);
        if (on_store_state) on_store_state(up);
    };
}

CommitPipeline::Calls ClusterBackend::pipeline_calls() {
    CommitPipeline::Calls calls;
    calls.encode = [this](const Batch& batch, const std::string& spill) { return encode(batch, spill); };
    calls.encode_rows = [](const Batch& batch) { return codec::encode_rows(batch); };
    calls.send = [this](const std::string& bytes, std::function<void(Result<RedisReply>)> done) {
        std::vector<std::string> own{bytes};
        scripts_->commit.run(commands_, arguments(std::move(own)), std::move(done));
    };
    calls.distrusted = [this] { distrust(); };
    calls.refused = [this](std::string_view by, const Batch& batch, std::uint64_t epoch) {
        if (on_refused) on_refused(by, batch, epoch);
    };
    calls.drained = [this] {
        commands_.command({"DEL", key("spill", options_.node)}, [](Result<RedisReply>) {});
    };
    calls.deliver_unlogged = [this](const Batch& batch) { return events.deliver_unlogged(batch); };
    return calls;
}

ClusterBackend::~ClusterBackend() = default;

std::string ClusterBackend::key(std::string_view kind, std::string_view name) const {
    std::string out = prefix_;
    out += kind;
    out += ':';
    out += name;
    return out;
}

std::vector<std::string> ClusterBackend::arguments(std::vector<std::string> own) const {
    std::vector<std::string> words{prefix_, std::to_string(generation_), options_.node,
                                   std::to_string(incarnation_)};
    for (auto& word : own) words.push_back(std::move(word));
    return words;
}

awaitable<Result<RedisReply>> ClusterBackend::run(const RedisScript& script, std::vector<std::string> own) {
    auto reply = co_await script.run(commands_, arguments(std::move(own)));
    if (reply && reply->is_error()) log_error("redis_script_failed", {{"error", reply->text}});
    co_return reply;
}

awaitable<Result<RedisReply>> ClusterBackend::run_owned(const RedisScript& script, std::string sid,
                                                        Epoch epoch, std::vector<std::string> own) {
    std::vector<std::string> words{std::move(sid), std::to_string(epoch.g), std::to_string(epoch.e)};
    for (auto& word : own) words.push_back(std::move(word));
    // Nothing of a session is given up because Redis is away for a while.
    for (;;) {
        while (!active_ && !stopping_) co_await opened_.async_wait(asio::as_tuple(asio::use_awaitable));
        if (stopping_) co_return asio::error::make_error_code(asio::error::operation_aborted);
        auto reply = co_await script.run(commands_, arguments(words));
        const auto what = reply ? verdict(*reply) : std::string();
        if (reply && !reply->is_error() && what != "GEN" && what != "LEASE") co_return reply;
        if (reply && reply->is_error()) {
            log_error("redis_script_failed", {{"error", reply->text}});
            asio::steady_timer pause(io_, milliseconds(50));
            co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        }
        distrust();
    }
}

awaitable<bool> ClusterBackend::wait_active(milliseconds time) {
    const auto deadline = SteadyClock::now() + time;
    while (!active_ && !stopping_ && SteadyClock::now() < deadline) {
        asio::steady_timer pause(io_, milliseconds(20));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return active_;
}

// ---- commits ----

void ClusterBackend::submit(Batch batch, std::function<void(const CommitOutcome&, Batch&)> done) {
    pipeline_.submit(std::move(batch), std::move(done));
}

// ---- session log ----

Result<ClaimedSession, ClaimRefusal> ClusterBackend::read_claim(const std::string& sid,
                                                                const RedisReply& reply) {
    const auto what = verdict(reply);
    if (what == "NONE" || what == "MOVED") return ClaimRefusal::unknown;
    if (what == "ACCOUNT") return ClaimRefusal::other_account;
    if (what == "ENDING") return ClaimRefusal::ending;
    if (what != "OK") return ClaimRefusal::unavailable;
    std::map<std::string, std::string> fields;
    const auto& flat = reply.items[1].items;
    ClaimedSession out;
    for (std::size_t i = 0; i + 1 < flat.size(); i += 2) {
        if (flat[i].text.starts_with("o:")) {
            out.origins.raise(flat[i].text.substr(2), to_number(flat[i + 1].text));
        } else {
            fields[flat[i].text] = flat[i + 1].text;
        }
    }
    auto& r = out.record;
    out.filled = to_number(fields["fill"]);
    r.sid = sid;
    r.account = static_cast<AccountId>(to_number(fields["acc"]));
    const auto jid = Jid::parse(fields["jid"]);
    if (!jid) return ClaimRefusal::unknown;
    r.jid = *jid;
    r.node = fields["node"];
    r.epoch = {to_number(fields["g"]), to_number(fields["e"])};
    r.in = to_number(fields["in"]);
    r.last = to_number(fields["L"]);
    r.mode = mode_of(fields["mode"]);
    r.phase = phase_of(fields["st"]);
    r.resumable = fields["res"] == "1";
    r.until = Timestamp(std::chrono::microseconds(static_cast<std::int64_t>(to_number(fields["until"]))));
    r.state = fields["state"];
    for (const auto& item : reply.items[2].items) {
        auto decoded = codec::decode_entry(item.items[2].text);
        if (!decoded) continue;
        decoded->entry.position = to_number(item.items[0].text);
        decoded->entry.number = static_cast<std::uint32_t>(to_number(item.items[1].text));
        out.entries.push_back(std::move(decoded->entry));
    }
    for (const auto& item : reply.items[3].items) {
        if (auto decoded = codec::decode_entry(item.text)) out.held.push_back(std::move(decoded->entry));
    }
    return out;
}

awaitable<Result<ClaimedSession, ClaimRefusal>> ClusterBackend::claim(std::string sid, AccountId account,
                                                                      std::string) {
    const auto deadline = SteadyClock::now() + resume_patience;
    for (;;) {
        const auto left = std::chrono::duration_cast<milliseconds>(deadline - SteadyClock::now());
        if (!co_await wait_active(left)) co_return ClaimRefusal::unavailable;
        std::vector<std::string> words{sid, std::to_string(account), "resume", "", ""};
        const auto reply = co_await run(scripts_->claim, std::move(words));
        const auto what = reply ? verdict(*reply) : std::string();
        if (reply && reply->is_error()) co_return ClaimRefusal::unavailable;
        if (reply && what != "GEN" && what != "LEASE") co_return read_claim(sid, *reply);
        distrust();
    }
}

awaitable<Result<ClaimedSession, ClaimRefusal>> ClusterBackend::adopt(std::string sid, std::string from,
                                                                      Timestamp until, bool ending) {
    std::vector<std::string> words{sid, "", ending ? "end" : "adopt", micros(until), from};
    const auto reply = co_await run(scripts_->claim, std::move(words));
    if (!reply || reply->is_error()) co_return ClaimRefusal::unavailable;
    co_return read_claim(sid, *reply);
}

awaitable<Result<bool>> ClusterBackend::settle(std::string sid, Epoch epoch, std::uint32_t h) {
    std::vector<std::string> own{std::to_string(h)};
    const auto reply = co_await run_owned(scripts_->settle, std::move(sid), epoch, std::move(own));
    co_return reply&& verdict(*reply) == "OK";
}

awaitable<Result<bool>> ClusterBackend::number(std::string sid, Epoch epoch, std::vector<Number> numbers) {
    std::vector<std::string> own;
    for (const auto& n : numbers) {
        own.push_back(std::to_string(n.position));
        own.push_back(std::to_string(n.number));
    }
    const auto reply = co_await run_owned(scripts_->number, std::move(sid), epoch, std::move(own));
    co_return reply&& verdict(*reply) == "OK";
}

void ClusterBackend::ack(std::string sid, Epoch epoch, std::uint64_t position) {
    std::vector<std::string> words{sid, std::to_string(epoch.g), std::to_string(epoch.e),
                                   std::to_string(position)};
    // A lost acknowledgement costs nothing: the next one covers it.
    scripts_->ack.run(commands_, arguments(std::move(words)), [](Result<RedisReply>) {});
}

awaitable<Result<SessionLog::Filled>> ClusterBackend::fill(std::string sid, Epoch epoch) {
    std::vector<std::string> asked{sid};
    asked.insert(asked.end(), options_.nodes.begin(), options_.nodes.end());
    const auto ready = co_await run(scripts_->backlog, std::move(asked));
    if (verdict(ready) != "OK") co_return StorageError::unavailable;
    const auto account = static_cast<AccountId>(to_number(ready->items[1].text));
    const auto filled = to_number(ready->items[2].text);
    const auto taken = co_await offline_.take(account, {sid, epoch}, filled);
    if (!taken) co_return StorageError::unavailable;
    fail_point("backlog-taken");
    MsgpackWriter rows;
    rows.array(static_cast<std::uint32_t>(taken->rows.size()));
    std::uint64_t n = 0;
    for (const auto& row : taken->rows) {
        LogAppend append;
        append.origin = {"offline", taken->batch * 1000 + ++n, 0};
        append.stanza_id = row.stanza_id;
        append.owner = account;
        append.xml = row.xml;
        rows.text(codec::encode(append));
    }
    const bool last = taken->rows.empty();
    std::vector<std::string> own{std::to_string(last ? 0 : taken->batch), last ? "1" : "0", rows.take()};
    const auto reply = co_await run_owned(scripts_->fill, sid, epoch, std::move(own));
    if (!reply || verdict(*reply) != "OK") co_return StorageError::unavailable;
    fail_point("backlog-filled");
    if (!last) co_await offline_.done(sid, taken->batch);
    Filled out;
    out.finished = last;
    out.batch = last ? filled : taken->batch;
    for (const auto& item : reply->items[1].items) {
        auto decoded = codec::decode_entry(item.items[2].text);
        if (!decoded) continue;
        decoded->entry.position = to_number(item.items[0].text);
        out.entries.push_back(std::move(decoded->entry));
    }
    co_return out;
}

awaitable<Result<SessionLog::Ended>> ClusterBackend::end(std::string sid, Epoch epoch, Batch farewell) {
    Ended out;
    for (bool raised = false;;) {
        const auto ending = co_await run_owned(scripts_->ending, sid, epoch, {});
        if (!ending) co_return StorageError::unavailable;
        if (verdict(*ending) != "OK") co_return out;  // another node has claimed it, or ended it
        fail_point("ending");
        const auto account = static_cast<AccountId>(to_number(ending->items[7].text));
        const auto jid = Jid::parse(ending->items[8].text);
        if (!jid) co_return out;
        std::vector<std::string> live;
        for (const auto& other : ending->items[5].items) live.push_back(other.text);
        std::vector<OfflineRow> due;
        out.unanswered.clear();
        out.stored.clear();
        for (const auto& item : ending->items[4].items) {
            auto decoded = codec::decode_entry(item.text);
            if (!decoded) continue;
            if (decoded->entry.kind == EntryKind::iq) out.unanswered.push_back(decoded->entry);
            if (decoded->entry.kind != EntryKind::message) continue;
            const bool elsewhere =
                std::any_of(decoded->co_targets.begin(), decoded->co_targets.end(), [&](const auto& target) {
                    return std::find(live.begin(), live.end(), target) != live.end();
                });
            if (elsewhere) continue;
            OfflineRow row;
            row.owner = account;
            row.stanza_id = decoded->entry.stanza_id;
            row.at = wall_now();
            row.from = *jid;
            row.xml = decoded->entry.xml;
            out.stored.push_back(row.stanza_id);
            due.push_back(std::move(row));
        }
        const auto kept =
            co_await offline_.put_back(account, {sid, epoch}, *jid, to_number(ending->items[2].text),
                                       to_number(ending->items[3].text), std::move(due));
        if (!kept && kept.error() == StorageError::fenced && !raised) {
            // The store knows of a later carrier than this Redis, which has lost it: the end comes after
            // that.
            const auto again = co_await adopt(sid, options_.node, wall_now(), true);
            if (!again) co_return StorageError::unavailable;
            epoch = again->record.epoch;
            raised = true;
            continue;
        }
        if (!kept && !raised) co_return StorageError::unavailable;
        if (!kept) {  // the caller knows only the epoch from before
            asio::steady_timer pause(io_, milliseconds(500));
            co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
            if (stopping_) co_return StorageError::unavailable;
            continue;
        }
        fail_point("put-back");
        for (auto& change : farewell.routes) change.left_messages = !out.stored.empty();
        const auto bytes = encode(farewell, {});
        std::vector<std::string> own{ending->items[1].text, std::to_string(ending->items[6].integer), bytes};
        const auto ended = co_await run_owned(scripts_->end, sid, epoch, std::move(own));
        if (!ended) co_return StorageError::unavailable;
        if (verdict(*ended) == "OK") pipeline_.keep({to_number(ended->items[1].text), {}, 0, bytes});
        if (verdict(*ended) != "GREW") co_return out;
    }
}

awaitable<Result<std::optional<SessionTomb>>> ClusterBackend::tomb(std::string sid) {
    co_return co_await offline_.tomb(std::move(sid));
}

/// After reads without a script: whether they read the Redis that this node trusts, and not one that has just
/// come back empty.
awaitable<bool> ClusterBackend::was_trusted() {
    std::vector<std::string> ask{"HMGET", prefix_ + "gen", "g", "state"};
    const auto gen = co_await commands_.ask(std::move(ask));
    co_return active_&& gen && gen->items.size() == 2 && to_number(gen->items[0].text) == generation_ &&
        gen->items[1].text == "open";
}

awaitable<Result<std::vector<SessionLog::RoomEntry>>> ClusterBackend::room_inbox(Jid room,
                                                                                 std::uint64_t position,
                                                                                 std::size_t limit) {
    std::vector<std::string> words{"XRANGE",
                                   key("r", room.to_string()) + ":in",
                                   '(' + std::to_string(position) + "-0",
                                   "+",
                                   "COUNT",
                                   std::to_string(limit)};
    const auto reply = co_await commands_.ask(std::move(words));
    if (!reply || reply->is_error() || !co_await was_trusted()) co_return StorageError::unavailable;
    std::vector<RoomEntry> out;
    for (const auto& item : reply->items) {
        auto input = codec::decode_room_input(item.items[1].items[1].text);
        if (input) out.push_back({to_number(item.items[0].text), std::move(*input)});
    }
    co_return out;
}

awaitable<Result<SessionLog::RoomState>> ClusterBackend::room_state(Jid room, RoomHome row) {
    // The epoch that the room's row was read with is this node's only if Redis and the store agree that it
    // serves: a peer raises it in the store first.
    const auto home = row.id != 0 ? row.node : home_of_room(room);
    const auto stored = co_await epochs_.partitions();
    std::vector<std::string> homes{home};
    const auto served = co_await partitions(std::move(homes));
    if (!stored || !served) co_return StorageError::unavailable;
    for (const auto& p : *stored) {
        const auto it = served->find(home);
        if (p.home == home && it != served->end() && !it->second.serving.empty() &&
            (it->second.serving != options_.node || it->second.epoch != p.epoch))
            co_return StorageError::unavailable;
    }
    if (row.id != 0) {
        std::vector<std::string> own{room.to_string(), row.node, std::to_string(row.id),
                                     std::to_string(row.epoch), knows_homes() ? "1" : "0"};
        const auto taken = co_await run(scripts_->take_room, std::move(own));
        if (!taken || verdict(*taken) != "OK") co_return StorageError::unavailable;
        fail_point("room-taken");
    }
    const auto name = key("r", room.to_string());
    std::vector<std::string> position{"HGETALL", name};
    const auto at = co_await commands_.ask(std::move(position));
    std::vector<std::string> occupants{"HGETALL", name + ":occ"};
    const auto all = co_await commands_.ask(std::move(occupants));
    if (!at || !all || at->is_error() || all->is_error() || !co_await was_trusted())
        co_return StorageError::unavailable;
    RoomState out;
    for (std::size_t i = 0; i + 1 < at->items.size(); i += 2) {
        const auto& field = at->items[i].text;
        if (field == "pos") out.position = to_number(at->items[i + 1].text);
        if (field.starts_with("o:")) out.origins.raise(field.substr(2), to_number(at->items[i + 1].text));
    }
    for (std::size_t i = 0; i + 1 < all->items.size(); i += 2) {
        OccupantPut put;
        put.room = room;
        put.sid = all->items[i].text;
        put.bytes = all->items[i + 1].text;
        out.occupants.push_back(std::move(put));
    }
    co_return out;
}

awaitable<Result<bool>> ClusterBackend::move_room(Jid room, RoomHome home,
                                                  std::optional<std::uint64_t> position) {
    if (!knows_homes()) co_return false;
    std::vector<std::string> own{room.to_string(), home.node, std::to_string(home.id),
                                 std::to_string(home.epoch), position ? std::to_string(*position) : ""};
    const auto reply = co_await run(scripts_->move_room, std::move(own));
    const auto what = reply ? verdict(*reply) : std::string();
    if (what == "OK" || what == "OLD") co_return true;  // old: it has moved on since
    if (what == "OWNER" || what == "ORDER") co_return false;
    co_return StorageError::unavailable;
}

awaitable<Result<bool>> ClusterBackend::hold_room(Jid room) {
    std::vector<std::string> own{room.to_string()};
    const auto reply = co_await run(scripts_->held_room, std::move(own));
    if (!reply || verdict(*reply) != "OK") co_return StorageError::unavailable;
    co_return true;
}

awaitable<Result<std::vector<std::string>>> ClusterBackend::missing_sessions(std::vector<std::string> sids) {
    std::vector<std::vector<std::string>> asks;
    for (const auto& sid : sids) asks.push_back({"EXISTS", key("s", sid)});
    const auto exist = co_await ask_all(std::move(asks));
    if (!exist || !co_await was_trusted()) co_return StorageError::unavailable;
    std::vector<std::string> out;
    for (std::size_t i = 0; i < sids.size(); ++i) {
        if ((*exist)[i].integer == 0) out.push_back(sids[i]);
    }
    co_return out;
}

awaitable<Result<std::vector<Jid>>> ClusterBackend::active_rooms() {
    std::vector<std::string> words{"SMEMBERS", prefix_ + "rooms"};
    const auto reply = co_await commands_.ask(std::move(words));
    if (!reply || reply->is_error() || !co_await was_trusted()) co_return StorageError::unavailable;
    std::vector<Jid> out;
    for (const auto& item : reply->items) {
        if (auto jid = Jid::parse(item.text)) out.push_back(std::move(*jid));
    }
    co_return out;
}

awaitable<Result<std::vector<LogEntry>>> ClusterBackend::entries_after(std::string sid,
                                                                       std::uint64_t position) {
    std::vector<std::string> words{"XRANGE", key("s", sid) + ":log", '(' + std::to_string(position) + "-0",
                                   "+"};
    const auto reply = co_await commands_.ask(std::move(words));
    if (!reply || reply->is_error() || !co_await was_trusted()) co_return StorageError::unavailable;
    std::vector<LogEntry> out;
    for (const auto& item : reply->items) {
        auto decoded = codec::decode_entry(item.items[1].items[1].text);
        if (!decoded) continue;
        decoded->entry.position = to_number(item.items[0].text);
        out.push_back(std::move(decoded->entry));
    }
    co_return out;
}

}  // namespace hexad
