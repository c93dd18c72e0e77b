#include "record_testing.h"

#define TS INT64_C(1723161255342000000)

/* One struct of each released version of a table, and its bytes. Lines are only added: what was
 * released is read forever. */
static const struct {
    const char *table;
    uint16_t version;
    const void *record; /* as it is read today */
    const char *hex;
} golden[] = {
    {"orders", 1,
     &(tape_order){.seq = 1,
                   .ts = TS,
                   .order_id = "o1",
                   .user_id = "alice",
                   .instrument_id = "IF2101",
                   .side = TAPE_SIDE_SELL,
                   .position_effect = TAPE_POSITION_EFFECT_CLOSE_TODAY,
                   .order_type = TAPE_ORDER_TYPE_MARKET,
                   .price = 5200.2,
                   .volume = 3,
                   .filled_volume = 2,
                   .status = TAPE_ORDER_STATUS_PARTIAL},
     "01000000000000008047603308e6e9176f3100000000000000000000000000000000000000000000"
     "00000000000000000000000000000000616c69636500000000000000000000000000000000000000"
     "0000000000000000494632313031000000000000000000000203010000000000333333333350b440"
     "000000000000084000000000000000400100000000000000"},
    {"trades", 1,
     &(tape_trade){.seq = 2,
                   .ts = -1,
                   .trade_id = "3735683259",
                   .order_id = "o1",
                   .counter_order_id = "o2",
                   .user_id = "alice",
                   .instrument_id = "IF2101",
                   .side = TAPE_SIDE_BUY,
                   .position_effect = TAPE_POSITION_EFFECT_OPEN,
                   .price = 61837.63,
                   .volume = 0.02},
     "0200000000000000ffffffffffffffff333733353638333235390000000000000000000000000000"
     "000000000000000000000000000000006f3100000000000000000000000000000000000000000000"
     "000000000000000000000000000000006f3200000000000000000000000000000000000000000000"
     "00000000000000000000000000000000616c69636500000000000000000000000000000000000000"
     "00000000000000004946323130310000000000000000000001010000000000008fc2f528b431ee40"
     "7b14ae47e17a943f"},
    {"accounts", 1,
     &(tape_account){.seq = 3,
                     .ts = TS,
                     .user_id = "alice",
                     .balance = 1e6,
                     .available = -0.5,
                     .frozen = 0.25,
                     .margin = 1234.5},
     "03000000000000008047603308e6e917616c69636500000000000000000000000000000000000000"
     "00000000000000000000000080842e41000000000000e0bf000000000000d03f00000000004a9340"},
    {"positions", 1,
     &(tape_position){.seq = 4,
                      .ts = TS,
                      .user_id = "alice",
                      .instrument_id = "IF2101",
                      .long_volume = 1,
                      .long_price = 2,
                      .short_volume = 3,
                      .short_price = 4},
     "04000000000000008047603308e6e917616c69636500000000000000000000000000000000000000"
     "000000000000000049463231303100000000000000000000000000000000f03f0000000000000040"
     "00000000000008400000000000001040"},
    {"instruments", 1,
     &(tape_instrument){.seq = 5,
                        .ts = TS,
                        .instrument_id = "IF2101",
                        .price_tick = 0.2,
                        .volume_multiplier = 300,
                        .margin_rate = 0.12,
                        .status = TAPE_INSTRUMENT_STATUS_EXPIRED},
     "05000000000000008047603308e6e917494632313031000000000000000000009a9999999999c93f"
     "0000000000c07240b81e85eb51b8be3f0300000000000000"},
    {"ticks", 1,
     &(tape_tick){.seq = 6,
                  .ts = TS,
                  .instrument_id = "IF2101",
                  .last_price = 1,
                  .volume = 2,
                  .turnover = 3,
                  .open_interest = 4,
                  .bid_price = 5,
                  .bid_volume = 6,
                  .ask_price = 7,
                  .ask_volume = 8},
     "06000000000000008047603308e6e91749463231303100000000000000000000000000000000f03f"
     "00000000000000400000000000000840000000000000104000000000000014400000000000001840"
     "0000000000001c400000000000002040"},
    {"depth", 1,
     &(tape_depth){.seq = UINT64_MAX,
                   .ts = TS,
                   .instrument_id = "IF2101",
                   .bid_price = {1, [9] = 2},
                   .bid_volume = {3, [9] = 4},
                   .ask_price = {5, [9] = 6},
                   .ask_volume = {7, [9] = 8}},
     "ffffffffffffffff8047603308e6e91749463231303100000000000000000000000000000000f03f"
     "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "00000000000000000000000000000000000000000000000000000000000000400000000000000840"
     "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "00000000000000000000000000000000000000000000000000000000000010400000000000001440"
     "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "00000000000000000000000000000000000000000000000000000000000018400000000000001c40"
     "00000000000000000000000000000000000000000000000000000000000000000000000000000000"
     "0000000000000000000000000000000000000000000000000000000000002040"},
};

static void records_keep_their_released_bytes(void **state) {
    (void)state;
    bool current[TAPE_TABLE_COUNT + 1] = {false};
    for (size_t i = 0; i < COUNT_OF(golden); i++) {
        const tape_table_info *table = record_table_named(golden[i].table);
        uint8_t bytes[TAPE_RECORD_BYTES_MAX];
        any_record read;
        size_t size = strlen(golden[i].hex) / 2;
        for (size_t j = 0; j < size; j++) {
            char pair[3] = {golden[i].hex[2 * j], golden[i].hex[2 * j + 1], '\0'};
            bytes[j] = (uint8_t)strtoul(pair, NULL, 16);
        }
        record_upgrade(table, golden[i].version, bytes, size, &read);
        assert_memory_equal(&read, golden[i].record, table->size_bytes);
        assert_int_equal(record_validate(table, &read, NULL), TAPE_OK);
        if (golden[i].version == table->version) {
            assert_int_equal(size, table->size_bytes);
            assert_memory_equal(bytes, golden[i].record, size);
            current[table->id] = true;
        }
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        assert_true(current[id]);
    }
}

static void tables_are_found_by_id_and_name(void **state) {
    (void)state;
    static const char *const names[] = {"orders",      "trades", "accounts", "positions",
                                        "instruments", "ticks",  "depth"};
    assert_int_equal(COUNT_OF(names), TAPE_TABLE_COUNT);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        assert_int_equal(table->id, id);
        assert_string_equal(table->name, names[id - 1]);
        assert_ptr_equal(record_table_named(names[id - 1]), table);
        assert_ptr_equal(tape_table(id), table);
        assert_ptr_equal(tape_table_named(names[id - 1]), table);
    }
    assert_null(record_table(0));
    assert_null(record_table(TAPE_TABLE_COUNT + 1));
    assert_null(record_table(UINT16_MAX));
    assert_null(record_table_named(""));
    assert_null(record_table_named("order"));
    assert_null(record_table_named("orders "));
    assert_null(tape_table_named("nonsense"));
}

static void fields_stand_in_column_order(void **state) {
    (void)state;
    static const char *const columns[] = {
        "seq,ts,order_id*,user_id,instrument_id,side,position_effect,order_type,price,volume,"
        "filled_volume,status,",
        "seq,ts,trade_id*,order_id,counter_order_id,user_id,instrument_id,side,position_effect,"
        "price,volume,",
        "seq,ts,user_id*,balance,available,frozen,margin,",
        "seq,ts,user_id*,instrument_id*,long_volume,long_price,short_volume,short_price,",
        "seq,ts,instrument_id*,price_tick,volume_multiplier,margin_rate,status,",
        "seq*,ts,instrument_id,last_price,volume,turnover,open_interest,bid_price,bid_volume,"
        "ask_price,ask_volume,",
        "seq*,ts,instrument_id,bid_price[10],bid_volume[10],ask_price[10],ask_volume[10],",
    };
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        buffer text = {0};
        for (uint32_t i = 0; i < table->field_count; i++) {
            const tape_field_info *field = &table->fields[i];
            buffer_append_text(&text, field->name);
            if (field->count > 1) {
                buffer_printf(&text, "[%u]", field->count);
            }
            buffer_append_text(&text, field->is_key != 0 ? "*," : ",");
            assert_ptr_equal(record_field_named(table, field->name), field);
        }
        buffer_append(&text, "", 1);
        assert_string_equal((char *)text.data, columns[id - 1]);
        buffer_deinit(&text);
        assert_null(record_field_named(table, "nonsense"));
        assert_null(record_field_named(table, "reserved1"));
    }
}

static void tables_are_described_consistently(void **state) {
    (void)state;
    size_t largest = 0;
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = record_table(id);
        uint32_t end = 0;
        uint32_t keys = 0;
        for (uint32_t i = 0; i < table->field_count; i++) {
            const tape_field_info *field = &table->fields[i];
            assert_true(field->offset >= end && field->offset - end < 8);
            end = field->offset + field->size_bytes * field->count;
            assert_true(field->since_version >= 1 && field->since_version <= table->version);
            assert_true(field->doc[0] != '\0');
            assert_int_equal(field->enum_count > 0, field->kind == TAPE_FIELD_ENUM);
            assert_int_equal(field->enum_names != NULL, field->kind == TAPE_FIELD_ENUM);
            if (field->is_key != 0) {
                assert_int_equal(table->key_fields[keys++], i);
            }
        }
        assert_int_equal(keys, table->key_count);
        assert_true(table->size_bytes >= end && table->size_bytes - end < 8);
        assert_int_equal(table->size_bytes % 8, 0);
        largest = table->size_bytes > largest ? table->size_bytes : largest;
        bool entity = table->kind == TAPE_KIND_ENTITY;
        assert_true(entity || table->kind == TAPE_KIND_EVENT);
        assert_int_equal(entity, strcmp(table->name, "orders") == 0 ||
                                     strcmp(table->name, "accounts") == 0 ||
                                     strcmp(table->name, "positions") == 0 ||
                                     strcmp(table->name, "instruments") == 0);
    }
    assert_int_equal(largest, TAPE_RECORD_BYTES_MAX);
}

static void enumerations_have_their_names(void **state) {
    (void)state;
    const tape_table_info *orders = record_table(TAPE_TABLE_ORDERS);
    const tape_field_info *side = record_field_named(orders, "side");
    assert_int_equal(side->enum_count, 3);
    assert_null(side->enum_names[TAPE_SIDE_ABSENT]);
    assert_string_equal(side->enum_names[TAPE_SIDE_BUY], "buy");
    assert_string_equal(side->enum_names[TAPE_SIDE_SELL], "sell");
    assert_int_equal(record_enum_value(side, "sell", 4), TAPE_SIDE_SELL);
    const tape_field_info *effect = record_field_named(orders, "position_effect");
    assert_string_equal(effect->enum_names[TAPE_POSITION_EFFECT_NONE], "none");
    assert_int_equal(record_enum_value(effect, "close_today", 11),
                     TAPE_POSITION_EFFECT_CLOSE_TODAY);
    const tape_field_info *status = record_field_named(orders, "status");
    assert_int_equal(record_enum_value(status, "cancelled", 9), TAPE_ORDER_STATUS_CANCELLED);
    status = record_field_named(record_table(TAPE_TABLE_INSTRUMENTS), "status");
    assert_int_equal(record_enum_value(status, "trading", 7), TAPE_INSTRUMENT_STATUS_TRADING);
    assert_int_equal(record_enum_value(status, "cancelled", 9), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_keep_their_released_bytes),
        cmocka_unit_test(tables_are_found_by_id_and_name),
        cmocka_unit_test(fields_stand_in_column_order),
        cmocka_unit_test(tables_are_described_consistently),
        cmocka_unit_test(enumerations_have_their_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
