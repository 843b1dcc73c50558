#include "storage/sqlite/batch_writer.hpp"

#include <algorithm>

#include "storage/sql/accounts.hpp"
#include "storage/sql/rooms.hpp"
#include "storage/sql/values.hpp"

namespace hexad::sqlite {

using sql::id_hash;
using sql::to_micros;

namespace {

constexpr std::string_view room_prefix = "room:";

std::string_view xml_of(const Bytes& bytes) { return bytes ? std::string_view(*bytes) : std::string_view{}; }

const SessionRecord* record_of(const Batch& batch, std::string_view sid) {
    const auto it = std::ranges::find(batch.sessions, sid, &SessionRecord::sid);
    return it == batch.sessions.end() ? nullptr : &*it;
}

std::string_view room_of(const Batch& batch) {
    std::string_view source = batch.origin.source;
    if (source.starts_with(room_prefix)) source.remove_prefix(room_prefix.size());
    return source;
}

}  // namespace

BatchWriter::BatchWriter(Connection& db, SessionTable& sessions)
    : db_(db),
      sessions_(sessions),
      insert_archive_(db, "INSERT INTO archive VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)") {}

CommitOutcome BatchWriter::write(const Batch& batch) {
    CommitOutcome outcome;
    outcome.positions.assign(batch.appends.size(), 0);
    outcome.room_positions.assign(batch.room_inputs.size(), 0);
    const auto verdict = check(batch);
    outcome.status = verdict.status;
    if (verdict.status != CommitStatus::ok || verdict.done_before) return outcome;

    for (const auto& one : batch.accounts) sql::write_change(db_, one);
    archive(batch);
    rooms(batch);
    for (const auto& record : batch.sessions) sessions_.put(record);
    for (const auto& sid : batch.filling) {
        if (auto* session = sessions_.find(sid)) sessions_.set_mode(*session, SessionMode::filling);
    }
    if (batch.advances) sessions_.advance(*sessions_.find(batch.origin.source), batch.origin.n);
    const bool once = batch.advances || batch.room_step;
    for (std::size_t i = 0; i < batch.appends.size(); ++i)
        outcome.positions[i] = sessions_.append(batch.appends[i], once);
    for (std::size_t i = 0; i < batch.room_inputs.size(); ++i) {
        outcome.room_positions[i] = sessions_.append(batch.room_inputs[i], once);
    }
    for (const auto& occupant : batch.occupants) sessions_.put(occupant);
    if (batch.room_step) sessions_.advance_room(sessions_.room(room_of(batch)), batch.room_position);
    return outcome;
}

BatchWriter::Verdict BatchWriter::check(const Batch& batch) {
    if (batch.advances) {
        const auto* session = sessions_.find(batch.origin.source);
        if (session == nullptr) {
            // The stanza that binds brings its own record.
            if (record_of(batch, batch.origin.source) == nullptr) return {CommitStatus::not_owner};
        } else {
            if (session->epoch != batch.epoch) return {CommitStatus::not_owner};
            if (batch.origin.n <= session->in) return {CommitStatus::ok, true};
            if (session->in != batch.previous) return {CommitStatus::out_of_order};
        }
    }
    if (batch.room_step) {
        const auto position = sessions_.room_position(room_of(batch));
        if (position && batch.room_position <= *position) return {CommitStatus::ok, true};
        // One node cannot lose a room to another; a room step that names an epoch is held to it all the same.
        if (batch.epoch.e != 0) {
            const auto jid = Jid::parse(room_of(batch));
            if (!jid) return {CommitStatus::not_owner};
            auto row = db_.query(
                "SELECT epoch FROM room WHERE localpart=?2 AND host=(SELECT id FROM host WHERE name=?1)",
                jid->domain(), jid->local());
            if (row.next() && row.count(0) != batch.epoch.e) return {CommitStatus::not_owner};
        }
    }
    if (const auto status = check_records(batch); status != CommitStatus::ok) return {status};
    return {check_versions(batch)};
}

/// A record of a claimed or ended session comes from a carrier that has lost it.
CommitStatus BatchWriter::check_records(const Batch& batch) {
    for (const auto& record : batch.sessions) {
        const auto* known = sessions_.find(record.sid);
        if (known != nullptr ? known->epoch != record.epoch : sessions_.ended(record.sid))
            return CommitStatus::not_owner;
    }
    return CommitStatus::ok;
}

CommitStatus BatchWriter::check_versions(const Batch& batch) {
    for (std::size_t i = 0; i < batch.accounts.size(); ++i) {
        const auto& change = batch.accounts[i];
        std::optional<std::uint64_t> version;
        for (std::size_t j = 0; j < i; ++j) {  // an earlier change of the same batch moves it
            if (batch.accounts[j].account == change.account) version = batch.accounts[j].base_version + 1;
        }
        if (!version) {
            auto row = db_.query("SELECT version FROM account WHERE id=?1", change.account);
            if (row.next()) version = row.count(0);
        }
        if (version != change.base_version) return CommitStatus::version_moved;
    }
    return CommitStatus::ok;
}

void BatchWriter::archive(const Batch& batch) {
    for (const auto& row : batch.archive) {
        if (sessions_.archive_position(row.owner, row.stanza_id) != 0) continue;
        auto& insert = insert_archive_;
        insert.reset();
        insert.bind(1, static_cast<std::int64_t>(sessions_.next_seq())).bind(2, row.owner);
        insert.bind(3, id_hash(row.stanza_id))
            .bind(4, row.stanza_id)
            .bind(5, static_cast<int>(row.direction));
        insert.bind(6, to_micros(row.at)).bind(7, row.with.bare_view()).bind(8, row.with.resource());
        // Only what an account sent is ever looked for by its origin-id.
        if (row.direction == Direction::out && !row.origin_id.empty()) {
            insert.bind(9, row.origin_id).bind(10, Blob{row.content_hash});
        } else {
            insert.bind(9, nullptr).bind(10, nullptr);
        }
        insert.bind(11, xml_of(row.xml)).run();
    }
    for (const auto& row : batch.offline) {
        sessions_.put_offline(row.owner, row.stanza_id, row.from.to_string(), row.at, xml_of(row.xml), false);
    }
    for (const auto& document : batch.documents) sql::write_document(db_, document);
}

void BatchWriter::rooms(const Batch& batch) {
    for (const auto& row : batch.room_archive) {
        db_.run("INSERT INTO room_archive VALUES(?1,?2,?3,?4,?5,?6) ON CONFLICT DO NOTHING",
                row.room << 32 | static_cast<std::int64_t>(row.hist), row.room, row.stanza_id,
                to_micros(row.at), row.from.to_string(), xml_of(row.xml));
        db_.run("UPDATE room SET hist=?2 WHERE id=?1 AND hist<?2", row.room,
                static_cast<std::int64_t>(row.hist));
    }
    for (const auto id : batch.destroyed_rooms) {
        std::string jid;
        {
            auto row = db_.query(
                "SELECT localpart||'@'||name FROM room JOIN host ON host.id=room.host WHERE room.id=?1", id);
            if (row.next()) jid = row.string(0);
        }
        if (!jid.empty()) sessions_.clear_room(jid);
    }
    sql::write_rooms(db_, batch);
}

}  // namespace hexad::sqlite
