#!/usr/bin/env bash
# What tape does, in a minute: tools/demo.sh TAPE
#
# Makes a store, fills it with real market data (from the folder TAPE_DATA, or ../shared/data) or
# else from the built-in exchange, follows it live from another process, and asks SQL about it. The
# store stands in a temporary folder and is removed at the end; KEEP=1 keeps it.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly tape=$1
work=$(mktemp -d "${TMPDIR:-/tmp}/tape-demo.XXXXXX")
readonly store=$work/db
follower=
finish() {
    [ -z "$follower" ] || kill "$follower" 2>/dev/null || true
    [ -n "${KEEP:-}" ] || rm -rf "$work"
}
trap finish EXIT

bold='' plain=''
if [ -t 1 ]; then
    bold=$'\033[1m' plain=$'\033[0m'
fi
say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
now_ms() { date +%s%3N; }

# Shows a command as one would type it, runs it, and tells how long it took.
run() {
    local word shown='$ tape' start
    for word in "${@:2}"; do
        word=$(tr -s ' \n' ' ' <<<"${word//"$store"/db}")
        word=${word# }
        word=${word% }
        [[ $word != *' '* ]] || word="\"$word\""
        shown+=" $word"
    done
    fold -s -w 100 <<<"$shown" | sed '2,$s/^/    /'
    start=$(now_ms)
    "$@"
    printf '  (%d ms)\n' $(($(now_ms) - start))
}

ask() {
    say "$1"
    printf '%s\n' "$2"
    local start
    start=$(now_ms)
    "$tape" sql "$store" "$2" --format table
    printf '  (%d ms, opening the store included)\n' $(($(now_ms) - start))
}

# A reader in another process, from before there is anything to read.
follow() {
    "$tape" tail "$store" --follow >"$work/followed" 2>"$work/follow.log" &
    follower=$!
}

followed() {
    local written seen=0 deadline=$(($(now_ms) + 10000))
    written=$("$tape" sql "$store" --format csv "SELECT greatest((SELECT max(seq) FROM trades),
        (SELECT max(seq) FROM ticks))" | tail -n 1)
    while [ "$(now_ms)" -lt $deadline ]; do
        seen=$(wc -l <"$work/followed")
        [ "$seen" -lt "$written" ] || break
        sleep 0.1
    done
    kill "$follower" 2>/dev/null || true
    wait "$follower" 2>/dev/null || true
    follower=
    say "A reader in another process followed meanwhile and saw $seen records, the last of them:"
    tail -n 2 "$work/followed"
}

load_market() {
    local from=$1/binance-spot-20240808
    say "Real trades and quotes: Binance BTCUSDT, six minutes of 8 August 2024"
    run "$tape" load "$store" ticks "$from/btcusdt_bookticker.csv.gz" --select "
        SELECT recv_ns AS ts, 'BTCUSDT' AS instrument_id, bid_e8 / 1e8 AS bid_price,
               bidqty_e8 / 1e8 AS bid_volume, ask_e8 / 1e8 AS ask_price,
               askqty_e8 / 1e8 AS ask_volume FROM input"
    run "$tape" load "$store" trades "$from/btcusdt_trades.csv.gz" --select "
        SELECT recv_ns AS ts, trade_id::VARCHAR AS trade_id, 'BTCUSDT' AS instrument_id,
               CASE buyer_is_maker WHEN 1 THEN 'sell' ELSE 'buy' END AS side,
               price_e8 / 1e8 AS price, qty_e8 / 1e8 AS volume FROM input"
}

simulate_market() {
    say "A market from the built-in exchange: 100,000 orders, matched by price and time"
    run "$tape" sim "$store" --orders 100000 --seed 1
}

data=${TAPE_DATA:-../shared/data}
say "A store"
run "$tape" init "$store"
follow
if [ -f "$data/binance-spot-20240808/btcusdt_trades.csv.gz" ]; then
    instrument=BTCUSDT
    load_market "$data"
else
    instrument=SIM
    simulate_market
fi
followed

ask "Bars of a minute" "SELECT * FROM ohlc('$instrument', INTERVAL 1 MINUTE) LIMIT 10"
ask "Volume-weighted average price" "SELECT * FROM vwap('$instrument', INTERVAL 1 MINUTE) LIMIT 10"
ask "The spread" "SELECT count(*) AS quotes, round(avg(ask_price - bid_price), 4) AS average,
       round(max(ask_price - bid_price), 4) AS widest
FROM ticks WHERE instrument_id = '$instrument' AND bid_price > 0 AND ask_price > 0"
ask "Every trade with the quote it met (ASOF join): what takers paid beyond the middle" \
    "SELECT t.side, count(*) AS trades,
       round(avg(abs(t.price - (q.bid_price + q.ask_price) / 2)), 4) AS beyond_middle
FROM trades t ASOF JOIN ticks q ON t.instrument_id = q.instrument_id AND t.ts >= q.ts
WHERE t.instrument_id = '$instrument' AND q.bid_price > 0 AND q.ask_price > 0
GROUP BY t.side ORDER BY t.side"

say "One record by its key"
key=$("$tape" sql "$store" "SELECT trade_id FROM trades ORDER BY seq LIMIT 1" --format csv |
    tail -n 1)
run "$tape" get "$store" trades "$key"
say "Every byte checked"
run "$tape" verify "$store"
[ -z "${KEEP:-}" ] || say "The store is in $store"
