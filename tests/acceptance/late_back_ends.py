#!/usr/bin/python3
"""A node that starts while PostgreSQL or Redis is away waits, says for what, and serves when it is there; all that can be
asked of it meanwhile is answered. A whole cluster likewise, on an empty data base."""
import pathlib
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks  # noqa: E402
from support.client import Client  # noqa: E402
from support.ha import last_event, settled_events, waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402


def asked(node, path):
    """Status and text of an answer of the admin port; (0, why) if there is none."""
    try:
        with urllib.request.urlopen(f"http://{node['address']}:{node['admin_port']}{path}", timeout=5) as reply:
            return reply.status, reply.read().decode().strip()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode().strip()
    except OSError as error:
        return 0, str(error)


def logs_in(lab, node, user):
    client = Client(node["address"], node["c2s_tls_port"], lab.domain).wraps()
    client.opens().has_features()
    client.authenticates(user["jid"].split("@")[0], user["password"], "PLAIN").opens().has_features()
    client.closes()


def one_node(checks, lab, service, reason):
    n2 = lab.node("n2")
    user = lab.users("n2")[0]
    mark = last_event(lab)
    lab("stop", "n2")
    lab("stop", service)
    lab("start", "n2", "--no-wait")
    lab.waits(f"{service}: answers", lambda: asked(n2, "/healthz")[0] == 200, 10)
    lab.waits(f"{service}: says why", lambda: asked(n2, "/readyz") == (503, f"the gate waits for {reason}"), 10)
    checks.that(f"{service} away: the node lives, and says what it waits for", True)
    try:
        logs_in(lab, n2, user)
        refused = False
    except OSError:
        refused = True
    checks.that(f"{service} away: nobody gets in", refused)
    # Told to end, it ends.
    lab("stop", "n2")
    lab("start", "n2", "--no-wait")
    lab.waits(f"{service}: says why again", lambda: asked(n2, "/readyz")[0] == 503, 10)
    checks.that(f"{service} away: it can be stopped", asked(n2, "/healthz")[0] == 200)
    lab("start", service)
    waits_for(lab, 60, n1="normal", n2="normal")
    lab.waits("ready", lambda: asked(n2, "/readyz")[0] == 200, 10)
    logs_in(lab, n2, user)
    told = [e["event"] for e in settled_events(lab, after=mark, node="n2") if e["event"].startswith("Gate")]
    checks.that(f"{service} back: it serves, and the events tell of the wait", told[-1] == "GateOpened", str(told))
    checks.that(f"{service} back: it did not start anew", "stood_still" not in lab("logs", "n2").rsplit("gate_opened", 1)[1])


def given_up(checks, lab):
    """A client that waits for Redis at one node, goes, and comes to the other one, is not put out by what it gave up."""
    n1, n2 = lab.node("n1"), lab.node("n2")
    users = lab.users()
    clients = []
    for node in (n1, n2):
        for user in users:
            client = Client(node["address"], node["c2s_tls_port"], lab.domain, label=f"{user['jid']} at {node['name']}").wraps()
            client.opens().has_features()
            client.authenticates(user["jid"].split("@")[0], user["password"], "PLAIN").opens().has_features()
            clients.append(client)
    lab("stop", "redis")
    bind = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>same</resource></bind></iq>"
    first, second = clients[:len(users)], clients[len(users):]
    for client in first:
        client.sends_raw(bind)
    time.sleep(1)
    for client in first:
        client.drops()
    time.sleep(0.5)
    for client in second:
        client.sends_raw(bind)
    lab("start", "redis")
    for client in second:
        client.receives("<iq type='result' id='b'/>", timeout=20)
    time.sleep(2)
    alive = 0
    for client in second:
        try:
            client.asks("<ping xmlns='urn:xmpp:ping'/>", to=lab.domain)
            alive += 1
        except AssertionError as error:
            print(str(error)[:300])
    checks.that("a login that was given up while Redis was away puts nobody out", alive == len(second), f"{alive} of {len(second)}")
    for client in second:
        client.drops()


def whole_cluster(checks, lab):
    for name in ("n1", "n2"):
        lab("stop", name)
    lab("stop", "postgres")
    lab("stop", "redis")
    for name in ("n1", "n2"):
        lab("start", name, "--no-wait")
    n1 = lab.node("n1")
    lab.waits("answers", lambda: asked(n1, "/readyz")[0] == 503, 10)
    lab("start", "redis")
    lab("start", "postgres")
    took = waits_for(lab, 60, n1="normal", n2="normal")
    checks.that("a whole cluster that was there first serves when they are", True, f"{took:.0f} s")
    logs_in(lab, n1, lab.users("n1")[0])


with Checks() as all_checks, Lab("--nodes", "2", "--users", "4", "--password", "pencil") as up:
    one_node(all_checks, up, "postgres", "store")
    one_node(all_checks, up, "redis", "state-store")
    given_up(all_checks, up)
    whole_cluster(all_checks, up)
