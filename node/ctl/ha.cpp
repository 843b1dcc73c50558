#include "ctl/ha.hpp"

#include <array>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <thread>

#include <boost/json.hpp>

#include "io/http_message.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

std::string plain(const json::value& value) {
    if (value.is_string()) return std::string(value.as_string());
    if (value.is_null()) return "-";
    if (value.is_array()) {
        std::string out;
        for (const auto& one : value.as_array()) out += (out.empty() ? "" : ",") + plain(one);
        return out.empty() ? "-" : out;
    }
    return json::serialize(value);
}

void print_event(const json::value& event) {
    std::cout << plain(event.at("at")) << "  " << plain(event.at("node")) << "  " << plain(event.at("event"));
    for (const auto& [key, value] : event.at("fields").as_object())
        std::cout << ' ' << std::string_view(key) << '=' << plain(value);
    std::cout << '\n';
}

std::string one_digit(const json::value& number) {
    std::array<char, 32> out{};
    std::snprintf(out.data(), out.size(), "%.1f", number.to_number<double>());
    return out.data();
}

/// Clients of a lost node, on their way back.
void print_relogin(const json::value& r) {
    std::cout << "      clients of " << plain(r.at("of")) << ": " << plain(r.at("back")) << " of "
              << plain(r.at("sessions")) << " back, " << one_digit(r.at("per_second")) << " a second, "
              << plain(r.at("waiting")) << " wait, " << plain(r.at("refused"))
              << " sent away; expected between " << one_digit(r.at("lower_seconds")) << " and "
              << one_digit(r.at("upper_seconds")) << " s after the loss, all by "
              << plain(r.at("expected_end")) << '\n';
}

void print_topology(const json::value& all) {
    std::cout << "cluster " << plain(all.at("cluster")) << ", seen by " << plain(all.at("seen_by"))
              << ": high availability " << (all.at("high_availability").as_bool() ? "on" : "off")
              << ", state store " << plain(all.at("state_store")) << ", store " << plain(all.at("store"))
              << '\n';
    for (const auto& group : all.at("groups").as_array()) {
        std::cout << "\ngroup " << plain(group.at("name")) << ": " << plain(group.at("assignment")) << ", "
                  << plain(group.at("assigned")) << " of " << plain(group.at("capacity")) << " users\n";
        for (const auto& n : group.at("nodes").as_array()) {
            std::cout << "  " << plain(n.at("name")) << "  " << plain(n.at("state")) << " ("
                      << plain(n.at("reason")) << ") since " << plain(n.at("since"))
                      << (n.at("draining").as_bool() ? ", draining" : "")
                      << (n.at("held").as_bool() ? ", held" : "") << '\n';
            std::cout << "      serves " << plain(n.at("serving")) << ", epoch " << plain(n.at("epoch"))
                      << ", lease " << plain(n.at("lease_age_ms")) << " ms old, version "
                      << plain(n.at("version")) << '\n';
            std::cout << "      " << plain(n.at("assigned")) << " of " << plain(n.at("capacity"))
                      << " users (" << plain(n.at("capacity_percent")) << " %), " << plain(n.at("active"))
                      << " clients, " << plain(n.at("sessions")) << " sessions";
            if (const auto* limit = n.as_object().if_contains("session_limit");
                limit != nullptr && limit->is_number())
                std::cout << " of " << plain(*limit);
            std::cout << '\n';
            for (const auto& [peer, link] : n.at("links").as_object()) {
                std::cout << "      link to " << std::string_view(peer) << ": "
                          << (link.at("up").as_bool() ? plain(link.at("round_trip_ms")) + " ms" : "down")
                          << '\n';
            }
            if (const auto* service = n.as_object().if_contains("service");
                service != nullptr && service->is_string() && service->as_string() != "serves")
                std::cout << "      for clients: " << plain(*service) << '\n';
            if (const auto& r = n.at("relogin"); r.is_object()) print_relogin(r);
            if (const auto& gate = n.at("gate"); gate.is_string() && gate.as_string() != "open")
                std::cout << "      gate " << plain(gate) << '\n';
            const auto& failover = n.at("failover");
            std::cout << "      failover would " << (failover.at("possible").as_bool() ? "work" : "NOT work")
                      << '\n';
            for (const auto& why : failover.at("failing").as_array())
                std::cout << "        " << plain(why) << '\n';
            if (!n.at("do").is_null()) std::cout << "      do: " << plain(n.at("do")) << '\n';
        }
    }
    std::cout << "\nlast transitions\n";
    for (const auto& t : all.at("transitions").as_array()) {
        const auto& row = t.as_object();
        const auto of = [&](const char* key) { return row.contains(key) ? plain(row.at(key)) : "-"; };
        std::cout << "  " << of("at") << "  " << of("node") << "  " << of("from") << " -> " << of("to")
                  << "  (" << of("reason") << ", " << of("transition") << ", epoch " << of("epoch") << ")\n";
    }
}

void print_verification(const json::value& report) {
    for (const auto& finding : report.at("findings").as_array())
        std::cout << plain(finding.at("rule")) << "  " << plain(finding.at("subject")) << "  "
                  << plain(finding.at("detail")) << '\n';
    std::cout << (report.at("clean").as_bool() ? "clean: " : "NOT clean: ") << plain(report.at("sessions"))
              << " sessions with " << plain(report.at("log_entries")) << " entries, "
              << plain(report.at("rooms")) << " rooms\n";
}

/// A number with unit as `10m`, `90s`, `2h`, in seconds; 0 if it is none.
std::int64_t seconds_in(const std::string& text) {
    std::int64_t count = 0;
    const auto* const end = text.data() + text.size();
    const auto [unit, error] = std::from_chars(text.data(), end, count);
    if (error != std::errc{} || count <= 0 || count > 1'000'000) return 0;
    const std::string_view rest(unit, static_cast<std::size_t>(end - unit));
    return rest == "s" || rest.empty() ? count : rest == "m" ? 60 * count : rest == "h" ? 3600 * count : 0;
}

void print_replication(const json::value& report) {
    for (const auto& n : report.at("nodes").as_array()) {
        std::cout << (n.at("good").as_bool() ? "good  " : "BAD   ") << plain(n.at("node")) << "  store "
                  << plain(n.at("store")) << ", schema " << plain(n.at("schema")) << ", "
                  << plain(n.at("role"));
        if (!n.at("lag_ms").is_null()) std::cout << ", " << plain(n.at("lag_ms")) << " ms behind";
        std::cout << "; Redis " << plain(n.at("state_store")) << ", generation " << plain(n.at("generation"))
                  << '\n';
    }
    for (const auto& r : report.at("replicas").as_array()) {
        std::cout << "replica  " << plain(r.at("name")) << "  " << plain(r.at("state"))
                  << (r.at("synchronous").as_bool() ? ", synchronous" : "") << ", " << plain(r.at("lag_ms"))
                  << " ms behind\n";
    }
    if (report.at("replicas").as_array().empty()) std::cout << "the store feeds no replica\n";
}

void print_diagnosis(const json::value& report) {
    for (const auto& one : report.at("checks").as_array()) {
        const auto level = plain(one.at("level"));
        std::cout << (level == "bad"       ? "BAD      "
                      : level == "warning" ? "warning  "
                                           : "good     ")
                  << plain(one.at("check")) << ", " << plain(one.at("subject")) << ": "
                  << plain(one.at("found")) << '\n';
        if (!one.at("do").is_null()) std::cout << "         do: " << plain(one.at("do")) << '\n';
    }
}

/// Prints a report whose member `verdict` says whether all is well; if not, hexactl ends with 1.
void print_judged(const ApiCall& call, const std::string& path, bool as_json, std::string_view verdict,
                  void (*print)(const json::value&)) {
    bool good = false;
    const auto show = [&](const json::value& report) {
        good = report.at(verdict).as_bool();
        if (as_json) {
            std::cout << json::serialize(report) << '\n';
        } else {
            print(report);
        }
    };
    if (call("GET", path, "", show) == 0 && !good) throw CLI::RuntimeError(1);
}

struct Words {
    std::string node, group, kind, time;
    bool force = false, follow = false;
    std::uint64_t limit = 100;
};

/// Prints what there is, then asks again every second; ends when a call fails.
void follow_events(const ApiCall& call, const Words& words, bool as_json) {
    std::uint64_t last = 0;
    // Events have no number while the store is away, and come again with one when it is back.
    std::set<std::string> unnumbered;
    const auto show = [&](const json::value& events) {
        for (const auto& event : events.as_array()) {
            const auto id = event.at("id").to_number<std::uint64_t>();
            auto told = event.as_object();
            told.erase("id");
            const auto text = json::serialize(told);
            last = std::max(last, id);
            if (id == 0 ? !unnumbered.insert(text).second : unnumbered.erase(text) > 0) continue;
            if (as_json) {
                std::cout << json::serialize(event) << '\n';
            } else {
                print_event(event);
            }
        }
        std::cout.flush();
    };
    for (;;) {
        const auto path = "/v1/events?after=" + std::to_string(last) +
                          "&limit=" + std::to_string(words.limit) + "&kind=" + percent_encode(words.kind);
        if (call("GET", path, "", show) != 0 || !words.follow) return;
        std::this_thread::sleep_for(std::chrono::seconds(1));
    }
}

}  // namespace

void add_ha_commands(CLI::App& app, CLI::App& node, const bool& as_json, ApiCall call) {
    auto words = std::make_shared<Words>();
    const auto post = [call](json::object command) {
        call("POST", "/v1/ha", json::serialize(command), nullptr);
    };

    auto* ha = app.add_subcommand("ha", "High availability of redundancy groups")->require_subcommand(1);
    auto* status = ha->add_subcommand("status", "State of every node, or of one group's");
    status->add_option("group", words->group);
    status->callback([=] {
        const auto query = words->group.empty() ? "" : "?group=" + percent_encode(words->group);
        call("GET", "/v1/ha" + query, "", nullptr);
    });
    auto* failover = ha->add_subcommand("failover", "Moves a node's users to the other node of its group");
    failover->add_option("node", words->node)->required();
    failover->add_flag("--force", words->force, "Even if the other node has too little room");
    failover->callback(
        [=] { post({{"command", "failover"}, {"node", words->node}, {"force", words->force}}); });
    auto* fallback = ha->add_subcommand("fallback", "Gives a node its users back");
    fallback->add_option("node", words->node)->required();
    fallback->callback([=] { post({{"command", "fallback"}, {"node", words->node}}); });
    auto* recover = ha->add_subcommand("recover", "Starts a failed group anew");
    recover->add_option("group", words->group)->required();
    recover->callback([=] { post({{"command", "recover"}, {"group", words->group}}); });
    auto* enable =
        ha->add_subcommand("enable", "Switches high availability on, if every pair could fail over");
    enable->add_flag("--force", words->force, "Even if one could not");
    enable->callback([=] { post({{"command", "enable"}, {"force", words->force}}); });
    ha->add_subcommand("disable", "Switches high availability off")->callback([=] {
        post({{"command", "disable"}});
    });
    auto* simulate = ha->add_subcommand("simulate", "What a failover of a node would do; changes nothing");
    simulate->add_option("node", words->node)->required();
    simulate->callback([=] { post({{"command", "simulate"}, {"node", words->node}}); });

    for (const std::string what : {"drain", "return"}) {
        auto* one = node.add_subcommand(
            what, what == "drain" ? "Sends a node's clients to the others" : "Lets clients in again");
        one->add_option("node", words->node)->required();
        one->callback([=] { post({{"command", what}, {"node", words->node}}); });
    }

    auto* gate = app.add_subcommand("gate", "What client service waits for at start")->require_subcommand(1);
    auto* override_gate =
        gate->add_subcommand("override", "Lets a node open without the directory; ends by itself");
    override_gate->add_option("node", words->node)->required();
    override_gate->add_option("--for", words->time, "How long: 90s, 10m, 2h (at most 24h)")->required();
    override_gate->callback([=] {
        const auto seconds = seconds_in(words->time);
        if (seconds == 0)
            throw CLI::ValidationError("--for", '"' + words->time + "\" is no time; write 90s, 10m or 2h");
        post({{"command", "gate-override"}, {"node", words->node}, {"seconds", seconds}});
    });

    app.add_subcommand("replication", "PostgreSQL and Redis, as each node reaches them")
        ->require_subcommand(1)
        ->add_subcommand("status", "Reachable, schema, primary or standby, lag, replicas, generation")
        ->callback(
            [call, &as_json] { print_judged(call, "/v1/replication", as_json, "good", print_replication); });
    app.add_subcommand("doctor", "What is wrong or will be, and what to do")->callback([call, &as_json] {
        print_judged(call, "/v1/doctor", as_json, "good", print_diagnosis);
    });

    auto* cluster = app.add_subcommand("cluster", "The cluster as a whole")->require_subcommand(1);
    cluster
        ->add_subcommand("verify",
                         "Compares Redis, the store and the memory of all nodes; fails if they disagree")
        ->callback([call, &as_json] {
            print_judged(call, "/v1/cluster/verify", as_json, "clean", print_verification);
        });

    app.add_subcommand("topology", "Cluster, groups, nodes, and the last transitions")
        ->callback([call, &as_json] {
            const std::function<void(const json::value&)> show = print_topology;
            call("GET", "/v1/topology", "", as_json ? nullptr : show);
        });
    auto* events = app.add_subcommand("events", "What happened to redundancy groups");
    events->add_option("--limit", words->limit, "At most so many")->capture_default_str();
    events->add_option("--kind", words->kind, "Only these, e.g. HaStateChanged");
    events->add_flag("--follow", words->follow, "Goes on as they come");
    events->callback([=, &as_json] { follow_events(call, *words, as_json); });
}

}  // namespace hexad
