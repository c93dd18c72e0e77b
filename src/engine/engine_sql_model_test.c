/* SQL over a store against a plain DuckDB database: random records, random moments of archiving,
 * merging, flushing and reopening, random statements at random seqs (engine_sql_testing.h).
 *
 * A world is one life of a store on a real directory; everything but the moments of its background
 * threads follows from its seed. TAPE_TEST_SEED=n runs the world of that seed alone
 * (TAPE_TEST_WORLDS=m: so many from it on), TAPE_TEST_TRACE=1 tells every step.
 * TAPE_TEST_SCALE=full runs hundreds of worlds from a seed drawn anew, which is printed. */
#include "engine/engine_internal.h"
#include "engine/engine_sql_testing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define WORLDS 6u
#define WORLDS_FULL 400u
#define STEPS 40u
#define STATEMENTS_KEPT 6u
#define BOUNDS_KEPT 8u
#define DAY_NS (86400 * NS_PER_SECOND)

typedef struct world {
    uint64_t seed, random, step;
    char *root, *dir;
    tape *db;
    tape_open_options options;
    sql_market market;
    sql_records records;
    sql_plain plain;
    sql_statement kept[STATEMENTS_KEPT]; /* asked again later */
    uint64_t bounds[BOUNDS_KEPT];        /* seqs up to which something was archived */
    size_t bound_count;
    char trace[512]; /* what was done to the store, the last at the end */
} world;

/* What was done in all worlds, so that a test can see that it was done. */
typedef struct coverage {
    uint64_t worlds, records, statements, rows, refused, in_the_past, again, explained;
    uint64_t archives, archives_of_days, merges, checkpoints, compactions, reopens;
    uint64_t from_store, from_cache, archive_files_most, foreign;
    uint64_t number; /* of the next statement */
} coverage;
static coverage covered;

static size_t below(world *w, size_t limit) {
    return random_below(&w->random, limit);
}

static bool chance(world *w, unsigned percent) {
    return below(w, 100) < percent;
}

static void trace(world *w, const char *format, ...) PRINTF_LIKE(2, 3);
static void trace(world *w, const char *format, ...) {
    char text[100];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (getenv("TAPE_TEST_TRACE") != NULL) {
        fprintf(stderr, "seed %" PRIu64 ", step %" PRIu64 ", %zu records: %s\n", w->seed, w->step,
                w->records.count, text);
    }
    size_t have = strlen(w->trace);
    size_t more = strlen(text) + 2;
    if (have + more >= sizeof w->trace) {
        memmove(w->trace, w->trace + more, have - more + 1);
        have -= more;
    }
    (void)snprintf(w->trace + have, sizeof w->trace - have, "%s; ", text);
}

static void check(world *w, tape_status status, const tape_error *error, const char *what) {
    if (status != TAPE_OK) {
        fail_msg("seed %" PRIu64 ", step %" PRIu64 ": %s: %s: %s\nafter %s", w->seed, w->step, what,
                 tape_status_name(status), error->text, w->trace);
    }
}

/* --- the life of a store --- */

static void choose_options(world *w) {
    tape_open_options *o = &w->options;
    tape_open_options_init(o);
    o->window_bytes = MIB(1);
    o->memtable_bytes = KIB(96) << below(w, 4);
    o->table_bytes = KIB(32);
    o->reserve_bytes = 0;
    o->query_threads = (int)below(w, 3);
    o->query_memory_bytes = MIB(256);
    o->archive_by_hand = chance(w, 70);
    o->columns_bytes_max = o->archive_by_hand ? GIB(1) : MIB(4) << below(w, 4);
    o->archive_memory_bytes = MIB(256);
    o->archive_codec = chance(w, 30) ? TAPE_ARCHIVE_SNAPPY : TAPE_ARCHIVE_ZSTD;
    o->day_begins_ns = NS_PER_SECOND * 3600 * (int64_t)(chance(w, 50) ? 0 : below(w, 24));
    o->result_cache_bytes = chance(w, 25) ? 0 : MIB(16);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT && w->seed % 3 == 0; id++) {
        o->keep_ns[id] = chance(w, 50) ? 1 : 0;
    }
    /* What expired in the store must still be in the journal, or in the archive. */
    if (w->seed % 3 == 1) {
        o->retain_bytes = chance(w, 50) ? 0 : KIB(256);
    }
}

static void open_store(world *w) {
    tape_error error = {0};
    check(w, engine_open(os_disk_linux(), w->dir, &w->options, true, &w->db, &error), &error,
          "open");
}

/* Returns how far it was archived. */
static uint64_t close_store(world *w) {
    tape_error error = {0};
    tape_stats stats = {.size_bytes = sizeof stats};
    check(w, tape_stats_read(w->db, false, &stats, &error), &error, "stats");
    covered.from_store += stats.queries_from_store;
    covered.from_cache += stats.queries_from_cache;
    covered.merges += stats.archive_merges;
    if (stats.archive_files > covered.archive_files_most) {
        covered.archive_files_most = stats.archive_files;
    }
    check(w, tape_close(&w->db, &error), &error, "close");
    return stats.archived;
}

static void append(world *w, size_t count) {
    size_t first = w->records.count;
    tape_record *records = mem_alloc(count * sizeof *records);
    tape_append_options options;
    tape_append_result result;
    tape_error error = {0};
    sql_market_next(&w->market, &w->records, count);
    for (size_t i = 0; i < count; i++) {
        const sql_record *r = &w->records.all[first + i];
        records[i] = (tape_record){r->table, 0, record_table(r->table)->size_bytes, r->data.bytes};
    }
    tape_append_options_init(&options);
    options.timeout_ns = 60 * NS_PER_SECOND;
    options.level = chance(w, 90) ? TAPE_WRITTEN : TAPE_DURABLE;
    check(w, tape_append(w->db, records, count, &options, &result, &error), &error, "append");
    assert_int_equal(result.first_seq, first + 1);
    free(records);
    covered.records += count;
}

static void archive_now(world *w) {
    tape_archive_options options;
    tape_error error = {0};
    char day[40];
    tape_archive_options_init(&options);
    bool of_day = w->records.count > 0 && chance(w, 30);
    if (of_day) {
        int64_t ts = w->records.all[below(w, w->records.count)].data.order.ts;
        (void)record_format_time(ts, day);
        day[10] = '\0';
        options.date = day;
    }
    trace(w, "archive%s%s", of_day ? " " : "", of_day ? day : "");
    check(w, tape_archive(w->db, &options, &error), &error, "archive");
    w->bounds[w->bound_count++ % BOUNDS_KEPT] = w->records.count;
    covered.archives++;
    covered.archives_of_days += of_day;
}

static void checkpoint_now(world *w) {
    tape_error error = {0};
    trace(w, "checkpoint");
    check(w, tape_checkpoint(w->db, &error), &error, "checkpoint");
    covered.checkpoints++;
}

static void compact_now(world *w) {
    tape_error error = {0};
    trace(w, "compact");
    check(w, tape_compact(w->db, NULL, &error), &error, "compact");
    covered.compactions++;
}

static void reopen(world *w) {
    trace(w, "reopen");
    (void)close_store(w);
    w->options.archive_by_hand = !w->options.archive_by_hand || chance(w, 70);
    w->options.result_cache_bytes = chance(w, 25) ? 0 : MIB(16);
    open_store(w);
    covered.reopens++;
}

/* --- statements --- */

static void print_statement(const sql_statement *s) {
    fprintf(stderr, "%s: %s\n", s->shape, (const char *)s->text.data);
    for (size_t i = 0; i < s->param_count; i++) {
        const tape_value *v = &s->params[i];
        fprintf(stderr, "  $%zu type %d%s: ", i + 1, (int)v->type, v->is_null ? ", NULL" : "");
        if (v->type == TAPE_TYPE_TEXT) {
            fprintf(stderr, "%.*s\n", (int)v->text.size_bytes, v->text.data);
        } else if (v->type == TAPE_TYPE_DOUBLE) {
            fprintf(stderr, "%.17g\n", v->real);
        } else {
            fprintf(stderr, "%" PRId64 "\n", v->int64);
        }
    }
}

static void ask(world *w, const sql_statement *s, uint64_t at, sql_answer *out) {
    tape_query_options options;
    struct ArrowArrayStream stream;
    tape_error error = {0};
    tape_query_options_init(&options);
    options.at = at;
    options.params = s->params;
    options.param_count = s->param_count;
    options.no_cache = chance(w, 10);
    options.timeout_ns = 300 * NS_PER_SECOND;
    tape_status status = tape_query(w->db, (const char *)s->text.data, &options, &stream, &error);
    if (status == TAPE_OK) {
        sql_answer_read(out, &stream);
        return;
    }
    *out = (sql_answer){.status = status, .error = mem_strdup(error.text)};
}

/* At `at` (0: now), as often as given: the same answer every time. */
static void compare(world *w, const sql_statement *s, uint64_t at, unsigned times) {
    sql_answer should;
    char why[1600];
    sql_plain_see(&w->plain, &w->records, at == 0 ? w->records.count : at);
    sql_plain_answer(&w->plain, s, &should);
    for (unsigned i = 0; i < times; i++) {
        sql_answer is;
        ask(w, s, at, &is);
        covered.statements++;
        covered.rows += is.rows;
        covered.refused += is.status != TAPE_OK;
        covered.in_the_past += at != 0;
        if (!sql_answer_same(&is, &should, s, why, sizeof why)) {
            fprintf(stderr, "at seq %" PRIu64 " of %zu, time %u: ", at, w->records.count, i + 1);
            print_statement(s);
            fail_msg("seed %" PRIu64 ", step %" PRIu64 ": %s\nafter %s\nagain with "
                     "TAPE_TEST_SEED=%" PRIu64,
                     w->seed, w->step, why, w->trace, w->seed);
        }
        sql_answer_deinit(&is);
    }
    sql_answer_deinit(&should);
}

static uint64_t random_seq(world *w) {
    if (chance(w, 50) || w->records.count == 0) {
        return 0;
    }
    if (w->bound_count > 0 && chance(w, 35)) {
        size_t kept = w->bound_count < BOUNDS_KEPT ? w->bound_count : BOUNDS_KEPT;
        uint64_t end = w->bounds[below(w, kept)] + 1;
        uint64_t back = below(w, chance(w, 50) ? 3 : 16); /* where files end, and about there */
        return end > back ? end - back : end;
    }
    size_t back = chance(w, 50) ? below(w, w->records.count) : below(w, 60) % w->records.count;
    return w->records.count - back;
}

/* That plans are made is all that is looked at. */
static void explain(world *w, const sql_statement *s) {
    sql_statement e = {.param_count = s->param_count};
    memcpy(e.params, s->params, sizeof e.params);
    buffer_printf(&e.text, "EXPLAIN %s%s", chance(w, 50) ? "ANALYZE " : "",
                  (const char *)s->text.data);
    buffer_append(&e.text, "", 1);
    sql_answer answer;
    ask(w, &e, 0, &answer);
    if (answer.status != TAPE_OK || answer.rows == 0) {
        print_statement(s);
        fail_msg("seed %" PRIu64 ", step %" PRIu64 ": EXPLAIN: %s", w->seed, w->step,
                 answer.error == NULL ? "no rows" : answer.error);
    }
    covered.explained++;
    sql_answer_deinit(&answer);
    buffer_deinit(&e.text);
}

static void ask_something(world *w) {
    sql_statement s;
    sql_statement_make(&s, &w->random, &w->records, covered.number++);
    compare(w, &s, random_seq(w), chance(w, 30) ? 2 : 1);
    bool plain = strncmp((const char *)s.text.data, "DESCRIBE", 8) != 0;
    if (plain && covered.refused == 0 && below(w, 25) == 0) {
        explain(w, &s);
    }
    if (chance(w, 20)) {
        size_t at = below(w, STATEMENTS_KEPT);
        sql_statement_deinit(&w->kept[at]);
        w->kept[at] = s;
        /* Texts of parameters moved with it. */
        for (size_t i = 0; i < s.param_count; i++) {
            if (s.params[i].type == TAPE_TYPE_TEXT) {
                w->kept[at].params[i].text.data = w->kept[at].param_texts[i];
            }
        }
        return;
    }
    sql_statement_deinit(&s);
}

static void ask_again(world *w) {
    sql_statement *s = &w->kept[below(w, STATEMENTS_KEPT)];
    if (s->text.size > 0) {
        covered.again++;
        compare(w, s, chance(w, 70) ? 0 : random_seq(w), 2);
    }
}

/* What was kept of an answer must not outlive a change of what it was made of, however small. */
static void ask_while_appending(world *w) {
    sql_statement s;
    sql_statement_make_narrow(&s, &w->random, &w->records);
    for (int i = 0; i < 4; i++) {
        compare(w, &s, 0, 1 + (i == 0));
        append(w, 1 + below(w, 2));
        covered.again++;
    }
    compare(w, &s, random_seq(w), 1);
    sql_statement_deinit(&s);
}

static void live_step(world *w) {
    size_t appends = below(w, 5);
    for (size_t i = 0; i < appends; i++) {
        append(w, 1 + below(w, chance(w, 80) ? 30 : 200));
    }
    switch (below(w, 12)) {
    case 0:
    case 1:
        archive_now(w);
        break;
    case 3:
        checkpoint_now(w);
        break;
    case 4:
        compact_now(w);
        break;
    case 5:
        reopen(w);
        break;
    default:
        break;
    }
    if (chance(w, 20)) {
        append(w, 1 + below(w, chance(w, 80) ? 30 : 200));
    }
    size_t statements = 4 + below(w, 6);
    for (size_t i = 0; i < statements; i++) {
        ask_something(w);
    }
    ask_again(w);
    if (chance(w, 50)) {
        ask_while_appending(w);
    }
}

static void live(uint64_t seed) {
    world *w = mem_zalloc(sizeof *w);
    const char *parent = getenv("TMPDIR");
    tape_error error = {0};
    w->seed = seed;
    w->random = seed * UINT64_C(0x2545f4914f6cdd1d);
    w->root = mem_printf("%s/tape-sql-XXXXXX", parent == NULL ? "/tmp" : parent);
    assert_non_null(mkdtemp(w->root));
    w->dir = mem_printf("%s/db", w->root);
    sql_market_init(&w->market, seed);
    char *archive_dir = mem_printf("%s/archive", w->dir);
    sql_plain_open(&w->plain, archive_dir);
    choose_options(w);
    check(w, engine_create(os_disk_linux(), w->dir, KIB(256), &error), &error, "create");
    open_store(w);
    for (; w->step < STEPS; w->step++) {
        live_step(w);
    }
    uint64_t archived = close_store(w);
    if (archived > 0) {
        sql_plain_check_files(&w->plain, &w->records, archive_dir, archived);
        covered.foreign++;
    }
    free(archive_dir);
    sql_plain_close(&w->plain);
    sql_records_deinit(&w->records);
    for (size_t i = 0; i < STATEMENTS_KEPT; i++) {
        sql_statement_deinit(&w->kept[i]);
    }
    char *command = mem_printf("rm -rf %s", w->root);
    assert_int_equal(system(command), 0);
    free(command);
    free(w->dir);
    free(w->root);
    free(w);
    covered.worlds++;
}

static void print_coverage(void) {
    const coverage *c = &covered;
    print_message("%" PRIu64 " worlds, %" PRIu64 " records, %" PRIu64 " statements (%" PRIu64
                  " in the past, %" PRIu64 " again later, %" PRIu64 " refused, %" PRIu64
                  " explained), %" PRIu64 " rows; %" PRIu64 " from the store, %" PRIu64
                  " from the cache\n",
                  c->worlds, c->records, c->statements, c->in_the_past, c->again, c->refused,
                  c->explained, c->rows, c->from_store, c->from_cache);
    print_message("%" PRIu64 " archives (%" PRIu64 " of days), %" PRIu64 " merges, %" PRIu64
                  " files at most, %" PRIu64 " checkpoints, %" PRIu64 " compactions, %" PRIu64
                  " reopens; %" PRIu64 " archives read as they are\n",
                  c->archives, c->archives_of_days, c->merges, c->archive_files_most,
                  c->checkpoints, c->compactions, c->reopens, c->foreign);
}

static void sql_answers_as_a_plain_database_does(void **state) {
    (void)state;
    const char *seed_text = getenv("TAPE_TEST_SEED");
    const char *worlds_text = getenv("TAPE_TEST_WORLDS");
    const char *scale = getenv("TAPE_TEST_SCALE");
    bool full = scale != NULL && strcmp(scale, "full") == 0;
    uint64_t first = full ? (uint64_t)time(NULL) * 1000 : 1;
    uint64_t worlds = full ? WORLDS_FULL : WORLDS;
    if (seed_text != NULL) {
        first = strtoull(seed_text, NULL, 10);
        worlds = worlds_text == NULL ? 1 : strtoull(worlds_text, NULL, 10);
    }
    print_message("worlds from seed %" PRIu64 "\n", first);
    for (uint64_t i = 0; i < worlds; i++) {
        covered.number = (first + i) * 1000; /* so that a world is the same alone */
        live(first + i);
    }
    print_coverage();
    const coverage *c = &covered;
    if (seed_text == NULL) {
        assert_true(c->archives > 0 && c->archives_of_days > 0 && c->checkpoints > 0);
        assert_true(c->compactions > 0 && c->reopens > 0 && c->merges > 0);
        assert_true(c->from_store > 0 && c->from_cache > 0 && c->archive_files_most > 20);
        assert_true(c->foreign > 0 && c->refused * 50 < c->statements &&
                    c->rows > 10 * c->statements);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sql_answers_as_a_plain_database_does),
    };
    log_set(LOG_ERROR, NULL, NULL);
    return cmocka_run_group_tests_name("engine_sql_model", tests, NULL, NULL);
}
