#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.hpp"
#include "io/tls_stream.hpp"

namespace hexad {

struct ListenLimits {
    std::size_t max_connections = 0;           ///< above it a connection is accepted and closed; 0 = no limit
    std::function<std::size_t()> connections;  ///< how many there are now; needed for max_connections
    std::size_t descriptor_reserve = 64;       ///< descriptors below the process's limit that stay unused
};

/// Accepts connections on any number of addresses and hands each socket to one callback.
///
/// Survives a lack of descriptors: some are kept back for the store and the peers, and when none is left
/// accepting pauses instead of spinning. Belongs to the thread of its executor; destroying it stops
/// accepting.
class Listener {
public:
    using Limits = ListenLimits;
    using OnAccept = std::function<void(StreamSocket)>;

    Listener(asio::any_io_executor executor, OnAccept on_accept, Limits limits = {});
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    /// Listens on an address ("127.0.0.1", "::1", "::") and port; port 0 takes a free one. Gives the port.
    /// SO_REUSEADDR; an IPv6 address takes IPv6 only, so that "0.0.0.0" and "::" can stand side by side.
    Result<std::uint16_t> listen(const std::string& address, std::uint16_t port);
    /// Listens on a Unix socket with file mode 0600. A socket file that nobody serves is replaced.
    error_code listen_local(const std::string& path);
    /// Whether a connection was refused since then because of a limit, here or at another listener.
    static bool refused_since(SteadyClock::time_point time);
    /// Stops accepting and removes socket files; what was accepted goes on.
    void close();

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace hexad
