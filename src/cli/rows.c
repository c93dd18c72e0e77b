/* Rows of a table as an Arrow stream.
 *
 * Format: a struct of the table's fields: u64 "L", times "tsn:", numbers "g", several of them a
 * fixed-size list, identifiers and enumerations "u", absent ones null. One batch per run of rows.
 * Threads: one at a time. */
#include "cli/rows.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct rows_state {
    rows_source source;
    tape_error error;
} rows_state;

/* --- schema --- */

static void release_schema(struct ArrowSchema *schema) {
    for (int64_t i = 0; i < schema->n_children; i++) {
        struct ArrowSchema *child = schema->children[i];
        if (child->release != NULL) {
            child->release(child);
        }
        free(child);
    }
    free(schema->children);
    free(schema->private_data);
    schema->release = NULL;
}

static struct ArrowSchema *schema_child(struct ArrowSchema *parent, int64_t index) {
    parent->children[index] = mem_zalloc(sizeof *parent->children[index]);
    return parent->children[index];
}

static void schema_make(struct ArrowSchema *out, char *format, const char *name, size_t children) {
    *out = (struct ArrowSchema){
        .format = format,
        .name = name,
        .flags = ARROW_FLAG_NULLABLE,
        .n_children = (int64_t)children,
        .children = children == 0 ? NULL : mem_zalloc(children * sizeof(struct ArrowSchema *)),
        .release = release_schema,
        .private_data = format,
    };
}

static void schema_of_field(struct ArrowSchema *out, const tape_field_info *field) {
    const char *format = "u";
    switch (field->kind) {
    case TAPE_FIELD_U64:
        format = "L";
        break;
    case TAPE_FIELD_TIME:
        format = "tsn:";
        break;
    case TAPE_FIELD_F64:
        format = "g";
        break;
    case TAPE_FIELD_ENUM:
    case TAPE_FIELD_ID:
        break;
    }
    if (field->count > 1) {
        schema_make(out, mem_printf("+w:%u", field->count), field->name, 1);
        schema_make(schema_child(out, 0), mem_strdup(format), "l", 0);
    } else {
        schema_make(out, mem_strdup(format), field->name, 0);
    }
}

static int stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    const rows_state *s = stream->private_data;
    const tape_table_info *table = s->source.table;
    schema_make(out, mem_strdup("+s"), "", table->field_count);
    for (uint32_t i = 0; i < table->field_count; i++) {
        schema_of_field(schema_child(out, i), &table->fields[i]);
    }
    return 0;
}

/* --- batches --- */

static void release_array(struct ArrowArray *array) {
    for (int64_t i = 0; i < array->n_children; i++) {
        struct ArrowArray *child = array->children[i];
        if (child->release != NULL) {
            child->release(child);
        }
        free(child);
    }
    for (int64_t i = 0; i < array->n_buffers; i++) {
        free((void *)array->buffers[i]);
    }
    free(array->children);
    free(array->buffers);
    array->release = NULL;
}

static struct ArrowArray *array_make(struct ArrowArray *out, size_t length, size_t buffers,
                                     size_t children) {
    *out = (struct ArrowArray){
        .length = (int64_t)length,
        .n_buffers = (int64_t)buffers,
        .n_children = (int64_t)children,
        .buffers = mem_zalloc(buffers * sizeof(void *)),
        .children = children == 0 ? NULL : mem_zalloc(children * sizeof(struct ArrowArray *)),
        .release = release_array,
    };
    return out;
}

static struct ArrowArray *array_child(struct ArrowArray *parent, int64_t index) {
    parent->children[index] = mem_zalloc(sizeof *parent->children[index]);
    return parent->children[index];
}

typedef struct row_run {
    const uint8_t *rows;
    size_t size_bytes; /* of one */
    size_t count;
} row_run;

static const uint8_t *field_at(const row_run *run, const tape_field_info *field, size_t row) {
    return run->rows + row * run->size_bytes + field->offset;
}

/* Values of 8 bytes: `field->count` of them per row. */
static void words_of(struct ArrowArray *out, const row_run *run, const tape_field_info *field) {
    size_t bytes = (size_t)8 * field->count;
    uint8_t *values = mem_alloc(run->count * bytes);
    for (size_t row = 0; row < run->count; row++) {
        memcpy(values + row * bytes, field_at(run, field, row), bytes);
    }
    array_make(out, run->count * field->count, 2, 0)->buffers[1] = values;
}

static size_t text_of(const tape_field_info *field, const uint8_t *from, const char **text,
                      char unknown[32]) {
    if (field->kind == TAPE_FIELD_ID) {
        *text = (const char *)from;
        return strnlen(*text, field->size_bytes);
    }
    if (*from < field->enum_count) {
        *text = field->enum_names[*from];
        return *text == NULL ? 0 : strlen(*text);
    }
    /* Of a later version of tape. */
    *text = unknown;
    return (size_t)snprintf(unknown, 32, "unknown:%u", *from);
}

static void texts_of(struct ArrowArray *out, const row_run *run, const tape_field_info *field) {
    uint8_t *present = mem_zalloc((run->count + 7) / 8);
    int32_t *offsets = mem_zalloc((run->count + 1) * sizeof *offsets);
    buffer texts = {0};
    array_make(out, run->count, 3, 0);
    buffer_reserve(&texts, 1);
    for (size_t row = 0; row < run->count; row++) {
        char unknown[32];
        const char *text = NULL;
        size_t size = text_of(field, field_at(run, field, row), &text, unknown);
        buffer_append(&texts, text, size);
        offsets[row + 1] = (int32_t)texts.size;
        present[row / 8] |= (uint8_t)((size > 0) << (row % 8));
        out->null_count += size == 0;
    }
    out->buffers[0] = present;
    out->buffers[1] = offsets;
    out->buffers[2] = texts.data;
}

static void array_of_field(struct ArrowArray *out, const row_run *run,
                           const tape_field_info *field) {
    if (field->kind == TAPE_FIELD_ID || field->kind == TAPE_FIELD_ENUM) {
        texts_of(out, run, field);
    } else if (field->count > 1) {
        array_make(out, run->count, 1, 1);
        words_of(array_child(out, 0), run, field);
    } else {
        words_of(out, run, field);
    }
}

static int stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    rows_state *s = stream->private_data;
    const tape_table_info *table = s->source.table;
    row_run run = {.size_bytes = table->size_bytes};
    const void *rows = NULL;
    *out = (struct ArrowArray){0};
    tape_status status = s->source.next(s->source.context, &rows, &run.count, &s->error);
    if (status != TAPE_OK) {
        return status == TAPE_CANCELLED ? ECANCELED : EIO;
    }
    if (run.count > 0) {
        run.rows = rows;
        array_make(out, run.count, 1, table->field_count);
        for (uint32_t i = 0; i < table->field_count; i++) {
            array_of_field(array_child(out, i), &run, &table->fields[i]);
        }
    }
    return 0;
}

static const char *stream_error(struct ArrowArrayStream *stream) {
    return ((const rows_state *)stream->private_data)->error.text;
}

static void stream_release(struct ArrowArrayStream *stream) {
    free(stream->private_data);
    stream->release = NULL;
}

void rows_stream(const rows_source *source, struct ArrowArrayStream *out) {
    rows_state *s = mem_zalloc(sizeof *s);
    s->source = *source;
    *out = (struct ArrowArrayStream){
        .get_schema = stream_schema,
        .get_next = stream_next,
        .get_last_error = stream_error,
        .release = stream_release,
        .private_data = s,
    };
}
