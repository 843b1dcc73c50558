#pragma once

#include <memory>
#include <string>

#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>

#include "base/config.hpp"
#include "base/result.hpp"

namespace hexad {

/// The counter between administrators and the directory agent: shows what the agent has noted in the store,
/// and takes down what is asked of it, for whichever agent holds the lease to do. Used on the protocol
/// thread; reads and writes on a thread with a connection of its own.
class SyncDesk {
public:
    SyncDesk(asio::io_context& io, const Config& config);
    ~SyncDesk();
    SyncDesk(const SyncDesk&) = delete;
    SyncDesk& operator=(const SyncDesk&) = delete;

    struct Answer {
        int status = 200;  ///< as of HTTP
        boost::json::value value;
    };
    /// `what` (status, review, explain, ask) with its parameters; status as of HTTP.
    awaitable<std::pair<int, boost::json::value>> answer(std::string what, boost::json::object given);

private:
    /// Agent, agreements, the last runs, skipped entries.
    awaitable<Answer> status(std::size_t runs);
    /// Whom a held run (0: the newest) would take out.
    awaitable<Answer> review(std::int64_t run);
    /// Why an account is where and how it is.
    awaitable<Answer> explain(std::string jid);
    /// Asks the agent (`kind`: run, full, plan, test, approve, reject) and waits for its answer.
    awaitable<Answer> ask(std::string kind, std::string agreement, std::int64_t run);

    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace hexad
