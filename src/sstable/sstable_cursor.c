/* sstable_cursor.c: going through the entries in both directions.
 *
 * States: not valid (at first; before the first entry, behind the last; after an error) and valid.
 * Seeking leads to either; next and prev start from a valid place. */
#include "sstable/sstable_internal.h"

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
    return c->block == 0 ? TAPE_OK : cursor_show_last(c, c->block - 1, error);
}
