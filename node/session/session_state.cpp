#include "session/session.hpp"
#include "session/session.pb.h"

namespace hexad {

std::string encode_state(const SessionState& state) {
    wire::SessionState message;
    if (!state.presence.empty()) message.set_presence(state.presence);
    message.set_priority(state.priority);
    message.set_available(state.available);
    message.set_interested(state.interested);
    message.set_block_interested(state.block_interested);
    message.set_carbons(state.carbons);
    message.set_inactive(state.inactive);
    for (const auto& jid : state.directed) message.add_directed(jid.to_string());
    for (const auto& jid : state.rooms) message.add_rooms(jid.to_string());
    return message.SerializeAsString();
}

bool decode_state(const std::string& bytes, SessionState& state) {
    wire::SessionState message;
    if (!message.ParseFromString(bytes)) return false;
    state.presence = message.presence();
    state.priority = static_cast<std::int8_t>(message.priority());
    state.available = message.available();
    state.interested = message.interested();
    state.block_interested = message.block_interested();
    state.carbons = message.carbons();
    state.inactive = message.inactive();
    for (const auto& text : message.directed()) {
        if (auto jid = Jid::parse(text)) state.directed.insert(std::move(*jid));
    }
    for (const auto& text : message.rooms()) {
        if (auto jid = Jid::parse(text)) state.rooms.insert(std::move(*jid));
    }
    return true;
}

RouteEntry route_entry(const SessionState& state, const std::string& node) {
    RouteEntry entry;
    entry.sid = state.sid;
    entry.node = node;
    entry.jid = state.jid;
    entry.presence = state.presence;
    entry.priority = state.priority;
    entry.available = state.available;
    entry.interested = state.interested;
    entry.block_interested = state.block_interested;
    entry.carbons = state.carbons;
    // Only contacts that would otherwise see the presence matter.
    for (const auto& blocked : state.account->blocked) entry.hidden_from.push_back(blocked);
    return entry;
}

}  // namespace hexad
