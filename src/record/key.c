/* key.c: keys as bytes that sort as their fields do.
 *
 * Format: one byte table id; then each key field in key order.
 *   identifier   its bytes, NUL-padded to the field's width, but for the last key field, which ends
 *                where its text ends
 *   u64          8 bytes, big-endian
 * Compared as memcmp does, a prefix before what it is a prefix of, keys of a table sort by their
 * first key field, then the second: no identifier holds a NUL (which is below every byte of text).
 */
#include "record_internal.h"

#include <stdio.h>

size_t record_key(const tape_table_info *table, const void *payload,
                  uint8_t out[RECORD_KEY_BYTES_MAX]) {
    size_t size = 1;
    out[0] = (uint8_t)table->id;
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        const uint8_t *from = record_field_at(field, payload);
        if (field->kind == TAPE_FIELD_U64) {
            store_u64(out + size, __builtin_bswap64(load_u64(from)));
            size += sizeof(uint64_t);
            continue;
        }
        memcpy(out + size, from, field->size_bytes);
        size += i + 1 < table->key_count ? field->size_bytes : record_id_length(field, payload);
    }
    return size;
}

tape_status record_key_from_text(const tape_table_info *table, const char *const *parts,
                                 size_t count, uint8_t out[RECORD_KEY_BYTES_MAX], size_t *size,
                                 tape_error *error) {
    uint8_t record[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8))) = {0};
    if (count != table->key_count) {
        char names[256] = "";
        for (uint32_t i = 0; i < table->key_count; i++) {
            size_t used = strlen(names);
            (void)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                           table->fields[table->key_fields[i]].name);
        }
        return error_set(error, TAPE_INVALID, "a key of %s has %u part%s (%s), not %zu",
                         table->name, table->key_count, table->key_count == 1 ? "" : "s", names,
                         count);
    }
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        size_t length = strlen(parts[i]);
        if (length == 0) {
            return record_field_error(table, field, error, "is empty: it is the key");
        }
        if (field->kind == TAPE_FIELD_U64) {
            char shown[RECORD_SHOWN_BYTES];
            uint64_t value;
            if (!number_parse_u64(parts[i], length, &value)) {
                return record_field_error(table, field, error,
                                          "is \"%s\": it must be a number from 0 to 2^64 - 1",
                                          record_show(parts[i], length, shown));
            }
            memcpy(record + field->offset, &value, sizeof value);
            continue;
        }
        tape_status status = record_id_from_text(table, field, parts[i], length, record, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    *size = record_key(table, record, out);
    return TAPE_OK;
}
