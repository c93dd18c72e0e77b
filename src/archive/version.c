/* version.c: sets of files as readers see them, and when a file may go.
 *
 * Invariants
 *  V1 A version does not change once it is published.
 *  V2 A file is removed from disk when no manifest lists it and the last version that does was let
 *     go of.
 *  V3 Pairs are forgotten when every version that is read tells of them by its own files. */
#include "archive/archive_internal.h"

archive_file *archive_file_make(const archive *a, const archive_file_info *info) {
    archive_file *f = mem_zalloc(sizeof *f);
    f->info = *info;
    f->path = archive_file_path(a, info);
    f->literal = duck_quote(f->path);
    return f;
}

void archive_file_free(archive_file *f) {
    if (f != NULL) {
        free(f->path);
        free(f->literal);
        free(f);
    }
}

static int compare_files(const void *left, const void *right) {
    const archive_file_info *a = &(*(archive_file *const *)left)->info;
    const archive_file_info *b = &(*(archive_file *const *)right)->info;
    if (a->table != b->table) {
        return a->table < b->table ? -1 : 1;
    }
    if (a->kind != b->kind) {
        return a->kind < b->kind ? -1 : 1;
    }
    if (a->day != b->day) {
        return a->day < b->day ? -1 : 1;
    }
    return (a->number > b->number) - (a->number < b->number);
}

archive_version *archive_version_make(archive_file **files, size_t count) {
    archive_version *v = mem_zalloc(sizeof *v);
    v->files = files;
    v->file_count = count;
    if (count > 0) {
        qsort(files, count, sizeof(archive_file *), compare_files);
    }
    size_t at = 0;
    for (size_t table = 0; table <= TAPE_TABLE_COUNT + 1; table++) {
        while (at < count && files[at]->info.table < table) {
            at++;
        }
        v->first[table] = at;
    }
    return v;
}

void archive_version_publish(archive *a, archive_version *v) {
    pthread_mutex_lock(&a->lock);
    archive_version *before = a->current;
    for (size_t i = 0; i < v->file_count; i++) {
        v->files[i]->refs++;
    }
    v->refs = 1;
    v->older = before;
    v->number = before == NULL ? 1 : before->number + 1;
    if (before == NULL) {
        a->oldest = v;
    } else {
        before->newer = v;
    }
    a->current = v;
    atomic_store(&a->seq, v->seq);
    pthread_mutex_unlock(&a->lock);
    if (before != NULL) {
        archive_version_release(a, before);
    }
}

archive_version *archive_version_hold(archive *a) {
    pthread_mutex_lock(&a->lock);
    archive_version *v = a->current;
    v->refs++;
    pthread_mutex_unlock(&a->lock);
    return v;
}

/* Takes those that no reader needs any more out of the list, one at a time. */
static bool next_forget(archive *a, archive_forget *out) {
    bool found = false;
    pthread_mutex_lock(&a->lock);
    for (size_t i = 0; i < a->forget_count && !found; i++) {
        if (a->oldest == NULL || a->oldest->number >= a->forgets[i].version) {
            *out = a->forgets[i];
            a->forgets[i] = a->forgets[--a->forget_count];
            found = true;
        }
    }
    pthread_mutex_unlock(&a->lock);
    return found;
}

static void forget(archive *a) {
    archive_forget f;
    while (next_forget(a, &f)) {
        columns_superseded_forget(atomic_load(&a->columns), f.table, f.by);
    }
}

void archive_forget_later(archive *a, uint16_t table, uint64_t by) {
    pthread_mutex_lock(&a->lock);
    a->forgets = mem_realloc(a->forgets, (a->forget_count + 1) * sizeof *a->forgets);
    a->forgets[a->forget_count++] =
        (archive_forget){.table = table, .by = by, .version = a->current->number};
    pthread_mutex_unlock(&a->lock);
    forget(a);
}

static void remove_file(const archive *a, archive_file *f) {
    tape_error error;
    if (os_remove(a->disk, f->path, &error) != TAPE_OK) {
        log_line(LOG_WARN, "%s; it is removed when the store is opened next", error.text);
    }
}

void archive_version_release(archive *a, archive_version *v) {
    archive_file **gone = NULL;
    size_t gone_count = 0;
    pthread_mutex_lock(&a->lock);
    bool last = --v->refs == 0;
    if (last) {
        *(v->older != NULL ? &v->older->newer : &a->oldest) = v->newer;
        if (v->newer != NULL) {
            v->newer->older = v->older;
        }
        gone = mem_alloc((v->file_count + 1) * sizeof *gone);
        for (size_t i = 0; i < v->file_count; i++) {
            if (--v->files[i]->refs == 0) {
                gone[gone_count++] = v->files[i];
            }
        }
    }
    pthread_mutex_unlock(&a->lock);
    if (!last) {
        return;
    }
    for (size_t i = 0; i < gone_count; i++) {
        if (gone[i]->unlisted) {
            remove_file(a, gone[i]);
        }
        archive_file_free(gone[i]);
    }
    free(gone);
    free(v->files);
    free(v);
    forget(a);
}

/* --- views --- */

archive_view *archive_view_open(archive *a) {
    archive_view *view = mem_zalloc(sizeof *view);
    view->a = a;
    view->version = archive_version_hold(a);
    return view;
}

void archive_view_close(archive_view **view) {
    if (view == NULL || *view == NULL) {
        return;
    }
    archive_version_release((*view)->a, (*view)->version);
    free(*view);
    *view = NULL;
}

uint64_t archive_view_seq(const archive_view *view) {
    return view->version->seq;
}

uint64_t archive_view_version(const archive_view *view) {
    return view->version->number;
}

uint64_t archive_view_history_seq(const archive_view *view, uint16_t table) {
    ASSERT(table >= 1 && table <= TAPE_TABLE_COUNT);
    return view->version->history_seq[table];
}
