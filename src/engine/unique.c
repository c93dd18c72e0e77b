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

static tape_status unique_select(tape *db, const tape_record *records, size_t count,
                                 tape_record *kept, size_t *kept_count, tape_error *error) {
    uint64_t written = journal_seq(db->journal, TAPE_WRITTEN);
    tape_status status = cursor_reach(&db->store_cursor, written, INT64_MAX, error);
    key_set seen;
    key_set_init(&seen, count);
    uint8_t found[4096];
    for (size_t i = 0; status == TAPE_OK && i < count; i++) {
        const tape_table_info *table = record_table(records[i].table);
        bool there = false;
        if (table_has_unique_key(table)) {
            uint8_t key[RECORD_KEY_BYTES_MAX];
            size_t size = record_key(table, records[i].data, key);
            ASSERT(table->size_bytes <= sizeof found);
            there = !key_set_add(&seen, records, i, key, size);
            if (!there) {
                status = store_get(db->store, table, key, size, written, found, NULL, error);
                there = status == TAPE_OK;
                status = status == TAPE_NOT_FOUND ? TAPE_OK : status;
            }
        }
        if (!there) {
            kept[(*kept_count)++] = records[i];
        }
    }
    key_set_deinit(&seen);
    return status;
}

tape_status engine_append_unique(tape *db, const tape_record *records, size_t count,
                                 const tape_append_options *options, tape_append_result *result,
                                 tape_error *error) {
    tape_record *kept = mem_alloc(count * sizeof *kept);
    size_t kept_count = 0;
    pthread_mutex_lock(&db->unique_mutex);
    tape_status status = unique_select(db, records, count, kept, &kept_count, error);
    if (status == TAPE_OK && kept_count > 0) {
        status = engine_append(db, kept, kept_count, options, result, error);
    }
    pthread_mutex_unlock(&db->unique_mutex);
    if (result != NULL) {
        result->duplicates = count - kept_count;
    }
    free(kept);
    return status;
}
