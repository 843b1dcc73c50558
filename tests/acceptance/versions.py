#!/usr/bin/python3
"""A node that cannot read what the others write gets no lease and says why; when they are gone, it comes in
(docs/delivery.md, "Versions"). How two builds get along: tests/interop/mixed_versions.py."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import last_event, nodes, settled_events, states, waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402


def story(checks, lab):
    prefix = next(key for key in lab.redis("keys", "*").split() if key.endswith("}:gen")).removesuffix("gen")
    told = {name: n["protocol"] for name, n in nodes(lab).items()}
    written = int(lab.redis("get", prefix + "protocol"))
    checks.that("both nodes write the same form, which both can read",
                all(t["written"] == written and t["min"] <= written <= t["max"] for t in told.values()), str(told))
    newest = told["n1"]["max"]
    mark = last_event(lab)
    for name in ("n1", "n2"):
        lab("stop", name)
    # In place of n2: a node of a time to come, and what it writes.
    lab.redis("set", prefix + "lease:n2", "999", "PX", 120000)
    lab.redis("hset", prefix + "protocols", "n2", f"999 {newest + 6} {newest + 8}")
    lab.redis("set", prefix + "protocol", newest + 6)
    lab("start", "n1", "--no-wait")
    mismatch = lambda: nodes(lab)["n1"]["reason"] == "version-mismatch"
    lab.waits("version-mismatch", mismatch, 20)
    time.sleep(6)
    seen = nodes(lab)["n1"]
    checks.that("a node that cannot read it stays initializing, version-mismatch",
                (seen["state"], seen["reason"]) == ("initializing", "version-mismatch"), str((seen["state"], seen["reason"])))
    checks.that("its gate says so", "version-mismatch" in seen["gate"], seen["gate"])
    checks.that("it holds no lease", lab.redis("exists", prefix + "lease:n1") == "0")
    kinds = {(e["event"], e["fields"].get("reason")) for e in settled_events(lab, after=mark) if e["node"] == "n1"}
    checks.that("it is told by events", {("GateWaiting", "version-mismatch"), ("HaStateChanged", "version-mismatch")} <= kinds,
                str(kinds))
    lab.redis("del", prefix + "lease:n2")
    took = waits_for(lab, 60, n1="backup")
    checks.that("when the others are gone, it serves", int(lab.redis("get", prefix + "protocol")) <= newest, f"{took:.0f} s")
    lab("start", "n2")
    eventually(lambda: states(lab)["n2"] in ("failed-over", "normal"), 30)
    checks.that("a node of its own version joins", True)


with Checks() as all_checks, Lab("--nodes", "2", "--users", "2", "--password", "pencil") as up:
    story(all_checks, up)
