/* Purpose: named shared memory on Linux (files in a memory file system), and the mapping in which a
 * ring is seen twice in a row.
 *
 * Layout: file [head][ring]; mapping [head][ring][ring again].
 *
 * Invariants
 * M1. A region that has its name is complete: sized, reserved, zero-filled. It is made as NAME.new
 * and renamed, so that an opener sees the old one, the complete one or none. M2. Every page of a
 * region is reserved at creation: a store never meets a full file system, which would be a fatal
 * signal.
 *
 * Failure: a creator that dies half-way leaves NAME.new, which the next creator or remover of that
 * name removes. */
#include "os/os_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES 4096u

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

const char *os_shm_dir(void) {
    const char *dir = getenv("TAPE_SHM_DIR");
    return dir != NULL && dir[0] != '\0' ? dir : "/dev/shm";
}

/* --- the mapping --- */

tape_status os_shm_check_sizes(size_t head_bytes, size_t ring_bytes, const char *path,
                               tape_error *error) {
    size_t total = 0;
    if (head_bytes == 0 || head_bytes % PAGE_BYTES != 0 || ring_bytes % PAGE_BYTES != 0 ||
        __builtin_mul_overflow(ring_bytes, 2, &total) ||
        __builtin_add_overflow(total, head_bytes, &total) || total > INT64_MAX) {
        return error_set_file(error, TAPE_INVALID, path, TAPE_NO_OFFSET,
                              "a shared region %s of %zu and %zu bytes is not possible: both must "
                              "be multiples of %u",
                              path, head_bytes, ring_bytes, PAGE_BYTES);
    }
    return TAPE_OK;
}

tape_status os_shm_refuse_size(tape_error *error, const char *path, uint64_t size,
                               size_t expected) {
    return error_set_file(error, TAPE_CORRUPT, path, size,
                          "the shared region %s has %llu bytes, expected %zu: remove it if no "
                          "process uses it",
                          path, (unsigned long long)size, expected);
}

static bool map_over(int fd, size_t head_bytes, size_t ring_bytes, bool writable, uint8_t *data) {
    int rights = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    int flags = MAP_SHARED | MAP_FIXED;
    if (mmap(data, head_bytes + ring_bytes, rights, flags, fd, 0) == MAP_FAILED) {
        return false;
    }
    return ring_bytes == 0 || mmap(data + head_bytes + ring_bytes, ring_bytes, rights, flags, fd,
                                   (off_t)head_bytes) != MAP_FAILED;
}

tape_status os_shm_map(int fd, size_t head_bytes, size_t ring_bytes, bool writable,
                       const char *path, uint8_t **data, tape_error *error) {
    size_t total = head_bytes + 2 * ring_bytes;
    /* Address space first, so that the second half of the ring cannot land on somebody else's. */
    void *reserved =
        mmap(NULL, total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) {
        return os_fail(error, errno, path, TAPE_NO_OFFSET, "reserve address space for");
    }
    if (!map_over(fd, head_bytes, ring_bytes, writable, reserved)) {
        int reason = errno;
        (void)munmap(reserved, total);
        return os_fail(error, reason, path, TAPE_NO_OFFSET, "map");
    }
    *data = reserved;
    return TAPE_OK;
}

void os_shm_map_again(int fd, size_t head_bytes, size_t ring_bytes, bool writable, uint8_t *data) {
    ASSERT(map_over(fd, head_bytes, ring_bytes, writable, data));
}

void os_shm_unmap(uint8_t *data, size_t size) {
    ASSERT(munmap(data, size) == 0);
}

/* --- regions in a directory --- */

static char *region_path(const char *name) {
    return mem_printf("%s/%s", os_shm_dir(), name);
}

/* O_NOFOLLOW: the directory is writable by everybody, and a link in it may be anybody's. */
static int region_open(const char *path, int flags) {
    int fd = 0;
    do {
        fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static int region_reserve(int fd, size_t size) {
    int reason = 0;
    do {
        reason = posix_fallocate(fd, 0, (off_t)size);
    } while (reason == EINTR);
    return reason;
}

static tape_status region_attach(os_disk *disk, int fd, const char *path, size_t head_bytes,
                                 size_t ring_bytes, bool writable, os_shm *out, tape_error *error) {
    uint8_t *data = NULL;
    tape_status status = os_shm_map(fd, head_bytes, ring_bytes, writable, path, &data, error);
    if (status != TAPE_OK) {
        return status;
    }
    os_shm_handle *handle = mem_zalloc(sizeof *handle);
    handle->handle.disk = disk;
    handle->writable = writable;
    *out = (os_shm){data, head_bytes + 2 * ring_bytes, handle};
    return TAPE_OK;
}

tape_status linux_shm_create(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                             os_shm *out, tape_error *error) {
    char *path = region_path(name);
    char *temporary = mem_printf("%s.new", path);
    tape_status status = TAPE_OK;
    int reason = 0;
    int fd = -1;
    if (unlink(temporary) != 0 && errno != ENOENT) {
        status = os_fail(error, errno, temporary, TAPE_NO_OFFSET, "replace");
        goto out;
    }
    fd = region_open(temporary, O_RDWR | O_CREAT | O_EXCL);
    if (fd < 0) {
        status = os_fail(error, errno, temporary, TAPE_NO_OFFSET, "create");
        goto out;
    }
    reason = region_reserve(fd, head_bytes + ring_bytes);
    if (reason != 0) {
        char doing[64];
        (void)snprintf(doing, sizeof doing, "reserve %zu bytes for", head_bytes + ring_bytes);
        status = os_fail(error, reason, path, TAPE_NO_OFFSET, doing);
        goto out;
    }
    status = region_attach(disk, fd, path, head_bytes, ring_bytes, true, out, error);
    if (status == TAPE_OK && rename(temporary, path) != 0) {
        status = os_fail(error, errno, path, TAPE_NO_OFFSET, "replace");
        os_shm_close(out);
    }
out:
    if (fd >= 0) {
        if (status != TAPE_OK) {
            (void)unlink(temporary);
        }
        (void)close(fd);
    }
    free(temporary);
    free(path);
    return status;
}

tape_status linux_shm_open(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                           bool writable, os_shm *out, tape_error *error) {
    char *path = region_path(name);
    struct stat stat;
    tape_status status = TAPE_OK;
    int fd = region_open(path, writable ? O_RDWR : O_RDONLY);
    if (fd < 0 || fstat(fd, &stat) != 0) {
        status = os_fail(error, errno, path, TAPE_NO_OFFSET, "open");
        goto out;
    }
    if (!S_ISREG(stat.st_mode) || (uint64_t)stat.st_size < head_bytes + ring_bytes) {
        status = os_shm_refuse_size(error, path, (uint64_t)stat.st_size, head_bytes + ring_bytes);
        goto out;
    }
    status = region_attach(disk, fd, path, head_bytes, ring_bytes, writable, out, error);
out:
    if (fd >= 0) {
        (void)close(fd);
    }
    free(path);
    return status;
}

void linux_shm_close(os_shm *shm) {
    os_shm_unmap(shm->data, shm->size);
    free(shm->handle);
}

tape_status linux_shm_remove(os_disk *disk, const char *name, tape_error *error) {
    (void)disk;
    char *path = region_path(name);
    char *temporary = mem_printf("%s.new", path);
    tape_status status = TAPE_OK;
    (void)unlink(temporary); /* M1: it is nobody's */
    if (unlink(path) != 0) {
        status = os_fail(error, errno, path, TAPE_NO_OFFSET, "remove");
    }
    free(temporary);
    free(path);
    return status;
}

tape_status linux_shm_free_bytes(os_disk *disk, uint64_t *out, tape_error *error) {
    return os_free_bytes(disk, os_shm_dir(), out, error);
}

/* --- prefault --- */

void os_shm_prefault(os_shm *shm, size_t offset, size_t size) {
    ASSERT(offset <= shm->size && size <= shm->size - offset);
    const os_shm_handle *handle = shm->handle;
    size_t begin = ALIGN_DOWN(offset, PAGE_BYTES);
    size_t end = ALIGN_UP(offset + size, PAGE_BYTES);
    if (begin == end) {
        return;
    }
    int advice = handle->writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    if (madvise(shm->data + begin, end - begin, advice) == 0) {
        return;
    }
    /* Kernels before 5.14: by hand. Adding nothing dirties a page without changing what others see.
     */
    for (size_t at = begin; at < end; at += PAGE_BYTES) {
        uint8_t *byte = shm->data + at;
        if (handle->writable) {
            (void)__atomic_fetch_add(byte, 0, __ATOMIC_RELAXED);
        } else {
            (void)__atomic_load_n(byte, __ATOMIC_RELAXED);
        }
    }
}
