#!/usr/bin/python3
"""Many clients vanish at the same moment and none comes back: their sessions end, some at a time, when the resume window is over,
and the node has time for the others meanwhile. Then the same with their node gone too."""
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))
sys.path.insert(0, str(TESTS / "bench"))
from measuring import CROWD, build_load  # noqa: E402
from support.checks import Checks, eventually  # noqa: E402
from support.ha import waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import Resilient  # noqa: E402

CLIENTS, WINDOW, PASSWORD = 400, 8, "pencil"


def crowd(lab):
    words = [str(CROWD), "--domain", lab.domain, "--password", PASSWORD, "--port", "5223", "--clients", str(CLIENTS)]
    for node in lab.status["nodes"]:
        words += ["--address", node["address"]]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def user(lab, number):
    one = next(u for u in lab.users() if u["jid"].startswith(f"user{number}@"))
    return one["jid"].split("@")[0], one["password"]


class Echo:
    """Two clients of one node, to each other and back: how long the slowest took."""

    def __init__(self, lab, node):
        self.one = Resilient([node], lab.domain, *user(lab, CLIENTS))
        self.two = Resilient([node], lab.domain, *user(lab, CLIENTS + 1))
        self.to = f"{self.two.name}@{lab.domain}"
        self.slowest, self.count, self.running = 0.0, 0, True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while self.running:
            self.count += 1
            sent = time.monotonic()
            self.one.send(f"<message to='{self.to}' type='chat'><body>{self.count}</body></message>")
            try:
                eventually(lambda: len(self.two.messages()) >= self.count, 10)
            except AssertionError:
                pass
            self.slowest = max(self.slowest, time.monotonic() - sent)
            time.sleep(0.1)

    def stop(self):
        self.running = False
        self.thread.join()
        self.one.stop()
        self.two.stop()


def story(checks, lab, what, people, lost):
    """`people`: who is sent something meanwhile; `lost`: the node that goes with its clients, or None."""
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    clients = crowd(lab)
    try:
        told = json.loads(clients.stdout.readline())
        name = lab.redis("--scan", "--pattern", "*:sessions")
        checks.that(f"{what}: {CLIENTS} sessions", told["failed"] == 0 and int(lab.redis("scard", name)) == CLIENTS, str(told))
    finally:
        clients.kill()
        clients.wait()
    vanished = time.monotonic()
    if lost:
        lab("kill", lost)
    echo = Echo(lab, at["n2"])
    for number in people:
        echo.one.send(f"<message to='user{number}@{lab.domain}' type='chat' id='{what}'><body>{what}</body></message>")
    left = lambda: int(lab.redis("scard", name)) - 2
    try:
        eventually(lambda: left() == 0, WINDOW + 30)
    except AssertionError:
        pass
    checks.that(f"{what}: all have ended", left() == 0, f"{left()} left after {time.monotonic() - vanished:.1f} s")
    echo.stop()
    checks.that(f"{what}: others chat meanwhile", echo.count > 20 and echo.slowest < 1.5, f"{echo.count}, the slowest {echo.slowest:.2f} s")
    for number in people:
        again = Resilient([at["n2"]], lab.domain, *user(lab, number))
        try:
            eventually(lambda: again.messages(), 10)
        except AssertionError:
            pass
        got = [m.get("id") for m in again.messages()]
        checks.that(f"{what}: user{number} finds what was sent meanwhile", got == [what], str(got))
        again.stop()
    found = lab.ctl("cluster", "verify")
    checks.that(f"{what}: Redis, the store and the nodes agree", found["clean"], str(found["findings"])[:500])


def main(checks, lab):
    story(checks, lab, "clients lost", (0, 1, 2), None)
    time.sleep(WINDOW + 3)
    story(checks, lab, "a node lost with them", (3, 4, 5), "n1")
    lab("start", "n1")
    waits_for(lab, 90, n1="normal", n2="normal")


with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(f"[cluster]\nresume_window = {WINDOW}\nfallback_delay = 5\n")
    file.flush()
    build_load()
    with Checks() as all_checks, Lab("--nodes", "2", "--users", str(CLIENTS + 2), "--password", PASSWORD, "--config", file.name) as up:
        main(all_checks, up)
