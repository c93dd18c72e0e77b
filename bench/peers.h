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

/* --- RocksDB --- */
typedef struct rocks rocks;
typedef enum rocks_use {
    ROCKS_APPEND,      /* one thread puts; memtables large enough not to interfere */
    ROCKS_APPEND_TWO,  /* as many threads as cores do */
    ROCKS_APPEND_MANY, /* more do */
    ROCKS_SYNC,        /* each put is durable: log files are recycled */
    ROCKS_POINT,       /* gets */
} rocks_use;
rocks *rocks_open(const char *path, rocks_use use);
const char *rocks_settings(rocks_use use);
void rocks_put(rocks *r, const void *key, const void *value, size_t value_bytes, bool sync);
void rocks_put_no_log(rocks *r, const void *key, size_t key_bytes, const void *value,
                      size_t value_bytes);
/* `count` records with keys from `first` on, as one batch. One batch per `thread` is kept. */
void rocks_put_batch(rocks *r, int thread, uint64_t first, const void *const *values,
                     uint32_t count, bool sync);
bool rocks_get(rocks *r, const void *key, size_t key_bytes, void *value, size_t value_bytes);
void rocks_flush(rocks *r);
void rocks_close(rocks **r);

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
void lmdb_close(lmdb **l);

void peers_print_versions(void);

#endif
