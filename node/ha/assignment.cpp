// What every look finds: loads, the unassigned, what gets full; and what administrators do with one account.
#include "ha/assignment.hpp"

#include <boost/json.hpp>

#include "base/log.hpp"
#include "base/metrics.hpp"
#include "ha/json_fields.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

using Answer = AssignmentKeeper::Answer;

Answer fault(int status, const std::string& text) { return {status, json::object{{"error", text}}}; }
Answer no_store() { return fault(503, "the store does not answer; see the events store_down and store_up"); }

std::string listed(const std::vector<std::string>& names) {
    std::string out;
    for (const auto& name : names) out += (out.empty() ? "" : ", ") + name;
    return out;
}

/// Why accounts are not moved from or to a node; empty = they are.
std::string trouble_of(const json::object& node) {
    const auto name = text(node, "name");
    const auto state = text(node, "state");
    if (const auto* draining = node.if_contains("draining");
        draining != nullptr && draining->is_bool() && draining->as_bool())
        return name + " is draining";
    if (state == "normal" || state == "standalone") return {};
    return name + " is " + state;
}

}  // namespace

AssignmentKeeper::AssignmentKeeper(Parts parts)
    : io_(parts.io),
      config_(parts.config),
      rules_(parts.config.placement),
      node_(std::move(parts.node)),
      store_(parts.store),
      assignment_(parts.assignment),
      ha_(parts.ha),
      account_changed_(std::move(parts.account_changed)),
      timer_(io_),
      pace_(config_.placing.look) {
    register_metrics();
}

void AssignmentKeeper::stop() {
    stopping_ = true;
    timer_.cancel();
}

awaitable<void> AssignmentKeeper::pause(milliseconds time) {
    timer_.expires_after(time);
    co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
}

awaitable<void> AssignmentKeeper::run() {
    while (!stopping_) {
        const auto began = SteadyClock::now();
        co_await look_after();
        const auto next = began + pace_;
        if (driving_) co_await drive(next);
        const auto left = std::chrono::duration_cast<milliseconds>(next - SteadyClock::now());
        if (!stopping_ && left > milliseconds(0)) co_await pause(left);
    }
}

awaitable<std::optional<AssignmentKeeper::Seen>> AssignmentKeeper::look() {
    const auto began = SteadyClock::now();
    const auto loads = co_await assignment_.loads();
    // Every account was counted: with many of them that is a part of the store's time that must stay small.
    const auto took = std::chrono::duration_cast<milliseconds>(SteadyClock::now() - began);
    pace_ = std::clamp<milliseconds>(took * 30, config_.placing.look, config_.placing.look * 30);
    auto rooms = co_await store_.room_counts();
    if (!loads || !rooms) co_return std::nullopt;
    Assignments now{{}, ha_.is_high_availability_on() ? "on" : "off"};
    for (const auto& load : *loads) now.users[load.node] += load.users;
    Seen seen;
    seen.rooms = std::move(*rooms);
    seen.places = places_of(config_, now, *loads, rules_);
    for (const auto& node : co_await ha_.nodes(now.users)) {
        const auto name = text(node, "name");
        if (const auto* sessions = node.if_contains("sessions"); sessions != nullptr && sessions->is_int64())
            seen.sessions[name] = static_cast<std::uint64_t>(sessions->as_int64());
        if (auto why = trouble_of(node); !why.empty()) seen.trouble[name] = std::move(why);
    }
    co_return seen;
}

awaitable<void> AssignmentKeeper::look_after() {
    auto seen = co_await look();
    if (!seen || stopping_) co_return;
    if (const auto* own = seen->places.group_of(node_))
        ha_.set_overfull(too_full_for_one(*own, seen->sessions));
    seen_ = *seen;
    // Long enough that a look that takes its time keeps the job, short enough that another node has it soon.
    const auto held = co_await assignment_.hold_job("assignment", node_, pace_ * 5 / 2 + milliseconds(500));
    const bool had = in_charge_;
    in_charge_ = held && *held;
    if (in_charge_ != had) log_info("assignment_job", {{"node", node_}, {"in_charge", in_charge_}});
    if (!in_charge_) {
        // The next holder counts its own time.
        driving_.reset();
        high_.clear();
        uneven_.reset();
        told_unassigned_ = 0;
        co_return;
    }
    co_await place_unassigned(*seen);
    co_await finish_room_moves();
    warn(*seen);
    co_await find_run(*seen);
    if (!driving_) co_await start_by_itself(*seen);
}

/// They are given a home as soon as there is room: by a new node, a larger capacity, somebody who left.
awaitable<void> AssignmentKeeper::place_unassigned(const Seen& seen) {
    constexpr std::size_t at_once = 1000;
    if (!waiting_for_room(seen.places).somebody_fits) co_return;
    const auto moved = co_await assignment_.place_unassigned(at_once);
    if (!moved || moved->empty()) co_return;
    log_info("accounts_assigned", {{"count", moved->size()}});
    co_await announce(*moved);
}

void AssignmentKeeper::warn(const Seen& seen) {
    const auto now = SteadyClock::now();
    for (const auto& fill : fills(seen.places, seen.sessions)) {
        auto& alarm = high_[fill.what + ' ' + fill.measure];
        const auto change = alarm.look(fill.is_high(), now, config_.placing.warning_after);
        if (change == LastingAlarm::Change::none) continue;
        json::object fields{{"what", fill.what}, {"measure", fill.measure}, {"used", fill.used}};
        fields["capacity"] = fill.capacity;
        fields["percent"] = fill.percent();
        ha_.tell(change == LastingAlarm::Change::raised ? "CapacityWarning" : "CapacityNormal",
                 std::move(fields));
    }
    const auto waiting = waiting_for_room(seen.places);
    const auto count = waiting.users;
    if (count > told_unassigned_) {
        json::object fields{{"count", count}, {"capacity", seen.places.capacity()}};
        if (!waiting.groups.empty()) fields["groups"] = listed(waiting.groups);
        fields["do"] = "add a node, raise capacity, or remove accounts";
        ha_.tell("AssignmentExhausted", std::move(fields));
    } else if (count == 0 && told_unassigned_ > 0) {
        ha_.tell("AssignmentPossible", {});
    }
    told_unassigned_ = count;
}

void AssignmentKeeper::register_metrics() {
    auto& metrics = Metrics::instance();
    metrics.gauge("hexad_assignment_unassigned_users", "", "Accounts without a home node",
                  [this] { return seen_ ? double(seen_->places.unassigned) : 0.0; });
    metrics.gauge("hexad_assignment_misplaced_users", "",
                  "Accounts outside the group that a placement rule names",
                  [this] { return seen_ ? double(seen_->places.misplaced()) : 0.0; });
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) {
            metrics.gauge("hexad_assignment_users", "node=\"" + n.name + '"', "Accounts of a home node",
                          [this, name = n.name] {
                              const auto* place = seen_ ? seen_->places.group_of(name) : nullptr;
                              if (place == nullptr) return 0.0;
                              double users = 0;
                              for (const auto& one : place->nodes) {
                                  if (one.node == name) users = double(one.assigned);
                              }
                              return users;
                          });
            metrics.gauge("hexad_assignment_rooms", "node=\"" + n.name + '"', "Rooms of a home node",
                          [this, name = n.name] {
                              const auto it =
                                  seen_ ? seen_->rooms.find(name) : decltype(seen_->rooms.end()){};
                              return seen_ && it != seen_->rooms.end() ? double(it->second) : 0.0;
                          });
        }
        metrics.gauge("hexad_assignment_capacity_users", "group=\"" + group.name + '"',
                      "Accounts a redundancy group carries", [this, name = group.nodes.front().name] {
                          const auto* place = seen_ ? seen_->places.group_of(name) : nullptr;
                          return place == nullptr ? 0.0 : double(place->capacity());
                      });
    }
    metrics.gauge("hexad_assignment_warnings", "", "Capacities that are 80 % used for too long", [this] {
        double raised = 0;
        for (const auto& [what, alarm] : high_) raised += alarm.is_raised() ? 1 : 0;
        return raised;
    });
    metrics.gauge("hexad_assignment_in_charge", "", "1 on the node that looks after assignment",
                  [this] { return in_charge_ ? 1.0 : 0.0; });
}

// ---- one account, by an administrator ----

std::string AssignmentKeeper::unknown_node(const std::string& node) const {
    if (config_.node(node) != nullptr) return {};
    std::vector<std::string> known;
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) known.push_back(n.name);
    }
    return "there is no node \"" + node + "\"; the nodes are " + listed(known);
}

awaitable<Answer> AssignmentKeeper::command(json::object request) {
    const auto what = text(request, "command");
    const auto name = text(request, "jid");
    const auto jid = Jid::parse(name);
    if (!jid || jid->is_full() || jid->local().empty())
        co_return fault(400, "no account address: \"" + name + "\"; write name@host");
    if (what == "unpin") co_return co_await unpin(*jid);
    if (what != "assign" && what != "pin") co_return fault(400, "command is assign, pin or unpin");
    auto node = text(request, "node");
    if (auto why = unknown_node(node); !why.empty()) co_return fault(400, why);
    const auto* force = request.if_contains("force");
    const bool forced = force != nullptr && force->is_bool() && force->as_bool();
    co_return co_await set_home(*jid, std::move(node), what == "pin", forced);
}

awaitable<Answer> AssignmentKeeper::set_home(Jid jid, std::string node, bool pin, bool force) {
    const auto row = co_await store_.find_account(jid);
    if (!row) co_return no_store();
    if (!*row) co_return fault(404, "no such account: " + jid.to_string());
    const auto before = (*row)->home_node;
    if (const auto* rule = rules_.find((*row)->facts);
        rule != nullptr && !force && before != node && config_.group_of(node)->name != rule->group)
        co_return fault(409, jid.to_string() + ": the placement rule \"" + name_of(*rule) +
                                 "\" is for him (--force goes on)");
    AssignmentStore::SetHome wanted;
    wanted.account = (*row)->id;
    wanted.node = node;
    wanted.pin = pin;
    auto check = force ? RoomCheck() : room_check_of(config_);
    const auto refused = co_await assignment_.set_home(wanted, std::move(check));
    if (!refused) co_return no_store();
    if (!refused->empty()) {
        const bool is_pinned = refused->starts_with("it is pinned");
        co_return fault(409, jid.to_string() + ": " + *refused + (is_pinned ? "" : " (--force goes on)"));
    }
    std::uint64_t sent = 0;
    if (before != node) {
        const std::vector<AssignmentStore::Moved> moved{{jid, node}};
        sent = co_await announce(moved);
    }
    log_info(pin ? "account_pinned" : "account_assigned",
             {{"jid", jid.to_string()}, {"from", before}, {"to", node}, {"sessions", sent}});
    json::object out{
        {"jid", jid.to_string()}, {"home", node}, {"was", before.empty() ? "unassigned" : before}};
    out["pinned"] = pin;
    out["sessions_sent"] = sent;
    co_return Answer{200, std::move(out)};
}

awaitable<Answer> AssignmentKeeper::unpin(Jid jid) {
    const auto row = co_await store_.find_account(jid);
    if (!row) co_return no_store();
    if (!*row) co_return fault(404, "no such account: " + jid.to_string());
    const auto done = co_await assignment_.clear_pin((*row)->id);
    if (!done) co_return no_store();
    if (!*done) co_return fault(409, jid.to_string() + " is not pinned");
    log_info("account_unpinned", {{"jid", jid.to_string()}, {"home", (*row)->home_node}});
    co_return Answer{200,
                     json::object{{"jid", jid.to_string()}, {"home", (*row)->home_node}, {"pinned", false}}};
}

/// All nodes forget what they knew of the accounts; clients go to the new home. How many clients.
awaitable<std::uint64_t> AssignmentKeeper::announce(const std::vector<AssignmentStore::Moved>& moved) {
    std::map<std::string, std::vector<Jid>> by_home;
    for (const auto& one : moved) {
        account_changed_(one.account);
        by_home[one.to].push_back(one.account);
    }
    std::uint64_t sent = 0;
    for (auto& [home, accounts] : by_home) sent += co_await ha_.send_home(std::move(accounts), home);
    co_return sent;
}

}  // namespace hexad
