/* flat: builds one FlatBuffer.
 *
 * Format: as published for FlatBuffers: a table starts with the signed distance back to its vtable
 * (u16 size of the vtable, u16 size of the table, u16 offset of each field or 0); references are
 * unsigned distances forward; vectors and strings start with a u32 count; everything is aligned to
 * its size, counted from the buffer's start, which the padding at the end of the writing makes
 * true. */
#include "cli/flat.h"

#include <stdlib.h>

void flat_deinit(flat *f) {
    free(f->data);
    *f = (flat){0};
}

void flat_reset(flat *f) {
    f->used = 0;
    f->align = 1;
}

static void reserve(flat *f, size_t more) {
    size_t need = 0;
    ASSERT(!__builtin_add_overflow(f->used, more, &need) && need < UINT32_MAX / 2);
    if (need <= f->capacity) {
        return;
    }
    size_t capacity = f->capacity < 256 ? 256 : f->capacity;
    while (capacity < need) {
        capacity *= 2;
    }
    uint8_t *data = mem_alloc(capacity);
    if (f->used > 0) {
        memcpy(data + capacity - f->used, f->data + f->capacity - f->used, f->used);
    }
    free(f->data);
    f->data = data;
    f->capacity = capacity;
}

static void put(flat *f, const void *bytes, size_t size) {
    reserve(f, size);
    f->used += size;
    if (size > 0) {
        memcpy(f->data + f->capacity - f->used, bytes, size);
    }
}

/* Pads so that after `size` more bytes the place is a multiple of `align`. */
static void align_before(flat *f, size_t size, size_t align) {
    static const uint8_t zeros[16];
    ASSERT(align <= sizeof zeros);
    f->align = align > f->align ? align : f->align;
    put(f, zeros, (align - (f->used + size) % align) % align);
}

static void put_aligned(flat *f, const void *bytes, size_t size) {
    align_before(f, size, size);
    put(f, bytes, size);
}

static flat_ref here(const flat *f) {
    return (flat_ref)f->used;
}

flat_ref flat_string(flat *f, const char *text, size_t size) {
    align_before(f, size + 1, sizeof(uint32_t));
    put(f, "", 1);
    put(f, text, size);
    put_aligned(f, &(uint32_t){(uint32_t)size}, sizeof(uint32_t));
    return here(f);
}

flat_ref flat_vector(flat *f, const void *items, size_t count, size_t size, size_t align) {
    size_t bytes = 0;
    ASSERT(!__builtin_mul_overflow(count, size, &bytes));
    align_before(f, bytes, sizeof(uint32_t));
    align_before(f, bytes, align);
    put(f, items, bytes);
    put_aligned(f, &(uint32_t){(uint32_t)count}, sizeof(uint32_t));
    return here(f);
}

flat_ref flat_vector_refs(flat *f, const flat_ref *refs, size_t count) {
    align_before(f, count * sizeof(uint32_t), sizeof(uint32_t));
    for (size_t i = count; i > 0; i--) {
        uint32_t forward = (uint32_t)f->used + (uint32_t)sizeof(uint32_t) - refs[i - 1];
        put(f, &forward, sizeof forward);
    }
    put_aligned(f, &(uint32_t){(uint32_t)count}, sizeof(uint32_t));
    return here(f);
}

void flat_table_begin(flat *f) {
    memset(f->fields, 0, sizeof f->fields);
    f->table_start = f->used;
}

static void set(flat *f, int field, const void *value, size_t size) {
    ASSERT(field >= 0 && field < FLAT_FIELDS_MAX);
    put_aligned(f, value, size);
    f->fields[field] = here(f);
}

void flat_u8(flat *f, int field, uint8_t value) {
    set(f, field, &value, sizeof value);
}

void flat_i16(flat *f, int field, int16_t value) {
    set(f, field, &value, sizeof value);
}

void flat_i32(flat *f, int field, int32_t value) {
    set(f, field, &value, sizeof value);
}

void flat_i64(flat *f, int field, int64_t value) {
    set(f, field, &value, sizeof value);
}

void flat_set_ref(flat *f, int field, flat_ref ref) {
    if (ref == 0) {
        return;
    }
    align_before(f, sizeof(uint32_t), sizeof(uint32_t));
    uint32_t forward = (uint32_t)f->used + (uint32_t)sizeof(uint32_t) - ref;
    set(f, field, &forward, sizeof forward);
}

flat_ref flat_table_end(flat *f) {
    put_aligned(f, &(int32_t){0}, sizeof(int32_t));
    flat_ref table = here(f);
    size_t count = FLAT_FIELDS_MAX;
    while (count > 0 && f->fields[count - 1] == 0) {
        count--;
    }
    for (size_t i = count; i > 0; i--) {
        flat_ref field = f->fields[i - 1];
        put_aligned(f, &(uint16_t){(uint16_t)(field == 0 ? 0 : table - field)}, sizeof(uint16_t));
    }
    put_aligned(f, &(uint16_t){(uint16_t)(table - f->table_start)}, sizeof(uint16_t));
    put_aligned(f, &(uint16_t){(uint16_t)(2 * (count + 2))}, sizeof(uint16_t));
    int32_t back = (int32_t)(here(f) - table);
    memcpy(f->data + f->capacity - table, &back, sizeof back);
    return table;
}

slice flat_finish(flat *f, flat_ref root) {
    align_before(f, sizeof(uint32_t), f->align < sizeof(uint32_t) ? sizeof(uint32_t) : f->align);
    uint32_t forward = (uint32_t)f->used + (uint32_t)sizeof(uint32_t) - root;
    put(f, &forward, sizeof forward);
    return (slice){f->data + f->capacity - f->used, f->used};
}
