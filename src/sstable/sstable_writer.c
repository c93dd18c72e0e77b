/* sstable_writer.c: streams a table into a temporary file and puts it in place.
 *
 * States: open (blocks go out as they fill) -> finish (filter, index, footer, sync, rename,
 * directory sync) or abandon (the temporary file goes). Kept in memory until the end: sixteen bytes
 * per key for the filter, and the index.
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
    sstable_info info; /* of what was added; key sizes are 0 before the first */

    uint64_t written; /* bytes in the file */
    buffer output;    /* follows them */
    XXH3_state_t *content;

    buffer body; /* the open block's entries */
    uint16_t offsets[SSTABLE_PAGE_BYTES / sizeof(sstable_entry)];
    uint32_t count;
    uint64_t last_seq; /* its last entry; the key is info.max_key */

    buffer index;
    buffer index_keys;
    uint64_t blocks;
    buffer hashes; /* two u64 per key */
};

tape_status sstable_writer_open(sstable_writer **out, const sstable_place *place, uint64_t number,
                                tape_error *error) {
    sstable_writer *w = mem_zalloc(sizeof *w);
    w->disk = place->disk;
    w->dir = mem_strdup(place->dir);
    w->path = sstable_path(place->dir, number);
    w->temporary_path = mem_printf("%s.tmp", w->path);
    memcpy(w->store_id, place->store_id, sizeof w->store_id);
    w->salt = format_salt(place->store_id);
    w->info.number = number;
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
    buffer_deinit(&w->output);
    buffer_deinit(&w->body);
    buffer_deinit(&w->index);
    buffer_deinit(&w->index_keys);
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

static void append_zeros(buffer *b, size_t count) {
    buffer_reserve(b, count);
    memset(b->data + b->size, 0, count);
    b->size += count;
}

/* Content is hashed when a part is complete: the footer is the only part that is not. */
static void writer_hash(sstable_writer *w, size_t from) {
    (void)XXH3_64bits_update(w->content, w->output.data + from, w->output.size - from);
}

/* Lays out the open block in the output and its line in the index. */
static tape_status writer_end_block(sstable_writer *w, tape_error *error) {
    uint32_t entries_at = (uint32_t)ALIGN_UP(sizeof(sstable_block) + w->count * sizeof(uint16_t),
                                             SSTABLE_ENTRY_ALIGN);
    uint32_t used = entries_at + (uint32_t)w->body.size;
    sstable_block header = {
        .size_bytes = (uint32_t)ALIGN_UP(used, SSTABLE_PAGE_BYTES),
        .count = w->count,
        .used_bytes = used,
    };
    uint64_t offset = writer_offset(w);
    size_t start = w->output.size;
    append_zeros(&w->output, header.size_bytes);
    uint8_t *block = w->output.data + start;
    memcpy(block, &header, sizeof header);
    for (uint32_t i = 0; i < w->count; i++) {
        uint16_t at = (uint16_t)(entries_at + w->offsets[i]);
        memcpy(block + sizeof header + i * sizeof at, &at, sizeof at);
    }
    memcpy(block + entries_at, w->body.data, w->body.size);
    store_u32(block, sstable_checksum(w->salt, w->info.number, offset, block + sizeof(uint32_t),
                                      header.size_bytes - sizeof(uint32_t)));
    writer_hash(w, start);

    ASSERT(w->index_keys.size <= UINT32_MAX && offset / SSTABLE_PAGE_BYTES <= UINT32_MAX);
    sstable_index_entry e = {
        .last_seq = w->last_seq,
        .first_page = (uint32_t)(offset / SSTABLE_PAGE_BYTES),
        .page_count = header.size_bytes / SSTABLE_PAGE_BYTES,
        .key_offset = (uint32_t)w->index_keys.size,
        .key_size = w->info.max_key_size,
    };
    buffer_append(&w->index, &e, sizeof e);
    buffer_append(&w->index_keys, w->info.max_key, w->info.max_key_size);
    w->blocks++;
    w->count = 0;
    w->body.size = 0;
    return w->output.size < OUTPUT_BYTES ? TAPE_OK : writer_drain(w, error);
}

/* T1, the ranges and the filter's hashes. */
static void writer_note(sstable_writer *w, slice key, const record_view *record) {
    sstable_info *info = &w->info;
    slice last = {info->max_key, info->max_key_size};
    ASSERT(info->entries == 0 || sstable_compare(last, w->last_seq, key, record->seq) < 0); /* T1 */
    if (info->entries == 0) {
        info->min_seq = info->max_seq = record->seq;
        info->min_ts = info->max_ts = record->ts;
        info->min_key_size = (uint32_t)key.size;
        memcpy(info->min_key, key.data, key.size);
    }
    if (slice_compare(last, key) != 0) {
        sstable_key hashed = sstable_key_of(key);
        buffer_append(&w->hashes, hashed.hash, sizeof hashed.hash);
        info->keys++;
    }
    info->entries++;
    info->min_seq = record->seq < info->min_seq ? record->seq : info->min_seq;
    info->max_seq = record->seq > info->max_seq ? record->seq : info->max_seq;
    info->min_ts = record->ts < info->min_ts ? record->ts : info->min_ts;
    info->max_ts = record->ts > info->max_ts ? record->ts : info->max_ts;
    info->max_key_size = (uint32_t)key.size;
    memcpy(info->max_key, key.data, key.size);
    w->last_seq = record->seq;
}

tape_status sstable_writer_add(sstable_writer *w, slice key, const record_view *record,
                               tape_error *error) {
    ASSERT(key.size > 0 && key.size <= RECORD_KEY_BYTES_MAX);
    ASSERT(record->size >= sstable_payload_min(record->table));
    ASSERT(record->size <= SSTABLE_PAYLOAD_BYTES_MAX);
    ASSERT(load_u64(record->payload) == record->seq);
    size_t span = ALIGN_UP(sizeof(sstable_entry) + record->size, SSTABLE_ENTRY_ALIGN);
    size_t head =
        ALIGN_UP(sizeof(sstable_block) + (w->count + 1) * sizeof(uint16_t), SSTABLE_ENTRY_ALIGN);
    if (w->count > 0 && head + w->body.size + span > SSTABLE_PAGE_BYTES) {
        tape_status status = writer_end_block(w, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    writer_note(w, key, record);
    sstable_entry e = {
        .table = record->table->id,
        .version = record->version,
        .size_more = record->size | ((record->flags & RECORD_MORE) != 0 ? SSTABLE_ENTRY_MORE : 0),
        .append_ts = record->append_ts,
    };
    w->offsets[w->count++] = (uint16_t)w->body.size;
    buffer_append(&w->body, &e, sizeof e);
    buffer_append(&w->body, record->payload, record->size);
    append_zeros(&w->body, span - sizeof e - record->size);
    return TAPE_OK;
}

static void writer_add_filter(sstable_writer *w, sstable_footer *footer) {
    uint64_t lines = sstable_filter_lines(w->info.keys);
    footer->filter_offset = writer_offset(w);
    footer->filter_bytes = lines * SSTABLE_FILTER_LINE_BYTES;
    size_t start = w->output.size;
    append_zeros(&w->output, footer->filter_bytes);
    for (size_t at = 0; at < w->hashes.size; at += 2 * sizeof(uint64_t)) {
        uint64_t hash[2];
        memcpy(hash, w->hashes.data + at, sizeof hash);
        sstable_filter_add(w->output.data + start, lines, hash);
    }
    footer->filter_crc32c = sstable_checksum(w->salt, w->info.number, footer->filter_offset,
                                             w->output.data + start, footer->filter_bytes);
    writer_hash(w, start);
}

static void writer_add_index(sstable_writer *w, sstable_footer *footer) {
    footer->index_offset = writer_offset(w);
    size_t start = w->output.size;
    buffer_append(&w->output, w->index.data, w->index.size);
    buffer_append(&w->output, w->index_keys.data, w->index_keys.size);
    size_t size = w->output.size - start;
    append_zeros(&w->output, ALIGN_UP(size, SSTABLE_ENTRY_ALIGN) - size);
    footer->index_bytes = w->output.size - start;
    footer->index_crc32c = sstable_checksum(w->salt, w->info.number, footer->index_offset,
                                            w->output.data + start, footer->index_bytes);
    writer_hash(w, start);
}

static void writer_add_footer(sstable_writer *w, sstable_footer *footer) {
    sstable_info *info = &w->info;
    uint64_t offset = writer_offset(w);
    memset(info->max_key + info->max_key_size, 0, sizeof info->max_key - info->max_key_size);
    info->size_bytes = offset + sizeof *footer;
    info->content_xxh3 = XXH3_64bits_digest(w->content);
    footer->magic = SSTABLE_MAGIC;
    footer->format_version = SSTABLE_FORMAT_VERSION;
    memcpy(footer->store_id, w->store_id, sizeof footer->store_id);
    footer->number = info->number;
    footer->size_bytes = info->size_bytes;
    footer->entries = info->entries;
    footer->keys = info->keys;
    footer->blocks = w->blocks;
    footer->content_xxh3 = info->content_xxh3;
    footer->min_seq = info->min_seq;
    footer->max_seq = info->max_seq;
    footer->min_ts = info->min_ts;
    footer->max_ts = info->max_ts;
    footer->min_key_size = info->min_key_size;
    footer->max_key_size = info->max_key_size;
    memcpy(footer->min_key, info->min_key, sizeof footer->min_key);
    memcpy(footer->max_key, info->max_key, sizeof footer->max_key);
    footer->crc32c = sstable_checksum(w->salt, info->number, offset, footer, sizeof *footer);
    buffer_append(&w->output, footer, sizeof *footer);
}

tape_status sstable_writer_finish(sstable_writer **writer, sstable_info *out, tape_error *error) {
    sstable_writer *w = *writer;
    ASSERT(w->info.entries > 0);
    sstable_footer footer = {0};
    tape_status status = writer_end_block(w, error);
    if (status == TAPE_OK) {
        writer_add_filter(w, &footer);
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
