/* scrub.c: reading table files again from the device, one after the other, so that rot is found
 * while other copies are still good. */
#include "store/store_internal.h"

/* The file with the lowest number above `after`, or with the lowest of all. */
static table_file *next_file(const file_set *files, uint64_t after) {
    table_file *next = NULL;
    table_file *first = NULL;
    for (size_t t = 0; t < STORE_TABLES; t++) {
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            const table_level *level = &files->trees[t].levels[l];
            for (size_t i = 0; i < level->count; i++) {
                table_file *f = level->files[i];
                if (first == NULL || f->info.number < first->info.number) {
                    first = f;
                }
                if (f->info.number > after &&
                    (next == NULL || f->info.number < next->info.number)) {
                    next = f;
                }
            }
        }
    }
    return next != NULL ? next : first;
}

static void log_damage(void *context, const tape_error *finding) {
    store *s = context;
    atomic_fetch_add(&s->counters.scrub_findings, 1);
    log_line(LOG_ERROR, "found by scrubbing: %s", finding->text);
}

/* Finds out which parts of a damaged file it is. */
static void locate(store *s, const sstable_info *info, const tape_error *finding) {
    sstable *t = NULL;
    tape_error error;
    uint64_t before = atomic_load(&s->counters.scrub_findings);
    if (sstable_open(&t, &s->place, info->number, info, OS_MAP_SEQUENTIAL, &error) != TAPE_OK) {
        log_damage(s, &error);
        return;
    }
    uint64_t records = 0;
    (void)sstable_verify(t, log_damage, s, &records);
    sstable_close(&t);
    if (atomic_load(&s->counters.scrub_findings) == before) {
        log_damage(s, finding); /* what is cached is sound, what is on the device is not */
    }
}

typedef struct scrub_beat {
    store *store;
    store_beat beat;
    uint64_t done;
    uint64_t total;
} scrub_beat;

static bool beat_on(void *context, uint64_t bytes) {
    scrub_beat *b = context;
    b->done += bytes;
    atomic_fetch_add(&b->store->counters.scrubbed_bytes, bytes);
    return b->beat.beat == NULL || b->beat.beat(b->beat.context, bytes, b->done, b->total);
}

tape_status store_scrub(store *s, store_beat beat, bool *worked, tape_error *error) {
    tape_error local = {0};
    tape_status status = TAPE_OK;
    pthread_mutex_lock(&s->scrub_lock);
    file_set *files = files_hold(s);
    table_file *f = next_file(files, s->scrub_number);
    if (f != NULL) {
        file_hold(s, f);
    }
    files_release(s, &files);
    *worked = f != NULL;
    if (f != NULL) {
        scrub_beat b = {.store = s, .beat = beat, .total = f->info.size_bytes};
        status = sstable_scrub(&s->place, &f->info, beat_on, &b, &local);
        if (status != TAPE_CANCELLED) {
            s->scrub_number = f->info.number;
            atomic_fetch_add(&s->counters.scrubbed_files, 1);
        }
        if (status == TAPE_CORRUPT) {
            locate(s, &f->info, &local);
        }
        file_release(s, f);
        files_collect(s);
    }
    pthread_mutex_unlock(&s->scrub_lock);
    if (status != TAPE_OK && error != NULL) {
        *error = local;
    }
    return status;
}
