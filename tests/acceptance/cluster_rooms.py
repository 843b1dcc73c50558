#!/usr/bin/python3
"""Rooms in a cluster: two first joins at two nodes end in one room, and a room goes on at the peer when its node dies."""
import pathlib
import subprocess
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


def rooms_named(lab, name):
    """How many rows the store has of this room."""
    postgres = next(s for s in lab.status["services"] if s["name"] == "postgres")
    done = subprocess.run(["psql", "-h", postgres["address"], "-p", str(postgres["port"]), "-U", "hexad", "-Atc",
                           f"SELECT count(*) FROM room WHERE localpart='{name}'", "hexad"],
                          check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout)


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

    nowhere = f"nowhere@{service}"
    for stanza in (f"<message to='{nowhere}' type='groupchat' id='n0'><body>x</body></message>",
                   f"<iq to='{nowhere}' type='get' id='n1'><ping xmlns='urn:xmpp:ping'/></iq>"):
        one.send(stanza)
        two.send(stanza)
    refused = lambda client: {e.get("id") for e in stanzas(client, "message", nowhere) + stanzas(client, "iq", nowhere)
                              if e.find(f"{CLIENT}error/{{urn:ietf:params:xml:ns:xmpp-stanzas}}item-not-found") is not None}
    eventually(lambda: refused(one) == refused(two) == {"n0", "n1"})
    checks.that("what is sent to a room that is not there is refused", True)
    checks.that("and makes no room", rooms_named(lab, "nowhere") == 0, str(rooms_named(lab, "nowhere")))

    room = f"hall@{service}"
    enter(one, room, "one")
    eventually(lambda: "201" in codes(one, room))
    set_up(one, room)
    eventually(lambda: stanzas(one, "iq", room))
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
