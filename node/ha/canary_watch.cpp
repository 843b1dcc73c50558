// Whether the other node of the group serves clients, as a client finds it; and what this node hears of
// itself.
#include <boost/json.hpp>

#include "base/metrics.hpp"
#include "ha/json_fields.hpp"
#include "ha/manager.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

/// Looks are so many to the time that a critical service may be down.
constexpr int looks_in_time = 5;
/// A node that gave its clients away because it did not serve is closed to everybody, to its peer as well: it
/// tries again after so many times the time that a service may be down.
constexpr int closed_for = 4;

const char* word_of(CanaryLook::Found found) {
    switch (found) {
        case CanaryLook::Found::serves:
            return "serves";
        case CanaryLook::Found::fails:
            return "fails";
        case CanaryLook::Found::unclear:
            return "unclear";
    }
    return "";
}

}  // namespace

/// A peer that starts, moves, drains or has lost a server is not judged, nor by a node that has lost one
/// itself. In front of one that lets the clients of a lost node in, the canary stands in line as they do.
bool HaManager::may_judge_peer() const {
    if (!link_ || peer_.empty() || stopping_ || frozen_ || !gate_.passed()) return false;
    if (!redis_fresh() || !store_fresh()) return false;
    const auto& view = link_->view(peer_);
    if (!view.up || view.told.empty()) return false;
    const auto& told = view.told;
    const auto state = node_state_of(text(told, "state")).value_or(NodeState::unknown);
    const bool settled =
        state == NodeState::normal || state == NodeState::backup || state == NodeState::failed_over;
    return settled && flag(told, "redis") && flag(told, "store") && text(told, "gate") == "open" &&
           !flag(told, "draining") && !flag(told, "stopping") && !flag(told, "admitting");
}

void HaManager::pause_canary() {
    ++canary_pauses_;
    canary_.pause();
}

awaitable<void> HaManager::watch_service() {
    const auto* peer = config_.node(peer_);
    if (!link_ || peer == nullptr) co_return;
    CanaryTarget target;
    target.node = peer_;
    target.address = peer->address;
    target.from = node_;
    target.from_address = config_.node(node_)->address;
    target.tls = config_.peer_tls;
    target.timeout = timers_.service_down * 2 / 3;
    std::vector<std::pair<std::uint16_t, bool>> ports;
    if (config_.c2s_port != 0) ports.emplace_back(config_.c2s_port, false);
    if (config_.c2s_tls_port != 0) ports.emplace_back(config_.c2s_tls_port, true);
    if (ports.empty()) co_return;
    for (std::size_t turn = 0; !stopping_;) {
        co_await pause(timers_.service_down / looks_in_time);
        if (!may_judge_peer()) {
            pause_canary();
            continue;
        }
        // Whoever gets in at one port is served.
        std::tie(target.port, target.direct_tls) = ports[turn++ % ports.size()];
        const auto pauses = canary_pauses_;
        const auto began = SteadyClock::now();
        const auto look = co_await look_at_service(io_, target);
        if (stopping_) break;
        Metrics::instance()
            .counter("hexad_ha_canary_logins_total",
                     "peer=\"" + peer_ + "\",result=\"" + word_of(look.found) + '"',
                     "Logins of this node at the other one of its group")
            .add();
        if (may_judge_peer() && pauses == canary_pauses_) canary_.add(look, began, SteadyClock::now());
    }
}

/// With each heartbeat: what this node finds at the other one. Null: nobody looks.
json::value HaManager::canary_report() const {
    if (!link_ || peer_.empty()) return nullptr;
    const auto& last = canary_.last();
    const auto verdict = canary_.verdict();
    json::object out{{"of", peer_}};
    out["serves"] = verdict == CanaryJudge::Verdict::serves        ? json::value(true)
                    : verdict == CanaryJudge::Verdict::not_serving ? json::value(false)
                                                                   : json::value(nullptr);
    const bool judged = verdict != CanaryJudge::Verdict::unknown;
    out["why"] = judged && !last.why.empty() ? json::value(last.why) : json::value(nullptr);
    out["took_ms"] = judged ? json::value(std::int64_t{last.took.count()}) : json::value(nullptr);
    out["failing_ms"] = std::int64_t{canary_.failing(SteadyClock::now()).count()};
    return out;
}

/// For how long the other node has found that clients do not get in here; zero: they do, or nobody knows. Its
/// word makes this node give its users away by its own decision (T7); it makes nobody an owner.
milliseconds HaManager::not_serving() {
    if (!link_ || peer_.empty()) return milliseconds(0);
    const auto now = SteadyClock::now();
    const auto& view = link_->view(peer_);
    const auto& report = field(view.told, "canary");
    if (view.up && report.is_object() && text(report.as_object(), "of") == node_) {
        const auto& told = report.as_object();
        const auto& serves = field(told, "serves");
        const auto& ms = field(told, "failing_ms");
        const bool not_served = serves.is_bool() && !serves.as_bool() && ms.is_int64();
        if (serves.is_bool() && serves.as_bool()) to_be_proved_ = false;
        // One that has no room refuses, one that lets many in makes others wait: users would find as little
        // elsewhere.
        const auto time = milliseconds(not_served ? ms.as_int64() : 0);
        if (not_served && !admission_.moves() && !(clients_refused && clients_refused(now - time))) {
            if (not_served_at_ == SteadyClock::time_point{} || now - not_served_at_ > timers_.peer_timeout)
                not_served_since_ = now - time;
            not_served_at_ = now;
            to_be_proved_ = true;
            return std::max(milliseconds(1),
                            std::chrono::duration_cast<milliseconds>(now - not_served_since_));
        }
    }
    const bool closed = state_ == NodeState::failing_over || state_ == NodeState::failed_over_down;
    if (closed && not_served_at_ != SteadyClock::time_point{} &&
        now - not_served_at_ < closed_for * timers_.service_down)
        return std::chrono::duration_cast<milliseconds>(now - not_served_since_);
    return milliseconds(0);
}

/// Critical services that are down, as this node sees it and as the other one does.
std::vector<std::string> HaManager::critical_down() {
    auto out = services_down ? services_down() : std::vector<std::string>{};
    if (not_serving() > milliseconds(0)) out.emplace_back("client-service");
    return out;
}

}  // namespace hexad
