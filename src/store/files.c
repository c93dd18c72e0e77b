/* files.c: which table files a version reads, opening them when they are needed, and removing them
 * when nobody can need them any more.
 *
 * Invariants
 *  F1 A table_file lives as long as a file set or a holder names it; a file set as long as a
 * version or a holder names it. F2 A file is removed from disk only when the durable manifest does
 * not list it and nobody names it: whoever has pinned a version finds every file of it. F3 A table
 * once opened stays open until its table_file goes; beyond mapped_max it is opened for one use. No
 * descriptor stays open: a mapping outlives it.
 *
 * Threads: file sets are made and released under the store's lock and never change; opening is
 * anybody's. */
#include "store/store_internal.h"

#include <stdlib.h>

/* --- file sets --- */

static slice first_key(const sstable_info *info) {
    return (slice){info->min_key, info->min_key_size};
}

static slice last_key(const sstable_info *info) {
    return (slice){info->max_key, info->max_key_size};
}

/* Below level 0 by place, at level 0 by age. */
static bool stands_before(const table_file *a, const table_file *b, size_t level) {
    if (level == 0) {
        return a->info.max_seq < b->info.max_seq;
    }
    int order = slice_compare(first_key(&a->info), first_key(&b->info));
    return order != 0 ? order < 0 : a->info.first_seq > b->info.first_seq;
}

static int compare_by_age(const void *a, const void *b) {
    const table_file *const *x = a;
    const table_file *const *y = b;
    return stands_before(*x, *y, 0) ? -1 : stands_before(*y, *x, 0);
}

static int compare_by_place(const void *a, const void *b) {
    const table_file *const *x = a;
    const table_file *const *y = b;
    return stands_before(*x, *y, 1) ? -1 : stands_before(*y, *x, 1);
}

static table_file *file_create(const sstable_info *info) {
    table_file *f = mem_zalloc(sizeof *f);
    f->info = *info;
    return f;
}

/* Room for `extra` files more than `level` has. */
static void level_copy(table_level *to, const table_level *from, size_t extra) {
    to->files = mem_alloc((from->count + extra + 1) * sizeof(table_file *));
    to->count = 0;
    if (from->count > 0) {
        memcpy(to->files, from->files, from->count * sizeof(table_file *));
        to->count = from->count;
    }
}

static void level_sort(table_level *level, size_t number) {
    if (level->count > 1) {
        qsort(level->files, level->count, sizeof(table_file *),
              number == 0 ? compare_by_age : compare_by_place);
    }
}

file_set *file_set_load(const manifest *m) {
    file_set *set = mem_zalloc(sizeof *set);
    set->references = 1;
    size_t counts[STORE_TABLES][STORE_LEVELS] = {0};
    for (size_t i = 0; i < m->entry_count; i++) {
        counts[m->entries[i].info.table][m->entries[i].level]++;
    }
    for (size_t t = 0; t < STORE_TABLES; t++) {
        set->trees[t].history_seq = m->history_seq[t];
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            level_copy(&set->trees[t].levels[l], &(table_level){0}, counts[t][l]);
        }
    }
    for (size_t i = 0; i < m->entry_count; i++) {
        table_file *f = file_create(&m->entries[i].info);
        f->references = 1;
        table_level *level = &set->trees[f->info.table].levels[m->entries[i].level];
        level->files[level->count++] = f;
    }
    for (size_t t = 0; t < STORE_TABLES; t++) {
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            level_sort(&set->trees[t].levels[l], l);
        }
    }
    return set;
}

static table_file *level_take(table_level *level, uint64_t number) {
    for (size_t i = 0; i < level->count; i++) {
        table_file *f = level->files[i];
        if (f->info.number == number) {
            memmove(level->files + i, level->files + i + 1,
                    (level->count - i - 1) * sizeof(table_file *));
            level->count--;
            return f;
        }
    }
    return NULL;
}

static table_file *set_take(file_set *set, uint64_t number) {
    for (size_t t = 0; t < STORE_TABLES; t++) {
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            table_file *f = level_take(&set->trees[t].levels[l], number);
            if (f != NULL) {
                return f;
            }
        }
    }
    return NULL;
}

/* A file that changes level keeps its table_file, and with it what is open. */
static table_file *moved_file(table_file *const *taken, size_t count, uint64_t number) {
    for (size_t i = 0; i < count; i++) {
        if (taken[i]->info.number == number) {
            return taken[i];
        }
    }
    return NULL;
}

file_set *file_set_apply(const file_set *old, const manifest_change *change) {
    file_set *set = mem_zalloc(sizeof *set);
    set->references = 1;
    for (size_t t = 0; t < STORE_TABLES; t++) {
        set->trees[t].history_seq = old->trees[t].history_seq;
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            level_copy(&set->trees[t].levels[l], &old->trees[t].levels[l], change->added_count);
        }
    }
    table_file **taken = mem_alloc((change->removed_count + 1) * sizeof(table_file *));
    for (size_t i = 0; i < change->removed_count; i++) {
        taken[i] = set_take(set, change->removed[i]);
        ASSERT(taken[i] != NULL);
        taken[i]->removed = true;
    }
    for (size_t i = 0; i < change->added_count; i++) {
        const manifest_entry *e = &change->added[i];
        table_file *f = moved_file(taken, change->removed_count, e->info.number);
        if (f == NULL) {
            f = file_create(&e->info);
        }
        f->removed = false;
        table_level *level = &set->trees[e->info.table].levels[e->level];
        level->files[level->count++] = f;
        level_sort(level, e->level);
    }
    if (change->history_table != 0 &&
        change->history_seq > set->trees[change->history_table].history_seq) {
        set->trees[change->history_table].history_seq = change->history_seq;
    }
    for (size_t t = 0; t < STORE_TABLES; t++) {
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            for (size_t i = 0; i < set->trees[t].levels[l].count; i++) {
                set->trees[t].levels[l].files[i]->references++;
            }
        }
    }
    free(taken);
    return set;
}

static void drop_reference(store *s, table_file *f) {
    if (--f->references == 0) {
        f->next = s->garbage;
        s->garbage = f;
    }
}

void file_set_release(store *s, file_set *set) {
    if (--set->references > 0) {
        return;
    }
    for (size_t t = 0; t < STORE_TABLES; t++) {
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            table_level *level = &set->trees[t].levels[l];
            for (size_t i = 0; i < level->count; i++) {
                drop_reference(s, level->files[i]);
            }
            free(level->files);
        }
    }
    free(set);
}

void files_collect(store *s) {
    pthread_mutex_lock(&s->lock);
    version_sweep(s);
    table_file *f = s->garbage;
    s->garbage = NULL;
    pthread_mutex_unlock(&s->lock);
    while (f != NULL) {
        table_file *next = f->next;
        sstable *t = atomic_load(&f->opened);
        if (t != NULL) {
            sstable_close(&t);
            atomic_fetch_sub(&s->mapped_files, 1);
        }
        if (f->removed) { /* F2 */
            char *path = sstable_path(s->dir, f->info.number);
            tape_error error;
            if (os_remove(s->disk, path, &error) != TAPE_OK) {
                log_line(LOG_WARN,
                         "a table file that is not needed any more stays until the store "
                         "is opened again: %s",
                         error.text);
            }
            free(path);
        }
        free(f);
        f = next;
    }
}

file_set *files_hold(store *s) {
    pthread_mutex_lock(&s->lock);
    file_set *files = version_current(s)->files;
    files->references++;
    pthread_mutex_unlock(&s->lock);
    return files;
}

void files_release(store *s, file_set **files) {
    if (*files != NULL) {
        pthread_mutex_lock(&s->lock);
        file_set_release(s, *files);
        pthread_mutex_unlock(&s->lock);
        *files = NULL;
        files_collect(s);
    }
}

void file_hold(store *s, table_file *f) {
    pthread_mutex_lock(&s->lock);
    f->references++;
    pthread_mutex_unlock(&s->lock);
}

void file_release(store *s, table_file *f) {
    pthread_mutex_lock(&s->lock);
    drop_reference(s, f);
    pthread_mutex_unlock(&s->lock);
}

/* --- open tables --- */

tape_status table_acquire(store *s, table_file *f, sstable **out, tape_error *error) {
    *out = atomic_load_explicit(&f->opened, memory_order_acquire);
    if (LIKELY(*out != NULL)) {
        return TAPE_OK;
    }
    tape_status status = TAPE_OK;
    pthread_mutex_lock(&s->open_lock);
    *out = atomic_load_explicit(&f->opened, memory_order_acquire);
    if (*out == NULL) {
        status = sstable_open(out, &s->place, f->info.number, &f->info, OS_MAP_RANDOM, error);
        if (status == TAPE_OK && atomic_load(&s->mapped_files) < s->options.mapped_max) {
            atomic_fetch_add(&s->mapped_files, 1);
            atomic_store_explicit(&f->opened, *out, memory_order_release);
        }
    }
    pthread_mutex_unlock(&s->open_lock);
    return status;
}

void table_done(table_file *f, sstable **t) {
    if (UNLIKELY(*t != NULL && *t != atomic_load_explicit(&f->opened, memory_order_acquire))) {
        sstable_close(t);
    }
    *t = NULL;
}

/* --- levels --- */

size_t level_seek(const table_level *level, slice key, uint64_t seq) {
    size_t low = 0;
    size_t high = level->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const sstable_info *info = &level->files[middle]->info;
        int order = slice_compare(last_key(info), key);
        if (order < 0 || (order == 0 && info->last_seq > seq)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

uint64_t level_bytes(const table_level *level) {
    uint64_t bytes = 0;
    for (size_t i = 0; i < level->count; i++) {
        bytes += level->files[i]->info.size_bytes;
    }
    return bytes;
}
