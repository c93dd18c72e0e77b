/* RocksDB through its C interface. */
#include "peers.h"

#include <inttypes.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCHES_MAX 128
/* At rest: nothing was wanted or running in so many looks, so far apart; one that does not come to
 * rest fails. */
#define REST_LOOKS 10
#define REST_PAUSE_NS (BENCH_SECOND_NS / 20)
#define REST_NS_MAX (900 * BENCH_SECOND_NS)

struct rocks {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *family; /* the default one */
    rocksdb_options_t *options;
    rocksdb_writeoptions_t *plain;
    rocksdb_writeoptions_t *sync;
    rocksdb_writeoptions_t *no_log;
    rocksdb_readoptions_t *read;
    rocksdb_readoptions_t *scan;
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
    case ROCKS_SCAN:
        return "iterator made for each scan, read-ahead as it comes, blocks pinned; block cache "
               "2 GiB, bloom filter 10 bits, index in memory, memtable 2 GiB, no compression";
    default:
        return "bloom filter 10 bits, hash index in data blocks, block cache 2 GiB, filters and "
               "index in memory, memtable 2 GiB, no compression";
    }
}

static rocksdb_block_based_table_options_t *table_options(void) {
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_filter_policy(table,
                                                  rocksdb_filterpolicy_create_bloom_full(10));
    rocksdb_cache_t *cache = rocksdb_cache_create_lru(BENCH_GIB(2));
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_cache_destroy(cache);
    return table;
}

static void set_read(rocksdb_options_t *o, rocks_use use) {
    rocksdb_block_based_table_options_t *table = table_options();
    if (use == ROCKS_POINT) {
        rocksdb_block_based_options_set_data_block_index_type(
            table, rocksdb_block_based_table_data_block_index_type_binary_search_and_hash);
        rocksdb_block_based_options_set_data_block_hash_ratio(table, 0.75);
    }
    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
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

/* Takes over `o`. */
static rocks *open_with(const char *path, rocksdb_options_t *o) {
    rocks *r = bench_alloc(sizeof *r);
    r->options = o;
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_max_background_jobs(o, 2);
    r->plain = rocksdb_writeoptions_create();
    r->sync = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(r->sync, 1);
    r->no_log = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(r->no_log, 1);
    r->read = rocksdb_readoptions_create();
    r->scan = rocksdb_readoptions_create();
    rocksdb_readoptions_set_pin_data(r->scan, 1);
    r->flush = rocksdb_flushoptions_create();
    char *error = NULL;
    const char *const name = "default";
    const rocksdb_options_t *const family_options = o;
    r->db = rocksdb_open_column_families(o, path, 1, &name, &family_options, &r->family, &error);
    check(error);
    return r;
}

rocks *rocks_open(const char *path, rocks_use use) {
    bool read = use == ROCKS_POINT || use == ROCKS_SCAN;
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_set_compression(o, rocksdb_no_compression);
    rocksdb_options_set_disable_auto_compactions(o, 1);
    rocksdb_options_set_level0_slowdown_writes_trigger(o, 1000);
    rocksdb_options_set_level0_stop_writes_trigger(o, 1000);
    rocksdb_options_set_max_write_buffer_number(o, 4);
    rocksdb_options_set_write_buffer_size(o, use == ROCKS_SYNC ? BENCH_MIB(64)
                                             : read            ? BENCH_GIB(2)
                                                               : BENCH_GIB(1));
    rocksdb_options_set_allow_concurrent_memtable_write(o, use == ROCKS_APPEND_TWO);
    rocksdb_options_set_enable_pipelined_write(o, use == ROCKS_APPEND_TWO);
    rocksdb_options_set_enable_write_thread_adaptive_yield(o, use == ROCKS_APPEND_TWO);
    if (use == ROCKS_SYNC) {
        rocksdb_options_set_recycle_log_file_num(o, 4);
    }
    if (read) {
        set_read(o, use);
    }
    rocks *r = open_with(path, o);
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

void rocks_put_key(rocks *r, const void *key, size_t key_bytes, const void *value,
                   size_t value_bytes) {
    char *error = NULL;
    rocksdb_put(r->db, r->plain, key, key_bytes, value, value_bytes, &error);
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

void rocks_get_many(rocks *r, const char *const *keys, size_t key_bytes, size_t count, void *values,
                    size_t value_bytes) {
    size_t sizes[PEER_MANY_MAX] = {0};
    rocksdb_pinnableslice_t *slices[PEER_MANY_MAX];
    char *errors[PEER_MANY_MAX];
    BENCH_CHECK(count <= PEER_MANY_MAX);
    for (size_t i = 0; i < count; i++) {
        sizes[i] = key_bytes;
    }
    rocksdb_batched_multi_get_cf(r->db, r->read, r->family, count, keys, sizes, slices, errors,
                                 false);
    for (size_t i = 0; i < count; i++) {
        check(errors[i]);
        BENCH_CHECK(slices[i] != NULL);
        size_t size = 0;
        const char *data = rocksdb_pinnableslice_value(slices[i], &size);
        BENCH_CHECK(data != NULL && size == value_bytes);
        memcpy((uint8_t *)values + i * value_bytes, data, size);
        rocksdb_pinnableslice_destroy(slices[i]);
    }
}

void rocks_scan(rocks *r, const void *key, size_t key_bytes, bool backward, uint64_t rows,
                peer_tally *tally) {
    rocksdb_iterator_t *it = rocksdb_create_iterator(r->db, r->scan);
    if (key == NULL) {
        backward ? rocksdb_iter_seek_to_last(it) : rocksdb_iter_seek_to_first(it);
    } else {
        backward ? rocksdb_iter_seek_for_prev(it, key, key_bytes)
                 : rocksdb_iter_seek(it, key, key_bytes);
    }
    for (uint64_t left = rows; left > 0 && rocksdb_iter_valid(it); left--) {
        size_t size = 0;
        peer_count(tally, rocksdb_iter_value(it, &size));
        backward ? rocksdb_iter_prev(it) : rocksdb_iter_next(it);
    }
    char *error = NULL;
    rocksdb_iter_get_error(it, &error);
    check(error);
    rocksdb_iter_destroy(it);
}

void rocks_flush(rocks *r) {
    char *error = NULL;
    rocksdb_flush(r->db, r->flush, &error);
    check(error);
}

void rocks_compact(rocks *r) {
    rocks_flush(r);
    rocksdb_compact_range(r->db, NULL, 0, NULL, 0);
}

void rocks_close(rocks **handle) {
    rocks *r = *handle;
    for (size_t i = 0; i < BATCHES_MAX; i++) {
        if (r->batches[i] != NULL) {
            rocksdb_writebatch_destroy(r->batches[i]);
        }
    }
    rocksdb_column_family_handle_destroy(r->family);
    rocksdb_close(r->db);
    rocksdb_options_destroy(r->options);
    rocksdb_writeoptions_destroy(r->plain);
    rocksdb_writeoptions_destroy(r->sync);
    rocksdb_writeoptions_destroy(r->no_log);
    rocksdb_readoptions_destroy(r->read);
    rocksdb_readoptions_destroy(r->scan);
    rocksdb_flushoptions_destroy(r->flush);
    free(r);
    *handle = NULL;
}

/* --- leveled --- */

/* What RocksDB's tuning guide advises in general and for space. */
const char *rocks_levels_settings(const rocks_levels *levels) {
    static char text[2][512]; /* by whether packed */
    (void)snprintf(
        text[levels->lz4], sizeof text[0],
        "leveled, dynamic level sizes, memtable %" PRIu64 " MiB (up to 4), files %" PRIu64
        " MiB, base level %" PRIu64 " MiB, files chosen by least overlap, 2 background "
        "jobs, bloom filter 10 bits but in the last level, blocks of 16 KiB, block cache "
        "2 GiB, %s, statistics on, log on, sync off",
        levels->memtable_bytes >> 20, levels->table_bytes >> 20, levels->level_bytes >> 20,
        levels->lz4 ? "LZ4 in every level" : "no compression");
    return text[levels->lz4];
}

rocks *rocks_open_levels(const char *path, const rocks_levels *levels) {
    rocksdb_options_t *o = rocksdb_options_create();
    rocksdb_options_enable_statistics(o);
    rocksdb_options_set_compression(o,
                                    levels->lz4 ? rocksdb_lz4_compression : rocksdb_no_compression);
    rocksdb_options_set_write_buffer_size(o, levels->memtable_bytes);
    rocksdb_options_set_max_write_buffer_number(o, 4);
    rocksdb_options_set_target_file_size_base(o, levels->table_bytes);
    rocksdb_options_set_max_bytes_for_level_base(o, levels->level_bytes);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(o, 1);
    rocksdb_options_set_optimize_filters_for_hits(o, 1);
    rocksdb_options_set_bytes_per_sync(o, BENCH_MIB(1));
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0);
    rocksdb_block_based_table_options_t *table = table_options();
    rocksdb_block_based_options_set_block_size(table, BENCH_KIB(16));
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_options_set_block_based_table_factory(o, table);
    rocksdb_block_based_options_destroy(table);
    return open_with(path, o);
}

static uint64_t property(rocks *r, const char *name) {
    uint64_t value = 0;
    if (rocksdb_property_int(r->db, name, &value) != 0) {
        bench_fail("RocksDB has no property %s", name);
    }
    return value;
}

void rocks_rest(rocks *r) {
    static const char *const busy[] = {
        "rocksdb.mem-table-flush-pending", "rocksdb.num-running-flushes",
        "rocksdb.num-immutable-mem-table", "rocksdb.compaction-pending",
        "rocksdb.num-running-compactions",
    };
    int64_t deadline_ns = bench_now_ns() + REST_NS_MAX;
    for (int quiet = 0; quiet < REST_LOOKS; quiet++) {
        for (size_t i = 0; i < BENCH_COUNT_OF(busy); i++) {
            quiet = property(r, busy[i]) != 0 ? -1 : quiet;
        }
        if (bench_now_ns() > deadline_ns) {
            bench_fail("RocksDB does not come to rest");
        }
        bench_sleep_ns(REST_PAUSE_NS);
    }
}

/* Of lines like "rocksdb.flush.write.bytes COUNT : 12". */
static uint64_t ticker(const char *text, const char *name) {
    const char *at = strstr(text, name);
    const char *count = at == NULL ? NULL : strstr(at, "COUNT : ");
    if (count == NULL) {
        bench_fail("RocksDB's statistics do not tell %s", name);
    }
    return strtoull(count + strlen("COUNT : "), NULL, 10);
}

rocks_counters rocks_counters_read(rocks *r) {
    char *text = rocksdb_options_statistics_get_string(r->options);
    BENCH_CHECK(text != NULL);
    rocks_counters counters = {
        .flush_written_bytes = ticker(text, "rocksdb.flush.write.bytes"),
        .compact_read_bytes = ticker(text, "rocksdb.compact.read.bytes"),
        .compact_written_bytes = ticker(text, "rocksdb.compact.write.bytes"),
        .stall_ns = (int64_t)ticker(text, "rocksdb.stall.micros") * 1000,
    };
    rocksdb_free(text);
    BENCH_CHECK(property(r, "rocksdb.background-errors") == 0);
    return counters;
}
