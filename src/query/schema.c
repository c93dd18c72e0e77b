/* The catalogue of a query engine: one view per table, and the macros that come with every session.
 * All of it is made once, when DuckDB opens: a definition made later would bind every statement
 * anew. */
#include "query/query_internal.h"

#include <stdlib.h>

/* ts is TIMESTAMP_NS, which DuckDB does not compare with TIMESTAMP WITH TIME ZONE. A macro goes
 * before a built-in function of its name. */
static const char *const CLOCKS[] = {
    "CREATE MACRO now() AS system.main.now()::TIMESTAMP",
    "CREATE MACRO get_current_timestamp() AS system.main.now()::TIMESTAMP",
    "CREATE MACRO transaction_timestamp() AS system.main.now()::TIMESTAMP",
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

    /* The newest row per instrument. */
    "CREATE MACRO latest(\"table\") AS TABLE "
    "SELECT * FROM query_table(\"table\") "
    "QUALIFY row_number() OVER (PARTITION BY instrument_id ORDER BY seq DESC) = 1 "
    "ORDER BY instrument_id",
};

static tape_status create_views(duck_session *s, const tape_table_info *table, tape_error *error) {
    bool entity = table->kind == TAPE_KIND_ENTITY;
    char *sql = mem_printf("CREATE VIEW %s AS SELECT * FROM tape_scan('%s', %s)", table->name,
                           table->name, entity ? "true" : "false");
    tape_status status = duck_session_run(s, sql, error);
    free(sql);
    if (status == TAPE_OK && entity) {
        sql = mem_printf("CREATE VIEW %s_history AS SELECT * FROM tape_scan('%s', false)",
                         table->name, table->name);
        status = duck_session_run(s, sql, error);
        free(sql);
    }
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
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT && status == TAPE_OK; id++) {
        status = create_views(s, record_table(id), error);
    }
    for (size_t n = 0; n < COUNT_OF(MACROS) && status == TAPE_OK; n++) {
        status = duck_session_run(s, MACROS[n], error);
    }
    return status;
}
