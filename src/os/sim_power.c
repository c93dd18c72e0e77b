/* Purpose: simulated machines: made, cloned, crashed, and what is left after a power failure.
 *
 * Power failure. Each file's unsynced changes are gone through in order beside two images:
 * `replay`, what the cache held after each of them, and the result, which starts as what is
 * durable. A change that is kept brings its sectors as they are in `replay`: a sector is written
 * whole, so it brings along what earlier changes did to the same sector, even lost ones. */
#include "os/sim_internal.h"

#include <stdlib.h>

#define CAPACITY_DEFAULT GIB(16)
#define SHM_CAPACITY_DEFAULT GIB(1)
#define FIRST_PID 1000

/* --- making --- */

static os_sim *sim_make(void) {
    os_sim *sim = mem_zalloc(sizeof *sim);
    ASSERT(pthread_mutex_init(&sim->mutex, NULL) == 0);
    return sim;
}

os_sim *os_sim_create(uint64_t seed) {
    os_sim *sim = sim_make();
    sim->random = seed;
    sim->boot_seed = sim_random(sim);
    sim->capacity = CAPACITY_DEFAULT;
    sim->shm_capacity = SHM_CAPACITY_DEFAULT;
    sim->next_inode = 1;
    sim->next_pid = FIRST_PID;
    sim->root = sim_inode_make(sim, true, "");
    return sim;
}

static void entries_free(sim_entries *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->entries[i].name);
    }
    free(list->entries);
    *list = (sim_entries){0};
}

static void moves_clear(os_sim *sim) {
    for (size_t i = 0; i < sim->move_count; i++) {
        sim_move_free(&sim->moves[i]);
    }
    sim->move_count = 0;
}

void os_sim_destroy(os_sim **machine) {
    if (machine == NULL || *machine == NULL) {
        return;
    }
    os_sim *sim = *machine;
    *machine = NULL;
    ASSERT(sim->handles == 0);
    os_sim_fault_clear(sim);
    sim_shm_drop_all(sim);
    moves_clear(sim);
    free(sim->moves);
    entries_free(&sim->now);
    entries_free(&sim->durable);
    sim->root = NULL;
    sim_sweep(sim);
    ASSERT(sim->inode_count == 0 && sim->used == 0);
    free(sim->inodes);
    while (sim->processes != NULL) {
        sim_process *next = sim->processes->next;
        free(sim->processes);
        sim->processes = next;
    }
    (void)pthread_mutex_destroy(&sim->mutex);
    free(sim);
}

/* --- cloning --- */

/* The clone's inode for one of the original's: they stand in the same order. */
static sim_inode *counterpart(const os_sim *from, const os_sim *to, const sim_inode *inode) {
    for (size_t i = 0; inode != NULL && i < from->inode_count; i++) {
        if (from->inodes[i] == inode) {
            return to->inodes[i];
        }
    }
    return NULL;
}

static void entries_clone(const os_sim *from, os_sim *to, const sim_entries *list,
                          sim_entries *out) {
    for (size_t i = 0; i < list->count; i++) {
        const sim_entry *e = &list->entries[i];
        sim_entry_put(out, counterpart(from, to, e->dir), e->name, counterpart(from, to, e->inode));
    }
}

static void inodes_clone(const os_sim *from, os_sim *to) {
    for (size_t i = 0; i < from->inode_count; i++) {
        const sim_inode *old = from->inodes[i];
        sim_inode *inode = sim_inode_make(to, old->is_dir, old->path);
        inode->id = old->id;
        sim_put(&inode->cache, 0, old->cache.data, old->cache.size);
        sim_put(&inode->durable, 0, old->durable.data, old->durable.size);
        to->used += inode->cache.size;
    }
    for (size_t i = 0; i < from->inode_count; i++) {
        const sim_inode *old = from->inodes[i];
        for (size_t k = 0; k < old->pending_count; k++) {
            const sim_pending *p = &old->pending[k];
            sim_pending *copy = sim_pending_add(to->inodes[i], p->step);
            *copy = *p;
            copy->target = counterpart(from, to, p->target);
            if (p->data != NULL) {
                copy->data = mem_alloc(p->size);
                memcpy(copy->data, p->data, p->size);
            }
        }
    }
}

static void moves_clone(const os_sim *from, os_sim *to) {
    for (size_t i = 0; i < from->move_count; i++) {
        const sim_move *m = &from->moves[i];
        to->step = m->step;
        sim_move_add(to, counterpart(from, to, m->inode), counterpart(from, to, m->from_dir),
                     m->from_name, counterpart(from, to, m->to_dir), m->to_name, m->lost);
    }
}

os_sim *os_sim_clone(os_sim *from) {
    os_sim *to = sim_make();
    ASSERT(pthread_mutex_lock(&from->mutex) == 0);
    inodes_clone(from, to);
    to->root = counterpart(from, to, from->root);
    entries_clone(from, to, &from->durable, &to->durable);
    moves_clone(from, to);
    entries_free(&to->now);
    entries_clone(from, to, &from->now, &to->now);
    sim_shm_clone(from, to);
    to->random = from->random;
    to->step = from->step;
    to->boots = from->boots;
    to->boot_seed = from->boot_seed;
    to->next_inode = from->next_inode;
    to->next_pid = from->next_pid;
    to->capacity = from->capacity;
    to->shm_capacity = from->shm_capacity;
    for (size_t i = 0; i < from->fault_count; i++) {
        const sim_fault *f = &from->faults[i];
        os_sim_fault fault = f->fault;
        fault.path = f->path;
        fault.to_path = f->to_path;
        size_t number = os_sim_fault_add(to, &fault);
        sim_fault *copy = &to->faults[number];
        copy->seen = f->seen;
        copy->hits = f->hits;
    }
    sim_unlock(from);
    sim_sweep(to); /* what only open handles had kept */
    return to;
}

/* --- processes --- */

os_disk *os_sim_process_start(os_sim *sim) {
    sim_process *process = mem_zalloc(sizeof *process);
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    process->disk.table = &sim_disk_table;
    process->sim = sim;
    process->alive = true;
    process->pid = sim->next_pid++;
    process->next = sim->processes;
    sim->processes = process;
    sim_unlock(sim);
    return &process->disk;
}

/* Takes maps and locks from a process that has died. */
static void handles_end(os_sim *sim, const os_disk *disk) {
    for (size_t i = 0; i < sim->inode_count; i++) {
        sim_inode *inode = sim->inodes[i];
        if (inode->lock != NULL && inode->lock->lock.handle.disk == disk) {
            inode->lock = NULL;
        }
        for (sim_map **at = &inode->maps; *at != NULL;) {
            if ((*at)->handle.disk == disk) {
                *at = (*at)->next;
            } else {
                at = &(*at)->next;
            }
        }
    }
}

void os_sim_process_crash(os_disk *disk) {
    os_sim *sim = sim_lock_of(disk);
    sim_process *process = (sim_process *)disk;
    ASSERT(process->alive);
    process->alive = false;
    sim_shm_end_process(sim, process);
    handles_end(sim, disk);
    sim->crashed = false;
    sim->crash_step = sim->crash_step <= sim->step ? 0 : sim->crash_step;
    sim_unlock(sim);
}

/* --- power loss --- */

typedef enum outcome { OUTCOME_LOST, OUTCOME_TORN, OUTCOME_KEPT } outcome;

typedef struct power_plan {
    os_sim_power power;
    uint64_t cut_step;    /* PREFIX */
    bool moves_in_order;  /* RANDOM: the file system has a journal of its own */
    uint64_t cut_move;    /* ... of which this many are kept */
    bool sizes_run_ahead; /* RANDOM: sizes may be on disk before the data */
} power_plan;

/* The steps of the oldest unsynced operation, and past the latest. */
static void unsynced_steps(const os_sim *sim, uint64_t *begin, uint64_t *end) {
    *begin = UINT64_MAX;
    *end = 0;
    for (size_t i = 0; i < sim->inode_count; i++) {
        const sim_inode *inode = sim->inodes[i];
        if (inode->pending_count > 0) {
            uint64_t first = inode->pending[0].step;
            uint64_t last = inode->pending[inode->pending_count - 1].step;
            *begin = first < *begin ? first : *begin;
            *end = last + 1 > *end ? last + 1 : *end;
        }
    }
    if (sim->move_count > 0) {
        uint64_t first = sim->moves[0].step;
        uint64_t last = sim->moves[sim->move_count - 1].step;
        *begin = first < *begin ? first : *begin;
        *end = last + 1 > *end ? last + 1 : *end;
    }
}

static power_plan plan_make(os_sim *sim, const os_sim_power *power) {
    power_plan result = {0};
    if (power != NULL) {
        result.power = *power;
    }
    if (result.power.mode == OS_SIM_POWER_SEEDED) {
        static const unsigned lose[] = {5, 25, 50, 75, 95};
        static const unsigned tear[] = {0, 20, 60};
        uint64_t kind = sim_below(sim, 10);
        result.power.mode = kind < 6               ? OS_SIM_POWER_RANDOM
                            : kind < 9             ? OS_SIM_POWER_PREFIX
                            : sim_percent(sim, 50) ? OS_SIM_POWER_LOSE_ALL
                                                   : OS_SIM_POWER_KEEP_ALL;
        result.power.lose_percent = lose[sim_below(sim, COUNT_OF(lose))];
        result.power.tear_percent = tear[sim_below(sim, COUNT_OF(tear))];
    }
    uint64_t begin = 0;
    uint64_t end = 0;
    unsynced_steps(sim, &begin, &end);
    if (begin < end) {
        result.cut_step = begin + sim_below(sim, end - begin + 1);
    }
    result.moves_in_order = sim_percent(sim, 50);
    result.cut_move = sim_below(sim, sim->move_count + 1);
    result.sizes_run_ahead = result.power.mode == OS_SIM_POWER_RANDOM && sim_percent(sim, 30);
    return result;
}

static outcome decide(os_sim *sim, const power_plan *p, uint64_t step) {
    switch (p->power.mode) {
    case OS_SIM_POWER_SEEDED: /* plan_make has chosen another */
    case OS_SIM_POWER_LOSE_ALL:
        return OUTCOME_LOST;
    case OS_SIM_POWER_KEEP_ALL:
        return OUTCOME_KEPT;
    case OS_SIM_POWER_PREFIX:
        return step < p->cut_step    ? OUTCOME_KEPT
               : step == p->cut_step ? OUTCOME_TORN
                                     : OUTCOME_LOST;
    case OS_SIM_POWER_RANDOM:
        break;
    }
    if (sim_percent(sim, p->power.lose_percent)) {
        return OUTCOME_LOST;
    }
    return sim_percent(sim, p->power.tear_percent) ? OUTCOME_TORN : OUTCOME_KEPT;
}

/* Brings the sectors that [begin, end) touches from `replay` to `result`. */
static void bring_sectors(buffer *result, const buffer *replay, uint64_t begin, uint64_t end) {
    begin = ALIGN_DOWN(begin, SIM_SECTOR_BYTES);
    end = ALIGN_UP(end, SIM_SECTOR_BYTES);
    end = end < replay->size ? end : replay->size;
    if (begin < end) {
        sim_put(result, begin, replay->data + begin, (size_t)(end - begin));
    }
}

/* Some first bytes, or some of the sectors. */
static void bring_torn(os_sim *sim, buffer *result, const buffer *replay, const sim_pending *p) {
    uint64_t end = p->offset + p->size;
    if (sim_percent(sim, 50)) {
        uint64_t cut = p->offset + sim_below(sim, p->size);
        uint64_t whole = ALIGN_DOWN(cut, SIM_SECTOR_BYTES);
        if (whole > p->offset) {
            bring_sectors(result, replay, p->offset, whole);
        }
        uint64_t begin = whole > p->offset ? whole : p->offset;
        sim_put(result, begin, p->data + (begin - p->offset), (size_t)(cut - begin));
        return;
    }
    for (uint64_t at = ALIGN_DOWN(p->offset, SIM_SECTOR_BYTES); at < end; at += SIM_SECTOR_BYTES) {
        if (sim_percent(sim, 50)) {
            bring_sectors(result, replay, at, at + SIM_SECTOR_BYTES);
        }
    }
}

static void settle_change(os_sim *sim, const power_plan *plan, sim_inode *inode, buffer *replay,
                          sim_pending *p) {
    buffer *result = &inode->durable;
    outcome fate = decide(sim, plan, p->step);
    if (p->truncate) {
        sim_resize(replay, p->offset);
        if (fate != OUTCOME_LOST) {
            sim_resize(result, p->offset);
        }
        return;
    }
    uint64_t end = p->offset + p->size;
    if (end > replay->size) {
        sim_resize(replay, end);
    }
    if (p->fate != SIM_FATE_REACHES) {
        /* Struck by a fault on its way: if it got that far, it does what the fault says. */
        if (fate == OUTCOME_KEPT) {
            sim_pending_write_out(p, inode);
        }
        return;
    }
    sim_put(replay, p->offset, p->data, p->size);
    if (fate == OUTCOME_KEPT) {
        bring_sectors(result, replay, p->offset, end);
    } else if (fate == OUTCOME_TORN) {
        bring_torn(sim, result, replay, p);
    }
    if (plan->sizes_run_ahead && end > result->size && sim_percent(sim, 50)) {
        sim_resize(result, end);
    }
}

static void settle_contents(os_sim *sim, const power_plan *plan) {
    for (size_t i = 0; i < sim->inode_count; i++) {
        sim_inode *inode = sim->inodes[i];
        if (inode->pending_count == 0) {
            continue;
        }
        buffer replay = {0};
        sim_put(&replay, 0, inode->durable.data, inode->durable.size);
        for (size_t k = 0; k < inode->pending_count; k++) {
            settle_change(sim, plan, inode, &replay, &inode->pending[k]);
        }
        buffer_deinit(&replay);
    }
    for (size_t i = 0; i < sim->inode_count; i++) {
        sim_pending_clear(sim->inodes[i]);
    }
}

static void settle_names(os_sim *sim, const power_plan *plan) {
    for (size_t i = 0; i < sim->move_count; i++) {
        sim_move *m = &sim->moves[i];
        bool kept = plan->power.mode == OS_SIM_POWER_RANDOM && plan->moves_in_order
                        ? i < plan->cut_move
                        : decide(sim, plan, m->step) != OUTCOME_LOST;
        if (kept && !m->lost) {
            sim_move_apply(&sim->durable, m);
        }
    }
    moves_clear(sim);
    entries_free(&sim->now);
    for (size_t i = 0; i < sim->durable.count; i++) {
        const sim_entry *e = &sim->durable.entries[i];
        sim_entry_put(&sim->now, e->dir, e->name, e->inode);
    }
}

/* A file whose entry was lost and another's kept has the path of the latter. */
static void settle_paths(os_sim *sim) {
    for (size_t i = 0; i < sim->inode_count; i++) {
        sim->inodes[i]->reachable = sim->inodes[i] == sim->root;
    }
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < sim->now.count; i++) {
            sim_entry *e = &sim->now.entries[i];
            if (e->dir->reachable && !e->inode->reachable) {
                e->inode->reachable = more = true;
                free(e->inode->path);
                e->inode->path = mem_printf("%s/%s", e->dir->path, e->name);
            }
        }
    }
}

void os_sim_power_loss(os_sim *sim, const os_sim_power *power) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    power_plan p = plan_make(sim, power);
    for (sim_process *process = sim->processes; process != NULL; process = process->next) {
        if (process->alive) {
            process->alive = false;
            handles_end(sim, &process->disk);
        }
    }
    sim_shm_drop_all(sim);
    settle_contents(sim, &p);
    settle_names(sim, &p);
    settle_paths(sim);
    sim_sweep(sim);
    for (size_t i = 0; i < sim->inode_count; i++) {
        sim_cache_reload(sim, sim->inodes[i]);
    }
    sim->boots++;
    sim->crashed = false;
    sim->crash_step = sim->crash_step <= sim->step ? 0 : sim->crash_step;
    sim_unlock(sim);
}

void os_sim_drop_caches(os_sim *sim) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    for (size_t i = 0; i < sim->inode_count; i++) {
        sim_cache_reload(sim, sim->inodes[i]);
    }
    sim_unlock(sim);
}
