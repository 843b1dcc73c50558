#!/usr/bin/python3
"""The lab with one node: what its commands promise, and that a client that trusts its CA gets in."""
import os
import pathlib
import ssl
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support import checks  # noqa: E402
from support.checks import check, eventually  # noqa: E402
from support.client import Client  # noqa: E402
from support.lab import Lab  # noqa: E402

NODE_KEYS = {"name", "group", "state", "serving", "epoch", "pid", "supervisor_pid", "container", "address", "c2s_port",
             "c2s_tls_port", "https_port", "s2s_port", "admin_port", "assigned", "sessions"}


def login(lab, jid, password):
    """A bound session; the server's certificate is verified against the lab's CA."""
    told = lab.json("status")
    node = told["nodes"][0]
    name, domain = jid.split("@")
    context = ssl.create_default_context(cafile=told["ca_file"])
    client = Client(node["address"], node["c2s_tls_port"], domain)
    client.socket = context.wrap_socket(client.socket, server_hostname=domain)
    client.opens().has_features()
    client.authenticates(name, password)
    client.opens().has_features()
    return client.binds("lab")


@check
def status_keeps_its_contract(lab):
    told = lab.json("status")
    assert told["backend"] == "local" and told["domain"] == "example.test"
    assert pathlib.Path(told["ca_file"]).read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert len(told["nodes"]) == 1 and set(told["nodes"][0]) == NODE_KEYS, told["nodes"]
    node = told["nodes"][0]
    assert node["name"] == "n1" and node["group"] == "g1" and node["serving"] == ["n1"]
    assert node["address"] == f"127.0.{lab.instance}.11"
    assert (node["c2s_port"], node["c2s_tls_port"], node["https_port"], node["admin_port"]) == (5222, 5223, 5443, 5280)
    assert node["assigned"] == 20 and node["container"] is None
    assert told["services"] == []


@check
def users_keeps_its_contract(lab):
    told = lab.users()
    assert len(told) == 20
    assert told[0] == {"jid": "user0@example.test", "password": "pass", "home": "n1", "source": "local"}, told[0]
    assert len(lab.json("users", "--limit", "3")) == 3


@check
def a_client_that_trusts_the_ca_gets_in(lab):
    client = login(lab, "user7@example.test", "pass")
    client.settles()
    assert eventually(lambda: lab.node("n1")["sessions"] == 1)
    client.closes()


@check
def a_second_up_with_the_same_arguments_changes_nothing(lab):
    before = lab.node("n1")["pid"]
    lab("up", *lab.arguments)
    assert lab.node("n1")["pid"] == before


@check
def a_second_up_with_other_arguments_is_refused(lab):
    lab.refuses("up", "--single", "--users", "21", status=2)


@check
def an_account_of_the_admin_can_log_in_and_is_listed(lab):
    lab("ctl", "user", "add", "nurse@example.test", "--password", "milk")
    login(lab, "nurse@example.test", "milk").closes()
    assert {"jid": "nurse@example.test", "password": "milk", "home": "n1", "source": "local"} in lab.users()


@check
def processes_run_without_privileges(lab):
    if os.geteuid() == 0:
        assert os.stat(f"/proc/{lab.node('n1')['pid']}").st_uid != 0


@check
def kill_ends_the_node_and_leaves_the_supervisor(lab):
    before = lab.node("n1")
    lab("kill", "n1")
    after = lab.node("n1")
    assert after["pid"] is None and after["supervisor_pid"] == before["supervisor_pid"], after
    time.sleep(1)
    assert lab.node("n1")["pid"] is None, "nobody starts it again"
    lab("start", "n1")
    login(lab, "user0@example.test", "pass").closes()


@check
def kill_machine_ends_both(lab):
    lab("kill", "--machine", "n1")
    after = lab.node("n1")
    assert after["pid"] is None and after["supervisor_pid"] is None
    lab("start", "n1")


@check
def stop_is_graceful_and_complete(lab):
    lab("stop", "n1")
    after = lab.node("n1")
    assert after["pid"] is None and after["supervisor_pid"] is None
    lab("start", "n1")
    assert len(lab.users()) == 21, "accounts survive"


@check
def a_paused_node_goes_on_where_it_was(lab):
    client = login(lab, "user1@example.test", "pass")
    lab("pause", "n1")
    client.sends("<iq type='get' id='frozen' to='example.test'><ping xmlns='urn:xmpp:ping'/></iq>")
    client.receives_nothing(0.5)
    lab("resume", "n1")
    client.receives("<iq id='frozen' type='result'/>")
    client.closes()


@check
def unknown_targets_are_named(lab):
    lab.refuses("kill", "n7", status=2)
    lab.refuses("kill", "redis", status=2)
    lab.refuses("logs", "n7", status=2)


@check
def logs_show_events(lab):
    assert "event=node_ready" in lab("logs", "n1", "-n", "1000")


@check
def down_leaves_nothing(lab):
    told = lab.node("n1")
    lab("down")
    for pid in (told["pid"], told["supervisor_pid"]):
        # A machine whose first process reaps nobody keeps the entry of the dead.
        state = pathlib.Path(f"/proc/{pid}/stat")
        assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z", pid
    assert not pathlib.Path(f"/tmp/hexad-lab-{lab.instance}").exists()
    lab.refuses("status", status=2)
    lab("down")


with Lab("--single", "--users", "20", "--password", "pass") as up:
    checks.run(up)
