#include "base/ids.hpp"

#include <cerrno>
#include <sys/random.h>
#include <system_error>

namespace hexad {

std::string random_id(std::size_t bytes) {
    std::string raw(bytes, '\0');
    std::size_t have = 0;
    while (have < bytes) {
        const auto n = ::getrandom(raw.data() + have, bytes - have, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw std::system_error(errno, std::system_category(), "getrandom");
        have += static_cast<std::size_t>(n);
    }
    constexpr char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    std::string id;
    id.reserve((bytes * 8 + 4) / 5);
    unsigned window = 0;
    unsigned bits = 0;
    for (const char c : raw) {
        window = (window << 8 | static_cast<unsigned char>(c)) & 0xffff;
        bits += 8;
        while (bits >= 5) {
            bits -= 5;
            id += alphabet[window >> bits & 31];
        }
    }
    if (bits > 0) id += alphabet[window << (5 - bits) & 31];
    return id;
}

}  // namespace hexad
