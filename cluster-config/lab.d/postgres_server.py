"""The lab's PostgreSQL: a private cluster of Debian's version 15, trusted on loopback."""
import os
import pathlib
import signal

import processes
from layout import PORTS

NAME = "postgres"
PORT = PORTS["postgres"]
# By full path: a machine may have other programs of these names.
BIN = pathlib.Path("/usr/lib/postgresql/15/bin")


def prepare(lab):
    """Makes the data folder (initdb) on the first call."""
    folder = lab.folder / "postgres"
    if (folder / "PG_VERSION").exists():
        return
    folder.mkdir(exist_ok=True)
    os.chown(folder, *processes.unprivileged())
    folder.chmod(0o700)
    processes.run([BIN / "initdb", "--pgdata", folder, "--username", "hexad", "--auth", "trust", "--encoding", "UTF8",
                   "--locale", "C.UTF-8", "--no-sync"], "initdb", env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
    (folder / "pg_hba.conf").write_text("host all all samenet trust\n")
    with open(folder / "postgresql.conf", "a") as config:
        config.write(f"listen_addresses = '{lab.inside(NAME)}'\nport = {PORT}\nunix_socket_directories = ''\n"
                     "max_connections = 300\nshared_buffers = 256MB\nmax_wal_size = 2GB\n"
                     "synchronous_commit = on\nlog_line_prefix = '%m [%p] %a '\n")


def start(lab):
    """Starts PostgreSQL, makes the database if it is not there, returns the postmaster's pid."""
    folder = lab.folder / "postgres"
    log = lab.folder / "log" / "postgres.log"
    processes.check_free(lab.service_address, PORT, NAME)
    # After a SIGKILL the file names a process that is gone, or one that nobody has reaped yet: PostgreSQL would take
    # that for a running server.
    if not processes.pid_from(folder / "postmaster.pid"):
        (folder / "postmaster.pid").unlink(missing_ok=True)
    pid = processes.start([BIN / "postgres", "-D", folder], log)
    address = ["-h", lab.service_address, "-p", PORT, "-U", "hexad"]
    ready = ["pg_isready", "-q", *map(str, address), "-d", "postgres"]
    processes.wait_until(lambda: processes.subprocess.run([BIN / ready[0], *ready[1:]]).returncode == 0,
                         pid, log, "postgres", 60)
    if not (lab.folder / "postgres.created").exists():
        processes.run([BIN / "createdb", *address, "hexad"], "createdb")
        (lab.folder / "postgres.created").touch()
    return pid


def stop(lab, pid):
    processes.end(pid, signal.SIGINT, 30)
