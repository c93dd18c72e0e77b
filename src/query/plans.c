/* Plans: those of statements seen before, by their text.
 *
 * Places in sets of a few; a text belongs to one set by its hash. Readers take no lock: they mark a
 * place as looked at, check that it still has the plan, hold the plan, and take the mark off again.
 *
 * Invariants
 *  K1 A place's plan is let go only after its hash was cleared and nobody looks at the place: who
 *     looks later does not find the hash.
 *  K2 Places are never freed before all of it.
 * Threads: finding from any thread; keeping under the mutex. */
#include "query/plan_internal.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define SETS 128u
#define WAYS 4u
#define CHECK_SEED UINT64_C(0x100000000) /* no hash is 0 */

typedef struct place {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t hash; /* 0: none */
    _Atomic uint32_t looking;
    _Atomic uint32_t used; /* the clock at the last use */
    plan *plan;
} place;

struct plans {
    place places[SETS][WAYS];
    _Atomic uint32_t clock; /* counts what was kept */
    pthread_mutex_t mutex;
};

plans *plans_create(void) {
    plans *k = aligned_alloc(CACHE_LINE_BYTES, sizeof *k);
    ASSERT(k != NULL);
    memset(k, 0, sizeof *k);
    (void)pthread_mutex_init(&k->mutex, NULL);
    return k;
}

void plans_close(plans **handle) {
    plans *k = *handle;
    *handle = NULL;
    if (k == NULL) {
        return;
    }
    for (size_t set = 0; set < SETS; set++) {
        for (size_t way = 0; way < WAYS; way++) {
            plan_release(k->places[set][way].plan);
        }
    }
    (void)pthread_mutex_destroy(&k->mutex);
    free(k);
}

static uint64_t hash_of(const char *sql, size_t size) {
    return CHECK_SEED | crc32c(0, sql, size);
}

static bool is_of(const plan *p, const char *sql, size_t size) {
    return p->sql_size == size && memcmp(p->sql, sql, size) == 0;
}

plan *plans_find(plans *k, const char *sql) {
    size_t size = strlen(sql);
    uint64_t hash = hash_of(sql, size);
    place *set = k->places[hash % SETS];
    for (size_t way = 0; way < WAYS; way++) {
        place *p = &set[way];
        if (atomic_load_explicit(&p->hash, memory_order_relaxed) != hash) {
            continue;
        }
        plan *found = NULL;
        atomic_fetch_add(&p->looking, 1);
        if (atomic_load(&p->hash) == hash && is_of(p->plan, sql, size)) {
            found = p->plan;
            plan_hold(found);
            uint32_t now = atomic_load_explicit(&k->clock, memory_order_relaxed);
            if (atomic_load_explicit(&p->used, memory_order_relaxed) != now) {
                atomic_store_explicit(&p->used, now, memory_order_relaxed);
            }
        }
        atomic_fetch_sub(&p->looking, 1);
        if (found != NULL) {
            return found;
        }
    }
    return NULL;
}

/* The place for a text: its own, an empty one, or that which was not used for the longest time. */
static place *choose(plans *k, uint64_t hash, const char *sql, size_t size) {
    place *set = k->places[hash % SETS];
    place *oldest = &set[0];
    uint32_t now = atomic_load(&k->clock);
    for (size_t way = 0; way < WAYS; way++) {
        place *p = &set[way];
        if (p->plan == NULL || (p->hash == hash && is_of(p->plan, sql, size))) {
            return p;
        }
        if (now - atomic_load(&p->used) > now - atomic_load(&oldest->used)) {
            oldest = p;
        }
    }
    return oldest;
}

void plans_keep(plans *k, plan *p) {
    if (p->sql_size > PLAN_KEPT_TEXT_MAX || p->arena.reserved_bytes > PLAN_KEPT_BYTES_MAX) {
        return;
    }
    uint64_t hash = hash_of(p->sql, p->sql_size);
    plan_hold(p);
    (void)pthread_mutex_lock(&k->mutex);
    uint32_t now = atomic_fetch_add(&k->clock, 1) + 1;
    place *to = choose(k, hash, p->sql, p->sql_size);
    plan *before = to->plan;
    atomic_store(&to->hash, 0);
    while (atomic_load(&to->looking) > 0) {
        (void)sched_yield();
    }
    to->plan = p;
    atomic_store(&to->used, now);
    atomic_store(&to->hash, hash);
    (void)pthread_mutex_unlock(&k->mutex);
    plan_release(before);
}
