/* sstable_cursor.c: going through the entries in both directions.
 *
 * States: not valid (at first; before the first entry, behind the last; after an error) and valid.
 * Seeking leads to either; next and prev start from a valid place. */
#include "sstable/sstable_internal.h"

#define FETCH_STEPS 4u
#define FETCH_BYTES KIB(512)

void sstable_cursor_init(sstable_cursor *c, sstable *t) {
    *c = (sstable_cursor){.table = t};
}

void sstable_cursor_deinit(sstable_cursor *c) {
    buffer_deinit(&c->scratch);
    *c = (sstable_cursor){0};
}

static tape_status cursor_load(sstable_cursor *c, uint64_t block, tape_error *error) {
    if (c->view.entries != NULL && c->block == block) {
        return TAPE_OK;
    }
    tape_status status = sstable_block_load(c->table, block, false, &c->scratch, &c->view, error);
    if (status != TAPE_OK) {
        c->view.entries = NULL;
    }
    c->block = block;
    return status;
}

/* Tables are mapped for reading at random: what a cursor that goes on and on will need is asked for
 * ahead, once it has shown that it does. */
static void fetch_ahead(sstable_cursor *c, bool forward) {
    const sstable *t = c->table;
    if (++c->steps < FETCH_STEPS || t->map.data == NULL) {
        c->fetched = forward ? 0 : UINT64_MAX;
        return;
    }
    uint64_t at = c->view.offset;
    if (forward && at + FETCH_BYTES / 2 > c->fetched && c->fetched < t->data_bytes) {
        uint64_t from = c->fetched > at ? c->fetched : at;
        uint64_t end = at + FETCH_BYTES < t->data_bytes ? at + FETCH_BYTES : t->data_bytes;
        os_map_fetch(&t->map, from, end - from);
        c->fetched = end;
    } else if (!forward && (c->fetched > at || at - c->fetched < FETCH_BYTES / 2) &&
               c->fetched > 0) {
        uint64_t end = c->fetched < at ? c->fetched : at;
        uint64_t from = at > FETCH_BYTES ? at - FETCH_BYTES : 0;
        os_map_fetch(&t->map, from, end - from);
        c->fetched = from;
    }
}

static inline void cursor_show(sstable_cursor *c, uint32_t entry) {
    c->entry = entry;
    c->valid = true;
    sstable_block_entry(c->table, &c->view, entry, &c->record);
}

static tape_status cursor_show_last(sstable_cursor *c, uint64_t block, tape_error *error) {
    tape_status status = cursor_load(c, block, error);
    if (status == TAPE_OK) {
        cursor_show(c, c->view.count - 1);
    }
    return status;
}

/* The block and entry at or after (key, seq); the number of blocks when there is none. */
static tape_status cursor_find(sstable_cursor *c, slice key, uint64_t seq, uint64_t *block,
                               uint32_t *entry, tape_error *error) {
    sstable *t = c->table;
    const sstable_info *info = &t->info;
    tape_status status = sstable_index_check(t, false, error);
    if (status != TAPE_OK) {
        return status;
    }
    *entry = 0;
    if (slice_compare(key, t->index.min_key) < 0) {
        *block = 0;
        return TAPE_OK;
    }
    slice max_key = {info->max_key, info->max_key_size};
    if (sstable_compare(max_key, info->last_seq, key, seq) < 0) {
        *block = t->index.blocks;
        return TAPE_OK;
    }
    *block = sstable_index_find(&t->index, key, seq);
    status = cursor_load(c, *block, error);
    if (status == TAPE_OK) {
        *entry = sstable_block_seek(t, &c->view, 0, key, seq);
        if (UNLIKELY(*entry == c->view.count)) {
            c->view.entries = NULL;
            status = sstable_block_changed(t, *block, error);
        }
    }
    return status;
}

tape_status sstable_cursor_seek(sstable_cursor *c, slice key, uint64_t seq, tape_error *error) {
    uint64_t block;
    uint32_t entry;
    c->valid = false;
    c->steps = 0;
    tape_status status = cursor_find(c, key, seq, &block, &entry, error);
    if (status != TAPE_OK || block == c->table->index.blocks) {
        return status;
    }
    status = cursor_load(c, block, error);
    if (status == TAPE_OK) {
        cursor_show(c, entry);
    }
    return status;
}

tape_status sstable_cursor_seek_before(sstable_cursor *c, slice key, uint64_t seq,
                                       tape_error *error) {
    uint64_t block;
    uint32_t entry;
    c->valid = false;
    c->steps = 0;
    tape_status status = cursor_find(c, key, seq, &block, &entry, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (entry > 0) {
        cursor_show(c, entry - 1);
        return TAPE_OK;
    }
    return block == 0 ? TAPE_OK : cursor_show_last(c, block - 1, error);
}

tape_status sstable_cursor_next(sstable_cursor *c, tape_error *error) {
    ASSERT(c->valid);
    if (LIKELY(c->entry + 1 < c->view.count)) {
        cursor_show(c, c->entry + 1);
        return TAPE_OK;
    }
    c->valid = false;
    if (c->block + 1 == c->table->index.blocks) {
        return TAPE_OK;
    }
    tape_status status = cursor_load(c, c->block + 1, error);
    if (status == TAPE_OK) {
        fetch_ahead(c, true);
        cursor_show(c, 0);
    }
    return status;
}

tape_status sstable_cursor_prev(sstable_cursor *c, tape_error *error) {
    ASSERT(c->valid);
    if (LIKELY(c->entry > 0)) {
        cursor_show(c, c->entry - 1);
        return TAPE_OK;
    }
    c->valid = false;
    if (c->block == 0) {
        return TAPE_OK;
    }
    tape_status status = cursor_show_last(c, c->block - 1, error);
    if (status == TAPE_OK) {
        fetch_ahead(c, false);
    }
    return status;
}
