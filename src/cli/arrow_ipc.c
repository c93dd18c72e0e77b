/* Results as an Arrow IPC stream.
 *
 * Purpose: the Arrow writer of result_write; what pyarrow, Polars or any Arrow library opens as a
 * stream.
 * Format: each message is u32 0xFFFFFFFF, i32 size of the metadata, the metadata (a FlatBuffer
 * Message, padded to 8), the body (buffers, each padded to 8). First the schema, then for each
 * batch the dictionaries that are new or have changed and the record batch, at the end 0xFFFFFFFF
 * and a size of 0. Metadata version V5, no compression.
 * Invariants: (I1) field nodes and buffers follow the tree in pre-order, as the schema's fields do;
 * (I2) offsets in the stream start at 0 and arrays at row 0: slices are cut out, and copied only
 * where bits or offsets do not start there; (I3) the arrays outlive the writing of their message.
 * Failure: a failed result has no end-of-stream mark, so that no reader takes it for whole. */
#include "cli/flat.h"
#include "cli/result_internal.h"

#include <stdlib.h>

enum { MESSAGE_SCHEMA = 1, MESSAGE_DICTIONARY = 2, MESSAGE_RECORDS = 3 };
#define METADATA_V5 4
#define BODY_ALIGN 8u

typedef struct ipc_field_node {
    int64_t length;
    int64_t null_count;
} ipc_field_node;

typedef struct ipc_buffer {
    int64_t offset;
    int64_t length;
} ipc_buffer;

typedef struct ipc_state {
    flat flat;
    buffer nodes;    /* ipc_field_node */
    buffer buffers;  /* ipc_buffer */
    buffer parts;    /* slice: what the buffers hold */
    buffer variadic; /* int64_t */
    int64_t body_bytes;
    arena copies;
    uint32_t *dictionary_crc; /* of the one sent last, by id */
    bool *dictionary_sent;
} ipc_state;

/* --- schema --- */

enum {
    TYPE_NULL = 1,
    TYPE_INT = 2,
    TYPE_FLOAT = 3,
    TYPE_BINARY = 4,
    TYPE_UTF8 = 5,
    TYPE_BOOL = 6,
    TYPE_DECIMAL = 7,
    TYPE_DATE = 8,
    TYPE_TIME = 9,
    TYPE_TIMESTAMP = 10,
    TYPE_INTERVAL = 11,
    TYPE_LIST = 12,
    TYPE_STRUCT = 13,
    TYPE_UNION = 14,
    TYPE_FIXED_BINARY = 15,
    TYPE_FIXED_LIST = 16,
    TYPE_MAP = 17,
    TYPE_DURATION = 18,
    TYPE_LARGE_BINARY = 19,
    TYPE_LARGE_UTF8 = 20,
    TYPE_LARGE_LIST = 21,
    TYPE_BINARY_VIEW = 23,
    TYPE_UTF8_VIEW = 24,
};

static uint8_t type_of(const arrow_node *node) {
    static const uint8_t types[] = {
        [ARROW_NULL] = TYPE_NULL,
        [ARROW_BOOL] = TYPE_BOOL,
        [ARROW_INT] = TYPE_INT,
        [ARROW_FLOAT] = TYPE_FLOAT,
        [ARROW_DECIMAL] = TYPE_DECIMAL,
        [ARROW_FIXED_BINARY] = TYPE_FIXED_BINARY,
        [ARROW_DATE] = TYPE_DATE,
        [ARROW_TIME] = TYPE_TIME,
        [ARROW_TIMESTAMP] = TYPE_TIMESTAMP,
        [ARROW_DURATION] = TYPE_DURATION,
        [ARROW_INTERVAL] = TYPE_INTERVAL,
        [ARROW_FIXED_LIST] = TYPE_FIXED_LIST,
        [ARROW_STRUCT] = TYPE_STRUCT,
        [ARROW_MAP] = TYPE_MAP,
        [ARROW_UNION] = TYPE_UNION,
    };
    bool large = node->bits == 64;
    switch (node->kind) {
    case ARROW_UTF8:
        return node->is_view ? TYPE_UTF8_VIEW : large ? TYPE_LARGE_UTF8 : TYPE_UTF8;
    case ARROW_BINARY:
        return node->is_view ? TYPE_BINARY_VIEW : large ? TYPE_LARGE_BINARY : TYPE_BINARY;
    case ARROW_LIST:
        return large ? TYPE_LARGE_LIST : TYPE_LIST;
    default:
        return types[node->kind];
    }
}

static flat_ref put_int_type(flat *f, const arrow_node *node) {
    flat_table_begin(f);
    flat_i32(f, 0, node->bits);
    flat_u8(f, 1, node->is_signed);
    return flat_table_end(f);
}

static flat_ref put_union_type(flat *f, const arrow_node *node) {
    int32_t ids[128];
    for (size_t i = 0; i < node->child_count; i++) {
        ids[i] = node->union_ids[i];
    }
    flat_ref vector = flat_vector(f, ids, node->child_count, sizeof ids[0], sizeof ids[0]);
    flat_table_begin(f);
    flat_i16(f, 0, node->is_dense);
    flat_set_ref(f, 1, vector);
    return flat_table_end(f);
}

static flat_ref put_timestamp_type(flat *f, const arrow_node *node) {
    flat_ref zone =
        node->timezone == NULL ? 0 : flat_string(f, node->timezone, strlen(node->timezone));
    flat_table_begin(f);
    flat_i16(f, 0, (int16_t)node->unit);
    flat_set_ref(f, 1, zone);
    return flat_table_end(f);
}

static flat_ref put_type(flat *f, const arrow_node *node) {
    switch (node->kind) {
    case ARROW_INT:
        return put_int_type(f, node);
    case ARROW_TIMESTAMP:
        return put_timestamp_type(f, node);
    case ARROW_UNION:
        return put_union_type(f, node);
    default:
        break;
    }
    flat_table_begin(f);
    switch (node->kind) {
    case ARROW_FLOAT:
        flat_i16(f, 0, node->bits == 16 ? 0 : node->bits == 32 ? 1 : 2);
        break;
    case ARROW_DECIMAL:
        flat_i32(f, 0, node->precision);
        flat_i32(f, 1, node->scale);
        flat_i32(f, 2, node->bits);
        break;
    case ARROW_TIME:
        flat_i16(f, 0, (int16_t)node->unit);
        flat_i32(f, 1, node->bits);
        break;
    case ARROW_DATE:
    case ARROW_DURATION:
    case ARROW_INTERVAL:
        flat_i16(f, 0, (int16_t)node->unit);
        break;
    case ARROW_FIXED_BINARY:
    case ARROW_FIXED_LIST:
        flat_i32(f, 0, node->fixed_size);
        break;
    case ARROW_MAP:
        flat_u8(f, 0, node->keys_sorted);
        break;
    default:
        break;
    }
    return flat_table_end(f);
}

static flat_ref put_metadata(flat *f, const uint8_t *metadata) {
    uint32_t count = metadata == NULL ? 0 : load_u32(metadata);
    if (count == 0) {
        return 0;
    }
    flat_ref *pairs = mem_alloc(count * sizeof *pairs);
    const uint8_t *at = metadata + 4;
    for (uint32_t i = 0; i < count; i++) {
        flat_ref text[2];
        for (int part = 0; part < 2; part++) {
            uint32_t size = load_u32(at);
            text[part] = flat_string(f, (const char *)at + 4, size);
            at += 4 + size;
        }
        flat_table_begin(f);
        flat_set_ref(f, 0, text[0]);
        flat_set_ref(f, 1, text[1]);
        pairs[i] = flat_table_end(f);
    }
    flat_ref vector = flat_vector_refs(f, pairs, count);
    free(pairs);
    return vector;
}

static flat_ref put_dictionary_encoding(flat *f, const arrow_node *node) {
    if (node->dictionary == NULL) {
        return 0;
    }
    flat_ref index = put_int_type(f, node);
    flat_table_begin(f);
    flat_i64(f, 0, (int64_t)node->dictionary_id);
    flat_set_ref(f, 1, index);
    flat_u8(f, 2, node->ordered);
    return flat_table_end(f);
}

/* A field's type is that of its values, also where a dictionary holds them. */
static flat_ref put_field(flat *f, const arrow_node *node) {
    const arrow_node *values = node->dictionary == NULL ? node : node->dictionary;
    flat_ref *children = mem_alloc(values->child_count * sizeof *children);
    for (size_t i = 0; i < values->child_count; i++) {
        children[i] = put_field(f, &values->children[i]);
    }
    flat_ref vector = flat_vector_refs(f, children, values->child_count);
    free(children);
    flat_ref metadata = put_metadata(f, node->metadata);
    flat_ref encoding = put_dictionary_encoding(f, node);
    flat_ref type = put_type(f, values);
    flat_ref name = flat_string(f, node->name, strlen(node->name));
    flat_table_begin(f);
    flat_set_ref(f, 0, name);
    flat_u8(f, 1, node->nullable);
    flat_u8(f, 2, type_of(values));
    flat_set_ref(f, 3, type);
    flat_set_ref(f, 4, encoding);
    flat_set_ref(f, 5, vector);
    flat_set_ref(f, 6, metadata);
    return flat_table_end(f);
}

/* --- messages --- */

static void put_message(result_writer *w, uint8_t kind, flat_ref header, int64_t body_bytes) {
    static const uint8_t zeros[BODY_ALIGN];
    ipc_state *s = w->state;
    flat *f = &s->flat;
    flat_table_begin(f);
    flat_i64(f, 3, body_bytes);
    flat_set_ref(f, 2, header);
    flat_i16(f, 0, METADATA_V5);
    flat_u8(f, 1, kind);
    slice message = flat_finish(f, flat_table_end(f));
    uint64_t padded = ALIGN_UP(message.size, BODY_ALIGN);
    uint8_t prefix[8];
    store_u32(prefix, UINT32_MAX);
    store_u32(prefix + 4, (uint32_t)padded);
    result_out_append(&w->out, prefix, sizeof prefix);
    result_out_append(&w->out, message.data, message.size);
    result_out_append(&w->out, zeros, (size_t)(padded - message.size));
    const slice *parts = (const slice *)s->parts.data;
    for (size_t i = 0; i < s->parts.size / sizeof *parts && body_bytes > 0; i++) {
        result_out_append(&w->out, parts[i].data, parts[i].size);
        result_out_append(&w->out, zeros,
                          (size_t)(ALIGN_UP(parts[i].size, BODY_ALIGN) - parts[i].size));
    }
    flat_reset(f);
}

/* --- arrays --- */

static void put_part(ipc_state *s, const void *data, size_t size) {
    ipc_buffer place = {s->body_bytes, (int64_t)size};
    slice part = {data, size};
    buffer_append(&s->buffers, &place, sizeof place);
    buffer_append(&s->parts, &part, sizeof part);
    s->body_bytes += (int64_t)ALIGN_UP(size, BODY_ALIGN);
}

static void *copy_of(ipc_state *s, size_t size) {
    void *copy = arena_alloc(&s->copies, size == 0 ? 1 : size, 8);
    ASSERT(copy != NULL);
    return copy;
}

/* `length` bits from bit `from`. */
static void put_bits(ipc_state *s, const uint8_t *bits, int64_t from, int64_t length) {
    size_t size = (size_t)((length + 7) / 8);
    if (size == 0) {
        put_part(s, NULL, 0);
        return;
    }
    bits += from / 8;
    int shift = (int)(from % 8);
    if (shift == 0) {
        put_part(s, bits, size);
        return;
    }
    uint8_t *copy = copy_of(s, size);
    size_t have = (size_t)((from % 8 + length + 7) / 8);
    for (size_t i = 0; i < size; i++) {
        int next = i + 1 < have ? bits[i + 1] : 0;
        copy[i] = (uint8_t)(bits[i] >> shift | next << (8 - shift));
    }
    put_part(s, copy, size);
}

static int64_t count_nulls(const arrow_node *node, const struct ArrowArray *array, int64_t from,
                           int64_t length) {
    bool whole = from == array->offset && length == array->length;
    if (node->kind == ARROW_NULL) {
        return length;
    }
    if (whole && array->null_count >= 0) {
        return array->null_count;
    }
    int64_t nulls = 0;
    for (int64_t i = 0; i < length; i++) {
        nulls += arrow_is_null(node, array, from + i - array->offset);
    }
    return nulls;
}

/* Offsets of rows [from, from + length], made to start at 0; *first and *size are what they span.
 * */
static void put_offsets(ipc_state *s, const arrow_node *node, const struct ArrowArray *array,
                        int64_t from, int64_t length, int64_t *first, int64_t *size) {
    static const uint8_t zero[8];
    size_t width = (size_t)node->bits / 8;
    *first = 0;
    *size = 0;
    if (length == 0) {
        put_part(s, zero, width);
        return;
    }
    const uint8_t *offsets = (const uint8_t *)array->buffers[1] + (size_t)from * width;
    const uint8_t *last = offsets + (size_t)length * width;
    *first = width == 8 ? (int64_t)load_u64(offsets) : (int64_t)load_u32(offsets);
    *size = (width == 8 ? (int64_t)load_u64(last) : (int64_t)load_u32(last)) - *first;
    size_t bytes = (size_t)(length + 1) * width;
    if (*first == 0) {
        put_part(s, offsets, bytes);
        return;
    }
    uint8_t *copy = copy_of(s, bytes);
    for (int64_t i = 0; i <= length; i++) {
        size_t at = (size_t)i * width;
        if (width == 8) {
            store_u64(copy + at, load_u64(offsets + at) - (uint64_t)*first);
        } else {
            store_u32(copy + at, load_u32(offsets + at) - (uint32_t)*first);
        }
    }
    put_part(s, copy, bytes);
}

static void put_fixed(ipc_state *s, const void *data, int64_t from, int64_t length, size_t width) {
    const uint8_t *start = data == NULL ? NULL : (const uint8_t *)data + (size_t)from * width;
    put_part(s, start, (size_t)length * width);
}

static void put_views(ipc_state *s, const struct ArrowArray *array, int64_t from, int64_t length) {
    put_fixed(s, array->buffers[1], from, length, 16);
    int64_t count = array->n_buffers - 3;
    const int64_t *sizes = count > 0 ? array->buffers[array->n_buffers - 1] : NULL;
    count = count < 0 ? 0 : count;
    for (int64_t i = 0; i < count; i++) {
        put_part(s, array->buffers[2 + i], (size_t)sizes[i]);
    }
    buffer_append(&s->variadic, &count, sizeof count);
}

static void put_array(ipc_state *s, const arrow_node *node, const struct ArrowArray *array,
                      int64_t from, int64_t length);

static void put_children(ipc_state *s, const arrow_node *node, const struct ArrowArray *array,
                         int64_t from, int64_t length) {
    for (size_t i = 0; i < node->child_count; i++) {
        const struct ArrowArray *child = array->children[i];
        put_array(s, &node->children[i], child, child->offset + from, length);
    }
}

static void put_union(ipc_state *s, const arrow_node *node, const struct ArrowArray *array,
                      int64_t from, int64_t length) {
    put_fixed(s, array->buffers[0], from, length, 1);
    if (!node->is_dense) {
        put_children(s, node, array, from, length);
        return;
    }
    put_fixed(s, array->buffers[1], from, length, 4);
    for (size_t i = 0; i < node->child_count; i++) {
        const struct ArrowArray *child = array->children[i];
        put_array(s, &node->children[i], child, child->offset, child->length);
    }
}

/* Rows [from, from + length) of the array's buffers; the array's own offset is in `from`. */
static void put_array(ipc_state *s, const arrow_node *node, const struct ArrowArray *array,
                      int64_t from, int64_t length) {
    ipc_field_node field = {length, count_nulls(node, array, from, length)};
    int64_t first = 0;
    int64_t size = 0;
    buffer_append(&s->nodes, &field, sizeof field);
    if (node->kind == ARROW_NULL) {
        return;
    }
    if (node->kind != ARROW_UNION) {
        put_bits(s, array->buffers[0], from, field.null_count == 0 ? 0 : length);
    }
    switch (node->kind) {
    case ARROW_BOOL:
        put_bits(s, array->buffers[1], from, length);
        break;
    case ARROW_UTF8:
    case ARROW_BINARY:
        if (node->is_view) {
            put_views(s, array, from, length);
            break;
        }
        put_offsets(s, node, array, from, length, &first, &size);
        put_fixed(s, array->buffers[2], first, size, 1);
        break;
    case ARROW_FIXED_BINARY:
        put_fixed(s, array->buffers[1], from, length, (size_t)node->fixed_size);
        break;
    case ARROW_LIST:
    case ARROW_MAP:
        put_offsets(s, node, array, from, length, &first, &size);
        put_children(s, node, array, first, size);
        break;
    case ARROW_FIXED_LIST:
        put_children(s, node, array, from * node->fixed_size, length * node->fixed_size);
        break;
    case ARROW_STRUCT:
        put_children(s, node, array, from, length);
        break;
    case ARROW_UNION:
        put_union(s, node, array, from, length);
        break;
    default:
        put_fixed(s, array->buffers[1], from, length, (size_t)node->bits / 8);
    }
}

static void forget_body(ipc_state *s) {
    s->nodes.size = 0;
    s->buffers.size = 0;
    s->parts.size = 0;
    s->variadic.size = 0;
    s->body_bytes = 0;
    arena_deinit(&s->copies);
}

static flat_ref put_record_batch(ipc_state *s, int64_t length) {
    flat *f = &s->flat;
    flat_ref variadic = 0;
    if (s->variadic.size > 0) {
        variadic = flat_vector(f, s->variadic.data, s->variadic.size / 8, 8, 8);
    }
    flat_ref buffers = flat_vector(f, s->buffers.data, s->buffers.size / sizeof(ipc_buffer),
                                   sizeof(ipc_buffer), 8);
    flat_ref nodes = flat_vector(f, s->nodes.data, s->nodes.size / sizeof(ipc_field_node),
                                 sizeof(ipc_field_node), 8);
    flat_table_begin(f);
    flat_i64(f, 0, length);
    flat_set_ref(f, 1, nodes);
    flat_set_ref(f, 2, buffers);
    flat_set_ref(f, 4, variadic);
    return flat_table_end(f);
}

static void put_dictionary(result_writer *w, const arrow_node *node,
                           const struct ArrowArray *values) {
    ipc_state *s = w->state;
    forget_body(s);
    put_array(s, node->dictionary, values, values->offset, values->length);
    uint32_t crc = crc32c(0, s->nodes.data, s->nodes.size);
    const slice *parts = (const slice *)s->parts.data;
    for (size_t i = 0; i < s->parts.size / sizeof *parts; i++) {
        crc = crc32c(crc, parts[i].data, parts[i].size);
    }
    size_t id = node->dictionary_id;
    if (s->dictionary_sent[id] && s->dictionary_crc[id] == crc) {
        return;
    }
    s->dictionary_sent[id] = true;
    s->dictionary_crc[id] = crc;
    flat_ref batch = put_record_batch(s, values->length);
    flat_table_begin(&s->flat);
    flat_i64(&s->flat, 0, (int64_t)id);
    flat_set_ref(&s->flat, 1, batch);
    flat_ref header = flat_table_end(&s->flat);
    put_message(w, MESSAGE_DICTIONARY, header, s->body_bytes);
}

/* Inner dictionaries first: those that refer to them come after. */
static void put_dictionaries(result_writer *w, const arrow_node *node,
                             const struct ArrowArray *array) {
    for (size_t i = 0; i < node->child_count; i++) {
        put_dictionaries(w, &node->children[i], array->children[i]);
    }
    if (node->dictionary != NULL) {
        put_dictionaries(w, node->dictionary, array->dictionary);
        put_dictionary(w, node, array->dictionary);
    }
}

static void arrow_begin(result_writer *w) {
    ipc_state *s = mem_zalloc(sizeof *s);
    w->state = s;
    arena_init(&s->copies, KIB(64));
    s->dictionary_crc = mem_zalloc(w->dictionaries * sizeof *s->dictionary_crc);
    s->dictionary_sent = mem_zalloc(w->dictionaries * sizeof *s->dictionary_sent);
    flat *f = &s->flat;
    flat_reset(f);
    flat_ref *fields = mem_alloc(w->root->child_count * sizeof *fields);
    for (size_t i = 0; i < w->root->child_count; i++) {
        fields[i] = put_field(f, &w->root->children[i]);
    }
    flat_ref vector = flat_vector_refs(f, fields, w->root->child_count);
    free(fields);
    flat_ref metadata = put_metadata(f, w->root->metadata);
    flat_table_begin(f);
    flat_i16(f, 0, 0); /* little-endian */
    flat_set_ref(f, 1, vector);
    flat_set_ref(f, 2, metadata);
    put_message(w, MESSAGE_SCHEMA, flat_table_end(f), 0);
}

static void arrow_batch(result_writer *w, const struct ArrowArray *batch) {
    ipc_state *s = w->state;
    put_dictionaries(w, w->root, batch);
    forget_body(s);
    put_children(s, w->root, batch, batch->offset, batch->length);
    put_message(w, MESSAGE_RECORDS, put_record_batch(s, batch->length), s->body_bytes);
}

static void arrow_end(result_writer *w) {
    static const uint8_t end_of_stream[8] = {0xff, 0xff, 0xff, 0xff};
    ipc_state *s = w->state;
    if (!w->failed) {
        result_out_append(&w->out, end_of_stream, sizeof end_of_stream);
    }
    forget_body(s);
    flat_deinit(&s->flat);
    buffer_deinit(&s->nodes);
    buffer_deinit(&s->buffers);
    buffer_deinit(&s->parts);
    buffer_deinit(&s->variadic);
    free(s->dictionary_crc);
    free(s->dictionary_sent);
    free(s);
}

const result_writer_class result_arrow_writer = {arrow_begin, arrow_batch, arrow_end};
