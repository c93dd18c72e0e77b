/* visit.c: every record of the table files, once, in seq order.
 *
 * The files hold them in key order. All places are noted, sorted by seq, then visited: 32 bytes of
 * memory per record, and a copy of what lies in packed files. */
#include "store/store_internal.h"

#include <stdlib.h>

typedef struct place {
    uint64_t seq;
    const void *payload;
    int64_t append_ts;
    uint32_t size;
    uint16_t version;
    uint8_t flags;
    uint8_t table;
} place;

typedef struct visit_state {
    store *store;
    place *places;
    size_t count;
    size_t capacity;
    arena copies;
    /* Every table stays open until the end: places point into it. */
    table_file **files;
    sstable **tables;
    size_t open_count;
} visit_state;

static tape_status note_record(visit_state *v, const record_view *r, bool packed,
                               tape_error *error) {
    if (v->count == v->capacity) {
        v->capacity = v->capacity == 0 ? 4096 : 2 * v->capacity;
        v->places = mem_realloc(v->places, v->capacity * sizeof *v->places);
    }
    const void *payload = r->payload;
    if (packed) {
        void *copy = arena_alloc(&v->copies, r->size, 8);
        if (copy == NULL) {
            return error_set(error, TAPE_NO_MEMORY,
                             "out of memory while the records of the table files are put in order");
        }
        memcpy(copy, r->payload, r->size);
        payload = copy;
    }
    v->places[v->count++] = (place){.seq = r->seq,
                                    .payload = payload,
                                    .append_ts = r->append_ts,
                                    .size = r->size,
                                    .version = r->version,
                                    .flags = (uint8_t)r->flags,
                                    .table = (uint8_t)r->table->id};
    return TAPE_OK;
}

static tape_status note_file(visit_state *v, table_file *f, tape_error *error) {
    sstable *t = NULL;
    tape_status status = table_acquire(v->store, f, &t, error);
    if (status != TAPE_OK) {
        return status;
    }
    v->files[v->open_count] = f;
    v->tables[v->open_count++] = t;
    sstable_cursor c;
    sstable_cursor_init(&c, t);
    status = sstable_cursor_seek(&c, (slice){0}, UINT64_MAX, error);
    while (status == TAPE_OK && c.valid) {
        status = note_record(v, &c.record, f->info.codec != SSTABLE_PLAIN, error);
        if (status == TAPE_OK) {
            status = sstable_cursor_next(&c, error);
        }
    }
    sstable_cursor_deinit(&c);
    return status;
}

static tape_status note_all(visit_state *v, const file_set *files, tape_error *error) {
    size_t count = 0;
    for (size_t t = 0; t < STORE_TABLES; t++) {
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            count += files->trees[t].levels[l].count;
        }
    }
    v->files = mem_alloc((count + 1) * sizeof(table_file *));
    v->tables = mem_alloc((count + 1) * sizeof(sstable *));
    tape_status status = TAPE_OK;
    for (size_t t = 0; t < STORE_TABLES; t++) {
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            const table_level *level = &files->trees[t].levels[l];
            for (size_t i = 0; i < level->count && status == TAPE_OK; i++) {
                status = note_file(v, level->files[i], error);
            }
        }
    }
    return status;
}

static int compare_seq(const void *a, const void *b) {
    uint64_t x = ((const place *)a)->seq;
    uint64_t y = ((const place *)b)->seq;
    return (x > y) - (x < y);
}

tape_status store_visit_flushed(store *s, bool (*visit)(void *context, const record_view *record),
                                void *context, tape_error *error) {
    visit_state v = {.store = s};
    arena_init(&v.copies, MIB(1));
    store_version *version = version_pin(s);
    tape_status status = note_all(&v, version->files, error);
    if (status == TAPE_OK && v.count > 1) {
        qsort(v.places, v.count, sizeof *v.places, compare_seq);
    }
    bool go_on = status == TAPE_OK;
    for (size_t i = 0; i < v.count && go_on; i++) {
        const place *p = &v.places[i];
        if (i > 0 && p->seq == v.places[i - 1].seq) {
            continue; /* a copy, made by a compaction that is under way */
        }
        record_view record = {
            .table = record_table(p->table),
            .payload = p->payload,
            .size = p->size,
            .version = p->version,
            .flags = p->flags,
            .seq = p->seq,
            .ts = (int64_t)load_u64((const uint8_t *)p->payload + 8),
            .append_ts = p->append_ts,
        };
        go_on = visit(context, &record);
    }
    for (size_t i = 0; i < v.open_count; i++) {
        table_done(v.files[i], &v.tables[i]);
    }
    version_unpin(version);
    arena_deinit(&v.copies);
    free(v.places);
    free(v.files);
    free(v.tables);
    return status;
}
