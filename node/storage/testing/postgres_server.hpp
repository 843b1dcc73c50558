#pragma once

#include <string>
#include <sys/types.h>

#include "storage/testing/backend.hpp"

namespace hexad::testing {

/// A PostgreSQL of the test's own: Unix socket in a temporary folder, an unprivileged user, gone with the
/// object (or with the process). Throws if PostgreSQL is not installed.
class PostgresServer {
public:
    PostgresServer();
    ~PostgresServer();
    PostgresServer(const PostgresServer&) = delete;
    PostgresServer& operator=(const PostgresServer&) = delete;

    void start();
    /// SIGQUIT to the server: it stops without a clean shutdown, all connections die, WAL is replayed at the
    /// next start.
    void crash();
    void freeze();  ///< stops answering, connections stay
    void thaw();
    /// conninfo of a new, empty data base.
    std::string create_database();
    std::string conninfo(const std::string& database) const;

    /// The one that a test program shares.
    static PostgresServer& shared();

private:
    void signal_all(int signal);
    TempDir dir_;
    pid_t pid_ = -1;
    int databases_ = 0;
};

}  // namespace hexad::testing
