#!/usr/bin/python3
"""A node stands still just before it writes, is taken over, and wakes: Redis refuses its commit, PostgreSQL its row, each told with
the epoch it was made under and the one in force; nothing is lost or doubled by it.

Needs a build with fail points: the preset dev, whose nodes run with sanitizers."""
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import crash_points  # noqa: E402
from support.checks import Checks  # noqa: E402
from support.ha import last_event, settled_events  # noqa: E402
from support.lab import Lab  # noqa: E402

crash_points.FREEZE = True
# Where it stands still, and who refuses what it does next.
STORIES = [
    ("stored", crash_points.chat, "state-store"),
    ("room-stored", crash_points.room, "state-store"),
    ("room-decided", crash_points.room, "store"),
]


def main(checks, lab):
    for turn, (point, story, where) in enumerate(STORIES):
        mark = last_event(lab)
        crash = crash_points.Crash(lab, turn, ["n1"], point)
        story(crash, checks)
        told = [e["fields"] for e in settled_events(lab, "WriteRefused", after=mark, node="n1")]
        late = [f for f in told if f["where"] == where]
        checks.that(f"{point}: the {where} refuses the late write", bool(late), str(told))
        checks.that(f"{point}: made under an older epoch than the one in force",
                    all(0 <= f["epoch"] < f["epoch_now"] for f in told), str(told))
        crash.ends("n1")


with tempfile.NamedTemporaryFile("w", suffix=".toml") as extra:
    extra.write(crash_points.CONFIG)
    extra.flush()
    with Checks() as all_checks, Lab("--nodes", "2", "--users", "40", "--password", "pencil", "--config", extra.name) as up:
        main(all_checks, up)
