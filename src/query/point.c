/* Point: a statement that asks one table for one key, answered from the store.
 *
 * Invariants
 *  R3 The answer is what DuckDB would give at the same seq. Where the store cannot tell that, as
 *     for versions it let go, or for keys that several records of an event table have, the
 *     statement is left to DuckDB.
 * The way of a statement that was seen before: no lock, no DuckDB, an allocation for each of
 * stream, schema and array. */
#include "query/query_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* --- the key --- */

typedef enum key_outcome { KEY_GOOD, KEY_NONE /* no row has it */, KEY_LEAVE } key_outcome;

static key_outcome put_text(const tape_field_info *field, const char *text, size_t size,
                            void *record) {
    if (size == 0 || size > field->size_bytes || memchr(text, '\0', size) != NULL) {
        return KEY_NONE;
    }
    memcpy((uint8_t *)record + field->offset, text, size);
    return KEY_GOOD;
}

static key_outcome put_param(const tape_field_info *field, const tape_value *v, void *record) {
    uint8_t *to = (uint8_t *)record + field->offset;
    if (v->is_null) {
        return KEY_LEAVE;
    }
    if (field->kind == TAPE_FIELD_ID && v->type == TAPE_TYPE_TEXT) {
        return put_text(field, v->text.data == NULL ? "" : v->text.data, v->text.size_bytes,
                        record);
    }
    if (field->kind == TAPE_FIELD_U64 && v->type == TAPE_TYPE_UINT64) {
        store_u64(to, v->uint64);
        return KEY_GOOD;
    }
    if (field->kind == TAPE_FIELD_U64 && v->type == TAPE_TYPE_INT64 && v->int64 >= 0) {
        store_u64(to, (uint64_t)v->int64);
        return KEY_GOOD;
    }
    return KEY_LEAVE;
}

/* Fills the key fields of `record`, which is zero. */
static key_outcome put_key(const plan_point *point, const tape_value *params, void *record) {
    key_outcome all = KEY_GOOD;
    for (uint32_t k = 0; k < point->table->key_count && all != KEY_LEAVE; k++) {
        const tape_field_info *field = &point->table->fields[point->table->key_fields[k]];
        const plan_value *v = &point->key[k];
        key_outcome one = KEY_GOOD;
        if (v->kind == PLAN_VALUE_PARAM) {
            one = put_param(field, &params[v->param - 1], record);
        } else if (v->kind == PLAN_VALUE_TEXT && field->kind == TAPE_FIELD_ID) {
            one = put_text(field, v->text, v->size, record);
        } else if (v->kind == PLAN_VALUE_SEQ && field->kind == TAPE_FIELD_U64) {
            store_u64((uint8_t *)record + field->offset, v->seq);
        } else {
            one = KEY_LEAVE;
        }
        all = one == KEY_GOOD ? all : one;
    }
    return all;
}

/* --- the row --- */

static arrow_cell cell_of(const tape_field_info *field, uint16_t version, const uint8_t *record) {
    const uint8_t *from = record + field->offset;
    if (!record_field_present(field, version, record)) {
        return (arrow_cell){0};
    }
    if (field->kind == TAPE_FIELD_ENUM) {
        /* A value beyond ours was written by a newer version that knows its name. */
        const char *name = *from < field->enum_count ? field->enum_names[*from] : NULL;
        return (arrow_cell){.data = name, .size = name == NULL ? 0 : (uint32_t)strlen(name)};
    }
    if (field->kind == TAPE_FIELD_ID) {
        return (arrow_cell){.data = from,
                            .size = (uint32_t)strnlen((const char *)from, field->size_bytes)};
    }
    return (arrow_cell){.data = from, .size = field->size_bytes * field->count};
}

typedef struct point_stream {
    plan *plan;
    bool row;
    uint16_t version;
    _Alignas(8) uint8_t record[TAPE_RECORD_BYTES_MAX];
} point_stream;

static void release_plan(void *context) {
    plan_release(context);
}

static int point_schema(struct ArrowArrayStream *self, struct ArrowSchema *out) {
    point_stream *t = self->private_data;
    const plan_point *point = t->plan->point;
    plan_hold(t->plan);
    arrow_schema_make(out, point->columns, point->column_count,
                      (arrow_owner){release_plan, t->plan});
    return 0;
}

static int point_next(struct ArrowArrayStream *self, struct ArrowArray *out) {
    point_stream *t = self->private_data;
    const plan_point *point = t->plan->point;
    arrow_cell cells[PLAN_POINT_COLUMNS_MAX];
    if (!t->row) {
        memset(out, 0, sizeof *out);
        return 0;
    }
    for (uint32_t n = 0; n < point->column_count; n++) {
        cells[n] = cell_of(&point->table->fields[point->fields[n]], t->version, t->record);
    }
    arrow_row_make(out, point->columns, cells, point->column_count);
    t->row = false;
    return 0;
}

static const char *point_last_error(struct ArrowArrayStream *self) {
    (void)self;
    return NULL;
}

static void point_release(struct ArrowArrayStream *self) {
    point_stream *t = self->private_data;
    plan_release(t->plan);
    free(t);
    *self = (struct ArrowArrayStream){0};
}

/* --- reading --- */

/* Of an event table whose key is not the seq, whether an older record has the key too. */
static tape_status has_other(query *q, const tape_table_info *table, slice key, uint64_t seq,
                             bool *other, tape_error *error) {
    _Alignas(8) uint8_t record[TAPE_RECORD_BYTES_MAX];
    uint16_t version;
    *other = false;
    if (table->kind == TAPE_KIND_ENTITY || table->key_fields[0] == 0 || seq <= 1) {
        return TAPE_OK;
    }
    tape_status status =
        q->options.get(q->options.context, table, key, seq - 1, record, &version, error);
    *other = status == TAPE_OK;
    return status == TAPE_NOT_FOUND ? TAPE_OK : status;
}

static tape_status read_row(query *q, const plan_point *point, const tape_value *params,
                            uint64_t seq, point_stream *t, bool *leave, tape_error *error) {
    _Alignas(8) uint8_t record[TAPE_RECORD_BYTES_MAX];
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    memset(record, 0, point->table->size_bytes);
    key_outcome outcome = put_key(point, params, record);
    *leave = outcome == KEY_LEAVE;
    if (outcome != KEY_GOOD || seq == 0) {
        return TAPE_OK;
    }
    slice key = {.data = bytes, .size = record_key(point->table, record, bytes)};
    tape_status status =
        q->options.get(q->options.context, point->table, key, seq, t->record, &t->version, error);
    if (status == TAPE_OK) {
        uint64_t found = load_u64(t->record);
        t->row = true;
        *leave = found > seq;
        status = *leave ? TAPE_OK : has_other(q, point->table, key, found, leave, error);
    }
    if (status == TAPE_TOO_OLD) {
        *leave = true;
        return TAPE_OK;
    }
    return status == TAPE_NOT_FOUND ? TAPE_OK : status;
}

tape_status point_run(query *q, plan *p, uint64_t seq, const tape_query_options *options,
                      struct ArrowArrayStream *out, bool *leave, tape_error *error) {
    if (q->options.get == NULL || options->param_count != p->param_count) {
        *leave = true;
        return TAPE_OK;
    }
    point_stream *t = mem_alloc(sizeof *t);
    t->row = false;
    tape_status status = read_row(q, p->point, options->params, seq, t, leave, error);
    if (status != TAPE_OK || *leave) {
        free(t);
        return status;
    }
    atomic_fetch_add_explicit(&q->from_store, 1, memory_order_relaxed);
    plan_hold(p);
    t->plan = p;
    *out = (struct ArrowArrayStream){.get_schema = point_schema,
                                     .get_next = point_next,
                                     .get_last_error = point_last_error,
                                     .release = point_release,
                                     .private_data = t};
    return TAPE_OK;
}
