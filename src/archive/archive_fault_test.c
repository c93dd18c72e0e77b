/* Takes, merges and expiries on a disk that loses power at every step, fails every call, fills up
 * and rots: afterwards the archive is what it was before or what it was to become, every file that
 * it lists is whole, and the same work succeeds when it is tried again.
 *
 * DuckDB sees real files alone. The simulated disk has the archive at the same path as the real
 * one, and what is to be read by DuckDB is copied there. */
#include "archive/archive_testing.h"
#include "os/os_sim.h"

#include <inttypes.h>
#include <stdio.h>

/* What is done to the archive. */
typedef enum work { WORK_TAKE, WORK_MERGE_DAY, WORK_EXPIRE, WORK_COUNT } work;

typedef struct base {
    world w;
    os_sim *sim; /* the machine before the work */
    uint64_t archived, taken;
    int32_t day;
} base;

static base b;

/* --- the real directory --- */

typedef struct mirror {
    os_sim *sim;
    os_disk *disk;
    const char *dir;
} mirror;

static void mirror_dir(os_sim *sim, os_disk *disk, const char *dir);

static void mirror_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    const mirror *m = context;
    char *path = mem_printf("%s/%s", m->dir, name);
    (void)size;
    if (is_dir) {
        mirror_dir(m->sim, m->disk, path);
    } else if (strcmp(name, "MANIFEST") != 0) {
        uint8_t *data = NULL;
        size_t bytes = 0;
        os_file *file = NULL;
        assert_int_equal(os_sim_read_raw(m->sim, path, OS_SIM_CACHED, &data, &bytes), TAPE_OK);
        assert_int_equal(os_file_open(os_disk_linux(), path, OS_WRITE | OS_CREATE, &file, NULL),
                         TAPE_OK);
        assert_int_equal(os_file_truncate(file, 0, NULL), TAPE_OK);
        assert_int_equal(os_file_write(file, 0, data, bytes, NULL), TAPE_OK);
        os_file_close(&file);
        free(data);
    }
    free(path);
}

/* Copies what is on the simulated disk to the real one. */
static void mirror_dir(os_sim *sim, os_disk *disk, const char *dir) {
    mirror m = {sim, disk, dir};
    tape_error error;
    if (os_dir_make(os_disk_linux(), dir, &error) != TAPE_OK) {
        assert_int_equal(error.status, TAPE_EXISTS);
    }
    assert_int_equal(os_dir_list(disk, dir, mirror_entry, &m, &error), TAPE_OK);
}

/* --- the machine before the work --- */

static void make_dirs(os_disk *disk, const char *path) {
    char *part = mem_strdup(path);
    for (char *slash = part; slash != NULL;) {
        slash = strchr(slash + 1, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        assert_int_equal(os_dir_make(disk, part, NULL), TAPE_OK);
        char *parent = mem_strdup(part);
        char *last = strrchr(parent, '/');
        last[last == parent] = '\0';
        assert_int_equal(os_dir_sync(disk, parent, NULL), TAPE_OK);
        free(parent);
        if (slash != NULL) {
            *slash = '/';
        }
    }
    free(part);
}

/* Orders and trades of one day, two takes; more rows that are hot. */
static int make_base(void **state) {
    (void)state;
    world *w = &b.w;
    tape_error error;
    world_init(w, 7);
    w->keys = 20;
    w->ts_range = 1000;
    w->options.keep_ns[TAPE_TABLE_TRADES] = 1;
    w->options.keep_ns[TAPE_TABLE_ORDERS] = 1;
    b.sim = os_sim_create(1);
    w->disk = os_sim_process_start(b.sim);
    make_dirs(w->disk, w->root);
    assert_int_equal(os_dir_make(os_disk_linux(), w->dir, NULL), TAPE_OK);
    char *tmp = mem_printf("%s/tmp", w->dir);
    assert_int_equal(os_dir_make(os_disk_linux(), tmp, NULL), TAPE_OK);
    free(tmp);
    world_open_ok(w);
    for (int i = 0; i < 2; i++) {
        world_append_many(w, TAPE_TABLE_ORDERS, 30);
        world_append_many(w, TAPE_TABLE_TRADES, 20);
        world_take_ok(w);
    }
    b.archived = archive_seq(w->a);
    b.day = archive_day_of(w->a, w->now);
    world_append_many(w, TAPE_TABLE_ORDERS, 30);
    world_append_many(w, TAPE_TABLE_TRADES, 5);
    b.taken = columns_seq(w->c);
    assert_true(world_files(w, TAPE_TABLE_ORDERS, ARCHIVE_SUPERSEDED) > 0);
    world_close(w);
    mirror_dir(b.sim, w->disk, w->dir);
    os_sim_process_crash(w->disk);
    os_sim_power_loss(b.sim, &(os_sim_power){.mode = OS_SIM_POWER_LOSE_ALL});
    (void)error;
    return 0;
}

static int drop_base(void **state) {
    (void)state;
    os_sim_destroy(&b.sim);
    b.w.disk = os_disk_linux();
    world_deinit(&b.w);
    return 0;
}

/* --- the work --- */

static tape_status do_work(world *w, work kind, tape_error *error) {
    switch (kind) {
    case WORK_TAKE:
        return archive_take(w->a, b.taken, (archive_beat){0}, error);
    case WORK_MERGE_DAY:
        return archive_merge_day(w->a, b.day, (archive_beat){0}, error);
    default:
        return archive_expire(w->a, w->now + 10 * ARCHIVE_DAY_NS, error);
    }
}

/* A state of the archive, so that two can be told apart. */
typedef struct figure {
    uint64_t seq, files, bytes, rows;
} figure;

static figure figure_of(world *w) {
    archive_stats s;
    archive_stats_read(w->a, &s);
    figure f = {.seq = s.seq, .files = s.files, .bytes = s.bytes};
    for (size_t t = 1; t <= TAPE_TABLE_COUNT; t++) {
        f.rows += s.rows[t];
    }
    return f;
}

static bool same(const figure *x, const figure *y) {
    return x->seq == y->seq && x->files == y->files && x->bytes == y->bytes;
}

/* A day is merged table by table: there are states between. */
static bool is_state(const figure *f, work kind, const figure *before, const figure *after) {
    return same(f, before) || same(f, after) ||
           (kind == WORK_MERGE_DAY && f->seq == before->seq && f->rows == before->rows);
}

static void fail_damage(void *context, const tape_error *finding) {
    (void)context;
    print_error("%s\n", finding->text);
}

/* Every file listed is there and whole. */
static void verify_ok(world *w) {
    uint64_t files = 0;
    uint64_t records = 0;
    tape_error error;
    world_ok(archive_verify(w->a, fail_damage, NULL, &files, &records, &error), &error);
}

static void count_file(void *context, const char *name, bool is_dir, uint64_t size);

typedef struct count_state {
    os_disk *disk;
    const char *dir;
    size_t files;
} count_state;

static void count_dir(count_state *c, const char *dir) {
    const char *before = c->dir;
    tape_error error;
    c->dir = dir;
    assert_int_equal(os_dir_list(c->disk, dir, count_file, c, &error), TAPE_OK);
    c->dir = before;
}

static void count_file(void *context, const char *name, bool is_dir, uint64_t size) {
    count_state *c = context;
    (void)size;
    if (is_dir) {
        char *path = mem_printf("%s/%s", c->dir, name);
        count_dir(c, path);
        free(path);
    } else {
        c->files += strstr(name, ".parquet") != NULL;
    }
}

/* Nothing lies around that is not listed. */
static void assert_tidy(world *w) {
    count_state c = {.disk = w->disk};
    count_dir(&c, w->dir);
    assert_int_equal(c.files, w->a->current->file_count);
}

/* The machine as it is now, with a process that has the archive open; like the base's when nothing
 * went wrong yet. */
static tape_status open_on(os_sim *sim, world *w, tape_error *error) {
    *w = b.w;
    w->disk = os_sim_process_start(sim);
    return world_open(w, error);
}

static void close_on(world *w) {
    world_close(w);
}

/* Figures before and after the work when nothing goes wrong. */
static void learn(work kind, figure *before, figure *after, uint64_t *steps) {
    world w;
    tape_error error;
    os_sim *sim = os_sim_clone(b.sim);
    world_ok(open_on(sim, &w, &error), &error);
    *before = figure_of(&w);
    uint64_t first = os_sim_steps(sim);
    world_ok(do_work(&w, kind, &error), &error);
    *after = figure_of(&w);
    *steps = os_sim_steps(sim) - first;
    assert_false(same(before, after));
    verify_ok(&w);
    assert_tidy(&w);
    close_on(&w);
    os_sim_destroy(&sim);
}

/* After whatever happened: opens, must be one of the two states; does the work again and compares
 * everything with the model when `model` is set. */
static void recover(os_sim *sim, work kind, const figure *before, const figure *after, bool model) {
    world w;
    tape_error error;
    w.disk = os_sim_process_start(sim);
    mirror_dir(sim, w.disk, b.w.dir);
    world_ok(open_on(sim, &w, &error), &error);
    figure now = figure_of(&w);
    assert_true(is_state(&now, kind, before, after));
    verify_ok(&w);
    if (model) {
        world_ok(do_work(&w, kind, &error), &error);
        now = figure_of(&w);
        assert_true(same(&now, after));
        verify_ok(&w);
        /* Work that finds nothing to do leaves the leftovers for the next. */
        if (w.a->settled) {
            assert_tidy(&w);
        }
        if (kind != WORK_EXPIRE) {
            mirror_dir(sim, w.disk, b.w.dir);
            assert_true(world_check_now(&w) > 50);
        }
    }
    close_on(&w);
}

/* Stops the machine within step `step` of the work, by a power failure or (`kill`) the end of the
 * process alone; looks at what is left, does the work again, and cuts the power once more. */
static tape_status stop_at(work kind, uint64_t step, uint64_t seed, bool kill, const figure *before,
                           const figure *after, bool model) {
    world w;
    tape_error error;
    os_sim *sim = os_sim_clone(b.sim);
    os_sim_seed(sim, seed);
    world_ok(open_on(sim, &w, &error), &error);
    os_sim_crash_at(sim, os_sim_steps(sim) + step);
    tape_status status = do_work(&w, kind, &error);
    assert_true(os_sim_crash_reached(sim));
    close_on(&w);
    if (kill) {
        os_sim_process_crash(w.disk);
    } else {
        os_sim_power_loss(sim, NULL);
    }
    recover(sim, kind, before, after, model);
    if (model) {
        os_sim_power_loss(sim, &(os_sim_power){.mode = OS_SIM_POWER_LOSE_ALL});
        recover(sim, kind, after, after, false);
    }
    os_sim_destroy(&sim);
    return status;
}

static void stop_at_every_step(work kind) {
    figure before;
    figure after;
    uint64_t steps = 0;
    bool whole = getenv("TAPE_TEST_SCALE") != NULL;
    uint64_t done = 0;
    learn(kind, &before, &after, &steps);
    for (uint64_t step = 1; step <= steps; step++) {
        for (uint64_t n = 0; n < (whole ? 8 : 1); n++) {
            bool kill = (step / 2 + n) % 4 == 0;
            uint64_t seed = (step * 31 + (uint64_t)kind) * 17 + n;
            bool model = whole || step % 10 == 1 || (kill && step % 3 == 0);
            done += stop_at(kind, step, seed, kill, &before, &after, model) == TAPE_OK;
        }
    }
    print_message("%" PRIu64 " steps, %" PRIu64 " done all the same\n", steps, done);
}

static void being_stopped_in_a_take_leaves_before_or_after(void **state) {
    (void)state;
    stop_at_every_step(WORK_TAKE);
}

static void being_stopped_in_a_merge_leaves_before_or_after(void **state) {
    (void)state;
    stop_at_every_step(WORK_MERGE_DAY);
}

static void being_stopped_in_an_expiry_leaves_before_or_after(void **state) {
    (void)state;
    stop_at_every_step(WORK_EXPIRE);
}

/* The same failure, and the power goes before anything is tried again. */
static void fail_and_stop(work kind, const os_sim_fault *fault, os_sim_power_mode mode,
                          const figure *before, const figure *after) {
    world w;
    tape_error error;
    os_sim *sim = os_sim_clone(b.sim);
    world_ok(open_on(sim, &w, &error), &error);
    (void)os_sim_fault_add(sim, fault);
    tape_status status = do_work(&w, kind, &error);
    os_sim_fault_clear(sim);
    close_on(&w);
    os_sim_power_loss(sim, &(os_sim_power){.mode = mode});
    recover(sim, kind, status == TAPE_OK ? after : before, after, false);
    os_sim_destroy(&sim);
}

/* Each call of a kind fails once; the archive stays usable, and the work succeeds when it is tried
 * again, and lasts. Returns how many calls there were. */
static uint64_t fail_each(work kind, os_sim_operation operation, os_sim_effect effect,
                          const figure *before, const figure *after) {
    bool whole = getenv("TAPE_TEST_SCALE") != NULL || operation == OS_SIM_DIR_SYNC;
    for (uint64_t skip = 0;; skip += whole ? 1 : 1 + skip) {
        world w;
        tape_error error;
        os_sim *sim = os_sim_clone(b.sim);
        os_sim_fault one = {operation, effect, NULL, skip, 1, NULL, 0};
        world_ok(open_on(sim, &w, &error), &error);
        size_t fault = os_sim_fault_add(sim, &one);
        tape_status status = do_work(&w, kind, &error);
        bool hit = os_sim_fault_hits(sim, fault) > 0;
        os_sim_fault_clear(sim);
        figure now = figure_of(&w);
        if (status == TAPE_OK) {
            assert_true(same(&now, after));
        } else {
            assert_true(hit);
            assert_true(status == TAPE_IO || status == TAPE_NO_SPACE);
            assert_true(is_state(&now, kind, before, before));
            assert_true(strlen(error.text) > 20);
            world_ok(do_work(&w, kind, &error), &error);
            now = figure_of(&w);
            assert_true(same(&now, after));
        }
        verify_ok(&w);
        close_on(&w);
        os_sim_power_loss(sim, &(os_sim_power){.mode = OS_SIM_POWER_LOSE_ALL});
        recover(sim, kind, after, after, false);
        os_sim_destroy(&sim);
        if (!hit) {
            return skip;
        }
        fail_and_stop(kind, &one, OS_SIM_POWER_KEEP_ALL, before, after);
        if (getenv("TAPE_TEST_SCALE") != NULL) {
            fail_and_stop(kind, &one, OS_SIM_POWER_LOSE_ALL, before, after);
        }
    }
}

static void every_failing_call_changes_nothing_and_may_be_tried_again(void **state) {
    (void)state;
    static const os_sim_operation operations[] = {OS_SIM_WRITE,    OS_SIM_SYNC,     OS_SIM_TRUNCATE,
                                                  OS_SIM_OPEN,     OS_SIM_CREATE,   OS_SIM_RENAME,
                                                  OS_SIM_REMOVE,   OS_SIM_DIR_MAKE, OS_SIM_DIR_SYNC,
                                                  OS_SIM_DIR_LIST, OS_SIM_READ};
    uint64_t calls = 0;
    for (int kind = 0; kind < WORK_COUNT; kind++) {
        figure before;
        figure after;
        uint64_t steps = 0;
        learn((work)kind, &before, &after, &steps);
        for (size_t i = 0; i < COUNT_OF(operations); i++) {
            if (kind == WORK_TAKE || i % 2 == (size_t)kind % 2 ||
                getenv("TAPE_TEST_SCALE") != NULL) {
                calls += fail_each((work)kind, operations[i], OS_SIM_EIO, &before, &after);
            }
        }
        calls += fail_each((work)kind, OS_SIM_WRITE, OS_SIM_NO_SPACE, &before, &after);
    }
    assert_true(calls > 40);
}

static void count_damage(void *context, const tape_error *finding) {
    char *named = context;
    assert_int_equal(finding->status, TAPE_CORRUPT);
    (void)snprintf(named, 300, "%s", finding->file);
}

static void every_flipped_bit_is_found_by_the_files_name(void **state) {
    (void)state;
    world w;
    tape_error error;
    uint64_t random = 1;
    os_sim *sim = os_sim_clone(b.sim);
    world_ok(open_on(sim, &w, &error), &error);
    size_t count = w.a->current->file_count;
    assert_true(count >= 7);
    for (size_t i = 0; i < count; i++) {
        const archive_file *f = w.a->current->files[i];
        for (int n = 0; n < 20; n++) {
            random = random * UINT64_C(6364136223846793005) + 1;
            uint64_t offset = (random >> 20) % f->info.size_bytes;
            unsigned bit = (unsigned)(random >> 60) % 8;
            char named[300] = "";
            uint64_t files = 0;
            uint64_t records = 0;
            assert_int_equal(os_sim_flip_bit(sim, f->path, offset, bit), TAPE_OK);
            assert_int_equal(archive_verify(w.a, count_damage, named, &files, &records, &error),
                             TAPE_CORRUPT);
            assert_string_equal(named, f->path);
            assert_int_equal(files, count + 1);
            assert_int_equal(os_sim_flip_bit(sim, f->path, offset, bit), TAPE_OK);
        }
    }
    uint64_t size = 0;
    assert_int_equal(os_sim_file_size(sim, w.a->manifest_path, OS_SIM_CACHED, &size), TAPE_OK);
    for (uint64_t bit = 0; bit < 8 * size; bit += 13) {
        char named[300] = "";
        uint64_t files = 0;
        uint64_t records = 0;
        assert_int_equal(os_sim_flip_bit(sim, w.a->manifest_path, bit / 8, bit % 8), TAPE_OK);
        assert_int_equal(archive_verify(w.a, count_damage, named, &files, &records, &error),
                         TAPE_CORRUPT);
        assert_string_equal(named, w.a->manifest_path);
        archive *again = NULL;
        assert_int_equal(archive_open(&again, &w.options, &error), TAPE_CORRUPT);
        assert_string_equal(error.file, w.a->manifest_path);
        assert_int_equal(os_sim_flip_bit(sim, w.a->manifest_path, bit / 8, bit % 8), TAPE_OK);
    }
    close_on(&w);
    os_sim_destroy(&sim);
}

static void scrub_finds_rot_and_goes_round(void **state) {
    (void)state;
    world w;
    tape_error error;
    os_sim *sim = os_sim_clone(b.sim);
    world_ok(open_on(sim, &w, &error), &error);
    size_t count = w.a->current->file_count;
    const archive_file *f = w.a->current->files[count / 2];
    assert_int_equal(os_sim_flip_bit(sim, f->path, 100, 3), TAPE_OK);
    log_set(LOG_ERROR + 1, NULL, NULL);
    size_t found = 0;
    for (size_t i = 0; i < 2 * count; i++) {
        bool worked = false;
        tape_status status = archive_scrub(w.a, (archive_beat){0}, &worked, &error);
        assert_true(worked);
        if (status != TAPE_OK) {
            assert_int_equal(status, TAPE_CORRUPT);
            assert_string_equal(error.file, f->path);
            found++;
        }
    }
    log_set(LOG_INFO, NULL, NULL);
    assert_int_equal(found, 2);
    archive_stats s;
    archive_stats_read(w.a, &s);
    assert_int_equal(s.scrubbed_files, 2 * count);
    assert_int_equal(s.scrub_findings, 2);
    close_on(&w);
    os_sim_destroy(&sim);
}

static void missing_and_short_files_are_named(void **state) {
    (void)state;
    world w;
    tape_error error;
    os_sim *sim = os_sim_clone(b.sim);
    world_ok(open_on(sim, &w, &error), &error);
    const archive_file *f = w.a->current->files[1];
    char named[300] = "";
    uint64_t files = 0;
    uint64_t records = 0;
    assert_int_equal(os_sim_resize_raw(sim, f->path, f->info.size_bytes - 1), TAPE_OK);
    assert_int_equal(archive_verify(w.a, count_damage, named, &files, &records, &error),
                     TAPE_CORRUPT);
    assert_string_equal(named, f->path);
    assert_int_equal(os_remove(w.disk, f->path, NULL), TAPE_OK);
    named[0] = '\0';
    assert_int_equal(archive_verify(w.a, count_damage, named, &files, &records, &error),
                     TAPE_CORRUPT);
    assert_string_equal(named, f->path);
    close_on(&w);
    os_sim_destroy(&sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(being_stopped_in_a_take_leaves_before_or_after),
        cmocka_unit_test(being_stopped_in_a_merge_leaves_before_or_after),
        cmocka_unit_test(being_stopped_in_an_expiry_leaves_before_or_after),
        cmocka_unit_test(every_failing_call_changes_nothing_and_may_be_tried_again),
        cmocka_unit_test(every_flipped_bit_is_found_by_the_files_name),
        cmocka_unit_test(scrub_finds_rot_and_goes_round),
        cmocka_unit_test(missing_and_short_files_are_named),
    };
    return cmocka_run_group_tests_name("archive_fault", tests, make_base, drop_base);
}
