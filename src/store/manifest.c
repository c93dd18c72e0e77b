/* manifest.c: see manifest.h. */
#include "store/manifest.h"

#include "format/format.h"

#include <inttypes.h>
#include <stdlib.h>

#define EDIT_TABLES_MAX 4096u /* per edit of a new file: keeps frames small */
#define PAYLOAD_VERSION 1u
/* A file this much longer than the one it began as is replaced by one that begins where it ends. */
#define GROWTH_BYTES_MAX KIB(256)
#define FILE_BYTES_MAX GIB(4)
#define RESTORE_HINT "restore the store from a snapshot or a backup"

/* --- loading --- */

static tape_status damaged(const manifest *m, uint64_t offset, const char *what,
                           tape_error *error) {
    return error_set_file(error, TAPE_CORRUPT, m->path, offset,
                          "%s: damaged at offset %" PRIu64 ": %s; " RESTORE_HINT, m->path, offset,
                          what);
}

static void tables_add(manifest *m, const sstable_info *table) {
    if (m->table_count == m->table_capacity) {
        m->table_capacity = m->table_capacity == 0 ? 16 : 2 * m->table_capacity;
        m->tables = mem_realloc(m->tables, m->table_capacity * sizeof *m->tables);
    }
    m->tables[m->table_count++] = *table;
    m->flushed_seq = table->max_seq;
}

static bool table_plausible(const manifest *m, const manifest_table *t) {
    uint64_t last_number = m->table_count == 0 ? 0 : m->tables[m->table_count - 1].number;
    return t->number > last_number && t->min_seq == m->flushed_seq + 1 &&
           t->max_seq >= t->min_seq && t->entries == t->max_seq - t->min_seq + 1 && t->keys > 0 &&
           t->keys <= t->entries && t->min_ts <= t->max_ts && t->min_key_size > 0 &&
           t->min_key_size <= RECORD_KEY_BYTES_MAX && t->max_key_size > 0 &&
           t->max_key_size <= RECORD_KEY_BYTES_MAX;
}

static sstable_info table_info(const manifest_table *t) {
    sstable_info info = {
        .number = t->number,
        .size_bytes = t->size_bytes,
        .entries = t->entries,
        .keys = t->keys,
        .content_xxh3 = t->content_xxh3,
        .min_seq = t->min_seq,
        .max_seq = t->max_seq,
        .min_ts = t->min_ts,
        .max_ts = t->max_ts,
        .min_key_size = t->min_key_size,
        .max_key_size = t->max_key_size,
    };
    memcpy(info.min_key, t->min_key, sizeof info.min_key);
    memcpy(info.max_key, t->max_key, sizeof info.max_key);
    return info;
}

/* One item of an edit; *at moves past it. */
static tape_status apply_item(manifest *m, const uint8_t *payload, size_t size, size_t *at,
                              uint64_t offset, tape_error *error) {
    manifest_item item;
    if (size - *at < sizeof item) {
        return damaged(m, offset, "an edit ends within an item", error);
    }
    memcpy(&item, payload + *at, sizeof item);
    if (item.kind != MANIFEST_ADD_TABLE) {
        return error_set_file(error, TAPE_NEWER, m->path, offset,
                              "%s: the edit at offset %" PRIu64
                              " has an item of kind %u, which this version "
                              "of tape does not know; use a newer one",
                              m->path, offset, item.kind);
    }
    manifest_table table;
    if (item.size_bytes != sizeof item + sizeof table || item.size_bytes > size - *at) {
        return damaged(m, offset, "an edit's item has a wrong size", error);
    }
    memcpy(&table, payload + *at + sizeof item, sizeof table);
    if (!table_plausible(m, &table)) {
        return damaged(m, offset, "an edit adds a table that does not follow the one before",
                       error);
    }
    sstable_info info = table_info(&table);
    tables_add(m, &info);
    *at += item.size_bytes;
    return TAPE_OK;
}

static tape_status apply_edit(manifest *m, const uint8_t *payload, size_t size, uint64_t offset,
                              tape_error *error) {
    manifest_edit edit;
    if (size < sizeof edit) {
        return damaged(m, offset, "an edit is too short", error);
    }
    memcpy(&edit, payload, sizeof edit);
    if (edit.number != m->next_edit) {
        return error_set_file(error, TAPE_CORRUPT, m->path, offset,
                              "%s: damaged at offset %" PRIu64 ": edit number expected %" PRIu64
                              ", actual %" PRIu64 "; " RESTORE_HINT,
                              m->path, offset, m->next_edit, edit.number);
    }
    size_t at = sizeof edit;
    for (uint32_t i = 0; i < edit.item_count; i++) {
        tape_status status = apply_item(m, payload, size, &at, offset, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    if (at != size || edit.flushed_seq != m->flushed_seq) {
        return damaged(m, offset, "an edit's items do not add up to what it says", error);
    }
    m->next_edit++;
    return TAPE_OK;
}

/* The frame of another store is intact under that store's salt. */
static bool head_is_foreign(const uint8_t *data, size_t size) {
    manifest_head head;
    if (size < FRAME_HEADER_BYTES + sizeof head) {
        return false;
    }
    memcpy(&head, data + FRAME_HEADER_BYTES, sizeof head);
    frame_header frame;
    return head.magic == MANIFEST_MAGIC &&
           frame_read(data, size, format_salt(head.store_id), 0, &frame, NULL, NULL) == FRAME_VALID;
}

static tape_status apply_head(manifest *m, const uint8_t *payload, size_t payload_size,
                              size_t file_size, tape_error *error) {
    manifest_head head;
    if (payload_size < sizeof head) {
        return damaged(m, 0, "the head is too short", error);
    }
    memcpy(&head, payload, sizeof head);
    if (head.magic != MANIFEST_MAGIC ||
        memcmp(head.store_id, m->place.store_id, sizeof head.store_id) != 0) {
        return damaged(m, 0, "the first frame is not a manifest's head", error);
    }
    if (head.format_version > MANIFEST_FORMAT_VERSION) {
        return error_set_file(
            error, TAPE_NEWER, m->path, 0,
            "%s: manifest format %u, this version of tape reads up to %u; use a newer one", m->path,
            head.format_version, MANIFEST_FORMAT_VERSION);
    }
    if (head.format_version == 0 || payload_size != sizeof head) {
        return damaged(m, 0, "the head's version or size is wrong", error);
    }
    if (head.base_bytes > file_size) {
        return error_set_file(error, TAPE_CORRUPT, m->path, file_size,
                              "%s: the file is cut off: bytes expected %" PRIu64
                              " or more, actual %zu"
                              "; " RESTORE_HINT,
                              m->path, head.base_bytes, file_size);
    }
    m->base_bytes = head.base_bytes;
    m->next_edit = head.first_edit;
    return TAPE_OK;
}

/* Whether a whole frame of ours starts anywhere in [from, size). */
static bool frame_follows(const manifest *m, const uint8_t *data, size_t size, uint64_t from) {
    for (uint64_t at = ALIGN_UP(from, FRAME_ALIGN); at + FRAME_HEADER_BYTES <= size;
         at += FRAME_ALIGN) {
        frame_header header;
        memcpy(&header, data + at, sizeof header);
        /* Looked at before the checksum is computed: most places fail here. */
        if (header.type == FRAME_MANIFEST && header.flags == 0 &&
            frame_read(data + at, size - at, m->salt, at, &header, NULL, NULL) == FRAME_VALID) {
            return true;
        }
    }
    return false;
}

/* The table in manifest.h. OK: the frame is the edit in doubt. */
static tape_status judge_invalid(const manifest *m, const uint8_t *data, size_t size, uint64_t at,
                                 frame_verdict verdict, uint32_t expected, uint32_t actual,
                                 tape_error *error) {
    const char *why = at == 0              ? "it holds the head"
                      : at < m->base_bytes ? "it was durable before the file got its name"
                                           : "a valid frame follows it";
    if (at == 0 && head_is_foreign(data, size)) {
        return error_set_file(error, TAPE_CORRUPT, m->path, 0,
                              "%s: the manifest belongs to another store; " RESTORE_HINT, m->path);
    }
    if (at != 0 && at >= m->base_bytes && !frame_follows(m, data, size, at + 1)) {
        return TAPE_OK;
    }
    if (verdict == FRAME_BAD_CRC) {
        return error_set_file(error, TAPE_CORRUPT, m->path, at,
                              "%s: damaged at offset %" PRIu64
                              ": checksum expected 0x%08x, actual 0x%08x, and %s; " RESTORE_HINT,
                              m->path, at, expected, actual, why);
    }
    return error_set_file(error, TAPE_CORRUPT, m->path, at,
                          "%s: damaged at offset %" PRIu64 ": %s, and %s; " RESTORE_HINT, m->path,
                          at, frame_verdict_text(verdict), why);
}

static tape_status load_frames(manifest *m, const uint8_t *data, size_t size, tape_error *error) {
    uint64_t at = 0;
    while (at < size || at == 0) {
        frame_header header;
        uint32_t expected = 0;
        uint32_t actual = 0;
        frame_verdict verdict =
            frame_read(data + at, size - at, m->salt, at, &header, &expected, &actual);
        if (verdict != FRAME_VALID) {
            tape_status status = judge_invalid(m, data, size, at, verdict, expected, actual, error);
            if (status != TAPE_OK) {
                return status;
            }
            m->doubtful = true;
            m->cut_bytes = size - at;
            break;
        }
        if (header.type != FRAME_MANIFEST) {
            return damaged(m, at, "a frame that is not a manifest's", error);
        }
        const uint8_t *payload = data + at + FRAME_HEADER_BYTES;
        size_t payload_size = header.size_bytes - FRAME_HEADER_BYTES;
        tape_status status = at == 0 ? apply_head(m, payload, payload_size, size, error)
                                     : apply_edit(m, payload, payload_size, at, error);
        if (status != TAPE_OK) {
            return status;
        }
        at += frame_span(header.size_bytes);
    }
    m->end = at;
    return TAPE_OK;
}

static tape_status read_whole(os_file *file, uint8_t **data, size_t *size, tape_error *error) {
    uint64_t bytes = 0;
    tape_status status = os_file_size(file, &bytes, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (bytes > FILE_BYTES_MAX) {
        return error_set_file(error, TAPE_CORRUPT, os_file_path(file), bytes,
                              "%s: %" PRIu64
                              " bytes are far more than any manifest has; " RESTORE_HINT,
                              os_file_path(file), bytes);
    }
    *data = mem_alloc(bytes);
    return os_file_read(file, 0, *data, bytes, size, error);
}

static void manifest_init(manifest *m, const sstable_place *place) {
    *m = (manifest){
        .place = *place,
        .path = mem_printf("%s/%s", place->dir, MANIFEST_NAME),
        .salt = format_salt(place->store_id),
        .next_edit = 1,
        .doubtful = true,
    };
}

tape_status manifest_read(manifest *m, const sstable_place *place, const uint8_t *data, size_t size,
                          tape_error *error) {
    manifest_init(m, place);
    m->present = true;
    m->doubtful = false;
    tape_status status = load_frames(m, data, size, error);
    if (status != TAPE_OK) {
        manifest_deinit(m);
    }
    return status;
}

tape_status manifest_load(manifest *m, const sstable_place *place, tape_error *error) {
    char *path = mem_printf("%s/%s", place->dir, MANIFEST_NAME);
    os_file *file = NULL;
    uint8_t *data = NULL;
    size_t size = 0;
    tape_status status = os_file_open(place->disk, path, OS_READ, &file, error);
    if (status == TAPE_NOT_FOUND) {
        manifest_init(m, place);
        status = TAPE_OK;
        goto out;
    }
    if (status == TAPE_OK) {
        status = read_whole(file, &data, &size, error);
    }
    if (status == TAPE_OK) {
        status = manifest_read(m, place, data, size, error);
    }
out:
    free(data);
    os_file_close(&file);
    free(path);
    return status;
}

void manifest_deinit(manifest *m) {
    os_file_close(&m->file);
    free(m->tables);
    free(m->path);
    *m = (manifest){0};
}

/* --- writing --- */

static manifest_table table_of_info(const sstable_info *info) {
    manifest_table t = {
        .number = info->number,
        .size_bytes = info->size_bytes,
        .entries = info->entries,
        .keys = info->keys,
        .content_xxh3 = info->content_xxh3,
        .min_seq = info->min_seq,
        .max_seq = info->max_seq,
        .min_ts = info->min_ts,
        .max_ts = info->max_ts,
        .min_key_size = info->min_key_size,
        .max_key_size = info->max_key_size,
    };
    memcpy(t.min_key, info->min_key, info->min_key_size);
    memcpy(t.max_key, info->max_key, info->max_key_size);
    return t;
}

static void append_frame(const manifest *m, buffer *out, uint64_t position, const void *payload,
                         size_t size) {
    uint64_t span = frame_span((uint32_t)(FRAME_HEADER_BYTES + size));
    buffer_reserve(out, span);
    (void)frame_write(out->data + out->size, m->salt, position, FRAME_MANIFEST, PAYLOAD_VERSION, 0,
                      0, payload, size);
    out->size += span;
}

static void append_edit(const manifest *m, buffer *out, uint64_t position, uint64_t number,
                        uint64_t flushed_seq, const sstable_info *tables, size_t count) {
    buffer payload = {0};
    manifest_edit edit = {
        .number = number, .flushed_seq = flushed_seq, .item_count = (uint32_t)count};
    buffer_append(&payload, &edit, sizeof edit);
    for (size_t i = 0; i < count; i++) {
        manifest_table table = table_of_info(&tables[i]);
        manifest_item item = {MANIFEST_ADD_TABLE, sizeof item + sizeof table};
        buffer_append(&payload, &item, sizeof item);
        buffer_append(&payload, &table, sizeof table);
    }
    append_frame(m, out, position, payload.data, payload.size);
    buffer_deinit(&payload);
}

/* A failed sync is final: the system may have dropped what it could not write. */
static tape_status sync_failed(tape_error *error) {
    if (error != NULL) {
        error->status = TAPE_FAILED;
    }
    return TAPE_FAILED;
}

static tape_status replace_file(manifest *m, const buffer *content, tape_error *error) {
    char *temporary = mem_printf("%s/%s", m->place.dir, MANIFEST_TEMPORARY_NAME);
    os_file *file = NULL;
    tape_status status = os_remove(m->place.disk, temporary, error);
    if (status == TAPE_OK || status == TAPE_NOT_FOUND) {
        status = os_file_open(m->place.disk, temporary, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file,
                              error);
    }
    if (status == TAPE_OK) {
        status = os_file_write(file, 0, content->data, content->size, error);
    }
    if (status == TAPE_OK && os_file_sync(file, error) != TAPE_OK) {
        status = sync_failed(error);
    }
    os_file_close(&file);
    if (status == TAPE_OK) {
        status = os_rename(m->place.disk, temporary, m->path, error);
    }
    if (status != TAPE_OK) {
        tape_status ignored = os_remove(m->place.disk, temporary, NULL);
        (void)ignored;
    }
    if (status == TAPE_OK && os_dir_sync(m->place.disk, m->place.dir, error) != TAPE_OK) {
        status = sync_failed(error);
    }
    free(temporary);
    return status;
}

/* Writes the whole state as a new file and puts it in the old one's place. */
static tape_status write_anew(manifest *m, tape_error *error) {
    manifest_head head = {
        .magic = MANIFEST_MAGIC,
        .format_version = MANIFEST_FORMAT_VERSION,
        .first_edit = m->next_edit,
    };
    memcpy(head.store_id, m->place.store_id, sizeof head.store_id);
    uint64_t next_edit = m->next_edit;
    buffer content = {0};
    append_frame(m, &content, 0, &head, sizeof head);
    for (size_t done = 0; done < m->table_count;) {
        size_t count = m->table_count - done;
        count = count < EDIT_TABLES_MAX ? count : EDIT_TABLES_MAX;
        append_edit(m, &content, content.size, next_edit++, m->tables[done + count - 1].max_seq,
                    m->tables + done, count);
        done += count;
    }
    head.base_bytes = content.size;
    (void)frame_write(content.data, m->salt, 0, FRAME_MANIFEST, PAYLOAD_VERSION, 0, 0, &head,
                      sizeof head);
    os_file_close(&m->file); /* edits must not go to the file that is being replaced */
    m->doubtful = true;
    tape_status status = replace_file(m, &content, error);
    if (status == TAPE_OK) {
        m->present = true;
        m->doubtful = false;
        m->end = m->base_bytes = content.size;
        m->next_edit = next_edit;
        m->cut_bytes = 0;
    }
    buffer_deinit(&content);
    return status;
}

tape_status manifest_settle(manifest *m, tape_error *error) {
    if (m->doubtful || m->end - m->base_bytes > m->base_bytes + GROWTH_BYTES_MAX) {
        return write_anew(m, error);
    }
    return TAPE_OK;
}

tape_status manifest_add_table(manifest *m, const sstable_info *table, tape_error *error) {
    ASSERT(!m->doubtful); /* N4: settled before */
    ASSERT(table->min_seq == m->flushed_seq + 1);
    ASSERT(table->entries == table->max_seq - table->min_seq + 1); /* N3 */
    if (m->file == NULL) {
        tape_status status = os_file_open(m->place.disk, m->path, OS_WRITE, &m->file, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    buffer frame = {0};
    append_edit(m, &frame, m->end, m->next_edit, table->max_seq, table, 1);
    m->doubtful = true;
    tape_status status = os_file_write(m->file, m->end, frame.data, frame.size, error);
    if (status == TAPE_OK && os_file_sync(m->file, error) != TAPE_OK) {
        status = sync_failed(error);
    }
    if (status == TAPE_OK) {
        m->doubtful = false;
        m->end += frame.size;
        m->next_edit++;
        tables_add(m, table);
    }
    buffer_deinit(&frame);
    return status;
}
