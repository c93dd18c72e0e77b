/* upgrade.c: records of other versions of their table.
 *
 * Versions only append fields (R4), so a record of any version is a prefix of, or begins with,
 * ours; zero bytes are every default (R3). What a version lacks is told by the field's
 * since_version, not by the record's size. */
#include "record_internal.h"

void record_defaults(const tape_table_info *table, void *out) {
    memset(out, 0, table->size_bytes);
}

void record_upgrade(const tape_table_info *table, uint16_t version, const void *payload,
                    size_t size, void *out) {
    size_t kept = size < table->size_bytes ? size : table->size_bytes;
    memcpy(out, payload, kept);
    memset((uint8_t *)out + kept, 0, table->size_bytes - kept);
    if (LIKELY(version >= table->version)) {
        return;
    }
    for (size_t i = 0; i < table->field_count; i++) {
        const tape_field_info *field = &table->fields[i];
        if (field->since_version > version) {
            memset((uint8_t *)out + field->offset, 0, (size_t)field->size_bytes * field->count);
        }
    }
}

bool record_field_present(const tape_field_info *field, uint16_t version, const void *payload) {
    if (field->since_version > version) {
        return false;
    }
    uint8_t first = *record_field_at(field, payload);
    if (field->kind == TAPE_FIELD_ID) {
        return first != 0;
    }
    if (field->kind == TAPE_FIELD_ENUM) {
        return first >= field->enum_count || field->enum_names[first] != NULL;
    }
    return true;
}
