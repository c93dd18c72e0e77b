/* compact.c: bringing table files down the levels. README.md has the policy and why.
 *
 * A compaction takes a fixed set of a table's files and an output level at or below all of them.
 * Files above the output level that may have keys in common, and files of it whose places they
 * overlap, form a group. A group of one file moves: only the manifest changes. A
 * larger group is merged in steps; a step ends at the end of one of its files of the output level,
 * and is an edit of its own: the files written since the last step replace that file. So a step
 * needs little room, a crash or an error loses one step, and what was done stays done. Until the
 * last step the files above the output level stay: what they hold is then there twice, in exact
 * copies.
 *
 * Invariants
 *  K1 For one key, everything in a level is newer than everything in the levels below it, and in a
 *     file of level 0 newer than in those before it, but for exact copies.
 *  K2 So a file above the output level goes only when no older one that may have the same keys
 *     remains above the output level: else a reader would meet the older version first.
 *  K3 Files of the output level never overlap: a step ends where no file of it is cut in two.
 *  K4 What a step leaves out no open pin shows (retention.c).
 *
 * Threads: one compaction at a time (compact_lock); flushes, reads and scrub go on beside it.
 * Failure: the step under way is given up; its files are removed. A damaged input stops compaction
 * of that table, and of no other, until the store is opened again. */
#include "store/store_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define LAST_LEVEL (STORE_LEVELS - 1)
#define LEVEL0_TRIGGER 4u
/* Work between two beats, or a table file's worth where those are smaller. */
#define BEAT_BYTES KIB(256)
/* When nothing else is wanted, files above the last level may take this share of it. */
#define SETTLED_SHARE 0.1
/* A group is shared among threads when each gets this many files of the output level. */
#define PART_FILES_MIN 2u
/* A file is small below this part of table_bytes; so many side by side become one. */
#define SMALL_PART 16u
#define SMALL_FILES_MIN 4u
#define AWAIT_PAUSE_NS INT64_C(2000000)

typedef struct input {
    table_file *file;
    uint32_t level;
    bool consumed; /* all of it has been merged */
    bool removed;  /* by an edit */
    bool released; /* `file` is not to be touched any more */
    table_file *ends;
} input;

typedef struct input_list {
    input *items;
    size_t count;
} input_list;

/* Where a record stands; nowhere while key_size is 0. */
typedef struct place {
    uint8_t key[RECORD_KEY_BYTES_MAX];
    size_t key_size;
    uint64_t seq;
} place;

/* A stretch of a group that one thread merges: what is behind `start` (nowhere: from the beginning)
 * up to `end` (nowhere: to the end), where files of the output level end. */
typedef struct part {
    struct compaction *whole;
    place start;
    place end;
    table_file **files; /* those that reach into the stretch, newest first: see sort_files */
    size_t level_count[STORE_LEVELS]; /* how many of them by level */
    table_file **lower;               /* those of the output level, in order */
    size_t lower_count;
    size_t lower_passed; /* so many of them have been merged */
    sstable_writer *writer;
    manifest_entry *outputs; /* finished since the last edit */
    size_t output_count;
    size_t output_capacity;
    drop_filter drop;
    uint64_t dropped;    /* of drop.dropped, told already */
    place last;          /* of the last record merged, when it was looked at */
    uint64_t beat_bytes; /* since the last beat */
    place reached;       /* `last` at the last edit; under group_lock, */
    bool done;           /* as this: all of it is merged, and no file of it is open */
    _Atomic bool ended;  /* the thread has nothing more to do */
    tape_status status;
    tape_error error;
} part;

typedef struct compaction {
    store *store;
    const tape_table_info *table;
    uint32_t output_level;
    sstable_codec codec;
    store_horizon horizon;
    uint32_t threads; /* that may merge one group */
    store_beat beat;  /* called by the first part's thread alone */
    _Atomic uint64_t done_bytes;
    uint64_t total_bytes;
    _Atomic bool stop;  /* a part failed: the others give up */
    _Atomic bool again; /* given up because a pin came in between; to be tried again */

    /* The group being merged, in the order of places; newer ones first where they start alike. */
    input_list group;
    part *parts;
    size_t part_count;
    pthread_mutex_t group_lock; /* an edit by one part at a time */
} compaction;

/* --- places: (key, seq descending) --- */

static int place_compare(slice key_a, uint64_t seq_a, slice key_b, uint64_t seq_b) {
    int order = slice_compare(key_a, key_b);
    return order != 0 ? order : (seq_a < seq_b) - (seq_a > seq_b);
}

static slice min_key(const table_file *f) {
    return (slice){f->info.min_key, f->info.min_key_size};
}

static slice max_key(const table_file *f) {
    return (slice){f->info.max_key, f->info.max_key_size};
}

static bool ends_before(const table_file *a, const table_file *b) {
    return place_compare(max_key(a), a->info.last_seq, min_key(b), b->info.first_seq) < 0;
}

static bool ends_after(const table_file *a, const table_file *b) {
    return place_compare(max_key(a), a->info.last_seq, max_key(b), b->info.last_seq) > 0;
}

static int end_against(const table_file *f, const place *p) {
    return place_compare(max_key(f), f->info.last_seq, (slice){p->key, p->key_size}, p->seq);
}

static int start_against(const table_file *f, const place *p) {
    return place_compare(min_key(f), f->info.first_seq, (slice){p->key, p->key_size}, p->seq);
}

static place end_of(const table_file *f) {
    place p = {.key_size = f->info.max_key_size, .seq = f->info.last_seq};
    memcpy(p.key, f->info.max_key, p.key_size);
    return p;
}

/* Whether some key may be in both. */
static bool share_keys(const table_file *a, const table_file *b) {
    return slice_compare(max_key(a), min_key(b)) >= 0 && slice_compare(max_key(b), min_key(a)) >= 0;
}

/* Newer sources first: a lower level, at level 0 a higher seq; in the levels below, of two files
 * with versions of one key the one that stands before the other. */
static bool is_newer(const input *a, const input *b) {
    if (a->level != b->level) {
        return a->level < b->level;
    }
    return a->level == 0 ? a->file->info.max_seq > b->file->info.max_seq
                         : ends_before(a->file, b->file);
}

static int compare_start(const void *a, const void *b) {
    const input *x = a;
    const input *y = b;
    int order = place_compare(min_key(x->file), x->file->info.first_seq, min_key(y->file),
                              y->file->info.first_seq);
    return order != 0 ? order : is_newer(y, x) - is_newer(x, y);
}

/* --- beats --- */

static tape_status stopped(const compaction *c, tape_error *error) {
    return error_set(error, TAPE_CANCELLED, "the compaction of %s was stopped", c->table->name);
}

static tape_status beat_on(part *p, uint64_t bytes, tape_error *error) {
    compaction *c = p->whole;
    uint64_t table_bytes = c->store->options.table_bytes;
    p->beat_bytes += bytes;
    if (p->beat_bytes < (table_bytes < BEAT_BYTES ? table_bytes : BEAT_BYTES)) {
        return TAPE_OK;
    }
    uint64_t worked = p->beat_bytes;
    p->beat_bytes = 0;
    uint64_t done = atomic_fetch_add(&c->done_bytes, worked) + worked;
    done = done < c->total_bytes ? done : c->total_bytes;
    if (p == c->parts && c->beat.beat != NULL &&
        !c->beat.beat(c->beat.context, worked, done, c->total_bytes)) {
        atomic_store(&c->stop, true);
    }
    return atomic_load(&c->stop) ? stopped(c, error) : TAPE_OK;
}

/* --- steps --- */

static tape_status finish_output(part *p, tape_error *error) {
    if (p->writer == NULL) {
        return TAPE_OK;
    }
    if (p->output_count == p->output_capacity) {
        p->output_capacity = p->output_capacity == 0 ? 8 : 2 * p->output_capacity;
        p->outputs = mem_realloc(p->outputs, p->output_capacity * sizeof *p->outputs);
    }
    manifest_entry *e = &p->outputs[p->output_count];
    *e = (manifest_entry){.level = p->whole->output_level};
    tape_status status = sstable_writer_finish(&p->writer, &e->info, error);
    if (status == TAPE_OK) {
        p->output_count++;
        atomic_fetch_add(&p->whole->store->counters.compact_written_bytes, e->info.size_bytes);
    }
    return status;
}

/* Whether the file reaches into the part's stretch: others the part never opens. */
static bool reaches_into(const part *p, const table_file *f) {
    return (p->start.key_size == 0 || end_against(f, &p->start) > 0) &&
           (p->end.key_size == 0 || start_against(f, &p->end) <= 0);
}

/* Whether every part has given all it has of the file; with `left`, has also gone on to a record
 * behind it, so that it does not look at the file any more. Holding group_lock. */
static bool all_past(const compaction *c, const table_file *f, bool left) {
    for (size_t i = 0; i < c->part_count; i++) {
        const part *p = &c->parts[i];
        if (!p->done && reaches_into(p, f) &&
            (p->reached.key_size == 0 || end_against(f, &p->reached) > (left ? -1 : 0))) {
            return false;
        }
    }
    return true;
}

static void mark_consumed(compaction *c) {
    for (size_t i = 0; i < c->group.count; i++) {
        input *in = &c->group.items[i];
        in->consumed = in->consumed || all_past(c, in->file, false);
    }
}

/* K2: whether an older input above the output level that may have the same keys stays. */
static bool shields_older(const compaction *c, const input *in) {
    for (size_t i = 0; i < c->group.count; i++) {
        const input *other = &c->group.items[i];
        if (other != in && !other->removed && other->level != c->output_level &&
            is_newer(in, other) && share_keys(in->file, other->file)) {
            return true;
        }
    }
    return false;
}

/* Marks the inputs that go with this edit; older ones first, so that newer ones may follow. */
static size_t mark_removable(compaction *c, uint64_t *numbers) {
    size_t count = 0;
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < c->group.count; i++) {
            input *in = &c->group.items[i];
            if (in->removed || !in->consumed ||
                (in->level != c->output_level && shields_older(c, in))) {
                continue;
            }
            in->removed = true;
            numbers[count++] = in->file->info.number;
            more = true;
        }
    }
    return count;
}

/* Lets go of removed files that no part looks at any more, so that their room comes back. */
static void release_removed(compaction *c) {
    for (size_t i = 0; i < c->group.count; i++) {
        input *in = &c->group.items[i];
        if (in->removed && !in->released && all_past(c, in->file, true)) {
            in->released = true;
            file_release(c->store, in->file);
        }
    }
}

/* An edit: what was written replaces what was consumed. Holding group_lock. */
static tape_status commit_locked(part *p, tape_error *error) {
    compaction *c = p->whole;
    store *s = c->store;
    p->reached = p->last;
    release_removed(c);
    mark_consumed(c);
    uint64_t *removed = mem_alloc((c->group.count + 1) * sizeof *removed);
    manifest_change change = {
        .removed = removed,
        .removed_count = mark_removable(c, removed),
        .added = p->outputs,
        .added_count = p->output_count,
    };
    if (p->drop.history_seq > 0) {
        change.history_table = c->table->id;
        change.history_seq = p->drop.history_seq;
    }
    tape_status status = TAPE_OK;
    if (change.removed_count + change.added_count > 0) {
        status = store_commit(s, &change, NULL, error);
    }
    free(removed);
    if (status == TAPE_OK) {
        p->output_count = 0;
        atomic_fetch_add(&s->counters.dropped_records, p->drop.dropped - p->dropped);
        p->dropped = p->drop.dropped;
    }
    return status;
}

/* `done`: nothing of the part is left. */
static tape_status commit_step(part *p, bool done, tape_error *error) {
    compaction *c = p->whole;
    tape_status status = finish_output(p, error);
    if (status != TAPE_OK) {
        return status;
    }
    bool pins_care = c->table->kind == TAPE_KIND_ENTITY; /* R1 */
    if (pins_care && p->drop.history_seq > 0 &&
        !store_history_begin(c->store, p->drop.history_seq)) {
        atomic_store(&c->again, true);
        return stopped(c, error);
    }
    pthread_mutex_lock(&c->group_lock);
    p->done = done;
    /* What another part's failed edit marked as removed must not be built upon. */
    status = atomic_load(&c->stop) ? stopped(c, error) : commit_locked(p, error);
    if (status != TAPE_OK) {
        atomic_store(&c->stop, true);
    }
    pthread_mutex_unlock(&c->group_lock);
    return status;
}

/* --- merging a group --- */

/* K3: whether the last record merged lies within a file of the output level, of which more is to
 * come. */
static bool within_lower(const part *p) {
    return p->lower_passed < p->lower_count &&
           start_against(p->lower[p->lower_passed], &p->last) <= 0;
}

static tape_status add_record(part *p, const record_view *record, tape_error *error) {
    compaction *c = p->whole;
    if (drop_record(&p->drop, record)) {
        return TAPE_OK;
    }
    tape_status status = TAPE_OK;
    if (p->writer == NULL) {
        status = sstable_writer_open(&p->writer, &c->store->place, store_take_number(c->store),
                                     c->table->id, c->codec, error);
    }
    return status == TAPE_OK ? sstable_writer_add(p->writer, record, error) : status;
}

/* After a record that filled the output or was the last of a file of the output level: the output
 * is cut when it is full, and an edit is made where it can be and is worth it. */
static tape_status maybe_step(part *p, bool passed_lower, tape_error *error) {
    uint64_t bytes = p->writer == NULL ? 0 : sstable_writer_bytes(p->writer);
    uint64_t full = p->whole->store->options.table_bytes;
    tape_status status = TAPE_OK;
    bool cut = bytes >= full;
    if (cut) {
        status = finish_output(p, error);
        bytes = 0;
    }
    if (status != TAPE_OK || (!cut && !passed_lower)) {
        return status;
    }
    bool worth = bytes >= full / 2 || p->output_count >= 2 || (cut && p->output_count > 0);
    return worth && !within_lower(p) ? commit_step(p, false, error) : status;
}

static void note_last(part *p, const record_view *record) {
    p->last.key_size = record_key(p->whole->table, record->payload, p->last.key);
    p->last.seq = record->seq;
}

static int compare_newest(const void *a, const void *b) {
    const table_file *const *x = a;
    const table_file *const *y = b;
    return ((*x)->info.max_seq < (*y)->info.max_seq) - ((*x)->info.max_seq > (*y)->info.max_seq);
}

/* The part's files, newest first: those of level 0, then each level as one run; those of the output
 * level stand last. */
static void sort_files(part *p) {
    const compaction *c = p->whole;
    size_t used = 0;
    p->files = mem_zalloc((c->group.count + 1) * sizeof(table_file *));
    for (uint32_t level = 0; level <= c->output_level; level++) {
        size_t first = used;
        for (size_t i = 0; i < c->group.count; i++) {
            const input *in = &c->group.items[i];
            if (in->level == level && reaches_into(p, in->file)) {
                p->files[used++] = in->file;
            }
        }
        p->level_count[level] = used - first;
        if (level == 0 && used > 1) {
            qsort(p->files, used, sizeof(table_file *), compare_newest);
        }
    }
    p->lower_count = p->level_count[c->output_level];
    p->lower = p->files + used - p->lower_count;
}

static merge *open_merge(const part *p) {
    merge *m = merge_create(p->whole->store, p->whole->table);
    size_t used = p->level_count[0];
    for (size_t i = 0; i < used; i++) {
        merge_add_files(m, p->files + i, 1);
    }
    for (uint32_t level = 1; level < STORE_LEVELS; level++) {
        if (p->level_count[level] > 0) {
            merge_add_files(m, p->files + used, p->level_count[level]);
        }
        used += p->level_count[level];
    }
    return m;
}

/* The part's first record. The place behind another is that of the next lower seq. */
static tape_status seek_start(const part *p, merge *m, record_view *record, bool *found,
                              tape_error *error) {
    const uint8_t bound = (uint8_t)p->whole->table->id;
    if (p->start.key_size == 0) {
        return merge_seek(m, (slice){&bound, 1}, UINT64_MAX, false, record, found, error);
    }
    return merge_seek(m, (slice){p->start.key, p->start.key_size}, p->start.seq - 1, false, record,
                      found, error);
}

static bool is_end_of(const tape_table_info *table, const table_file *f,
                      const record_view *record) {
    return record->seq == f->info.last_seq &&
           record_key_compare(table, max_key(f), record->payload) == 0;
}

static tape_status merge_records(part *p, merge *m, tape_error *error) {
    compaction *c = p->whole;
    record_view record;
    bool found = false;
    tape_status status = seek_start(p, m, &record, &found, error);
    while (status == TAPE_OK && found) {
        status = add_record(p, &record, error);
        if (status == TAPE_OK) {
            status = beat_on(p, record.size, error);
        }
        bool passed = p->lower_passed < p->lower_count &&
                      is_end_of(c->table, p->lower[p->lower_passed], &record);
        bool full =
            p->writer != NULL && sstable_writer_bytes(p->writer) >= c->store->options.table_bytes;
        if (status == TAPE_OK && (passed || full)) {
            note_last(p, &record);
            p->lower_passed += passed;
            if (passed && p->lower_passed == p->lower_count && p->end.key_size > 0) {
                return TAPE_OK;
            }
            status = maybe_step(p, passed, error);
        }
        if (status == TAPE_OK) {
            status = merge_next(m, &record, &found, error);
        }
    }
    return status;
}

static void run_part(void *argument) {
    part *p = argument;
    compaction *c = p->whole;
    merge *m = open_merge(p);
    drop_init(&p->drop, c->table, &c->horizon);
    p->status = merge_records(p, m, &p->error);
    merge_destroy(&m);
    if (p->status == TAPE_OK) {
        p->status = commit_step(p, true, &p->error);
    }
    sstable_writer_abandon(&p->writer);
    if (p->status != TAPE_OK) {
        atomic_store(&c->stop, true);
        store_discard(c->store, p->outputs, p->output_count);
    }
    free(p->outputs);
    free(p->files);
    atomic_store(&p->ended, true);
}

/* The first part's thread is done, another's is not: beats go on. */
static void await_part(compaction *c, const part *p) {
    while (!atomic_load(&p->ended)) {
        uint64_t done = atomic_load(&c->done_bytes);
        done = done < c->total_bytes ? done : c->total_bytes;
        if (c->beat.beat != NULL && !c->beat.beat(c->beat.context, 0, done, c->total_bytes)) {
            atomic_store(&c->stop, true);
        }
        os_sleep_ns(AWAIT_PAUSE_NS);
    }
}

static tape_status run_parts(compaction *c, tape_error *error) {
    os_thread **threads = mem_zalloc(c->part_count * sizeof *threads);
    size_t started = 1;
    tape_status status = TAPE_OK;
    while (started < c->part_count && status == TAPE_OK) {
        status = os_thread_start(&threads[started], "tape-compact", -1, run_part,
                                 &c->parts[started], error);
        started += status == TAPE_OK;
    }
    for (size_t i = started; i < c->part_count; i++) {
        c->parts[i].status = status;
        atomic_store(&c->stop, true);
    }
    run_part(&c->parts[0]);
    for (size_t i = 1; i < started; i++) {
        await_part(c, &c->parts[i]);
        os_thread_join(&threads[i]);
    }
    free(threads);
    /* The first failure that is not a mere following of another's. */
    for (size_t i = 0; i < c->part_count; i++) {
        const part *p = &c->parts[i];
        if (p->status != TAPE_OK && (status == TAPE_OK || status == TAPE_CANCELLED)) {
            status = p->status;
            if (error != NULL && i < started) {
                *error = p->error;
            }
        }
    }
    return status;
}

/* Stretches of about as many files of the output level for each thread. */
static void cut_parts(compaction *c) {
    const table_file **lower = mem_alloc((c->group.count + 1) * sizeof *lower);
    size_t count = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < c->group.count; i++) {
        bytes += c->group.items[i].file->info.size_bytes;
        if (c->group.items[i].level == c->output_level) {
            lower[count++] = c->group.items[i].file;
        }
    }
    bool worth = count >= PART_FILES_MIN * c->threads &&
                 bytes >= PART_FILES_MIN * c->threads * c->store->options.table_bytes / 2;
    c->part_count = worth ? c->threads : 1;
    c->parts = mem_zalloc(c->part_count * sizeof *c->parts);
    for (size_t i = 0; i < c->part_count; i++) {
        part *p = &c->parts[i];
        p->whole = c;
        if (i > 0) {
            p->start = c->parts[i - 1].end;
        }
        if (i + 1 < c->part_count) {
            p->end = end_of(lower[(i + 1) * count / c->part_count - 1]);
        }
    }
    for (size_t i = 0; i < c->part_count; i++) {
        sort_files(&c->parts[i]);
    }
    free(lower);
}

static tape_status merge_group(compaction *c, tape_error *error) {
    for (size_t i = 0; i < c->group.count; i++) {
        atomic_fetch_add(&c->store->counters.compact_read_bytes,
                         c->group.items[i].file->info.size_bytes);
    }
    cut_parts(c);
    ASSERT(pthread_mutex_init(&c->group_lock, NULL) == 0);
    tape_status status = run_parts(c, error);
    pthread_mutex_destroy(&c->group_lock);
    free(c->parts);
    c->parts = NULL;
    c->part_count = 0;
    return status;
}

/* --- groups --- */

static tape_status move_file(compaction *c, const input *in, tape_error *error) {
    if (in->level == c->output_level) {
        return TAPE_OK;
    }
    manifest_entry entry = {.info = in->file->info, .level = c->output_level};
    manifest_change change = {
        .removed = &in->file->info.number,
        .removed_count = 1,
        .added = &entry,
        .added_count = 1,
    };
    tape_status status = store_commit(c->store, &change, NULL, error);
    atomic_fetch_add(&c->store->counters.compact_moves, status == TAPE_OK);
    return status;
}

/* Whether a file that overlaps no other has to be written anew all the same. */
static bool wants_rewrite(const compaction *c, const input *in, bool forced) {
    const sstable_info *info = &in->file->info;
    int64_t cutoff_ns = c->horizon.cutoff_ns[c->table->id];
    if (info->codec != (uint16_t)c->codec) {
        return forced || in->level != c->output_level;
    }
    bool droppable = c->table->kind == TAPE_KIND_EVENT || info->keys < info->entries;
    return forced && droppable && info->min_append_ts <= cutoff_ns;
}

/* For each file above the output level: the file that ends last among those that it shares keys
 * with, directly or through others. `inputs` in the order of places. */
static void find_ends(const compaction *c, input_list inputs) {
    size_t first = SIZE_MAX; /* of the files seen so far that share keys */
    for (size_t i = 0; i < inputs.count; i++) {
        input *in = &inputs.items[i];
        in->ends = in->file;
        if (in->level == c->output_level) {
            continue;
        }
        if (first != SIZE_MAX &&
            slice_compare(max_key(inputs.items[first].ends), min_key(in->file)) >= 0) {
            table_file *ends = inputs.items[first].ends;
            in->ends = ends_after(ends, in->file) ? ends : in->file;
            inputs.items[first].ends = in->ends;
        } else {
            first = i;
        }
    }
}

/* Where the group that begins at `first` ends. */
static size_t group_end(input_list inputs, size_t first) {
    const table_file *reach = inputs.items[first].ends;
    size_t end = first + 1;
    while (end < inputs.count && !ends_before(reach, inputs.items[end].file)) {
        reach = ends_after(reach, inputs.items[end].ends) ? reach : inputs.items[end].ends;
        end++;
    }
    return end;
}

/* Small files that stand side by side and overlap nothing are put together when enough of them have
 * gathered: where the run that begins at `first` ends. */
static size_t small_run_end(const compaction *c, input_list inputs, size_t first) {
    uint64_t small = c->store->options.table_bytes / SMALL_PART;
    size_t end = first;
    while (end < inputs.count && inputs.items[end].file->info.size_bytes < small &&
           group_end(inputs, end) == end + 1) {
        end++;
    }
    return end - first >= SMALL_FILES_MIN ? end : first;
}

/* `inputs` in the order of places. */
static tape_status compact_groups(compaction *c, input_list inputs, bool forced,
                                  tape_error *error) {
    tape_status status = TAPE_OK;
    find_ends(c, inputs);
    for (size_t first = 0; first < inputs.count && status == TAPE_OK;) {
        size_t end = group_end(inputs, first);
        size_t run_end = small_run_end(c, inputs, first);
        if (run_end > first) {
            end = run_end;
        }
        c->group = (input_list){inputs.items + first, end - first};
        if (end - first == 1 && !wants_rewrite(c, &inputs.items[first], forced)) {
            status = move_file(c, &inputs.items[first], error);
        } else {
            status = merge_group(c, error);
        }
        first = end;
    }
    return status;
}

/* --- which files --- */

static input_list take_levels(const table_tree *tree, uint32_t last) {
    input_list list = {0};
    size_t count = 0;
    for (uint32_t l = 0; l <= last; l++) {
        count += tree->levels[l].count;
    }
    list.items = mem_zalloc((count + 1) * sizeof *list.items);
    for (uint32_t l = 0; l <= last; l++) {
        for (size_t i = 0; i < tree->levels[l].count; i++) {
            list.items[list.count++] = (input){.file = tree->levels[l].files[i], .level = l};
        }
    }
    return list;
}

/* Leaves of the list what lies within the bounds or overlaps what does, directly or through others:
 * nothing older may be passed on the way down (K1). */
static void keep_within(input_list *list, const record_key_bounds *bounds) {
    slice low = {bounds->low_bytes, bounds->low_size};
    slice high = {bounds->high_bytes, bounds->high_size};
    bool *kept = mem_zalloc(list->count + 1);
    for (bool more = true; more;) {
        more = false;
        for (size_t i = 0; i < list->count; i++) {
            const table_file *f = list->items[i].file;
            bool keep = slice_compare(max_key(f), low) >= 0 && slice_compare(min_key(f), high) < 0;
            for (size_t k = 0; k < list->count && !keep && !kept[i]; k++) {
                keep = kept[k] && share_keys(f, list->items[k].file);
            }
            more = more || (keep && !kept[i]);
            kept[i] = kept[i] || keep;
        }
    }
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (kept[i]) {
            list->items[count++] = list->items[i];
        }
    }
    list->count = count;
    free(kept);
}

/* Compacts `inputs`, in any order. The caller holds `files`, which names them, and gives it back
 * here: each input is held by itself, so that its room comes back as soon as it is removed. */
static tape_status run_compaction(compaction *c, input_list inputs, bool forced, file_set **files,
                                  tape_error *error) {
    store *s = c->store;
    tape_error local = {0};
    c->codec = s->options.pack_level != 0 && c->output_level >= s->options.pack_level
                   ? (sstable_codec)s->options.pack_codec
                   : SSTABLE_PLAIN;
    c->horizon = store_horizon_now(s, clock_realtime_ns());
    for (size_t i = 0; i < inputs.count; i++) {
        file_hold(s, inputs.items[i].file);
        c->total_bytes += inputs.items[i].file->info.payload_bytes;
    }
    files_release(s, files);
    qsort(inputs.items, inputs.count, sizeof *inputs.items, compare_start);
    int64_t start_ns = clock_monotonic_ns();
    tape_status status = compact_groups(c, inputs, forced, &local);
    if (atomic_load(&c->again) && status == TAPE_CANCELLED) {
        status = TAPE_OK; /* what is left will be wanted again */
    }
    for (size_t i = 0; i < inputs.count; i++) {
        if (!inputs.items[i].released) {
            file_release(s, inputs.items[i].file);
        }
    }
    if (status == TAPE_CORRUPT) {
        atomic_store(&s->table_damaged[c->table->id], true);
    }
    if (status == TAPE_FAILED) {
        atomic_store(&s->failed, true);
    }
    atomic_fetch_add(&s->counters.compactions, 1);
    atomic_fetch_add(&s->counters.compact_ns, clock_monotonic_ns() - start_ns);
    files_collect(s);
    if (status != TAPE_OK && error != NULL) {
        *error = local;
    }
    return status;
}

/* --- policy --- */

static uint64_t bytes_between(const table_tree *tree, uint32_t first, uint32_t last) {
    uint64_t bytes = 0;
    for (uint32_t l = first; l <= last; l++) {
        bytes += level_bytes(&tree->levels[l]);
    }
    return bytes;
}

/* The levels that go down together, and where to. */
typedef struct plan {
    uint16_t table; /* 0: nothing */
    uint32_t last_input;
    uint32_t output_level;
} plan;

/* Level 0 becomes a run of its own in the deepest free level; when the runs above the last level
 * have grown to a share of it, all of them go into it; when no level is free, they become one. */
static plan plan_level0(const store *s, const table_tree *tree, uint16_t table) {
    uint64_t above = bytes_between(tree, 0, LAST_LEVEL - 1);
    uint64_t last = level_bytes(&tree->levels[LAST_LEVEL]);
    if ((double)above >= s->options.upper_share * (double)last) {
        return (plan){table, LAST_LEVEL, LAST_LEVEL};
    }
    uint32_t free_level = LAST_LEVEL - 1;
    for (uint32_t l = LAST_LEVEL - 1; l >= 1; l--) {
        free_level = tree->levels[l].count > 0 ? l - 1 : free_level;
    }
    if (free_level > 0) {
        return (plan){table, 0, free_level};
    }
    return (plan){table, LAST_LEVEL - 1, LAST_LEVEL - 1};
}

static double level0_score(const table_tree *tree) {
    return (double)tree->levels[0].count / LEVEL0_TRIGGER;
}

static bool settled(const table_tree *tree) {
    uint64_t above = bytes_between(tree, 0, LAST_LEVEL - 1);
    uint64_t last = level_bytes(&tree->levels[LAST_LEVEL]);
    return (double)above <= SETTLED_SHARE * (double)last;
}

static plan choose(const store *s, const file_set *files, bool settle) {
    plan p = {0};
    double best = 1;
    for (uint16_t t = 1; t < STORE_TABLES; t++) {
        const table_tree *tree = &files->trees[t];
        double score = level0_score(tree);
        if (atomic_load(&s->table_damaged[t])) {
            continue;
        }
        if (score >= best) {
            p = plan_level0(s, tree, t);
            best = score;
        } else if (settle && p.table == 0 && !settled(tree)) {
            p = (plan){t, LAST_LEVEL, LAST_LEVEL};
        }
    }
    return p;
}

/* --- expired files --- */

/* Files of one event table all of whose records have expired. */
typedef struct expired_files {
    uint16_t table;
    uint64_t numbers[256];
    size_t count;
    uint64_t records;
    uint64_t history_seq; /* beyond them */
} expired_files;

static void collect_expired(const table_level *level, int64_t cutoff_ns, expired_files *out) {
    for (size_t i = 0; i < level->count && out->count < COUNT_OF(out->numbers); i++) {
        const sstable_info *info = &level->files[i]->info;
        if (info->max_append_ts <= cutoff_ns) {
            out->numbers[out->count++] = info->number;
            out->records += info->entries;
            out->history_seq =
                info->max_seq >= out->history_seq ? info->max_seq + 1 : out->history_seq;
        }
    }
}

static void find_expired(store *s, const file_set *files, expired_files *out) {
    store_horizon horizon = store_horizon_now(s, clock_realtime_ns());
    *out = (expired_files){0};
    for (uint16_t t = 1; t < STORE_TABLES && out->count == 0; t++) {
        if (horizon.cutoff_ns[t] == INT64_MIN || record_table(t)->kind != TAPE_KIND_EVENT) {
            continue;
        }
        out->table = t;
        for (size_t l = 0; l < STORE_LEVELS; l++) {
            collect_expired(&files->trees[t].levels[l], horizon.cutoff_ns[t], out);
        }
    }
}

static tape_status drop_expired(store *s, const file_set *files, bool *worked, tape_error *error) {
    expired_files expired;
    find_expired(s, files, &expired);
    if (expired.count == 0) {
        return TAPE_OK;
    }
    manifest_change change = {.removed = expired.numbers,
                              .removed_count = expired.count,
                              .history_table = expired.table,
                              .history_seq = expired.history_seq};
    tape_status status = store_commit(s, &change, NULL, error);
    if (status == TAPE_OK) {
        *worked = true;
        atomic_fetch_add(&s->counters.dropped_records, expired.records);
    }
    return status;
}

/* --- what others call --- */

double store_compaction_score(store *s) {
    double score = 0;
    expired_files expired;
    store_version *v = version_pin(s);
    for (size_t t = 1; t < STORE_TABLES; t++) {
        double own = atomic_load(&s->table_damaged[t]) ? 0 : level0_score(&v->files->trees[t]);
        score = own > score ? own : score;
    }
    if (score < 1) {
        find_expired(s, v->files, &expired);
        score = expired.count > 0 ? 1 : score;
    }
    version_unpin(v);
    return score;
}

static tape_status compact_once(store *s, bool settle, store_beat beat, bool *worked,
                                tape_error *error) {
    *worked = false;
    pthread_mutex_lock(&s->compact_lock);
    tape_status status = store_prepare(s, error);
    file_set *files = files_hold(s);
    if (status == TAPE_OK) {
        status = drop_expired(s, files, worked, error);
    }
    plan p = {0};
    if (status == TAPE_OK && !*worked) {
        p = choose(s, files, settle);
    }
    if (p.table != 0) {
        compaction c = {.store = s,
                        .table = record_table(p.table),
                        .output_level = p.output_level,
                        .threads = 1,
                        .beat = beat};
        input_list inputs = take_levels(&files->trees[p.table], p.last_input);
        status = run_compaction(&c, inputs, false, &files, error);
        free(inputs.items);
        *worked = true;
    }
    files_release(s, &files);
    pthread_mutex_unlock(&s->compact_lock);
    return status;
}

tape_status store_compact(store *s, store_beat beat, bool *worked, tape_error *error) {
    return compact_once(s, false, beat, worked, error);
}

tape_status store_settle(store *s, store_beat beat, bool *worked, tape_error *error) {
    return compact_once(s, true, beat, worked, error);
}

/* Again when a pin came in between: what the request promises has to be done. */
static tape_status compact_table(store *s, uint16_t table, const record_key_bounds *bounds,
                                 store_beat beat, tape_error *error) {
    tape_status status = TAPE_OK;
    for (bool again = true; again && status == TAPE_OK;) {
        file_set *files = files_hold(s);
        input_list inputs = take_levels(&files->trees[table], LAST_LEVEL);
        if (bounds != NULL) {
            keep_within(&inputs, bounds);
        }
        compaction c = {.store = s,
                        .table = record_table(table),
                        .output_level = LAST_LEVEL,
                        .threads = s->options.compact_threads,
                        .beat = beat};
        if (inputs.count > 0) {
            status = run_compaction(&c, inputs, true, &files, error);
        }
        again = atomic_load(&c.again);
        free(inputs.items);
        files_release(s, &files);
    }
    return status;
}

tape_status store_compact_range(store *s, uint16_t table, const record_key_bounds *bounds,
                                store_beat beat, tape_error *error) {
    pthread_mutex_lock(&s->compact_lock);
    bool worked = false;
    tape_status status = store_prepare(s, error);
    if (status == TAPE_OK) {
        file_set *files = files_hold(s);
        status = drop_expired(s, files, &worked, error);
        files_release(s, &files);
    }
    for (uint16_t t = 1; t < STORE_TABLES && status == TAPE_OK; t++) {
        if (table == 0 || t == table) {
            status = compact_table(s, t, bounds, beat, error);
        }
    }
    pthread_mutex_unlock(&s->compact_lock);
    return status;
}
