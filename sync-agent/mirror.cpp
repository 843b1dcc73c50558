#include "sync-agent/mirror.hpp"

#include <boost/json.hpp>

#include "base/log.hpp"

namespace hexad::sync {

namespace json = boost::json;

namespace {

constexpr std::size_t batch_size = 500;
/// Microseconds on the data base's clock: leases of different machines are compared on one clock only.
constexpr const char* db_now = "(extract(epoch from clock_timestamp()) * 1000000)::bigint";

}  // namespace

std::int64_t now_micros() { return wall_now().time_since_epoch().count(); }

bool Mirror::take_lease(seconds length) {
    db_.connect();
    const std::int64_t micros = length.count() * 1000000;
    const auto renewed = db_.run(std::string("UPDATE sync_lease SET until=") + db_now +
                                     "+?1 WHERE name='sync' AND holder=?2 AND epoch=?3",
                                 micros, holder_, epoch_);
    if (epoch_ > 0 && renewed == 1) return true;
    epoch_ = 0;
    db_.run("INSERT INTO sync_lease VALUES('sync', '', 0, 0) ON CONFLICT DO NOTHING");
    auto rows = db_.query(std::string("UPDATE sync_lease SET holder=?1, epoch=epoch+1, until=") + db_now +
                              "+?2 WHERE name='sync' AND until<" + db_now + " RETURNING epoch",
                          holder_, micros);
    if (!rows.next()) return false;
    epoch_ = rows.integer(0);
    log_info("sync_lease_taken", {{"holder", holder_}, {"epoch", epoch_}});
    return true;
}

void Mirror::release_lease() {
    if (epoch_ == 0) return;
    db_.run("UPDATE sync_lease SET until=0 WHERE name='sync' AND holder=?1 AND epoch=?2", holder_, epoch_);
    epoch_ = 0;
}

std::map<std::string, Mirrored> Mirror::load(const std::string& agreement) {
    std::map<std::string, Mirrored> out;
    auto rows = db_.query(
        "SELECT entry_uuid, account, localpart, attribute_hash, state, missing_since, missed FROM "
        "directory_entry WHERE agreement=?1",
        agreement);
    while (rows.next()) {
        Mirrored row;
        row.uuid = rows.string(0);
        row.account = rows.integer(1);
        row.localpart = rows.string(2);
        row.hash = rows.string(3);
        row.state = static_cast<MirrorState>(rows.integer(4));
        row.missing_since = rows.integer(5);
        row.missed = static_cast<int>(rows.integer(6));
        out.emplace(row.uuid, std::move(row));
    }
    return out;
}

Mirror::State Mirror::state(const std::string& agreement) {
    State out;
    auto rows = db_.query("SELECT mark, last_full, last_count, settings FROM sync_state WHERE agreement=?1",
                          agreement);
    if (rows.next()) {
        out.mark = rows.string(0);
        out.last_full = rows.integer(1);
        out.last_count = static_cast<std::size_t>(rows.integer(2));
        out.settings = rows.string(3);
    }
    return out;
}

std::map<std::string, std::uint64_t> Mirror::assigned() {
    std::map<std::string, std::uint64_t> out;
    auto rows = db_.query("SELECT home_node, count(*) FROM account GROUP BY home_node");
    while (rows.next()) out[rows.string(0)] = rows.count(1);
    return out;
}

template <class Items, class Work>
void Mirror::in_batches(Items& items, Work work) {
    for (std::size_t start = 0; start < items.size(); start += batch_size) {
        db_.begin();
        try {
            auto lease = db_.query(
                std::string(
                    "SELECT 1 FROM sync_lease WHERE name='sync' AND holder=?1 AND epoch=?2 AND until>=") +
                    db_now + " FOR SHARE",
                holder_, epoch_);
            if (!lease.next()) throw LeaseLost();
            for (std::size_t i = start; i < std::min(items.size(), start + batch_size); ++i) work(items[i]);
            db_.commit();
        } catch (...) {
            db_.rollback();
            throw;
        }
    }
}

void Mirror::event(AccountId account, const std::string& jid, MirrorState state) {
    db_.run("INSERT INTO account_event(ts, account, jid, state) VALUES(?1,?2,?3,?4)", now_micros(), account,
            jid, static_cast<int>(state));
}

AccountId Mirror::add(const AgreementConfig& agreement, const Person& person, const std::string& home,
                      std::int64_t host, Plan& plan) {
    auto made = db_.query(
        "INSERT INTO account(host, localpart, state, source, home_node, created) VALUES(?1,?2,?3,1,?4,?5) "
        "ON CONFLICT(host, localpart) DO NOTHING RETURNING id",
        host, person.localpart, person.disabled ? 1 : 0, home, now_micros());
    AccountId account = 0;
    if (made.next()) {
        account = made.integer(0);
    } else {
        // There already: ours from a run that was cut off, or a local account, which is never taken by guess.
        auto known = db_.query("SELECT id, source FROM account WHERE host=?1 AND localpart=?2", host,
                               person.localpart);
        if (!known.next() || known.integer(1) != 1) {
            plan.skipped.push_back({person.dn, "a local account has the address " + person.localpart});
            return 0;
        }
        account = known.integer(0);
    }
    db_.run(
        "INSERT INTO directory_entry(agreement, entry_uuid, account, localpart, attribute_hash, dn, state) "
        "VALUES(?1,?2,?3,?4,?5,?6,?7) ON CONFLICT DO NOTHING",
        agreement.name, person.uuid, account, person.localpart, person.hash, person.dn,
        person.disabled ? 1 : 0);
    return account;
}

void Mirror::apply(const AgreementConfig& agreement, Plan& plan, std::vector<Placement> nodes) {
    db_.run("INSERT INTO host(name) VALUES(?1) ON CONFLICT DO NOTHING", agreement.host);
    auto host_rows = db_.query("SELECT id FROM host WHERE name=?1", agreement.host);
    host_rows.next();
    const auto host = host_rows.integer(0);
    const auto put_card = [&](AccountId account, const std::string& card) {
        db_.run(
            "INSERT INTO document(owner, kind, key, bytes) VALUES(?1,'vcard','',?2) ON CONFLICT(owner, kind, "
            "key) DO UPDATE SET bytes=excluded.bytes",
            account, sql::Blob{card});
    };
    const auto jid = [&](const std::string& localpart) { return localpart + '@' + agreement.host; };

    const auto homes = place_balanced(std::move(nodes), plan.add.size());
    std::size_t at = 0, unassigned = 0;
    in_batches(plan.add, [&](const Person& person) {
        const auto& home = homes[at++];
        if (home.empty()) ++unassigned;
        const auto account = add(agreement, person, home, host, plan);
        if (account == 0) return;
        put_card(account, person.vcard);
        event(account, jid(person.localpart), person.disabled ? MirrorState::disabled : MirrorState::active);
    });
    if (unassigned > 0)
        log_warn("assignment_exhausted",
                 {{"agreement", agreement.name}, {"count", static_cast<std::uint64_t>(unassigned)}});
    const auto set = [&](const Mirrored& row, MirrorState state, std::int64_t since, int missed) {
        db_.run(
            "UPDATE directory_entry SET state=?3, missing_since=?4, missed=?5 WHERE agreement=?1 AND "
            "entry_uuid=?2",
            agreement.name, row.uuid, static_cast<int>(state), since, missed);
        db_.run("UPDATE account SET state=?2 WHERE id=?1", row.account, static_cast<int>(state));
        event(row.account, jid(row.localpart), state);
    };
    in_batches(plan.update, [&](const std::pair<Mirrored, Person>& item) {
        const auto& [row, person] = item;
        // A changed name keeps its address: renaming is a decision of an administrator.
        if (row.localpart != person.localpart) {
            log_info("user_rename_pending", {{"jid", jid(row.localpart)}, {"directory", person.localpart}});
        }
        db_.run("UPDATE directory_entry SET attribute_hash=?3, dn=?4 WHERE agreement=?1 AND entry_uuid=?2",
                agreement.name, row.uuid, person.hash, person.dn);
        put_card(row.account, person.vcard);
        set(row, person.disabled ? MirrorState::disabled : MirrorState::active, 0, 0);
    });
    in_batches(plan.disable, [&](const std::pair<Mirrored, Person>& item) {
        db_.run("UPDATE directory_entry SET attribute_hash=?3 WHERE agreement=?1 AND entry_uuid=?2",
                agreement.name, item.first.uuid, item.second.hash);
        set(item.first, MirrorState::disabled, 0, 0);
    });
    in_batches(plan.miss,
               [&](const Mirrored& row) { set(row, MirrorState::missing, row.missing_since, row.missed); });
    in_batches(plan.deactivate, [&](const Mirrored& row) {
        set(row, MirrorState::deactivated, row.missing_since, row.missed);
    });
}

void Mirror::finish(const std::string& agreement, const State& state, const Plan& plan, bool full,
                    std::size_t entries, std::int64_t started, const std::string& result) {
    json::array skipped, held;
    for (const auto& s : plan.skipped) skipped.push_back(json::object{{"dn", s.dn}, {"reason", s.reason}});
    for (const auto& user : plan.held_users) held.push_back(json::value(user));
    const json::object detail{{"skipped", skipped}, {"held", held}, {"held_reason", plan.held}};
    db_.begin();
    try {
        db_.run(
            "INSERT INTO sync_state VALUES(?1,?2,?3,?4,?5) ON CONFLICT(agreement) DO UPDATE SET "
            "mark=excluded.mark, "
            "last_full=excluded.last_full, last_count=excluded.last_count, settings=excluded.settings",
            agreement, state.mark, state.last_full, static_cast<std::int64_t>(state.last_count),
            state.settings);
        db_.run(
            "INSERT INTO sync_run(agreement, kind, started, ended, result, entries, added, changed, "
            "disabled, missing, deactivated, held, skipped, detail) "
            "VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)",
            agreement, full ? "full" : "incremental", started, now_micros(), result,
            static_cast<std::int64_t>(entries), static_cast<std::int64_t>(plan.add.size()),
            static_cast<std::int64_t>(plan.update.size()), static_cast<std::int64_t>(plan.disable.size()),
            static_cast<std::int64_t>(plan.miss.size()), static_cast<std::int64_t>(plan.deactivate.size()),
            static_cast<std::int64_t>(plan.held_users.size()), static_cast<std::int64_t>(plan.skipped.size()),
            json::serialize(detail));
        db_.run("DELETE FROM sync_run WHERE id < (SELECT max(id) - 1000 FROM sync_run)");
        db_.commit();
    } catch (...) {
        db_.rollback();
        throw;
    }
}

}  // namespace hexad::sync
