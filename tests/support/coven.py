"""Rooms in plays (XEP-0045): a play's own, and one with its owner and others inside."""
import itertools
import time

MUC = "http://jabber.org/protocol/muc"
USER = f"xmlns='{MUC}#user'"
ADMIN = f"xmlns='{MUC}#admin'"
OWNER = f"xmlns='{MUC}#owner'"
INFO = "xmlns='http://jabber.org/protocol/disco#info'"
ITEMS = "xmlns='http://jabber.org/protocol/disco#items'"
REGISTER = "xmlns='jabber:iq:register'"
OCCUPANT = "{urn:xmpp:occupant-id:0}occupant-id"
ITEM = f"{{{MUC}#user}}x/{{{MUC}#user}}item"
_numbers = itertools.count(int(time.time()) % 100000)


class Room:
    """A room of a play's own, entered and left by its clients."""

    def __init__(self, stage, name="coven"):
        self.stage = stage
        self.jid = f"{name}{next(_numbers)}@rooms.{stage.domain}"

    def asks_to_enter(self, client, nick, inside=""):
        client.sends(f"<presence to='{self.jid}/{nick}'><x xmlns='{MUC}'>{inside}</x></presence>")

    def enters(self, client, nick, inside="", status=()):
        """To the room's subject, which comes last; returns the own presence."""
        self.asks_to_enter(client, nick, inside)
        codes = "".join(f"<status code='{one}'/>" for one in (110, *status))
        own = client.receives(f"<presence from='{self.jid}/{nick}'><x {USER}>{codes}</x></presence>")
        client.receives("<message type='groupchat'><subject/></message>")
        return own

    def refuses(self, client, nick, condition, inside="", type=None):
        self.asks_to_enter(client, nick, inside)
        kind = f" type='{type}'" if type else ""
        client.receives(f"<presence from='{self.jid}/{nick}' type='error'><error{kind}>"
                        f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>")

    def configures(self, owner, **fields):
        """Submits a form; with no fields it is the instant room."""
        inside = "".join(f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in fields.items())
        if inside:
            inside = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>" + inside
        return owner.sets(f"<query {OWNER}><x xmlns='jabber:x:data' type='submit'>{inside}</x></query>", to=self.jid)

    def opens(self, owner, nick="firstwitch", **fields):
        """The owner enters and sets the room up."""
        own = self.enters(owner, nick, status=(201,))
        self.configures(owner, **fields)
        return own

    def says(self, client, body, id="m"):
        client.sends(f"<message to='{self.jid}' type='groupchat' id='{id}'><body>{body}</body></message>")

    def sets(self, client, item, error=None):
        return client.sets(f"<query {ADMIN}>{item}</query>", to=self.jid, error=error)

    def lists(self, client, item, error=None):
        reply = client.asks(f"<query {ADMIN}>{item}</query>", to=self.jid, error=error)
        return [] if error else list(reply.find(f"{{{MUC}#admin}}query"))

    def reserved(self, client):
        """The nicknames that the room keeps for the client: one or none."""
        return [one.get("name") for one in client.asks(f"<query {INFO} node='x-roomuser-item'/>", to=self.jid)[0]]

    def leaves(self, client, nick):
        client.sends(f"<presence to='{self.jid}/{nick}' type='unavailable'/>")
        return client.receives(f"<presence from='{self.jid}/{nick}' type='unavailable'><x {USER}><status code='110'/></x></presence>")


def coven(stage, *others, **fields):
    """An open room: crone owns it as firstwitch, each of `others` is there by its own name."""
    room = Room(stage)
    crone = stage.online("crone/desktop")
    room.opens(crone, **fields)
    clients = [stage.online(f"{name}/home") for name in others]
    for name, client in zip(others, clients):
        room.enters(client, name)
    for client in (crone, *clients):
        client.settles()
        client.forgets()
    return (room, crone, *clients)


def registers(room, client, nick, error=None):
    fields = f"<field var='FORM_TYPE'><value>{MUC}#register</value></field><field var='muc#register_roomnick'><value>{nick}</value></field>"
    return client.sets(f"<query {REGISTER}><x xmlns='jabber:x:data' type='submit'>{fields}</x></query>", to=room.jid, error=error)
