"""A lab for a test: started on a free instance, its nodes and users as `lab status` and `lab users` tell, ended at exit."""
import json
import os
import pathlib
import socket
import subprocess
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
LAB = REPOSITORY / "cluster-config" / "lab"


def free_instance():
    for number in range(20 + os.getpid() % 60, 100):
        if os.path.lexists(f"/tmp/hexad-lab-{number}"):  # another lab, perhaps with a node that was killed
            continue
        with socket.socket() as probe:
            try:
                probe.bind((f"127.0.{number}.11", 5222))
                return number
            except OSError:
                continue
    raise RuntimeError("no free lab instance")


class Lab:
    def __init__(self, *arguments, instance=None):
        self.instance = free_instance() if instance is None else instance
        self.arguments = arguments

    def __enter__(self):
        self("up", *self.arguments, timeout=1800)
        self.status = self.json("status")
        self.domain = self.status["domain"]
        return self

    def __exit__(self, kind, *_):
        if kind is not None and os.environ.get("HEXAD_KEEP_LAB"):
            return
        self("down", check=False)

    def __call__(self, *words, check=True, timeout=300):
        """`lab WORDS`; its standard output. Raises with what it said if it fails."""
        done = subprocess.run([LAB, words[0], "--instance", str(self.instance), *words[1:]], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
        if check and done.returncode:
            raise RuntimeError(f"lab {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def refuses(self, *words, status):
        """The command must end with this exit status."""
        done = subprocess.run([LAB, words[0], "--instance", str(self.instance), *words[1:]], stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        assert done.returncode == status, f"lab {' '.join(words)}: exit status {done.returncode}: {done.stdout}"

    def json(self, *words):
        return json.loads(self(*words, "--json"))

    @property
    def folder(self):
        return pathlib.Path(self.status["ca_file"]).parents[1]

    def ctl(self, *words):
        """The JSON that `hexactl WORDS` prints."""
        return json.loads(self("ctl", "--json", *map(str, words), check=words[:2] != ("cluster", "verify")))

    def redis(self, *words):
        """What redis-cli prints."""
        service = next(s for s in self.status["services"] if s["name"] == "redis")
        done = subprocess.run(["redis-cli", "-h", service["address"], "-p", str(service["port"]), *map(str, words)], text=True,
                              stdout=subprocess.PIPE, timeout=20, check=True)
        return done.stdout.strip()

    def node(self, name):
        return next(n for n in self.json("status")["nodes"] if n["name"] == name)

    def users(self, home=None):
        return [u for u in self.json("users") if home is None or u["home"] == home]

    def waits(self, what, condition, timeout):
        """Until `condition()` is true; the seconds it took. Raises after `timeout`."""
        start = time.monotonic()
        while not condition():
            if time.monotonic() - start > timeout:
                raise AssertionError(f"after {timeout} s: not {what}")
            time.sleep(0.2)
        return time.monotonic() - start
