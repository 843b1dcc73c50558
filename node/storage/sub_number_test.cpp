#include "storage/sub_number.hpp"

#include <map>
#include <set>
#include <vector>

#include <catch2/catch.hpp>

using namespace hexad;

TEST_CASE("a target's origin does not depend on the order of the targets", "[storage][delivery]") {
    const auto numbers = [](const std::vector<std::string>& sids) {
        Batch batch;
        std::map<std::string, std::set<std::uint32_t>> out;
        for (const auto& sid : sids) {
            LogAppend append;
            append.sid = sid;
            append.origin.sub = next_sub(batch, sid);
            out[sid].insert(append.origin.sub);
            batch.appends.push_back(append);
        }
        return out;
    };
    CHECK(numbers({"a", "b", "c"}) == numbers({"c", "a", "b"}));
    CHECK(numbers({"a", "b", "a"}) == numbers({"b", "a", "a"}));
    CHECK(numbers({"a", "a"}).at("a") == std::set<std::uint32_t>{1, 2});
}
