/* Replay: the journal's records in order from any seq, from segments and from the live window, in
 * the owner's process or any other. Maps read-only; the writer does not know of it.
 *
 * States of a reader, by where the next bytes come from:
 *   live     a window is attached: up to its watermark, from the ring while the bytes are still
 * there (window_claimed says so, checked again after copying), from segments otherwise; at rest  no
 * owner: up to the end that recovery would find, from segments alone. When the end is reached the
 * reader looks for a window again. A window that says CLOSED, or that another owner's has replaced,
 * leads back to `at rest`; positions stay the same, because a new owner goes on with the bytes it
 * found. */
#include "journal/journal_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define COPY_BYTES KIB(256)

struct journal_reader {
    journal_place place;
    tape_level level;
    window w; /* attached when w.control is set */
    uint64_t position;
    uint64_t next_seq;      /* records before it are passed over */
    uint64_t rest_position; /* at rest: the end */
    uint64_t rest_seq;
    uint64_t map_index;
    os_map map;
    uint8_t *copy;
    bool attached; /* in the owner's process */
};

static uint64_t reader_limit(journal_reader *r) {
    return r->w.control == NULL ? r->rest_position : window_level_position(&r->w, r->level);
}

uint64_t journal_reader_end_seq(journal_reader *r) {
    return r->w.control == NULL ? r->rest_seq : window_level_seq(&r->w, r->level);
}

/* Where to start reading to meet `seq`: the start of its segment. */
static tape_status reader_seek(journal_reader *r, uint64_t seq, tape_error *error) {
    segment_list segments;
    tape_status status = segment_list_read(&r->place, &segments, error);
    if (status != TAPE_OK) {
        return status;
    }
    uint64_t index = segments.first;
    if (seq == 0) {
        segment_header header;
        status = segment_header_read(&r->place, index, &header, error);
        r->next_seq = header.first_seq;
    } else {
        status = segment_find(&r->place, segments, seq, &index, error);
        r->next_seq = seq;
    }
    r->position = index * r->place.identity.segment_bytes;
    return status;
}

static tape_status reader_look_at_rest(journal_reader *r, tape_error *error) {
    journal_end end;
    segment_list segments;
    segment_header header = {0};
    tape_status status = segment_list_read(&r->place, &segments, error);
    if (status == TAPE_OK) {
        /* Only the last segment has to be scanned: it begins with the chain of all before it. */
        status =
            segment_header_read(&r->place, segments.first + segments.count - 1, &header, error);
    }
    if (status == TAPE_OK) {
        status = journal_end_find(&r->place, header.first_seq - 1, &end, error);
    }
    if (status == TAPE_OK) {
        r->rest_position = end.position;
        r->rest_seq = end.seq;
    }
    return status;
}

/* Goes live if there is a window, else finds the end at rest. */
static tape_status reader_attach(journal_reader *r, tape_error *error) {
    if (window_open(&r->place, false, &r->w, NULL) == TAPE_OK) {
        return TAPE_OK;
    }
    return reader_look_at_rest(r, error);
}

static void reader_latest(journal_reader *r) {
    if (r->w.control == NULL) {
        r->position = r->rest_position;
        r->next_seq = r->rest_seq + 1;
        return;
    }
    /* The seq is stored before the position, so a seq read between two equal positions covers at
     * least what lies before the position; records up to it are passed over. */
    uint64_t again = reader_limit(r);
    do {
        r->position = again;
        r->next_seq = journal_reader_end_seq(r) + 1;
        again = reader_limit(r);
    } while (again != r->position);
}

tape_status journal_reader_open(journal_reader **out, os_disk *disk, const char *root,
                                tape_level level, uint64_t from_seq, tape_error *error) {
    *out = NULL;
    journal_reader *r = mem_zalloc(sizeof *r);
    r->level = level;
    r->map_index = UINT64_MAX;
    tape_status status = journal_place_init(&r->place, disk, root, error);
    if (status == TAPE_OK) {
        r->copy = mem_alloc(COPY_BYTES);
        status = reader_attach(r, error);
    }
    if (status == TAPE_OK && from_seq == JOURNAL_LATEST) {
        reader_latest(r);
    } else if (status == TAPE_OK) {
        status = reader_seek(r, from_seq, error);
    }
    if (status != TAPE_OK) {
        journal_reader_close(&r);
        return status;
    }
    *out = r;
    return TAPE_OK;
}

tape_status journal_reader_attach(journal_reader **out, journal *j, tape_level level,
                                  uint64_t from_seq, tape_error *error) {
    tape_status status =
        journal_reader_open(out, j->place.disk, j->place.root, level, from_seq, error);
    if (status == TAPE_OK) {
        (*out)->attached = true;
    }
    return status;
}

void journal_reader_close(journal_reader **handle) {
    journal_reader *r = *handle;
    *handle = NULL;
    if (r != NULL) {
        os_unmap(&r->map);
        window_close(&r->w);
        journal_place_deinit(&r->place);
        free(r->copy);
        free(r);
    }
}

uint64_t journal_reader_next_seq(const journal_reader *r) {
    return r->next_seq;
}

bool journal_reader_owner_alive(journal_reader *r) {
    if (r->w.control != NULL) {
        return atomic_load_explicit(&r->w.control->state, memory_order_acquire) == WINDOW_LIVE &&
               os_process_alive(r->w.control->owner_pid);
    }
    window w;
    if (window_open(&r->place, false, &w, NULL) != TAPE_OK) {
        return false;
    }
    bool alive = os_process_alive(w.control->owner_pid);
    window_close(&w);
    return alive;
}

/* Whole frames in the ring from r->position, copied out; *size 0 when they have been overwritten.
 */
static void reader_copy_ring(journal_reader *r, uint64_t limit, size_t *size) {
    uint64_t ring_bytes = r->w.mask + 1;
    uint64_t want = limit - r->position;
    want = want < COPY_BYTES ? want : COPY_BYTES;
    *size = 0;
    if (r->position < r->w.control->start_position ||
        window_claimed(&r->w) > r->position + ring_bytes) {
        return;
    }
    memcpy(r->copy, window_at(&r->w, r->position), (size_t)want);
    atomic_thread_fence(memory_order_acquire);
    if (window_claimed(&r->w) <= r->position + ring_bytes) {
        *size = (size_t)want;
    }
}

static tape_status reader_map(journal_reader *r, uint64_t index, tape_error *error) {
    if (r->map_index == index) {
        return TAPE_OK;
    }
    os_unmap(&r->map);
    r->map_index = UINT64_MAX;
    char *path = segment_path(&r->place, index);
    os_file *file = NULL;
    segment_header header;
    tape_status status = segment_header_read(&r->place, index, &header, error);
    if (status == TAPE_OK) {
        status = os_file_open(r->place.disk, path, OS_READ, &file, error);
    }
    if (status == TAPE_OK) {
        status = os_file_map(file, SEGMENT_HEADER_BYTES + (size_t)r->place.identity.segment_bytes,
                             OS_MAP_SEQUENTIAL, &r->map, error);
    }
    if (status == TAPE_OK) {
        r->map_index = index;
    } else if (status == TAPE_NOT_FOUND) {
        status = error_set_file(error, TAPE_LOST, path, TAPE_NO_OFFSET,
                                "the journal no longer holds seq %" PRIu64
                                ": its segment %s was removed before this reader took it",
                                r->next_seq, path);
    }
    os_file_close(&file);
    free(path);
    return status;
}

/* Makes a view of a record frame; NULL when the reader is past it. A table this build does not know
 * is passed over too: a newer writer's. */
static const record_view *reader_take(journal_reader *r, const frame_header *header,
                                      const uint8_t *payload, record_view *out) {
    uint64_t seq = load_u64(payload);
    if (seq < r->next_seq) {
        return NULL;
    }
    r->next_seq = seq + 1;
    const tape_table_info *table = record_table(header->type);
    if (table == NULL) {
        return NULL;
    }
    *out = (record_view){
        .table = table,
        .payload = payload,
        .size = header->size_bytes - FRAME_HEADER_BYTES,
        .version = header->version,
        .flags = (header->flags & FRAME_MORE) != 0 ? RECORD_MORE : 0,
        .seq = seq,
        .ts = (int64_t)load_u64(payload + 8),
        .append_ts = header->append_ts,
    };
    return out;
}

/* Takes the records out of a run of bytes that starts at r->position; moves position past them. */
static tape_status reader_parse(journal_reader *r, const uint8_t *bytes, size_t size,
                                record_view *out, size_t max, size_t *count, tape_error *error) {
    size_t at = 0;
    while (at < size && *count < max) {
        frame_header header;
        if (size - at < sizeof header) {
            break;
        }
        memcpy(&header, bytes + at, sizeof header);
        uint64_t span = frame_span(header.size_bytes);
        if (header.type == FRAME_PAD && span > size - at &&
            (r->position + span) % r->place.identity.segment_bytes == 0) {
            r->position += span; /* a pad may be longer than what was copied */
            break;
        }
        uint32_t expected = 0;
        uint32_t actual = 0;
        frame_verdict verdict = frame_read(bytes + at, size - at, r->place.salt, r->position,
                                           &header, &expected, &actual);
        if (verdict == FRAME_TRUNCATED && at > 0) {
            break;
        }
        if (verdict != FRAME_VALID) {
            char *path = segment_path(&r->place, segment_of(&r->place, r->position));
            uint64_t offset = segment_offset(&r->place, r->position);
            tape_status status = error_set_file(
                error, TAPE_CORRUPT, path, offset,
                "%s at offset %" PRIu64 ": %s (checksum expected %08x, actual %08x), before seq "
                "%" PRIu64,
                path, offset, frame_verdict_text(verdict), expected, actual, r->next_seq);
            free(path);
            return status;
        }
        const uint8_t *payload = bytes + at + FRAME_HEADER_BYTES;
        at += (size_t)span;
        r->position += span;
        const record_view *taken =
            header.type < FRAME_CONTROL ? reader_take(r, &header, payload, out + *count) : NULL;
        *count += taken != NULL ? 1 : 0;
    }
    return TAPE_OK;
}

/* Whether an owner has come and gone: it would have left its epoch frame where the journal ended.
 */
static bool reader_rest_moved(journal_reader *r) {
    char *path = segment_path(&r->place, segment_of(&r->place, r->rest_position));
    os_file *file = NULL;
    uint64_t word = 0;
    size_t got = 0;
    tape_status status = os_file_open(r->place.disk, path, OS_READ, &file, NULL);
    if (status == TAPE_OK) {
        status = os_file_read(file, segment_offset(&r->place, r->rest_position), &word, sizeof word,
                              &got, NULL);
    }
    os_file_close(&file);
    free(path);
    return status == TAPE_OK && word != 0;
}

/* Drops a window whose owner is gone, and looks for what came after it. */
static tape_status reader_refresh(journal_reader *r, tape_error *error) {
    if (r->w.control == NULL && r->attached) {
        return TAPE_OK; /* our own process owns the store and does not append */
    }
    if (r->w.control == NULL) {
        if (window_open(&r->place, false, &r->w, NULL) == TAPE_OK) {
            return TAPE_OK;
        }
        return reader_rest_moved(r) ? reader_look_at_rest(r, error) : TAPE_OK;
    }
    if (atomic_load_explicit(&r->w.control->state, memory_order_acquire) != WINDOW_LIVE) {
        window_close(&r->w);
        return reader_attach(r, error);
    }
    return TAPE_OK;
}

tape_status journal_reader_next(journal_reader *r, record_view *out, size_t max, size_t *count,
                                tape_error *error) {
    *count = 0;
    uint64_t body = r->place.identity.segment_bytes;
    uint64_t limit = reader_limit(r);
    if (r->position >= limit) {
        tape_status status = reader_refresh(r, error);
        if (status != TAPE_OK) {
            return status;
        }
        limit = reader_limit(r);
    }
    while (*count == 0 && r->position < limit) {
        size_t size = 0;
        const uint8_t *bytes = r->copy;
        if (r->w.control != NULL) {
            reader_copy_ring(r, limit, &size);
        }
        if (size == 0) {
            /* Older than the ring: then it is in a file, and durable. */
            tape_status status = reader_map(r, r->position / body, error);
            if (status != TAPE_OK) {
                return status;
            }
            uint64_t end = (r->position / body + 1) * body;
            end = limit < end ? limit : end;
            if (r->w.control != NULL) {
                uint64_t durable =
                    atomic_load_explicit(&r->w.control->durable_position, memory_order_acquire);
                end = durable < end ? durable : end;
            }
            size = (size_t)(end - r->position);
            bytes = r->map.data + SEGMENT_HEADER_BYTES + r->position % body;
        }
        tape_status status = reader_parse(r, bytes, size, out, max, count, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    return TAPE_OK;
}
