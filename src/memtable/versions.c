/* versions.c: the versions of one key, from the newest to the oldest.
 *
 * Besides the next older version each entry knows one much older, so that any version is found in
 * O(log n) steps and an insert looks at no more than two entries. The versions form complete binary
 * trees: an entry of rank r is the root of 2^r - 1 versions, itself the newest; its jump leads past
 * all of them, to the root of the next tree. A version on top of two trees of one rank becomes the
 * root of both; otherwise it is a tree of its own, of rank 1.
 *
 * Threads: an entry's links are set before it can be found, but `newer`, which is set once, after
 * the newer version can be found. */
#include "memtable/memtable_internal.h"

static const memtable_entry *jump_of(const memtable_entry *e) {
    return (const memtable_entry *)(uintptr_t)(e->jump & ADDRESS_MASK); /* NULL: past the oldest */
}

static unsigned rank_of(const memtable_entry *e) {
    return (e->jump >> 48) & 0xff;
}

static unsigned rank_there(const memtable_entry *e) {
    return (unsigned)(e->jump >> 56);
}

static void set_jump(memtable_entry *e, const memtable_entry *to, unsigned rank, unsigned there) {
    ASSERT(((uintptr_t)to & ~ADDRESS_MASK) == 0);
    e->jump = (uintptr_t)to | (uint64_t)rank << 48 | (uint64_t)there << 56;
}

void versions_link(memtable_entry *e, const memtable_entry *newest) {
    e->older = newest;
    if (newest == NULL) {
        set_jump(e, NULL, 1, 0);
    } else if (rank_of(newest) == rank_there(newest)) {
        const memtable_entry *second = jump_of(newest);
        set_jump(e, jump_of(second), rank_of(newest) + 1, rank_there(second));
    } else {
        set_jump(e, newest, 1, rank_of(newest));
    }
}

const memtable_entry *versions_at(const memtable_entry *newest, uint64_t at) {
    const memtable_entry *e = newest;
    while (e != NULL && e->seq > at) {
        const memtable_entry *far = rank_of(e) > 1 ? jump_of(e) : NULL;
        e = far != NULL && far->seq > at ? far : e->older;
    }
    return e;
}
