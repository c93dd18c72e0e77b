#!/usr/bin/env bash
# Everything that must be in order before a change is done: tools/check.sh [full]
#
# Layers and style, then the tests of several builds: gcc release, clang debug, clang with the
# address and undefined behaviour sanitizers. `full` adds clang with the thread sanitizer, and lets
# the crash, simulation and fuzz tests run long (TAPE_TEST_SCALE=full). Goes on after a failure and
# says at the end what failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

mode=${1:-}
failed=()

# step NAME COMMAND...
step() {
    local name=$1
    shift
    echo "== $name"
    "$@" || failed+=("$name")
}

# tests NAME COMPILER TIMEOUT_MULTIPLIER MESON_OPTION...
tests() {
    local dir=build-check-$1 compiler=$2 multiplier=$3
    shift 3
    CC=$compiler tools/configure.sh "$dir" "$@" &&
        tools/run_tests.sh "$dir" --timeout-multiplier "$multiplier"
}

export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
# DuckDB is not instrumented: what it does by itself cannot be told right from wrong.
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:ignore_noninstrumented_modules=1
slow=1
if [ "$mode" = full ]; then
    export TAPE_TEST_SCALE=full
    slow=20
fi

step "layers" tools/check_layers.sh
step "style" tools/check_style.py
step "gcc release" tests gcc gcc $slow --buildtype=release
step "exported symbols" tools/check_symbols.sh build-check-gcc
step "clang debug" tests clang clang $((slow * 3)) --buildtype=debug
step "address and undefined behaviour sanitizers" tests address clang $((slow * 5)) \
    --buildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false
if [ "$mode" = full ]; then
    step "thread sanitizer" tests thread clang $((slow * 10)) \
        --buildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false
fi
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}" >&2
    exit 1
fi
echo "all in order"
