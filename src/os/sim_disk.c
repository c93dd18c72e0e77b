/* Purpose: the calls of os.h on a simulated disk.
 *
 * Every call takes the machine's mutex, asks sim_enter whether it may run and what is to go wrong
 * with it, changes the model, and answers with the texts of the Linux disk. */
#include "os/sim_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* --- the frame of a call --- */

static bool is_stopped(const os_sim *sim, os_disk *disk) {
    return sim->crashed || !((sim_process *)disk)->alive;
}

/* Finds `path` for a process that still runs. */
static tape_status begin(os_sim *sim, os_disk *disk, const char *path, const char *doing,
                         sim_place *place, tape_error *error) {
    *place = (sim_place){0};
    if (is_stopped(sim, disk)) {
        return sim_stopped(error, path);
    }
    int reason = sim_find(sim, path, place);
    return reason == 0 ? TAPE_OK : os_fail(error, reason, path, TAPE_NO_OFFSET, doing);
}

/* Enters a call on names that is about to succeed, unless `reason` says why it cannot. */
static tape_status enter(os_sim *sim, os_disk *disk, int reason, sim_call *call, const char *path,
                         const char *doing, tape_error *error) {
    tape_status status = TAPE_OK;
    if (reason == 0) {
        status = sim_enter(sim, disk, call, error);
        reason = call->fails;
    }
    if (status == TAPE_OK && reason != 0) {
        status = os_fail(error, reason, path, TAPE_NO_OFFSET, doing);
    }
    return status;
}

static tape_status leave(const sim_call *call, const char *path, tape_error *error) {
    return call->crashing ? sim_stopped(error, path) : TAPE_OK;
}

/* --- opening and closing --- */

static tape_status open_or_create(os_sim *sim, os_disk *disk, const char *path, unsigned flags,
                                  const char *doing, sim_place *place, tape_error *error) {
    int reason = 0;
    sim_call call = {.operation = OS_SIM_OPEN, .path = place->path};
    if (place->inode != NULL) {
        if ((flags & OS_EXCLUSIVE) != 0) {
            reason = EEXIST;
        } else if (place->inode->is_dir) {
            return os_fail_not_a_file(error, path, "a directory");
        }
    } else if ((flags & OS_CREATE) == 0) {
        reason = ENOENT;
    } else {
        call.operation = OS_SIM_CREATE;
    }
    tape_status status = enter(sim, disk, reason, &call, path, doing, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (call.operation == OS_SIM_CREATE && call.carry_out) {
        place->inode = sim_inode_make(sim, false, place->path);
        sim_move_add(sim, place->inode, NULL, NULL, place->dir, place->name, call.lost);
    }
    return leave(&call, path, error);
}

static tape_status sim_file_open(os_disk *disk, const char *path, unsigned flags, os_file **out,
                                 tape_error *error) {
    const char *doing = (flags & OS_EXCLUSIVE) != 0 ? "create" : "open";
    os_sim *sim = sim_lock_of(disk);
    sim_place place;
    tape_status status = begin(sim, disk, path, doing, &place, error);
    if (status == TAPE_OK) {
        status = open_or_create(sim, disk, path, flags, doing, &place, error);
    }
    if (status == TAPE_OK) {
        sim_file *file = mem_zalloc(sizeof *file);
        file->file.handle.disk = disk;
        file->file.flags = flags;
        file->file.path = mem_strdup(path);
        file->inode = place.inode;
        file->inode->handles++;
        sim->handles++;
        *out = &file->file;
    }
    sim_place_free(&place);
    sim_unlock(sim);
    return status;
}

static void sim_file_close(os_file *base) {
    os_sim *sim = sim_lock_of(base->handle.disk);
    sim_file *file = (sim_file *)base;
    file->inode->handles--;
    sim->handles--;
    free(base->path);
    free(file);
    sim_sweep(sim);
    sim_unlock(sim);
}

/* --- contents --- */

static tape_status sim_file_read(os_file *base, uint64_t offset, void *data, size_t size,
                                 size_t *got, tape_error *error) {
    os_sim *sim = sim_lock_of(base->handle.disk);
    const sim_inode *inode = ((sim_file *)base)->inode;
    sim_call call = {.operation = OS_SIM_READ, .path = inode->path};
    tape_status status = sim_enter(sim, base->handle.disk, &call, error);
    if (status == TAPE_OK && call.fails != 0) {
        status = os_fail(error, call.fails, base->path, offset, "read");
    }
    if (status == TAPE_OK && offset < inode->cache.size) {
        uint64_t left = inode->cache.size - offset;
        *got = left < size ? (size_t)left : size;
        memcpy(data, inode->cache.data + offset, *got);
    }
    sim_unlock(sim);
    return status;
}

/* How this write will reach the disk, from the fault that hits it. */
static void set_fate(os_sim *sim, const sim_call *call, sim_pending *p, sim_inode *inode) {
    if (call->fault == NULL) {
        return;
    }
    switch (call->fault->fault.effect) {
    case OS_SIM_EIO:
    case OS_SIM_NO_SPACE:
        break;
    case OS_SIM_LOST:
        p->fate = SIM_FATE_LOST;
        break;
    case OS_SIM_TORN:
        p->fate = SIM_FATE_TORN;
        p->tear = sim_random(sim);
        break;
    case OS_SIM_MISDIRECTED:
        p->fate = SIM_FATE_MISDIRECTED;
        p->target = inode;
        p->target_offset = call->fault->fault.to_offset;
        if (call->fault->to_path != NULL) {
            sim_place place;
            int reason = sim_find(sim, call->fault->to_path, &place);
            p->target =
                reason == 0 && place.inode != NULL && !place.inode->is_dir ? place.inode : NULL;
            sim_place_free(&place);
        }
        break;
    }
}

static tape_status write_inode(os_sim *sim, os_file *base, sim_call *call, const void *data,
                               tape_error *error) {
    sim_inode *inode = ((sim_file *)base)->inode;
    uint64_t room = sim->capacity > sim->used ? sim->capacity - sim->used : 0;
    uint64_t end_max = inode->cache.size + room;
    size_t size = (size_t)call->size;
    if (call->offset + size > end_max) {
        call->fails = call->fails != 0 ? call->fails : ENOSPC;
        size = call->offset < end_max ? (size_t)(end_max - call->offset) : 0;
    }
    if (call->crashing) {
        bool whole = sim_percent(sim, 50);
        size = !call->carry_out ? 0 : whole ? size : (size_t)sim_below(sim, size);
    } else if (call->fails != 0) {
        size = (size_t)sim_below(sim, size + 1);
    }
    if (size > 0) {
        sim_cache_write(sim, inode, call->offset, data, size);
        sim_pending *p = sim_pending_add(inode, sim->step);
        p->offset = call->offset;
        p->size = size;
        p->data = mem_alloc(size);
        memcpy(p->data, data, size);
        set_fate(sim, call, p, inode);
    }
    if (call->crashing) {
        return sim_stopped(error, base->path);
    }
    if (call->fails != 0) {
        return os_fail(error, call->fails, base->path, call->offset, "write");
    }
    if ((base->flags & OS_DSYNC) != 0) {
        sim_inode_sync_range(inode, call->offset, size);
    }
    return TAPE_OK;
}

static tape_status sim_file_write(os_file *base, uint64_t offset, const void *data, size_t size,
                                  tape_error *error) {
    os_sim *sim = sim_lock_of(base->handle.disk);
    const sim_inode *inode = ((sim_file *)base)->inode;
    sim_call call = {
        .operation = OS_SIM_WRITE, .path = inode->path, .offset = offset, .size = size};
    tape_status status = sim_enter(sim, base->handle.disk, &call, error);
    if (status == TAPE_OK) {
        status = write_inode(sim, base, &call, data, error);
    }
    sim_unlock(sim);
    return status;
}

static tape_status sim_file_sync(os_file *base, tape_error *error) {
    os_sim *sim = sim_lock_of(base->handle.disk);
    sim_inode *inode = ((sim_file *)base)->inode;
    sim_call call = {.operation = OS_SIM_SYNC, .path = inode->path};
    tape_status status = sim_enter(sim, base->handle.disk, &call, error);
    if (status == TAPE_OK && call.fails != 0) {
        sim_inode_sync_fail(sim, inode);
        status = os_fail(error, call.fails, base->path, TAPE_NO_OFFSET, "sync");
    } else if (status == TAPE_OK) {
        if (call.carry_out && !call.lost) {
            sim_inode_sync(inode);
        }
        status = leave(&call, base->path, error);
    }
    sim_unlock(sim);
    return status;
}

static tape_status sim_file_size(os_file *base, uint64_t *size, tape_error *error) {
    os_sim *sim = sim_lock_of(base->handle.disk);
    tape_status status = TAPE_OK;
    if (is_stopped(sim, base->handle.disk)) {
        status = sim_stopped(error, base->path);
    } else {
        *size = ((sim_file *)base)->inode->cache.size;
    }
    sim_unlock(sim);
    return status;
}

static tape_status sim_file_truncate(os_file *base, uint64_t size, tape_error *error) {
    os_sim *sim = sim_lock_of(base->handle.disk);
    sim_inode *inode = ((sim_file *)base)->inode;
    sim_call call = {.operation = OS_SIM_TRUNCATE, .path = inode->path, .size = size};
    uint64_t room = sim->capacity > sim->used ? sim->capacity - sim->used : 0;
    tape_status status = sim_enter(sim, base->handle.disk, &call, error);
    if (status == TAPE_OK && call.fails == 0 && size > inode->cache.size + room) {
        call.fails = EFBIG;
    }
    if (status == TAPE_OK && call.fails != 0) {
        status = os_fail(error, call.fails, base->path, size, "truncate");
    } else if (status == TAPE_OK) {
        if (call.carry_out) {
            sim_cache_truncate(sim, inode, size);
            sim_pending *p = sim_pending_add(inode, sim->step);
            p->truncate = true;
            p->offset = size;
        }
        status = leave(&call, base->path, error);
    }
    sim_unlock(sim);
    return status;
}

static tape_status sim_file_map(os_file *base, size_t size, int advice, os_map *out,
                                tape_error *error) {
    (void)advice;
    os_sim *sim = sim_lock_of(base->handle.disk);
    sim_inode *inode = ((sim_file *)base)->inode;
    sim_call call = {.operation = OS_SIM_READ, .path = inode->path};
    tape_status status = sim_enter(sim, base->handle.disk, &call, error);
    if (status == TAPE_OK && (call.fails != 0 || size > inode->cache.size)) {
        status = os_fail(error, call.fails != 0 ? call.fails : EINVAL, base->path, TAPE_NO_OFFSET,
                         "map");
    }
    if (status == TAPE_OK) {
        sim_map *map = mem_zalloc(sizeof *map);
        map->handle.disk = base->handle.disk;
        map->inode = inode;
        map->size = size;
        map->data = aligned_alloc(OS_DIRECT_ALIGN, ALIGN_UP(size, OS_DIRECT_ALIGN));
        ASSERT(map->data != NULL);
        memcpy(map->data, inode->cache.data, size);
        map->next = inode->maps;
        inode->maps = map;
        inode->handles++;
        sim->handles++;
        *out = (os_map){map->data, size, map};
    }
    sim_unlock(sim);
    return status;
}

static void sim_unmap(os_map *out) {
    sim_map *map = out->handle;
    os_sim *sim = sim_lock_of(map->handle.disk);
    for (sim_map **at = &map->inode->maps; *at != NULL; at = &(*at)->next) {
        if (*at == map) {
            *at = map->next;
            break;
        }
    }
    map->inode->handles--;
    sim->handles--;
    free(map->data);
    free(map);
    sim_sweep(sim);
    sim_unlock(sim);
}

/* --- names --- */

static tape_status sim_dir_make(os_disk *disk, const char *path, tape_error *error) {
    static const char doing[] = "make directory";
    os_sim *sim = sim_lock_of(disk);
    sim_place place;
    tape_status status = begin(sim, disk, path, doing, &place, error);
    if (status == TAPE_OK) {
        sim_call call = {.operation = OS_SIM_DIR_MAKE, .path = place.path};
        status = enter(sim, disk, place.inode != NULL ? EEXIST : 0, &call, path, doing, error);
        if (status == TAPE_OK) {
            if (call.carry_out) {
                sim_inode *inode = sim_inode_make(sim, true, place.path);
                sim_move_add(sim, inode, NULL, NULL, place.dir, place.name, call.lost);
            }
            status = leave(&call, path, error);
        }
    }
    sim_place_free(&place);
    sim_unlock(sim);
    return status;
}

static tape_status sim_dir_sync_call(os_disk *disk, const char *path, tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    sim_place place;
    tape_status status = begin(sim, disk, path, "open directory", &place, error);
    if (status == TAPE_OK) {
        sim_call call = {.operation = OS_SIM_DIR_SYNC, .path = place.path};
        if (place.inode == NULL || !place.inode->is_dir) {
            status = os_fail(error, place.inode == NULL ? ENOENT : ENOTDIR, path, TAPE_NO_OFFSET,
                             "open directory");
        } else {
            status = enter(sim, disk, 0, &call, path, "sync directory", error);
        }
        if (status == TAPE_OK) {
            if (call.carry_out && !call.lost) {
                sim_dir_sync(sim, place.inode);
            }
            status = leave(&call, path, error);
        }
    }
    sim_place_free(&place);
    sim_unlock(sim);
    return status;
}

static tape_status sim_dir_list(os_disk *disk, const char *path, os_entries *out,
                                tape_error *error) {
    static const char doing[] = "list directory";
    os_sim *sim = sim_lock_of(disk);
    sim_place place;
    tape_status status = begin(sim, disk, path, doing, &place, error);
    if (status == TAPE_OK) {
        int reason = place.inode == NULL ? ENOENT : place.inode->is_dir ? 0 : ENOTDIR;
        sim_call call = {.operation = OS_SIM_DIR_LIST, .path = place.path};
        status = enter(sim, disk, reason, &call, path, doing, error);
    }
    for (size_t i = 0; status == TAPE_OK && i < sim->now.count; i++) {
        const sim_entry *e = &sim->now.entries[i];
        if (e->dir == place.inode) {
            os_entries_add(out, e->name, e->inode->is_dir, e->inode->cache.size);
        }
    }
    sim_place_free(&place);
    sim_unlock(sim);
    return status;
}

static bool lies_under(const char *path, const char *dir) {
    size_t length = strlen(dir);
    return strncmp(path, dir, length) == 0 && path[length] == '/';
}

/* In the order in which Linux finds out. */
static int rename_refusal(const os_sim *sim, const sim_place *from, const sim_place *to) {
    if (from->dir == NULL || to->dir == NULL) {
        return EBUSY;
    }
    if (from->inode == NULL) {
        return ENOENT;
    }
    if (lies_under(to->path, from->path)) {
        return EINVAL;
    }
    if (lies_under(from->path, to->path)) {
        return ENOTEMPTY;
    }
    if (to->inode == NULL || to->inode == from->inode) {
        return 0;
    }
    if (from->inode->is_dir != to->inode->is_dir) {
        return to->inode->is_dir ? EISDIR : ENOTDIR;
    }
    return to->inode->is_dir && !sim_dir_is_empty(sim, to->inode) ? ENOTEMPTY : 0;
}

static tape_status rename_places(os_sim *sim, os_disk *disk, const sim_place *from,
                                 const sim_place *to, const char *to_path, const char *doing,
                                 tape_error *error) {
    sim_call call = {.operation = OS_SIM_RENAME, .path = from->path, .other_path = to->path};
    tape_status status =
        enter(sim, disk, rename_refusal(sim, from, to), &call, to_path, doing, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (call.carry_out && from->inode != to->inode) {
        sim_move_add(sim, from->inode, from->dir, from->name, to->dir, to->name, call.lost);
        sim_inode_repath(sim, from->inode, to->path);
        sim_sweep(sim);
    }
    return leave(&call, to_path, error);
}

static tape_status sim_rename(os_disk *disk, const char *from_path, const char *to_path,
                              tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    sim_place from;
    sim_place to;
    char doing[300];
    (void)snprintf(doing, sizeof doing, "rename %.255s to", from_path);
    int from_reason = sim_find(sim, from_path, &from);
    int to_reason = sim_find(sim, to_path, &to);
    int reason = from_reason != 0 ? from_reason : to_reason;
    tape_status status = TAPE_OK;
    if (is_stopped(sim, disk)) {
        status = sim_stopped(error, to_path);
    } else if (reason != 0) {
        status = os_fail(error, reason, to_path, TAPE_NO_OFFSET, doing);
    }
    if (status == TAPE_OK) {
        status = rename_places(sim, disk, &from, &to, to_path, doing, error);
    }
    sim_place_free(&from);
    sim_place_free(&to);
    sim_unlock(sim);
    return status;
}

static tape_status remove_name(os_disk *disk, const char *path, os_sim_operation operation,
                               const char *doing, tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    sim_place place;
    tape_status status = begin(sim, disk, path, doing, &place, error);
    if (status == TAPE_OK) {
        bool dir = operation == OS_SIM_DIR_REMOVE;
        int reason = 0;
        if (place.inode == NULL) {
            reason = ENOENT;
        } else if (place.inode->is_dir != dir) {
            reason = dir ? ENOTDIR : EISDIR;
        } else if (place.dir == NULL) {
            reason = EBUSY;
        } else if (dir && !sim_dir_is_empty(sim, place.inode)) {
            reason = ENOTEMPTY;
        }
        sim_call call = {.operation = operation, .path = place.path};
        status = enter(sim, disk, reason, &call, path, doing, error);
        if (status == TAPE_OK) {
            if (call.carry_out) {
                sim_move_add(sim, place.inode, place.dir, place.name, NULL, NULL, call.lost);
                sim_sweep(sim);
            }
            status = leave(&call, path, error);
        }
    }
    sim_place_free(&place);
    sim_unlock(sim);
    return status;
}

static tape_status sim_remove(os_disk *disk, const char *path, tape_error *error) {
    return remove_name(disk, path, OS_SIM_REMOVE, "remove", error);
}

static tape_status sim_dir_remove(os_disk *disk, const char *path, tape_error *error) {
    return remove_name(disk, path, OS_SIM_DIR_REMOVE, "remove directory", error);
}

static tape_status sim_path_stat(os_disk *disk, const char *path, os_stat *out, tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    sim_place place;
    tape_status status = begin(sim, disk, path, "find", &place, error);
    if (status == TAPE_OK) {
        sim_call call = {.operation = OS_SIM_STAT, .path = place.path};
        status = enter(sim, disk, place.inode == NULL ? ENOENT : 0, &call, path, "find", error);
    }
    if (status == TAPE_OK) {
        *out = (os_stat){.is_dir = place.inode->is_dir,
                         .size = place.inode->cache.size,
                         .device = 1,
                         .inode = place.inode->id};
    }
    sim_place_free(&place);
    sim_unlock(sim);
    return status;
}

static tape_status sim_free_bytes(os_disk *disk, const char *path, uint64_t *out,
                                  tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    sim_place place;
    tape_status status = begin(sim, disk, path, "read the free space at", &place, error);
    if (status == TAPE_OK && place.inode == NULL) {
        status = os_fail(error, ENOENT, path, TAPE_NO_OFFSET, "read the free space at");
    }
    if (status == TAPE_OK) {
        *out = sim->capacity > sim->used ? sim->capacity - sim->used : 0;
    }
    sim_place_free(&place);
    sim_unlock(sim);
    return status;
}

/* --- files from outside --- */

#define ADOPT_PIECE_BYTES KIB(256)

/* In the calls of its own process, each a step that may fail or be the last. */
static tape_status adopt_bytes(os_file *from, os_file *to, tape_error *error) {
    uint8_t *piece = mem_alloc(ADOPT_PIECE_BYTES);
    uint64_t offset = 0;
    size_t got = 0;
    tape_status status = TAPE_OK;
    do {
        status = os_file_read(from, offset, piece, ADOPT_PIECE_BYTES, &got, error);
        if (status == TAPE_OK) {
            status = os_file_write(to, offset, piece, got, error);
        }
        offset += got;
    } while (status == TAPE_OK && got == ADOPT_PIECE_BYTES);
    free(piece);
    return status == TAPE_OK ? os_file_sync(to, error) : status;
}

static tape_status sim_file_adopt(os_disk *disk, const char *real_path, const char *path,
                                  tape_error *error) {
    os_file *from = NULL;
    os_file *to = NULL;
    tape_status status = os_file_open(os_disk_linux(), real_path, OS_READ, &from, error);
    if (status == TAPE_OK) {
        status = os_file_open(disk, real_path, OS_WRITE | OS_CREATE, &to, error);
    }
    if (status == TAPE_OK) {
        status = os_file_truncate(to, 0, error);
    }
    if (status == TAPE_OK) {
        status = adopt_bytes(from, to, error);
    }
    os_file_close(&from);
    os_file_close(&to);
    if (status == TAPE_OK) {
        status = os_rename(disk, real_path, path, error);
    }
    return status == TAPE_OK ? os_remove(os_disk_linux(), real_path, error) : status;
}

/* --- lock, boot id --- */

static tape_status lock_claim(os_disk *disk, const char *path, os_file *file, sim_lock *lock,
                              int64_t *owner_pid, tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    tape_status status = TAPE_OK;
    sim_inode *inode = ((sim_file *)file)->inode;
    if (is_stopped(sim, disk)) {
        status = sim_stopped(error, path);
    } else if (inode->lock != NULL) {
        *owner_pid = ((const sim_process *)inode->lock->lock.handle.disk)->pid;
        status = os_lock_refuse(error, path, *owner_pid);
    } else {
        *owner_pid = ((const sim_process *)disk)->pid;
        lock->lock.handle.disk = disk;
        lock->file = file;
        lock->inode = inode;
        inode->lock = lock;
    }
    sim_unlock(sim);
    return status;
}

static void sim_lock_release(os_lock *base) {
    sim_lock *lock = (sim_lock *)base;
    os_sim *sim = sim_lock_of(base->handle.disk);
    if (lock->inode->lock == lock) {
        lock->inode->lock = NULL;
    }
    sim_unlock(sim);
    os_file_close(&lock->file);
    free(lock);
}

static tape_status sim_lock_take(os_disk *disk, const char *path, os_lock **out, int64_t *owner_pid,
                                 tape_error *error) {
    os_file *file = NULL;
    tape_status status = os_file_open(disk, path, OS_WRITE | OS_CREATE, &file, error);
    if (status != TAPE_OK) {
        return status;
    }
    sim_lock *lock = mem_zalloc(sizeof *lock);
    status = lock_claim(disk, path, file, lock, owner_pid, error);
    if (status != TAPE_OK) {
        os_file_close(&file);
        free(lock);
        return status;
    }
    char text[32];
    int size = snprintf(text, sizeof text, "%lld\n", (long long)*owner_pid);
    status = os_file_write(file, 0, text, (size_t)size, error);
    if (status == TAPE_OK) {
        status = os_file_truncate(file, (uint64_t)size, error);
    }
    if (status != TAPE_OK) {
        sim_lock_release(&lock->lock);
        return status;
    }
    *out = &lock->lock;
    return TAPE_OK;
}

static tape_status sim_boot_id(os_disk *disk, uint8_t out[16], tape_error *error) {
    os_sim *sim = sim_lock_of(disk);
    tape_status status = TAPE_OK;
    if (is_stopped(sim, disk)) {
        status = sim_stopped(error, "the boot id");
    } else {
        store_u64(out, sim->boot_seed);
        store_u64(out + 8, sim->boots);
    }
    sim_unlock(sim);
    return status;
}

const os_disk_table sim_disk_table = {
    .file_open = sim_file_open,
    .file_read = sim_file_read,
    .file_write = sim_file_write,
    .file_sync = sim_file_sync,
    .file_size = sim_file_size,
    .file_truncate = sim_file_truncate,
    .file_close = sim_file_close,
    .file_map = sim_file_map,
    .unmap = sim_unmap,
    .dir_make = sim_dir_make,
    .dir_sync = sim_dir_sync_call,
    .dir_list = sim_dir_list,
    .rename = sim_rename,
    .remove = sim_remove,
    .file_adopt = sim_file_adopt,
    .dir_remove = sim_dir_remove,
    .path_stat = sim_path_stat,
    .free_bytes = sim_free_bytes,
    .lock_take = sim_lock_take,
    .lock_release = sim_lock_release,
    .shm_create = sim_shm_create,
    .shm_open = sim_shm_open,
    .shm_close = sim_shm_close,
    .shm_remove = sim_shm_remove,
    .shm_free_bytes = sim_shm_free_bytes,
    .boot_id = sim_boot_id,
};
