#include "record_testing.h"

#include <tape/tape.h>

static char *json_of(const tape_table_info *table, const void *record, bool with_table) {
    buffer text = {0};
    record_to_json(table, table->version, record, with_table, &text);
    buffer_append(&text, "", 1);
    return (char *)text.data;
}

static void record_to_json_of_known_records_is_known_text(void **state) {
    (void)state;
    tape_trade t = {.seq = 1,
                    .ts = 1723161255342000000,
                    .trade_id = "3735683259",
                    .instrument_id = "BTCUSDT",
                    .side = TAPE_SIDE_BUY,
                    .price = 61837.63,
                    .volume = 0.02};
    char *text = json_of(record_table(TAPE_TABLE_TRADES), &t, true);
    assert_string_equal(text,
                        "{\"seq\":1,\"ts\":\"2024-08-08T23:54:15.342000000Z\",\"table\":\"trades\","
                        "\"trade_id\":\"3735683259\",\"order_id\":null,\"counter_order_id\":null,"
                        "\"user_id\":null,\"instrument_id\":\"BTCUSDT\",\"side\":\"buy\","
                        "\"position_effect\":\"none\",\"price\":61837.63,\"volume\":0.02}");
    free(text);

    tape_depth d = {.seq = UINT64_MAX,
                    .ts = -1,
                    .instrument_id = "a\"\\b",
                    .bid_price = {1, 2.5},
                    .ask_volume = {[9] = -0.0}};
    text = json_of(record_table(TAPE_TABLE_DEPTH), &d, false);
    assert_string_equal(text,
                        "{\"seq\":18446744073709551615,\"ts\":\"1969-12-31T23:59:59.999999999Z\","
                        "\"instrument_id\":\"a\\\"\\\\b\",\"bid_price\":[1,2.5,0,0,0,0,0,0,0,0],"
                        "\"bid_volume\":[0,0,0,0,0,0,0,0,0,0],\"ask_price\":[0,0,0,0,0,0,0,0,0,0],"
                        "\"ask_volume\":[0,0,0,0,0,0,0,0,0,-0.0]}");
    free(text);

    tape_order o = {.order_id = "1",
                    .status = TAPE_ORDER_STATUS_CANCELLED,
                    .order_type = TAPE_ORDER_TYPE_MARKET,
                    .position_effect = TAPE_POSITION_EFFECT_CLOSE_TODAY};
    text = json_of(record_table(TAPE_TABLE_ORDERS), &o, false);
    assert_string_equal(text,
                        "{\"seq\":0,\"ts\":\"1970-01-01T00:00:00.000000000Z\",\"order_id\":\"1\","
                        "\"user_id\":null,\"instrument_id\":null,\"side\":null,"
                        "\"position_effect\":\"close_today\",\"order_type\":\"market\",\"price\":0,"
                        "\"volume\":0,\"filled_volume\":0,\"status\":\"cancelled\"}");
    free(text);
}

/* Never stored, but whatever comes is JSON. */
static void record_to_json_of_a_record_that_is_not_valid_is_still_json(void **state) {
    (void)state;
    tape_account a = {.user_id = "a\x01\n", .balance = NAN, .available = INFINITY};
    char *text = json_of(record_table(TAPE_TABLE_ACCOUNTS), &a, false);
    assert_string_equal(text, "{\"seq\":0,\"ts\":\"1970-01-01T00:00:00.000000000Z\","
                              "\"user_id\":\"a\\u0001\\u000a\",\"balance\":null,\"available\":null,"
                              "\"frozen\":0,\"margin\":0}");
    free(text);
}

static void record_to_json_needs_no_more_room_than_it_reserves(void **state) {
    (void)state;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        any_record r;
        /* The longest of everything: every byte of text escaped, every number of most digits. */
        for (uint32_t i = 0; i < table->field_count; i++) {
            const tape_field_info *field = &table->fields[i];
            for (uint32_t j = 0; j < field->count; j++) {
                double number = -2.2250738585072014e-308;
                uint8_t *at = r.bytes + field->offset + j * field->size_bytes;
                memset(at, field->kind == TAPE_FIELD_ID ? 1 : 0xff, field->size_bytes);
                if (field->kind == TAPE_FIELD_F64) {
                    memcpy(at, &number, sizeof number);
                }
            }
        }
        buffer text = {0};
        for (size_t start = 0; start < 200; start++) {
            buffer_deinit(&text);
            for (size_t i = 0; i < start; i++) {
                buffer_append(&text, "x", 1);
            }
            record_to_json(table, table->version, &r, true, &text);
            assert_int_equal(text.data[text.size - 1], '}');
        }
        buffer_deinit(&text);
    }
}

/* Leaves out seq, which is not taken as input: {"seq":0,"ts": -> {"ts": */
static char *without_seq(char *text) {
    assert_memory_equal(text, "{\"seq\":0,", 9);
    text[8] = '{';
    return text + 8;
}

static void records_survive_the_way_through_json(void **state) {
    (void)state;
    uint64_t seed = 61;
    for (int round = 0; round < 14000; round++) {
        const tape_table_info *table = record_table((uint16_t)(1 + round % TAPE_TABLE_COUNT));
        any_record from, to;
        tape_error error;
        random_record(table, &seed, &from);
        memset(&to, 0, sizeof to);
        char *text = json_of(table, &from, round % 2 == 0);
        char *body = without_seq(text);
        if (record_from_json(table, body, strlen(body), &to, &error) != TAPE_OK) {
            fail_msg("%s: %s", body, error.text);
        }
        free(text);
        assert_memory_equal(&from, &to, sizeof to);
    }
}

static void record_from_json_gives_defaults_for_what_is_missing_or_null(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"trade_id\":\"1\"}",
        " {\n\"trade_id\" : \"1\" } ",
        "{\"ts\":null,\"trade_id\":\"1\",\"order_id\":null,\"side\":null,\"price\":null}",
        "{\"seq\":null,\"trade_id\":\"1\",\"position_effect\":null}",
    };
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        tape_trade t;
        tape_trade wanted = {.trade_id = "1"};
        memset(&t, 0x11, sizeof t);
        assert_int_equal(
            record_from_json(record_table(TAPE_TABLE_TRADES), texts[i], strlen(texts[i]), &t, NULL),
            TAPE_OK);
        assert_memory_equal(&t, &wanted, sizeof t);
    }
}

static void record_from_json_reads_every_form_of_a_value(void **state) {
    (void)state;
    static const char text[] =
        "{\"volume\":12,\"price\":-1.5e3,\"ts\":1723161255342000000,\"table\":\"trades\","
        "\"trade_id\":\"caf\\u00e9 \\\"x\\\"\",\"side\":\"sell\",\"position_effect\":\"close\"}";
    tape_trade t;
    tape_trade wanted = {.ts = 1723161255342000000,
                         .trade_id = "caf\xc3\xa9 \"x\"",
                         .side = TAPE_SIDE_SELL,
                         .position_effect = TAPE_POSITION_EFFECT_CLOSE,
                         .price = -1500,
                         .volume = 12};
    assert_int_equal(
        record_from_json(record_table(TAPE_TABLE_TRADES), text, sizeof text - 1, &t, NULL),
        TAPE_OK);
    assert_memory_equal(&t, &wanted, sizeof t);

    static const char large[] = "{\"trade_id\":\"1\",\"volume\":100000000000000000000}";
    assert_int_equal(
        record_from_json(record_table(TAPE_TABLE_TRADES), large, sizeof large - 1, &t, NULL),
        TAPE_OK);
    assert_true(t.volume == 1e20);

    static const char book[] = "{\"bid_price\":[3,2.5],\"ask_price\":[]}";
    tape_depth d;
    assert_int_equal(
        record_from_json(record_table(TAPE_TABLE_DEPTH), book, sizeof book - 1, &d, NULL), TAPE_OK);
    assert_true(d.bid_price[0] == 3 && d.bid_price[1] == 2.5 && d.bid_price[2] == 0);
}

static void record_from_json_refuses_by_name(void **state) {
    (void)state;
    static const struct {
        const char *table;
        const char *text;
        const char *wanted;
    } bad[] = {
        {"trades", "", "trades: not a JSON object"},
        {"trades", "x", "not a JSON object"},
        {"trades", "[]", "not a JSON object"},
        {"trades", "[{\"trade_id\":\"1\"}]", "not a JSON object"},
        {"trades", "1", "not a JSON object"},
        {"trades", "null", "not a JSON object"},
        {"trades", "\"a\"", "not a JSON object"},
        {"trades", "{", "not a JSON object"},
        {"trades", "{\"price\":}", "trades.price: not a JSON object"},
        {"trades", "{\"price\":1,}", "not a JSON object"},
        {"trades", "{\"price\":1} x", "not a JSON object"},
        {"trades", "{\"price\":1}{\"price\":1}", "not a JSON object"},
        {"trades", "{price:1}", "not a JSON object"},
        {"trades", "{'price':1}", "not a JSON object"},
        {"trades", "{\"price\":1,\"price\":2}", "price"},
        {"trades", "{\"price\":NaN}", "trades.price"},
        {"trades", "{\"price\":Infinity}", "trades.price"},
        {"trades", "{\"price\":1e999}", "trades.price: not a JSON object: real number overflow"},
        {"trades", "{\"price\":01}", "not a JSON object"},
        {"trades", "{\"price\":+1}", "trades.price"},
        {"trades", "{\"price\":.5}", "trades.price"},
        {"trades", "{\"price\":\"NaN\"}", "trades.price is \"NaN\": it must be a number"},
        {"trades", "{\"price\":\"Infinity\"}", "trades.price"},
        {"trades", "{\"price\":\"1.5\"}", "trades.price is \"1.5\": it must be a number"},
        {"trades", "{\"price\":true}", "trades.price is true: it must be a number"},
        {"trades", "{\"price\":[1]}", "trades.price is [1]: it must be a number"},
        {"trades", "{\"price\":{}}", "trades.price is {}: it must be a number"},
        {"trades", "{\"seq\":1}", "trades.seq is given: tape gives it when"},
        {"trades", "{\"seq\":\"1\"}", "trades.seq is given"},
        {"trades", "{\"ts\":1.5}", "trades.ts is 1.5: it must be a string or an integer"},
        {"trades", "{\"ts\":99999999999999999999}", "trades.ts"},
        {"trades", "{\"ts\":\"soon\"}", "trades.ts is \"soon\": it must be a time"},
        {"trades", "{\"ts\":\"2024-02-30\"}", "trades.ts is \"2024-02-30\""},
        {"trades", "{\"ts\":true}", "trades.ts is true"},
        {"trades", "{\"side\":1}", "trades.side is 1: it must be a string"},
        {"trades", "{\"side\":\"\"}", "trades.side is \"\": it must be one of buy, sell"},
        {"trades", "{\"side\":\"long\"}", "trades.side is \"long\": it must be one of buy, sell"},
        {"trades", "{\"trade_id\":5}", "trades.trade_id is 5: it must be a string"},
        {"trades", "{\"instrument_id\":\"12345678901234567\"}",
         "trades.instrument_id is \"12345678901234567\": it has 17 bytes, and the limit is 16"},
        {"trades", "{\"trade_id\":\"a\\nb\"}",
         "trades.trade_id is \"a\\x0ab\": it holds a control"},
        {"trades", "{\"trade_id\":\"a\\u0000b\"}", "not a JSON object"},
        {"trades", "{\"trade_id\":\"\\ud800\"}", "not a JSON object"},
        {"trades", "{\"trade_id\":\"\xff\"}", "not a JSON object"},
        {"trades", "{\"colour\":1}", "trades has no field \"colour\""},
        {"trades", "{\"reserved1\":1}", "trades has no field \"reserved1\""},
        {"trades", "{\"\":1}", "trades has no field \"\""},
        {"trades", "{\"table\":\"orders\"}", "\"table\" is not \"trades\""},
        {"trades", "{\"table\":2}", "\"table\" is not \"trades\""},
        {"depth", "{\"bid_price\":1}", "depth.bid_price is 1: it must be an array of numbers"},
        {"depth", "{\"bid_price\":[1,\"2\"]}", "depth.bid_price is \"2\": it must be a number"},
        {"depth", "{\"bid_price\":[1,null]}", "depth.bid_price is null: it must be a number"},
        {"depth", "{\"bid_price\":[1,[2]]}", "depth.bid_price is [2]"},
        {"depth", "{\"bid_price\":[1,2,3,4,5,6,7,8,9,10,11]}",
         "depth.bid_price has 11 elements: the limit is 10"},
    };
    tape_error error;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        any_record r;
        tape_status status = record_from_json(record_table_named(bad[i].table), bad[i].text,
                                              strlen(bad[i].text), &r, &error);
        check_invalid(status, &error, bad[i].wanted);
    }
    tape_trade t;
    check_invalid(record_from_json(record_table(TAPE_TABLE_TRADES), "{}\0", 3, &t, &error), &error,
                  "not a JSON object");
}

static void record_from_json_refuses_deep_nesting(void **state) {
    (void)state;
    size_t size = 100000;
    char *text = malloc(size);
    tape_error error;
    tape_trade t;
    assert_non_null(text);
    memset(text, '[', size);
    memcpy(text, "{\"price\":", 9);
    check_invalid(record_from_json(record_table(TAPE_TABLE_TRADES), text, size, &t, &error), &error,
                  "not a JSON object");
    free(text);
}

/* Mutations of good objects: refused by name, or a record that has the form of one. */
static void record_from_json_of_mutated_text_is_refused_or_a_record(void **state) {
    (void)state;
    static const char *const words[] = {"\"",      ":",
                                        ",",       "{",
                                        "}",       "[",
                                        "]",       "null",
                                        "1e308",   "-",
                                        "0",       "\\u0041",
                                        "\\",      "\xf0\x9f",
                                        "\n",      "\"price\":1,",
                                        "1e400",   "9223372036854775808",
                                        "\"buy\"", " "};
    uint64_t seed = 62;
    size_t good = 0;
    for (int round = 0; round < 100000; round++) {
        const tape_table_info *table = record_table((uint16_t)(1 + round % TAPE_TABLE_COUNT));
        any_record r;
        tape_error error;
        random_record(table, &seed, &r);
        char *text = json_of(table, &r, round % 3 == 0);
        char *body = without_seq(text);
        size_t size = strlen(body);
        char *exact = malloc(size + 64);
        assert_non_null(exact);
        memcpy(exact, body, size);
        free(text);
        for (size_t changes = 1 + random_below(&seed, 2); changes > 0; changes--) {
            const char *word = words[random_below(&seed, COUNT_OF(words))];
            size_t at = random_below(&seed, size);
            switch (random_below(&seed, 4)) {
            case 0:
                size = at + 1;
                break;
            case 1:
                memmove(exact + at + strlen(word), exact + at, size - at);
                memcpy(exact + at, word, strlen(word));
                size += strlen(word);
                break;
            default:
                exact[at] = (char)random_next(&seed);
                break;
            }
        }
        exact = realloc(exact, size);
        assert_non_null(exact);
        tape_status status = record_from_json(table, exact, size, &r, &error);
        free(exact);
        if (status != TAPE_OK) {
            check_invalid(status, &error, table->name);
            continue;
        }
        /* All but the key's presence and what JSON cannot say is assured. */
        good++;
        status = record_validate(table, &r, &error);
        if (status != TAPE_OK) {
            check_invalid(status, &error, "is empty: it is the key");
        }
    }
    assert_in_range(good, 1000, 90000);
}

static void tape_record_to_json_tells_the_length_and_cuts_to_the_room(void **state) {
    (void)state;
    tape_account a = {.seq = 3, .user_id = "u", .balance = 1.5};
    static const char wanted[] = "{\"seq\":3,\"ts\":\"1970-01-01T00:00:00.000000000Z\","
                                 "\"table\":\"accounts\",\"user_id\":\"u\",\"balance\":1.5,"
                                 "\"available\":0,\"frozen\":0,\"margin\":0}";
    char out[256];
    size_t length = tape_record_to_json(TAPE_TABLE_ACCOUNTS, &a, true, out, sizeof out);
    assert_int_equal(length, strlen(wanted));
    assert_string_equal(out, wanted);
    for (size_t size = 0; size < sizeof wanted + 2; size++) {
        memset(out, '#', sizeof out);
        assert_int_equal(tape_record_to_json(TAPE_TABLE_ACCOUNTS, &a, true, out, size), length);
        size_t kept = size == 0 ? 0 : (size > length ? length : size - 1);
        assert_memory_equal(out, wanted, kept);
        assert_int_equal(out[kept], size == 0 ? '#' : '\0');
        assert_int_equal(out[size], '#');
    }
    assert_int_equal(tape_record_to_json(TAPE_TABLE_COUNT + 1, &a, true, out, sizeof out), 0);
    assert_string_equal(out, "");
}

static void tape_record_from_json_reads_and_refuses(void **state) {
    (void)state;
    tape_account a;
    tape_error error;
    assert_int_equal(
        tape_record_from_json(TAPE_TABLE_ACCOUNTS, "{\"user_id\":\"u\"}", 15, &a, NULL), TAPE_OK);
    assert_string_equal(a.user_id, "u");
    check_invalid(tape_record_from_json(TAPE_TABLE_ACCOUNTS, "{\"x\":1}", 7, &a, &error), &error,
                  "accounts has no field \"x\"");
    check_invalid(tape_record_from_json(0, "{}", 2, &a, &error), &error, "no table 0");
    check_invalid(tape_record_from_json(8, "{}", 2, &a, &error), &error, "no table 8");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_to_json_of_known_records_is_known_text),
        cmocka_unit_test(record_to_json_of_a_record_that_is_not_valid_is_still_json),
        cmocka_unit_test(record_to_json_needs_no_more_room_than_it_reserves),
        cmocka_unit_test(records_survive_the_way_through_json),
        cmocka_unit_test(record_from_json_gives_defaults_for_what_is_missing_or_null),
        cmocka_unit_test(record_from_json_reads_every_form_of_a_value),
        cmocka_unit_test(record_from_json_refuses_by_name),
        cmocka_unit_test(record_from_json_refuses_deep_nesting),
        cmocka_unit_test(record_from_json_of_mutated_text_is_refused_or_a_record),
        cmocka_unit_test(tape_record_to_json_tells_the_length_and_cuts_to_the_room),
        cmocka_unit_test(tape_record_from_json_reads_and_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
