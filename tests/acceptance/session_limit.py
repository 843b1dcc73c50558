#!/usr/bin/python3
"""A node that carries as many sessions as it may refuses a login and nothing else: not a resumption, not who comes again under
the same address, and not the users of its peer when that one is gone (docs/assignment.md, "How full it is")."""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.client import BIND, Client, condition_of  # noqa: E402
from support.ha import ctl, events, last_event, settled_events, waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import Resilient  # noqa: E402

CAPACITY = 4          # users of a node: the group carries 6 sessions, each node 3 of its own
GROUP, HALF = 6, 3
CONFIG = """
[cluster]
automatic_fallback = false
"""


class People:
    def __init__(self, lab):
        self.lab = lab
        self.at = {n["name"]: n["address"] for n in lab.status["nodes"]}
        self.users = [(u["jid"].split("@")[0], u["password"]) for u in lab.users()]
        self.number = 0

    def arrives(self, node, resource, who=None):
        if who is None:
            who, self.number = self.users[self.number % len(self.users)], self.number + 1
        client = Client(self.at[node], 5223, self.lab.domain, label=resource).wraps()
        client.opens().has_features()
        client.authenticates(*who, "PLAIN").opens().has_features()
        client.resource, client.who = resource, who
        return client

    @staticmethod
    def answer(client):
        """None, or the condition of the error to a bind."""
        client.sends_raw(f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>{client.resource}</resource></bind></iq>")
        reply = client._take(lambda e: e.get("id") == "b", "an answer to the bind", 10)
        return condition_of(reply), reply

    def logs_in(self, node, resource):
        client = self.arrives(node, resource)
        return client, self.answer(client)[0]

    def limit(self, node):
        return next(n["session_limit"] for g in ctl(self.lab, "topology")["groups"] for n in g["nodes"] if n["name"] == node)


def hears(lab, people, node, limit):
    """The nodes tell each other with a heartbeat how many sessions they have."""
    lab.waits(f"{node} may carry {limit}", lambda: people.limit(node) == limit, 10)


def story(checks, lab):
    people = People(lab)
    mark = last_event(lab)
    hears(lab, people, "n1", GROUP)
    checks.that("empty: either node may carry what the group carries", people.limit("n2") == GROUP)
    first = people.users[0]
    there = Resilient([people.at["n1"], people.at["n2"]], lab.domain, *first, resource="keeps")
    inside = [people.logs_in("n1", f"a{n}") for n in range(GROUP - 1)]
    checks.that("as many as there is room for log in", all(said is None for _, said in inside), str([s for _, s in inside]))
    late = people.arrives("n1", "late")
    condition, reply = people.answer(late)
    error = reply.find("{jabber:client}error")
    checks.that("one more is refused: resource-constraint, wait", condition == "resource-constraint" and error.get("type") == "wait",
                str(condition))
    said = eventually(lambda: events(lab, "SessionLimitReached", after=mark), 10)
    checks.that("it is an event, once", len(said) == 1 and said[0]["node"] == "n1" and said[0]["fields"]["limit"] == GROUP,
                str([e["fields"] for e in said]))
    again = people.arrives("n1", "a0", who=inside[0][0].who)
    checks.that("who comes again under the same address is not refused", people.answer(again)[0] is None)
    there.addresses = [people.at["n1"]]
    there.client.ended = True  # its stream breaks
    lab.waits("resumed", lambda: there.resumed == 1, 15)
    checks.that("who resumes is not refused", there.logins == 1)
    # A session ends, the refused client tries again on the stream it has.
    inside[-1][0].closes()
    lab.waits("room", lambda: ctl_sessions(lab, "n1") < GROUP, 10)
    condition, _ = people.answer(late)
    checks.that("when one has gone, who was refused gets in on the same stream", condition is None, str(condition))
    hears(lab, people, "n2", HALF)
    elsewhere = [people.logs_in("n2", f"b{n}") for n in range(HALF)]
    checks.that("the other node still has its own half", all(said is None for _, said in elsewhere), str([s for _, s in elsewhere]))
    _, condition = people.logs_in("n2", "c")
    checks.that("and refuses one more, too", condition == "resource-constraint", str(condition))
    for client in [again, late, *(c for c, _ in inside[1:-1] + elsewhere)]:
        client.drops()
    there.running = False
    there.thread.join(5)
    there.client.closes()  # or its session waits for it


def ctl_sessions(lab, node):
    return lab.node(node)["sessions"]


def failover(checks, lab):
    """Three at each node; one node dies: all six are at the other one, which alone would have had three of its own."""
    people = People(lab)
    lab.waits("nobody is there", lambda: all(n["sessions"] == 0 for n in lab.json("status")["nodes"]), 60)
    mark = last_event(lab)
    keeping = [Resilient([people.at["n1"], people.at["n2"]], lab.domain, *people.users[n], resource=f"k{n}") for n in range(HALF)]
    others = [people.logs_in("n2", f"o{n}") for n in range(HALF)]
    checks.that("failover: three at each node", all(said is None for _, said in others))
    hears(lab, people, "n2", HALF)
    lab("kill", "n1")
    waits_for(lab, 20, n1="unknown", n2="backup")
    lab.waits("all resumed at n2", lambda: all(k.resumed == 1 and k.address == people.at["n2"] for k in keeping), 20)
    checks.that("failover: those of the lost node resume, nobody logs in anew", all(k.logins == 1 for k in keeping))
    checks.that("failover: the backup carries what the group carries", people.limit("n2") == GROUP, str(people.limit("n2")))
    others[0][0].closes()
    lab.waits("room", lambda: ctl_sessions(lab, "n2") < GROUP, 10)
    fresh, condition = people.logs_in("n2", "fresh")
    checks.that("failover: above its own half a login is let in, too", condition is None, str(condition))
    _, condition = people.logs_in("n2", "more")
    checks.that("failover: above the group's it is refused", condition == "resource-constraint", str(condition))
    reached = settled_events(lab, "SessionLimitReached", after=mark)
    checks.that("failover: not before that", len(reached) <= 1, str([e["fields"] for e in reached]))
    for client in [fresh, *(c for c, _ in others[1:])]:
        client.drops()
    for one in keeping:
        one.stop()


with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as all_checks, Lab("--nodes", "2", "--users", "4", "--password", "pencil", "--capacity", str(CAPACITY),
                                     "--config", file.name) as up:
        story(all_checks, up)
        failover(all_checks, up)
