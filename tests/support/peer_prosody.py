"""Prosody in place of hexad (HEXAD_TEST_SERVER=prosody): shows what is peculiar to us, and whether a play is sound."""
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from .server import DOMAIN, PASSWORD, free_address


class ProsodyServer:
    """The part of `Server` that plays use, on a Prosody of this machine."""

    def __init__(self, config=None):
        self.address = free_address()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="hexad-prosody-"))
        self.log = self.folder / "log"
        self.domain = DOMAIN
        self.process = None

    def start(self):
        folder = self.folder
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", folder / "key.pem",
                        "-out", folder / "cert.pem", "-days", "2", "-subj", f"/CN={self.domain}"],
                       check=True, capture_output=True)
        (folder / "data").mkdir(exist_ok=True)
        (folder / "prosody.cfg.lua").write_text(f"""
run_as_root = true
pidfile = "{folder}/pid"
data_path = "{folder}/data"
interfaces = {{ "{self.address}" }}
c2s_ports = {{ 5222 }}
c2s_direct_tls_ports = {{ 5223 }}
s2s_ports = {{}}
http_ports = {{}}
https_ports = {{}}
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "carbons", "pep", "private", "blocklist", "vcard4",
  "vcard_legacy", "version", "uptime", "time", "ping", "mam", "smacks", "csi_simple", "offline" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_plain"
c2s_require_encryption = true
max_archive_query_results = 50
limits = {{}}
log = {{ info = "{self.log}" }}
ssl = {{ certificate = "{folder}/cert.pem", key = "{folder}/key.pem" }}
c2s_direct_tls_ssl = {{ certificate = "{folder}/cert.pem", key = "{folder}/key.pem" }}
VirtualHost "{self.domain}"
""")
        self.process = subprocess.Popen(["prosody", "-F", "--config", folder / "prosody.cfg.lua"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex((self.address, 5222)) == 0:
                    return self
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError("prosody does not start:\n" + self.log_end())
            time.sleep(0.05)

    def ensure_accounts(self, names):
        accounts = self.folder / "data" / self.domain.replace(".", "%2e") / "accounts"
        accounts.mkdir(parents=True, exist_ok=True)
        for name in names:
            (accounts / f"{name}.dat").write_text(f'return {{ ["password"] = "{PASSWORD}"; }};\n')

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        if self.is_alive():
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
        return 0

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_end(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def sanitizer_report(self):
        return ""
