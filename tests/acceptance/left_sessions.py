#!/usr/bin/python3
"""A node that dies after its users were given away may still have had clients: a session whose client does not come back ends all
the same, and what it had not received waits for the next login (docs/redundancy-groups.md)."""
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


def story(checks, lab, what, name, other, person, back):
    """A client at the dead node vanishes and the node dies again; `back`: it is started at once."""
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    split = lambda user: (user["jid"].split("@")[0], user["password"])
    one = Resilient([at[name]], lab.domain, *split(person))
    two = Resilient([at["n2"]], lab.domain, *split(other))
    time.sleep(1.5)  # its presence is everywhere, nothing is under way
    one.running = False  # it vanishes: nothing is acknowledged any more
    one.thread.join(5)
    one.client.drops()
    two.send(f"<message to='{person['jid']}' type='chat' id='{what}'><body>{what}</body></message>")
    lab.waits("acknowledged", lambda: two.acked >= two.sent_count, 10)
    lab("kill", name)
    if back:
        lab("start", name)
    time.sleep(WINDOW + 6)
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


def main(checks, lab):
    others, people = lab.users("n2"), lab.users("n1")
    lab("kill", "n1")
    waits_for(lab, 30, n2="backup")
    lab("start", "n1")
    waits_for(lab, 30, n1="failed-over")
    story(checks, lab, "started at once", "n1", others[0], people[0], True)
    waits_for(lab, 30, n1="failed-over")
    story(checks, lab, "not started", "n1", others[1], people[1], False)


with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
    file.write(CONFIG)
    file.flush()
    with Checks() as all_checks, Lab("--nodes", "2", "--users", "8", "--password", "pencil", "--config", file.name) as up:
        main(all_checks, up)
