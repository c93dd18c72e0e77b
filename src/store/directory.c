/* directory.c: the store's directory. Its listing is never the truth about what the store holds: it
 * only tells which numbers are taken and what is left over. */
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RESTORE_HINT "restore the store from a snapshot or a backup"

enum file_kind { FILE_OTHER, FILE_TABLE, FILE_TEMPORARY };

/* Eight digits or more and a suffix. */
static enum file_kind kind_of(const char *name, uint64_t *number) {
    size_t digits = strspn(name, "0123456789");
    *number = 0;
    if (digits < 8 || digits > 18) {
        return strcmp(name, MANIFEST_TEMPORARY_NAME) == 0 ? FILE_TEMPORARY : FILE_OTHER;
    }
    *number = strtoull(name, NULL, 10);
    if (strcmp(name + digits, SSTABLE_SUFFIX) == 0) {
        return FILE_TABLE;
    }
    return strcmp(name + digits, SSTABLE_TEMPORARY_SUFFIX) == 0 ? FILE_TEMPORARY : FILE_OTHER;
}

static void list_visit(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    store_listing *out = context;
    uint64_t number = 0;
    enum file_kind kind = kind_of(name, &number);
    if (is_dir || kind == FILE_OTHER) {
        return;
    }
    out->tables += kind == FILE_TABLE;
    if (number > out->greatest_number) {
        out->greatest_number = number;
    }
}

tape_status directory_list(os_disk *disk, const char *dir, store_listing *out, tape_error *error) {
    *out = (store_listing){0};
    return os_dir_list(disk, dir, list_visit, out, error);
}

static size_t entry_at(const manifest *m, uint64_t number) {
    size_t low = 0;
    size_t high = m->entry_count;
    while (low < high) { /* numbers rise */
        size_t middle = low + (high - low) / 2;
        if (m->entries[middle].info.number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool is_listed(const manifest *m, uint64_t number) {
    size_t at = entry_at(m, number);
    return at < m->entry_count && m->entries[at].info.number == number;
}

typedef struct check_state {
    const manifest *manifest;
    uint64_t *sizes; /* of listed files, UINT64_MAX: not seen */
} check_state;

static void check_visit(void *context, const char *name, bool is_dir, uint64_t size) {
    check_state *c = context;
    uint64_t number = 0;
    if (!is_dir && kind_of(name, &number) == FILE_TABLE && is_listed(c->manifest, number)) {
        c->sizes[entry_at(c->manifest, number)] = size;
    }
}

tape_status directory_check(const manifest *m, tape_error *error) {
    check_state c = {m, mem_alloc((m->entry_count + 1) * sizeof(uint64_t))};
    memset(c.sizes, 0xff, m->entry_count * sizeof(uint64_t));
    tape_status status = os_dir_list(m->place.disk, m->place.dir, check_visit, &c, error);
    for (size_t i = 0; i < m->entry_count && status == TAPE_OK; i++) {
        const sstable_info *info = &m->entries[i].info;
        if (c.sizes[i] == info->size_bytes) {
            continue;
        }
        char *path = sstable_path(m->place.dir, info->number);
        status =
            c.sizes[i] == UINT64_MAX
                ? error_set_file(error, TAPE_CORRUPT, path, TAPE_NO_OFFSET,
                                 "%s is missing, and the manifest lists it; " RESTORE_HINT, path)
                : error_set_file(error, TAPE_CORRUPT, path, c.sizes[i],
                                 "%s: the file has %" PRIu64 " bytes, expected %" PRIu64
                                 "; " RESTORE_HINT,
                                 path, c.sizes[i], info->size_bytes);
        free(path);
    }
    free(c.sizes);
    return status;
}

typedef struct orphan_search {
    const manifest *manifest;
    char **names;
    size_t count;
    size_t capacity;
    uint64_t greatest_number;
} orphan_search;

static void orphan_visit(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    orphan_search *search = context;
    uint64_t number = 0;
    enum file_kind kind = kind_of(name, &number);
    if (is_dir || kind == FILE_OTHER) {
        return;
    }
    search->greatest_number = number > search->greatest_number ? number : search->greatest_number;
    if (kind == FILE_TABLE && is_listed(search->manifest, number)) {
        return;
    }
    if (search->count == search->capacity) {
        search->capacity = search->capacity == 0 ? 16 : 2 * search->capacity;
        search->names = mem_realloc(search->names, search->capacity * sizeof *search->names);
    }
    search->names[search->count++] = mem_strdup(name);
}

tape_status directory_remove_orphans(manifest *m, tape_error *error) {
    orphan_search search = {.manifest = m};
    tape_status status = os_dir_list(m->place.disk, m->place.dir, orphan_visit, &search, error);
    if (search.greatest_number >= m->next_number) {
        m->next_number = search.greatest_number + 1;
    }
    for (size_t i = 0; i < search.count; i++) {
        char *path = mem_printf("%s/%s", m->place.dir, search.names[i]);
        if (status == TAPE_OK) {
            log_line(LOG_INFO, "removing %s: left over, the manifest does not list it", path);
            status = os_remove(m->place.disk, path, error);
        }
        free(path);
        free(search.names[i]);
    }
    free(search.names);
    return status;
}

tape_status directory_make(os_disk *disk, const char *dir, tape_error *error) {
    tape_status status = os_dir_make(disk, dir, error);
    if (status != TAPE_OK && status != TAPE_EXISTS) {
        return status;
    }
    /* Even when it was there: whoever made it may have died before this. */
    char *parent = mem_strdup(dir);
    size_t length = strlen(parent);
    while (length > 1 && parent[length - 1] == '/') {
        length--;
    }
    while (length > 0 && parent[length - 1] != '/') {
        length--;
    }
    while (length > 1 && parent[length - 1] == '/') {
        length--;
    }
    parent[length] = '\0';
    status = os_dir_sync(disk, length == 0 ? "." : parent, error);
    free(parent);
    return status;
}
