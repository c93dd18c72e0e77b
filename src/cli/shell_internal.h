/* What the parts of the shell share: shell.c (statements), shell_commands.c, shell_editor.c. */
#ifndef CLI_SHELL_INTERNAL_H
#define CLI_SHELL_INTERNAL_H

#include "cli/shell.h"

/* --- the line editor (shell_editor.c): the terminal, history, completion --- */

typedef struct shell_editor shell_editor;

/* `more` tells whether a statement has begun, and what `more_context` belongs to. */
shell_editor *shell_editor_open(cli *c, bool (*more)(void *context), void *more_context);
void shell_editor_close(shell_editor **editor);
/* The next line as typed, with its newline; NULL at the end, or when cli_stopped. The line is good
 * until the next call. */
const char *shell_editor_read(shell_editor *editor, int *length);
/* Puts a line into the history, and into its file at once. */
void shell_editor_remember(shell_editor *editor, const char *line);

/* --- the shell --- */

typedef struct shell {
    cli *c;
    cli_args args; /* of the verb, with format and parameters of now */
    session owner;
    bool timer;
    bool quit;
    buffer pending; /* lines of a statement not ended yet; NUL-terminated */
    shell_editor *editor;
    FILE *terminal; /* `c->out` is another file after `.output` */
    bool terminal_is;
    char *params[CLI_REPEATS_MAX]; /* what args.repeats point to */
} shell;

/* One line that starts with a dot, without its newline. (shell_commands.c) */
void shell_command(shell *s, char *line);
/* Goes back from the file of `.output` to the terminal. */
void shell_close_output(shell *s);
void shell_clear_params(shell *s);
/* Sets parameter `index`, from 0, at most one past the last; the word becomes the shell's. */
void shell_set_param(shell *s, int index, char *word);
extern const char *const shell_command_names[];
extern const size_t shell_command_count;

#endif
