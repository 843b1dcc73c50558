"""Where a lab lives: its folder, its addresses, what is remembered between two calls of `lab`."""
import fcntl
import json
import os
import pathlib
import shutil

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
UNPRIVILEGED = "hexad-lab"
PORTS = {"c2s": 5222, "c2s_tls": 5223, "https": 5443, "admin": 5280, "peer": 5270,
         "redis": 6379, "postgres": 5432, "slapd": 3389}


class LabError(Exception):
    """What went wrong, in words for the one who typed the command; `code` is the exit status."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


def runtime_folder():
    """Where labs are registered. Root's runtime folder is closed to the unprivileged user, so root uses /tmp."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() != 0 and own and os.access(own, os.W_OK):
        return pathlib.Path(own)
    return pathlib.Path("/tmp")


class Lab:
    """One lab: instance K, everything it owns below `folder`, and `state`, kept in state.json."""

    def __init__(self, instance, data=None):
        self.instance = instance
        self.registered = runtime_folder() / f"hexad-lab-{instance}"
        self.folder = pathlib.Path(data).resolve() if data else self.registered.resolve()
        self.state = {}
        self._lock = None

    def lock(self):
        """One changing command at a time per instance."""
        self._lock = open(runtime_folder() / f"hexad-lab-{self.instance}.lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    @property
    def exists(self):
        return (self.folder / "state.json").exists()

    def create(self, owner):
        """Makes the folder, readable by the unprivileged user, and registers it if it is not in the usual place."""
        if self.folder.exists() and any(self.folder.iterdir()) and not self.exists:
            raise LabError(f"{self.folder} has something else in it: choose another --data")
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.folder.stat().st_uid not in (os.geteuid(), owner[0]):
            raise LabError(f"{self.folder} belongs to another user")
        if self.registered != self.folder:
            if self.registered.is_symlink():
                self.registered.unlink()
            elif self.registered.exists():
                raise LabError(f"{self.registered} is in the way: a lab {self.instance} is there already")
            self.registered.symlink_to(self.folder)
        os.chmod(self.folder, 0o755)
        for name in ("log", "config", "tls", "upload", "nodes", "bin"):
            (self.folder / name).mkdir(exist_ok=True)
        for name in ("log", "upload", "nodes"):
            os.chown(self.folder / name, *owner)

    def load(self):
        if not self.exists:
            raise LabError(f"no lab {self.instance} is up ({self.registered}): cluster-config/lab up", 2)
        self.state = json.loads((self.folder / "state.json").read_text())

    def save(self):
        fresh = self.folder / "state.json.new"
        fresh.write_text(json.dumps(self.state, indent=1))
        fresh.replace(self.folder / "state.json")

    def remove(self):
        if self.exists or self.folder.name.startswith("hexad-lab-"):
            shutil.rmtree(self.folder, ignore_errors=True)
        if self.registered.is_symlink():
            self.registered.unlink()

    # Addresses: node n on 127.0.K.1n, services on 127.0.K.10.
    def node_address(self, number):
        return f"127.0.{self.instance}.{10 + number}"

    @property
    def service_address(self):
        return f"127.0.{self.instance}.10"

    @property
    def in_containers(self):
        return self.state.get("backend") == "compose"

    def inside(self, name):
        """The address that a node or service listens on and the others reach it at. Of local processes that is the
        one everybody uses; containers have it on their own network `cluster`, published on the other."""
        if not self.in_containers:
            return self.address_of(name) if name in self.node_names else self.service_address
        fixed = {"redis": 2, "postgres": 3, "slapd": 4, "sync": 5}
        return f"10.91.{self.instance}.{fixed.get(name) or 10 + int(name[1:])}"

    # What `up` was asked for.
    @property
    def arguments(self):
        return self.state["arguments"]

    @property
    def domain(self):
        return self.arguments["domain"]

    @property
    def single(self):
        return self.arguments["single"]

    @property
    def node_names(self):
        return [f"n{number}" for number in range(1, self.arguments["nodes"] + 1)]

    def group_of(self, name):
        return "g" + str((int(name[1:]) + 1) // 2)

    def address_of(self, name):
        return self.node_address(int(name[1:]))

    def has_people(self):
        return self.arguments["people"] > 0

    @property
    def local_domain(self):
        """The host of the local accounts: the domain itself unless the directory has it."""
        return f"local.{self.domain}" if self.has_people() else self.domain

    def hosts(self):
        """(name, auth) of every host: people at the domain; local accounts there too, or at local.<domain>."""
        if not self.has_people():
            return [(self.domain, "local")]
        if self.arguments["users"]:
            return [(self.domain, "directory"), (self.local_domain, "local")]
        return [(self.domain, "directory")]

    @property
    def capacity(self):
        asked = self.arguments["capacity"]
        accounts = self.arguments["people"] + self.arguments["users"]
        return asked or max(25000, 3 * accounts // self.arguments["nodes"])

    @property
    def suffix(self):
        """The directory's suffix: dc=example,dc=test for example.test."""
        return ",".join(f"dc={label}" for label in self.domain.split("."))
