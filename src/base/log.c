/* The log, and the end of a process that met a broken invariant. */
#include "base/base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static log_level log_least = LOG_WARN;
static log_sink log_to;
static void *log_context;

void log_set(log_level least, log_sink sink, void *context) {
    pthread_mutex_lock(&log_mutex);
    log_least = least;
    log_to = sink;
    log_context = context;
    pthread_mutex_unlock(&log_mutex);
}

void log_line(log_level level, const char *format, ...) {
    static const char *const names[] = {"debug", "info", "warning", "error"};
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&log_mutex);
    if (level >= log_least) {
        if (log_to != NULL) {
            log_to(log_context, level, line);
        } else {
            (void)fprintf(stderr, "tape: %s: %s\n", names[level], line);
        }
    }
    pthread_mutex_unlock(&log_mutex);
}

_Noreturn void assert_failed(const char *condition, const char *file, int line) {
    (void)fprintf(stderr, "tape: assertion failed: %s (%s:%d)\n", condition, file, line);
    abort();
}
