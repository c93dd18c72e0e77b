/* What the device has is compared with what was written: on the simulated disk, which can rot. */
#include "sstable/sstable_fixture.h"

#include "os/os_sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define ROWS 9000
#define PATH "/00000007.sst"

typedef struct beats {
    uint64_t bytes;
    uint64_t calls;
    uint64_t most; /* calls answered with true; 0: all */
} beats;

static bool beat(void *context, uint64_t bytes) {
    beats *b = context;
    b->bytes += bytes;
    b->calls++;
    return b->most == 0 || b->calls <= b->most;
}

typedef struct machine {
    os_sim *sim;
    sstable_place place;
    sstable_info info;
} machine;

/* A machine with one table, written while `fault` (nullable) holds; the cache is cold. */
static void machine_make(machine *m, sstable_codec codec, const os_sim_fault *fault) {
    fixture f = {0};
    m->sim = os_sim_create(5);
    m->place = (sstable_place){os_sim_process_start(m->sim), "/", fixture_store_id};
    if (fault != NULL) {
        (void)os_sim_fault_add(m->sim, fault);
    }
    fixture_fill(&f, 3, TAPE_TABLE_ORDERS, ROWS, ROWS, 1);
    m->info = fixture_write(&f, &m->place, 7, codec);
    os_sim_fault_clear(m->sim);
    os_sim_drop_caches(m->sim);
    fixture_deinit(&f);
}

static void assert_scrub(machine *m, tape_status wanted, const char *word) {
    beats b = {0};
    tape_error error = {0};
    assert_int_equal(sstable_scrub(&m->place, &m->info, beat, &b, &error), wanted);
    if (wanted == TAPE_OK) {
        assert_int_equal(b.bytes, m->info.size_bytes);
        return;
    }
    assert_int_equal(error.status, wanted);
    assert_non_null(strstr(error.text, PATH));
    if (strstr(error.text, word) == NULL) {
        fail_msg("\"%s\" is not in: %s", word, error.text);
    }
}

static void scrub_of_a_sound_table_reads_all_of_it(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(fixture_codecs); i++) {
        machine m;
        machine_make(&m, fixture_codecs[i], NULL);
        assert_true(i > 0 || m.info.size_bytes > MIB(1));
        assert_scrub(&m, TAPE_OK, "");
        os_sim_destroy(&m.sim);
    }
}

static void scrub_finds_a_flipped_bit_wherever_it_is(void **state) {
    (void)state;
    machine m;
    machine_make(&m, SSTABLE_PLAIN, NULL);
    uint64_t size = m.info.size_bytes;
    const uint64_t places[] = {0, 4095, 4096, MIB(1) - 1, MIB(1), size / 2, size - 513};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        assert_int_equal(os_sim_flip_bit(m.sim, PATH, places[i], 3), TAPE_OK);
        assert_scrub(&m, TAPE_CORRUPT, "the content on the device is damaged: hash expected");
        assert_int_equal(os_sim_flip_bit(m.sim, PATH, places[i], 3), TAPE_OK);
    }
    assert_int_equal(os_sim_flip_bit(m.sim, PATH, size - 100, 0), TAPE_OK);
    assert_scrub(&m, TAPE_CORRUPT, "the footer at offset");
    assert_int_equal(os_sim_flip_bit(m.sim, PATH, size - 100, 0), TAPE_OK);
    assert_scrub(&m, TAPE_OK, "");
    os_sim_destroy(&m.sim);
}

static void scrub_finds_writes_that_never_arrived(void **state) {
    (void)state;
    static const os_sim_effect effects[] = {OS_SIM_LOST, OS_SIM_TORN, OS_SIM_MISDIRECTED};
    for (size_t i = 0; i < COUNT_OF(effects); i++) {
        machine m;
        os_sim_fault fault = {.operation = OS_SIM_WRITE,
                              .effect = effects[i],
                              .path = "*.sst*",
                              .skip = 2,
                              .count = 1,
                              .to_offset = 4096};
        machine_make(&m, SSTABLE_PLAIN, &fault);
        assert_scrub(&m, TAPE_CORRUPT, "");
        os_sim_destroy(&m.sim);
    }
}

static void scrub_names_missing_short_and_unreadable_files(void **state) {
    (void)state;
    machine m;
    machine_make(&m, SSTABLE_ZSTD, NULL);
    os_sim_fault fault = {.operation = OS_SIM_READ, .effect = OS_SIM_EIO, .path = "*.sst"};
    (void)os_sim_fault_add(m.sim, &fault);
    assert_scrub(&m, TAPE_IO, "");
    os_sim_fault_clear(m.sim);
    assert_int_equal(os_sim_resize_raw(m.sim, PATH, m.info.size_bytes - 64), TAPE_OK);
    assert_scrub(&m, TAPE_CORRUPT, "bytes, expected");
    assert_int_equal(os_remove(m.place.disk, PATH, NULL), TAPE_OK);
    assert_scrub(&m, TAPE_CORRUPT, "missing");
    os_sim_destroy(&m.sim);
}

static void scrub_compares_with_the_table_that_is_expected(void **state) {
    (void)state;
    machine m;
    machine_make(&m, SSTABLE_LZ4, NULL);
    m.info.max_ts++;
    assert_scrub(&m, TAPE_CORRUPT, "not the table that the manifest lists");
    os_sim_destroy(&m.sim);
}

static void scrub_stops_when_it_is_told_to(void **state) {
    (void)state;
    machine m;
    machine_make(&m, SSTABLE_PLAIN, NULL);
    beats b = {.most = 1};
    tape_error error;
    assert_int_equal(sstable_scrub(&m.place, &m.info, beat, &b, &error), TAPE_CANCELLED);
    assert_int_equal(b.calls, 2);
    assert_true(b.bytes <= MIB(2));
    os_sim_destroy(&m.sim);
}

/* Past the page cache where the file system allows; the temporary directory's may not. */
static void scrub_reads_real_files(void **state) {
    (void)state;
    fixture f = {0};
    char *dir = fixture_dir_make();
    sstable_place place = {os_disk_linux(), dir, fixture_store_id};
    fixture_fill(&f, 3, TAPE_TABLE_ORDERS, ROWS, ROWS, 1);
    for (size_t i = 0; i < COUNT_OF(fixture_codecs); i++) {
        beats b = {0};
        tape_error error;
        sstable_info info = fixture_write(&f, &place, i + 1, fixture_codecs[i]);
        assert_int_equal(sstable_scrub(&place, &info, beat, &b, &error), TAPE_OK);
        assert_int_equal(b.bytes, info.size_bytes);
        info.content_xxh3++;
        assert_int_equal(sstable_scrub(&place, &info, beat, &b, &error), TAPE_CORRUPT);
    }
    fixture_dir_remove(&dir);
    fixture_deinit(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scrub_of_a_sound_table_reads_all_of_it),
        cmocka_unit_test(scrub_finds_a_flipped_bit_wherever_it_is),
        cmocka_unit_test(scrub_finds_writes_that_never_arrived),
        cmocka_unit_test(scrub_names_missing_short_and_unreadable_files),
        cmocka_unit_test(scrub_compares_with_the_table_that_is_expected),
        cmocka_unit_test(scrub_stops_when_it_is_told_to),
        cmocka_unit_test(scrub_reads_real_files),
    };
    return cmocka_run_group_tests_name("sstable_scrub", tests, NULL, NULL);
}
