"""Runs plays: `run [FILTER…] [-j N]`. A filter is part of a file's name, a play's name or a tag; $HEXAD_PRESET says
whose binaries (release). Each file has one server of its own; files run side by side. The last line is
`N passed, N failed`."""
import argparse
import concurrent.futures
import importlib.util
import os
import pathlib
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from support import plays  # noqa: E402
from support.server import Server  # noqa: E402


def new_server(config):
    """hexad, or with HEXAD_TEST_SERVER=prosody the peer that plays are compared with."""
    if os.environ.get("HEXAD_TEST_SERVER") == "prosody":
        from support.peer_prosody import ProsodyServer
        return ProsodyServer(config)
    return Server(config)


def load(file):
    """The plays of a file, in the order they stand there, and its `config` if it has one."""
    del plays.PLAYS[:]
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return list(plays.PLAYS), getattr(module, "config", None)


def chosen(file, found, filters):
    if not filters or any(one in file.stem for one in filters):
        return found
    return [one for one in found if any(word in one.__name__ or word in one.tags for word in filters)]


def perform(function, server, pool):
    """Runs one play; returns what went wrong, or None."""
    stage = plays.Stage(server, pool)
    try:
        function(stage)
        return None
    except Exception as error:
        lines = [f"  {type(error).__name__}: {error}"]
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if str(HERE) in frame.filename]
        lines += [f"  at {pathlib.Path(frame.filename).name}:{frame.lineno}: {frame.line}" for frame in own
                  if "runner.py" not in frame.filename]
        for client in stage.clients:
            lines += ["    " + line for line in client.transcript[-14:]]
        return "\n".join(lines)
    finally:
        stage.ends()


def perform_file(file, filters):
    """One server, all plays of a file. Prints as it goes; exit status 0 if all passed."""
    found, config = load(file)
    found = chosen(file, found, filters)
    if not found:
        return True
    passed = failed = 0
    server = new_server(config)
    try:
        server.start()
        pool = plays.AccountPool(server, "p")
        for function in found:
            if not server.is_alive():
                server.start()
            before = time.monotonic()
            wrong = perform(function, server, pool)
            if wrong is None and not server.is_alive():
                wrong = "  the server died"
            took = time.monotonic() - before
            tags = " ".join(f"[{tag}]" for tag in function.tags)
            print(f"{'ok    ' if wrong is None else 'FAILED'} {file.stem}: {function.__name__} {tags} {took:.2f} s", flush=True)
            if wrong is None:
                passed += 1
            else:
                failed += 1
                print(wrong, flush=True)
                if not server.is_alive():
                    print(server.log_end(), flush=True)
        status = server.stop()
        report = server.sanitizer_report()
        if status != 0 or report:
            failed += 1
            print(f"FAILED {file.stem}: the server ends cleanly (exit status {status})\n{report or server.log_end()}")
    except RuntimeError as error:
        failed += 1
        print(f"FAILED {file.stem}: {error}")
    finally:
        server.stop()
        server.remove()
    print(f"{passed} passed, {failed} failed")
    return failed == 0


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("filters", nargs="*", metavar="FILTER")
    options.add_argument("-j", type=int, default=2, metavar="N", help="files side by side (2)")
    options.add_argument("--file", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.file:
        return 0 if perform_file(pathlib.Path(asked.file), asked.filters) else 1
    files = sorted(file for file in HERE.glob("*.py") if file.name != "runner.py")
    files = [file for file in files if chosen(file, load(file)[0], asked.filters)]
    if not files:
        print("no play matches")
        return 1

    def one(file):
        return subprocess.run([sys.executable, "-B", __file__, "--file", str(file), *asked.filters],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(asked.j) as pool:
        for output in pool.map(one, files):
            *lines, last = output.rstrip("\n").split("\n")
            print("\n".join(lines), flush=True)
            words = last.split()
            if len(words) == 4 and words[1] == "passed,":
                passed, failed = passed + int(words[0]), failed + int(words[2])
            else:
                print(last)
                failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
