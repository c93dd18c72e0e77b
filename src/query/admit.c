/* Admission: which statements run.
 *
 * A statement is judged by DuckDB's own syntax tree, not by its text: DuckDB serialises only SELECT
 * (and what it turns into one), so whatever serialises cannot write, attach, install or set. What
 * is left to forbid is inside a SELECT: table functions that read files, change how DuckDB runs or
 * take statements as text, and files named as tables. Both stand in the tree under fixed names.
 *
 * Invariants
 *  A1 What was parsed is what runs: only the words EXPLAIN and its options come off before parsing.
 *  A2 A table function that is not known to be harmless is forbidden, so that a newer DuckDB's are.
 * The text itself is only looked at for its size, its shape and its first words. */
#include "query/query_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* Table functions that only look at their arguments, at the catalogue, or at tape's own rows. */
static const char *const HARMLESS[] = {
    "duckdb_approx_database_count",
    "duckdb_columns",
    "duckdb_constraints",
    "duckdb_databases",
    "duckdb_dependencies",
    "duckdb_extensions",
    "duckdb_functions",
    "duckdb_indexes",
    "duckdb_keywords",
    "duckdb_memory",
    "duckdb_optimizers",
    "duckdb_schemas",
    "duckdb_sequences",
    "duckdb_settings",
    "duckdb_tables",
    "duckdb_temporary_files",
    "duckdb_types",
    "duckdb_variables",
    "duckdb_views",
    "generate_series",
    "icu_calendar_names",
    "json_each",
    "json_tree",
    "pg_timezone_names",
    "pragma_collations",
    "pragma_database_size",
    "pragma_platform",
    "pragma_show",
    "pragma_table_info",
    "pragma_user_agent",
    "pragma_version",
    "range",
    "repeat",
    "repeat_row",
    "sql_auto_complete",
    "summary",
    "tape_status",
    "test_all_types",
    "test_vector_types",
    "unnest",
};

/* Scalar functions that bind a statement given as text, write, or are tape's own and only right in
 * the SELECTs it makes. */
static const char *const SCALARS[] = {"json_serialize_plan", "write_log", "tape_newest",
                                      "tape_superseded_by"};

static void list_add(void *context, const char *name) {
    function_list *list = context;
    for (size_t n = 0; n < COUNT_OF(HARMLESS); n++) {
        if (strcasecmp(name, HARMLESS[n]) == 0) {
            return;
        }
    }
    list->names = mem_realloc(list->names, (list->count + 1) * sizeof *list->names);
    list->names[list->count++] = mem_strdup(name);
}

tape_status admit_list_functions(duck_session *s, function_list *out, tape_error *error) {
    *out = (function_list){0};
    for (size_t n = 0; n < COUNT_OF(SCALARS); n++) {
        list_add(out, SCALARS[n]);
    }
    return duck_session_each(s,
                             "SELECT DISTINCT function_name FROM duckdb_functions() "
                             "WHERE function_type = 'table'",
                             list_add, out, error);
}

void function_list_deinit(function_list *list) {
    for (size_t n = 0; n < list->count; n++) {
        free(list->names[n]);
    }
    free(list->names);
    *list = (function_list){0};
}

/* --- the text --- */

static bool is_word(char c) {
    return isalnum((unsigned char)c) || c == '_' || (unsigned char)c >= 0x80;
}

/* Past blanks and comments; block comments nest. */
static const char *skip_blanks(const char *at) {
    for (;;) {
        if (isspace((unsigned char)*at)) {
            at++;
        } else if (at[0] == '-' && at[1] == '-') {
            while (*at != '\0' && *at != '\n') {
                at++;
            }
        } else if (at[0] == '/' && at[1] == '*') {
            size_t depth = 0;
            do {
                bool open = at[0] == '/' && at[1] == '*';
                bool close = at[0] == '*' && at[1] == '/';
                depth += open;
                depth -= close;
                at += open || close ? 2 : 1;
            } while (*at != '\0' && depth > 0);
        } else {
            return at;
        }
    }
}

static const char *skip_word(const char *at) {
    while (is_word(*at)) {
        at++;
    }
    return at;
}

static bool word_is(const char *at, const char *end, const char *word) {
    size_t size = strlen(word);
    return (size_t)(end - at) == size && strncasecmp(at, word, size) == 0;
}

static bool is_analyze(const char *at, const char *end) {
    return word_is(at, end, "ANALYZE") || word_is(at, end, "ANALYSE");
}

static bool is_explain_option(const char *at, const char *end) {
    return is_analyze(at, end) || word_is(at, end, "VERBOSE") || word_is(at, end, "FORMAT");
}

/* The statement that an EXPLAIN explains; `sql` itself when it is none. */
static const char *explained(const char *sql, admit_explain *kind) {
    *kind = EXPLAIN_NOT;
    const char *at = skip_blanks(sql);
    const char *end = skip_word(at);
    if (!word_is(at, end, "EXPLAIN")) {
        return sql;
    }
    at = skip_blanks(end);
    const char *option = *at == '(' ? skip_blanks(at + 1) : at;
    if (*at == '(' && is_explain_option(option, skip_word(option))) {
        admit_explain found = EXPLAIN_PLAN;
        for (at = option; is_word(*at) || *at == ','; at = skip_blanks(at)) {
            end = *at == ',' ? at + 1 : skip_word(at);
            found = is_analyze(at, end) ? EXPLAIN_ANALYZE : found;
            at = end;
        }
        *kind = *at == ')' ? found : EXPLAIN_NOT;
        return *at == ')' ? at + 1 : sql;
    }
    *kind = EXPLAIN_PLAN;
    for (end = skip_word(at); is_explain_option(at, end); end = skip_word(at)) {
        *kind = is_analyze(at, end) ? EXPLAIN_ANALYZE : *kind;
        at = skip_blanks(end);
    }
    return at;
}

/* Past a quoted run that starts at `at`: text, identifier or $tag$...$tag$. In E'...', which
 * `escaped` tells, a backslash quotes. */
static const char *skip_quoted(const char *at, bool escaped) {
    char quote = *at;
    if (quote == '$') {
        const char *tag_end = skip_word(at + 1);
        if (*tag_end != '$') {
            return at + 1;
        }
        size_t size = (size_t)(tag_end + 1 - at);
        for (const char *end = at + size; *end != '\0'; end++) {
            if (strncmp(end, at, size) == 0) {
                return end + size;
            }
        }
        return at + strlen(at);
    }
    for (at++; *at != '\0'; at++) {
        if (*at == quote) {
            return at + 1;
        }
        at += escaped && *at == '\\' && at[1] != '\0';
    }
    return at;
}

/* What a text is like, as far as DuckDB's parser minds: it recurses, and takes time that grows with
 * the square of some of its parts, and cannot be interrupted. */
typedef struct shape {
    size_t nesting; /* of parentheses, brackets, braces and CASEs */
    size_t selects, conjunctions;
} shape;

static shape shape_of(const char *sql) {
    shape s = {0};
    size_t depth = 0;
    bool escaped = false;
    const char *at = skip_blanks(sql);
    while (*at != '\0') {
        const char *end = skip_word(at);
        if (strchr("([{", *at) != NULL || word_is(at, end, "CASE")) {
            depth++;
        } else if (depth > 0 && (strchr(")]}", *at) != NULL || word_is(at, end, "END"))) {
            depth--;
        }
        s.nesting = depth > s.nesting ? depth : s.nesting;
        s.selects += word_is(at, end, "SELECT") || word_is(at, end, "FROM");
        s.conjunctions += word_is(at, end, "AND") || word_is(at, end, "OR");
        if (end > at) {
            escaped = word_is(at, end, "E") && *end == '\'';
            at = end;
        } else if (*at == '\'' || *at == '"' || *at == '$') {
            at = skip_quoted(at, escaped);
            escaped = false;
        } else {
            at++;
        }
        at = skip_blanks(at);
    }
    return s;
}

static tape_status check_shape(const char *sql, tape_error *error) {
    shape s = shape_of(sql);
    if (s.nesting > QUERY_NESTING_MAX) {
        return error_set(error, TAPE_TOO_LARGE, "the statement nests deeper than %u levels",
                         QUERY_NESTING_MAX);
    }
    if (s.selects > QUERY_SELECTS_MAX || s.conjunctions > QUERY_CONJUNCTIONS_MAX) {
        return error_set(error, TAPE_TOO_LARGE,
                         "the statement is too complex: it has %zu SELECTs and FROMs and %zu ANDs "
                         "and ORs, the limits are %u and %u",
                         s.selects, s.conjunctions, QUERY_SELECTS_MAX, QUERY_CONJUNCTIONS_MAX);
    }
    return TAPE_OK;
}

/* --- the tree --- */

static bool has_key(const tree_node *node, const char *key) {
    return node->key_size == strlen(key) && memcmp(node->key, key, node->key_size) == 0;
}

static tape_status check_function(const function_list *forbidden, const tree_node *name,
                                  tape_error *error) {
    for (size_t n = 0; n < forbidden->count; n++) {
        if (tree_is_name(name, forbidden->names[n])) {
            return error_set(error, TAPE_FORBIDDEN,
                             "the function %s is not permitted: statements see tape's tables, "
                             "not files or settings",
                             forbidden->names[n]);
        }
    }
    return TAPE_OK;
}

/* Refuses what DuckDB would take for a file. */
static tape_status check_name(const tree_node *name, tape_error *error) {
    if (memchr(name->text, '.', name->size) == NULL &&
        memchr(name->text, '/', name->size) == NULL) {
        return TAPE_OK;
    }
    return error_set(error, TAPE_FORBIDDEN,
                     "%.*s is not permitted: statements see tape's tables, not files",
                     (int)(name->size < 200 ? name->size : 200), name->text);
}

/* Functions, and tables, which are named by references and as the argument of the macro latest. */
static tape_status check_names(const function_list *forbidden, const json_tree *t,
                               tape_error *error) {
    tape_status status = TAPE_OK;
    for (tree_node *n = t->root; n != NULL && status == TAPE_OK; n = tree_next(t->root, n, true)) {
        if (n->kind != TREE_TEXT) {
            continue;
        }
        if (has_key(n, "table_name")) {
            status = check_name(n, error);
        } else if (has_key(n, "function_name")) {
            status = check_function(forbidden, n, error);
            tree_node *arguments =
                tree_is_name(n, "latest") ? tree_member(n->parent, "children") : NULL;
            for (tree_node *a = arguments; a != NULL && status == TAPE_OK;
                 a = tree_next(arguments, a, true)) {
                status =
                    a->kind == TREE_TEXT && has_key(a, "value") ? check_name(a, error) : TAPE_OK;
            }
        }
    }
    return status;
}

static tape_status refuse_kind(const char *sql, tape_error *error) {
    const char *at = skip_blanks(sql);
    const char *end = skip_word(at);
    if (word_is(at, end, "PIVOT")) {
        return error_set(error, TAPE_FORBIDDEN,
                         "PIVOT needs its columns listed: PIVOT ... ON column IN (value, ...)");
    }
    if (word_is(at, end, "SELECT") || word_is(at, end, "WITH") || word_is(at, end, "FROM") ||
        end == at) {
        return error_set(error, TAPE_FORBIDDEN,
                         "one statement at a time, and only one that reads, is permitted");
    }
    return error_set(error, TAPE_FORBIDDEN,
                     "%.*s is not permitted: only statements that read are (SELECT, FROM, WITH, "
                     "VALUES, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN)",
                     (int)(end - at < 40 ? end - at : 40), at);
}

static unsigned line_of(const char *sql, size_t offset) {
    unsigned line = 1;
    for (size_t n = 0; n < offset && sql[n] != '\0'; n++) {
        line += sql[n] == '\n';
    }
    return line;
}

static const char *text_of(const tree_node *node, char *out, size_t size) {
    (void)snprintf(out, size, "%.*s", node == NULL ? 0 : (int)node->size,
                   node == NULL ? "" : node->text);
    return out;
}

/* The tree is {"error":true,"error_type":...,"error_message":...,["position":"N"]}. */
static tape_status refuse_tree(const char *sql, const json_tree *t, tape_error *error) {
    char message[512];
    char number[32];
    const tree_node *position = tree_member(t->root, "position");
    if (tree_is(tree_member(t->root, "error_type"), "not implemented")) {
        return refuse_kind(sql, error);
    }
    unsigned line = position == NULL
                        ? 1
                        : line_of(sql, strtoul(text_of(position, number, sizeof number), NULL, 10));
    (void)text_of(tree_member(t->root, "error_message"), message, sizeof message);
    char *text = mem_printf("Parser Error: %s\n\nLINE %u",
                            *message == '\0' ? "the statement cannot be read" : message, line);
    tape_status status = duck_fail(error, text);
    free(text);
    return status;
}

void admitted_deinit(admitted *a) {
    tree_deinit(&a->tree);
    free(a->json);
    a->json = NULL;
}

/* Judges what DuckDB made of the statement. */
static tape_status judge(const function_list *forbidden, const char *body, admitted *a,
                         tape_error *error) {
    if (!tree_parse(&a->tree, a->json, strlen(a->json))) {
        return error_set(error, TAPE_TOO_LARGE,
                         "the statement is too complex: it takes %zu bytes once it is read, the "
                         "limit is %llu",
                         strlen(a->json), (unsigned long long)TREE_BYTES_MAX);
    }
    if (!tree_is(tree_member(a->tree.root, "error"), "false")) {
        return refuse_tree(body, &a->tree, error);
    }
    const tree_node *list = tree_member(a->tree.root, "statements");
    if (list == NULL || list->first == NULL || list->first->next != NULL) {
        return error_set(error, TAPE_FORBIDDEN, "one statement at a time is permitted");
    }
    tape_status status = check_names(forbidden, &a->tree, error);
    return status == TAPE_OK ? limits_check(&a->tree, error) : status;
}

tape_status admit(duck_session *s, const function_list *forbidden, const char *sql, bool explain,
                  admitted *out, tape_error *error) {
    size_t size = strlen(sql);
    *out = (admitted){0};
    if (size > QUERY_SQL_BYTES_MAX) {
        return error_set(error, TAPE_TOO_LARGE, "the statement has %zu bytes, the limit is %llu",
                         size, (unsigned long long)QUERY_SQL_BYTES_MAX);
    }
    const char *first = skip_blanks(sql);
    if (*first == '\0' || strcmp(first, ";") == 0) {
        return error_set(error, TAPE_SQL, "the statement is empty");
    }
    tape_status status = check_shape(sql, error);
    if (status != TAPE_OK) {
        return status;
    }
    out->body = explain ? explained(sql, &out->explain) : sql;
    status = duck_session_parse(s, out->body, strlen(out->body), &out->json, error);
    if (status == TAPE_OK) {
        status = judge(forbidden, out->body, out, error);
    }
    if (status != TAPE_OK) {
        admitted_deinit(out);
    }
    return status;
}
