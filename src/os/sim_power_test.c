/* Power failures on the simulated disk: what was synced is there, what was not may be in any of the
 * states a real disk could leave, and each of those states does come up. */
#include "os/os_sim.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static os_file *open_ok(os_disk *on, const char *path, unsigned flags) {
    os_file *file = NULL;
    tape_error error = {0};
    if (os_file_open(on, path, flags, &file, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return file;
}

static void fill_ok(os_file *file, uint64_t offset, char with, size_t size) {
    uint8_t *bytes = mem_alloc(size);
    memset(bytes, with, size);
    assert_int_equal(os_file_write(file, offset, bytes, size, NULL), TAPE_OK);
    free(bytes);
}

static void sync_ok(os_file *file) {
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
}

static void dir_sync_ok(os_disk *on, const char *path) {
    assert_int_equal(os_dir_sync(on, path, NULL), TAPE_OK);
}

static void power(os_sim *sim, os_sim_power_mode mode, unsigned lose, unsigned tear) {
    os_sim_power_loss(sim, &(os_sim_power){mode, lose, tear});
}

/* The content after a power failure; NULL when the file is gone. Caller frees. */
static char *content(os_sim *sim, const char *path, size_t *size) {
    uint8_t *data = NULL;
    *size = 0;
    return os_sim_read_raw(sim, path, OS_SIM_CACHED, &data, size) == TAPE_OK ? (char *)data : NULL;
}

static bool is_there(os_sim *sim, const char *path) {
    uint64_t size = 0;
    return os_sim_file_size(sim, path, OS_SIM_CACHED, &size) == TAPE_OK;
}

/* --- contents --- */

enum { PAGES = 8, PAGE = 4096 };

/* Synced pages of 's' with unsynced ones of 'u' over some of them and after them. */
static os_sim *machine_with_unsynced_pages(uint64_t seed) {
    os_sim *sim = os_sim_create(seed);
    os_disk *disk = os_sim_process_start(sim);
    os_file *file = open_ok(disk, "/f", OS_WRITE | OS_CREATE);
    fill_ok(file, 0, 's', PAGES * PAGE);
    sync_ok(file);
    dir_sync_ok(disk, "/");
    for (uint64_t page = 1; page < PAGES + 2; page += 2) {
        fill_ok(file, page * PAGE, 'u', PAGE);
    }
    os_file_close(&file);
    return sim;
}

static void synced_data_is_never_lost_and_unsynced_data_meets_every_fate(void **state) {
    (void)state;
    int kept = 0;
    int lost = 0;
    int torn = 0;
    int reordered = 0;
    int longer = 0;
    for (uint64_t seed = 0; seed < 1000; seed++) {
        os_sim *sim = machine_with_unsynced_pages(seed);
        os_sim_power_loss(sim, NULL);
        size_t size = 0;
        char *text = content(sim, "/f", &size);
        assert_non_null(text);
        assert_true(size >= PAGES * PAGE && size <= (PAGES + 2) * PAGE);
        bool lost_before = false;
        for (size_t page = 0; page * PAGE < size; page++) {
            size_t end = (page + 1) * PAGE < size ? (page + 1) * PAGE : size;
            size_t new_bytes = 0;
            for (size_t at = page * PAGE; at < end; at++) {
                new_bytes += text[at] == 'u';
                /* Never anything but the old, the new, or zero where nothing had been synced. */
                assert_true(text[at] == (at < PAGES * PAGE ? 's' : '\0') ||
                            (text[at] == 'u' && page % 2 == 1));
            }
            if (page % 2 == 0) {
                assert_int_equal(new_bytes, 0);
                continue;
            }
            kept += new_bytes == PAGE;
            lost += new_bytes == 0;
            torn += new_bytes > 0 && new_bytes < PAGE;
            reordered += new_bytes == PAGE && lost_before;
            lost_before |= new_bytes == 0;
        }
        longer += size > PAGES * PAGE;
        free(text);
        os_sim_destroy(&sim);
    }
    assert_true(kept > 300 && lost > 300 && torn > 100 && reordered > 100 && longer > 200);
}

static void modes_do_what_they_are_called(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        size_t size = 0;
        os_sim *sim = machine_with_unsynced_pages(seed);
        power(sim, OS_SIM_POWER_LOSE_ALL, 0, 0);
        char *text = content(sim, "/f", &size);
        assert_int_equal(size, PAGES * PAGE);
        assert_null(memchr(text, 'u', size));
        free(text);
        os_sim_destroy(&sim);

        sim = machine_with_unsynced_pages(seed);
        power(sim, OS_SIM_POWER_KEEP_ALL, 0, 0);
        text = content(sim, "/f", &size);
        assert_int_equal(size, (PAGES + 2) * PAGE);
        for (size_t page = 1; page < PAGES + 2; page += 2) {
            assert_int_equal(text[page * PAGE], 'u');
            assert_int_equal(text[(page + 1) * PAGE - 1], 'u');
        }
        free(text);
        os_sim_destroy(&sim);

        sim = machine_with_unsynced_pages(seed);
        power(sim, OS_SIM_POWER_PREFIX, 0, 0);
        text = content(sim, "/f", &size);
        bool ended = false;
        for (size_t page = 1; page < PAGES; page += 2) {
            bool whole = memchr(text + page * PAGE, 's', PAGE) == NULL;
            bool none = memchr(text + page * PAGE, 'u', PAGE) == NULL;
            assert_false(ended && !none);
            ended |= !whole;
        }
        free(text);
        os_sim_destroy(&sim);

        sim = machine_with_unsynced_pages(seed);
        power(sim, OS_SIM_POWER_RANDOM, 0, 0);
        text = content(sim, "/f", &size);
        assert_int_equal(size, (PAGES + 2) * PAGE);
        free(text);
        os_sim_destroy(&sim);
    }
}

static void a_sector_is_written_whole(void **state) {
    (void)state;
    /* Two writes into one sector: the later one cannot be there without the earlier. */
    int later = 0;
    int earlier_only = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        os_file *file = open_ok(disk, "/f", OS_WRITE | OS_CREATE);
        fill_ok(file, 0, 's', 1024);
        sync_ok(file);
        dir_sync_ok(disk, "/");
        fill_ok(file, 512, '1', 100);
        fill_ok(file, 612, '2', 100);
        os_file_close(&file);
        power(sim, OS_SIM_POWER_RANDOM, 50, 0);
        size_t size = 0;
        char *text = content(sim, "/f", &size);
        if (text[612] == '2') {
            assert_int_equal(text[512], '1');
            later++;
        }
        earlier_only += text[512] == '1' && text[612] == 's';
        assert_int_equal(text[511], 's');
        assert_int_equal(text[712], 's');
        free(text);
        os_sim_destroy(&sim);
    }
    assert_true(later > 50 && earlier_only > 30);
}

static void dsync_writes_are_durable_at_return(void **state) {
    (void)state;
    static _Alignas(OS_DIRECT_ALIGN) uint8_t page[OS_DIRECT_ALIGN];
    memset(page, 'd', sizeof page);
    for (uint64_t seed = 0; seed < 100; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        os_file *plain = open_ok(disk, "/f", OS_WRITE | OS_CREATE);
        os_file *dsync = open_ok(disk, "/f", OS_WRITE | OS_DSYNC | OS_DIRECT);
        dir_sync_ok(disk, "/");
        fill_ok(plain, 0, 'x', 3 * PAGE);
        assert_int_equal(os_file_write(dsync, PAGE, page, PAGE, NULL), TAPE_OK);
        fill_ok(plain, 3 * PAGE, 'y', PAGE);
        os_file_close(&plain);
        os_file_close(&dsync);
        os_sim_power_loss(sim, NULL);
        size_t size = 0;
        char *text = content(sim, "/f", &size);
        assert_true(size >= 2 * PAGE);
        assert_memory_equal(text + PAGE, page, PAGE);
        free(text);
        os_sim_destroy(&sim);
    }
}

static void direct_writes_without_dsync_are_not_durable_at_return(void **state) {
    (void)state;
    static _Alignas(OS_DIRECT_ALIGN) uint8_t page[OS_DIRECT_ALIGN];
    os_sim *sim = os_sim_create(1);
    os_disk *disk = os_sim_process_start(sim);
    os_file *file = open_ok(disk, "/f", OS_WRITE | OS_CREATE | OS_DIRECT);
    dir_sync_ok(disk, "/");
    assert_int_equal(os_file_write(file, 0, page, PAGE, NULL), TAPE_OK);
    assert_int_equal(os_sim_unsynced(sim, "/f"), 1);
    os_file_close(&file);
    power(sim, OS_SIM_POWER_LOSE_ALL, 0, 0);
    uint64_t size = 1;
    assert_int_equal(os_sim_file_size(sim, "/f", OS_SIM_CACHED, &size), TAPE_OK);
    assert_int_equal(size, 0);
    os_sim_destroy(&sim);
}

static void older_writes_never_come_back_over_durable_ones(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        os_file *plain = open_ok(disk, "/f", OS_WRITE | OS_CREATE);
        os_file *dsync = open_ok(disk, "/f", OS_WRITE | OS_DSYNC);
        dir_sync_ok(disk, "/");
        fill_ok(plain, 0, 'a', 2000); /* overlaps b, which overlaps c */
        fill_ok(plain, 1500, 'b', 2000);
        fill_ok(dsync, 3000, 'c', 2000);
        fill_ok(plain, 0, 'd', 10);
        if (seed % 2 == 0) {
            sync_ok(plain);
        }
        os_file_close(&plain);
        os_file_close(&dsync);
        os_sim_power_loss(sim, NULL);
        size_t size = 0;
        char *text = content(sim, "/f", &size);
        assert_int_equal(size, 5000);
        for (size_t at = 3000; at < 5000; at++) {
            assert_int_equal(text[at], 'c');
        }
        assert_int_equal(text[1400], 'a');
        assert_int_equal(text[1500], 'b');
        assert_true(text[0] == 'd' || (text[0] == 'a' && seed % 2 == 1));
        free(text);
        os_sim_destroy(&sim);
    }
}

static void a_durable_write_takes_older_truncations_along(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        os_file *file = open_ok(disk, "/f", OS_WRITE | OS_CREATE);
        fill_ok(file, 0, 's', 1000);
        sync_ok(file);
        dir_sync_ok(disk, "/");
        assert_int_equal(os_file_truncate(file, 0, NULL), TAPE_OK);
        os_file *dsync = open_ok(disk, "/f", OS_WRITE | OS_DSYNC);
        fill_ok(dsync, 0, 'd', 10);
        os_file_close(&file);
        os_file_close(&dsync);
        os_sim_power_loss(sim, NULL);
        size_t size = 0;
        char *text = content(sim, "/f", &size);
        assert_string_equal(text, "dddddddddd");
        free(text);
        os_sim_destroy(&sim);
    }
}

static void truncation_is_kept_or_lost(void **state) {
    (void)state;
    int sizes[3] = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        os_file *file = open_ok(disk, "/f", OS_WRITE | OS_CREATE);
        fill_ok(file, 0, 's', 1000);
        sync_ok(file);
        dir_sync_ok(disk, "/");
        assert_int_equal(os_file_truncate(file, 10, NULL), TAPE_OK);
        if (seed >= 50) {
            sync_ok(file);
        }
        os_file_close(&file);
        power(sim, OS_SIM_POWER_RANDOM, 50, 50);
        uint64_t size = 0;
        assert_int_equal(os_sim_file_size(sim, "/f", OS_SIM_CACHED, &size), TAPE_OK);
        assert_true(size == 10 || (size == 1000 && seed < 50));
        sizes[seed >= 50 ? 2 : size == 10]++;
        os_sim_destroy(&sim);
    }
    assert_true(sizes[0] > 5 && sizes[1] > 5 && sizes[2] == 50);
}

static void faults_strike_unsynced_writes_at_power_loss_too(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        os_file *file = open_ok(disk, "/f", OS_WRITE | OS_CREATE);
        fill_ok(file, 0, 's', 2 * PAGE);
        sync_ok(file);
        dir_sync_ok(disk, "/");
        (void)os_sim_fault_add(sim, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_LOST, "/f", 0, 1});
        (void)os_sim_fault_add(
            sim, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_MISDIRECTED, "/f", 1, 1, .to_offset = 100});
        fill_ok(file, 0, 'l', 10);
        fill_ok(file, 0, 'm', 10);
        os_file_close(&file);
        power(sim, OS_SIM_POWER_KEEP_ALL, 0, 0);
        size_t size = 0;
        char *text = content(sim, "/f", &size);
        assert_null(memchr(text, 'l', size));
        assert_int_equal(text[0], 's');
        assert_memory_equal(text + 99, "smmmmmmmmmms", 12);
        free(text);
        os_sim_destroy(&sim);
    }
}

/* --- names --- */

static void a_name_is_durable_after_its_directory_was_synced_and_not_before(void **state) {
    (void)state;
    int there = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        os_file *file = open_ok(disk, "/synced", OS_WRITE | OS_CREATE);
        dir_sync_ok(disk, "/");
        os_file_close(&file);
        file = open_ok(disk, "/not", OS_WRITE | OS_CREATE);
        fill_ok(file, 0, 'x', 10);
        sync_ok(file); /* the data, not the name */
        os_file_close(&file);
        os_sim_power_loss(sim, NULL);
        assert_true(is_there(sim, "/synced"));
        there += is_there(sim, "/not");
        os_sim_destroy(&sim);
    }
    assert_in_range(there, 20, 180);
}

static void what_lies_under_an_unsynced_directory_goes_with_it(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(1);
    os_disk *disk = os_sim_process_start(sim);
    assert_int_equal(os_dir_make(disk, "/d", NULL), TAPE_OK);
    os_file *file = open_ok(disk, "/d/f", OS_WRITE | OS_CREATE);
    fill_ok(file, 0, 'x', 10);
    sync_ok(file);
    dir_sync_ok(disk, "/d");
    os_sim *clone = os_sim_clone(sim);
    power(clone, OS_SIM_POWER_LOSE_ALL, 0, 0);
    assert_false(is_there(clone, "/d/f"));
    os_disk *after = os_sim_process_start(clone);
    os_stat stat;
    uint64_t free_bytes = 0;
    assert_int_equal(os_path_stat(after, "/d", &stat, NULL), TAPE_NOT_FOUND);
    os_sim_set_capacity(clone, 100);
    assert_int_equal(os_free_bytes(after, "/", &free_bytes, NULL), TAPE_OK);
    assert_int_equal(free_bytes, 100);
    os_sim_destroy(&clone);
    dir_sync_ok(disk, "/");
    os_file_close(&file);
    power(sim, OS_SIM_POWER_LOSE_ALL, 0, 0);
    assert_true(is_there(sim, "/d/f"));
    os_sim_destroy(&sim);
}

static void a_rename_is_atomic(void **state) {
    (void)state;
    int before = 0;
    int after = 0;
    int both_gone_wrong = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        assert_int_equal(os_dir_make(disk, "/d", NULL), TAPE_OK);
        assert_int_equal(os_write_small(disk, "/d/name", "old", 3, NULL), TAPE_OK);
        dir_sync_ok(disk, "/");
        os_file *file = open_ok(disk, "/d/temporary", OS_WRITE | OS_CREATE);
        fill_ok(file, 0, 'n', 3);
        sync_ok(file);
        os_file_close(&file);
        assert_int_equal(os_rename(disk, "/d/temporary", "/d/name", NULL), TAPE_OK);
        os_sim_power_loss(sim, NULL);
        size_t size = 0;
        char *text = content(sim, "/d/name", &size);
        assert_non_null(text);
        assert_true(strcmp(text, "old") == 0 || strcmp(text, "nnn") == 0);
        before += text[0] == 'o';
        after += text[0] == 'n';
        both_gone_wrong += text[0] == 'n' && is_there(sim, "/d/temporary");
        free(text);
        os_sim_destroy(&sim);
    }
    assert_true(before > 30 && after > 30);
    assert_int_equal(both_gone_wrong, 0);
}

static void a_removed_file_may_come_back_until_the_directory_is_synced(void **state) {
    (void)state;
    int back = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        assert_int_equal(os_write_small(disk, "/f", "old", 3, NULL), TAPE_OK);
        assert_int_equal(os_remove(disk, "/f", NULL), TAPE_OK);
        if (seed < 100) {
            dir_sync_ok(disk, "/");
        }
        os_sim_power_loss(sim, NULL);
        if (seed < 100) {
            assert_false(is_there(sim, "/f"));
        } else if (is_there(sim, "/f")) {
            size_t size = 0;
            char *text = content(sim, "/f", &size);
            assert_string_equal(text, "old");
            free(text);
            back++;
        }
        os_sim_destroy(&sim);
    }
    assert_in_range(back, 10, 90);
}

static void a_name_that_was_used_twice_has_one_of_its_files(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 300; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        assert_int_equal(os_write_small(disk, "/f", "first", 5, NULL), TAPE_OK);
        assert_int_equal(os_remove(disk, "/f", NULL), TAPE_OK);
        os_file *file = open_ok(disk, "/f", OS_WRITE | OS_CREATE | OS_EXCLUSIVE);
        fill_ok(file, 0, '2', 5);
        sync_ok(file);
        os_file_close(&file);
        os_sim_power_loss(sim, NULL);
        size_t size = 0;
        char *text = content(sim, "/f", &size);
        assert_true(text == NULL || strcmp(text, "first") == 0 || strcmp(text, "22222") == 0);
        free(text);
        os_sim_destroy(&sim);
    }
}

static void a_moved_directory_keeps_what_is_in_it(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 100; seed++) {
        os_sim *sim = os_sim_create(seed);
        os_disk *disk = os_sim_process_start(sim);
        assert_int_equal(os_dir_make(disk, "/d", NULL), TAPE_OK);
        dir_sync_ok(disk, "/");
        assert_int_equal(os_write_small(disk, "/d/f", "content", 7, NULL), TAPE_OK);
        assert_int_equal(os_rename(disk, "/d", "/e", NULL), TAPE_OK);
        size_t number =
            os_sim_fault_add(sim, &(os_sim_fault){OS_SIM_OPEN, OS_SIM_EIO, "/e/f", 0, 1});
        os_file *file = NULL;
        assert_int_equal(os_file_open(disk, "/e/f", OS_READ, &file, NULL), TAPE_IO);
        assert_int_equal(os_sim_fault_hits(sim, number), 1);
        os_sim_power_loss(sim, NULL);
        assert_true(is_there(sim, "/d/f") != is_there(sim, "/e/f"));
        os_sim_destroy(&sim);
    }
}

/* --- a piece of work, stopped at every step --- */

typedef struct progress {
    uint32_t written;      /* last version whose write returned OK */
    uint32_t attempted;    /* last version whose write began */
    uint32_t log_records;  /* records appended and synced */
    uint32_t log_attempts; /* records whose append began */
} progress;

/* A version file replaced again and again, and a log that is appended to and synced. */
static void version_work(os_disk *disk, progress *p) {
    os_file *log = NULL;
    tape_error error;
    if (os_dir_make(disk, "/d", &error) != TAPE_OK || os_dir_sync(disk, "/", &error) != TAPE_OK ||
        os_file_open(disk, "/d/log", OS_WRITE | OS_CREATE, &log, &error) != TAPE_OK ||
        os_dir_sync(disk, "/d", &error) != TAPE_OK) {
        goto out;
    }
    for (uint32_t version = 1; version <= 6; version++) {
        char text[16];
        int size = snprintf(text, sizeof text, "version %u", version);
        p->attempted = version;
        if (os_write_small(disk, "/d/version", text, (size_t)size, &error) != TAPE_OK) {
            goto out;
        }
        p->written = version;
        for (int i = 0; i < 3; i++) {
            uint32_t record[128] = {++p->log_attempts};
            if (os_file_write(log, (p->log_attempts - 1) * sizeof record, record, sizeof record,
                              &error) != TAPE_OK) {
                goto out;
            }
        }
        if (os_file_sync(log, &error) != TAPE_OK) {
            goto out;
        }
        p->log_records = p->log_attempts;
    }
out:
    os_file_close(&log);
}

static void check_work(os_sim *sim, const progress *p, bool power_failed) {
    size_t size = 0;
    char *text = content(sim, "/d/version", &size);
    uint32_t version = 0;
    if (text != NULL) {
        assert_int_equal(sscanf(text, "version %u", &version), 1);
        assert_int_equal(size, strlen("version n"));
    }
    free(text);
    assert_in_range(version, p->written, p->attempted);
    char *log = content(sim, "/d/log", &size);
    uint32_t promised = power_failed ? p->log_records : p->log_attempts - (p->log_attempts > 0);
    if (!power_failed && promised < p->log_records) {
        promised = p->log_records;
    }
    for (uint32_t i = 0; i < promised; i++) {
        assert_non_null(log);
        assert_true((i + 1) * 512 <= size);
        assert_int_equal(load_u32(log + i * 512), i + 1);
    }
    free(log);
}

static void work_stopped_at_every_step_keeps_its_promises(void **state) {
    (void)state;
    uint64_t steps = 0;
    for (uint64_t seed = 0; seed < 12; seed++) {
        bool reached = true;
        for (uint64_t step = 1; reached; step++) {
            os_sim *sim = os_sim_create(seed);
            progress p = {0};
            os_sim_crash_at(sim, step);
            os_disk *disk = os_sim_process_start(sim);
            version_work(disk, &p);
            reached = os_sim_crash_reached(sim);
            assert_true(reached || p.written == 6);
            os_sim *clone = os_sim_clone(sim);
            os_sim_process_crash(disk);
            check_work(sim, &p, false);
            os_sim_power_loss(sim, NULL); /* the power fails after the crash */
            check_work(sim, &p, true);
            os_sim_power_loss(clone, NULL);
            check_work(clone, &p, true);
            os_sim_power_loss(clone, NULL); /* and once more: nothing further is lost */
            check_work(clone, &p, true);
            os_sim_destroy(&clone);
            os_sim_destroy(&sim);
            steps++;
        }
    }
    assert_true(steps > 12 * 50);
}

static void a_broken_promise_would_be_seen(void **state) {
    (void)state;
    /* The same work with a disk that syncs nothing: the check above must be able to fail. */
    int missing = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        os_sim *sim = os_sim_create(seed);
        progress p = {0};
        (void)os_sim_fault_add(sim, &(os_sim_fault){OS_SIM_SYNC, OS_SIM_LOST, "/d/log", 0, 0});
        version_work(os_sim_process_start(sim), &p);
        assert_int_equal(p.log_records, 18);
        os_sim_power_loss(sim, NULL);
        size_t size = 0;
        char *log = content(sim, "/d/log", &size);
        bool whole = log != NULL && size == 18 * 512;
        for (uint32_t i = 0; whole && i < 18; i++) {
            whole = load_u32(log + i * 512) == i + 1;
        }
        missing += !whole;
        free(log);
        os_sim_destroy(&sim);
    }
    assert_true(missing > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(synced_data_is_never_lost_and_unsynced_data_meets_every_fate),
        cmocka_unit_test(modes_do_what_they_are_called),
        cmocka_unit_test(a_sector_is_written_whole),
        cmocka_unit_test(dsync_writes_are_durable_at_return),
        cmocka_unit_test(direct_writes_without_dsync_are_not_durable_at_return),
        cmocka_unit_test(older_writes_never_come_back_over_durable_ones),
        cmocka_unit_test(a_durable_write_takes_older_truncations_along),
        cmocka_unit_test(truncation_is_kept_or_lost),
        cmocka_unit_test(faults_strike_unsynced_writes_at_power_loss_too),
        cmocka_unit_test(a_name_is_durable_after_its_directory_was_synced_and_not_before),
        cmocka_unit_test(what_lies_under_an_unsynced_directory_goes_with_it),
        cmocka_unit_test(a_rename_is_atomic),
        cmocka_unit_test(a_removed_file_may_come_back_until_the_directory_is_synced),
        cmocka_unit_test(a_name_that_was_used_twice_has_one_of_its_files),
        cmocka_unit_test(a_moved_directory_keeps_what_is_in_it),
        cmocka_unit_test(work_stopped_at_every_step_keeps_its_promises),
        cmocka_unit_test(a_broken_promise_would_be_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
