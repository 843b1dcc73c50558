#include "ha/gate.hpp"

namespace hexad {

namespace {

/// Every start waits for a moment; what lasts longer is worth a word, and again each five minutes.
constexpr seconds worth_a_word{5};
constexpr std::chrono::minutes said_again{5};

/// What nobody can do without.
std::string indispensable(const Gate::Conditions& c) {
    if (!c.store) return "store";
    if (!c.versions) return "version-mismatch";
    if (!c.state_store) return "state-store";
    if (!c.replica) return "replica";
    return {};
}

/// What a time-out or an administrator may set aside.
std::string desirable(const Gate::Conditions& c) {
    if (c.standby) return "store-read-only";
    if (c.never_synced.empty() || c.bootstrap == false) return {};
    return "directory " + c.never_synced.front();
}

}  // namespace

Gate::Look Gate::look(const Conditions& c, SteadyClock::time_point now) {
    if (passed_) return {};
    const auto must = indispensable(c);
    const auto may = desirable(c);
    reason_ = must.empty() ? may : must;
    if (must.empty()) {
        auto tells = Tells::nothing;
        if (!may.empty() && c.overridden) tells = Tells::overridden;
        // A data base that cannot be written does not become better by waiting for less.
        const bool directory = !c.standby && c.bootstrap == true;
        if (!may.empty() && !c.overridden && directory && now - began_ >= timeout_) tells = Tells::timeout;
        if (may.empty() || tells != Tells::nothing) {
            passed_ = true;
            reason_.clear();
            return {tells, may};
        }
    }
    if (now - began_ < worth_a_word) return {Tells::nothing, reason_};
    if (reason_ == told_ && now - told_at_ < said_again) return {Tells::nothing, reason_};
    told_ = reason_;
    told_at_ = now;
    return {Tells::waiting, reason_};
}

}  // namespace hexad
