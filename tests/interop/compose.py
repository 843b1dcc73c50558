#!/usr/bin/python3
"""The lab in containers: two clients talk over two nodes, one node is killed, its client goes on at the other, nothing is
lost; the node comes back and gets its users back. Needs a docker daemon with an image debian:bookworm-slim."""
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import Resilient  # noqa: E402

BEFORE, AFTER = 20, 120


def missing():
    for what, command in (("no docker daemon", ["docker", "info"]),
                          ("no image debian:bookworm-slim", ["docker", "image", "inspect", "debian:bookworm-slim"])):
        try:
            if subprocess.run(command, capture_output=True, timeout=30).returncode != 0:
                return what
        except (OSError, subprocess.TimeoutExpired):
            return what
    return None


def numbers(client):
    return [int(m.findtext("{jabber:client}body")) for m in client.messages()]


def main(checks, lab):
    addresses = [n["address"] for n in lab.status["nodes"]]
    one, two = lab.users("n1")[0], lab.users("n2")[0]
    clients = [Resilient(order, lab.domain, user["jid"].split("@")[0], user["password"])
               for order, user in ((addresses, one), (addresses[::-1], two))]

    def chat(sender, to, number):
        sender.send(f"<message to='{to['jid']}' type='chat' id='m{number}'><body>{number}</body></message>")

    for number in range(BEFORE):
        chat(clients[0], two, number)
        chat(clients[1], one, number)
    for client in clients:
        eventually(lambda: len(client.messages()) >= BEFORE)
    lab("kill", "n1")
    for number in range(BEFORE, AFTER):
        chat(clients[1], one, number)
        time.sleep(0.1)
    eventually(lambda: len(clients[0].messages()) >= AFTER)
    checks.that("each message once, in order, over the kill", numbers(clients[0]) == list(range(AFTER)), str(numbers(clients[0])))
    checks.that("the stream was resumed at the other node", clients[0].resumed == 1 and clients[0].logins == 1)
    states = {n["name"]: n["state"] for n in lab.json("status")["nodes"]}
    checks.that("n2 runs in backup mode", states["n2"] == "backup", str(states))
    lab("start", "n1")
    took = lab.waits("normal again", lambda: all(n["state"] == "normal" for n in lab.json("status")["nodes"]), 120)
    checks.that("n1 comes back and gets its users back", True, f"{took:.0f} s")
    chat(clients[0], two, BEFORE)
    eventually(lambda: len(clients[1].messages()) > BEFORE)
    checks.that("no session was ended by that", [c.logins for c in clients] == [1, 1])
    for client in clients:
        client.stop()


with Checks() as checks:
    reason = missing()
    if reason:
        print(f"SKIPPED compose: {reason}")
    else:
        with Lab("--compose", "--nodes", "2", "--people", "50") as lab:
            main(checks, lab)
