#include "identifier.h"
#include "record_testing.h"

static const tape_table_info *named(const char *name) {
    return record_table_named(name);
}

static tape_trade good_trade(void) {
    return (tape_trade){.ts = 1,
                        .trade_id = "3735683259",
                        .instrument_id = "BTCUSDT",
                        .side = TAPE_SIDE_SELL,
                        .price = 61837.63,
                        .volume = 0.02};
}

static void record_validate_accepts_random_records_of_every_table(void **state) {
    (void)state;
    uint64_t seed = 11;
    tape_error error;
    for (int round = 0; round < 5000; round++) {
        const tape_table_info *table = record_table((uint16_t)(1 + round % TAPE_TABLE_COUNT));
        any_record r;
        random_record(table, &seed, &r);
        if (record_validate(table, &r, &error) != TAPE_OK) {
            fail_msg("%s", error.text);
        }
    }
}

static void record_validate_accepts_any_seq_and_time_and_a_null_error(void **state) {
    (void)state;
    tape_trade t = good_trade();
    t.seq = UINT64_MAX;
    t.ts = INT64_MIN;
    assert_int_equal(record_validate(named("trades"), &t, NULL), TAPE_OK);
    t.price = NAN;
    assert_int_equal(record_validate(named("trades"), &t, NULL), TAPE_INVALID);
}

static void record_validate_refuses_every_number_that_is_not_finite(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } bad[] = {{NAN, " is nan"}, {-NAN, " is nan"}, {INFINITY, " is inf"}, {-INFINITY, " is -inf"}};
    char wanted[96];
    tape_error error;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        for (uint32_t i = 0; i < table->field_count; i++) {
            const tape_field_info *field = &table->fields[i];
            if (field->kind != TAPE_FIELD_F64) {
                continue;
            }
            for (uint32_t j = 0; j < field->count * COUNT_OF(bad); j++) {
                any_record r;
                uint32_t element = j / COUNT_OF(bad);
                minimal_record(table, &r);
                memcpy(r.bytes + field->offset + element * sizeof(double),
                       &bad[j % COUNT_OF(bad)].value, sizeof(double));
                if (field->count > 1) {
                    (void)snprintf(wanted, sizeof wanted, "%s.%s[%u]%s", table->name, field->name,
                                   element, bad[j % COUNT_OF(bad)].text);
                } else {
                    (void)snprintf(wanted, sizeof wanted, "%s.%s%s", table->name, field->name,
                                   bad[j % COUNT_OF(bad)].text);
                }
                check_invalid(record_validate(table, &r, &error), &error, wanted);
            }
        }
    }
}

static void record_validate_accepts_the_extreme_finite_numbers(void **state) {
    (void)state;
    static const double values[] = {0.0,
                                    -0.0,
                                    5e-324,
                                    -5e-324,
                                    1.7976931348623157e308,
                                    -1.7976931348623157e308,
                                    2.2250738585072014e-308};
    for (size_t i = 0; i < COUNT_OF(values); i++) {
        tape_trade t = good_trade();
        t.price = values[i];
        assert_int_equal(record_validate(named("trades"), &t, NULL), TAPE_OK);
    }
}

static void record_validate_refuses_enumeration_values_beyond_the_last(void **state) {
    (void)state;
    char wanted[64];
    tape_error error;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        for (uint32_t i = 0; i < table->field_count; i++) {
            const tape_field_info *field = &table->fields[i];
            for (unsigned value = 0; field->kind == TAPE_FIELD_ENUM && value < 256; value++) {
                any_record r;
                minimal_record(table, &r);
                r.bytes[field->offset] = (uint8_t)value;
                tape_status status = record_validate(table, &r, &error);
                if (value < field->enum_count) {
                    assert_int_equal(status, TAPE_OK);
                    continue;
                }
                (void)snprintf(wanted, sizeof wanted, "%s.%s is %u", table->name, field->name,
                               value);
                check_invalid(status, &error, wanted);
            }
        }
    }
}

static void record_validate_refuses_an_empty_part_of_a_key(void **state) {
    (void)state;
    tape_error error;
    char wanted[64];
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        for (uint32_t i = 0; i < table->key_count; i++) {
            const tape_field_info *field = &table->fields[table->key_fields[i]];
            any_record r;
            minimal_record(table, &r);
            assert_int_equal(record_validate(table, &r, &error), TAPE_OK);
            if (field->kind != TAPE_FIELD_ID) {
                continue;
            }
            r.bytes[field->offset] = 0;
            (void)snprintf(wanted, sizeof wanted, "%s.%s is empty", table->name, field->name);
            check_invalid(record_validate(table, &r, &error), &error, wanted);
        }
    }
}

static void record_validate_refuses_identifiers_by_rule(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t size;
        const char *wanted; /* NULL: good */
    } ids[] = {
        {"plain", 5, NULL},
        {"1234567890123456789012345678901234567890", 40, NULL},
        {"with space", 10, NULL},
        {"\xc3\xa9t\xc3\xa9 \xe6\xb2\xaa \xf0\x9f\x93\x88", 14, NULL},
        {"\xc2\xa0", 2, NULL},         /* the first after the C1 controls */
        {"\xed\x9f\xbf", 3, NULL},     /* the last before the surrogates */
        {"\xf4\x8f\xbf\xbf", 4, NULL}, /* the last code point */
        {"a\tb", 3, "is \"a\\x09b\": it holds a control character"},
        {"a\x7f", 2, "control character"},
        {"\xc2\x85", 2, "control character"},
        {"a\0b", 3, "bytes after its end must be zero"},
        {"a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0b", 40,
         "bytes after its end must be zero"},
        {"\0b", 2, "is empty"},
        {"\xff", 1, "is \"\\xff\": it is not valid UTF-8"},
        {"\x80", 1, "not valid UTF-8"},
        {"\xc0\x80", 2, "not valid UTF-8"},         /* overlong */
        {"\xe0\x80\xaf", 3, "not valid UTF-8"},     /* overlong */
        {"\xed\xa0\x80", 3, "not valid UTF-8"},     /* a surrogate */
        {"\xf4\x90\x80\x80", 4, "not valid UTF-8"}, /* beyond the last code point */
        {"\xf5\x80\x80\x80", 4, "not valid UTF-8"},
        {"\xc3(", 2, "not valid UTF-8"},
        {"\xc3", 1, "not valid UTF-8"}, /* cut off */
        {"123456789012345678901234567890123456789\xc3", 40, "not valid UTF-8"},
    };
    tape_error error;
    for (size_t i = 0; i < COUNT_OF(ids); i++) {
        tape_trade t = good_trade();
        memset(t.trade_id, 0, sizeof t.trade_id);
        memcpy(t.trade_id, ids[i].text, ids[i].size);
        tape_status status = record_validate(named("trades"), &t, &error);
        if (ids[i].wanted == NULL) {
            assert_int_equal(status, TAPE_OK);
        } else {
            check_invalid(status, &error, ids[i].wanted);
            check_invalid(status, &error, "trades.trade_id");
        }
    }
}

static void record_validate_refuses_reserved_bytes_that_are_not_zero(void **state) {
    (void)state;
    tape_error error;
    tape_order o = {.order_id = "1"};
    assert_int_equal(record_validate(named("orders"), &o, &error), TAPE_OK);
    o.reserved1[4] = 1;
    check_invalid(record_validate(named("orders"), &o, &error), &error, "orders.reserved1");
    o.reserved1[4] = 0;
    o.reserved2[0] = 0x80;
    check_invalid(record_validate(named("orders"), &o, &error), &error, "orders.reserved2");
    tape_instrument in = {.instrument_id = "1", .reserved1 = {0, 0, 0, 0, 0, 0, 2}};
    check_invalid(record_validate(named("instruments"), &in, &error), &error, "reserved1");
}

/* The rule again, written for reading: ASCII only, so that it needs no UTF-8. -1: not decided. */
static int oracle_id(const char *id, size_t size) {
    bool ended = false;
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)id[i];
        if (c >= 0x80) {
            return -1;
        }
        if (c == 0) {
            ended = true;
        } else if (ended || c < 0x20 || c == 0x7f) {
            return 0;
        }
    }
    return 1;
}

static void identifier_plain_agrees_with_the_rule_in_both_forms(void **state) {
    (void)state;
    uint64_t seed = 5;
    size_t sizes[] = {16, 24, 32, 40, 48, 56};
    size_t good = 0;
    for (int round = 0; round < 300000; round++) {
        char id[64] = {0};
        size_t size = sizes[random_below(&seed, COUNT_OF(sizes))];
        size_t length = random_below(&seed, size + 1);
        for (size_t i = 0; i < length; i++) {
            id[i] = (char)(0x20 + random_below(&seed, 0x5f));
        }
        if (round % 2 == 0) {
            id[random_below(&seed, size)] = (char)random_below(&seed, 256);
        }
        int wanted = oracle_id(id, size);
        assert_int_equal(identifier_plain_words(id, size), wanted == 1);
#if defined(__SSE2__)
        assert_int_equal(identifier_plain_vectors(id, size), wanted == 1);
#endif
        good += wanted == 1;
    }
    assert_in_range(good, 150000, 299000);
}

/* Whether a byte at `offset` of a minimal record may be `value`, from the field table alone. */
static bool oracle_byte(const tape_table_info *table, const any_record *r, size_t offset) {
    for (uint32_t i = 0; i < table->field_count; i++) {
        const tape_field_info *field = &table->fields[i];
        if (offset < field->offset || offset >= field->offset + field->size_bytes * field->count) {
            continue;
        }
        const char *at = (const char *)r->bytes + field->offset;
        switch (field->kind) {
        case TAPE_FIELD_U64:
        case TAPE_FIELD_TIME:
            return true;
        case TAPE_FIELD_F64:
            for (uint32_t j = 0; j < field->count; j++) {
                double value;
                memcpy(&value, at + j * sizeof value, sizeof value);
                if (!isfinite(value)) {
                    return false;
                }
            }
            return true;
        case TAPE_FIELD_ENUM:
            return (uint8_t)*at < field->enum_count;
        case TAPE_FIELD_ID:
            return oracle_id(at, field->size_bytes) == 1 && (field->is_key == 0 || *at != 0);
        }
    }
    return r->bytes[offset] == 0; /* reserved */
}

static void record_validate_decides_on_each_value_of_each_byte(void **state) {
    (void)state;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        for (size_t offset = 0; offset < table->size_bytes; offset++) {
            any_record r;
            minimal_record(table, &r);
            for (unsigned value = 0; value < 256; value++) {
                r.bytes[offset] = (uint8_t)value;
                bool wanted = oracle_byte(table, &r, offset);
                assert_int_equal(record_validate(table, &r, NULL) == TAPE_OK, wanted);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_validate_accepts_random_records_of_every_table),
        cmocka_unit_test(record_validate_accepts_any_seq_and_time_and_a_null_error),
        cmocka_unit_test(record_validate_refuses_every_number_that_is_not_finite),
        cmocka_unit_test(record_validate_accepts_the_extreme_finite_numbers),
        cmocka_unit_test(record_validate_refuses_enumeration_values_beyond_the_last),
        cmocka_unit_test(record_validate_refuses_an_empty_part_of_a_key),
        cmocka_unit_test(record_validate_refuses_identifiers_by_rule),
        cmocka_unit_test(record_validate_refuses_reserved_bytes_that_are_not_zero),
        cmocka_unit_test(identifier_plain_agrees_with_the_rule_in_both_forms),
        cmocka_unit_test(record_validate_decides_on_each_value_of_each_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
