/* Purpose: the disk that is the machine's own file systems.
 *
 * Invariants
 * L1. Every descriptor is opened close-on-exec.
 * L2. Interrupted calls are repeated and short transfers continued, so that a caller sees all or an
 *     error. A failed sync is reported once and never repeated here: after it the kernel may call
 *     the lost pages clean, and a second sync would lie.
 * L3. A lock is a lock on an open file description: it ends with the process, whichever way that
 *     ends, and two takers in one process exclude each other as well.
 *
 * Threads: positioned reads and writes only, so one file may be used by many threads. */
#include "os/os_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The kernel moves at most this many bytes a call; a multiple of OS_DIRECT_ALIGN. */
#define TRANSFER_BYTES_MAX ((size_t)1 << 30)

/* A multiple of the page size of every machine. */
#define FETCH_ALIGN KIB(64)

/* How long a taker waits for the holder of a lock to write its pid, which follows the taking. */
#define PID_TRIES_MAX 20
#define PID_RETRY_NS (NS_PER_SECOND / 1000)

typedef struct linux_file {
    os_file file;
    int fd;
} linux_file;

typedef struct linux_lock {
    os_lock lock;
    int fd;
} linux_lock;

static int open_retry(const char *path, int flags, mode_t mode) {
    int fd = 0;
    do {
        fd = open(path, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* --- files --- */

static int open_flags(unsigned flags) {
    /* Not to wait for the other end if the path is a FIFO; without effect on regular files. */
    int result = O_NOCTTY | O_NONBLOCK;
    result |= (flags & OS_WRITE) != 0 ? O_RDWR : O_RDONLY;
    result |= (flags & OS_CREATE) != 0 ? O_CREAT : 0;
    result |= (flags & OS_EXCLUSIVE) != 0 ? O_EXCL : 0;
    result |= (flags & OS_DSYNC) != 0 ? O_DSYNC : 0;
    result |= (flags & OS_DIRECT) != 0 ? O_DIRECT : 0;
    return result;
}

static tape_status linux_file_open(os_disk *disk, const char *path, unsigned flags, os_file **out,
                                   tape_error *error) {
    const char *doing = (flags & OS_EXCLUSIVE) != 0 ? "create" : "open";
    int fd = open_retry(path, open_flags(flags), 0666);
    if (fd < 0) {
        int reason = errno;
        if (reason == EINVAL && (flags & OS_DIRECT) != 0) {
            return error_set_file(error, TAPE_INVALID, path, TAPE_NO_OFFSET,
                                  "cannot open %s for direct I/O: its file system does not offer "
                                  "it (choose another sync method)",
                                  path);
        }
        if (reason == EISDIR) { /* opened for writing; for reading, found out below */
            return os_fail_not_a_file(error, path, "a directory");
        }
        return os_fail(error, reason, path, TAPE_NO_OFFSET, doing);
    }
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        int reason = errno;
        (void)close(fd);
        return os_fail(error, reason, path, TAPE_NO_OFFSET, doing);
    }
    if (!S_ISREG(stat.st_mode)) {
        (void)close(fd);
        return os_fail_not_a_file(
            error, path, S_ISDIR(stat.st_mode) ? "a directory" : "a device, pipe or socket");
    }
    linux_file *file = mem_zalloc(sizeof *file);
    file->file.handle.disk = disk;
    file->file.flags = flags;
    file->file.path = mem_strdup(path);
    file->fd = fd;
    *out = &file->file;
    return TAPE_OK;
}

static tape_status linux_file_read(os_file *base, uint64_t offset, void *data, size_t size,
                                   size_t *got, tape_error *error) {
    const linux_file *file = (const linux_file *)base;
    uint8_t *to = data;
    size_t done = 0;
    while (done < size) {
        size_t ask = size - done < TRANSFER_BYTES_MAX ? size - done : TRANSFER_BYTES_MAX;
        ssize_t moved = pread(file->fd, to + done, ask, (off_t)(offset + done));
        if (moved < 0 && errno == EINTR) {
            continue;
        }
        if (moved < 0) {
            return os_fail(error, errno, base->path, offset + done, "read");
        }
        done += (size_t)moved;
        /* A direct read ends unaligned only at the end of the file, and could not go on there. */
        if (moved == 0 || ((base->flags & OS_DIRECT) != 0 && (size_t)moved < ask)) {
            break;
        }
    }
    *got = done;
    return TAPE_OK;
}

static tape_status linux_file_write(os_file *base, uint64_t offset, const void *data, size_t size,
                                    tape_error *error) {
    const linux_file *file = (const linux_file *)base;
    const uint8_t *from = data;
    size_t done = 0;
    while (done < size) {
        size_t ask = size - done < TRANSFER_BYTES_MAX ? size - done : TRANSFER_BYTES_MAX;
        ssize_t moved = pwrite(file->fd, from + done, ask, (off_t)(offset + done));
        if (moved < 0 && errno == EINTR) {
            continue;
        }
        if (moved <= 0) {
            return os_fail(error, moved < 0 ? errno : EIO, base->path, offset + done, "write");
        }
        done += (size_t)moved;
    }
    return TAPE_OK;
}

static tape_status linux_file_sync(os_file *base, tape_error *error) {
    const linux_file *file = (const linux_file *)base;
    int result = 0;
    do {
        result = fdatasync(file->fd);
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
        return os_fail(error, errno, base->path, TAPE_NO_OFFSET, "sync");
    }
    return TAPE_OK;
}

static tape_status linux_file_size(os_file *base, uint64_t *size, tape_error *error) {
    const linux_file *file = (const linux_file *)base;
    struct stat stat;
    if (fstat(file->fd, &stat) != 0) {
        return os_fail(error, errno, base->path, TAPE_NO_OFFSET, "read the size of");
    }
    *size = (uint64_t)stat.st_size;
    return TAPE_OK;
}

static tape_status linux_file_truncate(os_file *base, uint64_t size, tape_error *error) {
    const linux_file *file = (const linux_file *)base;
    int result = 0;
    do {
        result = ftruncate(file->fd, (off_t)size);
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
        return os_fail(error, errno, base->path, size, "truncate");
    }
    return TAPE_OK;
}

static void linux_file_close(os_file *base) {
    linux_file *file = (linux_file *)base;
    /* Nothing depends on the result: what must last has been synced. EINTR closes it all the same.
     */
    (void)close(file->fd);
    free(base->path);
    free(file);
}

static tape_status linux_file_map(os_file *base, size_t size, int advice, os_map *out,
                                  tape_error *error) {
    const linux_file *file = (const linux_file *)base;
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, file->fd, 0);
    if (data == MAP_FAILED) {
        return os_fail(error, errno, base->path, TAPE_NO_OFFSET, "map");
    }
    if (advice != 0) {
        /* Advice only: what the kernel makes of it does not matter to correctness. */
        (void)madvise(data, size, advice == OS_MAP_RANDOM ? MADV_RANDOM : MADV_SEQUENTIAL);
    }
    os_handle *handle = mem_zalloc(sizeof *handle);
    handle->disk = base->handle.disk;
    *out = (os_map){data, size, handle};
    return TAPE_OK;
}

/* For both disks: the simulated one maps memory, where the advice means nothing. */
void os_map_fetch(const os_map *map, size_t offset, size_t size) {
    ASSERT(offset <= map->size && size <= map->size - offset);
    size_t from = ALIGN_DOWN(offset, FETCH_ALIGN);
    if (size > 0) {
        (void)madvise((void *)(uintptr_t)(map->data + from), size + offset - from, MADV_WILLNEED);
    }
}

static void linux_unmap(os_map *map) {
    ASSERT(munmap((void *)(uintptr_t)map->data, map->size) == 0);
    free(map->handle);
}

/* --- directories --- */

static tape_status linux_dir_make(os_disk *disk, const char *path, tape_error *error) {
    (void)disk;
    if (mkdir(path, 0777) != 0) {
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "make directory");
    }
    return TAPE_OK;
}

static tape_status linux_dir_sync(os_disk *disk, const char *path, tape_error *error) {
    static _Atomic bool warned;
    (void)disk;
    int fd = open_retry(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0) {
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "open directory");
    }
    int result = 0;
    do {
        result = fsync(fd);
    } while (result != 0 && errno == EINTR);
    int reason = errno;
    (void)close(fd);
    if (result != 0 && reason == EINVAL) {
        /* Some network file systems have no such call and keep entries on their server. */
        if (!atomic_exchange(&warned, true)) {
            log_line(LOG_WARN,
                     "the file system of %s cannot sync directories: a power loss there "
                     "may undo the making of files",
                     path);
        }
        return TAPE_OK;
    }
    if (result != 0) {
        return os_fail(error, reason, path, TAPE_NO_OFFSET, "sync directory");
    }
    return TAPE_OK;
}

static tape_status list_entry(DIR *dir, const char *path, const char *name, os_entries *out,
                              tape_error *error) {
    struct stat stat;
    /* Links count as what they lead to; one that leads nowhere is still an entry. */
    if (fstatat(dirfd(dir), name, &stat, 0) == 0 ||
        fstatat(dirfd(dir), name, &stat, AT_SYMLINK_NOFOLLOW) == 0) {
        os_entries_add(out, name, S_ISDIR(stat.st_mode), (uint64_t)stat.st_size);
    } else if (errno != ENOENT) { /* else removed since the directory was read */
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "list directory");
    }
    return TAPE_OK;
}

static tape_status linux_dir_list(os_disk *disk, const char *path, os_entries *out,
                                  tape_error *error) {
    (void)disk;
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "list directory");
    }
    tape_status status = TAPE_OK;
    while (status == TAPE_OK) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL && errno != 0) {
            status = os_fail(error, errno, path, TAPE_NO_OFFSET, "list directory");
        }
        if (entry == NULL) {
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            status = list_entry(dir, path, entry->d_name, out, error);
        }
    }
    (void)closedir(dir);
    return status;
}

static tape_status linux_rename(os_disk *disk, const char *from, const char *to,
                                tape_error *error) {
    (void)disk;
    if (rename(from, to) != 0) {
        int reason = errno;
        char doing[300];
        (void)snprintf(doing, sizeof doing, "rename %.255s to", from);
        return os_fail(error, reason, to, TAPE_NO_OFFSET, doing);
    }
    return TAPE_OK;
}

static tape_status linux_file_adopt(os_disk *disk, const char *real_path, const char *path,
                                    tape_error *error) {
    os_file *file = NULL;
    tape_status status = os_file_open(disk, real_path, OS_WRITE, &file, error);
    if (status == TAPE_OK) {
        status = os_file_sync(file, error);
    }
    os_file_close(&file);
    return status != TAPE_OK ? status : linux_rename(disk, real_path, path, error);
}

static tape_status linux_remove(os_disk *disk, const char *path, tape_error *error) {
    (void)disk;
    if (unlink(path) != 0) {
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "remove");
    }
    return TAPE_OK;
}

static tape_status linux_dir_remove(os_disk *disk, const char *path, tape_error *error) {
    (void)disk;
    if (rmdir(path) != 0) {
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "remove directory");
    }
    return TAPE_OK;
}

static tape_status linux_path_stat(os_disk *disk, const char *path, os_stat *out,
                                   tape_error *error) {
    (void)disk;
    struct stat result;
    if (stat(path, &result) != 0) {
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "find");
    }
    *out = (os_stat){.is_dir = S_ISDIR(result.st_mode),
                     .size = (uint64_t)result.st_size,
                     .device = (uint64_t)result.st_dev,
                     .inode = (uint64_t)result.st_ino};
    return TAPE_OK;
}

static tape_status linux_free_bytes(os_disk *disk, const char *path, uint64_t *out,
                                    tape_error *error) {
    (void)disk;
    struct statvfs result;
    int failed = 0;
    do {
        failed = statvfs(path, &result);
    } while (failed != 0 && errno == EINTR);
    if (failed != 0) {
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "read the free space at");
    }
    *out = (uint64_t)result.f_bavail * (uint64_t)result.f_frsize;
    return TAPE_OK;
}

/* --- lock --- */

static int64_t lock_read_pid(int fd) {
    char text[32];
    ssize_t size = 0;
    do {
        size = pread(fd, text, sizeof text - 1, 0);
    } while (size < 0 && errno == EINTR);
    if (size <= 0) {
        return 0;
    }
    text[size] = '\0';
    long long pid = strtoll(text, NULL, 10);
    return pid > 0 && pid <= INT32_MAX ? pid : 0;
}

/* The holder's pid. Between its taking and its writing, the file is empty or names the one before.
 */
static int64_t lock_find_owner(int fd) {
    int64_t pid = 0;
    for (int i = 0; i < PID_TRIES_MAX; i++) {
        pid = lock_read_pid(fd);
        if (os_process_alive(pid)) {
            break;
        }
        os_sleep_ns(PID_RETRY_NS);
    }
    return pid;
}

static tape_status lock_write_pid(int fd, const char *path, tape_error *error) {
    char text[32];
    int size = snprintf(text, sizeof text, "%lld\n", (long long)getpid());
    ssize_t moved = 0;
    do {
        moved = pwrite(fd, text, (size_t)size, 0);
    } while (moved < 0 && errno == EINTR);
    if (moved != size) {
        return os_fail(error, moved < 0 ? errno : ENOSPC, path, 0, "write");
    }
    int failed = 0;
    do {
        failed = ftruncate(fd, size);
    } while (failed != 0 && errno == EINTR);
    return failed == 0 ? TAPE_OK : os_fail(error, errno, path, 0, "write");
}

/* Locks what `path` names now: the file may have been replaced between opening and locking. */
static tape_status lock_open(const char *path, int *out, bool *taken, tape_error *error) {
    for (;;) {
        int fd = open_retry(path, O_RDWR | O_CREAT | O_NOCTTY | O_NONBLOCK, 0666);
        if (fd < 0) {
            return os_fail(error, errno, path, TAPE_NO_OFFSET, "open");
        }
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int failed = 0;
        do {
            failed = fcntl(fd, F_OFD_SETLK, &lock);
        } while (failed != 0 && errno == EINTR);
        if (failed != 0 && errno != EAGAIN && errno != EACCES) {
            int reason = errno;
            (void)close(fd);
            return os_fail(error, reason, path, TAPE_NO_OFFSET, "lock");
        }
        struct stat opened;
        struct stat named;
        if (failed != 0 || (fstat(fd, &opened) == 0 && stat(path, &named) == 0 &&
                            opened.st_ino == named.st_ino && opened.st_dev == named.st_dev)) {
            *out = fd;
            *taken = failed == 0;
            return TAPE_OK;
        }
        (void)close(fd);
    }
}

static tape_status linux_lock_take(os_disk *disk, const char *path, os_lock **out,
                                   int64_t *owner_pid, tape_error *error) {
    int fd = -1;
    bool taken = false;
    tape_status status = lock_open(path, &fd, &taken, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (!taken) {
        *owner_pid = lock_find_owner(fd);
        (void)close(fd);
        return os_lock_refuse(error, path, *owner_pid);
    }
    status = lock_write_pid(fd, path, error);
    if (status != TAPE_OK) {
        (void)close(fd);
        return status;
    }
    linux_lock *lock = mem_zalloc(sizeof *lock);
    lock->lock.handle.disk = disk;
    lock->fd = fd;
    *owner_pid = getpid();
    *out = &lock->lock;
    return TAPE_OK;
}

static void linux_lock_release(os_lock *base) {
    linux_lock *lock = (linux_lock *)base;
    (void)close(lock->fd);
    free(lock);
}

/* --- boot id, random bytes --- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static tape_status linux_boot_id(os_disk *disk, uint8_t out[16], tape_error *error) {
    static const char path[] = "/proc/sys/kernel/random/boot_id";
    (void)disk;
    char text[64];
    int fd = open_retry(path, O_RDONLY, 0);
    if (fd < 0) {
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "open");
    }
    ssize_t size = 0;
    do {
        size = read(fd, text, sizeof text);
    } while (size < 0 && errno == EINTR);
    int reason = errno;
    (void)close(fd);
    if (size < 0) {
        return os_fail(error, reason, path, TAPE_NO_OFFSET, "read");
    }
    size_t digits = 0;
    for (ssize_t i = 0; i < size && digits < 32; i++) {
        int value = hex_digit(text[i]);
        if (value >= 0) {
            unsigned high = digits % 2 == 0 ? 0u : (unsigned)out[digits / 2] << 4;
            out[digits / 2] = (uint8_t)(high | (unsigned)value);
            digits++;
        }
    }
    if (digits != 32) {
        return error_set_file(error, TAPE_IO, path, TAPE_NO_OFFSET,
                              "%s holds no boot id: is /proc mounted?", path);
    }
    return TAPE_OK;
}

bool os_process_alive(int64_t pid) {
    return pid > 0 && pid <= INT32_MAX && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

char *os_path_real(const char *path) {
    return realpath(path, NULL);
}

void os_random(void *data, size_t size) {
    uint8_t *to = data;
    while (size > 0) {
        ssize_t got = getrandom(to, size, 0);
        ASSERT(got > 0 || errno == EINTR);
        if (got > 0) {
            to += got;
            size -= (size_t)got;
        }
    }
}

/* --- the table --- */

os_disk *os_disk_linux(void) {
    static const os_disk_table table = {
        .file_open = linux_file_open,
        .file_read = linux_file_read,
        .file_write = linux_file_write,
        .file_sync = linux_file_sync,
        .file_size = linux_file_size,
        .file_truncate = linux_file_truncate,
        .file_close = linux_file_close,
        .file_map = linux_file_map,
        .unmap = linux_unmap,
        .dir_make = linux_dir_make,
        .dir_sync = linux_dir_sync,
        .dir_list = linux_dir_list,
        .rename = linux_rename,
        .remove = linux_remove,
        .file_adopt = linux_file_adopt,
        .dir_remove = linux_dir_remove,
        .path_stat = linux_path_stat,
        .free_bytes = linux_free_bytes,
        .lock_take = linux_lock_take,
        .lock_release = linux_lock_release,
        .shm_create = linux_shm_create,
        .shm_open = linux_shm_open,
        .shm_close = linux_shm_close,
        .shm_remove = linux_shm_remove,
        .shm_free_bytes = linux_shm_free_bytes,
        .boot_id = linux_boot_id,
    };
    static os_disk disk = {&table};
    return &disk;
}
