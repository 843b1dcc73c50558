#include "io/http.hpp"

#include <fcntl.h>
#include <fstream>
#include <thread>
#include <unistd.h>

#include <boost/asio/thread_pool.hpp>
#include <catch2/catch.hpp>

#include "base/text.hpp"
#include "io/http_client.hpp"
#include "io/io_test_support.hpp"
#include "io/listener.hpp"

using namespace hexad;
using namespace hexad::test;

namespace {

/// A server on its own thread, on TCP, TLS and a Unix socket.
class TestServer {
public:
    TestServer() {
        make_self_signed("localhost", dir / "cert.pem", dir / "key.pem");
        tls.emplace(std::vector<TlsCertificate>{{{"localhost"}, dir / "cert.pem", dir / "key.pem"}});
        HttpLimits limits;
        limits.head_timeout = milliseconds(300);
        limits.idle_timeout = milliseconds(600);
        limits.body_timeout = milliseconds(300);
        http.emplace(io.get_executor(), limits, files.get_executor());
        routes();
        plain.emplace(io.get_executor(), [this](StreamSocket s) { http->accept(std::move(s)); });
        secure.emplace(io.get_executor(), [this](StreamSocket s) { http->accept(std::move(s), &*tls); });
        port = plain->listen("127.0.0.1", 0).value();
        tls_port = secure->listen("127.0.0.1", 0).value();
        if (plain->listen_local(dir / "sock")) throw std::runtime_error("cannot listen");
        thread = std::thread([this] { io.run(); });
    }
    ~TestServer() {
        asio::post(io, [this] {
            plain.reset();
            secure.reset();
            http->stop();
        });
        thread.join();
    }

    TemporaryDirectory dir;
    asio::io_context io;
    asio::thread_pool files{1};
    std::optional<TlsContext> tls;
    std::optional<HttpServer> http;
    std::optional<Listener> plain;
    std::optional<Listener> secure;
    std::uint16_t port = 0;
    std::uint16_t tls_port = 0;
    std::thread thread;

private:
    void routes() {
        http->route("GET", "/hello", [](HttpRequest& request) -> awaitable<HttpResponse> {
            co_return HttpResponse(
                200, "hello " + request.parameter("name").value_or("nobody") + " at " + request.path());
        });
        http->route("GET", "/hello/deep",
                    [](HttpRequest&) -> awaitable<HttpResponse> { co_return HttpResponse(200, "deep"); });
        http->route("POST", "/echo", [](HttpRequest& request) -> awaitable<HttpResponse> {
            auto body = co_await request.body(1000);
            if (!body) co_return HttpResponse(413, body.error().message());
            co_return HttpResponse::json(201, *body);
        });
        http->route("PUT", "/upload/", [this](HttpRequest& request) -> awaitable<HttpResponse> {
            std::ofstream out(dir / "uploaded", std::ios::binary);
            const HttpRequest::Sink sink = [&out](std::string_view part) -> awaitable<error_code> {
                out.write(part.data(), static_cast<std::streamsize>(part.size()));
                co_return error_code();
            };
            if (const auto ec = co_await request.read_body(8 << 20, sink))
                co_return HttpResponse(413, ec.message());
            co_return HttpResponse(201);
        });
        http->route("GET", "/upload/", [this](HttpRequest&) -> awaitable<HttpResponse> {
            FileDescriptor file(::open((dir / "uploaded").c_str(), O_RDONLY | O_CLOEXEC));
            if (!file) co_return HttpResponse(404, "none");
            const auto size = static_cast<std::uint64_t>(::lseek(file.get(), 0, SEEK_END));
            auto response = HttpResponse::file(std::move(file), size, "application/octet-stream");
            response.set("ETag", "\"v1\"");
            co_return response;
        });
        http->route("GET", "/fails",
                    [](HttpRequest&) -> awaitable<HttpResponse> { throw std::runtime_error("broken"); });
        http->route("GET", "/switch", [](HttpRequest&) -> awaitable<HttpResponse> {
            co_return HttpResponse::switch_protocols(
                "shout", [](TlsStream& stream, std::string early) -> awaitable<void> {
                    for (auto& c : early) c = static_cast<char>(std::toupper(c));
                    stream.send(early);
                    while (auto bytes = co_await stream.read()) {
                        std::string text(*bytes);
                        for (auto& c : text) c = static_cast<char>(std::toupper(c));
                        stream.send(text);
                    }
                });
        });
        http->allow_origins("/upload/");
    }
};

/// Sends bytes as they are and reads until the server closes or nothing comes for a second.
std::string raw(std::uint16_t port, const std::vector<std::string>& parts,
                milliseconds pause = milliseconds(5)) {
    asio::io_context io;
    std::string all;
    run(io, [&]() -> awaitable<void> {
        asio::ip::tcp::socket socket(io);
        co_await socket.async_connect({asio::ip::address_v4::loopback(), port}, asio::use_awaitable);
        TlsStream stream(std::move(socket));
        stream.abort_after(milliseconds(3000));
        for (const auto& part : parts) {
            stream.send(part);
            co_await sleep_for(pause);
        }
        while (auto bytes = co_await stream.read()) all += *bytes;
    });
    return all;
}

std::size_t count(const std::string& text, const std::string& what) {
    std::size_t n = 0;
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
    return n;
}

}  // namespace

TEST_CASE("the same routes answer over TCP, TLS and a Unix socket", "[http]") {
    TestServer server;
    const std::string bases[] = {"http://127.0.0.1:" + std::to_string(server.port),
                                 "https://localhost:" + std::to_string(server.tls_port),
                                 "unix:" + (server.dir / "sock")};
    for (const auto& base : bases) {
        INFO(base);
        const HttpClient client(base, base.starts_with("https") ? server.dir / "cert.pem" : "");
        auto reply = client.get("/hello?name=J%C3%BCrgen+X&x=1");
        REQUIRE(reply.has_value());
        CHECK(reply->status == 200);
        CHECK(reply->body == "hello J\xc3\xbcrgen X at /hello");
        CHECK(client.get("/hello/deep")->body == "deep");
        CHECK(client.get("/hello/other")->body == "hello nobody at /hello/other");
        CHECK(client.get("/hellothere")->status == 404);
        CHECK(client.request("DELETE", "/hello")->status == 405);
        CHECK(client.request("DELETE", "/hello")->fields.get("Allow") == "GET, HEAD, OPTIONS");
        CHECK(client.request("OPTIONS", "/hello")->status == 204);
        CHECK(client.request("HEAD", "/hello")->fields.get("Content-Length") == "22");
        CHECK(client.get("/fails")->status == 500);
        CHECK(client.request("POST", "/echo", "{}")->body == "{}");
        CHECK(client.request("POST", "/echo", std::string(1001, 'x'))->status == 413);
        CHECK(client.get("/a/../hello")->status == 400);
        CHECK(client.get("/a/%2e%2e/hello")->status == 400);
    }
    const HttpClient untrusting("https://localhost:" + std::to_string(server.tls_port));
    CHECK_THAT(untrusting.get("/hello").error(), Catch::Contains("not trusted"));
    const HttpClient nobody("http://127.0.0.1:1");
    CHECK_THAT(nobody.get("/").error(), Catch::Contains("cannot reach 127.0.0.1:1"));
    CHECK_THROWS_AS(HttpClient("ftp://x"), std::invalid_argument);
}

TEST_CASE("big bodies stream in and out, with ranges", "[http]") {
    TestServer server;
    const HttpClient client("http://127.0.0.1:" + std::to_string(server.port));
    std::string big(5 << 20, '\0');
    for (std::size_t i = 0; i < big.size(); ++i) big[i] = static_cast<char>(i * 7919 >> 8);
    CHECK(client.request("PUT", "/upload/f", big)->status == 201);
    auto reply = client.get("/upload/f");
    CHECK((reply->body == big));
    CHECK(reply->fields.get("Access-Control-Allow-Origin") == "*");
    const auto ranged = [&](const std::string& range) {
        HttpClient one("http://127.0.0.1:" + std::to_string(server.port));
        one.set_header("Range", range);
        return *one.get("/upload/f");
    };
    CHECK(ranged("bytes=10-19").status == 206);
    CHECK((ranged("bytes=10-19").body == big.substr(10, 10)));
    CHECK((ranged("bytes=-5").body == big.substr(big.size() - 5)));
    CHECK((ranged("bytes=5242870-").body == big.substr(5242870)));
    CHECK(ranged("bytes=5242870-").fields.get("Content-Range") == "bytes 5242870-5242879/5242880");
    CHECK(ranged("bytes=5242880-").status == 416);
    CHECK(ranged("bytes=0-1,3-4").status == 200);
    CHECK(ranged("lines=1-2").status == 200);
    HttpClient cached("http://127.0.0.1:" + std::to_string(server.port));
    cached.set_header("If-None-Match", "\"v1\"");
    CHECK(cached.get("/upload/f")->status == 304);
    CHECK(client.request("PUT", "/upload/f", std::string((8 << 20) + 1, 'x'))->status == 413);
}

TEST_CASE("requests are pipelined and connections kept", "[http]") {
    TestServer server;
    const std::string get = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    const std::string post = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    const std::string chunked =
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
        "chunked\r\n\r\n3;e=1\r\nabc\r\n2\r\nde\r\n0\r\nT: 1\r\n\r\n";
    const std::string last = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    const auto all = raw(server.port, {get + post + chunked + get + last});
    CHECK(count(all, "HTTP/1.1 200 OK") == 3);
    CHECK(count(all, "HTTP/1.1 201 Created") == 2);
    CHECK(count(all, "\r\n\r\nabcde") == 1);
    std::vector<std::string> bytes;
    for (const char c : chunked + last) bytes.emplace_back(1, c);
    const auto slow = raw(server.port, bytes, milliseconds(1));
    CHECK(count(slow, "\r\n\r\nabcde") == 1);
    CHECK(count(slow, "200 OK") == 1);
    // A body nobody wants is dropped, and the connection goes on.
    const auto unwanted =
        raw(server.port, {"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + last});
    CHECK(count(unwanted, "200 OK") == 2);
    const auto expects = raw(
        server.port, {"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
                      "abc" + last});
    CHECK(count(expects, "HTTP/1.1 100 Continue") == 1);
    CHECK(count(expects, "\r\n\r\nabc") == 1);
    CHECK(count(expects, "200 OK") == 1);
}

TEST_CASE("what is no request is refused and ends the connection", "[http]") {
    TestServer server;
    const std::string bad[] = {
        "hello\r\n\r\n",
        "GET /hello HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET /hello HTTP/1.1\r\n\r\n",  // no Host
        "GET /hello HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "GET hello HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /he%00llo HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /he%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    };
    for (const auto& request : bad) {
        INFO(request);
        const auto answer = raw(server.port, {request + "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"});
        CHECK_THAT(answer, Catch::StartsWith("HTTP/1.1 400 Bad Request\r\n"));
        CHECK(count(answer, "HTTP/1.1") == 1);
    }
    CHECK_THAT(raw(server.port, {"GET / HTTP/1.1\r\nX: " + std::string(20000, 'x')}),
               Catch::StartsWith("HTTP/1.1 431"));
    CHECK_THAT(
        raw(server.port, {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"}),
        Catch::StartsWith("HTTP/1.1 413"));
}

TEST_CASE("slow peers are let go", "[http]") {
    TestServer server;
    const auto timed = [&](const std::vector<std::string>& parts) {
        const auto start = SteadyClock::now();
        raw(server.port, parts);
        return std::chrono::duration_cast<milliseconds>(SteadyClock::now() - start).count();
    };
    CHECK(timed({}) < 1500);
    CHECK(timed({"GET /hel"}) < 1500);
    CHECK(timed({"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc"}) < 1500);
}

TEST_CASE("a connection can change to another protocol", "[http]") {
    TestServer server;
    const auto all = raw(
        server.port,
        {"GET /switch HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nearly ", "late"});
    CHECK_THAT(all, Catch::StartsWith(
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: shout\r\nConnection: Upgrade\r\n"));
    CHECK_THAT(all, Catch::EndsWith("\r\n\r\nEARLY LATE"));
}

TEST_CASE("chunks decode in any portions", "[http]") {
    const std::string text = "5\r\nhello\r\n1;x=y\r\n \r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nrest";
    for (std::size_t portion = 1; portion <= text.size(); ++portion) {
        ChunkDecoder decoder;
        std::string out;
        std::string left;
        auto state = ChunkDecoder::State::more;
        for (std::size_t i = 0; i < text.size(); i += portion) {
            std::string_view part = std::string_view(text).substr(i, portion);
            if (state == ChunkDecoder::State::more) state = decoder.feed(part, out);
            left += part;
        }
        CHECK(state == ChunkDecoder::State::done);
        CHECK(out == "hello 0123456789");
        CHECK(left == "rest");
    }
    for (const auto* bad : {"x\r\n", "\r\n", "-1\r\n", "5\r\nhelloo\r\n", "10000000000000000\r\n"}) {
        ChunkDecoder decoder;
        std::string out;
        std::string_view input = bad;
        CHECK(decoder.feed(input, out) == ChunkDecoder::State::failed);
    }
}
