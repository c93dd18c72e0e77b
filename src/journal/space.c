/* The reserve: appends are refused before the disk is full, so that what was accepted can be
 * written.
 *
 * The free space is measured beside the append path: whenever a segment is made, about every 50 ms
 * by the thread that makes segments, and by whoever is refused, so that appends go on with the
 * first one after space has returned. An append itself looks at one word that it looks at anyway.
 *
 * Invariants
 *  R1 while REFUSE_SPACE is set no append is accepted; everything else (waits, flushes, reads) goes
 *     on.
 *  R2 what is in the window and has no place in the active segment yet counts as used.
 *
 * Threads: any. Two that measure at once may leave the older result, until the next measurement. */
#include "journal/journal_internal.h"

#include <inttypes.h>

/* Bytes in the window that need a segment which is not there yet (R2). */
static uint64_t bytes_without_segment(const journal *j) {
    uint64_t body = j->place.identity.segment_bytes;
    uint64_t durable = window_level_position(&j->w, TAPE_DURABLE);
    uint64_t written = window_level_position(&j->w, TAPE_WRITTEN);
    uint64_t end = (durable / body + 1) * body;
    return written > end ? written - end : 0;
}

/* Free bytes, and how many are needed. False when the system does not tell. */
static bool measure(const journal *j, uint64_t *free_bytes, uint64_t *needed) {
    *needed = j->reserve_bytes + bytes_without_segment(j);
    return os_free_bytes(j->place.disk, j->place.dir, free_bytes, NULL) == TAPE_OK;
}

static void note(journal *j, uint64_t free_bytes, uint64_t needed) {
    if (free_bytes < needed) {
        if ((atomic_fetch_or(&j->refusing, REFUSE_SPACE) & REFUSE_SPACE) == 0) {
            log_line(LOG_WARN,
                     "%s has %" PRIu64 " bytes free, less than the %" PRIu64
                     " held in reserve: appends are refused until there is more",
                     j->place.root, free_bytes, needed);
        }
    } else if ((atomic_load_explicit(&j->refusing, memory_order_relaxed) & REFUSE_SPACE) != 0 &&
               (atomic_fetch_and(&j->refusing, ~(uint32_t)REFUSE_SPACE) & REFUSE_SPACE) != 0) {
        log_line(LOG_INFO, "%s has space again: appends go on", j->place.root);
    }
}

void journal_check_space(journal *j) {
    uint64_t free_bytes = 0;
    uint64_t needed = 0;
    if (j->reserve_bytes > 0 && measure(j, &free_bytes, &needed)) {
        note(j, free_bytes, needed);
    }
}

bool journal_is_short_of_space(const journal *j) {
    return (atomic_load_explicit(&j->refusing, memory_order_relaxed) & REFUSE_SPACE) != 0;
}

tape_status journal_refusal(journal *j, tape_error *error) {
    tape_status status = journal_failure(j, error);
    uint64_t free_bytes = 0;
    uint64_t needed = 0;
    if (status != TAPE_OK || !measure(j, &free_bytes, &needed)) {
        return status;
    }
    note(j, free_bytes, needed);
    if (free_bytes >= needed) {
        return TAPE_OK;
    }
    return error_set_file(error, TAPE_NO_SPACE, j->place.root, TAPE_NO_OFFSET,
                          "the disk of %s has %" PRIu64 " bytes free, and %" PRIu64
                          " are held in reserve: free some space, and appends go on; what was "
                          "appended is kept and can be read",
                          j->place.root, free_bytes, needed);
}
