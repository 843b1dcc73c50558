#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "muc/config.hpp"
#include "storage/batch.hpp"
#include "storage/store.hpp"

namespace hexad::muc {

/// One client of an occupant.
struct OccupantSession {
    std::string sid;
    Jid jid;           ///< full
    Element presence;  ///< last one, without addresses and without what the room itself puts in
};

/// A nickname in a room and the clients behind it, all of one account; the last is the newest.
struct Occupant {
    std::string nick;
    Role role = Role::none;
    Jid account;  ///< bare
    std::vector<OccupantSession> sessions;
};

struct Affiliate {
    Affiliation affiliation = Affiliation::none;
    std::string nick;
    std::string reason;
};

/// A message of the past as it was sent to all, without `to`.
struct PastMessage {
    Timestamp at;
    std::string xml;
};

/// The state of one room (XEP-0045 §4). Protocol thread of its owner; what of it is durable is a value in
/// each step's batch.
class Room {
public:
    explicit Room(Jid address) : jid(std::move(address)) {}

    Jid jid;
    RoomId id = 0;        ///< 0: no row in the store
    bool exists = false;  ///< somebody has entered it; a row without configuration is a name that is held
    RoomConfig config;
    std::string home;         ///< node whose partition it belongs to
    std::uint64_t epoch = 0;  ///< of the row: an old owner's steps are refused
    std::string subject;      ///< XML of the subject message with its delay, empty if never set
    std::uint64_t hist = 0;
    std::map<Jid, Affiliate> affiliates;
    std::map<std::string, Occupant> occupants;  ///< by nick
    std::deque<PastMessage> past;               ///< newest last
    std::set<std::string> stored;           ///< stanza-ids of the newest archived messages when it was loaded
    std::map<std::string, Timestamp> gone;  ///< nicknames that have left of late

    static constexpr std::size_t kept_past = 50;
    static constexpr std::size_t kept_gone = 200;
    static constexpr seconds gone_time{600};  ///< longer than a session waits to be resumed

    /// Takes over what the store has. False: the row cannot be read.
    bool read(const RoomRow& row);
    /// Puts an occupant back that the session log kept.
    bool read(const OccupantPut& put);
    void remember(Timestamp at, std::string xml);
    void remember_gone(const std::string& nick, Timestamp at);

    Affiliation affiliation_of(const Jid& jid) const;  ///< of the bare JID, else of its domain
    /// The role with which it enters: that of its affiliation, unless a moderator gave it or took its voice.
    Role entry_role(const Jid& bare) const;
    std::size_t owners() const;
    Occupant* find(const std::string& nick);
    Occupant* find_account(const Jid& bare);
    Occupant* find_sid(const std::string& sid);
    Jid occupant_jid(const std::string& nick) const;
    /// XEP-0421: the same for an account in this room always, different in other rooms, tells nothing.
    std::string occupant_id(const Jid& bare) const;
    std::string encode(const Occupant& occupant, const OccupantSession& session) const;
    /// Whether this occupant sees real addresses (§4.2).
    bool sees_jids(const Occupant& occupant) const {
        return config.shows_jids || occupant.role == Role::moderator;
    }
    /// Whether others see this occupant's presence.
    bool shows(const Occupant& occupant) const { return config.shown_roles.contains(occupant.role); }
    /// Whose nickname this is by registration (§7.10); nullptr: nobody's.
    const Jid* holder_of(const std::string& nick) const;
    void forget();  ///< back to a name without a room
};

}  // namespace hexad::muc
