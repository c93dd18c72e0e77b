/* The public reader of <tape/reader.h>: a journal reader by directory, with waiting. */
#include "journal/journal.h"

#include <tape/reader.h>

#include <stdlib.h>

/* How long an idle reader sleeps between looks, growing while nothing comes. */
#define POLL_PAUSE_MIN_NS INT64_C(50000)
#define POLL_PAUSE_MAX_NS INT64_C(5000000)
#define POLL_SPINS 200

struct tape_reader {
    journal_reader *journal;
    bool from_time;
    int64_t from_ts;
    record_view *views;
    size_t views_max;
    uint8_t *upgraded; /* records of another schema version, brought to ours */
    size_t upgraded_size;
};

void tape_reader_options_init(tape_reader_options *options) {
    *options = (tape_reader_options){.size_bytes = sizeof *options, .level = 1};
}

tape_status tape_reader_open(const char *dir, const tape_reader_options *options, tape_reader **out,
                             tape_error *error) {
    *out = NULL;
    tape_reader_options defaults;
    tape_reader_options_init(&defaults);
    options = options == NULL ? &defaults : options;
    if (options->level < 1 || options->level > 3) {
        return error_set(error, TAPE_INVALID,
                         "level is %d: 1 (written), 2 (durable) or 3 (committed)", options->level);
    }
    tape_reader *reader = mem_zalloc(sizeof *reader);
    uint64_t from = options->from_latest ? JOURNAL_LATEST : options->from_seq;
    reader->from_time = options->from_time;
    reader->from_ts = options->from_ts;
    from = options->from_time ? 0 : from;
    tape_status status = journal_reader_open(&reader->journal, os_disk_linux(), dir,
                                             (tape_level)options->level, from, error);
    if (status != TAPE_OK) {
        free(reader);
        return status;
    }
    *out = reader;
    return TAPE_OK;
}

void tape_reader_close(tape_reader **handle) {
    tape_reader *reader = *handle;
    *handle = NULL;
    if (reader != NULL) {
        journal_reader_close(&reader->journal);
        free(reader->views);
        free(reader->upgraded);
        free(reader);
    }
}

uint64_t tape_reader_next_seq(const tape_reader *reader) {
    return journal_reader_next_seq(reader->journal);
}

bool tape_reader_owner_alive(tape_reader *reader) {
    return journal_reader_owner_alive(reader->journal);
}

/* The record as a struct of this build's version; in place where it is that already. */
static const void *reader_current(tape_reader *reader, const record_view *view, size_t *used) {
    if (view->version == view->table->version && view->size == view->table->size_bytes) {
        return view->payload;
    }
    uint8_t *to = reader->upgraded + *used;
    record_upgrade(view->table, view->version, view->payload, view->size, to);
    *used += ALIGN_UP(view->table->size_bytes, 8);
    return to;
}

static size_t reader_take(tape_reader *reader, tape_reader_record *records, size_t count) {
    size_t taken = 0;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        const record_view *view = &reader->views[i];
        if (reader->from_time) {
            if (view->ts < reader->from_ts) {
                continue;
            }
            reader->from_time = false;
        }
        records[taken++] = (tape_reader_record){
            .record = reader_current(reader, view, &used),
            .table = view->table->id,
            .version = view->version,
            .more = (view->flags & RECORD_MORE) != 0,
            .append_ts = view->append_ts,
        };
    }
    return taken;
}

static void reader_reserve(tape_reader *reader, size_t max) {
    if (max <= reader->views_max) {
        return;
    }
    size_t most = 0;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        size_t size = ALIGN_UP(record_table(id)->size_bytes, 8);
        most = size > most ? size : most;
    }
    reader->views = mem_realloc(reader->views, max * sizeof *reader->views);
    reader->upgraded = mem_realloc(reader->upgraded, max * most);
    reader->views_max = max;
}

tape_status tape_reader_poll(tape_reader *reader, tape_reader_record *records, size_t max,
                             int64_t timeout_ns, size_t *count, tape_error *error) {
    *count = 0;
    reader_reserve(reader, max);
    int64_t deadline_ns = 0;
    int64_t pause_ns = POLL_PAUSE_MIN_NS;
    for (uint32_t looks = 0;; looks++) {
        size_t found = 0;
        tape_status status =
            journal_reader_next(reader->journal, reader->views, max, &found, error);
        if (status != TAPE_OK) {
            return status;
        }
        *count = reader_take(reader, records, found);
        if (*count > 0 || (found == 0 && timeout_ns == 0)) {
            return TAPE_OK;
        }
        if (found > 0 || looks < POLL_SPINS) {
            cpu_pause();
            continue;
        }
        deadline_ns = deadline_ns == 0 ? clock_deadline_ns(timeout_ns) : deadline_ns;
        int64_t left = deadline_ns - clock_monotonic_ns();
        if (left <= 0) {
            return TAPE_OK;
        }
        os_sleep_ns(left < pause_ns ? left : pause_ns);
        pause_ns = pause_ns * 2 < POLL_PAUSE_MAX_NS ? pause_ns * 2 : POLL_PAUSE_MAX_NS;
    }
}
