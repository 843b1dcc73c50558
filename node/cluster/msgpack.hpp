#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hexad {

/// Writes the MessagePack that Redis scripts unpack (cmsgpack). Only what they need: maps, arrays, strings,
/// integers.
class MsgpackWriter {
public:
    MsgpackWriter& map(std::uint32_t entries) { return head(entries, 0x80, 15, 0xde, 0xdf); }
    MsgpackWriter& array(std::uint32_t entries) { return head(entries, 0x90, 15, 0xdc, 0xdd); }
    MsgpackWriter& text(std::string_view value) {
        const auto size = static_cast<std::uint32_t>(value.size());
        if (size < 32) {
            out_ += static_cast<char>(0xa0 | size);
        } else if (size < 65536) {
            out_ += static_cast<char>(0xda);
            big(size, 2);
        } else {
            out_ += static_cast<char>(0xdb);
            big(size, 4);
        }
        out_ += value;
        return *this;
    }
    /// Below 2^53, as Lua has doubles.
    MsgpackWriter& number(std::uint64_t value) {
        if (value < 128) {
            out_ += static_cast<char>(value);
        } else {
            out_ += static_cast<char>(0xcf);
            big(value, 8);
        }
        return *this;
    }
    MsgpackWriter& boolean(bool value) {
        out_ += static_cast<char>(value ? 0xc3 : 0xc2);
        return *this;
    }
    const std::string& bytes() const { return out_; }
    std::string take() { return std::move(out_); }

private:
    MsgpackWriter& head(std::uint32_t entries, int fix, std::uint32_t fix_max, int two, int four) {
        if (entries <= fix_max) {
            out_ += static_cast<char>(fix | static_cast<int>(entries));
        } else if (entries < 65536) {
            out_ += static_cast<char>(two);
            big(entries, 2);
        } else {
            out_ += static_cast<char>(four);
            big(entries, 4);
        }
        return *this;
    }
    void big(std::uint64_t value, int bytes) {
        for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8)
            out_ += static_cast<char>(value >> shift & 0xff);
    }
    std::string out_;
};

}  // namespace hexad
