/* Views, scans, reads of many keys, compaction and retention through the public calls, on a real
 * directory; what a full disk does, on the simulated one. */
#include "engine/engine_internal.h"
#include "os/os_sim.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define USERS 50

typedef struct fixture {
    char root[64];
    char dir[96];
    tape *db;
    tape_open_options options;
} fixture;

static void open_store(fixture *f) {
    tape_error error = {0};
    if (tape_open(f->dir, &f->options, &f->db, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void close_store(fixture *f) {
    tape_error error = {0};
    if (tape_close(&f->db, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    tape_error error;
    if (f == NULL) {
        return -1;
    }
    (void)snprintf(f->root, sizeof f->root, "/tmp/tape-read-XXXXXX");
    if (mkdtemp(f->root) == NULL) {
        return -1;
    }
    (void)snprintf(f->dir, sizeof f->dir, "%s/db", f->root);
    tape_create_options create;
    tape_create_options_init(&create);
    create.segment_bytes = MIB(4);
    if (tape_create(f->dir, &create, &error) != TAPE_OK) {
        print_error("%s\n", error.text);
        return -1;
    }
    tape_open_options_init(&f->options);
    f->options.window_bytes = MIB(8);
    f->options.memtable_bytes = MIB(1);
    f->options.table_bytes = MIB(1);
    f->options.reserve_bytes = 0;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    char command[160];
    tape_status ignored = tape_close(&f->db, NULL);
    (void)ignored;
    (void)snprintf(command, sizeof command, "rm -rf %s", f->root);
    int done = system(command);
    free(f);
    return done;
}

/* What CHECK shows when a call fails; each thread has its own. */
static _Thread_local tape_error why;

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if ((call) != TAPE_OK) {                                                                   \
            fail_msg("%s: %s", #call, why.text);                                                   \
        }                                                                                          \
    } while (0)

static tape_account account_of(uint64_t n) {
    tape_account account;
    memset(&account, 0, sizeof account);
    (void)snprintf(account.user_id, sizeof account.user_id, "u%03llu",
                   (unsigned long long)(n % USERS));
    account.balance = (double)n;
    return account;
}

static tape_trade trade_of(uint64_t n) {
    tape_trade trade;
    memset(&trade, 0, sizeof trade);
    (void)snprintf(trade.trade_id, sizeof trade.trade_id, "t%08llu", (unsigned long long)n);
    trade.price = (double)n;
    return trade;
}

/* Appends versions first .. first + count - 1, one record each: of the empty store record n becomes
 * seq n. */
static void append_accounts(tape *db, uint64_t first, uint64_t count) {
    for (uint64_t n = first; n < first + count; n++) {
        tape_account account = account_of(n);
        tape_record record = TAPE_RECORD(ACCOUNTS, &account);
        CHECK(tape_append(db, &record, 1, NULL, NULL, &why));
    }
}

static void append_trades(tape *db, uint64_t first, uint64_t count) {
    for (uint64_t n = first; n < first + count; n++) {
        tape_trade trade = trade_of(n);
        tape_record record = TAPE_RECORD(TRADES, &trade);
        CHECK(tape_append(db, &record, 1, NULL, NULL, &why));
    }
}

static tape_stats stats_of(tape *db) {
    tape_stats stats = {.size_bytes = sizeof stats};
    CHECK(tape_stats_read(db, false, &stats, &why));
    return stats;
}

/* All rows of a scan, as balances; the caller frees. */
static double *scan_balances(tape_view *view, const tape_scan_options *options, size_t step,
                             size_t *count) {
    tape_scan *scan = NULL;
    double *out = NULL;
    *count = 0;
    CHECK(tape_scan_open(view, options, &scan, &why));
    for (size_t some = 1; some > 0;) {
        const void *rows = NULL;
        CHECK(tape_scan_next(scan, step, &rows, &some, &why));
        assert_true(some <= step);
        out = mem_realloc(out, (*count + some + 1) * sizeof *out);
        for (size_t i = 0; i < some; i++) {
            out[(*count)++] = ((const tape_account *)rows)[i].balance;
        }
    }
    tape_scan_close(&scan);
    assert_null(scan);
    return out;
}

static size_t count_rows(tape_view *view, const tape_scan_options *options) {
    size_t count = 0;
    free(scan_balances(view, options, 4096, &count));
    return count;
}

static tape_scan_options scan_of(uint16_t table) {
    tape_scan_options options;
    tape_scan_options_init(&options);
    options.table = table;
    return options;
}

/* --- views --- */

static void view_shows_its_seq_whatever_comes_after(void **state) {
    fixture *f = *state;
    tape_view *view = NULL;
    tape_view *earlier = NULL;
    tape_account account;
    open_store(f);
    append_accounts(f->db, 1, 500);
    CHECK(tape_view_open(f->db, 0, TAPE_WRITTEN, &view, &why));
    CHECK(tape_view_open(f->db, 120, TAPE_WRITTEN, &earlier, &why));
    assert_int_equal(tape_view_seq(view), 500);
    assert_int_equal(tape_view_seq(earlier), 120);
    assert_int_equal(stats_of(f->db).views, 2);
    append_accounts(f->db, 501, 500);
    CHECK(tape_compact(f->db, NULL, &why));
    append_accounts(f->db, 1001, 100);
    tape_scan_options options = scan_of(TAPE_TABLE_ACCOUNTS);
    size_t count = 0;
    double *balances = scan_balances(view, &options, 7, &count);
    assert_int_equal(count, USERS);
    for (uint64_t n = 451; n <= 500; n++) {
        tape_account wanted = account_of(n);
        char name[33] = "";
        memcpy(name, wanted.user_id, sizeof wanted.user_id);
        const char *key[] = {name};
        CHECK(tape_view_get(view, TAPE_TABLE_ACCOUNTS, key, 1, &account, &why));
        assert_true(account.balance == (double)n && account.seq == n);
        assert_true(balances[n % USERS] == (double)n);
        CHECK(tape_view_get(earlier, TAPE_TABLE_ACCOUNTS, key, 1, &account, &why));
        assert_true(account.seq <= 120 && account.seq > 120 - USERS);
        CHECK(tape_get(f->db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &account, &why));
        assert_true(account.seq > 1050);
    }
    free(balances);
    tape_error error = {0};
    const char *absent[] = {"nobody"};
    assert_int_equal(tape_view_get(view, TAPE_TABLE_ACCOUNTS, absent, 1, &account, &error),
                     TAPE_NOT_FOUND);
    assert_non_null(strstr(error.text, "nobody"));
    assert_non_null(strstr(error.text, "seq 500"));
    assert_int_equal(tape_view_get(view, 77, absent, 1, &account, &error), TAPE_INVALID);
    tape_view_close(&view);
    tape_view_close(&earlier);
    tape_view_close(&view);
    assert_int_equal(stats_of(f->db).views, 0);
}

static void view_of_an_empty_store_stays_empty(void **state) {
    fixture *f = *state;
    tape_view *view = NULL;
    tape_account account;
    open_store(f);
    CHECK(tape_view_open(f->db, 0, TAPE_COMMITTED, &view, &why));
    assert_int_equal(tape_view_seq(view), 0);
    append_accounts(f->db, 1, 3);
    const char *key[] = {"u001"};
    assert_int_equal(tape_view_get(view, TAPE_TABLE_ACCOUNTS, key, 1, &account, NULL),
                     TAPE_NOT_FOUND);
    tape_scan_options options = scan_of(TAPE_TABLE_ACCOUNTS);
    assert_int_equal(count_rows(view, &options), 0);
    tape_view_close(&view);
    tape_error error = {0};
    assert_int_equal(tape_view_open(f->db, 0, (tape_level)9, &view, &error), TAPE_INVALID);
    assert_null(view);
}

/* --- scans --- */

static void scan_takes_bounds_and_both_directions(void **state) {
    fixture *f = *state;
    tape_view *view = NULL;
    open_store(f);
    append_accounts(f->db, 1, 300);
    CHECK(tape_checkpoint(f->db, &why));
    append_accounts(f->db, 301, 100); /* some in files, some in memory */
    CHECK(tape_view_open(f->db, 0, TAPE_WRITTEN, &view, &why));
    tape_scan_options options = scan_of(TAPE_TABLE_ACCOUNTS);
    options.prefix = "u01";
    size_t count = 0;
    double *balances = scan_balances(view, &options, 3, &count);
    assert_int_equal(count, 10);
    for (size_t i = 0; i < 10; i++) {
        assert_true(balances[i] == (double)(360 + i));
    }
    free(balances);
    options.backward = true;
    balances = scan_balances(view, &options, 4096, &count);
    assert_int_equal(count, 10);
    assert_true(balances[0] == 369 && balances[9] == 360);
    free(balances);
    options = scan_of(TAPE_TABLE_ACCOUNTS);
    options.from = "u010";
    options.to = "u012";
    assert_int_equal(count_rows(view, &options), 2);
    options.versions = true;
    assert_int_equal(count_rows(view, &options), 16);
    const char *key[] = {"u007"};
    options = scan_of(TAPE_TABLE_ACCOUNTS);
    options.key = key;
    options.key_count = 1;
    options.versions = true;
    balances = scan_balances(view, &options, 5, &count);
    assert_int_equal(count, 8);
    assert_true(balances[0] == 357 && balances[1] == 307 && balances[7] == 7);
    free(balances);
    options = scan_of(TAPE_TABLE_POSITIONS);
    assert_int_equal(count_rows(view, &options), 0);
    tape_view_close(&view);
}

static void scan_says_what_is_wrong_with_its_bounds(void **state) {
    fixture *f = *state;
    tape_view *view = NULL;
    tape_scan *scan = NULL;
    tape_error error = {0};
    open_store(f);
    CHECK(tape_view_open(f->db, 0, TAPE_WRITTEN, &view, &why));
    tape_scan_options options = scan_of(99);
    assert_int_equal(tape_scan_open(view, &options, &scan, &error), TAPE_INVALID);
    assert_int_equal(tape_scan_open(view, NULL, &scan, &error), TAPE_INVALID);
    options = scan_of(TAPE_TABLE_ACCOUNTS);
    options.prefix = "a";
    options.from = "b";
    assert_int_equal(tape_scan_open(view, &options, &scan, &error), TAPE_INVALID);
    assert_true(strlen(error.text) > 0);
    options = scan_of(TAPE_TABLE_TICKS);
    options.prefix = "1";
    assert_int_equal(tape_scan_open(view, &options, &scan, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "seq"));
    assert_null(scan);
    options = scan_of(TAPE_TABLE_TICKS);
    CHECK(tape_scan_open(view, &options, &scan, &why));
    const void *rows = NULL;
    size_t count = 1;
    assert_int_equal(tape_scan_next(scan, 0, &rows, &count, &error), TAPE_INVALID);
    for (int i = 0; i < 3; i++) { /* the end stays the end */
        CHECK(tape_scan_next(scan, 10, &rows, &count, &why));
        assert_int_equal(count, 0);
    }
    tape_scan_close(&scan);
    tape_view_close(&view);
}

/* --- many keys --- */

static void many_keys_are_read_as_one_by_one(void **state) {
    fixture *f = *state;
    enum { KEYS = 100 };
    char names[KEYS][8];
    const char *keys[KEYS];
    tape_account accounts[KEYS];
    bool found[KEYS];
    tape_error error = {0};
    open_store(f);
    append_accounts(f->db, 1, 200);
    for (size_t i = 0; i < KEYS; i++) {
        (void)snprintf(names[i], sizeof names[i], "u%03zu", (i * 7) % KEYS);
        keys[i] = names[i];
    }
    for (int pass = 0; pass < 3; pass++) {
        static const size_t counts[] = {0, 1, 31, 33, KEYS};
        for (size_t c = 0; c < COUNT_OF(counts); c++) {
            memset(found, 1, sizeof found);
            CHECK(tape_get_many(f->db, TAPE_TABLE_ACCOUNTS, keys, 1, counts[c], 170, accounts,
                                found, &why));
            for (size_t i = 0; i < counts[c]; i++) {
                tape_account one;
                tape_status status =
                    tape_get(f->db, TAPE_TABLE_ACCOUNTS, &keys[i], 1, 170, &one, NULL);
                assert_int_equal(found[i], status == TAPE_OK);
                assert_int_equal(found[i], (i * 7) % KEYS < USERS);
                assert_true(!found[i] || memcmp(&one, &accounts[i], sizeof one) == 0);
            }
        }
        if (pass == 1) {
            CHECK(tape_compact(f->db, NULL, &why));
        } else {
            CHECK(tape_checkpoint(f->db, &why));
        }
    }
    keys[40] = "";
    assert_int_equal(
        tape_get_many(f->db, TAPE_TABLE_ACCOUNTS, keys, 1, KEYS, 0, accounts, found, &error),
        TAPE_INVALID);
    assert_non_null(strstr(error.text, "key 41 of 100"));
    assert_int_equal(tape_get_many(f->db, 0, keys, 1, 1, 0, accounts, found, &error), TAPE_INVALID);
    /* Keys of two fields. */
    tape_position position;
    memset(&position, 0, sizeof position);
    memcpy(position.user_id, "a", 1);
    memcpy(position.instrument_id, "I1", 2);
    position.long_volume = 7;
    tape_record record = TAPE_RECORD(POSITIONS, &position);
    CHECK(tape_append(f->db, &record, 1, NULL, NULL, &why));
    const char *pairs[] = {"a", "I2", "a", "I1"};
    tape_position positions[2];
    CHECK(tape_get_many(f->db, TAPE_TABLE_POSITIONS, pairs, 2, 2, 0, positions, found, &why));
    assert_true(!found[0] && found[1] && positions[1].long_volume == 7);
}

/* --- compaction --- */

static uint64_t files_above_last(const tape_stats *stats) {
    uint64_t files = 0;
    for (size_t i = 0; i + 1 < COUNT_OF(stats->level_files); i++) {
        files += stats->level_files[i];
    }
    return files;
}

static bool count_calls(void *context, uint64_t done, uint64_t total) {
    assert_true(done <= total);
    ++*(int *)context;
    return true;
}

static bool refuse(void *context, uint64_t done, uint64_t total) {
    (void)context;
    (void)done;
    (void)total;
    return false;
}

static void compact_brings_everything_into_the_last_level(void **state) {
    fixture *f = *state;
    f->options.background_cpu = 0.05;
    open_store(f);
    for (uint64_t round = 0; round < 6; round++) {
        append_accounts(f->db, 1 + round * 1000, 500);
        append_trades(f->db, 1 + round * 10000, 2000);
        CHECK(tape_checkpoint(f->db, &why));
    }
    tape_compact_options options;
    tape_compact_options_init(&options);
    int calls = 0;
    options.table = TAPE_TABLE_ACCOUNTS;
    options.progress = count_calls;
    options.context = &calls;
    CHECK(tape_compact(f->db, &options, &why));
    tape_compact_options_init(&options);
    CHECK(tape_compact(f->db, &options, &why));
    tape_stats stats = stats_of(f->db);
    assert_int_equal(files_above_last(&stats), 0);
    assert_true(stats.level_files[6] >= 2 && stats.table_files == stats.level_files[6]);
    assert_true(stats.space_amplification == 1);
    assert_true(stats.write_amplification > 0 && stats.flushed_bytes > 0);
    assert_true(stats.compactions > 0);
    CHECK(tape_verify(f->db, NULL, NULL, NULL, NULL, &why));
    for (int reopened = 0; reopened < 2; reopened++) {
        tape_view *view = NULL;
        CHECK(tape_view_open(f->db, 0, TAPE_WRITTEN, &view, &why));
        tape_scan_options accounts = scan_of(TAPE_TABLE_ACCOUNTS);
        assert_int_equal(count_rows(view, &accounts), USERS);
        accounts.versions = true;
        assert_int_equal(count_rows(view, &accounts), 3000); /* nothing was dropped */
        tape_view_close(&view);
        close_store(f);
        open_store(f);
    }
}

static void compact_says_what_it_cannot_do(void **state) {
    fixture *f = *state;
    tape_error error = {0};
    tape_compact_options options;
    open_store(f);
    tape_compact_options_init(&options);
    options.table = 77;
    assert_int_equal(tape_compact(f->db, &options, &error), TAPE_INVALID);
    options.table = 0;
    options.prefix = "x";
    assert_int_equal(tape_compact(f->db, &options, &error), TAPE_INVALID);
    options.table = TAPE_TABLE_TICKS;
    assert_int_equal(tape_compact(f->db, &options, &error), TAPE_INVALID);
    for (uint64_t round = 0; round < 3; round++) {
        append_accounts(f->db, 1 + round * 4000, 4000);
        CHECK(tape_checkpoint(f->db, &why));
    }
    tape_compact_options_init(&options);
    options.progress = refuse;
    assert_int_equal(tape_compact(f->db, &options, &error), TAPE_CANCELLED);
    options.progress = NULL;
    CHECK(tape_compact(f->db, &options, &why));
    CHECK(tape_verify(f->db, NULL, NULL, NULL, NULL, &why));
    close_store(f);
    f->options.read_only = true;
    open_store(f);
    assert_int_equal(tape_compact(f->db, NULL, &error), TAPE_FORBIDDEN);
}

/* Waits for what the background does in its own time. */
static void await(fixture *f, bool (*done)(const tape_stats *stats)) {
    for (int i = 0; i < 3000; i++) {
        tape_stats stats = stats_of(f->db);
        if (done(&stats)) {
            return;
        }
        os_sleep_ns(NS_PER_SECOND / 100);
    }
    fail_msg("it did not come to pass in half a minute");
}

static bool is_calm(const tape_stats *stats) {
    return stats->compaction_score < 1 && stats->compactions + stats->compact_moves > 0;
}

static bool is_scrubbed(const tape_stats *stats) {
    return stats->scrubbed_bytes >= stats->store_bytes && stats->store_bytes > 0;
}

static void background_compacts_and_scrubs_by_itself(void **state) {
    fixture *f = *state;
    f->options.scrub_bytes_per_second = GIB(1);
    f->options.background_cpu = 8;
    open_store(f);
    for (uint64_t round = 0; round < 5; round++) {
        append_accounts(f->db, 1 + round * 1000, 500);
        CHECK(tape_checkpoint(f->db, &why));
    }
    await(f, is_calm);
    CHECK(tape_verify(f->db, NULL, NULL, NULL, NULL, &why));
    close_store(f);
    open_store(f);
    await(f, is_scrubbed);
    assert_int_equal(stats_of(f->db).scrub_findings, 0);
    close_store(f);
    char command[256];
    (void)snprintf(command, sizeof command,
                   "f=$(ls -S %s/store/*.sst | head -1); "
                   "printf 'X' | dd of=$f bs=1 seek=9000 conv=notrunc 2>/dev/null",
                   f->dir);
    assert_int_equal(system(command), 0);
    open_store(f);
    await(f, is_scrubbed);
    assert_true(stats_of(f->db).scrub_findings > 0);
}

/* --- retention --- */

static void entities_keep_only_the_newest_version_when_asked(void **state) {
    fixture *f = *state;
    tape_account account;
    tape_error error = {0};
    tape_view *view = NULL;
    const char *key[] = {"u007"};
    tape_scan_options versions = scan_of(TAPE_TABLE_ACCOUNTS);
    versions.versions = true;
    f->options.keep_ns[TAPE_TABLE_ACCOUNTS] = 1;
    open_store(f);
    append_accounts(f->db, 1, 500);
    append_trades(f->db, 1, 10);
    CHECK(tape_view_open(f->db, 300, TAPE_WRITTEN, &view, &why));
    CHECK(tape_compact(f->db, NULL, &why));
    /* What the view shows stays as long as it is open. */
    CHECK(tape_view_get(view, TAPE_TABLE_ACCOUNTS, key, 1, &account, &why));
    assert_int_equal(account.seq, 257);
    CHECK(tape_get(f->db, TAPE_TABLE_ACCOUNTS, key, 1, 300, &account, &why));
    tape_view_close(&view);
    append_accounts(f->db, 511, 1);
    CHECK(tape_compact(f->db, NULL, &why));
    assert_true(stats_of(f->db).dropped_records >= 450);
    for (int reopened = 0; reopened < 2; reopened++) {
        assert_int_equal(tape_get(f->db, TAPE_TABLE_ACCOUNTS, key, 1, 300, &account, &error),
                         TAPE_TOO_OLD);
        assert_non_null(strstr(error.text, "accounts"));
        assert_int_equal(tape_view_open(f->db, 300, TAPE_WRITTEN, &view, &error), TAPE_TOO_OLD);
        assert_null(view);
        CHECK(tape_get(f->db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &account, &why));
        assert_int_equal(account.seq, 457);
        /* Other tables are not concerned. */
        tape_trade trade;
        const char *id[] = {"t00000003"};
        CHECK(tape_get(f->db, TAPE_TABLE_TRADES, id, 1, 503, &trade, &why));
        CHECK(tape_view_open(f->db, 0, TAPE_WRITTEN, &view, &why));
        assert_int_equal(count_rows(view, &versions), USERS);
        tape_view_close(&view);
        CHECK(tape_verify(f->db, NULL, NULL, NULL, NULL, &why));
        close_store(f);
        open_store(f);
    }
}

static void events_expire_when_asked(void **state) {
    fixture *f = *state;
    tape_trade trade;
    tape_error error = {0};
    const char *key[] = {"t00000003"};
    tape_view *view = NULL;
    open_store(f);
    append_trades(f->db, 1, 10);
    CHECK(tape_view_open(f->db, 0, TAPE_WRITTEN, &view, &why));
    tape_view_close(&view);
    close_store(f);
    f->options.keep_ns[TAPE_TABLE_TRADES] = 1;
    open_store(f);
    assert_int_equal(tape_get(f->db, TAPE_TABLE_TRADES, key, 1, 0, &trade, &error), TAPE_NOT_FOUND);
    CHECK(tape_view_open(f->db, 0, TAPE_WRITTEN, &view, &why));
    tape_scan_options options = scan_of(TAPE_TABLE_TRADES);
    assert_int_equal(count_rows(view, &options), 0);
    tape_view_close(&view);
    /* An expired key is not there: it can come again. */
    trade = trade_of(3);
    tape_record record = TAPE_RECORD(TRADES, &trade);
    tape_append_options unique;
    tape_append_options_init(&unique);
    unique.flags = TAPE_UNIQUE;
    tape_append_result result;
    CHECK(tape_append(f->db, &record, 1, &unique, &result, &why));
    assert_int_equal(result.duplicates, 0);
    CHECK(tape_compact(f->db, NULL, &why));
    assert_true(stats_of(f->db).dropped_records >= 10);
    CHECK(tape_verify(f->db, NULL, NULL, NULL, NULL, &why));
    close_store(f);
    /* A day later is far away: what is not expired is seen. */
    f->options.keep_ns[TAPE_TABLE_TRADES] = 86400 * NS_PER_SECOND;
    open_store(f);
    append_trades(f->db, 100, 5);
    const char *fresh[] = {"t00000102"};
    CHECK(tape_get(f->db, TAPE_TABLE_TRADES, fresh, 1, 0, &trade, &why));
}

static int64_t query_int(tape *db, const char *sql) {
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    CHECK(tape_query(db, sql, NULL, &stream, &why));
    assert_int_equal(stream.get_next(&stream, &array), 0);
    assert_non_null(array.release);
    int64_t value = ((const int64_t *)array.children[0]->buffers[1])[array.children[0]->offset];
    array.release(&array);
    stream.release(&stream);
    return value;
}

/* The journal is trimmed, the store has let versions go, appends have several records: the columns
 * end up at a whole append, with every record that is kept somewhere, and go on. */
static void sql_is_rebuilt_from_what_the_store_kept(void **state) {
    fixture *f = *state;
    f->options.keep_ns[TAPE_TABLE_ACCOUNTS] = 1;
    f->options.retain_bytes = 0;
    open_store(f);
    uint64_t units = 30000;
    for (uint64_t n = 1; n <= units; n++) { /* a trade, then two versions, as one */
        tape_trade trade = trade_of(n);
        tape_account one = account_of(2 * n);
        tape_account two = account_of(2 * n + 1);
        tape_record records[] = {TAPE_RECORD(TRADES, &trade), TAPE_RECORD(ACCOUNTS, &one),
                                 TAPE_RECORD(ACCOUNTS, &two)};
        CHECK(tape_append(f->db, records, 3, NULL, NULL, &why));
    }
    CHECK(tape_compact(f->db, NULL, &why));
    tape_stats stats = stats_of(f->db);
    assert_true(stats.oldest > 1);
    assert_true(stats.dropped_records > 50000);
    for (int reopened = 0; reopened < 3; reopened++) {
        assert_int_equal(query_int(f->db, "SELECT count(*) FROM trades"), units);
        assert_int_equal(query_int(f->db, "SELECT count(*) FROM accounts"), USERS);
        assert_int_equal(query_int(f->db, "SELECT max(seq)::BIGINT FROM accounts_history"),
                         3 * units);
        stats.size_bytes = sizeof stats;
        CHECK(tape_stats_read(f->db, true, &stats, &why));
        assert_int_equal(stats.queryable, 3 * units);
        units++;
        tape_trade trade = trade_of(units);
        tape_account one = account_of(units);
        tape_account two = account_of(units + 1);
        tape_record more[] = {TAPE_RECORD(TRADES, &trade), TAPE_RECORD(ACCOUNTS, &one),
                              TAPE_RECORD(ACCOUNTS, &two)};
        CHECK(tape_append(f->db, more, 3, NULL, NULL, &why));
        if (reopened == 1) {
            CHECK(tape_compact(f->db, NULL, &why));
        }
        close_store(f);
        open_store(f);
    }
}

/* --- options --- */

static void options_out_of_bounds_are_named(void **state) {
    fixture *f = *state;
    tape_open_options o[12];
    static const char *const names[] = {"table_bytes",    "upper_share", "upper_share",
                                        "pack_level",     "pack_level",  "pack is",
                                        "background_cpu", "background",  "mapped_files_max",
                                        "keep_ns[2]",     "keep_ns[0]",  "memtable_bytes"};
    for (size_t i = 0; i < COUNT_OF(o); i++) {
        o[i] = f->options;
    }
    o[0].table_bytes = 1000;
    o[1].upper_share = -1;
    o[2].upper_share = __builtin_nan("");
    o[3].pack_level = 7;
    o[4].pack_level = -1;
    o[5].pack = (tape_pack)3;
    o[6].background_cpu = 0;
    o[7].background_cpu = __builtin_nan("");
    o[8].mapped_files_max = 0;
    o[9].keep_ns[TAPE_TABLE_TRADES] = -5;
    o[10].keep_ns[0] = 1;
    o[11].memtable_bytes = 10;
    for (size_t i = 0; i < COUNT_OF(o); i++) {
        tape_error error = {0};
        if (tape_open(f->dir, &o[i], &f->db, &error) != TAPE_INVALID ||
            strstr(error.text, names[i]) == NULL) {
            fail_msg("case %zu: %s", i, error.text);
        }
        assert_null(f->db);
    }
    /* A program built before these options were there. */
    f->options.size_bytes = offsetof(tape_open_options, keep_ns);
    f->options.background_cpu = 1000;
    open_store(f);
}

/* --- everything at once --- */

typedef struct crowd {
    tape *db;
    _Atomic uint32_t stop;
    _Atomic uint64_t written; /* version n of the account n % USERS is seq n */
} crowd;

static void keep_appending(void *argument) {
    crowd *c = argument;
    while (atomic_load(&c->stop) == 0) {
        uint64_t n = atomic_load(&c->written) + 1;
        append_accounts(c->db, n, 1);
        atomic_store(&c->written, n);
        if (n % 64 == 0) {
            os_sleep_ns(n < 40000 ? 50000 : 5000000); /* bounded, however slow the readers are */
        }
    }
}

static void keep_compacting(void *argument) {
    crowd *c = argument;
    while (atomic_load(&c->stop) == 0) {
        CHECK(tape_compact(c->db, NULL, &why));
        os_sleep_ns(NS_PER_SECOND / 50);
    }
}

/* What a view must show of a user: the last n <= seq with n % USERS == user. */
static uint64_t version_at(uint64_t seq, uint64_t user) {
    uint64_t n = seq - seq % USERS + user;
    return n > seq ? n - USERS : n;
}

static void check_view(tape_view *view) {
    uint64_t seq = tape_view_seq(view);
    tape_scan_options options = scan_of(TAPE_TABLE_ACCOUNTS);
    size_t count = 0;
    double *balances = scan_balances(view, &options, 16, &count);
    assert_int_equal(count, USERS);
    char names[USERS][8];
    const char *keys[USERS];
    tape_account accounts[USERS];
    bool found[USERS];
    for (uint64_t user = 0; user < USERS; user++) {
        assert_true(balances[user] == (double)version_at(seq, user));
        (void)snprintf(names[user], sizeof names[user], "u%03u", (unsigned)user);
        keys[user] = names[user];
    }
    free(balances);
    CHECK(tape_view_get_many(view, TAPE_TABLE_ACCOUNTS, keys, 1, USERS, accounts, found, &why));
    for (uint64_t user = 0; user < USERS; user++) {
        assert_true(found[user] && accounts[user].seq == version_at(seq, user));
    }
}

static void views_repeat_while_everything_moves(void **state) {
    fixture *f = *state;
    f->options.keep_ns[TAPE_TABLE_ACCOUNTS] = 1;
    open_store(f);
    crowd c = {.db = f->db};
    append_accounts(f->db, 1, 2 * USERS);
    atomic_store(&c.written, 2 * USERS);
    os_thread *threads[2];
    CHECK(os_thread_start(&threads[0], "append", -1, keep_appending, &c, &why));
    CHECK(os_thread_start(&threads[1], "compact", -1, keep_compacting, &c, &why));
    tape_view *views[8] = {0};
    for (int i = 0; i < 160; i++) {
        tape_view **view = &views[i % 8];
        if (*view != NULL) {
            check_view(*view); /* again, now that it is old */
            tape_view_close(view);
        }
        CHECK(tape_view_open(f->db, 0, i % 3 == 0 ? TAPE_DURABLE : TAPE_WRITTEN, view, &why));
        if (tape_view_seq(*view) < USERS) {
            tape_view_close(view);
            continue;
        }
        check_view(*view);
        const char *key[] = {"u013"};
        tape_account account;
        CHECK(tape_get(f->db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &account, &why));
        assert_true(account.seq >= version_at(tape_view_seq(*view), 13));
        os_sleep_ns(NS_PER_SECOND / 1000);
    }
    for (size_t i = 0; i < COUNT_OF(views); i++) {
        if (views[i] != NULL) {
            check_view(views[i]);
        }
        tape_view_close(&views[i]);
    }
    atomic_store(&c.stop, 1);
    os_thread_join(&threads[0]);
    os_thread_join(&threads[1]);
    CHECK(tape_verify(f->db, NULL, NULL, NULL, NULL, &why));
}

/* --- a full disk --- */

static void full_disk_refuses_appends_and_nothing_else(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(1);
    os_disk *disk = os_sim_process_start(sim);
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = KIB(64);
    options.memtable_bytes = KIB(64);
    options.reserve_bytes = KIB(512);
    tape *db = NULL;
    tape_account account;
    tape_error error = {0};
    CHECK(engine_create(disk, "/db", KIB(64), &why));
    os_sim_set_capacity(sim, MIB(2));
    CHECK(engine_open(disk, "/db", &options, false, &db, &why));
    tape_append_options append;
    tape_append_options_init(&append);
    append.level = TAPE_DURABLE;
    append.timeout_ns = 0;
    uint64_t written = 0;
    for (int round = 0; round < 3; round++) {
        tape_status status = TAPE_OK;
        while (status == TAPE_OK && written < 100000) {
            account = account_of(written + 1);
            tape_record record = TAPE_RECORD(ACCOUNTS, &account);
            status = tape_append(db, &record, 1, &append, NULL, &error);
            written += status == TAPE_OK;
            if (status == TAPE_OK && written % 300 == 0) {
                CHECK(tape_checkpoint(db, &why));
            }
        }
        if (status != TAPE_NO_SPACE) {
            fail_msg("%s: %s", tape_status_name(status), error.text);
        }
        assert_non_null(strstr(error.text, "reserve"));
        /* Reads of every kind, and what makes room: all of it goes on. */
        for (uint64_t n = written - USERS + 1; n <= written; n++) {
            tape_account wanted = account_of(n);
            char name[33] = "";
            memcpy(name, wanted.user_id, sizeof wanted.user_id);
            const char *key[] = {name};
            CHECK(tape_get(db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &account, &why));
            assert_int_equal(account.seq, n);
        }
        tape_view *view = NULL;
        CHECK(tape_view_open(db, 0, TAPE_DURABLE, &view, &why));
        assert_int_equal(tape_view_seq(view), written);
        tape_scan_options scan = scan_of(TAPE_TABLE_ACCOUNTS);
        scan.versions = true;
        assert_int_equal(count_rows(view, &scan), written);
        tape_view_close(&view);
        CHECK(tape_checkpoint(db, &why));
        CHECK(tape_verify(db, NULL, NULL, NULL, NULL, &why));
        os_sim_set_capacity(sim, MIB(2) * (uint64_t)(round + 2));
    }
    account = account_of(written + 1);
    tape_record record = TAPE_RECORD(ACCOUNTS, &account);
    CHECK(tape_append(db, &record, 1, &append, NULL, &why));
    CHECK(tape_close(&db, &why));
    CHECK(engine_open(disk, "/db", &options, false, &db, &why));
    const char *last[] = {account.user_id};
    CHECK(tape_get(db, TAPE_TABLE_ACCOUNTS, last, 1, 0, &account, &why));
    assert_int_equal(account.seq, written + 1);
    CHECK(tape_verify(db, NULL, NULL, NULL, NULL, &why));
    CHECK(tape_close(&db, &why));
    os_sim_destroy(&sim);
}

/* A disk that others fill to the last byte: memtables cannot be written, and reads say so instead
 * of waiting for ever. */
static void read_that_waits_for_a_full_disk_says_so(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(1);
    os_disk *disk = os_sim_process_start(sim);
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = MIB(1);
    options.memtable_bytes = KIB(64);
    options.reserve_bytes = 0;
    tape *db = NULL;
    tape_error error = {0};
    tape_account account;
    CHECK(engine_create(disk, "/db", MIB(2), &why));
    CHECK(engine_open(disk, "/db", &options, false, &db, &why));
    append_accounts(db, 1, 1500);
    CHECK(tape_wait(db, 1500, TAPE_DURABLE, 0, &why));
    os_sim_fault full = {.operation = OS_SIM_WRITE, .effect = OS_SIM_NO_SPACE, .path = "*.sst*"};
    (void)os_sim_fault_add(sim, &full);
    append_accounts(db, 1501, 1500);
    CHECK(tape_wait(db, 3000, TAPE_DURABLE, 0, &why));
    const char *key[] = {"u001"};
    assert_int_equal(tape_get(db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &account, &error), TAPE_NO_SPACE);
    CHECK(tape_get(db, TAPE_TABLE_ACCOUNTS, key, 1, 100, &account, &why));
    assert_int_equal(account.seq, 51);
    os_sim_fault_clear(sim);
    CHECK(tape_get(db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &account, &why));
    assert_int_equal(account.seq, 2951);
    CHECK(tape_close(&db, &why));
    os_sim_destroy(&sim);
}

static _Atomic uint32_t told; /* lines about compaction that the log was given */

static void log_count(void *context, log_level level, const char *line) {
    (void)context;
    (void)level;
    atomic_fetch_add(&told, strstr(line, "compacted") != NULL);
}

/* Threads on the simulated disk. */
static void compaction_on_a_full_disk_is_told_once_and_done_later(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(1);
    os_disk *disk = os_sim_process_start(sim);
    fixture f = {0};
    tape_open_options_init(&f.options);
    f.options.window_bytes = KIB(64);
    f.options.scrub_bytes_per_second = 0;
    f.options.background_cpu = 8;
    CHECK(engine_create(disk, "/db", KIB(64), &why));
    CHECK(engine_open(disk, "/db", &f.options, false, &f.db, &why));
    for (uint64_t round = 0; round < 6; round++) {
        append_accounts(f.db, 1 + 100 * round, 100);
        CHECK(tape_checkpoint(f.db, &why));
    }
    assert_true(stats_of(f.db).compaction_score > 1);
    close_store(&f);
    os_sim_fault full = {.operation = OS_SIM_WRITE, .effect = OS_SIM_NO_SPACE, .path = "*.sst*"};
    size_t number = os_sim_fault_add(sim, &full);
    atomic_store(&told, 0);
    CHECK(engine_open(disk, "/db", &f.options, true, &f.db, &why));
    for (int i = 0; i < 3000 && os_sim_fault_hits(sim, number) < 2; i++) {
        os_sleep_ns(NS_PER_SECOND / 100);
    }
    assert_true(os_sim_fault_hits(sim, number) >= 2);
    assert_int_equal(atomic_load(&told), 1);
    append_accounts(f.db, 601, 10); /* it concerns nobody else */
    os_sim_fault_clear(sim);
    await(&f, is_calm);
    CHECK(tape_verify(f.db, NULL, NULL, NULL, NULL, &why));
    close_store(&f);
    os_sim_destroy(&sim);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(view_shows_its_seq_whatever_comes_after),
        TEST(view_of_an_empty_store_stays_empty),
        TEST(scan_takes_bounds_and_both_directions),
        TEST(scan_says_what_is_wrong_with_its_bounds),
        TEST(many_keys_are_read_as_one_by_one),
        TEST(compact_brings_everything_into_the_last_level),
        TEST(compact_says_what_it_cannot_do),
        TEST(background_compacts_and_scrubs_by_itself),
        TEST(entities_keep_only_the_newest_version_when_asked),
        TEST(events_expire_when_asked),
        TEST(sql_is_rebuilt_from_what_the_store_kept),
        TEST(options_out_of_bounds_are_named),
        TEST(views_repeat_while_everything_moves),
        cmocka_unit_test(full_disk_refuses_appends_and_nothing_else),
        cmocka_unit_test(read_that_waits_for_a_full_disk_says_so),
        cmocka_unit_test(compaction_on_a_full_disk_is_told_once_and_done_later),
    };
    log_set(LOG_ERROR, log_count, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
