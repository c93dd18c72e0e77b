#!/usr/bin/env bash
# Runs the examples one after the other on one store: examples/run.sh EMBED FOLLOW
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
