#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/ids.hpp"
#include "storage/account.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

/// Serialised XML that several recipients share.
using Bytes = std::shared_ptr<const std::string>;
inline Bytes make_bytes(std::string text) { return std::make_shared<const std::string>(std::move(text)); }

/// A session across its nodes: `g` = generation of the state store, `e` = claims so far. Compared as a pair.
struct Epoch {
    std::uint64_t g = 0;
    std::uint64_t e = 0;
    friend auto operator<=>(const Epoch&, const Epoch&) = default;
};

/// Where an effect comes from: the n-th stanza of a session, or the n-th entry of a room's history. `sub`
/// tells several effects of one input on one target apart. A target takes an origin once.
struct Origin {
    std::string source;  ///< sid, or `room:<bare JID>`
    std::uint64_t n = 0;
    std::uint32_t sub = 0;
    friend bool operator==(const Origin&, const Origin&) = default;
};

enum class Direction : std::uint8_t { in, out };

/// One archived message of an account (XEP-0313). Unique by (owner, stanza_id): writing it again changes
/// nothing.
struct ArchiveRow {
    AccountId owner = 0;
    std::string stanza_id;
    Direction direction = Direction::in;
    Jid with;                  ///< the other party, full if known
    std::string origin_id;     ///< XEP-0359 of the sender, empty if none
    std::string content_hash;  ///< 20 raw bytes: SHA-1 over the stanza without delay and ids
    Timestamp at;
    Bytes xml;  ///< the message in `jabber:client` form, as the owner receives it
};

/// A message that waits for the next login (XEP-0160), ordered by its archive position. Unique by (owner,
/// stanza_id).
struct OfflineRow {
    AccountId owner = 0;
    std::string stanza_id;
    Jid from;
    Timestamp at;
    Bytes xml;
};

struct RoomArchiveRow {
    RoomId room = 0;
    std::uint64_t hist = 0;  ///< 1 … n without a hole
    std::string stanza_id;
    Jid from;  ///< occupant JID
    Timestamp at;
    Bytes xml;
};

/// A small text of an account: vCard, private storage, last activity. Empty bytes delete it.
struct Document {
    AccountId owner = 0;
    std::string kind;  ///< "vcard", "private", "last"
    std::string key;
    std::string bytes;
};

/// A room as the store keeps it. `config` is the encoded RoomConfig of muc/.
struct RoomPut {
    RoomId room = 0;
    std::string config;
    std::string subject;  ///< XML of the subject message, empty = none
};
struct RoomAffiliation {
    RoomId room = 0;
    Jid jid;                  ///< bare
    std::string affiliation;  ///< owner admin member outcast; "none" deletes
    std::string nick;
    std::string reason;
};

/// Kinds of entries in a session log; they decide what becomes of an entry that nobody acknowledged.
enum class EntryKind : std::uint8_t {
    message,    ///< chat or normal message to the account: due to go offline when its session ends
    transient,  ///< message with no-store, type error: dropped when its session ends
    carbon,
    room,  ///< from a room: dropped
    iq     ///< request or answer of another client; an unanswered request is answered with an error
};

/// Appends one stanza to the log of a session (docs/delivery.md, "The session log").
struct LogAppend {
    std::string sid;  ///< target
    Origin origin;
    std::string stanza_id;
    EntryKind kind = EntryKind::message;
    std::vector<std::string> co_targets;  ///< the other sessions of the account that got the same message
    AccountId owner = 0;                  ///< account of the target session
    Bytes xml;
    std::uint32_t number = 0;  ///< stanza number that the carrier reserved; 0 = not numbered yet
    bool held = false;         ///< waits behind the login backlog, if the log still has the session `filling`
};

/// An entry as it lies in the log.
struct LogEntry {
    std::uint64_t position = 0;  ///< L: 1, 2, … without a hole
    std::uint32_t number = 0;    ///< stanza number under which it was (to be) written, 0 = none
    EntryKind kind = EntryKind::message;
    Origin origin;
    std::string stanza_id;
    Bytes xml;
    std::vector<std::string> co_targets;
};

enum class SessionMode : std::uint8_t { bound, filling, live };  ///< bound: no backlog asked for yet
enum class SessionPhase : std::uint8_t { attached, detached, ending };

/// What a session is, apart from its log: enough to resume it anywhere.
struct SessionRecord {
    std::string sid;
    AccountId account = 0;
    Jid jid;
    std::string node;  ///< carrier
    Epoch epoch;
    std::uint64_t in = 0;    ///< inbound stanzas that are safe
    std::uint64_t last = 0;  ///< L of the last entry
    SessionMode mode = SessionMode::bound;
    SessionPhase phase = SessionPhase::attached;
    bool resumable = false;  ///< XEP-0198 with resume
    bool fresh = false;      ///< bound just now: no other record makes a session that is not there
    Timestamp until;         ///< detached: end of the resume window
    std::string state;       ///< encoded SessionState: presence, carbons, CSI, rooms, directed presence
};

/// One session in its account's route: what every node must know to route to it.
struct RouteEntry {
    std::string sid;
    std::string node;
    Jid jid;
    std::string presence;  ///< last broadcast presence as XML, empty = not available
    std::int8_t priority = 0;
    bool available = false;
    bool interested = false;        ///< asked for the roster (RFC 6121 §2.2)
    bool block_interested = false;  ///< asked for the block list (XEP-0191)
    bool carbons = false;
    std::vector<Jid> hidden_from;  ///< contacts that must see it as unavailable (XEP-0191)
    friend bool operator==(const RouteEntry&, const RouteEntry&) = default;
};

/// A session was bound, has changed, or ended. `moves_version`: the choice of recipients changes by it.
struct RouteChange {
    Jid account;  ///< bare
    RouteEntry entry;
    bool ended = false;
    bool moves_version = false;
    bool left_messages = false;  ///< with `ended`: what it had not delivered went to the offline store
    std::string broadcast;       ///< presence that the contacts see because of this change, empty = none
};

/// A stanza that is delivered at most once and not logged: presence, roster pushes, chat states, headlines.
struct Notice {
    enum class Audience : std::uint8_t { session, available, interested, block_interested };
    Audience audience = Audience::session;
    Jid account;      ///< bare JID whose sessions get it
    std::string sid;  ///< for Audience::session
    Bytes xml;
    bool address = false;  ///< the carrier sets `to` to the full JID of each session that gets it
};

/// Something for a room's owner: a stanza of an occupant or somebody who asks (docs/delivery.md, "The rule").
struct RoomInput {
    Jid room;  ///< bare
    Origin origin;
    std::string sid;  ///< session of the sender, empty for a foreign one
    Jid from;         ///< full JID of the sender
    Bytes xml;
};

/// Who sits in a room, kept where the session logs are. `removed` deletes.
struct OccupantPut {
    Jid room;
    std::string sid;
    std::string bytes;  ///< encoded Occupant of muc/
    bool removed = false;
};

/// A check of the route on which a decision was made; 0 = account without sessions.
struct RouteCheck {
    Jid account;
    std::uint64_t version = 0;
};

/// Everything one input makes true, or nothing of it. A value: handlers fill it, the Committer commits it.
struct Batch {
    /// The input: n-th stanza of session `origin.source`, whose counter moves from `previous` to n
    /// (`advances`; stanzas in between had no effects of their own); or a room's step; or neither (source
    /// empty: an event of the server itself).
    Origin origin;
    Epoch epoch;
    bool advances = false;
    std::uint64_t previous = 0;
    bool room_step = false;  ///< origin.source is a room; `room_position` is the inbox position it used up
    std::uint64_t room_position = 0;
    bool room_gone = false;  ///< after the step there is no row of the room: it has no home
    std::vector<RouteCheck> checks;
    /// Set meanwhile: nobody wants it any more, and what has not become true must not (a cluster). Answered
    /// with `not_owner`; who set it cleans up, for an attempt whose answer was lost may have succeeded.
    std::shared_ptr<const bool> withdrawn;

    // store
    std::vector<AccountChange> accounts;  ///< in this order, each its own transaction in a cluster
    std::vector<ArchiveRow> archive;
    std::vector<OfflineRow> offline;
    std::vector<Document> documents;
    std::vector<RoomArchiveRow> room_archive;
    std::vector<RoomPut> rooms;
    std::vector<RoomAffiliation> affiliations;
    std::vector<RoomId> destroyed_rooms;

    // session logs, rooms, routes
    std::vector<SessionRecord> sessions;  ///< new records, or changed `phase until resumable state`
    std::vector<std::string> filling;     ///< sids whose login backlog begins: mode becomes `filling`
    std::vector<LogAppend> appends;
    std::vector<RoomInput> room_inputs;
    std::vector<OccupantPut> occupants;
    std::vector<RouteChange> routes;
    std::vector<Notice> notices;

    /// Runs on the protocol thread once all of the above is safe, in the order in which batches were
    /// submitted.
    std::vector<std::function<void()>> after;

    bool touches_store() const {
        return !accounts.empty() || !archive.empty() || !offline.empty() || !documents.empty() ||
               !room_archive.empty() || !rooms.empty() || !affiliations.empty() || !destroyed_rooms.empty();
    }
};

}  // namespace hexad
