#!/usr/bin/python3
"""One node under attack: connections that stall at every step, XML that is not allowed, all descriptors taken.

    attackers.py [CONNECTIONS]     how many connections stall at once (10000 if it is not said and they may be opened, up to 15000)

Connections come from 127.0.0.2 to 127.0.0.9. Meanwhile ten good clients log in, chat and log out, again and again."""
import collections
import concurrent.futures
import http.client
import json
import os
import pathlib
import resource
import select
import socket
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.client import Client, PlayError  # noqa: E402
from support.server import DOMAIN, PASSWORD, Server  # noqa: E402

AUTHENTICATE, IDLE, STALL = 10, 10, 10
CONFIG = f"""
[[host]]
name = "{DOMAIN}"
[[group]]
name = "g1"
nodes = [{{ name = "n1", address = "{{address}}" }}]
[store]
url = "sqlite://{{data}}/hexad.sqlite"
[c2s]
authenticate_seconds = {AUTHENTICATE}
idle_seconds = {IDLE}
write_stall_seconds = {STALL}
"""
HEADER = f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
LOGGED_IN = 10  # attackers of each kind that have an account


# ---- the attackers: a process of their own, so that Python's lock does not slow the good clients down

class Attack:
    def __init__(self, address, count):
        self.address, self.count = address, count
        self.open = {}                                # file number: (socket, kind, since)
        self.lived = collections.defaultdict(list)    # kind: seconds until the node closed
        self.poll = select.epoll()

    def connect(self, port, number):
        one = socket.socket()
        one.settimeout(10)
        one.bind((f"127.0.0.{2 + number % 8}", 0))
        one.connect((self.address, port))
        return one

    def keep(self, one, kind, since=None):
        one.setblocking(False)
        self.open[one.fileno()] = (one, kind, since or time.monotonic())
        self.poll.register(one.fileno(), select.EPOLLIN | select.EPOLLRDHUP)

    def stall(self, number):
        """Before the stream, in the TLS handshake, in an element, in an element after the TLS handshake."""
        kind = ("before the stream", "in the handshake", "in an element", "in a header")[number % 4]
        one = self.connect(5223 if kind == "in the handshake" else 5222, number)
        if kind == "in the handshake":
            outgoing = ssl.MemoryBIO()
            hello = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=DOMAIN)
            try:
                hello.do_handshake()
            except ssl.SSLWantReadError:
                pass
            one.sendall(outgoing.read()[:100])
        elif kind == "in an element":
            one.sendall((HEADER + "<iq type='set' id='x").encode())
        elif kind == "in a header":
            one.sendall(HEADER[:60].encode())
        self.keep(one, kind)

    def logged_in(self, number):
        client = Client(self.address, 5223, DOMAIN)
        client.wraps().opens().has_features()
        client.authenticates(f"evil{number}", PASSWORD, "PLAIN").opens().has_features()
        return client.binds("evil")

    def silent_within(self, number):
        client = self.logged_in(number)
        client.sends_raw("<message to='x@y'><body>")
        self.keep(client.socket, "in an element, logged in")

    def deaf(self, number):
        """Asks and never reads: the node is left with the answers."""
        client = self.logged_in(number)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.socket.settimeout(0.5)
        ask = "".join(f"<iq type='get' id='{n}' to='{DOMAIN}'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>" for n in range(50)).encode()
        since = time.monotonic()
        try:
            for _ in range(200):
                client.socket.sendall(ask)
        except (TimeoutError, ssl.SSLWantWriteError):
            pass
        except OSError:
            self.lived["deaf"].append(time.monotonic() - since)
            return
        # Nothing is read from here on: only a reset or a hang-up tells that the node has closed.
        one = client.socket
        self.open[one.fileno()] = (one, "deaf", since)
        self.poll.register(one.fileno(), select.EPOLLRDHUP | select.EPOLLHUP)

    def watch(self, seconds):
        """Until the node has closed all, at most so long."""
        deadline = time.monotonic() + seconds
        while self.open and time.monotonic() < deadline:
            for number, _ in self.poll.poll(0.5, 1000):
                one, kind, since = self.open[number]
                if kind != "deaf":
                    try:
                        if one.recv(65536):
                            continue
                    except (BlockingIOError, ssl.SSLWantReadError):
                        continue
                    except OSError:
                        pass
                self.lived[kind].append(time.monotonic() - since)
                self.poll.unregister(number)
                del self.open[number]
                one.close()

    def run(self):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(self.silent_within, range(LOGGED_IN)))
            list(pool.map(self.deaf, range(LOGGED_IN, 2 * LOGGED_IN)))
        start = time.monotonic()
        for number in range(self.count):
            self.stall(number)
        print(json.dumps({"open": len(self.open), "took": time.monotonic() - start}), flush=True)
        self.watch(max(AUTHENTICATE, 2 * IDLE, STALL) + 25)
        left = collections.Counter(kind for _, kind, _ in self.open.values())
        print(json.dumps({"lived": self.lived, "left": left}), flush=True)


# ---- the good clients

class Good:
    """Two by two they log in, say three things to each other, and log out."""

    def __init__(self, address, pairs=5):
        self.address, self.running = address, True
        self.rounds, self.longest, self.wrong = 0, 0.0, []
        self.threads = [threading.Thread(target=self.go, args=(number,), daemon=True) for number in range(pairs)]
        for thread in self.threads:
            thread.start()

    def login(self, name):
        client = Client(self.address, 5222, DOMAIN, label=name)
        client.opens().has_features()
        client.starts_tls().opens().has_features()
        client.authenticates(name, PASSWORD).opens().has_features()
        client.binds("good").sends_raw("<presence/>")
        client.receives(f"<presence from='{client.jid}'/>")
        return client

    def go(self, number):
        turn = 0
        while self.running:
            turn += 1
            try:
                one, other = self.login(f"good{2 * number}"), self.login(f"good{2 * number + 1}")
                for n in range(3):
                    for sender, receiver in ((one, other), (other, one)):
                        sent = time.monotonic()
                        sender.sends_raw(f"<message to='{receiver.jid}' type='chat' id='{turn}.{n}'><body>{turn}.{n}</body></message>")
                        receiver.receives(f"<message type='chat' id='{turn}.{n}'/>")
                        self.longest = max(self.longest, time.monotonic() - sent)
                one.closes()
                other.closes()
                self.rounds += 1
            except (PlayError, OSError) as error:
                self.wrong.append(f"{type(error).__name__}: {error}")
                time.sleep(0.2)

    def stop(self):
        self.running = False
        for thread in self.threads:
            thread.join()


def memory(server):
    """Resident memory of the node in MiB."""
    with open(f"/proc/{server.process.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def cpu(server):
    """Seconds of CPU that the node has used."""
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(server):
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def stalled(checks, server, count):
    good = Good(server.address)
    eventually(lambda: good.rounds >= 15, 60)
    time.sleep(6)  # what the import took has gone back
    before = memory(server)
    attack = subprocess.Popen([sys.executable, "-B", __file__, "--attack", server.address, str(count)], stdout=subprocess.PIPE, text=True)
    told = json.loads(attack.stdout.readline())
    rounds = good.rounds
    peak = memory(server)
    checks.that(f"{count} connections stall at once", told["open"] >= count * 0.95, f"{told['open']} open after {told['took']:.1f} s")
    result = json.loads(attack.stdout.readline())
    attack.wait()
    checks.that("the node has closed them all", not result["left"], str(result["left"]))
    slack = 6
    rules = {"before the stream": AUTHENTICATE, "in the handshake": AUTHENTICATE, "in an element": AUTHENTICATE,
             "in a header": AUTHENTICATE, "in an element, logged in": 2 * IDLE}
    for kind, seconds in rules.items():
        times = result["lived"].get(kind, [0])
        checks.that(f"{kind}: closed after {seconds} s", seconds - 2 <= min(times) and max(times) <= seconds + slack,
                    f"{len(times)}: {min(times):.1f} to {max(times):.1f} s")
    times = result["lived"].get("deaf", [])
    checks.that("deaf: closed by the limit of what may wait, or after standing still",
                len(times) == LOGGED_IN and max(times) <= STALL + slack + 10, f"{len(times)}: {max(times, default=0):.1f} s at most")
    good.stop()
    checks.that("ten good clients went on all the time", good.rounds > rounds and not good.wrong, f"{good.rounds} rounds, {good.rounds - rounds} under attack; {good.wrong[:2]}")
    checks.that("their messages took at most 2 s", good.longest <= 2, f"{good.longest:.3f} s")
    bound = before * 1.2
    try:
        eventually(lambda: memory(server) <= bound, 20, 0.5)
    except AssertionError:
        pass
    after = memory(server)
    checks.that("memory falls back to within a fifth", after <= bound, f"{before:.0f} MiB, {peak:.0f} under attack, {after:.0f} after")


def bad_xml(checks, server):
    """The stream error of each, before and after authentication."""
    deep = "<message to='a@b'>" + "<x>" * 80
    cases = {
        "an oversized stanza": ("policy-violation", "<message><body>" + "x" * 300000),
        "depth over 64": ("policy-violation", deep),
        "an entity": ("restricted-xml", "<message><body>&unknown;</body></message>"),
        "a comment": ("restricted-xml", "<!-- x -->"),
        "a processing instruction": ("restricted-xml", "<?php x ?>"),
        "bad UTF-8": ("unsupported-encoding", b"<message><body>\xc3\x28</body></message>"),
        "an overlong UTF-8 form": ("unsupported-encoding", b"<message><body>\xc0\xaf</body></message>"),
        "a duplicate attribute": ("not-well-formed", "<message to='a@b' to='c@d'/>"),
    }
    client = Client(server.address, 5222, DOMAIN)
    client.opens(header="<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'aaaa'>]>" + HEADER.split("?>")[1])
    try:
        client.stream_error("restricted-xml")
        checks.that("a DTD: restricted-xml", True)
    except PlayError as error:
        checks.that("a DTD: restricted-xml", False, str(error)[:300])
    for name, (condition, xml) in cases.items():
        for stage in ("before authentication", "in a session"):
            client = Client(server.address, 5223, DOMAIN)
            client.wraps().opens().has_features()
            if stage == "in a session":
                client.authenticates("good0", PASSWORD, "PLAIN").opens().has_features()
                client.binds("bad")
            client.sends_raw(xml)
            try:
                client.stream_error(condition)
                checks.that(f"{name}, {stage}: {condition}", True)
            except PlayError as error:
                checks.that(f"{name}, {stage}: {condition}", False, str(error)[:300])
            client.drops()


def ask_admin(server, what):
    connection = http.client.HTTPConnection(server.address, 5280, timeout=5)
    connection.request("GET", what)
    status = connection.getresponse().status
    connection.close()
    return status


def without_descriptors(checks):
    """All that the node may open is taken by clients: it goes on for administrators and for those who are in."""
    limit = 300
    with Server(descriptors=limit) as server:
        server.ensure_accounts(["one", "other"])
        one = Client(server.address, 5223, DOMAIN)
        one.wraps().opens().has_features()
        one.authenticates("one", PASSWORD).opens().has_features()
        one.binds("in").settles()
        start = descriptors(server)
        taken = [socket.create_connection((server.address, 5222), 5) for _ in range(limit + 200)]
        eventually(lambda: descriptors(server) >= limit - 80, 10)
        time.sleep(0.5)
        used = descriptors(server)
        checks.that("a reserve is kept", used <= limit - 48, f"{used} of {limit} in use, {start} at first")
        try:
            checks.that("the admin API answers", ask_admin(server, "/readyz") == 200)
            checks.that("hexactl works, and the store with it", "one@" in server.control("user", "show", f"one@{DOMAIN}"))
        except (OSError, RuntimeError, http.client.HTTPException) as error:
            checks.that("the admin API and hexactl work", False, str(error)[:300])
        one.settles()
        checks.that("who is in stays in", not one.ended)
        before, began = cpu(server), time.monotonic()
        time.sleep(3)
        share = (cpu(server) - before) / (time.monotonic() - began)
        checks.that("it does not spin", share < 0.2, f"{share:.1%} of a core")
        refused = socket.create_connection((server.address, 5222), 5)
        refused.settimeout(5)
        checks.that("who comes too late is closed, not left hanging", refused.recv(1) == b"")
        for each in taken:
            each.close()
        eventually(lambda: descriptors(server) <= start + 5, 10)
        other = Client(server.address, 5223, DOMAIN)
        other.wraps().opens().has_features()
        other.authenticates("other", PASSWORD).opens().has_features()
        other.binds("late").sends_raw(f"<message to='{one.jid}' type='chat' id='late'><body>hello</body></message>")
        one.receives("<message type='chat' id='late'/>")
        checks.that("it serves again when they are free", True)
        for client in (one, other):
            client.closes()


def main(count):
    with Checks() as checks:
        with Server(CONFIG) as server:
            # Enough that the caches of the store are full from the start: they are not what the attack costs.
            server.ensure_accounts(f"user{n}" for n in range(20000))
            server.ensure_accounts([f"good{n}" for n in range(10)] + [f"evil{n}" for n in range(2 * LOGGED_IN)])
            stalled(checks, server, count)
            bad_xml(checks, server)
            checks.that("the node lives", server.is_alive())
        without_descriptors(checks)


hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
if sys.argv[1:2] == ["--attack"]:
    Attack(sys.argv[2], int(sys.argv[3])).run()
else:
    main(next((int(word) for word in sys.argv[1:] if word.isdigit()), min(10000, hard - 1000)))
