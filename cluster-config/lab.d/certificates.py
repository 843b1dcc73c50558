"""The lab's certificate authority and what it signs: one certificate for all hosts, one for each node, one for slapd."""
import os
import subprocess

from layout import LabError
from processes import unprivileged


def _openssl(*arguments, text=None):
    done = subprocess.run(["openssl", *map(str, arguments)], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError("openssl: " + done.stderr.strip()[-500:])


def _key(file):
    _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", file)
    os.chmod(file, 0o600)
    os.chown(file, *unprivileged())


def _sign(folder, name, subject, alternatives):
    """NAME.pem (followed by nothing: the CA is a root) and NAME.key, valid for 825 days."""
    if (folder / f"{name}.pem").exists():
        return
    _key(folder / f"{name}.key")
    _openssl("req", "-new", "-key", folder / f"{name}.key", "-subj", f"/CN={subject}", "-out", folder / f"{name}.csr")
    extensions = folder / f"{name}.ext"
    extensions.write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                          "extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=" + ",".join(alternatives) + "\n")
    _openssl("x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem", "-CAkey", folder / "ca.key",
             "-CAcreateserial", "-days", "825", "-extfile", extensions, "-out", folder / f"{name}.pem")
    for rest in ("csr", "ext"):
        (folder / f"{name}.{rest}").unlink()


def make(lab):
    """Makes what is missing below tls/: ca, host (domain, its services, all lab addresses), n1…n6, slapd."""
    folder = lab.folder / "tls"
    if not (folder / "ca.pem").exists():
        _key(folder / "ca.key")
        _openssl("req", "-x509", "-new", "-key", folder / "ca.key", "-days", "3650", "-out", folder / "ca.pem",
                 "-subj", f"/CN=hexad lab {lab.instance}", "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        os.chmod(folder / "ca.pem", 0o644)
    addresses = [f"IP:{lab.node_address(number)}" for number in range(1, 7)] + [f"IP:{lab.service_address}"]
    addresses += [f"IP:{lab.inside(name)}" for name in lab.node_names] if lab.in_containers else []
    names = [lab.domain, f"*.{lab.domain}", f"local.{lab.domain}", f"*.local.{lab.domain}", "localhost"]
    _sign(folder, "host", lab.domain, [f"DNS:{name}" for name in names] + addresses + ["IP:127.0.0.1"])
    for name in lab.node_names:
        _sign(folder, name, name, [f"DNS:{name}", f"IP:{lab.address_of(name)}", f"IP:{lab.inside(name)}"])
    if lab.has_people():
        _sign(folder, "slapd", lab.service_address, [f"IP:{lab.service_address}", f"IP:{lab.inside('slapd')}",
                                                      f"DNS:ldap.{lab.domain}"])
