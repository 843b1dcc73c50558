#pragma once

#include <optional>
#include <string>
#include <vector>

#include <boost/json.hpp>

#include "sync-agent/mirror.hpp"

namespace hexad::sync {

/// What is remembered of an agreement between runs.
struct State {
    std::string mark;    ///< modifyTimestamp of the next incremental read
    std::string cookie;  ///< of content synchronisation, hex
    std::int64_t last_full = 0, last_good = 0;
    std::size_t last_count = 0;
    std::string settings;  ///< of the last complete full read
    std::string accepted;  ///< of the last one that was not held
    std::string capabilities;
};

/// One run, as it is kept and shown.
struct Run {
    std::int64_t id = 0;
    std::string agreement, kind, reader, result, reason;
    std::int64_t started = 0;
    std::size_t entries = 0, added = 0, changed = 0, disabled = 0, missing = 0, deactivated = 0, held = 0;
    std::int64_t held_run = 0;
    std::vector<Skipped> skipped;
};
boost::json::object to_json(const Run& run);

/// What an administrator asks of the agent, through the store.
struct Request {
    std::int64_t id = 0;
    std::string kind;       ///< run, full, plan, test, approve, reject
    std::string agreement;  ///< empty = all
    std::int64_t run = 0;
    std::int64_t asked = 0;
};

/// The agent's books in the store: state of agreements, runs, held sets, requests. Blocking.
class Records {
public:
    Records(GuardedStore& store, Mirror& mirror) : store_(store), mirror_(mirror) {}

    State state(const std::string& agreement);
    /// Ids that wait for a decision.
    std::set<std::string> waiting(const std::string& agreement);
    /// Notes a run and its held set, in one transaction with the state that it leads to (none: it failed).
    /// A full run replaces the sets that wait, unless its own is the same: then that one goes on waiting.
    void finish(Run& run, const std::optional<State>& state, const Plan& plan, const Reading& reading);

    std::vector<Request> open_requests();
    void answer(const Request& request, int status, const boost::json::value& value);
    /// Applies or drops the set of a held run, and answers, in one transaction.
    void decide(const Request& request, const std::vector<AgreementConfig>& agreements);

private:
    void keep_held(postgres::Connection& db, Run& run, const Plan& plan, const Reading& reading);

    GuardedStore& store_;
    Mirror& mirror_;
};

}  // namespace hexad::sync
