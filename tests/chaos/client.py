"""An XEP-0198 client on asyncio that keeps its session: it resumes at any node, sends again what was not acknowledged, and
writes down in `Records` what it sent and what came."""
import asyncio
import base64
import collections
import random
import socket
import ssl
import time
import xml.etree.ElementTree as ET
from xml.sax.saxutils import quoteattr

from counting import Error, Outage, Receipt, Seen, Sent, Session

CLIENT = "{jabber:client}"
SM = "urn:xmpp:sm:3"
STREAMS = "http://etherx.jabber.org/streams"
STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
CARBONS = "{urn:xmpp:carbons:2}"
FORWARDED = "{urn:xmpp:forward:0}forwarded"
MUC = "http://jabber.org/protocol/muc"
MAM, RSM = "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm"
NEGOTIATION, SILENCE, RETRY = 5.0, 6.0, 0.2


class Broken(Exception):
    """The stream ended, or the server said no: try again."""


class Wire:
    """One connection: elements in, text out."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.heard = time.monotonic()
        self.ended = False
        self.waiting = collections.deque()
        self.restarts()

    def restarts(self):
        self.parser, self.depth, self.root = ET.XMLPullParser(("start", "end")), 0, None

    def send(self, text):
        if not self.ended:
            self.writer.write(text.encode())

    def open(self, domain):
        self.restarts()
        self.send(f"<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' "
                  f"xmlns:stream='{STREAMS}'>")

    async def next(self):
        while not self.waiting:
            if self.ended:
                raise Broken("ended")
            try:
                data = await self.reader.read(65536)
            except (OSError, ssl.SSLError) as error:
                raise Broken(str(error))
            if not data:
                self.ended = True
                raise Broken("closed")
            self.heard = time.monotonic()
            self.parser.feed(data)
            for event, element in self.parser.read_events():
                if event == "start":
                    self.depth += 1
                    if self.depth == 1:
                        self.root = element
                    continue
                self.depth -= 1
                if self.depth == 1:
                    self.root.remove(element)
                    self.waiting.append(element)
                elif self.depth == 0:
                    self.ended = True
        return self.waiting.popleft()

    async def until(self, *names):
        """The next element of these local names; others in between are dropped."""
        while True:
            element = await self.next()
            name = element.tag.split("}")[1]
            if name in names:
                return element
            if name in ("error", "failure"):
                raise Broken(ET.tostring(element, encoding="unicode"))

    def drop(self):
        self.ended = True
        if self.writer.transport is not None:
            self.writer.transport.abort()


def tls_context():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """A device of an account. `nodes`: addresses, the first is tried first; `direct`: TLS on 5223 instead of STARTTLS."""

    TLS = tls_context()

    def __init__(self, records, nodes, domain, name, password, device="a", direct=True, seed=0):
        self.records, self.nodes, self.domain, self.name, self.password = records, list(nodes), domain, name, password
        self.account, self.device, self.direct = f"{name}@{domain}", f"{name}-{device}", direct
        self.random = random.Random(f"{seed} {self.device}")
        self.wire = self.sid = self.session = self.address = None
        self.handled = self.acked = self.logins = self.resumed = 0
        self.unacked = collections.deque()     # (xml, record or None) since the first not acknowledged
        self.asked = None                      # since when an <r/> waits for its answer
        self.answers = {}                      # iq id → future
        self.archive = {}                      # query id → [(archive id, body, from)]
        self.rooms = {}                        # room → nick
        self.status = self.number = 0
        self.wanted = True
        self.task = None
        self.since = None                      # when the stream broke
        self.settled = asyncio.Event()         # set while bound or resumed
        self.sent_to = None                    # where see-other-host pointed

    # --- what the story tells it

    def start(self):
        self.wanted = True
        self.settled.clear()
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def close(self, patience=20):
        """Logs out once everything is acknowledged; False if that took too long, then it stays."""
        deadline = time.monotonic() + patience
        while self.unacked or not self.online:
            self.ask()
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.1)
        self.wanted = False
        self.session.left = time.time()
        self.session.end = "closed"
        self.wire.send("</stream:stream>")
        self.sid = None
        try:
            await asyncio.wait_for(self.task, 3)
        except asyncio.TimeoutError:
            self._dies()
        return True

    def vanish(self):
        """The connection breaks, and the client does not come back until `start`."""
        self.wanted = False
        self.session.left = time.time()
        self._dies()

    def _dies(self):
        if self.task:
            self.task.cancel()
        if self.wire:
            self.wire.drop()
        self.since, self.wire, self.asked = self.since or time.monotonic(), None, None

    @property
    def online(self):
        return self.settled.is_set() and self.wire is not None and not self.wire.ended

    def send(self, xml, record=None):
        self.unacked.append((xml, record))
        if self.wire and self.settled.is_set():
            self.wire.send(xml)

    def ask(self):
        if self.online and self.unacked and self.asked is None:
            self.asked = time.monotonic()
            self.wire.send(f"<r xmlns='{SM}'/>")

    def message(self, to, kind="chat"):
        """A numbered message; its body is its id."""
        number = self.records.next_number(self.device, to)
        record = Sent(f"{self.device}/{to.split('@')[0]}/{number}", kind, self.account, self.device, to, number, time.time())
        self.records.sent[record.id] = record
        self.send(f"<message to='{to}' type='{kind}' id='{record.id}'><body>{record.id}</body>"
                  f"<origin-id xmlns='urn:xmpp:sid:0' id='{record.id}'/></message>", record)
        self.ask()

    def presence(self):
        self.status += 1
        self.session.status = str(self.status)
        self.send(f"<presence><status>{self.status}</status></presence>")

    async def iq(self, kind, payload, to=None, timeout=20):
        self.number += 1
        number = f"q{self.device}-{self.number}"
        self.answers[number] = future = asyncio.get_running_loop().create_future()
        self.send(f"<iq type='{kind}' id='{number}'" + (f" to='{to}'" if to else "") + f">{payload}</iq>")
        try:
            return await asyncio.wait_for(future, timeout)
        finally:
            self.answers.pop(number, None)

    def enter(self, room, nick):
        self.rooms[room] = nick
        self.send(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'><history maxstanzas='0'/></x></presence>")

    async def archived(self, to=None):
        """(archive id, body, from) of everything in the own archive, or a room's."""
        found, after, turn = [], "", 0
        while True:
            turn += 1
            query = f"m{self.number}-{turn}"
            self.archive[query] = []
            answer = await self.iq("set", f"<query xmlns='{MAM}' queryid='{query}'><set xmlns='{RSM}'><max>250</max>{after}</set>"
                                          "</query>", to)
            fin = answer.find(f"{{{MAM}}}fin")
            if fin is None:
                await asyncio.sleep(0.5)
                if turn > 60:
                    raise Broken(f"no archive: {ET.tostring(answer, encoding='unicode')}")
                continue
            found += self.archive.pop(query)
            last = fin.findtext(f"{{{RSM}}}set/{{{RSM}}}last")
            if fin.get("complete") == "true" or not last:
                return found
            after = f"<after>{last}</after>"

    # --- the stream

    async def _run(self):
        turn = 0
        while self.wanted:
            address = self.nodes[turn % len(self.nodes)]
            try:
                self.address = address
                await asyncio.wait_for(self._connect(address), NEGOTIATION)
                while True:
                    self._take(await self.wire.next())
            except (Broken, OSError, ssl.SSLError, ET.ParseError, asyncio.TimeoutError):
                pass
            if self.wire:
                self.wire.drop()
            if self.settled.is_set():
                self.since = time.monotonic() if self.wanted else None
                self.settled.clear()
                turn = 0
                self._elsewhere(address)
                await asyncio.sleep(self.random.uniform(0, 0.05))
            else:
                turn += 1
                await asyncio.sleep(self.random.uniform(0.05, RETRY))
            self.wire, self.asked = None, None

    def _elsewhere(self, address):
        """Any node next, the one that broke last; where the server sent us, first."""
        others = [n for n in self.nodes if n != address]
        self.random.shuffle(others)
        self.nodes = [*others, address]
        if self.sent_to in others:
            self.nodes.remove(self.sent_to)
            self.nodes.insert(0, self.sent_to)

    async def _secure(self, address):
        loop = asyncio.get_running_loop()
        link = socket.socket()
        link.setblocking(False)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop.sock_connect(link, (address, 5223 if self.direct else 5222))
        except BaseException:
            link.close()
            raise
        if self.direct:
            return Wire(*await asyncio.open_connection(sock=link, ssl=self.TLS, server_hostname=self.domain))
        wire = Wire(*await asyncio.open_connection(sock=link))
        wire.open(self.domain)
        await wire.until("features")
        wire.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        await wire.until("proceed")
        await wire.writer.start_tls(self.TLS, server_hostname=self.domain)
        return wire

    async def _connect(self, address):
        self.sent_to = None
        self.wire = wire = await self._secure(address)
        wire.open(self.domain)
        await wire.until("features")
        secret = base64.b64encode(f"\0{self.name}\0{self.password}".encode()).decode()
        wire.send(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>")
        await wire.until("success")
        wire.open(self.domain)
        await wire.until("features")
        if self.sid:
            wire.send(f"<resume xmlns='{SM}' h='{self.handled}' previd={quoteattr(self.sid)}/>")
            answer = await wire.until("resumed", "failed")
            if answer.tag.endswith("}resumed"):
                return self._goes_on(answer)
            if answer.find(STANZAS + "item-not-found") is None:
                raise Broken("no resumption now")
            self._lost(answer)
        await self._log_in(wire)

    def _goes_on(self, answer):
        self._acknowledged(int(answer.get("h")))
        self.resumed += 1
        self.session.left = None
        self._back("resumed")
        for xml, _ in self.unacked:
            self.wire.send(xml)
        self.settled.set()
        self.ask()

    def _back(self, how):
        if self.since is not None:
            self.records.outages.append(Outage(self.device, self.since, time.monotonic(), how, time.time(), self.address))
            self.since = None

    def _lost(self, answer):
        """The session is gone: what its last counter does not cover is sent again in the next."""
        self._acknowledged(int(answer.get("h") or self.acked))
        self.session.end = "lost"
        self.session.left = self.session.left or time.time() - (time.monotonic() - (self.since or time.monotonic()))

    async def _log_in(self, wire):
        resource = f"{self.device.split('-')[-1]}{self.logins}"
        wire.send(f"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource>"
                  "</bind></iq>")
        answer = await wire.until("iq")
        if answer.get("type") != "result":
            raise Broken("no bind")
        jid = answer.findtext(".//{urn:ietf:params:xml:ns:xmpp-bind}jid")
        wire.send(f"<enable xmlns='{SM}' resume='true'/>")
        enabled = await wire.until("enabled")
        self.logins += 1
        self.handled = self.acked = 0
        again = [(xml, record) for xml, record in self.unacked if record]
        self.unacked.clear()
        self.sid = enabled.get("id")
        self.session = Session(jid, self.device, self.account, time.time())
        self.records.sessions[jid] = self.session
        self.settled.set()
        self._back("logged in")
        self.send("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
        self.send("<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>")
        self.presence()
        for room, nick in self.rooms.items():
            self.enter(room, nick)
        for xml, record in again:
            self.send(xml, record)
        self.ask()

    # --- what comes

    def _acknowledged(self, h):
        fresh = (h - self.acked) % 2**32
        if fresh > len(self.unacked):
            self.records.strange.append(f"{self.session.jid} {time.time():.2f}: h={h} after {self.acked}, {len(self.unacked)} under way")
            return
        self.acked = h
        for _ in range(fresh):
            _, record = self.unacked.popleft()
            if record:
                record.acked = record.acked or time.time()

    def _take(self, element):
        name = element.tag
        if name == f"{{{SM}}}r":
            self.wire.send(f"<a xmlns='{SM}' h='{self.handled}'/>")
        elif name == f"{{{SM}}}a":
            self.asked = None
            self._acknowledged(int(element.get("h")))
        elif name == f"{{{STREAMS}}}error":
            self.sent_to = element.findtext("{urn:ietf:params:xml:ns:xmpp-streams}see-other-host")
            self.records.stream_errors.append((time.time(), self.device, [c.tag.split("}")[1] for c in element]))
        elif name.startswith(CLIENT):
            self.handled = (self.handled + 1) % 2**32
            {"message": self._message, "presence": self._presence, "iq": self._iq}[name[len(CLIENT):]](element)

    def _message(self, element):
        result = element.find(f"{{{MAM}}}result")
        if result is not None:
            inner = result.find(f"{FORWARDED}/{CLIENT}message")
            if inner is not None and result.get("queryid") in self.archive:
                self.archive[result.get("queryid")].append((result.get("id"), inner.findtext(CLIENT + "body"), inner.get("from")))
            return
        via = "direct"
        for kind in ("sent", "received"):
            carbon = element.find(CARBONS + kind)
            if carbon is not None:
                via, element = kind, carbon.find(f"{FORWARDED}/{CLIENT}message")
        if element.get("type") == "error":
            condition = [c.tag.split("}")[1] for c in element.find(CLIENT + "error") if c.tag.startswith(STANZAS)]
            self.records.errors.append(Error(element.get("id"), self.device, time.time(), str(condition)))
            return
        body = element.findtext(CLIENT + "body")
        if body in self.records.sent:
            delayed = element.find("{urn:xmpp:delay}delay") is not None
            self.records.received.append(Receipt(body, self.device, self.session.jid, via, time.time(), delayed))

    def _presence(self, element):
        kind, sender = element.get("type"), element.get("from", "")
        if kind == "subscribe":
            if self.device.endswith("-a"):
                self.send(f"<presence to='{sender}' type='subscribed'/>")
            return
        if kind in (None, "unavailable", "error") and "/" in sender:
            codes = [c.get("code") for c in element.iter(f"{{{MUC}#user}}status")]
            self.records.seen.append(Seen(self.session.jid, sender, kind or "available", element.findtext(CLIENT + "status") or "",
                                          codes, time.time()))

    def _iq(self, element):
        kind, number = element.get("type"), element.get("id")
        if kind in ("result", "error"):
            future = self.answers.get(number)
            if future and not future.done():
                future.set_result(element)
        elif kind == "set":
            self.send(f"<iq type='result' id='{number}'" + (f" to='{element.get('from')}'" if element.get("from") else "") + "/>")
        else:
            self.send(f"<iq type='error' id='{number}' to='{element.get('from', self.domain)}'><error type='cancel'>"
                      "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>")


async def watch(clients):
    """Asks for acknowledgements, and lets go of streams on which nothing comes any more."""
    while True:
        await asyncio.sleep(0.5)
        now = time.monotonic()
        for client in clients:
            if not client.online:
                continue
            client.ask()
            quiet = now - max(client.wire.heard, client.asked or 0)
            if client.asked and quiet > SILENCE:
                client.wire.drop()
            elif client.asked is None and now - client.wire.heard > 5:
                client.asked = now
                client.wire.send(f"<r xmlns='{SM}'/>")
