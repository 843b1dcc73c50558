// Rebalancing: planned, asked for or begun by itself, and driven by the node that holds the job.
#include <cmath>

#include <boost/json.hpp>

#include "base/log.hpp"
#include "base/text.hpp"
#include "ha/assignment.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

using Answer = AssignmentKeeper::Answer;

constexpr double most_a_second = 10000;
constexpr double least_a_second = 0.1;
/// A transaction moves no more than this: others wait for it.
constexpr std::uint64_t most_at_once = 500;
constexpr auto step_time = milliseconds(100);

Answer fault(int status, const std::string& text) { return {status, json::object{{"error", text}}}; }
Answer no_store() { return fault(503, "the store does not answer; see the events store_down and store_up"); }
std::int64_t count(std::uint64_t n) { return static_cast<std::int64_t>(n); }

/// Whole where it is, so that it reads well.
json::value number(double rate) {
    const auto whole = std::llround(rate);
    return double(whole) == rate ? json::value(std::int64_t{whole}) : json::value(rate);
}

/// What stands in the way: trouble of the nodes that a plan names.
std::string obstacle(const std::vector<Flow>& flows, const std::map<std::string, std::string>& trouble) {
    for (const auto& flow : flows) {
        for (const auto& node : {flow.from, flow.to}) {
            if (const auto found = trouble.find(node); found != trouble.end()) return found->second;
        }
    }
    return {};
}

std::vector<Flow> flows_of(const RebalanceRun& run) {
    std::vector<Flow> out;
    for (const auto& flow : run.flows) {
        const auto what = flow.what == name_of(Homed::rooms) ? Homed::rooms : Homed::users;
        out.push_back({flow.from, flow.to, flow.planned, flow.group, {}, what});
    }
    return out;
}

/// Users first: there are more of them.
RebalancePlan both(RebalancePlan users, const RebalancePlan& rooms) {
    users.flows.insert(users.flows.end(), rooms.flows.begin(), rooms.flows.end());
    return users;
}

int minute_of_day() {
    const auto now = wall_now();
    const auto day = std::chrono::floor<std::chrono::days>(now);
    return static_cast<int>(std::chrono::duration_cast<std::chrono::minutes>(now - day).count());
}

const NodePlace* find(const Places& places, const std::string& node) {
    if (const auto* group = places.group_of(node)) {
        for (const auto& place : group->nodes) {
            if (place.node == node) return &place;
        }
    }
    for (const auto& place : places.strangers) {
        if (place.node == node) return &place;
    }
    return nullptr;
}

std::int64_t percent(const NodePlace& place) {
    return place.capacity == 0 ? 0 : count(100 * place.assigned / place.capacity);
}

std::uint64_t assigned_at(const Places& places, const std::string& node) {
    const auto* place = find(places, node);
    return place == nullptr ? 0 : place->assigned;
}

json::object node_row(const NodePlace& now, const GroupPlace* group, const Places& after) {
    const auto* then = find(after, now.node);
    json::object row{{"node", now.node}, {"group", group != nullptr ? group->name : "none"}};
    row["mode"] = group != nullptr ? std::string(name_of(group->mode)) : "not configured";
    row["capacity"] = count(now.capacity);
    row["users"] = count(now.assigned);
    row["percent"] = percent(now);
    row["pinned"] = count(now.pinned);
    row["after"] = count(then->assigned);
    row["percent_after"] = percent(*then);
    return row;
}

/// Why a plan moves them.
std::string reason_of(const Flow& flow, const Places& places) {
    if (!flow.rules.empty()) {
        std::string out = "placement rule ";
        for (const auto& rule : flow.rules) out += (&rule == &*flow.rules.begin() ? "" : ", ") + rule;
        return out;
    }
    const auto* group = places.group_of(flow.from);
    if (group == nullptr) return flow.from + " is not configured";
    return group->takes(*find(places, flow.from)) ? "even shares" : flow.from + " is a standby node";
}

json::object run_row(const RebalanceRun& run) {
    json::object row{{"run", run.id}, {"cause", run.cause}, {"state", run.state}};
    row["moved"] = count(run.moved());
    row["planned"] = count(run.planned());
    row["percent"] = run.planned() == 0 ? 100 : count(100 * run.moved() / run.planned());
    row["rate"] = number(run.rate);
    row["sessions_sent"] = count(run.sessions);
    row["started"] = format_time_s(run.started);
    row["ended"] = run.ended == Timestamp{} ? json::value(nullptr) : json::value(format_time_s(run.ended));
    row["reason"] = run.reason.empty() ? json::value(nullptr) : json::value(run.reason);
    json::array moves;
    for (const auto& flow : run.flows)
        moves.push_back(json::value(flow.from + "->" + flow.to + ' ' + std::to_string(flow.moved) + '/' +
                                    std::to_string(flow.planned) +
                                    (flow.what == name_of(Homed::rooms) ? " rooms" : "") +
                                    (flow.group.empty() ? "" : " placed in " + flow.group)));
    row["moves"] = std::move(moves);
    return row;
}

}  // namespace

// ---- what administrators ask ----

awaitable<Answer> AssignmentKeeper::plan() {
    const auto seen = co_await look();
    if (!seen) co_return no_store();
    const auto users = plan_rebalance(seen->places), rooms = plan_of_rooms(*seen);
    const auto rooms_now = room_places(seen->places, seen->rooms);
    const auto plan = both(users, rooms);
    json::array moves, nodes;
    for (const auto& flow : plan.flows) {
        const bool is_rooms = flow.what == Homed::rooms;
        moves.push_back(json::object{{"from", flow.from},
                                     {"to", flow.to},
                                     {"users", count(is_rooms ? 0 : flow.users)},
                                     {"rooms", count(is_rooms ? flow.users : 0)},
                                     {"reason", reason_of(flow, is_rooms ? rooms_now : seen->places)}});
    }
    const auto row = [&](const NodePlace& place, const GroupPlace* group) {
        auto out = node_row(place, group, users.after);
        out["rooms"] = count(assigned_at(rooms_now, place.node));
        out["rooms_after"] = count(assigned_at(rooms.after, place.node));
        nodes.push_back(std::move(out));
    };
    for (const auto& group : seen->places.groups) {
        for (const auto& place : group.nodes) row(place, &group);
    }
    for (const auto& place : seen->places.strangers) row(place, nullptr);
    const auto why = obstacle(plan.flows, seen->trouble);
    json::object out{{"users_to_move", count(users.moves())}, {"rooms_to_move", count(rooms.moves())}};
    out["unassigned"] = count(seen->places.unassigned);
    out["misplaced"] = count(seen->places.misplaced());
    out["could_start"] = plan.flows.empty() ? "nothing to move" : why.empty() ? "yes" : "no: " + why;
    out["moves"] = std::move(moves);
    out["nodes"] = std::move(nodes);
    co_return Answer{200, std::move(out)};
}

awaitable<Answer> AssignmentKeeper::rebalance(json::object request) {
    const auto* command = request.if_contains("command");
    const auto what = command != nullptr && command->is_string() ? std::string(command->as_string()) : "";
    if (what == "stop") co_return co_await stop_run();
    if (what != "apply") co_return fault(400, "command is apply or stop");
    const auto* rate = request.if_contains("rate");
    const bool is_number = rate != nullptr && rate->is_number();
    const auto wanted = is_number ? rate->to_number<double>() : 0.0;
    if (!(wanted >= least_a_second && wanted <= most_a_second))
        co_return fault(400, "rate is a number of moves a second from 0.1 to 10000, such as 20");
    co_return co_await apply(wanted);
}

awaitable<Answer> AssignmentKeeper::apply(double rate) {
    const auto seen = co_await look();
    if (!seen) co_return no_store();
    auto plan = both(plan_rebalance(seen->places), plan_of_rooms(*seen));
    if (plan.flows.empty())
        co_return Answer{200, json::object{{"run", nullptr}, {"planned", 0}, {"result", "nothing to move"}}};
    if (const auto why = obstacle(plan.flows, seen->trouble); !why.empty())
        co_return fault(409,
                        why + "; users and rooms are moved only between nodes that are normal or standalone");
    const auto planned = plan.moves();
    const auto run = co_await start("apply", std::move(plan), rate);
    if (run < 0) co_return no_store();
    if (run == 0)
        co_return fault(409, "a rebalancing runs already: hexactl rebalance status, hexactl rebalance stop");
    co_return Answer{202, json::object{{"run", run},
                                       {"planned", count(planned)},
                                       {"seconds", std::int64_t(std::ceil(double(planned) / rate))},
                                       {"see", "hexactl rebalance status"}}};
}

awaitable<Answer> AssignmentKeeper::status(std::size_t most) {
    const auto runs = co_await assignment_.runs(std::clamp<std::size_t>(most, 1, 1000));
    if (!runs) co_return no_store();
    json::array out;
    for (const auto& run : *runs) out.push_back(run_row(run));
    co_return Answer{200, std::move(out)};
}

awaitable<Answer> AssignmentKeeper::stop_run() {
    const auto runs = co_await assignment_.runs(1);
    if (!runs) co_return no_store();
    if (runs->empty() || runs->front().state != "running") co_return fault(409, "no rebalancing runs");
    const auto id = runs->front().id;
    const auto ended = co_await assignment_.end_run(id, "stopped", "by an administrator", 0);
    if (!ended) co_return no_store();
    ha_.tell("RebalanceFinished", {{"run", id}, {"state", "stopped"}, {"reason", "by an administrator"}});
    co_return Answer{200, json::object{{"run", id}, {"state", "stopped"}}};
}

// ---- starting ----

/// The run's number; 0 if another one runs, -1 if the store does not answer.
awaitable<std::int64_t> AssignmentKeeper::start(std::string cause, RebalancePlan plan, double rate) {
    RebalanceRun run;
    run.cause = std::move(cause);
    run.rate = rate;
    std::uint64_t rooms = 0;
    for (const auto& flow : plan.flows) {
        run.flows.push_back({flow.from, flow.to, flow.users, 0, flow.group, std::string(name_of(flow.what))});
        if (flow.what == Homed::rooms) rooms += flow.users;
    }
    const auto id = co_await assignment_.start_run(run);
    if (!id) co_return -1;
    if (*id > 0) {
        json::object fields{{"run", *id}, {"cause", run.cause}, {"users", count(plan.moves() - rooms)}};
        fields["rooms"] = count(rooms);
        fields["rate"] = number(rate);
        ha_.tell("RebalanceStarted", std::move(fields));
        timer_.cancel();
    }
    co_return *id;
}

awaitable<void> AssignmentKeeper::start_by_itself(const Seen& seen) {
    const auto& placing = config_.placing;
    const auto rooms_now = room_places(seen.places, seen.rooms);
    const bool is_uneven = imbalance(seen.places) > placing.difference ||
                           (ha_.rooms_move() && imbalance(rooms_now) > placing.difference);
    uneven_.look(is_uneven, SteadyClock::now(), placing.after);
    if (!placing.rebalances_itself || !uneven_.is_raised()) co_return;
    if (!is_in_window(minute_of_day(), placing.window_from, placing.window_to)) co_return;
    const auto most = std::max<std::uint64_t>(1, seen.places.assigned() * placing.percent / 100);
    // Whom a rule gives to another group only people send there.
    const auto most_rooms = std::max<std::uint64_t>(1, rooms_now.assigned() * placing.percent / 100);
    auto plan = both(plan_rebalance(seen.places, most, Misplaced::stay), plan_of_rooms(seen, most_rooms));
    if (plan.flows.empty() || !obstacle(plan.flows, seen.trouble).empty()) co_return;
    // The next one waits as long as this one has.
    uneven_.reset();
    co_await start("auto", std::move(plan), placing.rate);
}

// ---- driving ----

awaitable<void> AssignmentKeeper::find_run(const Seen& seen) {
    const auto runs = co_await assignment_.runs(1);
    if (!runs) co_return;
    if (runs->empty() || runs->front().state != "running") {
        driving_.reset();
        co_return;
    }
    if (!driving_ || driving_->run.id != runs->front().id) {
        driving_.emplace();
        driving_->dry.resize(runs->front().flows.size());
    }
    driving_->run = runs->front();
    if (const auto why = obstacle(flows_of(driving_->run), seen.trouble); !why.empty())
        co_await end("stopped", why);
}

/// Moves accounts as fast as the rate allows, until the run ends or it is time for the next look.
awaitable<void> AssignmentKeeper::drive(SteadyClock::time_point until) {
    while (driving_ && !stopping_) {
        auto& d = *driving_;
        const auto now = SteadyClock::now();
        d.credit += d.run.rate * std::chrono::duration<double>(now - d.credited).count();
        // What could not be moved in time is not made up for in one blow.
        d.credit = std::min(d.credit, std::max(1.0, d.run.rate));
        d.credited = now;
        std::size_t at = 0;
        while (at < d.run.flows.size() && (d.dry[at] || d.run.flows[at].moved >= d.run.flows[at].planned))
            ++at;
        if (at == d.run.flows.size()) {
            co_await end("done", "");
            co_return;
        }
        const auto& flow = d.run.flows[at];
        const auto allowed = std::min(static_cast<std::uint64_t>(d.credit), most_at_once);
        if (const auto some = std::min(allowed, flow.planned - flow.moved); some > 0)
            co_await move_some(at, some);
        if (now >= until) co_return;
        co_await pause(step_time);
    }
}

awaitable<void> AssignmentKeeper::move_some(std::size_t at, std::uint64_t some) {
    if (driving_->run.flows[at].what == name_of(Homed::rooms)) {
        co_await move_rooms(at, some);
        co_return;
    }
    const auto id = driving_->run.id;
    const auto flow = driving_->run.flows[at];
    AssignmentStore::MoveSome wanted;
    wanted.run = id;
    wanted.holder = node_;
    wanted.from = flow.from;
    wanted.to = flow.to;
    wanted.count = some;
    wanted.group = flow.group;
    wanted.whom = [rules = rules_, group = flow.group](const PlacingFacts& facts) {
        return rules.group_for(facts) == group;
    };
    const auto result = co_await assignment_.move_some(wanted, room_check_of(config_));
    if (!driving_ || driving_->run.id != id) co_return;
    if (!result) {
        co_await pause(seconds(1));  // the store is away; the next look reads how far the run is
        co_return;
    }
    if (!result->refused.empty()) {
        if (result->refused.starts_with("the run has ended")) {
            driving_.reset();
        } else {
            co_await end("stopped", result->refused);
        }
        co_return;
    }
    auto& d = *driving_;
    d.credit -= static_cast<double>(some);
    d.run.flows[at].moved += result->moved.size();
    d.dry[at] = result->moved.size() < some;
    d.sessions += co_await announce(result->moved);
}

awaitable<void> AssignmentKeeper::end(std::string state, std::string reason) {
    const auto run = driving_->run;
    const auto sessions = driving_->sessions;
    const auto ended = co_await assignment_.end_run(run.id, state, reason, sessions);
    if (!ended) co_return;  // tried again with the next look
    driving_.reset();
    if (!*ended) co_return;  // somebody stopped it
    json::object fields{{"run", run.id}, {"state", state}, {"moved", count(run.moved())}};
    fields["planned"] = count(run.planned());
    fields["sessions"] = count(sessions);
    if (!reason.empty()) fields["reason"] = reason;
    ha_.tell("RebalanceFinished", std::move(fields));
}

}  // namespace hexad
