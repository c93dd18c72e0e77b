/* Columns against trivial models: what was applied is what readers see, at every seq. */
#include "columns/columns_testing.h"
#include "os/os.h"

static uint32_t select_every_third(uint32_t *selected, uint32_t rows) {
    uint32_t count = 0;
    for (uint32_t i = 1; i < rows; i += 3) {
        selected[count++] = i;
    }
    return count;
}

static void columns_rows_read_back_as_they_were_applied(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    uint64_t rows = 2 * COLUMNS_CHUNK_ROWS + 5000;
    apply_trades(c, 1, rows);
    assert_int_equal(columns_seq(c), rows);
    assert_int_equal(columns_rows(c, TAPE_TABLE_TRADES), rows);
    assert_int_equal(columns_rows(c, TAPE_TABLE_ORDERS), 0);
    const uint64_t starts[] = {0,
                               7,
                               COLUMNS_CHUNK_ROWS - VECTOR,
                               COLUMNS_CHUNK_ROWS,
                               2 * COLUMNS_CHUNK_ROWS,
                               rows - VECTOR};
    for (size_t n = 0; n < COUNT_OF(starts); n++) {
        uint32_t selected[VECTOR];
        uint32_t count = select_every_third(selected, VECTOR);
        check_trades(c, starts[n], starts[n] + 1, NULL, VECTOR);
        check_trades(c, starts[n], starts[n] + 1, selected, count);
    }
    check_trades(c, rows - 1, rows, NULL, 1);
    columns_close(&c);
    assert_null(c);
}

static void columns_row_after_is_right_at_every_seq(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    tape_tick tick = {.instrument_id = "IF2601"};
    uint64_t random = 1;
    uint64_t seqs[500];
    uint64_t seq = 0;
    for (size_t n = 0; n < COUNT_OF(seqs); n++) {
        seq += 1 + random_next(&random) % 4;
        seqs[n] = seq;
        record_view view = view_of(TAPE_TABLE_TICKS, &tick, seq, 1);
        apply(c, &view, 1);
    }
    size_t below = 0;
    for (uint64_t at = 0; at <= seq + 2; at++) {
        while (below < COUNT_OF(seqs) && seqs[below] <= at) {
            below++;
        }
        assert_int_equal(columns_row_after(c, TAPE_TABLE_TICKS, at), below);
    }
    columns_close(&c);
}

static void columns_keep_arrays_of_doubles(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    for (uint64_t seq = 1; seq <= 3000; seq++) {
        tape_depth d = {.instrument_id = "IF2601"};
        for (int level = 0; level < 10; level++) {
            d.bid_price[level] = (double)seq + level;
            d.ask_volume[level] = (double)seq * level;
        }
        record_view view = view_of(TAPE_TABLE_DEPTH, &d, seq, 1);
        apply(c, &view, 1);
    }
    static double out[VECTOR][10];
    const uint32_t selected[] = {0, 5, 2047};
    columns_read(c, TAPE_TABLE_DEPTH, 3, 100, NULL, VECTOR, out);
    assert_true(out[17][9] == 118 + 9);
    columns_read(c, TAPE_TABLE_DEPTH, 6, 100, selected, 3, out);
    assert_true(out[1][3] == 106 * 3 && out[2][9] == 2148 * 9);
    columns_close(&c);
}

/* --- entities --- */

#define VERSIONS 3000u

/* The newest rows at `seq` must be exactly those of the model: per key the last with a seq <=
 * `seq`. */
static void check_newest(const columns *c, uint16_t table, const uint32_t *keys,
                         const uint64_t *seqs, uint64_t seq) {
    static uint32_t selected[VERSIONS];
    static bool newest[VERSIONS];
    uint64_t rows = columns_row_after(c, table, seq);
    bool seen[64] = {false};
    uint32_t want = 0;
    memset(newest, 0, sizeof newest);
    for (uint64_t row = VERSIONS; row-- > 0;) {
        if (seqs[row] <= seq && !seen[keys[row]]) {
            seen[keys[row]] = true;
            newest[row] = true;
            want++;
        }
    }
    uint32_t found = rows == 0 ? 0 : columns_newest(c, table, 0, (uint32_t)rows, seq, selected);
    assert_int_equal(found, want);
    for (uint32_t i = 0; i < found; i++) {
        assert_true(newest[selected[i]]);
        assert_true(i == 0 || selected[i] > selected[i - 1]);
    }
}

static void fill_entity(uint16_t table, uint32_t key, void *out) {
    memset(out, 0, TAPE_RECORD_BYTES_MAX);
    if (table == TAPE_TABLE_ORDERS) {
        put_id(((tape_order *)out)->order_id, 40, "o", key, 3 + key % 37);
    } else if (table == TAPE_TABLE_POSITIONS) {
        put_id(((tape_position *)out)->user_id, 32, "u", key / 8, 20);
        put_id(((tape_position *)out)->instrument_id, 16, "i", key % 8, 5);
    } else {
        put_id(((tape_account *)out)->user_id, 32, "u", key, 3 + key % 29);
    }
}

static void columns_newest_is_right_at_every_seq(void **state) {
    (void)state;
    const uint16_t tables[] = {TAPE_TABLE_ORDERS, TAPE_TABLE_ACCOUNTS, TAPE_TABLE_POSITIONS};
    for (size_t t = 0; t < COUNT_OF(tables); t++) {
        columns *c = open_columns(GIB(1));
        static uint32_t keys[VERSIONS];
        static uint64_t seqs[VERSIONS];
        uint64_t random = tables[t];
        uint64_t seq = 0;
        for (uint32_t row = 0; row < VERSIONS; row++) {
            _Alignas(8) uint8_t payload[TAPE_RECORD_BYTES_MAX];
            seq += 1 + random_next(&random) % 2;
            seqs[row] = seq;
            keys[row] = (uint32_t)(random_next(&random) % (1 + row % 64));
            fill_entity(tables[t], keys[row], payload);
            record_view view = view_of(tables[t], payload, seq, 1);
            apply(c, &view, 1);
        }
        for (uint64_t at = 0; at <= seq + 1; at += 1 + random_next(&random) % 3) {
            check_newest(c, tables[t], keys, seqs, at);
        }
        check_newest(c, tables[t], keys, seqs, seq);
        columns_close(&c);
    }
}

static void columns_newest_holds_over_many_keys_and_chunks(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    uint32_t keys = COLUMNS_CHUNK_ROWS + 1000;
    tape_order order = {.instrument_id = "IF2601"};
    static uint32_t selected[VECTOR];
    for (uint64_t seq = 1; seq <= 2 * keys; seq++) {
        put_id(order.order_id, sizeof order.order_id, "o", seq % keys, 18);
        record_view view = view_of(TAPE_TABLE_ORDERS, &order, seq, 1);
        apply(c, &view, 1);
    }
    for (uint64_t at = keys; at <= 2 * keys; at += keys) {
        uint64_t newest = 0;
        for (uint64_t row = 0; row < at; row += VECTOR) {
            uint32_t run = at - row < VECTOR ? (uint32_t)(at - row) : VECTOR;
            newest += columns_newest(c, TAPE_TABLE_ORDERS, row, run, at, selected);
        }
        assert_int_equal(newest, keys);
    }
    columns_close(&c);
}

/* --- the cursor --- */

static void columns_seq_moves_by_whole_appends(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    tape_account account = {.user_id = "u1"};
    record_view views[3];
    for (uint64_t n = 0; n < 3; n++) {
        views[n] = view_of(TAPE_TABLE_ACCOUNTS, &account, n + 1, 1);
        views[n].flags = n < 2 ? RECORD_MORE : 0;
    }
    apply(c, views, 2);
    assert_int_equal(columns_seq(c), 0);
    assert_int_equal(columns_rows(c, TAPE_TABLE_ACCOUNTS), 0);
    apply(c, views + 2, 1);
    assert_int_equal(columns_seq(c), 3);
    assert_int_equal(columns_rows(c, TAPE_TABLE_ACCOUNTS), 3);
    columns_close(&c);
}

static void columns_pass_over_records_they_have(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    tape_account account = {.user_id = "u1"};
    record_view views[4];
    for (uint64_t n = 0; n < 4; n++) {
        views[n] = view_of(TAPE_TABLE_ACCOUNTS, &account, n + 1, 1);
        views[n].flags = n == 1 ? RECORD_MORE : 0;
    }
    apply(c, views, 2);
    assert_int_equal(columns_seq(c), 1);
    apply(c, views, 4);
    assert_int_equal(columns_seq(c), 4);
    assert_int_equal(columns_rows(c, TAPE_TABLE_ACCOUNTS), 4);
    uint32_t selected[4];
    assert_int_equal(columns_newest(c, TAPE_TABLE_ACCOUNTS, 0, 4, 4, selected), 1);
    assert_int_equal(selected[0], 3);
    columns_close(&c);
}

static void columns_take_records_of_another_version_as_upgrade_does(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    struct {
        tape_account account;
        double later;
    } newer = {.account = {.user_id = "u1", .balance = 7}, .later = 9};
    record_view view = view_of(TAPE_TABLE_ACCOUNTS, &newer, 1, 1);
    view.size = sizeof newer;
    view.version = 9;
    apply(c, &view, 1);
    double balance;
    columns_read(c, TAPE_TABLE_ACCOUNTS, 3, 0, NULL, 1, &balance);
    assert_true(balance == 7);
    columns_close(&c);
}

/* A catalogue whose accounts got a field at version 2. */
static void columns_tell_fields_that_a_row_was_written_without(void **state) {
    (void)state;
    const tape_table_info *old = record_table(TAPE_TABLE_ACCOUNTS);
    tape_field_info fields[COLUMNS_FIELDS_MAX];
    tape_table_info table = *old;
    const tape_table_info *tables[TAPE_TABLE_COUNT] = {[TAPE_TABLE_ACCOUNTS - 1] = &table};
    memcpy(fields, old->fields, old->field_count * sizeof *fields);
    fields[old->field_count] = fields[old->field_count - 1];
    fields[old->field_count].name = "bonus";
    fields[old->field_count].offset = old->size_bytes;
    fields[old->field_count].since_version = 2;
    table.fields = fields;
    table.field_count++;
    table.version = 2;
    table.size_bytes += 8;

    columns *c;
    tape_error error;
    assert_int_equal(
        columns_create_for(&c, tables, &(columns_options){.bytes_max = GIB(1)}, &error), TAPE_OK);
    struct {
        tape_account account;
        double bonus;
    } payload = {.account = {.user_id = "u1"}, .bonus = 5};
    for (uint64_t seq = 1; seq <= 6; seq++) {
        bool older = seq % 2 == 1;
        record_view view = {.table = &table,
                            .payload = &payload,
                            .size = older ? old->size_bytes : table.size_bytes,
                            .version = older ? 1 : 2,
                            .seq = seq};
        apply(c, &view, 1);
    }
    bool present[6];
    double bonus[6];
    const uint32_t selected[] = {1, 3, 5};
    uint32_t last = table.field_count - 1;
    assert_false(columns_present(c, TAPE_TABLE_ACCOUNTS, last, 0, NULL, 6, present));
    columns_read(c, TAPE_TABLE_ACCOUNTS, last, 0, NULL, 6, bonus);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(present[i], i % 2 == 1);
        assert_true(bonus[i] == (i % 2 == 1 ? 5 : 0));
    }
    assert_true(columns_present(c, TAPE_TABLE_ACCOUNTS, last, 0, selected, 3, present));
    assert_true(columns_present(c, TAPE_TABLE_ACCOUNTS, last - 1, 0, NULL, 6, present));
    columns_close(&c);
}

/* --- memory --- */

static void columns_stop_at_their_memory_limit_and_stay_readable(void **state) {
    (void)state;
    const uint64_t limits[] = {0, 1000, MIB(1), MIB(3), MIB(20)};
    for (size_t n = 0; n < COUNT_OF(limits); n++) {
        columns *c = open_columns(limits[n]);
        tape_error error;
        tape_status status = TAPE_OK;
        uint64_t seq = 0;
        while (status == TAPE_OK) {
            tape_trade trade = trade_of(seq + 1);
            record_view view = view_of(TAPE_TABLE_TRADES, &trade, seq + 1, trade.ts);
            status = columns_apply(c, &view, 1, &error);
            seq += status == TAPE_OK;
        }
        assert_int_equal(status, TAPE_BUSY);
        assert_non_null(strstr(error.text, "columns_bytes_max"));
        assert_int_equal(columns_seq(c), seq);
        assert_int_equal(columns_rows(c, TAPE_TABLE_TRADES), seq);
        assert_true(columns_bytes(c) <= limits[n]);
        assert_true(limits[n] < MIB(3) || seq > 4000);
        for (uint64_t row = 0; row < seq; row += VECTOR) {
            uint32_t count = seq - row < VECTOR ? (uint32_t)(seq - row) : VECTOR;
            check_trades(c, row, row + 1, NULL, count);
        }
        tape_trade trade = trade_of(seq + 1);
        record_view view = view_of(TAPE_TABLE_TRADES, &trade, seq + 1, trade.ts);
        assert_int_equal(columns_apply(c, &view, 1, &error), TAPE_BUSY);
        assert_int_equal(columns_seq(c), seq);
        columns_close(&c);
    }
}

static void columns_bound_dictionaries_and_keys_too(void **state) {
    (void)state;
    columns *c = open_columns(MIB(8));
    tape_error error;
    tape_status status = TAPE_OK;
    uint64_t seq = 0;
    while (status == TAPE_OK && seq < 10 * 1000 * 1000) {
        tape_account account = {0};
        put_id(account.user_id, sizeof account.user_id, "user-", seq, 32);
        record_view view = view_of(TAPE_TABLE_ACCOUNTS, &account, seq + 1, 1);
        status = columns_apply(c, &view, 1, &error);
        seq += status == TAPE_OK;
    }
    assert_int_equal(status, TAPE_BUSY);
    assert_true(columns_bytes(c) <= MIB(8));
    assert_true(seq > 20 * 1000 && columns_seq(c) == seq);
    columns_text texts[2];
    columns_read(c, TAPE_TABLE_ACCOUNTS, 2, seq - 2, NULL, 2, texts);
    tape_account account = {0};
    put_id(account.user_id, sizeof account.user_id, "user-", seq - 1, 32);
    text_equal(&texts[1], account.user_id, 32);
    columns_close(&c);
}

static void columns_hold_ten_million_trades_in_about_a_gigabyte(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    uint64_t rows = 4 * COLUMNS_CHUNK_ROWS;
    for (uint64_t n = 1; n <= rows; n++) {
        tape_trade t = {.side = TAPE_SIDE_BUY, .price = 1, .volume = 1};
        put_id(t.trade_id, sizeof t.trade_id, "", 3735683259 + n, 10);
        put_id(t.order_id, sizeof t.order_id, "s1-o", n, 12);
        put_id(t.counter_order_id, sizeof t.counter_order_id, "s1-o", n + 1, 12);
        put_id(t.user_id, sizeof t.user_id, "u", n % 1000, 5);
        put_id(t.instrument_id, sizeof t.instrument_id, "IF", n % 20, 6);
        record_view view = view_of(TAPE_TABLE_TRADES, &t, n, 1);
        apply(c, &view, 1);
    }
    assert_true(columns_bytes(c) / rows <= 107);
    columns_close(&c);
}

static void columns_of_a_small_store_cost_little(void **state) {
    (void)state;
    columns *c = open_columns(GIB(1));
    assert_int_equal(columns_bytes(c), 0);
    apply_trades(c, 1, 100);
    assert_true(columns_bytes(c) < MIB(1));
    columns_close(&c);
}

/* --- readers beside the writer --- */

#define ACCOUNTS 50u
#define TRANSFERS 60000u

typedef struct shared {
    columns *columns;
    _Atomic bool done;
    _Atomic uint64_t scans;
    _Atomic uint64_t wrong;
} shared;

/* Every append moves money from one account to another: at each seq the sum is what it was. */
static void write_transfers(shared *s) {
    double balance[ACCOUNTS] = {0};
    tape_account pair[2];
    record_view views[2];
    uint64_t random = 2;
    uint64_t seq = 0;
    for (uint32_t n = 0; n < TRANSFERS; n++) {
        uint32_t from = n < ACCOUNTS ? n : (uint32_t)(random_next(&random) % ACCOUNTS);
        uint32_t to = (from + 1 + (uint32_t)(random_next(&random) % (ACCOUNTS - 1))) % ACCOUNTS;
        double amount = (double)(random_next(&random) % 1000);
        const uint32_t who[2] = {from, to};
        balance[from] -= amount;
        balance[to] += amount;
        for (uint32_t p = 0; p < 2; p++) {
            pair[p] = (tape_account){.balance = balance[who[p]]};
            put_id(pair[p].user_id, sizeof pair[p].user_id, "user", who[p], 9 + who[p] % 8);
            seq++;
            views[p] = view_of(TAPE_TABLE_ACCOUNTS, &pair[p], seq, (int64_t)seq);
            views[p].flags = p == 0 ? RECORD_MORE : 0;
        }
        if (n % 2 == 0) {
            apply(s->columns, views, 2);
        } else {
            apply(s->columns, views, 1);
            apply(s->columns, views + 1, 1);
        }
    }
    atomic_store(&s->done, true);
}

static double sum_newest(const columns *c, uint64_t seq, uint64_t *accounts) {
    uint32_t selected[VECTOR];
    double balance[VECTOR];
    columns_text ids[VECTOR];
    double sum = 0;
    uint64_t rows = columns_row_after(c, TAPE_TABLE_ACCOUNTS, seq);
    *accounts = 0;
    for (uint64_t row = 0; row < rows; row += VECTOR) {
        uint32_t run = rows - row < VECTOR ? (uint32_t)(rows - row) : VECTOR;
        uint32_t found = columns_newest(c, TAPE_TABLE_ACCOUNTS, row, run, seq, selected);
        columns_read(c, TAPE_TABLE_ACCOUNTS, 3, row, selected, found, balance);
        columns_read(c, TAPE_TABLE_ACCOUNTS, 2, row, selected, found, ids);
        for (uint32_t i = 0; i < found; i++) {
            const char *text = ids[i].size > 12 ? ids[i].pointer : ids[i].inlined;
            *accounts += memcmp(text, "user", 4) == 0;
            sum += balance[i];
        }
    }
    return sum;
}

static void read_transfers(void *argument) {
    shared *s = argument;
    uint64_t previous = 0;
    while (!atomic_load(&s->done)) {
        uint64_t seq = columns_seq(s->columns);
        uint64_t accounts;
        bool bad = seq < previous || seq % 2 != 0 || sum_newest(s->columns, seq, &accounts) != 0 ||
                   (seq >= 2 * ACCOUNTS && accounts != ACCOUNTS);
        /* An older snapshot is still there as well. */
        bad = bad || sum_newest(s->columns, previous, &accounts) != 0;
        atomic_fetch_add(&s->wrong, bad);
        atomic_fetch_add(&s->scans, 1);
        previous = seq;
    }
}

static void columns_readers_see_whole_appends_while_the_writer_goes_on(void **state) {
    (void)state;
    shared s = {.columns = open_columns(GIB(1))};
    os_thread *threads[2];
    tape_error error;
    for (size_t n = 0; n < COUNT_OF(threads); n++) {
        assert_int_equal(os_thread_start(&threads[n], "reader", -1, read_transfers, &s, &error),
                         TAPE_OK);
    }
    write_transfers(&s);
    for (size_t n = 0; n < COUNT_OF(threads); n++) {
        os_thread_join(&threads[n]);
    }
    assert_int_equal(atomic_load(&s.wrong), 0);
    uint64_t accounts;
    assert_true(sum_newest(s.columns, columns_seq(s.columns), &accounts) == 0);
    assert_int_equal(accounts, ACCOUNTS);
    columns_close(&s.columns);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_rows_read_back_as_they_were_applied),
        cmocka_unit_test(columns_row_after_is_right_at_every_seq),
        cmocka_unit_test(columns_keep_arrays_of_doubles),
        cmocka_unit_test(columns_newest_is_right_at_every_seq),
        cmocka_unit_test(columns_newest_holds_over_many_keys_and_chunks),
        cmocka_unit_test(columns_seq_moves_by_whole_appends),
        cmocka_unit_test(columns_pass_over_records_they_have),
        cmocka_unit_test(columns_take_records_of_another_version_as_upgrade_does),
        cmocka_unit_test(columns_tell_fields_that_a_row_was_written_without),
        cmocka_unit_test(columns_stop_at_their_memory_limit_and_stay_readable),
        cmocka_unit_test(columns_bound_dictionaries_and_keys_too),
        cmocka_unit_test(columns_hold_ten_million_trades_in_about_a_gigabyte),
        cmocka_unit_test(columns_of_a_small_store_cost_little),
        cmocka_unit_test(columns_readers_see_whole_appends_while_the_writer_goes_on),
    };
    return cmocka_run_group_tests_name("columns", tests, NULL, NULL);
}
