#include "sync-agent/mirror.hpp"

#include "base/log.hpp"
#include "storage/postgres/assignment.hpp"
#include "storage/sql/accounts.hpp"

namespace hexad::sync {

namespace {

constexpr std::size_t batch_size = 500;

void tell_nodes(postgres::Connection& db, AccountId account, const std::string& jid, MirrorState state) {
    db.run("INSERT INTO account_event(ts, account, jid, state) VALUES(?1,?2,?3,?4)", now_micros(), account,
           jid, static_cast<int>(state));
}

void put_card(postgres::Connection& db, AccountId account, const std::string& card) {
    db.run(
        "INSERT INTO document(owner, kind, key, bytes) VALUES(?1,'vcard','',?2) ON CONFLICT(owner, kind, "
        "key) DO UPDATE SET bytes=excluded.bytes",
        account, sql::Blob{card});
}

/// Where the account lives does not change by it: a rebalancing moves it, if an administrator wants to.
void put_facts(postgres::Connection& db, AccountId account, const PlacingFacts& facts) {
    db.run("UPDATE account SET site=?2, directory_groups=?3 WHERE id=?1", account, facts.site,
           sql::join_groups(facts.groups));
}

}  // namespace

std::int64_t now_micros() { return wall_now().time_since_epoch().count(); }

std::map<std::string, Mirrored> Mirror::load(const std::string& agreement) {
    std::map<std::string, Mirrored> out;
    auto rows = store_.db().query(
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

void Mirror::stop_clocks(const std::string& agreement, std::int64_t micros) {
    store_.transaction([&](postgres::Connection& db) {
        db.run("UPDATE directory_entry SET missing_since=missing_since+?2 WHERE agreement=?1 AND state=2",
               agreement, micros);
    });
}

template <class Items, class Work>
void Mirror::in_batches(const Items& items, Work work) {
    in_batches(items, [](postgres::Connection&, std::size_t, std::size_t) {}, work);
}

template <class Items, class Begin, class Work>
void Mirror::in_batches(const Items& items, Begin begin, Work work) {
    for (std::size_t start = 0; start < items.size(); start += batch_size) {
        const auto end = std::min(items.size(), start + batch_size);
        store_.transaction([&](postgres::Connection& db) {
            begin(db, start, end);
            for (std::size_t i = start; i < end; ++i) work(db, items[i]);
        });
    }
}

AccountId Mirror::add(postgres::Connection& db, const AgreementConfig& agreement, const Person& person,
                      const Home& home, std::int64_t host, Applied& applied) {
    const int state = person.disabled ? 1 : 0;
    auto made = db.query(
        "INSERT INTO account(host, localpart, state, source, home_node, created, rule, assigned_at, site, "
        "directory_groups) VALUES(?1,?2,?3,1,?4,?5,?6,?5,?7,?8) ON CONFLICT(host, localpart) DO NOTHING "
        "RETURNING id",
        host, person.localpart, state, home.node, now_micros(), home.rule, person.facts.site,
        sql::join_groups(person.facts.groups));
    AccountId account = 0;
    if (made.next()) {
        account = made.integer(0);
    } else {
        // The address is taken: by a local account, which is never taken over, or by an entry of another
        // agreement, which keeps it unless it is the same entry, moved from there to here.
        auto known = db.query(
            "SELECT a.id, a.source, coalesce(d.agreement, ''), coalesce(d.entry_uuid, '') FROM account a "
            "LEFT JOIN directory_entry d ON d.account=a.id WHERE a.host=?1 AND a.localpart=?2",
            host, person.localpart);
        if (!known.next() || known.integer(1) != 1) {
            applied.skipped.push_back(
                {person.dn, "a local account has the address " + person.localpart, person.uuid});
            return 0;
        }
        const auto owner = known.string(3);
        if (!owner.empty() && owner != person.uuid) {
            applied.skipped.push_back(
                {person.dn,
                 "address " + person.localpart + " belongs to an entry of agreement " + known.string(2),
                 person.uuid});
            return 0;
        }
        account = known.integer(0);
        if (!owner.empty())
            db.run("DELETE FROM directory_entry WHERE agreement=?1 AND entry_uuid=?2", known.string(2),
                   owner);
        db.run("UPDATE account SET state=?2 WHERE id=?1", account, state);
        put_facts(db, account, person.facts);
    }
    db.run(
        "INSERT INTO directory_entry(agreement, entry_uuid, account, localpart, attribute_hash, dn, state) "
        "VALUES(?1,?2,?3,?4,?5,?6,?7) ON CONFLICT DO NOTHING",
        agreement.name, person.uuid, account, person.localpart, person.hash, person.dn, state);
    ++applied.added;
    return account;
}

/// What the entry says now.
void Mirror::change(postgres::Connection& db, const AgreementConfig& agreement, const Mirrored& row,
                    const Person& person) {
    db.run("UPDATE directory_entry SET attribute_hash=?3, dn=?4 WHERE agreement=?1 AND entry_uuid=?2",
           agreement.name, row.uuid, person.hash, person.dn);
    put_card(db, row.account, person.vcard);
    put_facts(db, row.account, person.facts);
}

void Mirror::set(postgres::Connection& db, const AgreementConfig& agreement, const Mirrored& row,
                 MirrorState state, std::int64_t missing_since, int missed) {
    db.run(
        "UPDATE directory_entry SET state=?3, missing_since=?4, missed=?5 WHERE agreement=?1 AND "
        "entry_uuid=?2",
        agreement.name, row.uuid, static_cast<int>(state), missing_since, missed);
    db.run("UPDATE account SET state=?2 WHERE id=?1", row.account, static_cast<int>(state));
    if (state == MirrorState::disabled || state == MirrorState::deactivated)
        db.run("DELETE FROM offline_login WHERE account=?1", row.account);
    tell_nodes(db, row.account, row.localpart + '@' + agreement.host, state);
}

Mirror::Applied Mirror::apply(const AgreementConfig& agreement, const Plan& plan, const Placer& placer) {
    Applied applied;
    auto& db = store_.db();
    db.run("INSERT INTO host(name) VALUES(?1) ON CONFLICT DO NOTHING", agreement.host);
    auto host_rows = db.query("SELECT id FROM host WHERE name=?1", agreement.host);
    host_rows.next();
    const auto host = host_rows.integer(0);

    std::vector<Home> homes;
    std::size_t at = 0, unassigned = 0;
    const auto find_homes = [&](postgres::Connection& in, std::size_t start, std::size_t end) {
        // Nodes assign accounts too, and each transaction counts anew.
        postgres::lock_assignment(in);
        std::vector<PlacingFacts> facts;
        for (auto i = start; i < end; ++i) facts.push_back(plan.add[i].facts);
        homes = placer(sql::assignments(in), facts);
        at = 0;
    };
    in_batches(plan.add, find_homes, [&](postgres::Connection& in, const Person& person) {
        const auto& home = homes[at++];
        const auto account = add(in, agreement, person, home, host, applied);
        if (account == 0) return;
        if (home.node.empty()) ++unassigned;
        put_card(in, account, person.vcard);
        tell_nodes(in, account, person.localpart + '@' + agreement.host,
                   person.disabled ? MirrorState::disabled : MirrorState::active);
    });
    if (unassigned > 0)
        log_warn("assignment_exhausted",
                 {{"agreement", agreement.name}, {"count", static_cast<std::uint64_t>(unassigned)}});
    in_batches(plan.update, [&](postgres::Connection& in, const std::pair<Mirrored, Person>& item) {
        const auto& [row, person] = item;
        // A changed name keeps its address: renaming is a decision of an administrator.
        if (row.localpart != person.localpart) {
            log_info("user_rename_pending",
                     {{"jid", row.localpart + '@' + agreement.host}, {"directory", person.localpart}});
        }
        change(in, agreement, row, person);
        set(in, agreement, row, person.disabled ? MirrorState::disabled : MirrorState::active, 0, 0);
    });
    in_batches(plan.disable, [&](postgres::Connection& in, const std::pair<Mirrored, Person>& item) {
        const auto& [row, person] = item;
        change(in, agreement, row, person);
        set(in, agreement, row, MirrorState::disabled, 0, 0);
    });
    in_batches(plan.miss, [&](postgres::Connection& in, const Mirrored& row) {
        set(in, agreement, row, MirrorState::missing, row.missing_since, row.missed);
    });
    in_batches(plan.deactivate, [&](postgres::Connection& in, const Mirrored& row) {
        set(in, agreement, row, MirrorState::deactivated, row.missing_since, row.missed);
    });
    return applied;
}

}  // namespace hexad::sync
