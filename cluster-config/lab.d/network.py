"""Network cuts: an own iptables chain with rules on addresses, and on the sender's group where a library picks the
address itself (libpq cannot bind one)."""
import subprocess

import nodes
from layout import PORTS, LabError

SERVICES = ("redis", "postgres", "slapd")


def _chain(lab):
    return f"HEXAD_LAB_{lab.instance}"


def _iptables(*arguments, check=True):
    try:
        done = subprocess.run(["iptables", "-w", "5", *map(str, arguments)], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True)
    except FileNotFoundError:
        if check:
            raise LabError("cut: iptables is not installed (cmake/packages lab)", 3)
        return False
    if done.returncode != 0 and check:
        raise LabError("cut: no right to change the firewall here: " + done.stderr.strip(), 3)
    return done.returncode == 0


def _present(lab):
    return _iptables("-n", "-L", _chain(lab), check=False)


def _ensure_chain(lab):
    if not _present(lab):
        _iptables("-N", _chain(lab))
    if not _iptables("-C", "OUTPUT", "-j", _chain(lab), check=False):
        _iptables("-I", "OUTPUT", "-j", _chain(lab))


def _between(lab, name, peer):
    """Nothing passes between a node and another node."""
    for one, other in ((name, peer), (peer, name)):
        _drop(lab, "-s", lab.address_of(one), "-d", lab.address_of(other))
        _drop(lab, "-d", lab.address_of(other), "-m", "owner", "--gid-owner", nodes.group_id(lab, one))


def _drop(lab, *match):
    _iptables("-I", _chain(lab), 1, *match, "-j", "DROP")


def _from_service(lab, name, service):
    port = ("-p", "tcp", "--dport", PORTS[service])
    _drop(lab, "-s", lab.address_of(name), "-d", lab.service_address, *port)
    _drop(lab, "-s", lab.service_address, "-d", lab.address_of(name), "-p", "tcp", "--sport", PORTS[service])
    _drop(lab, "-d", lab.service_address, *port, "-m", "owner", "--gid-owner", nodes.group_id(lab, name))


def _from_clients(lab, name):
    """What clients send no longer arrives; the cluster's own connections to those ports still do."""
    ports = ",".join(str(PORTS[port]) for port in ("c2s", "c2s_tls", "https"))
    for peer in lab.node_names:
        for own in (("-m", "owner", "--gid-owner", nodes.group_id(lab, peer)), ("-s", lab.address_of(peer))):
            _iptables("-A", _chain(lab), "-d", lab.address_of(name), *own, "-j", "RETURN")
    _iptables("-A", _chain(lab), "-d", lab.address_of(name), "-p", "tcp", "-m", "multiport", "--dports", ports,
              "-j", "DROP")


def _client_ports(lab, name):
    """Nobody gets to its client ports, neither clients nor nodes; all else goes on."""
    _drop(lab, "-d", lab.address_of(name), "-p", "tcp", "-m", "multiport", "--dports", f"{PORTS['c2s']},{PORTS['c2s_tls']}")


def cut(lab, name, sources):
    """Cuts `name` off from each of `sources`: redis, postgres, slapd, nodes, a node, clients, cluster (nodes and
    services), or shuts its client ports to everybody (client-ports). None given: from everything."""
    if name not in lab.node_names:
        raise LabError(f"cut: no node {name}", 2)
    wanted = set()
    for source in sources or ["cluster", "clients"]:
        if source == "cluster":
            wanted |= {*SERVICES, *lab.node_names}
        elif source == "nodes":
            wanted |= set(lab.node_names)
        elif source in (*SERVICES, "clients", "client-ports", *lab.node_names):
            wanted.add(source)
        else:
            raise LabError(f"cut: --from {source}? redis postgres slapd nodes NODE clients cluster client-ports", 2)
    wanted.discard(name)
    _ensure_chain(lab)
    for source in sorted(wanted):
        if source in SERVICES:
            _from_service(lab, name, source)
        elif source == "clients":
            _from_clients(lab, name)
        elif source == "client-ports":
            _client_ports(lab, name)
        else:
            _between(lab, name, source)


def heal(lab):
    """Removes the chain; quiet if there is none."""
    if _present(lab):
        while _iptables("-D", "OUTPUT", "-j", _chain(lab), check=False):
            pass
        _iptables("-F", _chain(lab))
        _iptables("-X", _chain(lab))
