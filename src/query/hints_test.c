/* Hints: whatever a WHERE lets tape leave unread, the answer stays the same.
 *
 * Random statements over random rows, each run twice: as it is, and with its WHERE as
 * (...) IS TRUE, which means the same and gives no hint. */
#include "query/testing.h"

#define ROWS 3000
#define STATEMENTS 1000

static const char *const INSTRUMENTS[] = {"A", "B", "C", "an-instrument-16"};

static uint64_t random_state;

static uint64_t below(uint64_t n) {
    return testing_random(&random_state) % n;
}

static void set_id(char *to, size_t size, const char *text) {
    memset(to, 0, size);
    memcpy(to, text, strlen(text));
}

/* Few values of each, so that rows meet; absent instruments where the table allows it. */
static void add_rows(market *m) {
    for (int n = 0; n < ROWS; n++) {
        int64_t ts = (int64_t)below(50) * NS_PER_SECOND;
        const char *instrument = INSTRUMENTS[below(COUNT_OF(INSTRUMENTS))];
        double number = (double)below(10);
        if (below(3) == 0) {
            tape_tick tick = {.last_price = number, .volume = (double)below(5)};
            set_id(tick.instrument_id, sizeof tick.instrument_id, instrument);
            testing_add(m->columns, TAPE_TABLE_TICKS, &tick, ts, false);
        } else if (below(2) == 0) {
            tape_order order = {.price = number, .volume = (double)below(5)};
            (void)snprintf(order.order_id, sizeof order.order_id, "o%d", (int)below(200));
            set_id(order.user_id, sizeof order.user_id, "u");
            set_id(order.instrument_id, sizeof order.instrument_id,
                   below(10) == 0 ? "" : instrument);
            testing_add(m->columns, TAPE_TABLE_ORDERS, &order, ts, false);
        } else {
            tape_trade trade = {.price = number, .volume = (double)below(5)};
            (void)snprintf(trade.trade_id, sizeof trade.trade_id, "t%d", n);
            (void)snprintf(trade.order_id, sizeof trade.order_id, "o%d", (int)below(200));
            set_id(trade.instrument_id, sizeof trade.instrument_id,
                   below(10) == 0 ? "" : instrument);
            testing_add(m->columns, TAPE_TABLE_TRADES, &trade, ts, false);
        }
    }
}

/* --- statements --- */

static void append_term(buffer *out, const char *prefix) {
    static const char *const COMPARE[] = {"=", "<", "<=", ">", ">="};
    const char *op = COMPARE[below(COUNT_OF(COMPARE))];
    const char *instrument = INSTRUMENTS[below(COUNT_OF(INSTRUMENTS))];
    switch (below(10)) {
    case 0:
        buffer_printf(out, "%sts %s TIMESTAMP '1970-01-01 00:00:%02d'", prefix, op, (int)below(50));
        break;
    case 1:
        buffer_printf(out, "%sts BETWEEN '1970-01-01 00:00:%02d' AND '1970-01-01 00:00:40'", prefix,
                      (int)below(50));
        break;
    case 2:
        buffer_printf(out, "%d %s %sseq", (int)below(ROWS), op, prefix);
        break;
    case 3:
        buffer_printf(out, "%sinstrument_id = '%s'", prefix, instrument);
        break;
    case 4:
        buffer_printf(out, "%sinstrument_id IN ('%s', 'B', 'none')", prefix, instrument);
        break;
    case 5:
        buffer_printf(out, "%svolume %s %d", prefix, op, (int)below(5));
        break;
    case 6:
        buffer_printf(out, "%svolume %s %d.5", prefix, op, (int)below(5));
        break;
    case 7:
        buffer_printf(out, "(%sseq %% 2 = 0 OR %svolume > 1)", prefix, prefix);
        break;
    case 8:
        buffer_printf(out, "%sts > DATE '1970-01-01' + INTERVAL %d SECOND", prefix, (int)below(50));
        break;
    default:
        buffer_printf(out, "%svolume IN (1, %d)", prefix, (int)below(5));
        break;
    }
}

static void append_where(buffer *out, const char *const *prefixes, size_t count, bool hinted) {
    size_t terms = 1 + below(3);
    buffer_append_text(out, hinted ? " WHERE (" : " WHERE ((");
    for (size_t n = 0; n < terms; n++) {
        buffer_append_text(out, n == 0 ? "" : " AND ");
        append_term(out, prefixes[below(count)]);
    }
    buffer_append_text(out, hinted ? ")" : ") IS TRUE)");
}

static void append_joined(buffer *out, bool hinted) {
    static const char *const JOINS[] = {"JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"};
    static const char *const TABLES[] = {"orders", "orders_history", "trades", "ticks"};
    static const char *const ONS[] = {
        " ON a.instrument_id = b.instrument_id AND a.volume = b.volume",
        " ON a.seq = b.seq + 1",
        " ON a.instrument_id = b.instrument_id AND a.ts = b.ts",
    };
    static const char *const PREFIXES[] = {"a.", "b."};
    buffer_printf(out,
                  "SELECT count(*), sum(a.seq)::HUGEINT::VARCHAR, sum(b.seq)::HUGEINT::VARCHAR "
                  "FROM %s a %s %s b%s",
                  TABLES[below(4)], JOINS[below(4)], TABLES[below(4)], ONS[below(3)]);
    append_where(out, PREFIXES, 2, hinted);
}

static void append_asof(buffer *out, bool hinted) {
    static const char *const JOINS[] = {"ASOF JOIN", "ASOF LEFT JOIN", "ASOF RIGHT JOIN"};
    static const char *const PREFIXES[] = {"a.", "b."};
    static const char *const ONS[] = {" ON a.instrument_id = b.instrument_id AND a.seq >= b.seq",
                                      " USING (instrument_id, seq)"};
    buffer_printf(out,
                  "SELECT count(*), sum(a.seq)::HUGEINT::VARCHAR, sum(b.seq)::HUGEINT::VARCHAR "
                  "FROM trades a %s ticks b%s",
                  JOINS[below(3)], ONS[below(2)]);
    append_where(out, PREFIXES, 2, hinted);
}

static void append_merged(buffer *out, bool hinted) {
    static const char *const JOINS[] = {"JOIN",      "LEFT JOIN", "RIGHT JOIN",
                                        "FULL JOIN", "SEMI JOIN", "ANTI JOIN"};
    static const char *const USINGS[] = {" USING (instrument_id, volume, ts)",
                                         " USING (instrument_id, volume, ts, seq)"};
    uint64_t join = below(6);
    uint64_t using = join < 4 ? 1 : below(2);
    buffer_printf(out, "SELECT count(*), sum(seq)::HUGEINT::VARCHAR FROM %s a %s %s b%s",
                  below(2) == 0 ? "trades" : "orders_history", JOINS[join],
                  below(2) == 0 ? "trades" : "ticks", USINGS[using]);
    append_where(out, (const char *const[]){""}, 1, hinted);
}

static void append_plain(buffer *out, bool hinted) {
    static const char *const TABLES[] = {"orders", "orders_history", "trades", "ticks"};
    const char *first = TABLES[below(4)];
    buffer_printf(out, "SELECT count(*), sum(seq)::HUGEINT::VARCHAR, sum(volume) FROM %s", first);
    append_where(out, (const char *const[]){""}, 1, hinted);
    if (below(2) == 0) {
        buffer_printf(out,
                      " UNION ALL SELECT count(*), max(seq)::VARCHAR, sum(x.volume) FROM %s x, "
                      "(SELECT 7 AS seven) y",
                      below(2) == 0 ? first : TABLES[below(4)]);
        append_where(out, (const char *const[]){"x."}, 1, hinted);
    }
}

static char *statement(uint64_t seed, bool hinted) {
    buffer out = {0};
    random_state = seed;
    switch (below(4)) {
    case 0:
        append_joined(&out, hinted);
        break;
    case 1:
        append_asof(&out, hinted);
        break;
    case 2:
        append_merged(&out, hinted);
        break;
    default:
        append_plain(&out, hinted);
        break;
    }
    buffer_append(&out, "", 1);
    return (char *)out.data;
}

static void hints_change_no_answer(void **state) {
    (void)state;
    market m = market_open();
    const char *seed_text = getenv("TAPE_TEST_SEED");
    uint64_t seed = seed_text == NULL ? 1 : strtoull(seed_text, NULL, 10);
    size_t differing = 0;
    random_state = seed;
    add_rows(&m);
    for (uint64_t n = 0; n < STATEMENTS; n++) {
        char *hinted = statement(seed * STATEMENTS + n, true);
        char *plain = statement(seed * STATEMENTS + n, false);
        uint64_t at = n % 3 == 0 ? ROWS / 2 + n % 100 : ROWS;
        char *got = market_answer_at(&m, hinted, at);
        char *want = market_answer_at(&m, plain, at);
        if (strcmp(got, want) != 0) {
            fail_msg("at %llu: %s\ngot:\n%swant:\n%s", (unsigned long long)at, hinted, got, want);
        }
        differing += strcmp(want, "0|NULL|NULL\n") != 0;
        free(got);
        free(want);
        free(hinted);
        free(plain);
    }
    assert_true(differing > STATEMENTS / 2);
    market_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hints_change_no_answer),
    };
    return cmocka_run_group_tests_name("query_hints", tests, NULL, NULL);
}
