/* candidate: what bench/memtable.c asks of a structure that could keep the newest records. Those
 * that lost to src/memtable are kept here, so that the comparison can be made again. They hold
 * records of one table. Readers take no locks. */
#ifndef CANDIDATE_H
#define CANDIDATE_H

#include "memtable/memtable.h"

typedef void (*candidate_visit)(void *context, const record_view *record);

typedef struct candidate {
    const char *name;
    void *(*create)(uint64_t bytes_expected);
    void (*destroy)(void *table);
    void (*insert)(void *table, slice key, const uint64_t hash[2], const record_view *record);
    bool (*get)(const void *table, slice key, const uint64_t hash[2], uint64_t at,
                record_view *out);
    /* Up to `limit` records from the key on, newest version first. */
    void (*scan)(const void *table, slice from, uint64_t limit, candidate_visit visit,
                 void *context);
    uint64_t (*bytes)(const void *table);
} candidate;

extern const candidate candidate_memtable;
extern const candidate candidate_skiplist;
extern const candidate candidate_btree;
extern const candidate candidate_runs;

#endif
