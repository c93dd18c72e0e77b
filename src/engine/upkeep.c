/* Keeping table files in shape: compaction, in the background and on demand, and scrubbing.
 *
 * Pace: a background compaction takes options.background_cpu cores while little waits, more as
 * level 0 falls behind, all it can get when it is far behind. It works in pieces, and after each
 * rests for as long as its share asks. One on demand does not rest; it goes before the
 * background's.
 *
 * Invariants
 *  U1 appends and reads never wait for any of this.
 *  U2 no compaction goes on while it would eat into the second half of the reserve, which is what
 *     makes the journal of accepted records fit.
 *
 * Failure: logged once, then tried again after longer and longer pauses. After FAILED (a sync
 * failed) the background compacts no more until the store is opened again. */
#include "engine/engine_internal.h"

#include <inttypes.h>

#define LOOK_NS (NS_PER_SECOND / 20) /* how often a compaction looks at what has changed */
#define LOOK_IDLE_NS (5 * NS_PER_SECOND)
/* A store that flushed nothing for this long is idle: what can wait is done then. */
#define IDLE_NS (10 * NS_PER_SECOND)
#define RETRY_MIN_NS NS_PER_SECOND
#define RETRY_MAX_NS (60 * NS_PER_SECOND)
/* Rests shorter than this are added up, longer ones than that are cut, and time that was not used
 * is not saved up beyond it. */
#define REST_MIN_NS INT64_C(1000000)
#define REST_MAX_NS INT64_C(200000000)
#define CREDIT_MAX_NS INT64_C(20000000)
/* Scores from which the pace rises, and at which it is unlimited. */
#define SCORE_CALM 1.5
#define SCORE_BEHIND 3.0
/* A pass over all table files begins this long after the last began, and not sooner after its end
 * than the second. */
#define SCRUB_EVERY_NS (3600 * NS_PER_SECOND)
#define SCRUB_PAUSE_NS (60 * NS_PER_SECOND)
#define SCRUB_NICE 10

static bool disk_is_low(const tape *db) {
    uint64_t free_bytes = 0;
    return db->reserve_bytes > 0 &&
           os_free_bytes(db->disk, db->dir, &free_bytes, NULL) == TAPE_OK &&
           free_bytes < db->reserve_bytes / 2;
}

/* --- the background's pace --- */

typedef struct pace {
    tape *db;
    double cores;     /* its share; 0: unlimited */
    int64_t look_ns;  /* when the share is settled anew */
    int64_t ran_ns;   /* the thread's time on a processor, and the clock, */
    int64_t clock_ns; /* at the end of the last piece */
    int64_t ahead_ns; /* how long it must rest for what it has done to be its share */
} pace;

static double share(const tape *db) {
    double score = store_compaction_score(db->store);
    double cores = db->options.background_cpu;
    if (score >= SCORE_BEHIND) {
        return 0;
    }
    return score <= SCORE_CALM ? cores : cores * (1 + 2 * (score - SCORE_CALM));
}

static bool pace_keep(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    (void)bytes;
    (void)done;
    (void)total;
    pace *p = context;
    tape *db = p->db;
    if (engine_stopping(db) || atomic_load(&db->compact_requests) > 0) {
        return false;
    }
    int64_t now = clock_monotonic_ns();
    if (now >= p->look_ns) {
        p->look_ns = now + LOOK_NS;
        p->cores = share(db);
        if (disk_is_low(db)) {
            return false;
        }
    }
    int64_t ran = clock_thread_ns();
    if (p->cores == 0) {
        p->ahead_ns = 0;
    } else {
        p->ahead_ns += (int64_t)((double)(ran - p->ran_ns) / p->cores) - (now - p->clock_ns);
    }
    p->ran_ns = ran;
    p->clock_ns = now;
    if (p->ahead_ns < -CREDIT_MAX_NS) {
        p->ahead_ns = -CREDIT_MAX_NS;
    } else if (p->ahead_ns >= REST_MIN_NS) {
        int64_t rest = p->ahead_ns < REST_MAX_NS ? p->ahead_ns : REST_MAX_NS;
        engine_rest(db, &db->compactor, atomic_load(&db->compactor.word), now + rest, true);
    }
    return true;
}

/* When the store last flushed something, as far as its compactor has seen. */
typedef struct activity {
    uint64_t flushed_seq;
    int64_t since_ns;
} activity;

static bool is_idle(const tape *db, activity *a) {
    uint64_t flushed = store_flushed_seq(db->store);
    int64_t now = clock_monotonic_ns();
    if (a->since_ns == 0 || flushed != a->flushed_seq) {
        *a = (activity){.flushed_seq = flushed, .since_ns = now};
    }
    return now - a->since_ns >= IDLE_NS;
}

/* One compaction, if one is wanted and nothing is in its way. */
static tape_status compact_once(tape *db, activity *a, bool *worked, tape_error *error) {
    bool idle = is_idle(db, a);
    bool wanted = store_compaction_score(db->store) >= 1;
    if (atomic_load(&db->compact_requests) > 0 || (!wanted && !idle) || disk_is_low(db)) {
        return TAPE_OK;
    }
    pace p = {.db = db, .ran_ns = clock_thread_ns(), .clock_ns = clock_monotonic_ns()};
    store_beat beat = {pace_keep, &p};
    return wanted ? store_compact(db->store, beat, worked, error)
                  : store_settle(db->store, beat, worked, error);
}

void engine_run_compactor(void *argument) {
    tape *db = argument;
    tape_status reported = TAPE_OK;
    int64_t pause_ns = RETRY_MIN_NS;
    activity seen = {0};
    os_thread_lower(0); /* its pace bounds it; behind, it needs its share */
    while (!engine_stopping(db)) {
        uint32_t word = atomic_load(&db->compactor.word);
        tape_error error;
        bool worked = false;
        tape_status status = compact_once(db, &seen, &worked, &error);
        if (status == TAPE_OK || status == TAPE_CANCELLED) {
            reported = TAPE_OK;
            pause_ns = RETRY_MIN_NS;
            if (!worked || status == TAPE_CANCELLED) {
                engine_rest(db, &db->compactor, word, clock_monotonic_ns() + LOOK_IDLE_NS, false);
            }
            continue;
        }
        if (status != reported) {
            log_line(LOG_ERROR, "table files could not be compacted: %s", error.text);
        }
        reported = status;
        if (status == TAPE_FAILED) {
            return;
        }
        engine_rest(db, &db->compactor, word, clock_monotonic_ns() + pause_ns, true);
        pause_ns = 2 * pause_ns < RETRY_MAX_NS ? 2 * pause_ns : RETRY_MAX_NS;
    }
}

/* --- on demand --- */

void tape_compact_options_init(tape_compact_options *options) {
    *options = (tape_compact_options){.size_bytes = sizeof *options};
}

typedef struct request {
    tape *db;
    const tape_compact_options *options;
    int64_t look_ns;
    bool no_space;
} request;

static bool request_beat(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    (void)bytes;
    request *r = context;
    int64_t now = clock_monotonic_ns();
    if (now >= r->look_ns) {
        r->look_ns = now + LOOK_NS;
        r->no_space = disk_is_low(r->db);
        if (r->no_space || (r->options->progress != NULL &&
                            !r->options->progress(r->options->context, done, total))) {
            return false;
        }
    }
    return !engine_stopping(r->db);
}

static tape_status compact_bounds(const tape_compact_options *o, record_key_bounds *out,
                                  const record_key_bounds **bounds, tape_error *error) {
    *bounds = NULL;
    bool some = o->key_count > 0 || o->from != NULL || o->to != NULL || o->prefix != NULL;
    const tape_table_info *table = record_table(o->table);
    if (o->table == 0 && some) {
        return error_set(error, TAPE_INVALID, "keys to compact, but no table they are of");
    }
    if (o->table != 0 && table == NULL) {
        return error_set(error, TAPE_INVALID, "there is no table with id %u", o->table);
    }
    if (!some) {
        return TAPE_OK;
    }
    *bounds = out;
    return record_key_range(table, o->key, o->key_count, o->from, o->to, o->prefix, out, error);
}

tape_status tape_compact(tape *db, const tape_compact_options *options, tape_error *error) {
    tape_compact_options taken;
    tape_compact_options_init(&taken);
    options_take(&taken, sizeof taken, options);
    if (db->options.read_only) {
        return error_set(error, TAPE_FORBIDDEN, "the store was opened read-only");
    }
    record_key_bounds range;
    const record_key_bounds *bounds = NULL;
    tape_status status = compact_bounds(&taken, &range, &bounds, error);
    if (status == TAPE_OK) {
        status = tape_checkpoint(db, error);
    }
    if (status != TAPE_OK) {
        return status;
    }
    request r = {.db = db, .options = &taken};
    atomic_fetch_add(&db->compact_requests, 1);
    status =
        store_compact_range(db->store, taken.table, bounds, (store_beat){request_beat, &r}, error);
    atomic_fetch_sub(&db->compact_requests, 1);
    engine_wake(&db->compactor);
    if (status == TAPE_CANCELLED && r.no_space) {
        return error_set_file(error, TAPE_NO_SPACE, db->dir, TAPE_NO_OFFSET,
                              "the disk of %s has less than %" PRIu64
                              " bytes free, which the journal may need: free some space and "
                              "compact again; what was done stays",
                              db->dir, db->reserve_bytes / 2);
    }
    if (status == TAPE_CANCELLED) {
        return error_set(error, TAPE_CANCELLED, "interrupted; what was done stays");
    }
    return status;
}

/* --- scrubbing --- */

typedef struct scrub {
    tape *db;
    int64_t next_ns;         /* when the next piece may be read */
    uint64_t archived_bytes; /* of the archive's file at hand, read already */
} scrub;

static bool scrub_beat(void *context, uint64_t bytes, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    scrub *s = context;
    tape *db = s->db;
    int64_t now = clock_monotonic_ns();
    double took_ns = (double)bytes * 1e9 / (double)db->options.scrub_bytes_per_second;
    s->next_ns = s->next_ns < now - CREDIT_MAX_NS ? now - CREDIT_MAX_NS : s->next_ns;
    s->next_ns += (int64_t)(took_ns < 1e15 ? took_ns : 1e15);
    engine_rest(db, &db->scrubber, atomic_load(&db->scrubber.word), s->next_ns, true);
    return !engine_stopping(db);
}

/* The same for the archive, which tells the bytes of a file that are done. */
static bool scrub_archive_beat(void *context, uint64_t done, uint64_t total) {
    scrub *s = context;
    uint64_t bytes = done >= s->archived_bytes ? done - s->archived_bytes : done;
    s->archived_bytes = done == total ? 0 : done;
    return scrub_beat(s, bytes, done, total);
}

/* Every table file and every file of the archive once; what is damaged has been logged and counted.
 */
static tape_status scrub_all(tape *db, tape_error *error) {
    store_stats stats;
    store_stats_read(db->store, &stats);
    scrub s = {.db = db};
    tape_status status = TAPE_OK;
    bool worked = true;
    for (uint64_t n = 0; n < stats.table_files && worked && !engine_stopping(db); n++) {
        status = store_scrub(db->store, (store_beat){scrub_beat, &s}, &worked, error);
        if (status != TAPE_OK && status != TAPE_CORRUPT) {
            return status;
        }
    }
    archive_stats as;
    archive_stats_read(db->archive, &as);
    worked = true;
    s.archived_bytes = 0;
    for (uint64_t n = 0; n < as.files && worked && !engine_stopping(db); n++) {
        status = archive_scrub(db->archive, (archive_beat){scrub_archive_beat, &s}, &worked, error);
        if (status != TAPE_OK && status != TAPE_CORRUPT) {
            return status;
        }
    }
    return status;
}

void engine_run_scrubber(void *argument) {
    tape *db = argument;
    tape_status reported = TAPE_OK;
    os_thread_lower(SCRUB_NICE);
    while (!engine_stopping(db)) {
        tape_error error;
        int64_t next = clock_monotonic_ns() + SCRUB_EVERY_NS;
        tape_status status = scrub_all(db, &error);
        bool told = status == TAPE_OK || status == TAPE_CORRUPT || status == TAPE_CANCELLED;
        if (!told && status != reported) {
            log_line(LOG_ERROR, "table files could not be scrubbed: %s", error.text);
        }
        reported = status;
        int64_t soonest = clock_monotonic_ns() + SCRUB_PAUSE_NS;
        engine_rest(db, &db->scrubber, atomic_load(&db->scrubber.word),
                    next > soonest ? next : soonest, true);
    }
}
