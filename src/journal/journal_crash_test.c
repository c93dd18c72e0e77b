/* The journal on the simulated disk: a crash or power loss at every step, and every kind of fault.
 *
 * The model: record n is tick n. After recovery the journal must be a prefix 1..L that ends between
 * appends, with L at least what was acknowledged (durable for a power loss, written for a crash of
 * the process alone) and at most what was appended. */
#include "journal/journal_internal.h"
#include "os/os_sim.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOT "/db"
#define SEGMENT KIB(64)
#define WINDOW KIB(64)
#define APPENDS 260

typedef struct outcome {
    uint64_t appended; /* last seq of the last append that was tried */
    uint64_t written;  /* acknowledged */
    uint64_t durable;  /* acknowledged */
    uint8_t *ends;     /* ends[seq]: an append ends there */
    size_t ends_size;
    bool created;
} outcome;

static uint64_t scale(uint64_t quick, uint64_t full) {
    const char *text = getenv("TAPE_TEST_SCALE");
    return text != NULL && strcmp(text, "full") == 0 ? full : quick;
}

static tape_status open_on(os_disk *disk, uint64_t window_bytes, journal_sync sync, journal **j,
                           journal_recovery *recovery, tape_error *error) {
    journal_options options = {
        .disk = disk, .root = ROOT, .window_bytes = window_bytes, .sync = sync, .writer_cpu = -1};
    return journal_open(j, &options, recovery, error);
}

static tape_tick tick_of(uint64_t n) {
    tape_tick tick = {.last_price = (double)n, .ts = (int64_t)n + 1};
    memcpy(tick.instrument_id, "IF2601", 6);
    return tick;
}

static void note_end(outcome *o, uint64_t seq) {
    if (seq >= o->ends_size) {
        size_t size = (size_t)(seq + 1) * 2;
        o->ends = mem_realloc(o->ends, size);
        memset(o->ends + o->ends_size, 0, size - o->ends_size);
        o->ends_size = size;
    }
    o->ends[seq] = 1;
}

/* Appends `appends` groups of 1 to 4 records, waiting for durable after every third. */
static tape_status append_groups(journal *j, size_t appends, outcome *o, tape_error *error) {
    tape_status status = TAPE_OK;
    for (size_t i = 0; status == TAPE_OK && i < appends; i++) {
        tape_tick ticks[4];
        tape_record records[4];
        size_t count = 1 + i % 4;
        for (size_t k = 0; k < count; k++) {
            ticks[k] = tick_of(o->appended + 1 + k);
            records[k] = (tape_record)TAPE_RECORD(TICKS, &ticks[k]);
        }
        uint64_t first = 0;
        note_end(o, o->appended + count);
        o->appended += count;
        status = journal_append(j, records, count, 0, &first, error);
        if (status == TAPE_OK) {
            ASSERT(first == o->appended - count + 1);
            o->written = o->appended;
        } else {
            o->appended -= count;
        }
        if (status == TAPE_OK && i % 3 == 2) {
            status = journal_wait(j, o->written, TAPE_DURABLE, 0, error);
            o->durable = status == TAPE_OK ? o->written : o->durable;
        }
    }
    return status;
}

static void make_store(os_disk *disk) {
    journal_identity identity;
    tape_error error = {0};
    assert_int_equal(os_dir_make(disk, ROOT, &error), TAPE_OK);
    assert_int_equal(os_dir_sync(disk, "/", &error), TAPE_OK);
    assert_int_equal(journal_create(disk, ROOT, SEGMENT, &identity, &error), TAPE_OK);
}

/* A new store, open. */
static journal *make_and_open(os_disk *disk) {
    journal *j = NULL;
    journal_recovery recovery;
    tape_error error = {0};
    make_store(disk);
    assert_int_equal(open_on(disk, WINDOW, JOURNAL_SYNC_FDATASYNC, &j, &recovery, &error), TAPE_OK);
    return j;
}

/* A life: made, opened, filled over several segments, closed, opened again, filled a little. */
static void live(os_disk *disk, journal_sync sync, outcome *o) {
    journal_identity identity;
    journal *j = NULL;
    journal_recovery recovery;
    tape_error error;
    *o = (outcome){0};
    note_end(o, 0);
    if (os_dir_make(disk, ROOT, &error) != TAPE_OK || os_dir_sync(disk, "/", &error) != TAPE_OK ||
        journal_create(disk, ROOT, SEGMENT, &identity, &error) != TAPE_OK) {
        return;
    }
    o->created = true;
    for (int round = 0; round < 2; round++) {
        if (open_on(disk, WINDOW, sync, &j, &recovery, &error) != TAPE_OK) {
            return;
        }
        tape_status status = append_groups(j, round == 0 ? APPENDS : 20, o, &error);
        tape_status closed = journal_close(&j, &error);
        if (status != TAPE_OK || closed != TAPE_OK) {
            return;
        }
        o->durable = o->written;
    }
}

/* Reads all records back and compares them with the model; returns the last seq. */
static uint64_t read_back(os_disk *disk) {
    journal_reader *r = NULL;
    tape_error error = {0};
    tape_status status = journal_reader_open(&r, disk, ROOT, TAPE_WRITTEN, 0, &error);
    if (status != TAPE_OK) {
        fail_msg("reader: %s", error.text);
    }
    uint64_t next = 1;
    for (size_t count = 1; count > 0;) {
        record_view views[64];
        status = journal_reader_next(r, views, COUNT_OF(views), &count, &error);
        if (status != TAPE_OK) {
            fail_msg("read: %s", error.text);
        }
        for (size_t i = 0; i < count; i++, next++) {
            tape_tick want = tick_of(next);
            want.seq = next;
            assert_int_equal(views[i].seq, next);
            assert_memory_equal(views[i].payload, &want, sizeof want);
        }
    }
    journal_reader_close(&r);
    return next - 1;
}

/* Recovers, checks against the model, appends once more, closes and checks again. */
static void check_recovered(os_disk *disk, journal_sync sync, outcome *o, uint64_t least,
                            const char *what, uint64_t step) {
    journal *j = NULL;
    journal_recovery recovery;
    tape_error error = {0};
    journal_identity identity;
    tape_status status = journal_identity_read(disk, ROOT, &identity, &error);
    if (!o->created && status == TAPE_NO_STORE) {
        return; /* never acknowledged to exist */
    }
    status = status == TAPE_OK ? open_on(disk, WINDOW, sync, &j, &recovery, &error) : status;
    if (status != TAPE_OK) {
        fail_msg("%s at step %llu: does not open: %s", what, (unsigned long long)step, error.text);
    }
    uint64_t last = recovery.last_seq;
    if (last < least || last > o->appended || o->ends[last] == 0) {
        fail_msg("%s at step %llu: recovered to %llu, acknowledged %llu, appended %llu", what,
                 (unsigned long long)step, (unsigned long long)last, (unsigned long long)least,
                 (unsigned long long)o->appended);
    }
    assert_int_equal(read_back(disk), last);
    outcome more = {.appended = last, .written = last};
    assert_int_equal(append_groups(j, 4, &more, &error), TAPE_OK);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    assert_int_equal(read_back(disk), more.appended);
    uint64_t files = 0;
    uint64_t records = 0;
    assert_int_equal(journal_verify(disk, ROOT, NULL, NULL, &files, &records, &error), TAPE_OK);
    assert_int_equal(records, more.appended);
    free(more.ends);
}

/* Recovers, hears that everything is durable, and loses power. */
static void check_durable(os_sim *sim, outcome *o, const char *what, uint64_t step) {
    journal *j = NULL;
    journal_recovery recovery = {0};
    tape_error error = {0};
    os_disk *disk = os_sim_process_start(sim);
    tape_status status = open_on(disk, WINDOW, JOURNAL_SYNC_FDATASYNC, &j, &recovery, &error);
    if (status == TAPE_OK) {
        o->durable = recovery.last_seq;
        assert_int_equal(journal_wait(j, recovery.last_seq, TAPE_DURABLE, 0, &error), TAPE_OK);
    } else if (o->created) {
        fail_msg("%s at step %llu: does not open: %s", what, (unsigned long long)step, error.text);
    }
    const os_sim_power lose_all = {.mode = OS_SIM_POWER_LOSE_ALL};
    os_sim_power_loss(sim, &lose_all);
    (void)!journal_close(&j, &error);
    check_recovered(os_sim_process_start(sim), JOURNAL_SYNC_FDATASYNC, o, o->durable, what, step);
}

static void power_loss_at_every_step(journal_sync sync, uint64_t stride) {
    bool done = false;
    for (uint64_t step = 1; !done; step += stride) {
        for (uint64_t seed = 1; seed <= 3; seed++) {
            os_sim *sim = os_sim_create(seed * 1000003 + step);
            os_sim_crash_at(sim, step);
            outcome o;
            live(os_sim_process_start(sim), sync, &o);
            done = !os_sim_crash_reached(sim);
            os_sim_power_loss(sim, NULL);
            os_sim_crash_at(sim, 0);
            check_recovered(os_sim_process_start(sim), sync, &o, o.durable, "power loss", step);
            free(o.ends);
            os_sim_destroy(&sim);
        }
    }
}

static void power_loss_at_every_step_keeps_what_was_durable_and_leaves_a_prefix(void **state) {
    (void)state;
    power_loss_at_every_step(JOURNAL_SYNC_FDATASYNC, scale(3, 1));
}

static void power_loss_with_synchronous_writes_keeps_what_was_durable(void **state) {
    (void)state;
    power_loss_at_every_step(JOURNAL_SYNC_DSYNC, scale(7, 1));
}

static void power_loss_with_direct_writes_keeps_what_was_durable(void **state) {
    (void)state;
    power_loss_at_every_step(JOURNAL_SYNC_DIRECT, scale(7, 1));
}

static void crash_of_the_process_at_every_step_keeps_what_was_written(void **state) {
    (void)state;
    bool done = false;
    for (uint64_t step = 1; !done; step += scale(3, 1)) {
        os_sim *sim = os_sim_create(step);
        os_sim_crash_at(sim, step);
        outcome o;
        os_disk *disk = os_sim_process_start(sim);
        live(disk, JOURNAL_SYNC_FDATASYNC, &o);
        done = !os_sim_crash_reached(sim);
        os_sim_process_crash(disk);
        os_sim_crash_at(sim, 0);
        check_recovered(os_sim_process_start(sim), JOURNAL_SYNC_FDATASYNC, &o, o.written,
                        "process crash", step);
        free(o.ends);
        os_sim_destroy(&sim);
    }
}

/* A process dies between a write and its sync, or a rename and its. The next one reads it as if it
 * were on disk. */
static void what_a_killed_process_left_unsynced_is_made_durable(void **state) {
    (void)state;
    bool done = false;
    for (uint64_t step = 1; !done; step += scale(3, 1)) {
        os_sim *sim = os_sim_create(step);
        os_sim_crash_at(sim, step);
        outcome o;
        os_disk *disk = os_sim_process_start(sim);
        live(disk, JOURNAL_SYNC_FDATASYNC, &o);
        done = !os_sim_crash_reached(sim);
        os_sim_process_crash(disk);
        os_sim_crash_at(sim, 0);
        check_durable(sim, &o, "process crash and power loss", step);
        free(o.ends);
        os_sim_destroy(&sim);
    }
}

/* After a failed sync the pages are clean and readable, but perhaps not on disk. */
static void what_a_failed_sync_left_in_the_cache_is_made_durable(void **state) {
    (void)state;
    for (uint64_t skip = 6; skip < 100; skip += scale(3, 1)) {
        for (int crash = 0; crash < 2; crash++) {
            os_sim *sim = os_sim_create(skip);
            os_sim_fault fault = {.operation = OS_SIM_SYNC,
                                  .effect = OS_SIM_EIO,
                                  .path = "*.journal",
                                  .skip = skip,
                                  .count = 1};
            (void)os_sim_fault_add(sim, &fault);
            os_disk *disk = os_sim_process_start(sim);
            tape_error error = {0};
            outcome o = {.created = true};
            note_end(&o, 0);
            journal *j = make_and_open(disk);
            assert_int_equal(append_groups(j, 2000, &o, &error), TAPE_FAILED);
            if (crash != 0) {
                os_sim_process_crash(disk);
            }
            assert_int_equal(journal_close(&j, &error), TAPE_FAILED);
            check_durable(sim, &o, "failed sync and power loss", skip);
            free(o.ends);
            os_sim_destroy(&sim);
        }
    }
}

/* A crash while recovering from a crash. */
static void power_loss_during_recovery_loses_nothing_more(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= scale(10, 200); seed++) {
        os_sim *sim = os_sim_create(seed);
        os_sim_crash_at(sim, 60 + seed * 7 % 200);
        outcome o;
        os_disk *disk = os_sim_process_start(sim);
        live(disk, JOURNAL_SYNC_FDATASYNC, &o);
        bool process_only = seed % 2 == 0;
        if (process_only) {
            os_sim_process_crash(disk);
        } else {
            os_sim_power_loss(sim, NULL);
        }
        os_sim_crash_at(sim, os_sim_steps(sim) + 1 + seed % 9);
        journal *j = NULL;
        journal_recovery recovery;
        tape_error error;
        disk = os_sim_process_start(sim);
        if (open_on(disk, WINDOW, JOURNAL_SYNC_FDATASYNC, &j, &recovery, &error) == TAPE_OK) {
            (void)!journal_close(&j, &error);
        }
        os_sim_power_loss(sim, NULL);
        os_sim_crash_at(sim, 0);
        check_recovered(os_sim_process_start(sim), JOURNAL_SYNC_FDATASYNC, &o, o.durable,
                        "second power loss", seed);
        free(o.ends);
        os_sim_destroy(&sim);
    }
}

/* --- faults --- */

static os_sim *filled(uint64_t seed, outcome *o) {
    os_sim *sim = os_sim_create(seed);
    os_disk *disk = os_sim_process_start(sim);
    live(disk, JOURNAL_SYNC_FDATASYNC, o);
    assert_true(o->created);
    assert_int_equal(o->durable, o->appended);
    os_sim_process_crash(disk);
    return sim;
}

static void path_of(char out[64], uint64_t index) {
    (void)snprintf(out, 64, ROOT "/journal/%016llx.journal", (unsigned long long)index);
}

/* Opens a damaged store: it must say CORRUPT and name the file, or hold every record. */
static void expect_refused_or_whole(os_sim *sim, const outcome *o, const char *file, bool refused) {
    os_disk *disk = os_sim_process_start(sim);
    journal *j = NULL;
    journal_recovery recovery;
    tape_error error = {0};
    tape_status status = open_on(disk, WINDOW, JOURNAL_SYNC_FDATASYNC, &j, &recovery, &error);
    if (status == TAPE_OK) {
        assert_false(refused);
        assert_int_equal(recovery.last_seq, o->appended);
        assert_int_equal(read_back(disk), o->appended);
        assert_int_equal(journal_close(&j, &error), TAPE_OK);
    } else {
        assert_int_equal(status, TAPE_CORRUPT);
        assert_string_equal(error.file, file);
        assert_non_null(strstr(error.text, file));
    }
    os_sim_process_crash(disk);
}

static void bit_rot_anywhere_is_refused_by_name_or_harmless(void **state) {
    (void)state;
    outcome o;
    os_sim *original = filled(7, &o);
    uint64_t stride = scale(331, 17);
    uint64_t refused = 0;
    for (uint64_t index = 0; index < 2; index++) {
        char path[64];
        path_of(path, index);
        uint64_t size = SEGMENT_HEADER_BYTES + SEGMENT;
        for (uint64_t at = 0; at < size; at += at < 96 ? 1 : stride) {
            os_sim *sim = os_sim_clone(original);
            assert_int_equal(os_sim_flip_bit(sim, path, at, (unsigned)(at % 8)), TAPE_OK);
            bool in_records = at >= SEGMENT_HEADER_BYTES && index == 0;
            bool in_header = at < 96;
            os_disk *disk = os_sim_process_start(sim);
            uint64_t files = 0;
            uint64_t records = 0;
            tape_error error;
            tape_status status = journal_verify(disk, ROOT, NULL, NULL, &files, &records, &error);
            assert_int_equal(status, TAPE_CORRUPT); /* verify misses no bit of a closed store */
            os_sim_process_crash(disk);
            expect_refused_or_whole(sim, &o, path, in_records || in_header);
            refused += in_records || in_header ? 1 : 0;
            os_sim_destroy(&sim);
        }
    }
    assert_true(refused > 100);
    free(o.ends);
    os_sim_destroy(&original);
}

static void lost_torn_and_misdirected_writes_are_refused_by_name(void **state) {
    (void)state;
    static const os_sim_effect effects[] = {OS_SIM_LOST, OS_SIM_TORN, OS_SIM_MISDIRECTED};
    for (size_t e = 0; e < COUNT_OF(effects); e++) {
        bool hit = true;
        for (uint64_t skip = 5; hit; skip += scale(9, 1)) {
            os_sim *sim = os_sim_create(skip);
            os_sim_fault fault = {.operation = OS_SIM_WRITE,
                                  .effect = effects[e],
                                  .path = "*.journal",
                                  .skip = skip,
                                  .count = 1,
                                  .to_offset = 40960};
            size_t number = os_sim_fault_add(sim, &fault);
            outcome o;
            os_disk *disk = os_sim_process_start(sim);
            live(disk, JOURNAL_SYNC_FDATASYNC, &o);
            hit = os_sim_fault_hits(sim, number) > 0;
            os_sim_process_crash(disk);
            os_sim_drop_caches(sim);
            disk = os_sim_process_start(sim);
            journal *j = NULL;
            journal_recovery recovery;
            tape_error error = {0};
            tape_status status =
                open_on(disk, WINDOW, JOURNAL_SYNC_FDATASYNC, &j, &recovery, &error);
            if (status == TAPE_OK) {
                /* Only the very last commit can be missed, and it holds no record. */
                assert_int_equal(recovery.last_seq, o.appended);
                assert_int_equal(read_back(disk), o.appended);
                assert_int_equal(journal_close(&j, &error), TAPE_OK);
            } else {
                assert_int_equal(status, TAPE_CORRUPT);
                assert_non_null(strstr(error.text, ".journal"));
            }
            free(o.ends);
            os_sim_destroy(&sim);
        }
    }
}

static void missing_segment_is_refused_by_name(void **state) {
    (void)state;
    outcome o;
    os_sim *original = filled(3, &o);
    char path[64];
    for (uint64_t index = 0; index < 2; index++) {
        os_sim *sim = os_sim_clone(original);
        os_disk *disk = os_sim_process_start(sim);
        tape_error error = {0};
        path_of(path, index);
        assert_int_equal(os_remove(disk, path, &error), TAPE_OK);
        assert_int_equal(os_dir_sync(disk, ROOT "/journal", &error), TAPE_OK);
        journal *j = NULL;
        journal_recovery recovery;
        journal_options options = {.disk = disk,
                                   .root = ROOT,
                                   .window_bytes = WINDOW,
                                   .sync = JOURNAL_SYNC_FDATASYNC,
                                   .writer_cpu = -1};
        /* The first segment gone: the store, which has nothing, needs seq 1. The last one gone: the
         * store's files reach further than the journal. */
        options.checkpoint_seq = index == 0 ? 0 : o.appended;
        assert_int_equal(journal_open(&j, &options, &recovery, &error), TAPE_CORRUPT);
        assert_true(strlen(error.file) > 0);
        os_sim_destroy(&sim);
    }
    os_sim_destroy(&original);
    free(o.ends);
}

static void failed_write_or_sync_stops_the_journal_for_good(void **state) {
    (void)state;
    static const os_sim_operation operations[] = {OS_SIM_WRITE, OS_SIM_SYNC};
    for (size_t k = 0; k < COUNT_OF(operations); k++) {
        for (uint64_t skip = 6; skip < 100; skip += scale(7, 1)) {
            os_sim *sim = os_sim_create(skip);
            os_sim_fault fault = {.operation = operations[k],
                                  .effect = OS_SIM_EIO,
                                  .path = "*.journal",
                                  .skip = skip,
                                  .count = 1};
            (void)os_sim_fault_add(sim, &fault);
            os_disk *disk = os_sim_process_start(sim);
            tape_error error = {0};
            outcome o = {0};
            note_end(&o, 0);
            journal *j = make_and_open(disk);
            tape_status status = append_groups(j, 2000, &o, &error);
            assert_int_equal(status, TAPE_FAILED);
            assert_int_equal(error.status, status);
            assert_true(strlen(error.file) > 0);
            /* The fault is over, the journal stays stopped. */
            uint64_t seq = 0;
            tape_tick tick = tick_of(1);
            tape_record record = TAPE_RECORD(TICKS, &tick);
            assert_int_equal(journal_append(j, &record, 1, 0, &seq, &error), TAPE_FAILED);
            assert_int_equal(journal_wait(j, o.written, TAPE_DURABLE, 0, &error), TAPE_FAILED);
            assert_int_equal(journal_close(&j, &error), TAPE_FAILED);
            os_sim_process_crash(disk);
            os_sim_drop_caches(sim);
            check_recovered(os_sim_process_start(sim), JOURNAL_SYNC_FDATASYNC, &o, o.written, "EIO",
                            skip);
            free(o.ends);
            os_sim_destroy(&sim);
        }
    }
}

static void full_disk_refuses_appends_and_loses_nothing(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(1);
    os_disk *disk = os_sim_process_start(sim);
    tape_error error = {0};
    outcome o = {0};
    note_end(&o, 0);
    os_sim_set_capacity(sim, 3 * (SEGMENT + SEGMENT_HEADER_BYTES) + KIB(16));
    journal *j = make_and_open(disk);
    assert_int_equal(append_groups(j, 100000, &o, &error), TAPE_NO_SPACE);
    uint64_t seq = 0;
    tape_status status = TAPE_OK;
    for (int i = 0; status == TAPE_OK && i < 10000; i++) {
        tape_tick tick = tick_of(o.appended + 1);
        tape_record record = TAPE_RECORD(TICKS, &tick);
        status = journal_append(j, &record, 1, 0, &seq, &error);
        if (status == TAPE_OK) {
            note_end(&o, ++o.appended);
            o.written = o.appended;
        }
    }
    assert_int_equal(status, TAPE_NO_SPACE); /* bounded: the window is full */
    os_sim_set_capacity(sim, MIB(64));
    assert_int_equal(journal_wait(j, o.written, TAPE_DURABLE, INT64_MAX, &error), TAPE_OK);
    assert_int_equal(append_groups(j, 50, &o, &error), TAPE_OK);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    assert_int_equal(read_back(disk), o.appended);
    free(o.ends);
    os_sim_destroy(&sim);
}

/* Fills disk and window, dies, and is opened in vain until there is space again. */
static void full_disk_and_a_crash_lose_nothing_written(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= scale(20, 500); seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        tape_error error = {0};
        journal_recovery recovery;
        outcome o = {0};
        note_end(&o, 0);
        os_sim_set_capacity(sim, 3 * (SEGMENT + SEGMENT_HEADER_BYTES) + KIB(16));
        journal *j = make_and_open(disk);
        assert_int_equal(append_groups(j, 100000, &o, &error), TAPE_NO_SPACE);
        tape_status status = TAPE_OK;
        for (uint64_t i = 0; status == TAPE_OK && i < seed * 40; i++) {
            tape_tick tick = tick_of(o.appended + 1);
            tape_record record = TAPE_RECORD(TICKS, &tick);
            uint64_t seq = 0;
            status = journal_append(j, &record, 1, 0, &seq, &error);
            if (status == TAPE_OK) {
                note_end(&o, ++o.appended);
                o.written = o.appended;
            }
        }
        if (seed % 2 == 0) {
            os_sim_process_crash(disk);
            (void)!journal_close(&j, NULL);
        } else {
            assert_int_equal(journal_close(&j, &error), TAPE_NO_SPACE);
            os_sim_process_crash(disk);
        }
        for (uint64_t vain = 0; vain < 3; vain++) {
            disk = os_sim_process_start(sim);
            assert_int_equal(open_on(disk, WINDOW, JOURNAL_SYNC_FDATASYNC, &j, &recovery, &error),
                             TAPE_NO_SPACE);
            os_sim_process_crash(disk);
            /* Reading needs no space. */
            disk = os_sim_process_start(sim);
            assert_int_equal(open_on(disk, 0, JOURNAL_SYNC_FDATASYNC, &j, &recovery, &error),
                             TAPE_OK);
            assert_int_equal(recovery.last_seq, o.written);
            assert_int_equal(journal_seq(j, TAPE_WRITTEN), o.written);
            assert_true(journal_seq(j, TAPE_DURABLE) <= o.written);
            assert_true(journal_seq(j, TAPE_DURABLE) >= o.durable);
            assert_int_equal(read_back(disk), o.written);
            assert_int_equal(journal_close(&j, &error), TAPE_OK);
            os_sim_process_crash(disk);
        }
        os_sim_set_capacity(sim, MIB(64));
        check_recovered(os_sim_process_start(sim), JOURNAL_SYNC_FDATASYNC, &o, o.written,
                        "full disk", seed);
        free(o.ends);
        os_sim_destroy(&sim);
    }
}

/* With a reserve nothing that was accepted waits for space: it can be made durable, the journal can
 * be closed, and appends go on by themselves. */
static void appends_are_refused_while_the_disk_is_short_of_the_reserve(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(1);
    os_disk *disk = os_sim_process_start(sim);
    tape_error error = {0};
    journal_recovery recovery;
    outcome o = {0};
    note_end(&o, 0);
    uint64_t span = SEGMENT + SEGMENT_HEADER_BYTES;
    make_store(disk);
    journal_options options = {.disk = disk,
                               .root = ROOT,
                               .window_bytes = WINDOW,
                               .sync = JOURNAL_SYNC_FDATASYNC,
                               .writer_cpu = -1,
                               .reserve_bytes = 2 * span};
    journal *j = NULL;
    os_sim_set_capacity(sim, 6 * span);
    assert_int_equal(journal_open(&j, &options, &recovery, &error), TAPE_OK);
    assert_false(journal_is_short_of_space(j));
    assert_int_equal(append_groups(j, 100000, &o, &error), TAPE_NO_SPACE);
    assert_non_null(strstr(error.text, "bytes free"));
    assert_non_null(strstr(error.text, "reserve"));
    assert_string_equal(error.file, ROOT);
    assert_true(journal_is_short_of_space(j));
    uint64_t free_bytes = 0;
    assert_int_equal(os_free_bytes(disk, ROOT, &free_bytes, &error), TAPE_OK);
    assert_true(free_bytes >= span); /* the reserve was kept, but for the segment being made */
    assert_int_equal(journal_wait(j, o.written, TAPE_DURABLE, INT64_MAX, &error), TAPE_OK);
    assert_int_equal(read_back(disk), o.written);
    uint64_t refused_at = o.written;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(append_groups(j, 1, &o, &error), TAPE_NO_SPACE);
    }
    os_sim_set_capacity(sim, 9 * span);
    assert_int_equal(append_groups(j, 20, &o, &error), TAPE_OK);
    assert_false(journal_is_short_of_space(j));
    assert_int_equal(append_groups(j, 100000, &o, &error), TAPE_NO_SPACE); /* and again */
    assert_true(o.written > refused_at + 20);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    /* Opened short of space: no append from the start. */
    assert_int_equal(journal_open(&j, &options, &recovery, &error), TAPE_OK);
    assert_int_equal(append_groups(j, 1, &o, &error), TAPE_NO_SPACE);
    os_sim_set_capacity(sim, MIB(64));
    assert_int_equal(append_groups(j, 10, &o, &error), TAPE_OK);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    assert_int_equal(read_back(disk), o.written);
    free(o.ends);
    os_sim_destroy(&sim);
}

static void checkpoint_removes_only_what_is_not_needed(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(5);
    os_disk *disk = os_sim_process_start(sim);
    tape_error error = {0};
    journal_recovery recovery;
    outcome o = {0};
    note_end(&o, 0);
    journal *j = make_and_open(disk);
    journal_reader *slow = NULL;
    assert_int_equal(append_groups(j, 2000, &o, &error), TAPE_OK);
    assert_int_equal(journal_reader_open(&slow, disk, ROOT, TAPE_DURABLE, 1, &error), TAPE_OK);
    assert_int_equal(journal_wait(j, o.written, TAPE_DURABLE, 0, &error), TAPE_OK);
    assert_int_equal(journal_checkpoint(j, o.written / 2, UINT64_MAX, &error), TAPE_OK);
    assert_int_equal(journal_oldest_seq(j), 1); /* retention keeps all */
    assert_int_equal(journal_checkpoint(j, o.written / 2, 0, &error), TAPE_OK);
    uint64_t oldest = journal_oldest_seq(j);
    assert_true(oldest > 1 && oldest <= o.written / 2 + 1);
    journal_reader *r = NULL;
    assert_int_equal(journal_reader_open(&r, disk, ROOT, TAPE_DURABLE, oldest - 1, &error),
                     TAPE_TOO_OLD);
    assert_int_equal(journal_reader_open(&r, disk, ROOT, TAPE_DURABLE, oldest, &error), TAPE_OK);
    record_view views[8];
    size_t count = 0;
    assert_int_equal(journal_reader_next(r, views, 8, &count, &error), TAPE_OK);
    assert_int_equal(views[0].seq, oldest);
    journal_reader_close(&r);
    /* A reader that was on its way is told, not given a gap. */
    tape_status status = journal_reader_next(slow, views, 8, &count, &error);
    assert_int_equal(status, TAPE_LOST);
    journal_reader_close(&slow);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    journal_options options = {.disk = disk,
                               .root = ROOT,
                               .window_bytes = WINDOW,
                               .writer_cpu = -1,
                               .sync = JOURNAL_SYNC_FDATASYNC,
                               .checkpoint_seq = o.written / 2};
    assert_int_equal(journal_open(&j, &options, &recovery, &error), TAPE_OK);
    assert_int_equal(recovery.last_seq, o.written);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    options.checkpoint_seq = oldest - 2;
    assert_int_equal(journal_open(&j, &options, &recovery, &error), TAPE_CORRUPT);
    free(o.ends);
    os_sim_destroy(&sim);
}

static void window_that_is_damaged_is_refused(void **state) {
    (void)state;
    for (uint64_t at = 0; at < 20 * 128; at += scale(61, 1)) {
        os_sim *sim = os_sim_create(9);
        os_disk *disk = os_sim_process_start(sim);
        tape_error error = {0};
        journal_recovery recovery;
        journal *j = make_and_open(disk);
        uint64_t durable = atomic_load(&j->w.control->durable_position);
        for (uint64_t n = 1; n <= 20; n++) {
            tape_tick tick = tick_of(n);
            tape_record record = TAPE_RECORD(TICKS, &tick);
            uint64_t seq = 0;
            assert_int_equal(journal_append(j, &record, 1, 0, &seq, &error), TAPE_OK);
        }
        *window_at(&j->w, durable + at) ^= 0x20;
        os_sim_process_crash(disk);
        (void)!journal_close(&j, NULL);
        disk = os_sim_process_start(sim);
        assert_int_equal(open_on(disk, WINDOW, JOURNAL_SYNC_FDATASYNC, &j, &recovery, &error),
                         TAPE_CORRUPT);
        assert_non_null(strstr(error.text, "live window"));
        os_sim_process_crash(disk);
        os_sim_destroy(&sim);
    }
}

static void damaged_identity_and_newer_format_are_refused(void **state) {
    (void)state;
    outcome o;
    os_sim *original = filled(11, &o);
    uint64_t size = 0;
    assert_int_equal(os_sim_file_size(original, ROOT "/TAPE", OS_SIM_DURABLE, &size), TAPE_OK);
    for (uint64_t at = 0; at < size - 1; at++) { /* the last byte is a newline */
        os_sim *sim = os_sim_clone(original);
        assert_int_equal(os_sim_flip_bit(sim, ROOT "/TAPE", at, 0), TAPE_OK);
        journal_identity identity;
        tape_error error = {0};
        assert_int_equal(journal_identity_read(os_sim_process_start(sim), ROOT, &identity, &error),
                         TAPE_CORRUPT);
        assert_string_equal(error.file, ROOT "/TAPE");
        os_sim_destroy(&sim);
    }
    char text[256];
    int length = snprintf(text, sizeof text,
                          "tape store\nformat 2\nid 00000000000000000000000000000000\n"
                          "segment_bytes 65536\ncreated_ns 1\n");
    length += snprintf(text + length, sizeof text - (size_t)length, "crc32c %08x\n",
                       crc32c(0, text, (size_t)length));
    assert_int_equal(os_sim_resize_raw(original, ROOT "/TAPE", 0), TAPE_OK);
    assert_int_equal(os_sim_write_raw(original, ROOT "/TAPE", 0, text, (size_t)length), TAPE_OK);
    journal_identity identity;
    tape_error error = {0};
    assert_int_equal(journal_identity_read(os_sim_process_start(original), ROOT, &identity, &error),
                     TAPE_NEWER);
    free(o.ends);
    os_sim_destroy(&original);
}

/* Nobody flushes: appends fill the window and are then refused, and go on once there is room. */
static void full_window_refuses_with_busy_and_loses_nothing(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(1);
    os_disk *disk = os_sim_process_start(sim);
    tape_error error = {0};
    journal *j = make_and_open(disk);
    uint64_t appended = 0;
    tape_status status = TAPE_OK;
    while (status == TAPE_OK) {
        tape_tick tick = tick_of(appended + 1);
        tape_record record = TAPE_RECORD(TICKS, &tick);
        uint64_t seq = 0;
        status = journal_append(j, &record, 1, 0, &seq, &error);
        appended += status == TAPE_OK ? 1 : 0;
    }
    assert_int_equal(status, TAPE_BUSY);
    assert_true(appended > (WINDOW - 2 * WINDOW_RESERVE_BYTES) / 128 && appended < WINDOW / 128);
    journal_stats stats;
    journal_stats_read(j, &stats);
    assert_int_equal(stats.busy, 1);
    /* With time, the append makes room itself. */
    tape_tick tick = tick_of(appended + 1);
    tape_record record = TAPE_RECORD(TICKS, &tick);
    uint64_t seq = 0;
    assert_int_equal(journal_append(j, &record, 1, -1, &seq, &error), TAPE_OK);
    assert_int_equal(seq, ++appended);
    assert_int_equal(journal_wait(j, appended + 1, TAPE_WRITTEN, 0, &error), TAPE_TIMEOUT);
    tape_record many[2000];
    for (size_t i = 0; i < COUNT_OF(many); i++) {
        many[i] = record;
    }
    assert_int_equal(journal_append(j, many, COUNT_OF(many), -1, &seq, &error), TAPE_TOO_LARGE);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    assert_int_equal(read_back(disk), appended);
    os_sim_destroy(&sim);
}

/* The last run of a closed journal, with every commit that knew of it, turned to zeros or noise. */
static void end_that_is_lost_as_a_whole_is_missed(void **state) {
    (void)state;
    outcome o;
    os_sim *original = filled(13, &o);
    char path[64];
    path_of(path, 1);
    for (uint64_t fill = 0; fill < 2; fill++) {
        for (uint64_t from = SEGMENT_HEADER_BYTES; from < SEGMENT_HEADER_BYTES + KIB(16);
             from += 2048) {
            os_sim *sim = os_sim_clone(original);
            uint8_t *noise = mem_alloc(SEGMENT);
            memset(noise, fill == 0 ? 0 : 0xa7, SEGMENT);
            assert_int_equal(os_sim_write_raw(sim, path, from, noise,
                                              SEGMENT_HEADER_BYTES + SEGMENT - (size_t)from),
                             TAPE_OK);
            free(noise);
            if (from == SEGMENT_HEADER_BYTES) {
                os_disk *disk = os_sim_process_start(sim);
                uint64_t files = 0;
                uint64_t records = 0;
                tape_error error;
                assert_int_equal(journal_verify(disk, ROOT, NULL, NULL, &files, &records, &error),
                                 TAPE_CORRUPT);
                os_sim_process_crash(disk);
            }
            expect_refused_or_whole(sim, &o, path, from == SEGMENT_HEADER_BYTES);
            os_sim_destroy(&sim);
        }
    }
    os_sim *sim = os_sim_clone(original);
    assert_int_equal(os_sim_flip_bit(sim, ROOT "/journal/mark", 9, 1), TAPE_OK);
    expect_refused_or_whole(sim, &o, ROOT "/journal/mark", true);
    os_sim_destroy(&sim);
    os_sim_destroy(&original);
    free(o.ends);
}

static void log_nothing(void *context, log_level level, const char *line) {
    (void)context;
    (void)level;
    (void)line;
}

int main(void) {
    log_set(LOG_ERROR, log_nothing, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(power_loss_at_every_step_keeps_what_was_durable_and_leaves_a_prefix),
        cmocka_unit_test(power_loss_with_synchronous_writes_keeps_what_was_durable),
        cmocka_unit_test(power_loss_with_direct_writes_keeps_what_was_durable),
        cmocka_unit_test(crash_of_the_process_at_every_step_keeps_what_was_written),
        cmocka_unit_test(power_loss_during_recovery_loses_nothing_more),
        cmocka_unit_test(bit_rot_anywhere_is_refused_by_name_or_harmless),
        cmocka_unit_test(lost_torn_and_misdirected_writes_are_refused_by_name),
        cmocka_unit_test(missing_segment_is_refused_by_name),
        cmocka_unit_test(failed_write_or_sync_stops_the_journal_for_good),
        cmocka_unit_test(what_a_killed_process_left_unsynced_is_made_durable),
        cmocka_unit_test(what_a_failed_sync_left_in_the_cache_is_made_durable),
        cmocka_unit_test(full_disk_refuses_appends_and_loses_nothing),
        cmocka_unit_test(full_disk_and_a_crash_lose_nothing_written),
        cmocka_unit_test(appends_are_refused_while_the_disk_is_short_of_the_reserve),
        cmocka_unit_test(checkpoint_removes_only_what_is_not_needed),
        cmocka_unit_test(full_window_refuses_with_busy_and_loses_nothing),
        cmocka_unit_test(end_that_is_lost_as_a_whole_is_missed),
        cmocka_unit_test(window_that_is_damaged_is_refused),
        cmocka_unit_test(damaged_identity_and_newer_format_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
