/* Purpose: what a test sees of a simulated disk, and changes on it, from outside its processes. */
#include "os/sim_internal.h"

#include <stdlib.h>

static void lock(os_sim *sim) {
    ASSERT(pthread_mutex_lock(&sim->mutex) == 0);
}

/* The file `path` names now, or NULL. */
static sim_inode *file_at(os_sim *sim, const char *path) {
    sim_place place;
    int reason = sim_find(sim, path, &place);
    sim_inode *inode = reason == 0 ? place.inode : NULL;
    sim_place_free(&place);
    return inode != NULL && !inode->is_dir ? inode : NULL;
}

tape_status os_sim_file_size(os_sim *sim, const char *path, os_sim_side side, uint64_t *size) {
    lock(sim);
    const sim_inode *inode = file_at(sim, path);
    if (inode != NULL) {
        *size = side == OS_SIM_CACHED ? inode->cache.size : inode->durable.size;
    }
    sim_unlock(sim);
    return inode != NULL ? TAPE_OK : TAPE_NOT_FOUND;
}

tape_status os_sim_read_raw(os_sim *sim, const char *path, os_sim_side side, uint8_t **data,
                            size_t *size) {
    lock(sim);
    const sim_inode *inode = file_at(sim, path);
    if (inode != NULL) {
        const buffer *from = side == OS_SIM_CACHED ? &inode->cache : &inode->durable;
        *data = mem_alloc(from->size + 1);
        *size = from->size;
        if (from->size > 0) {
            memcpy(*data, from->data, from->size);
        }
        (*data)[from->size] = 0;
    }
    sim_unlock(sim);
    return inode != NULL ? TAPE_OK : TAPE_NOT_FOUND;
}

tape_status os_sim_write_raw(os_sim *sim, const char *path, uint64_t offset, const void *data,
                             size_t size) {
    lock(sim);
    sim_place place;
    tape_status status = sim_find(sim, path, &place) == 0 ? TAPE_OK : TAPE_NOT_FOUND;
    if (status == TAPE_OK && place.inode == NULL) {
        place.inode = sim_inode_make(sim, false, place.path);
        sim_entry_put(&sim->now, place.dir, place.name, place.inode);
        sim_entry_put(&sim->durable, place.dir, place.name, place.inode);
    }
    if (status == TAPE_OK && place.inode->is_dir) {
        status = TAPE_INVALID;
    }
    if (status == TAPE_OK) {
        sim_put(&place.inode->durable, offset, data, size);
        sim_cache_write(sim, place.inode, offset, data, size);
    }
    sim_place_free(&place);
    sim_unlock(sim);
    return status;
}

tape_status os_sim_resize_raw(os_sim *sim, const char *path, uint64_t size) {
    lock(sim);
    sim_inode *inode = file_at(sim, path);
    if (inode != NULL) {
        sim_resize(&inode->durable, size);
        sim_cache_truncate(sim, inode, size);
    }
    sim_unlock(sim);
    return inode != NULL ? TAPE_OK : TAPE_NOT_FOUND;
}

tape_status os_sim_flip_bit(os_sim *sim, const char *path, uint64_t offset, unsigned bit) {
    ASSERT(bit < 8);
    lock(sim);
    sim_inode *inode = file_at(sim, path);
    bool cached = inode != NULL && offset < inode->cache.size;
    bool durable = inode != NULL && offset < inode->durable.size;
    if (cached) {
        uint8_t byte = (uint8_t)(inode->cache.data[offset] ^ (1u << bit));
        sim_cache_write(sim, inode, offset, &byte, 1);
    }
    if (durable) {
        inode->durable.data[offset] = (uint8_t)(inode->durable.data[offset] ^ (1u << bit));
    }
    sim_unlock(sim);
    return cached || durable ? TAPE_OK : TAPE_NOT_FOUND;
}

size_t os_sim_unsynced(os_sim *sim, const char *path) {
    size_t count = 0;
    lock(sim);
    const sim_inode *inode = path == NULL ? NULL : file_at(sim, path);
    for (size_t i = 0; i < sim->inode_count; i++) {
        if (path == NULL || sim->inodes[i] == inode) {
            count += sim->inodes[i]->pending_count;
        }
    }
    count += path == NULL ? sim->move_count : 0;
    sim_unlock(sim);
    return count;
}

/* --- digest --- */

static uint64_t mix(uint64_t sum, uint64_t value) {
    sum = (sum ^ value) * UINT64_C(0xff51afd7ed558ccd);
    return sum ^ (sum >> 29);
}

static uint64_t mix_bytes(uint64_t sum, const void *data, size_t size) {
    return mix(mix(sum, size), size == 0 ? 0 : crc32c(0, data, size));
}

static uint64_t mix_text(uint64_t sum, const char *text) {
    return text == NULL ? mix(sum, 1) : mix_bytes(sum, text, strlen(text));
}

static uint64_t inode_digest(const sim_inode *inode) {
    uint64_t sum = mix_bytes(inode->is_dir, inode->cache.data, inode->cache.size);
    sum = mix_bytes(sum, inode->durable.data, inode->durable.size);
    for (size_t i = 0; i < inode->pending_count; i++) {
        const sim_pending *p = &inode->pending[i];
        sum = mix(mix(sum, p->truncate), mix(p->offset, (uint64_t)p->fate));
        sum = mix_bytes(sum, p->data, p->size);
    }
    return sum;
}

/* Does not depend on the order in which the entries stand. */
static uint64_t entries_digest(const sim_entries *list) {
    uint64_t sum = 0;
    for (size_t i = 0; i < list->count; i++) {
        const sim_entry *e = &list->entries[i];
        uint64_t entry = mix_text(mix_text(0, e->dir->path), e->name);
        sum += mix(entry, inode_digest(e->inode));
    }
    return sum;
}

uint64_t os_sim_digest(os_sim *sim) {
    lock(sim);
    uint64_t sum = mix(mix(1, entries_digest(&sim->now)), entries_digest(&sim->durable));
    for (size_t i = 0; i < sim->move_count; i++) {
        const sim_move *m = &sim->moves[i];
        sum = mix_text(mix_text(sum, m->from_name), m->to_name);
        sum = mix_text(mix_text(sum, m->from_dir == NULL ? NULL : m->from_dir->path),
                       m->to_dir == NULL ? NULL : m->to_dir->path);
        sum = mix(mix(sum, m->lost), inode_digest(m->inode));
    }
    sim_unlock(sim);
    return sum;
}

/* --- dump --- */

static void dump_entries(const sim_entries *list, const char *title, FILE *to) {
    (void)fprintf(to, "%s\n", title);
    for (size_t i = 0; i < list->count; i++) {
        const sim_entry *e = &list->entries[i];
        const sim_inode *f = e->inode;
        (void)fprintf(to,
                      "  %s/%s%s inode %llu, cached %zu bytes crc %08x, durable %zu bytes crc %08x,"
                      " %zu unsynced\n",
                      e->dir->path, e->name, f->is_dir ? "/" : "", (unsigned long long)f->id,
                      f->cache.size, crc32c(0, f->cache.data, f->cache.size), f->durable.size,
                      crc32c(0, f->durable.data, f->durable.size), f->pending_count);
    }
}

void os_sim_dump(os_sim *sim, FILE *to) {
    lock(sim);
    (void)fprintf(to, "step %llu%s, boot %llu, %llu bytes used, %zu handles open\n",
                  (unsigned long long)sim->step, sim->crashed ? " (stopped)" : "",
                  (unsigned long long)sim->boots, (unsigned long long)sim->used, sim->handles);
    dump_entries(&sim->now, "names as processes see them:", to);
    dump_entries(&sim->durable, "names on disk:", to);
    for (size_t i = 0; i < sim->inode_count; i++) {
        for (size_t k = 0; k < sim->inodes[i]->pending_count; k++) {
            const sim_pending *p = &sim->inodes[i]->pending[k];
            (void)fprintf(to, "unsynced step %llu: %s %s at %llu, %zu bytes\n",
                          (unsigned long long)p->step, p->truncate ? "truncate" : "write",
                          sim->inodes[i]->path, (unsigned long long)p->offset, p->size);
        }
    }
    for (size_t i = 0; i < sim->move_count; i++) {
        const sim_move *m = &sim->moves[i];
        (void)fprintf(to, "unsynced step %llu: name %s%s%s\n", (unsigned long long)m->step,
                      m->from_name == NULL ? "" : m->from_name,
                      m->to_name == NULL     ? " removed"
                      : m->from_name == NULL ? "made "
                                             : " -> ",
                      m->to_name == NULL ? "" : m->to_name);
    }
    for (const sim_region *r = sim->regions; r != NULL; r = r->next) {
        (void)fprintf(to, "region %s: %zu + %zu bytes, %zu mappings\n",
                      r->name == NULL ? "(removed)" : r->name, r->head_bytes, r->ring_bytes,
                      r->mappings);
    }
    for (size_t i = 0; i < sim->fault_count; i++) {
        const sim_fault *f = &sim->faults[i];
        (void)fprintf(to, "fault %zu: operation %d effect %d on %s: seen %llu, hit %llu\n", i,
                      (int)f->fault.operation, (int)f->fault.effect,
                      f->path == NULL ? "any" : f->path, (unsigned long long)f->seen,
                      (unsigned long long)f->hits);
    }
    sim_unlock(sim);
}
