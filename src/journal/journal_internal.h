/* journal's own: what its files share. */
#ifndef JOURNAL_INTERNAL_H
#define JOURNAL_INTERNAL_H

#include "journal/journal.h"

/* --- segments: DIR/journal/<index, 16 hex digits>.journal --- */

#define SEGMENT_SUFFIX ".journal"
#define SEGMENT_TEMPORARY "next.tmp"

/* What every part of the journal needs to know of the store it works on. */
typedef struct journal_place {
    os_disk *disk;
    char *root;
    char *dir; /* root/journal */
    journal_identity identity;
    uint64_t salt;
} journal_place;
tape_status journal_place_init(journal_place *place, os_disk *disk, const char *root,
                               tape_error *error) TAPE_CHECKED;
void journal_place_deinit(journal_place *place);

static inline uint64_t segment_of(const journal_place *place, uint64_t position) {
    return position / place->identity.segment_bytes;
}
static inline uint64_t segment_offset(const journal_place *place, uint64_t position) {
    return SEGMENT_HEADER_BYTES + position % place->identity.segment_bytes;
}

char *segment_path(const journal_place *place, uint64_t index); /* caller frees */

/* The segments present, lowest first. CORRUPT when one between two others is missing, or none is
 * there. */
typedef struct segment_list {
    uint64_t first;
    uint64_t count;
} segment_list;
tape_status segment_list_read(const journal_place *place, segment_list *out,
                              tape_error *error) TAPE_CHECKED;
/* Reads and checks one header. NOT_FOUND when the file is absent. */
tape_status segment_header_read(const journal_place *place, uint64_t index, segment_header *out,
                                tape_error *error) TAPE_CHECKED;
/* Writes a whole file of zeros under the temporary name and syncs it. */
tape_status segment_prepare(const journal_place *place, tape_error *error) TAPE_CHECKED;
/* Gives the prepared file its header, syncs, renames it into place, syncs the directory. */
tape_status segment_publish(const journal_place *place, segment_header *header,
                            tape_error *error) TAPE_CHECKED;

/* --- the live window ---
 * Region: one page of control, then the ring. Position p lies at ring offset p % ring_bytes.
 *
 * Invariants
 *  W1 durable_position <= written_position <= claimed position <= durable_position + ring_bytes.
 *  W2 bytes [start_position, written_position) that are not older than claimed - ring_bytes are
 * whole frames, and never change until overwritten by a claim ring_bytes later. W3 written_position
 * moves in the order of claims and only over complete appends. W4 only the thread whose claim
 * starts at written_position writes written_*, last_append_ts. */
#define WINDOW_MAGIC UINT64_C(0x31574e4957455054) /* "TPEWINW1" */
#define WINDOW_VERSION 1u
#define WINDOW_CONTROL_BYTES 4096u
/* Room that appends leave: for the commit frame, and for the block that direct writes start in. */
#define WINDOW_RESERVE_BYTES 8192u
/* Touched before the window is used; the rest follows in the background, in pieces of this size. */
#define WINDOW_PREFAULT_BYTES MIB(1)

enum window_state { WINDOW_MAKING = 0, WINDOW_LIVE = 1, WINDOW_CLOSED = 2 };

typedef struct window_control {
    uint64_t magic;
    uint32_t version;
    _Atomic uint32_t state;
    uint8_t store_id[16];
    uint8_t boot_id[16];
    uint64_t epoch;
    uint64_t ring_bytes;

    _Alignas(CACHE_LINE_BYTES) uint64_t segment_bytes;
    uint64_t start_position; /* the window holds nothing before it */
    int64_t owner_pid;
    uint64_t device; /* of DIR, with its inode and path: to tell when it is gone */
    uint64_t inode;
    char path[1024];

    /* Low 32 bits of (position / FRAME_ALIGN), low 32 bits of the last claimed seq: see
     * window_claim. */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t claim;

    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t written_position;
    _Atomic uint64_t written_seq;
    _Atomic int64_t last_append_ts;

    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t durable_position;
    _Atomic uint64_t durable_seq;
    _Atomic uint64_t committed_position;
    _Atomic uint64_t committed_seq;
} window_control;
_Static_assert(sizeof(window_control) <= WINDOW_CONTROL_BYTES, "control fits its page");

typedef struct window {
    os_shm shm;
    window_control *control;
    uint8_t *ring;
    uint64_t mask; /* ring_bytes - 1 */
} window;

char *window_name(const journal_place *place,
                  tape_error *error); /* caller frees; NULL on failure */

/* A window that has not begun: everything up to `position` and `seq` is durable. */
tape_status window_create(const journal_place *place, uint64_t ring_bytes, uint64_t epoch,
                          uint64_t position, uint64_t seq, int64_t append_ts, window *out,
                          tape_error *error) TAPE_CHECKED;
/* The window another process made, if it is of this store and this boot: NOT_FOUND otherwise. */
tape_status window_open(const journal_place *place, bool writable, window *out,
                        tape_error *error) TAPE_CHECKED;
void window_close(window *w);
/* Removes the windows of killed owners whose directory is gone too: nobody will ever take them
 * over, and they are memory. */
void window_sweep(const journal_place *place);
/* Removes the name; who has the window mapped keeps it. */
tape_status window_remove(const journal_place *place, tape_error *error) TAPE_CHECKED;

typedef struct window_range {
    uint64_t start; /* of the first frame; a pad of start - pad bytes goes before it */
    uint64_t pad;   /* bytes */
    uint64_t end;
    uint64_t first_seq;
} window_range;
/* Takes room for `bytes` in frames and `records` seqs, leaving `reserve` bytes free. False: no
 * room. */
bool window_claim(const window *w, uint64_t bytes, uint32_t records, uint64_t reserve,
                  uint64_t segment_bytes, window_range *out);
/* The claimed position: nothing at or after claimed - ring_bytes has been overwritten. */
uint64_t window_claimed(const window *w);

/* The watermark of a level, as a position and as the last seq before it. */
uint64_t window_level_position(const window *w, tape_level level);
uint64_t window_level_seq(const window *w, tape_level level);

static inline uint8_t *window_at(const window *w, uint64_t position) {
    return w->ring + (position & w->mask);
}

/* --- scanning stored frames in order, with every check --- */

typedef enum scan_step {
    SCAN_FRAME,  /* one more intact frame */
    SCAN_STOP,   /* no further intact frame: see `why` */
    SCAN_FAILED, /* the disk could not be read, or a header is damaged */
} scan_step;

typedef struct scan {
    const journal_place *place;
    segment_list segments;
    uint64_t index; /* of the mapped segment */
    os_map map;
    uint64_t position; /* of the next frame */
    uint64_t next_seq;
    uint64_t epoch;
    int64_t append_ts;
    chain *hash;
    uint64_t hashed; /* fed to `hash` up to here */
    uint64_t fold_position;
    uint8_t folded[16]; /* at fold_position */
    /* After the last good commit, or a segment's start, which says as much. */
    struct {
        uint64_t end;
        uint64_t seq;
        uint64_t epoch;
        int64_t append_ts;
        uint8_t folded[16];
        uint64_t fold_position;
    } commit;
    uint64_t durable_position; /* greatest known durable position met */
    /* After SCAN_FRAME. */
    frame_header header;
    const uint8_t *payload;
    uint64_t frame_position;
    /* After SCAN_STOP: whether it is a plain end (zeros, or the end of the last segment), and what
     * is there. */
    bool zero;
    char why[160];
} scan;
/* Starts at the start of segment `index`. */
tape_status scan_start(scan *s, const journal_place *place, segment_list segments, uint64_t index,
                       tape_error *error) TAPE_CHECKED;
scan_step scan_next(scan *s, tape_error *error);
void scan_end(scan *s);
/* Goes on at `position` of the mapped segment after a damaged run, believing the frame found there.
 * For verify, which reports every damage. False: no intact record frame until the segment's end. */
bool scan_resume(scan *s);
/* Whether nothing but zeros follows the stop, in the last segment. */
bool scan_rest_is_zero(const scan *s);

/* Looks for intact commit frames after `position` and returns the greatest durable position they or
 * the segment headers name (0: none). */
tape_status scan_durable_evidence(const journal_place *place, segment_list segments,
                                  uint64_t position, uint64_t *out, tape_error *error) TAPE_CHECKED;
/* CORRUPT with file, offset and what the scan found. */
tape_status scan_report(const scan *s, uint64_t durable_position, tape_error *error);

/* The segment to start at to meet every record from `seq` on. TOO_OLD when that is no longer kept.
 */
tape_status segment_find(const journal_place *place, segment_list segments, uint64_t seq,
                         uint64_t *index, tape_error *error) TAPE_CHECKED;

/* --- recovery --- */

/* Where a stored journal ends: after its last good commit. */
typedef struct journal_end {
    uint64_t position;
    uint64_t seq;
    uint64_t epoch; /* the last one used */
    int64_t append_ts;
    uint8_t folded[16]; /* the chain at `hashed` */
    uint64_t hashed;
    segment_list segments;
    uint64_t records; /* after the checkpoint */
    uint64_t durable; /* up to here something intact says that it was synced */
    bool clean;       /* zeros follow: nothing to cut */
} journal_end;
/* Scans from the segment that holds checkpoint_seq + 1 and decides (README.md has the table): the
 * end, or CORRUPT. Writes nothing. */
tape_status journal_end_find(const journal_place *place, uint64_t checkpoint_seq, journal_end *out,
                             tape_error *error) TAPE_CHECKED;
/* DIR/journal/mark: a position known durable, written when a journal is closed, so that an end that
 * was lost as a whole, with every commit that knew of it, is missed. 0 when there is none. CORRUPT
 * when it is damaged. */
tape_status journal_mark_read(const journal_place *place, uint64_t *position,
                              tape_error *error) TAPE_CHECKED;
tape_status journal_mark_write(const journal_place *place, uint64_t position,
                               tape_error *error) TAPE_CHECKED;
/* Zeroes everything after the end and removes segments that begin after it. */
tape_status journal_end_cut(const journal_place *place, journal_end *end, uint64_t *cut_bytes,
                            tape_error *error) TAPE_CHECKED;
/* Makes what was found up to the end durable, segments' names included: nobody may have synced it,
 * or a sync failed, and then it may be in the page cache alone and passed over by every later sync.
 */
tape_status journal_end_settle(const journal_place *place, const journal_end *end,
                               tape_error *error) TAPE_CHECKED;
/* Checks that the window continues the journal at `end`: every frame in it up to written_position.
 */
tape_status journal_end_check_window(const journal_place *place, const journal_end *end,
                                     const window *w, uint64_t *records,
                                     tape_error *error) TAPE_CHECKED;

/* --- the sync method --- */
typedef struct sync_probe {
    journal_sync method;
    int64_t floor_ns; /* median of fdatasync on a written file */
} sync_probe;
/* Reads DIR/journal/probe, or measures and writes it when it is absent or of another device. */
tape_status sync_probe_get(const journal_place *place, bool may_write, sync_probe *out,
                           tape_error *error) TAPE_CHECKED;
const char *sync_method_name(journal_sync method);
unsigned sync_method_flags(journal_sync method);

/* --- the journal itself --- */

/* Moves a window's bytes into segments. One thread at a time. */
typedef struct segment_writer {
    const journal_place *place;
    journal_sync sync;
    os_file *file;
    uint64_t index;    /* of `file` */
    uint64_t position; /* in files, and durable */
    uint64_t epoch;
    chain *hash;
    uint64_t hashed;
    uint8_t folded[16];
    uint8_t (*boundaries)[16]; /* chain folded at a segment's start, by index % boundary_count */
    uint64_t boundary_count;
    uint8_t *bounce; /* for direct writes */
    /* The next segment's file, zero-filled ahead by another thread. */
    pthread_mutex_t prepare_mutex;
    bool prepared;
} segment_writer;
tape_status segment_writer_open(segment_writer *sw, const journal_place *place, journal_sync sync,
                                uint64_t ring_bytes, const journal_end *end,
                                tape_error *error) TAPE_CHECKED;
void segment_writer_close(segment_writer *sw);
/* Feeds the chain up to `to`, folding at segment starts. */
void segment_writer_hash(segment_writer *sw, const window *w, uint64_t to);
/* Folds at `at` (== hashed) and gives the chain for the commit frame that starts there. */
void segment_writer_fold(segment_writer *sw, uint8_t out[16]);
/* Writes [position, to) and makes it durable, in as many segments as it takes. `advance` is told of
 * each position that has become durable and recoverable. NO_SPACE: the next segment could not be
 * made; nothing is lost, call again. Any other failure is final. */
tape_status segment_writer_write(segment_writer *sw, const window *w, uint64_t to,
                                 void (*advance)(void *context, uint64_t position, uint64_t seq),
                                 void *context, tape_error *error) TAPE_CHECKED;
/* Zero-fills the next segment's file if that has not been done. Any thread. */
tape_status segment_writer_prepare(segment_writer *sw, tape_error *error) TAPE_CHECKED;

struct journal {
    journal_place place;
    window w; /* absent when read only */
    bool writable;
    int64_t sync_floor_ns;
    uint64_t epoch;
    uint64_t final_seq;         /* when read only: the last there is, */
    uint64_t final_durable_seq; /* and the last that is in a file */

    /* The flush role: whoever holds flush_mutex moves the window's bytes to disk. */
    pthread_mutex_t flush_mutex;
    segment_writer sw;
    _Atomic bool sealed;  /* the last commit knows that every record before it is durable */
    _Atomic bool blocked; /* the next segment could not be made for want of space */

    _Atomic uint32_t durable_word; /* futex: changes when durable moves or the journal fails */
    _Atomic uint32_t waiters;
    _Atomic uint32_t failed; /* a tape_status, or 0 */
    /* What an append looks at: REFUSE_... bits; 0: go on. */
    _Atomic uint32_t refusing;
    pthread_mutex_t failure_mutex;
    tape_error failure;
    uint64_t reserve_bytes;

    os_thread *writer;
    os_thread *preparer;
    _Atomic uint32_t stop;
    _Atomic uint32_t preparer_word; /* futex */

    pthread_mutex_t segments_mutex;
    segment_list kept; /* segments on disk */
    uint64_t oldest_seq;

    _Atomic uint64_t busy;
    _Atomic uint64_t syncs;
};

enum {
    REFUSE_FAILED = 1u << 0, /* stays */
    REFUSE_SPACE = 1u << 1,  /* the disk is short of the reserve */
};

/* --- the reserve (space.c) --- */
/* Measures, and lets appends be refused or go on. Any thread. */
void journal_check_space(journal *j);
/* Why an append is refused that found `refusing` set; OK when there is space again. */
tape_status journal_refusal(journal *j, tape_error *error) TAPE_CHECKED;

/* Takes room for a commit frame, fills it, and moves everything up to it to disk. flush_mutex is
 * held. `seal`: do so even when no record waits. NO_SPACE: try again later. Otherwise a failure is
 * final and has been recorded. */
tape_status journal_flush(journal *j, bool seal, tape_error *error) TAPE_CHECKED;
/* Wakes those who wait for durable to move, or to flush themselves. After flush_mutex is released.
 */
void journal_notify(journal *j);
/* Waits until every claim before `position` is published; the caller's claim begins there. */
void journal_await_turn(const journal *j, uint64_t position);
/* In its turn: writes the pad frame of a range, if it has one, and returns the append time of the
 * frames that follow: `now`, or the last one's if the clock went back. */
int64_t journal_fill_pad(journal *j, const window_range *range, int64_t now);
/* The largest append, in bytes of frames. */
uint64_t journal_append_bytes_max(const journal *j);
/* Marks the journal failed for good and wakes everyone. */
void journal_fail(journal *j, const tape_error *error);
void journal_run_writer(void *argument);
void journal_run_preparer(void *argument);

#endif
