#!/usr/bin/python3
"""A client gives up a node that is cut off from Redis and logs in at another one, under the same full JID. What the first node
had sent to Redis arrives when the cut is mended: it must not end the session that the client has by then."""
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import Resilient, authenticated  # noqa: E402

BIND = "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>"


def gives_up(lab, address, name, password):
    """Its bind is on the way to Redis, behind a cut, when the client goes."""
    client = authenticated(address, lab.domain, name, password)
    lab("cut", "n2", "--from", "redis")
    client.sends_raw(BIND)
    time.sleep(0.5)
    client.drops()


def main(checks, lab):
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    for turn, user in enumerate(lab.users()[:3]):
        name, password = user["jid"].split("@")[0], user["password"]
        gives_up(lab, at["n2"], name, password)
        kept = Resilient([at["n1"]], lab.domain, name, password)
        lab("heal")
        time.sleep(6)
        checks.that(f"turn {turn}: the session goes on", (kept.logins, kept.resumed, len(kept.outages)) == (1, 0, 0),
                    f"{kept.logins}, {kept.resumed}, {kept.outages}")
        carried = [s["jid"] for s in lab.ctl("session", "list") if s["jid"].startswith(name + "@")]
        checks.that(f"turn {turn}: there is one", carried == [user["jid"] + "/r"], str(carried))
        kept.stop()
    gone = lab.users()[3]
    gives_up(lab, at["n2"], gone["jid"].split("@")[0], gone["password"])
    lab("heal")
    time.sleep(15)
    left = [key for key in lab.redis("keys", "*:u:*").split() if key.endswith(gone["jid"]) and int(lab.redis("hlen", key)) > 1]
    checks.that("a client that came to no other node leaves nothing", not left, str(left))
    found = lab.ctl("cluster", "verify")
    checks.that("Redis, the store and the nodes agree", found["clean"], str(found["findings"]))


if os.geteuid() != 0:
    print("SKIPPED no right to use iptables")
    sys.exit(0)
with Checks() as all_checks, Lab("--nodes", "2", "--users", "4", "--password", "pencil") as up:
    main(all_checks, up)
