#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "muc/permissions.hpp"
#include "xmpp/data_form.hpp"

namespace hexad::muc {

inline constexpr std::size_t max_occupants = 1000;
inline constexpr std::size_t max_nick = 256;  ///< bytes
inline constexpr std::size_t max_kept_roles = 1000;

/// §17.1: a nickname of nothing but spaces is none. Resourceprep leaves no other space than U+0020.
inline bool is_visible(std::string_view nick) {
    return nick.find_first_not_of(' ') != std::string_view::npos;
}

/// What the owner of a room can set (XEP-0045 §10.2), and what the room keeps with it.
struct RoomConfig {
    std::string name;         ///< at most 256 bytes
    std::string description;  ///< at most 2048 bytes
    std::string password;     ///< empty: none is asked; at most 256 bytes
    bool persistent = false;
    bool is_public = true;
    bool members_only = false;
    bool moderated = false;
    bool shows_jids = false;  ///< whois "anyone"; else semi-anonymous
    bool change_subject = false;
    /// Nothing: the owner has not said. Then everybody invites into an open room, and into one for members
    /// only who edits its list (§5.1.1, §7.8.2).
    std::optional<bool> allow_invites;
    bool archived = true;
    Role private_messages = Role::visitor;  ///< least role that may send them; `none`: nobody may
    std::size_t max_users = max_occupants;
    /// Whose presence others see; nobody else's is broadcast.
    std::set<Role> shown_roles{Role::visitor, Role::participant, Role::moderator};

    bool locked = true;  ///< not configured yet: only the owner gets in (§10.1)
    std::string secret;  ///< key of the occupant ids (XEP-0421)
    /// Voice that was given or taken in a moderated room, by bare JID: it outlasts the visit (§5.1).
    std::map<std::string, Role> kept_roles;

    bool invites_allowed() const { return allow_invites.value_or(!members_only); }

    friend bool operator==(const RoomConfig&, const RoomConfig&) = default;

    /// One element with an attribute per value; unknown attributes are skipped, so that older nodes read
    /// newer rows.
    std::string encode() const;
    static std::optional<RoomConfig> decode(std::string_view text);

    /// The form of §10.2, filled with the present values.
    Element form(const std::string& room) const;
    /// This configuration with a submitted form put on top. not-acceptable with a sentence if a value breaks
    /// a rule.
    Result<RoomConfig, StanzaError> with(const SubmittedForm& form) const;
};

/// Status codes that tell occupants what has changed (§10.2.1): 104, 170 to 173.
std::vector<int> config_changes(const RoomConfig& before, const RoomConfig& after);

}  // namespace hexad::muc
