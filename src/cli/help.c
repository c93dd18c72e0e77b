/* The help: for people, as the manual page, and as completion for shells.
 *
 * Purpose: everything here is printed from the table of verbs; docs/tape.1 and tools/completion
 * hold what `tape help --print` prints, and a test compares them. */
#include "cli/cli_internal.h"

#include <ctype.h>

#define HELP_COLUMNS 79

/* Wraps a text at spaces; "\n" ends a paragraph. */
static void print_wrapped(FILE *out, const char *text, size_t indent) {
    size_t column = 0;
    while (*text != '\0') {
        size_t length = strcspn(text, " \n");
        if (column > indent && column + 1 + length > HELP_COLUMNS) {
            (void)fputc('\n', out);
            column = 0;
        }
        if (column == 0) {
            column = (size_t)fprintf(out, "%*s", (int)indent, "");
        } else if (column > indent) {
            (void)fputc(' ', out);
            column++;
        }
        (void)fprintf(out, "%.*s", (int)length, text);
        column += length;
        text += length;
        if (*text == '\n') {
            (void)fputs("\n\n", out);
            column = 0;
        }
        text += *text != '\0';
    }
    (void)fputc('\n', out);
}

static void print_options(FILE *out, const cli_verb *verb) {
    for (int i = 0; i < CLI_OPTIONS_MAX && verb->options[i].name != NULL; i++) {
        const cli_option *option = &verb->options[i];
        char shown[64];
        char letter[8] = "";
        if (option->letter != 0) {
            (void)snprintf(letter, sizeof letter, "-%c, ", option->letter);
        }
        (void)snprintf(shown, sizeof shown, "%s--%s %s", letter, option->name,
                       option->value == NULL ? "" : option->value);
        (void)fprintf(out, "  %-22s %s\n", shown, option->help);
    }
}

static void print_all(FILE *out) {
    (void)fprintf(out, "tape %s: the record of an exchange\n\nusage: tape VERB ...\n\n",
                  tape_version());
    for (size_t i = 0; i < cli_verb_count; i++) {
        (void)fprintf(out, "  %-11s %s\n", cli_verbs[i].name, cli_verbs[i].summary);
    }
    (void)fputs(
        "\n`tape help VERB` tells more. Exit status: 0 done, 1 failed, 2 wrong usage, 3 not "
        "found.\n",
        out);
}

static void print_verb(FILE *out, const cli_verb *verb) {
    (void)fprintf(out, "tape %s %s\n\n", verb->name, verb->synopsis);
    print_wrapped(out, verb->text, 2);
    if (verb->options[0].name != NULL) {
        (void)fputs("\noptions:\n", out);
        print_options(out, verb);
    }
    if (verb->examples != NULL) {
        (void)fputs("\nexamples:\n", out);
        for (const char *at = verb->examples; *at != '\0';) {
            size_t length = strcspn(at, "\n");
            (void)fprintf(out, "  %.*s\n", (int)length, at);
            at += length + (at[length] != '\0');
        }
    }
}

int cli_help(cli *c, const char *name) {
    if (name == NULL) {
        print_all(c->out);
        return EXIT_DONE;
    }
    const cli_verb *verb = cli_verb_named(name);
    if (verb != NULL) {
        print_verb(c->out, verb);
        return EXIT_DONE;
    }
    const char *names[64];
    size_t count = 0;
    for (; count < cli_verb_count && count < COUNT_OF(names); count++) {
        names[count] = cli_verbs[count].name;
    }
    const char *near = cli_nearest(name, names, count);
    return near == NULL
               ? cli_usage(c, "there is no verb '%s': `tape help` lists them", name)
               : cli_usage(c, "there is no verb '%s': did you mean `tape %s`?", name, near);
}

/* --- the manual page --- */

/* Text for roff: a backslash, and a dot or quote at the start of a line, would be commands. */
static void print_roff(FILE *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\\') {
            (void)fputs("\\e", out);
        } else if (text[i] == '-') {
            (void)fputs("\\-", out);
        } else if ((text[i] == '.' || text[i] == '\'') && (i == 0 || text[i - 1] == '\n')) {
            (void)fprintf(out, "\\&%c", text[i]);
        } else {
            (void)fputc(text[i], out);
        }
    }
}

static void print_roff_paragraphs(FILE *out, const char *text) {
    while (*text != '\0') {
        size_t length = strcspn(text, "\n");
        print_roff(out, text, length);
        text += length;
        if (*text == '\n') {
            (void)fputs("\n.PP\n", out);
            text++;
        }
    }
    (void)fputc('\n', out);
}

static void print_man_verb(FILE *out, const cli_verb *verb) {
    (void)fprintf(out, ".SS tape %s ", verb->name);
    print_roff(out, verb->synopsis, strlen(verb->synopsis));
    (void)fputc('\n', out);
    print_roff_paragraphs(out, verb->text);
    for (int i = 0; i < CLI_OPTIONS_MAX && verb->options[i].name != NULL; i++) {
        const cli_option *option = &verb->options[i];
        (void)fputs(".TP\n", out);
        if (option->letter != 0) {
            (void)fprintf(out, "\\fB\\-%c\\fR, ", option->letter);
        }
        (void)fprintf(out, "\\fB\\-\\-%s\\fR", option->name);
        if (option->value != NULL) {
            (void)fprintf(out, " \\fI%s\\fR", option->value);
        }
        (void)fputc('\n', out);
        print_roff(out, option->help, strlen(option->help));
        (void)fputc('\n', out);
    }
    if (verb->examples != NULL) {
        (void)fputs(".PP\n.nf\n.RS\n", out);
        print_roff(out, verb->examples, strlen(verb->examples));
        (void)fputs(".RE\n.fi\n", out);
    }
}

static void print_man(FILE *out) {
    (void)fprintf(
        out,
        ".TH TAPE 1 \"\" \"tape %s\" \"User Commands\"\n"
        ".SH NAME\ntape \\- the record of an exchange\n"
        ".SH SYNOPSIS\n.B tape\n.I VERB\n.RI [ options ]\n"
        ".SH DESCRIPTION\n"
        "A store is a directory that holds one totally ordered journal of orders, trades, "
        "accounts, positions, instruments, ticks and depth, and answers point reads and "
        "SQL about it. One process owns a store at a time: a load, a simulation, or a "
        "program that embeds the library. While there is an owner, get, scan, sql, status, "
        "verify, checkpoint, compact and archive are answered by it and see its live state; "
        "without one they open the store themselves. tail needs no owner.\n"
        ".SH VERBS\n",
        tape_version());
    for (size_t i = 0; i < cli_verb_count; i++) {
        print_man_verb(out, &cli_verbs[i]);
    }
    (void)fputs(
        ".SH EXIT STATUS\n0 done; 1 failed; 2 wrong usage; 3 not found. An error is one line "
        "on stderr: tape: CODE: what happened, where, and what to do.\n"
        ".SH ENVIRONMENT\n.TP\nTMPDIR\nwhere scratch files go\n"
        ".TP\nCOLUMNS\nwidth of tables, instead of the terminal's\n"
        ".TP\nTAPE_HISTORY\nthe file of the shell's history; empty: none is kept\n"
        ".SH FILES\n.TP\n$XDG_STATE_HOME/tape/history, or ~/.tape_history where that is not "
        "set\nlines typed into the shell of tape sql\n",
        out);
}

/* --- completion --- */

static void print_words(FILE *out, const cli_verb *verb) {
    for (int i = 0; i < CLI_OPTIONS_MAX && verb->options[i].name != NULL; i++) {
        (void)fprintf(out, "--%s ", verb->options[i].name);
    }
    (void)fputs("--help", out);
}

static void print_tables(FILE *out) {
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        (void)fprintf(out, "%s%s", id == 1 ? "" : " ", tape_table(id)->name);
    }
}

static void print_verb_names(FILE *out) {
    for (size_t i = 0; i < cli_verb_count; i++) {
        (void)fprintf(out, "%s%s", i == 0 ? "" : " ", cli_verbs[i].name);
    }
}

/* The part that bash and zsh share: what may stand at the cursor. */
static void print_bash(FILE *out) {
    (void)fputs("# Completion of tape for bash. Printed by `tape help --print bash`.\n"
                "_tape() {\n"
                "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
                "    local verb=${COMP_WORDS[1]} words=\n"
                "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                "        COMPREPLY=($(compgen -W \"",
                out);
    print_verb_names(out);
    (void)fputs(" --help --version\" -- \"$word\"))\n        return\n    fi\n"
                "    case $before in\n"
                "    --level | --ack) words=\"written durable committed\" ;;\n"
                "    --format) words=\"table csv json line arrow parquet\" ;;\n"
                "    --from) [ \"$verb\" = tail ] && words=\"earliest latest\" ;;\n"
                "    --tables) words=\"",
                out);
    print_tables(out);
    (void)fputs(
        "\" ;;\n    --print) words=\"man bash zsh fish\" ;;\n    esac\n"
        "    if [ -n \"$words\" ]; then\n"
        "        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n        return\n    fi\n"
        "    case $verb:$word in\n",
        out);
    for (size_t i = 0; i < cli_verb_count; i++) {
        (void)fprintf(out, "    %s:-*) words=\"", cli_verbs[i].name);
        print_words(out, &cli_verbs[i]);
        (void)fputs("\" ;;\n", out);
    }
    (void)fputs("    help:*) words=\"", out);
    print_verb_names(out);
    (void)fputs("\" ;;\n    ", out);
    const char *between = "";
    for (size_t i = 0; i < cli_verb_count; i++) {
        if (strstr(cli_verbs[i].synopsis, "DIR TABLE") != NULL ||
            strstr(cli_verbs[i].synopsis, "DIR [TABLE") != NULL) {
            (void)fprintf(out, "%s%s:*", between, cli_verbs[i].name);
            between = " | ";
        }
    }
    (void)fputs(") [ \"$COMP_CWORD\" -eq 3 ] && words=\"", out);
    print_tables(out);
    (void)fputs("\" ;;\n    esac\n"
                "    if [ -n \"$words\" ]; then\n"
                "        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n"
                "    else\n        COMPREPLY=($(compgen -f -- \"$word\"))\n    fi\n}\n"
                "complete -o filenames -F _tape tape\n",
                out);
}

static void print_zsh(FILE *out) {
    (void)fputs("#compdef tape\n# Completion of tape for zsh. Printed by `tape help --print zsh`.\n"
                "_tape() {\n    local -a verbs\n    verbs=(\n",
                out);
    for (size_t i = 0; i < cli_verb_count; i++) {
        (void)fprintf(out, "        '%s:%s'\n", cli_verbs[i].name, cli_verbs[i].summary);
    }
    (void)fputs("    )\n    if (( CURRENT == 2 )); then\n        _describe verb verbs\n        "
                "return\n    fi\n    case $words[2] in\n",
                out);
    for (size_t i = 0; i < cli_verb_count; i++) {
        (void)fprintf(out, "    %s) _arguments ", cli_verbs[i].name);
        for (int o = 0; o < CLI_OPTIONS_MAX && cli_verbs[i].options[o].name != NULL; o++) {
            const cli_option *option = &cli_verbs[i].options[o];
            (void)fprintf(
                out, "'--%s[%.*s]%s%s%s' ", option->name, (int)strcspn(option->help, ";'"),
                option->help, option->value == NULL ? "" : ":",
                option->value == NULL ? "" : option->value, option->value == NULL ? "" : ":_files");
        }
        (void)fputs("'*:file:_files' ;;\n", out);
    }
    (void)fputs("    esac\n}\n_tape \"$@\"\n", out);
}

static void print_fish(FILE *out) {
    (void)fputs("# Completion of tape for fish. Printed by `tape help --print fish`.\n", out);
    for (size_t i = 0; i < cli_verb_count; i++) {
        (void)fprintf(out, "complete -c tape -n __fish_use_subcommand -f -a %s -d '%s'\n",
                      cli_verbs[i].name, cli_verbs[i].summary);
    }
    for (size_t i = 0; i < cli_verb_count; i++) {
        for (int o = 0; o < CLI_OPTIONS_MAX && cli_verbs[i].options[o].name != NULL; o++) {
            const cli_option *option = &cli_verbs[i].options[o];
            (void)fprintf(
                out, "complete -c tape -n '__fish_seen_subcommand_from %s' -l %s%s -d '%.*s'\n",
                cli_verbs[i].name, option->name, option->value == NULL ? "" : " -r",
                (int)strcspn(option->help, ";'"), option->help);
        }
    }
}

int verb_help(cli *c, const cli_args *args) {
    static const struct {
        const char *name;
        void (*print)(FILE *out);
    } prints[] = {
        {"man", print_man}, {"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    const char *wanted = args_value(args, "print");
    if (wanted == NULL) {
        return cli_help(c, args->count == 0 ? NULL : args->words[0]);
    }
    for (size_t i = 0; i < COUNT_OF(prints); i++) {
        if (strcmp(prints[i].name, wanted) == 0) {
            prints[i].print(c->out);
            return EXIT_DONE;
        }
    }
    return cli_usage(c, "--print %s: man, bash, zsh or fish", wanted);
}
