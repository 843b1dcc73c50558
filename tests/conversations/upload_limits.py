"""File upload where files are kept for four seconds, and an account may upload 1000 bytes a day."""
import datetime
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from files import UPLOAD, Slot, files_of  # noqa: E402
from support.checks import eventually  # noqa: E402
from support.plays import PLAYS, play  # noqa: E402

del PLAYS[:]  # those of files.py have a file of their own

config = """
[[host]]
name = "example.test"
[[group]]
name = "g1"
nodes = [{ name = "n1", address = "{address}" }]
[store]
url = "sqlite://{data}/hexad.sqlite"
[http]
daily_quota = 1000
retention_days = 0.00005
"""


def refused(client, size):
    return client.asks(f"<request xmlns='{UPLOAD}' filename='a.txt' size='{size}'/>", to="upload.{domain}", error="resource-constraint")


@play("upload", "xep0363-5", "quota")
def a_quota_that_is_used_up_says_when_to_try_again(stage):
    romeo = stage.login("romeo/a")
    Slot(romeo, size=600)
    Slot(romeo, size=400)
    reply = refused(romeo, 1)
    error = reply.find("{jabber:client}error")
    assert error.get("type") == "wait"
    stamp = error.find(f"{{{UPLOAD}}}retry").get("stamp")
    again = datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00"))
    now = datetime.datetime.now(datetime.timezone.utc)
    assert again.time() == datetime.time() and now < again <= now + datetime.timedelta(days=1), stamp
    # The quota is the account's, whatever the device, and nobody else's.
    refused(stage.login("romeo/b"), 1)
    Slot(stage.login("juliet/a"), size=1000)


@play("upload", "quota", "restart")
def a_restart_forgives_nothing(stage):
    Slot(stage.login("romeo/a"), size=900)
    stage.server.kill()
    stage.server.start()
    romeo = stage.login("romeo/b")
    refused(romeo, 101)
    Slot(romeo, size=100)


@play("upload", "retention")
def a_file_is_removed_when_its_time_is_over(stage):
    slot = Slot(stage.login("romeo/a"), size=5)
    assert slot.puts(b"12345") == 201
    put = time.monotonic()
    assert slot.gets()[0] == 200
    eventually(lambda: slot.gets()[0] == 404, 15)
    assert time.monotonic() - put > 3
    eventually(lambda: not [name for name in files_of(stage) if slot.get_url.split("/")[-2] in name], 5)
