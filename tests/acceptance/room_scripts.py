#!/usr/bin/python3
"""The scripts of Redis about whose a room is (docs/delivery.md, "A room moves"), against a Redis of their own: who believes in an
old home, who tells of an old row, who does something half done once more."""
import pathlib
import struct
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))
from support.checks import Checks, eventually  # noqa: E402

SCRIPTS = REPOSITORY / "node" / "cluster" / "scripts"
ROOM = "hall@rooms.example.test"


def packed(value):
    """MessagePack, as long as it may be."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xcf" + struct.pack(">Q", value)
    if isinstance(value, str):
        return b"\xdb" + struct.pack(">I", len(value.encode())) + value.encode()
    if isinstance(value, dict):
        return b"\xdf" + struct.pack(">I", len(value)) + b"".join(packed(k) + packed(v) for k, v in value.items())
    return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(packed, value))


class Redis:
    def __init__(self, folder):
        self.socket = f"{folder}/redis"
        self.server = subprocess.Popen(["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", ""],
                                       stdout=subprocess.DEVNULL)
        eventually(lambda: pathlib.Path(self.socket).exists())

    def __call__(self, *words):
        return self.ask(words, None)

    def ask(self, words, last):
        extra = ["-x"] if last is not None else []
        done = subprocess.run(["redis-cli", "-s", self.socket, *extra, *map(str, words)], input=last, stdout=subprocess.PIPE,
                              check=True, timeout=10)
        return done.stdout.decode(errors="replace").splitlines()

    def run(self, name, node, *arguments):
        """The script's verdict."""
        source = (SCRIPTS / "prelude.lua").read_text() + (SCRIPTS / f"{name}.lua").read_text()
        *first, last = arguments
        last = last if isinstance(last, bytes) else str(last).encode()
        return self.ask(["EVAL", source, 0, "P:", 1, node, 7, *first], last)[0]

    def commits(self, node, **batch):
        whole = dict(sid="", g="0", e="0", n=0, previous=0, advances=False, room="", home="", position=0, gone=False, spill="")
        return self.run("commit", node, packed(whole | batch))

    def says(self, node, number, believed):
        """Somebody at `node` writes to the room, which he believes to live at `believed`."""
        return self.commits(node, rooms=[dict(room=ROOM, src="s", n=number, sub=0, home=believed, e=f"input {number}")])

    def step(self, node, position, believed, gone=False):
        return self.commits(node, room=ROOM, home=believed, position=position, gone=gone)

    def handed(self, node):
        return int(self("XLEN", f"P:bus:{node}")[0])

    def room(self, *fields):
        return self("HMGET", f"P:r:{ROOM}", *fields)


def main(checks, redis):
    def that(name, got, wanted):
        checks.that(name, got == wanted, str(got))
    redis("HSET", "P:gen", "g", 1, "state", "open")
    for node in ("n1", "n2", "n3"):
        redis("SET", f"P:lease:{node}", 7)
        redis("HSET", f"P:part:{node}", "serving", node, "e", 1)

    redis.says("n2", 1, "n1")
    that("without a home in Redis an input goes where its sender believes", redis.handed("n1"), 1)
    that("only who serves the home takes the room", redis.run("take_room", "n2", ROOM, "n1", 5, 1, 1), "OWNER")
    that("the home's node takes it", redis.run("take_room", "n1", ROOM, "n1", 5, 1, 1), "OK")
    redis.run("held_room", "n1", ROOM)
    that("and has effects", redis.step("n1", 1, "n1"), "OK")

    that("an owner who is not where the room stands does not give it away", redis.run("move_room", "n1", ROOM, "n3", 5, 2, 0), "ORDER")
    that("who is not the owner does not", redis.run("move_room", "n2", ROOM, "n3", 5, 2, 1), "OWNER")
    that("the owner does", redis.run("move_room", "n1", ROOM, "n3", 5, 2, 1), "OK")
    told = len(redis("XRANGE", "P:chg", "-", "+"))
    that("it may be repeated by anybody", redis.run("move_room", "n2", ROOM, "n3", 5, 2, ""), "OK")
    checks.that("and is told again", len(redis("XRANGE", "P:chg", "-", "+")) > told)
    that("an older row moves nothing", redis.run("move_room", "n1", ROOM, "n1", 5, 1, ""), "OLD")
    that("nor does who read it take the room", redis.run("take_room", "n1", ROOM, "n1", 5, 1, 1), "OLD")
    that("the home stays", redis.room("home", "he"), ["n3", "2"])

    before = redis.handed("n1"), redis.handed("n3")
    redis.says("n2", 2, "n1")
    that("an input goes to the new home, though its sender believes in the old one", (redis.handed("n1"), redis.handed("n3")),
         (before[0], before[1] + 1))
    that("the former owner has no effects any more", redis.step("n1", 2, "n1"), "OWNER")
    redis.run("take_room", "n3", ROOM, "n3", 5, 2, 1)
    before = redis.handed("n1")
    redis.run("held_room", "n3", ROOM)
    that("the former owner hears that the room is held", redis.handed("n1"), before + 1)
    redis.run("held_room", "n3", ROOM)
    that("once", redis.handed("n1"), before + 1)
    that("the new owner has effects, though it believes in the old home", redis.step("n3", 2, "n1"), "OK")

    redis.says("n2", 3, "n3")
    that("a step after which there is no room", redis.step("n3", 3, "n3", gone=True), "OK")
    that("takes the home away", redis.room("home", "hid", "he"), ["", "", ""])
    that("a room of the same name may live elsewhere", redis.run("take_room", "n2", ROOM, "n2", 6, 1, 1), "OK")

    redis("HSET", "P:gen", "state", "recovering")
    redis("DEL", f"P:r:{ROOM}", f"P:r:{ROOM}:in")
    carried = dict(room=ROOM, pos=7, former=True, home="n3", id="9", epoch="2", occupants=[["a", "A"]], origins=[],
                   inputs=[[8, "input 8"]], counted="counted")
    redis.run("refill_room", "n1", packed(carried))
    that("a former owner gives back what it had", redis.room("home", "pos", "last", "held"), ["n3", "7", "8", "n1"])
    before = redis.handed("n1")
    redis.run("refill_room", "n3", packed(carried | dict(former=False, pos=8, inputs=[], occupants=[["b", "B"]])))
    that("the owner knows better", redis.room("home", "pos", "last", "held"), ["n3", "8", "8", "n3"])
    that("also who is there", redis("HGETALL", f"P:r:{ROOM}:occ"), ["b", "B"])
    that("and the former owner may forget it", redis.handed("n1"), before + 1)
    redis.run("refill_room", "n1", packed(carried))
    that("in whichever order they come", redis("HGETALL", f"P:r:{ROOM}:occ") + redis.room("pos", "held"), ["b", "B", "8", "n3"])
    that("nothing moves during a recovery", redis.run("move_room", "n3", ROOM, "n1", 9, 3, ""), "GEN")


with Checks() as checks, tempfile.TemporaryDirectory(prefix="hexad-scripts-") as folder:
    redis = Redis(folder)
    try:
        main(checks, redis)
    finally:
        redis.server.terminate()
        redis.server.wait()
