/* SQL while the simulated exchange writes: two of them on one store, whose hot columns are so small
 * that rows keep moving into the archive, which is merged meanwhile; readers ask at any moment.
 * What holds at the end of every event of the exchange (src/sim/README.md) must hold in every
 * answer, and what was seen once at a seq is seen again at that seq. Meant to be run under the
 * thread sanitizer; answers are checked in any case. TAPE_TEST_SCALE=full runs longer. */
#include "base/base_testing.h"
#include "engine/engine_internal.h"
#include "sim/sim.h"

#include <setjmp.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define WRITERS 2u
#define READERS 3u
#define NUMBERS_MAX 8u
#define MOMENTS_KEPT 16u

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __LINE__, NULL))
#define CHECK_OK(status, error)                                                                    \
    ((status) == TAPE_OK ? (void)0 : check_failed("ok", __LINE__, error))

/* In any thread: cmocka's own would leave the wrong one. */
_Noreturn static void check_failed(const char *what, int line, const tape_error *error) {
    fprintf(stderr, "line %d: %s: %s\n", line, what, error == NULL ? "" : error->text);
    abort();
}

/* The writers go on until all of this was done, or as many orders were sent. */
typedef struct goals {
    uint64_t statements, archives, takes, orders_max;
} goals;

typedef struct race {
    tape *db;
    goals goals;
    _Atomic uint32_t writing;
    _Atomic uint64_t orders, statements, again, archives, takes;
} race;

/* What a reader saw at a seq. */
typedef struct moment {
    double seq; /* 0: none */
    double trades, volume, orders, filled, balance;
} moment;

typedef struct actor {
    race *race;
    uint64_t number;
    uint64_t random;
    double trades_seen;
    moment moments[MOMENTS_KEPT];
    pthread_t thread;
} actor;

static bool going_on(const race *r) {
    return atomic_load(&r->writing) > 0;
}

/* --- asking --- */

/* The one row of a statement whose columns are all DOUBLE. */
static void numbers_of(race *r, const char *sql, uint64_t at, double *out, int64_t count) {
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_query_options options;
    tape_error error = {0};
    tape_query_options_init(&options);
    options.at = at;
    tape_status status = tape_query(r->db, sql, &options, &stream, &error);
    if (status != TAPE_OK) {
        fprintf(stderr, "%s\n", sql);
    }
    CHECK_OK(status, &error);
    if (stream.get_next(&stream, &array) != 0) {
        fprintf(stderr, "%s: %s\n", sql, stream.get_last_error(&stream));
        abort();
    }
    CHECK(array.release != NULL && array.length == 1 && array.n_children == count);
    for (int64_t i = 0; i < count; i++) {
        out[i] = ((const double *)array.children[i]->buffers[1])[0];
    }
    array.release(&array);
    stream.release(&stream);
    atomic_fetch_add_explicit(&r->statements, 1, memory_order_relaxed);
}

/* The one number of a statement. */
static double number_of(race *r, const char *sql) {
    double number = 0;
    numbers_of(r, sql, 0, &number, 1);
    return number;
}

/* --- what must hold --- */

#define SEQ_OF(table) "coalesce((SELECT max(seq) FROM " table "), 0)"
static const char MOMENT_SQL[] =
    "SELECT greatest(" SEQ_OF("trades") ", " SEQ_OF("orders") ", " SEQ_OF("accounts") ", " SEQ_OF(
        "positions") ", " SEQ_OF("instruments") ", " SEQ_OF("ticks") ", " SEQ_OF("depth") ")::"
                                                                                          "DOUBLE, "
                                                                                          "(SELECT "
                                                                                          "count(*)"
                                                                                          " FROM "
                                                                                          "trades):"
                                                                                          ":DOUBLE,"
                                                                                          " ("
                                                                                          "SELECT "
                                                                                          "coalesce"
                                                                                          "(sum("
                                                                                          "volume),"
                                                                                          " 0) "
                                                                                          "FROM "
                                                                                          "trades),"
                                                                                          " "
                                                                                          "(SELECT "
                                                                                          "count(*)"
                                                                                          " FROM "
                                                                                          "orders):"
                                                                                          ":DOUBLE,"
                                                                                          " ("
                                                                                          "SELECT "
                                                                                          "coalesce"
                                                                                          "(sum("
                                                                                          "filled_"
                                                                                          "volume),"
                                                                                          " 0) "
                                                                                          "FROM "
                                                                                          "orders),"
                                                                                          " "
                                                                                          "(SELECT "
                                                                                          "coalesce"
                                                                                          "(sum("
                                                                                          "balance)"
                                                                                          ", 0) "
                                                                                          "FROM "
                                                                                          "accounts"
                                                                                          ")";

static moment moment_at(race *r, uint64_t at) {
    double n[6];
    numbers_of(r, MOMENT_SQL, at, n, 6);
    return (moment){n[0], n[1], n[2], n[3], n[4], n[5]};
}

static void check_now(actor *a) {
    moment m = moment_at(a->race, 0);
    CHECK(2 * m.volume == m.filled);
    CHECK(m.trades >= a->trades_seen);
    a->trades_seen = m.trades;
    a->moments[random_below(&a->random, MOMENTS_KEPT)] = m;
}

static void check_again(actor *a) {
    const moment *then = &a->moments[random_below(&a->random, MOMENTS_KEPT)];
    if (then->seq == 0) {
        return;
    }
    moment now = moment_at(a->race, (uint64_t)then->seq);
    CHECK(memcmp(&now, then, sizeof now) == 0);
    atomic_fetch_add_explicit(&a->race->again, 1, memory_order_relaxed);
}

/* Statements whose one number is how many rows are wrong. */
static const char *const wrongs[] = {
    /* The same money at all times, of each exchange. */
    ("SELECT count(*)::DOUBLE FROM (SELECT split_part(user_id, '-', 1) AS exchange, sum(balance) "
     "AS money FROM accounts GROUP BY 1) WHERE money <> (SELECT max(balance) FROM accounts_history "
     "WHERE user_id = exchange || '-clearing')"),
    ("SELECT count(*)::DOUBLE FROM accounts WHERE available <> balance - margin - frozen OR "
     "available < 0"),
    "SELECT count(*)::DOUBLE FROM orders WHERE filled_volume > volume",
    ("SELECT count(*)::DOUBLE FROM (SELECT instrument_id, sum(volume) AS v FROM trades GROUP BY 1) "
     "t FULL JOIN (SELECT instrument_id, sum(volume) AS v FROM ticks GROUP BY 1) q USING "
     "(instrument_id) WHERE coalesce(t.v, 0) <> coalesce(q.v, 0)"),
    ("SELECT count(*)::DOUBLE FROM (SELECT instrument_id, sum(long_volume) AS l, sum(short_volume) "
     "AS s FROM positions GROUP BY 1) WHERE l <> s"),
    ("SELECT count(*)::DOUBLE FROM ticks WHERE bid_price >= ask_price AND bid_price > 0 AND "
     "ask_price > 0"),
    ("SELECT count(*)::DOUBLE FROM depth WHERE bid_price[1] >= ask_price[1] AND bid_price[1] > 0 "
     "AND ask_price[1] > 0"),
    /* Every record once. */
    "SELECT (count(*) - count(DISTINCT seq))::DOUBLE FROM trades",
    ("SELECT max(seq)::DOUBLE - count(*)::DOUBLE FROM (SELECT seq FROM trades UNION ALL SELECT seq "
     "FROM orders_history UNION ALL SELECT seq FROM accounts_history UNION ALL SELECT seq FROM "
     "positions_history UNION ALL SELECT seq FROM instruments_history UNION ALL SELECT seq FROM "
     "ticks UNION ALL SELECT seq FROM depth)"),
    /* The newest version of each order, and no other. */
    ("SELECT count(*)::DOUBLE FROM orders o FULL JOIN (SELECT order_id, max(seq) AS seq FROM "
     "orders_history GROUP BY 1) h USING (order_id) WHERE o.seq IS DISTINCT FROM h.seq"),
    /* Both orders of every trade. */
    ("SELECT count(*)::DOUBLE FROM trades t WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE "
     "o.order_id = t.order_id) OR NOT EXISTS (SELECT 1 FROM orders o WHERE o.order_id = "
     "t.counter_order_id)"),
    /* A trade is followed by its resting and its incoming order, wherever the three lie by now. */
    ("SELECT count(*)::DOUBLE FROM trades t LEFT JOIN orders_history a ON a.seq = t.seq + 1 AND "
     "a.order_id = t.counter_order_id LEFT JOIN orders_history b ON b.seq = t.seq + 2 AND "
     "b.order_id = t.order_id WHERE a.seq IS NULL OR b.seq IS NULL"),
};

static void check_wrongs(actor *a) {
    const char *sql = wrongs[random_below(&a->random, COUNT_OF(wrongs))];
    double count = number_of(a->race, sql);
    if (count != 0) {
        fprintf(stderr, "%g rows are wrong: %s\n", count, sql);
        abort();
    }
}

static void *run_reader(void *argument) {
    actor *a = argument;
    while (going_on(a->race) && number_of(a->race, "SELECT count(*)::DOUBLE FROM trades") == 0) {
        os_sleep_ns(1000000);
    }
    do {
        check_now(a);
        check_wrongs(a);
        check_again(a);
    } while (going_on(a->race));
    check_now(a);
    check_again(a);
    return NULL;
}

/* --- writing and moving --- */

static bool not_done(void *context, uint64_t orders) {
    const race *r = context;
    (void)orders;
    return r->statements < r->goals.statements || r->archives < r->goals.archives ||
           r->takes < r->goals.takes;
}

static void *run_writer(void *argument) {
    actor *a = argument;
    sim_options options;
    sim_result result;
    tape_error error = {0};
    sim_options_init(&options);
    options.orders = a->race->goals.orders_max;
    options.seed = a->number + 1;
    options.rate = 6000;
    options.level = TAPE_WRITTEN;
    options.progress = not_done;
    options.progress_context = a->race;
    CHECK_OK(sim_run(a->race->db, &options, &result, &error), &error);
    CHECK(result.trades > 0);
    atomic_fetch_add(&a->race->orders, result.orders);
    atomic_fetch_sub(&a->race->writing, 1);
    return NULL;
}

static bool archive_goes_on(void *context, uint64_t done, uint64_t total) {
    CHECK(done <= total);
    return *(bool *)context;
}

/* Beside what the background archives by itself. */
static void *run_archiver(void *argument) {
    actor *a = argument;
    while (going_on(a->race)) {
        tape_archive_options options;
        tape_error error = {0};
        bool whole = random_below(&a->random, 4) != 0;
        tape_archive_options_init(&options);
        options.progress = archive_goes_on;
        options.context = &whole;
        options.date = random_below(&a->random, 3) == 0 ? "2024-01-02" : NULL;
        tape_status status = tape_archive(a->race->db, &options, &error);
        if (status != TAPE_CANCELLED || whole) {
            CHECK_OK(status, &error);
        }
        atomic_fetch_add_explicit(&a->race->archives, status == TAPE_OK, memory_order_relaxed);
        if (random_below(&a->random, 4) == 0) {
            CHECK_OK(tape_compact(a->race->db, NULL, &error), &error);
        }
        os_sleep_ns(INT64_C(1000000) * (int64_t)random_below(&a->random, 500));
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
        CHECK(s.written >= last.written && s.archived >= last.archived);
        CHECK(s.queryable >= last.queryable && s.queryable <= s.written);
        CHECK(s.archived <= s.committed && s.queries >= last.queries);
        last = s;
        atomic_store(&a->race->takes, s.archive_takes);
        os_sleep_ns(INT64_C(3000000));
    }
    return NULL;
}

/* --- the test --- */

static void run_all(race *r) {
    static void *(*const runs[])(void *) = {run_archiver, run_watcher};
    actor actors[WRITERS + READERS + COUNT_OF(runs)];
    atomic_store(&r->writing, WRITERS);
    for (uint64_t i = 0; i < COUNT_OF(actors); i++) {
        actors[i] = (actor){.race = r, .number = i, .random = i + 1};
        void *(*run)(void *) = i < WRITERS             ? run_writer
                               : i < WRITERS + READERS ? run_reader
                                                       : runs[i - WRITERS - READERS];
        CHECK(pthread_create(&actors[i].thread, NULL, run, &actors[i]) == 0);
    }
    for (size_t i = 0; i < COUNT_OF(actors); i++) {
        CHECK(pthread_join(actors[i].thread, NULL) == 0);
    }
}

static void check_all(race *r) {
    actor a = {.race = r, .random = 1};
    for (size_t i = 0; i < COUNT_OF(wrongs); i++) {
        CHECK(number_of(r, wrongs[i]) == 0);
    }
    check_now(&a);
    CHECK(number_of(r, "SELECT count(*)::DOUBLE FROM orders") == (double)r->orders);
}

static tape *open_small(const char *dir) {
    tape_open_options options;
    tape *db = NULL;
    tape_error error;
    tape_open_options_init(&options);
    options.window_bytes = MIB(1);
    options.memtable_bytes = MIB(1);
    options.table_bytes = KIB(256);
    options.background_cpu = 1;
    options.reserve_bytes = 0;
    options.columns_bytes_max = MIB(96); /* less than tape_open allows */
    options.query_memory_bytes = MIB(256);
    options.archive_memory_bytes = MIB(128);
    CHECK_OK(engine_open(os_disk_linux(), dir, &options, true, &db, &error), &error);
    return db;
}

static void readers_see_whole_states_while_rows_move_into_history(void **state) {
    (void)state;
    const char *parent = getenv("TMPDIR");
    const char *scale = getenv("TAPE_TEST_SCALE");
    bool full = scale != NULL && strcmp(scale, "full") == 0;
    char *root = mem_printf("%s/tape-sql-race-XXXXXX", parent == NULL ? "/tmp" : parent);
    assert_non_null(mkdtemp(root));
    char *dir = mem_printf("%s/db", root);
    tape_error error;
    tape_stats s = {.size_bytes = sizeof s};
    CHECK_OK(engine_create(os_disk_linux(), dir, MIB(1), &error), &error);
    race r = {.goals = full ? (goals){20000, 200, 300, 5000000} : (goals){500, 3, 4, 50000}};
    r.db = open_small(dir);
    run_all(&r);
    check_all(&r);
    CHECK_OK(tape_stats_read(r.db, true, &s, &error), &error);
    CHECK(s.archive_takes > 0 && s.archived > 0 && s.queryable == s.written);
    print_message("%" PRIu64 " records, %" PRIu64 " archived in %" PRIu64 " takes and %" PRIu64
                  " merges; %" PRIu64 " statements, %" PRIu64 " asked again\n",
                  s.written, s.archived, s.archive_takes, s.archive_merges, r.statements, r.again);
    CHECK_OK(tape_verify(r.db, NULL, NULL, NULL, NULL, &error), &error);
    CHECK_OK(tape_close(&r.db, &error), &error);
    r.db = open_small(dir);
    check_all(&r);
    CHECK_OK(tape_close(&r.db, &error), &error);
    char *command = mem_printf("rm -rf %s", root);
    assert_int_equal(system(command), 0);
    free(command);
    free(dir);
    free(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_whole_states_while_rows_move_into_history),
    };
    log_set(LOG_ERROR, NULL, NULL);
    return cmocka_run_group_tests_name("sql_race", tests, NULL, NULL);
}
