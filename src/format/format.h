/* format: the bytes of the journal, on disk and in the live window. Pure: no I/O.
 * docs/format/journal.md is the document to implement from; README.md tells the why.
 *
 * A journal is one stream of frames; a frame's *position* is its byte offset in the stream. The
 * stream is cut into segments of equal body size S: position p lies in segment p / S, at file
 * offset SEGMENT_HEADER_BYTES + p % S. A frame never crosses a segment's end; a pad frame fills the
 * rest.
 *
 * Frame, little-endian, starting at a multiple of FRAME_ALIGN:
 *   0  u32 size_bytes    header and payload, not the zero bytes that follow up to FRAME_ALIGN
 *   4  u32 crc32c        see frame_checksum_body
 *   8  u16 type          1..0x7fff a record's table id; 0x8000.. control (enum frame_type)
 *  10  u16 version       schema version of the payload
 *  12  u32 flags         FRAME_MORE: the next record frame belongs to the same append
 *  16  i64 append_ts     Unix ns when appended; never falls along the stream
 *  24      payload       the record's struct (seq first) or the control payload
 *
 * Invariants
 *  F1 size_bytes is at least FRAME_HEADER_BYTES and at most FRAME_BYTES_MAX.
 *  F2 the checksum covers the position and the store's salt, so a frame that is intact but in
 *     another place, or another store's, is invalid.
 *  F3 a frame's padding is zero. */
#ifndef FORMAT_H
#define FORMAT_H

#include "base/base.h"

#define FRAME_ALIGN 32u
#define FRAME_HEADER_BYTES 24u
#define FRAME_BYTES_MAX MIB(64)
#define FRAME_MORE 1u
#define FRAME_CONTROL 0x8000u

enum frame_type {
    FRAME_PAD = 0x8000,        /* fills a segment's end; payload zero */
    FRAME_COMMIT = 0x8001,     /* struct frame_commit */
    FRAME_EPOCH = 0x8002,      /* struct frame_epoch: an owner opened the store */
    FRAME_HEARTBEAT = 0x8003,  /* struct frame_heartbeat */
    FRAME_CHECKPOINT = 0x8004, /* struct frame_checkpoint: the store reaches to here */
    FRAME_MANIFEST = 0x8100,   /* the store's manifest: see store/README.md */
};

typedef struct frame_header {
    uint32_t size_bytes;
    uint32_t crc32c;
    uint16_t type;
    uint16_t version;
    uint32_t flags;
    int64_t append_ts;
} frame_header;
_Static_assert(sizeof(frame_header) == FRAME_HEADER_BYTES, "the frame header is 24 bytes");

/* A commit says: everything before me is complete, and `chain` is its hash.
 * The chain is folded at the start of every commit frame and at the start of every segment but the
 * first: chain = XXH3-128 of (previous chain, 16 bytes) ++ (every byte of the stream since the
 * previous fold), in xxHash's canonical (big-endian) form. The first previous chain is zero. */
typedef struct frame_commit {
    uint64_t last_seq;         /* last record before this frame; 0 if none yet */
    uint64_t durable_position; /* everything before it was known durable when this was written */
    uint64_t epoch;
    uint8_t chain[16];
} frame_commit;
_Static_assert(sizeof(frame_commit) == 40, "commit payload");

typedef struct frame_epoch {
    uint64_t epoch; /* 1 for the first open, then rising */
    uint64_t last_seq;
} frame_epoch;

typedef struct frame_heartbeat {
    uint64_t next_seq;
} frame_heartbeat;

typedef struct frame_checkpoint {
    uint64_t seq; /* the store's files hold every record up to it */
} frame_checkpoint;

/* The bytes a frame takes in the stream. */
static inline uint64_t frame_span(uint32_t size_bytes) {
    return ALIGN_UP((uint64_t)size_bytes, FRAME_ALIGN);
}

/* The checksum: CRC-32C over, in this order,
 *   payload bytes from FRAME_BODY_OFFSET on     known before the frame has a place
 *   u64 salt ^ position; payload bytes before that (a record's seq and ts)
 *   header bytes 8..15; size_bytes as u64; append_ts      known last, in the producer's turn
 * so that a producer can do most of the work before it claims. */
#define FRAME_BODY_OFFSET 16u
static inline uint32_t frame_checksum_body(const void *payload, size_t size) {
    uint32_t state = CRC32C_START;
    const uint8_t *bytes = payload;
    size_t at = FRAME_BODY_OFFSET;
    if (LIKELY(size <= 512)) { /* records: not worth a call */
        for (; at + 8 <= size; at += 8) {
            state = crc32c_step(state, load_u64(bytes + at));
        }
    }
    return at >= size ? state : ~crc32c(~state, bytes + at, size - at);
}
static inline uint32_t frame_checksum_place(uint32_t state, uint64_t salt, uint64_t position,
                                            const void *payload, size_t size) {
    state = crc32c_step(state, salt ^ position);
    if (LIKELY(size >= FRAME_BODY_OFFSET)) {
        state = crc32c_step(state, load_u64(payload));
        return crc32c_step(state, load_u64((const uint8_t *)payload + 8));
    }
    return ~crc32c(~state, payload, size);
}
static inline uint32_t frame_checksum_finish(uint32_t state, const frame_header *header) {
    state = crc32c_step(state, load_u64((const uint8_t *)header + 8));
    state = crc32c_step(state, header->size_bytes);
    return crc32c_end(crc32c_step(state, (uint64_t)header->append_ts));
}

/* Writes header and padding around a payload already copied to frame + FRAME_HEADER_BYTES, or
 * copies it when `payload` is elsewhere. `frame` has frame_span room. Returns the span. */
uint64_t frame_write(void *frame, uint64_t salt, uint64_t position, uint16_t type, uint16_t version,
                     uint32_t flags, int64_t append_ts, const void *payload, size_t payload_size);

typedef enum frame_verdict {
    FRAME_VALID,
    FRAME_ZERO,      /* eight zero bytes where a frame would start: nothing was written here */
    FRAME_TRUNCATED, /* the frame does not fit in what is there */
    FRAME_BAD_SIZE,  /* F1 broken */
    FRAME_BAD_CRC,
    FRAME_BAD_PADDING, /* F3 broken */
} frame_verdict;

/* Examines the frame at `data`, of which `available` bytes may be read (any alignment, any
 * content). On FRAME_VALID `*out` is a copy of the header. On FRAME_BAD_CRC `*expected` and
 * `*actual`, when not NULL, are the stored and the computed checksum. */
frame_verdict frame_read(const void *data, size_t available, uint64_t salt, uint64_t position,
                         frame_header *out, uint32_t *expected, uint32_t *actual);
const char *frame_verdict_text(frame_verdict verdict);

/* --- segment files --- */
#define SEGMENT_HEADER_BYTES 4096u
#define SEGMENT_MAGIC UINT64_C(0x314c4e524a455054) /* "TPEJRNL1" */
#define FORMAT_VERSION 1u

/* The first bytes of a segment file; the rest of SEGMENT_HEADER_BYTES is zero. */
typedef struct segment_header {
    uint64_t magic;
    uint32_t format_version;
    uint32_t crc32c; /* of this struct with crc32c zero */
    uint8_t store_id[16];
    uint64_t index;      /* segment number; the body starts at position index * body_bytes */
    uint64_t body_bytes; /* S */
    uint64_t first_seq;  /* of the first record that starts in this segment or later */
    uint64_t epoch;
    uint64_t durable_position; /* known durable when the segment was put in place */
    int64_t append_ts;         /* of the last frame before this segment; 0 if none */
    uint8_t chain[16];         /* folded at the segment's start */
} segment_header;
_Static_assert(sizeof(segment_header) == 96, "segment header");

void segment_header_seal(segment_header *header);
/* OK; CORRUPT (magic, checksum, index, body size); NEWER. `file` is for the error. */
tape_status segment_header_check(const segment_header *header, const uint8_t store_id[16],
                                 uint64_t index, const char *file, tape_error *error) TAPE_CHECKED;

/* The salt of a store's frame checksums, from its id. */
uint64_t format_salt(const uint8_t store_id[16]);

/* --- chained hash --- */
typedef struct chain chain; /* running state */
chain *chain_create(void);
void chain_destroy(chain **c);
void chain_start(chain *c, const uint8_t previous[16]);
void chain_add(chain *c, const void *data, size_t size);
void chain_finish(chain *c, uint8_t out[16]); /* may go on adding afterwards */

#endif
