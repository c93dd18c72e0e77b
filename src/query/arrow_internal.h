/* query, private: Arrow arrays and schemas of our own making.
 *
 * All of one is a single block with a count of its parts, so that a consumer may move parts out of
 * it and release them in any order, from any thread. */
#ifndef ARROW_INTERNAL_H
#define ARROW_INTERNAL_H

#include "base/base.h"

#include <tape/tape.h>

typedef enum arrow_kind {
    ARROW_U64,
    ARROW_TIME, /* int64 ns */
    ARROW_F64,  /* `elements` of them; more than one make a fixed-size list */
    ARROW_TEXT,
} arrow_kind;

typedef struct arrow_column {
    const char *name; /* stays the caller's until the schema is released */
    arrow_kind kind;
    uint32_t elements;
} arrow_column;

typedef struct arrow_cell {
    const void *data; /* copied; NULL: a NULL */
    uint32_t size;    /* in bytes */
} arrow_cell;

/* What is called when the last part of a block is released. */
typedef struct arrow_owner {
    void (*release)(void *context); /* may be NULL */
    void *context;
} arrow_owner;

/* As DuckDB gives it for the same columns. */
void arrow_schema_make(struct ArrowSchema *out, const arrow_column *columns, size_t count,
                       arrow_owner owner);
/* One row. */
void arrow_row_make(struct ArrowArray *out, const arrow_column *columns, const arrow_cell *cells,
                    size_t count);

/* The same values as `from`, whose buffers stay until the owner's release is called. */
void arrow_array_share(struct ArrowArray *out, const struct ArrowArray *from, arrow_owner owner);
/* A copy. */
void arrow_schema_copy(struct ArrowSchema *out, const struct ArrowSchema *from);

/* About how many bytes an array's buffers take; UINT64_MAX when its type is none we can tell of. */
uint64_t arrow_array_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array);

#endif
