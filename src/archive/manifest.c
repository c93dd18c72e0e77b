/* manifest.c: see manifest.h. */
#include "archive/manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MAGIC UINT64_C(0x3143524145504154) /* "TAPEARC1" */
#define FORMAT_VERSION 1u
#define HEAD_BYTES 64u
#define FILE_HEAD_BYTES 96u
#define CHECKSUM_OFFSET 12u
#define RESTORE_HINT "restore the store from a snapshot or a backup"

const char *archive_kind_name(uint8_t kind) {
    static const char *const names[] = {[ARCHIVE_ROWS] = "rows",
                                        [ARCHIVE_CURRENT] = "current",
                                        [ARCHIVE_PAST] = "past",
                                        [ARCHIVE_SUPERSEDED] = "superseded"};
    ASSERT(kind >= ARCHIVE_ROWS && kind <= ARCHIVE_SUPERSEDED);
    return names[kind];
}

/* Over everything but the checksum itself. */
static uint32_t checksum(const uint8_t *data, size_t size) {
    uint32_t crc = crc32c(0, data, CHECKSUM_OFFSET);
    return crc32c(crc, data + CHECKSUM_OFFSET + 4, size - CHECKSUM_OFFSET - 4);
}

/* --- encoding --- */

static void put_u16(buffer *out, uint16_t v) {
    buffer_append(out, &v, sizeof v);
}
static void put_u32(buffer *out, uint32_t v) {
    buffer_append(out, &v, sizeof v);
}
static void put_u64(buffer *out, uint64_t v) {
    buffer_append(out, &v, sizeof v);
}

static void put_file(buffer *out, const archive_file_info *f) {
    put_u64(out, f->number);
    put_u16(out, f->table);
    buffer_append(out, &f->kind, 1);
    buffer_append(out, &f->instrument_count, 1);
    put_u16(out, f->schema_version);
    put_u16(out, 0);
    put_u32(out, (uint32_t)f->day);
    put_u32(out, 0);
    put_u64(out, f->rows);
    put_u64(out, f->size_bytes);
    put_u64(out, f->content_xxh3);
    put_u64(out, f->min_seq);
    put_u64(out, f->max_seq);
    put_u64(out, (uint64_t)f->min_ts);
    put_u64(out, (uint64_t)f->max_ts);
    put_u64(out, f->min_by);
    put_u64(out, f->max_by);
    buffer_append(out, f->instruments, archive_instruments_stored(f) * ARCHIVE_INSTRUMENT_BYTES);
}

void archive_manifest_encode(const archive_manifest *m, buffer *out) {
    ASSERT(m->file_count <= UINT32_MAX);
    size_t start = out->size;
    put_u64(out, MAGIC);
    put_u32(out, FORMAT_VERSION);
    put_u32(out, 0);
    put_u64(out, 0);
    buffer_append(out, m->store_id, sizeof m->store_id);
    put_u64(out, m->seq);
    put_u64(out, m->next_number);
    put_u32(out, TAPE_TABLE_COUNT);
    put_u32(out, (uint32_t)m->file_count);
    for (size_t table = 1; table <= TAPE_TABLE_COUNT; table++) {
        put_u64(out, m->history_seq[table]);
    }
    for (size_t i = 0; i < m->file_count; i++) {
        put_file(out, &m->files[i]);
    }
    uint8_t *data = out->data + start;
    size_t size = out->size - start;
    store_u64(data + 16, size);
    store_u32(data + CHECKSUM_OFFSET, checksum(data, size));
}

/* --- decoding --- */

typedef struct decoder {
    const uint8_t *data;
    size_t size, at;
    const char *path;
    tape_error *error;
} decoder;

static tape_status damaged(const decoder *d, size_t offset, const char *format, ...)
    PRINTF_LIKE(3, 4);
static tape_status damaged(const decoder *d, size_t offset, const char *format, ...) {
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    return error_set_file(d->error, TAPE_CORRUPT, d->path, offset,
                          "%s: damaged at offset %zu: %s; " RESTORE_HINT, d->path, offset, what);
}

static tape_status newer(const decoder *d, size_t offset, const char *what, uint64_t value) {
    return error_set_file(d->error, TAPE_NEWER, d->path, offset,
                          "%s: %s %" PRIu64 " at offset %zu was written by a newer version of "
                          "tape; use that version",
                          d->path, what, value, offset);
}

static uint64_t take(decoder *d, size_t bytes) {
    ASSERT(bytes <= 8 && bytes <= d->size - d->at);
    uint64_t v = 0;
    memcpy(&v, d->data + d->at, bytes);
    d->at += bytes;
    return v;
}

static bool padded(const char *text, size_t size) {
    size_t length = strnlen(text, size);
    for (size_t i = length; i < size; i++) {
        if (text[i] != 0) {
            return false;
        }
    }
    return length > 0;
}

/* What cannot be right about the file's instruments, or NULL. */
static const char *implausible_instruments(const archive_file_info *f) {
    size_t count = archive_instruments_stored(f);
    bool range = f->instrument_count == ARCHIVE_INSTRUMENT_RANGE;
    for (size_t i = 0; i < count; i++) {
        if (!padded(f->instruments[i], ARCHIVE_INSTRUMENT_BYTES)) {
            return "an instrument is no text";
        }
        int order =
            i == 0 ? 1 : memcmp(f->instruments[i], f->instruments[i - 1], ARCHIVE_INSTRUMENT_BYTES);
        if (order < 0 || (order == 0 && !range)) {
            return "its instruments are not in order";
        }
    }
    return NULL;
}

/* What cannot be right about a file, or NULL. */
static const char *implausible(const archive_file_info *f, const archive_manifest *m) {
    const tape_table_info *table = record_table(f->table);
    bool entity = table->kind == TAPE_KIND_ENTITY;
    bool has_by = f->kind == ARCHIVE_PAST || f->kind == ARCHIVE_SUPERSEDED;
    if (f->number == 0 || f->number >= m->next_number) {
        return "its number is 0 or not below the next file's";
    }
    if ((f->kind == ARCHIVE_ROWS) == entity) {
        return "its kind is not one of its table's";
    }
    if (f->schema_version == 0) {
        return "its schema version is 0";
    }
    if (f->min_seq == 0 || f->min_seq > f->max_seq || f->max_seq > m->seq) {
        return "its range of seq is empty or goes beyond the archive's seq";
    }
    if (f->rows == 0 || f->rows - 1 > f->max_seq - f->min_seq || f->size_bytes == 0) {
        return "its counts of rows or bytes are impossible";
    }
    if (f->min_ts > f->max_ts) {
        return "its range of time is empty";
    }
    if (has_by ? f->min_by <= f->min_seq || f->min_by > f->max_by || f->max_by > m->seq
               : f->min_by != 0 || f->max_by != 0) {
        return "its range of superseded_by is impossible";
    }
    if (f->kind == ARCHIVE_SUPERSEDED &&
        (f->day != 0 || f->min_ts != 0 || f->max_ts != 0 || f->instrument_count != 0)) {
        return "pairs have a day, a time or an instrument";
    }
    return implausible_instruments(f);
}

static tape_status decode_file(decoder *d, const archive_manifest *m, archive_file_info *f) {
    size_t start = d->at;
    if (d->size - d->at < FILE_HEAD_BYTES) {
        return damaged(d, start, "it ends within a file's entry");
    }
    f->number = take(d, 8);
    f->table = (uint16_t)take(d, 2);
    f->kind = (uint8_t)take(d, 1);
    f->instrument_count = (uint8_t)take(d, 1);
    f->schema_version = (uint16_t)take(d, 2);
    uint64_t reserved = take(d, 2);
    f->day = (int32_t)take(d, 4);
    reserved |= take(d, 4);
    f->rows = take(d, 8);
    f->size_bytes = take(d, 8);
    f->content_xxh3 = take(d, 8);
    f->min_seq = take(d, 8);
    f->max_seq = take(d, 8);
    f->min_ts = (int64_t)take(d, 8);
    f->max_ts = (int64_t)take(d, 8);
    f->min_by = take(d, 8);
    f->max_by = take(d, 8);
    if (f->table > TAPE_TABLE_COUNT) {
        return newer(d, start + 8, "a file of table", f->table);
    }
    if (f->kind > ARCHIVE_SUPERSEDED) {
        return newer(d, start + 10, "a file of kind", f->kind);
    }
    if (reserved != 0 || f->table == 0 || f->kind == 0 ||
        (f->instrument_count > ARCHIVE_INSTRUMENTS_MAX &&
         f->instrument_count != ARCHIVE_INSTRUMENT_RANGE)) {
        return damaged(d, start, "a file's entry has a value that does not exist");
    }
    if (f->schema_version > record_table(f->table)->version) {
        return newer(d, start + 12, "a file of schema version", f->schema_version);
    }
    size_t bytes = archive_instruments_stored(f) * ARCHIVE_INSTRUMENT_BYTES;
    if (d->size - d->at < bytes) {
        return damaged(d, start, "it ends within a file's instruments");
    }
    memcpy(f->instruments, d->data + d->at, bytes);
    d->at += bytes;
    const char *fault = implausible(f, m);
    return fault == NULL
               ? TAPE_OK
               : damaged(d, start, "file %" PRIu64 " is listed, but %s", f->number, fault);
}

static tape_status decode_head(decoder *d, archive_manifest *m, uint32_t *tables, uint32_t *files) {
    if (d->size < HEAD_BYTES) {
        return damaged(d, d->size, "expected at least %u bytes, actual %zu", HEAD_BYTES, d->size);
    }
    if (take(d, 8) != MAGIC) {
        return damaged(d, 0, "it does not begin as an archive's manifest does");
    }
    uint32_t version = (uint32_t)take(d, 4);
    uint32_t expected = (uint32_t)take(d, 4);
    uint32_t actual = checksum(d->data, d->size);
    if (actual != expected) {
        return damaged(d, CHECKSUM_OFFSET, "checksum expected %08" PRIx32 ", actual %08" PRIx32,
                       expected, actual);
    }
    if (version > FORMAT_VERSION) {
        return newer(d, 8, "manifest format", version);
    }
    uint64_t size = take(d, 8);
    if (version == 0 || size != d->size) {
        return damaged(d, 16, "it says that it has %" PRIu64 " bytes, actual %zu", size, d->size);
    }
    memcpy(m->store_id, d->data + d->at, sizeof m->store_id);
    d->at += sizeof m->store_id;
    m->seq = take(d, 8);
    m->next_number = take(d, 8);
    *tables = (uint32_t)take(d, 4);
    *files = (uint32_t)take(d, 4);
    if (*tables > TAPE_TABLE_COUNT) {
        return newer(d, 56, "a number of tables", *tables);
    }
    if (m->next_number == 0 || (d->size - d->at) / 8 < *tables ||
        (d->size - d->at - *tables * 8) / FILE_HEAD_BYTES < *files) {
        return damaged(d, 48, "the next file's number or the number of files is impossible");
    }
    return TAPE_OK;
}

tape_status archive_manifest_decode(const void *data, size_t size, const char *path,
                                    archive_manifest *m, tape_error *error) {
    decoder d = {.data = data, .size = size, .path = path, .error = error};
    uint32_t tables = 0;
    uint32_t files = 0;
    *m = (archive_manifest){0};
    tape_status status = decode_head(&d, m, &tables, &files);
    for (size_t table = 1; status == TAPE_OK && table <= tables; table++) {
        m->history_seq[table] = take(&d, 8);
        if (m->history_seq[table] > m->seq) {
            status = damaged(&d, d.at - 8, "a table's history begins after the archive's seq");
        }
    }
    if (status == TAPE_OK) {
        m->files = mem_zalloc((files + (size_t)1) * sizeof *m->files);
    }
    for (; status == TAPE_OK && m->file_count < files; m->file_count++) {
        archive_file_info *f = &m->files[m->file_count];
        size_t start = d.at;
        status = decode_file(&d, m, f);
        if (status == TAPE_OK && m->file_count > 0 && f->number <= f[-1].number) {
            status = damaged(&d, start, "files %" PRIu64 " and %" PRIu64 " are not in order",
                             f[-1].number, f->number);
        }
    }
    if (status == TAPE_OK && d.at != size) {
        status = damaged(&d, d.at, "there are bytes after the last file's entry");
    }
    if (status != TAPE_OK) {
        free(m->files);
        *m = (archive_manifest){0};
    }
    return status;
}
