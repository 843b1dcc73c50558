#include "cluster/wire_codec.hpp"

#include "cluster/wire.pb.h"

namespace hexad::codec {

namespace {

bool read_jid(const std::string& text, Jid& out) {
    auto jid = Jid::parse(text);
    if (!jid) return false;
    out = std::move(*jid);
    return true;
}

}  // namespace

std::string encode(const LogAppend& append) {
    wire::Entry m;
    m.set_kind(static_cast<std::uint32_t>(append.kind));
    m.set_source(append.origin.source);
    m.set_n(append.origin.n);
    m.set_sub(append.origin.sub);
    m.set_stanza_id(append.stanza_id);
    for (const auto& sid : append.co_targets) m.add_co_targets(sid);
    m.set_owner(append.owner);
    m.set_xml(*append.xml);
    return m.SerializeAsString();
}

std::optional<DecodedEntry> decode_entry(const std::string& bytes) {
    wire::Entry m;
    if (!m.ParseFromString(bytes) || m.kind() > static_cast<std::uint32_t>(EntryKind::iq))
        return std::nullopt;
    DecodedEntry out;
    out.entry.kind = static_cast<EntryKind>(m.kind());
    out.entry.origin = {m.source(), m.n(), m.sub()};
    out.entry.stanza_id = m.stanza_id();
    out.entry.xml = make_bytes(m.xml());
    out.entry.co_targets.assign(m.co_targets().begin(), m.co_targets().end());
    out.co_targets = out.entry.co_targets;
    out.owner = m.owner();
    return out;
}

std::string encode(const RouteChange& change) {
    wire::Route m;
    const auto& e = change.entry;
    m.set_account(change.account.to_string());
    m.set_sid(e.sid);
    m.set_node(e.node);
    m.set_jid(e.jid.to_string());
    m.set_presence(e.presence);
    m.set_priority(e.priority);
    m.set_available(e.available);
    m.set_interested(e.interested);
    m.set_block_interested(e.block_interested);
    m.set_carbons(e.carbons);
    for (const auto& jid : e.hidden_from) m.add_hidden_from(jid.to_string());
    m.set_ended(change.ended);
    m.set_broadcast(change.broadcast);
    m.set_moves_version(change.moves_version);
    if (change.left_messages) m.set_left_messages(true);
    return m.SerializeAsString();
}

std::optional<RouteChange> decode_route(const std::string& bytes) {
    wire::Route m;
    RouteChange out;
    if (!m.ParseFromString(bytes) || !read_jid(m.account(), out.account) ||
        !read_jid(m.jid(), out.entry.jid)) {
        return std::nullopt;
    }
    auto& e = out.entry;
    e.sid = m.sid();
    e.node = m.node();
    e.presence = m.presence();
    e.priority = static_cast<std::int8_t>(m.priority());
    e.available = m.available();
    e.interested = m.interested();
    e.block_interested = m.block_interested();
    e.carbons = m.carbons();
    for (const auto& text : m.hidden_from()) {
        Jid jid;
        if (read_jid(text, jid)) e.hidden_from.push_back(std::move(jid));
    }
    out.ended = m.ended();
    out.broadcast = m.broadcast();
    out.moves_version = m.moves_version();
    out.left_messages = m.left_messages();
    return out;
}

std::string encode(const Notice& notice) {
    wire::Notice m;
    m.set_audience(static_cast<std::uint32_t>(notice.audience));
    m.set_account(notice.account.to_string());
    m.set_sid(notice.sid);
    m.set_xml(*notice.xml);
    m.set_address(notice.address);
    return m.SerializeAsString();
}

std::optional<Notice> decode_notice(const std::string& bytes) {
    wire::Notice m;
    Notice out;
    if (!m.ParseFromString(bytes) ||
        m.audience() > static_cast<std::uint32_t>(Notice::Audience::block_interested) ||
        !read_jid(m.account(), out.account)) {
        return std::nullopt;
    }
    out.audience = static_cast<Notice::Audience>(m.audience());
    out.sid = m.sid();
    out.xml = make_bytes(m.xml());
    out.address = m.address();
    return out;
}

std::string encode(const RoomInput& input) {
    wire::RoomInput m;
    m.set_room(input.room.to_string());
    m.set_source(input.origin.source);
    m.set_n(input.origin.n);
    m.set_sub(input.origin.sub);
    m.set_sid(input.sid);
    m.set_from(input.from.to_string());
    m.set_xml(*input.xml);
    return m.SerializeAsString();
}

std::optional<RoomInput> decode_room_input(const std::string& bytes) {
    wire::RoomInput m;
    RoomInput out;
    if (!m.ParseFromString(bytes) || !read_jid(m.room(), out.room) || !read_jid(m.from(), out.from))
        return std::nullopt;
    out.origin = {m.source(), m.n(), m.sub()};
    out.sid = m.sid();
    out.xml = make_bytes(m.xml());
    return out;
}

std::string encode_rows(const Batch& batch) {
    wire::Rows m;
    for (const auto& row : batch.archive) {
        auto& a = *m.add_archive();
        a.set_owner(row.owner);
        a.set_stanza_id(row.stanza_id);
        a.set_direction(static_cast<std::uint32_t>(row.direction));
        a.set_with(row.with.to_string());
        a.set_origin_id(row.origin_id);
        a.set_hash(row.content_hash);
        a.set_at(row.at.time_since_epoch().count());
        a.set_xml(*row.xml);
    }
    for (const auto& row : batch.offline) {
        auto& o = *m.add_offline();
        o.set_owner(row.owner);
        o.set_stanza_id(row.stanza_id);
        o.set_from(row.from.to_string());
        o.set_at(row.at.time_since_epoch().count());
        o.set_xml(*row.xml);
    }
    for (const auto& row : batch.room_archive) {
        auto& r = *m.add_room_archive();
        r.set_room(row.room);
        r.set_hist(row.hist);
        r.set_stanza_id(row.stanza_id);
        r.set_from(row.from.to_string());
        r.set_at(row.at.time_since_epoch().count());
        r.set_xml(*row.xml);
    }
    return m.SerializeAsString();
}

std::optional<Batch> decode_rows(const std::string& bytes) {
    wire::Rows m;
    if (!m.ParseFromString(bytes)) return std::nullopt;
    const auto time = [](std::int64_t micros) { return Timestamp(std::chrono::microseconds(micros)); };
    Batch out;
    for (const auto& a : m.archive()) {
        ArchiveRow row;
        row.owner = a.owner();
        row.stanza_id = a.stanza_id();
        row.direction = a.direction() == 0 ? Direction::in : Direction::out;
        if (!read_jid(a.with(), row.with)) return std::nullopt;
        row.origin_id = a.origin_id();
        row.content_hash = a.hash();
        row.at = time(a.at());
        row.xml = make_bytes(a.xml());
        out.archive.push_back(std::move(row));
    }
    for (const auto& o : m.offline()) {
        OfflineRow row;
        row.owner = o.owner();
        row.stanza_id = o.stanza_id();
        if (!read_jid(o.from(), row.from)) return std::nullopt;
        row.at = time(o.at());
        row.xml = make_bytes(o.xml());
        out.offline.push_back(std::move(row));
    }
    for (const auto& r : m.room_archive()) {
        RoomArchiveRow row;
        row.room = r.room();
        row.hist = r.hist();
        row.stanza_id = r.stanza_id();
        if (!read_jid(r.from(), row.from)) return std::nullopt;
        row.at = time(r.at());
        row.xml = make_bytes(r.xml());
        out.room_archive.push_back(std::move(row));
    }
    return out;
}

}  // namespace hexad::codec
