#include <cstdlib>
#include <filesystem>
#include <iostream>

#include <CLI/CLI.hpp>

#include "app/server.hpp"
#include "app/supervisor.hpp"
#include "app/version.hpp"
#include "base/log.hpp"

int main(int argc, char** argv) {
    CLI::App app{
        "hexad: an XMPP presence and instant-messaging server. Without options: one node, host localhost, "
        "data in ./hexad-data"};
    std::string file, node, data, host = "localhost", address = "127.0.0.1";
    bool supervise = false, check = false, migrate = false, version = false;
    if (const char* env = std::getenv("HEXAD_DATA")) data = env;
    if (const char* env = std::getenv("HEXAD_NODE")) node = env;
    app.add_option("--config", file, "Configuration of the cluster (TOML)");
    app.add_option("--node", node, "Name of this node in the configuration (or $HEXAD_NODE)");
    app.add_option("--data", data, "Directory for data, sockets and pid files (or $HEXAD_DATA)");
    app.add_option("--host", host, "Domain served when there is no configuration");
    app.add_option("--address", address, "Address to listen on when there is no configuration");
    app.add_flag("--supervise", supervise, "Run the node as a child and watch it");
    app.add_flag("--check-config", check, "Check the configuration and stop");
    app.add_flag("--migrate", migrate, "Bring the store's schema up to date");
    app.add_flag("--version", version, "Print the version and stop");
    CLI11_PARSE(app, argc, argv);
    if (version) {
        std::cout << "hexad " << hexad::version << '\n';
        return 0;
    }
    try {
        hexad::ServerOptions options;
        options.config = file.empty() ? hexad::embedded_config(host, address) : hexad::load_config(file);
        const auto& config = options.config;
        options.node = node;
        if (options.node.empty()) {
            if (config.groups.size() != 1 || config.groups.front().nodes.size() != 1) {
                throw hexad::ConfigError("--node is needed: the configuration names several nodes");
            }
            options.node = config.groups.front().nodes.front().name;
        }
        if (config.node(options.node) == nullptr) {
            throw hexad::ConfigError(file + ": there is no node " + options.node + "; see [[group]]");
        }
        if (check) {
            std::cout << (file.empty() ? "embedded default" : file) << ": good\n";
            return 0;
        }
        options.data = data.empty() ? "hexad-data" : data;
        options.migrate = migrate;
        std::filesystem::create_directories(options.data);
        std::filesystem::permissions(options.data, std::filesystem::perms::owner_all);
        hexad::configure_log(config.log_level, config.log_file);
        if (supervise) return hexad::supervise(options);
        hexad::Server server(std::move(options));
        return server.run();
    } catch (const std::exception& e) {
        std::cerr << "hexad: " << e.what() << '\n';
        return 1;
    }
}
