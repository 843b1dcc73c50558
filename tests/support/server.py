"""A private one-node hexad: embedded store, an own loopback address, a temporary folder."""
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "cluster-config" / "lab.d"))
import scram_keys  # noqa: E402  (the lab's own)

DOMAIN = "example.test"
PASSWORD = "correct horse"
SANITIZER_WORDS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "WARNING: ThreadSanitizer")


def binaries():
    """build/<preset>/bin of $HEXAD_PRESET, release if not set."""
    return REPOSITORY / "build" / os.environ.get("HEXAD_PRESET", "release") / "bin"


def free_address():
    """A loopback address on which nobody listens: by our pid first, so that runs side by side do not meet."""
    for attempt in range(200):
        number = (os.getpid() * 7 + attempt * 977) % 60000
        address = f"127.{200 + number // 240 % 50}.{number // 250 % 250}.{number % 240 + 10}"
        with socket.socket() as probe:
            try:
                probe.bind((address, 5280))
                return address
            except OSError:
                continue
    raise RuntimeError("no free loopback address")


class Server:
    """Started by `with Server() as server`, or by start() and stop(). Survives kill() and start()."""

    def __init__(self, config=None, descriptors=None):
        """`config`: TOML text for --config ({address} and {data} are filled in), else the embedded default with one host.
        `descriptors`: how many files and sockets the process may open."""
        self.address = free_address()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hexad-test-"))
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.config = config
        self.descriptors = descriptors
        self.domain = DOMAIN
        self.process = None
        self._imported = 0

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        self.remove()

    def start(self):
        """Returns when the gate is open."""
        command = [binaries() / "hexad", "--host", self.domain, "--address", self.address, "--data", self.data]
        if self.config:
            (self.folder / "hexad.toml").write_text(self.config.replace("{address}", self.address)
                                                   .replace("{data}", str(self.data)))
            command += ["--config", self.folder / "hexad.toml"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.folder, preexec_fn=self._limit if self.descriptors else None)
        deadline = time.monotonic() + 60
        while not self._ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"hexad ended while starting ({self.process.returncode}):\n{self.log_end()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"hexad is not ready after 60 s:\n{self.log_end()}")
            time.sleep(0.03)
        return self

    def _limit(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def _ready(self):
        try:
            with urllib.request.urlopen(f"http://{self.address}:5280/readyz", timeout=2) as reply:
                return reply.status == 200
        except OSError:
            return False

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """Graceful; returns the exit status."""
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode if self.process else 0

    def kill(self):
        """SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_end(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def sanitizer_report(self):
        """What a sanitizer wrote, or nothing."""
        text = self.log.read_text(errors="replace")
        found = [text.find(word) for word in SANITIZER_WORDS if word in text]
        return text[min(found):][:8000] if found else ""

    def control(self, *arguments):
        """hexactl on the admin socket; its output."""
        done = subprocess.run([str(binaries() / "hexactl"), "--socket", str(self.data / "admin.sock"),
                               *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"hexactl {' '.join(map(str, arguments))}: {done.stderr or done.stdout}")
        return done.stdout

    def ensure_accounts(self, names):
        """Makes local accounts with PASSWORD; keys are derived once, a batch is one call."""
        keys = scram_keys.derive(PASSWORD, b"hexad-test-salt!")
        self._imported += 1
        file = self.folder / f"accounts-{self._imported}.jsonl"
        with open(file, "w") as lines:
            for name in names:
                lines.write(json.dumps({"jid": f"{name}@{self.domain}", "scram": keys}) + "\n")
        self.control("user", "import", file)
