#include "sync-agent/records.hpp"

#include <algorithm>
#include <set>

#include "base/log.hpp"
#include "base/text.hpp"

namespace hexad::sync {

namespace json = boost::json;

namespace {

void write_state(postgres::Connection& db, const std::string& agreement, const State& state) {
    db.run(
        "INSERT INTO sync_state(agreement, mark, cookie, last_full, last_good, last_count, settings, "
        "accepted, "
        "capabilities) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT(agreement) DO UPDATE SET "
        "mark=excluded.mark, cookie=excluded.cookie, last_full=excluded.last_full, "
        "last_good=excluded.last_good, last_count=excluded.last_count, settings=excluded.settings, "
        "accepted=excluded.accepted, capabilities=excluded.capabilities",
        agreement, state.mark, state.cookie, state.last_full, state.last_good,
        static_cast<std::int64_t>(state.last_count), state.settings, state.accepted, state.capabilities);
}

void write_answer(postgres::Connection& db, const Request& request, int status, const json::value& value) {
    db.run("UPDATE sync_request SET status=?2, answer=?3 WHERE id=?1 AND status=0", request.id, status,
           json::serialize(value));
}

json::object error_of(const std::string& text) { return {{"error", text}}; }

/// The ids that wait under a run.
std::set<std::string> held_ids(postgres::Connection& db, std::int64_t run) {
    std::set<std::string> out;
    auto rows = db.query("SELECT entry_uuid FROM sync_held WHERE run=?1", run);
    while (rows.next()) out.insert(rows.string(0));
    return out;
}

}  // namespace

json::object to_json(const Run& run) {
    return {{"run", run.id},
            {"agreement", run.agreement},
            {"kind", run.kind},
            {"reader", run.reader},
            {"started", format_time_s(sql::from_micros(run.started))},
            {"result", run.result},
            {"read", run.entries},
            {"added", run.added},
            {"changed", run.changed},
            {"disabled", run.disabled},
            {"missing", run.missing},
            {"deactivated", run.deactivated},
            {"held", run.held},
            {"skipped", run.skipped.size()},
            {"reason", run.reason}};
}

State Records::state(const std::string& agreement) {
    State out;
    auto rows = store_.db().query(
        "SELECT mark, cookie, last_full, last_good, last_count, settings, accepted, capabilities FROM "
        "sync_state WHERE agreement=?1",
        agreement);
    if (!rows.next()) return out;
    out.mark = rows.string(0);
    out.cookie = rows.string(1);
    out.last_full = rows.integer(2);
    out.last_good = rows.integer(3);
    out.last_count = static_cast<std::size_t>(rows.integer(4));
    out.settings = rows.string(5);
    out.accepted = rows.string(6);
    out.capabilities = rows.string(7);
    return out;
}

std::set<std::string> Records::waiting(const std::string& agreement) {
    std::set<std::string> out;
    auto rows = store_.db().query("SELECT entry_uuid FROM sync_held WHERE agreement=?1", agreement);
    while (rows.next()) out.insert(rows.string(0));
    return out;
}

void Records::keep_held(postgres::Connection& db, Run& run, const Plan& plan, const Reading& reading) {
    // Whoever has come back meanwhile is not taken out by a decision about what was.
    for (const auto& person : reading.people) {
        db.run(person.disabled ? "DELETE FROM sync_held WHERE agreement=?1 AND entry_uuid=?2 AND action=2"
                               : "DELETE FROM sync_held WHERE agreement=?1 AND entry_uuid=?2",
               run.agreement, person.uuid);
    }
    std::set<std::string> wanted;
    for (const auto& item : plan.held_items) wanted.insert(item.row.uuid);
    std::vector<std::int64_t> waiting;
    auto rows = db.query("SELECT DISTINCT run FROM sync_held WHERE agreement=?1 ORDER BY run", run.agreement);
    while (rows.next()) waiting.push_back(rows.integer(0));
    for (const auto earlier : waiting) {
        const auto ids = held_ids(db, earlier);
        const bool is_same = reading.full && plan.complete
                                 ? ids == wanted
                                 : std::includes(ids.begin(), ids.end(), wanted.begin(), wanted.end());
        if (is_same && !wanted.empty()) {
            run.held_run = earlier;
        } else if (reading.full && plan.complete) {
            db.run("DELETE FROM sync_held WHERE run=?1", earlier);
            db.run("UPDATE sync_run SET result='superseded' WHERE id=?1 AND result='held'", earlier);
        }
    }
    if (run.held_run != 0) {
        db.run("UPDATE sync_run SET held_run=?2 WHERE id=?1", run.id, run.held_run);
        return;
    }
    if (plan.held_items.empty()) return;
    run.held_run = run.id;
    db.run("UPDATE sync_run SET held_run=id WHERE id=?1", run.id);
    for (const auto& item : plan.held_items) {
        db.run(
            "INSERT INTO sync_held(run, agreement, entry_uuid, account, localpart, action) "
            "VALUES(?1,?2,?3,?4,?5,?6)",
            run.id, run.agreement, item.row.uuid, item.row.account, item.row.localpart,
            static_cast<int>(item.action));
    }
}

void Records::finish(Run& run, const std::optional<State>& state, const Plan& plan, const Reading& reading) {
    json::array skipped;
    for (const auto& s : run.skipped) skipped.push_back(json::object{{"dn", s.dn}, {"reason", s.reason}});
    const json::object detail{{"skipped", skipped}, {"reason", run.reason}};
    store_.transaction([&](postgres::Connection& db) {
        if (state) write_state(db, run.agreement, *state);
        auto row = db.query(
            "INSERT INTO sync_run(agreement, kind, reader, started, ended, result, entries, added, changed, "
            "disabled, missing, deactivated, held, skipped, detail) "
            "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15) RETURNING id",
            run.agreement, run.kind, run.reader, run.started, now_micros(), run.result,
            static_cast<std::int64_t>(run.entries), static_cast<std::int64_t>(run.added),
            static_cast<std::int64_t>(run.changed), static_cast<std::int64_t>(run.disabled),
            static_cast<std::int64_t>(run.missing), static_cast<std::int64_t>(run.deactivated),
            static_cast<std::int64_t>(run.held), static_cast<std::int64_t>(run.skipped.size()),
            json::serialize(detail));
        row.next();
        run.id = row.integer(0);
        keep_held(db, run, plan, reading);
        db.run("DELETE FROM sync_run WHERE id < ?1 AND id NOT IN (SELECT run FROM sync_held)", run.id - 1000);
        db.run("DELETE FROM sync_request WHERE id < (SELECT max(id) - 1000 FROM sync_request)");
        // Nodes that were away for longer read the accounts themselves when they start.
        db.run("DELETE FROM account_event WHERE seq < (SELECT max(seq) - 1000000 FROM account_event)");
    });
}

std::vector<Request> Records::open_requests() {
    std::vector<Request> out;
    auto rows = store_.db().query(
        "SELECT id, kind, agreement, run, asked FROM sync_request WHERE status=0 ORDER BY id");
    while (rows.next())
        out.push_back({rows.integer(0), rows.string(1), rows.string(2), rows.integer(3), rows.integer(4)});
    return out;
}

void Records::answer(const Request& request, int status, const json::value& value) {
    store_.transaction([&](postgres::Connection& db) { write_answer(db, request, status, value); });
}

void Records::decide(const Request& request, const std::vector<AgreementConfig>& agreements) {
    const bool is_approved = request.kind == "approve";
    store_.transaction([&](postgres::Connection& db) {
        auto known = db.query("SELECT agreement, result, held_run, entries, kind FROM sync_run WHERE id=?1",
                              request.run);
        if (!known.next())
            return write_answer(db, request, 404, error_of("there is no run " + std::to_string(request.run)));
        const auto name = known.string(0);
        const AgreementConfig* agreement = nullptr;
        for (const auto& one : agreements)
            if (one.name == name) agreement = &one;
        auto held = db.query(
            "SELECT h.entry_uuid, h.account, h.localpart, h.action, d.state FROM sync_held h LEFT JOIN "
            "directory_entry d ON d.agreement=h.agreement AND d.entry_uuid=h.entry_uuid WHERE h.run=?1",
            request.run);
        if (held.size() == 0 || agreement == nullptr) {
            std::string why = "run " + std::to_string(request.run) + " is " + known.string(1);
            if (known.integer(2) != 0 && known.integer(2) != request.run)
                why = "the set of run " + std::to_string(request.run) + " is that of run " +
                      std::to_string(known.integer(2)) + ": decide about that one";
            return write_answer(db, request, 409, error_of(why + "; see hexactl sync review"));
        }
        const auto now = now_micros();
        std::size_t applied = 0;
        while (is_approved && held.next()) {
            const auto action = static_cast<MirrorState>(held.integer(3));
            const auto state =
                held.null(4) ? MirrorState::deactivated : static_cast<MirrorState>(held.integer(4));
            // Only what is still as it was when the set was made.
            const bool is_open = state == MirrorState::active ||
                                 (action == MirrorState::missing && state == MirrorState::disabled) ||
                                 (action == MirrorState::disabled && state == MirrorState::missing);
            if (!is_open) continue;
            Mirrored row;
            row.uuid = held.string(0);
            row.account = held.integer(1);
            row.localpart = held.string(2);
            const bool is_missing = action == MirrorState::missing;
            mirror_.set(db, *agreement, row, action, is_missing ? now : 0, is_missing ? 1 : 0);
            ++applied;
        }
        db.run("DELETE FROM sync_held WHERE run=?1", request.run);
        db.run("UPDATE sync_run SET result=?2 WHERE id=?1", request.run,
               is_approved ? "approved" : "rejected");
        if (is_approved && known.string(4) == "full")
            db.run("UPDATE sync_state SET last_count=?2, accepted=settings WHERE agreement=?1", name,
                   known.integer(3));
        log_info(is_approved ? "sync_approved" : "sync_rejected",
                 {{"agreement", name}, {"run", request.run}, {"people", held.size()}});
        write_answer(db, request, 200,
                     json::object{{"run", request.run},
                                  {"result", is_approved ? "approved" : "rejected"},
                                  {"applied", applied}});
    });
}

}  // namespace hexad::sync
