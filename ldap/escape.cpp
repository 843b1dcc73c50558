#include "ldap/escape.hpp"

namespace hexad::ldap {

namespace {

bool is_printable(char c) { return c >= 0x20 && c < 0x7f; }

void append_hex(std::string& out, char byte) {
    constexpr std::string_view digits = "0123456789abcdef";  // as in the examples of RFC 4515
    const auto value = static_cast<unsigned char>(byte);
    out += '\\';
    out += digits[value >> 4];
    out += digits[value & 15];
}

}  // namespace

std::string escape_filter(std::string_view value) {
    std::string out;
    out.reserve(value.size());
    for (const char c : value) {
        if (!is_printable(c) || c == '*' || c == '(' || c == ')' || c == '\\')
            append_hex(out, c);
        else
            out += c;
    }
    return out;
}

std::string filter_for(std::string_view filter, std::string_view attribute, std::string_view value) {
    std::string one = "(";
    one.append(attribute).append("=").append(escape_filter(value)).append(")");
    return filter.empty() ? one : "(&" + std::string(filter) + one + ")";
}

}  // namespace hexad::ldap
