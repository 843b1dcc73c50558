#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "storage/session_log.hpp"
#include "storage/sqlite/connection.hpp"

namespace hexad::sqlite {

/// Sessions with their logs and rooms with their inboxes, on the writer's thread and inside its transaction.
///
/// Small parts of the rows are remembered between transactions, since nobody else writes them; forget() after
/// a rollback. Whoever changes something has checked first: these functions refuse nothing half-way.
class SessionTable {
public:
    explicit SessionTable(Connection& db);

    struct Session {
        std::int64_t id = 0;
        AccountId account = 0;
        std::string sid;
        std::string jid;
        Epoch epoch;
        std::uint64_t in = 0;
        std::uint64_t last = 0;
        std::uint64_t held = 0;  ///< entries that ever waited: the next one's place
        SessionMode mode = SessionMode::bound;
        SessionPhase phase = SessionPhase::attached;
        std::int64_t origins_trimmed = 0;
    };
    struct Room {
        std::int64_t id = 0;
        std::uint64_t position = 0;
        std::uint64_t last = 0;
    };

    void forget();
    Session* find(std::string_view sid);  ///< valid until the next call that ends a session or forgets
    Room& room(std::string_view jid);     ///< made if absent
    std::optional<std::uint64_t> room_position(std::string_view jid);
    bool ended(std::string_view sid);  ///< a tomb is there

    // For batches.
    void put(const SessionRecord& record);
    void set_mode(Session& session, SessionMode mode);
    void advance(Session& session, std::uint64_t in);
    /// `once`: the batch itself cannot repeat (its counter or position moves with it), so the origin is not
    /// looked at. 0: origin taken already, target gone, or held.
    std::uint64_t append(const LogAppend& entry, bool once);
    std::uint64_t append(const RoomInput& input, bool once);  ///< inbox position; 0: origin taken already
    void put(const OccupantPut& occupant);
    void advance_room(Room& room, std::uint64_t position);
    void clear_room(std::string_view jid);  ///< the room was destroyed: its occupants go

    // Operations of SessionLog.
    std::vector<SessionRecord> load();
    Result<ClaimedSession, ClaimRefusal> claim(std::string_view sid, AccountId account,
                                               const std::string& node);
    bool settle(Session& session, std::uint32_t h);
    void number(Session& session, const std::vector<SessionLog::Number>& numbers);
    void ack(Session& session, std::uint64_t position);
    SessionLog::Filled fill(Session& session);
    SessionLog::Ended end(const std::string& sid);
    std::optional<SessionTomb> tomb(std::string_view sid);
    std::vector<SessionLog::RoomEntry> room_inbox(const Jid& room, std::uint64_t position, std::size_t limit);
    SessionLog::RoomState room_state(const Jid& room);
    std::vector<std::string> missing(const std::vector<std::string>& sids);
    std::vector<Jid> active_rooms();

    // The offline store, here because backlog and session end move rows between it and the logs.
    /// Archive position of a stanza-id; 0 = not archived.
    std::uint64_t archive_position(AccountId owner, std::string_view stanza_id);
    /// A place in the one order of archive and offline rows.
    std::uint64_t next_seq() { return ++seq_; }
    void put_offline(AccountId owner, std::string_view stanza_id, std::string_view from, Timestamp at,
                     std::string_view xml, bool again);

    /// Removes what is too old; a little at a time. `now` in microseconds.
    void purge(std::int64_t now);

private:
    struct Hash {
        using is_transparent = void;
        std::size_t operator()(std::string_view s) const noexcept { return std::hash<std::string_view>{}(s); }
    };
    template <class Value>
    using ByName = std::unordered_map<std::string, Value, Hash, std::equal_to<>>;

    bool take_origin(std::int64_t target, const Origin& origin);
    std::uint64_t push(Session& session, std::uint32_t number, EntryKind kind, const Origin& origin,
                       std::string_view stanza_id, std::string_view co_targets, std::string_view xml);
    void remember_got(const Session& session, std::uint64_t position);
    void release_held(Session& session, std::vector<LogEntry>& released);
    void end_entry(const Session& session, const LogEntry& entry, std::string_view co_targets,
                   SessionLog::Ended& out);
    bool due(const Session& session, std::string_view stanza_id, std::string_view co_targets);
    std::vector<LogEntry> entries(const Session& session);

    Connection& db_;
    ByName<Session> sessions_;
    ByName<Room> rooms_;
    std::uint64_t seq_ = 0;
    std::int64_t now_s_ = 0;  ///< of the group, for ages

    Statement insert_log_, insert_held_, take_origin_, set_counter_, insert_input_, delete_log_, set_last_,
        find_archived_;
};

}  // namespace hexad::sqlite
