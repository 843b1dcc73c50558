"""A lab for a test: a free instance, always taken down."""
import json
import pathlib
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = REPOSITORY / "cluster-config" / "lab"


class LabFailed(AssertionError):
    """A lab command ended otherwise than the test says."""


def free_instance():
    """An instance whose default folder does not exist; tests take them from the top, people from the bottom."""
    for number in range(99, 19, -1):
        if not pathlib.Path(f"/tmp/hexad-lab-{number}").exists():
            return number
    raise RuntimeError("no free lab instance")


class Lab:
    """`with Lab("--nodes", 2, "--users", 10) as lab:` is up inside, and gone afterwards."""

    def __init__(self, *arguments):
        self.arguments = list(map(str, arguments))
        self.instance = free_instance()

    def __enter__(self):
        try:
            self.run("up", *self.arguments)
        except LabFailed:
            self.run("down", status=None)
            raise
        return self

    def __exit__(self, *_):
        self.run("down", status=None)

    def run(self, verb, *arguments, status=0, seconds=900):
        """Output of a lab command; another exit status than `status` fails the test (None: any will do)."""
        done = subprocess.run([PROGRAM, verb, "--instance", str(self.instance), *map(str, arguments)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
        if status is not None and done.returncode != status:
            raise LabFailed(f"lab {verb} {' '.join(map(str, arguments))}: exit status {done.returncode}, not {status}\n"
                            f"{done.stdout}{done.stderr}")
        return done.stdout

    def status(self):
        return json.loads(self.run("status", "--json"))

    def node(self, name):
        """One node of `status`."""
        return next(node for node in self.status()["nodes"] if node["name"] == name)

    def users(self, limit=None):
        return json.loads(self.run("users", "--json", *(["--limit", limit] if limit else [])))
