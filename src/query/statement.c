/* Statement: one statement in a session, by DuckDB.
 *
 * The order is what makes one table of two places: the columns are pinned, then the archive's view
 * is opened. Whatever the columns dropped before the pin is in the view, whatever the archive took
 * after the view stays in the columns. With A the view's seq, rows with seq <= A come from files
 * and rows with A < seq <= S from the columns.
 *
 * Invariants
 *  V1 A session's variables say what the statement that runs has to read, for every relation of its
 *     plan.
 *  V2 A prepared statement runs only while the variables of its relations have the texts they had
 *     when it was prepared.
 *  V3 Pin and view stay open until the result is closed. */
#include "query/query_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* While a statement waits for the columns, its caller is asked this often whether to go on. */
#define REACH_ASK_NS INT64_C(50000000)

/* --- the relations' texts --- */

static uint64_t hash_text(const char *text) {
    /* FNV-1a, of texts of our own making. */
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *text != '\0'; text++) {
        hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
    }
    return hash;
}

/* The SELECT that gives a relation. What has to be newer than the archive is in the columns. */
static char *relation_text(session *s, unsigned relation, uint64_t seq) {
    const tape_table_info *table = record_table(plan_relation_table(relation));
    const plan_hint *h = &s->hints.tables[table->id];
    bool versions = plan_relation_is_history(relation) || table->kind == TAPE_KIND_EVENT;
    buffer sql = {0};
    bool any = s->view != NULL && !(h->any && h->seq_min > archive_view_seq(s->view)) &&
               archive_view_sql(s->view, table, versions ? ARCHIVE_VERSIONS : ARCHIVE_NEWEST, seq,
                                h->any ? &h->hint : NULL, &sql, &s->readings[relation].archive);
    char *hot = schema_hot(relation);
    if (any) {
        buffer_append_text(&sql, " UNION ALL ");
    }
    buffer_append_text(&sql, hot);
    buffer_append(&sql, "", 1);
    free(hot);
    return (char *)sql.data;
}

static tape_status set_text(session *s, unsigned relation, char *text, tape_error *error) {
    if (s->texts[relation] != NULL && strcmp(s->texts[relation], text) == 0) {
        free(text);
        return TAPE_OK;
    }
    char variable[SCHEMA_NAME_BYTES];
    schema_variable(relation, variable);
    tape_status status = duck_session_set(s->duck, variable, text, error);
    free(s->texts[relation]);
    s->texts[relation] = status == TAPE_OK ? text : NULL;
    s->text_hashes[relation] = status == TAPE_OK ? hash_text(text) : 0;
    if (status != TAPE_OK) {
        free(text);
    }
    return status;
}

/* A session's variables start out unset; views that a statement names without reading them, as in
 * SHOW ALL TABLES, have to bind all the same. */
static tape_status set_first_texts(session *s, tape_error *error) {
    tape_status status = TAPE_OK;
    for (unsigned r = 1; r < PLAN_RELATIONS && status == TAPE_OK && s->count == 0; r++) {
        if ((plan_relations_all() & PLAN_RELATION_BIT(r)) != 0) {
            status = set_text(s, r, schema_hot(r), error);
        }
    }
    return status;
}

/* --- what the statement sees --- */

static tape_status check_history(const session *s, const plan *p, uint64_t seq, tape_error *error) {
    for (unsigned r = 1; r < PLAN_RELATIONS && s->view != NULL; r++) {
        const tape_table_info *table = record_table(plan_relation_table(r));
        if ((p->relations & PLAN_RELATION_BIT(r)) == 0 || table->kind != TAPE_KIND_ENTITY) {
            continue;
        }
        uint64_t from = archive_view_history_seq(s->view, table->id);
        if (seq < from) {
            return error_set(error, TAPE_TOO_OLD,
                             "versions of %s at seq %" PRIu64 " are no longer kept: the oldest seq "
                             "that can be asked about is %" PRIu64,
                             table->name, seq, from);
        }
    }
    return TAPE_OK;
}

tape_status query_reach(query *q, uint64_t seq, const tape_query_options *options,
                        int64_t deadline_ns, tape_error *error) {
    if (q->options.reach == NULL) {
        return TAPE_OK;
    }
    for (;;) {
        int64_t until_ns = options->cancelled == NULL ? INT64_MAX : clock_deadline_ns(REACH_ASK_NS);
        until_ns = until_ns < deadline_ns ? until_ns : deadline_ns;
        tape_status status = q->options.reach(q->options.context, seq, until_ns, error);
        if (status != TAPE_TIMEOUT || until_ns == deadline_ns) {
            return status;
        }
        if (options->cancelled(options->cancel_context)) {
            return error_set(error, TAPE_CANCELLED, "the statement was cancelled");
        }
    }
}

/* From here on the clock stands still, so that what hints were taken from is what the statement
 * compares with. */
static tape_status take_hints(session *s, const plan *p, const tape_query_options *options,
                              tape_error *error) {
    plan_moment moments[PLAN_EXPRESSIONS_MAX] = {0};
    tape_status status = TAPE_OK;
    if (p->clock_sql != NULL) {
        status = duck_session_run(s->duck, "BEGIN TRANSACTION READ ONLY", error);
        s->in_transaction = status == TAPE_OK;
        if (status == TAPE_OK) {
            plan_moments(p, s->duck, moments);
        }
    }
    if (status == TAPE_OK) {
        plan_hints_init(&s->hints, p, options->params, options->param_count, moments);
        s->hinted = true;
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT && status == TAPE_OK; id++) {
        const plan_hint *h = &s->hints.tables[id];
        duck_session_hint(s->duck, id, h->any ? &h->hint : NULL);
    }
    return status;
}

static uint64_t hot_rows(const columns *c, uint16_t table, uint64_t after, uint64_t seq) {
    return seq <= after ? 0 : columns_row_after(c, table, seq) - columns_row_after(c, table, after);
}

static tape_status see(query *q, session *s, const plan *p, uint64_t seq,
                       const tape_query_options *options, int64_t deadline_ns, tape_error *error) {
    tape_status status = query_reach(q, seq, options, deadline_ns, error);
    if (status != TAPE_OK) {
        return status;
    }
    s->pin = columns_pin_open(q->options.columns);
    uint64_t after = columns_pin_base(s->pin);
    if (q->options.archive != NULL) {
        s->view = archive_view_open(q->options.archive);
        after = archive_view_seq(s->view);
    }
    duck_session_see(s->duck, after, seq);
    status = check_history(s, p, seq, error);
    if (status == TAPE_OK) {
        status = take_hints(s, p, options, error);
    }
    for (unsigned r = 1; r < PLAN_RELATIONS && status == TAPE_OK; r++) {
        if ((p->relations & PLAN_RELATION_BIT(r)) != 0) {
            s->readings[r] = (reading){0};
            status = set_text(s, r, relation_text(s, r, seq), error);
            if (p->explain) {
                s->readings[r].hot_rows =
                    hot_rows(q->options.columns, plan_relation_table(r), after, seq);
            }
        }
    }
    return status;
}

void statement_end(session *s) {
    tape_error error;
    duck_statement_close(&s->once);
    if (s->in_transaction && duck_session_run(s->duck, "ROLLBACK", &error) != TAPE_OK) {
        s->spoilt = true;
    }
    s->in_transaction = false;
    if (s->hinted) {
        for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
            duck_session_hint(s->duck, id, NULL);
        }
        plan_hints_deinit(&s->hints);
        s->hinted = false;
    }
    archive_view_close(&s->view);
    columns_pin_close(&s->pin);
}

/* --- prepared statements --- */

static bool is_current(const session *s, const prepared *p) {
    for (unsigned r = 1; r < PLAN_RELATIONS; r++) {
        if ((p->relations & PLAN_RELATION_BIT(r)) != 0 && p->texts[r] != s->text_hashes[r]) {
            return false;
        }
    }
    return true;
}

/* What was prepared over other files holds them open. */
static void forget_old_views(session *s) {
    uint64_t version = s->view == NULL ? 0 : archive_view_version(s->view);
    if (s->view == NULL || version == s->view_version) {
        return;
    }
    s->view_version = version;
    for (size_t n = 0; n < STATEMENTS_KEPT; n++) {
        prepared *kept = &s->statements[n];
        if (kept->relations != 0) {
            duck_statement_close(&kept->statement);
            free(kept->sql);
            *kept = (prepared){0};
        }
    }
}

static tape_status find_prepared(session *s, const plan *p, duck_statement **out,
                                 tape_error *error) {
    prepared *oldest = &s->statements[0];
    forget_old_views(s);
    if (p->sql_size > PLAN_KEPT_TEXT_MAX) {
        tape_status status = duck_statement_prepare(s->duck, p->sql, &s->once, error);
        *out = s->once;
        return status;
    }
    for (size_t n = 0; n < STATEMENTS_KEPT; n++) {
        prepared *kept = &s->statements[n];
        if (kept->statement != NULL && strcmp(kept->sql, p->sql) == 0 && is_current(s, kept)) {
            kept->used = s->count;
            *out = kept->statement;
            return TAPE_OK;
        }
        oldest = kept->used < oldest->used ? kept : oldest;
    }
    duck_statement_close(&oldest->statement);
    free(oldest->sql);
    *oldest = (prepared){0};
    tape_status status = duck_statement_prepare(s->duck, p->sql, &oldest->statement, error);
    if (status == TAPE_OK) {
        oldest->sql = mem_strdup(p->sql);
        oldest->relations = p->relations;
        oldest->used = s->count;
        memcpy(oldest->texts, s->text_hashes, sizeof oldest->texts);
        *out = oldest->statement;
    }
    return status;
}

tape_status statement_start(query *q, session *s, const plan *p, uint64_t seq,
                            const tape_query_options *options, int64_t deadline_ns,
                            duck_result **out, tape_error *error) {
    duck_statement *statement = NULL;
    *out = NULL;
    tape_status status = set_first_texts(s, error);
    s->spoilt = s->spoilt || status != TAPE_OK;
    s->count++;
    if (status == TAPE_OK && p->relations != 0) {
        status = see(q, s, p, seq, options, deadline_ns, error);
    }
    if (status == TAPE_OK) {
        status = find_prepared(s, p, &statement, error);
    }
    if (status == TAPE_OK) {
        status = duck_statement_start(statement, options->params, options->param_count, out, error);
    }
    if (status != TAPE_OK) {
        statement_end(s);
    }
    return status;
}
