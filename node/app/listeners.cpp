#include "app/listeners.hpp"

#include <stdexcept>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

namespace hexad {

namespace {

void listen_at(Listener& listener, const std::string& address, std::uint16_t port, const char* what) {
    if (const auto bound = listener.listen(address, port); !bound) {
        throw std::runtime_error(std::string(what) + ": cannot listen on " + address + ':' +
                                 std::to_string(port) + ": " + bound.error().message());
    }
}

}  // namespace

ClientListeners::ClientListeners(asio::io_context& io, const Config& config, std::string address,
                                 std::shared_ptr<C2sContext> context)
    : io_(io), config_(config), address_(std::move(address)), context_(std::move(context)) {}

void ClientListeners::open_one(std::unique_ptr<Listener>& listener, std::uint16_t port,
                               Listener::OnAccept accept, const char* what) {
    if (port == 0 || listener) return;
    Listener::Limits limits;
    limits.max_connections = config_.max_connections;
    limits.connections = [this] { return context_->connections; };
    auto fresh = std::make_unique<Listener>(io_.get_executor(), std::move(accept), limits);
    listen_at(*fresh, address_, port, what);
    listener = std::move(fresh);
}

void ClientListeners::open() {
    open_one(
        start_tls_, config_.c2s_port,
        [this](StreamSocket socket) {
            asio::co_spawn(io_, C2sConnection::serve(std::move(socket), false, context_), asio::detached);
        },
        "c2s");
    open_one(
        direct_tls_, config_.c2s_tls_port,
        [this](StreamSocket socket) {
            asio::co_spawn(io_, C2sConnection::serve(std::move(socket), true, context_), asio::detached);
        },
        "c2s tls");
}

void ClientListeners::close() {
    for (auto* listener : {&start_tls_, &direct_tls_}) {
        if (*listener) (*listener)->close();
        listener->reset();
    }
}

void ClientListeners::open_https(Listener::OnAccept accept) {
    open_one(https_, config_.http_port, std::move(accept), "https");
}

void ClientListeners::close_https() {
    if (https_) https_->close();
}

AdminListeners::AdminListeners(asio::io_context& io, const AdminContext& context, const TlsContext& tls,
                               const std::string& socket_file)
    : local_(io.get_executor()), remote_(io.get_executor()) {
    // Clients leave 64 descriptors unused; administrators get in on those.
    Listener::Limits limits;
    limits.descriptor_reserve = 16;
    serve_admin(local_, context, true);
    socket_ = std::make_unique<Listener>(
        io.get_executor(), [this](StreamSocket s) { local_.accept(std::move(s)); }, limits);
    if (const auto error = socket_->listen_local(socket_file)) {
        throw std::runtime_error(socket_file + ": " + error.message() +
                                 "; is another node running in this directory?");
    }
    const auto& config = context.config;
    if (config.admin_port == 0) return;
    serve_admin(remote_, context, false);
    // Off loopback a bearer token travels only inside TLS.
    const auto& address = config.node(context.node)->address;
    const auto* wanted = asio::ip::make_address(address).is_loopback() ? nullptr : &tls;
    port_ = std::make_unique<Listener>(
        io.get_executor(), [this, wanted](StreamSocket s) { remote_.accept(std::move(s), wanted); }, limits);
    listen_at(*port_, address, config.admin_port, "admin");
}

void AdminListeners::close() {
    for (auto* listener : {&port_, &socket_}) {
        if (*listener) (*listener)->close();
    }
}

}  // namespace hexad
