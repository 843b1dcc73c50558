"""The cluster's configuration file, generated from what `up` was asked for."""
import os
import tomllib

import postgres_server
import redis_server
import secrets
import slapd_server
import toml_text
from layout import PORTS, LabError
from processes import unprivileged


def token_file(lab):
    """The admin API's bearer token, made on the first call."""
    file = lab.folder / "config" / "admin.token"
    if not file.exists():
        file.write_text(secrets.token_hex(24) + "\n")
        file.chmod(0o600)
        os.chown(file, *unprivileged())
    return file


def path(lab):
    return lab.folder / "config" / "hexad.toml"


def _generated(lab):
    tls = lab.folder / "tls"
    # The profile of a lab: short timers, and a supervisor that does not start a killed node again.
    config = {"cluster": {"id": f"lab-{lab.instance}", "profile": "lab"}}
    if not lab.single:
        config["cluster"] |= {"durability": "strict", "assignment": "balanced", "listen_port": PORTS["peer"],
                              "tls": {"cert": f"{tls}/$node.pem", "key": f"{tls}/$node.key", "ca": f"{tls}/ca.pem"}}
    config["host"] = [{"name": name, "auth": auth, "certificate": f"{tls}/host.pem", "key": f"{tls}/host.key"}
                      for name, auth in lab.hosts()]
    groups = {}
    for name in lab.node_names:
        groups.setdefault(lab.group_of(name), []).append(
            {"name": name, "address": lab.inside(name), "capacity": lab.capacity})
    config["group"] = [{"name": name, "nodes": nodes} for name, nodes in groups.items()]
    if lab.single:
        config["store"] = {"url": f"sqlite://{lab.folder}/nodes/n1/hexad.sqlite"}
    else:
        config["redis"] = {"url": f"redis://{lab.inside('redis')}:{redis_server.PORT}"}
        config["store"] = {"url": f"postgresql://hexad@{lab.inside('postgres')}:{postgres_server.PORT}/hexad"}
    if lab.has_people():
        config["agreement"] = [{
            "name": "staff", "type": "openldap", "hosts": [f"ldap://{lab.inside('slapd')}:{slapd_server.PORT}"],
            "tls": "starttls", "ca": f"{tls}/ca.pem", "bind_dn": slapd_server.bind_dn(lab),
            "password_file": str(slapd_server.password_file(lab)), "base": f"ou=people,{lab.suffix}",
            "filter": "(objectClass=inetOrgPerson)", "host": lab.domain}]
        config["sync"] = {"incremental_seconds": 5, "full_seconds": 3600}
    config["c2s"] = {"port": PORTS["c2s"], "tls_port": PORTS["c2s_tls"]}
    config["http"] = {"port": PORTS["https"], "files": str(lab.folder / "upload")}
    config["admin"] = {"port": PORTS["admin"], "token_file": str(token_file(lab))}
    config["log"] = {"level": "info"}
    return config


def write(lab):
    config = _generated(lab)
    extra = lab.arguments["config"]
    if extra:
        try:
            config = toml_text.merge(config, tomllib.loads(extra))
        except tomllib.TOMLDecodeError as error:
            raise LabError(f"--config: {error}", 2)
    path(lab).write_text(toml_text.write(config))
    path(lab).chmod(0o644)
