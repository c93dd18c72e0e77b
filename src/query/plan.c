/* Plan: from DuckDB's tree of a statement to what tape has to know of it.
 *
 * Invariants
 *  L1 plan.relations has every relation that the statement may read: what is not understood reads
 *     all of them.
 *  L2 A relation that is read in a place not understood, or under a name that a WITH also gives,
 *     is open: no constraint holds for it.
 *  L3 A result is kept only if every function in the statement is known to give the same result
 *     again, every relation is known, and no sample is taken.
 * Threads: plans are made by one thread and do not change afterwards. */
#include "query/plan_make.h"

#include <stdlib.h>
#include <strings.h>

/* --- relations --- */

#define HISTORY "_history"

uint32_t plan_relations_all(void) {
    uint32_t all = 0;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        all |= PLAN_RELATION_BIT(id);
        if (record_table(id)->kind == TAPE_KIND_ENTITY) {
            all |= PLAN_RELATION_BIT(TAPE_TABLE_COUNT + id);
        }
    }
    return all;
}

unsigned plan_relation_named(const char *name, size_t size) {
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        size_t length = strlen(table->name);
        if (size < length || strncasecmp(name, table->name, length) != 0) {
            continue;
        }
        if (size == length) {
            return id;
        }
        if (table->kind == TAPE_KIND_ENTITY && size == length + strlen(HISTORY) &&
            strncasecmp(name + length, HISTORY, strlen(HISTORY)) == 0) {
            return TAPE_TABLE_COUNT + id;
        }
    }
    return 0;
}

/* --- the maker --- */

void *plan_alloc(plan_maker *maker, size_t size) {
    void *memory = arena_alloc(&maker->plan->arena, size, 8);
    ASSERT(memory != NULL);
    memset(memory, 0, size);
    return memory;
}

static const char *keep_text(plan_maker *maker, const char *text, size_t size) {
    char *copy = plan_alloc(maker, size + 1);
    memcpy(copy, text, size);
    return copy;
}

static void open_relation(plan_maker *maker, unsigned relation) {
    if (relation != 0) {
        maker->plan->relations |= PLAN_RELATION_BIT(relation);
        maker->plan->open |= PLAN_RELATION_BIT(relation);
    }
}

static void open_all(plan_maker *maker) {
    maker->plan->relations = plan_relations_all();
    maker->plan->open = maker->plan->relations;
    maker->plan->keepable = false;
}

plan_reference *plan_reference_add(plan_maker *maker, unsigned relation) {
    plan_reference *r = plan_alloc(maker, sizeof *r);
    r->relation = relation;
    r->next = maker->plan->references;
    maker->plan->references = r;
    maker->plan->relations |= PLAN_RELATION_BIT(relation);
    return r;
}

static int compare_texts(const char *a, size_t a_size, const char *b, size_t b_size) {
    int order = strncasecmp(a, b, a_size < b_size ? a_size : b_size);
    return order != 0 ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_nodes(const void *a, const void *b) {
    const tree_node *x = *(const tree_node *const *)a;
    const tree_node *y = *(const tree_node *const *)b;
    return compare_texts(x->text, x->size, y->text, y->size);
}

static bool gives_cte_name(const tree_node *node) {
    return node->kind == TREE_TEXT && (tree_member(node->parent, "key") == node ||
                                       tree_member(node->parent, "cte_name") == node);
}

static void find_ctes(plan_maker *maker) {
    tree_node *root = maker->tree->root;
    size_t count = 0;
    for (tree_node *n = root; n != NULL; n = tree_next(root, n, true)) {
        count += gives_cte_name(n);
    }
    maker->ctes = plan_alloc(maker, count * sizeof *maker->ctes);
    for (tree_node *n = root; n != NULL; n = tree_next(root, n, true)) {
        if (gives_cte_name(n)) {
            maker->ctes[maker->cte_count++] = n;
        }
    }
    qsort(maker->ctes, count, sizeof *maker->ctes, compare_nodes);
}

/* Whether a WITH anywhere in the statement gives this name. */
static bool is_cte(const plan_maker *maker, const tree_node *name) {
    return maker->cte_count > 0 && bsearch(&name, maker->ctes, maker->cte_count,
                                           sizeof *maker->ctes, compare_nodes) != NULL;
}

/* Of a BASE_TABLE: that it is not in somebody else's schema. */
static bool is_ours(const tree_node *node) {
    return (!tree_set(node, "schema_name") ||
            tree_is_name(tree_member(node, "schema_name"), "main")) &&
           (!tree_set(node, "catalog_name") ||
            tree_is_name(tree_member(node, "catalog_name"), "memory"));
}

unsigned plan_base_table(const plan_maker *maker, const tree_node *node) {
    const tree_node *name = tree_member(node, "table_name");
    if (name == NULL || !is_ours(node) || tree_set(node, "at_clause") || is_cte(maker, name)) {
        return 0;
    }
    return plan_relation_named(name->text, name->size);
}

/* --- values --- */

static const char *const CLOCK_COLUMNS[] = {"current_timestamp", "current_date", "localtimestamp",
                                            "current_time", "localtime"};
static const char *const CLOCK_FUNCTIONS[] = {"now", "get_current_timestamp",
                                              "transaction_timestamp", "today", "current_date"};

static bool is_among(const tree_node *node, const char *const *names, size_t count) {
    for (size_t n = 0; n < count; n++) {
        if (tree_is_name(node, names[n])) {
            return true;
        }
    }
    return false;
}

static int compare_name(const void *key, const void *entry) {
    const tree_node *node = key;
    const char *name = *(const char *const *)entry;
    return compare_texts(node->text, node->size, name, strlen(name));
}

static bool is_consistent(const plan_maker *maker, const tree_node *name) {
    return name != NULL && maker->functions->count > 0 &&
           bsearch(name, maker->functions->consistent, maker->functions->count,
                   sizeof *maker->functions->consistent, compare_name) != NULL;
}

static const tree_node *single_name(const tree_node *column_ref) {
    const tree_node *names = tree_member(column_ref, "column_names");
    return names != NULL && names->first != NULL && names->first->next == NULL ? names->first
                                                                               : NULL;
}

/* Whether the expression has the same value wherever it stands; *clock: but for the time. */
static bool is_constant(const plan_maker *maker, tree_node *expression, bool *clock) {
    *clock = false;
    for (tree_node *n = expression; n != NULL; n = tree_next(expression, n, true)) {
        const tree_node *class = n->kind == TREE_OBJECT ? tree_member(n, "class") : NULL;
        if (class == NULL) {
            continue;
        }
        if (tree_is(class, "FUNCTION")) {
            const tree_node *name = tree_member(n, "function_name");
            bool tells = is_among(name, CLOCK_FUNCTIONS, COUNT_OF(CLOCK_FUNCTIONS));
            *clock = *clock || tells;
            if (!tells && !is_consistent(maker, name)) {
                return false;
            }
        } else if (tree_is(class, "COLUMN_REF")) {
            *clock = true;
            if (!maker->clock_names ||
                !is_among(single_name(n), CLOCK_COLUMNS, COUNT_OF(CLOCK_COLUMNS))) {
                return false;
            }
        } else if (!tree_is(class, "CONSTANT") && !tree_is(class, "CAST")) {
            return false;
        }
    }
    return true;
}

/* $1 is 1; 0 for $name. */
static unsigned param_number(const tree_node *node) {
    const tree_node *id = tree_member(node, "identifier");
    uint64_t number;
    bool good = id != NULL && number_parse_u64(id->text, id->size, &number) && number <= UINT16_MAX;
    return good ? (unsigned)number : 0;
}

/* A number as DuckDB wrote it; of a decimal the digits, to be divided by 10 ^ scale. */
static bool real_of(const tree_node *type, const tree_node *value, double *out) {
    const tree_node *scale = tree_member(tree_member(type, "type_info"), "scale");
    uint64_t digits = 0;
    if (value->kind != TREE_NUMBER || !number_parse_f64(value->text, value->size, out)) {
        return false;
    }
    if (!tree_is(tree_member(type, "id"), "DECIMAL")) {
        return true;
    }
    if (scale == NULL || !number_parse_u64(scale->text, scale->size, &digits) || digits > 38) {
        return false;
    }
    for (; digits > 0; digits--) {
        *out /= 10;
    }
    return true;
}

static bool constant_of(plan_maker *maker, const tree_node *node, plan_column column,
                        plan_value *out) {
    const tree_node *constant = tree_member(node, "value");
    const tree_node *type = tree_member(constant, "type");
    const tree_node *id = tree_member(type, "id");
    const tree_node *value = tree_member(constant, "value");
    if (value == NULL || tree_set(constant, "is_null")) {
        return false;
    }
    if (column == PLAN_INSTRUMENT) {
        *out = (plan_value){.kind = PLAN_VALUE_TEXT,
                            .text = keep_text(maker, value->text, value->size),
                            .size = value->size};
        return value->kind == TREE_TEXT && tree_is(id, "VARCHAR");
    }
    bool whole = tree_is(id, "INTEGER") || tree_is(id, "BIGINT");
    if (column == PLAN_REAL) {
        out->kind = PLAN_VALUE_REAL;
        return (whole || tree_is(id, "DOUBLE") || tree_is(id, "DECIMAL")) &&
               real_of(type, value, &out->real);
    }
    out->kind = PLAN_VALUE_SEQ;
    return whole && value->kind == TREE_NUMBER &&
           number_parse_u64(value->text, value->size, &out->seq);
}

bool plan_value_of(plan_maker *maker, tree_node *node, plan_column column, plan_value *out) {
    const tree_node *class = tree_member(node, "class");
    bool clock;
    if (tree_is(class, "PARAMETER")) {
        *out = (plan_value){.kind = PLAN_VALUE_PARAM, .param = param_number(node)};
        return out->param != 0;
    }
    if (column != PLAN_TS) {
        return tree_is(class, "CONSTANT") && constant_of(maker, node, column, out);
    }
    if (class == NULL || maker->plan->expression_count == PLAN_EXPRESSIONS_MAX ||
        !is_constant(maker, node, &clock)) {
        return false;
    }
    *out = (plan_value){
        .kind = PLAN_VALUE_SQL,
        .clock = clock,
        .literal =
            tree_is(class, "CONSTANT") &&
            tree_is(tree_member(tree_member(tree_member(node, "value"), "type"), "id"), "VARCHAR"),
        .text = keep_text(maker, node->text, node->size),
        .size = node->size,
        .index = maker->plan->expression_count,
    };
    maker->plan->expressions[maker->plan->expression_count++] = out;
    return true;
}

/* --- table functions --- */

/* The macros and what they read; `instrument`: the first argument is the instrument of trades. */
static const struct {
    const char *name;
    uint32_t relations;
    bool instrument;
} MACROS[] = {
    {"ohlc", PLAN_RELATION_BIT(TAPE_TABLE_TRADES), true},
    {"vwap", PLAN_RELATION_BIT(TAPE_TABLE_TRADES), true},
    {"market_stats", PLAN_RELATION_BIT(TAPE_TABLE_TRADES), true},
    {"user_trades", PLAN_RELATION_BIT(TAPE_TABLE_TRADES), false},
    {"account_pnl",
     PLAN_RELATION_BIT(TAPE_TABLE_ACCOUNTS) | PLAN_RELATION_BIT(TAPE_TABLE_POSITIONS) |
         PLAN_RELATION_BIT(TAPE_TABLE_TRADES) | PLAN_RELATION_BIT(TAPE_TABLE_INSTRUMENTS),
     false},
};

/* Table functions that read nothing but their arguments. */
static const char *const PLAIN[] = {"range",      "generate_series", "unnest",   "repeat",
                                    "repeat_row", "json_each",       "json_tree"};

static void take_macro(plan_maker *maker, uint32_t relations, bool instrument,
                       tree_node *arguments) {
    plan_value *v = plan_alloc(maker, sizeof *v);
    tree_node *first = arguments == NULL ? NULL : arguments->first;
    if (instrument && first != NULL && !tree_set(first, "alias") &&
        plan_value_of(maker, first, PLAN_INSTRUMENT, v)) {
        const tape_table_info *trades = record_table(TAPE_TABLE_TRADES);
        plan_constraint *c = plan_alloc(maker, sizeof *c);
        *c = (plan_constraint){
            .column = PLAN_INSTRUMENT,
            .op = PLAN_AMONG,
            .field = (uint32_t)(record_field_named(trades, "instrument_id") - trades->fields),
            .count = 1,
            .values = v};
        plan_reference_add(maker, TAPE_TABLE_TRADES)->constraints = c;
        return;
    }
    for (unsigned r = 1; r < PLAN_RELATIONS; r++) {
        if ((relations & PLAN_RELATION_BIT(r)) != 0) {
            open_relation(maker, r);
        }
    }
}

/* latest('ticks'), latest(ticks). */
static void take_latest(plan_maker *maker, const tree_node *arguments) {
    const tree_node *first = arguments == NULL ? NULL : arguments->first;
    const tree_node *name = tree_member(tree_member(first, "value"), "value");
    name = name != NULL ? name : single_name(first);
    unsigned relation =
        name == NULL || name->kind != TREE_TEXT ? 0 : plan_relation_named(name->text, name->size);
    if (relation == 0) {
        open_all(maker);
    }
    open_relation(maker, relation);
}

static void take_table_function(plan_maker *maker, tree_node *node) {
    tree_node *function = tree_member(node, "function");
    const tree_node *name = tree_member(function, "function_name");
    tree_node *arguments = tree_member(function, "children");
    if (name == NULL) {
        open_all(maker);
        return;
    }
    function->taken = true;
    if (is_among(name, PLAIN, COUNT_OF(PLAIN))) {
        return;
    }
    if (tree_is_name(name, "tape_status")) {
        maker->plan->keepable = false;
        return;
    }
    if (tree_is_name(name, "latest")) {
        take_latest(maker, arguments);
        return;
    }
    for (size_t n = 0; n < COUNT_OF(MACROS); n++) {
        if (tree_is_name(name, MACROS[n].name)) {
            take_macro(maker, MACROS[n].relations, MACROS[n].instrument, arguments);
            return;
        }
    }
    open_all(maker);
}

/* --- the walk --- */

static void take_base_table(plan_maker *maker, const tree_node *node) {
    const tree_node *name = tree_member(node, "table_name");
    unsigned relation = name == NULL ? 0 : plan_relation_named(name->text, name->size);
    if (relation != 0) {
        open_relation(maker, relation);
    } else if (name == NULL || !is_ours(node) || !is_cte(maker, name)) {
        open_all(maker);
    }
}

static void take_object(plan_maker *maker, tree_node *node) {
    const tree_node *type = tree_member(node, "type");
    const tree_node *class = tree_member(node, "class");
    plan *p = maker->plan;
    if (tree_set(node, "sample")) {
        p->keepable = false;
    }
    if (tree_is(type, "SELECT_NODE")) {
        plan_take_select(maker, node);
    } else if (tree_is(type, "BASE_TABLE") && !node->taken) {
        take_base_table(maker, node);
    } else if (tree_is(type, "TABLE_FUNCTION")) {
        take_table_function(maker, node);
    } else if (tree_is(type, "SHOW_REF")) {
        open_all(maker);
    } else if ((tree_is(class, "FUNCTION") || tree_is(class, "WINDOW")) && !node->taken) {
        p->keepable = p->keepable && is_consistent(maker, tree_member(node, "function_name"));
    } else if (tree_is(class, "COLUMN_REF")) {
        p->keepable =
            p->keepable && !is_among(single_name(node), CLOCK_COLUMNS, COUNT_OF(CLOCK_COLUMNS));
    } else if (tree_is(class, "PARAMETER")) {
        unsigned number = param_number(node);
        p->params_named = p->params_named || number == 0;
        p->param_count = number > p->param_count ? number : p->param_count;
    }
}

/* Whether nothing in the statement is given the name of a clock. */
static bool clocks_are_clocks(const json_tree *t) {
    for (tree_node *n = t->root; n != NULL; n = tree_next(t->root, n, true)) {
        const tree_node *list = n->parent;
        bool named = list != NULL && list->key_size == strlen("column_names") &&
                     memcmp(list->key, "column_names", list->key_size) == 0;
        if (!named && n->kind == TREE_TEXT && is_among(n, CLOCK_COLUMNS, COUNT_OF(CLOCK_COLUMNS)) &&
            tree_member(n->parent, "function_name") != n) {
            return false;
        }
    }
    return true;
}

plan *plan_make(const char *sql, const json_tree *t, const plan_functions *functions) {
    plan *p = mem_zalloc(sizeof *p);
    arena_init(&p->arena, KIB(4));
    plan_maker maker = {.plan = p, .tree = t, .functions = functions};
    p->sql_size = strlen(sql);
    p->sql = keep_text(&maker, sql, p->sql_size);
    p->keepable = true;
    atomic_init(&p->holders, 1);
    find_ctes(&maker);
    maker.clock_names = clocks_are_clocks(t);
    for (tree_node *n = t->root; n != NULL; n = tree_next(t->root, n, true)) {
        if (n->kind == TREE_OBJECT) {
            take_object(&maker, n);
        }
    }
    const tree_node *list = tree_member(t->root, "statements");
    p->point = list == NULL || list->first == NULL ? NULL : plan_take_point(&maker, list->first);
    return p;
}

void plan_hold(plan *p) {
    atomic_fetch_add_explicit(&p->holders, 1, memory_order_relaxed);
}

void plan_release(plan *p) {
    if (p != NULL && atomic_fetch_sub_explicit(&p->holders, 1, memory_order_acq_rel) == 1) {
        free(p->clock_sql);
        arena_deinit(&p->arena);
        free(p);
    }
}
