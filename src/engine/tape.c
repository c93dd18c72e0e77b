/* The public face: stores made, opened and closed, appends, waits.
 *
 * Layout of DIR: TAPE (identity), LOCK (the owner's pid), journal/, store/, tmp/, control.sock.
 *
 * Threads: "tape-store" moves the store's cursor and the columns' (once they are in use),
 * "tape-flush" writes full memtables and trims the journal, "tape-compact" and "tape-scrub" keep
 * table files in shape; the journal has two of its own. */
#include "engine/engine_internal.h"
#include "sstable/sstable.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SEGMENT_BYTES_DEFAULT MIB(64)
#define SEGMENT_BYTES_MIN MIB(4)
#define WINDOW_BYTES_DEFAULT MIB(256)
#define WINDOW_BYTES_MIN MIB(8)
#define MEMTABLE_BYTES_DEFAULT MIB(128)
#define COLUMNS_BYTES_DEFAULT GIB(2)
/* The newest chunk of each table stays when everything is archived. */
#define COLUMNS_BYTES_MIN MIB(128)
#define QUERY_BYTES_DEFAULT GIB(2)
#define TABLE_BYTES_DEFAULT MIB(64)
#define UPPER_SHARE_DEFAULT 0.3
#define UPPER_SHARE_MIN 0.01
#define UPPER_SHARE_MAX 1.0
#define MAPPED_FILES_DEFAULT 32768
#define BACKGROUND_CPU_DEFAULT 0.25
#define BACKGROUND_CPU_MIN 0.05
#define BACKGROUND_CPU_MAX 8
#define SCRUB_BYTES_DEFAULT MIB(4)
/* For what must be written to go on: the store's own files; and two segments, see open_parts. */
#define RESERVE_BYTES_DEFAULT UINT64_MAX
#define ARCHIVE_BYTES_DEFAULT GIB(1)
#define ARCHIVE_BYTES_MIN MIB(64)
#define RESULT_CACHE_BYTES_DEFAULT MIB(64)
#define DAY_BEGINS_MAX_NS (23 * 3600 * NS_PER_SECOND)
#define RESERVE_STORE_BYTES MIB(64)
#define APPEND_TIMEOUT_NS (5 * NS_PER_SECOND)
/* Closing writes the memtable out when replaying it would take noticeable time. */
#define CLOSE_FLUSH_BYTES MIB(8)

const char *tape_version(void) {
    return TAPE_VERSION;
}

/* --- making a store --- */

void tape_create_options_init(tape_create_options *options) {
    *options = (tape_create_options){.size_bytes = sizeof *options,
                                     .segment_bytes = SEGMENT_BYTES_DEFAULT};
}

typedef struct entry_count {
    uint64_t entries;
} entry_count;

static void count_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)name;
    (void)is_dir;
    (void)size;
    ((entry_count *)context)->entries++;
}

/* Whether `dir` may become a store: absent, or an empty directory. */
static tape_status create_check(os_disk *disk, const char *dir, tape_error *error) {
    os_stat stat;
    tape_status status = os_path_stat(disk, dir, &stat, error);
    if (status == TAPE_NOT_FOUND) {
        return TAPE_OK;
    }
    if (status != TAPE_OK) {
        return status;
    }
    if (!stat.is_dir) {
        return error_set_file(error, TAPE_EXISTS, dir, TAPE_NO_OFFSET,
                              "%s is a file: name a directory that is absent or empty", dir);
    }
    entry_count count = {0};
    status = os_dir_list(disk, dir, count_entry, &count, error);
    if (status == TAPE_OK && count.entries > 0) {
        return error_set_file(error, TAPE_EXISTS, dir, TAPE_NO_OFFSET,
                              "%s is not empty: name a directory that is absent or empty", dir);
    }
    return status;
}

typedef struct removal {
    os_disk *disk;
    const char *dir;
} removal;

static void remove_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    const removal *r = context;
    char *path = mem_printf("%s/%s", r->dir, name);
    tape_status ignored = is_dir ? TAPE_OK : os_remove(r->disk, path, NULL);
    (void)ignored;
    free(path);
}

/* Takes back a half-made store: its journal's files, its own, the directories. */
static void create_undo(os_disk *disk, const char *dir) {
    char *journal_dir = mem_printf("%s/journal", dir);
    removal inner = {disk, journal_dir};
    removal outer = {disk, dir};
    tape_status ignored = os_dir_list(disk, journal_dir, remove_entry, &inner, NULL);
    ignored = os_dir_remove(disk, journal_dir, NULL);
    ignored = os_dir_list(disk, dir, remove_entry, &outer, NULL);
    ignored = os_dir_remove(disk, dir, NULL);
    (void)ignored;
    free(journal_dir);
}

static char *parent_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return mem_strdup(".");
    }
    return slash == path ? mem_strdup("/") : mem_printf("%.*s", (int)(slash - path), path);
}

tape_status engine_create(os_disk *disk, const char *dir, uint64_t segment_bytes,
                          tape_error *error) {
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/') {
        length--;
    }
    /* Made beside its place and renamed there, so that a half-made store is never met under its
     * name. */
    char *target = mem_printf("%.*s", (int)length, dir);
    char *making = mem_printf("%s.making-%ld", target, (long)getpid());
    char *parent = parent_of(target);
    journal_identity identity;
    tape_status status = create_check(disk, target, error);
    if (status == TAPE_OK) {
        status = os_dir_make(disk, making, error);
    }
    bool made = status == TAPE_OK;
    if (status == TAPE_OK) {
        status = journal_create(disk, making, segment_bytes, &identity, error);
    }
    if (status == TAPE_OK) {
        status = os_rename(disk, making, target, error);
    }
    if (status == TAPE_OK) {
        status = os_dir_sync(disk, parent, error);
    } else if (made) {
        create_undo(disk, making);
    }
    free(target);
    free(making);
    free(parent);
    return status;
}

tape_status tape_create(const char *dir, const tape_create_options *options, tape_error *error) {
    tape_create_options taken;
    tape_create_options_init(&taken);
    options_take(&taken, sizeof taken, options);
    if (dir == NULL || dir[0] == '\0') {
        return error_set(error, TAPE_INVALID, "the store's directory has no name");
    }
    if (taken.segment_bytes < SEGMENT_BYTES_MIN) {
        return error_set(error, TAPE_INVALID,
                         "segment_bytes is %" PRIu64 ": it must be at least %" PRIu64,
                         taken.segment_bytes, (uint64_t)SEGMENT_BYTES_MIN);
    }
    return engine_create(os_disk_linux(), dir, taken.segment_bytes, error);
}

/* --- opening --- */

void tape_open_options_init(tape_open_options *options) {
    *options = (tape_open_options){
        .size_bytes = sizeof *options,
        .window_bytes = WINDOW_BYTES_DEFAULT,
        .memtable_bytes = MEMTABLE_BYTES_DEFAULT,
        .columns_bytes_max = COLUMNS_BYTES_DEFAULT,
        .query_memory_bytes = QUERY_BYTES_DEFAULT,
        .retain_bytes = UINT64_MAX,
        .journal_cpu = -1,
        .table_bytes = TABLE_BYTES_DEFAULT,
        .upper_share = UPPER_SHARE_DEFAULT,
        .pack = TAPE_PACK_LZ4,
        .mapped_files_max = MAPPED_FILES_DEFAULT,
        .background_cpu = BACKGROUND_CPU_DEFAULT,
        .scrub_bytes_per_second = SCRUB_BYTES_DEFAULT,
        .reserve_bytes = RESERVE_BYTES_DEFAULT,
        .archive_threads = 1,
        .archive_memory_bytes = ARCHIVE_BYTES_DEFAULT,
        .result_cache_bytes = RESULT_CACHE_BYTES_DEFAULT,
    };
}

static tape_status store_sink_apply(void *context, const record_view *records, size_t count,
                                    tape_error *error) {
    const tape *db = context;
    return store_apply(db->store, records, count, error);
}

static uint64_t store_sink_position(void *context) {
    const tape *db = context;
    return store_applied_seq(db->store);
}

static tape_status store_sink_relieve(void *context, tape_error *error) {
    return engine_relieve(context, error);
}

/* The largest window up to what was asked that leaves shared memory half empty. */
static tape_status window_size(tape *db, uint64_t *out, tape_error *error) {
    uint64_t free_bytes = 0;
    uint64_t bytes = db->options.window_bytes;
    tape_status status = os_shm_free_bytes(db->disk, &free_bytes, error);
    if (status != TAPE_OK) {
        return status;
    }
    while (bytes > WINDOW_BYTES_MIN && bytes > free_bytes / 2) {
        bytes /= 2;
    }
    *out = bytes;
    return TAPE_OK;
}

static tape_status check_at_least(const char *name, uint64_t value, uint64_t least,
                                  tape_error *error) {
    if (value >= least) {
        return TAPE_OK;
    }
    return error_set(error, TAPE_INVALID, "%s is %" PRIu64 ": at least %" PRIu64 " is needed", name,
                     value, least);
}

static tape_status check_keep(const tape_open_options *o, tape_error *error) {
    for (uint16_t id = 0; id <= TAPE_TABLE_COUNT; id++) {
        if (o->keep_ns[id] < 0 || (id == 0 && o->keep_ns[id] != 0)) {
            return error_set(error, TAPE_INVALID,
                             "keep_ns[%u] (%s) is %" PRId64
                             ": it must be a duration, or 0 to keep everything",
                             id, id == 0 ? "no table" : record_table(id)->name, o->keep_ns[id]);
        }
    }
    return TAPE_OK;
}

static tape_status check_archive(const tape_open_options *o, tape_error *error) {
    tape_status status = TAPE_OK;
    if (!o->archive_by_hand) {
        status =
            check_at_least("columns_bytes_max", o->columns_bytes_max, COLUMNS_BYTES_MIN, error);
    }
    if (status == TAPE_OK) {
        status = check_at_least("archive_memory_bytes", o->archive_memory_bytes, ARCHIVE_BYTES_MIN,
                                error);
    }
    if (status != TAPE_OK) {
        return status;
    }
    if (o->archive_threads < 1) {
        return error_set(error, TAPE_INVALID, "archive_threads is %d: it must be at least 1",
                         o->archive_threads);
    }
    if (o->archive_codec != TAPE_ARCHIVE_ZSTD && o->archive_codec != TAPE_ARCHIVE_SNAPPY) {
        return error_set(error, TAPE_INVALID,
                         "archive_codec is %d: it must be one of "
                         "tape_archive_codec",
                         (int)o->archive_codec);
    }
    if (o->day_begins_ns < 0 || o->day_begins_ns > DAY_BEGINS_MAX_NS) {
        return error_set(error, TAPE_INVALID,
                         "day_begins_ns is %" PRId64 ": it must be from 0 to 23 hours",
                         o->day_begins_ns);
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        if (o->archive_keep_ns[id] < 0) {
            return error_set(error, TAPE_INVALID,
                             "archive_keep_ns of %s is %" PRId64 ": it must not be negative",
                             record_table(id)->name, o->archive_keep_ns[id]);
        }
    }
    return TAPE_OK;
}

static tape_status open_check_options(const tape_open_options *o, tape_error *error) {
    if (o->window_bytes < WINDOW_BYTES_MIN || (o->window_bytes & (o->window_bytes - 1)) != 0) {
        return error_set(error, TAPE_INVALID,
                         "window_bytes is %" PRIu64 ": it must be a power of two from %" PRIu64
                         " on",
                         o->window_bytes, (uint64_t)WINDOW_BYTES_MIN);
    }
    tape_status status = check_at_least("memtable_bytes", o->memtable_bytes, MIB(1), error);
    if (status == TAPE_OK) {
        status = check_at_least("table_bytes", o->table_bytes, MIB(1), error);
    }
    if (status == TAPE_OK) {
        status = check_at_least("mapped_files_max", o->mapped_files_max, 1, error);
    }
    if (status != TAPE_OK) {
        return status;
    }
    if (!(o->upper_share >= UPPER_SHARE_MIN && o->upper_share <= UPPER_SHARE_MAX)) {
        return error_set(error, TAPE_INVALID, "upper_share is %g: it must be a share from %g to %g",
                         o->upper_share, UPPER_SHARE_MIN, UPPER_SHARE_MAX);
    }
    if (o->pack_level < 0 || o->pack_level >= STORE_LEVELS) {
        return error_set(error, TAPE_INVALID,
                         "pack_level is %d: it must be a level, 1 to %d, or 0 to pack nothing",
                         o->pack_level, STORE_LEVELS - 1);
    }
    if ((int)o->pack < TAPE_PACK_NONE || (int)o->pack > TAPE_PACK_ZSTD) {
        return error_set(error, TAPE_INVALID, "pack is %d: it must be one of tape_pack",
                         (int)o->pack);
    }
    if (!(o->background_cpu >= BACKGROUND_CPU_MIN && o->background_cpu <= BACKGROUND_CPU_MAX)) {
        return error_set(error, TAPE_INVALID,
                         "background_cpu is %g: it must be a number of cores from %g to %d",
                         o->background_cpu, BACKGROUND_CPU_MIN, BACKGROUND_CPU_MAX);
    }
    status = check_archive(o, error);
    return status == TAPE_OK ? check_keep(o, error) : status;
}

_Static_assert((int)TAPE_PACK_NONE == (int)SSTABLE_PLAIN &&
                   (int)TAPE_PACK_LZ4 == (int)SSTABLE_LZ4 &&
                   (int)TAPE_PACK_ZSTD == (int)SSTABLE_ZSTD,
               "the public names are the format's");

static tape_status open_store(tape *db, const journal_identity *identity, tape_error *error) {
    const tape_open_options *o = &db->options;
    char *dir = mem_printf("%s/store", db->dir);
    store_options options = {
        .disk = db->disk,
        .dir = dir,
        .store_id = identity->store_id,
        .memtable_bytes = o->memtable_bytes,
        .table_bytes = o->table_bytes,
        .upper_share = o->upper_share,
        .compact_threads = db->background ? (uint32_t)os_cpu_count() : 1,
        .pack_level = o->pack == TAPE_PACK_NONE ? 0 : (uint32_t)o->pack_level,
        .pack_codec = (uint16_t)o->pack,
        .mapped_max = o->mapped_files_max,
    };
    _Static_assert(sizeof options.keep_ns == sizeof o->keep_ns, "by table id");
    memcpy(options.keep_ns, o->keep_ns, sizeof options.keep_ns);
    tape_status status = store_open(&db->store, &options, error);
    free(dir);
    return status;
}

static tape_status open_parts(tape *db, tape_error *error) {
    journal_identity identity;
    tape_status status = journal_identity_read(db->disk, db->dir, &identity, error);
    if (status == TAPE_OK) {
        status = open_store(db, &identity, error);
    }
    if (status != TAPE_OK) {
        return status;
    }
    db->reserve_bytes = db->options.reserve_bytes == RESERVE_BYTES_DEFAULT
                            ? RESERVE_STORE_BYTES + 2 * identity.segment_bytes
                            : db->options.reserve_bytes;
    journal_options options = {
        .disk = db->disk,
        .root = db->dir,
        .writer_cpu = db->options.journal_cpu,
        .sync = db->background ? JOURNAL_SYNC_PROBE : JOURNAL_SYNC_FDATASYNC,
        .background = db->background,
        .checkpoint_seq = store_flushed_seq(db->store),
        .reserve_bytes = db->reserve_bytes,
    };
    if (!db->options.read_only) {
        status = window_size(db, &options.window_bytes, error);
    }
    if (status == TAPE_OK) {
        status = journal_open(&db->journal, &options, &db->recovery, error);
    }
    if (status == TAPE_OK) {
        status = engine_archive_open(db, identity.store_id, error);
    }
    if (status == TAPE_OK) {
        cursor_sink sink = {store_sink_apply, store_sink_position, store_sink_relieve, db};
        status = cursor_open(&db->store_cursor, db->journal, sink, error);
    }
    return status;
}

tape_status engine_open(os_disk *disk, const char *dir, const tape_open_options *options,
                        bool background, tape **out, tape_error *error) {
    *out = NULL;
    journal_identity identity;
    tape_status status = journal_identity_read(disk, dir, &identity, error);
    if (status != TAPE_OK) {
        return status;
    }
    tape *db = mem_zalloc(sizeof *db);
    db->disk = disk;
    db->dir = mem_strdup(dir);
    db->options = *options;
    db->background = background;
    db->opened_ns = clock_realtime_ns();
    (void)pthread_mutex_init(&db->unique_mutex, NULL);
    (void)pthread_mutex_init(&db->columns_mutex, NULL);
    (void)pthread_mutex_init(&db->flush_mutex, NULL);
    (void)pthread_mutex_init(&db->archive_mutex, NULL);
    (void)pthread_mutex_init(&db->pin_mutex, NULL);
    (void)pthread_mutex_init(&db->archive_failure_mutex, NULL);
    char *lock_path = mem_printf("%s/LOCK", dir);
    int64_t owner = 0;
    status = os_lock_take(disk, lock_path, &db->lock, &owner, error);
    free(lock_path);
    if (status == TAPE_OK) {
        status = open_parts(db, error);
    }
    if (status == TAPE_OK && background) {
        status = engine_start(db, error);
    }
    if (status != TAPE_OK) {
        tape_status ignored = engine_destroy(db, NULL);
        (void)ignored;
        return status;
    }
    *out = db;
    return TAPE_OK;
}

tape_status tape_open(const char *dir, const tape_open_options *options, tape **out,
                      tape_error *error) {
    tape_open_options taken;
    tape_open_options_init(&taken);
    options_take(&taken, sizeof taken, options);
    *out = NULL;
    tape_status status = open_check_options(&taken, error);
    return status == TAPE_OK ? engine_open(os_disk_linux(), dir, &taken, true, out, error) : status;
}

/* --- closing --- */

void engine_on_close(tape *db, void (*stop)(void *), void *context) {
    ASSERT(db->on_close == NULL);
    db->on_close = stop;
    db->on_close_context = context;
}

const char *engine_dir(const tape *db) {
    return db->dir;
}

tape_status engine_destroy(tape *db, tape_error *error) {
    tape_status status = TAPE_OK;
    engine_stop(db);
    query_close(&db->query);
    if (db->columns_cursor.j != NULL) {
        cursor_close(&db->columns_cursor);
    }
    engine_archive_close(db);
    columns_close(&db->columns);
    cursor_close(&db->store_cursor);
    status = journal_close(&db->journal, error);
    store_close(&db->store);
    os_lock_release(&db->lock);
    (void)pthread_mutex_destroy(&db->unique_mutex);
    (void)pthread_mutex_destroy(&db->columns_mutex);
    (void)pthread_mutex_destroy(&db->flush_mutex);
    (void)pthread_mutex_destroy(&db->archive_mutex);
    (void)pthread_mutex_destroy(&db->pin_mutex);
    (void)pthread_mutex_destroy(&db->archive_failure_mutex);
    buffer_deinit(&db->unique_scratch);
    free(db->dir);
    free(db);
    return status;
}

tape_status tape_close(tape **handle, tape_error *error) {
    tape *db = *handle;
    *handle = NULL;
    if (db == NULL) {
        return TAPE_OK;
    }
    if (db->on_close != NULL) {
        db->on_close(db->on_close_context);
    }
    tape_status status = TAPE_OK;
    store_stats stats;
    store_stats_read(db->store, &stats);
    /* Only to save the next open some replay: everything is in the journal in any case. */
    if (!db->options.read_only && stats.memtable_bytes > CLOSE_FLUSH_BYTES &&
        !journal_is_short_of_space(db->journal)) {
        tape_error full;
        status = tape_checkpoint(db, &full);
        if (status == TAPE_NO_SPACE) {
            log_line(LOG_WARN, "the memtables of %s could not be written: %s", db->dir, full.text);
            status = TAPE_OK;
        } else if (status != TAPE_OK && error != NULL) {
            *error = full;
        }
    }
    tape_status closed = engine_destroy(db, status == TAPE_OK ? error : NULL);
    return status != TAPE_OK ? status : closed;
}

/* --- append --- */

void tape_append_options_init(tape_append_options *options) {
    *options = (tape_append_options){
        .size_bytes = sizeof *options, .level = TAPE_WRITTEN, .timeout_ns = APPEND_TIMEOUT_NS};
}

static tape_status append_validate(const tape_record *records, size_t count, tape_error *error) {
    for (size_t i = 0; i < count; i++) {
        const tape_table_info *table = record_table(records[i].table);
        tape_status status = TAPE_OK;
        if (UNLIKELY(table == NULL)) {
            status =
                error_set(error, TAPE_INVALID, "there is no table with id %u", records[i].table);
        } else if (UNLIKELY(records[i].size_bytes != table->size_bytes)) {
            status = error_set(error, TAPE_INVALID,
                               "%s: the struct has %u bytes, this tape's has %u: compile with its "
                               "headers",
                               table->name, records[i].size_bytes, table->size_bytes);
        } else {
            status = record_validate(table, records[i].data, error);
        }
        if (UNLIKELY(status != TAPE_OK)) {
            if (count > 1) {
                error_prefix(error, "record %zu of %zu", i + 1, count);
            }
            return status;
        }
    }
    return TAPE_OK;
}

tape_status engine_append(tape *db, const tape_record *records, size_t count,
                          const tape_append_options *options, tape_append_result *result,
                          tape_error *error) {
    uint64_t first = 0;
    tape_status status =
        journal_append(db->journal, records, count, options->timeout_ns, &first, error);
    if (UNLIKELY(status != TAPE_OK)) {
        return status;
    }
    if (result != NULL) {
        result->first_seq = first;
        result->last_seq = first + count - 1;
    }
    if (options->level != TAPE_WRITTEN) {
        status = journal_wait(db->journal, first + count - 1, options->level,
                              clock_deadline_ns(options->timeout_ns), error);
    }
    return status;
}

tape_status tape_append(tape *db, const tape_record *records, size_t count,
                        const tape_append_options *options, tape_append_result *result,
                        tape_error *error) {
    static const tape_append_options defaults = {sizeof(tape_append_options), TAPE_WRITTEN, 0,
                                                 APPEND_TIMEOUT_NS};
    tape_append_options taken = defaults;
    if (options != NULL && options->size_bytes != sizeof taken) {
        options_take(&taken, sizeof taken, options);
        options = &taken;
    }
    options = options == NULL ? &defaults : options;
    if (result != NULL) {
        *result = (tape_append_result){0};
    }
    if (UNLIKELY(count == 0)) {
        return error_set(error, TAPE_INVALID, "an append of no records");
    }
    tape_status status = append_validate(records, count, error);
    if (UNLIKELY(status != TAPE_OK)) {
        return status;
    }
    if ((options->flags & TAPE_UNIQUE) != 0) {
        return engine_append_unique(db, records, count, options, result, error);
    }
    return engine_append(db, records, count, options, result, error);
}

tape_status tape_wait(tape *db, uint64_t seq, tape_level level, int64_t timeout_ns,
                      tape_error *error) {
    return journal_wait(db->journal, seq, level, clock_deadline_ns(timeout_ns), error);
}
