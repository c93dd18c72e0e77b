#!/usr/bin/env bash
# A load into a file system that is too small: one clear line, nothing lost, and it goes on when
# there is space: tests/disk_full.sh TAPE
# Needs the right to mount a tmpfs; skipped (77) without it.
set -euo pipefail
tape=$(realpath "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/tape-full.XXXXXX")
rows_file=$(mktemp "${TMPDIR:-/tmp}/tape-full-XXXXXX.csv")
finish() {
    rm -f "$rows_file"
    mountpoint -q "$work" && umount "$work"
    rmdir "$work"
}
trap finish EXIT
mount -t tmpfs -o size=150m tmpfs "$work" 2>/dev/null || exit 77
cd "$work"

fail() {
    printf 'failed: %s\n' "$*" >&2
    cd / # so that it can be unmounted
    exit 1
}
rows() { "$tape" sql db "SELECT count(*) FROM trades" --format csv 2>/dev/null | tail -n 1; }
{
    printf 'trade_id,instrument_id,side,price,volume,ts\n'
    seq -f 't%.0f,IF2601,buy,3900.2,1,1700000000000000000' 1 700000
} >"$rows_file"

"$tape" init db >/dev/null
status=0
"$tape" load db trades "$rows_file" 2>err >out || status=$?
[ $status = 1 ] || fail "exit status $status, expected 1"
grep -q '^tape: NO_SPACE: .*seq 1\.\.' err || fail "no clear line: $(cat err)"
upto=$(sed -n 's/.*seq 1\.\.\([0-9]*\).*/\1/p' err | tail -n 1)
kept=$(rows)
[ "$kept" = "$upto" ] || fail "$kept rows can be read of $upto that were appended"
"$tape" get db trades "t$upto" >/dev/null || fail "the last row is not found by key"

mount -o remount,size=2g "$work"
"$tape" load db trades "$rows_file" >out 2>err || fail "with space: $(cat err)"
rest="loaded $((700000 - upto)) rows into trades, seq $((upto + 1))..700000, $upto duplicates"
grep -qF "$rest" out ||
    fail "the second load does not complete the first: $(cat out)"
[ "$(rows)" = 700000 ] || fail "$(rows) rows"
"$tape" verify db >out || fail "verify: $(cat out)"
cd /
