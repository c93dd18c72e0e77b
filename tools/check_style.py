#!/usr/bin/env python3
"""Keeps the house style, as far as a machine can: tools/check_style.py [ROOT]

 1 clang-format has nothing to change; no line of code is longer than 100 columns; no trailing
   space or tab.
 2 A file has at most 1,000 lines and a function at most 100; functions beyond 70 are listed.
 3 No unsafe calls (strcpy and its kind, system, alloca); file-system calls stand in src/os only.
   The command may use FILE; tests, benchmarks and build-time tools may do what they need.
 4 Nothing is left unfinished by its own words; no absolute path of one machine.
 5 Every module has a README.md.
 6 Shell scripts pass shellcheck, where it is installed.
"""
import os
import re
import shutil
import subprocess
import sys

COLUMNS_MAX = 100
FILE_LINES_MAX = 1000
FUNCTION_LINES_MAX = 100
FUNCTION_LINES_GOAL = 70

UNSAFE = "strcpy strcat sprintf vsprintf gets strtok alloca".split()
COMMANDS = "system popen".split()
FILES = """open openat creat rename renameat unlink unlinkat mkdir rmdir opendir ftruncate fallocate
    posix_fallocate fsync fdatasync sync_file_range msync mmap munmap shm_open memfd_create pread
    pwrite preadv pwritev flock pthread_create""".split()
STREAMS = "fopen freopen fdopen remove tmpfile".split()
FREE = re.compile(r"(_test|_fuzz|_fixture|_testing|/testing)\.[ch]$|^(tests|bench|tools|examples)/")
FILES_FREE = re.compile(FREE.pattern + "|^src/os/")
STREAMS_FREE = re.compile(FREE.pattern + r"|^src/os/|^src/cli/|^src/record/catalog_gen\.c$")
EXCEPTIONS = {("src/cli/main.c", "open")}  # /dev/null, for standard files that are closed

# Spelt apart, so that this file may be searched, too.
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root)/[\w.]")

complaints = 0


def complain(text):
    global complaints
    complaints += 1
    print(text)


def listed():
    """Every file of the project that git does not ignore."""
    out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                         check=True, capture_output=True, text=True).stdout
    return sorted(name for name in set(out.split("\0")) if os.path.isfile(name))


def is_code(name):
    return is_c(name) or is_shell(name) or name.endswith((".py", ".def", "meson.build", "Makefile"))


def is_c(name):
    return name.endswith((".c", ".h"))


def is_shell(name):
    return name.endswith(".sh") or name in (".ci/run", "bench/run")


def check_format(names):
    if not shutil.which("clang-format"):
        complain("clang-format is not there: tools/setup.sh check")
        return
    done = subprocess.run(["clang-format", "--dry-run", "-Werror", *names],
                          capture_output=True, text=True)
    changed = set(re.findall(r"^([^:\s]+):\d+:\d+: error:", done.stderr, re.M))
    for name in sorted(changed):
        complain(f"{name}: not as clang-format has it: clang-format -i {name}")


def check_lines(name, lines):
    for number, line in enumerate(lines, 1):
        if is_code(name) and not name.endswith("meson.build") and len(line) > COLUMNS_MAX:
            complain(f"{name}:{number}: {len(line)} columns, more than {COLUMNS_MAX}")
        if line != line.rstrip():
            complain(f"{name}:{number}: trailing space")
        if is_c(name) and "\t" in line:
            complain(f"{name}:{number}: tab")
        if UNFINISHED.search(line):
            complain(f"{name}:{number}: left unfinished, by its own words: {line.strip()}")
        if MACHINE_PATH.search(line):
            complain(f"{name}:{number}: a path of one machine: {line.strip()}")
    if is_c(name) and len(lines) > FILE_LINES_MAX:
        complain(f"{name}: {len(lines)} lines, more than {FILE_LINES_MAX}")


def functions(lines):
    """(name, first line, length) of every function: it begins and ends in the first column."""
    start, name, inside = 0, "", False
    for number, line in enumerate(lines, 1):
        head = re.match(r"[A-Za-z_][^;{}=]*?(\w+)\(", line)
        if head and not inside:
            start, name = number, head.group(1)
        if start and not inside and re.search(r"\)[^;=]*\{$", line):
            inside = True
        if line == "}":
            if inside:
                yield name, start, number - start + 1
            start, inside = 0, False
        elif line.endswith(";") and not inside:
            start = 0


def check_functions(name, lines):
    for function, start, length in functions(lines):
        if length > FUNCTION_LINES_MAX:
            complain(f"{name}:{start}: {function}: {length} lines, more than {FUNCTION_LINES_MAX}")
        elif length > FUNCTION_LINES_GOAL:
            print(f"note: {name}:{start}: {function}: {length} lines")


def bare(text):
    """The source without comments and texts; lines keep their numbers."""
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'', re.S)
    return token.sub(lambda m: "\n" * m.group().count("\n"), text)


def check_calls(name, text):
    banned = list(UNSAFE)
    if not FREE.search(name):
        banned += COMMANDS
    if not FILES_FREE.search(name):
        banned += FILES
    if not STREAMS_FREE.search(name):
        banned += STREAMS
    call = re.compile(r"(?<![\w.>])(" + "|".join(banned) + r")\s*\(")
    for number, line in enumerate(bare(text).split("\n"), 1):
        for found in call.findall(line):
            if (name, found) not in EXCEPTIONS:
                complain(f"{name}:{number}: calls {found}, which is not allowed here")


def check_readmes():
    for module in sorted(os.listdir("src")):
        folder = os.path.join("src", module)
        if os.path.isdir(folder) and any(f.endswith(".c") for f in os.listdir(folder)):
            if not os.path.isfile(os.path.join(folder, "README.md")):
                complain(f"{folder}/README.md is missing")


def check_shell(names):
    if names and shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "--format=gcc", *names],
                              capture_output=True, text=True)
        for line in done.stdout.splitlines():
            complain(line)


def main():
    os.chdir(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), ".."))
    names = listed()
    check_format([name for name in names if is_c(name)])
    check_shell([name for name in names if is_shell(name)])
    for name in names:
        if not is_code(name) and not name.endswith((".md", ".ts")):
            continue
        with open(name, encoding="utf-8") as file:
            text = file.read()
        lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
        check_lines(name, lines)
        if is_c(name):
            check_functions(name, lines)
            check_calls(name, text)
    check_readmes()
    if complaints:
        print(f"{complaints} complaints about style", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
