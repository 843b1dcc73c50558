#!/usr/bin/python3
"""Sessions whose news nobody heard. A node that dies after its users were given away may still have had clients: a session whose
client does not come back ends all the same, and what it had not received waits for the next login. A session that Redis gives to
another node than the one that carries it finds back to its client (docs/redundancy-groups.md, "Cuts")."""
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.ha import waits_for  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import Resilient  # noqa: E402

WINDOW = 6
CONFIG = f"[cluster]\nresume_window = {WINDOW}\nfallback_delay = 600\n"


def story(checks, lab, what, other, person, back):
    """A client at n1, whose users are at n2, vanishes and the node dies again; `back`: it is started at once."""
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    split = lambda user: (user["jid"].split("@")[0], user["password"])
    one = Resilient([at["n1"]], lab.domain, *split(person))
    two = Resilient([at["n2"]], lab.domain, *split(other))
    time.sleep(1.5)  # its presence is everywhere, nothing is under way
    one.running = False  # it vanishes: nothing is acknowledged any more
    one.thread.join(5)
    one.client.drops()
    two.send(f"<message to='{person['jid']}' type='chat' id='{what}'><body>{what}</body></message>")
    lab.waits("acknowledged", lambda: two.acked >= two.sent_count, 10)
    lab("kill", "n1")
    if back:
        lab("start", "n1")
    time.sleep(WINDOW + 15)  # found at two looks, five seconds apart, then it waits for its client
    again = Resilient([at["n2"]], lab.domain, *split(person), resource="next")
    try:
        eventually(lambda: [m.get("id") for m in again.messages()] == [what], 10)
    except AssertionError:
        pass
    got = [m.get("id") for m in again.messages()]
    checks.that(f"{what}: what waited for it comes with the next login", got == [what], str(got))
    found = lab.ctl("cluster", "verify")
    checks.that(f"{what}: Redis, the store and the nodes agree", found["clean"], str(found["findings"]))
    for client in (two, again):
        client.stop()


CLAIMED = """
local p, sid, jid = ARGV[1], ARGV[2], ARGV[3]
redis.call('HSET', p .. 's:' .. sid, 'node', 'n2')
redis.call('HINCRBY', p .. 's:' .. sid, 'e', 1)
local id = string.format('%.0f-0', redis.call('INCR', p .. 'seq'))
redis.call('XADD', p .. 'chg', id, 'k', 'claim', 'd', cmsgpack.pack({sid, jid, 'n2'}))
"""


def untold(checks, lab, person, other):
    """Redis says that n2 has claimed a session of n1's; neither has heard of it."""
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    split = lambda user: (user["jid"].split("@")[0], user["password"])
    one, two = Resilient([at["n1"]], lab.domain, *split(person)), Resilient([at["n2"]], lab.domain, *split(other))
    time.sleep(1)
    route = next(key for key in lab.redis("keys", "*:u:*").split() if key.endswith(person["jid"]))
    sid = next(f for f in lab.redis("hkeys", route).split() if f.startswith("s:"))[2:]
    lab.redis("eval", CLAIMED, 0, route[:route.index("}:") + 2], sid, person["jid"] + "/r")
    two.send(f"<message to='{person['jid']}' type='chat' id='untold'><body>untold</body></message>")
    try:
        eventually(lambda: one.messages(), 25)
    except AssertionError:
        pass
    got = [m.get("id") for m in one.messages()]
    checks.that("claimed untold: the client has its message", got == ["untold"], str(got))
    checks.that("claimed untold: in the same session", (one.logins, one.resumed) == (1, 1), f"{one.logins}, {one.resumed}")
    found = lab.ctl("cluster", "verify")
    checks.that("claimed untold: Redis, the store and the nodes agree", found["clean"], str(found["findings"]))
    for client in (one, two):
        client.stop()


def main(checks, lab):
    others, people = lab.users("n2"), lab.users("n1")
    untold(checks, lab, people[2], others[2])
    lab("kill", "n1")
    waits_for(lab, 30, n2="backup")
    lab("start", "n1")
    waits_for(lab, 30, n1="failed-over")
    story(checks, lab, "started at once", others[0], people[0], True)
    waits_for(lab, 30, n1="failed-over")
    story(checks, lab, "not started", others[1], people[1], False)


with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as all_checks, Lab("--nodes", "2", "--users", "8", "--password", "pencil", "--config", file.name) as up:
        main(all_checks, up)
