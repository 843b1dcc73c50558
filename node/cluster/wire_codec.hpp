#pragma once

#include <optional>
#include <string>
#include <vector>

#include "storage/batch.hpp"

namespace hexad::codec {

/// Batch parts ⇄ the bytes that go through Redis. Decoding gives nothing for bytes that are broken.
std::string encode(const LogAppend& append);
struct DecodedEntry {
    LogEntry entry;  ///< without position and number
    std::vector<std::string> co_targets;
    AccountId owner = 0;
};
std::optional<DecodedEntry> decode_entry(const std::string& bytes);
std::string encode(const RouteChange& change);
std::optional<RouteChange> decode_route(const std::string& bytes);
std::string encode(const Notice& notice);
std::optional<Notice> decode_notice(const std::string& bytes);
std::string encode(const RoomInput& input);
std::optional<RoomInput> decode_room_input(const std::string& bytes);

/// The rows of a batch that may wait: archive, offline, room archive.
std::string encode_rows(const Batch& batch);
std::optional<Batch> decode_rows(const std::string& bytes);

}  // namespace hexad::codec
