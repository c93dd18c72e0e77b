/* memory.c: runs of memory that are freed all at once.
 *
 * The first blocks are small, the others are 2 MiB: a table of a few records stays small, a larger
 * one lies in huge pages. A run larger than a block has a block of its own.
 *
 * Pages that the system gives for the first time cost more than what is written into them: on a
 * virtual machine most of an insert. So blocks of 2 MiB go from a table that is done to the next
 * one, by way of the stock that they share.
 *
 * Threads: one; the stock has a lock, taken once per 2 MiB. Failure: NULL, and nothing changed. */
#include "memtable/memtable_internal.h"

#include "os/os.h"

#include <stdlib.h>

#define BLOCK_BYTES_FIRST KIB(16)
#define BLOCK_BYTES_SMALL_MAX KIB(256)
#define BLOCK_BYTES_LARGE OS_HUGE_PAGE_BYTES

struct memory_block {
    memory_block *next;
    size_t size; /* of all of it */
    size_t used; /* this header included */
};
_Static_assert(sizeof(memory_block) <= CACHE_LINE_BYTES, "the header takes one line");

/* --- the stock --- */

struct memtable_stock {
    pthread_mutex_t lock;
    memory_block *head; /* all of BLOCK_BYTES_LARGE */
    size_t count;
    size_t count_max;
};

memtable_stock *memtable_stock_create(uint64_t bytes_max) {
    memtable_stock *stock = mem_zalloc(sizeof *stock);
    ASSERT(pthread_mutex_init(&stock->lock, NULL) == 0);
    stock->count_max = bytes_max / BLOCK_BYTES_LARGE;
    return stock;
}

void memtable_stock_destroy(memtable_stock **stock_handle) {
    memtable_stock *stock = *stock_handle;
    if (stock == NULL) {
        return;
    }
    while (stock->head != NULL) {
        memory_block *block = stock->head;
        stock->head = block->next;
        os_memory_unmap(block, BLOCK_BYTES_LARGE);
    }
    pthread_mutex_destroy(&stock->lock);
    free(stock);
    *stock_handle = NULL;
}

uint64_t memtable_stock_bytes(memtable_stock *stock) {
    pthread_mutex_lock(&stock->lock);
    uint64_t bytes = stock->count * BLOCK_BYTES_LARGE;
    pthread_mutex_unlock(&stock->lock);
    return bytes;
}

static memory_block *block_get(memory *m, size_t block_bytes) {
    memory_block *block = NULL;
    if (m->stock != NULL && block_bytes == BLOCK_BYTES_LARGE) {
        pthread_mutex_lock(&m->stock->lock);
        block = m->stock->head;
        if (block != NULL) {
            m->stock->head = block->next;
            m->stock->count--;
        }
        pthread_mutex_unlock(&m->stock->lock);
    }
    return block != NULL ? block : os_memory_map(block_bytes);
}

static void block_put(memory *m, memory_block *block) {
    bool kept = false;
    if (m->stock != NULL && block->size == BLOCK_BYTES_LARGE) {
        pthread_mutex_lock(&m->stock->lock);
        kept = m->stock->count < m->stock->count_max;
        if (kept) {
            block->next = m->stock->head;
            m->stock->head = block;
            m->stock->count++;
        }
        pthread_mutex_unlock(&m->stock->lock);
    }
    if (!kept) {
        os_memory_unmap(block, block->size);
    }
}

/* --- runs --- */

static bool add_block(memory *m, size_t size) {
    if (size > SIZE_MAX / 2) {
        return false;
    }
    size_t block_bytes = BLOCK_BYTES_FIRST;
    if (m->head != NULL) {
        block_bytes = 4 * m->head->size;
        block_bytes = block_bytes <= BLOCK_BYTES_SMALL_MAX ? block_bytes : BLOCK_BYTES_LARGE;
    }
    size_t needed = size + CACHE_LINE_BYTES;
    if (needed > block_bytes) {
        block_bytes = ALIGN_UP(needed, needed > BLOCK_BYTES_LARGE ? BLOCK_BYTES_LARGE : KIB(4));
    }
    if (m->reserved_max != 0 && m->reserved_bytes + block_bytes > m->reserved_max) {
        return false;
    }
    memory_block *block = block_get(m, block_bytes);
    if (block == NULL) {
        return false;
    }
    if (m->head != NULL) {
        m->used_bytes += m->head->size - m->head->used;
    }
    *block = (memory_block){.next = m->head, .size = block_bytes, .used = CACHE_LINE_BYTES};
    m->head = block;
    m->used_bytes += CACHE_LINE_BYTES;
    m->reserved_bytes += block_bytes;
    return true;
}

void *memory_take(memory *m, size_t size, size_t align) {
    ASSERT(align != 0 && align <= CACHE_LINE_BYTES && (align & (align - 1)) == 0);
    size_t at = m->head == NULL ? 0 : ALIGN_UP(m->head->used, align);
    if (m->head == NULL || at > m->head->size || size > m->head->size - at) {
        if (!add_block(m, size)) {
            return NULL;
        }
        at = m->head->used;
    }
    m->used_bytes += at + size - m->head->used;
    m->head->used = at + size;
    return (uint8_t *)m->head + at;
}

void memory_give_back(memory *m, const void *run, size_t size) {
    if (m->head != NULL && (const uint8_t *)run + size == (uint8_t *)m->head + m->head->used) {
        m->head->used -= size;
        m->used_bytes -= size;
    }
}

void memory_deinit(memory *m) {
    while (m->head != NULL) {
        memory_block *block = m->head;
        m->head = block->next;
        block_put(m, block);
    }
    m->used_bytes = 0;
    m->reserved_bytes = 0;
}
