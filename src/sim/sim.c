/* Drives the order flow through the exchange into a store, one append per event.
 *
 * Invariants
 *  1 One event is one append, so no reader ever sees part of an event.
 *  2 An identifier is never given twice: a seed that the store knows already is refused, by its
 *     clearing account, which the first event of a run creates.
 *  3 When sim_run returns TAPE_OK, everything it appended has reached the level asked for.
 *
 * Threads: one caller per run; several runs with different seeds may share a store.
 * Failure: the first append or wait that fails ends the run; what was appended before stays, and
 * `result` tells how far it came. */
#include "sim/sim_internal.h"

#include "os/os.h"

#include <stdlib.h>

#define PROGRESS_NS (NS_PER_SECOND / 10)
#define WAIT_EVENTS 4096                 /* events between two waits for the level */
#define PATIENCE_NS (60 * NS_PER_SECOND) /* with a store that takes or syncs nothing */
#define SLEEP_NS_MIN 1000000
#define BEHIND_NS_MAX NS_PER_SECOND /* of a rate that the store cannot keep: caught up with */

typedef struct sim_run_state {
    tape *db;
    const sim_options *options;
    sim_result *result;
    tape_error *error;
    sim_exchange *exchange;
    sim_flow flow;
    tape_append_options append;
    int64_t progress_due_ns;
    int64_t rate_origin_ns; /* when order 0 was due */
    uint32_t events_unwaited;
    bool stopped; /* by the progress callback */
} sim_run_state;

void sim_options_init(sim_options *options) {
    *options = (sim_options){
        .orders = 100000, .seed = 1, .instruments = 4, .users = 100, .level = TAPE_DURABLE};
}

static tape_status options_check(const sim_options *o, tape_error *error) {
    if (o->orders > SIM_ORDERS_MAX) {
        return error_set(error, TAPE_INVALID, "%llu orders are too many: at most %llu in one run",
                         (unsigned long long)o->orders, (unsigned long long)SIM_ORDERS_MAX);
    }
    if (o->instruments < 1 || o->instruments > SIM_INSTRUMENTS_MAX) {
        return error_set(error, TAPE_INVALID, "%u instruments: choose from 1 to %d", o->instruments,
                         SIM_INSTRUMENTS_MAX);
    }
    if (o->users < 2 || o->users > SIM_USERS_MAX) {
        return error_set(error, TAPE_INVALID, "%u users: choose from 2 to %d", o->users,
                         SIM_USERS_MAX);
    }
    if ((uint64_t)o->users * o->instruments > SIM_POSITIONS_MAX) {
        return error_set(error, TAPE_INVALID,
                         "%u users times %u instruments are too many positions: at most %u",
                         o->users, o->instruments, SIM_POSITIONS_MAX);
    }
    if (!(o->rate >= 0 && o->rate <= 1e9)) {
        return error_set(
            error, TAPE_INVALID,
            "a rate of %g orders per second: choose from 0 (as fast as it goes) to 1e9", o->rate);
    }
    if (o->level < TAPE_WRITTEN || o->level > TAPE_COMMITTED) {
        return error_set(error, TAPE_INVALID, "%d is not a level", (int)o->level);
    }
    return TAPE_OK;
}

static tape_status seed_check(const sim_run_state *s) {
    char id[33] = {0};
    sim_account_id(s->exchange, sim_clearing(s->exchange), id);
    const char *key = id;
    tape_account account;
    tape_status status = tape_get(s->db, TAPE_TABLE_ACCOUNTS, &key, 1, 0, &account, s->error);
    if (status == TAPE_OK) {
        return error_set(
            s->error, TAPE_EXISTS,
            "seed %llu has been run on this store (account %s is there); choose another "
            "--seed",
            (unsigned long long)s->options->seed, id);
    }
    return status == TAPE_NOT_FOUND ? TAPE_OK : status;
}

/* Calls the progress callback when it is due. */
static void progress(sim_run_state *s) {
    if (s->options->progress == NULL) {
        return;
    }
    int64_t now = clock_monotonic_ns();
    if (now >= s->progress_due_ns) {
        s->progress_due_ns = now + PROGRESS_NS;
        s->stopped = !s->options->progress(s->options->progress_context, s->result->orders);
    }
}

/* The store is asked in short turns, so that progress is shown and a stop is heard meanwhile. */
static bool patient(sim_run_state *s, tape_status status, int64_t deadline_ns) {
    if (status != TAPE_BUSY && status != TAPE_TIMEOUT) {
        return false;
    }
    if (!s->stopped) {
        progress(s);
    }
    return clock_monotonic_ns() < deadline_ns;
}

static tape_status wait_level(sim_run_state *s) {
    s->events_unwaited = 0;
    if (s->options->level == TAPE_WRITTEN || s->result->last_seq == 0) {
        return TAPE_OK;
    }
    int64_t deadline_ns = clock_deadline_ns(PATIENCE_NS);
    tape_status status;
    do {
        status = tape_wait(s->db, s->result->last_seq, s->options->level, PROGRESS_NS, s->error);
    } while (patient(s, status, deadline_ns));
    return status;
}

/* An event that a stop overtakes while the store is busy is left out. */
static tape_status append_event(sim_run_state *s) {
    const sim_event *event = &s->exchange->event;
    if (event->count == 0) {
        return TAPE_OK;
    }
    tape_append_result done;
    tape_status status =
        tape_append(s->db, event->records, event->count, &s->append, &done, s->error);
    if (UNLIKELY(status == TAPE_BUSY)) {
        int64_t deadline_ns = clock_deadline_ns(PATIENCE_NS);
        while (patient(s, status, deadline_ns)) {
            if (s->stopped) {
                return TAPE_OK;
            }
            status = tape_append(s->db, event->records, event->count, &s->append, &done, s->error);
        }
    }
    if (status != TAPE_OK) {
        return status;
    }
    sim_result *r = s->result;
    r->first_seq = r->first_seq == 0 ? done.first_seq : r->first_seq;
    r->last_seq = done.last_seq;
    r->records += event->count;
    r->orders = s->exchange->orders;
    r->trades = s->exchange->trades;
    r->cancels = s->exchange->cancels;
    r->rejects = s->exchange->rejects;
    return ++s->events_unwaited < WAIT_EVENTS ? TAPE_OK : wait_level(s);
}

/* Waits until the next order is due. */
static void pace(sim_run_state *s) {
    double rate = s->options->rate;
    if (rate <= 0) {
        return;
    }
    int64_t due_ns =
        s->rate_origin_ns + (int64_t)((double)s->result->orders / rate * (double)NS_PER_SECOND);
    while (!s->stopped) {
        int64_t now = clock_monotonic_ns();
        if (now >= due_ns) {
            int64_t behind = now - due_ns - BEHIND_NS_MAX;
            s->rate_origin_ns += behind > 0 ? behind : 0;
            return;
        }
        int64_t sleep_ns = due_ns - now;
        sleep_ns = sleep_ns < SLEEP_NS_MIN ? SLEEP_NS_MIN : sleep_ns;
        os_sleep_ns(sleep_ns > PROGRESS_NS ? PROGRESS_NS : sleep_ns);
        progress(s);
    }
}

static tape_status run(sim_run_state *s) {
    sim_exchange *x = s->exchange;
    while (!s->stopped && sim_exchange_open(x, SIM_START_TS)) {
        tape_status status = append_event(s);
        if (status != TAPE_OK) {
            return status;
        }
        progress(s);
    }
    s->rate_origin_ns = clock_monotonic_ns();
    for (uint32_t turn = 0; !s->stopped && x->orders < s->options->orders; turn++) {
        sim_command command;
        sim_flow_next(&s->flow, x, &command);
        if (command.cancel) {
            sim_exchange_cancel(x, command.handle, command.ts);
        } else {
            pace(s);
            if (s->stopped) {
                break;
            }
            sim_exchange_submit(x, &command.request, command.ts);
        }
        tape_status status = append_event(s);
        if (status != TAPE_OK) {
            return status;
        }
        if (turn % 64 == 0) {
            progress(s);
        }
    }
    return wait_level(s);
}

tape_status sim_run(tape *db, const sim_options *options, sim_result *result, tape_error *error) {
    sim_result scratch;
    sim_run_state s = {
        .db = db,
        .options = options,
        .result = result == NULL ? &scratch : result,
        .error = error,
    };
    *s.result = (sim_result){0};
    tape_status status = options_check(options, error);
    if (status != TAPE_OK) {
        return status;
    }
    tape_append_options_init(&s.append);
    s.append.level = TAPE_WRITTEN;
    s.append.timeout_ns = PROGRESS_NS;
    s.exchange = mem_alloc(sizeof *s.exchange);
    sim_exchange_init(s.exchange, &(sim_exchange_options){.seed = options->seed,
                                                          .instruments = options->instruments,
                                                          .users = options->users,
                                                          .deposit = SIM_DEPOSIT_UNITS});
    sim_flow_init(&s.flow, s.exchange, options->seed);
    s.progress_due_ns = clock_monotonic_ns() + PROGRESS_NS;
    status = seed_check(&s);
    if (status == TAPE_OK) {
        status = run(&s);
    }
    sim_flow_deinit(&s.flow);
    sim_exchange_deinit(s.exchange);
    free(s.exchange);
    return status;
}
