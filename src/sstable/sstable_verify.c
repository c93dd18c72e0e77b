/* sstable_verify.c: reads all of a table and compares every part with every other.
 *
 * A damaged block hides its entries; what the footer and the filter say of them is then not
 * compared, so that one damage is one finding. */
#include "sstable/sstable_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

typedef struct verify_state {
    sstable *table;
    void (*damage)(void *context, const tape_error *finding);
    void *context;
    uint64_t findings;
    bool index_sound;
    bool filter_sound;
    bool complete; /* every block so far was readable */
    sstable_info seen;
    uint64_t last_seq; /* of the last entry seen; its key is seen.max_key */
} verify_state;

static void report(verify_state *v, const tape_error *finding) {
    v->findings++;
    v->damage(v->context, finding);
}

PRINTF_LIKE(3, 4)
static void report_text(verify_state *v, uint64_t offset, const char *format, ...) {
    char what[400];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    tape_error finding;
    (void)error_set_file(&finding, TAPE_CORRUPT, v->table->path, offset,
                         "%s: at offset %" PRIu64 ": %s", v->table->path, offset, what);
    report(v, &finding);
}

static void see_record(verify_state *v, slice key, const record_view *record) {
    sstable_info *seen = &v->seen;
    slice last = {seen->max_key, seen->max_key_size};
    if (seen->entries == 0) {
        seen->min_seq = seen->max_seq = record->seq;
        seen->min_ts = seen->max_ts = record->ts;
        seen->min_key_size = (uint32_t)key.size;
        memcpy(seen->min_key, key.data, key.size);
    }
    if (seen->entries == 0 || slice_compare(last, key) != 0) {
        seen->keys++;
    }
    seen->entries++;
    seen->min_seq = record->seq < seen->min_seq ? record->seq : seen->min_seq;
    seen->max_seq = record->seq > seen->max_seq ? record->seq : seen->max_seq;
    seen->min_ts = record->ts < seen->min_ts ? record->ts : seen->min_ts;
    seen->max_ts = record->ts > seen->max_ts ? record->ts : seen->max_ts;
    memcpy(seen->max_key, key.data, key.size);
    seen->max_key_size = (uint32_t)key.size;
    v->last_seq = record->seq;
}

/* Order (T1) and filter, entry by entry. False: the block is not worth reading further. */
static bool verify_entry(verify_state *v, const sstable_block_view *view, uint32_t entry) {
    sstable *t = v->table;
    record_view record;
    if (!sstable_block_entry(view, entry, &record)) {
        report_text(v, view->offset, "entry %" PRIu32 " of the block does not lie within it",
                    entry);
        return false;
    }
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    slice key = {bytes, record_key(record.table, record.payload, bytes)};
    slice last = {v->seen.max_key, v->seen.max_key_size};
    char text[SSTABLE_KEY_TEXT_BYTES];
    if (v->seen.entries > 0 && sstable_compare(last, v->last_seq, key, record.seq) >= 0) {
        sstable_key_text(key, text);
        report_text(v, view->offset,
                    "entry %" PRIu32 " of the block, %s seq %" PRIu64 ", is out of order", entry,
                    text, record.seq);
        return false;
    }
    sstable_key hashed = sstable_key_of(key);
    if (v->filter_sound &&
        !sstable_filter_holds(t->data + t->data_bytes, t->filter_lines, hashed.hash)) {
        sstable_key_text(key, text);
        report_text(v, t->data_bytes, "the filter lacks %s", text);
    }
    see_record(v, key, &record);
    return true;
}

static void verify_block(verify_state *v, uint64_t block) {
    sstable *t = v->table;
    sstable_block_view view;
    tape_error finding;
    if (sstable_block_load(t, block, true, &view, &finding) != TAPE_OK) {
        report(v, &finding);
        v->complete = false;
        return;
    }
    for (uint32_t i = 0; i < view.count; i++) {
        if (!verify_entry(v, &view, i)) {
            v->complete = false;
            return;
        }
    }
    sstable_index_entry e = sstable_index_at(t, block);
    slice last = {v->seen.max_key, v->seen.max_key_size};
    if (sstable_compare(sstable_index_key(t, &e), e.last_seq, last, v->last_seq) != 0) {
        report_text(v, t->index_offset,
                    "entry %" PRIu64 " of the index is not the last of its block", block);
    }
}

static void verify_figure(verify_state *v, const char *what, uint64_t footer, uint64_t found) {
    if (footer != found) {
        report_text(v, v->table->info.size_bytes - SSTABLE_FOOTER_BYTES,
                    "%s: the footer says %" PRIu64 ", found %" PRIu64, what, footer, found);
    }
}

static void verify_figures(verify_state *v) {
    const sstable_info *said = &v->table->info;
    const sstable_info *seen = &v->seen;
    verify_figure(v, "entries", said->entries, seen->entries);
    verify_figure(v, "keys", said->keys, seen->keys);
    verify_figure(v, "least seq", said->min_seq, seen->min_seq);
    verify_figure(v, "greatest seq", said->max_seq, seen->max_seq);
    verify_figure(v, "least ts", (uint64_t)said->min_ts, (uint64_t)seen->min_ts);
    verify_figure(v, "greatest ts", (uint64_t)said->max_ts, (uint64_t)seen->max_ts);
    if (slice_compare((slice){said->min_key, said->min_key_size},
                      (slice){seen->min_key, seen->min_key_size}) != 0 ||
        slice_compare((slice){said->max_key, said->max_key_size},
                      (slice){seen->max_key, seen->max_key_size}) != 0) {
        report_text(v, said->size_bytes - SSTABLE_FOOTER_BYTES,
                    "the footer's range of keys is not that of the entries");
    }
}

uint64_t sstable_verify(sstable *t, void (*damage)(void *context, const tape_error *finding),
                        void *context, uint64_t *records) {
    verify_state v = {.table = t, .damage = damage, .context = context, .complete = true};
    tape_error finding;
    v.filter_sound = sstable_filter_check(t, true, &finding) == TAPE_OK;
    if (!v.filter_sound) {
        report(&v, &finding);
    }
    v.index_sound = sstable_index_check(t, true, &finding) == TAPE_OK;
    if (!v.index_sound) {
        report(&v, &finding);
    }
    for (uint64_t block = 0; v.index_sound && block < t->blocks; block++) {
        verify_block(&v, block);
    }
    if (v.index_sound && v.complete) {
        verify_figures(&v);
    }
    if (v.findings == 0) {
        uint64_t footer_at = t->info.size_bytes - SSTABLE_FOOTER_BYTES;
        uint64_t actual = XXH3_64bits(t->data, footer_at);
        if (actual != t->info.content_xxh3) {
            report_text(&v, 0,
                        "content hash: the footer says 0x%016" PRIx64 ", found 0x%016" PRIx64,
                        t->info.content_xxh3, actual);
        }
    }
    *records += v.seen.entries;
    return v.findings;
}
