#!/usr/bin/env bash
# Line coverage of src/ by the tests, tests themselves left out. Fails under 80 %.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly dir=build-coverage
CC=gcc tools/configure.sh $dir --buildtype=debug -Db_coverage=true
find $dir -name '*.gcda' -delete
tools/run_tests.sh $dir --timeout-multiplier 3
gcovr --root . $dir --filter 'src/' --exclude '.*(_test|_fuzz|_fixture|testing)\.[ch]' \
    --exclude 'src/record/catalog_gen.*' --exclude-unreachable-branches --print-summary \
    --fail-under-line 80
