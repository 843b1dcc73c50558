#pragma once

#include <string>

#include "hooks/module.hpp"

namespace hexad {

/// The disco#info answer of a target: identities, features, forms as registered (XEP-0030 §3).
Element disco_info(const Hooks& hooks, const Target& target);
/// The XEP-0115 verification string of a disco#info answer (SHA-1, base64).
std::string caps_hash(const Element& info);
/// Node under which the server announces its capabilities.
inline constexpr std::string_view caps_node = "https://hexad.example/caps";
/// `<c/>` for the stream features (XEP-0115 §6.3).
Element server_caps(const Hooks& hooks);

}  // namespace hexad
