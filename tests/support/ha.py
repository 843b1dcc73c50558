"""What the stories of redundancy groups have in common: states, events, and hexactl of a lab."""
import json
import pathlib
import time
import urllib.request


def states(lab):
    return {n["name"]: n["state"] for n in lab.json("status")["nodes"]}


def waits_for(lab, timeout=60, **wanted):
    """Until these nodes are in these states; the seconds it took."""
    fits = lambda: wanted.items() <= states(lab).items()
    try:
        return lab.waits(str(wanted), fits, timeout)
    except AssertionError:
        raise AssertionError(f"after {timeout} s: states {states(lab)}, not {wanted}")


def seen_by(lab, node):
    """The states as one node sees them: of two sides of a cut each has its own view."""
    address = next(n["address"] for n in lab.status["nodes"] if n["name"] == node)
    token = (pathlib.Path(lab.status["ca_file"]).parents[1] / "config" / "admin.token").read_text().strip()
    request = urllib.request.Request(f"http://{address}:5280/v1/nodes", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=20) as reply:
        return {n["name"]: n["state"] for n in json.loads(reply.read())}


def nodes(lab):
    """What `hexactl topology` says of each node, by name."""
    return {n["name"]: n for g in ctl(lab, "topology")["groups"] for n in g["nodes"]}


def ctl(lab, *words):
    return json.loads(lab("ctl", "--json", *words))


def events(lab, kind=None, after=-1, node=None):  # number 0: not stored yet
    found = lab("ctl", "--json", "events", "--limit", "1000", *(["--kind", kind] if kind else []))
    return [e for e in map(json.loads, found.splitlines()) if e["id"] > after and node in (None, e["node"])]


def settled_events(*words, **choice):
    """The same, when each node has had the time to store what it told: twice the same, a second apart."""
    found = events(*words, **choice)
    for _ in range(20):
        before = found
        time.sleep(1)
        found = events(*words, **choice)
        if found == before:
            break
    return found


def last_event(lab):
    return max((e["id"] for e in events(lab)), default=0)
