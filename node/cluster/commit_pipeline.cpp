#include "cluster/commit_pipeline.hpp"

#include <boost/asio/post.hpp>

#include "base/fail_point.hpp"
#include "base/log.hpp"
#include "cluster/words.hpp"

namespace hexad {

namespace {

constexpr std::size_t most_spilled_rows = 100'000;
constexpr std::size_t most_spilled_bytes = 256u << 20;
constexpr std::size_t most_following_bytes = 64u << 20;
constexpr std::size_t most_output_bytes = 128u << 20;
constexpr int most_out_of_order = 5;

/// What must happen one behind the other: a session's stanzas and the changes of its record, a room's steps.
std::string lane_of(const Batch& batch) {
    auto lane = batch.origin.source;
    if (lane.empty() && batch.sessions.size() == 1) lane = batch.sessions.front().sid;
    // Stanzas before <enable/> have a source of their own; the session is the same.
    if (lane.ends_with('#')) lane.pop_back();
    return lane;
}

/// Rows that may follow later: they depend on nothing that could refuse them.
bool may_spill(const Batch& b) {
    return b.accounts.empty() && b.documents.empty() && b.rooms.empty() && b.affiliations.empty() &&
           b.destroyed_rooms.empty();
}

std::size_t rows_of(const Batch& b) { return b.archive.size() + b.offline.size() + b.room_archive.size(); }

/// Rows that nobody waits for under relaxed durability: archives of accounts. What decides who owns a room,
/// or is the only copy of a message, is waited for.
bool may_follow(const Batch& b) {
    return may_spill(b) && b.offline.empty() && b.room_archive.empty() && !b.archive.empty() && !b.room_step;
}

bool has_outputs(const Batch& b) {
    return !b.appends.empty() || !b.room_inputs.empty() || !b.routes.empty() || !b.notices.empty() ||
           !b.accounts.empty();
}

}  // namespace

struct CommitPipeline::Item {
    std::uint64_t seq = 0;
    std::string lane;
    Batch batch;
    Done done;
    CommitOutcome outcome;
    std::size_t bytes = 0;
    std::string encoded;   ///< as last sent
    bool writing = false;  ///< the store's writer reads it
    bool stored = false;
    bool spilled = false;
    bool follows = false;  ///< relaxed: goes on before its rows are stored
    bool sent = false;
    bool tried = false;  ///< was sent once: it may have been executed
    bool unlogged = false;
    bool answered = false;
    int out_of_order = 0;
};

CommitPipeline::CommitPipeline(asio::io_context& io, StoreWriter& writer, Durability durability, Calls calls)
    : io_(io),
      writer_(writer),
      durability_(durability),
      calls_(std::move(calls)),
      self_(std::make_shared<CommitPipeline*>(this)) {}

CommitPipeline::~CommitPipeline() { *self_ = nullptr; }

void CommitPipeline::submit(Batch batch, Done done) {
    auto item = std::make_shared<Item>();
    item->seq = ++next_;
    item->lane = lane_of(batch);
    item->batch = std::move(batch);
    item->done = std::move(done);
    item->bytes = 256;
    for (const auto& a : item->batch.appends) item->bytes += a.xml->size();
    for (const auto& a : item->batch.archive) item->bytes += a.xml->size();
    pending_bytes_ += item->bytes;
    items_.emplace(item->seq, item);
    lanes_[item->lane].push_back(item);
    if (durability_ == Durability::relaxed && may_follow(item->batch)) {
        asio::post(io_, [self = self_, lane = item->lane] {
            if (*self != nullptr) (*self)->advance(lane);
        });
    }
    queue_.push_back(std::move(item));
    if (queue_.size() == 1) {
        asio::post(io_, [self = self_] {
            if (*self != nullptr) (*self)->pump();
        });
    }
}

void CommitPipeline::pump() {
    // One group at the store at a time gathers what comes meanwhile; while the store is away all go at once.
    if ((groups_ > 0 && store_up_) || queue_.empty()) return;
    auto group = std::move(queue_);
    queue_.clear();
    write(std::move(group));
}

void CommitPipeline::write(std::vector<ItemPtr> group) {
    std::vector<ItemPtr> rows;
    std::vector<const Batch*> batches;
    for (const auto& item : group) {
        if (!item->batch.touches_store()) {
            item->stored = true;
            continue;
        }
        item->writing = true;
        rows.push_back(item);
        batches.push_back(&item->batch);
    }
    if (!batches.empty()) {
        fail_point(rows.front()->batch.room_step ? "room-decided" : "decided");
        ++groups_;
        writer_.write(std::move(batches), [self = self_, rows](std::vector<CommitStatus> statuses) {
            if (*self != nullptr) (*self)->stored(rows, statuses);
        });
    }
    for (const auto& item : group) advance(item->lane);
    pump();
}

void CommitPipeline::stored(const std::vector<ItemPtr>& group, const std::vector<CommitStatus>& statuses) {
    --groups_;
    fail_point(group.front()->batch.room_step ? "room-stored" : "stored");
    for (std::size_t i = 0; i < group.size(); ++i) {
        const auto& item = group[i];
        item->writing = false;
        item->stored = true;
        if (item->follows) {
            following_bytes_ -= item->bytes;
            if (statuses[i] != CommitStatus::ok)
                log_warn("following_rows_refused", {{"source", item->batch.origin.source}});
        } else if (item->spilled) {
            if (statuses[i] != CommitStatus::ok)
                log_warn("spilled_rows_refused", {{"source", item->batch.origin.source}});
            spill_stored(item);
        } else if (!item->answered) {
            item->outcome.status = statuses[i];
            if (statuses[i] == CommitStatus::not_owner && calls_.refused)
                calls_.refused("store", item->batch, 0);
        }
    }
    for (const auto& item : group) advance(item->lane);
    pump();
}

/// Rows whose script passed are due even if the session has gone to another node since, whose fence left the
/// offline ones out.
void CommitPipeline::spill_stored(const ItemPtr& item) {
    if (!item->spilled || !item->stored || !item->answered) return;
    const bool passed = item->outcome.status == CommitStatus::ok;
    if (passed && !item->batch.offline.empty() && !item->batch.origin.source.empty()) {
        auto rows = std::make_shared<Batch>();
        rows->offline = item->batch.offline;
        writer_.write({rows.get()}, [self = self_, rows, item](const auto&) {
            if (*self != nullptr) (*self)->spill_over(item);
        });
    } else {
        spill_over(item);
    }
}

void CommitPipeline::spill_over(const ItemPtr& item) {
    spilled_rows_ -= rows_of(item->batch);
    spilled_bytes_ -= item->bytes;
    if (spilled_rows_ == 0) calls_.drained();
}

void CommitPipeline::store_state(bool up) {
    if (store_up_ == up) return;
    store_up_ = up;
    if (!up) {
        pump();
        advance_all();
    }
}

/// The rows are safe, or go along with the script to Redis (and stay in memory until the store has them).
bool CommitPipeline::may_go(const ItemPtr& item) {
    if (item->stored || item->spilled || item->follows) return true;
    if (durability_ == Durability::relaxed && store_up_ && may_follow(item->batch) &&
        following_bytes_ + item->bytes <= most_following_bytes) {
        item->follows = true;
        following_bytes_ += item->bytes;
        return true;
    }
    if (store_up_ || !open_ || !item->writing || !may_spill(item->batch)) return false;
    if (spilled_rows_ + rows_of(item->batch) > most_spilled_rows ||
        spilled_bytes_ + item->bytes > most_spilled_bytes) {
        return false;
    }
    item->spilled = true;
    spilled_rows_ += rows_of(item->batch);
    spilled_bytes_ += item->bytes;
    return true;
}

void CommitPipeline::advance(const std::string& lane) {
    const auto it = lanes_.find(lane);
    if (it == lanes_.end()) return;
    auto& waiting = it->second;
    for (std::size_t i = 0; i < waiting.size(); ++i) {  // a delivery may submit more
        const auto item = waiting[i];
        if (item->answered || item->sent || item->unlogged) continue;
        if (!may_go(item)) break;
        if (item->batch.withdrawn && *item->batch.withdrawn) item->outcome.status = CommitStatus::not_owner;
        if (item->outcome.status != CommitStatus::ok) {
            item->answered = true;
            continue;
        }
        if (open_) {
            send(item);
        } else if (frozen_ && calls_.deliver_unlogged(item->batch)) {
            item->unlogged = true;
            ++unlogged_;
        } else {
            break;
        }
    }
    release(lane);
}

void CommitPipeline::advance_all() {
    const auto all = items_;
    for (const auto& [seq, item] : all) {
        if (!item->answered && !item->sent && !item->unlogged) advance(item->lane);
    }
}

void CommitPipeline::open(bool is_open) {
    if (open_ == is_open) return;
    open_ = is_open;
    if (!is_open) return;
    frozen_ = false;
    advance_all();
}

void CommitPipeline::freeze() {
    if (open_ || frozen_) return;
    frozen_ = true;
    advance_all();
}

void CommitPipeline::send(const ItemPtr& item) {
    item->sent = item->tried = true;
    item->encoded = calls_.encode(
        item->batch, item->spilled && !item->stored ? calls_.encode_rows(item->batch) : std::string());
    calls_.send(item->encoded, [self = self_, item](Result<RedisReply> reply) {
        if (*self != nullptr && item->sent && !item->answered) (*self)->answered(item, std::move(reply));
    });
}

void CommitPipeline::answered(const ItemPtr& item, Result<RedisReply> reply) {
    const auto what = verdict(reply);
    if (what == "OK") {
        fail_point(item->batch.room_step ? "room-committed" : "committed");
        for (const auto& p : reply->items[1].items)
            item->outcome.positions.push_back(static_cast<std::uint64_t>(p.integer));
        for (const auto& p : reply->items[2].items)
            item->outcome.room_positions.push_back(static_cast<std::uint64_t>(p.integer));
        if (has_outputs(item->batch)) {
            keep({static_cast<std::uint64_t>(std::strtoull(reply->items[3].text.c_str(), nullptr, 10)),
                  item->batch.origin.source, item->batch.origin.n, std::move(item->encoded)});
        }
    } else if (what == "DONE") {
        // Who is to read what was committed before is as little known as what became of the first answer.
        if (has_outputs(item->batch)) {
            keep({to_number(reply->items[1].text), item->batch.origin.source, item->batch.origin.n,
                  std::move(item->encoded)});
        }
        item->outcome.positions.assign(item->batch.appends.size(), 0);
    } else if (what == "ROUTE") {
        item->outcome.status = CommitStatus::route_moved;
    } else if (what == "ORDER" && item->batch.room_step && ++item->out_of_order < most_out_of_order) {
        item->sent = false;  // behind a step that has to go again first
        if (!stopping_) calls_.distrusted();
        return;
    } else if (what == "ORDER") {
        item->outcome.status = CommitStatus::out_of_order;
    } else if (what == "OWNER") {
        item->outcome.status = CommitStatus::not_owner;
        const auto epoch = reply->items.size() > 1 ? reply->items[1].text : std::string();
        calls_.refused("state-store", item->batch, std::strtoull(epoch.c_str(), nullptr, 10));
    } else {
        // Redis is away, or of another generation: whether the script ran is unknown. It is idempotent by
        // counter and origin, so the batch goes again, in its place, when there is a Redis to trust.
        if (reply && reply->is_error()) log_error("redis_commit_failed", {{"error", reply->text}});
        item->sent = false;
        if (!stopping_) calls_.distrusted();
        return;
    }
    item->answered = true;
    spill_stored(item);
    release(item->lane);
}

/// What is decided again looks first for the offline rows of the attempt before: they must be there to be
/// found (docs/delivery.md, "Redis or PostgreSQL away").
bool CommitPipeline::rows_come_late(const Item& item) {
    const auto status = item.outcome.status;
    return item.writing && !item.batch.offline.empty() &&
           (status == CommitStatus::route_moved || status == CommitStatus::out_of_order);
}

void CommitPipeline::release(const std::string& name) {
    const auto lane = name;
    for (;;) {
        const auto it = lanes_.find(lane);
        if (it == lanes_.end()) return;
        auto& waiting = it->second;
        if (waiting.empty()) {
            lanes_.erase(it);
            return;
        }
        if (!waiting.front()->answered || rows_come_late(*waiting.front())) return;
        auto item = std::move(waiting.front());
        waiting.pop_front();
        items_.erase(item->seq);
        pending_bytes_ -= item->bytes;
        if (item->writing || (item->follows && !item->stored)) {
            // The writer still reads the rows, or will: the caller gets a batch of his own.
            auto copy = item->batch;
            item->done(item->outcome, copy);
        } else {
            item->done(item->outcome, item->batch);
        }
    }
}

// ---- recovery ----

std::uint64_t CommitPipeline::counted_unlogged(const std::string& sid) const {
    std::uint64_t n = 0;
    if (const auto it = lanes_.find(sid); it != lanes_.end()) {
        for (const auto& item : it->second) {
            if (item->unlogged && item->batch.advances) n = std::max(n, item->batch.origin.n);
        }
    }
    return n;
}

void CommitPipeline::keep(Output output) {
    output_bytes_ += output.bytes.size();
    outputs_.push_back(std::move(output));
    while (output_bytes_ > most_output_bytes) {
        output_bytes_ -= outputs_.front().bytes.size();
        outputs_.pop_front();
    }
}

void CommitPipeline::confirmed(std::uint64_t id) {
    while (!outputs_.empty() && outputs_.front().id <= id) {
        output_bytes_ -= outputs_.front().bytes.size();
        outputs_.pop_front();
    }
}

std::vector<Output> CommitPipeline::lost_outputs(std::uint64_t survived) const {
    std::vector<Output> out;
    for (const auto& output : outputs_) {
        if (output.id > survived) out.push_back(output);
    }
    for (const auto& [seq, item] : items_) {
        if (item->tried && !item->answered && !item->unlogged && has_outputs(item->batch))
            out.push_back({0, item->batch.origin.source, item->batch.origin.n, item->encoded});
    }
    return out;
}

void CommitPipeline::thaw() {
    frozen_ = false;
    unlogged_ = 0;
    std::vector<std::string> lanes;
    for (const auto& [seq, item] : items_) {
        if (!item->unlogged) continue;
        item->unlogged = false;
        item->answered = true;
        item->outcome.positions.assign(item->batch.appends.size(), 0);
        lanes.push_back(item->lane);
    }
    for (const auto& lane : lanes) release(lane);
}

void CommitPipeline::refuse_all() {
    frozen_ = false;
    unlogged_ = 0;
    outputs_.clear();
    output_bytes_ = 0;
    std::vector<std::string> lanes;
    for (const auto& [seq, item] : items_) {
        const bool open = !item->answered;
        item->answered = true;
        item->unlogged = false;
        item->outcome.status = CommitStatus::not_owner;
        if (open) spill_stored(item);
        lanes.push_back(item->lane);
    }
    for (const auto& lane : lanes) release(lane);
}

}  // namespace hexad
