#include "hooks/upload_quota.hpp"

#include <filesystem>

#include <catch2/catch.hpp>

using namespace hexad;

TEST_CASE("an account uploads so much a day and no more", "[upload]") {
    const auto folder = std::filesystem::temp_directory_path() / ("quota-" + std::to_string(::getpid()));
    const UploadQuota quota(folder, 1000);
    const auto romeo = *Jid::parse("romeo@example.test"), juliet = *Jid::parse("juliet@example.test");
    const Timestamp noon{std::chrono::sys_days(std::chrono::year(2026) / 2 / 3) + std::chrono::hours(12)};
    const auto refused = [&](const Jid& who, std::uint64_t size, Timestamp at) {
        const auto found = quota.take(who, size, at);
        REQUIRE(found.has_value());
        return *found;
    };
    CHECK_FALSE(refused(romeo, 600, noon).has_value());
    CHECK_FALSE(refused(romeo, 400, noon).has_value());
    const auto again = refused(romeo, 1, noon);
    REQUIRE(again.has_value());
    CHECK(*again == noon + std::chrono::hours(12));
    CHECK_FALSE(refused(juliet, 1000, noon).has_value());
    CHECK(refused(juliet, 1001, *again).has_value());
    CHECK_FALSE(refused(romeo, 1000, *again).has_value());
    // Another node that shares the folder goes on from there.
    CHECK(*UploadQuota(folder, 1000).take(romeo, 1, *again));
    CHECK_FALSE(*UploadQuota(folder, 0).take(romeo, 5000, *again));
    std::filesystem::remove_all(folder);
    CHECK_FALSE(UploadQuota("/proc/nowhere", 1000).take(romeo, 1, noon).has_value());
}
