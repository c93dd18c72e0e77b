#!/usr/bin/env bash
# Enforces src/LAYERS: no include points back.
#
#   tools/check_layers.sh [ROOT]
#
#  1 A file in src/M includes headers of M, the one header X/X.h of modules X above M, and
#    <tape/...>; a test also os/os_sim.h and base/base_testing.h. Below the bar a module
#    includes only base, os, itself, and (the command) sim.
#  2 Only src/duck includes duckdb.h.
#  3 Public headers include public headers only; examples include no others of ours.
#  4 Every directory of src is in LAYERS.
# shellcheck disable=SC2016 # the dollar signs are awk's
set -euo pipefail
cd "${1:-"$(dirname "$0")/.."}"

{
    find src -mindepth 2 \( -name '*.c' -o -name '*.h' -o -name '*.def' \) -print0
    find include examples \( -name '*.c' -o -name '*.h' \) -print0 2>/dev/null || true

} | sort -z | xargs -0 awk '
    BEGIN {
        for_tests["os/os_sim.h"]
        for_tests["base/base_testing.h"]
        while ((getline line < "src/LAYERS") > 0) {
            sub(/#.*/, "", line)
            gsub(/[ \t]/, "", line)
            if (line == "---") {
                bar = 1
            } else if (line != "") {
                rank[line] = ++count
                after_bar[line] = bar
            }
        }
    }
    function complain(text) {
        printf "%s:%d: %s\n", FILENAME, FNR, text
        bad++
    }
    function check_module(from, path,    to) {
        to = path
        sub(/\/.*/, "", to)
        if (to == from) {
            return
        }
        if (!(to in rank)) {
            complain("includes \"" path "\", which is in no module of src/LAYERS")
        } else if (path != to "/" to ".h" &&
                   !(FILENAME ~ /_test(ing)?\.[ch]$/ && path in for_tests)) {
            complain("includes \"" path "\", which is private to " to)
        } else if (rank[to] >= rank[from]) {
            complain(from " includes " to ", which is not above it in src/LAYERS")
        } else if (after_bar[from] && to !~ /^(base|os)$/ && !(from == "cli" && to == "sim")) {
            complain(from " is after the bar: only public headers, base and os, not " to)
        }
    }
    FNR == 1 {
        split(FILENAME, part, "/")
        module = part[1] == "src" ? part[2] : ""
        if (module != "" && !(module in rank) && !(module in reported)) {
            complain("module " module " is not in src/LAYERS")
            reported[module] = 1
        }
    }
    /^[ \t]*#[ \t]*include/ {
        path = $0
        sub(/^[ \t]*#[ \t]*include[ \t]*[<"]/, "", path)
        sub(/[>"].*/, "", path)
        if (path ~ /(^|\/)duckdb\.h$/ && module != "duck") {
            complain("only src/duck includes duckdb.h")
        }
        if ($0 !~ /"/) {
            next
        }
        if (module == "") {
            complain("includes \"" path "\": " part[1] "/ uses <tape/...> only")
        } else if (path ~ /\// && module in rank) {
            check_module(module, path)
        } else if (path ~ /^tape\//) {
            complain("write <" path ">")
        }
    }
    END {
        if (bad) {
            printf "%d includes against src/LAYERS\n", bad > "/dev/stderr"
            exit 1
        }
    }'
