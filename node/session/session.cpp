#include "session/session.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>

#include "base/fail_point.hpp"
#include "base/log.hpp"

namespace hexad {

namespace {

/// Numbers are committed before the slots are written; `then` runs when they are.
awaitable<void> commit_numbers(SessionLog& log, std::string sid, Epoch epoch,
                               std::vector<SessionLog::Number> numbers, std::function<void(bool)> then) {
    const auto ok = co_await log.number(std::move(sid), epoch, std::move(numbers));
    then(ok && *ok);
}

}  // namespace

void Session::counted(std::uint64_t safe) {
    if (safe <= in_safe) return;
    in_safe = safe;
    if (ack_wanted_ && in_safe >= ack_target_) answer_ack();
}

void Session::answer_ack() {
    if (wire == nullptr) return;
    ack_wanted_ = in_safe < ack_target_;
    // XEP-0198 §4: each request has its answer, though several wait for the same commit.
    const auto answer = "<a xmlns='urn:xmpp:sm:3' h='" + std::to_string(h()) + "'/>";
    const auto asked = std::max<std::size_t>(1, std::exchange(acks_asked_, 0));
    for (std::size_t i = 0; i < asked && wire != nullptr; ++i) wire->send(answer);
}

bool Session::client_asks_ack() {
    ack_target_ = in_read;
    ack_wanted_ = true;
    ++acks_asked_;
    if (in_safe < in_read) return false;
    answer_ack();
    return true;
}

void Session::append(SlotPtr slot) {
    bytes_ += slot->xml->size();
    slots_.push_back(std::move(slot));
}

void Session::push(Bytes xml) {
    auto slot = std::make_shared<Slot>();
    slot->xml = std::move(xml);
    slot->ready = true;
    slot->generation = generation_;
    if (live()) slot->number = ++next_number_;
    append(std::move(slot));
    flush();
}

Session::SlotPtr Session::reserve(Bytes xml, EntryKind kind) {
    auto slot = std::make_shared<Slot>();
    slot->xml = std::move(xml);
    slot->kind = kind;
    slot->logged = true;
    slot->generation = generation_;
    slot->number = ++next_number_;
    append(slot);
    return slot;
}

void Session::committed(const SlotPtr& slot, std::uint64_t position) {
    slot->position = position;
    last_position_ = std::max(last_position_, position);
    if (slot->generation == generation_) {
        slot->ready = true;  // its number was committed with it
        flush();
    } else if (live()) {
        to_number_.push_back(slot);
        number_pending();
    }
}

namespace {

bool same_origin(const LogEntry& a, const LogEntry& b) {
    return !a.origin.source.empty() && a.origin == b.origin;
}

}  // namespace

void Session::hold(const LogEntry& entry) {
    if (mode != SessionMode::filling || taken_.has(entry.origin)) return;
    const auto known =
        std::any_of(held_.begin(), held_.end(), [&](const LogEntry& e) { return same_origin(e, entry); });
    if (!known) held_.push_back(entry);
}

void Session::entry(const LogEntry& entry) {
    if (in_cluster && entry.position == 0) return hold(entry);
    if (refilling_) return;                        // the answer to the refill has it
    if (entry.position <= last_position_) return;  // told twice: by the log and by a hint
    if (in_cluster && entry.position > last_position_ + 1) {
        // What is before it comes on another way: the backlog of a login, or the log.
        early_.emplace(entry.position, entry);
        return;
    }
    take_in(entry);
    while (!early_.empty() && early_.begin()->first <= last_position_ + 1) {
        const auto next = early_.extract(early_.begin());
        if (next.key() == last_position_ + 1) take_in(next.mapped());
    }
    number_pending();
}

void Session::skip_gap() {
    for (const auto& [position, entry] : std::exchange(early_, {})) {
        if (position > last_position_) take_in(entry);
    }
    number_pending();
}

void Session::take_in(const LogEntry& entry) {
    last_position_ = entry.position;
    if (unlogged_.contains({entry.origin.source, Origins::value_of(entry.origin)})) return;
    auto slot = slot_of(entry);
    if (live()) {
        slot->number = ++next_number_;
        to_number_.push_back(slot);
    }
    append(slot);
    std::erase_if(held_, [&](const LogEntry& e) { return same_origin(e, entry); });
}

Session::SlotPtr Session::slot_of(const LogEntry& entry) {
    auto slot = std::make_shared<Slot>();
    slot->xml = entry.xml;
    slot->kind = entry.kind;
    slot->logged = true;
    slot->position = entry.position;
    slot->generation = generation_;
    slot->entry = std::make_shared<const LogEntry>(entry);
    // What waits behind a backlog may be older than an IQ that passed it: that one says nothing about it.
    const bool passes = slot->kind == EntryKind::iq || slot->kind == EntryKind::transient;
    if (mode != SessionMode::filling || !passes) taken_.take(entry.origin);
    return slot;
}

void Session::freeze() {
    if (frozen_) return;
    frozen_ = true;
    // Numbers under way may be in the log or not; from here on those in memory count.
    ++generation_;
    to_number_.clear();
    for (auto& slot : slots_) {
        slot->generation = generation_;
        if (live() && slot->number != 0) slot->ready = slot->numbered = true;
    }
    flush();
}

void Session::entry_unlogged(const LogEntry& entry) {
    if (taken_.has(entry.origin)) return;
    unlogged_.emplace(entry.origin.source, Origins::value_of(entry.origin));
    auto slot = slot_of(entry);
    if (live()) {
        slot->number = ++next_number_;
        slot->ready = slot->numbered = true;
    }
    append(std::move(slot));
    flush();
}

CarriedSession Session::carried() {
    refilling_ = true;
    handed_in_.clear();
    CarriedSession out;
    for (const auto& slot : slots_) {
        if (!slot->logged || !slot->entry) continue;
        handed_in_.push_back(slot);
        out.entries.push_back(*slot->entry);
        out.entries.back().number = slot->numbered ? slot->number : 0;
    }
    out.held = held_;
    out.origins = taken_;
    out.filled = filled;
    out.route = route;
    out.record.last = last_position_;
    return out;
}

void Session::refilled(std::uint64_t base, const std::vector<LogEntry>& extra) {
    refilling_ = frozen_ = false;
    unlogged_.clear();
    ack_position_ = ack_passed_ = base;
    last_position_ = base + handed_in_.size();
    ++generation_;
    to_number_.clear();
    for (std::size_t i = 0; i < handed_in_.size(); ++i) {
        const auto& slot = handed_in_[i];
        slot->position = base + i + 1;
        if (slot->gone) ack_position_ = std::max(ack_position_, slot->position);
    }
    handed_in_.clear();
    early_.clear();
    for (auto& slot : slots_) {
        slot->generation = generation_;
        // What was not written yet gets its number in the log first, under the new position.
        if (live() && slot->logged && !slot->numbered && slot->position != 0) to_number_.push_back(slot);
    }
    for (const auto& late : extra) entry(late);
    if (ack_position_ > ack_passed_) schedule_tick();
    number_pending();
    flush();
}

void Session::number_pending() {
    if (numbering_ || to_number_.empty()) return;
    numbering_ = true;
    std::vector<SessionLog::Number> numbers;
    auto slots = std::move(to_number_);
    to_number_.clear();
    numbers.reserve(slots.size());
    for (const auto& slot : slots) {
        slot->generation = generation_;
        numbers.push_back({slot->position, slot->number});
    }
    auto self = shared_from_this();
    std::function<void(bool)> then = [self, slots = std::move(slots)](bool ok) {
        self->numbering_ = false;
        if (ok) {
            fail_point("numbered");
            for (const auto& slot : slots) {
                if (slot->generation == self->generation_) slot->ready = slot->numbered = true;
            }
            self->flush();
        }
        self->number_pending();
    };
    asio::co_spawn(executor_,
                   commit_numbers(log_, state.sid, state.epoch, std::move(numbers), std::move(then)),
                   asio::detached);
}

void Session::flush() {
    if (wire == nullptr || !settled_) return;
    bool wrote = false;
    while (written_ < slots_.size() && slots_[written_]->ready) {
        const auto& slot = slots_[written_];
        sent_number_ = slot->number;
        ++written_;
        wrote = true;
        wire->send(*slot->xml);
        if (wire == nullptr) return;  // the stream ended while writing
    }
    if (wrote) {
        fail_point("written");
        if (sm && !asked_ && written_ >= 20) {
            asked_ = true;
            wire->send("<r xmlns='urn:xmpp:sm:3'/>");
        }
        schedule_tick();
    }
}

void Session::schedule_tick() {
    if (!tick_scheduled && wants_tick) {
        tick_scheduled = true;
        wants_tick();
    }
}

void Session::wire_is(Wire* w) {
    if (attached_count) {
        if (wire != nullptr) --*attached_count;
        if (w != nullptr) ++*attached_count;
    }
    wire = w;
}

void Session::attach(Wire& w) {
    wire_is(&w);
    phase = SessionPhase::attached;
    asked_ = false;
    ack_wanted_ = false;
    acks_asked_ = 0;
}

void Session::enable() {
    sm = true;
    in_read = in_submitted = in_safe = looked_back = 0;
    repeats.clear();
    // What was written before is not counted by the client, and a stream that worked so far has delivered it.
    pop_front_acknowledged(written_);
    next_number_ = 0;
    acked_number_ = 0;
    sent_number_ = 0;
    ++generation_;
    for (auto& slot : slots_) {
        slot->number = ++next_number_;
        if (!slot->logged) {
            slot->generation = generation_;
        } else if (slot->position != 0) {
            slot->ready = slot->numbered = false;
            to_number_.push_back(slot);
        }
    }
    number_pending();
}

void Session::settle(std::uint32_t h) {
    // Covered is the prefix of slots whose number the client has counted; a slot without a number was never
    // sent.
    std::size_t covered = 0;
    while (covered < slots_.size() && slots_[covered]->number != 0 &&
           static_cast<std::int32_t>(h - slots_[covered]->number) >= 0) {
        ++covered;
    }
    pop_front_acknowledged(covered);
    acked_number_ = h;
    sent_number_ = h;
    next_number_ = h;
    written_ = 0;
    settled_ = true;
    ++generation_;
    to_number_.clear();
    for (auto& slot : slots_) {
        slot->number = ++next_number_;
        if (!slot->logged) {
            slot->generation = generation_;
            slot->ready = true;
        } else {
            slot->ready = slot->numbered = false;
            if (slot->position != 0) to_number_.push_back(slot);
        }
    }
    number_pending();
    flush();
}

void Session::pop_front_acknowledged(std::size_t count) {
    for (std::size_t i = 0; i < count && !slots_.empty(); ++i) {
        const auto& slot = slots_.front();
        slot->gone = true;
        if (!refilling_ && slot->position > ack_position_) ack_position_ = slot->position;
        bytes_ -= slot->xml->size();
        slots_.pop_front();
        if (written_ > 0) --written_;
    }
    if (ack_position_ > ack_passed_) schedule_tick();
}

bool Session::acknowledged(std::uint32_t h) {
    asked_ = false;
    if (!may_be_acknowledged(h)) return false;
    const std::uint32_t fresh = h - acked_number_;
    if (fresh > sent_number_ - acked_number_) return true;  // it is late: a later one came before it
    fail_point("acknowledged");
    acked_number_ = h;
    pop_front_acknowledged(fresh);
    return true;
}

void Session::close_accounts() {
    if (!sm && wire != nullptr && wire->outbox() == 0) {
        acked_number_ = sent_number_;
        pop_front_acknowledged(written_);
    }
    if (ack_position_ > ack_passed_) {
        ack_passed_ = ack_position_;
        log_.ack(state.sid, state.epoch, ack_position_);
    }
}

bool Session::tick() {
    if (finished) return false;
    if (!sm && wire != nullptr && wire->outbox() == 0) {
        acked_number_ = sent_number_;
        pop_front_acknowledged(written_);
    }
    if (ack_position_ > ack_passed_) {
        ack_passed_ = ack_position_;
        log_.ack(state.sid, state.epoch, ack_position_);
    }
    if (sm && wire != nullptr && settled_ && written_ > 0 && !asked_) {
        asked_ = true;
        wire->send("<r xmlns='urn:xmpp:sm:3'/>");
    }
    return !slots_.empty() && wire != nullptr;
}

bool Session::over_limit() const {
    if (phase == SessionPhase::attached) {
        return slots_.size() > limits_.max_unacked || bytes_ > limits_.max_unacked_bytes;
    }
    std::size_t held = 0;
    for (const auto& entry : held_) held += entry.xml->size();
    return slots_.size() + held_.size() > limits_.max_detached || bytes_ + held > limits_.max_detached_bytes;
}

void Session::restore(const ClaimedSession& claimed) {
    // The log is the whole truth up to its end; what came behind that since the claim is only here.
    std::vector<LogEntry> later;
    for (const auto& slot : slots_) {
        if (!slot->entry || slot->position <= claimed.record.last) continue;
        later.push_back(*slot->entry);
        later.back().position = slot->position;
    }
    for (const auto& [position, entry] : early_) {
        if (position > claimed.record.last) later.push_back(entry);
    }
    const auto held_since = std::exchange(held_, claimed.held);
    slots_.clear();
    to_number_.clear();
    bytes_ = written_ = 0;
    early_.clear();
    // The log's origins count what waits behind a backlog too.
    taken_ = claimed.record.mode == SessionMode::filling ? Origins{} : claimed.origins;
    last_position_ = claimed.record.last;
    filled = claimed.filled;
    for (const auto& entry : claimed.entries) {
        auto slot = slot_of(entry);
        slot->number = entry.number;
        slot->numbered = entry.number != 0;
        last_position_ = std::max(last_position_, entry.position);
        append(std::move(slot));
    }
    settled_ = false;
    for (const auto& one : later) entry(one);
    for (const auto& one : held_since) hold(one);
}

}  // namespace hexad
