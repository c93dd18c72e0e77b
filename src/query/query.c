/* Query: sessions, the watchdog, and results as streams.
 *
 * Invariants
 *  Q1 A session runs one statement at a time and sees one seq during it.
 *  Q2 A stream owns its session from query_run until it is released.
 *  Q3 A deadline belongs to a running statement only: it is set before the statement starts and
 * cleared, under the mutex, before its session serves another, so a late interrupt never hits a
 * stranger. Q4 After DuckDB declared itself broken (a bug inside it, provoked by one statement) it
 * is opened anew as soon as no stream is left. Threads: everything here but a single stream is for
 * any thread. */
#include "query/query_internal.h"

#include "os/os.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

/* A deadline that has passed is called again and again: an interrupt that comes between two phases
 * of a statement is forgotten by DuckDB. */
#define INTERRUPT_AGAIN_NS INT64_C(10000000)
#define CANCELLED_ASK_NS INT64_C(50000000)
#define SESSIONS_KEPT 8u

typedef struct session {
    struct session *next;
    duck_session *duck;
    int64_t deadline_ns; /* INT64_MAX: none */
    bool timed_out;
    bool (*cancelled)(void *context); /* NULL: nobody to ask */
    void *cancel_context;
} session;

struct query {
    query_options options;
    char *temp_dir;
    pthread_mutex_t mutex; /* guards all below */
    pthread_cond_t wake;   /* the watchdog */
    duck *duck;            /* NULL until the first statement */
    function_list forbidden;
    session *idle;
    session *running;
    unsigned idle_count;
    bool broken;
    bool closing;
    os_thread *watchdog; /* NULL until the first statement that may end early */
};

/* --- open and close --- */

tape_status query_open(query **out, const query_options *options, tape_error *error) {
    query *q = mem_zalloc(sizeof *q);
    pthread_condattr_t attributes;
    *out = NULL;
    q->options = *options;
    q->temp_dir = options->temp_dir == NULL ? NULL : mem_strdup(options->temp_dir);
    if (pthread_condattr_init(&attributes) != 0 ||
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(&q->wake, &attributes) != 0) {
        free(q->temp_dir);
        free(q);
        return error_set(error, TAPE_NO_MEMORY, "no memory for the query engine");
    }
    (void)pthread_condattr_destroy(&attributes);
    (void)pthread_mutex_init(&q->mutex, NULL);
    *out = q;
    return TAPE_OK;
}

/* With the mutex held and no session running. */
static void close_database(query *q) {
    ASSERT(q->running == NULL);
    while (q->idle != NULL) {
        session *s = q->idle;
        q->idle = s->next;
        duck_session_close(&s->duck);
        free(s);
    }
    q->idle_count = 0;
    duck_close(&q->duck);
    function_list_deinit(&q->forbidden);
    q->broken = false;
}

void query_close(query **handle) {
    query *q = *handle;
    *handle = NULL;
    if (q == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&q->mutex);
    close_database(q);
    q->closing = true;
    (void)pthread_cond_broadcast(&q->wake);
    (void)pthread_mutex_unlock(&q->mutex);
    if (q->watchdog != NULL) {
        os_thread_join(&q->watchdog);
    }
    (void)pthread_cond_destroy(&q->wake);
    (void)pthread_mutex_destroy(&q->mutex);
    free(q->temp_dir);
    free(q);
}

/* With the mutex held. */
static tape_status open_database(query *q, tape_error *error) {
    const duck_options options = {
        .memory_bytes = q->options.memory_bytes,
        .threads = q->options.threads,
        .temp_dir = q->temp_dir,
        .columns = q->options.columns,
        .stats = q->options.stats,
        .stats_context = q->options.stats_context,
    };
    duck_session *s = NULL;
    tape_status status = duck_open(&q->duck, &options, error);
    if (status != TAPE_OK) {
        return status;
    }
    status = duck_session_open(q->duck, &s, error);
    if (status == TAPE_OK) {
        status = schema_create(s, true, error);
    }
    if (status == TAPE_OK) {
        status = admit_list_functions(s, &q->forbidden, error);
    }
    duck_session_close(&s);
    if (status != TAPE_OK) {
        close_database(q);
    }
    return status;
}

/* --- the watchdog --- */

static void watch(void *argument) {
    query *q = argument;
    (void)pthread_mutex_lock(&q->mutex);
    while (!q->closing) {
        int64_t now = clock_monotonic_ns();
        int64_t next = INT64_MAX;
        for (session *s = q->running; s != NULL; s = s->next) {
            int64_t due = s->deadline_ns;
            bool cancelled = s->cancelled != NULL && s->cancelled(s->cancel_context);
            if (due <= now || cancelled) {
                s->timed_out = s->timed_out || !cancelled;
                duck_session_interrupt(s->duck);
                due = now + INTERRUPT_AGAIN_NS;
            } else if (s->cancelled != NULL && due - now > CANCELLED_ASK_NS) {
                due = now + CANCELLED_ASK_NS;
            }
            next = due < next ? due : next;
        }
        if (next == INT64_MAX) {
            (void)pthread_cond_wait(&q->wake, &q->mutex);
        } else {
            struct timespec until = {.tv_sec = next / NS_PER_SECOND,
                                     .tv_nsec = next % NS_PER_SECOND};
            (void)pthread_cond_timedwait(&q->wake, &q->mutex, &until);
        }
    }
    (void)pthread_mutex_unlock(&q->mutex);
}

/* --- sessions --- */

/* With the mutex held. */
static tape_status take_session(query *q, session **out, tape_error *error) {
    tape_status status = TAPE_OK;
    *out = NULL;
    if (q->broken && q->running == NULL) {
        close_database(q);
    }
    if (q->duck == NULL) {
        status = open_database(q, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    session *s = q->idle;
    if (s != NULL) {
        q->idle = s->next;
        q->idle_count--;
    } else {
        s = mem_zalloc(sizeof *s);
        status = duck_session_open(q->duck, &s->duck, error);
        if (status != TAPE_OK) {
            free(s);
            return status;
        }
    }
    s->next = q->running;
    q->running = s;
    *out = s;
    return TAPE_OK;
}

static tape_status acquire_session(query *q, uint64_t seq, const tape_query_options *options,
                                   session **out, tape_error *error) {
    int64_t deadline_ns = clock_deadline_ns(options->timeout_ns);
    bool watched = deadline_ns != INT64_MAX || options->cancelled != NULL;
    (void)pthread_mutex_lock(&q->mutex);
    tape_status status = take_session(q, out, error);
    if (status == TAPE_OK && watched && q->watchdog == NULL) {
        status = os_thread_start(&q->watchdog, "tape-query", -1, watch, q, error);
    }
    if (*out != NULL) {
        (*out)->deadline_ns = status == TAPE_OK ? deadline_ns : INT64_MAX;
        (*out)->timed_out = false;
        (*out)->cancelled = status == TAPE_OK ? options->cancelled : NULL;
        (*out)->cancel_context = options->cancel_context;
        duck_session_see((*out)->duck, seq);
        (void)pthread_cond_signal(&q->wake);
    }
    (void)pthread_mutex_unlock(&q->mutex);
    return status;
}

/* Its deadline no longer counts, and nobody is asked; whether the deadline had passed. */
static bool session_ended(query *q, session *s) {
    (void)pthread_mutex_lock(&q->mutex);
    bool timed_out = s->timed_out;
    s->deadline_ns = INT64_MAX;
    s->cancelled = NULL;
    (void)pthread_mutex_unlock(&q->mutex);
    return timed_out;
}

/* After session_ended. The session counts as running until its connection is closed or idle, since
 * a broken database is closed as soon as none runs. */
static void release_session(query *q, session *s) {
    (void)pthread_mutex_lock(&q->mutex);
    bool keep = q->idle_count < SESSIONS_KEPT && !q->broken;
    (void)pthread_mutex_unlock(&q->mutex);
    if (!keep) {
        duck_session_close(&s->duck);
    }
    (void)pthread_mutex_lock(&q->mutex);
    session **link = &q->running;
    while (*link != s) {
        link = &(*link)->next;
    }
    *link = s->next;
    if (keep) {
        s->next = q->idle;
        q->idle = s;
        q->idle_count++;
    }
    (void)pthread_mutex_unlock(&q->mutex);
    if (!keep) {
        free(s);
    }
}

/* What a failed statement means to the caller. */
static tape_status explain_failure(query *q, session *s, tape_status status, int64_t timeout_ns,
                                   tape_error *error) {
    bool timed_out = session_ended(q, s);
    if (status == TAPE_CANCELLED && timed_out) {
        return error_set(error, TAPE_TIMEOUT, "the statement did not end within %lld ms",
                         (long long)(timeout_ns / 1000000));
    }
    if (status == TAPE_FAILED) {
        (void)pthread_mutex_lock(&q->mutex);
        q->broken = true;
        (void)pthread_mutex_unlock(&q->mutex);
        if (error != NULL) {
            error->status = TAPE_SQL;
        }
        return TAPE_SQL;
    }
    return status;
}

/* --- streams --- */

typedef struct stream {
    query *query;
    session *session;
    duck_result *result;
    int64_t timeout_ns;
    tape_error error; /* status TAPE_OK while all is well */
    bool ended;
} stream;

static int errno_of(tape_status status) {
    switch (status) {
    case TAPE_OK:
        return 0;
    case TAPE_TIMEOUT:
        return ETIMEDOUT;
    case TAPE_CANCELLED:
        return ECANCELED;
    case TAPE_NO_MEMORY:
        return ENOMEM;
    case TAPE_NO_SPACE:
        return ENOSPC;
    case TAPE_FORBIDDEN:
        return EACCES;
    default:
        return EIO;
    }
}

static int stream_fail(stream *t, tape_status status) {
    t->ended = true;
    t->error.status = explain_failure(t->query, t->session, status, t->timeout_ns, &t->error);
    return errno_of(t->error.status);
}

static int stream_schema(struct ArrowArrayStream *self, struct ArrowSchema *out) {
    stream *t = self->private_data;
    tape_status status = duck_result_arrow_schema(t->result, out, &t->error);
    return status == TAPE_OK ? 0 : stream_fail(t, status);
}

static int stream_next(struct ArrowArrayStream *self, struct ArrowArray *out) {
    stream *t = self->private_data;
    memset(out, 0, sizeof *out);
    if (t->ended) {
        return errno_of(t->error.status);
    }
    tape_status status = duck_result_arrow_next(t->result, out, &t->error);
    if (status != TAPE_OK) {
        return stream_fail(t, status);
    }
    if (out->release == NULL) {
        t->ended = true;
        (void)session_ended(t->query, t->session);
    }
    return 0;
}

static const char *stream_last_error(struct ArrowArrayStream *self) {
    stream *t = self->private_data;
    return t->error.status == TAPE_OK ? NULL : t->error.text;
}

static void stream_release(struct ArrowArrayStream *self) {
    stream *t = self->private_data;
    (void)session_ended(t->query, t->session);
    duck_result_close(&t->result);
    release_session(t->query, t->session);
    free(t);
    *self = (struct ArrowArrayStream){0};
}

tape_status query_run(query *q, const char *sql, uint64_t seq, const tape_query_options *options,
                      struct ArrowArrayStream *out, tape_error *error) {
    session *s;
    duck_result *result = NULL;
    *out = (struct ArrowArrayStream){0};
    tape_status status = acquire_session(q, seq, options, &s, error);
    if (s == NULL) {
        return status;
    }
    if (status == TAPE_OK) {
        status = admit(s->duck, &q->forbidden, sql, true, error);
    }
    if (status == TAPE_OK) {
        status = duck_session_start(s->duck, sql, &result, error);
    }
    if (status != TAPE_OK) {
        status = explain_failure(q, s, status, options->timeout_ns, error);
        release_session(q, s);
        return status;
    }
    stream *t = mem_zalloc(sizeof *t);
    t->query = q;
    t->session = s;
    t->result = result;
    t->timeout_ns = options->timeout_ns;
    *out = (struct ArrowArrayStream){.get_schema = stream_schema,
                                     .get_next = stream_next,
                                     .get_last_error = stream_last_error,
                                     .release = stream_release,
                                     .private_data = t};
    return TAPE_OK;
}
