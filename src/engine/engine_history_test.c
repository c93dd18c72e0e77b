/* One table over live rows and history, through the public calls on a real directory. */
#include "engine/engine_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define DAY_NS (INT64_C(86400) * NS_PER_SECOND)
#define USERS 7u

typedef struct fixture {
    char root[64];
    char dir[96];
} fixture;

static void run(const char *format, const char *argument) {
    char command[512];
    (void)snprintf(command, sizeof command, format, argument);
    assert_int_equal(system(command), 0);
}

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    tape_error error;
    (void)snprintf(f->root, sizeof f->root, "/tmp/tape-history-XXXXXX");
    if (mkdtemp(f->root) == NULL) {
        return -1;
    }
    (void)snprintf(f->dir, sizeof f->dir, "%s/db", f->root);
    tape_create_options options;
    tape_create_options_init(&options);
    options.segment_bytes = MIB(4);
    *state = f;
    return tape_create(f->dir, &options, &error) == TAPE_OK ? 0 : -1;
}

static int teardown(void **state) {
    fixture *f = *state;
    run("rm -rf %s", f->root);
    free(f);
    return 0;
}

static tape *open_with(const char *dir, const tape_open_options *options) {
    tape *db = NULL;
    tape_error error = {0};
    if (tape_open(dir, options, &db, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return db;
}

static tape_open_options small_options(void) {
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = MIB(8);
    options.memtable_bytes = MIB(1);
    return options;
}

static tape *open_small(const char *dir) {
    tape_open_options options = small_options();
    return open_with(dir, &options);
}

static void close_ok(tape *db) {
    tape_error error = {0};
    if (tape_close(&db, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void archive_ok(tape *db, const char *date) {
    tape_error error = {0};
    tape_archive_options options;
    tape_archive_options_init(&options);
    options.date = date;
    if (tape_archive(db, &options, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

/* Deal n: a trade, and the balance of its user changed by it; every third day one deal's trade is a
 * day late. One append. */
static void append_deal(tape *db, uint64_t n) {
    tape_trade trade = {.side = TAPE_SIDE_BUY, .price = (double)(100 + n % 50), .volume = 1};
    tape_account account = {.balance = (double)n};
    (void)snprintf(trade.trade_id, sizeof trade.trade_id, "t%llu", (unsigned long long)n);
    (void)snprintf(trade.instrument_id, sizeof trade.instrument_id, "I%llu",
                   (unsigned long long)(n % 5));
    (void)snprintf(account.user_id, sizeof account.user_id, "u%llu",
                   (unsigned long long)(n % USERS));
    memcpy(trade.user_id, account.user_id, sizeof trade.user_id);
    int64_t day = (int64_t)(n / 1000 % 20) - (n % 7 == 3);
    trade.ts = account.ts = 1700000000 * NS_PER_SECOND + day * DAY_NS + (int64_t)n;
    tape_record records[2] = {TAPE_RECORD(TRADES, &trade), TAPE_RECORD(ACCOUNTS, &account)};
    tape_error error = {0};
    if (tape_append(db, records, 2, NULL, NULL, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void append_deals(tape *db, uint64_t first, uint64_t count) {
    for (uint64_t n = first; n < first + count; n++) {
        append_deal(db, n);
    }
}

static double query_at(tape *db, const char *sql, uint64_t at) {
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_error error = {0};
    tape_query_options options;
    tape_query_options_init(&options);
    options.at = at;
    options.no_cache = true;
    if (tape_query(db, sql, &options, &stream, &error) != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    if (stream.get_next(&stream, &array) != 0) {
        fail_msg("%s: %s", sql, stream.get_last_error(&stream));
    }
    assert_int_equal(array.length, 1);
    double value = ((const double *)array.children[0]->buffers[1])[0];
    array.release(&array);
    stream.release(&stream);
    return value;
}

/* What deals 1 to n, and nothing else, must look like at the seq that ends them. */
static void assert_deals_at(tape *db, uint64_t n) {
    double volume = 0;
    double balance = 0;
    for (uint64_t i = 1; i <= n; i++) {
        volume += (double)(100 + i % 50);
        balance += i + USERS > n ? (double)i : 0;
    }
    uint64_t at = 2 * n;
    assert_true(query_at(db, "SELECT count(*)::DOUBLE FROM trades", at) == (double)n);
    assert_true(query_at(db, "SELECT count(DISTINCT seq)::DOUBLE FROM trades", at) == (double)n);
    assert_true(query_at(db, "SELECT sum(price) FROM trades", at) == volume);
    assert_true(query_at(db, "SELECT sum(balance) FROM accounts", at) == balance);
    assert_true(query_at(db, "SELECT count(*)::DOUBLE FROM accounts", at) ==
                (double)(n < USERS ? n : USERS));
    assert_true(query_at(db, "SELECT count(*)::DOUBLE FROM accounts_history", at) == (double)n);
    assert_true(query_at(db,
                         "SELECT count(*)::DOUBLE FROM trades t JOIN accounts_history a "
                         "ON a.seq = t.seq + 1 AND a.user_id = t.user_id",
                         at) == (double)n);
}

static tape_stats stats_of(tape *db) {
    tape_stats stats = {.size_bytes = sizeof stats};
    tape_error error = {0};
    assert_int_equal(tape_stats_read(db, true, &stats, &error), TAPE_OK);
    return stats;
}

static void every_record_is_there_once_before_and_after_archiving(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    append_deals(db, 1, 3000);
    assert_deals_at(db, 3000);
    archive_ok(db, NULL);
    tape_stats stats = stats_of(db);
    assert_int_equal(stats.archived, 6000);
    assert_int_equal(stats.written, 6000);
    assert_int_equal(stats.rows[TAPE_TABLE_TRADES], 3000);
    assert_int_equal(stats.rows[TAPE_TABLE_ACCOUNTS], 3000);
    assert_true(stats.archive_bytes > 0 && stats.archive_files > 3);
    assert_deals_at(db, 3000);
    append_deals(db, 3001, 2000);
    assert_deals_at(db, 5000);
    assert_int_equal(stats_of(db).rows[TAPE_TABLE_ACCOUNTS], 5000);
    archive_ok(db, NULL);
    append_deals(db, 5001, 3);
    assert_deals_at(db, 5003);
    close_ok(db);
}

static void the_past_stays_as_it_was(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    static const uint64_t moments[] = {1, 5, 8, 700, 1000, 1003, 1500, 2000, 2100, 2503};
    append_deals(db, 1, 1000);
    archive_ok(db, NULL);
    append_deals(db, 1001, 1000);
    archive_ok(db, "2023-11-15");
    append_deals(db, 2001, 503);
    for (size_t i = 0; i < COUNT_OF(moments); i++) {
        assert_deals_at(db, moments[i]);
    }
    close_ok(db);
    db = open_small(f->dir);
    for (size_t i = 0; i < COUNT_OF(moments); i++) {
        assert_deals_at(db, moments[i]);
    }
    archive_ok(db, "2023-11-16");
    for (size_t i = 0; i < COUNT_OF(moments); i++) {
        assert_deals_at(db, moments[i]);
    }
    close_ok(db);
}

static void history_comes_back_after_reopening_without_the_journal_that_made_it(void **state) {
    fixture *f = *state;
    tape_open_options options = small_options();
    tape_error error = {0};
    options.retain_bytes = 0;
    tape *db = open_with(f->dir, &options);
    append_deals(db, 1, 20000);
    archive_ok(db, NULL);
    append_deals(db, 20001, 20000); /* in the store's files, not in the archive */
    assert_int_equal(tape_checkpoint(db, &error), TAPE_OK);
    assert_true(stats_of(db).oldest > 40000);
    append_deals(db, 40001, 500);
    assert_deals_at(db, 40500);
    close_ok(db);
    db = open_with(f->dir, &options);
    assert_deals_at(db, 40500);
    assert_deals_at(db, 20000);
    append_deals(db, 40501, 10);
    archive_ok(db, NULL);
    assert_deals_at(db, 40510);
    assert_deals_at(db, 30000);
    close_ok(db);
}

static void full_columns_go_to_the_archive_by_themselves(void **state) {
    fixture *f = *state;
    tape_open_options options = small_options();
    options.window_bytes = MIB(64);
    options.memtable_bytes = MIB(32);
    options.columns_bytes_max = MIB(128);
    tape *db = open_with(f->dir, &options);
    enum { COUNT = 2500000, BATCH = 100 }; /* far more than there is room for */
    static tape_tick ticks[BATCH];
    static tape_record records[BATCH];
    tape_error error = {0};
    assert_true(query_at(db, "SELECT count(*)::DOUBLE FROM ticks", 0) == 0);
    for (uint32_t n = 0; n < COUNT; n += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            memset(&ticks[i], 0, sizeof ticks[i]);
            memcpy(ticks[i].instrument_id, "IF2601", 6);
            ticks[i].last_price = n + i;
            ticks[i].ts = 1700000000 * NS_PER_SECOND + n + i;
            records[i] = (tape_record)TAPE_RECORD(TICKS, &ticks[i]);
        }
        if (tape_append(db, records, BATCH, NULL, NULL, &error) != TAPE_OK) {
            fail_msg("%s", error.text);
        }
    }
    assert_true(query_at(db, "SELECT count(*)::DOUBLE FROM ticks", 0) == COUNT);
    assert_true(query_at(db, "SELECT sum(last_price) FROM ticks", 0) ==
                (double)COUNT * (COUNT - 1) / 2);
    tape_stats stats = stats_of(db);
    assert_true(stats.archived > 0 && stats.archive_files > 0);
    assert_true(stats.columns_bytes <= MIB(128));
    assert_int_equal(stats.rows[TAPE_TABLE_TICKS], COUNT);
    close_ok(db);
}

static void archiving_by_hand_makes_room(void **state) {
    fixture *f = *state;
    tape_open_options options = small_options();
    options.archive_by_hand = true;
    options.columns_bytes_max = MIB(18);
    tape *db = open_with(f->dir, &options);
    struct ArrowArrayStream stream;
    tape_error error = {0};
    append_deals(db, 1, 200000);
    assert_int_equal(tape_query(db, "SELECT count(*) FROM trades", NULL, &stream, &error),
                     TAPE_NO_MEMORY);
    archive_ok(db, NULL);
    assert_deals_at(db, 200000);
    close_ok(db);
}

static void versions_the_store_lets_go_do_not_confuse_the_archive(void **state) {
    fixture *f = *state;
    tape_open_options options = small_options();
    tape_error error = {0};
    options.keep_ns[TAPE_TABLE_ACCOUNTS] = 1;
    options.retain_bytes = 0;
    tape *db = open_with(f->dir, &options);
    append_deals(db, 1, 5000);
    archive_ok(db, NULL);
    append_deals(db, 5001, 35000);
    assert_int_equal(tape_compact(db, NULL, &error), TAPE_OK);
    assert_deals_at(db, 40000);
    assert_deals_at(db, 5000);
    assert_true(stats_of(db).oldest > 20000);
    close_ok(db);
    db = open_with(f->dir, &options);
    append_deals(db, 40001, 100);
    assert_true(query_at(db, "SELECT count(*)::DOUBLE FROM accounts", 0) == USERS);
    assert_true(query_at(db, "SELECT sum(balance) FROM accounts", 0) ==
                7 * 40100.0 - (1 + 2 + 3 + 4 + 5 + 6));
    assert_deals_at(db, 20000); /* after the archive nothing was let go */
    assert_deals_at(db, 5000);
    close_ok(db);
}

static void what_the_store_let_go_without_an_archive_is_too_old_for_sql(void **state) {
    fixture *f = *state;
    tape_open_options options = small_options();
    tape_error error = {0};
    options.keep_ns[TAPE_TABLE_ACCOUNTS] = 1;
    options.retain_bytes = 0;
    tape *db = open_with(f->dir, &options);
    append_deals(db, 1, 40000);
    assert_int_equal(tape_compact(db, NULL, &error), TAPE_OK);
    close_ok(db);
    db = open_with(f->dir, &options);
    assert_true(query_at(db, "SELECT count(*)::DOUBLE FROM accounts", 0) == USERS);
    struct ArrowArrayStream stream;
    tape_query_options past;
    tape_query_options_init(&past);
    past.at = 15000;
    assert_int_equal(tape_query(db, "SELECT count(*) FROM accounts", &past, &stream, &error),
                     TAPE_TOO_OLD);
    close_ok(db);
}

static void count_named(void *context, const tape_error *finding) {
    *(int *)context += strstr(finding->text, ".parquet") != NULL;
}

static void verify_names_a_damaged_file_of_the_archive(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    tape_error error = {0};
    int found = 0;
    append_deals(db, 1, 5000);
    archive_ok(db, NULL);
    assert_int_equal(tape_verify(db, count_named, &found, NULL, NULL, &error), TAPE_OK);
    assert_int_equal(found, 0);
    run("f=$(ls %s/archive/table=trades/*/*.parquet | head -1); "
        "printf 'XXXX' | dd of=$f bs=1 seek=1000 conv=notrunc 2>/dev/null",
        f->dir);
    assert_int_equal(tape_verify(db, count_named, &found, NULL, NULL, &error), TAPE_CORRUPT);
    assert_int_equal(found, 1);
    close_ok(db);
    found = 0;
    assert_int_equal(tape_verify_dir(f->dir, count_named, &found, NULL, NULL, &error),
                     TAPE_CORRUPT);
    assert_int_equal(found, 1);
}

static void a_key_is_read_without_columns(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    append_deals(db, 1, 2000);
    assert_true(query_at(db, "SELECT balance FROM accounts WHERE user_id = 'u3'", 0) == 1998);
    assert_true(query_at(db, "SELECT balance FROM accounts WHERE user_id = 'u3'", 100) == 45);
    tape_stats stats = {.size_bytes = sizeof stats};
    assert_int_equal(tape_stats_read(db, false, &stats, NULL), TAPE_OK);
    assert_int_equal(stats.queryable, 0);
    assert_int_equal(stats.queries_from_store, 2);
    close_ok(db);
}

static void bad_archive_options_are_refused_by_name(void **state) {
    fixture *f = *state;
    tape *db = NULL;
    tape_error error = {0};
    tape_open_options options = small_options();
    options.columns_bytes_max = MIB(1);
    assert_int_equal(tape_open(f->dir, &options, &db, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "columns_bytes_max"));
    options = small_options();
    options.day_begins_ns = DAY_NS;
    assert_int_equal(tape_open(f->dir, &options, &db, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "day_begins_ns"));
    options = small_options();
    options.archive_keep_ns[TAPE_TABLE_TICKS] = -1;
    assert_int_equal(tape_open(f->dir, &options, &db, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "ticks"));
    db = open_small(f->dir);
    tape_archive_options day;
    tape_archive_options_init(&day);
    day.date = "yesterday";
    assert_int_equal(tape_archive(db, &day, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "yesterday"));
    close_ok(db);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_record_is_there_once_before_and_after_archiving),
        TEST(the_past_stays_as_it_was),
        TEST(history_comes_back_after_reopening_without_the_journal_that_made_it),
        TEST(full_columns_go_to_the_archive_by_themselves),
        TEST(archiving_by_hand_makes_room),
        TEST(versions_the_store_lets_go_do_not_confuse_the_archive),
        TEST(what_the_store_let_go_without_an_archive_is_too_old_for_sql),
        TEST(verify_names_a_damaged_file_of_the_archive),
        TEST(a_key_is_read_without_columns),
        TEST(bad_archive_options_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
