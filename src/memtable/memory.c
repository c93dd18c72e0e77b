/* memory.c: runs of memory that are freed all at once.
 *
 * Blocks grow from 16 KiB to 2 MiB: a table of a few records stays small, a large one lies in huge
 * pages. A run larger than a block has a block of its own.
 *
 * Threads: one. Failure: NULL, and nothing changed. */
#include "memtable/memtable_internal.h"

#include "os/os.h"

#define BLOCK_BYTES_FIRST KIB(16)
#define BLOCK_BYTES_LARGE OS_HUGE_PAGE_BYTES

struct memory_block {
    memory_block *next;
    size_t size; /* of all of it */
    size_t used; /* this header included */
};
_Static_assert(sizeof(memory_block) <= CACHE_LINE_BYTES, "the header takes one line");

static bool add_block(memory *m, size_t size) {
    if (size > SIZE_MAX / 2) {
        return false;
    }
    size_t block_bytes = BLOCK_BYTES_FIRST;
    if (m->head != NULL) {
        block_bytes = 2 * m->head->size < BLOCK_BYTES_LARGE ? 2 * m->head->size : BLOCK_BYTES_LARGE;
    }
    size_t needed = size + CACHE_LINE_BYTES;
    if (needed > block_bytes) {
        block_bytes = ALIGN_UP(needed, needed > BLOCK_BYTES_LARGE ? BLOCK_BYTES_LARGE : KIB(4));
    }
    if (m->reserved_max != 0 && m->reserved_bytes + block_bytes > m->reserved_max) {
        return false;
    }
    memory_block *block = os_memory_map(block_bytes);
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
        os_memory_unmap(block, block->size);
    }
    m->used_bytes = 0;
    m->reserved_bytes = 0;
}
