#include "cluster/cluster_backend.hpp"

#include <charconv>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "cluster/backend_scripts.hpp"
#include "cluster/msgpack.hpp"
#include "cluster/wire_codec.hpp"

namespace hexad {

namespace {

std::uint64_t to_number(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

/// The first word of a script's answer.
std::string verdict(const RedisReply& reply) {
    if (reply.kind == RedisReply::Kind::array && !reply.items.empty()) return reply.items.front().text;
    return {};
}

std::string micros(Timestamp at) { return std::to_string(at.time_since_epoch().count()); }

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
      retry_(io),
      scripts_(std::make_unique<Scripts>()) {}

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
    co_return co_await script.run(commands_, arguments(std::move(own)));
}

awaitable<Result<RedisReply>> ClusterBackend::run_owned(const RedisScript& script, std::string sid,
                                                        Epoch epoch, std::vector<std::string> own) {
    std::vector<std::string> words{std::move(sid), std::to_string(epoch.g), std::to_string(epoch.e)};
    for (auto& word : own) words.push_back(std::move(word));
    // Nothing of a session is given up because Redis is away for a while.
    for (;;) {
        auto reply = co_await script.run(commands_, arguments(words));
        const auto what = reply ? verdict(*reply) : std::string();
        if (reply && !reply->is_error() && what != "GEN" && what != "LEASE") co_return reply;
        if (reply && reply->is_error()) log_error("redis_script_failed", {{"error", reply->text}});
        if (stopping_) co_return asio::error::make_error_code(asio::error::operation_aborted);
        asio::steady_timer pause(io_, milliseconds(50));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

// ---- commits ----

void ClusterBackend::submit(Batch batch, std::function<void(const CommitOutcome&, Batch&)> done) {
    auto item = std::make_shared<Item>();
    item->batch = std::move(batch);
    item->done = std::move(done);
    item->bytes = 256;
    for (const auto& a : item->batch.appends) item->bytes += a.xml->size();
    for (const auto& a : item->batch.archive) item->bytes += a.xml->size();
    pending_bytes_ += item->bytes;
    queue_.push_back(std::move(item));
    if (queue_.size() == 1) asio::post(io_, [this] { pump(); });
}

void ClusterBackend::pump() {
    if (storing_ || queue_.empty()) return;
    storing_ = true;
    std::vector<ItemPtr> group(queue_.begin(), queue_.end());
    queue_.clear();
    for (const auto& item : group) in_flight_.push_back(item);
    asio::co_spawn(io_, store_group(std::move(group)), asio::detached);
}

awaitable<void> ClusterBackend::store_group(std::vector<ItemPtr> group) {
    std::vector<const Batch*> batches;
    std::vector<ItemPtr> owners;
    for (const auto& item : group) {
        if (!item->batch.touches_store()) continue;
        batches.push_back(&item->batch);
        owners.push_back(item);
    }
    if (!batches.empty()) {
        struct Waiting {
            explicit Waiting(asio::io_context& context)
                : timer(context, asio::steady_timer::time_point::max()) {}
            asio::steady_timer timer;
            bool done = false;
            std::vector<CommitStatus> statuses;
        };
        auto waiting = std::make_shared<Waiting>(io_);
        writer_.write(std::move(batches), [waiting](std::vector<CommitStatus> statuses) {
            waiting->statuses = std::move(statuses);
            waiting->done = true;
            waiting->timer.cancel();
        });
        while (!waiting->done) co_await waiting->timer.async_wait(asio::as_tuple(asio::use_awaitable));
        for (std::size_t i = 0; i < owners.size(); ++i) owners[i]->outcome.status = waiting->statuses[i];
    }
    storing_ = false;
    commit_group(std::move(group));
    pump();
}

void ClusterBackend::commit_group(std::vector<ItemPtr> group) {
    for (const auto& item : group) {
        if (item->outcome.status == CommitStatus::ok) {
            send_commit(item);
        } else {
            item->answered = true;
            if (item->outcome.status == CommitStatus::not_owner && on_refused)
                on_refused("store", item->batch, 0);
        }
    }
    release();
}

void ClusterBackend::send_commit(const ItemPtr& item) {
    std::vector<std::string> own;
    own.push_back(encode(item->batch));
    scripts_->commit.run(commands_, arguments(std::move(own)),
                         [this, item](Result<RedisReply> reply) { commit_answered(item, std::move(reply)); });
}

void ClusterBackend::commit_answered(const ItemPtr& item, Result<RedisReply> reply) {
    const auto what = reply && !reply->is_error() ? verdict(*reply) : std::string();
    if (what == "OK") {
        for (const auto& p : reply->items[1].items)
            item->outcome.positions.push_back(static_cast<std::uint64_t>(p.integer));
        for (const auto& p : reply->items[2].items)
            item->outcome.room_positions.push_back(static_cast<std::uint64_t>(p.integer));
    } else if (what == "DONE") {
        item->outcome.positions.assign(item->batch.appends.size(), 0);
    } else if (what == "ROUTE") {
        item->outcome.status = CommitStatus::route_moved;
    } else if (what == "ORDER") {
        item->outcome.status = CommitStatus::out_of_order;
    } else if (what == "OWNER") {
        item->outcome.status = CommitStatus::not_owner;
        if (on_refused)
            on_refused("state-store", item->batch,
                       reply->items.size() > 1 ? to_number(reply->items[1].text) : 0);
    } else {
        if (reply && reply->is_error()) log_error("redis_commit_failed", {{"error", reply->text}});
        // Redis is away, or another generation: the outcome is unknown. The script is idempotent by counter
        // and origin, so the batch is sent again, in its place, until an answer says what became of it.
        if (stopping_) return;
        auto timer = std::make_shared<asio::steady_timer>(io_, milliseconds(100));
        timer->async_wait([this, item, timer](error_code) {
            if (stopping_) return;
            // Order: only the oldest unanswered batch goes; its followers come after it.
            for (const auto& other : in_flight_) {
                if (other->answered) continue;
                if (other != item) {
                    commit_answered(item, asio::error::make_error_code(asio::error::try_again));
                    return;
                }
                break;
            }
            if (active_) {
                send_commit(item);
            } else {
                commit_answered(item, asio::error::make_error_code(asio::error::try_again));
            }
        });
        return;
    }
    item->answered = true;
    release();
}

void ClusterBackend::release() {
    while (!in_flight_.empty() && in_flight_.front()->answered) {
        auto item = in_flight_.front();
        in_flight_.pop_front();
        pending_bytes_ -= item->bytes;
        item->done(item->outcome, item->batch);
    }
}

std::string ClusterBackend::encode(const Batch& b) const {
    MsgpackWriter w;
    const auto bare_source = [&] {
        // Stanzas before <enable/> have a source of their own; the session they belong to is the same.
        auto sid = b.room_step ? std::string() : b.origin.source;
        if (sid.ends_with('#')) sid.pop_back();
        return sid;
    };
    std::vector<std::pair<std::string, std::string>> notices;
    for (const auto& notice : b.notices) {
        const auto bytes = codec::encode(notice);
        for (const auto& node : nodes_of_account(notice.account)) notices.emplace_back(node, bytes);
    }
    w.map(19);
    w.text("sid").text(bare_source());
    w.text("g").text(std::to_string(b.epoch.g)).text("e").text(std::to_string(b.epoch.e));
    w.text("n").number(b.origin.n).text("previous").number(b.previous).text("advances").boolean(b.advances);
    w.text("fresh").boolean(!b.sessions.empty() && b.origin.source.empty());
    const auto room = b.room_step ? Jid::parse(b.origin.source.substr(5)) : Result<Jid, JidError>(Jid{});
    w.text("room").text(b.room_step && room ? room->to_string() : "");
    w.text("home").text(b.room_step && room ? home_of_room(*room) : "");
    w.text("position").number(b.room_position);
    w.text("checks").array(static_cast<std::uint32_t>(b.checks.size()));
    for (const auto& check : b.checks) {
        w.map(2).text("u").text(check.account.to_string()).text("v").text(std::to_string(check.version));
    }
    w.text("sessions").array(static_cast<std::uint32_t>(b.sessions.size()));
    for (const auto& s : b.sessions) {
        w.map(10)
            .text("sid")
            .text(s.sid)
            .text("jid")
            .text(s.jid.to_string())
            .text("acc")
            .text(std::to_string(s.account));
        w.text("g").text(std::to_string(s.epoch.g)).text("e").text(std::to_string(s.epoch.e));
        w.text("mode").text(s.mode == SessionMode::bound     ? "bound"
                            : s.mode == SessionMode::filling ? "filling"
                                                             : "live");
        w.text("st").text(s.phase == SessionPhase::attached   ? "attached"
                          : s.phase == SessionPhase::detached ? "detached"
                                                              : "ending");
        w.text("till")
            .text(micros(s.until))
            .text("res")
            .text(s.resumable ? "1" : "0")
            .text("state")
            .text(s.state);
    }
    w.text("filling").array(static_cast<std::uint32_t>(b.filling.size()));
    for (const auto& sid : b.filling) w.text(sid);
    w.text("appends").array(static_cast<std::uint32_t>(b.appends.size()));
    for (const auto& a : b.appends) {
        const bool held = a.kind != EntryKind::iq && a.kind != EntryKind::transient;
        w.map(6).text("t").text(a.sid).text("src").text(a.origin.source).text("n").number(a.origin.n);
        w.text("sub").number(a.origin.sub).text("held").boolean(held).text("e").text(codec::encode(a));
    }
    w.text("rooms").array(static_cast<std::uint32_t>(b.room_inputs.size()));
    for (const auto& m : b.room_inputs) {
        w.map(6)
            .text("room")
            .text(m.room.to_string())
            .text("src")
            .text(m.origin.source)
            .text("n")
            .number(m.origin.n);
        w.text("sub")
            .number(m.origin.sub)
            .text("home")
            .text(home_of_room(m.room))
            .text("e")
            .text(codec::encode(m));
    }
    w.text("occupants").array(static_cast<std::uint32_t>(b.occupants.size()));
    for (const auto& o : b.occupants) {
        w.map(4)
            .text("room")
            .text(o.room.to_string())
            .text("sid")
            .text(o.sid)
            .text("bytes")
            .text(o.bytes)
            .text("removed")
            .boolean(o.removed);
    }
    w.text("routes").array(static_cast<std::uint32_t>(b.routes.size()));
    for (const auto& c : b.routes) {
        RouteChange kept = c;
        kept.broadcast.clear();
        w.map(6)
            .text("u")
            .text(c.account.to_string())
            .text("sid")
            .text(c.entry.sid)
            .text("ended")
            .boolean(c.ended);
        w.text("moves")
            .boolean(c.moves_version)
            .text("entry")
            .text(codec::encode(kept))
            .text("change")
            .text(codec::encode(c));
    }
    w.text("notices").array(static_cast<std::uint32_t>(notices.size()));
    for (const auto& [node, bytes] : notices) w.map(2).text("node").text(node).text("bytes").text(bytes);
    std::vector<std::string> changed;
    for (const auto& change : b.accounts) {
        if (const auto name = account_name(change.account)) changed.push_back(name->to_string());
    }
    w.text("accounts").array(static_cast<std::uint32_t>(changed.size()));
    for (const auto& name : changed) w.text(name);
    return w.take();
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
    for (std::size_t i = 0; i + 1 < flat.size(); i += 2) fields[flat[i].text] = flat[i + 1].text;
    ClaimedSession out;
    auto& r = out.record;
    r.sid = sid;
    r.account = static_cast<AccountId>(to_number(fields["acc"]));
    const auto jid = Jid::parse(fields["jid"]);
    if (!jid) return ClaimRefusal::unknown;
    r.jid = *jid;
    r.node = fields["node"];
    r.epoch = {to_number(fields["g"]), to_number(fields["e"])};
    r.in = to_number(fields["in"]);
    r.last = to_number(fields["L"]);
    r.mode = fields["mode"] == "live"      ? SessionMode::live
             : fields["mode"] == "filling" ? SessionMode::filling
                                           : SessionMode::bound;
    r.phase = fields["st"] == "attached" ? SessionPhase::attached
              : fields["st"] == "ending" ? SessionPhase::ending
                                         : SessionPhase::detached;
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
    return out;
}

awaitable<Result<ClaimedSession, ClaimRefusal>> ClusterBackend::claim(std::string sid, AccountId account,
                                                                      std::string) {
    std::vector<std::string> words{sid, std::to_string(account), "resume", "", ""};
    const auto reply = co_await run(scripts_->claim, std::move(words));
    if (!reply || reply->is_error()) co_return ClaimRefusal::unavailable;
    co_return read_claim(sid, *reply);
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
    std::vector<std::string> ask{"HMGET", key("s", sid), "acc", "fill"};
    const auto record = co_await commands_.ask(std::move(ask));
    if (!record || record->items.size() != 2) co_return StorageError::unavailable;
    const auto account = static_cast<AccountId>(to_number(record->items[0].text));
    const auto filled = to_number(record->items[1].text);
    const auto taken = co_await offline_.take(account, sid, filled);
    if (!taken) co_return StorageError::unavailable;
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
    if (!last) co_await offline_.done(sid, taken->batch);
    Filled out;
    out.finished = last;
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
    std::vector<std::string> ask{"HMGET", key("s", sid), "acc", "jid"};
    const auto record = co_await commands_.ask(std::move(ask));
    if (!record || record->items.size() != 2) co_return StorageError::unavailable;
    if (record->items[0].text.empty()) co_return out;  // somebody else has ended it
    const auto account = static_cast<AccountId>(to_number(record->items[0].text));
    const auto jid = Jid::parse(record->items[1].text);
    if (!jid) co_return out;
    const auto bytes = encode(farewell);
    for (;;) {
        std::vector<std::string> bare{jid->bare().to_string()};
        const auto ending = co_await run_owned(scripts_->ending, sid, epoch, std::move(bare));
        if (!ending) co_return StorageError::unavailable;
        if (verdict(*ending) != "OK") co_return out;  // claimed by another node
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
        if (!co_await offline_.put_back(account, sid, *jid, to_number(ending->items[2].text),
                                        to_number(ending->items[3].text), std::move(due))) {
            co_return StorageError::unavailable;
        }
        std::vector<std::string> own{ending->items[1].text, std::to_string(ending->items[6].integer), bytes};
        const auto ended = co_await run_owned(scripts_->end, sid, epoch, std::move(own));
        if (!ended) co_return StorageError::unavailable;
        if (verdict(*ended) != "GREW") co_return out;
    }
}

awaitable<Result<std::optional<SessionTomb>>> ClusterBackend::tomb(std::string sid) {
    co_return co_await offline_.tomb(std::move(sid));
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
    if (!reply || reply->is_error()) co_return StorageError::unavailable;
    std::vector<RoomEntry> out;
    for (const auto& item : reply->items) {
        auto input = codec::decode_room_input(item.items[1].items[1].text);
        if (input) out.push_back({to_number(item.items[0].text), std::move(*input)});
    }
    co_return out;
}

awaitable<Result<SessionLog::RoomState>> ClusterBackend::room_state(Jid room) {
    const auto name = key("r", room.to_string());
    std::vector<std::string> position{"HGET", name, "pos"};
    const auto at = co_await commands_.ask(std::move(position));
    std::vector<std::string> occupants{"HGETALL", name + ":occ"};
    const auto all = co_await commands_.ask(std::move(occupants));
    if (!at || !all || all->is_error()) co_return StorageError::unavailable;
    RoomState out;
    out.position = to_number(at->text);
    for (std::size_t i = 0; i + 1 < all->items.size(); i += 2) {
        OccupantPut put;
        put.room = room;
        put.sid = all->items[i].text;
        put.bytes = all->items[i + 1].text;
        out.occupants.push_back(std::move(put));
    }
    co_return out;
}

awaitable<Result<std::vector<Jid>>> ClusterBackend::active_rooms() {
    std::vector<std::string> words{"SMEMBERS", prefix_ + "rooms"};
    const auto reply = co_await commands_.ask(std::move(words));
    if (!reply || reply->is_error()) co_return StorageError::unavailable;
    std::vector<Jid> out;
    for (const auto& item : reply->items) {
        if (auto jid = Jid::parse(item.text)) out.push_back(std::move(*jid));
    }
    co_return out;
}

}  // namespace hexad
