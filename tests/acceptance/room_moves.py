#!/usr/bin/python3
"""Rooms whose home node changes (docs/assignment.md, "Rooms"): by hand and by a rebalancing, under load, while nodes die and
while Redis or PostgreSQL are away. Four nodes in two groups, an occupant at each; every message is counted.

    room_moves.py [--long] [STORY…]     only these: refusals load old-owner new-owner redis empty postgres rebalance

--long: five times as many moves."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import ctl, events, last_event, states, waits_for  # noqa: E402
from support.lab import LAB, Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

MUC, MAM, RSM = "http://jabber.org/protocol/muc", "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm"
LONG = "--long" in sys.argv
MOVES = 250 if LONG else 50
NODES = ("n1", "n2", "n3", "n4")
CONFIG = "[cluster]\nautomatic_moves_per_hour = 10000\n"


def hexactl(lab, *words):
    """Exit status, and what it said."""
    done = subprocess.run([LAB, "ctl", "--instance", str(lab.instance), *words], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout


def address(lab, node):
    return next(n["address"] for n in lab.status["nodes"] if n["name"] == node)


def api(lab, node, path, body=None):
    """Status and answer; without a process for each question."""
    token = (lab.folder / "config" / "admin.token").read_text().strip()
    request = urllib.request.Request(f"http://{address(lab, node)}:5280{path}", data=body and json.dumps(body).encode(),
                                     headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=40) as reply:
            return reply.status, json.loads(reply.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def metric(lab, node, name):
    with urllib.request.urlopen(f"http://{address(lab, node)}:5280/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith(name)).split()[-1])


class Hall:
    """A room with an occupant at each node, all of whom talk."""
    made = 0

    def __init__(self, lab, homes=NODES):
        Hall.made += 1
        self.lab, self.turn = lab, Hall.made
        self.name = f"hall{self.turn}@rooms.{lab.domain}"
        self.clients, self.said, self.number = {}, [], 0
        for place, node in enumerate(homes):
            user = lab.users(node)[self.turn % len(lab.users(node))]
            others = [n for n in NODES if n != node]
            self.clients[node] = Resilient([address(lab, n) for n in (node, *others)], lab.domain, user["jid"].split("@")[0],
                                           user["password"], f"h{self.turn}")
            self.enters(self.clients[node], node)
            if place == 0:
                self.clients[node].send(f"<iq type='set' id='setup' to='{self.name}'><query xmlns='{MUC}#owner'>"
                                        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>"
                                        f"{MUC}#roomconfig</value></field><field var='muc#roomconfig_persistentroom'>"
                                        "<value>1</value></field></x></query></iq>")
                eventually(lambda: any(e.get("id") == "setup" for _, e in list(self.clients[node].arrived)))
        self.first = next(iter(self.clients.values()))
        self.first.send(f"<message to='{self.name}' type='groupchat' id='s'><subject>Matters of moment</subject></message>")
        self.talking = None

    def enters(self, client, nick):
        client.send(f"<presence to='{self.name}/{nick}'><x xmlns='{MUC}'/></presence>")
        eventually(lambda: any(e.get("code") == "110" for _, p in list(client.arrived)
                               if p.get("from", "").startswith(self.name) for e in p.iter(f"{{{MUC}#user}}status")))

    def speaks(self, who):
        text = f"{who} {self.number}"
        self.said.append(text)
        self.clients[who].send(f"<message to='{self.name}' type='groupchat' id='m{self.number}'><body>{text}</body></message>")
        self.number += 1

    def talks(self, pause=0.02):
        """All take turns, until `stops`."""
        self.quiet = threading.Event()

        def talk():
            while not self.quiet.wait(pause):
                self.speaks(list(self.clients)[self.number % len(self.clients)])
        self.talking = threading.Thread(target=talk, daemon=True)
        self.talking.start()

    def stops(self):
        self.quiet.set()
        self.talking.join()

    def heard(self, client):
        return [e.findtext(CLIENT + "body") for e in client.messages()
                if e.get("type") == "groupchat" and e.get("from", "").startswith(self.name + "/")]

    def archived(self, client):
        found, after = [], ""
        while True:
            mark = len(client.arrived)
            rsm = f"<set xmlns='{RSM}'><max>200</max>{after}</set>"
            client.send(f"<iq type='set' id='mam{mark}' to='{self.name}'><query xmlns='{MAM}'>{rsm}</query></iq>")
            fin = eventually(lambda: [e for _, e in client.arrived[mark:] if e.get("id") == f"mam{mark}"])[0]
            page = [e for _, e in client.arrived[mark:] if e.find(f"{{{MAM}}}result") is not None
                    and e.get("from") == self.name]
            found += [b.text for e in page for b in e.iter(CLIENT + "body")]
            last = fin.find(f".//{{{RSM}}}last")
            if last is None or fin.find(f"{{{MAM}}}fin").get("complete") == "true":
                return found
            after = f"<after>{last.text}</after>"

    def home(self):
        return ctl(self.lab, "room", "show", self.name)["home"]

    def moves(self, to, by="n1"):
        return api(self.lab, by, "/v1/rooms", {"command": "move", "jid": self.name, "node": to})

    def is_settled(self):
        try:
            return ctl(self.lab, "room", "show", self.name)["state"] == "at home"
        except (RuntimeError, StopIteration):
            return False

    def is_whole(self, checks, story, seconds=40):
        """Each message once, in one order, for all and in the archive; nobody was seen to go."""
        wanted = sorted(self.said)
        try:
            eventually(lambda: all(len(self.heard(c)) >= len(wanted) for c in self.clients.values()), seconds, 0.3)
        except AssertionError:
            pass
        time.sleep(0.5)
        first = self.heard(self.first)
        for who, client in self.clients.items():
            got = self.heard(client)
            lost = sorted(set(wanted) - set(got))
            checks.that(f"{story}: {who} has each message once", sorted(got) == wanted,
                        f"{len(got)} of {len(wanted)}, lost {lost[:5]}")
            checks.that(f"{story}: {who} has the order that all have", got == first)
        numbers = {who: [int(t.split()[1]) for t in first if t.startswith(who + " ")] for who in self.clients}
        checks.that(f"{story}: nobody's messages overtake each other", all(n == sorted(n) for n in numbers.values()))
        try:
            archive = self.archived(self.first)
        except AssertionError as error:
            archive = [str(error)]
        checks.that(f"{story}: the archive has neither gap nor repeat", archive == first, f"{len(archive)} of {len(first)}")
        gone = [e.get("from") for c in self.clients.values() for _, e in list(c.arrived) if e.tag == CLIENT + "presence"
                and e.get("from", "").startswith(self.name) and e.get("type") == "unavailable"]
        checks.that(f"{story}: nobody was seen to go", not gone, str(gone[:5]))
        try:
            eventually(self.is_settled, 20)
        except AssertionError:
            pass
        checks.that(f"{story}: the move is over", self.is_settled())
        found = self.lab.ctl("cluster", "verify")
        checks.that(f"{story}: store, Redis and memory agree", found["clean"], str(found["findings"])[:300])

    def ends(self):
        for client in self.clients.values():
            client.stop()


def refusals(checks, lab):
    hall = Hall(lab, ("n1", "n3"))
    home = hall.home()
    other = next(n for n in NODES if n != home)
    wrong = [("no such room", "nowhere@rooms." + lab.domain, other), ("the nodes are n1, n2, n3, n4", hall.name, "n9"),
             (f"is at {home} already", hall.name, home), ("write name@rooms.host", "hall", other)]
    for why, room, node in wrong:
        status, said = hexactl(lab, "room", "move", room, node)
        checks.that(f"refused: {why}", status == 1 and why in said, f"{status} {said}")
    lab.ctl("node", "drain", "n4")
    try:
        for node in NODES:  # each hears of it with a heartbeat
            eventually(lambda: next(n for n in api(lab, node, "/v1/nodes")[1] if n["name"] == "n4")["draining"], 10)
        status, said = hexactl(lab, "room", "move", hall.name, "n4")
        checks.that("refused: to a node that drains", status == 1 and "n4 is draining" in said, f"{status} {said}")
    finally:
        lab.ctl("node", "return", "n4")
    checks.that("hexactl without a node is wrong usage", hexactl(lab, "room", "move", hall.name)[0] == 2)
    checks.that("nothing was moved", hall.home() == home)
    shown = {row["jid"]: row for row in ctl(lab, "room", "list")}
    checks.that("the list tells the home node", shown[hall.name]["home"] == home, str(shown.get(hall.name)))
    before = last_event(lab)
    told = ctl(lab, "room", "move", hall.name, other)
    checks.that("a move tells what it did", (told["home"], told["was"], told["state"]) == (other, home, "moved"), str(told))
    checks.that("a table does, too", "HOME" in lab("ctl", "room", "list") and f"home: {other}" in lab("ctl", "room", "show", hall.name))
    moved = eventually(lambda: [e["fields"] for e in events(lab, "RoomMoved", before) if e["fields"]["room"] == hall.name], 10)
    checks.that("the event RoomMoved names both nodes", (moved[0]["from"], moved[0]["to"]) == (home, other), str(moved))
    checks.that("the metric counts it where the room is", metric(lab, other, "hexad_rooms_moved_total") >= 1)
    hall.ends()


def load(checks, lab):
    hall = Hall(lab)
    before = {e.get("id") for _, p in hall.first.arrived for e in p.iter("{urn:xmpp:occupant-id:0}occupant-id")}
    hall.talks()
    good, longest = 0, 0
    for turn in range(MOVES):
        began = time.monotonic()
        home = hall.home() if turn == 0 else target
        target = NODES[(NODES.index(home) + 1 + turn % 3) % 4]
        status, told = hall.moves(target, by=NODES[turn % 4])
        good += status == 200 and told["state"] == "moved"
        if status != 200:
            print(status, told, flush=True)
            target = home
        longest = max(longest, time.monotonic() - began)
    hall.stops()
    checks.that(f"under load: {MOVES} moves", good == MOVES, f"{good}, the longest took {longest:.2f} s")
    hall.is_whole(checks, "under load")
    late = Resilient([address(lab, "n2")], lab.domain, *(lambda u: (u["jid"].split("@")[0], u["password"]))(lab.users("n2")[0]), "late")
    hall.enters(late, "late")
    eventually(lambda: any(e.find(CLIENT + "subject") is not None for _, e in list(late.arrived)))
    subject = [e.findtext(CLIENT + "subject") for _, e in late.arrived if e.find(CLIENT + "subject") is not None]
    checks.that("under load: the subject stays", subject == ["Matters of moment"], str(subject))
    history = hall.heard(late)
    checks.that("under load: the history is the end of what was said", history and history == hall.heard(hall.first)[-len(history):],
                f"{len(history)} messages")
    hall.first.send(f"<iq type='get' id='owners' to='{hall.name}'><query xmlns='{MUC}#admin'><item affiliation='owner'/></query></iq>")
    answer = eventually(lambda: [e for _, e in hall.first.arrived if e.get("id") == "owners"])[0]
    checks.that("under load: affiliations stay", len(answer.findall(f".//{{{MUC}#admin}}item")) == 1 and answer.get("type") == "result")
    after = {e.get("id") for _, p in hall.first.arrived for e in p.iter("{urn:xmpp:occupant-id:0}occupant-id")}
    checks.that("under load: occupant ids stay", before <= after and len(after) == len(NODES) + 1, f"{len(before)} {len(after)}")
    late.stop()
    hall.ends()


def back(lab):
    """Every node is at home again."""
    for n in lab.json("status")["nodes"]:
        if not n["pid"]:
            lab("start", n["name"])
    lab.waits("all in", lambda: not {"initializing", "unknown"} & set(states(lab).values()), 60)
    for name, state in states(lab).items():
        if state == "failed-over":
            lab.waits("fallback", lambda: hexactl(lab, "ha", "fallback", name)[0] == 0, 40)
    waits_for(lab, **{n: "normal" for n in NODES})


def dies(checks, lab, story, whom):
    """The node that gives a room away, or the one that gets it, is killed a moment after the move was asked for."""
    for delay in (0.0, 0.01, 0.05) if LONG else (0.01,):
        hall = Hall(lab)
        hall.talks(0.05)
        home = hall.home()
        target = "n3" if home in ("n1", "n2") else "n1"
        asked = "n2" if home == "n1" else "n1" if home == "n2" else "n4" if home == "n3" else "n3"
        mover = threading.Thread(target=lambda: hall.moves(target, by=asked if whom == "old" else home))
        mover.start()
        time.sleep(delay)
        lab("kill", home if whom == "old" else target)
        time.sleep(6)
        mover.join()
        hall.stops()
        hall.is_whole(checks, story)
        hall.ends()
        back(lab)


def old_owner(checks, lab):
    dies(checks, lab, "old owner dies", "old")


def new_owner(checks, lab):
    dies(checks, lab, "new owner dies", "new")


def away(checks, lab, story, service, empty=False):
    """A back end goes while a room is moved to and fro, and comes back."""
    hall = Hall(lab)
    hall.talks(0.05)
    ending = threading.Event()

    def move():
        turn = 0
        while not ending.is_set():
            turn += 1
            try:
                hall.moves(NODES[turn % 4], by=NODES[turn % 4])
            except OSError:
                pass
            time.sleep(0.05)
    mover = threading.Thread(target=move)
    mover.start()
    time.sleep(1)
    lab("kill", service)
    time.sleep(3)
    if empty:
        for path in (lab.folder / service).iterdir():
            if path.name != "redis.conf":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    lab("start", service)
    time.sleep(8)
    ending.set()
    mover.join()
    hall.stops()
    hall.is_whole(checks, story, 60)
    status, told = hall.moves(next(n for n in NODES if n != hall.home()))
    checks.that(f"{story}: it can be moved after that", status == 200 and told["state"] == "moved", str(told))
    hall.ends()


def redis(checks, lab):
    away(checks, lab, "Redis away", "redis")


def empty(checks, lab):
    away(checks, lab, "Redis empty", "redis", empty=True)


def postgres(checks, lab):
    away(checks, lab, "PostgreSQL away", "postgres")


def rebalance(checks, lab):
    """All rooms are at one node, as when the others have just been added."""
    user = lab.users("n1")[0]
    owner = Resilient([address(lab, "n1"), address(lab, "n2")], lab.domain, user["jid"].split("@")[0], user["password"], "owner")
    hall = Hall(lab)
    for number in range(9):
        room = f"even{number}@rooms.{lab.domain}"
        owner.send(f"<presence to='{room}/o'><x xmlns='{MUC}'/></presence>")
        owner.send(f"<iq type='set' id='{room}' to='{room}'><query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
        eventually(lambda: any(e.get("id") == room for _, e in list(owner.arrived)))
    for row in ctl(lab, "room", "list"):
        if row["home"] != "n1":
            api(lab, "n1", "/v1/rooms", {"command": "move", "jid": row["jid"], "node": "n1"})
    spread = lambda: [[row["home"] for row in ctl(lab, "room", "list")].count(node) for node in NODES]
    total = sum(spread())
    checks.that("rebalance: all rooms at one node", spread() == [total, 0, 0, 0], str(spread()))
    plan = ctl(lab, "rebalance", "plan")
    rows = {row["node"]: row for row in plan["nodes"]}
    even = [rows[n]["rooms_after"] for n in NODES]
    checks.that("rebalance: a plan spreads them with the fewest moves", max(even) - min(even) <= 1 and sum(even) == total
                and plan["rooms_to_move"] == total - even[0], str(plan["moves"]))
    checks.that("rebalance: a plan moves nothing", spread() == [total, 0, 0, 0])
    hall.talks()
    started = ctl(lab, "rebalance", "apply", "--rate", "4/s")
    begin = time.monotonic()
    eventually(lambda: ctl(lab, "rebalance", "status", "--runs", "1")[0]["moved"] >= 2, 10)
    charge = eventually(lambda: [n for n in NODES if metric(lab, n, "hexad_assignment_in_charge") == 1])[0]
    # Whoever is in charge is stopped; somebody else goes on with the run, or says why not.
    status, said = hexactl(lab, "rebalance", "apply")
    checks.that("rebalance: one runs at a time", status == 1 and "runs already" in said, said)
    eventually(lambda: ctl(lab, "rebalance", "status", "--runs", "1")[0]["state"] != "running", 30)
    run = ctl(lab, "rebalance", "status", "--runs", "1")[0]
    checks.that("rebalance: it is done, at its rate", run["state"] == "done" and run["moved"] == run["planned"] == started["planned"]
                and time.monotonic() - begin >= run["planned"] / 4 - 1, f"{run} in charge: {charge}")
    checks.that("rebalance: the rooms are even", max(spread()) - min(spread()) <= 1, str(spread()))
    checks.that("rebalance: nothing is left to move", ctl(lab, "rebalance", "plan")["rooms_to_move"] == 0)
    hall.stops()
    hall.is_whole(checks, "rebalance")
    told = eventually(lambda: (e := events(lab, "RebalanceStarted")) and e[-1]["fields"], 10)
    checks.that("rebalance: the event counts rooms", told["rooms"] == total - even[0], str(told))
    hall.ends()
    owner.stop()


STORIES = {"refusals": refusals, "load": load, "old-owner": old_owner, "new-owner": new_owner, "redis": redis, "empty": empty,
           "postgres": postgres, "rebalance": rebalance}

if __name__ == "__main__":
    wanted = [word for word in sys.argv[1:] if not word.startswith("--")]
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as extra:
        extra.write(CONFIG)
        extra.flush()
        with Checks() as checks, Lab("--nodes", "4", "--users", "80", "--password", "pencil", "--config", extra.name) as lab:
            for name, story in STORIES.items():
                if not wanted or name in wanted:
                    story(checks, lab)
