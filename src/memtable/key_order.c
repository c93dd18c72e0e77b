/* key_order.c: the keys of one table in order, each by its first version. The writer's part.
 *
 * A tree of wide nodes. A leaf is a run of keys: first a part in order, then a tail as they came.
 * An insert only puts its key behind the tail; a leaf that is full is sorted and split. Keys that
 * come in order extend the sorted part, so that they are never sorted, and the leaf behind a full
 * one starts empty. Inner nodes hold their children in order.
 *
 * A node has for each key a word: the eight bytes after `skip` bytes that all its keys share and
 * the node has in `prefix`. Nearly all comparisons are of words; equal ones are settled by the keys
 * in the entries.
 *
 * Invariants
 *  K1 A leaf's keys are >= that of its low entry and < that of the next leaf's low entry. An inner
 *     node has its children's low entries; that of its first child is not looked at.
 *  K2 A leaf changes only by a key more behind the others; an inner node only by a child more
 *     behind the others, or by a node with the same keys in the place of one. All else is done on
 *     copies, and one store puts what is complete in the place of what it replaces.
 *  K3 A node's version rises when the node is taken out of the tree; its memory is then used again
 *     for another node of its kind, leaf or inner.
 *
 * Threads: one writer. A reader notes a node's version, makes sure that the node is still where it
 * found it, and looks at the version again when it has read what it wanted: unchanged, the node was
 * in the tree all the while, and what was read belongs together. Otherwise it begins again, which
 * only happens when the writer got on. Until then it may follow links and look at entries that are
 * out of date: nodes stay nodes and entries stay entries. Stores that readers may see are releases
 * and their loads acquires, so that they are seen in the order they stand in.
 * Failure: all memory that a change may need is taken before it begins. */
#include "memtable/order_node.h"

#define LEAF_SHARE_LOG2 16u
#define NODE_KEYS_MIN 32u
#define NODE_KEYS_MAX 256u

/* What inner nodes are made of. */
struct order_child {
    order_node *node;
    const memtable_entry *low;
    uint64_t word;
};

void order_pool_init(order_pool *p, memory *m, uint64_t bytes_expected) {
    uint32_t keys = NODE_KEYS_MIN;
    while (keys < NODE_KEYS_MAX && keys < bytes_expected >> LEAF_SHARE_LOG2) {
        keys *= 2;
    }
    *p = (order_pool){.memory = m, .node_keys = keys};
}

/* --- nodes --- */

static uint32_t relaxed(const _Atomic uint32_t *at) {
    return atomic_load_explicit(at, memory_order_relaxed);
}

static bool scratch_reserve(order_pool *p) {
    if (p->children == NULL) {
        size_t count = p->node_keys + 1;
        p->pairs = memory_take(p->memory, count * sizeof *p->pairs, CACHE_LINE_BYTES);
        p->scratch = memory_take(p->memory, count * sizeof *p->scratch, CACHE_LINE_BYTES);
        p->children = memory_take(p->memory, count * sizeof *p->children, CACHE_LINE_BYTES);
    }
    return p->children != NULL;
}

static order_node *node_create(const order_pool *p, bool leaf) {
    size_t bytes = sizeof(order_node) + (leaf ? 2 : 3) * p->node_keys * sizeof(uint64_t);
    order_node *n = memory_take(p->memory, bytes, CACHE_LINE_BYTES);
    if (n != NULL) {
        memset(n, 0, bytes);
        n->room = p->node_keys;
    }
    return n;
}

static void list_push(order_nodes *list, order_node *n) {
    n->next_free = list->first;
    list->first = n;
    list->count++;
}

/* So many can then be taken without failure. */
static bool pool_reserve(order_pool *p, uint32_t leaves, uint32_t inner) {
    if (!scratch_reserve(p)) {
        return false;
    }
    for (uint32_t inner_turn = 0; inner_turn < 2; inner_turn++) {
        order_nodes *list = inner_turn ? &p->free_inner : &p->free_leaves;
        while (list->count < (inner_turn ? inner : leaves)) {
            order_node *n = node_create(p, !inner_turn);
            if (n == NULL) {
                return false;
            }
            list_push(list, n);
        }
    }
    return true;
}

static order_node *node_take(order_pool *p, uint32_t level) {
    order_nodes *list = level == 0 ? &p->free_leaves : &p->free_inner;
    order_node *n = list->first;
    ASSERT(n != NULL);
    list->first = n->next_free;
    list->count--;
    STORE_RELEASE(&n->level, level);
    return n;
}

/* Nothing links to the node any more (K3). */
static void node_retire(order_pool *p, order_node *n) {
    uint64_t version = atomic_load_explicit(&n->version, memory_order_relaxed);
    STORE_RELEASE(&n->version, version + 1);
    list_push(relaxed(&n->level) == 0 ? &p->free_leaves : &p->free_inner, n);
}

static void node_set_prefix(order_node *n, const order_key *k, uint32_t skip) {
    STORE_RELEASE(&n->skip, skip);
    for (uint32_t i = 0; i < (skip + 7) / 8; i++) {
        STORE_RELEASE(&n->prefix[i], load_u64(k->bytes + (size_t)i * 8));
    }
}

/* Whether the key has the prefix; *shared is how much of it. */
static bool node_fits(const order_node *n, const order_key *k, uint32_t *shared) {
    return order_key_compare_prefix(k, n->prefix, relaxed(&n->skip), shared) == 0;
}

/* A good `skip` for keys of which these are the first and the last: not so far that words reach
 * beyond the end of keys, so that keys to come fit as well. */
static uint32_t choose_skip(const order_key *first, const order_key *last) {
    size_t longer = first->size > last->size ? first->size : last->size;
    size_t skip = longer > sizeof(uint64_t) ? longer - sizeof(uint64_t) : 0;
    size_t shared = 0;
    while (shared < skip && first->bytes[shared] == last->bytes[shared]) {
        shared++;
    }
    return (uint32_t)shared;
}

static uint64_t entry_word(const memtable_entry *e, uint32_t skip) {
    order_key k;
    order_key_of(&k, e);
    return order_key_word(&k, skip);
}

static void descend(const key_order *o, const order_key *k, order_path *path) {
    order_node *n = atomic_load_explicit(&o->root, memory_order_relaxed);
    path->height = relaxed(&n->level);
    for (uint32_t level = path->height;; level--) {
        path->steps[level].node = n;
        if (level == 0) {
            return;
        }
        path->steps[level].at = node_child_at(n, k, false);
        n = node_child(n, path->steps[level].at);
    }
}

/* --- inner nodes --- */

static void children_set_words(order_child *children, uint32_t count, uint32_t skip) {
    for (uint32_t i = 1; i < count; i++) {
        __builtin_prefetch(children[i].low->payload);
        __builtin_prefetch(children[i].low->payload + CACHE_LINE_BYTES);
    }
    for (uint32_t i = 1; i < count; i++) {
        children[i].word = entry_word(children[i].low, skip);
    }
}

/* `skip` is what the children's words are of; a greater one is used where their keys allow it and
 * `again` says that reading all keys again is worth it. */
static order_node *inner_build(order_pool *p, uint32_t level, order_child *children, uint32_t count,
                               uint32_t skip, bool again) {
    order_node *n = node_take(p, level);
    order_key first = {0};
    order_key last = {0};
    const memtable_entry *low = children[count > 1 ? 1 : 0].low;
    if (low != NULL) {
        order_key_of(&first, low);
        order_key_of(&last, children[count - 1].low);
    }
    uint32_t best = choose_skip(&first, &last);
    if (best < skip || (again && best > skip)) {
        skip = best;
        children_set_words(children, count, skip);
    }
    node_set_prefix(n, &first, skip);
    for (uint32_t i = 0; i < count; i++) {
        STORE_RELEASE(&n->words[i], i == 0 ? 0 : children[i].word);
        STORE_RELEASE(&node_links(n)[i], (uintptr_t)children[i].node);
        STORE_RELEASE(&node_lows(n)[i], (uintptr_t)children[i].low);
    }
    STORE_RELEASE(&n->count, count);
    return n;
}

/* The node's children, with one put behind that at `at`, which is replaced. */
static void children_gather(order_pool *p, order_node *n, uint32_t at, order_node *left,
                            order_node *right, const memtable_entry *low) {
    uint32_t count = relaxed(&n->count);
    order_child *out = p->children;
    for (uint32_t i = 0; i < count; i++) {
        *out++ = (order_child){i == at ? left : node_child(n, i), node_low(n, i),
                               atomic_load_explicit(&n->words[i], memory_order_relaxed)};
        if (i == at) {
            *out++ = (order_child){right, low, entry_word(low, relaxed(&n->skip))};
        }
    }
}

/* Puts a child behind the others, without a copy. */
static bool inner_append(order_node *n, order_node *child, const memtable_entry *low) {
    uint32_t count = relaxed(&n->count);
    order_key k;
    uint32_t shared;
    order_key_of(&k, low);
    if (count == n->room || !node_fits(n, &k, &shared)) {
        return false;
    }
    STORE_RELEASE(&n->words[count], order_key_word(&k, shared));
    STORE_RELEASE(&node_links(n)[count], (uintptr_t)child);
    STORE_RELEASE(&node_lows(n)[count], (uintptr_t)low);
    STORE_RELEASE(&n->count, count + 1);
    return true;
}

static void link_replace(key_order *o, const order_path *path, uint32_t level, order_node *n) {
    if (level == path->height) {
        STORE_RELEASE(&o->root, n);
    } else {
        order_node *parent = path->steps[level + 1].node;
        STORE_RELEASE(&node_links(parent)[path->steps[level + 1].at], (uintptr_t)n);
    }
}

/* How many inner nodes link_pair takes at most. */
static uint32_t inner_needed(const order_path *path) {
    uint32_t needed = 1;
    for (uint32_t level = 1; level <= path->height; level++) {
        const order_node *n = path->steps[level].node;
        if (relaxed(&n->count) < n->room) {
            return needed;
        }
        needed += 2;
    }
    return needed;
}

/* The path's leaf becomes two: `left`, in its place, and `right` behind it, whose first key is that
 * of `low`. Nothing is visible to readers until the last store. */
static void link_pair(key_order *o, const order_path *path, order_node *left, order_node *right,
                      const memtable_entry *low) {
    order_pool *p = o->pool;
    order_node *replaced[ORDER_LEVELS_MAX];
    uint32_t replaced_count = 0;
    for (uint32_t level = 1;; level++) {
        bool kept = left == path->steps[level - 1].node;
        if (!kept) {
            replaced[replaced_count++] = path->steps[level - 1].node;
        }
        ASSERT(level < ORDER_LEVELS_MAX);
        if (level > path->height) {
            p->children[0] = (order_child){left, NULL, 0};
            p->children[1] = (order_child){right, low, 0};
            order_node *root = inner_build(p, level, p->children, 2, UINT32_MAX, true);
            STORE_RELEASE(&o->root, root);
            break;
        }
        order_node *parent = path->steps[level].node;
        uint32_t at = path->steps[level].at;
        uint32_t count = relaxed(&parent->count);
        bool behind = kept && at + 1 == count;
        if (behind && inner_append(parent, right, low)) {
            break;
        }
        if (behind && count == parent->room) {
            p->children[0] = (order_child){right, low, 0};
            right = inner_build(p, level, p->children, 1, UINT32_MAX, true);
            left = parent;
            continue;
        }
        children_gather(p, parent, at, left, right, low);
        uint32_t skip = relaxed(&parent->skip);
        if (count < parent->room) {
            left = inner_build(p, level, p->children, count + 1, skip, false);
            link_replace(o, path, level, left);
            replaced[replaced_count++] = parent;
            break;
        }
        uint32_t half = (count + 1) / 2;
        low = p->children[half].low;
        left = inner_build(p, level, p->children, half, skip, true);
        right = inner_build(p, level, p->children + half, count + 1 - half, skip, true);
    }
    for (uint32_t i = 0; i < replaced_count; i++) {
        node_retire(p, replaced[i]);
    }
}

/* --- leaves --- */

static uint32_t leaf_gather(order_pool *p, order_node *n) {
    uint32_t count = relaxed(&n->count);
    for (uint32_t i = 0; i < count; i++) {
        p->pairs[i].word = atomic_load_explicit(&n->words[i], memory_order_relaxed);
        p->pairs[i].entry = (const memtable_entry *)(uintptr_t)atomic_load_explicit(
            &node_links(n)[i], memory_order_relaxed);
    }
    return count;
}

static void pairs_set_words(order_pair *pairs, uint32_t count, uint32_t skip) {
    for (uint32_t i = 0; i < count; i++) {
        entry_prefetch(pairs[i].entry);
    }
    for (uint32_t i = 0; i < count; i++) {
        pairs[i].word = entry_word(pairs[i].entry, skip);
    }
}

/* A leaf of pairs of which the first `sorted` are in order; their keys share the first `skip` bytes
 * of `k`. */
static order_node *leaf_build(order_pool *p, const order_pair *pairs, uint32_t sorted,
                              uint32_t count, const order_key *k, uint32_t skip) {
    order_node *n = node_take(p, 0);
    node_set_prefix(n, k, skip);
    for (uint32_t i = 0; i < count; i++) {
        STORE_RELEASE(&n->words[i], pairs[i].word);
        STORE_RELEASE(&node_links(n)[i], (uintptr_t)pairs[i].entry);
    }
    STORE_RELEASE(&n->sorted, sorted);
    STORE_RELEASE(&n->count, count);
    return n;
}

static order_node *leaf_build_one(order_pool *p, const order_key *k, const memtable_entry *e) {
    uint32_t skip = choose_skip(k, k);
    order_pair pair = {order_key_word(k, skip), e};
    return leaf_build(p, &pair, 1, 1, k, skip);
}

/* A leaf of sorted pairs. Where words did not decide and a longer prefix would let them, it gets
 * that. */
static order_node *leaf_build_sorted(order_pool *p, order_pair *pairs, uint32_t count,
                                     uint32_t skip, bool undecided) {
    order_key first;
    order_key last;
    order_key_of(&first, pairs[0].entry);
    order_key_of(&last, pairs[count - 1].entry);
    uint32_t best = choose_skip(&first, &last);
    if (undecided && best > skip) {
        skip = best;
        pairs_set_words(pairs, count, skip);
    }
    return leaf_build(p, pairs, count, count, &first, skip);
}

static void leaf_replace(key_order *o, const order_path *path, order_node *n) {
    order_node *old = path->steps[0].node;
    link_replace(o, path, 0, n);
    o->last = o->last == old ? n : o->last;
    node_retire(o->pool, old);
}

/* The same keys under the part of the prefix that the key has too. */
static void leaf_shorten_prefix(key_order *o, const order_path *path, const order_key *k,
                                uint32_t skip) {
    order_pool *p = o->pool;
    order_node *old = path->steps[0].node;
    uint32_t count = leaf_gather(p, old);
    pairs_set_words(p->pairs, count, skip);
    leaf_replace(o, path, leaf_build(p, p->pairs, relaxed(&old->sorted), count, k, skip));
}

static void leaf_split(key_order *o, const order_path *path) {
    order_pool *p = o->pool;
    order_node *old = path->steps[0].node;
    uint32_t skip = relaxed(&old->skip);
    uint32_t count = leaf_gather(p, old);
    bool undecided = order_sort(p->pairs, count, p->scratch);
    if (count <= old->room / 8 * 5) { /* the tail has grown long, the leaf is not full */
        leaf_replace(o, path, leaf_build_sorted(p, p->pairs, count, skip, undecided));
        return;
    }
    uint32_t half = count / 2;
    const memtable_entry *low = p->pairs[half].entry;
    order_node *left = leaf_build_sorted(p, p->pairs, half, skip, undecided);
    order_node *right = leaf_build_sorted(p, p->pairs + half, count - half, skip, undecided);
    o->last = o->last == old ? right : o->last;
    link_pair(o, path, left, right, low);
}

/* Whether the key comes behind the one at `at`. */
static bool leaf_behind(order_node *n, uint32_t at, uint64_t word, const order_key *k) {
    uint64_t there = atomic_load_explicit(&n->words[at], memory_order_relaxed);
    if (word != there) {
        return word > there;
    }
    const memtable_entry *e = (const memtable_entry *)(uintptr_t)LOAD_ACQUIRE(&node_links(n)[at]);
    return entry_compare_key((slice){k->bytes, k->size}, e) > 0;
}

/* The one step of nearly every insert. False when the leaf must change first. */
static bool leaf_append(order_node *n, const order_key *k, const memtable_entry *e) {
    uint32_t count = relaxed(&n->count);
    uint32_t sorted = relaxed(&n->sorted);
    uint32_t skip;
    if (!node_fits(n, k, &skip) || count == n->room || count - sorted == n->room / 2) {
        return false;
    }
    uint64_t word = order_key_word(k, skip);
    if (sorted == count && (count == 0 || leaf_behind(n, count - 1, word, k))) {
        STORE_RELEASE(&n->sorted, count + 1);
    }
    STORE_RELEASE(&n->words[count], word);
    STORE_RELEASE(&node_links(n)[count], (uintptr_t)e);
    STORE_RELEASE(&n->count, count + 1);
    return true;
}

/* Whether the leaf is full of keys in order that the key continues. */
static bool leaf_continued(order_node *n, const order_key *k) {
    uint32_t skip;
    return relaxed(&n->sorted) == n->room && node_fits(n, k, &skip) &&
           leaf_behind(n, n->room - 1, order_key_word(k, skip), k);
}

/* --- inserts --- */

void key_order_find(const key_order *o, slice key, order_place *place) {
    order_key_set(&place->key, key);
    place->greatest = slice_compare(key, (slice){o->greatest.bytes, o->greatest.size}) > 0;
    if (!place->greatest) {
        descend(o, &place->key, &place->path);
        __builtin_prefetch(place->path.steps[0].node, 1);
    }
}

/* Changes the leaf that the key belongs to so that there is room for it, or adds it while at it:
 * *inserted. False when memory is exhausted. */
static bool make_room(key_order *o, const order_path *path, const order_key *k,
                      const memtable_entry *first, bool *inserted) {
    order_pool *p = o->pool;
    order_node *leaf = path->steps[0].node;
    uint32_t shared;
    *inserted = false;
    if (!pool_reserve(p, 2, inner_needed(path))) {
        return false;
    }
    if (leaf_continued(leaf, k)) {
        order_node *next = leaf_build_one(p, k, first);
        o->last = o->last == leaf ? next : o->last;
        link_pair(o, path, leaf, next, first);
        *inserted = true;
    } else if (!node_fits(leaf, k, &shared)) {
        leaf_shorten_prefix(o, path, k, shared);
    } else {
        leaf_split(o, path);
    }
    return true;
}

static bool insert_first(key_order *o, const order_key *k, const memtable_entry *first) {
    if (!pool_reserve(o->pool, 1, 0)) {
        return false;
    }
    o->last = leaf_build_one(o->pool, k, first);
    STORE_RELEASE(&o->root, o->last);
    return true;
}

bool key_order_insert(key_order *o, order_place *place, const memtable_entry *first) {
    const order_key *k = &place->key;
    bool inserted = false;
    if (atomic_load_explicit(&o->root, memory_order_relaxed) == NULL) {
        inserted = insert_first(o, k, first);
        if (!inserted) {
            return false;
        }
    } else {
        order_node *leaf = place->greatest ? o->last : place->path.steps[0].node;
        inserted = leaf_append(leaf, k, first);
    }
    while (!inserted) {
        descend(o, k, &place->path);
        inserted = leaf_append(place->path.steps[0].node, k, first);
        if (!inserted && !make_room(o, &place->path, k, first, &inserted)) {
            return false;
        }
    }
    if (place->greatest) {
        o->greatest = *k;
    }
    return true;
}
