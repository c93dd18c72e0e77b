/* tape bench: what this machine does, in a few seconds.
 *
 * Purpose: figures to look at, alone; bench/ of the source tree measures beside other systems.
 * Format: a row per measurement: operations, operations per second, and of one operation the
 * median, the 99th percentile and the longest, in microseconds.
 * Invariants: (B1) the scratch store is removed however the verb ends, but by kill -9. */
#include "cli/cli_internal.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define SAMPLES_MAX (1u << 22)
#define BATCH 256u
#define FILL_ROWS 200000u /* that get and sql work on at least */
#define INSTRUMENTS 16u
#define DEFAULT_SECONDS 1.0
#define TIMEOUT_NS (30 * NS_PER_SECOND)

typedef struct bench {
    cli *c;
    tape *db;
    double seconds;
    uint64_t trades;   /* in the store */
    uint32_t *samples; /* ns */
    size_t count;
    buffer rows; /* of the answer, as VALUES of SQL */
    tape_error *error;
} bench;

static void make_trade(tape_trade *trade, uint64_t number) {
    *trade = (tape_trade){.side = TAPE_SIDE_BUY, .volume = 1 + (double)(number % 9)};
    (void)snprintf(trade->trade_id, sizeof trade->trade_id, "b%" PRIu64, number);
    (void)snprintf(trade->instrument_id, sizeof trade->instrument_id, "I%" PRIu64,
                   number % INSTRUMENTS);
    trade->price = 100 + (double)(number * 7919 % 1000) / 100;
}

static tape_status append_trades(bench *b, size_t count, tape_level level) {
    tape_trade trades[BATCH];
    tape_record records[BATCH];
    tape_append_options options;
    tape_append_options_init(&options);
    options.level = level;
    options.timeout_ns = TIMEOUT_NS;
    for (size_t i = 0; i < count; i++) {
        make_trade(&trades[i], b->trades + i);
        records[i] = (tape_record)TAPE_RECORD(TRADES, &trades[i]);
    }
    tape_status status = tape_append(b->db, records, count, &options, NULL, b->error);
    b->trades += status == TAPE_OK ? count : 0;
    return status;
}

static tape_status fill(bench *b) {
    tape_status status = TAPE_OK;
    while (status == TAPE_OK && b->trades < FILL_ROWS && !cli_stopped()) {
        status = append_trades(b, BATCH, TAPE_WRITTEN);
    }
    return status;
}

static tape_status append_written(bench *b) {
    return append_trades(b, 1, TAPE_WRITTEN);
}

static tape_status append_durable(bench *b) {
    return append_trades(b, 1, TAPE_DURABLE);
}

static tape_status append_batch(bench *b) {
    return append_trades(b, BATCH, TAPE_DURABLE);
}

static tape_status get_one(bench *b) {
    char id[40];
    const char *key = id;
    tape_trade trade;
    (void)snprintf(id, sizeof id, "b%" PRIu64, b->count * UINT64_C(2654435761) % b->trades);
    return tape_get(b->db, TAPE_TABLE_TRADES, &key, 1, 0, &trade, b->error);
}

static tape_status ask_sql(bench *b) {
    struct ArrowArrayStream stream;
    tape_status status = tape_query(
        b->db, "SELECT instrument_id, count(*), sum(volume), avg(price) FROM trades GROUP BY ALL",
        NULL, &stream, b->error);
    if (status != TAPE_OK) {
        return status;
    }
    struct ArrowArray batch = {0};
    int code = stream.get_next(&stream, &batch);
    while (code == 0 && batch.release != NULL) {
        batch.release(&batch);
        code = stream.get_next(&stream, &batch);
    }
    if (code != 0) {
        status = error_set(b->error, TAPE_SQL, "%s", stream.get_last_error(&stream));
    }
    stream.release(&stream);
    return status;
}

static const struct {
    const char *name;
    tape_status (*once)(bench *b);
    bool fills;
} measurements[] = {
    {"append-written", append_written, false},
    {"append-durable", append_durable, false},
    {"append-batch", append_batch, false},
    {"get", get_one, true},
    {"sql", ask_sql, true},
};

int verb_bench_check(cli *c, cli_args *args) {
    result_format format = RESULT_TABLE;
    double seconds = DEFAULT_SECONDS;
    if (!args_format(c, args, &format) || !args_f64(c, args, "seconds", &seconds)) {
        return EXIT_USAGE;
    }
    if (format > RESULT_JSON) {
        return cli_usage(c, "--format %s: measurements are printed as table, csv or json",
                         args_value(args, "format"));
    }
    const char *names[COUNT_OF(measurements)];
    for (size_t i = 0; i < COUNT_OF(measurements); i++) {
        names[i] = measurements[i].name;
        if (args->count == 0 || strcmp(args->words[0], names[i]) == 0) {
            return EXIT_DONE;
        }
    }
    const char *near = cli_nearest(args->words[0], names, COUNT_OF(names));
    return cli_usage(c, "there is no measurement '%s'%s%s: see `tape help bench`", args->words[0],
                     near == NULL ? "" : ", did you mean ", near == NULL ? "" : near);
}

static int compare_samples(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void note_row(bench *b, const char *name, double seconds) {
    qsort(b->samples, b->count, sizeof *b->samples, compare_samples);
    const uint32_t *s = b->samples;
    size_t last = b->count - 1;
    buffer_printf(&b->rows, "%s('%s', %zu, %.0f, %.2f, %.2f, %.2f)", b->rows.size == 0 ? "" : ", ",
                  name, b->count, (double)b->count / seconds, (double)s[last / 2] / 1e3,
                  (double)s[last * 99 / 100] / 1e3, (double)s[last] / 1e3);
}

static tape_status measure(bench *b, size_t index) {
    tape_status status = measurements[index].fills ? fill(b) : TAPE_OK;
    if (status == TAPE_OK) {
        status = measurements[index].once(b); /* what only the first one has to do */
    }
    if (status == TAPE_OK && b->c->err_terminal) {
        (void)fprintf(b->c->err, "%s ...\n", measurements[index].name);
    }
    int64_t start = clock_monotonic_ns();
    int64_t end = start + (int64_t)(b->seconds * 1e9);
    int64_t before = start;
    b->count = 0;
    while (status == TAPE_OK && !cli_stopped()) {
        status = measurements[index].once(b);
        int64_t now = clock_monotonic_ns();
        int64_t took = now - before;
        before = now;
        b->samples[b->count++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
        if (now >= end || b->count == SAMPLES_MAX) {
            break;
        }
    }
    if (status == TAPE_OK && b->count > 0) {
        note_row(b, measurements[index].name, (double)(before - start) / 1e9);
    }
    return status;
}

static tape_status print_rows(bench *b, result_format format) {
    struct ArrowArrayStream stream;
    char *sql = mem_printf("SELECT * FROM (VALUES %.*s) AS bench(name, operations, per_second, "
                           "p50_us, p99_us, max_us)",
                           (int)b->rows.size, (const char *)b->rows.data);
    tape_status status = tape_query(b->db, sql, NULL, &stream, b->error);
    free(sql);
    if (status != TAPE_OK) {
        return status;
    }
    result_options options = {.format = format, .width = b->c->width};
    return result_write(&stream, &options, b->c->out, NULL, b->error);
}

static tape_status run_all(bench *b, const cli_args *args, result_format format) {
    tape_status status = TAPE_OK;
    for (size_t i = 0; i < COUNT_OF(measurements) && status == TAPE_OK; i++) {
        if (args->count == 0 || strcmp(args->words[0], measurements[i].name) == 0) {
            status = measure(b, i);
        }
    }
    if (status == TAPE_OK && cli_stopped()) {
        status = error_set(b->error, TAPE_CANCELLED, "interrupted");
    }
    return status == TAPE_OK ? print_rows(b, format) : status;
}

static int remove_entry(const char *path, const struct stat *found, int kind, struct FTW *place) {
    (void)found;
    (void)kind;
    (void)place;
    return remove(path);
}

int verb_bench(cli *c, const cli_args *args) {
    result_format format = c->out_terminal ? RESULT_TABLE : RESULT_CSV;
    tape_error error = {0};
    bench b = {.c = c, .seconds = DEFAULT_SECONDS, .error = &error};
    if (!args_format(c, args, &format) || !args_f64(c, args, "seconds", &b.seconds)) {
        return EXIT_USAGE;
    }
    const char *temp = getenv("TMPDIR");
    char *dir = mem_printf("%s/tape-bench-XXXXXX", temp == NULL || temp[0] == '\0' ? "/tmp" : temp);
    if (mkdtemp(dir) == NULL) {
        (void)error_set_errno(&error, errno, dir, "make");
        free(dir);
        return cli_fail(c, &error);
    }
    cli_catch_stop();
    b.samples = mem_alloc(SAMPLES_MAX * sizeof *b.samples);
    tape_status status = tape_create(dir, NULL, &error);
    if (status == TAPE_OK) {
        status = tape_open(dir, NULL, &b.db, &error);
    }
    if (status == TAPE_OK) {
        status = run_all(&b, args, format);
    }
    tape_status closed = tape_close(&b.db, status == TAPE_OK ? &error : NULL);
    status = status == TAPE_OK ? closed : status;
    (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    buffer_deinit(&b.rows);
    free(b.samples);
    free(dir);
    return status == TAPE_OK ? EXIT_DONE : cli_fail(c, &error);
}
