/* sstable_format.c: checksums, order and names shared by writer, reader and verify. */
#include "sstable/sstable_internal.h"

#include <inttypes.h>
#include <stdio.h>

char *sstable_path(const char *dir, uint64_t number) {
    return mem_printf("%s/%08" PRIu64 SSTABLE_SUFFIX, dir, number);
}

uint32_t sstable_checksum(uint64_t salt, uint64_t number, uint64_t offset, const void *data,
                          size_t size) {
    uint64_t place[] = {salt, number, offset};
    return crc32c(crc32c(0, place, sizeof place), data, size);
}

int sstable_compare(slice key_a, uint64_t seq_a, slice key_b, uint64_t seq_b) {
    int order = slice_compare(key_a, key_b);
    if (order != 0) {
        return order;
    }
    return (seq_a < seq_b) - (seq_a > seq_b);
}

void sstable_info_note(sstable_info *info, const record_view *record, bool another_key) {
    if (info->entries == 0) {
        info->min_seq = info->max_seq = info->first_seq = record->seq;
        info->min_ts = info->max_ts = record->ts;
        info->min_append_ts = info->max_append_ts = record->append_ts;
        info->min_key_size = info->max_key_size;
        memcpy(info->min_key, info->max_key, info->max_key_size);
    }
    info->min_seq = record->seq < info->min_seq ? record->seq : info->min_seq;
    info->max_seq = record->seq > info->max_seq ? record->seq : info->max_seq;
    info->min_ts = record->ts < info->min_ts ? record->ts : info->min_ts;
    info->max_ts = record->ts > info->max_ts ? record->ts : info->max_ts;
    info->min_append_ts =
        record->append_ts < info->min_append_ts ? record->append_ts : info->min_append_ts;
    info->max_append_ts =
        record->append_ts > info->max_append_ts ? record->append_ts : info->max_append_ts;
    info->last_seq = record->seq;
    info->payload_bytes += record->size;
    info->entries++;
    info->keys += another_key;
}

uint32_t sstable_payload_min(const tape_table_info *table) {
    uint32_t min = SSTABLE_PAYLOAD_BYTES_MIN;
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        uint32_t end = field->offset + field->size_bytes;
        min = end > min ? end : min;
    }
    return min;
}

bool sstable_keyed_by_seq(const tape_table_info *table) {
    return table->key_count == 1 && table->fields[table->key_fields[0]].offset == 0;
}

void sstable_key_text(slice key, char out[SSTABLE_KEY_TEXT_BYTES]) {
    const tape_table_info *table = key.size == 0 ? NULL : record_table(key.data[0]);
    if (table == NULL) {
        (void)snprintf(out, SSTABLE_KEY_TEXT_BYTES, "an unreadable key");
        return;
    }
    size_t used = (size_t)snprintf(out, SSTABLE_KEY_TEXT_BYTES, "%s ", table->name);
    if (table->fields[table->key_fields[0]].kind == TAPE_FIELD_U64) {
        uint64_t seq = 0;
        for (size_t i = 1; i < key.size; i++) {
            seq = seq << 8 | key.data[i];
        }
        (void)snprintf(out + used, SSTABLE_KEY_TEXT_BYTES - used, "%" PRIu64, seq);
        return;
    }
    out[used++] = '\'';
    /* Of the zeros that pad a key field one shows, as the blank between it and the next. */
    for (size_t i = 1; i < key.size && used + 6 < SSTABLE_KEY_TEXT_BYTES; i++) {
        uint8_t byte = key.data[i];
        if (byte == 0) {
            if (out[used - 1] != ' ') {
                out[used++] = ' ';
            }
        } else if (byte < ' ' || byte == 0x7f) {
            used += (size_t)snprintf(out + used, SSTABLE_KEY_TEXT_BYTES - used, "\\x%02x", byte);
        } else {
            out[used++] = (char)byte;
        }
    }
    out[used++] = '\'';
    out[used] = '\0';
}
