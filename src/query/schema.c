/* The catalogue of a query engine: one view per relation, and the macros that come with every
 * session. All of it is made once, when DuckDB opens: a definition made later would bind every
 * statement anew. A view reads what a variable of the session says, so that each statement sees the
 * files and rows of its own seq. */
#include "query/query_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ts is TIMESTAMP_NS, which DuckDB does not compare with TIMESTAMP WITH TIME ZONE. A macro goes
 * before a built-in function of its name. */
static const char *const CLOCKS[] = {
    "CREATE MACRO now() AS system.main.now()::TIMESTAMP",
    "CREATE MACRO get_current_timestamp() AS system.main.now()::TIMESTAMP",
    "CREATE MACRO transaction_timestamp() AS system.main.now()::TIMESTAMP",
};

/* Functions that make values of any size, or take time that grows with the product of their
 * arguments' sizes. DuckDB neither counts this memory nor interrupts a function, so sizes are
 * bounded before it is called. A macro goes before a built-in function of its name; admission
 * refuses the names with `system` before them. */
#define ELEMENTS_MAX "1000000"
#define DISTANCE_MAX "1000"
#define BOUNDED(size, name, call)                                                                  \
    "CASE WHEN " size " > " ELEMENTS_MAX " THEN error('" name ": more than " ELEMENTS_MAX          \
    " elements') ELSE system.main." call " END"
/* Of numbers and of times, whichever they are. */
#define STEPS                                                                                      \
    "coalesce((TRY_CAST(b::VARCHAR AS HUGEINT) - TRY_CAST(a::VARCHAR AS HUGEINT)) "                \
    "/ nullif(TRY_CAST(c::VARCHAR AS HUGEINT), 0), "                                               \
    "(epoch_us(TRY_CAST(b::VARCHAR AS TIMESTAMP)) - epoch_us(TRY_CAST(a::VARCHAR AS TIMESTAMP))) " \
    "/ nullif(epoch_us(TRY_CAST(c::VARCHAR AS INTERVAL)), 0))"
#define SERIES(name)                                                                               \
    "CREATE MACRO " name "(a) AS " BOUNDED("a", name, name "(a)") ", (a, b) AS " BOUNDED(          \
        "b::HUGEINT - a::HUGEINT", name,                                                           \
        name "(a, b)") ", (a, b, c) AS " BOUNDED(STEPS, name, name "(a, b, c)")
#define PADDED(name) "CREATE MACRO " name "(a, b, c) AS " BOUNDED("b", name, name "(a, b, c)")
#define RESIZED(name)                                                                              \
    "CREATE MACRO " name "(a, b) AS " BOUNDED("b", name, name "(a, b)") ", (a, b, c) AS " BOUNDED( \
        "b", name, name "(a, b, c)")
#define NEAR(name, call)                                                                           \
    "CASE WHEN greatest(length(a), length(b)) > " DISTANCE_MAX " THEN error('" name                \
    ": a text of more than " DISTANCE_MAX " characters') ELSE system.main." call " END"
#define DISTANCE(name) "CREATE MACRO " name "(a, b) AS " NEAR(name, name "(a, b)")
#define SIMILARITY(name) DISTANCE(name) ", (a, b, c) AS " NEAR(name, name "(a, b, c)")

static const char *const GUARDS[] = {
    "CREATE MACRO repeat(a, b) AS " BOUNDED("length(a::VARCHAR) * b", "repeat", "repeat(a, b)"),
    PADDED("lpad"),
    PADDED("rpad"),
    SERIES("range"),
    SERIES("generate_series"),
    RESIZED("list_resize"),
    RESIZED("array_resize"),
    "CREATE MACRO bitstring(a, b) AS " BOUNDED("b", "bitstring", "bitstring(a, b)"),
    "CREATE MACRO to_base(a, b) AS system.main.to_base(a, b), (a, b, c) AS " BOUNDED(
        "c", "to_base", "to_base(a, b, c)"),
    "CREATE MACRO bar(a, b, c) AS system.main.bar(a, b, c), (a, b, c, d) AS " BOUNDED(
        "d", "bar", "bar(a, b, c, d)"),
    DISTANCE("levenshtein"),
    DISTANCE("editdist3"),
    DISTANCE("damerau_levenshtein"),
    SIMILARITY("jaro_similarity"),
    SIMILARITY("jaro_winkler_similarity"),
};

static const char *const MACROS[] = {
    "CREATE MACRO ohlc(instrument, width) AS TABLE "
    "SELECT time_bucket(width::INTERVAL, ts)::TIMESTAMP_NS AS ts, instrument_id, "
    "arg_min(price, seq) AS open, max(price) AS high, min(price) AS low, "
    "arg_max(price, seq) AS close, sum(volume) AS volume, count(*) AS trades "
    "FROM trades WHERE instrument_id = instrument GROUP BY 1, 2 ORDER BY 1",

    "CREATE MACRO vwap(instrument, width) AS TABLE "
    "SELECT time_bucket(width::INTERVAL, ts)::TIMESTAMP_NS AS ts, instrument_id, "
    "sum(price * volume) / nullif(sum(volume), 0) AS vwap, sum(volume) AS volume "
    "FROM trades WHERE instrument_id = instrument GROUP BY 1, 2 ORDER BY 1",

    "CREATE MACRO market_stats(instrument, width) AS TABLE "
    "SELECT time_bucket(width::INTERVAL, ts)::TIMESTAMP_NS AS ts, instrument_id, "
    "count(*) AS trades, sum(volume) AS volume, sum(price * volume) AS turnover, "
    "sum(price * volume) / nullif(sum(volume), 0) AS vwap, max(price) AS high, min(price) AS low, "
    "coalesce(sum(volume) FILTER (side = 'buy'), 0) AS buy_volume, "
    "coalesce(sum(volume) FILTER (side = 'sell'), 0) AS sell_volume, "
    "stddev_samp(price) AS price_stddev "
    "FROM trades WHERE instrument_id = instrument GROUP BY 1, 2 ORDER BY 1",

    "CREATE MACRO user_trades(\"user\") AS TABLE "
    "SELECT * FROM trades WHERE user_id = \"user\" ORDER BY seq",

    /* Open positions at the price of the instrument's last trade. */
    "CREATE MACRO account_pnl(\"user\") AS TABLE "
    "SELECT a.user_id, a.balance, a.available, a.frozen, a.margin, o.open_pnl, "
    "a.balance + o.open_pnl AS equity FROM accounts a CROSS JOIN "
    "(SELECT coalesce(sum(((t.price - p.long_price) * p.long_volume "
    "+ (p.short_price - t.price) * p.short_volume) * coalesce(i.volume_multiplier, 1)), 0) "
    "AS open_pnl FROM positions p "
    "JOIN (SELECT instrument_id, arg_max(price, seq) AS price FROM trades "
    "GROUP BY instrument_id) t USING (instrument_id) "
    "LEFT JOIN instruments i USING (instrument_id) WHERE p.user_id = \"user\") o "
    "WHERE a.user_id = \"user\"",
};

/* --- relations --- */

static void relation_name(unsigned relation, char out[SCHEMA_NAME_BYTES]) {
    (void)snprintf(out, SCHEMA_NAME_BYTES, "%s%s",
                   record_table(plan_relation_table(relation))->name,
                   plan_relation_is_history(relation) ? "_history" : "");
}

void schema_variable(unsigned relation, char out[SCHEMA_NAME_BYTES]) {
    (void)snprintf(out, SCHEMA_NAME_BYTES, "tape_%s%s",
                   record_table(plan_relation_table(relation))->name,
                   plan_relation_is_history(relation) ? "_history" : "");
}

char *schema_hot(unsigned relation) {
    const tape_table_info *table = record_table(plan_relation_table(relation));
    bool newest = table->kind == TAPE_KIND_ENTITY && !plan_relation_is_history(relation);
    return mem_printf("SELECT * FROM tape_scan('%s', '%s')", table->name,
                      newest ? "newest" : "all");
}

/* A view binds what its variable says, so the variable is set before the view is made. */
static tape_status create_view(duck_session *s, unsigned relation, tape_error *error) {
    char name[SCHEMA_NAME_BYTES];
    char variable[SCHEMA_NAME_BYTES];
    relation_name(relation, name);
    schema_variable(relation, variable);
    char *hot = schema_hot(relation);
    char *sql = mem_printf("CREATE VIEW %s AS FROM query(getvariable('%s'))", name, variable);
    tape_status status = duck_session_set(s, variable, hot, error);
    if (status == TAPE_OK) {
        status = duck_session_run(s, sql, error);
    }
    free(sql);
    free(hot);
    return status;
}

/* latest(table): of an event table the newest row per instrument; of an entity table, which shows
 * the newest of each key already, all of it; of its history, the newest version of each key.
 * query() takes one of these texts, never one of the caller's. */
static void append_latest(buffer *sql, unsigned relation) {
    const tape_table_info *table = record_table(plan_relation_table(relation));
    char name[SCHEMA_NAME_BYTES];
    buffer keys = {0};
    bool event = table->kind == TAPE_KIND_EVENT;
    relation_name(relation, name);
    for (uint32_t k = 0; !event && k < table->key_count; k++) {
        buffer_printf(&keys, "%s%s", k == 0 ? "" : ", ", table->fields[table->key_fields[k]].name);
    }
    buffer_append(&keys, "", 1);
    const char *by = event ? "instrument_id" : (const char *)keys.data;
    buffer_printf(sql, " WHEN '%s' THEN 'SELECT * FROM %s", name, name);
    if (event || plan_relation_is_history(relation)) {
        buffer_printf(sql, " WHERE seq IN (SELECT max(seq) FROM %s GROUP BY %s)", name, by);
    }
    buffer_printf(sql, " ORDER BY %s'", by);
    buffer_deinit(&keys);
}

static tape_status create_latest(duck_session *s, tape_error *error) {
    buffer sql = {0};
    buffer_append_text(&sql, "CREATE MACRO latest(\"table\") AS TABLE SELECT * FROM "
                             "query(CASE lower(\"table\")");
    for (unsigned relation = 1; relation < PLAN_RELATIONS; relation++) {
        if ((plan_relations_all() & PLAN_RELATION_BIT(relation)) != 0) {
            append_latest(&sql, relation);
        }
    }
    buffer_append_text(&sql, " ELSE 'SELECT error(''latest: there is no table of that name'')' "
                             "END)");
    buffer_append(&sql, "", 1);
    tape_status status = duck_session_run(s, (const char *)sql.data, error);
    buffer_deinit(&sql);
    return status;
}

tape_status schema_create(duck_session *s, bool with_tables, tape_error *error) {
    tape_status status = TAPE_OK;
    for (size_t n = 0; n < COUNT_OF(CLOCKS) && status == TAPE_OK; n++) {
        status = duck_session_run(s, CLOCKS[n], error);
    }
    if (!with_tables) {
        return status;
    }
    for (unsigned relation = 1; relation < PLAN_RELATIONS && status == TAPE_OK; relation++) {
        if ((plan_relations_all() & PLAN_RELATION_BIT(relation)) != 0) {
            status = create_view(s, relation, error);
        }
    }
    for (size_t n = 0; n < COUNT_OF(GUARDS) && status == TAPE_OK; n++) {
        status = duck_session_run(s, GUARDS[n], error);
    }
    for (size_t n = 0; n < COUNT_OF(MACROS) && status == TAPE_OK; n++) {
        status = duck_session_run(s, MACROS[n], error);
    }
    return status == TAPE_OK ? create_latest(s, error) : status;
}
