/* Columns that drop what is archived: memory goes when nobody can need it, not before, and what is
 * left reads as it did. */
#include "columns/columns_testing.h"

#define TRADES TAPE_TABLE_TRADES
#define CHUNK ((uint64_t)COLUMNS_CHUNK_ROWS)

static uint64_t chunks_held(const columns *c, uint16_t table) {
    uint64_t held = 0;
    for (uint32_t p = 0; p < COLUMNS_CHUNK_PAGES; p++) {
        for (uint32_t k = 0; c->tables[table]->pages[p] != NULL && k < COLUMNS_CHUNKS_PER_PAGE;
             k++) {
            held += c->tables[table]->pages[p][k].chunk != NULL;
        }
    }
    return held;
}

static void columns_drop_frees_whole_chunks_and_keeps_the_rest(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    apply_trades(c, 1, 3 * CHUNK + 100);
    assert_int_equal(chunks_held(c, TRADES), 4);
    take_over(c, CHUNK - 1);
    assert_int_equal(chunks_held(c, TRADES), 4);
    assert_int_equal(columns_base(c), CHUNK - 1);
    assert_int_equal(columns_rows(c, TRADES), 2 * CHUNK + 101);
    check_trades_after(c, CHUNK - 1, 20000);
    take_over(c, CHUNK);
    assert_int_equal(chunks_held(c, TRADES), 3);
    take_over(c, 3 * CHUNK - 1);
    assert_int_equal(chunks_held(c, TRADES), 2);
    assert_int_equal(columns_row_after(c, TRADES, 3 * CHUNK - 1), 3 * CHUNK - 1);
    check_trades_after(c, 3 * CHUNK - 1, 1);
    /* The chunk that is being written stays though all of its rows may go. */
    take_over(c, 3 * CHUNK + 100);
    assert_int_equal(chunks_held(c, TRADES), 1);
    assert_int_equal(columns_rows(c, TRADES), 0);
    assert_int_equal(columns_row_after(c, TRADES, 3 * CHUNK + 100), 3 * CHUNK + 100);
    apply_trades(c, 3 * CHUNK + 101, CHUNK);
    assert_int_equal(columns_rows(c, TRADES), CHUNK);
    check_trades_after(c, 3 * CHUNK + 100, 20000);
    columns_drop(c, 5); /* the base never falls */
    assert_int_equal(columns_base(c), 3 * CHUNK + 100);
    columns_close(&c);
}

static void columns_begin_after_their_base(void **state) {
    (void)state;
    columns *c;
    tape_error error;
    const columns_options options = {.bytes_max = GIB(1), .base_seq = 1000};
    assert_int_equal(columns_create(&c, &options, &error), TAPE_OK);
    assert_int_equal(columns_seq(c), 1000);
    assert_int_equal(columns_base(c), 1000);
    apply_trades(c, 990, 20);
    assert_int_equal(columns_seq(c), 1009);
    assert_int_equal(columns_rows(c, TRADES), 9);
    assert_int_equal(columns_row_after(c, TRADES, 1000), 0);
    check_trades_after(c, 1000, 100);
    columns_close(&c);
}

static void columns_pins_keep_the_rows_after_their_base(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    columns_pin *first = columns_pin_open(c);
    apply_trades(c, 1, 2 * CHUNK);
    take_over(c, CHUNK);
    columns_pin *second = columns_pin_open(c);
    columns_pin *third = columns_pin_open(c);
    assert_int_equal(columns_pin_base(first), 0);
    assert_int_equal(columns_pin_base(second), CHUNK);
    apply_trades(c, 2 * CHUNK + 1, 2 * CHUNK);
    take_over(c, 4 * CHUNK);
    assert_int_equal(chunks_held(c, TRADES), 4);
    assert_int_equal(columns_rows(c, TRADES), 0);
    check_trades_after(c, 0, 30000);
    columns_pin_close(&second);
    assert_null(second);
    columns_pin_close(&second);
    assert_int_equal(chunks_held(c, TRADES), 4);
    columns_pin_close(&first);
    assert_int_equal(chunks_held(c, TRADES), 3);
    check_trades_after(c, CHUNK, 30000);
    columns_pin_close(&third);
    assert_int_equal(chunks_held(c, TRADES), 0);
    columns_close(&c);
}

static void columns_use_dropped_chunks_again(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    const void *blocks[3];
    apply_trades(c, 1, 3 * CHUNK);
    uint64_t before = columns_bytes(c);
    for (uint64_t k = 0; k < 3; k++) {
        blocks[k] = table_chunk(c->tables[TRADES], k * CHUNK)->block;
    }
    take_over(c, 3 * CHUNK);
    assert_true(columns_bytes(c) < before / 4);
    assert_int_equal(c->stock_bytes, stock_held(c));
    apply_trades(c, 3 * CHUNK + 1, 3 * CHUNK);
    for (uint64_t k = 3; k < 6; k++) {
        const void *block = table_chunk(c->tables[TRADES], k * CHUNK)->block;
        assert_true(block == blocks[0] || block == blocks[1] || block == blocks[2]);
    }
    assert_int_equal(c->stock_bytes, 0);
    assert_true(columns_bytes(c) <= before + 3 * COLUMNS_TEXT_BLOCK_BYTES);
    assert_int_equal(columns_bytes(c), bytes_held(c));
    check_trades_after(c, 3 * CHUNK, 30000);
    columns_close(&c);
}

/* At the limit the writer is told to wait; when rows have been dropped the same records go in. */
static void columns_go_on_after_busy_once_rows_were_dropped(void **state) {
    (void)state;
    columns *c = open_columns(MIB(40));
    tape_error error;
    uint64_t rounds = 0;
    for (uint64_t next = 1; next < 12 * CHUNK;) {
        tape_status status = try_trades(c, next, 10000, &error);
        next = columns_seq(c) + 1;
        assert_true(columns_bytes(c) + c->stock_bytes <= MIB(40));
        if (status == TAPE_OK) {
            continue;
        }
        assert_int_equal(status, TAPE_BUSY);
        assert_true(next - 1 - columns_base(c) > CHUNK);
        check_trades_after(c, columns_base(c), 50000);
        rounds++;
        take_over(c, columns_base(c) + (next - 1 - columns_base(c)) / (1 + rounds % 3));
        assert_int_equal(columns_bytes(c), bytes_held(c));
        assert_int_equal(c->stock_bytes, stock_held(c));
    }
    assert_true(rounds >= 3);
    columns_close(&c);
}

/* One table's stock is freed when another needs the memory. */
static void columns_free_the_stock_when_memory_is_short(void **state) {
    (void)state;
    columns *c = open_columns(MIB(64));
    apply_trades(c, 1, 2 * CHUNK);
    take_over(c, 2 * CHUNK);
    assert_true(c->stock_bytes > MIB(10));
    tape_error error;
    tape_status status = TAPE_OK;
    for (uint64_t seq = 2 * CHUNK + 1; status == TAPE_OK; seq++) {
        tape_depth depth = {.instrument_id = "IF2601"};
        record_view view = view_of(TAPE_TABLE_DEPTH, &depth, seq, 1);
        status = columns_apply(c, &view, 1, &error);
        assert_true(columns_bytes(c) + c->stock_bytes <= MIB(64));
    }
    assert_int_equal(status, TAPE_BUSY);
    assert_int_equal(c->stock_bytes, 0);
    assert_true(columns_bytes(c) > MIB(63));
    columns_close(&c);
}

static void columns_account_for_every_byte(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    uint64_t random = 7;
    uint64_t seq = 0;
    for (uint32_t round = 0; round < 20; round++) {
        uint64_t rows = random_below(&random, 20000);
        for (uint64_t n = 0; n < rows; n++) {
            tape_order order = {.instrument_id = "IF2601"};
            tape_position position = {.instrument_id = "IF2601"};
            put_id(order.order_id, sizeof order.order_id, "o", random_below(&random, 30000), 18);
            put_id(order.user_id, sizeof order.user_id, "user", random_below(&random, 3000), 20);
            memcpy(position.user_id, order.user_id, sizeof position.user_id);
            record_view views[2] = {view_of(TAPE_TABLE_ORDERS, &order, seq + 1, 1),
                                    view_of(TAPE_TABLE_POSITIONS, &position, seq + 2, 1)};
            seq += 2;
            apply(c, views, 2);
        }
        assert_int_equal(columns_bytes(c), bytes_held(c));
        if (round % 5 == 4) {
            take_over(c, seq - random_below(&random, seq - columns_base(c)));
            assert_int_equal(columns_bytes(c), bytes_held(c));
            assert_int_equal(c->stock_bytes, stock_held(c));
        }
    }
    columns_close(&c);
}

/* Orders come and go until row numbers have passed 2^32 and the directory has gone round. */
static void check_far_rows(uint64_t first_chunk) {
    columns *c = open_columns(GIB(1));
    uint32_t selected[VECTOR];
    start_rows_at(c, first_chunk);
    const uint64_t first = first_chunk * CHUNK;
    const uint64_t keys = 1000;
    for (uint64_t seq = 1; seq <= 2 * CHUNK; seq++) {
        tape_order order = {.instrument_id = "IF2601"};
        put_id(order.order_id, sizeof order.order_id, "order", seq % keys, 18);
        record_view view = view_of(TAPE_TABLE_ORDERS, &order, seq, 1);
        apply(c, &view, 1);
        if (seq % 50000 == 0) {
            take_over(c, seq - 10000);
        }
        if (seq % 30011 == 0 && seq > columns_base(c)) {
            uint64_t newest = 0;
            uint64_t row = columns_row_after(c, TAPE_TABLE_ORDERS, columns_base(c));
            assert_int_equal(row, first + columns_base(c));
            while (row < first + seq) {
                uint64_t run = CHUNK - row % CHUNK;
                run = run < VECTOR ? run : VECTOR;
                run = run < first + seq - row ? run : first + seq - row;
                newest += columns_newest(c, TAPE_TABLE_ORDERS, row, (uint32_t)run, seq, selected);
                row += run;
            }
            assert_int_equal(newest, seq - columns_base(c) < keys ? seq - columns_base(c) : keys);
        }
    }
    columns_close(&c);
}

static void columns_rows_may_be_numbered_beyond_32_bits(void **state) {
    (void)state;
    check_far_rows((UINT64_C(1) << 32) / CHUNK - 1);
    check_far_rows((uint64_t)COLUMNS_CHUNK_PAGES * COLUMNS_CHUNKS_PER_PAGE - 1);
}

static void put_orders(columns *c, uint64_t seq, uint64_t first, uint64_t count) {
    for (uint64_t n = 0; n < count; n++) {
        tape_order order = {.instrument_id = "IF2601"};
        put_id(order.order_id, sizeof order.order_id, "o", first + n, 12);
        record_view view = view_of(TAPE_TABLE_ORDERS, &order, seq + n, 1);
        apply(c, &view, 1);
    }
}

/* Dead keys leave the index, and those among them that live are found as before. */
static void columns_sweep_dead_keys_and_no_others(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    const column_table *t = c->tables[TAPE_TABLE_ORDERS];
    const uint64_t keys = 60000;
    uint64_t taken = 0;
    put_orders(c, 1, 1, keys);
    assert_int_equal(t->newest_sweep, (keys + COLUMNS_STEP_ROWS - 1) / COLUMNS_STEP_ROWS);
    /* The first half of the keys dies. */
    take_over(c, keys / 2);
    put_orders(c, keys + 1, keys + 1, 1);
    for (uint32_t s = 0; s < NEWEST_SHARDS; s++) {
        newest_sweep(c->tables[TAPE_TABLE_ORDERS]);
    }
    for (uint32_t s = 0; s < NEWEST_SHARDS; s++) {
        taken += t->newest[s].taken;
    }
    assert_int_equal(taken, keys / 2 + 1);
    /* The other half gets another version each. */
    put_orders(c, keys + 2, keys / 2 + 1, keys / 2);
    uint64_t newest = 0;
    for (uint64_t row = keys / 2; row < keys; row += 2000) {
        uint32_t selected[2000];
        newest += columns_newest(c, TAPE_TABLE_ORDERS, row, 2000, columns_seq(c), selected);
    }
    assert_int_equal(newest, 0);
    columns_close(&c);
}

/* --- hints --- */

static void columns_chunks_are_told_apart_by_time_and_instrument(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    tape_tick ticks[2] = {0};
    record_view views[2];
    for (uint64_t seq = 1; seq <= 2 * CHUNK; seq += 2) {
        for (uint64_t n = 0; n < 2; n++) {
            /* Chunk 0: a0 .. a99 at 0 .. 122879; chunk 1: b0 .. b99 from 1000000 on. */
            uint64_t number = (seq - 1) / CHUNK;
            put_id(ticks[n].instrument_id, sizeof ticks[n].instrument_id, number == 0 ? "a" : "b",
                   (seq + n) % 100, 3 + (seq + n) % 2);
            views[n] = view_of(TAPE_TABLE_TICKS, &ticks[n], seq + n,
                               (int64_t)((seq + n - 1) % CHUNK + number * 1000000));
        }
        apply(c, views, 2);
    }
    const columns_hint any = {.ts_min = INT64_MIN, .ts_max = INT64_MAX};
    const struct {
        int64_t ts_min, ts_max;
        bool wanted[2];
    } times[] = {{0, 0, {true, false}},
                 {122879, 999999, {true, false}},
                 {122880, 999999, {false, false}},
                 {122880, 1000000, {false, true}},
                 {1122879, INT64_MAX, {false, true}},
                 {1122880, INT64_MAX, {false, false}},
                 {INT64_MIN, -1, {false, false}}};
    for (uint64_t k = 0; k < 2; k++) {
        assert_true(columns_chunk_wanted(c, TAPE_TABLE_TICKS, k * CHUNK + 7, NULL));
        assert_true(columns_chunk_wanted(c, TAPE_TABLE_TICKS, k * CHUNK, &any));
        for (size_t n = 0; n < COUNT_OF(times); n++) {
            const columns_hint hint = {.ts_min = times[n].ts_min, .ts_max = times[n].ts_max};
            assert_int_equal(columns_chunk_wanted(c, TAPE_TABLE_TICKS, k * CHUNK, &hint),
                             times[n].wanted[k]);
        }
    }
    uint32_t mistaken = 0;
    for (uint64_t n = 0; n < 100; n++) {
        char a[17] = {0}, b[17] = {0};
        put_id(a, sizeof a, "a", n, 3 + n % 2);
        put_id(b, sizeof b, "b", n, 3 + n % 2);
        const char *const only_a[] = {a}, *const both[] = {b, a};
        columns_hint hint = any;
        hint.instruments = only_a;
        hint.instrument_count = 1;
        assert_true(columns_chunk_wanted(c, TAPE_TABLE_TICKS, 0, &hint));
        mistaken += columns_chunk_wanted(c, TAPE_TABLE_TICKS, CHUNK, &hint);
        hint.instruments = both;
        hint.instrument_count = 2;
        assert_true(columns_chunk_wanted(c, TAPE_TABLE_TICKS, 0, &hint));
        assert_true(columns_chunk_wanted(c, TAPE_TABLE_TICKS, CHUNK, &hint));
        hint.instrument_count = 0;
        assert_false(columns_chunk_wanted(c, TAPE_TABLE_TICKS, 0, &hint));
    }
    assert_true(mistaken < 20);
    const char *const long_name[] = {"an-instrument-with-a-name-longer-than-any-that-can-be"};
    const columns_hint too_long = {
        .ts_min = INT64_MIN, .ts_max = INT64_MAX, .instruments = long_name, .instrument_count = 1};
    assert_false(columns_chunk_wanted(c, TAPE_TABLE_TICKS, 0, &too_long));
    columns_close(&c);
}

static void columns_hints_hold_in_chunks_that_are_used_again(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    const char *const trade_13[] = {"i0000000000000"}, *const other[] = {"IF2601"};
    apply_trades(c, 1, 2 * CHUNK);
    take_over(c, 2 * CHUNK);
    columns_hint hint = {
        .ts_min = 0, .ts_max = INT64_MAX, .instruments = other, .instrument_count = 1};
    for (uint64_t seq = 2 * CHUNK + 1; seq <= 2 * CHUNK + 10; seq++) {
        tape_trade t = {.trade_id = "t", .instrument_id = "IF2601"};
        record_view view = view_of(TRADES, &t, seq, 5);
        apply(c, &view, 1);
    }
    assert_true(table_chunk(c->tables[TRADES], 2 * CHUNK)->used);
    assert_true(columns_chunk_wanted(c, TRADES, 2 * CHUNK, &hint));
    hint.ts_min = 6;
    assert_false(columns_chunk_wanted(c, TRADES, 2 * CHUNK, &hint));
    hint.ts_min = 0;
    hint.instruments = trade_13;
    assert_false(columns_chunk_wanted(c, TRADES, 2 * CHUNK, &hint));
    columns_close(&c);
}

/* --- codes --- */

static void columns_codes_stand_for_the_texts_of_rows(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    static uint32_t codes[VECTOR], selected[VECTOR];
    static columns_text texts[VECTOR];
    apply_trades(c, 1, CHUNK + 5000);
    const tape_table_info *info = record_table(TRADES);
    uint32_t coded = 0;
    for (uint32_t f = 0; f < info->field_count; f++) {
        if (!columns_coded(c, TRADES, f)) {
            continue;
        }
        coded++;
        uint32_t count = columns_code_count(c, TRADES, f);
        for (uint32_t i = 0; i < VECTOR; i++) {
            selected[i] = i * 2;
        }
        for (uint32_t pass = 0; pass < 2; pass++) {
            const uint32_t *chosen = pass == 0 ? NULL : selected;
            columns_codes(c, TRADES, f, CHUNK, chosen, VECTOR, codes);
            columns_read(c, TRADES, f, CHUNK, chosen, VECTOR, texts);
            for (uint32_t i = 0; i < VECTOR; i++) {
                assert_true(codes[i] < count);
                assert_memory_equal(columns_code_text(c, TRADES, f, codes[i]), &texts[i],
                                    sizeof texts[i]);
            }
        }
    }
    assert_int_equal(coded, 2);
    columns_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_drop_frees_whole_chunks_and_keeps_the_rest),
        cmocka_unit_test(columns_begin_after_their_base),
        cmocka_unit_test(columns_pins_keep_the_rows_after_their_base),
        cmocka_unit_test(columns_use_dropped_chunks_again),
        cmocka_unit_test(columns_go_on_after_busy_once_rows_were_dropped),
        cmocka_unit_test(columns_free_the_stock_when_memory_is_short),
        cmocka_unit_test(columns_account_for_every_byte),
        cmocka_unit_test(columns_rows_may_be_numbered_beyond_32_bits),
        cmocka_unit_test(columns_sweep_dead_keys_and_no_others),
        cmocka_unit_test(columns_chunks_are_told_apart_by_time_and_instrument),
        cmocka_unit_test(columns_hints_hold_in_chunks_that_are_used_again),
        cmocka_unit_test(columns_codes_stand_for_the_texts_of_rows),
    };
    return cmocka_run_group_tests_name("columns_drop", tests, NULL, NULL);
}
