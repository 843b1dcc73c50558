#include "ha/doctor.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>

#include <boost/json.hpp>

#include "ha/json_fields.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

constexpr std::int64_t clock_warning_ms = 500, clock_bad_ms = 10'000;
constexpr std::int64_t certificate_warning_days = 21;
constexpr std::int64_t lag_bad_ms = 5000;
constexpr milliseconds slow_link{80};

std::int64_t number(const json::object& object, std::string_view key) {
    const auto& value = field(object, key);
    return value.is_number() ? value.to_number<std::int64_t>() : 0;
}
const json::object& part(const json::object& object, std::string_view key) {
    static const json::object none;
    const auto& value = field(object, key);
    return value.is_object() ? value.as_object() : none;
}

class Findings {
public:
    void good(std::string_view check, const std::string& subject, const std::string& found) {
        add(2, "good", check, subject, found, {});
    }
    void warning(std::string_view check, const std::string& subject, const std::string& found,
                 const std::string& what_to_do) {
        add(1, "warning", check, subject, found, what_to_do);
    }
    void bad(std::string_view check, const std::string& subject, const std::string& found,
             const std::string& what_to_do) {
        add(0, "bad", check, subject, found, what_to_do);
    }
    json::object report() {
        json::array checks;
        for (auto& list : by_level_) {
            for (auto& one : list) checks.push_back(std::move(one));
        }
        return {{"good", by_level_[0].empty()}, {"checks", std::move(checks)}};
    }

private:
    void add(std::size_t rank, std::string_view level, std::string_view check, const std::string& subject,
             const std::string& found, const std::string& what_to_do) {
        json::object one{{"check", check}, {"subject", subject}, {"level", level}, {"found", found}};
        one["do"] = what_to_do.empty() ? json::value(nullptr) : json::value(what_to_do);
        by_level_[rank].push_back(std::move(one));
    }
    std::array<std::vector<json::value>, 3> by_level_;
};

void look_at_clock(Findings& out, const std::string& node, const json::object& health) {
    const auto ahead = number(health, "clock_ahead_ms");
    const auto off = std::abs(ahead);
    const auto found = "the clock is " + std::to_string(off) + " ms " + (ahead < 0 ? "behind" : "ahead");
    const std::string cure = "run a time service (chrony, systemd-timesyncd) on " + node;
    if (off >= clock_bad_ms) {
        out.bad("clock", node, found, cure);
    } else if (off >= clock_warning_ms) {
        out.warning("clock", node, found, cure);
    } else {
        out.good("clock", node, found);
    }
}

void look_at_certificates(Findings& out, const std::string& node, const json::object& health) {
    const auto& list = field(health, "certificates");
    if (!list.is_array()) return;
    for (const auto& item : list.as_array()) {
        const auto& one = item.as_object();
        const auto subject = node + ", " + text(one, "name");
        const auto cure = "put a new certificate into " + text(one, "file") + ", then send the node SIGHUP";
        if (const auto error = text(one, "error"); !error.empty()) {
            out.bad("certificate", subject, error, "mend " + text(one, "file") + " or its key");
        } else if (const auto days = number(one, "days"); days < 0) {
            out.bad("certificate", subject, "ended " + std::to_string(-days) + " days ago", cure);
        } else if (days < certificate_warning_days) {
            out.warning("certificate", subject, "ends in " + std::to_string(days) + " days", cure);
        } else {
            out.good("certificate", subject, "ends in " + std::to_string(days) + " days");
        }
    }
}

void look_at_store(Findings& out, const std::string& node, const json::object& health) {
    const auto& store = part(health, "store");
    const auto schema = number(store, "schema"), wanted = number(store, "wanted_schema");
    if (!flag(store, "reachable")) {
        out.bad("store", node, "does not reach PostgreSQL",
                "look whether PostgreSQL runs and the network between; hexad's log has the error");
    } else if (text(store, "role") == "standby") {
        out.bad("store", node, "is connected to a standby: nothing can be written",
                "let [store] url name the primary, or add target_session_attrs=read-write to it");
    } else if (number(store, "lag_ms") > lag_bad_ms) {
        out.bad("store", node, "the store is " + std::to_string(number(store, "lag_ms")) + " ms behind",
                "look at the replication of PostgreSQL");
    } else if (schema < wanted) {
        out.bad("store", node,
                "schema " + std::to_string(schema) + ", this version wants " + std::to_string(wanted),
                "start one node with --migrate");
    } else {
        out.good("store", node, "PostgreSQL answers, schema " + std::to_string(schema));
    }
}

void look_at_state_store(Findings& out, const std::string& node, const json::object& health) {
    const auto& redis = part(health, "state_store");
    if (!flag(redis, "reachable")) {
        out.bad("state-store", node, "does not reach Redis",
                "look whether Redis runs and the network between");
    } else if (!flag(redis, "active")) {
        out.bad("state-store", node,
                "reaches Redis, but may not act on it: no lease, or Redis is being refilled",
                "if it lasts longer than a minute, look into this node's log");
    } else {
        out.good("state-store", node, "Redis answers");
    }
}

/// What the other node of the group finds when it logs in.
void look_at_service(Findings& out, const Config& config, const std::string& node, const std::string& found) {
    const auto ports = std::to_string(config.c2s_port) + " and " + std::to_string(config.c2s_tls_port);
    if (found == "serves") {
        out.good("client-service", node, "its peer gets in as a client");
    } else if (found.starts_with("does not serve")) {
        out.bad("client-service", node, found, "look into its log, and whether clients reach ports " + ports);
    } else if (found.starts_with("cannot be judged")) {
        out.warning("client-service", node, found,
                    "let the nodes of a group reach each other's ports " + ports +
                        "; until then only a node that is gone is taken over, not one that serves nobody");
    }
}

/// What should be the same everywhere.
void compare(Findings& out, const Symptoms& symptoms) {
    std::map<std::string, std::string> versions, files, generations;
    const auto join = [](const std::map<std::string, std::string>& nodes) {
        std::string text;
        for (const auto& [value, names] : nodes) text += (text.empty() ? "" : "; ") + names + ": " + value;
        return text;
    };
    for (const auto& [node, health] : symptoms.health) {
        if (!flag(health, "reachable")) continue;
        const auto note = [&node](std::string& names) { names += (names.empty() ? "" : ", ") + node; };
        note(versions[text(health, "version")]);
        note(files[text(health, "config").substr(0, 12)]);
        if (flag(part(health, "state_store"), "active"))
            note(generations[std::to_string(number(part(health, "state_store"), "generation"))]);
    }
    if (versions.size() > 1) {
        out.warning("version", "cluster", join(versions), "finish the upgrade: one version on all nodes");
    } else {
        out.good("version", "cluster", join(versions));
    }
    if (files.size() > 1) {
        out.warning("configuration", "cluster", "the nodes have different files: " + join(files),
                    "put the same file on every node and restart those that have the old one");
    } else {
        out.good("configuration", "cluster", "the same file everywhere");
    }
    if (generations.size() > 1)
        out.bad("generation", "cluster",
                "the nodes disagree on the generation of Redis: " + join(generations),
                "restart the nodes that have the lower number");
}

void look_at_groups(Findings& out, const Config& config, const Symptoms& symptoms) {
    bool pairs = false;
    for (const auto& group : config.groups) {
        if (group.nodes.size() < 2) {
            out.warning("redundancy", group.name, group.nodes.front().name + " is alone in its group",
                        "give the group a second node: until then its users have no server while it is down");
            continue;
        }
        pairs = true;
        std::string why;
        for (const auto& n : group.nodes) {
            if (const auto it = symptoms.no_failover.find(n.name); it != symptoms.no_failover.end()) {
                for (const auto& one : it->second) why += (why.empty() ? "" : "; ") + one;
            }
        }
        if (why.empty()) {
            out.good("redundancy", group.name, "either node could carry the other");
        } else {
            out.bad("redundancy", group.name, "could not carry the loss of a node: " + why,
                    "hexactl topology says what to do at each node");
        }
    }
    if (pairs && !symptoms.high_availability)
        out.warning("redundancy", "cluster", "high availability is off", "hexactl ha enable");
}

void look_at_sites(Findings& out, const Config& config) {
    std::set<std::string> all;
    for (const auto& group : config.groups) {
        std::set<std::string> sites;
        for (const auto& n : group.nodes) sites.insert(n.site);
        all.insert(sites.begin(), sites.end());
        if (sites.size() > 1)
            out.warning("site", group.name, "the group spans two sites",
                        "keep a majority of Redis (or its witness) at a third site: without it a cut between "
                        "the two leaves the side without Redis unable to fail over");
    }
    if (all.size() > 1) return;
    const auto& site = *all.begin();
    out.warning("site", "cluster",
                site.empty() ? "no node says where it stands (site)" : "all nodes stand at site " + site,
                "whatever takes a whole site away takes the service away; name the sites in [[group.nodes]]");
}

}  // namespace

json::object diagnose(const Config& config, const Symptoms& symptoms) {
    Findings out;
    bool fed = false, writable = false;
    for (const auto& [node, health] : symptoms.health) {
        if (!flag(health, "reachable")) {
            out.bad("node", node, "does not answer at the peer link",
                    "start it, or mend port " + std::to_string(config.peer_port) + " between the nodes");
            continue;
        }
        if (const auto gate = text(health, "gate"); !gate.empty())
            out.warning("gate", node, "lets no clients in: waits for " + gate,
                        gate.starts_with("directory")
                            ? "hexactl sync status; or hexactl gate override " + node
                            : "see the other findings on " + node);
        if (const auto it = symptoms.round_trips.find(node);
            it != symptoms.round_trips.end() && it->second > slow_link)
            out.warning("network", node, std::to_string(it->second.count()) + " ms away",
                        "nodes should be within 80 ms of each other; set profile = \"wan\"");
        look_at_clock(out, node, health);
        look_at_certificates(out, node, health);
        if (const auto it = symptoms.service.find(node); it != symptoms.service.end())
            look_at_service(out, config, node, it->second);
        look_at_store(out, node, health);
        look_at_state_store(out, node, health);
        const auto& replicas = field(part(health, "store"), "replicas");
        writable = writable || text(part(health, "store"), "role") == "primary";
        fed = fed || (replicas.is_array() && !replicas.as_array().empty());
    }
    compare(out, symptoms);
    look_at_groups(out, config, symptoms);
    look_at_sites(out, config);
    if (writable && !fed)
        out.warning("store", "cluster", "PostgreSQL feeds no replica",
                    "set up streaming replication: what is in the store is in one place only");
    return out.report();
}

json::object replication_row(const std::string& node, const json::object& health) {
    const auto& store = part(health, "store");
    const auto& redis = part(health, "state_store");
    const bool there = flag(health, "reachable");
    const bool good = there && flag(store, "reachable") && text(store, "role") == "primary" &&
                      number(store, "lag_ms") <= lag_bad_ms &&
                      number(store, "schema") >= number(store, "wanted_schema") && flag(redis, "reachable") &&
                      flag(redis, "active");
    json::object row{{"node", node}, {"good", good}};
    row["store"] = !there ? "node does not answer" : flag(store, "reachable") ? "reachable" : "unreachable";
    for (const auto* key : {"schema", "role", "lag_ms"}) row[key] = field(store, key);
    row["state_store"] = !there                      ? "node does not answer"
                         : !flag(redis, "reachable") ? "unreachable"
                         : flag(redis, "active")     ? "active"
                                                     : "reachable, not active";
    const auto& generation = field(redis, "generation");
    row["generation"] =
        generation.is_number() ? json::value(number(redis, "generation")) : json::value(nullptr);
    return row;
}

}  // namespace hexad
