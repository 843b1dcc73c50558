// Whatever lies in Redis, a node does not fall over it; what it takes for good it writes back as the same.
#include <cstdint>

#include "cluster/unpack.hpp"
#include "cluster/wire_codec.hpp"
#include "require.hpp"

using namespace hexad;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const std::string bytes(reinterpret_cast<const char*>(data + 1), size - 1);
    switch (data[0] % 5) {
        case 0:
            if (const auto entry = codec::decode_entry(bytes)) {
                LogAppend append;
                append.kind = entry->entry.kind;
                append.origin = entry->entry.origin;
                append.stanza_id = entry->entry.stanza_id;
                append.co_targets = entry->co_targets;
                append.owner = entry->owner;
                append.xml = entry->entry.xml;
                const auto again = codec::decode_entry(codec::encode(append));
                REQUIRE_PROPERTY(again.has_value());
                REQUIRE_PROPERTY(again->entry.origin == append.origin && *again->entry.xml == *append.xml);
            }
            break;
        case 1:
            if (const auto change = codec::decode_route(bytes)) {
                const auto again = codec::decode_route(codec::encode(*change));
                REQUIRE_PROPERTY(again.has_value());
                REQUIRE_PROPERTY(again->entry == change->entry && again->account == change->account);
            }
            break;
        case 2:
            if (const auto notice = codec::decode_notice(bytes)) {
                const auto again = codec::decode_notice(codec::encode(*notice));
                REQUIRE_PROPERTY(again.has_value());
                REQUIRE_PROPERTY(*again->xml == *notice->xml && again->audience == notice->audience);
            }
            break;
        case 3:
            if (const auto input = codec::decode_room_input(bytes)) {
                const auto again = codec::decode_room_input(codec::encode(*input));
                REQUIRE_PROPERTY(again.has_value());
                REQUIRE_PROPERTY(again->origin == input->origin && again->from == input->from);
            }
            break;
        default: {
            Unpacker in(bytes);
            const auto count = in.array();
            for (std::uint32_t i = 0; i < count && !in.failed(); ++i) in.text();
            REQUIRE_PROPERTY(count == 0 || in.failed() || bytes.size() > count);
        }
    }
    return 0;
}
