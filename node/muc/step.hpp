#pragma once

#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "hooks/module.hpp"
#include "muc/room.hpp"

namespace hexad::muc {

/// What goes with a presence that the room sends about an occupant.
struct About {
    bool leaves = false;           ///< type unavailable, role none
    std::vector<int> status;       ///< for everybody (301, 303, 307, 321, 322, 333)
    std::vector<int> self_status;  ///< for the occupant itself, besides 110
    std::string new_nick;          ///< with 303
    std::string actor;             ///< nick of who did it
    std::string reason;
    Element destroy;                    ///< with a name: `<destroy/>` (§10.9)
    const Element* farewell = nullptr;  ///< the unavailable presence that the client sent
};

/// One input of a room and all that it causes: the room's state in memory changes now, the rest is in
/// `batch`.
///
/// What a step appends for a session comes to it before what the step notices.
class Step {
public:
    Step(Room& r, ModuleContext& c, const RoomInput& i, Element stanza, std::uint64_t position);

    Room& room;
    ModuleContext& ctx;
    const RoomInput& input;
    Element xml;
    Jid to;  ///< room or occupant JID the stanza was sent to
    Timestamp at;
    Batch batch;
    Occupant* sender = nullptr;  ///< the occupant who sends, nullptr if it is not in the room
    /// An answer that takes reading: runs when the step is safe; its result goes to the sender.
    std::function<awaitable<IqResult>(IqRequest&)> later;

    Affiliation sender_affiliation() const { return room.affiliation_of(input.from); }
    OccupantSession* sender_session();

    // ---- to clients ----
    void append(const std::string& sid, Bytes text, EntryKind kind = EntryKind::room,
                const std::string& stanza_id = {});
    void notice(const std::string& sid, const Jid& full, Bytes bytes);
    /// To the sender: an error, unless what it sent is one.
    void refuse(const StanzaError& error);
    void answer(Element payload);
    /// A message from `from` to every session of the room; `text` without `to`.
    void to_all(const std::string& text, const std::string& stanza_id, bool logged);
    /// The room tells all occupants status codes (§10.2.1).
    void announce(const std::vector<int>& codes);

    // ---- presence ----
    /// Presence about an occupant as `viewer` sees it, without `to`. `self`: the viewer is the occupant
    /// itself.
    Element presence(const Occupant& about, const Occupant& viewer, const About& what, bool self) const;
    /// The same about an occupant for one of its own sessions, with `to`; the one that asked for it finds the
    /// id of its presence in it (XEP-0045 §7.2.2), which some clients wait for.
    std::string own_presence(const Occupant& about, const OccupantSession& session, const About& what) const;
    /// To all, the occupant itself included; except the session `except`.
    void show(const Occupant& about, const About& what, const std::string& except = {});
    /// Shows the occupant out and takes it off the room.
    void remove(Occupant& occupant, About what);
    /// Others lose sight of an occupant who stays.
    void hide(const Occupant& about);
    void set_role(Occupant& occupant, Role role, const About& what);
    /// Keeps the role for the next visit, if voice is what it is about.
    void keep_role(const Occupant& occupant);

    // ---- state ----
    void save_room() { room_changed_ = true; }
    void save(const Occupant& occupant);
    void drop(const std::string& sid);
    void set_affiliation(const Jid& bare, Affiliation affiliation, const std::string& nick,
                         const std::string& reason);
    /// The room ends: `destroy` is what occupants are told (no name: nobody is left to be told).
    void destroy_room(const Element& destroy);
    /// A room that is not to last ends with its last occupant; the batch gets the room's row if it changed.
    void finish();

private:
    bool room_changed_ = false;
    /// Sub-numbers are counted for each session, as in storage/sub_number.hpp; rooms have many.
    std::unordered_map<std::string, std::uint32_t> appended_;
};

/// `<name …` → `<name to='…' …`
std::string addressed(std::string_view stanza, const Jid& to);
/// `<reason/>`, `<password/>` and the like of an untrusted client, cut to a sane length.
std::string short_text(const Element& parent, std::string_view name, std::string_view ns);

// What becomes of a stanza: join.cpp, messages.cpp, iq.cpp, admin.cpp, owner.cpp, registration.cpp. The room
// may not exist.
void decide_presence(Step& step);
void decide_message(Step& step);
void decide_iq(Step& step);
void admin_get(Step& step, const Element& query);
void admin_set(Step& step, const Element& query);
void owner_get(Step& step);
void registration_get(Step& step);
void registration_set(Step& step, const Element& query);
/// §7.12: the nickname that is reserved for the sender.
Element reserved_nick(const Step& step);
/// Gives an account or a domain another affiliation, with all that follows for its occupants.
void change_affiliation(Step& step, const Jid& who, Affiliation affiliation, const std::string& nick,
                        const std::string& reason, const std::string& actor);
void owner_set(Step& step, const Element& query);

/// What a room sends to somebody whom the sender invites (§7.8.2, §9.5). `more`: the `<continue/>`, if any.
Element invitation(const Step& step, const std::string& reason, const Element* more = nullptr);

/// With what the archive begins what it keeps about the sender of a message; it is the last in it.
inline constexpr std::string_view sender_mark =
    "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='";
/// Takes that out: the message as it was sent to all.
void without_sender(std::string& xml);

/// Accounts that a stanza names and that have to be in memory before it is decided on.
std::vector<Jid> accounts_named(const Element& stanza);
/// Whether this stanza is a request to enter (§7.2.2).
bool is_join(const Element& stanza);

}  // namespace hexad::muc
