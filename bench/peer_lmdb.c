/* LMDB. */
#include "peers.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct lmdb {
    MDB_env *env;
    MDB_dbi dbi;
    MDB_txn *reading;
    MDB_cursor *cursor; /* of `reading` */
};

static void check(int status) {
    if (status != 0) {
        bench_fail("LMDB: %s", mdb_strerror(status));
    }
}

const char *lmdb_settings(lmdb_use use) {
    return use == LMDB_NO_SYNC
               ? "a transaction per call, MDB_WRITEMAP | MDB_NOSYNC, keys appended (MDB_APPEND)"
               : "a transaction per call, synced, keys appended (MDB_APPEND)";
}

lmdb *lmdb_open(const char *path, lmdb_use use, uint64_t map_bytes) {
    lmdb *l = bench_alloc(sizeof *l);
    check(mdb_env_create(&l->env));
    check(mdb_env_set_mapsize(l->env, map_bytes));
    unsigned flags = MDB_NOSUBDIR | MDB_NORDAHEAD;
    flags |= use == LMDB_NO_SYNC ? MDB_WRITEMAP | MDB_NOSYNC : 0;
    check(mdb_env_open(l->env, path, flags, 0600));
    MDB_txn *txn = NULL;
    check(mdb_txn_begin(l->env, NULL, 0, &txn));
    check(mdb_dbi_open(txn, NULL, 0, &l->dbi));
    check(mdb_txn_commit(txn));
    return l;
}

void lmdb_put_batch(lmdb *l, uint64_t first, const void *const *values, uint32_t count) {
    MDB_txn *txn = NULL;
    check(mdb_txn_begin(l->env, NULL, 0, &txn));
    for (uint32_t i = 0; i < count; i++) {
        uint8_t bytes[PEER_KEY_BYTES];
        peer_key(bytes, first + i);
        MDB_val key = {sizeof bytes, bytes};
        MDB_val value = {PEER_VALUE_BYTES, (void *)(uintptr_t)values[i]};
        check(mdb_put(txn, l->dbi, &key, &value, MDB_APPEND));
    }
    check(mdb_txn_commit(txn));
}

void lmdb_put_keys(lmdb *l, const char (*keys)[40], const size_t *order, const void *values,
                   size_t value_bytes, uint64_t first, uint32_t count) {
    MDB_txn *txn = NULL;
    check(mdb_txn_begin(l->env, NULL, 0, &txn));
    for (uint64_t i = first; i < first + count; i++) {
        MDB_val key = {strnlen(keys[order[i]], 40), (void *)(uintptr_t)keys[order[i]]};
        MDB_val value = {value_bytes,
                         (void *)(uintptr_t)((const uint8_t *)values + order[i] * value_bytes)};
        check(mdb_put(txn, l->dbi, &key, &value, 0));
    }
    check(mdb_txn_commit(txn));
}

static void read_begin(lmdb *l) {
    if (l->reading == NULL) {
        check(mdb_txn_begin(l->env, NULL, MDB_RDONLY, &l->reading));
        check(mdb_cursor_open(l->reading, l->dbi, &l->cursor));
    } else {
        check(mdb_txn_renew(l->reading));
    }
}

static bool read_one(lmdb *l, const void *key_data, size_t key_bytes, void *value,
                     size_t value_bytes) {
    MDB_val key = {key_bytes, (void *)(uintptr_t)key_data};
    MDB_val found;
    int status = mdb_get(l->reading, l->dbi, &key, &found);
    if (status == 0) {
        BENCH_CHECK(found.mv_size == value_bytes);
        memcpy(value, found.mv_data, value_bytes);
    } else if (status != MDB_NOTFOUND) {
        check(status);
    }
    return status == 0;
}

bool lmdb_get(lmdb *l, const void *key, size_t key_bytes, void *value, size_t value_bytes) {
    read_begin(l);
    bool found = read_one(l, key, key_bytes, value, value_bytes);
    mdb_txn_reset(l->reading);
    return found;
}

void lmdb_get_many(lmdb *l, const char *const *keys, size_t key_bytes, size_t count, void *values,
                   size_t value_bytes) {
    read_begin(l);
    for (size_t i = 0; i < count; i++) {
        BENCH_CHECK(
            read_one(l, keys[i], key_bytes, (uint8_t *)values + i * value_bytes, value_bytes));
    }
    mdb_txn_reset(l->reading);
}

void lmdb_scan(lmdb *l, const void *key_data, size_t key_bytes, bool backward, uint64_t rows,
               peer_tally *tally) {
    read_begin(l);
    check(mdb_cursor_renew(l->reading, l->cursor));
    MDB_val key = {key_bytes, (void *)(uintptr_t)key_data};
    MDB_val value;
    MDB_cursor_op first = key_data != NULL ? MDB_SET : backward ? MDB_LAST : MDB_FIRST;
    MDB_cursor_op next = backward ? MDB_PREV : MDB_NEXT;
    int status = mdb_cursor_get(l->cursor, &key, &value, first);
    for (uint64_t left = rows; status == 0;
         status = mdb_cursor_get(l->cursor, &key, &value, next)) {
        peer_count(tally, value.mv_data);
        if (--left == 0) {
            break;
        }
    }
    if (status != MDB_NOTFOUND) {
        check(status);
    }
    mdb_txn_reset(l->reading);
}

void lmdb_close(lmdb **handle) {
    lmdb *l = *handle;
    if (l->reading != NULL) {
        mdb_cursor_close(l->cursor);
        mdb_txn_abort(l->reading);
    }
    mdb_env_close(l->env);
    free(l);
    *handle = NULL;
}

void peers_print_versions(void) {
    int major = 0;
    int minor = 0;
    int patch = 0;
    (void)mdb_version(&major, &minor, &patch);
    bench_print_fact("LMDB", "%d.%d.%d", major, minor, patch);
    bench_print_fact("RocksDB", "%s", ROCKSDB_VERSION);
}
