/* Memory: arenas, growing buffers, allocation that ends the process when it fails. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

int slice_compare(slice a, slice b) {
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    if (order != 0) {
        return order;
    }
    return (a.size > b.size) - (a.size < b.size);
}

struct arena_block {
    arena_block *next;
    size_t size; /* of the bytes after this header */
    size_t used;
    uint8_t pad[CACHE_LINE_BYTES - sizeof(arena_block *) - 2 * sizeof(size_t)];
    uint8_t bytes[];
};
_Static_assert(offsetof(arena_block, bytes) == CACHE_LINE_BYTES, "blocks keep 64-byte alignment");

void arena_init(arena *a, size_t block_bytes) {
    *a = (arena){.block_bytes = ALIGN_UP(block_bytes, CACHE_LINE_BYTES)};
}

static bool arena_grow(arena *a, size_t size) {
    size_t body = size > a->block_bytes ? ALIGN_UP(size, CACHE_LINE_BYTES) : a->block_bytes;
    arena_block *block = aligned_alloc(CACHE_LINE_BYTES, sizeof(arena_block) + body);
    if (block == NULL) {
        return false;
    }
    block->size = body;
    block->used = 0;
    block->next = a->head;
    a->head = block;
    a->reserved_bytes += sizeof(arena_block) + body;
    return true;
}

void *arena_alloc(arena *a, size_t size, size_t align) {
    ASSERT(align != 0 && align <= CACHE_LINE_BYTES && (align & (align - 1)) == 0);
    if (size > SIZE_MAX / 2) {
        return NULL;
    }
    size_t at = a->head == NULL ? 0 : ALIGN_UP(a->head->used, align);
    if (a->head == NULL || at > a->head->size || size > a->head->size - at) {
        if (!arena_grow(a, size)) {
            return NULL;
        }
        at = 0;
    }
    a->head->used = at + size;
    a->used_bytes += size;
    return a->head->bytes + at;
}

void arena_deinit(arena *a) {
    while (a->head != NULL) {
        arena_block *next = a->head->next;
        free(a->head);
        a->head = next;
    }
    a->used_bytes = 0;
    a->reserved_bytes = 0;
}

_Noreturn static void memory_exhausted(size_t size) {
    log_line(LOG_ERROR, "out of memory: %zu bytes were asked for", size);
    abort();
}

void *mem_alloc(size_t size) {
    void *p = malloc(size == 0 ? 1 : size);
    if (p == NULL) {
        memory_exhausted(size);
    }
    return p;
}

void *mem_zalloc(size_t size) {
    void *p = calloc(1, size == 0 ? 1 : size);
    if (p == NULL) {
        memory_exhausted(size);
    }
    return p;
}

void *mem_realloc(void *old, size_t size) {
    void *p = realloc(old, size == 0 ? 1 : size);
    if (p == NULL) {
        memory_exhausted(size);
    }
    return p;
}

char *mem_strdup(const char *text) {
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc(size), text, size);
}

char *mem_printf(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *out = NULL;
    int length = vasprintf(&out, format, arguments);
    va_end(arguments);
    if (length < 0) {
        memory_exhausted(0);
    }
    return out;
}

void buffer_reserve(buffer *b, size_t more) {
    size_t need = 0;
    ASSERT(!__builtin_add_overflow(b->size, more, &need));
    if (need <= b->capacity) {
        return;
    }
    size_t capacity = b->capacity < 64 ? 64 : b->capacity;
    while (capacity < need) {
        ASSERT(capacity <= SIZE_MAX / 2);
        capacity *= 2;
    }
    b->data = mem_realloc(b->data, capacity);
    b->capacity = capacity;
}

void buffer_append(buffer *b, const void *data, size_t size) {
    if (size == 0) {
        return;
    }
    buffer_reserve(b, size);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

void buffer_append_text(buffer *b, const char *text) {
    buffer_append(b, text, strlen(text));
}

void buffer_printf(buffer *b, const char *format, ...) {
    buffer_reserve(b, 64);
    for (;;) {
        size_t room = b->capacity - b->size;
        va_list arguments;
        va_start(arguments, format);
        int length = vsnprintf((char *)b->data + b->size, room, format, arguments);
        va_end(arguments);
        ASSERT(length >= 0);
        if ((size_t)length < room) {
            b->size += (size_t)length;
            return;
        }
        buffer_reserve(b, (size_t)length + 1);
    }
}

void buffer_deinit(buffer *b) {
    free(b->data);
    *b = (buffer){0};
}
