// What an earlier version wrote, this one reads (docs/delivery.md, "Versions"). The samples were encoded by
// protoc, not by us.
#include <fstream>
#include <map>
#include <sstream>

#include <catch2/catch.hpp>

#include "cluster/protocol.hpp"
#include "cluster/unpack.hpp"
#include "cluster/wire_codec.hpp"

using namespace hexad;

namespace {

std::map<std::string, std::string> samples(std::uint32_t protocol) {
    std::ifstream in(std::string(HEXAD_SAMPLES) + "/protocol-" + std::to_string(protocol) + ".txt");
    std::map<std::string, std::string> out;
    for (std::string line; std::getline(in, line);) {
        if (line.empty() || line.front() == '#') continue;
        std::istringstream words(line);
        std::string name, hex;
        words >> name >> hex;
        auto& bytes = out[name];
        for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
            bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
    return out;
}

const Jid romeo = *Jid::parse("romeo@montague.lit/orchard");
const Jid garden = *Jid::parse("garden@rooms.capulet.lit");
constexpr auto sent_at = Timestamp(std::chrono::microseconds(1766666666123456));

}  // namespace

TEST_CASE("every protocol that this version reads has samples", "[wire]") {
    for (auto n = spoken_protocol.min; n <= spoken_protocol.max; ++n) CHECK(samples(n).size() >= 8);
}

TEST_CASE("two nodes fit if one form is read by both", "[wire]") {
    CHECK(fit({1, 1}, {1, 2}));
    CHECK(fit({2, 3}, {1, 2}));
    CHECK_FALSE(fit({2, 3}, {1, 1}));
    CHECK_FALSE(fit({1, 1}, {2, 3}));
}

TEST_CASE("samples of protocol 1: an entry of a session log", "[wire][protocol-1]") {
    const auto bytes = samples(1).at("entry");
    const auto decoded = codec::decode_entry(bytes);
    REQUIRE(decoded);
    const auto& entry = decoded->entry;
    CHECK(entry.kind == EntryKind::message);
    CHECK(entry.origin == Origin{"sid-romeo", 7, 1});
    CHECK(entry.stanza_id == "0123456789abcdef");
    CHECK(decoded->co_targets == std::vector<std::string>{"sid-phone", "sid-desk"});
    CHECK(decoded->owner == 42);
    CHECK_THAT(*entry.xml, Catch::StartsWith("<message from='romeo@montague.lit/orchard'") &&
                               Catch::EndsWith("Wherefore \u2026</body></message>"));
    LogAppend same;
    same.origin = entry.origin, same.stanza_id = entry.stanza_id, same.co_targets = decoded->co_targets;
    same.owner = decoded->owner, same.xml = entry.xml;
    CHECK(codec::encode(same) == bytes);
}

TEST_CASE("samples of protocol 1: routes", "[wire][protocol-1]") {
    const auto bytes = samples(1).at("route");
    const auto change = codec::decode_route(bytes);
    REQUIRE(change);
    const auto& entry = change->entry;
    CHECK(change->account == romeo.bare());
    CHECK(entry.sid == "sid-romeo");
    CHECK(entry.node == "n1");
    CHECK(entry.jid == romeo);
    CHECK(entry.priority == -5);
    CHECK((entry.available && entry.interested && !entry.block_interested && entry.carbons));
    CHECK(entry.hidden_from == std::vector<Jid>{*Jid::parse("tybalt@capulet.lit")});
    CHECK_THAT(change->broadcast, Catch::StartsWith("<presence"));
    CHECK((change->moves_version && !change->ended && !change->left_messages));
    CHECK(codec::encode(*change) == bytes);
    const auto gone = codec::decode_route(samples(1).at("route-ended"));
    REQUIRE(gone);
    CHECK((gone->ended && gone->left_messages && !gone->entry.available));
}

TEST_CASE("samples of protocol 1: a notice and a room's input", "[wire][protocol-1]") {
    const auto notice = codec::decode_notice(samples(1).at("notice"));
    REQUIRE(notice);
    CHECK(notice->audience == Notice::Audience::interested);
    CHECK(notice->account == *Jid::parse("juliet@capulet.lit"));
    CHECK(notice->address);
    CHECK(codec::encode(*notice) == samples(1).at("notice"));
    const auto input = codec::decode_room_input(samples(1).at("room-input"));
    REQUIRE(input);
    CHECK(input->room == garden);
    CHECK(input->origin == Origin{"sid-romeo", 8, 0});
    CHECK(input->from == romeo);
    CHECK(codec::encode(*input) == samples(1).at("room-input"));
}

TEST_CASE("samples of protocol 1: rows that waited in Redis", "[wire][protocol-1]") {
    const auto bytes = samples(1).at("rows");
    const auto rows = codec::decode_rows(bytes);
    REQUIRE(rows);
    REQUIRE((rows->archive.size() == 1 && rows->offline.size() == 1 && rows->room_archive.size() == 1));
    CHECK(rows->archive[0].owner == 42);
    CHECK(rows->archive[0].direction == Direction::out);
    CHECK(rows->archive[0].content_hash == std::string(20, 'h'));
    CHECK(rows->archive[0].at == sent_at);
    CHECK(rows->offline[0].from == romeo);
    CHECK(rows->room_archive[0].hist == 3);
    CHECK(rows->room_archive[0].from == *garden.with_resource("Romeo"));
    CHECK(codec::encode_rows(*rows) == bytes);
}

TEST_CASE("samples of protocol 1: what scripts put on a stream", "[wire][protocol-1]") {
    const auto entry = samples(1).at("bus-entry");
    Unpacker in(entry);
    CHECK(in.array() == 3);
    CHECK(in.text() == "sid-juliet");
    CHECK(in.number() == 300);
    CHECK(codec::decode_entry(in.text()));
    CHECK_FALSE(in.failed());
    const auto part = samples(1).at("bus-part");
    Unpacker moved(part);
    CHECK(moved.array() == 3);
    CHECK(moved.text() == "n1");
    CHECK(moved.text() == "n2");
    CHECK(moved.text() == "17");
    CHECK_FALSE(moved.failed());
}

TEST_CASE("samples of protocol 2: what was there before is as it was", "[wire][protocol-2]") {
    const auto before = samples(1), now = samples(2);
    for (const auto& [name, bytes] : before) {
        INFO(name);
        CHECK(now.at(name) == bytes);
    }
}

TEST_CASE("samples of protocol 2: rooms that move", "[wire][protocol-2]") {
    const auto says = [](const std::string& name, const std::string& home) {
        const auto bytes = samples(2).at(name);
        Unpacker in(bytes);
        CHECK(in.array() == 2);
        CHECK(in.text() == garden.to_string());
        CHECK(in.text() == home);
        CHECK_FALSE(in.failed());
    };
    says("bus-room-home", "n3");
    says("bus-room-gone", "");
    const auto held = samples(2).at("bus-room-held");
    Unpacker in(held);
    CHECK(in.array() == 1);
    CHECK(in.text() == garden.to_string());
    CHECK_FALSE(in.failed());
}

TEST_CASE("a field of a later version is skipped", "[wire]") {
    // Field 200, a text, behind what is known.
    const auto later = samples(1).at("notice") + std::string("\xc2\x0c\x03new", 6);
    const auto notice = codec::decode_notice(later);
    REQUIRE(notice);
    CHECK(notice->address);
}
