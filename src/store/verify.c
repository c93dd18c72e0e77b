/* verify.c: reads everything the store has on disk, anew and by name. */
#include "store/store_internal.h"

#include <inttypes.h>

typedef struct verify_state {
    store *store;
    void (*damage)(void *context, const tape_error *finding);
    void *context;
    uint64_t findings;
    uint64_t files;
    uint64_t records;
} verify_state;

static void report(verify_state *v, const tape_error *finding) {
    v->findings++;
    v->damage(v->context, finding);
}

/* The manifest on disk must hold at least what the store knew before it was read. Frames, numbering
 * and that tables follow each other are checked by loading it. */
static void verify_manifest(verify_state *v, uint64_t flushed_seq) {
    store *s = v->store;
    manifest m;
    tape_error finding;
    if (manifest_load(&m, &s->place, &finding) != TAPE_OK) {
        report(v, &finding);
        return;
    }
    v->files += m.present;
    if (m.flushed_seq < flushed_seq || (!m.present && !s->options.read_only)) {
        (void)error_set_file(&finding, TAPE_CORRUPT, m.path, m.end,
                             "%s: ends at offset %" PRIu64 " with seq %" PRIu64
                             ", expected seq %" PRIu64 ": its last edit is damaged or gone",
                             m.path, m.end, m.flushed_seq, flushed_seq);
        report(v, &finding);
    }
    manifest_deinit(&m);
}

/* Opened anew, to see that it is there under its name; a reader beside the owner verifies what it
 * has opened, because the owner may have removed it since. */
static void verify_table(verify_state *v, table_file *f) {
    store *s = v->store;
    sstable *t = NULL;
    tape_error finding;
    bool beside_owner = s->options.read_only;
    v->files++;
    tape_status status = beside_owner ? table_acquire(s, f, &t, &finding)
                                      : sstable_open(&t, &s->place, f->info.number, &f->info,
                                                     OS_MAP_SEQUENTIAL, &finding);
    if (status != TAPE_OK) {
        report(v, &finding);
        return;
    }
    v->findings += sstable_verify(t, v->damage, v->context, &v->records);
    if (beside_owner) {
        table_done(f, &t);
    } else {
        sstable_close(&t);
    }
}

tape_status store_verify(store *s, void (*damage)(void *context, const tape_error *finding),
                         void *context, uint64_t *files, uint64_t *records, tape_error *error) {
    verify_state v = {.store = s, .damage = damage, .context = context};
    uint64_t flushed_seq = store_flushed_seq(s);
    store_version *version = version_pin(s);
    verify_manifest(&v, flushed_seq);
    for (size_t t = 0; t < STORE_TABLES; t++) {
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            const table_level *level = &version->files->trees[t].levels[l];
            for (size_t i = 0; i < level->count; i++) {
                verify_table(&v, level->files[i]);
            }
        }
    }
    version_unpin(version);
    if (files != NULL) {
        *files = v.files;
    }
    if (records != NULL) {
        *records = v.records;
    }
    if (v.findings > 0) {
        return error_set_file(error, TAPE_CORRUPT, s->dir, TAPE_NO_OFFSET,
                              "%s: %" PRIu64
                              " damages found; restore the store from a snapshot or a backup",
                              s->dir, v.findings);
    }
    return TAPE_OK;
}
