/* The parts by themselves: what the table's tests would reach only with very many records. */
#include "memtable/memtable_testing.h"
#include "os/os.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static memtable_entry *entry_make(memory *m, const sample *s) {
    size_t size = sizeof(memtable_entry) + s->view.size;
    memtable_entry *e = memory_take(m, size, ENTRY_ALIGN);
    assert_non_null(e);
    memset(e, 0, size);
    e->seq = s->view.seq;
    e->size = s->view.size;
    e->table = (uint8_t)s->view.table->id;
    memcpy(e->payload, s->view.payload, s->view.size);
    return e;
}

/* --- memory.c --- */

static void memory_starts_small_and_counts_what_it_gives(void **state) {
    (void)state;
    memory m = {0};
    assert_non_null(memory_take(&m, 1, 1));
    assert_true(m.reserved_bytes <= KIB(64));
    uint64_t seed = 1;
    uint64_t taken = 1;
    for (int i = 0; i < 20000; i++) {
        size_t size = 1 + random_below(&seed, 700);
        size_t align = (size_t)1 << random_below(&seed, 7);
        uint8_t *run = memory_take(&m, size, align);
        assert_non_null(run);
        assert_int_equal((uintptr_t)run % align, 0);
        memset(run, i, size);
        taken += size;
        assert_true(m.used_bytes >= taken && m.used_bytes <= m.reserved_bytes);
    }
    assert_true(m.used_bytes < taken + taken / 8);
    memory_deinit(&m);
    assert_int_equal(m.used_bytes, 0);
    assert_int_equal(m.reserved_bytes, 0);
}

static void memory_takes_back_the_last_run_only(void **state) {
    (void)state;
    memory m = {0};
    uint8_t *a = memory_take(&m, 100, 1);
    uint64_t used = m.used_bytes;
    uint8_t *b = memory_take(&m, 50, 1);
    memory_give_back(&m, a, 100); /* not the last */
    assert_int_equal(m.used_bytes, used + 50);
    memory_give_back(&m, b, 50);
    assert_int_equal(m.used_bytes, used);
    assert_ptr_equal(memory_take(&m, 50, 1), b);
    memory_deinit(&m);
}

static void memory_gives_runs_larger_than_a_block(void **state) {
    (void)state;
    memory m = {0};
    static const size_t sizes[] = {KIB(40), MIB(2), MIB(5), 1, MIB(2) - 64, 3};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint8_t *run = memory_take(&m, sizes[i], CACHE_LINE_BYTES);
        assert_non_null(run);
        assert_int_equal((uintptr_t)run % CACHE_LINE_BYTES, 0);
        run[0] = 1;
        run[sizes[i] - 1] = 1;
    }
    for (int i = 0; i < 10; i++) { /* what is left over at the end of a block is used, too */
        assert_non_null(memory_take(&m, MIB(1) + KIB(100), 1));
    }
    assert_true(m.used_bytes > m.reserved_bytes - MIB(2));
    assert_null(memory_take(&m, SIZE_MAX - 8, 1));
    m.reserved_max = m.reserved_bytes;
    assert_null(memory_take(&m, MIB(2), 1));
    memory_deinit(&m);
}

static void memory_goes_from_one_to_the_next_by_the_stock(void **state) {
    (void)state;
    memtable_stock *stock = memtable_stock_create(MIB(5)); /* two blocks */
    memory first = {.stock = stock};
    memory second = {.stock = stock};
    for (int i = 0; i < 12; i++) {
        memset(memory_take(&first, MIB(1), 1), 0xff, MIB(1));
    }
    assert_int_equal(memtable_stock_bytes(stock), 0);
    memory_deinit(&first);
    assert_int_equal(memtable_stock_bytes(stock), MIB(4));
    uint64_t left = MIB(4);
    for (int i = 0; i < 12; i++) {
        memset(memory_take(&second, MIB(1), 1), 0xee, MIB(1));
        assert_true(memtable_stock_bytes(stock) <= left);
        left = memtable_stock_bytes(stock);
    }
    assert_int_equal(left, 0);
    memory_deinit(&second);
    assert_int_equal(memtable_stock_bytes(stock), MIB(4));
    memtable_stock_destroy(&stock);
    assert_null(stock);
}

/* --- versions.c --- */

#define VERSIONS 3000u

static void versions_are_found_in_few_steps(void **state) {
    (void)state;
    memory m = {0};
    memtable_entry **entries = mem_alloc((VERSIONS + 1) * sizeof *entries);
    entries[0] = NULL;
    for (uint64_t i = 1; i <= VERSIONS; i++) {
        sample s;
        sample_make(&s, SAMPLE_VERSIONS, 0, i * 10);
        entries[i] = entry_make(&m, &s);
        versions_link(entries[i], entries[i - 1]);
        /* A version of rank r stands for 2^r - 1 of them: the steps to any are O(log n). */
        uint64_t rank = entries[i]->jump >> 48 & 0xff;
        uint64_t far = (UINT64_C(1) << rank) - 1;
        assert_true(rank >= 1 && far <= i);
        assert_ptr_equal((void *)(uintptr_t)(entries[i]->jump & ADDRESS_MASK), entries[i - far]);
        assert_ptr_equal(entries[i]->older, entries[i - 1]);
        for (uint64_t k = 0; k < i; k += 1 + i / 7) {
            assert_ptr_equal(versions_at(entries[i], k * 10 + 9), entries[k]);
            assert_ptr_equal(versions_at(entries[i], k * 10), entries[k]);
        }
        assert_ptr_equal(versions_at(entries[i], UINT64_MAX), entries[i]);
    }
    assert_null(versions_at(NULL, UINT64_MAX));
    free(entries);
    memory_deinit(&m);
}

/* --- hash_index.c --- */

typedef struct indexed {
    sample sample;
    memtable_entry *entry;
} indexed;

static void index_add(hash_index *x, indexed *one) {
    index_place place;
    memtable_entry *found;
    slice key = sample_key(&one->sample);
    assert_true(hash_index_reserve(x, key, one->sample.hash[0], &place, &found));
    assert_null(found);
    one->entry = entry_make(x->memory, &one->sample);
    /* The memory taken for the entry moves no place. */
    hash_index_put(x, &place, one->sample.hash[0], one->entry, true);
}

static memtable_entry *index_get(const hash_index *x, const indexed *one) {
    hash_index_prefetch(x, one->sample.hash[0]);
    hash_index_prefetch_entry(x, one->sample.hash[0]);
    return hash_index_find(x, sample_key(&one->sample), one->sample.hash[0]);
}

/* More keys than a small page holds whose hashes share more bits than a slot has: pages are split
 * by bits that only the entries know. */
static void index_splits_keys_whose_hashes_begin_alike(void **state) {
    (void)state;
    enum { ALIKE = 60, BITS = 18 };
    memory m = {0};
    hash_index x;
    hash_index_init(&x, &m, 0);
    indexed *all = mem_alloc(ALIKE * sizeof *all);
    sample_make(&all[0].sample, SAMPLE_NUMBERED, 0, 1);
    assert_null(hash_index_find(&x, sample_key(&all[0].sample), all[0].sample.hash[0]));
    size_t count = 0;
    uint8_t key[RECORD_KEY_BYTES_MAX];
    size_t key_size = all[0].sample.key_size;
    memcpy(key, all[0].sample.key_bytes, key_size);
    for (uint64_t n = 0; count < ALIKE; n++) {
        uint64_t hash[2];
        uint64_t rest = n;
        for (size_t at = key_size - 1; rest > 0; at--, rest /= 10) {
            key[at] = (uint8_t)('0' + rest % 10);
        }
        record_key_hash((slice){key, key_size}, hash);
        if (hash[0] >> (64 - BITS) == 5) {
            sample_make(&all[count].sample, SAMPLE_NUMBERED, n, n + 1);
            assert_memory_equal(all[count].sample.key_bytes, key, key_size);
            index_add(&x, &all[count]);
            count++;
        }
    }
    for (size_t i = 0; i < ALIKE; i++) {
        assert_ptr_equal(index_get(&x, &all[i]), all[i].entry);
    }
    free(all);
    memory_deinit(&m);
}

static void index_keeps_what_it_was_given_while_it_grows(void **state) {
    (void)state;
    enum { KEYS = 20000 };
    static const uint64_t expected[] = {0, KIB(256), MIB(64)};
    for (size_t e = 0; e < COUNT_OF(expected); e++) {
        memory m = {0};
        hash_index x;
        hash_index_init(&x, &m, expected[e]);
        indexed *all = mem_alloc(KEYS * sizeof *all);
        uint64_t entry_bytes = 0;
        for (size_t i = 0; i < KEYS; i++) {
            sample_make(&all[i].sample, i % 2 == 0 ? SAMPLE_NUMBERED : SAMPLE_TICKS, i, i + 1);
            assert_null(index_get(&x, &all[i]));
            index_add(&x, &all[i]);
            entry_bytes += sizeof(memtable_entry) + all[i].sample.view.size;
            size_t other = i * 7919 % (i + 1);
            assert_ptr_equal(index_get(&x, &all[other]), all[other].entry);
        }
        for (size_t i = 0; i < KEYS; i++) {
            assert_ptr_equal(index_get(&x, &all[i]), all[i].entry);
        }
        /* With what was replaced: 8 bytes per slot, at least 5/16 of them used, twice. */
        assert_true(m.used_bytes - entry_bytes < KEYS * 16 * 16 / 5 + KIB(128));
        free(all);
        memory_deinit(&m);
    }
}

/* --- order_sort.c --- */

static int by_key(const void *a, const void *b) {
    const order_pair *x = a;
    const order_pair *y = b;
    return record_key_compare_payloads(record_table(x->entry->table), x->entry->payload,
                                       y->entry->payload);
}

/* Words that are equal, that differ in their first bits, in their last, and in both: what is beyond
 * the bits that are sorted first must be put right afterwards. */
static void sort_is_by_word_and_then_by_key(void **state) {
    (void)state;
    enum { PAIRS = 300 };
    memory m = {0};
    uint64_t seed = 3;
    order_pair *pairs = mem_alloc(3 * PAIRS * sizeof *pairs);
    order_pair *want = pairs + PAIRS;
    order_pair *scratch = want + PAIRS;
    for (int round = 0; round < 400; round++) {
        size_t count = random_below(&seed, PAIRS);
        unsigned kind = (unsigned)random_below(&seed, 4);
        for (size_t i = 0; i < count; i++) {
            sample s;
            sample_make(&s, SAMPLE_TICKS, 0, 1);
            uint64_t key = random_next(&seed);
            key = kind == 0   ? key
                  : kind == 1 ? key % 64 << 58 | (key >> 32) % 512
                  : kind == 2 ? key >> 56
                              : key % 40 << 60;
            s.record.tick.seq = key;
            s.record.tick.seq ^= kind == 3 ? i : 0;
            pairs[i] = (order_pair){.word = kind == 3 ? key : s.record.tick.seq,
                                    .entry = entry_make(&m, &s)};
            store_u64((void *)(uintptr_t)pairs[i].entry->payload, s.record.tick.seq);
        }
        memcpy(want, pairs, count * sizeof *pairs);
        qsort(want, count, sizeof *want, by_key);
        bool undecided = order_sort(pairs, count, scratch);
        assert_true(!undecided || kind >= 1);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(by_key(&pairs[i], &want[i]), 0);
            assert_true(i == 0 || pairs[i - 1].word <= pairs[i].word);
        }
        memory_deinit(&m);
    }
    free(pairs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_starts_small_and_counts_what_it_gives),
        cmocka_unit_test(memory_takes_back_the_last_run_only),
        cmocka_unit_test(memory_goes_from_one_to_the_next_by_the_stock),
        cmocka_unit_test(memory_gives_runs_larger_than_a_block),
        cmocka_unit_test(versions_are_found_in_few_steps),
        cmocka_unit_test(index_splits_keys_whose_hashes_begin_alike),
        cmocka_unit_test(index_keeps_what_it_was_given_while_it_grows),
        cmocka_unit_test(sort_is_by_word_and_then_by_key),
    };
    return cmocka_run_group_tests_name("memtable parts", tests, NULL, NULL);
}
