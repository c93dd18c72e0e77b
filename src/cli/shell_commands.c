/* The shell's own commands: lines that start with a dot.
 *
 * Invariants: (D1) a command that fails leaves the shell as it was, but for `.read`, which has run
 * the statements before the one that failed. */
#include "cli/params.h"
#include "cli/shell_internal.h"

#include <errno.h>
#include <stdlib.h>

/* --- the catalogue --- */

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

static void print_schema(FILE *out, const tape_table_info *table, const char *suffix) {
    static const char *const types[] = {[TAPE_FIELD_U64] = "UBIGINT",
                                        [TAPE_FIELD_TIME] = "TIMESTAMP_NS",
                                        [TAPE_FIELD_F64] = "DOUBLE",
                                        [TAPE_FIELD_ENUM] = "VARCHAR",
                                        [TAPE_FIELD_ID] = "VARCHAR"};
    (void)fprintf(out, "%s%s (\n", table->name, suffix);
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
    static const char suffix[] = "_history";
    size_t length = strlen(argument);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = tape_table(id);
        size_t name = strlen(table->name);
        if (length == 0) {
            print_schema(s->c->out, table, "");
        } else if (table->kind == TAPE_KIND_ENTITY && strncmp(argument, table->name, name) == 0 &&
                   strcmp(argument + name, suffix) == 0) {
            print_schema(s->c->out, table, suffix);
            return;
        }
    }
    const tape_table_info *table = length == 0 ? NULL : args_table(s->c, argument);
    if (table != NULL) {
        print_schema(s->c->out, table, "");
    }
}

/* --- how results look, and where they go --- */

static void command_timer(shell *s, const char *argument) {
    if (strcmp(argument, "on") != 0 && strcmp(argument, "off") != 0) {
        (void)cli_usage(s->c, ".timer on, or .timer off");
        return;
    }
    s->timer = strcmp(argument, "on") == 0;
}

static void command_mode(shell *s, const char *argument) {
    result_format format;
    if (!result_format_named(argument, &format) || format > RESULT_LINE) {
        (void)cli_usage(s->c, ".mode table, .mode csv, .mode json, or .mode line");
        return;
    }
    args_set(&s->args, "format", result_format_name(format));
}

void shell_close_output(shell *s) {
    cli *c = s->c;
    if (c->out == s->terminal) {
        return;
    }
    (void)cli_finish(c, EXIT_DONE);
    (void)fclose(c->out);
    c->out = s->terminal;
    c->out_terminal = s->terminal_is;
    c->out_gone = false;
    c->out_errno = 0;
}

static void command_output(shell *s, const char *argument) {
    cli *c = s->c;
    FILE *file = argument[0] == '\0' ? NULL : fopen(argument, "we");
    if (argument[0] != '\0' && file == NULL) {
        tape_error error;
        (void)error_set_errno(&error, errno, argument, "write");
        (void)cli_fail(c, &error);
        return;
    }
    shell_close_output(s);
    if (file != NULL) {
        c->out = file;
        c->out_terminal = false;
    }
}

/* --- statements --- */

static void command_read(shell *s, const char *argument) {
    char *text = NULL;
    tape_error error;
    int64_t start = clock_monotonic_ns();
    if (argument[0] == '\0') {
        (void)cli_usage(s->c, ".read FILE");
        return;
    }
    FILE *file = fopen(argument, "re");
    tape_status status = file == NULL ? error_set_errno(&error, errno, argument, "read")
                                      : sql_read_text(file, argument, &text, &error);
    if (status != TAPE_OK) {
        (void)cli_fail(s->c, &error);
    } else {
        (void)shell_script(s->c, &s->owner, &s->args, argument, text);
        s->quit = !cli_clear_stop();
        if (s->timer) {
            (void)fprintf(s->terminal, "%.3f s\n", (double)(clock_monotonic_ns() - start) / 1e9);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    free(text);
}

void shell_set_param(shell *s, int index, char *word) {
    ASSERT(index >= 0 && index <= s->args.repeat_count && index < CLI_REPEATS_MAX);
    free(s->params[index]);
    s->params[index] = word;
    s->args.repeats[index] = word;
    if (index == s->args.repeat_count) {
        s->args.repeat_count++;
    }
}

void shell_clear_params(shell *s) {
    for (int i = 0; i < s->args.repeat_count; i++) {
        free(s->params[i]);
        s->params[i] = NULL;
    }
    s->args.repeat_count = 0;
}

static void list_params(shell *s) {
    for (int i = 0; i < s->args.repeat_count; i++) {
        tape_value value;
        buffer text = {0};
        if (param_parse(s->args.repeats[i], &value, NULL) == TAPE_OK) {
            param_print(&text, &value);
        }
        (void)fprintf(s->c->out, "$%d %.*s\n", i + 1, (int)text.size, (const char *)text.data);
        buffer_deinit(&text);
    }
}

/* "[$]N VALUE" */
static void set_param(shell *s, const char *argument) {
    const char *digits = argument + (argument[0] == '$');
    size_t length = strcspn(digits, " \t");
    const char *value = digits + length + strspn(digits + length, " \t");
    uint64_t number = 0;
    if (!number_parse_u64(digits, length, &number) || *value == '\0') {
        (void)cli_usage(s->c, ".param set N VALUE");
        return;
    }
    if (number == 0 || number > (uint64_t)s->args.repeat_count + 1 || number > CLI_REPEATS_MAX) {
        (void)cli_usage(s->c, "the next parameter is $%d, and there are at most %d",
                        s->args.repeat_count + 1, CLI_REPEATS_MAX);
        return;
    }
    tape_value parsed;
    tape_error error;
    char *word = param_word(value);
    if (param_parse(word, &parsed, &error) != TAPE_OK) {
        (void)cli_fail(s->c, &error);
        free(word);
        return;
    }
    shell_set_param(s, (int)number - 1, word);
}

static void command_param(shell *s, const char *argument) {
    if (strcmp(argument, "clear") == 0) {
        shell_clear_params(s);
    } else if (strcmp(argument, "list") == 0) {
        list_params(s);
    } else if (strncmp(argument, "set", 3) == 0 && (argument[3] == ' ' || argument[3] == '\t')) {
        set_param(s, argument + 3 + strspn(argument + 3, " \t"));
    } else {
        (void)cli_usage(s->c, ".param set N VALUE, .param list, or .param clear");
    }
}

static void command_quit(shell *s, const char *argument) {
    (void)argument;
    s->quit = true;
}

/* --- all of them --- */

static void command_help(shell *s, const char *argument);

const char *const shell_command_names[] = {".help", ".mode",   ".output", ".param", ".quit",
                                           ".read", ".schema", ".tables", ".timer"};
const size_t shell_command_count = COUNT_OF(shell_command_names);

/* In the order of their names. */
static const struct {
    void (*run)(shell *s, const char *argument);
    const char *help;
} commands[COUNT_OF(shell_command_names)] = {
    {command_help, "this list"},
    {command_mode, "FORMAT: table, csv, json or line"},
    {command_output, "[FILE]: where results go; without FILE, to the terminal again"},
    {command_param, "set N VALUE | list | clear: the values of $1, $2, ... in statements"},
    {command_quit, "leave; so does Ctrl-D"},
    {command_read, "FILE: run the statements in it, up to the first that fails"},
    {command_schema, "[TABLE]: the columns"},
    {command_tables, "the tables"},
    {command_timer, "on|off: tell how long a statement took"},
};

static void command_help(shell *s, const char *argument) {
    (void)argument;
    (void)fputs(
        "A statement ends with `;` and may take several lines. Ctrl-C forgets it, or stops it "
        "when it runs.\n",
        s->terminal);
    for (size_t i = 0; i < shell_command_count; i++) {
        (void)fprintf(s->terminal, "%-10s %s\n", shell_command_names[i], commands[i].help);
    }
    (void)fputs("A VALUE is what it looks like, as for --param; in quotes it is text.\n",
                s->terminal);
}

void shell_command(shell *s, char *line) {
    size_t length = strlen(line);
    while (length > 0 && (line[length - 1] == ' ' || line[length - 1] == '\t')) {
        line[--length] = '\0';
    }
    char *rest = line;
    const char *name = strsep(&rest, " \t");
    rest = rest == NULL ? line + length : rest + strspn(rest, " \t");
    for (size_t i = 0; i < shell_command_count; i++) {
        if (strcmp(name, shell_command_names[i]) == 0) {
            commands[i].run(s, rest);
            (void)fflush(s->c->out);
            (void)fflush(s->terminal);
            return;
        }
    }
    const char *near = cli_nearest(name, shell_command_names, shell_command_count);
    (void)cli_usage(s->c, "there is no command %s: %s%s", name,
                    near == NULL ? "see .help" : "did you mean ", near == NULL ? "" : near);
}
