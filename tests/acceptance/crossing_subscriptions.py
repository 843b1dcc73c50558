#!/usr/bin/python3
"""Twenty people at two nodes ask each other for subscription at the same moment, and say yes to whoever asks: every pair
ends with `both` on both sides, each request and each answer arrives."""
import itertools
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

PEOPLE = 20
ITEM = "{jabber:iq:roster}item"


class Person:
    """Says yes to whoever asks."""

    def __init__(self, lab, address, user):
        self.jid = user["jid"]
        self.client = Resilient([address], lab.domain, self.jid.split("@")[0], user["password"])
        self.running = True
        self.thread = threading.Thread(target=self._approve, daemon=True)
        self.thread.start()

    def _approve(self):
        seen = 0
        while self.running:
            for _, stanza in self.client.arrived[seen:]:
                seen += 1
                if stanza.tag == CLIENT + "presence" and stanza.get("type") == "subscribe":
                    self.client.send(f"<presence to='{stanza.get('from')}' type='subscribed'/>")
            time.sleep(0.01)

    def asks(self, others):
        for other in others:
            self.client.send(f"<presence to='{other.jid}' type='subscribe'/>")

    def got(self, kind):
        return {s.get("from") for _, s in list(self.client.arrived) if s.tag == CLIENT + "presence" and s.get("type") == kind}

    def roster(self, mark):
        self.client.send(f"<iq type='get' id='{mark}'><query xmlns='jabber:iq:roster'/></iq>")
        reply = eventually(lambda: next((s for _, s in list(self.client.arrived) if s.get("id") == mark), None))
        return {item.get("jid"): (item.get("subscription"), item.get("ask")) for item in reply.iter(ITEM)}

    def stop(self):
        self.running = False
        self.thread.join()
        self.client.stop()


def main(checks, lab):
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    people = [Person(lab, at[f"n{1 + number % 2}"], user) for number, user in enumerate(lab.users()[:PEOPLE])]
    asking = [threading.Thread(target=one.asks, args=([other for other in people if other is not one],)) for one in people]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    everybody = {one.jid for one in people}
    try:
        eventually(lambda: all(one.got("subscribed") >= everybody - {one.jid} for one in people), 40)
    except AssertionError:
        pass
    rosters = {one.jid: one.roster("final") for one in people}
    wrong = [(a, b, rosters[a].get(b)) for a, b in itertools.permutations(everybody, 2) if rosters[a].get(b) != ("both", None)]
    checks.that(f"{len(everybody) * (len(everybody) - 1)} roster items are `both`", not wrong, str(wrong[:5]))
    for kind in ("subscribe", "subscribed"):
        missing = [(one.jid, other) for one in people for other in everybody - {one.jid} - one.got(kind)]
        checks.that(f"every `{kind}` arrived", not missing, f"{len(missing)} did not, {missing[:5]}")
    checks.that("Redis, the store and the nodes agree", lab.ctl("cluster", "verify")["clean"], "")
    for one in people:
        one.stop()


with Checks() as checks, Lab("--nodes", "2", "--users", "24", "--password", "pencil") as lab:
    main(checks, lab)
