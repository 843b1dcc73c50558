#include "storage/sql/archive.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>
#include <vector>

#include "storage/postgres/connection.hpp"
#include "storage/sql/values.hpp"
#include "storage/sqlite/connection.hpp"

namespace hexad::sql {
namespace {

/// Where one kind of archive keeps what.
struct Table {
    std::string name;
    std::string where;     ///< the rows of one owner (?1)
    std::string position;  ///< the column that orders them
    std::string row;       ///< what else, beside its position, tells one row
    std::string by_id;     ///< the row of a stanza-id (?2; ?3 = id_hash if `hashed`)
    bool hashed = false;
};

template <class Db>
Table table_of(ArchiveOf kind);

template <>
Table table_of<sqlite::Connection>(ArchiveOf kind) {
    if (kind == ArchiveOf::account) {
        return {"archive", " INDEXED BY archive_key WHERE owner=?1",          "seq",
                "",        " WHERE owner=?1 AND stanza_id=?2 AND id_hash=?3", true};
    }
    return {"room_archive", " WHERE room=?1 AND key BETWEEN ?1<<32 AND (?1<<32)+4294967295", "key", "",
            " WHERE room=?1 AND stanza_id=?2"};
}

/// A page of an account ends at the oldest running transaction: a row with a lower seq may still commit. A
/// room's rows come from one writer, in order.
template <>
Table table_of<postgres::Connection>(ArchiveOf kind) {
    if (kind == ArchiveOf::account) {
        return {"archive", " WHERE owner=?1 AND xid < pg_snapshot_xmin(pg_current_snapshot())", "seq", "",
                " WHERE owner=?1 AND stanza_id=?2"};
    }
    return {"room_archive", " WHERE room=?1", "hist", " AND room=?1", " WHERE room=?1 AND stanza_id=?2"};
}

/// A statement whose conditions depend on the query.
class Select {
public:
    Select(std::string sql, std::int64_t owner) : sql_(std::move(sql)) { values_.emplace_back(owner); }
    std::string place(Value value) {
        values_.push_back(std::move(value));
        return "?" + std::to_string(values_.size());
    }
    void add(const std::string& sql) { sql_ += sql; }
    template <class Db>
    auto rows(Db& db) const {
        return db.query_values(sql_, values_);
    }

private:
    std::string sql_;
    std::vector<Value> values_;
};

/// Where the ids are that a filter names.
struct Named {
    std::optional<std::int64_t> newer_than, older_than;
    std::vector<std::int64_t> ids;
};

void add_filter(Select& select, ArchiveOf kind, const Table& table, const ArchiveQuery& query,
                const Named& named) {
    if (query.with && kind == ArchiveOf::account) {
        select.add(" AND with_bare=" + select.place(std::string(query.with->bare_view())));
        if (query.with->is_full()) {
            select.add(" AND with_resource=" + select.place(std::string(query.with->resource())));
        }
    } else if (query.with && query.with->is_full()) {
        select.add(" AND sender=" + select.place(query.with->to_string()));
    } else if (query.with) {  // '0' is the character after '/'
        const auto jid = query.with->to_string();
        select.add(" AND (sender=" + select.place(jid) + " OR (sender>" + select.place(jid + "/") +
                   " AND sender<" + select.place(jid + "0") + "))");
    }
    if (query.start) select.add(" AND ts>=" + select.place(to_micros(*query.start)));
    if (query.end) select.add(" AND ts<=" + select.place(to_micros(*query.end)));
    if (named.newer_than) select.add(" AND " + table.position + ">" + select.place(*named.newer_than));
    if (named.older_than) select.add(" AND " + table.position + "<" + select.place(*named.older_than));
    if (!query.ids.empty()) {
        std::string list;
        for (const auto position : named.ids) list += (list.empty() ? "" : ",") + select.place(position);
        select.add(" AND " + table.position + " IN (" + list + ")");
    }
}

template <class Db>
std::optional<std::int64_t> position_of(Db& db, const Table& table, std::int64_t owner,
                                        const std::string& id) {
    const auto sql = "SELECT " + table.position + " FROM " + table.name + table.by_id;
    auto row = table.hashed ? db.query(sql, owner, id, id_hash(id)) : db.query(sql, owner, id);
    if (!row.next()) return std::nullopt;
    return row.integer(0);
}

template <class Rows>
ArchiveItem item_of(const Rows& row) {
    return {row.string(1), from_micros(row.integer(2)), row.string(3)};
}

}  // namespace

template <class Db>
ArchivePage archive_page(Db& db, ArchiveOf kind, std::int64_t id, const ArchiveQuery& query) {
    ArchivePage page;
    const auto table = table_of<Db>(kind);
    std::int64_t after = std::numeric_limits<std::int64_t>::min();
    std::int64_t before = std::numeric_limits<std::int64_t>::max();
    const auto resolve = [&](const std::optional<std::string>& name, std::int64_t& bound) {
        if (!name || name->empty()) return;
        const auto position = position_of(db, table, id, *name);
        page.id_not_found = page.id_not_found || !position;
        bound = position.value_or(bound);
    };
    resolve(query.after_id, after);
    resolve(query.before_id, before);
    Named named;
    const auto look_up = [&](const std::optional<std::string>& name) -> std::optional<std::int64_t> {
        if (!name || name->empty()) return std::nullopt;
        const auto position = position_of(db, table, id, *name);
        page.id_not_found = page.id_not_found || !position;
        return position;
    };
    named.newer_than = look_up(query.newer_than);
    named.older_than = look_up(query.older_than);
    for (const auto& name : query.ids) {
        const auto position = position_of(db, table, id, name);
        page.id_not_found = page.id_not_found || !position;
        named.ids.push_back(position.value_or(0));
    }
    if (page.id_not_found) return page;

    Select count("SELECT count(*) FROM " + table.name + table.where, id);
    add_filter(count, kind, table, query, named);
    if (auto row = count.rows(db); row.next()) page.count = row.count(0);
    if (query.limit == 0) {
        page.complete = page.count == 0;
        return page;
    }

    // From the end, unless both bounds are given: then the page continues after `after`.
    const bool backward = query.before_id && !(query.after_id && !query.after_id->empty());
    // First the places, which the index alone may tell, then the rows: a sort must not carry every stanza
    // along.
    const auto one = "SELECT " + table.position + ", stanza_id, ts, xml FROM " + table.name + " WHERE ";
    Select select(
        one + table.position + " IN (SELECT " + table.position + " FROM " + table.name + table.where, id);
    add_filter(select, kind, table, query, named);
    select.add(" AND " + table.position + ">" + select.place(after) + " AND " + table.position + "<" +
               select.place(before));
    const auto order = " ORDER BY " + table.position + (backward ? " DESC" : "");
    select.add(order + " LIMIT " + select.place(static_cast<std::int64_t>(query.limit) + 1) + ")" +
               table.row + order);
    std::int64_t first = 0;
    {
        auto row = select.rows(db);
        page.complete = true;
        while (row.next()) {
            if (page.items.size() == query.limit) {
                page.complete = false;
                break;
            }
            if (backward || page.items.empty()) first = row.integer(0);
            page.items.push_back(item_of(row));
        }
    }
    if (backward) std::ranges::reverse(page.items);
    if (!page.items.empty()) {
        Select earlier("SELECT count(*) FROM " + table.name + table.where, id);
        add_filter(earlier, kind, table, query, named);
        earlier.add(" AND " + table.position + "<" + earlier.place(first));
        if (auto row = earlier.rows(db); row.next()) page.first_index = row.count(0);
    }
    return page;
}

template <class Db>
std::optional<ArchiveSpan> archive_span(Db& db, ArchiveOf kind, std::int64_t id) {
    const auto table = table_of<Db>(kind);
    const auto end = [&](const std::string& which) -> std::optional<ArchiveItem> {
        auto row = db.query("SELECT " + table.position + ", stanza_id, ts, xml FROM " + table.name +
                                " WHERE " + table.position + "=(SELECT " + which + "(" + table.position +
                                ") FROM " + table.name + table.where + ")" + table.row,
                            id);
        if (!row.next()) return std::nullopt;
        return item_of(row);
    };
    auto first = end("min");
    auto last = end("max");
    if (!first || !last) return std::nullopt;
    return ArchiveSpan{std::move(*first), std::move(*last)};
}

template <class Db>
std::optional<std::string> find_sent(Db& db, AccountId owner, const Jid& with, const std::string& origin_id,
                                     const std::string& content_hash) {
    if (origin_id.empty()) return std::nullopt;
    // SQLite has no index for it: a resend after a failed resume concerns the newest messages, and is rare.
    constexpr std::string_view sql =
        std::is_same_v<Db, sqlite::Connection>
            ? "SELECT stanza_id, hash, with_bare, with_resource FROM archive WHERE seq IN (SELECT seq FROM "
              "archive "
              "INDEXED BY archive_key WHERE owner=?1 ORDER BY seq DESC LIMIT 2000) AND origin_id=?2"
            : "SELECT stanza_id, hash, with_bare, with_resource FROM archive WHERE owner=?1 AND origin_id=?2";
    auto row = db.query(sql, owner, origin_id);
    while (row.next()) {
        if (row.text(1) == content_hash && row.text(2) == with.bare_view() &&
            row.text(3) == with.resource()) {
            return row.string(0);
        }
    }
    return std::nullopt;
}

template <class Db>
std::uint64_t offline_count(Db& db, AccountId owner) {
    auto row = db.query("SELECT count(*) FROM offline WHERE owner=?1 AND state=0", owner);
    return row.next() ? row.count(0) : 0;
}

#define HEXAD_INSTANTIATE(Db)                                                                     \
    template ArchivePage archive_page(Db&, ArchiveOf, std::int64_t, const ArchiveQuery&);         \
    template std::optional<ArchiveSpan> archive_span(Db&, ArchiveOf, std::int64_t);               \
    template std::optional<std::string> find_sent(Db&, AccountId, const Jid&, const std::string&, \
                                                  const std::string&);                            \
    template std::uint64_t offline_count(Db&, AccountId);
HEXAD_INSTANTIATE(sqlite::Connection)
HEXAD_INSTANTIATE(postgres::Connection)

}  // namespace hexad::sql
