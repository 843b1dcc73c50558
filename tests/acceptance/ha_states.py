#!/usr/bin/python3
"""A pair through its states: failover by hand and back, restarts that keep the hold, a cut link, a frozen node that wakes,
a stop in order under load, the loss of a backup, and random failovers.

  tests/acceptance/ha_states.py [--moves N]     so many random failovers (default 3; 200 is the long run)"""
import argparse
import os
import pathlib
import random
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import ctl, events, last_event, settled_events, states, waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

STREAM = "{http://etherx.jabber.org/streams}"
MUC = "http://jabber.org/protocol/muc"
RECEIVERS, RATE = 4, 50
CONFIG = """
[cluster]
fallback_delay = 8
automatic_moves_per_hour = 10000
"""


friends = set()


class Talk:
    """Messages at a steady rate from one client to several, each watched by the sender: what came, and in what order."""

    def __init__(self, lab, receivers_at, sender_at):
        at = {n["name"]: n["address"] for n in lab.status["nodes"]}
        split = lambda user: (user["jid"].split("@")[0], user["password"])
        users = lab.users()
        self.lab = lab
        self.targets = users[1:1 + RECEIVERS]
        self.receivers = [Resilient([at[receivers_at], at[sender_at]], lab.domain, *split(u)) for u in self.targets]
        self.sender = Resilient([at[sender_at], at[receivers_at]], lab.domain, *split(users[0]))
        me = users[0]["jid"]
        for client, user in zip(self.receivers, self.targets):
            if user["jid"] in friends:  # of an earlier talk
                continue
            self.sender.send(f"<presence to='{user['jid']}' type='subscribe'/>")
            eventually(lambda: any(e.get("type") == "subscribe" for _, e in list(client.arrived)))
            client.send(f"<presence to='{me}' type='subscribed'/>")
            eventually(lambda: f"{user['jid']}/r" in self.seen("available"))
            friends.add(user["jid"])
        eventually(lambda: len(self.seen("available") - {f"{me}/r"}) >= RECEIVERS)
        self.number = 0

    def seen(self, kind):
        wanted = None if kind == "available" else kind
        return {e.get("from") for _, e in list(self.sender.arrived)
                if e.tag == CLIENT + "presence" and e.get("type") == wanted and "/" in e.get("from", "")}

    def goes_on(self, seconds):
        start, first = time.monotonic(), self.number
        while time.monotonic() - start < seconds:
            to = self.targets[self.number % RECEIVERS]["jid"]
            self.sender.send(f"<message to='{to}' type='chat' id='m{self.number}'><body>{self.number}</body></message>")
            self.number += 1
            time.sleep(max(0, start + (self.number - first) / RATE - time.monotonic()))

    def is_whole(self, checks, what, since, within):
        self.lab.waits("all acknowledged", lambda: self.sender.acked >= self.sender.sent_count, 30)
        complete = lambda: all(len(r.messages()) >= len(range(at, self.number, RECEIVERS))
                               for at, r in enumerate(self.receivers))
        try:
            eventually(complete, 20)
        except AssertionError:
            pass
        for at, receiver in enumerate(self.receivers):
            got = [int(m.find(CLIENT + "body").text) for m in receiver.messages()]
            wanted = list(range(at, self.number, RECEIVERS))
            checks.that(f"{what}: receiver {at} has each message once, in order", got == wanted,
                        f"{len(got)} of {len(wanted)}, missing {sorted(set(wanted) - set(got))[:10]}")
        checks.that(f"{what}: all resumed, none logged in anew",
                    all(r.logins == 1 and r.resumed >= 1 for r in self.receivers),
                    str([(r.logins, r.resumed) for r in self.receivers]))
        worst = max((b - a for r in self.receivers for a, b in r.outages if b > since), default=99)
        checks.that(f"{what}: back within {within} s", worst <= within, f"{worst:.1f} s")
        checks.that(f"{what}: no contact was seen going", not self.seen("unavailable"), str(self.seen("unavailable")))

    def stop(self):
        for client in [*self.receivers, self.sender]:
            client.stop()


def by_hand(checks, lab):
    # The nodes were started a moment ago: their link may take a second.
    lab.waits("a link between the nodes", lambda: ctl(lab, "ha", "simulate", "n1")["possible"], 10)
    told = ctl(lab, "ha", "simulate", "n1")
    checks.that("a simulation says that a failover would work", told["possible"], str(told["checks"]))
    talk = Talk(lab, "n1", "n2")
    talk.goes_on(2)
    since = time.monotonic()
    ctl(lab, "ha", "failover", "n1")
    talk.goes_on(3)
    checks.that("by hand: n1 is idle, n2 runs in backup mode", states(lab) == {"n1": "idle", "n2": "backup"}, str(states(lab)))
    talk.is_whole(checks, "by hand", since, 3)
    told = [[c.text for _, e in list(r.arrived) if e.tag == STREAM + "error" for c in e if c.tag.endswith("}see-other-host")]
            for r in talk.receivers]
    checks.that("by hand: clients were told where to go", all(lab.node("n2")["address"] in hosts for hosts in told), str(told))
    talk.stop()
    for name in ("n1", "n2"):
        lab("stop", name)
    for name in ("n1", "n2"):
        lab("start", name)
    took = waits_for(lab, n1="idle", n2="backup")
    checks.that("restarts of both nodes keep the hold", True, f"{took:.0f} s")
    ctl(lab, "ha", "fallback", "n1")
    took = waits_for(lab, n1="normal", n2="normal")
    checks.that("fallback by hand: both are normal", True, f"{took:.0f} s")
    top = ctl(lab, "topology")
    nodes = [n for g in top["groups"] for n in g["nodes"]]
    checks.that("topology: a failover would work either way", all(n["failover"]["possible"] for n in nodes),
                str([n["failover"] for n in nodes]))
    checks.that("topology: links are measured", all(link["up"] for n in nodes for link in n["links"].values()))
    checks.that("topology: the last transitions are there", {t.get("transition") for t in top["transitions"]} >= {"T8", "T10"})


def link_cut(checks, lab):
    if os.geteuid() != 0:
        print("SKIPPED no right to use iptables")
        return
    mark = last_event(lab)
    lab("cut", "n1", "--from", "n2")
    try:
        eventually(lambda: any(e["event"] == "PeerLinkDown" for e in events(lab, after=mark)), 30, 0.5)
        start = time.monotonic()
        seen = set()
        while time.monotonic() - start < 8:  # longer than heartbeat timeout and lease
            seen |= set(states(lab).values())
            time.sleep(0.5)
        checks.that("pair link cut, Redis reachable: no failover", seen == {"normal"}, str(seen))
        failing = ctl(lab, "topology")["groups"][0]["nodes"][0]["failover"]["failing"]
        checks.that("pair link cut: topology says that a failover would not work", any("link" in f for f in failing), str(failing))
    finally:
        lab("heal")
    eventually(lambda: any(e["event"] == "PeerLinkUp" for e in events(lab, after=mark)), 30, 0.5)
    moved = [e for e in settled_events(lab, after=mark) if e["event"] in ("HaStateChanged", "FailoverStarted")]
    checks.that("pair link cut: nothing moved", not moved, str(moved))


def frozen(checks, lab):
    mark = last_event(lab)
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    one, two = ((u["jid"].split("@")[0], u["password"]) for u in lab.users()[5:7])
    here, there = Resilient([at["n1"], at["n2"]], lab.domain, *one), Resilient([at["n2"], at["n1"]], lab.domain, *two)
    # Their home is n1: who enters first, at n1, makes them. In one people talk, in the other somebody only goes away.
    room, quiet = f"frozen@rooms.{lab.domain}", f"quiet@rooms.{lab.domain}"
    for where in (room, quiet):
        for client, nick in ((here, "here"), (there, "there")):
            client.send(f"<presence to='{where}/{nick}'><x xmlns='{MUC}'/></presence>")
            eventually(lambda: any(c.get("code") == "110" for _, e in list(client.arrived) if e.get("from", "").startswith(where)
                                   for c in e.iter(f"{{{MUC}#user}}status")))
            if client is here:
                client.send(f"<iq type='set' id='setup' to='{where}'><query xmlns='{MUC}#owner'>"
                            "<x xmlns='jabber:x:data' type='submit'/></query></iq>")
                eventually(lambda: any(e.get("id") == "setup" and e.get("from") == where for _, e in list(client.arrived)))
    lab.waits("all acknowledged", lambda: here.acked >= here.sent_count, 10)
    epoch = lab.node("n1")["epoch"]
    lab("pause", "n1")
    try:
        # What lies before n1 when it wakes: room messages, which the store refuses, and a presence, which Redis does.
        there.send(f"<presence to='{quiet}/there'><show>away</show></presence>")
        for number in range(10):
            there.send(f"<message to='{room}' type='groupchat' id='r{number}'><body>r{number}</body></message>")
            here.send(f"<message to='{there.name}@{lab.domain}' type='chat' id='p{number}'><body>p{number}</body></message>")
        waits_for(lab, 40, n1="unknown", n2="backup")
        here.client.ended = True  # as a client does that hears nothing: it goes to the other node
        lab.waits("resumed at n2", lambda: here.address == at["n2"] and here.acked >= here.sent_count, 30)
    finally:
        lab("resume", "n1")
    fenced = lambda: [e for e in events(lab, after=mark) if e["event"] == "NodeFenced" and e["node"] == "n1"]
    eventually(fenced, 20, 0.5)
    checks.that("frozen: the node that wakes fences itself", True, str(fenced()[0]["fields"]))
    # What it reads first when it wakes is chance: the late work, or that it is no longer the owner (late_writes.py leaves nothing
    # to it). Of late work it tries, all is refused; below nothing came twice.
    refused = [e["fields"] for e in events(lab, "WriteRefused", after=mark) if e["node"] == "n1"]
    checks.that("frozen: each late write is refused under an older epoch than the one in force",
                all(f["epoch"] < f["epoch_now"] for f in refused), str([(f["where"], f["epoch"], f["epoch_now"]) for f in refused]))
    took = waits_for(lab, 60, n1="normal", n2="normal")
    bodies = [e.findtext(CLIENT + "body") for _, e in list(there.arrived)
              if e.tag == CLIENT + "message" and e.find(CLIENT + "body") is not None]
    checks.that("frozen: what was sent meanwhile came once, in order",
                [b for b in bodies if b[0] == "r"] == [f"r{n}" for n in range(10)]
                and [b for b in bodies if b[0] == "p"] == [f"p{n}" for n in range(10)], str(bodies))
    for client in (here, there):
        client.stop()
    path = [e["fields"]["to"] for e in settled_events(lab, after=mark) if e["event"] == "HaStateChanged" and e["node"] == "n1"]
    checks.that("frozen: it comes back as failed-over and falls back by itself",
                path == ["fenced", "initializing", "failed-over", "taking-back", "normal"], f"{path}, {took:.0f} s")
    checks.that("frozen: two changes of the serving node, two epochs", lab.node("n1")["epoch"] == epoch + 2)


def stop_in_order(checks, lab):
    talk = Talk(lab, "n1", "n2")
    talk.goes_on(2)
    since = time.monotonic()
    os.kill(lab.node("n1")["pid"], 15)
    talk.goes_on(5)
    talk.is_whole(checks, "stop in order", since, 3)
    reasons = [e["fields"]["reason"] for e in settled_events(lab, "HaStateChanged") if e["fields"]["to"] == "backup"]
    checks.that("stop in order: the peer knows why", reasons[-1] == "peer-reboot", str(reasons[-1:]))
    talk.stop()
    lab("stop", "n1")
    lab("start", "n1")
    waits_for(lab, n1="normal", n2="normal")


def backup_lost(checks, lab):
    lab("kill", "n1")
    waits_for(lab, n1="unknown", n2="backup")
    lab("start", "n1")
    waits_for(lab, 10, n1="failed-over", n2="backup")
    lab("kill", "n2")
    took = waits_for(lab, 20, n1="backup", n2="unknown")
    served = lab.node("n1")["serving"]
    checks.that("backup lost: the home node takes its own and the other's users", sorted(served) == ["n1", "n2"],
                f"{served}, {took:.0f} s")
    lab("start", "n2")
    waits_for(lab, n1="normal", n2="normal")
    checks.that("backup lost: both are normal again", True)


def random_moves(checks, lab, count):
    mark = last_event(lab)
    draw = random.Random(7)
    for number in range(count):
        node, other = draw.sample(["n1", "n2"], 2)
        kind = draw.choice(["failover", "kill", "pause", "stop"])
        if kind == "failover":
            ctl(lab, "ha", "failover", node)
            waits_for(lab, **{node: "idle", other: "backup"})
            ctl(lab, "ha", "fallback", node)
        elif kind == "pause":
            lab("pause", node)
            waits_for(lab, **{node: "unknown", other: "backup"})
            lab("resume", node)
        else:
            lab(kind, node)
            waits_for(lab, **{node: "unknown", other: "backup"})
            lab("start", node)
        waits_for(lab, n1="normal", n2="normal")
        print(f"       move {number + 1}: {kind} {node}", flush=True)
    # One serving node per partition and epoch: each take-over and fallback has an epoch of its own, rising.
    taken = {}
    finished = [e for kind in ("FailoverFinished", "FallbackFinished") for e in settled_events(lab, kind, after=mark)]
    for event in sorted(finished, key=lambda e: e["id"]):
        taken.setdefault(event["fields"]["of"], []).append(event["fields"]["epoch"])
    rising = all(a < b for epochs in taken.values() for a, b in zip(epochs, epochs[1:]))
    checks.that(f"{count} random moves: epochs rise, none twice", rising and sum(map(len, taken.values())) >= 2 * count, str(taken))


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--moves", type=int, default=3)
parser.add_argument("--only", action="append", help="one of the stories")
options = parser.parse_args()
with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as all_checks, Lab("--nodes", "2", "--users", "8", "--password", "pencil", "--config", file.name) as up:
        steps = [by_hand, link_cut, frozen, stop_in_order, backup_lost]
        for step in steps:
            if not options.only or step.__name__ in options.only:
                step(all_checks, up)
        if not options.only or "random_moves" in options.only:
            random_moves(all_checks, up, options.moves)
