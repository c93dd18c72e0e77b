/* public.c: the part of <tape/tape.h> and <tape/records.h> that this module answers. */
#include "record/record.h"

#include <tape/tape.h>

const tape_table_info *tape_table(uint16_t id) {
    return record_table(id);
}

const tape_table_info *tape_table_named(const char *name) {
    return record_table_named(name);
}

size_t tape_record_to_json(uint16_t table, const void *record, bool with_table, char *out,
                           size_t size) {
    const tape_table_info *info = record_table(table);
    buffer text = {0};
    if (info != NULL) {
        record_to_json(info, info->version, record, with_table, &text);
    }
    size_t length = text.size;
    if (size > 0) {
        size_t copied = length < size ? length : size - 1;
        if (copied > 0) {
            memcpy(out, text.data, copied);
        }
        out[copied] = '\0';
    }
    buffer_deinit(&text);
    return length;
}

tape_status tape_record_from_json(uint16_t table, const char *text, size_t size, void *out,
                                  tape_error *error) {
    const tape_table_info *info = record_table(table);
    if (info == NULL) {
        return error_set(error, TAPE_INVALID, "there is no table %u; ids are 1 to %u", table,
                         TAPE_TABLE_COUNT);
    }
    return record_from_json(info, text, size, out, error);
}
