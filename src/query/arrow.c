/* Arrow: blocks of arrays and schemas.
 *
 * Invariants
 *  B1 A block counts its unreleased parts; the last one released frees it.
 *  B2 Releasing a part releases its children that were not moved out of it.
 * No recursion: nested types come from statements. */
#include "query/arrow_internal.h"

#include <stdio.h>
#include <stdlib.h>

/* What is left to be looked at of a tree; grows as needed. */
typedef struct stack {
    struct {
        void *to;
        const void *from, *with;
    } * items;
    size_t count, capacity;
} stack;

static void push(stack *s, void *to, const void *from, const void *with) {
    if (s->count == s->capacity) {
        s->capacity = s->capacity == 0 ? 32 : 2 * s->capacity;
        s->items = mem_realloc(s->items, s->capacity * sizeof *s->items);
    }
    s->items[s->count].to = to;
    s->items[s->count].from = from;
    s->items[s->count++].with = with;
}

/* --- blocks --- */

typedef struct block {
    _Atomic size_t parts;
    arrow_owner owner;
    _Alignas(8) uint8_t memory[];
} block;

static block *block_make(size_t size, size_t parts, arrow_owner owner) {
    block *b = mem_alloc(sizeof *b + size);
    atomic_init(&b->parts, parts);
    b->owner = owner;
    return b;
}

static void block_release(block *b, size_t parts) {
    if (atomic_fetch_sub_explicit(&b->parts, parts, memory_order_acq_rel) == parts) {
        if (b->owner.release != NULL) {
            b->owner.release(b->owner.context);
        }
        free(b);
    }
}

static void array_release(struct ArrowArray *self) {
    block *b = self->private_data;
    self->release = NULL;
    for (int64_t n = 0; n < self->n_children; n++) {
        struct ArrowArray *child = self->children[n];
        if (child->release != NULL) {
            child->release(child);
        }
    }
    if (self->dictionary != NULL && self->dictionary->release != NULL) {
        self->dictionary->release(self->dictionary);
    }
    block_release(b, 1);
}

static void schema_release(struct ArrowSchema *self) {
    block *b = self->private_data;
    self->release = NULL;
    for (int64_t n = 0; n < self->n_children; n++) {
        struct ArrowSchema *child = self->children[n];
        if (child->release != NULL) {
            child->release(child);
        }
    }
    if (self->dictionary != NULL && self->dictionary->release != NULL) {
        self->dictionary->release(self->dictionary);
    }
    block_release(b, 1);
}

/* --- schemas --- */

#define FORMAT_BYTES 16u

typedef struct schema_part {
    struct ArrowSchema schema, element;
    struct ArrowSchema *element_pointer;
    char format[FORMAT_BYTES];
} schema_part;

static void schema_part_init(schema_part *p, const arrow_column *c, block *b) {
    static const char *const FORMATS[] = {
        [ARROW_U64] = "L", [ARROW_TIME] = "tsn:", [ARROW_F64] = "g", [ARROW_TEXT] = "u"};
    const struct ArrowSchema plain = {.format = FORMATS[c->kind],
                                      .name = "",
                                      .flags = ARROW_FLAG_NULLABLE,
                                      .release = schema_release,
                                      .private_data = b};
    p->schema = plain;
    p->schema.name = c->name;
    if (c->elements > 1) {
        (void)snprintf(p->format, sizeof p->format, "+w:%u", c->elements);
        p->element = plain;
        p->element_pointer = &p->element;
        p->schema.format = p->format;
        p->schema.n_children = 1;
        p->schema.children = &p->element_pointer;
    }
}

void arrow_schema_make(struct ArrowSchema *out, const arrow_column *columns, size_t count,
                       arrow_owner owner) {
    size_t parts = 1 + count;
    for (size_t n = 0; n < count; n++) {
        parts += columns[n].elements > 1;
    }
    block *b = block_make(count * (sizeof(schema_part) + sizeof(void *)), parts, owner);
    schema_part *list = (schema_part *)b->memory;
    struct ArrowSchema **children = (struct ArrowSchema **)(list + count);
    for (size_t n = 0; n < count; n++) {
        schema_part_init(&list[n], &columns[n], b);
        children[n] = &list[n].schema;
    }
    *out = (struct ArrowSchema){.format = "+s",
                                .name = "duckdb_query_result",
                                .n_children = (int64_t)count,
                                .children = children,
                                .release = schema_release,
                                .private_data = b};
}

/* --- one row --- */

typedef struct array_part {
    struct ArrowArray array, element;
    struct ArrowArray *element_pointer;
    const void *buffers[3], *element_buffers[2];
    int32_t offsets[2];
    uint64_t element_validity;
    uint8_t validity;
} array_part;

static size_t value_bytes(const arrow_column *c, const arrow_cell *cell) {
    return ALIGN_UP(c->kind == ARROW_TEXT ? cell->size + 1u : 8u * c->elements, 8u);
}

/* Puts the value at `at`; returns what is after it. */
static uint8_t *array_part_init(array_part *p, const arrow_column *c, const arrow_cell *cell,
                                block *b, uint8_t *at) {
    bool list = c->elements > 1;
    int64_t nulls = cell->data == NULL;
    memset(at, 0, value_bytes(c, cell));
    if (cell->data != NULL) {
        memcpy(at, cell->data, cell->size);
    }
    p->validity = cell->data != NULL;
    p->array = (struct ArrowArray){.length = 1,
                                   .null_count = nulls,
                                   .n_buffers = 2,
                                   .buffers = p->buffers,
                                   .release = array_release,
                                   .private_data = b};
    p->buffers[0] = &p->validity;
    p->buffers[1] = at;
    if (c->kind == ARROW_TEXT) {
        p->offsets[0] = 0;
        p->offsets[1] = (int32_t)cell->size;
        p->buffers[1] = p->offsets;
        p->buffers[2] = at;
        p->array.n_buffers = 3;
    } else if (list) {
        p->element = p->array;
        p->element.length = c->elements;
        p->element.null_count = nulls * c->elements;
        p->element.buffers = p->element_buffers;
        p->element_validity = nulls ? 0 : UINT64_MAX;
        p->element_buffers[0] = &p->element_validity;
        p->element_buffers[1] = at;
        p->element_pointer = &p->element;
        p->array.n_buffers = 1;
        p->array.n_children = 1;
        p->array.children = &p->element_pointer;
    }
    return at + value_bytes(c, cell);
}

void arrow_row_make(struct ArrowArray *out, const arrow_column *columns, const arrow_cell *cells,
                    size_t count) {
    size_t parts = 1 + count;
    size_t size = count * (sizeof(array_part) + sizeof(void *)) + sizeof(void *);
    for (size_t n = 0; n < count; n++) {
        ASSERT(columns[n].elements <= 64);
        parts += columns[n].elements > 1;
        size += value_bytes(&columns[n], &cells[n]);
    }
    block *b = block_make(size, parts, (arrow_owner){0});
    array_part *list = (array_part *)b->memory;
    struct ArrowArray **children = (struct ArrowArray **)(list + count);
    const void **none = (const void **)(children + count);
    uint8_t *at = (uint8_t *)(none + 1);
    *none = NULL;
    for (size_t n = 0; n < count; n++) {
        at = array_part_init(&list[n], &columns[n], &cells[n], b, at);
        children[n] = &list[n].array;
    }
    *out = (struct ArrowArray){.length = 1,
                               .n_buffers = 1,
                               .n_children = (int64_t)count,
                               .buffers = none,
                               .children = children,
                               .release = array_release,
                               .private_data = b};
}

/* --- sharing --- */

void arrow_array_share(struct ArrowArray *out, const struct ArrowArray *from, arrow_owner owner) {
    stack s = {0};
    size_t parts = 0;
    size_t pointers = 0;
    push(&s, NULL, from, NULL);
    while (s.count > 0) {
        const struct ArrowArray *a = s.items[--s.count].from;
        parts++;
        pointers += (size_t)a->n_children;
        for (int64_t n = 0; n < a->n_children; n++) {
            push(&s, NULL, a->children[n], NULL);
        }
        if (a->dictionary != NULL) {
            push(&s, NULL, a->dictionary, NULL);
        }
    }
    block *b =
        block_make(parts * sizeof(struct ArrowArray) + pointers * sizeof(void *), parts, owner);
    struct ArrowArray *next = (struct ArrowArray *)b->memory;
    struct ArrowArray **next_pointer = (struct ArrowArray **)(next + parts);
    push(&s, out, from, NULL);
    while (s.count > 0) {
        struct ArrowArray *to = s.items[--s.count].to;
        const struct ArrowArray *a = s.items[s.count].from;
        *to = *a;
        to->release = array_release;
        to->private_data = b;
        to->children = next_pointer;
        next_pointer += a->n_children;
        for (int64_t n = 0; n < a->n_children; n++) {
            to->children[n] = next;
            push(&s, next++, a->children[n], NULL);
        }
        if (a->dictionary != NULL) {
            to->dictionary = next;
            push(&s, next++, a->dictionary, NULL);
        }
    }
    free(s.items);
}

static size_t text_bytes(const char *text) {
    return text == NULL ? 0 : strlen(text) + 1;
}

static const char *put_text(char **at, const char *text) {
    size_t size = text_bytes(text);
    char *to = *at;
    if (size > 0) {
        memcpy(to, text, size);
    }
    *at += size;
    return size == 0 ? NULL : to;
}

/* Metadata is left out: what DuckDB puts there are names of its own types' extensions. */
void arrow_schema_copy(struct ArrowSchema *out, const struct ArrowSchema *from) {
    stack s = {0};
    size_t parts = 0;
    size_t pointers = 0;
    size_t texts = 0;
    push(&s, NULL, from, NULL);
    while (s.count > 0) {
        const struct ArrowSchema *a = s.items[--s.count].from;
        parts++;
        pointers += (size_t)a->n_children;
        texts += text_bytes(a->format) + text_bytes(a->name);
        for (int64_t n = 0; n < a->n_children; n++) {
            push(&s, NULL, a->children[n], NULL);
        }
        if (a->dictionary != NULL) {
            push(&s, NULL, a->dictionary, NULL);
        }
    }
    block *b = block_make(parts * sizeof(struct ArrowSchema) + pointers * sizeof(void *) + texts,
                          parts, (arrow_owner){0});
    struct ArrowSchema *next = (struct ArrowSchema *)b->memory;
    struct ArrowSchema **next_pointer = (struct ArrowSchema **)(next + parts);
    char *next_text = (char *)(next_pointer + pointers);
    push(&s, out, from, NULL);
    while (s.count > 0) {
        struct ArrowSchema *to = s.items[--s.count].to;
        const struct ArrowSchema *a = s.items[s.count].from;
        *to = *a;
        to->release = schema_release;
        to->private_data = b;
        to->format = put_text(&next_text, a->format);
        to->name = put_text(&next_text, a->name);
        to->metadata = NULL;
        to->children = next_pointer;
        next_pointer += a->n_children;
        for (int64_t n = 0; n < a->n_children; n++) {
            to->children[n] = next;
            push(&s, next++, a->children[n], NULL);
        }
        if (a->dictionary != NULL) {
            to->dictionary = next;
            push(&s, next++, a->dictionary, NULL);
        }
    }
    free(s.items);
}

/* --- sizes --- */

#define PART_BYTES 256u /* what a part costs besides its values */

/* Bytes of the values of one array without its children; UINT64_MAX: not known. */
static uint64_t own_bytes(const char *format, const struct ArrowArray *a) {
    uint64_t rows = (uint64_t)(a->length + a->offset);
    switch (format[0]) {
    case 'n':
    case '+':
        return strcmp(format, "+s") == 0 || strncmp(format, "+w:", 3) == 0 || format[0] == 'n'
                   ? rows / 8
               : strcmp(format, "+l") == 0 || strcmp(format, "+m") == 0 ? 4 * rows + rows / 8
                                                                        : UINT64_MAX;
    case 'b':
        return rows / 4;
    case 'c':
    case 'C':
        return rows + rows / 8;
    case 's':
    case 'S':
        return 2 * rows + rows / 8;
    case 'i':
    case 'I':
    case 'f':
        return 4 * rows + rows / 8;
    case 'l':
    case 'L':
    case 'g':
        return 8 * rows + rows / 8;
    case 't':
    case 'd':
        return 16 * rows + rows / 8;
    case 'u':
    case 'z': {
        const int32_t *offsets = a->buffers[1];
        return 4 * rows + rows / 8 + (rows == 0 ? 0 : (uint64_t)offsets[rows]);
    }
    default:
        return UINT64_MAX;
    }
}

uint64_t arrow_array_bytes(const struct ArrowSchema *schema, const struct ArrowArray *array) {
    stack s = {0};
    uint64_t bytes = 0;
    push(&s, NULL, schema, array);
    while (s.count > 0 && bytes != UINT64_MAX) {
        const struct ArrowSchema *type = s.items[--s.count].from;
        const struct ArrowArray *a = s.items[s.count].with;
        uint64_t own = own_bytes(type->format, a);
        bool known = own != UINT64_MAX && a->n_children == type->n_children &&
                     a->dictionary == NULL && type->dictionary == NULL && type->metadata == NULL;
        bytes = known ? bytes + own + PART_BYTES : UINT64_MAX;
        for (int64_t n = 0; known && n < a->n_children; n++) {
            push(&s, NULL, type->children[n], a->children[n]);
        }
    }
    free(s.items);
    return bytes;
}
