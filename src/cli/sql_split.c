/* Where a statement of SQL ends.
 *
 * Purpose: enough of DuckDB's lexing to find the `;` that ends a statement: not one in quotes, in
 * dollar quotes, or in a comment (block comments nest). What a statement is allowed to be is not
 * decided here.
 * Invariants: (P1) every function reads forward once; an unfinished quote or comment is no end. */
#include "cli/shell.h"

#include <ctype.h>
#include <limits.h>
#include <stdlib.h>

static bool is_word(char c) {
    return isalnum((unsigned char)c) != 0 || c == '_' || (unsigned char)c >= 0x80;
}

/* Past the closing quote, which stands for itself when doubled; NULL when there is none. */
static const char *skip_quoted(const char *at, char quote, bool backslash) {
    for (at++; *at != '\0'; at++) {
        if (backslash && *at == '\\' && at[1] != '\0') {
            at++;
        } else if (*at == quote) {
            if (at[1] != quote) {
                return at + 1;
            }
            at++;
        }
    }
    return NULL;
}

/* Past $tag$ ... $tag$; `at` + 1 when it is not a dollar quote. */
static const char *skip_dollar(const char *at) {
    const char *tag = at + 1;
    while (is_word(*tag)) {
        tag++;
    }
    if (*tag != '$' || isdigit((unsigned char)at[1]) != 0) {
        return at + 1;
    }
    size_t length = (size_t)(tag + 1 - at);
    for (const char *end = tag + 1; (end = strchr(end, '$')) != NULL; end++) {
        if (strncmp(end, at, length) == 0) {
            return end + length;
        }
    }
    return NULL;
}

static const char *skip_block_comment(const char *at) {
    size_t depth = 0;
    while (*at != '\0') {
        if (at[0] == '/' && at[1] == '*') {
            depth++;
            at += 2;
        } else if (at[0] == '*' && at[1] == '/') {
            at += 2;
            if (--depth == 0) {
                return at;
            }
        } else {
            at++;
        }
    }
    return NULL;
}

/* Past the token at `at`: a quoted run, a comment, a word, or one character. NULL: it does not end.
 * */
static const char *skip_token(const char *at) {
    if (at[0] == '-' && at[1] == '-') {
        return at + strcspn(at, "\n");
    }
    if (at[0] == '/' && at[1] == '*') {
        return skip_block_comment(at);
    }
    if (at[0] == '\'' || at[0] == '"') {
        return skip_quoted(at, at[0], false);
    }
    if ((at[0] == 'e' || at[0] == 'E') && at[1] == '\'') {
        return skip_quoted(at + 1, '\'', true);
    }
    if (at[0] == '$') {
        return skip_dollar(at);
    }
    if (is_word(*at)) {
        while (is_word(*at) || *at == '$') {
            at++;
        }
        return at;
    }
    return at + 1;
}

size_t sql_statement_length(const char *text) {
    for (const char *at = text; at != NULL && *at != '\0'; at = skip_token(at)) {
        if (*at == ';') {
            return (size_t)(at - text) + 1;
        }
    }
    return 0;
}

/* Where a statement begins: past spaces, comments and lone semicolons. NULL: in a comment that does
 * not end. */
static const char *skip_blank(const char *at) {
    while (at != NULL && *at != '\0') {
        bool comment = (at[0] == '-' && at[1] == '-') || (at[0] == '/' && at[1] == '*');
        if (!comment && isspace((unsigned char)*at) == 0 && *at != ';') {
            return at;
        }
        at = skip_token(at);
    }
    return at;
}

bool sql_is_blank(const char *text) {
    const char *at = skip_blank(text);
    return at != NULL && *at == '\0';
}

size_t sql_first_line(const char *text) {
    const char *start = skip_blank(text);
    size_t line = 1;
    for (const char *at = text; start != NULL && at < start; at++) {
        line += *at == '\n';
    }
    return line;
}

int sql_param_count(const char *text) {
    int marks = 0;
    int highest = 0;
    for (const char *at = text; at != NULL && *at != '\0'; at = skip_token(at)) {
        if (*at == '?') {
            marks++;
        } else if (*at == '$' && isdigit((unsigned char)at[1]) != 0) {
            long number = strtol(at + 1, NULL, 10);
            highest = number > INT_MAX ? INT_MAX : number > highest ? (int)number : highest;
        }
    }
    return highest > marks ? highest : marks;
}
