"""The lab's Redis: append-only file, no eviction, on the service address."""
import signal
import socket

import processes
from layout import PORTS, LabError

NAME = "redis"
PORT = PORTS["redis"]


def prepare(lab):
    folder = lab.folder / "redis"
    folder.mkdir(exist_ok=True)
    processes.os.chown(folder, *processes.unprivileged())
    (folder / "redis.conf").write_text(
        f"bind {lab.inside(NAME)}\nport {PORT}\nprotected-mode no\ndir {folder}\n"
        "appendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\nsave \"\"\ndaemonize no\n")


def start(lab):
    """Starts Redis and returns its pid once it answers and has loaded its file."""
    folder = lab.folder / "redis"
    log = lab.folder / "log" / "redis.log"
    processes.check_free(lab.service_address, PORT, NAME)
    pid = processes.start(["redis-server", folder / "redis.conf"], log)
    processes.wait_until(lambda: _ready(lab), pid, log, "redis", 60)
    version = _command(lab, "INFO server").split("redis_version:")[1].split()[0]
    if int(version.split(".")[0]) < 7:
        raise LabError(f"redis-server {version} is too old: 7 or later is needed")
    return pid


def stop(lab, pid):
    processes.end(pid, signal.SIGTERM, 20)


def _command(lab, text):
    with socket.create_connection((lab.service_address, PORT), 2) as connection:
        connection.sendall(text.encode() + b"\r\n")
        return connection.recv(65536).decode()


def _ready(lab):
    try:
        return _command(lab, "PING").startswith("+PONG")
    except OSError:
        return False
