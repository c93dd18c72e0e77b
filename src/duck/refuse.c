/* Duck: statements that DuckDB 1.5 does not survive, found when they are parsed.
 *
 * Aggregates of the user's. In windows over a whole partition, and where the arguments are ordered,
 * DuckDB hands its C aggregates one state for all rows in an array of one pointer where it shows
 * them an array of a pointer per row: the reader runs past its end. States that a statement exports
 * come back as bytes that anybody may have made.
 *
 * Parameters. What is planned before the values are known may hold a parameter without a type where
 * another use of it has one: "typeof($1), $1::VARCHAR". DuckDB plans anew when the values come if
 * the statement scans anything; if it does not, it may run that plan and ends with an internal
 * error, which invalidates the database. */
#include "duck/duck_internal.h"

#include <stdlib.h>

#define FUNCTION_NAME "\"function_name\":\""
#define CLASS "\"class\":\""
#define TABLE_NAME "\"table_name\":\""
#define IDENTIFIER "\"identifier\":\""

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

static tape_status check_aggregates(duck *d, const char *tree, tape_error *error) {
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

/* Whether the statement names anything that is scanned: a table function, or a table that is not a
 * common table expression of its own. */
static bool scans(const char *tree) {
    if (strstr(tree, "\"type\":\"TABLE_FUNCTION\"") != NULL) {
        return true;
    }
    for (const char *at = tree; (at = strstr(at, TABLE_NAME)) != NULL;) {
        at += strlen(TABLE_NAME) - 1;
        char *key = mem_printf("\"key\":%.*s,", (int)(skip_value(at) - at), at);
        bool own = strstr(tree, key) != NULL;
        free(key);
        if (!own) {
            return true;
        }
    }
    return false;
}

static tape_status check_parameters(const char *tree, tape_error *error) {
    const char *first = strstr(tree, IDENTIFIER);
    if (first == NULL || scans(tree)) {
        return TAPE_OK;
    }
    for (const char *at = first; at != NULL; at = strstr(at, IDENTIFIER)) {
        const char *end = skip_value(at);
        char *use = mem_printf("%.*s", (int)(end - at), at);
        bool again = strstr(end, use) != NULL;
        int size = (int)(strlen(use) - strlen(IDENTIFIER) - 1);
        const char *name = use + strlen(IDENTIFIER);
        if (again) {
            (void)error_set(error, TAPE_SQL,
                            "the statement reads no table and uses $%.*s more than once, which "
                            "DuckDB does not plan right: give each use a parameter of its own",
                            size, name);
        }
        free(use);
        if (again) {
            return TAPE_SQL;
        }
        at = end;
    }
    return TAPE_OK;
}

tape_status duck_check_tree(duck *d, const char *tree, tape_error *error) {
    tape_status status = check_aggregates(d, tree, error);
    return status == TAPE_OK ? check_parameters(tree, error) : status;
}
