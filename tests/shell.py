#!/usr/bin/env python3
"""The shell of `tape sql`, and what else a terminal sees. tests/shell.py TAPE ROOT

Each function below is one test in a folder of its own; it fails by an exception.
"""
import os
import signal
import subprocess
import sys
import time

from cli_testing import (TAPE, Terminal, live_sim, main, one, run, start, stop, store_in,
                         write)

FOREVER = "SELECT sum(a.range) FROM range(100000000) a, range(1000) b"


def shell_of(folder, store, *words, **more):
    shell = Terminal(folder, "sql", store, *words, **more)
    shell.expect("tape> ")
    return shell


def quit_shell(shell):
    shell.type(".quit\r")
    assert shell.end() == 0


def interrupt(shell):
    shell.type("\x03")
    shell.expect("^C")
    return shell.expect("tape> ")


def history_of(path):
    with open(path, encoding="utf-8") as file:
        return file.read().replace("\\040", " ").splitlines()[1:]


def cpu_of(pid):
    """Hundredths of a second of one core, so far."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        used = file.read().rsplit(")", 1)[1].split()
    return int(used[11]) + int(used[12])


# --- statements ----------------------------------------------------------------------------------


def statements_over_several_lines(folder):
    store = store_in(folder, 4)
    shell = shell_of(folder, store)
    shell.type("SELECT count(*) AS n\r")
    shell.expect("   -> ")
    shell.type("FROM trades -- no end; here\r")
    shell.expect("   -> ")
    shell.type("WHERE trade_id <> ';'; SELECT 'second' AS x;\r")
    shell.expect("(1 row)")
    shell.expect("second")
    shell.expect("tape> ")
    assert one(store, "SELECT count(*) FROM trades") == 4  # it answers others meanwhile
    shell.type("\x04")
    assert shell.end() == 0


def errors_do_not_end_it(folder):
    shell = shell_of(folder, store_in(folder, 4))
    assert "tape: SQL:" in shell.ask("SELEC;")
    assert "tape: FORBIDDEN:" in shell.ask("DROP VIEW trades;")
    assert "tape: SQL:" in shell.ask("SELECT error('no') FROM trades;")
    assert "did you mean .tables" in shell.ask(".table")
    assert "see .help" in shell.ask(".nonsense")
    for line in (".mode parquet", ".timer maybe", ".schema nothing", ".read", ".param",
                 ".param set", ".param set 1", ".param set 2 x", ".param set 1 int:x"):
        assert "tape: " in shell.ask(line), line
    assert "(1 row)" in shell.ask("SELECT 1;")
    quit_shell(shell)


def commands_do_what_help_says(folder):
    shell = shell_of(folder, store_in(folder, 4))
    text = shell.ask(".help")
    for name in (".help", ".mode", ".output", ".param", ".quit", ".read", ".schema", ".tables",
                 ".timer"):
        assert f"\n{name} " in text, (name, text)
    text = shell.ask(".tables")
    assert "\ntrades " in text and "\norders_history " in text and "trades_history" not in text
    assert "price              DOUBLE" in shell.ask(".schema trades")
    assert shell.ask(".schema accounts_history").startswith("accounts_history (\n")
    assert "accounts (" in shell.ask(".schema  ")
    shell.ask(".mode json")
    assert shell.ask("SELECT trade_id, price FROM trades WHERE seq = 2;") == (
        '{"trade_id":"t2","price":100.5}\n')
    shell.ask(".mode line")
    assert shell.ask("SELECT trade_id, price FROM trades WHERE seq < 3 ORDER BY seq;") == (
        "trade_id = t1\n   price = 100.25\n\ntrade_id = t2\n   price = 100.5\n")
    shell.ask(".mode csv")
    assert shell.ask("SELECT 1 AS a;") == "a\n1\n"
    shell.ask(".timer on")
    assert shell.ask("SELECT 1 AS a;").endswith(" s\n")
    shell.ask(".timer off")
    assert shell.ask("SELECT 1 AS a;") == "a\n1\n"
    quit_shell(shell)


def parameters(folder):
    shell = shell_of(folder, store_in(folder, 4), "--format", "csv", "--param", "text:t3")
    assert shell.ask("SELECT seq FROM trades WHERE trade_id = $1;") == "seq\n3\n"
    assert shell.ask(".param list") == "$1 VARCHAR 't3'\n"
    shell.ask(".param set 1 'it''s'")
    shell.ask(".param set $2 -7")
    shell.ask(".param set 3  two words ")
    assert shell.ask(".param list") == (
        "$1 VARCHAR 'it''s'\n$2 BIGINT -7\n$3 VARCHAR 'two words'\n")
    assert shell.ask("SELECT $1 AS a, $2 + 1 AS b, $3 AS c;") == "a,b,c\nit's,-6,two words\n"
    assert shell.ask("SELECT 'no $1' AS a;") == "a\nno $1\n"
    shell.ask(".param clear")
    assert shell.ask(".param list") == ""
    assert "tape: SQL:" in shell.ask("SELECT $1;")
    quit_shell(shell)


def read_runs_up_to_the_first_error(folder):
    shell = shell_of(folder, store_in(folder, 4), "--format", "csv")
    write(f"{folder}/good.sql", "SELECT 1 AS one;\n-- ;\nSELECT 2\n  AS two")
    write(f"{folder}/bad.sql",
          "SELECT 1 AS one;\n\n/* about\n it */ SELECT nothing\nFROM trades;\nSELECT 3 AS three;\n")
    assert shell.ask(".read good.sql") == "one\n1\ntwo\n2\n"
    text = shell.ask(".read bad.sql")
    assert text.startswith("one\n1\ntape: SQL: bad.sql line 4: ") and text.count("\n") == 3, text
    assert "none.sql" in shell.ask(".read none.sql")
    assert "tape: " in shell.ask(f".read {folder}")
    write(f"{folder}/long.sql", f"SELECT 1 AS one;\n{FOREVER};\nSELECT 3 AS three;\n")
    shell.type(".read long.sql\r")
    shell.expect("one")
    time.sleep(0.3)
    text = interrupt(shell)
    assert "tape: CANCELLED: long.sql line 2: " in text and "three" not in text, text
    quit_shell(shell)


def output_goes_to_a_file(folder):
    shell = shell_of(folder, store_in(folder, 4), "--format", "csv")
    shell.ask(".output out.csv")
    text = shell.ask("SELECT 1 AS one;")
    assert text == "", text
    assert shell.ask("SELECT 2 AS two;") == ""
    assert shell.ask("SELEC;").startswith("tape: SQL: ")
    assert "no/where" in shell.ask(".output no/where")  # and stays as it was
    assert shell.ask("SELECT repeat('x', 300) AS three;") == ""
    assert ".help" in shell.ask(".help")
    shell.ask(".output")
    assert shell.ask("SELECT 4 AS four;") == "four\n4\n"
    with open(f"{folder}/out.csv", encoding="utf-8") as file:
        assert file.read() == "one\n1\ntwo\n2\nthree\n" + 300 * "x" + "\n"
    shell.ask(".output /dev/full")
    assert "tape: NO_SPACE: " in shell.ask("SELECT 5 AS five;")
    shell.ask(".output")
    assert shell.ask("SELECT 6 AS six;") == "six\n6\n"
    quit_shell(shell)


# --- keys ----------------------------------------------------------------------------------------


def interrupts_stop_a_statement_alone(folder):
    shell = shell_of(folder, store_in(folder, 4))
    shell.type("SELECT 'forgotten\r")
    shell.expect("   -> ")
    interrupt(shell)
    for _ in range(3):
        interrupt(shell)
    for _ in range(2):
        shell.type(FOREVER + ";\r")
        time.sleep(0.4)
        shell.type("\x03\x03\x03")  # of someone in a hurry
        shell.expect("CANCELLED")
        shell.expect("tape> ")
    shell.type("SELECT 40 + 2 AS n;\r")
    shell.expect("42")
    shell.expect("tape> ")
    quit_shell(shell)


def interrupts_reach_an_owner_elsewhere(folder):
    store = store_in(folder)
    sim = live_sim(store)
    try:
        shell = shell_of(folder, store)
        shell.type(FOREVER + ";\r")
        time.sleep(1)
        assert "CANCELLED" in interrupt(shell)
        time.sleep(0.5)
        before = cpu_of(sim.pid)
        time.sleep(1)
        assert cpu_of(sim.pid) - before < 60, "the owner still works on what was interrupted"
        assert "(1 row)" in shell.ask("SELECT count(*) AS n FROM trades;")
        assert "tape: SQL:" in shell.ask("SELEC;")
        write(f"{folder}/bad.sql", "SELECT 1;\nSELEC;")
        assert "tape: SQL: bad.sql line 2: " in shell.ask(".read bad.sql")
        quit_shell(shell)
        assert sim.poll() is None
    finally:
        stop(sim)


def history_is_kept(folder):
    store = store_in(folder, 4)
    shell = shell_of(folder, store)
    shell.ask("SELECT 111 AS first;")
    shell.ask("SELECT 111 AS first;")
    shell.ask("   ")
    shell.ask(".timer on")
    os.kill(shell.pid, signal.SIGKILL)
    shell.end()
    path = f"{folder}/.tape_history"
    assert history_of(path) == ["SELECT 111 AS first;", ".timer on"]
    assert os.stat(path).st_mode & 0o077 == 0
    shell = shell_of(folder, store)
    shell.type("\x1b[A\x1b[A\r")
    shell.expect("(1 row)")
    shell.expect("tape> ")
    quit_shell(shell)
    assert history_of(path)[-2:] == ["SELECT 111 AS first;", ".quit"]
    shell = shell_of(folder, store)
    shell.type("\x12111")  # Ctrl-R
    time.sleep(0.3)
    shell.type("\r")
    shell.expect("(1 row)")
    shell.expect("tape> ")
    quit_shell(shell)


def history_is_where_it_is_asked_to_be(folder):
    store = store_in(folder, 4)
    shell = shell_of(folder, store, TAPE_HISTORY=f"{folder}/mine")
    quit_shell(shell)
    assert history_of(f"{folder}/mine") == [".quit"]
    shell = shell_of(folder, store, XDG_STATE_HOME=f"{folder}/state")
    quit_shell(shell)
    assert history_of(f"{folder}/state/tape/history") == [".quit"]
    assert os.stat(f"{folder}/state/tape").st_mode & 0o077 == 0
    shell = shell_of(folder, store, TAPE_HISTORY="")
    quit_shell(shell)
    assert not os.path.exists(f"{folder}/.tape_history")


def history_is_shared_and_bounded(folder):
    store = store_in(folder, 4)
    path = f"{folder}/.tape_history"
    with open(path, "w", encoding="utf-8") as file:
        file.write("_HiStOrY_V2_\n")
        file.writelines(f"SELECT\\040{i:0300};\n" for i in range(4000))
    first = shell_of(folder, store)
    second = shell_of(folder, store)
    first.ask(".timer on")
    second.ask(".timer off")
    quit_shell(first)
    quit_shell(second)
    lines = history_of(path)
    assert lines[-4:] == [".timer on", ".timer off", ".quit", ".quit"], lines[-4:]
    assert 1500 < len(lines) < 2100 and lines[-5].endswith("3999;"), len(lines)


def words_are_completed(folder):
    write(f"{folder}/statements.sql", "SELECT 77 AS n;")
    shell = shell_of(folder, store_in(folder, 4), "--format", "csv")
    for typed, told in (("sel\tcount(*) AS n from trad\t;", "n\n4\n"),
                        ("SELECT t.trade_i\tFROM trades t WHERE seq = 2;", "trade_id\nt2\n"),
                        ("SELECT count(*) AS n FROM orders_h\t;", "n\n0\n"),
                        ("SELECT count(*) AS n FROM user_t\t'u');", "n\n0\n"),
                        ("SELECT count(*) AS n FROM tape_s\t;", "n\n1\n"),
                        (".rea\tstat\t", "n\n77\n"),
                        (".mod\tli\t", ""),
                        ("SELECT 1 AS a;", "a = 1\n")):
        shell.type(typed)
        time.sleep(0.1)
        assert shell.ask("") == told, typed
    shell.type("SELECT bid\t\t")
    shell.expect("bid_price  bid_volume")
    interrupt(shell)
    quit_shell(shell)


# --- progress ------------------------------------------------------------------------------------

LONG = "SELECT sleep_ms(2000) IS NULL AS yes"
SHOWN = " s\x1b[K"  # the end of a line of progress


def a_long_statement_shows_progress(folder):
    store = store_in(folder)
    shell = shell_of(folder, store, "--format", "csv")
    shell.type(LONG + ";\r")
    shell.expect(SHOWN)
    text = shell.expect("tape> ")
    assert text.endswith("\r\x1b[Kyes\r\ntrue\r\n"), repr(text)
    shell.type("SELECT 1 AS a;\r")
    assert SHOWN not in shell.expect("tape> ")
    quit_shell(shell)
    done = subprocess.run([TAPE, "sql", store, LONG, "--progress"], capture_output=True,
                          timeout=120, check=True)
    assert SHOWN.encode() in done.stderr and done.stderr.endswith(b"\r\x1b[K"), done
    assert done.stdout == b"yes\ntrue\n"
    assert run("sql", store, LONG).stderr == ""


def a_scan_shows_its_share(folder):
    store = store_in(folder)
    write(f"{folder}/ticks.csv", "instrument_id,last_price\n" +
          "".join(f"I{i % 3},{i}\n" for i in range(130_000)))
    run("load", store, "ticks", f"{folder}/ticks.csv")
    slow = "SELECT count(sleep_ms(CASE seq % 500 WHEN 0 THEN 20 ELSE 0 END)) AS n FROM ticks;"
    shell = shell_of(folder, store, "--format", "csv")
    shell.type(slow + "\r")
    shell.expect("#")
    shell.expect(" %  ")
    assert shell.expect("tape> ").endswith("\r\x1b[Kn\r\n0\r\n")
    shell.type(LONG + ";\r")  # which scans nothing: what was scanned before says nothing of it
    assert " %  " not in shell.expect("tape> ")
    quit_shell(shell)


def an_owner_elsewhere_shows_progress(folder):
    store = store_in(folder)
    owner = shell_of(folder, store)
    terminal = Terminal(folder, "sql", store, LONG, "--format", "csv")
    terminal.expect(SHOWN)
    terminal.expect("\r\x1b[Kyes\r\ntrue\r\n")
    assert terminal.end() == 0
    terminal = Terminal(folder, "sql", store, LONG.replace("IS NULL", "+ nothing"))
    terminal.expect("tape: SQL: ")
    assert terminal.end() == 1
    quit_shell(owner)


def a_stopped_asker_holds_nobody_up(folder):
    store = store_in(folder, 20_000)
    owner = shell_of(folder, store)
    asker = start("sql", store, FOREVER, "--progress", stdout=subprocess.PIPE,
                  stderr=subprocess.PIPE)
    time.sleep(1.5)
    asker.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    assert "(1 row)" in owner.ask("SELECT count(*) AS n FROM trades;")
    assert one(store, "SELECT count(*) FROM trades") == 20_000
    asker.send_signal(signal.SIGCONT)
    code, out, error = stop(asker, signal.SIGINT)
    assert code == 1 and out == "" and "tape: CANCELLED: interrupted\n" in error, (out, error)
    quit_shell(owner)


def a_terminal_sees_a_table_and_progress(folder):
    store = store_in(folder, 2)
    terminal = Terminal(folder, "sql", store, "SELECT trade_id, repeat('x', 500) AS x FROM trades")
    text = terminal.expect("(2 rows)")
    assert terminal.end() == 0
    assert all(len(line) <= 100 for line in text.splitlines()) and "…" in text, repr(text)
    terminal = Terminal(folder, "sql", store, "SELECT 1", "--format", "parquet")
    terminal.expect("tape: USAGE:")
    assert terminal.end() == 2
    terminal = Terminal(folder, "sim", store, "--orders", "600", "--rate", "500")
    terminal.expect("orders/s")
    terminal.expect("600 orders")
    assert terminal.end() == 0


TESTS = [statements_over_several_lines, errors_do_not_end_it, commands_do_what_help_says,
         parameters, read_runs_up_to_the_first_error, output_goes_to_a_file,
         interrupts_stop_a_statement_alone, interrupts_reach_an_owner_elsewhere, history_is_kept,
         history_is_where_it_is_asked_to_be, history_is_shared_and_bounded, words_are_completed,
         a_long_statement_shows_progress, a_scan_shows_its_share, an_owner_elsewhere_shows_progress,
         a_stopped_asker_holds_nobody_up, a_terminal_sees_a_table_and_progress]

sys.exit(main(TESTS))
