#!/usr/bin/python3
"""Rooms in a cluster: two first joins at two nodes end in one room, and a room goes on at the peer when its node dies."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import CLIENT, Resilient  # noqa: E402

MUC = "http://jabber.org/protocol/muc"
USER = f"{{{MUC}#user}}"


def stanzas(client, kind, room):
    return [e for _, e in list(client.arrived) if e.tag == CLIENT + kind and e.get("from", "").startswith(room)]


def codes(client, room):
    return {code.get("code") for e in stanzas(client, "presence", room) for code in e.iter(USER + "status")}


def bodies(client, room):
    return [e.findtext(CLIENT + "body") for e in stanzas(client, "message", room) if e.find(CLIENT + "body") is not None]


def enter(client, room, nick):
    client.send(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>")


def set_up(client, room):
    client.send(f"<iq type='set' id='setup' to='{room}'><query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/>"
                "</query></iq>")


def main(checks, lab):
    addresses = {n["name"]: n["address"] for n in lab.status["nodes"]}
    at1, at2 = addresses["n1"], addresses["n2"]
    split = lambda user: (user["jid"].split("@")[0], user["password"])
    one = Resilient([at1, at2], lab.domain, *split(lab.users("n1")[0]))
    two = Resilient([at2, at1], lab.domain, *split(lab.users("n2")[0]))
    service = f"rooms.{lab.domain}"

    contested = f"contested@{service}"
    enter(one, contested, "one")
    enter(two, contested, "two")
    eventually(lambda: stanzas(one, "presence", contested) and stanzas(two, "presence", contested))
    time.sleep(1)
    made = [name for name, client in (("one", one), ("two", two)) if "201" in codes(client, contested)]
    checks.that("two first joins make one room", len(made) == 1, str(made))

    room = f"hall@{service}"
    enter(one, room, "one")
    eventually(lambda: "201" in codes(one, room))
    set_up(one, room)
    time.sleep(0.5)
    enter(two, room, "two")
    eventually(lambda: "110" in codes(two, room))
    for number in range(20):
        (one, two)[number % 2].send(f"<message to='{room}' type='groupchat' id='a{number}'><body>a{number}</body></message>")
    eventually(lambda: len(bodies(one, room)) == 20 and len(bodies(two, room)) == 20)
    checks.that("both see one order", bodies(one, room) == bodies(two, room))

    lab("kill", "n1")
    for number in range(20):
        two.send(f"<message to='{room}' type='groupchat' id='b{number}'><body>b{number}</body></message>")
        time.sleep(0.1)
    wanted = {f"{letter}{number}" for letter in "ab" for number in range(20)}
    try:
        eventually(lambda: set(bodies(one, room)) >= wanted and set(bodies(two, room)) >= wanted, 20)
    except AssertionError:
        pass
    for name, client in (("one", one), ("two", two)):
        got = bodies(client, room)
        checks.that(f"{name} has each message once", sorted(got) == sorted(wanted),
                    f"{len(got)}, missing {sorted(wanted - set(got))[:10]}")
    checks.that("both see one order over the kill", bodies(one, room) == bodies(two, room))
    gone = [e for client in (one, two) for e in stanzas(client, "presence", room) if e.get("type") == "unavailable"]
    checks.that("nobody was put out", not gone, str(len(gone)))

    lab("start", "n1")
    lab.waits("both normal", lambda: {n["state"] for n in lab.json("status")["nodes"]} == {"normal"}, 60)
    one.send(f"<message to='{room}' type='groupchat' id='c'><body>c</body></message>")
    eventually(lambda: "c" in bodies(one, room) and "c" in bodies(two, room), 20)
    checks.that("the room goes on at its own node", True)
    for client in (one, two):
        client.stop()


with Checks() as checks, Lab("--nodes", "2", "--users", "6", "--password", "pencil") as lab:
    main(checks, lab)
