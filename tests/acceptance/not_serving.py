#!/usr/bin/python3
"""A node that lives and serves no clients is found by its peer, which logs in to it as a client does, and gives its users away by
itself (docs/redundancy-groups.md, "The canary"); mended, it gets them back, and not before."""
import os
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import last_event, nodes, settled_events, waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import Resilient  # noqa: E402

# So short that it would fall back before it could be found a second time.
CONFIG = """
[cluster]
fallback_delay = 3
automatic_moves_per_hour = 100
"""


def story(checks, lab):
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    split = lambda user: (user["jid"].split("@")[0], user["password"])
    here, there = lab.users()[1:3]
    one = Resilient([at["n1"], at["n2"]], lab.domain, *split(here))
    two = Resilient([at["n2"], at["n1"]], lab.domain, *split(there))
    # A way that was never open is not judged: it may be a firewall's.
    lab.waits("the peer has got in", lambda: nodes(lab)["n1"]["service"] == "serves", 20)
    mark, epoch = last_event(lab), lab.node("n1")["epoch"]
    start = time.monotonic()
    lab("cut", "n1", "--from", "client-ports")
    try:
        lives = lab.node("n1")
        two.send(f"<message to='{here['jid']}' type='chat' id='x'><body>x</body></message>")
        took = waits_for(lab, 40, n1="failed-over-down", n2="backup")
        checks.that("the peer serves both", took < 30, f"after {time.monotonic() - start:.0f} s")
        moved = [e for e in settled_events(lab, "HaStateChanged", after=mark)]
        first = next(e["fields"] for e in moved if e["node"] == "n1")
        checks.that("the node itself gave its users away (T7)",
                    (first["to"], first["transition"], first["reason"]) == ("failing-over", "T7", "critical-service-down"),
                    str([(e["node"], e["fields"]["to"], e["fields"].get("transition")) for e in moved]))
        said = settled_events(lab, "NotServing", after=mark)
        checks.that("its peer said so", [e["node"] for e in said] == ["n2"] and said[0]["fields"]["peer"] == "n1"
                    and said[0]["fields"]["failing_ms"] >= 5000, str([e["fields"] for e in said]))
        seen = nodes(lab)["n1"]
        checks.that("topology names the problem", seen["problems"] == ["client-service"], str(seen["problems"]))
        after = lab.node("n1")
        checks.that("the process lives, its partition has one owner under a new epoch",
                    after["pid"] == lives["pid"] and after["epoch"] == epoch + 1
                    and nodes(lab)["n2"]["serving"] == ["n1", "n2"], f"epoch {epoch} -> {after['epoch']}")
        if one.address == at["n1"]:
            one.client.ended = True  # as a client does that hears nothing for a while
        lab.waits("resumed at n2", lambda: one.address == at["n2"] and one.acked >= one.sent_count, 30)
        eventually(lambda: [m.get("id") for m in one.messages()] == ["x"], 10)
        checks.that("its clients resume at the peer", one.resumed >= 1 and one.logins == 1)
        time.sleep(max(0, start + 48 - time.monotonic()))  # longer than it is closed, and healthy, and would fall back
        seen = nodes(lab)
        checks.that("it does not fall back before its peer gets in",
                    seen["n1"]["state"] in ("failed-over", "failed-over-down") and seen["n1"]["epoch"] == epoch + 1,
                    f"{seen['n1']['state']}, epoch {seen['n1']['epoch']}")
    finally:
        lab("heal")
    took = waits_for(lab, 60, n1="normal", n2="normal")
    checks.that("mended, it falls back by itself", True, f"{took:.0f} s")
    lab.waits("n1 serves", lambda: nodes(lab)["n1"]["service"] == "serves", 10)
    told = [e["event"] for e in settled_events(lab, after=mark, node="n2") if e["event"] in ("NotServing", "Serving")]
    checks.that("and its peer says so", told[0] == "NotServing" and told[-1] == "Serving", str(told))
    for client in (one, two):
        client.stop()


with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as all_checks:
        if os.geteuid() != 0:
            print("SKIPPED no right to use iptables")
        else:
            with Lab("--nodes", "2", "--users", "8", "--password", "pencil", "--config", file.name) as up:
                story(all_checks, up)
