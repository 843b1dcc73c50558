#!/usr/bin/python3
"""Who is let in, where, and when: clients of a lost node come in at a bounded pace, those of another group are sent there,
a node that starts waits for its gate, and `doctor` and `replication status` tell what is wrong.

  tests/acceptance/admission.py"""
import concurrent.futures
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks, eventually  # noqa: E402
from support.client import BIND, ENDED, SASL, TLS, Client, encoded  # noqa: E402
from support.ha import ctl, events, last_event, settled_events, waits_for  # noqa: E402
from support.lab import LAB, Lab  # noqa: E402
from support.resilient import Resilient  # noqa: E402

STREAM = "{http://etherx.jabber.org/streams}"
STREAMS = "{urn:ietf:params:xml:ns:xmpp-streams}"
LOGINS, RESUMPTIONS, WAIT, GATE = 2, 8, 8, 8  # a second; a second; seconds; seconds
PLAIN, KEEPING = 30, 8  # clients that can only log in again, and those that resume
# The agreement names a directory that nobody has ever read: the first node's gate waits for it.
CONFIG = f"""
[cluster]
fallback_delay = 4
gate_timeout = {GATE}
[c2s]
landing = "redirect"
[admission]
logins_per_second = {LOGINS}
resumptions_per_second = {RESUMPTIONS}
wait_seconds = {WAIT}
[[agreement]]
name = "nobody"
hosts = ["ldap://127.0.0.1:9"]
base = "dc=nobody"
host = "DOMAIN"
"""


def split(user):
    return user["jid"].split("@")[0], user["password"]


class Login:
    """One attempt to get in with nothing but a password, as patient as the server: `how` it ended, and after how long.
    First it connects; `goes` asks to be let in."""

    def __init__(self, address, domain, user):
        self.user, self.how, self.host = user, None, None
        self.client = Client(address, 5222, domain, label=f"{user['jid']}@{address}")
        self.client.opens().has_features()

    def goes(self):
        start = time.monotonic()
        name, password = split(self.user)
        first = b"\0" + name.encode() + b"\0" + password.encode()
        answer = self._asks(f"<starttls xmlns='{TLS}'/>", lambda e: e.tag == f"{{{TLS}}}proceed")
        if answer.tag == f"{{{TLS}}}proceed":
            self.client.wraps().opens().has_features()
            answer = self._asks(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{encoded(first)}</auth>",
                                lambda e: e.tag in (f"{{{SASL}}}success", f"{{{SASL}}}failure"))
        if answer.tag == f"{{{SASL}}}success":
            self.client.opens().has_features()
            answer = self._asks(f"<iq type='set' id='b'><bind xmlns='{BIND}'><resource>plain</resource></bind></iq>",
                                lambda e: e.get("id") == "b")
        self.at = time.monotonic()
        self.took = self.at - start
        self.how = "in" if answer.get("type") == "result" else next(
            (c.tag.split("}")[1] for c in answer if c.tag.startswith(STREAMS)), answer.tag)
        if self.how == "see-other-host":
            self.host = answer.findtext(STREAMS + "see-other-host")
        if self.how == "in":
            self.client.sends_raw("<presence/>")
        return self

    def _asks(self, xml, fits):
        self.client.sends_raw(xml)
        return self.client._take(lambda e: fits(e) or e.tag in (STREAM + "error", ENDED), xml[:20], WAIT + 10)


def status_of(lab, *words):
    """Exit status and output of hexactl."""
    done = subprocess.run([LAB, "ctl", "--instance", str(lab.instance), *words], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout


def metrics(address):
    with urllib.request.urlopen(f"http://{address}:5280/metrics", timeout=10) as reply:
        text = reply.read().decode()
    return lambda name: sum(float(v) for v in re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+]+)$", text, re.M))


def node_of(top, name):
    return next(n for g in top["groups"] for n in g["nodes"] if n["name"] == name)


def gate_at_first_start(checks, lab):
    found = settled_events(lab)
    by = lambda kind, node: [e["fields"] for e in found if e["event"] == kind and e["node"] == node]
    opened = {n: [f["waited_ms"] for f in by("GateOpened", n)] for n in ("n1", "n2", "n3")}
    checks.that("gate: a node that waits for the directory holds nobody else up",
                all(len(w) == 1 for w in opened.values()) and opened["n1"][0] >= GATE * 1000
                and max(opened["n2"] + opened["n3"]) < GATE * 1000 - 1000, str(opened))
    waiting = [f["reason"] for f in by("GateWaiting", "n1")]
    checks.that("gate: it says what it waits for, and that it went on without",
                "directory nobody" in waiting and [f["reason"] for f in by("GateTimeout", "n1")] == ["directory nobody"]
                and not by("GateTimeout", "n2"), str(waiting))


def healthy(checks, lab):
    lab.waits("a link between the nodes", lambda: ctl(lab, "ha", "simulate", "n1")["possible"], 10)
    status, said = status_of(lab, "replication", "status")
    checks.that("replication status of a healthy cluster", status == 0 and said.count("good") == 3 and "BAD" not in said, said)
    report = ctl(lab, "replication", "status")
    rows = report["nodes"]
    checks.that("replication status: primary, the same schema and generation at each node",
                {r["role"] for r in rows} == {"primary"} and len({(r["schema"], r["generation"]) for r in rows}) == 1
                and {r["state_store"] for r in rows} == {"active"}, str(rows))
    status, said = status_of(lab, "doctor")
    checks.that("doctor: nothing is bad", status == 0 and "BAD" not in said, said[:2000] if status else "")
    warned = {(c["check"], c["subject"]) for c in ctl(lab, "doctor")["checks"] if c["level"] == "warning"}
    checks.that("doctor: warns of one site, a lone node and a store without replica",
                warned == {("site", "cluster"), ("redundancy", "g2"), ("store", "cluster")}, str(warned))


def landing(checks, lab, at):
    home3, home2 = lab.users("n3")[:2], lab.users("n2")[0]
    sent = Login(at["n1"], lab.domain, home3[0]).goes()
    checks.that("landing: a client of another group is sent there after it authenticated",
                (sent.how, sent.host) == ("see-other-host", at["n3"]), f"{sent.how} {sent.host}")
    there = Login(sent.host or at["n3"], lab.domain, home3[0]).goes()
    checks.that("landing: there it gets in", there.how == "in", there.how)
    back = Login(at["n1"], lab.domain, home3[0]).goes()
    checks.that("landing: who comes back is carried", back.how == "in", back.how)
    peer = Login(at["n1"], lab.domain, home2).goes()
    checks.that("landing: a client of the same group is carried", peer.how == "in", peer.how)
    # A session of n3 resumes at n1, which would send a login away.
    name, password = split(home3[1])
    keeping = Resilient([at["n3"], at["n1"]], lab.domain, name, password)
    keeping.client.ended = True
    eventually(lambda: keeping.resumed, 10)
    checks.that("landing: who resumes is carried anywhere", keeping.address == at["n1"] and keeping.logins == 1, keeping.address)
    keeping.stop()
    for login in (there, back, peer):
        login.client.drops()


def loss(checks, lab, at):
    users = lab.users("n1") + lab.users("n2")
    plain, keeping = users[:PLAIN], users[PLAIN:PLAIN + KEEPING]
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        first = list(pool.map(lambda user: Login(at["n1"], lab.domain, user).goes(), plain))
    took = time.monotonic() - start
    slowest = max(one.took for one in first)
    checks.that(f"a quiet node lets {PLAIN} in at once, far above its pace", all(one.how == "in" for one in first)
                and took < PLAIN / LOGINS / 2 and metrics(at["n1"])("hexad_admission_in_force") == 0,
                f"{took:.1f} s, slowest login {slowest:.2f} s")
    resilient = [Resilient([at["n1"], at["n2"]], lab.domain, *split(user)) for user in keeping]
    sender = Resilient([at["n2"]], lab.domain, *split(users[PLAIN + KEEPING]))
    mark = last_event(lab)
    lab("kill", "n1")
    waits_for(lab, 30, n1="unknown", n2="backup")
    for number in range(KEEPING):
        sender.send(f"<message to='{keeping[number]['jid']}' type='chat' id='k{number}'><body>k{number}</body></message>")
    with concurrent.futures.ThreadPoolExecutor(PLAIN) as pool:
        connected = list(pool.map(lambda user: Login(at["n2"], lab.domain, user), plain))
        begin = time.monotonic()
        attempts = [pool.submit(one.goes) for one in connected]
        # While they wait: what an administrator sees.
        waiting = eventually(lambda: metrics(at["n2"])("hexad_admission_waiting"), 5)
        seen = eventually(lambda: (r := node_of(ctl(lab, "topology"), "n2")["relogin"]) and r["waiting"] > 0 and r, 10)
        as_text = status_of(lab, "topology")[1]
        row = next(r for r in ctl(lab, "ha", "status") if r["node"] == "n2")
        sick = ctl_any(lab, "doctor")
        again = [one.result() for one in attempts]
    checks.that("topology tells of the clients on their way back: whose, how many, until when",
                seen["of"] == "n1" and seen["sessions"] >= PLAIN and seen["back"] < seen["sessions"]
                and seen["upper_seconds"] >= PLAIN / LOGINS and "clients of n1:" in as_text
                and (row["relogin"] or "").startswith("n1: ") and waiting > 0, f"{seen}; {row['relogin']}; {waiting}")
    status, report = sick
    bad = {(c["check"], c["subject"]) for c in report["checks"] if c["level"] == "bad"}
    checks.that("doctor: a lost node is bad, and exit status 1", status == 1 and {("node", "n1"), ("redundancy", "g1")} <= bad, str(bad))
    inside, refused = [a for a in again if a.how == "in"], [a for a in again if a.how == "resource-constraint"]
    checks.that("streams wait for their turn", len(inside) + len(refused) == PLAIN and sum(a.took > 2 for a in inside) >= 5,
                f"{len(inside)} in, {len(refused)} refused: {sorted({a.how for a in again})}")
    checks.that(f"who has waited {WAIT} s gets resource-constraint", refused
                and all(WAIT - 0.5 <= a.took <= WAIT + 4 for a in refused), f"{[round(a.took, 1) for a in refused]}")
    # A second's tokens at the beginning, then the pace; a second of grace for what this machine takes.
    most = lambda seconds: LOGINS + LOGINS * (seconds + 1)
    late = [(round(a.at - begin, 1), n + 1) for n, a in enumerate(sorted(inside, key=lambda a: a.at)) if n + 1 > most(a.at - begin)]
    checks.that("never more than the pace", not late, str(late))
    eventually(lambda: all(r.resumed for r in resilient), 20)
    checks.that("who can resume does, among them", all(r.logins == 1 and r.resumed >= 1 for r in resilient),
                str([(r.logins, r.resumed) for r in resilient]))
    eventually(lambda: all(len(r.messages()) >= 1 for r in resilient), 10)
    checks.that("nothing sent meanwhile is lost or doubled",
                [[m.get("id") for m in r.messages()] for r in resilient] == [[f"k{n}"] for n in range(KEEPING)])
    counted = metrics(at["n2"])
    checks.that("refusals are counted", counted("hexad_admission_refused_total") == len(refused),
                str(counted("hexad_admission_refused_total")))
    with concurrent.futures.ThreadPoolExecutor(PLAIN) as pool:
        last = list(pool.map(lambda a: Login(at["n2"], lab.domain, a.user).goes(), refused))
    checks.that("nobody stays outside: who was refused gets in at the next attempt", all(a.how == "in" for a in last),
                str(sorted({a.how for a in last})))
    eventually(lambda: node_of(ctl(lab, "topology"), "n2")["relogin"] is None, 40, 1)
    checks.that("when all are back nothing is expected any more", True)
    for one in [*first, *inside, *last]:
        one.client.drops()
    for one in [*resilient, sender]:
        one.stop()
    return mark


def ctl_any(lab, *words):
    status, said = status_of(lab, "--json", *words)
    return status, json.loads(said)


def gate_override(checks, lab):
    status, said = status_of(lab, "gate", "override", "n1", "--for", "soon")
    checks.that("gate override: a time that is none is refused with an example", status == 2 and "10m" in said, said)
    status, said = status_of(lab, "gate", "override", "n9", "--for", "1m")
    checks.that("gate override: so is a node that does not exist", status == 1 and "no node n9" in said, said)
    ctl(lab, "gate", "override", "n1", "--for", "1s")
    mark = last_event(lab)
    time.sleep(1.5)
    lab("start", "n1")
    about = lambda: [(e["event"], e["fields"].get("reason")) for e in events(lab, after=mark, node="n1") if e["event"].startswith("Gate")]
    eventually(lambda: "GateOpened" in dict(about()), 20)
    checks.that("gate override: it ends by itself", ("GateTimeout", "directory nobody") in about()
                and "GateOverridden" not in dict(about()), str(about()))
    waits_for(lab, 30, n1="normal", n2="normal")
    ctl(lab, "gate", "override", "n1", "--for", "1m")
    lab("kill", "n1")
    waits_for(lab, 30, n1="unknown", n2="backup")
    mark = last_event(lab)
    lab("start", "n1")
    eventually(lambda: "GateOpened" in dict(about()), 20)
    waited = [e["fields"]["waited_ms"] for e in settled_events(lab, "GateOpened", after=mark, node="n1")]
    checks.that("gate override: while it lasts the gate opens without the directory",
                ("GateOverridden", "directory nobody") in about() and waited[0] < GATE * 1000 - 1000, f"{about()} {waited}")


def main():
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(CONFIG.replace("DOMAIN", "example.test"))
        file.flush()
        with Checks() as checks, Lab("--nodes", "3", "--users", "72", "--password", "pencil", "--config", file.name) as lab:
            at = {n["name"]: n["address"] for n in lab.status["nodes"]}
            gate_at_first_start(checks, lab)
            healthy(checks, lab)
            landing(checks, lab, at)
            loss(checks, lab, at)
            gate_override(checks, lab)


if __name__ == "__main__":
    main()
