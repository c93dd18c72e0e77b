/* sstable_writer.c: streams a table into a temporary file and puts it in place.
 *
 * States: open (blocks go out as they fill) -> finish (filter, tags, index, footer, sync, rename,
 * directory sync) or abandon (the temporary file goes). Kept in memory until the end: sixteen bytes
 * per key for the filter, one per entry for the tags, and the index.
 *
 * Failure: T3. A crash leaves at most a file with the temporary suffix, which nobody reads. */
#include "sstable/sstable_internal.h"

#include "format/format.h"

#include <stdlib.h>
#include <xxhash.h>

#define OUTPUT_BYTES KIB(256)
/* Synced in pieces, so that the journal's syncs never queue behind a whole table. */
#define SYNC_BYTES MIB(4)

struct sstable_writer {
    os_disk *disk;
    char *dir;
    char *path;
    char *temporary_path;
    os_file *file;
    uint64_t salt;
    uint8_t store_id[16];
    const tape_table_info *table;
    uint32_t payload_min;
    bool keyed_by_seq; /* neither filter nor tags */
    sstable_info info; /* of what was added; max_key and last_seq are the last entry's */
    sstable_packer *packer;

    uint64_t written; /* bytes in the file */
    buffer output;    /* follows them */
    XXH3_state_t *content;

    buffer block;  /* the open block's entries */
    uint32_t room; /* for them, where the block starts */
    uint32_t payload_bytes;
    uint16_t version;
    uint16_t count;

    uint64_t blocks;
    buffer places;
    buffer lasts;
    buffer keys;
    buffer tags;
    buffer hashes; /* two u64 per key */
    uint8_t tag;   /* of the last key */
};

tape_status sstable_writer_open(sstable_writer **out, const sstable_place *place, uint64_t number,
                                uint16_t table, sstable_codec codec, tape_error *error) {
    sstable_writer *w = mem_zalloc(sizeof *w);
    w->disk = place->disk;
    w->dir = mem_strdup(place->dir);
    w->path = sstable_path(place->dir, number);
    w->temporary_path = mem_printf("%s.tmp", w->path);
    memcpy(w->store_id, place->store_id, sizeof w->store_id);
    w->salt = format_salt(place->store_id);
    w->table = record_table(table);
    ASSERT(w->table != NULL && codec <= SSTABLE_ZSTD);
    w->payload_min = sstable_payload_min(w->table);
    w->keyed_by_seq = sstable_keyed_by_seq(w->table);
    w->info.number = number;
    w->info.table = table;
    w->info.codec = (uint16_t)codec;
    w->packer = sstable_packer_create(codec);
    w->content = XXH3_createState();
    ASSERT(w->content != NULL);
    (void)XXH3_64bits_reset(w->content);
    tape_status status = os_file_open(w->disk, w->temporary_path,
                                      OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &w->file, error);
    if (status != TAPE_OK) {
        sstable_writer_abandon(&w);
        return status;
    }
    *out = w;
    return TAPE_OK;
}

static void writer_free(sstable_writer **writer) {
    sstable_writer *w = *writer;
    os_file_close(&w->file);
    (void)XXH3_freeState(w->content);
    sstable_packer_destroy(&w->packer);
    buffer_deinit(&w->output);
    buffer_deinit(&w->block);
    buffer_deinit(&w->places);
    buffer_deinit(&w->lasts);
    buffer_deinit(&w->keys);
    buffer_deinit(&w->tags);
    buffer_deinit(&w->hashes);
    free(w->temporary_path);
    free(w->path);
    free(w->dir);
    free(w);
    *writer = NULL;
}

void sstable_writer_abandon(sstable_writer **w) {
    if (*w == NULL) {
        return;
    }
    if ((*w)->file != NULL) {
        os_file_close(&(*w)->file);
        /* What stays behind when this fails has the temporary suffix and is removed later. */
        tape_status ignored = os_remove((*w)->disk, (*w)->temporary_path, NULL);
        (void)ignored;
    }
    writer_free(w);
}

static uint64_t writer_offset(const sstable_writer *w) {
    return w->written + w->output.size;
}

uint64_t sstable_writer_bytes(const sstable_writer *w) {
    return writer_offset(w) + w->block.size + sstable_filter_bytes(w->table, w->info.keys) +
           sstable_tags_bytes(w->table, w->info.entries) +
           sstable_index_fixed_bytes(w->blocks + 1) + w->keys.size + SSTABLE_FOOTER_BYTES;
}

/* A failed sync is final: the system may have dropped what it could not write. */
static tape_status sync_failed(tape_error *error) {
    if (error != NULL) {
        error->status = TAPE_FAILED;
    }
    return TAPE_FAILED;
}

static tape_status writer_drain(sstable_writer *w, tape_error *error) {
    tape_status status = os_file_write(w->file, w->written, w->output.data, w->output.size, error);
    if (status == TAPE_OK) {
        bool piece = w->written / SYNC_BYTES != (w->written + w->output.size) / SYNC_BYTES;
        w->written += w->output.size;
        w->output.size = 0;
        if (piece && os_file_sync(w->file, error) != TAPE_OK) {
            status = sync_failed(error);
        }
    }
    return status;
}

/* --- blocks --- */

/* The open block's line in the index; the block lies at `offset`. */
static void writer_index_block(sstable_writer *w, uint64_t offset) {
    ASSERT(w->keys.size <= UINT32_MAX && w->info.entries <= UINT32_MAX);
    sstable_index_place place = {
        .start = (uint32_t)(offset / SSTABLE_BLOCK_ALIGN),
        .first_entry = (uint32_t)w->info.entries - w->count,
        .payload_bytes = w->payload_bytes,
        .version = w->version,
    };
    sstable_index_last last = {
        .seq = w->info.last_seq,
        .key_offset = (uint32_t)w->keys.size,
        .key_size = w->info.max_key_size,
    };
    buffer_append(&w->places, &place, sizeof place);
    buffer_append(&w->lasts, &last, sizeof last);
    buffer_append(&w->keys, w->info.max_key, w->info.max_key_size);
    w->blocks++;
}

/* Lays out the open block in the output. The next begins with an entry of `next_stride`. */
static tape_status writer_end_block(sstable_writer *w, uint64_t next_stride, tape_error *error) {
    size_t raw_bytes = w->block.size;
    sstable_block header = {
        .stored_bytes = (uint32_t)raw_bytes,
        .payload_bytes = w->payload_bytes,
        .version = w->version,
        .entries = w->count,
    };
    uint64_t offset = writer_offset(w);
    size_t start = w->output.size;
    buffer_reserve(&w->output, sstable_block_span(raw_bytes) + SSTABLE_PAGE_BYTES);
    uint8_t *block = w->output.data + start;
    size_t packed = sstable_pack(w->packer, w->block.data, raw_bytes, block + sizeof header);
    if (packed > 0) {
        header.stored_bytes = (uint32_t)packed;
    } else {
        memcpy(block + sizeof header, w->block.data, raw_bytes);
    }
    uint64_t span = sstable_block_span(header.stored_bytes);
    if (w->info.codec == SSTABLE_PLAIN &&
        next_stride > sstable_block_room(SSTABLE_PLAIN, offset + span)) {
        span = ALIGN_UP(offset + span, SSTABLE_PAGE_BYTES) - offset;
    }
    uint64_t used = sizeof header + header.stored_bytes;
    memset(block + used, 0, span - used);
    memcpy(block, &header, sizeof header);
    store_u32(block, sstable_checksum(w->salt, w->info.number, offset, block + sizeof(uint32_t),
                                      span - sizeof(uint32_t)));
    (void)XXH3_64bits_update(w->content, block, span);
    w->output.size += span;
    ASSERT((offset + span) / SSTABLE_BLOCK_ALIGN <= UINT32_MAX);
    writer_index_block(w, offset);
    w->count = 0;
    w->block.size = 0;
    return w->output.size < OUTPUT_BYTES ? TAPE_OK : writer_drain(w, error);
}

/* Ends the open block when the record cannot be in it. */
static tape_status writer_place(sstable_writer *w, const record_view *record, tape_error *error) {
    uint64_t stride = sstable_stride(record->size);
    if (w->count > 0 && (record->size != w->payload_bytes || record->version != w->version ||
                         w->block.size + stride > w->room)) {
        tape_status status = writer_end_block(w, stride, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    if (w->count == 0) {
        w->room = sstable_block_room(w->info.codec, writer_offset(w));
        w->payload_bytes = record->size;
        w->version = record->version;
    }
    return TAPE_OK;
}

static void writer_note_key(sstable_writer *w, const record_view *record) {
    sstable_info *info = &w->info;
    uint64_t hash[2];
    info->max_key_size = (uint32_t)record_key(w->table, record->payload, info->max_key);
    if (w->keyed_by_seq) {
        return;
    }
    record_key_hash((slice){info->max_key, info->max_key_size}, hash);
    w->tag = sstable_tag(hash);
    buffer_append(&w->hashes, hash, sizeof hash);
}

/* T1, the footer's figures, filter and tags. */
static void writer_note(sstable_writer *w, const record_view *record) {
    sstable_info *info = &w->info;
    int order = -1;
    if (info->entries > 0) {
        slice last = {info->max_key, info->max_key_size};
        order = record_key_compare(w->table, last, record->payload);
        ASSERT(order < 0 || (order == 0 && record->seq < info->last_seq)); /* T1 */
    }
    if (order < 0) {
        writer_note_key(w, record);
    }
    sstable_info_note(info, record, order < 0);
    if (!w->keyed_by_seq) {
        buffer_append(&w->tags, &w->tag, 1);
    }
}

tape_status sstable_writer_add(sstable_writer *w, const record_view *record, tape_error *error) {
    ASSERT(record->table == w->table && record->seq > 0);
    ASSERT(record->size >= w->payload_min && record->size <= SSTABLE_PAYLOAD_BYTES_MAX);
    ASSERT(load_u64(record->payload) == record->seq);
    ASSERT(record->append_ts >= 0); /* or the bit of RECORD_MORE would cost it its sign */
    tape_status status = writer_place(w, record, error);
    if (status != TAPE_OK) {
        return status;
    }
    writer_note(w, record);
    uint64_t stride = sstable_stride(record->size);
    uint64_t used = SSTABLE_ENTRY_BYTES + record->size;
    buffer_reserve(&w->block, stride);
    uint8_t *at = w->block.data + w->block.size;
    store_u64(at, (uint64_t)record->append_ts << 1 | (record->flags & RECORD_MORE));
    memcpy(at + SSTABLE_ENTRY_BYTES, record->payload, record->size);
    memset(at + used, 0, stride - used);
    w->block.size += stride;
    w->count++;
    return TAPE_OK;
}

/* --- the parts behind the blocks --- */

/* Room for a part of `size` zero bytes at the end of the output. */
static uint8_t *writer_part(sstable_writer *w, uint64_t size, uint64_t *offset) {
    *offset = writer_offset(w);
    buffer_reserve(&w->output, size);
    uint8_t *at = w->output.data + w->output.size;
    memset(at, 0, size);
    w->output.size += size;
    return at;
}

static uint32_t writer_part_done(sstable_writer *w, const uint8_t *at, uint64_t offset,
                                 uint64_t size) {
    (void)XXH3_64bits_update(w->content, at, size);
    return sstable_checksum(w->salt, w->info.number, offset, at, size);
}

static void writer_add_filter(sstable_writer *w, sstable_footer *footer) {
    footer->filter_bytes = sstable_filter_bytes(w->table, w->info.keys);
    uint64_t lines = footer->filter_bytes / SSTABLE_FILTER_LINE_BYTES;
    uint8_t *filter = writer_part(w, footer->filter_bytes, &footer->filter_offset);
    for (size_t at = 0; at < w->hashes.size; at += 2 * sizeof(uint64_t)) {
        uint64_t hash[2];
        memcpy(hash, w->hashes.data + at, sizeof hash);
        sstable_filter_add(filter, lines, hash);
    }
    footer->filter_crc32c =
        writer_part_done(w, filter, footer->filter_offset, footer->filter_bytes);
}

static void writer_add_tags(sstable_writer *w, sstable_footer *footer) {
    footer->tags_bytes = sstable_tags_bytes(w->table, w->info.entries);
    uint8_t *tags = writer_part(w, footer->tags_bytes, &footer->tags_offset);
    if (w->tags.size > 0) {
        memcpy(tags, w->tags.data, w->tags.size);
    }
    footer->tags_crc32c = writer_part_done(w, tags, footer->tags_offset, footer->tags_bytes);
}

static void writer_add_index(sstable_writer *w, sstable_footer *footer) {
    sstable_index_place end = {.start = (uint32_t)(footer->filter_offset / SSTABLE_BLOCK_ALIGN),
                               .first_entry = (uint32_t)w->info.entries};
    buffer_append(&w->places, &end, sizeof end);
    footer->blocks = w->blocks;
    footer->index_bytes =
        sstable_index_fixed_bytes(w->blocks) + ALIGN_UP(w->keys.size, SSTABLE_ENTRY_ALIGN);
    uint8_t *at = writer_part(w, footer->index_bytes, &footer->index_offset);
    sstable_index index;
    sstable_index_lay_out(&index, at, footer->index_bytes, w->blocks,
                          (slice){w->info.min_key, w->info.min_key_size});
    memcpy(at + ((const uint8_t *)index.places - at), w->places.data, w->places.size);
    memcpy(at + ((const uint8_t *)index.lasts - at), w->lasts.data, w->lasts.size);
    memcpy(at + (index.keys - at), w->keys.data, w->keys.size);
    sstable_index_fill(&index, at);
    footer->index_crc32c = writer_part_done(w, at, footer->index_offset, footer->index_bytes);
}

static void writer_add_footer(sstable_writer *w, sstable_footer *footer) {
    sstable_info *info = &w->info;
    memset(info->max_key + info->max_key_size, 0, sizeof info->max_key - info->max_key_size);
    info->size_bytes = writer_offset(w) + sizeof *footer;
    info->content_xxh3 = XXH3_64bits_digest(w->content);
    sstable_footer_seal(footer, info, w->store_id, w->salt);
    buffer_append(&w->output, footer, sizeof *footer);
}

tape_status sstable_writer_finish(sstable_writer **writer, sstable_info *out, tape_error *error) {
    sstable_writer *w = *writer;
    ASSERT(w->info.entries > 0);
    sstable_footer footer = {0};
    tape_status status = writer_end_block(w, 0, error);
    if (status == TAPE_OK) {
        writer_add_filter(w, &footer);
        writer_add_tags(w, &footer);
        writer_add_index(w, &footer);
        writer_add_footer(w, &footer);
        status = writer_drain(w, error);
    }
    if (status == TAPE_OK && os_file_sync(w->file, error) != TAPE_OK) {
        status = sync_failed(error);
    }
    if (status == TAPE_OK) {
        status = os_rename(w->disk, w->temporary_path, w->path, error);
    }
    if (status != TAPE_OK) {
        sstable_writer_abandon(writer);
        return status;
    }
    if (os_dir_sync(w->disk, w->dir, error) != TAPE_OK) {
        status = sync_failed(error);
    }
    *out = w->info;
    writer_free(writer);
    return status;
}
