/* Each fault of the simulated disk does what its name says. */
#include "os/sim_testing.h"

static void note_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)is_dir;
    (void)size;
    buffer_append_text(context, name);
}

static void fault_hits_the_nth_call_on_the_named_file(void **state) {
    (void)state;
    tape_error error;
    size_t number = os_sim_fault_add(
        sim, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_EIO, "*.seg", .skip = 2, .count = 2});
    os_file *other = open_ok("/b.idx", OS_WRITE | OS_CREATE);
    os_file *file = open_ok("/a.tmp", OS_WRITE | OS_CREATE);
    write_ok(file, 0, "before it has the name");
    assert_int_equal(os_rename(disk, "/a.tmp", "/a.seg", NULL), TAPE_OK);
    write_ok(file, 0, "1");
    write_ok(other, 0, "x");
    write_ok(file, 0, "2");
    assert_int_equal(os_sim_fault_hits(sim, number), 0);
    assert_int_equal(os_file_write(file, 0, "3", 1, &error), TAPE_IO);
    assert_int_equal(error.offset, 0);
    assert_string_equal(error.file, "/a.tmp");
    assert_int_equal(os_file_write(file, 0, "4", 1, &error), TAPE_IO);
    write_ok(file, 0, "5");
    assert_int_equal(os_sim_fault_hits(sim, number), 2);
    os_sim_fault_clear(sim);
    (void)os_sim_fault_add(sim, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_EIO, NULL, 0, 0});
    for (int i = 0; i < 5; i++) {
        assert_int_equal(os_file_write(other, 0, "x", 1, &error), TAPE_IO);
    }
    os_file_close(&file);
    os_file_close(&other);
}

static void every_operation_can_fail(void **state) {
    (void)state;
    tape_error error;
    os_file *file = open_ok("/f", OS_WRITE | OS_CREATE);
    os_file *none = NULL;
    os_map map;
    os_stat stat;
    char byte = 0;
    size_t got = 0;
    buffer names = {0};
    write_ok(file, 0, "x");
    assert_int_equal(os_dir_make(disk, "/d", NULL), TAPE_OK);
    for (int operation = 0; operation < OS_SIM_OPERATIONS; operation++) {
        (void)os_sim_fault_add(
            sim, &(os_sim_fault){(os_sim_operation)operation, OS_SIM_EIO, NULL, 0, 0});
    }
    assert_int_equal(os_file_read(file, 0, &byte, 1, &got, &error), TAPE_IO);
    assert_int_equal(os_file_map(file, 1, 0, &map, &error), TAPE_IO);
    assert_int_equal(os_file_write(file, 0, "x", 1, &error), TAPE_IO);
    assert_int_equal(os_file_sync(file, &error), TAPE_IO);
    assert_int_equal(os_file_truncate(file, 0, &error), TAPE_IO);
    assert_int_equal(os_file_open(disk, "/f", OS_READ, &none, &error), TAPE_IO);
    assert_int_equal(os_file_open(disk, "/g", OS_WRITE | OS_CREATE, &none, &error), TAPE_IO);
    assert_int_equal(os_rename(disk, "/f", "/g", &error), TAPE_IO);
    assert_int_equal(os_remove(disk, "/f", &error), TAPE_IO);
    assert_int_equal(os_dir_make(disk, "/e", &error), TAPE_IO);
    assert_int_equal(os_dir_remove(disk, "/d", &error), TAPE_IO);
    assert_int_equal(os_dir_sync(disk, "/", &error), TAPE_IO);
    assert_int_equal(os_dir_list(disk, "/", note_entry, &names, &error), TAPE_IO);
    assert_int_equal(os_path_stat(disk, "/f", &stat, &error), TAPE_IO);
    assert_int_equal(os_shm_remove(disk, "none", &error), TAPE_NOT_FOUND);
    os_sim_fault_clear(sim);
    assert_true(is_there("/f") && is_there("/d") && !is_there("/g") && !is_there("/e"));
    os_file_close(&file);
}

static void full_disk_takes_what_fits_and_recovers(void **state) {
    (void)state;
    tape_error error;
    uint64_t free_bytes = 0;
    uint64_t size = 0;
    os_sim_set_capacity(sim, 100);
    os_file *file = open_ok("/f", OS_WRITE | OS_CREATE);
    uint8_t bytes[90] = {0};
    assert_int_equal(os_file_write(file, 0, bytes, 60, NULL), TAPE_OK);
    assert_int_equal(os_free_bytes(disk, "/", &free_bytes, NULL), TAPE_OK);
    assert_int_equal(free_bytes, 40);
    assert_int_equal(os_file_write(file, 60, bytes, 90, &error), TAPE_NO_SPACE);
    assert_int_equal(os_file_size(file, &size, NULL), TAPE_OK);
    assert_true(size >= 60 && size <= 100);
    assert_int_equal(os_file_write(file, 0, bytes, 60, &error), TAPE_OK); /* no growth */
    assert_int_equal(os_file_truncate(file, 0, NULL), TAPE_OK);
    assert_int_equal(os_file_write(file, 0, bytes, 90, &error), TAPE_OK);
    os_file_close(&file);
    assert_int_equal(os_remove(disk, "/f", NULL), TAPE_OK);
    assert_int_equal(os_dir_sync(disk, "/", NULL), TAPE_OK);
    assert_int_equal(os_free_bytes(disk, "/", &free_bytes, NULL), TAPE_OK);
    assert_int_equal(free_bytes, 100);
    add_fault(OS_SIM_CREATE, OS_SIM_NO_SPACE, "/n", 0);
    assert_int_equal(os_file_open(disk, "/n", OS_WRITE | OS_CREATE, &file, &error), TAPE_NO_SPACE);
}

static void write_error_leaves_any_part(void **state) {
    (void)state;
    bool none = false;
    bool some = false;
    bool all = false;
    os_file *file = open_ok("/f", OS_WRITE | OS_CREATE);
    (void)os_sim_fault_add(sim, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_EIO, NULL, 0, 0});
    for (int i = 0; i < 100; i++) {
        uint64_t size = 0;
        assert_int_equal(os_file_truncate(file, 0, NULL), TAPE_OK);
        assert_int_equal(os_file_write(file, 0, "12345678", 8, NULL), TAPE_IO);
        assert_int_equal(os_file_size(file, &size, NULL), TAPE_OK);
        none |= size == 0;
        all |= size == 8;
        some |= size > 0 && size < 8;
    }
    assert_true(none && some && all);
    os_file_close(&file);
}

static void failed_sync_makes_clean_and_forgets_by_chance(void **state) {
    (void)state;
    int kept = 0;
    for (int i = 0; i < 100; i++) {
        tape_error error;
        os_sim_fault_clear(sim);
        make_durable("/f", "old");
        os_file *file = open_ok("/f", OS_WRITE);
        add_fault(OS_SIM_SYNC, OS_SIM_EIO, NULL, 0);
        write_ok(file, 0, "new");
        assert_int_equal(os_file_sync(file, &error), TAPE_IO);
        assert_content("/f", "new"); /* the cache still shows it */
        assert_int_equal(os_file_sync(file, &error), TAPE_OK);
        os_file_close(&file);
        lose_power(OS_SIM_POWER_KEEP_ALL);
        char *text = NULL;
        size_t size = 0;
        assert_int_equal(os_read_small(disk, "/f", &text, &size, NULL), TAPE_OK);
        assert_true(strcmp(text, "old") == 0 || strcmp(text, "new") == 0);
        kept += text[0] == 'n';
        free(text);
    }
    assert_in_range(kept, 10, 90);
}

static void lost_write_is_acknowledged_and_never_there(void **state) {
    (void)state;
    make_durable("/f", "0123456789");
    os_file *file = open_ok("/f", OS_WRITE);
    add_fault(OS_SIM_WRITE, OS_SIM_LOST, "/f", 0);
    write_ok(file, 2, "xx");
    write_ok(file, 6, "yy");
    assert_content("/f", "01xx45yy89");
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_content("/f", "01xx45yy89");
    assert_on_disk("/f", "012345yy89");
    os_sim_drop_caches(sim);
    assert_content("/f", "012345yy89");

    /* A write that extends the file: its size is the file system's and lasts. */
    uint64_t size = 0;
    add_fault(OS_SIM_WRITE, OS_SIM_LOST, "/f", 0);
    write_ok(file, 10, "more");
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_int_equal(os_sim_file_size(sim, "/f", OS_SIM_DURABLE, &size), TAPE_OK);
    assert_int_equal(size, 14);
    assert_on_disk("/f", "012345yy89");
    os_file_close(&file);

    /* The same for writes that are durable at once. */
    file = open_ok("/f", OS_WRITE | OS_DSYNC);
    add_fault(OS_SIM_WRITE, OS_SIM_LOST, "/f", 0);
    write_ok(file, 0, "zz");
    assert_on_disk("/f", "012345yy89");
    write_ok(file, 0, "zz");
    assert_on_disk("/f", "zz2345yy89");
    os_file_close(&file);
}

static void dropping_caches_keeps_what_is_unsynced(void **state) {
    (void)state;
    os_map map;
    make_durable("/f", "0123456789");
    os_file *file = open_ok("/f", OS_WRITE);
    assert_int_equal(os_file_map(file, 4, 0, &map, NULL), TAPE_OK);
    add_fault(OS_SIM_WRITE, OS_SIM_LOST, "/f", 0);
    write_ok(file, 0, "L");
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_int_equal(os_file_truncate(file, 6, NULL), TAPE_OK);
    write_ok(file, 2, "uu");
    assert_content("/f", "L1uu45");
    os_sim_drop_caches(sim);
    assert_content("/f", "01uu45");
    assert_memory_equal(map.data, "01uu", 4);
    assert_on_disk("/f", "0123456789");
    os_unmap(&map);
    os_file_close(&file);
}

static void lost_sync_syncs_nothing(void **state) {
    (void)state;
    make_durable("/f", "old");
    os_file *file = open_ok("/f", OS_WRITE);
    add_fault(OS_SIM_SYNC, OS_SIM_LOST, "/f", 0);
    write_ok(file, 0, "new");
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_on_disk("/f", "old");
    assert_int_equal(os_sim_unsynced(sim, "/f"), 1);
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_on_disk("/f", "new");
    assert_int_equal(os_sim_unsynced(sim, NULL), 0);
    os_file_close(&file);
}

static void torn_write_is_acknowledged_and_never_whole(void **state) {
    (void)state;
    enum { SIZE = 4096 };
    static uint8_t old[SIZE];
    static uint8_t young[SIZE];
    memset(old, 'o', SIZE);
    memset(young, 'n', SIZE);
    bool by_sector = false;
    bool mid_sector = false;
    for (int i = 0; i < 200; i++) {
        assert_int_equal(os_sim_write_raw(sim, "/f", 0, old, SIZE), TAPE_OK);
        os_sim_fault_clear(sim);
        add_fault(OS_SIM_WRITE, OS_SIM_TORN, "/f", 0);
        os_file *file = open_ok("/f", OS_WRITE);
        assert_int_equal(os_file_write(file, 0, young, SIZE, NULL), TAPE_OK);
        assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
        os_file_close(&file);
        uint8_t *raw = NULL;
        size_t size = 0;
        assert_int_equal(os_sim_read_raw(sim, "/f", OS_SIM_CACHED, &raw, &size), TAPE_OK);
        assert_memory_equal(raw, young, SIZE);
        free(raw);
        assert_int_equal(os_sim_read_raw(sim, "/f", OS_SIM_DURABLE, &raw, &size), TAPE_OK);
        assert_int_equal(size, SIZE);
        assert_memory_not_equal(raw, young, SIZE);
        size_t edges = 0;
        for (size_t at = 1; at < SIZE; at++) {
            if (raw[at] != raw[at - 1]) {
                edges++;
                mid_sector |= at % 512 != 0;
            }
        }
        by_sector |= edges > 1;
        free(raw);
    }
    assert_true(by_sector && mid_sector);
}

static void misdirected_write_lands_elsewhere(void **state) {
    (void)state;
    make_durable("/f", "0123456789");
    make_durable("/g", "abcdefghij");
    os_file *file = open_ok("/f", OS_WRITE);
    (void)os_sim_fault_add(
        sim, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_MISDIRECTED, "/f", 0, 1, NULL, .to_offset = 7});
    write_ok(file, 0, "XX");
    assert_content("/f", "XX23456789");
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_on_disk("/f", "0123456XX9");
    os_sim_drop_caches(sim);
    assert_content("/f", "0123456XX9");

    (void)os_sim_fault_add(
        sim, &(os_sim_fault){OS_SIM_WRITE, OS_SIM_MISDIRECTED, "/f", 0, 1, "/g", .to_offset = 9});
    write_ok(file, 0, "YY");
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_on_disk("/f", "0123456XX9");
    assert_on_disk("/g", "abcdefghiY"); /* it never makes a file longer */
    assert_content("/g", "abcdefghij");
    os_sim_drop_caches(sim);
    assert_content("/g", "abcdefghiY");

    (void)os_sim_fault_add(sim,
                           &(os_sim_fault){OS_SIM_WRITE, OS_SIM_MISDIRECTED, "/f", 0, 1, "/none"});
    write_ok(file, 0, "ZZ");
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_on_disk("/f", "0123456XX9");
    os_file_close(&file);
}

static void bit_rot_shows_at_once_and_lasts(void **state) {
    (void)state;
    os_map map;
    make_durable("/f", "aaaa");
    os_file *file = open_ok("/f", OS_READ);
    assert_int_equal(os_file_map(file, 4, 0, &map, NULL), TAPE_OK);
    assert_int_equal(os_sim_flip_bit(sim, "/f", 2, 1), TAPE_OK);
    assert_content("/f", "aaca");
    assert_memory_equal(map.data, "aaca", 4);
    lose_power(OS_SIM_POWER_SEEDED);
    assert_content("/f", "aaca");
    assert_int_equal(os_sim_flip_bit(sim, "/f", 4, 0), TAPE_NOT_FOUND);
    assert_int_equal(os_sim_flip_bit(sim, "/g", 0, 0), TAPE_NOT_FOUND);
    os_unmap(&map);
    os_file_close(&file);
}

static void entry_is_lost_despite_directory_sync(void **state) {
    (void)state;
    make_durable("/f", "f");
    make_durable("/g", "g");
    make_durable("/r", "r");
    add_fault(OS_SIM_CREATE, OS_SIM_LOST, "/n", 0);
    add_fault(OS_SIM_RENAME, OS_SIM_LOST, "/h", 0);
    add_fault(OS_SIM_REMOVE, OS_SIM_LOST, "/r", 0);
    make_durable("/n", "n");
    assert_int_equal(os_rename(disk, "/g", "/h", NULL), TAPE_OK);
    assert_int_equal(os_remove(disk, "/r", NULL), TAPE_OK);
    assert_int_equal(os_dir_sync(disk, "/", NULL), TAPE_OK);
    assert_true(is_there("/n") && is_there("/h") && !is_there("/r"));
    restart();
    assert_true(is_there("/n") && is_there("/h") && !is_there("/r"));
    lose_power(OS_SIM_POWER_KEEP_ALL);
    assert_true(!is_there("/n") && !is_there("/h"));
    assert_content("/f", "f");
    assert_content("/g", "g");
    assert_content("/r", "r");

    /* Nor does it last by luck, without any sync. */
    os_sim_fault_clear(sim);
    add_fault(OS_SIM_CREATE, OS_SIM_LOST, "/n", 0);
    os_file *file = open_ok("/n", OS_WRITE | OS_CREATE);
    os_file_close(&file);
    lose_power(OS_SIM_POWER_KEEP_ALL);
    assert_false(is_there("/n"));

    add_fault(OS_SIM_DIR_SYNC, OS_SIM_LOST, "/", 0);
    make_durable("/s", "s");
    lose_power(OS_SIM_POWER_LOSE_ALL);
    assert_false(is_there("/s"));
}

/* What another program would have written. */
static char *write_real_file(const char *dir, const uint8_t *data, size_t size) {
    char *path = mem_printf("%s/real", dir);
    os_file *file = NULL;
    assert_int_equal(os_file_open(os_disk_linux(), path, OS_WRITE | OS_CREATE, &file, NULL),
                     TAPE_OK);
    assert_int_equal(os_file_write(file, 0, data, size, NULL), TAPE_OK);
    os_file_close(&file);
    return path;
}

static void adopted_file_is_whole_or_absent_wherever_the_power_fails(void **state) {
    (void)state;
    enum { SIZE = 600000 };
    static uint8_t data[SIZE];
    char dir[64];
    const char *base = getenv("TMPDIR");
    (void)snprintf(dir, sizeof dir, "%.40s/tape-adopt-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < SIZE; i++) {
        data[i] = (uint8_t)(i * 7 + i / 256);
    }
    size_t whole = 0;
    bool done = false;
    for (uint64_t step = 1; !done; step++) {
        char *real = write_real_file(dir, data, SIZE);
        os_sim *machine = os_sim_create(step);
        os_disk *process = os_sim_process_start(machine);
        char *at = mem_strdup(dir);
        *strrchr(at, '/') = '\0';
        tape_status parent = os_dir_make(process, at, NULL);
        assert_int_equal(parent, TAPE_OK);
        assert_int_equal(os_dir_make(process, dir, NULL), TAPE_OK);
        os_sim_crash_at(machine, os_sim_steps(machine) + step);
        tape_status status = os_file_adopt(process, real, "/f", NULL);
        done = !os_sim_crash_reached(machine);
        if (done) {
            assert_int_equal(status, TAPE_OK);
            os_sim_crash_at(machine, 0);
            assert_int_equal(os_dir_sync(process, "/", NULL), TAPE_OK);
            os_stat stat;
            assert_int_equal(os_path_stat(os_disk_linux(), real, &stat, NULL), TAPE_NOT_FOUND);
        } else {
            assert_int_equal(status, TAPE_IO);
        }
        os_sim_power_loss(machine, NULL);
        uint8_t *back = NULL;
        size_t size = 0;
        if (os_sim_read_raw(machine, "/f", OS_SIM_CACHED, &back, &size) == TAPE_OK) {
            assert_int_equal(size, SIZE);
            assert_memory_equal(back, data, SIZE);
            free(back);
            whole++;
        } else {
            assert_false(done);
        }
        os_sim_destroy(&machine);
        free(real);
        free(at);
    }
    assert_in_range(whole, 1, 2);
    assert_int_equal(os_dir_remove(os_disk_linux(), dir, NULL), TAPE_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adopted_file_is_whole_or_absent_wherever_the_power_fails),
        SIM_TEST(fault_hits_the_nth_call_on_the_named_file),
        SIM_TEST(every_operation_can_fail),
        SIM_TEST(full_disk_takes_what_fits_and_recovers),
        SIM_TEST(write_error_leaves_any_part),
        SIM_TEST(failed_sync_makes_clean_and_forgets_by_chance),
        SIM_TEST(lost_write_is_acknowledged_and_never_there),
        SIM_TEST(dropping_caches_keeps_what_is_unsynced),
        SIM_TEST(lost_sync_syncs_nothing),
        SIM_TEST(torn_write_is_acknowledged_and_never_whole),
        SIM_TEST(misdirected_write_lands_elsewhere),
        SIM_TEST(bit_rot_shows_at_once_and_lasts),
        SIM_TEST(entry_is_lost_despite_directory_sync),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
