#include "memtable/memtable_testing.h"
#include "os/os.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define KEYS 400u
#define VERSIONS 6000u

static const slice first_bound = {NULL, 0};
static const slice last_bound = {(const uint8_t *)"\xff", 1};

static int sample_order(const void *a, const void *b) {
    const sample *x = a;
    const sample *y = b;
    int order =
        slice_compare((slice){x->key_bytes, x->key_size}, (slice){y->key_bytes, y->key_size});
    return order != 0 ? order : (x->view.seq < y->view.seq) - (x->view.seq > y->view.seq);
}

static bool is_sample(const record_view *got, const sample *want) {
    record_view view = want->view;
    view.payload = &want->record; /* samples are moved */
    return view_equal(got, &view) && (uintptr_t)got->payload % 8 == 0;
}

/* A table of VERSIONS random samples of any shape, and the samples in the order they came. */
static memtable *filled(uint64_t seed, sample *samples, uint64_t bytes_expected) {
    memtable *m = memtable_create(bytes_expected);
    for (uint64_t i = 0; i < VERSIONS; i++) {
        sample_random(&samples[i], SAMPLE_MIXED, KEYS, &seed, i + 1);
        assert_true(sample_insert(m, &samples[i]));
    }
    return m;
}

static void memtable_iterates_by_key_then_newest_first(void **state) {
    (void)state;
    sample *samples = mem_alloc(VERSIONS * sizeof *samples);
    memtable *m = filled(11, samples, 0);
    qsort(samples, VERSIONS, sizeof *samples, sample_order);
    memtable_cursor *c = memtable_cursor_open(m);
    memtable_cursor_seek(c, first_bound, UINT64_MAX);
    for (size_t i = 0; i < VERSIONS; i++) {
        assert_true(c->valid && is_sample(&c->record, &samples[i]));
        memtable_cursor_next(c);
    }
    assert_false(c->valid);
    memtable_cursor_seek_before(c, last_bound, 0);
    for (size_t i = VERSIONS; i > 0; i--) {
        assert_true(c->valid && is_sample(&c->record, &samples[i - 1]));
        memtable_cursor_prev(c);
    }
    assert_false(c->valid);
    memtable_cursor_close(&c);
    assert_null(c);
    memtable_cursor_close(&c);
    memtable_destroy(&m);
    assert_null(m);
    memtable_destroy(&m);
    free(samples);
}

static void memtable_get_shows_the_newest_version_at_a_seq(void **state) {
    (void)state;
    sample *samples = mem_alloc(VERSIONS * sizeof *samples);
    memtable *m = filled(12, samples, MIB(1));
    uint64_t seed = 99;
    for (int i = 0; i < 2000; i++) {
        sample wanted;
        sample_random(&wanted, SAMPLE_MIXED, KEYS + 20, &seed,
                      1 + random_next(&seed) % (VERSIONS + 20));
        uint64_t at = random_next(&seed) % (VERSIONS + 2);
        const sample *newest = NULL;
        for (uint64_t k = 0; k < VERSIONS && k + 1 <= at; k++) {
            if (slice_compare(sample_key(&samples[k]), sample_key(&wanted)) == 0) {
                newest = &samples[k];
            }
        }
        record_view got;
        bool found = sample_get(m, &wanted, at, &got);
        assert_int_equal(found, newest != NULL);
        assert_true(!found || is_sample(&got, newest));
    }
    memtable_destroy(&m);
    free(samples);
}

static void memtable_tells_every_version_of_one_key(void **state) {
    (void)state;
    memtable *m = memtable_create(MIB(128));
    sample s;
    for (uint64_t seq = 3; seq <= 3 * VERSIONS; seq += 3) {
        sample_make(&s, SAMPLE_VERSIONS, 0, seq);
        assert_true(sample_insert(m, &s));
    }
    memtable_cursor *c = memtable_cursor_open(m);
    record_view got;
    for (uint64_t seq = 3; seq < 3 * VERSIONS; seq += 6) {
        for (uint64_t at = seq; at < seq + 3; at++) {
            assert_true(sample_get(m, &s, at, &got) && got.seq == seq);
            memtable_cursor_seek(c, sample_key(&s), at);
            assert_true(c->valid && c->record.seq == seq);
            memtable_cursor_seek_before(c, sample_key(&s), at);
            assert_true(c->valid && c->record.seq == seq + 3);
        }
    }
    assert_false(sample_get(m, &s, 2, &got));
    memtable_cursor_seek(c, sample_key(&s), 2);
    assert_false(c->valid);
    memtable_cursor_seek_before(c, sample_key(&s), 0);
    assert_true(c->valid && c->record.seq == 3);
    memtable_cursor_seek_before(c, sample_key(&s), UINT64_MAX);
    assert_false(c->valid);
    memtable_cursor_close(&c);
    memtable_destroy(&m);
}

static void memtable_empty_holds_nothing_and_takes_nothing(void **state) {
    (void)state;
    memtable *m = memtable_create(GIB(1));
    sample s;
    sample_make(&s, SAMPLE_NUMBERED, 1, 1);
    record_view got;
    memtable_prefetch(m, s.hash);
    assert_false(sample_get(m, &s, UINT64_MAX, &got));
    memtable_cursor *c = memtable_cursor_open(m);
    assert_false(c->valid);
    memtable_cursor_seek(c, sample_key(&s), UINT64_MAX);
    assert_false(c->valid);
    memtable_cursor_seek_before(c, last_bound, 0);
    assert_false(c->valid);
    memtable_cursor_close(&c);
    assert_int_equal(memtable_bytes(m), 0);
    assert_int_equal(m->memory.reserved_bytes, 0);
    assert_int_equal(memtable_entries(m), 0);
    assert_int_equal(memtable_min_seq(m), 0);
    assert_int_equal(memtable_max_seq(m), 0);
    assert_true(sample_insert(m, &s));
    assert_true(m->memory.reserved_bytes <= KIB(256)); /* a store of few records stays small */
    memtable_destroy(&m);
}

static void memtable_tells_entries_bytes_and_seqs(void **state) {
    (void)state;
    static const uint64_t expected[] = {0, MIB(1), MIB(128)};
    sample *samples = mem_alloc(VERSIONS * sizeof *samples);
    for (size_t i = 0; i < COUNT_OF(expected); i++) {
        memtable *m = filled(13, samples, expected[i]);
        memtable *again = filled(13, samples, expected[i]);
        uint64_t payload_bytes = 0;
        for (size_t k = 0; k < VERSIONS; k++) {
            payload_bytes += samples[k].view.size;
        }
        assert_int_equal(memtable_entries(m), VERSIONS);
        assert_int_equal(memtable_min_seq(m), 1);
        assert_int_equal(memtable_max_seq(m), VERSIONS);
        assert_int_equal(memtable_bytes(m), m->memory.used_bytes);
        assert_true(memtable_bytes(m) <= m->memory.reserved_bytes);
        assert_true(memtable_bytes(m) > payload_bytes + VERSIONS * sizeof(memtable_entry));
        assert_true(memtable_bytes(m) < payload_bytes + VERSIONS * 140 + KIB(512));
        /* The same inserts take the same memory: nothing is left to chance. */
        assert_int_equal(memtable_bytes(m), memtable_bytes(again));
        memtable_destroy(&m);
        memtable_destroy(&again);
    }
    free(samples);
}

/* What order and index take does not grow with what is replaced in them. */
static void memtable_bytes_per_record_stay_bounded(void **state) {
    (void)state;
    enum { RECORDS = 200000 };
    static const sample_shape shapes[] = {SAMPLE_RISING, SAMPLE_NUMBERED, SAMPLE_GATEWAYS,
                                          SAMPLE_TICKS};
    static const uint64_t expected[] = {0, MIB(128)};
    for (size_t i = 0; i < COUNT_OF(shapes) * COUNT_OF(expected); i++) {
        memtable *m = memtable_create(expected[i % COUNT_OF(expected)]);
        uint64_t payload_bytes = 0;
        for (uint64_t seq = 1; seq <= RECORDS; seq++) {
            sample s;
            sample_make(&s, shapes[i / COUNT_OF(expected)], seq * 7919 % RECORDS, seq);
            assert_true(sample_insert(m, &s));
            payload_bytes += s.view.size;
        }
        uint64_t more = (memtable_bytes(m) - payload_bytes) / RECORDS;
        assert_in_range(more, sizeof(memtable_entry), sizeof(memtable_entry) + 80);
        memtable_destroy(&m);
    }
}

static void memtable_without_memory_refuses_and_stays_as_it_was(void **state) {
    (void)state;
    uint64_t refused = 0;
    uint64_t seed = 21;
    for (uint64_t limit = KIB(16); limit < MIB(3); limit += limit < KIB(200) ? KIB(4) : KIB(97)) {
        memtable *m = memtable_create(limit % 3 == 0 ? 0 : MIB(16));
        m->memory.reserved_max = limit;
        sample *samples = mem_alloc(VERSIONS * sizeof *samples);
        uint64_t count = 0;
        while (count < VERSIONS) {
            uint64_t before = seed;
            sample_random(&samples[count], SAMPLE_MIXED, KEYS * 20, &seed, count + 1);
            if (sample_insert(m, &samples[count])) {
                count++;
                continue;
            }
            seed = before;
            record_view got;
            refused++;
            assert_int_equal(memtable_entries(m), count);
            assert_int_equal(memtable_max_seq(m), count);
            bool found = sample_get(m, &samples[count], UINT64_MAX, &got);
            assert_true(!found || got.seq <= count);
            /* Refusing costs nothing more; with memory, it goes on where it was. */
            (void)sample_insert(m, &samples[count]);
            uint64_t bytes = m->memory.used_bytes;
            assert_false(sample_insert(m, &samples[count]));
            assert_int_equal(m->memory.used_bytes, bytes);
            m->memory.reserved_max += KIB(20);
        }
        qsort(samples, count, sizeof *samples, sample_order);
        memtable_cursor *c = memtable_cursor_open(m);
        memtable_cursor_seek(c, first_bound, UINT64_MAX);
        for (uint64_t i = 0; i < count; i++, memtable_cursor_next(c)) {
            assert_true(c->valid && is_sample(&c->record, &samples[i]));
        }
        assert_false(c->valid);
        memtable_cursor_close(&c);
        memtable_destroy(&m);
        free(samples);
    }
    assert_true(refused > 100);
}

static void memtable_keeps_keys_that_start_like_others_apart(void **state) {
    (void)state;
    memtable *m = memtable_create(MIB(1));
    const char *ids[] = {"a", "aa", "aaa", "b", "ab"};
    sample samples[COUNT_OF(ids)];
    for (uint64_t i = 0; i < COUNT_OF(ids); i++) {
        sample *s = &samples[i];
        sample_make(s, SAMPLE_NUMBERED, 0, i + 1);
        memset(s->record.order.order_id, 0, sizeof s->record.order.order_id);
        memcpy(s->record.order.order_id, ids[i], strlen(ids[i]));
        s->key_size = record_key(s->view.table, &s->record, s->key_bytes);
        record_key_hash(sample_key(s), s->hash);
        assert_true(sample_insert(m, s));
    }
    for (uint64_t i = 0; i < COUNT_OF(ids); i++) {
        record_view got;
        assert_true(sample_get(m, &samples[i], UINT64_MAX, &got));
        assert_int_equal(got.seq, i + 1);
        assert_false(sample_get(m, &samples[i], i, &got));
    }
    qsort(samples, COUNT_OF(samples), sizeof *samples, sample_order);
    memtable_cursor *c = memtable_cursor_open(m);
    memtable_cursor_seek(c, first_bound, UINT64_MAX);
    for (size_t i = 0; i < COUNT_OF(ids); i++, memtable_cursor_next(c)) {
        assert_true(c->valid && is_sample(&c->record, &samples[i]));
    }
    assert_false(c->valid);
    memtable_cursor_close(&c);
    memtable_destroy(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memtable_iterates_by_key_then_newest_first),
        cmocka_unit_test(memtable_get_shows_the_newest_version_at_a_seq),
        cmocka_unit_test(memtable_tells_every_version_of_one_key),
        cmocka_unit_test(memtable_empty_holds_nothing_and_takes_nothing),
        cmocka_unit_test(memtable_tells_entries_bytes_and_seqs),
        cmocka_unit_test(memtable_bytes_per_record_stay_bounded),
        cmocka_unit_test(memtable_without_memory_refuses_and_stays_as_it_was),
        cmocka_unit_test(memtable_keeps_keys_that_start_like_others_apart),
    };
    return cmocka_run_group_tests_name("memtable", tests, NULL, NULL);
}
