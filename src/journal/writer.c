/* Moving the window's bytes into segments, and the threads that do it in the background.
 *
 * Invariants
 *  D1 durable_position only moves to the end of a commit frame that is synced, or to the start of a
 *     segment that is in place: positions at which recovery can stop.
 *  D2 a segment is put in place after everything before it is durable.
 *  D3 after a failed write or sync nothing more is written. */
#include "journal/journal_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#define BOUNCE_BYTES MIB(1)
/* The background writer's pace when nobody waits, and the most it slows down to while nothing
 * comes; whoever waits for `durable` flushes at once. */
#define WRITER_PAUSE_NS INT64_C(2000000)
#define WRITER_PAUSE_MAX_NS INT64_C(8000000)
#define WRITER_PENDING_BYTES MIB(1)
#define PREPARER_PAUSE_NS INT64_C(50000000)

tape_status segment_writer_open(segment_writer *sw, const journal_place *place, journal_sync sync,
                                uint64_t ring_bytes, const journal_end *end, tape_error *error) {
    *sw = (segment_writer){
        .place = place,
        .sync = sync,
        .position = end->position,
        .hash = chain_create(),
        .hashed = end->hashed,
        .boundary_count = ring_bytes / place->identity.segment_bytes + 2,
    };
    memcpy(sw->folded, end->folded, sizeof sw->folded);
    sw->boundaries = mem_zalloc(sw->boundary_count * sizeof *sw->boundaries);
    sw->bounce = aligned_alloc(OS_DIRECT_ALIGN, BOUNCE_BYTES);
    ASSERT(sw->bounce != NULL);
    (void)pthread_mutex_init(&sw->prepare_mutex, NULL);
    chain_start(sw->hash, sw->folded);
    /* Between the last fold and the end there is that commit frame; it comes from the file. */
    sw->index = segment_of(place, end->hashed);
    char *path = segment_path(place, sw->index);
    uint8_t tail[2 * KIB(1)];
    size_t got = 0;
    size_t want = (size_t)(end->position - end->hashed);
    ASSERT(want <= sizeof tail);
    tape_status status =
        os_file_open(place->disk, path, OS_WRITE | sync_method_flags(sync), &sw->file, error);
    os_file *plain = NULL;
    if (status == TAPE_OK) {
        status = os_file_open(place->disk, path, OS_READ, &plain, error);
    }
    if (status == TAPE_OK) {
        status = os_file_read(plain, segment_offset(place, end->hashed), tail, want, &got, error);
    }
    if (status == TAPE_OK) {
        ASSERT(got == want);
        chain_add(sw->hash, tail, want);
        sw->hashed = end->position;
    }
    if (status == TAPE_OK && sw->hashed % place->identity.segment_bytes == 0 && want > 0) {
        segment_writer_fold(sw, sw->boundaries[segment_of(place, sw->hashed) % sw->boundary_count]);
    }
    os_file_close(&plain);
    free(path);
    return status;
}

void segment_writer_close(segment_writer *sw) {
    if (sw->place == NULL) {
        return;
    }
    os_file_close(&sw->file);
    chain_destroy(&sw->hash);
    free(sw->boundaries);
    free(sw->bounce);
    (void)pthread_mutex_destroy(&sw->prepare_mutex);
    *sw = (segment_writer){0};
}

void segment_writer_fold(segment_writer *sw, uint8_t out[16]) {
    chain_finish(sw->hash, sw->folded);
    chain_start(sw->hash, sw->folded);
    memcpy(out, sw->folded, sizeof sw->folded);
}

void segment_writer_hash(segment_writer *sw, const window *w, uint64_t to) {
    uint64_t body = sw->place->identity.segment_bytes;
    while (sw->hashed < to) {
        uint64_t boundary = (sw->hashed / body + 1) * body;
        uint64_t end = to < boundary ? to : boundary;
        chain_add(sw->hash, window_at(w, sw->hashed), (size_t)(end - sw->hashed));
        sw->hashed = end;
        if (end == boundary) {
            segment_writer_fold(sw, sw->boundaries[end / body % sw->boundary_count]);
        }
    }
}

static tape_status write_direct(segment_writer *sw, const window *w, uint64_t to,
                                tape_error *error) {
    uint64_t at = ALIGN_DOWN(sw->position, OS_DIRECT_ALIGN);
    while (at < to) {
        uint64_t want = to - at < BOUNCE_BYTES ? to - at : BOUNCE_BYTES;
        uint64_t size = ALIGN_UP(want, OS_DIRECT_ALIGN);
        memcpy(sw->bounce, window_at(w, at), (size_t)want);
        memset(sw->bounce + want, 0, (size_t)(size - want));
        tape_status status =
            os_file_write(sw->file, segment_offset(sw->place, at), sw->bounce, (size_t)size, error);
        if (status != TAPE_OK) {
            return status;
        }
        at += size;
    }
    return TAPE_OK;
}

/* Writes [position, to), within one segment, and makes it durable. */
static tape_status write_and_sync(segment_writer *sw, const window *w, uint64_t to,
                                  tape_error *error) {
    tape_status status = TAPE_OK;
    if (sw->sync == JOURNAL_SYNC_DIRECT) {
        status = write_direct(sw, w, to, error);
    } else {
        status = os_file_write(sw->file, segment_offset(sw->place, sw->position),
                               window_at(w, sw->position), (size_t)(to - sw->position), error);
        if (status == TAPE_OK && sw->sync == JOURNAL_SYNC_FDATASYNC) {
            status = os_file_sync(sw->file, error);
        }
    }
    return status;
}

/* The seq that begins at or after `position`, where a whole frame starts. */
static uint64_t first_seq_at(const window *w, uint64_t position, int64_t *append_ts) {
    const uint8_t *bytes = window_at(w, position);
    frame_header header;
    memcpy(&header, bytes, sizeof header);
    *append_ts = header.append_ts;
    uint64_t value = load_u64(bytes + FRAME_HEADER_BYTES);
    if (header.type < FRAME_CONTROL) {
        return value;
    }
    if (header.type == FRAME_EPOCH) {
        return load_u64(bytes + FRAME_HEADER_BYTES + 8) + 1;
    }
    ASSERT(header.type == FRAME_COMMIT);
    return value + 1;
}

tape_status segment_writer_prepare(segment_writer *sw, tape_error *error) {
    tape_status status = TAPE_OK;
    pthread_mutex_lock(&sw->prepare_mutex);
    if (!sw->prepared) {
        status = segment_prepare(sw->place, error);
        sw->prepared = status == TAPE_OK;
    }
    pthread_mutex_unlock(&sw->prepare_mutex);
    return status;
}

/* Puts the segment that begins at `position` in place and makes it the active one. */
static tape_status writer_roll(segment_writer *sw, const window *w, uint64_t *last_seq,
                               tape_error *error) {
    const journal_place *place = sw->place;
    uint64_t index = segment_of(place, sw->position);
    segment_header header = {
        .index = index,
        .body_bytes = place->identity.segment_bytes,
        .epoch = sw->epoch,
        .durable_position = sw->position,
    };
    header.first_seq = first_seq_at(w, sw->position, &header.append_ts);
    memcpy(header.chain, sw->boundaries[index % sw->boundary_count], sizeof header.chain);
    *last_seq = header.first_seq - 1;
    tape_status status = segment_writer_prepare(sw, error);
    if (status != TAPE_OK) {
        return status;
    }
    pthread_mutex_lock(&sw->prepare_mutex);
    status = segment_publish(place, &header, error);
    sw->prepared = false;
    pthread_mutex_unlock(&sw->prepare_mutex);
    if (status == TAPE_OK) {
        os_file_close(&sw->file);
        char *path = segment_path(place, index);
        status = os_file_open(place->disk, path, OS_WRITE | sync_method_flags(sw->sync), &sw->file,
                              error);
        free(path);
        sw->index = index;
    }
    /* After a failed publish the directory may or may not have changed: nothing to go on from. */
    return status == TAPE_NO_SPACE ? TAPE_IO : status;
}

tape_status segment_writer_write(segment_writer *sw, const window *w, uint64_t to,
                                 void (*advance)(void *context, uint64_t position, uint64_t seq),
                                 void *context, tape_error *error) {
    uint64_t body = sw->place->identity.segment_bytes;
    while (sw->position < to) {
        if (segment_of(sw->place, sw->position) != sw->index) {
            uint64_t last_seq = 0;
            tape_status status = writer_roll(sw, w, &last_seq, error);
            if (status != TAPE_OK) {
                return status;
            }
            advance(context, sw->position, last_seq);
        }
        uint64_t end = (sw->index + 1) * body;
        end = to < end ? to : end;
        tape_status status = write_and_sync(sw, w, end, error);
        if (status != TAPE_OK) {
            /* Space was there, the file is written already: this is not a full disk but a failure.
             */
            return status == TAPE_NO_SPACE ? TAPE_IO : status;
        }
        sw->position = end;
    }
    return TAPE_OK;
}

static void flush_advance(void *context, uint64_t position, uint64_t seq) {
    journal *j = context;
    window_control *control = j->w.control;
    atomic_store_explicit(&control->durable_seq, seq, memory_order_release);
    atomic_store_explicit(&control->durable_position, position, memory_order_release);
    atomic_store_explicit(&control->committed_seq, seq, memory_order_release);
    atomic_store_explicit(&control->committed_position, position, memory_order_release);
}

void journal_notify(journal *j) {
    atomic_fetch_add(&j->durable_word, 1);
    if (atomic_load(&j->waiters) > 0) {
        os_futex_wake(&j->durable_word, INT_MAX);
    }
}

/* Fills and publishes a commit frame. Returns false when the ring has no room even for that. */
static bool flush_commit(journal *j, window_range *range, uint64_t *last_seq) {
    window_control *control = j->w.control;
    segment_writer *sw = &j->sw;
    if (!window_claim(&j->w, frame_span(FRAME_HEADER_BYTES + sizeof(frame_commit)), 0, 0,
                      j->place.identity.segment_bytes, range)) {
        return false;
    }
    journal_await_turn(j, range->start - range->pad);
    int64_t append_ts = journal_fill_pad(j, range, clock_realtime_ns());
    segment_writer_hash(sw, &j->w, range->start);
    frame_commit commit = {
        .last_seq = range->first_seq - 1,
        .durable_position = atomic_load_explicit(&control->durable_position, memory_order_relaxed),
        .epoch = j->epoch,
    };
    segment_writer_fold(sw, commit.chain);
    (void)frame_write(window_at(&j->w, range->start), j->place.salt, range->start, FRAME_COMMIT, 1,
                      0, append_ts, &commit, sizeof commit);
    *last_seq = commit.last_seq;
    atomic_store_explicit(&control->last_append_ts, append_ts, memory_order_relaxed);
    atomic_store_explicit(&control->written_position, range->end, memory_order_release);
    return true;
}

/* Whether what is written, and a commit frame behind it, goes beyond the active segment. */
static bool flush_needs_segment(const journal *j, uint64_t written) {
    uint64_t last = written + frame_span(FRAME_HEADER_BYTES + sizeof(frame_commit)) - 1;
    return segment_of(&j->place, last) != j->sw.index;
}

tape_status journal_flush(journal *j, bool seal, tape_error *error) {
    window_control *control = j->w.control;
    segment_writer *sw = &j->sw;
    tape_status status = journal_failure(j, error);
    if (status != TAPE_OK) {
        return status;
    }
    uint64_t written = atomic_load_explicit(&control->written_position, memory_order_acquire);
    if (written == sw->position && !seal) {
        return TAPE_OK;
    }
    if (flush_needs_segment(j, written)) {
        /* Before the commit frame is published, so that trying again and again changes nothing. */
        status = segment_writer_prepare(sw, error);
        journal_check_space(j);
    }
    if (status == TAPE_OK) {
        bool records = written != sw->position;
        uint64_t last_seq = 0;
        window_range range;
        segment_writer_hash(sw, &j->w, written);
        bool room = flush_commit(j, &range, &last_seq);
        ASSERT(room);
        status = segment_writer_write(sw, &j->w, range.end, flush_advance, j, error);
        if (status == TAPE_OK) {
            flush_advance(j, range.end, last_seq);
            atomic_store_explicit(&j->sealed, !records, memory_order_release);
            atomic_store(&j->blocked, false);
            atomic_fetch_add_explicit(&j->syncs, 1, memory_order_relaxed);
            return TAPE_OK;
        }
    }
    if (status == TAPE_NO_SPACE) {
        atomic_store(&j->blocked, true);
        return status;
    }
    tape_error local;
    tape_error *cause = error == NULL ? &local : error;
    if (error == NULL) {
        (void)error_set(&local, status, "the journal could not be written");
    }
    journal_fail(j, cause);
    return journal_failure(j, error);
}

void journal_run_writer(void *argument) {
    journal *j = argument;
    int64_t pause_ns = WRITER_PAUSE_NS;
    while (atomic_load_explicit(&j->stop, memory_order_acquire) == 0) {
        uint64_t written = window_level_position(&j->w, TAPE_WRITTEN);
        uint64_t durable = window_level_position(&j->w, TAPE_DURABLE);
        if (written == durable && atomic_load_explicit(&j->sealed, memory_order_acquire)) {
            os_sleep_ns(pause_ns);
            pause_ns = 2 * pause_ns < WRITER_PAUSE_MAX_NS ? 2 * pause_ns : WRITER_PAUSE_MAX_NS;
            continue;
        }
        pause_ns = WRITER_PAUSE_NS;
        if (pthread_mutex_trylock(&j->flush_mutex) == 0) {
            /* A commit alone, once the producers are silent, records that all before it is durable.
             */
            tape_status status = journal_flush(j, written == durable, NULL);
            pthread_mutex_unlock(&j->flush_mutex);
            journal_notify(j);
            if (status == TAPE_FAILED) {
                return;
            }
            if (status == TAPE_NO_SPACE) {
                os_sleep_ns(10 * WRITER_PAUSE_NS);
            }
        }
        written = window_level_position(&j->w, TAPE_WRITTEN);
        durable = window_level_position(&j->w, TAPE_DURABLE);
        if (written - durable < WRITER_PENDING_BYTES) {
            os_sleep_ns(WRITER_PAUSE_NS);
        }
    }
}

void journal_run_preparer(void *argument) {
    journal *j = argument;
    uint64_t body = j->place.identity.segment_bytes;
    uint64_t ring_bytes = j->w.mask + 1;
    uint64_t touched = WINDOW_PREFAULT_BYTES;
    while (atomic_load_explicit(&j->stop, memory_order_acquire) == 0) {
        if (touched < ring_bytes) {
            uint64_t at = (j->w.control->start_position + touched) & j->w.mask;
            at = ALIGN_DOWN(at, WINDOW_PREFAULT_BYTES);
            os_shm_prefault(&j->w.shm, WINDOW_CONTROL_BYTES + (size_t)at, WINDOW_PREFAULT_BYTES);
            touched += WINDOW_PREFAULT_BYTES;
            continue;
        }
        uint64_t durable =
            atomic_load_explicit(&j->w.control->durable_position, memory_order_acquire);
        if (durable % body > body / 2) {
            /* A full disk is met again, and reported, when the segment is needed. */
            tape_status ignored = segment_writer_prepare(&j->sw, NULL);
            (void)ignored;
        }
        journal_check_space(j);
        uint32_t word = atomic_load_explicit(&j->preparer_word, memory_order_acquire);
        os_futex_wait(&j->preparer_word, word, clock_monotonic_ns() + PREPARER_PAUSE_NS);
    }
}
