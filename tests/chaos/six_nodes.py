#!/usr/bin/python3
"""Six nodes in three groups carry a crowd of sessions; one node dies; everybody is back. Says how long it took and what memory
and CPU each part used.

  tests/chaos/six_nodes.py [--sessions 6000]

75,000 sessions are the aim; a machine of two cores and 24 GiB carries the crowd, its clients and all six nodes at once, so
the default is smaller."""
import argparse
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))
sys.path.insert(0, str(REPOSITORY / "tests" / "bench"))
from measuring import CROWD, build_load, usage  # noqa: E402
from support.checks import Checks  # noqa: E402
from support.lab import Lab  # noqa: E402

NODES, PASSWORD = 6, "pencil"
QUIET = 40  # seconds that idle sessions get to give back what they do not need
PATIENCE = 300  # seconds until all must be back


def parts(lab):
    status = lab.json("status")
    out = {n["name"]: n["pid"] for n in status["nodes"] if n["pid"]}
    return out | {s["name"]: s["pid"] for s in status["services"] if s["pid"] and s["name"] in ("redis", "postgres")}


def sessions(lab):
    return sum(n["sessions"] for n in lab.json("status")["nodes"])


def tell(title, pids, count):
    used = {name: usage([pid]) for name, pid in pids.items()}
    print(f"{title}: " + ", ".join(f"{name} {memory // 1024} MiB {cpu:.0f} s" for name, (cpu, memory) in used.items()), flush=True)
    nodes = sum(memory for name, (_, memory) in used.items() if name.startswith("n"))
    print(f"  {nodes / count:.0f} KiB of node memory and {sum(m for _, m in used.values()) / count:.0f} KiB in all a session", flush=True)


def main(checks, lab, options):
    tell("before the logins, resident memory and CPU", parts(lab), options.sessions)
    words = [str(CROWD), "--domain", lab.domain, "--password", PASSWORD, "--clients", str(options.sessions), "--port", "5223"]
    for node in lab.status["nodes"]:
        words += ["--address", node["address"]]
    words += ["--patience", str(PATIENCE)]
    crowd = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        told = json.loads(crowd.stdout.readline())
        checks.that(f"{options.sessions} sessions at {NODES} nodes", told["failed"] == 0, f"in {told['seconds']:.1f} s, {told['failed']} failed")
        crowd.stdin.write("\n")
        crowd.stdin.flush()
        time.sleep(QUIET)
        checks.that("all are counted", sessions(lab) == options.sessions, str(sessions(lab)))
        tell("all are there", parts(lab), options.sessions)
        lab("kill", "n1")
        told = json.loads(crowd.stdout.readline())
        print(f"{told['broken']} streams broke: half back after {told['p50']:.2f} s, 99 % after {told['p99']:.2f} s, the last after "
              f"{told['last']:.2f} s", flush=True)
        checks.that("those of the dead node broke, nobody else's", told["broken"] == options.sessions // NODES and not told["again"],
                    f"{told['broken']} broke, {told['again']} twice")
        checks.that("everybody resumed", told["resumed"] == told["broken"] and told["anew"] == 0, str(told))
        checks.that("all are counted again", sessions(lab) == options.sessions, str(sessions(lab)))
        tell("after the loss", parts(lab), options.sessions)
        found = lab.ctl("cluster", "verify")
        wrong = found.get("findings", found.get("violations", found))
        checks.that("Redis, the store and the nodes agree", not wrong, str(wrong)[:500])
    finally:
        crowd.kill()
        crowd.wait()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--sessions", type=int, default=6000)
if __name__ == "__main__":
    options = parser.parse_args()
    # One process holds all clients.
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if options.sessions > descriptors * 3 // 4:  # who comes back needs a second one for a moment
        print(f"a process may have {descriptors} descriptors here (ulimit -Hn)")
        options.sessions = descriptors * 3 // 4
    options.sessions -= options.sessions % NODES
    build_load()
    with Checks() as checks, tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(f"[c2s]\nmax_connections = {options.sessions}\n")
        config.flush()
        with Lab("--nodes", str(NODES), "--users", str(options.sessions), "--password", PASSWORD, "--config", config.name) as lab:
            main(checks, lab, options)
