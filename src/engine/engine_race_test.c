/* Everything at once on a real directory: writers, readers by key, views and scans, flushes,
 * compactions on demand and in the background, scrubbing, figures. Meant to be run under the thread
 * sanitizer; what readers see is checked in any case.
 *
 * Writer w makes batch n of one trade "w-n", a version of one of its accounts in turn, and a tick,
 * all holding n. So in every view, with N the highest trade of a writer: its trades are 1 .. N
 * without a gap, each of its accounts stands at the highest n <= N that was its turn, and before
 * that at those of its turns before. */
#include "base/base_testing.h"
#include "engine/engine_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WRITERS 3u
#define READERS 3u
#define USERS 8u /* of a writer */

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __LINE__, NULL))
#define CHECK_OK(status, error)                                                                    \
    ((status) == TAPE_OK ? (void)0 : check_failed("ok", __LINE__, error))

/* In any thread: cmocka's own would leave the wrong one. */
_Noreturn static void check_failed(const char *what, int line, const tape_error *error) {
    fprintf(stderr, "line %d: %s: %s\n", line, what, error == NULL ? "" : error->text);
    abort();
}

typedef struct race {
    tape *db;
    uint64_t batches;
    bool expires; /* versions of accounts and ticks go at once */
    _Atomic uint32_t writing;
    _Atomic uint64_t views, rows, compactions;
} race;

typedef struct actor {
    race *race;
    uint64_t number;
    uint64_t random;
    uint64_t seen[WRITERS]; /* the highest trades met so far */
    pthread_t thread;
} actor;

static bool going_on(const race *r) {
    return atomic_load(&r->writing) > 0;
}

static void trade_id(char out[40], uint64_t writer, uint64_t n) {
    char text[48];
    int length = snprintf(text, sizeof text, "w%" PRIu64 "-%08" PRIu64, writer, n);
    memset(out, 0, 40);
    memcpy(out, text, (size_t)length);
}

static void user_id(char out[32], uint64_t writer, uint64_t user) {
    char text[48];
    int length = snprintf(text, sizeof text, "w%" PRIu64 "-u%" PRIu64, writer, user);
    memset(out, 0, 32);
    memcpy(out, text, (size_t)length);
}

/* --- writing --- */

static void append_batch(race *r, uint64_t writer, uint64_t n) {
    tape_trade again = {.price = 1};
    tape_trade trade = {.price = (double)n, .volume = 1};
    tape_account account = {.balance = (double)n};
    tape_tick tick = {.last_price = (double)n};
    bool unique = n > 1 && n % 16 == 0;
    trade_id(again.trade_id, writer, n - 1);
    trade_id(trade.trade_id, writer, n);
    user_id(account.user_id, writer, n % USERS);
    (void)snprintf(tick.instrument_id, sizeof tick.instrument_id, "w%u", (unsigned)(writer % 10));
    const tape_record records[] = {TAPE_RECORD(TRADES, &again), TAPE_RECORD(TRADES, &trade),
                                   TAPE_RECORD(ACCOUNTS, &account), TAPE_RECORD(TICKS, &tick)};
    tape_append_options options;
    tape_append_options_init(&options);
    options.level = n % 128 == 0 ? TAPE_DURABLE : TAPE_WRITTEN;
    options.flags = unique ? TAPE_UNIQUE : 0;
    options.timeout_ns = 60 * NS_PER_SECOND;
    tape_append_result result;
    tape_error error;
    size_t skip = unique ? 0 : 1;
    CHECK_OK(tape_append(r->db, records + skip, 4 - skip, &options, &result, &error), &error);
    CHECK(result.duplicates == (unique ? 1 : 0));
    CHECK(result.last_seq == result.first_seq + 2);
}

static void *run_writer(void *argument) {
    actor *a = argument;
    for (uint64_t n = 1; n <= a->race->batches; n++) {
        append_batch(a->race, a->number, n);
    }
    atomic_fetch_sub(&a->race->writing, 1);
    return NULL;
}

/* --- reading --- */

static tape_scan *open_scan(tape_view *view, uint16_t table, const char *prefix, const char *from,
                            bool backward, bool versions) {
    tape_scan_options options;
    tape_scan *scan = NULL;
    tape_error error;
    tape_scan_options_init(&options);
    options.table = table;
    options.prefix = prefix;
    options.from = from;
    options.backward = backward;
    options.versions = versions;
    CHECK_OK(tape_scan_open(view, &options, &scan, &error), &error);
    return scan;
}

static size_t next_rows(race *r, tape_scan *scan, size_t max, const void **rows) {
    tape_error error;
    size_t count = 0;
    CHECK_OK(tape_scan_next(scan, max, rows, &count, &error), &error);
    CHECK(count <= max);
    atomic_fetch_add_explicit(&r->rows, count, memory_order_relaxed);
    return count;
}

/* The highest trade of a writer, or 0. */
static uint64_t highest_trade(actor *a, tape_view *view, uint64_t writer) {
    char prefix[16];
    const void *rows = NULL;
    (void)snprintf(prefix, sizeof prefix, "w%" PRIu64 "-", writer);
    tape_scan *scan = open_scan(view, TAPE_TABLE_TRADES, prefix, NULL, true, false);
    uint64_t n =
        next_rows(a->race, scan, 1, &rows) == 0 ? 0 : (uint64_t)((const tape_trade *)rows)->price;
    tape_scan_close(&scan);
    return n;
}

/* From some trade on up to the highest, none is missing, and they come in order. */
static void check_trades(actor *a, tape_view *view, uint64_t writer, uint64_t highest) {
    uint64_t n = 1 + random_below(&a->random, highest);
    char from[40];
    char beyond[8];
    trade_id(from, writer, n);
    (void)snprintf(beyond, sizeof beyond, "w%" PRIu64 ".", writer);
    tape_scan_options options;
    tape_scan *scan = NULL;
    tape_error error;
    tape_scan_options_init(&options);
    options.table = TAPE_TABLE_TRADES;
    options.from = from;
    options.to = beyond;
    CHECK_OK(tape_scan_open(view, &options, &scan, &error), &error);
    const void *rows = NULL;
    for (size_t count; (count = next_rows(a->race, scan, 300, &rows)) > 0;) {
        for (size_t i = 0; i < count; i++) {
            const tape_trade *trade = (const tape_trade *)rows + i;
            char id[40];
            trade_id(id, writer, n);
            CHECK(memcmp(trade->trade_id, id, sizeof id) == 0 && trade->price == (double)n);
            n++;
        }
    }
    CHECK(n == highest + 1);
    tape_scan_close(&scan);
}

/* Where user `user` stands when the highest batch is `n`; 0: it had no turn. */
static uint64_t turn_of(uint64_t user, uint64_t n) {
    uint64_t turn = n - (n + USERS - user) % USERS;
    return n < turn ? 0 : turn;
}

static void check_accounts(tape_view *view, uint64_t writer, uint64_t highest) {
    char ids[USERS][40];
    const char *keys[USERS];
    tape_account accounts[USERS];
    bool found[USERS];
    tape_error error;
    for (uint64_t user = 0; user < USERS; user++) {
        user_id(ids[user], writer, user);
        keys[user] = ids[user];
    }
    CHECK_OK(tape_view_get_many(view, TAPE_TABLE_ACCOUNTS, keys, 1, USERS, accounts, found, &error),
             &error);
    for (uint64_t user = 0; user < USERS; user++) {
        uint64_t turn = turn_of(user, highest);
        CHECK(found[user] == (turn != 0));
        CHECK(!found[user] || accounts[user].balance == (double)turn);
    }
}

/* All versions of an account, up or down. */
static void check_versions(actor *a, tape_view *view, uint64_t writer, uint64_t highest) {
    char id[40];
    const void *rows = NULL;
    uint64_t user = random_below(&a->random, USERS);
    bool backward = random_below(&a->random, 2) == 0;
    uint64_t turn = turn_of(user, highest);
    uint64_t first = user == 0 ? USERS : user;
    uint64_t next = backward ? first : turn;
    user_id(id, writer, user);
    tape_scan *scan = open_scan(view, TAPE_TABLE_ACCOUNTS, id, NULL, backward, true);
    uint64_t rows_seen = 0;
    for (size_t count; (count = next_rows(a->race, scan, 100, &rows)) > 0;) {
        for (size_t i = 0; i < count; i++, rows_seen++) {
            uint64_t n = (uint64_t)((const tape_account *)rows)[i].balance;
            CHECK(a->race->expires ? n <= turn && n % USERS == user : n == next);
            next = backward ? next + USERS : next - USERS;
        }
    }
    CHECK(a->race->expires ? rows_seen > 0 || turn == 0
                           : rows_seen == (turn + USERS - first) / USERS);
    tape_scan_close(&scan);
}

/* Everything of a table in a view, as one number. */
static uint64_t digest(actor *a, tape_view *view, uint16_t table, bool versions, bool backward) {
    const void *rows = NULL;
    uint64_t sum = 0;
    tape_scan *scan = open_scan(view, table, NULL, NULL, backward, versions);
    size_t size = tape_table(table)->size_bytes;
    for (size_t count; (count = next_rows(a->race, scan, 1000, &rows)) > 0;) {
        for (size_t i = 0; i < count; i++) {
            sum += crc32c(0, (const uint8_t *)rows + i * size, size); /* in either direction */
            sum += UINT64_C(1) << 40;
        }
    }
    tape_scan_close(&scan);
    return sum;
}

static void check_view(actor *a) {
    race *r = a->race;
    tape_view *view = NULL;
    tape_error error;
    uint64_t writer = random_below(&a->random, WRITERS);
    tape_level level = random_below(&a->random, 3) == 0 ? TAPE_DURABLE : TAPE_WRITTEN;
    CHECK_OK(tape_view_open(r->db, 0, level, &view, &error), &error);
    uint64_t highest = highest_trade(a, view, writer);
    if (level == TAPE_WRITTEN) {
        CHECK(highest >= a->seen[writer]);
        a->seen[writer] = highest;
    }
    uint16_t table = random_below(&a->random, 2) == 0 ? TAPE_TABLE_ACCOUNTS : TAPE_TABLE_TICKS;
    bool twice = random_below(&a->random, 4) == 0;
    uint64_t before = twice ? digest(a, view, table, true, false) : 0;
    for (int i = 0; highest > 0 && i < 2; i++) {
        check_accounts(view, writer, highest);
        check_versions(a, view, writer, highest);
        check_trades(a, view, writer, highest);
    }
    CHECK(highest_trade(a, view, writer) == highest);
    CHECK(!twice || digest(a, view, table, true, true) == before);
    tape_view_close(&view);
    atomic_fetch_add_explicit(&r->views, 1, memory_order_relaxed);
}

/* Without a view: what was there is never gone, and what comes is newer. */
static void check_gets(actor *a) {
    tape_error error;
    uint64_t writer = random_below(&a->random, WRITERS);
    for (int i = 0; i < 50 && a->seen[writer] > 0; i++) {
        tape_trade trade;
        char id[41] = "";
        const char *key[] = {id};
        uint64_t n = 1 + random_below(&a->random, a->seen[writer]);
        trade_id(id, writer, n);
        CHECK_OK(tape_get(a->race->db, TAPE_TABLE_TRADES, key, 1, 0, &trade, &error), &error);
        CHECK(trade.price == (double)n);
        tape_account account;
        uint64_t user = random_below(&a->random, USERS);
        uint64_t turn = turn_of(user, a->seen[writer]);
        user_id(id, writer, user);
        tape_status status =
            tape_get(a->race->db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &account, &error);
        CHECK(status == TAPE_OK || (status == TAPE_NOT_FOUND && turn == 0));
        CHECK(status != TAPE_OK ||
              (account.balance >= (double)turn && (uint64_t)account.balance % USERS == user));
    }
}

static void *run_reader(void *argument) {
    actor *a = argument;
    do {
        check_view(a);
        check_gets(a);
    } while (going_on(a->race));
    check_view(a);
    return NULL;
}

/* --- upkeep --- */

static bool goes_on(void *context, uint64_t done, uint64_t total) {
    CHECK(done <= total);
    return *(bool *)context;
}

static void *run_compactor(void *argument) {
    actor *a = argument;
    race *r = a->race;
    while (going_on(r)) {
        tape_compact_options options;
        tape_error error;
        bool whole = random_below(&a->random, 4) != 0;
        char prefix[16];
        tape_compact_options_init(&options);
        options.progress = goes_on;
        options.context = &whole;
        if (random_below(&a->random, 2) == 0) {
            (void)snprintf(prefix, sizeof prefix, "w%zu", random_below(&a->random, WRITERS));
            options.table =
                random_below(&a->random, 2) == 0 ? TAPE_TABLE_TRADES : TAPE_TABLE_ACCOUNTS;
            options.prefix = prefix;
        }
        if (random_below(&a->random, 3) == 0) {
            CHECK_OK(tape_checkpoint(r->db, &error), &error);
        }
        tape_status status = tape_compact(r->db, &options, &error);
        CHECK(status == TAPE_OK || (status == TAPE_CANCELLED && !whole));
        atomic_fetch_add_explicit(&r->compactions, status == TAPE_OK, memory_order_relaxed);
        os_sleep_ns(INT64_C(1000000) * (int64_t)random_below(&a->random, 30));
    }
    return NULL;
}

static void *run_watcher(void *argument) {
    actor *a = argument;
    tape_stats last = {.size_bytes = sizeof last};
    while (going_on(a->race)) {
        tape_stats s = {.size_bytes = sizeof s};
        tape_error error;
        CHECK_OK(tape_stats_read(a->race->db, false, &s, &error), &error);
        CHECK(s.written >= last.written && s.durable >= last.durable && s.applied >= last.applied);
        CHECK(s.gets >= last.gets && s.flushed_bytes >= last.flushed_bytes);
        last = s;
        os_sleep_ns(INT64_C(2000000));
    }
    return NULL;
}

/* --- the tests --- */

static void print_damage(void *context, const tape_error *finding) {
    (void)context;
    fprintf(stderr, "%s\n", finding->text);
}

static tape *open_small(const char *dir, bool expires) {
    tape_open_options options;
    tape *db = NULL;
    tape_error error;
    tape_open_options_init(&options);
    options.window_bytes = MIB(1);
    options.memtable_bytes = KIB(96);
    options.table_bytes = KIB(32);
    options.pack_level = 6;
    options.mapped_files_max = 12;
    options.background_cpu = 2;
    options.scrub_bytes_per_second = MIB(64);
    options.reserve_bytes = 0;
    if (expires) {
        options.keep_ns[TAPE_TABLE_ACCOUNTS] = 1;
        options.keep_ns[TAPE_TABLE_TICKS] = 20000000;
    }
    CHECK_OK(engine_open(os_disk_linux(), dir, &options, true, &db, &error), &error);
    return db;
}

static void run_all(race *r) {
    static void *(*const runs[])(void *) = {run_compactor, run_watcher};
    actor actors[WRITERS + READERS + COUNT_OF(runs)];
    size_t count = 0;
    atomic_store(&r->writing, WRITERS);
    for (uint64_t i = 0; i < COUNT_OF(actors); i++) {
        actors[i] = (actor){.race = r, .number = i, .random = i + 1};
        void *(*run)(void *) = i < WRITERS             ? run_writer
                               : i < WRITERS + READERS ? run_reader
                                                       : runs[i - WRITERS - READERS];
        CHECK(pthread_create(&actors[i].thread, NULL, run, &actors[i]) == 0);
        count++;
    }
    for (size_t i = 0; i < count; i++) {
        CHECK(pthread_join(actors[i].thread, NULL) == 0);
    }
}

static void race_in_a_directory(bool expires) {
    const char *parent = getenv("TMPDIR");
    const char *scale = getenv("TAPE_TEST_SCALE");
    bool full = scale != NULL && strcmp(scale, "full") == 0;
    char *root = mem_printf("%s/tape-race-XXXXXX", parent == NULL ? "/tmp" : parent);
    assert_non_null(mkdtemp(root));
    char *dir = mem_printf("%s/db", root);
    tape_error error;
    CHECK_OK(engine_create(os_disk_linux(), dir, MIB(1), &error), &error);
    race r = {.batches = full ? 100000 : 4000, .expires = expires};
    r.db = open_small(dir, expires);
    run_all(&r);
    tape_status status = tape_verify(r.db, print_damage, NULL, NULL, NULL, &error);
    CHECK_OK(status, &error);
    CHECK_OK(tape_close(&r.db, &error), &error);

    r.db = open_small(dir, expires);
    for (uint64_t writer = 0; writer < WRITERS; writer++) {
        actor a = {.race = &r, .random = writer};
        tape_view *view = NULL;
        CHECK_OK(tape_view_open(r.db, 0, TAPE_WRITTEN, &view, &error), &error);
        CHECK(highest_trade(&a, view, writer) == r.batches);
        check_accounts(view, writer, r.batches);
        check_trades(&a, view, writer, r.batches);
        check_versions(&a, view, writer, r.batches);
        tape_view_close(&view);
    }
    CHECK_OK(tape_close(&r.db, &error), &error);
    print_message("%" PRIu64 " views, %" PRIu64 " rows, %" PRIu64 " compactions on demand\n",
                  r.views, r.rows, r.compactions);
    char *command = mem_printf("rm -rf %s", root);
    assert_int_equal(system(command), 0);
    free(command);
    free(dir);
    free(root);
}

static void readers_see_whole_states_while_everything_moves(void **state) {
    (void)state;
    race_in_a_directory(false);
}

static void readers_see_whole_states_while_versions_expire(void **state) {
    (void)state;
    race_in_a_directory(true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_whole_states_while_everything_moves),
        cmocka_unit_test(readers_see_whole_states_while_versions_expire),
    };
    log_set(LOG_ERROR, NULL, NULL);
    return cmocka_run_group_tests_name("engine_race", tests, NULL, NULL);
}
