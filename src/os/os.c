/* Purpose: the calls of os.h that go through a disk's table, and what is the same on every disk:
 * argument checks, whole-file helpers, error texts. */
#include "os/os_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const char *hint_of_errno(int os_errno) {
    switch (os_errno) {
    case EACCES:
    case EPERM:
        return " (check the owner and the permissions of the file and of its directory)";
    case EROFS:
        return " (mount it writable or choose another directory)";
    case ENOSPC:
        return " (free some space or use another file system)";
    case EDQUOT:
        return " (the user's disk quota is used up)";
    case EMFILE:
        return " (raise the limit of open files: ulimit -n)";
    case ENFILE:
        return " (the machine's limit of open files is reached: sysctl fs.file-max)";
    case EIO:
        return " (the device may be failing: see the kernel's log)";
    default:
        return "";
    }
}

tape_status os_fail(tape_error *error, int os_errno, const char *path, uint64_t offset,
                    const char *doing) {
    tape_status status = error_set_errno(error, os_errno, path, doing);
    if (os_errno == ELOOP) {
        status = TAPE_INVALID;
    } else if (os_errno == EFBIG) {
        status = TAPE_TOO_LARGE;
    }
    if (error != NULL) {
        error->status = status;
        error->offset = offset;
        size_t used = strlen(error->text);
        (void)snprintf(error->text + used, sizeof error->text - used, "%s",
                       hint_of_errno(os_errno));
    }
    return status;
}

char *os_path_parent(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return mem_strdup(".");
    }
    if (slash == path) {
        return mem_strdup("/");
    }
    return mem_printf("%.*s", (int)(slash - path), path);
}

tape_status os_fail_not_a_file(tape_error *error, const char *path, const char *what) {
    return error_set_file(error, TAPE_INVALID, path, TAPE_NO_OFFSET,
                          "cannot open %s: it is %s, not a regular file", path, what);
}

tape_status os_lock_refuse(tape_error *error, const char *path, int64_t owner_pid) {
    if (owner_pid > 0) {
        return error_set_file(error, TAPE_LOCKED, path, TAPE_NO_OFFSET,
                              "%s is locked by process %lld: wait for it to end or stop it", path,
                              (long long)owner_pid);
    }
    return error_set_file(error, TAPE_LOCKED, path, TAPE_NO_OFFSET,
                          "%s is locked by another process: wait for it to end or stop it", path);
}

/* --- files --- */

tape_status os_file_open(os_disk *disk, const char *path, unsigned flags, os_file **out,
                         tape_error *error) {
    ASSERT((flags & (OS_READ | OS_WRITE)) != 0);
    ASSERT((flags & OS_CREATE) == 0 || (flags & OS_WRITE) != 0);
    ASSERT((flags & OS_EXCLUSIVE) == 0 || (flags & OS_CREATE) != 0);
    *out = NULL;
    if ((flags & OS_WRITE) != 0) {
        flags |= OS_READ;
    }
    return disk->table->file_open(disk, path, flags, out, error);
}

static bool range_is_direct(uint64_t offset, const void *data, size_t size) {
    return ((offset | size | (uintptr_t)data) % OS_DIRECT_ALIGN) == 0;
}

/* A range that no file can have: an offset that came from damaged data, for instance. */
static tape_status range_check(const os_file *file, uint64_t offset, uint64_t size,
                               const char *doing, tape_error *error) {
    if (offset > INT64_MAX || size > INT64_MAX - offset) {
        return os_fail(error, EFBIG, file->path, offset, doing);
    }
    return TAPE_OK;
}

tape_status os_file_read(os_file *file, uint64_t offset, void *data, size_t size, size_t *got,
                         tape_error *error) {
    ASSERT((file->flags & OS_DIRECT) == 0 || range_is_direct(offset, data, size));
    *got = 0;
    tape_status status = range_check(file, offset, size, "read", error);
    if (status != TAPE_OK) {
        return status;
    }
    return file->handle.disk->table->file_read(file, offset, data, size, got, error);
}

tape_status os_file_write(os_file *file, uint64_t offset, const void *data, size_t size,
                          tape_error *error) {
    ASSERT((file->flags & OS_WRITE) != 0);
    ASSERT((file->flags & OS_DIRECT) == 0 || range_is_direct(offset, data, size));
    tape_status status = range_check(file, offset, size, "write", error);
    if (status != TAPE_OK || size == 0) {
        return status;
    }
    return file->handle.disk->table->file_write(file, offset, data, size, error);
}

tape_status os_file_sync(os_file *file, tape_error *error) {
    return file->handle.disk->table->file_sync(file, error);
}

tape_status os_file_size(os_file *file, uint64_t *size, tape_error *error) {
    return file->handle.disk->table->file_size(file, size, error);
}

tape_status os_file_truncate(os_file *file, uint64_t size, tape_error *error) {
    ASSERT((file->flags & OS_WRITE) != 0);
    tape_status status = range_check(file, 0, size, "truncate", error);
    if (status != TAPE_OK) {
        return status;
    }
    return file->handle.disk->table->file_truncate(file, size, error);
}

const char *os_file_path(const os_file *file) {
    return file->path;
}

void os_file_close(os_file **file) {
    if (file == NULL || *file == NULL) {
        return;
    }
    os_file *closing = *file;
    *file = NULL;
    closing->handle.disk->table->file_close(closing);
}

tape_status os_file_map(os_file *file, size_t size, int advice, os_map *out, tape_error *error) {
    static const uint8_t nothing[1];
    *out = (os_map){.data = nothing};
    if (size == 0) {
        return TAPE_OK;
    }
    uint64_t file_size = 0;
    tape_status status = os_file_size(file, &file_size, error);
    if (status != TAPE_OK) {
        return status;
    }
    /* A touch beyond the end of the file would be a fatal signal, not an error. */
    if (file_size < size) {
        return error_set_file(error, TAPE_CORRUPT, file->path, file_size,
                              "%s ends at byte %llu, expected at least %zu: it was cut off; "
                              "restore it from a snapshot",
                              file->path, (unsigned long long)file_size, size);
    }
    return file->handle.disk->table->file_map(file, size, advice, out, error);
}

void os_unmap(os_map *map) {
    if (map == NULL) {
        return;
    }
    if (map->handle != NULL) {
        const os_handle *handle = map->handle;
        handle->disk->table->unmap(map);
    }
    *map = (os_map){0};
}

/* --- directories --- */

tape_status os_dir_make(os_disk *disk, const char *path, tape_error *error) {
    return disk->table->dir_make(disk, path, error);
}

tape_status os_dir_sync(os_disk *disk, const char *path, tape_error *error) {
    return disk->table->dir_sync(disk, path, error);
}

void os_entries_add(os_entries *list, const char *name, bool is_dir, uint64_t size) {
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : list->capacity * 2;
        list->entries = mem_realloc(list->entries, list->capacity * sizeof *list->entries);
    }
    list->entries[list->count++] = (os_entry){mem_strdup(name), is_dir, size};
}

static int compare_entries(const void *a, const void *b) {
    const os_entry *left = a;
    const os_entry *right = b;
    return strcmp(left->name, right->name);
}

tape_status os_dir_list(os_disk *disk, const char *path,
                        void (*visit)(void *context, const char *name, bool is_dir, uint64_t size),
                        void *context, tape_error *error) {
    os_entries list = {0};
    tape_status status = disk->table->dir_list(disk, path, &list, error);
    if (status == TAPE_OK && list.count > 0) {
        qsort(list.entries, list.count, sizeof *list.entries, compare_entries);
        for (size_t i = 0; i < list.count; i++) {
            visit(context, list.entries[i].name, list.entries[i].is_dir, list.entries[i].size);
        }
    }
    for (size_t i = 0; i < list.count; i++) {
        free(list.entries[i].name);
    }
    free(list.entries);
    return status;
}

tape_status os_rename(os_disk *disk, const char *from, const char *to, tape_error *error) {
    return disk->table->rename(disk, from, to, error);
}

tape_status os_remove(os_disk *disk, const char *path, tape_error *error) {
    return disk->table->remove(disk, path, error);
}

tape_status os_file_adopt(os_disk *disk, const char *real_path, const char *path,
                          tape_error *error) {
    return disk->table->file_adopt(disk, real_path, path, error);
}

tape_status os_dir_remove(os_disk *disk, const char *path, tape_error *error) {
    return disk->table->dir_remove(disk, path, error);
}

tape_status os_path_stat(os_disk *disk, const char *path, os_stat *out, tape_error *error) {
    return disk->table->path_stat(disk, path, out, error);
}

tape_status os_free_bytes(os_disk *disk, const char *path, uint64_t *out, tape_error *error) {
    return disk->table->free_bytes(disk, path, out, error);
}

/* --- whole small files --- */

tape_status os_read_small(os_disk *disk, const char *path, char **data, size_t *size,
                          tape_error *error) {
    os_file *file = NULL;
    uint64_t file_size = 0;
    char *text = NULL;
    size_t got = 0;
    tape_status status = os_file_open(disk, path, OS_READ, &file, error);
    if (status != TAPE_OK) {
        goto out;
    }
    status = os_file_size(file, &file_size, error);
    if (status != TAPE_OK) {
        goto out;
    }
    if (file_size > OS_SMALL_BYTES_MAX) {
        status =
            error_set_file(error, TAPE_TOO_LARGE, path, TAPE_NO_OFFSET,
                           "%s has %llu bytes, more than the %llu such a file can have", path,
                           (unsigned long long)file_size, (unsigned long long)OS_SMALL_BYTES_MAX);
        goto out;
    }
    text = mem_alloc((size_t)file_size + 1);
    status = os_file_read(file, 0, text, (size_t)file_size, &got, error);
    if (status == TAPE_OK) {
        text[got] = '\0';
        *data = text;
        *size = got;
        text = NULL;
    }
out:
    free(text);
    os_file_close(&file);
    return status;
}

tape_status os_write_small(os_disk *disk, const char *path, const void *data, size_t size,
                           tape_error *error) {
    ASSERT(size <= OS_SMALL_BYTES_MAX);
    os_file *file = NULL;
    bool made = false;
    char *temporary = mem_printf("%s.new", path);
    char *parent = os_path_parent(path);
    /* One that an earlier process left behind when it was stopped half-way. */
    tape_status status = os_remove(disk, temporary, error);
    if (status != TAPE_OK && status != TAPE_NOT_FOUND) {
        goto out;
    }
    status = os_file_open(disk, temporary, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file, error);
    if (status != TAPE_OK) {
        goto out;
    }
    made = true;
    status = os_file_write(file, 0, data, size, error);
    if (status == TAPE_OK) {
        status = os_file_sync(file, error);
    }
    if (status == TAPE_OK) {
        status = os_rename(disk, temporary, path, error);
    }
    if (status == TAPE_OK) {
        made = false;
        status = os_dir_sync(disk, parent, error);
    }
out:
    os_file_close(&file);
    if (made) {
        /* Tidying up: the first error is the one to report. */
        tape_status ignored = os_remove(disk, temporary, NULL);
        (void)ignored;
    }
    free(parent);
    free(temporary);
    return status;
}

/* --- locks, shared memory, boot --- */

tape_status os_lock_take(os_disk *disk, const char *path, os_lock **out, int64_t *owner_pid,
                         tape_error *error) {
    int64_t ignored = 0;
    *out = NULL;
    if (owner_pid == NULL) {
        owner_pid = &ignored;
    }
    *owner_pid = 0;
    return disk->table->lock_take(disk, path, out, owner_pid, error);
}

void os_lock_release(os_lock **lock) {
    if (lock == NULL || *lock == NULL) {
        return;
    }
    os_lock *releasing = *lock;
    *lock = NULL;
    releasing->handle.disk->table->lock_release(releasing);
}

static bool shm_name_is_plain(const char *name) {
    return name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL;
}

tape_status os_shm_create(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                          os_shm *out, tape_error *error) {
    ASSERT(shm_name_is_plain(name));
    *out = (os_shm){0};
    tape_status status = os_shm_check_sizes(head_bytes, ring_bytes, name, error);
    if (status != TAPE_OK) {
        return status;
    }
    return disk->table->shm_create(disk, name, head_bytes, ring_bytes, out, error);
}

tape_status os_shm_open(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                        bool writable, os_shm *out, tape_error *error) {
    ASSERT(shm_name_is_plain(name));
    *out = (os_shm){0};
    tape_status status = os_shm_check_sizes(head_bytes, ring_bytes, name, error);
    if (status != TAPE_OK) {
        return status;
    }
    return disk->table->shm_open(disk, name, head_bytes, ring_bytes, writable, out, error);
}

void os_shm_close(os_shm *shm) {
    if (shm == NULL) {
        return;
    }
    if (shm->handle != NULL) {
        const os_handle *handle = shm->handle;
        handle->disk->table->shm_close(shm);
    }
    *shm = (os_shm){0};
}

tape_status os_shm_remove(os_disk *disk, const char *name, tape_error *error) {
    ASSERT(shm_name_is_plain(name));
    return disk->table->shm_remove(disk, name, error);
}

tape_status os_shm_free_bytes(os_disk *disk, uint64_t *out, tape_error *error) {
    return disk->table->shm_free_bytes(disk, out, error);
}

tape_status os_boot_id(os_disk *disk, uint8_t out[16], tape_error *error) {
    return disk->table->boot_id(disk, out, error);
}
