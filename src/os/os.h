/* os: the one seam to the operating system. Files and directories go through an os_disk, of which
 * there are two: Linux, and a simulated disk (os_sim.h) that loses, tears and corrupts. Threads,
 * futexes, shared memory, sockets and time are plain wrappers.
 *
 * Paths are NUL-terminated. All calls are thread-safe on different files; reads and writes of one
 * file at different offsets may run at once. Errors carry file, offset and errno. */
#ifndef OS_H
#define OS_H

#include "base/base.h"

#include <pthread.h>

typedef struct os_disk os_disk; /* abstract; see os_internal.h for the table behind it */
typedef struct os_file os_file;

/* The machine's own file systems. */
os_disk *os_disk_linux(void);

enum {
    OS_READ = 1u << 0,
    OS_WRITE = 1u << 1,     /* implies OS_READ */
    OS_CREATE = 1u << 2,    /* create when absent */
    OS_EXCLUSIVE = 1u << 3, /* with OS_CREATE: EXISTS when present */
    OS_DSYNC = 1u << 4,     /* every write returns durable */
    OS_DIRECT = 1u << 5,    /* no page cache; offset, size and memory aligned to OS_DIRECT_ALIGN */
};
#define OS_DIRECT_ALIGN 4096u

tape_status os_file_open(os_disk *disk, const char *path, unsigned flags, os_file **out,
                         tape_error *error) TAPE_CHECKED;
/* Reads up to `size` bytes at `offset`; *got < size only at the end of the file. */
tape_status os_file_read(os_file *file, uint64_t offset, void *data, size_t size, size_t *got,
                         tape_error *error) TAPE_CHECKED;
/* Writes all of it or fails; after a failure any part may have been written. Grows the file. */
tape_status os_file_write(os_file *file, uint64_t offset, const void *data, size_t size,
                          tape_error *error) TAPE_CHECKED;
/* Data and the metadata needed to read it are durable when this returns OK (fdatasync). */
tape_status os_file_sync(os_file *file, tape_error *error) TAPE_CHECKED;
tape_status os_file_size(os_file *file, uint64_t *size, tape_error *error) TAPE_CHECKED;
tape_status os_file_truncate(os_file *file, uint64_t size, tape_error *error) TAPE_CHECKED;
const char *os_file_path(const os_file *file);
/* NULL-safe; sets *file to NULL. */
void os_file_close(os_file **file);

/* A read-only view of bytes [0, size) of a file; it stays valid when the file is closed, renamed
 * or removed, never when it is truncated (tape never truncates what it maps). */
typedef struct os_map {
    const uint8_t *data;
    size_t size;
    void *handle; /* private */
} os_map;
enum { OS_MAP_RANDOM = 1, OS_MAP_SEQUENTIAL = 2 };
tape_status os_file_map(os_file *file, size_t size, int advice, os_map *out,
                        tape_error *error) TAPE_CHECKED;
/* Begins to read bytes [offset, offset + size), which are about to be used, all together instead of
 * page by page as they are touched. Advice only. */
void os_map_fetch(const os_map *map, size_t offset, size_t size);
void os_unmap(os_map *map);

/* `mode` 0777/0666 as modified by the process's umask. Directory entries are durable after
 * os_dir_sync of their directory, not before. */
tape_status os_dir_make(os_disk *disk, const char *path, tape_error *error) TAPE_CHECKED;
tape_status os_dir_sync(os_disk *disk, const char *path, tape_error *error) TAPE_CHECKED;
/* Calls `visit` with each entry's name but "." and "..", in byte order. */
tape_status os_dir_list(os_disk *disk, const char *path,
                        void (*visit)(void *context, const char *name, bool is_dir, uint64_t size),
                        void *context, tape_error *error) TAPE_CHECKED;
tape_status os_rename(os_disk *disk, const char *from, const char *to,
                      tape_error *error) TAPE_CHECKED;
/* Unlinks a file. NOT_FOUND when absent. */
tape_status os_remove(os_disk *disk, const char *path, tape_error *error) TAPE_CHECKED;
tape_status os_dir_remove(os_disk *disk, const char *path, tape_error *error) TAPE_CHECKED;

/* Takes over a file that something else wrote to `real_path`, a path of the machine's own file
 * systems, whatever `disk` is: makes its content durable and names it `path`, replacing what is
 * there; the file is gone from `real_path`. The name is durable after os_dir_sync, not before.
 * `real_path` must be on the same file system as `path`, and its directory be there on `disk` too:
 * the simulated disk writes the bytes to a file of the name `real_path` and renames that. After a
 * failure the file may be left at `real_path`, there and on `disk`. */
tape_status os_file_adopt(os_disk *disk, const char *real_path, const char *path,
                          tape_error *error) TAPE_CHECKED;

typedef struct os_stat {
    bool is_dir;
    uint64_t size;
    uint64_t device;
    uint64_t inode;
} os_stat;
tape_status os_path_stat(os_disk *disk, const char *path, os_stat *out,
                         tape_error *error) TAPE_CHECKED;
tape_status os_free_bytes(os_disk *disk, const char *path, uint64_t *out,
                          tape_error *error) TAPE_CHECKED;

/* Whole-file helpers for small files (TOO_LARGE beyond OS_SMALL_BYTES_MAX). The written one is
 * durable and atomic: a temporary file (PATH.new), sync, rename, directory sync; readers see the
 * old or the new. One writer of a path at a time. `*data` is NUL-terminated, caller frees. */
#define OS_SMALL_BYTES_MAX MIB(64)
tape_status os_read_small(os_disk *disk, const char *path, char **data, size_t *size,
                          tape_error *error) TAPE_CHECKED;
tape_status os_write_small(os_disk *disk, const char *path, const void *data, size_t size,
                           tape_error *error) TAPE_CHECKED;

/* --- exclusive ownership of a directory: an advisory lock on `path`, released when the process
 * ends. The file holds the owner's pid as text. LOCKED (text and *owner_pid name the holder) when
 * taken. */
typedef struct os_lock os_lock;
tape_status os_lock_take(os_disk *disk, const char *path, os_lock **out, int64_t *owner_pid,
                         tape_error *error) TAPE_CHECKED;
void os_lock_release(os_lock **lock);

/* --- named shared memory: survives the process, not the machine --- */
typedef struct os_shm {
    uint8_t *data;
    size_t size;  /* bytes mapped: head_bytes + 2 * ring_bytes */
    void *handle; /* private */
} os_shm;
/* The directory shared memory lives in: TAPE_SHM_DIR or /dev/shm. */
const char *os_shm_dir(void);
/* Creates (replacing an old one) or opens `name` (a plain file name). The region is
 * [head_bytes][ring_bytes], mapped with the ring twice in a row, so that a run that wraps is
 * contiguous: data[head_bytes + i] for i < 2 * ring_bytes. Both sizes are multiples of 4096.
 * Creating reserves the memory (NO_SPACE when the file system has too little), so that no later
 * store can fail; a region that has its name is complete and zero-filled. One creator of a name at
 * a time. The simulated disk keeps its regions across process crashes and drops them at power loss.
 */
tape_status os_shm_create(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                          os_shm *out, tape_error *error) TAPE_CHECKED;
/* `writable` false maps read-only. NOT_FOUND when absent; CORRUPT when it is smaller than
 * head_bytes + ring_bytes. With ring_bytes 0 maps the first head_bytes only. */
tape_status os_shm_open(os_disk *disk, const char *name, size_t head_bytes, size_t ring_bytes,
                        bool writable, os_shm *out, tape_error *error) TAPE_CHECKED;
void os_shm_close(os_shm *shm); /* NULL-safe and zero-safe; leaves *shm all zero */
tape_status os_shm_remove(os_disk *disk, const char *name, tape_error *error) TAPE_CHECKED;
/* Free bytes where shared memory lives. */
tape_status os_shm_free_bytes(os_disk *disk, uint64_t *out, tape_error *error) TAPE_CHECKED;
/* Touches pages [offset, offset + size) so that later stores do not fault. */
void os_shm_prefault(os_shm *shm, size_t offset, size_t size);

/* --- memory from the system: zero-filled, pages taken as they are touched --- */
#define OS_HUGE_PAGE_BYTES MIB(2)
/* `size` is a multiple of 4096. A multiple of OS_HUGE_PAGE_BYTES starts at such a multiple and is
 * backed by huge pages where the system has them. NULL when memory is exhausted. */
void *os_memory_map(size_t size);
void os_memory_unmap(void *memory, size_t size); /* NULL-safe; `size` as it was mapped */

/* An id that changes at every boot of the machine (16 bytes). */
tape_status os_boot_id(os_disk *disk, uint8_t out[16], tape_error *error) TAPE_CHECKED;
/* Whether a process with this id runs on this machine. */
bool os_process_alive(int64_t pid);
/* The path from the root, without links; NULL when there is nothing at `path`. Caller frees. Real
 * paths alone: not for the simulated disk. */
char *os_path_real(const char *path);
/* Random bytes from the operating system. */
void os_random(void *data, size_t size);

/* --- threads --- */
typedef struct os_thread os_thread;
/* `name` up to 15 bytes; `cpu` < 0 leaves the thread where the scheduler puts it. */
tape_status os_thread_start(os_thread **out, const char *name, int cpu, void (*run)(void *),
                            void *argument, tape_error *error) TAPE_CHECKED;
void os_thread_join(os_thread **thread);
/* The calling thread no longer interrupts others from now on; with a `nice` above 0 (to 19) it also
 * gets less than they where both want one core. */
void os_thread_lower(int nice);
void os_yield(void);
void os_sleep_ns(int64_t ns);
int os_cpu_count(void);

/* Waits until *word != expected, a wake, or the monotonic deadline (INT64_MAX: none). May return
 * early. In-process. */
void os_futex_wait(_Atomic uint32_t *word, uint32_t expected, int64_t deadline_ns);
void os_futex_wake(_Atomic uint32_t *word, int count); /* count INT_MAX: all */

/* --- local sockets: the control socket of a store, for processes of the same user or root ---
 * Byte streams on a path of any length. All waits end at a monotonic deadline (TIMEOUT; INT64_MAX:
 * none). A socket may be used by one sender and one receiver at a time. */
typedef struct os_listener os_listener;
typedef struct os_socket os_socket;

/* Replaces a socket file left behind by a dead process: hold the directory's lock. EXISTS when
 * `path` is something else than a socket. Only the owner and root may connect. */
tape_status os_socket_listen(const char *path, os_listener **out, tape_error *error) TAPE_CHECKED;
/* The next connection of the same user or root; others are dropped with a warning in the log.
 * CANCELLED, from then on, once os_listener_wake was called (any thread, signal handlers too). */
tape_status os_socket_accept(os_listener *listener, int64_t deadline_ns, os_socket **out,
                             tape_error *error) TAPE_CHECKED;
void os_listener_wake(os_listener *listener);
/* Removes the socket file. NULL-safe; sets *listener to NULL. */
void os_listener_close(os_listener **listener);

/* NOT_FOUND when nobody listens at `path`. */
tape_status os_socket_connect(const char *path, int64_t deadline_ns, os_socket **out,
                              tape_error *error) TAPE_CHECKED;
/* Sends all of it; with `files`, file descriptors go along with the first byte (`size` > 0) and
 * stay the caller's. NOT_FOUND when the peer has gone. */
#define OS_SOCKET_FILES_MAX 3
tape_status os_socket_send(os_socket *s, const void *data, size_t size, const int *files,
                           size_t file_count, int64_t deadline_ns, tape_error *error) TAPE_CHECKED;
/* Waits for at least one byte; *got 0: the peer has closed, or os_socket_shutdown was called. With
 * `files` (room for OS_SOCKET_FILES_MAX), descriptors that came along are the caller's to close
 * with os_fd_close; without, they are closed at once. */
tape_status os_socket_receive(os_socket *s, void *data, size_t size, size_t *got, int *files,
                              size_t *file_count, int64_t deadline_ns,
                              tape_error *error) TAPE_CHECKED;
/* Exactly `size` bytes; IO when the peer closes before. */
tape_status os_socket_receive_exact(os_socket *s, void *data, size_t size, int64_t deadline_ns,
                                    tape_error *error) TAPE_CHECKED;
/* Whether the peer has closed or died. Does not wait. */
bool os_socket_peer_gone(os_socket *s);
/* Ends both directions: waiting calls in other threads return. */
void os_socket_shutdown(os_socket *s);
void os_socket_close(os_socket **s); /* NULL-safe; sets *s to NULL */

/* For descriptors that were received. Writes all of it (pipes, terminals, files; no SIGPIPE) or
 * says in *written (may be NULL) how much; TIMEOUT; NOT_FOUND when the reading end is closed. */
tape_status os_fd_write(int fd, const void *data, size_t size, size_t *written, int64_t deadline_ns,
                        tape_error *error) TAPE_CHECKED;
void os_fd_close(int fd);

#endif
