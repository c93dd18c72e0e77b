/* Sessions: DuckDB, its connections, the queue for them, the watchdog.
 *
 * Invariants
 *  Q1 A session runs one statement at a time and sees one seq during it.
 *  Q2 At most running_max sessions run; the others wait in the order they came.
 *  Q3 A deadline, a question or news belong to a running statement only: they are set before it
 *     starts and cleared, under the mutex, before its session serves another, so a late interrupt
 *     never hits a stranger.
 *  Q4 After DuckDB declared itself broken (a bug inside it, provoked by one statement) it is opened
 *     anew as soon as no session runs, with the functions that were added.
 * Threads: everything here is for any thread; a session is its caller's. */
#include "query/query_internal.h"

#include <stdlib.h>
#include <time.h>

/* A deadline that has passed is called again and again: an interrupt that comes between two phases
 * of a statement is forgotten by DuckDB. */
#define INTERRUPT_AGAIN_NS INT64_C(10000000)
#define ASK_NS INT64_C(50000000)
#define TELL_NS INT64_C(100000000)
#define MEMORY_NS INT64_C(50000000)
/* By how much the process may grow, beside what DuckDB counts, before it is asked whether memory is
 * short. */
#define GROWTH_BYTES GIB(1)
#define RUNNING_PER_CORE 4u
#define IDLE_KEPT 8u

/* Somebody who wants a session. */
typedef struct waiter {
    struct waiter *next;
    pthread_cond_t turn;
    bool given;
} waiter;

static int64_t earlier(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static struct timespec at_time(int64_t ns) {
    return (struct timespec){.tv_sec = ns / NS_PER_SECOND, .tv_nsec = ns % NS_PER_SECOND};
}

static bool cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    bool done = pthread_condattr_init(&attributes) == 0 &&
                pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 &&
                pthread_cond_init(cond, &attributes) == 0;
    (void)pthread_condattr_destroy(&attributes);
    return done;
}

/* --- open and close --- */

tape_status query_open(query **out, const query_options *options, tape_error *error) {
    query *q = mem_zalloc(sizeof *q);
    *out = NULL;
    if (!cond_init(&q->wake)) {
        free(q);
        return error_set(error, TAPE_NO_MEMORY, "no memory for the query engine");
    }
    (void)pthread_mutex_init(&q->mutex, NULL);
    q->options = *options;
    q->temp_dir = options->temp_dir == NULL ? NULL : mem_strdup(options->temp_dir);
    q->archive_dir = options->archive_dir == NULL ? NULL : mem_strdup(options->archive_dir);
    q->plans = plans_create();
    q->results = options->cache_bytes == 0 ? NULL : results_create(options->cache_bytes);
    functions_init(q);
    q->running_max = options->running_max > 0 ? options->running_max
                                              : RUNNING_PER_CORE * (uint32_t)os_cpu_count();
    *out = q;
    return TAPE_OK;
}

static void session_close(session *s) {
    duck_statement_close(&s->once);
    for (size_t n = 0; n < STATEMENTS_KEPT; n++) {
        duck_statement_close(&s->statements[n].statement);
        free(s->statements[n].sql);
        s->statements[n].sql = NULL;
    }
    duck_session_close(&s->duck);
}

static void session_free(session *s) {
    session_close(s);
    for (unsigned r = 0; r < PLAN_RELATIONS; r++) {
        free(s->texts[r]);
    }
    free(s);
}

/* With the mutex held and no session running. */
static void close_database(query *q) {
    ASSERT(q->running == NULL);
    while (q->idle != NULL) {
        session *s = q->idle;
        q->idle = s->next;
        session_free(s);
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
    ASSERT(q->waiting_first == NULL);
    close_database(q);
    q->closing = true;
    (void)pthread_cond_broadcast(&q->wake);
    (void)pthread_mutex_unlock(&q->mutex);
    if (q->watchdog != NULL) {
        os_thread_join(&q->watchdog);
    }
    (void)pthread_cond_destroy(&q->wake);
    (void)pthread_mutex_destroy(&q->mutex);
    plans_close(&q->plans);
    results_close(&q->results);
    functions_free(q);
    free(q->temp_dir);
    free(q->archive_dir);
    free(q);
}

/* With the mutex held. */
static tape_status open_database(query *q, tape_error *error) {
    const char *directory = q->archive_dir;
    const duck_options options = {
        .memory_bytes = q->options.memory_bytes,
        .threads = q->options.threads,
        .temp_dir = q->temp_dir,
        .directories = &directory,
        .directory_count = directory != NULL,
        .columns = q->options.columns,
        .stats = q->options.stats,
        .stats_context = q->options.context,
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
    if (status == TAPE_OK) {
        status = functions_restore(q, s, error);
    }
    duck_session_close(&s);
    if (status != TAPE_OK) {
        close_database(q);
    }
    return status;
}

tape_status session_ensure_database(query *q, tape_error *error) {
    if (q->broken && q->running == NULL) {
        close_database(q);
    }
    return q->duck == NULL ? open_database(q, error) : TAPE_OK;
}

void query_stats_read(query *q, query_stats *out) {
    (void)pthread_mutex_lock(&q->mutex);
    *out = (query_stats){.statements = atomic_load(&q->statements),
                         .from_store = atomic_load(&q->from_store),
                         .from_cache = atomic_load(&q->from_cache),
                         .running = q->running_count,
                         .waiting = q->waiting_count};
    (void)pthread_mutex_unlock(&q->mutex);
}

/* --- the watchdog --- */

/* Asks and tells what is due for a session; when something is due again. */
static int64_t watch_session(session *s, int64_t now) {
    int64_t next = s->deadline_ns;
    bool stop = s->starved;
    if (s->cancelled != NULL) {
        if (s->ask_ns <= now) {
            bool cancelled = s->cancelled(s->cancel_context);
            s->ask_ns = cancelled ? now : now + ASK_NS;
            stop = stop || cancelled;
        }
        next = earlier(next, s->ask_ns);
    }
    if (s->deadline_ns <= now || stop) {
        s->timed_out = s->timed_out || !stop;
        duck_session_interrupt(s->duck);
        next = now + INTERRUPT_AGAIN_NS;
    }
    if (s->progress != NULL) {
        if (s->tell_ns <= now) {
            double share = duck_session_progress(s->duck);
            if (share >= 0) {
                s->progress(s->progress_context, share);
            }
            s->tell_ns = now + TELL_NS;
        }
        next = earlier(next, s->tell_ns);
    }
    return next;
}

/* Statements during which the process grew by more than they may take, while memory is short. */
static void watch_memory(query *q) {
    uint64_t used = memory_used();
    uint64_t most = q->options.memory_bytes + GROWTH_BYTES;
    bool grown = false;
    for (session *s = q->running; s != NULL; s = s->next) {
        s->memory_start = s->memory_start == 0 ? used : s->memory_start;
        grown = grown || used > s->memory_start + most;
    }
    if (!grown || !memory_is_short()) {
        return;
    }
    for (session *s = q->running; s != NULL; s = s->next) {
        s->starved = s->starved || used > s->memory_start + most;
    }
}

static void watch(void *argument) {
    query *q = argument;
    int64_t memory_ns = 0;
    (void)pthread_mutex_lock(&q->mutex);
    while (!q->closing) {
        int64_t now = clock_monotonic_ns();
        int64_t next = INT64_MAX;
        if (q->running != NULL && memory_ns <= now) {
            watch_memory(q);
            memory_ns = now + MEMORY_NS;
        }
        for (session *s = q->running; s != NULL; s = s->next) {
            next = earlier(next, earlier(memory_ns, watch_session(s, now)));
        }
        q->watch_ns = next;
        if (next == INT64_MAX) {
            (void)pthread_cond_wait(&q->wake, &q->mutex);
        } else {
            struct timespec until = at_time(next);
            (void)pthread_cond_timedwait(&q->wake, &q->mutex, &until);
        }
    }
    (void)pthread_mutex_unlock(&q->mutex);
}

/* --- turns, with the mutex held --- */

static void give_turns(query *q) {
    while (q->running_count < q->running_max && q->waiting_first != NULL) {
        waiter *w = q->waiting_first;
        q->waiting_first = w->next;
        q->waiting_last = q->waiting_first == NULL ? NULL : q->waiting_last;
        q->waiting_count--;
        q->running_count++;
        w->given = true;
        (void)pthread_cond_signal(&w->turn);
    }
}

static void leave_queue(query *q, const waiter *w) {
    waiter **link = &q->waiting_first;
    waiter *before = NULL;
    while (*link != w) {
        before = *link;
        link = &before->next;
    }
    *link = w->next;
    q->waiting_last = q->waiting_last == w ? before : q->waiting_last;
    q->waiting_count--;
}

static tape_status wait_turn(query *q, waiter *w, const tape_query_options *options,
                             int64_t deadline_ns, tape_error *error) {
    while (!w->given) {
        int64_t now = clock_monotonic_ns();
        if (now >= deadline_ns) {
            leave_queue(q, w);
            return error_set(error, TAPE_TIMEOUT,
                             "the statement did not get its turn within %lld ms: %u others run",
                             (long long)(options->timeout_ns / 1000000), q->running_count);
        }
        if (options->cancelled != NULL) {
            (void)pthread_mutex_unlock(&q->mutex);
            bool cancelled = options->cancelled(options->cancel_context);
            (void)pthread_mutex_lock(&q->mutex);
            if (cancelled && !w->given) {
                leave_queue(q, w);
                return error_set(error, TAPE_CANCELLED, "the statement was cancelled");
            }
            if (w->given) {
                break;
            }
        }
        int64_t until =
            options->cancelled == NULL ? deadline_ns : earlier(deadline_ns, now + ASK_NS);
        if (until == INT64_MAX) {
            (void)pthread_cond_wait(&w->turn, &q->mutex);
        } else {
            struct timespec time = at_time(until);
            (void)pthread_cond_timedwait(&w->turn, &q->mutex, &time);
        }
    }
    return TAPE_OK;
}

static tape_status take_turn(query *q, const tape_query_options *options, int64_t deadline_ns,
                             tape_error *error) {
    if (q->running_count < q->running_max && q->waiting_first == NULL) {
        q->running_count++;
        return TAPE_OK;
    }
    waiter w = {.given = false};
    if (!cond_init(&w.turn)) {
        return error_set(error, TAPE_NO_MEMORY, "no memory to wait for a turn");
    }
    if (q->waiting_last == NULL) {
        q->waiting_first = &w;
    } else {
        q->waiting_last->next = &w;
    }
    q->waiting_last = &w;
    q->waiting_count++;
    tape_status status = wait_turn(q, &w, options, deadline_ns, error);
    (void)pthread_cond_destroy(&w.turn);
    return status;
}

static void return_turn(query *q) {
    q->running_count--;
    give_turns(q);
}

/* --- sessions --- */

/* With the mutex held. */
static tape_status take_session(query *q, session **out, tape_error *error) {
    *out = NULL;
    tape_status status = session_ensure_database(q, error);
    if (status != TAPE_OK) {
        return status;
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

tape_status session_acquire(query *q, const tape_query_options *options, int64_t deadline_ns,
                            session **out, tape_error *error) {
    *out = NULL;
    (void)pthread_mutex_lock(&q->mutex);
    tape_status status = take_turn(q, options, deadline_ns, error);
    if (status != TAPE_OK) {
        goto out;
    }
    if (q->watchdog == NULL) {
        status = os_thread_start(&q->watchdog, "tape-query", -1, watch, q, error);
    }
    if (status == TAPE_OK) {
        status = take_session(q, out, error);
    }
    if (status != TAPE_OK) {
        return_turn(q);
        goto out;
    }
    session *s = *out;
    s->deadline_ns = deadline_ns;
    s->ask_ns = s->tell_ns = 0;
    s->timed_out = s->starved = false;
    s->memory_start = 0;
    s->cancelled = options->cancelled;
    s->cancel_context = options->cancel_context;
    s->progress = options->progress;
    s->progress_context = options->progress_context;
    /* When it wakes anyhow soon enough, it is left to sleep. */
    bool asks = options->cancelled != NULL || options->progress != NULL;
    if (q->watch_ns > earlier(deadline_ns, clock_monotonic_ns() + (asks ? 0 : 2 * MEMORY_NS))) {
        (void)pthread_cond_signal(&q->wake);
    }
out:
    (void)pthread_mutex_unlock(&q->mutex);
    return status;
}

bool session_ended(query *q, session *s) {
    (void)pthread_mutex_lock(&q->mutex);
    bool timed_out = s->timed_out;
    s->deadline_ns = INT64_MAX;
    s->cancelled = NULL;
    s->progress = NULL;
    (void)pthread_mutex_unlock(&q->mutex);
    return timed_out;
}

/* The session counts as running until its connection is closed or idle, since a broken database is
 * closed as soon as none runs. */
void session_release(query *q, session *s) {
    (void)pthread_mutex_lock(&q->mutex);
    bool keep = q->idle_count < IDLE_KEPT && !q->broken && !s->spoilt;
    session **link = &q->running;
    while (*link != s) {
        link = &(*link)->next;
    }
    if (!keep) {
        /* Closing may take a while; nobody else looks at it meanwhile but the watchdog. */
        (void)pthread_mutex_unlock(&q->mutex);
        session_close(s);
        (void)pthread_mutex_lock(&q->mutex);
        link = &q->running;
        while (*link != s) {
            link = &(*link)->next;
        }
    }
    *link = s->next;
    if (keep) {
        s->next = q->idle;
        q->idle = s;
        q->idle_count++;
    }
    return_turn(q);
    (void)pthread_mutex_unlock(&q->mutex);
    if (!keep) {
        session_free(s);
    }
}

tape_status session_failed(query *q, session *s, tape_status status, int64_t timeout_ns,
                           tape_error *error) {
    bool timed_out = session_ended(q, s);
    if (status == TAPE_CANCELLED && s->starved) {
        return error_set(error, TAPE_NO_MEMORY,
                         "statements took more memory than they are allowed while the machine had "
                         "none left: make the statement smaller");
    }
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
