#include "journal/journal_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEGMENT KIB(64)
#define WINDOW KIB(256)

typedef struct place {
    char root[64];
} place;

static int place_make(void **state) {
    place *p = calloc(1, sizeof *p);
    (void)snprintf(p->root, sizeof p->root, "/tmp/tape-journal-XXXXXX");
    if (mkdtemp(p->root) == NULL) {
        return -1;
    }
    *state = p;
    return 0;
}

static int place_remove(void **state) {
    place *p = *state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", p->root);
    int done = system(command);
    free(p);
    return done;
}

static journal *open_journal(const char *root, bool background) {
    journal_options options = {
        .disk = os_disk_linux(),
        .root = root,
        .window_bytes = WINDOW,
        .sync = JOURNAL_SYNC_FDATASYNC,
        .writer_cpu = -1,
        .background = background,
    };
    journal_recovery recovery;
    journal *j = NULL;
    tape_error error = {0};
    tape_status status = journal_open(&j, &options, &recovery, &error);
    if (status != TAPE_OK) {
        print_error("%s\n", error.text);
    }
    assert_int_equal(status, TAPE_OK);
    return j;
}

static void make_store(const char *root) {
    journal_identity identity;
    tape_error error = {0};
    assert_int_equal(journal_create(os_disk_linux(), root, SEGMENT, &identity, &error), TAPE_OK);
}

static tape_tick tick_of(uint64_t n) {
    return (tape_tick){.instrument_id = "IF2601", .last_price = (double)n, .ts = (int64_t)n + 1};
}

static uint64_t append_ticks(journal *j, uint64_t first, size_t count) {
    tape_tick ticks[64];
    tape_record records[64];
    ASSERT(count <= 64);
    for (size_t i = 0; i < count; i++) {
        ticks[i] = tick_of(first + i);
        records[i] = (tape_record)TAPE_RECORD(TICKS, &ticks[i]);
    }
    uint64_t seq = 0;
    tape_error error;
    tape_status status = journal_append(j, records, count, 5 * NS_PER_SECOND, &seq, &error);
    if (status != TAPE_OK) {
        print_error("%s\n", error.text);
    }
    assert_int_equal(status, TAPE_OK);
    return seq;
}

/* Reads everything from `from` and checks that it is tick n at seq n; returns the last seq. */
static uint64_t read_all(const char *root, uint64_t from) {
    journal_reader *r = NULL;
    tape_error error = {0};
    tape_status status = journal_reader_open(&r, os_disk_linux(), root, TAPE_WRITTEN, from, &error);
    if (status != TAPE_OK) {
        print_error("%s\n", error.text);
    }
    assert_int_equal(status, TAPE_OK);
    uint64_t next = from == 0 ? 1 : from;
    for (;;) {
        record_view views[100];
        size_t count = 0;
        status = journal_reader_next(r, views, COUNT_OF(views), &count, &error);
        if (status != TAPE_OK) {
            print_error("%s\n", error.text);
        }
        assert_int_equal(status, TAPE_OK);
        if (count == 0) {
            break;
        }
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(views[i].seq, next);
            const tape_tick *tick = views[i].payload;
            assert_true(tick->last_price == (double)next);
            assert_int_equal(views[i].ts, (int64_t)next + 1);
            next++;
        }
    }
    journal_reader_close(&r);
    return next - 1;
}

static void journal_appends_get_gapless_seqs_and_are_read_back(void **state) {
    place *p = *state;
    make_store(p->root);
    journal *j = open_journal(p->root, true);
    uint64_t next = 1;
    for (size_t i = 0; i < 3000; i++) {
        size_t count = 1 + i % 5;
        assert_int_equal(append_ticks(j, next, count), next);
        next += count;
    }
    assert_int_equal(journal_seq(j, TAPE_WRITTEN), next - 1);
    tape_error error;
    assert_int_equal(journal_wait(j, next - 1, TAPE_DURABLE, clock_deadline_ns(-1), &error),
                     TAPE_OK);
    assert_int_equal(journal_seq(j, TAPE_DURABLE), next - 1);
    assert_int_equal(read_all(p->root, 0), next - 1);
    assert_int_equal(read_all(p->root, 5000), next - 1);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    assert_int_equal(read_all(p->root, 0), next - 1);
    j = open_journal(p->root, false);
    assert_int_equal(journal_seq(j, TAPE_DURABLE), next - 1);
    assert_int_equal(append_ticks(j, next, 1), next);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    assert_int_equal(read_all(p->root, 1), next);
    uint64_t files = 0;
    uint64_t records = 0;
    assert_int_equal(journal_verify(os_disk_linux(), p->root, NULL, NULL, &files, &records, &error),
                     TAPE_OK);
    assert_int_equal(records, next);
}

typedef struct producer {
    journal *j;
    uint64_t appended;
} producer;

static void produce(void *argument) {
    producer *p = argument;
    for (int i = 0; i < 4000; i++) {
        tape_tick ticks[3] = {tick_of(0), tick_of(0), tick_of(0)};
        tape_record records[3] = {TAPE_RECORD(TICKS, &ticks[0]), TAPE_RECORD(TICKS, &ticks[1]),
                                  TAPE_RECORD(TICKS, &ticks[2])};
        uint64_t seq = 0;
        tape_error error;
        size_t count = 1 + (size_t)i % 3;
        ASSERT(journal_append(p->j, records, count, -1, &seq, &error) == TAPE_OK);
        p->appended += count;
        if (i % 64 == 0) {
            ASSERT(journal_wait(p->j, seq, TAPE_DURABLE, clock_deadline_ns(-1), &error) == TAPE_OK);
            ASSERT(journal_seq(p->j, TAPE_DURABLE) >= seq);
        }
    }
}

static void journal_appends_of_many_threads_have_no_gap_and_stay_whole(void **state) {
    place *p = *state;
    make_store(p->root);
    journal *j = open_journal(p->root, true);
    producer producers[4] = {{j, 0}, {j, 0}, {j, 0}, {j, 0}};
    os_thread *threads[4];
    tape_error error;
    uint64_t total = 0;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(
            os_thread_start(&threads[i], "producer", -1, produce, &producers[i], &error), TAPE_OK);
    }
    for (size_t i = 0; i < 4; i++) {
        os_thread_join(&threads[i]);
        total += producers[i].appended;
    }
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    journal_reader *r = NULL;
    assert_int_equal(journal_reader_open(&r, os_disk_linux(), p->root, TAPE_WRITTEN, 0, &error),
                     TAPE_OK);
    uint64_t next = 1;
    int64_t append_ts = 0;
    size_t count = 1;
    while (count > 0) {
        record_view views[64];
        assert_int_equal(journal_reader_next(r, views, 64, &count, &error), TAPE_OK);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(views[i].seq, next++);
            assert_true(views[i].append_ts >= append_ts);
            append_ts = views[i].append_ts;
        }
    }
    assert_int_equal(next - 1, total);
    journal_reader_close(&r);
}

static void journal_window_of_a_killed_owner_is_taken_over(void **state) {
    place *p = *state;
    make_store(p->root);
    pid_t child = fork();
    if (child == 0) {
        journal *j = open_journal(p->root, false);
        (void)append_ticks(j, 1, 50);
        tape_error error;
        (void)!journal_wait(j, 50, TAPE_DURABLE, clock_deadline_ns(-1), &error);
        for (uint64_t n = 51; n < 1051; n += 50) {
            (void)append_ticks(j, n, 50);
        }
        /* Claimed, and never published. */
        window_range range;
        (void)window_claim(&j->w, 128, 1, 0, SEGMENT, &range);
        _exit(0);
    }
    int ended = 0;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    assert_int_equal(read_all(p->root, 0), 1050); /* a reader needs no owner */
    journal_options options = {.disk = os_disk_linux(),
                               .root = p->root,
                               .window_bytes = WINDOW,
                               .sync = JOURNAL_SYNC_FDATASYNC,
                               .writer_cpu = -1};
    journal_recovery recovery;
    journal *j = NULL;
    tape_error error = {0};
    tape_status status = journal_open(&j, &options, &recovery, &error);
    if (status != TAPE_OK) {
        print_error("%s\n", error.text);
    }
    assert_int_equal(status, TAPE_OK);
    assert_int_equal(recovery.records_from_window, 1000);
    assert_int_equal(recovery.last_seq, 1050);
    assert_int_equal(append_ticks(j, 1051, 1), 1051);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
    assert_int_equal(read_all(p->root, 0), 1051);
}

/* The probe is measured once per device, kept, and believed only for that device. */
static void journal_probe_is_kept_and_measured_anew_on_another_device(void **state) {
    place *p = *state;
    make_store(p->root);
    journal_place where;
    tape_error error = {0};
    assert_int_equal(journal_place_init(&where, os_disk_linux(), p->root, &error), TAPE_OK);
    sync_probe probe;
    assert_int_equal(sync_probe_get(&where, true, &probe, &error), TAPE_OK);
    assert_true(probe.floor_ns > 0);
    assert_int_not_equal(probe.method, JOURNAL_SYNC_PROBE);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/journal/probe", p->root);
    os_stat stat;
    assert_int_equal(os_path_stat(os_disk_linux(), p->root, &stat, &error), TAPE_OK);
    char text[128];
    int length =
        snprintf(text, sizeof text, "device %llu\nmethod O_DSYNC\nfdatasync_ns 123456789\n",
                 (unsigned long long)stat.device);
    assert_int_equal(os_write_small(os_disk_linux(), path, text, (size_t)length, &error), TAPE_OK);
    assert_int_equal(sync_probe_get(&where, true, &probe, &error), TAPE_OK);
    assert_int_equal(probe.method, JOURNAL_SYNC_DSYNC);
    assert_int_equal(probe.floor_ns, 123456789);
    length = snprintf(text, sizeof text, "device %llu\nmethod O_DSYNC\nfdatasync_ns 123456789\n",
                      (unsigned long long)stat.device + 1);
    assert_int_equal(os_write_small(os_disk_linux(), path, text, (size_t)length, &error), TAPE_OK);
    assert_int_equal(sync_probe_get(&where, true, &probe, &error), TAPE_OK);
    assert_int_not_equal(probe.floor_ns, 123456789);
    journal_place_deinit(&where);
    journal_options options = {.disk = os_disk_linux(),
                               .root = p->root,
                               .window_bytes = WINDOW,
                               .writer_cpu = 0,
                               .background = true};
    journal *j = NULL;
    journal_recovery recovery;
    assert_int_equal(journal_open(&j, &options, &recovery, &error), TAPE_OK);
    journal_stats stats;
    journal_stats_read(j, &stats);
    assert_int_equal(stats.sync_floor_ns, probe.floor_ns);
    assert_string_equal(stats.sync_method, sync_method_name(probe.method));
    assert_int_equal(append_ticks(j, 1, 5), 1);
    assert_int_equal(journal_close(&j, &error), TAPE_OK);
}

static bool window_exists(const char *name) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", os_shm_dir(), name);
    return access(path, F_OK) == 0;
}

/* Windows of killed owners are swept when their directory is gone and everything in them is
 * durable. */
static void journal_windows_whose_directory_is_gone_are_swept(void **state) {
    place *p = *state;
    char *names[2] = {NULL, NULL};
    char roots[2][96];
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(roots[i], sizeof roots[i], "%s/%zu", p->root, i);
        assert_int_equal(mkdir(roots[i], 0777), 0);
        make_store(roots[i]);
        journal_place where;
        tape_error error;
        assert_int_equal(journal_place_init(&where, os_disk_linux(), roots[i], &error), TAPE_OK);
        names[i] = window_name(&where, &error);
        journal_place_deinit(&where);
        pid_t child = fork();
        if (child == 0) {
            journal *j = open_journal(roots[i], false);
            (void)append_ticks(j, 1, 50);
            (void)!journal_wait(j, 50, TAPE_DURABLE, INT64_MAX, NULL);
            _exit(0);
        }
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_true(window_exists(names[i]));
    }
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", roots[0]);
    assert_int_equal(system(command), 0);
    make_store(p->root);
    journal *j = open_journal(p->root, false);
    assert_false(window_exists(names[0]));
    assert_true(window_exists(names[1])); /* its directory is there: it waits to be taken over */
    assert_int_equal(journal_close(&j, NULL), TAPE_OK);
    j = open_journal(roots[1], false);
    assert_int_equal(journal_seq(j, TAPE_DURABLE), 50);
    assert_int_equal(journal_close(&j, NULL), TAPE_OK);
    assert_false(window_exists(names[1]));
    free(names[0]);
    free(names[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(journal_appends_get_gapless_seqs_and_are_read_back,
                                        place_make, place_remove),
        cmocka_unit_test_setup_teardown(journal_appends_of_many_threads_have_no_gap_and_stay_whole,
                                        place_make, place_remove),
        cmocka_unit_test_setup_teardown(journal_window_of_a_killed_owner_is_taken_over, place_make,
                                        place_remove),
        cmocka_unit_test_setup_teardown(journal_probe_is_kept_and_measured_anew_on_another_device,
                                        place_make, place_remove),
        cmocka_unit_test_setup_teardown(journal_windows_whose_directory_is_gone_are_swept,
                                        place_make, place_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
