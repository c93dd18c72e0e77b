/* History: what moves rows from the columns to the archive, in the background and on demand.
 *
 * The background archives when half of the columns' memory is in use, puts small files together
 * when nothing else is to be done, and lets go what archive_keep_ns no longer asks for.
 *
 * Invariants
 *  H1 only what is committed, and in the columns, is archived; a statement finds every record in
 *     the archive's view or the columns, for rows are dropped after the archive lists them, and a
 *     statement pins the columns before it takes its view.
 *  H2 the pin on the store moves to the new seq before rows are dropped.
 *
 * Failure: logged once, tried again after longer and longer pauses; meanwhile the columns fill up,
 * and then statements that need newer rows get the reason. Appends go on. */
#include "engine/engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define LOOK_NS (NS_PER_SECOND / 10)
#define RETRY_MIN_NS NS_PER_SECOND
#define RETRY_MAX_NS (60 * NS_PER_SECOND)
#define EXPIRE_EVERY_NS (600 * NS_PER_SECOND)
/* Where keep_ns lets records of the store go, its pin is taken anew this often: a pin keeps what
 * had not expired when it was made. */
#define PIN_EVERY_NS (60 * NS_PER_SECOND)
#define ARCHIVER_NICE 5

/* --- the archive and the pin --- */

/* In place of the pin there was. */
static void pin_replace(tape *db, store_pin *pin) {
    pthread_mutex_lock(&db->pin_mutex);
    store_pin *old = db->archive_pin;
    db->archive_pin = pin;
    pthread_mutex_unlock(&db->pin_mutex);
    store_pin_close(&old);
}

/* Anew, at the archive's seq. */
static tape_status renew_pin(tape *db, tape_error *error) {
    store_pin *pin = NULL;
    tape_status status = TAPE_OK;
    pthread_mutex_lock(&db->archive_mutex);
    uint64_t seq = archive_seq(db->archive);
    if (seq > 0 && db->archive_pin != NULL) {
        status = store_pin_open(db->store, seq, &pin, error);
    }
    if (pin != NULL) {
        pin_replace(db, pin);
    }
    pthread_mutex_unlock(&db->archive_mutex);
    return status;
}

tape_status engine_archive_pin(tape *db, tape_error *error) {
    tape_status status =
        cursor_reach(&db->store_cursor, archive_seq(db->archive), INT64_MAX, error);
    return status == TAPE_OK ? renew_pin(db, error) : status;
}

tape_status engine_archive_open(tape *db, const uint8_t *store_id, tape_error *error) {
    char *dir = mem_printf("%s/archive", db->dir);
    char *temp = mem_printf("%s/tmp", db->dir);
    const tape_open_options *o = &db->options;
    archive_options options = {
        .disk = db->disk,
        .dir = dir,
        .store_id = store_id,
        .temp_dir = temp,
        .memory_bytes = o->archive_memory_bytes,
        .threads = o->archive_threads,
        .codec = o->archive_codec == TAPE_ARCHIVE_SNAPPY ? ARCHIVE_SNAPPY : ARCHIVE_ZSTD,
        .day_begins_ns = o->day_begins_ns,
    };
    _Static_assert(sizeof options.keep_ns == sizeof o->archive_keep_ns, "by table id");
    memcpy(options.keep_ns, o->archive_keep_ns, sizeof options.keep_ns);
    tape_status status = archive_open(&db->archive, &options, error);
    uint64_t seq = status == TAPE_OK ? archive_seq(db->archive) : 0;
    if (seq > 0) {
        /* The store may not have come that far: then the pin is at an earlier seq, until
         * engine_archive_pin. */
        tape_error local;
        tape_status pinned = store_pin_open(db->store, seq, &db->archive_pin, &local);
        if (pinned != TAPE_OK) {
            log_line(LOG_ERROR, "SQL will not answer: %s", local.text);
        }
    }
    free(dir);
    free(temp);
    return status;
}

void engine_archive_close(tape *db) {
    store_pin_close(&db->archive_pin);
    archive_close(&db->archive);
}

/* --- archiving --- */

bool engine_archive_beat(void *context, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    return !engine_stopping(context);
}

static tape_status take(tape *db, uint64_t seq, archive_beat beat, tape_error *error) {
    store_pin *pin = NULL;
    tape_status status = store_pin_open(db->store, seq, &pin, error);
    if (status == TAPE_OK) {
        status = archive_take(db->archive, seq, beat, error);
    }
    if (status != TAPE_OK) {
        store_pin_close(&pin);
        return status;
    }
    pin_replace(db, pin);
    columns_drop(db->columns, seq);
    return TAPE_OK;
}

tape_status engine_archive(tape *db, uint64_t seq, archive_beat beat, tape_error *error) {
    tape_status status = cursor_reach(&db->store_cursor, seq, INT64_MAX, error);
    if (status != TAPE_OK) {
        return status;
    }
    pthread_mutex_lock(&db->archive_mutex);
    if (seq > archive_seq(db->archive)) {
        status = take(db, seq, beat, error);
    }
    pthread_mutex_unlock(&db->archive_mutex);
    return status;
}

/* As far as can be archived now. */
static uint64_t archivable_seq(const tape *db) {
    uint64_t seq = columns_seq(db->columns);
    uint64_t committed = journal_seq(db->journal, TAPE_COMMITTED);
    return committed < seq ? committed : seq;
}

tape_status engine_relieve_columns(tape *db, tape_error *error) {
    if (db->options.archive_by_hand) {
        return error_set(error, TAPE_NO_MEMORY,
                         "the hot columns are full (%" PRIu64 " of %" PRIu64
                         " bytes): archive the store, or open it with a larger columns_bytes_max",
                         columns_bytes(db->columns), db->options.columns_bytes_max);
    }
    if (!db->background) {
        return engine_archive(db, archivable_seq(db), (archive_beat){engine_archive_beat, db},
                              error);
    }
    tape_status failed =
        (tape_status)atomic_load_explicit(&db->archive_failed, memory_order_acquire);
    if (failed == TAPE_OK) {
        engine_wake(&db->archiver);
        return TAPE_OK;
    }
    pthread_mutex_lock(&db->archive_failure_mutex);
    if (error != NULL) {
        *error = db->archive_failure;
        error_prefix(error, "the hot columns are full and could not be archived");
    }
    pthread_mutex_unlock(&db->archive_failure_mutex);
    return failed;
}

/* --- in the background --- */

static void note_failure(tape *db, tape_status status, const tape_error *error) {
    pthread_mutex_lock(&db->archive_failure_mutex);
    if (status != TAPE_OK) {
        db->archive_failure = *error;
    }
    pthread_mutex_unlock(&db->archive_failure_mutex);
    atomic_store_explicit(&db->archive_failed, status, memory_order_release);
}

typedef struct archiver {
    int64_t expire_ns; /* when it is due */
    int64_t pin_ns;
    bool store_expires; /* keep_ns of some table */
} archiver;

/* The most pressing thing there is to do. */
static tape_status archive_once(tape *db, archiver *a, bool *worked, tape_error *error) {
    const archive_beat beat = {engine_archive_beat, db};
    int64_t now = clock_monotonic_ns();
    if (a->store_expires && now >= a->pin_ns) {
        a->pin_ns = now + PIN_EVERY_NS;
        return renew_pin(db, error);
    }
    if (!atomic_load_explicit(&db->columns_live, memory_order_acquire)) {
        return TAPE_OK;
    }
    if (!db->options.archive_by_hand &&
        columns_bytes(db->columns) > db->options.columns_bytes_max / 2) {
        uint64_t seq = archivable_seq(db);
        if (seq > archive_seq(db->archive)) {
            *worked = true;
            tape_status status = engine_archive(db, seq, beat, error);
            note_failure(db, status, error);
            return status;
        }
    }
    if (now >= a->expire_ns) {
        a->expire_ns = now + EXPIRE_EVERY_NS;
        return archive_expire(db->archive, clock_realtime_ns(), error);
    }
    return archive_merge(db->archive, beat, worked, error);
}

void engine_run_archiver(void *argument) {
    tape *db = argument;
    archiver a = {0};
    tape_status reported = TAPE_OK;
    int64_t pause_ns = RETRY_MIN_NS;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        a.store_expires = a.store_expires || db->options.keep_ns[id] != 0;
    }
    os_thread_lower(ARCHIVER_NICE);
    while (!engine_stopping(db)) {
        uint32_t word = atomic_load(&db->archiver.word);
        tape_error error = {0};
        bool worked = false;
        tape_status status = archive_once(db, &a, &worked, &error);
        if (status == TAPE_OK || status == TAPE_CANCELLED) {
            reported = TAPE_OK;
            pause_ns = RETRY_MIN_NS;
            if (!worked) {
                engine_rest(db, &db->archiver, word, clock_monotonic_ns() + LOOK_NS, false);
            }
            continue;
        }
        if (status != reported) {
            log_line(LOG_ERROR, "the archive could not be kept: %s", error.text);
        }
        reported = status;
        engine_rest(db, &db->archiver, word, clock_monotonic_ns() + pause_ns, true);
        pause_ns = 2 * pause_ns < RETRY_MAX_NS ? 2 * pause_ns : RETRY_MAX_NS;
    }
}

/* --- on demand --- */

void tape_archive_options_init(tape_archive_options *options) {
    *options = (tape_archive_options){.size_bytes = sizeof *options};
}

typedef struct request {
    tape *db;
    const tape_archive_options *options;
} request;

static bool request_beat(void *context, uint64_t done, uint64_t total) {
    const request *r = context;
    return !engine_stopping(r->db) &&
           (r->options->progress == NULL || r->options->progress(r->options->context, done, total));
}

tape_status tape_archive(tape *db, const tape_archive_options *options, tape_error *error) {
    tape_archive_options taken;
    tape_archive_options_init(&taken);
    options_take(&taken, sizeof taken, options);
    if (db->options.read_only) {
        return error_set(error, TAPE_FORBIDDEN, "the store was opened read-only");
    }
    int32_t day = 0;
    tape_status status = TAPE_OK;
    if (taken.date != NULL) {
        status = archive_day_from_text(taken.date, &day, error);
    }
    uint64_t written = journal_seq(db->journal, TAPE_WRITTEN);
    if (status == TAPE_OK) {
        status = journal_wait(db->journal, written, TAPE_COMMITTED, INT64_MAX, error);
    }
    request r = {.db = db, .options = &taken};
    const archive_beat beat = {request_beat, &r};
    /* When the columns cannot take all of it at once, piece by piece. */
    while (status == TAPE_OK && archive_seq(db->archive) < written) {
        status = engine_columns_reach(db, written, clock_deadline_ns(NS_PER_SECOND), error);
        if (status == TAPE_OK || status == TAPE_TIMEOUT || status == TAPE_NO_MEMORY) {
            uint64_t seq = archivable_seq(db);
            bool more = seq > archive_seq(db->archive);
            status =
                more || status != TAPE_NO_MEMORY ? engine_archive(db, seq, beat, error) : status;
        }
    }
    if (status == TAPE_OK && taken.date != NULL) {
        status = engine_columns_reach(db, written, INT64_MAX, error);
    }
    if (status == TAPE_OK && taken.date != NULL) {
        status = archive_merge_day(db->archive, day, beat, error);
    }
    if (status == TAPE_CANCELLED) {
        return error_set(error, TAPE_CANCELLED, "interrupted; what was archived stays archived");
    }
    return status;
}
