#!/usr/bin/python3
"""What durability and a cluster cost, as ratios of one run: chat between pairs on one node with its embedded store, on two
nodes under `strict` and under `relaxed` durability (each pair has one end at each node).

    tests/bench/cost.py [--clients 100] [--messages 200] [--in-flight 16]

Per message: CPU of the nodes, of Redis, of PostgreSQL (from /proc); commands that Redis ran and transactions that PostgreSQL
committed. No figure is printed if a message was lost. Needs the release build."""
import argparse
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))
sys.path.insert(0, str(REPOSITORY / "tests" / "bench"))
from measuring import LOAD, build_load, usage  # noqa: E402
from support.lab import Lab  # noqa: E402

PASSWORD = "pencil"
POSTGRES = pathlib.Path("/usr/lib/postgresql/15/bin")


def redis_commands(lab):
    """Commands run so far, those inside scripts included."""
    service = next(s for s in lab.status["services"] if s["name"] == "redis")
    with socket.create_connection((service["address"], service["port"]), 5) as connection:
        connection.sendall(b"INFO commandstats\r\nQUIT\r\n")
        text = b""
        while part := connection.recv(65536):
            text += part
    calls = {line.split(b":")[0]: int(line.split(b"calls=")[1].split(b",")[0]) for line in text.split(b"\r\n")
             if line.startswith(b"cmdstat_")}
    scripts = sum(n for name, n in calls.items() if name in (b"cmdstat_evalsha", b"cmdstat_eval"))
    return scripts, sum(calls.values())


def transactions(lab):
    service = next(s for s in lab.status["services"] if s["name"] == "postgres")
    told = subprocess.run([POSTGRES / "psql", "-h", service["address"], "-p", str(service["port"]), "-U", "hexad", "-Atc",
                           "SELECT sum(xact_commit) FROM pg_stat_database", "hexad"], check=True, capture_output=True, text=True)
    return int(told.stdout)


class Meter:
    def __init__(self, lab, cluster):
        status = lab.json("status")
        self.lab, self.cluster = lab, cluster
        self.parts = {"nodes": [n["pid"] for n in status["nodes"]]}
        if cluster:
            self.parts |= {s["name"]: [s["pid"]] for s in status["services"] if s["name"] in ("redis", "postgres")}

    def read(self):
        out = {f"{name}_cpu": usage(pids)[0] for name, pids in self.parts.items()}
        if self.cluster:
            out["redis_scripts"], out["redis_commands"] = redis_commands(self.lab)
            out["store_transactions"] = transactions(self.lab)
        return out


def chat(lab, cluster, options):
    meter = Meter(lab, cluster)
    words = [str(LOAD), "--port", "5223", "--domain", lab.domain, "--password", PASSWORD, "--sm", "--clients", str(options.clients),
             "--messages", str(options.messages), "--in-flight", str(options.in_flight)]
    for node in lab.status["nodes"]:
        words += ["--address", node["address"]]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    before, told = meter.read(), None
    for line in process.stdout:
        phase = json.loads(line)
        time.sleep(2)  # what is written behind counts too, and the statistics of PostgreSQL come late
        now = meter.read()
        if phase["phase"] == "chat":
            told = phase | {name: now[name] - before[name] for name in now}
        before = now
        process.stdin.write("\n")
        process.stdin.flush()
    process.wait()
    if told is None or told["received"] != told["sent"]:
        raise RuntimeError(f"messages were lost, the figures mean nothing: {told}")
    return told


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--messages", type=int, default=200)
    parser.add_argument("--in-flight", type=int, default=16)
    options = parser.parse_args()
    build_load()
    users = ("--users", str(options.clients), "--password", PASSWORD)
    rows = {}
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as relaxed:
        relaxed.write('[cluster]\ndurability = "relaxed"\n')
        relaxed.flush()
        for name, arguments in (("embedded", ("--single", *users)), ("strict", ("--nodes", "2", *users)),
                                ("relaxed", ("--nodes", "2", *users, "--config", relaxed.name))):
            with Lab(*arguments) as lab:
                rows[name] = chat(lab, name != "embedded", options)
    parts = ["nodes_cpu", "redis_cpu", "postgres_cpu"]
    print("| per message | " + " | ".join(rows) + " |\n|---|" + "---|" * len(rows))
    for part in parts:
        print(f"| CPU {part[:-4]}, µs | " + " | ".join(f"{1e6 * r.get(part, 0) / r['received']:.0f}" for r in rows.values()) + " |")
    total = {name: 1e6 * sum(r.get(part, 0) for part in parts) / r["received"] for name, r in rows.items()}
    print("| CPU all, µs | " + " | ".join(f"{value:.0f}" for value in total.values()) + " |")
    for part in ("redis_scripts", "redis_commands", "store_transactions"):
        print(f"| {part.replace('_', ' ')} | " + " | ".join(f"{r.get(part, 0) / r['received']:.2f}" for r in rows.values()) + " |")
    rates = {name: r["received"] / r["seconds"] for name, r in rows.items()}
    print("| messages/s | " + " | ".join(f"{rate:.0f}" for rate in rates.values()) + " |")
    for quantile in ("p50_ms", "p99_ms"):
        print(f"| {quantile} | " + " | ".join(f"{r[quantile]:.1f}" for r in rows.values()) + " |")
    print("CPU a message, embedded : relaxed : strict = " +
          " : ".join(f"{total[name] / total['embedded']:.1f}" for name in ("embedded", "relaxed", "strict")))


if __name__ == "__main__":
    main()
