/* Columns: the memory of chunks, and the pins that keep it. See P1 to P5 in README.md.
 *
 * Threads: everything here that is shared (pins, stock, figures, retired memory) is under the pin
 * mutex; the directory is the writer's, who adds chunks, and the reclaimer's, who takes out those
 * that nobody can reach any more. */
#include "columns/columns_internal.h"

#include <stdlib.h>

/* --- figures --- */

static void bytes_change(columns *c, uint64_t more, uint64_t less) {
    uint64_t bytes = atomic_load_explicit(&c->bytes, memory_order_relaxed);
    ASSERT(bytes + more >= less);
    atomic_store_explicit(&c->bytes, bytes + more - less, memory_order_relaxed);
}

static void chunk_free(chunk *k) {
    for (uint32_t f = 0; f < COLUMNS_FIELDS_MAX; f++) {
        if (k->heaps[f] != NULL) {
            for (uint32_t b = 0; b < COLUMNS_TEXT_BLOCKS; b++) {
                free(k->heaps[f]->blocks[b]);
            }
            free(k->heaps[f]);
        }
    }
    free(atomic_load_explicit(&k->versions, memory_order_relaxed));
    free(k->block);
    free(k);
}

static void chunks_free(chunk *list) {
    while (list != NULL) {
        chunk *next = list->next;
        chunk_free(list);
        list = next;
    }
}

/* Moves chunks from the stock to `*freed` until `bytes` more fit. */
static bool make_room(columns *c, uint64_t bytes, chunk **freed) {
    uint64_t used = atomic_load_explicit(&c->bytes, memory_order_relaxed);
    uint64_t max = c->options.bytes_max;
    if (bytes > max || used > max - bytes) {
        return false;
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        column_table *t = c->tables[id];
        while (t != NULL && t->stock != NULL && c->stock_bytes > max - bytes - used) {
            chunk *k = t->stock;
            t->stock = k->next;
            k->next = *freed;
            *freed = k;
            c->stock_bytes -= k->bytes;
        }
    }
    return true;
}

tape_status memory_reserve(columns *c, uint64_t bytes) {
    chunk *freed = NULL;
    pthread_mutex_lock(&c->pin_mutex);
    bool fits = make_room(c, bytes, &freed);
    if (fits) {
        bytes_change(c, bytes, 0);
    }
    pthread_mutex_unlock(&c->pin_mutex);
    chunks_free(freed);
    return fits ? TAPE_OK : TAPE_BUSY;
}

void memory_add(columns *c, uint64_t bytes) {
    pthread_mutex_lock(&c->pin_mutex);
    bytes_change(c, bytes, 0);
    pthread_mutex_unlock(&c->pin_mutex);
}

void memory_give(columns *c, uint64_t bytes) {
    pthread_mutex_lock(&c->pin_mutex);
    bytes_change(c, 0, bytes);
    pthread_mutex_unlock(&c->pin_mutex);
}

uint64_t columns_bytes(const columns *c) {
    return atomic_load_explicit(&c->bytes, memory_order_relaxed);
}

/* --- chunks --- */

static void zone_clear(chunk *k) {
    atomic_store_explicit(&k->ts_min, INT64_MAX, memory_order_relaxed);
    atomic_store_explicit(&k->ts_max, INT64_MIN, memory_order_relaxed);
    for (uint32_t w = 0; w < COUNT_OF(k->instruments); w++) {
        atomic_store_explicit(&k->instruments[w], 0, memory_order_relaxed);
    }
}

static chunk *chunk_create(const column_table *t) {
    chunk *k = calloc(1, sizeof *k);
    if (k == NULL) {
        return NULL;
    }
    k->block = malloc(t->block_bytes);
    bool whole = k->block != NULL;
    for (uint32_t f = 0; f < t->info->field_count && whole; f++) {
        k->arrays[f] = (uint8_t *)k->block + t->columns[f].offset;
        if (t->columns[f].kind == COLUMN_TEXT) {
            k->heaps[f] = calloc(1, sizeof *k->heaps[f]);
            whole = k->heaps[f] != NULL;
        }
    }
    if (!whole) {
        chunk_free(k);
        return NULL;
    }
    if (t->info->kind == TAPE_KIND_ENTITY) {
        k->superseded = (void *)((uint8_t *)k->block + t->superseded_offset);
    }
    return k;
}

/* A chunk that has been dropped, if there is one: its memory counts as used from here on. */
static chunk *stock_pop(columns *c, column_table *t) {
    pthread_mutex_lock(&c->pin_mutex);
    chunk *k = t->stock;
    if (k != NULL) {
        t->stock = k->next;
        k->next = NULL;
        c->stock_bytes -= k->bytes;
        bytes_change(c, k->bytes, 0);
    }
    pthread_mutex_unlock(&c->pin_mutex);
    for (uint32_t f = 0; k != NULL && f < COLUMNS_FIELDS_MAX; f++) {
        if (k->heaps[f] != NULL) {
            k->heaps[f]->used = 0;
        }
    }
    return k;
}

/* A chunk for the rows from t->rows on, if an earlier call that failed has not left one. */
static tape_status chunk_add(columns *c, column_table *t) {
    uint64_t index = t->rows / COLUMNS_CHUNK_ROWS;
    chunk_entry **page = &t->pages[index / COLUMNS_CHUNKS_PER_PAGE % COLUMNS_CHUNK_PAGES];
    if (*page == NULL) {
        *page = calloc(COLUMNS_CHUNKS_PER_PAGE, sizeof **page);
        if (*page == NULL) {
            return TAPE_NO_MEMORY;
        }
    }
    chunk_entry *entry = table_entry(t, index);
    if (entry->chunk != NULL) {
        return TAPE_OK;
    }
    chunk *k = stock_pop(c, t);
    if (k == NULL) {
        k = chunk_create(t);
    }
    if (k == NULL) {
        return TAPE_NO_MEMORY;
    }
    zone_clear(k);
    entry->chunk = k;
    atomic_store_explicit(&entry->last_seq, UINT64_MAX, memory_order_relaxed);
    return TAPE_OK;
}

tape_status chunk_reserve(columns *c, column_table *t) {
    ASSERT(t->rows == t->rows_reserved);
    uint64_t first = atomic_load_explicit(&t->first_chunk, memory_order_relaxed);
    if (t->rows - first * COLUMNS_CHUNK_ROWS >= COLUMNS_LIVE_ROWS_MAX - COLUMNS_CHUNK_ROWS) {
        return TAPE_BUSY;
    }
    if (t->newest != NULL) {
        newest_sweep(t);
    }
    if (t->rows % COLUMNS_CHUNK_ROWS == 0) {
        tape_status status = chunk_add(c, t);
        if (status != TAPE_OK) {
            return status;
        }
    }
    chunk *k = table_chunk(t, t->rows);
    if (k->used) {
        t->rows_reserved = t->rows + COLUMNS_CHUNK_ROWS;
        return TAPE_OK;
    }
    uint64_t bytes = (uint64_t)COLUMNS_STEP_ROWS * t->row_bytes;
    tape_status status = memory_reserve(c, bytes);
    if (status == TAPE_OK) {
        k->bytes += bytes;
        t->rows_reserved = t->rows + COLUMNS_STEP_ROWS;
    }
    return status;
}

void table_chunks_free(column_table *t) {
    for (uint32_t p = 0; p < COLUMNS_CHUNK_PAGES; p++) {
        for (uint32_t k = 0; t->pages[p] != NULL && k < COLUMNS_CHUNKS_PER_PAGE; k++) {
            if (t->pages[p][k].chunk != NULL) {
                chunk_free(t->pages[p][k].chunk);
            }
        }
        free(t->pages[p]);
    }
    chunks_free(t->stock);
}

/* --- giving back --- */

/* Takes the chunk out of the directory, into the stock when there is room, else to `*freed`. */
static void chunk_unlink(columns *c, column_table *t, chunk_entry *entry, chunk **freed) {
    chunk *k = entry->chunk;
    entry->chunk = NULL;
    bytes_change(c, 0, k->bytes);
    if (atomic_load_explicit(&k->versions, memory_order_relaxed) != NULL) {
        free(atomic_load_explicit(&k->versions, memory_order_relaxed));
        atomic_store_explicit(&k->versions, NULL, memory_order_relaxed);
        k->bytes -= COLUMNS_CHUNK_ROWS;
    }
    k->used = true;
    if (c->stock_bytes + k->bytes <= c->options.bytes_max / 4) {
        c->stock_bytes += k->bytes;
        k->next = t->stock;
        t->stock = k;
    } else {
        k->next = *freed;
        *freed = k;
    }
}

/* P2: what is at or below the base and below the base of every pin can go. */
static void reclaim(columns *c, chunk **freed, retired **gone) {
    uint64_t limit = atomic_load_explicit(&c->base, memory_order_relaxed);
    if (c->pin_oldest != NULL && c->pin_oldest->base < limit) {
        limit = c->pin_oldest->base;
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        column_table *t = c->tables[id];
        if (t == NULL) {
            continue;
        }
        uint64_t full =
            atomic_load_explicit(&t->published, memory_order_acquire) / COLUMNS_CHUNK_ROWS;
        uint64_t first = atomic_load_explicit(&t->first_chunk, memory_order_relaxed);
        for (; first < full; first++) {
            chunk_entry *entry = table_entry(t, first);
            if (atomic_load_explicit(&entry->last_seq, memory_order_relaxed) > limit) {
                break;
            }
            chunk_unlink(c, t, entry, freed);
        }
        atomic_store_explicit(&t->first_chunk, first, memory_order_release);
    }
    retired **r = &c->retired;
    while (*r != NULL && c->pin_oldest != NULL && (*r)->pin_number > c->pin_oldest->number) {
        r = &(*r)->next;
    }
    *gone = *r;
    *r = NULL;
    for (retired *g = *gone; g != NULL; g = g->next) {
        bytes_change(c, 0, g->bytes);
    }
}

static void retired_free(retired *gone) {
    while (gone != NULL) {
        retired *next = gone->next;
        free(gone);
        gone = next;
    }
}

void memory_retire(columns *c, retired *r, uint64_t bytes) {
    pthread_mutex_lock(&c->pin_mutex);
    r->bytes = bytes;
    r->pin_number = c->pin_number;
    r->next = c->retired;
    c->retired = r;
    pthread_mutex_unlock(&c->pin_mutex);
}

void columns_drop(columns *c, uint64_t seq) {
    chunk *freed = NULL;
    retired *gone = NULL;
    ASSERT(seq <= columns_seq(c));
    /* S4: else what superseded these rows so far would be forgotten with them. */
    ASSERT(seq <= atomic_load_explicit(&c->handed_done, memory_order_acquire));
    pthread_mutex_lock(&c->pin_mutex);
    if (seq > atomic_load_explicit(&c->base, memory_order_relaxed)) {
        for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
            if (c->tables[id] != NULL) {
                atomic_store_explicit(&c->tables[id]->base_row, table_row_after(c->tables[id], seq),
                                      memory_order_relaxed);
            }
        }
        atomic_store_explicit(&c->base, seq, memory_order_release);
        reclaim(c, &freed, &gone);
    }
    pthread_mutex_unlock(&c->pin_mutex);
    chunks_free(freed);
    retired_free(gone);
}

/* --- pins --- */

void pin_add(columns *c, columns_pin *pin) {
    pthread_mutex_lock(&c->pin_mutex);
    *pin = (columns_pin){.columns = c,
                         .older = c->pin_newest,
                         .base = atomic_load_explicit(&c->base, memory_order_relaxed),
                         .number = c->pin_number++};
    if (pin->older != NULL) {
        pin->older->newer = pin;
    } else {
        c->pin_oldest = pin;
    }
    c->pin_newest = pin;
    pthread_mutex_unlock(&c->pin_mutex);
}

void pin_add_oldest(columns *c, columns_pin *pin) {
    pthread_mutex_lock(&c->pin_mutex);
    columns_pin *oldest = c->pin_oldest;
    *pin = (columns_pin){.columns = c, .newer = oldest};
    if (oldest != NULL) {
        pin->base = oldest->base;
        pin->number = oldest->number;
        oldest->older = pin;
    } else {
        pin->base = atomic_load_explicit(&c->base, memory_order_relaxed);
        pin->number = c->pin_number++;
        c->pin_newest = pin;
    }
    c->pin_oldest = pin;
    pthread_mutex_unlock(&c->pin_mutex);
}

void pin_remove(columns_pin *pin) {
    columns *c = pin->columns;
    chunk *freed = NULL;
    retired *gone = NULL;
    pthread_mutex_lock(&c->pin_mutex);
    if (pin->newer != NULL) {
        pin->newer->older = pin->older;
    } else {
        c->pin_newest = pin->older;
    }
    if (pin->older != NULL) {
        pin->older->newer = pin->newer;
    } else {
        c->pin_oldest = pin->newer;
        reclaim(c, &freed, &gone);
    }
    pthread_mutex_unlock(&c->pin_mutex);
    chunks_free(freed);
    retired_free(gone);
}

columns_pin *columns_pin_open(columns *c) {
    columns_pin *pin = mem_alloc(sizeof *pin);
    pin_add(c, pin);
    return pin;
}

uint64_t columns_pin_base(const columns_pin *pin) {
    return pin->base;
}

void columns_pin_close(columns_pin **pin) {
    if (*pin != NULL) {
        pin_remove(*pin);
        free(*pin);
        *pin = NULL;
    }
}
