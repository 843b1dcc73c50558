// Whether Redis and the store agree with each other and with themselves.
#include "cluster/cluster_backend.hpp"
#include "cluster/wire_codec.hpp"
#include "cluster/words.hpp"

namespace hexad {

namespace {

std::string field(const RedisReply& hash, std::string_view name) {
    for (std::size_t i = 0; i + 1 < hash.items.size(); i += 2) {
        if (hash.items[i].text == name) return hash.items[i + 1].text;
    }
    return {};
}

/// Positions and numbers rise, nothing of one origin is in the log twice.
void inspect_log(const std::string& sid, std::uint64_t last, const RedisReply& log, const RedisReply& numbers,
                 Inspection& out) {
    std::map<std::uint64_t, std::uint64_t> number_of;
    for (std::size_t i = 0; i + 1 < numbers.items.size(); i += 2)
        number_of[to_number(numbers.items[i].text)] = to_number(numbers.items[i + 1].text);
    std::uint64_t before = 0, number = 0;
    std::set<std::string> origins;
    for (const auto& item : log.items) {
        ++out.entries;
        const auto position = to_number(item.items[0].text);
        if (before != 0 && position != before + 1)
            out.findings.insert(
                {"log-gap", sid,
                 "position " + std::to_string(position) + " behind " + std::to_string(before)});
        before = position;
        if (const auto it = number_of.find(position); it != number_of.end()) {
            if (it->second <= number)
                out.findings.insert({"log-numbers", sid,
                                     "position " + std::to_string(position) + " has number " +
                                         std::to_string(it->second) + " behind " + std::to_string(number)});
            number = it->second;
        }
        const auto origin = field(item.items[1], "s") + ' ' + field(item.items[1], "v");
        if (!origin.starts_with(' ') && !origins.insert(origin).second)
            out.findings.insert({"log-twice", sid, "origin " + origin});
    }
    if (before > last)
        out.findings.insert(
            {"log-last", sid, "position " + std::to_string(before) + ", L is " + std::to_string(last)});
}

}  // namespace

awaitable<Result<Inspection>> ClusterBackend::inspect() {
    Inspection out;
    if (!co_await inspect_epochs(out) || !co_await inspect_sessions(out) || !co_await inspect_routes(out) ||
        !co_await inspect_rooms(out))
        co_return asio::error::make_error_code(asio::error::not_connected);
    co_return out;
}

/// Epochs live in the store; Redis has none that is above it.
awaitable<bool> ClusterBackend::inspect_epochs(Inspection& out) {
    std::vector<std::string> ask{"HMGET", prefix_ + "gen", "g", "state"};
    const auto gen = co_await commands_.ask(std::move(ask));
    const auto stored = co_await epochs_.generation();
    const auto homes = co_await epochs_.partitions();
    if (!gen || gen->items.size() != 2 || !stored || !homes) co_return false;
    if (to_number(gen->items[0].text) != stored->g)
        out.findings.insert({"generation", "cluster",
                             "Redis has " + gen->items[0].text + ", the store " + std::to_string(stored->g)});
    if (gen->items[1].text != "open")
        out.findings.insert({"generation-state", "cluster", gen->items[1].text});
    for (const auto& p : *homes) {
        std::vector<std::string> get{"HMGET", key("part", p.home), "serving", "e"};
        const auto part = co_await commands_.ask(std::move(get));
        if (!part || part->items.size() != 2) co_return false;
        if (part->items[0].text.empty()) continue;  // not served since Redis was set up
        out.serving[p.home] = part->items[0].text;
        if (to_number(part->items[1].text) != p.epoch || part->items[0].text != p.serving)
            out.findings.insert({"partition", p.home,
                                 "Redis has " + part->items[0].text + " " + part->items[1].text +
                                     ", the store " + p.serving + " " + std::to_string(p.epoch)});
    }
    for (const auto& node : options_.nodes) {
        std::vector<std::string> length{"XLEN", key("spill", node)};
        const auto spilled = co_await commands_.ask(std::move(length));
        if (!spilled) co_return false;
        if (spilled->integer > 0 && pipeline_.store_up())
            out.findings.insert({"spill", node, std::to_string(spilled->integer) + " groups of rows"});
    }
    co_return true;
}

awaitable<bool> ClusterBackend::inspect_sessions(Inspection& out) {
    std::vector<std::string> ask{"SMEMBERS", prefix_ + "sessions"};
    const auto all = co_await commands_.ask(std::move(ask));
    const auto held = co_await leases(options_.nodes);
    if (!all || all->is_error() || !held) co_return false;
    for (const auto& member : all->items) {
        const auto& sid = member.text;
        const auto s = key("s", sid);
        std::vector<std::vector<std::string>> gets{{"HMGET", s, "jid", "node", "g", "e", "L", "st", "mode"},
                                                   {"XRANGE", s + ":log", "-", "+"},
                                                   {"HGETALL", s + ":k"},
                                                   {"XLEN", s + ":held"}};
        const auto got = co_await ask_all(std::move(gets));
        if (!got) co_return false;
        const auto& record = got->at(0).items;
        if (record.size() != 7) co_return false;
        if (record[0].text.empty()) {
            out.findings.insert({"session-record", sid, "listed, but there is no record"});
            continue;
        }
        const auto& node = record[1].text;
        out.sessions[sid] = {node,
                             {to_number(record[2].text), to_number(record[3].text)},
                             record[5].text == "ending",
                             record[6].text == "live" && record[5].text == "attached"};
        if (record[5].text == "ending")
            out.findings.insert(
                {"session-ending", sid, record[0].text + " does not come to its end at " + node});
        const auto lease = held->find(node);
        if (lease == held->end() || !lease->second)
            out.findings.insert(
                {"session-owner", sid, record[0].text + " is carried by " + node + ", which has no lease"});
        if (to_number(record[2].text) > generation_)
            out.findings.insert({"session-epoch", sid, "of generation " + record[2].text});
        if (record[6].text == "live" && got->at(3).integer > 0)
            out.findings.insert(
                {"session-held", sid, std::to_string(got->at(3).integer) + " held in a live session"});
        inspect_log(sid, to_number(record[4].text), got->at(1), got->at(2), out);
    }
    // Logs without a session: nobody would ever read them.
    std::string cursor = "0";
    const auto prefix = prefix_ + "s:";
    do {
        std::vector<std::string> scan{"SCAN", cursor, "MATCH", prefix + "*", "COUNT", "1000"};
        const auto page = co_await commands_.ask(std::move(scan));
        if (!page || page->items.size() != 2) co_return false;
        cursor = page->items[0].text;
        for (const auto& name : page->items[1].items) {
            const auto rest = name.text.substr(prefix.size());
            const auto sid = rest.substr(0, rest.find(':'));
            if (!out.sessions.contains(sid)) out.findings.insert({"session-orphan", sid, name.text});
        }
    } while (cursor != "0");
    co_return true;
}

/// Each session has its route, and each route its session.
awaitable<bool> ClusterBackend::inspect_routes(Inspection& out) {
    std::set<std::string> routed;
    std::string cursor = "0";
    do {
        std::vector<std::string> scan{"SCAN", cursor, "MATCH", prefix_ + "u:*", "COUNT", "1000"};
        const auto page = co_await commands_.ask(std::move(scan));
        if (!page || page->items.size() != 2) co_return false;
        cursor = page->items[0].text;
        std::vector<std::vector<std::string>> gets;
        for (const auto& name : page->items[1].items) gets.push_back({"HGETALL", name.text});
        const auto routes = co_await ask_all(std::move(gets));
        if (!routes) co_return false;
        for (std::size_t r = 0; r < routes->size(); ++r) {
            const auto& route = routes->at(r);
            for (std::size_t i = 0; i + 1 < route.items.size(); i += 2) {
                if (!route.items[i].text.starts_with("s:")) continue;
                const auto sid = route.items[i].text.substr(2);
                routed.insert(sid);
                const auto carried = out.sessions.find(sid);
                if (carried == out.sessions.end())
                    out.findings.insert({"route-ghost", sid, page->items[1].items[r].text});
                const auto change = codec::decode_route(route.items[i + 1].text);
                if (change && change->entry.available && change->entry.priority >= 0 &&
                    carried != out.sessions.end() && carried->second.live)
                    out.reached.insert(change->account.to_string());
            }
        }
    } while (cursor != "0");
    for (const auto& [sid, session] : out.sessions) {
        if (!routed.contains(sid) && !session.ending)
            out.findings.insert({"session-unrouted", sid, "carried by " + session.node});
    }
    co_return true;
}

awaitable<bool> ClusterBackend::inspect_rooms(Inspection& out) {
    const auto rooms = co_await active_rooms();
    if (!rooms) co_return false;
    for (const auto& jid : *rooms) {
        ++out.rooms;
        const auto name = jid.to_string();
        const auto r = key("r", name);
        std::vector<std::vector<std::string>> gets{
            {"HMGET", r, "pos", "last", "home"}, {"HKEYS", r + ":occ"}, {"XLEN", r + ":in"}};
        const auto got = co_await ask_all(std::move(gets));
        if (!got) co_return false;
        const auto position = to_number(got->at(0).items[0].text);
        const auto last = to_number(got->at(0).items[1].text);
        out.room_homes[name] = got->at(0).items[2].text;
        if (position > last)
            out.findings.insert(
                {"room-position", name, std::to_string(position) + " of " + std::to_string(last)});
        if (position < last)
            out.findings.insert(
                {"room-waiting", name, std::to_string(last - position) + " inputs are not decided"});
        for (const auto& sid : got->at(1).items) {
            if (!out.sessions.contains(sid.text))
                out.findings.insert(
                    {"room-ghost", name, "occupant of the session " + sid.text + ", which is gone"});
        }
    }
    co_return true;
}

}  // namespace hexad
