#include "placement/placement.hpp"

#include <algorithm>

#include <catch2/catch.hpp>

using namespace hexad;

TEST_CASE("1,001 accounts on two equal nodes are split 501 and 500", "[placement]") {
    const auto homes = place_balanced({{"n2", 0, 25000}, {"n1", 0, 25000}}, 1001);
    CHECK(std::count(homes.begin(), homes.end(), "n1") == 501);
    CHECK(std::count(homes.begin(), homes.end(), "n2") == 500);
}

TEST_CASE("capacity weighs, and what is there counts", "[placement]") {
    const auto homes = place_balanced({{"n1", 0, 100}, {"n2", 0, 300}}, 40);
    CHECK(std::count(homes.begin(), homes.end(), "n2") == 30);
    CHECK(place_balanced({{"n1", 10, 100}, {"n2", 0, 100}}, 1).front() == "n2");
}

TEST_CASE("without room an account stays unassigned", "[placement]") {
    const auto homes = place_balanced({{"n1", 1, 2}, {"n2", 2, 2}}, 2);
    CHECK(homes == std::vector<std::string>{"n1", ""});
}
