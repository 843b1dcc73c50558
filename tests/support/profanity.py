"""Profanity in a terminal of its own: a test types what a person would and reads the screen."""
import os
import pathlib
import re
import subprocess
import tempfile
import time


class Profanity:
    """Verifies certificates against `ca_file`; without one it trusts what the system does, and asks about the rest."""

    def __init__(self, jid, password, ca_file=None):
        self.jid, self.account = jid, jid.split("@")[0]
        self.folder = tempfile.TemporaryDirectory(prefix="hexad-profanity-")
        home = pathlib.Path(self.folder.name)
        (home / "data" / "profanity").mkdir(parents=True)
        (home / "config" / "profanity").mkdir(parents=True)
        self.accounts = home / "data" / "profanity" / "accounts"
        self.password = password
        self.trusted = home / "trusted"
        if ca_file:
            self.trusted.mkdir()
            (self.trusted / "ca.pem").write_bytes(pathlib.Path(ca_file).read_bytes())
            subprocess.run(["openssl", "rehash", self.trusted], check=True, stdout=subprocess.DEVNULL)
        (home / "config" / "profanity" / "profrc").write_text("[ui]\nsplash=false\nwrap=false\n[notifications]\nmessage=off\n")
        self.socket = str(home / "tmux")
        self.environment = {**os.environ, "HOME": str(home), "XDG_DATA_HOME": str(home / "data"),
                            "XDG_CONFIG_HOME": str(home / "config"), "LC_ALL": "C.UTF-8"}
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", "200", "-y", "60", "profanity")

    def _tmux(self, *words):
        return subprocess.run(["tmux", "-S", self.socket, *words], env=self.environment, check=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, text=True).stdout

    def __enter__(self):
        self.reads("Profanity")
        if self.trusted.exists():
            self.types(f"/tls certpath set {self.trusted}")
            self.reads("Certificate path set")
        return self

    def __exit__(self, *_):
        try:
            self._tmux("kill-server")
        except subprocess.CalledProcessError:
            pass
        self.folder.cleanup()

    def types(self, line):
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def screen(self):
        return self._tmux("capture-pane", "-p", "-J")

    def shows(self, pattern):
        return re.search(pattern, self.screen()) is not None

    def reads(self, pattern, seconds=15):
        """Waits until the screen shows this; the seconds it took."""
        start = time.monotonic()
        while not self.shows(pattern):
            if time.monotonic() - start > seconds:
                raise AssertionError(f"Profanity does not show {pattern!r}:\n{self.screen()}")
            time.sleep(0.05)
        return time.monotonic() - start

    def connects(self, address, port=5222):
        """Types /connect with server and port, then the password when asked; does not wait for what comes of it."""
        self.types(f"/connect {self.jid} server {address} port {port} tls force")
        self.reads("Enter password")
        self.types(self.password)

    def online(self, address, port=5222):
        self.connects(address, port)
        self.reads(r"logged in successfully")
        return self
