#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace hexad {

/// A value as it may stand in a distinguished name (RFC 4514 §2.4).
///
///     escape_dn(" Lučić, L.") == "\\ Lu\\C4\\8Di\\C4\\87\\, L."
std::string escape_dn(std::string_view value);

/// One attribute of an RDN: the type lower-cased, the value with all escapes taken out.
struct DnAttribute {
    std::string type;
    std::string value;
    friend bool operator==(const DnAttribute&, const DnAttribute&) = default;
};
using Rdn = std::vector<DnAttribute>;  ///< more than one attribute: `cn=a+sn=b`
using Dn = std::vector<Rdn>;           ///< leftmost, the most specific, first; empty: the root

/// Reads a distinguished name (RFC 4514 §3); white space around types, `=`, `,` and `+` is let through,
/// `#hex` values are their bytes. Nothing if it is malformed.
std::optional<Dn> parse_dn(std::string_view text);

/// The name with canonical escapes: what `parse_dn` reads back as the same value.
std::string to_string(const Dn& dn);

/// True if `dn` is `base` or below it. Types and values compare without regard to ASCII case.
bool is_within(const Dn& dn, const Dn& base);

}  // namespace hexad
