/* An archive, opened, filled, read and kept: each promise of archive.h by itself. */
#include "archive/archive_testing.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static int setup(void **state) {
    world *w = mem_zalloc(sizeof *w);
    world_init(w, 1);
    *state = w;
    return 0;
}

static int teardown(void **state) {
    world *w = *state;
    world_deinit(w);
    free(w);
    return 0;
}

static void merge_day_ok(world *w) {
    tape_error error;
    int32_t day = archive_day_of(w->a, w->now);
    world_ok(archive_merge_day(w->a, day, (archive_beat){0}, &error), &error);
}

static bool is_there(const char *path) {
    return access(path, F_OK) == 0;
}

static char *sql_of(const world_view *v, uint16_t table, archive_rows rows, uint64_t seq,
                    const columns_hint *hint, archive_pruning *pruning) {
    buffer sql = {0};
    *pruning = (archive_pruning){0};
    (void)archive_view_sql(v->view, record_table(table), rows, seq, hint, &sql, pruning);
    buffer_end(&sql);
    return (char *)sql.data;
}

/* One integer from a statement over the archive's files. */
static int64_t ask(world *w, const world_view *v, uint64_t seq, const char *sql) {
    tape_error error;
    duck_session *s = NULL;
    int64_t value = 0;
    world_ok(duck_session_open(world_reader(w), &s, &error), &error);
    duck_session_see(s, archive_view_seq(v->view), seq);
    world_ok(archive_run_integers(s, sql, &value, 1, &error), &error);
    duck_session_close(&s);
    return value;
}

static void take_moves_rows_into_files_and_every_row_is_read_once(void **state) {
    world *w = *state;
    world_open_ok(w);
    world_append_many(w, 0, 400);
    assert_true(world_check_now(w) >= 400);
    world_take_ok(w);
    assert_true(world_check_now(w) >= 400);
    world_append_many(w, 0, 300);
    world_view v = world_view_open(w);
    for (uint64_t seq = 0; seq <= 700; seq += 35) {
        (void)world_check(w, &v, seq, NULL);
    }
    world_view_close(&v);
    world_take_ok(w);
    assert_true(world_check_now(w) >= 700);
    archive_stats stats;
    archive_stats_read(w->a, &stats);
    assert_int_equal(stats.seq, 700);
    assert_int_equal(stats.takes, 2);
    assert_int_equal(stats.taken_rows, 700);
    uint64_t rows = 0;
    for (uint16_t t = 1; t <= TAPE_TABLE_COUNT; t++) {
        rows += stats.rows[t];
    }
    assert_int_equal(rows, 700);
    assert_true(stats.files > 10 && stats.bytes > 10000);
}

static void no_damage(void *context, const tape_error *finding) {
    (void)context;
    fail_msg("%s", finding->text);
}

static void empty_archive_has_nothing_and_makes_nothing(void **state) {
    world *w = *state;
    tape_error error;
    world_open_ok(w);
    world_view v = world_view_open(w);
    archive_pruning pruning;
    char *sql = sql_of(&v, TAPE_TABLE_ORDERS, ARCHIVE_NEWEST, UINT64_MAX, NULL, &pruning);
    assert_string_equal(sql, "");
    free(sql);
    assert_int_equal(archive_view_seq(v.view), 0);
    assert_int_equal(archive_view_history_seq(v.view, TAPE_TABLE_ORDERS), 0);
    world_view_close(&v);
    bool worked = true;
    world_ok(archive_merge(w->a, (archive_beat){0}, &worked, &error), &error);
    assert_false(worked);
    world_ok(archive_scrub(w->a, (archive_beat){0}, &worked, &error), &error);
    assert_false(worked);
    world_ok(archive_expire(w->a, INT64_MAX, &error), &error);
    world_ok(archive_take(w->a, 0, (archive_beat){0}, &error), &error);
    uint64_t files = 0;
    uint64_t records = 0;
    world_ok(archive_verify(w->a, no_damage, NULL, &files, &records, &error), &error);
    assert_int_equal(files, 0);
    assert_false(is_there(w->dir));
}

static void archive_of_another_store_is_refused(void **state) {
    world *w = *state;
    tape_error error;
    world_open_ok(w);
    world_append_many(w, 0, 10);
    world_take_ok(w);
    world_close(w);
    uint8_t other[16] = "other";
    w->options.store_id = other;
    archive *a = NULL;
    assert_int_equal(archive_open(&a, &w->options, &error), TAPE_CORRUPT);
    assert_null(a);
    assert_non_null(strstr(error.text, "another store"));
    w->options.store_id = world_store_id;
}

static void days_begin_when_told_and_take_every_time(void **state) {
    world *w = *state;
    static const int64_t times[] = {INT64_MIN,
                                    INT64_MIN + 1,
                                    -1,
                                    0,
                                    INT64_C(1723046400) * NS_PER_SECOND - 1,
                                    INT64_MAX,
                                    INT64_MAX - 3600000,
                                    INT64_C(1723046400) * NS_PER_SECOND};
    w->options.day_begins_ns = 8 * 3600 * NS_PER_SECOND;
    w->ts_range = 0;
    world_open_ok(w);
    for (size_t i = 0; i < COUNT_OF(times); i++) {
        w->now = times[i];
        world_append_many(w, TAPE_TABLE_TRADES, 1);
        world_append_many(w, TAPE_TABLE_ORDERS, 1);
    }
    world_take_ok(w);
    (void)world_check_now(w);
    char *path = mem_printf("%s/table=trades/date=2024-08-07", w->dir);
    assert_true(is_there(path)); /* up to 16:00 UTC, when the 8th begins */
    path[strlen(path) - 1] = '8';
    assert_true(is_there(path));
    free(path);
    for (size_t i = 0; i < w->a->current->file_count; i++) {
        const archive_file_info *f = &w->a->current->files[i]->info;
        int64_t from = 0;
        int64_t to = 0;
        archive_day_range(w->a, f->day, &from, &to);
        assert_true(f->min_ts >= from && f->max_ts <= to);
        assert_int_equal(archive_day_of(w->a, from), f->day);
        assert_int_equal(archive_day_of(w->a, to), f->day);
        assert_true(from == INT64_MIN || archive_day_of(w->a, from - 1) == f->day - 1);
        assert_true(to == INT64_MAX || archive_day_of(w->a, to + 1) == f->day + 1);
    }
    columns_hint hint = {.ts_min = INT64_MAX, .ts_max = INT64_MAX};
    world_view v = world_view_open(w);
    assert_int_equal(
        world_check_table(w, &v, record_table(TAPE_TABLE_TRADES), ARCHIVE_NEWEST, v.seq, NULL),
        COUNT_OF(times));
    archive_pruning p;
    free(sql_of(&v, TAPE_TABLE_TRADES, ARCHIVE_NEWEST, v.seq, &hint, &p));
    assert_true(p.files > p.files_pruned && p.files_pruned > 2);
    world_view_close(&v);
}

static void dates_are_read_strictly(void **state) {
    (void)state;
    tape_error error;
    int32_t day = 0;
    world_ok(archive_day_from_text("1970-01-01", &day, &error), &error);
    assert_int_equal(day, 0);
    world_ok(archive_day_from_text("1969-12-31", &day, &error), &error);
    assert_int_equal(day, -1);
    world_ok(archive_day_from_text("2024-08-08", &day, &error), &error);
    assert_int_equal(day, 19943);
    static const char *const bad[] = {
        "", "2024-8-8", "2024-02-30", "20240808", "2024-08-08 ", "1723000000", "2024-08-0x"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        assert_int_equal(archive_day_from_text(bad[i], &day, &error), TAPE_INVALID);
        assert_non_null(strstr(error.text, "2024-08-08"));
    }
}

static void rows_of_a_file_stand_by_eight_instruments_time_and_seq(void **state) {
    world *w = *state;
    world_open_ok(w);
    world_append_many(w, TAPE_TABLE_TRADES, 3000);
    world_append_many(w, TAPE_TABLE_ACCOUNTS, 500);
    world_take_ok(w);
    world_view v = world_view_open(w);
    for (size_t i = 0; i < w->a->current->file_count; i++) {
        const archive_file *f = w->a->current->files[i];
        bool trades = f->info.table == TAPE_TABLE_TRADES;
        char *sql = mem_printf(
            "SELECT count(*) FROM (SELECT row(g, ts, seq) AS k, lag(k) OVER (ORDER BY n) AS b FROM "
            "(SELECT ts, seq, file_row_number AS n, (dense_rank() OVER (ORDER BY %s) - 1) // 8 AS "
            "g FROM read_parquet(%s, file_row_number = true))) WHERE b > k",
            trades ? "instrument_id NULLS LAST" : "1", f->literal);
        assert_int_equal(ask(w, &v, v.seq, sql), 0);
        free(sql);
    }
    world_view_close(&v);
}

static void large_days_become_several_files_by_seq(void **state) {
    world *w = *state;
    w->options.file_rows_max = 300;
    w->ts_range = 0;
    world_open_ok(w);
    world_append_many(w, TAPE_TABLE_TRADES, 2900);
    world_take_ok(w);
    assert_in_range(world_files(w, TAPE_TABLE_TRADES, 0), 9, 11);
    uint64_t rows = 0;
    for (size_t i = 0; i < w->a->current->file_count; i++) {
        const archive_file_info *f = &w->a->current->files[i]->info;
        assert_in_range(f->rows, 200, 400);
        assert_int_equal(f->rows, f->max_seq - f->min_seq + 1);
        rows += f->rows;
    }
    assert_int_equal(rows, 2900);
    (void)world_check_now(w);
}

static void merge_puts_small_files_together_and_leaves_large_ones(void **state) {
    world *w = *state;
    tape_error error;
    bool worked = true;
    w->options.file_rows_max = 1600; /* up to 200 rows are small */
    w->ts_range = 0;
    world_open_ok(w);
    for (int i = 0; i < 9; i++) {
        world_append_many(w, TAPE_TABLE_TRADES, i == 3 ? 300 : 20);
        world_take_ok(w);
    }
    assert_int_equal(world_files(w, 0, 0), 9);
    world_ok(archive_merge(w->a, (archive_beat){0}, &worked, &error), &error);
    assert_true(worked);
    assert_int_equal(world_files(w, 0, 0), 2);
    world_ok(archive_merge(w->a, (archive_beat){0}, &worked, &error), &error);
    assert_false(worked);
    (void)world_check_now(w);
    merge_day_ok(w);
    assert_int_equal(world_files(w, 0, 0), 1);
    merge_day_ok(w);
    archive_stats stats;
    archive_stats_read(w->a, &stats);
    assert_int_equal(stats.merges, 2);
    assert_int_equal(stats.rows[TAPE_TABLE_TRADES], 460);
    (void)world_check_now(w);
}

static void superseded_rows_move_to_past_files(void **state) {
    world *w = *state;
    w->ts_range = 0;
    w->keys = 10;
    world_open_ok(w);
    world_append_many(w, TAPE_TABLE_ORDERS, 60);
    world_take_ok(w);
    world_append_many(w, TAPE_TABLE_ORDERS, 60);
    world_take_ok(w);
    assert_true(world_files(w, TAPE_TABLE_ORDERS, ARCHIVE_SUPERSEDED) == 1);
    merge_day_ok(w);
    assert_int_equal(world_files(w, TAPE_TABLE_ORDERS, ARCHIVE_SUPERSEDED), 0);
    assert_int_equal(world_files(w, TAPE_TABLE_ORDERS, ARCHIVE_CURRENT), 1);
    assert_int_equal(world_files(w, TAPE_TABLE_ORDERS, ARCHIVE_PAST), 1);
    archive_stats stats;
    archive_stats_read(w->a, &stats);
    assert_int_equal(stats.rows[TAPE_TABLE_ORDERS], 120);
    world_view v = world_view_open(w);
    for (uint64_t seq = 0; seq <= 120; seq += 7) {
        (void)world_check(w, &v, seq, NULL);
    }
    /* At the newest seq no past file is looked at. */
    archive_pruning pruning;
    char *sql = sql_of(&v, TAPE_TABLE_ORDERS, ARCHIVE_NEWEST, 120, NULL, &pruning);
    assert_null(strstr(sql, "/past-"));
    assert_non_null(strstr(sql, "tape_newest('orders', seq)"));
    assert_int_equal(pruning.files, 1);
    free(sql);
    sql = sql_of(&v, TAPE_TABLE_ORDERS, ARCHIVE_NEWEST, 100, NULL, &pruning);
    assert_non_null(strstr(sql, "/past-"));
    free(sql);
    world_view_close(&v);
    world_append_many(w, TAPE_TABLE_ORDERS, 30);
    (void)world_check_now(w);
    world_close(w);
    world_open_ok(w);
    (void)world_check_now(w);
}

static void files_stay_as_long_as_a_view_lists_them(void **state) {
    world *w = *state;
    w->ts_range = 0;
    w->keys = 10;
    world_open_ok(w);
    for (int i = 0; i < 3; i++) {
        world_append_many(w, TAPE_TABLE_ORDERS, 40);
        world_take_ok(w);
    }
    world_view old = world_view_open(w);
    world_view older = world_view_open(w);
    char *path = mem_strdup(w->a->current->files[0]->path);
    merge_day_ok(w);
    world_view now = world_view_open(w);
    assert_true(archive_view_version(now.view) != archive_view_version(old.view));
    assert_true(is_there(path));
    for (uint64_t seq = 5; seq <= 120; seq += 23) {
        (void)world_check(w, &old, seq, NULL);
        (void)world_check(w, &now, seq, NULL);
    }
    world_view_close(&older);
    assert_true(is_there(path));
    assert_int_equal(w->a->forget_count, 1);
    world_view_close(&old);
    assert_false(is_there(path));
    assert_int_equal(w->a->forget_count, 0);
    (void)world_check(w, &now, 60, NULL);
    world_view_close(&now);
    free(path);
}

static void hints_leave_files_out(void **state) {
    world *w = *state;
    world_open_ok(w);
    w->ts_range = 1000;
    int64_t begin = w->now;
    for (int day = 0; day < 5; day++) {
        w->now = begin + day * ARCHIVE_DAY_NS;
        world_append_many(w, TAPE_TABLE_TRADES, 40);
    }
    world_take_ok(w);
    world_view v = world_view_open(w);
    archive_pruning p;
    columns_hint hint = {.ts_min = begin + ARCHIVE_DAY_NS / 2, .ts_max = INT64_MAX};
    free(sql_of(&v, TAPE_TABLE_TRADES, ARCHIVE_NEWEST, v.seq, &hint, &p));
    assert_int_equal(p.files, 5);
    assert_int_equal(p.files_pruned, 1);
    assert_int_equal(p.rows, 200);
    assert_int_equal(p.rows_pruned, 40);
    static const char *const absent[] = {"H", "J9", "I999"};
    hint = (columns_hint){
        .ts_min = INT64_MIN, .ts_max = INT64_MAX, .instruments = absent, .instrument_count = 2};
    char *sql = sql_of(&v, TAPE_TABLE_TRADES, ARCHIVE_NEWEST, v.seq, &hint, &p);
    assert_string_equal(sql, "");
    assert_int_equal(p.files_pruned, 5);
    free(sql);
    hint.instrument_count = 0;
    free(sql_of(&v, TAPE_TABLE_TRADES, ARCHIVE_NEWEST, v.seq, &hint, &p));
    assert_int_equal(p.files_pruned, 5);
    world_view_close(&v);
}

static void text_stays_the_same_while_the_files_do(void **state) {
    world *w = *state;
    world_open_ok(w);
    world_append_many(w, 0, 300);
    world_take_ok(w);
    world_append_many(w, 0, 300);
    world_view one = world_view_open(w);
    world_view two = world_view_open(w);
    archive_pruning p;
    for (uint16_t t = 1; t <= TAPE_TABLE_COUNT; t++) {
        char *x = sql_of(&one, t, ARCHIVE_NEWEST, 300, NULL, &p);
        char *y = sql_of(&two, t, ARCHIVE_NEWEST, 600, NULL, &p);
        assert_string_equal(x, y);
        free(x);
        free(y);
    }
    assert_int_equal(archive_view_version(one.view), archive_view_version(two.view));
    world_view_close(&one);
    world_view_close(&two);
}

/* Files written before a field was there. */
static void field_of_a_later_version_is_null(void **state) {
    world *w = *state;
    world_open_ok(w);
    world_append_many(w, TAPE_TABLE_DEPTH, 50);
    world_take_ok(w);
    const tape_table_info *table = record_table(TAPE_TABLE_DEPTH);
    tape_table_info next = *table;
    tape_field_info fields[16];
    memcpy(fields, table->fields, table->field_count * sizeof *fields);
    fields[table->field_count] = (tape_field_info){
        .name = "venue", .kind = TAPE_FIELD_ID, .size_bytes = 8, .count = 1, .since_version = 2};
    fields[table->field_count + 1] = (tape_field_info){
        .name = "counts", .kind = TAPE_FIELD_F64, .size_bytes = 8, .count = 10, .since_version = 2};
    next.version = 2;
    next.field_count += 2;
    next.fields = fields;
    world_view v = world_view_open(w);
    buffer sql = {0};
    buffer_append_text(&sql, "SELECT count(*) FROM (");
    assert_true(archive_view_sql(v.view, &next, ARCHIVE_NEWEST, v.seq, NULL, &sql, NULL));
    buffer_append_text(&sql, ") WHERE venue IS NULL AND typeof(venue) = 'VARCHAR' AND counts IS "
                             "NULL AND typeof(counts) = 'DOUBLE[10]' AND typeof(bid_price) = "
                             "'DOUBLE[10]' AND bid_price IS NOT NULL");
    buffer_end(&sql);
    assert_int_equal(ask(w, &v, v.seq, (const char *)sql.data), 50);
    buffer_deinit(&sql);
    world_view_close(&v);
}

/* What the SELECT does to the columns does not keep conditions away from Parquet. */
static void conditions_reach_the_files(void **state) {
    world *w = *state;
    tape_error error;
    world_open_ok(w);
    world_append_many(w, TAPE_TABLE_DEPTH, 50);
    world_append_many(w, TAPE_TABLE_ORDERS, 50);
    world_take_ok(w);
    static const uint16_t tables[] = {TAPE_TABLE_DEPTH, TAPE_TABLE_ORDERS};
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        world_view v = world_view_open(w);
        duck_session *s = NULL;
        archive_pruning p;
        buffer plan = {0};
        char *from = sql_of(&v, tables[i], ARCHIVE_NEWEST, v.seq, NULL, &p);
        char *sql =
            mem_printf("EXPLAIN (FORMAT json) SELECT * FROM (%s) WHERE instrument_id = 'I3' "
                       "AND ts > make_timestamp_ns(5)",
                       from);
        world_ok(duck_session_open(world_reader(w), &s, &error), &error);
        duck_session_see(s, archive_view_seq(v.view), v.seq);
        duck_result *r = NULL;
        size_t rows = 0;
        world_ok(duck_session_start(s, sql, &r, &error), &error);
        world_ok(duck_result_next(r, &rows, &error), &error);
        assert_int_equal(rows, 1);
        duck_value value;
        duck_result_value(r, 1, 0, &value);
        buffer_append(&plan, value.text, value.size);
        buffer_end(&plan);
        const char *filters = strstr((const char *)plan.data, "\"Filters\"");
        if (filters == NULL || strstr(filters, "instrument_id=") == NULL ||
            strstr(filters, "ts>") == NULL) {
            fail_msg("%s", (const char *)plan.data);
        }
        duck_result_close(&r);
        duck_session_close(&s);
        buffer_deinit(&plan);
        free(sql);
        free(from);
        world_view_close(&v);
    }
}

static void expiry_lets_whole_files_go_and_says_so(void **state) {
    world *w = *state;
    tape_error error;
    w->options.keep_ns[TAPE_TABLE_TRADES] = 2 * ARCHIVE_DAY_NS;
    w->options.keep_ns[TAPE_TABLE_ORDERS] = 2 * ARCHIVE_DAY_NS;
    w->ts_range = 0;
    w->keys = 10;
    world_open_ok(w);
    for (int day = 0; day < 4; day++) {
        world_append_many(w, TAPE_TABLE_TRADES, 10);
        world_append_many(w, TAPE_TABLE_ORDERS, 30);
        world_append_many(w, TAPE_TABLE_ACCOUNTS, 5);
        w->now += ARCHIVE_DAY_NS;
    }
    world_take_ok(w);
    size_t accounts = world_files(w, TAPE_TABLE_ACCOUNTS, 0);
    size_t past = world_files(w, TAPE_TABLE_ORDERS, ARCHIVE_PAST);
    size_t current = world_files(w, TAPE_TABLE_ORDERS, ARCHIVE_CURRENT);
    assert_int_equal(world_files(w, TAPE_TABLE_TRADES, 0), 4);
    world_view before = world_view_open(w);
    uint64_t last_by = 0;
    int32_t first_day = archive_day_of(w->a, w->now - 4 * ARCHIVE_DAY_NS);
    for (size_t i = 0; i < w->a->current->file_count; i++) {
        const archive_file_info *f = &w->a->current->files[i]->info;
        if (f->kind == ARCHIVE_PAST && f->table == TAPE_TABLE_ORDERS && f->day == first_day) {
            last_by = f->max_by;
        }
    }
    int64_t from = 0;
    int64_t to = 0;
    archive_day_range(w->a, first_day, &from, &to);
    world_ok(world_expire(w, to + 2 * ARCHIVE_DAY_NS, &error), &error);
    assert_int_equal(world_files(w, TAPE_TABLE_TRADES, 0), 4); /* not yet */
    world_ok(world_expire(w, to + 2 * ARCHIVE_DAY_NS + 1, &error), &error);
    assert_int_equal(world_files(w, TAPE_TABLE_TRADES, 0), 3);
    assert_int_equal(world_files(w, TAPE_TABLE_ORDERS, ARCHIVE_PAST), past - 1);
    assert_int_equal(world_files(w, TAPE_TABLE_ORDERS, ARCHIVE_CURRENT), current);
    assert_int_equal(world_files(w, TAPE_TABLE_ACCOUNTS, 0), accounts);
    world_view after = world_view_open(w);
    assert_int_equal(archive_view_history_seq(after.view, TAPE_TABLE_TRADES), 10);
    assert_int_equal(archive_view_history_seq(after.view, TAPE_TABLE_ORDERS), last_by);
    assert_int_equal(archive_view_history_seq(before.view, TAPE_TABLE_ORDERS), 0);
    (void)world_check(w, &before, 100, NULL);
    (void)world_check(w, &after, w->count, NULL);
    (void)world_check(w, &after, last_by, NULL);
    world_view_close(&before);
    world_view_close(&after);
    archive_stats stats;
    archive_stats_read(w->a, &stats);
    assert_int_equal(stats.expired_files, 2);
    world_close(w);
    world_open_ok(w);
    world_view again = world_view_open(w);
    assert_int_equal(archive_view_history_seq(again.view, TAPE_TABLE_ORDERS), last_by);
    world_view_close(&again);
}

static void make_file(const char *format, const char *dir) PRINTF_LIKE(1, 0);
static void make_file(const char *format, const char *dir) {
    char path[512];
    (void)snprintf(path, sizeof path, format, dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fclose(f), 0);
}

static bool there(const char *format, const char *dir) PRINTF_LIKE(1, 0);
static bool there(const char *format, const char *dir) {
    char path[512];
    (void)snprintf(path, sizeof path, format, dir);
    return is_there(path);
}

static void leftovers_are_removed_and_what_is_not_ours_stays(void **state) {
    world *w = *state;
    w->ts_range = 0;
    world_open_ok(w);
    world_append_many(w, TAPE_TABLE_TRADES, 10);
    world_take_ok(w);
    world_close(w);
    static const char *const ours[] = {"%s/tmp/00000009.parquet",
                                       "%s/table=trades/date=2024-08-07/rows-00000077.parquet",
                                       "%s/table=trades/date=2024-08-07/past-123456789.parquet"};
    static const char *const others[] = {"%s/tmp/notes.txt",
                                         "%s/tmp/9.parquet",
                                         "%s/MANIFEST.old",
                                         "%s/00000009.parquet",
                                         "%s/table=trades/rows-00000077.parquet",
                                         "%s/table=trades/date=2024-08-07/rows-00000077.csv",
                                         "%s/table=trades/date=2024-08-07/mine-00000077.parquet"};
    for (size_t i = 0; i < COUNT_OF(ours); i++) {
        make_file(ours[i], w->dir);
    }
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        make_file(others[i], w->dir);
    }
    log_set(LOG_ERROR, NULL, NULL);
    world_open_ok(w);
    for (size_t i = 0; i < COUNT_OF(ours); i++) {
        assert_true(there(ours[i], w->dir)); /* opening changes nothing */
    }
    world_append_many(w, TAPE_TABLE_TRADES, 10);
    world_take_ok(w);
    log_set(LOG_INFO, NULL, NULL);
    for (size_t i = 0; i < COUNT_OF(ours); i++) {
        assert_false(there(ours[i], w->dir));
    }
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        assert_true(there(others[i], w->dir));
    }
    (void)world_check_now(w);
}

typedef struct beats {
    uint64_t calls, stop_at, done, total;
} beats;

static bool count_beat(void *context, uint64_t done, uint64_t total) {
    beats *b = context;
    b->calls++;
    b->done = done;
    b->total = total;
    assert_true(done <= total);
    return b->calls < b->stop_at;
}

static void work_that_is_stopped_changes_nothing(void **state) {
    world *w = *state;
    tape_error error;
    w->ts_range = 0;
    world_open_ok(w);
    world_append_many(w, 0, 500);
    beats b = {.stop_at = 1};
    assert_int_equal(archive_take(w->a, 500, (archive_beat){count_beat, &b}, &error),
                     TAPE_CANCELLED);
    assert_int_equal(archive_seq(w->a), 0);
    assert_int_equal(world_files(w, 0, 0), 0);
    (void)world_check_now(w);
    b = (beats){.stop_at = UINT64_MAX};
    world_ok(archive_take(w->a, 500, (archive_beat){count_beat, &b}, &error), &error);
    assert_true(b.calls > 0);
    columns_drop(w->c, 500);
    (void)world_check_now(w);
    world_append_many(w, 0, 500);
    world_take_ok(w);
    size_t files = world_files(w, 0, 0);
    b = (beats){.stop_at = 1};
    int32_t day = archive_day_of(w->a, w->now);
    assert_int_equal(archive_merge_day(w->a, day, (archive_beat){count_beat, &b}, &error),
                     TAPE_CANCELLED);
    assert_int_equal(world_files(w, 0, 0), files);
    (void)world_check_now(w);
}

static void take_of_a_part_leaves_the_rest_hot(void **state) {
    world *w = *state;
    tape_error error;
    world_open_ok(w);
    world_append_many(w, 0, 500);
    uint64_t seq = world_append_end(w, 250);
    world_ok(archive_take(w->a, seq, (archive_beat){0}, &error), &error);
    (void)world_check_now(w); /* before the columns dropped anything */
    columns_drop(w->c, seq);
    (void)world_check_now(w);
    world_append_many(w, 0, 100);
    (void)world_check_now(w);
    world_ok(archive_take(w->a, seq, (archive_beat){0}, &error), &error); /* nothing to do */
    assert_int_equal(archive_seq(w->a), seq);
}

static void verify_names_what_was_changed(void **state) {
    world *w = *state;
    tape_error error;
    world_open_ok(w);
    world_append_many(w, TAPE_TABLE_TRADES, 100);
    world_take_ok(w);
    uint64_t files = 5;
    uint64_t records = 7;
    world_ok(archive_verify(w->a, no_damage, NULL, &files, &records, &error), &error);
    assert_int_equal(files, 5 + 1 + world_files(w, 0, 0));
    assert_int_equal(records, 7 + 100);
    /* Bytes as listed, but they are not what is listed. */
    archive_file *f = w->a->current->files[0];
    f->info.rows++;
    buffer text = {0};
    assert_int_equal(archive_verify(w->a, world_note_damage, &text, &files, &records, &error),
                     TAPE_CORRUPT);
    buffer_end(&text);
    assert_non_null(strstr((const char *)text.data, f->path));
    assert_non_null(strstr((const char *)text.data, "the manifest says"));
    f->info.rows--;
    buffer_deinit(&text);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(take_moves_rows_into_files_and_every_row_is_read_once),
        TEST(empty_archive_has_nothing_and_makes_nothing),
        TEST(archive_of_another_store_is_refused),
        TEST(days_begin_when_told_and_take_every_time),
        TEST(dates_are_read_strictly),
        TEST(rows_of_a_file_stand_by_eight_instruments_time_and_seq),
        TEST(large_days_become_several_files_by_seq),
        TEST(merge_puts_small_files_together_and_leaves_large_ones),
        TEST(superseded_rows_move_to_past_files),
        TEST(files_stay_as_long_as_a_view_lists_them),
        TEST(hints_leave_files_out),
        TEST(text_stays_the_same_while_the_files_do),
        TEST(field_of_a_later_version_is_null),
        TEST(conditions_reach_the_files),
        TEST(expiry_lets_whole_files_go_and_says_so),
        TEST(leftovers_are_removed_and_what_is_not_ours_stays),
        TEST(work_that_is_stopped_changes_nothing),
        TEST(take_of_a_part_leaves_the_rest_hot),
        TEST(verify_names_what_was_changed),
    };
    return cmocka_run_group_tests_name("archive", tests, NULL, NULL);
}
