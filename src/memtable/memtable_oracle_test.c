/* Random inserts, gets and walks, compared with a skip list of the same records. */
#include "memtable/memtable_testing.h"
#include "memtable/skiplist_oracle.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define KEYS 3000u
#define CURSORS 4u

typedef struct pair {
    memtable *table;
    skiplist *oracle;
    sample_shape shape;
    uint64_t seed;
    uint64_t seq; /* the last inserted */
} pair;

static void pair_open(pair *p, sample_shape shape, uint64_t bytes_expected, uint64_t seed) {
    *p = (pair){.table = memtable_create(bytes_expected),
                .oracle = skiplist_create(),
                .shape = shape,
                .seed = seed};
    print_message("shape %d, %llu bytes expected, seed %llu\n", (int)shape,
                  (unsigned long long)bytes_expected, (unsigned long long)seed);
}

static void pair_close(pair *p) {
    memtable_destroy(&p->table);
    skiplist_destroy(&p->oracle);
}

static void pair_insert(pair *p) {
    sample s;
    sample_random(&s, p->shape, KEYS, &p->seed, ++p->seq);
    assert_true(sample_insert(p->table, &s));
    skiplist_insert(p->oracle, sample_key(&s), &s.view);
}

static void assert_same(const record_view *got, const skiplist_entry *want) {
    record_view view;
    assert_non_null(want);
    skiplist_view(want, &view);
    assert_true(view_equal(got, &view));
    assert_int_equal((uintptr_t)got->payload % 8, 0);
}

static void assert_at(const memtable_cursor *c, const skiplist_entry *want) {
    assert_int_equal(c->valid, want != NULL);
    if (c->valid) {
        assert_same(&c->record, want);
    }
}

/* A moment up to a little beyond the last insert, or one of the ends. */
static uint64_t random_seq(pair *p) {
    uint64_t kind = random_below(&p->seed, 8);
    return kind == 0 ? 0 : kind == 1 ? UINT64_MAX : random_next(&p->seed) % (p->seq + 3);
}

static void check_get(pair *p) {
    sample s;
    sample_random(&s, p->shape, KEYS + 20, &p->seed, 1 + random_next(&p->seed) % (p->seq + 3));
    uint64_t at = random_seq(p);
    record_view got;
    memtable_prefetch(p->table, s.hash);
    const skiplist_entry *want = skiplist_get(p->oracle, sample_key(&s), at);
    assert_int_equal(sample_get(p->table, &s, at, &got), want != NULL);
    if (want != NULL) {
        assert_same(&got, want);
    }
}

/* A key that may be there, or a bound: cut short, a byte changed, of no table. */
static slice random_bound(pair *p, sample *s) {
    sample_random(s, p->shape, KEYS + 20, &p->seed, 1 + random_next(&p->seed) % (p->seq + 3));
    uint64_t kind = random_below(&p->seed, 8);
    if (kind == 0) {
        s->key_size = random_below(&p->seed, s->key_size + 1);
    } else if (kind == 1) {
        s->key_bytes[random_below(&p->seed, s->key_size)] = (uint8_t)random_next(&p->seed);
    } else if (kind == 2 && s->key_size < RECORD_KEY_BYTES_MAX) {
        s->key_bytes[s->key_size++] = (uint8_t)random_below(&p->seed, 3);
    } else if (kind == 3) {
        s->key_bytes[0] = (uint8_t)random_below(&p->seed, TAPE_TABLE_COUNT + 3);
    }
    return sample_key(s);
}

static const skiplist_entry *seek_either(pair *p, memtable_cursor *c) {
    sample s;
    slice key = random_bound(p, &s);
    uint64_t seq = random_seq(p);
    if (random_below(&p->seed, 2) == 0) {
        memtable_cursor_seek(c, key, seq);
        return skiplist_seek(p->oracle, key, seq);
    }
    memtable_cursor_seek_before(c, key, seq);
    return skiplist_seek_before(p->oracle, key, seq);
}

/* Some steps, mostly in one direction. */
static void check_walk(pair *p, memtable_cursor *c) {
    const skiplist_entry *want = seek_either(p, c);
    assert_at(c, want);
    bool forward = random_below(&p->seed, 2) == 0;
    for (size_t steps = random_below(&p->seed, 60); steps > 0 && c->valid; steps--) {
        forward = random_below(&p->seed, 8) == 0 ? !forward : forward;
        if (forward) {
            memtable_cursor_next(c);
            want = skiplist_next(want);
        } else {
            memtable_cursor_prev(c);
            want = skiplist_prev(p->oracle, want);
        }
        assert_at(c, want);
    }
}

static void check_all(pair *p) {
    memtable_cursor *c = memtable_cursor_open(p->table);
    const slice first = {NULL, 0};
    const slice last = {(const uint8_t *)"\xff", 1};
    const skiplist_entry *want = skiplist_seek(p->oracle, first, UINT64_MAX);
    uint64_t count = 0;
    for (memtable_cursor_seek(c, first, UINT64_MAX); c->valid; memtable_cursor_next(c)) {
        assert_at(c, want);
        want = skiplist_next(want);
        count++;
    }
    assert_null(want);
    assert_int_equal(count, memtable_entries(p->table));
    want = skiplist_seek_before(p->oracle, last, 0);
    for (memtable_cursor_seek_before(c, last, 0); c->valid; memtable_cursor_prev(c)) {
        assert_at(c, want);
        want = skiplist_prev(p->oracle, want);
    }
    assert_null(want);
    memtable_cursor_close(&c);
    assert_null(c);
}

static void run(sample_shape shape, uint64_t bytes_expected, uint64_t seed, uint64_t inserts) {
    pair p;
    pair_open(&p, shape, bytes_expected, seed);
    memtable_cursor *c = memtable_cursor_open(p.table);
    while (p.seq < inserts) {
        for (size_t batch = random_below(&p.seed, 80); batch > 0; batch--) {
            pair_insert(&p);
        }
        for (int i = 0; i < 10; i++) {
            check_get(&p);
        }
        check_walk(&p, c);
    }
    memtable_cursor_close(&c);
    check_all(&p);
    pair_close(&p);
}

static void memtable_answers_as_a_skip_list_does(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int shape = 0; shape < SAMPLE_SHAPES; shape++) {
        run((sample_shape)shape, 0, seed++, 12000);
        run((sample_shape)shape, MIB(16), seed++, 12000);
    }
    run(SAMPLE_MIXED, 0, seed++, 60000);
    run(SAMPLE_NUMBERED, MIB(128), seed++, 30000);
}

/* --- cursors that stay open while records are inserted --- */

typedef struct follower {
    memtable_cursor *cursor;
    const skiplist_entry *at;
    uint64_t opened; /* what was inserted up to here must come out */
} follower;

static void follower_open(pair *p, follower *f) {
    memtable_cursor_close(&f->cursor);
    f->cursor = memtable_cursor_open(p->table);
    f->opened = p->seq;
    f->at = seek_either(p, f->cursor);
    assert_at(f->cursor, f->at);
}

/* Goes one step; no entry may be left out but those inserted later. */
static void follower_step(pair *p, follower *f) {
    bool forward = random_below(&p->seed, 2) == 0;
    if (forward) {
        memtable_cursor_next(f->cursor);
    } else {
        memtable_cursor_prev(f->cursor);
    }
    for (;;) {
        f->at = forward ? skiplist_next(f->at) : skiplist_prev(p->oracle, f->at);
        if (f->at == NULL || f->at->seq <= f->opened ||
            (f->cursor->valid && f->cursor->record.seq == f->at->seq)) {
            assert_at(f->cursor, f->at);
            return;
        }
    }
}

static void cursors_leave_out_only_what_came_later(void **state) {
    (void)state;
    for (uint64_t seed = 101; seed < 107; seed++) {
        pair p;
        pair_open(&p, seed % 2 == 0 ? SAMPLE_MIXED : SAMPLE_NUMBERED, 0, seed);
        follower followers[CURSORS] = {0};
        while (p.seq < 8000) {
            for (size_t batch = random_below(&p.seed, 40); batch > 0; batch--) {
                pair_insert(&p);
            }
            for (size_t i = 0; i < CURSORS; i++) {
                if (followers[i].cursor == NULL || !followers[i].cursor->valid ||
                    random_below(&p.seed, 50) == 0) {
                    follower_open(&p, &followers[i]);
                }
                for (size_t steps = random_below(&p.seed, 20);
                     steps > 0 && followers[i].cursor->valid; steps--) {
                    follower_step(&p, &followers[i]);
                }
            }
        }
        for (size_t i = 0; i < CURSORS; i++) {
            memtable_cursor_close(&followers[i].cursor);
        }
        pair_close(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memtable_answers_as_a_skip_list_does),
        cmocka_unit_test(cursors_leave_out_only_what_came_later),
    };
    return cmocka_run_group_tests_name("memtable beside a skip list", tests, NULL, NULL);
}
