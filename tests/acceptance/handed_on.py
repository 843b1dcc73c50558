#!/usr/bin/python3
"""A session of n1 whose client does not come back leaves messages; another session of the account, at n2, is there already:
it gets them, each once, and what comes afterwards behind them. A client that comes while its session ends learns how much of
what it sent was handled."""
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.client import Client  # noqa: E402
from support.lab import Lab  # noqa: E402

ACCOUNTS, BODIES = 10, 5
BODY = "{jabber:client}body"


def authenticated(lab, address, user, label):
    client = Client(address, 5222, lab.domain, label=label)
    client.opens().has_features()
    client.starts_tls().opens().has_features()
    client.authenticates(user["jid"].split("@")[0], user["password"], "PLAIN").opens().has_features()
    return client


def logged_in(lab, address, user, resource):
    return authenticated(lab, address, user, resource).binds(resource)


def available(client):
    client.sends_raw("<presence/>")
    client.receives(f"<presence from='{client.jid}'/>")


def bodies(client):
    client.settles()
    return [e.findtext(BODY) for e in client.queue if e.find(BODY) is not None]


def comes_while_it_ends(checks, lab):
    """Its window is over, but with PostgreSQL away its end cannot be stored yet."""
    one, two = (node["address"] for node in lab.status["nodes"])
    user = lab.users("n1")[ACCOUNTS]
    phone = logged_in(lab, one, user, "phone")
    sid = phone.manages_stream(window=2).get("id")
    for number in range(BODIES):
        phone.sends_raw(f"<message to='{user['jid']}' type='headline'><body>{number}</body></message>")
    checks.that("all of it was handled", phone.acknowledged() == BODIES)
    again = authenticated(lab, two, user, "again")
    lab("stop", "postgres")
    phone.drops()
    time.sleep(4)
    back = threading.Timer(2, lab, ("start", "postgres"))
    back.start()
    again.sends_raw(f"<resume xmlns='urn:xmpp:sm:3' h='0' previd='{sid}'/>")
    try:
        again.receives(f"<failed xmlns='urn:xmpp:sm:3' h='{BODIES}'/>", timeout=15)
        told = True
    except AssertionError as error:
        told = str(error)
    back.join()
    checks.that("a client that comes while its session ends learns what was handled", told is True, str(told))


def held_when_redis_is_emptied(checks, lab):
    """What a session left waits for another one whose client is away too, and newer messages wait behind it: in Redis and in
    the memory of that session's node."""
    one, two = (node["address"] for node in lab.status["nodes"])
    user, friend = lab.users("n1")[ACCOUNTS + 1], lab.users("n2")[1]
    sender = logged_in(lab, two, friend, "sender")

    def sends(*texts):
        for text in texts:
            sender.sends_raw(f"<message to='{user['jid']}' type='chat'><body>{text}</body></message>")
        sender.settles()

    phone = logged_in(lab, one, user, "phone")
    phone.manages_stream(window=2)
    available(phone)
    phone.drops()
    sends("0", "1")
    laptop = logged_in(lab, two, user, "laptop")
    sid = laptop.manages_stream(window=60).get("id")
    available(laptop)
    laptop.settles()
    handled = laptop.handled
    laptop.drops()
    time.sleep(4)
    sends("2", "3", "4")
    time.sleep(3)  # until every node has told that it has read them
    redis = next(s for s in lab.status["services"] if s["name"] == "redis")
    with socket.create_connection((redis["address"], redis["port"]), 5) as connection:
        connection.sendall(b"FLUSHALL\r\n")
        connection.recv(100)
    back = authenticated(lab, one, user, "back")
    back.handled, back.counts = handled, True
    back.sends_raw(f"<resume xmlns='urn:xmpp:sm:3' h='{handled}' previd='{sid}'/>")
    back.receives("<resumed xmlns='urn:xmpp:sm:3'/>", timeout=20)
    try:
        eventually(lambda: len(bodies(back)) >= 5, 10)
    except AssertionError:
        pass
    checks.that("what waits behind such messages survives that Redis is emptied", bodies(back) == list("01234"), str(bodies(back)))


def what_one_device_has(checks, lab):
    """A message goes to two devices. One acknowledges it (by an <a/>, or by the h of a resume at the other node) and leaves; the
    other never comes back: nobody gets that message again. What only the other one would have got is kept."""
    one, two = (node["address"] for node in lab.status["nodes"])
    sender = logged_in(lab, two, lab.users("n2")[2], "sender")
    for number, resumes in enumerate((False, True)):
        user = lab.users("n1")[ACCOUNTS + 2 + number]
        phone = logged_in(lab, one, user, "phone")
        phone.manages_stream(window=5)
        available(phone)
        laptop = logged_in(lab, two, user, "laptop")
        sid = laptop.manages_stream(window=60).get("id")
        available(laptop)
        phone.settles()
        phone.drops()
        sender.sends_raw(f"<message to='{user['jid']}' type='chat'><body>both</body></message>")
        eventually(lambda: bodies(laptop) == ["both"], 8)
        if resumes:
            handled = laptop.handled
            laptop.drops()
            laptop = authenticated(lab, one, user, "laptop")
            laptop.handled, laptop.counts = handled, True
            laptop.sends_raw(f"<resume xmlns='urn:xmpp:sm:3' h='{handled}' previd='{sid}'/>")
            laptop.receives("<resumed xmlns='urn:xmpp:sm:3'/>", timeout=20)
        laptop.acknowledges()
        laptop.settles()
        laptop.closes()
        sender.sends_raw(f"<message to='{user['jid']}' type='chat'><body>alone</body></message>")
        sender.settles()
        time.sleep(6)
        tablet = logged_in(lab, two, user, "tablet")
        available(tablet)
        eventually(lambda: bodies(tablet), 8)
        how = "a resume" if resumes else "an acknowledgement"
        checks.that(f"what one device has by {how} is not due when the other one ends", bodies(tablet) == ["alone"],
                    str(bodies(tablet)))
        tablet.closes()


def main(checks, lab):
    one, two = (node["address"] for node in lab.status["nodes"])
    sender = logged_in(lab, two, lab.users("n2")[0], "sender")
    laptops = []
    for user in lab.users("n1")[:ACCOUNTS]:
        phone = logged_in(lab, one, user, "phone")
        phone.manages_stream(window=2)
        available(phone)
        phone.drops()
        for number in range(BODIES):
            sender.sends_raw(f"<message to='{user['jid']}' type='chat'><body>{number}</body></message>")
        sender.settles()
        laptop = logged_in(lab, two, user, "laptop")
        available(laptop)
        laptops.append((user, laptop))
    wanted = [str(number) for number in range(BODIES)]
    for user, laptop in laptops:
        name = user["jid"].split("@")[0]
        try:
            eventually(lambda: len(bodies(laptop)) >= BODIES, 8)
        except AssertionError:
            pass
        checks.that(f"{name}: the session that is there gets what the other left", bodies(laptop) == wanted, str(bodies(laptop)))
        laptop.forgets()
        sender.sends_raw(f"<message to='{user['jid']}' type='chat'><body>after</body></message>")
        sender.settles()
        checks.that(f"{name}: and what comes now", eventually(lambda: bodies(laptop), 8) == ["after"], str(bodies(laptop)))
        laptop.closes()
        again = logged_in(lab, two, user, "again")
        available(again)
        checks.that(f"{name}: once", bodies(again) == [], str(bodies(again)))
        again.drops()


with Checks() as checks, Lab("--nodes", "2", "--users", "30", "--password", "pencil") as lab:
    main(checks, lab)
    what_one_device_has(checks, lab)
    held_when_redis_is_emptied(checks, lab)
    comes_while_it_ends(checks, lab)
