/* Dictionary: identifiers that repeat, each kept once.
 *
 * Invariants
 *  D1 A code, once given, stands for the same text until the end; codes count from 0.
 *  D2 Entries and their texts never move, so that readers may hold pointers to them.
 *  D3 An entry is complete before a row that uses its code is published.
 * Threads: one writer; readers only follow codes of published rows. */
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

static bool take(uint64_t *bytes, uint64_t bytes_max, uint64_t more) {
    if (more > bytes_max || *bytes > bytes_max - more) {
        return false;
    }
    *bytes += more;
    return true;
}

static bool grow_slots(dictionary *d, uint64_t *bytes, uint64_t bytes_max) {
    uint32_t count = d->slot_count == 0 ? DICTIONARY_SLOTS_FIRST : d->slot_count * 2;
    uint64_t more = (uint64_t)(count - d->slot_count) * sizeof(dictionary_slot);
    if (count == 0 || !take(bytes, bytes_max, more)) {
        return false;
    }
    dictionary_slot *slots = calloc(count, sizeof *slots);
    if (slots == NULL) {
        *bytes -= more;
        return false;
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
    return true;
}

static bool text_is(const columns_text *entry, const char *text, uint32_t size) {
    const char *data = entry->size <= COLUMNS_TEXT_INLINE_BYTES ? entry->inlined : entry->pointer;
    return entry->size == size && memcmp(data, text, size) == 0;
}

/* Stores the text as entry `d->count`. */
static bool add_entry(dictionary *d, const char *text, uint32_t size, uint64_t *bytes,
                      uint64_t bytes_max) {
    uint32_t block = d->count / DICTIONARY_BLOCK_ENTRIES;
    if (block == DICTIONARY_BLOCKS) {
        return false;
    }
    if (d->blocks[block] == NULL) {
        uint64_t more = DICTIONARY_BLOCK_ENTRIES * sizeof(columns_text);
        if (!take(bytes, bytes_max, more)) {
            return false;
        }
        d->blocks[block] = malloc(more);
        if (d->blocks[block] == NULL) {
            *bytes -= more;
            return false;
        }
    }
    const char *kept = text;
    if (size > COLUMNS_TEXT_INLINE_BYTES) {
        if (!take(bytes, bytes_max, size)) {
            return false;
        }
        char *copy = arena_alloc(&d->texts, size, 1);
        if (copy == NULL) {
            *bytes -= size;
            return false;
        }
        memcpy(copy, text, size);
        kept = copy;
    }
    columns_text_set(&d->blocks[block][d->count % DICTIONARY_BLOCK_ENTRIES], kept, size);
    return true;
}

bool dictionary_code(dictionary *d, const char *text, uint32_t size, uint32_t *code,
                     uint64_t *bytes, uint64_t bytes_max) {
    /* At most 7 of 10 slots are taken, so that probing stays short. */
    if ((uint64_t)d->count * 10 >= (uint64_t)d->slot_count * 7 &&
        !grow_slots(d, bytes, bytes_max)) {
        return false;
    }
    uint32_t hash = (uint32_t)hash_text(0, text, size);
    uint32_t at = hash & (d->slot_count - 1);
    while (d->slots[at].code_plus_1 != 0) {
        uint32_t found = d->slots[at].code_plus_1 - 1;
        if (d->slots[at].hash == hash && text_is(dictionary_text(d, found), text, size)) {
            *code = found;
            return true;
        }
        at = (at + 1) & (d->slot_count - 1);
    }
    if (!add_entry(d, text, size, bytes, bytes_max)) {
        return false;
    }
    *code = d->count;
    d->slots[at] = (dictionary_slot){.code_plus_1 = d->count + 1, .hash = hash};
    d->count++;
    return true;
}
