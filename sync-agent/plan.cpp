#include "sync-agent/plan.hpp"

#include <algorithm>

namespace hexad::sync {

namespace {

/// Who is there and what of it changed; fills `add`, `update`, `disable`. Returns the ids that were seen.
std::set<std::string> take_people(const Reading& reading, const std::map<std::string, Mirrored>& mirror,
                                  Plan& plan) {
    std::map<std::string, std::string> names;  // localpart → uuid of its owner
    for (const auto& [uuid, row] : mirror) names[row.localpart] = uuid;
    auto seen = reading.present;
    for (const auto& one : reading.skipped) seen.insert(one.uuid);
    for (const auto& person : reading.people) {
        seen.insert(person.uuid);
        const auto known = mirror.find(person.uuid);
        if (known == mirror.end()) {
            // Two entries, one address: the older owner keeps it.
            const auto [owner, fresh] = names.emplace(person.localpart, person.uuid);
            if (fresh) {
                plan.add.push_back(person);
            } else {
                plan.skipped.push_back(
                    {person.dn, "address " + person.localpart + " belongs to another entry", person.uuid});
            }
            continue;
        }
        const auto& row = known->second;
        const bool is_back = row.state == MirrorState::missing || row.state == MirrorState::deactivated ||
                             row.missed > 0 || (!person.disabled && row.state == MirrorState::disabled);
        if (person.disabled && row.state != MirrorState::disabled) {
            plan.disable.emplace_back(row, person);
        } else if (row.hash != person.hash || is_back) {
            plan.update.emplace_back(row, person);
        }
    }
    seen.erase("");
    return seen;
}

/// Who is seen no more; fills `miss` (those missing before) and `deactivate`, returns the newly missing.
std::vector<Mirrored> take_absent(const Reading& reading, const std::map<std::string, Mirrored>& mirror,
                                  const std::set<std::string>& seen, std::int64_t now,
                                  const SyncConfig& config, Plan& plan) {
    std::vector<Mirrored> newly;
    for (const auto& [uuid, row] : mirror) {
        const bool is_gone = reading.unmentioned_are_gone || reading.deleted.contains(uuid);
        if (!is_gone || seen.contains(uuid) || row.state == MirrorState::deactivated) continue;
        auto next = row;
        if (row.state != MirrorState::missing) {
            next.missed = reading.full ? 1 : 0;
            next.state = MirrorState::missing;
            next.missing_since = now;
            newly.push_back(next);
        } else if (reading.full) {  // time counts only while full reads succeed
            ++next.missed;
            const auto age = (now - row.missing_since) / 1000000;
            const bool is_over = next.missed >= 2 && age >= config.grace.count();
            if (is_over) next.state = MirrorState::deactivated;
            (is_over ? plan.deactivate : plan.miss).push_back(next);
        }
    }
    return newly;
}

/// The safety stop: why `out` people may not be taken out without a decision; empty if they may.
std::string reason_to_hold(std::size_t out, std::size_t found, const Reading& reading, std::size_t total,
                           const Past& past, const SyncConfig& config) {
    if (out == 0) return {};
    const auto percent = total == 0 ? 0.0 : 100.0 * static_cast<double>(out) / static_cast<double>(total);
    if (percent > config.removal_percent && out > config.removal_min)
        return std::to_string(out) + " of " + std::to_string(total) + " would be taken out";
    if (out > config.removal_max) return std::to_string(out) + " would be taken out at once";
    if (reading.unmentioned_are_gone && found * 2 < past.last_count)
        return "the read found " + std::to_string(found) + ", the last one " +
               std::to_string(past.last_count);
    if (reading.full && past.settings_changed)
        return "base, filter or name attribute changed, and " + std::to_string(out) + " would be taken out";
    return {};
}

/// Whom a decision is awaited about is not taken out bit by bit meanwhile: only a full read asks anew.
void keep_waiting(const Past& past, const std::map<std::string, Mirrored>& mirror,
                  std::vector<Mirrored>& newly, Plan& plan) {
    std::erase_if(newly, [&](const Mirrored& row) {
        if (!past.waiting.contains(row.uuid)) return false;
        plan.held_items.push_back({mirror.at(row.uuid), MirrorState::missing});
        return true;
    });
    std::erase_if(plan.disable, [&](const std::pair<Mirrored, Person>& item) {
        if (!past.waiting.contains(item.first.uuid)) return false;
        plan.held_items.push_back({item.first, MirrorState::disabled});
        return true;
    });
    if (!plan.held_items.empty()) plan.held = "they wait for a decision";
}

}  // namespace

Plan make_plan(const Reading& reading, const std::map<std::string, Mirrored>& mirror, const Past& past,
               std::int64_t now, const SyncConfig& config) {
    Plan plan;
    plan.skipped = reading.skipped;
    const auto seen = take_people(reading, mirror, plan);
    const bool is_sweeping = reading.full || reading.unmentioned_are_gone;
    plan.complete = reading.complete && (!is_sweeping || !seen.empty());
    std::vector<Mirrored> newly;
    if (plan.complete) newly = take_absent(reading, mirror, seen, now, config, plan);

    const auto total =
        static_cast<std::size_t>(std::count_if(mirror.begin(), mirror.end(), [](const auto& one) {
            return one.second.state == MirrorState::active || one.second.state == MirrorState::disabled;
        }));
    plan.held = reason_to_hold(newly.size() + plan.disable.size(), seen.size(), reading, total, past, config);
    if (plan.held.empty() && !(reading.full && plan.complete)) keep_waiting(past, mirror, newly, plan);
    if (plan.held.empty() || !plan.held_items.empty()) {
        plan.newly_missing = newly.size();
        plan.miss.insert(plan.miss.end(), newly.begin(), newly.end());
        return plan;
    }
    for (auto& row : newly) plan.held_items.push_back({mirror.at(row.uuid), MirrorState::missing});
    for (auto& [row, person] : plan.disable) plan.held_items.push_back({row, MirrorState::disabled});
    plan.disable.clear();
    plan.deactivate.clear();
    plan.miss.clear();
    return plan;
}

}  // namespace hexad::sync
