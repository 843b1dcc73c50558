#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/clock.hpp"

namespace hexad {

/// A fault of the configuration file: what, where (`file:line`), and what to do. For people.
class ConfigError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

enum class HostAuth { local, directory, mixed };

struct HostConfig {
    std::string name;
    HostAuth auth = HostAuth::local;
    bool mixed_scram = false;
    std::string certificate;  ///< PEM chain; empty = self-signed (single node only)
    std::string key;
};

struct NodeConfig {
    std::string name;
    std::string address;
    std::string public_url;  ///< of its HTTPS listener; empty = https://address:port
    std::string site;        ///< where it stands; empty = not told
    std::uint32_t capacity = 25000;
};

struct GroupConfig {
    std::string name;
    std::vector<NodeConfig> nodes;  ///< one or two
    std::string assignment;         ///< of this group alone; empty = the cluster's
};

struct TlsFiles {
    std::string cert, key, ca;
};

/// Timers of redundancy groups (docs/redundancy-groups.md), chosen by profile.
struct HaTimers {
    milliseconds heartbeat{2000}, peer_timeout{10000}, init_timeout{30000};
    milliseconds lease{10000}, renew{3000};
    milliseconds fallback_delay{600000};
    milliseconds gate_timeout{600000};
    milliseconds service_down{15000};    ///< a critical service is down so long before the node is taken over
    milliseconds store_down{30000};      ///< … the path to the store
    milliseconds step_limit{60000};      ///< one step of a transition
    milliseconds recovery_pause{60000};  ///< a failed group tries again by itself
    milliseconds release_window{10000};  ///< clients are told to move spread over this time
    std::uint32_t automatic_moves = 2;   ///< per node and hour
    seconds resume_window{300};
    bool automatic_fallback = true;
};

/// How fast clients come in at a node that took over another one (docs/redundancy-groups.md, "After a loss").
struct AdmissionConfig {
    std::uint32_t resumptions = 500;  ///< a second; as many at once
    std::uint32_t logins = 100;
    seconds wait{30};         ///< a stream waits at most so long
    seconds after_loss{600};  ///< … of a node, this holds
};

/// How accounts are kept spread over the nodes (docs/assignment.md).
struct AssignmentConfig {
    bool rebalances_itself = false;         ///< `rebalance = "auto"`
    std::uint32_t difference = 20;          ///< percent of capacity between most and least loaded node …
    seconds after{900};                     ///< … for so long start a run
    std::uint32_t percent = 5;              ///< of all accounts a run by itself moves at most
    std::uint32_t rate = 10;                ///< accounts a second of a run by itself
    int window_from = 0, window_to = 1440;  ///< maintenance window, minutes of the day (UTC)
    seconds warning_after{600};             ///< 80 % of a capacity for so long is an alarm
    std::uint32_t max_users = 75000;        ///< of the cluster, whatever its nodes could carry
    milliseconds look{10000};               ///< how often loads are looked at
};

/// Whom a redundancy group is for: people of a site, or of a group of the directory (docs/assignment.md).
struct PlacementRule {
    std::string site;             ///< one of the two is given
    std::string directory_group;  ///< a distinguished name
    std::string group;            ///< the redundancy group
};

struct AgreementConfig {
    std::string name;
    std::string type = "generic";  ///< openldap | generic
    std::vector<std::string> hosts;
    std::string tls = "starttls";  ///< ldaps | starttls | none
    std::string ca;
    std::string bind_dn;
    std::string password_file;
    std::string base;
    std::string filter = "(objectClass=inetOrgPerson)";
    std::string host;  ///< XMPP host of its users
    std::string uid_attribute = "uid";
    std::string site_attribute = "l";  ///< what placement rules call the site of a person
    std::uint32_t page_size = 500;
};

struct SyncConfig {
    seconds incremental{300};
    seconds full{86400};
    seconds grace{86400};        ///< missing → deactivated
    seconds disabled_grace{60};  ///< disabled: sessions are closed after this
    double removal_percent = 5.0;
    std::uint32_t removal_min = 10;
    std::uint32_t removal_max = 500;
    seconds lease{15};
};

/// One cluster's configuration, the same file on each node (DESIGN: one file, unknown keys are errors).
struct Config {
    std::string file;  ///< empty: the embedded default
    // [cluster]
    std::string id = "hexad";
    std::string profile = "lan";  ///< lan | wan | lab
    std::string durability = "strict";
    std::string assignment = "balanced";
    std::uint16_t peer_port = 5270;
    TlsFiles peer_tls;
    HaTimers timers;
    AssignmentConfig placing;
    bool high_availability = true;

    std::vector<HostConfig> hosts;
    std::vector<GroupConfig> groups;
    std::vector<PlacementRule> placement;  ///< in order: the first that fits holds
    std::string redis_url, redis_password_file;
    std::string store_url;  ///< sqlite:///path or postgresql://…
    std::vector<AgreementConfig> agreements;
    SyncConfig sync;
    // [c2s]
    std::uint16_t c2s_port = 5222, c2s_tls_port = 5223;
    std::size_t max_stanza = 262144;
    seconds authenticate_timeout{30};
    seconds idle{900};
    seconds write_stall{60};
    std::size_t max_connections = 0;  ///< 0 = what the descriptor limit allows
    bool redirect = false;            ///< `landing`: a client is sent to the group that serves its account
    AdmissionConfig admission;
    // [http]
    std::uint16_t http_port = 5443;
    std::string files;
    std::uint64_t max_upload = 100ull << 20;
    std::uint64_t daily_quota = 1ull << 30;  ///< bytes an account may upload a day; 0 = no limit
    double retention_days = 30;              ///< age at which a file is removed; 0 = never
    // [admin]
    std::uint16_t admin_port = 5280;
    std::string token_file;
    // [log]
    std::string log_level = "info", log_file;
    // [module.archive]
    bool archives_accounts = true;  ///< `enabled`: rooms have archives of their own, which owners switch
    std::uint32_t archive_page_limit = 250;

    bool is_cluster() const { return !redis_url.empty(); }
    const NodeConfig* node(const std::string& name) const;
    const GroupConfig* group_of(const std::string& node) const;
    const std::string& assignment_of(const GroupConfig& group) const {
        return group.assignment.empty() ? assignment : group.assignment;
    }
    /// SHA-256 over the file, hex: nodes publish it, a difference is an alarm.
    std::string hash;
};

/// Reads and checks a file. Throws ConfigError with every fault found, one per line.
Config load_config(const std::string& file);
/// The server without a configuration: one node, SQLite in `data`, loopback.
Config embedded_config(const std::string& host, const std::string& address);

}  // namespace hexad
