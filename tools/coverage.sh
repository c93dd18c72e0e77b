#!/usr/bin/env bash
# Line coverage of src/ by the tests, tests themselves left out. Fails under 80 %.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly dir=build-coverage
# Counters of several threads go wrong, and gcov's output with them, unless they are atomic.
CC=gcc tools/configure.sh $dir --buildtype=debug -Db_coverage=true \
    -Dc_args=-fprofile-update=atomic
find $dir -name '*.gcda' -delete
status=0
tools/run_tests.sh $dir --timeout-multiplier 3 || status=1
gcovr --root . $dir --filter 'src/' --exclude '.*(_test|_fuzz|_fixture|testing)\.[ch]' \
    --exclude 'src/record/catalog_gen.*' --exclude-unreachable-branches --print-summary \
    --fail-under-line 80
exit $status
