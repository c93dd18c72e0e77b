/* Plans: what is known of a statement, over DuckDB's own parser. */
#include "query/query_internal.h"
#include "query/testing.h"

#include <inttypes.h>

typedef struct parser {
    duck *duck;
    duck_session *session;
    function_list forbidden;
    plan_functions functions;
} parser;

static parser *shared;

static void take_name(void *context, const char *name) {
    plan_functions *f = context;
    f->consistent = mem_realloc(f->consistent, (f->count + 1) * sizeof *f->consistent);
    f->consistent[f->count++] = mem_strdup(name);
}

static int open_parser(void **state) {
    (void)state;
    tape_error error;
    const duck_options options = {.memory_bytes = MIB(256), .threads = 1};
    shared = mem_zalloc(sizeof *shared);
    if (duck_open(&shared->duck, &options, &error) != TAPE_OK ||
        duck_session_open(shared->duck, &shared->session, &error) != TAPE_OK ||
        schema_create(shared->session, false, &error) != TAPE_OK ||
        admit_list_functions(shared->session, &shared->forbidden, &error) != TAPE_OK ||
        duck_session_each(shared->session,
                          "SELECT function_name FROM duckdb_functions() GROUP BY 1 HAVING "
                          "bool_and(coalesce(stability = 'CONSISTENT', false)) "
                          "ORDER BY lower(function_name)",
                          take_name, &shared->functions, &error) != TAPE_OK) {
        return -1;
    }
    return 0;
}

static int close_parser(void **state) {
    (void)state;
    for (size_t n = 0; n < shared->functions.count; n++) {
        free(shared->functions.consistent[n]);
    }
    free(shared->functions.consistent);
    function_list_deinit(&shared->forbidden);
    duck_session_close(&shared->session);
    duck_close(&shared->duck);
    free(shared);
    return 0;
}

static plan *plan_of(const char *sql) {
    admitted a;
    tape_error error;
    if (admit(shared->session, &shared->forbidden, sql, true, &a, &error) != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    plan *p = plan_make(sql, &a.tree, &shared->functions);
    admitted_deinit(&a);
    plan_settle(p, shared->session);
    return p;
}

/* --- as text --- */

static void append_hint(buffer *out, const plan_hint *h, const tape_table_info *table) {
    if (h->hint.ts_min != INT64_MIN || h->hint.ts_max != INT64_MAX) {
        buffer_printf(out, " ts");
        if (h->hint.ts_min != INT64_MIN) {
            buffer_printf(out, " from %" PRId64, h->hint.ts_min);
        }
        if (h->hint.ts_max != INT64_MAX) {
            buffer_printf(out, " to %" PRId64, h->hint.ts_max);
        }
    }
    if (h->seq_min != 0) {
        buffer_printf(out, " seq from %" PRIu64, h->seq_min);
    }
    if (h->seq_max != UINT64_MAX) {
        buffer_printf(out, " seq to %" PRIu64, h->seq_max);
    }
    for (size_t n = 0; n < h->hint.instrument_count; n++) {
        buffer_printf(out, " %s", h->hint.instruments[n]);
    }
    for (size_t n = 0; n < h->hint.bound_count; n++) {
        const columns_bound *b = &h->hint.bounds[n];
        buffer_printf(out, " %s %.6g..%.6g", table->fields[b->field].name, b->min, b->max);
    }
}

/* "trades: ts from 5 A B; orders_history; " and so on, in the order of the tables. */
static char *hints_text(const plan *p, const tape_value *params, size_t count) {
    buffer out = {0};
    plan_hints hints;
    plan_moment moments[PLAN_EXPRESSIONS_MAX] = {0};
    plan_hints_init(&hints, p, params, count, moments);
    for (unsigned r = 1; r < PLAN_RELATIONS; r++) {
        const tape_table_info *table = record_table(plan_relation_table(r));
        if ((p->relations & PLAN_RELATION_BIT(r)) == 0) {
            continue;
        }
        buffer_printf(&out, "%s%s%s", out.size == 0 ? "" : "; ", table->name,
                      plan_relation_is_history(r) ? "_history" : "");
        if (hints.tables[table->id].any) {
            buffer_append_text(&out, ":");
            append_hint(&out, &hints.tables[table->id], table);
        }
    }
    buffer_append(&out, "", 1);
    plan_hints_deinit(&hints);
    return (char *)out.data;
}

static void check_hints(const char *sql, const char *want) {
    plan *p = plan_of(sql);
    char *got = hints_text(p, NULL, 0);
    if (strcmp(got, want) != 0) {
        fail_msg("%s\ngot:  %s\nwant: %s", sql, got, want);
    }
    free(got);
    plan_release(p);
}

/* --- relations --- */

static void plan_finds_what_a_statement_reads(void **state) {
    (void)state;
    check_hints("SELECT 1", "");
    check_hints("VALUES (1), (2)", "");
    check_hints("SELECT * FROM trades", "trades");
    check_hints("FROM Trades", "trades");
    check_hints("SELECT * FROM memory.main.\"TRADES\"", "trades");
    check_hints("SELECT * FROM orders_history, accounts", "accounts; orders_history");
    check_hints("SELECT (SELECT max(price) FROM trades), 1 IN (SELECT seq FROM ticks)",
                "trades; ticks");
    check_hints("SELECT 1 FROM (SELECT * FROM (VALUES (1)) t) x LEFT JOIN depth ON true", "depth");
    check_hints("SELECT 1 UNION SELECT seq FROM positions", "positions");
    check_hints("SELECT * FROM range(5)", "");
    check_hints("DESCRIBE SELECT 1",
                "orders; trades; accounts; positions; instruments; ticks; depth; orders_history; "
                "accounts_history; positions_history; instruments_history");
    check_hints("WITH a AS (SELECT * FROM trades) SELECT * FROM a", "trades");
    /* A name that a WITH gives may still be the table's within it. */
    check_hints("WITH trades AS (SELECT * FROM trades WHERE price > 5) SELECT * FROM trades",
                "trades");
    check_hints("WITH a AS (SELECT 1) SELECT * FROM a", "");
    check_hints("SELECT * FROM vwap('A', '1 minute')", "trades: A");
    check_hints("SELECT * FROM ohlc('A', '1 minute') a, market_stats('B', '1 hour') b",
                "trades: B A");
    check_hints("SELECT * FROM ohlc((SELECT 'A'), '1 minute')", "trades");
    check_hints("SELECT * FROM ohlc('A', '1 minute') a, trades", "trades");
    check_hints("SELECT * FROM account_pnl('u')", "trades; accounts; positions; instruments");
    check_hints("SELECT * FROM user_trades('u')", "trades");
    check_hints("SELECT * FROM latest('ticks')", "ticks");
    check_hints("SELECT * FROM latest(Ticks)", "ticks");
    check_hints("SELECT * FROM latest('orders_history')", "orders_history");
}

/* --- constraints --- */

static void plan_takes_what_a_where_asks(void **state) {
    (void)state;
    check_hints("SELECT * FROM trades WHERE seq > 5 AND seq <= 9", "trades: seq from 6 seq to 9");
    check_hints("SELECT * FROM trades WHERE 5 <= seq", "trades: seq from 5");
    check_hints("SELECT * FROM trades WHERE seq BETWEEN 3 AND 4", "trades: seq from 3 seq to 4");
    check_hints("SELECT * FROM trades WHERE seq IN (7, 5, 6)", "trades: seq from 5 seq to 7");
    check_hints("SELECT * FROM trades WHERE instrument_id = 'A'", "trades: A");
    check_hints("SELECT * FROM trades t WHERE T.Instrument_ID IN ('A', 'B')", "trades: A B");
    check_hints("SELECT * FROM trades WHERE price > 5.25 AND volume < 1e3 AND price <= 7",
                "trades: price 5.25..7 volume -inf..1000");
    check_hints("SELECT * FROM trades WHERE price = 5", "trades: price 5..5");
    check_hints("SELECT * FROM trades WHERE price > -5", "trades: price -5..inf");
    check_hints("SELECT * FROM trades WHERE ts >= '1970-01-01 00:00:01'",
                "trades: ts from 1000000000");
    check_hints("SELECT * FROM trades WHERE ts > TIMESTAMP '1970-01-01 00:00:01'",
                "trades: ts from 1000000001");
    check_hints("SELECT * FROM trades WHERE ts < DATE '1970-01-02' AND ts >= DATE '1970-01-01'",
                "trades: ts from 0 to 86399999999999");
    check_hints("SELECT * FROM trades WHERE ts <= TIMESTAMP_NS '1970-01-01 00:00:00.000000007'",
                "trades: ts to 7");
    check_hints("SELECT * FROM trades WHERE ts < TIMESTAMP '1970-01-01 01:00:00' - INTERVAL 1 HOUR",
                "trades: ts to -1");
    check_hints("SELECT * FROM trades WHERE ts = '1970-01-01 00:00:00.000000009'",
                "trades: ts from 9 to 9");
    check_hints("SELECT * FROM trades WHERE (seq > 5 AND (price < 1 AND instrument_id = 'A'))",
                "trades: seq from 6 A price -inf..1");
    /* Every reference counts, whatever the relation. */
    check_hints("SELECT * FROM trades WHERE seq > 5 UNION SELECT * FROM trades WHERE seq > 3",
                "trades: seq from 4");
    check_hints("SELECT * FROM trades WHERE seq > 5 UNION SELECT * FROM trades", "trades");
    check_hints("SELECT * FROM orders WHERE price > 1 AND volume > 2 UNION "
                "SELECT * FROM orders_history WHERE price < 3 AND volume > 1",
                "orders: volume 1..inf; orders_history: volume 1..inf");
    check_hints("SELECT * FROM trades WHERE instrument_id = 'A' AND seq IN "
                "(SELECT seq FROM trades WHERE instrument_id = 'B')",
                "trades: B A");
    check_hints("SELECT * FROM trades WHERE instrument_id = 'A' AND instrument_id IN ('B', 'C')",
                "trades: A");
}

static void plan_leaves_what_it_cannot_be_sure_of(void **state) {
    (void)state;
    static const char *const open[] = {
        "SELECT * FROM trades WHERE seq > 5 OR price > 1",
        "SELECT * FROM trades WHERE NOT (seq > 5 AND price > 1)",
        "SELECT * FROM trades WHERE (seq > 5) IS TRUE",
        "SELECT * FROM trades WHERE seq > 5.5",
        "SELECT * FROM trades WHERE seq > -1",
        "SELECT * FROM trades WHERE seq = '5'",
        "SELECT * FROM trades WHERE seq <> 5",
        "SELECT * FROM trades WHERE seq + 1 > 5",
        "SELECT * FROM trades WHERE seq > price",
        "SELECT * FROM trades WHERE instrument_id > 'A'",
        "SELECT * FROM trades WHERE instrument_id LIKE 'A'",
        "SELECT * FROM trades WHERE instrument_id = 5",
        "SELECT * FROM trades WHERE instrument_id COLLATE NOCASE = 'a'",
        "SELECT * FROM trades WHERE instrument_id IN ('A', NULL)",
        "SELECT * FROM trades WHERE instrument_id IN ('A', trade_id)",
        "SELECT * FROM trades WHERE instrument_id NOT IN ('A')",
        "SELECT * FROM trades WHERE price > '5'",
        "SELECT * FROM trades WHERE price > random()",
        "SELECT * FROM trades WHERE ts > 5",
        "SELECT * FROM trades WHERE ts > 'nonsense'",
        "SELECT * FROM trades WHERE ts > 'infinity'",
        "SELECT * FROM trades WHERE ts > concat('2024', '-01-01')",
        "SELECT * FROM trades WHERE ts > TIMESTAMP '9999-01-01'",
        "SELECT * FROM trades WHERE ts > TIMESTAMPTZ '2024-01-01 00:00:00+00'",
        "SELECT * FROM trades WHERE ts > (SELECT DATE '2024-01-01')",
        "SELECT * FROM trades WHERE ts::DATE = '2024-01-01'",
        "SELECT * FROM trades TABLESAMPLE 50% WHERE seq > 5",
        "SELECT * FROM trades WHERE seq > 5 USING SAMPLE 5",
        "SELECT * FROM trades t(ts, seq) WHERE seq > 5",
        "SELECT * FROM (SELECT 7 AS seq FROM trades) WHERE seq > 5",
        "SELECT * FROM trades HAVING seq > 5",
        "SELECT max(seq) FROM trades QUALIFY seq > 5",
        "SELECT count(*) FILTER (seq > 5) FROM trades",
        "SELECT * FROM trades, (SELECT 1 AS x) s WHERE seq > 5",
        "SELECT (SELECT 1 WHERE trades.seq > 5) FROM trades",
        "WITH trades AS (SELECT 5 AS seq) SELECT * FROM trades WHERE seq > 5",
        "PIVOT (FROM trades) ON side IN ('buy') USING sum(volume)",
    };
    for (size_t n = 0; n < COUNT_OF(open); n++) {
        check_hints(open[n], "trades");
    }
}

static void plan_takes_constraints_through_joins(void **state) {
    (void)state;
    check_hints("SELECT * FROM trades t, orders o WHERE t.seq > 5 AND o.price > 1",
                "orders: price 1..inf; trades: seq from 6");
    check_hints("SELECT * FROM trades t, orders o WHERE seq > 5", "orders; trades");
    check_hints("SELECT * FROM trades t LEFT JOIN orders o USING (order_id) WHERE o.seq > 5",
                "orders: seq from 6; trades");
    check_hints("SELECT * FROM trades t FULL JOIN orders o USING (order_id) WHERE o.seq > 5",
                "orders: seq from 6; trades");
    check_hints("SELECT * FROM trades t SEMI JOIN orders o USING (order_id) WHERE t.seq > 5",
                "orders; trades");
    check_hints("SELECT * FROM trades t ANTI JOIN orders o USING (order_id) WHERE t.seq > 5",
                "orders; trades");
    check_hints("SELECT * FROM trades t POSITIONAL JOIN orders o WHERE t.seq > 5",
                "orders; trades");
    check_hints("SELECT * FROM trades t ASOF JOIN ticks k ON t.instrument_id = k.instrument_id "
                "AND t.ts >= k.ts WHERE t.ts > TIMESTAMP '1970-01-01' AND k.seq > 3",
                "trades: ts from 1; ticks");
    check_hints("SELECT * FROM trades ASOF RIGHT JOIN ticks k USING (instrument_id, ts) "
                "WHERE trades.seq > 3",
                "trades; ticks");
    /* A column of several tables is theirs where joins make one of it. */
    check_hints("SELECT * FROM trades JOIN ticks USING (instrument_id) WHERE instrument_id = 'A'",
                "trades: A; ticks: A");
    check_hints("SELECT * FROM trades JOIN ticks USING (seq) WHERE instrument_id = 'A'",
                "trades; ticks");
    check_hints("SELECT * FROM trades NATURAL JOIN ticks WHERE seq > 5",
                "trades: seq from 6; ticks: seq from 6");
    check_hints("SELECT * FROM accounts JOIN trades USING (user_id) WHERE instrument_id = 'A'",
                "trades: A; accounts");
    /* An equality hands the instrument on, from the side that every row of the result has. */
    check_hints("SELECT * FROM trades t JOIN ticks k ON t.instrument_id = k.instrument_id "
                "WHERE t.instrument_id = 'A'",
                "trades: A; ticks: A");
    check_hints("SELECT * FROM trades t JOIN ticks k ON t.instrument_id = k.instrument_id "
                "WHERE k.instrument_id = 'A'",
                "trades: A; ticks: A");
    check_hints("SELECT * FROM trades t LEFT JOIN ticks k ON k.instrument_id = t.instrument_id "
                "WHERE t.instrument_id = 'A'",
                "trades: A; ticks: A");
    check_hints("SELECT * FROM trades t FULL JOIN ticks k ON k.instrument_id = t.instrument_id "
                "WHERE t.instrument_id = 'A'",
                "trades: A; ticks");
    check_hints("SELECT * FROM trades t JOIN ticks k ON t.instrument_id = k.instrument_id OR true "
                "WHERE t.instrument_id = 'A'",
                "trades: A; ticks");
    check_hints("SELECT * FROM trades t ASOF JOIN ticks k ON t.instrument_id = k.instrument_id "
                "AND t.ts >= k.ts WHERE t.instrument_id = 'A'",
                "trades: A; ticks: A");
    check_hints("SELECT * FROM trades t ASOF JOIN ticks k USING (instrument_id, ts) "
                "WHERE t.instrument_id = 'A'",
                "trades: A; ticks: A");
    check_hints("SELECT * FROM trades t ASOF JOIN ticks k USING (ts, instrument_id) "
                "WHERE t.instrument_id = 'A'",
                "trades: A; ticks");
    check_hints("SELECT * FROM trades t JOIN ticks k ON t.instrument_id = k.instrument_id "
                "JOIN depth d ON d.instrument_id = k.instrument_id WHERE t.instrument_id = 'A'",
                "trades: A; ticks: A; depth: A");
}

static void plan_takes_values_of_parameters(void **state) {
    (void)state;
    const tape_value params[] = {
        {.type = TAPE_TYPE_TEXT, .text = {"A", 1}},
        {.type = TAPE_TYPE_TIME, .int64 = 77},
        {.type = TAPE_TYPE_INT64, .int64 = 5},
        {.type = TAPE_TYPE_DOUBLE, .real = 2.5},
        {.type = TAPE_TYPE_INT64, .is_null = true},
        {.type = TAPE_TYPE_INT64, .int64 = -5},
        {.type = TAPE_TYPE_DOUBLE, .real = __builtin_nan("")},
    };
    static const struct {
        const char *sql, *want;
    } cases[] = {
        {"SELECT * FROM trades WHERE instrument_id = $1", "trades: A"},
        {"SELECT * FROM trades WHERE instrument_id = $3", "trades"},
        {"SELECT * FROM trades WHERE ts >= $2", "trades: ts from 77"},
        {"SELECT * FROM trades WHERE ts >= $1", "trades"},
        {"SELECT * FROM trades WHERE seq = $3", "trades: seq from 5 seq to 5"},
        {"SELECT * FROM trades WHERE seq >= $6", "trades"},
        {"SELECT * FROM trades WHERE seq >= $5", "trades"},
        {"SELECT * FROM trades WHERE price < $4", "trades: price -inf..2.5"},
        {"SELECT * FROM trades WHERE price < $7", "trades"},
        {"SELECT * FROM trades WHERE price < $3", "trades: price -inf..5"},
        {"SELECT * FROM trades WHERE price < $8", "trades"},
        {"SELECT * FROM trades WHERE price < $name", "trades"},
        {"SELECT * FROM ohlc($1, '1 minute')", "trades: A"},
    };
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        plan *p = plan_of(cases[n].sql);
        char *got = hints_text(p, params, COUNT_OF(params));
        assert_string_equal(got, cases[n].want);
        free(got);
        plan_release(p);
    }
}

static void plan_looks_at_the_clock_before_each_run(void **state) {
    (void)state;
    plan *p = plan_of("SELECT * FROM trades WHERE ts > now() - INTERVAL 1 HOUR AND "
                      "ts < current_timestamp AND ts > '1970-01-01'");
    plan_moment moments[PLAN_EXPRESSIONS_MAX];
    plan_hints hints;
    assert_non_null(p->clock_sql);
    assert_false(p->keepable);
    int64_t before = clock_realtime_ns();
    plan_moments(p, shared->session, moments);
    plan_hints_init(&hints, p, NULL, 0, moments);
    int64_t from = hints.tables[TAPE_TABLE_TRADES].hint.ts_min + 3600 * NS_PER_SECOND;
    int64_t to = hints.tables[TAPE_TABLE_TRADES].hint.ts_max;
    assert_true(from >= before - NS_PER_SECOND && from <= clock_realtime_ns() + NS_PER_SECOND);
    assert_true(to >= before - NS_PER_SECOND && to <= clock_realtime_ns() + NS_PER_SECOND);
    plan_hints_deinit(&hints);
    plan_release(p);
    /* Not if it may be a column of that name. */
    p = plan_of("SELECT * FROM trades, (SELECT 1 AS current_timestamp) x "
                "WHERE trades.ts < current_timestamp");
    assert_null(p->clock_sql);
    plan_release(p);
}

/* --- results that can be kept --- */

static void plan_knows_whose_results_can_be_kept(void **state) {
    (void)state;
    static const struct {
        const char *sql;
        bool keepable;
    } cases[] = {
        {"SELECT 1", true},
        {"SELECT count(*), sum(price * volume) FROM trades WHERE side = 'buy'", true},
        {"SELECT *, row_number() OVER (ORDER BY seq) FROM trades QUALIFY lag(seq) OVER () > 1",
         true},
        {"SELECT list_transform([1], lambda x: x + 1), 'a' LIKE 'b', 1::DOUBLE", true},
        {"SELECT * FROM range(5), unnest([1])", true},
        {"SELECT * FROM ohlc('A', '1 minute')", true},
        {"SELECT * FROM latest('ticks')", true},
        {"SELECT now()", false},
        {"SELECT current_timestamp", false},
        {"SELECT current_date", false},
        {"SELECT today()", false},
        {"SELECT random()", false},
        {"SELECT 1 FROM trades WHERE price > random()", false},
        {"SELECT uuid()", false},
        {"SELECT (SELECT max(random()) FROM trades)", false},
        {"SELECT * FROM trades TABLESAMPLE 10%", false},
        {"SELECT * FROM trades USING SAMPLE 5", false},
        {"SELECT * FROM duckdb_settings()", false},
        {"SELECT * FROM information_schema.tables", false},
        {"SHOW TABLES", false},
        {"DESCRIBE trades", false},
        {"SELECT no_such_function(1)", false},
        {"SELECT list_sum([1])", false},
    };
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        plan *p = plan_of(cases[n].sql);
        if (p->keepable != cases[n].keepable) {
            fail_msg("%s", cases[n].sql);
        }
        plan_release(p);
    }
}

/* --- one key --- */

static void plan_recognises_statements_that_ask_for_one_key(void **state) {
    (void)state;
    static const char *const points[] = {
        "SELECT * FROM orders WHERE order_id = 'o1'",
        "SELECT status, price AS p FROM orders WHERE 'o1' = order_id",
        "SELECT o.* FROM orders AS o WHERE o.order_id = $1;",
        "FROM orders WHERE order_id = ?",
        "SELECT *, price AS again FROM Orders WHERE ORDER_ID = 'o1'",
        "SELECT * FROM main.orders WHERE (order_id = 'o1')",
        "SELECT * FROM positions WHERE user_id = 'u' AND instrument_id = $1",
        "SELECT * FROM positions WHERE instrument_id = 'i' AND user_id = 'u'",
        "SELECT * FROM ticks WHERE seq = 5",
        "SELECT price FROM trades WHERE trade_id = 't'",
    };
    static const char *const others[] = {
        "SELECT * FROM orders",
        "SELECT * FROM orders WHERE order_id = 'a' OR order_id = 'b'",
        "SELECT * FROM orders WHERE order_id = 'a' AND order_id = 'b'",
        "SELECT * FROM orders WHERE order_id = 'a' AND price > 1",
        "SELECT * FROM orders WHERE order_id IN ('a')",
        "SELECT * FROM orders WHERE order_id = 5",
        "SELECT * FROM orders WHERE order_id = NULL",
        "SELECT * FROM orders WHERE order_id = 'a' || 'b'",
        "SELECT * FROM orders WHERE order_id = user_id",
        "SELECT * FROM orders WHERE order_id = $name",
        "SELECT * FROM orders WHERE seq = 5",
        "SELECT * FROM orders_history WHERE order_id = 'a'",
        "SELECT * FROM positions WHERE user_id = 'u'",
        "SELECT * FROM ticks WHERE seq = '5'",
        "SELECT * FROM ticks WHERE seq = 5.0",
        "SELECT * FROM ticks WHERE seq = -5",
        "SELECT price + 1 FROM orders WHERE order_id = 'a'",
        "SELECT count(*) FROM orders WHERE order_id = 'a'",
        "SELECT DISTINCT price FROM orders WHERE order_id = 'a'",
        "SELECT * FROM orders WHERE order_id = 'a' LIMIT 1",
        "SELECT * FROM orders WHERE order_id = 'a' ORDER BY seq",
        "SELECT * FROM orders WHERE order_id = 'a' GROUP BY ALL",
        "SELECT * EXCLUDE (price) FROM orders WHERE order_id = 'a'",
        "SELECT * REPLACE (1 AS price) FROM orders WHERE order_id = 'a'",
        "SELECT COLUMNS('p.*') FROM orders WHERE order_id = 'a'",
        "SELECT x.* FROM orders WHERE order_id = 'a'",
        "SELECT nothing FROM orders WHERE order_id = 'a'",
        "SELECT * FROM orders o(a) WHERE order_id = 'a'",
        "SELECT * FROM orders TABLESAMPLE 50% WHERE order_id = 'a'",
        "SELECT * FROM orders, trades WHERE order_id = 'a'",
        "SELECT * FROM (SELECT * FROM orders) WHERE order_id = 'a'",
        "WITH x AS (SELECT 1) SELECT * FROM orders WHERE order_id = 'a'",
        "SELECT * FROM orders WHERE order_id = 'a' UNION ALL SELECT * FROM orders",
        "SELECT * FROM other.orders WHERE order_id = 'a'",
    };
    for (size_t n = 0; n < COUNT_OF(points); n++) {
        plan *p = plan_of(points[n]);
        if (p->point == NULL) {
            fail_msg("%s", points[n]);
        }
        plan_release(p);
    }
    for (size_t n = 0; n < COUNT_OF(others); n++) {
        plan *p = plan_of(others[n]);
        if (p->point != NULL) {
            fail_msg("%s", others[n]);
        }
        plan_release(p);
    }
}

/* --- kept plans --- */

static void plans_are_found_by_their_text_and_let_go_when_there_are_many(void **state) {
    (void)state;
    plans *k = plans_create();
    plan *first = plan_of("SELECT 0");
    assert_null(plans_find(k, "SELECT 0"));
    plans_keep(k, first);
    plan *found = plans_find(k, "SELECT 0");
    assert_ptr_equal(found, first);
    assert_null(plans_find(k, "SELECT 0 "));
    size_t kept = 0;
    admitted a;
    assert_int_equal(admit(shared->session, &shared->forbidden, "SELECT 1", true, &a, NULL),
                     TAPE_OK);
    for (int n = 1; n <= 3000; n++) {
        char *sql = mem_printf("SELECT %d", n);
        plan *p = plan_make(sql, &a.tree, &shared->functions);
        plans_keep(k, p);
        plan *again = plans_find(k, sql);
        assert_ptr_equal(again, p);
        plan_release(again);
        plan_release(p);
        free(sql);
    }
    admitted_deinit(&a);
    for (int n = 1; n <= 3000; n++) {
        char *sql = mem_printf("SELECT %d", n);
        plan *p = plans_find(k, sql);
        kept += p != NULL;
        plan_release(p);
        free(sql);
    }
    assert_true(kept > 200 && kept <= 512);
    /* Held plans stay what they are. */
    assert_string_equal(found->sql, "SELECT 0");
    plan_release(found);
    plan_release(first);
    plans_close(&k);
}

static plans *raced;

static void find_and_keep(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument;
    admitted a;
    if (admit(shared->session, &shared->forbidden, "SELECT 1", true, &a, NULL) != TAPE_OK) {
        return;
    }
    for (int n = 0; n < 20000; n++) {
        char *sql = mem_printf("SELECT %d", (int)(testing_random(&random) % 1500));
        plan *p = plans_find(raced, sql);
        if (p == NULL) {
            p = plan_make(sql, &a.tree, &shared->functions);
            plans_keep(raced, p);
        }
        ASSERT(strcmp(p->sql, sql) == 0);
        plan_release(p);
        free(sql);
    }
    admitted_deinit(&a);
}

static void find_only(void *argument) {
    uint64_t random = (uint64_t)(uintptr_t)argument;
    for (int n = 0; n < 200000; n++) {
        char sql[32];
        (void)snprintf(sql, sizeof sql, "SELECT %d", (int)(testing_random(&random) % 1500));
        plan *p = plans_find(raced, sql);
        ASSERT(p == NULL || strcmp(p->sql, sql) == 0);
        plan_release(p);
    }
}

static void plans_are_found_while_others_are_let_go(void **state) {
    (void)state;
    os_thread *threads[3];
    tape_error error;
    raced = plans_create();
    for (size_t n = 0; n < COUNT_OF(threads); n++) {
        assert_int_equal(os_thread_start(&threads[n], "plans", -1,
                                         n == 0 ? find_and_keep : find_only, (void *)(n + 1),
                                         &error),
                         TAPE_OK);
    }
    for (size_t n = 0; n < COUNT_OF(threads); n++) {
        os_thread_join(&threads[n]);
    }
    plans_close(&raced);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_finds_what_a_statement_reads),
        cmocka_unit_test(plan_takes_what_a_where_asks),
        cmocka_unit_test(plan_leaves_what_it_cannot_be_sure_of),
        cmocka_unit_test(plan_takes_constraints_through_joins),
        cmocka_unit_test(plan_takes_values_of_parameters),
        cmocka_unit_test(plan_looks_at_the_clock_before_each_run),
        cmocka_unit_test(plan_knows_whose_results_can_be_kept),
        cmocka_unit_test(plan_recognises_statements_that_ask_for_one_key),
        cmocka_unit_test(plans_are_found_by_their_text_and_let_go_when_there_are_many),
        cmocka_unit_test(plans_are_found_while_others_are_let_go),
    };
    return cmocka_run_group_tests_name("query_plan", tests, open_parser, close_parser);
}
