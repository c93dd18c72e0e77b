/* query, private.
 *
 * text -> plan (plans.c keeps it) -> answered from the store (point.c), from the cache (cache.c),
 * or by DuckDB (statement.c) in a session (session.c), as a stream (stream.c). */
#ifndef QUERY_INTERNAL_H
#define QUERY_INTERNAL_H

#include "duck/duck.h"
#include "os/os.h"
#include "query/plan_internal.h"
#include "query/query.h"

#include <pthread.h>

/* --- admission --- */

#define QUERY_SQL_BYTES_MAX MIB(1)
#define QUERY_NESTING_MAX 100u
#define QUERY_SELECTS_MAX 16384u
#define QUERY_CONJUNCTIONS_MAX 20000u

/* Names of functions a statement must not call. */
typedef struct function_list {
    char **names;
    size_t count;
} function_list;

/* Fills `out` with the functions of this DuckDB that read files, change settings or run statements
 * given as text: all table functions but those known to be harmless, and some others. */
tape_status admit_list_functions(duck_session *s, function_list *out,
                                 tape_error *error) TAPE_CHECKED;
void function_list_deinit(function_list *list);

/* What EXPLAIN an admitted statement begins with. */
typedef enum admit_explain { EXPLAIN_NOT, EXPLAIN_PLAN, EXPLAIN_ANALYZE } admit_explain;

/* What admission found out about a statement. */
typedef struct admitted {
    char *json; /* DuckDB's account of its syntax */
    json_tree tree;
    const char *body; /* the statement without EXPLAIN: the end of the text */
    admit_explain explain;
} admitted;

/* Lets in exactly one statement that only reads: SELECT in all its forms (FROM, WITH, VALUES,
 * TABLE, DESCRIBE, SHOW, SUMMARIZE, PIVOT) and, if `explain`, EXPLAIN of one. FORBIDDEN for the
 * rest; SQL when it does not parse; TOO_LARGE. Nothing of it runs. What is let in goes to `out`. */
tape_status admit(duck_session *s, const function_list *forbidden, const char *sql, bool explain,
                  admitted *out, tape_error *error) TAPE_CHECKED;
void admitted_deinit(admitted *a);

/* Refuses statements that would keep DuckDB's binder busy without bound (TOO_LARGE), and functions
 * called around the macros that bound them (FORBIDDEN). */
tape_status limits_check(const json_tree *t, tape_error *error) TAPE_CHECKED;

/* --- catalogue --- */

/* Creates the views and macros that statements use; without `with_tables` the clocks alone. */
tape_status schema_create(duck_session *s, bool with_tables, tape_error *error) TAPE_CHECKED;
/* The variable whose text is the SELECT that gives a relation. */
#define SCHEMA_NAME_BYTES 64
void schema_variable(unsigned relation, char out[SCHEMA_NAME_BYTES]);
/* What of a relation is in the hot columns, as a SELECT; caller frees. */
char *schema_hot(unsigned relation);

/* --- the engine --- */

struct session;
struct waiter;
struct results;

/* Names for plan_functions; replaced, never changed. */
typedef struct function_names {
    struct function_names *older;
    plan_functions functions;
} function_names;

/* A function of the user's. */
typedef struct added_function {
    const tape_function *function; /* one of the two is NULL */
    const tape_aggregate *aggregate;
} added_function;

struct query {
    query_options options;
    char *temp_dir, *archive_dir;
    uint32_t running_max;
    pthread_mutex_t mutex; /* guards all down to the watchdog */
    pthread_cond_t wake;   /* the watchdog */
    duck *duck;            /* NULL until the first statement */
    function_list forbidden;
    struct session *idle, *running;
    unsigned idle_count;
    uint32_t running_count; /* turns given: sessions running, and those being made ready */
    struct waiter *waiting_first, *waiting_last;
    uint32_t waiting_count;
    added_function *added;
    size_t added_count;
    bool broken, closing;
    int64_t watch_ns;    /* until when the watchdog sleeps; INT64_MAX: until it is woken */
    os_thread *watchdog; /* NULL until the first statement */
    plans *plans;
    struct results *results;         /* NULL: none are kept */
    _Atomic(function_names *) names; /* the newest of a list; older ones may be in use */
    _Atomic uint64_t statements, from_store, from_cache;
};

/* --- sessions --- */

#define STATEMENTS_KEPT 32u

/* A statement prepared in a session. */
typedef struct prepared {
    char *sql;
    uint32_t relations;
    uint64_t texts[PLAN_RELATIONS]; /* hashes of the relations' texts then */
    duck_statement *statement;      /* NULL: a free place */
    uint64_t used;                  /* the session's count of statements when it ran last */
} prepared;

/* What a statement reads of a relation, for EXPLAIN. */
typedef struct reading {
    archive_pruning archive;
    uint64_t hot_rows;
} reading;

typedef struct session {
    struct session *next;
    duck_session *duck;
    /* Of the running statement; under the query's mutex. */
    int64_t deadline_ns; /* INT64_MAX: none */
    int64_t ask_ns, tell_ns;
    bool timed_out, starved;
    uint64_t memory_start; /* of the process, when the watchdog first saw the statement */
    bool (*cancelled)(void *context); /* NULL: nobody to ask */
    void *cancel_context;
    void (*progress)(void *context, double share); /* NULL: nobody to tell */
    void *progress_context;
    /* Of the thread that has the session. */
    columns_pin *pin;
    archive_view *view;
    plan_hints hints;    /* of the running statement, when `hinted` */
    bool hinted;         /* DuckDB's session was given some of them */
    bool in_transaction; /* so that the clock stands still from the hints on */
    reading readings[PLAN_RELATIONS];
    char *texts[PLAN_RELATIONS]; /* as the variables are set; NULL: not yet */
    uint64_t text_hashes[PLAN_RELATIONS];
    prepared statements[STATEMENTS_KEPT];
    duck_statement *once;  /* one that is too long to be kept */
    uint64_t view_version; /* of the archive, when the prepared ones were */
    uint64_t count;        /* of statements */
    bool spoilt;           /* closed instead of kept */
} session;

/* A session for one statement. Waits for a turn in order of arrival, until the deadline (TIMEOUT)
 * or until the caller says so (CANCELLED). From here on the statement is watched. */
tape_status session_acquire(query *q, const tape_query_options *options, int64_t deadline_ns,
                            session **out, tape_error *error) TAPE_CHECKED;
/* Nobody interrupts, asks or tells any more; whether the deadline had passed. */
bool session_ended(query *q, session *s);
/* After session_ended; no statement of it is open. */
void session_release(query *q, session *s);
/* What a failed statement means to the caller; ends the watch. */
tape_status session_failed(query *q, session *s, tape_status status, int64_t timeout_ns,
                           tape_error *error);

/* With the mutex held: that DuckDB is open. */
tape_status session_ensure_database(query *q, tape_error *error) TAPE_CHECKED;

/* --- memory --- */

/* What the process has to itself; 0: not known. */
uint64_t memory_used(void);
bool memory_is_short(void);

/* --- functions --- */

void functions_init(query *q);
void functions_free(query *q);
/* With the mutex held, for a DuckDB that was just opened. */
tape_status functions_restore(query *q, duck_session *s, tape_error *error) TAPE_CHECKED;

/* --- ways to an answer --- */

/* From the store. *leave: it is DuckDB's to answer, nothing was done. */
tape_status point_run(query *q, plan *p, uint64_t seq, const tape_query_options *options,
                      struct ArrowArrayStream *out, bool *leave, tape_error *error) TAPE_CHECKED;

/* Returns once the columns have reached `seq`; asks the caller meanwhile. */
tape_status query_reach(query *q, uint64_t seq, const tape_query_options *options,
                        int64_t deadline_ns, tape_error *error) TAPE_CHECKED;

/* Values of expressions of a new plan that do not look at the clock; SQL of those that do. */
void plan_settle(plan *p, duck_session *s);
/* Values of those that do, now; `out` has PLAN_EXPRESSIONS_MAX. */
void plan_moments(const plan *p, duck_session *s, plan_moment *out);

/* By DuckDB, in a session that stays the caller's. After success the result is read and closed,
 * and then, in any case but an error of this call, statement_end is called. */
tape_status statement_start(query *q, session *s, const plan *p, uint64_t seq,
                            const tape_query_options *options, int64_t deadline_ns,
                            duck_result **out, tape_error *error) TAPE_CHECKED;
/* Lets go what the statement kept from changing. */
void statement_end(session *s);

/* --- kept results --- */

typedef struct results results;         /* all of them */
typedef struct kept_result kept_result; /* one, counted; does not change once it is complete */
typedef struct result_key {
    const plan *plan;
    const tape_value *params;
    size_t param_count;
} result_key;

results *results_create(uint64_t bytes_max);
void results_close(results **r);
/* A result that is the same at `seq`, held; NULL: there is none. `pin` and `view` (which may be
 * NULL) were opened in this order, and the columns have reached `seq`. */
kept_result *results_find(results *r, const result_key *key, uint64_t seq, const columns *c,
                          const columns_pin *pin, const archive_view *view);
/* Begins one for what a statement gives that runs with this pin and view; NULL: not worth it. */
kept_result *results_begin(results *r, const result_key *key, uint64_t seq, const columns *c,
                           const columns_pin *pin, const archive_view *view);
/* Takes a batch over and gives one of the same values in its place. False, with `batch` as it was:
 * it has become too large, and is gone (*k is NULL). */
bool results_add(results *r, kept_result **k, const struct ArrowSchema *schema,
                 struct ArrowArray *batch);
/* It is complete: keeps it, lets others go. */
void results_end(results *r, kept_result **k, const struct ArrowSchema *schema);
void kept_result_release(kept_result **k); /* NULL-safe */
/* Takes the holder's part over. */
void kept_result_stream(kept_result *k, struct ArrowArrayStream *out);

/* --- EXPLAIN --- */

/* The answer to EXPLAIN of a statement that is answered from the store. */
tape_status explain_point(query *q, plan *p, uint64_t seq, const tape_query_options *options,
                          struct ArrowArrayStream *out, bool *leave,
                          tape_error *error) TAPE_CHECKED;
/* The row that comes before DuckDB's own. */
void explain_route(const session *s, const plan *p, uint64_t seq, struct ArrowArray *out);

/* --- streams of DuckDB's results --- */

typedef struct stream_start {
    query *query;
    session *session;
    duck_result *result;
    int64_t timeout_ns;
    struct ArrowArray head; /* comes first; release NULL: nothing */
    kept_result *keep;      /* NULL: it is not kept */
} stream_start;

/* The stream takes all of it over. */
void stream_open(const stream_start *start, struct ArrowArrayStream *out);

#endif
