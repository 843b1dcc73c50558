"""Named checks of an acceptance script, and the closing line that CI reads: one by one in a story (`Checks`), or a
function each (`check`, `run`)."""
import sys
import time
import traceback


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def that(self, name, good, detail=""):
        if good:
            self.passed += 1
            print(f"ok     {name}{f' ({detail})' if detail else ''}", flush=True)
        else:
            self.failed += 1
            print(f"FAILED {name}: {detail}", flush=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self.failed += 1
            print(f"FAILED {kind.__name__}: {error}")
            traceback.print_tb(trace)
        print(f"{self.passed} passed, {self.failed} failed")
        sys.exit(1 if self.failed else 0)


CHECKS = []


def check(function):
    """Marks a function as a check; its name, with spaces, is what is printed."""
    CHECKS.append(function)
    return function


def eventually(condition, seconds=20, every=0.1):
    """The first true value of `condition()` within the time; an AssertionError with its last value otherwise."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {value!r}")
        time.sleep(every)


def run(*arguments):
    """Runs all checks with these arguments in the order they stand; ends the program."""
    passed = failed = 0
    for function in CHECKS:
        before = time.monotonic()
        name = function.__name__.replace("_", " ")
        try:
            function(*arguments)
            passed += 1
            print(f"ok     {name} {time.monotonic() - before:.2f} s", flush=True)
        except Exception as error:
            failed += 1
            where = traceback.extract_tb(error.__traceback__)[-1]
            print(f"FAILED {name}\n  {type(error).__name__}: {error}\n  at {where.filename}:{where.lineno}: {where.line}",
                  flush=True)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
