// What an earlier version kept of a session, this one reads (docs/delivery.md, "Versions").
#include <catch2/catch.hpp>

#include "base/text.hpp"
#include "session/session.hpp"

using namespace hexad;

TEST_CASE("samples of protocol 1: the state of a session", "[session][protocol-1]") {
    // session.proto, encoded by protoc; never changed.
    const std::string hex =
        "0a4e3c70726573656e63652066726f6d3d27726f6d656f406d6f6e74616775652e6c69742f6f726368617264273e3c70"
        "72696f726974793e2d353c2f7072696f726974793e3c2f70726573656e63653e10091801200128003001380142136e75"
        "72736540636170756c65742e6c69742f784a1e67617264656e40726f6f6d732e636170756c65742e6c69742f526f6d65"
        "6f";
    std::string bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2)
        bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    SessionState state;
    REQUIRE(decode_state(bytes, state));
    CHECK(state.presence == "<presence from='romeo@montague.lit/orchard'><priority>-5</priority></presence>");
    CHECK(state.priority == -5);
    CHECK((state.available && state.interested && !state.block_interested));
    CHECK((state.carbons && state.inactive));
    CHECK(state.directed == std::set<Jid>{*Jid::parse("nurse@capulet.lit/x")});
    CHECK(state.rooms == std::set<Jid>{*Jid::parse("garden@rooms.capulet.lit/Romeo")});
    CHECK(encode_state(state) == bytes);
}
