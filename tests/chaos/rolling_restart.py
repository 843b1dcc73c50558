#!/usr/bin/python3
"""Two groups, each node stopped in order and started again, one after the other, under load: every client moves at most once
for each stop, by resumption alone, and nothing is lost, doubled or out of order.

  tests/chaos/rolling_restart.py [--clients N] [--rate N]"""
import argparse
import asyncio
import collections
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from counting import report  # noqa: E402
from faults import WELL  # noqa: E402
from support.checks import Checks  # noqa: E402
from support.ha import states  # noqa: E402
from support.lab import Lab  # noqa: E402
from world import World, keeps_logs, log  # noqa: E402

CONFIG = """
[cluster]
fallback_delay = 5
automatic_moves_per_hour = 100000
"""


async def restart(checks, world, name):
    lab, records = world.lab, world.records
    before = len(records.outages)
    carried = {c.device for c in world.clients if c.address == addresses(lab)[name]}
    log(f"stop {name}, which carries {len(carried)} clients")
    begun = time.time()
    spell = [begun, float("inf"), f"restart of {name}"]
    records.faults.append(spell)
    await asyncio.to_thread(lab, "stop", name)
    await asyncio.sleep(2)
    await asyncio.to_thread(lab, "start", name)
    while not (set((await asyncio.to_thread(states, lab)).values()) <= WELL and world.all_well()):
        if time.time() - begun > 90:
            checks.that(f"{name}: all normal within 90 s", False, str(states(lab)))
            break
        await asyncio.sleep(0.5)
    spell[1] = time.time()
    moves = collections.Counter(o.device for o in records.outages[before:])
    outages = sorted(o.back - o.broke for o in records.outages[before:])
    checks.that(f"{name}: each client moved at most once", all(count == 1 for count in moves.values()),
                str({d: n for d, n in moves.items() if n > 1}))
    checks.that(f"{name}: only who was there moved, and all of them", set(moves) == carried,
                f"not moved {sorted(carried - set(moves))[:5]}, moved from elsewhere {sorted(set(moves) - carried)[:5]}")
    if outages:
        log(f"{len(outages)} moved, median {outages[len(outages) // 2]:.2f} s, longest {outages[-1]:.2f} s; all normal after "
            f"{time.time() - begun:.0f} s")


def addresses(lab):
    return {n["name"]: n["address"] for n in lab.status["nodes"]}


async def run(checks, lab, options):
    world = World(lab, 1, options.clients, part_time=0, rate=options.rate)
    await world.begins()
    world.talks()
    await asyncio.sleep(3)
    for name in addresses(lab):
        await restart(checks, world, name)
        await asyncio.sleep(2)
    checks.that("everything is acknowledged in the end", await world.settles(0), "")
    again = [c.device for c in world.clients if c.logins != 1]
    checks.that("nobody logged in anew", not again, f"{len(again)}: {again[:5]}")
    await world.collects()
    await world.ends()
    log(f"{len(world.records.sent)} messages, {len(world.records.received)} receipts, {sum(c.resumed for c in world.clients)} resumptions")
    return world.records


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--clients", type=int, default=100)
parser.add_argument("--rate", type=float, default=60, help="messages a second")
options = parser.parse_args()
with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as checks, Lab("--nodes", "4", "--users", str(options.clients), "--password", "pencil", "--config", file.name) as lab:
        try:
            report(checks, asyncio.run(run(checks, lab, options)))
        finally:
            if checks.failed or sys.exc_info()[0]:
                print(f"logs: {keeps_logs(lab, 'rolling-restart')}", flush=True)
