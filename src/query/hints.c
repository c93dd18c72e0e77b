/* Hints: what a statement wants of each table, with the values of one run.
 *
 * Of one reference all constraints hold; of a table what any of its references wants is wanted.
 * Bounds that are not exact are widened, never narrowed: a hint leaves out only what fails. */
#include "query/plan_internal.h"

#include <math.h>

#define INSTRUMENTS_MAX 4096u
/* Decimals become doubles here and in DuckDB by different ways. */
#define REAL_SLACK 1e-12

/* What one reference wants. */
typedef struct wish {
    int64_t ts_min, ts_max;
    uint64_t seq_min, seq_max;
    const plan_constraint *instruments; /* NULL: any */
    columns_bound bounds[PLAN_BOUNDS_MAX];
    size_t bound_count;
} wish;

typedef struct context {
    const plan *plan;
    const tape_value *params;
    size_t param_count;
    const plan_moment *moments;
} context;

static const tape_value *param_of(const context *x, const plan_value *v) {
    const tape_value *param = v->param <= x->param_count ? &x->params[v->param - 1] : NULL;
    return param == NULL || param->is_null ? NULL : param;
}

/* --- values --- */

static bool time_of(const context *x, const plan_value *v, int64_t *out) {
    if (v->kind == PLAN_VALUE_TIME) {
        *out = v->ns;
    } else if (v->kind == PLAN_VALUE_SQL && v->clock && x->moments[v->index].known) {
        *out = x->moments[v->index].ns;
    } else if (v->kind == PLAN_VALUE_PARAM) {
        const tape_value *param = param_of(x, v);
        if (param == NULL || param->type != TAPE_TYPE_TIME) {
            return false;
        }
        *out = param->int64;
    } else {
        return false;
    }
    /* Infinities. */
    return *out != INT64_MAX && *out > -INT64_MAX;
}

static bool seq_of(const context *x, const plan_value *v, uint64_t *out) {
    if (v->kind == PLAN_VALUE_SEQ) {
        *out = v->seq;
        return true;
    }
    const tape_value *param = v->kind == PLAN_VALUE_PARAM ? param_of(x, v) : NULL;
    if (param != NULL && param->type == TAPE_TYPE_UINT64) {
        *out = param->uint64;
        return true;
    }
    if (param != NULL && param->type == TAPE_TYPE_INT64 && param->int64 >= 0) {
        *out = (uint64_t)param->int64;
        return true;
    }
    return false;
}

static bool real_of(const context *x, const plan_value *v, double *out) {
    if (v->kind == PLAN_VALUE_REAL) {
        *out = v->real;
        return isfinite(*out);
    }
    const tape_value *param = v->kind == PLAN_VALUE_PARAM ? param_of(x, v) : NULL;
    if (param == NULL) {
        return false;
    }
    switch (param->type) {
    case TAPE_TYPE_DOUBLE:
        *out = param->real;
        return isfinite(*out);
    case TAPE_TYPE_INT64:
        *out = (double)param->int64;
        return true;
    case TAPE_TYPE_UINT64:
        *out = (double)param->uint64;
        return true;
    case TAPE_TYPE_BOOL:
    case TAPE_TYPE_TEXT:
    case TAPE_TYPE_TIME:
        break;
    }
    return false;
}

static bool text_of(const context *x, const plan_value *v, const char **text, size_t *size) {
    if (v->kind == PLAN_VALUE_TEXT) {
        *text = v->text;
        *size = v->size;
        return true;
    }
    const tape_value *param = v->kind == PLAN_VALUE_PARAM ? param_of(x, v) : NULL;
    if (param == NULL || param->type != TAPE_TYPE_TEXT) {
        return false;
    }
    *text = param->text.data == NULL ? "" : param->text.data;
    *size = param->text.size_bytes;
    return true;
}

/* --- one reference --- */

static void narrow_time(const context *x, const plan_constraint *c, wish *w) {
    int64_t low = INT64_MAX;
    int64_t high = INT64_MIN;
    for (uint32_t n = 0; n < c->count; n++) {
        int64_t ns;
        if (!time_of(x, &c->values[n], &ns)) {
            return;
        }
        low = ns < low ? ns : low;
        high = ns > high ? ns : high;
    }
    /* Nothing is at the ends of the range, so ABOVE and BELOW cannot go beyond them. */
    low += c->op == PLAN_ABOVE;
    high -= c->op == PLAN_BELOW;
    if (c->op != PLAN_BELOW && c->op != PLAN_AT_MOST) {
        w->ts_min = low > w->ts_min ? low : w->ts_min;
    }
    if (c->op != PLAN_ABOVE && c->op != PLAN_AT_LEAST) {
        w->ts_max = high < w->ts_max ? high : w->ts_max;
    }
}

static void narrow_seq(const context *x, const plan_constraint *c, wish *w) {
    uint64_t low = UINT64_MAX;
    uint64_t high = 0;
    for (uint32_t n = 0; n < c->count; n++) {
        uint64_t seq;
        if (!seq_of(x, &c->values[n], &seq)) {
            return;
        }
        low = seq < low ? seq : low;
        high = seq > high ? seq : high;
    }
    low += c->op == PLAN_ABOVE && low < UINT64_MAX;
    high -= c->op == PLAN_BELOW && high > 0;
    if (c->op != PLAN_BELOW && c->op != PLAN_AT_MOST) {
        w->seq_min = low > w->seq_min ? low : w->seq_min;
    }
    if (c->op != PLAN_ABOVE && c->op != PLAN_AT_LEAST) {
        w->seq_max = high < w->seq_max ? high : w->seq_max;
    }
}

static void narrow_real(const context *x, const plan_constraint *c, wish *w) {
    double low = INFINITY;
    double high = -INFINITY;
    for (uint32_t n = 0; n < c->count; n++) {
        double value;
        if (!real_of(x, &c->values[n], &value)) {
            return;
        }
        low = fmin(low, value - fabs(value) * REAL_SLACK);
        high = fmax(high, value + fabs(value) * REAL_SLACK);
    }
    size_t b = 0;
    while (b < w->bound_count && w->bounds[b].field != c->field) {
        b++;
    }
    if (b == PLAN_BOUNDS_MAX) {
        return;
    }
    if (b == w->bound_count) {
        w->bounds[b] = (columns_bound){.field = c->field, .min = -INFINITY, .max = INFINITY};
        w->bound_count++;
    }
    if (c->op != PLAN_BELOW && c->op != PLAN_AT_MOST) {
        w->bounds[b].min = fmax(w->bounds[b].min, low);
    }
    if (c->op != PLAN_ABOVE && c->op != PLAN_AT_LEAST) {
        w->bounds[b].max = fmin(w->bounds[b].max, high);
    }
}

static void narrow_instruments(const context *x, const plan_constraint *c, wish *w) {
    const char *text;
    size_t size;
    for (uint32_t n = 0; n < c->count; n++) {
        if (!text_of(x, &c->values[n], &text, &size)) {
            return;
        }
    }
    if (c->op == PLAN_AMONG && (w->instruments == NULL || c->count < w->instruments->count)) {
        w->instruments = c;
    }
}

static wish wish_of(const context *x, const plan_reference *r) {
    wish w = {.ts_min = INT64_MIN, .ts_max = INT64_MAX, .seq_max = UINT64_MAX};
    for (const plan_constraint *c = r->constraints; c != NULL; c = c->next) {
        switch (c->column) {
        case PLAN_TS:
            narrow_time(x, c, &w);
            break;
        case PLAN_SEQ:
            narrow_seq(x, c, &w);
            break;
        case PLAN_INSTRUMENT:
            narrow_instruments(x, c, &w);
            break;
        case PLAN_REAL:
            narrow_real(x, c, &w);
            break;
        case PLAN_COLUMN_NONE:
            break;
        }
    }
    return w;
}

/* --- a table --- */

/* Adds the instruments of a wish to those of a hint; false when there are too many. */
static bool add_instruments(const context *x, const plan_constraint *c, arena *a,
                            columns_hint *hint) {
    const char **all =
        arena_alloc(a, (hint->instrument_count + c->count) * sizeof *all, _Alignof(char *));
    ASSERT(all != NULL);
    size_t count = hint->instrument_count;
    if (count + c->count > INSTRUMENTS_MAX) {
        return false;
    }
    if (count > 0) {
        memcpy(all, hint->instruments, count * sizeof *all);
    }
    for (uint32_t n = 0; n < c->count; n++) {
        const char *text = "";
        size_t size = 0;
        bool known = text_of(x, &c->values[n], &text, &size);
        ASSERT(known);
        char *copy = arena_alloc(a, size + 1, 1);
        ASSERT(copy != NULL);
        memcpy(copy, text, size);
        copy[size] = '\0';
        /* No instrument has a NUL in it, so this is none. */
        all[count] = strlen(copy) == size ? copy : "";
        count++;
    }
    hint->instruments = all;
    hint->instrument_count = count;
    return true;
}

/* Keeps the bounds that both have, as wide as the wider. */
static void widen_bounds(plan_hint *h, const wish *w) {
    size_t count = 0;
    for (size_t n = 0; n < h->hint.bound_count; n++) {
        columns_bound bound = h->bounds[n];
        for (size_t m = 0; m < w->bound_count; m++) {
            if (w->bounds[m].field == bound.field) {
                bound.min = fmin(bound.min, w->bounds[m].min);
                bound.max = fmax(bound.max, w->bounds[m].max);
                h->bounds[count] = bound;
                count += bound.min > -INFINITY || bound.max < INFINITY;
            }
        }
    }
    h->hint.bound_count = count;
}

static void add_wish(const context *x, const wish *w, bool first, arena *a, plan_hint *h) {
    if (first) {
        h->seq_min = w->seq_min;
        h->seq_max = w->seq_max;
        h->hint =
            (columns_hint){.ts_min = w->ts_min, .ts_max = w->ts_max, .bound_count = w->bound_count};
        memcpy(h->bounds, w->bounds, sizeof h->bounds);
    } else {
        h->seq_min = w->seq_min < h->seq_min ? w->seq_min : h->seq_min;
        h->seq_max = w->seq_max > h->seq_max ? w->seq_max : h->seq_max;
        h->hint.ts_min = w->ts_min < h->hint.ts_min ? w->ts_min : h->hint.ts_min;
        h->hint.ts_max = w->ts_max > h->hint.ts_max ? w->ts_max : h->hint.ts_max;
        widen_bounds(h, w);
    }
    bool listed = first || h->hint.instruments != NULL;
    if (!listed || w->instruments == NULL || !add_instruments(x, w->instruments, a, &h->hint)) {
        h->hint.instruments = NULL;
        h->hint.instrument_count = 0;
    }
}

static bool is_empty(const wish *w) {
    return w->ts_min > w->ts_max || w->seq_min > w->seq_max;
}

static void hint_table(const context *x, uint16_t table, arena *a, plan_hint *h) {
    bool first = true;
    uint32_t bits = PLAN_RELATION_BIT(table) | PLAN_RELATION_BIT(TAPE_TABLE_COUNT + table);
    *h = (plan_hint){.seq_max = UINT64_MAX};
    if ((x->plan->open & bits) != 0) {
        return;
    }
    for (const plan_reference *r = x->plan->references; r != NULL; r = r->next) {
        wish w = wish_of(x, r);
        /* What wants nothing at all is left to the WHERE. */
        if (plan_relation_table(r->relation) == table) {
            if (is_empty(&w)) {
                w = (wish){.ts_min = INT64_MIN, .ts_max = INT64_MAX, .seq_max = UINT64_MAX};
            }
            add_wish(x, &w, first, a, h);
            first = false;
        }
    }
    h->hint.bounds = h->bounds;
    h->any = !first && (h->hint.ts_min != INT64_MIN || h->hint.ts_max != INT64_MAX ||
                        h->hint.instruments != NULL || h->hint.bound_count > 0 || h->seq_min != 0 ||
                        h->seq_max != UINT64_MAX);
}

void plan_hints_init(plan_hints *out, const plan *p, const tape_value *params, size_t param_count,
                     const plan_moment *moments) {
    const context x = {.plan = p, .params = params, .param_count = param_count, .moments = moments};
    arena_init(&out->arena, KIB(4));
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        hint_table(&x, id, &out->arena, &out->tables[id]);
    }
}

void plan_hints_deinit(plan_hints *h) {
    arena_deinit(&h->arena);
}
