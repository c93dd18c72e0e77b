#!/usr/bin/env bash
# Configures a build directory where that is due: tools/configure.sh DIR [OPTION...]
#
# Options are Meson's (-Dname=value); CC names the compiler, and DUCKDB_ROOT an installed DuckDB. A
# directory configured with the same before is left alone, so that calling this before every build
# costs nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$1
shift
if [ -n "${DUCKDB_ROOT:-}" ]; then
    root=$(realpath "$DUCKDB_ROOT")
    include=$root
    [ ! -e "$root/include/duckdb.h" ] || include=$root/include
    set -- "$@" "-Dduckdb_root=$root" "-Dduckdb_include=$include"
fi
options="${CC:-cc} $*"
if [ -f "$dir/build.ninja" ]; then
    [ "$(cat "$dir/configured" 2>/dev/null)" != "$options" ] || exit 0
    set -- --reconfigure "$@"
fi
mkdir -p "$dir"
meson setup "$dir" "$@" >"$dir/configure.log" 2>&1 || {
    cat "$dir/configure.log" >&2
    exit 1
}
echo "$options" >"$dir/configured"
