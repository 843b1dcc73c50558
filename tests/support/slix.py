"""A person whose client is slixmpp, with what an acceptance test asks it: who is seen, what came, in which order."""
import asyncio
import io
import logging
import ssl
import time

import aiohttp
import slixmpp
from slixmpp.plugins.xep_0363 import http_upload

logging.getLogger("slixmpp").setLevel(logging.CRITICAL)
PLUGINS = ("xep_0004", "xep_0030", "xep_0045", "xep_0054", "xep_0059", "xep_0092", "xep_0115", "xep_0191", "xep_0198", "xep_0199",
           "xep_0202", "xep_0203", "xep_0280", "xep_0313", "xep_0363")


class Person(slixmpp.ClientXMPP):
    """One device. Certificates are verified against `ca_file`, and the name in them against the domain of the JID."""

    def __init__(self, jid, password, ca_file, resource="slix"):
        super().__init__(f"{jid}/{resource}", password)
        self.ca_certs = str(ca_file)
        self.default_domain = self.boundjid.domain  # else slixmpp checks no name when it is given an address
        self.messages = []   # (from, body, delayed) of chat messages, as they came
        self.sent_copies, self.received_copies = [], []  # bodies of carbons
        self.seen = []       # (time, full JID, type or show) of presence
        self.resumed = 0
        self.trouble = asyncio.Queue()  # what ended an attempt to connect
        for plugin in PLUGINS:
            self.register_plugin(plugin)
        self["xep_0199"].disable_keepalive()
        self.add_event_handler("message", self._message)
        self.add_event_handler("presence", lambda p: self.seen.append((time.monotonic(), p["from"], p["type"])))
        self.add_event_handler("carbon_sent", lambda m: self.sent_copies.append(m["carbon_sent"]["body"]))
        self.add_event_handler("carbon_received", lambda m: self.received_copies.append(m["carbon_received"]["body"]))
        self.add_event_handler("session_resumed", self._resumed)
        for event in ("connection_failed", "ssl_invalid_chain", "failed_all_auth", "stream_error"):
            self.add_event_handler(event, self.trouble.put_nowait)

    @property
    def bare(self):
        return self.boundjid.bare

    def _message(self, message):
        if message["type"] in ("chat", "normal") and message["body"]:
            delayed = message.get_plugin("delay", check=True) is not None
            self.messages.append((message["from"].bare, message["body"], delayed))

    def _resumed(self, _):
        self.resumed += 1

    def bodies(self, sender):
        return [body for one, body, _ in self.messages if one == sender]

    async def opens(self, address, port=5222, direct_tls=False):
        """Logs in, without presence. Raises ConnectionError with the client's own words if it does not get in."""
        started = asyncio.ensure_future(self.wait_until("session_start", timeout=15))
        trouble = asyncio.ensure_future(self.trouble.get())
        self.connect((address, port), use_ssl=direct_tls)
        done, pending = await asyncio.wait([started, trouble], return_when=asyncio.FIRST_COMPLETED)
        for one in pending:
            one.cancel()
        if started not in done:
            self.cancel_connection_attempt()
            raise ConnectionError(repr(trouble.result()))
        started.result()
        return self

    async def online(self, address, port=5222, direct_tls=False):
        """Logs in, reads the roster and is available."""
        await self.opens(address, port, direct_tls)
        await self.get_roster(timeout=10)
        await self["xep_0115"].update_caps(broadcast=False)
        self.send_presence()
        return self

    async def resumes(self, address, port=5222):
        """Connects again after the stream broke; True if the session was resumed."""
        before = self.resumed
        started = asyncio.ensure_future(self.wait_until("session_start", timeout=15))
        self.connect((address, port))
        while self.resumed == before and not started.done():
            await asyncio.sleep(0.02)
        started.cancel()
        return self.resumed == before + 1

    async def breaks(self):
        """The TCP connection is cut: no closing tag, no TLS goodbye."""
        gone = asyncio.ensure_future(self.wait_until("disconnected", timeout=10))
        await asyncio.sleep(0)
        self.transport.abort()
        await gone

    async def leaves(self):
        if self.transport:
            self.end_session_on_disconnect = True
            await self.disconnect(wait=2)
        self._run_out_filters.cancel()  # slixmpp leaves this task behind

    def says(self, to, body, kind="chat"):
        self.send_message(mto=to, mbody=body, mtype=kind)

    def sees(self, bare, kind):
        """Whether the last presence of an account's devices, any of them, was of this kind."""
        last = {}
        for _, jid, what in self.seen:
            if jid.bare == bare:
                last[jid] = what
        return kind in last.values()

    async def subscribes(self, other):
        """Both subscriptions: slixmpp answers a request by itself, and asks back."""
        self.send_presence_subscription(pto=other.bare)
        await until(lambda: all(one.client_roster[two.bare]["subscription"] == "both" for one, two in ((self, other), (other, self))),
                    f"{self.bare} and {other.bare} in each other's rosters")

    async def archive(self, page):
        """All (sender, body) of the archive, read page by page."""
        found = []
        async for message in self["xep_0313"].iterate(rsm={"max": page}):
            inner = message["mam_result"]["forwarded"]["stanza"]
            found.append((inner["from"].bare, inner["body"]))
        return found

    async def uploads(self, body, name):
        """Puts a file with slixmpp's own HTTP client; the address to get it from."""
        context = ssl.create_default_context(cafile=self.ca_certs)
        http_upload.ClientSession = lambda **more: aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context), **more)
        # What finds the service in slixmpp 1.8 does not run on Python 3.11.
        self["xep_0363"].upload_service = f"upload.{self.boundjid.domain}"
        return await self["xep_0363"].upload_file(name, size=len(body), input_file=io.BytesIO(body), timeout=10)


async def until(condition, what, seconds=15):
    """Waits until `condition()` is true and returns how long that took."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(0.01)
    return time.monotonic() - start
