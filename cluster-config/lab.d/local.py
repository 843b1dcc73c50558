"""The back end of local processes."""
import concurrent.futures
import json
import signal
import sys

import build
import certificates
import configuration
import network
import nodes
import postgres_server
import processes
import redis_server
import scram_keys
import slapd_server
from layout import REPOSITORY, LabError

NAME = "local"


def ask(lab, *arguments):
    """The JSON that hexactl prints, or None if no node answers."""
    return nodes.control(lab, *arguments, check=False)


def _services(lab):
    """The service modules this lab has, in starting order."""
    found = [] if lab.single else [redis_server, postgres_server]
    return found + ([slapd_server] if lab.has_people() else [])


def _service_named(lab, name):
    return next((service for service in _services(lab) if service.NAME == name), None)


def _start_service(lab, service):
    if not processes.alive(lab.state["services"].get(service.NAME)):
        service.prepare(lab)
        return service.NAME, processes.remember(service.start(lab))
    return service.NAME, lab.state["services"][service.NAME]


def _start_sync(lab):
    if lab.has_people() and not processes.alive(lab.state["services"].get(nodes.SYNC)):
        lab.state["services"][nodes.SYNC] = processes.remember(nodes.start_sync(lab))
        lab.save()


def up(lab, arguments, preset):
    """Starts what is not running yet, in order; returns when all gates are open and all accounts are there."""
    if processes.subprocess.run([REPOSITORY / "cmake" / "packages", "lab"]).returncode != 0:
        raise LabError("packages are missing")
    processes.raise_descriptor_limit()
    lab.create(processes.unprivileged())
    if not lab.state:
        lab.state = {"backend": NAME, "arguments": arguments, "services": {}, "supervisors": {}, "passwords": {},
                     "imported": False}
        lab.save()
    lab.state["bin"] = str(build.place(lab, preset))
    certificates.make(lab)
    configuration.write(lab)
    with concurrent.futures.ThreadPoolExecutor(max_workers=4) as pool:
        starting = [pool.submit(_start_service, lab, service) for service in _services(lab)]
        failed = None
        for one in starting:
            try:
                name, known = one.result()
                lab.state["services"][name] = known
            except LabError as error:
                failed = failed or error
        lab.save()
        if failed:
            raise failed
    # The first node migrates the empty store while the others wait for it: all may start at once.
    for name in lab.node_names:
        nodes.start(lab, name)
    _start_sync(lab)
    nodes.wait_ready(lab, lab.node_names, 90)
    if lab.arguments["users"] and not lab.state["imported"]:
        file = lab.folder / "users.jsonl"
        scram_keys.write(file, lab.local_domain, lab.arguments["users"], lab.arguments["password"])
        nodes.control(lab, "user", "import", file, json=False)
        lab.state["imported"] = True
    if lab.has_people():
        _wait_synced(lab)
    lab.save()


def _wait_synced(lab):
    log = nodes.log(lab, nodes.SYNC)
    pid = lab.state["services"][nodes.SYNC]["pid"]

    processes.wait_until(lambda: all_assigned(lab, ask(lab, "node", "list")), pid, log, "the first directory sync", 300)


def all_assigned(lab, told):
    """True if `node list` counts every person and user: the first sync is applied."""
    wanted = lab.arguments["people"] + lab.arguments["users"]
    return told is not None and sum(node.get("assigned", 0) for node in json.loads(told)) >= wanted


def complete(lab):
    """True if everything that `up` starts runs and every gate is open."""
    services = [service.NAME for service in _services(lab)] + ([nodes.SYNC] if lab.has_people() else [])
    return (all(processes.alive(lab.state["services"].get(name)) for name in services)
            and all(nodes.node_pid(lab, name) and nodes.answers(lab, name, "readyz") for name in lab.node_names))


def down(lab):
    """Ends every process of the lab and removes its folder and firewall rules."""
    network.heal(lab)
    for name in lab.node_names:
        for pid in (nodes.supervisor_pid(lab, name), nodes.node_pid(lab, name)):
            if pid:
                for one in processes.tree(pid):
                    processes.send(one, signal.SIGKILL)
    for known in [*lab.state["supervisors"].values(), *lab.state["services"].values()]:
        if processes.alive(known):
            for one in processes.tree(known["pid"]):
                processes.send(one, signal.SIGKILL)
    for known in [*lab.state["supervisors"].values(), *lab.state["services"].values()]:
        if processes.alive(known):
            processes.wait_gone(known["pid"], 10)
    lab.remove()


def act(lab, verb, target, machine=False, bin_folder=None):
    """kill, stop, start, pause or resume of a node, redis, postgres, slapd or sync."""
    if target in lab.node_names:
        if verb == "start":
            if bin_folder is not None:
                lab.state.setdefault("other_bins", {})[target] = bin_folder
                lab.save()
            nodes.start(lab, target)
        elif verb == "stop":
            nodes.stop(lab, target)
        elif verb == "kill":
            nodes.kill(lab, target, machine)
        else:
            nodes.freeze(lab, target, verb == "pause")
        return
    service = _service_named(lab, target)
    if service is None and not (target == nodes.SYNC and lab.has_people()):
        raise LabError(f"{verb}: no {target} in this lab", 2)
    known = lab.state["services"].get(target)
    if verb == "start":
        if processes.alive(known):
            return
        if target == nodes.SYNC:
            _start_sync(lab)
        else:
            lab.state["services"][target] = _start_service(lab, service)[1]
            lab.save()
        return
    if not processes.alive(known):
        if verb in ("kill", "stop"):
            return
        raise LabError(f"{verb}: {target} is not running")
    pid = known["pid"]
    if verb == "stop":
        if service:
            service.stop(lab, pid)
        else:
            processes.end(pid, signal.SIGTERM, 20)
    else:
        number = {"kill": signal.SIGKILL, "pause": signal.SIGSTOP, "resume": signal.SIGCONT}[verb]
        whole = processes.tree(pid)
        for one in whole:
            processes.send(one, number)
        if verb == "kill":
            for one in whole:
                processes.wait_gone(one, 10)


def wait_started(lab, name):
    """After `start NODE`: until its gate is open."""
    if name in lab.node_names:
        nodes.wait_ready(lab, [name], 90)


def cut(lab, name, sources):
    network.cut(lab, name, sources)


def heal(lab):
    network.heal(lab)


def logs(lab, name, count, follow):
    file = lab.folder / "log" / f"{name}.log"
    if not file.exists():
        raise LabError(f"no log of {name}: {', '.join(sorted(path.stem for path in file.parent.glob('*.log')))}", 2)
    sys.stdout.flush()
    return processes.subprocess.call(["tail", "-n", str(count), *(["-F"] if follow else []), str(file)])


def control(lab, arguments):
    """hexactl with the caller's own output; returns its exit status."""
    name = nodes.answering(lab)
    if not name:
        raise LabError("no node answers")
    return processes.subprocess.call(nodes.control_command(lab, name, False) + arguments)


def process_of(lab, name):
    return {"pid": nodes.node_pid(lab, name), "supervisor_pid": nodes.supervisor_pid(lab, name), "container": None}


def services(lab):
    found = [(service.NAME, lab.service_address, service.PORT) for service in _services(lab)]
    if lab.has_people():
        found.append((nodes.SYNC, None, None))
    return [{"name": name, "pid": lab.state["services"][name]["pid"]
             if processes.alive(lab.state["services"].get(name)) else None, "address": address, "port": port}
            for name, address, port in found]
