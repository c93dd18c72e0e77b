/* Appends that leave out what is there already (TAPE_UNIQUE).
 *
 * One such append at a time looks, with the store brought up to everything written, and appends; so
 * two of them never both find a key absent. An append without the flag does not look. */
#include "engine/engine_internal.h"

#include <stdlib.h>
#include <xxhash.h>

typedef struct key_set {
    uint64_t *hashes; /* 0: free; open addressing */
    size_t *indexes;
    size_t mask;
} key_set;

static void key_set_init(key_set *set, size_t count) {
    size_t capacity = 16;
    while (capacity < 2 * count) {
        capacity *= 2;
    }
    set->hashes = mem_zalloc(capacity * sizeof *set->hashes);
    set->indexes = mem_alloc(capacity * sizeof *set->indexes);
    set->mask = capacity - 1;
}

static void key_set_deinit(key_set *set) {
    free(set->hashes);
    free(set->indexes);
}

/* Adds record `index`; false when one of the same key is there. */
static bool key_set_add(key_set *set, const tape_record *records, size_t index, const uint8_t *key,
                        size_t size) {
    uint64_t hash = XXH3_64bits(key, size) | 1;
    for (size_t at = hash & set->mask;; at = (at + 1) & set->mask) {
        if (set->hashes[at] == 0) {
            set->hashes[at] = hash;
            set->indexes[at] = index;
            return true;
        }
        if (set->hashes[at] == hash) {
            uint8_t other[RECORD_KEY_BYTES_MAX];
            const tape_record *record = &records[set->indexes[at]];
            size_t other_size = record_key(record_table(record->table), record->data, other);
            if (other_size == size && memcmp(other, key, size) == 0) {
                return false;
            }
        }
    }
}

/* A table whose rows can be there already: an event table with a key of its own. */
static bool table_has_unique_key(const tape_table_info *table) {
    return table->kind == TAPE_KIND_EVENT &&
           table->fields[table->key_fields[0]].kind == TAPE_FIELD_ID;
}

/* The records of one table that are candidates: not twice in this append. */
typedef struct candidates {
    const tape_table_info *table;
    slice *keys; /* into `bytes` */
    size_t *indexes;
    size_t count;
} candidates;

/* Marks those candidates that the store has. */
static tape_status unique_look(tape *db, const candidates *c, const store_moment *moment,
                               bool *there, tape_error *error) {
    bool *found = mem_alloc(c->count * sizeof *found);
    buffer *rows = &db->unique_scratch;
    rows->size = 0;
    buffer_reserve(rows, c->count * c->table->size_bytes);
    tape_status status =
        store_get_many(db->store, moment, c->table, c->keys, c->count, rows->data, found, error);
    for (size_t i = 0; status == TAPE_OK && i < c->count; i++) {
        there[c->indexes[i]] = found[i];
    }
    free(found);
    return status;
}

/* there[i]: record i is in the store, or earlier in this append. */
static tape_status unique_mark(tape *db, const tape_record *records, size_t count, bool *there,
                               tape_error *error) {
    store_moment moment = {journal_seq(db->journal, TAPE_WRITTEN), clock_realtime_ns()};
    tape_status status = cursor_reach(&db->store_cursor, moment.at, INT64_MAX, error);
    uint8_t(*bytes)[RECORD_KEY_BYTES_MAX] = mem_alloc(count * sizeof *bytes);
    candidates c = {.keys = mem_alloc(count * sizeof *c.keys),
                    .indexes = mem_alloc(count * sizeof *c.indexes)};
    key_set seen;
    key_set_init(&seen, count);
    for (uint16_t id = 1; status == TAPE_OK && id <= TAPE_TABLE_COUNT; id++) {
        c.table = record_table(id);
        c.count = 0;
        for (size_t i = 0; table_has_unique_key(c.table) && i < count; i++) {
            if (records[i].table != id) {
                continue;
            }
            slice key = {bytes[i], record_key(c.table, records[i].data, bytes[i])};
            there[i] = !key_set_add(&seen, records, i, key.data, key.size);
            if (!there[i]) {
                c.keys[c.count] = key;
                c.indexes[c.count++] = i;
            }
        }
        if (c.count > 0) {
            status = unique_look(db, &c, &moment, there, error);
        }
    }
    key_set_deinit(&seen);
    free(c.indexes);
    free(c.keys);
    free(bytes);
    return status;
}

tape_status engine_append_unique(tape *db, const tape_record *records, size_t count,
                                 const tape_append_options *options, tape_append_result *result,
                                 tape_error *error) {
    tape_record *kept = mem_alloc(count * sizeof *kept);
    bool *there = mem_zalloc(count * sizeof *there);
    size_t kept_count = 0;
    pthread_mutex_lock(&db->unique_mutex);
    tape_status status = unique_mark(db, records, count, there, error);
    for (size_t i = 0; status == TAPE_OK && i < count; i++) {
        if (!there[i]) {
            kept[kept_count++] = records[i];
        }
    }
    if (status == TAPE_OK && kept_count > 0) {
        status = engine_append(db, kept, kept_count, options, result, error);
    }
    pthread_mutex_unlock(&db->unique_mutex);
    if (result != NULL) {
        result->duplicates = count - kept_count;
    }
    free(there);
    free(kept);
    return status;
}
