/* duck, private. */
#ifndef DUCK_INTERNAL_H
#define DUCK_INTERNAL_H

#include "duck/duck.h"
#include "os/os.h"

/* Its declarations leave parameter lists empty. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <duckdb.h>
#pragma GCC diagnostic pop

#include <pthread.h>

/* DuckDB passes what belongs to a scan or an aggregate from thread to thread in ways of its own,
 * which the thread sanitizer does not see, as DuckDB is not built for it: it is told. */
#if defined(__SANITIZE_THREAD__)
#define DUCK_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define DUCK_SANITIZED 1
#endif
#endif
#ifdef DUCK_SANITIZED
void __tsan_acquire(void *address);
void __tsan_release(void *address);
/* Whatever was written so far, by this thread and those it took over from, */
#define DUCK_HAND_ON(address) __tsan_release((void *)(uintptr_t)(address))
/* is there for whoever takes the same address over. */
#define DUCK_TAKE_OVER(address) __tsan_acquire((void *)(uintptr_t)(address))
#else
#define DUCK_HAND_ON(address) ((void)(address))
#define DUCK_TAKE_OVER(address) ((void)(address))
#endif

typedef struct vector_store vector_store;

/* An aggregate of the user's. */
typedef struct duck_aggregate {
    struct duck_aggregate *next;
    const tape_aggregate *aggregate;
} duck_aggregate;

struct duck {
    duckdb_database database;
    const columns *columns;
    void (*stats)(void *context, tape_stats *out);
    void *stats_context;
    int threads;
    pthread_mutex_t mutex; /* guards `sessions` */
    duck_session *sessions;
    pthread_mutex_t adding; /* one function is added at a time */
    duck_aggregate *_Atomic aggregates;
    vector_store *vectors; /* NULL: none are kept */
};

struct duck_session {
    duck *duck;
    duck_session *next;
    duckdb_connection connection;
    idx_t connection_id;
    /* What the statement sees; nobody changes it while one runs. */
    _Atomic uint64_t after;
    _Atomic uint64_t seq;
    const columns_hint *_Atomic hints[TAPE_TABLE_COUNT + 1];
    _Atomic bool interrupted; /* by duck_session_interrupt, since the statement started */
    duckdb_prepared_statement parser;
    /* Rows that scans of the columns have before them, and have dealt out, in this statement. */
    _Atomic uint64_t scan_rows, scanned_rows;
};

struct duck_statement {
    duck_session *session;
    duckdb_prepared_statement prepared;
    size_t param_count;
    char *once_sql; /* the text, when it must be prepared anew for each run; else NULL */
    bool spent;     /* such a one has run */
    /* The values of its last run, to repeat it. */
    tape_value *values;
    size_t value_count;
};

/* One run of a statement. Zeroed: none. */
typedef struct duck_execution {
    duckdb_pending_result pending;
    duckdb_result result;
} duck_execution;

/* Gives a statement its values; they stay with it until the next call. */
tape_status duck_statement_bind(duck_statement *st, const tape_value *params, size_t count,
                                tape_error *error) TAPE_CHECKED;
tape_status duck_execution_start(duck_execution *run, duck_statement *st,
                                 tape_error *error) TAPE_CHECKED;
void duck_execution_end(duck_execution *run);
/* Why the run that has just failed failed, when DuckDB said only that it was interrupted. */
tape_status duck_statement_find_reason(duck_statement *st, tape_error *error);

/* Refuses a statement, given as duck_session_parse gives it, that DuckDB would not survive. SQL. */
tape_status duck_check_tree(duck *d, const char *tree, tape_error *error) TAPE_CHECKED;

/* The session of a connection; it stays open while a statement of it runs. */
duck_session *duck_find_session(duck *d, idx_t connection_id);

/* The session that a table function, or a scalar one, is being bound for. */
duck_session *duck_bound_session(duck *d, duckdb_bind_info info);
duck_session *duck_scalar_bound_session(duck *d, duckdb_bind_info info);

/* The table that a table function's first argument names; NULL, and the bind has failed, when there
 * is none. */
const tape_table_info *duck_bound_table(duckdb_bind_info info, const char *function);

/* Before a statement runs, and after it. */
void duck_forget_progress(duck_session *s);

/* Adds one column to what a table function that is being bound returns. */
void duck_bind_column(duckdb_bind_info info, const char *name, duckdb_type type);

/* Registers tape_scan; tape_newest, tape_superseded_by and tape_superseded; tape_status. */
bool duck_register_scan(duck *d, duckdb_connection connection);
bool duck_register_superseded(duck *d, duckdb_connection connection);
bool duck_register_status(duck *d, duckdb_connection connection);

#endif
