"""lab: a hexad cluster on this machine, to try, test and break."""
import argparse
import json
import os
import pathlib
import signal
import sys

import compose
import local
import status
from layout import Lab, LabError

BACKENDS = {"local": local, "compose": compose}
USAGE = """cluster-config/lab VERB [options]

  up        start everything and wait until people can log in   status   what runs where   users   who can log in
  kill stop start pause resume   NODE|redis|postgres|slapd|sync
  cut NODE [--from redis|postgres|slapd|nodes|NODE|clients|cluster|client-ports]…   heal
  logs NODE   ctl …   down
"""


def parser():
    # allow_abbrev off: `ctl` passes what it does not know.
    result = argparse.ArgumentParser(prog="lab", usage=USAGE, description=__doc__, allow_abbrev=False)
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--instance", type=int, default=int(os.environ.get("HEXAD_LAB", "0")), metavar="K",
                        help="which lab, 0 to 99: addresses 127.0.K.* (default: $HEXAD_LAB or 0)")
    common.add_argument("--data", metavar="DIR", help="where it keeps its files")
    back = common.add_mutually_exclusive_group()
    back.add_argument("--local", dest="backend", action="store_const", const="local",
                      help="processes on this machine (default)")
    back.add_argument("--compose", dest="backend", action="store_const", const="compose",
                      help="containers, by docker-compose")
    verbs = result.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name, text):
        return verbs.add_parser(name, help=text, parents=[common], allow_abbrev=False)

    up = verb("up", "start a lab; on a running one with the same arguments nothing happens")
    up.add_argument("--nodes", type=int, metavar="N", help="1 to 6 (default 2)")
    up.add_argument("--people", type=int, metavar="N",
                    help="people in the directory (default 100 without --users and --single, else 0)")
    up.add_argument("--users", type=int, default=0, metavar="N", help="local accounts user0, user1, …")
    up.add_argument("--password", default="secret", help="password of the local accounts (default: secret)")
    up.add_argument("--domain", default="example.test")
    up.add_argument("--config", metavar="FILE", help="TOML that is merged over the generated configuration")
    up.add_argument("--single", action="store_true", help="one node with the embedded store, no Redis, no PostgreSQL")
    up.add_argument("--capacity", type=int, metavar="N", help="users that a node takes")
    up.add_argument("--preset", default=os.environ.get("HEXAD_LAB_PRESET", "release"),
                    help="whose binaries: release (default), dev, tsan")
    verb("down", "end everything and remove its files")
    verb("status", "nodes and services").add_argument("--json", action="store_true")
    users = verb("users", "addresses and passwords")
    users.add_argument("--json", action="store_true")
    users.add_argument("--limit", type=int, metavar="N")
    for name, text in (("kill", "SIGKILL to a node (its supervisor lives) or a service"), ("stop", "SIGTERM, and wait"),
                       ("start", "start again, and wait until ready"), ("pause", "SIGSTOP"), ("resume", "SIGCONT")):
        one = verb(name, text)
        one.add_argument("target", metavar="NODE|redis|postgres|slapd|sync")
        if name == "kill":
            one.add_argument("--machine", action="store_true", help="the supervisor too, as if power had gone")
        if name == "start":
            one.add_argument("--no-wait", action="store_true", help="do not wait for the gate")
            one.add_argument("--bin", metavar="DIR", help="a node: from now on it runs the hexad of this folder (--local)")
    cut = verb("cut", "network cut (needs the right to use iptables, else exit 3)")
    cut.add_argument("node")
    cut.add_argument("--from", dest="sources", action="append", default=[], metavar="WHAT")
    verb("heal", "end all cuts")
    logs = verb("logs", "end of a log")
    logs.add_argument("name", metavar="NODE|SERVICE")
    logs.add_argument("-n", type=int, default=50, metavar="LINES", dest="count")
    logs.add_argument("-f", action="store_true", dest="follow")
    verb("ctl", "hexactl against the lab")
    return result


def asked(options):
    """The arguments of `up` that make a lab what it is."""
    nodes = 1 if options.single else options.nodes or 2
    people = options.people
    if people is None:
        people = 0 if options.users or options.single else 100
    if not 1 <= nodes <= 6 or (options.single and options.nodes not in (None, 1)):
        raise LabError("--nodes: 1 to 6, and 1 with --single", 2)
    if people < 0 or options.users < 0:
        raise LabError("--people, --users: a number", 2)
    config = None
    if options.config:
        try:
            config = pathlib.Path(options.config).read_text()
        except OSError as error:
            raise LabError(f"--config: {error}", 2)
    return {"nodes": nodes, "people": people, "users": options.users, "password": options.password,
            "domain": options.domain, "config": config, "single": options.single, "capacity": options.capacity}


def up(lab, backend, options):
    wanted = asked(options)
    if lab.exists:
        lab.load()
        if lab.state["arguments"] != wanted or lab.state["backend"] != backend.NAME:
            raise LabError(f"lab {lab.instance} is up with other arguments: `lab down` first", 2)
        if backend.complete(lab):
            return print_welcome(lab, backend, "already up")
    backend.up(lab, wanted, options.preset)
    print_welcome(lab, backend, "up")


def print_welcome(lab, backend, how):
    first = status.users(lab, backend, 1)
    print(f"lab {lab.instance} is {how}: {lab.arguments['nodes']} node(s) of {lab.domain}")
    for name in lab.node_names:
        print(f"  {name}  {lab.address_of(name)}  port 5222 (STARTTLS), 5223 (TLS), https://{lab.address_of(name)}:5443")
    print(f"  certificate authority: {lab.folder / 'tls' / 'ca.pem'}")
    if first:
        print(f"  log in as {first[0]['jid']} with the password {first[0]['password']}   (all: lab users)")


def print_users(told, as_json):
    if as_json:
        print(json.dumps(told))
        return
    for one in told:
        print(f"{one['jid']:<40} {one['password']:<12} {one['home'] or '-':<4} {one['source']}")


def remember_password(lab, arguments):
    """`ctl user add JID --password P`: kept, so that `lab users` can tell it."""
    if arguments[:2] == ["user", "add"] and "--password" in arguments[:-1]:
        jid = next((word for word in arguments[2:] if "@" in word), None)
        if jid:
            lab.state["passwords"][jid] = arguments[arguments.index("--password") + 1]
            lab.save()


def ctl_arguments(words):
    """Splits `[lab options] ctl …` by hand: everything after `ctl` that is not a lab option belongs to hexactl."""
    own, rest = ["ctl"], []
    words = list(words)
    while words:
        word = words.pop(0)
        if word in ("--instance", "--data") and words and not rest:
            own += [word, words.pop(0)]
        elif word in ("--local", "--compose") and not rest:
            own.append(word)
        else:
            rest.append(word)
    return own, rest


def verb_first(words):
    """Lab options may stand before the verb too: `lab --instance 3 status`."""
    front = []
    while words and words[0].startswith("--") and words[0] != "--help":
        count = 2 if words[0] in ("--instance", "--data") else 1
        front, words = front + words[:count], words[count:]
    return words[:1] + front + words[1:]


def main(words):
    passed = []
    words = verb_first(list(words))
    if "ctl" in words:
        at = words.index("ctl")
        words, passed = ctl_arguments(words[:at] + words[at + 1:])
    options = parser().parse_args(words)
    if not 0 <= options.instance <= 99:
        raise LabError("--instance: 0 to 99", 2)
    lab = Lab(options.instance, options.data)
    if options.verb not in ("status", "users", "logs", "ctl"):
        lab.lock()
    if options.verb == "up":
        return up(lab, BACKENDS[options.backend or "local"], options)
    if options.verb == "down" and not lab.exists:
        return lab.remove()
    lab.load()
    backend = BACKENDS[lab.state["backend"]]
    if options.verb == "down":
        backend.down(lab)
    elif options.verb == "status":
        told = status.status(lab, backend)
        print(json.dumps(told)) if options.json else status.print_status(told)
    elif options.verb == "users":
        print_users(status.users(lab, backend, options.limit), options.json)
    elif options.verb == "cut":
        backend.cut(lab, options.node, options.sources)
    elif options.verb == "heal":
        backend.heal(lab)
    elif options.verb == "logs":
        return backend.logs(lab, options.name, options.count, options.follow)
    elif options.verb == "ctl":
        code = backend.control(lab, passed)
        if code == 0:
            remember_password(lab, passed)
        return code
    else:
        backend.act(lab, options.verb, options.target, getattr(options, "machine", False),
                    getattr(options, "bin", None))
        if options.verb == "start" and not options.no_wait:
            backend.wait_started(lab, options.target)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        sys.exit(main(sys.argv[1:]))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        sys.exit(error.code)
    except KeyboardInterrupt:
        sys.exit(130)
