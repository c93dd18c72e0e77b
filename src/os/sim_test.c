/* The simulated machine: it answers like Linux, keeps what a process crash keeps, counts steps,
 * clones. Faults are in sim_fault_test.c, power failures in sim_power_test.c. */
#include "os/sim_testing.h"

#include <stdio.h>
#include <unistd.h>

/* --- like Linux --- */

typedef struct world {
    os_disk *on;
    const char *root;
    os_file *open[4];
} world;

static void note_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    buffer_printf(context, "%s%s:%llu ", name, is_dir ? "/" : "",
                  (unsigned long long)(is_dir ? 0 : size));
}

static void note_status(buffer *notes, const world *w, const char *what, tape_status status,
                        const tape_error *error) {
    buffer_printf(notes, "%s %s", what, tape_status_name(status));
    if (status != TAPE_OK) {
        /* The texts are the same but for where the worlds stand. */
        char text[sizeof error->text];
        memcpy(text, error->text, sizeof text);
        for (char *at = NULL; w->root[0] != 0 && (at = strstr(text, w->root)) != NULL;) {
            memmove(at, at + strlen(w->root), strlen(at + strlen(w->root)) + 1);
        }
        buffer_printf(notes, " %s", text);
    }
    buffer_append_text(notes, "\n");
}

static void name_path(const world *w, uint32_t random, char *out, size_t size) {
    static const char *names[] = {"/a", "/b", "/d", "/d/a", "/d/e", "/d/e/f", "/b/x", "/d/e/g"};
    (void)snprintf(out, size, "%s%s", w->root, names[random % COUNT_OF(names)]);
}

/* One call of many kinds, the same in every world for the same numbers. */
static void random_call(world *w, buffer *notes, const uint32_t r[6]) {
    char path[512];
    char other[512];
    char bytes[64];
    size_t got = 0;
    tape_error error = {0};
    os_file **file = &w->open[r[1] % COUNT_OF(w->open)];
    name_path(w, r[2], path, sizeof path);
    name_path(w, r[3], other, sizeof other);
    switch (r[0] % 12) {
    case 0:
    case 1:
        os_file_close(file);
        note_status(notes, w, "open",
                    os_file_open(w->on, path,
                                 OS_WRITE | (r[4] % 3 != 0 ? OS_CREATE : 0) |
                                     (r[4] % 6 == 1 ? OS_EXCLUSIVE : 0),
                                 file, &error),
                    &error);
        break;
    case 2:
    case 3:
        memset(bytes, 'A' + (int)(r[5] % 26), sizeof bytes);
        if (*file != NULL) {
            note_status(notes, w, "write",
                        os_file_write(*file, r[4] % 300, bytes, r[5] % 64, &error), &error);
        }
        break;
    case 4:
        memset(bytes, 0, sizeof bytes);
        if (*file != NULL) {
            note_status(notes, w, "read",
                        os_file_read(*file, r[4] % 300, bytes, r[5] % 64, &got, &error), &error);
            buffer_printf(notes, "%zu %08x\n", got, crc32c(0, bytes, got));
        }
        break;
    case 5:
        if (*file != NULL) {
            note_status(notes, w, "truncate", os_file_truncate(*file, r[4] % 300, &error), &error);
        }
        break;
    case 6:
        note_status(notes, w, "mkdir", os_dir_make(w->on, path, &error), &error);
        break;
    case 7:
        note_status(notes, w, "rename", os_rename(w->on, path, other, &error), &error);
        break;
    case 8:
        note_status(notes, w, "remove", os_remove(w->on, path, &error), &error);
        break;
    case 9:
        note_status(notes, w, "rmdir", os_dir_remove(w->on, path, &error), &error);
        break;
    case 10: {
        note_status(notes, w, "list", os_dir_list(w->on, path, note_entry, notes, &error), &error);
        note_status(notes, w, "dirsync", os_dir_sync(w->on, path, &error), &error);
        break;
    }
    default: {
        os_stat stat = {0};
        note_status(notes, w, "stat", os_path_stat(w->on, path, &stat, &error), &error);
        buffer_printf(notes, "%d %llu\n", stat.is_dir,
                      (unsigned long long)(stat.is_dir ? 0 : stat.size));
        break;
    }
    }
}

static void remove_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    os_disk *on = os_disk_linux();
    char *path = mem_printf("%s/%s", (const char *)context, name);
    if (is_dir) {
        assert_int_equal(os_dir_list(on, path, remove_entry, path, NULL), TAPE_OK);
        assert_int_equal(os_dir_remove(on, path, NULL), TAPE_OK);
    } else {
        assert_int_equal(os_remove(on, path, NULL), TAPE_OK);
    }
    free(path);
}

static void simulated_disk_answers_like_linux_to_random_calls(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    char root[256];
    for (uint32_t seed = 0; seed < 40; seed++) {
        (void)snprintf(root, sizeof root, "%s/tape-sim-XXXXXX", base != NULL ? base : "/tmp");
        assert_non_null(mkdtemp(root));
        os_sim *machine = os_sim_create(seed);
        os_disk *simulated = os_sim_process_start(machine);
        assert_int_equal(os_dir_make(simulated, "/R", NULL), TAPE_OK);
        world worlds[] = {{.on = os_disk_linux(), .root = root}, {.on = simulated, .root = "/R"}};
        uint32_t random = seed * 77 + 1;
        for (int call = 0; call < 400; call++) {
            uint32_t r[6];
            for (size_t i = 0; i < COUNT_OF(r); i++) {
                random = random * 1664525u + 1013904223u;
                r[i] = random >> 12;
            }
            buffer notes[2] = {0};
            for (size_t i = 0; i < 2; i++) {
                random_call(&worlds[i], &notes[i], r);
                buffer_append(&notes[i], "", 1);
            }
            assert_string_equal((const char *)notes[0].data, (const char *)notes[1].data);
            buffer_deinit(&notes[0]);
            buffer_deinit(&notes[1]);
        }
        for (size_t i = 0; i < 2; i++) {
            for (size_t k = 0; k < COUNT_OF(worlds[i].open); k++) {
                os_file_close(&worlds[i].open[k]);
            }
        }
        os_sim_destroy(&machine);
        assert_int_equal(os_dir_list(os_disk_linux(), root, remove_entry, root, NULL), TAPE_OK);
        assert_int_equal(rmdir(root), 0);
    }
}

static void paths_have_one_form(void **state) {
    (void)state;
    tape_error error;
    os_file *file = NULL;
    assert_int_equal(os_dir_make(disk, "/d", NULL), TAPE_OK);
    os_file *made = open_ok("d//./f", OS_WRITE | OS_CREATE);
    os_file_close(&made);
    assert_true(is_there("/d/f"));
    assert_true(is_there("/"));
    assert_int_equal(os_file_open(disk, "/d/../d/f", OS_READ, &file, &error), TAPE_INVALID);
}

static void map_is_stable_and_shows_later_writes(void **state) {
    (void)state;
    os_map map;
    os_file *file = open_ok("/f", OS_WRITE | OS_CREATE);
    write_ok(file, 0, "0123456789");
    assert_int_equal(os_file_map(file, 8, OS_MAP_RANDOM, &map, NULL), TAPE_OK);
    const uint8_t *at = map.data;
    os_map_fetch(&map, 3, 5);
    write_ok(file, 4, "xyzxyzxyz"); /* beyond the mapped part too */
    assert_ptr_equal(at, map.data);
    assert_memory_equal(map.data, "0123xyzx", 8);
    os_file_close(&file);
    assert_int_equal(os_remove(disk, "/f", NULL), TAPE_OK);
    assert_memory_equal(map.data, "0123xyzx", 8);
    lose_power(OS_SIM_POWER_LOSE_ALL);
    assert_memory_equal(map.data, "0123xyzx", 8);
    os_unmap(&map);
}

/* --- processes --- */

static void process_crash_keeps_what_was_written(void **state) {
    (void)state;
    os_file *file = open_ok("/f", OS_WRITE | OS_CREATE);
    write_ok(file, 0, "unsynced");
    os_disk *dead = disk;
    restart();
    assert_content("/f", "unsynced");
    /* The dead process can do nothing any more, the least harm. */
    tape_error error;
    size_t got = 0;
    uint64_t bytes = 0;
    char byte = 0;
    os_file *other = NULL;
    os_shm shm;
    uint64_t steps = os_sim_steps(sim);
    assert_int_equal(os_file_write(file, 0, "dead", 4, &error), TAPE_IO);
    assert_non_null(strstr(error.text, "stopped"));
    assert_int_equal(os_file_read(file, 0, &byte, 1, &got, &error), TAPE_IO);
    assert_int_equal(os_file_sync(file, &error), TAPE_IO);
    assert_int_equal(os_file_truncate(file, 0, &error), TAPE_IO);
    assert_int_equal(os_file_size(file, &bytes, &error), TAPE_IO);
    assert_int_equal(os_file_open(dead, "/g", OS_WRITE | OS_CREATE, &other, &error), TAPE_IO);
    assert_int_equal(os_remove(dead, "/f", &error), TAPE_IO);
    assert_int_equal(os_rename(dead, "/f", "/g", &error), TAPE_IO);
    assert_int_equal(os_dir_make(dead, "/d", &error), TAPE_IO);
    assert_int_equal(os_dir_sync(dead, "/", &error), TAPE_IO);
    assert_int_equal(os_shm_create(dead, "r", 4096, 4096, &shm, &error), TAPE_IO);
    assert_int_equal(os_shm_open(dead, "r", 4096, 4096, true, &shm, &error), TAPE_IO);
    assert_int_equal(os_shm_remove(dead, "r", &error), TAPE_IO);
    assert_int_equal(os_shm_free_bytes(dead, &bytes, &error), TAPE_IO);
    assert_int_equal(os_free_bytes(dead, "/", &bytes, &error), TAPE_IO);
    assert_int_equal(os_sim_steps(sim), steps);
    os_file_close(&file);
    assert_content("/f", "unsynced");
}

static void locks_exclude_processes_and_end_with_them(void **state) {
    (void)state;
    os_disk *second = os_sim_process_start(sim);
    os_lock *lock = NULL;
    os_lock *other = NULL;
    int64_t owner = 0;
    int64_t found = 0;
    tape_error error;
    assert_int_equal(os_lock_take(disk, "/LOCK", &lock, &owner, NULL), TAPE_OK);
    assert_int_equal(os_lock_take(second, "/LOCK", &other, &found, &error), TAPE_LOCKED);
    assert_int_equal(found, owner);
    assert_non_null(strstr(error.text, "process 1000"));
    assert_content("/LOCK", "1000\n");
    os_sim_process_crash(disk);
    assert_int_equal(os_lock_take(second, "/LOCK", &other, &found, &error), TAPE_OK);
    disk = os_sim_process_start(sim);
    assert_content("/LOCK", "1001\n");
    os_lock_release(&lock); /* the dead one's: frees nobody */
    assert_int_equal(os_lock_take(disk, "/LOCK", &lock, &found, &error), TAPE_LOCKED);
    os_lock_release(&other);
    assert_int_equal(os_lock_take(disk, "/LOCK", &lock, &found, &error), TAPE_OK);
    lose_power(OS_SIM_POWER_KEEP_ALL);
    assert_int_equal(os_lock_take(disk, "/LOCK", &other, &found, &error), TAPE_OK);
    os_lock_release(&lock);
    os_lock_release(&other);
}

/* --- shared memory --- */

static void shm_survives_processes_but_not_power(void **state) {
    (void)state;
    uint8_t boot[2][16];
    os_shm shm;
    os_shm young;
    tape_error error;
    assert_int_equal(os_boot_id(disk, boot[0], NULL), TAPE_OK);
    assert_int_equal(os_shm_create(disk, "w", 4096, 8192, &shm, &error), TAPE_OK);
    assert_int_equal(shm.size, 4096 + 2 * 8192);
    memcpy(shm.data + 4096 + 8192 - 3, "abcdef", 6);
    assert_memory_equal(shm.data + 4096, "def", 3);
    os_shm_prefault(&shm, 0, shm.size);
    os_disk *dead = disk;
    restart();
    /* Its threads may go on storing: nobody sees that. */
    memcpy(shm.data + 4096, "DEAD", 4);
    assert_memory_equal(shm.data + 4096 + 8192, "DEAD", 4);
    assert_int_equal(os_shm_open(disk, "w", 4096, 8192, true, &young, &error), TAPE_OK);
    assert_memory_equal(young.data + 4096 + 8192 - 3, "abcdef", 6);
    os_shm_close(&shm);
    assert_int_equal(os_shm_remove(dead, "w", &error), TAPE_IO);
    assert_int_equal(os_boot_id(disk, boot[1], NULL), TAPE_OK);
    assert_memory_equal(boot[0], boot[1], 16);
    lose_power(OS_SIM_POWER_KEEP_ALL);
    assert_int_equal(os_shm_open(disk, "w", 4096, 8192, false, &shm, &error), TAPE_NOT_FOUND);
    assert_int_equal(os_boot_id(disk, boot[1], NULL), TAPE_OK);
    assert_memory_not_equal(boot[0], boot[1], 16);
    os_shm_close(&young);
}

static void shm_goes_on_between_the_living_when_one_dies(void **state) {
    (void)state;
    os_disk *reader = os_sim_process_start(sim);
    os_shm writers;
    os_shm readers;
    os_shm young;
    assert_int_equal(os_shm_create(disk, "w", 4096, 4096, &writers, NULL), TAPE_OK);
    assert_int_equal(os_shm_open(reader, "w", 4096, 4096, false, &readers, NULL), TAPE_OK);
    writers.data[0] = 1;
    assert_int_equal(readers.data[0], 1);
    restart();
    writers.data[0] = 99;
    assert_int_equal(readers.data[0], 1);
    assert_int_equal(os_shm_open(disk, "w", 4096, 4096, true, &young, NULL), TAPE_OK);
    young.data[4096 + 4096] = 2;
    assert_int_equal(readers.data[4096], 2);
    assert_int_equal(writers.data[4096], 0);
    os_shm_close(&writers);
    os_shm_close(&readers);
    os_shm_close(&young);
}

static void shm_errors_are_those_of_linux(void **state) {
    (void)state;
    os_shm shm;
    os_shm other;
    tape_error error;
    uint64_t free_bytes = 0;
    os_sim_set_shm_capacity(sim, 16384);
    assert_int_equal(os_shm_create(disk, "w", 4096, 16384, &shm, &error), TAPE_NO_SPACE);
    assert_int_equal(os_shm_create(disk, "w", 4096, 8192, &shm, &error), TAPE_OK);
    assert_int_equal(os_shm_free_bytes(disk, &free_bytes, NULL), TAPE_OK);
    assert_int_equal(free_bytes, 4096);
    assert_int_equal(os_shm_create(disk, "w", 4096, 8192, &other, &error), TAPE_NO_SPACE);
    assert_int_equal(os_shm_open(disk, "w", 4096, 16384, false, &other, &error), TAPE_CORRUPT);
    assert_int_equal(os_shm_open(disk, "v", 4096, 4096, false, &other, &error), TAPE_NOT_FOUND);
    assert_int_equal(os_shm_open(disk, "w", 4096, 0, false, &other, &error), TAPE_OK);
    assert_int_equal(os_shm_remove(disk, "w", &error), TAPE_OK);
    shm.data[5] = 5; /* removed, but mapped */
    assert_int_equal(other.data[5], 5);
    os_shm_close(&shm);
    assert_int_equal(os_shm_free_bytes(disk, &free_bytes, NULL), TAPE_OK);
    assert_int_equal(free_bytes, 4096);
    os_shm_close(&other);
    assert_int_equal(os_shm_free_bytes(disk, &free_bytes, NULL), TAPE_OK);
    assert_int_equal(free_bytes, 16384);
    assert_int_equal(os_shm_remove(disk, "w", &error), TAPE_NOT_FOUND);
    (void)os_sim_fault_add(sim, &(os_sim_fault){OS_SIM_SHM_CREATE, OS_SIM_NO_SPACE, "w*", 0, 1});
    assert_int_equal(os_shm_create(disk, "w", 4096, 4096, &shm, &error), TAPE_NO_SPACE);
    (void)os_sim_fault_add(sim, &(os_sim_fault){OS_SIM_SHM_OPEN, OS_SIM_EIO, NULL, 0, 1});
    assert_int_equal(os_shm_open(disk, "w", 4096, 4096, false, &shm, &error), TAPE_IO);
    assert_int_equal(os_shm_create(disk, "w", 4096, 4096, &shm, &error), TAPE_OK);
    os_shm_close(&shm);
    (void)os_sim_fault_add(sim, &(os_sim_fault){OS_SIM_SHM_REMOVE, OS_SIM_EIO, NULL, 0, 1});
    assert_int_equal(os_shm_remove(disk, "w", &error), TAPE_IO);
    assert_int_equal(os_shm_remove(disk, "w", &error), TAPE_OK);
}

/* --- steps, clones, raw access --- */

static void append_line(void *context, uint64_t step, const char *text) {
    buffer_printf(context, "%llu %s\n", (unsigned long long)step, text);
}

static void steps_are_what_changes_the_disk(void **state) {
    (void)state;
    buffer lines = {0};
    os_shm shm;
    os_sim_trace(sim, append_line, &lines);
    assert_int_equal(os_dir_make(disk, "/d", NULL), TAPE_OK);
    os_file *file = open_ok("/d/f", OS_WRITE | OS_CREATE);
    write_ok(file, 5, "abc");
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_int_equal(os_file_truncate(file, 4, NULL), TAPE_OK);
    os_file_close(&file);
    file = open_ok("/d/f", OS_WRITE | OS_CREATE);
    os_file_close(&file);
    assert_int_equal(os_remove(disk, "/d/none", NULL), TAPE_NOT_FOUND);
    assert_int_equal(os_rename(disk, "/d/f", "/d/g", NULL), TAPE_OK);
    assert_true(is_there("/d/g"));
    add_fault(OS_SIM_REMOVE, OS_SIM_EIO, NULL, 0);
    assert_int_equal(os_remove(disk, "/d/g", NULL), TAPE_IO);
    assert_int_equal(os_remove(disk, "/d/g", NULL), TAPE_OK);
    assert_int_equal(os_dir_sync(disk, "/d", NULL), TAPE_OK);
    assert_int_equal(os_dir_remove(disk, "/d", NULL), TAPE_OK);
    assert_int_equal(os_shm_create(disk, "w", 4096, 0, &shm, NULL), TAPE_OK);
    os_shm_close(&shm);
    assert_int_equal(os_shm_remove(disk, "w", NULL), TAPE_OK);
    os_sim_crash_at(sim, os_sim_steps(sim) + 1);
    assert_int_equal(os_dir_make(disk, "/e", NULL), TAPE_IO);
    os_sim_trace(sim, NULL, NULL);
    assert_int_equal(os_sim_steps(sim), 13);
    buffer_append(&lines, "", 1);
    assert_string_equal((const char *)lines.data, "1 make directory /d\n"
                                                  "2 create /d/f\n"
                                                  "3 write /d/f at 5, 3 bytes\n"
                                                  "4 sync /d/f\n"
                                                  "5 truncate /d/f to 4 bytes\n"
                                                  "6 rename /d/f to /d/g\n"
                                                  "7 remove /d/g (a fault hits)\n"
                                                  "8 remove /d/g\n"
                                                  "9 sync directory /d\n"
                                                  "10 remove directory /d\n"
                                                  "11 create shared region w\n"
                                                  "12 remove shared region w\n"
                                                  "13 make directory /e (stopped here)\n");
    buffer_deinit(&lines);
}

static void crash_at_a_step_stops_everything_from_there_on(void **state) {
    (void)state;
    bool done = false;
    bool undone = false;
    bool half = false;
    for (uint64_t seed = 0; seed < 60; seed++) {
        os_sim *machine = os_sim_create(seed);
        os_disk *on = os_sim_process_start(machine);
        os_file *file = open_on(on, "/f", OS_WRITE | OS_CREATE | OS_DSYNC);
        os_shm shm;
        assert_int_equal(os_shm_create(on, "w", 4096, 4096, &shm, NULL), TAPE_OK);
        shm.data[0] = 1;
        os_sim_crash_at(machine, os_sim_steps(machine) + 2);
        write_ok(file, 0, "first ");
        assert_false(os_sim_crash_reached(machine));
        char byte = 0;
        size_t got = 0;
        tape_error error;
        assert_int_equal(os_file_write(file, 6, "second", 6, &error), TAPE_IO);
        assert_true(os_sim_crash_reached(machine));
        shm.data[0] = 2; /* after the stop */
        assert_int_equal(os_file_read(file, 0, &byte, 1, &got, &error), TAPE_IO);
        assert_int_equal(os_file_write(file, 0, "x", 1, &error), TAPE_IO);
        assert_int_equal(os_remove(on, "/f", &error), TAPE_IO);
        os_file_close(&file);
        os_shm_close(&shm);
        os_sim_process_crash(on);
        on = os_sim_process_start(machine);
        char *text = NULL;
        size_t size = 0;
        assert_int_equal(os_read_small(on, "/f", &text, &size, NULL), TAPE_OK);
        assert_memory_equal(text, "first second", size);
        done |= size == 12;
        undone |= size == 6;
        half |= size > 6 && size < 12;
        free(text);
        assert_int_equal(os_shm_open(on, "w", 4096, 4096, false, &shm, NULL), TAPE_OK);
        assert_int_equal(shm.data[0], 1);
        os_shm_close(&shm);
        os_sim_destroy(&machine);
    }
    assert_true(done && undone && half);
}

static void a_call_stopped_half_way_is_done_or_not(void **state) {
    (void)state;
    int done[4] = {0};
    for (uint64_t seed = 0; seed < 200; seed++) {
        os_sim *machine = os_sim_create(seed);
        os_disk *on = os_sim_process_start(machine);
        os_file *file = open_on(on, "/f", OS_WRITE | OS_CREATE);
        assert_int_equal(os_dir_sync(on, "/", NULL), TAPE_OK);
        write_ok(file, 0, "content");
        os_sim_crash_at(machine, os_sim_steps(machine) + 1);
        os_shm shm;
        switch (seed % 4) {
        case 0:
            assert_int_equal(os_rename(on, "/f", "/g", NULL), TAPE_IO);
            break;
        case 1:
            assert_int_equal(os_file_sync(file, NULL), TAPE_IO);
            break;
        case 2:
            assert_int_equal(os_file_truncate(file, 3, NULL), TAPE_IO);
            break;
        default:
            assert_int_equal(os_shm_create(on, "w", 4096, 4096, &shm, NULL), TAPE_IO);
        }
        os_file_close(&file);
        os_sim_process_crash(on);
        on = os_sim_process_start(machine);
        os_stat stat = {0};
        bool there = os_path_stat(on, "/f", &stat, NULL) == TAPE_OK;
        switch (seed % 4) {
        case 0:
            assert_true(there == (os_path_stat(on, "/g", &stat, NULL) == TAPE_NOT_FOUND));
            done[0] += !there;
            break;
        case 1:
            done[1] += os_sim_unsynced(machine, NULL) == 0;
            break;
        case 2:
            assert_true(stat.size == 7 || stat.size == 3);
            done[2] += stat.size == 3;
            break;
        default:
            done[3] += os_shm_open(on, "w", 4096, 4096, false, &shm, NULL) == TAPE_OK;
            os_shm_close(&shm);
        }
        os_sim_destroy(&machine);
    }
    for (size_t i = 0; i < COUNT_OF(done); i++) {
        assert_in_range(done[i], 5, 45);
    }
}

/* Some work whose calls follow from `seed` alone. */
static void work(os_disk *on, uint32_t seed, int calls) {
    world w = {.on = on, .root = ""};
    buffer notes = {0};
    for (int call = 0; call < calls; call++) {
        uint32_t r[6];
        for (size_t i = 0; i < COUNT_OF(r); i++) {
            seed = seed * 1664525u + 1013904223u;
            r[i] = seed >> 12;
        }
        random_call(&w, &notes, r);
        if (r[5] % 7 == 0 && w.open[0] != NULL) {
            (void)!os_file_sync(w.open[0], NULL);
        }
    }
    for (size_t k = 0; k < COUNT_OF(w.open); k++) {
        os_file_close(&w.open[k]);
    }
    buffer_deinit(&notes);
}

static uint64_t digest_after_work(uint64_t seed) {
    os_sim *machine = os_sim_create(seed);
    (void)os_sim_fault_add(machine, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_TORN, NULL, 3, 2});
    (void)os_sim_fault_add(machine, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_EIO, NULL, 9, 4});
    for (uint32_t i = 0; i < 3; i++) {
        work(os_sim_process_start(machine), 5 + i, 300);
        os_sim_power_loss(machine, NULL);
    }
    work(os_sim_process_start(machine), 99, 100);
    uint64_t digest = os_sim_digest(machine);
    os_sim_destroy(&machine);
    return digest;
}

static void one_seed_gives_one_result(void **state) {
    (void)state;
    uint64_t first = digest_after_work(1);
    assert_int_equal(digest_after_work(1), first);
    int same = 0;
    for (uint64_t seed = 2; seed < 12; seed++) {
        same += digest_after_work(seed) == first;
        assert_int_equal(digest_after_work(seed), digest_after_work(seed));
    }
    assert_in_range(same, 0, 2);
}

static void clone_and_original_do_not_touch_each_other(void **state) {
    (void)state;
    os_shm shm;
    os_shm cloned;
    work(disk, 3, 500);
    assert_int_equal(os_shm_create(disk, "w", 4096, 4096, &shm, NULL), TAPE_OK);
    shm.data[9] = 9;
    uint64_t before = os_sim_digest(sim);
    uint64_t steps = os_sim_steps(sim);
    os_sim *clone = os_sim_clone(sim);
    assert_int_equal(os_sim_digest(clone), before);
    assert_int_equal(os_sim_steps(clone), steps);
    os_disk *on = os_sim_process_start(clone);
    assert_int_equal(os_shm_open(on, "w", 4096, 4096, true, &cloned, NULL), TAPE_OK);
    assert_int_equal(cloned.data[9], 9);
    cloned.data[9] = 1;
    assert_int_equal(shm.data[9], 9);
    work(on, 4, 500);
    assert_int_equal(os_sim_digest(sim), before);
    assert_int_equal(os_sim_steps(sim), steps);
    os_shm_close(&cloned);
    os_sim_power_loss(clone, NULL);
    assert_int_equal(os_sim_digest(sim), before);
    os_sim_destroy(&clone);

    /* The same from the same moment: the same chances; and others with another seed. */
    os_file *file = open_ok("/unsynced", OS_WRITE | OS_CREATE);
    write_ok(file, 0, "unsynced");
    os_file_close(&file);
    uint64_t digests[2];
    bool differs = false;
    for (uint64_t i = 0; i < 12; i++) {
        clone = os_sim_clone(sim);
        if (i >= 2) {
            os_sim_seed(clone, i);
        }
        os_sim_power_loss(clone, NULL);
        digests[i == 0 ? 0 : 1] = os_sim_digest(clone);
        os_sim_destroy(&clone);
        if (i == 1) {
            assert_int_equal(digests[0], digests[1]);
        }
        differs |= i > 1 && digests[0] != digests[1];
    }
    assert_true(differs);
    work(disk, 4, 500);
    os_shm_close(&shm);
}

static void clone_carries_faults_with_their_counts(void **state) {
    (void)state;
    os_file *file = open_ok("/f", OS_WRITE | OS_CREATE);
    size_t number = os_sim_fault_add(sim, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_EIO, "/f", 1, 1});
    write_ok(file, 0, "1");
    os_sim *clone = os_sim_clone(sim);
    os_file *cloned = open_on(os_sim_process_start(clone), "/f", OS_WRITE);
    assert_int_equal(os_file_write(cloned, 0, "2", 1, NULL), TAPE_IO);
    assert_int_equal(os_sim_fault_hits(clone, number), 1);
    assert_int_equal(os_sim_fault_hits(sim, number), 0);
    assert_int_equal(os_file_write(file, 0, "2", 1, NULL), TAPE_IO);
    os_file_close(&cloned);
    os_file_close(&file);
    os_sim_destroy(&clone);
}

static void raw_access_is_durable_and_no_step(void **state) {
    (void)state;
    uint64_t steps = os_sim_steps(sim);
    assert_int_equal(os_sim_write_raw(sim, "/f", 2, "abc", 3), TAPE_OK);
    assert_int_equal(os_sim_write_raw(sim, "/none/f", 0, "abc", 3), TAPE_NOT_FOUND);
    assert_int_equal(os_sim_write_raw(sim, "/", 0, "abc", 3), TAPE_INVALID);
    lose_power(OS_SIM_POWER_LOSE_ALL);
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(os_read_small(disk, "/f", &text, &size, NULL), TAPE_OK);
    assert_int_equal(size, 5);
    assert_memory_equal(text, "\0\0abc", 5);
    free(text);
    assert_int_equal(os_sim_resize_raw(sim, "/f", 3), TAPE_OK);
    uint64_t bytes = 0;
    assert_int_equal(os_sim_file_size(sim, "/f", OS_SIM_CACHED, &bytes), TAPE_OK);
    assert_int_equal(bytes, 3);
    assert_int_equal(os_sim_file_size(sim, "/f", OS_SIM_DURABLE, &bytes), TAPE_OK);
    assert_int_equal(bytes, 3);
    assert_int_equal(os_sim_file_size(sim, "/g", OS_SIM_DURABLE, &bytes), TAPE_NOT_FOUND);
    assert_int_equal(os_sim_resize_raw(sim, "/g", 3), TAPE_NOT_FOUND);
    assert_int_equal(os_sim_steps(sim), steps);
}

static void dump_names_files_and_faults(void **state) {
    (void)state;
    make_durable("/kept", "1");
    os_file *file = open_ok("/fresh", OS_WRITE | OS_CREATE);
    write_ok(file, 3, "data");
    add_fault(OS_SIM_SYNC, OS_SIM_EIO, "/fre*", 0);
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    os_sim_dump(sim, to);
    (void)fclose(to);
    assert_non_null(strstr(text, "/kept inode"));
    assert_non_null(strstr(text, "write /fresh at 3, 4 bytes"));
    assert_non_null(strstr(text, "name made fresh"));
    assert_non_null(strstr(text, "/fre*"));
    free(text);
    os_file_close(&file);
}

/* --- threads --- */

typedef struct hammer {
    os_disk *on;
    uint32_t number;
} hammer;

static void hammer_run(void *argument) {
    const hammer *h = argument;
    char path[32];
    uint64_t value[8];
    (void)snprintf(path, sizeof path, "/f%u", h->number);
    os_file *file = NULL;
    if (os_file_open(h->on, path, OS_WRITE | OS_CREATE, &file, NULL) != TAPE_OK) {
        return;
    }
    for (uint64_t i = 0; i < 500; i++) {
        size_t got = 0;
        memset(value, (int)(i + h->number), sizeof value);
        uint64_t back[8];
        if (os_file_write(file, i * sizeof value, value, sizeof value, NULL) != TAPE_OK ||
            (i % 16 == 0 && os_file_sync(file, NULL) != TAPE_OK) ||
            os_file_read(file, i * sizeof value, back, sizeof back, &got, NULL) != TAPE_OK) {
            break; /* crashed: as it should be */
        }
        ASSERT(got == sizeof back && memcmp(value, back, sizeof back) == 0);
    }
    os_file_close(&file);
}

static void threads_may_use_it_while_it_crashes(void **state) {
    (void)state;
    for (uint64_t step = 0; step < 2000; step += 400) {
        os_thread *threads[4];
        hammer hammers[4];
        os_sim_crash_at(sim, step == 0 ? 0 : os_sim_steps(sim) + step);
        for (uint32_t i = 0; i < 4; i++) {
            hammers[i] = (hammer){disk, i};
            assert_int_equal(
                os_thread_start(&threads[i], "hammer", -1, hammer_run, &hammers[i], NULL), TAPE_OK);
        }
        for (size_t i = 0; i < 4; i++) {
            os_thread_join(&threads[i]);
        }
        assert_int_equal(os_sim_crash_reached(sim), step != 0);
        lose_power(OS_SIM_POWER_SEEDED);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SIM_TEST(simulated_disk_answers_like_linux_to_random_calls),
        SIM_TEST(paths_have_one_form),
        SIM_TEST(map_is_stable_and_shows_later_writes),
        SIM_TEST(process_crash_keeps_what_was_written),
        SIM_TEST(locks_exclude_processes_and_end_with_them),
        SIM_TEST(shm_survives_processes_but_not_power),
        SIM_TEST(shm_goes_on_between_the_living_when_one_dies),
        SIM_TEST(shm_errors_are_those_of_linux),
        SIM_TEST(steps_are_what_changes_the_disk),
        SIM_TEST(crash_at_a_step_stops_everything_from_there_on),
        SIM_TEST(a_call_stopped_half_way_is_done_or_not),
        SIM_TEST(one_seed_gives_one_result),
        SIM_TEST(clone_and_original_do_not_touch_each_other),
        SIM_TEST(clone_carries_faults_with_their_counts),
        SIM_TEST(raw_access_is_durable_and_no_step),
        SIM_TEST(dump_names_files_and_faults),
        SIM_TEST(threads_may_use_it_while_it_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
