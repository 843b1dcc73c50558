"""A libstrophe client (tests/clients/strophe_client.cpp) as a process of its own."""
import asyncio
import re
import xml.etree.ElementTree as ET

from .server import binaries
from .slix import until

CLIENT = "{jabber:client}"


class Strophe:
    """Lines of the program, and the stanzas among them as elements."""

    def __init__(self, jid, password, ca_file, resource="strophe"):
        self.jid, self.password, self.ca_file = f"{jid}/{resource}", password, str(ca_file)
        self.bare = jid
        self.lines, self.stanzas = [], []

    async def starts(self, address, port=5222):
        self.process = await asyncio.create_subprocess_exec(
            str(binaries() / "strophe_client"), self.jid, self.password, address, str(port), self.ca_file,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 22)
        self.reader = asyncio.ensure_future(self._read())
        return self

    async def _read(self):
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip("\n")
            self.lines.append(line)
            if line.startswith("<"):
                # libstrophe leaves the stream's namespace out.
                named = re.sub(r"^<(\w+)(?![^>]*\sxmlns=)", r"<\1 xmlns='jabber:client'", line)
                self.stanzas.append(ET.fromstring(named))

    async def online(self, address, port=5222):
        await self.starts(address, port)
        await self.says_line("CONNECTED")
        self.sends("<presence/>")
        return self

    async def says_line(self, word, after=0, seconds=15):
        """Waits for a line that begins with `word`, not counting the first `after` such lines."""
        await until(lambda: sum(line.startswith(word) for line in self.lines) > after, f"libstrophe: {word}", seconds)

    def sends(self, xml):
        self.process.stdin.write((xml + "\n").encode())

    def bodies(self, sender):
        return [e.findtext(CLIENT + "body") for e in self.stanzas if e.tag == CLIENT + "message"
                and e.get("from", "").startswith(sender) and e.find(CLIENT + "body") is not None]

    def sees(self, bare, kind=None):
        """Whether presence of this type (None: available) came from the account."""
        return any(e.tag == CLIENT + "presence" and e.get("from", "").startswith(bare) and e.get("type") == kind
                   for e in self.stanzas)

    async def ends(self):
        if self.process.returncode is None:
            self.sends("!quit")
            try:
                await asyncio.wait_for(self.process.wait(), 5)
            except asyncio.TimeoutError:
                self.process.kill()
                await self.process.wait()
        await self.reader
