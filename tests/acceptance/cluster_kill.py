#!/usr/bin/python3
"""A node is killed under load: nothing acknowledged is lost or doubled, sessions go on at the peer, and the node gets its
place back by itself."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

RECEIVERS, RATE, BEFORE, AFTER = 5, 50, 5, 20


def main(checks, lab):
    addresses = {n["name"]: n["address"] for n in lab.status["nodes"]}
    at1, at2 = addresses["n1"], addresses["n2"]
    ones, twos = lab.users("n1")[:RECEIVERS], lab.users("n2")[:1]
    split = lambda user: (user["jid"].split("@")[0], user["password"])
    receivers = [Resilient([at1, at2], lab.domain, *split(user)) for user in ones]
    sender = Resilient([at2, at1], lab.domain, *split(twos[0]))
    epoch = lab.node("n1")["epoch"]

    number, killed = 0, None
    start = time.monotonic()
    while time.monotonic() - start < BEFORE + AFTER:
        if killed is None and time.monotonic() - start >= BEFORE:
            lab("kill", "n1")
            killed = time.monotonic()
        to = ones[number % RECEIVERS]["jid"]
        sender.send(f"<message to='{to}' type='chat' id='m{number}'><body>{number}</body></message>")
        number += 1
        due = start + number / RATE
        time.sleep(max(0, due - time.monotonic()))
    lab.waits("all acknowledged", lambda: sender.acked >= sender.sent_count, 20)
    time.sleep(2)

    for at, receiver in enumerate(receivers):
        got = [int(m.find(CLIENT + "body").text) for m in receiver.messages()]
        wanted = list(range(at, number, RECEIVERS))
        checks.that(f"receiver {at}: each message once, in order", got == wanted,
                    f"{len(got)} of {len(wanted)}, missing {sorted(set(wanted) - set(got))[:10]}, "
                    f"double {len(got) - len(set(got))}, sorted {got == sorted(got)}")
        checks.that(f"receiver {at}: resumed, not logged in anew", receiver.resumed >= 1 and receiver.logins == 1,
                    f"resumed {receiver.resumed}, logins {receiver.logins}")
        back = max((b - killed for _, b in receiver.outages), default=99)
        checks.that(f"receiver {at}: back within 10 s of the kill", back <= 10, f"{back:.1f} s")
    bounced = [m for _, m in sender.arrived if m.get("type") == "error"]
    checks.that("nothing bounced", not bounced, str(len(bounced)))

    states = {n["name"]: n for n in lab.json("status")["nodes"]}
    checks.that("n1 is unknown", states["n1"]["state"] == "unknown", states["n1"]["state"])
    checks.that("n2 runs in backup mode", states["n2"]["state"] == "backup", states["n2"]["state"])
    checks.that("n1's partition has the next epoch", states["n1"]["epoch"] == epoch + 1, f"{epoch} → {states['n1']['epoch']}")

    ended = [r.client.ended for r in receivers]
    lab("start", "n1")
    checks.that("n1 waits failed-over", lab.node("n1")["state"] in ("failed-over", "taking-back", "normal"), lab.node("n1")["state"])
    took = lab.waits("both normal", lambda: {n["state"] for n in lab.json("status")["nodes"]} == {"normal"}, 60)
    checks.that("both are normal by themselves within 60 s", took <= 60, f"{took:.0f} s")
    checks.that("no session was disconnected by it", [len(r.outages) for r in receivers] == [1] * RECEIVERS and not any(ended),
                str([len(r.outages) for r in receivers]))
    for client in [*receivers, sender]:
        client.stop()


with Checks() as checks, Lab("--nodes", "2", "--users", "20", "--password", "pencil") as lab:
    main(checks, lab)
