// What is escaped for a filter or a name stands for itself and cannot break out; a name that was read can be
// written.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/dn.hpp"
#include "ldap/escape.hpp"
#include "require.hpp"

using namespace hexad;
using namespace hexad::ldap;

namespace {

/// What a filter makes of an escaped value (RFC 4515 §3).
std::string unescape_filter(std::string_view text) {
    std::string out;
    for (std::size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\\') {
            out += text[at];
            continue;
        }
        REQUIRE_PROPERTY(at + 2 < text.size());
        out += static_cast<char>(std::stoi(std::string(text.substr(at + 1, 2)), nullptr, 16));
        at += 2;
    }
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);

    const auto filter = escape_filter(text);
    REQUIRE_PROPERTY(filter.find_first_of("*()") == std::string::npos &&
                     filter.find('\0') == std::string::npos);
    REQUIRE_PROPERTY(unescape_filter(filter) == text);

    const Dn own{{{"cn", std::string(text)}}, {{"dc", "test"}}};
    REQUIRE_PROPERTY(parse_dn(to_string(own)) == own);

    if (const auto dn = parse_dn(text)) {
        REQUIRE_PROPERTY(parse_dn(to_string(*dn)) == dn);
        REQUIRE_PROPERTY(is_within(*dn, *dn));
        REQUIRE_PROPERTY(is_within(*dn, {}));
    }
    return 0;
}
