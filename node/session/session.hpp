#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/any_io_executor.hpp>

#include "base/clock.hpp"
#include "hooks/session_state.hpp"
#include "storage/batch.hpp"
#include "storage/session_log.hpp"
#include "xml/element.hpp"

namespace hexad {

/// The client's stream as its session sees it. Implemented by the connection; lives shorter than the session.
class Wire {
public:
    virtual ~Wire() = default;
    virtual void send(std::string_view xml) = 0;
    /// Ends the stream with this stream error and `</stream:stream>`; the session is no longer told anything.
    virtual void end(std::string_view condition, std::string_view text) = 0;
    /// Bytes that the kernel has not taken yet.
    virtual std::size_t outbox() const = 0;
    /// More input may be read (the session had asked for a pause by `wants_pause`).
    virtual void input_window_open() = 0;
};

struct SessionLimits {
    std::size_t max_window = 64;         ///< stanzas between read and commit
    std::size_t max_window_away = 1024;  ///< likewise, while the log is away
    std::size_t max_unacked =
        5000;  ///< outbound stanzas that the client of a live stream may leave unacknowledged
    std::size_t max_unacked_bytes = 8u << 20;  ///< likewise in bytes
    std::size_t max_detached = 500;            ///< log entries of a session without a stream; then it ends
    std::size_t max_detached_bytes = 512u << 10;
};

/// One bound stream (XEP-0198 included): its state, what came in and is not safe yet, what went out and is
/// not acknowledged. Protocol thread; owned by the Router. A session outlives its connection, and its node.
///
/// Outbound stanzas are slots in one queue. A logged slot is written once its entry and its stanza number are
/// in the session log; whatever stands behind it waits, so that numbers and socket order agree
/// (docs/delivery.md).
class Session : public std::enable_shared_from_this<Session> {
public:
    /// One outbound stanza, from the decision until the client has acknowledged it.
    struct Slot {
        Bytes xml;
        std::uint64_t position = 0;    ///< in the log; 0 = unlogged, or not committed yet
        std::uint64_t generation = 0;  ///< numbering under which `number` was given
        std::uint32_t number = 0;
        EntryKind kind = EntryKind::message;
        bool logged = false;
        bool ready = false;     ///< may be written
        bool numbered = false;  ///< `number` is in the log
        bool gone = false;      ///< acknowledged
        /// In a cluster: what the log has of it, should the log be lost.
        std::shared_ptr<const LogEntry> entry;
    };
    using SlotPtr = std::shared_ptr<Slot>;

    /// A stanza of the client between being read and being safe.
    struct Input {
        std::uint64_t n = 0;
        Batch batch;
        bool ready = false;  ///< decided
        bool submitted = false;
        bool done = false;
        bool durable = false;
        std::vector<RouteCheck> checks;  ///< under which it was submitted
        bool changes_accounts = false;
        std::optional<Element>
            original;  ///< kept in a cluster: the stanza is decided again if its batch is refused
    };

    Session(SessionLog& log, SessionLimits limits, asio::any_io_executor executor)
        : log_(log), limits_(limits), executor_(std::move(executor)) {}
    ~Session() { wire_is(nullptr); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    /// How many sessions have a stream; set by who made them, before they have one.
    std::shared_ptr<std::size_t> attached_count;
    SessionState state;
    SessionMode mode = SessionMode::bound;
    SessionPhase phase = SessionPhase::attached;
    bool sm = false;         ///< XEP-0198 enabled
    bool resumable = false;  ///< with resume
    bool closing = false;    ///< its stream is over for good: what was read is finished, then it ends
    bool finished = false;   ///< its end is under way or done: nothing is decided for it any more
    /// Its client went before it was bound: the bind that still waits for Redis is not made.
    std::shared_ptr<bool> given_up = std::make_shared<bool>(false);
    bool replaced = false;  ///< ended by a new session of the same full JID, which has its availability
    bool outrun = false;    ///< … which was bound elsewhere at the same moment, and has not
    bool inherits_presence = false;  ///< contacts still see the session it replaced
    bool leaving = false;            ///< its client is about to be sent to another node: nothing more is read
    bool filling_now = false;
    bool more_backlog = false;  ///< messages went to the offline store while the backlog was being taken
    bool restored = false;      ///< read from the log at start; its entries come with the claim
    seconds window{300};        ///< resume window
    Timestamp until;            ///< detached: end of the window
    RouteEntry route;           ///< as last submitted
    bool routed = false;
    bool binding = false;  ///< nobody but this node's memory has it yet

    // ---- input: counters start anew with <enable/>, so that they are the `h` of XEP-0198 ----
    std::uint64_t in_read = 0;       ///< stanzas read
    std::uint64_t in_submitted = 0;  ///< counter that the last submitted batch moves to
    std::uint64_t in_safe = 0;       ///< counter that is committed
    std::deque<Element> unread;      ///< read, waiting for accounts to be loaded
    std::deque<std::shared_ptr<Input>> inputs;
    bool loading = false;
    bool alone = false;           ///< what was decided last goes by itself
    Jid homeless;                 ///< in a cluster: room of the next stanza, found to have no home
    bool deciding_again = false;  ///< a batch was refused: its followers come back, then all are decided anew
    bool reload_accounts = false;         ///< … because an account had changed
    int routes_refused = 0;               ///< … in a row, because a route had
    std::set<std::string> offline_taken;  ///< stanza ids that a login has already; they are only counted

    // ---- stanzas that may have been here before (docs/delivery.md, "What is sent again") ----
    /// The session whose resumption failed just before this one was bound.
    struct Former {
        std::string sid;
        std::uint64_t in = 0;  ///< stanzas of it that were handled
        SteadyClock::time_point until;
    };
    std::optional<Former> former;
    std::uint64_t look_back_until = 0;  ///< up to this counter a former carrier may have put messages offline
    std::uint64_t looked_back = 0;      ///< counter of the stanza that was looked up last
    std::map<std::uint64_t, std::string> repeats;  ///< counter → stanza-id that it has; empty: it was handled
    bool advance_timer = false;
    std::uint32_t h() const { return static_cast<std::uint32_t>(in_safe); }
    bool wants_pause() const { return leaving || unread.size() + inputs.size() >= window_stanzas_; }
    /// While the log is away a client may send more than usual before its socket is not read any more: it
    /// keeps getting answers to `<r/>` and pings.
    void widen_window(bool wide) { window_stanzas_ = wide ? limits_.max_window_away : limits_.max_window; }
    /// The counter grew: answers what the client asked with `<r/>`, and again what could not be answered in
    /// full.
    void counted(std::uint64_t safe);
    /// The client sent `<r/>`. False: not all it sent is safe yet, and nothing was answered; the caller calls
    /// answer_ack() a moment later whatever has become of it.
    bool client_asks_ack();
    void answer_ack();
    bool ack_wanted() const { return ack_wanted_; }
    /// Nothing that the client sent waits, and all that is to be written is.
    bool answered() const {
        return unread.empty() && inputs.empty() && !ack_wanted_ && (!settled_ || written_ == slots_.size());
    }

    // ---- output ----
    /// Writes an unlogged stanza behind what is queued.
    void push(Bytes xml);
    /// Reserves the next number for an entry that is about to be committed (only on a live, settled stream).
    SlotPtr reserve(Bytes xml, EntryKind kind);
    /// The reserved entry is in the log at `position` (0: it was refused there, nothing is written).
    void committed(const SlotPtr& slot, std::uint64_t position);
    /// An entry arrived that has no number yet; of a cluster's with position 0, which waits behind the login
    /// backlog, this is the second copy: it comes again with the end of the backlog.
    void entry(const LogEntry& entry);
    /// The login backlog is through.
    void goes_live() {
        mode = SessionMode::live;
        held_.clear();
    }
    /// The log cannot be reached by anybody: what waits for a number is written without, and entries of this
    /// node are delivered before they are logged (docs/delivery.md, "Redis or PostgreSQL away").
    /// Entries came that are not the next ones: what lies between is looked up in the log if it does not
    /// come.
    bool has_gap() const { return !early_.empty(); }
    /// The log does not have what is missing: goes on behind it.
    void skip_gap();
    std::uint64_t last_position() const { return last_position_; }
    bool reading_gap = false;
    bool in_cluster = false;  ///< entries come by the streams of a cluster, without a hole but for a backlog
    void freeze();
    void entry_unlogged(const LogEntry& entry);
    bool frozen() const { return frozen_; }
    /// What the log must have of this session; until `refilled` nothing that the log tells is taken in.
    CarriedSession carried();
    /// The log has it again: positions base + 1 …, and behind them `extra`, what had come meanwhile.
    void refilled(std::uint64_t base, const std::vector<LogEntry>& extra);
    bool can_reserve() const { return wire != nullptr && settled_ && !finished && unreserved == 0; }
    /// Entries under way to this session's log without a reserved slot: what comes behind them may not
    /// reserve one.
    std::size_t unreserved = 0;
    /// Before the stream goes: what a stream without XEP-0198 has written counts as received, and what is
    /// acknowledged is told to the log.
    void close_accounts();

    // ---- stream ----
    Wire* wire = nullptr;
    void attach(Wire& w);
    void detach() {
        wire_is(nullptr);
        settled_ = false;
    }
    /// A new stream of this session answered with `h`: drops what it covers, numbers and writes the rest.
    void settle(std::uint32_t h);
    bool settled() const { return settled_; }
    /// Starts counting, in both directions, right behind the `<enabled/>` just written (XEP-0198 §3).
    void enable();
    /// `<a h=…/>`; false: h is more than was sent.
    bool acknowledged(std::uint32_t h);
    /// Whether so many stanzas were sent.
    bool may_be_acknowledged(std::uint32_t h) const {
        // An old acknowledgement that arrives late is no fault; one for stanzas never sent is.
        return h - acked_number_ <= sent_number_ - acked_number_ || h < acked_number_;
    }
    std::uint32_t sent_count() const { return sent_number_; }
    /// Once a second while something is unacknowledged: asks for an acknowledgement, passes acknowledgements
    /// on to the log, counts what a stream without XEP-0198 has written. False: nothing left to do.
    bool tick();
    std::function<void()> wants_tick;
    bool tick_scheduled = false;

    std::size_t unacked() const { return slots_.size(); }
    std::size_t unacked_bytes() const { return bytes_; }
    bool over_limit() const;
    /// Entries of a session that was read from the log (claim).
    void restore(const ClaimedSession& claimed);
    std::uint64_t filled = 0;  ///< batches of the login backlog that are in the log
    const std::deque<SlotPtr>& slots() const { return slots_; }

private:
    void wire_is(Wire* w);
    bool live() const { return wire != nullptr && settled_ && !finished; }
    void append(SlotPtr slot);
    void hold(const LogEntry& entry);
    SlotPtr slot_of(const LogEntry& entry);
    void take_in(const LogEntry& entry);
    void flush();
    void number_pending();
    void pop_front_acknowledged(std::size_t count);
    void schedule_tick();

    SessionLog& log_;
    SessionLimits limits_;
    asio::any_io_executor executor_;
    std::deque<SlotPtr> slots_;  ///< oldest unacknowledged first
    std::size_t written_ = 0;    ///< slots_[0 … written_) were written on the current stream
    std::size_t bytes_ = 0;
    std::uint32_t next_number_ = 0;  ///< number of the last slot that has one
    std::uint32_t acked_number_ = 0;
    std::uint32_t sent_number_ = 0;  ///< number of the last slot written
    std::uint64_t generation_ = 1;
    std::vector<SlotPtr> to_number_;
    bool numbering_ = false;
    bool settled_ = true;
    bool ack_wanted_ = false;
    std::uint64_t ack_target_ = 0;     ///< what the client wants covered
    std::size_t acks_asked_ = 0;       ///< `<r/>` of the client without an answer
    bool asked_ = false;               ///< an `<r/>` of ours is under way
    std::uint64_t ack_position_ = 0;   ///< log position covered by acknowledgements
    std::uint64_t ack_passed_ = 0;     ///< … and told to the log
    std::uint64_t last_position_ = 0;  ///< highest log position seen: what is at or below it is known
    std::map<std::uint64_t, LogEntry> early_;
    std::vector<LogEntry> held_;  ///< in a cluster, while the login backlog is taken
    Origins taken_;               ///< in a cluster
    std::set<std::pair<std::string, std::uint64_t>> unlogged_;  ///< origins delivered while the log was away
    std::size_t window_stanzas_ = limits_.max_window;
    bool frozen_ = false;
    bool refilling_ = false;
    std::vector<SlotPtr> handed_in_;  ///< the slots of carried(), in order
};

using SessionPtr = std::shared_ptr<Session>;

/// SessionState ⇄ SessionRecord.state. decode leaves sid, jid, account and epoch alone; false if the bytes
/// are broken.
std::string encode_state(const SessionState& state);
bool decode_state(const std::string& bytes, SessionState& state);
/// The route entry that follows from the state.
RouteEntry route_entry(const SessionState& state, const std::string& node);

}  // namespace hexad
