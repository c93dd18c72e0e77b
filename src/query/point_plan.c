/* Point plan: recognising SELECTs that ask one table for one key.
 *
 *     SELECT columns or * FROM table WHERE every key column = a constant or $n, joined by AND
 *
 * Invariants
 *  R1 What is recognised has exactly the columns DuckDB would give, in names, types and order, and
 *     one row if there is a row with the key, else none.
 *  R2 Anything else in the statement, even if it changes nothing, makes it no such statement. */
#include "query/plan_make.h"

#include <strings.h>

static const tape_field_info *field_of(const tape_table_info *table, const tree_node *from,
                                       const tree_node *ref) {
    const tree_node *names = tree_member(ref, "column_names");
    if (!tree_is(tree_member(ref, "class"), "COLUMN_REF") || names == NULL ||
        names->first == NULL) {
        return NULL;
    }
    const tree_node *name = names->first;
    if (name->next != NULL) {
        const tree_node *alias = tree_member(from, "alias");
        alias = alias->size > 0 ? alias : tree_member(from, "table_name");
        if (alias->size != name->size || strncasecmp(alias->text, name->text, name->size) != 0) {
            return NULL;
        }
        name = name->next;
    }
    for (uint32_t f = 0; f < table->field_count && name->next == NULL; f++) {
        if (tree_is_name(name, table->fields[f].name)) {
            return &table->fields[f];
        }
    }
    return NULL;
}

static bool has_nothing_else(const tree_node *select) {
    static const char *const PARTS[] = {
        "modifiers", "group_expressions", "group_sets", "having", "sample", "qualify"};
    static const char *const FROM_PARTS[] = {"sample", "column_name_alias", "at_clause"};
    const tree_node *from = tree_member(select, "from_table");
    for (size_t n = 0; n < COUNT_OF(PARTS); n++) {
        if (tree_set(select, PARTS[n])) {
            return false;
        }
    }
    for (size_t n = 0; n < COUNT_OF(FROM_PARTS); n++) {
        if (tree_set(from, FROM_PARTS[n])) {
            return false;
        }
    }
    return !tree_set(tree_member(select, "cte_map"), "map") &&
           tree_is(tree_member(select, "aggregate_handling"), "STANDARD_HANDLING");
}

/* --- the key --- */

static bool take_equality(plan_maker *maker, const tree_node *from, const tree_node *node,
                          plan_point *point) {
    tree_node *sides[2] = {tree_member(node, "left"), tree_member(node, "right")};
    if (!tree_is(tree_member(node, "type"), "COMPARE_EQUAL")) {
        return false;
    }
    for (int n = 0; n < 2; n++) {
        const tape_field_info *field = field_of(point->table, from, sides[n]);
        for (uint32_t k = 0; field != NULL && k < point->table->key_count; k++) {
            plan_value *v = &point->key[k];
            bool seq = field->kind == TAPE_FIELD_U64;
            if (&point->table->fields[point->table->key_fields[k]] == field) {
                /* PLAN_VALUE_SQL is what none of them can be: it stands for one not seen yet. */
                return v->kind == PLAN_VALUE_SQL &&
                       plan_value_of(maker, sides[1 - n], seq ? PLAN_SEQ : PLAN_INSTRUMENT, v);
            }
        }
    }
    return false;
}

static bool take_key(plan_maker *maker, const tree_node *from, const tree_node *where,
                     plan_point *point) {
    const tree_node *list = tree_is(tree_member(where, "type"), "CONJUNCTION_AND")
                                ? tree_member(where, "children")
                                : NULL;
    uint32_t count = 0;
    for (uint32_t k = 0; k < point->table->key_count; k++) {
        point->key[k].kind = PLAN_VALUE_SQL;
    }
    for (const tree_node *n = list == NULL ? where : list->first; n != NULL;
         n = list == NULL ? NULL : n->next) {
        if (!take_equality(maker, from, n, point)) {
            return false;
        }
        count++;
    }
    return count == point->table->key_count;
}

/* --- the columns --- */

static arrow_kind kind_of(const tape_field_info *field) {
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return ARROW_U64;
    case TAPE_FIELD_TIME:
        return ARROW_TIME;
    case TAPE_FIELD_F64:
        return ARROW_F64;
    case TAPE_FIELD_ENUM:
    case TAPE_FIELD_ID:
        break;
    }
    return ARROW_TEXT;
}

static bool add_column(plan_maker *maker, plan_point *point, const tape_field_info *field,
                       const tree_node *alias) {
    const char *name = field->name;
    if (alias != NULL && alias->size > 0) {
        char *copy = plan_alloc(maker, alias->size + 1u);
        memcpy(copy, alias->text, alias->size);
        name = copy;
        if (memchr(name, '\0', alias->size) != NULL) {
            return false;
        }
    }
    point->fields[point->column_count] = (uint32_t)(field - point->table->fields);
    point->columns[point->column_count++] =
        (arrow_column){.name = name, .kind = kind_of(field), .elements = field->count};
    return true;
}

static bool is_plain_star(const tree_node *node, const tree_node *from) {
    static const char *const PARTS[] = {"exclude_list", "replace_list",           "columns",
                                        "expr",         "qualified_exclude_list", "rename_list"};
    const tree_node *relation = tree_member(node, "relation_name");
    const tree_node *alias = tree_member(from, "alias");
    for (size_t n = 0; n < COUNT_OF(PARTS); n++) {
        if (tree_set(node, PARTS[n])) {
            return false;
        }
    }
    alias = alias->size > 0 ? alias : tree_member(from, "table_name");
    return !tree_set(node, "alias") &&
           (relation == NULL || relation->size == 0 ||
            (relation->size == alias->size &&
             strncasecmp(relation->text, alias->text, alias->size) == 0));
}

static bool take_columns(plan_maker *maker, const tree_node *from, const tree_node *list,
                         plan_point *point) {
    for (const tree_node *n = list == NULL ? NULL : list->first; n != NULL; n = n->next) {
        if (tree_is(tree_member(n, "class"), "STAR")) {
            bool good = is_plain_star(n, from);
            for (uint32_t f = 0; good && f < point->table->field_count; f++) {
                good = add_column(maker, point, &point->table->fields[f], NULL);
            }
            if (!good) {
                return false;
            }
            continue;
        }
        const tape_field_info *field = field_of(point->table, from, n);
        if (field == NULL || !add_column(maker, point, field, tree_member(n, "alias"))) {
            return false;
        }
    }
    return point->column_count > 0;
}

/* The columns there are at most. */
static size_t room_for(const tree_node *list, const tape_table_info *table) {
    size_t room = 0;
    for (const tree_node *n = list == NULL ? NULL : list->first; n != NULL; n = n->next) {
        room += tree_is(tree_member(n, "class"), "STAR") ? table->field_count : 1;
    }
    return room;
}

plan_point *plan_take_point(plan_maker *maker, const tree_node *statement) {
    const tree_node *select = tree_member(statement, "node");
    const tree_node *from = tree_member(select, "from_table");
    const tree_node *where = tree_member(select, "where_clause");
    if (!tree_is(tree_member(select, "type"), "SELECT_NODE") || from == NULL || where == NULL ||
        where->kind != TREE_OBJECT || !tree_is(tree_member(from, "type"), "BASE_TABLE") ||
        tree_member(from, "alias") == NULL || !has_nothing_else(select)) {
        return NULL;
    }
    unsigned relation = plan_base_table(maker, from);
    if (relation == 0 || plan_relation_is_history(relation) || maker->plan->params_named) {
        return NULL;
    }
    plan_point *point = plan_alloc(maker, sizeof *point);
    point->table = record_table((uint16_t)relation);
    point->key = plan_alloc(maker, point->table->key_count * sizeof *point->key);
    size_t room = room_for(tree_member(select, "select_list"), point->table);
    if (room > PLAN_POINT_COLUMNS_MAX) {
        return NULL;
    }
    point->columns = plan_alloc(maker, room * sizeof *point->columns);
    point->fields = plan_alloc(maker, room * sizeof *point->fields);
    if (!take_key(maker, from, where, point) ||
        !take_columns(maker, from, tree_member(select, "select_list"), point)) {
        return NULL;
    }
    return point;
}
