/* Query: answers, snapshots, admission, ends. */
#include "query/query.h"
#include "query/testing.h"

#include "os/os.h"

#include <errno.h>

#define MS INT64_C(1000000)
#define T0 INT64_C(1723161255342000000) /* 2024-08-08T23:54:15.342Z */

/* --- a small exchange --- */

typedef struct market {
    columns *columns;
    query *query;
    char *dir;
} market;

static void stats(void *context, tape_stats *out) {
    (void)context;
    out->written = 7;
    out->queryable = 6;
    out->rows[TAPE_TABLE_TRADES] = 5;
    out->owner_pid = 123;
    memcpy(out->sync_method, "fdatasync", sizeof "fdatasync");
}

static void open_query(market *m, uint64_t memory_bytes, bool spill) {
    tape_error error;
    query_options options = {.columns = m->columns,
                             .temp_dir = spill ? m->dir : NULL,
                             .memory_bytes = memory_bytes,
                             .threads = 2,
                             .stats = stats};
    if (query_open(&m->query, &options, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static market open_market(void) {
    market m = {.dir = testing_dir()};
    tape_error error;
    columns_options options = {.bytes_max = GIB(1)};
    assert_int_equal(columns_create(&m.columns, &options, &error), TAPE_OK);
    open_query(&m, MIB(512), true);
    return m;
}

static void close_market(market *m) {
    query_close(&m->query);
    columns_close(&m->columns);
    testing_dir_remove(m->dir);
}

static void add_trade(market *m, const char *id, const char *user, const char *instrument,
                      tape_side side, double price, double volume, int64_t ts) {
    tape_trade t = {.side = (uint8_t)side, .price = price, .volume = volume};
    memcpy(t.trade_id, id, strlen(id));
    memcpy(t.user_id, user, strlen(user));
    memcpy(t.instrument_id, instrument, strlen(instrument));
    testing_add(m->columns, TAPE_TABLE_TRADES, &t, ts, false);
}

static void add_order(market *m, const char *id, double filled, tape_order_status status) {
    tape_order o = {.side = TAPE_SIDE_BUY,
                    .price = 3900,
                    .volume = 10,
                    .filled_volume = filled,
                    .status = (uint8_t)status};
    memcpy(o.order_id, id, strlen(id));
    memcpy(o.user_id, "u1", 2);
    memcpy(o.instrument_id, "IF2601", 6);
    testing_add(m->columns, TAPE_TABLE_ORDERS, &o, T0, false);
}

/* seq 1..12 */
static void fill_market(market *m) {
    tape_account account = {.user_id = "u1", .balance = 1000, .available = 900};
    tape_position position = {
        .user_id = "u1", .instrument_id = "IF2601", .long_volume = 2, .long_price = 3890};
    tape_instrument instrument = {.instrument_id = "IF2601", .volume_multiplier = 300};
    tape_tick tick = {.instrument_id = "IF2601", .last_price = 3901};
    tape_depth depth = {.instrument_id = "IF2601", .bid_price = {3900, 3899.8}};
    add_trade(m, "t1", "u1", "IF2601", TAPE_SIDE_BUY, 3900, 1, T0);
    add_trade(m, "t2", "", "IF2601", TAPE_SIDE_SELL, 3902, 3, T0 + 10000 * MS);
    add_trade(m, "a-trade-id-of-more-than-twelve-bytes", "u1", "IF2602", TAPE_SIDE_ABSENT, 3950.5,
              2, T0 + 70000 * MS);
    add_order(m, "o1", 0, TAPE_ORDER_STATUS_ACCEPTED);
    add_order(m, "o2", 0, TAPE_ORDER_STATUS_ACCEPTED);
    add_order(m, "o1", 4, TAPE_ORDER_STATUS_PARTIAL);
    add_order(m, "o1", 10, TAPE_ORDER_STATUS_FILLED);
    testing_add(m->columns, TAPE_TABLE_ACCOUNTS, &account, T0, false);
    testing_add(m->columns, TAPE_TABLE_POSITIONS, &position, T0, false);
    testing_add(m->columns, TAPE_TABLE_INSTRUMENTS, &instrument, T0, false);
    testing_add(m->columns, TAPE_TABLE_TICKS, &tick, T0 + 1, false);
    testing_add(m->columns, TAPE_TABLE_DEPTH, &depth, T0, false);
}

static tape_status run(market *m, const char *sql, uint64_t seq, const tape_query_options *options,
                       struct ArrowArrayStream *out, tape_error *error) {
    tape_query_options defaults = {.size_bytes = sizeof defaults, .timeout_ns = -1};
    return query_run(m->query, sql, seq, options == NULL ? &defaults : options, out, error);
}

static char *answer_at(market *m, const char *sql, uint64_t seq) {
    struct ArrowArrayStream stream;
    tape_error error;
    if (run(m, sql, seq, NULL, &stream, &error) != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    return testing_text(&stream, NULL);
}

static void check_at(market *m, const char *sql, uint64_t seq, const char *want) {
    char *got = answer_at(m, sql, seq);
    if (strcmp(got, want) != 0) {
        fail_msg("%s\ngot:\n%swant:\n%s", sql, got, want);
    }
    free(got);
}

static void check(market *m, const char *sql, const char *want) {
    check_at(m, sql, columns_seq(m->columns), want);
}

/* --- answers --- */

static void query_answers_as_computed_by_hand(void **state) {
    (void)state;
    market m = open_market();
    fill_market(&m);
    check(&m, "SELECT count(*), sum(volume), min(price), max(price) FROM trades",
          "3|6|3900|3950.5\n");
    check(&m,
          "SELECT instrument_id, sum(price * volume) / sum(volume) FROM trades "
          "GROUP BY ALL ORDER BY 1",
          "IF2601|3901.5\nIF2602|3950.5\n");
    check(&m,
          "FROM trades SELECT seq, epoch_ns(ts), trade_id, order_id, user_id, side, "
          "position_effect ORDER BY seq",
          "1|1723161255342000000|t1|NULL|u1|buy|none\n"
          "2|1723161265342000000|t2|NULL|NULL|sell|none\n"
          "3|1723161325342000000|a-trade-id-of-more-than-twelve-bytes|NULL|u1|NULL|none\n");
    check(&m, "SELECT trade_id FROM trades WHERE trade_id = 'a-trade-id-of-more-than-twelve-bytes'",
          "a-trade-id-of-more-than-twelve-bytes\n");
    check(&m, "SELECT count(*) FROM trades WHERE side IS NULL", "1\n");
    check(&m, "SELECT bid_price, bid_price[2] FROM depth",
          "[3900,3899.8,0,0,0,0,0,0,0,0]|3899.8\n");
    check(&m,
          "SELECT t.trade_id, k.last_price FROM trades t ASOF JOIN ticks k "
          "ON t.instrument_id = k.instrument_id AND t.ts >= k.ts",
          "t2|3901\n");
    check(&m,
          "SELECT trade_id FROM trades QUALIFY row_number() OVER "
          "(PARTITION BY instrument_id ORDER BY price DESC) = 1 ORDER BY 1",
          "a-trade-id-of-more-than-twelve-bytes\nt2\n");
    check(&m,
          "SELECT time_bucket(INTERVAL 1 MINUTE, ts) = TIMESTAMP '2024-08-08 23:54:00' "
          "FROM trades ORDER BY seq",
          "true\ntrue\nfalse\n");
    check(&m,
          "PIVOT trades ON side IN ('buy', 'sell') USING sum(volume) GROUP BY instrument_id "
          "ORDER BY 1",
          "IF2601|1|3\nIF2602|NULL|NULL\n");
    check(&m,
          "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4) "
          "SELECT sum(i)::BIGINT FROM n",
          "10\n");
    check(&m, "VALUES (1), (2)", "1\n2\n");
    check(&m, "SELECT 1;", "1\n");
    check(&m, "SELECT * FROM trades LIMIT 0", "");
    check(&m, "SELECT written, queryable, rows_trades, sync_method, owner_pid FROM tape_status()",
          "7|6|5|fdatasync|123\n");
    close_market(&m);
}

static void query_gives_tables_their_documented_types(void **state) {
    (void)state;
    market m = open_market();
    check(&m, "SELECT column_name, column_type FROM (DESCRIBE orders)",
          "seq|UBIGINT\nts|TIMESTAMP_NS\norder_id|VARCHAR\nuser_id|VARCHAR\n"
          "instrument_id|VARCHAR\nside|VARCHAR\nposition_effect|VARCHAR\norder_type|VARCHAR\n"
          "price|DOUBLE\nvolume|DOUBLE\nfilled_volume|DOUBLE\nstatus|VARCHAR\n");
    check(&m, "SELECT column_name, column_type FROM (DESCRIBE depth) WHERE column_name <> 'seq'",
          "ts|TIMESTAMP_NS\ninstrument_id|VARCHAR\nbid_price|DOUBLE[10]\nbid_volume|DOUBLE[10]\n"
          "ask_price|DOUBLE[10]\nask_volume|DOUBLE[10]\n");
    check(&m, "SELECT name FROM (SHOW TABLES)",
          "accounts\naccounts_history\ndepth\ninstruments\ninstruments_history\norders\n"
          "orders_history\npositions\npositions_history\nticks\ntrades\n");
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    tape_error error;
    assert_int_equal(
        run(&m, "SELECT t.seq, t.ts, trade_id, side, price, bid_price FROM trades t, depth", 0,
            NULL, &stream, &error),
        TAPE_OK);
    assert_int_equal(stream.get_schema(&stream, &schema), 0);
    const char *const want[] = {"L", "tsn:", "u", "u", "g", "+w:10"};
    assert_int_equal(schema.n_children, COUNT_OF(want));
    for (size_t n = 0; n < COUNT_OF(want); n++) {
        assert_string_equal(schema.children[n]->format, want[n]);
    }
    schema.release(&schema);
    stream.release(&stream);
    close_market(&m);
}

static void query_entities_show_the_newest_and_history_every_version(void **state) {
    (void)state;
    market m = open_market();
    fill_market(&m);
    const char *newest = "SELECT order_id, status, filled_volume FROM orders ORDER BY order_id";
    const char *history = "SELECT count(*), count(DISTINCT order_id) FROM orders_history";
    check_at(&m, newest, 3, "");
    check_at(&m, newest, 4, "o1|accepted|0\n");
    check_at(&m, newest, 5, "o1|accepted|0\no2|accepted|0\n");
    check_at(&m, newest, 6, "o1|partial|4\no2|accepted|0\n");
    check_at(&m, newest, 7, "o1|filled|10\no2|accepted|0\n");
    check_at(&m, newest, 12, "o1|filled|10\no2|accepted|0\n");
    check_at(&m, history, 3, "0|0\n");
    check_at(&m, history, 6, "3|2\n");
    check_at(&m, history, 12, "4|2\n");
    check_at(&m, "SELECT count(*) FROM trades", 2, "2\n");
    check_at(&m, "SELECT count(*) FROM trades", 0, "0\n");
    close_market(&m);
}

static void query_compares_ts_with_now(void **state) {
    (void)state;
    market m = open_market();
    fill_market(&m);
    check(&m, "SELECT count(*) FROM trades WHERE ts > now() - INTERVAL 100 YEAR", "3\n");
    check(&m, "SELECT count(*) FROM trades WHERE ts > now() - INTERVAL 1 HOUR", "0\n");
    check(&m, "SELECT count(*) FROM trades WHERE ts < current_timestamp", "3\n");
    check(&m, "SELECT count(*) FROM trades WHERE ts BETWEEN now() - INTERVAL 100 YEAR AND now()",
          "3\n");
    check(&m, "SELECT count(*) FROM trades WHERE ts >= TIMESTAMP '2024-08-08 23:54:25.342'", "2\n");
    check(&m, "SELECT count(*) FROM trades WHERE ts > '2024-08-08 23:54:15.341999999'", "3\n");
    close_market(&m);
}

static void query_macros_give_their_answers(void **state) {
    (void)state;
    market m = open_market();
    fill_market(&m);
    check(&m, "SELECT epoch_ns(ts), * EXCLUDE (ts) FROM ohlc('IF2601', INTERVAL 1 MINUTE)",
          "1723161240000000000|IF2601|3900|3902|3900|3902|4|2\n");
    check(&m, "SELECT open, close, trades FROM ohlc('IF2601', '10 seconds')",
          "3900|3900|1\n3902|3902|1\n");
    check(&m, "SELECT vwap, volume FROM vwap('IF2601', INTERVAL 1 HOUR)", "3901.5|4\n");
    check(&m,
          "SELECT trades, volume, turnover, buy_volume, sell_volume "
          "FROM market_stats('IF2601', INTERVAL 1 HOUR)",
          "2|4|15606|1|3\n");
    check(&m, "SELECT trade_id FROM user_trades('u1')",
          "t1\na-trade-id-of-more-than-twelve-bytes\n");
    check(&m, "SELECT balance, open_pnl, equity FROM account_pnl('u1')", "1000|7200|8200\n");
    check(&m, "SELECT trade_id FROM latest('trades')",
          "t2\na-trade-id-of-more-than-twelve-bytes\n");
    check(&m, "SELECT last_price FROM latest(ticks)", "3901\n");
    close_market(&m);
}

static void query_names_what_is_wrong_in_one_line(void **state) {
    (void)state;
    static const struct {
        const char *sql;
        const char *word;
    } cases[] = {
        {"SELEC 1", "SELEC"},
        {"SELECT\n1,\nnothing", "line 3"},
        {"SELECT nothing FROM trades", "nothing"},
        {"SELECT * FROM nowhere", "nowhere"},
        {"SELECT 'x'::DOUBLE", "x"},
        {"SELECT $1", "parameters"},
        {"SELECT ?", "parameters"},
        {"", "empty"},
        {"  -- nothing\n/* at /* all */ */ ", "empty"},
        {";", "empty"},
    };
    market m = open_market();
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        struct ArrowArrayStream stream;
        tape_error error;
        assert_int_equal(run(&m, cases[n].sql, 0, NULL, &stream, &error), TAPE_SQL);
        assert_null(stream.release);
        if (strstr(error.text, cases[n].word) == NULL || strchr(error.text, '\n') != NULL) {
            fail_msg("%s: %s", cases[n].sql, error.text);
        }
    }
    check(&m, "SELECT 1", "1\n");
    close_market(&m);
}

static void query_errors_of_running_statements_come_from_the_stream(void **state) {
    (void)state;
    market m = open_market();
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_error error;
    assert_int_equal(run(&m,
                         "SELECT CASE WHEN i = 900000 THEN error('stop here') ELSE i END "
                         "FROM range(1000000) t(i)",
                         0, NULL, &stream, &error),
                     TAPE_OK);
    int64_t rows = 0;
    int failure;
    while ((failure = stream.get_next(&stream, &array)) == 0 && array.release != NULL) {
        rows += array.length;
        array.release(&array);
    }
    assert_int_equal(failure, EIO);
    assert_true(rows > 0 && rows < 900001);
    assert_non_null(strstr(stream.get_last_error(&stream), "stop here"));
    assert_int_equal(stream.get_next(&stream, &array), EIO);
    stream.release(&stream);
    assert_null(stream.release);
    check(&m, "SELECT 1", "1\n");
    close_market(&m);
}

/* --- admission --- */

static const char *const FORBIDDEN[] = {
    "COPY trades TO '%s/evil.csv'",
    "COPY (SELECT 1) TO '%s/evil.parquet' (FORMAT parquet)",
    "ATTACH '%s/evil.db'",
    "ATTACH ':memory:' AS evil",
    "DETACH memory",
    "USE memory",
    "EXPORT DATABASE '%s/evil'",
    "IMPORT DATABASE '%s'",
    "CREATE TABLE x(a INT)",
    "CREATE TABLE x AS SELECT 1",
    "CREATE TEMP TABLE x(a INT)",
    "CREATE VIEW x AS SELECT 1",
    "CREATE OR REPLACE VIEW trades AS SELECT 1",
    "CREATE MACRO now() AS 1",
    "CREATE SEQUENCE s",
    "CREATE TYPE e AS ENUM ('a')",
    "CREATE SCHEMA s",
    "CREATE SECRET s (TYPE s3)",
    "DROP VIEW trades",
    "DROP MACRO now",
    "ALTER VIEW trades RENAME TO x",
    "COMMENT ON VIEW trades IS 'x'",
    "INSERT INTO trades SELECT * FROM trades",
    "UPDATE trades SET price = 0",
    "DELETE FROM trades",
    "TRUNCATE trades",
    "MERGE INTO trades USING ticks ON true WHEN MATCHED THEN DELETE",
    "INSTALL httpfs",
    "FORCE INSTALL httpfs",
    "LOAD json",
    "UPDATE EXTENSIONS",
    "SET memory_limit = '1GB'",
    "SET VARIABLE x = 1",
    "SET SESSION threads = 1",
    "RESET threads",
    "PRAGMA database_list",
    "PRAGMA threads = 1",
    "pragma enable_profiling",
    "  /* a */ PRAGMA version",
    "CALL pragma_version()",
    "CALL enable_logging()",
    "CHECKPOINT",
    "FORCE CHECKPOINT",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "SELECT 1; SELECT 2",
    "SELECT 1; DELETE FROM trades",
    "DELETE FROM trades; SELECT 1",
    "SELECT 1; PRAGMA version",
    "EXPLAIN DELETE FROM trades",
    "EXPLAIN ANALYZE DELETE FROM trades",
    "EXPLAIN ANALYZE COPY trades TO '%s/evil.csv'",
    "EXPLAIN ANALYZE CREATE TABLE x(a INT)",
    "explain /* c */ (analyze, format json) CREATE TABLE x(a INT)",
    "EXPLAIN (FORMAT json) DROP VIEW trades",
    "EXPLAIN SELECT 1; SELECT 2",
    "EXPLAIN ANALYZE SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob(['/etc/passwd'])",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_ndjson_objects('/etc/passwd')",
    "SELECT * FROM read_parquet('x.parquet')",
    "SELECT * FROM parquet_scan('x.parquet')",
    "SELECT * FROM parquet_metadata('x.parquet')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM \"glob\"('/etc/*')",
    "SELECT * FROM GlOb /* x */ ('/etc/*')",
    "SELECT * FROM system.main.glob('/etc/*')",
    "SELECT (SELECT count(*) FROM glob('/etc/*'))",
    "WITH a AS (SELECT * FROM glob('/etc/*')) SELECT 1",
    "SELECT 1 WHERE EXISTS (FROM read_text('/etc/passwd'))",
    "SELECT * FROM trades, LATERAL (SELECT * FROM glob('/*'))",
    "SELECT 1 UNION ALL SELECT count(*) FROM glob('/etc/*')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM tape_scan('trades', 'all')",
    "SELECT * FROM tape_superseded('orders')",
    "SELECT tape_newest('orders', 1)",
    "SELECT tape_superseded_by('orders', 1)",
    "SELECT * FROM query_table('trades')",
    "SELECT * FROM json_execute_serialized_sql('{}')",
    "SELECT json_serialize_plan('SELECT * FROM glob(''/*'')')",
    "SELECT * FROM enable_logging()",
    "SELECT * FROM enable_profiling()",
    "SELECT * FROM duckdb_logs()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM checkpoint()",
    "SELECT * FROM force_checkpoint()",
    "SELECT * FROM enable_peg_parser()",
    "SELECT write_log('x')",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM 'x.csv'",
    "SELECT * FROM \"x.parquet\"",
    "FROM '%s/*.json'",
    "DESCRIBE 'x.csv'",
    "SUMMARIZE 'x.parquet'",
    "SHOW 'x.csv'",
    "TABLE 'x.csv'",
    "SELECT * FROM latest('%s/secret.csv')",
    "SELECT * FROM latest('x.csv')",
    "PIVOT trades ON side USING sum(volume)",
    "SELECT '\"]}'; SELECT 2",
    "SELECT '{\"'; SELECT '\"}'",
};

static void query_refuses_every_statement_that_is_not_a_plain_read(void **state) {
    (void)state;
    market m = open_market();
    fill_market(&m);
    char *secret = testing_path(m.dir, "secret.csv");
    testing_write(secret, "instrument_id,seq\nx,1\n", 22);
    for (size_t n = 0; n < COUNT_OF(FORBIDDEN); n++) {
        struct ArrowArrayStream stream;
        tape_error error;
        buffer sql = {0};
        const char *mark = strstr(FORBIDDEN[n], "%s");
        size_t head = mark == NULL ? strlen(FORBIDDEN[n]) : (size_t)(mark - FORBIDDEN[n]);
        buffer_append(&sql, FORBIDDEN[n], head);
        if (mark != NULL) {
            buffer_append_text(&sql, m.dir);
            buffer_append_text(&sql, mark + 2);
        }
        buffer_append(&sql, "", 1);
        if (run(&m, (const char *)sql.data, 12, NULL, &stream, &error) != TAPE_FORBIDDEN) {
            fail_msg("let in, or refused otherwise: %s", (const char *)sql.data);
        }
        assert_null(strchr(error.text, '\n'));
        buffer_deinit(&sql);
    }
    os_remove(os_disk_linux(), secret, NULL) == TAPE_OK ? (void)0 : fail();
    free(secret);
    /* All is as it was; the directory's removal tells that nothing was written. */
    check(&m, "SELECT count(*), max(price) FROM trades", "3|3950.5\n");
    check(&m, "SELECT typeof(now())", "TIMESTAMP\n");
    close_market(&m);
}

static void query_lets_reading_statements_in(void **state) {
    (void)state;
    static const char *const allowed[] = {
        "SELECT 1 -- ; DELETE FROM trades",
        "SELECT 'COPY trades TO ''x''; read_csv(''/etc/passwd'')'",
        "SELECT $$a;b$$, $x$ $$ $x$, E'\\'; (((', \"volume\" FROM trades",
        "SELECT 'a\"b', '\"]}', E'\\\\' FROM trades WHERE user_id IN ('x\"y', '{\"')",
        "EXPLAIN SELECT * FROM trades",
        "EXPLAIN ANALYZE SELECT count(*) FROM trades",
        "EXPLAIN (ANALYZE, FORMAT json) SELECT 1",
        "explain (select 1)",
        "(SELECT 1)",
        "WITH a AS (SELECT 1 AS x) SELECT * FROM a",
        "FROM trades",
        "TABLE trades",
        "DESCRIBE trades",
        "DESC SELECT 1",
        "SHOW TABLES",
        "SHOW ALL TABLES",
        "SUMMARIZE trades",
        "SELECT * FROM range(3), generate_series(1, 2), unnest([1, 2])",
        "SELECT * FROM duckdb_functions() LIMIT 1",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM main.trades",
        "SELECT a.b FROM (SELECT {'b': 1} AS a)",
        "SELECT COLUMNS('p.*') FROM trades",
        "SELECT list_transform([1, 2], lambda x: x + 1)",
        "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b",
    };
    market m = open_market();
    fill_market(&m);
    for (size_t n = 0; n < COUNT_OF(allowed); n++) {
        free(answer_at(&m, allowed[n], 12));
    }
    close_market(&m);
}

static char *repeated(const char *head, const char *part, size_t times, const char *tail) {
    buffer b = {0};
    buffer_append_text(&b, head);
    for (size_t n = 0; n < times; n++) {
        buffer_append_text(&b, part);
    }
    buffer_append_text(&b, tail);
    buffer_append(&b, "", 1);
    return (char *)b.data;
}

static void query_survives_statements_of_absurd_size_and_shape(void **state) {
    (void)state;
    static const struct {
        const char *head, *part;
        size_t times;
        const char *tail;
        tape_status status; /* TAPE_OK: any answer */
    } cases[] = {
        {"SELECT '", "x", MIB(1), "'", TAPE_TOO_LARGE},
        {"SELECT ", "(", 50000, "1", TAPE_TOO_LARGE},
        {"SELECT ", "[", 50000, "1", TAPE_TOO_LARGE},
        {"SELECT E'\\'', ", "(", 50000, "1", TAPE_TOO_LARGE},
        {"SELECT ", "CASE WHEN true THEN ", 5000, "1", TAPE_TOO_LARGE},
        {"SELECT * FROM ", "(SELECT * FROM ", 5000, "trades", TAPE_TOO_LARGE},
        {"SELECT ", "- ", 200000, "1", TAPE_SQL},
        {"SELECT ", "NOT ", 200000, "true", TAPE_SQL},
        {"SELECT 1", "+1", 100000, "", TAPE_SQL},
        {"SELECT 1", "::INT", 100000, "", TAPE_SQL},
        {"SELECT 'a'", "||'b'", 100000, "", TAPE_SQL},
        {"SELECT a", ".a", 100000, "", TAPE_SQL},
        {"SELECT 1", " INTERSECT SELECT 1", 20000, "", TAPE_SQL},
        {"SELECT 1", " UNION ALL SELECT 1", 2000, "", TAPE_OK},
        {"SELECT * FROM ", "(SELECT * FROM ", 0, "trades", TAPE_OK},
        {"", "EXPLAIN ", 1000, "SELECT 1", TAPE_SQL},
        {"", "/*", 100000, "SELECT 1", TAPE_SQL},
        {"SELECT 1 IN (0", ",1", 100000, ")", TAPE_OK},
        {"SELECT \"", "x", 100000, "\"", TAPE_SQL},
        {"", "\xff\xfe", 100, "", TAPE_SQL},
    };
    market m = open_market();
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        char *sql = repeated(cases[n].head, cases[n].part, cases[n].times, cases[n].tail);
        struct ArrowArrayStream stream;
        tape_error error = {0};
        tape_status status = run(&m, sql, 0, NULL, &stream, &error);
        if (status == TAPE_OK) {
            free(testing_text(&stream, NULL));
        }
        if (status != cases[n].status) {
            fail_msg("case %zu: %s %s", n, tape_status_name(status), error.text);
        }
        free(sql);
    }
    check(&m, "SELECT 1", "1\n");
    close_market(&m);
}

/* --- early ends --- */

static void query_stops_at_its_deadline(void **state) {
    (void)state;
    static const char *const endless[] = {
        "SELECT count(*) FROM range(1000000000000) t(i) WHERE hash(i) = 5",
        "SELECT i FROM range(1000000000000) t(i) ORDER BY hash(i)",
        "SELECT count(*) FROM range(10000000) a, range(10000000) b",
    };
    market m = open_market();
    tape_query_options options = {.timeout_ns = 50 * MS};
    tape_error error;
    struct ArrowArrayStream stream;
    for (size_t n = 0; n < COUNT_OF(endless); n++) {
        assert_int_equal(run(&m, endless[n], 0, &options, &stream, &error), TAPE_TIMEOUT);
        assert_null(stream.release);
        check(&m, "SELECT 1", "1\n");
    }
    /* While rows are read, if there is time for any. */
    tape_status status =
        run(&m, "SELECT i FROM range(1000000000000) t(i)", 0, &options, &stream, &error);
    if (status == TAPE_OK) {
        struct ArrowArray array;
        int failure;
        while ((failure = stream.get_next(&stream, &array)) == 0) {
            array.release(&array);
        }
        assert_int_equal(failure, ETIMEDOUT);
        assert_non_null(strstr(stream.get_last_error(&stream), "50 ms"));
        stream.release(&stream);
    } else {
        assert_int_equal(status, TAPE_TIMEOUT);
    }
    options.timeout_ns = 60 * NS_PER_SECOND;
    assert_int_equal(run(&m, "SELECT 5", 0, &options, &stream, &error), TAPE_OK);
    char *text = testing_text(&stream, NULL);
    assert_string_equal(text, "5\n");
    free(text);
    close_market(&m);
}

static bool when_told(void *context) {
    return atomic_load((_Atomic bool *)context);
}

static void query_stops_a_stream_when_its_caller_says_so(void **state) {
    (void)state;
    market m = open_market();
    _Atomic bool told = false;
    tape_query_options options = {
        .timeout_ns = -1, .cancelled = when_told, .cancel_context = &told};
    tape_error error;
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    int failure;
    assert_int_equal(
        run(&m, "SELECT i FROM range(1000000000000) t(i)", 0, &options, &stream, &error), TAPE_OK);
    for (int n = 0; (failure = stream.get_next(&stream, &array)) == 0; n++) {
        atomic_store(&told, n > 10);
        array.release(&array);
    }
    assert_int_equal(failure, ECANCELED);
    stream.release(&stream);
    check(&m, "SELECT 1", "1\n");
    close_market(&m);
}

static bool always(void *context) {
    atomic_fetch_add((_Atomic int *)context, 1);
    return true;
}

static void query_stops_when_its_caller_says_so(void **state) {
    (void)state;
    market m = open_market();
    _Atomic int asked = 0;
    tape_query_options options = {.timeout_ns = -1, .cancelled = always, .cancel_context = &asked};
    tape_error error;
    struct ArrowArrayStream stream;
    assert_int_equal(run(&m, "SELECT count(*) FROM range(1000000000000) t(i) WHERE hash(i) = 5", 0,
                         &options, &stream, &error),
                     TAPE_CANCELLED);
    assert_true(asked > 0);
    check(&m, "SELECT 1", "1\n");
    close_market(&m);
}

static void query_streams_can_be_left_unread(void **state) {
    (void)state;
    market m = open_market();
    fill_market(&m);
    for (int n = 0; n < 20; n++) {
        struct ArrowArrayStream stream;
        struct ArrowArray array;
        tape_error error;
        assert_int_equal(
            run(&m, "SELECT i FROM range(1000000000000) t(i)", 12, NULL, &stream, &error), TAPE_OK);
        if (n % 2 == 0) {
            assert_int_equal(stream.get_next(&stream, &array), 0);
            array.release(&array);
        }
        stream.release(&stream);
    }
    check(&m, "SELECT count(*) FROM trades", "3\n");
    close_market(&m);
}

static void query_memory_is_bounded_and_spills(void **state) {
    (void)state;
    const char *sort = "SELECT count(*) FROM (SELECT i, row_number() OVER (ORDER BY hash(i)) "
                       "FROM range(2000000) t(i))";
    market m = open_market();
    query_close(&m.query);
    open_query(&m, MIB(40), false);
    struct ArrowArrayStream stream;
    tape_error error;
    assert_int_equal(run(&m, sort, 0, NULL, &stream, &error), TAPE_NO_MEMORY);
    check(&m, "SELECT 1", "1\n");
    query_close(&m.query);
    open_query(&m, MIB(40), true);
    check(&m, sort, "2000000\n");
    close_market(&m);
}

/* --- many rows, many threads --- */

#define TICKS (10 * COLUMNS_CHUNK_ROWS + 777)

static void query_scans_each_row_once_whatever_the_threads(void **state) {
    (void)state;
    market m = open_market();
    for (uint64_t n = 1; n <= TICKS; n++) {
        tape_tick tick = {.last_price = (double)(n % 1000), .volume = 1};
        (void)snprintf(tick.instrument_id, sizeof tick.instrument_id, "I%llu",
                       (unsigned long long)(n % 50));
        testing_add(m.columns, TAPE_TABLE_TICKS, &tick, (int64_t)n, false);
    }
    const uint64_t at[] = {
        0, 1, 2047, 2048, 2049, COLUMNS_CHUNK_ROWS, COLUMNS_CHUNK_ROWS + 1, TICKS - 1, TICKS};
    for (size_t n = 0; n < COUNT_OF(at); n++) {
        uint64_t sum = at[n] * (at[n] + 1) / 2;
        char *want = mem_printf("%llu|%llu|%llu|%llu\n", (unsigned long long)at[n],
                                (unsigned long long)at[n], (unsigned long long)sum,
                                (unsigned long long)at[n]);
        check_at(&m,
                 "SELECT count(*), sum(volume)::BIGINT, sum(seq)::BIGINT, "
                 "(SELECT count(*) FROM (SELECT DISTINCT seq FROM ticks)) FROM ticks",
                 at[n], at[n] == 0 ? "0|NULL|NULL|0\n" : want);
        free(want);
    }
    check(&m,
          "SELECT count(*), min(n), max(n) FROM (SELECT instrument_id, count(*) AS n FROM ticks "
          "GROUP BY ALL)",
          "50|24591|24592\n");
    /* Rows without ORDER BY come in seq order. */
    check(&m,
          "SELECT count(*) FROM (SELECT seq, lag(seq) OVER () AS before FROM ticks) "
          "WHERE seq <> before + 1",
          "0\n");
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_error error;
    uint64_t next = 1;
    assert_int_equal(run(&m, "SELECT seq FROM ticks", TICKS - 5, NULL, &stream, &error), TAPE_OK);
    while (stream.get_next(&stream, &array) == 0 && array.release != NULL) {
        const uint64_t *seqs = array.children[0]->buffers[1];
        for (int64_t n = 0; n < array.length; n++) {
            assert_true(seqs[n] == next);
            next++;
        }
        array.release(&array);
    }
    assert_int_equal(next, TICKS - 5 + 1);
    stream.release(&stream);
    close_market(&m);
}

#define ACCOUNTS 20
#define ROUNDS 30000

static void write_transfers(void *argument) {
    market *m = argument;
    double balance[ACCOUNTS] = {0};
    uint64_t random = 5;
    for (int n = 0; n < ROUNDS; n++) {
        uint64_t from = testing_random(&random) % ACCOUNTS;
        const uint64_t who[2] = {from,
                                 (from + 1 + testing_random(&random) % (ACCOUNTS - 1)) % ACCOUNTS};
        double amount = (double)(testing_random(&random) % 100);
        balance[who[0]] -= amount;
        balance[who[1]] += amount;
        for (int p = 0; p < 2; p++) {
            tape_account account = {.balance = balance[who[p]]};
            (void)snprintf(account.user_id, sizeof account.user_id, "user%02llu",
                           (unsigned long long)who[p]);
            testing_add(m->columns, TAPE_TABLE_ACCOUNTS, &account, n, p == 0);
        }
    }
}

typedef struct asker {
    market *market;
    unsigned wrong;
    unsigned asked;
} asker;

/* Money is conserved at every seq, now and when asked again later. */
static void ask_transfers(void *argument) {
    asker *a = argument;
    uint64_t first = 0;
    for (uint64_t seq = 0; seq < 2 * ROUNDS; a->asked++) {
        seq = columns_seq(a->market->columns);
        first = first == 0 ? seq : first;
        const uint64_t at[] = {seq, first};
        for (size_t n = 0; n < COUNT_OF(at); n++) {
            struct ArrowArrayStream stream;
            tape_error error;
            if (run(a->market,
                    "SELECT coalesce(sum(balance), 0), (SELECT count(*) FROM accounts_history), "
                    "(SELECT coalesce(max(seq), 0) FROM accounts) FROM accounts",
                    at[n], NULL, &stream, &error) != TAPE_OK) {
                a->wrong++;
                continue;
            }
            char *want =
                mem_printf("0|%llu|%llu\n", (unsigned long long)at[n], (unsigned long long)at[n]);
            char *got = testing_text(&stream, NULL);
            a->wrong += strcmp(got, want) != 0;
            free(got);
            free(want);
        }
    }
}

static void query_snapshots_hold_while_the_writer_goes_on(void **state) {
    (void)state;
    market m = open_market();
    asker askers[2] = {{.market = &m}, {.market = &m}};
    os_thread *threads[3];
    tape_error error;
    assert_int_equal(os_thread_start(&threads[0], "writer", -1, write_transfers, &m, &error),
                     TAPE_OK);
    for (size_t n = 0; n < 2; n++) {
        assert_int_equal(
            os_thread_start(&threads[n + 1], "asker", -1, ask_transfers, &askers[n], &error),
            TAPE_OK);
    }
    for (size_t n = 0; n < COUNT_OF(threads); n++) {
        os_thread_join(&threads[n]);
    }
    for (size_t n = 0; n < COUNT_OF(askers); n++) {
        assert_int_equal(askers[n].wrong, 0);
        assert_true(askers[n].asked > 0);
    }
    close_market(&m);
}

static void query_open_streams_do_not_see_later_rows(void **state) {
    (void)state;
    market m = open_market();
    fill_market(&m);
    struct ArrowArrayStream streams[3];
    tape_error error;
    const char *sql = "SELECT count(*) FROM trades, range(1) UNION ALL SELECT count(*) FROM orders";
    for (size_t n = 0; n < COUNT_OF(streams); n++) {
        assert_int_equal(run(&m, sql, 2 + 2 * n, NULL, &streams[n], &error), TAPE_OK);
    }
    for (int n = 0; n < 5000; n++) {
        add_trade(&m, "x", "u1", "IF2601", TAPE_SIDE_BUY, 1, 1, T0);
        add_order(&m, "o3", n, TAPE_ORDER_STATUS_PARTIAL);
    }
    const char *const want[] = {"2\n0\n", "3\n1\n", "3\n2\n"};
    for (size_t n = COUNT_OF(streams); n-- > 0;) {
        char *text = testing_text(&streams[n], NULL);
        assert_string_equal(text, want[n]);
        free(text);
    }
    close_market(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_answers_as_computed_by_hand),
        cmocka_unit_test(query_gives_tables_their_documented_types),
        cmocka_unit_test(query_entities_show_the_newest_and_history_every_version),
        cmocka_unit_test(query_compares_ts_with_now),
        cmocka_unit_test(query_macros_give_their_answers),
        cmocka_unit_test(query_names_what_is_wrong_in_one_line),
        cmocka_unit_test(query_errors_of_running_statements_come_from_the_stream),
        cmocka_unit_test(query_refuses_every_statement_that_is_not_a_plain_read),
        cmocka_unit_test(query_lets_reading_statements_in),
        cmocka_unit_test(query_survives_statements_of_absurd_size_and_shape),
        cmocka_unit_test(query_stops_at_its_deadline),
        cmocka_unit_test(query_stops_when_its_caller_says_so),
        cmocka_unit_test(query_stops_a_stream_when_its_caller_says_so),
        cmocka_unit_test(query_streams_can_be_left_unread),
        cmocka_unit_test(query_memory_is_bounded_and_spills),
        cmocka_unit_test(query_scans_each_row_once_whatever_the_threads),
        cmocka_unit_test(query_snapshots_hold_while_the_writer_goes_on),
        cmocka_unit_test(query_open_streams_do_not_see_later_rows),
    };
    return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
