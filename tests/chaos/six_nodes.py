#!/usr/bin/python3
"""Six nodes in three groups carry a crowd of sessions; one node dies; everybody is back. Says how long it took and what memory
and CPU each part used.

  tests/chaos/six_nodes.py [--sessions 6000]

75,000 sessions are the aim; a machine of two cores carries the clients and all six nodes at once, so the default is smaller. The
clients are as many processes as their descriptors take."""
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
WINDOW = 120  # seconds that a session waits: twelve thousand handshakes of both sides take more than the thirty of a lab here
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


class Crowd:
    """All clients, spread evenly over processes and, in each, over the nodes."""

    def __init__(self, lab, number):
        each = descriptors() * 3 // 4  # who comes back needs a second one for a moment
        each -= each % NODES
        self.parts = []
        for first in range(0, number, each):
            words = [str(CROWD), "--domain", lab.domain, "--password", PASSWORD, "--port", "5223", "--patience", str(PATIENCE)]
            # An address of its own: with half of the ports of one in use, the kernel searches long for each further one.
            words += ["--source", f"127.254.0.{len(self.parts) + 1}", "--first", str(first), "--clients", str(min(each, number - first))]
            for node in lab.status["nodes"]:
                words += ["--address", node["address"]]
            self.parts.append(subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))

    def told(self):
        return [json.loads(part.stdout.readline()) for part in self.parts]

    def goes_on(self):
        for part in self.parts:
            part.stdin.write("\n")
            part.stdin.flush()

    def comes_back(self):
        """Counts of all, and the sorted seconds from the first broken stream to each that was back."""
        told = self.told()
        counts = {name: sum(t[name] for t in told) for name in ("broken", "resumed", "anew", "again")}
        began = min(t["first"] for t in told)
        return counts, sorted(t["first"] - began + seconds for t in told for seconds in t["back"])

    def ends(self):
        for part in self.parts:
            part.kill()
            part.wait()


def descriptors():
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def main(checks, lab, options):
    tell("before the logins, resident memory and CPU", parts(lab), options.sessions)
    crowd = Crowd(lab, options.sessions)
    try:
        told = crowd.told()
        failed = sum(t["failed"] for t in told)
        checks.that(f"{options.sessions} sessions at {NODES} nodes", failed == 0,
                    f"in {max(t['seconds'] for t in told):.1f} s, {failed} failed, {len(told)} client processes")
        crowd.goes_on()
        time.sleep(QUIET)
        checks.that("all are counted", sessions(lab) == options.sessions, str(sessions(lab)))
        tell("all are there", parts(lab), options.sessions)
        lab("kill", "n1")
        counts, back = crowd.comes_back()
        if back:
            print(f"{counts['broken']} streams broke: half back after {back[len(back) // 2]:.2f} s, 99 % after {back[len(back) * 99 // 100]:.2f} s, "
                  f"the last after {back[-1]:.2f} s", flush=True)
        checks.that("those of the dead node broke, nobody else's", counts["broken"] == options.sessions // NODES and not counts["again"],
                    str(counts))
        checks.that("everybody resumed", counts["resumed"] == counts["broken"] and counts["anew"] == 0, str(counts))
        checks.that("all are counted again", sessions(lab) == options.sessions, str(sessions(lab)))
        tell("after the loss", parts(lab), options.sessions)
        found = lab.ctl("cluster", "verify")
        wrong = found.get("findings", found.get("violations", found))
        checks.that("Redis, the store and the nodes agree", not wrong, str(wrong)[:500])
    finally:
        crowd.ends()


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--sessions", type=int, default=6000)
if __name__ == "__main__":
    options = parser.parse_args()
    carried = (NODES - 1) * (descriptors() - 1000)  # after the loss, with what a node has open besides
    if options.sessions > carried:
        print(f"a node process may have {descriptors()} descriptors here (ulimit -Hn)")
        options.sessions = carried
    options.sessions -= options.sessions % NODES
    build_load()
    with Checks() as checks, tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(f"[cluster]\nresume_window = {WINDOW}\n[c2s]\nmax_connections = {options.sessions}\n")
        config.flush()
        with Lab("--nodes", str(NODES), "--users", str(options.sessions), "--password", PASSWORD, "--config", config.name) as lab:
            main(checks, lab, options)
