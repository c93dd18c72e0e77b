/* Explain: which way a statement goes and what it reads, as rows of EXPLAIN. */
#include "query/query_internal.h"

#include <inttypes.h>
#include <stdlib.h>

static const arrow_column COLUMNS[] = {
    {.name = "explain_key", .kind = ARROW_TEXT, .elements = 1},
    {.name = "explain_value", .kind = ARROW_TEXT, .elements = 1},
};

static void make_row(const char *key, const buffer *value, struct ArrowArray *out) {
    const arrow_cell cells[] = {
        {.data = key, .size = (uint32_t)strlen(key)},
        {.data = value->data, .size = (uint32_t)value->size},
    };
    arrow_row_make(out, COLUMNS, cells, COUNT_OF(COLUMNS));
}

/* --- from the store --- */

static void append_key(buffer *out, const plan_point *point) {
    for (uint32_t k = 0; k < point->table->key_count; k++) {
        const plan_value *v = &point->key[k];
        buffer_printf(out, "%s%s = ", k == 0 ? "" : ", ",
                      point->table->fields[point->table->key_fields[k]].name);
        if (v->kind == PLAN_VALUE_PARAM) {
            buffer_printf(out, "$%u", v->param);
        } else if (v->kind == PLAN_VALUE_SEQ) {
            buffer_printf(out, "%" PRIu64, v->seq);
        } else {
            char *quoted = duck_quote(v->text);
            buffer_append_text(out, quoted);
            free(quoted);
        }
    }
}

static int row_schema(struct ArrowArrayStream *self, struct ArrowSchema *out) {
    (void)self;
    arrow_schema_make(out, COLUMNS, COUNT_OF(COLUMNS), (arrow_owner){0});
    return 0;
}

static int row_next(struct ArrowArrayStream *self, struct ArrowArray *out) {
    struct ArrowArray *row = self->private_data;
    *out = *row;
    *row = (struct ArrowArray){0};
    return 0;
}

static const char *row_last_error(struct ArrowArrayStream *self) {
    (void)self;
    return NULL;
}

static void row_release(struct ArrowArrayStream *self) {
    struct ArrowArray *row = self->private_data;
    if (row->release != NULL) {
        row->release(row);
    }
    free(row);
    *self = (struct ArrowArrayStream){0};
}

/* Reads the row, and tells of it. */
static tape_status analyze(query *q, plan *p, uint64_t seq, const tape_query_options *options,
                           buffer *text, bool *leave, tape_error *error) {
    struct ArrowArrayStream stream;
    struct ArrowArray row = {0};
    int64_t start_ns = clock_monotonic_ns();
    tape_status status = point_run(q, p, seq, options, &stream, leave, error);
    if (status != TAPE_OK || *leave) {
        return status;
    }
    (void)stream.get_next(&stream, &row);
    int64_t ns = clock_monotonic_ns() - start_ns;
    buffer_printf(text, "\n%s, %" PRId64 ".%03d us", row.release == NULL ? "no row" : "1 row",
                  ns / 1000, (int)(ns % 1000));
    if (row.release != NULL) {
        row.release(&row);
    }
    stream.release(&stream);
    return TAPE_OK;
}

tape_status explain_point(query *q, plan *p, uint64_t seq, const tape_query_options *options,
                          struct ArrowArrayStream *out, bool *leave, tape_error *error) {
    buffer text = {0};
    tape_status status = TAPE_OK;
    *leave = q->options.get == NULL || options->param_count != p->param_count;
    buffer_printf(&text, "read from the store, by key, at seq %" PRIu64 ": %s, ", seq,
                  p->point->table->name);
    append_key(&text, p->point);
    if (p->analyze && !*leave) {
        status = analyze(q, p, seq, options, &text, leave, error);
    }
    if (status == TAPE_OK && !*leave) {
        struct ArrowArray *row = mem_zalloc(sizeof *row);
        make_row(p->analyze ? "analyzed_plan" : "physical_plan", &text, row);
        *out = (struct ArrowArrayStream){.get_schema = row_schema,
                                         .get_next = row_next,
                                         .get_last_error = row_last_error,
                                         .release = row_release,
                                         .private_data = row};
    }
    buffer_deinit(&text);
    return status;
}

/* --- by DuckDB --- */

static void append_hint(buffer *out, const plan_hint *h) {
    char time[40];
    if (!h->any) {
        return;
    }
    buffer_append_text(out, "; only");
    if (h->hint.ts_min != INT64_MIN) {
        (void)record_format_time(h->hint.ts_min, time);
        buffer_printf(out, " ts >= %s", time);
    }
    if (h->hint.ts_max != INT64_MAX) {
        (void)record_format_time(h->hint.ts_max, time);
        buffer_printf(out, " ts <= %s", time);
    }
    if (h->seq_min != 0) {
        buffer_printf(out, " seq >= %" PRIu64, h->seq_min);
    }
    if (h->seq_max != UINT64_MAX) {
        buffer_printf(out, " seq <= %" PRIu64, h->seq_max);
    }
    if (h->hint.instruments != NULL) {
        buffer_printf(out, " instruments: %zu", h->hint.instrument_count);
    }
    if (h->hint.bound_count > 0) {
        buffer_printf(out, " numbers in range: %zu", h->hint.bound_count);
    }
}

void explain_route(const session *s, const plan *p, uint64_t seq, struct ArrowArray *out) {
    buffer text = {0};
    if (p->relations == 0) {
        buffer_append_text(&text, "answered by DuckDB; reads no table");
    } else {
        buffer_printf(&text, "answered by DuckDB at seq %" PRIu64, seq);
    }
    for (unsigned r = 1; r < PLAN_RELATIONS; r++) {
        const reading *x = &s->readings[r];
        uint16_t table = plan_relation_table(r);
        if ((p->relations & PLAN_RELATION_BIT(r)) == 0) {
            continue;
        }
        buffer_printf(&text,
                      "\n%s%s: %" PRIu64 " hot rows, %" PRIu64 " of %" PRIu64
                      " Parquet files (%" PRIu64 " of %" PRIu64 " rows; %" PRIu64 " files pruned)",
                      record_table(table)->name, plan_relation_is_history(r) ? "_history" : "",
                      x->hot_rows, x->archive.files - x->archive.files_pruned, x->archive.files,
                      x->archive.rows - x->archive.rows_pruned, x->archive.rows,
                      x->archive.files_pruned);
        append_hint(&text, &s->hints.tables[table]);
    }
    make_row("route", &text, out);
    buffer_deinit(&text);
}
