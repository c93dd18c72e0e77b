/* Import: rows of a DuckDB result, by the types of its columns.
 *
 * What a field takes: times any date or timestamp, an integer of nanoseconds, or text; numbers any
 * numeric type or text; enumerations text; identifiers text or an integer; arrays a list of
 * numbers. NULL is the default. A value that does not fit is the row's problem, never rounded to
 * one that does. Threads: one at a time. */
#include "query/import_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct value_source {
    duck_result *result;
    const tape_table_info *table;
    const duck_column *columns;
    size_t column_count;
    const tape_field_info *fields[IMPORT_COLUMNS_MAX];
    size_t row;
    size_t rows;
    buffer header; /* the columns' names as CSV */
    buffer line;   /* of a row that was refused */
};

/* --- values as text --- */

#define INTEGER_TEXT_BYTES 48u

static size_t format_integer(duck_int128 value, char out[INTEGER_TEXT_BYTES]) {
    __extension__ unsigned __int128 left =
        value < 0 ? -(unsigned __int128)value : (unsigned __int128)value;
    char digits[INTEGER_TEXT_BYTES];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + (int)(left % 10));
        left /= 10;
    } while (left > 0);
    size_t size = 0;
    if (value < 0) {
        out[size++] = '-';
    }
    while (count > 0) {
        out[size++] = digits[--count];
    }
    return size;
}

static size_t format_decimal(duck_int128 value, uint8_t scale, char out[2 * INTEGER_TEXT_BYTES]) {
    char digits[INTEGER_TEXT_BYTES];
    size_t count = format_integer(value < 0 ? -value : value, digits);
    size_t size = 0;
    if (value < 0) {
        out[size++] = '-';
    }
    for (size_t n = count; n <= scale; n++) {
        out[size++] = '0';
        if (n == count && scale > 0 && count <= scale) {
            out[size++] = '.';
        }
    }
    for (size_t n = 0; n < count; n++) {
        if (scale > 0 && count > scale && n == count - scale) {
            out[size++] = '.';
        }
        out[size++] = digits[n];
    }
    return size;
}

static void append_scalar(buffer *out, const duck_value *value) {
    char text[2 * INTEGER_TEXT_BYTES];
    int64_t ns;
    switch (value->kind) {
    case DUCK_INTEGER:
        buffer_append(out, text, format_integer(value->integer, text));
        break;
    case DUCK_DECIMAL:
        buffer_append(out, text, format_decimal(value->integer, value->scale, text));
        break;
    case DUCK_REAL:
        buffer_append(out, text, number_format_f64(value->real, text));
        break;
    case DUCK_TEXT:
        buffer_append(out, value->text, value->size);
        break;
    case DUCK_TIME:
        if (value->infinite) {
            buffer_append_text(out, value->integer > 0 ? "infinity" : "-infinity");
        } else if (!__builtin_mul_overflow((int64_t)value->integer, value->unit_ns, &ns)) {
            buffer_append(out, text, record_format_time(ns, text));
        } else {
            buffer_append(out, text, format_integer(value->integer, text));
        }
        break;
    case DUCK_NULL:
    case DUCK_LIST:
    case DUCK_OTHER:
        break;
    }
}

static void append_value(const value_source *s, buffer *out, size_t column,
                         const duck_value *value) {
    if (value->kind != DUCK_LIST) {
        append_scalar(out, value);
        return;
    }
    buffer_append(out, "[", 1);
    for (uint64_t n = 0; n < value->size; n++) {
        duck_value element;
        duck_result_element(s->result, column, value->first + n, &element);
        buffer_append(out, ",", n > 0);
        append_scalar(out, &element);
    }
    buffer_append(out, "]", 1);
}

/* The current row as CSV. */
static void row_as_csv(value_source *s) {
    buffer cell = {0};
    s->line.size = 0;
    for (size_t c = 0; c < s->column_count; c++) {
        duck_value value;
        duck_result_value(s->result, c, s->row, &value);
        cell.size = 0;
        append_value(s, &cell, c, &value);
        csv_append(&s->line, c == 0, (const char *)cell.data, cell.size);
    }
    buffer_append(&s->line, "", 1);
    buffer_deinit(&cell);
}

/* --- columns --- */

static bool is_number(duck_kind kind) {
    return kind == DUCK_INTEGER || kind == DUCK_DECIMAL || kind == DUCK_REAL || kind == DUCK_NULL;
}

#define NO_LIST "it must be a list of numbers"
#define NO_NAME "it must be text, the value's name"

/* What the field takes, or NULL when the column's type can become it. */
static const char *type_problem(const tape_field_info *field, const duck_column *column) {
    duck_kind kind = column->kind;
    /* A column of NULLs has the type INTEGER. */
    if (kind == DUCK_NULL || kind == DUCK_TEXT || kind == DUCK_INTEGER) {
        return NULL;
    }
    switch (field->kind) {
    case TAPE_FIELD_TIME:
        return kind == DUCK_TIME
                   ? NULL
                   : "it must be a timestamp, a date, text, or an integer of nanoseconds";
    case TAPE_FIELD_F64:
        if (field->count > 1) {
            return kind == DUCK_LIST && is_number(column->element) ? NULL : NO_LIST;
        }
        return is_number(kind) ? NULL : "it must be a number";
    case TAPE_FIELD_ENUM:
        return NO_NAME;
    case TAPE_FIELD_ID:
        return "it must be text or an integer: cast it to VARCHAR";
    case TAPE_FIELD_U64:
        break;
    }
    return "it cannot be given";
}

static tape_status take_columns(value_source *s, const char *what, tape_error *error) {
    bool seen[IMPORT_COLUMNS_MAX] = {false};
    if (s->column_count > IMPORT_COLUMNS_MAX) {
        return error_set(error, TAPE_INVALID, "%s %zu columns, the limit is %u", what,
                         s->column_count, IMPORT_COLUMNS_MAX);
    }
    for (size_t c = 0; c < s->column_count; c++) {
        const duck_column *column = &s->columns[c];
        tape_status status = import_column(s->table, what, column->name, strlen(column->name), seen,
                                           &s->fields[c], error);
        if (status != TAPE_OK) {
            return status;
        }
        const char *problem = type_problem(s->fields[c], column);
        if (problem != NULL) {
            return error_set(error, TAPE_INVALID, "column %s is %s: %s", column->name,
                             column->sql_type, problem);
        }
    }
    return import_columns_end(s->table, what, seen, error);
}

tape_status value_source_open(value_source **out, duck_result *result, const char *what,
                              const tape_table_info *table, tape_error *error) {
    value_source *s = mem_zalloc(sizeof *s);
    s->result = result;
    s->table = table;
    s->column_count = duck_result_columns(result, &s->columns);
    tape_status status = take_columns(s, what, error);
    for (size_t c = 0; c < s->column_count; c++) {
        csv_append(&s->header, c == 0, s->columns[c].name, strlen(s->columns[c].name));
    }
    buffer_append(&s->header, "", 1);
    if (status != TAPE_OK) {
        value_source_close(&s);
    }
    *out = s;
    return status;
}

void value_source_close(value_source **source) {
    value_source *s = *source;
    *source = NULL;
    if (s != NULL) {
        buffer_deinit(&s->header);
        buffer_deinit(&s->line);
        free(s);
    }
}

/* --- conversion --- */

/* Each returns NULL, or why the value cannot be the field's. */

static const char *to_time(const duck_value *value, int64_t *out) {
    if (value->kind == DUCK_TIME && value->infinite) {
        return "it must be a finite time";
    }
    duck_int128 ns = value->integer;
    if (value->kind == DUCK_TIME) {
        ns *= value->unit_ns;
    }
    if (ns < INT64_MIN || ns > INT64_MAX) {
        return "it must be between 1677 and 2262";
    }
    *out = (int64_t)ns;
    return NULL;
}

/* Powers of ten that a double holds exactly, and integers that it does. */
#define EXACT_SCALE_MAX 22
#define EXACT_INTEGER_MAX (INT64_C(1) << 53)

static const char *to_number(const duck_value *value, double *out) {
    static const double TENS[EXACT_SCALE_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    char text[2 * INTEGER_TEXT_BYTES + 1];
    switch (value->kind) {
    case DUCK_NULL:
        *out = 0;
        break;
    case DUCK_INTEGER:
        *out = (double)value->integer;
        break;
    case DUCK_DECIMAL:
        if (value->integer <= EXACT_INTEGER_MAX && value->integer >= -EXACT_INTEGER_MAX &&
            value->scale <= EXACT_SCALE_MAX) {
            /* Both are exact, so the quotient is the nearest double. */
            *out = (double)(int64_t)value->integer / TENS[value->scale];
        } else {
            text[format_decimal(value->integer, value->scale, text)] = '\0';
            *out = strtod(text, NULL);
        }
        break;
    case DUCK_REAL:
        *out = value->real;
        break;
    default:
        return "it is not a number";
    }
    return isfinite(*out) ? NULL : "it must be a finite number";
}

static const char *to_array(const value_source *s, size_t column, const duck_value *value,
                            double *out) {
    if (value->kind != DUCK_LIST) {
        return NO_LIST;
    }
    if (value->size > s->fields[column]->count) {
        return "it has too many elements";
    }
    for (uint64_t n = 0; n < value->size; n++) {
        duck_value element;
        duck_result_element(s->result, column, value->first + n, &element);
        const char *reason = to_number(&element, &out[n]);
        if (reason != NULL) {
            return reason;
        }
    }
    return NULL;
}

static const char *to_field(const value_source *s, size_t column, const duck_value *value,
                            void *record) {
    const tape_field_info *field = s->fields[column];
    void *to = (uint8_t *)record + field->offset;
    if (field->kind == TAPE_FIELD_TIME) {
        return to_time(value, to);
    }
    if (field->kind == TAPE_FIELD_ENUM) {
        return NO_NAME;
    }
    return field->count > 1 ? to_array(s, column, value, to) : to_number(value, to);
}

static row_outcome convert(value_source *s, size_t column, void *record, row_problem *problem) {
    const tape_field_info *field = s->fields[column];
    char digits[INTEGER_TEXT_BYTES];
    tape_error error;
    duck_value value;
    duck_result_value(s->result, column, s->row, &value);
    if (value.kind == DUCK_NULL) {
        return ROW_GOOD;
    }
    if (value.kind == DUCK_INTEGER && field->kind == TAPE_FIELD_ID) {
        value.kind = DUCK_TEXT;
        value.text = digits;
        value.size = format_integer(value.integer, digits);
    }
    if (value.kind == DUCK_TEXT) {
        if (record_field_from_text(s->table, field, value.text, value.size, record, &error) ==
            TAPE_OK) {
            return ROW_GOOD;
        }
        problem_from_error(problem, s->table, &error);
        return ROW_BAD;
    }
    const char *reason = to_field(s, column, &value, record);
    if (reason != NULL) {
        buffer text = {0};
        append_value(s, &text, column, &value);
        problem_set(problem, field->name, (const char *)text.data, text.size, reason);
        buffer_deinit(&text);
        return ROW_BAD;
    }
    return ROW_GOOD;
}

row_outcome value_source_next(value_source *s, void *record, row_problem *problem,
                              tape_error *error) {
    if (s->row == s->rows) {
        s->row = 0;
        if (duck_result_next(s->result, &s->rows, error) != TAPE_OK) {
            s->rows = 0;
            return ROW_FAIL;
        }
        if (s->rows == 0) {
            return ROW_END;
        }
    }
    row_outcome outcome = ROW_GOOD;
    if (record != NULL) {
        record_defaults(s->table, record);
        for (size_t c = 0; c < s->column_count && outcome == ROW_GOOD; c++) {
            outcome = convert(s, c, record, problem);
        }
        if (outcome == ROW_GOOD) {
            outcome = import_validate(s->table, record, problem);
        }
        if (outcome == ROW_BAD) {
            row_as_csv(s);
            problem->line = (const char *)s->line.data;
            problem->header = (const char *)s->header.data;
        }
    }
    s->row++;
    return outcome;
}
