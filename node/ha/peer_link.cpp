#include "ha/peer_link.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/json.hpp>

#include "base/log.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

constexpr std::size_t longest_message = 256u << 10;

std::string text_of(const json::object& object, std::string_view key) {
    const auto* value = object.if_contains(key);
    return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}
std::uint64_t id_of(const json::object& object) {
    const auto* value = object.if_contains("id");
    if (value == nullptr) return 0;
    return value->is_uint64()  ? value->as_uint64()
           : value->is_int64() ? static_cast<std::uint64_t>(value->as_int64())
                               : 0;
}

std::vector<TlsCertificate> certificate_of(const TlsFiles& files, const std::string& node) {
    TlsCertificate certificate;
    certificate.names = {node};
    certificate.chain_file = files.cert;
    certificate.key_file = files.key;
    return {certificate};
}
TlsPolicy policy_of(const TlsFiles& files) {
    TlsPolicy policy;
    policy.min_version = "1.3";
    policy.client_ca_file = files.ca;
    return policy;
}

awaitable<error_code> connect(asio::ip::tcp::socket& socket, const asio::ip::tcp::endpoint& to,
                              milliseconds time) {
    using namespace asio::experimental::awaitable_operators;
    asio::steady_timer late(socket.get_executor(), time);
    const auto first = co_await (socket.async_connect(to, asio::as_tuple(asio::use_awaitable)) ||
                                 late.async_wait(asio::as_tuple(asio::use_awaitable)));
    co_return first.index() == 0 ? std::get<0>(std::get<0>(first))
                                 : error_code(asio::error::make_error_code(asio::error::timed_out));
}

}  // namespace

struct PeerLink::Connection {
    explicit Connection(StreamSocket socket) : stream(std::move(socket)) {}
    TlsStream stream;
    std::string node;  ///< empty until its hello
    SteadyClock::time_point heard = SteadyClock::now();
    bool replaced = false;
};

struct PeerLink::Peer {
    Peer(NodeConfig c, asio::io_context& io) : config(std::move(c)), retry(io) {
        view.since = SteadyClock::now();
    }
    NodeConfig config;
    View view;
    std::shared_ptr<Connection> connection;
    std::map<std::uint64_t, SteadyClock::time_point> beats;  ///< sent and not answered yet
    struct Waiting {
        explicit Waiting(asio::io_context& io) : timer(io) {}
        asio::steady_timer timer;
        bool answered = false;
        json::object answer;
    };
    std::map<std::uint64_t, std::shared_ptr<Waiting>> asked;
    asio::steady_timer retry;
};

PeerLink::PeerLink(asio::io_context& io, Options options)
    : io_(io),
      options_(std::move(options)),
      server_(certificate_of(options_.tls, options_.node), policy_of(options_.tls)),
      client_(options_.tls.ca, options_.tls.cert, options_.tls.key),
      timer_(io) {
    for (const auto& node : options_.nodes) {
        if (node.name != options_.node) peers_[node.name] = std::make_unique<Peer>(node, io_);
    }
}

PeerLink::~PeerLink() = default;

void PeerLink::start() {
    listener_ = std::make_unique<Listener>(io_.get_executor(), [this](StreamSocket socket) {
        asio::co_spawn(io_, accept(std::move(socket)), asio::detached);
    });
    if (const auto bound = listener_->listen(options_.address, options_.port); !bound) {
        throw std::runtime_error("peer link: cannot listen on " + options_.address + ':' +
                                 std::to_string(options_.port) + ": " + bound.error().message());
    }
    for (auto& [name, peer] : peers_) {
        if (options_.node < name) asio::co_spawn(io_, dial(*peer), asio::detached);
    }
    asio::co_spawn(io_, beat(), asio::detached);
}

void PeerLink::stop() {
    stopping_ = true;
    timer_.cancel();
    if (listener_) listener_->close();
    for (auto& [name, peer] : peers_) {
        peer->retry.cancel();
        if (peer->connection) peer->connection->stream.abort();
        for (auto& [id, waiting] : peer->asked) waiting->timer.cancel();
    }
}

const PeerLink::View& PeerLink::view(const std::string& node) const {
    static const View none;
    const auto it = peers_.find(node);
    return it == peers_.end() ? none : it->second->view;
}

json::object PeerLink::greeting() const {
    auto hello = options_.hello;
    hello["t"] = "hello";
    hello["node"] = options_.node;
    hello["cluster"] = options_.cluster;
    return hello;
}

void PeerLink::send(Connection& connection, const json::object& message) {
    connection.stream.send(json::serialize(message) + '\n');
}

awaitable<void> PeerLink::dial(Peer& peer) {
    while (!stopping_) {
        asio::ip::tcp::socket socket(io_);
        error_code error;
        const asio::ip::tcp::endpoint to(asio::ip::make_address(peer.config.address, error), options_.port);
        const auto from = asio::ip::make_address(options_.address, error);
        socket.open(to.protocol(), error);
        if (!error && from.is_v4() == to.address().is_v4() && !from.is_unspecified())
            socket.bind({from, 0}, error);
        if (!error) error = co_await connect(socket, to, options_.timeout);
        if (!error && !stopping_) {
            socket.set_option(asio::ip::tcp::no_delay(true), error);
            auto connection = std::make_shared<Connection>(StreamSocket(std::move(socket)));
            connection->stream.abort_after(options_.timeout);
            const auto refused = co_await connection->stream.client_handshake(client_, peer.config.name);
            if (!refused) {
                connection->stream.abort_after(milliseconds(0));
                send(*connection, greeting());
                co_await serve(connection);
            } else if (refused != asio::error::operation_aborted && refused != asio::error::eof) {
                log_debug(
                    "peer_link_refused",
                    {{"node", options_.node}, {"peer", peer.config.name}, {"error", refused.message()}});
            }
        }
        if (stopping_) co_return;
        peer.retry.expires_after(std::min(options_.heartbeat / 2, milliseconds(1000)));
        co_await peer.retry.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

awaitable<void> PeerLink::accept(StreamSocket socket) {
    auto connection = std::make_shared<Connection>(std::move(socket));
    connection->stream.abort_after(options_.timeout);
    TlsAccept accept({}, options_.node, TlsAccept::ClientCertificate::required);
    if (co_await connection->stream.handshake(server_, std::move(accept))) co_return;
    connection->stream.abort_after(milliseconds(0));
    send(*connection, greeting());
    co_await serve(connection);
}

awaitable<void> PeerLink::serve(std::shared_ptr<Connection> connection) {
    std::string buffer;
    bool closed = false;
    for (;;) {
        const auto bytes = co_await connection->stream.read();
        if (!bytes) {
            closed = bytes.error() != asio::error::operation_aborted;
            break;
        }
        connection->heard = SteadyClock::now();
        buffer += *bytes;
        std::size_t begin = 0;
        for (auto end = buffer.find('\n'); end != std::string::npos; end = buffer.find('\n', begin)) {
            error_code error;
            auto value = json::parse(std::string_view(buffer).substr(begin, end - begin), error);
            begin = end + 1;
            if (error || !value.is_object()) {
                connection->stream.abort();
                break;
            }
            handle(connection, std::move(value.as_object()));
        }
        buffer.erase(0, begin);
        if (buffer.size() > longest_message) connection->stream.abort();
    }
    const auto it = peers_.find(connection->node);
    if (it != peers_.end() && it->second->connection == connection) {
        it->second->connection.reset();
        if (!stopping_) change(*it->second, false, closed);
    }
}

void PeerLink::handle(const std::shared_ptr<Connection>& connection, json::object message) {
    const auto kind = text_of(message, "t");
    if (connection->node.empty()) {
        // First of all it says who it is, and its certificate must say the same.
        const auto node = text_of(message, "node");
        const auto names = connection->stream.peer_names();
        const auto it = peers_.find(node);
        const bool proved = std::any_of(names.begin(), names.end(),
                                        [&](const auto& name) { return tls_name_matches(name, node); });
        if (kind != "hello" || it == peers_.end() || !proved ||
            text_of(message, "cluster") != options_.cluster) {
            log_warn("peer_link_refused",
                     {{"node", options_.node}, {"peer", node}, {"error", "not who it says it is"}});
            connection->stream.abort();
            return;
        }
        auto& peer = *it->second;
        connection->node = node;
        if (auto old = std::exchange(peer.connection, connection)) old->stream.abort();
        peer.view.hello = std::move(message);
        change(peer, true, false);
        send_heartbeat(peer);
        return;
    }
    auto& peer = *peers_.at(connection->node);
    if (peer.connection != connection) return;
    const auto id = id_of(message);
    if (kind == "beat") {
        send(*connection, json::object{{"t", "heard"}, {"id", id}});
        if (auto* told = message.if_contains("status"); told != nullptr && told->is_object())
            peer.view.told = std::move(told->as_object());
    } else if (kind == "heard") {
        if (const auto sent = peer.beats.find(id); sent != peer.beats.end()) {
            peer.view.round_trip =
                std::chrono::duration_cast<milliseconds>(SteadyClock::now() - sent->second);
            peer.view.measured = true;
            peer.beats.erase(peer.beats.begin(), std::next(sent));
        }
    } else if (kind == "ask") {
        asio::co_spawn(io_, respond(connection, std::move(message)), asio::detached);
    } else if (kind == "answer") {
        if (const auto it = peer.asked.find(id); it != peer.asked.end()) {
            it->second->answered = true;
            if (auto* body = message.if_contains("body"); body != nullptr && body->is_object())
                it->second->answer = std::move(body->as_object());
            it->second->timer.cancel();
        }
    }
}

awaitable<void> PeerLink::respond(std::shared_ptr<Connection> connection, json::object message) {
    json::object request;
    if (auto* body = message.if_contains("body"); body != nullptr && body->is_object())
        request = std::move(body->as_object());
    json::object reply{{"t", "answer"}, {"id", id_of(message)}};
    if (answer) {
        auto body = co_await answer(connection->node, std::move(request));
        reply["body"] = std::move(body);
    }
    send(*connection, reply);
}

awaitable<Result<json::object>> PeerLink::ask(std::string node, json::object request, milliseconds time) {
    const auto it = peers_.find(node);
    if (it == peers_.end() || !it->second->connection)
        co_return asio::error::make_error_code(asio::error::not_connected);
    auto& peer = *it->second;
    const auto id = ++next_id_;
    auto waiting = std::make_shared<Peer::Waiting>(io_);
    peer.asked[id] = waiting;
    json::object message{{"t", "ask"}, {"id", id}};
    message["body"] = std::move(request);
    send(*peer.connection, message);
    waiting->timer.expires_after(time);
    if (!waiting->answered) co_await waiting->timer.async_wait(asio::as_tuple(asio::use_awaitable));
    peer.asked.erase(id);
    if (!waiting->answered) co_return asio::error::make_error_code(asio::error::timed_out);
    co_return std::move(waiting->answer);
}

void PeerLink::send_heartbeat(Peer& peer) {
    if (!peer.connection) return;
    const auto id = ++next_id_;
    json::object message{{"t", "beat"}, {"id", id}};
    if (status) message["status"] = status();
    if (peer.beats.size() > 64) peer.beats.erase(peer.beats.begin());
    peer.beats[id] = SteadyClock::now();
    send(*peer.connection, message);
}

void PeerLink::tell(const std::string& node) {
    if (const auto it = peers_.find(node); it != peers_.end()) send_heartbeat(*it->second);
}

awaitable<void> PeerLink::beat() {
    while (!stopping_) {
        const auto now = SteadyClock::now();
        for (auto& [name, peer] : peers_) {
            if (!peer->connection) continue;
            if (now - peer->connection->heard > options_.timeout) {
                peer->connection->stream.abort();  // silent: serve() ends
                continue;
            }
            send_heartbeat(*peer);
        }
        timer_.expires_after(options_.heartbeat);
        co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
        // A beat that comes late says that this thread was busy, not that the others are silent.
        const auto late = SteadyClock::now() - timer_.expiry();
        for (auto& [name, peer] : peers_) {
            if (peer->connection) peer->connection->heard += late;
        }
    }
}

void PeerLink::change(Peer& peer, bool up, bool closed) {
    const bool was = peer.view.up;
    peer.view.up = up;
    peer.view.closed = closed;
    peer.view.since = SteadyClock::now();
    if (!up) {
        peer.view.told.clear();
        peer.view.measured = false;
        peer.beats.clear();
        for (auto& [id, waiting] : peer.asked) waiting->timer.cancel();
    }
    if (was != up && on_change) on_change(peer.config.name, up);
}

}  // namespace hexad
