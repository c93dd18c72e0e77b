/* The map of superseded archived rows: what is noted is found, at every seq, and nothing else. */
#include "columns/columns_testing.h"

#define ORDERS TAPE_TABLE_ORDERS

static columns *open_after(uint64_t base) {
    columns *c;
    tape_error error;
    const columns_options options = {.bytes_max = GIB(1), .base_seq = base};
    assert_int_equal(columns_create(&c, &options, &error), TAPE_OK);
    return c;
}

static void supersede(columns *c, uint16_t table, uint64_t seq, uint64_t by) {
    tape_error error;
    assert_int_equal(columns_supersede(c, table, seq, by, &error), TAPE_OK);
}

static bool newest(const columns *c, uint16_t table, uint64_t seq, uint64_t at) {
    bool answer;
    columns_archived_newest(c, table, &seq, 1, at, &answer);
    return answer;
}

static void superseded_rows_are_told_from_the_seq_they_were_superseded_at(void **state) {
    (void)state;
    columns *c = open_after(1000);
    supersede(c, ORDERS, 5, 70);
    supersede(c, ORDERS, 6, 71);
    supersede(c, TAPE_TABLE_ACCOUNTS, 7, 72);
    assert_true(newest(c, ORDERS, 5, 69));
    assert_false(newest(c, ORDERS, 5, 70));
    assert_false(newest(c, ORDERS, 5, 1000));
    assert_true(newest(c, ORDERS, 7, 1000));
    assert_false(newest(c, TAPE_TABLE_ACCOUNTS, 7, 1000));
    assert_int_equal(columns_superseded_by(c, ORDERS, 6, 70), 0);
    assert_int_equal(columns_superseded_by(c, ORDERS, 6, 71), 71);
    assert_int_equal(columns_superseded_by(c, ORDERS, 8, 1000), 0);
    assert_int_equal(columns_superseded_by(c, ORDERS, UINT64_MAX, 1000), 0);
    columns_close(&c);
}

/* Seqs far apart, so that every level of the bits grows. */
static uint64_t far_seq(uint64_t n) {
    return n % 3 == 0 ? n + 1 : n % 3 == 1 ? n * 40009 + 2 : (UINT64_C(1) << 40) + n * 3000017;
}

static void superseded_rows_are_found_among_many(void **state) {
    (void)state;
    const uint64_t base = UINT64_C(1) << 50;
    const uint64_t count = 100000;
    columns *c = open_after(base);
    static uint64_t seqs[2 * VECTOR];
    static bool answers[2 * VECTOR];
    for (uint64_t n = 0; n < count; n++) {
        supersede(c, ORDERS, far_seq(n), base - 2 * count + 2 * n);
    }
    assert_int_equal(columns_bytes(c), bytes_held(c));
    for (uint64_t from = 0; from < count; from += VECTOR) {
        uint32_t run = count - from < VECTOR ? (uint32_t)(count - from) : VECTOR;
        for (uint32_t i = 0; i < run; i++) {
            seqs[2 * i] = far_seq(from + i);
            seqs[2 * i + 1] = (UINT64_C(1) << 41) + from * VECTOR + i;
        }
        uint64_t at = base - 2 * count + 2 * from + run;
        columns_archived_newest(c, ORDERS, seqs, 2 * run, at, answers);
        for (uint32_t i = 0; i < run; i++) {
            assert_int_equal(answers[2 * i], 2 * i > run);
            assert_true(answers[2 * i + 1]);
        }
    }
    columns_close(&c);
}

static void superseded_pairs_are_read_in_pages(void **state) {
    (void)state;
    columns *c = open_after(100000);
    static columns_superseded pairs[1000];
    for (uint64_t n = 1; n <= 5000; n++) {
        supersede(c, ORDERS, 20000 - n, 30000 + 2 * n);
    }
    uint64_t next = 1001;
    for (uint64_t skip = 0, count = 1; count > 0; skip += count) {
        count = columns_superseded_read(c, ORDERS, 32000, 36000, skip, pairs, 999);
        for (uint64_t n = 0; n < count; n++, next++) {
            assert_int_equal(pairs[n].seq, 20000 - next);
            assert_int_equal(pairs[n].by, 30000 + 2 * next);
        }
    }
    assert_int_equal(next, 3001);
    assert_int_equal(columns_superseded_read(c, ORDERS, 0, 30001, 0, pairs, 10), 0);
    assert_int_equal(columns_superseded_read(c, ORDERS, 36000, 36000, 0, pairs, 10), 0);
    assert_int_equal(columns_superseded_read(c, ORDERS, 36000, 31000, 0, pairs, 10), 0);
    assert_int_equal(columns_superseded_read(c, ORDERS, 0, UINT64_MAX, 4999, pairs, 10), 1);
    assert_int_equal(columns_superseded_read(c, ORDERS, 0, UINT64_MAX, 5000, pairs, 10), 0);
    columns_close(&c);
}

static void superseded_pairs_that_are_forgotten_stay_marked_and_free_memory(void **state) {
    (void)state;
    columns *c = open_after(1000000);
    for (uint64_t n = 1; n <= 50000; n++) {
        supersede(c, ORDERS, n, 100000 + n);
    }
    columns_pin *pin = columns_pin_open(c);
    uint64_t before = columns_bytes(c);
    columns_superseded_forget(c, ORDERS, 100000);
    assert_int_equal(columns_bytes(c), before);
    columns_superseded_forget(c, ORDERS, 149000);
    assert_int_equal(columns_bytes(c), bytes_held(c));
    columns_superseded pair;
    assert_int_equal(columns_superseded_read(c, ORDERS, 0, UINT64_MAX, 0, &pair, 1), 1);
    assert_int_equal(pair.seq, 49001);
    for (uint64_t n = 1; n <= 50000; n++) {
        assert_false(newest(c, ORDERS, n, 150000));
        assert_int_equal(newest(c, ORDERS, n, 149500), n > 49500);
        assert_int_equal(columns_superseded_by(c, ORDERS, n, 150000), n > 49000 ? 100000 + n : 0);
    }
    /* What readers could be looking at goes with the last pin that was there. */
    columns_pin *later = columns_pin_open(c);
    uint64_t with_pin = columns_bytes(c);
    columns_pin_close(&pin);
    assert_true(columns_bytes(c) < with_pin && columns_bytes(c) < before / 10);
    assert_int_equal(columns_bytes(c), bytes_held(c));
    columns_pin_close(&later);
    supersede(c, ORDERS, 60000, 160000);
    assert_false(newest(c, ORDERS, 60000, 160000));
    assert_false(newest(c, ORDERS, 50000, 160000));
    columns_close(&c);
}

/* --- the writer's part --- */

typedef struct asked {
    uint64_t calls, at, answer;
    char key[64];
    bool away;
} asked;

static tape_status answer(void *context, const tape_table_info *table, slice key, uint64_t at,
                          uint64_t *seq, tape_error *error) {
    asked *a = context;
    a->calls++;
    a->at = at;
    assert_int_equal(table->id, ORDERS);
    assert_true(key.size < sizeof a->key);
    memset(a->key, 0, sizeof a->key);
    memcpy(a->key, key.data, key.size);
    *seq = a->answer;
    return a->away ? error_set(error, TAPE_IO, "away") : TAPE_OK;
}

static tape_status put_order(columns *c, const char *id, uint64_t seq, tape_error *error) {
    tape_order order = {.instrument_id = "IF2601"};
    memcpy(order.order_id, id, strlen(id));
    record_view view = view_of(ORDERS, &order, seq, 1);
    return columns_apply(c, &view, 1, error);
}

static void superseded_archived_rows_are_asked_for_once_per_key_and_base(void **state) {
    (void)state;
    asked a = {.answer = 40};
    const columns_options options = {
        .bytes_max = GIB(1), .base_seq = 50, .archived = answer, .archived_context = &a};
    columns *c;
    tape_error error;
    assert_int_equal(columns_create(&c, &options, &error), TAPE_OK);
    assert_int_equal(put_order(c, "order-1", 51, &error), TAPE_OK);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.at, 50);
    assert_string_equal(a.key + 1, "order-1");
    assert_false(newest(c, ORDERS, 40, 51));
    assert_true(newest(c, ORDERS, 40, 50));
    assert_int_equal(put_order(c, "order-1", 52, &error), TAPE_OK);
    assert_int_equal(a.calls, 1);
    a.answer = 0;
    assert_int_equal(put_order(c, "order-2", 53, &error), TAPE_OK);
    assert_int_equal(a.calls, 2);

    take_over(c, 53);
    a.answer = 52;
    assert_int_equal(put_order(c, "order-1", 54, &error), TAPE_OK);
    assert_int_equal(a.calls, 3);
    assert_int_equal(a.at, 53);
    assert_int_equal(columns_superseded_by(c, ORDERS, 52, 54), 54);
    assert_int_equal(columns_superseded_by(c, ORDERS, 51, 54), 0);

    a.away = true;
    assert_int_equal(put_order(c, "order-2", 55, &error), TAPE_IO);
    assert_string_equal(error.text, "away");
    assert_int_equal(columns_seq(c), 54);
    a.away = false;
    a.answer = 53;
    assert_int_equal(put_order(c, "order-2", 55, &error), TAPE_OK);
    assert_int_equal(columns_seq(c), 55);
    assert_int_equal(columns_rows(c, ORDERS), 2);
    assert_false(newest(c, ORDERS, 53, 55));
    columns_close(&c);
}

/* What a failed record put into the text heaps is written over, however often it is tried. */
static void superseded_look_ups_that_fail_leave_nothing_behind(void **state) {
    (void)state;
    asked a = {.away = true};
    const columns_options options = {
        .bytes_max = GIB(1), .base_seq = 50, .archived = answer, .archived_context = &a};
    columns *c;
    tape_error error;
    assert_int_equal(columns_create(&c, &options, &error), TAPE_OK);
    for (uint32_t n = 0; n < 3 * COLUMNS_CHUNK_ROWS; n++) {
        assert_int_equal(put_order(c, "order-of-forty-bytes-that-fills-its-field", 51, &error),
                         TAPE_IO);
    }
    assert_true(columns_bytes(c) < MIB(1));
    a.away = false;
    assert_int_equal(put_order(c, "order", 51, &error), TAPE_OK);
    columns_text text;
    columns_read(c, ORDERS, 2, 0, NULL, 1, &text);
    text_equal(&text, "order\0\0", 8);
    columns_close(&c);
}

static void superseded_rows_that_are_handed_over_are_told_without_a_gap(void **state) {
    (void)state;
    columns *c = open_after(0);
    tape_error error;
    /* a: 1, 4, 9; b: 2, 8; d: 3, 10. The archive is about to take 1 .. 6. */
    const char *const keys[] = {"a", "b", "d", "a", "e", "f", "g", "b", "a", "d"};
    for (uint64_t n = 0; n < 9; n++) {
        assert_int_equal(put_order(c, keys[n], n + 1, &error), TAPE_OK);
    }
    assert_int_equal(columns_hand_over(c, 6, &error), TAPE_OK);
    assert_int_equal(put_order(c, keys[9], 10, &error), TAPE_OK);
    const columns_superseded want[] = {{2, 8}, {4, 9}, {3, 10}};
    columns_superseded pairs[8];
    assert_int_equal(columns_superseded_read(c, ORDERS, 0, 100, 0, pairs, 8), 3);
    assert_memory_equal(pairs, want, sizeof want);
    assert_true(newest(c, ORDERS, 1, 10)); /* superseded within: its file tells */
    /* The take failed; the next one goes less far, and needs one pair more. */
    assert_int_equal(columns_hand_over(c, 3, &error), TAPE_OK);
    assert_int_equal(columns_superseded_by(c, ORDERS, 1, 10), 4);
    assert_int_equal(columns_superseded_read(c, ORDERS, 0, 100, 0, pairs, 8), 4);
    assert_int_equal(columns_hand_over(c, 3, &error), TAPE_OK);
    assert_int_equal(columns_superseded_read(c, ORDERS, 0, 100, 0, pairs, 8), 4);
    columns_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(superseded_rows_are_told_from_the_seq_they_were_superseded_at),
        cmocka_unit_test(superseded_rows_are_found_among_many),
        cmocka_unit_test(superseded_pairs_are_read_in_pages),
        cmocka_unit_test(superseded_pairs_that_are_forgotten_stay_marked_and_free_memory),
        cmocka_unit_test(superseded_archived_rows_are_asked_for_once_per_key_and_base),
        cmocka_unit_test(superseded_look_ups_that_fail_leave_nothing_behind),
        cmocka_unit_test(superseded_rows_that_are_handed_over_are_told_without_a_gap),
    };
    return cmocka_run_group_tests_name("columns_superseded", tests, NULL, NULL);
}
