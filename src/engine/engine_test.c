/* The public calls on a real directory. */
#include "engine/engine_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct fixture {
    char root[64];
    char dir[96];
} fixture;

static void run(const char *format, const char *argument) {
    char command[256];
    (void)snprintf(command, sizeof command, format, argument);
    assert_int_equal(system(command), 0);
}

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    tape_error error;
    (void)snprintf(f->root, sizeof f->root, "/tmp/tape-engine-XXXXXX");
    if (f == NULL || mkdtemp(f->root) == NULL) {
        return -1;
    }
    (void)snprintf(f->dir, sizeof f->dir, "%s/db", f->root);
    tape_create_options options;
    tape_create_options_init(&options);
    options.segment_bytes = MIB(4);
    if (tape_create(f->dir, &options, &error) != TAPE_OK) {
        print_error("%s\n", error.text);
        return -1;
    }
    *state = f;
    return 0;
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

static tape *open_small(const char *dir) {
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = MIB(8);
    options.memtable_bytes = MIB(1);
    return open_with(dir, &options);
}

static void close_ok(tape *db) {
    tape_error error = {0};
    if (tape_close(&db, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    assert_null(db);
}

static tape_trade trade_of(uint64_t n) {
    tape_trade trade;
    memset(&trade, 0, sizeof trade);
    (void)snprintf(trade.trade_id, sizeof trade.trade_id, "t%llu", (unsigned long long)n);
    memcpy(trade.instrument_id, "IF2601", 6);
    trade.side = TAPE_SIDE_BUY;
    trade.price = (double)n;
    trade.volume = 1;
    trade.ts = 1000 + (int64_t)n;
    return trade;
}

static void append_trades(tape *db, uint64_t first, uint64_t count, tape_level level) {
    for (uint64_t n = first; n < first + count; n += 100) {
        tape_trade trades[100];
        tape_record records[100];
        size_t size = (size_t)(first + count - n < 100 ? first + count - n : 100);
        for (size_t i = 0; i < size; i++) {
            trades[i] = trade_of(n + i);
            records[i] = (tape_record)TAPE_RECORD(TRADES, &trades[i]);
        }
        tape_append_options options;
        tape_append_options_init(&options);
        options.level = level;
        tape_error error = {0};
        if (tape_append(db, records, size, &options, NULL, &error) != TAPE_OK) {
            fail_msg("%s", error.text);
        }
    }
}

static int64_t query_int(tape *db, const char *sql, uint64_t at) {
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    struct ArrowArray array;
    tape_error error = {0};
    tape_query_options options;
    tape_query_options_init(&options);
    options.at = at;
    if (tape_query(db, sql, &options, &stream, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(stream.get_schema(&stream, &schema), 0);
    assert_string_equal(schema.children[0]->format, "l");
    schema.release(&schema);
    assert_int_equal(stream.get_next(&stream, &array), 0);
    assert_non_null(array.release);
    assert_int_equal(array.length, 1);
    int64_t value = ((const int64_t *)array.children[0]->buffers[1])[array.children[0]->offset];
    array.release(&array);
    stream.release(&stream);
    return value;
}

static void create_refuses_a_directory_that_is_not_empty(void **state) {
    fixture *f = *state;
    tape_error error = {0};
    assert_int_equal(tape_create(f->dir, NULL, &error), TAPE_EXISTS);
    assert_int_equal(tape_create(f->root, NULL, &error), TAPE_EXISTS);
    assert_int_equal(tape_create("/dev/null", NULL, &error), TAPE_EXISTS);
    assert_int_equal(tape_create("", NULL, &error), TAPE_INVALID);
    assert_int_not_equal(tape_create("/nowhere/at/all", NULL, &error), TAPE_OK);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/empty/", f->root);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(tape_create(path, NULL, &error), TAPE_OK);
    close_ok(open_small(path));
}

static void open_says_what_is_wrong_with_the_place(void **state) {
    fixture *f = *state;
    tape *db = NULL;
    tape_error error = {0};
    assert_int_equal(tape_open("/nowhere/at/all", NULL, &db, &error), TAPE_NO_STORE);
    assert_int_equal(tape_open(f->root, NULL, &db, &error), TAPE_NO_STORE);
    assert_int_equal(tape_open("/dev/null", NULL, &db, &error), TAPE_NO_STORE);
    assert_null(db);
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = 12345;
    assert_int_equal(tape_open(f->dir, &options, &db, &error), TAPE_INVALID);
}

static void second_owner_gets_locked_with_the_pid_of_the_first(void **state) {
    fixture *f = *state;
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        tape *db = NULL;
        char byte = tape_open(f->dir, NULL, &db, NULL) == TAPE_OK ? 'y' : 'n';
        (void)!write(ready[1], &byte, 1);
        (void)pause();
        _exit(0);
    }
    char byte = 0;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    tape *db = NULL;
    tape_error error = {0};
    assert_int_equal(tape_open(f->dir, NULL, &db, &error), TAPE_LOCKED);
    char pid[32];
    (void)snprintf(pid, sizeof pid, "%d", child);
    assert_non_null(strstr(error.text, pid));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    close_ok(open_small(f->dir));
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void append_refuses_bad_records_whole_and_by_name(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    tape_trade good = trade_of(1);
    tape_trade bad = trade_of(2);
    bad.price = __builtin_nan("");
    tape_record records[] = {TAPE_RECORD(TRADES, &good), TAPE_RECORD(TRADES, &bad)};
    tape_error error = {0};
    assert_int_equal(tape_append(db, records, 2, NULL, NULL, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "record 2 of 2"));
    assert_non_null(strstr(error.text, "price"));
    records[1].table = 99;
    assert_int_equal(tape_append(db, records, 2, NULL, NULL, &error), TAPE_INVALID);
    records[1] = (tape_record){TAPE_TABLE_TRADES, 0, 8, &good};
    assert_int_equal(tape_append(db, records, 2, NULL, NULL, &error), TAPE_INVALID);
    assert_int_equal(tape_append(db, records, 0, NULL, NULL, &error), TAPE_INVALID);
    tape_record *many = mem_alloc(10000 * sizeof *many);
    for (size_t i = 0; i < 10000; i++) {
        many[i] = records[0];
    }
    assert_int_equal(tape_append(db, many, 10000, NULL, NULL, &error), TAPE_TOO_LARGE);
    free(many);
    tape_append_result result;
    assert_int_equal(tape_append(db, records, 1, NULL, &result, &error), TAPE_OK);
    assert_int_equal(result.first_seq, 1); /* nothing of the refused ones took a seq */
    close_ok(db);
}

static void get_sees_an_append_at_once_and_the_version_of_its_seq(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    const char *key[] = {"u1"};
    tape_account account;
    memset(&account, 0, sizeof account);
    memcpy(account.user_id, "u1", 2);
    tape_record record = TAPE_RECORD(ACCOUNTS, &account);
    tape_error error = {0};
    tape_account got;
    for (uint64_t n = 1; n <= 3000; n++) {
        account.balance = (double)n;
        assert_int_equal(tape_append(db, &record, 1, NULL, NULL, &error), TAPE_OK);
        assert_int_equal(tape_get(db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &got, &error), TAPE_OK);
        assert_true(got.balance == (double)n);
        assert_int_equal(got.seq, n);
        assert_true(got.ts > 0);
    }
    for (int reopened = 0; reopened < 3; reopened++) {
        for (uint64_t n = 1; n <= 3000; n += 97) {
            assert_int_equal(tape_get(db, TAPE_TABLE_ACCOUNTS, key, 1, n, &got, &error), TAPE_OK);
            assert_true(got.balance == (double)n);
        }
        if (reopened == 1) {
            assert_int_equal(tape_checkpoint(db, &error), TAPE_OK);
        }
        close_ok(db);
        db = open_small(f->dir);
    }
    const char *other[] = {"u2"};
    assert_int_equal(tape_get(db, TAPE_TABLE_ACCOUNTS, other, 1, 0, &got, &error), TAPE_NOT_FOUND);
    assert_non_null(strstr(error.text, "u2"));
    assert_int_equal(tape_get(db, 77, other, 1, 0, &got, &error), TAPE_INVALID);
    assert_int_equal(tape_get(db, TAPE_TABLE_POSITIONS, other, 1, 0, &got, &error), TAPE_INVALID);
    close_ok(db);
}

static void unique_appends_leave_out_what_is_there(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    append_trades(db, 1, 500, TAPE_WRITTEN);
    tape_error error = {0};
    assert_int_equal(tape_checkpoint(db, &error), TAPE_OK);
    append_trades(db, 501, 500, TAPE_WRITTEN);
    tape_trade trades[6] = {trade_of(1),    trade_of(1001), trade_of(900),
                            trade_of(1001), trade_of(1002), trade_of(2)};
    tape_record records[6];
    for (size_t i = 0; i < 6; i++) {
        records[i] = (tape_record)TAPE_RECORD(TRADES, &trades[i]);
    }
    tape_append_options options;
    tape_append_options_init(&options);
    options.flags = TAPE_UNIQUE;
    tape_append_result result;
    assert_int_equal(tape_append(db, records, 6, &options, &result, &error), TAPE_OK);
    assert_int_equal(result.duplicates, 4);
    assert_int_equal(result.first_seq, 1001);
    assert_int_equal(result.last_seq, 1002);
    assert_int_equal(tape_append(db, records, 6, &options, &result, &error), TAPE_OK);
    assert_int_equal(result.duplicates, 6);
    assert_int_equal(result.first_seq, 0);
    /* Entities are versions, never duplicates. */
    tape_account account;
    memset(&account, 0, sizeof account);
    memcpy(account.user_id, "u", 1);
    tape_record two[] = {TAPE_RECORD(ACCOUNTS, &account), TAPE_RECORD(ACCOUNTS, &account)};
    assert_int_equal(tape_append(db, two, 2, &options, &result, &error), TAPE_OK);
    assert_int_equal(result.duplicates, 0);
    close_ok(db);
}

static void stats_reach_what_was_appended(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    append_trades(db, 1, 2500, TAPE_DURABLE);
    tape_stats stats = {.size_bytes = sizeof stats};
    tape_error error = {0};
    assert_int_equal(tape_stats_read(db, true, &stats, &error), TAPE_OK);
    assert_int_equal(stats.written, 2500);
    assert_int_equal(stats.durable, 2500);
    assert_int_equal(stats.committed, 2500);
    assert_int_equal(stats.applied, 2500);
    assert_int_equal(stats.queryable, 2500);
    assert_int_equal(stats.oldest, 1);
    assert_int_equal(stats.rows[TAPE_TABLE_TRADES], 2500);
    assert_int_equal(stats.rows[TAPE_TABLE_ORDERS], 0);
    assert_int_equal(stats.epoch, 1);
    assert_int_equal(stats.owner_pid, getpid());
    assert_true(stats.journal_bytes >= MIB(4) && stats.memtable_bytes > 0);
    close_ok(db);
    db = open_small(f->dir);
    assert_int_equal(tape_stats_read(db, false, &stats, &error), TAPE_OK);
    assert_int_equal(stats.epoch, 2);
    assert_int_equal(stats.recovered_records, 2500);
    close_ok(db);
}

static void read_only_handle_reads_and_refuses_to_append(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    append_trades(db, 1, 10, TAPE_WRITTEN);
    close_ok(db);
    tape_open_options options;
    tape_open_options_init(&options);
    options.read_only = true;
    db = open_with(f->dir, &options);
    tape_trade trade = trade_of(11);
    tape_record record = TAPE_RECORD(TRADES, &trade);
    tape_error error = {0};
    assert_int_equal(tape_append(db, &record, 1, NULL, NULL, &error), TAPE_FORBIDDEN);
    assert_int_equal(tape_checkpoint(db, &error), TAPE_FORBIDDEN);
    const char *key[] = {"t10"};
    assert_int_equal(tape_get(db, TAPE_TABLE_TRADES, key, 1, 0, &trade, &error), TAPE_OK);
    assert_int_equal(query_int(db, "SELECT count(*) FROM trades", 0), 10);
    assert_int_equal(tape_verify(db, NULL, NULL, NULL, NULL, &error), TAPE_OK);
    close_ok(db);
}

static void sql_sees_exactly_the_records_up_to_its_seq(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    append_trades(db, 1, 1000, TAPE_WRITTEN);
    assert_int_equal(query_int(db, "SELECT count(*) FROM trades", 0), 1000);
    append_trades(db, 1001, 1, TAPE_WRITTEN);
    assert_int_equal(query_int(db, "SELECT count(*) FROM trades", 0), 1001);
    assert_int_equal(query_int(db, "SELECT count(*) FROM trades", 17), 17);
    assert_int_equal(query_int(db, "SELECT max(seq)::BIGINT FROM trades", 500), 500);
    close_ok(db);
}

/* With the journal trimmed, columns come from the store's files, every version of them. */
static void columns_are_rebuilt_from_the_store_when_the_journal_is_trimmed(void **state) {
    fixture *f = *state;
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = MIB(8);
    options.memtable_bytes = MIB(1);
    options.retain_bytes = 0;
    tape *db = open_with(f->dir, &options);
    tape_error error = {0};
    for (uint64_t n = 1; n <= 60000; n += 2) {
        append_trades(db, (n + 1) / 2, 1, TAPE_WRITTEN);
        tape_account account;
        memset(&account, 0, sizeof account);
        (void)snprintf(account.user_id, sizeof account.user_id, "u%llu",
                       (unsigned long long)(n % 10));
        account.balance = (double)n;
        tape_record record = TAPE_RECORD(ACCOUNTS, &account);
        assert_int_equal(tape_append(db, &record, 1, NULL, NULL, &error), TAPE_OK);
    }
    assert_int_equal(tape_checkpoint(db, &error), TAPE_OK);
    append_trades(db, 30001, 5, TAPE_WRITTEN);
    tape_stats stats = {.size_bytes = sizeof stats};
    assert_int_equal(tape_stats_read(db, false, &stats, &error), TAPE_OK);
    assert_true(stats.oldest > 1);
    close_ok(db);
    db = open_with(f->dir, &options);
    assert_int_equal(query_int(db, "SELECT count(*) FROM trades", 0), 30005);
    assert_int_equal(query_int(db, "SELECT count(*) FROM accounts_history", 0), 30000);
    assert_int_equal(query_int(db, "SELECT count(*) FROM accounts", 0), 5);
    assert_int_equal(query_int(db, "SELECT count(DISTINCT seq) FROM trades", 0), 30005);
    assert_int_equal(query_int(db, "SELECT count(*) FROM accounts_history", 1000), 500);
    close_ok(db);
}

static void memory_limit_of_columns_stops_sql_and_nothing_else(void **state) {
    fixture *f = *state;
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = MIB(8);
    options.columns_bytes_max = MIB(2);
    options.archive_by_hand = true;
    tape *db = open_with(f->dir, &options);
    append_trades(db, 1, 60000, TAPE_WRITTEN);
    struct ArrowArrayStream stream;
    tape_error error = {0};
    assert_int_equal(tape_query(db, "SELECT count(*) FROM trades", NULL, &stream, &error),
                     TAPE_NO_MEMORY);
    assert_non_null(strstr(error.text, "columns_bytes_max"));
    append_trades(db, 60001, 10, TAPE_DURABLE);
    const char *key[] = {"t60010"};
    tape_trade trade;
    assert_int_equal(tape_get(db, TAPE_TABLE_TRADES, key, 1, 0, &trade, &error), TAPE_OK);
    close_ok(db);
}

static void count_finding(void *context, const tape_error *finding) {
    assert_true(strlen(finding->text) > 0);
    ++*(int *)context;
}

static void verify_finds_damage_in_a_table_file_and_in_the_journal(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    append_trades(db, 1, 20000, TAPE_WRITTEN);
    tape_error error = {0};
    assert_int_equal(tape_checkpoint(db, &error), TAPE_OK);
    uint64_t records = 0;
    uint64_t files = 0;
    int found = 0;
    assert_int_equal(tape_verify(db, count_finding, &found, &records, &files, &error), TAPE_OK);
    assert_int_equal(records, 20000);
    assert_true(files >= 3);
    assert_int_equal(found, 0);
    close_ok(db);
    run("f=$(ls %s/store/*.sst | head -1); printf 'X' | dd of=$f bs=1 seek=5000 conv=notrunc "
        "2>/dev/null",
        f->dir);
    db = open_small(f->dir);
    assert_int_equal(tape_verify(db, count_finding, &found, &records, &files, &error),
                     TAPE_CORRUPT);
    assert_true(found >= 1);
    close_ok(db);
    found = 0;
    run("f=$(ls %s/journal/*.journal | head -1); printf 'X' | dd of=$f bs=1 seek=200000 "
        "conv=notrunc "
        "2>/dev/null",
        f->dir);
    assert_int_equal(tape_verify_dir(f->dir, count_finding, &found, &records, &files, &error),
                     TAPE_CORRUPT);
    assert_true(found >= 2);
}

typedef struct client {
    tape *db;
    _Atomic uint64_t next;
    _Atomic uint32_t stop;
} client;

static void append_in_background(void *argument) {
    client *c = argument;
    while (atomic_load(&c->stop) == 0) {
        uint64_t n = atomic_fetch_add(&c->next, 10);
        append_trades(c->db, n, 10, TAPE_WRITTEN);
        os_sleep_ns(n < 30000 ? 100000 : 5000000); /* bounded, however slow the readers are */
    }
}

/* Readers of every kind beside writers, flushes and trimming. */
static void reads_are_consistent_while_everything_moves(void **state) {
    fixture *f = *state;
    tape *db = open_small(f->dir);
    client c = {.db = db, .next = 1};
    os_thread *threads[2];
    tape_error error = {0};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(
            os_thread_start(&threads[i], "client", -1, append_in_background, &c, &error), TAPE_OK);
    }
    int64_t last = 0;
    for (int i = 0; i < 40; i++) {
        int64_t count = query_int(db, "SELECT count(*) FROM trades", 0);
        assert_true(count >= last && count % 10 == 0); /* appends of ten are whole */
        last = count;
        if (count > 0) {
            char name[32];
            (void)snprintf(name, sizeof name, "t%d", 1 + i % 10);
            const char *key[] = {name};
            tape_trade trade;
            (void)!tape_get(db, TAPE_TABLE_TRADES, key, 1, 0, &trade, &error);
        }
        if (i % 10 == 9) {
            assert_int_equal(tape_checkpoint(db, &error), TAPE_OK);
        }
    }
    atomic_store(&c.stop, 1);
    os_thread_join(&threads[0]);
    os_thread_join(&threads[1]);
    assert_int_equal(query_int(db, "SELECT count(*) FROM trades", 0),
                     (int64_t)atomic_load(&c.next) - 1);
    assert_int_equal(tape_verify(db, NULL, NULL, NULL, NULL, &error), TAPE_OK);
    close_ok(db);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(create_refuses_a_directory_that_is_not_empty),
        TEST(open_says_what_is_wrong_with_the_place),
        TEST(second_owner_gets_locked_with_the_pid_of_the_first),
        TEST(append_refuses_bad_records_whole_and_by_name),
        TEST(get_sees_an_append_at_once_and_the_version_of_its_seq),
        TEST(unique_appends_leave_out_what_is_there),
        TEST(stats_reach_what_was_appended),
        TEST(read_only_handle_reads_and_refuses_to_append),
        TEST(sql_sees_exactly_the_records_up_to_its_seq),
        TEST(columns_are_rebuilt_from_the_store_when_the_journal_is_trimmed),
        TEST(memory_limit_of_columns_stops_sql_and_nothing_else),
        TEST(verify_finds_damage_in_a_table_file_and_in_the_journal),
        TEST(reads_are_consistent_while_everything_moves),
    };
    log_set(LOG_ERROR, NULL, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
