/* The shell of `tape sql`: a line editor around the same statements the verb runs.
 *
 * Purpose: statements over several lines ended by `;`, and commands that start with a dot.
 * Invariants: (H1) a statement that fails, or is interrupted, leaves the shell as it was; (H2)
 * Ctrl-C forgets the lines typed so far, or stops the statement that runs, and never ends the
 * shell; (H3) the store stays this process's own, and answers others, while the shell is open,
 * unless another process owned it. Threads: one; the line editor is not touched by others. */
#include "cli/shell_internal.h"

#include <errno.h>
#include <stdlib.h>

/* --- statements --- */

/* A statement gets as many of the parameters as it has places for. */
static int run_statement(cli *c, session *owner, const cli_args *args, const char *text,
                         size_t length) {
    char *statement = mem_printf("%.*s", (int)length, text);
    char *words[2] = {args->words[0], statement};
    cli_args one = *args;
    int wanted = sql_param_count(statement);
    one.words = words;
    one.count = 2;
    one.repeat_count = wanted < args->repeat_count ? wanted : args->repeat_count;
    int status = sql_is_blank(statement) ? EXIT_DONE : session_ask(owner, c, &one);
    free(statement);
    return cli_finish(c, status);
}

int shell_script(cli *c, session *owner, const cli_args *args, const char *file, const char *text) {
    const char *outer = c->where;
    size_t line = 1; /* where `text` is */
    int status = EXIT_DONE;
    while (status == EXIT_DONE && !c->out_gone && *text != '\0') {
        size_t length = sql_statement_length(text);
        length = length == 0 ? strlen(text) : length;
        char *where = mem_printf("%s line %zu", file, line + sql_first_line(text) - 1);
        c->where = where;
        status = run_statement(c, owner, args, text, length);
        c->where = outer;
        free(where);
        for (size_t i = 0; i < length; i++) {
            line += text[i] == '\n';
        }
        text += length;
    }
    return status;
}

/* The terminal may have been made wider since the last one. */
static void run_timed(shell *s, const char *text, size_t length) {
    int64_t start = clock_monotonic_ns();
    char width[24];
    (void)snprintf(width, sizeof width, "%d", cli_width(s->c));
    args_set(&s->args, "width", width);
    if (!cli_clear_stop()) {
        return;
    }
    (void)run_statement(s->c, &s->owner, &s->args, text, length);
    (void)fflush(s->c->out);
    if (s->c->out_gone) {
        shell_close_output(s); /* `.output` to a pipe whose reader has gone */
    }
    if (s->timer && !sql_is_blank(text)) {
        (void)fprintf(s->terminal, "%.3f s\n", (double)(clock_monotonic_ns() - start) / 1e9);
        (void)fflush(s->terminal);
    }
    s->quit = !cli_clear_stop();
    args_set(&s->args, "width", NULL);
}

/* --- lines --- */

static void forget_pending(shell *s) {
    s->pending.size = 0;
    buffer_append(&s->pending, "", 1);
}

static bool is_pending(void *context) {
    const shell *s = context;
    return !sql_is_blank((const char *)s->pending.data);
}

/* One line as typed, with its newline. */
static void take_line(shell *s, const char *line, size_t length) {
    if (line[0] == '.' && !is_pending(s)) {
        char *command = mem_printf("%.*s", (int)strcspn(line, "\r\n"), line);
        shell_command(s, command);
        free(command);
        return;
    }
    s->pending.size--;
    buffer_append(&s->pending, line, length);
    buffer_append(&s->pending, "", 1);
    const char *text = (const char *)s->pending.data;
    size_t statement = 0;
    while ((statement = sql_statement_length(text)) > 0) {
        run_timed(s, text, statement);
        text += statement;
    }
    char *left = mem_strdup(text);
    forget_pending(s);
    if (!sql_is_blank(left)) {
        s->pending.size--;
        buffer_append(&s->pending, left, strlen(left) + 1);
    }
    free(left);
}

/* --- the shell --- */

/* Finds out whether there is a store, and becomes its owner unless there is one. */
static tape_status find_store(shell *s, tape_error *error) {
    char statement[] = "SELECT NULL LIMIT 0";
    char *words[2] = {s->args.words[0], statement};
    cli_args probe = s->args;
    probe.words = words;
    probe.count = 2;
    probe.repeat_count = 0;
    cli c = *s->c;
    c.out = fopen("/dev/null", "we");
    if (c.out == NULL) {
        return error_set_errno(error, errno, "/dev/null", "open");
    }
    bool answered = false;
    int exit_status = EXIT_DONE;
    tape_status status = session_find(&s->owner, &c, &probe, &answered, &exit_status, error);
    (void)fclose(c.out);
    return status;
}

static void read_lines(shell *s) {
    while (!s->quit && !s->c->out_gone) {
        int length = 0;
        const char *line = shell_editor_read(s->editor, &length);
        if (line == NULL && cli_stopped()) {
            (void)fputs("^C\n", s->terminal);
            forget_pending(s);
            s->quit = !cli_clear_stop();
        } else if (line == NULL || length <= 0) {
            (void)fputc('\n', s->terminal);
            return;
        } else {
            char *own = mem_printf("%.*s", length, line);
            shell_editor_remember(s->editor, own);
            take_line(s, own, strlen(own));
            free(own);
        }
    }
}

int shell_run(cli *c, const cli_args *args) {
    shell s = {.c = c,
               .args = *args,
               .owner = {.dir = args->words[0]},
               .terminal = c->out,
               .terminal_is = c->out_terminal};
    tape_error error = {0};
    s.args.repeat_count = 0;
    for (int i = 0; i < args->repeat_count; i++) {
        shell_set_param(&s, i, mem_strdup(args->repeats[i]));
    }
    if (args_value(&s.args, "format") == NULL) {
        args_set(&s.args, "format", result_format_name(RESULT_TABLE));
    }
    cli_outlive_interrupts();
    if (find_store(&s, &error) != TAPE_OK) {
        shell_clear_params(&s);
        return cli_fail(c, &error);
    }
    (void)fprintf(c->out, "tape %s, %s%s. `.help` for help.\n", tape_version(), s.owner.dir,
                  s.owner.db == NULL ? ", owned by another process" : "");
    (void)fflush(c->out);
    forget_pending(&s);
    s.editor = shell_editor_open(c, is_pending, &s);
    read_lines(&s);
    shell_close_output(&s);
    shell_editor_close(&s.editor);
    shell_clear_params(&s);
    buffer_deinit(&s.pending);
    return session_end(&s.owner, c, EXIT_DONE);
}
