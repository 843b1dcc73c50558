#include "storage/testing/postgres_server.hpp"

#include <algorithm>
#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <libpq-fe.h>

namespace hexad::testing {
namespace {

/// The folder of the newest server's programs. Not what PATH says: that may hold something else by the name
/// of initdb.
std::string programs() {
    std::string best;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/usr/lib/postgresql", ignored)) {
        if (std::filesystem::exists(entry.path() / "bin/initdb"))
            best = std::max(best, entry.path().string());
    }
    if (best.empty()) throw std::runtime_error("PostgreSQL is not installed (/usr/lib/postgresql)");
    return best + "/bin/";
}

pid_t launch(const std::vector<std::string>& command, const std::string& log) {
    const auto* nobody = ::getpwnam("nobody");
    std::vector<char*> argv;
    for (const auto& word : command) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    const auto pid = ::fork();
    if (pid != 0) return pid;
    const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0666);
    ::dup2(out, 1);
    ::dup2(out, 2);
    ::setsid();
    if (::getuid() == 0 && nobody != nullptr &&  // PostgreSQL refuses to run as root
        (::setgroups(0, nullptr) != 0 || ::setgid(nobody->pw_gid) != 0 || ::setuid(nobody->pw_uid) != 0)) {
        ::_exit(126);
    }
    ::prctl(PR_SET_PDEATHSIG, SIGQUIT);
    if (::chdir("/") != 0) ::_exit(126);
    ::execv(argv[0], argv.data());
    ::_exit(127);
}

}  // namespace

PostgresServer::PostgresServer() {
    if (::getuid() == 0) {
        const auto* nobody = ::getpwnam("nobody");
        if (nobody == nullptr || ::chown(dir_.path().c_str(), nobody->pw_uid, nobody->pw_gid) != 0) {
            throw std::runtime_error("no unprivileged user to run PostgreSQL");
        }
    }
    const auto data = (dir_.path() / "data").string();
    const auto log = (dir_.path() / "log").string();
    int status = 0;
    ::waitpid(launch({programs() + "initdb", "-D", data, "-U", "hexad", "-A", "trust", "-E", "UTF8",
                      "--no-locale", "-N"},
                     log),
              &status, 0);
    if (status != 0) throw std::runtime_error("initdb failed, see " + log);
    start();
}

PostgresServer::~PostgresServer() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGCONT);
    ::kill(pid_, SIGQUIT);
    ::waitpid(pid_, nullptr, 0);
}

void PostgresServer::start() {
    const auto data = (dir_.path() / "data").string();
    // Autovacuum holds transactions open at odd moments, which archive pages wait for.
    pid_ = launch({programs() + "postgres", "-D", data, "-k", dir_.path().string(), "-c", "listen_addresses=",
                   "-c", "autovacuum=off", "-c", "shared_buffers=32MB", "-c", "max_connections=60"},
                  (dir_.path() / "log").string());
    for (int i = 0; i < 300; ++i) {
        auto* db = PQconnectdb(conninfo("postgres").c_str());
        const bool up = PQstatus(db) == CONNECTION_OK;
        PQfinish(db);
        if (up) return;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    throw std::runtime_error("PostgreSQL did not start, see " + (dir_.path() / "log").string());
}

void PostgresServer::crash() {
    ::kill(pid_, SIGQUIT);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
}

void PostgresServer::freeze() { signal_all(SIGSTOP); }
void PostgresServer::thaw() { signal_all(SIGCONT); }

/// Each server process is a session of its own, so that there is no process group to signal.
void PostgresServer::signal_all(int signal) {
    ::kill(pid_, signal);
    const auto pid = std::to_string(pid_);
    std::ifstream children("/proc/" + pid + "/task/" + pid + "/children");
    for (pid_t child = 0; children >> child;) ::kill(child, signal);
}

std::string PostgresServer::conninfo(const std::string& database) const {
    return "host=" + dir_.path().string() + " user=hexad dbname=" + database;
}

std::string PostgresServer::create_database() {
    const auto name = "t" + std::to_string(++databases_);
    auto* db = PQconnectdb(conninfo("postgres").c_str());
    auto* result = PQexec(db, ("CREATE DATABASE " + name).c_str());
    const bool made = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    PQfinish(db);
    if (!made) throw std::runtime_error("CREATE DATABASE failed");
    return conninfo(name);
}

PostgresServer& PostgresServer::shared() {
    static PostgresServer server;
    return server;
}

}  // namespace hexad::testing
