#!/usr/bin/env bash
# Builds a configured directory and runs its tests: tools/run_tests.sh DIR [OPTION OF MESON TEST...]
#
# The last line is "N passed, N failed" (and ", N skipped" when there were any), counting single
# tests where a test program tells them and programs otherwise. Exit status 1 when anything failed,
# or when no test ran.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$1
shift
ninja -C "$dir"
rm -f "$dir/meson-logs/testlog.json"
status=0
meson test -C "$dir" --no-rebuild --print-errorlogs "$@" || status=$?
python3 tools/count_tests.py "$dir/meson-logs/testlog.json" "$status"
