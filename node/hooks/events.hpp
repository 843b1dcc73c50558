#pragma once

#include <optional>
#include <string>
#include <vector>

#include "hooks/session_state.hpp"
#include "storage/batch.hpp"
#include "storage/carried.hpp"
#include "xmpp/errors.hpp"
#include "xmpp/stanza.hpp"

namespace hexad {

/// A handler of an event does not wait: it decides over loaded state and adds effects to the batch.
enum class Phase { guard, observe, act };  ///< may refuse; copies, counts, archives; delivers
/// handled: no later handler runs. In `guard` the handler has answered the sender, or wants silence.
enum class Verdict { pass, handled };

/// A resource was bound. Runs before its first stanza.
struct SessionBound {
    SessionState& session;
    Batch& batch;
};

/// A stanza of a local client, stamped with `from`, before it is routed. All accounts it names are in memory.
struct StanzaFromClient {
    SessionState& session;
    Stanza& stanza;
    Batch& batch;
    /// A guard that refuses says why here (an error goes back unless the stanza is one itself) and answers
    /// `handled`.
    std::optional<StanzaError> refusal;
};

/// One session that gets a copy of a message.
struct MessageTarget {
    const RouteEntry* session;
    EntryKind kind = EntryKind::message;
    Bytes xml;           ///< empty: the message itself
    bool logged = true;  ///< false: a Notice (delivered at most once)
};

/// A message on its way to a local account, after the delivery rules of RFC 6121 §8.5 chose its recipients.
/// `observe` handlers archive it, add ids and further targets (carbons); `act` delivers.
struct MessageToAccount {
    const Stanza& stanza;  ///< as sent
    Element& xml;          ///< what the recipients get; handlers may add children
    AccountData& recipient;
    SessionState* sender;   ///< nullptr if a room or service sends it
    std::string stanza_id;  ///< derived, the same after a repeat
    Timestamp at;
    std::vector<MessageTarget>& targets;
    bool deliverable_offline = false;  ///< the rules say: nobody is there, keep it if it may be kept
    Batch& batch;
    bool archived = false;  ///< set by the archive
};

/// A local client sent a message to anybody (also a room or a foreign JID). For the sender's own archive and
/// carbons.
struct MessageFromAccount {
    const Stanza& stanza;
    Element& xml;  ///< the sender's copy; handlers may add children
    SessionState& sender;
    std::string stanza_id;
    std::string content_hash;
    Timestamp at;
    Batch& batch;
};

/// A resource sends its first available presence (RFC 6121 §4.2). Runs after the route change is known
/// everywhere, so that two contacts who come at the same moment see each other.
struct ResourceAvailable {
    SessionState& session;
};

/// A resource went offline: it said so, its stream ended, or its resumption time ran out. Runs once per
/// availability.
struct ResourceUnavailable {
    SessionState& session;
    std::string status;  ///< text of the unavailable presence
    Batch& batch;
};

/// A session ends for good; its rooms must be left, its directed presence taken back.
struct SessionClosed {
    SessionState& session;
    Batch& batch;
};

/// The roster of an account changed by a decision; the change is in memory already.
struct RosterChanged {
    AccountData& account;
    const AccountChange& change;
    Batch& batch;
};

/// An account took a contact off its roster; the item as it was. The other side is told by the handlers.
struct ContactRemoved {
    AccountData& account;
    const RosterItem& item;
    Batch& batch;
};

struct AccountRemoved {
    Jid account;
    AccountId id;
    Batch& batch;
};

/// The node has read what survived its last run and takes part; comes before the first client.
struct NodeStarted {};

/// The state store lost something: who owns rooms adds what he knows of them (docs/delivery.md, "Redis or
/// PostgreSQL away").
struct RoomsCarried {
    std::vector<CarriedRoom>& rooms;
};

/// What this node has in memory of rooms is not its own any more; it is read again.
struct RoomsFenced {};

/// A room has another home node.
struct RoomHomeMoved {
    const Jid& room;
    const std::string& home;
};

/// Another node has the room in its memory, which this one had before.
struct RoomHeldElsewhere {
    const Jid& room;
};

/// Something arrived for a room this node may own.
struct RoomInputArrived {
    const RoomInput& input;
    std::uint64_t position;
};

}  // namespace hexad
