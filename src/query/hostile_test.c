/* Hostile statements: what must be refused, and what must stay bounded. */
#include "query/testing.h"

#include "os/os.h"

#include <errno.h>

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
    market m = market_open();
    market_fill(&m);
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
        if (market_run(&m, (const char *)sql.data, 12, NULL, &stream, &error) != TAPE_FORBIDDEN) {
            fail_msg("let in, or refused otherwise: %s", (const char *)sql.data);
        }
        assert_null(strchr(error.text, '\n'));
        buffer_deinit(&sql);
    }
    os_remove(os_disk_linux(), secret, NULL) == TAPE_OK ? (void)0 : fail();
    free(secret);
    /* All is as it was; the directory's removal tells that nothing was written. */
    market_check(&m, "SELECT count(*), max(price) FROM trades", "3|3950.5\n");
    market_check(&m, "SELECT typeof(now())", "TIMESTAMP\n");
    market_close(&m);
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
    market m = market_open();
    market_fill(&m);
    for (size_t n = 0; n < COUNT_OF(allowed); n++) {
        free(market_answer_at(&m, allowed[n], 12));
    }
    market_close(&m);
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

/* What comes to much though it is short: `step`, with # for the one before, over and over. */
static char *doubled(const char *first, const char *step, int times, const char *last) {
    buffer b = {0};
    buffer_printf(&b, "WITH c0 AS (%s)", first);
    for (int n = 1; n <= times; n++) {
        buffer_printf(&b, ", c%d AS (", n);
        for (const char *c = step; *c != '\0'; c++) {
            if (*c == '#') {
                buffer_printf(&b, "c%d", n - 1);
            } else {
                buffer_append(&b, c, 1);
            }
        }
        buffer_append_text(&b, ")");
    }
    buffer_printf(&b, " SELECT %s FROM c%d", last, times);
    buffer_append(&b, "", 1);
    return (char *)b.data;
}

static void query_refuses_what_grows_without_bound(void **state) {
    (void)state;
    market m = market_open();
    char *const cases[] = {
        doubled("SELECT 1 AS x", "SELECT * FROM # a, # b", 30, "count(*)"),
        doubled("SELECT price AS x FROM trades", "SELECT x FROM # UNION ALL SELECT x FROM #", 30,
                "count(*)"),
        doubled("SELECT 1 AS x", "SELECT *, *, *, *, *, *, *, * FROM #", 12, "*"),
        doubled("SELECT 1 AS x", "SELECT {'a': x, 'b': x} AS x FROM #", 30, "*"),
        doubled("SELECT 1 AS x", "SELECT row(x, x) AS x FROM #", 30, "*"),
        doubled("SELECT 1 AS x", "SELECT (SELECT count(*) FROM # a, # b) AS x FROM #", 20, "*"),
    };
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        struct ArrowArrayStream stream;
        tape_error error;
        tape_status status = market_run(&m, cases[n], 0, NULL, &stream, &error);
        if (status != TAPE_TOO_LARGE) {
            fail_msg("case %zu: %s", n, tape_status_name(status));
        }
        free(cases[n]);
    }
    /* Of a size people write. */
    char *fine = doubled("SELECT 1 AS x", "SELECT a.x + b.x AS x FROM # a, # b", 10, "x");
    market_check(&m, fine, "1024\n");
    free(fine);
    market_close(&m);
}

/* Functions whose results have any size, or take as long as the product of their arguments. */
static void query_bounds_functions(void **state) {
    (void)state;
    static const char *const large[] = {
        "SELECT length(repeat('x', 3000000000))",
        "SELECT length(main.repeat('x', 3000000000))",
        "SELECT repeat([1, 2], 2000000000)",
        "SELECT max(length(repeat('x', 100000000 + i))) FROM range(1000) t(i)",
        "SELECT len(range(2000000000))",
        "SELECT len(range(0, 2000000000))",
        "SELECT len(range(2000000000, 0, -1))",
        "SELECT len(generate_series(1, 2000000000))",
        "SELECT len(range(TIMESTAMP '1900-01-01', TIMESTAMP '2100-01-01', INTERVAL 1 SECOND))",
        "SELECT unnest(range(1000000000))",
        "SELECT len(list_resize([1], 2000000000))",
        "SELECT len(array_resize([1], 2000000000, 0))",
        "SELECT length(lpad('', 2000000000, 'x'))",
        "SELECT length(rpad('', 2000000000, 'x'))",
        "SELECT bit_count(bitstring('1', 2000000000))",
        "SELECT to_base(1, 2, 2000000000)",
        "SELECT bar(1, 0, 2, 2000000000)",
        "SELECT levenshtein(repeat('a', 900000), repeat('b', 900000))",
        "SELECT damerau_levenshtein(repeat('a', 900000), 'b')",
        "SELECT jaro_winkler_similarity(repeat('a', 900000), repeat('b', 900000))",
    };
    market m = market_open();
    for (size_t n = 0; n < COUNT_OF(large); n++) {
        struct ArrowArrayStream stream;
        tape_error error;
        tape_status status = market_run(&m, large[n], 0, NULL, &stream, &error);
        if (status == TAPE_OK) {
            int failed;
            free(testing_text(&stream, &failed));
            assert_int_equal(failed, EIO);
        } else if (status != TAPE_SQL) {
            fail_msg("%s: %s", large[n], error.text);
        }
    }
    market_check(&m,
                 "SELECT repeat('ab', 3), repeat(NULL, 2), len(repeat([1], 4)), lpad('a', 3, '-'), "
                 "rpad('a', 3, '-')",
                 "ababab|NULL|4|--a|a--\n");
    market_check(&m,
                 "SELECT len(range(3)), len(range(1, 3)), len(range(5, 1, -2)), "
                 "len(generate_series(1, 3)), len(range(TIMESTAMP '2024-01-01', "
                 "TIMESTAMP '2024-01-02', INTERVAL 1 HOUR))",
                 "3|2|2|3|24\n");
    market_check(&m, "SELECT count(*) FROM range(3000000)", "3000000\n");
    market_check(&m, "SELECT len(list_resize([1], 3)), levenshtein('abc', 'abd')", "3|1\n");
    market_check(&m, "SELECT printf('%05d|%s', 7, 'x'), format('{:>4}|{}', 7, 'x')",
                 "00007|x|   7|x\n");
    market_close(&m);
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
        {"SELECT 1", " INTERSECT SELECT 1", 20000, "", TAPE_TOO_LARGE},
        {"SELECT 1", " UNION SELECT 1", 60000, "", TAPE_TOO_LARGE},
        {"SELECT 1 FROM trades WHERE price > 1", " AND price > 2", 70000, "", TAPE_TOO_LARGE},
        {"SELECT 1 FROM trades WHERE price > 1", " OR price > 2", 15000, "", TAPE_TOO_LARGE},
        {"SELECT CASE", " WHEN 1 = 2 THEN 3", 30000, " END", TAPE_TOO_LARGE},
        {"SELECT 1", ", (SELECT max(price) FROM trades)", 3000, "", TAPE_TOO_LARGE},
        {"SELECT *", ", *", 20000, " FROM trades", TAPE_TOO_LARGE},
        {"SELECT * FROM trades ORDER BY price", ", price", 20000, "", TAPE_TOO_LARGE},
        {"SELECT 1 FROM trades", ", trades", 2000, "", TAPE_SQL},
        {"VALUES (1)", ", (1)", 250000, "", TAPE_TOO_LARGE},
        {"SELECT 1", " UNION ALL SELECT 1", 2000, "", TAPE_OK},
        {"SELECT * FROM ", "(SELECT * FROM ", 0, "trades", TAPE_OK},
        {"", "EXPLAIN ", 1000, "SELECT 1", TAPE_SQL},
        {"", "/*", 100000, "SELECT 1", TAPE_SQL},
        {"SELECT 1 IN (0", ",1", 100000, ")", TAPE_OK},
        {"SELECT \"", "x", 100000, "\"", TAPE_SQL},
        {"", "\xff\xfe", 100, "", TAPE_SQL},
    };
    market m = market_open();
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        char *sql = repeated(cases[n].head, cases[n].part, cases[n].times, cases[n].tail);
        struct ArrowArrayStream stream;
        tape_error error = {0};
        tape_status status = market_run(&m, sql, 0, NULL, &stream, &error);
        if (status == TAPE_OK) {
            free(testing_text(&stream, NULL));
        }
        if (status != cases[n].status) {
            fail_msg("case %zu: %s %s", n, tape_status_name(status), error.text);
        }
        free(sql);
    }
    market_check(&m, "SELECT 1", "1\n");
    market_close(&m);
}

/* Whatever a statement tries, the next one sees the same store. */
static void query_keeps_its_settings(void **state) {
    (void)state;
    market m = market_open();
    market_fill(&m);
    market_check(
        &m,
        "SELECT value FROM duckdb_settings() WHERE name IN ('enable_external_access', "
        "'lock_configuration', 'autoload_known_extensions', 'autoinstall_known_extensions') "
        "ORDER BY name",
        "false\nfalse\nfalse\ntrue\n");
    /* Harmless: it says where the rows are. */
    market_check(&m, "SELECT getvariable('tape_trades')",
                 "SELECT * FROM tape_scan('trades', 'all')\n");
    market_check(&m, "SELECT getvariable('nothing') IS NULL", "true\n");
    market_check(&m, "SELECT count(*) FROM trades", "3\n");
    market_close(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_refuses_every_statement_that_is_not_a_plain_read),
        cmocka_unit_test(query_lets_reading_statements_in),
        cmocka_unit_test(query_survives_statements_of_absurd_size_and_shape),
        cmocka_unit_test(query_refuses_what_grows_without_bound),
        cmocka_unit_test(query_bounds_functions),
        cmocka_unit_test(query_keeps_its_settings),
    };
    return cmocka_run_group_tests_name("query_hostile", tests, NULL, NULL);
}
