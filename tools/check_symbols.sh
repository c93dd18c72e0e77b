#!/usr/bin/env bash
# The libraries export tape_* and nothing else, and everything a public header declares:
# tools/check_symbols.sh BUILD_DIR
set -euo pipefail
cd "$(dirname "$0")/.."

dir=$1
exported() { nm -D --defined-only "$1" | awk '$2 ~ /[A-Z]/ { print $3 }' | sort -u; }

bad=0
for library in "$dir/libtape.so" "$dir/libtape_reader.so"; do
    if [ ! -e "$library" ]; then
        echo "$library is not there"
        bad=1
        continue
    fi
    stray=$(exported "$library" | grep -v '^tape_' || true)
    if [ -n "$stray" ]; then
        printf '%s exports: %s\n' "$library" "$(tr '\n' ' ' <<<"$stray")"
        bad=1
    fi
done

# declared HEADER: the functions it declares, one a line.
declared() {
    "${CC:-cc}" -E -P -Iinclude "$1" | tr '\n' ' ' | grep -oE '\btape_[a-z0-9_]+ *\(' |
        tr -d ' (' | sort -u
}
for pair in tape:libtape.so reader:libtape_reader.so; do
    library=$dir/${pair#*:}
    [ -e "$library" ] || continue
    absent=$(comm -23 <(declared "include/tape/${pair%%:*}.h") <(exported "$library"))
    if [ -n "$absent" ]; then
        printf '%s lacks: %s\n' "$library" "$(tr '\n' ' ' <<<"$absent")"
        bad=1
    fi
done
exit $bad
