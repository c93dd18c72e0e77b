/* Tree: JSON as nodes in an arena, for looking at DuckDB's syntax trees.
 *
 * Numbers stay as they are written (a position in the statement may be 2^64 - 1) and objects know
 * their JSON, so that a part of the tree can be handed back to DuckDB. No recursion: a node knows
 * its parent.
 *
 * Invariants
 *  N1 Every text lies in the JSON given or in the arena.
 *  N2 What follows a complete value, and what is not JSON, makes all of it no tree. */
#include "query/plan_internal.h"

#include <ctype.h>
#include <strings.h>

typedef struct parser {
    arena *arena;
    const char *at, *end;
    tree_node *open; /* the list or object that is being read */
    tree_node *last; /* its last member */
    const char *key; /* of the member that comes */
    uint32_t key_size;
} parser;

static void skip_blanks(parser *p) {
    while (p->at < p->end && isspace((unsigned char)*p->at)) {
        p->at++;
    }
}

static bool hex4(const char *at, uint32_t *out) {
    *out = 0;
    for (int n = 0; n < 4; n++) {
        char c = (char)tolower((unsigned char)at[n]);
        if (!isxdigit((unsigned char)c)) {
            return false;
        }
        *out = *out * 16 + (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return true;
}

static char *put_utf8(char *to, uint32_t c) {
    if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xc0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *to++ = (char)(0xe0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    } else {
        *to++ = (char)(0xf0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3f));
        *to++ = (char)(0x80 | (c >> 6 & 0x3f));
        *to++ = (char)(0x80 | (c & 0x3f));
    }
    return to;
}

/* One escaped character at `at` (after the backslash) before `end`; where it ends, or NULL. */
static const char *unescape(const char *at, const char *end, char **to) {
    static const char FROM[] = "\"\\/bfnrt";
    static const char TO[] = "\"\\/\b\f\n\r\t";
    const char *found = *at == '\0' ? NULL : strchr(FROM, *at);
    if (found != NULL) {
        *(*to)++ = TO[found - FROM];
        return at + 1;
    }
    uint32_t c;
    if (*at != 'u' || end - at < 5 || !hex4(at + 1, &c)) {
        return NULL;
    }
    at += 5;
    if (c >= 0xd800 && c < 0xdc00) {
        uint32_t low;
        if (end - at < 6 || at[0] != '\\' || at[1] != 'u' || !hex4(at + 2, &low) || low < 0xdc00 ||
            low >= 0xe000) {
            return NULL;
        }
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        at += 6;
    }
    *to = put_utf8(*to, c);
    return at;
}

/* The string that begins at p->at. */
static bool read_string(parser *p, const char **text, uint32_t *size) {
    const char *first = ++p->at;
    bool plain = true;
    while (p->at < p->end && *p->at != '"') {
        plain = plain && *p->at != '\\';
        p->at += *p->at == '\\' ? 2 : 1;
    }
    if (p->at >= p->end) {
        return false;
    }
    const char *end = p->at++;
    *text = first;
    *size = (uint32_t)(end - first);
    if (plain) {
        return true;
    }
    char *copy = arena_alloc(p->arena, *size, 1);
    char *to = copy;
    for (const char *at = first; copy != NULL && at < end;) {
        if (*at != '\\') {
            *to++ = *at++;
        } else if ((at = unescape(at + 1, end, &to)) == NULL) {
            return false;
        }
    }
    *text = copy;
    *size = (uint32_t)(to - copy);
    return copy != NULL;
}

static tree_node *add_node(parser *p, tree_kind kind) {
    tree_node *node = arena_alloc(p->arena, sizeof *node, _Alignof(tree_node));
    if (node == NULL) {
        return NULL;
    }
    *node = (tree_node){
        .kind = kind, .text = p->at, .key = p->key, .key_size = p->key_size, .parent = p->open};
    if (p->last != NULL) {
        p->last->next = node;
    } else if (p->open != NULL) {
        p->open->first = node;
    }
    p->last = node;
    p->key = NULL;
    p->key_size = 0;
    return node;
}

static bool read_word(parser *p, tree_node *node) {
    while (p->at < p->end && (isalnum((unsigned char)*p->at) || memchr("+-.", *p->at, 3) != NULL)) {
        p->at++;
    }
    node->size = (uint32_t)(p->at - node->text);
    if (tree_is(node, "null")) {
        node->kind = TREE_NULL;
    } else if (tree_is(node, "true") || tree_is(node, "false")) {
        node->kind = TREE_BOOL;
    } else {
        return node->size > 0 && (isdigit((unsigned char)node->text[0]) || node->text[0] == '-');
    }
    return true;
}

/* The value at p->at; of a list or object only its beginning. */
static bool read_value(parser *p) {
    bool object = *p->at == '{';
    if (object || *p->at == '[') {
        tree_node *node = add_node(p, object ? TREE_OBJECT : TREE_LIST);
        p->open = node;
        p->last = NULL;
        p->at++;
        return node != NULL;
    }
    if (*p->at == '"') {
        tree_node *node = add_node(p, TREE_TEXT);
        return node != NULL && read_string(p, &node->text, &node->size);
    }
    tree_node *node = add_node(p, TREE_NUMBER);
    return node != NULL && read_word(p, node);
}

static bool close_value(parser *p) {
    tree_node *node = p->open;
    if (*p->at != (node->kind == TREE_OBJECT ? '}' : ']')) {
        return false;
    }
    p->at++;
    node->size = (uint32_t)(p->at - node->text);
    p->open = node->parent;
    p->last = node;
    return true;
}

static bool read_key(parser *p) {
    if (p->at >= p->end || *p->at != '"' || !read_string(p, &p->key, &p->key_size)) {
        return false;
    }
    skip_blanks(p);
    if (p->at >= p->end || *p->at != ':') {
        return false;
    }
    p->at++;
    skip_blanks(p);
    return p->at < p->end;
}

static bool read_all(parser *p) {
    bool first = true; /* in `open` */
    do {
        skip_blanks(p);
        if (p->at >= p->end) {
            return false;
        }
        if (p->open != NULL && (*p->at == '}' || *p->at == ']')) {
            if (!close_value(p)) {
                return false;
            }
            first = false;
            continue;
        }
        if (p->open != NULL && !first) {
            if (*p->at != ',') {
                return false;
            }
            p->at++;
            skip_blanks(p);
        }
        if (p->open != NULL && p->open->kind == TREE_OBJECT && !read_key(p)) {
            return false;
        }
        const tree_node *open = p->open;
        if (p->at >= p->end || !read_value(p)) {
            return false;
        }
        first = p->open != open;
    } while (p->open != NULL);
    skip_blanks(p);
    return p->at == p->end;
}

bool tree_parse(json_tree *out, const char *json, size_t size) {
    *out = (json_tree){0};
    arena_init(&out->arena, KIB(64));
    if (size > TREE_BYTES_MAX || size == 0) {
        return false;
    }
    parser p = {.arena = &out->arena, .at = json, .end = json + size};
    bool good = read_all(&p);
    out->root = good ? p.last : NULL;
    return good;
}

void tree_deinit(json_tree *t) {
    if (t->arena.block_bytes > 0) {
        arena_deinit(&t->arena);
    }
    *t = (json_tree){0};
}

tree_node *tree_member(const tree_node *node, const char *name) {
    if (node == NULL || node->kind != TREE_OBJECT) {
        return NULL;
    }
    size_t size = strlen(name);
    for (tree_node *m = node->first; m != NULL; m = m->next) {
        if (m->key_size == size && memcmp(m->key, name, size) == 0) {
            return m;
        }
    }
    return NULL;
}

tree_node *tree_next(const tree_node *root, tree_node *node, bool into) {
    if (into && node->first != NULL) {
        return node->first;
    }
    while (node != root && node->next == NULL) {
        node = node->parent;
    }
    return node == root ? NULL : node->next;
}

bool tree_is(const tree_node *node, const char *text) {
    return node != NULL && node->size == strlen(text) && memcmp(node->text, text, node->size) == 0;
}

bool tree_is_name(const tree_node *node, const char *name) {
    return node != NULL && node->kind == TREE_TEXT && node->size == strlen(name) &&
           strncasecmp(node->text, name, node->size) == 0;
}

bool tree_set(const tree_node *node, const char *member) {
    const tree_node *m = tree_member(node, member);
    if (m == NULL) {
        return false;
    }
    switch (m->kind) {
    case TREE_NULL:
        return false;
    case TREE_BOOL:
        return tree_is(m, "true");
    case TREE_TEXT:
        return m->size > 0;
    case TREE_LIST:
    case TREE_OBJECT:
        return m->first != NULL;
    case TREE_NUMBER:
        break;
    }
    return true;
}
