/* key_range.c: bounds among encoded keys: of those that begin with some parts, from a text or
 * number to another.
 *
 * A bound is the beginning of a key, not always a whole one. An identifier's text without padding
 * is at or before every key whose field is that text or sorts after it, and after every other,
 * padded or not: padding is below every byte of text. What lies beyond everything that begins with
 * some bytes is those bytes with the last one raised by one; no byte is 0xff there, because the
 * first is a table id and identifiers are UTF-8, but for bytes of a number, and those are dropped.
 */
#include "record_internal.h"

static void bound_add(uint8_t bytes[RECORD_KEY_BYTES_MAX], size_t *size, const void *data,
                      size_t more) {
    ASSERT(*size + more <= RECORD_KEY_BYTES_MAX);
    memcpy(bytes + *size, data, more);
    *size += more;
}

/* Adds a field as keys have it; `padded` to its width, or as long as its text is. */
static void bound_add_field(uint8_t bytes[RECORD_KEY_BYTES_MAX], size_t *size,
                            const tape_field_info *field, const void *record, bool padded) {
    const uint8_t *from = record_field_at(field, record);
    if (field->kind == TAPE_FIELD_U64) {
        uint64_t big_endian = __builtin_bswap64(load_u64(from));
        bound_add(bytes, size, &big_endian, sizeof big_endian);
        return;
    }
    bound_add(bytes, size, from, padded ? field->size_bytes : record_id_length(field, record));
}

/* The high bound of everything that begins as the low one does. */
static void bound_beyond(record_key_bounds *b) {
    memcpy(b->high_bytes, b->low_bytes, b->low_size);
    b->high_size = b->low_size;
    while (b->high_bytes[b->high_size - 1] == UINT8_MAX) {
        b->high_size--;
        ASSERT(b->high_size > 0);
    }
    b->high_bytes[b->high_size - 1]++;
}

/* Adds one of `from`, `to` and `prefix` to a bound. An empty text stands before every identifier.
 */
static tape_status bound_add_text(const tape_table_info *table, const tape_field_info *field,
                                  const char *name, const char *text,
                                  uint8_t bytes[RECORD_KEY_BYTES_MAX], size_t *size,
                                  tape_error *error) {
    uint8_t record[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8))) = {0};
    if (text[0] == '\0' && field->kind != TAPE_FIELD_U64) {
        return TAPE_OK;
    }
    tape_status status = record_key_part(table, field, text, record, error);
    if (status != TAPE_OK) {
        error_prefix(error, "%s", name);
        return status;
    }
    bound_add_field(bytes, size, field, record, false);
    return TAPE_OK;
}

/* Of a field that stands after the parts, which both bounds hold. */
static tape_status narrow(const tape_table_info *table, const tape_field_info *field,
                          const char *from, const char *to, const char *prefix,
                          record_key_bounds *b, tape_error *error) {
    size_t parts_size = b->low_size;
    tape_status status = TAPE_OK;
    if (prefix != NULL && (from != NULL || to != NULL)) {
        return error_set(error, TAPE_INVALID,
                         "%s.%s: a prefix cannot go together with from or to; leave one out",
                         table->name, field->name);
    }
    if (prefix != NULL && field->kind == TAPE_FIELD_U64) {
        return error_set(error, TAPE_INVALID, "%s.%s: a number has no prefix; ask with from and to",
                         table->name, field->name);
    }
    if (prefix != NULL) {
        status = bound_add_text(table, field, "prefix", prefix, b->low_bytes, &b->low_size, error);
        bound_beyond(b);
        return status;
    }
    if (to != NULL) {
        memcpy(b->high_bytes, b->low_bytes, parts_size);
        b->high_size = parts_size;
        status = bound_add_text(table, field, "to", to, b->high_bytes, &b->high_size, error);
    }
    if (status == TAPE_OK && from != NULL) {
        status = bound_add_text(table, field, "from", from, b->low_bytes, &b->low_size, error);
    }
    return status;
}

tape_status record_key_range(const tape_table_info *table, const char *const *parts, size_t count,
                             const char *from, const char *to, const char *prefix,
                             record_key_bounds *out, tape_error *error) {
    *out = (record_key_bounds){.low_bytes = {(uint8_t)table->id}, .low_size = 1};
    if (count > table->key_count) {
        return record_key_count_error(table, "at most ", count, error);
    }
    for (uint32_t i = 0; i < count; i++) {
        uint8_t record[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8))) = {0};
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        tape_status status = record_key_part(table, field, parts[i], record, error);
        if (status != TAPE_OK) {
            return status;
        }
        bound_add_field(out->low_bytes, &out->low_size, field, record, i + 1 < table->key_count);
    }
    if (count < table->key_count) {
        bound_beyond(out);
        return narrow(table, &table->fields[table->key_fields[count]], from, to, prefix, out,
                      error);
    }
    if (from != NULL || to != NULL || prefix != NULL) {
        return error_set(error, TAPE_INVALID,
                         "the key of %s is given in full: from, to and prefix have nothing left to "
                         "choose from",
                         table->name);
    }
    /* One key: the next bytes after it are itself and a zero. */
    memcpy(out->high_bytes, out->low_bytes, out->low_size);
    out->high_size = out->low_size;
    bound_add(out->high_bytes, &out->high_size, "", 1);
    return TAPE_OK;
}
