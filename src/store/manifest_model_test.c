/* The manifest against a model, on machines that stop and disks that fail, with many files, and
 * with any bytes. */
#include "base/base_testing.h"
#include "store/manifest_testing.h"

#include "format/format.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define FUZZ_ROUNDS 100000
#define MODEL_SEEDS 3
#define MODEL_STEPS 5000
#define ITEM_BYTES (sizeof(manifest_item) + sizeof(manifest_table))

/* --- against a model --- */

#define MODEL_FILES_MAX 4096u
#define MODEL_SLOTS 24u

/* What a manifest should hold, as plain as can be. */
typedef struct model {
    manifest_entry files[MODEL_FILES_MAX]; /* in no order */
    size_t count;
    uint64_t flushed_seq;
    uint64_t next_number;
    uint64_t history_seq[TAPE_TABLE_COUNT + 1];
} model;

static bool is_removed(const manifest_change *change, uint64_t number) {
    for (size_t i = 0; i < change->removed_count; i++) {
        if (change->removed[i] == number) {
            return true;
        }
    }
    return false;
}

static void model_apply(model *k, const manifest_change *change, uint64_t next_number) {
    size_t kept = 0;
    for (size_t i = 0; i < k->count; i++) {
        if (!is_removed(change, k->files[i].info.number)) {
            k->files[kept++] = k->files[i];
        }
    }
    k->count = kept;
    for (size_t i = 0; i < change->added_count; i++) {
        assert_true(k->count < MODEL_FILES_MAX);
        k->files[k->count++] = change->added[i];
    }
    k->flushed_seq = change->flushed_seq;
    k->next_number = next_number;
    uint64_t *history = &k->history_seq[change->history_table];
    if (change->history_table != 0 && change->history_seq > *history) {
        *history = change->history_seq;
    }
}

static bool agrees(const model *k, const manifest *m) {
    bool same = m->entry_count == k->count && m->flushed_seq == k->flushed_seq &&
                memcmp(m->history_seq, k->history_seq, sizeof k->history_seq) == 0;
    for (size_t i = 1; i < m->entry_count && same; i++) {
        same = m->entries[i - 1].info.number < m->entries[i].info.number;
    }
    for (size_t i = 0; i < k->count && same; i++) {
        size_t low = 0;
        size_t high = m->entry_count;
        while (high - low > 1) {
            size_t middle = low + (high - low) / 2;
            if (m->entries[middle].info.number <= k->files[i].info.number) {
                low = middle;
            } else {
                high = middle;
            }
        }
        same = same_file(&m->entries[low], &k->files[i]);
    }
    return same && manifest_levels_sound(m, NULL, NULL);
}

/* A change in the making. */
typedef struct draft {
    uint64_t removed[256];
    manifest_entry added[256];
    manifest_change change;
} draft;

static void draft_remove(draft *d, const manifest_entry *e) {
    assert_true(d->change.removed_count < COUNT_OF(d->removed));
    d->removed[d->change.removed_count++] = e->info.number;
}

static void draft_add(draft *d, const manifest_entry *e) {
    assert_true(d->change.added_count < COUNT_OF(d->added));
    d->added[d->change.added_count++] = *e;
}

/* Numbers are taken in order, but files may be finished in another. */
typedef struct numbers {
    uint64_t waiting[4];
    size_t count;
} numbers;

static uint64_t take_number(manifest *m, numbers *n, uint64_t *seed) {
    if (n->count > 0 && random_below(seed, 2) == 0) {
        return n->waiting[--n->count];
    }
    while (n->count < COUNT_OF(n->waiting) && random_below(seed, 4) == 0) {
        n->waiting[n->count++] = m->next_number++;
    }
    return m->next_number++;
}

/* The file of a slot below level 0, where there is at most one. */
static const manifest_entry *model_at(const model *k, uint16_t table, uint32_t level,
                                      uint32_t slot) {
    for (size_t i = 0; i < k->count; i++) {
        const manifest_entry *e = &k->files[i];
        if (e->info.table == table && e->level == level && slot_of(e) == slot) {
            return e;
        }
    }
    return NULL;
}

/* One to three tables get a file each. */
static void draft_flush(draft *d, const model *k, manifest *m, numbers *n, uint64_t *seed) {
    uint64_t records = 30 + random_below(seed, 100);
    d->change.flushed_seq = k->flushed_seq + records;
    uint16_t table = (uint16_t)(1 + random_below(seed, TAPE_TABLE_COUNT));
    for (size_t i = 0, files = 1 + random_below(seed, 3); i < files; i++) {
        uint64_t from = k->flushed_seq + 1 + random_below(seed, records);
        uint64_t to = from + random_below(seed, d->change.flushed_seq - from + 1);
        manifest_entry e = slot_file(take_number(m, n, seed), table, 0,
                                     (uint32_t)random_below(seed, MODEL_SLOTS), from, to);
        draft_add(d, &e);
        table = (uint16_t)(table % TAPE_TABLE_COUNT + 1);
    }
}

/* All of a table's level 0, or one file of another level, goes into the level below: some slots of
 * that are replaced. */
static void draft_compact(draft *d, const model *k, manifest *m, numbers *n, uint64_t *seed) {
    const manifest_entry *upper = &k->files[random_below(seed, k->count)];
    uint32_t level = upper->level;
    uint16_t table = upper->info.table;
    if (level + 1 == MANIFEST_LEVELS) {
        return;
    }
    bool replaced[MODEL_SLOTS] = {false};
    if (level > 0) {
        draft_remove(d, upper);
        replaced[slot_of(upper)] = true;
    }
    for (size_t i = 0; i < k->count && level == 0; i++) {
        const manifest_entry *e = &k->files[i];
        if (e->level == 0 && e->info.table == table && d->change.removed_count < 100) {
            draft_remove(d, e);
            replaced[slot_of(e)] = true;
        }
    }
    for (uint32_t slot = 0; slot < MODEL_SLOTS; slot++) {
        const manifest_entry *lower = model_at(k, table, level + 1, slot);
        if (!replaced[slot] && (lower == NULL || random_below(seed, 8) > 0)) {
            continue;
        }
        if (lower != NULL) {
            draft_remove(d, lower);
        }
        if (random_below(seed, 6) > 0) { /* else nothing is left of it */
            uint64_t from = 1 + random_below(seed, k->flushed_seq);
            uint64_t to = from + random_below(seed, k->flushed_seq - from + 1);
            manifest_entry e = slot_file(take_number(m, n, seed), table, level + 1, slot, from, to);
            draft_add(d, &e);
        }
    }
    d->change.history_table = random_below(seed, 2) == 0 ? table : 0;
    d->change.history_seq = 1 + random_below(seed, k->flushed_seq);
}

static void draft_move(draft *d, const model *k, uint64_t *seed) {
    manifest_entry e = k->files[random_below(seed, k->count)];
    uint32_t to = e.level + 1 + (uint32_t)random_below(seed, 2);
    if (to < MANIFEST_LEVELS && model_at(k, e.info.table, to, slot_of(&e)) == NULL) {
        draft_remove(d, &e);
        e.level = to;
        draft_add(d, &e);
    }
}

static void draft_expire(draft *d, const model *k, uint64_t *seed) {
    size_t from = random_below(seed, k->count);
    for (size_t i = 0, count = 1 + random_below(seed, 8); i < count && from + i < k->count; i++) {
        draft_remove(d, &k->files[from + i]);
    }
}

static void make_draft(draft *d, const model *k, manifest *m, numbers *n, uint64_t *seed) {
    d->change =
        (manifest_change){.flushed_seq = k->flushed_seq, .removed = d->removed, .added = d->added};
    size_t kind = k->count == 0 ? 0 : random_below(seed, 100);
    if (kind < 50) {
        draft_flush(d, k, m, n, seed);
    } else if (kind < 75) {
        draft_compact(d, k, m, n, seed);
    } else if (kind < 90) {
        draft_move(d, k, seed);
    } else if (kind < 95) {
        draft_expire(d, k, seed);
    } else {
        d->change.flushed_seq += random_below(seed, 3);
    }
}

/* N6, with the settled file's frames of edits at 1 KiB. */
static void assert_short(const manifest *m, os_sim *sim) {
    uint64_t size = 0;
    assert_int_equal(os_sim_file_size(sim, m->path, OS_SIM_CACHED, &size), TAPE_OK);
    assert_int_equal(size, m->end);
    assert_true(m->end <= 2 * (m->entry_count * ITEM_BYTES + KIB(1)) + KIB(256));
}

static void reload(manifest *m, const sstable_place *place) {
    tape_error error;
    manifest_deinit(m);
    if (manifest_load(m, place, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void run_model(uint64_t seed) {
    os_sim *sim = os_sim_create(seed);
    sstable_place place;
    start_machine(sim, &place);
    model *k = mem_zalloc(sizeof *k);
    draft *d = mem_zalloc(sizeof *d);
    numbers n = {0};
    manifest m;
    k->next_number = 1;
    assert_int_equal(manifest_load(&m, &place, NULL), TAPE_OK);
    uint64_t rewritten = 0;
    uint64_t torn = 0;
    for (int step = 0; step < MODEL_STEPS; step++) {
        uint64_t end = m.end;
        bool torn_before = m.doubtful;
        assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
        rewritten += m.end < end && !torn_before;
        assert_short(&m, sim);
        make_draft(d, k, &m, &n, &seed);
        uint64_t before = m.end;
        uint64_t next_number = m.next_number;
        commit_change(&m, &d->change);
        if (random_below(&seed, 600) == 0) { /* the edit just written is torn */
            uint64_t cut = before + random_below(&seed, (size_t)(m.end - before));
            assert_int_equal(os_sim_resize_raw(sim, MANIFEST_TESTING_PATH, cut), TAPE_OK);
            reload(&m, &place);
            assert_int_equal(m.cut_bytes, cut - before);
            assert_true(agrees(k, &m));
            n.count = 0;
            torn++;
            continue;
        }
        model_apply(k, &d->change, next_number);
        if (step % 8 == 0) {
            assert_true(agrees(k, &m) && m.next_number == k->next_number);
        }
        if (random_below(&seed, 30) == 0) {
            reload(&m, &place);
            assert_true(agrees(k, &m) && m.next_number == k->next_number);
            n.count = 0;
        }
    }
    print_message("%zu files after %d edits, %" PRIu64 " torn; %" PRIu64 " times written anew\n",
                  k->count, MODEL_STEPS, torn, rewritten);
    assert_true(k->count > 100 && torn > 0 && rewritten > 0 && rewritten < 40);
    manifest_deinit(&m);
    free(d);
    free(k);
    os_sim_destroy(&sim);
}

static void manifest_agrees_with_a_model_under_random_changes(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= MODEL_SEEDS; seed++) {
        run_model(seed);
    }
}

/* --- machines that stop, disks that fail --- */

#define WORK_EDITS 12

/* Always the same changes. states[i] is what holds after i edits, the others' when a state is the
 * whole of what was done. */
typedef struct work {
    model states[WORK_EDITS + 1];
    draft drafts[WORK_EDITS];
    uint64_t next_numbers[WORK_EDITS];
} work;

static work *make_work(void) {
    work *w = mem_zalloc(sizeof *w);
    manifest m = {.next_number = 1};
    numbers n = {0};
    uint64_t seed = 21;
    w->states[0].next_number = 1;
    for (size_t i = 0; i < WORK_EDITS; i++) {
        const model *k = &w->states[i];
        do {
            make_draft(&w->drafts[i], k, &m, &n, &seed);
        } while (i % 3 != 0 && k->count > 0 && w->drafts[i].change.removed_count == 0);
        w->next_numbers[i] = m.next_number;
        w->states[i + 1] = w->states[i];
        model_apply(&w->states[i + 1], &w->drafts[i].change, m.next_number);
    }
    return w;
}

/* Goes on with the edits after `done`; the file is written anew before each third. Stops at the
 * first error unless `stubborn`, which tries again up to ten times unless a sync failed. Returns
 * how many edits were acknowledged in all. */
static size_t do_work(const work *w, const sstable_place *place, size_t done, bool stubborn) {
    manifest m;
    if (manifest_load(&m, place, NULL) != TAPE_OK) {
        return done;
    }
    assert_true(agrees(&w->states[done], &m));
    for (int failures = 0; done < WORK_EDITS;) {
        m.doubtful = m.doubtful || done % 3 == 0;
        m.next_number = w->next_numbers[done];
        tape_status status = manifest_settle(&m, NULL);
        if (status == TAPE_OK) {
            status = manifest_commit(&m, &w->drafts[done].change, NULL);
        }
        done += status == TAPE_OK;
        assert_true(agrees(&w->states[done], &m)); /* after a failure: as before */
        if (status == TAPE_FAILED || (status != TAPE_OK && (!stubborn || ++failures > 10))) {
            break;
        }
    }
    manifest_deinit(&m);
    return done;
}

/* The state that is found is the acknowledged one or that of the edit in doubt. */
static size_t recover(const work *w, const sstable_place *place, size_t done) {
    manifest m;
    tape_error error;
    if (manifest_load(&m, place, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    if (!agrees(&w->states[done], &m)) {
        assert_true(done < WORK_EDITS);
        done++;
        assert_true(agrees(&w->states[done], &m));
    }
    manifest_deinit(&m);
    return done;
}

static void manifest_survives_a_stop_at_every_step(void **state) {
    (void)state;
    work *w = make_work();
    for (uint64_t seed = 1; seed <= 6; seed++) {
        bool reached = true;
        uint64_t step = 1;
        for (; reached; step++) {
            os_sim *sim = os_sim_create(seed * 1000 + step);
            sstable_place place;
            start_machine(sim, &place);
            os_sim_crash_at(sim, os_sim_steps(sim) + step);
            size_t done = do_work(w, &place, 0, false);
            reached = os_sim_crash_reached(sim);
            assert_true(reached || done == WORK_EDITS);
            if (seed % 2 == 0) {
                os_sim_process_crash(place.disk);
            } else {
                os_sim_power_loss(sim, NULL);
            }
            place.disk = os_sim_process_start(sim);
            done = recover(w, &place, done);
            assert_int_equal(do_work(w, &place, done, false), WORK_EDITS);
            assert_int_equal(recover(w, &place, WORK_EDITS), WORK_EDITS);
            os_sim_destroy(&sim);
        }
        assert_true(step > 3 * WORK_EDITS);
    }
    free(w);
}

static void manifest_is_as_before_when_the_disk_fails(void **state) {
    (void)state;
    static const struct {
        os_sim_operation operation;
        os_sim_effect effect;
    } faults[] = {
        {OS_SIM_WRITE, OS_SIM_EIO},    {OS_SIM_WRITE, OS_SIM_NO_SPACE}, {OS_SIM_SYNC, OS_SIM_EIO},
        {OS_SIM_OPEN, OS_SIM_EIO},     {OS_SIM_CREATE, OS_SIM_EIO},     {OS_SIM_RENAME, OS_SIM_EIO},
        {OS_SIM_DIR_SYNC, OS_SIM_EIO}, {OS_SIM_REMOVE, OS_SIM_EIO},
    };
    work *w = make_work();
    uint64_t hits = 0;
    for (size_t i = 0; i < COUNT_OF(faults); i++) {
        bool hit = true;
        for (uint64_t skip = 0; hit; skip++) {
            os_sim *sim = os_sim_create(100 * i + skip);
            sstable_place place;
            start_machine(sim, &place);
            size_t fault = os_sim_fault_add(sim, &(os_sim_fault){.operation = faults[i].operation,
                                                                 .effect = faults[i].effect,
                                                                 .path = "/store*",
                                                                 .skip = skip,
                                                                 .count = 1 + skip % 3});
            size_t done = do_work(w, &place, 0, true);
            hit = os_sim_fault_hits(sim, fault) > 0;
            hits += hit;
            os_sim_fault_clear(sim);
            done = recover(w, &place, done);
            assert_int_equal(do_work(w, &place, done, false), WORK_EDITS);
            assert_int_equal(recover(w, &place, WORK_EDITS), WORK_EDITS);
            os_sim_destroy(&sim);
        }
    }
    print_message("%" PRIu64 " faults\n", hits);
    assert_true(hits > 4 * WORK_EDITS);
    free(w);
}

static void manifest_whose_sync_failed_says_so(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(3);
    sstable_place place;
    start_machine(sim, &place);
    manifest m;
    assert_int_equal(manifest_load(&m, &place, NULL), TAPE_OK);
    assert_int_equal(manifest_settle(&m, NULL), TAPE_OK);
    (void)os_sim_fault_add(sim, &(os_sim_fault){.operation = OS_SIM_SYNC, .effect = OS_SIM_EIO});
    manifest_entry file = flushed_file(m.next_number++);
    manifest_change change = {.flushed_seq = 10, .added = &file, .added_count = 1};
    tape_error error;
    assert_int_equal(manifest_commit(&m, &change, &error), TAPE_FAILED);
    assert_int_equal(error.status, TAPE_FAILED);
    assert_int_equal(m.entry_count, 0);
    assert_int_equal(manifest_settle(&m, &error), TAPE_FAILED);
    manifest_deinit(&m);
    os_sim_destroy(&sim);
}

/* --- many files --- */

static void manifest_of_100000_files_with_many_removals_is_read_as_it_was_written(void **state) {
    (void)state;
    enum { FILES = 100000, EDITS = 1500, REMOVED = 40 };
    os_sim *sim = os_sim_create(9);
    sstable_place place;
    start_machine(sim, &place);
    manifest m;
    assert_int_equal(manifest_load(&m, &place, NULL), TAPE_OK);
    manifest_entry *files = mem_alloc(FILES * sizeof *files);
    for (uint32_t i = 0; i < FILES; i++) { /* keys in no order of numbers */
        uint32_t slot = (uint32_t)((uint64_t)i * 48271 % 2147483647);
        files[i] =
            slot_file(i + 1, (uint16_t)(1 + i % 7), 1 + i / 7 % 6, slot, 5 * i + 1, 5 * i + 5);
    }
    m.next_number = FILES + 1;
    commit_change(
        &m, &(manifest_change){.flushed_seq = 5 * FILES, .added = files, .added_count = FILES});
    uint64_t seed = 31;
    for (int edit = 0; edit < EDITS; edit++) {
        uint64_t removed[REMOVED];
        manifest_entry added[REMOVED];
        size_t first = random_below(&seed, m.entry_count - 20 * REMOVED);
        for (size_t i = 0; i < REMOVED; i++) { /* each third moves, the others are rewritten */
            added[i] = m.entries[first + 20 * i];
            removed[i] = added[i].info.number;
            if (i % 3 != 0) {
                added[i].info.number = m.next_number++;
            }
        }
        commit_change(&m, &(manifest_change){.flushed_seq = m.flushed_seq + 1,
                                             .removed = removed,
                                             .removed_count = REMOVED,
                                             .added = added,
                                             .added_count = REMOVED});
    }
    assert_true(m.end > m.base_bytes); /* loading has to go through the edits */
    manifest loaded;
    int64_t start = clock_monotonic_ns();
    assert_int_equal(manifest_load(&loaded, &place, NULL), TAPE_OK);
    print_message("%zu files of %" PRIu64 " bytes read in %" PRId64 " ms\n", loaded.entry_count,
                  loaded.end, (clock_monotonic_ns() - start) / 1000000);
    assert_int_equal(loaded.entry_count, FILES);
    assert_int_equal(loaded.entry_count, m.entry_count);
    assert_int_equal(loaded.flushed_seq, m.flushed_seq);
    assert_int_equal(loaded.next_number, m.next_number);
    for (size_t i = 0; i < FILES; i++) {
        assert_true(same_file(&loaded.entries[i], &m.entries[i]));
    }
    manifest_deinit(&loaded);
    manifest_deinit(&m);
    free(files);
    os_sim_destroy(&sim);
}

/* --- any bytes --- */

/* A bit, a byte, or a word by a little: what a field is near to is what it is checked against. */
static void mutate(uint8_t *data, size_t size, uint64_t *seed) {
    uint64_t r = random_next(seed);
    size_t at = (size_t)(r >> 8) % size;
    if (r % 4 == 0) {
        data[at] = (uint8_t)(r >> 40);
    } else if (r % 4 == 1 || size < 8) {
        data[at] = (uint8_t)(data[at] ^ 1u << (r >> 40) % 8);
    } else {
        at = at % (size - 7) & ~(size_t)7;
        store_u64(data + at, r % 4 == 2 ? (r >> 40) % 8 : load_u64(data + at) + (r >> 40) % 9 - 4);
    }
}

static void assert_plausible(const manifest *m) {
    for (size_t i = 0; i < m->entry_count; i++) {
        const sstable_info *info = &m->entries[i].info;
        assert_true(i == 0 || m->entries[i - 1].info.number < info->number);
        assert_true(info->number > 0 && info->number < m->next_number);
        assert_true(info->table >= 1 && info->table <= TAPE_TABLE_COUNT);
        assert_true(info->min_seq >= 1 && info->min_seq <= info->max_seq);
        assert_true(info->max_seq <= m->flushed_seq);
        assert_true(info->entries > 0 && info->keys > 0 && info->keys <= info->entries);
        assert_true(info->min_key_size >= 2 && info->min_key_size <= RECORD_KEY_BYTES_MAX);
        assert_true(info->max_key_size >= 2 && info->max_key_size <= RECORD_KEY_BYTES_MAX);
        assert_true(m->entries[i].level < MANIFEST_LEVELS);
    }
    assert_true(manifest_levels_sound(m, NULL, NULL));
}

/* What was loaded can be written, and is then loaded as the same. */
static void assert_writes_back(manifest *m, const sstable_place *place) {
    m->doubtful = true;
    assert_int_equal(manifest_settle(m, NULL), TAPE_OK);
    manifest again;
    assert_int_equal(manifest_load(&again, place, NULL), TAPE_OK);
    assert_int_equal(again.entry_count, m->entry_count);
    assert_int_equal(again.flushed_seq, m->flushed_seq);
    assert_int_equal(again.next_number, m->next_number);
    assert_memory_equal(again.history_seq, m->history_seq, sizeof m->history_seq);
    for (size_t i = 0; i < m->entry_count; i++) {
        assert_true(same_file(&again.entries[i], &m->entries[i]));
    }
    manifest_deinit(&again);
}

/* Half of the rounds give the frames right checksums again, where their sizes still lead to them.
 */
static void manifest_reader_survives_mutated_bytes(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(6);
    sstable_place place;
    start_machine(sim, &place);
    write_moving_edit(&place);
    size_t size = 0;
    uint8_t *data = NULL;
    assert_int_equal(os_sim_read_raw(sim, MANIFEST_TESTING_PATH, OS_SIM_CACHED, &data, &size),
                     TAPE_OK);
    uint64_t seed = 77;
    uint64_t loaded = 0;
    uint64_t changed = 0;
    for (int round = 0; round < FUZZ_ROUNDS; round++) {
        size_t length = random_next(&seed) % 8 == 0 ? random_next(&seed) % (size + 1) : size;
        uint8_t *copy = mem_alloc(length);
        memcpy(copy, data, length);
        for (uint64_t i = 0, n = 1 + random_next(&seed) % 4; i < n && length > 0; i++) {
            mutate(copy, length, &seed);
        }
        for (size_t at = 0; random_next(&seed) % 16 != 0 && at + FRAME_HEADER_BYTES <= length;) {
            uint32_t bytes = load_u32(copy + at);
            if (bytes < FRAME_HEADER_BYTES || bytes > length || frame_span(bytes) > length - at) {
                break;
            }
            at += frame_write(copy + at, format_salt(fixture_store_id), at, FRAME_MANIFEST, 2, 0, 0,
                              copy + at + FRAME_HEADER_BYTES, bytes - FRAME_HEADER_BYTES);
        }
        manifest m;
        tape_error error;
        if (manifest_read(&m, &place, copy, length, &error) == TAPE_OK) {
            loaded++;
            assert_plausible(&m);
            if (m.cut_bytes == 0 && length == size && changed++ % 16 == 0) {
                assert_writes_back(&m, &place);
            }
            manifest_deinit(&m);
        } else {
            assert_true(error.status == TAPE_CORRUPT || error.status == TAPE_NEWER ||
                        error.status == TAPE_TOO_OLD);
            assert_string_equal(error.file, MANIFEST_TESTING_PATH);
        }
        free(copy);
    }
    print_message("%" PRIu64 " of %d mutated manifests loaded, %" PRIu64 " of them whole\n", loaded,
                  FUZZ_ROUNDS, changed);
    assert_true(loaded > FUZZ_ROUNDS / 100 && changed > FUZZ_ROUNDS / 100);
    free(data);
    os_sim_destroy(&sim);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifest_agrees_with_a_model_under_random_changes),
        cmocka_unit_test(manifest_survives_a_stop_at_every_step),
        cmocka_unit_test(manifest_is_as_before_when_the_disk_fails),
        cmocka_unit_test(manifest_whose_sync_failed_says_so),
        cmocka_unit_test(manifest_of_100000_files_with_many_removals_is_read_as_it_was_written),
        cmocka_unit_test(manifest_reader_survives_mutated_bytes),
    };
    return cmocka_run_group_tests_name("manifest_model", tests, NULL, NULL);
}
