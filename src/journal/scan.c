/* Reading stored frames in order, with every check.
 *
 * A step accepts a frame only when it is intact and also is what must come next: records by seq,
 * append times that do not fall, pads that end a segment, commits whose chain and seq are the
 * scan's own. A segment that follows must begin with the chain and the seq that the scan arrived
 * with: its header was synced after everything before it, so it stands for a commit at its start,
 * and a disagreement there is damage, never a torn tail. */
#include "journal/journal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static tape_status scan_map(scan *s, uint64_t index, segment_header *header, tape_error *error) {
    os_unmap(&s->map);
    tape_status status = segment_header_read(s->place, index, header, error);
    if (status != TAPE_OK) {
        return status;
    }
    char *path = segment_path(s->place, index);
    os_file *file = NULL;
    status = os_file_open(s->place->disk, path, OS_READ, &file, error);
    if (status == TAPE_OK) {
        status = os_file_map(file, SEGMENT_HEADER_BYTES + (size_t)s->place->identity.segment_bytes,
                             OS_MAP_SEQUENTIAL, &s->map, error);
    }
    os_file_close(&file);
    free(path);
    s->index = index;
    return status;
}

static void scan_note_commit(scan *s, uint64_t end) {
    s->commit.end = end;
    s->commit.seq = s->next_seq - 1;
    s->commit.epoch = s->epoch;
    s->commit.append_ts = s->append_ts;
    s->commit.fold_position = s->fold_position;
    memcpy(s->commit.folded, s->folded, sizeof s->folded);
}

static void scan_feed(scan *s, uint64_t to) {
    ASSERT(to >= s->hashed);
    chain_add(s->hash,
              s->map.data + SEGMENT_HEADER_BYTES + s->hashed % s->place->identity.segment_bytes,
              (size_t)(to - s->hashed));
    s->hashed = to;
}

/* Ends a fold at `position`, up to which everything has been fed, and begins the next. */
static void scan_fold(scan *s, uint64_t position) {
    chain_finish(s->hash, s->folded);
    chain_start(s->hash, s->folded);
    s->fold_position = position;
}

tape_status scan_start(scan *s, const journal_place *place, segment_list segments, uint64_t index,
                       tape_error *error) {
    *s = (scan){.place = place, .segments = segments, .hash = chain_create()};
    segment_header header;
    tape_status status = scan_map(s, index, &header, error);
    if (status != TAPE_OK) {
        return status;
    }
    s->position = index * place->identity.segment_bytes;
    s->hashed = s->position;
    s->fold_position = s->position;
    s->next_seq = header.first_seq;
    s->epoch = header.epoch;
    s->append_ts = header.append_ts;
    s->durable_position = s->position;
    memcpy(s->folded, header.chain, sizeof s->folded);
    chain_start(s->hash, s->folded);
    scan_note_commit(s, s->position);
    return TAPE_OK;
}

void scan_end(scan *s) {
    os_unmap(&s->map);
    chain_destroy(&s->hash);
}

static scan_step scan_stop(scan *s, bool zero, const char *format, ...) PRINTF_LIKE(3, 4);
static scan_step scan_stop(scan *s, bool zero, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(s->why, sizeof s->why, format, arguments);
    va_end(arguments);
    s->zero = zero;
    return SCAN_STOP;
}

/* Enters the segment that begins at s->position. */
static scan_step scan_next_segment(scan *s, tape_error *error) {
    uint64_t index = segment_of(s->place, s->position);
    scan_feed(s, s->position);
    scan_fold(s, s->position);
    segment_header header;
    tape_status status = scan_map(s, index, &header, error);
    if (status != TAPE_OK) {
        return SCAN_FAILED;
    }
    if (header.first_seq != s->next_seq || memcmp(header.chain, s->folded, 16) != 0 ||
        header.append_ts < s->append_ts || header.epoch < s->epoch) {
        char *path = segment_path(s->place, index);
        (void)error_set_file(error, TAPE_CORRUPT, path, 0,
                             "%s does not continue the segment before it: first seq expected "
                             "%" PRIu64 ", actual %" PRIu64 "%s",
                             path, s->next_seq, header.first_seq,
                             memcmp(header.chain, s->folded, 16) != 0 ? ", and the chain differs"
                                                                      : "");
        free(path);
        return SCAN_FAILED;
    }
    s->epoch = header.epoch;
    s->append_ts = header.append_ts;
    s->durable_position = s->position;
    scan_note_commit(s, s->position);
    return SCAN_FRAME;
}

static scan_step scan_commit(scan *s) {
    frame_commit commit;
    if (s->header.size_bytes != FRAME_HEADER_BYTES + sizeof commit) {
        return scan_stop(s, false, "a commit frame of %u bytes", s->header.size_bytes);
    }
    memcpy(&commit, s->payload, sizeof commit);
    scan_feed(s, s->frame_position);
    uint8_t chain_here[16];
    chain_finish(s->hash, chain_here);
    if (memcmp(chain_here, commit.chain, sizeof chain_here) != 0) {
        return scan_stop(s, false, "chain expected %016" PRIx64 ", actual %016" PRIx64,
                         __builtin_bswap64(load_u64(commit.chain)),
                         __builtin_bswap64(load_u64(chain_here)));
    }
    if (commit.last_seq != s->next_seq - 1 || commit.epoch < s->epoch ||
        commit.durable_position > s->frame_position) {
        return scan_stop(s, false, "commit after seq %" PRIu64 " expected, after %" PRIu64 " found",
                         s->next_seq - 1, commit.last_seq);
    }
    scan_fold(s, s->frame_position);
    s->epoch = commit.epoch;
    if (commit.durable_position > s->durable_position) {
        s->durable_position = commit.durable_position;
    }
    return SCAN_FRAME;
}

/* Whether an intact frame is what must come here. */
static scan_step scan_accept(scan *s) {
    uint32_t payload_size = s->header.size_bytes - FRAME_HEADER_BYTES;
    if (s->header.append_ts < s->append_ts) {
        return scan_stop(s, false, "append time falls from %" PRId64 " to %" PRId64, s->append_ts,
                         s->header.append_ts);
    }
    if (s->header.type < FRAME_CONTROL) {
        uint64_t seq = payload_size >= 16 ? load_u64(s->payload) : 0;
        if (seq != s->next_seq) {
            return scan_stop(s, false, "seq expected %" PRIu64 ", actual %" PRIu64, s->next_seq,
                             seq);
        }
        s->next_seq++;
        return SCAN_FRAME;
    }
    switch (s->header.type) {
    case FRAME_PAD: {
        uint64_t end = s->frame_position + frame_span(s->header.size_bytes);
        if (end % s->place->identity.segment_bytes != 0) {
            return scan_stop(s, false, "a pad frame that does not end its segment");
        }
        return SCAN_FRAME;
    }
    case FRAME_COMMIT:
        return scan_commit(s);
    case FRAME_EPOCH: {
        uint64_t epoch = payload_size >= sizeof(frame_epoch) ? load_u64(s->payload) : 0;
        if (epoch < s->epoch) {
            return scan_stop(s, false, "epoch from %" PRIu64 " on expected, actual %" PRIu64,
                             s->epoch, epoch);
        }
        s->epoch = epoch;
        return SCAN_FRAME;
    }
    case FRAME_HEARTBEAT:
    case FRAME_CHECKPOINT:
        return SCAN_FRAME;
    default:
        return scan_stop(s, false, "an unknown control frame, type %04x", s->header.type);
    }
}

scan_step scan_next(scan *s, tape_error *error) {
    uint64_t index = segment_of(s->place, s->position);
    if (index != s->index) {
        if (index >= s->segments.first + s->segments.count) {
            return scan_stop(s, true, "the end of the last segment");
        }
        scan_step step = scan_next_segment(s, error);
        if (step != SCAN_FRAME) {
            return step;
        }
    }
    uint64_t body = s->place->identity.segment_bytes;
    uint64_t offset = s->position % body;
    const uint8_t *bytes = s->map.data + SEGMENT_HEADER_BYTES + offset;
    uint32_t expected = 0;
    uint32_t actual = 0;
    frame_verdict verdict = frame_read(bytes, (size_t)(body - offset), s->place->salt, s->position,
                                       &s->header, &expected, &actual);
    if (verdict == FRAME_BAD_CRC) {
        return scan_stop(s, false, "frame checksum expected %08x, actual %08x", expected, actual);
    }
    if (verdict != FRAME_VALID) {
        return scan_stop(s, verdict == FRAME_ZERO, "%s", frame_verdict_text(verdict));
    }
    s->payload = bytes + FRAME_HEADER_BYTES;
    s->frame_position = s->position;
    scan_step step = scan_accept(s);
    if (step != SCAN_FRAME) {
        return step;
    }
    s->append_ts = s->header.append_ts;
    s->position += frame_span(s->header.size_bytes);
    if (s->header.type == FRAME_COMMIT) {
        scan_note_commit(s, s->position);
    }
    return SCAN_FRAME;
}

bool scan_resume(scan *s) {
    uint64_t body = s->place->identity.segment_bytes;
    uint64_t end = (s->index + 1) * body;
    for (uint64_t at = s->position + FRAME_ALIGN; at < end; at += FRAME_ALIGN) {
        frame_header header;
        const uint8_t *bytes = s->map.data + SEGMENT_HEADER_BYTES + at % body;
        if (frame_read(bytes, (size_t)(end - at), s->place->salt, at, &header, NULL, NULL) !=
                FRAME_VALID ||
            header.size_bytes < FRAME_HEADER_BYTES + 16) {
            continue;
        }
        frame_commit commit;
        if (header.type == FRAME_COMMIT &&
            header.size_bytes == FRAME_HEADER_BYTES + sizeof commit) {
            /* A commit says which seq and which chain to go on with. */
            memcpy(&commit, bytes + FRAME_HEADER_BYTES, sizeof commit);
            s->position = at;
            s->next_seq = commit.last_seq + 1;
            s->append_ts = header.append_ts;
            s->hashed = at;
            memcpy(s->folded, commit.chain, 16);
            chain_start(s->hash, s->folded);
            s->fold_position = at;
            s->position = at + frame_span(header.size_bytes);
            scan_note_commit(s, s->position);
            return true;
        }
    }
    return false;
}

bool scan_rest_is_zero(const scan *s) {
    uint64_t body = s->place->identity.segment_bytes;
    if (s->index != s->segments.first + s->segments.count - 1) {
        return false;
    }
    if (segment_of(s->place, s->position) != s->index) {
        return true;
    }
    const uint8_t *rest = s->map.data + SEGMENT_HEADER_BYTES + s->position % body;
    size_t size = (size_t)(body - s->position % body);
    return load_u64(rest) == 0 && memcmp(rest, rest + 8, size - 8) == 0;
}

tape_status scan_report(const scan *s, uint64_t durable_position, tape_error *error) {
    char *path = segment_path(s->place, segment_of(s->place, s->position));
    uint64_t offset = segment_offset(s->place, s->position);
    tape_status status = error_set_file(
        error, TAPE_CORRUPT, path, offset,
        "%s at offset %" PRIu64 ": %s; the journal was durable up to offset %" PRIu64
        " of segment %016" PRIx64 ", so this is damage and not a torn end: restore the file from a "
        "snapshot",
        path, offset, s->why, segment_offset(s->place, durable_position),
        segment_of(s->place, durable_position));
    free(path);
    return status;
}

static void evidence_in(const uint8_t *body, uint64_t from, uint64_t size, uint64_t base,
                        uint64_t salt, uint64_t *durable) {
    for (uint64_t at = from; at + FRAME_HEADER_BYTES + sizeof(frame_commit) <= size;
         at += FRAME_ALIGN) {
        uint16_t type = 0;
        memcpy(&type, body + at + 8, sizeof type);
        if (type != FRAME_COMMIT) {
            continue;
        }
        frame_header header;
        frame_commit commit;
        if (frame_read(body + at, (size_t)(size - at), salt, base + at, &header, NULL, NULL) !=
                FRAME_VALID ||
            header.size_bytes != FRAME_HEADER_BYTES + sizeof commit) {
            continue;
        }
        memcpy(&commit, body + at + FRAME_HEADER_BYTES, sizeof commit);
        if (commit.durable_position > *durable) {
            *durable = commit.durable_position;
        }
    }
}

tape_status scan_durable_evidence(const journal_place *place, segment_list segments,
                                  uint64_t position, uint64_t *out, tape_error *error) {
    uint64_t body = place->identity.segment_bytes;
    uint64_t last = segments.first + segments.count - 1;
    /* A segment in place says that everything before it is durable. */
    *out = last * body;
    uint64_t from = ALIGN_UP(position % body, FRAME_ALIGN);
    for (uint64_t index = segment_of(place, position); index <= last; index++, from = 0) {
        char *path = segment_path(place, index);
        os_file *file = NULL;
        os_map map = {0};
        tape_status status = os_file_open(place->disk, path, OS_READ, &file, error);
        if (status == TAPE_OK) {
            status = os_file_map(file, SEGMENT_HEADER_BYTES + (size_t)body, OS_MAP_SEQUENTIAL, &map,
                                 error);
        }
        if (status == TAPE_OK) {
            evidence_in(map.data + SEGMENT_HEADER_BYTES, from, body, index * body, place->salt,
                        out);
        }
        os_unmap(&map);
        os_file_close(&file);
        free(path);
        if (status != TAPE_OK) {
            return status;
        }
    }
    return TAPE_OK;
}
