"""People, their rooms and their traffic on a lab: set up, kept going, settled, asked at the end what is there."""
import asyncio
import json
import pathlib
import random
import time
import urllib.request

from client import Broken, Client, watch
from counting import Records

PERSISTENT = ("<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"
              "<field var='FORM_TYPE'><value>http://jabber.org/protocol/muc#roomconfig</value></field>"
              "<field var='muc#roomconfig_persistentroom'><value>1</value></field>"
              "<field var='muc#roomconfig_enablearchiving'><value>1</value></field></x></query>")
CONTACTS = 3        # mutual subscriptions that each account starts
OCCUPANTS = 10


def log(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


async def until(condition, seconds, every=0.2):
    """The seconds it took; None if it did not come true."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            return None
        await asyncio.sleep(every)
    return time.monotonic() - start


class World:
    """`size` devices; of the accounts some have two, some (`part_time`) are away for parts of the run."""

    def __init__(self, lab, seed, size, part_time=0.15, doubles=0.15, rate=60):
        self.lab, self.seed, self.rate = lab, seed, rate
        self.random = random.Random(f"world {seed}")
        self.records = Records()
        self.addresses = [n["address"] for n in lab.status["nodes"]]
        accounts = size - int(size * doubles)
        self.users = lab.users()[:accounts]
        self.clients, self.part_timers = [], []
        for number, user in enumerate(self.users):
            name = user["jid"].split("@")[0]
            both = number < int(size * doubles)
            for device in "ab" if both else "a":
                self.clients.append(self._client(user, name, device))
            if number >= accounts - int(accounts * part_time):
                self.part_timers.append(self.clients[-1])
        part_time_accounts = {c.account for c in self.part_timers}
        self.steady = [c for c in self.clients if c.account not in part_time_accounts]
        self.by_device = {c.device: c for c in self.clients}
        self.talking = False
        self.tasks = []

    def _client(self, user, name, device):
        nodes = self.addresses[:]
        self.random.shuffle(nodes)
        return Client(self.records, nodes, self.lab.domain, name, user["password"], device,
                      direct=self.random.random() < 0.8, seed=self.seed)

    # --- set up

    async def begins(self):
        self.tasks.append(asyncio.create_task(watch(self.clients)))
        for at in range(0, len(self.clients), 20):
            for client in self.clients[at:at + 20]:
                client.start()
            if await until(lambda: all(c.online for c in self.clients[:at + 20]), 60) is None:
                raise AssertionError(f"cannot log in: {[c.device for c in self.clients if not c.online][:5]}")
        await self._befriend()
        await self._enter_rooms()

    async def _befriend(self):
        """Mutual subscriptions, in waves in which nobody is twice; what crosses is the business of other tests."""
        accounts = [u["jid"] for u in self.users]
        contacts = self.records.contacts = {a: {a} for a in accounts}
        pairs = []
        for at, account in enumerate(accounts):
            for step in range(1, CONTACTS + 1):
                other = accounts[(at + step) % len(accounts)]
                if other not in contacts[account]:
                    contacts[account].add(other)
                    contacts[other].add(account)
                    pairs.append((account, other))
        while pairs:
            busy, wave, rest = set(), [], []
            for pair in pairs:
                (rest if busy & set(pair) else wave).append(pair)
                busy |= set(pair)
            pairs = rest
            await self._subscribe(wave)
            await self._subscribe([(b, a) for a, b in wave])
        for client in self.clients:
            client.presence()

    async def _subscribe(self, wave):
        sessions = {}
        for client in self.clients:
            sessions.setdefault(client.account, []).append(client)
        wanted = {(w.session.jid, o.session.jid) for a, b in wave for w in sessions[a] for o in sessions[b]}
        for account, other in wave:
            sessions[account][0].send(f"<presence to='{other}' type='subscribe'/>")
        missing = lambda: wanted - {(s.session, s.of) for s in self.records.seen if s.kind == "available"}
        if await until(lambda: not missing(), 15, 0.05) is None:
            raise AssertionError(f"who subscribed does not see: {sorted(missing())[:3]}")

    async def _enter_rooms(self):
        for number in range(max(2, len(self.steady) // 30)):
            room = f"chaos{number}@rooms.{self.lab.domain}"
            inside = self.random.sample(self.steady, min(OCCUPANTS, len(self.steady)))
            self.records.occupants[room] = {c.device: c.device for c in inside}
            entered = lambda c: any(s.of == f"{room}/{c.device}" and "110" in s.codes for s in self.records.seen)
            for client in inside:
                client.enter(room, client.device)
                if client is inside[0]:
                    if await until(lambda: entered(client), 20) is None:
                        raise AssertionError(f"{client.device} cannot make {room}")
                    answer = await client.iq("set", PERSISTENT, room)
                    if answer.get("type") != "result":
                        raise AssertionError(f"{room} cannot be configured")
            if await until(lambda: all(entered(c) for c in inside), 20) is None:
                raise AssertionError(f"not all could enter {room}")

    # --- what goes on

    def talks(self):
        self.talking = True
        self.tasks += [asyncio.create_task(self._messages()), asyncio.create_task(self._presences())]

    async def _messages(self):
        start, done = time.monotonic(), 0
        accounts = [u["jid"] for u in self.users]
        rooms = list(self.records.occupants)
        while self.talking:
            sender = self.random.choice(self.clients)
            # Nobody who is away writes; a client between two streams does, as a person does who has not noticed.
            if sender.wanted and sender.session and len(sender.unacked) < 200:
                if rooms and self.random.random() < 0.1:
                    room = self.random.choice(rooms)
                    self.by_device[self.random.choice(list(self.records.occupants[room]))].message(room, "groupchat")
                else:
                    to = self.random.choice(accounts)
                    if to != sender.account:
                        sender.message(to)
            done += 1
            await asyncio.sleep(max(0, start + done / self.rate - time.monotonic()))

    async def _presences(self):
        while self.talking:
            client = self.random.choice(self.clients)
            if client.wanted and client.session:
                client.presence()
            await asyncio.sleep(0.5)

    def comes_and_goes(self):
        for number, client in enumerate(self.part_timers):
            if number % 2:
                self.records.vanishing.add(client.device)
            self.tasks.append(asyncio.create_task(self._comes_and_goes(client, number % 2 == 1)))

    async def _comes_and_goes(self, client, vanishes):
        chance = random.Random(f"{self.seed} away {client.device}")
        while self.talking:
            await asyncio.sleep(chance.uniform(5, 30))
            if not self.talking or not client.online:
                continue
            if vanishes:
                client.vanish()
                await asyncio.sleep(chance.uniform(5, 50))
            elif await client.close():
                await asyncio.sleep(chance.uniform(5, 25))
            else:
                continue
            if self.talking:
                client.start()

    # --- the end

    def all_well(self):
        """Whoever wants to be there is, with nothing old under way."""
        old = time.time() - 5
        return all(c.online and not (c.unacked and c.unacked[0][1] and c.unacked[0][1].at < old)
                   for c in self.clients if c.wanted)

    async def settles(self, window):
        """No more traffic; whoever is away stays away until his session is over, then comes back; all is acknowledged."""
        self.talking = False
        away = [c for c in self.clients if not c.wanted]
        if any(c.sid for c in away):
            await asyncio.sleep(window + 5)
        for client in self.clients:
            if not client.wanted:
                client.start()
        took = await until(lambda: all(c.online and not c.unacked for c in self.clients), 60)
        await asyncio.sleep(3)
        return took is not None

    async def collects(self):
        """Archives, memberships and sessions, as the server has them now."""
        records = self.records
        records.held = {c.session.jid for c in self.clients}
        first = {c.account: c for c in reversed(self.clients)}
        where = [(c, account, None) for account, c in first.items()]
        where += [(self.by_device[next(iter(inside))], room, room) for room, inside in records.occupants.items()]
        for client, name, to in where:
            try:
                records.archives[name] = await client.archived(to)
            except (asyncio.TimeoutError, Broken) as error:
                records.strange.append(f"the archive of {name} could not be read: {error!r}")
        for room, inside in records.occupants.items():
            for device, nick in inside.items():
                records.members[room, device] = await self._pings(self.by_device[device], f"{room}/{nick}")
        records.listed = await asyncio.to_thread(listed_sessions, self.lab)

    async def _pings(self, client, occupant):
        try:
            answer = await client.iq("get", "<ping xmlns='urn:xmpp:ping'/>", occupant)
        except asyncio.TimeoutError:
            return "no answer"
        error = answer.find("{jabber:client}error")
        conditions = [] if error is None else [c.tag.split("}")[1] for c in error]
        return str(conditions) if "not-acceptable" in conditions else None

    async def ends(self):
        for task in self.tasks:
            task.cancel()
        for client in self.clients:
            client.wanted = False
            client._dies()
        await asyncio.sleep(0.2)


def asks(lab, node, path):
    token = (lab.folder / "config" / "admin.token").read_text().strip()
    request = urllib.request.Request(f"http://{node['address']}:{node['admin_port']}{path}", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return json.loads(reply.read())


def listed_sessions(lab):
    return [(s["jid"], s["node"], s["state"]) for node in lab.status["nodes"] for s in asks(lab, node, "/v1/sessions")]


def keeps_logs(lab, name, records=None):
    """Copies the lab's logs to build/test-logs/chaos, and writes down the records; returns where."""
    target = pathlib.Path(__file__).resolve().parents[2] / "build" / "test-logs" / "chaos" / name
    target.mkdir(parents=True, exist_ok=True)
    for file in (lab.folder / "log").glob("*.log"):
        (target / file.name).write_bytes(file.read_bytes())
    if records:
        with open(target / "records.txt", "w") as out:
            for what in (records.faults, records.sessions.values(), records.outages, records.stream_errors, records.seen,
                         records.sent.values(), records.received):
                out.writelines(f"{one}\n" for one in what)
    return target
