/* Limits: statements that are small as text and huge once they are bound.
 *
 * DuckDB's parser, binder and optimizer cannot be interrupted while they are at it, so what would
 * keep them busy for long, or make them allocate without bound, is refused by its tree: what is put
 * in the place of a WITH's name or of a * grows like a product along the nesting. The estimates are
 * never too small but for columns of names not known; the limits are far above what people write.
 *
 * Every SELECT (or set of them) that is being looked at has a frame on a stack of our own; no
 * recursion. */
#include "query/query_internal.h"

#include <stdlib.h>
#include <strings.h>

#define TABLES_MAX 20000.0
#define COLUMNS_MAX 50000.0
#define TYPE_MAX 1e6
#define SUBQUERIES_MAX 300u
#define CONJUNCTS_MAX 10000u
#define ORDERS_MAX 5000u
#define CASES_MAX 20000u
#define FORMAT_DIGITS_MAX 5u
#define TABLE_COLUMNS 32.0 /* more than any table has */

/* What something comes to when everything it names is put in its place. */
typedef struct extent {
    double tables, columns;
    double type; /* the size of its largest type, in scalars */
} extent;

typedef struct frame {
    const tree_node *node;
    bool set; /* of a set operation: columns are those of one side */
    extent from;
    double items, stars, packed;
} frame;

typedef struct cte {
    const tree_node *name;
    extent extent;
} cte;

typedef struct walk {
    const json_tree *tree;
    frame *frames;
    size_t frame_count, frame_capacity;
    cte *ctes; /* in the order of the text */
    size_t cte_count, cte_capacity;
    unsigned subqueries;
    tape_error *error;
    tape_status status;
} walk;

static void refuse(walk *w, const char *what, double most) {
    if (w->status == TAPE_OK) {
        w->status =
            error_set(w->error, TAPE_TOO_LARGE,
                      "the statement is too complex: it comes to more than %.0f %s", most, what);
    }
}

static bool has_key(const tree_node *node, const char *key) {
    return node->key_size == strlen(key) && memcmp(node->key, key, node->key_size) == 0;
}

static size_t count_members(const tree_node *list) {
    size_t count = 0;
    for (const tree_node *n = list == NULL ? NULL : list->first; n != NULL; n = n->next) {
        count++;
    }
    return count;
}

/* --- frames --- */

static bool opens_frame(const tree_node *node) {
    static const char *const TYPES[] = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE",
                                        "CTE_NODE"};
    const tree_node *type = tree_member(node, "type");
    for (size_t n = 0; n < COUNT_OF(TYPES); n++) {
        if (tree_is(type, TYPES[n])) {
            return true;
        }
    }
    return false;
}

static frame *top(walk *w) {
    return w->frame_count == 0 ? NULL : &w->frames[w->frame_count - 1];
}

static void open_frame(walk *w, const tree_node *node) {
    if (w->frame_count == w->frame_capacity) {
        w->frame_capacity = w->frame_capacity == 0 ? 64 : 2 * w->frame_capacity;
        w->frames = mem_realloc(w->frames, w->frame_capacity * sizeof *w->frames);
    }
    bool select = tree_is(tree_member(node, "type"), "SELECT_NODE");
    w->frames[w->frame_count++] = (frame){
        .node = node,
        .set = !select,
        .items = (double)count_members(tree_member(node, "select_list")),
    };
}

/* Where a finished query stands: what it is the value of. */
static const tree_node *place_of(const tree_node *node) {
    while (node->parent != NULL && (has_key(node, "node") || has_key(node, "query"))) {
        node = node->parent;
    }
    return node;
}

static void define(walk *w, const tree_node *name, extent e) {
    if (w->cte_count == w->cte_capacity) {
        w->cte_capacity = w->cte_capacity == 0 ? 64 : 2 * w->cte_capacity;
        w->ctes = mem_realloc(w->ctes, w->cte_capacity * sizeof *w->ctes);
    }
    w->ctes[w->cte_count++] = (cte){.name = name, .extent = e};
}

static void add(frame *f, extent e) {
    f->from.tables += e.tables;
    f->from.columns = !f->set                       ? f->from.columns + e.columns
                      : e.columns > f->from.columns ? e.columns
                                                    : f->from.columns;
    f->from.type = e.type > f->from.type ? e.type : f->from.type;
}

static void close_frame(walk *w) {
    frame f = w->frames[--w->frame_count];
    frame *outer = top(w);
    extent e = {.tables = f.from.tables < 1 ? 1 : f.from.tables,
                .columns = f.set ? f.from.columns : f.items + f.stars * f.from.columns,
                .type = (f.packed < 1 ? 1 : f.packed) * (f.from.type < 1 ? 1 : f.from.type)};
    if (e.tables > TABLES_MAX) {
        refuse(w, "tables", TABLES_MAX);
    } else if (e.columns > COLUMNS_MAX) {
        refuse(w, "columns", COLUMNS_MAX);
    } else if (e.type > TYPE_MAX) {
        refuse(w, "values in one column", TYPE_MAX);
    }
    const tree_node *place = place_of(f.node);
    if (has_key(place, "value") && tree_member(place->parent, "key") != NULL) {
        define(w, tree_member(place->parent, "key"), e);
    } else if (outer != NULL) {
        if (has_key(place, "subquery") &&
            tree_is(tree_member(place->parent, "class"), "SUBQUERY")) {
            e.columns = 0;
        }
        add(outer, e);
    }
}

/* --- nodes --- */

static void take_table(walk *w, const tree_node *node) {
    const tree_node *name = tree_member(node, "table_name");
    extent e = {.tables = 1, .columns = TABLE_COLUMNS, .type = 1};
    /* The last one given is the nearest, or at least as large as what it is made of. */
    for (size_t n = w->cte_count; name != NULL && n-- > 0;) {
        const tree_node *given = w->ctes[n].name;
        if (given->size == name->size && strncasecmp(given->text, name->text, name->size) == 0) {
            e = w->ctes[n].extent;
            break;
        }
    }
    add(top(w), e);
}

static void take_list(walk *w, const tree_node *node, const char *member, unsigned most,
                      const char *what) {
    if (count_members(tree_member(node, member)) > most) {
        refuse(w, what, most);
    }
}

static bool is_system(const tree_node *node, const char *member) {
    return tree_is_name(tree_member(node, member), "system");
}

/* Whether what printf or format makes stays about as large as what it is given: no width of more
 * than a few digits, and none taken from an argument. */
static bool is_tame_format(const tree_node *function) {
    const tree_node *list = tree_member(function, "children");
    const tree_node *first = list == NULL ? NULL : list->first;
    const tree_node *text = tree_member(tree_member(first, "value"), "value");
    size_t digits = 0;
    bool inside = false; /* of {} */
    if (text == NULL || text->kind != TREE_TEXT) {
        return false;
    }
    for (uint32_t n = 0; n < text->size; n++) {
        char c = text->text[n];
        digits = c >= '0' && c <= '9' ? digits + 1 : 0;
        if (digits > FORMAT_DIGITS_MAX || c == '*' || (c == '{' && inside)) {
            return false;
        }
        inside = c == '{' && n + 1 < text->size && text->text[n + 1] != '{' ? true
                 : c == '}'                                                 ? false
                                                                            : inside;
    }
    return true;
}

static void take_function(walk *w, const tree_node *node) {
    const tree_node *name = tree_member(node, "function_name");
    if ((tree_is_name(name, "printf") || tree_is_name(name, "format")) && w->status == TAPE_OK &&
        !is_tame_format(node)) {
        w->status = error_set(w->error, TAPE_FORBIDDEN,
                              "%.*s takes a constant format, with widths of at most %u digits",
                              (int)name->size, name->text, FORMAT_DIGITS_MAX);
    }
    if ((is_system(node, "schema") || is_system(node, "catalog")) && w->status == TAPE_OK) {
        w->status = error_set(w->error, TAPE_FORBIDDEN,
                              "functions are called by their names alone, without system");
    }
    if (tree_is_name(name, "struct_pack") || tree_is_name(name, "row") ||
        tree_is_name(name, "struct_insert") || tree_is_name(name, "union_value") ||
        tree_is_name(name, "struct_concat")) {
        top(w)->packed += (double)count_members(tree_member(node, "children"));
    }
}

static void take_object(walk *w, const tree_node *node) {
    const tree_node *type = tree_member(node, "type");
    const tree_node *class = tree_member(node, "class");
    if (top(w) == NULL) {
        return;
    }
    if (class == NULL) {
        if (tree_is(type, "BASE_TABLE")) {
            take_table(w, node);
        } else if (tree_is(type, "TABLE_FUNCTION") || tree_is(type, "EXPRESSION_LIST")) {
            add(top(w), (extent){.tables = 1, .columns = TABLE_COLUMNS, .type = 1});
        } else if (tree_is(type, "ORDER_MODIFIER")) {
            take_list(w, node, "orders", ORDERS_MAX, "keys to sort by");
        }
    } else if (tree_is(class, "STAR")) {
        top(w)->stars++;
    } else if (tree_is(class, "CONJUNCTION")) {
        take_list(w, node, "children", CONJUNCTS_MAX, "conditions joined by AND or OR");
    } else if (tree_is(class, "CASE")) {
        take_list(w, node, "case_checks", CASES_MAX, "cases");
    } else if (tree_is(class, "FUNCTION") || tree_is(class, "WINDOW")) {
        take_function(w, node);
    } else if (tree_is(class, "SUBQUERY") && ++w->subqueries > SUBQUERIES_MAX) {
        refuse(w, "subqueries", SUBQUERIES_MAX);
    }
}

/* The node that follows, after closing what ends before it. */
static tree_node *step(walk *w, tree_node *node) {
    if (node->first != NULL) {
        return node->first;
    }
    for (;;) {
        if (top(w) != NULL && top(w)->node == node) {
            close_frame(w);
        }
        if (node == w->tree->root) {
            return NULL;
        }
        if (node->next != NULL) {
            return node->next;
        }
        node = node->parent;
    }
}

tape_status limits_check(const json_tree *t, tape_error *error) {
    walk w = {.tree = t, .error = error, .status = TAPE_OK};
    for (tree_node *n = t->root; n != NULL && w.status == TAPE_OK; n = step(&w, n)) {
        if (n->kind == TREE_OBJECT) {
            if (opens_frame(n)) {
                open_frame(&w, n);
            } else {
                take_object(&w, n);
            }
        }
    }
    free(w.frames);
    free(w.ctes);
    return w.status;
}
