#!/usr/bin/env bash
# A load into a file system that is too small: refused before the disk is full, in one clear line;
# nothing lost, reads and upkeep go on, and so do appends when there is space:
# tests/disk_full.sh TAPE
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
mount -t tmpfs -o size=330m tmpfs "$work" 2>/dev/null || exit 77
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
[ "$(grep -vc '^tape: warning: ' err)" = 1 ] || fail "more than a line: $(cat err)"
grep -q '^tape: NO_SPACE: .*[0-9] bytes free.*reserve.*seq 1\.\.' err ||
    fail "no clear line: $(cat err)"
free_bytes() { df --output=avail -B1 "$work" | tail -n 1; }
[ "$(free_bytes)" -gt 16000000 ] || fail "the disk was filled: $(free_bytes) bytes are free"
upto=$(sed -n 's/.*seq 1\.\.\([0-9]*\).*/\1/p' err | tail -n 1)
kept=$(rows)
[ "$kept" = "$upto" ] || fail "$kept rows can be read of $upto that were appended"
"$tape" get db trades "t$upto" >/dev/null || fail "the last row is not found by key"

status=0
"$tape" load db trades "$rows_file" 2>err >out || status=$?
[ $status = 1 ] || fail "not refused again: exit status $status"
grep -q '^tape: NO_SPACE: ' err || fail "not refused again: $(cat err)"
"$tape" scan db trades --from "t$upto" --limit 1 | grep -q "\"seq\":$upto," || fail "no scan"
"$tape" checkpoint db || fail "no checkpoint"
"$tape" compact db 2>err || grep -q '^tape: NO_SPACE: ' err || fail "compact: $(cat err)"
"$tape" verify db >out || fail "verify of a full disk: $(cat out)"

mount -o remount,size=2g "$work"
"$tape" load db trades "$rows_file" >out 2>err || fail "with space: $(cat err)"
rest="loaded $((700000 - upto)) rows into trades, seq $((upto + 1))..700000, $upto duplicates"
grep -qF "$rest" out ||
    fail "the second load does not complete the first: $(cat out)"
[ "$(rows)" = 700000 ] || fail "$(rows) rows"
"$tape" verify db >out || fail "verify: $(cat out)"
cd /
