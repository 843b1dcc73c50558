#pragma once

#include <optional>
#include <string_view>

#include "xmpp/errors.hpp"

namespace hexad::muc {

/// What an occupant may do now; lost when it leaves (XEP-0045 §5.1). Ordered: more is more.
enum class Role { none, visitor, participant, moderator };
/// What an account is to a room, for good (§5.2). Ordered: more is more.
enum class Affiliation { outcast, none, member, admin, owner };

std::string_view name_of(Role role);
std::string_view name_of(Affiliation affiliation);
std::optional<Role> read_role(std::string_view text);
std::optional<Affiliation> read_affiliation(std::string_view text);

/// The role with which somebody of this affiliation enters (§5.1.2).
Role default_role(Affiliation affiliation, bool moderated);

/// Who acts, or is acted on.
struct Standing {
    Affiliation affiliation = Affiliation::none;
    Role role = Role::none;
};

/// Whether `actor` may give `target` another role (§5.1.1, §8.2 to §9.7): nothing, or forbidden (the actor
/// lacks the right) or not-allowed (nobody has it over this target).
std::optional<StanzaError> refuse_role(const Standing& actor, const Standing& target, Role role);
/// Likewise for an affiliation (§5.2.1, §9.1 to §10.8). `self`: it is the actor's own.
std::optional<StanzaError> refuse_affiliation(Affiliation actor, Affiliation target, Affiliation wanted,
                                              bool self);

}  // namespace hexad::muc
