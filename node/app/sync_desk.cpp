#include "app/sync_desk.hpp"

#include <set>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>

#include "base/log.hpp"
#include "base/text.hpp"
#include "placement/rules.hpp"
#include "storage/offload.hpp"
#include "storage/postgres/connection.hpp"
#include "storage/sql/accounts.hpp"
#include "xmpp/jid.hpp"

namespace hexad {

namespace json = boost::json;

namespace {

using Db = postgres::Connection;

constexpr auto patience = std::chrono::seconds(100);  ///< below that of hexactl
/// So long nobody may hold the lease: a stand-by needs the length of a lease to take it.
constexpr auto agent_patience = std::chrono::seconds(20);
constexpr int agent_absent = 0, agent_works = 1;

std::int64_t now_micros() { return sql::to_micros(wall_now()); }

json::value time_or_null(std::int64_t micros) {
    if (micros == 0) return nullptr;
    return json::value(format_time_s(sql::from_micros(micros)));
}
json::value seconds_since(std::int64_t micros) {
    if (micros == 0) return nullptr;
    return (now_micros() - micros) / 1000000;
}
json::object parse_object(const std::string& text) {
    boost::system::error_code error;
    auto value = json::parse(text, error);
    return error || !value.is_object() ? json::object{} : value.as_object();
}
std::string_view name_of(std::int64_t state) {
    constexpr std::array<std::string_view, 4> names{"active", "disabled", "missing", "deactivated"};
    return state >= 0 && state < 4 ? names[static_cast<std::size_t>(state)] : "unknown";
}
json::value fault(std::string_view text) { return json::object{{"error", text}}; }

json::object agreement_row(Db& db, const AgreementConfig& agreement) {
    json::object out{{"name", agreement.name}, {"host", agreement.host}};
    auto last =
        db.query("SELECT id, result, reader FROM sync_run WHERE agreement=?1 ORDER BY id DESC LIMIT 1",
                 agreement.name);
    const bool has_run = last.next();
    out["last_run"] = has_run ? json::value(last.integer(0)) : json::value();
    out["result"] = has_run ? last.string(1) : "none yet";
    out["reader"] = has_run ? last.string(2) : "";
    auto state = db.query("SELECT last_good, last_full, capabilities FROM sync_state WHERE agreement=?1",
                          agreement.name);
    const bool has_state = state.next();
    out["last_good_seconds_ago"] = has_state ? seconds_since(state.integer(0)) : json::value();
    out["last_full"] = has_state ? time_or_null(state.integer(1)) : json::value();
    out["capabilities"] = has_state ? state.string(2) : "";
    for (const auto* name : {"active", "disabled", "missing", "deactivated"}) out[name] = 0;
    auto counts = db.query("SELECT state, count(*) FROM directory_entry WHERE agreement=?1 GROUP BY state",
                           agreement.name);
    while (counts.next()) out[name_of(counts.integer(0))] = counts.integer(1);
    auto held = db.query("SELECT run, count(*) FROM sync_held WHERE agreement=?1 GROUP BY run ORDER BY run",
                         agreement.name);
    json::array waiting;
    while (held.next()) waiting.push_back(held.integer(0));
    out["held_runs"] = waiting;
    return out;
}

json::object status_of(Db& db, const Config& config, std::size_t limit) {
    json::object out;
    auto lease = db.query(
        "SELECT holder FROM sync_lease WHERE name='sync' AND "
        "until > (extract(epoch from clock_timestamp()) * 1000000)::bigint");
    out["agent"] = lease.next() ? lease.string(0) : "no hexad-sync runs";
    json::array agreements, runs, skipped;
    for (const auto& agreement : config.agreements) {
        agreements.push_back(agreement_row(db, agreement));
        // What the last full read skipped, and the incremental ones since: those see only what changed.
        auto found = db.query(
            "SELECT detail FROM sync_run WHERE agreement=?1 AND skipped>0 AND id >= (SELECT "
            "coalesce(max(id), 0) "
            "FROM sync_run WHERE agreement=?1 AND kind='full' AND result<>'failed') ORDER BY id DESC",
            agreement.name);
        std::set<std::string> listed;
        while (found.next()) {
            const auto detail = parse_object(found.string(0));
            const auto* list = detail.if_contains("skipped");
            if (list == nullptr || !list->is_array()) continue;
            for (const auto& item : list->as_array()) {
                if (skipped.size() == 200 || !item.is_object()) break;
                auto row = item.as_object();
                if (!listed.insert(json::serialize(row)).second) continue;
                row["agreement"] = agreement.name;
                skipped.push_back(std::move(row));
            }
        }
    }
    auto rows = db.query(
        "SELECT id, agreement, kind, reader, started, ended, result, entries, added, changed, disabled, "
        "missing, deactivated, held, skipped, detail FROM sync_run ORDER BY id DESC LIMIT ?1",
        static_cast<std::int64_t>(limit));
    while (rows.next()) {
        const auto detail = parse_object(rows.string(15));
        const auto* reason = detail.if_contains("reason");
        runs.push_back(json::object{{"run", rows.integer(0)},
                                    {"agreement", rows.string(1)},
                                    {"kind", rows.string(2)},
                                    {"reader", rows.string(3)},
                                    {"started", time_or_null(rows.integer(4))},
                                    {"took_ms", (rows.integer(5) - rows.integer(4)) / 1000},
                                    {"result", rows.string(6)},
                                    {"read", rows.integer(7)},
                                    {"added", rows.integer(8)},
                                    {"changed", rows.integer(9)},
                                    {"disabled", rows.integer(10)},
                                    {"missing", rows.integer(11)},
                                    {"deactivated", rows.integer(12)},
                                    {"held", rows.integer(13)},
                                    {"skipped", rows.integer(14)},
                                    {"reason", reason != nullptr ? *reason : json::value("")}});
    }
    out["agreements"] = agreements;
    out["runs"] = runs;
    out["skipped"] = skipped;
    return out;
}

SyncDesk::Answer review_of(Db& db, const Config& config, std::int64_t run) {
    if (run == 0) {
        auto newest = db.query("SELECT coalesce(max(run), 0) FROM sync_held");
        newest.next();
        run = newest.integer(0);
        if (run == 0) return {200, json::array{}};
    }
    auto known = db.query("SELECT result, held_run FROM sync_run WHERE id=?1", run);
    if (!known.next()) return {404, fault("there is no run " + std::to_string(run))};
    if (known.integer(1) != 0) run = known.integer(1);
    auto rows = db.query(
        "SELECT h.agreement, h.localpart, h.action, coalesce(d.dn, ''), coalesce(d.state, 3) FROM sync_held "
        "h "
        "LEFT JOIN directory_entry d ON d.agreement=h.agreement AND d.entry_uuid=h.entry_uuid WHERE h.run=?1 "
        "ORDER BY h.localpart",
        run);
    json::array out;
    while (rows.next()) {
        std::string host;
        for (const auto& agreement : config.agreements)
            if (agreement.name == rows.text(0)) host = agreement.host;
        out.push_back(json::object{{"run", run},
                                   {"jid", rows.string(1) + '@' + host},
                                   {"is", name_of(rows.integer(4))},
                                   {"would_be", name_of(rows.integer(2))},
                                   {"dn", rows.string(3)}});
    }
    if (out.empty())
        return {409,
                fault("nobody waits under run " + std::to_string(run) + ", which is " + known.string(0))};
    return {200, out};
}

/// Why an account has this home node, in words.
std::string rule_of(const Config& config, const std::string& home, const std::string& rule,
                    const PlacementRule* placement) {
    if (home.empty()) {
        const bool by_hand =
            std::all_of(config.groups.begin(), config.groups.end(), [&](const GroupConfig& group) {
                return config.assignment_of(group) == "none" ||
                       (placement != nullptr && placement->group != group.name);
            });
        if (by_hand) return "an administrator has to assign it: hexactl user assign";
        return placement == nullptr
                   ? "no node had room"
                   : "no node of group " + placement->group + " had room: " + name_of(*placement);
    }
    if (config.node(home) == nullptr) return "the node is not configured any more: hexactl rebalance plan";
    const auto mode = rule.substr(0, rule.find("; "));
    const auto by = mode.size() < rule.size() ? rule.substr(mode.size() + 2) + ": " : std::string();
    if (mode == "balanced") return by + "the node with the lowest share of its capacity";
    if (mode == "active-standby") return by + "the first node of the group with the lowest share";
    if (rule == "administrator") return "an administrator chose the node";
    if (rule.starts_with("rebalance ")) return "moved by rebalancing, run " + rule.substr(10);
    return "assigned before reasons were kept";
}

SyncDesk::Answer explain_of(Db& db, const Config& config, const std::string& text) {
    const auto jid = Jid::parse(text);
    if (!jid || jid->is_full() || jid->local().empty()) return {400, fault("no account address: " + text)};
    auto row = db.query(
        "SELECT a.id, a.state, a.source, a.home_node, a.pinned, a.created, a.rule, a.assigned_at, "
        "a.pinned_at, a.generation, a.site, a.directory_groups FROM account a JOIN host h ON h.id=a.host "
        "WHERE h.name=?1 AND "
        "a.localpart=?2",
        jid->domain(), jid->local());
    if (!row.next()) return {404, fault("no such account: " + text)};
    const auto home = row.string(3);
    const bool is_pinned = row.integer(4) != 0;
    const bool is_mirrored = row.integer(2) == 1;
    json::object out{{"jid", jid->to_string()}, {"home", home.empty() ? "unassigned" : home}};
    const auto* group = config.group_of(home);
    out["group"] = group != nullptr ? json::value(group->name) : json::value();
    out["mode"] = group != nullptr ? config.assignment_of(*group) : config.assignment;
    const PlacementRules rules(config.placement);
    const auto* placement = rules.find({row.string(10), sql::split_groups(row.text(11))});
    out["rule"] = rule_of(config, home, row.string(6), placement);
    out["placement"] = placement != nullptr ? json::value(name_of(*placement)) : json::value();
    if (placement != nullptr && group != nullptr && group->name != placement->group)
        out["misplaced"] = is_pinned ? "pinned outside group " + placement->group
                                     : "not in group " + placement->group + ": hexactl rebalance plan";
    out["site"] = row.text(10).empty() ? json::value() : json::value(row.string(10));
    out["assigned"] =
        home.empty() ? json::value() : time_or_null(row.integer(7) != 0 ? row.integer(7) : row.integer(5));
    out["pinned"] = is_pinned;
    out["pinned_since"] = is_pinned ? time_or_null(row.integer(8)) : json::value();
    out["moved"] = row.integer(9);
    out["source"] = is_mirrored ? "directory" : "local";
    out["state"] = name_of(row.integer(1));
    auto entry = db.query(
        "SELECT agreement, entry_uuid, dn, missing_since, missed, state FROM directory_entry WHERE "
        "account=?1",
        row.integer(0));
    if (!entry.next()) {
        out["why"] =
            is_mirrored ? "no entry of a directory belongs to it any more" : "made by an administrator";
        return {200, out};
    }
    out["agreement"] = entry.string(0);
    out["entry_uuid"] = entry.string(1);
    out["dn"] = entry.string(2);
    switch (entry.integer(5)) {
        case 0:
            out["why"] = "the directory has the entry";
            break;
        case 1:
            out["why"] = "the directory says that the entry is disabled";
            break;
        default: {
            out["missing_since"] = time_or_null(entry.integer(3));
            const auto left = config.sync.grace.count() - (now_micros() - entry.integer(3)) / 1000000;
            out["why"] = "absent in " + std::to_string(entry.integer(4)) + " complete full read(s)" +
                         (entry.integer(5) == 3 ? std::string()
                                                : "; deactivated by the next one after " +
                                                      std::to_string(std::max<std::int64_t>(0, left)) + " s");
        }
    }
    auto held = db.query("SELECT run, action FROM sync_held WHERE account=?1 ORDER BY run DESC LIMIT 1",
                         row.integer(0));
    if (held.next())
        out["held"] = "run " + std::to_string(held.integer(0)) + " would make it " +
                      std::string(name_of(held.integer(1)));
    return {200, out};
}

/// What has become of a request; below 200 it is not answered yet. `give_up`: takes it back.
SyncDesk::Answer answer_of(Db& db, std::int64_t id, bool give_up) {
    if (give_up && db.run("UPDATE sync_request SET status=410, answer='{}' WHERE id=?1 AND status=0", id) > 0)
        return {503, fault("no hexad-sync runs: nobody holds the sync lease. Nothing was done")};
    auto row = db.query(
        "SELECT status, answer, (SELECT count(*) FROM sync_lease WHERE until > "
        "(extract(epoch from clock_timestamp()) * 1000000)::bigint) FROM sync_request WHERE id=?1",
        id);
    if (!row.next()) return {410, fault("the request is gone")};
    if (row.integer(0) == 0) return {row.integer(2) > 0 ? agent_works : agent_absent, nullptr};
    boost::system::error_code error;
    return {static_cast<int>(row.integer(0)), json::parse(row.string(1), error)};
}

}  // namespace

struct SyncDesk::Impl {
    Impl(asio::io_context& context, const Config& c) : io(context), config(c), db(c.store_url) {}
    ~Impl() { pool.join(); }

    /// `work(Db&)` on the thread; a store that does not answer is an answer too.
    template <class Work>
    awaitable<Answer> run(Work work) {
        return offload(pool, [this, work = std::move(work)]() mutable -> Answer {
            try {
                db.connect();
                return work(db);
            } catch (const postgres::Failure& e) {
                db.rollback();
                log_warn("sync_desk_failed", {{"error", e.what()}});
                return {503, fault("the store does not answer; see the events store_down and store_up")};
            }
        });
    }

    asio::io_context& io;
    const Config& config;
    Db db;
    asio::thread_pool pool{1};
};

SyncDesk::SyncDesk(asio::io_context& io, const Config& config) : impl_(std::make_unique<Impl>(io, config)) {}
SyncDesk::~SyncDesk() = default;

awaitable<SyncDesk::Answer> SyncDesk::status(std::size_t runs) {
    return impl_->run([this, runs](Db& db) -> Answer {
        return {200, status_of(db, impl_->config, std::min<std::size_t>(runs, 1000))};
    });
}

awaitable<SyncDesk::Answer> SyncDesk::review(std::int64_t run) {
    return impl_->run([this, run](Db& db) { return review_of(db, impl_->config, run); });
}

awaitable<SyncDesk::Answer> SyncDesk::explain(std::string jid) {
    return impl_->run([this, jid = std::move(jid)](Db& db) { return explain_of(db, impl_->config, jid); });
}

awaitable<SyncDesk::Answer> SyncDesk::ask(std::string kind, std::string agreement, std::int64_t run) {
    const auto note = [kind, agreement, run](Db& db) -> Answer {
        auto row =
            db.query("INSERT INTO sync_request(kind, agreement, run, asked) VALUES(?1,?2,?3,?4) RETURNING id",
                     kind, agreement, run, now_micros());
        row.next();
        return {200, row.integer(0)};
    };
    auto noted = co_await impl_->run(note);
    if (noted.status != 200) co_return noted;
    const auto id = noted.value.as_int64();
    log_info("sync_requested", {{"id", id}, {"kind", kind}, {"agreement", agreement}, {"run", run}});
    const auto deadline = SteadyClock::now() + patience;
    auto agent_seen = SteadyClock::now();
    asio::steady_timer pause(impl_->io);
    while (SteadyClock::now() < deadline) {
        pause.expires_after(milliseconds(200));
        co_await pause.async_wait(asio::as_tuple(asio::use_awaitable));
        const bool is_alone = SteadyClock::now() - agent_seen > agent_patience;
        auto answer = co_await impl_->run([id, is_alone](Db& db) { return answer_of(db, id, is_alone); });
        if (answer.status >= 200) co_return answer;
        if (answer.status == agent_works) agent_seen = SteadyClock::now();
    }
    co_return Answer{504, fault("the agent is still at it, or hangs: see hexactl sync status and its log")};
}

awaitable<std::pair<int, boost::json::value>> SyncDesk::answer(std::string what, boost::json::object given) {
    const auto text = [&given](std::string_view key) {
        const auto* value = given.if_contains(key);
        return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
    };
    const auto number = [&](std::string_view key) -> std::int64_t {
        const auto* value = given.if_contains(key);
        if (value != nullptr && value->is_int64()) return value->as_int64();
        return std::strtoll(text(key).c_str(), nullptr, 10);
    };
    Answer answer;
    if (what == "status") {
        answer = co_await status(static_cast<std::size_t>(std::max<std::int64_t>(0, number("runs"))));
    } else if (what == "review") {
        answer = co_await review(number("run"));
    } else if (what == "explain") {
        answer = co_await explain(text("jid"));
    } else {
        answer = co_await ask(text("kind"), text("agreement"), number("run"));
    }
    co_return std::pair(answer.status, std::move(answer.value));
}

}  // namespace hexad
