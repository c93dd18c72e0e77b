/* Results as aligned columns, for people at a terminal.
 *
 * Purpose: the table writer of result_write.
 * Format: a header, a rule, a line per row (several where a value has ends of lines), the row
 * count. Numbers stand right. On a terminal no line is wider than it: the widest columns are cut,
 * with a mark, and columns that still do not fit are left out, which the last line says. The answer
 * of EXPLAIN is printed as the text it is.
 * Invariants: (A1) at most TABLE_SAMPLE_ROWS rows or TABLE_SAMPLE_BYTES of text are held back to
 * measure the columns; rows after that keep the widths. */
#include "cli/result_internal.h"

#include <stdlib.h>
#include <wchar.h>

#define TABLE_SAMPLE_ROWS 10000u
#define TABLE_SAMPLE_BYTES MIB(16)
#define TABLE_COLUMN_LEAST 6u /* a cut column keeps this much */

typedef struct table_cell {
    size_t offset; /* in `text` */
    size_t size;
} table_cell;

typedef struct table_state {
    buffer text;
    table_cell *cells; /* row by row */
    size_t rows;
    size_t capacity; /* rows */
    size_t columns;
    size_t shown;
    size_t *widths;
    bool *right;
    bool measured;
    bool explain;
} table_state;

/* Terminal columns of the character at `text`, and its bytes. What does not decode is one column.
 * */
static size_t char_width(const uint8_t *text, size_t size, size_t *bytes) {
    if (text[0] < 0x80) {
        *bytes = 1;
        return 1;
    }
    mbstate_t state = {0};
    wchar_t wide = 0;
    size_t got = mbrtowc(&wide, (const char *)text, size, &state);
    if (got == 0 || got > size) {
        *bytes = 1;
        return 1;
    }
    int width = wcwidth(wide);
    *bytes = got;
    return width < 0 ? 1 : (size_t)width;
}

size_t text_width(const uint8_t *text, size_t size) {
    size_t width = 0;
    for (size_t at = 0; at < size;) {
        size_t bytes = 0;
        width += char_width(text + at, size - at, &bytes);
        at += bytes;
    }
    return width;
}

/* The `line`-th line of a cell; false past the last. */
static bool cell_line(const uint8_t *text, size_t size, size_t line, slice *out) {
    const uint8_t *at = text;
    const uint8_t *end = text + size;
    for (;; line--) {
        const uint8_t *stop = at == end ? NULL : memchr(at, '\n', (size_t)(end - at));
        if (line == 0) {
            *out = (slice){at, (size_t)((stop == NULL ? end : stop) - at)};
            return true;
        }
        if (stop == NULL) {
            return false;
        }
        at = stop + 1;
    }
}

static size_t cell_width(const uint8_t *text, size_t size) {
    size_t widest = 0;
    slice line;
    for (size_t i = 0; cell_line(text, size, i, &line); i++) {
        size_t width = text_width(line.data, line.size);
        widest = width > widest ? width : widest;
    }
    return widest;
}

static void pad(buffer *out, size_t count) {
    static const char spaces[] = "                                ";
    while (count > 0) {
        size_t some = count < sizeof spaces - 1 ? count : sizeof spaces - 1;
        buffer_append(out, spaces, some);
        count -= some;
    }
}

/* One line of a cell in `width` columns: padded, and cut with a mark where `cut` allows. */
static void put_cell(buffer *out, slice line, size_t width, bool right, bool cut, bool last) {
    size_t have = text_width(line.data, line.size);
    if (have <= width || !cut) {
        size_t room = have < width ? width - have : 0;
        pad(out, right ? room : 0);
        buffer_append(out, line.data, line.size);
        pad(out, right || last ? 0 : room);
        return;
    }
    size_t used = 0;
    size_t at = 0;
    while (at < line.size) {
        size_t bytes = 0;
        size_t next = char_width(line.data + at, line.size - at, &bytes);
        if (used + next > width - 1) {
            break;
        }
        used += next;
        at += bytes;
    }
    buffer_append(out, line.data, at);
    buffer_append_text(out, "…");
    pad(out, last ? 0 : width - 1 - used);
}

/* Cuts the widest columns to a common width so that the line fits, then leaves out last columns. */
static void fit_terminal(table_state *t, size_t width) {
    size_t cap = 0;
    for (size_t i = 0; i < t->columns; i++) {
        cap = t->widths[i] > cap ? t->widths[i] : cap;
    }
    size_t total = 0;
    for (;; cap--) {
        total = 2; /* the rule has a dash at both ends */
        for (size_t i = 0; i < t->columns; i++) {
            total += (t->widths[i] < cap ? t->widths[i] : cap) + (i > 0 ? 3 : 0);
        }
        if (total <= width || cap <= TABLE_COLUMN_LEAST) {
            break;
        }
    }
    t->shown = t->columns;
    for (size_t i = 0; i < t->columns; i++) {
        t->widths[i] = t->widths[i] < cap ? t->widths[i] : cap;
    }
    while (t->shown > 1 && total > width) {
        t->shown--;
        total -= t->widths[t->shown] + 3;
    }
}

static void put_header(result_writer *w, table_state *t) {
    buffer *out = &w->out.bytes;
    for (size_t i = 0; i < t->shown; i++) {
        const char *name = w->root->children[i].name;
        buffer_append_text(out, i == 0 ? " " : " | ");
        put_cell(out, (slice){(const uint8_t *)name, strlen(name)}, t->widths[i], t->right[i],
                 w->width > 0, i + 1 == t->shown);
    }
    buffer_append(out, "\n", 1);
    for (size_t i = 0; i < t->shown; i++) {
        buffer_append_text(out, i == 0 ? "-" : "-+-");
        for (size_t n = 0; n < t->widths[i]; n++) {
            buffer_append(out, "-", 1);
        }
    }
    buffer_append(out, "-\n", 2);
}

static void put_row(result_writer *w, const table_state *t, const table_cell *cells) {
    buffer *out = &w->out.bytes;
    bool more = true;
    for (size_t line = 0; more; line++) {
        size_t start = out->size;
        more = false;
        for (size_t i = 0; i < t->shown; i++) {
            slice text = {0};
            slice after;
            const uint8_t *cell = t->text.data + cells[i].offset;
            bool there = cell_line(cell, cells[i].size, line, &text);
            more = more || (there && cell_line(cell, cells[i].size, line + 1, &after));
            buffer_append_text(out, i == 0 ? " " : " | ");
            put_cell(out, text, t->widths[i], t->right[i], w->width > 0, i + 1 == t->shown);
        }
        while (out->size > start && out->data[out->size - 1] == ' ') {
            out->size--;
        }
        buffer_append(out, "\n", 1);
    }
    result_out_settle(&w->out);
}

static void put_sample(result_writer *w, table_state *t) {
    if (!t->measured) {
        for (size_t i = 0; i < t->columns; i++) {
            const char *name = w->root->children[i].name;
            t->widths[i] = text_width((const uint8_t *)name, strlen(name));
        }
        for (size_t n = 0; n < t->rows * t->columns; n++) {
            size_t width = cell_width(t->text.data + t->cells[n].offset, t->cells[n].size);
            size_t *widest = &t->widths[n % t->columns];
            *widest = width > *widest ? width : *widest;
        }
        t->shown = t->columns;
        if (w->width > 0) {
            fit_terminal(t, (size_t)w->width);
        }
        put_header(w, t);
        t->measured = true;
    }
    for (size_t row = 0; row < t->rows; row++) {
        put_row(w, t, t->cells + row * t->columns);
    }
    t->rows = 0;
    t->text.size = 0;
}

static bool is_number(const arrow_node *node) {
    return node->dictionary == NULL &&
           (node->kind == ARROW_INT || node->kind == ARROW_FLOAT || node->kind == ARROW_DECIMAL);
}

static void table_begin(result_writer *w) {
    const arrow_node *columns = w->root->children;
    table_state *t = mem_zalloc(sizeof *t);
    buffer_reserve(&t->text, 1); /* so that it has an address */
    t->columns = w->root->child_count;
    t->explain = t->columns == 2 && strcmp(columns[0].name, "explain_key") == 0 &&
                 strcmp(columns[1].name, "explain_value") == 0;
    t->widths = mem_zalloc((t->columns + 1) * sizeof *t->widths);
    t->right = mem_zalloc((t->columns + 1) * sizeof *t->right);
    for (size_t i = 0; i < t->columns; i++) {
        t->right[i] = is_number(&columns[i]);
    }
    w->state = t;
}

static void put_explain(result_writer *w, const struct ArrowArray *batch) {
    for (int64_t row = 0; row < batch->length; row++) {
        text_value(&w->out.bytes, TEXT_TABLE, &w->root->children[1], batch->children[1],
                   row + batch->offset);
        buffer_append(&w->out.bytes, "\n", 1);
    }
}

static void table_batch(result_writer *w, const struct ArrowArray *batch) {
    table_state *t = w->state;
    if (t->explain) {
        put_explain(w, batch);
        return;
    }
    for (int64_t row = 0; row < batch->length && w->out.status == TAPE_OK; row++) {
        if (t->rows == t->capacity) {
            t->capacity = t->capacity == 0 ? 64 : 2 * t->capacity;
            t->cells = mem_realloc(t->cells, (t->capacity * t->columns + 1) * sizeof *t->cells);
        }
        for (size_t i = 0; i < t->columns; i++) {
            size_t offset = t->text.size;
            text_value(&t->text, TEXT_TABLE, &w->root->children[i], batch->children[i],
                       row + batch->offset);
            t->cells[t->rows * t->columns + i] = (table_cell){offset, t->text.size - offset};
        }
        t->rows++;
        if (t->rows >= TABLE_SAMPLE_ROWS || t->text.size >= TABLE_SAMPLE_BYTES) {
            put_sample(w, t);
        }
    }
}

static void table_end(result_writer *w) {
    table_state *t = w->state;
    if (!t->explain) {
        put_sample(w, t);
    }
    if (!t->explain && !w->failed) {
        buffer_printf(&w->out.bytes, "(%llu row%s", (unsigned long long)w->rows,
                      w->rows == 1 ? "" : "s");
        if (t->shown < t->columns) {
            size_t hidden = t->columns - t->shown;
            buffer_printf(&w->out.bytes, "; %zu column%s not shown: use a wider terminal or %s",
                          hidden, hidden == 1 ? "" : "s", "--format csv");
        }
        buffer_append_text(&w->out.bytes, ")\n");
    }
    buffer_deinit(&t->text);
    free(t->cells);
    free(t->widths);
    free(t->right);
    free(t);
}

const result_writer_class result_table_writer = {table_begin, table_batch, table_end};
