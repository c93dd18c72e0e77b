/* Purpose: shared memory of a simulated machine: memory that outlives its processes, not its power.
 *
 * A region is an unnamed memory file, mapped as on Linux. When a process stops, the region goes on
 * as a copy made at that moment, and only the dead process keeps the original: its threads, which
 * the test cannot stop, may store into it without any effect on the living. */
#include "os/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static tape_status memory_make(size_t size, const char *name, int *out, tape_error *error) {
    int fd = memfd_create("tape-sim", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)size) != 0) {
        int reason = errno;
        if (fd >= 0) {
            (void)close(fd);
        }
        return os_fail(error, reason, name, TAPE_NO_OFFSET, "create shared region");
    }
    *out = fd;
    return TAPE_OK;
}

/* From the first byte to the last: a head that counts what the ring holds is taken before the ring,
 * so that other threads' stores meanwhile cannot make it count too much. */
static int memory_copy(int from_fd, size_t size) {
    int fd = -1;
    uint8_t *from = NULL;
    uint8_t *to = NULL;
    ASSERT(memory_make(size, "copy", &fd, NULL) == TAPE_OK);
    ASSERT(os_shm_map(from_fd, size, 0, false, "copy", &from, NULL) == TAPE_OK);
    ASSERT(os_shm_map(fd, size, 0, true, "copy", &to, NULL) == TAPE_OK);
    memcpy(to, from, size);
    os_shm_unmap(from, size);
    os_shm_unmap(to, size);
    return fd;
}

static sim_region *region_find(const os_sim *sim, const char *name) {
    for (sim_region *r = sim->regions; r != NULL; r = r->next) {
        if (r->name != NULL && strcmp(r->name, name) == 0) {
            return r;
        }
    }
    return NULL;
}

static size_t region_bytes(const sim_region *r) {
    return r->head_bytes + r->ring_bytes;
}

static sim_region *region_add(os_sim *sim, const char *name, size_t head_bytes, size_t ring_bytes,
                              int fd) {
    sim_region *r = mem_zalloc(sizeof *r);
    r->name = mem_strdup(name);
    r->head_bytes = head_bytes;
    r->ring_bytes = ring_bytes;
    r->fd = fd;
    r->next = sim->regions;
    sim->regions = r;
    return r;
}

/* Frees regions without a name that nobody maps. */
static void regions_sweep(os_sim *sim) {
    for (sim_region **at = &sim->regions; *at != NULL;) {
        sim_region *r = *at;
        if (r->name == NULL && r->mappings == 0) {
            *at = r->next;
            (void)close(r->fd);
            free(r);
        } else {
            at = &r->next;
        }
    }
}

static void region_unname(sim_region *r) {
    free(r->name);
    r->name = NULL;
}

static uint64_t free_bytes(const os_sim *sim) {
    uint64_t used = 0;
    for (const sim_region *r = sim->regions; r != NULL; r = r->next) {
        used += region_bytes(r);
    }
    return sim->shm_capacity > used ? sim->shm_capacity - used : 0;
}

static tape_status attach(os_sim *sim, os_disk *disk, sim_region *r, size_t head_bytes,
                          size_t ring_bytes, bool writable, os_shm *out, tape_error *error) {
    uint8_t *data = NULL;
    tape_status status = os_shm_map(r->fd, head_bytes, ring_bytes, writable, r->name, &data, error);
    if (status != TAPE_OK) {
        return status;
    }
    sim_shm *shm = mem_zalloc(sizeof *shm);
    shm->handle.handle.disk = disk;
    shm->handle.writable = writable;
    shm->region = r;
    shm->generation = r->generation;
    shm->data = data;
    shm->head_bytes = head_bytes;
    shm->ring_bytes = ring_bytes;
    shm->next = sim->shms;
    sim->shms = shm;
    r->mappings++;
    sim->handles++;
    *out = (os_shm){data, head_bytes + 2 * ring_bytes, shm};
    return TAPE_OK;
}

static tape_status create_locked(os_sim *sim, os_disk *disk, const char *name, size_t head_bytes,
                                 size_t ring_bytes, os_shm *out, tape_error *error) {
    sim_call call = {.operation = OS_SIM_SHM_CREATE, .path = name};
    tape_status status = sim_enter(sim, disk, &call, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (call.fails == 0 && head_bytes + ring_bytes > free_bytes(sim)) {
        call.fails = ENOSPC;
    }
    if (call.fails != 0) {
        return os_fail(error, call.fails, name, TAPE_NO_OFFSET, "create shared region");
    }
    if (!call.carry_out) {
        return sim_stopped(error, name);
    }
    int fd = -1;
    status = memory_make(head_bytes + ring_bytes, name, &fd, error);
    if (status != TAPE_OK) {
        return status;
    }
    sim_region *old = region_find(sim, name);
    if (old != NULL) {
        region_unname(old);
    }
    sim_region *r = region_add(sim, name, head_bytes, ring_bytes, fd);
    regions_sweep(sim);
    if (call.crashing) {
        return sim_stopped(error, name);
    }
    return attach(sim, disk, r, head_bytes, ring_bytes, true, out, error);
}

tape_status sim_shm_create(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                           os_shm *out, tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    tape_status status = create_locked(sim, disk, name, head_bytes, ring_bytes, out, error);
    sim_unlock(sim);
    return status;
}

tape_status sim_shm_open(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                         bool writable, os_shm *out, tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    sim_region *r = NULL;
    sim_call call = {.operation = OS_SIM_SHM_OPEN, .path = name};
    tape_status status = sim_enter(sim, disk, &call, error);
    if (status == TAPE_OK) {
        r = region_find(sim, name);
        int reason = call.fails != 0 ? call.fails : r == NULL ? ENOENT : 0;
        if (reason != 0) {
            status = os_fail(error, reason, name, TAPE_NO_OFFSET, "open");
        } else if (head_bytes + ring_bytes > region_bytes(r)) {
            status = os_shm_refuse_size(error, name, region_bytes(r), head_bytes + ring_bytes);
        } else {
            status = attach(sim, disk, r, head_bytes, ring_bytes, writable, out, error);
        }
    }
    sim_unlock(sim);
    return status;
}

static void forget(os_sim *sim, const sim_shm *shm) {
    for (sim_shm **at = &sim->shms; *at != NULL; at = &(*at)->next) {
        if (*at == shm) {
            *at = shm->next;
            shm->region->mappings--;
            break;
        }
    }
    regions_sweep(sim);
}

void sim_shm_close(os_shm *out) {
    sim_shm *shm = out->handle;
    os_sim *sim = sim_lock_of(shm->handle.handle.disk);
    os_shm_unmap(out->data, out->size);
    forget(sim, shm);
    sim->handles--;
    free(shm);
    sim_unlock(sim);
}

tape_status sim_shm_remove(os_disk *disk, const char *name, tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    tape_status status = TAPE_OK;
    sim_region *r = region_find(sim, name);
    sim_call call = {.operation = OS_SIM_SHM_REMOVE, .path = name};
    if (r == NULL && !sim->crashed && ((sim_process *)disk)->alive) {
        status = os_fail(error, ENOENT, name, TAPE_NO_OFFSET, "remove");
    } else {
        status = sim_enter(sim, disk, &call, error);
    }
    if (status == TAPE_OK && call.fails != 0) {
        status = os_fail(error, call.fails, name, TAPE_NO_OFFSET, "remove");
    } else if (status == TAPE_OK) {
        if (call.carry_out) {
            region_unname(r);
            regions_sweep(sim);
        }
        status = call.crashing ? sim_stopped(error, name) : TAPE_OK;
    }
    sim_unlock(sim);
    return status;
}

tape_status sim_shm_free_bytes(os_disk *disk, uint64_t *out, tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    tape_status status = TAPE_OK;
    if (sim->crashed || !((sim_process *)disk)->alive) {
        status = sim_stopped(error, "shared memory");
    } else {
        *out = free_bytes(sim);
    }
    sim_unlock(sim);
    return status;
}

/* --- the machine --- */

static bool is_mapped(const os_sim *sim, const sim_region *r, const sim_process *by) {
    for (const sim_shm *shm = sim->shms; shm != NULL; shm = shm->next) {
        if (shm->region == r && shm->generation == r->generation &&
            (by == NULL || shm->handle.handle.disk == &by->disk)) {
            return true;
        }
    }
    return false;
}

void sim_shm_detach(os_sim *sim, const sim_process *of) {
    for (sim_region *r = sim->regions; r != NULL; r = r->next) {
        if (is_mapped(sim, r, of)) {
            int fd = memory_copy(r->fd, region_bytes(r));
            (void)close(r->fd);
            r->fd = fd;
            r->generation++;
        }
    }
}

void sim_shm_end_process(os_sim *sim, const sim_process *process) {
    sim_shm_detach(sim, process);
    for (sim_shm **at = &sim->shms; *at != NULL;) {
        sim_shm *shm = *at;
        if (shm->handle.handle.disk == &process->disk) {
            *at = shm->next;
            shm->region->mappings--;
            shm->region = NULL;
            continue;
        }
        if (shm->generation != shm->region->generation) {
            os_shm_map_again(shm->region->fd, shm->head_bytes, shm->ring_bytes,
                             shm->handle.writable, shm->data);
            shm->generation = shm->region->generation;
        }
        at = &shm->next;
    }
    regions_sweep(sim);
}

void sim_shm_drop_all(os_sim *sim) {
    for (sim_shm *shm = sim->shms; shm != NULL; shm = shm->next) {
        shm->region->mappings--;
        shm->region = NULL;
    }
    sim->shms = NULL;
    for (sim_region *r = sim->regions; r != NULL; r = r->next) {
        region_unname(r);
    }
    regions_sweep(sim);
}

void sim_shm_clone(const os_sim *from, os_sim *to) {
    for (const sim_region *r = from->regions; r != NULL; r = r->next) {
        if (r->name != NULL) {
            (void)region_add(to, r->name, r->head_bytes, r->ring_bytes,
                             memory_copy(r->fd, region_bytes(r)));
        }
    }
}
