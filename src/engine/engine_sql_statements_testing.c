/* Random statements, one function per shape. See engine_sql_testing.h.
 *
 * Every statement has one answer: rows are ordered by something total (seq, or all columns) before
 * a LIMIT, and what depends on an order of rows says which. */
#include "engine/engine_sql_testing.h"

#include <stdio.h>
#include <stdlib.h>

static const tape_table_info *any_table(sql_maker *m) {
    static const uint8_t often[] = {
        TAPE_TABLE_ORDERS,    TAPE_TABLE_ORDERS,      TAPE_TABLE_ORDERS,   TAPE_TABLE_TRADES,
        TAPE_TABLE_TRADES,    TAPE_TABLE_TRADES,      TAPE_TABLE_ACCOUNTS, TAPE_TABLE_POSITIONS,
        TAPE_TABLE_POSITIONS, TAPE_TABLE_INSTRUMENTS, TAPE_TABLE_TICKS,    TAPE_TABLE_TICKS,
        TAPE_TABLE_DEPTH};
    return record_table(often[sql_below(m, COUNT_OF(often))]);
}

static sql_source source_of(sql_maker *m, const tape_table_info *table, const char *alias) {
    return (sql_source){table, table->kind == TAPE_KIND_ENTITY && sql_chance(m, 35), alias};
}

sql_source sql_any_source(sql_maker *m, const char *alias) {
    return source_of(m, any_table(m), alias);
}

sql_source sql_source_named(sql_maker *m, uint16_t table, const char *alias) {
    return source_of(m, record_table(table), alias);
}

void sql_put_source(sql_maker *m, const sql_source *s) {
    static const char *const before[] = {"", "", "", "", "", "main.", "memory.main."};
    const char *name = s->table->name;
    sql_put(m, "%s%s%s%s%s", before[sql_below(m, COUNT_OF(before))], name,
            s->history ? "_history" : "",
            s->alias[0] == '\0' ? ""
            : sql_chance(m, 50) ? " AS "
                                : " ",
            s->alias);
}

void sql_put_seq_window(sql_maker *m, const sql_source *s, size_t width) {
    size_t from = sql_below(m, m->records->count + 1);
    sql_put(m, "%s%sseq BETWEEN %zu AND %zu", s->alias, s->alias[0] == '\0' ? "" : ".", from,
            from + width);
}

/* For what must be total whatever the columns are. */
void sql_put_order_all(sql_maker *m) {
    if (sql_chance(m, 60)) {
        sql_put(m, " ORDER BY ALL%s", sql_chance(m, 30) ? " DESC" : "");
        m->out->ordered = true;
        if (sql_chance(m, 50)) {
            sql_put(m, " LIMIT %zu", 1 + sql_below(m, 40));
        }
        if (sql_chance(m, 15)) {
            sql_put(m, " OFFSET %zu", sql_below(m, 10));
        }
    }
}

/* --- rows --- */

static void put_rows_of(sql_maker *m, const sql_source *s) {
    const tape_field_info *left_out = sql_pick(m, s->table, SQL_PLAIN | SQL_WILD | SQL_ARRAY);
    switch (sql_below(m, 6)) {
    case 0:
        sql_put(m, "*");
        return;
    case 1:
        sql_put(m, "* EXCLUDE (%s)", left_out->name);
        return;
    default:
        break;
    }
    size_t count = 1 + sql_below(m, 4);
    for (size_t i = 0; i < count; i++) {
        sql_put(m, "%s", i == 0 ? "" : ", ");
        if (sql_chance(m, 20)) {
            sql_put_column(m, s, sql_pick(m, s->table, SQL_WILD | SQL_ARRAY | SQL_SEQ));
        } else {
            sql_put_expression(m, s, 1);
        }
    }
}

static void shape_rows(sql_maker *m) {
    sql_source s = sql_any_source(m, sql_chance(m, 60) ? "" : "t");
    bool from_first = sql_chance(m, 10);
    if (from_first) {
        sql_put(m, "FROM ");
        sql_put_source(m, &s);
        sql_put(m, " SELECT ");
        put_rows_of(m, &s);
    } else {
        sql_put(m, "SELECT ");
        put_rows_of(m, &s);
        sql_put(m, " FROM ");
        sql_put_source(m, &s);
    }
    sql_put_where(m, &s, 1);
    if (sql_chance(m, 45)) {
        sql_put(m, " ORDER BY ");
        if (sql_chance(m, 60)) {
            sql_put_column(m, &s, sql_pick(m, s.table, SQL_PLAIN | SQL_WILD));
            sql_put(m, "%s, ",
                    sql_chance(m, 50)   ? ""
                    : sql_chance(m, 50) ? " DESC"
                                        : " ASC NULLS FIRST");
        }
        sql_put_column(m, &s, &s.table->fields[0]);
        sql_put(m, "%s", sql_chance(m, 30) ? " DESC" : "");
        m->out->ordered = true;
        if (sql_chance(m, 60)) {
            sql_put(m, " LIMIT %zu", sql_below(m, 60));
        }
        if (sql_chance(m, 20)) {
            sql_put(m, " OFFSET %zu", sql_below(m, 30));
        }
    }
}

static void shape_distinct(sql_maker *m) {
    sql_source s = sql_any_source(m, "");
    if (sql_chance(m, 40)) {
        const tape_field_info *key = sql_pick(m, s.table, SQL_ID | SQL_TIME);
        sql_put(m, "SELECT DISTINCT ON (%s) * FROM ", key->name);
        sql_put_source(m, &s);
        sql_put_where(m, &s, 1);
        sql_put(m, " ORDER BY %s, seq%s", key->name, sql_chance(m, 50) ? " DESC" : "");
        m->out->ordered = true;
        return;
    }
    sql_put(m, "SELECT DISTINCT ");
    sql_put_expression(m, &s, 1);
    if (sql_chance(m, 50)) {
        sql_put(m, ", ");
        sql_put_column(m, &s, sql_pick(m, s.table, SQL_ENUM | SQL_ID));
    }
    sql_put(m, " FROM ");
    sql_put_source(m, &s);
    sql_put_where(m, &s, 1);
    sql_put_order_all(m);
}

/* --- groups --- */

static void put_aggregate_of_number(sql_maker *m, const sql_source *s, const tape_field_info *f) {
    static const char *const plain[] = {"sum", "avg", "min", "max", "median", "count"};
    static const char *const inexact[] = {"stddev_samp", "var_pop"};
    bool is_inexact = sql_chance(m, 8);
    sql_put(m, "%s(",
            is_inexact ? inexact[sql_below(m, COUNT_OF(inexact))]
                       : plain[sql_below(m, COUNT_OF(plain))]);
    m->out->inexact = m->out->inexact || is_inexact;
    sql_put(m, "%s", !is_inexact && sql_chance(m, 10) ? "DISTINCT " : "");
    sql_put_column(m, s, f);
    sql_put(m, ")");
}

static void put_aggregate_in_order(sql_maker *m, const sql_source *s) {
    static const char *const functions[] = {"first", "last", "list", "array_agg"};
    const tape_field_info *f = sql_pick(m, s->table, SQL_PLAIN);
    const char *dot = s->alias[0] == '\0' ? "" : ".";
    switch (sql_below(m, 3)) {
    case 0:
        sql_put(m, "%s(", functions[sql_below(m, COUNT_OF(functions))]);
        sql_put_column(m, s, f);
        sql_put(m, " ORDER BY %s%sseq%s)", s->alias, dot, sql_chance(m, 40) ? " DESC" : "");
        break;
    case 1:
        sql_put(m, "arg_m%s(", sql_chance(m, 50) ? "in" : "ax");
        sql_put_column(m, s, f);
        sql_put(m, ", %s%sseq)", s->alias, dot);
        break;
    default:
        f = sql_pick(m, s->table, SQL_ID | SQL_ENUM);
        sql_put(m, "string_agg(DISTINCT ");
        sql_put_column(m, s, f);
        sql_put(m, ", ';' ORDER BY ");
        sql_put_column(m, s, f);
        sql_put(m, ")");
        break;
    }
}

/* Of one source; orders only where rows of it come once. */
void sql_put_aggregate(sql_maker *m, const sql_source *s, bool once) {
    const tape_field_info *number = sql_pick(m, s->table, SQL_NUMBER);
    switch (sql_below(m, once ? 8 : 5)) {
    case 0:
        sql_put(m, "count(*)");
        if (sql_chance(m, 30)) {
            sql_put(m, " FILTER (WHERE ");
            sql_put_condition(m, s, 1, 1);
            sql_put(m, ")");
        }
        break;
    case 1:
    case 2:
        if (number != NULL) {
            put_aggregate_of_number(m, s, number);
            break;
        }
        __attribute__((fallthrough));
    case 3:
        sql_put(m, "%s(", sql_chance(m, 50) ? "min" : "max");
        sql_put_column(m, s, sql_pick(m, s->table, SQL_PLAIN));
        sql_put(m, ")");
        break;
    case 4:
        sql_put(m, "count(%s", sql_chance(m, 40) ? "DISTINCT " : "");
        sql_put_column(m, s, sql_pick(m, s->table, SQL_PLAIN));
        sql_put(m, ")");
        break;
    case 5:
        if (number != NULL && s->table->id == TAPE_TABLE_TRADES) {
            sql_put(m, "sum(");
            sql_put_column(m, s, record_field_named(s->table, "price"));
            sql_put(m, " * ");
            sql_put_column(m, s, record_field_named(s->table, "volume"));
            sql_put(m, ")");
            break;
        }
        __attribute__((fallthrough));
    default:
        put_aggregate_in_order(m, s);
        break;
    }
}

static void put_group_key(sql_maker *m, const sql_source *s) {
    if (sql_chance(m, 60)) {
        sql_put_column(m, s, sql_pick(m, s->table, SQL_ID | SQL_ENUM));
    } else {
        sql_put_expression(m, s, 1);
    }
}

static void shape_groups(sql_maker *m) {
    sql_source s = sql_any_source(m, sql_chance(m, 60) ? "" : "t");
    size_t keys = sql_below(m, 3);
    size_t values = 1 + sql_below(m, 3);
    sql_put(m, "SELECT ");
    for (size_t i = 0; i < keys; i++) {
        put_group_key(m, &s);
        sql_put(m, " AS k%zu, ", i);
    }
    for (size_t i = 0; i < values; i++) {
        sql_put(m, "%s", i == 0 ? "" : ", ");
        sql_put_aggregate(m, &s, true);
        sql_put(m, " AS v%zu", i);
    }
    sql_put(m, " FROM ");
    sql_put_source(m, &s);
    sql_put_where(m, &s, 1);
    if (keys > 0) {
        static const char *const two[] = {"1, 2", "1, 2", "ROLLUP (1, 2)", "CUBE (1, 2)",
                                          "GROUPING SETS ((1), (2), ())"};
        sql_put(m, " GROUP BY %s", keys == 1 ? "1" : two[sql_below(m, COUNT_OF(two))]);
        if (sql_chance(m, 30)) {
            sql_put(m, " HAVING count(*) > %zu", sql_below(m, 20));
        }
    }
    if (!m->out->inexact) {
        sql_put_order_all(m);
    }
}

/* --- statements in statements --- */

static void shape_with(sql_maker *m) {
    sql_source s = sql_any_source(m, "");
    sql_source x = {s.table, false, "x"};
    sql_put(m, "WITH x AS %s(SELECT * FROM ",
            sql_chance(m, 30)   ? "MATERIALIZED "
            : sql_chance(m, 30) ? "NOT MATERIALIZED "
                                : "");
    sql_put_source(m, &s);
    sql_put_where(m, &s, 1);
    sql_put(m, ") SELECT ");
    if (sql_chance(m, 50)) {
        sql_put(m, "count(*), ");
        sql_put_aggregate(m, &x, true);
        sql_put(m, " FROM x");
        sql_put_where(m, &x, 1);
    } else {
        sql_source y = {s.table, false, "y"};
        sql_source both[2] = {x, y};
        sql_put_joined(m, both, 2);
        sql_put(m, " FROM x JOIN x AS y ON x.seq = y.seq + 1");
        sql_put_where(m, both, 2);
    }
    sql_put_order_all(m);
}

/* Names that are not what they seem. */
static void shape_misleading(sql_maker *m) {
    static const char *const heads[] = {
        "WITH orders AS (SELECT * FROM trades) SELECT count(*), min(orders.seq) FROM orders",
        "SELECT count(*), min(orders.seq), max(orders.ts) FROM trades AS orders",
        "SELECT seq AS price, ts AS seq FROM trades AS orders",
        ("SELECT count(*) FROM (SELECT seq + 100 AS seq, ts + INTERVAL 1 DAY AS ts, 'IF2601' AS "
         "instrument_id, price, volume, side FROM trades WHERE ts BETWEEN TIMESTAMP '2000-01-01' "
         "AND TIMESTAMP '2100-01-01') AS orders"),
        "SELECT count(*), max(orders.seq) FROM trades AS orders, accounts AS trades",
        "SELECT count(*) FROM trades AS orders JOIN orders AS trades USING (order_id)",
        ("SELECT count(*) FROM trades AS orders WHERE seq IN (SELECT seq FROM ticks AS trades "
         "WHERE trades.ts > TIMESTAMP '2024-08-06') OR seq > 0 AND EXISTS (SELECT 1 FROM trades "
         "t WHERE t.seq < orders.seq)"),
        "SELECT count(*), min(orders.ts) FROM (FROM trades UNION ALL FROM trades) AS orders",
        ("SELECT count(*) FROM trades AS x, LATERAL (SELECT count(*) AS n FROM trades WHERE "
         "trades.seq <= x.seq AND trades.seq + 20 > x.seq) AS n, trades AS orders"),
    };
    size_t n = sql_below(m, COUNT_OF(heads) + 2);
    if (n >= COUNT_OF(heads)) { /* columns under each other's names */
        sql_put(m, "SELECT count(*), min(seq) FROM trades AS t(ts, seq) WHERE ts %s %zu AND seq > ",
                sql_chance(m, 50) ? ">" : "<=", sql_below(m, m->records->count + 1));
        sql_put_value(m, record_table(TAPE_TABLE_TRADES),
                      &record_table(TAPE_TABLE_TRADES)->fields[1]);
        return;
    }
    sql_source s = {record_table(TAPE_TABLE_TRADES), false, "orders"};
    sql_put(m, "%s", heads[n]);
    bool where = strstr(heads[n], " orders WHERE ") != NULL;
    if (n == 8) {
        sql_put(m, " WHERE x.seq = orders.seq + 1");
        where = true;
    }
    static const char *const fields[] = {"seq", "ts", "instrument_id", "price", "side"};
    const tape_field_info *f =
        record_field_named(s.table, fields[sql_below(m, n == 5 ? 2 : COUNT_OF(fields))]);
    sql_put(m, "%sorders.%s %s ", where ? " AND " : " WHERE ", f->name,
            sql_chance(m, 30)   ? "="
            : sql_chance(m, 50) ? ">"
                                : "<=");
    sql_put_value(m, s.table, f);
}

static void shape_correlated(sql_maker *m) {
    sql_source a = sql_source_named(m, TAPE_TABLE_ORDERS, "a");
    sql_source t =
        sql_source_named(m, sql_chance(m, 60) ? TAPE_TABLE_TRADES : TAPE_TABLE_ORDERS, "t");
    if (sql_chance(m, 40)) {
        sql_put(m, "SELECT a.seq, a.order_id, l.n, l.last FROM ");
        sql_put_narrow(m, &a);
        sql_put(m, " %sLATERAL (SELECT count(*) AS n, max(t.seq) AS last FROM ",
                sql_chance(m, 50) ? "CROSS JOIN " : ", ");
        sql_put_source(m, &t);
        sql_put(m, " WHERE t.order_id = a.order_id) AS l");
        sql_put_where(m, &a, 1);
    } else {
        sql_put(m, "SELECT a.seq, (SELECT ");
        sql_put_aggregate(m, &t, true);
        sql_put(m, " FROM ");
        sql_put_source(m, &t);
        sql_put(m, " WHERE t.order_id = a.order_id");
        if (sql_chance(m, 50)) {
            sql_put(m, " AND ");
            sql_put_condition(m, &t, 1, 1);
        }
        sql_put(m, ") AS v FROM ");
        sql_put_narrow(m, &a);
        sql_put_where(m, &a, 1);
    }
    if (!m->out->inexact) {
        sql_put_order_all(m);
    }
}

static void shape_scalar(sql_maker *m) {
    sql_source a = sql_any_source(m, "");
    sql_source b = sql_any_source(m, "");
    sql_put(m, "SELECT (SELECT count(*) FROM ");
    sql_put_source(m, &a);
    sql_put_where(m, &a, 1);
    sql_put(m, ") AS x, (SELECT max(seq) FROM ");
    sql_put_source(m, &b);
    sql_put_where(m, &b, 1);
    sql_put(m, ") AS y");
    if (sql_chance(m, 50)) {
        sql_source c = sql_any_source(m, "c");
        sql_put(m, ", c.seq FROM ");
        sql_put_source(m, &c);
        sql_put(m, " WHERE c.seq %s (SELECT avg(seq) FROM ", sql_chance(m, 50) ? ">" : "<");
        sql_put_source(m, &b);
        sql_put(m, ") AND ");
        sql_put_condition(m, &c, 1, 1);
    }
    sql_put_order_all(m);
}

static void shape_sets(sql_maker *m) {
    static const char *const sets[] = {"UNION",        "UNION ALL",         "INTERSECT",
                                       "EXCEPT",       "UNION ALL BY NAME", "EXCEPT ALL",
                                       "INTERSECT ALL"};
    static const char *const lists[] = {"instrument_id", "instrument_id, ts", "seq",
                                        "seq, instrument_id", "ts"};
    static const uint8_t tables[] = {TAPE_TABLE_TRADES, TAPE_TABLE_ORDERS, TAPE_TABLE_TICKS,
                                     TAPE_TABLE_POSITIONS, TAPE_TABLE_DEPTH};
    const char *list = lists[sql_below(m, COUNT_OF(lists))];
    size_t count = 2 + sql_below(m, 2);
    for (size_t i = 0; i < count; i++) {
        sql_source s = sql_source_named(m, tables[sql_below(m, COUNT_OF(tables))], "");
        if (i > 0) {
            sql_put(m, " %s ", sets[sql_below(m, COUNT_OF(sets))]);
        }
        sql_put(m, "SELECT %s FROM ", list);
        sql_put_source(m, &s);
        sql_put_where(m, &s, 1);
    }
    sql_put_order_all(m);
}

/* --- windows --- */

static void put_window(sql_maker *m, const sql_source *s) {
    static const char *const functions[] = {"row_number()",    "rank()",       "count(*)",
                                            "lag(seq, 1)",     "lead(seq, 2)", "first_value(ts)",
                                            "last_value(seq)", "ntile(4)",     "dense_rank()"};
    static const char *const frames[] = {"",
                                         "",
                                         " ROWS 5 PRECEDING",
                                         " ROWS BETWEEN 2 PRECEDING AND 2 FOLLOWING",
                                         " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
                                         " RANGE BETWEEN 50 PRECEDING AND CURRENT ROW"};
    const tape_field_info *number = sql_pick(m, s->table, SQL_NUMBER);
    const tape_field_info *part = sql_pick(m, s->table, SQL_ID | SQL_ENUM);
    bool aggregate = number != NULL && sql_chance(m, 50);
    if (aggregate) {
        static const char *const aggregates[] = {"sum", "avg", "min", "max"};
        sql_put(m, "%s(", aggregates[sql_below(m, COUNT_OF(aggregates))]);
        sql_put_column(m, s, number);
        sql_put(m, ")");
    } else {
        sql_put(m, "%s", functions[sql_below(m, COUNT_OF(functions))]);
    }
    sql_put(m, " OVER (");
    if (part != NULL && sql_chance(m, 75)) {
        sql_put(m, "PARTITION BY %s ", part->name);
    }
    const char *frame = aggregate ? frames[sql_below(m, COUNT_OF(frames))] : "";
    sql_put(m, "ORDER BY seq%s%s)", strncmp(frame, " RANGE", 6) == 0 ? "::BIGINT" : "", frame);
}

static void shape_window(sql_maker *m) {
    sql_source s = sql_any_source(m, "");
    sql_put(m, "SELECT seq, ");
    put_window(m, &s);
    sql_put(m, " AS w FROM ");
    sql_put_source(m, &s);
    sql_put_where(m, &s, 1);
    if (sql_chance(m, 50)) {
        sql_put(m, " QUALIFY ");
        if (sql_chance(m, 50)) {
            put_window(m, &s);
            sql_put(m, " IS NOT NULL AND ");
        }
        sql_put(m, "row_number() OVER (PARTITION BY %s ORDER BY seq%s) <= %zu",
                sql_pick(m, s.table, SQL_ID | SQL_TIME)->name, sql_chance(m, 50) ? " DESC" : "",
                1 + sql_below(m, 3));
    }
    sql_put_order_all(m);
}

/* --- points --- */

static void put_key(sql_maker *m, const tape_table_info *table, const sql_record *r,
                    const tape_field_info *f, const char *alias) {
    bool turned = sql_chance(m, 15);
    bool absent = r == NULL || sql_chance(m, 8);
    if (!turned) {
        sql_put(m, "%s%s = ", alias, f->name);
    }
    if (absent) {
        sql_put(m, "%s", f->kind == TAPE_FIELD_U64 ? "123456789" : "'not there'");
    } else if (sql_chance(m, 50) && m->out->param_count < SQL_PARAMS_MAX) {
        sql_put_param(m, r, f);
    } else if (sql_chance(m, 8)) {
        sql_put_value(m, table, f);
    } else {
        sql_put_field(m, r, f);
    }
    if (turned) {
        sql_put(m, " = %s%s", alias, f->name);
    }
}

static void shape_point(sql_maker *m) {
    static const char *const aliases[] = {"", "", "", "t"};
    sql_source s = sql_any_source(m, aliases[sql_below(m, COUNT_OF(aliases))]);
    s.history = s.history && sql_chance(m, 30);
    const tape_table_info *table = s.table;
    const sql_record *r = sql_pick_record(m, table->id);
    size_t shown = sql_below(m, 4);
    sql_put(m, "SELECT %s", shown == 0 ? "*" : "");
    for (size_t i = 0; i < shown; i++) {
        const tape_field_info *f = sql_pick(m, table, SQL_PLAIN | SQL_WILD | SQL_ARRAY);
        sql_put(m, "%s", i == 0 ? "" : ", ");
        sql_put_column(m, &s, f);
        if (sql_chance(m, 15)) {
            sql_put(m, " AS x%zu", i);
        }
    }
    sql_put(m, " FROM ");
    sql_put_source(m, &s);
    sql_put(m, " WHERE ");
    size_t first = sql_below(m, table->key_count);
    const char *alias = s.alias[0] == '\0' ? "" : "t.";
    for (size_t i = 0; i < table->key_count; i++) {
        sql_put(m, "%s", i == 0 ? "" : " AND ");
        put_key(m, table, r, &table->fields[table->key_fields[(first + i) % table->key_count]],
                alias);
    }
    if (sql_chance(m, 12)) {
        sql_put(m, " AND ");
        sql_put_condition(m, &s, 1, 1);
    }
    if (sql_chance(m, 10)) {
        sql_put(m, " ORDER BY seq LIMIT 1");
    }
    if (sql_chance(m, 10)) {
        sql_put(m, ";");
    }
}

/* --- macros, arrays and the rest --- */

static void put_id_of(sql_maker *m, uint16_t table, const char *name) {
    const sql_record *r = sql_pick_record(m, table);
    const tape_field_info *f = record_field_named(record_table(table), name);
    if (r == NULL || !record_field_present(f, 1, r->data.bytes) || sql_chance(m, 5)) {
        sql_put(m, "'IF2601'");
    } else {
        sql_put_field(m, r, f);
    }
}

static void shape_macro(sql_maker *m) {
    static const char *const widths[] = {"INTERVAL 5 MINUTE", "INTERVAL 1 HOUR", "'30 seconds'",
                                         "INTERVAL 1 DAY", "'15 minutes'"};
    static const char *const bars[] = {"ohlc", "vwap", "market_stats"};
    static const char *const latest[] = {"trades", "ticks",       "positions",        "depth",
                                         "orders", "instruments", "positions_history"};
    size_t n = sql_below(m, 6);
    if (n < 3) {
        m->out->inexact = n == 2;
        sql_put(m, "SELECT * FROM %s(", bars[n]);
        put_id_of(m, TAPE_TABLE_TRADES, "instrument_id");
        sql_put(m, ", %s)", widths[sql_below(m, COUNT_OF(widths))]);
        sql_put(m, "%s", n != 2 && sql_chance(m, 30) ? " WHERE volume > 5" : "");
    } else if (n == 3) {
        sql_put(m, "SELECT * FROM user_trades(");
        put_id_of(m, TAPE_TABLE_TRADES, "user_id");
        sql_put(m, ")");
        sql_source s = {record_table(TAPE_TABLE_TRADES), false, ""};
        sql_put_where(m, &s, 1);
    } else if (n == 4) {
        m->out->inexact = true;
        sql_put(m,
                "SELECT user_id, balance, available, frozen, open_pnl, equity FROM account_pnl(");
        put_id_of(m, TAPE_TABLE_ACCOUNTS, "user_id");
        sql_put(m, ")");
    } else {
        sql_put(m, "SELECT * FROM latest('%s')", latest[sql_below(m, COUNT_OF(latest))]);
        if (sql_chance(m, 40)) {
            sql_put(m, " WHERE instrument_id IN (");
            put_id_of(m, TAPE_TABLE_TICKS, "instrument_id");
            sql_put(m, ", 'a')");
        }
    }
}

static void shape_arrays(sql_maker *m) {
    static const char *const heads[] = {
        "SELECT seq, bid_price[1], bid_volume[10], list_sum(bid_volume) FROM depth",
        "SELECT seq, bid_price, ask_price FROM depth",
        "SELECT seq, unnest(bid_price) AS p, generate_subscripts(bid_price, 1) AS level FROM depth",
        "SELECT instrument_id, max(bid_price[1]), sum(bid_volume[1]) FROM depth GROUP BY 1",
        "SELECT seq, list_max(bid_price) - list_min(bid_price) AS d, len(ask_price) FROM depth",
        "SELECT seq, bid_price[2:3], list_filter(bid_volume, x -> x > 3) FROM depth",
        "SELECT count(*), count(DISTINCT bid_price) FROM depth",
        "SELECT seq, array_to_string(bid_volume, '/') AS v, ask_volume FROM depth",
    };
    size_t n = sql_below(m, COUNT_OF(heads));
    sql_source s = {record_table(TAPE_TABLE_DEPTH), false, ""};
    char head[128];
    (void)snprintf(head, sizeof head, "%s", heads[n]);
    char *group = strstr(head, " GROUP");
    bool grouped = group != NULL;
    if (grouped) {
        *group = '\0';
    }
    sql_put(m, "%s", head);
    sql_put_where(m, &s, 1);
    sql_put(m, "%s", grouped ? " GROUP BY 1" : "");
}

static void shape_others(sql_maker *m) {
    static const char *const texts[] = {
        "FROM trades",
        "SELECT * FROM ORDERS",
        "SELECT count(*) FROM \"orders_history\"",
        "SELECT 1 AS one",
        "VALUES (1, 'a'), (2, NULL)",
        "DESCRIBE orders",
        "DESCRIBE SELECT *, seq + 1 AS n FROM positions_history",
        "SELECT count(*) FROM orders, orders AS o WHERE orders.seq = o.seq",
        ("SELECT r.n, count(t.seq) FROM range(0, 3000, 500) AS r(n) LEFT JOIN trades t ON t.seq "
         "BETWEEN r.n AND r.n + 499 GROUP BY 1 ORDER BY 1"),
        ("SELECT * FROM (PIVOT (SELECT instrument_id, side, volume FROM trades) ON side IN ('buy', "
         "'sell') USING sum(volume) GROUP BY instrument_id) ORDER BY ALL"),
        ("SELECT name, value FROM (UNPIVOT (SELECT seq, long_volume, short_volume FROM positions) "
         "ON long_volume, short_volume INTO NAME name VALUE value) ORDER BY ALL"),
        ("WITH RECURSIVE c(order_id, depth) AS (SELECT order_id, 1 FROM trades WHERE seq < 200 "
         "UNION "
         "SELECT t.counter_order_id, c.depth + 1 FROM trades t JOIN c ON t.order_id = c.order_id "
         "WHERE c.depth < 3) SELECT depth, count(*), min(order_id) FROM c GROUP BY 1"),
        "SELECT count(*) FROM trades WHERE ts > now() - INTERVAL 100 YEAR",
        "SELECT count(*), sum(volume) FROM trades USING SAMPLE 100 PERCENT",
        "SELECT t.* FROM trades t ORDER BY t.seq DESC LIMIT 5",
        "SELECT count(*) FROM (SELECT * FROM ticks LIMIT 0)",
        ("SELECT o.order_id, h.n FROM orders o JOIN (SELECT order_id, count(*) AS n FROM "
         "orders_history GROUP BY 1) h USING (order_id) ORDER BY ALL LIMIT 30"),
        ("SELECT (SELECT count(*) FROM orders) - (SELECT count(DISTINCT order_id) FROM "
         "orders_history) AS d"),
        "SELECT struct_pack(a := seq, b := side) AS s FROM trades ORDER BY seq LIMIT 3",
        "SELECT * FROM orders WHERE order_id = 'o1' AND order_id = 'o2'",
        "SELECT * FROM orders WHERE order_id = 'o1' OR order_id = 'o2'",
        "SELECT * FROM accounts WHERE user_id = 'u1' LIMIT 0",
        "SELECT user_id FROM accounts WHERE user_id IN ('u1')",
        "SELECT DISTINCT user_id FROM accounts WHERE user_id = 'alice'",
        "SELECT count(*) FROM accounts WHERE user_id = 'alice'",
        "SELECT user_id AS \"User Id\", balance FROM accounts WHERE user_id = 'bob'",
        "SELECT USER_ID, seq FROM Accounts WHERE User_Id = 'bob'",
        "SELECT seq, seq FROM accounts WHERE user_id = 'bob'",
        "SELECT * FROM orders WHERE order_id = 'an-order-that-fills-its-field-0000000017'",
        "SELECT * FROM orders WHERE order_id = 'an-order-that-is-far-too-long-for-its-field-0017'",
        "SELECT * FROM orders WHERE order_id = ''",
        "SELECT * FROM orders WHERE order_id = NULL",
        "SELECT * FROM ticks WHERE seq = 3",
        "SELECT * FROM ticks WHERE seq = -1",
        "SELECT * FROM ticks WHERE seq = '12'",
        "SELECT instrument_id FROM depth WHERE seq = 12.0",
    };
    const char *text = texts[sql_below(m, COUNT_OF(texts))];
    sql_put(m, "%s", text);
    m->out->ordered = strstr(text, " ORDER BY ") != NULL;
}

static void put_narrow_select(sql_maker *m, const tape_table_info *table) {
    sql_source s = sql_source_named(m, table->id, "t");
    bool figures = sql_chance(m, 50);
    sql_put(m, "SELECT %s", figures ? "count(*), min(t.seq), " : "t.seq, ");
    figures ? sql_put_aggregate(m, &s, true) : sql_put_expression(m, &s, 1);
    sql_put(m, " FROM ");
    sql_put_source(m, &s);
    sql_put(m, " WHERE ");
    sql_put_hint(m, &s, false);
    if (sql_chance(m, 40)) {
        sql_put(m, " AND ");
        sql_put_hint(m, &s, false);
    }
}

/* One SELECT, or two that look at different parts of the same table. */
static void make_narrow(sql_maker *m) {
    const tape_table_info *table = any_table(m);
    if (sql_chance(m, 60)) {
        put_narrow_select(m, table);
        return;
    }
    for (int i = 0; i < 2; i++) {
        sql_source s = sql_source_named(m, table->id, "t");
        sql_put(m, "%s(SELECT count(*) FROM ", i == 0 ? "SELECT " : " AS v, ");
        sql_put_source(m, &s);
        sql_put(m, " WHERE ");
        sql_put_hint(m, &s, false);
        sql_put(m, ")");
    }
    sql_put(m, " AS w");
}

static const struct {
    const char *name;
    void (*make)(sql_maker *m);
    unsigned weight;
} shapes[] = {
    {"rows", shape_rows, 14},
    {"groups", shape_groups, 14},
    {"point", shape_point, 14},
    {"join", sql_shape_join, 9},
    {"comma", sql_shape_comma, 3},
    {"using", sql_shape_using, 3},
    {"self join", sql_shape_self_join, 4},
    {"semi", sql_shape_semi, 5},
    {"asof", sql_shape_asof, 4},
    {"positional", sql_shape_positional, 1},
    {"with", shape_with, 5},
    {"misleading", shape_misleading, 4},
    {"correlated", shape_correlated, 3},
    {"scalar", shape_scalar, 3},
    {"sets", shape_sets, 4},
    {"hints", sql_shape_hints, 8},
    {"natural", sql_shape_natural, 2},
    {"window", shape_window, 5},
    {"distinct", shape_distinct, 4},
    {"macro", shape_macro, 6},
    {"arrays", shape_arrays, 3},
    {"others", shape_others, 6},
};

void sql_statement_make(sql_statement *out, uint64_t *random, const sql_records *records,
                        uint64_t number) {
    sql_maker m = {.random = random, .records = records, .out = out};
    unsigned total = 0;
    size_t shape = 0;
    *out = (sql_statement){0};
    for (size_t i = 0; i < COUNT_OF(shapes); i++) {
        total += shapes[i].weight;
    }
    /* A step that has no factor with the total in common comes by every shape. */
    unsigned at = (unsigned)(number * 47 % total);
    while (at >= shapes[shape].weight) {
        at -= shapes[shape++].weight;
    }
    out->shape = shapes[shape].name;
    shapes[shape].make(&m);
    buffer_append(&out->text, "", 1);
}

void sql_statement_make_narrow(sql_statement *out, uint64_t *random, const sql_records *records) {
    sql_maker m = {.random = random, .records = records, .out = out};
    *out = (sql_statement){.shape = "narrow"};
    make_narrow(&m);
    buffer_append(&out->text, "", 1);
}

void sql_statement_deinit(sql_statement *s) {
    buffer_deinit(&s->text);
    *s = (sql_statement){0};
}
