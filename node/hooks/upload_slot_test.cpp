#include "hooks/upload_slot.hpp"

#include <catch2/catch.hpp>

using namespace hexad;

TEST_CASE("a signature holds every part of a slot", "[upload]") {
    const UploadSlot slot{"abcdefghijklmnopqrstuvwxyz", "cool.jpg", 23456, "image/jpeg", 1800000000};
    const auto signature = slot.signature("secret");
    CHECK(signature.size() == 64);
    CHECK(slot.signature("other") != signature);
    for (int part = 0; part < 5; ++part) {
        auto other = slot;
        if (part == 0) other.id[0] = 'z';
        if (part == 1) other.name = "cool.html";
        if (part == 2) other.size = 23457;
        if (part == 3) other.type = "text/html";
        if (part == 4) other.until += 1;
        CHECK(other.signature("secret") != signature);
    }
}

TEST_CASE("paths of files are read strictly", "[upload]") {
    UploadSlot slot{"abcdefghijklmnopqrstuvwx27", "tr\xc3\xa8s cool.jpg", 1, "", 0};
    CHECK(slot.path() == "/upload/abcdefghijklmnopqrstuvwx27/tr%C3%A8s%20cool.jpg");
    const auto read = read_upload_path("/upload/abcdefghijklmnopqrstuvwx27/tr\xc3\xa8s cool.jpg");
    REQUIRE(read.has_value());
    CHECK(read->name == slot.name);
    for (const auto* path :
         {"/upload/", "/upload/abc/x", "/upload/abcdefghijklmnopqrstuvwx27/",
          "/upload/abcdefghijklmnopqrstuvwx27/..", "/upload/abcdefghijklmnopqrstuvwx27/a/b",
          "/upload/../abcdefghijklmnopqrstuvwx27/x", "/upload/ABCDEFGHIJKLMNOPQRSTUVWX27/x",
          "/upload/abcdefghijklmnopqrstuv/../x", "/other/abcdefghijklmnopqrstuvwx27/x"}) {
        CHECK_FALSE(read_upload_path(path).has_value());
    }
}

TEST_CASE("names and media types are clean or refused", "[upload]") {
    CHECK(clean_file_name("a b.txt").value_or("") == "a b.txt");
    for (const auto* name : {"", ".", "..", "a/b", "a\\b", "a\nb", "\xff"})
        CHECK_FALSE(clean_file_name(name).has_value());
    CHECK_FALSE(clean_file_name(std::string(201, 'x')).has_value());
    CHECK(clean_media_type("Text/HTML; charset=utf-8").value_or("") == "text/html");
    CHECK(clean_media_type("image/svg+xml").value_or("") == "image/svg+xml");
    for (const auto* type : {"", "text", "/x", "text/", "a/b/c", "text/ht ml", "text/html\r\nX: y"}) {
        CHECK_FALSE(clean_media_type(type).has_value());
    }
}
