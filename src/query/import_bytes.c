/* Import: the bytes of a file, unpacked. DuckDB unpacks too, but takes a .gz that ends early for
 * one that ends: here every byte is accounted for, to the last check sum. */
#include "query/import_internal.h"

#include <stdlib.h>
#include <strings.h>
#include <zlib.h>
#include <zstd.h>

#define PACKED_BYTES 262144u

struct byte_source {
    const import_file *file;
    os_file *os;
    uint64_t offset; /* of the next read */
    uint8_t *packed;
    size_t packed_at;
    size_t packed_end;
    bool file_ended;
    bool inside; /* a gzip member or zstd frame is begun and not ended */
    bool any;    /* one was ended */
    z_stream gzip;
    ZSTD_DStream *zstd;
};

/* --- names --- */

static bool ends_with(const char *path, size_t size, const char *end) {
    size_t end_size = strlen(end);
    return size > end_size && strncasecmp(path + size - end_size, end, end_size) == 0;
}

static tape_status kind_of_name(import_file *file, tape_error *error) {
    static const struct {
        const char *end;
        import_kind kind;
        char delimiter;
    } KINDS[] = {
        {".csv", IMPORT_CSV, ','},   {".tsv", IMPORT_CSV, '\t'}, {".jsonl", IMPORT_JSON, 0},
        {".ndjson", IMPORT_JSON, 0}, {".json", IMPORT_JSON, 0},  {".parquet", IMPORT_PARQUET, 0},
    };
    size_t size = strlen(file->path);
    file->packing = IMPORT_PLAIN;
    if (ends_with(file->path, size, ".gz")) {
        file->packing = IMPORT_GZIP;
        size -= 3;
    } else if (ends_with(file->path, size, ".zst")) {
        file->packing = IMPORT_ZSTD;
        size -= 4;
    }
    for (size_t n = 0; n < COUNT_OF(KINDS); n++) {
        if (ends_with(file->path, size, KINDS[n].end)) {
            file->kind = KINDS[n].kind;
            file->delimiter = KINDS[n].delimiter;
            return TAPE_OK;
        }
    }
    return error_set_file(error, TAPE_INVALID, file->path, TAPE_NO_OFFSET,
                          "%s: the name does not tell the kind: it must end in .csv, .tsv, .jsonl, "
                          ".ndjson, .json or .parquet, each also with .gz or .zst",
                          file->path);
}

tape_status import_file_init(import_file *file, const char *path, tape_error *error) {
    os_stat stat;
    os_file *os = NULL;
    file->path = mem_strdup(path);
    tape_status status = os_path_stat(os_disk_linux(), path, &stat, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (stat.is_dir) {
        return error_set_file(error, TAPE_INVALID, path, TAPE_NO_OFFSET,
                              "%s is a directory: name the files in it", path);
    }
    status = kind_of_name(file, error);
    if (status != TAPE_OK) {
        return status;
    }
    status = os_file_open(os_disk_linux(), path, OS_READ, &os, error);
    os_file_close(&os);
    file->size_bytes = stat.size;
    return status;
}

/* --- open and close --- */

tape_status byte_source_open(byte_source **out, const import_file *file, tape_error *error) {
    byte_source *s = mem_zalloc(sizeof *s);
    s->file = file;
    *out = NULL;
    tape_status status = os_file_open(os_disk_linux(), file->path, OS_READ, &s->os, error);
    if (status != TAPE_OK) {
        goto out;
    }
    /* 15 bits of window, and 16: a gzip header, nothing else. */
    bool ready = file->packing != IMPORT_GZIP || inflateInit2(&s->gzip, 15 + 16) == Z_OK;
    if (file->packing == IMPORT_ZSTD) {
        s->zstd = ZSTD_createDStream();
        ready = s->zstd != NULL;
    }
    if (!ready) {
        status = error_set(error, TAPE_NO_MEMORY, "no memory to unpack %s", file->path);
        goto out;
    }
    if (file->packing != IMPORT_PLAIN) {
        s->packed = mem_alloc(PACKED_BYTES);
    }
    *out = s;
    return TAPE_OK;
out:
    byte_source_close(&s);
    return status;
}

void byte_source_close(byte_source **source) {
    byte_source *s = *source;
    *source = NULL;
    if (s == NULL) {
        return;
    }
    os_file_close(&s->os);
    if (s->file->packing == IMPORT_GZIP) {
        (void)inflateEnd(&s->gzip);
    }
    (void)ZSTD_freeDStream(s->zstd);
    free(s->packed);
    free(s);
}

uint64_t byte_source_position(const byte_source *s) {
    return s->offset - (s->packed_end - s->packed_at);
}

/* --- reading --- */

static tape_status damaged(const byte_source *s, const char *what, tape_error *error) {
    uint64_t position = byte_source_position(s);
    return error_set_file(error, TAPE_INVALID, s->file->path, position, "%s: %s at byte %llu",
                          s->file->path, what, (unsigned long long)position);
}

static tape_status fill_packed(byte_source *s, tape_error *error) {
    s->packed_at = 0;
    s->packed_end = 0;
    tape_status status =
        os_file_read(s->os, s->offset, s->packed, PACKED_BYTES, &s->packed_end, error);
    s->offset += s->packed_end;
    s->file_ended = status == TAPE_OK && s->packed_end == 0;
    return status;
}

static tape_status unpack_gzip(byte_source *s, void *data, size_t size, size_t *got,
                               tape_error *error) {
    s->gzip.next_in = s->packed + s->packed_at;
    s->gzip.avail_in = (unsigned)(s->packed_end - s->packed_at);
    s->gzip.next_out = data;
    s->gzip.avail_out = (unsigned)size;
    s->inside = true;
    int outcome = inflate(&s->gzip, Z_NO_FLUSH);
    s->packed_at = s->packed_end - s->gzip.avail_in;
    *got = size - s->gzip.avail_out;
    if (outcome == Z_STREAM_END) {
        s->inside = false;
        s->any = true;
        (void)inflateReset(&s->gzip);
    } else if (outcome != Z_OK && outcome != Z_BUF_ERROR) {
        return damaged(s, "the gzip data is damaged", error);
    }
    return TAPE_OK;
}

static tape_status unpack_zstd(byte_source *s, void *data, size_t size, size_t *got,
                               tape_error *error) {
    ZSTD_inBuffer in = {s->packed + s->packed_at, s->packed_end - s->packed_at, 0};
    ZSTD_outBuffer out = {data, size, 0};
    size_t outcome = ZSTD_decompressStream(s->zstd, &out, &in);
    s->packed_at += in.pos;
    *got = out.pos;
    if (ZSTD_isError(outcome)) {
        return damaged(s, "the zstd data is damaged", error);
    }
    s->inside = outcome != 0;
    s->any = s->any || outcome == 0;
    return TAPE_OK;
}

tape_status byte_source_read(byte_source *s, void *data, size_t size, size_t *got,
                             tape_error *error) {
    tape_status status = TAPE_OK;
    *got = 0;
    size = size < MIB(16) ? size : MIB(16);
    if (s->file->packing == IMPORT_PLAIN) {
        status = os_file_read(s->os, s->offset, data, size, got, error);
        s->offset += *got;
        return status;
    }
    while (status == TAPE_OK && *got == 0) {
        if (s->packed_at == s->packed_end && !s->file_ended) {
            status = fill_packed(s, error);
            if (status != TAPE_OK) {
                return status;
            }
        }
        /* What is unpacked but not handed out yet comes even after the file's last byte. */
        if (s->file_ended && !s->inside) {
            return s->any || s->offset == 0 ? TAPE_OK
                                            : damaged(s, "there is no packed data", error);
        }
        size_t before = s->packed_at;
        status = s->file->packing == IMPORT_GZIP ? unpack_gzip(s, data, size, got, error)
                                                 : unpack_zstd(s, data, size, got, error);
        if (status == TAPE_OK && *got == 0 && s->file_ended && s->packed_at == before) {
            return damaged(s, "the packed data ends early: the file is cut off", error);
        }
    }
    return status;
}
