/* Reads of every kind, each compared with the oracle. See engine_model_testing.h. */
#include "engine/engine_model_testing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef union any_record {
    uint8_t bytes[TAPE_RECORD_BYTES_MAX];
    uint64_t align;
} any_record;

/* --- what the oracle says --- */

static bool is_event(uint16_t table) {
    return record_table(table)->kind == TAPE_KIND_EVENT;
}

/* Whether what this append time made old has expired at `now_ns`. */
static bool has_expired(const world *w, uint16_t table, int64_t append_ts, int64_t now_ns) {
    int64_t keep_ns = w->options.keep_ns[table];
    return keep_ns != 0 && append_ts <= now_ns - keep_ns;
}

static int64_t append_ts_of(const world *w, const oracle_key *key, size_t index) {
    return w->o.records[key->seqs[index] - 1].append_ts;
}

/* O2, of a version of an event, and of what made a version of an entity old. */
static verdict verdict_by(const world *w, uint16_t table, int64_t append_ts, int64_t now_ns) {
    if (has_expired(w, table, append_ts, now_ns)) {
        return HIDDEN;
    }
    return append_ts <= w->gone_ns[table] ? MAYBE : SHOWN;
}

/* O2, of version `index` of a key, which is at or below `at`. A version is hidden by the next newer
 * one that is still there. */
static verdict version_verdict(const world *w, uint16_t table, const oracle_key *key, size_t index,
                               uint64_t at, int64_t now_ns) {
    if (is_event(table)) {
        return verdict_by(w, table, append_ts_of(w, key, index), now_ns);
    }
    verdict v = SHOWN;
    for (size_t i = index + 1; i < key->count && key->seqs[i] <= at; i++) {
        verdict by = verdict_by(w, table, append_ts_of(w, key, i), now_ns);
        v = i == index + 1 ? by : v;
        if (by != HIDDEN) {
            return v == HIDDEN ? MAYBE : v; /* all that are hidden may be gone */
        }
        bool newest = i + 1 == key->count || key->seqs[i + 1] > at;
        if (newest || append_ts_of(w, key, i + 1) > w->gone_ns[table]) {
            return HIDDEN; /* it is there, or one behind it that hides, too */
        }
    }
    return v;
}

/* How many versions of the key are at or below `at`. */
static size_t versions_at(const oracle_key *key, uint64_t at) {
    size_t count = key->count;
    while (count > 0 && key->seqs[count - 1] > at) {
        count--;
    }
    return count;
}

/* The seq that a get must find, 0: none; *verdict whether it must. */
static uint64_t newest_at(const world *w, uint16_t table, const oracle_key *key, uint64_t at,
                          int64_t now_ns, verdict *out) {
    size_t count = key == NULL ? 0 : versions_at(key, at);
    *out = HIDDEN;
    if (count == 0) {
        return 0;
    }
    *out = is_event(table) ? version_verdict(w, table, key, count - 1, at, now_ns) : SHOWN;
    return key->seqs[count - 1];
}

/* O3: the highest seq of a table that made another version expire. */
static uint64_t history_bound(const world *w, uint16_t table) {
    const oracle_table *t = &w->o.tables[table];
    uint64_t bound = 0;
    for (size_t k = 0; !is_event(table) && k < t->count; k++) {
        const oracle_key *key = t->keys[k];
        for (size_t i = key->count; i > 1 && key->seqs[i - 1] > bound; i--) {
            if (verdict_by(w, table, append_ts_of(w, key, i - 1), w->now_ns) != SHOWN) {
                bound = key->seqs[i - 1];
            }
        }
    }
    return bound;
}

static uint64_t history_bound_all(const world *w) {
    uint64_t bound = 0;
    for (uint16_t table = 1; table <= TAPE_TABLE_COUNT; table++) {
        uint64_t one = history_bound(w, table);
        bound = one > bound ? one : bound;
    }
    return bound;
}

/* CORRUPT where it may be, naming a file of the store. */
static bool is_damage(world *w, tape_status status, const tape_error *error) {
    if (status != TAPE_CORRUPT || !w->damaged) {
        return false;
    }
    if (strncmp(error->file, MODEL_ROOT "/", strlen(MODEL_ROOT "/")) != 0) {
        world_fail(w, "damage that names no file: %s", error->text);
    }
    w->corrupt_reads++;
    return true;
}

/* A read brings in what was written; that may need room, which a fault may keep from it. */
static bool is_read_fault(const world *w, tape_status status) {
    return (w->faulty && (status == TAPE_IO || status == TAPE_NO_SPACE)) ||
           (status == TAPE_FAILED && (w->faulty || w->failed || w->store_failed));
}

verdict model_is_there(const world *w, uint16_t table, const char parts[2][41]) {
    verdict v = HIDDEN;
    (void)newest_at(w, table, oracle_find(&w->o, table, parts), w->o.count, w->now_ns, &v);
    return v;
}

/* --- gets --- */

static uint16_t random_table(world *w) {
    return (uint16_t)(1 + world_random(w, TAPE_TABLE_COUNT));
}

/* A key that is there, mostly; the recent ones of a table whose keys are many as often as others.
 */
void model_random_key(world *w, uint16_t table, char parts[2][41]) {
    const oracle_table *t = &w->o.tables[table];
    memset(parts, 0, 2 * sizeof *parts);
    if (t->count > 0 && !world_chance(w, 8)) {
        size_t recent = t->count < 20 ? t->count : 20;
        size_t at = world_chance(w, 50) ? world_random(w, t->count)
                                        : t->count - 1 - world_random(w, recent);
        memcpy(parts, t->keys[at]->parts, 2 * sizeof *parts);
    } else if (table == TAPE_TABLE_TICKS || table == TAPE_TABLE_DEPTH) {
        (void)snprintf(parts[0], sizeof parts[0], "%zu", 1 + world_random(w, w->o.count + 10));
    } else {
        (void)snprintf(parts[0], sizeof parts[0], "%c%zu", "otuvI"[table - 1],
                       world_random(w, 3000));
        if (table == TAPE_TABLE_POSITIONS) {
            (void)snprintf(parts[1], sizeof parts[1], "I%zu", world_random(w, 12));
        }
    }
}

static void check_payload(const world *w, uint16_t table, uint64_t seq, const uint8_t *got,
                          const char *what) {
    any_record want;
    const tape_table_info *info = record_table(table);
    oracle_expect(&w->o, seq, want.bytes);
    if (memcmp(got, want.bytes, info->size_bytes) != 0) {
        world_fail(w, "%s: %s: another record than %" PRIu64 " (it says %" PRIu64 ")", what,
                   info->name, seq, load_u64(got));
    }
}

/* Of events with one key (producers should not make such), any that may still be there shows when
 * the newer ones may be gone. */
static bool may_show(const world *w, uint16_t table, const oracle_key *key, uint64_t at,
                     int64_t now_ns, uint64_t seq) {
    for (size_t i = versions_at(key, at); i > 0; i--) {
        verdict v = version_verdict(w, table, key, i - 1, at, now_ns);
        if (key->seqs[i - 1] == seq) {
            return v != HIDDEN;
        }
        if (v != MAYBE) {
            return false;
        }
    }
    return false;
}

static void check_found(world *w, uint16_t table, const char parts[2][41], uint64_t at,
                        int64_t now_ns, bool found, const uint8_t *got, const char *what) {
    verdict v = HIDDEN;
    const oracle_key *key = oracle_find(&w->o, table, parts);
    uint64_t seq = newest_at(w, table, key, at, now_ns, &v);
    if (found && v == HIDDEN) {
        world_fail(w, "%s: %s %s %s at %" PRIu64 ": found %" PRIu64 ", which is not to be seen",
                   what, record_table(table)->name, parts[0], parts[1], at, load_u64(got));
    }
    if (!found && v == SHOWN) {
        world_fail(w, "%s: %s %s %s at %" PRIu64 ": %" PRIu64 " is missing", what,
                   record_table(table)->name, parts[0], parts[1], at, seq);
    }
    if (found && v == MAYBE && may_show(w, table, key, at, now_ns, load_u64(got))) {
        seq = load_u64(got);
    }
    if (found) {
        check_payload(w, table, seq, got, what);
    }
}

/* What is said when there is no row to compare. */
static void check_refusal(world *w, const model_view *view, uint16_t table, uint64_t at,
                          tape_status status, const tape_error *error, const char *what) {
    if (is_damage(w, status, error) || is_read_fault(w, status)) {
        return;
    }
    if (status == TAPE_TOO_OLD && view == NULL && at < history_bound(w, table)) {
        covered.too_old++;
        return;
    }
    world_fail(w, "%s: %s at %" PRIu64 ": %s: %s", what, record_table(table)->name, at,
               tape_status_name(status), error->text);
}

void model_get(world *w, const model_view *view, uint64_t at) {
    char parts[2][41];
    any_record got;
    tape_error error = {0};
    uint16_t table = random_table(w);
    if (view == NULL && !model_settle(w)) {
        return;
    }
    model_random_key(w, table, parts);
    const char *const key[] = {parts[0], parts[1]};
    size_t key_count = record_table(table)->key_count;
    uint64_t seq = view != NULL ? view->seq : at == 0 || at > w->o.count ? w->o.count : at;
    int64_t now_ns = view != NULL ? view->now_ns : w->now_ns;
    tape_status status = view != NULL
                             ? tape_view_get(view->view, table, key, key_count, got.bytes, &error)
                             : tape_get(w->db, table, key, key_count, at, got.bytes, &error);
    covered.gets++;
    if (status == TAPE_OK || status == TAPE_NOT_FOUND) {
        check_found(w, table, (const char(*)[41])parts, seq, now_ns, status == TAPE_OK, got.bytes,
                    view != NULL ? "get in a view" : "get");
    } else {
        check_refusal(w, view, table, seq, status, &error, "get");
    }
}

#define MANY_MAX 40

void model_get_many(world *w, const model_view *view, uint64_t at) {
    static char parts[MANY_MAX][2][41];
    const char *keys[2 * MANY_MAX];
    _Alignas(8) static uint8_t got[MANY_MAX * TAPE_RECORD_BYTES_MAX];
    bool found[MANY_MAX] = {false};
    tape_error error = {0};
    uint16_t table = random_table(w);
    const tape_table_info *info = record_table(table);
    size_t count = world_random(w, MANY_MAX + 1);
    if (view == NULL && !model_settle(w)) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        model_random_key(w, table, parts[i]);
        for (size_t p = 0; p < info->key_count; p++) {
            keys[i * info->key_count + p] = parts[i][p];
        }
    }
    uint64_t seq = view != NULL ? view->seq : at == 0 || at > w->o.count ? w->o.count : at;
    int64_t now_ns = view != NULL ? view->now_ns : w->now_ns;
    tape_status status = view != NULL ? tape_view_get_many(view->view, table, keys, info->key_count,
                                                           count, got, found, &error)
                                      : tape_get_many(w->db, table, keys, info->key_count, count,
                                                      at, got, found, &error);
    covered.many++;
    if (status != TAPE_OK) {
        check_refusal(w, view, table, seq, status, &error, "get_many");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        check_found(w, table, (const char(*)[41])parts[i], seq, now_ns, found[i],
                    got + i * info->size_bytes, "get_many");
    }
}

/* --- views --- */

bool model_settle(world *w) {
    uint64_t written = journal_seq(w->db->journal, TAPE_WRITTEN);
    tape_error error = {0};
    if (!store_wants_flush(w->db->store) && written - store_applied_seq(w->db->store) < 20) {
        return true;
    }
    tape_status status = tape_wait(w->db, written, TAPE_DURABLE, NS_PER_SECOND, &error);
    return world_ok(w, status, &error, "wait before a read");
}

bool model_view_open(world *w, model_view *out, uint64_t at, tape_level level) {
    tape_error error = {0};
    if (!model_settle(w)) {
        return false;
    }
    uint64_t seq = journal_seq(w->db->journal, level);
    seq = at != 0 && at < seq ? at : seq;
    tape_status status = tape_view_open(w->db, at, level, &out->view, &error);
    if (status == TAPE_TOO_OLD && seq < history_bound_all(w)) {
        covered.too_old++;
        return false;
    }
    if (!world_ok(w, status, &error, "view")) {
        return false;
    }
    out->seq = seq;
    out->now_ns = w->now_ns;
    if (tape_view_seq(out->view) != seq) {
        world_fail(w, "a view of %" PRIu64 " says %" PRIu64, seq, tape_view_seq(out->view));
    }
    covered.views++;
    return true;
}

void model_view_close(world *w, size_t view) {
    model_scans_close(w, view);
    tape_view_close(&w->views[view].view);
}

void model_views_close(world *w) {
    for (size_t i = 0; i < MODEL_VIEWS; i++) {
        model_view_close(w, i);
    }
}

/* --- scans --- */

void model_random_bounds(world *w, uint16_t table, model_bounds *b) {
    *b = (model_bounds){0};
    tape_scan_options_init(&b->options);
    b->options.table = table;
    b->options.backward = world_chance(w, 50);
    b->options.versions = world_chance(w, 40);
    const tape_table_info *info = record_table(table);
    b->options.key_count = world_chance(w, 70) ? 0 : 1 + world_random(w, info->key_count);
    model_random_key(w, table, b->parts);
    b->key[0] = b->parts[0];
    b->key[1] = b->parts[1];
    b->options.key = b->options.key_count > 0 || world_chance(w, 50) ? b->key : NULL;
    if (b->options.key_count == info->key_count || world_chance(w, 30)) {
        return;
    }
    char other[2][41];
    size_t part = b->options.key_count;
    bool is_text = info->fields[info->key_fields[part]].kind == TAPE_FIELD_ID;
    if (is_text && world_chance(w, 40)) {
        (void)snprintf(b->prefix, sizeof b->prefix, "%.*s",
                       (int)(1 + world_random(w, strlen(b->parts[part]))), b->parts[part]);
        b->options.prefix = b->prefix;
        return;
    }
    model_random_key(w, table, other);
    if (world_chance(w, 70)) {
        memcpy(b->from, b->parts[part], sizeof b->from);
        b->options.from = b->from;
    }
    if (world_chance(w, 70)) {
        memcpy(b->to, other[part], sizeof b->to);
        b->options.to = b->to;
    }
}

static bool within_bounds(const model_bounds *b, const oracle_key *key, bool is_seq) {
    const tape_scan_options *o = &b->options;
    for (size_t i = 0; i < o->key_count; i++) {
        if (strcmp(key->parts[i], o->key[i]) != 0) {
            return false;
        }
    }
    if (o->key_count == 2) {
        return true;
    }
    if (is_seq) {
        return (o->from == NULL || key->number >= strtoull(o->from, NULL, 10)) &&
               (o->to == NULL || key->number < strtoull(o->to, NULL, 10));
    }
    const char *part = key->parts[o->key_count];
    return (o->from == NULL || strcmp(part, o->from) >= 0) &&
           (o->to == NULL || strcmp(part, o->to) < 0) &&
           (o->prefix == NULL || strncmp(part, o->prefix, strlen(o->prefix)) == 0);
}

static void add_row(model_scan *s, size_t *capacity, uint64_t seq, verdict v) {
    if (v == HIDDEN) {
        return;
    }
    if (s->count == *capacity) {
        *capacity = *capacity == 0 ? 64 : 2 * *capacity;
        s->rows = mem_realloc(s->rows, *capacity * sizeof *s->rows);
    }
    s->rows[s->count++] = (row){seq, v};
}

/* All that must come, first upwards. */
static void expect_rows(const world *w, const model_view *view, const model_bounds *b,
                        model_scan *s) {
    uint16_t table = b->options.table;
    const oracle_table *t = &w->o.tables[table];
    bool is_seq = table == TAPE_TABLE_TICKS || table == TAPE_TABLE_DEPTH;
    size_t capacity = 0;
    for (size_t k = 0; k < t->count; k++) {
        const oracle_key *key = t->keys[k];
        if (!within_bounds(b, key, is_seq)) {
            continue;
        }
        verdict v;
        if (!b->options.versions) {
            uint64_t seq = newest_at(w, table, key, view->seq, view->now_ns, &v);
            add_row(s, &capacity, seq, v);
            if (v != MAYBE) {
                continue;
            }
        }
        for (size_t i = versions_at(key, view->seq); i > 0; i--) {
            if (!b->options.versions && i == versions_at(key, view->seq)) {
                continue; /* it is there already; one of the others may show in its place */
            }
            v = version_verdict(w, table, key, i - 1, view->seq, view->now_ns);
            v = !b->options.versions && v == SHOWN ? MAYBE : v;
            add_row(s, &capacity, key->seqs[i - 1], v);
        }
    }
    for (size_t i = 0; b->options.backward && i < s->count / 2; i++) {
        row other = s->rows[i];
        s->rows[i] = s->rows[s->count - 1 - i];
        s->rows[s->count - 1 - i] = other;
    }
}

static void scan_begin(world *w, const model_view *view, const model_bounds *b, model_scan *s) {
    tape_error error = {0};
    *s = (model_scan){.table = b->options.table,
                      .backward = b->options.backward,
                      .versions = b->options.versions};
    tape_status status = tape_scan_open(view->view, &b->options, &s->scan, &error);
    if (status != TAPE_OK) {
        check_refusal(w, view, s->table, view->seq, status, &error, "scan");
        return;
    }
    expect_rows(w, view, b, s);
    covered.scans++;
}

void model_scan_open(world *w, size_t view) {
    model_bounds b;
    model_random_bounds(w, random_table(w), &b);
    for (size_t i = 0; i < MODEL_SCANS; i++) {
        if (w->scans[i].scan == NULL) {
            scan_begin(w, &w->views[view], &b, &w->scans[i]);
            w->scans[i].view = view;
            world_trace(w, "scan %s%s%s", record_table(b.options.table)->name,
                        b.options.backward ? " down" : "", b.options.versions ? " versions" : "");
            return;
        }
    }
}

void model_scan_close(model_scan *scan) {
    tape_scan_close(&scan->scan);
    free(scan->rows);
    *scan = (model_scan){0};
}

void model_scans_close(world *w, size_t view) {
    for (size_t i = 0; i < MODEL_SCANS; i++) {
        if (w->scans[i].scan != NULL && w->scans[i].view == view) {
            model_scan_close(&w->scans[i]);
        }
    }
}

_Noreturn static void fail_scan(const world *w, const model_scan *s, uint64_t seq,
                                const char *what) {
    const oracle_record *r = &w->o.records[seq - 1];
    char ages[400] = "";
    size_t length = 0;
    for (size_t i = 0; i < r->key->count && length + 50 < sizeof ages; i++) {
        int64_t ns = w->now_ns - w->o.records[r->key->seqs[i] - 1].append_ts;
        length += (size_t)snprintf(ages + length, sizeof ages - length,
                                   " %" PRIu64 " (%" PRId64 ")", r->key->seqs[i], ns);
    }
    world_fail(w,
               "scan of %s%s%s at row %zu of %zu: seq %" PRIu64
               " %s; key %s %s: versions and their "
               "ages:%s; keep %" PRId64,
               record_table(s->table)->name, s->backward ? " down" : "",
               s->versions ? ", versions" : "", s->next, s->count, seq, what, r->key->parts[0],
               r->key->parts[1], ages, w->options.keep_ns[s->table]);
}

static void check_missing(const world *w, const model_scan *s) {
    if (s->rows[s->next].verdict == SHOWN) {
        fail_scan(w, s, s->rows[s->next].seq, "is missing");
    }
}

static void check_scanned(const world *w, model_scan *s, const uint8_t *got) {
    uint64_t seq = load_u64(got);
    size_t at = s->next;
    while (at < s->count && s->rows[at].seq != seq) {
        at++;
    }
    if (at == s->count) {
        if (seq == 0 || seq > w->o.count) {
            world_fail(w, "scan of %s: seq %" PRIu64 ", which there is not",
                       record_table(s->table)->name, seq);
        }
        fail_scan(w, s, seq, "is not to be seen");
    }
    for (; s->next < at; s->next++) {
        check_missing(w, s);
    }
    check_payload(w, s->table, seq, got, "scan");
    s->next++;
    covered.scan_rows++;
}

void model_scan_step(world *w, model_scan *s, size_t rows, bool close) {
    size_t size = record_table(s->table)->size_bytes;
    while (rows > 0) {
        const void *records = NULL;
        size_t count = 0;
        size_t max = 1 + world_random(w, rows < 500 ? rows : 500);
        tape_error error = {0};
        tape_status status = tape_scan_next(s->scan, max, &records, &count, &error);
        if (status != TAPE_OK) {
            check_refusal(w, &w->views[s->view], s->table, 0, status, &error, "scan");
            model_scan_close(s);
            return;
        }
        if (count > max) {
            world_fail(w, "scan: %zu rows of at most %zu", count, max);
        }
        for (size_t i = 0; i < count; i++) {
            check_scanned(w, s, (const uint8_t *)records + i * size);
        }
        if (count == 0) {
            for (; s->next < s->count; s->next++) {
                check_missing(w, s);
            }
            model_scan_close(s);
            return;
        }
        rows -= count;
    }
    if (close) {
        model_scan_close(s);
    }
}

/* --- everything --- */

void model_check_all(world *w) {
    model_view view = {0};
    world_trace(w, "check all");
    if (!model_view_open(w, &view, 0, TAPE_WRITTEN)) {
        return;
    }
    for (uint16_t table = 1; table <= TAPE_TABLE_COUNT; table++) {
        for (int backward = 0; backward < 2; backward++) {
            model_bounds b = {0};
            model_scan scan;
            tape_scan_options_init(&b.options);
            b.options.table = table;
            b.options.backward = backward != 0;
            b.options.versions = world_chance(w, 70);
            scan_begin(w, &view, &b, &scan);
            if (scan.scan != NULL) {
                model_scan_step(w, &scan, SIZE_MAX, true);
            }
        }
    }
    for (int i = 0; i < 20; i++) {
        model_get(w, &view, 0);
        model_get(w, NULL, 0);
        model_get_many(w, &view, 0);
    }
    tape_view_close(&view.view);
}

typedef struct visit {
    world *w;
    uint64_t next; /* seq that has not come yet */
} visit;

/* Records that lie between may be missing if they had expired by now. */
static void check_skipped(const visit *v, uint64_t before) {
    const world *w = v->w;
    for (uint64_t seq = v->next; seq < before; seq++) {
        const oracle_record *r = &w->o.records[seq - 1];
        int64_t by = r->append_ts;
        if (!is_event(r->table)) {
            size_t i = versions_at(r->key, seq);
            by = i < r->key->count ? w->o.records[r->key->seqs[i] - 1].append_ts : INT64_MAX;
        }
        if (!has_expired(w, r->table, by, w->now_ns) && by > w->gone_ns[r->table]) {
            world_fail(w, "visit: seq %" PRIu64 " of %s is missing", seq,
                       record_table(r->table)->name);
        }
    }
}

static bool visit_record(void *context, const record_view *record) {
    visit *v = context;
    world *w = v->w;
    if (record->seq < v->next || record->seq > w->o.count) {
        world_fail(w, "visit: seq %" PRIu64 " after %" PRIu64, record->seq, v->next - 1);
    }
    check_skipped(v, record->seq);
    const oracle_record *r = &w->o.records[record->seq - 1];
    if (record->table->id != r->table || record->append_ts != r->append_ts) {
        world_fail(w, "visit: seq %" PRIu64 " is of another table or time", record->seq);
    }
    check_payload(w, r->table, record->seq, record->payload, "visit");
    v->next = record->seq + 1;
    return true;
}

void model_visit(world *w) {
    tape_error error = {0};
    visit v = {w, 1};
    tape_status status = store_visit_flushed(w->db->store, visit_record, &v, &error);
    if (status != TAPE_OK) {
        if (!is_damage(w, status, &error) && !is_read_fault(w, status)) {
            world_fail(w, "visit: %s", error.text);
        }
        return;
    }
    check_skipped(&v, store_flushed_seq(w->db->store) + 1);
}

typedef struct listing {
    const world *w;
    uint64_t tables;
} listing;

static bool ends_with(const char *name, const char *end) {
    size_t length = strlen(name);
    size_t size = strlen(end);
    return length >= size && strcmp(name + length - size, end) == 0;
}

static void list_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    listing *l = context;
    (void)size;
    if (!is_dir && ends_with(name, ".sst")) {
        l->tables++;
    } else if (is_dir || strcmp(name, "MANIFEST") != 0) {
        world_fail(l->w, "%s/%s is left over", MODEL_STORE, name);
    }
}

void model_check_directory(world *w) {
    tape_error error = {0};
    listing l = {w, 0};
    store_stats s;
    if (os_dir_list(w->disk, MODEL_STORE, list_entry, &l, &error) != TAPE_OK) {
        world_fail(w, "%s", error.text);
    }
    store_stats_read(w->db->store, &s);
    if (l.tables != s.table_files) {
        world_fail(w, "%" PRIu64 " table files are there, %" PRIu64 " are listed", l.tables,
                   s.table_files);
    }
}

static void finding(void *context, const tape_error *found) {
    world *w = context;
    if (!w->damaged && !w->faulty) {
        world_fail(w, "verify: %s", found->text);
    }
    if (w->damaged && found->text[0] == '\0') {
        world_fail(w, "verify found something and does not say what");
    }
}

void model_verify(world *w, bool *found) {
    tape_error error = {0};
    *found = false;
    if (!model_settle(w)) {
        return;
    }
    world_trace(w, "verify");
    tape_status status = tape_verify(w->db, finding, w, NULL, NULL, &error);
    *found = status == TAPE_CORRUPT;
    if (status != TAPE_CORRUPT || (!w->damaged && !w->faulty)) { /* a file that cannot be read */
        (void)world_ok(w, status, &error, "verify");
    }
}
