#include "storage/postgres/assignment.hpp"

#include <cmath>

#include "storage/postgres/transaction.hpp"
#include "storage/sql/accounts.hpp"

namespace hexad::postgres {

namespace {

constexpr std::int64_t lock_key = 0x686578616401;  ///< of nothing else in this data base

std::int64_t now_micros() { return sql::to_micros(wall_now()); }

/// A node that reads it forgets what it knew of the account.
void tell_nodes(Connection& db, AccountId account) {
    db.run(
        "INSERT INTO account_event(ts, account, jid, state) SELECT ?2, a.id, a.localpart || '@' || h.name, "
        "a.state FROM account a JOIN host h ON h.id=a.host WHERE a.id=?1",
        account, now_micros());
}

void move(Connection& db, AccountId account, const Home& home, bool pin) {
    const auto now = now_micros();
    db.run(
        "UPDATE account SET home_node=?2, rule=?3, assigned_at=?4, generation=generation+1, "
        "pinned=?5, pinned_at=?6 WHERE id=?1",
        account, home.node, home.rule, now, pin, pin ? now : std::int64_t{0});
    tell_nodes(db, account);
}

/// Site and groups of the accounts that a move is about, as the store has them: separated by U+001D, one kind
/// of account from the next by U+001E.
std::string kinds_of(Connection& db, const AssignmentStore::MoveSome& wanted) {
    std::string out;
    auto row = db.query("SELECT DISTINCT site, directory_groups FROM account WHERE home_node=?1 AND pinned=0",
                        wanted.from);
    while (row.next()) {
        if (wanted.whom && !wanted.whom({row.string(0), sql::split_groups(row.text(1))})) continue;
        if (!out.empty()) out += '\x1e';
        out.append(row.text(0)).append("\x1d").append(row.text(1));
    }
    return out;
}

}  // namespace

void lock_assignment(Connection& db) { db.query("SELECT pg_advisory_xact_lock(?1)", lock_key); }

std::vector<AssignmentStore::Load> loads(Connection& db) {
    std::vector<AssignmentStore::Load> out;
    auto row = db.query(
        "SELECT home_node, site, directory_groups, count(*), count(*) FILTER (WHERE pinned<>0) FROM account "
        "GROUP BY home_node, site, directory_groups");
    while (row.next())
        out.push_back(
            {row.string(0), {row.string(1), sql::split_groups(row.text(2))}, row.count(3), row.count(4)});
    return out;
}

std::string set_home(Connection& db, const AssignmentStore::SetHome& wanted, const RoomCheck& check) {
    Transaction transaction(db);
    lock_assignment(db);
    auto row = db.query("SELECT home_node, pinned FROM account WHERE id=?1", wanted.account);
    if (!row.next()) return "the account is gone";
    const auto home = row.string(0);
    if (row.integer(1) != 0 && !wanted.pin)
        return "it is pinned to " + home + ": hexactl user unpin it first, or pin it to " + wanted.node;
    if (home != wanted.node) {
        if (auto full = check ? check(sql::assignments(db), home, wanted.node, 1) : std::string();
            !full.empty())
            return full;
        move(db, wanted.account, {wanted.node, "administrator"}, wanted.pin);
    } else if (wanted.pin && row.integer(1) == 0) {
        db.run("UPDATE account SET pinned=1, pinned_at=?2 WHERE id=?1", wanted.account, now_micros());
    }
    transaction.commit();
    return {};
}

bool clear_pin(Connection& db, AccountId account) {
    return db.run("UPDATE account SET pinned=0, pinned_at=0 WHERE id=?1 AND pinned<>0", account) > 0;
}

std::vector<AssignmentStore::Moved> place_unassigned(Connection& db, const Placer& placer, std::size_t most) {
    std::vector<AssignmentStore::Moved> out;
    Transaction transaction(db);
    lock_assignment(db);
    struct Waiting {
        AccountId account;
        Jid jid;
    };
    std::vector<Waiting> waiting;
    std::vector<PlacingFacts> facts;
    // All of them: the oldest may be those whom a rule gives to a group that is full.
    auto rows = db.query(
        "SELECT a.id, a.localpart, h.name, a.site, a.directory_groups FROM account a JOIN host h ON "
        "h.id=a.host WHERE a.home_node='' ORDER BY a.id");
    while (rows.next()) {
        const auto jid = Jid::make(rows.text(1), rows.text(2));
        if (!jid) continue;
        waiting.push_back({rows.integer(0), *jid});
        facts.push_back({rows.string(3), sql::split_groups(rows.text(4))});
    }
    const auto homes = placer(sql::assignments(db), facts);
    for (std::size_t i = 0; i < waiting.size() && out.size() < most; ++i) {
        if (homes[i].node.empty()) continue;
        move(db, waiting[i].account, homes[i], false);
        out.push_back({waiting[i].jid, homes[i].node});
    }
    transaction.commit();
    return out;
}

bool hold_job(Connection& db, const std::string& name, const std::string& holder, milliseconds time) {
    // On the data base's clock: those of the nodes may differ.
    constexpr std::string_view take =
        "INSERT INTO cluster_job VALUES(?1, ?2, (extract(epoch from clock_timestamp()) * 1000)::bigint + ?3) "
        "ON "
        "CONFLICT(name) DO UPDATE SET holder=excluded.holder, until=excluded.until WHERE "
        "cluster_job.holder=excluded.holder OR cluster_job.until < (extract(epoch from clock_timestamp()) * "
        "1000)::bigint";
    return db.run(take, name, holder, std::int64_t{time.count()}) > 0;
}

std::int64_t start_run(Connection& db, const RebalanceRun& wanted) {
    Transaction transaction(db);
    lock_assignment(db);
    auto made = db.query(
        "INSERT INTO rebalance_run(cause, state, rate, started) VALUES(?1,'running',?2,?3) ON CONFLICT DO "
        "NOTHING RETURNING id",
        wanted.cause, std::int64_t{std::llround(wanted.rate * 1000)}, now_micros());
    if (!made.next()) return 0;
    const auto id = made.integer(0);
    for (const auto& flow : wanted.flows) {
        db.run(
            "INSERT INTO rebalance_flow(run, source, target, planned, placed_in, what) "
            "VALUES(?1,?2,?3,?4,?5,?6)",
            id, flow.from, flow.to, static_cast<std::int64_t>(flow.planned), flow.group, flow.what);
    }
    transaction.commit();
    return id;
}

std::vector<RebalanceRun> rebalance_runs(Connection& db, std::size_t most) {
    std::vector<RebalanceRun> out;
    auto row = db.query(
        "SELECT id, cause, state, reason, rate, started, ended, sessions FROM rebalance_run ORDER BY id DESC "
        "LIMIT ?1",
        static_cast<std::int64_t>(most));
    while (row.next()) {
        RebalanceRun run;
        run.id = row.integer(0);
        run.cause = row.string(1);
        run.state = row.string(2);
        run.reason = row.string(3);
        run.rate = static_cast<double>(row.integer(4)) / 1000;
        run.started = sql::from_micros(row.integer(5));
        run.ended = sql::from_micros(row.integer(6));
        run.sessions = row.count(7);
        auto flow = db.query(
            "SELECT source, target, planned, moved, placed_in, what FROM rebalance_flow WHERE run=?1 ORDER "
            "BY "
            "what DESC, source, target, placed_in",
            run.id);
        while (flow.next())
            run.flows.push_back({flow.string(0), flow.string(1), flow.count(2), flow.count(3), flow.string(4),
                                 flow.string(5)});
        out.push_back(std::move(run));
    }
    return out;
}

bool end_run(Connection& db, std::int64_t id, const std::string& state, const std::string& reason,
             std::uint64_t sessions) {
    return db.run(
               "UPDATE rebalance_run SET state=?2, reason=?3, ended=?4, sessions=sessions+?5 WHERE id=?1 AND "
               "state='running'",
               id, state, reason, now_micros(), static_cast<std::int64_t>(sessions)) > 0;
}

AssignmentStore::MovedSome move_some(Connection& db, const AssignmentStore::MoveSome& wanted,
                                     const RoomCheck& check) {
    AssignmentStore::MovedSome out;
    Transaction transaction(db);
    lock_assignment(db);
    // Both rows stay as they are until the moves are true: a run that was stopped moves nobody any more.
    auto allowed = db.query(
        "SELECT 1 FROM rebalance_run r, cluster_job j WHERE r.id=?1 AND r.state='running' AND "
        "j.name='assignment' AND j.holder=?2 FOR SHARE",
        wanted.run, wanted.holder);
    if (!allowed.next()) {
        out.refused = "the run has ended, or another node has taken it over";
        return out;
    }
    out.refused = check(sql::assignments(db), wanted.from, wanted.to, wanted.count);
    if (!out.refused.empty()) return out;
    // In an order that has nothing to do with names or age: devices move in proportion to users.
    auto rows = db.query(
        "SELECT a.id, a.localpart, h.name FROM account a JOIN host h ON h.id=a.host WHERE a.home_node=?1 AND "
        "a.pinned=0 AND a.site || chr(29) || a.directory_groups = ANY(string_to_array(?3, chr(30))) ORDER BY "
        "hashint8(a.id), a.id LIMIT ?2",
        wanted.from, static_cast<std::int64_t>(wanted.count), kinds_of(db, wanted));
    const auto count = rows.size();
    while (rows.next()) {
        const auto jid = Jid::make(rows.text(1), rows.text(2));
        if (!jid) continue;
        move(db, rows.integer(0), {wanted.to, "rebalance " + std::to_string(wanted.run)}, false);
        out.moved.push_back({*jid, wanted.to});
    }
    db.run(
        "UPDATE rebalance_flow SET moved=moved+?4 WHERE run=?1 AND source=?2 AND target=?3 AND "
        "placed_in=?5 AND what='users'",
        wanted.run, wanted.from, wanted.to, std::int64_t{count}, wanted.group);
    transaction.commit();
    return out;
}

}  // namespace hexad::postgres
