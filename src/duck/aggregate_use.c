/* Duck: where an aggregate of the user's must not be called.
 *
 * DuckDB hands its C aggregates one state for all rows where it shows them an array of states: in
 * windows over a whole partition and where the arguments are ordered. The reader of that array runs
 * past its end. States that a statement exports come back as bytes that anybody may have made. So
 * such calls are refused when the statement is parsed. */
#include "duck/duck_internal.h"

#include <stdlib.h>

#define FUNCTION_NAME "\"function_name\":\""
#define CLASS "\"class\":\""

/* Past the JSON value that begins at `at`. DuckDB writes it without blanks. */
static const char *skip_value(const char *at) {
    size_t depth = 0;
    bool text = false;
    for (; *at != '\0'; at++) {
        if (text) {
            at += *at == '\\' && at[1] != '\0';
            text = *at != '"';
        } else if (*at == '"') {
            text = true;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']' || *at == ',') {
            if (depth == 0) {
                break;
            }
            depth -= *at != ',';
        }
    }
    return at;
}

static bool begins(const char *at, const char *with) {
    return strncmp(at, with, strlen(with)) == 0;
}

/* What is wrong with the call whose name stands at `name`, or NULL. `tree` is what it stands in. A
 * quote within a text of the tree has a backslash before it, so the marks are found in no text. */
static const char *call_refusal(const char *tree, const char *name) {
    const char *at = name;
    while (at > tree && !begins(at, CLASS)) {
        at--;
    }
    if (!begins(at, CLASS "FUNCTION\"")) {
        return "with OVER";
    }
    for (at = skip_value(name); *at == ','; at = skip_value(at)) {
        at++;
        if (begins(at, "\"order_bys\":") &&
            strstr(at, "\"orders\":[]") != strstr(at, "\"orders\":")) {
            return "with ORDER BY among its arguments";
        }
        if (begins(at, "\"export_state\":true")) {
            return "with EXPORT_STATE";
        }
    }
    return NULL;
}

tape_status duck_check_aggregates(duck *d, const char *tree, tape_error *error) {
    const duck_aggregate *g = atomic_load_explicit(&d->aggregates, memory_order_acquire);
    for (; g != NULL; g = g->next) {
        size_t size = strlen(g->aggregate->name);
        const char *at = tree;
        while ((at = strstr(at, FUNCTION_NAME)) != NULL) {
            at += strlen(FUNCTION_NAME) - 1;
            if (strncmp(at + 1, g->aggregate->name, size) != 0 || at[1 + size] != '"') {
                continue;
            }
            const char *refusal = call_refusal(tree, at);
            if (refusal != NULL) {
                return error_set(error, TAPE_SQL,
                                 "%s cannot be called %s: an aggregate that is not DuckDB's own "
                                 "works with GROUP BY, DISTINCT and FILTER",
                                 g->aggregate->name, refusal);
            }
        }
    }
    return TAPE_OK;
}
