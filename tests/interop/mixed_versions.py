#!/usr/bin/python3
"""A cluster of an earlier version is replaced by this one node by node: with one of each in the group chats and a room go on while
each is killed in turn, and while the old one is replaced; every message is counted.

  tests/interop/mixed_versions.py [REF]     the earlier version: a tag or commit (default: the newest tag, else the oldest
                                            commit that speaks a protocol we read)

The earlier version is built once, in build/interop/."""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import events, last_event, nodes, states, waits_for  # noqa: E402
from support.lab import REPOSITORY, Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

OLDEST = "6cd8fff"  # of protocol 1
MUC = "http://jabber.org/protocol/muc"
RATE = 20
CONFIG = """
[cluster]
fallback_delay = 3
automatic_moves_per_hour = 10000
"""


def git(*words):
    return subprocess.run(["git", "-c", "safe.directory=*", *words], cwd=REPOSITORY, text=True, check=True,
                          stdin=subprocess.DEVNULL, capture_output=True).stdout.strip()


def default_ref():
    tags = git("tag", "--merged", "HEAD", "--sort=-version:refname", "v*").split()
    return tags[0] if tags else OLDEST


def built(ref):
    """The folder with the programs of that version."""
    commit = git("rev-parse", "--verify", ref + "^{commit}")
    folder = REPOSITORY / "build" / "interop" / commit[:12]
    if (folder / "hexad").exists():
        return commit, folder
    source = pathlib.Path(tempfile.mkdtemp(prefix="hexad-interop-")) / "source"
    print(f"building {ref} ({commit[:12]}) …", flush=True)
    try:
        git("worktree", "add", "--detach", source, commit)
        for command in (["cmake", "--preset", "release"], ["cmake", "--build", "--preset", "release", "--target", "hexad"]):
            done = subprocess.run(command, cwd=source, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)}:\n" + "\n".join(done.stdout.splitlines()[-30:]))
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source / "build" / "release" / "bin" / "hexad", folder / "hexad.new")
        (folder / "hexad.new").replace(folder / "hexad")
    finally:
        subprocess.run(["git", "-c", "safe.directory=*", "worktree", "remove", "--force", source], cwd=REPOSITORY,
                       stdin=subprocess.DEVNULL, capture_output=True)
        shutil.rmtree(source.parent, ignore_errors=True)
    return commit, folder


class Talk:
    """Four people, two at each node, each to each other and in one room, without a pause."""

    def __init__(self, lab):
        self.lab = lab
        at = {n["name"]: n["address"] for n in lab.status["nodes"]}
        users = lab.users()[:4]
        self.jids = [u["jid"] for u in users]
        self.room = f"mixed@rooms.{lab.domain}"
        self.people = []
        for number, user in enumerate(users):
            first, second = ("n1", "n2") if number < 2 else ("n2", "n1")
            client = Resilient([at[first], at[second]], lab.domain, user["jid"].split("@")[0], user["password"])
            client.send(f"<presence to='{self.room}/p{number}'><x xmlns='{MUC}'/></presence>")
            eventually(lambda: any(c.get("code") == "110" for _, e in list(client.arrived)
                                   for c in e.iter(f"{{{MUC}#user}}status")))
            if number == 0:
                client.send(f"<iq type='set' id='setup' to='{self.room}'><query xmlns='{MUC}#owner'>"
                            "<x xmlns='jabber:x:data' type='submit'/></query></iq>")
                eventually(lambda: any(e.get("id") == "setup" for _, e in list(client.arrived)))
            self.people.append(client)
        self.chats = {}    # (from, to) → how many
        self.said = [0] * len(self.people)
        self.turn = 0
        self.running = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        start = time.monotonic()
        while self.running:
            sender = self.turn % 4
            to = (sender + 1 + self.turn // 4 % 3) % 4
            if self.turn % 5 == 0:
                body, self.said[sender] = f"room {sender} {self.said[sender]}", self.said[sender] + 1
                xml = f"<message to='{self.room}' type='groupchat' id='g{self.turn}'><body>{body}</body></message>"
            else:
                number = self.chats.get((sender, to), 0)
                self.chats[(sender, to)] = number + 1
                xml = (f"<message to='{self.jids[to]}' type='chat' id='c{self.turn}'>"
                       f"<body>chat {sender} {number}</body></message>")
            self.people[sender].send(xml)
            self.turn += 1
            time.sleep(max(0, start + self.turn / RATE - time.monotonic()))

    def stop(self):
        self.running = False
        self.thread.join()

    def got(self, person, kind):
        """sender → the numbers that came, in the order in which they came; for the room everybody's in one list too."""
        by, order = {}, []
        for message in self.people[person].messages():
            words = message.findtext(CLIENT + "body").split()
            if words[0] == kind:
                by.setdefault(int(words[1]), []).append(int(words[2]))
                order.append(tuple(words[1:]))
        return by, order

    def is_whole(self, checks):
        self.lab.waits("all acknowledged", lambda: all(p.acked >= p.sent_count for p in self.people), 40)
        time.sleep(2)
        orders = []
        for person in range(4):
            by, _ = self.got(person, "chat")
            wrong = {sender: f"{len(by.get(sender, []))} of {count}" for (sender, to), count in self.chats.items()
                     if to == person and by.get(sender, []) != list(range(count))}
            checks.that(f"person {person}: every chat message once, in order", not wrong, str(wrong))
            by, order = self.got(person, "room")
            wrong = {sender: f"{len(by.get(sender, []))} of {count}" for sender, count in enumerate(self.said)
                     if by.get(sender, []) != list(range(count))}
            checks.that(f"person {person}: every message of the room once, in order", not wrong, str(wrong))
            orders.append(order)
        checks.that("the room said the same to everybody", all(order == orders[0] for order in orders))
        checks.that("nobody had to log in anew", all(p.logins == 1 for p in self.people), str([p.logins for p in self.people]))
        print(f"       {self.turn} messages, of them {sum(self.said)} in the room; "
              f"resumed {[p.resumed for p in self.people]}", flush=True)


def kill_and_return(checks, lab, talk, name, what):
    other = "n2" if name == "n1" else "n1"
    address = lab.node(other)["address"]
    begun = time.monotonic()
    lab("kill", name)
    waits_for(lab, 30, **{name: "unknown", other: "backup"})
    lab.waits(f"everybody at {other}", lambda: all(p.address == address for p in talk.people), 30)
    checks.that(f"{what} is killed: everybody is at the other one", True, f"{time.monotonic() - begun:.0f} s")
    time.sleep(2)
    lab("start", name)
    took = waits_for(lab, 60, n1="normal", n2="normal")
    checks.that(f"{what} comes back and takes its users back", True, f"{took:.0f} s")
    for number, person in enumerate(talk.people):  # back to where it was, by its own choice
        person.addresses = [lab.node("n1" if number < 2 else "n2")["address"]]
        if person.address != person.addresses[0]:
            person.client.ended = True
    lab.waits("everybody back", lambda: all(p.address == p.addresses[0] for p in talk.people), 30)
    for person in talk.people:
        person.addresses = [person.address, *(n["address"] for n in lab.status["nodes"] if n["address"] != person.address)]
    time.sleep(2)


def replace(checks, lab, name, folder, what):
    begun = time.monotonic()
    lab("stop", name)
    lab("start", name, "--bin", str(folder), "--no-wait")
    waits_for(lab, 60, n1="normal", n2="normal")
    checks.that(what, True, f"{time.monotonic() - begun:.0f} s")


def main(checks, lab, commit, folder):
    old = lab.folder / "bin-old"
    old.mkdir()
    shutil.copy2(folder / "hexad", old / "hexad")
    old.chmod(0o755), (old / "hexad").chmod(0o755)
    new = pathlib.Path(os.path.realpath(f"/proc/{lab.node('n1')['pid']}/exe")).parent
    # A whole cluster of the earlier version: what goes between nodes is then written as it reads it.
    lab("stop", "n1")
    lab("stop", "n2")
    for name in ("n1", "n2"):
        lab("start", name, "--bin", str(old), "--no-wait")
    waits_for(lab, 60, n1="normal", n2="normal")
    mark = last_event(lab)
    replace(checks, lab, "n2", new, f"n2 of a cluster of {commit[:12]} runs this version")
    running = {name: os.path.realpath(f"/proc/{lab.node(name)['pid']}/exe") for name in ("n1", "n2")}
    checks.that("one old and one new node", running == {"n1": str(old / "hexad"), "n2": str(new / "hexad")}, str(running))
    talk = Talk(lab)
    time.sleep(5)
    kill_and_return(checks, lab, talk, "n1", "the old node")
    kill_and_return(checks, lab, talk, "n2", "the new node")
    said = [e for e in events(lab, after=mark) if e["event"] in ("NotServing", "WriteRefused", "FailoverFailed", "NodeFenced")]
    checks.that("no alarm but those of a lost node", not said, str(said))
    replace(checks, lab, "n1", new, "the old node is replaced by a new one")
    written = lambda: {n["name"]: n["protocol"]["written"] for n in nodes(lab).values()}
    newest = {n["name"]: n["protocol"]["max"] for n in nodes(lab).values()}
    lab.waits("the newest form is written", lambda: written() == newest, 30)
    time.sleep(3)
    talk.stop()
    talk.is_whole(checks)
    verdict = lab.ctl("cluster", "verify")
    checks.that("cluster verify is clean", verdict["clean"], str(verdict.get("findings")))
    checks.that("both are normal", states(lab) == {"n1": "normal", "n2": "normal"}, str(states(lab)))
    for person in talk.people:
        person.stop()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("ref", nargs="?")
options = parser.parse_args()
with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as all_checks:
        earlier = built(options.ref or default_ref())
        with Lab("--nodes", "2", "--users", "6", "--password", "pencil", "--config", file.name) as up:
            main(all_checks, up, *earlier)
