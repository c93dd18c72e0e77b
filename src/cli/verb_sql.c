/* tape sql: one statement, several from stdin, or a shell.
 *
 * Purpose: the statement's run on a store (verb_sql), and what the started process does around it
 * (verb_sql_start): formats by default, -o, reading stdin.
 * Invariants: (S1) a file named by -o is whole or not there: it is written under another name and
 * renamed; (S2) an owner that runs a statement for another process is given no path of it; (S3)
 * progress is off the terminal before the first row is on it.
 * Threads: progress is told by a thread of the store's, which never waits for the terminal.
 * Failure: a result that fails half-way leaves an error and what was printed of it. */
#include "cli/cli_internal.h"
#include "cli/params.h"
#include "cli/shell.h"
#include "os/os.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATEMENT_BYTES_MAX MIB(8)
#define COPY_BYTES KIB(256)
#define BAR_AFTER_NS NS_PER_SECOND

typedef struct sql_words {
    tape_query_options query;
    tape_value params[CLI_REPEATS_MAX];
    result_format format;
    uint64_t width;
} sql_words;

static bool read_params(cli *c, const cli_args *args, sql_words *out) {
    for (int i = 0; i < args->repeat_count; i++) {
        tape_error error;
        if (param_parse(args->repeats[i], &out->params[i], &error) != TAPE_OK) {
            (void)cli_usage(c, "parameter $%d: %s", i + 1, error.text);
            return false;
        }
    }
    out->query.params = out->params;
    out->query.param_count = (size_t)args->repeat_count;
    return true;
}

static bool read_options(cli *c, const cli_args *args, sql_words *out) {
    double seconds = -1;
    *out = (sql_words){.format = c->out_terminal ? RESULT_TABLE : RESULT_CSV,
                       .width = (uint64_t)c->width};
    tape_query_options_init(&out->query);
    if (!args_u64(c, args, "at", &out->query.at) ||
        !args_level(c, args, "level", &out->query.level) || !args_format(c, args, &out->format) ||
        !args_f64(c, args, "timeout", &seconds) || !args_u64(c, args, "width", &out->width) ||
        !read_params(c, args, out)) {
        return false;
    }
    if (seconds >= 0) {
        out->query.timeout_ns = seconds > 1e9 ? -1 : (int64_t)(seconds * 1e9);
    }
    return true;
}

/* --- the statement, on a store --- */

static tape_status copy_file(cli *c, const char *path, tape_error *error) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return error_set_errno(error, errno, path, "open");
    }
    char *bytes = mem_alloc(COPY_BYTES);
    size_t got = 0;
    while ((got = fread(bytes, 1, COPY_BYTES, file)) > 0 && cli_write(c, bytes, got, false)) {
    }
    tape_status status = ferror(file) != 0 ? error_set_errno(error, errno, path, "read") : TAPE_OK;
    free(bytes);
    (void)fclose(file);
    return status;
}

/* Parquet needs a file of its own to be written; it goes to `out` from there. */
tape_status cli_write_parquet(cli *c, struct ArrowArrayStream *stream, tape_error *error) {
    if (c->out_path != NULL) {
        return tape_write_parquet(stream, c->out_path, NULL, error);
    }
    const char *dir = getenv("TMPDIR");
    char *path = mem_printf("%s/tape-XXXXXX.parquet", dir == NULL || dir[0] == '\0' ? "/tmp" : dir);
    int fd = mkstemps(path, (int)strlen(".parquet"));
    if (fd < 0) {
        tape_status status = error_set_errno(error, errno, path, "make");
        stream->release(stream);
        free(path);
        return status;
    }
    (void)close(fd);
    tape_status status = tape_write_parquet(stream, path, NULL, error);
    if (status == TAPE_OK) {
        status = copy_file(c, path, error);
    }
    (void)remove(path);
    free(path);
    return status;
}

/* The bar of a statement, and its stream, watched for the first batch. */
typedef struct sql_bar {
    pthread_mutex_t lock; /* covers the next three */
    progress line;
    double share; /* the largest told; 0: none yet */
    bool ended;
    bool stays; /* rows go elsewhere than progress: it may be shown to the end */
    struct ArrowArrayStream inner;
} sql_bar;

/* Nobody waits for the lock here: whoever ends the bar may wait for the terminal. */
static void show_bar(sql_bar *bar, double share) {
    char shown[48];
    if (pthread_mutex_trylock(&bar->lock) != 0) {
        return;
    }
    bar->share = share > bar->share ? share : bar->share;
    if (!bar->ended && progress_due(&bar->line)) {
        progress_show(&bar->line, "%s  %.1f s",
                      bar->share > 0 ? progress_bar(bar->share, shown) : "working",
                      progress_seconds(&bar->line));
    }
    (void)pthread_mutex_unlock(&bar->lock);
}

static void told_share(void *context, double share) {
    show_bar(context, share);
}

/* The store asks this all the time, the share it tells when it knows. */
static bool asked_to_stop(void *context) {
    sql_bar *bar = context;
    show_bar(bar, 0);
    return cli_cancelled(bar->line.c);
}

static void end_bar(sql_bar *bar) {
    (void)pthread_mutex_lock(&bar->lock);
    progress_end(&bar->line);
    bar->ended = true;
    (void)pthread_mutex_unlock(&bar->lock);
}

static int watched_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out) {
    sql_bar *bar = stream->private_data;
    return bar->inner.get_schema(&bar->inner, out);
}

static int watched_next(struct ArrowArrayStream *stream, struct ArrowArray *out) {
    sql_bar *bar = stream->private_data;
    int code = bar->inner.get_next(&bar->inner, out);
    if (!bar->stays) {
        end_bar(bar);
    }
    return code;
}

static const char *watched_error(struct ArrowArrayStream *stream) {
    sql_bar *bar = stream->private_data;
    return bar->inner.get_last_error(&bar->inner);
}

static void watched_release(struct ArrowArrayStream *stream) {
    sql_bar *bar = stream->private_data;
    bar->inner.release(&bar->inner);
    stream->release = NULL;
}

static tape_status write_result(cli *c, const sql_words *words, sql_bar *bar, tape_error *error) {
    struct ArrowArrayStream stream = {.get_schema = watched_schema,
                                      .get_next = watched_next,
                                      .get_last_error = watched_error,
                                      .release = watched_release,
                                      .private_data = bar};
    if (words->format == RESULT_PARQUET) {
        return cli_write_parquet(c, &stream, error);
    }
    result_options options = {.format = words->format,
                              .width = (int)(words->width > 100000 ? 0 : words->width),
                              .stop = cli_cancelled,
                              .stop_context = c};
    return result_write(&stream, &options, c->out, NULL, error);
}

int verb_sql(cli *c, const cli_args *args) {
    sql_words words;
    tape_error error = {0};
    if (!read_options(c, args, &words)) {
        return EXIT_USAGE;
    }
    sql_bar bar = {.lock = PTHREAD_MUTEX_INITIALIZER};
    /* An owner is told by the width that its rows go to a terminal. */
    bar.stays = !c->out_terminal && !(c->asked && words.width > 0);
    progress_start(&bar.line, c);
    bar.line.next_ns = bar.line.started_ns + BAR_AFTER_NS;
    words.query.cancelled = asked_to_stop;
    words.query.cancel_context = &bar;
    if (c->err_terminal) {
        words.query.progress = told_share;
        words.query.progress_context = &bar;
    }
    tape_status status = tape_query(c->db, args->words[1], &words.query, &bar.inner, &error);
    if (status == TAPE_OK) {
        status = write_result(c, &words, &bar, &error);
    }
    end_bar(&bar);
    (void)pthread_mutex_destroy(&bar.lock);
    if (status == TAPE_OK) {
        return EXIT_DONE;
    }
    c->out_gone = c->out_gone || error.os_errno == EPIPE;
    if (status == TAPE_CANCELLED) {
        return cli_fail_text(c, status, "the statement was interrupted");
    }
    return cli_fail(c, &error);
}

/* --- before it --- */

/* The format that a file's name asks for. */
static const char *format_of_path(const char *path) {
    static const struct {
        const char *end;
        result_format format;
    } ends[] = {{".csv", RESULT_CSV},         {".json", RESULT_JSON},   {".jsonl", RESULT_JSON},
                {".ndjson", RESULT_JSON},     {".arrow", RESULT_ARROW}, {".arrows", RESULT_ARROW},
                {".parquet", RESULT_PARQUET}, {".txt", RESULT_TABLE}};
    size_t length = strlen(path);
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        size_t end = strlen(ends[i].end);
        if (length >= end && strcmp(path + length - end, ends[i].end) == 0) {
            return result_format_name(ends[i].format);
        }
    }
    return result_format_name(RESULT_CSV);
}

/* What depends on this process is settled here, so that an owner elsewhere does the same. */
int verb_sql_check(cli *c, cli_args *args) {
    sql_words words;
    if (c->asked) {
        return args->count == 2 ? EXIT_DONE : cli_usage(c, "a statement is missing");
    }
    const char *path = args_value(args, "output");
    if (path != NULL && args_value(args, "format") == NULL) {
        args_set(args, "format", format_of_path(path));
    }
    if (!read_options(c, args, &words)) {
        return EXIT_USAGE;
    }
    bool binary = words.format == RESULT_ARROW || words.format == RESULT_PARQUET;
    if (binary && path == NULL && c->out_terminal) {
        return cli_usage(c, "--format %s is not for a terminal: add -o FILE",
                         result_format_name(words.format));
    }
    return EXIT_DONE;
}

/* --- texts and -o --- */

tape_status sql_read_text(FILE *file, const char *name, char **out, tape_error *error) {
    buffer text = {0};
    size_t got = 0;
    do {
        buffer_reserve(&text, KIB(64));
        got = fread(text.data + text.size, 1, text.capacity - text.size - 1, file);
        text.size += got;
    } while (got > 0 && text.size <= STATEMENT_BYTES_MAX);
    tape_status status = TAPE_OK;
    if (text.size > STATEMENT_BYTES_MAX) {
        status = error_set(error, TAPE_TOO_LARGE, "%s has more than %llu bytes of SQL", name,
                           (unsigned long long)STATEMENT_BYTES_MAX);
    } else if (cli_stopped()) {
        status = error_set(error, TAPE_CANCELLED, "interrupted");
    } else if (ferror(file) != 0) {
        status = error_set_errno(error, errno, name, "read");
    } else if (memchr(text.data, '\0', text.size) != NULL) {
        status = error_set(error, TAPE_SQL, "%s has a zero byte: that is not SQL", name);
    }
    text.data[text.size] = '\0';
    *out = (char *)text.data;
    return status;
}

typedef struct output {
    const char *path;
    char *making; /* what is written and renamed; NULL: `path` itself, as for a device */
    FILE *before;
} output;

static int output_begin(cli *c, const char *path, output *o) {
    struct stat found;
    bool special = stat(path, &found) == 0 && !S_ISREG(found.st_mode) && !S_ISDIR(found.st_mode);
    *o = (output){.path = path, .before = c->out};
    o->making = special ? NULL : mem_printf("%s.making-%ld", path, (long)getpid());
    const char *name = special ? path : o->making;
    FILE *file = fopen(name, "we");
    if (file == NULL || (!special && stat(path, &found) == 0 && S_ISDIR(found.st_mode))) {
        tape_error error;
        (void)error_set_errno(&error, file == NULL ? errno : EISDIR, path, "write");
        if (file != NULL) {
            (void)fclose(file);
            (void)remove(name);
        }
        free(o->making);
        return cli_fail(c, &error);
    }
    c->out = file;
    c->out_path = o->making;
    c->out_terminal = false;
    c->width = 0;
    return EXIT_DONE;
}

static int output_end(cli *c, output *o, int exit_status) {
    tape_error error;
    exit_status = cli_finish(c, exit_status);
    (void)fclose(c->out);
    c->out = o->before;
    c->out_path = NULL;
    if (o->making != NULL && exit_status != EXIT_DONE) {
        (void)remove(o->making);
    } else if (o->making != NULL &&
               os_rename(os_disk_linux(), o->making, o->path, &error) != TAPE_OK) {
        (void)remove(o->making);
        exit_status = cli_fail(c, &error);
    }
    free(o->making);
    return exit_status;
}

/* --- the process --- */

/* `owner` holds the store between statements. */
static int run_statements(cli *c, session *owner, const cli_args *args) {
    char *text = NULL;
    tape_error error;
    if (args->count == 2 && strcmp(args->words[1], "-") != 0) {
        return session_ask(owner, c, args);
    }
    if (sql_read_text(stdin, "stdin", &text, &error) != TAPE_OK) {
        free(text);
        return cli_fail(c, &error);
    }
    int status = EXIT_DONE;
    if (args->count == 2) {
        cli_args one = *args;
        char *words[2] = {args->words[0], text};
        one.words = words;
        status = session_ask(owner, c, &one);
    } else {
        status = shell_script(c, owner, args, "stdin", text);
    }
    free(text);
    return status;
}

int verb_sql_start(cli *c, const cli_args *args) {
    session owner = {.dir = args->words[0]};
    const char *path = args_value(args, "output");
    cli_args inner = *args;
    sql_words words;
    if (!read_options(c, args, &words)) {
        return EXIT_USAGE;
    }
    cli_catch_stop();
    if (args->count == 1 && isatty(STDIN_FILENO) != 0 && path == NULL) {
        return shell_run(c, args);
    }
    char width[24];
    (void)snprintf(width, sizeof width, "%llu", path == NULL ? (unsigned long long)words.width : 0);
    args_set(&inner, "format", result_format_name(words.format));
    args_set(&inner, "width", width);
    args_set(&inner, "output", NULL);
    if (path == NULL) {
        return session_end(&owner, c, run_statements(c, &owner, &inner));
    }
    output o;
    int status = output_begin(c, path, &o);
    if (status != EXIT_DONE) {
        return status;
    }
    status = output_end(c, &o, run_statements(c, &owner, &inner));
    return session_end(&owner, c, status);
}
