/* RocksDB through its C interface. */
#include "peers.h"

#include <rocksdb/c.h>
#include <stdlib.h>
#include <string.h>

#define BATCHES_MAX 128

struct rocks {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *plain;
    rocksdb_writeoptions_t *sync;
    rocksdb_writeoptions_t *no_log;
    rocksdb_readoptions_t *read;
    rocksdb_flushoptions_t *flush;
    rocksdb_writebatch_t *batches[BATCHES_MAX];
};

static void check(char *error) {
    if (error != NULL) {
        bench_fail("RocksDB: %s", error);
    }
}

/* For each use several settings were tried on two cores, and the fastest was kept. */
const char *rocks_settings(rocks_use use) {
    switch (use) {
    case ROCKS_APPEND:
        return "put, log on, sync off; memtable 1 GiB so that no flush comes between, no "
               "concurrent memtable writes, no compression, no statistics";
    case ROCKS_APPEND_TWO:
        return "put, log on, sync off; memtable 1 GiB so that no flush comes between, pipelined "
               "writes, concurrent memtable writes, adaptive yield, no compression, no statistics";
    case ROCKS_APPEND_MANY:
        return "put, log on, sync off; memtable 1 GiB so that no flush comes between, no "
               "concurrent memtable writes, no adaptive yield, no compression, no statistics";
    case ROCKS_SYNC:
        return "put, log on, sync on; log files recycled (written files sync faster), memtable "
               "64 MiB, no concurrent memtable writes, no adaptive yield, no compression, no "
               "statistics";
    default:
        return "bloom filter 10 bits, hash index in data blocks, block cache 2 GiB, filters and "
               "index in memory, memtable 2 GiB, no compression";
    }
}

static void set_point(rocksdb_options_t *o) {
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_filter_policy(table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_cache_t *cache = rocksdb_cache_create_lru(BENCH_GIB(2));
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_data_block_index_type(
        table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
    rocksdb_block_based_options_set_data_block_hash_ratio(table, 0.75);
    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
    rocksdb_cache_destroy(cache);
}

/* A log file is recycled once its memtable is flushed: fill some, so that measured writes go to
 * files that are written already. */
static void warm_logs(rocks *r) {
    uint8_t key[PEER_KEY_BYTES] = {0xff};
    uint8_t *value = bench_alloc(BENCH_MIB(1));
    for (uint64_t i = 0; i < 4 * 60; i++) {
        memcpy(key + 8, &i, sizeof i);
        rocks_put(r, key, value, BENCH_MIB(1), false);
        if (i % 60 == 59) {
            rocks_flush(r);
        }
    }
    free(value);
}

rocks *rocks_open(const char *path, rocks_use use) {
    rocks *r = bench_alloc(sizeof *r);
    rocksdb_options_t *o = rocksdb_options_create();
    r->options = o;
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_compression(o, rocksdb_no_compression);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_disable_auto_compactions(o, 1);
    rocksdb_options_set_level0_slowdown_writes_trigger(o, 1000);
    rocksdb_options_set_level0_stop_writes_trigger(o, 1000);
    rocksdb_options_set_max_write_buffer_number(o, 4);
    rocksdb_options_set_write_buffer_size(o, use == ROCKS_SYNC    ? BENCH_MIB(64)
                                             : use == ROCKS_POINT ? BENCH_GIB(2)
                                                                  : BENCH_GIB(1));
    rocksdb_options_set_allow_concurrent_memtable_write(o, use == ROCKS_APPEND_TWO);
    rocksdb_options_set_enable_pipelined_write(o, use == ROCKS_APPEND_TWO);
    rocksdb_options_set_enable_write_thread_adaptive_yield(o, use == ROCKS_APPEND_TWO);
    if (use == ROCKS_SYNC) {
        rocksdb_options_set_recycle_log_file_num(o, 4);
    }
    if (use == ROCKS_POINT) {
        set_point(o);
    }
    r->plain = rocksdb_writeoptions_create();
    r->sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->sync, 1);
    r->no_log = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->no_log, 1);
    r->read = rocksdb_readoptions_create();
    r->flush = rocksdb_flushoptions_create();
    char *error = NULL;
    r->db = rocksdb_open(o, path, &error);
    check(error);
    if (use == ROCKS_SYNC) {
        warm_logs(r);
    }
    return r;
}

void rocks_put(rocks *r, const void *key, const void *value, size_t value_bytes, bool sync) {
    char *error = NULL;
    rocksdb_put(r->db, sync ? r->sync : r->plain, key, PEER_KEY_BYTES, value, value_bytes, &error);
    check(error);
}

void rocks_put_no_log(rocks *r, const void *key, size_t key_bytes, const void *value,
                      size_t value_bytes) {
    char *error = NULL;
    rocksdb_put(r->db, r->no_log, key, key_bytes, value, value_bytes, &error);
    check(error);
}

void rocks_put_batch(rocks *r, int thread, uint64_t first, const void *const *values,
                     uint32_t count, bool sync) {
    BENCH_CHECK(thread < BATCHES_MAX);
    if (r->batches[thread] == NULL) {
        r->batches[thread] = rocksdb_writebatch_create();
    }
    rocksdb_writebatch_t *batch = r->batches[thread];
    rocksdb_writebatch_clear(batch);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[PEER_KEY_BYTES];
        peer_key(key, first + i);
        rocksdb_writebatch_put(batch, (const char *)key, sizeof key, values[i], PEER_VALUE_BYTES);
    }
    char *error = NULL;
    rocksdb_write(r->db, sync ? r->sync : r->plain, batch, &error);
    check(error);
}

bool rocks_get(rocks *r, const void *key, size_t key_bytes, void *value, size_t value_bytes) {
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned(r->db, r->read, key, key_bytes, &error);
    check(error);
    if (slice == NULL) {
        return false;
    }
    size_t size = 0;
    const char *data = rocksdb_pinnableslice_value(slice, &size);
    BENCH_CHECK(data != NULL && size == value_bytes);
    memcpy(value, data, size);
    rocksdb_pinnableslice_destroy(slice);
    return true;
}

void rocks_flush(rocks *r) {
    char *error = NULL;
    rocksdb_flush(r->db, r->flush, &error);
    check(error);
}

void rocks_close(rocks **handle) {
    rocks *r = *handle;
    for (size_t i = 0; i < BATCHES_MAX; i++) {
        if (r->batches[i] != NULL) {
            rocksdb_writebatch_destroy(r->batches[i]);
        }
    }
    rocksdb_close(r->db);
    rocksdb_options_destroy(r->options);
    rocksdb_writeoptions_destroy(r->plain);
    rocksdb_writeoptions_destroy(r->sync);
    rocksdb_writeoptions_destroy(r->no_log);
    rocksdb_readoptions_destroy(r->read);
    rocksdb_flushoptions_destroy(r->flush);
    free(r);
    *handle = NULL;
}
