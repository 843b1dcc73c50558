#!/usr/bin/python3
"""A pair and a node alone, cut from Redis, from PostgreSQL, from each other, from everything: who serves then, and that it
is never two. Also high availability off and on."""
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import ctl, events, last_event, seen_by, settled_events, states, waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import Resilient  # noqa: E402

CONFIG = """
[cluster]
fallback_delay = 5
automatic_moves_per_hour = 1000
"""
WELL = {"n1": "normal", "n2": "normal", "n3": "standalone"}


def user(lab, number):
    one = lab.users()[number]
    return one["jid"].split("@")[0], one["password"]


def path(lab, node, mark):
    return [e["fields"]["to"] for e in settled_events(lab, "HaStateChanged", mark, node)]


def redis_cut_from_one(checks, lab):
    mark = last_event(lab)
    lab("cut", "n1", "--from", "redis")
    try:
        waits_for(lab, 20, n2="backup")
    finally:
        lab("heal")
    taken = settled_events(lab, "FailoverStarted", mark, "n2")
    checks.that("Redis cut from one: its peer takes over because it was asked to",
                [e["fields"]["reason"] for e in taken] == ["state-store-lost"], str(taken))
    waits_for(lab, 60, **WELL)
    checks.that("Redis cut from one: handed over in order, then its own again",
                path(lab, "n1", mark)[:2] == ["failing-over", "failed-over"]
                and path(lab, "n1", mark)[-2:] == ["taking-back", "normal"], str(path(lab, "n1", mark)))


def store_cut_from_one(checks, lab):
    mark = last_event(lab)
    lab("cut", "n1", "--from", "postgres")
    try:
        waits_for(lab, 40, n1="failed-over-down", n2="backup")
    finally:
        lab("heal")
    checks.that("store cut from one: its peer, which has it, takes over", True,
                settled_events(lab, "FailoverStarted", mark, "n2")[0]["fields"]["reason"])
    waits_for(lab, 60, **WELL)
    checks.that("store cut from one: it waits until the store is back, then falls back",
                path(lab, "n1", mark)[-3:] == ["failed-over", "taking-back", "normal"], str(path(lab, "n1", mark)))


def isolated(checks, lab):
    mark = last_event(lab)
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    client = Resilient([at["n1"], at["n2"]], lab.domain, *user(lab, 0))
    lab("cut", "n1", "--from", "cluster")
    try:
        eventually(lambda: seen_by(lab, "n2")["n2"] == "backup", 40, 0.5)
        checks.that("isolated: fenced", seen_by(lab, "n1")["n1"] == "fenced", str(seen_by(lab, "n1")))
        eventually(lambda: client.address == at["n2"], 20)
    finally:
        lab("heal")
    waits_for(lab, 60, **WELL)
    told = [c.tag.split("}")[1] for _, e in list(client.arrived) if e.tag.endswith("}error") for c in e]
    checks.that("isolated: its clients are told, and resume at the peer", "system-shutdown" in told and client.logins == 1, str(told))
    client.stop()
    fenced = settled_events(lab, "NodeFenced", mark, "n1")
    started = settled_events(lab, "FailoverStarted", mark, "n2")
    checks.that("isolated: fenced before the peer serves",
                fenced and started and fenced[0]["at"] <= started[0]["at"],
                f"{[e['at'] for e in fenced]}, {[e['at'] for e in started]}")
    checks.that("isolated: it comes back as failed-over", "failed-over" in path(lab, "n1", mark), str(path(lab, "n1", mark)))


def redis_down(checks, lab):
    mark = last_event(lab)
    lab("stop", "redis")
    try:
        eventually(lambda: {e["node"] for e in events(lab, "StateStoreDown", mark) if e["fields"]["frozen"]} >= {"n1", "n2"}, 30, 0.5)
        time.sleep(7)  # longer than any lease
    finally:
        lab("start", "redis")
    eventually(lambda: {e["node"] for e in events(lab, "StateStoreUp", mark)} >= {"n1", "n2", "n3"}, 40, 0.5)
    start, seen = time.monotonic(), set()
    while time.monotonic() - start < 8:
        seen.add(tuple(sorted(states(lab).items())))
        time.sleep(0.5)
    checks.that("Redis down for all: roles stay, then and afterwards", seen == {tuple(sorted(WELL.items()))}, str(seen))
    moved = [e for e in settled_events(lab, after=mark) if e["event"] in ("HaStateChanged", "FailoverStarted", "NodeFenced")]
    checks.that("Redis down for all: nothing moved", not moved, str(moved))


def alone(checks, lab):
    mark = last_event(lab)
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    client = Resilient([at["n3"]], lab.domain, *user(lab, 1))
    lab("cut", "n3", "--from", "redis", "--from", "nodes")
    try:
        eventually(lambda: events(lab, "StateStoreDown", mark, "n3"), 20, 0.5)
        time.sleep(7)
    finally:
        lab("heal")
    eventually(lambda: events(lab, "StateStoreUp", mark, "n3"), 40, 0.5)
    checks.that("a node alone goes on", not path(lab, "n3", mark) and not client.outages, f"{path(lab, 'n3', mark)}, {client.outages}")
    client.stop()


def off_and_on(checks, lab):
    ctl(lab, "ha", "failover", "n1")
    waits_for(lab, n1="idle", n2="backup")
    lab.refuses("ctl", "ha", "disable", status=1)
    lab.refuses("ctl", "ha", "recover", "g9", status=1)
    ctl(lab, "ha", "fallback", "n1")
    waits_for(lab, n1="normal", n2="normal")
    ctl(lab, "ha", "disable")
    waits_for(lab, 20, n1="standalone", n2="standalone")
    lab("kill", "n1")
    lab("start", "n1")
    checks.that("high availability off: nobody is taken over, restarts keep it", states(lab)["n1"] == states(lab)["n2"] == "standalone",
                str(states(lab)))
    lab("kill", "n2")
    lab.refuses("ctl", "ha", "enable", status=1)
    lab("start", "n2")
    eventually(lambda: link_up(lab), 20, 0.5)
    ctl(lab, "ha", "enable")
    waits_for(lab, 20, **WELL)
    checks.that("high availability on: only when both could carry a failure", True)


def link_up(lab):
    nodes = ctl(lab, "topology")["groups"][0]["nodes"]
    return all(link["up"] for n in nodes for peer, link in n["links"].items() if peer != "n3")


def drained(checks, lab):
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    client = Resilient([at["n1"], at["n2"]], lab.domain, *user(lab, 2))
    told = ctl(lab, "node", "drain", "n1")
    eventually(lambda: client.address == at["n2"], 20)
    node = ctl(lab, "topology")["groups"][0]["nodes"][0]
    checks.that("drain: clients are at the other node, the partition stays",
                told["clients"] == 0 and client.logins == 1 and node["draining"] and node["state"] == "normal", f"{told}, {node}")
    ctl(lab, "node", "return", "n1")
    other = Resilient([at["n1"]], lab.domain, *user(lab, 3))
    checks.that("return: clients come in again", other.logins == 1)
    client.stop()
    other.stop()


with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as all_checks, Lab("--nodes", "3", "--users", "6", "--password", "pencil", "--config", file.name) as up:
        steps = [off_and_on, drained]
        if os.geteuid() == 0:
            steps = [redis_cut_from_one, store_cut_from_one, isolated, redis_down, alone] + steps
        else:
            print("SKIPPED no right to use iptables")
        for step in steps:
            if len(sys.argv) < 2 or step.__name__ in sys.argv[1:]:
                step(all_checks, up)
