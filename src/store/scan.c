/* scan.c: rows in key order, up or down, at a moment.
 *
 * A scan looks at the records of a merge one after the other and shows those of the moment: of each
 * key the newest version that had been appended by then, or each of them. Going up, that is the
 * first one met with seq <= at; going down, the last one, so it is held (a copy) until the next
 * record shows that it was.
 *
 * Versions that do not show are passed over one by one, and after SCAN_PASS_MAX of them by a seek,
 * which costs about as much: so a key with any number of versions costs about twice the cheaper of
 * the two at most.
 *
 * Invariants
 *  C1 `record` is where the merge stands and has not been dealt with, unless `given`: then it is
 *     what the caller has.
 *  C2 What is shown depends on records with seq <= at alone, whatever version of the store is
 *     pinned: so the version may be exchanged for the present one at any record, and is after every
 *     SCAN_HOLD_RECORDS if there is another one.
 *  C3 `at` was applied before the version was pinned, so the version has everything up to it.
 *  C4 Versions that may have been dropped (retention.c, R1) do not show, dropped or not: so a scan
 *     shows the same however often it is made at a moment that is pinned.
 *
 * Threads: one at a time. Failure: an error ends the scan; it is returned again by every later
 * call.
 */
#include "store/store_internal.h"

#include <stdlib.h>

#define SCAN_PASS_MAX 16
#define SCAN_HOLD_RECORDS 4096

struct store_scan {
    store *store;
    const tape_table_info *table;
    store_moment moment; /* C3 */
    bool backward;
    bool versions;
    bool outdating; /* versions of the table go when newer ones are old enough */
    record_key_bounds bounds;

    store_version *version; /* pinned; NULL: the scan is over */
    merge *merge;
    uint32_t looked_at; /* records since it was pinned */

    record_view record; /* C1 */
    bool more;          /* there is one */
    bool given;

    /* The key that is being dealt with; empty before the first. */
    uint8_t key[RECORD_KEY_BYTES_MAX];
    size_t key_size;
    bool decided;    /* no more of its versions are shown */
    uint32_t passed; /* its records that were passed over since the last seek */

    record_view held; /* going down: the newest so far, its payload in held_payload */
    bool holding;
    buffer held_payload;

    tape_status status;
    tape_error error;
};

static slice key_of(const store_scan *scan) {
    return (slice){scan->key, scan->key_size};
}

static slice low_of(const store_scan *scan) {
    return (slice){scan->bounds.low_bytes, scan->bounds.low_size};
}

static slice high_of(const store_scan *scan) {
    return (slice){scan->bounds.high_bytes, scan->bounds.high_size};
}

/* --- what is pinned --- */

static void let_go(store_scan *scan) {
    merge_destroy(&scan->merge);
    if (scan->version != NULL) {
        version_unpin(scan->version);
        scan->version = NULL;
    }
}

static void add_memtable(store_scan *scan, const memtable *m) {
    if (memtable_entries(m) > 0 && memtable_min_seq(m) <= scan->moment.at) {
        merge_add_memtable(scan->merge, m);
    }
}

/* Of files that lie one behind the other, those that reach into the bounds. */
static void add_files(store_scan *scan, const table_level *files) {
    size_t from = level_seek(files, low_of(scan), UINT64_MAX);
    size_t to = level_seek(files, high_of(scan), UINT64_MAX);
    if (to < files->count) {
        const sstable_info *info = &files->files[to]->info;
        to += slice_compare((slice){info->min_key, info->min_key_size}, high_of(scan)) < 0;
    }
    if (from < to) {
        merge_add_files(scan->merge, files->files + from, to - from);
    }
}

/* Newest first, so that of a record that is in several places the newest is read. */
static void add_sources(store_scan *scan) {
    const store_version *v = scan->version;
    const table_tree *tree = &v->files->trees[scan->table->id];
    scan->merge = merge_create(scan->store, scan->table);
    add_memtable(scan, v->active);
    for (size_t i = v->waiting_count; i > 0; i--) {
        add_memtable(scan, v->waiting[i - 1]);
    }
    for (size_t i = tree->levels[0].count; i > 0; i--) {
        if (tree->levels[0].files[i - 1]->info.min_seq <= scan->moment.at) {
            add_files(scan, &(table_level){1, &tree->levels[0].files[i - 1]});
        }
    }
    for (size_t level = 1; level < STORE_LEVELS; level++) {
        add_files(scan, &tree->levels[level]);
    }
}

static tape_status seek(store_scan *scan, slice key, uint64_t seq, bool backward,
                        tape_error *error) {
    scan->passed = 0;
    return merge_seek(scan->merge, key, seq, backward, &scan->record, &scan->more, error);
}

/* C3; only the first time may this lower `at`. */
static tape_status pin(store_scan *scan, tape_error *error) {
    tape_status status = version_pin_at(scan->store, scan->moment.at, scan->table, &scan->version,
                                        &scan->moment.at, error);
    scan->looked_at = 0;
    if (status == TAPE_OK) {
        add_sources(scan);
    }
    return status;
}

/* C2: to the same record in the present version. */
static tape_status pin_again(store_scan *scan, tape_error *error) {
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    slice key = {bytes, record_key(scan->table, scan->record.payload, bytes)};
    uint64_t seq = scan->record.seq;
    scan->looked_at = 0;
    if (atomic_load_explicit(&scan->store->current, memory_order_relaxed) == scan->version) {
        return TAPE_OK;
    }
    let_go(scan);
    tape_status status = pin(scan, error);
    if (status != TAPE_OK) {
        return status;
    }
    return seek(scan, key, scan->backward ? seq - 1 : seq, scan->backward, error);
}

/* --- records --- */

static tape_status step(store_scan *scan, tape_error *error) {
    scan->looked_at++;
    return merge_next(scan->merge, &scan->record, &scan->more, error);
}

/* Beyond the present record, which does not show. Nothing shows before (key, seq) either. */
static tape_status pass(store_scan *scan, uint64_t seq, tape_error *error) {
    if (++scan->passed <= SCAN_PASS_MAX) {
        return step(scan, error);
    }
    scan->looked_at++;
    return seek(scan, key_of(scan), seq, scan->backward, error);
}

static bool out_of_bounds(const store_scan *scan) {
    return scan->backward
               ? record_key_compare(scan->table, low_of(scan), scan->record.payload) > 0
               : record_key_compare(scan->table, high_of(scan), scan->record.payload) <= 0;
}

static bool is_same_key(const store_scan *scan) {
    return scan->key_size > 0 &&
           record_key_compare(scan->table, key_of(scan), scan->record.payload) == 0;
}

static void begin_key(store_scan *scan) {
    scan->key_size = record_key(scan->table, scan->record.payload, scan->key);
    scan->decided = false;
    scan->passed = 0;
}

static bool expired(const store_scan *scan, const record_view *record) {
    return store_expired(scan->store, scan->table, record->append_ts, scan->moment.now_ns);
}

/* Whether the version is so old that those before it may be gone, and do not show (C4). */
static bool outdates(const store_scan *scan, const record_view *record) {
    return store_outdates(scan->store, scan->table, record->append_ts, scan->moment.now_ns);
}

/* What happens before a record is looked at. */
static tape_status arrive(store_scan *scan, tape_error *error) {
    if (scan->given) {
        scan->given = false;
        tape_status status = step(scan, error);
        if (status != TAPE_OK) {
            return status;
        }
    }
    if (scan->more && UNLIKELY(scan->looked_at >= SCAN_HOLD_RECORDS)) {
        return pin_again(scan, error);
    }
    return TAPE_OK;
}

static tape_status next_upwards(store_scan *scan, record_view *out, bool *found,
                                tape_error *error) {
    for (;;) {
        tape_status status = arrive(scan, error);
        if (status != TAPE_OK || !scan->more || out_of_bounds(scan)) {
            return status;
        }
        if (!is_same_key(scan)) {
            begin_key(scan);
        }
        if (!scan->decided && scan->record.seq > scan->moment.at) {
            status = pass(scan, scan->moment.at, error);
        } else if (scan->decided || expired(scan, &scan->record)) {
            scan->decided = true; /* what comes now of this key was appended even earlier */
            status = pass(scan, 0, error);
        } else {
            scan->decided = !scan->versions || outdates(scan, &scan->record);
            scan->passed = 0;
            scan->given = true;
            *out = scan->record;
            *found = true;
            return TAPE_OK;
        }
        if (status != TAPE_OK) {
            return status;
        }
    }
}

static void hold(store_scan *scan) {
    scan->held_payload.size = 0;
    buffer_append(&scan->held_payload, scan->record.payload, scan->record.size);
    scan->held = scan->record;
    scan->held.payload = scan->held_payload.data;
    scan->holding = true;
}

/* Going down, when a key has many versions: finds its newest one of the moment from above, and goes
 * on with the key below. */
static tape_status hold_newest(store_scan *scan, tape_error *error) {
    tape_status status = seek(scan, key_of(scan), scan->moment.at, false, error);
    if (status == TAPE_OK && scan->more && is_same_key(scan)) {
        hold(scan);
    }
    return status == TAPE_OK ? seek(scan, key_of(scan), UINT64_MAX, true, error) : status;
}

/* One record further down. *show: it is given as it is. */
static tape_status look_downwards(store_scan *scan, bool *show, tape_error *error) {
    if (scan->record.seq > scan->moment.at) { /* and what comes now of this key is newer still */
        return pass(scan, UINT64_MAX, error);
    }
    if (scan->versions && !scan->outdating) {
        *show = !expired(scan, &scan->record);
        return *show ? TAPE_OK : step(scan, error);
    }
    if (!scan->versions && ++scan->passed > SCAN_PASS_MAX) {
        scan->looked_at++;
        return hold_newest(scan, error);
    }
    hold(scan);
    return step(scan, error);
}

/* With versions: whether what is held shows, whatever comes next of its key. */
static bool shows_held(const store_scan *scan) {
    return scan->versions && scan->record.seq <= scan->moment.at && !outdates(scan, &scan->record);
}

static tape_status next_downwards(store_scan *scan, record_view *out, bool *found,
                                  tape_error *error) {
    for (;;) {
        tape_status status = arrive(scan, error);
        if (status != TAPE_OK) {
            return status;
        }
        bool over = !scan->more || out_of_bounds(scan);
        bool same = !over && is_same_key(scan);
        if (scan->holding && (!same || shows_held(scan))) {
            scan->holding = false;
            if (!expired(scan, &scan->held)) {
                *out = scan->held;
                *found = true;
                return TAPE_OK;
            }
        }
        if (over) {
            return TAPE_OK;
        }
        if (!same) {
            begin_key(scan);
        }
        status = look_downwards(scan, &scan->given, error);
        if (status != TAPE_OK) {
            return status;
        }
        if (scan->given) {
            *out = scan->record;
            *found = true;
            return TAPE_OK;
        }
    }
}

/* --- the interface --- */

static tape_status fail(store_scan *scan, tape_status status) {
    if (status == TAPE_CORRUPT) {
        atomic_fetch_add_explicit(&scan->store->damaged_reads, 1, memory_order_relaxed);
    }
    scan->status = status;
    let_go(scan);
    return status;
}

static void narrow_to_table(store_scan *scan) {
    uint8_t id = (uint8_t)scan->table->id;
    uint8_t beyond = (uint8_t)(id + 1);
    if (slice_compare(low_of(scan), (slice){&id, 1}) < 0) {
        scan->bounds.low_bytes[0] = id;
        scan->bounds.low_size = 1;
    }
    if (slice_compare(high_of(scan), (slice){&beyond, 1}) > 0) {
        scan->bounds.high_bytes[0] = beyond;
        scan->bounds.high_size = 1;
    }
}

tape_status store_scan_open(store *s, const store_scan_options *options, store_scan **out,
                            tape_error *error) {
    ASSERT(options->bounds.high_size > 0);
    store_scan *scan = mem_zalloc(sizeof *scan);
    scan->store = s;
    scan->table = options->table;
    scan->moment = options->moment;
    scan->backward = options->backward;
    scan->versions = options->versions;
    scan->outdating =
        scan->table->kind == TAPE_KIND_ENTITY && s->options.keep_ns[scan->table->id] != 0;
    scan->bounds = options->bounds;
    narrow_to_table(scan);
    tape_status status = pin(scan, error);
    if (status == TAPE_OK) {
        status = seek(scan, scan->backward ? high_of(scan) : low_of(scan), UINT64_MAX,
                      scan->backward, error);
    }
    if (status != TAPE_OK) {
        (void)fail(scan, status);
        store_scan_close(&scan);
        return status;
    }
    *out = scan;
    return TAPE_OK;
}

tape_status store_scan_next(store_scan *scan, record_view *out, bool *found, tape_error *error) {
    *found = false;
    if (UNLIKELY(scan->version == NULL)) {
        if (scan->status != TAPE_OK && error != NULL) {
            *error = scan->error;
        }
        return scan->status;
    }
    tape_status status = scan->backward ? next_downwards(scan, out, found, &scan->error)
                                        : next_upwards(scan, out, found, &scan->error);
    if (UNLIKELY(status != TAPE_OK)) {
        if (error != NULL) {
            *error = scan->error;
        }
        return fail(scan, status);
    }
    if (UNLIKELY(!*found)) {
        let_go(scan);
    }
    return TAPE_OK;
}

void store_scan_close(store_scan **scan_handle) {
    store_scan *scan = *scan_handle;
    if (scan == NULL) {
        return;
    }
    let_go(scan);
    buffer_deinit(&scan->held_payload);
    free(scan);
    *scan_handle = NULL;
}
