#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>

#include <CLI/CLI.hpp>
#include <boost/json.hpp>

#include "base/config.hpp"
#include "ctl/assignment.hpp"
#include "ctl/ha.hpp"
#include "io/http_client.hpp"
#include "io/http_message.hpp"

namespace json = boost::json;
using hexad::HttpClient;

namespace {

/// Exit codes of hexactl: 0 done, 1 refused by the server, 2 wrong usage, 3 the server cannot be reached.
enum Exit { done = 0, refused = 1, usage = 2, unreachable = 3 };

struct Connection {
    std::string socket;
    std::string url;
    std::string token_file;
    std::string ca_file;
    bool as_json = false;

    HttpClient open() const {
        std::string base = url;
        if (base.empty()) {
            const char* data = std::getenv("HEXAD_DATA");
            base =
                "unix:" + (socket.empty() ? std::string(data != nullptr ? data : "hexad-data") + "/admin.sock"
                                          : socket);
        }
        HttpClient client(base, ca_file, hexad::milliseconds(120000));
        if (!token_file.empty()) {
            std::ifstream in(token_file);
            std::string token;
            in >> token;
            if (token.empty()) throw CLI::RuntimeError(token_file + ": no token in it", usage);
            client.set_header("Authorization", "Bearer " + token);
        }
        return client;
    }
};

std::string cell(const json::value& value) {
    if (value.is_string()) return std::string(value.as_string().c_str());
    if (value.is_null()) return "-";
    if (value.is_array()) {
        std::string out;
        for (const auto& item : value.as_array()) out += (out.empty() ? "" : ",") + cell(item);
        return out.empty() ? "-" : out;
    }
    return json::serialize(value);
}

bool is_table(const json::value& value) {
    return value.is_array() && !value.as_array().empty() && value.as_array().front().is_object();
}

/// A table in which every row has lists of its own is none.
bool has_lists(const json::value& value) {
    return is_table(value) && std::any_of(value.as_array().front().as_object().begin(),
                                          value.as_array().front().as_object().end(),
                                          [](const auto& item) { return is_table(item.value()); });
}

/// A list of objects as a table, one object as lines `key: value`, lists of objects in it as tables of that
/// name.
void print(const json::value& value) {
    if (value.is_object()) {
        for (const auto& [key, item] : value.as_object()) {
            if (!is_table(item)) {
                std::cout << std::string(key) << ": " << cell(item) << '\n';
                continue;
            }
            std::cout << '\n' << std::string(key) << ":\n";
            print(item);
        }
        return;
    }
    if (!value.is_array() || value.as_array().empty()) {
        std::cout << "nothing\n";
        return;
    }
    if (has_lists(value)) {
        for (const auto& item : value.as_array()) {
            print(item);
            std::cout << '\n';
        }
        return;
    }
    std::vector<std::string> columns;
    for (const auto& [key, item] : value.as_array().front().as_object()) columns.emplace_back(key);
    std::vector<std::vector<std::string>> rows{{}};
    for (const auto& column : columns) {
        rows.front().push_back(column);
        for (auto& c : rows.front().back())
            c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    }
    for (const auto& item : value.as_array()) {
        std::vector<std::string> row;
        for (const auto& column : columns) {
            const auto* found = item.as_object().if_contains(column);
            row.push_back(found == nullptr ? "-" : cell(*found));
        }
        rows.push_back(std::move(row));
    }
    std::vector<std::size_t> widths(columns.size());
    for (const auto& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
    }
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += row[i];
            if (i + 1 < row.size()) line += std::string(widths[i] - row[i].size() + 2, ' ');
        }
        std::cout << line << '\n';
    }
}

int call(const Connection& connection, std::string_view method, const std::string& path,
         const std::string& body = {}, const std::function<void(const json::value&)>& show = nullptr) {
    const auto reply = connection.open().request(method, path, body);
    if (!reply) {
        std::cerr << "hexactl: " << reply.error() << '\n';
        return unreachable;
    }
    boost::system::error_code error;
    const auto value = json::parse(reply->body, error);
    if (reply->status >= 400) {
        const auto* text = !error && value.is_object() ? value.as_object().if_contains("error") : nullptr;
        std::cerr << "hexactl: "
                  << (text != nullptr ? cell(*text) : "status " + std::to_string(reply->status)) << '\n';
        return reply->status >= 500 ? unreachable : refused;
    }
    if (show && !error) {
        show(value);
    } else if (connection.as_json || error) {
        std::cout << reply->body;
    } else {
        print(value);
    }
    return done;
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app{"hexactl: the administrator's command line of hexad"};
    Connection connection;
    app.add_option("--socket", connection.socket,
                   "Admin socket of the node (default: $HEXAD_DATA/admin.sock or ./hexad-data/admin.sock)");
    app.add_option("--url", connection.url, "Admin API over TCP, e.g. http://127.0.0.11:5280");
    app.add_option("--token-file", connection.token_file, "File with the bearer token for --url");
    app.add_option("--ca-file", connection.ca_file,
                   "Authority that signed the certificate of an https --url");
    app.add_flag("--json", connection.as_json, "Print JSON as the API gave it");
    app.require_subcommand(1);
    app.fallthrough();
    int status = done;
    const auto path_of = [](const std::string& prefix, const std::string& name) {
        return prefix + '/' + hexad::percent_encode(name);
    };

    std::string jid, password, file;
    std::size_t limit = 0;
    auto* user = app.add_subcommand("user", "Accounts")->require_subcommand(1);
    auto* add = user->add_subcommand("add", "Creates an account");
    add->add_option("jid", jid)->required();
    add->add_option("--password", password, "Password; asked of standard input if absent");
    add->callback([&] {
        if (password.empty()) std::getline(std::cin, password);
        status = call(connection, "POST", "/v1/users",
                      json::serialize(json::object{{"jid", jid}, {"password", password}}));
    });
    auto* passwd = user->add_subcommand("password", "Sets an account's password");
    passwd->add_option("jid", jid)->required();
    passwd->add_option("--password", password);
    passwd->callback([&] {
        if (password.empty()) std::getline(std::cin, password);
        status = call(connection, "PUT", path_of("/v1/users", jid),
                      json::serialize(json::object{{"password", password}}));
    });
    for (const std::string state : {"disable", "enable"}) {
        auto* command = user->add_subcommand(
            state, state == "disable" ? "Refuses logins and ends sessions" : "Allows logins again");
        command->add_option("jid", jid)->required();
        command->callback([&, state] {
            const auto body =
                json::serialize(json::object{{"state", state == "disable" ? "disabled" : "active"}});
            status = call(connection, "PUT", path_of("/v1/users", jid), body);
        });
    }
    auto* show = user->add_subcommand("show", "One account");
    show->add_option("jid", jid)->required();
    show->callback([&] { status = call(connection, "GET", path_of("/v1/users", jid)); });
    auto* remove = user->add_subcommand("remove", "Removes an account with all its data");
    remove->add_option("jid", jid)->required();
    remove->callback([&] { status = call(connection, "DELETE", path_of("/v1/users", jid)); });
    auto* list = user->add_subcommand("list", "All accounts");
    list->add_option("--limit", limit, "At most so many");
    list->callback([&] { status = call(connection, "GET", "/v1/users?limit=" + std::to_string(limit)); });
    auto* import = user->add_subcommand("import", "Creates accounts from JSON lines with SCRAM keys");
    import->add_option("file", file)->required();
    import->callback([&] {
        std::ifstream in(file, std::ios::binary);
        if (!in) {
            std::cerr << "hexactl: " << file << ": cannot be read\n";
            status = usage;
            return;
        }
        std::stringstream text;
        text << in.rdbuf();
        status = call(connection, "POST", "/v1/users/import", text.str());
    });

    auto* explain = user->add_subcommand("explain", "Why an account is where and how it is");
    explain->add_option("jid", jid)->required();
    explain->callback([&] { status = call(connection, "GET", path_of("/v1/sync/explain", jid)); });

    std::string agreement;
    std::int64_t run = 0;
    bool is_full = false;
    std::size_t runs = 10;
    auto* sync = app.add_subcommand("sync", "People from the directory")->require_subcommand(1);
    const auto ask = [&](const std::string& kind) {
        status = call(connection, "POST", "/v1/sync",
                      json::serialize(json::object{{"kind", kind}, {"agreement", agreement}, {"run", run}}));
    };
    auto* state = sync->add_subcommand("status", "The agent, agreements, the last runs, skipped entries");
    state->add_option("--runs", runs, "So many runs (default 10)");
    state->callback([&] { status = call(connection, "GET", "/v1/sync?runs=" + std::to_string(runs)); });
    auto* now = sync->add_subcommand("run", "Reads the directory now");
    now->add_flag("--full", is_full, "Everything, not only what changed");
    now->callback([&] { ask(is_full ? "full" : "run"); });
    auto* plan = sync->add_subcommand("plan", "What a full run would do; nothing is done");
    plan->callback([&] { ask("plan"); });
    auto* test = sync->add_subcommand("test", "Hosts, bind, count, the first entries as they would look");
    test->callback([&] { ask("test"); });
    for (auto* command : {now, plan, test})
        command->add_option("agreement", agreement, "Only this agreement (default: all)");
    auto* review = sync->add_subcommand("review", "Whom a held run would take out");
    review->add_option("run", run, "Number of the run (default: the newest that waits)");
    review->callback([&] { status = call(connection, "GET", "/v1/sync/review?run=" + std::to_string(run)); });
    for (const std::string kind : {"approve", "reject"}) {
        auto* command = sync->add_subcommand(
            kind, kind == "approve" ? "Takes out exactly those whom the run lists" : "Drops the run's list");
        command->add_option("run", run, "Number of the run")->required();
        command->callback([&, kind] { ask(kind); });
    }

    auto* session = app.add_subcommand("session", "Sessions of clients")->require_subcommand(1);
    session->add_subcommand("list", "All sessions of the node")->callback([&] {
        status = call(connection, "GET", "/v1/sessions");
    });
    auto* end = session->add_subcommand("end", "Ends a session");
    end->add_option("jid", jid, "Full address")->required();
    end->callback([&] { status = call(connection, "DELETE", path_of("/v1/sessions", jid)); });

    auto* room = app.add_subcommand("room", "Rooms")->require_subcommand(1);
    room->add_subcommand("list", "All rooms")->callback([&] {
        status = call(connection, "GET", "/v1/rooms");
    });
    auto* show_room = room->add_subcommand("show", "One room and where it lives");
    show_room->add_option("jid", jid)->required();
    show_room->callback([&] { status = call(connection, "GET", path_of("/v1/rooms", jid)); });
    auto* destroy = room->add_subcommand("destroy", "Destroys a room");
    destroy->add_option("jid", jid)->required();
    destroy->callback([&] { status = call(connection, "DELETE", path_of("/v1/rooms", jid)); });

    auto* node = app.add_subcommand("node", "Nodes of the cluster")->require_subcommand(1);
    node->add_subcommand("list", "All nodes and their state")->callback([&] {
        status = call(connection, "GET", "/v1/nodes");
    });

    const hexad::ApiCall api = [&](const std::string& method, const std::string& path,
                                   const std::string& body,
                                   const std::function<void(const json::value&)>& on_answer) {
        status = call(connection, method, path, body, on_answer);
        return status;
    };
    hexad::add_ha_commands(app, *node, connection.as_json, api);
    hexad::add_assignment_commands(app, *user, *room, api);

    auto* config = app.add_subcommand("config", "The configuration file")->require_subcommand(1);
    auto* check = config->add_subcommand("check", "Reads a file and names every fault");
    check->add_option("file", file)->required();
    check->callback([&] {
        try {
            hexad::load_config(file);
            std::cout << file << ": good\n";
        } catch (const hexad::ConfigError& e) {
            std::cerr << e.what() << '\n';
            status = refused;
        }
    });

    try {
        app.parse(argc, argv);
    } catch (const CLI::RuntimeError& e) {  // a command's own status; CLI11 prints nothing for it
        if (e.get_exit_code() != refused) std::cerr << "hexactl: " << e.what() << '\n';
        return e.get_exit_code();
    } catch (const CLI::ParseError& e) {
        const int code = app.exit(e);
        return code == 0 ? 0 : usage;
    } catch (const std::exception& e) {
        std::cerr << "hexactl: " << e.what() << '\n';
        return usage;
    }
    return status;
}
