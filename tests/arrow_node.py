#!/usr/bin/env python3
"""Another Arrow library reads what `tape sql --format arrow` writes: tests/arrow_node.py TAPE

npm's apache-arrow is fetched into a temporary folder; where that cannot be, the test is skipped.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

TAPE = os.path.abspath(sys.argv[1])
SKIPPED = 77
PACKAGE = "apache-arrow@21"

READ = """
import {tableFromIPC} from 'apache-arrow';
import fs from 'fs';
const text = v => v === null || v === undefined ? null : typeof v === 'bigint' ? String(v)
  : v instanceof Uint8Array ? Buffer.from(v).toString('base64')
  : typeof v === 'object' && v.toJSON ? text(v.toJSON())
  : Array.isArray(v) ? v.map(text)
  : typeof v === 'object' ? Object.fromEntries(Object.entries(v).map(([k, w]) => [k, text(w)])) : v;
const t = tableFromIPC(fs.readFileSync(process.argv[2]));
for (const row of t) {
  const cells = t.schema.fields.map(f => [f.name, String(f.type), text(row[f.name])]);
  console.log(JSON.stringify(cells));
}
"""

# SQL, type and value of each column; None: not compared.
COLUMNS = [
    ("true", "Bool", True),
    ("-5::TINYINT", "Int8", -5),
    ("65535::USMALLINT", "Uint16", 65535),
    ("9007199254740993::BIGINT", "Int64", "9007199254740993"),
    ("18446744073709551615::UBIGINT", "Uint64", "18446744073709551615"),
    ("1.5::FLOAT", "Float32", 1.5),
    ("61837.63::DOUBLE", "Float64", 61837.63),
    ("'h\u00e9llo'", "Utf8", "h\u00e9llo"),
    ("''::VARCHAR", "Utf8", ""),
    ("'\\xAA\\x00'::BLOB", "Binary", "qgA="),
    ("TIMESTAMP '2024-08-08 23:54:15.342'", "Timestamp<MICROSECOND>", 1723161255342),
    ("DATE '2024-02-29'", "Date32<DAY>", 1709164800000),
    ("'small'::ENUM('large', 'small')", "Dictionary<Uint8, Utf8>", "small"),
    ("[1, NULL, 3]", "List<Int32>", [1, None, 3]),
    ("[[0.5::DOUBLE], [], NULL]", "List<List<Float64>>", [[0.5], [], None]),
    ("{'a': 1, 'b': 'x'}", "Struct<{a:Int32, b:Utf8}>", {"a": 1, "b": "x"}),
    ("MAP {'k': 2}", "Map<{key:Utf8, value:Int32}>", {"k": 2}),
    ("[7, 8]::INTEGER[2]", "FixedSizeList[2]<Int32>", [7, 8]),
    ("12345::DECIMAL(9, 2)", "Decimal[9e+2]", None),
]
TYPES = (f"SELECT {', '.join(f'{sql} AS c{i}' for i, (sql, _, _) in enumerate(COLUMNS))} "
         f"UNION ALL SELECT {', '.join('NULL' for _ in COLUMNS)}")


def install(folder):
    """Whether the package is there."""
    if not shutil.which("node") or not shutil.which("npm"):
        print("skipped: there is no node or no npm")
        return False
    words = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--fetch-retries=0",
             "--fetch-timeout=15000",
             "--prefix", folder, PACKAGE]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
    except subprocess.TimeoutExpired:
        done = None
    if done is None or done.returncode != 0:
        print(f"skipped: npm does not give {PACKAGE}")
        return False
    return True


def read(folder, store, statement):
    """A row is a list of [name, type, value]."""
    path = f"{folder}/x.arrow"
    subprocess.run([TAPE, "sql", store, statement, "-o", path], check=True)
    done = subprocess.run(["node", "read.mjs", path], cwd=folder, capture_output=True, text=True,
                          check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def main():
    with tempfile.TemporaryDirectory(prefix="tape-arrow-") as folder:
        if not install(folder):
            return SKIPPED
        with open(f"{folder}/read.mjs", "w", encoding="utf-8") as file:
            file.write(READ)
        store = f"{folder}/db"
        subprocess.run([TAPE, "init", store], check=True, stdout=subprocess.DEVNULL)
        full, empty = read(folder, store, TYPES)
        for (_, kind, value), (sql, wanted_kind, wanted) in zip(full, COLUMNS, strict=True):
            assert kind == wanted_kind and wanted in (None, value), (sql, kind, value)
        assert all(value is None for _, _, value in empty), empty
        subprocess.run([TAPE, "sim", store, "--orders", "20000"], check=True,
                       stdout=subprocess.DEVNULL)
        query = "SELECT seq, trade_id, user_id, side, price, volume FROM trades ORDER BY seq"
        lines = subprocess.run([TAPE, "sql", store, query, "--format", "json"], check=True,
                               capture_output=True, text=True).stdout.splitlines()
        rows = [{name: value for name, _, value in row} for row in read(folder, store, query)]
        assert len(rows) == len(lines) > 5000
        for row, line in zip(rows, lines, strict=True):
            assert dict(row, seq=int(row["seq"])) == json.loads(line), (row, line)
        print(f"{len(rows) + len(COLUMNS)} values and rows alike")
    return 0


sys.exit(main())
