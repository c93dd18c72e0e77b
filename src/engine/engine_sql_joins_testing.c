/* Random statements that join tables. See engine_sql_testing.h and engine_sql_statements_testing.c.
 */
#include "engine/engine_sql_testing.h"

/* ON a.x = b.x for identifiers that both have: all of them, or the one that says most. */
static bool put_equal(sql_maker *m, const sql_source *a, const sql_source *b) {
    static const char *const names[] = {"order_id", "trade_id", "user_id", "instrument_id"};
    bool any = false;
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const tape_field_info *f = record_field_named(a->table, names[i]);
        const tape_field_info *g = record_field_named(b->table, names[i]);
        if (f != NULL && g != NULL && (!any || sql_chance(m, 50))) {
            sql_put(m, "%s", any ? " AND " : "");
            bool turned = sql_chance(m, 50);
            sql_put_column(m, turned ? b : a, turned ? g : f);
            sql_put(m, " = ");
            sql_put_column(m, turned ? a : b, turned ? f : g);
            any = true;
        }
    }
    return any;
}

/* What comes out of a join: figures, or its first rows. */
void sql_put_joined(sql_maker *m, const sql_source *sources, size_t count) {
    if (sql_chance(m, 50)) {
        sql_put(m, "count(*)");
        for (size_t i = 0; i < count; i++) {
            sql_put(m, ", ");
            sql_put_aggregate(m, &sources[i], false);
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        sql_put(m, "%s%s.seq, ", i == 0 ? "" : ", ", sources[i].alias);
        sql_put_expression(m, &sources[i], 1);
    }
}

void sql_put_narrow(sql_maker *m, const sql_source *s) {
    sql_put(m, "(SELECT * FROM ");
    sql_source inner = *s;
    inner.alias = "";
    sql_put_source(m, &inner);
    sql_put(m, " WHERE ");
    sql_put_seq_window(m, &inner, 300);
    sql_put(m, ") AS %s", s->alias);
}

void sql_shape_join(sql_maker *m) {
    static const char *const joins[] = {"JOIN",       "INNER JOIN", "LEFT JOIN",
                                        "RIGHT JOIN", "FULL JOIN",  "LEFT OUTER JOIN"};
    sql_source s[2] = {sql_any_source(m, "a"), sql_any_source(m, "b")};
    bool narrow = sql_chance(m, 25);
    sql_put(m, "SELECT ");
    sql_put_joined(m, s, 2);
    sql_put(m, " FROM ");
    narrow ? sql_put_narrow(m, &s[0]) : sql_put_source(m, &s[0]);
    sql_put(m, " %s ", joins[sql_below(m, COUNT_OF(joins))]);
    sql_put_source(m, &s[1]);
    sql_put(m, " ON ");
    if (!put_equal(m, &s[0], &s[1])) {
        sql_put(m, "a.seq = b.seq + %zu", sql_below(m, 5));
    }
    if (sql_chance(m, 30)) {
        sql_put(m, " AND ");
        sql_put_condition(m, s, 2, 1);
    }
    sql_put_where(m, s, 2);
    sql_put_order_all(m);
}

void sql_shape_comma(sql_maker *m) {
    sql_source s[3] = {
        sql_source_named(m, TAPE_TABLE_TRADES, "a"), sql_source_named(m, TAPE_TABLE_ORDERS, "b"),
        sql_source_named(m, sql_chance(m, 50) ? TAPE_TABLE_ACCOUNTS : TAPE_TABLE_POSITIONS, "c")};
    bool three = sql_chance(m, 40);
    s[2].history = false;
    sql_put(m, "SELECT ");
    sql_put_joined(m, s, three ? 3 : 2);
    sql_put(m, " FROM ");
    for (size_t i = 0; i < (three ? 3u : 2u); i++) {
        sql_put(m, "%s", i == 0 ? "" : ", ");
        sql_put_source(m, &s[i]);
    }
    bool where = sql_put_where(m, s, three ? 3 : 2);
    sql_put(m, "%sa.order_id = b.order_id%s", where ? " AND " : " WHERE ",
            three ? " AND c.user_id = b.user_id" : "");
    sql_put_order_all(m);
}

void sql_shape_using(sql_maker *m) {
    sql_source s[2] = {sql_source_named(m, TAPE_TABLE_TRADES, "a"), sql_any_source(m, "b")};
    bool orders = s[1].table->id == TAPE_TABLE_ORDERS;
    bool users = record_field_named(s[1].table, "user_id") != NULL;
    sql_put(m, "SELECT %s, count(*), min(b.seq), max(a.ts) FROM ",
            orders  ? "order_id"
            : users ? "user_id"
                    : "instrument_id");
    sql_put_narrow(m, &s[0]);
    sql_put(m, " %sJOIN ", sql_chance(m, 40) ? "LEFT " : sql_chance(m, 20) ? "FULL " : "");
    sql_put_source(m, &s[1]);
    sql_put(m, " USING (%s)", orders ? "order_id" : users ? "user_id" : "instrument_id");
    sql_put_where(m, s, 2);
    sql_put(m, " GROUP BY 1");
    sql_put_order_all(m);
}

void sql_shape_self_join(sql_maker *m) {
    sql_source a = sql_any_source(m, "a");
    sql_source b = a;
    b.alias = "b";
    b.history = a.table->kind == TAPE_KIND_ENTITY && sql_chance(m, 50);
    sql_source s[2] = {a, b};
    sql_put(m, "SELECT ");
    sql_put_joined(m, s, 2);
    sql_put(m, " FROM ");
    sql_put_source(m, &a);
    sql_put(m, " %sJOIN ", sql_chance(m, 40) ? "LEFT " : "");
    sql_put_source(m, &b);
    sql_put(m, " ON ");
    if (sql_chance(m, 40) || !put_equal(m, &a, &b)) {
        sql_put(m, "a.seq = b.seq + %zu", sql_below(m, 20));
    } else {
        sql_put(m, " AND a.seq %s b.seq AND b.seq - a.seq::BIGINT BETWEEN -200 AND 200",
                sql_chance(m, 50) ? "<" : ">");
    }
    sql_put_where(m, s, 2);
    sql_put_order_all(m);
}

void sql_shape_semi(sql_maker *m) {
    sql_source a =
        sql_source_named(m, sql_chance(m, 50) ? TAPE_TABLE_TRADES : TAPE_TABLE_ORDERS, "a");
    sql_source b =
        sql_source_named(m, sql_chance(m, 60) ? TAPE_TABLE_ORDERS : TAPE_TABLE_TRADES, "b");
    const char *field = sql_chance(m, 50) ? "order_id" : "user_id";
    sql_put(m, "SELECT a.seq, a.%s FROM ", field);
    sql_put_source(m, &a);
    size_t n = sql_below(m, 8);
    if (n < 2) {
        sql_put(m, " %s JOIN ", n == 0 ? "SEMI" : "ANTI");
        sql_put_source(m, &b);
        sql_put(m, " ON a.%s = b.%s", field, field);
        if (sql_chance(m, 50)) {
            sql_put(m, " AND ");
            sql_put_condition(m, &b, 1, 1);
        }
        sql_put_where(m, &a, 1);
    } else {
        bool where = sql_put_where(m, &a, 1);
        sql_put(m, "%s", where ? " AND " : " WHERE ");
        if (n < 5) {
            sql_put(m, "a.%s %sIN (SELECT b.%s FROM ", field, n == 2 ? "NOT " : "", field);
            sql_put_source(m, &b);
            sql_put_where(m, &b, 1);
            sql_put(m, ")");
        } else if (n < 7) {
            sql_put(m, "%sEXISTS (SELECT 1 FROM ", n == 5 ? "NOT " : "");
            sql_put_source(m, &b);
            sql_put(m, " WHERE b.%s = a.%s AND b.seq %s a.seq AND ", field, field,
                    sql_chance(m, 50) ? "<" : ">=");
            sql_put_condition(m, &b, 1, 1);
            sql_put(m, ")");
        } else {
            sql_put(m, "a.seq %s (SELECT b.seq FROM ", sql_chance(m, 50) ? "> ALL" : "<= ANY");
            sql_put_source(m, &b);
            sql_put(m, " WHERE ");
            sql_put_seq_window(m, &b, 50);
            sql_put(m, ")");
        }
    }
    sql_put_order_all(m);
}

/* Of right rows at the same time any may be the nearest: then only what they share is shown. */
void sql_shape_asof(sql_maker *m) {
    sql_source a = sql_source_named(m, TAPE_TABLE_TRADES, "a");
    sql_source b =
        sql_source_named(m, sql_chance(m, 70) ? TAPE_TABLE_TICKS : TAPE_TABLE_ORDERS, "b");
    sql_source s[2] = {a, b};
    bool by_seq = sql_chance(m, 50);
    bool after = sql_chance(m, 25);
    sql_put(m, "SELECT a.seq, a.ts, a.instrument_id, %s FROM ",
            by_seq ? "b.seq AS bseq, b.ts AS bts, b.instrument_id AS bi" : "b.ts AS bts");
    sql_put_source(m, &a);
    sql_put(m, " ASOF %sJOIN ", sql_chance(m, 50) ? "LEFT " : "");
    sql_put_source(m, &b);
    sql_put(m, " ON a.instrument_id = b.instrument_id AND a.%s %s b.%s", by_seq ? "seq" : "ts",
            after ? "<=" : ">=", by_seq ? "seq" : "ts");
    if (by_seq) {
        sql_put_where(m, s, 2);
    } else {
        bool where = sql_put_where(m, s, 1);
        if (sql_chance(m, 50)) {
            sql_put(m, "%sb.ts %s ", where ? " AND " : " WHERE ", sql_chance(m, 50) ? ">" : "<");
            sql_put_value(m, b.table, &b.table->fields[1]);
        }
    }
    sql_put_order_all(m);
}

void sql_shape_positional(sql_maker *m) {
    sql_source s[2] = {sql_source_named(m, TAPE_TABLE_TRADES, "a"),
                       sql_source_named(m, TAPE_TABLE_TICKS, "b")};
    sql_put(m, "SELECT a.seq, b.seq, a.instrument_id FROM (SELECT * FROM trades ORDER BY seq) a "
               "POSITIONAL JOIN (SELECT * FROM ticks ORDER BY seq) b");
    sql_put_where(m, s, 2);
    sql_put_order_all(m);
}

void sql_put_hint(sql_maker *m, const sql_source *s, bool merged) {
    static const char *const operators[] = {"=", "<", "<=", ">", ">="};
    static const char *const names[] = {"instrument_id", "instrument_id", "ts", "ts", "seq"};
    const char *name = merged ? "instrument_id" : names[sql_below(m, COUNT_OF(names))];
    const tape_field_info *f = record_field_named(s->table, name);
    if (!merged && (f == NULL || sql_chance(m, 25))) {
        f = sql_pick(m, s->table, SQL_PLAIN | SQL_WILD);
    }
    sql_put(m, "%s%s%s", merged ? "" : s->alias, merged ? "" : ".", f->name);
    bool text = f->kind == TAPE_FIELD_ID || f->kind == TAPE_FIELD_ENUM;
    switch (sql_below(m, text ? 6 : 4)) {
    case 0:
        sql_put(m, " BETWEEN ");
        sql_put_value(m, s->table, f);
        sql_put(m, " AND ");
        break;
    case 4:
    case 5:
        sql_put(m, " IN (");
        sql_put_value(m, s->table, f);
        sql_put(m, ", ");
        sql_put_value(m, s->table, f);
        sql_put(m, ")");
        return;
    default:
        sql_put(m, " %s ",
                text && sql_chance(m, 80) ? "=" : operators[sql_below(m, COUNT_OF(operators))]);
        break;
    }
    sql_put_value(m, s->table, f);
}

/* Such conditions, joined by AND, on tables that meet by their instruments in every way there is.
 */
void sql_shape_hints(sql_maker *m) {
    static const char *const joins[] = {"JOIN",      "LEFT JOIN", "RIGHT JOIN",
                                        "FULL JOIN", "ASOF JOIN", "ASOF LEFT JOIN"};
    static const uint8_t tables[] = {TAPE_TABLE_TRADES, TAPE_TABLE_TICKS, TAPE_TABLE_POSITIONS,
                                     TAPE_TABLE_DEPTH, TAPE_TABLE_INSTRUMENTS};
    sql_source s[3];
    for (size_t i = 0; i < 3; i++) {
        static const char *const aliases[] = {"a", "b", "c"};
        s[i] = sql_source_named(m, tables[sql_below(m, COUNT_OF(tables))], aliases[i]);
    }
    const char *join = joins[sql_below(m, COUNT_OF(joins))];
    bool asof = strncmp(join, "ASOF", 4) == 0;
    bool merged = sql_chance(m, 50);
    bool three = sql_chance(m, 30);
    bool nested = three && !asof && sql_chance(m, 40);
    sql_put(m, "SELECT count(*), min(a.seq), max(a.seq), sum(a.seq), min(b.seq), sum(b.seq) FROM ");
    sql_put_source(m, &s[0]);
    sql_put(m, " %s %s", join, nested ? "(" : "");
    sql_put_source(m, &s[1]);
    if (nested) {
        sql_put(m, " %s ", joins[sql_below(m, 4)]);
        sql_put_source(m, &s[2]);
        sql_put(m, " ON b.seq = c.seq + %zu)", sql_below(m, 3));
        merged = false;
    }
    if (merged) {
        sql_put(m, " USING (instrument_id%s)", asof ? ", seq" : "");
    } else {
        sql_put(m, " ON a.instrument_id = b.instrument_id");
        sql_put(m, "%s", asof ? " AND a.seq >= b.seq" : "");
        if (!asof && sql_chance(m, 30)) {
            sql_put(m, " AND ");
            sql_put_hint(m, &s[sql_below(m, 2)], false);
        }
    }
    if (three && !nested) {
        sql_put(m, " %s ", joins[sql_below(m, 4)]);
        sql_put_source(m, &s[2]);
        sql_put(m, " ON b.instrument_id = c.instrument_id AND c.seq = b.seq + %zu",
                1 + sql_below(m, 3));
    }
    size_t count = 1 + sql_below(m, 3);
    for (size_t i = 0; i < count; i++) {
        sql_put(m, i == 0 ? " WHERE " : " AND ");
        bool by_all = merged && (!three || nested) && sql_chance(m, 40);
        sql_put_hint(m, &s[sql_below(m, three ? 3 : 2)], by_all);
    }
}

/* What a table and its history have in common: everything. */
void sql_shape_natural(sql_maker *m) {
    static const char *const joins[] = {"JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"};
    sql_source a = sql_any_source(m, "a");
    sql_source plain = {a.table, false, ""};
    sql_source b = {a.table, false, "b"};
    sql_put(m, "SELECT seq, ts, a.seq AS x, b.seq AS y FROM ");
    sql_put_source(m, &a);
    sql_put(m, " NATURAL %s ", joins[sql_below(m, COUNT_OF(joins))]);
    sql_put_source(m, &b);
    sql_put_where(m, sql_chance(m, 50) ? &plain : &b, 1);
    sql_put_order_all(m);
}
