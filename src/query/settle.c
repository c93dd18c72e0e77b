/* Settle: expressions that DuckDB evaluates for tape: what a WHERE compares ts with.
 *
 * An expression goes back to DuckDB as the JSON it came as, and comes out as the ns since 1970 it
 * stands for where it is compared with a TIMESTAMP_NS; of a type that is compared otherwise, as
 * NULL. Each is tried alone, so that one that fails (as it will in the statement) is of no use, no
 * more. */
#include "query/query_internal.h"

#include <stdlib.h>

static void take_text(void *context, const char *text) {
    char **out = context;
    if (*out == NULL) {
        *out = mem_strdup(text);
    }
}

/* The expression as SQL; caller frees; NULL when DuckDB does not take it back. */
static char *expression_sql(duck_session *s, const plan_value *v) {
    static const char HEAD[] = "SELECT ";
    char *json = mem_printf(
        "{\"error\":false,\"statements\":[{\"node\":{\"type\":\"SELECT_NODE\",\"modifiers\":[],"
        "\"cte_map\":{\"map\":[]},\"select_list\":[%s],\"from_table\":{\"type\":\"EMPTY\","
        "\"alias\":\"\",\"sample\":null,\"query_location\":0},\"where_clause\":null,"
        "\"group_expressions\":[],\"group_sets\":[],\"aggregate_handling\":\"STANDARD_HANDLING\","
        "\"having\":null,\"sample\":null,\"qualify\":null},\"named_param_map\":[]}]}",
        v->text);
    char *quoted = duck_quote(json);
    char *sql = mem_printf("SELECT json_deserialize_sql(%s)", quoted);
    char *text = NULL;
    char *out = NULL;
    tape_error ignored;
    if (duck_session_each(s, sql, take_text, &text, &ignored) == TAPE_OK && text != NULL &&
        strncmp(text, HEAD, strlen(HEAD)) == 0) {
        const char *e = text + strlen(HEAD);
        out = v->literal ? mem_printf("TRY(epoch_ns(CAST((%s) AS TIMESTAMP_NS)))", e)
                         : mem_printf("CASE WHEN typeof((%s)) IN ('TIMESTAMP', 'TIMESTAMP_NS', "
                                      "'TIMESTAMP_MS', 'TIMESTAMP_S', 'DATE') "
                                      "THEN TRY(epoch_ns(CAST((%s) AS TIMESTAMP_NS))) END",
                                      e, e);
    }
    free(text);
    free(sql);
    free(quoted);
    free(json);
    return out;
}

typedef struct moments {
    plan_moment *list; /* in order, as far as wanted */
    size_t count, max;
} moments;

static void take_moment(void *context, const char *text) {
    moments *m = context;
    char *end;
    if (m->count < m->max) {
        m->list[m->count].ns = strtoll(text, &end, 10);
        m->list[m->count++].known = *text != '\0' && *end == '\0';
    }
}

/* The value of one expression, and its SQL. */
static void settle_one(duck_session *s, plan_value *v, buffer *clocks) {
    char *expression = expression_sql(s, v);
    v->kind = expression == NULL ? PLAN_VALUE_NONE : v->kind;
    if (expression != NULL && v->clock) {
        buffer_printf(clocks, "%s(%s)", clocks->size == 0 ? "" : ", ", expression);
    } else if (expression != NULL) {
        plan_moment moment = {0};
        moments m = {.list = &moment, .max = 1};
        char *sql = mem_printf("SELECT %s", expression);
        tape_error ignored;
        bool done = duck_session_each(s, sql, take_moment, &m, &ignored) == TAPE_OK;
        v->kind = done && moment.known ? PLAN_VALUE_TIME : PLAN_VALUE_NONE;
        v->ns = moment.ns;
        free(sql);
    }
    free(expression);
}

void plan_settle(plan *p, duck_session *s) {
    buffer clocks = {0};
    for (uint32_t n = 0; n < p->expression_count; n++) {
        settle_one(s, p->expressions[n], &clocks);
    }
    if (clocks.size > 0) {
        buffer_append(&clocks, "", 1);
        p->clock_sql = mem_printf("SELECT unnest([%s])", (const char *)clocks.data);
    }
    buffer_deinit(&clocks);
}

void plan_moments(const plan *p, duck_session *s, plan_moment *out) {
    plan_moment found[PLAN_EXPRESSIONS_MAX] = {0};
    moments m = {.list = found, .max = PLAN_EXPRESSIONS_MAX};
    tape_error ignored;
    memset(out, 0, PLAN_EXPRESSIONS_MAX * sizeof *out);
    if (p->clock_sql == NULL ||
        duck_session_each(s, p->clock_sql, take_moment, &m, &ignored) != TAPE_OK) {
        return;
    }
    size_t next = 0;
    for (uint32_t n = 0; n < p->expression_count; n++) {
        if (p->expressions[n]->clock && p->expressions[n]->kind == PLAN_VALUE_SQL) {
            out[n] = found[next++];
        }
    }
}
