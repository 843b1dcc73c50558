#include "io/listener.hpp"

#include <sys/resource.h>
#include <sys/un.h>

#include <boost/asio/local/stream_protocol.hpp>
#include <catch2/catch.hpp>

#include "io/io_test_support.hpp"

using namespace hexad;
using namespace hexad::test;
using asio::ip::tcp;

TEST_CASE("a listener accepts on several addresses and stops", "[listener]") {
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        std::vector<TlsStream> accepted;
        Listener listener(io.get_executor(),
                          [&](StreamSocket socket) { accepted.emplace_back(std::move(socket)); });
        const auto port = listener.listen("127.0.0.1", 0);
        REQUIRE(port);
        const auto port6 = listener.listen("::1", 0);
        const auto taken = listener.listen("127.0.0.1", *port);
        CHECK(taken.error() == asio::error::address_in_use);
        CHECK(listener.listen("nonsense", 1).has_error());
        tcp::socket a(io);
        co_await a.async_connect({asio::ip::address_v4::loopback(), *port}, asio::use_awaitable);
        tcp::socket b(io);
        if (port6) co_await b.async_connect({asio::ip::address_v6::loopback(), *port6}, asio::use_awaitable);
        co_await sleep_for(milliseconds(20));
        CHECK(accepted.size() == (port6 ? 2 : 1));
        listener.close();
        tcp::socket c(io);
        error_code ec;
        c.connect({asio::ip::address_v4::loopback(), *port}, ec);
        CHECK(ec == asio::error::connection_refused);
    });
}

TEST_CASE("above the limit a connection is accepted and closed", "[listener]") {
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        std::vector<TlsStream> accepted;
        Listener::Limits limits;
        limits.max_connections = 2;
        limits.connections = [&] { return accepted.size(); };
        Listener listener(
            io.get_executor(), [&](StreamSocket s) { accepted.emplace_back(std::move(s)); }, limits);
        const auto port = listener.listen("127.0.0.1", 0);
        REQUIRE(port);
        std::vector<TlsStream> clients;
        for (int i = 0; i < 3; ++i) {
            tcp::socket socket(io);
            co_await socket.async_connect({asio::ip::address_v4::loopback(), *port}, asio::use_awaitable);
            clients.emplace_back(std::move(socket));
        }
        const auto refused = co_await clients[2].read();
        CHECK(refused.error() == asio::error::eof);
        CHECK(accepted.size() == 2);
    });
}

TEST_CASE("without descriptors accepting pauses, refuses and goes on", "[listener]") {
    asio::io_context io;
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    std::vector<TlsStream> accepted;
    run(io, [&]() -> awaitable<void> {
        Listener listener(io.get_executor(), [&](StreamSocket s) { accepted.emplace_back(std::move(s)); },
                          {.max_connections = 0, .connections = {}, .descriptor_reserve = 4});
        const auto port = listener.listen("127.0.0.1", 0);
        REQUIRE(port);
        const int lowest_free = ::dup(0);
        ::close(lowest_free);
        const auto limit = static_cast<rlim_t>(lowest_free + 60);
        const rlimit low{limit, before.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &low);
        std::vector<TlsStream> clients;
        for (int i = 0; i < 200; ++i) {
            tcp::socket socket(io);
            error_code ec;
            socket.open(tcp::v4(), ec);
            if (ec) break;  // the test's own end has none left either
            socket.connect({asio::ip::address_v4::loopback(), *port}, ec);
            if (!ec) clients.emplace_back(std::move(socket));
            co_await sleep_for(milliseconds(1));
        }
        co_await sleep_for(milliseconds(50));
        const auto connected = clients.size();
        const auto served = accepted.size();
        clients.clear();
        accepted.clear();
        ::setrlimit(RLIMIT_NOFILE, &before);  // checks come after it: sanitizers need descriptors too
        CHECK(connected > served);            // the last ones were refused
        CHECK(served >= 20);
        co_await sleep_for(milliseconds(300));
        tcp::socket socket(io);
        co_await socket.async_connect({asio::ip::address_v4::loopback(), *port}, asio::use_awaitable);
        co_await sleep_for(milliseconds(20));
        CHECK_FALSE(accepted.empty());
    });
    ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_CASE("a Unix socket is private, and a stale one is replaced", "[listener]") {
    TemporaryDirectory dir;
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        const auto path = dir / "admin.sock";
        {
            asio::local::stream_protocol::acceptor stale(io, path);  // leaves its file behind
        }
        int accepted = 0;
        Listener listener(io.get_executor(), [&](StreamSocket) { ++accepted; });
        CHECK_FALSE(listener.listen_local(path));
        struct stat info{};
        REQUIRE(::stat(path.c_str(), &info) == 0);
        CHECK((info.st_mode & 0777) == 0600);
        Listener second(io.get_executor(), [](StreamSocket) {});
        CHECK(second.listen_local(path) == asio::error::address_in_use);
        asio::local::stream_protocol::socket client(io);
        co_await client.async_connect(path, asio::use_awaitable);
        co_await sleep_for(milliseconds(20));
        CHECK(accepted == 2);  // the second listener's probe counts
        listener.close();
        CHECK(::stat(path.c_str(), &info) != 0);
    });
}
