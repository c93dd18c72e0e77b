#!/usr/bin/env bash
# Installs what tape needs to be built, checked or measured, and nothing that is there already.
#
#   tools/setup.sh [build|check|bench|coverage]...     (build when nothing is named)
#
# Debian packages come from apt (as root or with sudo), DuckDB's library and header from npm, pinned
# by checksum, into deps/duckdb. An installed DuckDB wins: set DUCKDB_ROOT to the folder that holds
# libduckdb.so and duckdb.h, or their lib/ and include/. For measuring, Polars comes from npm in the
# same way, into deps/polars.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly DUCKDB_DIR=deps/duckdb
readonly POLARS_DIR=deps/polars
readonly HEADER_PACKAGE=duckdb@1.4.4
readonly HEADER_TARBALL=duckdb-1.4.4.tgz
readonly HEADER_SHA256=5bb967dcbcd517670ba5f169f238fb9d6787e53752c60ebe24386169d76941ed
readonly HEADER_PATH=package/src/duckdb/src/include/duckdb.h

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

# What a goal needs: one "package reason" per line.
packages_of() {
    case $1 in
    build)
        cat <<'LIST'
meson configures the build
ninja-build runs the build
pkg-config finds libraries
libxxhash-dev hashes of journal and tables
libjansson-dev JSON in and out
zlib1g-dev .gz files to load
liblz4-dev packed tables of the store
libzstd-dev packed tables of the store, .zst files to load
libedit-dev line editing in the SQL shell
libcmocka-dev unit tests
LIST
        ;;
    check)
        cat <<'LIST'
clang second compiler, and the one for sanitizers
clang-format layout of the sources
libclang-rt-14-dev run time of the sanitizers
shellcheck reads the shell scripts
LIST
        ;;
    bench)
        cat <<'LIST'
librocksdb-dev a peer to measure against
liblmdb-dev a peer to measure against
postgresql-15 a peer to measure against
libpq-dev speaks with it
nodejs runs a peer to measure against, Polars
LIST
        ;;
    coverage) echo "gcovr reports line coverage" ;;
    *) fail "unknown goal '$1'; use build, check, bench or coverage" ;;
    esac
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        fail "installing needs root: run this as root, install sudo, or install by hand: $missing"
    fi
}

# apt MESSAGE ARGUMENT...: runs apt-get quietly; what it said is shown when it fails.
apt() {
    local message=$1 log
    shift
    log=$(mktemp)
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        rm -f "$log"
        fail "$message"
    }
    rm -f "$log"
}

install_packages() {
    local wanted=$1 names installed
    names=$(awk '{ print $1 }' <<<"$wanted" | sort -u)
    # shellcheck disable=SC2086
    installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' $names 2>/dev/null |
        awk '$2 == "installed" { print $1 }' | sort -u || true)
    missing=$(comm -23 <(echo "$names") <(echo "$installed") | tr '\n' ' ')
    missing=${missing% }
    [ -n "$missing" ] || return 0
    say "installing with apt:"
    for name in $missing; do
        say "  $(awk -v name="$name" '$1 == name { $1 = $1 ":"; print; exit }' <<<"$wanted")"
    done
    apt "apt-get update failed: is there a network, and may you use sudo? Missing: $missing" update
    # shellcheck disable=SC2086
    apt "apt-get install failed; try by hand: apt-get install $missing" \
        install -y --no-install-recommends $missing
}

# Without apt, only look whether the tools are there.
check_tools() {
    local tool absent=
    for tool in meson ninja pkg-config; do
        command -v "$tool" >/dev/null || absent+=" $tool"
    done
    [ -z "$absent" ] ||
        fail "there is no apt here: install$absent and development files of xxhash, jansson, cmocka"
}

duckdb_installed() {
    local root=${DUCKDB_ROOT:-}
    [ -n "$root" ] || return 1
    if [ ! -e "$root/libduckdb.so" ] && [ ! -e "$root/lib/libduckdb.so" ]; then
        fail "DUCKDB_ROOT is $root, but there is no libduckdb.so in it nor in its lib/"
    fi
    if [ ! -e "$root/duckdb.h" ] && [ ! -e "$root/include/duckdb.h" ]; then
        fail "DUCKDB_ROOT is $root, but there is no duckdb.h in it nor in its include/"
    fi
}

# Fetches one npm package and compares its checksum: fetch PACKAGE TARBALL SHA256 DIR ADVICE
fetch() {
    (cd "$4" && npm pack --silent "$1" >/dev/null 2>npm.log) || {
        cat "$4/npm.log" >&2
        fail "npm could not fetch $1: is there a network? $5"
    }
    echo "$3  $4/$2" | sha256sum --check --quiet --status ||
        fail "$1 is damaged or another: sha256 $(sha256sum "$4/$2" | cut -d' ' -f1), expected $3"
}

install_duckdb() {
    local package tarball sha256
    case $(uname -m) in
    x86_64)
        package=@duckdb/node-bindings-linux-x64@1.5.6-r.1
        tarball=duckdb-node-bindings-linux-x64-1.5.6-r.1.tgz
        sha256=1b9f82478539bb9a1d1df44bd103121a12ae52142c07158dc52b97d2ec1d69ff
        ;;
    aarch64)
        package=@duckdb/node-bindings-linux-arm64@1.5.5-r.5
        tarball=duckdb-node-bindings-linux-arm64-1.5.5-r.5.tgz
        sha256=3b85f3ea438f7dc3691d7b5e6e4222ffe9127fd17885f96ca72e0c99925c348e
        ;;
    *) fail "there is no packaged DuckDB for $(uname -m): install one and set DUCKDB_ROOT" ;;
    esac
    local want="$HEADER_SHA256 $sha256"
    if [ -e "$DUCKDB_DIR/libduckdb.so" ] && [ -e "$DUCKDB_DIR/duckdb.h" ] &&
        [ "$(cat "$DUCKDB_DIR/CHECKSUMS" 2>/dev/null)" = "$want" ]; then
        return 0
    fi
    command -v npm >/dev/null || install_packages "npm fetches DuckDB's library and header"
    say "fetching DuckDB, which answers SQL: $package, $HEADER_PACKAGE"
    mkdir -p deps
    local temporary
    temporary=$(mktemp -d deps/duckdb.XXXXXX)
    # shellcheck disable=SC2064
    trap "rm -rf '$temporary'" EXIT
    local advice="An installed DuckDB will do: DUCKDB_ROOT"
    fetch "$package" "$tarball" "$sha256" "$temporary" "$advice"
    fetch "$HEADER_PACKAGE" "$HEADER_TARBALL" "$HEADER_SHA256" "$temporary" "$advice"
    tar -xzmf "$temporary/$tarball" -C "$temporary" --strip-components=1 \
        package/libduckdb.so package/LICENSE
    tar -xzmf "$temporary/$HEADER_TARBALL" -C "$temporary" --strip-components=5 "$HEADER_PATH"
    rm "$temporary"/*.tgz "$temporary"/npm.log
    echo "$want" >"$temporary/CHECKSUMS"
    chmod 755 "$temporary"
    rm -rf "$DUCKDB_DIR"
    mv "$temporary" "$DUCKDB_DIR"
    trap - EXIT
}

# Where there is no package for this machine the measurements go without, and say so.
install_polars() {
    local version machine own_sha256 machine_sha256
    case $(uname -m) in
    x86_64)
        version=0.26.1
        machine=nodejs-polars-linux-x64-gnu
        own_sha256=b47e2f329a4a37b533c6a49bbae1de8c747b601ea63a7e1b70d1721165c6d5b8
        machine_sha256=3ca5a1f3061fb4230199fb86a89ce30efb959cb7a4c20c9594e39c8f0b30b78e
        ;;
    aarch64)
        version=0.25.2
        machine=nodejs-polars-linux-arm64-gnu
        own_sha256=d7e50e706ce5cced576ae4b2b41821de96df9877f847bf9bdb678cbb0e0e972a
        machine_sha256=d4505c7384267e9b515157799118dbab12815dfa1f2802d43fc605b3d2d57cd6
        ;;
    *) return 0 ;;
    esac
    local want="$own_sha256 $machine_sha256"
    [ "$(cat "$POLARS_DIR/CHECKSUMS" 2>/dev/null)" != "$want" ] || return 0
    command -v npm >/dev/null || install_packages "npm fetches Polars"
    say "fetching Polars, a peer to measure against: nodejs-polars@$version"
    mkdir -p deps
    local temporary name sum
    temporary=$(mktemp -d deps/polars.XXXXXX)
    # shellcheck disable=SC2064
    trap "rm -rf '$temporary'" EXIT
    for name in nodejs-polars "$machine"; do
        sum=$own_sha256
        [ "$name" = nodejs-polars ] || sum=$machine_sha256
        fetch "$name@$version" "$name-$version.tgz" "$sum" "$temporary" "Nothing else can be used."
        mkdir -p "$temporary/node_modules/$name"
        tar -xzmf "$temporary/$name-$version.tgz" -C "$temporary/node_modules/$name" \
            --strip-components=1
    done
    rm "$temporary"/*.tgz "$temporary"/npm.log
    echo "$want" >"$temporary/CHECKSUMS"
    chmod 755 "$temporary"
    rm -rf "$POLARS_DIR"
    mv "$temporary" "$POLARS_DIR"
    trap - EXIT
}

[ $# -gt 0 ] || set -- build
wanted=$(packages_of build)
for goal in "$@"; do
    [ "$goal" = build ] || wanted+=$'\n'$(packages_of "$goal")
done
if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    install_packages "$wanted"
else
    check_tools
fi
duckdb_installed || install_duckdb
for goal in "$@"; do
    [ "$goal" != bench ] || install_polars
done
