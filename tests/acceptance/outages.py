#!/usr/bin/python3
"""Redis and PostgreSQL are away for a while under chat: no stream ends, nothing acknowledged is lost or doubled, order is
kept, archives are complete, no failover."""
import pathlib
import shutil
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks  # noqa: E402
from support.ha import events, last_event  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

AWAY = int(sys.argv[sys.argv.index("--away") + 1]) if "--away" in sys.argv else 12
RATE = 10
DOWN = {"redis": "StateStoreDown", "postgres": "StoreDown"}
UP = {"redis": "StateStoreUp", "postgres": "StoreUp"}
MAM, RSM = "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm"


class Talk:
    """Numbered messages from one client to another, at a rate, until told to stop."""

    def __init__(self, sender, receiver, to):
        self.sender, self.receiver, self.to = sender, receiver, to
        self.sent = []          # time of each
        self.acks = []          # (time, h)
        self.asked = None
        self.worst_answer = 0.0
        self.running = True
        take = sender._acknowledged

        def acknowledged(h):
            now = time.monotonic()
            self.acks.append((now, h))
            if self.asked is not None:
                self.worst_answer = max(self.worst_answer, now - self.asked)
                self.asked = None
            take(h)

        sender._acknowledged = acknowledged
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        start = time.monotonic()
        while self.running:
            number = len(self.sent)
            now = time.monotonic()
            if self.asked is None:
                self.asked = now
            self.sent.append(now)
            self.sender.send(f"<message to='{self.to}' type='chat' id='m{number}'><body>{self.to} {number}</body></message>")
            time.sleep(max(0, start + len(self.sent) / RATE - time.monotonic()))

    def stop(self):
        self.running = False
        self.thread.join()

    def mine(self, body):
        return body.startswith(self.to + " ")

    def got(self):
        """(time, number) of what arrived."""
        out = []
        for at, element in list(self.receiver.arrived):
            body = element.find(CLIENT + "body")
            if element.tag == CLIENT + "message" and body is not None and self.mine(body.text):
                out.append((at, int(body.text.split()[-1])))
        return out

    def delays(self, since, until):
        return sorted(at - self.sent[n] for at, n in self.got() if since <= self.sent[n] < until)

    def h_at(self, moment):
        return max((h for at, h in self.acks if at <= moment), default=0)


def archived(lab, user, talk):
    """Numbers of the talk's messages in the user's archive, in its order."""
    client = Resilient([user["address"]], lab.domain, user["jid"].split("@")[0], user["password"], resource="archive")
    numbers, after = [], None
    while True:
        mark = f"<after>{after}</after>" if after else ""
        seen = len(client.arrived)
        client.send(f"<iq type='set' id='a{seen}'><query xmlns='{MAM}'><set xmlns='{RSM}'><max>200</max>{mark}</set></query></iq>")
        deadline = time.monotonic() + 20
        fin = None
        while fin is None and time.monotonic() < deadline:
            time.sleep(0.05)
            fin = next((e for _, e in client.arrived[seen:] if e.tag == CLIENT + "iq" and e.get("id") == f"a{seen}"), None)
        for _, element in client.arrived[seen:]:
            for body in element.iter(CLIENT + "body"):
                if talk.mine(body.text):
                    numbers.append(int(body.text.split()[-1]))
        done = fin.find(f"{{{MAM}}}fin")
        last = done.find(f"{{{RSM}}}set/{{{RSM}}}last")
        if done.get("complete") == "true" or last is None:
            break
        after = last.text
    client.stop()
    return numbers


def alarm(lab, kind, mark, nodes=1):
    """Seconds until `hexactl events` tells it of so many nodes; while PostgreSQL is away a node tells its own, without a number."""
    start = time.monotonic()
    while time.monotonic() < start + 10:
        try:
            found = events(lab, kind)
        except RuntimeError:  # it has nothing to tell yet, and cannot ask the store
            found = []
        if len({e["node"] for e in found if e["id"] > mark or e["id"] == 0}) >= nodes:
            break
        time.sleep(0.1)
    return time.monotonic() - start


def outage(checks, lab, name, service, leave, empty=None, flush=False):
    """One outage: `leave` takes the service away for AWAY seconds."""
    ones, twos = lab.users("n1"), lab.users("n2")
    addresses = {n["name"]: n["address"] for n in lab.status["nodes"]}
    for user in ones + twos:
        user["address"] = addresses[user["home"]]
    base = outage.used
    outage.used += 3
    people = [ones[base], ones[base + 1], ones[base + 2], twos[base]]
    clients = [Resilient([u["address"], *addresses.values()], lab.domain, u["jid"].split("@")[0], u["password"]) for u in people]
    epochs = {n["name"]: n["epoch"] for n in lab.json("status")["nodes"]}
    near = Talk(clients[0], clients[1], people[1]["jid"])
    far = Talk(clients[2], clients[3], people[3]["jid"])
    back = Talk(clients[3], clients[2], people[2]["jid"])
    talks = {"same node": near, "to the other node": far, "from the other node": back}
    time.sleep(3)

    if flush:
        gone = time.monotonic()
        lab.redis("FLUSHALL")
        returned = time.monotonic()
        time.sleep(3)
    else:
        mark = last_event(lab)
        gone = time.monotonic()
        lab(leave, service)
        told = alarm(lab, DOWN[service], mark)
        checks.that(f"{name}: the alarm shows within 5 s", told <= 5.0, f"{DOWN[service]} after {told:.1f} s")
        time.sleep(max(0, gone + AWAY - time.monotonic()))
        if empty:
            empty()
        returned_from = time.monotonic()
        lab("start", service)
        returned = time.monotonic()
        checks.that(f"{name}: the service was away", returned_from - gone >= AWAY - 1, f"{returned_from - gone:.1f} s")
    if not flush:
        cleared = alarm(lab, UP[service], mark, nodes=2)
        checks.that(f"{name}: and clears, at both nodes", cleared <= 5.0, f"{UP[service]} after {cleared:.1f} s")
    time.sleep(max(0, returned + 5 - time.monotonic()))
    for talk in talks.values():
        talk.stop()
    lab.waits(f"{name}: all acknowledged",
              lambda: all(t.sender.acked >= t.sender.sent_count for t in talks.values()), 20)
    time.sleep(1)

    checks.that(f"{name}: no stream ended", all(not c.outages and c.logins == 1 for c in clients),
                str([(len(c.outages), c.logins) for c in clients]))
    for what, talk in talks.items():
        numbers = [n for _, n in talk.got()]
        wanted = list(range(len(talk.sent)))
        checks.that(f"{name}, {what}: each once, in order", numbers == wanted,
                    f"{len(numbers)} of {len(wanted)}, missing {sorted(set(wanted) - set(numbers))[:8]}, "
                    f"double {len(numbers) - len(set(numbers))}, sorted {numbers == sorted(numbers)}")
        bounced = [e for _, e in talk.sender.arrived if e.tag == CLIENT + "message" and e.get("type") == "error"]
        checks.that(f"{name}, {what}: nothing bounced", not bounced, str(len(bounced)))
        checks.that(f"{name}, {what}: every <r/> answered within 1 s", talk.worst_answer <= 1.0, f"{talk.worst_answer:.2f} s")
        late = [at for at, n in talk.got() if talk.sent[n] < returned and at > returned + 5]
        checks.that(f"{name}, {what}: complete 5 s after the return", not late, str(len(late)))
    if service == "redis" and not flush:
        h = [near.h_at(gone + 2), near.h_at(returned_from - 0.5)]
        checks.that(f"{name}: nothing is acknowledged meanwhile", h[0] == h[1], str(h))
    if service == "redis" and not flush:
        delays = near.delays(gone, returned_from)
        p99 = delays[max(0, int(len(delays) * 0.99) - 1)] if delays else 99
        checks.that(f"{name}: chat inside a node goes on, p99 ≤ 1 s", p99 <= 1.0 and len(delays) > AWAY * RATE * 0.8,
                    f"p99 {p99:.2f} s of {len(delays)}")
    if service == "postgres":
        for what, talk in talks.items():
            delays = talk.delays(gone, returned_from)
            worst = delays[-1] if delays else 99
            checks.that(f"{name}, {what}: chat goes on", worst <= 4.0 and len(delays) > AWAY * RATE * 0.8,
                        f"worst {worst:.2f} s of {len(delays)}")
    for what, talk, owners in (("same node", near, (people[0], people[1])), ("to the other node", far, (people[2], people[3]))):
        for owner in owners:
            numbers = archived(lab, owner, talk)
            checks.that(f"{name}, {what}: archive of {owner['jid'].split('@')[0]} is complete and in order",
                        numbers == list(range(len(talk.sent))), f"{len(numbers)} of {len(talk.sent)}")
    states = {n["name"]: (n["state"], n["epoch"]) for n in lab.json("status")["nodes"]}
    checks.that(f"{name}: no failover", states == {k: ("normal", e) for k, e in epochs.items()}, str(states))
    for client in clients:
        client.stop()


outage.used = 0


def main(checks, lab):
    folder = pathlib.Path(lab.status["ca_file"]).parents[1]

    def empty():
        for path in (folder / "redis").iterdir():
            if path.name != "redis.conf":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    only = sys.argv[sys.argv.index("--only") + 1] if "--only" in sys.argv else None
    cases = {"redis": dict(name="Redis stopped", service="redis", leave="stop"),
             "killed": dict(name="Redis killed", service="redis", leave="kill"),
             "empty": dict(name="Redis empty", service="redis", leave="kill", empty=empty),
             "flush": dict(name="Redis flushed", service="redis", leave="stop", flush=True),
             "postgres": dict(name="PostgreSQL stopped", service="postgres", leave="stop")}
    for key, case in cases.items():
        if only in (None, key):
            outage(checks, lab, **case)


with Checks() as checks, Lab("--nodes", "2", "--users", "40", "--password", "pencil") as lab:
    main(checks, lab)
