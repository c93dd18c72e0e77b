/* Arrow schemas, arrays and streams made by hand, for tests. */
#include "cli/result_fixture.h"

#include <stdio.h>
#include <stdlib.h>

static arena memory;

void fixture_begin(void) {
    arena_init(&memory, KIB(16));
}

void fixture_end(void) {
    arena_deinit(&memory);
}

static void *make(size_t size) {
    void *p = arena_alloc(&memory, size == 0 ? 1 : size, 16);
    ASSERT(p != NULL);
    return memset(p, 0, size);
}

static void release_schema(struct ArrowSchema *schema) {
    schema->release = NULL;
}

static void release_array(struct ArrowArray *array) {
    ((fixture_stream *)array->private_data)->released++;
    array->release = NULL;
}

struct ArrowSchema *fixture_schema(const char *format, const char *name, size_t children,
                                   struct ArrowSchema *const *child) {
    struct ArrowSchema *schema = make(sizeof *schema);
    schema->format = format;
    schema->name = name;
    schema->flags = ARROW_FLAG_NULLABLE;
    schema->n_children = (int64_t)children;
    schema->children = make(children * sizeof *child);
    for (size_t i = 0; i < children; i++) {
        schema->children[i] = child[i];
    }
    schema->release = release_schema;
    return schema;
}

struct ArrowArray *fixture_array(int64_t length, int64_t offset, size_t buffers,
                                 const void *const *data, size_t children,
                                 struct ArrowArray *const *child) {
    struct ArrowArray *array = make(sizeof *array);
    array->length = length;
    array->offset = offset;
    array->null_count = -1;
    array->n_buffers = (int64_t)buffers;
    array->buffers = make(buffers * sizeof *data);
    for (size_t i = 0; i < buffers; i++) {
        array->buffers[i] = data[i];
    }
    array->n_children = (int64_t)children;
    array->children = make(children * sizeof *child);
    for (size_t i = 0; i < children; i++) {
        array->children[i] = child[i];
    }
    return array;
}

/* --- streams --- */

static int stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    *out = *((fixture_stream *)stream->private_data)->schema;
    return 0;
}

static int stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    fixture_stream *s = stream->private_data;
    if (s->next == s->count) {
        memset(out, 0, sizeof *out);
        return s->fail_with;
    }
    *out = *s->batches[s->next++];
    out->private_data = s;
    out->release = release_array;
    return 0;
}

static const char *stream_error(struct ArrowArrayStream *stream) {
    return ((fixture_stream *)stream->private_data)->fail_text;
}

static void stream_release(struct ArrowArrayStream *stream) {
    ((fixture_stream *)stream->private_data)->released++;
    stream->release = NULL;
}

struct ArrowArrayStream fixture_open(fixture_stream *s) {
    s->next = 0;
    s->released = 0;
    return (struct ArrowArrayStream){.get_schema = stream_schema,
                                     .get_next = stream_next,
                                     .get_last_error = stream_error,
                                     .release = stream_release,
                                     .private_data = s};
}

char *fixture_write(fixture_stream *s, const result_options *options, size_t *size,
                    tape_status *status, tape_error *error) {
    char *text = NULL;
    size_t length = 0;
    struct ArrowArrayStream stream = fixture_open(s);
    FILE *out = open_memstream(&text, &length);
    ASSERT(out != NULL);
    *status = result_write(&stream, options, out, NULL, error);
    ASSERT(fclose(out) == 0);
    if (size != NULL) {
        *size = length;
    }
    return text;
}

/* --- every layout ---
 * Rows 0 to 3 of each column; row 2 is null. The sliced form has `skip` rows before them in every
 * buffer, which the arrays' offsets leave out. */

#define ROWS 4u
#define SKIP 3u

typedef struct layout {
    size_t skip; /* rows before the first, in every array */
} layout;

static const uint8_t *bits_of(const layout *l, unsigned rows) {
    uint8_t *bits = make(8);
    uint32_t value = (uint32_t)rows << l->skip | ((1u << l->skip) - 1);
    store_u32(bits, value);
    return bits;
}

static const uint8_t *valid_of(const layout *l) {
    return bits_of(l, 0xb); /* all but row 2 */
}

/* `width` bytes of each row, `skip` rows of 0x55 before. */
static const uint8_t *values_of(const layout *l, const void *rows, size_t width) {
    uint8_t *values = make((l->skip + ROWS) * width);
    memset(values, 0x55, l->skip * width);
    memcpy(values + l->skip * width, rows, ROWS * width);
    return values;
}

static struct ArrowArray *fixed(const layout *l, const void *rows, size_t width) {
    const void *buffers[2] = {valid_of(l), values_of(l, rows, width)};
    return fixture_array(ROWS, (int64_t)l->skip, 2, buffers, 0, NULL);
}

/* Offsets of 4 or 8 bytes: rows of 2, 0, 0 and 3 elements, after `skip` rows of one each. */
static const uint8_t *offsets_of(const layout *l, size_t width) {
    static const uint64_t ends[ROWS + 1] = {0, 2, 2, 2, 5};
    uint8_t *offsets = make((l->skip + ROWS + 1) * width);
    for (size_t i = 0; i < l->skip + ROWS + 1; i++) {
        uint64_t value = i < l->skip ? i : l->skip + ends[i - l->skip];
        memcpy(offsets + i * width, &value, width);
    }
    return offsets;
}

static struct ArrowArray *text(const layout *l, size_t width) {
    char *bytes = make(l->skip + 6);
    memset(bytes, '#', l->skip);
    memcpy(bytes + l->skip, "a,\xc3\xa9z", 5);
    const void *buffers[3] = {valid_of(l), offsets_of(l, width), bytes};
    return fixture_array(ROWS, (int64_t)l->skip, 3, buffers, 0, NULL);
}

static struct ArrowArray *views(const layout *l) {
    static const char longer[] = "twelve bytes and more";
    static const int64_t sizes[1] = {sizeof longer - 1};
    uint8_t rows[ROWS][16] = {{3, 0, 0, 0, 'o', 'n', 'e'}};
    store_u32(rows[3], (uint32_t)sizeof longer - 1 - 7);
    memcpy(rows[3] + 4, longer + 7, 4);
    store_u32(rows[3] + 8, 0);
    store_u32(rows[3] + 12, 7);
    const void *buffers[4] = {valid_of(l), values_of(l, rows, 16), longer, sizes};
    return fixture_array(ROWS, (int64_t)l->skip, 4, buffers, 0, NULL);
}

/* skip + 5 numbers for lists; the first `skip` are 9. Without an offset of its own, or with two. */
static struct ArrowArray *elements(const layout *l) {
    int32_t *numbers = make((l->skip + 5 + 2) * sizeof *numbers);
    size_t own = l->skip > 0 ? 2 : 0;
    for (size_t i = 0; i < l->skip + 5; i++) {
        numbers[own + i] = i < l->skip ? 9 : (int32_t)(i - l->skip);
    }
    const void *buffers[2] = {NULL, numbers};
    return fixture_array((int64_t)(l->skip + 5), (int64_t)own, 2, buffers, 0, NULL);
}

static struct ArrowArray *list(const layout *l, size_t width, struct ArrowArray *child) {
    const void *buffers[2] = {valid_of(l), offsets_of(l, width)};
    return fixture_array(ROWS, (int64_t)l->skip, 2, buffers, 1, &child);
}

static struct ArrowArray *fixed_list(const layout *l) {
    int16_t *numbers = make((l->skip + ROWS) * 2 * sizeof *numbers);
    for (size_t i = 0; i < 2 * ROWS; i++) {
        numbers[2 * l->skip + i] = (int16_t)i;
    }
    const void *inner[2] = {NULL, numbers};
    struct ArrowArray *child = fixture_array((int64_t)(l->skip + ROWS) * 2, 0, 2, inner, 0, NULL);
    const void *buffers[1] = {valid_of(l)};
    return fixture_array(ROWS, (int64_t)l->skip, 1, buffers, 1, &child);
}

static struct ArrowArray *structs(const layout *l) {
    static const double numbers[ROWS] = {0.5, 1.5, 2.5, 3.5};
    /* Its offset counts for its members too: theirs start `skip` rows before the first. */
    const void *buffers[1] = {valid_of(l)};
    const void *inner[2] = {NULL, values_of(l, numbers, sizeof numbers[0])};
    const void *flags[2] = {valid_of(l), bits_of(l, 0x9)};
    struct ArrowArray *children[2] = {
        fixture_array((int64_t)(l->skip + ROWS), 0, 2, inner, 0, NULL),
        fixture_array((int64_t)(l->skip + ROWS), 0, 2, flags, 0, NULL)};
    return fixture_array(ROWS, (int64_t)l->skip, 1, buffers, 2, children);
}

static struct ArrowArray *maps(const layout *l) {
    struct ArrowArray *pair[2] = {elements(l), elements(l)};
    const void *none[1] = {NULL};
    struct ArrowArray *pairs = fixture_array((int64_t)(l->skip + 5), 0, 1, none, 2, pair);
    return list(l, 4, pairs);
}

static struct ArrowArray *dictionary(const layout *l) {
    static const uint8_t rows[ROWS] = {1, 0, 7, 1};
    static const char bytes[] = "nosmalllarge";
    static const int32_t offsets[] = {0, 2, 7, 12};
    const void *values[3] = {NULL, offsets, bytes};
    struct ArrowArray *array = fixed(l, rows, 1);
    array->dictionary = fixture_array(2, 1, 3, values, 0, NULL);
    return array;
}

/* Rows: number 10, text "é", null in the number, number 13. */
static struct ArrowArray *unions(const layout *l, bool dense) {
    static const int8_t ids[ROWS] = {5, 2, 5, 5};
    static const int32_t dense_at[ROWS] = {0, 1, 2, 3};
    static const int32_t numbers[ROWS] = {10, 11, 12, 13};
    static const layout none = {0};
    const layout *inner = dense ? &none : l;
    const void *number_buffers[2] = {valid_of(inner), values_of(inner, numbers, 4)};
    const void *text_buffers[3];
    struct ArrowArray *string = text(inner, 4);
    memcpy(text_buffers, string->buffers, sizeof text_buffers);
    struct ArrowArray *children[2] = {
        fixture_array((int64_t)(inner->skip + ROWS), 0, 2, number_buffers, 0, NULL),
        fixture_array((int64_t)(inner->skip + ROWS), 0, 3, text_buffers, 0, NULL)};
    const void *buffers[2] = {values_of(l, ids, 1), values_of(l, dense_at, 4)};
    return fixture_array(ROWS, (int64_t)l->skip, dense ? 2 : 1, buffers, 2, children);
}

#define COLUMNS 17

struct ArrowSchema *fixture_all_schema(void) {
    struct ArrowSchema *number = fixture_schema("i", "item", 0, NULL);
    struct ArrowSchema *small = fixture_schema("s", "item", 0, NULL);
    struct ArrowSchema *members[2] = {fixture_schema("g", "x", 0, NULL),
                                      fixture_schema("b", "y", 0, NULL)};
    struct ArrowSchema *pair[2] = {fixture_schema("i", "key", 0, NULL),
                                   fixture_schema("i", "value", 0, NULL)};
    struct ArrowSchema *pairs = fixture_schema("+s", "entries", 2, pair);
    struct ArrowSchema *either[2] = {fixture_schema("i", "number", 0, NULL),
                                     fixture_schema("u", "text", 0, NULL)};
    struct ArrowSchema *columns[COLUMNS] = {
        fixture_schema("l", "int", 0, NULL),
        fixture_schema("b", "bool", 0, NULL),
        fixture_schema("u", "text", 0, NULL),
        fixture_schema("Z", "binary", 0, NULL),
        fixture_schema("vu", "view", 0, NULL),
        fixture_schema("d:10,2", "decimal", 0, NULL),
        fixture_schema("tsn:", "time", 0, NULL),
        fixture_schema("tin", "interval", 0, NULL),
        fixture_schema("w:2", "fixed", 0, NULL),
        fixture_schema("+l", "list", 1, &number),
        fixture_schema("+L", "large list", 1, &number),
        fixture_schema("+w:2", "pair", 1, &small),
        fixture_schema("+s", "struct", 2, members),
        fixture_schema("+m", "map", 1, &pairs),
        fixture_schema("C", "enum", 0, NULL),
        fixture_schema("+us:5,2", "sparse", 2, either),
        fixture_schema("+ud:5,2", "dense", 2, either),
    };
    columns[14]->dictionary = fixture_schema("u", "", 0, NULL);
    return fixture_schema("+s", "", COLUMNS, columns);
}

static struct ArrowArray *all(const layout *l) {
    static const int64_t ints[ROWS] = {INT64_MIN, -1, 0, INT64_MAX};
    static const __int128 decimals[ROWS] = {-5, 1234567, 0, 100};
    static const int64_t times[ROWS] = {-1, 0, 0, INT64_C(1723161255342000000)};
    static const struct {
        int32_t months, days;
        int64_t ns;
    } intervals[ROWS] = {{14, 3, 1500000000}, {0, 0, 0}, {0, 0, 0}, {-1, 0, -1}};
    static const char pairs[] = "abcdefgh";
    struct ArrowArray *columns[COLUMNS] = {
        fixed(l, ints, 8),
        NULL,
        text(l, 4),
        text(l, 8),
        views(l),
        fixed(l, decimals, 16),
        fixed(l, times, 8),
        fixed(l, intervals, 16),
        fixed(l, pairs, 2),
        list(l, 4, elements(l)),
        list(l, 8, elements(l)),
        fixed_list(l),
        structs(l),
        maps(l),
        dictionary(l),
        unions(l, false),
        unions(l, true),
    };
    const void *flags[2] = {valid_of(l), bits_of(l, 0x9)};
    columns[1] = fixture_array(ROWS, (int64_t)l->skip, 2, flags, 0, NULL);
    const void *none[1] = {NULL};
    return fixture_array(ROWS, 0, 1, none, COLUMNS, columns);
}

struct ArrowArray *fixture_all_plain(void) {
    return all(&(layout){0});
}

struct ArrowArray *fixture_all_sliced(void) {
    return all(&(layout){SKIP});
}
