#include "muc/permissions.hpp"

#include <array>

namespace hexad::muc {

namespace {

constexpr std::array<std::string_view, 4> roles{"none", "visitor", "participant", "moderator"};
constexpr std::array<std::string_view, 5> affiliations{"outcast", "none", "member", "admin", "owner"};

template <class Enum, std::size_t n>
std::optional<Enum> read(const std::array<std::string_view, n>& names, std::string_view text) {
    for (std::size_t i = 0; i < n; ++i) {
        if (names[i] == text) return static_cast<Enum>(i);
    }
    return std::nullopt;
}

}  // namespace

std::string_view name_of(Role role) { return roles[static_cast<std::size_t>(role)]; }
std::string_view name_of(Affiliation affiliation) {
    return affiliations[static_cast<std::size_t>(affiliation)];
}
std::optional<Role> read_role(std::string_view text) { return read<Role>(roles, text); }
std::optional<Affiliation> read_affiliation(std::string_view text) {
    return read<Affiliation>(affiliations, text);
}

Role default_role(Affiliation affiliation, bool moderated) {
    switch (affiliation) {
        case Affiliation::outcast:
            return Role::none;
        case Affiliation::none:
            return moderated ? Role::visitor : Role::participant;
        case Affiliation::member:
            return Role::participant;
        case Affiliation::admin:
        case Affiliation::owner:
            return Role::moderator;
    }
    return Role::none;
}

std::optional<StanzaError> refuse_role(const Standing& actor, const Standing& target, Role role) {
    const bool is_admin = actor.affiliation >= Affiliation::admin;
    if (actor.role < Role::moderator) return StanzaError::forbidden();
    // Moderator status is given and taken by admins (§9.6, §9.7).
    if (role == Role::moderator && !is_admin) return StanzaError::forbidden();
    if (role == target.role) return std::nullopt;  // a list may name those who are on it already (§9.8)
    if (target.affiliation > actor.affiliation) return StanzaError::not_allowed();
    // §5.1.3: a moderator is kicked by an admin or owner only.
    if (role == Role::none)
        return target.role == Role::moderator && !is_admin ? std::optional(StanzaError::not_allowed())
                                                           : std::nullopt;
    if (target.role == Role::moderator && !is_admin) return StanzaError::forbidden();
    if (role < target.role && target.affiliation >= Affiliation::admin) return StanzaError::not_allowed();
    // §8.4: voice is not taken from somebody at or above the moderator's own level.
    if (role == Role::visitor && target.affiliation >= actor.affiliation &&
        target.affiliation > Affiliation::none) {
        return StanzaError::not_allowed();
    }
    return std::nullopt;
}

std::optional<StanzaError> refuse_affiliation(Affiliation actor, Affiliation target, Affiliation wanted,
                                              bool self) {
    if (actor < Affiliation::admin) {
        // Whoever has an affiliation may give it up.
        if (self && wanted == Affiliation::none && actor == Affiliation::member) return std::nullopt;
        return StanzaError::forbidden();
    }
    if (self && wanted == Affiliation::outcast) return StanzaError::conflict("nobody bans himself");
    if (self && wanted <= actor) return std::nullopt;
    if (actor == Affiliation::owner) return std::nullopt;
    // §9.1: a ban of somebody above is not allowed; all else about owners and admins is the owners' (§10.3 to
    // §10.8).
    if (target >= Affiliation::admin && wanted == Affiliation::outcast) return StanzaError::not_allowed();
    if (target >= Affiliation::admin || wanted >= Affiliation::admin) return StanzaError::forbidden();
    return std::nullopt;
}

}  // namespace hexad::muc
