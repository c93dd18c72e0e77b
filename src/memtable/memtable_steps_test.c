/* What a reader sees when the writer goes on in the middle of its reading, and what it sees in the
 * middle of an insert. Between two loads of a reader, chosen by a seed, the writer inserts enough
 * to split and use again what is being read; between two stores of the writer, a reader reads. One
 * thread; the same every time. */
#include "memtable/memtable_testing.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define KEYS 4000u
#define BURSTS_MAX 3u
#define ROUNDS 1500u
#define INSERTS 2000u

static struct scene {
    memtable *table;
    sample_shape shape;
    uint64_t start;  /* says which key comes at a seq */
    uint64_t random; /* says when the other side goes on */
    uint64_t done;   /* all up to this seq are in the table */
    enum { NOBODY, READER, WRITER, BOTH } running;
    uint32_t bursts;     /* of inserts, left in this reading */
    uint64_t steps_left; /* until the other side goes on */
    bool read_in_inserts;
    uint64_t happened;
} scene;

/* The record that comes at a seq. */
static void sample_at(sample *s, uint64_t seq) {
    uint64_t seed = scene.start + seq;
    sample_random(s, scene.shape, KEYS, &seed, seq);
}

static void insert(size_t count) {
    for (size_t i = 0; i < count; i++) {
        sample s;
        sample_at(&s, scene.done + 1);
        assert_true(sample_insert(scene.table, &s));
        scene.done++;
    }
}

static void read_in_the_middle(void);

/* Before each load of the module that belongs to a reader, and each store of the writer's. */
void memtable_test_step(void) {
    bool reader = scene.running == READER && scene.bursts > 0;
    bool writer = scene.running == WRITER && scene.read_in_inserts;
    if (!(reader || writer) || scene.steps_left-- > 0) {
        return;
    }
    scene.happened++;
    scene.running = BOTH;
    if (reader) {
        scene.bursts--;
        scene.steps_left = random_below(&scene.random, 40);
        insert(random_below(&scene.random, 3) == 0 ? 400 : 1 + random_below(&scene.random, 20));
    } else {
        scene.steps_left = random_below(&scene.random, 40);
        read_in_the_middle();
    }
    scene.running = reader ? READER : WRITER;
}

/* From here to reader_ends the writer goes on a few times, within so many steps. */
static void reader_begins(uint64_t steps) {
    scene.bursts = 1 + (uint32_t)random_below(&scene.random, BURSTS_MAX);
    steps = random_below(&scene.random, 2) == 0 ? 12 : steps;
    scene.steps_left = random_below(&scene.random, steps);
    scene.running = READER;
}

static void reader_ends(void) {
    scene.running = NOBODY;
}

static bool in_order(const record_view *a, const record_view *b) {
    int order = a->table != b->table
                    ? (a->table->id > b->table->id) - (a->table->id < b->table->id)
                    : record_key_compare_payloads(a->table, a->payload, b->payload);
    return order < 0 || (order == 0 && a->seq > b->seq);
}

static void step_cursor(memtable_cursor *c, bool forward) {
    if (forward) {
        memtable_cursor_next(c);
    } else {
        memtable_cursor_prev(c);
    }
}

static void check_get(const sample *want) {
    record_view got;
    reader_begins(30);
    assert_true(sample_get(scene.table, want, want->view.seq, &got));
    assert_true(view_equal(&got, &want->view));
    reader_ends();
}

/* From a record's place, some way to either side: nothing that was there before is left out. */
static void check_walk(const sample *want, bool forward) {
    memtable_cursor *c = memtable_cursor_open(scene.table);
    record_view seen[64];
    size_t count = 0;
    uint64_t before = scene.done;
    reader_begins(400);
    memtable_cursor_seek(c, sample_key(want), want->view.seq);
    assert_true(c->valid && view_equal(&c->record, &want->view));
    for (; c->valid && count < COUNT_OF(seen); step_cursor(c, forward)) {
        seen[count++] = c->record;
    }
    reader_ends();
    /* The same way once more, with nobody writing. */
    size_t at = 0;
    memtable_cursor_seek(c, sample_key(want), want->view.seq);
    for (; c->valid && at < count; step_cursor(c, forward)) {
        if (c->record.seq != seen[at].seq) {
            assert_true(c->record.seq > before);
            continue;
        }
        assert_true(view_equal(&c->record, &seen[at]));
        assert_true(at == 0 || (forward ? in_order(&seen[at - 1], &seen[at])
                                        : in_order(&seen[at], &seen[at - 1])));
        at++;
    }
    assert_int_equal(at, count);
    memtable_cursor_close(&c);
}

static void check_place_before(const sample *want) {
    memtable_cursor *c = memtable_cursor_open(scene.table);
    reader_begins(100);
    memtable_cursor_seek_before(c, sample_key(want), want->view.seq);
    reader_ends();
    if (c->valid) {
        assert_true(in_order(&c->record, &want->view));
        memtable_cursor_seek(c, sample_key(want), want->view.seq);
        assert_true(c->valid && view_equal(&c->record, &want->view));
    }
    memtable_cursor_close(&c);
}

/* What was there before the insert that is under way. */
static void read_in_the_middle(void) {
    if (scene.done == 0) {
        return;
    }
    sample want;
    record_view got;
    sample_at(&want, 1 + random_next(&scene.random) % scene.done);
    assert_true(sample_get(scene.table, &want, want.view.seq, &got));
    assert_true(view_equal(&got, &want.view));
    memtable_cursor *c = memtable_cursor_open(scene.table);
    bool all = random_below(&scene.random, 6) == 0;
    bool forward = random_below(&scene.random, 2) == 0;
    uint64_t count = 0;
    if (!all) {
        memtable_cursor_seek(c, sample_key(&want), want.view.seq);
        assert_true(c->valid && view_equal(&c->record, &want.view));
    } else if (forward) {
        memtable_cursor_seek(c, (slice){NULL, 0}, UINT64_MAX);
    } else {
        memtable_cursor_seek_before(c, (slice){(const uint8_t *)"\xff", 1}, 0);
    }
    for (int steps = 0; c->valid && (all || steps < 20); steps++) {
        got = c->record;
        count += got.seq <= scene.done;
        step_cursor(c, forward);
        assert_true(!c->valid ||
                    (forward ? in_order(&got, &c->record) : in_order(&c->record, &got)));
    }
    assert_true(!all || count == scene.done);
    memtable_cursor_close(&c);
}

static void begin(sample_shape shape, uint64_t seed) {
    print_message("shape %d, seed %llu", (int)shape, (unsigned long long)seed);
    scene =
        (struct scene){.table = memtable_create(0), .shape = shape, .start = seed, .random = seed};
}

static void end(uint64_t least) {
    print_message(": %llu times in the middle\n", (unsigned long long)scene.happened);
    assert_true(scene.happened > least);
    memtable_destroy(&scene.table);
}

static void run_reader(sample_shape shape, uint64_t seed) {
    begin(shape, seed);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        insert(1 + random_below(&seed, 10));
        sample want;
        sample_at(&want, 1 + random_next(&seed) % scene.done);
        switch (random_below(&seed, 4)) {
        case 0:
            check_get(&want);
            break;
        case 1:
            check_place_before(&want);
            break;
        default:
            check_walk(&want, random_below(&seed, 2) == 0);
        }
    }
    end(ROUNDS / 8);
}

static void run_writer(sample_shape shape, uint64_t seed) {
    begin(shape, seed);
    scene.read_in_inserts = true;
    scene.running = WRITER;
    insert(INSERTS);
    scene.running = NOBODY;
    end(INSERTS / 60);
}

static void readers_see_what_was_there_whenever_the_writer_goes_on(void **state) {
    (void)state;
    uint64_t seed = 1000;
    for (int shape = 0; shape < SAMPLE_SHAPES; shape++) {
        run_reader((sample_shape)shape, seed++);
    }
    run_reader(SAMPLE_NUMBERED, seed++);
    run_reader(SAMPLE_MIXED, seed++);
}

static void readers_see_what_was_there_in_the_middle_of_an_insert(void **state) {
    (void)state;
    uint64_t seed = 2000;
    for (int shape = 0; shape < SAMPLE_SHAPES; shape++) {
        run_writer((sample_shape)shape, seed++);
    }
    run_writer(SAMPLE_NUMBERED, seed++);
    run_writer(SAMPLE_MIXED, seed++);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_what_was_there_whenever_the_writer_goes_on),
        cmocka_unit_test(readers_see_what_was_there_in_the_middle_of_an_insert),
    };
    return cmocka_run_group_tests_name("memtable, step by step", tests, NULL, NULL);
}
