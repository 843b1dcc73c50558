"""Faults of a cluster, one at a time: each breaks something, waits, mends it."""
import shutil
import socket
import time

from support.ha import states

WELL = {"normal", "standalone"}


class Faults:
    """Faults in an order that the seed draws; every kind once before any comes again."""

    def __init__(self, lab, draw):
        self.lab, self.draw = lab, draw
        self.names = [n["name"] for n in lab.status["nodes"]]
        self.kinds = [self.node_killed, self.machine_killed, self.node_paused, self.node_stopped, self.redis_stopped,
                      self.redis_killed, self.redis_flushed, self.postgres_stopped, self.nodes_cut, self.redis_cut,
                      self.postgres_cut, self.node_isolated]
        self.left = []

    def next(self):
        """(what, the function that does it)."""
        if not self.left:
            self.left = self.kinds[:]
            self.draw.shuffle(self.left)
        kind = self.left.pop()
        node, other = self.draw.sample(self.names, 2)
        away = round(self.draw.uniform(2, 10), 1)
        words = {"nodes_cut": f"{node} from {other}", "redis_stopped": "", "redis_killed": "", "redis_flushed": "",
                 "postgres_stopped": ""}.get(kind.__name__, node)
        return f"{kind.__name__} {words} {away} s".replace("  ", " "), lambda: kind(node, other, away)

    def well(self):
        return set(states(self.lab).values()) <= WELL

    def _around(self, begin, seconds, end):
        self.lab(*begin)
        try:
            time.sleep(seconds)
        finally:
            self.lab(*end)

    def node_killed(self, node, other, seconds):
        self._around(("kill", node), seconds, ("start", node))

    def machine_killed(self, node, other, seconds):
        self._around(("kill", "--machine", node), seconds, ("start", node))

    def node_paused(self, node, other, seconds):
        self._around(("pause", node), seconds, ("resume", node))

    def node_stopped(self, node, other, seconds):
        self._around(("stop", node), seconds, ("start", node))

    def redis_stopped(self, node, other, seconds):
        self._around(("stop", "redis"), seconds, ("start", "redis"))

    def redis_killed(self, node, other, seconds):
        """It comes back empty."""
        self.lab("kill", "redis")
        try:
            time.sleep(seconds)
            for path in (self.lab.folder / "redis").iterdir():
                if path.name != "redis.conf":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        finally:
            self.lab("start", "redis")

    def redis_flushed(self, node, other, seconds):
        redis = next(s for s in self.lab.status["services"] if s["name"] == "redis")
        with socket.create_connection((redis["address"], redis["port"]), 5) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            connection.recv(1024)

    def postgres_stopped(self, node, other, seconds):
        self._around(("stop", "postgres"), seconds, ("start", "postgres"))

    def nodes_cut(self, node, other, seconds):
        self._around(("cut", node, "--from", other), seconds, ("heal",))

    def redis_cut(self, node, other, seconds):
        self._around(("cut", node, "--from", "redis"), seconds, ("heal",))

    def postgres_cut(self, node, other, seconds):
        self._around(("cut", node, "--from", "postgres"), seconds, ("heal",))

    def node_isolated(self, node, other, seconds):
        self._around(("cut", node, "--from", "cluster"), seconds, ("heal",))
