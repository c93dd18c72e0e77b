/* tape/reader.h: follow the journal of a store, from any process. Link libtape_reader.
 *
 *     tape_reader *reader;
 *     tape_reader_options options;
 *     tape_reader_options_init(&options);
 *     options.from_seq = 1;
 *     if (tape_reader_open("/data/market", &options, &reader, &error) != TAPE_OK) ...
 *     tape_reader_record records[64];
 *     size_t count;
 *     while (tape_reader_poll(reader, records, 64, 1000000000, &count, &error) == TAPE_OK) ...
 *
 * A reader needs nobody's permission and harms nobody: it maps files and shared memory read-only,
 * and the writer does not know of it. It moves by itself between segment files and the live window.
 */
#ifndef TAPE_READER_H
#define TAPE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tape/error.h>
#include <tape/records.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tape_reader tape_reader;

typedef struct tape_reader_options {
    size_t size_bytes;
    int level;         /* 1 written (default), 2 durable, 3 committed: how far to read */
    uint64_t from_seq; /* first record wanted; 0 (default): the oldest there is */
    bool from_latest;  /* start after the newest record instead */
    bool from_time;    /* start at the first record with ts >= from_ts instead */
    int64_t from_ts;   /* Unix ns */
} tape_reader_options;
void TAPE_API tape_reader_options_init(tape_reader_options *options);

typedef struct tape_reader_record {
    const void *record; /* the table's struct, of the current version; seq and ts first */
    uint16_t table;
    uint16_t version;  /* schema version it was written with */
    bool more;         /* the next record belongs to the same append */
    int64_t append_ts; /* Unix ns when appended */
} tape_reader_record;

/* NO_STORE, TOO_OLD (from_seq is no longer kept), NEWER. */
TAPE_API tape_status tape_reader_open(const char *dir, const tape_reader_options *options,
                                      tape_reader **out, tape_error *error) TAPE_CHECKED;
/* Up to `max` records, in order, each exactly once. Waits up to `timeout_ns` for the first one (0:
 * does not wait); *count 0 after that. The records are valid until the next call. LOST when the
 * writer removed records before this reader took them; CORRUPT. One thread at a time. */
TAPE_API tape_status tape_reader_poll(tape_reader *reader, tape_reader_record *records, size_t max,
                                      int64_t timeout_ns, size_t *count,
                                      tape_error *error) TAPE_CHECKED;
/* The seq the next record will have. */
TAPE_API uint64_t tape_reader_next_seq(const tape_reader *reader);
/* Whether a process owns the store now. */
TAPE_API bool tape_reader_owner_alive(tape_reader *reader);
TAPE_API void tape_reader_close(tape_reader **reader);

#ifdef __cplusplus
}
#endif
#endif
