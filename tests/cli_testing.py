#!/usr/bin/env python3
"""What the tests of the command share: running it, live owners, a terminal of its own.

A test is a function of a folder of its own; it fails by an exception. The arguments of the program
are TAPE ROOT [TEST...].
"""
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

TAPE, ROOT = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
LOADED = re.compile(r"loaded (\d+) rows into (\w+), seq (\d+)\.\.(\d+), (\d+) duplicates, "
                    r"(\d+) rejected\n")
HEAD = "trade_id,instrument_id,side,price,volume\n"


def run(*words, code=0, text=None, timeout=120, **more):
    """Runs the command to its end and checks its exit status. An error is one line of the form."""
    done = subprocess.run([TAPE, *map(str, words)], capture_output=True, text=True, timeout=timeout,
                          input=text, stdin=subprocess.DEVNULL if text is None else None,
                          check=False,
                          **more)
    assert done.returncode == code, (words, done)
    if code != 0:
        assert re.fullmatch(r"tape: [A-Z_]+: [^\n]+\n", done.stderr), (words, done)
    return done


def told(*words, code, has=(), **more):
    """The error of a command, which names all of `has`."""
    error = run(*words, code=code, **more).stderr
    for part in has:
        assert part in error, (part, error)
    return error


def start(*words, **more):
    return subprocess.Popen([TAPE, *map(str, words)], start_new_session=True, text=True, **more)


def sql(store, statement, *more):
    return [json.loads(line) for line in
            run("sql", store, statement, "--format", "json", *more).stdout.splitlines()]


def one(store, statement):
    return list(sql(store, statement)[0].values())[0]


def status(store):
    return json.loads(run("status", store, "--format", "json").stdout)


def tail(store, *more):
    return [json.loads(line) for line in run("tail", store, *more).stdout.splitlines()]


def load(store, table, *more):
    """(rows, first seq, last seq, duplicates, rejected) of a load that succeeds."""
    match = LOADED.fullmatch(run("load", store, table, *more).stdout)
    assert match and match.group(2) == table, (store, table, more)
    return tuple(int(match.group(i)) for i in (1, 3, 4, 5, 6))


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def store_in(folder, rows=0):
    store = f"{folder}/db"
    run("init", store)
    if rows:
        trades = "".join(f"t{i},I{i % 3},buy,{100 + i / 4},{i}\n" for i in range(1, rows + 1))
        run("load", store, "trades", write(f"{folder}/rows.csv", HEAD + trades))
    return store


def live_sim(store, *more):
    """A simulation that runs until it is ended, once it answers."""
    sim = start("sim", store, "--orders", 10_000_000, "--rate", 2000, *more,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: os.path.exists(f"{store}/control.sock"))
    until(lambda: one(store, "SELECT count(*) FROM trades") > 0)
    return sim


def stop(process, how=signal.SIGTERM):
    process.send_signal(how)
    out, error = process.communicate(timeout=30)
    return process.returncode, out, error


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, home, *words, **more):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            for name in ("TAPE_HISTORY", "XDG_STATE_HOME"):
                os.environ.pop(name, None)
            # libedit does not give back the names of added functions.
            leaks = os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"
            os.environ.update(HOME=home, TERM="xterm", COLUMNS="100", ASAN_OPTIONS=leaks)
            os.environ.update(more)
            os.chdir(home)
            os.execv(TAPE, [TAPE, *map(str, words)])
        self.seen = ""

    def expect(self, text, seconds=20):
        end = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < end, (text, self.seen)
            if select.select([self.fd], [], [], 0.1)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError as gone:
                    raise AssertionError((text, self.seen)) from gone
        before, self.seen = self.seen.split(text, 1)
        return before

    def type(self, text):
        os.write(self.fd, text.encode())

    def ask(self, line):
        """Types a line at the prompt; what comes before the next prompt, without the line."""
        self.type(line + "\r")
        return self.expect("tape> ").split("\n", 1)[-1].replace("\r", "")

    def end(self):
        """Waits for it; ends it first when it should have ended and has not."""
        deadline = time.monotonic() + 20
        try:
            while select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                if not os.read(self.fd, 65536):
                    break
            else:
                os.kill(self.pid, signal.SIGKILL)
        except OSError:
            pass
        os.close(self.fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main(tests):
    chosen = sys.argv[3:]
    passed = failed = 0
    for test in tests:
        if chosen and test.__name__ not in chosen:
            continue
        folder = tempfile.mkdtemp(prefix="tape-cli-")
        begun = time.monotonic()
        try:
            test(folder)
            passed += 1
            print(f"ok    {test.__name__} ({time.monotonic() - begun:.1f} s)", flush=True)
        except BaseException:  # a test that cannot run has failed
            failed += 1
            print(f"FAIL  {test.__name__}\n{traceback.format_exc()}", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0

