#include "sync-agent/agent.hpp"

#include <thread>

#include "base/log.hpp"
#include "placement/placement.hpp"

namespace hexad::sync {

namespace json = boost::json;

namespace {

constexpr std::int64_t second = 1000000;  ///< microseconds
constexpr std::int64_t request_lives = 600 * second;
constexpr std::size_t max_listed = 200;

template <class Items, class Show>
json::array listed(const Items& items, Show show) {
    json::array out;
    for (const auto& item : items) {
        if (out.size() == max_listed) break;
        out.push_back(show(item));
    }
    return out;
}

}  // namespace

Agent::Agent(const Config& config, const std::string& holder)
    : config_(config),
      store_(config.store_url, holder),
      mirror_(store_),
      records_(store_, mirror_),
      rules_(config.placement),
      reader_(rules_),
      lease_(config.store_url, holder, config.sync.lease) {}

bool Agent::due(const AgreementConfig& agreement, bool& full) {
    const auto now = SteadyClock::now();
    const auto last = last_run_.find(agreement.name);
    const auto wait = pause_[agreement.name] > milliseconds(0)
                          ? pause_[agreement.name]
                          : std::chrono::duration_cast<milliseconds>(config_.sync.incremental);
    if (last != last_run_.end() && now - last->second < wait) return false;
    const auto state = records_.state(agreement.name);
    full = state.last_full == 0 || state.settings != settings_of(agreement, rules_) ||
           now_micros() - state.last_full >= std::int64_t{config_.sync.full.count()} * second;
    return true;
}

void Agent::run(const std::atomic<bool>& stop) {
    while (!stop) {
        try {
            if (const auto epoch = lease_.epoch(); epoch > 0) {
                store_.hold(epoch);
                for (const auto& request : records_.open_requests()) {
                    if (!stop) serve(request);
                }
                for (const auto& agreement : config_.agreements) {
                    bool full = false;
                    if (!stop && due(agreement, full)) run_agreement(agreement, full);
                }
            }
        } catch (const LeaseLost& e) {
            log_warn("sync_run_given_up", {{"error", e.what()}});
        } catch (const postgres::Failure& e) {
            log_warn("sync_store_failed", {{"error", e.what()}});
        }
        for (int i = 0; i < 3 && !stop; ++i) std::this_thread::sleep_for(milliseconds(100));
    }
}

std::optional<Agent::Prepared> Agent::prepare(const AgreementConfig& agreement, bool full,
                                              std::string& error) {
    Prepared out;
    out.state = records_.state(agreement.name);
    auto answer = reader_.read(agreement, out.state, full);
    if (!answer.reading) {
        error = answer.error;
        return std::nullopt;
    }
    out.reading = std::move(*answer.reading);
    out.capabilities = std::move(answer.capabilities);
    Past past;
    past.last_count = out.state.last_count;
    past.settings_changed = !out.state.accepted.empty() && !finds_the_same(out.state.accepted, agreement);
    past.waiting = records_.waiting(agreement.name);
    out.plan = make_plan(out.reading, mirror_.load(agreement.name), past, now_micros(), config_.sync);
    return out;
}

Run Agent::run_agreement(const AgreementConfig& agreement, bool full) {
    Run run;
    run.agreement = agreement.name;
    run.kind = full ? "full" : "incremental";
    run.started = now_micros();
    log_info("sync_started", {{"agreement", agreement.name}, {"kind", run.kind}});
    last_run_[agreement.name] = SteadyClock::now();

    // The time without any good read counts for nobody's absence.
    const auto before = records_.state(agreement.name);
    const auto silence = run.started - before.last_good;
    const auto usual = std::int64_t{config_.sync.incremental.count()} * second;

    std::string error;
    auto prepared = prepare(agreement, full, error);
    if (!prepared) {
        auto& pause = pause_[agreement.name];
        pause = std::min(std::max(pause * 2, milliseconds(30000)), milliseconds(600000));
        run.result = "failed";
        run.reason = error;
        log_warn("directory_down", {{"agreement", agreement.name},
                                    {"error", error},
                                    {"retry_s", std::int64_t{pause.count() / 1000}}});
        records_.finish(run, std::nullopt, {}, {});
        return run;
    }
    pause_[agreement.name] = milliseconds(0);
    auto& [state, reading, plan, capabilities] = *prepared;
    if (reading.complete && before.last_good > 0 && silence > 2 * usual + 10 * second) {
        mirror_.stop_clocks(agreement.name, silence - usual);
        for (auto* rows : {&plan.miss, &plan.deactivate}) {
            for (auto& row : *rows) {
                // Planned on the old clocks: this run only counts one read more.
                if (row.missing_since < run.started) row.missing_since += silence - usual;
            }
        }
        for (auto& row : plan.deactivate) {
            row.state = MirrorState::missing;
            plan.miss.push_back(row);
        }
        plan.deactivate.clear();
    }
    const auto applied = mirror_.apply(agreement, plan, placer_of(config_));

    run.kind = reading.full ? "full" : "incremental";
    run.reader = reading.reader;
    run.entries = reading.people.size();
    run.added = applied.added;
    run.changed = plan.update.size();
    run.disabled = plan.disable.size();
    run.missing = plan.newly_missing;
    run.deactivated = plan.deactivate.size();
    run.held = plan.held_items.size();
    run.skipped = plan.skipped;
    run.skipped.insert(run.skipped.end(), applied.skipped.begin(), applied.skipped.end());
    run.result = !reading.complete    ? "incomplete"
                 : !plan.complete     ? "empty"
                 : !plan.held.empty() ? "held"
                                      : "applied";
    run.reason = !reading.complete ? reading.fault
                 : !plan.complete  ? "nobody was found, so nobody is removed"
                                   : plan.held;
    if (plan.complete) {
        state.mark = reading.mark;
        state.cookie = reading.cookie;
        state.last_good = run.started;
        state.capabilities = capabilities;
        if (reading.full) {
            state.last_full = run.started;
            state.settings = settings_of(agreement, rules_);
            if (plan.held.empty()) {
                state.last_count = reading.people.size();
                state.accepted = state.settings;
            }
        }
    }
    records_.finish(run, state, plan, reading);
    if (!plan.held.empty())
        log_warn("sync_held", {{"agreement", agreement.name}, {"run", run.held_run}, {"reason", plan.held}});
    if (!reading.complete)
        log_warn("sync_incomplete", {{"agreement", agreement.name}, {"error", reading.fault}});
    log_info("sync_finished", {{"agreement", agreement.name},
                               {"kind", run.kind},
                               {"reader", run.reader},
                               {"result", run.result},
                               {"entries", static_cast<std::uint64_t>(run.entries)},
                               {"added", static_cast<std::uint64_t>(run.added)},
                               {"changed", static_cast<std::uint64_t>(run.changed)},
                               {"disabled", static_cast<std::uint64_t>(run.disabled)},
                               {"missing", static_cast<std::uint64_t>(run.missing)},
                               {"deactivated", static_cast<std::uint64_t>(run.deactivated)},
                               {"held", static_cast<std::uint64_t>(run.held)},
                               {"skipped", static_cast<std::uint64_t>(run.skipped.size())}});
    return run;
}

json::object Agent::plan_of(const AgreementConfig& agreement, int& status) {
    std::string error;
    const auto prepared = prepare(agreement, true, error);
    if (!prepared) {
        status = 503;
        return {{"agreement", agreement.name}, {"error", error}};
    }
    const auto& plan = prepared->plan;
    const auto name = [](const auto& row) { return json::value(row.localpart); };
    const auto first = [](const auto& item) { return json::value(item.first.localpart); };
    json::array out;
    for (const auto& item : plan.held_items)
        if (out.size() < max_listed) out.push_back(json::value(item.row.localpart));
    return {{"agreement", agreement.name},
            {"complete", prepared->reading.complete ? "yes" : prepared->reading.fault},
            {"read", prepared->reading.people.size()},
            {"add", plan.add.size()},
            {"change", plan.update.size()},
            {"disable", plan.disable.size()},
            {"missing", plan.newly_missing},
            {"deactivate", plan.deactivate.size()},
            {"hold", plan.held_items.size()},
            {"reason", plan.held},
            {"would_add", listed(plan.add, name)},
            {"would_change", listed(plan.update, first)},
            {"would_disable", listed(plan.disable, first)},
            {"would_miss", listed(plan.miss, name)},
            {"would_deactivate", listed(plan.deactivate, name)},
            {"would_hold", out},
            {"skipped", listed(plan.skipped, [](const Skipped& one) {
                 return json::value(json::object{{"dn", one.dn}, {"reason", one.reason}});
             })}};
}

void Agent::serve(const Request& request) {
    log_info("sync_request",
             {{"kind", request.kind}, {"agreement", request.agreement}, {"run", request.run}});
    if (now_micros() - request.asked > request_lives)
        return records_.answer(request, 410, json::object{{"error", "asked too long ago"}});
    if (request.kind == "approve" || request.kind == "reject")
        return records_.decide(request, config_.agreements);
    json::array out;
    int status = 200;
    for (const auto& agreement : config_.agreements) {
        if (!request.agreement.empty() && request.agreement != agreement.name) continue;
        reader_.insist(agreement);
        if (request.kind == "test") {
            out.push_back(reader_.test(agreement));
        } else if (request.kind == "plan") {
            out.push_back(plan_of(agreement, status));
        } else {
            out.push_back(to_json(run_agreement(agreement, request.kind == "full")));
        }
    }
    if (out.empty())
        return records_.answer(request, 404,
                               json::object{{"error", "there is no agreement " + request.agreement}});
    records_.answer(request, status, out);
}

}  // namespace hexad::sync
