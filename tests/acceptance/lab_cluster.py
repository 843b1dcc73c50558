#!/usr/bin/python3
"""The lab with three nodes, people of the directory and local users: services, cuts, contracts."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import checks  # noqa: E402
from support.checks import check, eventually  # noqa: E402
from support.client import Client  # noqa: E402
from support.lab import Lab  # noqa: E402


def login(lab, node, jid, password, mechanism="SCRAM-SHA-1", resource="lab"):
    told = lab.node(node)
    name, domain = jid.split("@")
    client = Client(told["address"], told["c2s_tls_port"], domain).wraps()
    client.opens().has_features()
    client.authenticates(name, password, mechanism)
    client.opens().has_features()
    return client.binds(resource)


@check
def all_nodes_are_in_their_groups_and_normal(lab):
    nodes = {node["name"]: node for node in lab.json("status")["nodes"]}
    assert {name: node["group"] for name, node in nodes.items()} == {"n1": "g1", "n2": "g1", "n3": "g2"}
    assert nodes["n1"]["state"] == nodes["n2"]["state"] == "normal" and nodes["n3"]["state"] == "standalone", nodes
    assert all(node["serving"] == [name] for name, node in nodes.items())


@check
def services_are_listed(lab):
    services = {service["name"]: service for service in lab.json("status")["services"]}
    assert set(services) == {"redis", "postgres", "slapd", "sync"}
    assert all(service["pid"] for service in services.values())
    assert services["redis"]["address"] == f"127.0.{lab.instance}.10"


@check
def people_and_users_are_assigned_evenly(lab):
    assigned = [node["assigned"] for node in lab.json("status")["nodes"]]
    assert sum(assigned) == 50 and max(assigned) - min(assigned) <= 1, assigned


@check
def people_log_in_by_the_directory_and_users_at_the_local_domain(lab):
    users = lab.users()
    person = next(user for user in users if user["source"] == "ldap")
    user = next(user for user in users if user["source"] == "local")
    assert person["jid"].endswith("@example.test") and user["jid"].endswith("@local.example.test")
    for node in ("n1", "n2", "n3"):  # any node will do
        login(lab, node, person["jid"], person["password"], "PLAIN").closes()
        login(lab, node, user["jid"], user["password"]).closes()


@check
def a_message_crosses_from_node_to_node(lab):
    users = [user for user in lab.users() if user["source"] == "local"]
    one = login(lab, "n1", users[0]["jid"], users[0]["password"])
    other = login(lab, "n3", users[1]["jid"], users[1]["password"])
    other.sends("<presence/>")
    other.settles()
    one.sends(f"<message to='{users[1]['jid']}' type='chat'><body>hello</body></message>")
    other.receives("<message type='chat'><body>hello</body></message>")
    one.closes()
    other.closes()


@check
def every_service_can_be_killed_and_started(lab):
    for name in ("slapd", "redis", "postgres"):
        lab("kill", name)
        assert next(one for one in lab.json("status")["services"] if one["name"] == name)["pid"] is None
        lab("start", name)
    user = next(user for user in lab.users() if user["source"] == "local")
    eventually(lambda: can_log_in(lab, user), 40, 1)


def can_log_in(lab, user):
    try:
        login(lab, "n2", user["jid"], user["password"]).closes()
        return True
    except (AssertionError, OSError):
        return False


@check
def a_cut_from_clients_is_felt_and_healed(lab):
    if os.geteuid() != 0:
        print("SKIPPED no right to use iptables")
        return
    user = next(user for user in lab.users() if user["source"] == "local")
    client = login(lab, "n2", user["jid"], user["password"])
    lab("cut", "n2", "--from", "clients")
    try:
        client.sends_raw("<iq type='get' id='cut'><ping xmlns='urn:xmpp:ping'/></iq>")
        client.receives_nothing(1)
    finally:
        lab("heal")
    client.receives("<iq id='cut' type='result'/>", timeout=20)
    client.closes()


with Lab("--nodes", "3", "--people", "30", "--users", "20") as up:
    checks.run(up)
