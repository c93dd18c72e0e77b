/* Looking at a store: figures, and verification. */
#include "engine/engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static void stats_of_store(tape_stats *out, const store_stats *ss) {
    uint64_t written = ss->flush_written_bytes + ss->compact_written_bytes;
    out->store_bytes = ss->table_bytes;
    out->memtable_bytes = ss->memtable_bytes;
    out->table_files = ss->table_files;
    out->mapped_files = ss->mapped_files;
    _Static_assert(COUNT_OF(out->level_files) == STORE_LEVELS, "levels of the public struct");
    memcpy(out->level_files, ss->level_files, sizeof out->level_files);
    memcpy(out->level_bytes, ss->level_bytes, sizeof out->level_bytes);
    out->space_amplification = ss->space_amplification;
    out->write_amplification =
        ss->flushed_payload_bytes == 0 ? 0 : (double)written / (double)ss->flushed_payload_bytes;
    out->compaction_score = ss->score;
    out->flushed_bytes = ss->flushed_payload_bytes;
    out->flush_written_bytes = ss->flush_written_bytes;
    out->compact_read_bytes = ss->compact_read_bytes;
    out->compact_written_bytes = ss->compact_written_bytes;
    out->compactions = ss->compactions;
    out->compact_moves = ss->compact_moves;
    out->dropped_records = ss->dropped_records;
    out->compact_ns = ss->compact_ns;
    out->stall_ns = ss->stall_ns;
    out->scrubbed_bytes = ss->scrubbed_bytes;
    out->scrub_findings = ss->scrub_findings;
    out->damaged_reads = ss->damaged_reads;
    out->views = ss->pins;
    out->gets = ss->gets;
    out->filter_negatives = ss->bloom_negatives;
    out->filter_false_positives = ss->bloom_false_positives;
}

/* Rows of the archive and of the columns after it: both as of one view, so that none counts twice.
 * Whether there are columns. */
static bool stats_of_sql(tape *db, tape_stats *out) {
    archive_stats as;
    if (atomic_load_explicit(&db->query_live, memory_order_acquire)) {
        query_stats qs;
        query_stats_read(db->query, &qs);
        out->queries = qs.statements;
        out->queries_from_store = qs.from_store;
        out->queries_from_cache = qs.from_cache;
        out->queries_running = qs.running;
        out->queries_waiting = qs.waiting;
    }
    bool live = atomic_load_explicit(&db->columns_live, memory_order_acquire);
    columns_pin *pin = live ? columns_pin_open(db->columns) : NULL;
    archive_stats_read(db->archive, &as);
    out->archived = as.seq;
    out->archive_bytes = as.bytes;
    out->archive_files = as.files;
    out->archive_takes = as.takes;
    out->archive_merges = as.merges;
    out->archive_expired_files = as.expired_files;
    out->archive_findings = as.scrub_findings;
    out->archive_ns = as.take_ns + as.merge_ns;
    if (live) {
        out->queryable = columns_seq(db->columns);
        out->columns_bytes = columns_bytes(db->columns);
        out->columns_lag_ns = atomic_load_explicit(&db->columns_lag_ns, memory_order_relaxed);
        for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
            out->rows[id] = as.rows[id] + columns_row_after(db->columns, id, out->queryable) -
                            columns_row_after(db->columns, id, as.seq);
        }
    }
    columns_pin_close(&pin);
    return live;
}

tape_status tape_stats_read(tape *db, bool wait_queryable, tape_stats *out, tape_error *error) {
    tape_stats stats = {.size_bytes = out->size_bytes};
    journal_stats js;
    store_stats ss;
    tape_status status = TAPE_OK;
    stats.written = journal_seq(db->journal, TAPE_WRITTEN);
    if (wait_queryable) {
        status = cursor_reach(&db->store_cursor, stats.written, INT64_MAX, error);
        if (status == TAPE_OK) {
            status = engine_columns_reach(db, stats.written, INT64_MAX, error);
        }
    }
    journal_stats_read(db->journal, &js);
    store_stats_read(db->store, &ss);
    /* Who follows is read before whom it follows, so that none seems to be ahead. */
    bool live = stats_of_sql(db, &stats);
    stats.applied = cursor_seq(&db->store_cursor);
    stats.committed = journal_seq(db->journal, TAPE_COMMITTED);
    stats.durable = journal_seq(db->journal, TAPE_DURABLE);
    stats.written = journal_seq(db->journal, TAPE_WRITTEN);
    stats.columns_lag = live ? stats.written - stats.queryable : 0;
    stats.oldest = journal_oldest_seq(db->journal);
    stats.epoch = js.epoch;
    stats.journal_bytes = js.segment_bytes;
    stats.window_bytes = js.window_bytes;
    stats_of_store(&stats, &ss);
    /* The archive's own pin is no view. */
    stats.views -= stats.views > 0 && archive_seq(db->archive) > 0;
    stats.sync_floor_ns = js.sync_floor_ns;
    memcpy(stats.sync_method, js.sync_method, sizeof stats.sync_method);
    stats.busy = js.busy;
    stats.syncs = js.syncs;
    stats.recovered_records = db->recovery.records;
    stats.recovered_from_window = db->recovery.records_from_window;
    stats.cut_bytes = db->recovery.cut_bytes;
    stats.recovery_ns = db->recovery.duration_ns;
    stats.owner_pid = getpid();
    size_t size = out->size_bytes < sizeof stats ? out->size_bytes : sizeof stats;
    memcpy(out, &stats, size);
    return status;
}

/* --- verify --- */

typedef struct findings {
    void (*damage)(void *context, const tape_error *finding);
    void *context;
    uint64_t count;
} findings;

static void findings_add(void *context, const tape_error *finding) {
    findings *f = context;
    f->count++;
    if (f->damage != NULL) {
        f->damage(f->context, finding);
    }
}

typedef struct cross_check {
    tape *db;
    _Alignas(8) uint8_t found[TAPE_RECORD_BYTES_MAX];
    _Alignas(8) uint8_t wanted[TAPE_RECORD_BYTES_MAX];
} cross_check;

/* The row of an entity, as of the end of the store's files: for versions that cannot be asked for
 * any more, because others of their table were let go. The newest of a key always stays. */
static tape_status cross_newest(cross_check *c, const record_view *view, slice key,
                                tape_error *error) {
    store_moment end = {store_flushed_seq(c->db->store), 0};
    tape_status got = store_get(c->db->store, &end, view->table, key, c->found, NULL, error);
    if (got == TAPE_TOO_OLD) { /* a compaction or flush was faster: the newest there is */
        end.at = UINT64_MAX;
        got = store_get(c->db->store, &end, view->table, key, c->found, NULL, error);
    }
    if (got == TAPE_TOO_OLD) { /* versions were let go for records that nobody has replayed yet */
        memcpy(c->found, c->wanted, view->table->size_bytes);
        return TAPE_OK;
    }
    uint64_t seq = got == TAPE_OK ? load_u64(c->found) : 0;
    if (got == TAPE_OK && seq > view->seq) {
        memcpy(c->found, c->wanted, view->table->size_bytes); /* its own turn comes */
    }
    if (got == TAPE_OK && seq < view->seq) {
        got = error_set(error, TAPE_CORRUPT,
                        "the store's newest row of that key is of seq %" PRIu64, seq);
    }
    return got;
}

/* Whether the store has the record, byte for byte, or may do without it. */
static tape_status cross_one(cross_check *c, const record_view *view, tape_error *error) {
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    slice key = {bytes, record_key(view->table, view->payload, bytes)};
    store_moment moment = {view->seq, 0};
    record_upgrade(view->table, view->version, view->payload, view->size, c->wanted);
    tape_status got = store_get(c->db->store, &moment, view->table, key, c->found, NULL, error);
    if (got == TAPE_TOO_OLD) {
        got = cross_newest(c, view, key, error);
    } else if ((got == TAPE_NOT_FOUND || (got == TAPE_OK && load_u64(c->found) < view->seq)) &&
               store_may_lack(c->db->store, view)) {
        return TAPE_OK;
    }
    if (got == TAPE_OK && memcmp(c->found, c->wanted, view->table->size_bytes) != 0) {
        got = error_set(error, TAPE_CORRUPT, "the store has another row than the journal");
    }
    return got;
}

/* Every record of the journal that the store's files should hold is there. */
static tape_status verify_cross(tape *db, findings *f, tape_error *error) {
    journal_reader *reader = NULL;
    uint64_t flushed = store_flushed_seq(db->store);
    tape_status status = journal_reader_attach(&reader, db->journal, TAPE_DURABLE, 0, error);
    cross_check *c = mem_zalloc(sizeof *c);
    c->db = db;
    size_t count = 1;
    while (status == TAPE_OK && count > 0) {
        record_view views[CURSOR_BATCH];
        status = journal_reader_next(reader, views, CURSOR_BATCH, &count, error);
        for (size_t i = 0; status == TAPE_OK && i < count; i++) {
            const record_view *view = &views[i];
            if (view->seq > flushed) {
                count = 0;
                break;
            }
            tape_error local;
            if (cross_one(c, view, &local) != TAPE_OK) {
                error_prefix(&local, "store and journal differ at seq %" PRIu64 " (%s)", view->seq,
                             view->table->name);
                local.status = TAPE_CORRUPT;
                findings_add(f, &local);
            }
        }
    }
    journal_reader_close(&reader);
    free(c);
    return status;
}

static tape_status verify_result(const findings *f, tape_status status, tape_error *error) {
    if (f->count > 0) {
        return error_set(error, TAPE_CORRUPT, "%" PRIu64 " damaged places were found", f->count);
    }
    return status;
}

tape_status tape_verify(tape *db, void (*damage)(void *context, const tape_error *finding),
                        void *context, uint64_t *records, uint64_t *files, tape_error *error) {
    findings f = {.damage = damage, .context = context};
    uint64_t journal_records = 0;
    uint64_t store_records = 0;
    uint64_t journal_files = 0;
    uint64_t store_files = 0;
    tape_status status = TAPE_OK;
    if (!db->options.read_only) {
        uint64_t written = journal_seq(db->journal, TAPE_WRITTEN);
        status = journal_wait(db->journal, written, TAPE_DURABLE, INT64_MAX, error);
    }
    if (status == TAPE_OK) {
        status = journal_verify(db->disk, db->dir, findings_add, &f, &journal_files,
                                &journal_records, error);
    }
    if (status == TAPE_OK || status == TAPE_CORRUPT) {
        tape_error local;
        tape_status stored =
            store_verify(db->store, findings_add, &f, &store_files, &store_records, &local);
        if (stored != TAPE_OK && stored != TAPE_CORRUPT) {
            status = stored;
        }
    }
    if (status == TAPE_OK && f.count == 0) {
        status = verify_cross(db, &f, error);
    }
    if (status == TAPE_OK || status == TAPE_CORRUPT) {
        tape_error local;
        uint64_t archived = 0;
        tape_status read =
            archive_verify(db->archive, findings_add, &f, &store_files, &archived, &local);
        if (read != TAPE_OK && read != TAPE_CORRUPT) {
            status = read;
            if (error != NULL) {
                *error = local;
            }
        }
    }
    if (records != NULL) {
        *records = journal_records;
    }
    if (files != NULL) {
        *files = journal_files + store_files;
    }
    return verify_result(&f, status, error);
}

static void verify_archive_dir(os_disk *disk, const char *dir, const uint8_t *store_id, findings *f,
                               uint64_t *files) {
    char *archive_dir = mem_printf("%s/archive", dir);
    archive_options options = {.disk = disk, .dir = archive_dir, .store_id = store_id};
    archive *a = NULL;
    tape_error error = {0};
    uint64_t before = f->count;
    uint64_t records = 0;
    tape_status status = archive_open(&a, &options, &error);
    if (status == TAPE_OK) {
        status = archive_verify(a, findings_add, f, files, &records, &error);
    }
    if (status != TAPE_OK && f->count == before) {
        findings_add(f, &error);
    }
    archive_close(&a);
    free(archive_dir);
}

tape_status tape_verify_dir(const char *dir,
                            void (*damage)(void *context, const tape_error *finding), void *context,
                            uint64_t *records, uint64_t *files, tape_error *error) {
    findings f = {.damage = damage, .context = context};
    uint64_t journal_records = 0;
    uint64_t store_records = 0;
    uint64_t journal_files = 0;
    uint64_t store_files = 0;
    os_disk *disk = os_disk_linux();
    journal_identity identity;
    tape_status status = journal_identity_read(disk, dir, &identity, error);
    if (status == TAPE_CORRUPT && error != NULL) {
        findings_add(&f, error);
        return verify_result(&f, status, error);
    }
    if (status != TAPE_OK) {
        return status;
    }
    tape_error local = {0};
    status = journal_verify(disk, dir, findings_add, &f, &journal_files, &journal_records, &local);
    if (status != TAPE_OK && f.count == 0) {
        findings_add(&f, &local);
    }
    char *store_dir = mem_printf("%s/store", dir);
    store_options options = {
        .disk = disk, .dir = store_dir, .store_id = identity.store_id, .read_only = true};
    store *s = NULL;
    status = store_open(&s, &options, &local);
    if (status == TAPE_OK) {
        status = store_verify(s, findings_add, &f, &store_files, &store_records, &local);
    } else {
        findings_add(&f, &local);
    }
    store_close(&s);
    free(store_dir);
    verify_archive_dir(disk, dir, identity.store_id, &f, &store_files);
    if (records != NULL) {
        *records = journal_records;
    }
    if (files != NULL) {
        *files = journal_files + store_files;
    }
    return verify_result(&f, TAPE_OK, error);
}
