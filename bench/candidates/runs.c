/* A hash index, and sorted runs of the keys. Keys gather in a tail; a full tail is sorted and
 * becomes a run, and two runs of a size are merged into one of twice the size, so that n keys lie
 * in log n runs. A reader holds the set of runs that was there when it began: a set is never
 * changed, and what it has is used again only while nobody reads. */
#include "candidate.h"

#include "memtable/order_node.h"

#include <stdlib.h>

#define TAIL_LOG2 8u
#define TAIL_KEYS (1u << TAIL_LOG2)
#define RUNS_MAX 24u /* so many sizes */

/* A run of class c has up to TAIL_KEYS << c pairs. */
typedef struct run {
    struct run *next_free;
    uint32_t class;
    _Atomic uint32_t count;
    order_pair pairs[];
} run;

typedef struct run_set {
    uint32_t count;
    run *runs[RUNS_MAX]; /* the largest first */
    run *tail;
    struct run_set *next_free;
} run_set;

typedef struct runs {
    hash_index index;
    memory memory;
    _Atomic(run_set *) set;
    _Atomic uint32_t readers;
    run *free_runs[RUNS_MAX];
    run_set *free_sets;
    order_pair scratch[TAIL_KEYS];
    uint32_t skip; /* of all words; UINT32_MAX: no key yet */
    order_key sample;
} runs;

static uint32_t count_of(const run *of) {
    return atomic_load_explicit(&of->count, memory_order_acquire);
}

static void set_count(run *of, uint32_t count) {
    atomic_store_explicit(&of->count, count, memory_order_release);
}

static run *run_take(runs *r, uint32_t class) {
    ASSERT(class < RUNS_MAX);
    run *out = r->free_runs[class];
    if (out != NULL) {
        r->free_runs[class] = out->next_free;
    } else {
        size_t bytes = sizeof *out + ((size_t)TAIL_KEYS << class) * sizeof(order_pair);
        out = memory_take(&r->memory, bytes, CACHE_LINE_BYTES);
        ASSERT(out != NULL);
        out->class = class;
    }
    set_count(out, 0);
    return out;
}

static run_set *set_take(runs *r) {
    run_set *s = r->free_sets;
    if (s != NULL) {
        r->free_sets = s->next_free;
        return s;
    }
    s = memory_take(&r->memory, sizeof *s, CACHE_LINE_BYTES);
    ASSERT(s != NULL);
    return s;
}

static void *runs_create(uint64_t bytes_expected) {
    runs *r = mem_zalloc(sizeof *r);
    hash_index_init(&r->index, &r->memory, bytes_expected);
    run_set *s = set_take(r);
    *s = (run_set){.tail = run_take(r, 0)};
    atomic_init(&r->set, s);
    r->skip = UINT32_MAX;
    return r;
}

static void runs_destroy(void *table) {
    runs *r = table;
    memory_deinit(&r->memory);
    free(r);
}

static bool lower(const order_pair *a, const order_pair *b) {
    if (LIKELY(a->word != b->word)) {
        return a->word < b->word;
    }
    return record_key_compare_payloads(record_table(a->entry->table), a->entry->payload,
                                       b->entry->payload) < 0;
}

static run *merge(runs *r, const run *a, const run *b) {
    run *out = run_take(r, a->class + 1);
    const order_pair *x = a->pairs;
    const order_pair *x_end = x + count_of(a);
    const order_pair *y = b->pairs;
    const order_pair *y_end = y + count_of(b);
    order_pair *to = out->pairs;
    if (lower(x_end - 1, y)) { /* they came in order */
        memcpy(to, x, (size_t)(x_end - x) * sizeof *x);
        memcpy(to + (x_end - x), y, (size_t)(y_end - y) * sizeof *y);
        to += (x_end - x) + (y_end - y);
        x = x_end;
        y = y_end;
    }
    while (x < x_end && y < y_end) {
        if (UNLIKELY(x->word == y->word)) {
            *to++ = lower(y, x) ? *y++ : *x++;
            continue;
        }
        uintptr_t second = 0 - (uintptr_t)(y->word < x->word);
        *to++ = *(const order_pair *)(((uintptr_t)x & ~second) | ((uintptr_t)y & second));
        x += second + 1;
        y -= second;
    }
    memcpy(to, x, (size_t)(x_end - x) * sizeof *x);
    memcpy(to + (x_end - x), y, (size_t)(y_end - y) * sizeof *y);
    set_count(out, count_of(a) + count_of(b));
    return out;
}

/* Makes the full tail a run, and merges. */
static void seal(runs *r) {
    run_set *old = atomic_load_explicit(&r->set, memory_order_relaxed);
    run_set *s = set_take(r);
    run *gone[2 * RUNS_MAX];
    uint32_t gone_count = 0;
    *s = *old;
    run *sealed = run_take(r, 0);
    bool sorted = true;
    memcpy(sealed->pairs, old->tail->pairs, TAIL_KEYS * sizeof(order_pair));
    set_count(sealed, TAIL_KEYS);
    for (uint32_t i = 1; i < TAIL_KEYS && sorted; i++) {
        sorted = lower(&sealed->pairs[i - 1], &sealed->pairs[i]);
    }
    if (!sorted) {
        (void)order_sort(sealed->pairs, TAIL_KEYS, r->scratch);
    }
    while (s->count > 0 && s->runs[s->count - 1]->class == sealed->class) {
        run *last = s->runs[--s->count];
        run *merged = merge(r, last, sealed);
        gone[gone_count++] = last;
        gone[gone_count++] = sealed;
        sealed = merged;
    }
    s->runs[s->count++] = sealed;
    s->tail = run_take(r, 0);
    gone[gone_count++] = old->tail;
    atomic_store(&r->set, s);
    if (atomic_load(&r->readers) == 0) {
        for (uint32_t i = 0; i < gone_count; i++) {
            gone[i]->next_free = r->free_runs[gone[i]->class];
            r->free_runs[gone[i]->class] = gone[i];
        }
        old->next_free = r->free_sets;
        r->free_sets = old;
    }
}

static void set_words(run *of, uint32_t skip) {
    for (uint32_t i = 0; i < count_of(of); i++) {
        order_key k;
        order_key_of(&k, of->pairs[i].entry);
        of->pairs[i].word = order_key_word(&k, skip);
    }
}

/* A key that shares less with the others changes all words (and readers would have to be kept out
 * meanwhile: it is left out here, as it happens while there are few keys or not at all). */
static void fit_words(runs *r, const order_key *k) {
    if (r->skip == UINT32_MAX) {
        r->sample = *k;
        r->skip = k->size > 8 ? (uint32_t)k->size - 8 : 0;
    }
    if (memcmp(k->bytes, r->sample.bytes, r->skip) == 0) {
        return;
    }
    r->skip = 0;
    while (k->bytes[r->skip] == r->sample.bytes[r->skip]) {
        r->skip++;
    }
    run_set *s = atomic_load_explicit(&r->set, memory_order_relaxed);
    for (uint32_t i = 0; i < s->count; i++) {
        set_words(s->runs[i], r->skip);
    }
    set_words(s->tail, r->skip);
}

static void order_insert(runs *r, slice key, const memtable_entry *e) {
    order_key k;
    order_key_set(&k, key);
    fit_words(r, &k);
    run *tail = atomic_load_explicit(&r->set, memory_order_relaxed)->tail;
    if (count_of(tail) == TAIL_KEYS) {
        seal(r);
        tail = atomic_load_explicit(&r->set, memory_order_relaxed)->tail;
    }
    uint32_t count = count_of(tail);
    tail->pairs[count] = (order_pair){order_key_word(&k, r->skip), e};
    set_count(tail, count + 1);
}

static void runs_insert(void *table, slice key, const uint64_t hash[2], const record_view *record) {
    runs *r = table;
    hash_index_prefetch(&r->index, hash[0]);
    size_t bytes = ALIGN_UP(sizeof(memtable_entry) + record->size, ENTRY_ALIGN);
    memtable_entry *e = memory_take(&r->memory, bytes, ENTRY_ALIGN);
    ASSERT(e != NULL);
    *e = (memtable_entry){.seq = record->seq,
                          .append_ts = record->append_ts,
                          .size = record->size,
                          .version = record->version,
                          .flags = (uint8_t)record->flags,
                          .table = (uint8_t)record->table->id};
    memcpy(e->payload, record->payload, record->size);
    index_place place;
    memtable_entry *newest;
    bool reserved = hash_index_reserve(&r->index, key, hash[0], &place, &newest);
    ASSERT(reserved);
    versions_link(e, newest);
    if (newest == NULL) {
        order_insert(r, key, e);
    }
    hash_index_put(&r->index, &place, hash[0], e, newest == NULL);
    if (newest != NULL) {
        atomic_store_explicit(&newest->newer, e, memory_order_release);
    }
}

static bool runs_get(const void *table, slice key, const uint64_t hash[2], uint64_t at,
                     record_view *out) {
    const runs *r = table;
    const memtable_entry *e = versions_at(hash_index_find(&r->index, key, hash[0]), at);
    if (e != NULL) {
        entry_view(e, out);
    }
    return e != NULL;
}

typedef struct source {
    const order_pair *at, *end;
} source;

static source source_from(const order_pair *pairs, uint32_t count, uint64_t word, slice key) {
    uint32_t from = 0;
    uint32_t end = count;
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        const order_pair *pair = &pairs[middle];
        bool right =
            pair->word < word || (pair->word == word && entry_compare_key(key, pair->entry) > 0);
        from = right ? middle + 1 : from;
        end = right ? end : middle;
    }
    return (source){pairs + from, pairs + count};
}

static void runs_scan(const void *table, slice from, uint64_t limit, candidate_visit visit,
                      void *context) {
    runs *r = (runs *)(uintptr_t)table;
    atomic_fetch_add(&r->readers, 1);
    const run_set *s = atomic_load(&r->set);
    uint32_t tail_count = count_of(s->tail);
    order_pair tail[TAIL_KEYS];
    order_pair scratch[TAIL_KEYS];
    source sources[RUNS_MAX + 1];
    uint32_t count = 0;
    order_key k;
    order_key_set(&k, from);
    int beside =
        from.size == 0 || r->skip == UINT32_MAX ? -1 : memcmp(k.bytes, r->sample.bytes, r->skip);
    uint64_t word = beside < 0 ? 0 : beside > 0 ? UINT64_MAX : order_key_word(&k, r->skip);
    memcpy(tail, s->tail->pairs, tail_count * sizeof *tail);
    (void)order_sort(tail, tail_count, scratch);
    sources[count++] = source_from(tail, tail_count, word, from);
    for (uint32_t i = 0; i < s->count; i++) {
        sources[count++] = source_from(s->runs[i]->pairs, count_of(s->runs[i]), word, from);
    }
    for (;;) {
        source *least = NULL;
        for (uint32_t i = 0; i < count; i++) {
            source *one = &sources[i];
            if (one->at < one->end && (least == NULL || lower(one->at, least->at))) {
                least = one;
            }
        }
        if (least == NULL) {
            break;
        }
        const memtable_entry *e = least->at++->entry;
        if (least->at + 6 < least->end) {
            entry_prefetch(least->at[6].entry);
        }
        if (atomic_load_explicit(&e->newer, memory_order_acquire) != NULL) {
            uint8_t bytes[RECORD_KEY_BYTES_MAX];
            uint64_t hash[2];
            slice key = {bytes, record_key(record_table(e->table), e->payload, bytes)};
            record_key_hash(key, hash);
            e = hash_index_find(&r->index, key, hash[0]);
        }
        for (; e != NULL && limit > 0; e = e->older, limit--) {
            record_view view;
            entry_view(e, &view);
            visit(context, &view);
        }
        if (limit == 0) {
            break;
        }
    }
    atomic_fetch_sub(&r->readers, 1);
}

static uint64_t runs_bytes(const void *table) {
    return ((const runs *)table)->memory.used_bytes;
}

const candidate candidate_runs = {
    "hash + sorted runs", runs_create, runs_destroy, runs_insert, runs_get, runs_scan, runs_bytes};
