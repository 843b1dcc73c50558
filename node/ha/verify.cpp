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
json::object HaManager::carried() const {
    json::object out;
    for (const auto& [sid, session] : router_.sessions()) {
        if (!session->finished && !session->closing) out[sid] = text_of(session->state.epoch);
    }
    return out;
}

/// Memory against Redis: exactly one node has each session, under the epoch in force.
awaitable<void> HaManager::compare_memory(Inspection& found) {
    for (const auto& group : config_.groups) {
        for (const auto& n : group.nodes) {
            json::object sessions;
            if (n.name == node_) {
                sessions = carried();
                compare_rooms_of(n.name, rooms_in_memory(), found);
            } else {
                if (!link_ || !link_->view(n.name).up) continue;
                json::object request{{"do", "carried"}};
                const auto reply = co_await link_->ask(n.name, std::move(request), seconds(10));
                if (!reply || !reply->contains("sessions")) {
                    found.findings.insert({"node-silent", n.name, "did not tell what it carries"});
                    continue;
                }
                sessions = reply->at("sessions").as_object();
                if (const auto& rooms = field(*reply, "rooms"); rooms.is_object())
                    compare_rooms_of(n.name, rooms.as_object(), found);
            }
            for (const auto& [sid, epoch] : sessions) {
                const auto it = found.sessions.find(std::string(sid));
                if (it == found.sessions.end()) {
                    found.findings.insert(
                        {"memory-ghost", std::string(sid), n.name + " carries it, Redis does not know it"});
                } else if (it->second.node == n.name && text_of(it->second.epoch) != epoch.as_string()) {
                    found.findings.insert({"memory-epoch", std::string(sid),
                                           n.name + " has " + std::string(epoch.as_string()) + ", Redis " +
                                               text_of(it->second.epoch)});
                } else if (it->second.node != n.name) {
                    found.findings.insert({"memory-owner", std::string(sid),
                                           n.name + " carries it, Redis says " + it->second.node});
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
