#include "sync-agent/plan.hpp"

#include <set>

namespace hexad::sync {

Plan make_plan(const std::vector<Person>& people, const std::map<std::string, Mirrored>& mirror, bool full,
               bool complete, std::size_t last_count, std::int64_t now, const SyncConfig& config) {
    Plan plan;
    plan.complete = complete && !people.empty();
    std::map<std::string, std::string> names;  // localpart → uuid of its owner
    for (const auto& [uuid, row] : mirror) names[row.localpart] = uuid;
    std::set<std::string> seen;
    for (const auto& person : people) {
        seen.insert(person.uuid);
        const auto known = mirror.find(person.uuid);
        if (known == mirror.end()) {
            // Two entries, one address: the older owner keeps it.
            const auto [owner, fresh] = names.emplace(person.localpart, person.uuid);
            if (!fresh) {
                plan.skipped.push_back(
                    {person.dn, "address " + person.localpart + " belongs to another entry"});
                continue;
            }
            plan.add.push_back(person);
        } else if (person.disabled && known->second.state != MirrorState::disabled) {
            plan.disable.emplace_back(known->second, person);
        } else if (known->second.hash != person.hash || known->second.state == MirrorState::missing ||
                   known->second.state == MirrorState::deactivated || known->second.missed > 0 ||
                   (!person.disabled && known->second.state == MirrorState::disabled)) {
            plan.update.emplace_back(known->second, person);
        }
    }
    std::vector<Mirrored> newly_missing;
    if (full && plan.complete) {
        for (const auto& [uuid, row] : mirror) {
            if (seen.contains(uuid) || row.state == MirrorState::deactivated) continue;
            auto next = row;
            ++next.missed;
            if (row.state != MirrorState::missing) {
                next.state = MirrorState::missing;
                next.missing_since = now;
                newly_missing.push_back(next);
                continue;
            }
            const auto age = (now - row.missing_since) / 1000000;
            if (next.missed >= 2 && age >= config.grace.count()) {
                next.state = MirrorState::deactivated;
                plan.deactivate.push_back(next);
            } else {
                plan.miss.push_back(next);
            }
        }
    }
    // The safety stop counts who would be taken out by this run.
    const auto out = newly_missing.size() + plan.disable.size();
    const auto total = mirror.size();
    const auto percent = total == 0 ? 0.0 : 100.0 * static_cast<double>(out) / static_cast<double>(total);
    if (percent > config.removal_percent && out > config.removal_min) {
        plan.held = std::to_string(out) + " of " + std::to_string(total) + " would be taken out";
    } else if (out > config.removal_max) {
        plan.held = std::to_string(out) + " would be taken out at once";
    } else if (full && out > 0 && last_count > 0 && people.size() * 2 < last_count) {
        plan.held = "the read found " + std::to_string(people.size()) + ", the last one " +
                    std::to_string(last_count);
    }
    if (!plan.held.empty()) {
        for (const auto& row : newly_missing) plan.held_users.push_back(row.localpart);
        for (const auto& [row, person] : plan.disable) plan.held_users.push_back(row.localpart);
        plan.disable.clear();
        plan.deactivate.clear();
        plan.miss.clear();
    } else {
        plan.miss.insert(plan.miss.end(), newly_missing.begin(), newly_missing.end());
    }
    return plan;
}

}  // namespace hexad::sync
