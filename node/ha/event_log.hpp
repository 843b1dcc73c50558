#pragma once

#include <deque>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/json/object.hpp>

#include "storage/redundancy_store.hpp"

namespace hexad {

/// The events of redundancy groups: each is a log line, a metric (`hexad_ha_events_total`) and a row that
/// every node can read. While the store is away the rows wait here, at most 1,000. Protocol thread.
class EventLog {
public:
    EventLog(asio::io_context& io, RedundancyStore& store, std::string node);

    /// `kind` as in the documentation, e.g. `FailoverStarted`; logged as `failover_started`.
    void add(std::string kind, boost::json::object fields);
    /// Waits until everything is stored, at most so long.
    awaitable<void> flush(milliseconds time);
    std::size_t waiting() const { return waiting_.size(); }
    /// The last ones that wait, oldest first; `kind` empty: all.
    std::vector<HaEvent> not_stored(const std::string& kind, std::size_t limit) const;

private:
    awaitable<void> store_all();

    asio::io_context& io_;
    RedundancyStore& store_;
    std::string node_;
    std::deque<HaEvent> waiting_;
    std::size_t on_their_way_ = 0;  ///< … the first ones of them
    bool storing_ = false;
};

}  // namespace hexad
