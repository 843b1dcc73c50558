#!/usr/bin/python3
"""People from a directory: what reaches the accounts and when, and what never does (docs/directory.md). Two nodes and a
real slapd behind a relay that can cut a read; hexad-sync reads by modifyTimestamp, full reads are asked for."""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
os.environ["HEXAD_LAB_SLAPD_LOG"] = "stats"  # what slapd is asked is part of what is tested
from support import checks  # noqa: E402
from support.checks import check, eventually  # noqa: E402
from support.directory import Directory, Relay, answer_to, connect, password_of  # noqa: E402
from support.ha import events, last_event  # noqa: E402
from support.lab import REPOSITORY, Lab, free_instance  # noqa: E402
from support.resilient import Resilient  # noqa: E402

PEOPLE, GRACE, DISABLED_GRACE = 300, 6, 2
OUTAGE = 14  # longer than two intervals and ten seconds: time in which nobody counts as absent
INSTANCE = free_instance()
SETTINGS = f"""
[[agreement]]
name = "staff"
type = "generic"
hosts = ["ldap://127.0.{INSTANCE}.10:3390"]
page_size = 100
[sync]
incremental_seconds = 1
full_seconds = 86400
grace_seconds = {GRACE}
disabled_grace_seconds = {DISABLED_GRACE}
lease_seconds = 3
"""


def state(lab, uid):
    return lab.ctl("user", "explain", f"{uid}@{lab.domain}")["state"]


def states(lab):
    """uid → state of everybody."""
    return {user["jid"].split("@")[0]: user["state"] for user in lab.ctl("user", "list", "--limit", "100000")}


def run(lab, *words):
    """One run, now; its record."""
    return lab.ctl("sync", "run", *words)[0]


def people(lab, first, last):
    """Passwords of the generated people u<first> … u<last-1>."""
    known = {user["jid"].split("@")[0]: user["password"] for user in lab.users()}
    return {f"u{number:04d}": known[f"u{number:04d}"] for number in range(first, last)}


@check
def an_added_person_can_log_in_after_the_next_incremental_run(lab, directory, relay):
    directory.add("newcomer")
    eventually(lambda: f"newcomer@{lab.domain}" in [user["jid"] for user in lab.ctl("user", "list")], 10, 0.3)
    connect(lab, "newcomer", password_of("newcomer"), "n2").closes()
    assert lab.ctl("user", "explain", f"newcomer@{lab.domain}")["home"] in ("n1", "n2")


@check
def a_rename_shows_in_the_vcard(lab, directory, relay):
    client = connect(lab, "newcomer", password_of("newcomer"))
    full_name = lambda: client.asks("<vCard xmlns='vcard-temp'/>").findtext(".//{vcard-temp}FN")
    assert full_name() == "newcomer"
    directory.replace("newcomer", "cn", "Grace Hopper")
    eventually(lambda: full_name() == "Grace Hopper", 10, 0.3)
    directory.modify(f"dn: {directory.dn('newcomer')}\nchangetype: modify\nadd: displayName\n"
                     "displayName: Rear Admiral Hopper\n")
    eventually(lambda: full_name() == "Rear Admiral Hopper", 10, 0.3)
    client.closes()


@check
def a_disabled_person_is_refused_at_once_and_loses_the_session_after_the_grace(lab, directory, relay):
    (uid, password), = people(lab, 1, 2).items()
    client = connect(lab, uid, password, "n2")
    directory.lock(uid)
    eventually(lambda: answer_to(lab, uid, password) == "account-disabled", 1 + 5, 0.1)
    client.settles()  # the session has its grace still
    client.stream_error("not-authorized", timeout=DISABLED_GRACE + 5)
    assert state(lab, uid) == "disabled"
    directory.unlock(uid)
    eventually(lambda: answer_to(lab, uid, password) == "success", 6, 0.2)
    connect(lab, uid, password).closes()


@check
def a_person_outside_the_filter_is_refused_with_a_good_password(lab, directory, relay):
    directory.add("robot", kind="account")
    run(lab, "--full")
    assert answer_to(lab, "robot", password_of("robot")) == "not-authorized"
    # The account is there, but what has its name now is not what the agreement looks for.
    directory.add("changeling")
    run(lab)
    connect(lab, "changeling", password_of("changeling"), "n1").closes()
    directory.delete("changeling")
    directory.add("changeling", kind="account")
    assert state(lab, "changeling") == "active"
    assert answer_to(lab, "changeling", password_of("changeling"), "n2") == "not-authorized"


@check
def no_name_or_password_gets_through_to_a_search(lab, directory, relay):
    before = directory.log_size()
    uid = next(iter(people(lab, 2, 3)))
    assert answer_to(lab, uid, "") in ("not-authorized", "malformed-request")
    for name in ("*", ")(uid=*", "u00*", "newcomer)(|(uid=newcomer"):
        assert answer_to(lab, name, password_of("newcomer")) == "not-authorized", name
    # A name that is searched shows that the log would tell.
    assert answer_to(lab, uid, "wrong") == "not-authorized"
    told = eventually(lambda: f'BIND dn="uid={uid},' in directory.log_since(before) and directory.log_since(before))
    asked = [line for line in told.splitlines() if "SRCH base" in line and "(entryUUID=" in line]
    assert "(uid=" not in told
    assert len(asked) == 1, asked
    assert len([line for line in told.splitlines() if f'BIND dn="uid={uid},' in line and "mech" not in line]) == 1


@check
def who_is_gone_is_missing_then_deactivated_and_loses_the_session(lab, directory, relay):
    (uid, password), = people(lab, 3, 4).items()
    client = connect(lab, uid, password)
    directory.delete(uid)
    run(lab)
    assert state(lab, uid) == "active"  # an incremental read by modifyTimestamp cannot see it
    told = run(lab, "--full")
    gone = time.monotonic()
    assert (told["result"], told["missing"]) == ("applied", 2), told  # and the changeling
    assert state(lab, uid) == "missing"
    assert answer_to(lab, uid, password, "n2") == "not-authorized"
    early = run(lab, "--full")["deactivated"]
    assert early == 0 or time.monotonic() - gone > GRACE
    if early == 0:
        client.settles()
    eventually(lambda: run(lab, "--full")["deactivated"] == 2 or early == 2, GRACE + 5, 1)
    assert time.monotonic() - gone > GRACE and state(lab, uid) == "deactivated"
    client.stream_error("not-authorized")


@check
def a_newcomer_with_the_name_of_another_is_listed_not_merged(lab, directory, relay):
    uid = next(iter(people(lab, 3, 4)))
    directory.add(uid)
    told = run(lab, "--full")
    assert told["skipped"] == 1, told
    listed = lab.ctl("sync", "status")["skipped"]
    assert [(one["dn"].split(",")[0], one["reason"]) for one in listed] == [
        (f"uid={uid}", f"address {uid} belongs to another entry")], listed
    assert state(lab, uid) == "deactivated"
    # Only when an administrator gives the old account up is the name free.
    lab("ctl", "user", "remove", f"{uid}@{lab.domain}")
    run(lab, "--full")
    assert state(lab, uid) == "active" and answer_to(lab, uid, password_of(uid)) == "success"
    directory.delete(uid)
    assert run(lab, "--full")["missing"] == 1


@check
def four_percent_pass(lab, directory, relay):
    leaving, missing = list(people(lab, 10, 22)), lambda: {uid for uid, one in states(lab).items() if one == "missing"}
    before = missing()
    directory.delete(*leaving)
    told = run(lab, "--full")
    assert (told["result"], told["missing"], told["held"]) == ("applied", 12, 0), told
    assert missing() - before == set(leaving)


@check
def six_percent_are_held_and_listed_while_additions_are_applied(lab, directory, relay):
    leaving = list(people(lab, 30, 48))
    before = states(lab)
    directory.delete(*leaving)
    directory.add("extra0", "extra1")
    planned = lab.ctl("sync", "plan")[0]
    assert planned["hold"] == 18 and sorted(planned["would_hold"]) == leaving, planned
    told = run(lab, "--full")
    assert (told["result"], told["missing"], told["held"]) == ("held", 0, 18), told
    after = states(lab)
    assert after.pop("extra0") == after.pop("extra1") == "active" and after == before
    waiting = lab.ctl("sync", "review")
    assert [one["jid"].split("@")[0] for one in waiting] == leaving, waiting
    assert {one["would_be"] for one in waiting} == {"missing"} and {one["is"] for one in waiting} == {"active"}
    # The same set once more is the same decision; somebody who comes back is none of it any more.
    again = run(lab, "--full")
    assert again["result"] == "held" and lab.ctl("sync", "review")[0]["run"] == waiting[0]["run"]
    assert "held" in lab.ctl("user", "explain", waiting[0]["jid"])
    lab.refuses("ctl", "sync", "approve", str(again["run"]), status=1)
    assert states(lab) == after | {"extra0": "active", "extra1": "active"}


@check
def what_is_approved_is_exactly_that_set(lab, directory, relay):
    held = lab.ctl("sync", "review")
    number = held[0]["run"]
    directory.delete("extra1")  # gone too, but nobody has been asked about it
    assert lab.ctl("sync", "approve", number) == {"run": number, "result": "approved", "applied": 18}
    now = states(lab)
    assert all(now[one["jid"].split("@")[0]] == "missing" for one in held) and now["extra1"] == "active"
    lab.refuses("ctl", "sync", "approve", str(number), status=1)
    assert lab.ctl("sync", "review") == []
    told = run(lab, "--full")
    assert (told["result"], told["missing"]) == ("applied", 1), told


@check
def a_rejected_set_is_dropped_and_asked_about_again(lab, directory, relay):
    leaving = list(people(lab, 130, 150))
    directory.delete(*leaving)
    assert run(lab, "--full")["held"] == len(leaving)
    number = lab.ctl("sync", "review")[0]["run"]
    assert lab.ctl("sync", "reject", number)["result"] == "rejected"
    assert lab.ctl("sync", "review") == [] and {states(lab)[uid] for uid in leaving} == {"active"}
    assert run(lab, "--full")["held"] == len(leaving)  # the directory still says so
    again = lab.ctl("sync", "review")[0]["run"]
    assert again > number and lab.ctl("sync", "approve", again)["applied"] == len(leaving)


@check
def whoever_comes_back_leaves_the_held_set(lab, directory, relay):
    locked = list(people(lab, 60, 80))
    lab("stop", "sync")  # so that one run sees all of it
    directory.lock(*locked)
    lab("start", "sync")
    held = eventually(lambda: lab.ctl("sync", "review"), 15, 0.3)
    assert {one["would_be"] for one in held} == {"disabled"} and len(held) == 20, held
    run(lab)
    assert {one["run"] for one in lab.ctl("sync", "review")} == {held[0]["run"]}  # one decision, however often it is read
    directory.unlock(*locked[:5])
    run(lab)
    assert {one["jid"].split("@")[0] for one in lab.ctl("sync", "review")} == set(locked[5:])
    told = lab.ctl("sync", "approve", held[0]["run"])
    assert told["applied"] == 15, (told, lab.ctl("sync", "status")["runs"])
    now = states(lab)
    assert {now[uid] for uid in locked[:5]} == {"active"} and {now[uid] for uid in locked[5:]} == {"disabled"}
    directory.unlock(*locked[5:])
    run(lab)
    assert {states(lab)[uid] for uid in locked} == {"active"}


@check
def a_read_that_is_cut_adds_and_removes_nobody(lab, directory, relay):
    relay.forget()
    whole = run(lab, "--full")
    assert whole["result"] == "applied"
    uid = next(iter(people(lab, 90, 91)))
    directory.delete(uid)
    relay.limit = relay.longest * 9 // 10
    try:
        told = run(lab, "--full")
    finally:
        relay.limit = None
    assert told["result"] == "incomplete" and told["reason"], told
    assert 200 <= told["read"] < whole["read"] and told["missing"] == told["deactivated"] == 0, (told, whole)
    assert state(lab, uid) == "active"
    eventually(lambda: run(lab, "--full")["result"] == "applied", 10, 0.5)
    assert state(lab, uid) == "missing"


@check
def nobody_found_is_never_applied_and_another_filter_is_held(lab, directory, relay):
    eventually(lambda: run(lab, "--full") and "missing" not in states(lab).values(), GRACE + 10, 1)
    before = states(lab)
    lab("stop", "sync")
    config = (lab.folder / "config" / "hexad.toml").read_text()
    line = next(one for one in config.splitlines() if one.startswith("filter"))
    try:
        with Agent(lab, config.replace(line, 'filter = "(uid=nobody)"')):
            told = run(lab, "--full")
            assert (told["result"], told["read"], told["held"]) == ("empty", 0, 0), told
        with Agent(lab, config.replace(line, 'filter = "(&(objectClass=inetOrgPerson)(!(uid=u0200)))"')):
            told = run(lab, "--full")  # one person is not much, but it is our doing, not the directory's
            assert (told["result"], told["held"]) == ("held", 1), told
    finally:
        lab("start", "sync")
    assert states(lab) == before
    assert run(lab, "--full")["result"] == "applied"
    assert lab.ctl("sync", "review") == [] and states(lab)["u0200"] == "active"


@check
def with_the_directory_down_sessions_chats_and_resumption_go_on(lab, directory, relay):
    (one, one_password), (two, two_password) = people(lab, 110, 112).items()
    addresses = [lab.node("n1")["address"], lab.node("n2")["address"]]
    romeo = Resilient(addresses[:1], lab.domain, one, one_password)
    juliet = Resilient(addresses[1:], lab.domain, two, two_password)
    gone = next(iter(people(lab, 160, 161)))
    directory.delete(gone)
    assert run(lab, "--full")["missing"] == 1
    before, mark, down = states(lab), last_event(lab), time.monotonic()
    told = lambda kind: {(e["node"], e["fields"]["agreement"]) for e in events(lab, kind, after=mark)}
    everywhere = {("n1", "staff"), ("n2", "staff")}
    try:
        lab("stop", "slapd")
        failed = run(lab, "--full")
        assert failed["result"] == "failed" and failed["reason"], failed
        romeo.client.drops()
        eventually(lambda: romeo.resumed == 1, 20)
        romeo.send(f"<message to='{two}@{lab.domain}' type='chat'><body>still here</body></message>")
        eventually(juliet.messages)
        (stranger, password), = people(lab, 112, 113).items()
        assert answer_to(lab, stranger, password) == "temporary-auth-failure"
        assert states(lab) == before
        assert romeo.logins == juliet.logins == 1 and not juliet.outages
        eventually(lambda: told("DirectoryDown") == everywhere, 15, 0.5)
        assert not told("DirectoryUp")
        time.sleep(max(0, down + OUTAGE - time.monotonic()))
    finally:
        lab("start", "slapd")
        romeo.stop()
        juliet.stop()
    assert eventually(lambda: (told := run(lab, "--full"))["result"] == "applied" and told, 20, 0.5)["missing"] == 0
    eventually(lambda: told("DirectoryUp") == everywhere, 15, 0.5)
    # Longer than the grace, but nobody has been absent while nobody could look.
    assert states(lab) == before and before[gone] == "missing"
    eventually(lambda: run(lab, "--full") and state(lab, gone) == "deactivated", GRACE + 10, 1)
    eventually(lambda: answer_to(lab, stranger, password) == "success", 40, 0.5)


@check
def an_address_has_one_owner_among_agreements_and_a_moved_entry_keeps_it(lab, directory, relay):
    config = (lab.folder / "config" / "hexad.toml").read_text()
    start = config.index("[[agreement]]")
    block = config[start:config.index("\n[", start + 1)]
    second = block.replace('"staff"', '"second"').replace("ou=people,", "ou=groups,")
    owner, moved = people(lab, 170, 172)
    home = lab.ctl("user", "explain", f"{moved}@{lab.domain}")["home"]
    groups = f"ou=groups,{directory.suffix}"
    lab("stop", "sync")
    try:
        with Agent(lab, config.replace(block, block + "\n" + second)):
            run(lab, "--full", "staff")
            directory.modify(f"dn: uid={owner},{groups}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {owner}\n"
                             f"sn: other\ncn: other\n\ndn: {directory.dn(moved)}\nchangetype: modrdn\n"
                             f"newrdn: uid={moved}\ndeleteoldrdn: 0\nnewsuperior: {groups}\n")
            told = run(lab, "--full", "second")
            assert told["skipped"] == 1, told
            with Store(lab) as store:  # the nodes' configuration does not have this agreement
                assert store.number("SELECT count(*) FROM sync_run WHERE agreement='second' AND detail LIKE "
                                    f"'%address {owner} belongs to an entry of agreement staff%'") >= 1
            assert lab.ctl("user", "explain", f"{owner}@{lab.domain}")["agreement"] == "staff"
            run(lab, "--full", "staff")
            explained = lab.ctl("user", "explain", f"{moved}@{lab.domain}")
            assert (explained["agreement"], explained["state"], explained["home"]) == ("second", "active", home), explained
    finally:
        lab("start", "sync")


class Agent:
    """A hexad-sync of the test's own."""

    def __init__(self, lab, config=None):
        file = lab.folder / "config" / "hexad.toml"
        if config:
            self.file = tempfile.NamedTemporaryFile("w", suffix=".toml")
            self.file.write(config)
            self.file.flush()
            file = self.file.name
        preset = os.environ.get("HEXAD_LAB_PRESET", "release")
        self.process = subprocess.Popen([REPOSITORY / "build" / preset / "bin" / "hexad-sync", "--config", file],
                                        stdin=subprocess.DEVNULL, stderr=open(lab.folder / "log" / "second.log", "a"))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)


class Store:
    """Questions to the store, over one connection."""

    def __init__(self, lab):
        self.process = subprocess.Popen(["/usr/lib/postgresql/15/bin/psql", "-qAtX", "-h", f"127.0.{lab.instance}.10",
                                         "-U", "hexad", "hexad"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(10)

    def number(self, query):
        self.process.stdin.write(query + ";\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@check
def an_agent_killed_while_applying_is_replaced_and_nothing_is_half_done(lab, directory, relay):
    lab("stop", "sync")
    many = [f"m{number:05d}" for number in range(3000)]
    directory.add(*many)
    last = lab.ctl("sync", "status")["runs"][0]["run"]
    with Store(lab) as store:
        count = lambda: store.number("SELECT count(*) FROM directory_entry")
        before = count()
        with Agent(lab) as first:
            eventually(lambda: count() > before, 30, 0.01)
            with Agent(lab):
                first.process.send_signal(signal.SIGKILL)
                first.process.wait()
                killed = time.monotonic()
                time.sleep(0.5)  # a commit that was on its way
                at = count()
                assert before < at < before + len(many), "the kill came too late to mean anything"
                eventually(lambda: count() == before + len(many), 30, 0.1)
                took = time.monotonic() - killed
                assert took <= 30, took
                told = eventually(lambda: [one for one in lab.ctl("sync", "status")["runs"]
                                            if one["run"] > last and one["added"]], 20, 0.3)[0]
                assert told["added"] == before + len(many) - at, (told, before, at)
                # Each person has all of it or nothing: account, entry, card, home and the event that tells the nodes.
                assert store.number("SELECT count(*) FROM account a WHERE a.localpart LIKE 'm0%' AND a.source=1 AND "
                                    "a.home_node<>'' AND EXISTS (SELECT 1 FROM directory_entry d WHERE d.account=a.id) AND "
                                    "EXISTS (SELECT 1 FROM document c WHERE c.owner=a.id AND c.kind='vcard') AND "
                                    "EXISTS (SELECT 1 FROM account_event e WHERE e.account=a.id)") == len(many)
                assert store.number("SELECT count(*) FROM account WHERE localpart LIKE 'm0%'") == len(many)
                connect(lab, many[0], password_of(many[0]), "n2").closes()
    lab("start", "sync")


@check
def a_name_that_somebody_else_has_got_opens_nobodys_account(lab, directory, relay):
    """Login goes by the entry that the account mirrors, not by its name."""
    directory.add("early", "given")
    run(lab)
    connect(lab, "early", password_of("early"), "n1").closes()
    # Renamed in the directory: the account keeps its address, and its owner gets in by it.
    directory.modify(f"dn: {directory.dn('early')}\nchangetype: modrdn\nnewrdn: uid=late\ndeleteoldrdn: 1\n")
    run(lab)
    assert answer_to(lab, "early", password_of("early"), "n2") == "success"
    # Somebody else has the name now, or that of one who left.
    directory.delete("given")
    directory.add("early", "given")
    for name in ("early", "given"):
        directory.replace(name, "userPassword", "stranger")
    for _ in ("before the agent has seen it", "after"):
        for name in ("early", "given"):
            for node in ("n1", "n2"):
                assert answer_to(lab, name, "stranger", node) == "not-authorized", (name, node)
        run(lab, "--full")
    assert answer_to(lab, "early", password_of("early"), "n1") == "success"
    directory.modify("\n".join(f"dn: {dn}\nchangetype: delete\n" for name in ("early", "late", "given")
                               for dn in directory.found(f"(uid={name})")))


with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
    settings.write(SETTINGS)
    settings.flush()
    tomllib.loads(SETTINGS)
    relay = Relay((f"127.0.{INSTANCE}.10", 3390), (f"127.0.{INSTANCE}.10", 3389))
    with Lab("--nodes", "2", "--people", str(PEOPLE), "--config", settings.name, instance=INSTANCE) as up:
        checks.run(up, Directory(up), relay)
