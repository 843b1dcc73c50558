// After an unplanned loss: whose clients are expected here, how many are back, and until when the rest may
// be.
#include <boost/json.hpp>

#include "base/text.hpp"
#include "ha/manager.hpp"

namespace hexad {

namespace json = boost::json;

/// From now on clients come in at the pace of `[admission]`: nobody could tell them to go slowly.
void HaManager::expect_clients_of(const std::string& node, bool unplanned) {
    relogin_.reset();
    if (!unplanned) return;
    admission_.holds_for(admission_.config().after_loss);
    Relogin fresh;
    fresh.of = node;
    fresh.at = wall_now();
    fresh.since = SteadyClock::now();
    // The lease went before this node took over: that is when the clients were lost.
    if (redis_.peer_lease_gone != SteadyClock::time_point{} &&
        fresh.since - redis_.peer_lease_gone < std::chrono::minutes(5))
        fresh.lower = std::chrono::duration_cast<milliseconds>(fresh.since - redis_.peer_lease_gone);
    fresh.logins_before = admission_.counts(Entry::login).entered;
    fresh.resumptions_before = admission_.counts(Entry::resumption).entered;
    fresh.refused_before = admission_.refused();
    relogin_ = std::move(fresh);
}

/// The sessions that the lost node carried are here now, without their clients.
void HaManager::adopted(const std::string& from, const std::vector<std::string>& sids) {
    if (!relogin_ || relogin_->of != from) return;
    for (const auto& sid : sids) {
        const auto session = router_.find_session(sid);
        if (session && session->resumable && !session->closing) {
            relogin_->resumable.push_back(sid);
        } else {
            ++relogin_->others;
        }
    }
    // Who was back before the list was read stands in it no more.
    relogin_->early = admission_.counts(Entry::resumption).entered - relogin_->resumptions_before;
    relogin_->listed = true;
}

json::value HaManager::relogin_report() {
    if (!relogin_ || !relogin_->listed) return nullptr;
    auto& r = *relogin_;
    const auto now = SteadyClock::now();
    if (now - r.counted >= milliseconds(500)) {  // 12,500 look-ups: not with every heartbeat to each node
        r.counted = now;
        r.away = 0;
        for (const auto& sid : r.resumable) {
            const auto session = router_.find_session(sid);
            if (session && session->wire == nullptr && !session->closing) ++r.away;
        }
    }
    const auto logins = admission_.counts(Entry::login).entered - r.logins_before;
    const auto refused = admission_.refused() - r.refused_before;
    const auto missing = r.others - std::min(r.others, logins);
    const auto sessions = r.resumable.size() + r.others + r.early;
    // upper = lower + users / rate, for both ways to come back at once.
    const auto& pace = admission_.config();
    const auto time_for = [&](std::uint64_t resumptions, std::uint64_t logging_in) {
        return std::max(double(resumptions) / pace.resumptions, double(logging_in) / pace.logins);
    };
    const double lower = double(r.lower.count()) / 1000;
    const double upper = lower + time_for(r.resumable.size() + r.early, r.others);
    const double rate = admission_.entering();
    double left = time_for(r.away, missing);
    if (rate > 0)
        left = std::max(left, double(std::min<std::uint64_t>(admission_.waiting(), r.away + missing)) / rate);
    // What is still away when its session ends, or long after it could have come, comes some day or never.
    const auto patience =
        std::max<milliseconds>(timers_.resume_window, 2 * milliseconds(std::int64_t(upper * 1000)));
    if (admission_.waiting() == 0 && (r.away + missing == 0 || now - r.since > patience)) {
        relogin_.reset();
        return nullptr;
    }
    json::object out{{"of", r.of}, {"since", format_time_s(r.at)}};
    out["sessions"] = sessions;
    out["back"] = sessions - r.away - missing;
    out["waiting"] = admission_.waiting();
    out["refused"] = refused;
    out["per_second"] = rate;
    out["lower_seconds"] = lower;
    out["upper_seconds"] = upper;
    out["expected_end"] = format_time_s(wall_now() + std::chrono::duration_cast<std::chrono::microseconds>(
                                                         std::chrono::duration<double>(left)));
    return out;
}

}  // namespace hexad
