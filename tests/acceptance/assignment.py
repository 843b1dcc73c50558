#!/usr/bin/python3
"""Where accounts live: modes, pins, moves by hand and by rebalancing, what happens when it gets full (docs/assignment.md).
Four nodes for twenty users each: g1 is balanced, g2 active-standby."""
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "cluster-config" / "lab.d"))
import scram_keys  # noqa: E402
from support import checks  # noqa: E402
from support.checks import check, eventually  # noqa: E402
from support.client import SASL, Client, encoded  # noqa: E402
from support.ha import events, last_event  # noqa: E402
from support.lab import LAB, Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

CAPACITY, USERS, PASSWORD, RATE, PERCENT = 20, 18, "pencil", 2, 10
NODES = ("n1", "n2", "n3", "n4")


def hours_from_now(hours):
    return f"{datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours):%H:%M}"


# It rebalances by itself, but not now: what moves before the last check was moved by a command.
WINDOW = f'rebalance_window = "{hours_from_now(6)}-{hours_from_now(8)}"'
SETTINGS = f"""
[cluster]
assignment = "balanced"
rebalance = "auto"
rebalance_after = 1
rebalance_rate = 50
rebalance_percent = {PERCENT}
{WINDOW}
capacity_warning_after = 2
[[group]]
name = "g2"
assignment = "active-standby"
"""


def ctl(lab, *words):
    """Exit status of hexactl, and what it said."""
    done = subprocess.run([LAB, "ctl", "--instance", str(lab.instance), *words], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout


def is_refused(lab, why, *words):
    status, said = ctl(lab, *words)
    assert status == 1 and why in said, (words, status, said)


def api(lab, path, body=None, method=None, node="n1"):
    """The same without a process for each question."""
    token = (lab.folder / "config" / "admin.token").read_text().strip()
    request = urllib.request.Request(f"http://{address(lab, node)}:5280{path}", method=method,
                                     data=body and json.dumps(body).encode(), headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.loads(reply.read())


def users(lab):
    return api(lab, "/v1/users")


def accounts(lab, home):
    return sorted(user["jid"] for user in users(lab) if user["home"] == home)


def spread(lab):
    homes = [user["home"] for user in users(lab)]
    return [homes.count(node) for node in NODES]


def explain(lab, jid):
    return lab.ctl("user", "explain", jid)


def assign(lab, jid, node, force=False):
    return api(lab, "/v1/assignment", {"command": "assign", "jid": jid, "node": node, "force": force})


def address(lab, node):
    return next(n["address"] for n in lab.status["nodes"] if n["name"] == node)


def resilient(lab, jid, *nodes):
    return Resilient([address(lab, node) for node in nodes], lab.domain, jid.split("@")[0], PASSWORD)


def connect(lab, jid, node, resource="raw"):
    client = Client(address(lab, node), 5223, lab.domain, label=f"{jid} at {node}").wraps()
    client.opens().has_features()
    client.authenticates(jid.split("@")[0], PASSWORD, "PLAIN").opens().has_features()
    return client.binds(resource)


def refusal(lab, jid, node):
    """Condition and text of a login that is refused; ("success", "") if it is not."""
    client = Client(address(lab, node), 5223, lab.domain, label=jid).wraps()
    client.opens().has_features()
    client.sends_raw(f"<auth xmlns='{SASL}' mechanism='PLAIN'>"
                     + encoded(f"\0{jid.split('@')[0]}\0{PASSWORD}".encode()) + "</auth>")
    answer = client._take(lambda element: element.tag.startswith(f"{{{SASL}}}"), "an answer to a login", 20)
    client.drops()
    if answer.tag.endswith("success"):
        return "success", ""
    return answer[0].tag.split("}")[1], answer.findtext(f"{{{SASL}}}text") or ""


def metric(lab, node, name):
    with urllib.request.urlopen(f"http://{address(lab, node)}:5280/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[-1])


def last_run(lab):
    return api(lab, "/v1/rebalance")[0]


def fields(lab, kind, after):
    return [event["fields"] for event in events(lab, kind, after)]


@check
def balanced_uses_both_nodes_and_active_standby_only_the_first(lab):
    assert spread(lab) == [6, 6, 6, 0], spread(lab)
    one, other = explain(lab, accounts(lab, "n1")[0]), explain(lab, accounts(lab, "n3")[0])
    assert (one["mode"], one["group"], one["pinned"]) == ("balanced", "g1", False), one
    assert "lowest share" in one["rule"] and one["assigned"], one
    assert (other["mode"], other["group"]) == ("active-standby", "g2"), other
    assert "first node" in other["rule"], other


@check
def a_pinned_user_goes_to_his_node_and_clients_that_can_resume_follow(lab):
    jid = accounts(lab, "n1")[0]
    resumes, cannot = connect(lab, jid, "n1"), connect(lab, accounts(lab, "n1")[1], "n1")
    resumes.manages_stream()
    stays = connect(lab, jid, "n2", "stays")
    stays.manages_stream()
    told = lab.ctl("user", "pin", jid, "n2")
    assert (told["home"], told["was"], told["sessions_sent"]) == ("n2", "n1", 1), told
    error = resumes.stream_error("see-other-host")
    assert address(lab, "n2") in "".join(error.itertext()), "".join(error.itertext())
    stays.settles()
    # Who cannot resume would lose his session for nothing.
    assert lab.ctl("user", "pin", accounts(lab, "n1")[0], "n2")["sessions_sent"] == 0
    cannot.settles()
    shown = explain(lab, jid)
    assert shown["pinned"] and shown["pinned_since"] and shown["home"] == "n2" and shown["moved"] == 1, shown
    assert "administrator" in shown["rule"], shown
    lab.ctl("user", "unpin", cannot.jid.split("/")[0])
    lab.ctl("user", "assign", cannot.jid.split("/")[0], "n1")
    assert not explain(lab, cannot.jid.split("/")[0])["pinned"]
    for client in (stays, cannot):
        client.closes()
    assert spread(lab) == [5, 7, 6, 0], spread(lab)


@check
def what_cannot_be_done_is_refused_with_what_to_do(lab):
    pinned = next(user["jid"] for user in users(lab) if user["pinned"])
    free = accounts(lab, "n1")[0]
    is_refused(lab, "the nodes are n1, n2, n3, n4", "user", "assign", free, "n9")
    is_refused(lab, "no such account", "user", "pin", f"nobody@{lab.domain}", "n1")
    is_refused(lab, "write name@host", "user", "pin", "nobody", "n1")
    is_refused(lab, "user unpin", "user", "assign", pinned, "n1")
    is_refused(lab, "is not pinned", "user", "unpin", free)
    assert ctl(lab, "rebalance", "apply", "--rate", "fast")[0] == 2
    is_refused(lab, "0.1 to 10000", "rebalance", "apply", "--rate", "1000000/s")
    is_refused(lab, "no rebalancing runs", "rebalance", "stop")
    assert spread(lab) == [5, 7, 6, 0], spread(lab)


@check
def a_plan_moves_nobody_and_says_whom_it_would(lab):
    for user in users(lab):
        if user["home"] == "n2" and not user["pinned"]:
            assign(lab, user["jid"], "n1")
    assert spread(lab) == [11, 1, 6, 0], spread(lab)
    plan = lab.ctl("rebalance", "plan")
    assert plan["moves"] == [{"from": "n1", "to": "n2", "users": 5, "rooms": 0, "reason": "even shares"}], plan
    rows = {row["node"]: row for row in plan["nodes"]}
    assert [rows[n]["after"] for n in NODES] == [6, 6, 6, 0], plan
    assert rows["n2"]["pinned"] == 1 and plan["could_start"] == "yes", plan
    table = lab("ctl", "rebalance", "plan")
    assert "FROM" in table and "AFTER" in table and "active-standby" in table, table
    time.sleep(3)  # longer than rebalance_after: it is not the time of day for it
    assert spread(lab) == [11, 1, 6, 0] and not events(lab, "RebalanceStarted")


@check
def nobody_is_moved_to_a_node_that_is_not_well(lab):
    lab.ctl("node", "drain", "n2")
    try:
        eventually(lambda: lab.ctl("rebalance", "plan")["could_start"] == "no: n2 is draining", 5)
        is_refused(lab, "n2 is draining", "rebalance", "apply", "--rate", "10/s")
    finally:
        lab.ctl("node", "return", "n2")
    eventually(lambda: lab.ctl("rebalance", "plan")["could_start"] == "yes", 5)
    assert spread(lab) == [11, 1, 6, 0]


@check
def a_run_keeps_its_rate_shows_how_far_it_is_and_can_be_stopped(lab):
    started = lab.ctl("rebalance", "apply", "--rate", "0.7/s")
    assert started["planned"] == 5, started
    is_refused(lab, "runs already", "rebalance", "apply")
    eventually(lambda: last_run(lab)["moved"] >= 1, 8)
    assert last_run(lab)["state"] == "running"
    lab.ctl("rebalance", "stop")
    run = last_run(lab)
    assert run["state"] == "stopped" and 1 <= run["moved"] < run["planned"] == 5, run
    at = spread(lab)
    assert at == [11 - run["moved"], 1 + run["moved"], 6, 0], (at, run)
    time.sleep(2)
    assert spread(lab) == at, "moved on after the stop"
    for user in users(lab):  # as it was
        if user["home"] == "n2" and not user["pinned"]:
            assign(lab, user["jid"], "n1")
    shown = lab.ctl("rebalance", "status", "--runs", "1")
    assert shown[0]["reason"] == "by an administrator" and "n1->n2" in shown[0]["moves"][0], shown


@check
def sessions_follow_their_users_and_nothing_is_lost(lab):
    here = accounts(lab, "n1")
    pinned = here[0]
    lab.ctl("user", "pin", pinned, "n1")
    clients = {jid: resilient(lab, jid, "n1", "n2") for jid in here}
    sender = resilient(lab, accounts(lab, "n3")[0], "n3")
    sent = 0
    try:
        begin = time.monotonic()
        started = lab.ctl("rebalance", "apply", "--rate", f"{RATE}/s")
        while last_run(lab)["state"] == "running" and time.monotonic() - begin < 20:
            for jid in here:
                sender.send(f"<message to='{jid}' type='chat' id='m{sent}'><body>{sent}</body></message>")
            sent += 1
            time.sleep(0.05)
        took, run = time.monotonic() - begin, last_run(lab)
        assert (run["run"], run["state"], run["moved"]) == (started["run"], "done", 5), run
        assert took >= 5 / RATE, f"{took:.1f} s"
        assert spread(lab) == [6, 6, 6, 0], spread(lab)
        moved = set(accounts(lab, "n2")) & set(here)
        assert len(moved) == 5 and pinned not in moved, moved
        bodies = lambda client: [m.findtext(CLIENT + "body") for m in client.messages()]
        wanted = [str(number) for number in range(sent)]
        eventually(lambda: all(len(bodies(c)) >= sent for c in clients.values()), 15)
        wrong = {jid: bodies(c) for jid, c in clients.items() if bodies(c) != wanted}
        assert sent > 5 and not wrong, (sent, wrong)
        eventually(lambda: all(clients[jid].resumed == 1 for jid in moved), 10)
        assert all(clients[jid].address == address(lab, "n2") for jid in moved)
        assert all(clients[jid].resumed == 0 for jid in here if jid not in moved)
        assert all(client.logins == 1 for client in clients.values())
        assert run["sessions_sent"] == 5, run
        assert f"run {run['run']}" in explain(lab, next(iter(moved)))["rule"]
        seen = {node: api(lab, f"/v1/users/{next(iter(moved))}", node=node)["home"] for node in NODES}
        assert set(seen.values()) == {"n2"}, seen
    finally:
        for client in (*clients.values(), sender):
            client.stop()
    lab.ctl("user", "unpin", pinned)


@check
def a_full_cluster_leaves_users_unassigned_and_lets_none_of_them_in(lab):
    before = last_event(lab)
    keys = json.dumps(scram_keys.derive(PASSWORD))
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for number in range(2 * CAPACITY - USERS + 5):
            file.write(f'{{"jid": "late{number}@{lab.domain}", "scram": {keys}}}\n')
        file.flush()
        lab.ctl("user", "import", file.name)
    # One node of each group must be able to carry both.
    assert spread(lab) == [10, 10, 20, 0], spread(lab)
    unassigned = accounts(lab, "")
    assert len(unassigned) == 5
    told = eventually(lambda: fields(lab, "AssignmentExhausted", before), 10)
    assert told[-1]["count"] == 5 and told[-1]["capacity"] == 2 * CAPACITY, told
    for node in ("n1", "n4"):
        condition, text = refusal(lab, unassigned[0], node)
        assert condition == "account-disabled" and "not assigned" in text, (condition, text)
    shown = explain(lab, unassigned[0])
    assert shown["home"] == "unassigned" and shown["rule"] == "no node had room", shown
    eventually(lambda: metric(lab, "n2", "hexad_assignment_unassigned_users") == 5, 5)
    assert 'late' not in "".join(accounts(lab, "n4"))
    is_refused(lab, "--force", "user", "assign", unassigned[0], "n4")
    warned = eventually(lambda: len(w := fields(lab, "CapacityWarning", before)) >= 3 and w, 10)
    assert {(w["what"], w["measure"]) for w in warned} == {(what, "users") for what in ("group g1", "group g2", "cluster")}, warned
    assert "capacity_warning" in lab("logs", "n1", "-n", "500") + lab("logs", "n2", "-n", "500") \
        + lab("logs", "n3", "-n", "500") + lab("logs", "n4", "-n", "500")


@check
def a_seat_that_gets_free_is_given_to_somebody_who_waits(lab):
    waiting = accounts(lab, "")
    for jid in accounts(lab, "n1")[:2]:
        lab("ctl", "user", "remove", jid)
    eventually(lambda: len(accounts(lab, "")) == 3, 10)
    assert spread(lab) == [10, 10, 20, 0], spread(lab)
    lucky = (set(waiting) - set(accounts(lab, ""))).pop()
    assert explain(lab, lucky)["home"] == "n1"
    eventually(lambda: refusal(lab, lucky, "n4")[0] == "success", 5)


@check
def a_group_that_could_not_carry_a_failure_says_so(lab):
    before = last_event(lab)
    extra = accounts(lab, "n3")[0]
    is_refused(lab, "group g1 has 20 users and carries 20", "user", "assign", extra, "n1")
    lab.ctl("user", "assign", extra, "n1", "--force")
    both = lambda: [f for f in fields(lab, "NotRedundant", before) if "room" in f]
    told = eventually(lambda: len(both()) >= 2 and both(), 20)  # each of the two nodes says it
    assert "group g1 has 21 users, one node carries 20" in told[0]["room"], told
    simulated = lab.ctl("ha", "simulate", "n1")
    assert not simulated["possible"] and [c["check"] for c in simulated["checks"] if not c["ok"]] == ["room"], simulated
    lab("ctl", "user", "remove", extra)
    eventually(lambda: len(events(lab, "Redundant", before)) >= 2, 20)


@check
def without_high_availability_a_group_carries_what_both_nodes_do(lab):
    lab.ctl("ha", "disable")
    eventually(lambda: accounts(lab, "") == [], 10)
    assert spread(lab)[:2] == [11, 11] and spread(lab)[3] == 0, spread(lab)


@check
def it_rebalances_by_itself_in_its_window_a_few_at_a_time(lab):
    for node in NODES:
        lab("stop", node)
    file = lab.folder / "config" / "hexad.toml"
    text = file.read_text()
    assert WINDOW in text and 'assignment = "active-standby"' in text
    file.write_text(text.replace(WINDOW + "\n", "").replace('assignment = "active-standby"', 'assignment = "none"'))
    for node in NODES:
        lab("start", node)
    lab.waits("all standalone", lambda: all(n["state"] == "standalone" for n in lab.json("status")["nodes"]), 30)
    # In mode none nobody is put anywhere by a machine: not even with room.
    for jid in accounts(lab, "n3")[10:]:
        api(lab, f"/v1/users/{jid}", method="DELETE")
    assert spread(lab) == [11, 11, 10, 0], spread(lab)
    before = last_event(lab)
    lab("ctl", "user", "add", f"latest@{lab.domain}", "--password", PASSWORD)
    shown = explain(lab, f"latest@{lab.domain}")
    assert shown["home"] in ("n1", "n2"), shown
    total = sum(spread(lab))
    for user in users(lab):
        if user["home"] == "n2" and not user["pinned"]:
            assign(lab, user["jid"], "n1", force=True)
    eventually(lambda: spread(lab)[0] - spread(lab)[1] <= 0.2 * CAPACITY, 30, 0.5)
    time.sleep(2)  # and then it rests
    runs = [run for run in lab.ctl("rebalance", "status", "--runs", "50") if run["cause"] == "auto"]
    assert len(runs) >= 2 and all(run["state"] == "done" and run["moved"] <= total * PERCENT // 100 for run in runs), runs
    assert len(fields(lab, "RebalanceStarted", before)) == len(runs)
    assert spread(lab)[2:] == [10, 0], spread(lab)


with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
    settings.write(SETTINGS)
    settings.flush()
    with Lab("--nodes", "4", "--users", str(USERS), "--password", PASSWORD, "--capacity", str(CAPACITY),
             "--config", settings.name) as up:
        checks.run(up)
