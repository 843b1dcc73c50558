"""What the clients wrote down, and the counters over it; each counter returns its offenders."""
import collections
import dataclasses

LOGIN = 3  # seconds in which a login has got what waited for it


@dataclasses.dataclass
class Sent:
    id: str
    kind: str        # chat, groupchat
    account: str
    device: str
    to: str          # bare address
    number: int      # counts per (device, to)
    at: float
    acked: float = None


@dataclasses.dataclass
class Receipt:
    id: str
    device: str
    session: str     # full address
    via: str         # direct, sent, received
    at: float
    delayed: bool = False


@dataclasses.dataclass
class Error:
    id: str
    device: str
    at: float
    condition: str


@dataclasses.dataclass
class Seen:
    session: str     # who saw
    of: str          # full address
    kind: str        # available, unavailable, error
    status: str
    codes: list
    at: float


@dataclasses.dataclass
class Session:
    jid: str
    device: str
    account: str
    since: float
    left: float = None   # when it was let go: closed, or the connection dropped for good
    end: str = None      # closed; lost: it could not be resumed
    status: str = ""


@dataclasses.dataclass
class Outage:
    device: str
    broke: float
    back: float
    how: str
    at: float        # `back` by the wall clock
    address: str


class Records:
    def __init__(self):
        self.sent = {}            # id → Sent
        self.received = []
        self.errors = []
        self.seen = []
        self.sessions = {}        # full address → Session
        self.outages = []
        self.stream_errors = []
        self.strange = []         # counters of the server that cannot be
        self.vanishing = set()    # devices that stay away for longer than the resume window
        self.archives = {}        # bare address → [(archive id, body, from)]
        self.occupants = {}       # room → {device: nick}
        self.members = {}         # (room, device) → condition of a self-ping at the end, None if it is in
        self.listed = []          # (full address, node, state) that the nodes name at the end
        self.held = set()         # full addresses that clients hold at the end
        self.contacts = {}        # account → accounts that see its presence
        self.faults = []          # (from, to, what)
        self._numbers = collections.Counter()

    def next_number(self, device, to):
        self._numbers[device, to] += 1
        return self._numbers[device, to]

    def fault_at(self, moment):
        for start, end, what in self.faults:
            if start - 1 <= moment <= end + 1:
                return what
        return "no fault"


def owner(device):
    return device.rsplit("-", 1)[0]


def is_chat(record):
    return record.kind == "chat"


class Counts:
    """The counters over records; made anew for every count."""

    def __init__(self, records):
        self.r = records
        self.by_message = collections.defaultdict(list)
        for receipt in records.received:
            self.by_message[receipt.id].append(receipt)
        self.sessions_of = collections.defaultdict(list)
        for session in records.sessions.values():
            self.sessions_of[session.account].append(session)
        self.bodies = {where: collections.Counter(body for _, body, _ in found) for where, found in records.archives.items()}

    def acked(self, kind):
        return [s for s in self.r.sent.values() if s.acked and s.kind == kind]

    def tell(self, record, more=""):
        acked = f"{record.acked:.2f}" if record.acked else "-"
        return f"{record.id} sent {record.at:.2f} acked {acked} ({self.r.fault_at(record.at)}) {more}"

    def delivered(self, record):
        return any(owner(r.device) == record.to.split("@")[0] and r.via != "sent" for r in self.by_message[record.id])

    def in_archive(self, where, record):
        return self.bodies.get(where, {}).get(record.id, 0)

    # --- one counter each

    def lost(self):
        return [self.tell(s) for s in self.acked("chat") if not self.delivered(s) and not self.in_archive(s.to, s)]

    def not_delivered(self):
        return [self.tell(s, "is in the archive") for s in self.acked("chat") if not self.delivered(s) and self.in_archive(s.to, s)]

    def not_at_device(self):
        """A session that was there before a message was sent and never ended gets it, as message or carbon."""
        found = []
        for sent in self.acked("chat"):
            got = {(r.session, "sent" if r.via == "sent" else "to") for r in self.by_message[sent.id]}
            for account, via in ((sent.to, "to"), (sent.account, "sent")):
                for session in self.sessions_of[account]:
                    steady = session.end is None and session.left is None and session.since < sent.at - 2
                    if steady and session.device != sent.device and (session.jid, via) not in got:
                        found.append(self.tell(sent, f"not at {session.jid} ({'carbon' if via == 'sent' else 'message'})"))
        return found

    def not_archived(self):
        return [self.tell(s, f"not in the archive of {where}") for s in self.acked("chat") for where in (s.account, s.to)
                if where in self.bodies and not self.in_archive(where, s)] + \
               [self.tell(s, "not in the room's archive") for s in self.acked("groupchat")
                if s.to in self.bodies and not self.in_archive(s.to, s)]

    def doubled(self):
        found = []
        for name, receipts in self.by_message.items():
            times = collections.Counter((r.session, r.via == "sent") for r in receipts)
            for (session, _), count in times.items():
                if count > 1:
                    came = [f"{r.at:.2f} {r.via}" for r in receipts if r.session == session]
                    found.append(self.tell(self.r.sent[name], f"{count} times at {session}: {came}"))
        return found

    def disordered(self):
        found, last = [], {}
        for r in self.r.received:
            sent = self.r.sent[r.id]
            # What another session of the account left comes when that one's window is over, behind what came here directly.
            left = r.delayed and r.at - self.r.sessions[r.session].since > LOGIN
            key = sent.device, sent.to, r.session, r.via == "sent", left
            if sent.number < last.get(key, 0):
                found.append(self.tell(sent, f"came at {r.session} {r.at:.2f} behind number {last[key]}"))
            last[key] = max(sent.number, last.get(key, 0))
        return found

    def bounced(self):
        return [self.tell(self.r.sent[e.id], f"bounced {e.at:.2f} {e.condition}") if e.id in self.r.sent
                else f"{e.id} at {e.device} {e.at:.2f} {e.condition}" for e in self.r.errors]

    def room_missing(self):
        found = []
        for sent in self.acked("groupchat"):
            got = {r.device for r in self.by_message[sent.id]}
            for device in self.r.occupants.get(sent.to, {}):
                if device not in got and self.steady(device):
                    found.append(self.tell(sent, f"not at {device}"))
        return found

    def steady(self, device):
        sessions = [s for s in self.r.sessions.values() if s.device == device]
        return len(sessions) == 1 and sessions[0].end is None and sessions[0].left is None

    def room_lost(self):
        """Steady occupants that somebody saw leaving, that were put out, or that are not in at the end."""
        nicks = {f"{room}/{nick}": device for room, inside in self.r.occupants.items() for device, nick in inside.items()}
        found = [f"{s.of} ({nicks[s.of]}) {s.kind} {s.codes} seen by {s.session} {s.at:.2f} ({self.r.fault_at(s.at)})"
                 for s in self.r.seen if s.of in nicks and s.kind != "available" and self.steady(nicks[s.of])]
        return found + [f"{device} is not in {room} at the end: {condition}"
                        for (room, device), condition in self.r.members.items() if condition and self.steady(device)]

    def flaps(self):
        """A contact saw a session go that was resumed, or never gone."""
        found = []
        for seen in self.r.seen:
            session = self.r.sessions.get(seen.of)
            if session and seen.kind == "unavailable" and (session.left is None or seen.at < session.left - 0.05):
                found.append(f"{seen.of} unavailable for {seen.session} {seen.at:.2f} ({self.r.fault_at(seen.at)})")
        return found

    def wrong_presence(self):
        """Each session held at the end has last seen each contact as it is."""
        last = {}
        for seen in self.r.seen:
            last[seen.session, seen.of] = seen
        found = []
        for watcher in (self.r.sessions[jid] for jid in self.r.held):
            for account in self.r.contacts.get(watcher.account, ()):
                for session in self.sessions_of[account]:
                    seen = last.get((watcher.jid, session.jid))
                    told = f"{seen.kind} {seen.status} {seen.at:.2f} ({self.r.fault_at(seen.at)})" if seen else "nothing"
                    if session.jid in self.r.held:
                        if not seen or seen.kind != "available" or seen.status != session.status:
                            found.append(f"{watcher.jid} last saw of {session.jid}: {told}, but it is there with {session.status}")
                    elif seen and seen.kind == "available":
                        found.append(f"{watcher.jid} last saw of {session.jid}: {told}, but it is gone since {session.left:.2f}")
        return found

    def ghosts(self):
        twice = [jid for jid, count in collections.Counter(jid for jid, _, _ in self.r.listed).items() if count > 1]
        return [f"{jid} at {node} ({state}), held by no client" for jid, node, state in self.r.listed if jid not in self.r.held] + \
               [f"{jid} is at two nodes" for jid in twice]

    def unlisted(self):
        listed = {jid for jid, _, _ in self.r.listed}
        return [f"{jid} is held by its client, listed by no node" for jid in self.r.held if jid not in listed]

    def archive_doubled(self):
        return [f"{body} {count} times in the archive of {where}" for where, bodies in self.bodies.items()
                for body, count in bodies.items() if body in self.r.sent and count > 1]

    def sessions_lost(self):
        """Sessions whose client came back at once and could not resume."""
        return [f"{s.jid} {s.left:.2f} ({self.r.fault_at(s.left)})" for s in self.r.sessions.values()
                if s.end == "lost" and s.device not in self.r.vanishing]


    def strange(self):
        return self.r.strange


NAMES = {
    "lost": "acknowledged messages neither delivered nor in the archive",
    "not_delivered": "acknowledged messages only in the archive, at no device",
    "not_at_device": "acknowledged messages or carbons missing at a device that was never gone",
    "not_archived": "acknowledged messages missing in an archive",
    "doubled": "messages twice at one device in one session",
    "disordered": "messages out of order between a sender and a device",
    "bounced": "messages that bounced",
    "room_missing": "acknowledged room messages missing at an occupant",
    "room_lost": "room memberships lost",
    "sessions_lost": "sessions lost though their client came back at once",
    "flaps": "sessions seen going that were resumed",
    "wrong_presence": "wrong presence at the end",
    "ghosts": "sessions that no client holds",
    "unlisted": "sessions that a client holds and no node lists",
    "strange": "acknowledgements that cannot be",
    "archive_doubled": "messages twice in an archive",
}


def count(records):
    counts = Counts(records)
    return {name: getattr(counts, name)() for name in NAMES}


def report(checks, records, shown=6):
    """A check for each counter; True if all are 0."""
    good = True
    for name, found in count(records).items():
        good = good and not found
        checks.that(f"0 {NAMES[name]}", not found, "" if not found else f"{len(found)}")
        for line in found[:shown]:
            print(f"         {line}", flush=True)
    return good
