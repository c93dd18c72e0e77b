/* What the measuring programs share: see bench.h. */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 128
#define PATHS_MAX 64
/* A store is at rest when nothing was written for so long; one that does not come to rest fails. It
 * takes itself for idle after 10 s, and looks every 5. */
#define REST_QUIET_NS (BENCH_SECOND_NS / 2)
#define IDLE_QUIET_NS (16 * BENCH_SECOND_NS)
#define REST_NS_MAX (900 * BENCH_SECOND_NS)

static char work_dir[512];

/* --- failures --- */

void bench_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)fputs("bench: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1); /* removes the temporary directory */
}

void bench_check(tape_status status, const tape_error *error) {
    if (status != TAPE_OK) {
        bench_fail("%s: %s", tape_status_name(status), error->text);
    }
}

void bench_say(const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

void *bench_alloc(size_t size_bytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, size_bytes) != 0) {
        bench_fail("no memory for %zu bytes", size_bytes);
    }
    memset(memory, 0, size_bytes);
    return memory;
}

/* --- time --- */

static int64_t clock_ns(clockid_t id) {
    struct timespec now;
    (void)clock_gettime(id, &now);
    return (int64_t)now.tv_sec * BENCH_SECOND_NS + now.tv_nsec;
}

int64_t bench_now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

void bench_sleep_ns(int64_t duration_ns) {
    struct timespec pause = {duration_ns / BENCH_SECOND_NS, duration_ns % BENCH_SECOND_NS};
    while (nanosleep(&pause, &pause) != 0 && errno == EINTR) {
    }
}

double bench_ns_per_tick(void) {
    static double cached;
    if (cached == 0) {
        int64_t start_ns = bench_now_ns();
        uint64_t start = bench_ticks();
        while (bench_now_ns() - start_ns < BENCH_SECOND_NS / 20) {
        }
        cached = (double)(bench_now_ns() - start_ns) / (double)(bench_ticks() - start);
    }
    return cached;
}

double bench_clock_step_ns(void) {
    uint64_t step = UINT64_MAX;
    uint64_t last = bench_ticks();
    for (int i = 0; i < 100000; i++) {
        uint64_t now = bench_ticks();
        step = now != last && now - last < step ? now - last : step;
        last = now;
    }
    return (double)step * bench_ns_per_tick();
}

static double fence_ticks(void) {
    static double cached = -1;
    for (int round = 0; round < 100 && cached < 0; round++) {
        uint64_t start = bench_ticks();
        for (int i = 0; i < 4096; i++) {
            bench_fence();
        }
        double each = (double)(bench_ticks() - start) / 4096;
        cached = round == 99 ? each : cached; /* the others warm up */
    }
    return cached;
}

uint64_t bench_timer_ticks(void) {
    static uint64_t cached = UINT64_MAX;
    for (int i = 0; cached == UINT64_MAX || i < 10000; i++) {
        uint64_t start = bench_ticks();
        uint64_t elapsed = bench_ticks() - start;
        cached = elapsed < cached ? elapsed : cached;
    }
    return cached;
}

uint64_t bench_group_overhead(uint32_t group, bool fenced) {
    return bench_timer_ticks() + (fenced ? (uint64_t)(fence_ticks() * group + 0.5) : 0);
}

int64_t bench_process_cpu_ns(void) {
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

int64_t bench_thread_cpu_ns(void) {
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* --- histograms --- */

bench_histogram *bench_histogram_create(double ns_per_unit) {
    bench_histogram *h = bench_alloc(sizeof *h);
    h->ns_per_unit = ns_per_unit;
    return h;
}

void bench_histogram_reset(bench_histogram *h) {
    double ns_per_unit = h->ns_per_unit;
    memset(h, 0, sizeof *h);
    h->ns_per_unit = ns_per_unit;
}

void bench_histogram_merge(bench_histogram *to, const bench_histogram *from) {
    for (size_t i = 0; i < BENCH_BUCKETS; i++) {
        to->buckets[i] += from->buckets[i];
    }
    to->count += from->count;
    to->max = from->max > to->max ? from->max : to->max;
}

/* The middle of a bucket. */
static double bucket_value(size_t at) {
    size_t shift = at >> BENCH_STEP_BITS;
    size_t step = at & ((1u << BENCH_STEP_BITS) - 1);
    if (shift == 0) {
        return (double)step;
    }
    double width = (double)(UINT64_C(1) << (shift - 1));
    return ((double)(step + (1u << BENCH_STEP_BITS)) + 0.5) * width - 0.5;
}

double bench_quantile(const bench_histogram *h, double q) {
    if (h->count == 0) {
        return 0;
    }
    double wanted = q * (double)h->count;
    uint64_t seen = 0;
    for (size_t i = 0; i < BENCH_BUCKETS; i++) {
        seen += h->buckets[i];
        if (h->buckets[i] > 0 && (double)seen >= wanted) {
            double value = bucket_value(i);
            return (value < (double)h->max ? value : (double)h->max) * h->ns_per_unit;
        }
    }
    return (double)h->max * h->ns_per_unit;
}

/* --- series --- */

void bench_push(bench_series *s, double value) {
    BENCH_CHECK(s->count < BENCH_ROUNDS_MAX);
    s->values[s->count++] = value;
}

static int compare_double(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_series_quantile(const bench_series *s, double q) {
    if (s->count == 0) {
        return 0;
    }
    double sorted[BENCH_ROUNDS_MAX];
    memcpy(sorted, s->values, s->count * sizeof *sorted);
    qsort(sorted, s->count, sizeof *sorted, compare_double);
    double at = q * (double)(s->count - 1);
    size_t below = (size_t)at;
    size_t above = below + 1 < s->count ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

double bench_median(const bench_series *s) {
    return bench_series_quantile(s, 0.5);
}

/* --- settings --- */

uint64_t bench_scaled(uint64_t count, uint64_t least) {
    const char *text = getenv("BENCH_SCALE");
    double scale = text == NULL ? 1 : strtod(text, NULL);
    uint64_t scaled = (uint64_t)((double)count * scale);
    return scaled > least ? scaled : least;
}

bool bench_long(void) {
    const char *text = getenv("BENCH_LONG");
    return text != NULL && strcmp(text, "1") == 0;
}

/* --- threads --- */

typedef struct crew {
    bench_worker worker;
    void *context;
    pthread_barrier_t start;
} crew;

typedef struct crew_member {
    crew *of;
    int thread;
    int64_t end_ns;
} crew_member;

static void *crew_run(void *argument) {
    crew_member *member = argument;
    (void)pthread_barrier_wait(&member->of->start);
    member->of->worker(member->of->context, member->thread);
    member->end_ns = bench_now_ns();
    return NULL;
}

int64_t bench_parallel(int threads, bench_worker worker, void *context) {
    static crew_member members[THREADS_MAX];
    pthread_t ids[THREADS_MAX];
    crew c = {.worker = worker, .context = context};
    BENCH_CHECK(threads > 0 && threads <= THREADS_MAX);
    (void)pthread_barrier_init(&c.start, NULL, (unsigned)threads + 1);
    for (int i = 0; i < threads; i++) {
        members[i] = (crew_member){.of = &c, .thread = i};
        if (pthread_create(&ids[i], NULL, crew_run, &members[i]) != 0) {
            bench_fail("a thread could not be started");
        }
    }
    int64_t start_ns = bench_now_ns(); /* before the wait: no thread can start earlier */
    (void)pthread_barrier_wait(&c.start);
    int64_t end_ns = 0;
    for (int i = 0; i < threads; i++) {
        (void)pthread_join(ids[i], NULL);
        end_ns = members[i].end_ns > end_ns ? members[i].end_ns : end_ns;
    }
    (void)pthread_barrier_destroy(&c.start);
    return end_ns - start_ns;
}

/* --- cores --- */

#define CPUS_MAX 256
#define IRQ_LINE_BYTES 8192
#define IRQ_SYNCS 200

void bench_bind(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < CPUS_MAX; i++) {
        if (cpu < 0 || i == cpu) {
            CPU_SET((size_t)i, &set);
        }
    }
    if (sched_setaffinity(0, sizeof set, &set) != 0) {
        bench_fail("a thread could not be bound to core %d: %s", cpu, strerror(errno));
    }
}

/* Interrupts of devices so far, per core. */
static void interrupts_read(uint64_t *counts, int cpus) {
    char line[IRQ_LINE_BYTES];
    FILE *file = fopen("/proc/interrupts", "r");
    memset(counts, 0, CPUS_MAX * sizeof *counts);
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *at = NULL;
        (void)strtoul(line, &at, 10);
        if (at == line || *at != ':') {
            continue; /* not a device: those have numbers */
        }
        at++;
        for (int i = 0; i < cpus; i++) {
            counts[i] += strtoull(at, &at, 10);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

int bench_quiet_cpu(void) {
    uint64_t before[CPUS_MAX];
    uint64_t after[CPUS_MAX];
    int cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t allowed;
    BENCH_CHECK(sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    if (CPU_COUNT(&allowed) < 2 || cpus > CPUS_MAX) {
        return -1;
    }
    int fd = open(bench_path("interrupts"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    BENCH_CHECK(fd >= 0);
    interrupts_read(before, cpus);
    for (int i = 0; i < IRQ_SYNCS; i++) {
        BENCH_CHECK(pwrite(fd, "x", 1, i) == 1 && fdatasync(fd) == 0);
    }
    interrupts_read(after, cpus);
    (void)close(fd);
    int best = -1;
    for (int i = 0; i < cpus; i++) {
        bool fewer = best < 0 || after[i] - before[i] < after[best] - before[best];
        if (CPU_ISSET((size_t)i, &allowed) && fewer) {
            best = i;
        }
    }
    return best;
}

/* --- files --- */

static int remove_visit(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

void bench_remove(const char *path) {
    (void)nftw(path, remove_visit, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_work_dir(void) {
    bench_remove(work_dir);
}

static void work_dir_make(void) {
    if (work_dir[0] != '\0') {
        return;
    }
    const char *parent = getenv("TMPDIR");
    (void)snprintf(work_dir, sizeof work_dir, "%s/tape-bench-XXXXXX",
                   parent == NULL || parent[0] == '\0' ? "/tmp" : parent);
    if (mkdtemp(work_dir) == NULL) {
        bench_fail("no directory could be made as %s: set TMPDIR", work_dir);
    }
    (void)atexit(remove_work_dir);
}

const char *bench_path(const char *name) {
    static char paths[PATHS_MAX][640];
    static size_t used;
    work_dir_make();
    char *path = paths[used++ % PATHS_MAX];
    (void)snprintf(path, sizeof paths[0], "%s/%s", work_dir, name);
    return path;
}

uint64_t bench_free_bytes(void) {
    struct statvfs fs;
    work_dir_make();
    if (statvfs(work_dir, &fs) != 0) {
        bench_fail("%s cannot be examined", work_dir);
    }
    return (uint64_t)fs.f_bavail * fs.f_frsize;
}

static int forget_visit(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)ftw;
    if (type == FTW_F) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            (void)fdatasync(fd); /* pages that are not on disk cannot be forgotten */
            (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
            (void)close(fd);
        }
    }
    return 0;
}

void bench_forget(const char *dir) {
    (void)nftw(dir, forget_visit, 16, FTW_PHYS);
}

uint64_t bench_disk_bytes(const char *dir, const char *suffix) {
    DIR *listing = opendir(dir);
    uint64_t bytes = 0;
    size_t suffix_length = strlen(suffix);
    const struct dirent *entry;
    while (listing != NULL && (entry = readdir(listing)) != NULL) {
        struct stat st;
        size_t length = strlen(entry->d_name);
        if (length >= suffix_length &&
            strcmp(entry->d_name + length - suffix_length, suffix) == 0 &&
            fstatat(dirfd(listing), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode)) {
            bytes += (uint64_t)st.st_blocks * 512;
        }
    }
    if (listing != NULL) {
        (void)closedir(listing);
    }
    return bytes;
}

/* --- stores --- */

tape *bench_store_open(const char *name, const tape_open_options *options) {
    tape_error error;
    tape *db = NULL;
    const char *path = bench_path(name);
    bench_check(tape_create(path, NULL, &error), &error);
    bench_check(tape_open(path, options, &db, &error), &error);
    return db;
}

tape_stats bench_store_stats(tape *db) {
    tape_error error;
    tape_stats stats = {.size_bytes = sizeof stats};
    bench_check(tape_stats_read(db, false, &stats, &error), &error);
    return stats;
}

void bench_store_applied(tape *db) {
    uint64_t written = bench_store_stats(db).written;
    while (bench_store_stats(db).applied < written) {
        bench_sleep_ns(BENCH_SECOND_NS / 5000);
    }
}

void bench_store_settle(tape *db) {
    for (;;) {
        tape_stats stats = bench_store_stats(db);
        if (stats.durable == stats.written && stats.applied >= stats.written) {
            break;
        }
        bench_sleep_ns(BENCH_SECOND_NS / 1000);
    }
    bench_sleep_ns(BENCH_SECOND_NS / 50); /* the last commit, and memtables on their way out */
}

static uint64_t store_work(const tape_stats *stats) {
    return stats->flush_written_bytes + stats->compact_written_bytes + stats->compactions +
           stats->compact_moves;
}

static void store_quiet(tape *db, int64_t quiet_ns) {
    bench_store_settle(db);
    int64_t deadline_ns = bench_now_ns() + REST_NS_MAX;
    int64_t quiet_since_ns = bench_now_ns();
    uint64_t work = 0;
    while (bench_now_ns() - quiet_since_ns < quiet_ns) {
        tape_stats stats = bench_store_stats(db);
        if (store_work(&stats) != work || stats.compaction_score >= 1) {
            work = store_work(&stats);
            quiet_since_ns = bench_now_ns();
        }
        if (bench_now_ns() > deadline_ns) {
            bench_fail("the store does not come to rest: compaction score %.2f",
                       stats.compaction_score);
        }
        bench_sleep_ns(BENCH_SECOND_NS / 100);
    }
}

void bench_store_rest(tape *db) {
    store_quiet(db, REST_QUIET_NS);
}

void bench_store_idle(tape *db) {
    store_quiet(db, IDLE_QUIET_NS);
}

void bench_store_close(tape **db, const char *name) {
    tape_error error;
    bench_check(tape_close(db, &error), &error);
    bench_remove(bench_path(name));
}

bench_ticks_set *bench_ticks_create(uint64_t seed) {
    bench_ticks_set *set = bench_alloc(sizeof *set);
    for (size_t i = 0; i < BENCH_TICKS_DISTINCT; i++) {
        uint64_t r = bench_random(&seed);
        double price = 3900 + (double)(r % 1000) * 0.2;
        tape_tick *tick = &set->ticks[i];
        *tick = (tape_tick){
            .ts = INT64_C(1700000000000000000) + (int64_t)i,
            .last_price = price,
            .volume = (double)(r >> 32 & 63) + 1,
            .turnover = price * 300,
            .open_interest = 120000,
            .bid_price = price - 0.2,
            .bid_volume = (double)(r >> 40 & 63) + 1,
            .ask_price = price + 0.2,
            .ask_volume = (double)(r >> 48 & 63) + 1,
        };
        (void)snprintf(tick->instrument_id, sizeof tick->instrument_id, "IF%04u",
                       (unsigned)(r >> 16) % 100);
        set->records[i] = (tape_record)TAPE_RECORD(TICKS, tick);
    }
    return set;
}

/* --- results: JSON lines on stdout --- */

static void print_text(const char *name, const char *text) {
    (void)printf(",\"%s\":", name);
    if (text == NULL) {
        (void)printf("null");
        return;
    }
    (void)putchar('"');
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            (void)putchar('\\');
        }
        (void)putchar(*text);
    }
    (void)putchar('"');
}

static void print_series(const char *name, const bench_series *s) {
    if (s == NULL || s->count == 0) {
        (void)printf(",\"%s\":null", name);
        return;
    }
    (void)printf(",\"%s\":{\"median\":%.6g,\"q1\":%.6g,\"q3\":%.6g,\"min\":%.6g,\"max\":%.6g,"
                 "\"rounds\":%zu}",
                 name, bench_median(s), bench_series_quantile(s, 0.25),
                 bench_series_quantile(s, 0.75), bench_series_quantile(s, 0),
                 bench_series_quantile(s, 1), s->count);
}

static void print_spread(const char *name, const bench_histogram *h) {
    if (h == NULL || h->count == 0) {
        (void)printf(",\"%s\":null", name);
        return;
    }
    (void)printf(",\"%s\":{\"count\":%llu,\"p50\":%.6g,\"p99\":%.6g,\"p99.9\":%.6g,"
                 "\"p99.99\":%.6g,\"max\":%.6g}",
                 name, (unsigned long long)h->count, bench_quantile(h, 0.5),
                 bench_quantile(h, 0.99), bench_quantile(h, 0.999), bench_quantile(h, 0.9999),
                 (double)h->max * h->ns_per_unit);
}

void bench_print(const bench_row *row) {
    bench_series ratio = {0};
    if (row->ratio != BENCH_NO_RATIO) {
        BENCH_CHECK(row->tape->count == row->beside->count);
        for (size_t i = 0; i < row->tape->count; i++) {
            double t = row->tape->values[i];
            double p = row->beside->values[i];
            bench_push(&ratio, row->ratio == BENCH_TAPE_BY_PEER ? t / p : p / t);
        }
    }
    double figure = bench_median(row->ratio == BENCH_NO_RATIO ? row->tape : &ratio);
    bool reached = row->goal == BENCH_AT_MOST ? figure <= row->target : figure >= row->target;
    (void)printf("{\"row\":\"%s\"", row->row);
    print_text("metric", row->metric);
    print_text("peer", row->peer);
    (void)printf(",\"settings\":{\"program\":\"%s\"", program_invocation_short_name);
    print_text("tape", row->tape_settings);
    print_text("peer", row->peer_settings);
    (void)printf("},\"threads\":%d,\"batch\":%d", row->threads, row->batch);
    print_text("unit", row->unit);
    print_series("tape", row->tape);
    print_series("beside", row->beside);
    print_series("ratio", &ratio);
    print_text("ratio_of", row->ratio == BENCH_NO_RATIO       ? NULL
                           : row->ratio == BENCH_TAPE_BY_PEER ? "tape / peer"
                                                              : "peer / tape");
    if (row->goal == BENCH_NO_GOAL) {
        (void)printf(",\"goal\":null,\"target\":null,\"reached\":null");
    } else {
        (void)printf(",\"goal\":\"%s\",\"target\":%.6g,\"reached\":%s",
                     row->goal == BENCH_AT_MOST ? "<=" : ">=", row->target,
                     reached ? "true" : "false");
    }
    print_text("explains", row->explains);
    print_spread("tape_spread_ns", row->tape_spread);
    print_spread("peer_spread_ns", row->peer_spread);
    (void)printf("}\n");
    (void)fflush(stdout);
}

void bench_print_fact(const char *name, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)printf("{\"fact\":\"%s\"", name);
    print_text("value", text);
    (void)printf("}\n");
    (void)fflush(stdout);
}
