/* Whole results: the loop over a stream's batches, and the CSV and JSON writers.
 *
 * Purpose: result_write. The table and Arrow writers are in result_table.c and arrow_ipc.c.
 * Format: CSV as RFC 4180 with "\n", a header, an absent value as an empty cell and an empty text
 * as "". JSON as one object per line, members in column order, names made unique.
 * Failure: the first failed write ends the result; nothing is written after it. */
#include "cli/result_internal.h"

#include <errno.h>
#include <stdlib.h>

static const char *const format_names[] = {
    [RESULT_TABLE] = "table", [RESULT_CSV] = "csv",     [RESULT_JSON] = "json",
    [RESULT_LINE] = "line",   [RESULT_ARROW] = "arrow", [RESULT_PARQUET] = "parquet"};

bool result_format_named(const char *name, result_format *out) {
    for (size_t i = 0; i < COUNT_OF(format_names); i++) {
        if (strcmp(name, format_names[i]) == 0) {
            *out = (result_format)i;
            return true;
        }
    }
    return false;
}

const char *result_format_name(result_format format) {
    return format_names[format];
}

void result_out_flush(result_out *out) {
    if (out->status == TAPE_OK && out->bytes.size > 0) {
        size_t written = fwrite(out->bytes.data, 1, out->bytes.size, out->file);
        if (written != out->bytes.size || fflush(out->file) != 0) {
            out->status = error_set_errno(out->error, errno, "the output", "write to");
        }
    }
    out->bytes.size = 0;
}

void result_out_append(result_out *out, const void *data, size_t size) {
    if (size < RESULT_OUT_BYTES) {
        buffer_append(&out->bytes, data, size);
        result_out_settle(out);
        return;
    }
    result_out_flush(out);
    if (out->status == TAPE_OK && fwrite(data, 1, size, out->file) != size) {
        out->status = error_set_errno(out->error, errno, "the output", "write to");
    }
}

/* --- CSV --- */

/* Kinds whose text never needs quotes. */
static bool is_plain(const arrow_node *node) {
    return node->dictionary == NULL && node->kind < ARROW_UTF8;
}

static void csv_begin(result_writer *w) {
    buffer *out = &w->out.bytes;
    for (size_t i = 0; i < w->root->child_count; i++) {
        const char *name = w->root->children[i].name;
        buffer_append(out, ",", i > 0);
        text_csv_cell(out, name, strlen(name));
    }
    buffer_append(out, "\n", 1);
    w->state = mem_zalloc(sizeof(buffer));
}

static void csv_batch(result_writer *w, const struct ArrowArray *batch) {
    buffer *out = &w->out.bytes;
    buffer *cell = w->state;
    for (int64_t row = 0; row < batch->length && w->out.status == TAPE_OK; row++) {
        for (size_t i = 0; i < w->root->child_count; i++) {
            const arrow_node *column = &w->root->children[i];
            const struct ArrowArray *array = batch->children[i];
            int64_t at = row + batch->offset;
            buffer_append(out, ",", i > 0);
            if (arrow_is_null(column, array, at)) {
                continue;
            }
            if (is_plain(column)) {
                text_value(out, TEXT_CSV, column, array, at);
                continue;
            }
            cell->size = 0;
            text_value(cell, TEXT_CSV, column, array, at);
            text_csv_cell(out, cell->data, cell->size);
        }
        buffer_append(out, "\n", 1);
        result_out_settle(&w->out);
    }
}

static void csv_end(result_writer *w) {
    buffer *cell = w->state;
    buffer_deinit(cell);
    free(cell);
}

const result_writer_class result_csv_writer = {csv_begin, csv_batch, csv_end};

/* --- JSON --- */

/* What stands before each value: the separator, the member's name and the colon. */
typedef struct json_state {
    buffer *heads;
} json_state;

static bool name_taken(const char *const *names, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void json_begin(result_writer *w) {
    size_t count = w->root->child_count;
    json_state *state = mem_zalloc(sizeof *state);
    state->heads = mem_zalloc((count + 1) * sizeof *state->heads);
    char **names = mem_zalloc((count + 1) * sizeof *names);
    for (size_t i = 0; i < count; i++) {
        names[i] = mem_strdup(w->root->children[i].name);
        for (int n = 1; name_taken((const char *const *)names, i, names[i]); n++) {
            free(names[i]);
            names[i] = mem_printf("%s_%d", w->root->children[i].name, n);
        }
        buffer_append(&state->heads[i], i == 0 ? "{" : ",", 1);
        text_json_string(&state->heads[i], names[i], strlen(names[i]));
        buffer_append(&state->heads[i], ":", 1);
    }
    for (size_t i = 0; i < count; i++) {
        free(names[i]);
    }
    free(names);
    w->state = state;
}

static void json_batch(result_writer *w, const struct ArrowArray *batch) {
    json_state *state = w->state;
    buffer *out = &w->out.bytes;
    for (int64_t row = 0; row < batch->length && w->out.status == TAPE_OK; row++) {
        for (size_t i = 0; i < w->root->child_count; i++) {
            buffer_append(out, state->heads[i].data, state->heads[i].size);
            text_value(out, TEXT_JSON, &w->root->children[i], batch->children[i],
                       row + batch->offset);
        }
        buffer_append_text(out, w->root->child_count == 0 ? "{}\n" : "}\n");
        result_out_settle(&w->out);
    }
}

static void json_end(result_writer *w) {
    json_state *state = w->state;
    for (size_t i = 0; i < w->root->child_count; i++) {
        buffer_deinit(&state->heads[i]);
    }
    free(state->heads);
    free(state);
}

const result_writer_class result_json_writer = {json_begin, json_batch, json_end};

/* --- the loop --- */

static const result_writer_class *writer_of(result_format format) {
    switch (format) {
    case RESULT_CSV:
        return &result_csv_writer;
    case RESULT_JSON:
        return &result_json_writer;
    case RESULT_LINE:
        return &result_line_writer;
    case RESULT_ARROW:
        return &result_arrow_writer;
    default:
        return &result_table_writer;
    }
}

/* The stream's own words, and the status that its errno stands for. */
static tape_status stream_error(struct ArrowArrayStream *stream, int code, tape_error *error) {
    static const struct {
        int code;
        tape_status status;
    } statuses[] = {{ETIMEDOUT, TAPE_TIMEOUT},
                    {ECANCELED, TAPE_CANCELLED},
                    {ENOMEM, TAPE_NO_MEMORY},
                    {ENOSPC, TAPE_NO_SPACE},
                    {EACCES, TAPE_FORBIDDEN}};
    tape_status status = TAPE_SQL;
    for (size_t i = 0; i < COUNT_OF(statuses); i++) {
        status = statuses[i].code == code ? statuses[i].status : status;
    }
    const char *text = stream->get_last_error(stream);
    return error_set(error, status, "%s", text == NULL ? strerror(code) : text);
}

static tape_status write_batches(result_writer *w, struct ArrowArrayStream *stream,
                                 const result_options *options, tape_error *error) {
    while (w->out.status == TAPE_OK) {
        if (options->stop != NULL && options->stop(options->stop_context)) {
            return error_set(error, TAPE_CANCELLED, "interrupted after %llu rows",
                             (unsigned long long)w->rows);
        }
        struct ArrowArray batch = {0};
        int code = stream->get_next(stream, &batch);
        if (code != 0) {
            return stream_error(stream, code, error);
        }
        if (batch.release == NULL) {
            break;
        }
        tape_status status = arrow_tree_check(w->root, &batch, error);
        if (status == TAPE_OK) {
            w->class->batch(w, &batch);
            w->rows += (uint64_t)batch.length;
            result_out_settle(&w->out);
        }
        batch.release(&batch);
        if (status != TAPE_OK) {
            return status;
        }
    }
    return w->out.status;
}

tape_status result_write(struct ArrowArrayStream *stream, const result_options *options, FILE *out,
                         uint64_t *rows, tape_error *error) {
    struct ArrowSchema schema = {0};
    arrow_node *root = NULL;
    result_writer w = {.class = writer_of(options->format),
                       .width = options->width,
                       .out = {.file = out, .error = error}};
    int code = stream->get_schema(stream, &schema);
    tape_status status = code == 0 ? TAPE_OK : stream_error(stream, code, error);
    if (status == TAPE_OK) {
        status = arrow_tree_open(&schema, &root, &w.dictionaries, error);
    }
    if (status != TAPE_OK) {
        goto out;
    }
    w.root = root;
    w.class->begin(&w);
    status = write_batches(&w, stream, options, error);
    w.failed = status != TAPE_OK;
    w.class->end(&w);
    result_out_flush(&w.out);
    if (status == TAPE_OK) {
        status = w.out.status;
    }
out:
    if (rows != NULL) {
        *rows = w.rows;
    }
    buffer_deinit(&w.out.bytes);
    arrow_tree_close(&root);
    if (schema.release != NULL) {
        schema.release(&schema);
    }
    stream->release(stream);
    return status;
}
