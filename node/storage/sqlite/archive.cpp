#include "storage/sqlite/archive.hpp"

#include <algorithm>
#include <limits>
#include <set>
#include <variant>
#include <vector>

#include "storage/sqlite/rows.hpp"

namespace hexad::sqlite {
namespace {

using Value = std::variant<std::int64_t, std::string>;

/// Where one kind of archive keeps what.
struct Table {
    std::string name;
    std::string where;     ///< how to come to the rows of one owner (?1)
    std::string position;  ///< the column that orders it
    std::string by_id;     ///< more than `stanza_id=?2` where that is not the index; ?3 = id_hash
};

Table table_of(ArchiveOf kind) {
    if (kind == ArchiveOf::account) {
        return {"archive", " INDEXED BY archive_key WHERE owner=?1", "seq", " AND id_hash=?3"};
    }
    return {"room_archive", " WHERE room=?1 AND key BETWEEN ?1<<32 AND (?1<<32)+4294967295", "key", ""};
}

/// A statement whose conditions depend on the query.
class Select {
public:
    Select(Connection& db, std::string sql, std::int64_t owner) : db_(db), sql_(std::move(sql)) {
        values_.push_back(owner);
    }
    std::string place(Value value) {
        values_.push_back(std::move(value));
        return "?" + std::to_string(values_.size());
    }
    void add(const std::string& sql) { sql_ += sql; }
    Rows rows() {
        auto& statement = db_.prepared(sql_);
        statement.reset();
        for (std::size_t i = 0; i < values_.size(); ++i) {
            std::visit([&](const auto& v) { statement.bind_copy(static_cast<int>(i + 1), v); }, values_[i]);
        }
        return Rows(statement);
    }

private:
    Connection& db_;
    std::string sql_;
    std::vector<Value> values_;
};

/// `positions`: of query.ids.
void add_filter(Select& select, ArchiveOf kind, const ArchiveQuery& query,
                const std::vector<std::int64_t>& positions) {
    if (query.with && kind == ArchiveOf::account) {
        select.add(" AND with_bare=" + select.place(std::string(query.with->bare_view())));
        if (query.with->is_full())
            select.add(" AND with_resource=" + select.place(std::string(query.with->resource())));
    } else if (query.with) {
        const auto jid = select.place(query.with->to_string());
        if (query.with->is_full()) {
            select.add(" AND sender=" + jid);
        } else {  // '0' is the character after '/'
            select.add(" AND (sender=" + jid + " OR (sender>" + jid + "||'/' AND sender<" + jid + "||'0'))");
        }
    }
    if (query.start) select.add(" AND ts>=" + select.place(to_micros(*query.start)));
    if (query.end) select.add(" AND ts<=" + select.place(to_micros(*query.end)));
    if (!query.ids.empty()) {
        std::string list;
        for (const auto position : positions) list += (list.empty() ? "" : ",") + select.place(position);
        select.add(" AND " + table_of(kind).position + " IN (" + list + ")");
    }
}

std::optional<std::int64_t> position_of(Connection& db, const Table& table, std::int64_t owner,
                                        const std::string& id) {
    const auto sql =
        "SELECT " + table.position + " FROM " + table.name + table.where + " AND stanza_id=?2" + table.by_id;
    auto row = table.by_id.empty() ? db.query(sql, owner, id) : db.query(sql, owner, id, id_hash(id));
    if (!row.next()) return std::nullopt;
    return row.integer(0);
}

ArchiveItem item_of(const Rows& row) { return {row.string(1), from_micros(row.integer(2)), row.string(3)}; }

}  // namespace

ArchivePage archive_page(Connection& db, ArchiveOf kind, std::int64_t id, const ArchiveQuery& query) {
    ArchivePage page;
    const auto table = table_of(kind);
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
    std::vector<std::int64_t> positions;
    for (const auto& name : query.ids) {
        const auto position = position_of(db, table, id, name);
        page.id_not_found = page.id_not_found || !position;
        positions.push_back(position.value_or(0));
    }
    if (page.id_not_found) return page;

    Select count(db, "SELECT count(*) FROM " + table.name + table.where, id);
    add_filter(count, kind, query, positions);
    if (auto row = count.rows(); row.next()) page.count = row.count(0);
    if (query.limit == 0) {
        page.complete = page.count == 0;
        return page;
    }

    // From the end, unless both bounds are given: then the page continues after `after`.
    const bool backward = query.before_id && !(query.after_id && !query.after_id->empty());
    // First the places, which the index alone may tell, then the rows: a sort must not carry every stanza
    // along.
    Select select(db,
                  "SELECT " + table.position + ", stanza_id, ts, xml FROM " + table.name + " WHERE " +
                      table.position + " IN (SELECT " + table.position + " FROM " + table.name + table.where,
                  id);
    add_filter(select, kind, query, positions);
    select.add(" AND " + table.position + ">" + select.place(after) + " AND " + table.position + "<" +
               select.place(before));
    const auto order = " ORDER BY " + table.position + (backward ? " DESC" : "");
    select.add(order + " LIMIT " + select.place(static_cast<std::int64_t>(query.limit) + 1) + ")" + order);
    std::int64_t first = 0;
    {
        auto row = select.rows();
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
        Select earlier(db, "SELECT count(*) FROM " + table.name + table.where, id);
        add_filter(earlier, kind, query, positions);
        earlier.add(" AND " + table.position + "<" + earlier.place(first));
        if (auto row = earlier.rows(); row.next()) page.first_index = row.count(0);
    }
    return page;
}

std::optional<ArchiveSpan> archive_span(Connection& db, ArchiveOf kind, std::int64_t id) {
    const auto table = table_of(kind);
    const auto end = [&](const std::string& which) -> std::optional<ArchiveItem> {
        auto row = db.query("SELECT " + table.position + ", stanza_id, ts, xml FROM " + table.name +
                                " WHERE " + table.position + "=(SELECT " + which + "(" + table.position +
                                ") FROM " + table.name + table.where + ")",
                            id);
        if (!row.next()) return std::nullopt;
        return item_of(row);
    };
    auto first = end("min");
    auto last = end("max");
    if (!first || !last) return std::nullopt;
    return ArchiveSpan{std::move(*first), std::move(*last)};
}

std::optional<std::string> find_sent(Connection& db, AccountId owner, const Jid& with,
                                     const std::string& origin_id, const std::string& content_hash) {
    if (origin_id.empty()) return std::nullopt;
    // Without an index of its own: a resend after a failed resume concerns the newest messages, and is rare.
    auto row = db.query(
        "SELECT stanza_id, hash, with_bare, with_resource FROM archive WHERE seq IN (SELECT seq FROM archive "
        "INDEXED BY archive_key WHERE owner=?1 ORDER BY seq DESC LIMIT 2000) AND origin_id=?2",
        owner, origin_id);
    while (row.next()) {
        if (row.text(1) == content_hash && row.text(2) == with.bare_view() &&
            row.text(3) == with.resource()) {
            return row.string(0);
        }
    }
    return std::nullopt;
}

std::uint64_t offline_count(Connection& db, AccountId owner) {
    auto row = db.query("SELECT count(*) FROM offline WHERE owner=?1 AND state=0", owner);
    return row.next() ? row.count(0) : 0;
}

}  // namespace hexad::sqlite
