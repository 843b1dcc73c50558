"""Named checks of an acceptance script, and the closing line that CI reads."""
import sys
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
