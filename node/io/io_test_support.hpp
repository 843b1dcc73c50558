#pragma once

#include <exception>
#include <filesystem>
#include <optional>
#include <stdlib.h>
#include <string>
#include <sys/stat.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "io/tls_stream.hpp"

namespace hexad::test {

/// A directory that goes with the object.
class TemporaryDirectory {
public:
    TemporaryDirectory() {
        std::string name = "/tmp/hexad-io-XXXXXX";
        path_ = ::mkdtemp(name.data());
    }
    ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
    std::string operator/(const std::string& name) const { return path_ + '/' + name; }

private:
    std::string path_;
};

/// Runs a coroutine on a fresh loop until it ends, at most 20 s; gives its exception to the test.
template <class Start>
void run(asio::io_context& io, Start start) {
    std::exception_ptr failure;
    bool done = false;
    asio::co_spawn(io, start(), [&](std::exception_ptr e) {
        failure = e;
        done = true;
        io.stop();
    });
    io.restart();
    io.run_for(std::chrono::seconds(20));
    if (failure) std::rethrow_exception(failure);
    if (!done) throw std::runtime_error("the test did not end in time");
}

/// Two ends of one TCP connection over loopback.
struct Pair {
    asio::ip::tcp::socket client;
    asio::ip::tcp::socket server;
};
inline Pair connected_pair(asio::io_context& io) {
    asio::ip::tcp::acceptor acceptor(io, asio::ip::tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    asio::ip::tcp::socket client(io);
    client.connect(acceptor.local_endpoint());
    auto server = acceptor.accept();
    return {std::move(client), std::move(server)};
}

inline awaitable<void> sleep_for(milliseconds time) {
    asio::steady_timer timer(co_await asio::this_coro::executor, time);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace hexad::test
