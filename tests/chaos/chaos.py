#!/usr/bin/python3
"""Chaos: clients with XEP-0198 talk over a cluster while one thing after the other breaks and is mended, drawn by a seed;
then everything is counted. What was acknowledged is there, once, in order; nobody was seen going who did not go.

  tests/chaos/chaos.py [--seconds N] [--seed S] [--clients N] [--nodes N] [--rate N] [--only FAULT …]
  tests/chaos/chaos.py --self-test     without faults; then each counter must notice a fault planted in the records"""
import argparse
import asyncio
import copy
import pathlib
import random
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from counting import NAMES, Error, Seen, count, report  # noqa: E402
from faults import Faults  # noqa: E402
from support.checks import Checks  # noqa: E402
from support.lab import Lab  # noqa: E402
from world import World, keeps_logs, log  # noqa: E402

WINDOW = 30  # the lab's resume window
CONFIG = """
[cluster]
fallback_delay = 5
automatic_moves_per_hour = 100000
"""


async def break_things(checks, world, options):
    faults = Faults(world.lab, random.Random(f"faults {options.seed}"))
    if options.only:
        faults.kinds = [k for k in faults.kinds if k.__name__ in options.only]
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        what, does = faults.next()
        log(what)
        begun = time.time()
        spell = [begun, float("inf"), what]
        world.records.faults.append(spell)
        try:
            await asyncio.to_thread(does)
        except Exception as error:
            checks.that(f"{what}: can be mended", False, str(error))
            return
        mended = time.monotonic()
        await asyncio.sleep(2)
        while True:
            well = await asyncio.to_thread(faults.well) and world.all_well()
            if well or time.monotonic() - mended > 90:
                break
            await asyncio.sleep(0.5)
        spell[1] = time.time()
        log(f"  well again {time.monotonic() - mended:.1f} s after it was mended, {time.time() - begun:.1f} s in all")
        if not well:
            states = await asyncio.to_thread(world.lab.json, "status")
            stuck = [(c.device, c.address, c.online, len(c.unacked)) for c in world.clients if c.wanted
                     and (not c.online or c.unacked)]
            checks.that(f"{what}: well again within 90 s", False, f"{[(n['name'], n['state']) for n in states['nodes']]}, {stuck[:5]}")
            return
        await asyncio.sleep(2)


async def run(checks, lab, options):
    world = World(lab, options.seed, options.clients, rate=options.rate)
    await world.begins()
    log(f"{len(world.clients)} clients of {len(world.users)} accounts, {len(world.records.occupants)} rooms")
    world.talks()
    if options.self_test:
        await asyncio.sleep(8)
    else:
        world.comes_and_goes()
        await asyncio.sleep(3)
        await break_things(checks, world, options)
    checks.that("everything is acknowledged in the end", await world.settles(WINDOW),
                str([(c.device, len(c.unacked), c.online) for c in world.clients if c.unacked or not c.online][:5]))
    verified = lab.ctl("cluster", "verify")
    checks.that("Redis, the store and the nodes agree", verified["clean"], str(verified["findings"][:5]))
    await world.collects()
    await world.ends()
    tell(world)
    return world.records


def tell(world):
    records = world.records
    outages = sorted(((o.back - o.broke, o) for o in records.outages if o.device not in records.vanishing), key=lambda o: o[0])
    log(f"{len(records.sent)} messages, {sum(1 for s in records.sent.values() if s.acked)} acknowledged, {len(records.received)} receipts, "
        f"{len(records.seen)} presences, {sum(c.resumed for c in world.clients)} resumptions, {sum(c.logins for c in world.clients)} logins")
    if outages:
        long, which = outages[-1]
        during = [what for begun, ended, what in records.faults if begun <= which.at and which.at - long <= ended]
        log(f"outages: median {outages[len(outages) // 2][0]:.2f} s, longest {long:.2f} s of {which.device}, {during}")


# --- each counter must be able to fail

def plant(records, name):
    """A fault in the records that the counter of this name must notice."""
    sent = lambda kind: next(s for s in records.sent.values() if s.acked and s.kind == kind)
    chat, room = sent("chat"), sent("groupchat")
    drop = lambda record, keep=lambda r: False: records.received.__setitem__(
        slice(None), [r for r in records.received if r.id != record.id or keep(r)])
    watcher = next(s for s in records.seen if s.of in records.sessions and s.session in records.held and s.of in records.held)
    occupant = next(s for s in records.seen if "/" in s.of and s.of.split("/")[0] in records.occupants)
    if name == "lost":
        drop(chat)
        records.archives[chat.to] = [a for a in records.archives[chat.to] if a[1] != chat.id]
    elif name in ("not_delivered", "not_at_device"):
        drop(chat)
    elif name == "not_archived":
        records.archives[chat.account] = [a for a in records.archives[chat.account] if a[1] != chat.id]
    elif name == "doubled":
        records.received.append(copy.copy(next(r for r in records.received if r.id == chat.id)))
    elif name == "disordered":
        swap_two(records)
    elif name == "bounced":
        records.errors.append(Error(chat.id, chat.device, time.time(), "planted"))
    elif name == "room_missing":
        device = next(iter(records.occupants[room.to]))
        drop(room, lambda r: r.device != device)
    elif name == "room_lost":
        records.seen.append(Seen(occupant.session, occupant.of, "unavailable", "", [], time.time()))
    elif name == "sessions_lost":
        session = next(iter(records.sessions.values()))
        session.end, session.left = "lost", time.time()
    elif name == "flaps":
        records.seen.append(Seen(watcher.session, watcher.of, "unavailable", "", [], watcher.at))
    elif name == "wrong_presence":
        records.seen.append(Seen(watcher.session, watcher.of, "available", "planted", [], time.time()))
    elif name == "ghosts":
        records.listed.append(("nobody@example.test/ghost", "n1", "detached"))
    elif name == "unlisted":
        records.listed.pop()
    elif name == "strange":
        records.strange.append("planted")
    elif name == "archive_doubled":
        records.archives[chat.to].append(next(a for a in records.archives[chat.to] if a[1] == chat.id))


def swap_two(records):
    """Two messages of one sender to one device change their places."""
    first = {}
    for at, receipt in enumerate(records.received):
        sent = records.sent[receipt.id]
        key = sent.device, sent.to, receipt.session, receipt.via
        if key in first:
            other = first[key]
            records.received[at], records.received[other] = records.received[other], records.received[at]
            return
        first[key] = at
    raise AssertionError("nobody got two messages")


def plant_all(checks, records):
    for name in NAMES:
        planted = copy.deepcopy(records)
        plant(planted, name)
        found = count(planted)[name]
        checks.that(f"a planted fault is noticed: {NAMES[name]}", len(found) > 0, f"{len(found)}: {found[0] if found else ''}")


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--seconds", type=int, default=120, help="for how long faults begin")
parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
parser.add_argument("--clients", type=int, default=120)
parser.add_argument("--nodes", type=int, default=4, choices=range(2, 7))
parser.add_argument("--rate", type=float, default=60, help="messages a second")
parser.add_argument("--only", action="append", help="faults of this name")
parser.add_argument("--self-test", action="store_true")
options = parser.parse_args()
if options.self_test:
    options.nodes, options.clients = 2, 20
log(f"seed {options.seed}")
with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as checks, Lab("--nodes", str(options.nodes), "--users", str(options.clients), "--password", "pencil",
                                 "--config", file.name) as lab:
        records = None
        try:
            records = asyncio.run(run(checks, lab, options))
            report(checks, records)
            if options.self_test:
                plant_all(checks, records)
        finally:
            if checks.failed or sys.exc_info()[0]:
                print(f"seed {options.seed}; logs: {keeps_logs(lab, f'seed-{options.seed}', records)}", flush=True)
