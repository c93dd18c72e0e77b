/* The shell of `tape sql`, and scripts of statements. Private to cli/. */
#ifndef CLI_SHELL_H
#define CLI_SHELL_H

#include "cli/cli_internal.h"

/* The bytes of `text` up to and including the `;` that ends its first statement; 0 when there is
 * none: quotes, dollar quotes and comments are skipped as DuckDB skips them. */
size_t sql_statement_length(const char *text);
/* Whether there is anything but spaces and comments. */
bool sql_is_blank(const char *text);

/* The line, from 1, on which the first statement begins. */
size_t sql_first_line(const char *text);
/* How many parameters a statement has: the highest $n, or the number of `?`. */
int sql_param_count(const char *text);

/* All of a file, called `name` in errors, as text of SQL. Caller frees, in any case. (verb_sql.c)
 */
tape_status sql_read_text(FILE *file, const char *name, char **out, tape_error *error) TAPE_CHECKED;

/* Runs the statements of `text` with the options of `args`, up to the first that fails, whose error
 * names `file` and the statement's line. */
int shell_script(cli *c, session *owner, const cli_args *args, const char *file, const char *text);
/* Reads statements and commands from the terminal. */
int shell_run(cli *c, const cli_args *args);

#endif
