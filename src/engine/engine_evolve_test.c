/* A store that outlives a change of the catalogue: records written before a field was there answer
 * NULL for it, wherever they and newer ones lie: in the journal, in memory, in files of the archive
 * of either version and of both.
 *
 * The catalogue of the second version is made here: trades get `fee`, `venue` and `liquidity`,
 * accounts `credit` and `currency`. Lookups in the catalogue come here (meson.build). */
#include "base/base_testing.h"
#include "engine/engine_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define USERS 5u
#define DAY_NS (86400 * NS_PER_SECOND)

/* --- the catalogue --- */

typedef struct trade_2 {
    tape_trade first;
    double fee;
    char venue[8];
    uint8_t liquidity;
    uint8_t reserved3[7];
} trade_2;

typedef struct account_2 {
    tape_account first;
    double credit;
    char currency[8];
} account_2;

static const char *const liquidities[] = {NULL, "maker", "taker"};

#define ADDED(struct_name, field_name, field_kind)                                                 \
    {                                                                                              \
        .name = #field_name, .doc = "added", .kind = (field_kind),                                 \
        .offset = offsetof(struct_name, field_name),                                               \
        .size_bytes = sizeof(((struct_name *)0)->field_name), .count = 1, .since_version = 2,      \
        .enum_count = (field_kind) == TAPE_FIELD_ENUM ? 3 : 0,                                     \
        .enum_names = (field_kind) == TAPE_FIELD_ENUM ? liquidities : NULL                         \
    }
static const tape_field_info added_to_trades[] = {ADDED(trade_2, fee, TAPE_FIELD_F64),
                                                  ADDED(trade_2, venue, TAPE_FIELD_ID),
                                                  ADDED(trade_2, liquidity, TAPE_FIELD_ENUM)};
static const tape_field_info added_to_accounts[] = {ADDED(account_2, credit, TAPE_FIELD_F64),
                                                    ADDED(account_2, currency, TAPE_FIELD_ID)};

static uint16_t version = 1;
static tape_field_info fields[TAPE_TABLE_COUNT + 1][32];
static tape_table_info tables[TAPE_TABLE_COUNT + 1]; /* of version 2 */

const tape_table_info *__real_record_table(uint16_t id);
const tape_table_info *__wrap_record_table(uint16_t id);
const tape_table_info *__wrap_record_table_named(const char *name);

static void add_fields(uint16_t id, const tape_field_info *added, uint32_t count, size_t size) {
    const tape_table_info *old = __real_record_table(id);
    tape_table_info *table = &tables[id];
    *table = *old;
    memcpy(fields[id], old->fields, old->field_count * sizeof *old->fields);
    memcpy(fields[id] + old->field_count, added, count * sizeof *added);
    table->fields = fields[id];
    table->field_count += count;
    table->version = 2;
    table->size_bytes = (uint32_t)size;
}

const tape_table_info *__wrap_record_table(uint16_t id) {
    bool known = id >= 1 && id <= TAPE_TABLE_COUNT;
    return version == 2 && known && tables[id].version == 2 ? &tables[id] : __real_record_table(id);
}

const tape_table_info *__wrap_record_table_named(const char *name) {
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        if (strcmp(__real_record_table(id)->name, name) == 0) {
            return __wrap_record_table(id);
        }
    }
    return NULL;
}

/* --- the store --- */

typedef struct fixture {
    char root[128];
    char dir[160];
    tape *db;
    uint64_t count, old; /* deals, and how many of them were written at version 1 */
} fixture;

static void open_store(fixture *f) {
    tape_open_options options;
    tape_error error = {0};
    tape_open_options_init(&options);
    options.window_bytes = MIB(1);
    options.archive_by_hand = true;
    if (engine_open(os_disk_linux(), f->dir, &options, true, &f->db, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void close_store(fixture *f) {
    tape_error error = {0};
    if (tape_close(&f->db, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    const char *parent = getenv("TMPDIR");
    tape_error error;
    add_fields(TAPE_TABLE_TRADES, added_to_trades, COUNT_OF(added_to_trades), sizeof(trade_2));
    add_fields(TAPE_TABLE_ACCOUNTS, added_to_accounts, COUNT_OF(added_to_accounts),
               sizeof(account_2));
    version = 1;
    (void)snprintf(f->root, sizeof f->root, "%s/tape-evolve-XXXXXX",
                   parent == NULL ? "/tmp" : parent);
    if (mkdtemp(f->root) == NULL) {
        return -1;
    }
    (void)snprintf(f->dir, sizeof f->dir, "%s/db", f->root);
    *state = f;
    return engine_create(os_disk_linux(), f->dir, MIB(1), &error) == TAPE_OK ? 0 : -1;
}

static int teardown(void **state) {
    fixture *f = *state;
    char command[256];
    (void)snprintf(command, sizeof command, "rm -rf %s", f->root);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* Deal n, from 1: a trade and the account it changes, as one append. A hundred deals a day. Of the
 * newer ones every fourth has no fee to speak of (0, which is not NULL) and no venue. */
static void append_deal(fixture *f) {
    uint64_t n = ++f->count;
    trade_2 trade = {.first = {.side = TAPE_SIDE_BUY, .price = (double)n, .volume = 1},
                     .fee = n % 4 == 0 ? 0 : (double)n / 4,
                     .liquidity = (uint8_t)(n % 3)};
    account_2 account = {.first = {.balance = (double)n}, .credit = (double)(2 * n)};
    memcpy(trade.venue, "XSHG", n % 4 == 0 ? 0 : 4);
    memcpy(account.currency, "CNY", 3);
    (void)snprintf(trade.first.trade_id, sizeof trade.first.trade_id, "t%llu",
                   (unsigned long long)n);
    (void)snprintf(trade.first.instrument_id, sizeof trade.first.instrument_id, "I%llu",
                   (unsigned long long)(n % 3));
    (void)snprintf(account.first.user_id, sizeof account.first.user_id, "u%llu",
                   (unsigned long long)(n % USERS));
    trade.first.ts = account.first.ts =
        1700000000 * NS_PER_SECOND + (int64_t)(n / 100) * DAY_NS + (int64_t)n;
    tape_record records[2] = {
        {TAPE_TABLE_TRADES, 0, tape_table(TAPE_TABLE_TRADES)->size_bytes, &trade},
        {TAPE_TABLE_ACCOUNTS, 0, tape_table(TAPE_TABLE_ACCOUNTS)->size_bytes, &account}};
    tape_error error = {0};
    f->old += version == 1;
    if (tape_append(f->db, records, 2, NULL, NULL, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

static void append_deals(fixture *f, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        append_deal(f);
    }
}

static void archive_store(fixture *f, const char *date) {
    tape_archive_options options;
    tape_error error = {0};
    tape_archive_options_init(&options);
    options.date = date;
    if (tape_archive(f->db, &options, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

/* --- what it answers --- */

/* A number, or UINT64_MAX for NULL, or UINT64_MAX - 1 when there is no row. */
static uint64_t number_of(fixture *f, const char *sql, uint64_t at) {
    struct ArrowArrayStream stream;
    struct ArrowArray array;
    tape_query_options options;
    tape_error error = {0};
    uint64_t number = UINT64_MAX - 1;
    tape_query_options_init(&options);
    options.at = at;
    if (tape_query(f->db, sql, &options, &stream, &error) != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    if (stream.get_next(&stream, &array) != 0) {
        fail_msg("%s: %s", sql, stream.get_last_error(&stream));
    }
    if (array.release != NULL && array.length > 0) {
        const struct ArrowArray *column = array.children[0];
        const uint8_t *valid = column->buffers[0];
        double value = ((const double *)column->buffers[1])[0];
        number = valid != NULL && (valid[0] & 1) == 0 ? UINT64_MAX : (uint64_t)value;
    }
    if (array.release != NULL) {
        array.release(&array);
    }
    stream.release(&stream);
    return number;
}

static void check_number(fixture *f, const char *sql, uint64_t at, uint64_t should) {
    uint64_t is = number_of(f, sql, at);
    if (is != should) {
        fail_msg("%s at %llu: %llu, should be %llu", sql, (unsigned long long)at,
                 (unsigned long long)is, (unsigned long long)should);
    }
}

/* After deal `last`, now or as it was then. */
static void check_at(fixture *f, uint64_t last, bool now) {
    uint64_t fees = 0, priced = 0, venues = 0, makers = 0, quarters = 0, credit = 0, current = 0;
    uint64_t at = now ? 0 : 2 * last;
    for (uint64_t n = f->old + 1; n <= last; n++) {
        priced++;
        fees += n % 4 != 0;
        venues += n % 4 != 0;
        quarters += n % 4 == 0 ? 0 : n;
        makers += n % 3 == 1;
        current += n + USERS > last;
        credit += n + USERS > last ? 2 * n : 0;
    }
    check_number(f, "SELECT count(*)::DOUBLE FROM trades", at, last);
    check_number(f, "SELECT count(fee)::DOUBLE FROM trades", at, priced);
    check_number(f, "SELECT count(*)::DOUBLE FROM trades WHERE fee IS NULL", at, last - priced);
    check_number(f, "SELECT count(*)::DOUBLE FROM trades WHERE fee = 0", at, priced - fees);
    check_number(f, "SELECT coalesce(sum(fee) * 4, 0) FROM trades", at, quarters);
    check_number(f, "SELECT count(venue)::DOUBLE FROM trades", at, venues);
    check_number(f, "SELECT count(*)::DOUBLE FROM trades WHERE venue = 'XSHG'", at, venues);
    check_number(f, "SELECT count(*)::DOUBLE FROM trades WHERE liquidity = 'maker'", at, makers);
    check_number(f,
                 "SELECT count(*)::DOUBLE FROM trades WHERE instrument_id = 'I1' AND venue IS NULL "
                 "AND ts >= TIMESTAMP '2023-11-14' AND fee IS NULL AND liquidity IS NULL",
                 at, ((f->old < last ? f->old : last) + 2) / 3);
    check_number(f, "SELECT count(credit)::DOUBLE FROM accounts_history", at, priced);
    check_number(f, "SELECT count(currency)::DOUBLE FROM accounts_history", at, priced);
    check_number(f, "SELECT count(*)::DOUBLE FROM accounts", at, last < USERS ? last : USERS);
    check_number(f, "SELECT count(credit)::DOUBLE FROM accounts", at, current);
    check_number(f, "SELECT coalesce(sum(credit), 0) FROM accounts", at, credit);
}

static void check_points(fixture *f) {
    uint64_t n = f->count;
    char sql[128];
    check_number(f, "SELECT fee FROM trades WHERE trade_id = 't1'", 0, UINT64_MAX);
    check_number(f, "SELECT price FROM trades WHERE trade_id = 't1'", 0, 1);
    (void)snprintf(sql, sizeof sql, "SELECT credit FROM accounts WHERE user_id = 'u%llu'",
                   (unsigned long long)(n % USERS));
    check_number(f, sql, 0, n > f->old ? 2 * n : UINT64_MAX);
    check_number(f, sql, 2 * f->old, UINT64_MAX);
    (void)snprintf(sql, sizeof sql, "SELECT fee * 4 FROM trades WHERE trade_id = 't%llu'",
                   (unsigned long long)n);
    check_number(f, sql, 0, n <= f->old ? UINT64_MAX : n % 4 == 0 ? 0 : n);
}

static void check(fixture *f) {
    static const uint64_t moments[] = {1, 4, 150, 250, 301, 304, 377, 450};
    check_at(f, f->count, true);
    check_points(f);
    for (size_t i = 0; i < COUNT_OF(moments); i++) {
        if (moments[i] <= f->count) {
            check_at(f, moments[i], false);
        }
    }
}

/* --- the tests --- */

static void old_rows_have_null_for_fields_added_later(void **state) {
    fixture *f = *state;
    open_store(f);
    append_deals(f, 150);
    archive_store(f, NULL); /* files of version 1 */
    append_deals(f, 150);   /* and rows of it in the journal only */
    assert_int_equal(number_of(f, "SELECT count(*)::DOUBLE FROM trades", 0), 300);
    close_store(f);

    version = 2;
    open_store(f);
    check(f); /* without any row of version 2 */
    append_deals(f, 77);
    check(f);
    archive_store(f, NULL); /* rows of both versions in one take */
    check(f);
    append_deals(f, 73);
    check(f);
    archive_store(f, "2023-11-15"); /* puts files of both versions together */
    archive_store(f, "2023-11-16");
    archive_store(f, "2023-11-17");
    check(f);
    append_deals(f, 5);
    close_store(f);
    open_store(f);
    check(f);
    close_store(f);
}

static void a_table_of_old_files_alone_has_the_new_columns(void **state) {
    fixture *f = *state;
    open_store(f);
    append_deals(f, 120);
    archive_store(f, NULL);
    close_store(f);
    version = 2;
    open_store(f);
    check(f);
    archive_store(f, "2023-11-14");
    check(f);
    close_store(f);
}

static void rows_from_the_stores_files_keep_their_version(void **state) {
    fixture *f = *state;
    tape_error error = {0};
    open_store(f);
    append_deals(f, 300);
    assert_int_equal(tape_compact(f->db, NULL, &error), TAPE_OK);
    close_store(f);
    version = 2;
    open_store(f);
    append_deals(f, 150);
    assert_int_equal(tape_compact(f->db, NULL, &error), TAPE_OK);
    check(f);
    close_store(f);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(old_rows_have_null_for_fields_added_later),
        TEST(a_table_of_old_files_alone_has_the_new_columns),
        TEST(rows_from_the_stores_files_keep_their_version),
    };
    log_set(LOG_ERROR, NULL, NULL);
    return cmocka_run_group_tests_name("engine_evolve", tests, NULL, NULL);
}
