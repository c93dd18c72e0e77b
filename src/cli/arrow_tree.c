/* The tree of an Arrow schema, and access to values of its arrays.
 *
 * Purpose: read the format strings of the Arrow C data interface once, so that nothing looks at
 * them for each value.
 * Invariants: (T1) the tree is at most ARROW_DEPTH_MAX deep, so recursion over it is bounded;
 * (T2) a node with a dictionary has an integer kind, and its dictionary has none itself at its
 * root; (T3) lists and maps have one child, a map's child is a struct of two.
 * Threads: a tree does not change after arrow_tree_open. */
#include "cli/result_internal.h"

#include <stdlib.h>

static tape_status unknown_type(const struct ArrowSchema *schema, tape_error *error) {
    return error_set(error, TAPE_INVALID,
                     "column '%s' has the Arrow type '%s', which cannot be written: cast it in the "
                     "statement, for instance to VARCHAR",
                     schema->name == NULL ? "" : schema->name, schema->format);
}

static int unit_of(char letter) {
    switch (letter) {
    case 's':
        return ARROW_SECOND;
    case 'm':
        return ARROW_MILLI;
    case 'u':
        return ARROW_MICRO;
    case 'n':
        return ARROW_NANO;
    default:
        return -1;
    }
}

/* "d:PRECISION,SCALE" or "d:PRECISION,SCALE,BITS". */
static bool parse_decimal(const char *format, arrow_node *node) {
    char *end = NULL;
    node->precision = (int)strtol(format + 2, &end, 10);
    if (*end != ',') {
        return false;
    }
    node->scale = (int)strtol(end + 1, &end, 10);
    node->bits = 128;
    if (*end == ',') {
        node->bits = (int)strtol(end + 1, &end, 10);
    }
    node->kind = ARROW_DECIMAL;
    return *end == '\0' && node->scale >= 0 && node->scale <= 38 &&
           (node->bits == 32 || node->bits == 64 || node->bits == 128);
}

static bool parse_time(const char *format, arrow_node *node) {
    int unit = unit_of(format[2]);
    switch (format[1]) {
    case 'd':
        node->kind = ARROW_DATE;
        node->unit = format[2] == 'D' ? ARROW_DATE_DAY : ARROW_DATE_MILLI;
        node->bits = format[2] == 'D' ? 32 : 64;
        return format[2] == 'D' || format[2] == 'm';
    case 't':
        node->kind = ARROW_TIME;
        node->unit = unit;
        node->bits = unit == ARROW_SECOND || unit == ARROW_MILLI ? 32 : 64;
        return unit >= 0;
    case 's':
        node->kind = ARROW_TIMESTAMP;
        node->unit = unit;
        node->bits = 64;
        if (unit < 0 || format[3] != ':') {
            return false;
        }
        node->timezone = format[4] == '\0' ? NULL : mem_strdup(format + 4);
        return true;
    case 'D':
        node->kind = ARROW_DURATION;
        node->unit = unit;
        node->bits = 64;
        return unit >= 0;
    case 'i':
        node->kind = ARROW_INTERVAL;
        node->unit = format[2] == 'M'   ? ARROW_YEAR_MONTH
                     : format[2] == 'D' ? ARROW_DAY_TIME
                                        : ARROW_MONTH_DAY_NANO;
        node->bits = format[2] == 'M' ? 32 : format[2] == 'D' ? 64 : 128;
        return format[2] == 'M' || format[2] == 'D' || format[2] == 'n';
    default:
        return false;
    }
}

/* "+ud:0,1,..." and "+us:0,1,...": the type id of each child. */
static bool parse_union(const char *format, arrow_node *node) {
    node->kind = ARROW_UNION;
    node->is_dense = format[2] == 'd';
    if ((format[2] != 'd' && format[2] != 's') || format[3] != ':') {
        return false;
    }
    memset(node->union_child, -1, sizeof node->union_child);
    const char *at = format + 4;
    for (int child = 0; *at != '\0'; child++) {
        char *end = NULL;
        long id = strtol(at, &end, 10);
        if (end == at || id < 0 || id > 127 || child > 127) {
            return false;
        }
        node->union_ids[child] = (int8_t)id;
        node->union_child[id] = (int8_t)child;
        at = *end == ',' ? end + 1 : end;
    }
    return true;
}

static bool parse_nested(const char *format, arrow_node *node) {
    node->bits = 32;
    switch (format[1]) {
    case 'l':
    case 'L':
        node->kind = ARROW_LIST;
        node->bits = format[1] == 'L' ? 64 : 32;
        return true;
    case 'w': {
        char *end = NULL;
        long size = format[2] == ':' ? strtol(format + 3, &end, 10) : -1;
        node->kind = ARROW_FIXED_LIST;
        node->fixed_size = (int32_t)size;
        return size >= 0 && size <= INT32_MAX && *end == '\0';
    }
    case 's':
        node->kind = ARROW_STRUCT;
        return true;
    case 'm':
        node->kind = ARROW_MAP;
        return true;
    case 'u':
        return parse_union(format, node);
    default:
        return false;
    }
}

static bool parse_plain(const char *format, arrow_node *node) {
    static const struct {
        char letter;
        arrow_kind kind;
        int bits;
        bool is_signed;
    } plain[] = {
        {'n', ARROW_NULL, 0, false},    {'b', ARROW_BOOL, 1, false},
        {'c', ARROW_INT, 8, true},      {'C', ARROW_INT, 8, false},
        {'s', ARROW_INT, 16, true},     {'S', ARROW_INT, 16, false},
        {'i', ARROW_INT, 32, true},     {'I', ARROW_INT, 32, false},
        {'l', ARROW_INT, 64, true},     {'L', ARROW_INT, 64, false},
        {'e', ARROW_FLOAT, 16, true},   {'f', ARROW_FLOAT, 32, true},
        {'g', ARROW_FLOAT, 64, true},   {'u', ARROW_UTF8, 32, false},
        {'U', ARROW_UTF8, 64, false},   {'z', ARROW_BINARY, 32, false},
        {'Z', ARROW_BINARY, 64, false},
    };
    for (size_t i = 0; i < COUNT_OF(plain); i++) {
        if (plain[i].letter == format[0] && format[1] == '\0') {
            node->kind = plain[i].kind;
            node->bits = plain[i].bits;
            node->is_signed = plain[i].is_signed;
            return true;
        }
    }
    return false;
}

static bool parse_format(const char *format, arrow_node *node) {
    switch (format[0]) {
    case 'd':
        return format[1] == ':' && parse_decimal(format, node);
    case 't':
        return format[1] != '\0' && parse_time(format, node);
    case '+':
        return parse_nested(format, node);
    case 'v':
        node->kind = format[1] == 'u' ? ARROW_UTF8 : ARROW_BINARY;
        node->bits = 128;
        node->is_view = true;
        return (format[1] == 'u' || format[1] == 'z') && format[2] == '\0';
    case 'w': {
        char *end = NULL;
        long size = format[1] == ':' ? strtol(format + 2, &end, 10) : -1;
        node->kind = ARROW_FIXED_BINARY;
        node->fixed_size = (int32_t)size;
        return size >= 0 && size <= INT32_MAX && *end == '\0';
    }
    default:
        return parse_plain(format, node);
    }
}

/* The pairs are int32 count, then for each int32 size, key, int32 size, value. */
static uint8_t *copy_metadata(const char *metadata) {
    if (metadata == NULL) {
        return NULL;
    }
    size_t size = 4;
    uint32_t count = load_u32(metadata);
    for (uint32_t i = 0; i < 2 * count; i++) {
        size += 4 + load_u32(metadata + size);
    }
    return memcpy(mem_alloc(size), metadata, size);
}

static bool children_fit(const arrow_node *node) {
    switch (node->kind) {
    case ARROW_LIST:
    case ARROW_FIXED_LIST:
        return node->child_count == 1;
    case ARROW_MAP:
        return node->child_count == 1 && node->children[0].kind == ARROW_STRUCT &&
               node->children[0].child_count == 2;
    case ARROW_STRUCT:
    case ARROW_UNION:
        return true;
    default:
        return node->child_count == 0;
    }
}

static void node_deinit(arrow_node *node) {
    for (size_t i = 0; i < node->child_count; i++) {
        node_deinit(&node->children[i]);
    }
    free(node->children);
    if (node->dictionary != NULL) {
        node_deinit(node->dictionary);
        free(node->dictionary);
    }
    free(node->name);
    free(node->timezone);
    free(node->metadata);
}

static tape_status node_init(arrow_node *node, const struct ArrowSchema *schema, int depth,
                             tape_error *error) {
    *node = (arrow_node){.nullable = (schema->flags & ARROW_FLAG_NULLABLE) != 0,
                         .keys_sorted = (schema->flags & ARROW_FLAG_MAP_KEYS_SORTED) != 0,
                         .ordered = (schema->flags & ARROW_FLAG_DICTIONARY_ORDERED) != 0};
    if (depth > ARROW_DEPTH_MAX) {
        return error_set(error, TAPE_INVALID, "a column's type is nested deeper than %d levels",
                         ARROW_DEPTH_MAX);
    }
    if (!parse_format(schema->format, node)) {
        return unknown_type(schema, error);
    }
    node->name = mem_strdup(schema->name == NULL ? "" : schema->name);
    node->metadata = copy_metadata(schema->metadata);
    if (schema->n_children > 0) {
        node->children = mem_zalloc((size_t)schema->n_children * sizeof *node->children);
    }
    for (int64_t i = 0; i < schema->n_children; i++) {
        node->child_count++;
        tape_status status = node_init(&node->children[i], schema->children[i], depth + 1, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    if (schema->dictionary != NULL) {
        node->dictionary = mem_zalloc(sizeof *node->dictionary);
        tape_status status = node_init(node->dictionary, schema->dictionary, depth + 1, error);
        if (status != TAPE_OK) {
            return status;
        }
        if (node->kind != ARROW_INT || node->dictionary->dictionary != NULL) {
            return unknown_type(schema, error);
        }
    }
    return children_fit(node) ? TAPE_OK : unknown_type(schema, error);
}

static size_t number_dictionaries(arrow_node *node, size_t next) {
    if (node->dictionary != NULL) {
        node->dictionary_id = next;
        next = number_dictionaries(node->dictionary, next + 1);
    }
    for (size_t i = 0; i < node->child_count; i++) {
        next = number_dictionaries(&node->children[i], next);
    }
    return next;
}

tape_status arrow_tree_open(const struct ArrowSchema *schema, arrow_node **out,
                            size_t *dictionaries, tape_error *error) {
    arrow_node *root = mem_zalloc(sizeof *root);
    tape_status status = node_init(root, schema, 0, error);
    if (status == TAPE_OK && root->kind != ARROW_STRUCT) {
        status = error_set(error, TAPE_INVALID, "a result's schema is not a struct but '%s'",
                           schema->format);
    }
    size_t count = number_dictionaries(root, 0);
    if (dictionaries != NULL) {
        *dictionaries = count;
    }
    if (status != TAPE_OK) {
        arrow_tree_close(&root);
    }
    *out = root;
    return status;
}

void arrow_tree_close(arrow_node **root) {
    if (*root != NULL) {
        node_deinit(*root);
        free(*root);
        *root = NULL;
    }
}

int arrow_node_buffers(const arrow_node *node) {
    switch (node->kind) {
    case ARROW_NULL:
        return 0;
    case ARROW_STRUCT:
    case ARROW_FIXED_LIST:
        return 1;
    case ARROW_UNION:
        return node->is_dense ? 2 : 1;
    case ARROW_UTF8:
    case ARROW_BINARY:
        return node->is_view ? 2 : 3;
    default:
        return 2;
    }
}

tape_status arrow_tree_check(const arrow_node *root, const struct ArrowArray *array,
                             tape_error *error) {
    bool fits = array->length >= 0 && array->offset >= 0 &&
                array->n_buffers >= arrow_node_buffers(root) &&
                array->n_children == (int64_t)root->child_count &&
                (array->dictionary != NULL) == (root->dictionary != NULL);
    if (!fits) {
        return error_set(error, TAPE_INVALID,
                         "column '%s' of the result does not have the shape its schema says",
                         root->name);
    }
    for (size_t i = 0; i < root->child_count; i++) {
        tape_status status = arrow_tree_check(&root->children[i], array->children[i], error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    return root->dictionary == NULL ? TAPE_OK
                                    : arrow_tree_check(root->dictionary, array->dictionary, error);
}

const arrow_node *arrow_union_member(const arrow_node *node, const struct ArrowArray *array,
                                     int64_t row, const struct ArrowArray **member, int64_t *at) {
    size_t index = (size_t)(row + array->offset);
    int8_t id = ((const int8_t *)array->buffers[0])[index];
    int child = id < 0 ? -1 : node->union_child[id];
    if (child < 0 || (size_t)child >= node->child_count) {
        return NULL;
    }
    *member = array->children[child];
    *at = node->is_dense ? ((const int32_t *)array->buffers[1])[index] : (int64_t)index;
    return &node->children[child];
}

bool arrow_is_null(const arrow_node *node, const struct ArrowArray *array, int64_t row) {
    if (node->kind == ARROW_NULL) {
        return true;
    }
    if (node->kind == ARROW_UNION) {
        const arrow_node *member = arrow_union_member(node, array, row, &array, &row);
        return member == NULL || arrow_is_null(member, array, row);
    }
    const uint8_t *valid = array->buffers[0];
    if (valid == NULL || array->null_count == 0) {
        return false;
    }
    uint64_t bit = (uint64_t)(row + array->offset);
    return (valid[bit >> 3] >> (bit & 7) & 1) == 0;
}

slice arrow_bytes(const arrow_node *node, const struct ArrowArray *array, int64_t row) {
    size_t at = (size_t)(row + array->offset);
    const uint8_t *data = array->buffers[1];
    if (node->kind == ARROW_FIXED_BINARY) {
        size_t size = (size_t)node->fixed_size;
        return (slice){data + at * size, size};
    }
    if (node->is_view) {
        const uint8_t *view = data + at * 16;
        uint32_t size = load_u32(view);
        if (size <= 12) {
            return (slice){view + 4, size};
        }
        const uint8_t *bytes = array->buffers[2 + load_u32(view + 8)];
        return (slice){bytes + load_u32(view + 12), size};
    }
    static const uint8_t none[1] = {0};
    const uint8_t *bytes = array->buffers[2] == NULL ? none : array->buffers[2];
    if (node->bits == 64) {
        uint64_t begin = load_u64(data + 8 * at);
        return (slice){bytes + begin, load_u64(data + 8 * at + 8) - begin};
    }
    uint32_t begin = load_u32(data + 4 * at);
    return (slice){bytes + begin, load_u32(data + 4 * at + 4) - begin};
}

void arrow_list_range(const arrow_node *node, const struct ArrowArray *array, int64_t row,
                      int64_t *first, int64_t *count) {
    int64_t at = row + array->offset;
    if (node->kind == ARROW_FIXED_LIST) {
        *first = at * node->fixed_size;
        *count = node->fixed_size;
        return;
    }
    const uint8_t *offsets = array->buffers[1];
    if (node->bits == 64) {
        *first = (int64_t)load_u64(offsets + 8 * at);
        *count = (int64_t)load_u64(offsets + 8 * at + 8) - *first;
    } else {
        *first = (int64_t)load_u32(offsets + 4 * at);
        *count = (int64_t)load_u32(offsets + 4 * at + 4) - *first;
    }
}
