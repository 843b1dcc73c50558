#include "ha/event_log.hpp"

#include <algorithm>
#include <array>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>

#include "base/log_list.hpp"
#include "base/metrics.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

constexpr std::size_t most_waiting = 1000;
constexpr std::array<std::string_view, 16> alarms{
    "GateWaiting",         "GateTimeout",     "GateOverridden", "FailoverFailed",
    "PeerLinkDown",        "NotServing",      "NodeFenced",     "NotRedundant",
    "SessionLimitReached", "CapacityWarning", "StateStoreDown", "StoreDown",
    "DirectoryDown",       "FlapBudgetSpent", "WriteRefused",   "AssignmentExhausted"};

/// `HaStateChanged` → `ha_state_changed`.
std::string logged_as(std::string_view kind) {
    std::string out;
    for (const char c : kind) {
        const bool capital = c >= 'A' && c <= 'Z';
        if (capital && !out.empty()) out += '_';
        out += capital ? static_cast<char>(c - 'A' + 'a') : c;
    }
    return out;
}

void log_fields(std::string_view kind, const std::string& node, const json::object& fields) {
    const bool alarm = std::find(alarms.begin(), alarms.end(), kind) != alarms.end();
    std::vector<LogField> out{{"node", node}};
    for (const auto& [key, value] : fields) {
        out.emplace_back(key, value.is_string() ? std::string(value.as_string()) : json::serialize(value));
    }
    log_list(alarm ? LogLevel::warn : LogLevel::info, logged_as(kind), out);
}

}  // namespace

EventLog::EventLog(asio::io_context& io, RedundancyStore& store, std::string node)
    : io_(io), store_(store), node_(std::move(node)) {}

void EventLog::add(std::string kind, json::object fields) {
    log_fields(kind, node_, fields);
    Metrics::instance()
        .counter("hexad_ha_events_total", "kind=\"" + kind + '"', "Events of redundancy groups")
        .add();
    HaEvent event;
    event.at = wall_now();
    event.node = node_;
    event.kind = std::move(kind);
    event.fields = json::serialize(fields);
    if (waiting_.size() >= most_waiting) {
        waiting_.pop_front();
        if (on_their_way_ > 0) --on_their_way_;
    }
    waiting_.push_back(std::move(event));
    if (!storing_) {
        storing_ = true;
        asio::co_spawn(io_, store_all(), asio::detached);
    }
}

awaitable<void> EventLog::store_all() {
    while (!waiting_.empty()) {
        on_their_way_ = waiting_.size();
        std::vector<HaEvent> group(waiting_.begin(), waiting_.end());
        const auto stored = co_await store_.add_events(std::move(group));
        if (stored) {
            waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(on_their_way_));
            on_their_way_ = 0;
            continue;
        }
        on_their_way_ = 0;
        asio::steady_timer pause(io_, seconds(1));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    storing_ = false;
}

std::vector<HaEvent> EventLog::not_stored(const std::string& kind, std::size_t limit) const {
    std::vector<HaEvent> out;
    for (const auto& event : waiting_) {
        if (kind.empty() || event.kind == kind) out.push_back(event);
    }
    if (out.size() > limit) out.erase(out.begin(), out.end() - static_cast<std::ptrdiff_t>(limit));
    return out;
}

awaitable<void> EventLog::flush(milliseconds time) {
    const auto deadline = SteadyClock::now() + time;
    while (storing_ && SteadyClock::now() < deadline) {
        asio::steady_timer pause(io_, milliseconds(10));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

}  // namespace hexad
