/* Reads by key: gets, views, scans.
 *
 * Invariants
 *  R1 a read at seq S is made when the store's cursor has reached S, so it sees every record up to
 * S. R2 all reads of a view are made at its pin's moment; a scan's too, batch after batch.
 *
 * Threads: any. A get takes no lock and allocates nothing, unless it has to bring the cursor up to
 * an append that nobody has applied yet. A scan belongs to one thread at a time. */
#include "engine/engine_internal.h"

#include <inttypes.h>
#include <stdlib.h>

/* Keys of a call with many, before memory is taken for them. */
#define KEYS_IN_PLACE 32
#define SCAN_ROWS_MAX 4096

struct tape_view {
    tape *db;
    store_pin *pin;
};

struct tape_scan {
    const tape_table_info *table;
    store_scan *from;
    uint8_t *rows; /* what tape_scan_next hands out */
    size_t capacity;
    bool ended;
    tape_error failure; /* status OK while all is well */
};

static tape_status no_table(uint16_t table, tape_error *error) {
    return error_set(error, TAPE_INVALID, "there is no table with id %u", table);
}

/* Whether a read of everything written found versions gone that it wanted: newer ones have been
 * appended since, and with a moment of now it is answered. */
static inline bool try_again(uint64_t at, tape_status status) {
    return UNLIKELY(status == TAPE_TOO_OLD) && at == 0;
}

/* The moment of seq `at`, or of everything written; the store has reached it. */
static inline tape_status moment_at(tape *db, const tape_table_info *table, uint64_t at,
                                    store_moment *out, tape_error *error) {
    uint64_t applied = store_applied_seq(db->store);
    if (at == 0 || at > applied) {
        uint64_t written = journal_seq(db->journal, TAPE_WRITTEN);
        at = at == 0 || at > written ? written : at;
    }
    out->at = at;
    /* Only what expires needs the time. */
    out->now_ns = UNLIKELY(db->options.keep_ns[table->id] != 0) ? clock_realtime_ns() : 0;
    return LIKELY(at <= applied) ? TAPE_OK : cursor_reach(&db->store_cursor, at, INT64_MAX, error);
}

static tape_status get_at(tape *db, const tape_table_info *table, const char *const *key,
                          size_t key_count, const store_moment *moment, void *out,
                          tape_error *error) {
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    slice encoded = {bytes, 0};
    tape_status status = record_key_from_text(table, key, key_count, bytes, &encoded.size, error);
    if (LIKELY(status == TAPE_OK)) {
        status = store_get(db->store, moment, table, encoded, out, NULL, error);
    }
    if (status == TAPE_NOT_FOUND && error != NULL) {
        (void)error_set(error, TAPE_NOT_FOUND, "%s has no row with key %s%s%s at seq %" PRIu64,
                        table->name, key[0], key_count > 1 ? " " : "", key_count > 1 ? key[1] : "",
                        moment->at);
    }
    return status;
}

tape_status tape_get(tape *db, uint16_t table, const char *const *key, size_t key_count,
                     uint64_t at, void *out, tape_error *error) {
    const tape_table_info *info = record_table(table);
    store_moment moment;
    tape_status status = TAPE_OK;
    if (UNLIKELY(info == NULL)) {
        return no_table(table, error);
    }
    do {
        status = moment_at(db, info, at, &moment, error);
        if (LIKELY(status == TAPE_OK)) {
            status = get_at(db, info, key, key_count, &moment, out, error);
        }
    } while (try_again(at, status));
    return status;
}

/* --- many keys --- */

static tape_status get_many_at(tape *db, const tape_table_info *table, const char *const *keys,
                               size_t key_count, size_t count, const store_moment *moment,
                               void *out, bool *found, tape_error *error) {
    uint8_t bytes_in_place[KEYS_IN_PLACE][RECORD_KEY_BYTES_MAX];
    slice encoded_in_place[KEYS_IN_PLACE];
    uint8_t(*bytes)[RECORD_KEY_BYTES_MAX] = bytes_in_place;
    slice *encoded = encoded_in_place;
    tape_status status = TAPE_OK;
    if (count > KEYS_IN_PLACE) {
        if (count > SIZE_MAX / (sizeof *bytes + sizeof *encoded)) {
            return error_set(error, TAPE_TOO_LARGE, "%zu keys at once", count);
        }
        bytes = mem_alloc(count * (sizeof *bytes + sizeof *encoded));
        encoded = (slice *)(void *)(bytes + count);
    }
    for (size_t i = 0; status == TAPE_OK && i < count; i++) {
        encoded[i].data = bytes[i];
        status = record_key_from_text(table, keys + i * key_count, key_count, bytes[i],
                                      &encoded[i].size, error);
        if (status != TAPE_OK) {
            error_prefix(error, "key %zu of %zu", i + 1, count);
        }
    }
    if (status == TAPE_OK && count > 0) {
        status = store_get_many(db->store, moment, table, encoded, count, out, found, error);
    }
    if (bytes != bytes_in_place) {
        free(bytes);
    }
    return status;
}

tape_status tape_get_many(tape *db, uint16_t table, const char *const *keys, size_t key_count,
                          size_t count, uint64_t at, void *out, bool *found, tape_error *error) {
    const tape_table_info *info = record_table(table);
    store_moment moment;
    tape_status status = TAPE_OK;
    if (info == NULL) {
        return no_table(table, error);
    }
    do {
        status = moment_at(db, info, at, &moment, error);
        if (status == TAPE_OK) {
            status = get_many_at(db, info, keys, key_count, count, &moment, out, found, error);
        }
    } while (try_again(at, status));
    return status;
}

/* --- views --- */

tape_status tape_view_open(tape *db, uint64_t at, tape_level level, tape_view **out,
                           tape_error *error) {
    *out = NULL;
    if (level < TAPE_WRITTEN || level > TAPE_COMMITTED) {
        return error_set(error, TAPE_INVALID, "%d is not a level", (int)level);
    }
    store_pin *pin = NULL;
    tape_status status = TAPE_OK;
    do {
        uint64_t seq = journal_seq(db->journal, level);
        seq = at != 0 && at < seq ? at : seq;
        status = cursor_reach(&db->store_cursor, seq, INT64_MAX, error);
        if (status == TAPE_OK) {
            status = store_pin_open(db->store, seq, &pin, error);
        }
    } while (try_again(at, status));
    if (status == TAPE_OK) {
        tape_view *view = mem_alloc(sizeof *view);
        *view = (tape_view){.db = db, .pin = pin};
        *out = view;
    }
    return status;
}

uint64_t tape_view_seq(const tape_view *view) {
    return store_pin_moment(view->pin)->at;
}

tape_status tape_view_get(tape_view *view, uint16_t table, const char *const *key, size_t key_count,
                          void *out, tape_error *error) {
    const tape_table_info *info = record_table(table);
    if (info == NULL) {
        return no_table(table, error);
    }
    return get_at(view->db, info, key, key_count, store_pin_moment(view->pin), out, error);
}

tape_status tape_view_get_many(tape_view *view, uint16_t table, const char *const *keys,
                               size_t key_count, size_t count, void *out, bool *found,
                               tape_error *error) {
    const tape_table_info *info = record_table(table);
    if (info == NULL) {
        return no_table(table, error);
    }
    return get_many_at(view->db, info, keys, key_count, count, store_pin_moment(view->pin), out,
                       found, error);
}

void tape_view_close(tape_view **handle) {
    tape_view *view = *handle;
    *handle = NULL;
    if (view != NULL) {
        store_pin_close(&view->pin);
        free(view);
    }
}

/* --- scans --- */

void tape_scan_options_init(tape_scan_options *options) {
    *options = (tape_scan_options){.size_bytes = sizeof *options};
}

tape_status tape_scan_open(tape_view *view, const tape_scan_options *options, tape_scan **out,
                           tape_error *error) {
    tape_scan_options taken;
    tape_scan_options_init(&taken);
    options_take(&taken, sizeof taken, options);
    *out = NULL;
    store_scan_options wanted = {
        .table = record_table(taken.table),
        .moment = *store_pin_moment(view->pin),
        .backward = taken.backward,
        .versions = taken.versions,
    };
    if (wanted.table == NULL) {
        return no_table(taken.table, error);
    }
    tape_status status = record_key_range(wanted.table, taken.key, taken.key_count, taken.from,
                                          taken.to, taken.prefix, &wanted.bounds, error);
    store_scan *from = NULL;
    if (status == TAPE_OK) {
        status = store_scan_open(view->db->store, &wanted, &from, error);
    }
    if (status == TAPE_OK) {
        tape_scan *scan = mem_zalloc(sizeof *scan);
        scan->table = wanted.table;
        scan->from = from;
        *out = scan;
    }
    return status;
}

static tape_status scan_fill(tape_scan *scan, size_t max, size_t *count, tape_error *error) {
    const tape_table_info *table = scan->table;
    while (*count < max) {
        record_view record;
        bool found = false;
        tape_status status = store_scan_next(scan->from, &record, &found, error);
        if (status != TAPE_OK) {
            return status;
        }
        if (!found) {
            scan->ended = true;
            break;
        }
        if (*count == scan->capacity) {
            size_t grown = scan->capacity == 0 ? 64 : 4 * scan->capacity;
            scan->capacity = grown < max ? grown : max;
            scan->rows = mem_realloc(scan->rows, scan->capacity * table->size_bytes);
        }
        record_upgrade(table, record.version, record.payload, record.size,
                       scan->rows + *count * table->size_bytes);
        (*count)++;
    }
    return TAPE_OK;
}

tape_status tape_scan_next(tape_scan *scan, size_t max, const void **records, size_t *count,
                           tape_error *error) {
    *records = NULL;
    *count = 0;
    if (max == 0) {
        return error_set(error, TAPE_INVALID, "a scan's next 0 rows");
    }
    if (scan->failure.status == TAPE_OK && !scan->ended) {
        tape_error failure = {0};
        if (scan_fill(scan, max < SCAN_ROWS_MAX ? max : SCAN_ROWS_MAX, count, &failure) !=
            TAPE_OK) {
            scan->failure = failure;
        }
    }
    if (scan->failure.status != TAPE_OK) {
        *count = 0;
        if (error != NULL) {
            *error = scan->failure;
        }
        return scan->failure.status;
    }
    *records = scan->rows;
    return TAPE_OK;
}

void tape_scan_close(tape_scan **handle) {
    tape_scan *scan = *handle;
    *handle = NULL;
    if (scan != NULL) {
        store_scan_close(&scan->from);
        free(scan->rows);
        free(scan);
    }
}
