/* Random appends, takes, merges, expiries and reopenings, with readers that hold old views
 * meanwhile: at any seq the archive's SQL and the columns together give the model's rows exactly.
 */
#include "archive/archive_testing.h"

#include <inttypes.h>
#include <stdio.h>

#define VIEWS_MAX 4

typedef struct covered {
    uint64_t takes, merges, pair_merges, expired, pruned, compared, reopened, split;
} covered;

typedef struct run {
    world w;
    world_view views[VIEWS_MAX];
    size_t view_count;
    covered *covered;
} run;

static int64_t day_ns(int64_t days) {
    return days * ARCHIVE_DAY_NS;
}

/* Just before or after something was superseded, the newest, or any. */
static uint64_t pick_seq(world *w, const world_view *v) {
    uint64_t any = world_random(w, v->seq + 1);
    uint64_t seq = any;
    switch (world_random(w, 4)) {
    case 0:
        seq = v->seq;
        break;
    case 1:
    case 2:
        seq = any > 0 && w->records[any - 1].by <= v->seq ? w->records[any - 1].by : any;
        seq -= seq > 0 ? world_random(w, 2) : 0;
        break;
    default:
        break;
    }
    return world_append_end(w, seq);
}

static void check_views(run *r) {
    world *w = &r->w;
    size_t at = (size_t)world_random(w, r->view_count + 1);
    world_view now = world_view_open(w);
    const world_view *v = at < r->view_count ? &r->views[at] : &now;
    r->covered->compared += world_check(w, v, pick_seq(w, v), NULL);
    world_view_close(&now);
}

/* Rows that a hint is after are all there. */
static void check_hint(run *r) {
    world *w = &r->w;
    static const char *const names[] = {"I3", "I17", "nowhere", "a-long-na3", "I0"};
    int64_t from = w->now - day_ns(3) + (int64_t)world_random(w, (uint64_t)day_ns(4));
    columns_hint hint = {.ts_min = from,
                         .ts_max = from + (int64_t)world_random(w, (uint64_t)day_ns(1)),
                         .instruments = world_random(w, 2) == 0 ? NULL : names,
                         .instrument_count = 1 + (size_t)world_random(w, COUNT_OF(names))};
    if (world_random(w, 3) == 0) {
        hint.ts_min = INT64_MIN;
        hint.ts_max = INT64_MAX;
    }
    world_view v = world_view_open(w);
    uint64_t seq = columns_seq(w->c);
    r->covered->compared += world_check(w, &v, seq, &hint);
    for (uint16_t t = 1; t <= TAPE_TABLE_COUNT; t++) {
        buffer sql = {0};
        archive_pruning p = {0};
        bool any = archive_view_sql(v.view, record_table(t), ARCHIVE_NEWEST, seq, &hint, &sql, &p);
        assert_true(any == (p.files > p.files_pruned));
        assert_true(any == (sql.size > 0));
        assert_true(p.rows >= p.rows_pruned);
        r->covered->pruned += p.files_pruned;
        buffer_deinit(&sql);
    }
    world_view_close(&v);
}

static void take(run *r) {
    world *w = &r->w;
    tape_error error;
    uint64_t behind = world_random(w, 3) == 0 ? world_random(w, 40) : 0;
    uint64_t seq = columns_seq(w->c);
    seq = world_append_end(w, seq > behind ? seq - behind : seq);
    if (seq <= archive_seq(w->a)) {
        return;
    }
    world_ok(archive_take(w->a, seq, (archive_beat){0}, &error), &error);
    assert_int_equal(archive_seq(w->a), seq);
    r->covered->takes++;
    if (world_random(w, 4) != 0) { /* else the columns keep them for a while */
        columns_drop(w->c, seq);
    }
}

static void merge(run *r) {
    world *w = &r->w;
    tape_error error;
    bool worked = true;
    if (world_random(w, 3) == 0) {
        int32_t day = archive_day_of(w->a, w->now) - (int32_t)world_random(w, 3);
        size_t before = world_files(w, 0, ARCHIVE_SUPERSEDED);
        world_ok(archive_merge_day(w->a, day, (archive_beat){0}, &error), &error);
        r->covered->pair_merges += world_files(w, 0, ARCHIVE_SUPERSEDED) < before;
    }
    for (int i = 0; i < 3 && worked; i++) {
        world_ok(archive_merge(w->a, (archive_beat){0}, &worked, &error), &error);
        r->covered->merges += worked;
    }
}

static void expire(run *r) {
    world *w = &r->w;
    tape_error error;
    archive_stats before;
    archive_stats after;
    archive_stats_read(w->a, &before);
    world_ok(world_expire(w, w->now, &error), &error);
    archive_stats_read(w->a, &after);
    r->covered->expired += after.expired_files - before.expired_files;
}

static void close_views(run *r) {
    while (r->view_count > 0) {
        world_view_close(&r->views[--r->view_count]);
    }
}

static void toggle_view(run *r) {
    world *w = &r->w;
    if (r->view_count < VIEWS_MAX && world_random(w, 2) == 0) {
        r->views[r->view_count++] = world_view_open(w);
    } else if (r->view_count > 0) {
        size_t at = (size_t)world_random(w, r->view_count);
        world_view_close(&r->views[at]);
        r->views[at] = r->views[--r->view_count];
    }
}

/* What is on disk tells all that was known. */
static void reopen(run *r) {
    world *w = &r->w;
    archive_stats before;
    archive_stats after;
    close_views(r);
    archive_stats_read(w->a, &before);
    world_close(w);
    w->options.codec = world_random(w, 2) == 0 ? ARCHIVE_SNAPPY : ARCHIVE_ZSTD;
    world_open_ok(w);
    archive_stats_read(w->a, &after);
    assert_int_equal(before.seq, after.seq);
    assert_int_equal(before.files, after.files);
    assert_memory_equal(before.rows, after.rows, sizeof before.rows);
    /* Rows of the model say which version let them go; versions count anew. */
    for (uint64_t i = 0; i < w->count; i++) {
        w->records[i].gone = w->records[i].gone == UINT64_MAX ? UINT64_MAX : 0;
    }
    r->covered->reopened++;
}

static void count_damage(void *context, const tape_error *finding) {
    (*(uint64_t *)context)++;
    print_error("%s\n", finding->text);
}

static void run_seed(uint64_t seed, covered *c) {
    run r = {.covered = c};
    world *w = &r.w;
    world_init(w, seed);
    w->options.file_rows_max = world_random(w, 2) == 0 ? 64 + world_random(w, 500) : 0;
    w->options.day_begins_ns = (int64_t)world_random(w, 24) * 3600 * NS_PER_SECOND;
    for (uint16_t t = 1; t <= TAPE_TABLE_COUNT; t++) {
        w->options.keep_ns[t] = world_random(w, 2) == 0 ? day_ns(1) : 0;
    }
    world_open_ok(w);
    for (int step = 0; step < 60; step++) {
        world_append_many(w, 0, 1 + world_random(w, 60));
        w->now += (int64_t)world_random(w, (uint64_t)day_ns(1) / 8);
        switch (world_random(w, 10)) {
        case 0:
        case 1:
        case 2:
        case 3:
            take(&r);
            break;
        case 4:
        case 5:
            merge(&r);
            break;
        case 6:
            expire(&r);
            break;
        case 7:
            if (world_random(w, 3) == 0) {
                reopen(&r);
            }
            break;
        case 8:
            check_hint(&r);
            break;
        default:
            break;
        }
        toggle_view(&r);
        if (step % 2 == 0) {
            check_views(&r);
        }
        c->split += w->options.file_rows_max != 0;
    }
    uint64_t damages = 0;
    uint64_t files = 0;
    uint64_t records = 0;
    tape_error error;
    world_ok(archive_verify(w->a, count_damage, &damages, &files, &records, &error), &error);
    assert_int_equal(damages, 0);
    close_views(&r);
    reopen(&r);
    (void)world_check_now(w);
    world_deinit(w);
}

static void archive_and_columns_together_give_the_models_rows(void **state) {
    (void)state;
    const char *given = getenv("ARCHIVE_SEED");
    const char *seeds = getenv("ARCHIVE_SEEDS");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    uint64_t count = seeds != NULL ? strtoull(seeds, NULL, 10) : given != NULL ? 1 : 2;
    covered c = {0};
    for (uint64_t seed = first; seed < first + count; seed++) {
        if (count > 10 || given != NULL) {
            print_message("seed %" PRIu64 "\n", seed);
        }
        run_seed(seed, &c);
    }
    print_message("takes %" PRIu64 ", merges %" PRIu64 ", of pairs %" PRIu64 ", expired %" PRIu64
                  ", files pruned %" PRIu64 ", rows compared %" PRIu64 "\n",
                  c.takes, c.merges, c.pair_merges, c.expired, c.pruned, c.compared);
    if (given == NULL) {
        assert_true(c.takes > 20 && c.merges > 5 && c.pair_merges > 0 && c.expired > 5);
        assert_true(c.pruned > 10 && c.compared > 10000 && c.reopened > 2 && c.split > 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archive_and_columns_together_give_the_models_rows),
    };
    return cmocka_run_group_tests_name("archive_model", tests, NULL, NULL);
}
