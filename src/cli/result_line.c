/* Results as a line per value, for rows too wide for a table.
 *
 * Purpose: the line writer of result_write.
 * Format: `name = value`, the names right-aligned, an empty line between rows. Further lines of a
 * value stand under its first. */
#include "cli/result_internal.h"

#include <stdlib.h>

typedef struct line_state {
    buffer *heads; /* by column: the name, aligned, and " = " */
    size_t indent;
    buffer value;
} line_state;

static void line_begin(result_writer *w) {
    size_t count = w->root->child_count;
    line_state *state = mem_zalloc(sizeof *state);
    size_t widest = 0;
    state->heads = mem_zalloc((count + 1) * sizeof *state->heads);
    for (size_t i = 0; i < count; i++) {
        const char *name = w->root->children[i].name;
        size_t width = text_width((const uint8_t *)name, strlen(name));
        widest = width > widest ? width : widest;
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = w->root->children[i].name;
        size_t width = text_width((const uint8_t *)name, strlen(name));
        buffer_printf(&state->heads[i], "%*s%s = ", (int)(widest - width), "", name);
    }
    state->indent = widest + strlen(" = ");
    w->state = state;
}

/* The value, its further lines indented. */
static void put_value(buffer *out, const line_state *state) {
    for (size_t at = 0; at < state->value.size;) {
        const uint8_t *text = state->value.data + at;
        const uint8_t *end = memchr(text, '\n', state->value.size - at);
        size_t length = end == NULL ? state->value.size - at : (size_t)(end - text) + 1;
        buffer_append(out, text, length);
        if (end != NULL) {
            buffer_printf(out, "%*s", (int)state->indent, "");
        }
        at += length;
    }
    buffer_append(out, "\n", 1);
}

static void line_batch(result_writer *w, const struct ArrowArray *batch) {
    line_state *state = w->state;
    buffer *out = &w->out.bytes;
    for (int64_t row = 0; row < batch->length && w->out.status == TAPE_OK; row++) {
        buffer_append(out, "\n", w->rows + (uint64_t)row > 0);
        for (size_t i = 0; i < w->root->child_count; i++) {
            state->value.size = 0;
            text_value(&state->value, TEXT_TABLE, &w->root->children[i], batch->children[i],
                       row + batch->offset);
            buffer_append(out, state->heads[i].data, state->heads[i].size);
            put_value(out, state);
        }
        result_out_settle(&w->out);
    }
}

static void line_end(result_writer *w) {
    line_state *state = w->state;
    for (size_t i = 0; i < w->root->child_count; i++) {
        buffer_deinit(&state->heads[i]);
    }
    free(state->heads);
    buffer_deinit(&state->value);
    free(state);
}

const result_writer_class result_line_writer = {line_begin, line_batch, line_end};
