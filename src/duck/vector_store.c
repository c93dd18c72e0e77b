/* Duck: vectors of DuckDB's that show the columns' memory as it is, without a copy.
 *
 * The C interface makes such vectors from Arrow arrays only, at about the price of the copy. So
 * they are made once for a field of a whole chunk and kept for the scans to come, which refer to
 * them.
 *
 * Invariants
 *  V1 Only chunks whose rows are all published are shown: their values never change.
 *  V2 A run that is held is not freed. What is let go of by a scan while it is no longer kept is
 *     freed by the last to hold it.
 *  V3 Runs are kept by chunk number, and no number stands for two chunks: once the columns have
 *     dropped a chunk nobody asks for its runs, whatever its memory has become.
 * Threads: any; a mutex. What is shown must stay as long as somebody reads it: scans have a pin. */
#include "duck/vector_store.h"

#include <stdlib.h>

#define RUN_VECTORS (COLUMNS_CHUNK_ROWS / VECTOR_STORE_ROWS)
_Static_assert(COLUMNS_CHUNK_ROWS % VECTOR_STORE_ROWS == 0, "a chunk is whole vectors");
#define BUCKETS 1024u

struct vector_run {
    vector_run *next; /* of the bucket */
    uint64_t chunk;
    uint32_t field;
    uint16_t table;
    bool kept;
    uint32_t holders;
    duckdb_data_chunk vectors; /* column i shows rows i * VECTOR_STORE_ROWS of the chunk, and on */
};

struct vector_store {
    pthread_mutex_t mutex;
    duckdb_connection connection;
    duckdb_arrow_converted_schema schemas[3]; /* by format */
    vector_run *buckets[BUCKETS];
    uint64_t first_chunks[TAPE_TABLE_COUNT + 1]; /* below them nothing is kept */
    uint32_t count;
};

static const struct {
    tape_field_kind kind;
    const char *format;
} FORMATS[] = {{TAPE_FIELD_U64, "L"}, {TAPE_FIELD_TIME, "tsn:"}, {TAPE_FIELD_F64, "g"}};

static size_t format_of(tape_field_kind kind) {
    size_t n = 0;
    while (FORMATS[n].kind != kind) {
        n++;
        ASSERT(n < COUNT_OF(FORMATS));
    }
    return n;
}

/* --- Arrow arrays over memory of the columns --- */

typedef struct arrow_run {
    struct ArrowArray children[RUN_VECTORS];
    struct ArrowArray *pointers[RUN_VECTORS];
    const void *buffers[RUN_VECTORS][2];
    const void *no_buffer[1];
} arrow_run;

static void release_child(struct ArrowArray *array) {
    array->release = NULL;
}

static void release_run(struct ArrowArray *array) {
    free(array->private_data);
    array->release = NULL;
}

static void make_array(struct ArrowArray *out, const uint64_t *words) {
    arrow_run *run = mem_zalloc(sizeof *run);
    for (size_t n = 0; n < RUN_VECTORS; n++) {
        run->buffers[n][1] = words + n * VECTOR_STORE_ROWS;
        run->pointers[n] = &run->children[n];
        run->children[n] = (struct ArrowArray){.length = VECTOR_STORE_ROWS,
                                               .n_buffers = 2,
                                               .buffers = run->buffers[n],
                                               .release = release_child};
    }
    *out = (struct ArrowArray){.length = VECTOR_STORE_ROWS,
                               .n_buffers = 1,
                               .buffers = run->no_buffer,
                               .n_children = RUN_VECTORS,
                               .children = run->pointers,
                               .release = release_run,
                               .private_data = run};
}

static void release_schema(struct ArrowSchema *schema) {
    schema->release = NULL;
}

static bool make_schema(vector_store *v, size_t format) {
    struct ArrowSchema children[RUN_VECTORS];
    struct ArrowSchema *pointers[RUN_VECTORS];
    for (size_t n = 0; n < RUN_VECTORS; n++) {
        pointers[n] = &children[n];
        children[n] = (struct ArrowSchema){
            .format = FORMATS[format].format, .name = "v", .release = release_schema};
    }
    struct ArrowSchema schema = {.format = "+s",
                                 .name = "",
                                 .n_children = RUN_VECTORS,
                                 .children = pointers,
                                 .release = release_schema};
    duckdb_error_data failed =
        duckdb_schema_from_arrow(v->connection, &schema, &v->schemas[format]);
    bool made = failed == NULL || !duckdb_error_data_has_error(failed);
    duckdb_destroy_error_data(&failed);
    return made;
}

/* --- runs --- */

static void run_free(vector_run *run) {
    duckdb_destroy_data_chunk(&run->vectors);
    free(run);
}

static vector_run *run_make(vector_store *v, uint16_t table, const tape_field_info *field,
                            uint32_t index, uint64_t chunk, const uint64_t *words) {
    size_t format = format_of(field->kind);
    if (v->schemas[format] == NULL && !make_schema(v, format)) {
        return NULL;
    }
    struct ArrowArray array;
    duckdb_data_chunk vectors = NULL;
    make_array(&array, words);
    duckdb_error_data failed =
        duckdb_data_chunk_from_arrow(v->connection, &array, v->schemas[format], &vectors);
    bool made = failed == NULL || !duckdb_error_data_has_error(failed);
    duckdb_destroy_error_data(&failed);
    if (array.release != NULL) {
        array.release(&array);
    }
    if (!made || vectors == NULL) {
        return NULL;
    }
    vector_run *run = mem_zalloc(sizeof *run);
    *run = (vector_run){
        .chunk = chunk, .field = index, .table = table, .kept = true, .vectors = vectors};
    return run;
}

static vector_run **bucket_of(vector_store *v, uint16_t table, uint32_t field, uint64_t chunk) {
    uint64_t h = (chunk * 64 + field) * (TAPE_TABLE_COUNT + 1) + table;
    h *= UINT64_C(0x9e3779b97f4a7c15);
    return &v->buckets[(h >> 32) % BUCKETS];
}

vector_run *vector_store_hold(vector_store *v, const columns *c, const tape_table_info *table,
                              uint32_t field, uint64_t row) {
    uint64_t chunk = row / COLUMNS_CHUNK_ROWS;
    const uint64_t *words = columns_words(c, table->id, field, chunk * COLUMNS_CHUNK_ROWS);
    if (words == NULL) {
        return NULL;
    }
    (void)pthread_mutex_lock(&v->mutex);
    vector_run **bucket = bucket_of(v, table->id, field, chunk);
    vector_run *run = *bucket;
    while (run != NULL && (run->chunk != chunk || run->field != field || run->table != table->id)) {
        run = run->next;
    }
    bool may_keep = v->count < VECTOR_STORE_RUNS_MAX && chunk >= v->first_chunks[table->id];
    if (run == NULL && may_keep) {
        run = run_make(v, table->id, &table->fields[field], field, chunk, words);
        if (run != NULL) {
            run->next = *bucket;
            *bucket = run;
            v->count++;
        }
    }
    if (run != NULL) {
        run->holders++;
    }
    (void)pthread_mutex_unlock(&v->mutex);
    return run;
}

void vector_store_let_go(vector_store *v, vector_run **held) {
    vector_run *run = *held;
    *held = NULL;
    if (run == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&v->mutex);
    ASSERT(run->holders > 0);
    run->holders--;
    bool last = run->holders == 0 && !run->kept;
    (void)pthread_mutex_unlock(&v->mutex);
    if (last) {
        run_free(run);
    }
}

duckdb_vector vector_run_vector(const vector_run *run, uint64_t row) {
    uint64_t at = row % COLUMNS_CHUNK_ROWS;
    ASSERT(at % VECTOR_STORE_ROWS == 0);
    return duckdb_data_chunk_get_vector(run->vectors, at / VECTOR_STORE_ROWS);
}

void vector_store_forget(vector_store *v, uint16_t table, uint64_t row) {
    uint64_t first = row / COLUMNS_CHUNK_ROWS;
    vector_run *gone = NULL;
    (void)pthread_mutex_lock(&v->mutex);
    bool moved = first > v->first_chunks[table];
    if (moved) {
        v->first_chunks[table] = first;
    }
    for (size_t n = 0; moved && n < BUCKETS; n++) {
        vector_run **link = &v->buckets[n];
        while (*link != NULL) {
            vector_run *run = *link;
            if (run->table != table || run->chunk >= first) {
                link = &run->next;
                continue;
            }
            *link = run->next;
            v->count--;
            run->kept = false;
            run->next = gone;
            gone = run->holders == 0 ? run : gone;
        }
    }
    (void)pthread_mutex_unlock(&v->mutex);
    while (gone != NULL) {
        vector_run *next = gone->next;
        run_free(gone);
        gone = next;
    }
}

/* --- the store --- */

vector_store *vector_store_create(duckdb_database database) {
    vector_store *v = mem_zalloc(sizeof *v);
    (void)pthread_mutex_init(&v->mutex, NULL);
    if (duckdb_connect(database, &v->connection) != DuckDBSuccess) {
        vector_store_close(&v);
    }
    return v;
}

void vector_store_close(vector_store **store) {
    vector_store *v = *store;
    *store = NULL;
    if (v == NULL) {
        return;
    }
    for (size_t n = 0; n < BUCKETS; n++) {
        while (v->buckets[n] != NULL) {
            vector_run *run = v->buckets[n];
            ASSERT(run->holders == 0);
            v->buckets[n] = run->next;
            run_free(run);
        }
    }
    for (size_t n = 0; n < COUNT_OF(v->schemas); n++) {
        duckdb_destroy_arrow_converted_schema(&v->schemas[n]);
    }
    duckdb_disconnect(&v->connection);
    (void)pthread_mutex_destroy(&v->mutex);
    free(v);
}
