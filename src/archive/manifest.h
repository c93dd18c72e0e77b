/* The archive's manifest as bytes: which files there are and what is in them. No I/O.
 *
 * Format: docs/format/archive.md.
 *
 * Invariants
 *  M1 What archive_manifest_decode accepts obeys every rule of the format: checksum, sizes, order
 *     of files, ranges.
 *  M2 Files stand in rising order of their numbers, all below next_number.
 *
 * Failure: CORRUPT says what is wrong; NEWER when a later version of tape wrote it. */
#ifndef ARCHIVE_MANIFEST_H
#define ARCHIVE_MANIFEST_H

#include "archive/archive.h"

#define ARCHIVE_INSTRUMENT_BYTES 16u
#define ARCHIVE_INSTRUMENTS_MAX 16u
/* archive_file_info.instrument_count: only the least and the greatest are told. */
#define ARCHIVE_INSTRUMENT_RANGE 255u

/* What is known of a file without opening it. */
typedef struct archive_file_info {
    uint64_t number;
    uint16_t table;
    uint8_t kind;             /* archive_kind */
    uint8_t instrument_count; /* 0: no row has one; 1 to 16: these; ARCHIVE_INSTRUMENT_RANGE */
    uint16_t schema_version;  /* of the catalogue's table when it was written */
    int32_t day;              /* since 1970; 0 for SUPERSEDED */
    uint64_t rows;
    uint64_t size_bytes;
    uint64_t content_xxh3;
    uint64_t min_seq, max_seq;
    int64_t min_ts, max_ts;  /* 0 for SUPERSEDED */
    uint64_t min_by, max_by; /* of superseded_by; 0 where there is no such column */
    char instruments[ARCHIVE_INSTRUMENTS_MAX][ARCHIVE_INSTRUMENT_BYTES]; /* rising, NUL-padded */
} archive_file_info;

typedef struct archive_manifest {
    uint8_t store_id[16];
    uint64_t seq;
    uint64_t next_number;
    uint64_t history_seq[TAPE_TABLE_COUNT + 1]; /* by table id */
    archive_file_info *files;
    size_t file_count;
} archive_manifest;

/* Appends the manifest's bytes. */
void archive_manifest_encode(const archive_manifest *m, buffer *out);
/* `path` is for the error's text. On OK the caller frees m->files; otherwise *m is all zero. */
tape_status archive_manifest_decode(const void *data, size_t size, const char *path,
                                    archive_manifest *m, tape_error *error) TAPE_CHECKED;

/* "rows", "current", "past", "superseded". */
const char *archive_kind_name(uint8_t kind);
/* How many of `instruments` count. */
static inline size_t archive_instruments_stored(const archive_file_info *f) {
    return f->instrument_count == ARCHIVE_INSTRUMENT_RANGE ? 2 : f->instrument_count;
}

#endif
