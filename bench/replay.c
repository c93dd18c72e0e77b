/* Replay: every record of a journal, read by a reader that was opened by directory, as any process
 * may open one. Hot (in the page cache) beside memcpy of the same bytes; cold beside reading the
 * same files one after the other. The records are checked (checksums) and handed out in runs of
 * 1024; each one's first field is looked at. */
#include "peers.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORDS 10000000u
#define BATCH 1000u
#define RUN 1024u
#define READ_BYTES BENCH_MIB(1)
#define HOT_ROUNDS 5
#define COLD_ROUNDS 3
#define FILES_MAX 4096

typedef struct journal_files {
    char *paths[FILES_MAX];
    uint64_t sizes[FILES_MAX];
    size_t count;
    uint64_t bytes;
} journal_files;

static int compare_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void files_list(const char *dir, journal_files *files) {
    DIR *d = opendir(dir);
    BENCH_CHECK(d != NULL);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char path[2048];
        (void)snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        struct stat st;
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && files->count < FILES_MAX) {
            files->paths[files->count++] = strdup(path);
        }
    }
    (void)closedir(d);
    qsort(files->paths, files->count, sizeof *files->paths, compare_text);
}

/* As much of each file as holds records: the journal is `bytes` long. */
static void files_limit(journal_files *files, uint64_t bytes) {
    size_t kept = 0;
    for (size_t i = 0; i < files->count; i++) {
        struct stat st;
        BENCH_CHECK(stat(files->paths[i], &st) == 0);
        uint64_t size = (uint64_t)st.st_size;
        size = size < bytes - files->bytes ? size : bytes - files->bytes;
        if (size > 0) {
            files->paths[kept] = files->paths[i];
            files->sizes[kept++] = size;
            files->bytes += size;
        }
    }
    files->count = kept;
}

static void fill(tape *db, uint64_t records) {
    bench_ticks_set *ticks = bench_ticks_create(1);
    tape_error error;
    for (uint64_t i = 0; i < records; i += BATCH) {
        bench_check(tape_append(db, &ticks->records[i % 3 * BATCH], BATCH, NULL, NULL, &error),
                    &error);
    }
    free(ticks);
    bench_store_settle(db);
}

/* Seconds. */
static double replay(const char *dir, uint64_t records) {
    tape_error error;
    tape_reader *reader = NULL;
    tape_reader_options options;
    tape_reader_options_init(&options);
    options.from_seq = 1;
    int64_t start_ns = bench_now_ns();
    bench_check(tape_reader_open(dir, &options, &reader, &error), &error);
    static tape_reader_record out[RUN];
    uint64_t seen = 0;
    uint64_t sum = 0;
    while (seen < records) {
        size_t count = 0;
        bench_check(tape_reader_poll(reader, out, RUN, 0, &count, &error), &error);
        for (size_t i = 0; i < count; i++) {
            sum += *(const uint64_t *)out[i].record;
        }
        seen += count;
        BENCH_CHECK(count > 0);
    }
    double seconds = (double)(bench_now_ns() - start_ns) / 1e9;
    BENCH_CHECK(sum == records * (records + 1) / 2); /* every seq once */
    tape_reader_close(&reader);
    return seconds;
}

static double read_all(const journal_files *files, uint8_t *to) {
    int64_t start_ns = bench_now_ns();
    for (size_t i = 0; i < files->count; i++) {
        int fd = open(files->paths[i], O_RDONLY | O_CLOEXEC);
        BENCH_CHECK(fd >= 0);
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        uint64_t left = files->sizes[i];
        while (left > 0) {
            ssize_t got = read(fd, to, left < READ_BYTES ? left : READ_BYTES);
            BENCH_CHECK(got > 0);
            left -= (uint64_t)got;
        }
        (void)close(fd);
    }
    return (double)(bench_now_ns() - start_ns) / 1e9;
}

/* From the page cache, mapped and touched before, to one buffer that stays in the caches. */
static double copy_all(const journal_files *files, uint8_t *const *maps, uint8_t *to) {
    int64_t start_ns = bench_now_ns();
    for (size_t i = 0; i < files->count; i++) {
        for (uint64_t at = 0; at < files->sizes[i]; at += READ_BYTES) {
            uint64_t left = files->sizes[i] - at;
            memcpy(to, maps[i] + at, left < READ_BYTES ? left : READ_BYTES);
            __asm__ __volatile__("" ::"r"(to) : "memory");
        }
    }
    return (double)(bench_now_ns() - start_ns) / 1e9;
}

static void print_row(const char *name, const char *metric, const char *peer, const char *settings,
                      const bench_series *ours, const bench_series *beside, bench_goal goal,
                      double target) {
    bench_row row = {
        .threads = 1,
        .batch = RUN,
        .unit = "GB/s",
        .row = name,
        .metric = metric,
        .peer = peer,
        .peer_settings = settings,
        .tape = ours,
        .beside = beside,
        .ratio = BENCH_TAPE_BY_PEER,
        .goal = goal,
        .target = target,
        .explains = "ticks, 128 B each in the journal",
    };
    bench_print(&row);
}

int main(void) {
    uint64_t records = bench_scaled(RECORDS, 200000) / BATCH * BATCH;
    tape *db = bench_store_open("replay.tape", NULL);
    const char *dir = bench_path("replay.tape");
    fill(db, records);
    tape_error error;
    bench_check(tape_close(&db, &error), &error);
    journal_files files = {0};
    char journal_dir[1024];
    (void)snprintf(journal_dir, sizeof journal_dir, "%s/journal", dir);
    files_list(journal_dir, &files);
    files_limit(&files, records * 128);
    uint8_t *buffer = bench_alloc(READ_BYTES);
    double gigabytes = (double)records * 128 / 1e9;

    bench_series hot_tape = {0};
    bench_series hot_read = {0};
    bench_series hot_copy = {0};
    bench_series hot_rate = {0};
    uint8_t **maps = bench_alloc(files.count * sizeof *maps);
    for (size_t i = 0; i < files.count; i++) {
        int fd = open(files.paths[i], O_RDONLY | O_CLOEXEC);
        BENCH_CHECK(fd >= 0);
        maps[i] = mmap(NULL, files.sizes[i], PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        BENCH_CHECK(maps[i] != MAP_FAILED);
        (void)close(fd);
    }
    for (int round = -1; round < HOT_ROUNDS; round++) {
        double t = replay(dir, records);
        double r = read_all(&files, buffer);
        double c = copy_all(&files, maps, buffer);
        if (round >= 0) {
            bench_push(&hot_tape, gigabytes / t);
            bench_push(&hot_rate, (double)records / t);
            bench_push(&hot_read, (double)files.bytes / 1e9 / r);
            bench_push(&hot_copy, (double)files.bytes / 1e9 / c);
        }
    }
    for (size_t i = 0; i < files.count; i++) {
        (void)munmap(maps[i], files.sizes[i]);
    }
    bench_series cold_tape = {0};
    bench_series cold_read = {0};
    for (int round = 0; round < COLD_ROUNDS; round++) {
        bench_forget(dir);
        bench_push(&cold_tape, gigabytes / replay(dir, records));
        bench_forget(dir);
        bench_push(&cold_read, (double)files.bytes / 1e9 / read_all(&files, buffer));
    }
    print_row("replay_hot_memcpy", "replay, hot", "memcpy",
              "of the journal's bytes, mapped and present, 1 MiB at a time", &hot_tape, &hot_copy,
              BENCH_AT_LEAST, 0.5);
    print_row("replay_hot_read", "replay, hot", "sequential read",
              "read(2) of 1 MiB at a time, in the page cache", &hot_tape, &hot_read, BENCH_NO_GOAL,
              0);
    print_row("replay_cold_read", "replay, cold", "sequential read",
              "read(2) of 1 MiB at a time, POSIX_FADV_SEQUENTIAL, pages forgotten before",
              &cold_tape, &cold_read, BENCH_AT_LEAST, 0.9);
    bench_row row = {
        .threads = 1,
        .batch = RUN,
        .unit = "records/s",
        .row = "replay_rate",
        .metric = "replay, hot",
        .tape = &hot_rate,
    };
    bench_print(&row);
    bench_remove(dir);
    return 0;
}
