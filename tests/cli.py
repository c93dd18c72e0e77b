#!/usr/bin/env python3
"""The command from outside: exit statuses, messages, files, live owners. tests/cli.py TAPE ROOT

Each function below is one test in a folder of its own; it fails by an exception.
"""
import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import time

from cli_testing import (HEAD, ROOT, TAPE, live_sim, load, main, one, run, sql, start, status, stop,
                         store_in, tail, told, until, write)


# --- words ---------------------------------------------------------------------------------------


def help_for_all(folder):
    listing = run("help").stdout
    verbs = re.findall(r"^  (\w+) ", listing, re.M)
    assert verbs == (
        "init load sim get scan sql tail status verify checkpoint compact archive bench "
        "help".split())
    for verb in verbs:
        assert run("help", verb).stdout == run(verb, "--help").stdout
        assert run("help", verb).stdout.startswith(f"tape {verb} ")
    assert re.fullmatch(r"tape \d+\.\d+\.\d+\n", run("--version").stdout)
    done = subprocess.run([TAPE], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stdout == "" and "usage" in done.stderr


def wrong_words(folder):
    store = store_in(folder)
    told("frobnicate", code=2, has=["frobnicate", "tape help"])
    told("stauts", code=2, has=["did you mean `tape status`"])
    told("sql", store, "SELECT 1", "--formta", "csv", code=2, has=["--format?"])
    told("sql", store, "SELECT 1", "--format", "xml", code=2,
         has=["table, csv, json, line, arrow or parquet"])
    told("get", store, code=2, has=["tape get DIR TABLE KEY..."])
    told("get", store, "tradse", "x", code=2, has=["did you mean trades?"])
    told("get", store, "positions", "x", code=2, has=["user_id instrument_id"])
    told("scan", store, code=2, has=["tape scan DIR TABLE [KEY...]"])
    told("scan", store, "tradse", code=2, has=["did you mean trades?"])
    told("scan", store, "trades", "a", "b", code=2, has=["trades has 1 field"])
    told("scan", store, "trades", "--prefix", "a", "--to", "b", code=2, has=["--prefix"])
    told("scan", store, "trades", "t1", "--from", "a", code=2, has=["whole key"])
    told("scan", store, "ticks", "--prefix", "1", code=1, has=["INVALID", "seq"])
    told("scan", store, "trades", "--limit", "few", code=2, has=["--limit few"])
    told("compact", store, "nonsense", code=2, has=["nonsense", "orders"])
    told("compact", store, "--from", "a", code=2, has=["--from needs a table"])
    told("compact", store, "positions", "a", "b", "c", code=2, has=["2 fields"])
    told("load", store, "nonsense", "x.csv", code=2, has=["nonsense", "orders"])
    told("load", store, "trades", "x.csv", "--skip", "-3", code=2, has=["--skip"])
    told("tail", store, "--tables", "trades,nonsense", code=2, has=["nonsense"])
    told("tail", store, "--from", "yesterday", code=2, has=["yesterday"])
    told("tail", store, "--level", "safe", code=2, has=["written, durable or committed"])
    told("sim", store, "--rate", "fast", code=2, has=["--rate fast"])
    told("status", store, "--format", "csv", code=2, has=["table or json"])
    told("bench", "appendwritten", code=2, has=["append-written"])
    told("status", store, store, code=2, has=["one argument too many"])


def no_store_there(folder):
    for words in (["get", "trades", "x"], ["sql", "SELECT 1"], ["status"], ["verify"],
                  ["checkpoint"], ["compact"], ["archive"], ["scan", "trades"], ["tail"], ["sim"]):
        told(words[0], f"{folder}/void", *words[1:], code=1, has=["NO_STORE", f"{folder}/void"])
    os.mkdir(f"{folder}/empty")
    told("status", f"{folder}/empty", code=1, has=["NO_STORE"])
    store = store_in(folder)
    told("init", store, code=1, has=["EXISTS"])
    told("init", write(f"{folder}/file", "x"), code=1, has=["EXISTS"])
    told("init", f"{folder}/no/where", code=1)


# --- load ----------------------------------------------------------------------------------------


def loads_and_counts(folder):
    store = store_in(folder)
    a = write(f"{folder}/a.csv", HEAD + "t1,I1,buy,1.5,1\nt2,I1,sell,2.5,2\n")
    b = write(f"{folder}/b.csv", HEAD + "t2,I1,sell,2.5,2\nt3,I1,buy,3.5,3\n")
    assert load(store, "trades", a) == (2, 1, 2, 0, 0)
    assert load(store, "trades", a, b) == (1, 3, 3, 3, 0)
    assert load(store, "trades", a) == (0, 0, 0, 2, 0)
    assert load(store, "trades", write(f"{folder}/e.csv", HEAD)) == (0, 0, 0, 0, 0)
    assert [r["trade_id"]
            for r in sql(store, "SELECT trade_id FROM trades ORDER BY seq")] == ["t1", "t2", "t3"]
    lines = write(f"{folder}/l.jsonl", '{"instrument_id":"I1","last_price":7}\n' * 3)
    assert load(store, "ticks", lines) == (3, 4, 6, 0, 0)
    assert load(store, "ticks", lines, "--skip", "2") == (1, 7, 7, 0, 0)
    as_trades = ("SELECT 'x' || row_number() OVER () AS trade_id, 'I9' AS instrument_id, "
                 "1 AS price FROM input")
    assert load(store, "trades", lines, "--select", as_trades) == (3, 8, 10, 0, 0)
    assert run("verify", store).stdout.startswith("ok: 10 records")


def a_bad_row_stops_the_load(folder):
    store = store_in(folder)
    bad = write(f"{folder}/bad.csv", HEAD + "t1,I1,buy,1,1\nb1,I1,sideways,1,1\nt2,I1,buy,1,1\n")
    error = told("load", store, "trades", bad, code=1,
                 has=["INVALID", f"{bad} row 2", "'side'", "'sideways'",
                      "loaded 1 rows before it (seq 1..1)",
                      "--rejects"])
    assert error.count("\n") == 1
    assert one(store, "SELECT count(*) FROM trades") == 1
    lines = write(f"{folder}/bad.jsonl",
                  '{"instrument_id":"I1"}\n' * 2 + '{"instrument_id":1.5,"volume":"x"}\n')
    told("load", store, "ticks", lines, code=1, has=["row 3", "--skip 2"])


def rejects_are_kept_and_load_again(folder):
    store = store_in(folder)
    bad = write(f"{folder}/bad.csv",
                HEAD + 't1,I1,buy,1,1\n"b,1",I1,sideways,1,1\nt2,I1,buy,1,1\nb2,I1,buy,nan,1\n')
    rejects = f"{folder}/rejects.csv"
    assert load(store, "trades", bad, "--rejects", rejects) == (2, 1, 2, 0, 2)
    with open(rejects, encoding="utf-8") as file:
        head, *rows = file.read().splitlines()
    assert head.startswith("trade_id,") and head.endswith(
        ",rejected_row,rejected_column,rejected_value,rejected_reason")
    assert len(rows) == 2 and rows[0].startswith('"b,1",') and ",2,side,sideways," in rows[0]
    assert ",4,price,nan," in rows[1]
    told("load", store, "trades", bad, "--rejects", rejects, code=1, has=["EXISTS", rejects])
    good = "\n".join([head, *(r.replace("sideways", "sell", 1).replace("nan", "7", 1)
                              for r in rows)])
    assert load(store, "trades", write(rejects, good + "\n")) == (2, 3, 4, 0, 0)
    assert one(store, "SELECT count(*) FROM trades WHERE trade_id IN ('b,1', 'b2')") == 2
    never = f"{folder}/never.csv"
    run("load", store, "trades", write(f"{folder}/good.csv", HEAD), "--rejects", never)
    assert not os.path.exists(never)
    run("load", store, "trades", bad, "--rejects", "/dev/null")


def unusable_input(folder):
    store = store_in(folder)
    told("load", store, "trades", f"{folder}/none.csv", code=1, has=["none.csv"])
    told("load", store, "trades", folder, code=1, has=["directory"])
    told("load", store, "trades", write(f"{folder}/x.xml", "<a/>"), code=1, has=["x.xml"])
    odd = write(f"{folder}/odd.csv", "trade_id,colour\nt1,red\n")
    told("load", store, "trades", odd, code=1, has=["colour"])
    good = write(f"{folder}/good.csv", HEAD + "t1,I1,buy,1,1\n")
    told("load", store, "trades", good, "--select", "DROP TABLE input", code=1)
    told("load", store, "trades", good, "--rejects", f"{folder}/no/r.csv", "--select",
         "SELECT trade_id, 'up' AS side FROM input", code=1, has=["no/r.csv"])
    assert status(store)["written"] == 0


def an_interrupted_load_can_go_on(folder):
    store = store_in(folder)
    rows = 1_000_000
    big = f"{folder}/big.csv"
    with open(big, "w", encoding="utf-8") as file:
        file.write(HEAD)
        file.writelines(f"t{i},I1,buy,1,{i}\n" for i in range(rows))
    process = start("load", store, "trades", big, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: os.path.exists(f"{store}/control.sock"))
    until(lambda: process.poll() is not None or one(store, "SELECT count(*) FROM trades") > 0)
    code, out, error = stop(process, signal.SIGINT)
    if code != 0:  # it may have been quicker
        kept = re.search(r"CANCELLED: interrupted; loaded (\d+) rows before it \(seq 1\.\.(\d+)\); "
                         r"run it again", error)
        assert code == 1 and kept and kept.group(1) == kept.group(2), (code, out, error)
        assert one(store, "SELECT count(*) FROM trades") == int(kept.group(1)) < rows
    again = load(store, "trades", big)
    assert again[0] + again[3] == rows and again[4] == 0
    assert one(store, "SELECT count(*) FROM trades") == rows


# --- reading -------------------------------------------------------------------------------------


def gets_rows(folder):
    store = store_in(folder, 5)
    row = json.loads(run("get", store, "trades", "t3").stdout)
    assert list(row)[:3] == ["seq", "ts", "trade_id"]
    assert row["price"] == 100.75 and row["order_id"] is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", row["ts"])
    assert sql(store, "SELECT * FROM trades WHERE trade_id = 't3'") == [row]
    told("get", store, "trades", "t9", code=3, has=["NOT_FOUND", "t9"])
    told("get", store, "trades", "t3", "--at", "2", code=3, has=["NOT_FOUND"])
    assert json.loads(run("get", store, "trades", "t3", "--at=3").stdout) == row


def scans_rows(folder):
    store = store_in(folder)
    trades = "".join(f"{i:03d},I{i % 3},buy,{i},{i}\n" for i in range(300))
    load(store, "trades", write(f"{folder}/a.csv", HEAD + trades))

    def scan(*words):
        return [json.loads(line) for line in run("scan", store, *words).stdout.splitlines()]

    everything = sql(store, "SELECT * FROM trades ORDER BY trade_id")
    for _ in range(2):  # from memtables, then from table files
        assert scan("trades") == everything
        assert scan("trades", "--reverse") == everything[::-1]
        assert scan("trades", "--prefix", "01") == everything[10:20]
        assert scan("trades", "--from", "010", "--to", "012", "--reverse") == everything[11:9:-1]
        assert scan("trades", "--from", "297") == everything[297:]
        assert scan("trades", "--limit", 3) == everything[:3] and scan("trades", "--limit", 0) == []
        assert scan("trades", "--at", 7) == everything[:7] and scan("trades", "--prefix", "x") == []
        assert scan("trades", "042") == [everything[42]]
        run("compact", store)
    accounts = "user_id,balance\n" + "".join(f"u{i % 4},{i}\n" for i in range(20))
    load(store, "accounts", write(f"{folder}/b.csv", accounts))
    assert [r["balance"] for r in scan("accounts")] == [16, 17, 18, 19]
    assert [r["balance"] for r in scan("accounts", "u1", "--versions")] == [17, 13, 9, 5, 1]
    assert [r["balance"] for r in scan("accounts", "u1", "--versions", "--reverse")] == [
        1, 5, 9, 13, 17]
    assert scan("positions") == [] and scan("positions", "u1", "--from", "I") == []
    lines = run("scan", store, "accounts", "--format", "csv").stdout.splitlines()
    assert lines[0] == "seq,ts,user_id,balance,available,frozen,margin" and len(lines) == 5
    assert "(4 rows)" in run("scan", store, "accounts", "--format", "table").stdout
    with open(f"{folder}/x.parquet", "wb") as file:
        subprocess.run([TAPE, "scan", store, "trades", "--format", "parquet"], stdout=file,
                       check=True)
    os.mkdir(f"{folder}/sub")
    other = store_in(f"{folder}/sub")
    load(other, "trades", f"{folder}/x.parquet", "--select", "SELECT * EXCLUDE seq FROM input")
    assert sql(other, "SELECT * FROM trades ORDER BY seq") == everything


def compacts(folder):
    store = store_in(folder)
    for seed in range(6):
        run("sim", store, "--orders", 400, "--seed", seed)
        run("checkpoint", store)
    before = status(store)
    assert before["store"]["levels"][0]["files"] > 7, before["store"]
    keys = [r["order_id"] for r in sql(store, "SELECT order_id FROM orders USING SAMPLE 9 ROWS")]
    rows = [run("get", store, "orders", key).stdout for key in keys]
    run("compact", store, "orders", "--prefix", "s3-")
    run("compact", store, "trades")
    assert sum(level["files"] for level in status(store)["store"]["levels"][1:]) >= 2
    assert run("compact", store).stdout == ""
    after = status(store)
    files = [level["files"] for level in after["store"]["levels"]]
    assert files[:6] == [0] * 6 and 0 < files[6] < 42, after["store"]
    assert after["store"]["space_amplification"] == 1 and after["bytes"]["store"] == sum(
        level["bytes"] for level in after["store"]["levels"])
    assert [run("get", store, "orders", key).stdout for key in keys] == rows
    assert one(store, "SELECT count(*) FROM orders") == 2400
    assert run("verify", store).stdout.startswith("ok: ")


ARCHIVED = re.compile(r"archived to seq (\d+): (\d+) files?, (\d+) bytes\n")


def archives(folder):
    store = store_in(folder, 300)
    before = sql(store, "FROM trades ORDER BY seq")
    done = ARCHIVED.fullmatch(run("archive", store).stdout)
    assert done and int(done.group(1)) == 300 and int(done.group(2)) >= 1, done
    s = status(store)
    assert s["archived"] == s["written"] == 300
    assert s["archive"]["files"] == int(done.group(2))
    assert s["archive"]["bytes"] == s["bytes"]["archive"] == int(done.group(3)) > 0
    assert "Parquet file" in run("status", store).stdout
    assert sql(store, "FROM trades ORDER BY seq") == before
    again = ARCHIVED.fullmatch(run("archive", store).stdout)
    assert again and again.groups() == done.groups()
    more = write(f"{folder}/more.csv", HEAD + "u1,I1,buy,1,1\n")
    load(store, "trades", more)
    day = one(store, "SELECT strftime(max(ts), '%Y-%m-%d') FROM trades")
    done = ARCHIVED.fullmatch(run("archive", store, "--date", day).stdout)
    assert done and int(done.group(1)) == 301
    assert one(store, "SELECT count(*) FROM trades") == 301
    run("verify", store)
    for wrong in ("yesterday", "2024-02-30", "2024-8-8", "20240808", "1234567890", "2024-08-08Z"):
        told("archive", store, "--date", wrong, code=2, has=[f"--date {wrong}", "2024-08-08"])
    os.mkdir(f"{folder}/other")
    empty = store_in(f"{folder}/other")
    assert run("archive", empty).stdout == "archived to seq 0: 0 files, 0 bytes\n"


def prints_formats(folder):
    store = store_in(folder, 3)
    q = ("SELECT trade_id, price, NULL AS n, '' AS e, 'a,\"b\"' AS q FROM trades ORDER BY seq "
         "LIMIT 2")
    assert run("sql", store, q).stdout == (
        'trade_id,price,n,e,q\n'
        't1,100.25,,"","a,""b"""\n'
        't2,100.5,,"","a,""b"""\n')
    assert run("sql", store, q, "--format", "table").stdout == (
        ' trade_id |  price |    n | e | q\n'
        '----------+--------+------+---+-------\n'
        ' t1       | 100.25 | NULL |   | a,"b"\n'
        ' t2       |  100.5 | NULL |   | a,"b"\n'
        '(2 rows)\n')
    assert sql(store, q)[1] == {"trade_id": "t2", "price": 100.5, "n": None, "e": "", "q": 'a,"b"'}
    big = sql(store, "SELECT 18446744073709551615::UBIGINT u, 12345678901234567890123::HUGEINT h, "
                     "0.1::DECIMAL(9,4) d, 'nan'::DOUBLE x, [1, NULL] l, {'a': 1} s, "
                     "MAP {'k': 2} m, '\\xAA'::BLOB b, 1 AS d")
    assert big == [{"u": 18446744073709551615, "h": 12345678901234567890123, "d": 0.1, "x": None,
                    "l": [1, None], "s": {"a": 1}, "m": {"k": 2}, "b": "qg==", "d_1": 1}], big
    assert "explain" not in run("sql", store, "EXPLAIN " + q, "--format", "table").stdout.lower()
    for format_, magic in (("arrow", b"\xff\xff\xff\xff"), ("parquet", b"PAR1")):
        path = f"{folder}/x.{format_}"
        run("sql", store, q, "-o", path)
        with open(path, "rb") as file:
            content = file.read()
        assert content.startswith(magic)
        piped = subprocess.run([TAPE, "sql", store, q, "--format", format_], capture_output=True,
                               check=True)
        assert piped.stdout.startswith(magic)
        assert abs(len(piped.stdout) - len(content)) < 64
    os.mkdir(f"{folder}/sub")
    assert load(store_in(f"{folder}/sub"), "trades", f"{folder}/x.parquet", "--select",
                "SELECT trade_id, price FROM input") == (2, 1, 2, 0, 0)


def reads_statements_from_stdin(folder):
    store = store_in(folder)
    assert run("sql", store, "-", text="SELECT 1 AS a -- ;\n").stdout == "a\n1\n"
    assert run("sql",
               store, text="SELECT 1 AS a; SELECT ';' AS b;\n-- end\n").stdout == "a\n1\nb\n;\n"
    done = run("sql", store, text="SELECT 1 AS a; SELEC 2; SELECT 3 AS c;", code=1)
    assert done.stdout == "a\n1\n" and "SQL" in done.stderr
    told("sql", store, "-", text="SELECT 1; SELECT 2", code=1, has=["FORBIDDEN"])
    assert run("sql", store, "-- a comment\nSELECT 1 AS a").stdout == "a\n1\n"
    told("sql", store, "SELECT sum(a.range) FROM range(1000000000) a, range(1000) b", "--timeout",
         "0.2", code=1,
         has=["TIMEOUT"])


def takes_parameters(folder):
    store = store_in(folder, 4)

    def asked(statement, *values, **more):
        words = [word for value in values for word in ("--param", value)]
        return run("sql", store, statement, *words, **more)

    assert asked("SELECT price FROM trades WHERE trade_id = $1", "t3").stdout == "price\n100.75\n"
    assert asked("SELECT seq FROM trades WHERE price > $2 AND seq < $1 + 0", 4, 100.5).stdout == (
        "seq\n3\n")
    assert asked("SELECT typeof($1) a, typeof($2) b, typeof($3) c, typeof($4) d, $5 IS NULL e, "
                 "typeof($6) f, typeof($7) g", 1, 2**63, 0.5, "true", "NULL",
                 "2024-08-08T23:54:15.342Z", "text:1").stdout.splitlines()[1] == (
                     "BIGINT,UBIGINT,DOUBLE,BOOLEAN,true,TIMESTAMP_NS,VARCHAR")
    assert asked("SELECT $1 AS t", "2024-08-08T23:54:15.342+08:00").stdout == (
        "t\n2024-08-08T15:54:15.342000000Z\n")
    assert asked("SELECT $1 AS t", "it's; DROP\nx").stdout == "t\n\"it's; DROP\nx\"\n"
    assert run("sql", store, "--param", 7, text="SELECT 1 AS a; SELECT $1 AS b;").stdout == (
        "a\n1\nb\n7\n")
    told("sql", store, "SELECT $1", "--param", "int:x", code=2, has=["$1", "'x'", "int"])
    told("sql", store, "SELECT $1", "--param", 2**64, code=2, has=["$1", str(2**64)])
    told("sql", store, "SELECT $2", "--param", 1, code=1, has=["SQL"])
    told("sql", store, "SELECT 1", "--param", 1, code=1, has=["SQL"])


def a_script_tells_the_line_of_its_error(folder):
    store = store_in(folder)
    told("sql", store, text="SELECT 1;\n\nSELECT\n nothing;\n", code=1,
         has=["tape: SQL: stdin line 3: "])


def an_output_file_is_whole_or_not_there(folder):
    store = store_in(folder, 3)
    out = f"{folder}/out"
    os.mkdir(out)
    told("sql", store, "SELECT error('no') FROM trades", "-o", f"{out}/a.csv", code=1)
    told("sql", store, "SELEC", "-o", f"{out}/a.json", code=1)
    assert os.listdir(out) == []
    write(f"{out}/a.csv", "before")
    told("sql", store, "SELECT error('no') FROM trades", "-o", f"{out}/a.csv", code=1)
    with open(f"{out}/a.csv", encoding="utf-8") as file:
        assert file.read() == "before"
    run("sql", store, "SELECT count(*) AS n FROM trades", "-o", f"{out}/a.csv")
    with open(f"{out}/a.csv", encoding="utf-8") as file:
        assert file.read() == "n\n3\n"
    assert os.listdir(out) == ["a.csv"]
    told("sql", store, "SELECT 1", "-o", out, code=1, has=[out])
    told("sql", store, "SELECT 1", "-o", f"{folder}/no/x.csv", code=1, has=["no/x.csv"])
    with open("/dev/full", "w", encoding="utf-8") as full:
        for words in (["sql", store, "SELECT 1"], ["tail", store], ["status", store], ["help"]):
            done = subprocess.run([TAPE, *words], stdout=full, stderr=subprocess.PIPE, text=True,
                                  check=False)
            assert done.returncode == 1 and done.stderr.startswith("tape: NO_SPACE: "), (words,
                                                                                         done)


def tails_records(folder):
    store = store_in(folder, 9)
    run("sim", store, "--orders", 300, "--seed", 4)
    everything = tail(store)
    assert [r["seq"] for r in everything] == list(range(1, status(store)["written"] + 1))
    assert list(everything[0])[:4] == ["seq", "ts", "table", "trade_id"]
    assert [r["seq"] for r in tail(store, "--from", 4, "--to", 6)] == [4, 5, 6]
    assert [r["seq"] for r in tail(store, "--from", 4, "--limit", 2)] == [4, 5]
    assert tail(store, "--from", "latest") == [] and tail(store, "--limit", 0) == []
    assert tail(store, "--tables", "trades", "--instruments", "I1,I2", "--to", 9) == [
        r for r in everything[:9] if r["instrument_id"] in ("I1", "I2")]
    orders = tail(store, "--tables", "orders,accounts")
    assert orders == [r for r in everything if r["table"] in ("orders", "accounts")] and orders
    first = next(r for r in everything if r["ts"] >= "2024")
    assert tail(store, "--from", "2024-01-01T00:00:00Z", "--limit", 1) == [first]
    assert tail(store, "--from", "2200-01-01") == []


def a_closed_pipe_ends_it_quietly(folder):
    store = store_in(folder)
    run("sim", store, "--orders", 20000)
    for words in (["tail", store], ["sql", store, "FROM orders_history"]):
        done = subprocess.run(["bash", "-c", 'set -o pipefail; "$0" "$@" | head -n 1', TAPE,
                               *words],
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.stderr == "" and done.stdout.count("\n") == 1, done
        assert done.returncode in (0, 141), done


def tells_status(folder):
    store = store_in(folder, 7)
    s = status(store)
    assert s["written"] == s["durable"] == s["committed"] == s["applied"] == s["queryable"] == 7
    assert s["rows"]["trades"] == 7 and s["rows"]["orders"] == 0 and s["oldest"] == 1
    assert set(s["bytes"]) == {"journal", "store", "archive", "window", "memtable", "columns"}
    assert s["owner_pid"] is None and s["sync"]["floor_ns"] > 0 and s["epoch"] >= 1
    assert len(s["store"]["levels"]) == 7 and s["store"]["views"] == 0
    assert {"score", "count", "moves", "read_bytes", "written_bytes", "dropped_records",
            "duration_ns"} == set(s["store"]["compaction"])
    assert {"files", "bytes", "takes", "merges", "expired_files", "findings",
            "duration_ns"} == set(s["archive"])
    assert s["sql"]["lag_records"] == 0 <= s["sql"]["lag_ns"]
    assert {"queries", "from_store", "from_cache", "running", "waiting"} < set(s["sql"])
    told_people = run("status", store).stdout
    assert "written" in told_people and "SQL sees every record" in told_people
    run("checkpoint", store)
    assert status(store)["store"]["files"] == 1 and "level 0" in run("status", store).stdout


def finds_damage(folder):
    store = store_in(folder, 2000)
    assert re.fullmatch(r"ok: 2000 records, \d+ files\n", run("verify", store).stdout)
    segment = max((os.path.join(d, f) for d, _, names in os.walk(f"{store}/journal")
                   for f in names),
                  key=os.path.getsize)
    with open(segment, "r+b") as file:
        file.seek(100_000)
        byte = file.read(1)[0]
        file.seek(100_000)
        file.write(bytes([byte ^ 4]))
    done = run("verify", store, code=1)
    assert os.path.basename(segment) in done.stdout and "CORRUPT" in done.stderr
    assert "expected" in done.stdout and "actual" in done.stdout


# --- live owners ---------------------------------------------------------------------------------


def an_owner_answers(folder):
    store = store_in(folder)
    sim = live_sim(store)
    csv = write(f"{folder}/a.csv", HEAD + "t1,I1,buy,1,1\n")
    try:
        for words in (["load", store, "trades", csv], ["sim", store, "--seed", 9]):
            told(*words, code=1, has=["LOCKED", str(sim.pid)])
        s = status(store)
        assert s["owner_pid"] == sim.pid and s["written"] > 0
        trade = sql(store, "SELECT * FROM trades ORDER BY seq LIMIT 1")[0]
        assert json.loads(run("get", store, "trades", trade["trade_id"]).stdout) == trade
        told("get", store, "trades", "nope", code=3, has=["NOT_FOUND"])
        told("sql", store, "DROP VIEW trades", code=1, has=["FORBIDDEN"])
        run("checkpoint", store)
        run("compact", store)
        assert ARCHIVED.fullmatch(run("archive", store).stdout)
        assert status(store)["archived"] > 0
        owned = run("status", store).stdout
        assert "since it was opened" in owned and "level 6" in owned, owned
        assert "statements of SQL" in owned and status(store)["sql"]["queries"] > 0
        s = status(store)["store"]
        assert s["compaction"]["count"] + s["compaction"]["moves"] > 0 and s["flushed_bytes"] > 0
        key = trade["trade_id"]
        assert json.loads(run("scan", store, "trades", "--from", key, "--limit", 1).stdout) == trade
        assert len(run("scan", store, "orders", "--format", "table").stdout.splitlines()) > 10
        assert run("verify", store).stdout.startswith("ok: ")
        for name in ("x.parquet", "x.arrow", "x.csv"):
            run("sql", store, "FROM trades", "-o", name, cwd=folder)
            assert os.path.getsize(f"{folder}/{name}") > 100
        run("sql", store, "-o", "none.csv", "SELEC", cwd=folder, code=1)
        assert not os.path.exists(f"{folder}/none.csv")
        assert run("sql", store, text="SELECT 1 AS a; SELECT 2 AS b;").stdout == "a\n1\nb\n2\n"
        with concurrent.futures.ThreadPoolExecutor(40) as pool:
            counts = list(pool.map(lambda _: one(store, "SELECT count(*) FROM trades"), range(80)))
        assert all(n > 0 for n in counts)
        assert one(store, "SELECT count(*) FROM trades") >= max(counts)
    finally:
        code, out, error = stop(sim)
    kept = re.search(r"tape: CANCELLED: interrupted after \d+ of 10000000 orders: (\d+) records, "
                     r"seq 1\.\.(\d+)", error)
    assert code == 1 and out == "" and kept and kept.group(1) == kept.group(2), (code, out, error)
    assert status(store)["written"] == int(kept.group(1))
    assert not os.path.exists(f"{store}/control.sock")


def an_asker_that_goes_stops_its_statement(folder):
    store = store_in(folder)
    sim = live_sim(store)
    try:
        long = "SELECT sum(a.range) FROM range(100000000) a, range(1000) b"
        asker = start("sql", store, long, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def busy():
            with open(f"/proc/{sim.pid}/stat", encoding="utf-8") as file:
                used = file.read().rsplit(")", 1)[1].split()
            return int(used[11]) + int(used[12])

        time.sleep(1)
        assert asker.poll() is None
        code, _, error = stop(asker, signal.SIGINT)
        assert code != 0 and "Traceback" not in error
        time.sleep(1)
        before = busy()
        time.sleep(1)
        assert busy() - before < 60, "the owner still works for who has gone"  # of 100 a core
        assert sim.poll() is None and one(store, "SELECT count(*) FROM trades") > 0
    finally:
        stop(sim)


def a_killed_owner_leaves_nothing_behind(folder):
    store = store_in(folder)
    sim = live_sim(store)
    seen = status(store)["written"]
    stop(sim, signal.SIGKILL)
    assert status(store)["written"] >= seen
    run("verify", store)
    run("sim", store, "--orders", 100, "--seed", 8)


def a_follower_survives_owners(folder):
    store = store_in(folder)
    path = f"{folder}/followed"
    with open(path, "w", encoding="utf-8") as out:
        follower = start("tail", store, "--follow", stdout=out, stderr=subprocess.PIPE)

    def followed():
        with open(path, encoding="utf-8") as file:
            return [json.loads(line)["seq"] for line in file if line.endswith("\n")]

    try:
        for seed in (1, 2):
            run("sim", store, "--orders", 2000, "--seed", seed)
            top = status(store)["written"]
            until(lambda top=top: len(followed()) >= top)
            assert followed() == list(range(1, top + 1))
        sim = live_sim(store, "--seed", 3)
        stop(sim, signal.SIGKILL)
        top = status(store)["written"]
        until(lambda: len(followed()) >= top)
        run("load", store, "trades", write(f"{folder}/a.csv", HEAD + "t1,I1,buy,1,1\n"))
        until(lambda: len(followed()) == top + 1)
        assert followed() == list(range(1, top + 2)) and follower.poll() is None
    finally:
        stop(follower)


# --- what is installed ---------------------------------------------------------------------------


def printed_files_are_those_of_the_help(folder):
    for what, path in (("man", "docs/tape.1"), ("bash", "tools/completion/tape.bash"),
                       ("zsh", "tools/completion/_tape"), ("fish", "tools/completion/tape.fish")):
        printed = run("help", "--print", what).stdout
        with open(f"{ROOT}/{path}", encoding="utf-8") as file:
            assert file.read() == printed, f"{path}: tape help --print {what} > {path}"
    complete = ("source tools/completion/tape.bash; COMP_WORDS=(tape {}); "
                "COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _tape; echo ${{COMPREPLY[@]}}")
    for words, offered in (("st", "status"), ("sql db --fo", "--format"), ("get db tr", "trades"),
                           ("scan db tr", "trades"), ("compact db tr", "trades"),
                           ("load db trades x --ack du", "durable")):
        done = subprocess.run(["bash", "-c", complete.format(words)], cwd=ROOT,
                              capture_output=True, text=True,
                              check=False)
        assert done.stdout.split() == [offered], (words, done)


def bench_measures(folder):
    rows = run("bench", "append-written", "--seconds", "0.05", "--format", "json",
               env=dict(os.environ, TMPDIR=folder)).stdout.splitlines()
    assert len(rows) == 1 and json.loads(rows[0])["operations"] > 0
    assert os.listdir(folder) == []


TESTS = [help_for_all, wrong_words, no_store_there, loads_and_counts, a_bad_row_stops_the_load,
         rejects_are_kept_and_load_again, unusable_input, an_interrupted_load_can_go_on, gets_rows,
         scans_rows, compacts, archives, prints_formats, reads_statements_from_stdin,
         takes_parameters, a_script_tells_the_line_of_its_error,
         an_output_file_is_whole_or_not_there, tails_records,
         a_closed_pipe_ends_it_quietly, tells_status, finds_damage, an_owner_answers,
         an_asker_that_goes_stops_its_statement, a_killed_owner_leaves_nothing_behind,
         a_follower_survives_owners, printed_files_are_those_of_the_help, bench_measures]

sys.exit(main(TESTS))
