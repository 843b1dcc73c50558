#!/usr/bin/python3
"""Two agreements over one directory, one read by content synchronisation (RFC 4533), one by modifyTimestamp: after any
changes both mirrors are the same. A cookie that the directory no longer knows leads to a full read. And logins while no
directory answers."""
import pathlib
import random
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import checks  # noqa: E402
from support.checks import check, eventually  # noqa: E402
from support.directory import Directory, answer_to, password_of  # noqa: E402
from support.lab import Lab, free_instance  # noqa: E402

PEOPLE = 120
INSTANCE = free_instance()
SUFFIX = "dc=example,dc=test"
FOLDER = f"/tmp/hexad-lab-{INSTANCE}"
SETTINGS = f"""
[[host]]
name = "plain.example.test"
auth = "directory"
certificate = "{FOLDER}/tls/host.pem"
key = "{FOLDER}/tls/host.key"
[[agreement]]
name = "plain"
type = "generic"
hosts = ["ldap://127.0.{INSTANCE}.10:3389"]
tls = "starttls"
ca = "{FOLDER}/tls/ca.pem"
bind_dn = "cn=hexad,ou=services,{SUFFIX}"
password_file = "{FOLDER}/config/directory.password"
base = "ou=people,{SUFFIX}"
host = "plain.example.test"
[sync]
incremental_seconds = 3600
full_seconds = 86400
grace_seconds = 86400
lease_seconds = 3
removal_min = 200
removal_max = 1000
"""


def store(lab, query):
    return subprocess.run(["/usr/lib/postgresql/15/bin/psql", "-qAtX", "-h", f"127.0.{lab.instance}.10", "-U", "hexad", "hexad",
                           "-c", query], capture_output=True, text=True, check=True).stdout.strip()


def run(lab, *words):
    return {one["agreement"]: one for one in lab.ctl("sync", "run", *words)}


def mirror(lab, host):
    """uid → (state, the card) of a host's people."""
    rows = store(lab, "SELECT a.localpart, d.state, d.attribute_hash, md5(c.bytes) FROM account a JOIN host h ON h.id=a.host "
                      "JOIN directory_entry d ON d.account=a.id JOIN document c ON c.owner=a.id AND c.kind='vcard' "
                      f"WHERE h.name='{host}'")
    return {row.split("|")[0]: tuple(row.split("|")[1:]) for row in rows.splitlines()}


def mirrors(lab):
    return mirror(lab, lab.domain), mirror(lab, "plain.example.test")


@check
def both_ways_to_read_are_used_and_shown(lab, directory):
    told = eventually(lambda: (told := run(lab)) and {one["kind"] for one in told.values()} == {"incremental"} and told, 20, 1)
    assert told["staff"]["reader"] == "syncrepl" and told["plain"]["reader"] == "modifyTimestamp", told
    listed = {one["name"]: one for one in lab.ctl("sync", "status")["agreements"]}
    assert "syncrepl" in listed["staff"]["capabilities"].split() and listed["staff"]["active"] == PEOPLE, listed
    one, other = mirrors(lab)
    assert one == other and len(one) == PEOPLE


@check
def after_random_changes_both_mirrors_are_the_same(lab, directory):
    choose = random.Random(7526)
    uids, locked, number = [f"u{n:04d}" for n in range(1, PEOPLE + 1)], set(), 0
    dns = {dn.split(",")[0][4:]: dn for dn in directory.found("(uid=*)")}
    for turn in range(5):
        ldif = []
        for _ in range(60):
            kind = choose.choice(["title", "title", "cn", "telephoneNumber", "lock", "move", "delete", "add"])
            uid = choose.choice(uids)
            if kind == "add":
                number += 1
                uid = f"fresh{number}"
                dns[uid] = f"uid={uid},ou=people,{SUFFIX}"
                uids.append(uid)
                ldif.append(f"dn: {dns[uid]}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {uid}\nsn: {uid}\ncn: {uid}\n"
                            f"userPassword: {password_of(uid)}\n")
            elif kind == "delete":
                uids.remove(uid)
                ldif.append(f"dn: {dns.pop(uid)}\nchangetype: delete\n")
            elif kind == "move":
                parent = "ou=people" if ",ou=Sales," in dns[uid] else "ou=Sales,ou=people"
                ldif.append(f"dn: {dns[uid]}\nchangetype: modrdn\nnewrdn: uid={uid}\ndeleteoldrdn: 0\n"
                            f"newsuperior: {parent},{SUFFIX}\n")
                dns[uid] = f"uid={uid},{parent},{SUFFIX}"
            elif kind == "lock":
                ldif.append(f"dn: {dns[uid]}\nchangetype: modify\n" + (
                    "delete: pwdAccountLockedTime\n" if uid in locked else
                    "add: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n"))
                locked ^= {uid}
            else:
                ldif.append(f"dn: {dns[uid]}\nchangetype: modify\nreplace: {kind}\n{kind}: {choose.randrange(10**6)}\n")
        directory.modify("\n".join(ldif))
        told = run(lab)
        assert {one["result"] for one in told.values()} == {"applied"}, told
        assert told["staff"]["reader"] == "syncrepl", told
        one, other = mirrors(lab)
        # Only content synchronisation tells of deletions; the rest is the same at once.
        there = {uid: kept for uid, kept in one.items() if kept[0] != "2"}
        assert set(there) == set(uids), set(there) ^ set(uids)
        assert there == {uid: kept for uid, kept in other.items() if uid in there}, turn
        assert {uid for uid, kept in there.items() if kept[0] == "1"} == {uid for uid in uids if uid in locked}
    run(lab, "--full")
    one, other = mirrors(lab)
    assert one == other and len([uid for uid, kept in one.items() if kept[0] == "2"]) >= 10


def kept_logins(lab):
    """uids whose last login is kept for when the directory is away."""
    return set(store(lab, "SELECT a.localpart FROM offline_login o JOIN account a ON a.id=o.account").split())


@check
def with_the_directory_away_who_was_there_lately_can_log_in_and_nobody_else(lab, directory):
    passwords = {user["jid"].split("@")[0]: user["password"] for user in lab.users() if user["source"] == "ldap"}
    there = sorted(set(passwords) & {dn.split(",")[0][4:] for dn in
                                     directory.found("(&(objectClass=inetOrgPerson)(!(pwdAccountLockedTime=*)))")})
    good, guessed, disabled, late, stranger = there[:5]
    for uid in (good, guessed, disabled, late):
        assert answer_to(lab, uid, passwords[uid], "n1") == "success"
    eventually(lambda: kept_logins(lab) >= {good, guessed, disabled, late}, 10, 0.2)
    # What the directory has refused since, what it has disabled, and what is too long ago does not count.
    assert answer_to(lab, guessed, "wrong", "n2") == "not-authorized"
    eventually(lambda: guessed not in kept_logins(lab), 5, 0.2)
    directory.lock(disabled)
    run(lab)
    assert disabled not in kept_logins(lab)
    store(lab, "UPDATE offline_login SET last_login = last_login - 73 * 3600 * 1000000::bigint WHERE account IN "
               f"(SELECT id FROM account WHERE localpart = '{late}')")
    lab("stop", "slapd")
    try:
        # n2 has seen none of them: what it knows is in the store.
        assert answer_to(lab, good, passwords[good], "n2") == "success"
        assert answer_to(lab, good, "wrong", "n2") == "temporary-auth-failure"
        for uid in (guessed, late, stranger):
            assert answer_to(lab, uid, passwords[uid], "n2") == "temporary-auth-failure", uid
        assert answer_to(lab, disabled, passwords[disabled], "n2") == "account-disabled"
    finally:
        lab("start", "slapd")
    eventually(lambda: answer_to(lab, stranger, passwords[stranger], "n2") == "success", 40, 0.5)


@check
def without_an_agent_the_administrator_is_told_and_nothing_is_done_later(lab, directory):
    lab("stop", "sync")
    assert lab.ctl("sync", "status")["agent"] == "no hexad-sync runs"
    before = lab.ctl("sync", "status")["runs"][0]["run"]
    lab.refuses("ctl", "sync", "run", "--full", status=3)
    lab("start", "sync")
    told = run(lab)  # an agent that starts reads at once, and it was not asked for a full read
    assert told["staff"]["kind"] == "incremental"
    runs = [one for one in lab.ctl("sync", "status", "--runs", "100")["runs"] if one["run"] > before]
    assert {one["kind"] for one in runs} == {"incremental"}, runs


@check
def guessing_takes_longer_each_time_for_that_name_only(lab, directory):
    guessed, other = sorted({dn.split(",")[0][4:] for dn in directory.found("(objectClass=inetOrgPerson)")})[-2:]

    def takes(uid):
        start = time.monotonic()
        assert answer_to(lab, uid, "wrong", "n2") == "not-authorized"
        return time.monotonic() - start

    first, *_, last = [takes(guessed) for _ in range(5)]
    assert last >= 1.5 > takes(other), (first, last)


@check
def a_cookie_that_is_lost_leads_to_a_full_read(lab, directory):
    lab("stop", "slapd")
    # A directory that was set up anew: other entries, other change numbers, a cookie of nobody it knows.
    slapd = lab.folder / "slapd"
    for file in (slapd / "db").iterdir():
        file.unlink()
    subprocess.run(["/usr/sbin/slapadd", "-q", "-w", "-F", slapd / "slapd.d", "-l", slapd / "people.ldif"], check=True,
                   capture_output=True)
    subprocess.run(["chown", "-R", "--reference", slapd / "slapd.d", slapd / "db"], check=True)
    lab("start", "slapd")
    told = run(lab)["staff"]
    assert told["kind"] == "full", told
    # Every entry has a new identity: nobody is taken over by name.
    assert told["skipped"] == len([1 for dn in directory.found("(uid=u*)")]) and told["added"] == 0, told
    assert {kept[0] for kept in mirror(lab, lab.domain).values()} <= {"0", "1", "2"}


with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
    settings.write(SETTINGS)
    settings.flush()
    with Lab("--nodes", "2", "--people", str(PEOPLE), "--config", settings.name, instance=INSTANCE) as up:
        checks.run(up, Directory(up))
