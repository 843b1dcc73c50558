// A batch as the commit script takes it: MessagePack, see scripts/prelude.lua.
#include "cluster/cluster_backend.hpp"
#include "cluster/msgpack.hpp"
#include "cluster/wire_codec.hpp"
#include "cluster/words.hpp"

namespace hexad {

std::string ClusterBackend::encode(const Batch& b, const std::string& spill) const {
    MsgpackWriter w;
    const auto bare_source = [&] {
        // Stanzas before <enable/> have a source of their own; the session they belong to is the same.
        auto sid = b.room_step ? std::string() : b.origin.source;
        if (sid.ends_with('#')) sid.pop_back();
        return sid;
    };
    std::vector<std::pair<std::string, std::string>> notices;
    for (const auto& notice : b.notices) {
        const auto bytes = codec::encode(notice);
        for (const auto& node : nodes_of_account(notice.account)) notices.emplace_back(node, bytes);
    }
    w.map(20);
    w.text("sid").text(bare_source());
    w.text("g").text(std::to_string(b.epoch.g)).text("e").text(std::to_string(b.epoch.e));
    w.text("n").number(b.origin.n).text("previous").number(b.previous).text("advances").boolean(b.advances);
    const auto room = b.room_step ? Jid::parse(b.origin.source.substr(5)) : Result<Jid, JidError>(Jid{});
    w.text("room").text(b.room_step && room ? room->to_string() : "");
    w.text("home").text(b.room_step && room ? home_of_room(*room) : "");
    w.text("position").number(b.room_position).text("gone").boolean(b.room_gone);
    w.text("checks").array(static_cast<std::uint32_t>(b.checks.size()));
    for (const auto& check : b.checks) {
        w.map(2).text("u").text(check.account.to_string()).text("v").text(std::to_string(check.version));
    }
    w.text("sessions").array(static_cast<std::uint32_t>(b.sessions.size()));
    for (const auto& s : b.sessions) {
        w.map(11)
            .text("sid")
            .text(s.sid)
            .text("fresh")
            .boolean(s.fresh)
            .text("jid")
            .text(s.jid.to_string())
            .text("acc")
            .text(std::to_string(s.account));
        w.text("g").text(std::to_string(s.epoch.g)).text("e").text(std::to_string(s.epoch.e));
        w.text("mode").text(word_of(s.mode));
        w.text("st").text(word_of(s.phase));
        w.text("till")
            .text(micros(s.until))
            .text("res")
            .text(s.resumable ? "1" : "0")
            .text("state")
            .text(s.state);
    }
    w.text("filling").array(static_cast<std::uint32_t>(b.filling.size()));
    for (const auto& sid : b.filling) w.text(sid);
    w.text("appends").array(static_cast<std::uint32_t>(b.appends.size()));
    for (const auto& a : b.appends) {
        const bool held = a.kind != EntryKind::iq && a.kind != EntryKind::transient;
        w.map(7).text("t").text(a.sid).text("src").text(a.origin.source).text("n").number(a.origin.n);
        w.text("sub").number(a.origin.sub).text("held").boolean(held).text("e").text(codec::encode(a));
        w.text("shared").text(a.co_targets.empty() ? std::string() : a.stanza_id);
    }
    w.text("rooms").array(static_cast<std::uint32_t>(b.room_inputs.size()));
    for (const auto& m : b.room_inputs) {
        w.map(6)
            .text("room")
            .text(m.room.to_string())
            .text("src")
            .text(m.origin.source)
            .text("n")
            .number(m.origin.n);
        w.text("sub")
            .number(m.origin.sub)
            .text("home")
            .text(home_of_room(m.room))
            .text("e")
            .text(codec::encode(m));
    }
    w.text("occupants").array(static_cast<std::uint32_t>(b.occupants.size()));
    for (const auto& o : b.occupants) {
        w.map(4)
            .text("room")
            .text(o.room.to_string())
            .text("sid")
            .text(o.sid)
            .text("bytes")
            .text(o.bytes)
            .text("removed")
            .boolean(o.removed);
    }
    w.text("routes").array(static_cast<std::uint32_t>(b.routes.size()));
    for (const auto& c : b.routes) {
        RouteChange kept = c;
        kept.broadcast.clear();
        const bool gone = !c.broadcast.empty() && (c.ended || !c.entry.available);
        w.map(7)
            .text("u")
            .text(c.account.to_string())
            .text("sid")
            .text(c.entry.sid)
            .text("ended")
            .boolean(c.ended);
        w.text("gone").text(gone ? c.entry.jid.to_string() : std::string());
        w.text("moves")
            .boolean(c.moves_version)
            .text("entry")
            .text(codec::encode(kept))
            .text("change")
            .text(codec::encode(c));
    }
    w.text("notices").array(static_cast<std::uint32_t>(notices.size()));
    for (const auto& [node, bytes] : notices) w.map(2).text("node").text(node).text("bytes").text(bytes);
    std::vector<std::string> changed;
    for (const auto& change : b.accounts) {
        if (const auto name = account_name(change.account)) changed.push_back(name->to_string());
    }
    w.text("accounts").array(static_cast<std::uint32_t>(changed.size()));
    for (const auto& name : changed) w.text(name);
    w.text("spill").text(spill);
    return w.take();
}

}  // namespace hexad
