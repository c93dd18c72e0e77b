/* Parquet out: what goes in comes back, whole or not at all. */
#include "query/query.h"
#include "query/testing.h"

#include "os/os.h"

#include <errno.h>
#include <zlib.h>

#define ROWS 250000u

static columns *fill(void) {
    columns *c;
    tape_error error;
    assert_int_equal(columns_create(&c, &(columns_options){.bytes_max = GIB(1)}, &error), TAPE_OK);
    for (uint64_t n = 1; n <= ROWS; n++) {
        tape_trade t = {.side = (uint8_t)(n % 3), .price = (double)n / 8, .volume = (double)n};
        (void)snprintf(t.trade_id, sizeof t.trade_id, "trade-%030llu", (unsigned long long)n);
        (void)snprintf(t.instrument_id, sizeof t.instrument_id, "I%llu",
                       (unsigned long long)(n % 7));
        testing_add(c, TAPE_TABLE_TRADES, &t, (int64_t)n * 1000003, false);
    }
    for (uint64_t n = 1; n <= 3000; n++) {
        tape_depth d = {.bid_price = {(double)n, 2}, .ask_volume = {[9] = (double)n}};
        testing_add(c, TAPE_TABLE_DEPTH, &d, (int64_t)n, false);
    }
    return c;
}

static query *open_query(columns *c) {
    query *q;
    tape_error error;
    const query_options options = {.columns = c, .memory_bytes = MIB(512), .threads = 2};
    assert_int_equal(query_open(&q, &options, &error), TAPE_OK);
    return q;
}

static tape_status write_answer(query *q, uint64_t seq, const char *sql, const char *path,
                                uint64_t *rows, tape_error *error) {
    struct ArrowArrayStream stream;
    const tape_query_options options = {.timeout_ns = -1};
    assert_int_equal(query_run(q, sql, seq, &options, &stream, error), TAPE_OK);
    tape_status status = tape_write_parquet(&stream, path, rows, error);
    assert_null(stream.release);
    return status;
}

static size_t import_all(uint16_t table, const char *path, uint8_t *out, size_t max) {
    tape_import *import;
    tape_import_options options;
    tape_error error;
    size_t size = record_table(table)->size_bytes;
    size_t total = 0;
    tape_import_options_init(&options);
    options.table = table;
    options.paths = &path;
    options.path_count = 1;
    if (tape_import_open(&options, &import, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    for (;;) {
        const void *records;
        size_t count;
        uint64_t first;
        tape_import_reject reject;
        assert_int_equal(tape_import_next(import, 1000, &records, &count, &first, &reject, &error),
                         TAPE_OK);
        assert_int_equal(reject.row, 0);
        if (count == 0) {
            break;
        }
        assert_int_equal(first, total + 1);
        for (size_t n = 0; n < count && total + n < max; n++) {
            memcpy(out + (total + n) * size, (const uint8_t *)records + n * size, size);
        }
        total += count;
    }
    assert_true(tape_import_progress(import) == 1);
    tape_import_close(&import);
    return total;
}

static void parquet_gives_back_what_was_written(void **state) {
    (void)state;
    char *dir = testing_dir();
    char *path = testing_path(dir, "it's.parquet");
    columns *c = fill();
    query *q = open_query(c);
    tape_error error;
    uint64_t rows = 0;
    if (write_answer(q, columns_seq(c), "SELECT * EXCLUDE (seq) FROM trades", path, &rows,
                     &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(rows, ROWS);
    tape_trade *trades = mem_alloc(ROWS * sizeof *trades);
    assert_int_equal(import_all(TAPE_TABLE_TRADES, path, (uint8_t *)trades, ROWS), ROWS);
    for (uint64_t n = 1; n <= ROWS; n++) {
        const tape_trade *t = &trades[n - 1];
        char id[41];
        (void)snprintf(id, sizeof id, "trade-%030llu", (unsigned long long)n);
        assert_true(t->ts == (int64_t)n * 1000003 && t->price == (double)n / 8 &&
                    t->side == n % 3 && strcmp(t->trade_id, id) == 0);
    }
    free(trades);
    size_t size;
    char *bytes = testing_read(path, &size);
    assert_memory_equal(bytes, "PAR1", 4);
    char *packed = testing_path(dir, "a.parquet.gz");
    testing_write_gzip(packed, bytes, size);
    assert_int_equal(import_all(TAPE_TABLE_TRADES, packed, NULL, 0), ROWS);
    free(packed);
    packed = testing_path(dir, "a.parquet.zst");
    testing_write_zstd(packed, bytes, size);
    assert_int_equal(import_all(TAPE_TABLE_TRADES, packed, NULL, 0), ROWS);
    free(packed);
    free(bytes);
    free(path);
    query_close(&q);
    columns_close(&c);
    testing_dir_remove(dir);
}

static void parquet_holds_arrays_nulls_and_no_rows(void **state) {
    (void)state;
    char *dir = testing_dir();
    char *path = testing_path(dir, "a.parquet");
    columns *c = fill();
    query *q = open_query(c);
    tape_error error;
    uint64_t rows = 7;
    assert_int_equal(
        write_answer(q, columns_seq(c), "SELECT * EXCLUDE (seq) FROM depth", path, &rows, &error),
        TAPE_OK);
    assert_int_equal(rows, 3000);
    tape_depth *depth = mem_alloc(3000 * sizeof *depth);
    assert_int_equal(import_all(TAPE_TABLE_DEPTH, path, (uint8_t *)depth, 3000), 3000);
    assert_true(depth[2999].bid_price[0] == 3000 && depth[2999].bid_price[1] == 2 &&
                depth[2999].ask_volume[9] == 3000 && depth[2999].instrument_id[0] == 0);
    free(depth);
    /* The same name again: the new file replaces the old one. */
    assert_int_equal(write_answer(q, 0, "SELECT * EXCLUDE (seq) FROM trades", path, &rows, &error),
                     TAPE_OK);
    assert_int_equal(rows, 0);
    assert_int_equal(import_all(TAPE_TABLE_TRADES, path, NULL, 0), 0);
    assert_int_equal(
        write_answer(q, 0,
                     "SELECT sum(i) AS a, NULL AS b, 1 AS c, 2 AS c, INTERVAL 1 DAY AS d, "
                     "[1] AS e FROM range(5) t(i)",
                     path, NULL, &error),
        TAPE_OK);
    free(path);
    query_close(&q);
    columns_close(&c);
    testing_dir_remove(dir);
}

static void parquet_leaves_nothing_behind_when_it_fails(void **state) {
    (void)state;
    char *dir = testing_dir();
    char *path = testing_path(dir, "a.parquet");
    char *nowhere = testing_path(dir, "no/such/dir.parquet");
    columns *c = fill();
    query *q = open_query(c);
    tape_error error;
    uint64_t rows = 7;
    testing_write(path, "old", 3);
    const char *failing = "SELECT CASE WHEN i = 500000 THEN error('stop here') ELSE i END AS i "
                          "FROM range(1000000) t(i)";
    assert_int_equal(write_answer(q, 0, failing, path, &rows, &error), TAPE_SQL);
    assert_non_null(strstr(error.text, "stop here"));
    assert_null(strstr(error.text, "arrow"));
    assert_int_equal(rows, 7);
    size_t size;
    char *bytes = testing_read(path, &size);
    assert_string_equal(bytes, "old");
    free(bytes);
    assert_int_equal(write_answer(q, 0, "SELECT 1 AS a", nowhere, &rows, &error), TAPE_NOT_FOUND);
    assert_int_equal(os_remove(os_disk_linux(), path, &error), TAPE_OK);
    free(path);
    free(nowhere);
    query_close(&q);
    columns_close(&c);
    /* Removal of the directory's files and the directory tells that there is nothing else. */
    assert_int_equal(os_dir_remove(os_disk_linux(), dir, &error), TAPE_OK);
    free(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parquet_gives_back_what_was_written),
        cmocka_unit_test(parquet_holds_arrays_nulls_and_no_rows),
        cmocka_unit_test(parquet_leaves_nothing_behind_when_it_fails),
    };
    return cmocka_run_group_tests_name("parquet", tests, NULL, NULL);
}
