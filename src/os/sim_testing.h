/* What the tests of the simulated machine share: a machine, a process on it, and short calls that
 * must succeed. For test programs only: each gets a machine of its own. */
#ifndef SIM_TESTING_H
#define SIM_TESTING_H

#include "os/os_sim.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>

#define SIM_TEST(name) cmocka_unit_test_setup_teardown(name, make_sim, destroy_sim)

static os_sim *sim;
static os_disk *disk;

static inline int make_sim(void **state) {
    (void)state;
    sim = os_sim_create(1);
    disk = os_sim_process_start(sim);
    return 0;
}

static inline int destroy_sim(void **state) {
    (void)state;
    os_sim_destroy(&sim);
    return sim == NULL ? 0 : -1;
}

static inline os_file *open_on(os_disk *on, const char *path, unsigned flags) {
    os_file *file = NULL;
    tape_error error = {0};
    if (os_file_open(on, path, flags, &file, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return file;
}

static inline os_file *open_ok(const char *path, unsigned flags) {
    return open_on(disk, path, flags);
}

static inline void write_ok(os_file *file, uint64_t offset, const char *text) {
    assert_int_equal(os_file_write(file, offset, text, strlen(text), NULL), TAPE_OK);
}

/* A file with `text`, durable with its name. */
static inline void make_durable(const char *path, const char *text) {
    os_file *file = open_ok(path, OS_WRITE | OS_CREATE);
    write_ok(file, 0, text);
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_int_equal(os_dir_sync(disk, "/", NULL), TAPE_OK);
    os_file_close(&file);
}

static inline void assert_content(const char *path, const char *expected) {
    char *text = NULL;
    size_t size = 0;
    tape_error error = {0};
    if (os_read_small(disk, path, &text, &size, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    assert_string_equal(text, expected);
    free(text);
}

static inline void assert_on_disk(const char *path, const char *expected) {
    uint8_t *text = NULL;
    size_t size = 0;
    assert_int_equal(os_sim_read_raw(sim, path, OS_SIM_DURABLE, &text, &size), TAPE_OK);
    assert_string_equal((const char *)text, expected);
    free(text);
}

static inline bool is_there(const char *path) {
    os_stat stat;
    return os_path_stat(disk, path, &stat, NULL) == TAPE_OK;
}

static inline void restart(void) {
    os_sim_process_crash(disk);
    disk = os_sim_process_start(sim);
}

static inline void lose_power(os_sim_power_mode mode) {
    os_sim_power_loss(sim, &(os_sim_power){.mode = mode});
    disk = os_sim_process_start(sim);
}

static inline void add_fault(os_sim_operation operation, os_sim_effect effect, const char *path,
                             uint64_t skip) {
    (void)os_sim_fault_add(sim, &(os_sim_fault){operation, effect, path, skip, 1});
}

#endif
