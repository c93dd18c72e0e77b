#!/usr/bin/env bash
# Runs the examples one after the other on one store: examples/run.sh EMBED FOLLOW VIEW SCAN UDF
set -euo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/tape-examples.XXXXXX")
trap 'rm -rf "$work"' EXIT
expect() {
    if ! grep -qxF "$2" <<<"$1"; then
        printf 'expected the line: %s\nin: %s\n' "$2" "$1" >&2
        exit 1
    fi
}
embedded=$("$1" "$work/db")
expect "$embedded" 'durable: seq 1 to 3'
expect "$embedded" 'alice has 900000 available'
expect "$embedded" 'volume 2, turnover 7800.4'
followed=$("$2" "$work/db" 0)
expect "$followed" '1 IF2601 3900.2 x 2'
expect "$followed" 'next seq 4'
viewed=$("$3" "$work/db")
expect "$viewed" 'in the view alice has 900000 available'
expect "$viewed" 'now alice has 500000 available'
expect "$viewed" 'bob: 900000 available at seq 3'
expect "$viewed" 'carol: no account'
scanned=$("$4" "$work/db")
expected='accounts by user:
  alice seq 4 balance 1e+06
  bob seq 3 balance 1e+06
the highest user first:
  bob seq 3 balance 1e+06
  alice seq 4 balance 1e+06
what alice'"'"'s account was:
  alice seq 4 balance 1e+06
  alice seq 2 balance 1e+06'
if [ "$scanned" != "$expected" ]; then
    printf 'expected: %s\nactual: %s\n' "$expected" "$scanned" >&2
    exit 1
fi
with_functions=$("$5" "$work/db")
expect "$with_functions" 'IC2601: 29000 ticks at most, prices within 0'
expect "$with_functions" 'IF2601: 19564 ticks at most, prices within 12.6'
