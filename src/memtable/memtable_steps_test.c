/* What a reader sees when the writer goes on in the middle of its reading: between any two of the
 * reader's loads, chosen by a seed, the writer inserts enough to split and reuse what is being
 * read. One thread; the same every time. */
#include "memtable/memtable_testing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define KEYS 4000u
#define BURSTS_MAX 3u
#define ROUNDS 1500u

static struct writer {
    memtable *table;
    sample_shape shape;
    uint64_t start;  /* says which key comes at a seq */
    uint64_t random; /* says when the writer goes on */
    uint64_t seq;
    bool busy;
    uint32_t bursts;    /* left in this reading */
    uint64_t next_step; /* the next comes after so many loads */
    uint64_t happened;
} writer;

static void writer_insert(size_t count) {
    writer.busy = true;
    for (size_t i = 0; i < count; i++) {
        sample s;
        uint64_t seed = writer.start + ++writer.seq;
        sample_random(&s, writer.shape, KEYS, &seed, writer.seq);
        assert_true(sample_insert(writer.table, &s));
    }
    writer.busy = false;
}

/* Before each load of the module that belongs to a reader. */
void memtable_test_step(void) {
    if (writer.busy || writer.bursts == 0 || writer.next_step-- > 0) {
        return;
    }
    writer.bursts--;
    writer.next_step = random_below(&writer.random, 40);
    writer.happened++;
    writer_insert(random_below(&writer.random, 3) == 0 ? 400
                                                       : 1 + random_below(&writer.random, 20));
}

/* From here on until writer_hold, or until so many bursts have come. */
static void writer_release(uint64_t steps) {
    writer.bursts = 1 + (uint32_t)random_below(&writer.random, BURSTS_MAX);
    writer.next_step = random_below(&writer.random, steps);
}

static void writer_hold(void) {
    writer.bursts = 0;
}

/* The record that was inserted at a seq. */
static void sample_at(sample *s, uint64_t seq) {
    uint64_t seed = writer.start + seq;
    sample_random(s, writer.shape, KEYS, &seed, seq);
}

static bool in_order(const record_view *a, const record_view *b) {
    int order = a->table != b->table
                    ? (a->table->id > b->table->id) - (a->table->id < b->table->id)
                    : record_key_compare_payloads(a->table, a->payload, b->payload);
    return order < 0 || (order == 0 && a->seq > b->seq);
}

static void check_get(const sample *want) {
    record_view got;
    writer_release(30);
    assert_true(sample_get(writer.table, want, want->view.seq, &got));
    assert_true(view_equal(&got, &want->view));
    writer_hold();
}

/* From a record's place, some way to either side: nothing that was there before is left out. */
static void check_walk(const sample *want, uint64_t inserted, bool forward) {
    memtable_cursor *c = memtable_cursor_open(writer.table);
    record_view seen[64];
    size_t count = 0;
    writer_release(400);
    memtable_cursor_seek(c, sample_key(want), want->view.seq);
    assert_true(c->valid && view_equal(&c->record, &want->view));
    while (c->valid && count < COUNT_OF(seen)) {
        seen[count++] = c->record;
        if (forward) {
            memtable_cursor_next(c);
        } else {
            memtable_cursor_prev(c);
        }
    }
    writer_hold();
    /* The same way once more, with nobody writing. */
    size_t at = 0;
    memtable_cursor_seek(c, sample_key(want), want->view.seq);
    while (c->valid && at < count) {
        if (c->record.seq == seen[at].seq) {
            assert_true(view_equal(&c->record, &seen[at]));
            assert_true(at == 0 || (forward ? in_order(&seen[at - 1], &seen[at])
                                            : in_order(&seen[at], &seen[at - 1])));
            at++;
        } else {
            assert_true(c->record.seq > inserted);
        }
        if (forward) {
            memtable_cursor_next(c);
        } else {
            memtable_cursor_prev(c);
        }
    }
    assert_int_equal(at, count);
    memtable_cursor_close(&c);
}

static void check_place_before(const sample *want) {
    memtable_cursor *c = memtable_cursor_open(writer.table);
    writer_release(100);
    memtable_cursor_seek_before(c, sample_key(want), want->view.seq);
    writer_hold();
    if (c->valid) {
        record_view before = c->record;
        assert_true(in_order(&before, &want->view));
        memtable_cursor_seek(c, sample_key(want), want->view.seq);
        assert_true(c->valid && view_equal(&c->record, &want->view));
    }
    memtable_cursor_close(&c);
}

static void run(sample_shape shape, uint64_t seed) {
    print_message("shape %d, seed %llu\n", (int)shape, (unsigned long long)seed);
    writer =
        (struct writer){.table = memtable_create(0), .shape = shape, .start = seed, .random = seed};
    uint64_t random = seed;
    for (uint64_t round = 0; round < ROUNDS; round++) {
        writer_insert(1 + random_below(&random, 10));
        uint64_t inserted = writer.seq;
        sample want;
        sample_at(&want, 1 + random_next(&random) % inserted);
        switch (random_below(&random, 4)) {
        case 0:
            check_get(&want);
            break;
        case 1:
            check_place_before(&want);
            break;
        default:
            check_walk(&want, inserted, random_below(&random, 2) == 0);
        }
    }
    print_message("  the writer went on %llu times\n", (unsigned long long)writer.happened);
    assert_true(writer.happened > ROUNDS / 8);
    memtable_destroy(&writer.table);
}

static void readers_see_what_was_there_whenever_the_writer_goes_on(void **state) {
    (void)state;
    uint64_t seed = 1000;
    for (int shape = 0; shape < SAMPLE_SHAPES; shape++) {
        run((sample_shape)shape, seed++);
    }
    run(SAMPLE_NUMBERED, seed++);
    run(SAMPLE_MIXED, seed++);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_what_was_there_whenever_the_writer_goes_on),
    };
    return cmocka_run_group_tests_name("memtable, step by step", tests, NULL, NULL);
}
