/* query, private. */
#ifndef QUERY_INTERNAL_H
#define QUERY_INTERNAL_H

#include "duck/duck.h"
#include "query/query.h"

/* --- admission --- */

#define QUERY_SQL_BYTES_MAX MIB(1)
#define QUERY_NESTING_MAX 100u

/* Names of functions a statement must not call. */
typedef struct function_list {
    char **names;
    size_t count;
} function_list;

/* Fills `out` with the table functions of this DuckDB that read files, change settings or run
 * statements given as text: all but those known to be harmless. */
tape_status admit_list_functions(duck_session *s, function_list *out,
                                 tape_error *error) TAPE_CHECKED;
void function_list_deinit(function_list *list);

/* Lets in exactly one statement that only reads: SELECT in all its forms (FROM, WITH, VALUES,
 * TABLE, DESCRIBE, SHOW, SUMMARIZE, PIVOT) and, if `explain`, EXPLAIN of one. FORBIDDEN for the
 * rest; SQL when it does not parse; TOO_LARGE. Nothing of it runs. */
tape_status admit(duck_session *s, const function_list *forbidden, const char *sql, bool explain,
                  tape_error *error) TAPE_CHECKED;

/* --- catalogue --- */

/* Creates the views and macros that statements use. */
tape_status schema_create(duck_session *s, bool with_tables, tape_error *error) TAPE_CHECKED;

#endif
