#pragma once

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
    bool allow_invites = false;
    bool archived = true;
    Role private_messages = Role::visitor;  ///< least role that may send them; `none`: nobody may
    std::size_t max_users = max_occupants;
    /// Whose presence others see; nobody else's is broadcast.
    std::set<Role> shown_roles{Role::visitor, Role::participant, Role::moderator};

    bool locked = true;  ///< not configured yet: only the owner gets in (§10.1)
    std::string secret;  ///< key of the occupant ids (XEP-0421)

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
