/* order_sort.c: sorts (word, entry) pairs by key: by words first, which touches no entry, then what
 * equal words leave open by the keys themselves. */
#include "memtable/memtable_internal.h"

/* Words are sorted together with their places, in what they have in common: a place takes so many
 * bits. */
#define PLACE_BITS 9u
#define PLACES (1u << PLACE_BITS)
#define PLACE_MASK ((uint64_t)PLACES - 1)

/* Without branches, which would be foretold no better than by a coin. */
static inline void order_two(uint64_t *a, uint64_t *b) {
    uint64_t x = *a;
    uint64_t y = *b;
    uint64_t swap = (x ^ y) & (0 - (uint64_t)(y < x));
    *a = x ^ swap;
    *b = y ^ swap;
}

static void sort_four(uint64_t *v) {
    order_two(&v[0], &v[1]);
    order_two(&v[2], &v[3]);
    order_two(&v[0], &v[2]);
    order_two(&v[1], &v[3]);
    order_two(&v[1], &v[2]);
}

/* Merges two runs of `size`, one behind the other, from both ends at once: neither run can be used
 * up before the two ends meet. No two values are equal. */
static void merge_runs(const uint64_t *runs, size_t size, uint64_t *out) {
    const uint64_t *a = runs;
    const uint64_t *b = runs + size;
    const uint64_t *a_last = runs + size - 1;
    const uint64_t *b_last = runs + 2 * size - 1;
    uint64_t *out_last = out + 2 * size - 1;
    for (size_t i = 0; i < size; i++) {
        uint64_t x = *a;
        uint64_t y = *b;
        uint64_t less = x < y;
        *out++ = y ^ ((x ^ y) & (0 - less));
        a += less;
        b += 1 - less;
        x = *a_last;
        y = *b_last;
        less = x < y;
        *out_last-- = x ^ ((x ^ y) & (0 - less));
        b_last -= less;
        a_last -= 1 - less;
    }
}

/* Sorts by as many bits of the words, from the first in which they differ, as places leave over. */
static void sort_nearly(const order_pair *pairs, size_t count, order_pair *out) {
    uint64_t values[2][PLACES];
    uint64_t differ = 0;
    for (size_t i = 1; i < count; i++) {
        differ |= pairs[i].word ^ pairs[0].word;
    }
    int same_bits = differ == 0 ? 0 : __builtin_clzll(differ);
    for (size_t i = 0; i < count; i++) {
        values[0][i] = (pairs[i].word << same_bits & ~PLACE_MASK) | i;
    }
    size_t size = 4; /* of runs */
    size_t padded = size;
    while (padded < count) {
        padded *= 2;
    }
    for (size_t i = count; i < padded; i++) {
        values[0][i] = ~PLACE_MASK | i; /* behind all others, as their places are greater */
    }
    for (size_t at = 0; at < padded; at += size) {
        sort_four(values[0] + at);
    }
    uint64_t *from = values[0];
    uint64_t *to = values[1];
    for (; size < padded; size *= 2) {
        for (size_t at = 0; at < padded; at += 2 * size) {
            merge_runs(from + at, size, to + at);
        }
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = pairs[from[i] & PLACE_MASK];
    }
}

static void insertion_sort(order_pair *pairs, size_t count) {
    for (size_t i = 1; i < count; i++) {
        order_pair pair = pairs[i];
        size_t at = i;
        for (; UNLIKELY(at > 0 && pairs[at - 1].word > pair.word); at--) {
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = pair;
    }
}

static int compare_keys(const order_pair *a, const order_pair *b) {
    return record_key_compare_payloads(record_table(a->entry->table), a->entry->payload,
                                       b->entry->payload);
}

/* Pairs of one word. */
static void sort_keys(order_pair *pairs, size_t count, order_pair *scratch) {
    for (size_t i = 0; i < count; i++) {
        entry_prefetch(pairs[i].entry);
    }
    for (size_t run = 1; run < count; run *= 2) {
        for (size_t at = 0; at + run < count; at += 2 * run) {
            size_t end = at + 2 * run < count ? at + 2 * run : count;
            size_t a = 0;
            size_t b = at + run;
            if (compare_keys(&pairs[b - 1], &pairs[b]) <= 0) {
                continue;
            }
            memcpy(scratch, pairs + at, run * sizeof *pairs);
            for (size_t out = at; a < run; out++) {
                bool second = b < end && compare_keys(&pairs[b], &scratch[a]) < 0;
                pairs[out] = second ? pairs[b++] : scratch[a++];
            }
        }
    }
}

static bool resolve_equal_words(order_pair *pairs, size_t count, order_pair *scratch) {
    bool any = false;
    for (size_t i = 0; i + 1 < count; i++) {
        if (LIKELY(pairs[i].word != pairs[i + 1].word)) {
            continue;
        }
        size_t end = i + 2;
        while (end < count && pairs[end].word == pairs[i].word) {
            end++;
        }
        sort_keys(pairs + i, end - i, scratch);
        any = true;
        i = end - 1;
    }
    return any;
}

bool order_sort(order_pair *pairs, size_t count, order_pair *scratch) {
    ASSERT(count <= PLACES);
    if (count < 2) {
        return false;
    }
    sort_nearly(pairs, count, scratch);
    insertion_sort(scratch, count);
    memcpy(pairs, scratch, count * sizeof *pairs);
    return resolve_equal_words(pairs, count, scratch);
}
