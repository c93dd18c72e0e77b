/* Results: kept for statements that come again while what they read has not changed.
 *
 * A result belongs to a text with its parameters, and was made at some seq. It is as good at
 * another if of each table it reads no record lies between the two (rows have numbers that stay as
 * they are), or none that the statement is after, and if the archive let none go. Only statements
 * that give the same for the same rows are kept (plan.keepable).
 *
 * Invariants
 *  C1 What is handed out is as it was made: batches are shared, never changed, and live as long as
 *     anybody holds one.
 *  C2 The sum of what is kept stays within bytes_max; the longest unused goes first.
 * Threads: any; the mutex guards the table and what is known of a kept result's seq. */
#include "query/query_internal.h"

#include <stdlib.h>

#define BUCKETS 1024u
#define RESULT_BYTES_MAX MIB(1)
/* More new rows than these are not looked through. */
#define ROWS_LOOKED_AT_MAX (4u * COLUMNS_CHUNK_ROWS)

/* At which seq a result was right: of each table, the number of the first row after it. */
typedef struct stand {
    uint64_t seq;
    uint64_t rows[TAPE_TABLE_COUNT + 1];
    uint64_t history_seq[TAPE_TABLE_COUNT + 1];
} stand;

struct kept_result {
    _Atomic uint32_t holders;
    uint32_t hash;
    buffer key;
    uint32_t relations;
    stand stand;
    struct ArrowSchema schema;
    struct ArrowArray *batches;
    size_t batch_count;
    uint64_t bytes;
    struct kept_result *chain;          /* in its bucket */
    struct kept_result *before, *after; /* by last use */
};

struct results {
    pthread_mutex_t mutex;
    uint64_t bytes, bytes_max;
    struct kept_result *buckets[BUCKETS];
    struct kept_result *newest, *oldest;
};

/* --- keys --- */

static void append_value(buffer *out, const tape_value *v) {
    const uint32_t head[2] = {(uint32_t)v->type, v->is_null};
    buffer_append(out, head, sizeof head);
    if (v->is_null) {
        return;
    }
    if (v->type == TAPE_TYPE_TEXT) {
        uint64_t size = v->text.size_bytes;
        buffer_append(out, &size, sizeof size);
        buffer_append(out, v->text.data, v->text.size_bytes);
    } else if (v->type == TAPE_TYPE_BOOL) {
        buffer_append(out, v->boolean ? "t" : "f", 1);
    } else {
        buffer_append(out, &v->uint64, sizeof v->uint64);
    }
}

static buffer key_bytes(const result_key *key) {
    buffer out = {0};
    buffer_append(&out, key->plan->sql, key->plan->sql_size + 1);
    for (size_t n = 0; n < key->param_count; n++) {
        append_value(&out, &key->params[n]);
    }
    return out;
}

/* --- the table, with the mutex held --- */

static void unlink_use(results *r, kept_result *k) {
    *(k->before == NULL ? &r->newest : &k->before->after) = k->after;
    *(k->after == NULL ? &r->oldest : &k->after->before) = k->before;
    k->before = k->after = NULL;
}

static void link_newest(results *r, kept_result *k) {
    k->after = r->newest;
    k->before = NULL;
    *(r->newest == NULL ? &r->oldest : &r->newest->before) = k;
    r->newest = k;
}

static kept_result *look_up(results *r, const buffer *key, uint32_t hash) {
    kept_result *k = r->buckets[hash % BUCKETS];
    while (k != NULL && (k->hash != hash || k->key.size != key->size ||
                         memcmp(k->key.data, key->data, key->size) != 0)) {
        k = k->chain;
    }
    return k;
}

static void hold(kept_result *k) {
    atomic_fetch_add_explicit(&k->holders, 1, memory_order_relaxed);
}

/* Takes it out; the table's part goes. */
static void drop(results *r, kept_result *k) {
    kept_result **link = &r->buckets[k->hash % BUCKETS];
    while (*link != k) {
        link = &(*link)->chain;
    }
    *link = k->chain;
    unlink_use(r, k);
    r->bytes -= k->bytes;
    kept_result_release(&k);
}

results *results_create(uint64_t bytes_max) {
    results *r = mem_zalloc(sizeof *r);
    r->bytes_max = bytes_max;
    (void)pthread_mutex_init(&r->mutex, NULL);
    return r;
}

void results_close(results **handle) {
    results *r = *handle;
    *handle = NULL;
    if (r == NULL) {
        return;
    }
    while (r->newest != NULL) {
        drop(r, r->newest);
    }
    (void)pthread_mutex_destroy(&r->mutex);
    free(r);
}

void kept_result_release(kept_result **handle) {
    kept_result *k = *handle;
    *handle = NULL;
    if (k == NULL || atomic_fetch_sub_explicit(&k->holders, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t n = 0; n < k->batch_count; n++) {
        k->batches[n].release(&k->batches[n]);
    }
    if (k->schema.release != NULL) {
        k->schema.release(&k->schema);
    }
    free(k->batches);
    buffer_deinit(&k->key);
    free(k);
}

/* --- whether it is still right --- */

static bool reads_table(uint32_t relations, uint16_t table) {
    return (relations & (PLAN_RELATION_BIT(table) | PLAN_RELATION_BIT(TAPE_TABLE_COUNT + table))) !=
           0;
}

/* False when the table's rows at `seq` cannot be told. */
static bool stand_table(stand *out, uint16_t table, uint64_t seq, const columns *c,
                        const columns_pin *pin, const archive_view *view) {
    if (seq < columns_pin_base(pin)) {
        return false;
    }
    out->rows[table] = columns_row_after(c, table, seq);
    out->history_seq[table] = view == NULL ? 0 : archive_view_history_seq(view, table);
    return record_table(table)->kind == TAPE_KIND_EVENT || seq >= out->history_seq[table];
}

static bool stand_init(stand *out, uint32_t relations, uint64_t seq, const columns *c,
                       const columns_pin *pin, const archive_view *view) {
    *out = (stand){.seq = seq};
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        if (reads_table(relations, id) && !stand_table(out, id, seq, c, pin, view)) {
            return false;
        }
    }
    return true;
}

/* Whether the statement wants none of rows [first, end) of a table. A newer version of an entity
 * takes the place of an older one, so there every row counts. */
static bool wants_none(const result_key *key, uint16_t table, uint64_t first, uint64_t end,
                       uint64_t after_seq, const columns *c) {
    uint32_t selected[COLUMNS_FILTER_ROWS_MAX];
    bool newest = record_table(table)->kind == TAPE_KIND_ENTITY &&
                  (key->plan->relations & PLAN_RELATION_BIT(table)) != 0;
    plan_hints hints;
    if (newest || end - first > ROWS_LOOKED_AT_MAX) {
        return false;
    }
    plan_hints_init(&hints, key->plan, key->params, key->param_count, NULL);
    const plan_hint *h = &hints.tables[table];
    bool none = h->any && h->seq_max <= after_seq;
    columns_filter *filter = none || !h->any ? NULL : columns_filter_make(c, table, &h->hint);
    if (filter != NULL) {
        none = true;
        while (none && first < end) {
            uint64_t chunk_end = (first / COLUMNS_CHUNK_ROWS + 1) * COLUMNS_CHUNK_ROWS;
            uint64_t stop = chunk_end < end ? chunk_end : end;
            if (!columns_chunk_wanted(c, table, first, &h->hint)) {
                first = stop;
                continue;
            }
            stop = stop - first > COLUMNS_FILTER_ROWS_MAX ? first + COLUMNS_FILTER_ROWS_MAX : stop;
            none =
                columns_filter_rows(filter, first, false, selected, (uint32_t)(stop - first)) == 0;
            first = stop;
        }
    }
    columns_filter_free(&filter);
    plan_hints_deinit(&hints);
    return none;
}

static bool is_same(const result_key *key, const stand *then, const stand *now, const columns *c,
                    const columns_pin *pin) {
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        if (!reads_table(key->plan->relations, id)) {
            continue;
        }
        if (then->history_seq[id] != now->history_seq[id]) {
            return false;
        }
        if (then->rows[id] == now->rows[id]) {
            continue;
        }
        const stand *low = then->seq < now->seq ? then : now;
        const stand *high = low == then ? now : then;
        if (low->rows[id] < columns_row_after(c, id, columns_pin_base(pin)) ||
            !wants_none(key, id, low->rows[id], high->rows[id], low->seq, c)) {
            return false;
        }
    }
    return true;
}

kept_result *results_find(results *r, const result_key *key, uint64_t seq, const columns *c,
                          const columns_pin *pin, const archive_view *view) {
    buffer bytes = key_bytes(key);
    stand now = {0};
    stand then;
    (void)pthread_mutex_lock(&r->mutex);
    kept_result *k = look_up(r, &bytes, crc32c(0, bytes.data, bytes.size));
    if (k != NULL) {
        hold(k);
        then = k->stand;
    }
    (void)pthread_mutex_unlock(&r->mutex);
    buffer_deinit(&bytes);
    if (k == NULL) {
        return NULL;
    }
    if (!stand_init(&now, k->relations, seq, c, pin, view) || !is_same(key, &then, &now, c, pin)) {
        kept_result_release(&k);
        return NULL;
    }
    (void)pthread_mutex_lock(&r->mutex);
    if (now.seq > k->stand.seq) {
        k->stand = now;
    }
    /* Another may have taken its place meanwhile. */
    if (k->before != NULL || r->newest == k) {
        unlink_use(r, k);
        link_newest(r, k);
    }
    (void)pthread_mutex_unlock(&r->mutex);
    return k;
}

/* --- making one --- */

kept_result *results_begin(results *r, const result_key *key, uint64_t seq, const columns *c,
                           const columns_pin *pin, const archive_view *view) {
    stand now;
    if (!key->plan->keepable || key->plan->explain ||
        !stand_init(&now, key->plan->relations, seq, c, pin, view)) {
        return NULL;
    }
    kept_result *k = mem_zalloc(sizeof *k);
    atomic_init(&k->holders, 1);
    k->key = key_bytes(key);
    k->hash = crc32c(0, k->key.data, k->key.size);
    k->relations = key->plan->relations;
    k->stand = now;
    k->bytes = sizeof *k + k->key.capacity;
    if (k->bytes > r->bytes_max / 4) {
        kept_result_release(&k);
    }
    return k;
}

static void release_hold(void *context) {
    kept_result *k = context;
    kept_result_release(&k);
}

/* A batch of the same values. */
static void share(kept_result *k, size_t batch, struct ArrowArray *out) {
    hold(k);
    arrow_array_share(out, &k->batches[batch], (arrow_owner){release_hold, k});
}

bool results_add(results *r, kept_result **handle, const struct ArrowSchema *schema,
                 struct ArrowArray *batch) {
    kept_result *k = *handle;
    uint64_t most = r->bytes_max / 4 < RESULT_BYTES_MAX ? r->bytes_max / 4 : RESULT_BYTES_MAX;
    uint64_t bytes = arrow_array_bytes(schema, batch);
    if (bytes > most || k->bytes + bytes > most) {
        kept_result_release(handle);
        return false;
    }
    k->batches = mem_realloc(k->batches, (k->batch_count + 1) * sizeof *k->batches);
    k->batches[k->batch_count] = *batch;
    k->bytes += bytes;
    share(k, k->batch_count++, batch);
    return true;
}

void results_end(results *r, kept_result **handle, const struct ArrowSchema *schema) {
    kept_result *k = *handle;
    *handle = NULL;
    arrow_schema_copy(&k->schema, schema);
    (void)pthread_mutex_lock(&r->mutex);
    kept_result *before = look_up(r, &k->key, k->hash);
    if (before != NULL) {
        drop(r, before);
    }
    k->chain = r->buckets[k->hash % BUCKETS];
    r->buckets[k->hash % BUCKETS] = k;
    link_newest(r, k);
    r->bytes += k->bytes;
    while (r->bytes > r->bytes_max) {
        drop(r, r->oldest);
    }
    (void)pthread_mutex_unlock(&r->mutex);
}

/* --- streams --- */

typedef struct kept_stream {
    kept_result *result;
    size_t next;
} kept_stream;

static int kept_schema(struct ArrowArrayStream *self, struct ArrowSchema *out) {
    const kept_stream *t = self->private_data;
    arrow_schema_copy(out, &t->result->schema);
    return 0;
}

static int kept_next(struct ArrowArrayStream *self, struct ArrowArray *out) {
    kept_stream *t = self->private_data;
    if (t->next == t->result->batch_count) {
        memset(out, 0, sizeof *out);
    } else {
        share(t->result, t->next++, out);
    }
    return 0;
}

static const char *kept_last_error(struct ArrowArrayStream *self) {
    (void)self;
    return NULL;
}

static void kept_release(struct ArrowArrayStream *self) {
    kept_stream *t = self->private_data;
    kept_result_release(&t->result);
    free(t);
    *self = (struct ArrowArrayStream){0};
}

void kept_result_stream(kept_result *k, struct ArrowArrayStream *out) {
    kept_stream *t = mem_zalloc(sizeof *t);
    t->result = k;
    *out = (struct ArrowArrayStream){.get_schema = kept_schema,
                                     .get_next = kept_next,
                                     .get_last_error = kept_last_error,
                                     .release = kept_release,
                                     .private_data = t};
}
