#include "base/config.hpp"

#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include <toml++/toml.h>

#include "base/dn.hpp"
#include "base/text.hpp"

namespace hexad {

namespace {

/// Reads a table field by field, remembers what was asked for, and complains about the rest.
class Reader {
public:
    Reader(const toml::table& table, std::string name, const std::string& file,
           std::vector<std::string>& faults)
        : table_(table), name_(std::move(name)), file_(file), faults_(faults) {}
    ~Reader() {
        for (const auto& [key, value] : table_) {
            if (!known_.contains(std::string(key.str()))) {
                fault(value, "unknown key \"" + std::string(key.str()) + "\" in " + name_ +
                                 "; remove it or mend its spelling");
            }
        }
    }

    void fault(const toml::node& node, const std::string& text) {
        faults_.push_back(file_ + ':' + std::to_string(node.source().begin.line) + ": " + text);
    }

    void text(const std::string& key, std::string& out, bool required = false) {
        const auto* node = get(key, required);
        if (node == nullptr) return;
        if (const auto* value = node->as_string()) {
            out = value->get();
        } else {
            fault(*node, key + " must be a string");
        }
    }
    void choice(const std::string& key, std::string& out, const std::set<std::string>& allowed) {
        text(key, out);
        if (allowed.contains(out)) return;
        std::string list;
        for (const auto& a : allowed) list += (list.empty() ? "" : ", ") + a;
        fault(*table_.get(key), key + " must be one of: " + list);
    }
    template <class Number>
    void number(const std::string& key, Number& out, std::int64_t low, std::int64_t high) {
        const auto* node = get(key, false);
        if (node == nullptr) return;
        const auto* value = node->as_integer();
        if (value == nullptr || value->get() < low || value->get() > high) {
            fault(*node, key + " must be a whole number from " + std::to_string(low) + " to " +
                             std::to_string(high));
            return;
        }
        out = static_cast<Number>(value->get());
    }
    void seconds_of(const std::string& key, seconds& out, std::int64_t low, std::int64_t high) {
        std::int64_t value = out.count();
        number(key, value, low, high);
        out = seconds(value);
    }
    /// Written in seconds.
    void milliseconds_of(const std::string& key, milliseconds& out, std::int64_t low, std::int64_t high) {
        auto value = std::chrono::duration_cast<seconds>(out);
        seconds_of(key, value, low, high);
        if (table_.contains(key)) out = value;
    }
    void real(const std::string& key, double& out) {
        const auto* node = get(key, false);
        if (node == nullptr) return;
        if (const auto value = node->value<double>()) {
            out = *value;
        } else {
            fault(*node, key + " must be a number");
        }
    }
    void boolean(const std::string& key, bool& out) {
        const auto* node = get(key, false);
        if (node == nullptr) return;
        if (const auto* value = node->as_boolean()) {
            out = value->get();
        } else {
            fault(*node, key + " must be true or false");
        }
    }
    void texts(const std::string& key, std::vector<std::string>& out, bool required) {
        const auto* node = get(key, required);
        if (node == nullptr) return;
        const auto* array = node->as_array();
        if (array == nullptr) {
            fault(*node, key + " must be a list of strings");
            return;
        }
        for (const auto& item : *array) {
            if (const auto* value = item.as_string()) {
                out.push_back(value->get());
            } else {
                fault(item, key + " must be a list of strings");
            }
        }
    }
    void table(const std::string& key, const std::function<void(Reader&)>& read) {
        const auto* node = get(key, false);
        if (node == nullptr) return;
        if (const auto* inner = node->as_table()) {
            Reader reader(*inner, '[' + key + ']', file_, faults_);
            read(reader);
        } else {
            fault(*node, key + " must be a table");
        }
    }
    void tables(const std::string& key, const std::function<void(Reader&)>& read) {
        const auto* node = get(key, false);
        if (node == nullptr) return;
        const auto* array = node->as_array();
        if (array == nullptr) {
            fault(*node, "write [[" + key + "]], with two brackets: there may be several");
            return;
        }
        for (const auto& item : *array) {
            if (const auto* inner = item.as_table()) {
                Reader reader(*inner, "[[" + key + "]]", file_, faults_);
                read(reader);
            } else {
                fault(item, key + " must be a list of tables");
            }
        }
    }
    const toml::table& raw() const { return table_; }

private:
    const toml::node* get(const std::string& key, bool required) {
        known_.insert(key);
        const auto* node = table_.get(key);
        if (node == nullptr && required) fault(table_, name_ + " needs " + key);
        return node;
    }

    const toml::table& table_;
    std::string name_;
    const std::string& file_;
    std::vector<std::string>& faults_;
    std::set<std::string> known_;
};

HaTimers timers_of(const std::string& profile) {
    using std::chrono::minutes;
    HaTimers t;
    if (profile == "wan") {
        t.heartbeat = seconds(5), t.peer_timeout = seconds(30), t.init_timeout = seconds(90);
        t.lease = seconds(30), t.renew = seconds(8), t.fallback_delay = minutes(30);
        t.service_down = seconds(30);
    } else if (profile == "lab") {
        t.heartbeat = seconds(1), t.peer_timeout = seconds(5), t.init_timeout = seconds(15);
        t.lease = seconds(5), t.renew = seconds(1), t.fallback_delay = seconds(30);
        t.gate_timeout = seconds(60), t.resume_window = seconds(30);
        t.service_down = seconds(5), t.store_down = seconds(5), t.release_window = seconds(1);
        t.automatic_moves = 20;
    }
    return t;
}

/// "22:00-05:30" → minutes of the day; false if it is nothing like that.
bool read_window(const std::string& text, int& from, int& to) {
    const auto minutes = [](std::string_view part) {
        const auto digit = [&](std::size_t i) {
            return part[i] >= '0' && part[i] <= '9' ? part[i] - '0' : 99;
        };
        if (part.size() != 5 || part[2] != ':') return -1;
        const int hour = digit(0) * 10 + digit(1), minute = digit(3) * 10 + digit(4);
        return hour <= 23 && minute <= 59 ? hour * 60 + minute : -1;
    };
    if (text.size() != 11 || text[5] != '-') return false;
    from = minutes(std::string_view(text).substr(0, 5));
    to = minutes(std::string_view(text).substr(6));
    return from >= 0 && to >= 0 && from != to;
}

AssignmentConfig placing_of(const std::string& profile) {
    AssignmentConfig out;
    if (profile == "lab")
        out.after = seconds(30), out.warning_after = seconds(10), out.look = milliseconds(1000);
    return out;
}

void read_placing(Reader& r, AssignmentConfig& a) {
    std::string rebalance = "off", window;
    r.choice("rebalance", rebalance, {"off", "auto"});
    a.rebalances_itself = rebalance == "auto";
    r.number("rebalance_difference", a.difference, 1, 100);
    r.seconds_of("rebalance_after", a.after, 1, 604800);
    r.number("rebalance_percent", a.percent, 1, 100);
    r.number("rebalance_rate", a.rate, 1, 10000);
    r.text("rebalance_window", window);
    if (!window.empty() && !read_window(window, a.window_from, a.window_to))
        r.fault(*r.raw().get("rebalance_window"),
                "rebalance_window must be two times of the day (UTC), such as \"22:00-05:30\"");
    r.seconds_of("capacity_warning_after", a.warning_after, 1, 86400);
    r.number("max_users", a.max_users, 1, 6000000);
}

void read_cluster(Reader& r, Config& c) {
    r.text("id", c.id);
    r.choice("profile", c.profile, {"lan", "wan", "lab"});
    r.choice("durability", c.durability, {"strict", "relaxed"});
    r.choice("assignment", c.assignment, {"balanced", "active-standby", "none"});
    c.placing = placing_of(c.profile);
    read_placing(r, c.placing);
    r.number("listen_port", c.peer_port, 1, 65535);
    r.boolean("high_availability", c.high_availability);
    c.timers = timers_of(c.profile);
    r.seconds_of("resume_window", c.timers.resume_window, 5, 86400);
    r.boolean("automatic_fallback", c.timers.automatic_fallback);
    r.milliseconds_of("fallback_delay", c.timers.fallback_delay, 1, 86400);
    r.milliseconds_of("gate_timeout", c.timers.gate_timeout, 1, 86400);
    r.milliseconds_of("recovery_pause", c.timers.recovery_pause, 1, 86400);
    r.number("automatic_moves_per_hour", c.timers.automatic_moves, 0, 100000);
    r.table("tls", [&](Reader& t) {
        t.text("cert", c.peer_tls.cert, true);
        t.text("key", c.peer_tls.key, true);
        t.text("ca", c.peer_tls.ca, true);
    });
}

void read_host(Reader& r, Config& c) {
    HostConfig host;
    std::string auth = "local";
    r.text("name", host.name, true);
    r.choice("auth", auth, {"local", "directory", "mixed"});
    host.auth = auth == "local"       ? HostAuth::local
                : auth == "directory" ? HostAuth::directory
                                      : HostAuth::mixed;
    r.boolean("mixed_scram", host.mixed_scram);
    r.text("certificate", host.certificate);
    r.text("key", host.key);
    for (const auto& other : c.hosts) {
        if (other.name == host.name) r.fault(r.raw(), "host " + host.name + " is named twice");
    }
    c.hosts.push_back(std::move(host));
}

void read_group(Reader& r, Config& c) {
    GroupConfig group;
    r.text("name", group.name, true);
    r.tables("nodes", [&](Reader& n) {
        NodeConfig node;
        n.text("name", node.name, true);
        n.text("address", node.address, true);
        n.text("public_url", node.public_url);
        n.text("site", node.site);
        n.number("capacity", node.capacity, 1, 1000000);
        if (c.node(node.name) != nullptr) n.fault(n.raw(), "node " + node.name + " is named twice");
        group.nodes.push_back(std::move(node));
    });
    if (r.raw().contains("assignment"))
        r.choice("assignment", group.assignment, {"balanced", "active-standby", "none"});
    if (group.nodes.empty() || group.nodes.size() > 2) r.fault(r.raw(), "a group has one or two nodes");
    c.groups.push_back(std::move(group));
}

void read_placement(Reader& r, Config& c) {
    PlacementRule rule;
    r.text("site", rule.site);
    r.text("directory_group", rule.directory_group);
    r.text("group", rule.group, true);
    if (rule.site.empty() == rule.directory_group.empty())
        r.fault(r.raw(), "[[placement]] needs one of site and directory_group, and not both");
    if (const auto dn = parse_dn(rule.directory_group); !rule.directory_group.empty() && (!dn || dn->empty()))
        r.fault(
            *r.raw().get("directory_group"),
            "directory_group must be a distinguished name, such as \"cn=sales,ou=groups,dc=example,dc=org\"");
    const bool is_known = std::any_of(c.groups.begin(), c.groups.end(),
                                      [&](const GroupConfig& group) { return group.name == rule.group; });
    if (!rule.group.empty() && !is_known)
        r.fault(*r.raw().get("group"), "there is no [[group]] with the name " + rule.group);
    c.placement.push_back(std::move(rule));
}

void read_agreement(Reader& r, Config& c) {
    AgreementConfig a;
    r.text("name", a.name, true);
    r.choice("type", a.type, {"openldap", "generic"});
    r.texts("hosts", a.hosts, true);
    r.choice("tls", a.tls, {"ldaps", "starttls", "none"});
    r.text("ca", a.ca);
    r.text("bind_dn", a.bind_dn);
    r.text("password_file", a.password_file);
    r.text("base", a.base, true);
    r.text("filter", a.filter);
    r.text("host", a.host, true);
    r.text("uid_attribute", a.uid_attribute);
    r.text("site_attribute", a.site_attribute);
    r.number("page_size", a.page_size, 1, 10000);
    if (a.filter.size() > 1024) r.fault(r.raw(), "the filter is longer than 1,024 bytes");
    c.agreements.push_back(std::move(a));
}

void read_rest(Reader& r, Config& c) {
    r.table("redis", [&](Reader& t) {
        t.text("url", c.redis_url, true);
        t.text("password_file", c.redis_password_file);
    });
    r.table("store", [&](Reader& t) { t.text("url", c.store_url, true); });
    r.table("sync", [&](Reader& t) {
        t.seconds_of("incremental_seconds", c.sync.incremental, 1, 86400);
        t.seconds_of("full_seconds", c.sync.full, 1, 31536000);
        t.seconds_of("grace_seconds", c.sync.grace, 0, 31536000);
        t.seconds_of("disabled_grace_seconds", c.sync.disabled_grace, 0, 86400);
        t.seconds_of("lease_seconds", c.sync.lease, 1, 300);
        t.real("removal_percent", c.sync.removal_percent);
        t.number("removal_min", c.sync.removal_min, 0, 1000000);
        t.number("removal_max", c.sync.removal_max, 0, 1000000);
    });
    r.table("c2s", [&](Reader& t) {
        t.number("port", c.c2s_port, 0, 65535);
        t.number("tls_port", c.c2s_tls_port, 0, 65535);
        t.number("max_stanza", c.max_stanza, 10000, 16777216);
        t.number("max_connections", c.max_connections, 0, 10000000);
        t.seconds_of("authenticate_seconds", c.authenticate_timeout, 1, 600);
        t.seconds_of("idle_seconds", c.idle, 5, 86400);
        t.seconds_of("write_stall_seconds", c.write_stall, 5, 3600);
        std::string landing = c.redirect ? "redirect" : "carry";
        t.choice("landing", landing, {"carry", "redirect"});
        c.redirect = landing == "redirect";
    });
    r.table("admission", [&](Reader& t) {
        t.number("resumptions_per_second", c.admission.resumptions, 1, 1000000);
        t.number("logins_per_second", c.admission.logins, 1, 1000000);
        t.seconds_of("wait_seconds", c.admission.wait, 1, 300);
        t.seconds_of("after_loss_seconds", c.admission.after_loss, 0, 86400);
    });
    r.table("http", [&](Reader& t) {
        t.number("port", c.http_port, 0, 65535);
        t.text("files", c.files);
        t.number("max_upload", c.max_upload, 1, std::int64_t{1} << 40);
        t.number("daily_quota", c.daily_quota, 0, std::int64_t{1} << 50);
        t.real("retention_days", c.retention_days);
    });
    r.table("admin", [&](Reader& t) {
        t.number("port", c.admin_port, 0, 65535);
        t.text("token_file", c.token_file);
    });
    r.table("log", [&](Reader& t) {
        t.choice("level", c.log_level, {"debug", "info", "warn", "error"});
        t.text("file", c.log_file);
    });
    r.table("module", [&](Reader& t) {
        t.table("archive", [&](Reader& m) {
            m.boolean("enabled", c.archives_accounts);
            m.number("page_limit", c.archive_page_limit, 1, 250);
        });
    });
}

void check(Config& c, std::vector<std::string>& faults) {
    const auto add = [&](const std::string& text) { faults.push_back(c.file + ": " + text); };
    if (c.hosts.empty()) add("no [[host]]: name at least one domain");
    if (c.groups.empty()) add("no [[group]]: name the node, or the nodes, of this server");
    std::size_t nodes = 0;
    for (const auto& g : c.groups) nodes += g.nodes.size();
    if (nodes > 6) add("a cluster has at most six nodes");
    if (c.store_url.empty()) add("no [store] url");
    const bool sqlite = c.store_url.starts_with("sqlite://");
    if (!sqlite && !c.store_url.starts_with("postgresql://") && !c.store_url.empty()) {
        add("store url must begin with sqlite:// or postgresql://");
    }
    if (nodes > 1 && (sqlite || c.redis_url.empty()))
        add("more than one node needs [redis] and a postgresql store");
    if (!c.redis_url.empty() && sqlite) add("[redis] goes with a postgresql store");
    if (!sqlite && !c.store_url.empty() && c.redis_url.empty()) add("a postgresql store goes with [redis]");
    for (const auto& host : c.hosts) {
        if (c.is_cluster() && host.certificate.empty())
            add("host " + host.name + " needs certificate and key in a cluster");
        if (host.certificate.empty() != host.key.empty())
            add("host " + host.name + ": certificate and key go together");
        if (host.auth != HostAuth::local) {
            const bool served = std::any_of(c.agreements.begin(), c.agreements.end(),
                                            [&](const auto& a) { return a.host == host.name; });
            if (!served)
                add("host " + host.name + " authenticates by directory, but no [[agreement]] names it");
        }
    }
    for (const auto& a : c.agreements) {
        const bool known =
            std::any_of(c.hosts.begin(), c.hosts.end(), [&](const auto& h) { return h.name == a.host; });
        if (!known) add("agreement " + a.name + " names host " + a.host + ", which is not configured");
    }
}

}  // namespace

const NodeConfig* Config::node(const std::string& name) const {
    for (const auto& group : groups) {
        for (const auto& n : group.nodes) {
            if (n.name == name) return &n;
        }
    }
    return nullptr;
}

const GroupConfig* Config::group_of(const std::string& name) const {
    for (const auto& group : groups) {
        for (const auto& n : group.nodes) {
            if (n.name == name) return &group;
        }
    }
    return nullptr;
}

Config load_config(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in) throw ConfigError(file + ": cannot be read");
    std::stringstream text;
    text << in.rdbuf();
    Config config;
    config.file = file;
    config.hash = hex_encode(sha256(text.str()));
    std::vector<std::string> faults;
    try {
        const auto root = toml::parse(text.str());
        Reader r(root, "the file", file, faults);
        r.table("cluster", [&](Reader& t) { read_cluster(t, config); });
        r.tables("host", [&](Reader& t) { read_host(t, config); });
        r.tables("group", [&](Reader& t) { read_group(t, config); });
        r.tables("placement", [&](Reader& t) { read_placement(t, config); });
        r.tables("agreement", [&](Reader& t) { read_agreement(t, config); });
        read_rest(r, config);
    } catch (const toml::parse_error& e) {
        throw ConfigError(file + ':' + std::to_string(e.source().begin.line) + ": " +
                          std::string(e.description()));
    }
    if (faults.empty()) check(config, faults);
    if (!faults.empty()) {
        std::string all;
        for (const auto& fault : faults) all += (all.empty() ? "" : "\n") + fault;
        throw ConfigError(all);
    }
    return config;
}

Config embedded_config(const std::string& host, const std::string& address) {
    Config config;
    HostConfig h;
    h.name = host;
    config.hosts.push_back(h);
    NodeConfig node;
    node.name = "n1";
    node.address = address;
    GroupConfig group;
    group.name = "g1";
    group.nodes.push_back(node);
    config.groups.push_back(group);
    return config;
}

}  // namespace hexad
