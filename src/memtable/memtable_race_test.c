/* Readers beside a writer, through many splits of pages, leaves and inner nodes. */
#include "memtable/memtable_testing.h"
#include "os/os.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define KEYS 5000u
#define INSERTS 30000u
#define READERS 3u
/* What each reader does at least, however fast the writer is. */
#define ROUNDS_MIN 3u

typedef struct race {
    memtable *table;
    sample_shape shape;
    uint64_t seed;
    _Atomic uint64_t inserted; /* all up to this seq are in the table */
    _Atomic uint64_t rounds[READERS];
    _Atomic uint64_t wrong;
    _Atomic bool stop;
} race;

typedef struct reader {
    race *race;
    size_t number;
} reader;

/* Which key comes at a seq is known to readers too. */
static void race_sample(const race *r, sample *s, uint64_t seq) {
    uint64_t seed = r->seed + seq;
    sample_random(s, r->shape, KEYS, &seed, seq);
}

static void expect(race *r, bool right) {
    if (!right) {
        atomic_fetch_add(&r->wrong, 1);
    }
}

/* The version inserted at a seq is seen at that seq, whatever came later. */
static void read_versions(race *r, uint64_t inserted, uint64_t *seed) {
    for (int i = 0; i < 200; i++) {
        sample want;
        record_view got;
        race_sample(r, &want, 1 + random_next(seed) % inserted);
        expect(r, sample_get(r->table, &want, want.view.seq, &got) && view_equal(&got, &want.view));
        expect(r, sample_get(r->table, &want, UINT64_MAX, &got) && got.seq >= want.view.seq);
        race_sample(r, &want, inserted + INSERTS); /* perhaps never, perhaps at any time */
        expect(r, !sample_get(r->table, &want, 0, &got));
    }
}

static bool in_order(const record_view *a, const record_view *b) {
    int order = a->table != b->table
                    ? (a->table->id > b->table->id) - (a->table->id < b->table->id)
                    : record_key_compare_payloads(a->table, a->payload, b->payload);
    return order < 0 || (order == 0 && a->seq > b->seq);
}

/* All that was inserted comes out once and in order. */
static void read_all(race *r, uint64_t inserted, bool forward) {
    memtable_cursor *c = memtable_cursor_open(r->table);
    uint64_t count = 0;
    record_view last = {0};
    if (forward) {
        memtable_cursor_seek(c, (slice){NULL, 0}, UINT64_MAX);
    } else {
        memtable_cursor_seek_before(c, (slice){(const uint8_t *)"\xff", 1}, 0);
    }
    while (c->valid) {
        count += c->record.seq <= inserted;
        expect(r, last.payload == NULL ||
                      (forward ? in_order(&last, &c->record) : in_order(&c->record, &last)));
        last = c->record;
        if (forward) {
            memtable_cursor_next(c);
        } else {
            memtable_cursor_prev(c);
        }
    }
    expect(r, count == inserted);
    memtable_cursor_close(&c);
}

static void read_places(race *r, uint64_t inserted, uint64_t *seed) {
    memtable_cursor *c = memtable_cursor_open(r->table);
    for (int i = 0; i < 50; i++) {
        sample want;
        race_sample(r, &want, 1 + random_next(seed) % inserted);
        memtable_cursor_seek(c, sample_key(&want), want.view.seq);
        expect(r, c->valid && view_equal(&c->record, &want.view));
        memtable_cursor_seek_before(c, sample_key(&want), want.view.seq - 1);
        expect(r, c->valid && c->record.seq >= want.view.seq);
        for (int k = 0; k < 5 && c->valid; k++) {
            record_view before = c->record;
            memtable_cursor_prev(c);
            expect(r, !c->valid || in_order(&c->record, &before));
        }
    }
    memtable_cursor_close(&c);
}

static void read_on(void *argument) {
    reader *self = argument;
    race *r = self->race;
    uint64_t seed = r->seed + self->number;
    while (!atomic_load(&r->stop)) {
        uint64_t inserted = atomic_load_explicit(&r->inserted, memory_order_acquire);
        if (inserted == 0) {
            os_yield();
            continue;
        }
        read_versions(r, inserted, &seed);
        read_places(r, inserted, &seed);
        read_all(r, inserted, random_below(&seed, 2) == 0);
        atomic_fetch_add(&r->rounds[self->number], 1);
    }
}

static bool readers_done(race *r) {
    for (size_t i = 0; i < READERS; i++) {
        if (atomic_load(&r->rounds[i]) < ROUNDS_MIN) {
            return false;
        }
    }
    return true;
}

static void run(sample_shape shape, uint64_t bytes_expected, uint64_t seed) {
    print_message("shape %d, %llu bytes expected, seed %llu\n", (int)shape,
                  (unsigned long long)bytes_expected, (unsigned long long)seed);
    race r = {.table = memtable_create(bytes_expected), .shape = shape, .seed = seed};
    reader readers[READERS];
    os_thread *threads[READERS];
    tape_error error;
    for (size_t i = 0; i < READERS; i++) {
        readers[i] = (reader){&r, i};
        assert_int_equal(os_thread_start(&threads[i], "reader", -1, read_on, &readers[i], &error),
                         TAPE_OK);
    }
    for (uint64_t seq = 1; seq <= INSERTS; seq++) {
        sample s;
        race_sample(&r, &s, seq);
        assert_true(sample_insert(r.table, &s));
        atomic_store_explicit(&r.inserted, seq, memory_order_release);
        if (seq % 512 == 0) {
            os_yield();
        }
    }
    while (!readers_done(&r)) {
        os_yield();
    }
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < READERS; i++) {
        os_thread_join(&threads[i]);
    }
    assert_int_equal(atomic_load(&r.wrong), 0);
    memtable_destroy(&r.table);
}

static void readers_see_all_that_was_inserted_before(void **state) {
    (void)state;
    run(SAMPLE_NUMBERED, 0, 1);
    run(SAMPLE_MIXED, 0, 2);
    run(SAMPLE_RISING, 0, 3);
    run(SAMPLE_VERSIONS, 0, 4);
    run(SAMPLE_PREFIXES, MIB(8), 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_all_that_was_inserted_before),
    };
    return cmocka_run_group_tests_name("memtable, raced", tests, NULL, NULL);
}
