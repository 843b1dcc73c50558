#!/usr/bin/python3
"""A node whose protocol thread is busy for longer than its lease keeps the lease, its partition and its clients; one that stays
so is taken over (docs/redundancy-groups.md, "A node that is busy").

Needs a build with fail points: the preset dev. The timers are those of a LAN: lease 10 s, a service may be down for 15 s."""
import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("HEXAD_LAB_PRESET", "dev")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import last_event, seen_by, settled_events, waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import Resilient  # noqa: E402

CONFIG = '[cluster]\nprofile = "lan"\nfallback_delay = 3\nautomatic_moves_per_hour = 100\n'
LEASE, PATIENCE = 10, 15


def keeps_busy(lab, node, seconds):
    folder = lab.folder / "nodes" / node / "fail-points"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    (folder / "turn").write_text(f"BUSY {seconds * 1000}")
    eventually(lambda: not (folder / "turn").exists(), 5)


def bodies(client):
    return [m.get("id") for m in client.messages()]


def story(checks, lab):
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    split = lambda user: (user["jid"].split("@")[0], user["password"])
    here, there = lab.users("n1")[0], lab.users("n2")[0]
    one = Resilient([at["n1"], at["n2"]], lab.domain, *split(here))
    two = Resilient([at["n2"], at["n1"]], lab.domain, *split(there))
    say = lambda name: two.send(f"<message to='{here['jid']}' type='chat' id='{name}'><body>{name}</body></message>")

    mark = last_event(lab)
    keeps_busy(lab, "n1", LEASE + 2)
    say("while busy")
    # The other node looks at Redis, not at a clock: it would act as soon as the lease were gone.
    seen = set()
    for _ in range(LEASE + 4):
        seen.add(tuple(sorted(seen_by(lab, "n2").items())))
        time.sleep(1)
    eventually(lambda: bodies(one) == ["while busy"], 10)
    told = [(e["node"], e["event"], e["fields"]) for e in settled_events(lab, after=mark)]
    checks.that("busy for longer than its lease: nobody takes it over",
                not [t for t in told if t[1] in ("HaStateChanged", "NodeFenced", "StateStoreDown", "StoreDown")]
                and seen == {(("n1", "normal"), ("n2", "normal"))}, f"{told}, {seen}")
    checks.that("its client has the same stream, and what was sent meanwhile",
                (one.resumed, one.logins, one.address) == (0, 1, at["n1"]) and bodies(one) == ["while busy"],
                f"resumed {one.resumed}, {bodies(one)}")

    keeps_busy(lab, "n1", PATIENCE + LEASE + 20)
    start = time.monotonic()
    one.client.ended = True  # as a client does that hears nothing for a while
    one.addresses.reverse()
    eventually(lambda: seen_by(lab, "n2")["n2"] == "backup", PATIENCE + LEASE + 15)
    took = time.monotonic() - start
    checks.that("busy for good: its peer takes it over", LEASE < took < PATIENCE + LEASE + 10, f"after {took:.0f} s")
    lab.waits("resumed at n2", lambda: one.address == at["n2"] and one.acked >= one.sent_count, 30)
    say("taken over")
    eventually(lambda: bodies(one) == ["while busy", "taken over"], 10)
    checks.that("its client goes on there", one.logins == 1 and bodies(one) == ["while busy", "taken over"], str(bodies(one)))
    waits_for(lab, 90, n1="normal", n2="normal")
    checks.that("it fences itself when it goes on, and comes back",
                any(e["node"] == "n1" for e in settled_events(lab, "NodeFenced", after=mark)))
    for client in (one, two):
        client.stop()
    checks.that("Redis, the store and the nodes agree", lab.ctl("cluster", "verify")["clean"])


with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as all_checks, Lab("--nodes", "2", "--users", "20", "--password", "pencil", "--config", file.name) as a_lab:
        story(all_checks, a_lab)
