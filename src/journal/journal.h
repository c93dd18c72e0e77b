/* journal: the totally ordered record of everything. Live window, segments, group commit, recovery,
 * replay. See README.md for formats, invariants and the recovery decision table. */
#ifndef JOURNAL_H
#define JOURNAL_H

#include "format/format.h"
#include "os/os.h"
#include "record/record.h"

#include <tape/tape.h>

typedef struct journal journal;

typedef enum journal_sync {
    JOURNAL_SYNC_PROBE, /* measure at creation, keep the fastest */
    JOURNAL_SYNC_FDATASYNC,
    JOURNAL_SYNC_DSYNC,
    JOURNAL_SYNC_DIRECT,
} journal_sync;

/* What is fixed when a store is made: DIR/TAPE, a small text file with a checksum. */
typedef struct journal_identity {
    uint8_t store_id[16];
    uint64_t segment_bytes; /* body bytes per segment; power of two */
    int64_t created_ts;     /* Unix ns */
} journal_identity;
#define JOURNAL_SEGMENT_BYTES_MIN KIB(64)
#define JOURNAL_SEGMENT_BYTES_MAX GIB(1)
#define JOURNAL_WINDOW_BYTES_MIN KIB(64)

/* NO_STORE when DIR/TAPE is absent; CORRUPT; NEWER. */
tape_status journal_identity_read(os_disk *disk, const char *root, journal_identity *out,
                                  tape_error *error) TAPE_CHECKED;
/* Makes the journal of a new store in an existing, empty directory: DIR/journal with its first
 * segment, then DIR/TAPE, which makes it a store. Draws the store id. */
tape_status journal_create(os_disk *disk, const char *root, uint64_t segment_bytes,
                           journal_identity *out, tape_error *error) TAPE_CHECKED;

typedef struct journal_options {
    os_disk *disk;
    const char *root; /* DIR; the segments are in DIR/journal, and its inode names the window */
    uint64_t window_bytes; /* power of two; 0: read only, no live window is made */
    journal_sync sync;
    int writer_cpu;          /* -1: any */
    bool background;         /* start the journal writer thread; without it waits do the work */
    uint64_t checkpoint_seq; /* the store's files hold everything up to here */
    uint64_t reserve_bytes;  /* appends are refused while the disk has less free; 0: never */
} journal_options;

typedef struct journal_recovery {
    uint64_t epoch;
    uint64_t last_seq;
    uint64_t records;             /* found on disk after the checkpoint */
    uint64_t records_from_window; /* taken from the window of an owner that was killed */
    uint64_t cut_bytes;           /* torn tail removed: bytes that were not zero, to the end */
    int64_t duration_ns;
} journal_recovery;

tape_status journal_open(journal **out, const journal_options *options, journal_recovery *recovery,
                         tape_error *error) TAPE_CHECKED;
/* Makes everything durable, removes the window. OK, or what kept the last records from the disk. */
tape_status journal_close(journal **j, tape_error *error);

/* Appends as one unit; see tape_append for errors. Validates nothing but sizes. Waits up to
 * `timeout_ns` for room in the window (the clock is read only then). NO_SPACE, at once and with
 * nothing appended, while the disk is short of the reserve. */
tape_status journal_append(journal *j, const tape_record *records, size_t count, int64_t timeout_ns,
                           uint64_t *first_seq, tape_error *error) TAPE_CHECKED;
tape_status journal_wait(journal *j, uint64_t seq, tape_level level, int64_t deadline_ns,
                         tape_error *error) TAPE_CHECKED;
/* Last seq that has the level, and the oldest kept. */
uint64_t journal_seq(const journal *j, tape_level level);
uint64_t journal_oldest_seq(journal *j);
/* OK, or the error that stopped the journal for good. */
tape_status journal_failure(const journal *j, tape_error *error);

/* Whether appends are refused for want of space on the disk. */
bool journal_is_short_of_space(const journal *j);

/* Notes that the store's files hold everything up to `seq`, durably; removes segments all of whose
 * records are at or below both `seq` and the retention limit. `retain_bytes` UINT64_MAX keeps all.
 */
tape_status journal_checkpoint(journal *j, uint64_t seq, uint64_t retain_bytes,
                               tape_error *error) TAPE_CHECKED;

/* --- replay: read from any seq, from segments or the window, in this process or another --- */
typedef struct journal_reader journal_reader;
#define JOURNAL_LATEST UINT64_MAX

/* By directory, needing no owner. `from_seq` 0: the oldest. TOO_OLD; NO_STORE. A from_seq beyond
 * the end waits there. `level`: how far to read. */
tape_status journal_reader_open(journal_reader **out, os_disk *disk, const char *root,
                                tape_level level, uint64_t from_seq,
                                tape_error *error) TAPE_CHECKED;
/* In the owner's process, beside its journal. */
tape_status journal_reader_attach(journal_reader **out, journal *j, tape_level level,
                                  uint64_t from_seq, tape_error *error) TAPE_CHECKED;
/* The next run of records, up to `max`; an append may be split over two calls (RECORD_MORE tells).
 * *count 0: nothing more now. Views are valid until the next call. LOST, CORRUPT. */
tape_status journal_reader_next(journal_reader *r, record_view *out, size_t max, size_t *count,
                                tape_error *error) TAPE_CHECKED;
uint64_t journal_reader_next_seq(const journal_reader *r);
/* Last seq at the reader's level that the store has now, as far as the reader can see. */
uint64_t journal_reader_end_seq(journal_reader *r);
bool journal_reader_owner_alive(journal_reader *r);
void journal_reader_close(journal_reader **r);

/* --- integrity and figures --- */
/* Reads every byte of every segment; checks frames, padding, chain, seq continuity, zero tail.
 * Works on a store in use (up to what is durable). */
tape_status journal_verify(os_disk *disk, const char *root,
                           void (*damage)(void *, const tape_error *), void *context,
                           uint64_t *files, uint64_t *records, tape_error *error) TAPE_CHECKED;

typedef struct journal_stats {
    uint64_t segment_files, segment_bytes; /* on disk */
    uint64_t window_bytes;
    uint64_t busy, syncs;
    uint64_t epoch;
    int64_t sync_floor_ns;
    char sync_method[16];
} journal_stats;
void journal_stats_read(journal *j, journal_stats *out);

#endif
