/* duck: the seam to DuckDB. The only directory that includes duckdb.h; everybody else sees
 * databases, sessions and results through this header. It knows how to scan the hot columns at one
 * seq; which statements are let in, and what the tables are called, is decided above.
 *
 * See README.md for the facts about DuckDB that this stands on. */
#ifndef DUCK_H
#define DUCK_H

#include "columns/columns.h"

#include <tape/tape.h>

typedef struct duck duck;                 /* one database, in memory */
typedef struct duck_session duck_session; /* one connection: one statement at a time */
typedef struct duck_result duck_result;   /* one running statement */

typedef struct duck_options {
    uint64_t memory_bytes;
    int threads; /* 0: one per core */
    /* Where DuckDB spills what does not fit its memory; made when needed; NULL: nowhere. */
    const char *temp_dir;
    /* The only files that statements may read or write; everything else outside is closed to them.
     */
    const char *const *paths;
    size_t path_count;
    /* Directories whose files statements may read or write too. */
    const char *const *directories;
    size_t directory_count;
    /* Offered to SQL, by what a session sees (duck_session_see); NULL: no such functions.
     *   tape_scan(table, 'all')         rows with after < seq <= S
     *   tape_scan(table, 'newest')      of an entity table: those that nothing superseded up to S
     *   tape_scan(table, 'superseded')  the others, with a last column superseded_by UBIGINT
     *   tape_newest(table, seq)         whether an archived row was not superseded up to S
     *   tape_superseded_by(table, seq)  what superseded an archived row up to S, or NULL
     *   tape_superseded(table)          pairs (seq, superseded_by), after < superseded_by <= S */
    const columns *columns;
    /* Offered to SQL as tape_status(); NULL: no such function. Any thread. */
    void (*stats)(void *context, tape_stats *out);
    void *stats_context;
} duck_options;

tape_status duck_open(duck **out, const duck_options *options, tape_error *error) TAPE_CHECKED;
/* No session may be open. NULL-safe; sets *d to NULL. */
void duck_close(duck **d);

/* Any thread; the sessions of one database run side by side. */
tape_status duck_session_open(duck *d, duck_session **out, tape_error *error) TAPE_CHECKED;
void duck_session_close(duck_session **s);
/* What the functions over the columns show to statements that start from here on: S and `after`. */
void duck_session_see(duck_session *s, uint64_t after, uint64_t seq);
/* What statements that start from here on want of a table: tape_scan may leave out rows that fail
 * it. The hint and its texts stay the caller's until it is replaced; NULL: everything. */
void duck_session_hint(duck_session *s, uint16_t table, const columns_hint *hint);
/* Sets a variable (getvariable) to a text. */
tape_status duck_session_set(duck_session *s, const char *name, const char *text,
                             tape_error *error) TAPE_CHECKED;
/* Stops the statement that is running, if one is: it fails with CANCELLED. Any thread. */
void duck_session_interrupt(duck_session *s);
/* Share of the running statement that is done, 0 to 1, or -1 when unknown. Any thread. */
double duck_session_progress(duck_session *s);

/* Runs one statement for its effect. For statements of our own making. */
tape_status duck_session_run(duck_session *s, const char *sql, tape_error *error) TAPE_CHECKED;
/* As duck_session_run, and hands every value of the first column to `visit` as text. */
tape_status duck_session_each(duck_session *s, const char *sql,
                              void (*visit)(void *context, const char *text), void *context,
                              tape_error *error) TAPE_CHECKED;

/* Parses `sql` (`size` bytes, no NUL) without running any of it, as DuckDB would understand it.
 * `*tree` (caller frees) is DuckDB's JSON of the syntax trees, {"error":false,"statements":[...]},
 * when every statement is a SELECT of some form, or {"error":true,...}. See query/admit.c, which
 * reads it. SQL when DuckDB would not survive the statement, for reasons that refuse.c tells:
 * whatever users write has to come by here before it is prepared. */
tape_status duck_session_parse(duck_session *s, const char *sql, size_t size, char **tree,
                               tape_error *error) TAPE_CHECKED;

/* A statement that was bound and planned once, to be run any number of times, one at a time. What
 * it scans is what the session sees when a run starts. Variables count as they were when it was
 * prepared, or as they are when DuckDB binds it again, which it does by itself when a function has
 * been added since: run it only while the variables it reads have the texts they had. Close it
 * after its results and before its session. */
typedef struct duck_statement duck_statement;
tape_status duck_statement_prepare(duck_session *s, const char *sql, duck_statement **out,
                                   tape_error *error) TAPE_CHECKED;
size_t duck_statement_params(const duck_statement *st);
void duck_statement_close(duck_statement **st);

/* Starts a statement with a value for each of its parameters ($1 is params[0]) and streams its
 * result: at most about 1 MiB of it waits for the reader. A session can start the next statement
 * once the result is closed. SQL when the number of params is another. */
tape_status duck_statement_start(duck_statement *st, const tape_value *params, size_t param_count,
                                 duck_result **out, tape_error *error) TAPE_CHECKED;
/* The same for a statement that runs once. */
tape_status duck_session_start(duck_session *s, const char *sql, duck_result **out,
                               tape_error *error) TAPE_CHECKED;
/* Stops the statement if it still runs. */
void duck_result_close(duck_result **r);

/* --- results as Arrow --- */
tape_status duck_result_arrow_schema(duck_result *r, struct ArrowSchema *out,
                                     tape_error *error) TAPE_CHECKED;
/* At the end `out->release` is NULL. */
tape_status duck_result_arrow_next(duck_result *r, struct ArrowArray *out,
                                   tape_error *error) TAPE_CHECKED;

/* --- results as values --- */
typedef enum duck_kind {
    DUCK_NULL,
    DUCK_INTEGER, /* `integer` */
    DUCK_DECIMAL, /* `integer` / 10^`scale` */
    DUCK_REAL,    /* `real` */
    DUCK_TEXT,    /* `text`, `size`: VARCHAR and ENUM */
    DUCK_TIME,    /* `integer` units of `unit_ns` since 1970, UTC: dates and timestamps */
    DUCK_LIST,    /* `size` elements from duck_result_element(`first` ...) */
    DUCK_OTHER,   /* any other type */
} duck_kind;

__extension__ typedef __int128 duck_int128;

typedef struct duck_value {
    duck_kind kind;
    uint8_t scale;
    bool infinite; /* DUCK_TIME: 'infinity' or '-infinity' */
    uint64_t size;
    uint64_t first;
    const char *text;
    double real;
    int64_t unit_ns;
    duck_int128 integer;
} duck_value;

typedef struct duck_column {
    const char *name;
    duck_kind kind;       /* of its values that are not NULL; DUCK_NULL: all are */
    duck_kind element;    /* DUCK_LIST: of the elements */
    const char *sql_type; /* "DOUBLE" */
} duck_column;

size_t duck_result_columns(duck_result *r, const duck_column **out);
/* Moves to the next rows. *rows 0: the end. */
tape_status duck_result_next(duck_result *r, size_t *rows, tape_error *error) TAPE_CHECKED;
/* A value of the rows duck_result_next moved to; its text is valid until the next move. */
void duck_result_value(const duck_result *r, size_t column, size_t row, duck_value *out);
/* An element of a DUCK_LIST column. */
void duck_result_element(const duck_result *r, size_t column, uint64_t index, duck_value *out);

/* --- functions of the user's --- */

/* Makes a function known to every statement that starts from here on. The struct and its texts stay
 * the caller's until duck_close. EXISTS when there is one of that name. */
tape_status duck_add_function(duck *d, const tape_function *function,
                              tape_error *error) TAPE_CHECKED;
tape_status duck_add_aggregate(duck *d, const tape_aggregate *aggregate,
                               tape_error *error) TAPE_CHECKED;

/* --- Parquet out --- */

/* Writes a stream to `path` (one of the options' paths) as Parquet; the stream stays the caller's.
 * Errors of the stream itself come back as DuckDB words them; the caller has its own account of
 * them. */
tape_status duck_session_write_parquet(duck_session *s, struct ArrowArrayStream *stream,
                                       const char *path, uint64_t *rows,
                                       tape_error *error) TAPE_CHECKED;

/* Fills `error` from a message of DuckDB's, in one line, and returns the status that follows from
 * it. */
tape_status duck_fail(tape_error *error, const char *text);

/* `text` as an SQL string literal, quotes included; caller frees. */
char *duck_quote(const char *text);

#endif
