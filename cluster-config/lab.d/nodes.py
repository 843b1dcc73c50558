"""The nodes and hexad-sync: start, readiness, and hexactl against them."""
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

import configuration
import processes
from layout import PORTS, LabError

SYNC = "sync"


def folder(lab, name):
    return lab.folder / "nodes" / name


def log(lab, name):
    return lab.folder / "log" / f"{name}.log"


def program(lab, name, node=None):
    """Where a program lies; a node may run another build than the rest (`start NODE --bin DIR`)."""
    return lab.folder.__class__(lab.state.get("other_bins", {}).get(node, lab.state["bin"])) / name


def group_id(lab, name):
    """A numeric group of each node's own: what a firewall rule knows its outgoing packets by."""
    return 642000 + lab.instance * 10 + int(name[1:])


def node_pid(lab, name):
    return processes.pid_from(folder(lab, name) / "node.pid")


def supervisor_pid(lab, name):
    return processes.pid_from(folder(lab, name) / "supervisor.pid")


def start(lab, name):
    """Starts node and supervisor; returns when the process answers (its gate may still be shut)."""
    if node_pid(lab, name):
        return
    left = supervisor_pid(lab, name)
    if left:  # it outlived its node on purpose (`lab kill`); a new pair takes over
        processes.end(left, signal.SIGTERM, 10)
    home = folder(lab, name)
    home.mkdir(exist_ok=True)
    os.chown(home, *processes.unprivileged())
    address = lab.address_of(name)
    for port in ("c2s", "c2s_tls", "https", "admin", *([] if lab.single else ["peer"])):
        processes.check_free(address, PORTS[port], name)
    command = [program(lab, "hexad", name), "--config", configuration.path(lab), "--data", home, "--node", name, "--supervise"]
    pid = processes.start(command, log(lab, name), group=group_id(lab, name), cwd=home)
    lab.state["supervisors"][name] = processes.remember(pid)
    lab.save()
    processes.wait_until(lambda: node_pid(lab, name) and answers(lab, name, "healthz"), pid, log(lab, name), name, 60)


def wait_ready(lab, names, seconds):
    """Waits until the gates of all `names` are open."""
    for name in names:
        processes.wait_until(lambda: answers(lab, name, "readyz"), node_pid(lab, name), log(lab, name),
                             f"the gate of {name}", seconds)
    # The others hear of it with a heartbeat: what is asked next is told the same by every node.
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline and _initializing(lab) & set(names):
        time.sleep(0.05)


def _initializing(lab):
    """Nodes that the cluster still sees starting."""
    listed = control(lab, "node", "list", check=False)
    return {node["name"] for node in json.loads(listed or "[]") if node["state"] == "initializing"}


def stop(lab, name, seconds=60):
    """Graceful: the node, then its supervisor if that one does not go by itself."""
    pid, supervisor = node_pid(lab, name), supervisor_pid(lab, name)
    for one in (supervisor, pid):
        if one:
            processes.send(one, signal.SIGCONT)
    if pid:
        processes.send(pid, signal.SIGTERM)
        if not processes.wait_gone(pid, seconds):
            raise LabError(f"{name} did not stop within {seconds} s; {log(lab, name)}:\n"
                           + processes.last_lines(log(lab, name)))
    if supervisor:
        processes.end(supervisor, signal.SIGTERM, 10)


def kill(lab, name, machine):
    """SIGKILL to the node; with `machine` to the supervisor first, so that nobody hands the lease back."""
    if machine and supervisor_pid(lab, name):
        processes.send(supervisor_pid(lab, name), signal.SIGKILL)
    pid = node_pid(lab, name)
    if pid:
        processes.send(pid, signal.SIGKILL)
        processes.wait_gone(pid, 10)


def freeze(lab, name, on):
    """The machine stops, or goes on: supervisor and node alike."""
    for pid in (supervisor_pid(lab, name), node_pid(lab, name)):
        if pid:
            processes.send(pid, signal.SIGSTOP if on else signal.SIGCONT)


def start_sync(lab):
    """Starts hexad-sync; returns its pid."""
    home = folder(lab, SYNC)
    home.mkdir(exist_ok=True)
    os.chown(home, *processes.unprivileged())
    pid = processes.start([program(lab, "hexad-sync"), "--config", configuration.path(lab)], log(lab, SYNC), cwd=home)
    time.sleep(0.2)
    if processes.started_at(pid) is None:
        raise LabError(f"hexad-sync ended while starting; {log(lab, SYNC)}:\n" + processes.last_lines(log(lab, SYNC)))
    return pid


def answers(lab, name, path):
    """True if http://NODE:5280/PATH answers 200 within a second."""
    try:
        with urllib.request.urlopen(f"http://{lab.address_of(name)}:{PORTS['admin']}/{path}", timeout=1) as reply:
            return reply.status == 200
    except (OSError, urllib.error.URLError):
        return False


def answering(lab):
    """The first node that answers, or None: the one to ask."""
    return next((name for name in lab.node_names if node_pid(lab, name) and answers(lab, name, "healthz")), None)


def control(lab, *arguments, json=True, check=True, seconds=600):
    """Runs hexactl against a node that answers; its output, or None if no node does and `check` is off."""
    name = answering(lab)
    if not name:
        if check:
            raise LabError("no node answers")
        return None
    return run_control(control_command(lab, name, json), arguments, check, seconds)


def run_control(command, arguments, check=True, seconds=600):
    """The output of hexactl; on failure None, or with `check` an error in its words."""
    try:
        done = subprocess.run([*command, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=seconds)
    except subprocess.TimeoutExpired:
        if check:
            raise LabError(f"hexactl {' '.join(map(str, arguments))}: no answer within {seconds} s")
        return None
    if done.returncode != 0:
        if check:
            raise LabError(f"hexactl {' '.join(map(str, arguments))}: {(done.stderr or done.stdout).strip()}")
        return None
    return done.stdout


def control_command(lab, name, json):
    return [str(program(lab, "hexactl")), "--url", f"http://{lab.address_of(name)}:{PORTS['admin']}",
            "--token-file", str(configuration.token_file(lab)), *(["--json"] if json else [])]
