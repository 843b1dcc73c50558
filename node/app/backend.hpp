#pragma once

#include <memory>

#include <boost/asio/io_context.hpp>

#include "app/server.hpp"
#include "cluster/cluster_backend.hpp"
#include "storage/postgres/store.hpp"
#include "storage/sqlite/engine.hpp"

namespace hexad {

/// Where a node keeps what lasts: the embedded store of one node, or PostgreSQL and Redis of a cluster.
struct Backend {
    /// Opens them. Throws std::runtime_error with a sentence for the administrator. A PostgreSQL that does
    /// not answer is waited for: see PostgresStore::prepare.
    Backend(asio::io_context& io, const ServerOptions& options);

    std::unique_ptr<SqliteEngine> engine;     ///< single node
    std::unique_ptr<PostgresStore> postgres;  ///< cluster …
    std::unique_ptr<ClusterBackend> cluster;  ///< … with Redis

    Store& store() { return postgres ? postgres->store() : engine->store(); }
    Committer& committer() { return cluster ? static_cast<Committer&>(*cluster) : engine->committer(); }
    SessionLog& session_log() { return cluster ? static_cast<SessionLog&>(*cluster) : engine->session_log(); }

private:
    void open_cluster(asio::io_context& io, const ServerOptions& options);
};

}  // namespace hexad
