/* Point: statements that ask for one key are answered from the store as DuckDB would answer. */
#include "query/testing.h"

#include <errno.h>

/* --- a store: every version of every record, in order --- */

#define RECORDS_MAX 4000u

typedef struct version {
    const tape_table_info *table;
    _Alignas(8) uint8_t record[TAPE_RECORD_BYTES_MAX];
} version;

typedef struct fake_store {
    version *versions;
    size_t count;
    unsigned gets;
    tape_status failure; /* of every get, unless OK */
} fake_store;

static tape_status fake_get(void *context, const tape_table_info *table, slice key, uint64_t at,
                            void *payload, uint16_t *schema_version, tape_error *error) {
    fake_store *s = context;
    s->gets++;
    if (s->failure != TAPE_OK) {
        return error_set(error, s->failure, "as the test wants it");
    }
    for (size_t n = s->count; n-- > 0;) {
        const version *v = &s->versions[n];
        uint8_t bytes[RECORD_KEY_BYTES_MAX];
        slice own = {.data = bytes, .size = record_key(v->table, v->record, bytes)};
        if (v->table == table && load_u64(v->record) <= at && slice_compare(own, key) == 0) {
            memcpy(payload, v->record, table->size_bytes);
            *schema_version = table->version;
            return TAPE_OK;
        }
    }
    return error_set(error, TAPE_NOT_FOUND, "no such key");
}

typedef struct fixture {
    market market;
    fake_store store;
} fixture;

static void add(fixture *f, uint16_t id, void *record, int64_t ts) {
    version *v = &f->store.versions[f->store.count++];
    ASSERT(f->store.count <= RECORDS_MAX);
    v->table = record_table(id);
    testing_add(f->market.columns, id, record, ts, false);
    memcpy(v->record, record, v->table->size_bytes);
    store_u64(v->record, columns_seq(f->market.columns));
    store_u64(v->record + sizeof(uint64_t), (uint64_t)ts);
}

static fixture *open_fixture(void) {
    fixture *f = mem_zalloc(sizeof *f);
    f->store.versions = mem_zalloc(RECORDS_MAX * sizeof *f->store.versions);
    f->market = market_open();
    query_close(&f->market.query);
    f->market.get = fake_get;
    f->market.context = &f->store;
    market_open_query(&f->market, MIB(256), true);
    return f;
}

static void close_fixture(fixture *f) {
    market_close(&f->market);
    free(f->store.versions);
    free(f);
}

/* Records of all tables, with absent values here and there, keys that come again. */
static void fill(fixture *f, uint64_t *random, int count) {
    for (int n = 0; n < count; n++) {
        int64_t ts = MARKET_T0 + n;
        double number = (double)(testing_random(random) % 1000) / 8;
        int key = (int)(testing_random(random) % 20);
        tape_order order = {.price = number,
                            .side = (uint8_t)(testing_random(random) % 3),
                            .status = (uint8_t)(testing_random(random) % 6)};
        tape_account account = {.balance = number};
        tape_position position = {.long_volume = number};
        tape_tick tick = {.last_price = number};
        tape_depth depth = {.bid_price = {number, 2, 3}};
        tape_trade trade = {.price = number, .side = TAPE_SIDE_SELL};
        switch (testing_random(random) % 6) {
        case 0:
            (void)snprintf(order.order_id, sizeof order.order_id, "order-of-some-length-%d", key);
            (void)snprintf(order.user_id, sizeof order.user_id, "%s", key % 2 == 0 ? "" : "u");
            add(f, TAPE_TABLE_ORDERS, &order, ts);
            break;
        case 1:
            (void)snprintf(account.user_id, sizeof account.user_id, "u%d", key);
            add(f, TAPE_TABLE_ACCOUNTS, &account, ts);
            break;
        case 2:
            (void)snprintf(position.user_id, sizeof position.user_id, "u%d", key % 5);
            (void)snprintf(position.instrument_id, sizeof position.instrument_id, "i%d", key / 5);
            add(f, TAPE_TABLE_POSITIONS, &position, ts);
            break;
        case 3:
            (void)snprintf(tick.instrument_id, sizeof tick.instrument_id, "i%d", key);
            add(f, TAPE_TABLE_TICKS, &tick, ts);
            break;
        case 4:
            (void)snprintf(depth.instrument_id, sizeof depth.instrument_id, "i%d", key);
            add(f, TAPE_TABLE_DEPTH, &depth, ts);
            break;
        default:
            (void)snprintf(trade.trade_id, sizeof trade.trade_id, "t%d", n);
            add(f, TAPE_TABLE_TRADES, &trade, ts);
            break;
        }
    }
}

/* --- comparing --- */

static void append_schema(buffer *out, const struct ArrowSchema *s) {
    buffer_printf(out, "%s %s %d (", s->format, s->name, (int)s->flags);
    for (int64_t n = 0; n < s->n_children; n++) {
        buffer_printf(out, "%s %s %d [%d], ", s->children[n]->format, s->children[n]->name,
                      (int)s->children[n]->flags, (int)s->children[n]->n_children);
        if (s->children[n]->n_children > 0) {
            const struct ArrowSchema *element = s->children[n]->children[0];
            buffer_printf(out, "%s %s %d, ", element->format, element->name, (int)element->flags);
        }
    }
    buffer_append_text(out, ")\n");
}

/* Schema and rows. */
static char *answer(market *m, const char *sql, uint64_t seq, const tape_query_options *options) {
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    tape_error error;
    buffer out = {0};
    if (market_run(m, sql, seq, options, &stream, &error) != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    assert_int_equal(stream.get_schema(&stream, &schema), 0);
    append_schema(&out, &schema);
    schema.release(&schema);
    char *text = testing_text(&stream, NULL);
    buffer_append(&out, text, strlen(text) + 1);
    free(text);
    return (char *)out.data;
}

static uint64_t from_store(market *m) {
    query_stats stats;
    query_stats_read(m->query, &stats);
    return stats.from_store;
}

static void check_same(fixture *f, const char *list, const char *table, const char *where,
                       uint64_t seq, const tape_query_options *options) {
    char *point = mem_printf("SELECT %s FROM %s WHERE %s", list, table, where);
    char *plain = mem_printf("SELECT %s FROM %s WHERE (%s) IS TRUE", list, table, where);
    uint64_t before = from_store(&f->market);
    char *got = answer(&f->market, point, seq, options);
    assert_int_equal(from_store(&f->market), before + 1);
    char *want = answer(&f->market, plain, seq, options);
    assert_int_equal(from_store(&f->market), before + 1);
    if (strcmp(got, want) != 0) {
        fail_msg("%s at %llu\ngot:\n%s\nwant:\n%s", point, (unsigned long long)seq, got, want);
    }
    free(got);
    free(want);
    free(point);
    free(plain);
}

/* --- tests --- */

static void point_answers_as_duckdb_does(void **state) {
    (void)state;
    static const struct {
        const char *columns, *table, *where;
    } forms[] = {
        {"*", "orders", "order_id = 'order-of-some-length-%d'"},
        {"status, user_id AS u, PRICE, ts, seq", "orders o",
         "o.order_id = 'order-of-some-length-%d'"},
        {"*", "Accounts", "USER_ID = 'u%d'"},
        {"balance, balance", "accounts", "user_id = 'u%d'"},
        {"*, p.long_volume AS again", "positions p", "'u%d' = p.user_id AND instrument_id = 'i1'"},
        {"*", "ticks", "seq = %d"},
        {"*", "depth", "seq = %d"},
        {"bid_price, ask_volume", "depth", "seq = %d"},
        {"*", "trades", "trade_id = 't%d'"},
    };
    fixture *f = open_fixture();
    uint64_t random = 7;
    fill(f, &random, 600);
    for (size_t n = 0; n < 10 * COUNT_OF(forms); n++) {
        char *where = mem_alloc(128);
        const char *form = forms[n % COUNT_OF(forms)].where;
        bool seq_key = strncmp(form, "seq", 3) == 0;
        (void)snprintf(where, 128, seq_key ? "seq = %d" : form,
                       (int)(testing_random(&random) % (seq_key ? 700 : 22)));
        check_same(f, forms[n % COUNT_OF(forms)].columns, forms[n % COUNT_OF(forms)].table, where,
                   n % 3 == 0 ? testing_random(&random) % 600 : 600, NULL);
        free(where);
    }
    /* Keys that nothing can have. */
    check_same(f, "*", "orders", "order_id = ''", 600, NULL);
    check_same(f, "*", "positions",
               "user_id = 'a-user-with-a-name-that-is-longer-than-any-user-has' AND "
               "instrument_id = 'x'",
               600, NULL);
    check_same(f, "*", "ticks", "seq = 0", 600, NULL);
    check_same(f, "*", "orders", "order_id = 'order-of-some-length-1'", 0, NULL);
    close_fixture(f);
}

static void point_takes_parameters(void **state) {
    (void)state;
    fixture *f = open_fixture();
    tape_account account = {.user_id = "u1", .balance = 5};
    tape_tick tick = {.instrument_id = "i"};
    add(f, TAPE_TABLE_ACCOUNTS, &account, MARKET_T0);
    add(f, TAPE_TABLE_TICKS, &tick, MARKET_T0);
    static const struct {
        const char *table, *where;
        tape_value value;
        bool from_store;
        const char *rows;
    } cases[] = {
        {"accounts", "user_id = $1", {.type = TAPE_TYPE_TEXT, .text = {"u1", 2}}, true, "1\n"},
        {"accounts", "user_id = $1", {.type = TAPE_TYPE_TEXT, .text = {"u2", 2}}, true, "0\n"},
        {"accounts", "user_id = $1", {.type = TAPE_TYPE_TEXT, .text = {NULL, 0}}, true, "0\n"},
        {"accounts", "user_id = $1", {.type = TAPE_TYPE_TEXT, .is_null = true}, false, "0\n"},
        {"ticks", "seq = $1", {.type = TAPE_TYPE_UINT64, .uint64 = 2}, true, "1\n"},
        {"ticks", "seq = $1", {.type = TAPE_TYPE_INT64, .int64 = 2}, true, "1\n"},
        {"ticks", "seq = $1", {.type = TAPE_TYPE_INT64, .int64 = -2}, false, "0\n"},
        {"ticks", "seq = $1", {.type = TAPE_TYPE_DOUBLE, .real = 2}, false, "1\n"},
    };
    for (size_t n = 0; n < COUNT_OF(cases); n++) {
        tape_query_options options = {
            .timeout_ns = -1, .params = &cases[n].value, .param_count = 1};
        char *sql = mem_printf("SELECT seq FROM %s WHERE %s", cases[n].table, cases[n].where);
        uint64_t before = from_store(&f->market);
        struct ArrowArrayStream stream;
        tape_error error;
        assert_int_equal(market_run(&f->market, sql, 2, &options, &stream, &error), TAPE_OK);
        char *text = testing_text(&stream, NULL);
        assert_int_equal(*text != '\0', cases[n].rows[0] == '1');
        assert_int_equal(from_store(&f->market) - before, cases[n].from_store);
        free(text);
        free(sql);
    }
    struct ArrowArrayStream stream;
    tape_error error;
    assert_int_equal(
        market_run(&f->market, "SELECT * FROM ticks WHERE seq = $1", 2, NULL, &stream, &error),
        TAPE_SQL);
    assert_non_null(strstr(error.text, "parameters"));
    close_fixture(f);
}

static void point_leaves_to_duckdb_what_the_store_cannot_tell(void **state) {
    (void)state;
    fixture *f = open_fixture();
    const char *sql = "SELECT price FROM trades WHERE trade_id = 't'";
    tape_trade trade = {.trade_id = "t", .price = 1};
    add(f, TAPE_TABLE_TRADES, &trade, MARKET_T0);
    market_check_at(&f->market, sql, 1, "1\n");
    assert_int_equal(from_store(&f->market), 1);
    /* Another record with its key. */
    trade.price = 2;
    add(f, TAPE_TABLE_TRADES, &trade, MARKET_T0);
    market_check_at(&f->market, sql, 2, "1\n2\n");
    assert_int_equal(from_store(&f->market), 1);
    market_check_at(&f->market, sql, 1, "1\n");
    assert_int_equal(from_store(&f->market), 2);
    /* Versions that were let go. */
    f->store.failure = TAPE_TOO_OLD;
    market_check_at(&f->market, sql, 1, "1\n");
    assert_int_equal(from_store(&f->market), 2);
    /* Damage is told. */
    f->store.failure = TAPE_CORRUPT;
    struct ArrowArrayStream stream;
    tape_error error;
    assert_int_equal(market_run(&f->market, sql, 1, NULL, &stream, &error), TAPE_CORRUPT);
    assert_null(stream.release);
    close_fixture(f);
}

static void point_rows_outlive_stream_and_engine(void **state) {
    (void)state;
    fixture *f = open_fixture();
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    struct ArrowArray array;
    tape_error error;
    tape_depth depth = {.instrument_id = "i", .bid_price = {1, 2}};
    add(f, TAPE_TABLE_DEPTH, &depth, MARKET_T0);
    assert_int_equal(market_run(&f->market,
                                "SELECT instrument_id AS a, bid_price FROM depth "
                                "WHERE seq = 1",
                                1, NULL, &stream, &error),
                     TAPE_OK);
    assert_int_equal(stream.get_schema(&stream, &schema), 0);
    assert_int_equal(stream.get_next(&stream, &array), 0);
    /* A consumer may take a child out. */
    struct ArrowArray child = *array.children[1];
    array.children[1]->release = NULL;
    stream.release(&stream);
    close_fixture(f);
    array.release(&array);
    assert_null(array.release);
    assert_string_equal(schema.children[0]->name, "a");
    schema.release(&schema);
    assert_true(((const double *)child.children[0]->buffers[1])[1] == 2);
    child.release(&child);
}

static void point_is_told_by_explain(void **state) {
    (void)state;
    fixture *f = open_fixture();
    tape_order order = {.order_id = "it's", .price = 1};
    add(f, TAPE_TABLE_ORDERS, &order, MARKET_T0);
    char *text =
        market_answer_at(&f->market, "EXPLAIN SELECT * FROM orders WHERE order_id = 'it''s'", 1);
    assert_string_equal(text, "physical_plan|read from the store, by key, at seq 1: orders, "
                              "order_id = 'it''s'\n");
    free(text);
    assert_int_equal(f->store.gets, 0);
    text = market_answer_at(&f->market,
                            "EXPLAIN ANALYZE SELECT * FROM orders WHERE order_id = 'it''s'", 1);
    assert_non_null(strstr(text, "analyzed_plan|read from the store"));
    assert_non_null(strstr(text, "1 row, "));
    assert_non_null(strstr(text, " us\n"));
    free(text);
    assert_int_equal(f->store.gets, 1);
    text = market_answer_at(&f->market, "EXPLAIN SELECT * FROM orders WHERE price > 5", 1);
    assert_int_equal(strncmp(text,
                             "route|answered by DuckDB at seq 1\norders: 1 hot rows, 0 of 0 "
                             "Parquet files (0 of 0 rows; 0 files pruned); only numbers in range: "
                             "1\nphysical_plan|",
                             100),
                     0);
    free(text);
    text = market_answer_at(&f->market, "EXPLAIN SELECT 1", 1);
    assert_non_null(strstr(text, "route|answered by DuckDB; reads no table\n"));
    free(text);
    close_fixture(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(point_answers_as_duckdb_does),
        cmocka_unit_test(point_takes_parameters),
        cmocka_unit_test(point_leaves_to_duckdb_what_the_store_cannot_tell),
        cmocka_unit_test(point_rows_outlive_stream_and_engine),
        cmocka_unit_test(point_is_told_by_explain),
    };
    return cmocka_run_group_tests_name("query_point", tests, NULL, NULL);
}
