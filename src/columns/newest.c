/* Columns: the index of newest versions, from an entity table's key to the row of its newest
 * version. See N1 to N4 in README.md. Writer only. */
#include "columns/columns_internal.h"

#include <stdlib.h>

#define SHARD_SLOTS_FIRST 16u
/* N2: a shard is swept once per chunk or more often, in turn. */
_Static_assert(COLUMNS_LIVE_ROWS_MAX + (uint64_t)NEWEST_SHARDS * COLUMNS_CHUNK_ROWS < UINT32_MAX,
               "the low half of a row's number tells the row");
/* Rows whose slots are asked for ahead. */
#define AHEAD COLUMNS_WINDOW_RECORDS

tape_status newest_create(column_table *t) {
    t->newest = calloc(NEWEST_SHARDS, sizeof *t->newest);
    return t->newest == NULL ? TAPE_NO_MEMORY : TAPE_OK;
}

void newest_free(column_table *t) {
    for (uint32_t s = 0; t->newest != NULL && s < NEWEST_SHARDS; s++) {
        free(t->newest[s].slots);
    }
    free(t->newest);
}

static newest_shard *shard_of(const column_table *t, uint64_t hash) {
    return &t->newest[hash >> (64 - NEWEST_SHARD_BITS)];
}

static uint32_t slot_hash(uint64_t hash) {
    return (uint32_t)hash == 0 ? 1 : (uint32_t)hash;
}

/* N2: of all rows with this low half, the last up to `row`. */
static uint64_t slot_row(newest_slot slot, uint64_t row) {
    return row - (uint32_t)((uint32_t)row - slot.row);
}

/* Takes one slot out; those behind it that it stood in the way of move up. */
static void slot_remove(newest_shard *s, uint32_t hole) {
    uint32_t mask = s->slot_count - 1;
    for (uint32_t at = (hole + 1) & mask; s->slots[at].hash != 0; at = (at + 1) & mask) {
        uint32_t home = s->slots[at].hash & mask;
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            s->slots[hole] = s->slots[at];
            hole = at;
        }
    }
    s->slots[hole] = (newest_slot){0};
    s->taken--;
}

/* `row` is the row being written: no slot is of a later one. */
static void shard_sweep(const column_table *t, newest_shard *s, uint64_t row) {
    for (uint32_t at = 0; at < s->slot_count;) {
        if (s->slots[at].hash != 0 && slot_row(s->slots[at], row) < t->live_first) {
            slot_remove(s, at);
        } else {
            at++;
        }
    }
}

void newest_sweep(column_table *t) {
    shard_sweep(t, &t->newest[t->newest_sweep], t->rows);
    t->newest_sweep = (t->newest_sweep + 1) % NEWEST_SHARDS;
}

/* Room for one more key. At most 7 of 10 slots are taken, so that probing stays short. */
static tape_status shard_reserve(columns *c, const column_table *t, newest_shard *s, uint64_t row) {
    if ((uint64_t)s->taken * 10 < (uint64_t)s->slot_count * 7) {
        return TAPE_OK;
    }
    shard_sweep(t, s, row);
    if ((uint64_t)s->taken * 10 < (uint64_t)s->slot_count * 5) {
        return TAPE_OK;
    }
    uint32_t count = s->slot_count == 0 ? SHARD_SLOTS_FIRST : s->slot_count * 2;
    uint64_t more = (uint64_t)(count - s->slot_count) * sizeof *s->slots;
    tape_status status = count == 0 ? TAPE_BUSY : memory_reserve(c, more);
    if (status != TAPE_OK) {
        return status;
    }
    newest_slot *slots = calloc(count, sizeof *slots);
    if (slots == NULL) {
        memory_give(c, more);
        return TAPE_NO_MEMORY;
    }
    for (uint32_t n = 0; n < s->slot_count; n++) {
        if (s->slots[n].hash != 0) {
            uint32_t at = s->slots[n].hash & (count - 1);
            while (slots[at].hash != 0) {
                at = (at + 1) & (count - 1);
            }
            slots[at] = s->slots[n];
        }
    }
    free(s->slots);
    s->slots = slots;
    s->slot_count = count;
    return TAPE_OK;
}

/* Of row t->rows + i, whose columns have been written. */
static uint64_t key_hash(const column_table *t, const chunk *k, uint64_t at,
                         const uint8_t *payload) {
    uint64_t h = HASH_START;
    for (uint32_t n = 0; n < t->info->key_count; n++) {
        uint32_t f = t->info->key_fields[n];
        const column *col = &t->columns[f];
        const char *id = (const char *)payload + col->field->offset;
        if (col->kind == COLUMN_CODE) {
            h = hash_mix(h, ((const uint32_t *)k->arrays[f])[at]);
        } else if (col->kind == COLUMN_TEXT) {
            uint32_t size = ((const uint32_t *)k->arrays[f])[at] & COLUMNS_TEXT_SIZE_MAX;
            h = id_hash(hash_mix(h, size), id, size);
        } else {
            h = hash_mix(h, load_u64(id));
        }
    }
    return hash_end(h);
}

/* Whether two rows have the same key; the one at `at` of chunk `k` was written from `payload`. */
static bool key_is(const column_table *t, uint64_t row, const chunk *k, uint64_t at,
                   const uint8_t *payload) {
    const chunk *other = table_chunk(t, row);
    uint64_t there = row % COLUMNS_CHUNK_ROWS;
    for (uint32_t n = 0; n < t->info->key_count; n++) {
        uint32_t f = t->info->key_fields[n];
        const column *col = &t->columns[f];
        const char *id = (const char *)payload + col->field->offset;
        const uint32_t *packed = other->arrays[f];
        if (col->kind == COLUMN_CODE) {
            if (packed[there] != ((const uint32_t *)k->arrays[f])[at]) {
                return false;
            }
        } else if (col->kind == COLUMN_TEXT) {
            uint32_t size;
            const char *text = heap_text(other->heaps[f], packed[there], &size);
            if (size != (((const uint32_t *)k->arrays[f])[at] & COLUMNS_TEXT_SIZE_MAX) ||
                !bytes_equal(text, id, size)) {
                return false;
            }
        } else if (((const uint64_t *)other->arrays[f])[there] != load_u64(id)) {
            return false;
        }
    }
    return true;
}

/* The key has no hot version: what the archive has of it is superseded by `seq`. */
static tape_status supersede_archived(columns *c, column_table *t, const uint8_t *payload,
                                      uint64_t seq, tape_error *error) {
    uint64_t at = columns_base(c);
    if (c->options.archived == NULL || at == 0) {
        return TAPE_OK;
    }
    uint8_t key[RECORD_KEY_BYTES_MAX];
    slice encoded = {.data = key, .size = record_key(t->info, payload, key)};
    uint64_t old = 0;
    tape_status status =
        c->options.archived(c->options.archived_context, t->info, encoded, at, &old, error);
    if (status == TAPE_OK && old != 0) {
        ASSERT(old <= at);
        status = superseded_note(c, t->map, old, seq);
    }
    return status;
}

/* A hot version is superseded: noted with it (C2) and, when the archive has taken it or is about
 * to, in the map (S3). */
static tape_status supersede_hot(columns *c, column_table *t, uint64_t row, uint64_t seq) {
    const chunk *k = table_chunk(t, row);
    if (row < t->handed_row) {
        tape_status status = superseded_note(c, t->map, row_seq(t, row), seq);
        if (status != TAPE_OK) {
            return status;
        }
    }
    atomic_store_explicit(&k->superseded[row % COLUMNS_CHUNK_ROWS], seq, memory_order_relaxed);
    return TAPE_OK;
}

/* Makes `row` the newest of its key. */
static tape_status newest_put(columns *c, column_table *t, uint64_t row, const chunk *k,
                              const uint8_t *payload, uint64_t hash, tape_error *error) {
    newest_shard *s = shard_of(t, hash);
    tape_status status = shard_reserve(c, t, s, row);
    if (status != TAPE_OK) {
        return status;
    }
    uint64_t in_chunk = row % COLUMNS_CHUNK_ROWS;
    uint64_t seq = ((const uint64_t *)k->arrays[0])[in_chunk];
    uint32_t mask = s->slot_count - 1;
    uint32_t at = (uint32_t)hash & mask;
    newest_slot *dead = NULL;
    newest_slot *slot = &s->slots[at];
    for (; slot->hash != 0; slot = &s->slots[at]) {
        uint64_t other = slot_row(*slot, row);
        if (other < t->live_first) {
            dead = dead == NULL ? slot : dead;
        } else if (slot->hash == slot_hash(hash) && key_is(t, other, k, in_chunk, payload)) {
            status = supersede_hot(c, t, other, seq);
            if (status == TAPE_OK) {
                slot->row = (uint32_t)row;
            }
            return status;
        }
        at = (at + 1) & mask;
    }
    status = supersede_archived(c, t, payload, seq, error);
    if (status == TAPE_OK) {
        s->taken += dead == NULL;
        slot = dead == NULL ? slot : dead;
        *slot = (newest_slot){.hash = slot_hash(hash), .row = (uint32_t)row};
    }
    return status;
}

/* Asks for what key_is will look at of the row that is likely to be the one before. */
static void newest_prefetch(const column_table *t, uint64_t hash) {
    const newest_shard *s = shard_of(t, hash);
    if (s->slot_count == 0) {
        return;
    }
    newest_slot slot = s->slots[(uint32_t)hash & (s->slot_count - 1)];
    uint64_t row = slot_row(slot, t->rows);
    if (slot.hash != slot_hash(hash) || row < t->live_first || row >= t->rows) {
        return;
    }
    const chunk *k = table_chunk(t, row);
    uint64_t at = row % COLUMNS_CHUNK_ROWS;
    __builtin_prefetch((const void *)&k->superseded[at], 1);
    for (uint32_t n = 0; n < t->info->key_count; n++) {
        uint32_t f = t->info->key_fields[n];
        __builtin_prefetch((const uint8_t *)k->arrays[f] + at * t->columns[f].row_bytes);
    }
}

uint32_t newest_add(columns *c, column_table *t, const uint8_t *const *payloads, uint32_t count,
                    tape_status *status, tape_error *error) {
    uint64_t hashes[AHEAD];
    chunk *k = table_chunk(t, t->rows);
    uint64_t at = t->rows % COLUMNS_CHUNK_ROWS;
    for (uint32_t i = 0; i < count; i++) {
        hashes[i] = key_hash(t, k, at + i, payloads[i]);
        const newest_shard *s = shard_of(t, hashes[i]);
        if (s->slot_count != 0) {
            __builtin_prefetch(&s->slots[(uint32_t)hashes[i] & (s->slot_count - 1)], 1);
        }
        atomic_store_explicit(&k->superseded[at + i], UINT64_MAX, memory_order_relaxed);
    }
    for (uint32_t i = 0; i < count; i++) {
        newest_prefetch(t, hashes[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        *status = newest_put(c, t, t->rows + i, k, payloads[i], hashes[i], error);
        if (*status != TAPE_OK) {
            return i;
        }
    }
    return count;
}
