/* Where a stored journal ends, and whether that end may be believed.
 *
 * The decision table is in README.md; the rows' numbers stand in the comments here. `end` is the
 * position after the last good commit, `stop` the first position that is not a good frame,
 * `durable` the greatest position that anything intact names as durable: a commit frame before or
 * after `stop`, the start of the last segment, the window of an owner that was killed, the mark of
 * a clean close. */
#include "journal/journal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static void end_from_scan(const scan *s, journal_end *out) {
    out->position = s->commit.end;
    out->seq = s->commit.seq;
    out->epoch = s->commit.epoch;
    out->append_ts = s->commit.append_ts;
    out->hashed = s->commit.fold_position;
    memcpy(out->folded, s->commit.folded, sizeof out->folded);
    out->segments = s->segments;
}

/* What the window says is durable; 0 when there is none of this store and boot. */
static uint64_t window_durable(const journal_place *place) {
    window w;
    if (window_open(place, false, &w, NULL) != TAPE_OK) {
        return 0;
    }
    uint64_t durable = atomic_load_explicit(&w.control->durable_position, memory_order_acquire);
    window_close(&w);
    return durable;
}

static char *mark_path(const journal_place *place) {
    return mem_printf("%s/mark", place->dir);
}

tape_status journal_mark_read(const journal_place *place, uint64_t *position, tape_error *error) {
    char *path = mark_path(place);
    char *text = NULL;
    size_t size = 0;
    unsigned stored = 0;
    *position = 0;
    tape_status status = os_read_small(place->disk, path, &text, &size, error);
    if (status == TAPE_NOT_FOUND) {
        status = TAPE_OK;
    } else if (status == TAPE_OK) {
        const char *crc_line = strstr(text, "crc32c ");
        if (crc_line == NULL || sscanf(text, "durable %" SCNu64 "\n", position) != 1 ||
            sscanf(crc_line, "crc32c %8x\n", &stored) != 1 ||
            crc32c(0, text, (size_t)(crc_line - text)) != stored) {
            status = error_set_file(error, TAPE_CORRUPT, path, 0,
                                    "%s: wrong checksum: the mark of the journal's durable end is "
                                    "damaged; remove it to go on without this check",
                                    path);
        }
    }
    free(text);
    free(path);
    return status;
}

tape_status journal_mark_write(const journal_place *place, uint64_t position, tape_error *error) {
    buffer text = {0};
    buffer_printf(&text, "durable %" PRIu64 "\n", position);
    buffer_printf(&text, "crc32c %08x\n", crc32c(0, text.data, text.size));
    char *path = mark_path(place);
    tape_status status = os_write_small(place->disk, path, text.data, text.size, error);
    free(path);
    buffer_deinit(&text);
    return status;
}

static tape_status end_decide(scan *s, uint64_t checkpoint_seq, journal_end *out,
                              tape_error *error) {
    uint64_t durable = s->durable_position;
    uint64_t evidence = 0;
    out->clean = scan_rest_is_zero(s);
    if (!out->clean) {
        tape_status status =
            scan_durable_evidence(s->place, s->segments, s->position, &evidence, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    durable = evidence > durable ? evidence : durable;
    evidence = window_durable(s->place);
    durable = evidence > durable ? evidence : durable;
    tape_status marked = journal_mark_read(s->place, &evidence, error);
    if (marked != TAPE_OK) {
        return marked;
    }
    durable = evidence > durable ? evidence : durable;
    if (durable > s->commit.end) {
        return scan_report(s, durable, error); /* rows 4, 5, 6 */
    }
    end_from_scan(s, out); /* rows 1, 2, 3 */
    out->durable = durable;
    out->clean = out->clean && s->position == s->commit.end;
    if (out->seq < checkpoint_seq) {
        /* Row 7. */
        return error_set_file(error, TAPE_CORRUPT, s->place->dir, TAPE_NO_OFFSET,
                              "the journal in %s ends at seq %" PRIu64
                              " but the store's files reach seq %" PRIu64
                              ": journal segments are missing or older than the store; restore "
                              "them from a snapshot",
                              s->place->dir, out->seq, checkpoint_seq);
    }
    return TAPE_OK;
}

tape_status journal_end_find(const journal_place *place, uint64_t checkpoint_seq, journal_end *out,
                             tape_error *error) {
    *out = (journal_end){0};
    segment_list segments;
    uint64_t index = 0;
    tape_status status = segment_list_read(place, &segments, error);
    if (status == TAPE_OK) {
        status = segment_find(place, segments, checkpoint_seq + 1, &index, error);
    }
    if (status == TAPE_TOO_OLD) {
        /* Row 8. */
        return error_set_file(
            error, TAPE_CORRUPT, place->dir, TAPE_NO_OFFSET,
            "the journal in %s no longer holds seq %" PRIu64
            ", up to which the store's files reach: the store's manifest is older "
            "than the journal; restore the store from a snapshot",
            place->dir, checkpoint_seq + 1);
    }
    if (status != TAPE_OK) {
        return status;
    }
    scan s;
    status = scan_start(&s, place, segments, index, error);
    scan_step step = SCAN_FAILED;
    uint64_t records = 0;
    uint64_t committed = 0;
    while (status == TAPE_OK && (step = scan_next(&s, error)) == SCAN_FRAME) {
        records += s.header.type < FRAME_CONTROL && s.next_seq - 1 > checkpoint_seq ? 1 : 0;
        if (s.commit.end == s.position) {
            committed = records;
        }
    }
    if (status == TAPE_OK) {
        status = step == SCAN_FAILED ? (error == NULL ? TAPE_CORRUPT : error->status)
                                     : end_decide(&s, checkpoint_seq, out, error);
    }
    out->records = committed;
    scan_end(&s);
    return status;
}

#define CUT_CHUNK_BYTES MIB(1)

/* Zeroes [from, end of file) where it is not zero; counts the bytes up to the last that was not. */
static tape_status zero_rest(const journal_place *place, uint64_t index, uint64_t from,
                             uint64_t *cut_bytes, tape_error *error) {
    char *path = segment_path(place, index);
    uint8_t *zeros = mem_zalloc(2 * CUT_CHUNK_BYTES);
    uint8_t *chunk = zeros + CUT_CHUNK_BYTES;
    os_file *file = NULL;
    uint64_t size = 0;
    uint64_t last = from;
    tape_status status = os_file_open(place->disk, path, OS_WRITE, &file, error);
    if (status == TAPE_OK) {
        status = os_file_size(file, &size, error);
    }
    for (uint64_t at = from; status == TAPE_OK && at < size; at += CUT_CHUNK_BYTES) {
        size_t want = (size_t)(size - at < CUT_CHUNK_BYTES ? size - at : CUT_CHUNK_BYTES);
        size_t got = 0;
        status = os_file_read(file, at, chunk, want, &got, error);
        if (status != TAPE_OK || memcmp(chunk, zeros, got) == 0) {
            continue;
        }
        size_t used = got;
        while (chunk[used - 1] == 0) {
            used--;
        }
        last = at + used;
        status = os_file_write(file, at, zeros, want, error);
    }
    if (status == TAPE_OK && last > from) {
        status = os_file_sync(file, error);
        *cut_bytes += last - from;
    }
    os_file_close(&file);
    free(zeros);
    free(path);
    return status;
}

tape_status journal_end_cut(const journal_place *place, journal_end *end, uint64_t *cut_bytes,
                            tape_error *error) {
    *cut_bytes = 0;
    if (end->clean) {
        return TAPE_OK;
    }
    uint64_t last = end->segments.first + end->segments.count - 1;
    uint64_t index = segment_of(place, end->position);
    if (index > last) {
        return TAPE_OK; /* the last segment is exactly full */
    }
    /* A segment in place proves that everything before it is durable, so none lies after the end.
     */
    ASSERT(index == last);
    return zero_rest(place, index, segment_offset(place, end->position), cut_bytes, error);
}

/* Writes [from, to) of a segment again as it is, and syncs it. */
static tape_status write_again(const journal_place *place, uint64_t index, uint64_t from,
                               uint64_t to, tape_error *error) {
    char *path = segment_path(place, index);
    uint8_t *chunk = mem_alloc(CUT_CHUNK_BYTES);
    os_file *file = NULL;
    tape_status status = os_file_open(place->disk, path, OS_WRITE, &file, error);
    for (uint64_t at = from; status == TAPE_OK && at < to; at += CUT_CHUNK_BYTES) {
        size_t want = (size_t)(to - at < CUT_CHUNK_BYTES ? to - at : CUT_CHUNK_BYTES);
        size_t got = 0;
        status = os_file_read(file, at, chunk, want, &got, error);
        if (status == TAPE_OK) {
            status = os_file_write(file, at, chunk, got, error);
        }
    }
    if (status == TAPE_OK) {
        status = os_file_sync(file, error);
    }
    os_file_close(&file);
    free(chunk);
    free(path);
    return status;
}

tape_status journal_end_settle(const journal_place *place, const journal_end *end,
                               tape_error *error) {
    uint64_t body = place->identity.segment_bytes;
    uint64_t at = ALIGN_DOWN(end->durable, OS_DIRECT_ALIGN);
    tape_status status = TAPE_OK;
    while (status == TAPE_OK && end->durable < end->position && at < end->position) {
        uint64_t index = segment_of(place, at);
        uint64_t to = (index + 1) * body < end->position ? (index + 1) * body : end->position;
        uint64_t from = segment_offset(place, at);
        status = write_again(place, index, from, from + (to - at), error);
        at = to;
    }
    return status == TAPE_OK ? os_dir_sync(place->disk, place->dir, error) : status;
}

tape_status journal_end_check_window(const journal_place *place, const journal_end *end,
                                     const window *w, uint64_t *records, tape_error *error) {
    uint64_t written = atomic_load_explicit(&w->control->written_position, memory_order_acquire);
    uint64_t body = place->identity.segment_bytes;
    uint64_t seq = end->seq;
    *records = 0;
    bool fits = end->position >= w->control->start_position && written >= end->position &&
                written - end->position <= w->mask + 1;
    uint64_t at = end->position;
    while (fits && at < written) {
        frame_header header;
        uint64_t left = body - at % body;
        uint64_t available = written - at < left ? written - at : left;
        const uint8_t *bytes = window_at(w, at);
        if (frame_read(bytes, (size_t)available, place->salt, at, &header, NULL, NULL) !=
            FRAME_VALID) {
            fits = false;
        } else if (header.type < FRAME_CONTROL) {
            fits = header.size_bytes >= FRAME_HEADER_BYTES + 16 &&
                   load_u64(bytes + FRAME_HEADER_BYTES) == seq + 1;
            seq++;
            ++*records;
        }
        at += frame_span(header.size_bytes);
    }
    if (fits && seq == atomic_load(&w->control->written_seq)) {
        return TAPE_OK;
    }
    char *name = window_name(place, NULL);
    tape_status status = error_set_file(
        error, TAPE_CORRUPT, name == NULL ? "" : name, TAPE_NO_OFFSET,
        "the live window %s/%s left by process %" PRId64 " does not continue the journal after seq "
        "%" PRIu64 " (damaged at seq %" PRIu64
        "): records acknowledged as written may be lost; remove that file to go on without them",
        os_shm_dir(), name == NULL ? "" : name, w->control->owner_pid, end->seq, seq);
    free(name);
    return status;
}
