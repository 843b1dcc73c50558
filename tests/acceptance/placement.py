#!/usr/bin/python3
"""Placement rules (docs/assignment.md): people of a site or of a group of the directory live in the redundancy group that a
rule names, whatever else is free; what changes afterwards is proposed, and moved by an administrator alone. Four nodes in
two groups, a real slapd. The first checks are about what the sync placed, the last ones about rebalancing by itself."""
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import checks  # noqa: E402
from support.checks import check, eventually  # noqa: E402
from support.directory import Directory  # noqa: E402
from support.ha import events, last_event, waits_for  # noqa: E402
from support.lab import LAB, Lab  # noqa: E402

PEOPLE, CAPACITY = 60, 40
NODES, G1, G2 = ("n1", "n2", "n3", "n4"), ("n1", "n2"), ("n3", "n4")
SALES = "cn=Sales,ou=groups,dc=example,dc=test"
AUTO = 'rebalance = "auto"'
# Written otherwise than the directory has it: LDAP takes both for the same.
SETTINGS = """
[cluster]
rebalance = "off"
rebalance_after = 1
rebalance_rate = 50
rebalance_difference = 5
rebalance_percent = 20
[[placement]]
site = "BERLIN"
group = "g1"
[[placement]]
directory_group = "CN=sales, OU=Groups, DC=example, DC=test"
group = "g2"
[[placement]]
site = "osaka"
group = "g2"
[sync]
incremental_seconds = 3600
full_seconds = 86400
"""


def ctl(lab, *words):
    """Exit status of hexactl, and what it said."""
    done = subprocess.run([LAB, "ctl", "--instance", str(lab.instance), *words], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout


def homes(lab):
    """uid → home node of everybody of the directory; "" = unassigned."""
    return {user["jid"].split("@")[0]: user["home"] for user in lab.ctl("user", "list", "--limit", "10000")
            if user["jid"].endswith("@" + lab.domain)}


def spread(lab):
    at = [user["home"] for user in lab.ctl("user", "list", "--limit", "10000")]
    return [at.count(node) for node in NODES]


def explain(lab, uid):
    return lab.ctl("user", "explain", f"{uid}@{lab.domain}")


def plan(lab):
    return lab.ctl("rebalance", "plan")


def run(lab, *words):
    told = lab.ctl("sync", "run", *words)[0]
    assert told["result"] == "applied", told
    return told


def applies(lab):
    """One rebalancing until it has ended; its record."""
    number = lab.ctl("rebalance", "apply", "--rate", "50/s")["run"]
    ended = lambda: (last := lab.ctl("rebalance", "status", "--runs", "1")[0])["state"] != "running" and last
    last = eventually(ended, 30, 0.3)
    assert last["run"] == number and last["state"] == "done", last
    return last


def found(directory, filter):
    return {dn.split(",")[0][4:] for dn in directory.found(filter)}


def ruled(directory):
    """uids by the group that the rules name for them, in their order."""
    berlin, sales = found(directory, "(l=Berlin)"), found(directory, f"(memberOf={SALES})")
    osaka = found(directory, "(l=Osaka)")
    return {"g1": berlin, "g2": (sales | osaka) - berlin}


def outside(lab, directory):
    """Who lives outside the group of his rule, the unassigned left out."""
    at, wanted = homes(lab), ruled(directory)
    return {uid for group, nodes in (("g1", G1), ("g2", G2)) for uid in wanted[group] if at[uid] and at[uid] not in nodes}


@check
def people_of_a_site_and_of_a_group_land_where_the_rule_says_and_the_rest_is_balanced(lab, directory):
    at, wanted = homes(lab), ruled(directory)
    assert len(at) == PEOPLE and min(map(len, wanted.values())) >= 8, wanted
    assert found(directory, "(l=Berlin)") & found(directory, f"(memberOf={SALES})"), "nobody whom two rules fit"
    assert not outside(lab, directory), (outside(lab, directory), at)
    free = [at[uid] for uid in at if uid not in wanted["g1"] | wanted["g2"]]
    counts = spread(lab)
    # Rules bind most of them; the rest went wherever it was emptiest.
    assert set(free) & set(G1) and max(counts) - min(counts) <= 3 and "" not in at.values(), (counts, free)


@check
def explain_names_the_rule_that_placed_somebody(lab, directory):
    at, wanted = homes(lab), ruled(directory)
    berliner = min(wanted["g1"])
    shown = explain(lab, berliner)
    assert shown["rule"] == "site BERLIN -> g1: the node with the lowest share of its capacity", shown
    assert (shown["placement"], shown["site"], shown["group"]) == ("site BERLIN -> g1", "Berlin", "g1"), shown
    seller = min(found(directory, f"(memberOf={SALES})") - wanted["g1"])
    shown = explain(lab, seller)
    assert shown["rule"].startswith("group CN=sales, OU=Groups, DC=example, DC=test -> g2: "), shown
    free = min(uid for uid in at if uid not in wanted["g1"] | wanted["g2"])
    shown = explain(lab, free)
    assert shown["placement"] is None and shown["rule"] == "the node with the lowest share of its capacity", shown
    local = next(user["jid"] for user in lab.users() if user["source"] == "local")
    assert lab.ctl("user", "explain", local)["placement"] is None


@check
def a_changed_site_is_proposed_and_moved_by_apply_alone(lab, directory):
    at, wanted = homes(lab), ruled(directory)
    sales = found(directory, f"(memberOf={SALES})")
    goes, stays = sorted(wanted["g1"] - sales)[:2]
    lab.ctl("user", "pin", f"{stays}@{lab.domain}", at[stays])
    assert plan(lab)["misplaced"] == 0
    for uid in (goes, stays):
        directory.replace(uid, "l", "Osaka")
    assert run(lab)["changed"] == 2
    time.sleep(3)
    assert homes(lab) == at, "the sync moved somebody"
    shown = explain(lab, goes)
    assert shown["placement"] == "site osaka -> g2" and "hexactl rebalance plan" in shown["misplaced"], shown
    assert "pinned" in explain(lab, stays)["misplaced"]
    proposed = plan(lab)
    moves = [move for move in proposed["moves"] if move["reason"].startswith("placement rule")]
    assert proposed["misplaced"] == 2 and len(moves) == 1, proposed
    assert (moves[0]["from"], moves[0]["users"], moves[0]["to"] in G2) == (at[goes], 1, True), proposed
    assert moves[0]["reason"] == "placement rule site osaka -> g2", proposed
    last = applies(lab)
    assert any("placed in g2" in move for move in last["moves"]), last
    now = homes(lab)
    assert now[goes] in G2 and now[stays] == at[stays], (now[goes], now[stays])
    assert f"run {last['run']}" in explain(lab, goes)["rule"] and "misplaced" not in explain(lab, goes)
    assert plan(lab)["misplaced"] == 1 and outside(lab, directory) == {stays}
    lab.ctl("user", "unpin", f"{stays}@{lab.domain}")
    applies(lab)
    assert not outside(lab, directory)


@check
def a_changed_membership_is_proposed_too(lab, directory):
    at, wanted = homes(lab), ruled(directory)
    uid = min(uid for uid in at if at[uid] in G1 and uid not in wanted["g1"])
    directory.modify(f"dn: {SALES}\nchangetype: modify\nadd: member\nmember: {directory.dn(uid)}\n")
    run(lab, "--full")
    assert homes(lab)[uid] == at[uid] and uid in outside(lab, directory)
    reasons = [move["reason"] for move in plan(lab)["moves"] if move["to"] in G2]
    assert "placement rule group CN=sales, OU=Groups, DC=example, DC=test -> g2" in reasons, plan(lab)
    applies(lab)
    assert homes(lab)[uid] in G2


@check
def an_administrator_who_goes_against_a_rule_says_so(lab, directory):
    uid = min(ruled(directory)["g1"])
    home, jid = homes(lab)[uid], f"{uid}@{lab.domain}"
    for what in ("assign", "pin"):
        status, said = ctl(lab, "user", what, jid, "n3")
        assert status == 1 and "site BERLIN -> g1" in said and "--force" in said, (status, said)
    other = next(node for node in G1 if node != home)
    assert lab.ctl("user", "assign", jid, other)["home"] == other
    lab.ctl("user", "assign", jid, "n3", "--force")
    assert plan(lab)["misplaced"] == 1
    applies(lab)
    assert homes(lab)[uid] in G1


@check
def a_full_group_leaves_its_people_unassigned_though_the_other_has_room(lab, directory):
    before, counts = last_event(lab), spread(lab)
    room = CAPACITY - sum(counts[:2])
    assert 0 < room < 30 and sum(counts[2:]) < CAPACITY - 5, counts
    directory.add(*(f"berlin{number:02d}" for number in range(room + 5)), extra="l: berlin\n")
    run(lab, "--full")
    at = homes(lab)
    assert sum(spread(lab)[:2]) == CAPACITY and sum(spread(lab)[2:]) == sum(counts[2:]), (spread(lab), counts)
    waiting = sorted(uid for uid, home in at.items() if not home)
    assert len(waiting) == 5 and all(uid.startswith("berlin") for uid in waiting), waiting
    shown = explain(lab, waiting[0])
    assert shown["rule"] == "no node of group g1 had room: site BERLIN -> g1", shown
    told = eventually(lambda: [event["fields"] for event in events(lab, "AssignmentExhausted", before)], 10, 0.3)
    assert (told[-1]["count"], told[-1]["groups"]) == (5, "g1"), told
    # Whom no rule fits is not kept waiting by those.
    directory.add("anywhere")
    run(lab, "--full")
    assert homes(lab)["anywhere"] in G2
    time.sleep(3)
    assert sorted(uid for uid, home in homes(lab).items() if not home) == waiting


@check
def a_seat_that_gets_free_goes_to_somebody_whose_rule_it_suits(lab, directory):
    at, wanted = homes(lab), ruled(directory)
    waiting = sorted(uid for uid, home in at.items() if not home)
    somebody = next(uid for uid in sorted(at) if at[uid] in G1 and uid not in wanted["g1"])
    lab.ctl("user", "pin", f"{somebody}@{lab.domain}", "n3")
    left = lambda: sorted(uid for uid, home in homes(lab).items() if not home)
    eventually(lambda: left() == waiting[1:], 15, 0.3)  # the oldest
    shown = explain(lab, waiting[0])
    assert shown["home"] in G1 and shown["rule"].startswith("site BERLIN -> g1: "), shown
    # They are not to be here for what follows.
    directory.delete(*left())
    for uid in left():
        lab("ctl", "user", "remove", f"{uid}@{lab.domain}")
    assert left() == []


@check
def rebalancing_by_itself_never_leaves_the_group_of_a_rule(lab, directory):
    uid = min(ruled(directory)["g1"] - found(directory, f"(memberOf={SALES})"))
    directory.replace(uid, "l", "Osaka")
    run(lab)
    for node in NODES:
        lab("stop", node)
    file = lab.folder / "config" / "hexad.toml"
    text = file.read_text()
    assert 'rebalance = "off"' in text
    file.write_text(text.replace('rebalance = "off"', AUTO))
    for node in NODES:
        lab("start", node)
    waits_for(lab, 120, **dict.fromkeys(NODES, "normal"))
    at = homes(lab)
    assert outside(lab, directory) == {uid}
    # As uneven as it can be: inside g1, and g2 empty of all whom no rule keeps there.
    for one, home in at.items():
        if home == "n2":
            lab.ctl("user", "assign", f"{one}@{lab.domain}", "n1", "--force")
    eventually(lambda: any(one["cause"] == "auto" for one in lab.ctl("rebalance", "status", "--runs", "50")), 30, 0.5)
    even = lambda: abs(spread(lab)[0] - spread(lab)[1]) <= 2
    eventually(even, 60, 0.5)
    time.sleep(3)
    assert even() and outside(lab, directory) == {uid} and homes(lab)[uid] in G1, (spread(lab), outside(lab, directory))
    applies(lab)
    assert not outside(lab, directory)


@check
def people_are_placed_by_rule_while_a_node_of_the_group_is_down(lab, directory):
    lab("kill", "n1")
    waits_for(lab, 60, n1="unknown", n2="backup")
    assert sum(spread(lab)[:2]) < CAPACITY and sum(spread(lab)[2:]) < CAPACITY, spread(lab)
    directory.add("late1", extra="l: Berlin\n")
    directory.add("late2", extra="l: Osaka\n")
    run(lab, "--full")
    at = homes(lab)
    assert at["late1"] in G1 and at["late2"] in G2, (at["late1"], at["late2"])


if __name__ == "__main__":
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
        settings.write(SETTINGS)
        settings.flush()
        with Lab("--nodes", "4", "--people", str(PEOPLE), "--users", "2", "--password", "pencil", "--capacity", str(CAPACITY),
                 "--config", settings.name) as up:
            checks.run(up, Directory(up))
