/* Looking at a store: figures, and verification. */
#include "engine/engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

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
    stats.durable = journal_seq(db->journal, TAPE_DURABLE);
    stats.committed = journal_seq(db->journal, TAPE_COMMITTED);
    stats.written = journal_seq(db->journal, TAPE_WRITTEN);
    stats.applied = cursor_seq(&db->store_cursor);
    stats.oldest = journal_oldest_seq(db->journal);
    stats.epoch = js.epoch;
    stats.journal_bytes = js.segment_bytes;
    stats.store_bytes = ss.table_bytes;
    stats.window_bytes = js.window_bytes;
    stats.memtable_bytes = ss.memtable_bytes;
    if (atomic_load_explicit(&db->columns_live, memory_order_acquire)) {
        stats.queryable = cursor_seq(&db->columns_cursor);
        stats.columns_bytes = columns_bytes(db->columns);
        for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
            stats.rows[id] = columns_rows(db->columns, id);
        }
    }
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

/* Every record of the journal that the store's files should hold is there, byte for byte. */
static tape_status verify_cross(tape *db, findings *f, tape_error *error) {
    journal_reader *reader = NULL;
    uint64_t flushed = store_flushed_seq(db->store);
    tape_status status = journal_reader_attach(&reader, db->journal, TAPE_DURABLE, 0, error);
    uint8_t *found = mem_alloc(KIB(4));
    uint8_t *wanted = mem_alloc(KIB(4));
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
            uint8_t key[RECORD_KEY_BYTES_MAX];
            size_t size = record_key(view->table, view->payload, key);
            tape_error local;
            tape_status got =
                store_get(db->store, view->table, key, size, view->seq, found, NULL, &local);
            record_upgrade(view->table, view->version, view->payload, view->size, wanted);
            if (got == TAPE_OK && memcmp(found, wanted, view->table->size_bytes) != 0) {
                got = error_set(&local, TAPE_CORRUPT, "the store has another row than the journal");
            }
            if (got != TAPE_OK) {
                error_prefix(&local, "store and journal differ at seq %" PRIu64 " (%s)", view->seq,
                             view->table->name);
                local.status = TAPE_CORRUPT;
                findings_add(f, &local);
            }
        }
    }
    journal_reader_close(&reader);
    free(found);
    free(wanted);
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
    if (records != NULL) {
        *records = journal_records;
    }
    if (files != NULL) {
        *files = journal_files + store_files;
    }
    return verify_result(&f, status, error);
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
    if (records != NULL) {
        *records = journal_records;
    }
    if (files != NULL) {
        *files = journal_files + store_files;
    }
    return verify_result(&f, TAPE_OK, error);
}
