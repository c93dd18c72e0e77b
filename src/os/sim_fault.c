/* Purpose: the way into every simulated call: is the process alive, is this the step to stop at, is
 * there a fault for it. */
#include "os/sim_internal.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>

typedef struct operation_kind {
    const char *verb;
    bool is_step;
    bool needs_space;
    bool can_be_lost;
} operation_kind;

static const operation_kind kinds[OS_SIM_OPERATIONS] = {
    [OS_SIM_READ] = {"read", false, false, false},
    [OS_SIM_WRITE] = {"write", true, true, true},
    [OS_SIM_SYNC] = {"sync", true, true, true},
    [OS_SIM_TRUNCATE] = {"truncate", true, true, false},
    [OS_SIM_OPEN] = {"open", false, false, false},
    [OS_SIM_CREATE] = {"create", true, true, true},
    [OS_SIM_RENAME] = {"rename", true, true, true},
    [OS_SIM_REMOVE] = {"remove", true, false, true},
    [OS_SIM_DIR_MAKE] = {"make directory", true, true, true},
    [OS_SIM_DIR_REMOVE] = {"remove directory", true, false, true},
    [OS_SIM_DIR_SYNC] = {"sync directory", true, true, true},
    [OS_SIM_DIR_LIST] = {"list directory", false, false, false},
    [OS_SIM_STAT] = {"find", false, false, false},
    [OS_SIM_SHM_CREATE] = {"create shared region", true, true, false},
    [OS_SIM_SHM_OPEN] = {"open shared region", false, false, false},
    [OS_SIM_SHM_REMOVE] = {"remove shared region", true, false, false},
};

tape_status sim_stopped(tape_error *error, const char *path) {
    return error_set_file(error, TAPE_IO, path, TAPE_NO_OFFSET,
                          "the simulated process was stopped before it was done with %s", path);
}

static bool path_matches(const char *pattern, const char *path) {
    return path != NULL && fnmatch(pattern, path, 0) == 0;
}

static void find_fault(os_sim *sim, sim_call *call) {
    for (size_t i = 0; i < sim->fault_count; i++) {
        sim_fault *f = &sim->faults[i];
        if (f->fault.operation != call->operation ||
            (f->path != NULL && !path_matches(f->path, call->path) &&
             !path_matches(f->path, call->other_path))) {
            continue;
        }
        f->seen++;
        bool hits = f->seen > f->fault.skip &&
                    (f->fault.count == 0 || f->seen - f->fault.skip <= f->fault.count);
        if (hits && call->fault == NULL) {
            f->hits++;
            call->fault = f;
        }
    }
    if (call->fault == NULL) {
        return;
    }
    switch (call->fault->fault.effect) {
    case OS_SIM_EIO:
        call->fails = EIO;
        break;
    case OS_SIM_NO_SPACE:
        call->fails = ENOSPC;
        break;
    case OS_SIM_LOST:
        call->lost = true;
        break;
    case OS_SIM_TORN:
    case OS_SIM_MISDIRECTED:
        break;
    }
}

static void trace_step(const os_sim *sim, const sim_call *call) {
    char range[64] = "";
    if (call->operation == OS_SIM_WRITE) {
        (void)snprintf(range, sizeof range, " at %llu, %llu bytes",
                       (unsigned long long)call->offset, (unsigned long long)call->size);
    } else if (call->operation == OS_SIM_TRUNCATE) {
        (void)snprintf(range, sizeof range, " to %llu bytes", (unsigned long long)call->size);
    }
    char *line = mem_printf("%s %s%s%s%s%s", kinds[call->operation].verb, call->path,
                            call->other_path != NULL ? " to " : "",
                            call->other_path != NULL ? call->other_path : "", range,
                            call->crashing        ? " (stopped here)"
                            : call->fault != NULL ? " (a fault hits)"
                                                  : "");
    sim->trace(sim->trace_context, sim->step, line);
    free(line);
}

tape_status sim_enter(os_sim *sim, os_disk *disk, sim_call *call, tape_error *error) {
    if (sim->crashed || !((sim_process *)disk)->alive) {
        return sim_stopped(error, call->path);
    }
    call->carry_out = true;
    if (!kinds[call->operation].is_step) {
        find_fault(sim, call);
        return TAPE_OK;
    }
    sim->step++;
    if (sim->step == sim->crash_step) {
        sim->crashed = true;
        call->crashing = true;
        call->carry_out = sim_percent(sim, 50);
        sim_shm_detach(sim, NULL);
    } else {
        find_fault(sim, call);
    }
    if (sim->trace != NULL) {
        trace_step(sim, call);
    }
    return TAPE_OK;
}

/* --- what a test sets --- */

uint64_t os_sim_steps(os_sim *sim) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    uint64_t step = sim->step;
    sim_unlock(sim);
    return step;
}

void os_sim_crash_at(os_sim *sim, uint64_t step) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    ASSERT(step == 0 || step > sim->step);
    sim->crash_step = step;
    sim_unlock(sim);
}

bool os_sim_crash_reached(os_sim *sim) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    bool crashed = sim->crashed;
    sim_unlock(sim);
    return crashed;
}

void os_sim_trace(os_sim *sim, void (*line)(void *context, uint64_t step, const char *text),
                  void *context) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    sim->trace = line;
    sim->trace_context = context;
    sim_unlock(sim);
}

void os_sim_seed(os_sim *sim, uint64_t seed) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    sim->random = seed;
    sim_unlock(sim);
}

void os_sim_set_capacity(os_sim *sim, uint64_t bytes) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    sim->capacity = bytes;
    sim_unlock(sim);
}

void os_sim_set_shm_capacity(os_sim *sim, uint64_t bytes) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    sim->shm_capacity = bytes;
    sim_unlock(sim);
}

size_t os_sim_fault_add(os_sim *sim, const os_sim_fault *fault) {
    ASSERT(fault->operation < OS_SIM_OPERATIONS);
    const operation_kind *kind = &kinds[fault->operation];
    bool write = fault->operation == OS_SIM_WRITE;
    ASSERT(fault->effect == OS_SIM_EIO || (fault->effect == OS_SIM_NO_SPACE && kind->needs_space) ||
           (fault->effect == OS_SIM_LOST && kind->can_be_lost) ||
           ((fault->effect == OS_SIM_TORN || fault->effect == OS_SIM_MISDIRECTED) && write));
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    sim->faults = mem_realloc(sim->faults, (sim->fault_count + 1) * sizeof *sim->faults);
    sim->faults[sim->fault_count] = (sim_fault){
        .fault = *fault,
        .path = fault->path == NULL ? NULL : mem_strdup(fault->path),
        .to_path = fault->to_path == NULL ? NULL : mem_strdup(fault->to_path),
    };
    size_t number = sim->fault_count++;
    sim_unlock(sim);
    return number;
}

uint64_t os_sim_fault_hits(os_sim *sim, size_t number) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    ASSERT(number < sim->fault_count);
    uint64_t hits = sim->faults[number].hits;
    sim_unlock(sim);
    return hits;
}

void os_sim_fault_clear(os_sim *sim) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
    for (size_t i = 0; i < sim->fault_count; i++) {
        free(sim->faults[i].path);
        free(sim->faults[i].to_path);
    }
    free(sim->faults);
    sim->faults = NULL;
    sim->fault_count = 0;
    sim_unlock(sim);
}
