/* Values, conditions and expressions of random statements. See engine_sql_testing.h. */
#include "engine/engine_sql_testing.h"

#include <float.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_NS (86400 * NS_PER_SECOND)

void sql_put(sql_maker *m, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    ASSERT(size >= 0 && (size_t)size < sizeof text);
    buffer_append(&m->out->text, text, (size_t)size);
}

/* --- fields --- */

unsigned sql_field_kind(const tape_field_info *field) {
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return SQL_SEQ;
    case TAPE_FIELD_TIME:
        return SQL_TIME;
    case TAPE_FIELD_ENUM:
        return SQL_ENUM;
    case TAPE_FIELD_ID:
        return SQL_ID;
    case TAPE_FIELD_F64:
        break;
    }
    return field->count > 1 ? SQL_ARRAY : sql_field_is_wild(field) ? SQL_WILD : SQL_NUMBER;
}

const tape_field_info *sql_pick(sql_maker *m, const tape_table_info *table, unsigned kinds) {
    const tape_field_info *found = NULL;
    size_t seen = 0;
    for (uint32_t i = 0; i < table->field_count; i++) {
        if ((sql_field_kind(&table->fields[i]) & kinds) != 0 && sql_below(m, ++seen) == 0) {
            found = &table->fields[i];
        }
    }
    return found;
}

void sql_put_column(sql_maker *m, const sql_source *s, const tape_field_info *field) {
    sql_put(m, "%s%s%s", s->alias, s->alias[0] == '\0' ? "" : ".", field->name);
}

const sql_record *sql_pick_record(sql_maker *m, uint16_t table) {
    if (m->records->count == 0) {
        return NULL;
    }
    size_t at = sql_below(m, m->records->count);
    for (size_t i = 0; i < 400 && i <= at; i++) {
        const sql_record *r = &m->records->all[at - i];
        if (r->table == table) {
            return r;
        }
    }
    return NULL;
}

/* --- values --- */

static void put_quoted(sql_maker *m, const char *text, size_t size) {
    buffer *to = &m->out->text;
    buffer_append(to, "'", 1);
    for (size_t i = 0; i < size; i++) {
        buffer_append(to, text + i, 1);
        buffer_append(to, "'", text[i] == '\'');
    }
    buffer_append(to, "'", 1);
}

static void put_double(sql_maker *m, double value) {
    char text[40];
    (void)snprintf(text, sizeof text, "%.17g", value);
    sql_put(m, "%s%s", text, strchr(text, 'e') == NULL ? "e0" : "");
}

static int64_t time_of(const void *data) {
    int64_t ns;
    memcpy(&ns, data, sizeof ns);
    return ns;
}

/* "2024-08-08 23:54:15.342000000" */
static void time_text(int64_t ns, char out[40]) {
    size_t size = record_format_time(ns, out);
    out[10] = ' ';
    out[size - 1] = '\0'; /* the Z */
}

/* Not so near the ends of time that another unit, or a few minutes more, would pass them. */
static void put_time(sql_maker *m, int64_t ns) {
    char text[40];
    ns = ns < INT64_MIN + DAY_NS ? INT64_MIN + DAY_NS : ns;
    ns = ns > INT64_MAX - DAY_NS ? INT64_MAX - DAY_NS : ns;
    time_text(ns, text);
    switch (sql_below(m, 10)) {
    case 0:
        sql_put(m, "make_timestamp_ns(%" PRId64 ")", ns);
        break;
    case 1:
        sql_put(m, "TIMESTAMP_NS '%s'", text);
        break;
    case 2:
        sql_put(m, "'%s'", text);
        break;
    case 3:
        sql_put(m, "'%s'::TIMESTAMP_NS", text);
        break;
    case 4:
        sql_put(m, "DATE '%.10s'", text);
        break;
    case 5:
        sql_put(m, "TIMESTAMP '%.26s' + INTERVAL %d MINUTE", text, (int)sql_below(m, 90));
        break;
    case 6:
        sql_put(m, "CAST('%.19s' AS TIMESTAMP_S)", text);
        break;
    case 7:
        sql_put(m, "TIMESTAMP '%.10s'", text);
        break;
    case 8:
        sql_put(m, "'%.10s'", text);
        break;
    default:
        sql_put(m, "TIMESTAMP '%.26s'", text);
        break;
    }
}

static void put_seq(sql_maker *m, uint64_t seq) {
    /* Nothing from 2^63 to 2^64 - 1: DuckDB 1.5 fails by itself where a join's statistics say so.
     */
    static const char *const odd[] = {"0",    "-1", "9223372036854775807", "18446744073709551616",
                                      "NULL", "4e9"};
    switch (sql_below(m, 10)) {
    case 0:
        sql_put(m, "%" PRIu64 "::UBIGINT", seq);
        break;
    case 1:
        sql_put(m, "%" PRIu64 ".5", seq);
        break;
    case 2:
        sql_put(m, "'%" PRIu64 "'", seq);
        break;
    case 3:
        sql_put(m, "%" PRIu64 "e0", seq);
        break;
    case 4:
        sql_put(m, "%" PRIu64 " + %zu", seq, sql_below(m, 100));
        break;
    case 5:
        sql_put(m, "%s", odd[sql_below(m, COUNT_OF(odd))]);
        break;
    default:
        sql_put(m, "%" PRIu64, seq);
        break;
    }
}

static void put_text(sql_maker *m, const char *text, size_t size) {
    bool ascii = (text[0] & 0x80) == 0; /* or else its bytes cannot be parted */
    switch (ascii ? sql_below(m, 12) : 4) {
    case 0:
        put_quoted(m, text, size > 1 ? size - 1 : size);
        break;
    case 1:
        put_quoted(m, text, 1);
        sql_put(m, " || ");
        put_quoted(m, text + 1, size - 1);
        break;
    case 2:
        sql_put(m, "CAST(");
        put_quoted(m, text, size);
        sql_put(m, " AS VARCHAR)");
        break;
    case 3:
        sql_put(m, "$$%.*s$$", (int)size, text);
        break;
    default:
        put_quoted(m, text, size);
        break;
    }
}

static size_t text_size(const tape_field_info *field, const void *at) {
    const char *end = memchr(at, 0, field->size_bytes);
    return end == NULL ? field->size_bytes : (size_t)(end - (const char *)at);
}

void sql_put_field(sql_maker *m, const sql_record *record, const tape_field_info *field) {
    const uint8_t *at = record->data.bytes + field->offset;
    double number;
    if (!record_field_present(field, record_table(record->table)->version, record->data.bytes)) {
        sql_put(m, "NULL");
        return;
    }
    switch (field->kind) {
    case TAPE_FIELD_U64:
        sql_put(m, "%" PRIu64, load_u64(at));
        break;
    case TAPE_FIELD_TIME:
        sql_put(m, "make_timestamp_ns(%" PRId64 ")", time_of(at));
        break;
    case TAPE_FIELD_ENUM:
        sql_put(m, "'%s'", field->enum_names[*at]);
        break;
    case TAPE_FIELD_ID:
        put_quoted(m, (const char *)at, text_size(field, at));
        break;
    case TAPE_FIELD_F64:
        for (uint32_t i = 0; i < field->count; i++) {
            memcpy(&number, at + i * sizeof number, sizeof number);
            sql_put(m, "%s", field->count == 1 ? "" : i == 0 ? "[" : ",");
            put_double(m, number);
        }
        sql_put(m, "%s", field->count == 1 ? "" : "]");
        break;
    }
}

void sql_put_param(sql_maker *m, const sql_record *record, const tape_field_info *field) {
    sql_statement *s = m->out;
    const uint8_t *at = record->data.bytes + field->offset;
    tape_value *value = &s->params[s->param_count];
    char *text = s->param_texts[s->param_count];
    *value = (tape_value){.is_null = sql_below(m, 40) == 0};
    switch (field->kind) {
    case TAPE_FIELD_U64:
        value->type = sql_chance(m, 50) ? TAPE_TYPE_UINT64 : TAPE_TYPE_INT64;
        value->uint64 = load_u64(at);
        break;
    case TAPE_FIELD_TIME:
        value->type = TAPE_TYPE_TIME;
        value->int64 = time_of(at);
        break;
    case TAPE_FIELD_F64:
        value->type = TAPE_TYPE_DOUBLE;
        memcpy(&value->real, at, sizeof value->real);
        break;
    case TAPE_FIELD_ENUM:
    case TAPE_FIELD_ID: {
        const char *name = field->kind == TAPE_FIELD_ID ? NULL : field->enum_names[*at];
        size_t size = field->kind == TAPE_FIELD_ID ? text_size(field, at)
                      : name == NULL               ? 0
                                                   : strlen(name);
        memcpy(text, name == NULL ? (const char *)at : name, size);
        value->type = TAPE_TYPE_TEXT;
        value->text = (tape_text){text, size};
        break;
    }
    }
    sql_put(m, "$%zu", ++s->param_count);
}

void sql_put_value(sql_maker *m, const tape_table_info *table, const tape_field_info *field) {
    static const double numbers[] = {0, -1, 0.1, DBL_MAX, 5e-324, 12.5};
    static const int64_t far[] = {0, 1, -1000000001, INT64_C(4102444800000000000)};
    const sql_record *r = sql_pick_record(m, table->id);
    if (sql_below(m, 60) == 0) {
        sql_put(m, "NULL");
        return;
    }
    if (r == NULL) {
        sql_put(m, "%s",
                field->kind == TAPE_FIELD_U64    ? "7"
                : field->kind == TAPE_FIELD_F64  ? "12.5"
                : field->kind == TAPE_FIELD_TIME ? "TIMESTAMP '2024-08-06'"
                                                 : "'u1'");
        return;
    }
    if (!m->no_params && m->out->param_count < SQL_PARAMS_MAX && sql_below(m, 12) == 0) {
        sql_put_param(m, r, field);
        return;
    }
    const uint8_t *at = r->data.bytes + field->offset;
    double number;
    int64_t ns;
    switch (field->kind) {
    case TAPE_FIELD_U64:
        put_seq(m, load_u64(at));
        break;
    case TAPE_FIELD_TIME:
        ns = sql_below(m, 12) == 0 ? far[sql_below(m, COUNT_OF(far))] : time_of(at);
        put_time(m, ns);
        break;
    case TAPE_FIELD_F64:
        memcpy(&number, at, sizeof number);
        put_double(m, sql_chance(m, 10) ? numbers[sql_below(m, COUNT_OF(numbers))] : number);
        break;
    case TAPE_FIELD_ENUM:
        if (field->enum_names[*at] == NULL || sql_chance(m, 8)) {
            sql_put(m, "%s", sql_chance(m, 50) ? "'nothing'" : "'BUY'");
        } else {
            sql_put(m, "'%s'", field->enum_names[*at]);
        }
        break;
    case TAPE_FIELD_ID:
        if (text_size(field, at) == 0 || sql_chance(m, 4)) {
            sql_put(m, "%s", sql_chance(m, 50) ? "''" : "'not there'");
        } else {
            put_text(m, (const char *)at, text_size(field, at));
        }
        break;
    }
}

/* --- conditions --- */

static const char *const comparisons[] = {"=", "<", "<=", ">", ">=", "<>"};
static const char *const mirrored[] = {"=", ">", ">=", "<", "<=", "<>"};

/* Mostly what hints are taken from. */
static const tape_field_info *pick_for_condition(sql_maker *m, const tape_table_info *table) {
    unsigned kinds = SQL_PLAIN | SQL_WILD;
    size_t n = sql_below(m, 10);
    if (n < 3) {
        kinds = SQL_TIME;
    } else if (n < 5) {
        kinds = SQL_SEQ;
    } else if (n < 7) {
        const tape_field_info *instrument = record_field_named(table, "instrument_id");
        if (instrument != NULL) {
            return instrument;
        }
    }
    return sql_pick(m, table, kinds);
}

static void put_in(sql_maker *m, const sql_source *s, const tape_field_info *f) {
    size_t count = 1 + sql_below(m, 4);
    sql_put_column(m, s, f);
    sql_put(m, "%s IN (", sql_chance(m, 25) ? " NOT" : "");
    for (size_t i = 0; i < count; i++) {
        sql_put(m, "%s", i == 0 ? "" : ", ");
        sql_put_value(m, s->table, f);
    }
    sql_put(m, ")");
}

static void put_between(sql_maker *m, const sql_source *s, const tape_field_info *f) {
    sql_put_column(m, s, f);
    sql_put(m, "%s BETWEEN ", sql_chance(m, 15) ? " NOT" : "");
    sql_put_value(m, s->table, f);
    sql_put(m, " AND ");
    sql_put_value(m, s->table, f);
}

static void put_like(sql_maker *m, const sql_source *s) {
    static const char *const likes[] = {"LIKE 'I%'",
                                        "LIKE '%1'",
                                        "NOT LIKE 'u_'",
                                        "ILIKE 'B%'",
                                        "LIKE '%\\_%' ESCAPE '\\'",
                                        "LIKE '_%0%'",
                                        "GLOB '*6*'",
                                        "SIMILAR TO '[a-z][0-9]+'",
                                        "LIKE 'IF2601'",
                                        "NOT ILIKE '%o%'"};
    const tape_field_info *f = sql_pick(m, s->table, SQL_ID | SQL_ENUM);
    if (f == NULL) {
        sql_put(m, "TRUE");
        return;
    }
    sql_put_column(m, s, f);
    sql_put(m, " %s", likes[sql_below(m, COUNT_OF(likes))]);
}

static void put_column_with_column(sql_maker *m, const sql_source *sources, size_t count) {
    const sql_source *a = &sources[sql_below(m, count)];
    const sql_source *b = &sources[sql_below(m, count)];
    const tape_field_info *f = sql_pick(m, a->table, SQL_PLAIN);
    const tape_field_info *g = sql_pick(m, b->table, sql_field_kind(f));
    g = g == NULL || (f->kind == TAPE_FIELD_ENUM && f->enum_names != g->enum_names) ? f : g;
    if (g == f) {
        b = a;
    }
    sql_put_column(m, a, f);
    sql_put(m, " %s ", comparisons[sql_below(m, COUNT_OF(comparisons))]);
    sql_put_column(m, b, g);
}

/* Conditions on something made of a column. */
static void put_derived(sql_maker *m, const sql_source *s) {
    const tape_field_info *f;
    switch (sql_below(m, 9)) {
    case 0:
        sql_put_column(m, s, &s->table->fields[0]);
        sql_put(m, " %% %zu = %zu", 2 + sql_below(m, 5), sql_below(m, 2));
        break;
    case 1:
        sql_put_column(m, s, &s->table->fields[1]);
        sql_put(m, "::DATE %s DATE '2024-08-%02zu'", comparisons[sql_below(m, 6)],
                5 + sql_below(m, 6));
        break;
    case 2:
        sql_put(m, "extract(hour FROM ");
        sql_put_column(m, s, &s->table->fields[1]);
        sql_put(m, ") %s %zu", comparisons[sql_below(m, 6)], sql_below(m, 8));
        break;
    case 3:
        sql_put(m, "coalesce(");
        f = sql_pick(m, s->table, SQL_ID);
        sql_put_column(m, s, f == NULL ? &s->table->fields[0] : f);
        sql_put(m, f == NULL ? ", 0) > 5" : ", 'IF2601') = 'IF2601'");
        break;
    case 4:
        f = sql_pick(m, s->table, SQL_NUMBER);
        sql_put(m, "abs(");
        sql_put_column(m, s, f == NULL ? &s->table->fields[0] : f);
        sql_put(m, f == NULL ? "::HUGEINT) > 10" : ") > 10");
        break;
    case 5:
        sql_put(m, "epoch_ns(");
        sql_put_column(m, s, &s->table->fields[1]);
        sql_put(m, ") %s ", comparisons[sql_below(m, 6)]);
        sql_put(m, "%" PRId64,
                INT64_C(1722821400000000000) + (int64_t)sql_below(m, 400000) * NS_PER_SECOND);
        break;
    case 6:
        sql_put(m, "CASE WHEN ");
        sql_put_column(m, s, &s->table->fields[0]);
        sql_put(m, " > 500 THEN ");
        sql_put_column(m, s, &s->table->fields[1]);
        sql_put(m, " END %s TIMESTAMP '2024-08-06 02:00:00'", comparisons[sql_below(m, 6)]);
        break;
    case 7:
        sql_put_column(m, s, &s->table->fields[0]);
        sql_put(m, " + 10 %s %zu", comparisons[sql_below(m, 6)],
                sql_below(m, m->records->count + 10));
        break;
    default:
        f = sql_pick(m, s->table, SQL_ID);
        sql_put(m, "length(");
        sql_put_column(m, s, f == NULL ? &s->table->fields[0] : f);
        sql_put(m, f == NULL ? "::VARCHAR) = 3" : ") <= 6");
        break;
    }
}

static void put_comparison(sql_maker *m, const sql_source *s, const tape_field_info *f) {
    size_t n = sql_below(m, COUNT_OF(comparisons));
    if (sql_chance(m, 25)) {
        sql_put(m, "(");
        sql_put_value(m, s->table, f);
        sql_put(m, ") %s ", mirrored[n]);
        sql_put_column(m, s, f);
    } else {
        sql_put_column(m, s, f);
        sql_put(m, " %s ", comparisons[n]);
        sql_put_value(m, s->table, f);
    }
}

static void put_simple(sql_maker *m, const sql_source *sources, size_t count) {
    const sql_source *s = &sources[sql_below(m, count)];
    const tape_field_info *f = pick_for_condition(m, s->table);
    switch (sql_below(m, 16)) {
    case 0:
    case 1:
        put_in(m, s, f);
        break;
    case 2:
    case 3:
        put_between(m, s, f);
        break;
    case 4:
        put_like(m, s);
        break;
    case 5:
        f = sql_pick(m, s->table, SQL_PLAIN);
        sql_put_column(m, s, f);
        sql_put(m, " IS %sNULL", sql_chance(m, 50) ? "NOT " : "");
        break;
    case 6:
        sql_put_column(m, s, f);
        sql_put(m, " IS %sDISTINCT FROM ", sql_chance(m, 50) ? "NOT " : "");
        sql_put_value(m, s->table, f);
        break;
    case 7:
        put_column_with_column(m, sources, count);
        break;
    case 8:
        put_derived(m, s);
        break;
    default:
        put_comparison(m, s, f);
        break;
    }
}

void sql_put_condition(sql_maker *m, const sql_source *sources, size_t count, unsigned depth) {
    size_t n = depth == 0 ? 9 : sql_below(m, 12);
    if (n >= 6) {
        put_simple(m, sources, count);
        return;
    }
    if (n == 0) {
        sql_put(m, "NOT (");
        sql_put_condition(m, sources, count, depth - 1);
        sql_put(m, ")");
        return;
    }
    if (n == 1 && sql_chance(m, 15)) {
        static const char *const constants[] = {"TRUE", "FALSE", "NULL", "1 = 1", "NULL::BOOLEAN"};
        sql_put(m, "(%s", constants[sql_below(m, COUNT_OF(constants))]);
    } else {
        sql_put(m, "(");
        sql_put_condition(m, sources, count, depth - 1);
    }
    sql_put(m, n <= 2 ? " OR " : " AND ");
    sql_put_condition(m, sources, count, depth - 1);
    sql_put(m, ")");
}

bool sql_put_where(sql_maker *m, const sql_source *sources, size_t count) {
    static const uint8_t often[] = {0, 1, 1, 1, 2, 2, 3};
    size_t terms = often[sql_below(m, COUNT_OF(often))];
    for (size_t i = 0; i < terms; i++) {
        sql_put(m, i == 0 ? " WHERE " : " AND ");
        sql_put_condition(m, sources, count, (unsigned)sql_below(m, 3));
    }
    return terms > 0;
}

/* --- expressions --- */

static void put_made(sql_maker *m, const sql_source *s) {
    const tape_field_info *number = sql_pick(m, s->table, SQL_NUMBER);
    const tape_field_info *text = sql_pick(m, s->table, SQL_ID | SQL_ENUM);
    switch (sql_below(m, 8)) {
    case 0:
        sql_put(m, "date_trunc('hour', ");
        sql_put_column(m, s, &s->table->fields[1]);
        sql_put(m, ")");
        break;
    case 1:
        sql_put(m, "time_bucket(INTERVAL %zu MINUTE, ", 1 + sql_below(m, 60));
        sql_put_column(m, s, &s->table->fields[1]);
        sql_put(m, ")");
        break;
    case 2:
        sql_put_column(m, s, &s->table->fields[0]);
        sql_put(m, " %% %zu", 2 + sql_below(m, 9));
        break;
    case 3:
        sql_put_column(m, s, &s->table->fields[1]);
        sql_put(m, "::DATE");
        break;
    case 4:
    case 5:
        if (number != NULL) {
            sql_put_column(m, s, number);
            sql_put(m, " * 2 - 1");
            break;
        }
        __attribute__((fallthrough));
    default:
        if (text != NULL) {
            bool upper = sql_chance(m, 50);
            sql_put(m, upper ? "upper(" : "coalesce('x' || ");
            sql_put_column(m, s, text);
            sql_put(m, upper ? ")" : ", 'none')");
            break;
        }
        sql_put_column(m, s, &s->table->fields[0]);
        break;
    }
}

void sql_put_expression(sql_maker *m, const sql_source *sources, size_t count) {
    const sql_source *s = &sources[sql_below(m, count)];
    if (sql_chance(m, 25)) {
        put_made(m, s);
    } else {
        sql_put_column(m, s, sql_pick(m, s->table, SQL_PLAIN));
    }
}
