#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>

#include <catch2/catch.hpp>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "base/text.hpp"

using namespace hexad;

TEST_CASE("base64 follows the vectors of RFC 4648", "[text][rfc4648-10]") {
    const std::pair<std::string, std::string> table[] = {{"", ""},
                                                         {"f", "Zg=="},
                                                         {"fo", "Zm8="},
                                                         {"foo", "Zm9v"},
                                                         {"foob", "Zm9vYg=="},
                                                         {"fooba", "Zm9vYmE="},
                                                         {"foobar", "Zm9vYmFy"}};
    for (const auto& [plain, coded] : table) {
        CHECK(base64_encode(plain) == coded);
        CHECK(base64_decode(coded) == plain);
    }
}

TEST_CASE("base64 that is not canonical is refused", "[text]") {
    for (const auto* bad :
         {"Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "=", "====", "Z===", "Zg==Zg==", "Zm-_"})
        CHECK_FALSE(base64_decode(bad));
}

TEST_CASE("digests and hex", "[text]") {
    CHECK(hex_encode(sha1("abc")) == "a9993e364706816aba3e25717850c26c9cd0d89d");
    CHECK(hex_encode(sha256("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("UTF-8 is checked strictly", "[text]") {
    for (const auto* good : {"", "plain ascii, longer than eight", "\xc3\xa9", "\xe2\x82\xac",
                             "\xf0\x9f\x98\x80", "\xef\xbf\xbf"})
        CHECK(is_utf8(good));
    for (const auto* bad : {"\x80", "\xc3", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xed\xa0\x80",
                            "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "12345678\xff"})
        CHECK_FALSE(is_utf8(bad));
}

TEST_CASE("times are written and read as XEP-0082 says", "[text][xep0082]") {
    using namespace std::chrono;
    const Timestamp at = sys_days(2026y / 11 / 1) + 13h + 41min + 10s + 31ms;
    CHECK(format_time(at) == "2026-11-01T13:41:10.031000Z");
    CHECK(format_time_s(at) == "2026-11-01T13:41:10Z");
    CHECK(parse_time("2026-11-01T13:41:10.031Z") == at);
    CHECK(parse_time("2026-11-01T13:41:10.0310000009Z") == at);
    CHECK(parse_time("2026-11-01T15:41:10.031+02:00") == at);
    CHECK(parse_time("2026-11-01T12:11:10.031-01:30") == at);
    CHECK(parse_time(format_time(Timestamp(microseconds(-1)))) == Timestamp(microseconds(-1)));
    for (const auto* bad : {"", "2026-11-01", "2026-11-01T13:41:10", "2026-02-30T00:00:00Z",
                            "2026-11-01T24:00:00Z", "2026-11-01T13:41:10.Z", "2026-11-01T13:41:10Zx",
                            "2026-11-01 13:41:10Z", "20261101T13:41:10", "2026-11-01T13:41:10+0200"})
        CHECK_FALSE(parse_time(bad));
}

TEST_CASE("ids are base32 and do not repeat", "[ids]") {
    CHECK(random_id(16).size() == 26);
    CHECK(random_id(5).size() == 8);
    std::set<std::string> seen;
    for (int i = 0; i < 1000; ++i) {
        const auto id = random_id();
        CHECK(id.find_first_not_of("abcdefghijklmnopqrstuvwxyz234567") == std::string::npos);
        CHECK(seen.insert(id).second);
    }
}

TEST_CASE("a log line is one logfmt event", "[log]") {
    char path[] = "/tmp/hexad-log-XXXXXX";
    const int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    configure_log("info", path);
    log_debug("not_shown");
    log_info("session_bound",
             {{"jid", "a@b/c"}, {"text", "two words \"q\"\n"}, {"n", 3}, {"ok", true}, {"none", ""}});
    configure_log("info", "");
    std::ifstream in(path);
    const std::string text(std::istreambuf_iterator<char>(in), {});
    CHECK_THAT(text, Catch::StartsWith("ts=20"));
    CHECK_THAT(text, Catch::EndsWith(
                         "Z level=info event=session_bound jid=a@b/c text=\"two words \\\"q\\\"\\n\" n=3 "
                         "ok=true none=\"\"\n"));
    CHECK(text.find('Z') == 3 + 23);
    CHECK_THROWS(configure_log("loud", ""));
    CHECK_THROWS(configure_log("info", "/nonexistent/dir/log"));
    ::remove(path);
}

TEST_CASE("metrics are rendered in the exposition format", "[metrics]") {
    auto& metrics = Metrics::instance();
    metrics.counter("hexad_test_total", "kind=\"a\"", "Things.").add(2);
    metrics.counter("hexad_test_total", "kind=\"b\"", "Things.").add();
    metrics.counter("hexad_test_total", "kind=\"a\"", "Things.").add();
    metrics.gauge("hexad_test_bytes", "", "Bytes.", [] { return 1.5; });
    const auto text = metrics.render();
    CHECK_THAT(text,
               Catch::Contains(
                   "# HELP hexad_test_bytes Bytes.\n# TYPE hexad_test_bytes gauge\nhexad_test_bytes 1.5\n"));
    CHECK_THAT(text, Catch::Contains("# TYPE hexad_test_total counter\nhexad_test_total{kind=\"a\"} 3\n"
                                     "hexad_test_total{kind=\"b\"} 1\n"));
}
