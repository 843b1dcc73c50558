#!/usr/bin/python3
"""Clients that are not ours: slixmpp, Profanity and libstrophe do what people do, on two nodes of a lab and on one node
without any configuration. Certificates and their names are verified."""
import asyncio
import datetime
import os
import pathlib
import ssl
import sys
import tempfile
import time
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.profanity import Profanity  # noqa: E402
from support.server import PASSWORD, Server  # noqa: E402
from support.slix import Person, until  # noqa: E402
from support.strophe import Strophe  # noqa: E402


class Place:
    """Where the scenarios play: two addresses (of one node or of two), a CA, and fresh accounts."""

    def __init__(self, name, checks, at, domain, ca_file, accounts):
        self.name, self.checks, self.at, self.domain, self.ca_file = name, checks, at, domain, ca_file
        self.accounts = accounts

    def take(self):
        return self.accounts.pop(0)

    def person(self, account=None, **more):
        jid, password = account or self.take()
        return Person(jid, password, self.ca_file, **more)

    async def pair(self):
        """Two contacts, each at its own address."""
        one = await self.person().online(self.at[0])
        other = await self.person().online(self.at[1])
        await one.subscribes(other)
        return one, other

    def that(self, name, good, detail=""):
        self.checks.that(f"{self.name}: {name}", good, detail)


SCENARIOS = []


def scenario(function):
    SCENARIOS.append(function)
    return function


@scenario
async def certificates(place):
    account = place.take()
    with tempfile.TemporaryDirectory() as folder:
        other = pathlib.Path(folder) / "other.pem"
        process = await asyncio.create_subprocess_exec(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null",
            "-out", str(other), "-subj", f"/CN={place.domain}", stderr=asyncio.subprocess.DEVNULL)
        await process.wait()
        for port, direct in ((5222, False), (5223, True)):
            try:
                await Person(*account, other).opens(place.at[0], port, direct)
                place.that(f"slixmpp refuses a certificate of another CA, port {port}", False, "it got in")
            except ConnectionError as error:
                place.that(f"slixmpp refuses a certificate of another CA, port {port}", "CERTIFICATE_VERIFY_FAILED" in str(error), str(error)[:200])
        stranger = await Strophe(*account, other).starts(place.at[0])
        await stranger.says_line("DISCONNECTED")
        place.that("libstrophe refuses a certificate of another CA", any(line.startswith("CERTIFICATE") for line in stranger.lines)
                   and "CONNECTED" not in stranger.lines, str(stranger.lines))
        stranger.process.kill()
        await stranger.process.wait()
    person = Person(f"{account[0].split('@')[0]}@wrong.test", account[1], place.ca_file)
    try:
        await person.opens(place.at[0], 5223, True)
        place.that("slixmpp refuses a name that the certificate does not have", False, "it got in")
    except ConnectionError as error:
        place.that("slixmpp refuses a name that the certificate does not have", "mismatch" in str(error), str(error)[:200])
    for number, (port, direct) in enumerate(((5222, False), (5223, True))):
        person = await Person(*account, place.ca_file, resource=f"tls{number}").opens(place.at[0], port, direct)
        place.that(f"with the right CA and name slixmpp gets in, port {port}", True)
        await person.leaves()


@scenario
async def presence_and_chat(place):
    one, other = await place.pair()
    place.that("subscribed both ways", True)
    took = await until(lambda: one.sees(other.bare, "available") and other.sees(one.bare, "available"), "presence after subscribing")
    place.that("contacts see each other within 1 s", took <= 1, f"{took:.2f} s")
    for show in ("away", "dnd"):
        other.send_presence(pshow=show)
        took = await until(lambda: one.sees(other.bare, show), show)
        place.that(f"'{show}' is seen within 1 s", took <= 1, f"{took:.2f} s")
    await other.leaves()
    took = await until(lambda: one.sees(other.bare, "unavailable"), "unavailable")
    place.that("going is seen within 1 s", took <= 1, f"{took:.2f} s")
    one.seen.clear()
    other = await place.person((other.bare, other.password)).online(place.at[1])
    took = await until(lambda: one.sees(other.bare, "available") and other.sees(one.bare, "available"), "available again")
    place.that("coming is seen within 1 s", took <= 1, f"{took:.2f} s")

    count = 50
    for number in range(count):
        one.says(other.bare, f"{number}")
        other.says(one.bare, f"{number}")
    await until(lambda: len(one.messages) >= count and len(other.messages) >= count, "all messages")
    wanted = [str(number) for number in range(count)]
    place.that("chat both ways, in order", one.bodies(other.bare) == wanted and other.bodies(one.bare) == wanted)

    pages = await other.archive(page=7)
    got = [body for sender, body in pages if sender == one.bare]
    place.that("the archive has all of it in pages, in order", len(pages) == 2 * count and got == wanted, f"{len(pages)} of {2 * count}")

    await other.leaves()
    await until(lambda: one.sees(other.bare, "unavailable"), "gone")
    for number in range(10):
        one.says(other.bare, f"offline {number}")
    await one["xep_0199"].ping(timeout=10)
    other = await place.person((other.bare, other.password)).online(place.at[0])
    await until(lambda: len(other.messages) >= 10, "offline messages")
    place.that("offline messages come in order, marked as late",
               other.messages == [(one.bare, f"offline {number}", True) for number in range(10)], str(other.messages)[:300])
    await one.leaves()
    await other.leaves()


@scenario
async def carbons(place):
    one, other = await place.pair()
    tablet = await place.person((other.bare, other.password), resource="tablet").online(place.at[0])
    for device in (other, tablet):
        await device["xep_0280"].enable(timeout=10)
    for number in range(10):
        other.says(one.bare, f"sent {number}")
    for number in range(10):
        one.says(other.boundjid.full, f"received {number}")
    await until(lambda: len(tablet.sent_copies) >= 10 and len(tablet.received_copies) >= 10 and len(one.messages) >= 10
                and len(other.messages) >= 10, "carbons")
    place.that("the second device has copies of what was sent and received, in order",
               tablet.sent_copies == [f"sent {n}" for n in range(10)] and tablet.received_copies == [f"received {n}" for n in range(10)])
    place.that("nobody has anything twice", len(one.messages) == 10 and len(other.messages) == 10 and not other.sent_copies)
    for person in (one, other, tablet):
        await person.leaves()


@scenario
async def room(place):
    one, other = await place.person().online(place.at[0]), await place.person().online(place.at[1])
    address = f"hall-{time.monotonic_ns()}@rooms.{place.domain}"
    heard = {one: [], other: []}
    for person in heard:
        person.add_event_handler("groupchat_message", lambda m, to=heard[person]: to.append(m["body"]))
    await one["xep_0045"].join_muc_wait(address, "one", timeout=10)
    form = await one["xep_0045"].get_room_config(address)
    form["type"] = "submit"
    form.field["muc#roomconfig_roomname"].set_value("The hall")
    await one["xep_0045"].set_room_config(address, form)
    for number in range(5):
        one.says(address, f"before {number}", "groupchat")
    await until(lambda: len(heard[one]) == 5, "own messages")
    one["xep_0045"].set_subject(address, "Acceptance")
    await one["xep_0199"].ping(timeout=10)
    _, subject, occupants, history = await other["xep_0045"].join_muc_wait(address, "other", maxstanzas=20, timeout=10)
    place.that("who enters sees who is there, the history and the subject",
               subject["subject"] == "Acceptance" and [o["from"].resource for o in occupants][:1] == ["one"]
               and [m["body"] for m in history] == [f"before {n}" for n in range(5)],
               f"{subject['subject']!r} {[str(o['from']) for o in occupants]} {[m['body'] for m in history]}")
    for number in range(10):
        (one, other)[number % 2].says(address, f"in {number}", "groupchat")
    await until(lambda: len(heard[one]) >= 15 and len(heard[other]) >= 15, "the room's messages")
    place.that("both hear one order", heard[one] == heard[other] and sorted(heard[one][5:]) == sorted(f"in {n}" for n in range(10)),
               f"{heard[one]} / {heard[other]}")
    info = await other["xep_0030"].get_info(jid=address, timeout=10)
    place.that("the room's name is found by discovery", ("conference", "text", None, "The hall") in info["disco_info"]["identities"],
               str(info["disco_info"]["identities"]))
    items = await other["xep_0030"].get_items(jid=f"rooms.{place.domain}", timeout=10)
    place.that("the service lists the room", address in [str(jid) for jid, _, _ in items["disco_items"]["items"]])
    for person in heard:
        await person.leaves()


def fetch(url, ca_file):
    """The body; the certificate is verified against the address asked."""
    with urllib.request.urlopen(url, timeout=10, context=ssl.create_default_context(cafile=str(ca_file))) as reply:
        return reply.read()


@scenario
async def file(place):
    one = await place.person().online(place.at[0])
    body = os.urandom(200_000)
    url = await one.uploads(body, "picture.jpg")
    place.that("slixmpp puts a file", url.startswith("https://") and url.endswith("/picture.jpg"), url)
    parts = urllib.parse.urlsplit(url)
    for address in dict.fromkeys(place.at):
        got = await asyncio.to_thread(fetch, parts._replace(netloc=f"{address}:{parts.port}").geturl(), place.ca_file)
        place.that(f"it is fetched at {address}", got == body, f"{len(got)} bytes")
    await one.leaves()


@scenario
async def resumption(place):
    one, other = await place.pair()
    other.says(one.bare, "before")
    await until(lambda: len(one.messages) == 1, "first message")
    one.seen.clear()
    for round_number in range(3):
        await other.breaks()
        for number in range(10):
            one.says(other.bare, f"{round_number}.{number}")
        await one["xep_0199"].ping(timeout=10)
        place.that(f"slixmpp resumes after its connection was cut ({round_number})", await other.resumes(place.at[round_number % 2]))
        await until(lambda: len(other.messages) >= 10 * (round_number + 1), "what was sent meanwhile")
    place.that("each message once, in order", other.bodies(one.bare) == [f"{r}.{n}" for r in range(3) for n in range(10)],
               str(other.bodies(one.bare)))
    other.says(one.bare, "after")
    await until(lambda: len(one.messages) == 2, "message after resuming")
    place.that("nobody saw it go", not one.sees(other.bare, "unavailable"), str(one.seen))
    await one.leaves()
    await other.leaves()


@scenario
async def small_specifications(place):
    one, other = await place.pair()
    await until(lambda: one.sees(other.bare, "available") and other.sees(one.bare, "available"), "presence")
    info = (await one["xep_0030"].get_info(jid=place.domain, timeout=10))["disco_info"]
    wanted = {"urn:xmpp:ping", "vcard-temp", "urn:xmpp:blocking", "urn:xmpp:time", "jabber:iq:version", "urn:xmpp:carbons:2"}
    place.that("0030: the server tells what it can", wanted <= set(info["features"]), str(wanted - set(info["features"])))
    account = (await one["xep_0030"].get_info(jid=one.bare, timeout=10))["disco_info"]
    place.that("0030: the account has an archive", "urn:xmpp:mam:2" in account["features"], str(account["features"]))
    items = await one["xep_0030"].get_items(jid=place.domain, timeout=10)
    found = {str(jid) for jid, _, _ in items["disco_items"]["items"]}
    place.that("0030: its services are listed", {f"rooms.{place.domain}", f"upload.{place.domain}"} <= found, str(found))
    # slixmpp checks the hash itself and takes only what matches.
    caps = None
    for _ in range(500):
        caps = await one["xep_0115"].get_caps(other.boundjid.full)
        if caps is not None:
            break
        await asyncio.sleep(0.02)
    place.that("0115: a contact's capabilities are known", caps is not None and "urn:xmpp:ping" in caps["features"])
    version = (await one["xep_0092"].get_version(place.domain, timeout=10))["software_version"]
    place.that("0092: the server's version", version["name"] == "hexad" and version["version"] != "", f"{version['name']} {version['version']}")
    times = []
    for jid in (place.domain, None, other.boundjid.full):
        times.append(await one["xep_0199"].ping(jid, timeout=10))
    place.that("0199: server, own account and contact answer a ping", all(t < 2 for t in times), str(times))
    # slixmpp 1.8 puts a second Z behind the stamp when it reads it.
    stamp = (await one["xep_0202"].get_entity_time(place.domain, timeout=10))["entity_time"]._get_sub_text("utc")
    told = datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    place.that("0202: the server's time", abs(told - time.time()) < 5, stamp)
    card = one["xep_0054"].make_vcard()
    card["FN"], card["NICKNAME"] = "Juliet Capulet", "Jule"
    await one["xep_0054"].publish_vcard(card, timeout=10)
    seen = await other["xep_0054"].get_vcard(one.bare, cached=False, timeout=10)
    place.that("0054: a contact reads the vCard", seen["vcard_temp"]["FN"] == "Juliet Capulet", str(seen["vcard_temp"])[:200])

    await one["xep_0191"].block(other.bare, timeout=10)
    listed = await one["xep_0191"].get_blocked(timeout=10)
    place.that("0191: who is blocked is listed", {str(j) for j in listed["blocklist"]["items"]} == {other.bare})
    refused = asyncio.ensure_future(other.wait_until("message_error", timeout=10))
    await asyncio.sleep(0)
    other.says(one.bare, "blocked")
    error = await refused
    place.that("0191: the blocked contact is refused", error["error"]["condition"] == "service-unavailable", error["error"]["condition"])
    await one["xep_0191"].unblock(other.bare, timeout=10)
    other.says(one.bare, "unblocked")
    await until(lambda: one.messages, "a message after unblocking")
    place.that("0191: then heard again, without what was blocked", one.bodies(other.bare) == ["unblocked"], str(one.messages))
    await one.leaves()
    await other.leaves()


@scenario
async def profanity(place):
    """Profanity blocks the thread while it waits; slixmpp's side lives in this loop, so its waits run in another thread."""
    jid, password = place.take()
    friend = await place.person().online(place.at[1])
    room_address = f"pub-{time.monotonic_ns()}@rooms.{place.domain}"
    with Profanity(jid, password) as alone:
        alone.connects(place.at[0])
        await asyncio.to_thread(alone.reads, "TLS certificate verification failed")
        alone.types("/tls deny")
        await asyncio.to_thread(alone.reads, "offline")
        place.that("Profanity asks about a CA that it does not know", not alone.shows("logged in successfully"))
    with Profanity(jid, password, place.ca_file) as person:
        await asyncio.to_thread(person.online, place.at[0])
        place.that("Profanity logs in, the certificate verified", True)
        person.types(f"/sub request {friend.bare}")
        await until(lambda: friend.client_roster[jid]["subscription"] in ("from", "both"), "Profanity's request")
        await asyncio.to_thread(person.reads, "Received authorization request from")
        person.types(f"/sub allow {friend.bare}")
        await until(lambda: friend.client_roster[jid]["subscription"] == "both", "both subscriptions")
        place.that("Profanity and slixmpp subscribe to each other", True)
        took = await until(lambda: friend.sees(jid, "available"), "Profanity's presence")
        place.that("slixmpp sees Profanity within 1 s", took <= 1, f"{took:.2f} s")
        person.types(f"/msg {friend.bare} hello from Profanity")
        await until(lambda: friend.bodies(jid) == ["hello from Profanity"], "Profanity's message")
        for number in range(5):
            friend.says(jid, f"answer number {number}")
        await asyncio.to_thread(person.reads, "answer number 4")
        lines = [line for line in person.screen().splitlines() if "answer number" in line]
        place.that("chat with Profanity, in order", [line.rsplit(" ", 1)[-1] for line in (l.rstrip() for l in lines)] == list("01234"), str(lines))
        for number in range(3):
            person.types(f"typed {number}")
        await until(lambda: len(friend.bodies(jid)) == 4, "what was typed")
        place.that("what is typed comes in order", friend.bodies(jid)[1:] == [f"typed {n}" for n in range(3)])
        friend.send_presence(pshow="away")
        took = await asyncio.to_thread(person.reads, rf"{friend.bare} \[away\]")
        place.that("Profanity sees 'away' within 1 s", took <= 1, f"{took:.2f} s")
        person.types(f"/join {room_address}")
        await asyncio.to_thread(person.reads, "Room is locked|/room accept|locked")
        person.types("/room accept")
        await asyncio.to_thread(person.reads, "Room unlocked|unlocked|accepted")
        person.types("first words in the pub")
        await asyncio.to_thread(person.reads, "first words in the pub")
        _, _, occupants, history = await friend["xep_0045"].join_muc_wait(room_address, "friend", maxstanzas=20, timeout=10)
        place.that("a room that Profanity made: occupants and history", {o["from"].resource for o in occupants} == {jid.split("@")[0], "friend"}
                   and [m["body"] for m in history] == ["first words in the pub"], f"{[str(o['from']) for o in occupants]} {[m['body'] for m in history]}")
        friend.says(room_address, "cheers", "groupchat")
        await asyncio.to_thread(person.reads, "friend: cheers")
        place.that("Profanity hears the room", True)
        person.types("/disconnect")
        await until(lambda: friend.sees(jid, "unavailable"), "Profanity gone")
        place.that("slixmpp sees Profanity go", True)
    await friend.leaves()


@scenario
async def libstrophe(place):
    friend = await place.person().online(place.at[0])
    account = place.take()
    person = await Strophe(*account, place.ca_file).online(place.at[1])
    place.that("libstrophe logs in, the certificate verified", "CONNECTED" in person.lines, str(person.lines))
    person.sends(f"<presence to='{friend.bare}' type='subscribe'/>")
    await until(lambda: person.sees(friend.bare, "subscribed") and person.sees(friend.bare, "subscribe"), "answer to the request")
    person.sends(f"<presence to='{friend.bare}' type='subscribed'/>")
    took = await until(lambda: person.sees(friend.bare) and friend.sees(person.bare, "available"), "presence")
    place.that("libstrophe and slixmpp see each other within 1 s", took <= 1, f"{took:.2f} s")
    count = 20
    for number in range(count):
        person.sends(f"<message to='{friend.bare}' type='chat' id='s{number}'><body>{number}</body></message>")
        friend.says(person.bare, f"{number}")
    await until(lambda: len(friend.bodies(person.bare)) >= count and len(person.bodies(friend.bare)) >= count, "all messages")
    wanted = [str(number) for number in range(count)]
    place.that("chat with libstrophe, in order", friend.bodies(person.bare) == wanted and person.bodies(friend.bare) == wanted)

    friend.seen.clear()
    person.sends("!cut")
    await person.says_line("DISCONNECTED")
    for number in range(10):
        friend.says(person.bare, f"cut {number}")
    await friend["xep_0199"].ping(timeout=10)
    person.sends(f"!resume {place.at[0]} 5222")
    await person.says_line("CONNECTED", after=1)
    await until(lambda: len(person.bodies(friend.bare)) >= count + 10, "what was sent meanwhile")
    place.that("libstrophe resumes: each message once, in order", person.bodies(friend.bare)[count:] == [f"cut {n}" for n in range(10)],
               str(person.bodies(friend.bare)[count:]))
    place.that("nobody saw it go", not friend.sees(person.bare, "unavailable"), str(friend.seen))
    await person.ends()
    await until(lambda: friend.sees(person.bare, "unavailable"), "libstrophe gone")
    await friend.leaves()


async def resumption_over_a_crash(place, server):
    """What was acknowledged, and the sessions, survive kill -9 of the only node."""
    one, other = await place.pair()
    strophe = await Strophe(*place.take(), place.ca_file).online(place.at[0])
    for number in range(10):
        one.says(other.bare, f"before {number}")
        one.says(strophe.bare, f"before {number}")
    await until(lambda: len(other.messages) == 10 and len(strophe.bodies(one.bare)) == 10, "messages before the crash")
    await other.breaks()
    for number in range(10):
        one.says(other.bare, f"cut {number}")
    await one["xep_0199"].ping(timeout=10)
    gone = asyncio.ensure_future(one.wait_until("disconnected", timeout=10))
    await asyncio.sleep(0)
    await asyncio.to_thread(server.kill)
    await gone
    await strophe.says_line("DISCONNECTED")
    await asyncio.to_thread(server.start)
    place.that("slixmpp resumes after kill -9 and restart", await one.resumes(place.at[0]) and await other.resumes(place.at[0]))
    strophe.sends(f"!resume {place.at[0]} 5222")
    await strophe.says_line("CONNECTED", after=1)
    one.says(other.bare, "after")
    one.says(strophe.bare, "after")
    await until(lambda: "after" in other.bodies(one.bare) and "after" in strophe.bodies(one.bare), "messages after the crash")
    wanted = [f"before {n}" for n in range(10)] + [f"cut {n}" for n in range(10)] + ["after"]
    place.that("each message once, in order, over the crash", other.bodies(one.bare) == wanted, str(other.bodies(one.bare)))
    place.that("libstrophe too", strophe.bodies(one.bare) == [f"before {n}" for n in range(10)] + ["after"], str(strophe.bodies(one.bare)))
    await strophe.ends()
    for person in (one, other):
        await person.leaves()


async def play(place, chosen):
    for function in SCENARIOS:
        if chosen and function.__name__ not in chosen:
            continue
        start = time.monotonic()
        try:
            await asyncio.wait_for(function(place), 60)
        except (Exception, asyncio.TimeoutError) as error:
            place.that(function.__name__, False, f"{type(error).__name__}: {error}")
        print(f"       {place.name}: {function.__name__} {time.monotonic() - start:.1f} s", flush=True)


def main(checks, chosen):
    if "one" in chosen or "two" not in chosen:
        with Server() as server:
            names = [f"p{number}" for number in range(40)]
            server.ensure_accounts(names)
            accounts = [(f"{name}@{server.domain}", PASSWORD) for name in names]
            place = Place("one node", checks, [server.address] * 2, server.domain, server.data / f"{server.domain}.crt", accounts)

            async def story():
                await play(place, chosen - {"one", "two"})
                if not chosen - {"one", "two"} or "crash" in chosen:
                    await asyncio.wait_for(resumption_over_a_crash(place, server), 60)
            asyncio.run(story())
    if "two" in chosen or "one" not in chosen:
        with Lab("--nodes", "2", "--users", "40", "--password", "pencil") as lab:
            at = {node["name"]: node["address"] for node in lab.status["nodes"]}
            # Neighbours in the list have different homes.
            homes = [lab.users("n1"), lab.users("n2")]
            accounts = [(user["jid"], user["password"]) for pair in zip(*homes) for user in pair]
            place = Place("two nodes", checks, [at["n1"], at["n2"]], lab.domain, lab.status["ca_file"], accounts)
            asyncio.run(play(place, chosen - {"one", "two"}))


with Checks() as result:
    main(result, set(sys.argv[1:]))
