"""Processes of a lab: started without privileges in their own session, known by pid and start time, signalled as trees."""
import os
import pathlib
import pwd
import resource
import signal
import socket
import subprocess
import time

from layout import UNPRIVILEGED, LabError


_children = set()


def raise_descriptor_limit():
    """Thousands of client connections per node: the soft limit follows the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def unprivileged():
    """(uid, gid) that services and nodes run as: the lab's own system user for root, else the caller."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        subprocess.run(["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
                        "--shell", "/usr/sbin/nologin", UNPRIVILEGED], check=True)
        entry = pwd.getpwnam(UNPRIVILEGED)
    return entry.pw_uid, entry.pw_gid


def identity(group=None):
    """Popen arguments that drop root. `group`: a numeric gid of its own, by which a firewall rule knows a node."""
    if os.geteuid() != 0:
        return {}
    uid, gid = unprivileged()
    return {"user": uid, "group": group or gid, "extra_groups": [gid] if group else []}


def start(command, log, group=None, environment=None, cwd="/"):
    """Starts a server in the background; output is appended to `log`. Returns its pid."""
    with open(log, "ab") as output:
        process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=output, start_new_session=True, cwd=cwd,
                                   env={**os.environ, **(environment or {})}, umask=0o027, **identity(group))
    _children.add(process.pid)
    return process.pid


def run(command, what, **options):
    """Runs a tool without privileges and returns its output; failure says `what` and the tool's last words."""
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, cwd="/", **identity(), **options)
    if done.returncode != 0:
        raise LabError(f"{what} failed ({done.returncode}):\n" + "\n".join(done.stdout.splitlines()[-20:]))
    return done.stdout


def started_at(pid):
    """The kernel's start time of a pid, or None; tells a process from a later one with the same number."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def reap():
    """Collects servers started by this call that ended, so that they do not look alive. Only those: another thread
    may be waiting for a child of its own."""
    for pid in list(_children):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] == pid
        except ChildProcessError:
            ended = True
        if ended:
            _children.discard(pid)


def remember(pid):
    return {"pid": pid, "started": started_at(pid)}


def alive(known):
    reap()
    return bool(known) and known["pid"] and started_at(known["pid"]) == known["started"] is not None


def pid_from(file):
    """A pid that a server wrote to a file, if that process lives; else None."""
    try:
        pid = int(pathlib.Path(file).read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if started_at(pid) is not None else None


def tree(pid):
    """The pid and all its descendants, parents first."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            children.setdefault(parent, []).append(int(entry))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def wait_gone(pid, seconds):
    """True when the process is gone within the time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        reap()
        if started_at(pid) is None:
            return True
        time.sleep(0.02)
    return False


def end(pid, polite, seconds):
    """Asks with `polite`, waits, then kills the whole tree."""
    whole = tree(pid)
    send(pid, signal.SIGCONT)
    send(pid, polite)
    if not wait_gone(pid, seconds):
        for one in whole:
            send(one, signal.SIGKILL)
        wait_gone(pid, 5)


def check_free(address, port, who):
    """Names a taken port before a server trips over it; a server that ran before is left alone."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            raise LabError(f"{who}: {address}:{port} is taken ({error.strerror}); "
                           "stop what listens there or choose another --instance")


def last_lines(log, count=25):
    try:
        with open(log, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            return "\n".join("    " + line for line in file.read().decode(errors="replace").splitlines()[-count:])
    except OSError:
        return "    (no log)"


def wait_until(ready, pid, log, what, seconds):
    """Polls `ready()` until true. A process that ends before, or too much time, is an error with its log's end."""
    deadline = time.monotonic() + seconds
    while not ready():
        reap()
        if pid and started_at(pid) is None:
            raise LabError(f"{what} ended while starting; {log}:\n{last_lines(log)}")
        if time.monotonic() > deadline:
            raise LabError(f"{what} is not ready after {seconds} s; {log}:\n{last_lines(log)}")
        time.sleep(0.05)


def answers(address, port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0
