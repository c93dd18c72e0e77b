/* query, private: what the files that make a plan share. */
#ifndef PLAN_MAKE_H
#define PLAN_MAKE_H

#include "query/plan_internal.h"

/* A plan that is being made. */
typedef struct plan_maker {
    plan *plan;
    const json_tree *tree;
    const plan_functions *functions;
    tree_node **ctes; /* the names that WITHs give, sorted */
    size_t cte_count;
    bool clock_names; /* columns named like clocks are clocks: nothing else has such a name */
} plan_maker;

/* From the plan's arena; never NULL. */
void *plan_alloc(plan_maker *maker, size_t size);
/* The relation that a BASE_TABLE node means, 0 when it may mean something else. */
unsigned plan_base_table(const plan_maker *maker, const tree_node *node);
plan_reference *plan_reference_add(plan_maker *maker, unsigned relation);
/* What a column is compared with; false when that is of no use. */
bool plan_value_of(plan_maker *maker, tree_node *node, plan_column column, plan_value *out);

/* Notes the references in a SELECT_NODE's FROM and their constraints, and marks their nodes as
 * taken. */
void plan_take_select(plan_maker *maker, tree_node *select);
/* The same for a statement that asks one table for one key; NULL when it does not. */
plan_point *plan_take_point(plan_maker *maker, const tree_node *statement);

#endif
