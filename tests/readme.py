#!/usr/bin/env python3
"""Runs the README's tour and compares what it prints: tests/readme.py TAPE README.md

Takes the indented blocks with lines that start with "$ tape". Times ("in 0.18 s") and the size of
compressed files may differ.
"""
import os
import re
import shlex
import subprocess
import sys
import tempfile


def steps(text):
    """(command, expected lines) of each "$ tape ..." in the indented blocks."""
    found = []
    for line in text.splitlines():
        if not line.startswith("    "):
            continue
        line = line[4:]
        if line.startswith("$ tape "):
            found.append([line[2:], []])
        elif found and found[-1][0].count('"') % 2 == 1:
            found[-1][0] += "\n" + line
        elif found:
            found[-1][1].append(line)
    return found


def without_times(lines):
    lines = [re.sub(r"in [0-9.]+ s$", "in T s", line.rstrip()) for line in lines]
    return [re.sub(r"files, [0-9]+ bytes$", "files, B bytes", line) for line in lines]


def main():
    tape, readme = sys.argv[1:]
    ran, failed = 0, 0
    with tempfile.TemporaryDirectory(prefix="tape-readme-") as folder:
        for command, expected in steps(open(readme, encoding="utf-8").read()):
            words = [os.path.abspath(tape), *shlex.split(command)[1:]]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
            actual = [line for line in done.stdout.splitlines() if line]
            expected = [line for line in expected if line]
            ran += 1
            if done.returncode != 0 or without_times(actual) != without_times(expected):
                failed += 1
                told = [f"$ {command}", "expected:", *expected, "actual:", *actual, done.stderr]
                print(*told, sep="\n")
    print(f"{ran - failed} passed, {failed} failed")
    return 1 if failed or ran < 8 else 0


sys.exit(main())
