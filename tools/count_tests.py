#!/usr/bin/env python3
"""Counts the tests of a Meson run: tools/count_tests.py TESTLOG.json MESON_STATUS

A cmocka program, and one that ends with a line "N passed, N failed", counts with each of its tests,
any other program as one. A program that failed counts at least one failure, whatever it printed.
Prints "N passed, N failed[, N skipped]".
"""
import json
import re
import sys


def count(entry):
    """(passed, failed, skipped) of one program."""
    text = entry.get("stdout", "") + entry.get("stderr", "")
    result = entry["result"]
    if result == "SKIP":
        return 0, 0, 1

    def total(mark):
        return sum(map(int, re.findall(rf"^\[  {mark}  \] (\d+) test", text, re.M)))

    passed, failed, skipped = total("PASSED"), total("FAILED"), total("SKIPPED")
    told = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", text, re.M)
    if told:
        passed, failed, skipped = (int(number or 0) for number in told[-1])
    if result not in ("OK", "EXPECTEDFAIL"):
        return passed, max(failed, 1), skipped
    return max(passed, 1), failed, skipped


def main():
    log, status = sys.argv[1], int(sys.argv[2])
    passed = failed = skipped = 0
    try:
        with open(log, encoding="utf-8") as lines:
            for line in lines:
                p, f, s = count(json.loads(line))
                passed, failed, skipped = passed + p, failed + f, skipped + s
    except FileNotFoundError:
        pass
    if status != 0 and failed == 0:
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
