#!/usr/bin/env python3
"""Runs the SQL manual and compares what it shows: tests/sql_manual.py TAPE SQL.md [--rewrite]

In the manual
    ```console    has commands, "$ tape ...", each followed by what it prints
    ```sql        is a statement on the store `market`; a ```text block right after it is its result
    ```c          stands, line for line, in one of the examples' programs, which have tests
Times ("in 0.18 s") and sizes of packed files may differ. A last line "..." leaves out what follows.
--rewrite puts what is printed now in place of what is shown.
"""
import glob
import os
import re
import shlex
import subprocess
import sys
import tempfile

TIME = re.compile(r"\b[0-9]+(\.[0-9]+)? ?(ns|us|ms|s)\b")
SIZE = re.compile(r"(files, )[0-9]+( bytes)")


class Block:
    """Lines first .. last of the manual, without the fences around them."""

    def __init__(self, kind, first, lines):
        self.kind, self.first, self.lines = kind, first, lines


def blocks_of(lines):
    found, inside = [], None
    for number, line in enumerate(lines):
        fence = re.fullmatch(r"```(\w*)", line)
        if fence and inside is None:
            inside = Block(fence.group(1), number + 1, [])
        elif fence:
            found.append(inside)
            inside = None
        elif inside is not None:
            inside.lines.append(line)
    assert inside is None, "a block has no end"
    return found


def run(tape, folder, words, text=None):
    """What a command prints: its rows, or its error."""
    done = subprocess.run([tape, *words], cwd=folder, capture_output=True, text=True, check=False,
                          input=text, stdin=subprocess.DEVNULL if text is None else None,
                          timeout=120)
    return [line.rstrip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]


def run_console(tape, folder, lines):
    """The block as it is now: every command with what it prints."""
    commands = []
    for line in lines:
        if line.startswith("$ "):
            commands.append([line])
        elif commands and " ".join(commands[-1]).count('"') % 2 == 1:
            commands[-1].append(line)
    printed = []
    for command in commands:
        words = shlex.split("\n".join(command)[2:])
        text = None
        if "<<<" in words:
            text = words[words.index("<<<") + 1]
            words = words[:words.index("<<<")]
        assert words[0] == "tape", command
        words = [name for word in words[1:]
                 for name in (sorted(glob.glob(os.path.join(folder, word))) or [word]
                              if "*" in word and "/" in word else [word])]
        printed += command + run(tape, folder, words, text)
    return printed


def same(shown, now):
    def plain(lines):
        return [SIZE.sub(r"\1B\2", TIME.sub("T", line.rstrip())) for line in lines if line.strip()]
    return plain(shown) == plain(now)


def in_an_example(lines, root):
    """The part of an example's program from the first of the lines to one like the last."""
    for path in sorted(glob.glob(os.path.join(root, "examples", "*.c"))):
        with open(path, encoding="utf-8") as file:
            program = [line.rstrip("\n") for line in file]
        starts = [n for n, line in enumerate(program) if line.strip() == lines[0].strip()]
        if starts:
            begin = program[starts[0]:]
            indent = len(begin[0]) - len(begin[0].lstrip())
            ends = [n for n, line in enumerate(begin) if line[indent:] == lines[-1]]
            return [line[indent:] for line in begin[:ends[0] + 1]] if ends else []
    return ["in none of the programs of examples/"]


def check(tape, manual):
    """(blocks run, [(block, what it should be)]) of everything the manual shows."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(manual)))
    with open(manual, encoding="utf-8") as file:
        lines = file.read().splitlines()
    blocks, ran, wrong = blocks_of(lines), 0, []
    with tempfile.TemporaryDirectory(prefix="tape-manual-") as folder:
        for n, block in enumerate(blocks):
            after = blocks[n + 1] if n + 1 < len(blocks) else None
            target = block
            if block.kind == "console":
                now = run_console(tape, folder, block.lines)
            elif block.kind == "sql":
                now = run(tape, folder, ["sql", "market", "\n".join(block.lines), "--format",
                                         "table", "--width", "0"])
                if after is None or after.kind != "text":
                    now = block.lines if not any("tape: " in line for line in now) else now
                else:
                    target = after
            elif block.kind == "c":
                now = in_an_example(block.lines, root)
            else:
                continue
            ran += 1
            if target.lines and target.lines[-1] == "...":
                now = now[:len(target.lines) - 1] + ["..."]
            if not same(target.lines, now):
                wrong.append((target, now))
    return lines, ran, wrong


def main():
    tape, manual = os.path.abspath(sys.argv[1]), sys.argv[2]
    lines, ran, wrong = check(tape, manual)
    for block, now in wrong:
        print(f"line {block.first}:", *block.lines, "should be:", *now, sep="\n")
    if "--rewrite" in sys.argv[3:]:
        for block, now in reversed(wrong):
            if block.kind in ("console", "text", "c"):
                lines[block.first:block.first + len(block.lines)] = now
        with open(manual, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    print(f"{ran - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong or ran < 20 else 0


if __name__ == "__main__":
    sys.exit(main())
