/* For the module's tests: an archive over columns, and a model of what both have to answer. */
#ifndef ARCHIVE_TESTING_H
#define ARCHIVE_TESTING_H

#include "archive/archive_internal.h"

#include <setjmp.h>
#include <cmocka.h>

/* Every record there ever was: number `seq` is records[seq - 1]. */
typedef struct model_record {
    const tape_table_info *table;
    uint64_t by;   /* what superseded it; UINT64_MAX: nothing. Events: UINT64_MAX */
    uint64_t gone; /* number of the first version of the archive without it; UINT64_MAX: none */
    bool more;     /* the next record belongs to the same append */
    uint8_t key[RECORD_KEY_BYTES_MAX];
    size_t key_size;
    _Alignas(8) uint8_t payload[512];
} model_record;

typedef struct world {
    uint64_t random;
    model_record *records;
    uint64_t count, capacity;
    int64_t now;      /* about where ts is */
    int64_t ts_range; /* how far from it */
    unsigned keys;    /* per entity table */
    char root[64];    /* a real directory */
    char dir[96];     /* the archive's */
    os_disk *disk;
    archive_options options;
    archive *a;
    columns *c;
    duck *reader; /* opened when needed */
} world;

extern const uint8_t world_store_id[16];

uint64_t world_random(world *w, uint64_t below);
/* Makes the directory and sets the defaults; world_open opens. */
void world_init(world *w, uint64_t seed);
/* Opens archive and columns and fills the columns from the model. */
tape_status world_open(world *w, tape_error *error);
void world_open_ok(world *w);
void world_close(world *w);
void world_deinit(world *w); /* removes the directory */

/* Appends one record; `more`: the next belongs to the same append. */
void world_append(world *w, uint16_t table, bool more);
/* Appends `count` records of a table, or (0) of any. */
void world_append_many(world *w, uint16_t table, uint64_t count);
/* The last seq of an append at or before `seq`. */
uint64_t world_append_end(const world *w, uint64_t seq);
/* archive_take of everything, then columns_drop. */
void world_take_ok(world *w);
void world_ok(tape_status status, const tape_error *error);

/* What a reader holds. It may ask for any seq up to what the columns had when it began. */
typedef struct world_view {
    uint64_t seq;
    columns_pin *pin;
    archive_view *view;
} world_view;
world_view world_view_open(world *w);
void world_view_close(world_view *v);

/* Compares what the view shows of every table at `seq` with the model: newest rows and versions.
 * Fails the test when they differ. `hint` may be NULL; then only rows it is after count. Returns
 * how many rows were compared. */
uint64_t world_check(world *w, const world_view *v, uint64_t seq, const columns_hint *hint);
uint64_t world_check_table(world *w, const world_view *v, const tape_table_info *table,
                           archive_rows rows, uint64_t seq, const columns_hint *hint);
/* A view of now, at the newest seq. */
uint64_t world_check_now(world *w);
/* Expires, in the archive and in the model. */
tape_status world_expire(world *w, int64_t now_ns, tape_error *error);

/* A DuckDB that sees columns and archive as readers do. */
duck *world_reader(world *w);
/* For archive_verify: appends the finding's text to the buffer `context`. */
void world_note_damage(void *context, const tape_error *finding);

/* Counts the archive's files of a kind (0: all). */
size_t world_files(const world *w, uint16_t table, uint8_t kind);
/* Removes a real directory and what is in it. */
void world_remove_dir(const char *path);

#endif
