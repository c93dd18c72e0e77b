/* json_read.c: a record from a JSON object.
 *
 * jansson parses; duplicate members are refused there, unknown ones here. Nothing is converted
 * between kinds: a number is not text, a name is not a number.
 * Failure: INVALID naming the field and the value, or for text that is not JSON, the place. */
#include "record_internal.h"

#include <jansson.h>
#include <stdio.h>

static tape_status kind_error(const tape_table_info *table, const tape_field_info *field,
                              const json_t *value, const char *wanted, tape_error *error) {
    char shown[RECORD_SHOWN_BYTES];
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_ENSURE_ASCII);
    tape_status status = record_field_error(
        table, field, error, "is %s: it must be %s",
        text != NULL ? record_show(text, strlen(text), shown) : "of a wrong kind", wanted);
    free(text);
    return status;
}

static tape_status read_numbers(const tape_table_info *table, const tape_field_info *field,
                                const json_t *value, void *record, tape_error *error) {
    double numbers[TAPE_RECORD_BYTES_MAX / sizeof(double)] = {0};
    size_t count = 1;
    if (field->count > 1) {
        if (!json_is_array(value)) {
            return kind_error(table, field, value, "an array of numbers", error);
        }
        count = json_array_size(value);
        if (count > field->count) {
            return record_field_error(table, field, error, "has %zu elements: the limit is %u",
                                      count, field->count);
        }
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *number = field->count > 1 ? json_array_get(value, i) : value;
        if (!json_is_number(number)) {
            return kind_error(table, field, number, "a number", error);
        }
        numbers[i] = json_number_value(number);
    }
    memcpy((uint8_t *)record + field->offset, numbers, field->count * sizeof(double));
    return TAPE_OK;
}

static tape_status read_time(const tape_table_info *table, const tape_field_info *field,
                             const json_t *value, void *record, tape_error *error) {
    int64_t time;
    if (json_is_integer(value)) {
        time = json_integer_value(value);
    } else if (!json_is_string(value) ||
               !record_parse_time(json_string_value(value), json_string_length(value), &time)) {
        char shown[RECORD_SHOWN_BYTES];
        const char *text = json_string_value(value);
        if (text == NULL) {
            return kind_error(table, field, value, "a string or an integer", error);
        }
        return record_field_error(table, field, error, "is \"%s\": %s",
                                  record_show(text, json_string_length(value), shown),
                                  RECORD_TIME_REASON);
    }
    memcpy((uint8_t *)record + field->offset, &time, sizeof time);
    return TAPE_OK;
}

static tape_status read_member(const tape_table_info *table, const tape_field_info *field,
                               const json_t *value, void *record, tape_error *error) {
    if (json_is_null(value)) {
        return TAPE_OK;
    }
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return record_field_error(table, field, error, "is given: %s", RECORD_SEQ_REASON);
    case TAPE_FIELD_TIME:
        return read_time(table, field, value, record, error);
    case TAPE_FIELD_F64:
        return read_numbers(table, field, value, record, error);
    case TAPE_FIELD_ENUM:
        if (!json_is_string(value)) {
            return kind_error(table, field, value, "a string, the value's name", error);
        }
        return record_enum_from_text(table, field, json_string_value(value),
                                     json_string_length(value), record, error);
    case TAPE_FIELD_ID:
        if (!json_is_string(value)) {
            return kind_error(table, field, value, "a string", error);
        }
        return record_id_from_text(table, field, json_string_value(value),
                                   json_string_length(value), record, error);
    }
    return TAPE_OK;
}

static tape_status read_object(const tape_table_info *table, json_t *object, void *out,
                               tape_error *error) {
    char shown[RECORD_SHOWN_BYTES];
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value) {
        const tape_field_info *field = record_field_named(table, name);
        if (field != NULL) {
            tape_status status = read_member(table, field, value, out, error);
            if (status != TAPE_OK) {
                return status;
            }
            continue;
        }
        if (strcmp(name, "table") != 0) {
            return error_set(error, TAPE_INVALID, "%s has no field \"%s\"", table->name,
                             record_show(name, strlen(name), shown));
        }
        if (!json_is_string(value) || strcmp(json_string_value(value), table->name) != 0) {
            return error_set(error, TAPE_INVALID, "the record's \"table\" is not \"%s\"",
                             table->name);
        }
    }
    return TAPE_OK;
}

/* The name of the member whose value stands at `position`, as far as text that does not parse has
 * one: the last name before a colon. Empty when there is none. */
static void name_before(const char *text, size_t position, char out[RECORD_SHOWN_BYTES]) {
    out[0] = '\0';
    while (position > 0 && text[position - 1] != ':') {
        position--;
    }
    size_t end = position > 0 ? position - 1 : 0;
    while (end > 0 && text[end - 1] != '"') {
        end--;
    }
    size_t start = end > 0 ? end - 1 : 0;
    while (start > 0 && text[start - 1] != '"') {
        start--;
    }
    if (start > 0) {
        (void)record_show(text + start, end - 1 - start, out);
    }
}

static tape_status parse_error(const tape_table_info *table, const char *text, size_t size,
                               const json_error_t *parse, tape_error *error) {
    char reason[2 * RECORD_SHOWN_BYTES];
    char name[RECORD_SHOWN_BYTES];
    size_t position = parse->position > 0 ? (size_t)parse->position : 0;
    size_t used = 0;
    name_before(text, position < size ? position : size, name);
    for (const char *at = parse->text; *at != '\0' && used + 1 < sizeof reason; at++) {
        reason[used++] = *at >= 0x20 && *at < 0x7f ? *at : ' ';
    }
    reason[used] = '\0';
    return error_set(error, TAPE_INVALID, "%s%s%s: not a JSON object: %s (byte %zu)", table->name,
                     name[0] != '\0' ? "." : "", name, reason, position);
}

tape_status record_from_json(const tape_table_info *table, const char *text, size_t size, void *out,
                             tape_error *error) {
    json_error_t parse;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &parse);
    if (object == NULL && json_error_code(&parse) == json_error_numeric_overflow) {
        /* An integer beyond 64 bits: good for a double, and refused where an integer is needed. */
        object = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &parse);
    }
    if (object == NULL && json_error_code(&parse) == json_error_out_of_memory) {
        return error_set(error, TAPE_NO_MEMORY, "%s: no memory to read a JSON object of %zu bytes",
                         table->name, size);
    }
    if (object == NULL) {
        return parse_error(table, text, size, &parse, error);
    }
    record_defaults(table, out);
    tape_status status =
        json_is_object(object)
            ? read_object(table, object, out, error)
            : error_set(error, TAPE_INVALID, "%s: not a JSON object but an array", table->name);
    json_decref(object);
    return status;
}
