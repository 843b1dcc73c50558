"""A client in a play: it sends what it is told and receives what it is asked about, over a real socket."""
import base64
import hashlib
import re
import select
import socket
import ssl
import threading
import time
import xml.etree.ElementTree as ET

from . import xml_match
from .scram import HASHES, Scram

TIMEOUT = 8.0
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SM = "urn:xmpp:sm:3"
ENDED = f"{{{xml_match.STREAM}}}ended"  # what stands in the queue for </stream:stream> or a closed socket


class PlayError(AssertionError):
    """The server did something else than the play says."""


class Client:
    """One connection. `script` turns the play's text into what goes over the wire ({romeo} into an address)."""

    def __init__(self, address, port, domain, script=lambda text: text, label="client"):
        self.address, self.port, self.domain, self.script, self.label = address, port, domain, script, label
        self.socket = socket.create_connection((address, port), TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.talking = threading.Lock()  # one thread may read while another sends, but OpenSSL takes one call at a time
        self.queue = []       # elements that came and that no play line has asked about yet
        self.transcript = []  # both directions, for the failure message
        self.features = None
        self.stream = None    # attributes of the server's stream header
        self.jid = None
        self.counts = False   # XEP-0198 on: `handled` is our h
        self.answers_acks = True
        self.handled = 0
        self.ended = False
        self._new_parser()

    # --- the wire

    def _new_parser(self):
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self._root = None

    def sends(self, text):
        """XML with the play's placeholders. Returns self."""
        return self.sends_raw(self.script(text))

    def sends_raw(self, text):
        """Bytes or text, just as they are; a server that has closed is found out by what it answers."""
        data = text.encode() if isinstance(text, str) else text
        self.transcript.append(f"{self.label} > " + data.decode(errors="replace")[:2000])
        try:
            with self.talking:
                self.socket.settimeout(TIMEOUT)
                self.socket.sendall(data)
        except OSError as error:
            self.transcript.append(f"{self.label} > could not be sent: {error}")
        return self

    def _read(self, deadline):
        """Takes what the socket has into the queue, waiting until `deadline`; False when nothing came."""
        try:
            data = self._receive(deadline)
            if data is None:
                return False
        except (OSError, ssl.SSLError) as error:
            self.transcript.append(f"{self.label} < connection: {error}")
            data = b""
        if not data:
            if not self.ended:
                self.ended = True
                self.queue.append(ET.Element(ENDED, {"by": "socket"}))
            return False
        try:
            self._parser.feed(data)
            self._take_events()
        except ET.ParseError as error:
            raise PlayError(f"{self.label}: the server sent bad XML ({error}): {data!r}")
        return True

    def _receive(self, deadline):
        """Bytes, none at the end of the connection, None when nothing came until `deadline`."""
        while True:
            left = max(deadline - time.monotonic(), 0.001)
            if not (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
                if self.socket.fileno() < 0:
                    raise OSError("closed")
                arrival = select.poll()
                arrival.register(self.socket, select.POLLIN)
                if not arrival.poll(left * 1000):
                    return None
            try:
                with self.talking:
                    self.socket.settimeout(0)
                    return self.socket.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):  # less than a TLS record has come
                if time.monotonic() >= deadline:
                    return None

    def _take_events(self):
        for event, element in self._parser.read_events():
            if event == "start":
                self._depth += 1
                if self._depth == 1:
                    self._root, self.stream = element, dict(element.attrib)
                continue
            self._depth -= 1
            if self._depth == 1:
                self._root.remove(element)
                self._arrived(element)
            elif self._depth == 0:
                self.ended = True
                self.queue.append(ET.Element(ENDED, {"by": "stream"}))

    def _arrived(self, element):
        self.transcript.append(f"{self.label} < {xml_match.show(element)[:2000]}")
        if element.tag in xml_match.STANZAS and self.counts:
            self.handled = (self.handled + 1) % 2**32
        if element.tag == f"{{{SM}}}r" and self.answers_acks:
            self.sends_raw(f"<a xmlns='{SM}' h='{self.handled}'/>")
            return
        self.queue.append(element)

    # --- what a play says

    def receives(self, pattern, timeout=TIMEOUT, without=()):
        """Waits for the first element that matches and returns it. `without`: patterns of children it must not have."""
        wanted = xml_match.parse(self.script(pattern))
        unwanted = [xml_match.parse(self.script(one)) for one in without]
        fits = lambda element: xml_match.matches(wanted, element) and not any(
            xml_match.matches(one, child) for one in unwanted for child in element)
        return self._take(fits, self.script(pattern), timeout)

    def _take(self, fits, what, timeout):
        deadline = time.monotonic() + timeout
        looked = 0
        while True:
            for at in range(looked, len(self.queue)):
                if fits(self.queue[at]):
                    return self.queue.pop(at)
            looked = len(self.queue)
            if self.ended or (time.monotonic() >= deadline and looked == len(self.queue)):
                raise PlayError(f"{self.label} did not receive {what}\n{self._queue_text()}")
            self._read(deadline)

    def receives_all_of(self, *patterns, timeout=TIMEOUT):
        """All of them, in any order."""
        return [self.receives(pattern, timeout) for pattern in patterns]

    def receives_in_order(self, *patterns, timeout=TIMEOUT):
        """All of them, in this order among each other (other elements may stand between)."""
        wanted = [xml_match.parse(self.script(pattern)) for pattern in patterns]
        result = []
        for at, pattern in enumerate(wanted):
            later = wanted[at + 1:]
            deadline = time.monotonic() + timeout
            while True:
                first = next((element for element in self.queue
                              if any(xml_match.matches(one, element) for one in [pattern, *later])), None)
                if first is not None:
                    break
                if self.ended or time.monotonic() >= deadline:
                    raise PlayError(f"{self.label} did not receive {patterns[at]}\n{self._queue_text()}")
                self._read(deadline)
            if not xml_match.matches(pattern, first):
                raise PlayError(f"{self.label}: {xml_match.show(first)} came before {patterns[at]}")
            self.queue.remove(first)
            result.append(first)
        return result

    def receives_no(self, pattern, seconds=0.05):
        """Nothing like this is in the queue or comes soon. A play settles its clients first (Stage.settles)."""
        wanted = xml_match.parse(self.script(pattern))
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        found = [element for element in self.queue if xml_match.matches(wanted, element)]
        if found:
            raise PlayError(f"{self.label} received {xml_match.show(found[0])}, which the play rules out")

    def receives_nothing(self, seconds=0.05):
        """The queue is empty and stays so."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        if self.queue:
            raise PlayError(f"{self.label} should have received nothing\n{self._queue_text()}")

    def _queue_text(self):
        if not self.queue:
            return "  nothing else came" + (" before the stream ended" if self.ended else "")
        return "\n".join("  but: " + xml_match.show(element) for element in self.queue)

    def forgets(self):
        """Drops what came so far: the play is not about it."""
        self.queue.clear()
        return self

    def settles(self):
        """A round trip: all this client sent before has been handled, all that was due to it has come."""
        number = f"settle-{time.monotonic_ns()}"
        self.sends_raw(f"<iq type='get' id='{number}' to='{self.domain}'><ping xmlns='urn:xmpp:ping'/></iq>")
        # Result or error: either says that the server got this far.
        self._take(lambda element: element.get("id") == number, "an answer to a ping", TIMEOUT)
        return self

    def asks(self, payload, to=None, type="get", error=None):
        """Sends an IQ and returns its answer: the result, or with `error` the error of that condition."""
        number = f"q{time.monotonic_ns()}"
        target = f" to='{self.script(to)}'" if to else ""
        self.sends_raw(f"<iq type='{type}' id='{number}'{target}>{self.script(payload)}</iq>")
        reply = self._take(lambda element: element.tag.endswith("}iq") and element.get("id") == number
                           and element.get("type") in ("result", "error"), f"an answer to {payload}", TIMEOUT)
        got = condition_of(reply)
        if got != error:
            raise PlayError(f"{self.label}: {payload} should be answered by {error or 'a result'}, but: "
                            + xml_match.show(reply))
        return reply

    def sets(self, payload, to=None, error=None):
        return self.asks(payload, to, "set", error)

    # --- the stream

    def opens(self, to=None, header=None):
        """Sends a stream header and waits for the server's and, unless it is an error, the features."""
        self._new_parser()
        self.stream = None
        to = self.domain if to is None else to
        self.sends_raw(header or f"<?xml version='1.0'?><stream:stream to='{to}' version='1.0' xml:lang='en' "
                       f"xmlns='jabber:client' xmlns:stream='{xml_match.STREAM}'>")
        return self

    def restarts(self):
        """What comes next belongs to a new stream that we have not opened."""
        self._new_parser()
        return self

    def has_features(self):
        self.features = self._take(lambda element: element.tag == f"{{{xml_match.STREAM}}}features",
                                   "<stream:features/>", TIMEOUT)
        return self.features

    def starts_tls(self):
        self.sends_raw(f"<starttls xmlns='{TLS}'/>")
        self.receives(f"<proceed xmlns='{TLS}'/>")
        return self.wraps()

    def wraps(self, alpn=None, name=None, certificate=None):
        """TLS on the socket, asking for `name`, with a certificate of our own (chain, key) if one is given. The server's
        certificate is the business of other tests."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if alpn:
            context.set_alpn_protocols([alpn])
        if certificate:
            context.load_cert_chain(*certificate)
        self.socket.settimeout(TIMEOUT)
        self.socket = context.wrap_socket(self.socket, server_hostname=name or self.domain)
        return self

    def endpoint_binding(self):
        """tls-server-end-point (RFC 5929 §4.1) of a certificate signed with SHA-256."""
        return "tls-server-end-point", hashlib.sha256(self.socket.getpeercert(binary_form=True)).digest()

    def mechanisms(self):
        return [one.text for one in self.features.iter(f"{{{SASL}}}mechanism")]

    def authenticates(self, name, password, mechanism="SCRAM-SHA-1", binding=None, flag="n"):
        """SASL to its success; the stream is not opened again yet."""
        if mechanism == "PLAIN":
            first = b"\0" + name.encode() + b"\0" + password.encode()
            self.sends_raw(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{encoded(first)}</auth>")
            self.receives(f"<success xmlns='{SASL}'/>")
            return self
        assert mechanism.removesuffix("-PLUS") in HASHES
        scram = Scram(mechanism, name, password, binding, flag)
        self.sends_raw(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{encoded(scram.first())}</auth>")
        challenge = self.receives(f"<challenge xmlns='{SASL}'>{{any}}</challenge>")
        answer = scram.final(base64.b64decode(challenge.text))
        self.sends_raw(f"<response xmlns='{SASL}'>{encoded(answer)}</response>")
        success = self.receives(f"<success xmlns='{SASL}'/>")
        scram.check(base64.b64decode(success.text))
        return self

    def fails_to_authenticate(self, condition):
        self.receives(f"<failure xmlns='{SASL}'><{condition}/></failure>")
        return self

    def binds(self, resource=None):
        inner = f"<resource>{resource}</resource>" if resource else ""
        reply = self.sets(f"<bind xmlns='{BIND}'>{inner}</bind>")
        self.jid = reply.find(f".//{{{BIND}}}jid").text
        return self

    def manages_stream(self, resume=True, window=None):
        """Turns XEP-0198 on, if told with a window of seconds; returns the <enabled/>."""
        asked = (" resume='true'" if resume else "") + (f" max='{window}'" if window else "")
        self.sends_raw(f"<enable xmlns='{SM}'{asked}/>")
        self.handled = 0
        self.counts = True
        return self.receives(f"<enabled xmlns='{SM}'/>")

    def acknowledged(self):
        """Asks for an <a/> and returns its h."""
        self.sends_raw(f"<r xmlns='{SM}'/>")
        return int(self.receives(f"<a xmlns='{SM}' h='{{any}}'/>").get("h"))

    def acknowledges(self, handled=None):
        self.sends_raw(f"<a xmlns='{SM}' h='{self.handled if handled is None else handled}'/>")
        return self

    # --- ends

    def stream_error(self, condition, timeout=TIMEOUT):
        """The stream ends with this error: <stream:error/>, </stream:stream>, closed socket."""
        error = self._take(lambda element: element.tag in (f"{{{xml_match.STREAM}}}error", ENDED),
                           f"a stream error {condition}", timeout)
        named = [child.tag.split("}")[1] for child in error if child.tag.startswith("{urn:ietf:params:xml:ns:xmpp-streams}")]
        if condition not in named:
            raise PlayError(f"{self.label}: stream error {condition} expected, but: {xml_match.show(error)}")
        self.is_ended(timeout)
        return error

    def is_ended(self, timeout=TIMEOUT):
        """The server has closed the stream and the socket."""
        self._take(lambda element: element.tag == ENDED, "the end of the stream", timeout)
        return self

    def closes(self):
        """Closes the stream politely and waits for the server's closing tag."""
        self.sends_raw("</stream:stream>")
        self.is_ended()
        self.socket.close()

    def drops(self):
        """The connection breaks: no closing tag, no TLS goodbye."""
        self.ended = True
        try:
            raw = self.socket.detach() if not isinstance(self.socket, ssl.SSLSocket) else None
            if raw is None:
                self.socket.shutdown(socket.SHUT_RDWR)
                self.socket.close()
            else:
                socket.close(raw)
        except OSError:
            pass


def encoded(data):
    return base64.b64encode(data).decode() or "="


def condition_of(stanza):
    """The defined condition of an error stanza, None if it is no error."""
    if stanza.get("type") != "error":
        return None
    error = stanza.find("{jabber:client}error")
    for child in error if error is not None else ():
        if child.tag.startswith("{urn:ietf:params:xml:ns:xmpp-stanzas}") and not child.tag.endswith("}text"):
            return child.tag.split("}")[1]
    return "(an error without a condition)"


def localpart_of(jid):
    return re.split("[@/]", jid)[0]
