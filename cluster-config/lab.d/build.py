"""The binaries of a lab: built if missing or older than a source, copied if the unprivileged user cannot reach them."""
import os
import shutil
import subprocess
import sys

import processes
from layout import REPOSITORY, LabError



def programs(lab):
    """What this lab runs: hexad-sync only where there are people to read."""
    return ("hexad", "hexactl", "hexad-sync") if lab.has_people() else ("hexad", "hexactl")


def _newest_source():
    newest = (REPOSITORY / "CMakeLists.txt").stat().st_mtime
    for folder in ("node", "ldap", "sync-agent", "cmake"):
        for path, _, names in os.walk(REPOSITORY / folder):
            for name in names:
                if name.endswith((".cpp", ".hpp", ".txt", ".cmake", ".sql", ".proto", ".lua")) \
                        and not name.endswith("_test.cpp"):
                    newest = max(newest, os.stat(os.path.join(path, name)).st_mtime)
    return newest


def _marker(preset):
    return REPOSITORY / "build" / preset / ".lab-built"


def ensure(preset, programs):
    """Builds the preset if a program is missing or a source is newer than the last build made here."""
    folder = REPOSITORY / "build" / preset / "bin"
    missing = [name for name in programs if not (folder / name).exists()]
    newest = _newest_source()
    marker = _marker(preset)
    built = marker.stat().st_mtime if marker.exists() else 0
    if not missing and newest <= max(built, min((folder / name).stat().st_mtime for name in programs)):
        return folder
    packages = REPOSITORY / "cmake" / "packages"
    if subprocess.run([packages, "build"]).returncode != 0:
        raise LabError("the packages that a build needs are not there")
    print(f"building {preset} …", file=sys.stderr)
    for command in (["cmake", "--preset", preset], ["cmake", "--build", "--preset", preset, "--target", *programs]):
        done = subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise LabError(f"{' '.join(command)} failed:\n" + "\n".join(done.stdout.splitlines()[-40:]))
    marker.touch()
    return folder


def place(lab, preset):
    """The folder that nodes run their programs from: the build's, or a copy below the lab if that one is closed to
    the unprivileged user (a clone in root's home)."""
    built = ensure(preset, programs(lab))
    reachable = subprocess.run(["test", "-x", str(built / "hexad")], **processes.identity()).returncode == 0
    if reachable:
        return built
    own = lab.folder / "bin"
    for name in programs(lab):
        copy = own / name
        if not copy.exists() or copy.stat().st_mtime < (built / name).stat().st_mtime:
            shutil.copy2(built / name, own / f"{name}.new")
            (own / f"{name}.new").replace(copy)
            copy.chmod(0o755)
    return own
