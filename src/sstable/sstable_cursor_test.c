/* Cursors go where a sorted array says, in both directions; many threads read at first use. */
#include "sstable/sstable_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NONE SIZE_MAX
#define THREADS 4

typedef struct world {
    char *dir;
    fixture f;
    sstable *t;
    uint64_t random;
} world;

static void world_make(world *w, uint64_t seed, uint16_t table, sstable_codec codec, size_t count,
                       uint64_t keys) {
    *w = (world){.dir = fixture_dir_make(), .random = seed * 31 + 7};
    sstable_place place = {os_disk_linux(), w->dir, fixture_store_id};
    fixture_fill(&w->f, seed, table, count, keys, 50);
    sstable_info info = fixture_write(&w->f, &place, 1, codec);
    tape_error error;
    if (sstable_open(&w->t, &place, 1, &info, OS_MAP_SEQUENTIAL, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void world_free(world *w) {
    sstable_close(&w->t);
    fixture_deinit(&w->f);
    fixture_dir_remove(&w->dir);
}

static void assert_at(const world *w, const sstable_cursor *c, size_t wanted) {
    assert_int_equal(c->valid, wanted < w->f.count);
    if (c->valid) {
        assert_true(fixture_equal(&c->record, &w->f.entries[wanted]));
    }
}

/* The first entry at or after (key, seq); the number of entries when there is none. */
static size_t model_seek(const world *w, slice key, uint64_t seq) {
    size_t at = 0;
    while (at < w->f.count && sstable_compare(fixture_key(&w->f.entries[at]),
                                              w->f.entries[at].view.seq, key, seq) < 0) {
        at++;
    }
    return at;
}

/* A key of the table, the beginning of one, one beyond, or of another table. */
static slice random_bound(world *w, uint8_t bytes[RECORD_KEY_BYTES_MAX + 1]) {
    const fixture_entry *e = &w->f.entries[fixture_random(&w->random) % w->f.count];
    slice bound = {bytes, e->key_size};
    memcpy(bytes, e->key_bytes, e->key_size);
    switch (fixture_random(&w->random) % 8) {
    case 0:
        bound.size = fixture_random(&w->random) % (e->key_size + 1);
        break;
    case 1:
        bytes[bound.size++] = (uint8_t)(fixture_random(&w->random) % 2 * 255);
        break;
    case 2:
        bytes[0] = (uint8_t)(fixture_random(&w->random) % 8);
        break;
    case 3:
        bytes[bound.size - 1] = (uint8_t)(bytes[bound.size - 1] + 1);
        break;
    default:
        break;
    }
    return bound;
}

static void cursor_walks_both_ways_from_wherever_it_is_sought(void **state) {
    (void)state;
    static const uint16_t tables[] = {TAPE_TABLE_ORDERS, TAPE_TABLE_POSITIONS, TAPE_TABLE_ACCOUNTS,
                                      TAPE_TABLE_TICKS};
    for (uint64_t round = 0; round < 12; round++) {
        world w;
        world_make(&w, round + 1, tables[round % 4], fixture_codecs[round % 3],
                   round == 0 ? 1 : 300 + 150 * round, 1 + 20 * round);
        sstable_cursor c;
        sstable_cursor_init(&c, w.t);
        assert_false(c.valid);
        for (int i = 0; i < 600; i++) {
            uint8_t bytes[RECORD_KEY_BYTES_MAX + 1];
            slice bound = random_bound(&w, bytes);
            uint64_t r = fixture_random(&w.random);
            uint64_t seq = r % 4 == 0   ? 0
                           : r % 4 == 1 ? UINT64_MAX
                                        : 40 + r / 4 % (2 * w.f.count + 20);
            size_t at = model_seek(&w, bound, seq);
            if (r % 5 < 2) {
                at = at == 0 ? NONE : at - 1;
                assert_int_equal(sstable_cursor_seek_before(&c, bound, seq, NULL), TAPE_OK);
            } else {
                assert_int_equal(sstable_cursor_seek(&c, bound, seq, NULL), TAPE_OK);
            }
            assert_at(&w, &c, at);
            for (uint64_t steps = fixture_random(&w.random) % 40; steps > 0 && c.valid; steps--) {
                if (fixture_random(&w.random) % 4 < 2 + r % 2) {
                    assert_int_equal(sstable_cursor_next(&c, NULL), TAPE_OK);
                    at++;
                } else {
                    assert_int_equal(sstable_cursor_prev(&c, NULL), TAPE_OK);
                    at = at == 0 ? NONE : at - 1;
                }
                assert_at(&w, &c, at);
            }
        }
        sstable_cursor_deinit(&c);
        world_free(&w);
    }
}

static void cursor_goes_over_everything_in_order(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(fixture_codecs); i++) {
        world w;
        world_make(&w, 21, TAPE_TABLE_ACCOUNTS, fixture_codecs[i], 3000, 50);
        sstable_cursor c;
        size_t at = 0;
        sstable_cursor_init(&c, w.t);
        assert_int_equal(sstable_cursor_seek(&c, (slice){0}, UINT64_MAX, NULL), TAPE_OK);
        for (; c.valid; at++) {
            assert_at(&w, &c, at);
            assert_int_equal(sstable_cursor_next(&c, NULL), TAPE_OK);
        }
        assert_int_equal(at, w.f.count);
        const uint8_t beyond[] = {255};
        assert_int_equal(sstable_cursor_seek_before(&c, (slice){beyond, 1}, 0, NULL), TAPE_OK);
        for (; c.valid; at--) {
            assert_at(&w, &c, at - 1);
            assert_int_equal(sstable_cursor_prev(&c, NULL), TAPE_OK);
        }
        assert_int_equal(at, 0);
        sstable_cursor_deinit(&c);
        world_free(&w);
    }
}

static void cursor_that_met_damage_can_be_sought_elsewhere(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(fixture_codecs); i++) {
        world w;
        world_make(&w, 22, TAPE_TABLE_ACCOUNTS, fixture_codecs[i], 5000, 3000);
        /* The same bytes, to be damaged. */
        size_t size = w.t->info.size_bytes;
        uint8_t *bytes = mem_alloc(size);
        sstable *t = NULL;
        sstable_cursor c;
        tape_error error;
        memcpy(bytes, w.t->data, size);
        assert_int_equal(
            sstable_attach(&t, bytes, size, "damaged.sst", fixture_store_id, 1, NULL, NULL),
            TAPE_OK);
        bytes[sstable_block_offset(&t->index.places[1]) + 40] ^= 1;
        sstable_cursor_init(&c, t);
        size_t at = 0;
        assert_int_equal(sstable_cursor_seek(&c, (slice){0}, UINT64_MAX, NULL), TAPE_OK);
        tape_status status = TAPE_OK;
        for (; status == TAPE_OK; at++) {
            assert_at(&w, &c, at);
            status = sstable_cursor_next(&c, &error);
        }
        assert_int_equal(status, TAPE_CORRUPT);
        assert_false(c.valid);
        assert_int_equal(at, t->index.places[1].first_entry);
        assert_non_null(strstr(error.text, "damaged.sst: the block at offset"));
        at = t->index.places[2].first_entry;
        const fixture_entry *e = &w.f.entries[at];
        assert_int_equal(sstable_cursor_seek(&c, fixture_key(e), e->view.seq, &error), TAPE_OK);
        assert_at(&w, &c, at);
        assert_int_equal(sstable_cursor_prev(&c, &error), TAPE_CORRUPT);
        assert_int_equal(sstable_cursor_seek_before(&c, fixture_key(e), e->view.seq, &error),
                         TAPE_CORRUPT);
        assert_int_equal(sstable_cursor_seek(&c, (slice){0}, UINT64_MAX, &error), TAPE_OK);
        assert_at(&w, &c, 0);
        sstable_cursor_deinit(&c);
        sstable_close(&t);
        free(bytes);
        world_free(&w);
    }
}

/* --- many threads --- */

typedef struct reader {
    const world *w;
    uint64_t seed;
    uint64_t wrong;
} reader;

static void read_all(void *argument) {
    reader *r = argument;
    const fixture *f = &r->w->f;
    sstable_scratch scratch = {0};
    sstable_cursor c;
    for (size_t i = 0; i < 2 * f->count; i++) {
        const fixture_entry *e = &f->entries[fixture_random(&r->seed) % f->count];
        uint64_t hash[2];
        record_view got;
        sstable_outcome outcome;
        record_key_hash(fixture_key(e), hash);
        tape_status status =
            sstable_get(r->w->t, fixture_key(e), hash, e->view.seq, &scratch, &got, &outcome, NULL);
        r->wrong += status != TAPE_OK || outcome != SSTABLE_FOUND || !fixture_equal(&got, e);
    }
    sstable_cursor_init(&c, r->w->t);
    size_t at = 0;
    tape_status status = sstable_cursor_seek(&c, (slice){0}, UINT64_MAX, NULL);
    while (status == TAPE_OK && c.valid) {
        r->wrong += !fixture_equal(&c.record, &f->entries[at++]);
        status = sstable_cursor_next(&c, NULL);
    }
    r->wrong += at != f->count;
    sstable_cursor_deinit(&c);
    buffer_deinit(&scratch);
}

static void threads_read_an_open_table_from_its_first_use_on(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT_OF(fixture_codecs); i++) {
        world w;
        world_make(&w, 23, TAPE_TABLE_ORDERS, fixture_codecs[i], 1500, 1000);
        os_thread *threads[THREADS];
        reader readers[THREADS];
        for (size_t j = 0; j < THREADS; j++) {
            readers[j] = (reader){&w, j + 1, 0};
            assert_int_equal(
                os_thread_start(&threads[j], "reader", -1, read_all, &readers[j], NULL), TAPE_OK);
        }
        for (size_t j = 0; j < THREADS; j++) {
            os_thread_join(&threads[j]);
            assert_int_equal(readers[j].wrong, 0);
        }
        world_free(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cursor_walks_both_ways_from_wherever_it_is_sought),
        cmocka_unit_test(cursor_goes_over_everything_in_order),
        cmocka_unit_test(cursor_that_met_damage_can_be_sought_elsewhere),
        cmocka_unit_test(threads_read_an_open_table_from_its_first_use_on),
    };
    return cmocka_run_group_tests_name("sstable_cursor", tests, NULL, NULL);
}
