// Store rows that lie in Redis because the data base was away (docs/delivery.md, "Redis or PostgreSQL away").
#include "base/log.hpp"
#include "cluster/cluster_backend.hpp"
#include "cluster/wire_codec.hpp"

namespace hexad {

namespace {

constexpr seconds between_looks{2};

}  // namespace

/// A node writes what it spilled from memory. What an earlier life of this node left, or one that nobody
/// takes over, is written from Redis: while it lies there, no login gets its backlog.
awaitable<void> ClusterBackend::watch_spills() {
    while (!stopping_) {
        asio::steady_timer pause(io_, between_looks);
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        if (stopping_ || !active_ || !pipeline_.store_up()) continue;
        const auto alive = co_await leases(options_.nodes);
        if (!alive) continue;
        for (const auto& node : options_.nodes) {
            const bool mine = node == options_.node;
            if (mine ? pipeline_.spilled() > 0 : alive->at(node)) continue;
            std::vector<std::string> words{"XLEN", key("spill", node)};
            const auto left = co_await commands_.ask(std::move(words));
            if (left && left->integer > 0) co_await drain_spill(node);
        }
    }
}

awaitable<bool> ClusterBackend::drain_spill(std::string node) {
    constexpr std::size_t page_rows = 500;
    std::size_t drained = 0;
    for (;;) {
        std::vector<std::string> words{"XRANGE", key("spill", node),       "-", "+",
                                       "COUNT",  std::to_string(page_rows)};
        const auto page = co_await commands_.ask(std::move(words));
        if (!page || page->is_error()) co_return false;
        if (page->items.empty()) break;
        struct Writing {
            explicit Writing(asio::io_context& context)
                : timer(context, asio::steady_timer::time_point::max()) {}
            asio::steady_timer timer;
            std::vector<Batch> rows;
            bool done = false;
        };
        auto writing = std::make_shared<Writing>(io_);
        for (const auto& item : page->items) {
            auto rows = codec::decode_rows(item.items[1].items[1].text);
            if (rows) writing->rows.push_back(std::move(*rows));
        }
        std::vector<const Batch*> group;
        for (const auto& rows : writing->rows) group.push_back(&rows);
        writer_.write(std::move(group), [writing](const std::vector<CommitStatus>&) {
            writing->done = true;
            writing->timer.cancel();
        });
        while (!writing->done) co_await writing->timer.async_wait(asio::as_tuple(asio::use_awaitable));
        drained += page->items.size();
        std::vector<std::string> trim{"XDEL", key("spill", node)};
        for (const auto& item : page->items) trim.push_back(item.items[0].text);
        const auto trimmed = co_await commands_.ask(std::move(trim));
        if (!trimmed || trimmed->is_error()) co_return false;
    }
    if (drained > 0) log_info("spill_drained", {{"node", node}, {"batches", drained}});
    co_return true;
}

}  // namespace hexad
