"""Plays: a function a conversation, tagged with the sections it is about, on a stage of its own."""
import re

from .client import Client
from .server import PASSWORD

PLAYS = []


def play(*tags):
    """Marks a function as a play: `@play("roster", "rfc6121-2.1.6")`."""
    def mark(function):
        function.tags = tags
        PLAYS.append(function)
        return function
    return mark


class Stage:
    """What a play gets: a server with accounts that are its own.

    The first time that a play names romeo, he gets an account; in the play's XML {romeo} is his bare address,
    {romeo/laptop} a full one, {domain} the server, {any} and {absent} are left to the patterns.
    """

    def __init__(self, server, pool):
        self.server = server
        self.domain = server.domain
        self._pool = pool
        self._names = {}
        self.clients = []

    def name_of(self, actor):
        """The localpart of an actor's account."""
        if actor not in self._names:
            self._names[actor] = self._pool.take()
        return self._names[actor]

    def script(self, text):
        """Puts addresses for {names}."""
        def put(found):
            actor, resource = found.group(1), found.group(2) or ""
            if actor in ("any", "absent"):
                return found.group(0)
            if actor == "domain":
                return self.domain + resource
            return f"{self.name_of(actor)}@{self.domain}{resource}"
        return re.sub(r"\{([a-z][a-z0-9_]*)(/[^}]*)?\}", put, text)

    def connect(self, direct=False, label="client"):
        """A bare connection: TCP, or TLS on the direct port with `direct`."""
        client = Client(self.server.address, 5223 if direct else 5222, self.domain, self.script, label)
        self.clients.append(client)
        return client.wraps("xmpp-client") if direct else client

    def secure(self, label="client"):
        """A connection after STARTTLS with the features of the second stream read."""
        client = self.connect(label=label)
        client.opens().has_features()
        client.starts_tls().opens().has_features()
        return client

    def authenticated(self, actor, mechanism="SCRAM-SHA-1", label=None):
        """A connection of the actor after SASL, third stream's features read: ready to bind or resume."""
        client = self.connect(direct=True, label=label or actor)
        client.opens().has_features()
        client.authenticates(self.name_of(actor), PASSWORD, mechanism)
        client.opens().has_features()
        client.transcript[:] = [f"{client.label} : authenticated as {self.name_of(actor)} by {mechanism}"]
        return client

    def login(self, who):
        """`romeo/laptop` (or `romeo`: the server picks): a bound session that has not sent presence."""
        actor, _, resource = who.partition("/")
        client = self.authenticated(actor, label=who)
        client.binds(resource or None)
        return client

    def online(self, who, priority=None, interested=True):
        """A bound session that has asked for its roster and sent initial presence; its own presence came back."""
        client = self.login(who)
        if interested:
            client.asks("<query xmlns='jabber:iq:roster'/>")
        self.available(client, priority)
        return client

    def available(self, client, priority=None):
        """Sends initial presence and waits for its echo (RFC 6121 §4.2.2)."""
        inner = f"<priority>{priority}</priority>" if priority is not None else ""
        client.sends_raw(f"<presence>{inner}</presence>")
        client.receives(f"<presence from='{client.jid}'/>")
        return client

    def friends(self, one, other):
        """Both subscriptions between two actors, made by a session each that is gone again afterwards."""
        first, second = self.online(f"{one}/friending"), self.online(f"{other}/friending")
        for asker, granter, asked in ((first, second, other), (second, first, one)):
            asker.sends(f"<presence to='{{{asked}}}' type='subscribe'/>")
            granter.receives("<presence type='subscribe'/>")
            granter.sends(f"<presence to='{asker.jid.split('/')[0]}' type='subscribed'/>")
            asker.receives("<presence type='subscribed'/>")
        for client in (first, second):
            client.settles()
        for client in (first, second):
            client.closes()
            self.clients.remove(client)

    def settles(self, *clients):
        """All that these clients (or all) sent has been handled, and its effects have come."""
        for client in clients or self.clients:
            if not client.ended:
                client.settles()
        for client in clients or self.clients:
            if not client.ended:
                client.settles()

    def ends(self):
        for client in self.clients:
            client.drops()


class AccountPool:
    """Fresh accounts, made in batches: one hexactl for a hundred."""

    BATCH = 100

    def __init__(self, server, prefix):
        self.server, self.prefix, self.made, self.free = server, prefix, 0, []

    def take(self):
        if not self.free:
            names = [f"{self.prefix}{number}" for number in range(self.made, self.made + self.BATCH)]
            self.server.ensure_accounts(names)
            self.made += self.BATCH
            self.free = names
        return self.free.pop(0)
