#include "record_testing.h"

static int compare_keys(const any_record *a, const any_record *b, const tape_table_info *table) {
    uint8_t key_a[RECORD_KEY_BYTES_MAX];
    uint8_t key_b[RECORD_KEY_BYTES_MAX];
    slice x = {key_a, record_key(table, a, key_a)};
    slice y = {key_b, record_key(table, b, key_b)};
    int order = slice_compare(x, y);
    return (order > 0) - (order < 0);
}

static int compare_fields(const any_record *a, const any_record *b, const tape_table_info *table) {
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        const uint8_t *x = record_field_at(field, a);
        const uint8_t *y = record_field_at(field, b);
        if (field->kind == TAPE_FIELD_U64) {
            if (load_u64(x) != load_u64(y)) {
                return load_u64(x) < load_u64(y) ? -1 : 1;
            }
            continue;
        }
        int order = strncmp((const char *)x, (const char *)y, field->size_bytes);
        if (order != 0) {
            return order < 0 ? -1 : 1;
        }
    }
    return 0;
}

/* Records whose keys are often equal in part, so that every field of a key decides sometimes. */
static void random_key(const tape_table_info *table, uint64_t *seed, any_record *out) {
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < table->key_count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        uint8_t *at = out->bytes + field->offset;
        if (field->kind == TAPE_FIELD_U64) {
            store_u64(at, random_next(seed) >> (8 * random_below(seed, 8)));
        } else if (random_below(seed, 2) == 0) {
            size_t length = 1 + random_below(seed, 3);
            for (size_t j = 0; j < length; j++) {
                at[j] = (uint8_t)("ab "[random_below(seed, 3)]);
            }
        } else {
            random_id(seed, (char *)at, field->size_bytes, true);
        }
    }
}

static void record_key_orders_as_the_key_fields_do(void **state) {
    (void)state;
    uint64_t seed = 21;
    size_t seen[3] = {0};
    for (int round = 0; round < 140000; round++) {
        const tape_table_info *table = record_table((uint16_t)(1 + round % TAPE_TABLE_COUNT));
        any_record a, b;
        random_key(table, &seed, &a);
        random_key(table, &seed, &b);
        if (round % 5 == 0) {
            memcpy(b.bytes + table->fields[table->key_fields[0]].offset,
                   a.bytes + table->fields[table->key_fields[0]].offset,
                   table->fields[table->key_fields[0]].size_bytes);
        }
        int wanted = compare_fields(&a, &b, table);
        assert_int_equal(compare_keys(&a, &b, table), wanted);
        seen[wanted + 1]++;
    }
    assert_true(seen[0] > 40000 && seen[1] > 10000 && seen[2] > 40000);
}

static void record_key_of_known_records_has_known_bytes(void **state) {
    (void)state;
    uint8_t key[RECORD_KEY_BYTES_MAX];
    tape_trade trade = {.seq = 9, .trade_id = "t1"};
    assert_int_equal(record_key(record_table(TAPE_TABLE_TRADES), &trade, key), 3);
    assert_memory_equal(key, "\x02t1", 3);

    tape_position position = {.user_id = "u", .instrument_id = "IF"};
    assert_int_equal(record_key(record_table(TAPE_TABLE_POSITIONS), &position, key), 1 + 32 + 2);
    assert_memory_equal(
        key, "\x04u\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0IF", 35);

    tape_tick tick = {.seq = 0x0102030405060708, .instrument_id = "IF"};
    assert_int_equal(record_key(record_table(TAPE_TABLE_TICKS), &tick, key), 9);
    assert_memory_equal(key, "\x06\x01\x02\x03\x04\x05\x06\x07\x08", 9);

    tape_order order;
    memset(&order, 'x', sizeof order);
    assert_int_equal(record_key(record_table(TAPE_TABLE_ORDERS), &order, key), 41);
}

static void record_key_from_text_equals_the_key_of_the_record(void **state) {
    (void)state;
    uint64_t seed = 22;
    for (int round = 0; round < 20000; round++) {
        const tape_table_info *table = record_table((uint16_t)(1 + round % TAPE_TABLE_COUNT));
        any_record r;
        char text[4][RECORD_KEY_BYTES_MAX];
        const char *parts[4];
        uint8_t wanted[RECORD_KEY_BYTES_MAX];
        uint8_t key[RECORD_KEY_BYTES_MAX];
        size_t size = 0;
        random_key(table, &seed, &r);
        for (uint32_t i = 0; i < table->key_count; i++) {
            const tape_field_info *field = &table->fields[table->key_fields[i]];
            const uint8_t *at = record_field_at(field, &r);
            if (field->kind == TAPE_FIELD_U64) {
                (void)snprintf(text[i], sizeof text[i], "%llu", (unsigned long long)load_u64(at));
            } else {
                (void)snprintf(text[i], sizeof text[i], "%.*s", (int)field->size_bytes,
                               (const char *)at);
            }
            parts[i] = text[i];
        }
        assert_int_equal(record_key_from_text(table, parts, table->key_count, key, &size, NULL),
                         TAPE_OK);
        assert_int_equal(size, record_key(table, &r, wanted));
        assert_memory_equal(key, wanted, size);
    }
}

static void record_key_from_text_refuses_what_cannot_be_a_key(void **state) {
    (void)state;
    static const struct {
        const char *table;
        const char *parts[3];
        size_t count;
        const char *wanted;
    } bad[] = {
        {"trades", {NULL}, 0, "a key of trades has 1 part (trade_id), not 0"},
        {"trades", {"a", "b"}, 2, "not 2"},
        {"positions", {"a"}, 1, "a key of positions has 2 parts (user_id, instrument_id), not 1"},
        {"trades", {""}, 1, "trades.trade_id is empty"},
        {"positions", {"u", ""}, 2, "positions.instrument_id is empty"},
        {"positions",
         {"u", "12345678901234567"},
         2,
         "instrument_id is \"12345678901234567\": it has 17 bytes, and the limit is 16"},
        {"trades", {"a\nb"}, 1, "control character"},
        {"trades", {"\xff"}, 1, "UTF-8"},
        {"ticks", {"x"}, 1, "ticks.seq is \"x\": it must be a number"},
        {"ticks", {"-1"}, 1, "ticks.seq is \"-1\""},
        {"ticks", {"1 "}, 1, "ticks.seq"},
        {"ticks", {"18446744073709551616"}, 1, "ticks.seq"},
        {"depth", {""}, 1, "depth.seq is empty"},
    };
    uint8_t key[RECORD_KEY_BYTES_MAX];
    size_t size;
    tape_error error;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        tape_status status = record_key_from_text(record_table_named(bad[i].table), bad[i].parts,
                                                  bad[i].count, key, &size, &error);
        check_invalid(status, &error, bad[i].wanted);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_key_orders_as_the_key_fields_do),
        cmocka_unit_test(record_key_of_known_records_has_known_bytes),
        cmocka_unit_test(record_key_from_text_equals_the_key_of_the_record),
        cmocka_unit_test(record_key_from_text_refuses_what_cannot_be_a_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
