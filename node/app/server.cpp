#include "app/server.hpp"

#include <algorithm>
#include <cmath>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iostream>

#include <boost/asio/thread_pool.hpp>
#include <boost/json.hpp>

#include "app/account_events.hpp"
#include "app/backend.hpp"
#include "app/canary_host.hpp"
#include "app/directory_login.hpp"
#include "app/host_certificates.hpp"
#include "app/listeners.hpp"
#include "app/memory.hpp"
#include "app/secret_file.hpp"
#include "app/supervisor.hpp"
#include "app/sync_desk.hpp"
#include "app/version.hpp"
#include "auth/auth_service.hpp"
#include "base/fail_point.hpp"
#include "base/log.hpp"
#include "base/metrics.hpp"
#include "ha/assignment.hpp"
#include "ha/manager.hpp"
#include "modules/builtin_modules.hpp"
#include "muc/muc_module.hpp"
#include "net/upload_http.hpp"
#include "placement/placement.hpp"
#include "routing/router.hpp"

namespace hexad {

struct Server::Impl {
    explicit Impl(ServerOptions o) : options(std::move(o)), signals(io, SIGTERM, SIGINT, SIGHUP) {}

    ServerOptions options;
    asio::io_context io{1};
    asio::signal_set signals;
    asio::thread_pool disk{2};  ///< reads and writes uploaded files
    std::unique_ptr<Backend> backend;
    std::unique_ptr<Admission> admission;  ///< cluster
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
    std::unique_ptr<ClientListeners> clients;
    std::unique_ptr<HttpServer> https;
    std::unique_ptr<UploadHttp> upload;
    std::unique_ptr<AdminListeners> admin;
    bool ready = false;
    bool clients_wanted = false;  ///< client listeners are to be open
    int status = 0;

    const Config& config() const { return options.config; }
    const NodeConfig& node() const { return *options.config.node(options.node); }
    Store& store() { return backend->store(); }
    Committer& committer() { return backend->committer(); }
    ClusterBackend& cluster() { return *backend->cluster; }
    bool is_cluster() const { return backend->cluster != nullptr; }
    awaitable<void> join_cluster();
    awaitable<void> account_changed(Jid account, AccountState state);
    void build_core(const std::string& secret);
    void listen();
    void open_clients();
    void serve_admin_api();
    awaitable<void> start();
    awaitable<void> stop();
    void on_signal();
    awaitable<std::vector<boost::json::object>> node_states();
};

void Server::Impl::build_core(const std::string& secret) {
    store().place_by(placer_of(config()));
    module_options.version = version;
    module_options.archives_accounts = config().archives_accounts;
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
    router =
        std::make_unique<Router>(io, store(), committer(), backend->session_log(), hooks, router_options);
    if (is_cluster()) {
        router->join(cluster(), backend->postgres->offline());
        admission = std::make_unique<Admission>(io, config().admission);
        ha = std::make_unique<HaManager>(
            HaManager::Parts{io, config(), options.node, version, cluster(), backend->postgres->epochs(),
                             backend->postgres->redundancy(), *router, *admission});
        cluster().events.nobody_reaches_redis = [this] { return ha->nobody_reaches_redis(); };
        assignment = std::make_unique<AssignmentKeeper>(
            AssignmentKeeper::Parts{io, config(), options.node, store(), backend->postgres->assignment(), *ha,
                                    [this](const Jid& jid) { cluster().announce_account(jid); }});
    }
    module_context = std::make_unique<ModuleContext>(hooks, *router, module_options);
    modules = make_builtin_modules(*module_context);
    auto rooms = make_muc(*module_context);
    muc = rooms.get();
    modules.push_back(std::move(rooms));
    if (ha) {
        muc->follow_partitions();
        ha->move_room_here = [this](Jid room, std::string to, std::int64_t run) {
            return muc->move_room(std::move(room), std::move(to), run);
        };
        muc->rows_wait = [this] { return cluster().rows_wait(); };
        ha->rooms_here = [this] { return muc->rooms_here(); };
        auto& moved = Metrics::instance().counter("hexad_rooms_moved_total", "",
                                                  "Rooms that came here because their home node changed");
        muc->on_room_moved = [this, &moved](const RoomMove& move) {
            moved.add();
            const auto took = std::chrono::duration_cast<milliseconds>(wall_now() - move.began).count();
            boost::json::object fields{{"room", move.jid.to_string()}, {"from", move.from}, {"to", move.to}};
            fields["run"] = move.run == 0 ? boost::json::value(nullptr) : boost::json::value(move.run);
            fields["took_ms"] = std::int64_t{took};
            ha->tell("RoomMoved", std::move(fields));
        };
        ha->on_partition = [this](const std::string& home, bool ours) { muc->partition_moved(home, ours); };
        ha->on_clients = [this](bool open) {
            if (!ready) return;
            clients_wanted = open;
            open ? open_clients() : clients->close();
        };
        ha->clients_refused = [](SteadyClock::time_point since) { return Listener::refused_since(since); };
        ha->services_down = [this] {
            // Asked again and again: a listener that could not be opened is tried anew.
            if (clients_wanted) open_clients();
            const bool down = clients_wanted && !clients->is_open();
            return down ? std::vector<std::string>{"client-listener"} : std::vector<std::string>{};
        };
    }
    directory = std::make_unique<DirectoryLogin>(config());
    if (ha) ha->directories_down = [this] { return directory->down(); };
    auth = std::make_unique<AuthService>(
        io, store(), config().hosts, secret,
        [this](std::string host, MirroredEntry entry, std::string password) {
            return directory->check(std::move(host), std::move(entry), std::move(password));
        },
        is_cluster() ? &backend->postgres->offline_logins() : nullptr);
    auth->refuse_unassigned(is_cluster());

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
    if (watches_peer(config(), options.node)) serve_canary(*c2s, config(), options.node, *router);
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
    clients = std::make_unique<ClientListeners>(io, config(), node().address, c2s);
    c2s->logins = &metrics.counter("hexad_c2s_logins_total", "", "Successful SASL exchanges");
    c2s->failures = &metrics.counter("hexad_c2s_login_failures_total", "", "Failed SASL exchanges");
    if (is_cluster()) {
        metrics.gauge("hexad_state_store_up", "", "Redis can be acted on by this node",
                      [this] { return double(cluster().active()); });
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

void Server::Impl::open_clients() {
    try {
        clients->open();
    } catch (const std::exception& e) {
        log_warn("client_listener_failed", {{"error", e.what()}});
    }
}

void Server::Impl::listen() {
    clients_wanted = !ha || takes_clients(ha->state());
    if (clients_wanted) clients->open();
    https = std::make_unique<HttpServer>(io.get_executor(), HttpLimits{}, disk.get_executor());
    upload = std::make_unique<UploadHttp>(module_options.http, disk.get_executor());
    upload->serve(*https);
    clients->open_https([this](StreamSocket socket) { https->accept(std::move(socket), tls.get()); });
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

void Server::Impl::serve_admin_api() {
    const auto token_file = config().token_file.empty() ? options.data + "/admin.token" : config().token_file;
    AdminContext context{
        *router, store(), config(), options.node, secret_from_file(token_file), {}, {}, {}, {}, {}, {}, {}};
    context.ready = [this] { return ready; };
    context.not_ready_reason = [this] {
        const auto why = ha ? ha->gate_reason() : std::string();
        return why.empty() ? std::string("initializing") : "the gate waits for " + why;
    };
    context.derive = [this](std::string password) { return auth->derive(std::move(password)); };
    context.nodes = [this] { return node_states(); };
    context.account_changed = [this](const Jid& jid) {
        auth->forget(jid);
        if (is_cluster()) cluster().announce_account(jid);
    };
    context.ha = ha.get();
    context.assignment = assignment.get();
    context.destroy_room = [this](Jid room) { return muc->destroy_room(std::move(room)); };
    if (is_cluster()) {
        sync_desk = std::make_unique<SyncDesk>(io, config());
        context.sync = [this](std::string what, boost::json::object given) {
            return sync_desk->answer(std::move(what), std::move(given));
        };
    }

    admin = std::make_unique<AdminListeners>(io, context, *tls, options.data + "/admin.sock");
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
    while (!backend->postgres->is_prepared()) {
        const auto failure = co_await backend->postgres->prepare();
        if (failure && failure->error != StorageError::unavailable)
            throw std::runtime_error("store: " + failure->text);
        asio::steady_timer pause(io, milliseconds(failure ? 500 : 0));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    while (!co_await cluster().join(seconds(30))) {
    }
    std::ofstream(options.data + "/incarnation", std::ios::trunc) << cluster().incarnation() << '\n';
    while (const auto error = co_await cluster().follow()) {
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

awaitable<void> Server::Impl::start() {
    try {
        if (is_cluster()) co_await join_cluster();
        if (const auto error = co_await router->start())
            throw std::runtime_error("the sessions cannot be read: " + error.message());
        listen();
        asio::co_spawn(io, give_memory_back(io), asio::detached);
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
    clients->close();
    clients->close_https();
    if (assignment) assignment->stop();
    if (ha) co_await ha->leave();
    ready = false;
    co_await router->stop();
    account_events.reset();
    if (is_cluster()) co_await cluster().leave();
    asio::steady_timer grace(io, milliseconds(200));
    co_await grace.async_wait(asio::as_tuple(asio::use_awaitable));
    if (https) https->stop();
    admin->close();
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
    s.backend = std::make_unique<Backend>(s.io, s.options);
    auto certificates = host_certificates(s.config(), s.node().address, s.options.data);
    if (watches_peer(s.config(), s.options.node)) certificates.push_back(canary_certificate(s.config()));
    s.tls = std::make_unique<TlsContext>(std::move(certificates));
    // In a cluster every node signs and salts with the same secret; it lies beside the token that all nodes
    // share.
    const auto& token_file = s.options.config.token_file;
    const bool shared = s.options.config.is_cluster() && !token_file.empty();
    s.build_core(secret_from_file(shared ? token_file + ".secret" : s.options.data + "/secret"));
    s.serve_admin_api();
}

Server::~Server() = default;

int Server::run() {
    auto& s = *impl_;
    reserve_descriptors(s.io);
    s.on_signal();
    asio::co_spawn(s.io, s.start(), asio::detached);
    s.io.run();
    return s.status;
}

}  // namespace hexad
