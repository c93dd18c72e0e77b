/* Functions: those of the user's, and which of all there are give the same result again.
 *
 * Functions are added to each DuckDB that is opened, in the order they came. The list of names is
 * replaced when one is added; plans that are being made go on with the one they have, so older
 * lists stay until the end. */
#include "query/query_internal.h"

#include <stdlib.h>
#include <strings.h>

/* --- names of functions whose results can be kept --- */

void functions_init(query *q) {
    atomic_init(&q->names, mem_zalloc(sizeof(function_names)));
}

void functions_free(query *q) {
    function_names *names = atomic_load(&q->names);
    while (names != NULL) {
        function_names *older = names->older;
        for (size_t n = 0; n < names->functions.count; n++) {
            free(names->functions.consistent[n]);
        }
        free(names->functions.consistent);
        free(names);
        names = older;
    }
    free(q->added);
}

static void take_name(void *context, const char *name) {
    plan_functions *f = context;
    f->consistent = mem_realloc(f->consistent, (f->count + 1) * sizeof *f->consistent);
    f->consistent[f->count++] = mem_strdup(name);
}

static int compare_names(const void *a, const void *b) {
    return strcasecmp(*(char *const *)a, *(char *const *)b);
}

/* With the mutex held. age(ts) looks at the clock; the others at the session. A name that is given
 * to a function of another kind as well is out. */
static tape_status list_names(query *q, duck_session *s, tape_error *error) {
    function_names *names = mem_zalloc(sizeof *names);
    tape_status status = duck_session_each(
        s,
        "SELECT function_name FROM duckdb_functions() WHERE function_type <> 'table' AND "
        "function_name NOT IN ('age', 'getvariable', 'current_setting') GROUP BY function_name "
        "HAVING bool_and(coalesce(stability = 'CONSISTENT', false))",
        take_name, &names->functions, error);
    for (size_t n = 0; n < q->added_count; n++) {
        const added_function *f = &q->added[n];
        if (f->aggregate != NULL || !f->function->changes) {
            take_name(&names->functions,
                      f->aggregate != NULL ? f->aggregate->name : f->function->name);
        }
    }
    if (names->functions.count > 0) {
        qsort(names->functions.consistent, names->functions.count,
              sizeof *names->functions.consistent, compare_names);
    }
    names->older = atomic_load(&q->names);
    atomic_store(&q->names, names);
    return status;
}

static tape_status add_to_database(duck *d, const added_function *f, tape_error *error) {
    return f->function != NULL ? duck_add_function(d, f->function, error)
                               : duck_add_aggregate(d, f->aggregate, error);
}

tape_status functions_restore(query *q, duck_session *s, tape_error *error) {
    tape_status status = list_names(q, s, error);
    for (size_t n = 0; n < q->added_count && status == TAPE_OK; n++) {
        status = add_to_database(q->duck, &q->added[n], error);
    }
    return status;
}

static tape_status add_function(query *q, added_function f, tape_error *error) {
    duck_session *s = NULL;
    (void)pthread_mutex_lock(&q->mutex);
    tape_status status = session_ensure_database(q, error);
    if (status == TAPE_OK) {
        status = add_to_database(q->duck, &f, error);
    }
    if (status == TAPE_OK) {
        q->added = mem_realloc(q->added, (q->added_count + 1) * sizeof *q->added);
        q->added[q->added_count++] = f;
        status = duck_session_open(q->duck, &s, error);
    }
    if (status == TAPE_OK) {
        status = list_names(q, s, error);
    }
    duck_session_close(&s);
    (void)pthread_mutex_unlock(&q->mutex);
    return status;
}

tape_status query_add_function(query *q, const tape_function *function, tape_error *error) {
    return add_function(q, (added_function){.function = function}, error);
}

tape_status query_add_aggregate(query *q, const tape_aggregate *aggregate, tape_error *error) {
    return add_function(q, (added_function){.aggregate = aggregate}, error);
}
