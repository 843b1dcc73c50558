#include "sync-agent/reader.hpp"

#include "base/log.hpp"
#include "base/text.hpp"
#include "ldap/agreement.hpp"

namespace hexad::sync {

namespace json = boost::json;

namespace {

constexpr int max_refusals = 2;

/// RFC 4517 §3.3.13 generalized time, UTC, to the second.
std::string generalized_time(Timestamp at) {
    std::string out;
    for (const char c : format_time_s(at)) {
        if (c >= '0' && c <= '9') out += c;
    }
    return out + 'Z';
}

std::optional<std::string> hex_decode(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    std::string out;
    const auto digit = [](char c) {
        return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    for (std::size_t at = 0; at < text.size(); at += 2) {
        const int high = digit(text[at]), low = digit(text[at + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        out += static_cast<char>(high * 16 + low);
    }
    return out;
}

/// What is read, and for whom.
struct Source {
    const AgreementConfig& agreement;
    const PlacementRules& rules;
};

void take_entry(const Source& source, const ldap::Entry& entry, Reading& reading) {
    Person person;
    Skipped skipped;
    if (map_entry(source.agreement, source.rules, entry, person, skipped)) {
        if (!skipped.reason.empty()) reading.skipped.push_back(std::move(skipped));
        reading.people.push_back(std::move(person));
    } else {
        reading.skipped.push_back(std::move(skipped));
    }
}

/// What a summary says of completeness.
void conclude(const ldap::ReadSummary& summary, Reading& reading) {
    reading.complete = summary.complete();
    if (summary.failure)
        reading.fault = summary.failure->to_string();
    else if (!summary.referrals.empty())
        reading.fault = "parts are elsewhere: " + summary.referrals.front();
    // More entries that cannot be mapped than ones that can: that is a wrong mapping, not a directory. What
    // changed lately is no sample of it.
    if (reading.full && reading.complete && reading.skipped.size() > reading.people.size() + 1) {
        reading.complete = false;
        reading.fault = std::to_string(reading.skipped.size()) + " entries cannot be mapped";
    }
}

ldap::SearchRequest request_of(const Source& source) {
    const auto& agreement = source.agreement;
    ldap::SearchRequest request;
    request.base = agreement.base;
    request.filter = agreement.filter;
    request.attributes = wanted_attributes(agreement, source.rules);
    request.page_size = static_cast<int>(agreement.page_size);
    return request;
}

/// A cookie from before a full read: what changes during the read is told again afterwards. Empty if there
/// is none to be had.
std::string fresh_cookie(ldap::LdapConnection& connection, const Source& source, const std::string& known) {
    auto request = request_of(source);
    request.attributes = {"1.1"};
    const ldap::SyncHandlers ignore{[](std::string, ldap::Entry) {}, [](const std::string&) {},
                                    [](const std::string&) {}};
    auto summary = connection.refresh(request, known, ignore);
    if (summary.read.failure && !known.empty()) summary = connection.refresh(request, {}, ignore);
    if (summary.read.failure) {
        log_info("sync_no_cookie",
                 {{"agreement", source.agreement.name}, {"error", summary.read.failure->to_string()}});
        return {};
    }
    return summary.cookie;
}

Reading read_full(ldap::LdapConnection& connection, const Source& source, std::string cookie) {
    Reading reading;
    reading.full = true;
    reading.reader = "paged";
    reading.cookie = std::move(cookie);
    const auto summary = connection.search(
        request_of(source), [&](const ldap::Entry& entry) { take_entry(source, entry, reading); });
    conclude(summary, reading);
    reading.unmentioned_are_gone = reading.complete;
    return reading;
}

Reading read_changed(ldap::LdapConnection& connection, const Source& source, const std::string& mark) {
    Reading reading;
    reading.reader = "modifyTimestamp";
    auto request = request_of(source);
    request.filter = "(&" + source.agreement.filter + "(modifyTimestamp>=" + mark + "))";
    const auto summary =
        connection.search(request, [&](const ldap::Entry& entry) { take_entry(source, entry, reading); });
    conclude(summary, reading);
    return reading;
}

/// Nothing if another way is needed: `lost` then says whether the cookie is of no more use.
std::optional<Reading> read_synced(ldap::LdapConnection& connection, const Source& source,
                                   const std::string& cookie, bool& lost) {
    Reading reading;
    reading.reader = "syncrepl";
    const ldap::SyncHandlers handlers{
        [&](const std::string&, const ldap::Entry& entry) { take_entry(source, entry, reading); },
        [&](const std::string& uuid) { reading.present.insert(hex_encode(uuid)); },
        [&](const std::string& uuid) { reading.deleted.insert(hex_encode(uuid)); }};
    const auto summary = connection.refresh(request_of(source), cookie, handlers);
    if (summary.read.failure && !summary.read.failure->is_transport()) {
        lost = summary.refresh_required;
        log_info("sync_cookie_refused", {{"agreement", source.agreement.name},
                                         {"lost", lost},
                                         {"error", summary.read.failure->to_string()}});
        return std::nullopt;
    }
    conclude(summary.read, reading);
    reading.unmentioned_are_gone = reading.complete && summary.unmentioned_are_gone;
    reading.cookie = hex_encode(summary.cookie);
    return reading;
}

std::string capabilities_of(const ldap::Capabilities& known) {
    std::string out;
    const auto add = [&out](bool is_there, std::string_view name) {
        if (is_there) (out += out.empty() ? "" : " ") += name;
    };
    add(known.paged_results(), "paged");
    add(known.content_sync(), "syncrepl");
    add(known.password_policy(), "password-policy");
    add(known.start_tls(), "starttls");
    return out;
}

}  // namespace

std::optional<ldap::LdapConnection> Reader::connect(const AgreementConfig& agreement, std::string& error) {
    const auto directory = ldap::directory_of(agreement);
    auto& refused = refused_[agreement.name];
    if (refused.secret != directory.password) refused = {directory.password, 0};
    if (refused.count >= max_refusals) {
        error = "the service account was refused " + std::to_string(refused.count) + " times: mend " +
                agreement.password_file + " or ask with hexactl sync test";
        return std::nullopt;
    }
    for (const auto& host : directory.hosts) {
        auto connection = ldap::LdapConnection::open(directory, host);
        if (!connection) {
            error = host + ": " + connection.error().to_string();
            log_warn("directory_host_down", {{"agreement", agreement.name}, {"error", error}});
            continue;
        }
        if (const auto bound = connection->bind_service(directory); !bound) {
            error = host + ": " + bound.error().to_string();
            if (bound.error().is_transport()) {
                log_warn("directory_host_down", {{"agreement", agreement.name}, {"error", error}});
                continue;
            }
            ++refused.count;
            log_error("bind_refused", {{"agreement", agreement.name},
                                       {"bind_dn", directory.bind_dn},
                                       {"error", error},
                                       {"attempt", refused.count}});
            return std::nullopt;  // a wrong secret is not tried elsewhere: that would lock the account
        }
        refused.count = 0;
        return std::move(*connection);
    }
    return std::nullopt;
}

Reader::Answer Reader::read(const AgreementConfig& agreement, const State& state, bool full) {
    Answer answer;
    auto connection = connect(agreement, answer.error);
    if (!connection) return answer;
    const Source source{agreement, rules_};
    const auto dse = connection->root_dse();
    if (dse) answer.capabilities = capabilities_of(*dse);
    const bool can_sync = agreement.type == "openldap" && dse && dse->content_sync();
    const auto mark = generalized_time(wall_now() - std::chrono::minutes(5));
    auto cookie = can_sync ? hex_decode(state.cookie).value_or("") : std::string();

    std::optional<Reading> reading;
    if (!full && !cookie.empty()) {
        bool is_lost = false;
        reading = read_synced(*connection, source, cookie, is_lost);
        if (!reading) cookie.clear();
        full = is_lost;
    }
    if (!reading && !full && !state.mark.empty()) reading = read_changed(*connection, source, state.mark);
    if (!reading) {
        if (can_sync) cookie = hex_encode(fresh_cookie(*connection, source, cookie));
        reading = read_full(*connection, source, cookie);
    }
    reading->mark = mark;
    answer.reading = std::move(reading);
    return answer;
}

json::object Reader::test(const AgreementConfig& agreement) {
    insist(agreement);
    json::object out{{"agreement", agreement.name}};
    json::array hosts;
    const auto directory = ldap::directory_of(agreement);
    for (const auto& host : directory.hosts) {
        auto connection = ldap::LdapConnection::open(directory, host);
        hosts.push_back(json::object{
            {"host", host}, {"answer", connection ? std::string("up") : connection.error().to_string()}});
    }
    out["hosts"] = hosts;
    std::string error;
    auto connection = connect(agreement, error);
    out["bind"] = connection ? "good" : error;
    if (!connection) return out;
    if (const auto dse = connection->root_dse()) out["capabilities"] = capabilities_of(*dse);
    const auto reading = read_full(*connection, {agreement, rules_}, {});
    out["complete"] = reading.complete ? "yes" : reading.fault;
    out["people"] = reading.people.size();
    out["skipped"] = reading.skipped.size();
    json::array first;
    for (std::size_t at = 0; at < std::min<std::size_t>(5, reading.people.size()); ++at) {
        const auto& person = reading.people[at];
        first.push_back(json::object{{"jid", person.localpart + '@' + agreement.host},
                                     {"dn", person.dn},
                                     {"state", person.disabled ? "disabled" : "active"},
                                     {"vcard", person.vcard.substr(0, 2000)}});
    }
    out["first"] = first;
    return out;
}

}  // namespace hexad::sync
