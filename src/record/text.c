/* text.c: fields from text, and the words of errors about fields.
 *
 * Failure: INVALID as "TABLE.FIELD is VALUE: reason", where the value is shortened and made
 * printable. */
#include "record_internal.h"

#include <math.h>
#include <stdio.h>

const char *record_show(const char *text, size_t size, char out[RECORD_SHOWN_BYTES]) {
    static const char hex[] = "0123456789abcdef";
    static const char more[] = "...";
    size_t at = 0;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bool plain = c >= 0x20 && c < 0x7f;
        if (at + (plain ? 1u : 4u) + sizeof more > RECORD_SHOWN_BYTES) {
            memcpy(out + at, more, sizeof more);
            return out;
        }
        if (plain) {
            out[at++] = (char)c;
            continue;
        }
        out[at++] = '\\';
        out[at++] = 'x';
        out[at++] = hex[c >> 4];
        out[at++] = hex[c & 15];
    }
    out[at] = '\0';
    return out;
}

tape_status record_field_error(const tape_table_info *table, const tape_field_info *field,
                               tape_error *error, const char *format, ...) {
    char reason[sizeof error->text];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    return error_set(error, TAPE_INVALID, "%s.%s %s", table->name, field->name, reason);
}

tape_status record_id_from_text(const tape_table_info *table, const tape_field_info *field,
                                const char *text, size_t size, void *record, tape_error *error) {
    char shown[RECORD_SHOWN_BYTES];
    const char *problem = record_id_problem(text, size);
    if (problem != NULL) {
        return record_field_error(table, field, error, "is \"%s\": %s",
                                  record_show(text, size, shown), problem);
    }
    if (size > field->size_bytes) {
        return record_field_error(table, field, error,
                                  "is \"%s\": it has %zu bytes, and the limit is %u",
                                  record_show(text, size, shown), size, field->size_bytes);
    }
    uint8_t *to = (uint8_t *)record + field->offset;
    memcpy(to, text, size);
    memset(to + size, 0, field->size_bytes - size);
    return TAPE_OK;
}

static void list_names(const tape_field_info *field, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (unsigned i = 0; i < field->enum_count && used < size; i++) {
        if (field->enum_names[i] != NULL) {
            used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? ", " : "",
                                     field->enum_names[i]);
        }
    }
}

tape_status record_enum_from_text(const tape_table_info *table, const tape_field_info *field,
                                  const char *text, size_t size, void *record, tape_error *error) {
    char shown[RECORD_SHOWN_BYTES];
    char names[256];
    int value = record_enum_value(field, text, size);
    if (value < 0) {
        list_names(field, names, sizeof names);
        return record_field_error(table, field, error, "is \"%s\": it must be one of %s",
                                  record_show(text, size, shown), names);
    }
    ((uint8_t *)record)[field->offset] = (uint8_t)value;
    return TAPE_OK;
}

static tape_status number_from_text(const tape_table_info *table, const tape_field_info *field,
                                    const char *text, size_t size, double *out, tape_error *error) {
    char shown[RECORD_SHOWN_BYTES];
    if (!number_parse_f64(text, size, out)) {
        return record_field_error(table, field, error, "is \"%s\": it is not a number",
                                  record_show(text, size, shown));
    }
    if (!isfinite(*out)) {
        return record_field_error(table, field, error, "is \"%s\": it must be a finite number",
                                  record_show(text, size, shown));
    }
    return TAPE_OK;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static void trim(const char **text, size_t *size) {
    while (*size > 0 && is_blank(**text)) {
        (*text)++;
        (*size)--;
    }
    while (*size > 0 && is_blank((*text)[*size - 1])) {
        (*size)--;
    }
}

/* "[1, 2.5]": up to the field's count; the rest of the array is zero. */
static tape_status array_from_text(const tape_table_info *table, const tape_field_info *field,
                                   const char *text, size_t size, void *record, tape_error *error) {
    double values[TAPE_RECORD_BYTES_MAX / sizeof(double)] = {0};
    char shown[RECORD_SHOWN_BYTES];
    const char *at = text;
    size_t left = size;
    size_t count = 0;
    trim(&at, &left);
    if (left < 2 || at[0] != '[' || at[left - 1] != ']') {
        return record_field_error(table, field, error,
                                  "is \"%s\": it must be an array like [1,2.5]",
                                  record_show(text, size, shown));
    }
    at++;
    left -= 2;
    trim(&at, &left);
    while (left > 0) {
        const char *comma = memchr(at, ',', left);
        size_t length = comma != NULL ? (size_t)(comma - at) : left;
        const char *number = at;
        size_t number_size = length;
        if (count == field->count) {
            return record_field_error(table, field, error,
                                      "is \"%s\": it has more than %u elements",
                                      record_show(text, size, shown), field->count);
        }
        trim(&number, &number_size);
        tape_status status =
            number_from_text(table, field, number, number_size, &values[count], error);
        if (status != TAPE_OK) {
            return status;
        }
        count++;
        at += length;
        left -= length;
        if (comma != NULL) {
            at++;
            left--;
            if (left == 0) {
                return record_field_error(table, field, error, "is \"%s\": it ends in a comma",
                                          record_show(text, size, shown));
            }
        }
    }
    memcpy((uint8_t *)record + field->offset, values, field->count * sizeof(double));
    return TAPE_OK;
}

tape_status record_field_from_text(const tape_table_info *table, const tape_field_info *field,
                                   const char *text, size_t size, void *record, tape_error *error) {
    uint8_t *to = (uint8_t *)record + field->offset;
    char shown[RECORD_SHOWN_BYTES];
    tape_status status;
    double number;
    int64_t time;
    if (size == 0) {
        memset(to, 0, (size_t)field->size_bytes * field->count);
        return TAPE_OK;
    }
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return record_field_error(table, field, error, "is \"%s\": %s",
                                  record_show(text, size, shown), RECORD_SEQ_REASON);
    case TAPE_FIELD_TIME:
        if (!record_parse_time(text, size, &time)) {
            return record_field_error(table, field, error, "is \"%s\": %s",
                                      record_show(text, size, shown), RECORD_TIME_REASON);
        }
        memcpy(to, &time, sizeof time);
        return TAPE_OK;
    case TAPE_FIELD_F64:
        if (field->count > 1) {
            return array_from_text(table, field, text, size, record, error);
        }
        status = number_from_text(table, field, text, size, &number, error);
        if (status == TAPE_OK) {
            memcpy(to, &number, sizeof number);
        }
        return status;
    case TAPE_FIELD_ENUM:
        return record_enum_from_text(table, field, text, size, record, error);
    case TAPE_FIELD_ID:
        return record_id_from_text(table, field, text, size, record, error);
    }
    return TAPE_OK;
}
