// This node as a member of its cluster: generation, lease, the streams it follows.
#include <charconv>

#include <boost/asio/co_spawn.hpp>

#include "base/log.hpp"
#include "cluster/backend_scripts.hpp"
#include "cluster/cluster_backend.hpp"
#include "cluster/unpack.hpp"
#include "cluster/wire_codec.hpp"

namespace hexad {

namespace {

std::uint64_t to_number(std::string_view text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

std::string verdict(const RedisReply& reply) {
    if (reply.kind == RedisReply::Kind::array && !reply.items.empty()) return reply.items.front().text;
    return {};
}

/// Stream ids are "<counter>-0".
bool id_less(const std::string& a, const std::string& b) { return to_number(a) < to_number(b); }

}  // namespace

awaitable<void> ClusterBackend::load_scripts() {
    for (const auto* name :
         {"commit", "number", "claim", "settle", "ack", "fill", "ending", "end", "lease", "adopt"}) {
        std::vector<std::string> words{"SCRIPT", "LOAD", script_source(name)};
        const auto reply = co_await commands_.ask(std::move(words));
        if (reply && reply->is_error())
            log_error("redis_script_refused", {{"script", name}, {"error", reply->text}});
    }
}

/// Store and Redis must speak of the same incarnation of Redis; a Redis that is new or empty gets the store's
/// next generation (delivery §7).
awaitable<bool> ClusterBackend::agree_on_generation() {
    auto known = co_await epochs_.generation();
    if (!known) co_return false;
    std::vector<std::string> ask{"HMGET", prefix_ + "gen", "g", "run", "state"};
    const auto reply = co_await commands_.ask(std::move(ask));
    if (!reply || reply->items.size() != 3) co_return false;
    const auto g = to_number(reply->items[0].text);
    const auto& run = commands_.run_id();
    if (g == 0 || g < known->g || reply->items[1].text != run) {
        // Another process of Redis. What it kept by its log is as good as what it had if no write was lost;
        // the generation moves so that nobody acts on what he read from the former one.
        if (known->run != run) {
            known = co_await epochs_.raise_generation(known->g, run);
            if (!known) co_return false;
        }
        std::vector<std::string> open{"HSET", prefix_ + "gen", "g",   std::to_string(known->g), "run",
                                      run,    "state",         "open"};
        const auto set = co_await commands_.ask(std::move(open));
        if (!set || set->is_error()) co_return false;
        log_warn("state_store_generation", {{"g", known->g}, {"had_data", g != 0}});
    }
    generation_ = std::max(g, known->g);
    co_return true;
}

awaitable<bool> ClusterBackend::renew() {
    const auto asked = SteadyClock::now();
    std::vector<std::string> own{std::to_string(options_.lease.count())};
    const auto reply = co_await run(scripts_->lease, std::move(own));
    if (!reply || reply->is_error()) co_return false;
    const auto what = verdict(*reply);
    if (what == "OK") {
        // Counted from the start of the call, so that ours ends before Redis's does.
        lease_until_ = asked + options_.lease;
        co_return true;
    }
    if (what == "GEN") co_await agree_on_generation();
    co_return false;
}

awaitable<bool> ClusterBackend::join(milliseconds time) {
    const auto deadline = SteadyClock::now() + time;
    commands_.start();
    reader_.start();
    commands_.on_state = [this](bool up) {
        if (up) connected_since_ = SteadyClock::now();
        if (!up) {
            log_warn("state_store_down", {{"node", options_.node}});
            set_active(false);
        }
    };
    while (SteadyClock::now() < deadline && !stopping_) {
        if (co_await commands_.wait_connected(milliseconds(500))) {
            const auto incarnation = co_await epochs_.next_incarnation(options_.node);
            if (incarnation && co_await agree_on_generation()) {
                incarnation_ = *incarnation;
                co_await load_scripts();
                if (co_await renew()) {
                    set_active(true);
                    asio::co_spawn(io_, keep_lease(), asio::detached);
                    co_return true;
                }
            }
        }
        asio::steady_timer pause(io_, milliseconds(100));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
    co_return false;
}

awaitable<void> ClusterBackend::keep_lease() {
    bool loaded = true;
    while (!stopping_) {
        asio::steady_timer pause(io_, options_.renew);
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        if (stopping_) co_return;
        if (!commands_.connected()) {
            loaded = false;
            continue;
        }
        if (!loaded) {
            if (!co_await agree_on_generation()) continue;
            co_await load_scripts();
            loaded = true;
        }
        const bool held = co_await renew();
        if (held && !active_) log_info("state_store_up", {{"node", options_.node}});
        if (held) {
            set_active(true);
        } else if (SteadyClock::now() >= lease_until_) {
            set_active(false);
        }
    }
}

void ClusterBackend::set_active(bool active) {
    if (active_ == active) return;
    active_ = active;
    if (on_state) on_state(active);
}

awaitable<void> ClusterBackend::leave() {
    stopping_ = true;
    std::vector<std::string> words{"DEL", prefix_ + "lease:" + options_.node};
    co_await commands_.ask(std::move(words));
    commands_.stop();
    reader_.stop();
}

awaitable<error_code> ClusterBackend::follow() {
    // The position first, the routes after: a change between the two is applied twice, which changes nothing.
    std::vector<std::string> ask{"GET", prefix_ + "seq"};
    const auto seq = co_await commands_.ask(std::move(ask));
    if (!seq) co_return seq.error();
    chg_position_ = bus_position_ = (seq->text.empty() ? "0" : seq->text) + "-0";
    std::string cursor = "0";
    do {
        std::vector<std::string> scan{"SCAN", cursor, "MATCH", prefix_ + "u:*", "COUNT", "1000"};
        const auto page = co_await commands_.ask(std::move(scan));
        if (!page) co_return page.error();
        if (page->items.size() != 2) break;
        cursor = page->items[0].text;
        for (const auto& name : page->items[1].items) {
            std::vector<std::string> get{"HGETALL", name.text};
            const auto route = co_await commands_.ask(std::move(get));
            if (!route) co_return route.error();
            std::uint64_t version = 0;
            for (std::size_t i = 0; i + 1 < route->items.size(); i += 2) {
                if (route->items[i].text == "v") version = to_number(route->items[i + 1].text);
            }
            for (std::size_t i = 0; i + 1 < route->items.size(); i += 2) {
                if (!route->items[i].text.starts_with("s:")) continue;
                auto change = codec::decode_route(route->items[i + 1].text);
                if (!change) continue;
                std::vector<std::string> carrier{"HGET", key("s", change->entry.sid), "node"};
                const auto node = co_await commands_.ask(std::move(carrier));
                if (node && !node->text.empty()) change->entry.node = node->text;
                events.route(*change, version);
            }
        }
    } while (cursor != "0");
    if (!follows_) {
        follows_ = true;
        asio::co_spawn(io_, tail(), asio::detached);
    }
    co_return error_code{};
}

awaitable<void> ClusterBackend::tail() {
    const auto chg = prefix_ + "chg", bus = prefix_ + "bus:" + options_.node;
    while (!stopping_) {
        if (!reader_.connected()) {
            co_await reader_.wait_connected(milliseconds(500));
            continue;
        }
        std::vector<std::string> words{"XREAD",   "COUNT", "1000", "BLOCK",       "1000",
                                       "STREAMS", chg,     bus,    chg_position_, bus_position_};
        const auto reply = co_await reader_.ask(std::move(words));
        if (!reply || reply->is_error()) {
            asio::steady_timer pause(io_, milliseconds(50));
            co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
            continue;
        }
        struct Item {
            const std::string* id;
            const std::string* kind;
            const std::string* data;
        };
        std::vector<Item> items;
        bool full = false;
        for (const auto& stream : reply->items) {
            const auto& entries = stream.items[1].items;
            full = full || entries.size() >= 1000;
            for (const auto& entry : entries) {
                items.push_back(
                    {&entry.items[0].text, &entry.items[1].items[1].text, &entry.items[1].items[3].text});
            }
            if (entries.empty()) continue;
            (stream.items[0].text == chg ? chg_position_ : bus_position_) = entries.back().items[0].text;
        }
        std::sort(items.begin(), items.end(),
                  [](const Item& a, const Item& b) { return id_less(*a.id, *b.id); });
        for (const auto& item : items) handle(*item.kind, *item.data);
        if (!items.empty()) {
            const auto position = bus_position_;
            commands_.command({"SET", prefix_ + "pos:" + options_.node, position}, [](Result<RedisReply>) {});
        }
    }
}

void ClusterBackend::handle(const std::string& kind, const std::string& data) {
    if (kind == "account") {
        if (const auto jid = Jid::parse(data)) events.account_changed(*jid);
        return;
    }
    if (kind == "notice") {
        if (const auto notice = codec::decode_notice(data)) events.notice(*notice);
        return;
    }
    Unpacker in(data);
    const auto count = in.array();
    if (kind == "entry" && count == 3) {
        const auto sid = in.text();
        const auto position = in.number();
        auto decoded = codec::decode_entry(in.text());
        if (!decoded || in.failed()) return;
        decoded->entry.position = position;
        events.entry(sid, decoded->entry);
    } else if (kind == "route" && count == 3) {
        in.text();
        const auto version = in.number();
        const auto change = codec::decode_route(in.text());
        if (change && !in.failed()) events.route(*change, version);
    } else if (kind == "room" && count == 3) {
        in.text();
        const auto position = in.number();
        const auto input = codec::decode_room_input(in.text());
        if (input && !in.failed()) events.room_input(*input, position);
    } else if (kind == "claim" && count == 3) {
        const auto sid = in.text();
        const auto jid = Jid::parse(in.text());
        const auto node = in.text();
        if (jid && !in.failed()) events.claimed(sid, *jid, node);
    } else if (kind == "lost" && count == 1) {
        events.lost(in.text());
    } else if (kind == "part" && count == 3) {
        const auto home = in.text();
        const auto serving = in.text();
        events.partition(home, serving, to_number(in.text()));
    }
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
    std::vector<std::string> own{home, std::to_string(epoch)};
    const auto reply = co_await run(scripts_->adopt, std::move(own));
    co_return reply&& verdict(*reply) == "OK";
}

awaitable<Result<std::vector<std::string>>> ClusterBackend::sessions_of(std::string node) {
    std::vector<std::string> words{"SMEMBERS", prefix_ + "sessions"};
    const auto all = co_await commands_.ask(std::move(words));
    if (!all || all->is_error()) co_return StorageError::unavailable;
    std::vector<std::string> out;
    for (const auto& sid : all->items) {
        std::vector<std::string> get{"HGET", key("s", sid.text), "node"};
        const auto carrier = co_await commands_.ask(std::move(get));
        if (!carrier) co_return StorageError::unavailable;
        if (carrier->text == node) out.push_back(sid.text);
    }
    co_return out;
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
