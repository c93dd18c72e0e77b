/* peers: what tape is measured beside, at the settings their own documents advise for the case.
 *
 * A record is the same everywhere: a key of 16 bytes (rising) and the 96 bytes of a tick. */
#ifndef PEERS_H
#define PEERS_H

#include "bench.h"

#define PEER_KEY_BYTES 16u
#define PEER_VALUE_BYTES 96u

/* Keys that rise in byte order, as an index that follows arrival has them. */
static inline void peer_key(uint8_t key[PEER_KEY_BYTES], uint64_t number) {
    uint64_t big_endian = __builtin_bswap64(number);
    __builtin_memset(key, 0, 8);
    __builtin_memcpy(key + 8, &big_endian, 8);
}

/* --- the machine itself: copying a record of 128 bytes and checksumming it --- */
#define LIMIT_FRAME_BYTES 128u
#define LIMIT_SETTINGS "copy of 128 B and CRC-32C of them into a ring of 256 MiB, instruction crc32"
typedef struct limit limit;
limit *limit_create(uint64_t ring_bytes);
void limit_destroy(limit **l);
/* A run of `ops` records in groups of `group` between two readings of the clock; the ticks of each
 * group go to `h`. `fenced`: each record is finished before the next begins. */
void limit_run(limit *l, uint64_t ops, uint32_t group, bool fenced, bench_histogram *h);
uint32_t bench_crc32c(uint32_t crc, const void *data, size_t size_bytes);

/* --- the device itself: write and fdatasync of a file that is written already --- */
typedef struct raw_file raw_file;
raw_file *raw_create(const char *path, uint64_t size_bytes);
void raw_append_sync(raw_file *raw, const void *data, size_t size_bytes);
void raw_close(raw_file **raw);

/* What a scan met: how many rows, and a sum of 8 bytes of each that tells their order. */
typedef struct peer_tally {
    size_t offset; /* of the 8 bytes in the value */
    uint64_t rows;
    uint64_t sum;
} peer_tally;
static inline void peer_count(peer_tally *t, const void *value) {
    uint64_t word;
    __builtin_memcpy(&word, (const char *)value + t->offset, sizeof word);
    t->sum = t->sum * 31 + word;
    t->rows++;
}

/* --- RocksDB --- */
typedef struct rocks rocks;
typedef enum rocks_use {
    ROCKS_APPEND,      /* one thread puts; memtables large enough not to interfere */
    ROCKS_APPEND_TWO,  /* as many threads as cores do */
    ROCKS_APPEND_MANY, /* more do */
    ROCKS_SYNC,        /* each put is durable: log files are recycled */
    ROCKS_POINT,       /* gets */
    ROCKS_SCAN,        /* iterators */
} rocks_use;
rocks *rocks_open(const char *path, rocks_use use);
const char *rocks_settings(rocks_use use);
void rocks_put(rocks *r, const void *key, const void *value, size_t value_bytes, bool sync);
void rocks_put_no_log(rocks *r, const void *key, size_t key_bytes, const void *value,
                      size_t value_bytes);
/* `count` records with keys from `first` on, as one batch. One batch per `thread` is kept. */
void rocks_put_batch(rocks *r, int thread, uint64_t first, const void *const *values,
                     uint32_t count, bool sync);
/* With the log, not synced. */
void rocks_put_key(rocks *r, const void *key, size_t key_bytes, const void *value,
                   size_t value_bytes);
bool rocks_get(rocks *r, const void *key, size_t key_bytes, void *value, size_t value_bytes);
/* `count` keys of one length, up to PEER_MANY_MAX, at once; their values one after the other. All
 * must be there. */
#define PEER_MANY_MAX 64u
void rocks_get_many(rocks *r, const char *const *keys, size_t key_bytes, size_t count, void *values,
                    size_t value_bytes);
/* Up to so many rows in key order by an iterator made for it, from `key` on (NULL: the first) or,
 * backward, from it down (NULL: the last). */
void rocks_scan(rocks *r, const void *key, size_t key_bytes, bool backward, uint64_t rows,
                peer_tally *tally);
void rocks_flush(rocks *r);
void rocks_compact(rocks *r); /* all into the last level */
void rocks_close(rocks **r);

/* Leveled compaction by itself, with statistics. */
typedef struct rocks_levels {
    uint64_t memtable_bytes, table_bytes, level_bytes;
    bool lz4;
} rocks_levels;
rocks *rocks_open_levels(const char *path, const rocks_levels *levels);
const char *rocks_levels_settings(const rocks_levels *levels);
/* Waits until no flush or compaction is wanted or running. */
void rocks_rest(rocks *r);
typedef struct rocks_counters {
    uint64_t flush_written_bytes, compact_read_bytes, compact_written_bytes; /* of table files */
    int64_t stall_ns;
} rocks_counters;
rocks_counters rocks_counters_read(rocks *r);

/* --- LMDB --- */
typedef struct lmdb lmdb;
typedef enum lmdb_use { LMDB_NO_SYNC, LMDB_SYNC } lmdb_use;
lmdb *lmdb_open(const char *path, lmdb_use use, uint64_t map_bytes);
const char *lmdb_settings(lmdb_use use);
/* One transaction. */
void lmdb_put_batch(lmdb *l, uint64_t first, const void *const *values, uint32_t count);
/* One transaction that puts keys of any order. */
void lmdb_put_keys(lmdb *l, const char (*keys)[40], const size_t *order, const void *values,
                   size_t value_bytes, uint64_t first, uint32_t count);
bool lmdb_get(lmdb *l, const void *key, size_t key_bytes, void *value, size_t value_bytes);
/* As rocks_get_many and rocks_scan; one read transaction, renewed for each call. */
void lmdb_get_many(lmdb *l, const char *const *keys, size_t key_bytes, size_t count, void *values,
                   size_t value_bytes);
void lmdb_scan(lmdb *l, const void *key, size_t key_bytes, bool backward, uint64_t rows,
               peer_tally *tally);
void lmdb_close(lmdb **l);

void peers_print_versions(void);

#endif
