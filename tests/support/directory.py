"""The lab's directory as a test changes and watches it, and a relay in front of it that can break a read."""
import select
import socket
import subprocess
import threading

from .client import ENDED, SASL, Client, encoded


def password_of(person):
    return "pw-" + person


class Directory:
    """Writes as the directory's administrator; `lab` is up with people."""

    def __init__(self, lab):
        self.lab = lab
        self.suffix = ",".join(f"dc={label}" for label in lab.domain.split("."))
        self.address = f"ldap://127.0.{lab.instance}.10:3389"
        self.log_file = lab.folder / "log" / "slapd.log"

    def _run(self, program, ldif, *arguments):
        done = subprocess.run([program, "-x", "-c", "-H", self.address, "-D", f"cn=admin,{self.suffix}", "-w", "admin",
                               *arguments], input=ldif, text=True, capture_output=True, timeout=60)
        if done.returncode:
            raise AssertionError(f"{program}: {done.stderr}")
        return done.stdout

    def dn(self, uid):
        return self.found(f"(uid={uid})")[0]

    def found(self, filter):
        out = self._run("ldapsearch", None, "-LLL", "-o", "ldif-wrap=no", "-E", "pr=1000/noprompt", "-b",
                        f"ou=people,{self.suffix}", filter, "1.1")
        return [line[4:] for line in out.splitlines() if line.startswith("dn: ")]

    def modify(self, ldif):
        self._run("ldapmodify", ldif)

    def add(self, *uids, kind="inetOrgPerson", extra=""):
        classes = {"inetOrgPerson": "objectClass: inetOrgPerson\nsn: {0}\ncn: {0}",
                   "account": "objectClass: account\nobjectClass: simpleSecurityObject"}[kind]
        self._run("ldapadd", "\n".join(
            f"dn: uid={uid},ou=people,{self.suffix}\n{classes.format(uid)}\nuid: {uid}\n"
            f"userPassword: {password_of(uid)}\n{extra}" for uid in uids))

    def replace(self, uid, attribute, value):
        self.modify(f"dn: {self.dn(uid)}\nchangetype: modify\nreplace: {attribute}\n{attribute}: {value}\n")

    def lock(self, *uids):
        self.modify("\n".join(f"dn: {self.dn(uid)}\nchangetype: modify\nadd: pwdAccountLockedTime\n"
                              "pwdAccountLockedTime: 000001010000Z\n" for uid in uids))

    def unlock(self, *uids):
        self.modify("\n".join(f"dn: {self.dn(uid)}\nchangetype: modify\ndelete: pwdAccountLockedTime\n" for uid in uids))

    def delete(self, *uids):
        self.modify("\n".join(f"dn: {self.dn(uid)}\nchangetype: delete\n" for uid in uids))

    def log_since(self, offset):
        with open(self.log_file, errors="replace") as file:
            file.seek(offset)
            return file.read()

    def log_size(self):
        return self.log_file.stat().st_size


class Relay:
    """Passes TCP on to the directory, counts what the directory says on each connection, and, told to, breaks those
    on which it has said so many bytes."""

    def __init__(self, listen, target):
        self.target = target
        self.limit = None    # bytes after which a connection breaks
        self.longest = 0     # bytes on the connection on which the directory said most, since `forget()`
        self.listener = socket.create_server(listen)
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self):
        self.longest = 0

    def _accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        said = 0
        with client:
            try:
                server = socket.create_connection(self.target, 5)
            except OSError:
                return
            with server:
                try:
                    while True:
                        for one in select.select([client, server], [], [])[0]:
                            data = one.recv(4096)
                            if not data:
                                return
                            (server if one is client else client).sendall(data)
                            if one is server:
                                said += len(data)
                                self.longest = max(self.longest, said)
                                if self.limit is not None and said > self.limit:
                                    return
                except OSError:
                    return


def answer_to(lab, uid, password, node="n1"):
    """What a login by PLAIN is answered: "success", or the condition of the failure."""
    told = lab.node(node)
    client = Client(told["address"], told["c2s_tls_port"], lab.domain, label=uid).wraps()
    client.opens().has_features()
    client.sends_raw(f"<auth xmlns='{SASL}' mechanism='PLAIN'>"
                     + encoded(b"\0" + uid.encode() + b"\0" + password.encode()) + "</auth>")
    answer = client._take(lambda element: element.tag in (f"{{{SASL}}}success", f"{{{SASL}}}failure", ENDED),
                          "an answer to a login", 20)
    client.drops()
    return "success" if answer.tag.endswith("success") else answer[0].tag.split("}")[1] if len(answer) else answer.tag


def connect(lab, uid, password, node="n1", resource="t"):
    """Logs in by PLAIN; a PlayError says what the server answered instead."""
    told = lab.node(node)
    client = Client(told["address"], told["c2s_tls_port"], lab.domain, label=uid).wraps()
    client.opens().has_features()
    client.authenticates(uid, password, "PLAIN").opens().has_features()
    return client.binds(resource)
