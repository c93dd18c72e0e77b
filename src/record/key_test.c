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

/* A key as a search may ask for it: another record's, its beginning, longer ones, other tables'. */
static size_t random_bound(const tape_table_info *table, uint64_t *seed,
                           uint8_t out[2 * RECORD_KEY_BYTES_MAX]) {
    any_record r;
    random_key(table, seed, &r);
    size_t size = record_key(table, &r, out);
    switch (random_below(seed, 8)) {
    case 0:
        return random_below(seed, size + 1);
    case 1:
        out[size] = (uint8_t)(random_below(seed, 2) == 0 ? 0 : 255);
        return size + 1;
    case 2:
        memset(out + size, 0, 20);
        return size + 1 + random_below(seed, 20);
    case 3:
        out[random_below(seed, size)]++;
        return size;
    case 4:
        out[0] = (uint8_t)random_below(seed, TAPE_TABLE_COUNT + 2);
        return random_below(seed, 2) == 0 ? 1 : size;
    case 5:
        return 0;
    default:
        return size;
    }
}

static int sign(int order) {
    return (order > 0) - (order < 0);
}

static void record_key_compare_orders_as_the_encoded_key_does(void **state) {
    (void)state;
    uint64_t seed = 23;
    size_t seen[3] = {0};
    for (int round = 0; round < 280000; round++) {
        const tape_table_info *table = record_table((uint16_t)(1 + round % TAPE_TABLE_COUNT));
        any_record r;
        uint8_t bound[2 * RECORD_KEY_BYTES_MAX];
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        uint64_t before = seed;
        random_key(table, &seed, &r);
        if (round % 2 == 0) {
            seed = before; /* the bound comes from the very same key */
        }
        slice asked = {bound, random_bound(table, &seed, bound)};
        slice key = {bytes, record_key(table, &r, bytes)};
        int wanted = sign(slice_compare(asked, key));
        /* An allocation of its own: a sanitizer notices who reads beyond it. */
        uint8_t *exact = mem_alloc(asked.size > 0 ? asked.size : 1);
        memcpy(exact, bound, asked.size);
        assert_int_equal(record_key_compare(table, (slice){exact, asked.size}, &r), wanted);
        free(exact);
        seen[wanted + 1]++;
    }
    assert_true(seen[0] > 40000 && seen[1] > 20000 && seen[2] > 40000);
}

static void record_key_compare_payloads_orders_as_the_encoded_keys_do(void **state) {
    (void)state;
    uint64_t seed = 24;
    size_t equal = 0;
    for (int round = 0; round < 140000; round++) {
        const tape_table_info *table = record_table((uint16_t)(1 + round % TAPE_TABLE_COUNT));
        any_record a, b;
        random_key(table, &seed, &a);
        random_key(table, &seed, &b);
        if (round % 8 == 0) {
            b = a;
        }
        int wanted = compare_keys(&a, &b, table);
        assert_int_equal(sign(record_key_compare_payloads(table, &a, &b)), wanted);
        equal += wanted == 0;
    }
    assert_true(equal > 15000);
}

static void record_key_hash_is_the_known_one(void **state) {
    (void)state;
    uint64_t hash[2];
    record_key_hash((slice){(const uint8_t *)"", 0}, hash);
    assert_true(hash[0] == UINT64_C(0x6001c324468d497f));
    assert_true(hash[1] == UINT64_C(0x99aa06d3014798d8));
}

/* What a scan asks for, as texts; NULL where nothing is asked. */
typedef struct range_wish {
    const char *parts[3];
    size_t count;
    const char *from, *to, *prefix;
} range_wish;

static void text_of_field(const tape_field_info *field, const any_record *r, char out[64]) {
    const uint8_t *at = record_field_at(field, r);
    if (field->kind == TAPE_FIELD_U64) {
        (void)snprintf(out, 64, "%llu", (unsigned long long)load_u64(at));
    } else {
        (void)snprintf(out, 64, "%.*s", (int)field->size_bytes, (const char *)at);
    }
}

static int compare_texts(const tape_field_info *field, const char *a, const char *b) {
    if (field->kind == TAPE_FIELD_U64) {
        unsigned long long x = strtoull(a, NULL, 10);
        unsigned long long y = strtoull(b, NULL, 10);
        return (x > y) - (x < y);
    }
    return strcmp(a, b);
}

static bool wanted_in_range(const tape_table_info *table, const range_wish *wish,
                            const any_record *r) {
    for (uint32_t i = 0; i < table->key_count && i <= wish->count; i++) {
        const tape_field_info *field = &table->fields[table->key_fields[i]];
        char text[64];
        text_of_field(field, r, text);
        if (i < wish->count) {
            if (compare_texts(field, text, wish->parts[i]) != 0) {
                return false;
            }
            continue;
        }
        return (wish->from == NULL || compare_texts(field, text, wish->from) >= 0) &&
               (wish->to == NULL || compare_texts(field, text, wish->to) < 0) &&
               (wish->prefix == NULL || strncmp(text, wish->prefix, strlen(wish->prefix)) == 0);
    }
    return true;
}

static bool in_bounds(const tape_table_info *table, const record_key_bounds *bounds,
                      const any_record *r) {
    slice low = {bounds->low_bytes, bounds->low_size};
    slice high = {bounds->high_bytes, bounds->high_size};
    return record_key_compare(table, low, r) <= 0 && record_key_compare(table, high, r) > 0;
}

/* Cuts text to a part of it that is whole characters. */
static void shorten(uint64_t *seed, char *text) {
    size_t length = random_below(seed, strlen(text) + 1);
    while (length > 0 && ((uint8_t)text[length] & 0xc0) == 0x80) {
        length--;
    }
    text[length] = '\0';
}

static void record_key_range_holds_the_keys_that_are_asked_for(void **state) {
    (void)state;
    uint64_t seed = 25;
    size_t inside = 0;
    size_t narrowed = 0;
    for (int round = 0; round < 140000; round++) {
        const tape_table_info *table = record_table((uint16_t)(1 + round % TAPE_TABLE_COUNT));
        any_record asked, tried;
        char text[4][64];
        range_wish wish = {.count = random_below(&seed, table->key_count + 1)};
        record_key_bounds bounds;
        random_key(table, &seed, &asked);
        random_key(table, &seed, &tried);
        for (size_t i = 0; i < wish.count; i++) {
            text_of_field(&table->fields[table->key_fields[i]], &asked, text[i]);
            wish.parts[i] = text[i];
        }
        if (wish.count < table->key_count) {
            const tape_field_info *field = &table->fields[table->key_fields[wish.count]];
            text_of_field(field, &asked, text[2]);
            bool number = field->kind == TAPE_FIELD_U64;
            if (!number && random_below(&seed, 2) == 0) {
                shorten(&seed, text[2]);
                wish.prefix = text[2];
            } else {
                wish.from = random_below(&seed, 3) > 0 ? text[2] : NULL;
                random_key(table, &seed, &asked);
                text_of_field(field, &asked, text[3]);
                wish.to = random_below(&seed, 3) > 0 ? text[3] : NULL;
            }
            /* Keys that share parts and texts with what is asked for. */
            size_t shared = random_below(&seed, 3);
            for (size_t i = 0; i < wish.count + (shared == 2); i++) {
                const tape_field_info *same = &table->fields[table->key_fields[i]];
                if (shared > 0) {
                    memcpy(tried.bytes + same->offset, asked.bytes + same->offset,
                           same->size_bytes);
                }
            }
        } else if (random_below(&seed, 2) == 0) {
            tried = asked;
        }
        assert_int_equal(record_key_range(table, wish.parts, wish.count, wish.from, wish.to,
                                          wish.prefix, &bounds, NULL),
                         TAPE_OK);
        bool wanted = wanted_in_range(table, &wish, &tried);
        assert_int_equal(in_bounds(table, &bounds, &tried), wanted);
        inside += wanted;
        narrowed += !wanted;
    }
    assert_true(inside > 40000 && narrowed > 40000);
}

static void check_bounds(const char *table, const range_wish *wish, const char *low,
                         size_t low_size, const char *high, size_t high_size) {
    record_key_bounds bounds;
    assert_int_equal(record_key_range(record_table_named(table), wish->parts, wish->count,
                                      wish->from, wish->to, wish->prefix, &bounds, NULL),
                     TAPE_OK);
    assert_int_equal(bounds.low_size, low_size);
    assert_memory_equal(bounds.low_bytes, low, low_size);
    assert_int_equal(bounds.high_size, high_size);
    assert_memory_equal(bounds.high_bytes, high, high_size);
}

static void record_key_range_of_known_wishes_has_known_bounds(void **state) {
    (void)state;
    check_bounds("trades", &(range_wish){.count = 0}, "\x02", 1, "\x03", 1);
    check_bounds("trades", &(range_wish){{"t1"}, .count = 1}, "\x02t1", 3, "\x02t1\0", 4);
    check_bounds("trades", &(range_wish){.prefix = "t1"}, "\x02t1", 3, "\x02t2", 3);
    check_bounds("trades", &(range_wish){.prefix = ""}, "\x02", 1, "\x03", 1);
    check_bounds("trades", &(range_wish){.from = "a", .to = "b"},
                 "\x02"
                 "a",
                 2,
                 "\x02"
                 "b",
                 2);
    check_bounds("trades", &(range_wish){.from = "a"},
                 "\x02"
                 "a",
                 2, "\x03", 1);
    check_bounds("trades", &(range_wish){.from = "", .to = ""}, "\x02", 1, "\x02", 1);
    check_bounds("positions", &(range_wish){{"u"}, .count = 1},
                 "\x04u\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 33,
                 "\x04u\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1", 33);
    check_bounds("positions", &(range_wish){.from = "u"}, "\x04u", 2, "\x05", 1);
    check_bounds("ticks", &(range_wish){.from = "258", .to = "18446744073709551615"},
                 "\x06\0\0\0\0\0\0\1\2", 9, "\x06\xff\xff\xff\xff\xff\xff\xff\xff", 9);
    check_bounds("ticks", &(range_wish){{"18446744073709551615"}, .count = 1},
                 "\x06\xff\xff\xff\xff\xff\xff\xff\xff", 9,
                 "\x06\xff\xff\xff\xff\xff\xff\xff\xff\0", 10);
}

static void record_key_range_refuses_what_cannot_be_asked(void **state) {
    (void)state;
    static const struct {
        const char *table;
        range_wish wish;
        const char *wanted;
    } bad[] = {
        {"trades",
         {{"a", "b"}, .count = 2},
         "a key of trades has at most 1 part (trade_id), not 2"},
        {"positions", {{"a", "b", "c"}, .count = 3}, "has at most 2 parts"},
        {"trades", {{""}, .count = 1}, "trades.trade_id is empty"},
        {"ticks", {{"x"}, .count = 1}, "ticks.seq is \"x\": it must be a number"},
        {"positions", {{"a\nb"}, .count = 1}, "control character"},
        {"ticks", {.from = "x"}, "from: ticks.seq is \"x\": it must be a number"},
        {"ticks", {.from = "1", .to = ""}, "to: ticks.seq is empty"},
        {"ticks", {.from = "-1"}, "from: ticks.seq is \"-1\""},
        {"ticks", {.prefix = "1"}, "ticks.seq: a number has no prefix"},
        {"trades", {.from = "a", .prefix = "b"}, "trade_id: a prefix cannot go together"},
        {"trades", {.to = "a", .prefix = "b"}, "trade_id: a prefix cannot go together"},
        {"trades", {.prefix = "\xc3"}, "prefix: trades.trade_id is \""},
        {"positions",
         {{"u"}, .count = 1, .to = "12345678901234567"},
         "to: positions.instrument_id"},
        {"trades", {{"a"}, .count = 1, .from = "a"}, "the key of trades is given in full"},
        {"trades", {{"a"}, .count = 1, .to = "a"}, "the key of trades is given in full"},
        {"trades", {{"a"}, .count = 1, .prefix = "a"}, "the key of trades is given in full"},
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        record_key_bounds bounds;
        tape_error error;
        tape_status status =
            record_key_range(record_table_named(bad[i].table), bad[i].wish.parts, bad[i].wish.count,
                             bad[i].wish.from, bad[i].wish.to, bad[i].wish.prefix, &bounds, &error);
        check_invalid(status, &error, bad[i].wanted);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_key_orders_as_the_key_fields_do),
        cmocka_unit_test(record_key_of_known_records_has_known_bytes),
        cmocka_unit_test(record_key_from_text_equals_the_key_of_the_record),
        cmocka_unit_test(record_key_from_text_refuses_what_cannot_be_a_key),
        cmocka_unit_test(record_key_compare_orders_as_the_encoded_key_does),
        cmocka_unit_test(record_key_compare_payloads_orders_as_the_encoded_keys_do),
        cmocka_unit_test(record_key_hash_is_the_known_one),
        cmocka_unit_test(record_key_range_holds_the_keys_that_are_asked_for),
        cmocka_unit_test(record_key_range_of_known_wishes_has_known_bounds),
        cmocka_unit_test(record_key_range_refuses_what_cannot_be_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
