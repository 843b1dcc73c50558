"""What `lab status` and `lab users` print. Their JSON forms are contracts (docs: DESIGN, cluster-config/README.md)."""
import json

import people
from layout import PORTS


def status(lab, backend):
    """The contract of `status --json`; `backend` says pids, containers and services."""
    known = {}
    listed = backend.ask(lab, "node", "list")
    if listed:
        known = {node["name"]: node for node in json.loads(listed)}
    if lab.single and len(known) == 1:  # a node without a cluster may go by a name of its own
        known = {"n1": next(iter(known.values()))}
    result = []
    for name in lab.node_names:
        told = known.get(name, {})
        result.append({
            "name": name, "group": told.get("group") or lab.group_of(name), "state": told.get("state", "unknown"),
            "serving": told.get("serving", []), "epoch": told.get("epoch", 0), **backend.process_of(lab, name),
            "address": lab.address_of(name), "c2s_port": PORTS["c2s"], "c2s_tls_port": PORTS["c2s_tls"],
            "https_port": PORTS["https"], "s2s_port": None, "admin_port": PORTS["admin"],
            "assigned": told.get("assigned", 0), "sessions": told.get("sessions", 0)})
    return {"backend": backend.NAME, "domain": lab.domain, "ca_file": str(lab.folder / "tls" / "ca.pem"),
            "nodes": result, "services": backend.services(lab)}


def print_status(told):
    rows = [("NAME", "GROUP", "STATE", "SERVING", "EPOCH", "ADDRESS", "C2S", "TLS", "HTTPS", "PID", "USERS", "SESSIONS")]
    for node in told["nodes"]:
        rows.append((node["name"], node["group"], node["state"], ",".join(node["serving"]) or "-", node["epoch"],
                     node["address"], node["c2s_port"], node["c2s_tls_port"], node["https_port"],
                     node["container"] or node["pid"] or "down", node["assigned"], node["sessions"]))
    for service in told["services"]:
        rows.append((service["name"], "", "running" if service["pid"] else "down", "", "", service["address"] or "",
                     service["port"] or "", "", "", service["pid"] or "down", "", ""))
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def users(lab, backend, limit=None):
    """The contract of `users --json`. Homes come from the cluster; they are null while no node answers."""
    passwords = dict(lab.state.get("passwords", {}))
    expected = [(f"{uid}@{lab.domain}", people.password_of(uid), "ldap")
                for uid in people.uids(lab.arguments["people"])] if lab.has_people() else []
    expected += [(f"user{number}@{lab.local_domain}", lab.arguments["password"], "local")
                 for number in range(lab.arguments["users"])]
    expected += [(jid, password, "local") for jid, password in passwords.items()]
    homes = {}
    listed = backend.ask(lab, "user", "list", "--limit", len(expected) + 1000)
    for account in json.loads(listed) if listed else []:
        homes[account["jid"]] = account.get("home") or account.get("home_node")
    return [{"jid": jid, "password": password, "home": homes.get(jid), "source": source}
            for jid, password, source in expected[:limit]]
