"""A client that keeps its session: reads in a thread, answers acknowledgement requests, and when its stream breaks it
resumes at the next node that lets it in, or logs in anew if its session is gone."""
import threading
import time
import xml.etree.ElementTree as ET

from .client import ENDED, SM, Client, PlayError

CLIENT = "{jabber:client}"


def authenticated(address, domain, name, password, mechanism="PLAIN", port=5222):
    """A client that has yet to bind or resume."""
    client = Client(address, port, domain, label=f"{name}@{address}")
    client.answers_acks = True
    client.opens()
    client.has_features()
    client.starts_tls().opens().has_features()
    client.authenticates(name, password, mechanism).opens().has_features()
    return client


class Resilient:
    """`patience`: seconds of silence, asked for a sign of life meanwhile, after which it gives its stream up."""

    def __init__(self, addresses, domain, name, password, resource="r", mechanism="PLAIN", ports=5222, patience=None):
        self.addresses, self.domain, self.name, self.password = list(addresses), domain, name, password
        self.resource, self.mechanism, self.port = resource, mechanism, ports
        self.lock = threading.RLock()
        self.arrived = []        # (time, element) of stanzas
        self.sent = []           # stanzas not acknowledged yet, oldest first
        self.sent_count = self.acked = 0
        self.resumed = self.logins = 0
        self.outages = []        # (broken at, back at)
        self.client = None
        self.patience = patience
        self.running = True
        self._connect(self.addresses[0])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _open(self, address):
        return authenticated(address, self.domain, self.name, self.password, self.mechanism, self.port)

    def _connect(self, address):
        self.client = self._open(address)
        self.client.binds(self.resource)
        self.sid = self.client.manages_stream().get("id")
        self.client.sends_raw("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq><presence/>")
        self.sent_count, self.acked = 2, 0
        self.sent = [None, None]
        self.logins += 1
        self.address = address

    def send(self, xml):
        with self.lock:
            self.sent.append(xml)
            self.sent_count += 1
            self.client.sends_raw(xml + f"<r xmlns='{SM}'/>")

    def messages(self):
        return [e for _, e in list(self.arrived) if e.tag == CLIENT + "message" and e.find(CLIENT + "body") is not None]

    def _acknowledged(self, h):
        fresh = h - self.acked
        if fresh > 0:
            self.acked = h
            del self.sent[:fresh]

    def _is_silent(self, client):
        """Asks when half the time is over."""
        quiet = time.monotonic() - self.heard
        if quiet > self.patience / 2 and self.asked < self.heard:
            self.asked = time.monotonic()
            client.sends_raw(f"<r xmlns='{SM}'/>")
        return quiet > self.patience

    def _run(self):
        self.heard, self.asked = time.monotonic(), 0
        while self.running:
            client = self.client
            try:
                if client._read(time.monotonic() + 0.1):
                    self.heard = time.monotonic()
            except PlayError:
                client.ended = True
            if self.patience and not client.ended and self._is_silent(client):
                client.drops()
            with self.lock:
                queue, client.queue = client.queue, []
                for element in queue:
                    if element.tag == f"{{{SM}}}a":
                        self._acknowledged(int(element.get("h")))
                    elif element.tag != ENDED:
                        self.arrived.append((time.monotonic(), element))
                client.transcript.clear()
                if client.ended and self.running:
                    self._again()
                    self.heard = time.monotonic()

    def _again(self):
        broken = time.monotonic()
        handled = self.client.handled
        turn = 0
        while self.running:
            turn += 1
            address = self.addresses[turn % len(self.addresses)]
            try:
                client = self._open(address)
                client.sends_raw(f"<resume xmlns='{SM}' h='{handled}' previd='{self.sid}'/>")
                client.handled, client.counts = handled, True
                reply = client._take(lambda e: e.tag in (f"{{{SM}}}resumed", f"{{{SM}}}failed", ENDED), "resumption", 5)
                if reply.tag == f"{{{SM}}}resumed":
                    self._acknowledged(int(reply.get("h")))
                    self.client, self.address = client, address
                    self.resumed += 1
                    for xml in self.sent:
                        if xml is not None:
                            client.sends_raw(xml)
                    client.sends_raw(f"<r xmlns='{SM}'/>")
                    self.outages.append((broken, time.monotonic()))
                    return
                if reply.tag == f"{{{SM}}}failed" and reply.find("{urn:ietf:params:xml:ns:xmpp-stanzas}item-not-found") is not None:
                    lost = [xml for xml in self.sent if xml is not None]
                    self._connect(address)
                    for xml in lost:
                        self.send(xml)
                    self.outages.append((broken, time.monotonic()))
                    return
            except (OSError, PlayError, ET.ParseError):
                pass
            time.sleep(0.2)

    def stop(self):
        self.running = False
        self.thread.join(5)
        self.client.drops()
