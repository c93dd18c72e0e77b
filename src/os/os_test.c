/* The Linux disk, shared memory and threads, in a directory of their own. */
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define TMPFS_MAGIC 0x01021994

static char root[256];
static os_disk *disk;

static int make_root(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    (void)snprintf(root, sizeof root, "%s/tape-os-XXXXXX", base != NULL ? base : "/tmp");
    disk = os_disk_linux();
    return mkdtemp(root) != NULL && setenv("TAPE_SHM_DIR", root, 1) == 0 ? 0 : -1;
}

static void remove_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    char *path = mem_printf("%s/%s", (const char *)context, name);
    if (is_dir) {
        assert_int_equal(os_dir_list(disk, path, remove_entry, path, NULL), TAPE_OK);
        assert_int_equal(os_dir_remove(disk, path, NULL), TAPE_OK);
    } else {
        assert_int_equal(os_remove(disk, path, NULL), TAPE_OK);
    }
    free(path);
}

static int remove_root(void **state) {
    (void)state;
    assert_int_equal(os_dir_list(disk, root, remove_entry, root, NULL), TAPE_OK);
    return os_dir_remove(disk, root, NULL) == TAPE_OK ? 0 : -1;
}

/* A path under the test's directory; valid until the call after the next three. */
static const char *at(const char *name) {
    static char paths[4][512];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static os_file *open_ok(const char *name, unsigned flags) {
    os_file *file = NULL;
    tape_error error = {0};
    if (os_file_open(disk, at(name), flags, &file, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return file;
}

static void write_ok(os_file *file, uint64_t offset, const void *data, size_t size) {
    assert_int_equal(os_file_write(file, offset, data, size, NULL), TAPE_OK);
}

/* --- files --- */

static void file_reads_back_what_was_written(void **state) {
    (void)state;
    char text[32] = {0};
    size_t got = 0;
    uint64_t size = 0;
    os_file *file = open_ok("data", OS_WRITE | OS_CREATE | OS_EXCLUSIVE);
    write_ok(file, 0, "hello", 5);
    write_ok(file, 8, "world", 5);
    assert_int_equal(os_file_sync(file, NULL), TAPE_OK);
    assert_int_equal(os_file_size(file, &size, NULL), TAPE_OK);
    assert_int_equal(size, 13);
    assert_int_equal(os_file_read(file, 0, text, sizeof text, &got, NULL), TAPE_OK);
    assert_int_equal(got, 13);
    assert_memory_equal(text, "hello\0\0\0world", 13);
    assert_int_equal(os_file_read(file, 13, text, 1, &got, NULL), TAPE_OK);
    assert_int_equal(got, 0);
    assert_int_equal(os_file_truncate(file, 4, NULL), TAPE_OK);
    assert_int_equal(os_file_read(file, 2, text, sizeof text, &got, NULL), TAPE_OK);
    assert_int_equal(got, 2);
    assert_string_equal(os_file_path(file), at("data"));
    os_file_close(&file);
    assert_null(file);
    os_file_close(&file);
}

static void file_open_errors_name_the_file_and_the_reason(void **state) {
    (void)state;
    os_file *file = NULL;
    tape_error error;
    assert_int_equal(os_file_open(disk, at("absent"), OS_READ, &file, &error), TAPE_NOT_FOUND);
    assert_null(file);
    assert_string_equal(error.file, at("absent"));
    assert_int_equal(error.os_errno, ENOENT);
    assert_non_null(strstr(error.text, "absent"));

    assert_int_equal(os_dir_make(disk, at("directory"), &error), TAPE_OK);
    assert_int_equal(os_file_open(disk, at("directory"), OS_READ, &file, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "directory"));
    assert_int_equal(os_file_open(disk, at("directory"), OS_WRITE, &file, &error), TAPE_INVALID);

    os_file *first = open_ok("taken", OS_WRITE | OS_CREATE | OS_EXCLUSIVE);
    assert_int_equal(
        os_file_open(disk, at("taken"), OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file, &error),
        TAPE_EXISTS);
    assert_int_equal(os_file_open(disk, at("taken/below"), OS_READ, &file, &error), TAPE_INVALID);
    os_file_close(&first);

    assert_int_equal(mkfifo(at("fifo"), 0600), 0);
    assert_int_equal(os_file_open(disk, at("fifo"), OS_READ, &file, &error), TAPE_INVALID);
    assert_non_null(strstr(error.text, "not a regular file"));
}

static void file_without_permission_is_refused_with_advice(void **state) {
    (void)state;
    os_file *file = open_ok("secret", OS_WRITE | OS_CREATE);
    os_file_close(&file);
    assert_int_equal(chmod(at("secret"), 0), 0);
    pid_t child = fork();
    if (child == 0) {
        tape_error error = {0};
        if (geteuid() == 0 && (chmod(root, 0755) != 0 || setuid(65534) != 0)) {
            _exit(2);
        }
        tape_status status = os_file_open(disk, at("secret"), OS_READ, &file, &error);
        _exit(status == TAPE_ACCESS && strstr(error.text, "permissions") != NULL ? 0 : 1);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
}

static void file_offsets_beyond_what_files_have_are_refused(void **state) {
    (void)state;
    char byte = 0;
    size_t got = 0;
    tape_error error;
    os_file *file = open_ok("offsets", OS_WRITE | OS_CREATE);
    assert_int_equal(os_file_write(file, UINT64_MAX - 1, &byte, 1, &error), TAPE_TOO_LARGE);
    assert_int_equal(os_file_write(file, INT64_MAX, &byte, 1, &error), TAPE_TOO_LARGE);
    assert_int_equal(os_file_read(file, UINT64_MAX, &byte, 1, &got, &error), TAPE_TOO_LARGE);
    assert_int_equal(os_file_truncate(file, UINT64_MAX, &error), TAPE_TOO_LARGE);
    os_file_close(&file);
}

static void file_opened_dsync_or_direct_takes_writes(void **state) {
    (void)state;
    static _Alignas(OS_DIRECT_ALIGN) uint8_t page[OS_DIRECT_ALIGN];
    static _Alignas(OS_DIRECT_ALIGN) uint8_t back[2 * OS_DIRECT_ALIGN];
    os_file *file = open_ok("dsync", OS_WRITE | OS_CREATE | OS_DSYNC);
    write_ok(file, 0, "x", 1);
    os_file_close(&file);

    tape_error error;
    memset(page, 7, sizeof page);
    tape_status status = os_file_open(disk, at("direct"),
                                      OS_WRITE | OS_CREATE | OS_DSYNC | OS_DIRECT, &file, &error);
    if (status != TAPE_OK) { /* a file system without direct I/O says so and nothing else */
        assert_int_equal(status, TAPE_INVALID);
        assert_non_null(strstr(error.text, "direct I/O"));
        return;
    }
    size_t got = 0;
    write_ok(file, 0, page, sizeof page);
    assert_int_equal(os_file_read(file, 0, back, sizeof back, &got, NULL), TAPE_OK);
    assert_int_equal(got, sizeof page);
    assert_memory_equal(back, page, sizeof page);
    os_file_close(&file);
}

static void direct_io_where_there_is_none_is_invalid(void **state) {
    (void)state;
    /* /proc refuses O_DIRECT on every kernel. */
    os_file *file = NULL;
    tape_error error;
    assert_int_equal(os_file_open(disk, "/proc/self/status", OS_READ | OS_DIRECT, &file, &error),
                     TAPE_INVALID);
    assert_non_null(strstr(error.text, "direct I/O"));
}

static void map_outlives_close_and_removal(void **state) {
    (void)state;
    os_map map;
    tape_error error;
    os_file *file = open_ok("mapped", OS_WRITE | OS_CREATE);
    write_ok(file, 0, "content", 7);
    assert_int_equal(os_file_map(file, 8, 0, &map, &error), TAPE_CORRUPT);
    assert_int_equal(error.offset, 7);
    assert_int_equal(os_file_map(file, 0, 0, &map, &error), TAPE_OK);
    assert_non_null(map.data);
    os_unmap(&map);
    assert_int_equal(os_file_map(file, 7, OS_MAP_SEQUENTIAL, &map, &error), TAPE_OK);
    os_file_close(&file);
    os_map_fetch(&map, 0, 7);
    os_map_fetch(&map, 7, 0);
    assert_int_equal(os_remove(disk, at("mapped"), NULL), TAPE_OK);
    assert_memory_equal(map.data, "content", 7);
    os_unmap(&map);
    assert_null(map.data);
    os_unmap(&map);
}

/* --- directories --- */

static void append_name(void *context, const char *name, bool is_dir, uint64_t size) {
    buffer_printf(context, "%s%s:%llu ", name, is_dir ? "/" : "", (unsigned long long)size);
}

static void dir_list_is_in_byte_order(void **state) {
    (void)state;
    assert_int_equal(os_dir_make(disk, at("list"), NULL), TAPE_OK);
    const char *names[] = {"list/b", "list/a", "list/\xc3\xa4", "list/B", "list/a.b"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        os_file *file = open_ok(names[i], OS_WRITE | OS_CREATE);
        write_ok(file, 0, "12345", i);
        os_file_close(&file);
    }
    assert_int_equal(symlink("nowhere", at("list/c")), 0);
    buffer text = {0};
    assert_int_equal(os_dir_list(disk, at("list"), append_name, &text, NULL), TAPE_OK);
    assert_non_null(strstr((const char *)text.data, "B:3 a:1 a.b:4 b:0 c:"));
    assert_non_null(strstr((const char *)text.data, "\xc3\xa4:2 "));
    buffer_deinit(&text);
    tape_error error;
    assert_int_equal(os_dir_list(disk, at("list/none"), append_name, &text, &error),
                     TAPE_NOT_FOUND);
}

static void dir_operations_report_their_errors(void **state) {
    (void)state;
    tape_error error;
    os_stat stat;
    uint64_t bytes = 0;
    assert_int_equal(os_dir_make(disk, at("sub"), &error), TAPE_OK);
    assert_int_equal(os_dir_make(disk, at("sub"), &error), TAPE_EXISTS);
    assert_int_equal(os_dir_make(disk, at("none/sub"), &error), TAPE_NOT_FOUND);
    assert_int_equal(os_dir_sync(disk, at("sub"), &error), TAPE_OK);
    assert_int_equal(os_dir_sync(disk, at("none"), &error), TAPE_NOT_FOUND);
    assert_int_equal(os_remove(disk, at("none"), &error), TAPE_NOT_FOUND);
    assert_int_equal(os_rename(disk, at("none"), at("some"), &error), TAPE_NOT_FOUND);
    assert_non_null(strstr(error.text, at("none")));
    assert_non_null(strstr(error.text, at("some")));
    os_file *file = open_ok("sub/file", OS_WRITE | OS_CREATE);
    write_ok(file, 0, "abc", 3);
    os_file_close(&file);
    assert_int_equal(os_dir_remove(disk, at("sub"), &error), TAPE_EXISTS);
    assert_int_equal(os_path_stat(disk, at("sub/file"), &stat, &error), TAPE_OK);
    assert_int_equal(stat.size, 3);
    assert_false(stat.is_dir);
    uint64_t inode = stat.inode;
    assert_int_equal(os_rename(disk, at("sub/file"), at("sub/moved"), &error), TAPE_OK);
    assert_int_equal(os_path_stat(disk, at("sub/moved"), &stat, &error), TAPE_OK);
    assert_int_equal(stat.inode, inode);
    assert_int_equal(os_path_stat(disk, at("sub"), &stat, &error), TAPE_OK);
    assert_true(stat.is_dir);
    assert_int_equal(os_path_stat(disk, at("sub/file"), &stat, &error), TAPE_NOT_FOUND);
    assert_int_equal(os_free_bytes(disk, root, &bytes, &error), TAPE_OK);
    assert_true(bytes > 0);
    assert_int_equal(os_free_bytes(disk, at("none"), &bytes, &error), TAPE_NOT_FOUND);
}

static void small_file_is_replaced_whole_and_leaves_nothing_else(void **state) {
    (void)state;
    char *data = NULL;
    size_t size = 0;
    tape_error error;
    assert_int_equal(os_dir_make(disk, at("small"), NULL), TAPE_OK);
    assert_int_equal(os_read_small(disk, at("small/f"), &data, &size, &error), TAPE_NOT_FOUND);
    assert_int_equal(os_write_small(disk, at("small/f"), "one", 3, &error), TAPE_OK);
    /* What a process that was stopped half-way leaves. */
    os_file *left = open_ok("small/f.new", OS_WRITE | OS_CREATE);
    write_ok(left, 0, "half a file", 11);
    os_file_close(&left);
    assert_int_equal(os_write_small(disk, at("small/f"), "second", 6, &error), TAPE_OK);
    assert_int_equal(os_read_small(disk, at("small/f"), &data, &size, &error), TAPE_OK);
    assert_int_equal(size, 6);
    assert_string_equal(data, "second");
    free(data);
    buffer text = {0};
    assert_int_equal(os_dir_list(disk, at("small"), append_name, &text, NULL), TAPE_OK);
    assert_memory_equal(text.data, "f:6 ", 5);
    buffer_deinit(&text);
    assert_int_equal(os_write_small(disk, at("small/none/f"), "x", 1, &error), TAPE_NOT_FOUND);
    assert_int_equal(os_write_small(disk, at("small"), "x", 1, &error), TAPE_INVALID);
    assert_int_equal(os_path_stat(disk, at("small.new"), &(os_stat){0}, NULL), TAPE_NOT_FOUND);
    assert_int_equal(truncate(at("small/f"), (off_t)(OS_SMALL_BYTES_MAX + 1)), 0);
    assert_int_equal(os_read_small(disk, at("small/f"), &data, &size, &error), TAPE_TOO_LARGE);
}

/* --- locks --- */

static void adopted_file_has_its_place_and_leaves_the_other(void **state) {
    (void)state;
    assert_int_equal(os_dir_make(disk, at("a"), NULL), TAPE_OK);
    os_file *file = open_ok("a/new", OS_WRITE | OS_CREATE);
    write_ok(file, 0, "content", 7);
    os_file_close(&file);
    assert_int_equal(os_write_small(disk, at("old"), "before", 6, NULL), TAPE_OK);
    assert_int_equal(os_file_adopt(disk, at("a/new"), at("old"), NULL), TAPE_OK);
    char *text = NULL;
    size_t size = 0;
    os_stat stat;
    assert_int_equal(os_read_small(disk, at("old"), &text, &size, NULL), TAPE_OK);
    assert_string_equal(text, "content");
    free(text);
    assert_int_equal(os_path_stat(disk, at("a/new"), &stat, NULL), TAPE_NOT_FOUND);
    assert_int_equal(os_file_adopt(disk, at("a/new"), at("old"), NULL), TAPE_NOT_FOUND);
    assert_int_equal(os_remove(disk, at("old"), NULL), TAPE_OK);
    assert_int_equal(os_dir_remove(disk, at("a"), NULL), TAPE_OK);
}

static void lock_excludes_another_process_and_names_it(void **state) {
    (void)state;
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        os_lock *lock = NULL;
        byte = os_lock_take(disk, at("LOCK"), &lock, NULL, NULL) == TAPE_OK ? 'y' : 'n';
        if (write(ready[1], &byte, 1) == 1) {
            (void)pause();
        }
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    os_lock *lock = NULL;
    int64_t owner = 0;
    tape_error error;
    assert_int_equal(os_lock_take(disk, at("LOCK"), &lock, &owner, &error), TAPE_LOCKED);
    assert_null(lock);
    assert_int_equal(owner, child);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "process %d", (int)child);
    assert_non_null(strstr(error.text, expected));

    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(os_lock_take(disk, at("LOCK"), &lock, &owner, &error), TAPE_OK);
    assert_int_equal(owner, getpid());
    char *text = NULL;
    size_t size = 0;
    assert_int_equal(os_read_small(disk, at("LOCK"), &text, &size, NULL), TAPE_OK);
    assert_int_equal(strtoll(text, NULL, 10), getpid());
    free(text);
    os_lock_release(&lock);
    assert_null(lock);
    os_lock_release(&lock);
    (void)close(ready[0]);
    (void)close(ready[1]);
}

static void lock_excludes_its_own_process_until_released(void **state) {
    (void)state;
    os_lock *first = NULL;
    os_lock *second = NULL;
    int64_t owner = 0;
    tape_error error;
    assert_int_equal(os_lock_take(disk, at("own"), &first, NULL, &error), TAPE_OK);
    assert_int_equal(os_lock_take(disk, at("own"), &second, &owner, &error), TAPE_LOCKED);
    assert_int_equal(owner, getpid());
    os_lock_release(&first);
    assert_int_equal(os_lock_take(disk, at("own"), &second, &owner, &error), TAPE_OK);
    os_lock_release(&second);
    assert_int_equal(os_lock_take(disk, at("none/own"), &second, &owner, &error), TAPE_NOT_FOUND);
}

/* --- shared memory --- */

static void shm_ring_is_seen_twice_in_a_row(void **state) {
    (void)state;
    const size_t head = 4096;
    const size_t ring = 16384;
    os_shm shm;
    os_shm other;
    tape_error error;
    assert_int_equal(os_shm_create(disk, "ring", head, ring, &shm, &error), TAPE_OK);
    assert_int_equal(shm.size, head + 2 * ring);
    for (size_t i = 0; i < shm.size; i++) {
        assert_int_equal(shm.data[i], 0);
    }
    memcpy(shm.data + head + ring - 4, "wrapping", 8);
    assert_memory_equal(shm.data + head, "ping", 4);
    assert_memory_equal(shm.data + head + 2 * ring - 4, "wrap", 4);
    shm.data[head + ring + 100] = 'z';
    assert_int_equal(shm.data[head + 100], 'z');

    assert_int_equal(os_shm_open(disk, "ring", head, ring, false, &other, &error), TAPE_OK);
    assert_memory_equal(other.data + head + ring - 4, "wrapping", 8);
    shm.data[0] = 'h';
    assert_int_equal(other.data[0], 'h');
    os_shm_close(&other);
    assert_int_equal(os_shm_open(disk, "ring", head, 0, false, &other, &error), TAPE_OK);
    assert_int_equal(other.size, head);
    assert_int_equal(other.data[0], 'h');
    os_shm_close(&other);
    os_shm_close(&shm);
    os_shm_close(&shm);

    /* It survives whoever made it, until removed. */
    assert_int_equal(os_shm_open(disk, "ring", head, ring, true, &shm, &error), TAPE_OK);
    assert_int_equal(shm.data[0], 'h');
    assert_int_equal(os_shm_remove(disk, "ring", &error), TAPE_OK);
    assert_int_equal(shm.data[head + 100], 'z');
    os_shm_close(&shm);
    assert_int_equal(os_shm_open(disk, "ring", head, ring, true, &shm, &error), TAPE_NOT_FOUND);
    assert_int_equal(os_shm_remove(disk, "ring", &error), TAPE_NOT_FOUND);
}

static void shm_create_replaces_and_old_mappings_stay(void **state) {
    (void)state;
    os_shm old;
    os_shm young;
    tape_error error;
    assert_int_equal(os_shm_create(disk, "again", 4096, 4096, &old, &error), TAPE_OK);
    old.data[0] = 'o';
    assert_int_equal(os_shm_create(disk, "again", 4096, 8192, &young, &error), TAPE_OK);
    assert_int_equal(young.data[0], 0);
    assert_int_equal(old.data[0], 'o');
    os_shm_close(&old);
    assert_int_equal(os_shm_open(disk, "again", 4096, 16384, false, &old, &error), TAPE_CORRUPT);
    assert_int_equal(os_shm_open(disk, "again", 4096, 100, false, &old, &error), TAPE_INVALID);
    assert_int_equal(os_shm_open(disk, "again", 4096, SIZE_MAX - 4095, false, &old, &error),
                     TAPE_INVALID);
    os_shm_close(&young);
    assert_int_equal(os_shm_remove(disk, "again", &error), TAPE_OK);
}

static void shm_is_shared_between_processes_and_readers_cannot_write(void **state) {
    (void)state;
    os_shm shm;
    assert_int_equal(os_shm_create(disk, "pair", 4096, 4096, &shm, NULL), TAPE_OK);
    pid_t child = fork();
    if (child == 0) {
        os_shm mine;
        if (os_shm_open(disk, "pair", 4096, 4096, true, &mine, NULL) != TAPE_OK) {
            _exit(1);
        }
        mine.data[4096 + 4096 + 7] = 42; /* through the second view */
        _exit(0);
    }
    int result = -1;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    assert_int_equal(shm.data[4096 + 7], 42);

    child = fork();
    if (child == 0) {
        os_shm mine;
        (void)signal(SIGSEGV, SIG_DFL);
        if (os_shm_open(disk, "pair", 4096, 4096, false, &mine, NULL) != TAPE_OK) {
            _exit(1);
        }
        *(volatile uint8_t *)mine.data = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGSEGV);
    os_shm_close(&shm);
    assert_int_equal(os_shm_remove(disk, "pair", NULL), TAPE_OK);
}

static void shm_prefault_changes_nothing(void **state) {
    (void)state;
    os_shm shm;
    os_shm reader;
    assert_int_equal(os_shm_create(disk, "touch", 4096, 65536, &shm, NULL), TAPE_OK);
    for (size_t i = 0; i < 4096 + 65536; i++) {
        shm.data[i] = (uint8_t)(i * 7);
    }
    assert_int_equal(os_shm_open(disk, "touch", 4096, 65536, false, &reader, NULL), TAPE_OK);
    os_shm_prefault(&shm, 0, shm.size);
    os_shm_prefault(&shm, 4095, 2);
    os_shm_prefault(&shm, shm.size, 0);
    os_shm_prefault(&reader, 0, reader.size);
    for (size_t i = 0; i < 4096 + 65536; i++) {
        assert_int_equal(reader.data[i], (uint8_t)(i * 7));
    }
    os_shm_close(&reader);
    os_shm_close(&shm);
    assert_int_equal(os_shm_remove(disk, "touch", NULL), TAPE_OK);
}

static void shm_that_does_not_fit_is_refused_at_creation(void **state) {
    (void)state;
    struct statfs info;
    if (statfs("/dev/shm", &info) != 0 || info.f_type != TMPFS_MAGIC || info.f_blocks == 0) {
        skip();
    }
    assert_int_equal(setenv("TAPE_SHM_DIR", "/dev/shm", 1), 0);
    assert_string_equal(os_shm_dir(), "/dev/shm");
    uint64_t total = (uint64_t)info.f_blocks * (uint64_t)info.f_bsize;
    uint64_t free_bytes = 0;
    tape_error error;
    os_shm shm;
    assert_int_equal(os_shm_free_bytes(disk, &free_bytes, NULL), TAPE_OK);
    assert_true(free_bytes <= total);
    char name[64];
    char left[80];
    (void)snprintf(name, sizeof name, "tape-os-test-%d", (int)getpid());
    (void)snprintf(left, sizeof left, "/dev/shm/%s.new", name);
    tape_status status =
        os_shm_create(disk, name, 4096, ALIGN_UP(total, 4096) + 4096, &shm, &error);
    assert_int_equal(setenv("TAPE_SHM_DIR", root, 1), 0);
    assert_int_equal(status, TAPE_NO_SPACE);
    assert_null(shm.data);
    assert_int_equal(access(left, F_OK), -1);
}

static void shm_dir_that_is_absent_is_named(void **state) {
    (void)state;
    os_shm shm;
    tape_error error;
    assert_int_equal(setenv("TAPE_SHM_DIR", at("none"), 1), 0);
    tape_status status = os_shm_create(disk, "x", 4096, 4096, &shm, &error);
    assert_int_equal(unsetenv("TAPE_SHM_DIR"), 0);
    assert_string_equal(os_shm_dir(), "/dev/shm");
    assert_int_equal(setenv("TAPE_SHM_DIR", root, 1), 0);
    assert_int_equal(status, TAPE_NOT_FOUND);
    assert_non_null(strstr(error.text, at("none")));
}

/* --- boot id, random --- */

static void boot_id_is_the_kernels(void **state) {
    (void)state;
    uint8_t first[16];
    uint8_t second[16];
    assert_int_equal(os_boot_id(disk, first, NULL), TAPE_OK);
    assert_int_equal(os_boot_id(disk, second, NULL), TAPE_OK);
    assert_memory_equal(first, second, 16);
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
    char text[64] = {0};
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    (void)fclose(file);
    char mine[64];
    const uint8_t *b = first;
    (void)snprintf(mine, sizeof mine,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x\n", b[0],
                   b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                   b[14], b[15]);
    assert_string_equal(mine, text);
}

static void random_bytes_differ(void **state) {
    (void)state;
    uint8_t a[32] = {0};
    uint8_t b[32] = {0};
    os_random(a, sizeof a);
    os_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

/* --- threads --- */

typedef struct waiter {
    _Atomic uint32_t *word;
    char name[16];
    bool signals_blocked;
    bool woken;
} waiter;

static void wait_for_word(void *argument) {
    waiter *w = argument;
    sigset_t mask;
    (void)pthread_getname_np(pthread_self(), w->name, sizeof w->name);
    (void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
    w->signals_blocked = sigismember(&mask, SIGTERM) == 1 && sigismember(&mask, SIGSEGV) == 0;
    while (atomic_load(w->word) == 0) {
        os_futex_wait(w->word, 0, INT64_MAX);
    }
    w->woken = true;
}

static void futex_wakes_all_waiters_and_threads_have_names(void **state) {
    (void)state;
    _Atomic uint32_t word = 0;
    waiter waiters[3] = {{.word = &word}, {.word = &word}, {.word = &word}};
    os_thread *threads[3];
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(
            os_thread_start(&threads[i], "tape-waiter", -1, wait_for_word, &waiters[i], NULL),
            TAPE_OK);
    }
    os_sleep_ns(1000000);
    atomic_store(&word, 1);
    os_futex_wake(&word, INT_MAX);
    for (size_t i = 0; i < 3; i++) {
        os_thread_join(&threads[i]);
        assert_null(threads[i]);
        assert_true(waiters[i].woken);
        assert_string_equal(waiters[i].name, "tape-waiter");
        assert_true(waiters[i].signals_blocked);
    }
    os_thread_join(&threads[0]);
}

typedef struct lowered {
    int policy;
    int nice;
    int64_t worked_ns;
    int64_t slept_ns;
} lowered;

static void lower_and_work(void *argument) {
    lowered *l = argument;
    os_thread_lower(7);
    l->policy = sched_getscheduler(0);
    l->nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    int64_t begin = clock_thread_ns();
    while (clock_thread_ns() - begin < 1000000) {
    }
    l->worked_ns = clock_thread_ns() - begin;
    begin = clock_thread_ns();
    os_sleep_ns(20000000);
    l->slept_ns = clock_thread_ns() - begin;
}

static void lowered_thread_gives_way_and_others_do_not(void **state) {
    (void)state;
    lowered l = {0};
    os_thread *thread = NULL;
    int before = getpriority(PRIO_PROCESS, 0);
    assert_int_equal(os_thread_start(&thread, "lowered", -1, lower_and_work, &l, NULL), TAPE_OK);
    os_thread_join(&thread);
    assert_int_equal(l.policy, SCHED_BATCH);
    assert_true(l.nice == 7 || l.nice == before); /* as the system allows */
    assert_int_equal(getpriority(PRIO_PROCESS, 0), before);
    assert_int_equal(sched_getscheduler(0), SCHED_OTHER);
    assert_true(l.worked_ns >= 1000000);
    assert_true(l.slept_ns < 20000000); /* sleeping is not work */
}

static void futex_wait_ends_at_its_deadline(void **state) {
    (void)state;
    _Atomic uint32_t word = 5;
    int64_t begin = clock_monotonic_ns();
    int64_t deadline = clock_deadline_ns(3000000);
    while (clock_monotonic_ns() < deadline) {
        os_futex_wait(&word, 5, deadline);
    }
    assert_true(clock_monotonic_ns() - begin >= 3000000);
    os_futex_wait(&word, 4, INT64_MAX); /* another value: no wait */
    os_futex_wait(&word, 5, -1);        /* a deadline long past: no wait */
    begin = clock_monotonic_ns();
    os_sleep_ns(2000000);
    os_sleep_ns(-1);
    assert_true(clock_monotonic_ns() - begin >= 2000000);
}

static void note_cpu(void *argument) {
    *(int *)argument = sched_getcpu();
}

static void thread_runs_on_the_cpu_it_was_given(void **state) {
    (void)state;
    os_thread *thread = NULL;
    tape_error error;
    int cpu = -1;
    assert_true(os_cpu_count() >= 1);
    int here = sched_getcpu();
    assert_int_equal(os_thread_start(&thread, "pinned", here, note_cpu, &cpu, &error), TAPE_OK);
    os_thread_join(&thread);
    assert_int_equal(cpu, here);
    assert_int_equal(os_thread_start(&thread, "pinned", 100000, note_cpu, &cpu, &error),
                     TAPE_INVALID);
    assert_null(thread);
    assert_non_null(strstr(error.text, "100000"));
    assert_int_equal(os_thread_start(&thread, "pinned", 1000, note_cpu, &cpu, &error),
                     TAPE_INVALID);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(file_reads_back_what_was_written),
        cmocka_unit_test(file_open_errors_name_the_file_and_the_reason),
        cmocka_unit_test(file_without_permission_is_refused_with_advice),
        cmocka_unit_test(file_offsets_beyond_what_files_have_are_refused),
        cmocka_unit_test(file_opened_dsync_or_direct_takes_writes),
        cmocka_unit_test(direct_io_where_there_is_none_is_invalid),
        cmocka_unit_test(map_outlives_close_and_removal),
        cmocka_unit_test(dir_list_is_in_byte_order),
        cmocka_unit_test(dir_operations_report_their_errors),
        cmocka_unit_test(small_file_is_replaced_whole_and_leaves_nothing_else),
        cmocka_unit_test(adopted_file_has_its_place_and_leaves_the_other),
        cmocka_unit_test(lock_excludes_another_process_and_names_it),
        cmocka_unit_test(lock_excludes_its_own_process_until_released),
        cmocka_unit_test(shm_ring_is_seen_twice_in_a_row),
        cmocka_unit_test(shm_create_replaces_and_old_mappings_stay),
        cmocka_unit_test(shm_is_shared_between_processes_and_readers_cannot_write),
        cmocka_unit_test(shm_prefault_changes_nothing),
        cmocka_unit_test(shm_that_does_not_fit_is_refused_at_creation),
        cmocka_unit_test(shm_dir_that_is_absent_is_named),
        cmocka_unit_test(boot_id_is_the_kernels),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(futex_wakes_all_waiters_and_threads_have_names),
        cmocka_unit_test(lowered_thread_gives_way_and_others_do_not),
        cmocka_unit_test(futex_wait_ends_at_its_deadline),
        cmocka_unit_test(thread_runs_on_the_cpu_it_was_given),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
