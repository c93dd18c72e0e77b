/* Values of a statement's parameters ($1, $2, ...), as words. Private to cli/. */
#ifndef CLI_PARAMS_H
#define CLI_PARAMS_H

#include "base/base.h"

#include <tape/tape.h>

/* What a word looks like: NULL, true or false, a number as JSON has it (int64, uint64 or double), a
 * day with a time of day as cli_parse_time reads it, else text. "int:", "uint:", "double:",
 * "bool:", "text:" or "time:" before it settles the type: INVALID when it is none. Text points into
 * `word`.
 */
tape_status param_parse(const char *word, tape_value *out, tape_error *error) TAPE_CHECKED;
/* The word of a parameter as typed into the shell: quotes around it make it text. Caller frees. */
char *param_word(const char *typed);
/* As SQL would have it, with its type: "BIGINT 7". */
void param_print(buffer *out, const tape_value *value);
/* A time in any form the catalogue reads: RFC 3339 and its kin, a day, ns since 1970. */
bool cli_parse_time(const char *text, int64_t *ns);

#endif
