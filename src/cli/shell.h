/* The shell of `tape sql`, and scripts of statements. Private to cli/. */
#ifndef CLI_SHELL_H
#define CLI_SHELL_H

#include "cli/cli_internal.h"

/* The bytes of `text` up to and including the `;` that ends its first statement; 0 when there is
 * none: quotes, dollar quotes and comments are skipped as DuckDB skips them. */
size_t sql_statement_length(const char *text);
/* Whether there is anything but spaces and comments. */
bool sql_is_blank(const char *text);

/* Runs the statements of `text` with the options of `args`, up to the first that fails. */
int shell_script(cli *c, session *owner, const cli_args *args, const char *text);
/* Reads statements and commands from the terminal. */
int shell_run(cli *c, const cli_args *args);

#endif
