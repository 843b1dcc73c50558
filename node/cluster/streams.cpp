// The streams of the cluster as this node follows them: routes, claims, entries for its sessions and rooms.
#include <boost/asio/co_spawn.hpp>

#include "base/log.hpp"
#include "cluster/backend_scripts.hpp"
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

/// Reads these routes and applies each as it was at one moment; the sids found. One that the streams change
/// meanwhile is read again: what was read would come behind what is newer, and stay.
awaitable<Result<std::set<std::string>>> ClusterBackend::apply_routes(std::vector<std::string> names) {
    struct Reading {  // the streams keep a list only for who reads
        ClusterBackend& backend;
        explicit Reading(ClusterBackend& b) : backend(b) { ++backend.routes_read_; }
        ~Reading() {
            if (--backend.routes_read_ == 0) backend.routes_changed_.clear();
        }
    };
    const Reading reading(*this);
    std::set<std::string> found;
    while (!names.empty()) {
        const auto start = route_changes_;
        std::vector<std::vector<std::string>> gets;
        for (const auto& name : names) gets.push_back({"HGETALL", name});
        const auto routes = co_await ask_all(std::move(gets));
        if (!routes) co_return routes.error();
        struct Found {
            std::size_t route;
            RouteChange change;
            std::uint64_t version;
        };
        std::vector<Found> changes;
        std::vector<std::vector<std::string>> carriers;
        for (std::size_t n = 0; n < routes->size(); ++n) {
            const auto& items = (*routes)[n].items;
            std::uint64_t version = 0;
            for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
                if (items[i].text == "v") version = to_number(items[i + 1].text);
            }
            for (std::size_t i = 0; i + 1 < items.size(); i += 2) {
                if (!items[i].text.starts_with("s:")) continue;
                auto change = codec::decode_route(items[i + 1].text);
                if (!change) continue;
                carriers.push_back({"HGET", key("s", change->entry.sid), "node"});
                changes.push_back({n, std::move(*change), version});
            }
        }
        const auto nodes = co_await ask_all(std::move(carriers));
        if (!nodes) co_return nodes.error();
        std::set<std::size_t> again;
        for (std::size_t i = 0; i < changes.size(); ++i) {
            auto& [route, change, version] = changes[i];
            const auto changed = routes_changed_.find(change.account);
            if (changed != routes_changed_.end() && changed->second > start) {
                again.insert(route);
                continue;
            }
            if ((*nodes)[i].text.empty()) continue;  // an entry without a session is none
            change.entry.node = (*nodes)[i].text;
            found.insert(change.entry.sid);
            events.route(change, version);
        }
        std::vector<std::string> rest;
        for (const auto route : again) rest.push_back(names[route]);
        names = std::move(rest);
    }
    co_return found;
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
        std::vector<std::string> names;
        for (const auto& name : page->items[1].items) names.push_back(name.text);
        auto sids = co_await apply_routes(std::move(names));
        if (!sids) co_return sids.error();
        found.merge(*sids);
    } while (cursor != "0");
    co_return found;
}

/// Of these entries of the replica, those whose sessions Redis does not know are gone.
awaitable<bool> ClusterBackend::drop_missing(std::vector<std::pair<Jid, RouteEntry>> entries) {
    std::vector<std::vector<std::string>> gets;
    for (const auto& entry : entries) gets.push_back({"EXISTS", key("s", entry.second.sid)});
    const auto exist = co_await ask_all(std::move(gets));
    if (!exist) co_return false;
    for (std::size_t i = 0; i < entries.size(); ++i) {
        if ((*exist)[i].integer == 0) events.route_gone(entries[i].first, entries[i].second);
    }
    co_return true;
}

awaitable<void> ClusterBackend::refresh_route(Jid account) {
    std::vector<std::pair<Jid, RouteEntry>> missing;
    std::vector<std::string> own{account.to_string()};
    const auto pruned = co_await run(scripts_->prune, std::move(own));
    if (!pruned || verdict(*pruned) != "OK") co_return;
    const auto before = events.known_route(account);
    std::vector<std::string> names{key("u", account.to_string())};
    const auto found = co_await apply_routes(std::move(names));
    if (!found || !co_await was_trusted()) co_return;
    for (const auto& known : before) {
        if (!found->contains(known.sid)) missing.emplace_back(account, known);
    }
    if (!missing.empty())
        log_warn("route_corrected", {{"account", account.to_string()}, {"gone", missing.size()}});
    co_await drop_missing(std::move(missing));
}

/// After Redis lost something: what the replica has and Redis has not is gone, and contacts hear of it.
awaitable<void> ClusterBackend::reread_routes() {
    for (;;) {
        const auto before = events.known_routes();
        const auto found = co_await read_routes();
        if (found) {
            std::vector<std::pair<Jid, RouteEntry>> missing;
            for (const auto& known : before) {
                if (!found->contains(known.second.sid)) missing.push_back(known);
            }
            if (co_await drop_missing(std::move(missing))) co_return;
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

/// Another node has claimed a session of this one. By now this node may have claimed it back, and the news is
/// of an epoch that is over.
awaitable<void> ClusterBackend::check_lost(std::string sid) {
    while (!stopping_) {
        const auto before = events.carried_epoch(sid);
        if (!before) {
            events.lost_early(sid);
            co_return;
        }
        std::vector<std::string> ask{"HMGET", key("s", sid), "node"};
        const auto reply = co_await commands_.ask(std::move(ask));
        if (reply && !reply->is_error() && reply->items.size() == 1 && co_await was_trusted()) {
            if (events.carried_epoch(sid) == before && reply->items[0].text != options_.node)
                events.lost(sid);
            co_return;
        }
        // A session without a client has no next script that would tell; it must not be handed in to a Redis
        // that comes back empty as if it were this node's.
        asio::steady_timer pause(io_, milliseconds(50));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
    }
}

void ClusterBackend::route_changed(const Jid& account) {
    if (routes_read_ > 0) routes_changed_[account] = ++route_changes_;
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
        if (!change || in.failed()) return;
        route_changed(change->account);
        events.route(*change, version);
    } else if (kind == "room" && count == 3) {
        in.text();
        const auto position = in.number();
        const auto input = codec::decode_room_input(in.text());
        if (input && !in.failed()) events.room_input(*input, position);
    } else if (kind == "room-home" && count == 2) {
        const auto room = Jid::parse(in.text());
        const auto home = in.text();
        if (room && !in.failed()) events.room_home(*room, home);
    } else if (kind == "room-held" && count == 1) {
        const auto room = Jid::parse(in.text());
        if (room && !in.failed()) events.room_held(*room);
    } else if (kind == "claim" && count == 3) {
        const auto sid = in.text();
        const auto jid = Jid::parse(in.text());
        const auto node = in.text();
        if (!jid || in.failed()) return;
        route_changed(jid->bare());
        events.claimed(sid, *jid, node);
    } else if (kind == "lost" && count == 1) {
        asio::co_spawn(io_, check_lost(in.text()), asio::detached);
    } else if (kind == "part" && count == 3) {
        const auto home = in.text();
        const auto serving = in.text();
        events.partition(home, serving, to_number(in.text()));
    }
}

}  // namespace hexad
