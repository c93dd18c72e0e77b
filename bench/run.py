#!/usr/bin/env python3
"""Runs the measuring programs and prints the table of what they found.

    bench/run                     all of them; writes bench/results/DATE.json and docs/BENCHMARKS.md
    bench/run append_written sql  those; prints only
    bench/run --report FILE       writes docs/BENCHMARKS.md from recorded results

The programs are built by `make bench` (or ninja, with -Dbench=true) in the build directory: BUILD,
or --build DIR; default build. TMPDIR says on which file system the stores are made; they are
removed afterwards. BENCH_LONG=1 runs the sustained load for 10 minutes, opens a store of 20 GB,
overwrites four times as much and asks SQL about 100 M trades, BENCH_ROWS sets the rows of the SQL
measurements, BENCH_SCALE=0.1 runs a tenth of everything: for trying out, never for figures.

Why a row is short of its target stands in bench/notes.json, by row.
"""
import argparse
import datetime
import json
import os
import re
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PROGRAMS = {
    "append_written": "Append, acknowledged `written`",
    "append_durable": "Append, acknowledged `durable`",
    "append_paced": "Appends at a fixed rate: latency, background CPU",
    "append_sustained": "Sustained load",
    "replay": "Replay",
    "memtable": "The memtable beside other structures",
    "get": "Point reads and the store's insert",
    "scan": "Scans in key order",
    "amplification": "Write and space amplification",
    "open": "Opening",
    "sql": "SQL over hot columns",
    "sql_cold": "SQL over the archive",
    "sql_memory": "Memory to load, archive and answer",
    "freshness": "Append to visible in SQL",
}
IDLE_WAIT_SECONDS = 60


def say(text):
    print(text, file=sys.stderr, flush=True)


# --- the machine ---


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return ""


def busy_share(seconds):
    """The share of all cores that was in use during that time."""
    def sample():
        fields = [int(f) for f in read("/proc/stat").split("\n")[0].split()[1:]]
        return sum(fields[:8]), fields[3] + fields[4]
    total, idle = sample()
    time.sleep(seconds)
    total_after, idle_after = sample()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def wait_for_idle():
    deadline = time.monotonic() + IDLE_WAIT_SECONDS
    busy = busy_share(1)
    while busy > 0.1 and time.monotonic() < deadline:
        busy = busy_share(2)
    if busy > 0.1:
        say(f"bench: other programs use {busy:.0%} of this machine: the figures are worth little")
    return busy


def filesystem():
    path = os.path.realpath(os.environ.get("TMPDIR") or "/tmp")
    best = ("", "unknown")
    for line in read("/proc/mounts").splitlines():
        _, mount, kind = line.split()[:3]
        inside = path == mount or path.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best[0]):
            best = (mount, kind)
    return best[1]


def machine():
    cpuinfo = read("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.*)$", cpuinfo, re.M)
    memory = re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo"))
    virtual = " (virtual machine)" if re.search(r"^flags.*\bhypervisor\b", cpuinfo, re.M) else ""
    system = os.uname()
    return {
        "CPU": (model.group(1).strip() if model else system.machine) + virtual,
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory.group(1)) / 2**20:.0f} GiB" if memory else "unknown",
        "kernel": system.sysname + " " + re.match(r"[\d.]*\d", system.release).group(),
        "file system": filesystem(),
    }


def revision():
    def git(*args):
        return subprocess.run(["git", "-C", ROOT, *args], capture_output=True, text=True,
                              check=False).stdout.strip()
    commit = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "include")
    return commit + (" and changes" if changed else "") if commit else "unknown"


# --- running ---


def run_program(build, name):
    path = os.path.join(build, "bench", "bench_" + name)
    if not os.path.exists(path):
        sys.exit(f"bench: {path} is not there: run `make bench`, or build with -Dbench=true")
    say(f"bench: {name} ...")
    start = time.monotonic()
    done = subprocess.run([path], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"bench: {name} failed with status {done.returncode}")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    facts = {line["fact"]: line["value"] for line in lines if "fact" in line}
    rows = [line for line in lines if "row" in line]
    say(f"bench: {name}: {len(rows)} rows in {time.monotonic() - start:.0f} s")
    os.sync()
    time.sleep(1)
    return facts, rows


def run_all(build, names):
    start = time.monotonic()
    results = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d"),
        "revision": revision(),
        "machine": machine(),
        "settings": {k: v for k, v in os.environ.items()
                     if k in ("BENCH_SCALE", "BENCH_LONG", "BENCH_ROWS")},
        "facts": {},
        "rows": [],
    }
    results["busy_before"] = round(wait_for_idle(), 3)
    for name in names:
        facts, rows = run_program(build, name)
        results["facts"].update(facts)
        for row in rows:
            row["program"] = name
            row["revision"] = results["revision"]
        results["rows"] += rows
    results["seconds"] = round(time.monotonic() - start)
    return results


def put_into(path, results):
    """Recorded results with the rows of the programs that ran now; whose rows say when they did."""
    with open(path, encoding="utf-8") as file:
        recorded = json.load(file)
    if recorded["machine"] != results["machine"]:
        sys.exit(f"bench: {path} is of another machine: run everything")
    programs = {row["program"] for row in results["rows"]}
    recorded["rows"] = [row for row in recorded["rows"] if row["program"] not in programs]
    recorded["rows"] += results["rows"]
    recorded["facts"].update(results["facts"])
    return recorded


# --- the table ---


def number(value, digits=3):
    text = f"{value:.{digits}g}"
    return text if "e" not in text else f"{value:.0f}"


def figure(value, unit):
    if unit.startswith("ns"):
        per = unit[2:]
        for limit, scale, name in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
            if value < limit:
                return f"{number(value / scale)} {name}{per}"
        return f"{number(value / 1e9)} s{per}"
    if unit in ("records/s", "rows/s", "gets/s"):
        for limit, scale, name in ((1e3, 1, ""), (1e6, 1e3, "k "), (1e9, 1e6, "M ")):
            if value < limit:
                return f"{number(value / scale)} {name}{unit}"
        return f"{number(value / 1e9)} G {unit}"
    return f"{number(value)} {unit}"


def figure_cell(series, unit):
    return "" if series is None else figure(series["median"], unit)


def ratio_cell(row):
    ratio = row["ratio"]
    if ratio is None:
        return ""
    spread = f" ({number(ratio['q1'])} to {number(ratio['q3'])})" if ratio["rounds"] > 1 else ""
    return f"{row['ratio_of']}: {number(ratio['median'])}{spread}"


def target_cell(row):
    if row["goal"] is None:
        return ""
    sign = "≤" if row["goal"] == "<=" else "≥"
    if row["ratio"] is None:
        return f"{sign} {figure(row['target'], row['unit'])}"
    return f"{sign} {number(row['target'])}"


def reached_cell(row):
    return {None: "", True: "yes", False: "**no**"}[row["reached"]]


HEADER = ["measured", "tape", "beside", "", "ratio", "target", "reached"]


def table_rows(rows):
    for row in rows:
        yield [row["metric"], figure_cell(row["tape"], row["unit"]), row["peer"] or "",
               figure_cell(row["beside"], row["unit"]), ratio_cell(row), target_cell(row),
               reached_cell(row)]


def print_table(results):
    for name, title in PROGRAMS.items():
        rows = [row for row in results["rows"] if row["program"] == name]
        if not rows:
            continue
        cells = [HEADER] + [[c.replace("**", "").replace("`", "") for c in cells]
                            for cells in table_rows(rows)]
        widths = [max(len(line[i]) for line in cells) for i in range(len(HEADER))]
        print("\n" + title.replace("`", "") + "\n")
        for line in cells:
            print("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip())


# --- docs/BENCHMARKS.md ---


def markdown_table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(cells) + " |" for cells in rows]
    return [line.replace("|  |", "| |") for line in lines]


def spread_rows(rows):
    seen = set()
    for row in rows:
        for who, key in (("tape", "tape_spread_ns"), (row["peer"], "peer_spread_ns")):
            spread = row[key]
            title = re.sub(r", p(50|99)$", "", row["metric"])
            identity = (title, who, spread and spread["p99.9"])
            if spread is None or identity in seen:
                continue
            seen.add(identity)
            yield [title, who, *(figure(spread[p], "ns")
                                 for p in ("p50", "p99", "p99.9", "p99.99", "max")),
                   str(spread["count"])]


def settings_lines(rows):
    seen = {}
    for row in rows:
        peer, settings = row["peer"], row["settings"]
        if peer and settings["peer"]:
            seen.setdefault((peer, settings["peer"]), None)
        if settings["tape"]:
            seen.setdefault(("tape", settings["tape"]), None)
    return [f"- {peer}: {text}." for peer, text in seen]


def explanations(rows, notes):
    lines = []
    for row in rows:
        if row["reached"] is False:
            what = row["metric"] + (f", beside {row['peer']}" if row["peer"] else "")
            why = notes.get(row["row"], "not explained yet.")
            lines.append(f"- **{what}**: {why}")
    return lines


def statement_lines(rows):
    """Each once; a peer's own way to ask the same says whose it is."""
    lines = []
    for row in rows:
        text = row["explains"]
        if text and text.startswith("SELECT"):
            own = (row["peer"] or "").startswith("PostgreSQL")
            lines.append(text + (";  -- in PostgreSQL" if own else ";"))
    return list(dict.fromkeys(lines))


def section(results, name, title, notes):
    rows = [row for row in results["rows"] if row["program"] == name]
    if not rows:
        return []
    lines = ["", f"## {title}", ""]
    revision = rows[0].get("revision", results["revision"])
    if revision != results["revision"]:
        lines += [f"Measured at {revision}.", ""]
    lines += markdown_table(HEADER, table_rows(rows))
    remarks = {}
    for row in rows:
        if row["explains"] and not row["explains"].startswith("SELECT"):
            remarks.setdefault(row["explains"], []).append(row["metric"])
    if remarks:
        lines += [""]
        lines += [f"- {', '.join(dict.fromkeys(metrics))}: {text}."
                  for text, metrics in remarks.items()]
    why = explanations(rows, notes)
    if why:
        lines += ["", "Short of the target, and why:", "", *why]
    spreads = list(spread_rows(rows))
    if spreads:
        lines += ["", "Latencies, all rounds together:", ""]
        lines += markdown_table(["measured", "", "p50", "p99", "p99.9", "p99.99", "longest",
                                 "count"], spreads)
    statements = statement_lines(rows)
    if statements:
        lines += ["", "Statements:", "", "```sql", *statements, "```"]
    settings = settings_lines(rows)
    if settings:
        lines += ["", "Settings:", "", *settings]
    return lines


INTRODUCTION = """\
# Measurements

Written by `bench/run` (`make bench`); do not edit. Every ratio was taken side by side in one run:
same machine, same records, same durability, same threads, peers at the settings their documents
advise. tape and its peers take turns in short rounds; a ratio is taken per round, and what stands
here is the median of the rounds with its quartiles. Each ratio says which figure is divided by
which. Latencies at a fixed rate count from the time an append was due (no coordinated omission). A
record is a tick: 96 bytes of struct, 128 bytes in the journal; peers store a key of 16 bytes and
the same 96 bytes. Where records are found, scanned or overwritten by key it is an order: 144 bytes
of struct; peers store its key of 21 bytes and the same 144 bytes. SQL is asked about a generated
market: trades in 50 instruments by 20,000 users over trading days of 10 M, the orders they fill, in
two versions each, and ticks. Every answer is compared among all who give it; a peer that is not
there is missing by name and reason."""


def report(results, notes):
    lines = [INTRODUCTION, ""]
    head = {"date": results["date"], "tape": results["revision"], **results["machine"],
            **results["facts"]}
    if results["settings"]:
        head["settings"] = ", ".join(f"{k}={v}" for k, v in results["settings"].items())
    head["in use by others before"] = f"{results['busy_before']:.0%} of the machine"
    head["the run took"] = f"{results['seconds'] / 60:.0f} minutes"
    lines += markdown_table(["machine and versions", ""], [[k, v] for k, v in head.items()])
    goals = [row for row in results["rows"] if row["reached"] is not None]
    reached = sum(row["reached"] for row in goals)
    lines += ["", f"{reached} of {len(goals)} targets are reached."]
    for name, title in PROGRAMS.items():
        lines += section(results, name, title, notes)
    return "\n".join(lines) + "\n"


def write_report(results):
    notes = json.loads(read(os.path.join(HERE, "notes.json")) or "{}")
    path = os.path.join(ROOT, "docs", "BENCHMARKS.md")
    with open(path, "w", encoding="utf-8") as file:
        file.write(report(results, notes))
    say(f"bench: wrote {os.path.relpath(path, ROOT)}")


def main():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--build", default=os.environ.get("BUILD", "build"))
    parser.add_argument("--report", metavar="FILE")
    parser.add_argument("--into", metavar="FILE",
                        help="replace the rows of the programs named in recorded results")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in PROGRAMS]
    if unknown:
        parser.error(f"there is no {unknown[0]}; there are {', '.join(PROGRAMS)}")
    if options.report:
        with open(options.report, encoding="utf-8") as file:
            write_report(json.load(file))
        return
    build = os.path.join(ROOT, options.build)
    results = run_all(build, options.names or list(PROGRAMS))
    print_table(results)
    if options.into:
        results = put_into(options.into, results)
    elif options.names:
        return
    os.makedirs(os.path.join(HERE, "results"), exist_ok=True)
    path = options.into or os.path.join(HERE, "results", results["date"] + ".json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1, ensure_ascii=False)
        file.write("\n")
    say(f"bench: wrote {os.path.relpath(path, ROOT)}")
    write_report(results)


if __name__ == "__main__":
    main()
