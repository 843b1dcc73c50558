#include "ctl/assignment.hpp"

#include <charconv>
#include <memory>

#include <boost/json.hpp>

namespace hexad {

namespace json = boost::json;

namespace {

struct Words {
    std::string jid, node, rate = "10/s";
    bool force = false;
    std::size_t runs = 10;
};

/// "20/s" or "20" → 20; throws what the administrator is to write instead.
double read_rate(std::string_view text) {
    const auto written = std::string(text);
    if (text.ends_with("/s")) text.remove_suffix(2);
    double rate = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), rate);
    if (error != std::errc{} || end != text.data() + text.size() || !(rate > 0))
        throw CLI::ValidationError("--rate",
                                   "\"" + written + "\" is no rate; write moves a second, such as 20/s");
    return rate;
}

}  // namespace

void add_assignment_commands(CLI::App& app, CLI::App& user, CLI::App& room, ApiCall call) {
    auto words = std::make_shared<Words>();
    const auto post = [call, words](const std::string& command) {
        const json::object body{
            {"command", command}, {"jid", words->jid}, {"node", words->node}, {"force", words->force}};
        call("POST", "/v1/assignment", json::serialize(body), nullptr);
    };
    for (const std::string what : {"assign", "pin"}) {
        auto* one = user.add_subcommand(what, what == "assign"
                                                  ? "Gives an account a home node"
                                                  : "Gives an account a home node that no machine changes");
        one->add_option("jid", words->jid)->required();
        one->add_option("node", words->node)->required();
        one->add_flag("--force", words->force, "Even if the node or its group is full");
        one->callback([post, what] { post(what); });
    }
    auto* unpin = user.add_subcommand("unpin", "Lets machines move the account again");
    unpin->add_option("jid", words->jid)->required();
    unpin->callback([post] { post("unpin"); });

    auto* move = room.add_subcommand("move", "Gives a room another home node");
    move->add_option("room", words->jid)->required();
    move->add_option("node", words->node)->required();
    move->callback([call, words] {
        const json::object body{{"command", "move"}, {"jid", words->jid}, {"node", words->node}};
        call("POST", "/v1/rooms", json::serialize(body), nullptr);
    });

    auto* rebalance = app.add_subcommand("rebalance", "Accounts and rooms spread evenly over the nodes")
                          ->require_subcommand(1);
    rebalance->add_subcommand("plan", "What would be moved; nothing is done")->callback([call] {
        call("GET", "/v1/rebalance/plan", "", nullptr);
    });
    auto* apply = rebalance->add_subcommand("apply", "Moves users and rooms to other home nodes");
    apply->add_option("--rate", words->rate, "Moves a second, such as 20/s")->capture_default_str();
    apply->callback([call, words] {
        const json::object body{{"command", "apply"}, {"rate", read_rate(words->rate)}};
        call("POST", "/v1/rebalance", json::serialize(body), nullptr);
    });
    rebalance->add_subcommand("stop", "Ends the run; what was moved stays moved")->callback([call] {
        call("POST", "/v1/rebalance", R"({"command": "stop"})", nullptr);
    });
    auto* status = rebalance->add_subcommand("status", "The last runs and how far they are");
    status->add_option("--runs", words->runs, "So many")->capture_default_str();
    status->callback(
        [call, words] { call("GET", "/v1/rebalance?runs=" + std::to_string(words->runs), "", nullptr); });
}

}  // namespace hexad
