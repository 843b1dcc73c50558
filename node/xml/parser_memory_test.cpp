#include "xml/parser_memory.hpp"

#include <cstring>
#include <string>
#include <vector>

#include <catch2/catch.hpp>

#include "xml/stanza_parser.hpp"

using namespace hexad;

TEST_CASE("a parser's memory keeps what is in it, also beyond its place", "[xml]") {
    const auto& suite = ParserMemory::suite();
    for (int round = 0; round < 40; ++round) {  // places are given back and used again
        ParserMemory memory;
        const ParserMemory::Use use(memory);
        std::vector<char*> blocks;
        for (std::size_t i = 0; i < 100; ++i) {
            auto* block = static_cast<char*>(suite.malloc_fcn(1000));
            REQUIRE(block != nullptr);
            std::memset(block, static_cast<int>(i), 1000);
            blocks.push_back(block);
        }
        for (std::size_t i = 0; i < blocks.size(); i += 2) {
            blocks[i] = static_cast<char*>(suite.realloc_fcn(blocks[i], 3000));
            REQUIRE(blocks[i] != nullptr);
            std::memset(blocks[i] + 1000, static_cast<int>(i), 2000);
        }
        for (std::size_t i = 0; i < blocks.size(); ++i) {
            const std::string wanted(i % 2 == 0 ? 3000 : 1000, static_cast<char>(i));
            REQUIRE(std::string(blocks[i], wanted.size()) == wanted);
        }
        for (auto* block : blocks) suite.free_fcn(block);
        suite.free_fcn(nullptr);
        auto* small = suite.realloc_fcn(nullptr, 16);
        REQUIRE(small != nullptr);
        small = suite.realloc_fcn(small, 8);
        CHECK(small != nullptr);
        suite.free_fcn(small);
    }
}

TEST_CASE("what is freed last is used again", "[xml]") {
    const auto& suite = ParserMemory::suite();
    ParserMemory memory;
    const ParserMemory::Use use(memory);
    for (int i = 0; i < 100'000; ++i) {
        auto* block = suite.malloc_fcn(30'000);
        REQUIRE(block != nullptr);
        std::memset(block, 1, 30'000);
        suite.free_fcn(block);
    }
}

TEST_CASE("parsers come and go without touching each other", "[xml]") {
    const std::string head =
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    const auto stanza = [](std::size_t n) {  // names and values of some 40 KiB
        std::string text = "<m" + std::to_string(n);
        for (int i = 0; i < 40; ++i)
            text += " attribute" + std::to_string(n) + '-' + std::to_string(i) + "='" +
                    std::string(1000, static_cast<char>('a' + n % 26)) + '\'';
        return text + "/>";
    };
    std::vector<StanzaParser> parsers(60);
    for (auto& parser : parsers) {
        parser.feed(head);
        REQUIRE(parser.next()->kind == StanzaParser::Kind::header);
    }
    for (int round = 0; round < 6; ++round) {
        for (std::size_t n = 0; n < parsers.size(); ++n) {
            parsers[n].feed(stanza(n));
            const auto event = parsers[n].next();
            REQUIRE(event->kind == StanzaParser::Kind::stanza);
            REQUIRE(event->element.name() == "m" + std::to_string(n));
            REQUIRE(event->element.attr("attribute" + std::to_string(n) + "-39") ==
                    std::string(1000, static_cast<char>('a' + n % 26)));
            if ((n + static_cast<std::size_t>(round)) % 3 == 0) parsers[n].release_memory();
            if ((n + static_cast<std::size_t>(round)) % 7 == 0) {
                parsers[n].reset();
                parsers[n].feed(head);
                REQUIRE(parsers[n].next()->kind == StanzaParser::Kind::header);
            }
        }
    }
}
