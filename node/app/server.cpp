#include "app/server.hpp"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <malloc.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/json.hpp>

#include "admin/admin_api.hpp"
#include "app/account_events.hpp"
#include "app/directory_login.hpp"
#include "app/supervisor.hpp"
#include "app/sync_desk.hpp"
#include "app/version.hpp"
#include "auth/auth_service.hpp"
#include "base/fail_point.hpp"
#include "base/ids.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "ha/assignment.hpp"
#include "ha/canary.hpp"
#include "ha/manager.hpp"
#include "io/http.hpp"
#include "io/listener.hpp"
#include "io/tls_context.hpp"
#include "modules/builtin_modules.hpp"
#include "muc/muc_module.hpp"
#include "net/c2s_connection.hpp"
#include "net/upload_http.hpp"
#include "placement/placement.hpp"
#include "routing/router.hpp"
#include "storage/postgres/store.hpp"
#include "storage/sqlite/engine.hpp"

namespace hexad {

namespace {

/// A secret that lives in a file of mode 0600; made up if the file does not exist.
std::string secret_from_file(const std::string& path) {
    std::ifstream in(path);
    std::string secret;
    in >> secret;
    if (!secret.empty()) return secret;
    secret = random_id(32);
    const auto old = ::umask(0077);
    std::ofstream(path, std::ios::trunc) << secret << '\n';
    ::umask(old);
    return secret;
}

}  // namespace

struct Server::Impl {
    explicit Impl(ServerOptions o) : options(std::move(o)), signals(io, SIGTERM, SIGINT, SIGHUP) {}

    ServerOptions options;
    asio::io_context io{1};
    asio::signal_set signals;
    asio::thread_pool disk{2};                ///< reads and writes uploaded files
    std::unique_ptr<SqliteEngine> engine;     ///< single node
    std::unique_ptr<PostgresStore> postgres;  ///< cluster …
    std::unique_ptr<ClusterBackend> cluster;  ///< … with Redis
    std::unique_ptr<Admission> admission;     ///< cluster
    std::unique_ptr<HaManager> ha;
    std::unique_ptr<AssignmentKeeper> assignment;
    std::unique_ptr<DirectoryLogin> directory;
    std::unique_ptr<AccountEvents> account_events;
    std::unique_ptr<SyncDesk> sync_desk;
    Hooks hooks;
    ModuleOptions module_options;
    std::unique_ptr<Router> router;
    std::unique_ptr<ModuleContext> module_context;
    std::vector<std::unique_ptr<Module>> modules;
    MucModule* muc = nullptr;  ///< one of them
    std::unique_ptr<TlsContext> tls;
    std::unique_ptr<AuthService> auth;
    std::shared_ptr<C2sContext> c2s;
    std::unique_ptr<Listener> c2s_listener, c2s_tls_listener, https_listener, admin_listener, admin_socket;
    std::unique_ptr<HttpServer> https, admin_http, admin_local;
    std::unique_ptr<UploadHttp> upload;
    std::string admin_token;
    bool ready = false;
    bool clients_wanted = false;  ///< client listeners are to be open
    int status = 0;

    const Config& config() const { return options.config; }
    const NodeConfig& node() const { return *options.config.node(options.node); }

    Store& store() { return postgres ? postgres->store() : engine->store(); }
    Committer& committer() { return cluster ? static_cast<Committer&>(*cluster) : engine->committer(); }
    SessionLog& session_log() { return cluster ? static_cast<SessionLog&>(*cluster) : engine->session_log(); }
    void open_store();
    void open_cluster();
    awaitable<void> join_cluster();
    awaitable<void> give_memory_back();
    awaitable<void> account_changed(Jid account, AccountState state);
    bool watches_peer() const;
    void serve_canary();
    void build_tls();
    void build_core(const std::string& secret);
    void listen();
    void listen_at(std::unique_ptr<Listener>& listener, std::uint16_t port, Listener::OnAccept accept,
                   const char* what);
    void listen_clients();
    void open_clients();
    void close_clients();
    void serve_admin_api();
    awaitable<void> start();
    awaitable<void> stop();
    void on_signal();
    awaitable<std::vector<boost::json::object>> node_states();
    awaitable<std::pair<int, boost::json::value>> at_sync_desk(std::string what, boost::json::object given);
};

void Server::Impl::open_cluster() {
    PostgresStore::Options store_options;
    store_options.migrate = options.migrate;
    auto opened = PostgresStore::open(io, config().store_url, store_options);
    if (!opened) throw std::runtime_error("store: " + opened.error().text);
    postgres = std::move(*opened);
    ClusterOptions cluster_options;
    cluster_options.id = config().id;
    cluster_options.node = options.node;
    for (const auto& group : config().groups) {
        for (const auto& n : group.nodes) cluster_options.nodes.push_back(n.name);
    }
    cluster_options.redis.url = config().redis_url;
    cluster_options.redis.source_address = node().address;
    if (!config().redis_password_file.empty()) {
        std::ifstream in(config().redis_password_file);
        in >> cluster_options.redis.password;
        if (cluster_options.redis.password.empty())
            throw std::runtime_error(config().redis_password_file + ": no password in it");
    }
    cluster_options.lease = config().timers.lease;
    cluster_options.renew = config().timers.renew;
    if (config().durability == "relaxed") cluster_options.durability = Durability::relaxed;
    cluster = std::make_unique<ClusterBackend>(io, cluster_options, postgres->writer(), postgres->offline(),
                                               postgres->epochs());
}

void Server::Impl::open_store() {
    if (config().is_cluster()) {
        open_cluster();
        return;
    }
    auto path = options.data + "/hexad.sqlite";
    constexpr std::string_view scheme = "sqlite://";
    if (config().store_url.starts_with(scheme)) path = config().store_url.substr(scheme.size());
    SqliteEngine::Options engine_options;
    engine_options.migrate = options.migrate;
    if (config().durability == "relaxed") engine_options.durability = sqlite::Durability::relaxed;
    auto opened = SqliteEngine::open(io, path, engine_options);
    if (!opened) throw std::runtime_error(path + ": " + opened.error().text);
    engine = std::move(*opened);
}

void Server::Impl::build_tls() {
    std::vector<TlsCertificate> certificates;
    for (const auto& host : config().hosts) {
        TlsCertificate certificate;
        certificate.names = {host.name};
        certificate.chain_file = host.certificate;
        certificate.key_file = host.key;
        if (host.certificate.empty()) {
            const auto base = options.data + '/' + host.name;
            certificate.chain_file = base + ".crt";
            certificate.key_file = base + ".key";
            if (!std::filesystem::exists(certificate.chain_file)) {
                make_self_signed(host.name, certificate.chain_file, certificate.key_file, node().address);
                log_warn("certificate_self_signed", {{"host", host.name}, {"file", certificate.chain_file}});
            }
        }
        certificates.push_back(std::move(certificate));
    }
    if (watches_peer()) {
        // Its host is for the nodes of the cluster alone.
        TlsCertificate own;
        own.chain_file = config().peer_tls.cert;
        own.key_file = config().peer_tls.key;
        own.only_for = canary_host;
        own.client_ca_file = config().peer_tls.ca;
        certificates.push_back(std::move(own));
    }
    tls = std::make_unique<TlsContext>(std::move(certificates));
}

/// Whether the nodes of the group log in to each other to see that clients are served.
bool Server::Impl::watches_peer() const {
    return config().is_cluster() && !config().peer_tls.cert.empty() &&
           config().group_of(options.node)->nodes.size() > 1;
}

/// The other nodes' way in (docs/redundancy-groups.md, "The canary").
void Server::Impl::serve_canary() {
    auto& canary = c2s->canary;
    canary.name = canary_host;
    canary.node_of = [this](const std::vector<std::string>& names) {
        for (const auto& group : config().groups) {
            for (const auto& n : group.nodes) {
                const auto proves = [&n](const std::string& name) { return tls_name_matches(name, n.name); };
                if (n.name != options.node && std::any_of(names.begin(), names.end(), proves)) return n.name;
            }
        }
        return std::string();
    };
    canary.commit = [this](std::function<void(bool)> done) {
        // A record that is not there is not changed; what else a stanza's commit is checked for, this is.
        Batch batch;
        SessionRecord nothing;
        nothing.sid = "canary";
        batch.sessions.push_back(std::move(nothing));
        router->submit(std::move(batch), std::move(done));
    };
}

void Server::Impl::build_core(const std::string& secret) {
    store().place_by(placer_of(config()));
    module_options.version = version;
    module_options.archive_page_limit = config().archive_page_limit;
    auto& http = module_options.http;
    http.public_url = node().public_url.empty()
                          ? "https://" + node().address + ':' + std::to_string(config().http_port)
                          : node().public_url;
    http.files = config().files.empty() ? options.data + "/files" : config().files;
    http.secret = secret;
    http.max_upload = config().max_upload;
    http.daily_quota = config().daily_quota;
    http.retention = seconds(std::llround(std::max(0.0, config().retention_days) * 86400));
    std::filesystem::create_directories(http.files);

    RouterOptions router_options;
    router_options.node = options.node;
    for (const auto& host : config().hosts) router_options.hosts.push_back(host.name);
    router_options.resume_window = config().timers.resume_window;
    router = std::make_unique<Router>(io, store(), committer(), session_log(), hooks, router_options);
    if (cluster) {
        router->join(*cluster, postgres->offline());
        admission = std::make_unique<Admission>(io, config().admission);
        ha = std::make_unique<HaManager>(HaManager::Parts{io, config(), options.node, version, *cluster,
                                                          postgres->epochs(), postgres->redundancy(), *router,
                                                          *admission});
        cluster->events.nobody_reaches_redis = [this] { return ha->nobody_reaches_redis(); };
        assignment = std::make_unique<AssignmentKeeper>(
            AssignmentKeeper::Parts{io, config(), options.node, store(), postgres->assignment(), *ha,
                                    [this](const Jid& jid) { cluster->announce_account(jid); }});
    }
    module_context = std::make_unique<ModuleContext>(hooks, *router, module_options);
    modules = make_builtin_modules(*module_context);
    auto rooms = make_muc(*module_context);
    muc = rooms.get();
    modules.push_back(std::move(rooms));
    if (ha) {
        muc->follow_partitions();
        ha->on_partition = [this](const std::string& home, bool ours) { muc->partition_moved(home, ours); };
        ha->on_clients = [this](bool open) {
            if (!ready) return;
            clients_wanted = open;
            open ? open_clients() : close_clients();
        };
        ha->clients_refused = [](SteadyClock::time_point since) { return Listener::refused_since(since); };
        ha->services_down = [this] {
            // Asked again and again: a listener that could not be opened is tried anew.
            if (clients_wanted) open_clients();
            const bool down = clients_wanted && !(c2s_listener || c2s_tls_listener);
            return down ? std::vector<std::string>{"client-listener"} : std::vector<std::string>{};
        };
    }
    directory = std::make_unique<DirectoryLogin>(config());
    auth = std::make_unique<AuthService>(
        io, store(), config().hosts, secret,
        [this](std::string host, std::string uid, std::string password) {
            return directory->check(std::move(host), std::move(uid), std::move(password));
        },
        postgres ? &postgres->offline_logins() : nullptr);
    auth->refuse_unassigned(postgres != nullptr);

    auto& metrics = Metrics::instance();
    c2s = std::shared_ptr<C2sContext>(new C2sContext{
        *router, hooks, *auth, *tls, {}, 0, nullptr, nullptr, nullptr, {}, nullptr, {}, {}, {}, {}});
    if (ha) {
        c2s->admission = admission.get();
        c2s->redirected =
            &metrics.counter("hexad_c2s_redirects_total", "", "Clients sent to the group that serves them");
        // Who comes again under the same address replaces himself.
        c2s->has_room = [this](const Jid& full) {
            return router->find_full(full) != nullptr || ha->has_room_for_login();
        };
        if (config().redirect)
            c2s->better_host = [this](const std::string& home) { return ha->better_host(home); };
    }
    if (watches_peer()) serve_canary();
    c2s->limits.xml.max_stanza = config().max_stanza;
    c2s->limits.authenticate = config().authenticate_timeout;
    c2s->limits.idle = config().idle;
    c2s->limits.write_stall = config().write_stall;
    for (const auto& n : config().group_of(options.node)->nodes) {
        // The other node of the group has the sessions of this one when it is gone.
        if (n.name == options.node) continue;
        const bool v6 = n.address.find(':') != std::string::npos;
        c2s->location = (v6 ? '[' + n.address + ']' : n.address) + ':' + std::to_string(config().c2s_port);
    }
    c2s->logins = &metrics.counter("hexad_c2s_logins_total", "", "Successful SASL exchanges");
    c2s->failures = &metrics.counter("hexad_c2s_login_failures_total", "", "Failed SASL exchanges");
    if (cluster) {
        metrics.gauge("hexad_state_store_up", "", "Redis can be acted on by this node",
                      [this] { return double(cluster->active()); });
        metrics.gauge("hexad_store_up", "", "PostgreSQL answers",
                      [this] { return double(committer().store_up()); });
    }
    metrics.gauge("hexad_c2s_connections", "", "Client connections",
                  [this] { return double(c2s->connections); });
    metrics.gauge("hexad_c2s_sessions", "", "Sessions this node carries",
                  [this] { return double(router->sessions().size()); });
    metrics.gauge("hexad_routing_accounts", "", "Accounts with a session anywhere",
                  [this] { return double(router->routes().accounts()); });
    metrics.gauge("hexad_storage_pending_bytes", "", "Bytes waiting to become safe",
                  [this] { return double(committer().pending_bytes()); });
}

void Server::Impl::listen_at(std::unique_ptr<Listener>& listener, std::uint16_t port,
                             Listener::OnAccept accept, const char* what) {
    if (port == 0 || listener) return;
    const auto& address = node().address;
    Listener::Limits limits;
    limits.max_connections = config().max_connections;
    limits.connections = [this] { return c2s->connections; };
    auto fresh = std::make_unique<Listener>(io.get_executor(), std::move(accept), limits);
    if (const auto bound = fresh->listen(address, port); !bound) {
        throw std::runtime_error(std::string(what) + ": cannot listen on " + address + ':' +
                                 std::to_string(port) + ": " + bound.error().message());
    }
    listener = std::move(fresh);
}

void Server::Impl::listen_clients() {
    listen_at(
        c2s_listener, config().c2s_port,
        [this](StreamSocket socket) {
            asio::co_spawn(io, C2sConnection::serve(std::move(socket), false, c2s), asio::detached);
        },
        "c2s");
    listen_at(
        c2s_tls_listener, config().c2s_tls_port,
        [this](StreamSocket socket) {
            asio::co_spawn(io, C2sConnection::serve(std::move(socket), true, c2s), asio::detached);
        },
        "c2s tls");
}

void Server::Impl::open_clients() {
    try {
        listen_clients();
    } catch (const std::exception& e) {
        log_warn("client_listener_failed", {{"error", e.what()}});
    }
}

void Server::Impl::close_clients() {
    for (auto* listener : {&c2s_listener, &c2s_tls_listener}) {
        if (*listener) (*listener)->close();
        listener->reset();
    }
}

void Server::Impl::listen() {
    clients_wanted = !ha || takes_clients(ha->state());
    if (clients_wanted) listen_clients();
    https = std::make_unique<HttpServer>(io.get_executor(), HttpLimits{}, disk.get_executor());
    upload = std::make_unique<UploadHttp>(module_options.http, disk.get_executor());
    upload->serve(*https);
    listen_at(
        https_listener, config().http_port,
        [this](StreamSocket socket) { https->accept(std::move(socket), tls.get()); }, "https");
}

awaitable<std::vector<boost::json::object>> Server::Impl::node_states() {
    std::map<std::string, std::uint64_t> by_node;
    if (const auto counts = co_await store().assignment_counts()) by_node = *counts;
    if (ha) co_return co_await ha->nodes(by_node);
    std::uint64_t assigned = 0;
    for (const auto& [name, count] : by_node) assigned += count;
    boost::json::object object;
    object["name"] = options.node;
    object["group"] = config().group_of(options.node)->name;
    object["state"] = ready ? "standalone" : "initializing";
    object["reason"] = ready ? "ha-not-enabled" : "initialization";
    object["serving"] = boost::json::array{boost::json::value(options.node)};
    object["epoch"] = 1;
    object["assigned"] = assigned;
    object["sessions"] = router->sessions().size();
    object["version"] = version;
    std::vector<boost::json::object> out;
    out.push_back(std::move(object));
    co_return out;
}

awaitable<std::pair<int, boost::json::value>> Server::Impl::at_sync_desk(std::string what,
                                                                         boost::json::object given) {
    const auto text = [&given](std::string_view key) {
        const auto* value = given.if_contains(key);
        return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
    };
    const auto number = [&](std::string_view key) -> std::int64_t {
        const auto* value = given.if_contains(key);
        if (value != nullptr && value->is_int64()) return value->as_int64();
        return std::strtoll(text(key).c_str(), nullptr, 10);
    };
    SyncDesk::Answer answer;
    if (what == "status") {
        answer =
            co_await sync_desk->status(static_cast<std::size_t>(std::max<std::int64_t>(0, number("runs"))));
    } else if (what == "review") {
        answer = co_await sync_desk->review(number("run"));
    } else if (what == "explain") {
        answer = co_await sync_desk->explain(text("jid"));
    } else {
        answer = co_await sync_desk->ask(text("kind"), text("agreement"), number("run"));
    }
    co_return std::pair(answer.status, std::move(answer.value));
}

void Server::Impl::serve_admin_api() {
    const auto token_file = config().token_file.empty() ? options.data + "/admin.token" : config().token_file;
    admin_token = secret_from_file(token_file);
    AdminContext context{*router, store(), config(), options.node, admin_token, {}, {}, {}, {}, {}, {}, {}};
    context.ready = [this] { return ready; };
    context.not_ready_reason = [this] {
        const auto why = ha ? ha->gate_reason() : std::string();
        return why.empty() ? std::string("initializing") : "the gate waits for " + why;
    };
    context.derive = [this](std::string password) { return auth->derive(std::move(password)); };
    context.nodes = [this] { return node_states(); };
    context.account_changed = [this](const Jid& jid) {
        auth->forget(jid);
        if (cluster) cluster->announce_account(jid);
    };
    context.ha = ha.get();
    context.assignment = assignment.get();
    context.destroy_room = [this](Jid room) { return muc->destroy_room(std::move(room)); };
    if (postgres) {
        sync_desk = std::make_unique<SyncDesk>(io, config());
        context.sync = [this](std::string what, boost::json::object given) {
            return at_sync_desk(std::move(what), std::move(given));
        };
    }

    admin_local = std::make_unique<HttpServer>(io.get_executor());
    serve_admin(*admin_local, context, true);
    // Clients leave 64 descriptors unused; administrators get in on those.
    Listener::Limits limits;
    limits.descriptor_reserve = 16;
    admin_socket = std::make_unique<Listener>(
        io.get_executor(), [this](StreamSocket s) { admin_local->accept(std::move(s)); }, limits);
    const auto path = options.data + "/admin.sock";
    if (const auto error = admin_socket->listen_local(path)) {
        throw std::runtime_error(path + ": " + error.message() +
                                 "; is another node running in this directory?");
    }
    if (config().admin_port == 0) return;
    admin_http = std::make_unique<HttpServer>(io.get_executor());
    serve_admin(*admin_http, context, false);
    // Off loopback a bearer token travels only inside TLS.
    const auto address = asio::ip::make_address(node().address);
    const bool loopback = address.is_loopback();
    admin_listener = std::make_unique<Listener>(
        io.get_executor(),
        [this, loopback](StreamSocket s) {
            admin_http->accept(std::move(s), loopback ? nullptr : tls.get());
        },
        limits);
    if (const auto bound = admin_listener->listen(node().address, config().admin_port); !bound) {
        throw std::runtime_error("admin: cannot listen on " + node().address + ':' +
                                 std::to_string(config().admin_port) + ": " + bound.error().message());
    }
}

void Server::Impl::on_signal() {
    signals.async_wait([this](error_code error, int signal) {
        if (error) return;
        if (signal == SIGHUP) {
            try {
                tls->reload();
                log_info("certificates_reloaded");
            } catch (const std::exception& e) {
                log_error("certificate_reload_failed", {{"error", e.what()}});
            }
            on_signal();
            return;
        }
        asio::co_spawn(io, stop(), asio::detached);
    });
}

awaitable<void> Server::Impl::account_changed(Jid account, AccountState state) {
    auth->forget(account);
    router->accounts().forget_missing(account);
    if (router->accounts().find(account)) co_await router->accounts().reload(account);
    if (state != AccountState::disabled && state != AccountState::deactivated) co_return;
    if (state == AccountState::disabled) {
        asio::steady_timer grace(io, config().sync.disabled_grace);
        co_await grace.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    // The event is of the past, perhaps of before this node's start: what counts is how it is now.
    const auto row = co_await store().find_account(account);
    if (row && *row && ((*row)->state == AccountState::active || (*row)->state == AccountState::missing)) {
        co_return;
    }
    std::vector<SessionPtr> ending;
    if (const auto* route = router->routes().find(account)) {
        for (const auto& entry : route->sessions) {
            if (auto session = router->find_session(entry.sid)) ending.push_back(std::move(session));
        }
    }
    for (const auto& session : ending)
        router->kick(session, "not-authorized", "the account was disabled in the directory");
}

awaitable<void> Server::Impl::join_cluster() {
    // Management answers meanwhile.
    ha->open_gate_when_ready();
    while (!co_await cluster->join(seconds(30))) {
    }
    std::ofstream(options.data + "/incarnation", std::ios::trunc) << cluster->incarnation() << '\n';
    while (const auto error = co_await cluster->follow()) {
        log_warn("routes_not_read", {{"node", options.node}, {"error", error.message()}});
        asio::steady_timer pause(io, milliseconds(500));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    ha->has_routes();
    asio::co_spawn(io, ha->run(), asio::detached);
    account_events = std::make_unique<AccountEvents>(
        io, config().store_url, [this](const Jid& account, AccountState state) {
            asio::co_spawn(io, account_changed(account, state), asio::detached);
        });
    while (ha->state() == NodeState::initializing) {
        asio::steady_timer pause(io, milliseconds(20));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

/// The allocator keeps what was freed (after a flood of connections, an import) until it is told to give it
/// back.
awaitable<void> Server::Impl::give_memory_back() {
    asio::steady_timer timer(io);
    for (std::size_t known = 0;;) {  // free bytes that are given back already, or not worth it
        timer.expires_after(seconds(5));
        co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
        const auto info = ::mallinfo2();
        known = std::min(known, info.fordblks);
        if (info.fordblks < known + std::max<std::size_t>(info.arena / 8, 4U << 20U)) continue;
        ::malloc_trim(0);
        known = ::mallinfo2().fordblks;
    }
}

awaitable<void> Server::Impl::start() {
    try {
        if (cluster) co_await join_cluster();
        if (const auto error = co_await router->start())
            throw std::runtime_error("the sessions cannot be read: " + error.message());
        listen();
        asio::co_spawn(io, give_memory_back(), asio::detached);
        if (assignment) asio::co_spawn(io, assignment->run(), asio::detached);
        ready = true;
        if (ha) ha->clients_come_in();
        log_info("node_ready", {{"node", options.node}, {"address", node().address}, {"version", version}});
    } catch (const std::exception& e) {
        log_error("start_failed", {{"error", e.what()}});
        std::cerr << "hexad: " << e.what() << '\n';
        status = 1;
        io.stop();
    }
}

awaitable<void> Server::Impl::stop() {
    log_info("node_stopping", {{"node", options.node}});
    clients_wanted = false;
    close_clients();
    if (https_listener) https_listener->close();
    if (assignment) assignment->stop();
    if (ha) co_await ha->leave();
    ready = false;
    co_await router->stop();
    account_events.reset();
    if (cluster) co_await cluster->leave();
    asio::steady_timer grace(io, milliseconds(200));
    co_await grace.async_wait(asio::as_tuple(asio::use_awaitable));
    if (https) https->stop();
    for (auto* listener : {&admin_listener, &admin_socket}) {
        if (*listener) (*listener)->close();
    }
    log_info("node_stopped", {{"node", options.node}});
    io.stop();
}

Server::Server(ServerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {
    auto& s = *impl_;
    // One file for all nodes: each has its own certificate for the peer link.
    for (auto* file : {&s.options.config.peer_tls.cert, &s.options.config.peer_tls.key}) {
        if (const auto at = file->find("$node"); at != std::string::npos)
            file->replace(at, 5, s.options.node);
    }
    write_pid_file(s.options.data + "/node.pid");
    set_fail_point_folder(s.options.data + "/fail-points");
    s.open_store();
    s.build_tls();
    // In a cluster every node signs and salts with the same secret; it lies beside the token that all nodes
    // share.
    const auto& token_file = s.options.config.token_file;
    const bool shared = s.options.config.is_cluster() && !token_file.empty();
    s.build_core(secret_from_file(shared ? token_file + ".secret" : s.options.data + "/secret"));
    s.serve_admin_api();
}

Server::~Server() = default;

namespace {

/// Asio keeps its record of each descriptor, for reuse, as long as it lives. Made here they lie side by side;
/// made with a flood of connections, each would hold back a page of what the flood used (measured with 2,000:
/// 9 MiB).
void reserve_descriptors(asio::io_context& io) {
    std::vector<asio::posix::stream_descriptor> all;
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    for (auto n = std::min<rlim_t>(limit.rlim_cur / 2, 10'000); n > 0; --n) {
        const int fd = ::eventfd(0, EFD_CLOEXEC);
        if (fd < 0) return;
        all.emplace_back(io, fd);
    }
}

}  // namespace

int Server::run() {
    auto& s = *impl_;
    reserve_descriptors(s.io);
    s.on_signal();
    asio::co_spawn(s.io, s.start(), asio::detached);
    s.io.run();
    return s.status;
}

}  // namespace hexad
