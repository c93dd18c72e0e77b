#include "record_testing.h"

/* A table as three versions of tape would see it. Version 2 added `fee` and `venue`, version 3 a
 * second identifier. */
typedef struct row {
    uint64_t seq;
    int64_t ts;
    char id[16];
    double price;
    double fee;
    char venue[8];
    uint8_t side;
    uint8_t reserved[7];
} row;

static const char *const sides[] = {NULL, "buy", "sell"};

#define ROW(field_name, field_kind, version)                                                       \
    {                                                                                              \
        .name = #field_name, .kind = (field_kind), .offset = offsetof(row, field_name),            \
        .size_bytes = sizeof(((row *)0)->field_name), .count = 1, .since_version = (version),      \
        .enum_count = (field_kind) == TAPE_FIELD_ENUM ? 3 : 0,                                     \
        .enum_names = (field_kind) == TAPE_FIELD_ENUM ? sides : NULL                               \
    }

static const tape_field_info fields[] = {
    ROW(seq, TAPE_FIELD_U64, 1),   ROW(ts, TAPE_FIELD_TIME, 1), ROW(id, TAPE_FIELD_ID, 1),
    ROW(price, TAPE_FIELD_F64, 1), ROW(fee, TAPE_FIELD_F64, 2), ROW(venue, TAPE_FIELD_ID, 3),
    ROW(side, TAPE_FIELD_ENUM, 3),
};
static const uint32_t key[] = {2};

static tape_table_info table_of_version(uint16_t version, size_t size, uint32_t field_count) {
    return (tape_table_info){.id = 1,
                             .version = version,
                             .kind = TAPE_KIND_EVENT,
                             .name = "rows",
                             .size_bytes = (uint32_t)size,
                             .field_count = field_count,
                             .fields = fields,
                             .key_count = 1,
                             .key_fields = key};
}

static const row full = {.seq = 7,
                         .ts = 8,
                         .id = "abc",
                         .price = 1.5,
                         .fee = 0.25,
                         .venue = "XCFE",
                         .side = 2,
                         .reserved = {0}};

static void record_upgrade_gives_defaults_for_what_an_older_record_lacks(void **state) {
    (void)state;
    tape_table_info ours = table_of_version(3, sizeof(row), 7);
    row out;
    memset(&out, 0xee, sizeof out);
    record_upgrade(&ours, 1, &full, offsetof(row, fee), &out);
    row wanted = full;
    wanted.fee = 0;
    memset(wanted.venue, 0, sizeof wanted.venue);
    wanted.side = 0;
    assert_memory_equal(&out, &wanted, sizeof out);

    record_upgrade(&ours, 2, &full, offsetof(row, venue), &out);
    wanted.fee = full.fee;
    assert_memory_equal(&out, &wanted, sizeof out);
}

static void record_upgrade_goes_by_version_not_by_size(void **state) {
    (void)state;
    tape_table_info ours = table_of_version(3, sizeof(row), 7);
    row out;
    record_upgrade(&ours, 2, &full, sizeof full, &out);
    assert_true(out.fee == full.fee);
    assert_int_equal(out.venue[0], 0);
    assert_int_equal(out.side, 0);
}

static void record_upgrade_skips_what_a_newer_record_has_beyond(void **state) {
    (void)state;
    tape_table_info ours = table_of_version(1, offsetof(row, fee), 4);
    uint8_t out[sizeof(row)];
    memset(out, 0xee, sizeof out);
    record_upgrade(&ours, 3, &full, sizeof full, out);
    assert_memory_equal(out, &full, offsetof(row, fee));
    for (size_t i = offsetof(row, fee); i < sizeof out; i++) {
        assert_int_equal(out[i], 0xee);
    }
}

static void record_upgrade_of_the_same_version_copies(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        any_record from, to;
        random_record(table, &seed, &from);
        memset(&to, 0, sizeof to);
        record_upgrade(table, table->version, &from, table->size_bytes, &to);
        assert_memory_equal(&from, &to, sizeof to);
    }
}

static void record_field_present_tells_absent_values_and_missing_fields(void **state) {
    (void)state;
    row r = full;
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        assert_true(record_field_present(&fields[i], 3, &r));
        assert_true(record_field_present(&fields[i], 9, &r));
        assert_int_equal(record_field_present(&fields[i], 1, &r), fields[i].since_version == 1);
    }
    r.id[0] = '\0';
    r.side = 0;
    r.price = 0;
    assert_false(record_field_present(&fields[2], 3, &r));
    assert_false(record_field_present(&fields[6], 3, &r));
    assert_true(record_field_present(&fields[3], 3, &r));
    r.side = 200; /* of a later version */
    assert_true(record_field_present(&fields[6], 3, &r));
}

static void record_to_json_of_an_older_record_shows_null_for_what_it_lacks(void **state) {
    (void)state;
    tape_table_info ours = table_of_version(3, sizeof(row), 7);
    row out;
    buffer text = {0};
    record_upgrade(&ours, 1, &full, offsetof(row, fee), &out);
    record_to_json(&ours, 1, &out, false, &text);
    buffer_append(&text, "", 1);
    assert_string_equal((char *)text.data,
                        "{\"seq\":7,\"ts\":\"1970-01-01T00:00:00.000000008Z\",\"id\":\"abc\","
                        "\"price\":1.5,\"fee\":null,\"venue\":null,\"side\":null}");
    text.size = 0;
    row r = full;
    r.side = 200;
    record_to_json(&ours, 4, &r, true, &text);
    buffer_append(&text, "", 1);
    assert_string_equal((char *)text.data,
                        "{\"seq\":7,\"ts\":\"1970-01-01T00:00:00.000000008Z\",\"table\":\"rows\","
                        "\"id\":\"abc\",\"price\":1.5,\"fee\":0.25,\"venue\":\"XCFE\","
                        "\"side\":\"unknown:200\"}");
    buffer_deinit(&text);
}

static void record_defaults_are_zero_bytes_and_lack_only_the_key(void **state) {
    (void)state;
    tape_error error;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        any_record r;
        memset(&r, 0xee, sizeof r);
        record_defaults(table, &r);
        for (size_t i = 0; i < sizeof r; i++) {
            assert_int_equal(r.bytes[i], i < table->size_bytes ? 0 : 0xee);
        }
        const tape_field_info *first_key = &table->fields[table->key_fields[0]];
        tape_status status = record_validate(table, &r, &error);
        if (first_key->kind == TAPE_FIELD_ID) {
            check_invalid(status, &error, first_key->name);
        } else {
            assert_int_equal(status, TAPE_OK);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_upgrade_gives_defaults_for_what_an_older_record_lacks),
        cmocka_unit_test(record_upgrade_goes_by_version_not_by_size),
        cmocka_unit_test(record_upgrade_skips_what_a_newer_record_has_beyond),
        cmocka_unit_test(record_upgrade_of_the_same_version_copies),
        cmocka_unit_test(record_field_present_tells_absent_values_and_missing_fields),
        cmocka_unit_test(record_to_json_of_an_older_record_shows_null_for_what_it_lacks),
        cmocka_unit_test(record_defaults_are_zero_bytes_and_lack_only_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
