/* order_sort.c: sorts (word, entry) pairs by key: by words first, which touches no entry, then what
 * equal words leave open by the keys themselves. */
#include "memtable/memtable_internal.h"

/* Runs this short are sorted by insertion. */
#define INSERTION_PAIRS 8u

static void insertion_sort(order_pair *pairs, size_t count) {
    for (size_t i = 1; i < count; i++) {
        order_pair pair = pairs[i];
        size_t at = i;
        for (; at > 0 && pairs[at - 1].word > pair.word; at--) {
            pairs[at] = pairs[at - 1];
        }
        pairs[at] = pair;
    }
}

static void merge_words(const order_pair *a, const order_pair *a_end, const order_pair *b,
                        const order_pair *b_end, order_pair *out) {
    while (a < a_end && b < b_end) {
        bool second = b->word < a->word;
        *out++ = *(second ? b : a);
        a += !second;
        b += second;
    }
    memcpy(out, a, (size_t)(a_end - a) * sizeof *a);
    memcpy(out + (a_end - a), b, (size_t)(b_end - b) * sizeof *b);
}

static void sort_words(order_pair *pairs, size_t count, order_pair *scratch) {
    for (size_t at = 0; at < count; at += INSERTION_PAIRS) {
        insertion_sort(pairs + at, count - at < INSERTION_PAIRS ? count - at : INSERTION_PAIRS);
    }
    order_pair *from = pairs;
    order_pair *to = scratch;
    for (size_t run = INSERTION_PAIRS; run < count; run *= 2) {
        for (size_t at = 0; at < count; at += 2 * run) {
            size_t middle = at + run < count ? at + run : count;
            size_t end = middle + run < count ? middle + run : count;
            merge_words(from + at, from + middle, from + middle, from + end, to + at);
        }
        order_pair *swap = from;
        from = to;
        to = swap;
    }
    if (from != pairs) {
        memcpy(pairs, from, count * sizeof *pairs);
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

bool order_sort(order_pair *pairs, size_t sorted, size_t count, order_pair *scratch) {
    if (sorted == count) {
        return false;
    }
    size_t tail = count - sorted;
    sort_words(pairs + sorted, tail, scratch);
    /* Merge from behind, into the places that the tail leaves free. */
    memcpy(scratch, pairs + sorted, tail * sizeof *pairs);
    size_t a = sorted;
    size_t b = tail;
    for (size_t out = count; a > 0 && b > 0; out--) {
        bool first = pairs[a - 1].word > scratch[b - 1].word;
        pairs[out - 1] = first ? pairs[a - 1] : scratch[b - 1];
        a -= first;
        b -= !first;
    }
    memcpy(pairs, scratch, b * sizeof *pairs);
    return resolve_equal_words(pairs, count, scratch);
}
