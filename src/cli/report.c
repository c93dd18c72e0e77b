/* What a verb says: errors, progress, numbers for people.
 *
 * Format: an error is one line, `tape: CODE: what happened, where, and what to do`.
 * Invariants: (R1) nothing is printed once the reader of stdout has gone: whoever closed it, as
 * `head` does, wants no more. */
#include "cli/cli_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#define PROGRESS_EVERY_NS (NS_PER_SECOND / 5)

static bool reader_gone(const cli *c) {
    struct pollfd out = {.fd = fileno(c->out)};
    return poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLNVAL)) != 0;
}

bool cli_cancelled(void *cli_pointer) {
    const cli *c = cli_pointer;
    return cli_stopped() || c->out_gone || reader_gone(c);
}

static void print_error(cli *c, const char *code, const char *text) {
    c->out_gone = c->out_gone || reader_gone(c);
    if (c->out_gone) {
        return;
    }
    (void)fflush(c->out);
    buffer line = {0};
    buffer_printf(&line, "tape: %s: ", code);
    if (c->where != NULL) {
        buffer_printf(&line, "%s: ", c->where);
    }
    for (const char *at = text; *at != '\0'; at++) {
        char shown = (unsigned char)*at < 0x20 ? ' ' : *at;
        buffer_append(&line, &shown, 1);
    }
    buffer_append(&line, "\n", 1);
    (void)fwrite(line.data, 1, line.size, c->err);
    (void)fflush(c->err);
    buffer_deinit(&line);
}

int cli_usage(cli *c, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    print_error(c, tape_status_name(TAPE_USAGE), text);
    return EXIT_USAGE;
}

int cli_fail(cli *c, const tape_error *error) {
    print_error(c, tape_status_name(error->status), error->text);
    return error->status == TAPE_USAGE ? EXIT_USAGE : EXIT_FAILED;
}

int cli_fail_text(cli *c, tape_status status, const char *format, ...) {
    tape_error error = {.status = status};
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error.text, sizeof error.text, format, arguments);
    va_end(arguments);
    return cli_fail(c, &error);
}

void cli_pass_error(cli *c, const char *text, size_t size) {
    static const char start[] = "tape: ";
    size_t head = 0; /* of "tape: CODE: " */
    if (c->where != NULL && size > strlen(start) && memcmp(text, start, strlen(start)) == 0) {
        const char *colon = memchr(text + strlen(start), ':', size - strlen(start));
        head = colon == NULL || colon + 2 > text + size ? 0 : (size_t)(colon + 2 - text);
    }
    (void)fwrite(text, 1, head, c->err);
    if (head > 0) {
        (void)fprintf(c->err, "%s: ", c->where);
    }
    (void)fwrite(text + head, 1, size - head, c->err);
    (void)fflush(c->err);
}

static void note_failure(cli *c, int os_errno) {
    c->out_errno = c->out_errno == 0 ? os_errno : c->out_errno;
    c->out_gone = c->out_gone || os_errno == EPIPE;
}

bool cli_write(cli *c, const void *data, size_t size, bool flush) {
    if (fwrite(data, 1, size, c->out) == size && (!flush || fflush(c->out) == 0)) {
        return true;
    }
    note_failure(c, errno);
    return false;
}

int cli_finish(cli *c, int exit_status) {
    if (fflush(c->out) != 0) {
        note_failure(c, errno);
    }
    if (c->out_errno == 0 || c->out_gone || exit_status != EXIT_DONE) {
        return exit_status;
    }
    tape_error error;
    (void)error_set_errno(&error, c->out_errno, "the output", "write to");
    return cli_fail(c, &error);
}

void progress_start(progress *p, cli *c) {
    *p = (progress){.c = c, .started_ns = clock_monotonic_ns()};
    p->next_ns = p->started_ns + PROGRESS_EVERY_NS;
}

bool progress_due(progress *p) {
    if (!p->c->err_terminal) {
        return false;
    }
    int64_t now = clock_monotonic_ns();
    if (now < p->next_ns) {
        return false;
    }
    p->next_ns = now + PROGRESS_EVERY_NS;
    return true;
}

/* A terminal may be held, and whoever reads a pipe may be stopped. */
static bool takes_more(FILE *stream) {
    struct pollfd out = {.fd = fileno(stream), .events = POLLOUT};
    return poll(&out, 1, 0) > 0 && (out.revents & POLLOUT) != 0;
}

void progress_show(progress *p, const char *format, ...) {
    va_list arguments;
    if (!takes_more(p->c->err)) {
        return;
    }
    va_start(arguments, format);
    (void)fputs("\r", p->c->err);
    (void)vfprintf(p->c->err, format, arguments);
    (void)fputs("\x1b[K", p->c->err); /* erases what an older, longer line left */
    (void)fflush(p->c->err);
    va_end(arguments);
    p->shown = true;
}

void progress_end(progress *p) {
    if (p->shown) {
        (void)fputs("\r\x1b[K", p->c->err);
        (void)fflush(p->c->err);
        p->shown = false;
    }
}

const char *progress_bar(double share, char out[48]) {
    enum { WIDTH = 30 };
    share = share >= 0 ? share : 0; /* nor is NaN a share */
    share = share <= 1 ? share : 1;
    char bar[WIDTH + 1];
    for (int i = 0; i < WIDTH; i++) {
        bar[i] = (i + 1) <= (int)(share * WIDTH) ? '#' : ' ';
    }
    bar[WIDTH] = '\0';
    (void)snprintf(out, 48, "[%s] %3.0f %%", bar, share * 100);
    return out;
}

double progress_seconds(const progress *p) {
    return (double)(clock_monotonic_ns() - p->started_ns) / 1e9;
}

const char *group_digits(uint64_t value, char out[32]) {
    char digits[24];
    int n = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    char *at = out;
    for (int i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0) {
            *at++ = ',';
        }
        *at++ = digits[i];
    }
    *at = '\0';
    return out;
}
