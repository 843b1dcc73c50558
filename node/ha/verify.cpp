// `hexactl cluster verify`: Redis, the store and the memory of all nodes, compared.
#include <boost/json.hpp>

#include "ha/json_fields.hpp"
#include "ha/manager.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

constexpr milliseconds between_looks{1500};

std::string text_of(Epoch epoch) { return std::to_string(epoch.g) + '.' + std::to_string(epoch.e); }

}  // namespace

/// The sessions in this node's memory, each with its epoch.
std::map<std::string, std::string> HaManager::carried() const {
    std::map<std::string, std::string> out;
    for (const auto& [sid, session] : router_.sessions()) {
        if (!session->finished && !session->closing) out[sid] = text_of(session->state.epoch);
    }
    return out;
}

namespace {

/// Entries of one answer: a message of the peer link is bounded, a node's sessions are not.
constexpr std::size_t entries_at_once = 2000;

void put_page(json::object& out, std::string_view what, const std::map<std::string, std::string>& all,
              const json::object& request, std::string_view after) {
    // A node of an older version knows no pages.
    const auto most = request.contains(after) ? entries_at_once : all.size();
    json::object page;
    auto it = all.upper_bound(text(request, after));
    for (; it != all.end() && page.size() < most; ++it) page[it->first] = it->second;
    out[what] = std::move(page);
    if (it != all.end()) out["more"] = true;
}

/// The last name of a page that was added, else `after`.
std::string take_page(const json::object& answer, std::string_view what, std::string after,
                      std::map<std::string, std::string>& all) {
    const auto& page = field(answer, what);
    if (!page.is_object()) return after;
    for (const auto& [name, value] : page.as_object()) {
        all[std::string(name)] = value.is_string() ? std::string(value.as_string()) : std::string();
        after = std::max(after, std::string(name));
    }
    return after;
}

}  // namespace

/// What this node carries, behind the names that the request gives: `sessions`, `rooms`, and whether there is
/// `more`.
json::object HaManager::answer_carried(const json::object& request) const {
    json::object out;
    put_page(out, "sessions", carried(), request, "after");
    put_page(out, "rooms", rooms_in_memory(), request, "after_room");
    return out;
}

/// What another node carries; false: it did not tell.
awaitable<bool> HaManager::ask_carried(std::string node, Carried& carried) {
    std::string sid, room;
    for (bool more = true; more;) {
        json::object request{{"do", "carried"}, {"after", sid}, {"after_room", room}};
        const auto reply = co_await link_->ask(node, std::move(request), seconds(10));
        if (!reply || !reply->contains("sessions")) co_return false;
        auto next_sid = take_page(*reply, "sessions", sid, carried.sessions);
        auto next_room = take_page(*reply, "rooms", room, carried.rooms);
        more = flag(*reply, "more") && (next_sid != sid || next_room != room);
        sid = std::move(next_sid);
        room = std::move(next_room);
    }
    co_return true;
}

/// Memory against Redis: exactly one node has each session, under the epoch in force.
awaitable<void> HaManager::compare_memory(Inspection& found) {
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) {
            Carried memory;
            if (n.name == node_) {
                memory = {carried(), rooms_in_memory()};
            } else {
                if (!link_ || !link_->view(n.name).up) continue;
                if (!co_await ask_carried(n.name, memory)) {
                    found.findings.insert({"node-silent", n.name, "did not tell what it carries"});
                    continue;
                }
            }
            compare_rooms_of(n.name, memory.rooms, found);
            const auto& sessions = memory.sessions;
            for (const auto& [sid, epoch] : sessions) {
                const auto it = found.sessions.find(sid);
                if (it == found.sessions.end()) {
                    found.findings.insert(
                        {"memory-ghost", sid, n.name + " carries it, Redis does not know it"});
                } else if (it->second.node == n.name && text_of(it->second.epoch) != epoch) {
                    found.findings.insert(
                        {"memory-epoch", sid,
                         n.name + " has " + epoch + ", Redis " + text_of(it->second.epoch)});
                } else if (it->second.node != n.name) {
                    found.findings.insert(
                        {"memory-owner", sid, n.name + " carries it, Redis says " + it->second.node});
                }
            }
            for (const auto& [sid, session] : found.sessions) {
                if (session.node == n.name && !session.ending && !sessions.contains(sid))
                    found.findings.insert(
                        {"memory-lost", sid, "Redis says " + n.name + ", which does not have it"});
            }
        }
    }
}

/// The store against Redis: nobody who is there waits for messages of the past, no room's history has a hole.
awaitable<void> HaManager::compare_store(Inspection& found) {
    const auto waiting = co_await redundancy_.offline_waiting();
    const auto holes = co_await redundancy_.history_holes();
    if (!waiting || !holes) {
        found.findings.insert({"store-silent", node_, "the store does not answer"});
        co_return;
    }
    for (const auto& w : *waiting) {
        const auto rows = std::to_string(w.rows) + " offline messages";
        if (!w.sid.empty() && !found.sessions.contains(w.sid))
            found.findings.insert(
                {"offline-taken", w.account, rows + " of the session " + w.sid + ", which is gone"});
        if (w.sid.empty() && found.reached.contains(w.account))
            found.findings.insert({"offline-waiting", w.account, rows + ", though a session of it is there"});
    }
    for (const auto& [room, detail] : *holes) found.findings.insert({"room-history", room, detail});
}

/// One look at all there is.
awaitable<Result<Inspection>> HaManager::look() {
    auto found = co_await cluster_.inspect();
    if (!found) co_return found.error();
    co_await compare_memory(*found);
    co_await compare_store(*found);
    co_await compare_rooms(*found);
    co_return std::move(*found);
}

awaitable<Result<json::object>> HaManager::verify() {
    const auto first = co_await look();
    if (!first) co_return first.error();
    Inspection second = *first;
    if (!first->findings.empty()) {
        co_await pause(between_looks);
        auto again = co_await look();
        if (!again) co_return again.error();
        second = std::move(*again);
    }
    json::array findings;
    for (const auto& finding : second.findings) {
        if (!first->findings.contains(finding)) continue;
        json::object one{{"rule", finding.rule}, {"subject", finding.subject}};
        one["detail"] = finding.detail;
        findings.push_back(std::move(one));
    }
    co_return json::object{{"clean", findings.empty()},
                           {"sessions", second.sessions.size()},
                           {"log_entries", second.entries},
                           {"rooms", second.rooms},
                           {"findings", std::move(findings)}};
}

}  // namespace hexad
