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

#define XXH_INLINE_ALL
#include <xxhash.h>

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

tape_status record_key_count_error(const tape_table_info *table, const char *limit, size_t count,
                                   tape_error *error) {
    char names[256] = "";
    for (uint32_t i = 0; i < table->key_count; i++) {
        size_t used = strlen(names);
        (void)snprintf(names + used, sizeof names - used, "%s%s", i > 0 ? ", " : "",
                       table->fields[table->key_fields[i]].name);
    }
    return error_set(error, TAPE_INVALID, "a key of %s has %s%u part%s (%s), not %zu", table->name,
                     limit, table->key_count, table->key_count == 1 ? "" : "s", names, count);
}

tape_status record_key_part(const tape_table_info *table, const tape_field_info *field,
                            const char *text, void *record, tape_error *error) {
    size_t length = strlen(text);
    if (length == 0) {
        return record_field_error(table, field, error, "is empty: it is the key");
    }
    if (field->kind != TAPE_FIELD_U64) {
        return record_id_from_text(table, field, text, length, record, error);
    }
    char shown[RECORD_SHOWN_BYTES];
    uint64_t value;
    if (!number_parse_u64(text, length, &value)) {
        return record_field_error(table, field, error,
                                  "is \"%s\": it must be a number from 0 to 2^64 - 1",
                                  record_show(text, length, shown));
    }
    store_u64((uint8_t *)record + field->offset, value);
    return TAPE_OK;
}

tape_status record_key_from_text(const tape_table_info *table, const char *const *parts,
                                 size_t count, uint8_t out[RECORD_KEY_BYTES_MAX], size_t *size,
                                 tape_error *error) {
    uint8_t record[TAPE_RECORD_BYTES_MAX] __attribute__((aligned(8))) = {0};
    if (count != table->key_count) {
        return record_key_count_error(table, "", count, error);
    }
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        tape_status status = record_key_part(table, field, parts[i], record, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    *size = record_key(table, record, out);
    return TAPE_OK;
}

void record_key_hash(slice key, uint64_t out[2]) {
    XXH128_hash_t hash = XXH3_128bits(key.data, key.size);
    out[0] = hash.low64;
    out[1] = hash.high64;
}

static inline int compare_u64(uint64_t a, uint64_t b) {
    return (a > b) - (a < b);
}

/* As memcmp, inline: keys are short. The last word overlaps the one before it. */
static inline int compare_bytes(const uint8_t *a, const uint8_t *b, size_t size) {
    for (size_t at = 0; at + 8 <= size; at += 8) {
        uint64_t x = load_u64(a + at);
        uint64_t y = load_u64(b + at);
        if (x != y) {
            return compare_u64(__builtin_bswap64(x), __builtin_bswap64(y));
        }
    }
    if (size >= 8) {
        return compare_u64(__builtin_bswap64(load_u64(a + size - 8)),
                           __builtin_bswap64(load_u64(b + size - 8)));
    }
    for (size_t at = 0; at < size; at++) {
        if (a[at] != b[at]) {
            return a[at] < b[at] ? -1 : 1;
        }
    }
    return 0;
}

/* The rest of a key, `size` bytes, with the identifier that ends the payload's key. Its padding is
 * below every byte of text, so that the field's full width may be compared; bytes of the key that
 * equal padding are bytes the payload's key does not have. */
static int compare_last_id(const uint8_t *key, size_t size, const uint8_t *id, size_t width) {
    size_t common = size < width ? size : width;
    int order = compare_bytes(key, id, common);
    if (order != 0) {
        return order;
    }
    if (size > width || (size > 0 && key[size - 1] == 0)) {
        return 1;
    }
    return size == width || id[size] == 0 ? 0 : -1;
}

int record_key_compare(const tape_table_info *table, slice key, const void *payload) {
    if (key.size == 0) {
        return -1;
    }
    if (key.data[0] != (uint8_t)table->id) {
        return key.data[0] < (uint8_t)table->id ? -1 : 1;
    }
    const uint8_t *rest = key.data + 1;
    size_t size = key.size - 1;
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        const uint8_t *from = record_field_at(field, payload);
        size_t width = field->size_bytes;
        uint64_t big_endian;
        if (field->kind == TAPE_FIELD_U64) {
            big_endian = __builtin_bswap64(load_u64(from));
            from = (const uint8_t *)&big_endian;
        } else if (i + 1 == table->key_count) {
            return compare_last_id(rest, size, from, width);
        }
        int order = compare_bytes(rest, from, size < width ? size : width);
        if (order != 0 || size < width) {
            return order != 0 ? order : -1;
        }
        rest += width;
        size -= width;
    }
    return size > 0 ? 1 : 0;
}

int record_key_compare_payloads(const tape_table_info *table, const void *a, const void *b) {
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        const uint8_t *x = record_field_at(field, a);
        const uint8_t *y = record_field_at(field, b);
        int order = field->kind == TAPE_FIELD_U64 ? compare_u64(load_u64(x), load_u64(y))
                                                  : compare_bytes(x, y, field->size_bytes);
        if (order != 0) {
            return order;
        }
    }
    return 0;
}
