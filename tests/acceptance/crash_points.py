#!/usr/bin/python3
"""A node dies between any two steps of the delivery protocol (docs/delivery.md, "Crash points"), and each message arrives
exactly once, in order, and is archived once.

    crash_points.py [--freeze] [POINT…]     only these

--freeze: it stands still there instead, its users go on elsewhere, and then it goes on with what it was doing.

Needs a build with fail points: the preset dev, whose nodes run with sanitizers."""
import json
import os
import pathlib
import sys
import threading
import time
import urllib.request

os.environ.setdefault("HEXAD_LAB_PRESET", "dev")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import ctl, states, waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

MAM, RSM, MUC = "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm", "http://jabber.org/protocol/muc"
FREEZE = "--freeze" in sys.argv
CONFIG = "[cluster]\nautomatic_moves_per_hour = 10000\n"


def api(lab, node, path):
    """What one node's API says, whoever else is there."""
    address = next(n["address"] for n in lab.status["nodes"] if n["name"] == node)
    token = (lab.folder / "config" / "admin.token").read_text().strip()
    request = urllib.request.Request(f"http://{address}:5280{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.loads(reply.read())


class Crash:
    """One point: who dies there, and what leads to it."""

    def __init__(self, lab, turn, victims, point):
        self.lab, self.turn, self.victims, self.point = lab, turn, victims, point
        self.at = {n["name"]: n["address"] for n in lab.status["nodes"]}
        self.number = 0
        ones, twos = lab.users("n1"), lab.users("n2")
        self.people = {"a": ones[2 * turn], "near": ones[2 * turn + 1], "b": twos[2 * turn], "c": twos[2 * turn + 1]}
        self.clients = []

    def client(self, who, *nodes, resource="r"):
        user = self.people[who]
        client = Resilient([self.at[n] for n in nodes], self.lab.domain, user["jid"].split("@")[0], user["password"], resource,
                           patience=2 if FREEZE else None)
        self.clients.append(client)
        return client

    def arm(self):
        """Quiet first: what is under way must not set it off."""
        time.sleep(1.5)
        for victim in self.victims:
            folder = self.lab.folder / "nodes" / victim / "fail-points"
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
            (folder / self.point).write_text("STOP" if FREEZE else "KILL")

    def is_set_off(self):
        """The victim that died there."""
        def dead():
            for victim in self.victims:
                if not (self.lab.folder / "nodes" / victim / "fail-points" / self.point).exists():
                    return victim
            return None
        victim = eventually(dead, 15)
        for other in self.victims:
            (self.lab.folder / "nodes" / other / "fail-points" / self.point).unlink(missing_ok=True)
        self.victim = victim
        return victim

    def wakes(self):
        """Everything has gone on without it; what it does now must change nothing."""
        if FREEZE:
            self.lab("resume", self.victim)
            time.sleep(4)

    def says(self, client, to, count=1):
        for _ in range(count):
            text = f"{self.point} {self.turn} {self.number}"
            client.send(f"<message to='{to}' type='chat' id='m{self.number}'><body>{text}</body></message>")
            self.number += 1

    def says_and_is_heard(self, client, receiver, to, count):
        self.says(client, to, count)
        eventually(lambda: len(self.mine(receiver)) == self.number)

    def mine(self, client, kind="chat"):
        return [int(m.findtext(CLIENT + "body").split()[2]) for m in client.messages()
                if m.get("type") == kind and m.findtext(CLIENT + "body").startswith(f"{self.point} {self.turn} ")]

    def archived(self, who, of=None):
        """Numbers in the archive of a person, or of a room that he asks."""
        living = [n["name"] for n in self.lab.json("status")["nodes"] if n["pid"] and not (FREEZE and n["name"] == self.victim)]
        asker = self.client(who, *living, resource="archive") if of is None else of[0]
        to = "" if of is None else f" to='{of[1]}'"
        mark = len(asker.arrived)
        asker.send(f"<iq type='set' id='mam{mark}'{to}><query xmlns='{MAM}'><set xmlns='{RSM}'><max>100</max></set></query></iq>")
        eventually(lambda: any(e.tag == CLIENT + "iq" and e.get("id") == f"mam{mark}" for _, e in list(asker.arrived)))
        bodies = [b.text for _, e in asker.arrived[mark:] if e.find(f"{{{MAM}}}result") is not None for b in e.iter(CLIENT + "body")]
        return [int(text.split()[2]) for text in bodies if text.startswith(f"{self.point} {self.turn} ")]

    def is_whole(self, checks, sender, receivers, owners=("a",)):
        self.lab.waits("all acknowledged", lambda: sender.acked >= sender.sent_count, 40)
        wanted = list(range(self.number))
        for receiver in receivers:
            try:
                eventually(lambda: len(self.mine(receiver)) >= len(wanted), 15)
            except AssertionError:
                pass
        time.sleep(0.5)
        self.wakes()
        for receiver in receivers:
            checks.that(f"{self.point} at {'/'.join(self.victims)}: each once, in order", self.mine(receiver) == wanted, str(self.mine(receiver)))
        for who in owners:
            got = self.archived(who)
            checks.that(f"{self.point} at {'/'.join(self.victims)}: archived once for {who}", got == wanted, str(got))

    def ends(self, victim):
        for client in self.clients:
            client.stop()
        dead = [n["name"] for n in self.lab.json("status")["nodes"] if not n["pid"]]
        for name in dead:
            self.lab("start", name)
        if FREEZE or dead == [victim]:  # it may be back before anybody took over
            self.lab.waits("the node is back", lambda: states(self.lab)[victim] in ("failed-over", "normal"), 60)
            if states(self.lab)[victim] == "failed-over":
                ctl(self.lab, "ha", "fallback", victim)
        waits_for(self.lab, n1="normal", n2="normal")


def chat(crash, checks, near=False):
    """A at n1 writes to somebody at n2, or at his own node."""
    sender = crash.client("a", "n1", "n2")
    receiver = crash.client("near", "n1", "n2") if near else crash.client("b", "n2", "n1")
    to = crash.people["near" if near else "b"]["jid"]
    crash.says_and_is_heard(sender, receiver, to, 3)
    crash.arm()
    crash.says(sender, to)
    victim = crash.is_set_off()
    crash.says(sender, to, 3)
    crash.is_whole(checks, sender, [receiver], ("a", "near" if near else "b"))
    return victim


def offline(crash, checks):
    """The row is there, the counter is not; the receiver logs in before the sender is back."""
    sender = crash.client("a", "n1")
    to = crash.people["b"]["jid"]
    crash.arm()
    crash.says(sender, to)
    victim = crash.is_set_off()
    receiver = crash.client("b", "n2", "n1")
    eventually(lambda: len(crash.mine(receiver)) == 1)
    sender.addresses.append(crash.at["n2"])
    crash.says(sender, to, 3)
    crash.is_whole(checks, sender, [receiver], ("a", "b"))
    return victim


def resumption(crash, checks):
    """The receiver's connection breaks; he comes to n1, which dies in the middle, and ends up at n2."""
    sender, receiver = crash.client("a", "n2", "n1"), crash.client("b", "n2", "n1")
    to = crash.people["b"]["jid"]
    crash.says_and_is_heard(sender, receiver, to, 2)
    crash.arm()
    receiver.client.drops()
    crash.says(sender, to, 3)
    victim = crash.is_set_off()
    crash.says(sender, to, 2)
    crash.is_whole(checks, sender, [receiver], ("b",))
    return victim


def backlog(crash, checks):
    """The receiver has messages waiting and logs in at the node that dies while it hands them out."""
    sender = crash.client("a", "n1", "n2")
    to = crash.people["b"]["jid"]
    crash.says(sender, to, 5)
    crash.lab.waits("all acknowledged", lambda: sender.acked >= sender.sent_count, 20)
    crash.arm()
    receiver = crash.client("b", "n2", "n1")
    crash.says(sender, to, 3)
    victim = crash.is_set_off()
    crash.says(sender, to, 3)
    crash.is_whole(checks, sender, [receiver], ("b",))
    return victim


def ending(crash, checks):
    """The receiver goes for good with messages unacknowledged; his node dies while it puts them back."""
    sender, first = crash.client("a", "n1", "n2"), crash.client("b", "n2", "n1")
    first.client.answers_acks = False
    to = crash.people["b"]["jid"]
    crash.says_and_is_heard(sender, first, to, 3)
    crash.arm()
    first.running = False
    first.thread.join(5)
    first.client.sends_raw("</stream:stream>")
    victim = crash.is_set_off()
    crash.says(sender, to, 2)
    receiver = crash.client("b", "n1", "n2")
    crash.is_whole(checks, sender, [receiver], ("b",))
    return victim


def room(crash, checks):
    """Whichever node has the room dies with a message of it."""
    name = f"{crash.point}{crash.turn}@rooms.{crash.lab.domain}"
    one, two = crash.client("a", "n1", "n2"), crash.client("b", "n2", "n1")
    joined = lambda c: any(e.get("code") == "110" for _, p in list(c.arrived) for e in p.iter(f"{{{MUC}#user}}status"))
    one.send(f"<presence to='{name}/a'><x xmlns='{MUC}'/></presence>")
    eventually(lambda: joined(one))
    one.send(f"<iq type='set' id='setup' to='{name}'><query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
    eventually(lambda: any(e.get("id") == "setup" for _, e in list(one.arrived)))  # else it is locked
    two.send(f"<presence to='{name}/b'><x xmlns='{MUC}'/></presence>")
    eventually(lambda: joined(two))

    def speaks(client):
        client.send(f"<message to='{name}' type='groupchat' id='g{crash.number}'><body>{crash.point} {crash.turn} {crash.number}</body></message>")
        crash.number += 1

    speaks(one)
    crash.arm()
    speaks(one)
    victim = crash.is_set_off()
    for _ in range(4):
        speaks(one)
    wanted = list(range(crash.number))
    heard = lambda c: crash.mine(c, "groupchat")
    try:
        eventually(lambda: len(heard(one)) >= len(wanted) and len(heard(two)) >= len(wanted), 30)
    except AssertionError:
        pass
    crash.wakes()
    for who, client in (("one", one), ("two", two)):
        checks.that(f"{crash.point}: occupant {who} has each once, in order", heard(client) == wanted, str(heard(client)))
    got = crash.archived("a", of=(two, name))
    checks.that(f"{crash.point}: the room's archive has no gap and no repeat", got == wanted, str(got))
    return victim


def moving(crash, checks):
    """A room is given from n1 to n2, and one of them dies midway."""
    name = f"{crash.point}{crash.turn}@rooms.{crash.lab.domain}"
    one, two = crash.client("a", "n1", "n2"), crash.client("b", "n2", "n1")
    joined = lambda c: any(e.get("code") == "110" for _, p in list(c.arrived) for e in p.iter(f"{{{MUC}#user}}status"))
    one.send(f"<presence to='{name}/a'><x xmlns='{MUC}'/></presence>")
    eventually(lambda: joined(one))
    one.send(f"<iq type='set' id='setup' to='{name}'><query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
    eventually(lambda: any(e.get("id") == "setup" for _, e in list(one.arrived)))
    two.send(f"<presence to='{name}/b'><x xmlns='{MUC}'/></presence>")
    eventually(lambda: joined(two))

    def speaks(client):
        client.send(f"<message to='{name}' type='groupchat' id='g{crash.number}'><body>{crash.point} {crash.turn} {crash.number}</body></message>")
        crash.number += 1

    for _ in range(3):
        speaks(one)
    eventually(lambda: len(crash.mine(two, "groupchat")) == 3)
    crash.arm()
    mover = threading.Thread(target=lambda: crash.lab("ctl", "room", "move", name, "n2", check=False))
    mover.start()
    speaks(one)
    victim = crash.is_set_off()
    for _ in range(4):
        speaks(one)
    mover.join()
    wanted = list(range(crash.number))
    heard = lambda c: crash.mine(c, "groupchat")
    try:
        eventually(lambda: len(heard(one)) >= len(wanted) and len(heard(two)) >= len(wanted), 40)
    except AssertionError:
        pass
    crash.wakes()
    for who, client in (("one", one), ("two", two)):
        checks.that(f"{crash.point} at {victim}: occupant {who} has each once, in order", heard(client) == wanted, str(heard(client)))
    got = crash.archived("a", of=(two, name))
    checks.that(f"{crash.point} at {victim}: the room's archive has no gap and no repeat", got == wanted, str(got))
    living = next(n["name"] for n in crash.lab.json("status")["nodes"] if n["pid"] and n["name"] != victim)
    shown = lambda: api(crash.lab, living, f"/v1/rooms/{name}")
    try:
        eventually(lambda: shown()["state"] == "at home", 20)
    except AssertionError:
        pass
    at = shown()
    # Before the store has it there is no move; after that it is true, whoever dies.
    home = "n1" if crash.point == "room-move-decided" else "n2"
    checks.that(f"{crash.point} at {victim}: the room has one home", (at["state"], at["home"]) == ("at home", home), str(at))
    return victim


def taking_over(crash, checks):
    """n1 dies, and n2 dies while it takes over: the store has the new epoch, Redis has not."""
    sender, receiver = crash.client("a", "n1", "n2"), crash.client("b", "n2", "n1")
    to = crash.people["b"]["jid"]
    crash.says_and_is_heard(sender, receiver, to, 3)
    crash.arm()
    crash.lab("kill", "n1")
    crash.says(sender, to, 3)
    victim = crash.is_set_off()
    for name in ("n1",) if FREEZE else ("n2", "n1"):
        crash.lab("start", name)
    crash.is_whole(checks, sender, [receiver], ("a", "b"))
    return victim


STORIES = [
    ("read", ["n1"], chat), ("decided", ["n1"], chat), ("stored", ["n1"], chat), ("committed", ["n1"], chat),
    ("entry", ["n2"], chat), ("numbered", ["n2"], chat), ("written", ["n2"], chat), ("acknowledged", ["n2"], chat),
    ("stored", ["n1"], lambda crash, checks: chat(crash, checks, near=True)),
    ("written", ["n1"], lambda crash, checks: chat(crash, checks, near=True)),
    ("stored", ["n1"], offline), ("committed", ["n1"], offline),
    ("claimed", ["n1"], resumption), ("proved", ["n1"], resumption), ("settled", ["n1"], resumption),
    ("backlog-taken", ["n2"], backlog), ("backlog-filled", ["n2"], backlog),
    ("ending", ["n2"], ending), ("put-back", ["n2"], ending),
    ("room-decided", ["n1", "n2"], room), ("room-stored", ["n1", "n2"], room), ("room-committed", ["n1", "n2"], room),
    ("epoch-raised", ["n2"], taking_over),
    ("room-move-decided", ["n1"], moving), ("room-move-stored", ["n1"], moving), ("room-moved", ["n1"], moving),
    ("room-taken", ["n2"], moving),
]


def main(checks, lab):
    wanted = [word for word in sys.argv[1:] if word != "--freeze"]
    for turn, (point, victims, story) in enumerate(STORIES):
        if wanted and point not in wanted:
            continue
        crash = Crash(lab, turn, victims, point)
        victim = story(crash, checks)
        crash.ends(victim)


if __name__ == "__main__":
    import tempfile
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as extra:
        extra.write(CONFIG)
        extra.flush()
        with Checks() as checks, Lab("--nodes", "2", "--users", "120", "--password", "pencil", "--config", extra.name) as lab:
            main(checks, lab)
