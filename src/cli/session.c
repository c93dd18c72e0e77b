/* Verbs and the store they work on: opened here, or the owner's.
 *
 * Purpose: a verb is a function on a live `tape *`. This file finds it one: DIR when nobody owns
 * it, else the verb's words go to the owner, which runs the same function on its store.
 * Invariants: (O1) a process that owns a store answers others for as long as it does; (O2) the
 * owner writes what a verb prints to two pipes whose reading ends are the asking process's alone,
 * so it sees that process go, and never holds its terminal; (O3) what is printed keeps its order:
 * progress, the output, an error.
 * Threads: requests run on the store's threads, beside whatever the owner does. One thread of the
 * asking process copies what they write. */
#include "cli/cli_internal.h"
#include "os/os.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define OPEN_AGAIN_NS (NS_PER_SECOND / 50)
#define OPEN_PATIENCE_NS (2 * NS_PER_SECOND)
#define COPY_BYTES (64u << 10)

/* --- as the owner --- */

static int run_asked(cli *c, int argc, char **argv) {
    const cli_verb *verb = argc > 0 ? cli_verb_named(argv[0]) : NULL;
    if (verb == NULL || (verb->store != STORE_READ && verb->store != STORE_WRITE)) {
        return cli_usage(c, "the process that owns the store does not know '%s'",
                         argc > 0 ? argv[0] : "");
    }
    cli_args args;
    int status = args_parse(c, verb, argc - 1, argv + 1, &args);
    c->err_terminal = args_value(&args, "progress") != NULL;
    if (status == EXIT_DONE && verb->check != NULL) {
        status = verb->check(c, &args);
    }
    return status == EXIT_DONE ? verb->run(c, &args) : status;
}

static FILE *stream_of(int fd) {
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    FILE *stream = own < 0 ? NULL : fdopen(own, "w");
    if (stream == NULL && own >= 0) {
        (void)close(own);
    }
    return stream;
}

static int answer_request(void *context, tape *db, int argc, char **argv, const int fds[3]) {
    (void)context;
    cli c = {.out = stream_of(fds[1]), .err = stream_of(fds[2]), .db = db, .asked = true};
    int status = EXIT_FAILED;
    if (c.out != NULL && c.err != NULL) {
        status = cli_finish(&c, run_asked(&c, argc, argv));
    }
    if (c.out != NULL) {
        (void)fclose(c.out);
    }
    if (c.err != NULL) {
        (void)fclose(c.err);
    }
    return status;
}

static tape_status open_once(const char *dir, bool read_only, tape **out, tape_error *error) {
    tape_open_options options;
    tape_open_options_init(&options);
    options.read_only = read_only;
    tape_status status = tape_open(dir, &options, out, error);
    if (status != TAPE_OK) {
        return status;
    }
    tape_error refused;
    if (tape_control_serve(*out, answer_request, NULL, &refused) != TAPE_OK) {
        log_line(LOG_WARN, "other processes get no answer while this one owns %s: %s", dir,
                 refused.text);
    }
    return TAPE_OK;
}

tape_status session_open(const char *dir, tape **out, tape_error *error) {
    int64_t deadline = clock_deadline_ns(OPEN_PATIENCE_NS);
    for (;;) {
        tape_status status = open_once(dir, false, out, error);
        if (status != TAPE_LOCKED || clock_monotonic_ns() >= deadline || cli_stopped()) {
            return status;
        }
        os_sleep_ns(OPEN_AGAIN_NS);
    }
}

/* --- asking the owner --- */

typedef struct copier {
    cli *c;
    int from[2]; /* what the owner writes as its output, and as its progress and errors */
    bool open[2];
    bool interrupted; /* by the user */
    buffer error;     /* held back until the output has ended */
    os_thread *thread;
} copier;

/* Progress, which ends with an erased line, is shown at once. */
static void take_error(copier *copy, const char *bytes, size_t size) {
    static const char erased[] = "\x1b[K";
    buffer_append(&copy->error, bytes, size);
    const uint8_t *data = copy->error.data;
    size_t shown = copy->error.size;
    while (shown >= strlen(erased) &&
           memcmp(data + shown - strlen(erased), erased, strlen(erased)) != 0) {
        shown--;
    }
    if (shown < strlen(erased)) {
        return;
    }
    (void)fwrite(data, 1, shown, copy->c->err);
    (void)fflush(copy->c->err);
    memmove(copy->error.data, data + shown, copy->error.size - shown);
    copy->error.size -= shown;
}

/* Reads what is there of one pipe; false when the output has nowhere to go. */
static bool copy_some(copier *copy, int which, char *bytes) {
    ssize_t got = read(copy->from[which], bytes, COPY_BYTES);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return true;
    }
    if (got <= 0) {
        copy->open[which] = false;
        return true;
    }
    if (which == 0) {
        return cli_write(copy->c, bytes, (size_t)got, true);
    }
    take_error(copy, bytes, (size_t)got);
    return true;
}

/* Moves what the owner writes to `out` and `err`, until the owner is done, `out` takes no more or
 * the user has had enough; closing the pipes then tells the owner. */
static void copy_output(void *argument) {
    copier *copy = argument;
    char *bytes = mem_alloc(COPY_BYTES);
    bool going = true;
    while (going && (copy->open[0] || copy->open[1])) {
        struct pollfd waiting[2] = {
            {.fd = copy->open[0] ? copy->from[0] : -1, .events = POLLIN},
            {.fd = copy->open[1] ? copy->from[1] : -1, .events = POLLIN},
        };
        int ready = poll(waiting, 2, 100);
        copy->interrupted = cli_stopped();
        going = !copy->interrupted && (ready >= 0 || errno == EINTR);
        if (going && ready == 0) {
            going = !cli_cancelled(copy->c);
        }
        for (int which = 1; which >= 0 && ready > 0; which--) {
            going = going && (waiting[which].revents == 0 || copy_some(copy, which, bytes));
        }
    }
    free(bytes);
    (void)close(copy->from[0]);
    (void)close(copy->from[1]);
}

/* The words of `args` as any process can read them, whatever their order was. Caller frees all. */
static char **words_of(const cli_args *args, int *count) {
    const cli_verb *verb = args->verb;
    size_t count_max = (size_t)args->count + (size_t)args->repeat_count + CLI_OPTIONS_MAX + 3;
    char **words = mem_zalloc(count_max * sizeof *words);
    int n = 0;
    words[n++] = mem_strdup(verb->name);
    for (int i = 0; i < CLI_OPTIONS_MAX && verb->options[i].name != NULL; i++) {
        const char *value = args->values[i];
        for (int r = 0; verb->options[i].repeats && r < args->repeat_count; r++) {
            words[n++] = mem_printf("--%s=%s", verb->options[i].name, args->repeats[r]);
        }
        if (value == NULL || verb->options[i].repeats) {
            continue;
        }
        words[n++] = verb->options[i].value == NULL
                         ? mem_printf("--%s", verb->options[i].name)
                         : mem_printf("--%s=%s", verb->options[i].name, value);
    }
    words[n++] = mem_strdup("--");
    for (int i = 0; i < args->count; i++) {
        words[n++] = mem_strdup(args->words[i]);
    }
    *count = n;
    return words;
}

/* Two pipes, and a thread that reads them; `ends` are for the owner to write to. */
static tape_status start_copier(copier *copy, cli *c, const char *dir, int ends[2],
                                tape_error *error) {
    int pipes[2][2] = {{-1, -1}, {-1, -1}};
    tape_status status = TAPE_OK;
    *copy = (copier){.c = c, .open = {true, true}};
    for (int i = 0; i < 2 && status == TAPE_OK; i++) {
        if (pipe2(pipes[i], O_CLOEXEC) != 0) {
            status = error_set_errno(error, errno, dir, "make a pipe to the owner of");
        }
        copy->from[i] = pipes[i][0];
        ends[i] = pipes[i][1];
    }
    if (status == TAPE_OK) {
        status = os_thread_start(&copy->thread, "tape-output", -1, copy_output, copy, error);
    }
    for (int i = 0; i < 4 && status != TAPE_OK; i++) {
        if (pipes[i / 2][i % 2] >= 0) {
            (void)close(pipes[i / 2][i % 2]);
        }
    }
    return status;
}

static tape_status call_owner(cli *c, const char *dir, const cli_args *args, int null_fd,
                              int *exit_status, tape_error *error) {
    int ends[2];
    copier copy;
    tape_status status = start_copier(&copy, c, dir, ends, error);
    if (status != TAPE_OK) {
        return status;
    }
    int count = 0;
    char **words = words_of(args, &count);
    const int fds[3] = {null_fd, ends[0], ends[1]};
    status = tape_control_call(dir, count, words, fds, exit_status, error);
    (void)close(ends[0]);
    (void)close(ends[1]);
    os_thread_join(&copy.thread);
    if (copy.interrupted) {
        status = error_set(error, TAPE_CANCELLED, "interrupted");
    } else if (copy.error.size > 0 && !c->out_gone) {
        cli_pass_error(c, (const char *)copy.error.data, copy.error.size);
    }
    buffer_deinit(&copy.error);
    for (int i = 0; i < count; i++) {
        free(words[i]);
    }
    free(words);
    return status;
}

static tape_status ask_owner(cli *c, const char *dir, const cli_args *args, int *exit_status,
                             tape_error *error) {
    FILE *nothing = fopen("/dev/null", "re");
    if (nothing == NULL) {
        return error_set_errno(error, errno, "/dev/null", "open");
    }
    (void)fflush(c->out);
    (void)fflush(c->err);
    cli_args asked = *args;
    if (c->err_terminal && args_takes(args->verb, "progress")) {
        args_set(&asked, "progress", "");
    }
    tape_status status = call_owner(c, dir, &asked, fileno(nothing), exit_status, error);
    (void)fclose(nothing);
    return status;
}

/* --- verbs --- */

static int run_on(cli *c, tape *db, const cli_args *args) {
    c->db = db;
    int status = args->verb->run(c, args);
    c->db = NULL;
    return status;
}

tape_status session_find(session *s, cli *c, const cli_args *args, bool *answered, int *exit_status,
                         tape_error *error) {
    int64_t deadline = clock_deadline_ns(OPEN_PATIENCE_NS);
    *answered = false;
    for (;;) {
        if (s->db != NULL) {
            return TAPE_OK;
        }
        tape_error nobody = {0};
        tape_status status = open_once(s->dir, args->verb->store == STORE_READ, &s->db, error);
        if (status != TAPE_LOCKED) {
            return status;
        }
        status = ask_owner(c, s->dir, args, exit_status, &nobody);
        if (status != TAPE_NOT_FOUND) {
            *answered = status == TAPE_OK;
            *error = status == TAPE_OK ? *error : nobody;
            return status;
        }
        /* The owner is opening, closing, or answers nobody. */
        if (clock_monotonic_ns() >= deadline || cli_stopped()) {
            return TAPE_LOCKED;
        }
        os_sleep_ns(OPEN_AGAIN_NS);
    }
}

int session_ask(session *s, cli *c, const cli_args *args) {
    bool answered = false;
    int exit_status = EXIT_FAILED;
    tape_error error = {0};
    if (session_find(s, c, args, &answered, &exit_status, &error) != TAPE_OK) {
        return cli_fail(c, &error);
    }
    return answered ? exit_status : run_on(c, s->db, args);
}

int session_end(session *s, cli *c, int exit_status) {
    tape_error error;
    if (tape_close(&s->db, &error) == TAPE_OK || exit_status != EXIT_DONE) {
        return exit_status;
    }
    return cli_fail(c, &error);
}

int session_run(cli *c, cli_args *args) {
    const cli_verb *verb = args->verb;
    int status = verb->check == NULL ? EXIT_DONE : verb->check(c, args);
    if (status != EXIT_DONE) {
        return status;
    }
    if (verb->start != NULL) {
        return verb->start(c, args);
    }
    if (verb->store == STORE_NONE) {
        return verb->run(c, args);
    }
    session s = {.dir = args->words[0]};
    if (verb->store == STORE_OWN) {
        tape_error error;
        if (session_open(s.dir, &s.db, &error) != TAPE_OK) {
            return cli_fail(c, &error);
        }
        status = run_on(c, s.db, args);
    } else {
        status = session_ask(&s, c, args);
    }
    return session_end(&s, c, status);
}
