/* The journal: open, append, wait, close.
 *
 * The append path makes no system call, takes no lock and allocates nothing: claim room and seqs
 * with one compare-and-swap, copy, checksum, await the turn (W4: claims are published in order, so
 * that what is acknowledged as written is always part of a prefix without holes), one release
 * store.
 *
 * Whoever waits for a level does the work that gets it there: a thread that finds the flush role
 * free takes it (greedy group commit), others sleep until durable moves. */
#include "journal/journal_internal.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>

#define TURN_SPINS 256
/* A few milliseconds at most, then a claim is made in any case. */
#define GATE_SPINS 20000
#define GATE_BYTES KIB(4)
#define APPEND_ALONE_BYTES 512
#define WAIT_SPINS 128
#define NO_SPACE_PAUSE_NS INT64_C(10000000)
/* How long a wait hopes for space on a full disk before it says so, whatever its deadline. */
#define NO_SPACE_PATIENCE_NS NS_PER_SECOND

tape_status journal_failure(const journal *j, tape_error *error) {
    uint32_t failed = atomic_load_explicit(&j->failed, memory_order_acquire);
    if (LIKELY(failed == 0)) {
        return TAPE_OK;
    }
    if (error != NULL) {
        *error = j->failure;
    }
    return TAPE_FAILED;
}

void journal_fail(journal *j, const tape_error *error) {
    pthread_mutex_lock(&j->failure_mutex);
    if (atomic_load(&j->failed) == 0) {
        j->failure = *error;
        j->failure.status = TAPE_FAILED;
        error_prefix(&j->failure,
                     "the journal stopped after a failed write or sync (records beyond "
                     "the durable mark may be lost; reopen the store)");
        log_line(LOG_ERROR, "%s", j->failure.text);
        atomic_store_explicit(&j->failed, TAPE_FAILED, memory_order_release);
        atomic_fetch_or(&j->refusing, REFUSE_FAILED);
    }
    pthread_mutex_unlock(&j->failure_mutex);
    atomic_fetch_add_explicit(&j->durable_word, 1, memory_order_release);
    os_futex_wake(&j->durable_word, INT_MAX);
}

/* --- append --- */

void journal_await_turn(const journal *j, uint64_t position) {
    const window_control *control = j->w.control;
    for (uint32_t spins = 0; UNLIKELY(
             atomic_load_explicit(&control->written_position, memory_order_acquire) != position);
         spins++) {
        if (spins < TURN_SPINS) {
            cpu_pause();
        } else {
            os_yield(); /* the thread before us may need this core */
        }
    }
}

int64_t journal_fill_pad(journal *j, const window_range *range, int64_t now) {
    int64_t last = atomic_load_explicit(&j->w.control->last_append_ts, memory_order_relaxed);
    int64_t append_ts = now > last ? now : last;
    if (UNLIKELY(range->pad > 0)) {
        uint64_t position = range->start - range->pad;
        uint8_t *bytes = window_at(&j->w, position);
        size_t payload = (size_t)range->pad - FRAME_HEADER_BYTES;
        memset(bytes + FRAME_HEADER_BYTES, 0, payload);
        (void)frame_write(bytes, j->place.salt, position, FRAME_PAD, 1, 0, append_ts,
                          bytes + FRAME_HEADER_BYTES, payload);
    }
    return append_ts;
}

/* Copies a record: a multiple of eight bytes, mostly about a hundred, which is less than a call of
 * memcpy takes to find out. */
static inline void append_words(void *to, const void *from, size_t size) {
    uint8_t *out = to;
    const uint8_t *in = from;
    size_t at = 0;
    for (; at + 32 <= size; at += 32) {
        memcpy(out + at, in + at, 32);
        __asm__ volatile("" ::: "memory"); /* a loop of copies, not one call */
    }
    for (; at < size; at += 8) {
        memcpy(out + at, in + at, 8);
    }
}

/* Copies the payload behind the header's place and leaves the checksum so far in the header. The
 * checksum of the body is of the copy: `body`, or taken here. */
static inline void append_copy(journal *j, const tape_record *record, const uint32_t *body,
                               uint64_t position, uint64_t seq, int64_t now, uint32_t flags) {
    uint8_t *bytes = window_at(&j->w, position);
    uint8_t *payload = bytes + FRAME_HEADER_BYTES;
    uint32_t size_bytes = FRAME_HEADER_BYTES + record->size_bytes;
    append_words(payload, record->data, record->size_bytes);
    store_u64(payload, seq);
    if (load_u64(payload + 8) == 0) {
        store_u64(payload + 8, (uint64_t)now);
    }
    for (uint64_t at = size_bytes; at < frame_span(size_bytes); at += 8) {
        store_u64(bytes + at, 0);
    }
    uint32_t state = body != NULL ? *body : frame_checksum_body(payload, record->size_bytes);
    frame_header header = {
        .size_bytes = size_bytes,
        .crc32c = frame_checksum_place(state, j->place.salt, position, payload, record->size_bytes),
        .type = record->table,
        .version = record->version != 0 ? record->version : record_table(record->table)->version,
        .flags = flags,
    };
    memcpy(bytes, &header, sizeof header);
}

static inline uint64_t append_finish(journal *j, uint64_t position, int64_t append_ts) {
    uint8_t *bytes = window_at(&j->w, position);
    frame_header header;
    memcpy(&header, bytes, sizeof header);
    header.append_ts = append_ts;
    header.crc32c = frame_checksum_finish(header.crc32c, &header);
    memcpy(bytes, &header, sizeof header);
    return frame_span(header.size_bytes);
}

uint64_t journal_append_bytes_max(const journal *j) {
    uint64_t most = TAPE_APPEND_BYTES_MAX;
    uint64_t body = j->place.identity.segment_bytes / 4;
    uint64_t ring = (j->w.mask + 1) / 4;
    most = body < most ? body : most;
    return ring < most ? ring : most;
}

static tape_status append_size(const journal *j, const tape_record *records, size_t count,
                               uint64_t *bytes, tape_error *error) {
    uint64_t total = 0;
    uint64_t most = journal_append_bytes_max(j);
    for (size_t i = 0; i < count; i++) {
        ASSERT(records[i].size_bytes >= 16 && records[i].size_bytes <= KIB(4) &&
               records[i].size_bytes % 8 == 0);
        total += frame_span(FRAME_HEADER_BYTES + records[i].size_bytes);
        if (total > most) {
            return error_set(error, TAPE_TOO_LARGE,
                             "an append of %zu records is larger than the limit of %" PRIu64
                             " bytes: append fewer at once",
                             count, most);
        }
    }
    *bytes = total;
    return TAPE_OK;
}

static tape_status append_await_room(journal *j, int64_t deadline_ns, int64_t *full_since,
                                     tape_error *error);

/* Small appends claim one after another where they can: a claim that cannot be published yet,
 * because the one before it belongs to a thread that lost its core, makes its own thread wait in
 * line, and more threads than cores then move at the pace of the scheduler. A large append claims
 * at once, so that copies overlap. */
static inline void append_await_gate(const journal *j, uint64_t bytes) {
    const window_control *control = j->w.control;
    for (uint32_t spins = 0; spins < GATE_SPINS; spins++) {
        uint64_t claim = atomic_load_explicit(&control->claim, memory_order_relaxed);
        uint64_t written = atomic_load_explicit(&control->written_position, memory_order_relaxed);
        if (LIKELY((uint32_t)(claim >> 32) == (uint32_t)(written / FRAME_ALIGN)) ||
            bytes > GATE_BYTES) {
            return;
        }
        if (spins % 64 == 63) {
            os_yield();
        } else {
            cpu_pause();
        }
    }
}

tape_status journal_append(journal *j, const tape_record *records, size_t count, int64_t timeout_ns,
                           uint64_t *first_seq, tape_error *error) {
    ASSERT(count > 0 && count <= UINT32_MAX);
    if (UNLIKELY(!j->writable)) {
        return error_set(error, TAPE_FORBIDDEN, "the store was opened read-only");
    }
    tape_status status = TAPE_OK;
    if (UNLIKELY(atomic_load_explicit(&j->refusing, memory_order_relaxed) != 0)) {
        status = journal_refusal(j, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    uint64_t bytes = 0;
    status = append_size(j, records, count, &bytes, error);
    if (UNLIKELY(status != TAPE_OK)) {
        return status;
    }
    /* A record alone is copied and checksummed before the claim, in the shade of what the claim
     * waits for. */
    _Alignas(8) uint8_t alone[APPEND_ALONE_BYTES];
    tape_record copy = records[0];
    uint32_t body = 0;
    bool is_alone = count == 1 && copy.size_bytes <= sizeof alone;
    if (LIKELY(is_alone)) {
        append_words(alone, copy.data, copy.size_bytes);
        copy.data = alone;
        body = frame_checksum_body(alone, copy.size_bytes);
        records = &copy;
    }
    int64_t now = clock_stamp_ns();
    append_await_gate(j, bytes);
    window_range range;
    int64_t deadline_ns = 0;
    int64_t full_since = 0;
    while (UNLIKELY(!window_claim(&j->w, bytes, (uint32_t)count, WINDOW_RESERVE_BYTES,
                                  j->place.identity.segment_bytes, &range))) {
        deadline_ns = deadline_ns == 0 ? clock_deadline_ns(timeout_ns) : deadline_ns;
        status = append_await_room(j, deadline_ns, &full_since, error);
        if (status != TAPE_OK) {
            return status;
        }
        now = clock_stamp_ns();
    }
    uint64_t position = range.start;
    for (size_t i = 0; i < count; i++) {
        append_copy(j, &records[i], is_alone ? &body : NULL, position, range.first_seq + i, now,
                    i + 1 < count ? FRAME_MORE : 0);
        position += frame_span(FRAME_HEADER_BYTES + records[i].size_bytes);
    }
    journal_await_turn(j, range.start - range.pad);
    int64_t append_ts = journal_fill_pad(j, &range, now);
    position = range.start;
    for (size_t i = 0; i < count; i++) {
        position += append_finish(j, position, append_ts);
    }
    window_control *control = j->w.control;
    atomic_store_explicit(&control->last_append_ts, append_ts, memory_order_relaxed);
    atomic_store_explicit(&control->written_seq, range.first_seq + count - 1, memory_order_relaxed);
    atomic_store_explicit(&control->written_position, range.end, memory_order_release);
    *first_seq = range.first_seq;
    return TAPE_OK;
}

/* --- wait --- */

uint64_t journal_seq(const journal *j, tape_level level) {
    if (!j->writable) {
        return level == TAPE_WRITTEN ? j->final_seq : j->final_durable_seq;
    }
    return window_level_seq(&j->w, level);
}

/* One step towards durable: flush if nobody does, else sleep until durable moves. `full_since` is
 * the wait's memory of when the disk was first found full; 0 at the start. */
static tape_status wait_step(journal *j, int64_t deadline_ns, int64_t *full_since,
                             tape_error *error) {
    uint32_t word = atomic_load(&j->durable_word);
    if (pthread_mutex_trylock(&j->flush_mutex) == 0) {
        tape_status status = journal_flush(j, false, error);
        pthread_mutex_unlock(&j->flush_mutex);
        journal_notify(j);
        if (status != TAPE_NO_SPACE) {
            *full_since = 0;
            return status;
        }
        int64_t now = clock_monotonic_ns();
        *full_since = *full_since == 0 ? now : *full_since;
        if (now >= deadline_ns || now - *full_since >= NO_SPACE_PATIENCE_NS) {
            return TAPE_NO_SPACE;
        }
        os_sleep_ns(NO_SPACE_PAUSE_NS);
        return TAPE_OK;
    }
    int64_t until = clock_monotonic_ns() + NO_SPACE_PAUSE_NS;
    atomic_fetch_add(&j->waiters, 1);
    os_futex_wait(&j->durable_word, word, deadline_ns < until ? deadline_ns : until);
    atomic_fetch_sub(&j->waiters, 1);
    return TAPE_OK;
}

tape_status journal_wait(journal *j, uint64_t seq, tape_level level, int64_t deadline_ns,
                         tape_error *error) {
    uint64_t written = journal_seq(j, TAPE_WRITTEN);
    if (seq > written && level != TAPE_WRITTEN) {
        tape_status status = journal_wait(j, seq, TAPE_WRITTEN, deadline_ns, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    int64_t full_since = 0;
    for (uint32_t spins = 0; journal_seq(j, level) < seq; spins++) {
        tape_status status = journal_failure(j, error);
        if (status == TAPE_OK && level != TAPE_WRITTEN && j->writable) {
            status = wait_step(j, deadline_ns, &full_since, error);
        } else if (spins > WAIT_SPINS) {
            os_sleep_ns(50000);
        }
        if (status != TAPE_OK) {
            return status;
        }
        if (journal_seq(j, level) < seq && clock_monotonic_ns() >= deadline_ns) {
            return error_set(error, TAPE_TIMEOUT,
                             "seq %" PRIu64 " did not become %s in time (it stands at %" PRIu64 ")",
                             seq, level == TAPE_WRITTEN ? "written" : "durable",
                             journal_seq(j, level));
        }
    }
    return TAPE_OK;
}

static tape_status append_await_room(journal *j, int64_t deadline_ns, int64_t *full_since,
                                     tape_error *error) {
    if (clock_monotonic_ns() >= deadline_ns) {
        atomic_fetch_add_explicit(&j->busy, 1, memory_order_relaxed);
        if (atomic_load(&j->blocked)) {
            return error_set_file(
                error, TAPE_NO_SPACE, j->place.dir, TAPE_NO_OFFSET,
                "no space for another journal segment in %s, and the live window is "
                "full: free some space; what was appended is kept",
                j->place.dir);
        }
        return error_set(
            error, TAPE_BUSY,
            "the live window of %" PRIu64
            " bytes is full: the disk is slower than the producers; try again, or open "
            "with a larger window",
            j->w.mask + 1);
    }
    tape_status status = wait_step(j, deadline_ns, full_since, error);
    return status == TAPE_OK ? journal_failure(j, error) : status;
}

/* --- open and close --- */

static void journal_destroy(journal *j) {
    segment_writer_close(&j->sw);
    window_close(&j->w);
    journal_place_deinit(&j->place);
    (void)pthread_mutex_destroy(&j->flush_mutex);
    (void)pthread_mutex_destroy(&j->failure_mutex);
    (void)pthread_mutex_destroy(&j->segments_mutex);
    free(j);
}

/* Brings the chain to where the dead owner had it: folded at the commit frames it had published. */
static tape_status take_over_chain(journal *j, uint64_t from, uint64_t to, tape_error *error) {
    while (from < to) {
        const uint8_t *bytes = window_at(&j->w, from);
        frame_header header;
        memcpy(&header, bytes, sizeof header);
        if (header.type == FRAME_COMMIT) {
            frame_commit commit;
            uint8_t folded[16];
            memcpy(&commit, bytes + FRAME_HEADER_BYTES, sizeof commit);
            segment_writer_hash(&j->sw, &j->w, from);
            segment_writer_fold(&j->sw, folded);
            if (memcmp(folded, commit.chain, sizeof folded) != 0) {
                return error_set(error, TAPE_CORRUPT,
                                 "the live window does not continue the journal: the chain differs "
                                 "after seq %" PRIu64,
                                 commit.last_seq);
            }
        }
        from += frame_span(header.size_bytes);
    }
    return TAPE_OK;
}

/* After the take-over the disk must say that it holds what the window did. */
static tape_status open_find_end_again(journal *j, const journal_options *options, uint64_t seq,
                                       journal_end *end, tape_error *error) {
    tape_status status = journal_end_find(&j->place, options->checkpoint_seq, end, error);
    if (status == TAPE_OK && end->seq != seq) {
        status = error_set_file(error, TAPE_CORRUPT, j->place.dir, TAPE_NO_OFFSET,
                                "%s: the live window of the last owner reached seq %" PRIu64
                                ", but only seq %" PRIu64 " was found after writing it out",
                                j->place.dir, seq, end->seq);
    }
    return status;
}

/* Moves what a killed owner left in its window to disk, through the same flush as ever. */
static tape_status open_take_over(journal *j, const journal_options *options, journal_sync sync,
                                  journal_end *end, journal_recovery *recovery, tape_error *error) {
    tape_status status = window_open(&j->place, true, &j->w, NULL);
    if (status != TAPE_OK) {
        return TAPE_OK; /* none of this boot: the machine restarted, or the last owner closed */
    }
    window_control *control = j->w.control;
    uint64_t written = atomic_load(&control->written_position);
    uint64_t seq = atomic_load(&control->written_seq);
    status = journal_end_check_window(&j->place, end, &j->w, &recovery->records_from_window, error);
    if (status == TAPE_OK && written > end->position) {
        /* The owner is dead: claims it did not publish are void. */
        atomic_store(&control->claim,
                     (uint64_t)(uint32_t)(written / FRAME_ALIGN) << 32 | (uint32_t)seq);
        atomic_store(&control->durable_seq, end->seq);
        atomic_store(&control->durable_position, end->position);
        j->epoch = control->epoch;
        status = segment_writer_open(&j->sw, &j->place, sync, j->w.mask + 1, end, error);
        j->sw.epoch = j->epoch;
        if (status == TAPE_OK) {
            status = take_over_chain(j, end->position, written, error);
        }
        if (status == TAPE_OK) {
            status = journal_flush(j, true, error);
        }
        segment_writer_close(&j->sw);
        if (status == TAPE_OK) {
            status = open_find_end_again(j, options, seq, end, error);
        }
    }
    if (status == TAPE_NO_SPACE && options->window_bytes == 0) {
        /* To read, the window may stay what it is: readers take from it what is in no file. */
        log_line(LOG_WARN, "the disk is full: %" PRIu64 " records of %s are in shared memory alone",
                 seq - end->seq, j->place.root);
        j->final_seq = seq;
        window_close(&j->w);
        return TAPE_OK;
    }
    if (status == TAPE_OK) {
        end->epoch = control->epoch > end->epoch ? control->epoch : end->epoch;
        atomic_store(&control->state, WINDOW_CLOSED);
        status = window_remove(&j->place, error);
    }
    window_close(&j->w);
    return status;
}

/* Finds the end, cuts a torn tail, takes over a window. What is opened is what the disk says. */
static tape_status open_recover(journal *j, const journal_options *options, journal_sync sync,
                                journal_end *end, journal_recovery *recovery, tape_error *error) {
    int64_t start = clock_monotonic_ns();
    tape_status status = journal_end_find(&j->place, options->checkpoint_seq, end, error);
    if (status == TAPE_OK) {
        status = journal_end_cut(&j->place, end, &recovery->cut_bytes, error);
    }
    if (status == TAPE_OK && (options->window_bytes != 0 || end->durable < end->position)) {
        status = journal_end_settle(&j->place, end, error);
    }
    if (status == TAPE_OK) {
        recovery->records = end->records;
        status = open_take_over(j, options, sync, end, recovery, error);
    }
    recovery->last_seq = j->final_seq > end->seq ? j->final_seq : end->seq;
    recovery->duration_ns = clock_monotonic_ns() - start;
    return status;
}

/* Direct writes begin at a block's start: the ring must hold what the file has before the end. */
static tape_status open_preload(journal *j, uint64_t position, tape_error *error) {
    uint64_t from = ALIGN_DOWN(position, OS_DIRECT_ALIGN);
    if (from == position) {
        return TAPE_OK;
    }
    char *path = segment_path(&j->place, segment_of(&j->place, position));
    os_file *file = NULL;
    size_t got = 0;
    tape_status status = os_file_open(j->place.disk, path, OS_READ, &file, error);
    if (status == TAPE_OK) {
        status = os_file_read(file, segment_offset(&j->place, from), window_at(&j->w, from),
                              (size_t)(position - from), &got, error);
    }
    os_file_close(&file);
    free(path);
    return status;
}

/* The first frames of a new owner: its epoch, made durable before anyone appends. */
static tape_status open_begin_epoch(journal *j, uint64_t last_seq, tape_error *error) {
    frame_epoch epoch = {.epoch = j->epoch, .last_seq = last_seq};
    window_range range;
    uint64_t span = frame_span(FRAME_HEADER_BYTES + sizeof epoch);
    bool room = window_claim(&j->w, span, 0, 0, j->place.identity.segment_bytes, &range);
    ASSERT(room);
    int64_t append_ts = journal_fill_pad(j, &range, clock_realtime_ns());
    (void)frame_write(window_at(&j->w, range.start), j->place.salt, range.start, FRAME_EPOCH, 1, 0,
                      append_ts, &epoch, sizeof epoch);
    atomic_store(&j->w.control->last_append_ts, append_ts);
    atomic_store_explicit(&j->w.control->written_position, range.end, memory_order_release);
    return journal_flush(j, true, error);
}

static tape_status open_writable(journal *j, const journal_options *options, journal_sync sync,
                                 const journal_end *end, tape_error *error) {
    j->epoch = end->epoch + 1;
    window_sweep(&j->place);
    tape_status status = window_create(&j->place, options->window_bytes, j->epoch, end->position,
                                       end->seq, end->append_ts, &j->w, error);
    if (status != TAPE_OK) {
        return status;
    }
    j->writable = true;
    journal_check_space(j);
    uint64_t first = end->position & j->w.mask & ~(uint64_t)(WINDOW_PREFAULT_BYTES - 1);
    uint64_t ring_bytes = j->w.mask + 1;
    os_shm_prefault(&j->w.shm, 0, WINDOW_CONTROL_BYTES);
    os_shm_prefault(
        &j->w.shm, WINDOW_CONTROL_BYTES + (size_t)first,
        (size_t)(ring_bytes < WINDOW_PREFAULT_BYTES ? ring_bytes : WINDOW_PREFAULT_BYTES));
    status = open_preload(j, end->position, error);
    if (status == TAPE_OK) {
        status = segment_writer_open(&j->sw, &j->place, sync, ring_bytes, end, error);
        j->sw.epoch = j->epoch;
    }
    if (status == TAPE_OK) {
        status = open_begin_epoch(j, end->seq, error);
    }
    if (status == TAPE_OK && options->background) {
        status = os_thread_start(&j->writer, "tape-journal", options->writer_cpu,
                                 journal_run_writer, j, error);
        if (status == TAPE_OK) {
            status =
                os_thread_start(&j->preparer, "tape-segments", -1, journal_run_preparer, j, error);
        }
    }
    return status;
}

static tape_status open_note_segments(journal *j, tape_error *error) {
    tape_status status = segment_list_read(&j->place, &j->kept, error);
    segment_header header;
    if (status == TAPE_OK) {
        status = segment_header_read(&j->place, j->kept.first, &header, error);
        j->oldest_seq = header.first_seq;
    }
    return status;
}

static void journal_stop_threads(journal *j) {
    atomic_store_explicit(&j->stop, 1, memory_order_release);
    atomic_fetch_add(&j->preparer_word, 1);
    os_futex_wake(&j->preparer_word, INT_MAX);
    os_thread_join(&j->writer);
    os_thread_join(&j->preparer);
}

tape_status journal_open(journal **out, const journal_options *options, journal_recovery *recovery,
                         tape_error *error) {
    *out = NULL;
    *recovery = (journal_recovery){0};
    ASSERT((options->window_bytes & (options->window_bytes - 1)) == 0);
    ASSERT(options->window_bytes == 0 || options->window_bytes >= JOURNAL_WINDOW_BYTES_MIN);
    journal *j = mem_zalloc(sizeof *j);
    j->reserve_bytes = options->reserve_bytes;
    (void)pthread_mutex_init(&j->flush_mutex, NULL);
    (void)pthread_mutex_init(&j->failure_mutex, NULL);
    (void)pthread_mutex_init(&j->segments_mutex, NULL);
    tape_status status = journal_place_init(&j->place, options->disk, options->root, error);
    sync_probe probe = {.method = options->sync};
    if (status == TAPE_OK && options->sync == JOURNAL_SYNC_PROBE) {
        status = sync_probe_get(&j->place, options->window_bytes != 0, &probe, error);
    }
    j->sync_floor_ns = probe.floor_ns;
    journal_end end = {0};
    if (status == TAPE_OK) {
        status = open_recover(j, options, probe.method, &end, recovery, error);
    }
    j->final_seq = j->final_seq > end.seq ? j->final_seq : end.seq;
    j->final_durable_seq = end.seq;
    j->epoch = end.epoch;
    if (status == TAPE_OK && options->window_bytes != 0) {
        status = open_writable(j, options, probe.method, &end, error);
    }
    if (status == TAPE_OK) {
        status = open_note_segments(j, error);
    }
    if (status != TAPE_OK) {
        journal_stop_threads(j);
        journal_destroy(j);
        return status;
    }
    recovery->epoch = j->epoch;
    *out = j;
    return TAPE_OK;
}

tape_status journal_close(journal **handle, tape_error *error) {
    journal *j = *handle;
    *handle = NULL;
    if (j == NULL) {
        return TAPE_OK;
    }
    journal_stop_threads(j);
    tape_status status = TAPE_OK;
    if (j->writable) {
        status = journal_flush(j, false, error);
        if (status == TAPE_OK && !atomic_load(&j->sealed)) {
            status = journal_flush(j, true, error);
        }
        if (status == TAPE_OK && journal_mark_write(&j->place, j->sw.position, NULL) != TAPE_OK) {
            log_line(LOG_WARN, "the mark of the durable end of %s could not be written",
                     j->place.dir);
        }
        if (status == TAPE_OK) {
            /* Only now is the window no longer needed; after a failure it stays for the next open.
             */
            atomic_store_explicit(&j->w.control->state, WINDOW_CLOSED, memory_order_release);
            status = window_remove(&j->place, error);
        }
    }
    journal_destroy(j);
    return status;
}

/* --- checkpoint and figures --- */

uint64_t journal_oldest_seq(journal *j) {
    pthread_mutex_lock(&j->segments_mutex);
    uint64_t oldest = j->oldest_seq;
    pthread_mutex_unlock(&j->segments_mutex);
    return oldest;
}

tape_status journal_checkpoint(journal *j, uint64_t seq, uint64_t retain_bytes, tape_error *error) {
    pthread_mutex_lock(&j->segments_mutex);
    uint64_t span = SEGMENT_HEADER_BYTES + j->place.identity.segment_bytes;
    tape_status status = segment_list_read(&j->place, &j->kept, error);
    while (status == TAPE_OK && j->kept.count > 1 && j->kept.count > retain_bytes / span) {
        /* The lowest may go when the one after it begins no later than the next seq needed. */
        segment_header header;
        status = segment_header_read(&j->place, j->kept.first + 1, &header, error);
        if (status != TAPE_OK || header.first_seq > seq + 1) {
            break;
        }
        char *path = segment_path(&j->place, j->kept.first);
        status = os_remove(j->place.disk, path, error);
        if (status == TAPE_OK) {
            /* One at a time, so that after a power loss what is missing is a lowest run. */
            status = os_dir_sync(j->place.disk, j->place.dir, error);
        }
        free(path);
        if (status == TAPE_OK) {
            j->kept.first++;
            j->kept.count--;
            j->oldest_seq = header.first_seq;
        }
    }
    pthread_mutex_unlock(&j->segments_mutex);
    return status;
}

void journal_stats_read(journal *j, journal_stats *out) {
    *out = (journal_stats){
        .window_bytes = j->writable ? j->w.mask + 1 : 0,
        .busy = atomic_load(&j->busy),
        .syncs = atomic_load(&j->syncs),
        .epoch = j->epoch,
        .sync_floor_ns = j->sync_floor_ns,
    };
    const char *name = sync_method_name(j->writable ? j->sw.sync : JOURNAL_SYNC_FDATASYNC);
    memcpy(out->sync_method, name, strlen(name) + 1);
    segment_list segments;
    if (segment_list_read(&j->place, &segments, NULL) == TAPE_OK) {
        out->segment_files = segments.count;
        out->segment_bytes =
            segments.count * (SEGMENT_HEADER_BYTES + j->place.identity.segment_bytes);
    }
}
