/* json_write.c: a record as one JSON object. */
#include "record_internal.h"

#include <math.h>

/* Room for everything of a member but text: its name is counted apart. */
#define MEMBER_BYTES 48
#define ESCAPE_BYTES 6 /* \u0000 */

static char *put(char *at, const char *text, size_t size) {
    memcpy(at, text, size);
    return at + size;
}

static char *put_text(char *at, const char *text) {
    return put(at, text, strlen(text));
}

/* Records hold no control characters; escaped all the same, so that the output is always JSON. */
static char *put_string(char *at, const char *text, size_t size) {
    static const char hex[] = "0123456789abcdef";
    *at++ = '"';
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if ((unsigned char)c < 0x20) {
            at = put_text(at, "\\u00");
            *at++ = hex[(unsigned char)c >> 4];
            *at++ = hex[(unsigned char)c & 15];
            continue;
        }
        if (c == '"' || c == '\\') {
            *at++ = '\\';
        }
        *at++ = c;
    }
    *at++ = '"';
    return at;
}

static char *put_number(char *at, const uint8_t *from) {
    char text[32];
    double value;
    memcpy(&value, from, sizeof value);
    if (!isfinite(value)) {
        return put_text(at, "null");
    }
    return put(at, text, number_format_f64(value, text));
}

static char *put_numbers(char *at, const tape_field_info *field, const uint8_t *from) {
    if (field->count == 1) {
        return put_number(at, from);
    }
    char separator = '[';
    for (uint32_t i = 0; i < field->count; i++) {
        *at++ = separator;
        at = put_number(at, from + i * sizeof(double));
        separator = ',';
    }
    *at++ = ']';
    return at;
}

/* A value that a later version of tape added to an enumeration has no name here: its number is
 * told. */
static char *put_enum(char *at, const tape_field_info *field, uint8_t value) {
    char text[32];
    if (value < field->enum_count) {
        return put_string(at, field->enum_names[value], strlen(field->enum_names[value]));
    }
    char *end = put_text(text, "unknown:");
    end += number_format_u64(value, end);
    return put_string(at, text, (size_t)(end - text));
}

static char *put_value(char *at, const tape_field_info *field, const void *record) {
    const uint8_t *from = record_field_at(field, record);
    char time[40];
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return at + number_format_u64(load_u64(from), at);
    case TAPE_FIELD_TIME:
        return put_string(at, time, record_format_time((int64_t)load_u64(from), time));
    case TAPE_FIELD_F64:
        return put_numbers(at, field, from);
    case TAPE_FIELD_ENUM:
        return put_enum(at, field, *from);
    case TAPE_FIELD_ID:
        return put_string(at, (const char *)from, record_id_length(field, record));
    }
    return at;
}

/* The most bytes a member with this field can take, name and all. */
static size_t member_bytes(const tape_field_info *field) {
    size_t value = (size_t)field->size_bytes * ESCAPE_BYTES;
    return strlen(field->name) + (value > MEMBER_BYTES ? value : MEMBER_BYTES) * field->count + 8;
}

void record_to_json(const tape_table_info *table, uint16_t version, const void *payload,
                    bool with_table, buffer *out) {
    for (uint32_t i = 0; i < table->field_count; i++) {
        const tape_field_info *field = &table->fields[i];
        buffer_reserve(out, member_bytes(field) + strlen(table->name) + MEMBER_BYTES);
        char *start = (char *)out->data + out->size;
        char *at = start;
        *at++ = i == 0 ? '{' : ',';
        *at++ = '"';
        at = put_text(at, field->name);
        at = put_text(at, "\":");
        if (record_field_present(field, version, payload)) {
            at = put_value(at, field, payload);
        } else {
            at = put_text(at, "null");
        }
        if (with_table && i == 1) {
            at = put_text(at, ",\"table\":");
            at = put_string(at, table->name, strlen(table->name));
        }
        out->size += (size_t)(at - start);
    }
    buffer_append(out, "}", 1);
}
