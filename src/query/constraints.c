/* Constraints: what the WHERE of a SELECT asks of the tables in its FROM.
 *
 * A constraint may leave rows of a table unread only if no row of the result changes. The WHERE
 * itself always stays, so it is enough that the rows which pass it stay the same ones.
 *
 * Invariants
 *  H1 A constraint stands alone in the WHERE, or beside others under AND, and is never true for
 *     NULL.
 *  H2 It is taken for a table that reaches the WHERE through inner, cross, left, right and full
 *     joins, or as the left side of an ASOF join: there a row that fails the constraint has no part
 *     in a row that passes, whether it is read or not. (Left out of the other side of an outer join
 *     it leaves a row padded with NULLs, which fails too.) On the right side of an ASOF join
 *     another row would take its place.
 *  H3 A column named without its table is taken for the tables that have one of that name, when
 *     every join between two of them makes one column of theirs (USING, NATURAL): rows with
 *     different values never meet.
 *  H4 An equality of instruments between both sides of an inner or left join, or of an ASOF join
 *     from left to right, hands a constraint on the instrument of the left side on to the right.
 *  H5 A reference in any other place is read without constraints.
 * No recursion: the tree knows its parents. */
#include "query/plan_make.h"

#include <stdlib.h>
#include <strings.h>

/* Beyond these a FROM or a WHERE is not looked through. */
#define LEAVES_MAX 32u
#define CONJUNCTS_MAX 64u
#define VALUES_MAX 1024u
#define EQUALITIES_MAX 16u

/* A table of the FROM. */
typedef struct leaf {
    tree_node *node;
    unsigned relation; /* 0: something else, whose columns are not known */
    const char *alias;
    uint32_t alias_size;
    bool safe; /* H2 */
    plan_reference *reference;
} leaf;

typedef struct from {
    plan_maker *maker;
    tree_node *root;
    leaf leaves[LEAVES_MAX];
    size_t leaf_count;
    const tree_node *joins[LEAVES_MAX];
    size_t join_count;
    bool unknown; /* a leaf has columns that are not known */
} from;

#define INSTRUMENT "instrument_id"

/* NULL when the leaf has none of this name. */
static const tape_field_info *leaf_field(const leaf *l, const char *name, size_t size) {
    const tape_table_info *table =
        l->relation == 0 ? NULL : record_table(plan_relation_table(l->relation));
    for (uint32_t f = 0; table != NULL && f < table->field_count; f++) {
        const char *field = table->fields[f].name;
        if (strlen(field) == size && strncasecmp(field, name, size) == 0) {
            return &table->fields[f];
        }
    }
    return NULL;
}

static bool has_instrument(const leaf *l) {
    return leaf_field(l, INSTRUMENT, strlen(INSTRUMENT)) != NULL;
}

plan_column plan_column_of(const tape_field_info *field) {
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return strcmp(field->name, "seq") == 0 ? PLAN_SEQ : PLAN_COLUMN_NONE;
    case TAPE_FIELD_TIME:
        return strcmp(field->name, "ts") == 0 ? PLAN_TS : PLAN_COLUMN_NONE;
    case TAPE_FIELD_F64:
        return field->count == 1 ? PLAN_REAL : PLAN_COLUMN_NONE;
    case TAPE_FIELD_ID:
        return strcmp(field->name, INSTRUMENT) == 0 ? PLAN_INSTRUMENT : PLAN_COLUMN_NONE;
    case TAPE_FIELD_ENUM:
        break;
    }
    return PLAN_COLUMN_NONE;
}

/* --- the FROM --- */

static bool join_is(const tree_node *join, const char *ref_type, const char *join_type) {
    return tree_is(tree_member(join, "ref_type"), ref_type) &&
           (join_type == NULL || tree_is(tree_member(join, "join_type"), join_type));
}

static bool join_is_plain(const tree_node *join) {
    bool plain = join_is(join, "REGULAR", NULL) || join_is(join, "CROSS", NULL) ||
                 join_is(join, "NATURAL", NULL);
    const tree_node *type = tree_member(join, "join_type");
    return plain && (tree_is(type, "INNER") || tree_is(type, "LEFT") || tree_is(type, "RIGHT") ||
                     tree_is(type, "FULL"));
}

/* Whether the right side of the join only adds to rows of the left. */
static bool join_is_asof(const tree_node *join) {
    return join_is(join, "ASOF", "INNER") || join_is(join, "ASOF", "LEFT");
}

static bool is_right(const tree_node *side) {
    return side->key_size == strlen("right") && memcmp(side->key, "right", 5) == 0;
}

/* Whether H2 holds between the leaf and `top`. */
static bool path_is_safe(const tree_node *node, const tree_node *top) {
    for (; node != top; node = node->parent) {
        const tree_node *join = node->parent;
        if (!join_is_plain(join) && !(join_is_asof(join) && !is_right(node))) {
            return false;
        }
    }
    return true;
}

static bool leaf_init(from *f, leaf *l, tree_node *node) {
    const tree_node *alias = tree_member(node, "alias");
    const tree_node *name = tree_member(node, "table_name");
    *l = (leaf){.node = node};
    if (tree_is(tree_member(node, "type"), "BASE_TABLE") && name != NULL && alias != NULL) {
        l->relation = plan_base_table(f->maker, node);
        bool named = alias->size > 0;
        l->alias = named ? alias->text : name->text;
        l->alias_size = named ? alias->size : name->size;
    } else if (alias != NULL) {
        l->alias = alias->text;
        l->alias_size = alias->size;
    }
    if (tree_set(node, "sample") || tree_set(node, "column_name_alias")) {
        l->relation = 0;
    }
    f->unknown = f->unknown || l->relation == 0;
    return l->relation == 0 || path_is_safe(node, f->root);
}

/* False when there are too many. */
static bool find_leaves(from *f) {
    for (tree_node *node = f->root; node != NULL;) {
        bool join = tree_is(tree_member(node, "type"), "JOIN");
        if (f->leaf_count == LEAVES_MAX || f->join_count == LEAVES_MAX) {
            return false;
        }
        if (join) {
            f->joins[f->join_count++] = node;
        } else {
            leaf *l = &f->leaves[f->leaf_count++];
            l->safe = leaf_init(f, l, node);
        }
        tree_node *next = join ? tree_member(node, "left") : NULL;
        while (next == NULL && node != f->root) {
            /* From a left side to the right one, from a right side up. */
            next = is_right(node) ? NULL : tree_member(node->parent, "right");
            node = node->parent;
        }
        node = next;
    }
    return true;
}

/* --- columns --- */

/* Whether the join makes one of its sides' columns of this name. */
static bool merges(const tree_node *join, const char *name, size_t size) {
    const tree_node *list = tree_member(join, "using_columns");
    for (const tree_node *n = list == NULL ? NULL : list->first; n != NULL; n = n->next) {
        if (n->size == size && strncasecmp(n->text, name, size) == 0) {
            return true;
        }
    }
    return join_is(join, "NATURAL", NULL);
}

static bool is_inside(const tree_node *node, const tree_node *top) {
    while (node != NULL && node != top) {
        node = node->parent;
    }
    return node != NULL;
}

/* H3 */
static bool joins_merge(const from *f, const char *name, size_t size) {
    for (size_t j = 0; j < f->join_count; j++) {
        const tree_node *join = f->joins[j];
        bool sides[2] = {false, false};
        for (size_t n = 0; n < f->leaf_count; n++) {
            if (leaf_field(&f->leaves[n], name, size) != NULL) {
                sides[0] |= is_inside(f->leaves[n].node, tree_member(join, "left"));
                sides[1] |= is_inside(f->leaves[n].node, tree_member(join, "right"));
            }
        }
        if (sides[0] && sides[1] && !merges(join, name, size)) {
            return false;
        }
    }
    return true;
}

typedef uint32_t leaf_set; /* bits */

/* A column that a conjunct speaks of. */
typedef struct column {
    leaf_set leaves; /* that it is of, by H3; 0: none of ours, or none to be constrained */
    plan_column kind;
    const tree_node *name;
} column;

static const tree_node *split_names(const tree_node *ref, const tree_node **qualifier) {
    const tree_node *names = tree_member(ref, "column_names");
    if (!tree_is(tree_member(ref, "class"), "COLUMN_REF") || names == NULL ||
        names->first == NULL) {
        return NULL;
    }
    *qualifier = names->first->next == NULL ? NULL : names->first;
    const tree_node *name = *qualifier == NULL ? names->first : names->first->next;
    return name->next == NULL ? name : NULL;
}

static column resolve(const from *f, const tree_node *ref) {
    const column none = {.kind = PLAN_COLUMN_NONE};
    const tree_node *qualifier = NULL;
    column c = {.name = split_names(ref, &qualifier)};
    for (size_t n = 0; c.name != NULL && n < f->leaf_count; n++) {
        const leaf *l = &f->leaves[n];
        if (qualifier != NULL && (qualifier->size != l->alias_size ||
                                  strncasecmp(qualifier->text, l->alias, l->alias_size) != 0)) {
            continue;
        }
        const tape_field_info *field = leaf_field(l, c.name->text, c.name->size);
        if (field == NULL) {
            if (qualifier != NULL) {
                return none;
            }
            continue;
        }
        if (c.leaves != 0 && c.kind != plan_column_of(field)) {
            return none;
        }
        c.leaves |= UINT32_C(1) << n;
        c.kind = plan_column_of(field);
    }
    bool one = (c.leaves & (c.leaves - 1)) == 0;
    if (c.leaves == 0 || c.kind == PLAN_COLUMN_NONE || (qualifier != NULL && !one) ||
        (qualifier == NULL && f->unknown) ||
        (!one && !joins_merge(f, c.name->text, c.name->size))) {
        return none;
    }
    return c;
}

/* --- conjuncts --- */

static bool operator_of(const tree_node *type, bool turned, plan_operator *out) {
    static const struct {
        const char *type;
        plan_operator op, turned;
    } OPERATORS[] = {
        {"COMPARE_EQUAL", PLAN_AMONG, PLAN_AMONG},
        {"COMPARE_GREATERTHAN", PLAN_ABOVE, PLAN_BELOW},
        {"COMPARE_GREATERTHANOREQUALTO", PLAN_AT_LEAST, PLAN_AT_MOST},
        {"COMPARE_LESSTHAN", PLAN_BELOW, PLAN_ABOVE},
        {"COMPARE_LESSTHANOREQUALTO", PLAN_AT_MOST, PLAN_AT_LEAST},
    };
    for (size_t n = 0; n < COUNT_OF(OPERATORS); n++) {
        if (tree_is(type, OPERATORS[n].type)) {
            *out = turned ? OPERATORS[n].turned : OPERATORS[n].op;
            return true;
        }
    }
    return false;
}

static void constrain(from *f, const column *c, plan_operator op, plan_value *values,
                      uint32_t count) {
    for (size_t n = 0; n < f->leaf_count; n++) {
        leaf *l = &f->leaves[n];
        if ((c->leaves >> n & 1) == 0 || !l->safe) {
            continue;
        }
        const tape_table_info *table = record_table(plan_relation_table(l->relation));
        const tape_field_info *field = leaf_field(l, c->name->text, c->name->size);
        plan_constraint *constraint = plan_alloc(f->maker, sizeof *constraint);
        *constraint = (plan_constraint){.next = l->reference->constraints,
                                        .column = c->kind,
                                        .op = op,
                                        .field = (uint32_t)(field - table->fields),
                                        .count = count,
                                        .values = values};
        l->reference->constraints = constraint;
    }
}

static void take_one(from *f, const tree_node *ref, plan_operator op, tree_node *value) {
    column c = resolve(f, ref);
    if (c.leaves == 0) {
        return;
    }
    plan_value *v = plan_alloc(f->maker, sizeof *v);
    if (plan_value_of(f->maker, value, c.kind, v)) {
        constrain(f, &c, op, v, 1);
    }
}

static void take_list(from *f, const tree_node *in) {
    const tree_node *list = tree_member(in, "children");
    column c = resolve(f, list == NULL ? NULL : list->first);
    uint32_t count = 0;
    if (c.leaves == 0) {
        return;
    }
    for (const tree_node *n = list->first->next; n != NULL; n = n->next) {
        count++;
    }
    if (count == 0 || count > VALUES_MAX) {
        return;
    }
    plan_value *values = plan_alloc(f->maker, count * sizeof *values);
    plan_value *v = values;
    for (tree_node *n = list->first->next; n != NULL; n = n->next, v++) {
        if (!plan_value_of(f->maker, n, c.kind, v)) {
            return;
        }
    }
    constrain(f, &c, PLAN_AMONG, values, count);
}

static void take_conjunct(from *f, const tree_node *node) {
    const tree_node *class = tree_member(node, "class");
    const tree_node *type = tree_member(node, "type");
    plan_operator op;
    if (tree_is(class, "COMPARISON")) {
        tree_node *left = tree_member(node, "left");
        tree_node *right = tree_member(node, "right");
        if (operator_of(type, false, &op)) {
            take_one(f, left, op, right);
            (void)operator_of(type, true, &op);
            take_one(f, right, op, left);
        }
    } else if (tree_is(class, "BETWEEN")) {
        take_one(f, tree_member(node, "input"), PLAN_AT_LEAST, tree_member(node, "lower"));
        take_one(f, tree_member(node, "input"), PLAN_AT_MOST, tree_member(node, "upper"));
    } else if (tree_is(class, "OPERATOR") && tree_is(type, "COMPARE_IN")) {
        take_list(f, node);
    }
}

/* Calls `take` with what stands under ANDs in an expression, as far as there is room. */
static void each_conjunct(from *f, tree_node *expression,
                          void (*take)(from *f, const tree_node *conjunct)) {
    tree_node *waiting[CONJUNCTS_MAX] = {expression};
    size_t count = expression == NULL ? 0 : 1;
    while (count > 0) {
        const tree_node *node = waiting[--count];
        if (!tree_is(tree_member(node, "type"), "CONJUNCTION_AND")) {
            take(f, node);
            continue;
        }
        const tree_node *list = tree_member(node, "children");
        for (tree_node *n = list == NULL ? NULL : list->first; n != NULL; n = n->next) {
            if (count < CONJUNCTS_MAX) {
                waiting[count++] = n;
            }
        }
    }
}

/* --- H4 --- */

/* Hands what is known of the instrument of leaf `a` on to leaf `b`. */
static bool hand_on(from *f, const leaf *a, leaf *b) {
    bool worked = false;
    for (const plan_constraint *c = a->reference->constraints; c != NULL; c = c->next) {
        const plan_constraint *known = b->reference->constraints;
        while (known != NULL && known->values != c->values) {
            known = known->next;
        }
        if (c->column == PLAN_INSTRUMENT && known == NULL) {
            plan_constraint *copy = plan_alloc(f->maker, sizeof *copy);
            const tape_field_info *field = leaf_field(b, INSTRUMENT, strlen(INSTRUMENT));
            *copy = *c;
            copy->field =
                (uint32_t)(field - record_table(plan_relation_table(b->relation))->fields);
            copy->next = b->reference->constraints;
            b->reference->constraints = copy;
            worked = true;
        }
    }
    return worked;
}

/* Whether a constraint on the instrument of `l`, on the join's left, concerns `r`, on its right. */
static bool may_hand_on(const from *f, const tree_node *join, const leaf *l, const leaf *r) {
    const tree_node *left = tree_member(join, "left");
    const tree_node *right = tree_member(join, "right");
    return has_instrument(l) && has_instrument(r) && is_inside(l->node, left) &&
           is_inside(r->node, right) && path_is_safe(l->node, left) &&
           path_is_safe(r->node, right) && path_is_safe(join, f->root);
}

static bool spread_pair(from *f, const tree_node *join, leaf *l, leaf *r) {
    if (!may_hand_on(f, join, l, r)) {
        return false;
    }
    bool worked = hand_on(f, l, r);
    return (join_is(join, "REGULAR", "INNER") && hand_on(f, r, l)) || worked;
}

/* USING makes all the instruments on both sides one. */
static bool spread_using(from *f, const tree_node *join) {
    bool worked = false;
    if (f->unknown || !joins_merge(f, INSTRUMENT, strlen(INSTRUMENT))) {
        return false;
    }
    for (size_t a = 0; a < f->leaf_count; a++) {
        for (size_t b = 0; b < f->leaf_count; b++) {
            worked |= spread_pair(f, join, &f->leaves[a], &f->leaves[b]);
        }
    }
    return worked;
}

/* The only leaf whose instrument the column is, or NULL. */
static leaf *instrument_leaf(from *f, const tree_node *ref) {
    column c = resolve(f, ref);
    bool one = c.leaves != 0 && (c.leaves & (c.leaves - 1)) == 0 && c.kind == PLAN_INSTRUMENT;
    return one ? &f->leaves[__builtin_ctz(c.leaves)] : NULL;
}

static bool spread_condition(from *f, const tree_node *join) {
    const tree_node *condition = tree_member(join, "condition");
    const tree_node *list = tree_is(tree_member(condition, "type"), "CONJUNCTION_AND")
                                ? tree_member(condition, "children")
                                : NULL;
    bool worked = false;
    const tree_node *n = list == NULL ? condition : list->first;
    for (size_t looked = 0; n != NULL && looked < EQUALITIES_MAX; looked++) {
        if (tree_is(tree_member(n, "type"), "COMPARE_EQUAL")) {
            leaf *a = instrument_leaf(f, tree_member(n, "left"));
            leaf *b = instrument_leaf(f, tree_member(n, "right"));
            if (a != NULL && b != NULL) {
                worked |= spread_pair(f, join, a, b) || spread_pair(f, join, b, a);
            }
        }
        n = list == NULL ? NULL : n->next;
    }
    return worked;
}

/* The last column of an ASOF join's USING is what it is ordered by, not an equality. */
static bool using_instrument(const tree_node *join) {
    const tree_node *list = tree_member(join, "using_columns");
    for (const tree_node *n = list == NULL ? NULL : list->first; n != NULL; n = n->next) {
        if (tree_is_name(n, INSTRUMENT)) {
            return n->next != NULL || !join_is_asof(join);
        }
    }
    return false;
}

/* Until nothing more follows. */
static void spread(from *f) {
    bool worked = f->join_count > 0;
    for (size_t round = 0; worked && round < LEAVES_MAX; round++) {
        worked = false;
        for (size_t n = 0; n < f->join_count; n++) {
            const tree_node *join = f->joins[n];
            if (!join_is(join, "REGULAR", "INNER") && !join_is(join, "REGULAR", "LEFT") &&
                !join_is_asof(join)) {
                continue;
            }
            worked |= using_instrument(join) && spread_using(f, join);
            worked |= spread_condition(f, join);
        }
    }
}

/* --- a SELECT --- */

void plan_take_select(plan_maker *maker, tree_node *select) {
    from *f = mem_zalloc(sizeof *f);
    f->maker = maker;
    f->root = tree_member(select, "from_table");
    if (f->root == NULL || tree_set(select, "sample") || !find_leaves(f)) {
        goto out;
    }
    for (size_t n = 0; n < f->leaf_count; n++) {
        leaf *l = &f->leaves[n];
        if (l->relation != 0) {
            l->reference = plan_reference_add(maker, l->relation);
            l->node->taken = true;
        }
    }
    tree_node *where = tree_member(select, "where_clause");
    each_conjunct(f, where != NULL && where->kind == TREE_OBJECT ? where : NULL, take_conjunct);
    spread(f);
out:
    free(f);
}
