#include <fcntl.h>
#include <fstream>
#include <sys/socket.h>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <catch2/catch.hpp>
#include <openssl/ssl.h>

#include "base/text.hpp"
#include "io/io_test_support.hpp"
#include "io/tls_stream.hpp"

using namespace hexad;
using namespace hexad::test;
using namespace boost::asio::experimental::awaitable_operators;

namespace {

struct Certificates {
    TemporaryDirectory dir;
    Certificates() {
        make_self_signed("one.test", dir / "one.pem", dir / "one.key");
        make_self_signed("two.test", dir / "two.pem", dir / "two.key");
    }
    std::vector<TlsCertificate> both() const {
        return {{{"one.test", "rooms.one.test"}, dir / "one.pem", dir / "one.key"},
                {{"two.test"}, dir / "two.pem", dir / "two.key"}};
    }
};

/// Both handshakes at once.
awaitable<std::pair<error_code, error_code>> shake(TlsStream& server, const TlsContext& context,
                                                   TlsAccept accept, TlsStream& client,
                                                   const TlsClientContext& trust, std::string name,
                                                   std::vector<std::string> alpn = {}) {
    auto [a, b] = co_await (server.handshake(context, accept) && client.client_handshake(trust, name, alpn));
    co_return std::pair(a, b);
}

awaitable<std::string> read_exactly(TlsStream& stream, std::size_t size) {
    std::string all;
    while (all.size() < size) {
        const auto bytes = co_await stream.read();
        if (!bytes) co_return all + "<" + bytes.error().message() + ">";
        all += *bytes;
    }
    co_return all;
}

std::string failure_of(const std::vector<TlsCertificate>& certificates) {
    try {
        TlsContext context(certificates);
    } catch (const std::runtime_error& failure) {
        return failure.what();
    }
    return {};
}

}  // namespace

TEST_CASE("certificates that cannot be used are named with the reason", "[tls]") {
    Certificates c;
    const auto one = c.dir / "one.pem";
    CHECK(failure_of({{{}, c.dir / "none.pem", c.dir / "one.key"}}) ==
          "certificate file " + (c.dir / "none.pem") + ": No such file or directory");
    CHECK(failure_of({{{}, one, c.dir / "none.key"}}) ==
          "key file " + (c.dir / "none.key") + ": No such file or directory");
    CHECK(failure_of({{{}, one, c.dir / "two.key"}}) ==
          "key file " + (c.dir / "two.key") + " does not belong to the certificate in " + one);
    CHECK(failure_of({{{"three.test"}, one, c.dir / "one.key"}}) ==
          "certificate file " + one + " does not cover three.test (it names: one.test, *.one.test)");
    std::ofstream(c.dir / "junk") << "junk";
    CHECK_THAT(failure_of({{{}, c.dir / "junk", c.dir / "one.key"}}), Catch::Contains("no PEM certificate"));
    CHECK_THAT(failure_of({{{}, one, c.dir / "junk"}}), Catch::Contains("no usable PEM private key"));
    CHECK_THAT(failure_of({}), Catch::Contains("no certificate"));
    CHECK(failure_of(c.both()).empty());
    const TlsContext context(c.both());
    CHECK(context.covers("ROOMS.one.test."));
    CHECK_FALSE(context.covers("a.b.one.test"));
    CHECK(context.info().at(1).names == std::vector<std::string>{"two.test", "*.two.test"});
    CHECK(context.info().at(0).not_after > wall_now() + std::chrono::years(9));
}

TEST_CASE("names match as RFC 6125 says", "[tls][rfc6125-6.4]") {
    CHECK(tls_name_matches("a.test", "A.test"));
    CHECK(tls_name_matches("*.test", "a.test"));
    CHECK_FALSE(tls_name_matches("*.test", "test"));
    CHECK_FALSE(tls_name_matches("*.test", ".test"));
    CHECK_FALSE(tls_name_matches("*.test", "a.b.test"));
    CHECK_FALSE(tls_name_matches("a.test", "b.test"));
}

TEST_CASE("STARTTLS: plain, then TLS by SNI, with channel bindings equal on both ends", "[tls]") {
    Certificates c;
    const TlsContext context(c.both());
    const TlsClientContext trust(c.dir / "two.pem");
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        auto pair = connected_pair(io);
        TlsStream server(std::move(pair.server));
        TlsStream client(std::move(pair.client));
        CHECK(server.remote().address().is_loopback());
        client.send("<starttls/>");
        const auto starttls = co_await read_exactly(server, 11);
        CHECK(starttls == "<starttls/>");
        server.send("<proceed/>");
        CHECK_FALSE(server.encrypted());
        const auto proceed = co_await read_exactly(client, 10);
        CHECK(proceed == "<proceed/>");
        const TlsAccept accept({"xmpp-client"});
        const std::vector<std::string> alpn = {"h2", "xmpp-client"};
        const auto [a, b] = co_await shake(server, context, accept, client, trust, "two.test", alpn);
        CHECK_FALSE(a);
        CHECK_FALSE(b);
        CHECK(server.encrypted());
        CHECK(server.tls_version() == "TLSv1.3");
        CHECK(server.alpn() == "xmpp-client");
        CHECK(client.alpn() == "xmpp-client");
        CHECK(server.server_name() == "two.test");
        CHECK(server.tls_exporter().size() == 32);
        CHECK(server.tls_exporter() == client.tls_exporter());
        CHECK(server.tls_server_end_point().size() == 32);
        CHECK(server.tls_server_end_point() == client.tls_server_end_point());
        CHECK(client.peer_names().at(0) == "two.test");
        CHECK(server.peer_names().empty());
        // 1 MiB each way at once: partial writes, full socket buffers.
        std::string big(1 << 20, 'x');
        for (std::size_t i = 0; i < big.size(); i += 97) big[i] = static_cast<char>('a' + i % 26);
        server.send(big);
        client.send(big);
        const auto [x, y] = co_await (read_exactly(server, big.size()) && read_exactly(client, big.size()));
        CHECK((x == big));
        CHECK((y == big));
        CHECK(server.outbox() == 0);
        const auto end = [](TlsStream& stream) -> awaitable<error_code> {
            auto bytes = co_await stream.read();
            co_return bytes ? error_code() : bytes.error();
        };
        const auto ended = co_await (server.close(milliseconds(2000)) && end(client));
        CHECK(ended == asio::error::eof);
    });
}

TEST_CASE("without SNI the name the caller knows chooses the certificate", "[tls]") {
    Certificates c;
    const TlsContext context(c.both());
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        const std::vector<std::string> names = {"one.test", "two.test", "unknown.test"};
        for (const auto& name : names) {
            auto pair = connected_pair(io);
            TlsStream server(std::move(pair.server));
            TlsStream client(std::move(pair.client));
            const auto insecure = TlsClientContext::unverified();
            const TlsAccept accept({}, name);
            const auto [a, b] = co_await shake(server, context, accept, client, insecure, "");
            CHECK_FALSE(a);
            const auto state = context.state();
            INFO(name);
            const auto end_point = server.tls_server_end_point();
            CHECK(end_point == client.tls_server_end_point());
            CHECK(client.peer_names().empty());  // not verified
            CHECK(server.server_name().empty());
        }
    });
}

TEST_CASE("a handshake fails where it must", "[tls]") {
    Certificates c;
    const TlsContext context(c.both());
    const TlsContext strict(c.both(), {.min_version = "1.3", .client_ca_file = c.dir / "one.pem"});
    const TlsClientContext trust(c.dir / "two.pem");
    const TlsClientContext mutual(c.dir / "two.pem", c.dir / "one.pem", c.dir / "one.key");
    const TlsClientContext wrong(c.dir / "two.pem", c.dir / "two.pem", c.dir / "two.key");
    using Certificate = TlsAccept::ClientCertificate;
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        const auto attempt = [&](const TlsContext& ctx, TlsAccept accept, const TlsClientContext& who,
                                 std::string name,
                                 std::vector<std::string> alpn) -> awaitable<std::pair<bool, std::string>> {
            auto pair = connected_pair(io);
            TlsStream server(std::move(pair.server));
            TlsStream client(std::move(pair.client));
            const auto [a, b] = co_await shake(server, ctx, accept, client, who, name, alpn);
            const auto names = server.peer_names();
            co_return std::pair(!a && !b, names.empty() ? std::string() : names.front());
        };
        const TlsAccept xmpp({"xmpp-client"});
        const TlsAccept required({}, {}, Certificate::required);
        const TlsAccept optional({}, {}, Certificate::optional);
        struct Case {
            const TlsContext& context;
            const TlsAccept& accept;
            const TlsClientContext& client;
            std::string name;
            std::vector<std::string> alpn;
            bool works;
            std::string client_name;
        };
        const std::vector<Case> cases = {
            {context, xmpp, trust, "two.test", {}, true, ""},
            {context, xmpp, trust, "two.test", {"http/1.1"}, false, ""},
            {context, xmpp, trust, "one.test", {}, false, ""},    // not trusted
            {context, xmpp, trust, "other.test", {}, false, ""},  // not its name
            {strict, required, mutual, "two.test", {}, true, "one.test"},
            {strict, optional, mutual, "two.test", {}, true, "one.test"},
            {strict, optional, wrong, "two.test", {}, true, ""},
            {strict, optional, trust, "two.test", {}, true, ""},
            {strict, required, trust, "two.test", {}, false, ""},
            {strict, required, wrong, "two.test", {}, false, ""},
        };
        for (const auto& one : cases) {
            const auto [works, client_name] =
                co_await attempt(one.context, one.accept, one.client, one.name, one.alpn);
            INFO(&one - cases.data());
            CHECK(works == one.works);
            CHECK(client_name == one.client_name);
        }
    });
}

TEST_CASE("a certificate that is for one name alone asks for one in return, and nobody else is asked",
          "[tls]") {
    Certificates c;
    auto certificates = c.both();
    TlsCertificate inner;
    inner.chain_file = c.dir / "one.pem";
    inner.key_file = c.dir / "one.key";
    inner.only_for = "inner.invalid";
    inner.client_ca_file = c.dir / "two.pem";
    certificates.push_back(inner);
    const TlsContext context(certificates);
    CHECK(context.covers("inner.invalid"));
    const TlsClientContext nobody(c.dir / "one.pem"),
        known(c.dir / "one.pem", c.dir / "two.pem", c.dir / "two.key"),
        stranger(c.dir / "one.pem", c.dir / "one.pem", c.dir / "one.key");
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        struct Case {
            const TlsClientContext& client;
            std::string asks_for, known_by;  ///< SNI; the name that the server knows without it
            bool works;
            std::string client_name;
        };
        const std::vector<Case> cases = {
            {known, "inner.invalid", "", true, "two.test"},
            {known, "INNER.invalid", "", true, "two.test"},
            {known, "inner.invalid", "inner.invalid", true, "two.test"},
            {nobody, "inner.invalid", "", false, ""},
            {stranger, "inner.invalid", "", false, ""},
            {nobody, "inner.invalid", "inner.invalid", false, ""},
            {nobody, "one.test", "", true, ""},
            {known, "one.test", "", true, ""},  // it has a certificate, and is not asked for it
        };
        for (const auto& one : cases) {
            INFO(one.asks_for << ' ' << one.known_by << ' ' << one.client_name);
            auto pair = connected_pair(io);
            TlsStream server(std::move(pair.server));
            TlsStream client(std::move(pair.client));
            TlsAccept accept({}, one.known_by);
            // The certificate is checked by one name, asked for by another.
            const auto [a, b] = co_await (server.handshake(context, accept) &&
                                          client.client_handshake(one.client, "one.test", {}, one.asks_for));
            CHECK(!a == one.works);
            const auto names = server.peer_names();
            CHECK((names.empty() ? std::string() : names.front()) == one.client_name);
        }
    });
}

TEST_CASE("plain bytes behind starttls break the handshake", "[tls][rfc6120-5.3.3]") {
    Certificates c;
    const TlsContext context(c.both());
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        auto pair = connected_pair(io);
        TlsStream server(std::move(pair.server));
        TlsStream client(std::move(pair.client));
        client.send("<presence/>");
        server.send("<proceed/>");
        const auto ec = co_await server.handshake(context);
        CHECK(ec);
        CHECK_FALSE(server.is_open());
    });
}

TEST_CASE("reload exchanges certificates and keeps sessions", "[tls]") {
    Certificates c;
    TlsContext context(c.both());
    const TlsClientContext old_trust(c.dir / "one.pem");
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        auto pair = connected_pair(io);
        TlsStream server(std::move(pair.server));
        TlsStream client(std::move(pair.client));
        const auto before = co_await shake(server, context, TlsAccept(), client, old_trust, "one.test");
        CHECK_FALSE(before.second);
        make_self_signed("one.test", c.dir / "one.pem", c.dir / "one.key");
        context.reload();
        server.send("still here");
        const auto still = co_await read_exactly(client, 10);
        CHECK(still == "still here");
        auto next = connected_pair(io);
        TlsStream new_server(std::move(next.server));
        TlsStream new_client(std::move(next.client));
        const TlsClientContext new_trust(c.dir / "one.pem");
        const auto after =
            co_await shake(new_server, context, TlsAccept(), new_client, new_trust, "one.test");
        CHECK_FALSE(after.second);
        std::ofstream(c.dir / "one.key") << "broken";
        CHECK_THROWS_WITH(context.reload(), Catch::Contains("one.key"));
        CHECK(context.covers("one.test"));
    });
}

TEST_CASE("a cancelled read loses no bytes", "[tls]") {
    Certificates c;
    const TlsContext context(c.both());
    const auto trust = TlsClientContext::unverified();
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        for (int encrypted = 0; encrypted < 2; ++encrypted) {
            auto pair = connected_pair(io);
            TlsStream server(std::move(pair.server));
            TlsStream client(std::move(pair.client));
            if (encrypted) co_await shake(server, context, TlsAccept(), client, trust, "one.test");
            std::string sent;
            std::string got;
            for (int i = 0; i < 300; ++i) {
                const auto text = std::to_string(i) + ';';
                sent += text;
                client.send(text);
                // The timer ends in the turns in which bytes arrive: either may win.
                asio::steady_timer timer(io, std::chrono::microseconds(i % 60));
                auto either =
                    co_await (server.read() || timer.async_wait(asio::as_tuple(asio::use_awaitable)));
                if (const auto* bytes = std::get_if<0>(&either)) {
                    REQUIRE(bytes->has_value());
                    got += **bytes;
                }
            }
            while (got.size() < sent.size()) got += *co_await server.read();
            CHECK(got == sent);
        }
    });
}

TEST_CASE("many streams read at once without touching each other's bytes", "[tls]") {
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        const auto echo = [&](int number) -> awaitable<void> {
            auto pair = connected_pair(io);
            TlsStream server(std::move(pair.server));
            TlsStream client(std::move(pair.client));
            for (int i = 0; i < 50; ++i) {
                const auto text = std::to_string(number) + ':' + std::to_string(i);
                client.send(text);
                asio::steady_timer timer(io, std::chrono::seconds(5));
                auto either =
                    co_await (server.read() || timer.async_wait(asio::as_tuple(asio::use_awaitable)));
                REQUIRE(either.index() == 0);
                const auto view = *std::get<0>(either);
                co_await sleep_for(milliseconds(number % 3));
                REQUIRE(view == text);
            }
        };
        co_await (echo(1) && echo(2) && echo(3) && echo(4) && echo(5));
    });
}

TEST_CASE("sends of one turn go out together and the outbox tells what waits", "[tls]") {
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        auto pair = connected_pair(io);
        TlsStream server(std::move(pair.server));
        TlsStream client(std::move(pair.client));
        int drained = 0;
        server.on_drained([&] { ++drained; });
        server.send("a");
        server.send("b");
        CHECK(server.outbox() == 2);
        const auto first = co_await client.read();
        CHECK(*first == "ab");
        CHECK(server.outbox() == 0);
        CHECK(drained == 1);
        // A peer that does not read: what the kernel does not take stays here.
        server.send(std::string(32 << 20, 'x'));
        co_await sleep_for(milliseconds(50));
        CHECK(server.outbox() > 0);
        const auto [ec, text] = co_await (server.drained() && read_exactly(client, 32 << 20));
        CHECK_FALSE(ec);
        CHECK(text.size() == (32 << 20));
        CHECK(drained == 2);
    });
}

TEST_CASE("closing is bounded, aborting immediate", "[tls]") {
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        auto pair = connected_pair(io);
        TlsStream server(std::move(pair.server));
        TlsStream client(std::move(pair.client));
        server.send(std::string(32 << 20, 'x'));  // the client never reads
        const auto start = SteadyClock::now();
        co_await server.close(milliseconds(200));
        const auto took = SteadyClock::now() - start;
        CHECK(took >= milliseconds(190));
        CHECK(took < milliseconds(2000));
        CHECK_FALSE(server.is_open());
        server.send("ignored");
        CHECK(server.outbox() == 0);

        auto other = connected_pair(io);
        auto waiting = std::make_unique<TlsStream>(std::move(other.server));
        const auto reader = [](TlsStream& stream) -> awaitable<error_code> {
            auto bytes = co_await stream.read();
            co_return bytes ? error_code() : bytes.error();
        };
        const auto destroyer = [&]() -> awaitable<void> {
            co_await sleep_for(milliseconds(20));
            waiting.reset();
        };
        const auto ec = co_await (reader(*waiting) && destroyer());
        CHECK(ec == asio::error::operation_aborted);

        auto third = connected_pair(io);
        TlsStream idle(std::move(third.server));
        idle.abort_after(milliseconds(30));
        const auto timeout = co_await reader(idle);
        CHECK(timeout == asio::error::timed_out);
    });
}

TEST_CASE("a peer that vanishes is an error, not a signal", "[tls]") {
    Certificates c;
    const TlsContext context(c.both());
    const auto trust = TlsClientContext::unverified();
    asio::io_context io;
    run(io, [&]() -> awaitable<void> {
        for (int encrypted = 0; encrypted < 2; ++encrypted) {
            auto pair = connected_pair(io);
            TlsStream server(std::move(pair.server));
            {
                TlsStream client(std::move(pair.client));
                if (encrypted) co_await shake(server, context, TlsAccept(), client, trust, "one.test");
                server.send("unread");
                co_await sleep_for(milliseconds(10));
            }
            for (int i = 0; i < 20 && server.is_open(); ++i) {
                server.send("more");
                co_await sleep_for(milliseconds(2));
            }
            CHECK_FALSE(server.is_open());
            const auto after = co_await server.read();
            CHECK_FALSE(after.has_value());
        }
    });
}
