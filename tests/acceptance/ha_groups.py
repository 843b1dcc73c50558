#!/usr/bin/python3
"""Six nodes in three groups lose one node of each group at the same time: everybody is served."""
import concurrent.futures
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import ctl, settled_events, waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

LOST, LEFT = ("n1", "n4", "n5"), ("n2", "n3", "n6")


def bodies(client):
    return {m.findtext(CLIENT + "body") for m in client.messages()}


def main(checks, lab):
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    checks.that("three groups of two, all normal", [n["state"] for n in lab.json("status")["nodes"]] == ["normal"] * 6)
    told = [ctl(lab, "ha", "simulate", node) for node in at]  # any node answers for any other
    checks.that("each could fail over, says whoever is asked", [t["node"] for t in told] == list(at) and all(t["possible"] for t in told))
    # One client at each node, each with the rest of the cluster to go to; its account's home is that node.
    clients = {}
    for node in at:
        user = lab.users(node)[0]
        addresses = [at[node], *(at[other] for other in LEFT if other != node)]
        clients[node] = Resilient(addresses, lab.domain, user["jid"].split("@")[0], user["password"])
    with concurrent.futures.ThreadPoolExecutor() as pool:  # `lab` works one after the other; the nodes go together
        pids = [(n["pid"], n["supervisor_pid"]) for n in lab.json("status")["nodes"] if n["name"] in LOST]
        list(pool.map(lambda pair: [os.kill(pid, signal.SIGKILL) for pid in reversed(pair)], pids))
    took = waits_for(lab, 40, **dict.fromkeys(LOST, "unknown"), **dict.fromkeys(LEFT, "backup"))
    checks.that("the other node of each group runs in backup mode", True, f"{took:.0f} s")
    served = {n["name"]: sorted(n["serving"]) for n in lab.json("status")["nodes"] if n["name"] in LEFT}
    checks.that("every partition is served", sorted(p for all_of in served.values() for p in all_of) == sorted(at), str(served))
    for node in at:
        for other in at:
            clients[node].send(f"<message to='{clients[other].name}@{lab.domain}' type='chat' id='{node}{other}'>"
                               f"<body>{node} to {other}</body></message>")
    try:
        eventually(lambda: all(bodies(clients[o]) >= {f"{n} to {o}" for n in at} for o in at), 30)
    except AssertionError:
        pass
    missing = {o: sorted({f"{n} to {o}" for n in at} - bodies(clients[o])) for o in at}
    checks.that("everybody reaches everybody", not any(missing.values()), str(missing))
    checks.that("all resumed, none logged in anew", all(c.logins == 1 for c in clients.values()), str([c.logins for c in clients.values()]))
    for node in LOST:
        lab("start", node)
    took = waits_for(lab, 90, **dict.fromkeys(at, "normal"))
    checks.that("all six are normal by themselves", True, f"{took:.0f} s")
    taken = [(e["node"], e["fields"]["of"]) for e in settled_events(lab, "FailoverStarted")]
    checks.that("each was taken over once, by its own group", sorted(taken) == [("n2", "n1"), ("n3", "n4"), ("n6", "n5")], str(taken))
    for client in clients.values():
        client.stop()


with Checks() as all_checks, Lab("--nodes", "6", "--users", "12", "--password", "pencil") as up:
    main(all_checks, up)
