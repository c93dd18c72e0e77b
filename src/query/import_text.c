/* Import: rows of CSV and JSON lines.
 *
 * CSV as RFC 4180 has it, read strictly: the first row names the columns; a cell that begins with a
 * quote ends with one, and inside two stand for one; line ends are LF or CRLF; blank lines are not
 * rows. Every cell is text, and record_field_from_text alone says what it means: nothing is
 * guessed.
 *
 * Invariants
 *  I1 A row is wholly in the buffer while it is worked on; its text stays until the next row.
 * Threads: one at a time. */
#include "query/import_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define READ_BYTES 262144u

typedef struct cell {
    const char *text;
    size_t size;
} cell;

struct row_source {
    const import_file *file;
    const tape_table_info *table;
    byte_source *bytes;
    char *buffer;
    size_t capacity;
    size_t start; /* of the row */
    size_t next;  /* after the row and its line end */
    size_t end;   /* of what was read */
    bool ended;   /* the file */
    bool first;   /* no line was read yet */
    char *unquoted;
    cell cells[IMPORT_COLUMNS_MAX];
    const tape_field_info *fields[IMPORT_COLUMNS_MAX]; /* NULL: a column that is left out */
    size_t column_count;
    buffer header; /* the columns' names as CSV */
    buffer told;   /* a row that was refused, as CSV */
};

/* --- lines --- */

/* More bytes behind `end`, moving the row to the front of the buffer. */
static tape_status read_more(row_source *s, tape_error *error) {
    size_t size = s->end - s->start;
    if (size > IMPORT_ROW_BYTES_MAX) {
        return error_set_file(error, TAPE_INVALID, s->file->path, TAPE_NO_OFFSET,
                              "%s: a row is longer than %llu bytes: is a quote not closed?",
                              s->file->path, (unsigned long long)IMPORT_ROW_BYTES_MAX);
    }
    if (size > 0) {
        memmove(s->buffer, s->buffer + s->start, size);
    }
    s->next -= s->start;
    s->start = 0;
    s->end = size;
    if (s->capacity - size < READ_BYTES) {
        s->capacity = size + 2 * READ_BYTES;
        s->buffer = mem_realloc(s->buffer, s->capacity);
        s->unquoted = mem_realloc(s->unquoted, s->capacity);
    }
    size_t got;
    tape_status status =
        byte_source_read(s->bytes, s->buffer + size, s->capacity - size, &got, error);
    s->end += got;
    s->ended = status == TAPE_OK && got == 0;
    return status;
}

/* Extends the row by the line at s->next. *size is the row's, without its line end. */
static tape_status extend_row(row_source *s, size_t *size, tape_error *error) {
    size_t searched = s->next - s->start;
    for (;;) {
        size_t left = s->end - s->start - searched;
        const char *from = s->buffer + s->start + searched;
        const char *newline = left == 0 ? NULL : memchr(from, '\n', left);
        if (newline != NULL) {
            *size = (size_t)(newline - s->buffer) - s->start;
            s->next = s->start + *size + 1;
            break;
        }
        searched += left;
        if (s->ended) {
            *size = s->end - s->start;
            s->next = s->end;
            break;
        }
        tape_status status = read_more(s, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    if (*size > 0 && s->buffer[s->start + *size - 1] == '\r') {
        (*size)--;
    }
    return TAPE_OK;
}

static bool is_blank(const char *text, size_t size) {
    for (size_t n = 0; n < size; n++) {
        if (text[n] != ' ' && text[n] != '\r') {
            return false;
        }
    }
    return true;
}

/* The next line that is not blank; *end when there is none. */
static tape_status next_line(row_source *s, size_t *size, bool *end, tape_error *error) {
    do {
        s->start = s->next;
        if (s->start == s->end && !s->ended) {
            tape_status status = read_more(s, error);
            if (status != TAPE_OK) {
                return status;
            }
        }
        *end = s->start == s->end && s->ended;
        if (*end) {
            return TAPE_OK;
        }
        tape_status status = extend_row(s, size, error);
        if (status != TAPE_OK) {
            return status;
        }
        /* A byte order mark is not text. */
        if (s->first && *size >= 3 && memcmp(s->buffer + s->start, "\xef\xbb\xbf", 3) == 0) {
            s->start += 3;
            *size -= 3;
        }
        s->first = false;
    } while (is_blank(s->buffer + s->start, *size));
    return TAPE_OK;
}

/* --- CSV --- */

/* Where in a row a scan stands; a row goes on over line ends while `quoted`. */
typedef struct quote_state {
    bool quoted;
    bool after_quote; /* a quote that ends the cell unless another follows */
    bool cell_start;
} quote_state;

static void scan_quotes(quote_state *q, const char *at, const char *end, char delimiter) {
    if (!q->quoted && memchr(at, '"', (size_t)(end - at)) == NULL) {
        return;
    }
    for (; at < end; at++) {
        if (q->quoted) {
            q->quoted = *at != '"';
            q->after_quote = !q->quoted;
        } else {
            q->quoted = *at == '"' && (q->cell_start || q->after_quote);
            q->after_quote = false;
            q->cell_start = *at == delimiter;
        }
    }
}

typedef enum split_outcome { SPLIT_DONE, SPLIT_OPEN, SPLIT_AFTER_QUOTE } split_outcome;

/* A cell that begins with a quote: unquotes it to `*to`. */
static split_outcome split_quoted(const char *at, const char *end, char delimiter, char **to,
                                  cell *out, const char **next) {
    out->text = *to;
    for (at++; at < end; at++) {
        if (*at != '"') {
            *(*to)++ = *at;
        } else if (at + 1 < end && at[1] == '"') {
            *(*to)++ = *at++;
        } else {
            out->size = (size_t)(*to - out->text);
            *next = at + 1;
            return at + 1 == end || at[1] == delimiter ? SPLIT_DONE : SPLIT_AFTER_QUOTE;
        }
    }
    return SPLIT_OPEN;
}

/* Splits the row into s->cells; *count goes beyond IMPORT_COLUMNS_MAX when the row does. */
static split_outcome split_row(row_source *s, size_t size, size_t *count) {
    const char *at = s->buffer + s->start;
    const char *end = at + size;
    char *to = s->unquoted;
    *count = 0;
    for (;;) {
        cell scratch;
        cell *out = *count < IMPORT_COLUMNS_MAX ? &s->cells[*count] : &scratch;
        (*count)++;
        if (at < end && *at == '"') {
            split_outcome outcome = split_quoted(at, end, s->file->delimiter, &to, out, &at);
            if (outcome != SPLIT_DONE) {
                return outcome;
            }
        } else {
            const char *comma =
                at == end ? NULL : memchr(at, s->file->delimiter, (size_t)(end - at));
            *out = (cell){.text = at, .size = (size_t)((comma == NULL ? end : comma) - at)};
            at += out->size;
        }
        if (at == end) {
            return SPLIT_DONE;
        }
        at++;
    }
}

static const char *column_name(const row_source *s, size_t column) {
    return column < s->column_count && s->fields[column] != NULL ? s->fields[column]->name : "";
}

/* The next row, split. ROW_BAD when it does not split. */
static row_outcome next_csv_row(row_source *s, size_t *size, size_t *count, row_problem *problem,
                                tape_error *error) {
    bool end;
    if (next_line(s, size, &end, error) != TAPE_OK) {
        return ROW_FAIL;
    }
    if (end) {
        return ROW_END;
    }
    quote_state state = {.cell_start = true};
    size_t scanned = 0;
    for (;;) {
        const char *row = s->buffer + s->start;
        scan_quotes(&state, row + scanned, row + *size, s->file->delimiter);
        if (!state.quoted || (s->ended && s->next == s->end)) {
            break;
        }
        /* The line end belongs to the cell; it has no quote in it. */
        scanned = s->next - s->start;
        if (extend_row(s, size, error) != TAPE_OK) {
            return ROW_FAIL;
        }
    }
    split_outcome outcome = split_row(s, *size, count);
    if (outcome == SPLIT_DONE) {
        return ROW_GOOD;
    }
    problem_set(problem, column_name(s, *count - 1), "", 0,
                outcome == SPLIT_OPEN ? "a quote is not closed"
                                      : "there is text after a closing quote");
    /* As it is, it would spoil the rows after it: it goes as one cell, with more cells than there
     * are columns, so that it is refused again until somebody mends it. */
    s->told.size = 0;
    csv_append(&s->told, true, s->buffer + s->start, *size);
    for (size_t n = 0; n < s->column_count; n++) {
        csv_append(&s->told, false, "", 0);
    }
    buffer_append(&s->told, "", 1);
    return ROW_BAD;
}

/* Columns that a file of refused rows has beside its own. */
static bool is_left_out(const cell *name) {
    static const char *const NAMES[] = {"rejected_row", "rejected_column", "rejected_value",
                                        "rejected_reason"};
    for (size_t n = 0; n < COUNT_OF(NAMES); n++) {
        if (name->size == strlen(NAMES[n]) && memcmp(name->text, NAMES[n], name->size) == 0) {
            return true;
        }
    }
    return false;
}

static tape_status read_header(row_source *s, tape_error *error) {
    bool seen[IMPORT_COLUMNS_MAX] = {false};
    row_problem problem;
    size_t size = 0;
    size_t count = 0;
    char *what = NULL;
    tape_status status = TAPE_OK;
    switch (next_csv_row(s, &size, &count, &problem, error)) {
    case ROW_FAIL:
        return error == NULL ? TAPE_INVALID : error->status;
    case ROW_END:
        return error_set_file(error, TAPE_INVALID, s->file->path, TAPE_NO_OFFSET,
                              "%s is empty: the first row of a CSV file names its columns",
                              s->file->path);
    case ROW_BAD:
        return error_set_file(error, TAPE_INVALID, s->file->path, TAPE_NO_OFFSET,
                              "%s: in the first row, which names the columns, %s", s->file->path,
                              problem.reason);
    case ROW_GOOD:
        break;
    }
    if (count > IMPORT_COLUMNS_MAX) {
        return error_set_file(error, TAPE_INVALID, s->file->path, TAPE_NO_OFFSET,
                              "%s has %zu columns, the limit is %u", s->file->path, count,
                              IMPORT_COLUMNS_MAX);
    }
    what = mem_printf("the first row of %s names", s->file->path);
    for (size_t n = 0; n < count && status == TAPE_OK; n++) {
        const cell *name = &s->cells[n];
        if (!is_left_out(name)) {
            status =
                import_column(s->table, what, name->text, name->size, seen, &s->fields[n], error);
            csv_append(&s->header, s->header.size == 0, name->text, name->size);
        }
        s->column_count++;
    }
    buffer_append(&s->header, "", 1);
    if (status == TAPE_OK) {
        status = import_columns_end(s->table, what, seen, error);
    }
    free(what);
    return status;
}

static row_outcome ragged(const row_source *s, size_t count, row_problem *problem) {
    char reason[sizeof problem->reason];
    bool fewer = count < s->column_count;
    const cell *extra = &s->cells[s->column_count < IMPORT_COLUMNS_MAX ? s->column_count : 0];
    (void)snprintf(reason, sizeof reason, "the row has %zu cells, the first row names %zu columns",
                   count, s->column_count);
    problem_set(problem, column_name(s, fewer ? count : s->column_count - 1), extra->text,
                fewer ? 0 : extra->size, reason);
    return ROW_BAD;
}

/* The cells of the row as CSV, without those left out. */
static void tell_cells(row_source *s, size_t count) {
    bool first = true;
    s->told.size = 0;
    for (size_t n = 0; n < count && n < IMPORT_COLUMNS_MAX; n++) {
        if (n >= s->column_count || s->fields[n] != NULL) {
            csv_append(&s->told, first, s->cells[n].text, s->cells[n].size);
            first = false;
        }
    }
    buffer_append(&s->told, "", 1);
}

static row_outcome fill_record(const row_source *s, size_t count, void *record,
                               row_problem *problem) {
    if (count != s->column_count) {
        return ragged(s, count, problem);
    }
    record_defaults(s->table, record);
    for (size_t n = 0; n < count; n++) {
        tape_error reason;
        if (s->fields[n] != NULL &&
            record_field_from_text(s->table, s->fields[n], s->cells[n].text, s->cells[n].size,
                                   record, &reason) != TAPE_OK) {
            problem_from_error(problem, s->table, &reason);
            return ROW_BAD;
        }
    }
    return import_validate(s->table, record, problem);
}

static row_outcome next_csv_record(row_source *s, void *record, row_problem *problem,
                                   tape_error *error) {
    size_t size = 0;
    size_t count = 0;
    row_outcome outcome = next_csv_row(s, &size, &count, problem, error);
    if (record == NULL && outcome == ROW_BAD) {
        return ROW_GOOD;
    }
    if (record != NULL && outcome == ROW_GOOD) {
        outcome = fill_record(s, count, record, problem);
        if (outcome == ROW_BAD) {
            tell_cells(s, count);
        }
    }
    problem->line = (const char *)s->told.data;
    problem->header = (const char *)s->header.data;
    return outcome;
}

/* --- JSON lines --- */

static row_outcome next_json_record(row_source *s, void *record, row_problem *problem,
                                    tape_error *error) {
    size_t size = 0;
    bool end;
    tape_error reason;
    bool first = s->first;
    if (next_line(s, &size, &end, error) != TAPE_OK) {
        return ROW_FAIL;
    }
    if (end) {
        return ROW_END;
    }
    const char *text = s->buffer + s->start;
    if (first && text[0] == '[') {
        (void)error_set_file(error, TAPE_INVALID, s->file->path, TAPE_NO_OFFSET,
                             "%s is a JSON array: one object per line is needed, or a select, "
                             "which reads both",
                             s->file->path);
        return ROW_FAIL;
    }
    if (record == NULL) {
        return ROW_GOOD;
    }
    row_outcome outcome = ROW_BAD;
    if (record_from_json(s->table, text, size, record, &reason) == TAPE_OK) {
        outcome = import_validate(s->table, record, problem);
    } else {
        problem_from_error(problem, s->table, &reason);
    }
    if (outcome == ROW_BAD) {
        s->told.size = 0;
        csv_append(&s->told, true, text, size);
        buffer_append(&s->told, "", 1);
        problem->line = (const char *)s->told.data;
        problem->header = "json";
    }
    return outcome;
}

/* --- both --- */

tape_status row_source_open(row_source **out, const import_file *file, const tape_table_info *table,
                            tape_error *error) {
    row_source *s = mem_zalloc(sizeof *s);
    s->file = file;
    s->table = table;
    s->first = true;
    tape_status status = byte_source_open(&s->bytes, file, error);
    if (status == TAPE_OK && file->kind == IMPORT_CSV) {
        status = read_header(s, error);
    }
    if (status != TAPE_OK) {
        row_source_close(&s);
    }
    *out = s;
    return status;
}

void row_source_close(row_source **source) {
    row_source *s = *source;
    *source = NULL;
    if (s == NULL) {
        return;
    }
    byte_source_close(&s->bytes);
    buffer_deinit(&s->header);
    buffer_deinit(&s->told);
    free(s->buffer);
    free(s->unquoted);
    free(s);
}

row_outcome row_source_next(row_source *s, void *record, row_problem *problem, tape_error *error) {
    return s->file->kind == IMPORT_CSV ? next_csv_record(s, record, problem, error)
                                       : next_json_record(s, record, problem, error);
}

uint64_t row_source_position(const row_source *s) {
    return byte_source_position(s->bytes);
}
