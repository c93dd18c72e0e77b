#include "record_testing.h"

/* A field as a CSV cell would hold it. */
static size_t cell_of(const tape_field_info *field, const any_record *r, char *out) {
    const uint8_t *at = record_field_at(field, r);
    double number;
    size_t size = 0;
    switch (field->kind) {
    case TAPE_FIELD_U64:
        return 0;
    case TAPE_FIELD_TIME:
        return record_format_time((int64_t)load_u64(at), out);
    case TAPE_FIELD_F64:
        for (uint32_t i = 0; i < field->count; i++) {
            memcpy(&number, at + i * sizeof number, sizeof number);
            if (field->count > 1) {
                out[size++] = i == 0 ? '[' : ',';
            }
            size += number_format_f64(number, out + size);
        }
        if (field->count > 1) {
            out[size++] = ']';
        }
        return size;
    case TAPE_FIELD_ENUM:
        size = field->enum_names[*at] != NULL ? strlen(field->enum_names[*at]) : 0;
        memcpy(out, field->enum_names[*at] != NULL ? field->enum_names[*at] : "", size);
        return size;
    case TAPE_FIELD_ID:
        size = record_id_length(field, r);
        memcpy(out, at, size);
        return size;
    }
    return 0;
}

static void record_fields_survive_the_way_through_text(void **state) {
    (void)state;
    uint64_t seed = 51;
    for (int round = 0; round < 14000; round++) {
        const tape_table_info *table = record_table((uint16_t)(1 + round % TAPE_TABLE_COUNT));
        any_record from, to;
        tape_error error;
        random_record(table, &seed, &from);
        memset(&to, 0, sizeof to);
        for (uint32_t i = 0; i < table->field_count; i++) {
            char cell[512];
            size_t size = cell_of(&table->fields[i], &from, cell);
            if (record_field_from_text(table, &table->fields[i], cell, size, &to, &error) !=
                TAPE_OK) {
                fail_msg("%s", error.text);
            }
        }
        assert_memory_equal(&from, &to, sizeof to);
    }
}

static void record_field_from_text_of_an_empty_cell_is_the_default(void **state) {
    (void)state;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        for (uint32_t i = 0; i < table->field_count; i++) {
            const tape_field_info *field = &table->fields[i];
            any_record r;
            memset(&r, 0x11, sizeof r);
            assert_int_equal(record_field_from_text(table, field, "", 0, &r, NULL), TAPE_OK);
            for (size_t j = 0; j < sizeof r; j++) {
                bool inside = j >= field->offset &&
                              j < field->offset + (size_t)field->size_bytes * field->count;
                assert_int_equal(r.bytes[j], inside ? 0 : 0x11);
            }
        }
    }
}

static void record_field_from_text_refuses_by_name_and_value(void **state) {
    (void)state;
    static const struct {
        const char *table;
        const char *field;
        const char *text;
        const char *wanted;
    } bad[] = {
        {"trades", "seq", "5", "trades.seq is \"5\": tape gives it"},
        {"trades", "ts", "yesterday", "trades.ts is \"yesterday\": it must be a time"},
        {"trades", "ts", "2024-02-30", "trades.ts is \"2024-02-30\""},
        {"trades", "side", "sideways", "trades.side is \"sideways\": it must be one of buy, sell"},
        {"trades", "side", "BUY", "trades.side is \"BUY\""},
        {"trades", "side", "1", "trades.side is \"1\""},
        {"trades", "side", " buy", "trades.side is \" buy\""},
        {"trades", "position_effect", "closed", "must be one of none, open, close, close_today"},
        {"orders", "status", "done", "accepted, partial, filled, cancelled, rejected"},
        {"trades", "price", "nan", "trades.price is \"nan\": it must be a finite number"},
        {"trades", "volume", "inf", "trades.volume is \"inf\": it must be a finite number"},
        {"trades", "volume", "-Infinity", "trades.volume"},
        {"trades", "price", "1.5x", "trades.price is \"1.5x\": it is not a number"},
        {"trades", "price", "1 ", "trades.price is \"1 \""},
        {"trades", "price", "1,5", "trades.price is \"1,5\""},
        {"trades", "price", "1e999", "trades.price is \"1e999\""},
        {"trades", "instrument_id", "12345678901234567",
         "trades.instrument_id is \"12345678901234567\": it has 17 bytes, and the limit is 16"},
        {"trades", "trade_id", "a\nb", "trades.trade_id is \"a\\x0ab\": it holds a control"},
        {"trades", "trade_id", "\xff", "trades.trade_id is \"\\xff\": it is not valid UTF-8"},
        {"depth", "bid_price", "1", "depth.bid_price is \"1\": it must be an array"},
        {"depth", "bid_price", "[", "must be an array"},
        {"depth", "bid_price", "[1,2", "must be an array"},
        {"depth", "bid_price", "[1,,2]", "depth.bid_price is \"\": it is not a number"},
        {"depth", "bid_price", "[1,2,]", "ends in a comma"},
        {"depth", "bid_price", "[,1]", "is not a number"},
        {"depth", "bid_price", "[1,nan]", "depth.bid_price is \"nan\""},
        {"depth", "bid_price", "[1,[2]]", "depth.bid_price is \"[2]\""},
        {"depth", "bid_price", "[1,2,3,4,5,6,7,8,9,10,11]", "more than 10 elements"},
    };
    tape_error error;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const tape_table_info *table = record_table_named(bad[i].table);
        const tape_field_info *field = record_field_named(table, bad[i].field);
        any_record r, before;
        memset(&r, 0x11, sizeof r);
        before = r;
        tape_status status =
            record_field_from_text(table, field, bad[i].text, strlen(bad[i].text), &r, &error);
        check_invalid(status, &error, bad[i].wanted);
        assert_memory_equal(&r, &before, sizeof r);
    }
    const tape_table_info *trades = record_table(TAPE_TABLE_TRADES);
    any_record r;
    check_invalid(record_field_from_text(trades, &trades->fields[2], "a\0b", 3, &r, &error), &error,
                  "it holds a NUL");
}

static void record_field_from_text_reads_short_arrays_and_blanks_in_them(void **state) {
    (void)state;
    const tape_table_info *table = record_table(TAPE_TABLE_DEPTH);
    const tape_field_info *field = record_field_named(table, "ask_volume");
    static const char *const texts[] = {"[1,2.5]", "[ 1 , 2.5 ]", " [1,\t2.5] "};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        tape_depth d;
        memset(&d, 0x11, sizeof d);
        assert_int_equal(record_field_from_text(table, field, texts[i], strlen(texts[i]), &d, NULL),
                         TAPE_OK);
        assert_true(d.ask_volume[0] == 1 && d.ask_volume[1] == 2.5);
        for (size_t j = 2; j < 10; j++) {
            assert_true(d.ask_volume[j] == 0);
        }
    }
    tape_depth d = {.ask_volume = {1}};
    assert_int_equal(record_field_from_text(table, field, "[]", 2, &d, NULL), TAPE_OK);
    assert_true(d.ask_volume[0] == 0);
}

static void record_field_from_text_replaces_a_longer_identifier(void **state) {
    (void)state;
    const tape_table_info *table = record_table(TAPE_TABLE_TRADES);
    tape_trade t = {.instrument_id = "1234567890123456"};
    assert_int_equal(record_field_from_text(table, record_field_named(table, "instrument_id"), "IF",
                                            2, &t, NULL),
                     TAPE_OK);
    assert_memory_equal(t.instrument_id, "IF\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

static void record_show_is_printable_and_short(void **state) {
    (void)state;
    char out[RECORD_SHOWN_BYTES];
    assert_string_equal(record_show("abc", 3, out), "abc");
    assert_string_equal(record_show("\n\xff", 2, out), "\\x0a\\xff");
    char long_text[1000];
    memset(long_text, 'x', sizeof long_text);
    for (size_t size = 0; size < sizeof long_text; size++) {
        (void)record_show(long_text, size, out);
        size_t length = strlen(out);
        assert_true(length < sizeof out);
        assert_true(length == size || strcmp(out + length - 3, "...") == 0);
    }
}

static void record_enum_value_finds_names_and_only_those(void **state) {
    (void)state;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        for (uint32_t i = 0; i < table->field_count; i++) {
            const tape_field_info *field = &table->fields[i];
            for (int value = 0; value < field->enum_count; value++) {
                const char *name = field->enum_names[value];
                if (name != NULL) {
                    assert_int_equal(record_enum_value(field, name, strlen(name)), value);
                    assert_int_equal(record_enum_value(field, name, strlen(name) - 1), -1);
                }
            }
            assert_int_equal(record_enum_value(field, "", 0), -1);
            assert_int_equal(record_enum_value(field, "x", 1), -1);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_fields_survive_the_way_through_text),
        cmocka_unit_test(record_field_from_text_of_an_empty_cell_is_the_default),
        cmocka_unit_test(record_field_from_text_refuses_by_name_and_value),
        cmocka_unit_test(record_field_from_text_reads_short_arrays_and_blanks_in_them),
        cmocka_unit_test(record_field_from_text_replaces_a_longer_identifier),
        cmocka_unit_test(record_show_is_printable_and_short),
        cmocka_unit_test(record_enum_value_finds_names_and_only_those),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
