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
    bool tags_sound;
    bool complete; /* every block so far was readable */
    sstable_info seen;
    sstable_scratch scratch;
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

/* That the filter and the tags know the entry; of each only the first contradiction is told. */
static void verify_hash(verify_state *v, uint64_t block, uint32_t entry, slice key) {
    sstable *t = v->table;
    uint64_t hash[2];
    char text[SSTABLE_KEY_TEXT_BYTES];
    if (t->keyed_by_seq) {
        return;
    }
    record_key_hash(key, hash);
    sstable_key_text(key, text);
    if (v->filter_sound && !sstable_filter_holds(t->filter, t->filter_lines, hash)) {
        report_text(v, t->data_bytes, "the filter lacks %s", text);
        v->filter_sound = false;
    }
    uint64_t at = t->index.places[block].first_entry + entry;
    if (v->tags_sound && t->tags[at] != sstable_tag(hash)) {
        report_text(v, t->tags_offset + at, "the tag of %s: expected 0x%02x, actual 0x%02x", text,
                    sstable_tag(hash), t->tags[at]);
        v->tags_sound = false;
    }
}

/* Comparing a payload's key in place relies on identifiers being padded with zeros. */
static bool key_is_padded(const tape_table_info *table, const uint8_t *payload) {
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        const char *id = (const char *)payload + field->offset;
        if (field->kind != TAPE_FIELD_ID) {
            continue;
        }
        for (size_t at = strnlen(id, field->size_bytes); at < field->size_bytes; at++) {
            if (id[at] != 0) {
                return false;
            }
        }
    }
    return true;
}

/* Order (T1), filter and tags, entry by entry. False: the block is not worth reading further. */
static bool verify_entry(verify_state *v, uint64_t block, const sstable_block_view *view,
                         uint32_t entry) {
    sstable_info *seen = &v->seen;
    record_view record;
    char text[SSTABLE_KEY_TEXT_BYTES];
    sstable_block_entry(v->table, view, entry, &record);
    uint8_t bytes[RECORD_KEY_BYTES_MAX];
    slice key = {bytes, record_key(record.table, record.payload, bytes)};
    slice last = {seen->max_key, seen->max_key_size};
    if (!key_is_padded(record.table, record.payload)) {
        sstable_key_text(key, text);
        report_text(v, view->offset, "entry %" PRIu32 " of the block, %s, has no proper key", entry,
                    text);
        return false;
    }
    if (seen->entries > 0 && sstable_compare(last, seen->last_seq, key, record.seq) >= 0) {
        sstable_key_text(key, text);
        report_text(v, view->offset,
                    "entry %" PRIu32 " of the block, %s seq %" PRIu64 ", is out of order", entry,
                    text, record.seq);
        return false;
    }
    bool another_key = seen->entries == 0 || slice_compare(last, key) != 0;
    verify_hash(v, block, entry, key);
    memcpy(seen->max_key, key.data, key.size);
    seen->max_key_size = (uint32_t)key.size;
    sstable_info_note(seen, &record, another_key);
    return true;
}

static void verify_block(verify_state *v, uint64_t block) {
    sstable *t = v->table;
    sstable_block_view view;
    tape_error finding;
    if (sstable_block_load(t, block, true, &v->scratch, &view, &finding) != TAPE_OK) {
        report(v, &finding);
        v->complete = false;
        return;
    }
    for (uint32_t i = 0; i < view.count; i++) {
        if (!verify_entry(v, block, &view, i)) {
            v->complete = false;
            return;
        }
    }
    slice last = {v->seen.max_key, v->seen.max_key_size};
    if (sstable_compare(sstable_index_key(&t->index, block), t->index.lasts[block].seq, last,
                        v->seen.last_seq) != 0) {
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
    verify_figure(v, "least append time", (uint64_t)said->min_append_ts,
                  (uint64_t)seen->min_append_ts);
    verify_figure(v, "greatest append time", (uint64_t)said->max_append_ts,
                  (uint64_t)seen->max_append_ts);
    verify_figure(v, "payload bytes", said->payload_bytes, seen->payload_bytes);
    verify_figure(v, "first seq", said->first_seq, seen->first_seq);
    verify_figure(v, "last seq", said->last_seq, seen->last_seq);
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
    v.tags_sound = sstable_tags_check(t, true, &finding) == TAPE_OK;
    if (!v.tags_sound) {
        report(&v, &finding);
    }
    v.index_sound = sstable_index_check(t, true, &finding) == TAPE_OK;
    if (!v.index_sound) {
        report(&v, &finding);
    }
    for (uint64_t block = 0; v.index_sound && block < t->index.blocks; block++) {
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
    buffer_deinit(&v.scratch);
    return v.findings;
}
