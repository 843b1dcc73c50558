#!/usr/bin/python3
"""What a node believes of an account's sessions can be wrong, or Redis itself can have lost one of them: messages are not
appended to a log that is not there, and do not wait for ever."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402


def bodies(client):
    return [m.findtext(CLIENT + "body") for m in client.messages()]


def told(checks, lab, turn, name, spoil, arrives):
    """`spoil(route, session)` gets the names of the keys in Redis; `arrives`: at the session that is there, or at the next one."""
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    one, two = lab.users("n1")[turn], lab.users("n2")[turn]
    split = lambda user: (user["jid"].split("@")[0], user["password"])
    sender = Resilient([at["n1"]], lab.domain, *split(one))
    receiver = Resilient([at["n2"]], lab.domain, *split(two))
    sender.send(f"<message to='{two['jid']}' type='chat'><body>before</body></message>")
    eventually(lambda: bodies(receiver) == ["before"])
    route = next(key for key in lab.redis("keys", "*:u:*").split() if key.endswith(two["jid"]))
    field = next(f for f in lab.redis("hkeys", route).split() if f.startswith("s:"))
    spoil(route, field, route[:route.index("}:") + 2] + field)
    for number in range(3):
        sender.send(f"<message to='{two['jid']}' type='chat'><body>{number}</body></message>")
    took = lab.waits(f"{name}: acknowledged", lambda: sender.acked >= sender.sent_count, 10)
    checks.that(f"{name}: acknowledged", took < 5, f"after {took:.1f} s")
    if not arrives:
        receiver.stop()
        receiver = Resilient([at["n2"]], lab.domain, *split(two), resource="next")
    wanted = (["before"] if arrives else []) + ["0", "1", "2"]
    try:
        eventually(lambda: bodies(receiver) == wanted, 10)
    except AssertionError:
        pass
    checks.that(f"{name}: each once, in order", bodies(receiver) == wanted, str(bodies(receiver)))
    corrected = sum("event=route_corrected" in lab("logs", node) for node in ("n1", "n2"))
    checks.that(f"{name}: said in the log", arrives or corrected > 0)
    for client in (sender, receiver):
        client.stop()


def main(checks, lab):
    told(checks, lab, 0, "a version that moved without a word", lambda route, field, session: lab.redis("hincrby", route, "v", 5), True)
    told(checks, lab, 1, "a session that left the route without a word",
         lambda route, field, session: (lab.redis("hdel", route, field), lab.redis("del", session, session + ":log")), False)
    told(checks, lab, 2, "a session without a log", lambda route, field, session: lab.redis("del", session, session + ":log"), False)


with Checks() as all_checks, Lab("--nodes", "2", "--users", "8", "--password", "pencil") as up:
    main(all_checks, up)
