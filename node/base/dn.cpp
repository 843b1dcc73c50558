#include "base/dn.hpp"

#include <algorithm>

namespace hexad {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

std::string lowered(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(), lower);
    return result;
}

void append_hex(std::string& out, char byte) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    const auto value = static_cast<unsigned char>(byte);
    out += '\\';
    out += digits[value >> 4];
    out += digits[value & 15];
}

int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (lower(c) >= 'a' && lower(c) <= 'f') return lower(c) - 'a' + 10;
    return -1;
}

bool is_printable(char c) { return c >= 0x20 && c < 0x7f; }
bool is_letter(char c) { return lower(c) >= 'a' && lower(c) <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Reads one DN from left to right.
class DnReader {
public:
    explicit DnReader(std::string_view text) : text_(text) {}

    std::optional<Dn> read() {
        Dn dn;
        skip_spaces();
        if (at_end()) return dn;
        while (true) {
            auto rdn = read_rdn();
            if (!rdn) return std::nullopt;
            dn.push_back(std::move(*rdn));
            if (at_end()) return dn;
            if (text_[at_] != ',' && text_[at_] != ';')
                return std::nullopt;  // ';' as RFC 4514 §4 allows to read
            ++at_;
        }
    }

private:
    bool at_end() const { return at_ == text_.size(); }
    void skip_spaces() {
        while (!at_end() && text_[at_] == ' ') ++at_;
    }

    std::optional<Rdn> read_rdn() {
        Rdn rdn;
        while (true) {
            auto attribute = read_attribute();
            if (!attribute) return std::nullopt;
            rdn.push_back(std::move(*attribute));
            if (at_end() || text_[at_] != '+') return rdn;
            ++at_;
        }
    }

    std::optional<DnAttribute> read_attribute() {
        skip_spaces();
        const auto start = at_;
        while (!at_end() &&
               (is_letter(text_[at_]) || is_digit(text_[at_]) || text_[at_] == '-' || text_[at_] == '.'))
            ++at_;
        DnAttribute result{lowered(text_.substr(start, at_ - start)), {}};
        // descr = keystring, or numericoid: a type begins with a letter or is all digits and dots.
        if (result.type.empty() || result.type.front() == '-' || result.type.front() == '.')
            return std::nullopt;
        const bool is_oid = is_digit(result.type.front());
        for (const char c : result.type)
            if (is_oid ? !(is_digit(c) || c == '.') : c == '.') return std::nullopt;
        skip_spaces();
        if (at_end() || text_[at_] != '=') return std::nullopt;
        ++at_;
        skip_spaces();
        auto value = !at_end() && text_[at_] == '#' ? read_hex_string() : read_string();
        if (!value) return std::nullopt;
        result.value = std::move(*value);
        return result;
    }

    std::optional<std::string> read_hex_string() {
        std::string value;
        for (++at_; at_ + 1 < text_.size() && hex_value(text_[at_]) >= 0; at_ += 2) {
            if (hex_value(text_[at_ + 1]) < 0) return std::nullopt;
            value += static_cast<char>(hex_value(text_[at_]) * 16 + hex_value(text_[at_ + 1]));
        }
        skip_spaces();
        if (value.empty() || (!at_end() && !ends_value(text_[at_]))) return std::nullopt;
        return value;
    }

    std::optional<std::string> read_string() {
        std::string value;
        std::size_t kept = 0;  // up to here the value ends in something that is not an unescaped space
        while (!at_end() && !ends_value(text_[at_])) {
            const char c = text_[at_++];
            if (c == '\0' || c == '"' || c == '<' || c == '>') return std::nullopt;
            if (c != '\\') {
                value += c;
                if (c != ' ') kept = value.size();
                continue;
            }
            if (at_end()) return std::nullopt;
            if (at_ + 1 < text_.size() && hex_value(text_[at_]) >= 0 && hex_value(text_[at_ + 1]) >= 0) {
                value += static_cast<char>(hex_value(text_[at_]) * 16 + hex_value(text_[at_ + 1]));
                at_ += 2;
            } else if (std::string_view(" \"#+,;<=>\\").find(text_[at_]) != std::string_view::npos) {
                value += text_[at_++];
            } else {
                return std::nullopt;
            }
            kept = value.size();
        }
        value.resize(kept);
        return value;
    }

    static bool ends_value(char c) { return c == ',' || c == '+' || c == ';'; }

    std::string_view text_;
    std::size_t at_ = 0;
};

bool same_ignoring_case(std::string_view one, std::string_view other) {
    return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                      [](char a, char b) { return lower(a) == lower(b); });
}

bool same(const Rdn& one, const Rdn& other) {
    return one.size() == other.size() && std::is_permutation(one.begin(), one.end(), other.begin(),
                                                             [](const DnAttribute& a, const DnAttribute& b) {
                                                                 return a.type == b.type &&
                                                                        same_ignoring_case(a.value, b.value);
                                                             });
}

}  // namespace

std::string escape_dn(std::string_view value) {
    std::string out;
    for (std::size_t at = 0; at < value.size(); ++at) {
        const char c = value[at];
        const bool at_edge = at == 0 || at + 1 == value.size();
        if (std::string_view("\"+,;<>\\").find(c) != std::string_view::npos || (c == ' ' && at_edge) ||
            (c == '#' && at == 0)) {
            out += '\\';
            out += c;
        } else if (!is_printable(c)) {
            append_hex(out, c);
        } else {
            out += c;
        }
    }
    return out;
}

std::optional<Dn> parse_dn(std::string_view text) { return DnReader(text).read(); }

std::string to_string(const Dn& dn) {
    std::string out;
    for (const auto& rdn : dn) {
        if (!out.empty()) out += ',';
        for (std::size_t at = 0; at < rdn.size(); ++at) {
            if (at > 0) out += '+';
            out.append(rdn[at].type).append("=").append(escape_dn(rdn[at].value));
        }
    }
    return out;
}

bool is_within(const Dn& dn, const Dn& base) {
    if (base.size() > dn.size()) return false;
    return std::equal(base.rbegin(), base.rend(), dn.rbegin(), same);
}

}  // namespace hexad
