/* Dictionary: identifiers that repeat, each kept once.
 *
 * Invariants
 *  D1 A code, once given, stands for the same text until the end; codes count from 0.
 *  D2 Entries and their texts never move, so that readers may hold pointers to them.
 *  D3 An entry is complete before a row that uses its code is published.
 * Threads: one writer; readers follow codes below `count`, or of published rows. */
#include "columns/columns_internal.h"

#include <stdlib.h>

#define DICTIONARY_SLOTS_FIRST 1024u
#define DICTIONARY_TEXT_BLOCK_BYTES 4096u

tape_status dictionary_init(dictionary *d, const char *name) {
    *d = (dictionary){.name = name};
    d->blocks = calloc(DICTIONARY_BLOCKS, sizeof *d->blocks);
    if (d->blocks == NULL) {
        return TAPE_NO_MEMORY;
    }
    arena_init(&d->texts, DICTIONARY_TEXT_BLOCK_BYTES);
    return TAPE_OK;
}

void dictionary_deinit(dictionary *d) {
    if (d->blocks == NULL) {
        return;
    }
    for (uint32_t b = 0; b < DICTIONARY_BLOCKS && d->blocks[b] != NULL; b++) {
        free(d->blocks[b]);
    }
    free(d->blocks);
    free(d->slots);
    arena_deinit(&d->texts);
    *d = (dictionary){0};
}

static tape_status grow_slots(columns *c, dictionary *d) {
    uint32_t count = d->slot_count == 0 ? DICTIONARY_SLOTS_FIRST : d->slot_count * 2;
    uint64_t more = (uint64_t)(count - d->slot_count) * sizeof(dictionary_slot);
    tape_status status = count == 0 ? TAPE_BUSY : memory_reserve(c, more);
    if (status != TAPE_OK) {
        return status;
    }
    dictionary_slot *slots = calloc(count, sizeof *slots);
    if (slots == NULL) {
        memory_give(c, more);
        return TAPE_NO_MEMORY;
    }
    for (uint32_t s = 0; s < d->slot_count; s++) {
        if (d->slots[s].code_plus_1 == 0) {
            continue;
        }
        uint32_t at = d->slots[s].hash & (count - 1);
        while (slots[at].code_plus_1 != 0) {
            at = (at + 1) & (count - 1);
        }
        slots[at] = d->slots[s];
    }
    free(d->slots);
    d->slots = slots;
    d->slot_count = count;
    return TAPE_OK;
}

static bool text_is(const columns_text *entry, const char *id, uint32_t size) {
    if (entry->size != size) {
        return false;
    }
    const char *data = size <= COLUMNS_TEXT_INLINE_BYTES ? entry->inlined : entry->pointer;
    return bytes_equal(data, id, size);
}

/* Stores the text as entry `count`. */
static tape_status add_entry(columns *c, dictionary *d, uint32_t count, const char *text,
                             uint32_t size) {
    uint32_t block = count / DICTIONARY_BLOCK_ENTRIES;
    if (block == DICTIONARY_BLOCKS) {
        return TAPE_BUSY;
    }
    if (d->blocks[block] == NULL) {
        uint64_t more = DICTIONARY_BLOCK_ENTRIES * sizeof(columns_text);
        tape_status status = memory_reserve(c, more);
        if (status != TAPE_OK) {
            return status;
        }
        d->blocks[block] = malloc(more);
        if (d->blocks[block] == NULL) {
            memory_give(c, more);
            return TAPE_NO_MEMORY;
        }
    }
    const char *kept = text;
    if (size > COLUMNS_TEXT_INLINE_BYTES) {
        tape_status status = memory_reserve(c, size);
        if (status != TAPE_OK) {
            return status;
        }
        char *copy = arena_alloc(&d->texts, size, 1);
        if (copy == NULL) {
            memory_give(c, size);
            return TAPE_NO_MEMORY;
        }
        memcpy(copy, text, size);
        kept = copy;
    }
    columns_text_set(&d->blocks[block][count % DICTIONARY_BLOCK_ENTRIES], kept, size);
    return TAPE_OK;
}

tape_status dictionary_code(columns *c, dictionary *d, const char *id, uint32_t size, uint64_t hash,
                            uint32_t *code) {
    uint32_t count = atomic_load_explicit(&d->count, memory_order_relaxed);
    /* At most 7 of 10 slots are taken, so that probing stays short. */
    if ((uint64_t)count * 10 >= (uint64_t)d->slot_count * 7) {
        tape_status status = grow_slots(c, d);
        if (status != TAPE_OK) {
            return status;
        }
    }
    uint32_t at = (uint32_t)hash & (d->slot_count - 1);
    while (d->slots[at].code_plus_1 != 0) {
        uint32_t found = d->slots[at].code_plus_1 - 1;
        if (d->slots[at].hash == (uint32_t)hash && text_is(dictionary_text(d, found), id, size)) {
            *code = found;
            return TAPE_OK;
        }
        at = (at + 1) & (d->slot_count - 1);
    }
    tape_status status = add_entry(c, d, count, id, size);
    if (status != TAPE_OK) {
        return status;
    }
    *code = count;
    d->slots[at] = (dictionary_slot){.code_plus_1 = count + 1, .hash = (uint32_t)hash};
    atomic_store_explicit(&d->count, count + 1, memory_order_release);
    return TAPE_OK;
}
