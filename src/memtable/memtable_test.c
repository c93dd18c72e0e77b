#include "base/base_testing.h"
#include "memtable/memtable.h"
#include "os/os.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define KEYS 400u
#define VERSIONS 6000u

static bool put(memtable *m, slice key, const record_view *record) {
    uint64_t hash[2];
    record_key_hash(key, hash);
    return memtable_insert(m, key, hash, record);
}

static bool get(const memtable *m, slice key, uint64_t at, record_view *out) {
    uint64_t hash[2];
    record_key_hash(key, hash);
    return memtable_get(m, key, hash, at, out);
}

typedef struct sample {
    tape_order order;
    record_view view;
    uint8_t key_bytes[RECORD_KEY_BYTES_MAX];
    slice key;
} sample;

/* An order whose other fields tell which (key, seq) it is. */
static void sample_make(sample *s, uint64_t key, uint64_t seq) {
    *s = (sample){.order = {.seq = seq, .ts = (int64_t)(seq * 10), .price = (double)key}};
    (void)snprintf(s->order.order_id, sizeof s->order.order_id, "%s%llu", key % 3 == 0 ? "a" : "ab",
                   (unsigned long long)key);
    const tape_table_info *table = record_table(TAPE_TABLE_ORDERS);
    s->key = (slice){s->key_bytes, record_key(table, &s->order, s->key_bytes)};
    s->view = (record_view){.table = table,
                            .payload = &s->order,
                            .size = sizeof s->order,
                            .version = 1,
                            .flags = seq % 2 == 0 ? RECORD_MORE : 0,
                            .seq = seq,
                            .ts = s->order.ts,
                            .append_ts = (int64_t)seq + 7};
}

static int sample_order(const void *a, const void *b) {
    const sample *x = a;
    const sample *y = b;
    int order =
        slice_compare((slice){x->key_bytes, x->key.size}, (slice){y->key_bytes, y->key.size});
    return order != 0 ? order : (x->view.seq < y->view.seq) - (x->view.seq > y->view.seq);
}

static void assert_is_sample(const record_view *got, const sample *want) {
    assert_ptr_equal(got->table, want->view.table);
    assert_int_equal(got->seq, want->view.seq);
    assert_int_equal(got->ts, want->view.ts);
    assert_int_equal(got->append_ts, want->view.append_ts);
    assert_int_equal(got->version, want->view.version);
    assert_int_equal(got->flags, want->view.flags);
    assert_int_equal(got->size, want->view.size);
    assert_int_equal((uintptr_t)got->payload % 8, 0);
    assert_memory_equal(got->payload, &want->order, sizeof want->order);
}

/* A table of VERSIONS random samples, and the samples in the order they were inserted. */
static memtable *filled(uint64_t seed, sample *samples) {
    memtable *m = memtable_create(MIB(1));
    for (uint64_t i = 0; i < VERSIONS; i++) {
        sample_make(&samples[i], random_next(&seed) % KEYS, i + 1);
        samples[i].key.data = samples[i].key_bytes;
        assert_true(put(m, samples[i].key, &samples[i].view));
    }
    return m;
}

static void memtable_iterates_by_key_then_newest_first(void **state) {
    (void)state;
    sample *samples = mem_alloc(VERSIONS * sizeof *samples);
    memtable *m = filled(11, samples);
    qsort(samples, VERSIONS, sizeof *samples, sample_order);
    memtable_cursor *c = memtable_cursor_open(m);
    memtable_cursor_seek(c, (slice){NULL, 0}, UINT64_MAX);
    for (size_t i = 0; i < VERSIONS; i++) {
        assert_true(c->valid);
        assert_is_sample(&c->record, &samples[i]);
        memtable_cursor_next(c);
    }
    assert_false(c->valid);
    memtable_cursor_seek_before(c, (slice){(const uint8_t *)"\xff", 1}, 0);
    for (size_t i = VERSIONS; i > 0; i--) {
        assert_true(c->valid);
        assert_is_sample(&c->record, &samples[i - 1]);
        memtable_cursor_prev(c);
    }
    assert_false(c->valid);
    memtable_cursor_close(&c);
    assert_null(c);
    memtable_destroy(&m);
    assert_null(m);
    free(samples);
}

static void memtable_get_shows_the_newest_version_at_a_seq(void **state) {
    (void)state;
    sample *samples = mem_alloc(VERSIONS * sizeof *samples);
    memtable *m = filled(12, samples);
    uint64_t seed = 99;
    for (int i = 0; i < 3000; i++) {
        sample wanted;
        sample_make(&wanted, random_next(&seed) % (KEYS + 20), 1);
        uint64_t at = random_next(&seed) % (VERSIONS + 2);
        const sample *newest = NULL;
        for (uint64_t k = 0; k < VERSIONS && k + 1 <= at; k++) {
            if (memcmp(samples[k].order.order_id, wanted.order.order_id,
                       sizeof wanted.order.order_id) == 0) {
                newest = &samples[k];
            }
        }
        record_view got;
        bool found = get(m, wanted.key, at, &got);
        assert_int_equal(found, newest != NULL);
        if (found) {
            assert_is_sample(&got, newest);
        }
    }
    memtable_destroy(&m);
    free(samples);
}

static void memtable_empty_holds_nothing_and_takes_nothing(void **state) {
    (void)state;
    memtable *m = memtable_create(MIB(1));
    sample s;
    sample_make(&s, 1, 1);
    record_view got;
    assert_false(get(m, s.key, UINT64_MAX, &got));
    memtable_cursor *c = memtable_cursor_open(m);
    memtable_cursor_seek(c, s.key, UINT64_MAX);
    assert_false(c->valid);
    memtable_cursor_close(&c);
    assert_int_equal(memtable_bytes(m), 0);
    assert_int_equal(memtable_entries(m), 0);
    assert_int_equal(memtable_min_seq(m), 0);
    assert_int_equal(memtable_max_seq(m), 0);
    memtable_destroy(&m);
}

static void memtable_tells_entries_bytes_and_seqs(void **state) {
    (void)state;
    sample *samples = mem_alloc(VERSIONS * sizeof *samples);
    memtable *m = filled(13, samples);
    memtable *again = filled(13, samples);
    assert_int_equal(memtable_entries(m), VERSIONS);
    assert_int_equal(memtable_min_seq(m), 1);
    assert_int_equal(memtable_max_seq(m), VERSIONS);
    assert_true(memtable_bytes(m) > VERSIONS * sizeof(tape_order));
    assert_true(memtable_bytes(m) < VERSIONS * (sizeof(tape_order) + 160));
    /* The same inserts take the same memory: heights are not left to chance. */
    assert_int_equal(memtable_bytes(m), memtable_bytes(again));
    memtable_destroy(&m);
    memtable_destroy(&again);
    free(samples);
}

static void memtable_keeps_keys_that_start_like_others_apart(void **state) {
    (void)state;
    memtable *m = memtable_create(MIB(1));
    const char *ids[] = {"a", "aa", "aaa", "b", "ab"};
    sample s;
    for (uint64_t i = 0; i < COUNT_OF(ids); i++) {
        sample_make(&s, 0, i + 1);
        (void)snprintf(s.order.order_id, sizeof s.order.order_id, "%s", ids[i]);
        s.key.size = record_key(s.view.table, &s.order, s.key_bytes);
        assert_true(put(m, s.key, &s.view));
    }
    for (uint64_t i = 0; i < COUNT_OF(ids); i++) {
        sample_make(&s, 0, 1);
        (void)snprintf(s.order.order_id, sizeof s.order.order_id, "%s", ids[i]);
        s.key.size = record_key(s.view.table, &s.order, s.key_bytes);
        record_view got;
        assert_true(get(m, s.key, UINT64_MAX, &got));
        assert_int_equal(got.seq, i + 1);
        assert_false(get(m, s.key, i, &got));
    }
    memtable_destroy(&m);
}

typedef struct race {
    memtable *table;
    _Atomic uint64_t inserted;
    _Atomic bool stop;
    _Atomic uint64_t reads;
    _Atomic uint64_t wrong;
} race;

static uint64_t race_key(uint64_t seq) {
    return seq * 7919 % KEYS;
}

/* Key k gets its versions at known seqs, so a reader can tell what it must see. */
static void race_read(void *argument) {
    race *r = argument;
    uint64_t seed = 5;
    while (!atomic_load(&r->stop)) {
        uint64_t at = atomic_load_explicit(&r->inserted, memory_order_acquire);
        if (at < KEYS) {
            continue;
        }
        uint64_t seq = at - random_next(&seed) % KEYS; /* the newest version of its key at `at` */
        sample want;
        sample_make(&want, race_key(seq), seq);
        record_view got;
        bool right = get(r->table, want.key, at, &got) && got.seq == seq &&
                     memcmp(got.payload, &want.order, sizeof want.order) == 0;
        atomic_fetch_add(&r->wrong, !right);
        atomic_fetch_add(&r->reads, 1);
    }
}

static void memtable_readers_see_all_that_was_inserted_before(void **state) {
    (void)state;
    race r = {.table = memtable_create(MIB(1))};
    os_thread *threads[2];
    tape_error error;
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        assert_int_equal(os_thread_start(&threads[i], "reader", -1, race_read, &r, &error),
                         TAPE_OK);
    }
    for (uint64_t seq = 1; seq <= 20000 || atomic_load(&r.reads) < 1000; seq++) {
        sample s;
        sample_make(&s, race_key(seq), seq);
        assert_true(put(r.table, s.key, &s.view));
        atomic_store_explicit(&r.inserted, seq, memory_order_release);
    }
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < COUNT_OF(threads); i++) {
        os_thread_join(&threads[i]);
    }
    assert_int_equal(atomic_load(&r.wrong), 0);
    memtable_destroy(&r.table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memtable_iterates_by_key_then_newest_first),
        cmocka_unit_test(memtable_get_shows_the_newest_version_at_a_seq),
        cmocka_unit_test(memtable_empty_holds_nothing_and_takes_nothing),
        cmocka_unit_test(memtable_tells_entries_bytes_and_seqs),
        cmocka_unit_test(memtable_keeps_keys_that_start_like_others_apart),
        cmocka_unit_test(memtable_readers_see_all_that_was_inserted_before),
    };
    return cmocka_run_group_tests_name("memtable", tests, NULL, NULL);
}
