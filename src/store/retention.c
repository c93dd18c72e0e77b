/* retention.c: what has expired, what may be dropped, and the pins that hold dropping back.
 *
 * An event record is gone keep_ns after its append; a version of an entity may go keep_ns after the
 * append of the next newer one. Append times rise with seq.
 *
 * Invariants
 *  R1 A record is dropped only if no open pin shows it: events, when they had expired at the time
 *     of the oldest pin; versions, when a newer one is at or below the seq of the lowest pin.
 *  R2 history_seq of a table of entities is at least the seq of every version because of which an
 *     older one was dropped, and is durable with the files that lack it. A read at or above it
 *     misses nothing; one below is refused. That of a table of events is beyond every record that
 *     was dropped; reads do not ask for it, those who look for what is missing do.
 *  R3 What is being dropped counts as dropped (pending_history) from before its edit is written: a
 *     pin opened meanwhile is refused, or was there first and makes the dropper start again.
 *
 * Threads: pins are a list under the store's lock. */
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdlib.h>

static int64_t expiry_cutoff(int64_t now_ns, int64_t keep_ns) {
    return keep_ns == 0 || now_ns < INT64_MIN + keep_ns ? INT64_MIN : now_ns - keep_ns;
}

bool store_expired(const store *s, const tape_table_info *table, int64_t append_ts,
                   int64_t now_ns) {
    int64_t keep_ns = s->options.keep_ns[table->id];
    return keep_ns != 0 && table->kind == TAPE_KIND_EVENT &&
           append_ts <= expiry_cutoff(now_ns, keep_ns);
}

bool store_outdates(const store *s, const tape_table_info *table, int64_t append_ts,
                    int64_t now_ns) {
    int64_t keep_ns = s->options.keep_ns[table->id];
    return keep_ns != 0 && table->kind == TAPE_KIND_ENTITY &&
           append_ts <= expiry_cutoff(now_ns, keep_ns);
}

store_horizon store_horizon_now(store *s, int64_t now_ns) {
    store_horizon h = {.seq = UINT64_MAX};
    pthread_mutex_lock(&s->lock);
    for (const store_pin *pin = s->pins; pin != NULL; pin = pin->next) {
        h.seq = pin->moment.at < h.seq ? pin->moment.at : h.seq;
        now_ns = pin->moment.now_ns < now_ns ? pin->moment.now_ns : now_ns;
    }
    pthread_mutex_unlock(&s->lock);
    for (size_t t = 0; t < STORE_TABLES; t++) {
        h.cutoff_ns[t] = expiry_cutoff(now_ns, s->options.keep_ns[t]);
    }
    return h;
}

/* --- which records a stream in key order may leave out --- */

void drop_init(drop_filter *d, const tape_table_info *table, const store_horizon *horizon) {
    *d = (drop_filter){
        .table = table, .cutoff_ns = horizon->cutoff_ns[table->id], .horizon_seq = horizon->seq};
}

bool drop_record(drop_filter *d, const record_view *record) {
    if (d->cutoff_ns == INT64_MIN) {
        return false;
    }
    if (d->table->kind == TAPE_KIND_EVENT) {
        bool gone = record->append_ts <= d->cutoff_ns;
        d->dropped += gone;
        d->history_seq = gone && record->seq >= d->history_seq ? record->seq + 1 : d->history_seq;
        return gone;
    }
    slice newer = {d->key, d->key_size};
    bool same = d->key_size > 0 && record_key_compare(d->table, newer, record->payload) == 0;
    bool drop = same && d->newer_append_ts <= d->cutoff_ns && d->newer_seq <= d->horizon_seq;
    if (drop) { /* R2 */
        d->history_seq = d->newer_seq > d->history_seq ? d->newer_seq : d->history_seq;
        d->dropped++;
    }
    if (!same) {
        d->key_size = record_key(d->table, record->payload, d->key);
    }
    d->newer_seq = record->seq;
    d->newer_append_ts = record->append_ts;
    return drop;
}

bool store_may_lack(store *s, const record_view *record) {
    if (s->options.keep_ns[record->table->id] != 0 &&
        store_expired(s, record->table, record->append_ts, clock_realtime_ns())) {
        return true;
    }
    store_version *v = version_pin(s);
    bool lacks = record->seq < v->files->trees[record->table->id].history_seq;
    version_unpin(v);
    return lacks;
}

/* --- pins --- */

/* With the lock held: the highest history of any table, done or under way. */
static uint64_t history_of(const store *s) {
    const store_version *v = version_current((store *)s);
    uint64_t seq = s->pending_history;
    for (uint16_t id = 1; id < STORE_TABLES; id++) {
        if (record_table(id)->kind == TAPE_KIND_ENTITY && v->files->trees[id].history_seq > seq) {
            seq = v->files->trees[id].history_seq;
        }
    }
    return seq;
}

tape_status store_pin_open(store *s, uint64_t at, store_pin **out, tape_error *error) {
    store_pin *pin = mem_zalloc(sizeof *pin);
    pthread_mutex_lock(&s->lock);
    uint64_t applied = store_applied_seq(s);
    pin->store = s;
    pin->moment = (store_moment){at < applied ? at : applied, clock_realtime_ns()};
    uint64_t history = history_of(s);
    bool kept = pin->moment.at >= history;
    if (kept) {
        pin->next = s->pins;
        s->pins = pin;
        s->pin_count++;
    }
    pthread_mutex_unlock(&s->lock);
    if (!kept) {
        (void)error_set(error, TAPE_TOO_OLD,
                        "seq %" PRIu64 " cannot be pinned: older versions were let go up to seq "
                        "%" PRIu64 "; pin that or later, or keep more (keep_ns)",
                        pin->moment.at, history);
        free(pin);
        return TAPE_TOO_OLD;
    }
    *out = pin;
    return TAPE_OK;
}

const store_moment *store_pin_moment(const store_pin *pin) {
    return &pin->moment;
}

void store_pin_close(store_pin **pin) {
    store_pin *p = *pin;
    if (p == NULL) {
        return;
    }
    store *s = p->store;
    pthread_mutex_lock(&s->lock);
    for (store_pin **link = &s->pins; *link != NULL; link = &(*link)->next) {
        if (*link == p) {
            *link = p->next;
            s->pin_count--;
            break;
        }
    }
    pthread_mutex_unlock(&s->lock);
    free(p);
    *pin = NULL;
}

bool store_history_begin(store *s, uint64_t seq) {
    bool free_to = true;
    pthread_mutex_lock(&s->lock);
    for (const store_pin *pin = s->pins; pin != NULL; pin = pin->next) {
        free_to = free_to && pin->moment.at >= seq;
    }
    if (free_to && seq > s->pending_history) { /* R3 */
        s->pending_history = seq;
    }
    pthread_mutex_unlock(&s->lock);
    return free_to;
}
