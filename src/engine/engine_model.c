/* The oracle, the clocks, and how a world fails. See engine_model_testing.h. */
#include "engine/engine_model_testing.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

coverage covered;

/* --- clocks and chance: linked in place of the machine's (meson.build) --- */

static int64_t *realtime; /* the present world's */
static int64_t monotonic = 1;
static uint64_t chance;

int64_t __wrap_clock_realtime_ns(void);
int64_t __wrap_clock_stamp_ns(void);
int64_t __wrap_clock_monotonic_ns(void);
int64_t __wrap_clock_deadline_ns(int64_t timeout_ns);
void __wrap_os_sleep_ns(int64_t ns);
void __wrap_os_random(void *data, size_t size);

int64_t __wrap_clock_realtime_ns(void) {
    return *realtime;
}

int64_t __wrap_clock_stamp_ns(void) {
    return *realtime;
}

int64_t __wrap_clock_monotonic_ns(void) {
    return monotonic += 10000000; /* so that what waits for a time comes to it soon */
}

int64_t __wrap_clock_deadline_ns(int64_t timeout_ns) {
    int64_t deadline = 0;
    if (timeout_ns < 0 || __builtin_add_overflow(monotonic, timeout_ns, &deadline)) {
        return INT64_MAX;
    }
    return deadline;
}

void __wrap_os_sleep_ns(int64_t ns) {
    monotonic += ns;
}

void __wrap_os_random(void *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        ((uint8_t *)data)[i] = (uint8_t)random_next(&chance);
    }
}

/* --- failing --- */

void world_trace(world *w, const char *format, ...) {
    va_list arguments;
    char *line = w->trace[w->step % MODEL_TRACE];
    if (getenv("TAPE_TEST_TRACE") != NULL) {
        fprintf(stderr, "%" PRIu64 " ", w->step);
        va_start(arguments, format);
        vfprintf(stderr, format, arguments);
        va_end(arguments);
        fprintf(stderr, "\n");
    }
    size_t length = strlen(line);
    if (length >= sizeof w->trace[0] - 3) {
        return;
    }
    if (length > 0) {
        line[length++] = ';';
        line[length++] = ' ';
    }
    va_start(arguments, format);
    (void)vsnprintf(line + length, sizeof w->trace[0] - length, format, arguments);
    va_end(arguments);
}

_Noreturn void world_fail(const world *w, const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "seed %" PRIu64 ", step %" PRIu64 ": %s\nbefore:\n", w->seed, w->step, text);
    uint64_t first = w->step >= MODEL_TRACE ? w->step - MODEL_TRACE + 1 : 0;
    for (uint64_t step = first; step <= w->step; step++) {
        fprintf(stderr, "  %" PRIu64 " %s\n", step, w->trace[step % MODEL_TRACE]);
    }
    fprintf(stderr, "again with TAPE_TEST_SEED=%" PRIu64 "\n", w->seed);
    fail_msg("seed %" PRIu64 ", step %" PRIu64 ": %s", w->seed, w->step, text);
    abort();
}

bool world_ok(world *w, tape_status status, const tape_error *error, const char *what) {
    if (status == TAPE_OK) {
        return true;
    }
    bool expected =
        w->faulty && (status == TAPE_IO || status == TAPE_FAILED || status == TAPE_NO_SPACE ||
                      status == TAPE_BUSY || status == TAPE_TIMEOUT);
    expected |= w->damaged && status == TAPE_CORRUPT;
    expected |= status == TAPE_FAILED && (w->failed || w->store_failed);
    if (!expected || error->status != status || error->text[0] == '\0') {
        world_fail(w, "%s: %s: %s: %s", what, tape_status_name(status),
                   tape_status_name(error->status), error->text);
    }
    return false;
}

/* --- the oracle --- */

static bool key_is_seq(uint16_t table) {
    const tape_table_info *info = record_table(table);
    return info->fields[info->key_fields[0]].kind == TAPE_FIELD_U64;
}

/* As keys are ordered: text by bytes, numbers by value. */
static int key_compare(const oracle_key *key, bool is_seq, const char parts[2][41],
                       uint64_t number) {
    if (is_seq) {
        return key->number < number ? -1 : key->number > number;
    }
    int order = strcmp(key->parts[0], parts[0]);
    return order != 0 ? order : strcmp(key->parts[1], parts[1]);
}

/* The first key at or after. */
static size_t table_seek(const oracle_table *t, bool is_seq, const char parts[2][41]) {
    uint64_t number = is_seq ? strtoull(parts[0], NULL, 10) : 0;
    size_t low = 0;
    size_t high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (key_compare(t->keys[middle], is_seq, parts, number) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool key_is(const oracle_key *key, const char parts[2][41]) {
    return strcmp(key->parts[0], parts[0]) == 0 && strcmp(key->parts[1], parts[1]) == 0;
}

oracle_key *oracle_find(const oracle *o, uint16_t table, const char parts[2][41]) {
    const oracle_table *t = &o->tables[table];
    size_t at = table_seek(t, key_is_seq(table), parts);
    return at < t->count && key_is(t->keys[at], parts) ? t->keys[at] : NULL;
}

static oracle_key *key_make(oracle_table *t, bool is_seq, const char parts[2][41]) {
    size_t at = table_seek(t, is_seq, parts);
    if (at < t->count && key_is(t->keys[at], parts)) {
        return t->keys[at];
    }
    if (t->count == t->capacity) {
        t->capacity = t->capacity == 0 ? 64 : 2 * t->capacity;
        t->keys = mem_realloc(t->keys, t->capacity * sizeof *t->keys);
    }
    memmove(t->keys + at + 1, t->keys + at, (t->count - at) * sizeof *t->keys);
    t->count++;
    oracle_key *key = mem_zalloc(sizeof *key);
    memcpy(key->parts, parts, sizeof key->parts);
    key->number = is_seq ? strtoull(parts[0], NULL, 10) : 0;
    t->keys[at] = key;
    return key;
}

void oracle_add(oracle *o, uint16_t table, const char parts[2][41], uint64_t nonce,
                int64_t append_ts, bool last) {
    char seq_parts[2][41] = {{0}, {0}};
    bool is_seq = key_is_seq(table);
    if (o->count == o->capacity) {
        o->capacity = o->capacity == 0 ? 1024 : 2 * o->capacity;
        o->records = mem_realloc(o->records, o->capacity * sizeof *o->records);
    }
    uint64_t seq = ++o->count;
    if (is_seq) {
        (void)snprintf(seq_parts[0], sizeof seq_parts[0], "%" PRIu64, seq);
        parts = (const char(*)[41])seq_parts;
    }
    oracle_key *key = key_make(&o->tables[table], is_seq, parts);
    if (key->count == key->capacity) {
        key->capacity = key->capacity == 0 ? 2 : 2 * key->capacity;
        key->seqs = mem_realloc(key->seqs, key->capacity * sizeof *key->seqs);
    }
    key->seqs[key->count++] = seq;
    o->records[seq - 1] = (oracle_record){nonce, append_ts, key, table, last};
}

void oracle_truncate(oracle *o, uint64_t count) {
    for (; o->count > count; o->count--) {
        const oracle_record *r = &o->records[o->count - 1];
        oracle_key *key = r->key;
        if (--key->count == 0) {
            oracle_table *t = &o->tables[r->table];
            size_t at = table_seek(t, key_is_seq(r->table), (const char(*)[41])key->parts);
            memmove(t->keys + at, t->keys + at + 1, (t->count - at - 1) * sizeof *t->keys);
            t->count--;
            free(key->seqs);
            free(key);
        }
    }
}

void oracle_deinit(oracle *o) {
    oracle_truncate(o, 0);
    for (size_t t = 0; t < COUNT_OF(o->tables); t++) {
        free(o->tables[t].keys);
    }
    free(o->records);
    *o = (oracle){0};
}

/* --- records --- */

static void fill_field(const tape_field_info *field, const char parts[2][41], size_t *part,
                       uint64_t *state, uint8_t *at) {
    for (uint32_t j = 0; j < field->count; j++, at += field->size_bytes) {
        uint64_t value = random_next(state);
        double number = (double)(value % 1000000) / 8;
        switch (field->kind) {
        case TAPE_FIELD_U64:
            store_u64(at, value);
            break;
        case TAPE_FIELD_TIME: /* 0: the time of the append */
            store_u64(at, value % 8 == 0 ? 0 : value >> 2 | 1);
            break;
        case TAPE_FIELD_F64:
            memcpy(at, &number, sizeof number);
            break;
        case TAPE_FIELD_ENUM:
            *at = (uint8_t)(value % field->enum_count);
            break;
        case TAPE_FIELD_ID:
            if (field->is_key) {
                size_t length = strlen(parts[*part]);
                memcpy(at, parts[*part], length < field->size_bytes ? length : field->size_bytes);
                (*part)++;
            } else {
                char text[24];
                size_t length = (size_t)snprintf(text, sizeof text, "x%" PRIu64, value % 100000);
                memcpy(at, text, length);
            }
            break;
        }
    }
}

void oracle_fill(uint16_t table, const char parts[2][41], uint64_t nonce, void *out) {
    const tape_table_info *info = record_table(table);
    uint64_t state = nonce;
    size_t part = 0;
    memset(out, 0, info->size_bytes);
    for (uint32_t i = 0; i < info->field_count; i++) {
        const tape_field_info *field = &info->fields[i];
        fill_field(field, parts, &part, &state, (uint8_t *)out + field->offset);
    }
}

void oracle_expect(const oracle *o, uint64_t seq, void *out) {
    const oracle_record *r = &o->records[seq - 1];
    oracle_fill(r->table, (const char(*)[41])r->key->parts, r->nonce, out);
    store_u64(out, seq);
    if (load_u64((uint8_t *)out + 8) == 0) {
        store_u64((uint8_t *)out + 8, (uint64_t)r->append_ts);
    }
}

/* --- a world --- */

void world_create(world *w, uint64_t seed) {
    *w = (world){.seed = seed, .random = seed, .now_ns = INT64_C(1700000000000000000)};
    realtime = &w->now_ns;
    chance = seed;
    w->retention = world_chance(w, 40);
    w->trimmed = world_chance(w, 60);
    w->towering = world_chance(w, 25);
    w->sim = os_sim_create(seed);
    w->disk = os_sim_process_start(w->sim);
    tape_error error;
    if (engine_create(w->disk, MODEL_ROOT, MODEL_SEGMENT, &error) != TAPE_OK) {
        world_fail(w, "create: %s", error.text);
    }
    model_random_options(w);
    if (!world_open(w)) {
        world_fail(w, "the first open failed");
    }
    covered.worlds++;
}

void world_end(world *w) {
    world_close(w);
    covered.records += w->o.count;
    oracle_deinit(&w->o);
    os_sim_destroy(&w->sim);
}
