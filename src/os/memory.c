/* Purpose: memory straight from the system, for what is large, lives long and is freed as a whole.
 *
 * Invariants
 * E1. Memory is zero-filled and takes pages only as it is touched.
 * E2. A piece of whole huge pages starts at one, so that the system can back it with them. */
#include "os/os.h"

#include <sys/mman.h>

void *os_memory_map(size_t size) {
    ASSERT(size > 0 && size % OS_DIRECT_ALIGN == 0);
    bool huge = size % OS_HUGE_PAGE_BYTES == 0;
    size_t mapped = 0;
    if (__builtin_add_overflow(size, huge ? OS_HUGE_PAGE_BYTES : 0, &mapped)) {
        return NULL;
    }
    uint8_t *from = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (from == MAP_FAILED) {
        return NULL;
    }
    if (!huge) {
        return from;
    }
    uint8_t *at = (uint8_t *)ALIGN_UP((uintptr_t)from, OS_HUGE_PAGE_BYTES);
    size_t before = (size_t)(at - from);
    if (before > 0) {
        (void)munmap(from, before);
    }
    if (before < OS_HUGE_PAGE_BYTES) {
        (void)munmap(at + size, OS_HUGE_PAGE_BYTES - before);
    }
    /* Where huge pages are not to be had the memory is as good, only slower. */
    (void)madvise(at, size, MADV_HUGEPAGE);
    return at;
}

void os_memory_unmap(void *memory, size_t size) {
    if (memory != NULL) {
        (void)munmap(memory, size);
    }
}
