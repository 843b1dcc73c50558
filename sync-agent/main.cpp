#include <atomic>
#include <csignal>
#include <iostream>
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "base/ids.hpp"
#include "base/log.hpp"
#include "sync-agent/agent.hpp"

namespace {
std::atomic<bool> stop{false};
}

int main(int argc, char** argv) {
    CLI::App app{"hexad-sync: mirrors people from a directory into the store"};
    std::string file;
    app.add_option("--config", file, "Configuration of the cluster (TOML)")->required();
    CLI11_PARSE(app, argc, argv);
    std::signal(SIGTERM, [](int) { stop = true; });
    std::signal(SIGINT, [](int) { stop = true; });
    try {
        const auto config = hexad::load_config(file);
        hexad::configure_log(config.log_level, {});
        hexad::sync::Agent agent(config, "sync-" + std::to_string(::getpid()) + '-' + hexad::random_id(6));
        agent.run(stop);
        return 0;
    } catch (const std::exception& e) {
        std::cerr << "hexad-sync: " << e.what() << '\n';
        return 1;
    }
}
