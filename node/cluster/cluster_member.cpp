// This node as a member of its cluster: generation, lease, what it asks about the others.
#include <boost/asio/co_spawn.hpp>

#include "base/log.hpp"
#include "cluster/backend_scripts.hpp"
#include "cluster/cluster_backend.hpp"
#include "cluster/protocol.hpp"
#include "cluster/words.hpp"

namespace hexad {

awaitable<void> ClusterBackend::load_scripts() {
    for (const auto* name :
         {"commit", "number", "claim", "settle", "ack", "backlog", "fill", "ending", "end", "lease",
          "keep_lease", "adopt", "announce", "held_room", "take_room", "move_room"}) {
        std::vector<std::string> words{"SCRIPT", "LOAD", script_source(name)};
        const auto reply = co_await commands_.ask(std::move(words));
        if (reply && reply->is_error())
            log_error("redis_script_refused", {{"script", name}, {"error", reply->text}});
    }
}

/// Store and Redis must speak of the same incarnation of Redis. One that is new, empty, or does not know what
/// was delivered without it, gets the store's next generation and is filled again (docs/delivery.md, "Redis
/// or PostgreSQL away").
awaitable<bool> ClusterBackend::agree_on_generation() {
    std::vector<std::string> ask{"HMGET", prefix_ + "gen", "g", "run", "state"};
    const auto reply = co_await commands_.ask(std::move(ask));
    if (!reply || reply->items.size() != 3) co_return false;
    auto known = co_await epochs_.generation();
    if (!known) co_return false;  // without the store nobody can say what is true: hold
    const auto g = to_number(reply->items[0].text);
    const auto run = commands_.run_id();
    const bool same = g != 0 && g == known->g && reply->items[1].text == run && known->run == run;
    if (same && reply->items[2].text == "open" && !(froze_ && member_of_ == g)) {
        generation_ = g;
        if (member_of_ != 0 && member_of_ < g) fence(g);
        member_of_ = g;
        co_return true;
    }
    const bool fresh = known->run.empty() && g == 0;
    if (!same || reply->items[2].text == "open") {
        do {
            known = co_await epochs_.raise_generation(known->g, run);
            if (!known) co_return false;
        } while (known->g <= g);
        log_warn("state_store_generation", {{"g", known->g}, {"had_data", g != 0}});
    }
    co_return co_await recover(known->g, fresh);
}

void ClusterBackend::fence(std::uint64_t generation) {
    log_warn(
        "node_fenced",
        {{"node", options_.node}, {"reason", "state-store-lost"}, {"was", member_of_}, {"is", generation}});
    froze_ = false;
    pipeline_.refuse_all();
    if (events.fenced) events.fenced();
}

awaitable<bool> ClusterBackend::renew() {
    const auto asked = SteadyClock::now();
    std::vector<std::string> own{std::to_string(options_.lease.count()), std::to_string(read_),
                                 std::to_string(spoken_protocol.min), std::to_string(spoken_protocol.max)};
    own.insert(own.end(), options_.nodes.begin(), options_.nodes.end());
    const auto reply = co_await run(scripts_->lease, std::move(own));
    if (!reply || reply->is_error()) co_return false;
    const auto what = verdict(*reply);
    if (what == "PROTOCOL") {
        if (refused_protocol_ == 0)
            log_error("version_mismatch", {{"node", options_.node},
                                           {"cluster_writes", reply->items[1].text},
                                           {"reads", std::to_string(spoken_protocol.min) + " to " +
                                                         std::to_string(spoken_protocol.max)}});
        refused_protocol_ = static_cast<std::uint32_t>(to_number(reply->items[1].text));
        co_return false;
    }
    if (what != "OK" || reply->items[1].text != "open") {
        trusted_ = false;
        co_return false;
    }
    seen_ = std::max(seen_, to_number(reply->items[2].text));
    pipeline_.confirmed(to_number(reply->items[3].text));
    protocol_ = static_cast<std::uint32_t>(to_number(reply->items[4].text));
    refused_protocol_ = 0;
    // Counted from the start of the call, so that ours ends before Redis's does.
    keeper_.held(generation_, incarnation_, asked);
    co_return true;
}

awaitable<bool> ClusterBackend::join(milliseconds time) {
    const auto deadline = SteadyClock::now() + time;
    commands_.start();
    reader_.start();
    commands_.on_state = [this](bool up) {
        ++connection_;
        trusted_ = false;
        if (up) {
            connected_since_ = SteadyClock::now();
            wake_.cancel();
        } else {
            log_warn("state_store_down", {{"node", options_.node}});
            set_active(false);
        }
    };
    while (SteadyClock::now() < deadline && !stopping_) {
        if (co_await commands_.wait_connected(milliseconds(500))) {
            if (incarnation_ == 0) {
                if (const auto next = co_await epochs_.next_incarnation(options_.node)) incarnation_ = *next;
            }
            if (incarnation_ != 0 && co_await take_part()) {
                keeper_.start();
                asio::co_spawn(io_, keep_lease(), asio::detached);
                co_return true;
            }
        }
        asio::steady_timer pause(io_, milliseconds(100));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return false;
}

/// Agrees on the generation if this connection has not, renews the lease, and says whether this node may act.
awaitable<bool> ClusterBackend::take_part() {
    if (!trusted_) {
        const auto connection = connection_;
        if (!co_await agree_on_generation()) co_return false;
        co_await load_scripts();
        if (connection != connection_) co_return false;
        trusted_ = true;
    }
    const bool held = co_await renew();
    if (held && !active_) log_info("state_store_up", {{"node", options_.node}, {"g", generation_}});
    if (held) {
        set_active(true);
    } else if (!trusted_ || SteadyClock::now() >= keeper_.until()) {
        set_active(false);
    }
    co_return held;
}

awaitable<void> ClusterBackend::keep_lease() {
    while (!stopping_) {
        wake_.expires_after(trusted_ ? options_.renew : milliseconds(100));
        co_await wake_.async_wait(asio::as_tuple(asio::use_awaitable));
        if (stopping_) co_return;
        keeper_.sign_of_life();
        if (commands_.connected()) {
            co_await take_part();
        } else if (!pipeline_.frozen() && events.nobody_reaches_redis && events.nobody_reaches_redis()) {
            log_warn("state_store_frozen", {{"node", options_.node}});
            froze_ = true;
            events.freeze();
            pipeline_.freeze();
        }
    }
}

void ClusterBackend::distrust() {
    if (!trusted_ && !active_) return;
    trusted_ = false;
    set_active(false);
    wake_.cancel();
}

void ClusterBackend::set_active(bool active) {
    if (active_ == active) return;
    active_ = active;
    if (active) opened_.cancel();
    if (events.active) events.active(active);
    pipeline_.open(active);
    if (on_state) on_state(active);
}

awaitable<void> ClusterBackend::leave() {
    stopping_ = true;
    pipeline_.stop();
    opened_.cancel();
    wake_.cancel();
    keeper_.stop();
    std::vector<std::string> left{"SADD", prefix_ + "left", options_.node};
    co_await commands_.ask(std::move(left));
    std::vector<std::string> words{"DEL", prefix_ + "lease:" + options_.node};
    co_await commands_.ask(std::move(words));
    commands_.stop();
    reader_.stop();
}

void ClusterBackend::announce_account(const Jid& account) {
    // Outside any batch: an administrator changed it.
    static const RedisScript script(script_source("announce"));
    std::vector<std::string> own{account.to_string()};
    script.run(commands_, arguments(std::move(own)), [](Result<RedisReply>) {});
}

// ---- the other nodes ----

awaitable<Result<std::map<std::string, bool>>> ClusterBackend::leases(std::vector<std::string> nodes) {
    std::vector<std::string> words{"MGET"};
    for (const auto& node : nodes) words.push_back(prefix_ + "lease:" + node);
    const auto reply = co_await commands_.ask(std::move(words));
    if (!reply || reply->items.size() != nodes.size()) co_return StorageError::unavailable;
    std::map<std::string, bool> out;
    for (std::size_t i = 0; i < nodes.size(); ++i)
        out[nodes[i]] = reply->items[i].kind == RedisReply::Kind::text;
    co_return out;
}

awaitable<Result<std::map<std::string, ClusterBackend::Partition>>> ClusterBackend::partitions(
    std::vector<std::string> homes) {
    std::map<std::string, Partition> out;
    for (const auto& home : homes) {
        std::vector<std::string> words{"HMGET", key("part", home), "serving", "e"};
        const auto reply = co_await commands_.ask(std::move(words));
        if (!reply || reply->items.size() != 2) co_return StorageError::unavailable;
        out[home] = {reply->items[0].text, to_number(reply->items[1].text)};
    }
    co_return out;
}

awaitable<bool> ClusterBackend::adopt_partition(std::string home, std::uint64_t epoch) {
    if (!co_await drain_spill(home)) co_return false;
    std::vector<std::string> own{home, std::to_string(epoch)};
    const auto reply = co_await run(scripts_->adopt, std::move(own));
    co_return reply&& verdict(*reply) == "OK";
}

awaitable<Result<std::vector<std::string>>> ClusterBackend::sessions_of(std::string node) {
    std::vector<std::string> words{"SMEMBERS", prefix_ + "sessions"};
    const auto all = co_await commands_.ask(std::move(words));
    if (!all || all->is_error()) co_return StorageError::unavailable;
    std::vector<std::vector<std::string>> gets;
    for (const auto& sid : all->items) gets.push_back({"HGET", key("s", sid.text), "node"});
    const auto carriers = co_await ask_all(std::move(gets));
    if (!carriers || !co_await was_trusted()) co_return StorageError::unavailable;
    std::vector<std::string> out;
    for (std::size_t i = 0; i < all->items.size(); ++i) {
        if ((*carriers)[i].text == node) out.push_back(all->items[i].text);
    }
    co_return out;
}

/// Many commands at once; their replies in order.
awaitable<Result<std::vector<RedisReply>>> ClusterBackend::ask_all(
    std::vector<std::vector<std::string>> commands) {
    struct Waiting {
        explicit Waiting(asio::io_context& context) : timer(context, asio::steady_timer::time_point::max()) {}
        asio::steady_timer timer;
        std::vector<RedisReply> replies;
        std::size_t missing = 0;
        bool failed = false;
    };
    auto waiting = std::make_shared<Waiting>(io_);
    waiting->replies.resize(commands.size());
    waiting->missing = commands.size();
    for (std::size_t i = 0; i < commands.size(); ++i) {
        const std::vector<std::string_view> words(commands[i].begin(), commands[i].end());
        commands_.command(words, [waiting, i](Result<RedisReply> reply) {
            if (reply && !reply->is_error()) {
                waiting->replies[i] = std::move(*reply);
            } else {
                waiting->failed = true;
            }
            if (--waiting->missing == 0) waiting->timer.cancel();
        });
    }
    while (waiting->missing > 0) co_await waiting->timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (waiting->failed) co_return StorageError::unavailable;
    co_return std::move(waiting->replies);
}

awaitable<bool> ClusterBackend::put_node_state(std::string node, std::string bytes) {
    std::vector<std::string> words{"HSET", prefix_ + "nodes", node, bytes};
    const auto reply = co_await commands_.ask(std::move(words));
    co_return reply && !reply->is_error();
}

awaitable<Result<std::map<std::string, std::string>>> ClusterBackend::node_states() {
    std::vector<std::string> words{"HGETALL", prefix_ + "nodes"};
    const auto reply = co_await commands_.ask(std::move(words));
    if (!reply || reply->is_error()) co_return StorageError::unavailable;
    std::map<std::string, std::string> out;
    for (std::size_t i = 0; i + 1 < reply->items.size(); i += 2)
        out[reply->items[i].text] = reply->items[i + 1].text;
    co_return out;
}

awaitable<Result<std::vector<SessionRecord>>> ClusterBackend::load_sessions() {
    // A node that starts carries nothing: what it carried before is claimed by clients, or adopted by its
    // peer.
    co_return std::vector<SessionRecord>{};
}

}  // namespace hexad
