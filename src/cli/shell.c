/* The shell of `tape sql`: a line editor around the same statements the verb runs.
 *
 * Purpose: statements over several lines ended by `;`, commands that start with a dot, history,
 * completion.
 * Invariants: (H1) a statement that fails, or is interrupted, leaves the shell as it was; (H2)
 * Ctrl-C forgets the lines typed so far, or stops the statement that runs; (H3) the store stays
 * this process's own, and answers others, while the shell is open, unless another process owned it.
 * Threads: one; the line editor is not touched by others. */
#include "cli/shell.h"

#include <ctype.h>
#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <strings.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 2000
#define SCRIPT_BYTES_MAX MIB(8)
#define CANDIDATES_MAX 512
#define STOP_POLL_MS 200

typedef struct shell {
    cli *c;
    cli_args args; /* of the verb, with the format of now */
    session owner;
    bool timer;
    bool quit;
    buffer pending; /* lines of a statement not ended yet; NUL-terminated */
    EditLine *editor;
    History *history;
    char *history_path;
} shell;

/* --- statements --- */

static int run_statement(cli *c, session *owner, const cli_args *args, const char *text,
                         size_t length) {
    char *statement = mem_printf("%.*s", (int)length, text);
    char *words[2] = {args->words[0], statement};
    cli_args one = *args;
    one.words = words;
    one.count = 2;
    int status = sql_is_blank(statement) ? EXIT_DONE : session_ask(owner, c, &one);
    free(statement);
    return cli_finish(c, status);
}

int shell_script(cli *c, session *owner, const cli_args *args, const char *text) {
    int status = EXIT_DONE;
    while (status == EXIT_DONE && !c->out_gone && *text != '\0') {
        size_t length = sql_statement_length(text);
        length = length == 0 ? strlen(text) : length;
        status = run_statement(c, owner, args, text, length);
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
    if (s->timer && !sql_is_blank(text)) {
        (void)fprintf(s->c->out, "%.3f s\n", (double)(clock_monotonic_ns() - start) / 1e9);
    }
    (void)fflush(s->c->out);
    s->quit = !cli_clear_stop();
    args_set(&s->args, "width", NULL);
}

/* --- commands --- */

static void command_help(shell *s, const char *argument);

static void command_tables(shell *s, const char *argument) {
    (void)argument;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = tape_table(id);
        (void)fprintf(s->c->out, "%-20s %s\n", table->name, table->doc);
        if (table->kind == TAPE_KIND_ENTITY) {
            char name[64];
            (void)snprintf(name, sizeof name, "%s_history", table->name);
            (void)fprintf(s->c->out, "%-20s every version of %s\n", name, table->name);
        }
    }
}

static void print_schema(FILE *out, const tape_table_info *table) {
    static const char *const types[] = {[TAPE_FIELD_U64] = "UBIGINT",
                                        [TAPE_FIELD_TIME] = "TIMESTAMP_NS",
                                        [TAPE_FIELD_F64] = "DOUBLE",
                                        [TAPE_FIELD_ENUM] = "VARCHAR",
                                        [TAPE_FIELD_ID] = "VARCHAR"};
    (void)fprintf(out, "%s (\n", table->name);
    for (uint32_t i = 0; i < table->field_count; i++) {
        const tape_field_info *field = &table->fields[i];
        char type[32];
        (void)snprintf(type, sizeof type, field->count > 1 ? "%s[%u]" : "%s", types[field->kind],
                       field->count);
        (void)fprintf(out, "  %-18s %-14s %s%s", field->name, type, field->is_key ? "key: " : "",
                      field->doc);
        for (int value = 0; value < field->enum_count; value++) {
            if (field->enum_names[value] != NULL) {
                (void)fprintf(out, "%s%s",
                              value > 0 && field->enum_names[value - 1] != NULL ? ", " : ": ",
                              field->enum_names[value]);
            }
        }
        (void)fputc('\n', out);
    }
    (void)fputs(")\n", out);
}

static void command_schema(shell *s, const char *argument) {
    if (argument[0] != '\0') {
        const tape_table_info *table = args_table(s->c, argument);
        if (table != NULL) {
            print_schema(s->c->out, table);
        }
        return;
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        print_schema(s->c->out, tape_table(id));
    }
}

static void command_timer(shell *s, const char *argument) {
    if (strcmp(argument, "on") != 0 && strcmp(argument, "off") != 0) {
        (void)cli_usage(s->c, ".timer on, or .timer off");
        return;
    }
    s->timer = strcmp(argument, "on") == 0;
}

static void command_mode(shell *s, const char *argument) {
    result_format format;
    if (!result_format_named(argument, &format) || format > RESULT_JSON) {
        (void)cli_usage(s->c, ".mode table, .mode csv, or .mode json");
        return;
    }
    args_set(&s->args, "format", result_format_name(format));
}

static void command_read(shell *s, const char *argument) {
    FILE *file = fopen(argument, "re");
    buffer text = {0};
    size_t got = 1;
    while (file != NULL && got > 0 && text.size <= SCRIPT_BYTES_MAX) {
        buffer_reserve(&text, KIB(64));
        got = fread(text.data + text.size, 1, text.capacity - text.size - 1, file);
        text.size += got;
    }
    if (file == NULL || ferror(file) != 0) {
        tape_error error;
        (void)error_set_errno(&error, errno, argument, "read");
        (void)cli_fail(s->c, &error);
    } else if (text.size > SCRIPT_BYTES_MAX) {
        (void)cli_fail_text(s->c, TAPE_TOO_LARGE, "%s has more than %llu bytes", argument,
                            (unsigned long long)SCRIPT_BYTES_MAX);
    } else {
        text.data[text.size] = '\0';
        (void)shell_script(s->c, &s->owner, &s->args, (const char *)text.data);
        s->quit = !cli_clear_stop();
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    buffer_deinit(&text);
}

static void command_quit(shell *s, const char *argument) {
    (void)argument;
    s->quit = true;
}

static const struct {
    const char *name;
    void (*run)(shell *s, const char *argument);
    const char *help;
} commands[] = {
    {".help", command_help, "this list"},
    {".mode", command_mode, "FORMAT: table, csv or json"},
    {".quit", command_quit, "leave; so does Ctrl-D"},
    {".read", command_read, "FILE: run the statements in it"},
    {".schema", command_schema, "[TABLE]: the columns"},
    {".tables", command_tables, "the tables"},
    {".timer", command_timer, "on|off: tell how long a statement took"},
};

static void command_help(shell *s, const char *argument) {
    (void)argument;
    (void)fputs(
        "A statement ends with `;` and may take several lines. Ctrl-C forgets it, or stops it "
        "when it runs.\n",
        s->c->out);
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        (void)fprintf(s->c->out, "%-10s %s\n", commands[i].name, commands[i].help);
    }
}

static void run_command(shell *s, char *line) {
    char *rest = line;
    const char *name = strsep(&rest, " \t");
    rest = rest == NULL ? line + strlen(line) : rest + strspn(rest, " \t");
    const char *names[COUNT_OF(commands)];
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        names[i] = commands[i].name;
        if (strcmp(name, names[i]) == 0) {
            commands[i].run(s, rest);
            (void)fflush(s->c->out);
            return;
        }
    }
    const char *near = cli_nearest(name, names, COUNT_OF(commands));
    (void)cli_usage(s->c, "there is no command %s: %s%s", name,
                    near == NULL ? "see .help" : "did you mean ", near == NULL ? "" : near);
}

/* --- lines --- */

static void forget_pending(shell *s) {
    s->pending.size = 0;
    buffer_append(&s->pending, "", 1);
}

static bool is_pending(const shell *s) {
    return !sql_is_blank((const char *)s->pending.data);
}

/* One line as typed, with its newline. */
static void take_line(shell *s, const char *line, size_t length) {
    if (line[0] == '.' && !is_pending(s)) {
        char *command = mem_printf("%.*s", (int)strcspn(line, "\r\n"), line);
        run_command(s, command);
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

/* --- completion --- */

static const char *const keywords[] = {
    "ALL",       "AND",    "ANTI",      "AS",       "ASC",      "ASOF",      "BETWEEN", "BY",
    "CASE",      "CAST",   "DESC",      "DESCRIBE", "DISTINCT", "ELSE",      "END",     "EXCEPT",
    "EXCLUDE",   "EXISTS", "EXPLAIN",   "FILTER",   "FROM",     "FULL",      "GROUP",   "HAVING",
    "IN",        "INNER",  "INTERSECT", "INTERVAL", "IS",       "JOIN",      "LEFT",    "LIKE",
    "LIMIT",     "NOT",    "NULL",      "OFFSET",   "ON",       "OR",        "ORDER",   "OVER",
    "PARTITION", "PIVOT",  "QUALIFY",   "RIGHT",    "SELECT",   "SUMMARIZE", "THEN",    "TIMESTAMP",
    "UNION",     "USING",  "VALUES",    "WHEN",     "WHERE",    "WINDOW",    "WITH",
};
static const char *const functions[] = {"account_pnl(",  "latest(",      "market_stats(", "ohlc(",
                                        "tape_status()", "user_trades(", "vwap("};

typedef struct candidates {
    const char *words[CANDIDATES_MAX];
    size_t count;
    const char *prefix;
    size_t prefix_length;
} candidates;

static void offer(candidates *list, const char *word) {
    if (strncasecmp(word, list->prefix, list->prefix_length) != 0 ||
        list->count == CANDIDATES_MAX) {
        return;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->words[i], word) == 0) {
            return;
        }
    }
    list->words[list->count++] = word;
}

static void offer_all(candidates *list) {
    static const char *const history[] = {"orders_history", "accounts_history", "positions_history",
                                          "instruments_history"};
    if (list->prefix[0] == '.') {
        for (size_t i = 0; i < COUNT_OF(commands); i++) {
            offer(list, commands[i].name);
        }
        return;
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = tape_table(id);
        offer(list, table->name);
        for (uint32_t i = 0; i < table->field_count; i++) {
            offer(list, table->fields[i].name);
        }
    }
    for (size_t i = 0; i < COUNT_OF(history); i++) {
        offer(list, history[i]);
    }
    for (size_t i = 0; i < COUNT_OF(functions); i++) {
        offer(list, functions[i]);
    }
    for (size_t i = 0; i < COUNT_OF(keywords) && list->prefix_length > 0; i++) {
        offer(list, keywords[i]);
    }
}

/* How far all candidates agree. */
static size_t common_length(const candidates *list) {
    size_t length = strlen(list->words[0]);
    for (size_t i = 1; i < list->count; i++) {
        size_t same = 0;
        while (same < length && tolower((unsigned char)list->words[0][same]) ==
                                    tolower((unsigned char)list->words[i][same])) {
            same++;
        }
        length = same;
    }
    return length;
}

static unsigned char complete(EditLine *editor, int key) {
    (void)key;
    const LineInfo *line = el_line(editor);
    const char *start = line->cursor;
    while (start > line->buffer &&
           (isalnum((unsigned char)start[-1]) != 0 || start[-1] == '_' || start[-1] == '.')) {
        start--;
    }
    /* `t.price`: what follows the dot is completed, but for a command at the line's start. */
    for (const char *at = start; at < line->cursor; at++) {
        start = *at == '.' && at > line->buffer ? at + 1 : start;
    }
    char *prefix = mem_printf("%.*s", (int)(line->cursor - start), start);
    candidates list = {.prefix = prefix, .prefix_length = strlen(prefix)};
    offer_all(&list);
    unsigned char result = CC_ERROR;
    size_t agreed = list.count == 0 ? 0 : common_length(&list);
    if (list.count == 1 || agreed > list.prefix_length) {
        char *insert = mem_printf("%.*s%s", (int)agreed, list.words[0], list.count == 1 ? " " : "");
        el_deletestr(editor, (int)list.prefix_length);
        result = el_insertstr(editor, insert) == 0 ? CC_REFRESH : CC_ERROR;
        free(insert);
    } else if (list.count > 1) {
        FILE *out = NULL;
        (void)el_get(editor, EL_GETFP, 1, &out);
        (void)fputc('\n', out);
        for (size_t i = 0; i < list.count; i++) {
            (void)fprintf(out, "%s%s", list.words[i], i + 1 < list.count ? "  " : "\n");
        }
        result = CC_REDISPLAY;
    }
    free(prefix);
    return result;
}

/* --- the terminal --- */

static char *prompt(EditLine *editor) {
    static char first[] = "tape> ";
    static char more[] = "   -> ";
    shell *s = NULL;
    (void)el_get(editor, EL_CLIENTDATA, &s);
    return is_pending(s) ? more : first;
}

/* One character from the terminal, for the editor. Ctrl-C may come between two reads, or to another
 * thread, and would be noticed at the next key only: so it is looked for while waiting. */
static int read_char(EditLine *editor, wchar_t *out) {
    mbstate_t state = {0};
    FILE *in = NULL;
    (void)el_get(editor, EL_GETFP, 0, &in);
    struct pollfd ready = {.fd = fileno(in), .events = POLLIN};
    for (;;) {
        char byte;
        if (cli_stopped()) {
            errno = EINTR;
            return -1;
        }
        if (poll(&ready, 1, STOP_POLL_MS) <= 0) {
            continue;
        }
        ssize_t got = read(ready.fd, &byte, 1);
        if (got <= 0) {
            return got < 0 ? -1 : 0;
        }
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-1) {
            *out = (unsigned char)byte; /* not of the locale's encoding: as it is */
            return 1;
        }
        if (used != (size_t)-2) {
            return 1;
        }
    }
}

static void open_editor(shell *s) {
    HistEvent event;
    const char *home = getenv("HOME");
    s->history = history_init();
    s->history_path = home == NULL ? NULL : mem_printf("%s/.tape_history", home);
    (void)history(s->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(s->history, &event, H_SETUNIQUE, 1);
    if (s->history_path != NULL) {
        (void)history(s->history, &event, H_LOAD, s->history_path);
    }
    s->editor = el_init("tape", stdin, s->c->out, s->c->err);
    (void)el_set(s->editor, EL_CLIENTDATA, s);
    (void)el_set(s->editor, EL_PROMPT, prompt);
    (void)el_set(s->editor, EL_EDITOR, "emacs");
    (void)el_set(s->editor, EL_SIGNAL, 0);
    (void)el_set(s->editor, EL_GETCFN, read_char);
    (void)el_set(s->editor, EL_HIST, history, s->history);
    (void)el_set(s->editor, EL_ADDFN, "tape-complete", "complete a word of SQL", complete);
    (void)el_set(s->editor, EL_BIND, "^I", "tape-complete", NULL);
    (void)el_set(s->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_source(s->editor, NULL);
}

static void close_editor(shell *s) {
    HistEvent event;
    el_end(s->editor);
    if (s->history_path != NULL) {
        mode_t before = umask(077); /* statements may name what others should not read */
        (void)history(s->history, &event, H_SAVE, s->history_path);
        (void)umask(before);
    }
    history_end(s->history);
    free(s->history_path);
}

/* Finds out whether there is a store, and becomes its owner unless there is one. */
static tape_status find_store(shell *s, tape_error *error) {
    char statement[] = "SELECT NULL LIMIT 0";
    char *words[2] = {s->args.words[0], statement};
    cli_args probe = s->args;
    probe.words = words;
    probe.count = 2;
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

static void remember(shell *s, const char *line) {
    size_t length = strcspn(line, "\r\n");
    if (strspn(line, " \t") < length) {
        HistEvent event;
        char *kept = mem_printf("%.*s", (int)length, line);
        (void)history(s->history, &event, H_ENTER, kept);
        free(kept);
    }
}

static void read_lines(shell *s) {
    while (!s->quit && !s->c->out_gone) {
        int length = 0;
        const char *line = el_gets(s->editor, &length);
        if (line == NULL && cli_stopped()) {
            (void)fputs("^C\n", s->c->out);
            forget_pending(s);
            s->quit = !cli_clear_stop();
        } else if (line == NULL || length <= 0) {
            (void)fputc('\n', s->c->out);
            return;
        } else {
            char *own = mem_printf("%.*s", length, line);
            remember(s, own);
            take_line(s, own, strlen(own));
            free(own);
        }
    }
}

int shell_run(cli *c, const cli_args *args) {
    shell s = {.c = c, .args = *args, .owner = {.dir = args->words[0]}};
    tape_error error = {0};
    if (args_value(&s.args, "format") == NULL) {
        args_set(&s.args, "format", result_format_name(RESULT_TABLE));
    }
    if (find_store(&s, &error) != TAPE_OK) {
        return cli_fail(c, &error);
    }
    (void)fprintf(c->out, "tape %s, %s%s. `.help` for help.\n", tape_version(), s.owner.dir,
                  s.owner.db == NULL ? ", owned by another process" : "");
    (void)fflush(c->out);
    forget_pending(&s);
    open_editor(&s);
    read_lines(&s);
    close_editor(&s);
    buffer_deinit(&s.pending);
    return session_end(&s.owner, c, EXIT_DONE);
}
