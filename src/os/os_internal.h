/* os, private: the table behind an os_disk, and what its two implementations share.
 *
 * Invariants
 * D1. Every handle (file, map, lock, shared region) starts with an os_handle that names its disk,
 * so that closing needs nothing but the handle. D2. Arguments that only a programmer can get wrong
 * are asserted in os.c, once for both disks. */
#ifndef OS_INTERNAL_H
#define OS_INTERNAL_H

#include "os/os.h"

typedef struct os_handle {
    os_disk *disk;
} os_handle;

struct os_file {
    os_handle handle;
    unsigned flags;
    char *path; /* as given to os_file_open */
};

struct os_lock {
    os_handle handle;
};

/* What os_shm.handle points to. */
typedef struct os_shm_handle {
    os_handle handle;
    bool writable;
} os_shm_handle;

typedef struct os_entry {
    char *name;
    bool is_dir;
    uint64_t size;
} os_entry;

typedef struct os_entries {
    os_entry *entries;
    size_t count, capacity;
} os_entries;
void os_entries_add(os_entries *list, const char *name, bool is_dir, uint64_t size);

/* One implementation of the calls in os.h that have the same names; see there for what they do.
 * Differences: `file_open` gets an OS_WRITE that already implies OS_READ, `dir_list` lists in any
 * order, `file_map` never gets size 0. */
typedef struct os_disk_table {
    tape_status (*file_open)(os_disk *, const char *path, unsigned flags, os_file **, tape_error *);
    tape_status (*file_read)(os_file *, uint64_t offset, void *, size_t, size_t *got, tape_error *);
    tape_status (*file_write)(os_file *, uint64_t offset, const void *, size_t, tape_error *);
    tape_status (*file_sync)(os_file *, tape_error *);
    tape_status (*file_size)(os_file *, uint64_t *, tape_error *);
    tape_status (*file_truncate)(os_file *, uint64_t, tape_error *);
    void (*file_close)(os_file *);
    tape_status (*file_map)(os_file *, size_t, int advice, os_map *, tape_error *);
    void (*unmap)(os_map *);
    tape_status (*dir_make)(os_disk *, const char *path, tape_error *);
    tape_status (*dir_sync)(os_disk *, const char *path, tape_error *);
    tape_status (*dir_list)(os_disk *, const char *path, os_entries *, tape_error *);
    tape_status (*rename)(os_disk *, const char *from, const char *to, tape_error *);
    tape_status (*remove)(os_disk *, const char *path, tape_error *);
    tape_status (*file_adopt)(os_disk *, const char *real_path, const char *path, tape_error *);
    tape_status (*dir_remove)(os_disk *, const char *path, tape_error *);
    tape_status (*path_stat)(os_disk *, const char *path, os_stat *, tape_error *);
    tape_status (*free_bytes)(os_disk *, const char *path, uint64_t *, tape_error *);
    tape_status (*lock_take)(os_disk *, const char *path, os_lock **, int64_t *, tape_error *);
    void (*lock_release)(os_lock *);
    tape_status (*shm_create)(os_disk *, const char *name, size_t head_bytes, size_t ring_bytes,
                              os_shm *, tape_error *);
    tape_status (*shm_open)(os_disk *, const char *name, size_t head_bytes, size_t ring_bytes,
                            bool writable, os_shm *, tape_error *);
    void (*shm_close)(os_shm *);
    tape_status (*shm_remove)(os_disk *, const char *name, tape_error *);
    tape_status (*shm_free_bytes)(os_disk *, uint64_t *, tape_error *);
    tape_status (*boot_id)(os_disk *, uint8_t out[16], tape_error *);
} os_disk_table;

struct os_disk {
    const os_disk_table *table;
};

/* Sets the error of a failed system call with what the user can do about it, at `offset` of `path`
 * (or TAPE_NO_OFFSET); `doing` is a verb phrase. */
tape_status os_fail(tape_error *error, int os_errno, const char *path, uint64_t offset,
                    const char *doing);
/* The directory part of a path: "." when there is none. Caller frees. */
char *os_path_parent(const char *path);

/* The text of a path that names something else than a file, say "a directory"; returns INVALID. */
tape_status os_fail_not_a_file(tape_error *error, const char *path, const char *what);
/* The text of a lock that somebody holds; returns LOCKED. */
tape_status os_lock_refuse(tape_error *error, const char *path, int64_t owner_pid);

/* --- shm.c: shared regions on Linux, and the mapping both disks use --- */
/* Checks sizes that may come from outside. INVALID. */
tape_status os_shm_check_sizes(size_t head_bytes, size_t ring_bytes, const char *path,
                               tape_error *error);
/* The text of a region that is too small; returns CORRUPT. */
tape_status os_shm_refuse_size(tape_error *error, const char *path, uint64_t size, size_t expected);
/* Maps [head][ring][ring again] of the file `fd`, which has at least head + ring bytes. */
tape_status os_shm_map(int fd, size_t head_bytes, size_t ring_bytes, bool writable,
                       const char *path, uint8_t **data, tape_error *error);
/* Replaces a mapping made by os_shm_map by one of another file, at the same address. */
void os_shm_map_again(int fd, size_t head_bytes, size_t ring_bytes, bool writable, uint8_t *data);
void os_shm_unmap(uint8_t *data, size_t size);

tape_status linux_shm_create(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                             os_shm *out, tape_error *error);
tape_status linux_shm_open(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                           bool writable, os_shm *out, tape_error *error);
void linux_shm_close(os_shm *shm);
tape_status linux_shm_remove(os_disk *disk, const char *name, tape_error *error);
tape_status linux_shm_free_bytes(os_disk *disk, uint64_t *out, tape_error *error);

#endif
