/* The plain database that statements are compared with, and answers as text. See
 * engine_sql_testing.h.
 *
 * All it knows of tape is what its tables mean: `<table>_all` has every record; a view shows those
 * with seq <= the variable `last_seq`; of an entity table the newest of each key is the one with
 * the highest seq. The macros are written down again, in other words. */
#include "engine/engine_sql_testing.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ROWS_PER_INSERT 200

/* --- the tables --- */

static const char *const macros[] = {
    ("CREATE MACRO now() AS system.main.now()::TIMESTAMP"),
    ("CREATE MACRO ohlc(i, w) AS TABLE SELECT b AS ts, instrument_id, first(price ORDER BY seq) AS "
     "open, max(price) AS high, min(price) AS low, last(price ORDER BY seq) AS close, sum(volume) "
     "AS volume, count(*) AS trades FROM (SELECT *, time_bucket(w::INTERVAL, ts)::TIMESTAMP_NS AS "
     "b "
     "FROM trades) WHERE instrument_id = i GROUP BY b, instrument_id"),
    ("CREATE MACRO vwap(i, w) AS TABLE SELECT b AS ts, instrument_id, CASE WHEN sum(volume) <> 0 "
     "THEN sum(price * volume) / sum(volume) END AS vwap, sum(volume) AS volume FROM (SELECT *, "
     "time_bucket(w::INTERVAL, ts)::TIMESTAMP_NS AS b FROM trades) WHERE instrument_id = i GROUP "
     "BY "
     "b, instrument_id"),
    ("CREATE MACRO market_stats(i, w) AS TABLE SELECT b AS ts, instrument_id, count(*) AS trades, "
     "sum(volume) AS volume, sum(price * volume) AS turnover, CASE WHEN sum(volume) <> 0 THEN "
     "sum(price * volume) / sum(volume) END AS vwap, max(price) AS high, min(price) AS low, "
     "sum(CASE WHEN side = 'buy' THEN volume ELSE 0 END) AS buy_volume, "
     "sum(CASE WHEN side = 'sell' THEN volume ELSE 0 END) AS sell_volume, stddev_samp(price) AS "
     "price_stddev FROM (SELECT *, time_bucket(w::INTERVAL, ts)::TIMESTAMP_NS AS b FROM trades) "
     "WHERE instrument_id = i GROUP BY b, instrument_id"),
    ("CREATE MACRO user_trades(u) AS TABLE SELECT * FROM trades WHERE user_id = u"),
    ("CREATE MACRO account_pnl(u) AS TABLE SELECT user_id, balance, available, frozen, margin, "
     "pnl AS open_pnl, balance + pnl AS equity FROM (SELECT *, coalesce((SELECT "
     "sum(((SELECT last(t.price ORDER BY t.seq) FROM trades t WHERE t.instrument_id = "
     "p.instrument_id) - p.long_price) * p.long_volume * m + (p.short_price - (SELECT last(t.price "
     "ORDER BY t.seq) FROM trades t WHERE t.instrument_id = p.instrument_id)) * p.short_volume * "
     "m) "
     "FROM (SELECT positions.*, coalesce(i.volume_multiplier, 1) AS m FROM positions LEFT JOIN "
     "instruments i USING (instrument_id)) p WHERE p.user_id = accounts.user_id), 0) AS pnl FROM "
     "accounts) WHERE user_id = u"),
    ("CREATE MACRO latest(t) AS TABLE SELECT * FROM query(CASE WHEN t IN ('trades', 'ticks', "
     "'depth') THEN 'SELECT x.* FROM ' || t || ' x WHERE NOT EXISTS (SELECT 1 FROM ' || t || ' y "
     "WHERE y.instrument_id IS NOT DISTINCT FROM x.instrument_id AND y.seq > x.seq)' ELSE 'FROM ' "
     "|| replace(t, '_history', '') END)"),
};

static void run(sql_plain *p, const char *sql) {
    tape_error error;
    if (duck_session_run(p->session, sql, &error) != TAPE_OK) {
        fail_msg("%s: %.500s", error.text, sql);
    }
}

static void run_buffer(sql_plain *p, buffer *sql) {
    buffer_append(sql, "", 1);
    run(p, (char *)sql->data);
    sql->size = 0;
}

static void make_table(sql_plain *p, const tape_table_info *table) {
    static const char *const types[] = {[TAPE_FIELD_U64] = "UBIGINT",
                                        [TAPE_FIELD_TIME] = "TIMESTAMP_NS",
                                        [TAPE_FIELD_F64] = "DOUBLE",
                                        [TAPE_FIELD_ENUM] = "VARCHAR",
                                        [TAPE_FIELD_ID] = "VARCHAR"};
    bool entity = table->kind == TAPE_KIND_ENTITY;
    buffer sql = {0};
    buffer_printf(&sql, "CREATE TABLE %s_all (", table->name);
    for (uint32_t i = 0; i < table->field_count; i++) {
        const tape_field_info *f = &table->fields[i];
        buffer_printf(&sql, "%s%s %s", i == 0 ? "" : ", ", f->name, types[f->kind]);
        if (f->count > 1) {
            buffer_printf(&sql, "[%u]", f->count);
        }
    }
    buffer_append_text(&sql, ")");
    run_buffer(p, &sql);
    buffer_printf(&sql,
                  "CREATE VIEW %s%s AS SELECT * FROM %s_all WHERE seq <= getvariable('last_seq')",
                  table->name, entity ? "_history" : "", table->name);
    run_buffer(p, &sql);
    if (entity) {
        buffer_printf(&sql,
                      "CREATE VIEW %s AS SELECT * FROM %s_history QUALIFY seq = max(seq) "
                      "OVER (PARTITION BY ",
                      table->name, table->name);
        for (uint32_t i = 0; i < table->key_count; i++) {
            buffer_printf(&sql, "%s%s", i == 0 ? "" : ", ",
                          table->fields[table->key_fields[i]].name);
        }
        buffer_append_text(&sql, ")");
        run_buffer(p, &sql);
    }
    buffer_deinit(&sql);
}

void sql_plain_open(sql_plain *p, const char *archive_dir) {
    const duck_options options = {
        .memory_bytes = MIB(512), .threads = 1, .directories = &archive_dir, .directory_count = 1};
    tape_error error;
    *p = (sql_plain){0};
    if (duck_open(&p->duck, &options, &error) != TAPE_OK ||
        duck_session_open(p->duck, &p->session, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    run(p, "SET VARIABLE last_seq = 0::UBIGINT");
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        make_table(p, record_table(id));
    }
    for (size_t i = 0; i < COUNT_OF(macros); i++) {
        run(p, macros[i]);
    }
}

void sql_plain_close(sql_plain *p) {
    duck_session_close(&p->session);
    duck_close(&p->duck);
}

/* Inserts the records of one table from number `from` on. */
static void load_table(sql_plain *p, const sql_records *records, size_t from, uint16_t id) {
    const tape_table_info *table = record_table(id);
    sql_statement s = {0};
    sql_maker m = {.records = records, .out = &s};
    size_t rows = 0;
    for (size_t n = from; n < records->count; n++) {
        if (records->all[n].table != id) {
            continue;
        }
        if (rows == 0) {
            sql_put(&m, "INSERT INTO %s_all VALUES ", table->name);
        }
        for (uint32_t i = 0; i < table->field_count; i++) {
            sql_put(&m, "%s", i > 0 ? "," : rows == 0 ? "(" : ",(");
            sql_put_field(&m, &records->all[n], &table->fields[i]);
        }
        sql_put(&m, ")");
        if (++rows == ROWS_PER_INSERT) {
            run_buffer(p, &s.text);
            rows = 0;
        }
    }
    if (rows > 0) {
        run_buffer(p, &s.text);
    }
    buffer_deinit(&s.text);
}

void sql_plain_see(sql_plain *p, const sql_records *records, uint64_t seq) {
    if (p->loaded < records->count) {
        for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
            load_table(p, records, p->loaded, id);
        }
        p->loaded = records->count;
    }
    char sql[64];
    (void)snprintf(sql, sizeof sql, "SET VARIABLE last_seq = %" PRIu64 "::UBIGINT", seq);
    run(p, sql);
}

/* --- files of the archive, as other engines read them --- */

static void add_count(void *context, const char *text) {
    *(uint64_t *)context += strtoull(text, NULL, 10);
}

/* Rows of one select that the other lacks, and the reverse. */
static void check_same_rows(sql_plain *p, const char *files, const char *records) {
    uint64_t count = 0;
    tape_error error;
    char *sql = mem_printf("SELECT count(*) FROM ((%s EXCEPT ALL %s) UNION ALL (%s EXCEPT ALL %s))",
                           files, records, records, files);
    if (duck_session_each(p->session, sql, add_count, &count, &error) != TAPE_OK) {
        fail_msg("%s: %s", error.text, sql);
    }
    if (count != 0) {
        fail_msg("%" PRIu64 " rows differ: %s", count, sql);
    }
    free(sql);
}

static bool has_files(sql_plain *p, const char *dir, const char *table, const char *days) {
    uint64_t count = 0;
    tape_error error;
    char *sql =
        mem_printf("SELECT count(*) FROM glob('%s/table=%s%s/*.parquet')", dir, table, days);
    if (duck_session_each(p->session, sql, add_count, &count, &error) != TAPE_OK) {
        fail_msg("%s: %s", error.text, sql);
    }
    free(sql);
    return count > 0;
}

/* By the statements of docs/SQL.md. */
static void check_files_of(sql_plain *p, const tape_table_info *table, const char *dir,
                           uint64_t archived) {
    const char *name = table->name;
    buffer fields = {0};
    for (uint32_t i = 0; i < table->field_count; i++) {
        const tape_field_info *f = &table->fields[i];
        buffer_printf(&fields, "%s%s%s", i == 0 ? "" : ", ", f->name,
                      f->count > 1 ? "::DOUBLE[]" : "");
    }
    buffer_append(&fields, "", 1);
    const char *list = (const char *)fields.data;
    char *all = mem_printf("SELECT %s FROM read_parquet('%s/table=%s/*/*.parquet', union_by_name = "
                           "true, hive_partitioning = false)",
                           list, dir, name);
    char *records = mem_printf("SELECT %s FROM %s_all WHERE seq <= %" PRIu64, list, name, archived);
    check_same_rows(p, all, records);
    if (table->kind == TAPE_KIND_ENTITY) {
        char *pairs = mem_printf("%s/superseded", dir);
        bool superseded = has_files(p, pairs, name, "");
        char *but = mem_printf("WHERE seq NOT IN (SELECT seq FROM "
                               "'%s/superseded/table=%s/*.parquet')",
                               dir, name);
        char *newest = mem_printf("SELECT %s FROM '%s/table=%s/*/current-*.parquet' %s", list, dir,
                                  name, superseded ? but : "");
        char *newest_records = mem_printf("SELECT %s FROM %s", list, name);
        check_same_rows(p, newest, newest_records);
        free(pairs);
        free(but);
        free(newest);
        free(newest_records);
    }
    free(all);
    free(records);
    buffer_deinit(&fields);
}

void sql_plain_check_files(sql_plain *p, const sql_records *records, const char *dir,
                           uint64_t archived) {
    sql_plain_see(p, records, archived);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        if (has_files(p, dir, record_table(id)->name, "/*")) {
            check_files_of(p, record_table(id), dir, archived);
        }
    }
}

/* --- reading answers --- */

static bool bit(const void *bits, int64_t index) {
    return bits == NULL || (((const uint8_t *)bits)[index / 8] >> (index % 8) & 1) != 0;
}

static void put_double(buffer *out, double value) {
    char text[40];
    buffer_append(out, text, number_format_f64(value, text));
}

static void put_wide(buffer *out, const void *at) {
    duck_int128 value;
    char digits[48];
    size_t n = sizeof digits;
    memcpy(&value, at, sizeof value);
    bool negative = value < 0;
    do {
        int digit = (int)(value % 10);
        digits[--n] = (char)('0' + (digit < 0 ? -digit : digit));
        value /= 10;
    } while (value != 0);
    buffer_append(out, "-", negative);
    buffer_append(out, digits + n, sizeof digits - n);
}

static void put_scalar(buffer *out, const char *format, const struct ArrowArray *array,
                       int64_t row) {
    const void *data = array->buffers[1];
    switch (format[0]) {
    case 'b':
        buffer_append_text(out, bit(data, row) ? "true" : "false");
        break;
    case 'c':
        buffer_printf(out, "%d", ((const int8_t *)data)[row]);
        break;
    case 'i':
        buffer_printf(out, "%" PRId32, ((const int32_t *)data)[row]);
        break;
    case 'I':
        buffer_printf(out, "%" PRIu32, ((const uint32_t *)data)[row]);
        break;
    case 'l':
        buffer_printf(out, "%" PRId64, ((const int64_t *)data)[row]);
        break;
    case 'L':
        buffer_printf(out, "%" PRIu64, ((const uint64_t *)data)[row]);
        break;
    case 't': /* tdD: days in 32 bits, timestamps in 64 */
        if (format[1] == 'd') {
            buffer_printf(out, "%" PRId32, ((const int32_t *)data)[row]);
        } else {
            buffer_printf(out, "%" PRId64, ((const int64_t *)data)[row]);
        }
        break;
    case 'd':
        put_wide(out, (const uint8_t *)data + row * 16);
        break;
    case 'g':
        put_double(out, ((const double *)data)[row]);
        break;
    case 'u': {
        const int32_t *offsets = data;
        buffer_append(out, (const char *)array->buffers[2] + offsets[row],
                      (size_t)(offsets[row + 1] - offsets[row]));
        break;
    }
    default:
        fail_msg("an answer of type %s", format);
    }
}

/* Scalars, lists, arrays and structs of scalars, and nothing deeper. */
static void put_cell(buffer *out, const struct ArrowSchema *schema, const struct ArrowArray *array,
                     int64_t row) {
    if (schema->format[0] != '+') {
        put_scalar(out, schema->format, array, row);
        return;
    }
    bool is_struct = schema->format[1] == 's';
    int64_t first = row;
    int64_t count = is_struct ? schema->n_children : 1;
    if (schema->format[1] == 'w') {
        count = strtoll(schema->format + 3, NULL, 10);
        first = row * count;
    } else if (schema->format[1] == 'l') {
        const int32_t *offsets = array->buffers[1];
        first = offsets[row];
        count = offsets[row + 1] - first;
    } else if (!is_struct) {
        fail_msg("an answer of type %s", schema->format);
    }
    buffer_append_text(out, "[");
    for (int64_t n = 0; n < count; n++) {
        const struct ArrowSchema *type = schema->children[is_struct ? n : 0];
        const struct ArrowArray *values = array->children[is_struct ? n : 0];
        int64_t at = values->offset + (is_struct ? row : first + n);
        buffer_append_text(out, n == 0 ? "" : ",");
        if (bit(values->buffers[0], at)) {
            put_scalar(out, type->format, values, at);
        } else {
            buffer_append_text(out, "NULL");
        }
    }
    buffer_append_text(out, "]");
}

static void read_batch(sql_answer *out, const struct ArrowSchema *schema,
                       const struct ArrowArray *array) {
    size_t more = (out->rows + (size_t)array->length) * out->columns;
    if (more > out->cell_capacity) {
        out->cell_capacity = 2 * more;
        out->cells = mem_realloc(out->cells, out->cell_capacity * sizeof *out->cells);
    }
    for (int64_t row = 0; row < array->length; row++, out->rows++) {
        for (size_t c = 0; c < out->columns; c++) {
            const struct ArrowArray *column = array->children[c];
            int64_t at = row + array->offset + column->offset;
            out->cells[out->rows * out->columns + c] = out->text.size;
            if (bit(column->buffers[0], at)) {
                buffer_append(&out->text, "=", 1); /* or a text could look like a NULL */
                put_cell(&out->text, schema->children[c], column, at);
            } else {
                buffer_append_text(&out->text, "NULL");
            }
            buffer_append(&out->text, "", 1);
        }
    }
}

static void read_schema(sql_answer *out, const struct ArrowSchema *schema) {
    out->columns = (size_t)schema->n_children;
    out->is_double = mem_zalloc(out->columns + 1);
    for (size_t c = 0; c < out->columns; c++) {
        const struct ArrowSchema *column = schema->children[c];
        out->is_double[c] = column->format[0] == 'g';
        buffer_printf(&out->schema, "%s:%s", column->name, column->format);
        for (int64_t n = 0; n < column->n_children; n++) {
            buffer_printf(&out->schema, "<%s>", column->children[n]->format);
        }
        buffer_append_text(&out->schema, "; ");
    }
    buffer_append(&out->schema, "", 1);
}

void sql_answer_read(sql_answer *out, struct ArrowArrayStream *stream) {
    struct ArrowSchema schema = {0};
    *out = (sql_answer){0};
    int failed = stream->get_schema(stream, &schema);
    if (failed == 0) {
        read_schema(out, &schema);
    }
    while (failed == 0) {
        struct ArrowArray array = {0};
        failed = stream->get_next(stream, &array);
        if (failed != 0 || array.release == NULL) {
            break;
        }
        read_batch(out, &schema, &array);
        array.release(&array);
    }
    if (failed != 0) {
        out->status = TAPE_SQL;
        out->error = mem_strdup(stream->get_last_error(stream));
    }
    if (schema.release != NULL) {
        schema.release(&schema);
    }
    stream->release(stream);
}

void sql_answer_deinit(sql_answer *a) {
    free(a->error);
    buffer_deinit(&a->schema);
    buffer_deinit(&a->text);
    free(a->is_double);
    free(a->cells);
    *a = (sql_answer){0};
}

/* The plain database's own results, as a stream. */
void sql_plain_answer(sql_plain *p, const sql_statement *s, sql_answer *out) {
    duck_statement *statement = NULL;
    duck_result *result = NULL;
    struct ArrowSchema schema = {0};
    tape_error error = {0};
    *out = (sql_answer){0};
    const char *sql = (const char *)s->text.data;
    tape_status status = duck_statement_prepare(p->session, sql, &statement, &error);
    if (status == TAPE_OK) {
        status = duck_statement_start(statement, s->params, s->param_count, &result, &error);
    }
    if (status == TAPE_OK) {
        status = duck_result_arrow_schema(result, &schema, &error);
    }
    if (status == TAPE_OK) {
        read_schema(out, &schema);
    }
    while (status == TAPE_OK) {
        struct ArrowArray array = {0};
        status = duck_result_arrow_next(result, &array, &error);
        if (status != TAPE_OK || array.release == NULL) {
            break;
        }
        read_batch(out, &schema, &array);
        array.release(&array);
    }
    if (schema.release != NULL) {
        schema.release(&schema);
    }
    duck_result_close(&result);
    duck_statement_close(&statement);
    out->status = status;
    if (status != TAPE_OK) {
        out->error = mem_strdup(error.text);
    }
}

/* --- comparing --- */

static const char *cell(const sql_answer *a, size_t row, size_t column) {
    return (const char *)a->text.data + a->cells[row * a->columns + column];
}

typedef struct sort_context {
    const sql_answer *answer;
    bool inexact;
} sort_context;

/* By what is exact first: inexact figures may differ in their last digits. */
static int compare_rows(const void *left, const void *right, void *context) {
    const sort_context *c = context;
    const sql_answer *a = c->answer;
    for (int doubles = 0; doubles <= 1; doubles++) {
        for (size_t n = 0; n < a->columns; n++) {
            if ((c->inexact && a->is_double[n]) != (doubles == 1)) {
                continue;
            }
            int order =
                strcmp(cell(a, *(const size_t *)left, n), cell(a, *(const size_t *)right, n));
            if (order != 0) {
                return order;
            }
        }
    }
    return 0;
}

static size_t *order_of(const sql_answer *a, const sql_statement *s) {
    size_t *rows = mem_alloc((a->rows + 1) * sizeof *rows);
    sort_context context = {a, s->inexact};
    for (size_t i = 0; i < a->rows; i++) {
        rows[i] = i;
    }
    if (!s->ordered) {
        qsort_r(rows, a->rows, sizeof *rows, compare_rows, &context);
    }
    return rows;
}

static bool same_cell(const char *a, const char *b, bool inexact) {
    double x;
    double y;
    if (strcmp(a, b) == 0) {
        return true;
    }
    return inexact && a[0] == '=' && b[0] == '=' && number_parse_f64(a + 1, strlen(a + 1), &x) &&
           number_parse_f64(b + 1, strlen(b + 1), &y) &&
           fabs(x - y) <= SQL_RELATIVE_DIFFERENCE_MAX * fmax(fabs(x), fabs(y));
}

bool sql_answer_same(sql_answer *a, sql_answer *b, const sql_statement *s, char *why, size_t size) {
    if (a->status != b->status) {
        (void)snprintf(why, size, "%s %s, should be %s %s", tape_status_name(a->status),
                       a->error == NULL ? "" : a->error, tape_status_name(b->status),
                       b->error == NULL ? "" : b->error);
        return false;
    }
    if (a->status != TAPE_OK) {
        return true;
    }
    if (strcmp((char *)a->schema.data, (char *)b->schema.data) != 0) {
        (void)snprintf(why, size, "columns are %s, should be %s", (char *)a->schema.data,
                       (char *)b->schema.data);
        return false;
    }
    if (a->rows != b->rows) {
        (void)snprintf(why, size, "%zu rows, should be %zu", a->rows, b->rows);
        return false;
    }
    size_t *left = order_of(a, s);
    size_t *right = order_of(b, s);
    bool same = true;
    for (size_t i = 0; i < a->rows && same; i++) {
        for (size_t c = 0; c < a->columns && same; c++) {
            const char *x = cell(a, left[i], c);
            const char *y = cell(b, right[i], c);
            same = same_cell(x, y, s->inexact && a->is_double[c]);
            if (!same) {
                (void)snprintf(why, size, "row %zu of %zu, column %zu: %.100s, should be %.100s",
                               i + 1, a->rows, c + 1, x, y);
            }
        }
    }
    free(left);
    free(right);
    return same;
}
