"""What processes use, from /proc."""
import os
import pathlib
import subprocess

RELEASE = pathlib.Path(__file__).resolve().parents[2] / "build/release"
LOAD, CROWD = RELEASE / "bin/xmpp_load", RELEASE / "bin/xmpp_crowd"
TICK = os.sysconf("SC_CLK_TCK")


def build_load():
    """The load generators are no part of what is installed: they are built when they are needed."""
    subprocess.run(["ninja", "-C", RELEASE, LOAD.name, CROWD.name], check=True, stdout=subprocess.DEVNULL)


def tree(pid):
    """A process and all below it."""
    pids, found = [pid], []
    while pids:
        current = pids.pop()
        found.append(current)
        for task in pathlib.Path(f"/proc/{current}/task").glob("*/children"):
            try:
                pids += [int(p) for p in task.read_text().split()]
            except OSError:
                pass
    return found


def usage(pids):
    """CPU seconds and resident KiB of processes with their children."""
    cpu = memory = 0
    for root in pids:
        for pid in tree(root):
            try:
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                cpu += (int(fields[11]) + int(fields[12])) / TICK
                memory += int(fields[21]) * os.sysconf("SC_PAGE_SIZE") // 1024
            except OSError:
                pass
    return cpu, memory
