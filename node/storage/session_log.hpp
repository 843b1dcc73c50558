#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "storage/batch.hpp"
#include "storage/carried.hpp"

namespace hexad {

enum class ClaimRefusal { unknown, other_account, ending, unavailable };

/// A session and all that its client has not acknowledged.
struct ClaimedSession {
    SessionRecord record;           ///< with the epoch after the claim
    std::vector<LogEntry> entries;  ///< in order of position, numbers as given before
    std::vector<LogEntry> held;     ///< waiting behind the login backlog, in order (a cluster)
    Origins origins;                ///< what its log has taken so far (a cluster)
    std::uint64_t filled = 0;       ///< last batch of the login backlog in the log
};

/// What is left of a session that ended (XEP-0198 §5: `h` in `<failed/>`).
struct SessionTomb {
    Jid jid;
    std::uint64_t in = 0;
};

/// The logs of all sessions (docs/delivery.md): SQLite on one node, Redis in a cluster.
///
/// Protocol thread. Calls are executed in the order made, together with the batches of the Committer. An
/// operation with an old epoch changes nothing and answers `false`.
class SessionLog {
public:
    virtual ~SessionLog() = default;

    /// Every session there is, without entries: read once at start.
    virtual awaitable<Result<std::vector<SessionRecord>>> load_sessions() = 0;
    /// Makes `node` the carrier: epoch +1. Changes no number.
    virtual awaitable<Result<ClaimedSession, ClaimRefusal>> claim(std::string sid, AccountId account,
                                                                  std::string node) = 0;
    /// After the client's first answer on a new connection: entries whose number is covered by `h` go, all
    /// other numbers become void. The carrier then numbers again from h + 1.
    virtual awaitable<Result<bool>> settle(std::string sid, Epoch epoch, std::uint32_t h) = 0;
    /// Writes stanza numbers before the stanzas are written to the socket.
    struct Number {
        std::uint64_t position;
        std::uint32_t number;
    };
    virtual awaitable<Result<bool>> number(std::string sid, Epoch epoch, std::vector<Number> numbers) = 0;
    /// The client has acknowledged everything up to position `position`; entries up to it go. Batched by the
    /// caller.
    virtual void ack(std::string sid, Epoch epoch, std::uint64_t position) = 0;
    /// Moves the next ≤ 100 offline messages of the account into the log (mode filling). `finished`: none are
    /// left, entries that were held came behind them, mode is live.
    struct Filled {
        std::vector<LogEntry> entries;
        bool finished = false;
        std::uint64_t batch = 0;  ///< number of this portion
    };
    virtual awaitable<Result<Filled>> fill(std::string sid, Epoch epoch) = 0;
    /// Ends a session for good: due entries go to the offline store in the order of the archive (a message
    /// that another live session of the account, one of its co-targets, has is not due), the rest is dropped,
    /// a tomb is left.
    struct Ended {
        std::vector<LogEntry> unanswered;  ///< IQ requests nobody will answer: the caller sends the errors
        std::vector<std::string> stored;   ///< stanza-ids that went to the offline store
    };
    /// `farewell`: route change, notices and room inputs that become true in the moment the session leaves
    /// its route, after its entries are stored (a cluster; on one node the caller submits them before).
    virtual awaitable<Result<Ended>> end(std::string sid, Epoch epoch, Batch farewell) = 0;
    awaitable<Result<Ended>> end(std::string sid, Epoch epoch) { return end(std::move(sid), epoch, Batch{}); }
    virtual awaitable<Result<std::optional<SessionTomb>>> tomb(std::string sid) = 0;

    /// Rooms: inbox entries after `position` (≤ limit).
    struct RoomEntry {
        std::uint64_t position;
        RoomInput input;
    };
    virtual awaitable<Result<std::vector<RoomEntry>>> room_inbox(Jid room, std::uint64_t position,
                                                                 std::size_t limit) = 0;
    struct RoomState {
        std::uint64_t position = 0;  ///< inbox position used up
        std::vector<OccupantPut> occupants;
        Origins origins;
    };
    /// As the owner finds it who is about to load it: nobody else changes it from now on. `home`: as the row
    /// of the room says; without a row there is none.
    virtual awaitable<Result<RoomState>> room_state(Jid room, RoomHome home) = 0;
    awaitable<Result<RoomState>> room_state(Jid room) {
        RoomHome none;
        return room_state(std::move(room), std::move(none));
    }
    /// What is written for the room goes to its new home from now on, and only its node has effects.
    /// `position`: of the owner who gives it away; false if that is not where the room stands. Without:
    /// whoever finds a move half done. A home older than the one that is known changes nothing.
    virtual awaitable<Result<bool>> move_room(Jid room, RoomHome home,
                                              std::optional<std::uint64_t> position) = 0;
    /// This node has the room in its memory: the second copy. Who had it before need not keep it any longer.
    virtual awaitable<Result<bool>> hold_room(Jid room) = 0;
    /// Of these sessions, those that there are no more.
    virtual awaitable<Result<std::vector<std::string>>> missing_sessions(std::vector<std::string> sids) = 0;
    /// Bare JIDs of rooms with occupants or unread input.
    virtual awaitable<Result<std::vector<Jid>>> active_rooms() = 0;
};

}  // namespace hexad
