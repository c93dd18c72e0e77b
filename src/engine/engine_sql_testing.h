/* engine_sql: SQL over a store against a plain DuckDB database that was given the same records. For
 * engine_sql_model_test alone.
 *
 * What holds at any moment
 *  S1 A statement at seq S gives the same answer as the plain database does, in whose tables stand
 *     the records with seq <= S, each once: of `<entity>_history` and of event tables all of them,
 *     of entity tables the newest of each key.
 *  S2 This does not depend on where rows lie (memory, new files, merged files), on the route of the
 *     statement, on whether its result is kept from before, or on what point reads let go.
 *
 * How answers are compared: names, types and values must be the same. Rows are put into order first
 * unless the statement orders them wholly. Doubles must be the same number; where a statement says
 * that its figures depend on the order of rows (`inexact`), they may differ by
 * SQL_RELATIVE_DIFFERENCE_MAX.
 *
 * What statements add up are doubles whose sums are exact in any order. Columns that hold anything
 * a double can be (sql_field_is_wild) are shown, compared and ordered by, but not calculated with.
 */
#ifndef ENGINE_SQL_TESTING_H
#define ENGINE_SQL_TESTING_H

#include "base/base_testing.h"
#include "duck/duck.h"
#include "record/record.h"

#include <tape/tape.h>

#include <setjmp.h>
#include <cmocka.h>

#define SQL_RELATIVE_DIFFERENCE_MAX 1e-9

/* --- records: engine_sql_records_testing.c --- */

typedef union sql_struct {
    uint8_t bytes[TAPE_RECORD_BYTES_MAX];
    tape_order order;
    tape_trade trade;
    tape_account account;
    tape_position position;
    tape_instrument instrument;
    tape_tick tick;
    tape_depth depth;
} sql_struct;

typedef struct sql_record {
    sql_struct data; /* with its seq */
    uint16_t table;
} sql_record;

/* Every record of a store, number seq - 1. */
typedef struct sql_records {
    sql_record *all;
    size_t count, capacity;
} sql_records;

/* Where the random life of an exchange stands. */
typedef struct sql_market {
    uint64_t random;
    int64_t now_ns, last_ns; /* event times: the next rising one, and the last given */
    uint64_t next_order, next_trade;
    int64_t day_ns;      /* how long a day's work goes on before the next day begins */
    size_t busy[2];      /* instruments most records are of just now */
    bool extremes;       /* event times from the beginning to the end of time */
    bool doubles_trades; /* a trade may be told twice */
} sql_market;

void sql_market_init(sql_market *m, uint64_t seed);
/* Makes the next `count` records, as if they had been appended. */
void sql_market_next(sql_market *m, sql_records *to, size_t count);
void sql_records_deinit(sql_records *records);
bool sql_field_is_wild(const tape_field_info *field);

/* --- statements: engine_sql_expressions_testing.c, engine_sql_statements_testing.c and
 * engine_sql_joins_testing.c --- */

#define SQL_PARAMS_MAX 4
typedef struct sql_statement {
    buffer text; /* NUL-terminated */
    bool ordered;
    bool inexact;
    tape_value params[SQL_PARAMS_MAX];
    char param_texts[SQL_PARAMS_MAX][96];
    size_t param_count;
    const char *shape; /* which kind it is of */
} sql_statement;

/* A random statement about the tables, with values that occur in `records` or nearly do. `number`
 * counts statements, so that every shape has its turn. */
void sql_statement_make(sql_statement *out, uint64_t *random, const sql_records *records,
                        uint64_t number);
/* One about a single table that asks for little of it. */
void sql_statement_make_narrow(sql_statement *out, uint64_t *random, const sql_records *records);
void sql_statement_deinit(sql_statement *s);

/* --- making statements: between these files --- */

/* A relation in a FROM clause. */
typedef struct sql_source {
    const tape_table_info *table;
    bool history;
    const char *alias; /* "": columns stand by themselves */
} sql_source;

typedef struct sql_maker {
    uint64_t *random;
    const sql_records *records;
    sql_statement *out;
    bool no_params; /* a value that stands more than once must be one text */
} sql_maker;

/* Kinds of fields, as bits. */
#define SQL_SEQ 1u
#define SQL_TIME 2u
#define SQL_NUMBER 4u
#define SQL_WILD 8u
#define SQL_ENUM 16u
#define SQL_ID 32u
#define SQL_ARRAY 64u
#define SQL_PLAIN (SQL_SEQ | SQL_TIME | SQL_NUMBER | SQL_ENUM | SQL_ID)

static inline size_t sql_below(sql_maker *m, size_t limit) {
    return random_below(m->random, limit);
}
static inline bool sql_chance(sql_maker *m, unsigned percent) {
    return sql_below(m, 100) < percent;
}
void sql_put(sql_maker *m, const char *format, ...) PRINTF_LIKE(2, 3);
unsigned sql_field_kind(const tape_field_info *field);
/* A field of one of the kinds; NULL when the table has none. */
const tape_field_info *sql_pick(sql_maker *m, const tape_table_info *table, unsigned kinds);
void sql_put_column(sql_maker *m, const sql_source *s, const tape_field_info *field);
/* A value like those of the field: one that occurs, a neighbour, or one that cannot be. */
void sql_put_value(sql_maker *m, const tape_table_info *table, const tape_field_info *field);
/* The text of a record's field, as SQL; "NULL" when it is absent. */
void sql_put_field(sql_maker *m, const sql_record *record, const tape_field_info *field);
/* A record of the table, or NULL. */
const sql_record *sql_pick_record(sql_maker *m, uint16_t table);
/* A value as a parameter. */
void sql_put_param(sql_maker *m, const sql_record *record, const tape_field_info *field);
/* A condition about any of the sources, `depth` levels deep at most. */
void sql_put_condition(sql_maker *m, const sql_source *sources, size_t count, unsigned depth);
/* " WHERE ..." or nothing (then false). */
bool sql_put_where(sql_maker *m, const sql_source *sources, size_t count);
/* A column, or something made of columns, whose value does not depend on anything but its row. */
void sql_put_expression(sql_maker *m, const sql_source *sources, size_t count);

/* A relation of any table, or of one; a history now and then. */
sql_source sql_any_source(sql_maker *m, const char *alias);
sql_source sql_source_named(sql_maker *m, uint16_t table, const char *alias);
void sql_put_source(sql_maker *m, const sql_source *s);
/* seq BETWEEN somewhere AND `width` later. */
void sql_put_seq_window(sql_maker *m, const sql_source *s, size_t width);
/* Often an order by all columns, which is total whatever they are, and a LIMIT. */
void sql_put_order_all(sql_maker *m);
/* Of one source; what depends on an order only where its rows come `once`. */
void sql_put_aggregate(sql_maker *m, const sql_source *s, bool once);
/* A condition as tape takes hints from them; on the instrument by itself when the tables' are
 * `merged`. */
void sql_put_hint(sql_maker *m, const sql_source *s, bool merged);
/* What comes out of a join: figures, or a few columns of each. */
void sql_put_joined(sql_maker *m, const sql_source *sources, size_t count);
/* A relation of a few hundred rows, as a subquery. */
void sql_put_narrow(sql_maker *m, const sql_source *s);
/* The shapes of engine_sql_joins_testing.c. */
void sql_shape_join(sql_maker *m);
void sql_shape_comma(sql_maker *m);
void sql_shape_using(sql_maker *m);
void sql_shape_self_join(sql_maker *m);
void sql_shape_semi(sql_maker *m);
void sql_shape_asof(sql_maker *m);
void sql_shape_positional(sql_maker *m);
void sql_shape_hints(sql_maker *m);
void sql_shape_natural(sql_maker *m);

/* --- the plain database and its answers: engine_sql_plain_testing.c --- */

typedef struct sql_answer {
    tape_status status;
    char *error;   /* NULL: none */
    buffer schema; /* "name:type;..." */
    size_t columns, rows;
    uint8_t *is_double; /* by column */
    buffer text;        /* of all cells, each with a NUL */
    size_t *cells;      /* where they begin, row by row */
    size_t cell_capacity;
} sql_answer;

/* Reads a stream to its end and releases it. */
void sql_answer_read(sql_answer *out, struct ArrowArrayStream *stream);
void sql_answer_deinit(sql_answer *a);
/* Whether the answers are the same; if not, `why` says where they differ. */
bool sql_answer_same(sql_answer *a, sql_answer *b, const sql_statement *s, char *why, size_t size);

typedef struct sql_plain {
    duck *duck;
    duck_session *session;
    size_t loaded; /* records */
} sql_plain;

/* It may read the files in that directory. */
void sql_plain_open(sql_plain *p, const char *archive_dir);
void sql_plain_close(sql_plain *p);
/* Brings it up to all the records, and makes statements see those with seq <= `seq`. */
void sql_plain_see(sql_plain *p, const sql_records *records, uint64_t seq);
void sql_plain_answer(sql_plain *p, const sql_statement *s, sql_answer *out);
/* That the archive's files alone, as any engine reads them, tell of every record up to `archived`,
 * and which versions were the newest there. Nobody may be at work on them. */
void sql_plain_check_files(sql_plain *p, const sql_records *records, const char *dir,
                           uint64_t archived);

#endif
