#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace hexad {

/// Reads the MessagePack that Redis scripts write (cmsgpack): flat arrays of strings and numbers. Broken
/// input gives zeros and empty strings, and `failed`.
class Unpacker {
public:
    explicit Unpacker(std::string_view bytes) : in_(bytes) {}

    std::uint32_t array() {
        const auto head = byte();
        if ((head & 0xf0) == 0x90) return head & 0x0f;
        if (head == 0xdc) return static_cast<std::uint32_t>(big(2));
        failed_ = true;
        return 0;
    }
    std::string text() {
        const auto head = byte();
        std::size_t size = 0;
        if ((head & 0xe0) == 0xa0) {
            size = head & 0x1f;
        } else if (head == 0xd9) {
            size = big(1);
        } else if (head == 0xda) {
            size = big(2);
        } else if (head == 0xdb) {
            size = big(4);
        } else {
            failed_ = true;
        }
        if (failed_ || size > in_.size()) {
            failed_ = true;
            return {};
        }
        std::string out(in_.substr(0, size));
        in_.remove_prefix(size);
        return out;
    }
    std::uint64_t number() {
        const auto head = byte();
        if (head < 0x80) return head;
        switch (head) {
            case 0xcc:
                return big(1);
            case 0xcd:
                return big(2);
            case 0xce:
                return big(4);
            case 0xcf:
                return big(8);
            case 0xd0:
                return big(1);
            case 0xd1:
                return big(2);
            case 0xd2:
                return big(4);
            case 0xd3:
                return big(8);
            default:
                failed_ = true;
                return 0;
        }
    }
    bool failed() const { return failed_; }

private:
    unsigned byte() { return static_cast<unsigned>(big(1)); }
    std::uint64_t big(std::size_t bytes) {
        if (in_.size() < bytes) {
            failed_ = true;
            return 0;
        }
        std::uint64_t value = 0;
        for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | static_cast<unsigned char>(in_[i]);
        in_.remove_prefix(bytes);
        return value;
    }
    std::string_view in_;
    bool failed_ = false;
};

}  // namespace hexad
