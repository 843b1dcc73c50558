"""The back end of containers: docker-compose, a container per node and service, networks `clients` and `cluster`.

Containers see the lab's folder under its own path, so that configuration, certificates and data are what the other
back end makes. Each listens on its address in `cluster`; what comes to its address in `clients`, where its ports are
published at 127.0.K.*, is passed on to that.
"""
import json
import shutil
import socket
import subprocess
import sys
import time

import build
import certificates
import configuration
import local
import nodes
import postgres_server
import processes
import redis_server
import scram_keys
import slapd_server
from layout import PORTS, REPOSITORY, LabError

NAME = "compose"
SERVICES = {"redis": redis_server, "postgres": postgres_server, "slapd": slapd_server}
NETWORKS = ("clients", "cluster")
DOCKERFILE = """FROM debian:bookworm-slim
COPY packages /packages
RUN /packages run && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid {uid} --no-create-home --shell /usr/sbin/nologin hexad-lab
COPY bin/ /opt/hexad/
COPY entry /entry
ENTRYPOINT ["/entry"]
"""
# As root for the one rule, then without privileges. Loopback stays as it is: only what comes from outside is passed on.
ENTRY = """#!/bin/sh
set -e
if [ -n "$CLIENTS_ADDRESS" ]; then
  iptables -t nat -A PREROUTING -d "$CLIENTS_ADDRESS" -p tcp -j DNAT --to-destination "$CLUSTER_ADDRESS"
fi
exec setpriv --reuid {uid} --regid {uid} --clear-groups --no-new-privs -- "$@"
"""


def _docker(*arguments, check=True):
    done = subprocess.run([_program("docker"), *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0 and check:
        raise LabError(f"docker {arguments[0]}: {done.stderr.strip()[-2000:]}")
    return done.stdout if done.returncode == 0 else None


def _program(name):
    """Debian's own first: another docker in PATH may lack what this one has."""
    usual = f"/usr/bin/{name}"
    return usual if shutil.which(usual) else name


def _compose(lab, *arguments):
    separate = shutil.which("docker-compose")
    command = [separate] if separate else [_program("docker"), "compose"]
    done = subprocess.run([*command, "-p", _project(lab), "-f", str(lab.folder / "docker-compose.yml"),
                           *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise LabError(f"docker-compose {arguments[0]}:\n" + "\n".join(done.stdout.splitlines()[-30:]))


def _project(lab):
    return f"hexadlab{lab.instance}"


def _container(lab, name):
    return f"{_project(lab)}_{name}_1"


def _names(lab):
    services = [] if lab.single else ["redis", "postgres"]
    return services + (["slapd", "sync"] if lab.has_people() else []) + lab.node_names


def _clients_address(lab, name):
    return lab.inside(name).replace("10.91.", "10.92.")


def _command(lab, name):
    if name == "redis":
        return ["redis-server", f"{lab.folder}/redis/redis.conf"]
    if name == "postgres":
        return [str(postgres_server.BIN / "postgres"), "-D", f"{lab.folder}/postgres"]
    if name == "slapd":
        return slapd_server.command(lab)
    if name == "sync":
        return ["/opt/hexad/hexad-sync", "--config", str(configuration.path(lab))]
    return ["/opt/hexad/hexad", "--config", str(configuration.path(lab)), "--data", str(nodes.folder(lab, name)),
            "--node", name, "--supervise"]


def _service(lab, name):
    """One service of docker-compose.yml."""
    published = {"redis": ["redis"], "postgres": ["postgres"], "slapd": ["slapd"], "sync": []}
    ports = published.get(name, ["c2s", "c2s_tls", "https", "admin"])
    outside = lab.address_of(name) if name in lab.node_names else lab.service_address
    return {
        "image": f"hexad-lab:{lab.instance}", "init": True, "command": _command(lab, name),
        "working_dir": str(nodes.folder(lab, name) if name in [*lab.node_names, "sync"] else lab.folder),
        "cap_add": ["NET_ADMIN"], "stop_grace_period": "60s", "ulimits": {"nofile": _descriptors()},
        "environment": {"CLIENTS_ADDRESS": _clients_address(lab, name), "CLUSTER_ADDRESS": lab.inside(name)},
        "volumes": [f"{lab.folder}:{lab.folder}"],
        "networks": {"cluster": {"ipv4_address": lab.inside(name)}, "clients": {"ipv4_address": _clients_address(lab, name)}},
        "ports": [f"{outside}:{PORTS[port]}:{PORTS[port]}" for port in ports]}


def _descriptors():
    return processes.resource.getrlimit(processes.resource.RLIMIT_NOFILE)[1]


def _write(lab):
    """docker-compose.yml (JSON is YAML), Dockerfile and what it copies."""
    uid = processes.unprivileged()[0]
    networks = {name: {"driver": "bridge", "ipam": {"config": [{"subnet": f"{prefix}.{lab.instance}.0/24"}]}}
                for name, prefix in (("cluster", "10.91"), ("clients", "10.92"))}
    networks["cluster"]["internal"] = True  # ports are published on `clients` alone
    file = {"version": "2.4", "services": {name: _service(lab, name) for name in _names(lab)}, "networks": networks}
    (lab.folder / "docker-compose.yml").write_text(json.dumps(file, indent=1))
    image = lab.folder / "image"
    (image / "bin").mkdir(parents=True, exist_ok=True)
    (image / "Dockerfile").write_text(DOCKERFILE.format(uid=uid))
    (image / "entry").write_text(ENTRY.format(uid=uid))
    (image / "entry").chmod(0o755)
    shutil.copy2(REPOSITORY / "cmake" / "packages", image / "packages")
    for program in build.programs(lab):
        shutil.copy2(f"{lab.state['bin']}/{program}", image / "bin" / program)
        subprocess.run(["strip", "--strip-debug", image / "bin" / program], capture_output=True)  # layers stay small


def up(lab, arguments, preset):
    if subprocess.run([REPOSITORY / "cmake" / "packages", "compose"]).returncode != 0:
        raise LabError("packages are missing")
    if _docker("info", check=False) is None:
        raise LabError("the docker daemon does not answer: start it first (dockerd, or systemctl start docker)")
    owner = processes.unprivileged()
    processes.raise_descriptor_limit()
    lab.create(owner)
    if not lab.state:
        lab.state = {"backend": NAME, "arguments": arguments, "services": {}, "supervisors": {}, "passwords": {},
                     "imported": False}
        lab.save()
    lab.state["bin"] = str(build.place(lab, preset))
    certificates.make(lab)
    configuration.write(lab)
    for name in _names(lab):
        if name in SERVICES:
            SERVICES[name].prepare(lab)
        else:
            folder = nodes.folder(lab, name)
            folder.mkdir(exist_ok=True)
            processes.os.chown(folder, *owner)
    _write(lab)
    lab.save()
    _docker("build", "-q", "-t", f"hexad-lab:{lab.instance}", lab.folder / "image")
    services = [name for name in _names(lab) if name in SERVICES]
    if services:
        _compose(lab, "up", "-d", *services)
    for name in services:
        _wait(lab, name, lambda: processes.answers(lab.inside(name), PORTS[name]), 60)
    if "postgres" in services and not (lab.folder / "postgres.created").exists():
        address = ["-h", lab.inside("postgres"), "-p", str(PORTS["postgres"]), "-U", "hexad"]
        processes.run([postgres_server.BIN / "createdb", *address, "hexad"], "createdb")
        (lab.folder / "postgres.created").touch()
    _compose(lab, "up", "-d")
    for name in lab.node_names:
        _wait(lab, name, lambda: _is_ready(lab, name), 90)
    if lab.arguments["users"] and not lab.state["imported"]:
        file = lab.folder / "users.jsonl"
        scram_keys.write(file, lab.local_domain, lab.arguments["users"], lab.arguments["password"])
        nodes.run_control(_control_command(lab, answering(lab)), ["user", "import", file])
        lab.state["imported"] = True
    if lab.has_people():
        _wait(lab, "sync", lambda: local.all_assigned(lab, ask(lab, "node", "list")), 300)
    lab.save()


def _wait(lab, name, ready, seconds):
    deadline = time.monotonic() + seconds
    while not ready():
        if not _state(lab, name).get("Running"):
            raise LabError(f"{name} ended while starting:\n{_log_end(lab, name)}")
        if time.monotonic() > deadline:
            raise LabError(f"{name} is not ready after {seconds} s:\n{_log_end(lab, name)}")
        time.sleep(0.1)


def _log_end(lab, name):
    done = subprocess.run([_program("docker"), "logs", "--tail", "25", _container(lab, name)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def _state(lab, name):
    told = _docker("inspect", "-f", "{{json .State}}", _container(lab, name), check=False)
    return json.loads(told) if told else {}


def _socket(lab, name):
    return nodes.folder(lab, name) / "admin.sock"


def _is_ready(lab, name, path="readyz"):
    """Asks over the admin socket, which lies in the folder that the container shares with us."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(_socket(lab, name)))
            connection.sendall(f"GET /{path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).split()[1:2] == [b"200"]
    except OSError:
        return False


def answering(lab):
    return next((name for name in lab.node_names if _is_ready(lab, name, "healthz")), None)


def _control_command(lab, name, json_output=True):
    return [f"{lab.state['bin']}/hexactl", "--socket", str(_socket(lab, name)), *(["--json"] if json_output else [])]


def ask(lab, *arguments):
    name = answering(lab)
    return nodes.run_control(_control_command(lab, name), arguments, check=False) if name else None


def control(lab, arguments):
    name = answering(lab)
    if not name:
        raise LabError("no node answers")
    return subprocess.call(_control_command(lab, name, False) + arguments)


def complete(lab):
    return (all(_state(lab, name).get("Running") for name in _names(lab))
            and all(_is_ready(lab, name) for name in lab.node_names))


def down(lab):
    if (lab.folder / "docker-compose.yml").exists():
        _compose(lab, "down", "-v", "-t", "5")
    _docker("rmi", f"hexad-lab:{lab.instance}", check=False)
    lab.remove()


def act(lab, verb, target, machine=False, bin_folder=None):
    if bin_folder is not None:
        raise LabError("start --bin: only with --local", 2)
    if target not in _names(lab):
        raise LabError(f"{verb}: no {target} in this lab", 2)
    container = _container(lab, target)
    if verb == "kill" and target in lab.node_names and not machine:
        # The node process alone, named by the pid it wrote: the supervisor in the container lives.
        pid = (nodes.folder(lab, target) / "node.pid").read_text().strip()
        _docker("exec", container, "sh", "-c", f"kill -KILL {int(pid)}")
    elif verb == "kill":
        _docker("kill", "-s", "KILL", container)
    elif verb == "stop":
        _docker("stop", "-t", "60", container)
    elif verb == "start":
        running = _state(lab, target).get("Running")
        if target in lab.node_names and running and not _is_ready(lab, target, "healthz"):
            _docker("restart", "-t", "5", container)  # its supervisor outlived the node
        elif not running:
            _docker("start", container)
        if target in SERVICES:
            _wait(lab, target, lambda: processes.answers(lab.inside(target), PORTS[target]), 60)
    else:
        _docker({"pause": "pause", "resume": "unpause"}[verb], container)


def wait_started(lab, name):
    if name in lab.node_names:
        _wait(lab, name, lambda: _is_ready(lab, name), 90)


def cut(lab, name, sources):
    """Drops packets inside the container, by the other side's address. (A container that is taken off a network gets
    its ports published on the other one, so a disconnected network is no cut.)"""
    if name not in lab.node_names:
        raise LabError(f"cut: no node {name}", 2)
    others = {other: [lab.inside(other), _clients_address(lab, other)] for other in _names(lab) if other != name}
    networks = {"cluster": [f"10.91.{lab.instance}.0/24"], "clients": [f"10.92.{lab.instance}.0/24"]}
    groups = {"nodes": [address for other in lab.node_names if other != name for address in others[other]]}
    known = {**others, **networks, **groups}
    wanted = []
    for source in sources or NETWORKS:
        if source not in known:
            raise LabError(f"cut: --from {source}? {' '.join(known)}", 2)
        wanted += known[source]
    for address in wanted:
        for chain, match in (("INPUT", ["!", "-i", "lo", "-s"]), ("OUTPUT", ["!", "-o", "lo", "-d"])):
            _docker("exec", _container(lab, name), "iptables", "-w", "5", "-I", chain, *match, address, "-j", "DROP")


def heal(lab):
    """The containers have no other rules in these chains."""
    for name in lab.node_names:
        for chain in ("INPUT", "OUTPUT"):
            _docker("exec", _container(lab, name), "iptables", "-w", "5", "-F", chain, check=False)


def logs(lab, name, count, follow):
    if name not in _names(lab):
        raise LabError(f"no log of {name}: {', '.join(_names(lab))}", 2)
    sys.stdout.flush()
    return subprocess.call([_program("docker"), "logs", "--tail", str(count), *(["-f"] if follow else []),
                            _container(lab, name)])


def process_of(lab, name):
    """`pid` is that of the container's first process on this machine; null if the node in it is dead."""
    state = _state(lab, name)
    alive = state.get("Running") and (state.get("Paused") or _is_ready(lab, name, "healthz"))
    return {"pid": state.get("Pid") if alive else None, "supervisor_pid": None, "container": _container(lab, name)}


def services(lab):
    result = []
    for name in _names(lab):
        if name in lab.node_names:
            continue
        state = _state(lab, name)
        result.append({"name": name, "pid": state.get("Pid") if state.get("Running") else None,
                       "address": lab.service_address if name in SERVICES else None, "port": PORTS.get(name)})
    return result
