#pragma once

#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>

#include "base/config.hpp"
#include "base/result.hpp"

namespace hexad {

struct ServerOptions {
    Config config;
    std::string node;
    std::string data;      ///< directory for sockets, pid files, the embedded store, uploads
    bool migrate = false;  ///< bring an older schema up to date
};

/// One node: builds its parts, opens the gate, runs until a signal. Throws std::runtime_error with a sentence
/// for the administrator if it cannot start.
class Server {
public:
    explicit Server(ServerOptions options);
    ~Server();
    /// Runs the protocol loop on this thread. 0 after an orderly stop.
    int run();

private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace hexad
