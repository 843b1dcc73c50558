#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json/object.hpp>

#include "base/config.hpp"
#include "base/result.hpp"
#include "io/listener.hpp"
#include "io/tls_context.hpp"
#include "io/tls_stream.hpp"

namespace hexad {

/// Connections between the nodes of a cluster: mutual TLS, one between each two (the one whose name comes
/// first connects), one JSON object per line. Carries heartbeats and small requests; stanzas never.
///
/// A node is who its certificate says: one of its DNS names must be the node's name. Protocol thread.
class PeerLink {
public:
    struct Options {
        std::string cluster, node, address;
        std::uint16_t port = 5270;
        TlsFiles tls;
        std::vector<NodeConfig> nodes;  ///< all of the cluster
        milliseconds heartbeat{2000}, timeout{10000};
        boost::json::object hello;  ///< version, schema, hash of the configuration
    };
    /// Throws std::runtime_error, for people, if certificates cannot be read.
    PeerLink(asio::io_context& io, Options options);
    ~PeerLink();

    /// Listens and connects. Throws std::runtime_error if the address is taken.
    void start();
    void stop();

    /// What this node tells with each heartbeat.
    std::function<boost::json::object()> status;
    /// Answers a request of another node.
    std::function<awaitable<boost::json::object>(std::string from, boost::json::object request)> answer;
    /// A link came up or went down.
    std::function<void(const std::string& node, bool up)> on_change;

    /// What one other node is like, seen through its link.
    struct View {
        bool up = false;
        bool closed = false;  ///< the other side closed it: its process ended
        SteadyClock::time_point since{};
        boost::json::object hello;
        boost::json::object told;  ///< its last heartbeat
        milliseconds round_trip{0};
        bool measured = false;
    };
    const View& view(const std::string& node) const;

    /// Asks another node; its answer, or an error if the link is down or it does not answer in time.
    awaitable<Result<boost::json::object>> ask(std::string node, boost::json::object request,
                                               milliseconds time);
    /// Tells it now instead of at the next heartbeat.
    void tell(const std::string& node);

private:
    struct Connection;
    struct Peer;
    awaitable<void> dial(Peer& peer);
    awaitable<void> accept(StreamSocket socket);
    awaitable<void> serve(std::shared_ptr<Connection> connection);
    awaitable<void> beat();
    awaitable<void> respond(std::shared_ptr<Connection> connection, boost::json::object message);
    void handle(const std::shared_ptr<Connection>& connection, boost::json::object message);
    void send(Connection& connection, const boost::json::object& message);
    void send_heartbeat(Peer& peer);
    void change(Peer& peer, bool up, bool closed);
    boost::json::object greeting() const;

    asio::io_context& io_;
    Options options_;
    TlsContext server_;
    TlsClientContext client_;
    std::unique_ptr<Listener> listener_;
    std::map<std::string, std::unique_ptr<Peer>> peers_;
    asio::steady_timer timer_;
    std::uint64_t next_id_ = 0;
    bool stopping_ = false;
};

}  // namespace hexad
