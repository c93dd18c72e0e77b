/* flat: builds one FlatBuffer, the encoding of Arrow's metadata. Private to cli/.
 *
 * The buffer grows downwards: what is referred to is written first. A flat_ref is the distance of
 * an object's first byte from the end of the buffer; 0 is no object. */
#ifndef CLI_FLAT_H
#define CLI_FLAT_H

#include "base/base.h"

typedef uint32_t flat_ref;

#define FLAT_FIELDS_MAX 8

typedef struct flat {
    uint8_t *data;
    size_t capacity;
    size_t used; /* bytes at the end of `data` */
    size_t align;
    /* the table being written */
    flat_ref fields[FLAT_FIELDS_MAX];
    size_t table_start;
} flat;

void flat_deinit(flat *f);
/* Forgets what was written, keeps the memory. */
void flat_reset(flat *f);

flat_ref flat_string(flat *f, const char *text, size_t size);
/* `count` structs or scalars of `size` bytes each, as they lie in memory. */
flat_ref flat_vector(flat *f, const void *items, size_t count, size_t size, size_t align);
flat_ref flat_vector_refs(flat *f, const flat_ref *refs, size_t count);

/* Tables do not nest: everything a table refers to is written before flat_table_begin. */
void flat_table_begin(flat *f);
void flat_u8(flat *f, int field, uint8_t value);
void flat_i16(flat *f, int field, int16_t value);
void flat_i32(flat *f, int field, int32_t value);
void flat_i64(flat *f, int field, int64_t value);
void flat_set_ref(flat *f, int field, flat_ref ref); /* 0: leaves the field out */
flat_ref flat_table_end(flat *f);

/* Ends the buffer. The bytes are valid until the next call on `f`. */
slice flat_finish(flat *f, flat_ref root);

#endif
