#include "sync-agent/agent.hpp"

#include <fstream>
#include <thread>

#include "base/log.hpp"
#include "base/text.hpp"
#include "ldap/connection.hpp"

namespace hexad::sync {

namespace {

ldap::DirectoryConfig directory_of(const AgreementConfig& agreement) {
    ldap::DirectoryConfig out;
    out.name = agreement.name;
    out.hosts = agreement.hosts;
    out.tls = agreement.tls == "ldaps"  ? ldap::Tls::ldaps
              : agreement.tls == "none" ? ldap::Tls::none
                                        : ldap::Tls::starttls;
    out.ca_file = agreement.ca;
    out.bind_dn = agreement.bind_dn;
    if (!agreement.password_file.empty()) {
        std::ifstream in(agreement.password_file);
        std::getline(in, out.password);
    }
    return out;
}

/// RFC 4517 §3.3.13 generalized time, UTC, to the second.
std::string generalized_time(Timestamp at) {
    std::string out;
    for (const char c : format_time_s(at)) {
        if (c >= '0' && c <= '9') out += c;
    }
    return out + 'Z';
}

}  // namespace

Agent::Agent(const Config& config, std::string holder)
    : config_(config), mirror_(config.store_url, std::move(holder)) {}

std::vector<Placement> Agent::places() {
    auto counts = mirror_.assigned();
    std::vector<Placement> out;
    for (const auto& group : config_.groups) {
        for (const auto& node : group.nodes) out.push_back({node.name, counts[node.name], node.capacity});
    }
    return out;
}

bool Agent::due(const AgreementConfig& agreement, bool& full) {
    const auto now = SteadyClock::now();
    const auto last = last_run_.find(agreement.name);
    const auto wait = pause_[agreement.name] > milliseconds(0)
                          ? pause_[agreement.name]
                          : std::chrono::duration_cast<milliseconds>(config_.sync.incremental);
    if (last != last_run_.end() && now - last->second < wait) return false;
    const auto state = mirror_.state(agreement.name);
    const auto settings = agreement.base + '\n' + agreement.filter + '\n' + agreement.uid_attribute;
    full = state.last_full == 0 || state.settings != settings ||
           now_micros() - state.last_full >= std::int64_t{config_.sync.full.count()} * 1000000;
    return true;
}

void Agent::run(const std::atomic<bool>& stop) {
    while (!stop) {
        try {
            if (mirror_.take_lease(config_.sync.lease)) {
                for (const auto& agreement : config_.agreements) {
                    bool full = false;
                    if (stop || !due(agreement, full)) continue;
                    run_agreement(agreement, full);
                    last_run_[agreement.name] = SteadyClock::now();
                }
            }
        } catch (const LeaseLost& e) {
            log_warn("sync_lease_lost", {{"error", e.what()}});
        } catch (const postgres::Failure& e) {
            log_warn("sync_store_failed", {{"error", e.what()}});
        }
        for (int i = 0; i < 10 && !stop; ++i) std::this_thread::sleep_for(milliseconds(100));
    }
    try {
        mirror_.release_lease();
    } catch (const std::exception& e) {
        log_warn("sync_lease_not_released", {{"error", e.what()}});
    }
}

void Agent::run_agreement(const AgreementConfig& agreement, bool full) {
    const auto started = now_micros();
    const auto directory = directory_of(agreement);
    log_info("sync_started", {{"agreement", agreement.name}, {"kind", full ? "full" : "incremental"}});
    auto state = mirror_.state(agreement.name);
    ldap::SearchRequest request;
    request.base = agreement.base;
    request.filter = agreement.filter;
    request.attributes = wanted_attributes(agreement);
    request.page_size = static_cast<int>(agreement.page_size);
    if (!full && !state.mark.empty())
        request.filter = "(&" + agreement.filter + "(modifyTimestamp>=" + state.mark + "))";

    // Hosts in order; the next one only when a host cannot be reached.
    std::vector<Person> people;
    Plan plan;
    ldap::ReadSummary summary;
    bool reached = false;
    const auto mark = generalized_time(wall_now() - std::chrono::minutes(5));
    for (const auto& host : directory.hosts) {
        auto connection = ldap::LdapConnection::open(directory, host);
        if (!connection) {
            log_warn(
                "directory_host_down",
                {{"agreement", agreement.name}, {"host", host}, {"error", connection.error().to_string()}});
            continue;
        }
        if (const auto bound = connection->bind_service(directory); !bound) {
            log_error("bind_refused",
                      {{"agreement", agreement.name}, {"host", host}, {"error", bound.error().to_string()}});
            if (bound.error().is_transport()) continue;
            break;  // a wrong secret is not tried elsewhere: that would lock the account
        }
        people.clear();
        plan.skipped.clear();
        summary = connection->search(request, [&](ldap::Entry entry) {
            Person person;
            Skipped skipped;
            if (map_entry(agreement, entry, person, skipped)) {
                people.push_back(std::move(person));
            } else {
                plan.skipped.push_back(std::move(skipped));
            }
        });
        reached = true;
        break;
    }
    if (!reached) {
        auto& pause = pause_[agreement.name];
        pause = std::min(std::max(pause * 2, milliseconds(30000)), milliseconds(600000));
        log_warn("directory_down",
                 {{"agreement", agreement.name}, {"retry_s", std::int64_t{pause.count() / 1000}}});
        return;
    }
    pause_[agreement.name] = milliseconds(0);
    const bool complete = summary.complete();
    const auto skipped_entries = plan.skipped;
    plan = make_plan(people, mirror_.load(agreement.name), full,
                     complete && skipped_entries.size() * 2 <= people.size() + 1, state.last_count,
                     now_micros(), config_.sync);
    plan.skipped.insert(plan.skipped.begin(), skipped_entries.begin(), skipped_entries.end());
    if (!mirror_.take_lease(config_.sync.lease)) throw LeaseLost();
    mirror_.apply(agreement, plan, places());
    std::string result = "applied";
    if (!complete)
        result = "incomplete";
    else if (full && people.empty())
        result = "empty";
    else if (!plan.held.empty())
        result = "held";
    if (complete && (!full || !people.empty())) {
        state.mark = mark;
        if (full) {
            state.last_full = started;
            state.last_count = people.size();
            state.settings = agreement.base + '\n' + agreement.filter + '\n' + agreement.uid_attribute;
        }
    }
    mirror_.finish(agreement.name, state, plan, full, people.size(), started, result);
    if (!plan.held.empty()) log_warn("sync_held", {{"agreement", agreement.name}, {"reason", plan.held}});
    if (!complete)
        log_warn("sync_incomplete",
                 {{"agreement", agreement.name},
                  {"error", summary.failure ? summary.failure->to_string() : "referrals"}});
    log_info("sync_finished", {{"agreement", agreement.name},
                               {"kind", full ? "full" : "incremental"},
                               {"result", result},
                               {"entries", static_cast<std::uint64_t>(people.size())},
                               {"added", static_cast<std::uint64_t>(plan.add.size())},
                               {"changed", static_cast<std::uint64_t>(plan.update.size())},
                               {"disabled", static_cast<std::uint64_t>(plan.disable.size())},
                               {"missing", static_cast<std::uint64_t>(plan.miss.size())},
                               {"deactivated", static_cast<std::uint64_t>(plan.deactivate.size())},
                               {"skipped", static_cast<std::uint64_t>(plan.skipped.size())}});
}

}  // namespace hexad::sync
