/* bench: what the measuring programs share. Times, histograms, rounds, temporary stores, results.
 *
 * Each program measures some rows of the table. It sets up tape and its peers side by side, runs
 * them in turn (A B A B ...) so that both meet the same moods of the machine, and prints one JSON
 * line per row; bench/run makes the table. A ratio is taken per round; what is reported is the
 * median of the rounds' ratios with its quartiles.
 *
 * Environment: TMPDIR (where stores are made), BENCH_SCALE (1; 0.1 runs a tenth of the operations,
 * for trying the programs out), BENCH_LONG=1, BENCH_ROWS. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <tape/reader.h>
#include <tape/tape.h>

#define BENCH_KIB(n) ((uint64_t)(n) << 10)
#define BENCH_MIB(n) ((uint64_t)(n) << 20)
#define BENCH_GIB(n) ((uint64_t)(n) << 30)
#define BENCH_SECOND_NS INT64_C(1000000000)
#define BENCH_INLINE static inline __attribute__((always_inline))
#define BENCH_COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* --- what may not go wrong: any failure ends the program, so no figure comes from a broken run ---
 */
_Noreturn void bench_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define BENCH_CHECK(condition)                                                                     \
    ((condition) ? (void)0 : bench_fail("%s:%d: %s does not hold", __FILE__, __LINE__, #condition))
void bench_check(tape_status status, const tape_error *error);
/* A line on stderr. */
void bench_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
void *bench_alloc(size_t size_bytes); /* zeroed, page-touched; never NULL */

/* --- time --- */
int64_t bench_now_ns(void); /* monotonic */
void bench_sleep_ns(int64_t duration_ns);
/* The processor's clock, read after everything before it is done. */
static inline uint64_t bench_ticks(void) {
#if defined(__x86_64__)
    __builtin_ia32_lfence();
    return __builtin_ia32_rdtsc();
#else
    return (uint64_t)bench_now_ns();
#endif
}
/* Ends the overlap of what stands before with what comes after. */
static inline void bench_fence(void) {
#if defined(__x86_64__)
    __builtin_ia32_lfence();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb" ::: "memory");
#endif
}
double bench_ns_per_tick(void);
double bench_clock_step_ns(void); /* the smallest difference the clock shows */
/* What two readings with nothing between them differ by; taken off every single measurement. */
uint64_t bench_timer_ticks(void);
/* The same for a group of operations with a fence after each. */
uint64_t bench_group_overhead(uint32_t group, bool fenced);
static inline uint64_t bench_elapsed(uint64_t start, uint64_t timer) {
    uint64_t elapsed = bench_ticks() - start;
    return elapsed > timer ? elapsed - timer : 0;
}

/* --- histograms: log-linear, 128 steps per power of two (0.8 %), of ticks or of ns --- */
#define BENCH_STEP_BITS 7
#define BENCH_BUCKETS ((64 - BENCH_STEP_BITS + 1) << BENCH_STEP_BITS)
typedef struct bench_histogram {
    double ns_per_unit;
    uint64_t count;
    uint64_t max;
    uint64_t buckets[BENCH_BUCKETS];
} bench_histogram;
bench_histogram *bench_histogram_create(double ns_per_unit);
void bench_histogram_reset(bench_histogram *h);
void bench_histogram_merge(bench_histogram *to, const bench_histogram *from);
/* In ns. `q` 0.99 is p99: at least that share of the values is not larger. 0 when empty. */
double bench_quantile(const bench_histogram *h, double q);
static inline void bench_add(bench_histogram *h, uint64_t value) {
    unsigned shift = 0;
    if (value >= (1u << BENCH_STEP_BITS)) {
        shift = 63u - (unsigned)__builtin_clzll(value) - BENCH_STEP_BITS + 1;
    }
    /* For shift > 0 the top bit of value >> (shift - 1) is always set and stands for the power. */
    uint64_t at = shift == 0 ? value
                             : ((uint64_t)shift << BENCH_STEP_BITS) +
                                   ((value >> (shift - 1)) - (1u << BENCH_STEP_BITS));
    h->buckets[at]++;
    h->count++;
    h->max = value > h->max ? value : h->max;
}

/* --- a value per round --- */
#define BENCH_ROUNDS_MAX 64
typedef struct bench_series {
    double values[BENCH_ROUNDS_MAX];
    size_t count;
} bench_series;
void bench_push(bench_series *s, double value);
double bench_median(const bench_series *s);
double bench_series_quantile(const bench_series *s, double q);

/* --- numbers that are the same in every run --- */
static inline uint64_t bench_random(uint64_t *state) {
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
/* `count` times BENCH_SCALE, at least `least`. */
uint64_t bench_scaled(uint64_t count, uint64_t least);
bool bench_long(void);

/* --- threads --- */
typedef void (*bench_worker)(void *context, int thread);
/* Runs `worker` on that many threads, which start together; returns the ns from the start to the
 * end of the last one. */
int64_t bench_parallel(int threads, bench_worker worker, void *context);
/* Of the cores this process may use, the one that takes the fewest of the disk's interrupts, found
 * by writing and syncing for a moment; -1 when there is only one core. */
int bench_quiet_cpu(void);
/* Binds the calling thread; -1: to no core. */
void bench_bind(int cpu);
int64_t bench_process_cpu_ns(void);
int64_t bench_thread_cpu_ns(void);

/* --- files --- */
/* A path for `name` in a directory that is removed when the program ends. */
const char *bench_path(const char *name);
void bench_remove(const char *path); /* with all that is in it; absent is fine */
uint64_t bench_free_bytes(void);     /* on the file system of bench_path */
/* Makes the kernel forget the pages of every file in `dir` that are on disk. */
void bench_forget(const char *dir);
/* What the files of `dir` whose names end so ("": all) take on disk. 0 when there is no such
 * directory. Files may come and go meanwhile. */
uint64_t bench_disk_bytes(const char *dir, const char *suffix);

/* --- stores --- */
/* Makes and opens a store; `options` NULL: defaults. */
tape *bench_store_open(const char *name, const tape_open_options *options);
tape_stats bench_store_stats(tape *db);
/* Waits until every record appended so far is visible to gets. */
void bench_store_applied(tape *db);
/* Waits until all is durable and applied. */
void bench_store_settle(tape *db);
/* Waits until no compaction is wanted or running. */
void bench_store_rest(tape *db);
/* Waits on until the store has also done what it leaves for idle times. */
void bench_store_idle(tape *db);
void bench_store_close(tape **db, const char *name); /* and removes it */

/* --- ticks: 96 B of struct, 128 B in the journal --- */
#define BENCH_TICKS_DISTINCT 4096u
typedef struct bench_ticks_set {
    tape_tick ticks[BENCH_TICKS_DISTINCT];
    tape_record records[BENCH_TICKS_DISTINCT];
} bench_ticks_set;
bench_ticks_set *bench_ticks_create(uint64_t seed);

/* --- results --- */
typedef enum bench_ratio { BENCH_NO_RATIO, BENCH_TAPE_BY_PEER, BENCH_PEER_BY_TAPE } bench_ratio;
typedef enum bench_goal { BENCH_NO_GOAL, BENCH_AT_MOST, BENCH_AT_LEAST } bench_goal;
typedef struct bench_row {
    const char *row;           /* a name that does not change: the key of bench/notes.json */
    const char *metric;        /* for the reader of the table */
    const char *peer;          /* the peer or limit; NULL: none */
    const char *tape_settings; /* NULL: defaults */
    const char *peer_settings;
    int threads; /* that the caller runs */
    int batch;   /* records per call */
    const char *unit;
    const bench_series *tape; /* a value per round */
    const bench_series *beside;
    bench_ratio ratio;
    bench_goal goal;
    double target;                      /* of the ratio, or of tape's value where there is none */
    const char *explains;               /* NULL, or how a figure is to be understood */
    const bench_histogram *tape_spread; /* all rounds together; may be NULL */
    const bench_histogram *peer_spread;
} bench_row;
void bench_print(const bench_row *row);
/* A fact of the machine or a version, for the head of the table. */
void bench_print_fact(const char *name, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
