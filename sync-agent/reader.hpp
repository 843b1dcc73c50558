#pragma once

#include <map>
#include <optional>
#include <string>

#include <boost/json.hpp>

#include "ldap/connection.hpp"
#include "sync-agent/plan.hpp"
#include "sync-agent/records.hpp"

namespace hexad::sync {

/// Reads directories, never writes them. Hosts are tried in order, the next one only when one cannot be
/// reached. A service account that was refused twice is left alone until its secret changes or an
/// administrator asks (`insist`): retries would lock it.
class Reader {
public:
    explicit Reader(PlacementRules rules) : rules_(std::move(rules)) {}

    struct Answer {
        std::optional<Reading> reading;  ///< nothing: nobody could be asked, `error` says why
        std::string error;
        std::string capabilities;
    };
    /// Everything page by page (`full`), or what changed since the state: by content synchronisation if the
    /// directory offers it and knows the cookie still, else by modifyTimestamp. A lost cookie leads to a full
    /// read.
    Answer read(const AgreementConfig& agreement, const State& state, bool full);
    /// What an administrator wants to know before trusting an agreement: hosts, bind, count, first entries.
    boost::json::object test(const AgreementConfig& agreement);
    /// Forgets refusals.
    void insist(const AgreementConfig& agreement) { refused_.erase(agreement.name); }

private:
    struct Refused {
        std::string secret;
        int count = 0;
    };
    std::optional<ldap::LdapConnection> connect(const AgreementConfig& agreement, std::string& error);
    PlacementRules rules_;
    std::map<std::string, Refused> refused_;
};

}  // namespace hexad::sync
