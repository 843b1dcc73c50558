#include "app/supervisor.hpp"

#include <csignal>
#include <fstream>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "base/log.hpp"
#include "cluster/lease_return.hpp"

namespace hexad {

namespace {

volatile std::sig_atomic_t stop_requested = 0;
volatile pid_t child = 0;

void pass_on(int signal) {
    stop_requested = 1;
    if (child > 0) ::kill(child, signal);
}

int run_child(const ServerOptions& options) {
    // The node does not outlive its watcher unnoticed: without it a crash would be known only after the
    // lease.
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    std::signal(SIGTERM, SIG_DFL);
    std::signal(SIGINT, SIG_DFL);
    try {
        Server server(options);
        return server.run();
    } catch (const std::exception& e) {
        log_error("start_failed", {{"error", e.what()}});
        return 1;
    }
}

/// A crash is known at once: the lease of the dead node goes back to Redis.
void hand_back(const ServerOptions& options) {
    const auto& config = options.config;
    if (!config.is_cluster()) return;
    std::string incarnation, password;
    std::ifstream(options.data + "/incarnation") >> incarnation;
    if (!config.redis_password_file.empty()) std::ifstream(config.redis_password_file) >> password;
    const bool returned = return_lease(config.id, options.node, incarnation, config.redis_url, password);
    log_info("lease_returned", {{"node", options.node}, {"returned", returned}});
}

}  // namespace

void write_pid_file(const std::string& path) { std::ofstream(path, std::ios::trunc) << ::getpid() << '\n'; }

int supervise(const ServerOptions& options) {
    write_pid_file(options.data + "/supervisor.pid");
    std::signal(SIGTERM, pass_on);
    std::signal(SIGINT, pass_on);
    seconds pause{1};
    for (;;) {
        child = ::fork();
        if (child == 0) std::_Exit(run_child(options));
        int status = 0;
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        child = 0;
        const bool clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        if (WIFSIGNALED(status)) {
            log_error("node_died", {{"node", options.node}, {"signal", WTERMSIG(status)}});
            hand_back(options);
        } else {
            log_info("node_ended", {{"node", options.node}, {"status", WEXITSTATUS(status)}});
        }
        if (stop_requested || clean) return clean ? 0 : 1;
        if (options.config.profile == "lab") {
            // In the lab the one who killed it decides when it comes back.
            while (!stop_requested) ::pause();
            return 0;
        }
        for (auto left = pause; left.count() > 0 && !stop_requested; --left)
            std::this_thread::sleep_for(seconds(1));
        if (stop_requested) return 0;
        pause = std::min(pause * 2, seconds(30));
    }
}

}  // namespace hexad
