// The streams of the cluster as this node follows them: routes, claims, entries for its sessions and rooms.
#include <boost/asio/co_spawn.hpp>

#include "base/log.hpp"
#include "cluster/cluster_backend.hpp"
#include "cluster/unpack.hpp"
#include "cluster/wire_codec.hpp"
#include "cluster/words.hpp"

namespace hexad {

namespace {

/// Stream ids are "<counter>-0".
bool id_less(const std::string& a, const std::string& b) { return to_number(a) < to_number(b); }

}  // namespace

awaitable<error_code> ClusterBackend::follow() {
    // The position first, the routes after: a change between the two is applied twice, which changes nothing.
    std::vector<std::string> ask{"GET", prefix_ + "seq"};
    const auto seq = co_await commands_.ask(std::move(ask));
    if (!seq) co_return seq.error();
    chg_position_ = bus_position_ = (seq->text.empty() ? "0" : seq->text) + "-0";
    read_ = std::max(read_, to_number(seq->text));
    const auto routes = co_await read_routes();
    if (!routes) co_return routes.error();
    std::vector<std::string> time{"TIME"}, gone{"ZRANGE", prefix_ + "gone", "0", "-1", "WITHSCORES"};
    const auto now = co_await commands_.ask(std::move(time));
    const auto went = co_await commands_.ask(std::move(gone));
    if (!now || now->items.size() != 2 || !went || went->is_error())
        co_return make_error_code(StorageError::unavailable);
    for (std::size_t i = 0; i + 1 < went->items.size(); i += 2) {
        const auto at =
            seconds(to_number(now->items[0].text)) - milliseconds(to_number(went->items[i + 1].text));
        if (const auto full = Jid::parse(went->items[i].text))
            events.gone(*full, std::max(at, milliseconds(0)));
    }
    if (!follows_) {
        follows_ = true;
        asio::co_spawn(io_, watch_spills(), asio::detached);
        asio::co_spawn(io_, tail(), asio::detached);
    }
    co_return error_code{};
}

/// Applies every route as Redis has it; the sids found.
awaitable<Result<std::set<std::string>>> ClusterBackend::read_routes() {
    std::set<std::string> found;
    std::string cursor = "0";
    do {
        std::vector<std::string> scan{"SCAN", cursor, "MATCH", prefix_ + "u:*", "COUNT", "1000"};
        const auto page = co_await commands_.ask(std::move(scan));
        if (!page) co_return page.error();
        if (page->items.size() != 2) break;
        cursor = page->items[0].text;
        std::vector<std::vector<std::string>> gets;
        for (const auto& name : page->items[1].items) gets.push_back({"HGETALL", name.text});
        const auto routes = co_await ask_all(std::move(gets));
        if (!routes) co_return routes.error();
        struct Found {
            RouteChange change;
            std::uint64_t version;
        };
        std::vector<Found> changes;
        std::vector<std::vector<std::string>> carriers;
        for (const auto& route : *routes) {
            std::uint64_t version = 0;
            for (std::size_t i = 0; i + 1 < route.items.size(); i += 2) {
                if (route.items[i].text == "v") version = to_number(route.items[i + 1].text);
            }
            for (std::size_t i = 0; i + 1 < route.items.size(); i += 2) {
                if (!route.items[i].text.starts_with("s:")) continue;
                auto change = codec::decode_route(route.items[i + 1].text);
                if (!change) continue;
                carriers.push_back({"HGET", key("s", change->entry.sid), "node"});
                changes.push_back({std::move(*change), version});
            }
        }
        const auto nodes = co_await ask_all(std::move(carriers));
        if (!nodes) co_return nodes.error();
        for (std::size_t i = 0; i < changes.size(); ++i) {
            auto& change = changes[i].change;
            if (!(*nodes)[i].text.empty()) change.entry.node = (*nodes)[i].text;
            found.insert(change.entry.sid);
            events.route(change, changes[i].version);
        }
    } while (cursor != "0");
    co_return found;
}

/// After Redis lost something: what the replica has and Redis has not is gone, and contacts hear of it.
awaitable<void> ClusterBackend::reread_routes() {
    for (;;) {
        const auto before = events.known_routes();
        const auto found = co_await read_routes();
        if (found) {
            std::vector<std::vector<std::string>> gets;
            std::vector<const std::pair<Jid, RouteEntry>*> missing;
            for (const auto& known : before) {
                if (found->contains(known.second.sid)) continue;
                missing.push_back(&known);
                gets.push_back({"EXISTS", key("s", known.second.sid)});
            }
            const auto exist = co_await ask_all(std::move(gets));
            if (exist) {
                for (std::size_t i = 0; i < missing.size(); ++i) {
                    if ((*exist)[i].integer == 0) events.route_gone(missing[i]->first, missing[i]->second);
                }
                co_return;
            }
        }
        if (stopping_) co_return;
        asio::steady_timer pause(io_, milliseconds(200));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        if (!active_) co_return;  // the next recovery reads them again
    }
}

awaitable<void> ClusterBackend::tail() {
    const auto chg = prefix_ + "chg", bus = prefix_ + "bus:" + options_.node;
    while (!stopping_) {
        if (!reader_.connected()) {
            co_await reader_.wait_connected(milliseconds(500));
            continue;
        }
        // What the cluster had counted before this call is read after it, unless a page was full.
        const auto seen = seen_;
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
        if (!full) read_ = std::max({read_, seen, items.empty() ? 0 : to_number(*items.back().id)});
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
    } else if (kind == "held" && count == 2) {
        const auto sid = in.text();
        const auto decoded = codec::decode_entry(in.text());
        if (decoded && !in.failed()) events.entry(sid, decoded->entry);
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

}  // namespace hexad
