/* Columns beside a trivial model of orders and positions: at random moments rows are handed over,
 * archived and dropped, pins are held, and what an archive and the columns together tell about
 * every version at a random S must be what the model says: visible iff seq <= S < by. */
#include "columns/columns_testing.h"

#define PINS_MAX 4u
#define BATCH_MAX 4096u
#define INSTRUMENTS 30u

typedef struct version {
    uint64_t seq, by;  /* UINT64_MAX: the newest */
    uint64_t took;     /* how far the archive went when it took it; 0: it has not */
    uint32_t previous; /* index + 1 of the key's version before */
} version;

typedef struct model_table {
    uint16_t id;
    uint32_t keys;
    version *versions; /* in seq order */
    uint32_t count, taken;
    uint32_t *newest; /* per key: index + 1 */
} model_table;

typedef struct held_pin {
    columns_pin *pin;
    uint64_t after; /* the seq of an archive view that was opened after the pin */
} held_pin;

typedef struct model {
    columns *columns;
    uint64_t random;
    uint64_t seq; /* of the last whole append */
    uint64_t archived, forgotten;
    uint64_t *appends; /* the last seq of each */
    size_t append_count, append_archived;
    model_table tables[2];
    held_pin pins[PINS_MAX];
    uint64_t calls, failures;
    bool archive_away;
} model;

static void fill_key(uint16_t table, uint32_t key, void *out) {
    memset(out, 0, TAPE_RECORD_BYTES_MAX);
    if (table == TAPE_TABLE_ORDERS) {
        put_id(((tape_order *)out)->order_id, 40, "o", key, 8 + key % 30);
    } else {
        put_id(((tape_position *)out)->user_id, 32, "u", key / INSTRUMENTS, 5 + key % 20);
        put_id(((tape_position *)out)->instrument_id, 16, "i", key % INSTRUMENTS, 4);
    }
}

static uint32_t digits(const uint8_t *from, const uint8_t *end) {
    uint32_t n = 0;
    for (; from < end && *from >= '0' && *from <= '9'; from++) {
        n = n * 10 + (uint32_t)(*from - '0');
    }
    return n;
}

/* The engine's part: the newest version of the key at `at`. */
static tape_status archived(void *context, const tape_table_info *info, slice key, uint64_t at,
                            uint64_t *seq, tape_error *error) {
    model *m = context;
    model_table *t = &m->tables[info->id == TAPE_TABLE_ORDERS ? 0 : 1];
    const uint8_t *end = key.data + key.size;
    uint32_t number = digits(key.data + 2, end);
    if (info->id == TAPE_TABLE_POSITIONS) {
        number = number * INSTRUMENTS + digits(key.data + 1 + 32 + 1, end);
    }
    m->calls++;
    assert_int_equal(at, columns_base(m->columns));
    if (m->archive_away && random_below(&m->random, 200) == 0) {
        m->failures++;
        return error_set(error, TAPE_IO, "the archive is away");
    }
    uint32_t v = t->newest[number];
    while (v != 0 && t->versions[v - 1].seq > at) {
        v = t->versions[v - 1].previous;
    }
    *seq = v == 0 ? 0 : t->versions[v - 1].seq;
    return TAPE_OK;
}

static void model_open(model *m, uint64_t seed, uint64_t base, uint32_t orders, uint32_t most) {
    const columns_options options = {
        .bytes_max = GIB(1), .base_seq = base, .archived = archived, .archived_context = m};
    tape_error error;
    *m = (model){.random = seed, .seq = base, .archived = base, .forgotten = base};
    m->tables[0] = (model_table){.id = TAPE_TABLE_ORDERS, .keys = orders};
    m->tables[1] = (model_table){.id = TAPE_TABLE_POSITIONS, .keys = 40 * INSTRUMENTS};
    for (size_t n = 0; n < COUNT_OF(m->tables); n++) {
        m->tables[n].versions = mem_alloc((most + 4 * BATCH_MAX) * sizeof(version));
        m->tables[n].newest = mem_zalloc(m->tables[n].keys * sizeof(uint32_t));
    }
    m->appends = mem_alloc((most + 4 * BATCH_MAX) * sizeof *m->appends);
    m->appends[m->append_count++] = base;
    assert_int_equal(columns_create(&m->columns, &options, &error), TAPE_OK);
}

static void model_close(model *m) {
    for (size_t n = 0; n < COUNT_OF(m->pins); n++) {
        columns_pin_close(&m->pins[n].pin);
    }
    assert_int_equal(columns_bytes(m->columns), bytes_held(m->columns));
    columns_close(&m->columns);
    for (size_t n = 0; n < COUNT_OF(m->tables); n++) {
        free(m->tables[n].versions);
        free(m->tables[n].newest);
    }
    free(m->appends);
}

/* --- what happens --- */

static void add_version(model_table *t, uint32_t key, uint64_t seq) {
    uint32_t old = t->newest[key];
    if (old != 0) {
        t->versions[old - 1].by = seq;
    }
    t->versions[t->count++] = (version){.seq = seq, .by = UINT64_MAX, .previous = old};
    t->newest[key] = t->count;
}

/* A batch of appends, given to the columns in calls that end anywhere. */
static void step_append(model *m, uint32_t batch) {
    static _Alignas(8) uint8_t payloads[BATCH_MAX][TAPE_RECORD_BYTES_MAX];
    static record_view views[BATCH_MAX];
    ASSERT(batch <= BATCH_MAX);
    for (uint32_t n = 0; n < batch; n++) {
        model_table *t = &m->tables[random_below(&m->random, 3) == 0];
        /* Most keys are rarely touched, some often. */
        size_t range = random_below(&m->random, 4) == 0 ? t->keys : 1 + t->keys / 50;
        uint32_t key = (uint32_t)random_below(&m->random, range);
        bool more = n + 1 < batch && random_below(&m->random, 3) == 0;
        m->seq += random_below(&m->random, 20) == 0 ? 2 : 1;
        fill_key(t->id, key, payloads[n]);
        views[n] = view_of(t->id, payloads[n], m->seq, (int64_t)m->seq);
        views[n].flags = more ? RECORD_MORE : 0;
        add_version(t, key, m->seq);
        if (!more) {
            m->appends[m->append_count++] = m->seq;
        }
    }
    for (uint32_t from = 0; from < batch;) {
        uint32_t run = 1 + (uint32_t)random_below(&m->random, batch - from);
        tape_error error;
        tape_status status = columns_apply(m->columns, views + from, run, &error);
        assert_true(status == TAPE_OK || status == TAPE_IO);
        assert_true(columns_seq(m->columns) <= m->seq);
        from += status == TAPE_OK ? run : 0;
    }
    assert_int_equal(columns_seq(m->columns), m->seq);
}

/* Hands over up to a random append; most of the time the archive takes it, and often the rows are
 * dropped then. */
static void step_take(model *m) {
    tape_error error;
    size_t span = m->append_count - m->append_archived;
    size_t append = m->append_archived + random_below(&m->random, span);
    uint64_t seq = m->appends[append];
    assert_int_equal(columns_hand_over(m->columns, seq, &error), TAPE_OK);
    if (random_below(&m->random, 4) == 0) {
        return; /* the take failed */
    }
    m->archived = seq;
    m->append_archived = append;
    for (size_t n = 0; n < COUNT_OF(m->tables); n++) {
        model_table *t = &m->tables[n];
        for (; t->taken < t->count && t->versions[t->taken].seq <= seq; t->taken++) {
            t->versions[t->taken].took = seq;
        }
    }
}

static void step_drop(model *m) {
    columns_drop(m->columns, m->archived);
    assert_int_equal(columns_base(m->columns), m->archived);
    for (size_t n = 0; n < COUNT_OF(m->tables); n++) {
        assert_int_equal(columns_rows(m->columns, m->tables[n].id),
                         m->tables[n].count - m->tables[n].taken);
    }
    assert_int_equal(columns_bytes(m->columns), bytes_held(m->columns));
}

/* The archive's merges have put what superseded its rows up to some seq into the rows' files. */
static void step_forget(model *m) {
    uint64_t by = m->forgotten + random_below(&m->random, m->archived - m->forgotten + 1);
    for (size_t n = 0; n < COUNT_OF(m->tables); n++) {
        columns_superseded_forget(m->columns, m->tables[n].id, by);
    }
    m->forgotten = by;
}

static void step_pin(model *m) {
    held_pin *p = &m->pins[random_below(&m->random, COUNT_OF(m->pins))];
    if (p->pin == NULL || random_below(&m->random, 2) == 0) {
        columns_pin_close(&p->pin);
        p->pin = columns_pin_open(m->columns);
        p->after = m->archived;
    } else {
        columns_pin_close(&p->pin);
    }
}

/* --- what must hold --- */

/* The rows of the columns: those after `after` up to `seq`, each version once. */
static void check_hot(const model *m, const model_table *t, uint64_t after, uint64_t seq) {
    static uint32_t selected[VECTOR];
    static uint64_t seqs[VECTOR], bys[VECTOR];
    const columns *c = m->columns;
    uint64_t row = columns_row_after(c, t->id, after);
    uint64_t end = columns_row_after(c, t->id, seq);
    assert_true(row <= end || seq < after);
    uint32_t v = 0;
    while (v < t->count && t->versions[v].seq <= after) {
        v++;
    }
    while (row < end) {
        uint64_t left = COLUMNS_CHUNK_ROWS - row % COLUMNS_CHUNK_ROWS;
        uint32_t run = (uint32_t)(left < end - row ? left : end - row);
        run = run < VECTOR ? run : VECTOR;
        columns_read(c, t->id, 0, row, NULL, run, seqs);
        columns_read_superseded(c, t->id, row, NULL, run, seq, bys);
        uint32_t found = columns_newest(c, t->id, row, run, seq, selected);
        uint32_t next = 0;
        for (uint32_t i = 0; i < run; i++, v++) {
            const version *want = &t->versions[v];
            bool newest = want->by > seq;
            assert_int_equal(seqs[i], want->seq);
            assert_int_equal(bys[i], newest ? UINT64_MAX : want->by);
            assert_int_equal(next < found && selected[next] == i, newest);
            next += newest;
        }
        assert_int_equal(next, found);
        row += run;
    }
    assert_true(v == t->count || t->versions[v].seq > seq);
}

/* The archived rows: those of `current` files, whose files do not tell what superseded them. */
static void check_archived(const model *m, const model_table *t, uint64_t after, uint64_t seq) {
    static uint64_t seqs[VECTOR];
    static const version *wanted[VECTOR];
    static bool newest[VECTOR];
    for (uint32_t v = 0; v < t->count;) {
        uint32_t count = 0;
        for (; v < t->count && count < VECTOR; v++) {
            const version *one = &t->versions[v];
            if (one->seq <= after && one->seq <= seq && one->by > one->took) {
                wanted[count] = one;
                seqs[count++] = one->seq;
            }
        }
        columns_archived_newest(m->columns, t->id, seqs, count, seq, newest);
        for (uint32_t i = 0; i < count; i++) {
            uint64_t by = wanted[i]->by;
            assert_int_equal(newest[i], by > seq);
            assert_int_equal(columns_superseded_by(m->columns, t->id, seqs[i], seq),
                             by > seq || by <= m->forgotten ? 0 : by);
        }
    }
}

/* The pairs that a take from `from` to `to` writes down: those of rows it had before. */
static void check_pairs(const model *m, const model_table *t, uint64_t from, uint64_t to) {
    static columns_superseded pairs[700];
    uint64_t found = 0, skip = 0, last = from;
    for (size_t count = 1; count > 0; skip += count) {
        size_t max = 1 + (size_t)(skip * 7 % COUNT_OF(pairs));
        count = columns_superseded_read(m->columns, t->id, from, to, skip, pairs, max);
        for (size_t n = 0; n < count; n++) {
            assert_true(pairs[n].by > last && pairs[n].by <= to);
            last = pairs[n].by;
            uint32_t low = 0, high = t->count;
            while (low < high) {
                uint32_t middle = low + (high - low) / 2;
                low = t->versions[middle].seq < pairs[n].seq ? middle + 1 : low;
                high = t->versions[middle].seq < pairs[n].seq ? high : middle;
            }
            assert_true(low < t->count && t->versions[low].seq == pairs[n].seq);
            assert_int_equal(t->versions[low].by, pairs[n].by);
            found += pairs[n].seq <= from;
        }
    }
    uint64_t want = 0;
    for (uint32_t v = 0; v < t->count; v++) {
        const version *one = &t->versions[v];
        want += one->seq <= from && one->by > from && one->by <= to;
    }
    assert_int_equal(found, want);
}

static void check(model *m) {
    held_pin p = m->pins[random_below(&m->random, COUNT_OF(m->pins))];
    columns_pin *own = NULL;
    if (p.pin == NULL) {
        p.pin = own = columns_pin_open(m->columns);
        p.after = m->archived;
    }
    for (size_t n = 0; n < COUNT_OF(m->tables); n++) {
        const model_table *t = &m->tables[n];
        uint64_t seq = p.after + random_below(&m->random, m->seq - p.after + 1);
        check_hot(m, t, p.after, seq);
        check_hot(m, t, p.after, m->seq);
        check_hot(m, t, columns_pin_base(p.pin), m->seq);
        check_archived(m, t, p.after, m->seq);
        seq = m->forgotten + random_below(&m->random, m->seq - m->forgotten + 1);
        check_archived(m, t, p.after, seq);
        check_pairs(m, t, m->archived, m->archived + random_below(&m->random, m->seq + 1));
    }
    columns_pin_close(&own);
}

static void run_model(uint64_t seed, uint64_t base, uint32_t orders, uint32_t most,
                      uint32_t batch_max, bool archive_away) {
    static model m;
    model_open(&m, seed, base, orders, most);
    m.archive_away = archive_away;
    uint32_t checks = 0;
    while (m.tables[0].count < most) {
        for (uint64_t n = random_below(&m.random, 20); n > 0; n--) {
            step_append(&m, 1 + (uint32_t)random_below(&m.random, batch_max));
        }
        switch (random_below(&m.random, 8)) {
        case 0:
        case 1:
            step_take(&m);
            break;
        case 2:
            step_take(&m);
            step_drop(&m);
            break;
        case 3:
            step_drop(&m);
            break;
        case 4:
            step_forget(&m);
            break;
        case 5:
        case 6:
            step_pin(&m);
            break;
        default:
            check(&m);
            checks++;
        }
    }
    check(&m);
    assert_true(checks > 0 && m.calls > 0 && (m.failures > 0) == archive_away);
    model_close(&m);
}

static void columns_and_archive_tell_every_version_over_many_chunks(void **state) {
    (void)state;
    run_model(11, 0, 60000, 400000, BATCH_MAX, false);
}

static void columns_and_archive_tell_every_version_in_small_steps(void **state) {
    (void)state;
    for (uint64_t seed = 20; seed < 32; seed++) {
        run_model(seed, seed % 3 * 1000000007, 200, 6000, 20, false);
    }
}

static void columns_and_archive_tell_every_version_though_look_ups_fail(void **state) {
    (void)state;
    run_model(31, 5, 3000, 30000, 300, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_and_archive_tell_every_version_over_many_chunks),
        cmocka_unit_test(columns_and_archive_tell_every_version_in_small_steps),
        cmocka_unit_test(columns_and_archive_tell_every_version_though_look_ups_fail),
    };
    return cmocka_run_group_tests_name("columns_model", tests, NULL, NULL);
}
