#include "app/backend.hpp"

#include <fstream>
#include <stdexcept>

namespace hexad {

Backend::Backend(asio::io_context& io, const ServerOptions& options) {
    const auto& config = options.config;
    if (config.is_cluster()) {
        open_cluster(io, options);
        return;
    }
    auto path = options.data + "/hexad.sqlite";
    constexpr std::string_view scheme = "sqlite://";
    if (config.store_url.starts_with(scheme)) path = config.store_url.substr(scheme.size());
    SqliteEngine::Options engine_options;
    engine_options.migrate = options.migrate;
    if (config.durability == "relaxed") engine_options.durability = sqlite::Durability::relaxed;
    auto opened = SqliteEngine::open(io, path, engine_options);
    if (!opened) throw std::runtime_error(path + ": " + opened.error().text);
    engine = std::move(*opened);
}

void Backend::open_cluster(asio::io_context& io, const ServerOptions& options) {
    const auto& config = options.config;
    PostgresStore::Options store_options;
    store_options.migrate = options.migrate;
    store_options.may_wait = true;
    auto opened = PostgresStore::open(io, config.store_url, store_options);
    if (!opened) throw std::runtime_error("store: " + opened.error().text);
    postgres = std::move(*opened);
    ClusterOptions cluster_options;
    cluster_options.id = config.id;
    cluster_options.node = options.node;
    for (const auto& group : config.groups) {
        for (const auto& n : group.nodes) cluster_options.nodes.push_back(n.name);
    }
    cluster_options.redis.url = config.redis_url;
    cluster_options.redis.source_address = config.node(options.node)->address;
    if (!config.redis_password_file.empty()) {
        std::ifstream in(config.redis_password_file);
        in >> cluster_options.redis.password;
        if (cluster_options.redis.password.empty())
            throw std::runtime_error(config.redis_password_file + ": no password in it");
    }
    cluster_options.lease = config.timers.lease;
    cluster_options.renew = config.timers.renew;
    cluster_options.longest_turn = config.timers.service_down;
    if (config.durability == "relaxed") cluster_options.durability = Durability::relaxed;
    cluster = std::make_unique<ClusterBackend>(io, cluster_options, postgres->writer(), postgres->offline(),
                                               postgres->epochs());
}

}  // namespace hexad
