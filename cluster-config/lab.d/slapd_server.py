"""The lab's directory: slapd with StartTLS, syncprov and the generated people."""
import os
import secrets
import shutil
import signal

import people
import processes
from layout import PORTS

NAME = "slapd"
PORT = PORTS["slapd"]


def bind_dn(lab):
    """The service account that hexad-sync and the nodes search with."""
    return f"cn=hexad,ou=services,{lab.suffix}"


def password_file(lab):
    return lab.folder / "config" / "directory.password"


def prepare(lab):
    """Writes the configuration and loads the people on the first call."""
    folder = lab.folder / "slapd"
    if (folder / "loaded").exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    owner = processes.unprivileged()
    for part in ("", "db", "slapd.d"):
        (folder / part).mkdir()
        os.chown(folder / part, *owner)
    service = secrets.token_hex(12)
    password_file(lab).write_text(service + "\n")
    password_file(lab).chmod(0o600)
    os.chown(password_file(lab), *owner)
    tls = lab.folder / "tls"
    (folder / "slapd.conf").write_text(f"""include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
moduleload ppolicy
moduleload memberof
pidfile {folder}/slapd.pid
TLSCACertificateFile {tls}/ca.pem
TLSCertificateFile {tls}/slapd.pem
TLSCertificateKeyFile {tls}/slapd.key
database mdb
suffix "{lab.suffix}"
rootdn "cn=admin,{lab.suffix}"
rootpw {people.hashed("admin", b"lab-admin")}
directory {folder}/db
maxsize 4294967296
dbnosync
index objectClass,entryCSN,entryUUID,uid,member eq
index modifyTimestamp,mail eq
index cn,sn,displayName eq,sub
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{bind_dn(lab)}" read by users read by * none
limits dn.exact="{bind_dn(lab)}" size=unlimited size.prtotal=unlimited time=unlimited
overlay syncprov
syncprov-checkpoint 100 1
syncprov-sessionlog 10000
syncprov-reloadhint TRUE
overlay ppolicy
overlay memberof
memberof-dangling ignore
""")
    ldif = folder / "people.ldif"
    with open(ldif, "w") as file:
        people.write_ldif(file, lab, bind_dn(lab), service)
    os.chown(ldif, *owner)
    # The data first: slaptest opens the database that it writes the folder form of the configuration for.
    processes.run(["/usr/sbin/slapadd", "-q", "-w", "-f", folder / "slapd.conf", "-l", ldif], "slapadd")
    processes.run(["/usr/sbin/slaptest", "-f", folder / "slapd.conf", "-F", folder / "slapd.d"], "slaptest")
    (folder / "loaded").touch()


def command(lab):
    """With -d the process stays in the foreground and is the one we know; a test may want to see what it is asked
    (HEXAD_LAB_SLAPD_LOG=stats)."""
    return ["/usr/sbin/slapd", "-d", os.environ.get("HEXAD_LAB_SLAPD_LOG", "none"), "-F", str(lab.folder / "slapd" / "slapd.d"),
            "-h", f"ldap://{lab.inside(NAME)}:{PORT}/"]


def start(lab):
    log = lab.folder / "log" / "slapd.log"
    processes.check_free(lab.service_address, PORT, NAME)
    pid = processes.start(command(lab), log)
    processes.wait_until(lambda: processes.answers(lab.service_address, PORT), pid, log, "slapd", 60)
    return pid


def stop(lab, pid):
    processes.end(pid, signal.SIGTERM, 20)
