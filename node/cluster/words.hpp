#pragma once

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "cluster/redis_connection.hpp"
#include "storage/batch.hpp"

namespace hexad {

/// How the scripts say things: numbers and times as text, the verdict as the first word of an answer.
inline std::uint64_t to_number(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

inline std::string micros(Timestamp at) { return std::to_string(at.time_since_epoch().count()); }

/// Empty if there was no answer, or an error instead of one.
inline std::string verdict(const Result<RedisReply>& reply) {
    if (!reply || reply->kind != RedisReply::Kind::array || reply->items.empty()) return {};
    return reply->items.front().text;
}

inline std::string_view word_of(SessionMode mode) {
    return mode == SessionMode::bound ? "bound" : mode == SessionMode::filling ? "filling" : "live";
}
inline SessionMode mode_of(std::string_view word) {
    return word == "live" ? SessionMode::live : word == "filling" ? SessionMode::filling : SessionMode::bound;
}

inline std::string_view word_of(SessionPhase phase) {
    return phase == SessionPhase::attached   ? "attached"
           : phase == SessionPhase::detached ? "detached"
                                             : "ending";
}
inline SessionPhase phase_of(std::string_view word) {
    return word == "attached" ? SessionPhase::attached
           : word == "ending" ? SessionPhase::ending
                              : SessionPhase::detached;
}

}  // namespace hexad
