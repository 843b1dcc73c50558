#include "storage/sql/accounts.hpp"

#include <algorithm>

#include "base/log.hpp"
#include "storage/postgres/assignment.hpp"
#include "storage/postgres/connection.hpp"
#include "storage/sql/values.hpp"
#include "storage/sqlite/connection.hpp"

namespace hexad::sql {
namespace {

constexpr char separator = '\x1f';

StorageError corrupt(std::string_view what, AccountId account) {
    log_error("store_row_corrupt", {{"what", what}, {"account", account}});
    return StorageError::corrupt;
}

#define ACCOUNT_COLUMNS                                                                        \
    "a.id, a.localpart, h.name, a.state, a.source, a.home_node, a.pinned, a.created, a.rule, " \
    "a.assigned_at, a.pinned_at, a.site, a.directory_groups"

/// From ACCOUNT_COLUMNS.
template <class Rows>
Result<AccountRow> account_row(const Rows& row) {
    AccountRow out;
    out.id = row.integer(0);
    const auto jid = Jid::make(row.text(1), row.text(2));
    const auto state = row.integer(3);
    const auto source = row.integer(4);
    if (!jid || state < 0 || state > 3 || source < 0 || source > 1) return corrupt("account", out.id);
    out.jid = *jid;
    out.state = static_cast<AccountState>(state);
    out.source = static_cast<AccountSource>(source);
    out.home_node = row.string(5);
    out.pinned = row.integer(6) != 0;
    out.created = from_micros(row.integer(7));
    out.rule = row.string(8);
    out.assigned = row.integer(9) == 0 ? out.created : from_micros(row.integer(9));
    out.pinned_since = row.integer(10) == 0 ? out.created : from_micros(row.integer(10));
    out.facts = {row.string(11), split_groups(row.text(12))};
    return out;
}

/// The parts of an account, each in the columns of the first.
enum class Part { account, contact, blocked, archive_rule };
#define ACCOUNT_PARTS                                                                                        \
    " FROM account a JOIN host h ON h.id=a.host WHERE h.name=?1 AND a.localpart=?2) "                        \
    "SELECT 0, id, state, source, version, roster_version, archive_default, home_node, author, '', '' FROM " \
    "me "                                                                                                    \
    "UNION ALL SELECT 1, 0, subscription, ask, approved, listed, 0, jid, name, groups, pending_in "          \
    "FROM roster_item WHERE account=(SELECT id FROM me) "                                                    \
    "UNION ALL SELECT 2, 0, 0, 0, 0, 0, 0, jid, '', '', '' FROM blocked WHERE account=(SELECT id FROM me) "  \
    "UNION ALL SELECT 3, 0, keep, 0, 0, 0, 0, jid, '', '', '' FROM archive_rule WHERE account=(SELECT id "   \
    "FROM me)"

template <class Rows>
bool read_account(const Rows& row, AccountData& data) {
    data.id = row.integer(1);
    const auto state = row.integer(2);
    const auto source = row.integer(3);
    const auto by_default = row.integer(6);
    data.state = static_cast<AccountState>(state);
    data.source = static_cast<AccountSource>(source);
    data.version = row.count(4);
    data.roster_version = row.count(5);
    data.archive.by_default = static_cast<ArchiveDefault>(by_default);
    data.home_node = row.string(7);
    data.changed_by = row.string(8);
    return state >= 0 && state <= 3 && source >= 0 && source <= 1 && by_default >= 0 && by_default <= 2;
}

template <class Rows>
bool read_contact(const Rows& row, AccountData& data) {
    const auto jid = Jid::parse(row.text(7));
    const auto subscription = row.integer(2);
    if (!jid || subscription < 0 || subscription > 3) return false;
    RosterItem item;
    item.jid = *jid;
    item.subscription = static_cast<Subscription>(subscription);
    item.ask = row.integer(3) != 0;
    item.approved = row.integer(4) != 0;
    item.listed = row.integer(5) != 0;
    item.name = row.string(8);
    item.groups = split_groups(row.text(9));
    item.pending_in = row.string(10);
    data.roster.emplace(*jid, std::move(item));
    return true;
}

template <class Rows>
bool read_blocked(const Rows& row, AccountData& data) {
    const auto jid = Jid::parse(row.text(7));
    if (jid) data.blocked.insert(*jid);
    return jid.has_value();
}

}  // namespace

std::string join_groups(const std::vector<std::string>& groups) {
    std::string out;
    for (const auto& group : groups) {
        if (&group != &groups.front()) out += separator;
        out += group;
    }
    return out;
}

std::vector<std::string> split_groups(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const auto end = std::min(text.find(separator), text.size());
        out.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

template <class Db>
std::int64_t host_id(Db& db, std::string_view name) {
    for (int round = 0; round < 2; ++round) {
        {
            auto row = db.query("SELECT id FROM host WHERE name=?1", name);
            if (row.next()) return row.integer(0);
        }
        db.run("INSERT INTO host(name) VALUES(?1) ON CONFLICT DO NOTHING", name);
    }
    auto row = db.query("SELECT id FROM host WHERE name=?1", name);
    return row.next() ? row.integer(0) : 0;
}

// One statement: one trip, and all of it is of one moment.
template <class Db>
Result<std::optional<AccountData>> load_account(Db& db, const Jid& bare) {
    AccountData data;
    // One node alone has no other's changes to mistake for its own.
    constexpr std::string_view statement =
        std::is_same_v<Db, sqlite::Connection>
            ? "WITH me AS (SELECT a.*, '' AS author" ACCOUNT_PARTS
            : "WITH me AS (SELECT a.*, a.changed_by AS author" ACCOUNT_PARTS;
    auto row = db.query(statement, bare.domain(), bare.local());
    while (row.next()) {
        switch (static_cast<Part>(row.integer(0))) {
            case Part::account:
                data.jid = bare.bare();
                if (!read_account(row, data)) return corrupt("account", data.id);
                break;
            case Part::contact:
                if (!read_contact(row, data)) return corrupt("roster_item", data.id);
                break;
            case Part::blocked:
                if (!read_blocked(row, data)) return corrupt("blocked", data.id);
                break;
            case Part::archive_rule:
                (row.integer(2) != 0 ? data.archive.always : data.archive.never).insert(row.string(7));
                break;
        }
    }
    if (data.id == 0) return std::optional<AccountData>{};
    return std::optional<AccountData>(std::move(data));
}

template <class Db>
std::vector<ScramCredential> credentials(Db& db, AccountId account) {
    std::vector<ScramCredential> out;
    auto row = db.query(
        "SELECT mechanism, salt, iterations, stored_key, server_key FROM credential WHERE account=?1",
        account);
    while (row.next()) {
        out.push_back(
            {row.string(0), row.string(1), static_cast<int>(row.integer(2)), row.string(3), row.string(4)});
    }
    return out;
}

template <class Db>
std::string document(Db& db, AccountId owner, const std::string& kind, const std::string& key) {
    auto row = db.query("SELECT bytes FROM document WHERE owner=?1 AND kind=?2 AND key=?3", owner, kind, key);
    return row.next() ? row.string(0) : std::string{};
}

template <class Db>
Result<std::optional<AccountRow>> find_account(Db& db, const Jid& bare) {
    auto row = db.query("SELECT " ACCOUNT_COLUMNS
                        " FROM account a JOIN host h ON h.id=a.host WHERE h.name=?1 AND "
                        "a.localpart=?2",
                        bare.domain(), bare.local());
    if (!row.next()) return std::optional<AccountRow>{};
    auto out = account_row(row);
    if (!out) return out.error();
    return std::optional<AccountRow>(std::move(*out));
}

template <class Db>
Result<std::vector<AccountRow>> list_accounts(Db& db, const std::string& domain, const std::string& after,
                                              std::size_t limit) {
    std::vector<AccountRow> out;
    auto row = db.query("SELECT " ACCOUNT_COLUMNS
                        " FROM account a JOIN host h ON h.id=a.host WHERE h.name=?1 AND "
                        "a.localpart>?2 ORDER BY a.localpart LIMIT ?3",
                        domain, after, static_cast<std::int64_t>(limit));
    while (row.next()) {
        auto one = account_row(row);
        if (!one) return one.error();
        out.push_back(std::move(*one));
    }
    return out;
}

template <class Db>
std::map<std::string, std::uint64_t> assignment_counts(Db& db) {
    std::map<std::string, std::uint64_t> out;
    auto row = db.query("SELECT home_node, count(*) FROM account GROUP BY home_node");
    while (row.next()) out[row.string(0)] = row.count(1);
    return out;
}

template <class Db>
Assignments assignments(Db& db) {
    return {assignment_counts(db), meta(db, "high_availability")};
}

template <class Db>
void place_new(Db& db, const Placer& placer, const std::vector<AccountRow*>& rows) {
    std::vector<AccountRow*> homeless;
    for (auto* row : rows) {
        if (row->home_node.empty()) homeless.push_back(row);
    }
    if (!placer || homeless.empty()) return;
    // Whoever else places accounts waits until this transaction ends: two would fill the last seat twice.
    if constexpr (std::is_same_v<Db, postgres::Connection>) postgres::lock_assignment(db);
    std::vector<PlacingFacts> facts;
    for (const auto* row : homeless) facts.push_back(row->facts);
    const auto homes = placer(assignments(db), facts);
    for (std::size_t i = 0; i < homeless.size(); ++i) {
        homeless[i]->home_node = homes[i].node;
        homeless[i]->rule = homes[i].rule;
    }
}

template <class Db>
std::string meta(Db& db, const std::string& key) {
    auto row = db.query("SELECT value FROM meta WHERE key=?1", key);
    return row.next() ? row.string(0) : std::string{};
}

template <class Db>
std::optional<AccountId> insert_account(Db& db, const AccountRow& row,
                                        const std::vector<ScramCredential>& keys) {
    const auto host = host_id(db, row.jid.domain());
    const auto created = row.created == Timestamp{} ? wall_now() : row.created;
    AccountId id = 0;
    {
        auto made = db.query(
            "INSERT INTO account(host, localpart, state, source, home_node, pinned, created, rule, "
            "assigned_at) "
            "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?7) ON CONFLICT DO NOTHING RETURNING id",
            host, row.jid.local(), static_cast<int>(row.state), static_cast<int>(row.source), row.home_node,
            row.pinned, to_micros(created), row.rule);
        if (!made.next()) return std::nullopt;
        id = made.integer(0);
    }
    set_credentials(db, id, keys);
    return id;
}

template <class Db>
bool set_credentials(Db& db, AccountId account, const std::vector<ScramCredential>& keys) {
    if (!db.query("SELECT 1 FROM account WHERE id=?1", account).next()) return false;
    db.run("DELETE FROM credential WHERE account=?1", account);
    for (const auto& key : keys) {
        db.run("INSERT INTO credential VALUES(?1,?2,?3,?4,?5,?6)", account, key.mechanism, Blob{key.salt},
               key.iterations, Blob{key.stored_key}, Blob{key.server_key});
    }
    return true;
}

template <class Db>
bool set_account_state(Db& db, AccountId account, AccountState state) {
    return db.run("UPDATE account SET state=?2 WHERE id=?1", account, static_cast<int>(state)) > 0;
}

template <class Db>
std::optional<OfflineLogin> offline_login(Db& db, AccountId account) {
    auto row = db.query("SELECT salt, hash, last_login FROM offline_login WHERE account=?1", account);
    if (!row.next()) return std::nullopt;
    return OfflineLogin{row.string(0), row.string(1), from_micros(row.integer(2))};
}

template <class Db>
bool set_offline_login(Db& db, AccountId account, const std::optional<OfflineLogin>& login) {
    if (!login) return db.run("DELETE FROM offline_login WHERE account=?1", account) > 0;
    return db.run(
               "INSERT INTO offline_login(account, salt, hash, last_login) SELECT id, ?2, ?3, ?4 FROM "
               "account WHERE id=?1 AND state IN (0, 2) ON CONFLICT(account) DO UPDATE SET "
               "salt=excluded.salt, hash=excluded.hash, last_login=excluded.last_login",
               account, Blob{login->salt}, Blob{login->hash}, to_micros(login->last_login)) > 0;
}

template <class Db>
bool remove_account(Db& db, AccountId account) {
    for (const std::string_view sql :
         {"DELETE FROM credential WHERE account=?1", "DELETE FROM offline_login WHERE account=?1",
          "DELETE FROM roster_item WHERE account=?1", "DELETE FROM blocked WHERE account=?1",
          "DELETE FROM archive_rule WHERE account=?1", "DELETE FROM archive WHERE owner=?1",
          "DELETE FROM offline WHERE owner=?1", "DELETE FROM document WHERE owner=?1"}) {
        db.run(sql, account);
    }
    return db.run("DELETE FROM account WHERE id=?1", account) > 0;
}

template <class Db>
bool set_meta(Db& db, const std::string& key, const std::string& value) {
    return db.run("INSERT INTO meta VALUES(?1,?2) ON CONFLICT(key) DO UPDATE SET value=excluded.value", key,
                  value) > 0;
}

template <class Db>
void write_change(Db& db, const AccountChange& change) {
    for (const auto& jid : change.remove) {
        db.run("DELETE FROM roster_item WHERE account=?1 AND jid=?2", change.account, jid.to_string());
    }
    for (const auto& item : change.put) {
        db.run(
            "INSERT INTO roster_item(account, jid, name, groups, subscription, ask, approved, listed, "
            "pending_in) "
            "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT(account, jid) DO UPDATE SET name=excluded.name, "
            "groups=excluded.groups, subscription=excluded.subscription, ask=excluded.ask, "
            "approved=excluded.approved, listed=excluded.listed, pending_in=excluded.pending_in",
            change.account, item.jid.to_string(), item.name, join_groups(item.groups),
            static_cast<int>(item.subscription), item.ask, item.approved, item.listed, item.pending_in);
    }
    for (const auto& jid : change.unblock) {
        db.run("DELETE FROM blocked WHERE account=?1 AND jid=?2", change.account, jid.to_string());
    }
    for (const auto& jid : change.block) {
        db.run("INSERT INTO blocked VALUES(?1,?2) ON CONFLICT DO NOTHING", change.account, jid.to_string());
    }
    if (change.archive) {
        db.run("DELETE FROM archive_rule WHERE account=?1", change.account);
        for (const auto& jid : change.archive->always) {
            db.run("INSERT INTO archive_rule VALUES(?1,?2,1) ON CONFLICT DO NOTHING", change.account, jid);
        }
        for (const auto& jid : change.archive->never) {
            db.run("INSERT INTO archive_rule VALUES(?1,?2,0) ON CONFLICT DO NOTHING", change.account, jid);
        }
        db.run("UPDATE account SET archive_default=?2 WHERE id=?1", change.account,
               static_cast<int>(change.archive->by_default));
    }
    const auto version = static_cast<std::int64_t>(change.base_version + 1);
    db.run(change.changes_roster() ? "UPDATE account SET version=?2, roster_version=?2 WHERE id=?1"
                                   : "UPDATE account SET version=?2 WHERE id=?1",
           change.account, version);
}

template <class Db>
void write_document(Db& db, const Document& document) {
    if (document.bytes.empty()) {
        db.run("DELETE FROM document WHERE owner=?1 AND kind=?2 AND key=?3", document.owner, document.kind,
               document.key);
    } else {
        db.run(
            "INSERT INTO document(owner, kind, key, bytes) VALUES(?1,?2,?3,?4) ON CONFLICT(owner, kind, key) "
            "DO "
            "UPDATE SET bytes=excluded.bytes",
            document.owner, document.kind, document.key, Blob{document.bytes});
    }
}

#define HEXAD_INSTANTIATE(Db)                                                                           \
    template std::int64_t host_id(Db&, std::string_view);                                               \
    template Result<std::optional<AccountData>> load_account(Db&, const Jid&);                          \
    template std::vector<ScramCredential> credentials(Db&, AccountId);                                  \
    template std::string document(Db&, AccountId, const std::string&, const std::string&);              \
    template Result<std::optional<AccountRow>> find_account(Db&, const Jid&);                           \
    template Result<std::vector<AccountRow>> list_accounts(Db&, const std::string&, const std::string&, \
                                                           std::size_t);                                \
    template std::map<std::string, std::uint64_t> assignment_counts(Db&);                               \
    template std::string meta(Db&, const std::string&);                                                 \
    template Assignments assignments(Db&);                                                              \
    template void place_new(Db&, const Placer&, const std::vector<AccountRow*>&);                       \
    template std::optional<AccountId> insert_account(Db&, const AccountRow&,                            \
                                                     const std::vector<ScramCredential>&);              \
    template bool set_credentials(Db&, AccountId, const std::vector<ScramCredential>&);                 \
    template bool set_account_state(Db&, AccountId, AccountState);                                      \
    template std::optional<OfflineLogin> offline_login(Db&, AccountId);                                 \
    template bool set_offline_login(Db&, AccountId, const std::optional<OfflineLogin>&);                \
    template bool remove_account(Db&, AccountId);                                                       \
    template bool set_meta(Db&, const std::string&, const std::string&);                                \
    template void write_change(Db&, const AccountChange&);                                              \
    template void write_document(Db&, const Document&);
HEXAD_INSTANTIATE(sqlite::Connection)
HEXAD_INSTANTIATE(postgres::Connection)

}  // namespace hexad::sql
