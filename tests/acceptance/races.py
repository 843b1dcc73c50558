#!/usr/bin/python3
"""What happens at two nodes at the same moment, two hundred times each: approvals, first joins, logins, live messages
behind the offline backlog in their order, one full JID bound twice, one session resumed twice. `races.py COUNT` runs fewer
or more, `races.py RACE…` only these functions."""
import concurrent.futures
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks  # noqa: E402
from support.client import BIND, ENDED, SM, Client, PlayError  # noqa: E402
from support.lab import Lab  # noqa: E402

MUC = "http://jabber.org/protocol/muc"
SIDE_BY_SIDE = 8
BACKLOG, LIVE = 15, 15


class Pair:
    """Two accounts, one for each node, and their clients. Sent back to back, two stanzas are some 20 µs apart."""

    def __init__(self, lab, at, accounts):
        self.lab, self.at, self.accounts = lab, at, accounts
        self.jids = [user["jid"] for user in accounts]
        self.clients = [None, None]

    def authenticated(self, who, node=None):
        user = self.accounts[who]
        client = Client(self.at[who if node is None else node], 5223, self.lab.domain, label=user["jid"])
        client.wraps().opens().has_features()
        client.authenticates(user["jid"].split("@")[0], user["password"], "PLAIN").opens().has_features()
        return client

    def logged_in(self, who):
        """Bound, with its roster, not yet available."""
        self.clients[who] = self.authenticated(who).binds("race")
        self.clients[who].asks("<query xmlns='jabber:iq:roster'/>")
        return self.clients[who]

    def online(self):
        for who in (0, 1):
            self.logged_in(who).sends_raw("<presence/>")
            self.clients[who].receives(f"<presence from='{self.clients[who].jid}'/>")

    def ensure(self):
        """Online, also when the race before went wrong."""
        if None in self.clients or any(client.ended for client in self.clients):
            broken(self)
            self.online()

    def both_send(self, *stanzas):
        for client, stanza in zip(self.clients, stanzas):
            client.sends_raw(stanza)

    def close(self):
        for client in self.clients:
            if client is not None and not client.ended:
                client.closes()
        self.clients = [None, None]


def subscription(client, jid):
    roster = client.asks("<query xmlns='jabber:iq:roster'/>")
    item = next((i for i in roster.iter("{jabber:iq:roster}item") if i.get("jid") == jid), None)
    return ("no item",) if item is None else (item.get("subscription"), item.get("ask"))


def approve(pair, number):
    """Both ask, then both approve at the same moment."""
    pair.online()
    one, other = pair.jids
    pair.both_send(f"<presence to='{other}' type='subscribe'/>", f"<presence to='{one}' type='subscribe'/>")
    for client in pair.clients:
        client.receives("<presence type='subscribe'/>")
    pair.both_send(f"<presence to='{other}' type='subscribed'/>", f"<presence to='{one}' type='subscribed'/>")
    for client, contact in zip(pair.clients, (other, one)):
        client.receives(f"<presence from='{contact}' type='subscribed'/>")
        client.receives(f"<presence from='{contact}/race'/>")
    for client, contact in zip(pair.clients, (other, one)):
        found = subscription(client, contact)
        assert found == ("both", None), f"{contact} in the roster of {client.jid}: {found}"
    pair.close()


def log_in(pair, number):
    """Both become available at the same moment."""
    for who in (0, 1):
        pair.logged_in(who)
    pair.both_send("<presence/>", "<presence/>")
    for client, contact in zip(pair.clients, reversed(pair.jids)):
        client.receives(f"<presence from='{contact}/race'/>")


def join(pair, number):
    """Both enter a room that is not there yet."""
    pair.ensure()
    room = f"race{number}@rooms.{pair.lab.domain}"
    enters = [f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>" for nick in ("one", "other")]
    pair.both_send(*enters)
    made = []
    for client, nick in zip(pair.clients, ("one", "other")):
        own = client._take(lambda e: e.tag == "{jabber:client}presence" and e.get("from") == f"{room}/{nick}", f"an answer of {room}", 8)
        codes = {status.get("code") for status in own.iter(f"{{{MUC}#user}}status")}
        if "201" in codes:
            made.append(client)
        else:
            assert own.get("type") == "error", f"{nick}: neither made the room nor found it locked: {codes}"
    assert len(made) == 1, f"{len(made)} made the room {room}"
    made[0].sets(f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'/></query>", to=room)
    late = next(at for at in (0, 1) if pair.clients[at] is not made[0])
    pair.clients[late].sends_raw(enters[late])
    for client, nick in zip(pair.clients, ("other", "one")):
        client.receives(f"<presence from='{room}/{nick}'/>")
    nicks = {i.get("name") for i in made[0].asks("<query xmlns='http://jabber.org/protocol/disco#items'/>", to=room)
             .iter("{http://jabber.org/protocol/disco#items}item")}
    assert nicks == {"one", "other"}, f"{room}: {nicks}"
    pair.both_send(*[f"<presence to='{room}/{nick}' type='unavailable'/>" for nick in ("one", "other")])
    for client, nick in zip(pair.clients, ("one", "other")):
        client.receives(f"<presence from='{room}/{nick}' type='unavailable'/>")


def backlog(pair, number):
    """The one writes while the other logs in and is handed what waits for it."""
    pair.ensure()
    sender = pair.clients[0]
    receiver = pair.clients[1]
    receiver.closes()
    sender.settles()
    to = pair.jids[1]
    chat = lambda n: f"<message to='{to}' type='chat' id='{number}.{n}'><body>{n}</body></message>"
    for n in range(BACKLOG):
        sender.sends_raw(chat(n))
    sender.settles()
    receiver = pair.logged_in(1)
    started = threading.Event()

    def write():
        started.wait()
        for n in range(BACKLOG, BACKLOG + LIVE):
            sender.sends_raw(chat(n))

    writer = threading.Thread(target=write)
    writer.start()
    started.set()
    receiver.sends_raw("<presence/>")
    got = []
    deadline = time.monotonic() + 10
    while len(got) < BACKLOG + LIVE and time.monotonic() < deadline:
        receiver._read(time.monotonic() + 0.5)
        for element in list(receiver.queue):
            if element.tag == "{jabber:client}message":
                receiver.queue.remove(element)
                got.append(int(element.findtext("{jabber:client}body")))
    writer.join()
    receiver.settles()
    got += [int(e.findtext("{jabber:client}body")) for e in receiver.queue if e.tag == "{jabber:client}message"]
    wanted = list(range(BACKLOG + LIVE))
    assert got == wanted, f"{to}: {got}"


def ended_by(client):
    """What ended the stream, None while it goes on. A ping finds out."""
    try:
        client.asks("<ping xmlns='urn:xmpp:ping'/>", to=client.domain)
        return None
    except PlayError:
        error = next((e for e in client.queue if e.tag.endswith("}error")), None)
        return "no reason" if error is None else error[0].tag.split("}")[1]


def only_survivor(rivals):
    """A loser may live on for the moment that the news takes between the nodes."""
    deadline = time.monotonic() + 8
    while True:
        ends = [ended_by(rival) for rival in rivals]
        if ends.count(None) <= 1 or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    assert ends.count(None) == 1, f"streams ended by {ends}"
    assert "conflict" in ends, f"streams ended by {ends}"
    return rivals[ends.index(None)]


def bind(pair, number):
    """One full JID at both nodes."""
    pair.ensure()
    watcher = pair.clients[0]
    pair.clients[1].closes()
    rivals = [pair.authenticated(1, node) for node in (0, 1)]
    for rival in rivals:
        rival.sends_raw(f"<iq type='set' id='bind'><bind xmlns='{BIND}'><resource>rival</resource></bind></iq>")
    for rival in rivals:
        rival.jid = f"{pair.jids[1]}/rival"
        answer = rival._take(lambda e: e.get("id") == "bind" or e.tag == ENDED or e.tag.endswith("}error"), "an answer to bind", 8)
        if answer.tag.endswith("}error"):
            rival.queue.append(answer)
    # A loser may live on for the moment that the news takes between the nodes.
    survivor = only_survivor(rivals)
    survivor.sends_raw("<presence><priority>1</priority></presence>")
    survivor.receives(f"<presence from='{survivor.jid}'/>")
    watcher.sends_raw(f"<message to='{survivor.jid}' type='chat' id='bind{number}'><body>you?</body></message>")
    survivor.receives(f"<message type='chat' id='bind{number}'/>")
    survivor.closes()
    pair.clients[1] = None


def resume(pair, number):
    """One session resumed at both nodes, while its first stream still stands."""
    pair.ensure()
    watcher = pair.clients[0]
    pair.clients[1].closes()
    first = pair.authenticated(1).binds("race")
    sid = first.manages_stream().get("id")
    first.sends_raw("<presence/>")
    first.receives(f"<presence from='{first.jid}'/>")
    rivals = [pair.authenticated(1, (node + number) % 2) for node in (0, 1)]
    for rival in rivals:
        rival.jid, rival.counts, rival.handled = first.jid, True, first.handled
        rival.sends_raw(f"<resume xmlns='{SM}' h='{first.handled}' previd='{sid}'/>")
    for rival in rivals:
        answer = rival._take(lambda e: e.tag in (f"{{{SM}}}resumed", f"{{{SM}}}failed", ENDED), "an answer to resume", 8)
        assert answer.tag != f"{{{SM}}}failed", "refused"
    survivor = only_survivor([*rivals, first])
    assert survivor is not first, "the stream that was left survives"
    time.sleep(0.05)  # news of the first claim may be on its way yet
    watcher.sends_raw(f"<message to='{survivor.jid}' type='chat' id='resume{number}'><body>you?</body></message>")
    survivor.receives(f"<message type='chat' id='resume{number}'/>")
    survivor.closes()
    pair.clients[1] = None


def block(pair, number):
    """The other writes in the moment in which the one has blocked him."""
    pair.ensure()
    one, other = pair.clients
    who = f"xmlns='urn:xmpp:blocking'><item jid='{pair.jids[1]}'/>"
    one.sets(f"<block {who}</block>")
    other.sends_raw(f"<message to='{pair.jids[0]}' type='chat' id='block{number}'><body>you?</body></message>")
    other.receives(f"<message type='error' id='block{number}'/>")
    one.sets(f"<unblock {who}</unblock>")


def main(checks, lab, count):
    at = [node["address"] for node in lab.status["nodes"]]
    # The one's account has its home at the node it uses, the other's too.
    accounts = list(zip(lab.users("n1"), lab.users("n2")))
    pairs = [Pair(lab, at, two) for two in accounts]
    for name, race in (("mutual approval", approve), ("simultaneous login", log_in), ("first join of a room", join),
                       ("live messages behind the backlog", backlog), ("one full JID at two nodes", bind),
                       ("one session resumed at two nodes", resume), ("a contact who is just being blocked", block)):
        if ONLY and race.__name__ not in ONLY:
            continue
        start = time.monotonic()
        wrong = []

        def run(worker):
            for number in range(worker, count, len(pairs)):
                pair = pairs[number % len(pairs)]
                try:
                    race(pair, number)
                except (AssertionError, OSError) as error:
                    wrong.append(f"{number}: {error}")
                    broken(pair)

        with concurrent.futures.ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            list(pool.map(run, range(min(count, len(pairs)))))
        checks.that(f"{name}: {count} of {count}", not wrong,
                    f"{len(wrong)} wrong; " + "\n".join(wrong[:5]) if wrong else f"{time.monotonic() - start:.0f} s")
    for pair in pairs:
        broken(pair)


def broken(pair):
    for client in pair.clients:
        if client is not None:
            client.drops()
    pair.clients = [None, None]


ONLY = [word for word in sys.argv[1:] if not word.isdigit()]
COUNT = next((int(word) for word in sys.argv[1:] if word.isdigit()), 200)
with Checks() as result, Lab("--nodes", "2", "--users", str(2 * COUNT + 20), "--password", "pencil") as up:
    main(result, up, COUNT)
