/* Polars: see peer_polars.h. */
#include "peer_polars.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define LINE_BYTES_MAX 4096

struct polars {
    pid_t pid;
    FILE *to, *from;
};

static void child(int threads, const int to[2], const int from[2]) {
    char text[16];
    (void)snprintf(text, sizeof text, "%d", threads);
    (void)setenv("POLARS_MAX_THREADS", text, 1);
    (void)setenv("NODE_PATH", BENCH_POLARS_DIR "/node_modules", 1);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(to[0], 0) < 0 || dup2(from[1], 1) < 0) {
        _exit(126);
    }
    (void)close(to[1]);
    (void)close(from[0]);
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    (void)!write(fd, "1000", 4);
    (void)execlp("node", "node", "--max-old-space-size=4096", BENCH_DIR "/polars.cjs", NULL);
    _exit(127);
}

/* What follows "ok" in the answer; NULL when there is none. */
static const char *ask(polars *p, const char *line) {
    static char text[LINE_BYTES_MAX];
    (void)fprintf(p->to, "%s\n", line);
    (void)fflush(p->to);
    if (fgets(text, sizeof text, p->from) == NULL) {
        return NULL;
    }
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(text, "ok", 2) != 0) {
        bench_fail("Polars: %s: %s", line, text);
    }
    return text + 2;
}

polars *polars_open(int threads, char *missing, size_t missing_bytes) {
    int to[2];
    int from[2];
    if (access(BENCH_POLARS_DIR "/node_modules/nodejs-polars/package.json", R_OK) != 0) {
        (void)snprintf(missing, missing_bytes, "it is not installed");
        return NULL;
    }
    BENCH_CHECK(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
    polars *p = bench_alloc(sizeof *p);
    (void)signal(SIGPIPE, SIG_IGN);
    p->pid = fork();
    if (p->pid == 0) {
        child(threads, to, from);
    }
    BENCH_CHECK(p->pid > 0);
    (void)close(to[0]);
    (void)close(from[1]);
    p->to = fdopen(to[1], "w");
    p->from = fdopen(from[0], "r");
    BENCH_CHECK(p->to != NULL && p->from != NULL);
    const char *version = ask(p, "version");
    if (version == NULL) {
        polars_close(&p);
        (void)snprintf(missing, missing_bytes, "node does not load it");
        return NULL;
    }
    bench_print_fact("Polars", "%s", version + 1);
    return p;
}

void polars_read(polars *p, const char *table, const char *path, bool into_memory) {
    char line[LINE_BYTES_MAX];
    (void)snprintf(line, sizeof line, "%s %s %s", into_memory ? "read" : "scan", table, path);
    if (ask(p, line) == NULL) {
        bench_fail("Polars has ended");
    }
}

int64_t polars_query(polars *p, const char *row, answer *out) {
    char line[LINE_BYTES_MAX];
    (void)snprintf(line, sizeof line, "query %s", row);
    const char *text = ask(p, line);
    if (text == NULL) {
        return -1;
    }
    char *at = NULL;
    int64_t elapsed_ns = strtoll(text, &at, 10);
    *out = (answer){.rows = strtoull(at, &at, 10)};
    out->columns = (uint32_t)strtoul(at, &at, 10);
    BENCH_CHECK(out->columns > 0 && out->columns <= ANSWER_COLUMNS_MAX);
    for (uint32_t i = 0; i < out->columns; i++) {
        out->sums[i] = strtod(at, &at);
    }
    return elapsed_ns;
}

void polars_close(polars **handle) {
    polars *p = *handle;
    if (p == NULL) {
        return;
    }
    (void)fclose(p->to);
    (void)fclose(p->from);
    (void)kill(p->pid, SIGKILL);
    (void)waitpid(p->pid, NULL, 0);
    free(p);
    *handle = NULL;
}
