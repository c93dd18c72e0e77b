/* Purpose: what the simulated disk is made of: chance, contents with a cache above them, names.
 *
 * A file has two contents, `cache` (what processes read) and `durable` (what is on disk), and the
 * ordered list of changes between them. Names likewise: `now`, `durable`, and the list of moves. */
#include "os/sim_internal.h"

#include <errno.h>
#include <stdlib.h>

/* --- chance --- */

uint64_t sim_random(os_sim *sim) {
    sim->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = sim->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t sim_below(os_sim *sim, uint64_t limit) {
    return limit == 0 ? 0 : sim_random(sim) % limit;
}

bool sim_percent(os_sim *sim, unsigned percent) {
    return sim_below(sim, 100) < percent;
}

/* --- contents --- */

void sim_resize(buffer *b, uint64_t size) {
    if (size > b->size) {
        buffer_reserve(b, (size_t)size - b->size);
        memset(b->data + b->size, 0, (size_t)size - b->size);
    }
    b->size = (size_t)size;
}

void sim_put(buffer *b, uint64_t offset, const void *data, size_t size) {
    if (size == 0) {
        return;
    }
    if (offset + size > b->size) {
        sim_resize(b, offset + size);
    }
    memcpy(b->data + offset, data, size);
}

sim_inode *sim_inode_make(os_sim *sim, bool is_dir, const char *path) {
    sim_inode *inode = mem_zalloc(sizeof *inode);
    inode->id = sim->next_inode++;
    inode->is_dir = is_dir;
    inode->path = mem_strdup(path);
    if (sim->inode_count == sim->inode_capacity) {
        sim->inode_capacity = sim->inode_capacity == 0 ? 16 : sim->inode_capacity * 2;
        sim->inodes = mem_realloc(sim->inodes, sim->inode_capacity * sizeof *sim->inodes);
    }
    sim->inodes[sim->inode_count++] = inode;
    return inode;
}

static void inode_free(os_sim *sim, sim_inode *inode) {
    ASSERT(inode->handles == 0 && inode->maps == NULL);
    sim->used -= inode->cache.size;
    sim_pending_clear(inode);
    free(inode->pending);
    buffer_deinit(&inode->cache);
    buffer_deinit(&inode->durable);
    free(inode->path);
    free(inode);
}

/* Whether that reached anything further. */
static bool mark_names(const sim_entries *list) {
    bool more = false;
    for (size_t i = 0; i < list->count; i++) {
        const sim_entry *e = &list->entries[i];
        if (e->dir->reachable && !e->inode->reachable) {
            e->inode->reachable = true;
            more = true;
        }
    }
    return more;
}

void sim_sweep(os_sim *sim) {
    for (size_t i = 0; i < sim->inode_count; i++) {
        sim_inode *inode = sim->inodes[i];
        inode->reachable = inode == sim->root || inode->handles > 0;
    }
    for (size_t i = 0; i < sim->move_count; i++) {
        const sim_move *m = &sim->moves[i];
        m->inode->reachable = true;
        if (m->from_dir != NULL) {
            m->from_dir->reachable = true;
        }
        if (m->to_dir != NULL) {
            m->to_dir->reachable = true;
        }
    }
    /* To a fixed point, as a directory may come after what is in it. */
    while (mark_names(&sim->now) || mark_names(&sim->durable)) {
    }
    for (size_t i = 0; i < sim->inode_count; i++) {
        const sim_inode *inode = sim->inodes[i];
        for (size_t k = 0; inode->reachable && k < inode->pending_count; k++) {
            if (inode->pending[k].target != NULL) {
                inode->pending[k].target->reachable = true;
            }
        }
    }
    sim_entries *lists[] = {&sim->now, &sim->durable};
    for (size_t n = 0; n < COUNT_OF(lists); n++) {
        for (size_t i = lists[n]->count; i-- > 0;) {
            if (!lists[n]->entries[i].dir->reachable) {
                sim_entry_remove(lists[n], &lists[n]->entries[i]);
            }
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < sim->inode_count; i++) {
        if (sim->inodes[i]->reachable) {
            sim->inodes[kept++] = sim->inodes[i];
        } else {
            inode_free(sim, sim->inodes[i]);
        }
    }
    sim->inode_count = kept;
}

/* What is mapped shows what the cache holds in [offset, offset + size). */
static void maps_refresh(const sim_inode *inode, uint64_t offset, uint64_t size) {
    for (sim_map *map = inode->maps; map != NULL; map = map->next) {
        uint64_t end = offset + size < map->size ? offset + size : map->size;
        end = end < inode->cache.size ? end : inode->cache.size;
        if (offset < end) {
            memcpy(map->data + offset, inode->cache.data + offset, (size_t)(end - offset));
        }
    }
}

void sim_cache_write(os_sim *sim, sim_inode *inode, uint64_t offset, const void *data,
                     size_t size) {
    sim->used -= inode->cache.size;
    sim_put(&inode->cache, offset, data, size);
    sim->used += inode->cache.size;
    maps_refresh(inode, offset, size);
}

void sim_cache_truncate(os_sim *sim, sim_inode *inode, uint64_t size) {
    sim->used -= inode->cache.size;
    sim_resize(&inode->cache, size);
    sim->used += inode->cache.size;
}

void sim_cache_reload(os_sim *sim, sim_inode *inode) {
    sim->used -= inode->cache.size;
    inode->cache.size = 0;
    sim_put(&inode->cache, 0, inode->durable.data, inode->durable.size);
    for (size_t i = 0; i < inode->pending_count; i++) {
        const sim_pending *p = &inode->pending[i];
        if (p->truncate) {
            sim_resize(&inode->cache, p->offset);
        } else {
            sim_put(&inode->cache, p->offset, p->data, p->size);
        }
    }
    sim->used += inode->cache.size;
    maps_refresh(inode, 0, inode->cache.size);
}

/* --- unsynced changes --- */

sim_pending *sim_pending_add(sim_inode *inode, uint64_t step) {
    if (inode->pending_count == inode->pending_capacity) {
        inode->pending_capacity = inode->pending_capacity == 0 ? 8 : inode->pending_capacity * 2;
        inode->pending =
            mem_realloc(inode->pending, inode->pending_capacity * sizeof *inode->pending);
    }
    sim_pending *p = &inode->pending[inode->pending_count++];
    *p = (sim_pending){.step = step};
    return p;
}

void sim_pending_clear(sim_inode *inode) {
    for (size_t i = 0; i < inode->pending_count; i++) {
        free(inode->pending[i].data);
    }
    inode->pending_count = 0;
}

/* A device cannot write what is not allocated: a stray write changes only what the target has. */
static void put_within(buffer *b, uint64_t offset, const uint8_t *data, size_t size) {
    if (offset < b->size) {
        uint64_t room = b->size - offset;
        memcpy(b->data + offset, data, room < size ? (size_t)room : size);
    }
}

/* An acknowledged write of which some sectors, or some first bytes, reach the disk; never all. */
static void put_torn(buffer *b, const sim_pending *p) {
    uint64_t first = p->offset / SIM_SECTOR_BYTES;
    uint64_t count = (p->offset + p->size - 1) / SIM_SECTOR_BYTES - first + 1;
    if (count == 1 || (p->tear & 1) != 0) {
        sim_put(b, p->offset, p->data, (size_t)((p->tear >> 1) % p->size));
        return;
    }
    uint64_t missing = (p->tear >> 8) % count; /* at least this one */
    for (uint64_t i = 0; i < count; i++) {
        uint64_t begin = (first + i) * SIM_SECTOR_BYTES;
        uint64_t end = begin + SIM_SECTOR_BYTES;
        begin = begin < p->offset ? p->offset : begin;
        end = end > p->offset + p->size ? p->offset + p->size : end;
        if (i != missing && (p->tear >> (i % 48 + 16) & 1) != 0) {
            sim_put(b, begin, p->data + (begin - p->offset), (size_t)(end - begin));
        }
    }
}

void sim_pending_write_out(const sim_pending *p, sim_inode *inode) {
    buffer *b = &inode->durable;
    if (p->truncate) {
        sim_resize(b, p->offset);
        return;
    }
    /* The size is the file system's affair and is right even where the data is not. */
    if (p->offset + p->size > b->size) {
        sim_resize(b, p->offset + p->size);
    }
    switch (p->fate) {
    case SIM_FATE_REACHES:
        sim_put(b, p->offset, p->data, p->size);
        break;
    case SIM_FATE_LOST:
        break;
    case SIM_FATE_TORN:
        put_torn(b, p);
        break;
    case SIM_FATE_MISDIRECTED:
        if (p->target != NULL) {
            put_within(&p->target->durable, p->target_offset, p->data, p->size);
        }
        break;
    }
}

void sim_inode_sync(sim_inode *inode) {
    for (size_t i = 0; i < inode->pending_count; i++) {
        sim_pending_write_out(&inode->pending[i], inode);
    }
    sim_pending_clear(inode);
}

void sim_inode_sync_range(sim_inode *inode, uint64_t offset, uint64_t size) {
    uint64_t begin = offset;
    uint64_t end = offset + size;
    size_t count = inode->pending_count;
    bool *out = mem_zalloc(count + 1);
    /* From the latest: what an older change overlaps that goes out, must go out before it. */
    for (size_t i = count; i-- > 0;) {
        const sim_pending *p = &inode->pending[i];
        if (p->truncate) {
            out[i] = true;
            begin = 0;
            end = UINT64_MAX;
        } else if (p->offset < end && p->offset + p->size > begin) {
            out[i] = true;
            begin = p->offset < begin ? p->offset : begin;
            end = p->offset + p->size > end ? p->offset + p->size : end;
        }
    }
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (out[i]) {
            sim_pending_write_out(&inode->pending[i], inode);
            free(inode->pending[i].data);
        } else {
            inode->pending[kept++] = inode->pending[i];
        }
    }
    inode->pending_count = kept;
    free(out);
}

void sim_inode_sync_fail(os_sim *sim, sim_inode *inode) {
    for (size_t i = 0; i < inode->pending_count; i++) {
        if (sim_percent(sim, 50)) {
            sim_pending_write_out(&inode->pending[i], inode);
        }
    }
    sim_pending_clear(inode);
}

/* --- names --- */

sim_entry *sim_entry_find(sim_entries *list, const sim_inode *dir, const char *name) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->entries[i].dir == dir && strcmp(list->entries[i].name, name) == 0) {
            return &list->entries[i];
        }
    }
    return NULL;
}

void sim_entry_put(sim_entries *list, sim_inode *dir, const char *name, sim_inode *inode) {
    sim_entry *entry = sim_entry_find(list, dir, name);
    if (entry != NULL) {
        entry->inode = inode;
        return;
    }
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        list->entries = mem_realloc(list->entries, list->capacity * sizeof *list->entries);
    }
    list->entries[list->count++] = (sim_entry){dir, mem_strdup(name), inode};
}

void sim_entry_remove(sim_entries *list, sim_entry *entry) {
    free(entry->name);
    *entry = list->entries[--list->count];
}

bool sim_dir_is_empty(const os_sim *sim, const sim_inode *dir) {
    for (size_t i = 0; i < sim->now.count; i++) {
        if (sim->now.entries[i].dir == dir) {
            return false;
        }
    }
    return true;
}

void sim_move_add(os_sim *sim, sim_inode *inode, sim_inode *from_dir, const char *from_name,
                  sim_inode *to_dir, const char *to_name, bool lost) {
    if (sim->move_count == sim->move_capacity) {
        sim->move_capacity = sim->move_capacity == 0 ? 16 : sim->move_capacity * 2;
        sim->moves = mem_realloc(sim->moves, sim->move_capacity * sizeof *sim->moves);
    }
    sim_move *m = &sim->moves[sim->move_count++];
    *m = (sim_move){.step = sim->step,
                    .inode = inode,
                    .from_dir = from_dir,
                    .from_name = from_dir == NULL ? NULL : mem_strdup(from_name),
                    .to_dir = to_dir,
                    .to_name = to_dir == NULL ? NULL : mem_strdup(to_name),
                    .lost = lost};
    sim_move_apply(&sim->now, m);
}

void sim_move_apply(sim_entries *list, const sim_move *move) {
    if (move->from_dir != NULL) {
        sim_entry *entry = sim_entry_find(list, move->from_dir, move->from_name);
        /* Another inode: that the name was given to it is durable, and this older removal is not of
         * it. */
        if (entry != NULL && entry->inode == move->inode) {
            sim_entry_remove(list, entry);
        }
    }
    if (move->to_dir != NULL) {
        sim_entry_put(list, move->to_dir, move->to_name, move->inode);
    }
}

void sim_move_free(sim_move *move) {
    free(move->from_name);
    free(move->to_name);
}

void sim_dir_sync(os_sim *sim, const sim_inode *dir) {
    size_t kept = 0;
    for (size_t i = 0; i < sim->move_count; i++) {
        sim_move *m = &sim->moves[i];
        if (m->from_dir != dir && m->to_dir != dir) {
            sim->moves[kept++] = *m;
            continue;
        }
        if (!m->lost) {
            sim_move_apply(&sim->durable, m);
        }
        sim_move_free(m);
    }
    sim->move_count = kept;
    sim_sweep(sim);
}

void sim_inode_repath(os_sim *sim, sim_inode *inode, const char *path) {
    char *old = inode->path;
    size_t length = strlen(old);
    inode->path = mem_strdup(path);
    for (size_t i = 0; inode->is_dir && i < sim->inode_count; i++) {
        sim_inode *below = sim->inodes[i];
        if (strncmp(below->path, old, length) == 0 && below->path[length] == '/') {
            char *moved = mem_printf("%s%s", path, below->path + length);
            free(below->path);
            below->path = moved;
        }
    }
    free(old);
}

/* --- paths --- */

/* The next part of a path, and the rest in *path; NULL at the end. Caller frees. */
static char *next_part(const char **path) {
    for (;;) {
        const char *begin = *path + strspn(*path, "/");
        size_t length = strcspn(begin, "/");
        *path = begin + length;
        if (length == 0) {
            return NULL;
        }
        if (length != 1 || begin[0] != '.') {
            return mem_printf("%.*s", (int)length, begin);
        }
    }
}

int sim_find(os_sim *sim, const char *path, sim_place *out) {
    *out = (sim_place){.inode = sim->root, .path = mem_strdup("")};
    for (char *part = NULL; (part = next_part(&path)) != NULL;) {
        free(out->name);
        out->name = part;
        if (strcmp(part, "..") == 0) {
            return EINVAL;
        }
        if (out->inode == NULL) {
            return ENOENT;
        }
        if (!out->inode->is_dir) {
            return ENOTDIR;
        }
        out->dir = out->inode;
        const sim_entry *entry = sim_entry_find(&sim->now, out->dir, part);
        out->inode = entry == NULL ? NULL : entry->inode;
        char *longer = mem_printf("%s/%s", out->path, part);
        free(out->path);
        out->path = longer;
    }
    if (out->dir == NULL) {
        free(out->path);
        out->path = mem_strdup("/");
    }
    return 0;
}

void sim_place_free(sim_place *place) {
    free(place->name);
    free(place->path);
    *place = (sim_place){0};
}
