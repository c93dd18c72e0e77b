/* merge.c: records of several sources in one order, up or down. The inner loop of compaction and
 * scans: nothing is copied, a source that leads several times in a row costs one comparison each.
 *
 * The sources that stand at a record are heads, sorted by that record; the first is what the merge
 * stands at. When a source moves on, its head is settled among the others from the front: the
 * sources of a store are of very different sizes, so the one that led mostly leads again.
 *
 * Each head holds eight bytes of its key as a number, the word. Heads mostly share a long beginning
 * of their keys (order ids of one minute), so the word is taken behind what they share: see
 * word_of. It is right whatever is shared, and chosen anew when too many words are equal.
 *
 * Invariants
 *  G1 Heads are sorted: by key, then newest seq first (both the other way round when going down),
 *     then by the order in which sources were added.
 *  G2 The word never contradicts the order of keys: of two different ones, the smaller belongs to
 *     the smaller key. Equal ones say nothing.
 *  G3 A source of files holds one table open at most.
 *
 * Heads that hold the same (key, seq) stand one behind the other (G1), and a seq names one record
 * of the store, so equal seqs of neighbours are enough to know them.
 *
 * Threads: one at a time. The caller keeps the memtables and files alive, and the array that
 * merge_add_files was given. Failure: an error of a source ends the merge until the next seek. */
#include "store/store_internal.h"

#include <stdlib.h>

/* Comparisons that words did not decide before words are chosen anew. */
#define MERGE_TIES_MAX 64
/* How much of what heads share the word covers, so that it goes on telling keys apart when the
 * heads have moved on a little. */
#define MERGE_SHARED_BYTES 3

typedef struct merge_source {
    memtable_cursor *memtable; /* NULL: files */
    table_file *const *files;
    size_t count;
    size_t at;      /* the file that `table` is */
    sstable *table; /* NULL: none is open */
    sstable_cursor cursor;
} merge_source;

typedef struct merge_head {
    uint64_t word;
    uint64_t rank;             /* the smaller, the earlier among versions of a key */
    const record_view *record; /* the cursor's */
    uint64_t source;
} merge_head;

struct merge {
    store *store;
    const tape_table_info *table;
    uint8_t low[1], high[1]; /* bounds of the table's keys */
    uint32_t key_offset;     /* of the first key field in a payload */
    uint32_t key_width; /* bytes of identifiers that follow each other from there; 0: a number */
    bool whole;         /* the word is the whole key */

    merge_source *sources;
    size_t source_count;
    merge_head *heads; /* G1; room for every source */
    size_t count;
    bool backward;
    bool sought;
    uint32_t ties;
    uint32_t skip; /* bytes of the key before the word */
    uint8_t prefix[RECORD_KEY_BYTES_MAX];
};

/* --- making --- */

merge *merge_create(store *s, const tape_table_info *table) {
    merge *m = mem_zalloc(sizeof *m);
    const tape_field_info *first = &table->fields[table->key_fields[0]];
    m->store = s;
    m->table = table;
    m->low[0] = (uint8_t)table->id;
    m->high[0] = (uint8_t)(table->id + 1);
    m->key_offset = first->offset;
    m->whole = first->kind == TAPE_FIELD_U64 && table->key_count == 1;
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        if (field->kind != TAPE_FIELD_ID || field->offset != m->key_offset + m->key_width) {
            break;
        }
        m->key_width += field->size_bytes;
    }
    return m;
}

static void close_table(merge_source *source) {
    if (source->table != NULL) {
        sstable_cursor_deinit(&source->cursor);
        table_done(source->files[source->at], &source->table);
    }
}

void merge_destroy(merge **merge_handle) {
    merge *m = *merge_handle;
    if (m == NULL) {
        return;
    }
    for (size_t i = 0; i < m->source_count; i++) {
        memtable_cursor_close(&m->sources[i].memtable);
        close_table(&m->sources[i]);
    }
    free(m->sources);
    free(m->heads);
    free(m);
    *merge_handle = NULL;
}

static merge_source *add_source(merge *m) {
    ASSERT(m->heads == NULL);
    m->sources = mem_realloc(m->sources, (m->source_count + 1) * sizeof *m->sources);
    merge_source *source = &m->sources[m->source_count++];
    *source = (merge_source){0};
    return source;
}

void merge_add_memtable(merge *m, const memtable *table) {
    add_source(m)->memtable = memtable_cursor_open(table);
}

void merge_add_files(merge *m, table_file *const *files, size_t count) {
    merge_source *source = add_source(m);
    source->files = files;
    source->count = count;
}

/* --- sources: each tells in *valid whether it stands at a record --- */

static tape_status open_table(merge *m, merge_source *source, size_t at, tape_error *error) {
    if (source->table != NULL && source->at == at) {
        return TAPE_OK;
    }
    close_table(source);
    tape_status status = table_acquire(m->store, source->files[at], &source->table, error);
    if (status != TAPE_OK) {
        source->table = NULL;
        return status;
    }
    source->at = at;
    sstable_cursor_init(&source->cursor, source->table);
    return TAPE_OK;
}

/* While the source's file has no more to give, to the near end of the one that follows. */
static tape_status cross_files(merge *m, merge_source *source, bool *valid, tape_error *error) {
    while (!source->cursor.valid) {
        if (source->at == (m->backward ? 0 : source->count - 1)) {
            close_table(source); /* whoever made the merge may have let go of the file */
            *valid = false;
            return TAPE_OK;
        }
        tape_status status =
            open_table(m, source, m->backward ? source->at - 1 : source->at + 1, error);
        if (status == TAPE_OK) {
            sstable_cursor *c = &source->cursor;
            status = m->backward ? sstable_cursor_seek_before(c, (slice){m->high, 1}, 0, error)
                                 : sstable_cursor_seek(c, (slice){m->low, 1}, UINT64_MAX, error);
        }
        if (status != TAPE_OK) {
            return status;
        }
    }
    *valid = true;
    return TAPE_OK;
}

static bool starts_before(const table_file *f, slice key, uint64_t seq) {
    int order = slice_compare((slice){f->info.min_key, f->info.min_key_size}, key);
    return order < 0 || (order == 0 && f->info.first_seq > seq);
}

static tape_status seek_files(merge *m, merge_source *source, slice key, uint64_t seq, bool *valid,
                              tape_error *error) {
    table_level level = {source->count, (table_file **)source->files};
    size_t at = level_seek(&level, key, seq);
    *valid = false;
    if (m->backward && (at == source->count || !starts_before(source->files[at], key, seq))) {
        if (at == 0) {
            return TAPE_OK;
        }
        at--;
    }
    if (at == source->count) {
        return TAPE_OK;
    }
    tape_status status = open_table(m, source, at, error);
    if (status == TAPE_OK) {
        status = m->backward ? sstable_cursor_seek_before(&source->cursor, key, seq, error)
                             : sstable_cursor_seek(&source->cursor, key, seq, error);
    }
    return status == TAPE_OK ? cross_files(m, source, valid, error) : status;
}

/* A memtable holds other tables' records before and behind this one's. */
static bool memtable_valid(const merge *m, const merge_source *source) {
    return source->memtable->valid && source->memtable->record.table == m->table;
}

static tape_status seek_source(merge *m, merge_source *source, slice key, uint64_t seq, bool *valid,
                               tape_error *error) {
    if (source->memtable == NULL) {
        return seek_files(m, source, key, seq, valid, error);
    }
    if (m->backward) {
        memtable_cursor_seek_before(source->memtable, key, seq);
    } else {
        memtable_cursor_seek(source->memtable, key, seq);
    }
    *valid = memtable_valid(m, source);
    return TAPE_OK;
}

static inline tape_status step_source(merge *m, merge_source *source, bool *valid,
                                      tape_error *error) {
    if (source->memtable != NULL) {
        if (m->backward) {
            memtable_cursor_prev(source->memtable);
        } else {
            memtable_cursor_next(source->memtable);
        }
        *valid = memtable_valid(m, source);
        return TAPE_OK;
    }
    tape_status status = m->backward ? sstable_cursor_prev(&source->cursor, error)
                                     : sstable_cursor_next(&source->cursor, error);
    *valid = source->cursor.valid;
    if (LIKELY(*valid) || status != TAPE_OK) {
        return status;
    }
    return cross_files(m, source, valid, error);
}

/* --- heads --- */

/* How many bytes two keys share, of their identifiers. */
static uint32_t shared_bytes(const merge *m, const void *a, const void *b) {
    const uint8_t *x = (const uint8_t *)a + m->key_offset;
    const uint8_t *y = (const uint8_t *)b + m->key_offset;
    for (uint32_t i = 0; i < m->key_width; i += 8) {
        uint64_t differ = load_u64(x + i) ^ load_u64(y + i);
        if (differ != 0) {
            return i + (uint32_t)__builtin_ctzll(differ) / 8;
        }
    }
    return m->key_width;
}

/* Whether the key begins with `prefix`. What follows those bytes is at least a word. */
static inline bool has_prefix(const merge *m, const uint8_t *key) {
    uint32_t i = 0;
    for (; i + 8 <= m->skip; i += 8) {
        if (load_u64(key + i) != load_u64(m->prefix + i)) {
            return false;
        }
    }
    uint64_t rest = (UINT64_C(1) << 8 * (m->skip - i)) - 1;
    return ((load_u64(key + i) ^ load_u64(m->prefix + i)) & rest) == 0;
}

/* G2: keys that do not begin with the prefix are all before or all behind those that do. */
static inline uint64_t word_of(const merge *m, const void *payload) {
    const uint8_t *key = (const uint8_t *)payload + m->key_offset;
    uint64_t word;
    if (m->key_width == 0) {
        word = load_u64(key);
    } else if (LIKELY(has_prefix(m, key))) {
        word = __builtin_bswap64(load_u64(key + m->skip));
    } else {
        word = memcmp(key, m->prefix, m->skip) < 0 ? 0 : UINT64_MAX;
    }
    return m->backward ? ~word : word;
}

static inline void load_head(const merge *m, merge_head *head) {
    head->word = word_of(m, head->record->payload);
    head->rank = m->backward ? head->record->seq : ~head->record->seq;
}

/* Puts the word behind what the keys of the heads share. Heads stay in order (G2). */
static void choose_word(merge *m) {
    m->ties = 0;
    if (m->key_width == 0 || m->count == 0) {
        return;
    }
    uint32_t shared = m->key_width;
    const void *first = m->heads[0].record->payload;
    for (size_t i = 1; i < m->count; i++) {
        uint32_t bytes = shared_bytes(m, first, m->heads[i].record->payload);
        shared = bytes < shared ? bytes : shared;
    }
    uint32_t skip = shared > MERGE_SHARED_BYTES ? shared - MERGE_SHARED_BYTES : 0;
    m->skip = skip + 8 > m->key_width ? m->key_width - 8 : skip;
    memcpy(m->prefix, (const uint8_t *)first + m->key_offset, m->skip);
    for (size_t i = 0; i < m->count; i++) {
        m->heads[i].word = word_of(m, m->heads[i].record->payload);
    }
}

/* The order of G1 where words are equal. */
static bool tied_before(merge *m, const merge_head *a, const merge_head *b) {
    if (!m->whole) {
        int order = record_key_compare_payloads(m->table, a->record->payload, b->record->payload);
        if (order != 0) {
            m->ties++;
            return (order < 0) != m->backward;
        }
    }
    return a->rank != b->rank ? a->rank < b->rank : a->source < b->source;
}

static inline bool before(merge *m, const merge_head *a, const merge_head *b) {
    return LIKELY(a->word != b->word) ? a->word < b->word : tied_before(m, a, b);
}

/* Moves the head at `from` behind those that are before it, among the first `count`. */
static inline void settle(merge *m, size_t from) {
    merge_head *heads = m->heads;
    size_t i = from + 1;
    if (i == m->count || !before(m, &heads[i], &heads[from])) {
        return;
    }
    merge_head moved = heads[from];
    do {
        heads[i - 1] = heads[i];
        i++;
    } while (i < m->count && before(m, &heads[i], &moved));
    heads[i - 1] = moved;
}

static void sort_heads(merge *m) {
    for (size_t i = m->count; i > 0; i--) {
        settle(m, i - 1);
    }
}

static void remove_head(merge *m, size_t at) {
    m->count--;
    memmove(m->heads + at, m->heads + at + 1, (m->count - at) * sizeof *m->heads);
}

/* --- going --- */

static tape_status fail(merge *m, tape_status status) {
    m->count = 0;
    m->sought = false;
    return status;
}

static inline tape_status give(const merge *m, record_view *out, bool *found) {
    *found = m->count > 0;
    if (*found) {
        *out = *m->heads[0].record;
    }
    return TAPE_OK;
}

/* Whether a head, which is the source's first at or behind the present place, is also its first at
 * or behind (key, seq). */
static bool stays(const merge *m, const merge_head *head, slice key, uint64_t seq) {
    int order = record_key_compare(m->table, key, head->record->payload);
    if (order != 0) {
        return (order < 0) != m->backward;
    }
    return m->backward ? head->record->seq > seq : head->record->seq <= seq;
}

static tape_status seek_all(merge *m, slice key, uint64_t seq, tape_error *error) {
    m->count = 0;
    for (size_t i = 0; i < m->source_count; i++) {
        merge_source *source = &m->sources[i];
        bool valid = false;
        tape_status status = seek_source(m, source, key, seq, &valid, error);
        if (status != TAPE_OK) {
            return status;
        }
        if (valid) {
            const record_view *record =
                source->memtable != NULL ? &source->memtable->record : &source->cursor.record;
            m->heads[m->count++] = (merge_head){.record = record, .source = i};
        }
    }
    return TAPE_OK;
}

/* To a place that is not before the present one: sources that are there already stay. */
static tape_status seek_on(merge *m, slice key, uint64_t seq, tape_error *error) {
    for (size_t i = 0; i < m->count;) {
        merge_head *head = &m->heads[i];
        bool valid = true;
        if (!stays(m, head, key, seq)) {
            tape_status status = seek_source(m, &m->sources[head->source], key, seq, &valid, error);
            if (status != TAPE_OK) {
                return status;
            }
        }
        if (valid) {
            i++;
        } else {
            remove_head(m, i);
        }
    }
    return TAPE_OK;
}

tape_status merge_seek(merge *m, slice key, uint64_t seq, bool backward, record_view *out,
                       bool *found, tape_error *error) {
    slice low = {m->low, 1};
    slice high = {m->high, 1};
    if (m->heads == NULL) {
        m->heads = mem_alloc((m->source_count + 1) * sizeof *m->heads);
    }
    if (slice_compare(key, low) < 0) {
        key = low;
    } else if (slice_compare(key, high) > 0) {
        key = high;
    }
    bool onwards =
        m->sought && m->backward == backward && m->count > 0 && !stays(m, &m->heads[0], key, seq);
    m->backward = backward;
    m->sought = true;
    tape_status status = onwards ? seek_on(m, key, seq, error) : seek_all(m, key, seq, error);
    if (status != TAPE_OK) {
        return fail(m, status);
    }
    for (size_t i = 0; i < m->count; i++) {
        load_head(m, &m->heads[i]);
    }
    choose_word(m);
    sort_heads(m);
    return give(m, out, found);
}

/* Moves the source of a head on. */
static inline tape_status advance(merge *m, size_t at, tape_error *error) {
    merge_head *head = &m->heads[at];
    bool valid;
    tape_status status = step_source(m, &m->sources[head->source], &valid, error);
    if (UNLIKELY(status != TAPE_OK)) {
        return status;
    }
    if (UNLIKELY(!valid)) {
        remove_head(m, at);
        return TAPE_OK;
    }
    load_head(m, head);
    settle(m, at);
    return TAPE_OK;
}

tape_status merge_next(merge *m, record_view *out, bool *found, tape_error *error) {
    ASSERT(m->sought);
    tape_status status = TAPE_OK;
    while (m->count > 1 && m->heads[1].record->seq == m->heads[0].record->seq &&
           status == TAPE_OK) {
        status = advance(m, 1, error);
    }
    if (m->count > 0 && status == TAPE_OK) {
        status = advance(m, 0, error);
    }
    if (UNLIKELY(status != TAPE_OK)) {
        return fail(m, status);
    }
    if (UNLIKELY(m->ties >= MERGE_TIES_MAX)) {
        choose_word(m);
    }
    return give(m, out, found);
}
