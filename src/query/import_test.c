/* Import: every kind of file, every way to be wrong. */
#include "query/import_internal.h"
#include "query/testing.h"

#define ROWS_MAX 4096u

/* Everything an import gave: records one after another, and the refused rows. */
typedef struct taken {
    uint16_t table;
    buffer records;
    size_t count;
    uint64_t rows[ROWS_MAX]; /* number of the row, of the first ROWS_MAX records */
    tape_import_reject rejects[64];
    char *lines[64];
    char *headers[64];
    size_t reject_count;
    tape_status status;
    tape_error error;
} taken;

static const void *record_at(const taken *t, size_t index) {
    return t->records.data + index * record_table(t->table)->size_bytes;
}

static void take_rejects(taken *t, const tape_import_reject *reject) {
    assert_true(t->reject_count < COUNT_OF(t->rejects));
    t->rejects[t->reject_count] = *reject;
    t->lines[t->reject_count] = mem_strdup(reject->line);
    t->headers[t->reject_count] = mem_strdup(reject->header);
    t->reject_count++;
}

static void take_all(taken *t, tape_import *import, size_t max) {
    size_t size = record_table(t->table)->size_bytes;
    for (;;) {
        const void *records;
        size_t count;
        uint64_t first;
        tape_import_reject reject;
        t->status = tape_import_next(import, max, &records, &count, &first, &reject, &t->error);
        if (t->status != TAPE_OK || (count == 0 && reject.row == 0)) {
            return;
        }
        assert_true(count <= max);
        if (count == 0) {
            take_rejects(t, &reject);
        }
        for (size_t n = 0; n < count; n++) {
            if (t->count + n < ROWS_MAX) {
                t->rows[t->count + n] = first + n;
            }
        }
        buffer_append(&t->records, records, count * size);
        t->count += count;
    }
}

static taken *import_files(uint16_t table, const char *select, uint64_t skip,
                           const char *const *paths, size_t path_count, size_t max) {
    taken *t = mem_zalloc(sizeof *t);
    tape_import *import;
    tape_import_options options;
    tape_import_options_init(&options);
    options.table = table;
    options.select = select;
    options.skip = skip;
    options.paths = paths;
    options.path_count = path_count;
    t->table = table;
    t->status = tape_import_open(&options, &import, &t->error);
    if (t->status == TAPE_OK) {
        take_all(t, import, max);
        assert_true(t->status != TAPE_OK || tape_import_progress(import) == 1);
        tape_import_close(&import);
    }
    assert_null(import);
    assert_true(t->status == TAPE_OK || strchr(t->error.text, '\n') == NULL);
    return t;
}

static taken *import_one(uint16_t table, const char *select, const char *path) {
    return import_files(table, select, 0, &path, 1, 1000);
}

static void taken_free(taken *t) {
    for (size_t n = 0; n < t->reject_count; n++) {
        free(t->lines[n]);
        free(t->headers[n]);
    }
    buffer_deinit(&t->records);
    free(t);
}

/* What the import of a file with this content gives. */
static taken *import_text(uint16_t table, const char *select, const char *name, const char *text) {
    char *dir = testing_dir();
    char *path = testing_path(dir, name);
    testing_write(path, text, strlen(text));
    taken *t = import_one(table, select, path);
    free(path);
    testing_dir_remove(dir);
    return t;
}

static taken *import_good(uint16_t table, const char *select, const char *name, const char *text) {
    taken *t = import_text(table, select, name, text);
    if (t->status != TAPE_OK || t->reject_count > 0) {
        fail_msg("%s: %s%s", text, t->error.text, t->reject_count > 0 ? t->rejects[0].reason : "");
    }
    return t;
}

#define HEAD "trade_id,instrument_id,side,price,volume\n"

/* --- CSV --- */

static void import_csv_reads_rows_as_they_are(void **state) {
    (void)state;
    taken *t = import_good(TAPE_TABLE_TRADES, NULL, "a.csv",
                           "\xef\xbb\xbf"
                           "ts,trade_id,price,side,position_effect\r\n"
                           "2024-08-08T23:54:15.342Z,t1,61837.63,sell,close_today\r\n"
                           "\r\n"
                           "1723161255342000001,\"t,2\",,,\n"
                           "2024-08-08 23:54:15,\"say \"\"x\"\"\",\"1e-5\",buy,\"\"\n"
                           "   \n"
                           ",5\" pipe,-0.1,,none");
    const tape_trade *r = record_at(t, 0);
    assert_int_equal(t->count, 4);
    assert_true(r[0].ts == INT64_C(1723161255342000000) && r[0].price == 61837.63);
    assert_string_equal(r[0].trade_id, "t1");
    assert_int_equal(r[0].side, TAPE_SIDE_SELL);
    assert_int_equal(r[0].position_effect, TAPE_POSITION_EFFECT_CLOSE_TODAY);
    assert_true(r[1].ts == INT64_C(1723161255342000001) && r[1].price == 0);
    assert_string_equal(r[1].trade_id, "t,2");
    assert_int_equal(r[1].side, TAPE_SIDE_ABSENT);
    assert_string_equal(r[2].trade_id, "say \"x\"");
    assert_true(r[2].price == 1e-5 && r[2].ts == INT64_C(1723161255000000000));
    assert_string_equal(r[3].trade_id, "5\" pipe");
    assert_true(r[3].price == -0.1 && r[3].ts == 0);
    assert_true(t->rows[0] == 1 && t->rows[3] == 4);
    taken_free(t);
}

static void import_csv_tells_every_bad_row(void **state) {
    (void)state;
    static const struct {
        const char *line, *column, *value, *reason;
    } cases[] = {
        {"b1,IF2601,sideways,1,1", "side", "sideways", "buy, sell"},
        {"b1,IF2601,Buy,1,1", "side", "Buy", "buy, sell"},
        {"b1,IF2601,buy,nan,1", "price", "nan", "finite"},
        {"b1,IF2601,buy,1,inf", "volume", "inf", "finite"},
        {"b1,IF2601,buy,1,1e999", "volume", "1e999", ""},
        {"b1,IF2601,buy,abc,1", "price", "abc", "number"},
        {"b1,IF2601,buy,1 ,1", "price", "1 ", "number"},
        {"b1,IF2601,buy,0x10,1", "price", "0x10", "number"},
        {"b1,IF2601,buy,\"1,5\",1", "price", "1,5", "number"},
        {",IF2601,buy,1,1", "trade_id", "", "empty"},
        {"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb,IF2601,buy,1,1", "trade_id",
         "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "41 bytes"},
        {"b1,IF2601IF2601IF260,buy,1,1", "instrument_id", "IF2601IF2601IF260", "17 bytes"},
        {"b\x01,IF2601,buy,1,1", "trade_id", "b\\x01", "control"},
        {"b\xff,IF2601,buy,1,1", "trade_id", "b\\xff", "UTF-8"},
        {"\"two\nlines\",IF2601,buy,1,1", "trade_id", "two\\x0alines", "control"},
        {"b1,IF2601,buy,1", "volume", "", "4 cells"},
        {"b1", "instrument_id", "", "1 cells"},
        {"b1,IF2601,buy,1,1,7", "volume", "7", "6 cells"},
        {"b1,IF2601,\"buy\"x,1,1", "side", "", "after a closing quote"},
    };
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        char *text =
            mem_printf(HEAD "g1,IF2601,buy,3900.2,1\n%s\ng2,IF2601,sell,1,2\n", cases[n].line);
        taken *t = import_text(TAPE_TABLE_TRADES, NULL, "bad.csv", text);
        const tape_import_reject *r = &t->rejects[0];
        if (t->status != TAPE_OK || t->count != 2 || t->reject_count != 1 || r->row != 2 ||
            t->rows[1] != 3 || strcmp(r->column, cases[n].column) != 0 ||
            strcmp(r->value, cases[n].value) != 0 || strstr(r->reason, cases[n].reason) == NULL ||
            strcmp(t->headers[0], "trade_id,instrument_id,side,price,volume") != 0) {
            fail_msg("%s: row %d %s = %s: %s", cases[n].line, (int)r->row, r->column, r->value,
                     r->reason);
        }
        taken_free(t);
        free(text);
    }
}

/* The refused rows, written as told with the columns that say why, give the same refusals again,
 * and load once they are mended. */
static void import_refused_rows_can_be_loaded_again(void **state) {
    (void)state;
    taken *t = import_text(TAPE_TABLE_TRADES, NULL, "bad.csv",
                           HEAD "\"a,1\",I,buy,x,1\nb,I\nc,I,\"buy\"x,1,1\n\"d\"\"1\",I,up,2,1\n"
                                "e,I,buy,1,\"2");
    assert_int_equal(t->reject_count, 5);
    buffer again = {0};
    buffer_printf(&again, "%s,rejected_row,rejected_reason\n", t->headers[0]);
    for (size_t n = 0; n < t->reject_count; n++) {
        buffer_printf(&again, "%s,%d,\"why, then\"\n", t->lines[n], (int)t->rejects[n].row);
    }
    buffer_append(&again, "", 1);
    taken *second = import_text(TAPE_TABLE_TRADES, NULL, "again.csv", (const char *)again.data);
    assert_int_equal(second->status, TAPE_OK);
    assert_int_equal(second->count, 0);
    assert_int_equal(second->reject_count, 5);
    assert_string_equal(second->rejects[0].column, "price");
    assert_string_equal(second->lines[0], "\"a,1\",I,buy,x,1");
    assert_string_equal(second->lines[3], "\"d\"\"1\",I,up,2,1");
    buffer_deinit(&again);
    taken_free(second);
    taken_free(t);
}

static void import_skip_leaves_rows_out_whatever_is_in_them(void **state) {
    (void)state;
    char *dir = testing_dir();
    char *path = testing_path(dir, "a.csv");
    const char *text =
        HEAD "bad,I,up,1,1\n\"open,I,buy\nx\",I,buy,1,1\ng3,I,buy,1,1\ng4,I,buy,1,1\n";
    testing_write(path, text, strlen(text));
    const char *const paths[] = {path, path};
    taken *t = import_files(TAPE_TABLE_TRADES, NULL, 2, paths, 2, 1);
    assert_int_equal(t->status, TAPE_OK);
    assert_int_equal(t->count, 4);
    assert_int_equal(t->reject_count, 2);
    const uint64_t want[] = {3, 4, 7, 8};
    assert_memory_equal(t->rows, want, sizeof want);
    assert_int_equal(t->rejects[0].row, 5);
    assert_int_equal(t->rejects[1].row, 6);
    taken_free(t);
    t = import_files(TAPE_TABLE_TRADES, NULL, 100, paths, 2, 10);
    assert_true(t->status == TAPE_OK && t->count == 0 && t->reject_count == 0);
    taken_free(t);
    free(path);
    testing_dir_remove(dir);
}

static void random_cell(uint64_t *random, char out[16]) {
    static const char alphabet[] = "ab,\"\" ;'x\xc3\xa9";
    size_t size = testing_random(random) % 10;
    size_t at = 0;
    for (size_t n = 0; n < size; n++) {
        char c = alphabet[testing_random(random) % (sizeof alphabet - 1)];
        if ((unsigned char)c >= 0x80) {
            out[at++] = '\xc3';
            c = '\xa9';
        }
        out[at++] = c;
        if (at > 12) {
            break;
        }
    }
    out[at] = '\0';
}

/* What is written as CSV is read as it was, whatever is in it. */
static void import_csv_undoes_quoting(void **state) {
    (void)state;
    uint64_t random = 11;
    char *dir = testing_dir();
    char *path = testing_path(dir, "a.csv");
    for (int round = 0; round < 50; round++) {
        char cells[200][2][16] = {0};
        buffer text = {0};
        buffer_append_text(&text, "instrument_id,trade_id\n");
        for (size_t n = 0; n < COUNT_OF(cells); n++) {
            random_cell(&random, cells[n][0]);
            random_cell(&random, cells[n][1]);
            cells[n][1][strlen(cells[n][1])] = 'k';
            cells[n][1][15] = '\0';
            csv_append(&text, true, cells[n][0], strlen(cells[n][0]));
            csv_append(&text, false, cells[n][1], strnlen(cells[n][1], 16));
            buffer_append_text(&text, testing_random(&random) % 2 == 0 ? "\n" : "\r\n");
        }
        testing_write(path, text.data, text.size);
        buffer_deinit(&text);
        taken *t = import_one(TAPE_TABLE_TRADES, NULL, path);
        if (t->reject_count > 0) {
            fail_msg("%s: %s", t->lines[0], t->rejects[0].reason);
        }
        assert_true(t->status == TAPE_OK && t->count == COUNT_OF(cells));
        for (size_t n = 0; n < COUNT_OF(cells); n++) {
            const tape_trade *r = record_at(t, n);
            assert_memory_equal(r->instrument_id, cells[n][0], strlen(cells[n][0]) + 1);
            assert_memory_equal(r->trade_id, cells[n][1], strnlen(cells[n][1], 16));
        }
        taken_free(t);
    }
    free(path);
    testing_dir_remove(dir);
}

static void import_survives_random_bytes(void **state) {
    (void)state;
    static const char alphabet[] = "ab,,\"\"\"\n\n\r\t \xff{}[]:0";
    uint64_t random = 12;
    char *dir = testing_dir();
    const char *const names[] = {"a.csv", "a.tsv", "a.jsonl", "a.csv.gz", "a.csv.zst"};
    for (int round = 0; round < 1000; round++) {
        char *path = testing_path(dir, names[testing_random(&random) % COUNT_OF(names)]);
        buffer text = {0};
        if (testing_random(&random) % 4 != 0) {
            buffer_append_text(&text, "trade_id,price\n");
        }
        size_t size = testing_random(&random) % 60;
        for (size_t n = 0; n < size; n++) {
            buffer_append(&text, &alphabet[testing_random(&random) % (sizeof alphabet - 1)], 1);
        }
        testing_write(path, text.size == 0 ? "" : (const char *)text.data, text.size);
        taken *t = import_one(TAPE_TABLE_TRADES, NULL, path);
        assert_true(t->status == TAPE_OK || t->status == TAPE_INVALID);
        taken_free(t);
        buffer_deinit(&text);
        free(path);
    }
    testing_dir_remove(dir);
}

/* --- packed files --- */

static buffer many_rows(size_t rows) {
    buffer text = {0};
    buffer_append_text(&text, "trade_id,price\n");
    for (size_t n = 1; n <= rows; n++) {
        buffer_printf(&text, "t%zu,%zu\n", n, n);
    }
    return text;
}

static void check_many(const taken *t, size_t rows) {
    if (t->status != TAPE_OK) {
        fail_msg("%s", t->error.text);
    }
    assert_int_equal(t->count, rows);
    for (size_t n = 0; n < rows; n++) {
        assert_true(((const tape_trade *)record_at(t, n))->price == (double)(n + 1));
    }
}

static void import_reads_packed_files_to_the_last_row(void **state) {
    (void)state;
    char *dir = testing_dir();
    buffer text = many_rows(100000);
    char *const paths[] = {testing_path(dir, "a.csv"), testing_path(dir, "a.csv.gz"),
                           testing_path(dir, "a.csv.zst"), testing_path(dir, "two.csv.gz")};
    testing_write(paths[0], text.data, text.size);
    testing_write_gzip(paths[1], text.data, text.size);
    testing_write_zstd(paths[2], text.data, text.size);
    /* Two gzip members, one after the other. */
    size_t half = text.size / 2;
    size_t size[2];
    char *part[2];
    char *scratch = testing_path(dir, "part");
    for (size_t n = 0; n < 2; n++) {
        testing_write_gzip(scratch, text.data + n * half, n == 0 ? half : text.size - half);
        part[n] = testing_read(scratch, &size[n]);
    }
    buffer both = {0};
    buffer_append(&both, part[0], size[0]);
    buffer_append(&both, part[1], size[1]);
    testing_write(paths[3], both.data, both.size);
    for (size_t n = 0; n < COUNT_OF(paths); n++) {
        taken *t = import_one(TAPE_TABLE_TRADES, NULL, paths[n]);
        check_many(t, 100000);
        taken_free(t);
        t = import_one(TAPE_TABLE_TRADES, "SELECT * FROM input", paths[n]);
        check_many(t, 100000);
        taken_free(t);
        free(paths[n]);
    }
    free(part[0]);
    free(part[1]);
    free(scratch);
    buffer_deinit(&both);
    buffer_deinit(&text);
    testing_dir_remove(dir);
}

static void import_refuses_packed_files_that_are_cut_or_damaged(void **state) {
    (void)state;
    char *dir = testing_dir();
    buffer text = many_rows(3000);
    for (int kind = 0; kind < 2; kind++) {
        char *path = testing_path(dir, kind == 0 ? "a.csv.gz" : "a.csv.zst");
        size_t size;
        if (kind == 0) {
            testing_write_gzip(path, text.data, text.size);
        } else {
            testing_write_zstd(path, text.data, text.size);
        }
        char *packed = testing_read(path, &size);
        for (size_t cut = 1; cut < size; cut += 1 + cut / 7) {
            testing_write(path, packed, size - cut);
            taken *t = import_one(TAPE_TABLE_TRADES, NULL, path);
            assert_int_equal(t->status, TAPE_INVALID);
            assert_non_null(strstr(t->error.text, "a.csv."));
            taken_free(t);
        }
        if (kind == 0) {
            for (size_t at = 10; at < size; at += 1 + at / 7) {
                packed[at] ^= 0x10;
                testing_write(path, packed, size);
                taken *t = import_one(TAPE_TABLE_TRADES, NULL, path);
                assert_int_equal(t->status, TAPE_INVALID);
                taken_free(t);
                packed[at] ^= 0x10;
            }
        }
        testing_write(path, packed, size - 5);
        taken *t = import_one(TAPE_TABLE_TRADES, "SELECT * FROM input", path);
        assert_int_equal(t->status, TAPE_INVALID);
        assert_int_equal(t->count, 0);
        taken_free(t);
        free(packed);
        free(path);
    }
    buffer_deinit(&text);
    testing_dir_remove(dir);
}

/* --- whole files that are wrong --- */

static const struct {
    const char *name, *text; /* text NULL: not made; "/": a directory */
    const char *select;
    tape_status status;
    const char *word;
} WRONG[] = {
    {"none.csv", NULL, NULL, TAPE_NOT_FOUND, "none.csv"},
    {"none.csv", NULL, "SELECT * FROM input", TAPE_NOT_FOUND, "none.csv"},
    {"dir.csv", "/", NULL, TAPE_INVALID, "directory"},
    {"data.txt", "x", NULL, TAPE_INVALID, ".csv"},
    {"csv", "x", NULL, TAPE_INVALID, ".csv"},
    {".csv", "", NULL, TAPE_INVALID, "empty"},
    {"a.csv", "", NULL, TAPE_INVALID, "empty"},
    {"a.csv", "\n\n", NULL, TAPE_INVALID, "empty"},
    {"a.csv", "trade_id,prise\n", NULL, TAPE_INVALID, "\"prise\""},
    {"a.csv", "trade_id,prise\n", NULL, TAPE_INVALID, "price, volume"},
    {"a.csv", "trade_id,Price\n", NULL, TAPE_INVALID, "\"Price\""},
    {"a.csv", "trade_id;price\n", NULL, TAPE_INVALID, "\"trade_id;price\""},
    {"a.csv", "trade_id,\n", NULL, TAPE_INVALID, "\"\""},
    {"a.csv", "seq,trade_id\n", NULL, TAPE_INVALID, "seq"},
    {"a.csv", "trade_id,price,trade_id\n", NULL, TAPE_INVALID, "twice"},
    {"a.csv", "price\n1\n", NULL, TAPE_INVALID, "trade_id"},
    {"a.csv", "\"trade_id,price\n", NULL, TAPE_INVALID, "quote"},
    {"a.csv", "\xff\xfet\0r", NULL, TAPE_INVALID, "column"},
    {"a.json", "[{\"trade_id\":\"a\"}]", NULL, TAPE_INVALID, "JSON array"},
    {"a.parquet", "trade_id\n", NULL, TAPE_INVALID, "a.parquet"},
    {"a.parquet", "", NULL, TAPE_INVALID, "a.parquet"},
    {"a.csv.gz", "trade_id\n", NULL, TAPE_INVALID, "gzip"},
    {"a.csv.zst", "trade_id\n", NULL, TAPE_INVALID, "zstd"},
    {"a.csv", "x\n1\n", "SELECT x FROM input", TAPE_INVALID, "\"x\""},
    {"a.csv", "x\n1\n", "SELECT 'a' AS trade_id, 1 AS seq FROM input", TAPE_INVALID, "seq"},
    {"a.csv", "x\n1\n", "SELECT 'a' AS trade_id, 1 AS price, 2 AS price FROM input", TAPE_INVALID,
     "twice"},
    {"a.csv", "x\n1\n", "SELECT 1 AS price FROM input", TAPE_INVALID, "trade_id"},
    {"a.csv", "x\n1\n", "SELECT 1.5::DOUBLE AS trade_id FROM input", TAPE_INVALID, "VARCHAR"},
    {"a.csv", "x\n1\n", "SELECT 'a' AS trade_id, 1.5 AS ts FROM input", TAPE_INVALID, "ts"},
    {"a.csv", "x\n1\n", "SELECT 'a' AS trade_id, [1] AS price FROM input", TAPE_INVALID, "number"},
    {"a.csv", "x\n1\n", "SELECT 'a' AS trade_id, 1.5 AS side FROM input", TAPE_INVALID, "text"},
    {"a.csv", "x\n1\n", "SELECT 'a' AS trade_id, true AS price FROM input", TAPE_INVALID,
     "BOOLEAN"},
    {"a.csv", "x\n1\n", "SELECT y FROM input", TAPE_SQL, "y"},
    {"a.csv", "x\n1\n", "SELEC x FROM input", TAPE_SQL, "SELEC"},
    {"a.csv", "x\n1\n", "SELECT x FROM input; SELECT 1", TAPE_INVALID, "one SELECT"},
    {"a.csv", "x\n1\n", "DROP VIEW input", TAPE_INVALID, "one SELECT"},
    {"a.csv", "x\n1\n", "COPY input TO '/tmp/evil.csv'", TAPE_INVALID, "one SELECT"},
    {"a.csv", "x\n1\n", "EXPLAIN SELECT x FROM input", TAPE_INVALID, "one SELECT"},
    {"a.csv", "x\n1\n", "SELECT * FROM read_csv('/etc/passwd')", TAPE_INVALID, "read_csv"},
    {"a.csv", "x\n1\n", "SELECT * FROM 'b.csv'", TAPE_INVALID, "b.csv"},
    {"a.csv", "x\n1\n", "", TAPE_SQL, "empty"},
};

static void import_names_what_is_wrong_with_a_file(void **state) {
    (void)state;
    for (size_t n = 0; n < COUNT_OF(WRONG); n++) {
        char *dir = testing_dir();
        char *path = testing_path(dir, WRONG[n].name);
        tape_error error;
        if (WRONG[n].text != NULL && strcmp(WRONG[n].text, "/") == 0) {
            assert_int_equal(os_dir_make(os_disk_linux(), path, &error), TAPE_OK);
        } else if (WRONG[n].text != NULL) {
            testing_write(path, WRONG[n].text, strlen(WRONG[n].text));
        }
        taken *t = import_one(TAPE_TABLE_TRADES, WRONG[n].select, path);
        if (t->status != WRONG[n].status || strstr(t->error.text, WRONG[n].word) == NULL) {
            fail_msg("%s \"%s\" %s: %s %s", WRONG[n].name, WRONG[n].text, WRONG[n].select,
                     tape_status_name(t->status), t->error.text);
        }
        taken_free(t);
        free(path);
        testing_dir_remove(dir);
    }
}

static void import_reads_files_of_no_rows_and_odd_names(void **state) {
    (void)state;
    static const char *const names[] = {"a.csv", "A.CSV", "it's [1] * ?.csv", "\xc3\xa9 %s;.csv"};
    for (size_t n = 0; n < COUNT_OF(names); n++) {
        taken *t = import_good(TAPE_TABLE_TRADES, NULL, names[n], "trade_id,price\n");
        assert_int_equal(t->count, 0);
        taken_free(t);
        t = import_good(TAPE_TABLE_TRADES, NULL, names[n], "trade_id,price\nt1,5\n");
        assert_int_equal(t->count, 1);
        taken_free(t);
        t = import_good(TAPE_TABLE_TRADES, "SELECT 't' || n AS trade_id FROM input", names[n],
                        "n\n1\n2\n");
        assert_int_equal(t->count, 2);
        taken_free(t);
    }
    taken *t = import_good(TAPE_TABLE_TRADES, NULL, "a.jsonl", "");
    assert_int_equal(t->count, 0);
    taken_free(t);
}

static void import_bounds_rows(void **state) {
    (void)state;
    char *dir = testing_dir();
    char *path = testing_path(dir, "a.csv");
    buffer text = {0};
    buffer_append_text(&text, "trade_id,price\n\"never closed,1\n");
    for (int n = 0; n < 400000; n++) {
        buffer_append_text(&text, "t,1\n");
    }
    testing_write(path, text.data, text.size);
    taken *t = import_one(TAPE_TABLE_TRADES, NULL, path);
    assert_int_equal(t->status, TAPE_INVALID);
    assert_non_null(strstr(t->error.text, "quote"));
    taken_free(t);
    buffer_deinit(&text);
    free(path);
    testing_dir_remove(dir);
}

/* --- JSON lines --- */

static void random_record(uint64_t *random, const tape_table_info *table, void *out) {
    record_defaults(table, out);
    for (uint32_t f = 1; f < table->field_count; f++) {
        const tape_field_info *field = &table->fields[f];
        uint8_t *to = (uint8_t *)out + field->offset;
        uint64_t value = testing_random(random);
        for (uint32_t n = 0; n < field->count; n++) {
            double number = (double)(int64_t)(value >> (n * 3 % 40)) / 1024;
            int64_t time = (int64_t)(value >> 2);
            if (field->kind == TAPE_FIELD_F64) {
                memcpy(to + n * sizeof number, &number, sizeof number);
            } else if (field->kind == TAPE_FIELD_TIME) {
                memcpy(to, &time, sizeof time);
            } else if (field->kind == TAPE_FIELD_ENUM) {
                *to = (uint8_t)(value % field->enum_count);
            } else {
                (void)snprintf((char *)to, field->size_bytes, "%x\"%x", (unsigned)(value >> 40),
                               (unsigned)(value & 0xfff));
            }
        }
    }
}

static void import_json_lines_reads_what_record_writes(void **state) {
    (void)state;
    uint64_t random = 13;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        _Alignas(8) uint8_t records[100][TAPE_RECORD_BYTES_MAX];
        buffer text = {0};
        for (size_t n = 0; n < COUNT_OF(records); n++) {
            buffer json = {0};
            random_record(&random, table, records[n]);
            record_to_json(table, table->version, records[n], true, &json);
            buffer_append(&json, "", 1);
            /* seq, which comes first, is not for the importer to take. */
            const char *rest = strchr((const char *)json.data, ',');
            buffer_printf(&text, "{%s\n%s", rest + 1, n % 7 == 0 ? "\n" : "");
            buffer_deinit(&json);
        }
        buffer_append(&text, "", 1);
        taken *t = import_good(id, NULL, "a.jsonl", (const char *)text.data);
        assert_int_equal(t->count, COUNT_OF(records));
        for (size_t n = 0; n < COUNT_OF(records); n++) {
            assert_memory_equal(record_at(t, n), records[n], table->size_bytes);
        }
        taken_free(t);
        buffer_deinit(&text);
    }
}

static void import_json_lines_tells_every_bad_row(void **state) {
    (void)state;
    static const struct {
        const char *line, *column, *reason;
    } cases[] = {
        {"{\"trade_id\":\"b\",\"price\":\"x\"}", "price", "number"},
        {"{\"trade_id\":\"b\",\"side\":\"up\"}", "side", "buy, sell"},
        {"{\"trade_id\":5}", "trade_id", "string"},
        {"{\"trade_id\":\"b\",\"foo\":1}", "", "foo"},
        {"{\"trade_id\":\"b\"", "trade_id", "JSON"},
        {"{}", "trade_id", "empty"},
        {"[]", "", "JSON"},
        {"null", "", "JSON"},
        {"{\"trade_id\":\"b\",\"seq\":7}", "seq", "tape gives it"},
        {"{\"trade_id\":\"b\",\"table\":\"orders\"}", "", "table"},
    };
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        char *text = mem_printf("{\"trade_id\":\"g1\"}\n%s\n{\"trade_id\":\"g2\"}", cases[n].line);
        taken *t = import_text(TAPE_TABLE_TRADES, NULL, "a.ndjson", text);
        if (t->status != TAPE_OK || t->count != 2 || t->reject_count != 1 ||
            t->rejects[0].row != 2 || strcmp(t->rejects[0].column, cases[n].column) != 0 ||
            strstr(t->rejects[0].reason, cases[n].reason) == NULL) {
            fail_msg("%s: %s: %s", cases[n].line, t->rejects[0].column, t->rejects[0].reason);
        }
        assert_string_equal(t->headers[0], "json");
        taken_free(t);
        free(text);
    }
}

/* --- select --- */

static void import_select_converts_every_type(void **state) {
    (void)state;
    static const struct {
        const char *ts, *price;
        int64_t want_ts;
        double want_price;
    } cases[] = {
        {"NULL", "NULL", 0, 0},
        {"1723161255342000001", "7::TINYINT", INT64_C(1723161255342000001), 7},
        {"5::UTINYINT", "-7::SMALLINT", 5, -7},
        {"5::HUGEINT", "170141183460469231731687303715884105727::HUGEINT", 5, 0x1p127},
        {"5::UHUGEINT", "340282366920938463463374607431768211455::UHUGEINT", 5, 0x1p128},
        {"(-5)::BIGINT", "18446744073709551615::UBIGINT", -5, 0x1p64},
        {"0", "0.1::DECIMAL(4,1)", 0, 0.1},
        {"0", "61837.63::DECIMAL(9,2)", 0, 61837.63},
        {"0", "-61837.63::DECIMAL(18,8)", 0, -61837.63},
        {"0", "12345678901234567890123456789.123456789::DECIMAL(38,9)", 0,
         12345678901234567890123456789.123456789},
        {"0", "-0.000000000000000000000000000000000001::DECIMAL(38,36)", 0, -1e-36},
        {"0", "0.5::FLOAT", 0, 0.5},
        {"0", "1e300::DOUBLE", 0, 1e300},
        {"0", "'61837.63'", 0, 61837.63},
        {"DATE '2024-08-08'", "1", INT64_C(1723075200000000000), 1},
        {"TIMESTAMP '2024-08-08 23:54:15.342'", "1", INT64_C(1723161255342000000), 1},
        {"TIMESTAMP_S '2024-08-08 23:54:15'", "1", INT64_C(1723161255000000000), 1},
        {"TIMESTAMP_MS '2024-08-08 23:54:15.342'", "1", INT64_C(1723161255342000000), 1},
        {"TIMESTAMP_NS '2024-08-08 23:54:15.342000001'", "1", INT64_C(1723161255342000001), 1},
        {"TIMESTAMPTZ '2024-08-09 01:54:15.342+02'", "1", INT64_C(1723161255342000000), 1},
        {"TIMESTAMP '1960-01-01'", "1", INT64_C(-315619200000000000), 1},
        {"'2024-08-08T23:54:15.342000001Z'", "1", INT64_C(1723161255342000001), 1},
    };
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        char *select = mem_printf("SELECT x AS trade_id, %s AS ts, %s AS price FROM input",
                                  cases[n].ts, cases[n].price);
        taken *t = import_good(TAPE_TABLE_TRADES, select, "a.csv", "x\n77\n");
        const tape_trade *r = record_at(t, 0);
        assert_int_equal(t->count, 1);
        assert_string_equal(r->trade_id, "77");
        if (r->ts != cases[n].want_ts || r->price != cases[n].want_price) {
            fail_msg("%s gave %lld, %.17g", select, (long long)r->ts, r->price);
        }
        taken_free(t);
        free(select);
    }
}

static void import_select_converts_names_ids_and_lists(void **state) {
    (void)state;
    taken *t =
        import_good(TAPE_TABLE_TRADES,
                    "SELECT 123456789012::HUGEINT AS trade_id, -5::TINYINT AS order_id, "
                    "uuid::VARCHAR AS counter_order_id, 'sell'::ENUM('buy', 'sell') AS side, "
                    "NULL AS position_effect, NULL::VARCHAR AS user_id FROM input",
                    "a.csv", "uuid\nabc\n");
    const tape_trade *r = record_at(t, 0);
    assert_string_equal(r->trade_id, "123456789012");
    assert_string_equal(r->order_id, "-5");
    assert_string_equal(r->counter_order_id, "abc");
    assert_int_equal(r->side, TAPE_SIDE_SELL);
    assert_int_equal(r->user_id[0], 0);
    taken_free(t);
    t = import_good(TAPE_TABLE_DEPTH,
                    "SELECT 'IF2601' AS instrument_id, [1, 2.5, NULL] AS bid_price, "
                    "array_value(1::FLOAT, 2, 3, 4, 5, 6, 7, 8, 9, 10) AS bid_volume, "
                    "range(10) AS ask_price, '[7, 8]' AS ask_volume FROM input",
                    "a.csv", "x\n1\n2\n");
    const tape_depth *d = record_at(t, 1);
    assert_int_equal(t->count, 2);
    assert_true(d->bid_price[1] == 2.5 && d->bid_price[2] == 0 && d->bid_price[3] == 0);
    assert_true(d->bid_volume[9] == 10 && d->ask_price[9] == 9 && d->ask_volume[1] == 8);
    taken_free(t);
}

static void import_select_tells_every_bad_row(void **state) {
    (void)state;
    static const struct {
        const char *column, *expression, *value, *reason;
    } cases[] = {
        {"price", "'nan'::DOUBLE", "nan", "finite"},
        {"price", "'-inf'::FLOAT", "-inf", "finite"},
        {"price", "'abc'", "abc", "number"},
        {"side", "'up'", "up", "buy, sell"},
        {"user_id", "repeat('x', 33)", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "33 bytes"},
        {"ts", "'infinity'::TIMESTAMP", "infinity", "finite"},
        {"ts", "TIMESTAMP '2500-01-01'", "", "1677 and 2262"},
        {"ts", "9223372036854775808::HUGEINT", "9223372036854775808", "1677 and 2262"},
        {"ts", "'yesterday'", "yesterday", "time"},
        {"side", "1", "1", "text"},
        {"price", "'1' || chr(10)", "1\\x0a", "number"},
    };
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        char *select = mem_printf("SELECT 't' || n AS trade_id, CASE WHEN n = 2 THEN %s END AS %s "
                                  "FROM input",
                                  cases[n].expression, cases[n].column);
        taken *t = import_text(TAPE_TABLE_TRADES, select, "a.csv", "n\n1\n2\n3\n");
        const tape_import_reject *r = &t->rejects[0];
        if (t->status != TAPE_OK || t->count != 2 || t->reject_count != 1 || r->row != 2 ||
            strcmp(r->column, cases[n].column) != 0 ||
            (cases[n].value[0] != '\0' && strcmp(r->value, cases[n].value) != 0) ||
            strstr(r->reason, cases[n].reason) == NULL || strncmp(t->lines[0], "t2,", 3) != 0) {
            fail_msg("%s: %s: row %d %s = %s: %s", select, t->error.text, (int)r->row, r->column,
                     r->value, r->reason);
        }
        taken_free(t);
        free(select);
    }
    taken *t = import_text(TAPE_TABLE_DEPTH, "SELECT range(n) AS bid_price FROM input", "a.csv",
                           "n\n10\n11\n");
    assert_int_equal(t->count, 1);
    assert_string_equal(t->rejects[0].reason, "it has too many elements");
    assert_string_equal(t->rejects[0].value, "[0,1,2,3,4,5,6,7,8,9,10]");
    assert_string_equal(t->lines[0], "\"[0,1,2,3,4,5,6,7,8,9,10]\"");
    taken_free(t);
}

static void import_select_detects_types_over_the_whole_file(void **state) {
    (void)state;
    buffer text = {0};
    buffer_append_text(&text, "id,v\n");
    for (int n = 0; n < 60000; n++) {
        buffer_printf(&text, "%d,%d\n", n, n);
    }
    buffer_append_text(&text, "x60000,1.5\n");
    buffer_append(&text, "", 1);
    taken *t = import_good(TAPE_TABLE_TRADES, "SELECT id AS trade_id, v AS price FROM input",
                           "a.csv", (const char *)text.data);
    assert_int_equal(t->count, 60001);
    assert_true(((const tape_trade *)record_at(t, 60000))->price == 1.5);
    taken_free(t);
    buffer_deinit(&text);
}

static void import_select_keeps_the_order_of_rows(void **state) {
    (void)state;
    size_t rows = 700000;
    char *dir = testing_dir();
    char *const paths[] = {testing_path(dir, "a.csv"), testing_path(dir, "b.csv")};
    buffer text = many_rows(rows);
    testing_write(paths[0], text.data, text.size);
    testing_write(paths[1], text.data, text.size);
    taken *t = import_files(TAPE_TABLE_TRADES, "SELECT trade_id, price FROM input WHERE price > 0",
                            0, (const char *const *)paths, 2, 1000);
    if (t->status != TAPE_OK) {
        fail_msg("%s", t->error.text);
    }
    assert_int_equal(t->count, 2 * rows);
    for (size_t n = 0; n < t->count; n++) {
        assert_true(((const tape_trade *)record_at(t, n))->price == (double)(n % rows + 1));
    }
    taken_free(t);
    t = import_one(TAPE_TABLE_TRADES,
                   "SELECT trade_id, price FROM input ORDER BY price DESC LIMIT 3", paths[0]);
    assert_true(t->count == 3 &&
                ((const tape_trade *)record_at(t, 2))->price == (double)(rows - 2));
    taken_free(t);
    buffer_deinit(&text);
    free(paths[0]);
    free(paths[1]);
    testing_dir_remove(dir);
}

static void import_select_reads_json_of_both_forms(void **state) {
    (void)state;
    const char *select = "SELECT id::VARCHAR AS trade_id, p AS price FROM input";
    taken *t = import_good(TAPE_TABLE_TRADES, select, "a.json",
                           "[{\"id\":1,\"p\":1.5},{\"id\":\"b\",\"p\":2}]");
    assert_true(t->count == 2 && ((const tape_trade *)record_at(t, 1))->price == 2);
    taken_free(t);
    t = import_good(TAPE_TABLE_TRADES, select, "a.jsonl", "{\"id\":1,\"p\":1.5}\n{\"id\":2}\n");
    assert_true(t->count == 2 && ((const tape_trade *)record_at(t, 0))->price == 1.5);
    taken_free(t);
}

static void import_wants_good_options(void **state) {
    (void)state;
    tape_import_options options;
    tape_import *import;
    tape_error error;
    tape_import_options_init(&options);
    options.table = TAPE_TABLE_TRADES;
    assert_int_equal(tape_import_open(&options, &import, &error), TAPE_INVALID);
    options.table = 99;
    assert_int_equal(tape_import_open(&options, &import, &error), TAPE_INVALID);
    options.size_bytes = 8;
    assert_int_equal(tape_import_open(&options, &import, NULL), TAPE_INVALID);
    assert_null(import);
    tape_import_close(&import);
}

/* --- real data, where it is --- */

static void import_real_market_data(void **state) {
    (void)state;
    const char *data = getenv("TAPE_DATA");
    if (data == NULL) {
        print_message("TAPE_DATA is not set: real data left out\n");
        skip();
    }
    char *path = testing_path(data, "binance-spot-20240808/btcusdt_trades.csv.gz");
    taken *t = import_one(TAPE_TABLE_TRADES,
                          "SELECT trade_id::VARCHAR AS trade_id, 'BTCUSDT' AS instrument_id, "
                          "CASE WHEN buyer_is_maker = 1 THEN 'sell' ELSE 'buy' END AS side, "
                          "price_e8 / 1e8 AS price, qty_e8 / 1e8 AS volume, "
                          "trade_ms * 1000000 AS ts FROM input",
                          path);
    assert_true(t->status == TAPE_OK && t->reject_count == 0);
    assert_int_equal(t->count, 9757);
    double volume = 0;
    for (size_t n = 0; n < t->count; n++) {
        volume += ((const tape_trade *)record_at(t, n))->volume;
    }
    assert_true(volume > 212.0331 && volume < 212.0332);
    taken_free(t);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(import_csv_reads_rows_as_they_are),
        cmocka_unit_test(import_csv_tells_every_bad_row),
        cmocka_unit_test(import_refused_rows_can_be_loaded_again),
        cmocka_unit_test(import_skip_leaves_rows_out_whatever_is_in_them),
        cmocka_unit_test(import_csv_undoes_quoting),
        cmocka_unit_test(import_survives_random_bytes),
        cmocka_unit_test(import_reads_packed_files_to_the_last_row),
        cmocka_unit_test(import_refuses_packed_files_that_are_cut_or_damaged),
        cmocka_unit_test(import_names_what_is_wrong_with_a_file),
        cmocka_unit_test(import_reads_files_of_no_rows_and_odd_names),
        cmocka_unit_test(import_bounds_rows),
        cmocka_unit_test(import_json_lines_reads_what_record_writes),
        cmocka_unit_test(import_json_lines_tells_every_bad_row),
        cmocka_unit_test(import_select_converts_every_type),
        cmocka_unit_test(import_select_converts_names_ids_and_lists),
        cmocka_unit_test(import_select_tells_every_bad_row),
        cmocka_unit_test(import_select_detects_types_over_the_whole_file),
        cmocka_unit_test(import_select_keeps_the_order_of_rows),
        cmocka_unit_test(import_select_reads_json_of_both_forms),
        cmocka_unit_test(import_wants_good_options),
        cmocka_unit_test(import_real_market_data),
    };
    return cmocka_run_group_tests_name("import", tests, NULL, NULL);
}
