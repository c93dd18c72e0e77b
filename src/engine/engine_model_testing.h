/* engine_model: the whole engine on the simulated machine against a trivial model of it. For
 * engine_model_test alone.
 *
 * A world is one life of a store: a machine, the store open on it, the oracle (a list of every
 * record with its append time, and by key the seqs of its versions), open views and scans with what
 * they must show, and a seed from which everything that happens follows, time included: the clocks
 * are the world's. The same seed gives the same life.
 *
 * What holds at any moment
 *  O1 The store holds the oracle's records 1 .. n for some n: n is all of them while the machine is
 *     well, at least `written` after a crash of the process, at least `durable` after a power loss;
 *     and no append is there in part.
 *  O2 A read at seq S and time T shows, of each key, the newest version at or below S, unless it is
 *     of an event table and had expired at T. With versions: all of them at or below S but those
 *     that had expired at T.
 *  O3 TOO_OLD is an answer only below the seq of a version that had made others expire.
 *  O4 A read never gives anything else. Where bytes were damaged it may say CORRUPT, naming a file.
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include "base/base_testing.h"
#include "engine/engine_internal.h"
#include "os/os_sim.h"

#include <setjmp.h>
#include <cmocka.h>

#define MODEL_ROOT "/db"
#define MODEL_STORE MODEL_ROOT "/store"
#define MODEL_JOURNAL MODEL_ROOT "/journal"
#define MODEL_SEGMENT KIB(64)
#define MODEL_WINDOW KIB(64)
#define MODEL_VIEWS 6
#define MODEL_SCANS 4
#define MODEL_TRACE 24

/* --- the oracle --- */

typedef struct oracle_key {
    char parts[2][41]; /* the key fields as text; of a seq its digits */
    uint64_t number;   /* a seq, in the tables whose key it is */
    uint64_t *seqs;    /* of its versions, rising */
    size_t count, capacity;
} oracle_key;

typedef struct oracle_record {
    uint64_t nonce; /* all fields but the key follow from it */
    int64_t append_ts;
    oracle_key *key;
    uint16_t table;
    bool last; /* of its append */
} oracle_record;

typedef struct oracle_table {
    oracle_key **keys; /* in key order */
    size_t count, capacity;
} oracle_table;

typedef struct oracle {
    oracle_record *records; /* number `seq` is records[seq - 1] */
    uint64_t count, capacity;
    oracle_table tables[TAPE_TABLE_COUNT + 1];
} oracle;

/* Adds the record that comes next; `parts` are not looked at where the key is the seq. */
void oracle_add(oracle *o, uint16_t table, const char parts[2][41], uint64_t nonce,
                int64_t append_ts, bool last);
void oracle_truncate(oracle *o, uint64_t count);
void oracle_deinit(oracle *o);
/* The key, or NULL when it was never written. */
oracle_key *oracle_find(const oracle *o, uint16_t table, const char parts[2][41]);
/* Fills a struct for an append. */
void oracle_fill(uint16_t table, const char parts[2][41], uint64_t nonce, void *out);
/* The struct as it must be read. */
void oracle_expect(const oracle *o, uint64_t seq, void *out);

/* --- what reads must show --- */

/* MAYBE: an earlier opening of the store with a shorter keep_ns may have let it go. */
typedef enum verdict { HIDDEN, SHOWN, MAYBE } verdict;

typedef struct row {
    uint64_t seq;
    verdict verdict; /* SHOWN or MAYBE */
} row;

typedef struct model_scan {
    tape_scan *scan; /* NULL: free */
    size_t view;
    uint16_t table;
    bool backward, versions;
    row *rows; /* what must come, in order */
    size_t count, next;
} model_scan;

typedef struct model_view {
    tape_view *view; /* NULL: free */
    uint64_t seq;
    int64_t now_ns;
} model_view;

/* Random bounds of a scan or a compaction. */
typedef struct model_bounds {
    tape_scan_options options;
    const char *key[2];
    char parts[2][41];
    char from[41], to[41], prefix[41];
} model_bounds;

typedef struct world {
    uint64_t seed, step, random;
    char trace[MODEL_TRACE][120]; /* the last operations */

    os_sim *sim;
    os_disk *disk;
    tape *db;
    tape_open_options options;
    int64_t now_ns; /* of every clock */

    oracle o;
    int64_t gone_ns[TAPE_TABLE_COUNT + 1]; /* append times up to here may have expired before this
                                              opening */
    uint64_t durable;                      /* acknowledged */
    uint64_t written;                      /* acknowledged, and the machine ran on */
    uint64_t trade_number;

    model_view views[MODEL_VIEWS];
    model_scan scans[MODEL_SCANS];

    bool retention;     /* this world lets records expire */
    bool trimmed;       /* this one's journal does not keep everything */
    bool towering;      /* this one lets levels fill up */
    bool faulty;        /* calls may fail: a fault is set, the disk is full or a crash is due */
    bool damaged;       /* reads may say CORRUPT */
    bool remove_failed; /* files may be left over until the store is opened again */
    bool store_failed, failed; /* a sync failed: of the store's files, of the journal */
    bool within;               /* inside a compaction */
    bool cancels;              /* the running compaction may be cancelled */
    bool cancelled;            /* and was */
    uint64_t compacted_bytes;  /* told by the running compaction */
    uint64_t corrupt_reads;
} world;

/* What was done in all worlds, so that a test can see that it was done. */
typedef struct coverage {
    uint64_t steps, worlds, records;
    uint64_t crashes, crashes_at, power_losses, reopens;
    uint64_t io_faults, disk_full, refused_appends, flips_open, flips_closed, flips_found,
        flips_refused;
    uint64_t lies, lies_refused, lies_harmless;
    uint64_t gets, many, scans, scan_rows, views, too_old;
    uint64_t flushes, compactions, cancelled, moves, dropped, within;
    uint64_t columns;
    uint64_t level_files[7];
    uint64_t most_files;
} coverage;
extern coverage covered;

_Noreturn void world_fail(const world *w, const char *format, ...) PRINTF_LIKE(2, 3);
void world_trace(world *w, const char *format, ...) PRINTF_LIKE(2, 3);
static inline size_t world_random(world *w, size_t below) {
    return random_below(&w->random, below);
}
static inline bool world_chance(world *w, unsigned percent) {
    return world_random(w, 100) < percent;
}
/* True when OK. What a fault that is set may cause is false; anything else ends the test. */
bool world_ok(world *w, tape_status status, const tape_error *error, const char *what);

/* --- reads, each compared with the oracle: engine_model_reads.c --- */
/* In the view, or when that is NULL now at seq `at` (0: everything). */
void model_get(world *w, const model_view *view, uint64_t at);
void model_get_many(world *w, const model_view *view, uint64_t at);
void model_random_key(world *w, uint16_t table, char parts[2][41]);
void model_random_bounds(world *w, uint16_t table, model_bounds *b);
/* Whether a TAPE_UNIQUE append must leave this key of an event table out. */
verdict model_is_there(const world *w, uint16_t table, const char parts[2][41]);
/* A scan with random bounds in a view. */
void model_scan_open(world *w, size_t view);
/* Up to `rows` rows of it; closes it at its end, or when `close`. */
void model_scan_step(world *w, model_scan *scan, size_t rows, bool close);
void model_scan_close(model_scan *scan);
void model_scans_close(world *w, size_t view);
bool model_view_open(world *w, model_view *out, uint64_t at, tape_level level);
void model_view_close(world *w, size_t view);
void model_views_close(world *w);
/* Every row of every table, up and down, and some gets. */
void model_check_all(world *w);
/* Every record of the table files. */
void model_visit(world *w);
/* No file but those that the manifest lists. */
void model_check_directory(world *w);
/* Verifies; *found when there was damage. */
void model_verify(world *w, bool *found);
/* Makes room for what reads need to bring in; false when that fails. */
bool model_settle(world *w);

/* --- everything that happens: engine_model_steps.c and engine_model_faults.c --- */
void world_create(world *w, uint64_t seed);
void world_step(world *w);
void world_end(world *w);
void model_append(world *w);
/* Steps that a compaction may be interrupted by. */
void model_step_within(world *w);
void model_random_options(world *w);
/* Opens; in a faulty world false when that failed. */
bool world_open(world *w);
/* Opens after whatever happened and compares with what was promised: at least `least`. */
void world_recover(world *w, uint64_t least);
/* Closes what is open in a process that lives. */
void world_close(world *w);
void model_reopen(world *w);
void model_read_only(world *w);
void model_process_crash(world *w);
void model_power_loss(world *w);
void model_crash_at(world *w);
void model_io_fault(world *w);
void model_disk_full(world *w);
void model_flip_open(world *w);
void model_flip_closed(world *w);
/* The last thing that happens to a world: a disk that lies. */
void model_lie(world *w);

#endif
