#include "base/text.hpp"

#include <array>
#include <cstdint>
#include <cstring>

#include <openssl/sha.h>

namespace hexad {
namespace {

constexpr char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr auto base64_values = [] {
    std::array<std::int8_t, 256> table{};
    table.fill(-1);
    for (int i = 0; i < 64; ++i)
        table[static_cast<unsigned char>(base64_alphabet[i])] = static_cast<std::int8_t>(i);
    return table;
}();

unsigned byte_at(std::string_view text, std::size_t i) { return static_cast<unsigned char>(text[i]); }

/// Reads exactly `count` digits at `pos` and moves on; false if they are not there.
bool digits(std::string_view text, std::size_t& pos, int count, int& value) {
    value = 0;
    for (int i = 0; i < count; ++i, ++pos) {
        if (pos >= text.size() || text[pos] < '0' || text[pos] > '9') return false;
        value = value * 10 + (text[pos] - '0');
    }
    return true;
}

bool literal(std::string_view text, std::size_t& pos, char c) {
    if (pos >= text.size() || text[pos] != c) return false;
    ++pos;
    return true;
}

void append_padded(std::string& out, std::int64_t value, int width) {
    const auto text = std::to_string(value);
    for (int i = static_cast<int>(text.size()); i < width; ++i) out += '0';
    out += text;
}

std::string format(Timestamp at, bool fraction) {
    const auto day = std::chrono::floor<std::chrono::days>(at);
    const std::chrono::year_month_day date(day);
    const std::chrono::hh_mm_ss time(at - day);
    std::string out;
    out.reserve(27);
    append_padded(out, static_cast<int>(date.year()), 4);
    out += '-';
    append_padded(out, static_cast<unsigned>(date.month()), 2);
    out += '-';
    append_padded(out, static_cast<unsigned>(date.day()), 2);
    out += 'T';
    append_padded(out, time.hours().count(), 2);
    out += ':';
    append_padded(out, time.minutes().count(), 2);
    out += ':';
    append_padded(out, time.seconds().count(), 2);
    if (fraction) {
        out += '.';
        append_padded(out, time.subseconds().count(), 6);
    }
    out += 'Z';
    return out;
}

}  // namespace

std::string base64_encode(std::string_view bytes) {
    std::string out;
    out.reserve((bytes.size() + 2) / 3 * 4);
    std::size_t i = 0;
    for (; i + 2 < bytes.size(); i += 3) {
        const unsigned triple = byte_at(bytes, i) << 16 | byte_at(bytes, i + 1) << 8 | byte_at(bytes, i + 2);
        for (int shift = 18; shift >= 0; shift -= 6) out += base64_alphabet[triple >> shift & 63];
    }
    if (i + 1 == bytes.size()) {
        const unsigned one = byte_at(bytes, i);
        out += base64_alphabet[one >> 2];
        out += base64_alphabet[one << 4 & 63];
        out += "==";
    } else if (i + 2 == bytes.size()) {
        const unsigned two = byte_at(bytes, i) << 8 | byte_at(bytes, i + 1);
        out += base64_alphabet[two >> 10];
        out += base64_alphabet[two >> 4 & 63];
        out += base64_alphabet[two << 2 & 63];
        out += '=';
    }
    return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
    if (text.size() % 4 != 0) return std::nullopt;
    std::size_t padding = 0;
    while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
    text.remove_suffix(padding);
    std::string out;
    out.reserve(text.size() / 4 * 3 + 2);
    unsigned window = 0;
    int bits = 0;
    for (const char c : text) {
        const auto value = base64_values[static_cast<unsigned char>(c)];
        if (value < 0) return std::nullopt;
        window = (window << 6 | static_cast<unsigned>(value)) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out += static_cast<char>(window >> bits & 0xff);
        }
    }
    if ((window & ((1u << bits) - 1)) != 0)
        return std::nullopt;  // unused bits must be zero: one text per value
    return out;
}

std::string hex_encode(std::string_view bytes) {
    constexpr char digits_[] = "0123456789abcdef";
    std::string out;
    out.reserve(bytes.size() * 2);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        out += digits_[byte_at(bytes, i) >> 4];
        out += digits_[byte_at(bytes, i) & 15];
    }
    return out;
}

std::string sha1(std::string_view bytes) {
    std::string out(SHA_DIGEST_LENGTH, '\0');
    SHA1(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
         reinterpret_cast<unsigned char*>(out.data()));
    return out;
}

std::string sha256(std::string_view bytes) {
    std::string out(SHA256_DIGEST_LENGTH, '\0');
    SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
           reinterpret_cast<unsigned char*>(out.data()));
    return out;
}

bool is_utf8(std::string_view bytes) {
    std::size_t i = 0;
    const auto continues = [&](std::size_t at) {
        return at < bytes.size() && (byte_at(bytes, at) & 0xc0) == 0x80;
    };
    while (i < bytes.size()) {
        if (i + 8 <= bytes.size()) {
            std::uint64_t word = 0;
            std::memcpy(&word, bytes.data() + i, 8);
            if ((word & 0x8080808080808080u) == 0) {
                i += 8;
                continue;
            }
        }
        const unsigned lead = byte_at(bytes, i);
        if (lead < 0x80) {
            i += 1;
        } else if (lead >= 0xc2 && lead <= 0xdf) {
            if (!continues(i + 1)) return false;
            i += 2;
        } else if (lead >= 0xe0 && lead <= 0xef) {
            if (!continues(i + 1) || !continues(i + 2)) return false;
            const unsigned second = byte_at(bytes, i + 1);
            if (lead == 0xe0 && second < 0xa0) return false;  // overlong
            if (lead == 0xed && second > 0x9f) return false;  // surrogate
            i += 3;
        } else if (lead >= 0xf0 && lead <= 0xf4) {
            if (!continues(i + 1) || !continues(i + 2) || !continues(i + 3)) return false;
            const unsigned second = byte_at(bytes, i + 1);
            if (lead == 0xf0 && second < 0x90) return false;  // overlong
            if (lead == 0xf4 && second > 0x8f) return false;  // above U+10FFFF
            i += 4;
        } else {
            return false;
        }
    }
    return true;
}

std::string format_time(Timestamp at) { return format(at, true); }
std::string format_time_s(Timestamp at) { return format(at, false); }

std::optional<Timestamp> parse_time(std::string_view text) {
    using namespace std::chrono;
    std::size_t pos = 0;
    int year_ = 0, month_ = 0, day_ = 0, hour = 0, minute = 0, second = 0;
    if (!digits(text, pos, 4, year_) || !literal(text, pos, '-') || !digits(text, pos, 2, month_) ||
        !literal(text, pos, '-') || !digits(text, pos, 2, day_) || !literal(text, pos, 'T') ||
        !digits(text, pos, 2, hour) || !literal(text, pos, ':') || !digits(text, pos, 2, minute) ||
        !literal(text, pos, ':') || !digits(text, pos, 2, second))
        return std::nullopt;
    const year_month_day date(year(year_), month(static_cast<unsigned>(month_)),
                              day(static_cast<unsigned>(day_)));
    if (!date.ok() || hour > 23 || minute > 59 || second > 59) return std::nullopt;
    int micros = 0;
    if (literal(text, pos, '.')) {
        const auto start = pos;
        int scale = 100000;
        while (pos < text.size() && text[pos] >= '0' && text[pos] <= '9') {
            micros += (text[pos++] - '0') * scale;
            scale /= 10;  // digits past the sixth add nothing
        }
        if (pos == start) return std::nullopt;
    }
    minutes offset{0};
    if (!literal(text, pos, 'Z')) {
        const bool east = pos < text.size() && text[pos] == '+';
        if (!east && (pos >= text.size() || text[pos] != '-')) return std::nullopt;
        ++pos;
        int h = 0, m = 0;
        if (!digits(text, pos, 2, h) || !literal(text, pos, ':') || !digits(text, pos, 2, m) || h > 23 ||
            m > 59)
            return std::nullopt;
        offset = hours(h) + minutes(m);
        if (!east) offset = -offset;
    }
    if (pos != text.size()) return std::nullopt;
    return Timestamp(sys_days(date)) + hours(hour) + minutes(minute) + seconds(second) +
           microseconds(micros) - offset;
}

}  // namespace hexad
