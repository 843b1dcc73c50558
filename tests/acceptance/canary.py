#!/usr/bin/python3
"""Each node of a pair logs in to the other one as a client does (docs/redundancy-groups.md, "The canary"): a cluster that is well
shows nothing of it, nobody else gets in by that way, and what is no fault of the client service is not taken for one. What
happens to a node that does not serve: not_serving.py.

  tests/acceptance/canary.py [unseen|strangers|no_false_alarm]"""
import pathlib
import ssl
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.checks import Checks  # noqa: E402
from support.client import BIND, SASL, Client, PlayError, encoded  # noqa: E402
from support.ha import ctl, events, last_event, nodes  # noqa: E402
from support.lab import Lab  # noqa: E402
from support.resilient import Resilient  # noqa: E402

HOST = "canary.invalid"


def metrics(lab, name):
    node = next(n for n in lab.status["nodes"] if n["name"] == name)
    with urllib.request.urlopen(f"http://{node['address']}:{node['admin_port']}/metrics", timeout=10) as reply:
        lines = [line.rsplit(" ", 1) for line in reply.read().decode().splitlines() if not line.startswith("#")]
    return {key: float(value) for key, value in lines}


def logins(lab, node, result="serves"):
    peer = "n2" if node == "n1" else "n1"
    return metrics(lab, node).get(f'hexad_ha_canary_logins_total{{peer="{peer}",result="{result}"}}', 0)


def unseen(checks, lab):
    lab.waits("logins of both", lambda: all(logins(lab, n) >= 3 for n in ("n1", "n2")), 20)
    served = {name: n["service"] for name, n in nodes(lab).items()}
    checks.that("well: topology says that both serve", set(served.values()) == {"serves"}, str(served))
    rows = {r["node"]: r["service"] for r in ctl(lab, "ha", "status")}
    checks.that("well: ha status says it, too", rows == served, str(rows))
    told = [c for c in ctl(lab, "doctor")["checks"] if c["check"] == "client-service"]
    checks.that("well: doctor says it, too", len(told) == 2 and all(c["level"] == "good" for c in told), str(told))
    for name in ("n1", "n2"):
        seen = [metrics(lab, name) for _ in range(20)]
        counts = {key: max(m[key] for m in seen) for key in
                  ("hexad_c2s_sessions", "hexad_c2s_logins_total", "hexad_c2s_login_failures_total", "hexad_routing_accounts")}
        checks.that(f"well: {name} counts no session and no login", not any(counts.values()), str(counts))
    status = [(n["sessions"], nodes(lab)[n["name"]]["active"]) for n in lab.json("status")["nodes"]]
    checks.that("well: no sessions in lab status and topology", status == [(0, 0), (0, 0)], str(status))
    checks.that("well: no sessions in hexactl session list", not ctl(lab, "session", "list"))
    keys = lab.redis("keys", "*").split()
    left = [key for key in keys if "canary" in key]
    checks.that("well: nothing of it in Redis", not left and keys, str(left))
    checks.that("well: cluster verify is clean", ctl(lab, "cluster", "verify")["clean"])
    at = {n["name"]: n["address"] for n in lab.status["nodes"]}
    one = Resilient([at["n1"]], lab.domain, lab.users()[0]["jid"].split("@")[0], "pencil")
    time.sleep(2)
    counts = [n["sessions"] for n in lab.json("status")["nodes"]]
    checks.that("well: one client is one session", counts == [1, 0] and metrics(lab, "n1")["hexad_c2s_sessions"] == 1, str(counts))
    one.stop()


def strangers(checks, lab):
    tls = lab.folder / "tls"
    at = lab.node("n1")["address"]
    node, host = ((tls / f"{name}.pem", tls / f"{name}.key") for name in ("n2", lab.domain))
    if not host[0].exists():  # whatever else the same authority has signed
        host = next((pem, pem.with_suffix(".key")) for pem in sorted(tls.glob("*.pem"))
                    if pem.stem not in ("ca", "n1", "n2") and pem.with_suffix(".key").exists())

    def stream(name, certificate=None):
        client = Client(at, 5223, lab.domain).wraps(name=name, certificate=certificate)
        return client.opens(to=HOST)

    def turned_away(what, *arguments):
        try:
            client = stream(*arguments)
            client.stream_error("host-unknown")
            checks.that(f"strangers: {what}", True, "host-unknown")
        except (PlayError, ssl.SSLError, OSError) as error:
            text = str(error)
            checks.that(f"strangers: {what}", "features" not in text, text.splitlines()[0])

    turned_away("without a certificate nobody gets to the host", HOST)
    turned_away("nor under another name", lab.domain)
    turned_away("nor with a certificate of the same authority that is no node's", HOST, host)
    plain = Client(at, 5222, lab.domain).opens(to=HOST)
    plain.has_features()
    try:
        plain.starts_tls().opens(to=HOST).has_features()
        checks.that("strangers: nor over STARTTLS", False, "features")
    except (PlayError, ssl.SSLError, OSError) as error:
        checks.that("strangers: nor over STARTTLS", True, type(error).__name__)

    client = stream(HOST, node)
    offered = [m.text for m in client.has_features().iter(f"{{{SASL}}}mechanism")]
    checks.that("strangers: a node's certificate is offered EXTERNAL and nothing else", offered == ["EXTERNAL"], str(offered))
    client.sends_raw(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{encoded(f'n1@{HOST}'.encode())}</auth>")
    client.fails_to_authenticate("not-authorized")
    checks.that("strangers: a node is itself, no other one", True)
    client = stream(HOST, node)
    client.has_features()
    client.sends_raw(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>")
    client.receives(f"<success xmlns='{SASL}'/>")
    client.opens(to=HOST).has_features()
    client.sends_raw(f"<iq type='set' id='b'><bind xmlns='{BIND}'/></iq>")
    client.receives(f"<iq type='result' id='b'><bind xmlns='{BIND}'><jid>n2@{HOST}/canary</jid></bind></iq>")
    client.sends_raw(f"<message id='m' to='n2@{HOST}'><body>hm</body></message>")
    client.receives(f"<message id='m' from='n2@{HOST}/canary'><body>hm</body></message>")
    client.sends_raw(f"<message id='m' to='{lab.users()[0]['jid']}'><body>hm</body></message>")
    client.stream_error("policy-violation")
    checks.that("strangers: a node can talk to itself and to nobody else", True)

    def asked(name):
        done = subprocess.run(["openssl", "s_client", "-connect", f"{at}:5223", "-servername", name, "-alpn", "xmpp-client"],
                              input="", text=True, capture_output=True, timeout=20)
        assert "SSL handshake has read" in done.stdout, done.stdout + done.stderr
        return "No client certificate CA names sent" not in done.stdout
    checks.that("strangers: ordinary clients are not asked for a certificate", not asked(lab.domain) and asked(HOST))


def no_false_alarm(checks, lab):
    mark = last_event(lab)
    lab("pause", "redis")
    time.sleep(8)
    lab("resume", "redis")
    ctl(lab, "node", "drain", "n1")
    time.sleep(8)
    drained = nodes(lab)["n1"]["service"]
    ctl(lab, "node", "return", "n1")
    lab.waits("both serve", lambda: all(n["service"] == "serves" for n in nodes(lab).values()), 20)
    wrong = [e for e in events(lab, after=mark) if e["event"] in ("NotServing", "HaStateChanged", "FailoverStarted")]
    checks.that("a Redis that stands still and a node that drains: nobody is said not to serve, nothing moves", not wrong,
                str(wrong))
    checks.that("a node that drains is not looked at", drained == "not looked at", drained)


with Checks() as all_checks, Lab("--nodes", "2", "--users", "8", "--password", "pencil") as up:
    for step in (unseen, strangers, no_false_alarm):
        if len(sys.argv) < 2 or step.__name__ in sys.argv[1:]:
            step(all_checks, up)
