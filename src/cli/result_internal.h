/* Results of SQL as text and as Arrow streams. Private to cli/.
 *
 * A schema is read once into a tree of arrow_node; values are then taken from the batches by
 * walking tree and arrays together. The tree's depth is bounded (ARROW_DEPTH_MAX), so every walk
 * over it is. */
#ifndef CLI_RESULT_INTERNAL_H
#define CLI_RESULT_INTERNAL_H

#include "base/base.h"

#include <tape/tape.h>

#include <stdio.h>

/* --- the schema --- */

#define ARROW_DEPTH_MAX 64

typedef enum arrow_kind {
    ARROW_NULL,
    ARROW_BOOL,
    ARROW_INT,
    ARROW_FLOAT,
    ARROW_DECIMAL,
    ARROW_UTF8,
    ARROW_BINARY,
    ARROW_FIXED_BINARY,
    ARROW_DATE,
    ARROW_TIME,
    ARROW_TIMESTAMP,
    ARROW_DURATION,
    ARROW_INTERVAL,
    ARROW_LIST,
    ARROW_FIXED_LIST,
    ARROW_STRUCT,
    ARROW_MAP,
    ARROW_UNION,
} arrow_kind;

/* Units, numbered as in Arrow's own metadata. */
enum { ARROW_SECOND, ARROW_MILLI, ARROW_MICRO, ARROW_NANO };
enum { ARROW_DATE_DAY, ARROW_DATE_MILLI };
enum { ARROW_YEAR_MONTH, ARROW_DAY_TIME, ARROW_MONTH_DAY_NANO };

typedef struct arrow_node arrow_node;
struct arrow_node {
    arrow_kind kind;
    int bits;       /* of one value; of one offset for text, binary, list and map */
    bool is_signed; /* integers */
    bool is_view;   /* text and binary as 16-byte views */
    bool is_dense;  /* unions with offsets */
    bool nullable;
    bool keys_sorted; /* maps */
    bool ordered;     /* dictionaries */
    int unit;
    int precision, scale;
    int32_t fixed_size; /* fixed-size lists and binaries */
    char *name;
    char *timezone;    /* NULL: a local timestamp */
    uint8_t *metadata; /* key-value pairs in the form of the C data interface, or NULL */
    int8_t union_ids[128];
    int8_t union_child[128]; /* by type id; -1: none */
    arrow_node *children;
    size_t child_count;
    arrow_node *dictionary; /* the values' node; the rest of this node describes the indexes */
    size_t dictionary_id;   /* from 0, in the order of the tree */
};

/* Copies what is needed of a schema. INVALID names the column whose type is not known. */
/* `dictionaries` is the number of them; may be NULL. */
tape_status arrow_tree_open(const struct ArrowSchema *schema, arrow_node **out,
                            size_t *dictionaries, tape_error *error) TAPE_CHECKED;
void arrow_tree_close(arrow_node **root);
/* Whether the arrays have the shape the tree says: counts of buffers and children. */
tape_status arrow_tree_check(const arrow_node *root, const struct ArrowArray *array,
                             tape_error *error) TAPE_CHECKED;
/* Number of buffers an array of this node has, without the variadic ones of views. */
int arrow_node_buffers(const arrow_node *node);
/* The node, array and row that a union's value is in; NULL when its type id is none of the
 * schema's. */
const arrow_node *arrow_union_member(const arrow_node *node, const struct ArrowArray *array,
                                     int64_t row, const struct ArrowArray **member, int64_t *at);
/* A union's value is null when the member it is in has a null there. */
bool arrow_is_null(const arrow_node *node, const struct ArrowArray *array, int64_t row);
/* The bytes of a text or binary value that is not null. */
slice arrow_bytes(const arrow_node *node, const struct ArrowArray *array, int64_t row);
/* Where the children of a list or map begin and how many there are, in rows of the child. */
void arrow_list_range(const arrow_node *node, const struct ArrowArray *array, int64_t row,
                      int64_t *first, int64_t *count);

/* --- values as text --- */

/* JSON: a value of JSON. CSV: the same times and numbers, without quotes. TABLE: for people to
 * read. Nested values are JSON in all of them. */
typedef enum text_style { TEXT_JSON, TEXT_CSV, TEXT_TABLE } text_style;

void text_value(buffer *out, text_style style, const arrow_node *node,
                const struct ArrowArray *array, int64_t row);

void text_i64(buffer *out, int64_t value);
void text_u64(buffer *out, uint64_t value);
/* The shortest decimal that reads back exactly; "nan", "inf" and "-inf" for the rest. */
void text_f64(buffer *out, double value);
void text_f32(buffer *out, float value);
void text_decimal(buffer *out, __int128 value, int scale);
/* RFC 3339 in UTC with nine decimals. `seconds` and `ns` (0 .. 999,999,999) since 1970. */
void text_timestamp(buffer *out, text_style style, int64_t seconds, uint32_t ns, bool utc);
/* Day 0 is 1970-01-01. */
void text_date(buffer *out, int64_t day);
void text_time_of_day(buffer *out, text_style style, int64_t seconds, uint32_t ns);
/* "1 year 2 months 3 days 04:05:06.5" without what is zero. */
void text_interval(buffer *out, int64_t months, int64_t days, int64_t ns);
void text_json_string(buffer *out, const void *text, size_t size);
void text_base64(buffer *out, const uint8_t *data, size_t size);
/* Columns that one line of text takes on a terminal. */
size_t text_width(const uint8_t *text, size_t size);
/* A CSV cell: quoted when it has to be. An empty text is quoted, for an absent one is empty. */
void text_csv_cell(buffer *out, const void *text, size_t size);

/* --- whole results --- */

typedef enum result_format {
    RESULT_TABLE,
    RESULT_CSV,
    RESULT_JSON,
    RESULT_LINE,
    RESULT_ARROW,
    RESULT_PARQUET,
} result_format;
#define RESULT_FORMAT_NAMES "table, csv, json, line, arrow or parquet"
/* False when there is no such format. */
bool result_format_named(const char *name, result_format *out);
const char *result_format_name(result_format format);

typedef struct result_options {
    result_format format;
    int width; /* columns of the terminal; 0: as wide as the rows are */
    /* Asked between batches; true ends the result with CANCELLED. May be NULL. */
    bool (*stop)(void *context);
    void *stop_context;
} result_options;

/* Writes all of a stream and releases it. IO when `out` takes no more (os_errno EPIPE: its reader
 * went away). `rows` may be NULL. */
tape_status result_write(struct ArrowArrayStream *stream, const result_options *options, FILE *out,
                         uint64_t *rows, tape_error *error) TAPE_CHECKED;

/* Bytes on their way to a FILE: gathered, written in large pieces, the first failure kept. */
typedef struct result_out {
    FILE *file;
    buffer bytes;
    tape_status status;
    tape_error *error;
} result_out;
#define RESULT_OUT_BYTES (256u << 10)
void result_out_flush(result_out *out);
/* The same as appending to `bytes`, but large pieces go to the file as they are. */
void result_out_append(result_out *out, const void *data, size_t size);
/* Writes when enough is there. */
static inline void result_out_settle(result_out *out) {
    if (out->bytes.size >= RESULT_OUT_BYTES) {
        result_out_flush(out);
    }
}

/* The writers behind result_write: one batch at a time, between begin and end. */
typedef struct result_writer result_writer;
typedef struct result_writer_class {
    void (*begin)(result_writer *w);
    void (*batch)(result_writer *w, const struct ArrowArray *batch);
    void (*end)(result_writer *w);
} result_writer_class;
struct result_writer {
    const result_writer_class *class;
    const arrow_node *root;
    size_t dictionaries;
    int width;
    result_out out;
    uint64_t rows;
    bool failed; /* set before `end`: the result is not whole */
    void *state; /* the class's own */
};
extern const result_writer_class result_table_writer;
extern const result_writer_class result_csv_writer;
extern const result_writer_class result_json_writer;
extern const result_writer_class result_line_writer;
extern const result_writer_class result_arrow_writer;

#endif
