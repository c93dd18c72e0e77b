/* archive_testing.c: see archive_testing.h. */
#include "archive/archive_testing.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

const uint8_t world_store_id[16] = "archive's tests";

void world_ok(tape_status status, const tape_error *error) {
    if (status != TAPE_OK) {
        fail_msg("%s: %s", tape_status_name(status), error->text);
    }
}

uint64_t world_random(world *w, uint64_t below) {
    w->random += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = w->random;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (z ^ (z >> 31)) % below;
}

/* --- records --- */

static void random_id(world *w, const tape_table_info *table, const tape_field_info *field,
                      char *out) {
    memset(out, 0, field->size_bytes);
    uint64_t seq = w->count + 1;
    char text[64];
    if (field->is_key && table->kind == TAPE_KIND_EVENT) {
        (void)snprintf(text, sizeof text, "%s-%" PRIu64, table->name, seq);
    } else if (strcmp(field->name, "instrument_id") == 0 &&
               !(field->is_key && table->key_count == 1)) {
        (void)snprintf(text, sizeof text, "I%" PRIu64, world_random(w, 30));
    } else {
        /* Some longer than what fits beside a length. */
        uint64_t n = world_random(w, w->keys);
        (void)snprintf(text, sizeof text, "%s%" PRIu64, n % 3 == 0 ? "a-long-na" : "k", n);
    }
    if (field->is_key || world_random(w, 16) != 0) {
        memcpy(out, text, strnlen(text, field->size_bytes));
    }
}

static void random_payload(world *w, const tape_table_info *table, uint8_t *payload) {
    memset(payload, 0, table->size_bytes);
    for (uint32_t i = 2; i < table->field_count; i++) {
        const tape_field_info *field = &table->fields[i];
        uint8_t *at = payload + field->offset;
        if (field->kind == TAPE_FIELD_ID) {
            random_id(w, table, field, (char *)at);
        } else if (field->kind == TAPE_FIELD_ENUM) {
            *at = (uint8_t)world_random(w, field->enum_count);
        }
        for (uint32_t n = 0; field->kind == TAPE_FIELD_F64 && n < field->count; n++) {
            double value = (double)world_random(w, 100000) / 8 - 1000;
            memcpy(at + n * sizeof value, &value, sizeof value);
        }
    }
    uint64_t seq = w->count + 1;
    int64_t range = w->ts_range;
    int64_t ts = w->now + (range > 0 ? (int64_t)world_random(w, (uint64_t)range) - range / 2 : 0);
    memcpy(payload, &seq, sizeof seq);
    memcpy(payload + 8, &ts, sizeof ts);
}

static int64_t ts_of(const model_record *r) {
    int64_t ts = 0;
    memcpy(&ts, r->payload + 8, sizeof ts);
    return ts;
}

static slice key_of(const model_record *r) {
    return (slice){r->key, r->key_size};
}

static record_view view_of(const world *w, uint64_t seq) {
    const model_record *r = &w->records[seq - 1];
    return (record_view){.table = r->table,
                         .payload = r->payload,
                         .size = r->table->size_bytes,
                         .version = r->table->version,
                         .flags = r->more ? RECORD_MORE : 0,
                         .seq = seq,
                         .ts = ts_of(r),
                         .append_ts = (int64_t)seq};
}

void world_append(world *w, uint16_t table, bool more) {
    if (w->count == w->capacity) {
        w->capacity = w->capacity == 0 ? 1024 : 2 * w->capacity;
        w->records = mem_realloc(w->records, w->capacity * sizeof *w->records);
    }
    model_record *r = &w->records[w->count];
    *r = (model_record){
        .table = record_table(table), .by = UINT64_MAX, .gone = UINT64_MAX, .more = more};
    random_payload(w, r->table, r->payload);
    r->key_size = record_key(r->table, r->payload, r->key);
    if (r->table->kind == TAPE_KIND_ENTITY) {
        for (uint64_t i = w->count; i > 0; i--) {
            model_record *old = &w->records[i - 1];
            if (old->table == r->table && slice_compare(key_of(old), key_of(r)) == 0) {
                old->by = w->count + 1;
                break;
            }
        }
    }
    w->count++;
}

static void apply(world *w, uint64_t first) {
    record_view views[256];
    tape_error error;
    for (uint64_t seq = first; seq <= w->count;) {
        size_t count = 0;
        for (; count < COUNT_OF(views) && seq <= w->count; count++, seq++) {
            views[count] = view_of(w, seq);
        }
        world_ok(columns_apply(w->c, views, count, &error), &error);
    }
}

void world_append_many(world *w, uint16_t table, uint64_t count) {
    static const uint16_t often[] = {TAPE_TABLE_ORDERS, TAPE_TABLE_ORDERS,   TAPE_TABLE_ORDERS,
                                     TAPE_TABLE_TRADES, TAPE_TABLE_TRADES,   TAPE_TABLE_ACCOUNTS,
                                     TAPE_TABLE_DEPTH,  TAPE_TABLE_POSITIONS};
    uint64_t first = w->count + 1;
    for (uint64_t i = 0; i < count; i++) {
        uint16_t of = table != 0 ? table : often[world_random(w, COUNT_OF(often))];
        world_append(w, of, i + 1 < count && world_random(w, 3) == 0);
    }
    if (w->c != NULL) {
        apply(w, first);
    }
}

uint64_t world_append_end(const world *w, uint64_t seq) {
    while (seq > 0 && w->records[seq - 1].more) {
        seq--;
    }
    return seq;
}

/* --- opening --- */

static tape_status find_archived(void *context, const tape_table_info *table, slice key,
                                 uint64_t at, uint64_t *seq, tape_error *error) {
    const world *w = context;
    (void)error;
    *seq = 0;
    for (uint64_t i = at; i > 0 && *seq == 0; i--) {
        const model_record *r = &w->records[i - 1];
        if (r->table == table && slice_compare(key_of(r), key) == 0) {
            *seq = i;
        }
    }
    return TAPE_OK;
}

void world_init(world *w, uint64_t seed) {
    const char *base = getenv("TMPDIR");
    *w = (world){.random = seed,
                 .now = INT64_C(1723000000) * NS_PER_SECOND,
                 .ts_range = ARCHIVE_DAY_NS,
                 .keys = 40,
                 .disk = os_disk_linux()};
    (void)snprintf(w->root, sizeof w->root, "%.40s/tape-archive-XXXXXX",
                   base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(w->root));
    (void)snprintf(w->dir, sizeof w->dir, "%s/it's an archive", w->root);
    w->options = (archive_options){.store_id = world_store_id, .memory_bytes = MIB(256)};
}

tape_status world_open(world *w, tape_error *error) {
    w->options.disk = w->disk;
    w->options.dir = w->dir;
    w->options.temp_dir = w->root;
    tape_status status = archive_open(&w->a, &w->options, error);
    if (status == TAPE_OK) {
        columns_options options = {.bytes_max = GIB(1),
                                   .base_seq = archive_seq(w->a),
                                   .archived = find_archived,
                                   .archived_context = w};
        status = columns_create(&w->c, &options, error);
    }
    if (status == TAPE_OK) {
        status = archive_attach(w->a, w->c, error);
    }
    if (status == TAPE_OK) {
        apply(w, archive_seq(w->a) + 1);
    }
    return status;
}

void world_open_ok(world *w) {
    tape_error error;
    world_ok(world_open(w, &error), &error);
}

void world_close(world *w) {
    duck_close(&w->reader);
    archive_close(&w->a);
    columns_close(&w->c);
}

static void remove_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    char *path = mem_printf("%s/%s", (const char *)context, name);
    if (is_dir) {
        world_remove_dir(path);
    } else {
        assert_int_equal(os_remove(os_disk_linux(), path, NULL), TAPE_OK);
    }
    free(path);
}

void world_remove_dir(const char *path) {
    void *context = (void *)(uintptr_t)path;
    if (os_dir_list(os_disk_linux(), path, remove_entry, context, NULL) == TAPE_OK) {
        assert_int_equal(os_dir_remove(os_disk_linux(), path, NULL), TAPE_OK);
    }
}

void world_deinit(world *w) {
    world_close(w);
    world_remove_dir(w->root);
    free(w->records);
    w->records = NULL;
}

void world_take_ok(world *w) {
    tape_error error;
    uint64_t seq = columns_seq(w->c);
    world_ok(archive_take(w->a, seq, (archive_beat){0}, &error), &error);
    assert_int_equal(archive_seq(w->a), seq);
    columns_drop(w->c, seq);
}

/* --- reading --- */

world_view world_view_open(world *w) {
    world_view v = {.seq = columns_seq(w->c), .pin = columns_pin_open(w->c)};
    v.view = archive_view_open(w->a);
    return v;
}

void world_view_close(world_view *v) {
    archive_view_close(&v->view);
    columns_pin_close(&v->pin);
}

duck *world_reader(world *w) {
    const char *const directories[] = {w->dir};
    duck_options options = {.memory_bytes = MIB(512),
                            .threads = 2,
                            .directories = directories,
                            .directory_count = 1,
                            .columns = w->c};
    tape_error error;
    if (w->reader == NULL) {
        world_ok(duck_open(&w->reader, &options, &error), &error);
    }
    return w->reader;
}

static bool hint_wants(const model_record *r, const columns_hint *hint) {
    if (hint == NULL) {
        return true;
    }
    if (ts_of(r) < hint->ts_min || ts_of(r) > hint->ts_max) {
        return false;
    }
    const tape_field_info *field = record_field_named(r->table, "instrument_id");
    if (field == NULL || hint->instruments == NULL) {
        return true;
    }
    for (size_t i = 0; i < hint->instrument_count; i++) {
        const char *id = (const char *)r->payload + field->offset;
        if (id[0] != '\0' && strncmp(id, hint->instruments[i], field->size_bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether the model says that a row is there. *may: it could be. */
static bool is_shown(const model_record *r, const world_view *v, archive_rows rows, uint64_t seq,
                     bool *may) {
    bool entity = r->table->kind == TAPE_KIND_ENTITY;
    *may = true;
    if (rows == ARCHIVE_NEWEST && entity) {
        return r->by > seq;
    }
    if (!entity) {
        return r->gone > archive_view_version(v->view);
    }
    /* Of an entity's versions, those superseded before history_seq may be gone. */
    return r->by > archive_view_history_seq(v->view, r->table->id);
}

static void assert_value(const model_record *r, const tape_field_info *field, duck_result *result,
                         uint32_t column, size_t row) {
    duck_value v;
    const uint8_t *at = r->payload + field->offset;
    uint64_t word = 0;
    duck_result_value(result, column, row, &v);
    if (!record_field_present(field, r->table->version, r->payload)) {
        assert_int_equal(v.kind, DUCK_NULL);
        return;
    }
    switch (field->kind) {
    case TAPE_FIELD_U64:
        memcpy(&word, at, sizeof word);
        assert_int_equal(v.kind, DUCK_INTEGER);
        assert_true(v.integer == word);
        break;
    case TAPE_FIELD_TIME:
        memcpy(&word, at, sizeof word);
        assert_int_equal(v.kind, DUCK_TIME);
        assert_true(v.infinite || v.integer * v.unit_ns == (int64_t)word);
        break;
    case TAPE_FIELD_F64:
        assert_int_equal(v.kind, field->count > 1 ? DUCK_LIST : DUCK_REAL);
        for (uint32_t i = 0; i < field->count; i++) {
            duck_value element = v;
            if (field->count > 1) {
                assert_int_equal(v.size, field->count);
                duck_result_element(result, column, v.first + i, &element);
            }
            assert_memory_equal(&element.real, at + i * sizeof(double), sizeof(double));
        }
        break;
    case TAPE_FIELD_ENUM:
        assert_int_equal(v.kind, DUCK_TEXT);
        assert_int_equal(v.size, strlen(field->enum_names[*at]));
        assert_memory_equal(v.text, field->enum_names[*at], v.size);
        break;
    case TAPE_FIELD_ID:
        assert_int_equal(v.kind, DUCK_TEXT);
        assert_int_equal(v.size, strnlen((const char *)at, field->size_bytes));
        assert_memory_equal(v.text, at, v.size);
        break;
    }
}

static void describe(const world *w, const world_view *v, const tape_table_info *table,
                     archive_rows rows, uint64_t seq, const char *what, uint64_t row) {
    const model_record *r = row == 0 || row > w->count ? NULL : &w->records[row - 1];
    print_error("%s %s at seq %" PRIu64 " of %" PRIu64 " (archive's %" PRIu64
                ", history from %" PRIu64 "): row %" PRIu64 " %s; superseded by %" PRIu64
                ", gone at %" PRIu64 " of %" PRIu64 "\n",
                table->name, rows == ARCHIVE_NEWEST ? "newest" : "versions", seq, w->count,
                archive_view_seq(v->view), archive_view_history_seq(v->view, table->id), row, what,
                r == NULL ? 0 : r->by, r == NULL ? 0 : r->gone, archive_view_version(v->view));
}

/* The next of the model's rows that has to be there, from `seq` on; 0: none. Rows below it may be
 * there. */
static uint64_t next_row(const world *w, const world_view *v, const tape_table_info *table,
                         archive_rows rows, uint64_t at, const columns_hint *hint, uint64_t from) {
    bool may = false;
    for (uint64_t seq = from; seq <= at; seq++) {
        const model_record *r = &w->records[seq - 1];
        if (r->table == table && hint_wants(r, hint) && is_shown(r, v, rows, at, &may)) {
            return seq;
        }
    }
    return 0;
}

/* Whether a row that need not be there may. */
static bool may_be(const world *w, const tape_table_info *table, archive_rows rows, uint64_t at,
                   const columns_hint *hint, uint64_t seq) {
    const model_record *r = &w->records[seq - 1];
    bool versions = rows == ARCHIVE_VERSIONS && table->kind == TAPE_KIND_ENTITY;
    return seq >= 1 && seq <= at && r->table == table && versions && hint_wants(r, hint);
}

static char *statement(const world_view *v, const tape_table_info *table, archive_rows rows,
                       uint64_t seq, const columns_hint *hint) {
    buffer sql = {0};
    bool entity = table->kind == TAPE_KIND_ENTITY;
    buffer_append_text(&sql, "SELECT * FROM (");
    if (archive_view_sql(v->view, table, rows, seq, hint, &sql, NULL)) {
        buffer_append_text(&sql, " UNION ALL ");
    }
    buffer_printf(&sql, "SELECT * FROM tape_scan('%s', '%s'))", table->name,
                  entity && rows == ARCHIVE_NEWEST ? "newest" : "all");
    if (hint != NULL) {
        archive_put_ts_range(&sql, hint->ts_min, hint->ts_max);
        bool times = hint->ts_min > INT64_MIN + 1 || hint->ts_max < INT64_MAX;
        if (hint->instruments != NULL && archive_instrument_field(table) != NULL) {
            buffer_printf(&sql, "%s instrument_id IN (", times ? " AND" : " WHERE");
            for (size_t i = 0; i < hint->instrument_count; i++) {
                buffer_printf(&sql, "%s'%s'", i > 0 ? ", " : "", hint->instruments[i]);
            }
            buffer_append_text(&sql, ")");
        }
    }
    buffer_append_text(&sql, " ORDER BY seq");
    buffer_end(&sql);
    return (char *)sql.data;
}

uint64_t world_check_table(world *w, const world_view *v, const tape_table_info *table,
                           archive_rows rows, uint64_t seq, const columns_hint *hint) {
    tape_error error;
    duck_session *s = NULL;
    duck_result *result = NULL;
    size_t count = 0;
    uint64_t compared = 0;
    char *sql = statement(v, table, rows, seq, hint);
    world_ok(duck_session_open(world_reader(w), &s, &error), &error);
    duck_session_see(s, archive_view_seq(v->view), seq);
    tape_status status = duck_session_start(s, sql, &result, &error);
    if (status != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    const duck_column *shown = NULL;
    assert_int_equal(duck_result_columns(result, &shown), table->field_count);
    uint64_t expected = next_row(w, v, table, rows, seq, hint, 1);
    for (;;) {
        world_ok(duck_result_next(result, &count, &error), &error);
        for (size_t i = 0; i < count; i++) {
            duck_value value;
            duck_result_value(result, 0, i, &value);
            uint64_t actual = (uint64_t)value.integer;
            if (actual != expected && !may_be(w, table, rows, seq, hint, actual)) {
                describe(w, v, table, rows, seq, "came", actual);
                describe(w, v, table, rows, seq, "was expected", expected);
                fail_msg("%s", sql);
            }
            for (uint32_t f = 0; f < table->field_count; f++) {
                assert_value(&w->records[actual - 1], &table->fields[f], result, f, i);
            }
            if (actual == expected) {
                expected = next_row(w, v, table, rows, seq, hint, actual + 1);
            }
            compared++;
        }
        if (count == 0) {
            break;
        }
    }
    if (expected != 0) {
        describe(w, v, table, rows, seq, "is missing", expected);
        fail_msg("%s", sql);
    }
    duck_result_close(&result);
    duck_session_close(&s);
    free(sql);
    return compared;
}

uint64_t world_check(world *w, const world_view *v, uint64_t seq, const columns_hint *hint) {
    uint64_t compared = 0;
    for (uint16_t t = 1; t <= TAPE_TABLE_COUNT; t++) {
        const tape_table_info *table = record_table(t);
        if (seq >= archive_view_history_seq(v->view, t) || table->kind == TAPE_KIND_EVENT) {
            compared += world_check_table(w, v, table, ARCHIVE_NEWEST, seq, hint);
        }
        compared += world_check_table(w, v, table, ARCHIVE_VERSIONS, seq, hint);
    }
    return compared;
}

uint64_t world_check_now(world *w) {
    world_view v = world_view_open(w);
    uint64_t compared = world_check(w, &v, columns_seq(w->c), NULL);
    world_view_close(&v);
    return compared;
}

tape_status world_expire(world *w, int64_t now_ns, tape_error *error) {
    uint64_t seq = archive_seq(w->a);
    tape_status status = archive_expire(w->a, now_ns, error);
    for (uint64_t i = 0; status == TAPE_OK && i < seq; i++) {
        model_record *r = &w->records[i];
        int64_t from = 0;
        int64_t to = 0;
        archive_day_range(w->a, archive_day_of(w->a, ts_of(r)), &from, &to);
        if (r->table->kind == TAPE_KIND_EVENT && r->gone == UINT64_MAX &&
            w->options.keep_ns[r->table->id] > 0 &&
            to < now_ns - w->options.keep_ns[r->table->id]) {
            r->gone = w->a->current->number;
        }
    }
    return status;
}

size_t world_files(const world *w, uint16_t table, uint8_t kind) {
    size_t count = 0;
    for (size_t i = 0; i < w->a->current->file_count; i++) {
        const archive_file_info *f = &w->a->current->files[i]->info;
        count += (table == 0 || f->table == table) && (kind == 0 || f->kind == kind);
    }
    return count;
}

void world_note_damage(void *context, const tape_error *finding) {
    buffer_append_text(context, finding->text);
}
