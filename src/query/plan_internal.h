/* query, private: what is known of a statement before it runs.
 *
 * DuckDB's JSON of the syntax -> tree (tree.c) -> plan (plan.c): the relations it reads, what its
 * WHEREs ask of them (constraints.c), whether its result can be kept, and whether it asks for one
 * key (point_plan.c). A plan does not change once it is made, but for its counters. */
#ifndef PLAN_INTERNAL_H
#define PLAN_INTERNAL_H

#include "columns/columns.h"
#include "query/arrow_internal.h"

#include <tape/tape.h>

/* --- the tree: JSON, read only --- */

typedef enum tree_kind {
    TREE_NULL,
    TREE_BOOL,
    TREE_NUMBER,
    TREE_TEXT,
    TREE_LIST,
    TREE_OBJECT
} tree_kind;

typedef struct tree_node {
    tree_kind kind;
    bool taken;    /* for whoever walks the tree */
    uint32_t size; /* of `text` */
    /* TEXT: the text itself. NUMBER, BOOL: as written. LIST, OBJECT: the JSON of it. */
    const char *text;
    const char *key; /* in an object: the member's name; else NULL */
    uint32_t key_size;
    struct tree_node *parent, *first, *next;
} tree_node;

typedef struct json_tree {
    arena arena;
    tree_node *root;
} json_tree;

/* Texts point into `json`, which must stay as long. False when it is not JSON, or too large for
 * what it is worth (TREE_BYTES_MAX). */
#define TREE_BYTES_MAX MIB(24)
bool tree_parse(json_tree *out, const char *json, size_t size) TAPE_CHECKED;
void tree_deinit(json_tree *t);
/* NULL when there is none, or `node` is no object or NULL. */
tree_node *tree_member(const tree_node *node, const char *name);
/* The node after `node` in the order of the text; NULL at the end of `root`. `into` false passes
 * over what is inside `node`. */
tree_node *tree_next(const tree_node *root, tree_node *node, bool into);
/* Whether it is this text; the second disregards case. */
bool tree_is(const tree_node *node, const char *text);
bool tree_is_name(const tree_node *node, const char *name);
/* Whether a member is there and neither null, false, "" nor an empty list. */
bool tree_set(const tree_node *node, const char *member);

/* --- relations: what a statement can read --- */

/* A table by its id, the history of an entity table by TAPE_TABLE_COUNT + its id; 0 is none. */
#define PLAN_RELATIONS (2u * TAPE_TABLE_COUNT + 1u)
#define PLAN_RELATION_BIT(relation) (UINT32_C(1) << (relation))

static inline uint16_t plan_relation_table(unsigned relation) {
    return (uint16_t)(relation > TAPE_TABLE_COUNT ? relation - TAPE_TABLE_COUNT : relation);
}
static inline bool plan_relation_is_history(unsigned relation) {
    return relation > TAPE_TABLE_COUNT;
}
/* All there are. */
uint32_t plan_relations_all(void);
/* 0: no relation of ours. Any case. */
unsigned plan_relation_named(const char *name, size_t size);

/* --- constraints: what a reference to a table is asked for --- */

typedef enum plan_value_kind {
    PLAN_VALUE_SEQ,   /* `seq` */
    PLAN_VALUE_REAL,  /* `real` */
    PLAN_VALUE_TIME,  /* `ns` */
    PLAN_VALUE_TEXT,  /* `text`, `size` */
    PLAN_VALUE_PARAM, /* $`param` */
    PLAN_VALUE_SQL,   /* an expression, `text`, that DuckDB evaluates to a time: when the plan is
                         made, or before each run if it looks at the clock (`clock`) */
    PLAN_VALUE_NONE,  /* of no use */
} plan_value_kind;

typedef struct plan_value {
    plan_value_kind kind;
    bool clock;
    bool literal; /* SQL: it is a text, which becomes a time by itself */
    unsigned param;
    uint32_t index; /* SQL: in the plan's list */
    uint32_t size;
    const char *text;
    union {
        uint64_t seq;
        double real;
        int64_t ns;
    };
} plan_value;

typedef enum plan_column {
    PLAN_COLUMN_NONE,
    PLAN_TS,
    PLAN_SEQ,
    PLAN_INSTRUMENT, /* or, for point statements, any identifier */
    PLAN_REAL,       /* a number that is no array */
} plan_column;
/* What the column of a table is for constraints. */
plan_column plan_column_of(const tape_field_info *field);
typedef enum plan_operator {
    PLAN_AT_LEAST,
    PLAN_ABOVE,
    PLAN_AT_MOST,
    PLAN_BELOW,
    PLAN_AMONG, /* one of the values */
} plan_operator;

typedef struct plan_constraint {
    struct plan_constraint *next; /* of the same reference: all of them hold */
    plan_column column;
    plan_operator op;
    uint32_t field; /* of the table */
    uint32_t count;
    plan_value *values;
} plan_constraint;

/* One place in the statement that reads a relation. */
typedef struct plan_reference {
    struct plan_reference *next;
    unsigned relation;
    plan_constraint *constraints; /* NULL: every row is of use */
} plan_reference;

/* --- point --- */

#define PLAN_POINT_COLUMNS_MAX 64u

typedef struct plan_point {
    const tape_table_info *table;
    plan_value *key; /* SEQ, TEXT or PARAM, by key field */
    uint32_t column_count;
    arrow_column *columns;
    uint32_t *fields; /* of the columns */
} plan_point;

/* --- plans --- */

/* Beyond these, expressions are of no use as values. */
#define PLAN_EXPRESSIONS_MAX 32u

typedef struct plan {
    _Atomic uint32_t holders;
    arena arena; /* of all that follows */
    const char *sql;
    size_t sql_size;
    bool explain, analyze; /* `sql` is EXPLAIN of what the plan is about */
    uint32_t relations;    /* bits of what is read; may be more than what is read */
    plan_reference *references;
    uint32_t open; /* bits of relations with a reference that is not in the list */
    plan_value *expressions[PLAN_EXPRESSIONS_MAX]; /* of the kind SQL */
    uint32_t expression_count;
    char *clock_sql;      /* gives the values of those that look at the clock; NULL: none does */
    bool keepable;        /* the same rows give the same result */
    bool params_named;    /* $name, not $1 */
    unsigned param_count; /* highest $n */
    plan_point *point;    /* NULL: not such a statement */
} plan;

/* What DuckDB's functions are like. */
typedef struct plan_functions {
    /* Those that give the same result for the same arguments; sorted, without regard to case. */
    char **consistent;
    size_t count;
} plan_functions;

/* `t` is what admission got from DuckDB; it need not stay. Of what it does not understand, the plan
 * assumes the worst. The text of values of the kind SQL is DuckDB's JSON of an expression, until
 * plan_settle. */
plan *plan_make(const char *sql, const json_tree *t, const plan_functions *functions);
/* The maker is the first holder; the last one to let go frees it. */
void plan_hold(plan *p);
void plan_release(plan *p); /* NULL-safe */

/* --- plans that are kept, by their text --- */

#define PLAN_KEPT_TEXT_MAX KIB(8)
#define PLAN_KEPT_BYTES_MAX KIB(64)

typedef struct plans plans;
plans *plans_create(void);
void plans_close(plans **k); /* nobody may look any more */
/* A plan that the caller then holds; NULL: none is kept. Any thread; takes no lock. */
plan *plans_find(plans *k, const char *sql);
/* Keeps a settled plan, unless it is large; may let go of another that was not used for long. */
void plans_keep(plans *k, plan *p);

/* --- hints: a plan's constraints with the values of one run --- */

#define PLAN_BOUNDS_MAX 8u

typedef struct plan_hint {
    bool any;                  /* false: every row is of use */
    uint64_t seq_min, seq_max; /* both included */
    columns_hint hint;
    columns_bound bounds[PLAN_BOUNDS_MAX];
} plan_hint;

typedef struct plan_hints {
    arena arena; /* of the texts */
    plan_hint tables[TAPE_TABLE_COUNT + 1];
} plan_hints;

/* What an expression that looks at the clock came to. */
typedef struct plan_moment {
    bool known;
    int64_t ns;
} plan_moment;

/* `moments` has one entry per expression of the plan; those that do not look at the clock do not
 * count. A value that cannot be used makes its constraint no constraint. */
void plan_hints_init(plan_hints *out, const plan *p, const tape_value *params, size_t param_count,
                     const plan_moment *moments);
void plan_hints_deinit(plan_hints *h);

#endif
