/* The store on a disk that loses, tears and corrupts. Every test runs the same work on the
 * simulated machine and looks at what is left. */
#include "store/store_fixture.h"

#include "os/os_sim.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define DIR "/db/store"
#define KEYS 12u
#define ROUNDS 5u
#define ROUND_RECORDS 9u
#define RECORDS (ROUNDS * ROUND_RECORDS)

/* What the store told its owner; it holds after whatever happened to the machine. */
typedef struct promise {
    uint64_t flushed_seq;
    tape_status status; /* of the last flush */
    tape_error error;
} promise;

static model the_model(uint64_t seed) {
    model m = {.keys = KEYS, .random = seed * 77 + 1};
    while (m.count < RECORDS) {
        model_add(&m);
    }
    return m;
}

static tape_status open_store(os_disk *disk, store **s, tape_error *error) {
    store_options options = {
        .disk = disk, .dir = DIR, .store_id = fixture_store_id, .table_bytes = KIB(4)};
    return store_open(s, &options, error);
}

static void make_parent(os_sim *sim) {
    os_disk *disk = os_sim_process_start(sim);
    assert_int_equal(os_dir_make(disk, "/db", NULL), TAPE_OK);
    assert_int_equal(os_dir_sync(disk, "/", NULL), TAPE_OK);
    os_sim_process_crash(disk);
}

static tape_status compact(store *s, bool all, tape_error *error) {
    bool worked = true;
    tape_status status = TAPE_OK;
    while (worked && status == TAPE_OK) {
        status = store_compact(s, (store_beat){0}, &worked, error);
    }
    return status == TAPE_OK && all ? store_compact_range(s, 0, NULL, (store_beat){0}, error)
                                    : status;
}

/* Opens, replays, and flushes after every ROUND_RECORDS records, each second time without the last
 * three of them; compacts what wants it, in the third round everything. Goes on after a failure
 * when `stubborn`. */
static void work(const model *m, os_disk *disk, bool stubborn, promise *p) {
    store *s = NULL;
    p->status = open_store(disk, &s, &p->error);
    if (p->status != TAPE_OK) {
        return;
    }
    for (uint64_t seq = store_applied_seq(s); seq < RECORDS;) {
        uint64_t to = (seq / ROUND_RECORDS + 1) * ROUND_RECORDS;
        assert_int_equal(model_apply(m, s, seq + 1, to, NULL), TAPE_OK);
        uint64_t committed = to / ROUND_RECORDS % 2 == 0 ? to : to - 3;
        p->status = store_flush(s, committed, true, &p->error);
        uint64_t flushed = store_flushed_seq(s);
        assert_true(p->status != TAPE_OK || flushed >= committed);
        p->flushed_seq = flushed > p->flushed_seq ? flushed : p->flushed_seq;
        if (p->status == TAPE_OK || stubborn) {
            tape_status status = compact(s, to / ROUND_RECORDS == 3, &p->error);
            p->status = p->status == TAPE_OK ? status : p->status;
        }
        if (p->status != TAPE_OK && !stubborn) {
            break;
        }
        seq = to;
    }
    store_close(&s);
}

/* Each key at each seq: what the model has, or CORRUPT where that is allowed. Returns how many were
 * CORRUPT. */
static unsigned compare(const model *m, store *s, bool corrupt_allowed) {
    unsigned corrupt = 0;
    uint64_t applied = store_applied_seq(s);
    for (uint32_t key = 0; key < KEYS; key++) {
        for (uint64_t at = 1; at <= applied; at++) {
            uint8_t bytes[RECORD_KEY_BYTES_MAX];
            size_t size = 0;
            const tape_table_info *table = model_key(key, bytes, &size);
            uint8_t got[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8)));
            tape_error error;
            if (corrupt_allowed && fixture_get(s, table, (slice){bytes, size}, at, got, NULL,
                                               &error) == TAPE_CORRUPT) {
                assert_non_null(strstr(error.file, DIR "/"));
                corrupt++;
                continue;
            }
            assert_true(model_agrees(m, s, key, at));
        }
    }
    return corrupt;
}

static void fail_on_damage(void *context, const tape_error *finding) {
    (void)context;
    fail_msg("%s", finding->text);
}

static void ignore_damage(void *context, const tape_error *finding) {
    (void)context;
    assert_non_null(strstr(finding->file, DIR "/"));
}

/* The store opens, holds what was promised and nothing wrong, and goes on to the end. */
static void assert_recovers(const model *m, os_sim *sim, const promise *p) {
    os_disk *disk = os_sim_process_start(sim);
    store *s = NULL;
    tape_error error;
    if (open_store(disk, &s, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    assert_true(store_flushed_seq(s) >= p->flushed_seq);
    assert_true(store_flushed_seq(s) <= RECORDS);
    assert_int_equal(compare(m, s, false), 0);
    assert_int_equal(store_verify(s, fail_on_damage, NULL, NULL, NULL, NULL), TAPE_OK);
    store_close(&s);
    promise after = {0};
    work(m, disk, false, &after);
    if (after.status != TAPE_OK) {
        fail_msg("%s", after.error.text);
    }
    assert_int_equal(open_store(disk, &s, NULL), TAPE_OK);
    assert_true(store_flushed_seq(s) >= RECORDS - 3);
    assert_int_equal(compare(m, s, false), 0);
    assert_int_equal(store_verify(s, fail_on_damage, NULL, NULL, NULL, NULL), TAPE_OK);
    store_close(&s);
}

static void store_power_lost_at_any_step_keeps_what_was_flushed(void **state) {
    (void)state;
    uint64_t crashes = 0;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        model m = the_model(seed);
        bool done = false;
        for (uint64_t step = 1; !done; step++) {
            os_sim *sim = os_sim_create(seed * 1000 + step);
            make_parent(sim);
            uint64_t start = os_sim_steps(sim);
            os_sim_crash_at(sim, start + step);
            promise p = {0};
            work(&m, os_sim_process_start(sim), false, &p);
            done = !os_sim_crash_reached(sim);
            os_sim_crash_at(sim, 0);
            os_sim_power_loss(sim, NULL);
            os_sim_crash_at(sim, 0);
            assert_recovers(&m, sim, &p);
            os_sim_destroy(&sim);
            crashes++;
        }
        model_deinit(&m);
    }
    print_message("%llu power losses\n", (unsigned long long)crashes);
}

static void store_killed_at_any_step_keeps_what_was_flushed(void **state) {
    (void)state;
    model m = the_model(5);
    bool done = false;
    for (uint64_t step = 1; !done; step++) {
        os_sim *sim = os_sim_create(step);
        make_parent(sim);
        os_sim_crash_at(sim, os_sim_steps(sim) + step);
        promise p = {0};
        os_disk *disk = os_sim_process_start(sim);
        work(&m, disk, false, &p);
        done = !os_sim_crash_reached(sim);
        os_sim_process_crash(disk);
        os_sim_crash_at(sim, 0);
        assert_recovers(&m, sim, &p);
        os_sim_destroy(&sim);
    }
    model_deinit(&m);
}

/* A process dies between a write and its sync. The next one reads it as if it were on disk, and
 * what it says after its first flush must hold when the power fails. */
static void store_builds_on_nothing_that_a_killed_process_left_unsynced(void **state) {
    (void)state;
    model m = the_model(11);
    bool done = false;
    for (uint64_t step = 1; !done; step++) {
        os_sim *sim = os_sim_create(step);
        make_parent(sim);
        os_sim_crash_at(sim, os_sim_steps(sim) + step);
        promise p = {0};
        os_disk *disk = os_sim_process_start(sim);
        work(&m, disk, false, &p);
        done = !os_sim_crash_reached(sim);
        os_sim_process_crash(disk);
        os_sim_crash_at(sim, 0);
        store *s = NULL;
        assert_int_equal(open_store(os_sim_process_start(sim), &s, NULL), TAPE_OK);
        assert_int_equal(store_flush(s, UINT64_MAX, true, NULL), TAPE_OK);
        p.flushed_seq = store_flushed_seq(s);
        const os_sim_power lose_all = {.mode = OS_SIM_POWER_LOSE_ALL};
        os_sim_power_loss(sim, &lose_all);
        store_close(&s);
        assert_recovers(&m, sim, &p);
        os_sim_destroy(&sim);
    }
    model_deinit(&m);
}

/* Crashes on crashes: recovery is work like any other. */
static void store_power_lost_again_and_again_keeps_what_was_flushed(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        model m = the_model(seed);
        os_sim *sim = os_sim_create(seed);
        make_parent(sim);
        uint64_t random = seed * 31;
        promise p = {0};
        for (int i = 0; i < 8; i++) {
            os_sim_crash_at(sim, os_sim_steps(sim) + 1 + fixture_random(&random) % 40);
            os_disk *disk = os_sim_process_start(sim);
            work(&m, disk, false, &p);
            if (fixture_random(&random) % 3 == 0) {
                os_sim_process_crash(disk);
            } else {
                os_sim_power_loss(sim, NULL);
            }
            os_sim_crash_at(sim, 0);
        }
        assert_recovers(&m, sim, &p);
        os_sim_destroy(&sim);
        model_deinit(&m);
    }
}

typedef struct fault_case {
    const char *name;
    os_sim_operation operation;
    os_sim_effect effect;
    tape_status status; /* what a flush or an open that meets it returns */
} fault_case;

/* A failure that is told: the flush fails, nothing is lost, and either the next one works (a failed
 * write, a full disk) or every one fails until the store is opened again (a failed sync). */
static void store_flush_that_fails_leaves_the_store_as_it_was(void **state) {
    (void)state;
    static const fault_case cases[] = {
        {"EIO on write", OS_SIM_WRITE, OS_SIM_EIO, TAPE_IO},
        {"disk full on write", OS_SIM_WRITE, OS_SIM_NO_SPACE, TAPE_NO_SPACE},
        {"disk full on create", OS_SIM_CREATE, OS_SIM_NO_SPACE, TAPE_NO_SPACE},
        {"EIO on create", OS_SIM_CREATE, OS_SIM_EIO, TAPE_IO},
        {"EIO on rename", OS_SIM_RENAME, OS_SIM_EIO, TAPE_IO},
        {"EIO on sync", OS_SIM_SYNC, OS_SIM_EIO, TAPE_FAILED},
        {"EIO on directory sync", OS_SIM_DIR_SYNC, OS_SIM_EIO, TAPE_FAILED},
    };
    model m = the_model(3);
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        uint64_t hits = 0;
        for (uint64_t skip = 0; skip == 0 || hits > 0; skip++) {
            os_sim *sim = os_sim_create(skip + 1);
            make_parent(sim);
            os_disk *disk = os_sim_process_start(sim);
            store *s = NULL;
            assert_int_equal(open_store(disk, &s, NULL), TAPE_OK);
            os_sim_fault fault = {.operation = cases[c].operation,
                                  .effect = cases[c].effect,
                                  .skip = skip,
                                  .count = 1};
            size_t number = os_sim_fault_add(sim, &fault);
            promise p = {0};
            bool failed = false;
            for (uint64_t round = 0; round < ROUNDS; round++) {
                uint64_t from = round * ROUND_RECORDS;
                uint64_t flushed = store_flushed_seq(s);
                tape_error error = {0};
                assert_int_equal(model_apply(&m, s, from + 1, from + ROUND_RECORDS, NULL), TAPE_OK);
                tape_status status = store_flush(s, UINT64_MAX, true, &error);
                if (status != TAPE_OK) {
                    assert_int_equal(error.status, status);
                    assert_int_equal(status, cases[c].status);
                    assert_int_equal(store_flushed_seq(s), flushed);
                    assert_true(!failed || status == TAPE_FAILED); /* one fault, one failure */
                    failed = true;
                } else {
                    assert_false(failed && cases[c].status == TAPE_FAILED);
                    assert_int_equal(store_flushed_seq(s), from + ROUND_RECORDS);
                }
                p.flushed_seq = store_flushed_seq(s);
                (void)compare(&m, s, false);
            }
            hits = os_sim_fault_hits(sim, number);
            assert_int_equal(failed, hits > 0);
            assert_int_equal(store_verify(s, fail_on_damage, NULL, NULL, NULL, NULL), TAPE_OK);
            store_close(&s);
            os_sim_power_loss(sim, NULL);
            assert_recovers(&m, sim, &p);
            os_sim_destroy(&sim);
        }
    }
    model_deinit(&m);
}

/* What a failed write left of an edit may be a whole one: it must name a file that is there, until
 * a new manifest without it has taken its place. */
static void store_edit_that_failed_is_neither_overwritten_nor_forgotten(void **state) {
    (void)state;
    model m = {.keys = KEYS, .random = 7, .orders_only = true};
    while (m.count < RECORDS) {
        model_add(&m);
    }
    os_sim *sim = os_sim_create(1);
    make_parent(sim);
    os_disk *disk = os_sim_process_start(sim);
    store *s = NULL;
    os_stat stat;
    assert_int_equal(open_store(disk, &s, NULL), TAPE_OK);
    assert_int_equal(model_apply(&m, s, 1, 9, NULL), TAPE_OK);
    assert_int_equal(store_flush(s, 9, true, NULL), TAPE_OK);
    uint64_t base = s->manifest.base_bytes;
    os_sim_fault fault = {
        .operation = OS_SIM_WRITE, .effect = OS_SIM_EIO, .path = DIR "/MANIFEST", .count = 1};
    (void)os_sim_fault_add(sim, &fault);
    assert_int_equal(model_apply(&m, s, 10, 18, NULL), TAPE_OK);
    assert_int_equal(store_flush(s, 18, true, NULL), TAPE_IO);
    assert_int_equal(store_flushed_seq(s), 9);
    assert_int_equal(os_path_stat(disk, DIR "/00000002.sst", &stat, NULL), TAPE_OK);
    assert_int_equal(store_flush(s, 18, true, NULL), TAPE_OK);
    assert_int_equal(store_flushed_seq(s), 18);
    assert_true(s->manifest.base_bytes > base); /* a new file that begins with the first table */
    assert_int_equal(os_path_stat(disk, DIR "/00000002.sst", &stat, NULL), TAPE_NOT_FOUND);
    assert_int_equal(compare(&m, s, false), 0);
    store_close(&s);
    os_sim_destroy(&sim);
    model_deinit(&m);
}

/* A disk that lies. Whatever is lost: nothing wrong is ever read, and what is refused is named. The
 * flushed seq may be less than was promised: the owner compares it with the journal. */
static void store_on_a_disk_that_lies_refuses_or_falls_back(void **state) {
    (void)state;
    static const fault_case cases[] = {
        {"lost write", OS_SIM_WRITE, OS_SIM_LOST, 0},
        {"torn write", OS_SIM_WRITE, OS_SIM_TORN, 0},
        {"misdirected write", OS_SIM_WRITE, OS_SIM_MISDIRECTED, 0},
        {"misdirected write to another file", OS_SIM_WRITE, OS_SIM_MISDIRECTED, 1},
        {"sync that does nothing", OS_SIM_SYNC, OS_SIM_LOST, 0},
        {"create that is never durable", OS_SIM_CREATE, OS_SIM_LOST, 0},
        {"rename that is never durable", OS_SIM_RENAME, OS_SIM_LOST, 0},
        {"directory sync that does nothing", OS_SIM_DIR_SYNC, OS_SIM_LOST, 0},
    };
    uint64_t refused = 0;
    uint64_t fell_back = 0;
    uint64_t unharmed = 0;
    for (size_t c = 0; c < COUNT_OF(cases); c++) {
        uint64_t hits = 1;
        for (uint64_t skip = 0; hits > 0; skip++) {
            model m = the_model(skip + 9);
            os_sim *sim = os_sim_create(skip * 100 + c);
            make_parent(sim);
            os_sim_fault fault = {.operation = cases[c].operation,
                                  .effect = cases[c].effect,
                                  .skip = skip,
                                  .count = 1,
                                  .to_path = cases[c].status != 0 ? DIR "/00000001.sst" : NULL,
                                  .to_offset = skip % 2 * 4096};
            size_t number = os_sim_fault_add(sim, &fault);
            promise p = {0};
            work(&m, os_sim_process_start(sim), true, &p);
            hits = os_sim_fault_hits(sim, number);
            const os_sim_power lose_all = {.mode = OS_SIM_POWER_LOSE_ALL};
            os_sim_power_loss(sim, &lose_all);
            os_disk *disk = os_sim_process_start(sim);
            store *s = NULL;
            tape_error error;
            tape_status status = open_store(disk, &s, &error);
            if (status != TAPE_OK) {
                assert_int_equal(status, TAPE_CORRUPT);
                assert_non_null(strstr(error.file, DIR "/"));
                refused++;
            } else {
                uint64_t flushed = store_flushed_seq(s);
                bool corrupt = compare(&m, s, true) > 0;
                bool clean = store_verify(s, ignore_damage, NULL, NULL, NULL, NULL) == TAPE_OK;
                assert_true(!corrupt || !clean);
                refused += !clean;
                fell_back += clean && flushed < p.flushed_seq;
                unharmed += clean && flushed >= p.flushed_seq;
            }
            store_close(&s);
            os_sim_destroy(&sim);
            model_deinit(&m);
        }
    }
    print_message("%llu refused, %llu fell back, %llu unharmed\n", (unsigned long long)refused,
                  (unsigned long long)fell_back, (unsigned long long)unharmed);
    assert_true(refused > 0 && fell_back > 0);
}

static void store_bit_rot_in_any_file_is_named_or_falls_back(void **state) {
    (void)state;
    model m = the_model(4);
    os_sim *origin = os_sim_create(1);
    make_parent(origin);
    promise p = {0};
    os_disk *disk = os_sim_process_start(origin);
    work(&m, disk, false, &p);
    os_sim_process_crash(disk);
    const sstable_place place = {os_sim_process_start(origin), DIR, fixture_store_id};
    manifest listed;
    assert_int_equal(manifest_load(&listed, &place, NULL), TAPE_OK);
    char *const files[] = {mem_strdup(DIR "/MANIFEST"),
                           sstable_path(DIR, listed.entries[0].info.number),
                           sstable_path(DIR, listed.entries[listed.entry_count - 1].info.number)};
    manifest_deinit(&listed);
    uint64_t random = 8;
    for (size_t f = 0; f < COUNT_OF(files); f++) {
        uint64_t size = 0;
        assert_int_equal(os_sim_file_size(origin, files[f], OS_SIM_DURABLE, &size), TAPE_OK);
        for (int round = 0; round < 150; round++) {
            os_sim *sim = os_sim_clone(origin);
            uint64_t at = fixture_random(&random) % size;
            assert_int_equal(os_sim_flip_bit(sim, files[f], at, (unsigned)at % 8), TAPE_OK);
            store *s = NULL;
            tape_error error;
            if (open_store(os_sim_process_start(sim), &s, &error) != TAPE_OK) {
                assert_int_equal(error.status, TAPE_CORRUPT);
                assert_string_equal(error.file, files[f]);
            } else {
                bool fell_back = store_flushed_seq(s) < p.flushed_seq;
                assert_true(!fell_back || f == 0);
                (void)compare(&m, s, true);
                tape_status verdict = store_verify(s, ignore_damage, NULL, NULL, NULL, NULL);
                assert_true(fell_back || verdict == TAPE_CORRUPT);
            }
            store_close(&s);
            os_sim_destroy(&sim);
        }
    }
    for (size_t f = 0; f < COUNT_OF(files); f++) {
        free(files[f]);
    }
    os_sim_destroy(&origin);
    model_deinit(&m);
}

static void store_on_a_full_disk_goes_on_when_there_is_room_again(void **state) {
    (void)state;
    model m = the_model(6);
    os_sim *sim = os_sim_create(1);
    make_parent(sim);
    os_disk *disk = os_sim_process_start(sim);
    store *s = NULL;
    assert_int_equal(open_store(disk, &s, NULL), TAPE_OK);
    os_sim_set_capacity(sim, 3000);
    assert_int_equal(model_apply(&m, s, 1, RECORDS, NULL), TAPE_OK);
    for (int i = 0; i < 3; i++) {
        tape_error error;
        assert_int_equal(store_flush(s, UINT64_MAX, true, &error), TAPE_NO_SPACE);
        assert_non_null(strstr(error.text, DIR));
        assert_int_equal(store_flushed_seq(s), 0);
        assert_int_equal(compare(&m, s, false), 0);
    }
    os_sim_set_capacity(sim, MIB(1));
    assert_int_equal(store_flush(s, UINT64_MAX, true, NULL), TAPE_OK);
    assert_int_equal(store_flushed_seq(s), RECORDS);
    assert_int_equal(compare(&m, s, false), 0);
    store_close(&s);
    promise p = {.flushed_seq = RECORDS};
    os_sim_power_loss(sim, NULL);
    assert_recovers(&m, sim, &p);
    os_sim_destroy(&sim);
    model_deinit(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(store_power_lost_at_any_step_keeps_what_was_flushed),
        cmocka_unit_test(store_killed_at_any_step_keeps_what_was_flushed),
        cmocka_unit_test(store_builds_on_nothing_that_a_killed_process_left_unsynced),
        cmocka_unit_test(store_power_lost_again_and_again_keeps_what_was_flushed),
        cmocka_unit_test(store_flush_that_fails_leaves_the_store_as_it_was),
        cmocka_unit_test(store_edit_that_failed_is_neither_overwritten_nor_forgotten),
        cmocka_unit_test(store_on_a_disk_that_lies_refuses_or_falls_back),
        cmocka_unit_test(store_bit_rot_in_any_file_is_named_or_falls_back),
        cmocka_unit_test(store_on_a_full_disk_goes_on_when_there_is_room_again),
    };
    log_set(LOG_ERROR, NULL, NULL);
    return cmocka_run_group_tests_name("store_crash", tests, NULL, NULL);
}
