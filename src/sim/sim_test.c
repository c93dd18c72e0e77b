/* sim_run on a real store: what went through tape_append is what readers get. */
#include "sim/sim_internal.h"

#include <tape/reader.h>

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define USERS 20
#define ORDERS 3000
#define DEPOSIT ((double)SIM_DEPOSIT_UNITS / SIM_UNITS_PER_MONEY)

static void must(tape_status status, const tape_error *error) {
    if (status != TAPE_OK) {
        fail_msg("%s: %s", tape_status_name(status), error->text);
    }
}

typedef struct place {
    char dir[64];
    tape *db;
} place;

static place p; /* a store for each test */

static int place_init(void **state) {
    (void)state;
    p = (place){0};
    tape_error error;
    (void)snprintf(p.dir, sizeof p.dir, "/tmp/tape-sim-test.XXXXXX");
    assert_non_null(mkdtemp(p.dir));
    tape_create_options create;
    tape_create_options_init(&create);
    create.segment_bytes = MIB(4);
    must(tape_create(p.dir, &create, &error), &error);
    tape_open_options open;
    tape_open_options_init(&open);
    open.window_bytes = MIB(8);
    must(tape_open(p.dir, &open, &p.db, &error), &error);
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static int place_deinit(void **state) {
    (void)state;
    tape_error error;
    must(tape_close(&p.db, &error), &error);
    return nftw(p.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static sim_options options_of(uint64_t seed, uint64_t orders) {
    sim_options options;
    sim_options_init(&options);
    options.seed = seed;
    options.orders = orders;
    options.users = USERS;
    options.instruments = 3;
    return options;
}

static sim_result run_sim(const sim_options *options) {
    sim_result result;
    tape_error error;
    must(sim_run(p.db, options, &result, &error), &error);
    return result;
}

/* --- what a reader adds up ---------------------------------------------------------------------
 */

typedef struct sums {
    double balance[USERS + 2]; /* of one seed */
    double balances, traded, filled, ticked;
    double filled_of[ORDERS + 1]; /* by order */
    uint64_t orders, records, events, hash;
    uint64_t ends[32]; /* seq of the last record of appends here and there */
    size_t end_count;
} sums;

static uint32_t account_index(const char *user_id) {
    const char *name = strchr(user_id, '-') + 1;
    return name[0] == 'h'   ? USERS
           : name[0] == 'c' ? USERS + 1
                            : (uint32_t)strtoul(name, NULL, 10) - 1;
}

static void sums_add(sums *s, const tape_reader_record *record) {
    s->records++;
    s->hash = crc32c((uint32_t)s->hash, record->record, tape_table(record->table)->size_bytes);
    switch (record->table) {
    case TAPE_TABLE_ACCOUNTS: {
        const tape_account *account = record->record;
        double *balance = &s->balance[account_index(account->user_id)];
        s->balances += account->balance - *balance;
        *balance = account->balance;
        assert_true(account->available >= 0);
        break;
    }
    case TAPE_TABLE_ORDERS: {
        const tape_order *order = record->record;
        uint64_t number = strtoull(strchr(order->order_id, 'o') + 1, NULL, 10);
        assert_true(number <= s->orders + 1 && number <= ORDERS);
        s->orders = number > s->orders ? number : s->orders;
        s->filled += order->filled_volume - s->filled_of[number];
        s->filled_of[number] = order->filled_volume;
        break;
    }
    case TAPE_TABLE_TRADES:
        s->traded += ((const tape_trade *)record->record)->volume;
        break;
    case TAPE_TABLE_TICKS:
        s->ticked += ((const tape_tick *)record->record)->volume;
        break;
    default:
        break;
    }
    if (!record->more) {
        if (s->events++ % (ORDERS / COUNT_OF(s->ends)) == 0 && s->end_count < COUNT_OF(s->ends)) {
            s->ends[s->end_count++] = s->records;
        }
        assert_true(s->balances == 2 * USERS * DEPOSIT); /* exactly, after every append */
        assert_true(2 * s->traded == s->filled);
        assert_true(s->ticked == s->traded);
    }
}

static sums read_all(uint64_t from, uint64_t last) {
    sums s = {0};
    tape_error error;
    tape_reader *reader;
    tape_reader_options options;
    tape_reader_options_init(&options);
    options.from_seq = from;
    options.level = TAPE_DURABLE;
    must(tape_reader_open(p.dir, &options, &reader, &error), &error);
    while (tape_reader_next_seq(reader) <= last) {
        tape_reader_record records[64];
        size_t count;
        assert_int_equal(
            tape_reader_poll(reader, records, COUNT_OF(records), NS_PER_SECOND, &count, &error),
            TAPE_OK);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++) {
            sums_add(&s, &records[i]);
        }
    }
    tape_reader_close(&reader);
    return s;
}

/* --- tests -------------------------------------------------------------------------------------
 */

static void sim_run_keeps_its_invariants_at_the_end_of_every_append(void **state) {
    (void)state;
    sim_options options = options_of(7, ORDERS);
    sim_result result = run_sim(&options);
    assert_int_equal(result.orders, ORDERS);
    assert_int_equal(result.first_seq, 1);
    assert_int_equal(result.last_seq, result.records);
    sums s = read_all(1, result.last_seq);
    assert_int_equal(s.records, result.records);
    assert_int_equal(s.orders, ORDERS);
    assert_int_equal(s.events, 2 + result.orders + result.cancels); /* two open the accounts */
    assert_true(result.trades > 100);
}

/* One row of doubles. */
static void query_row(const char *sql, uint64_t at, double *out, size_t columns) {
    tape_error error;
    tape_query_options options;
    tape_query_options_init(&options);
    options.at = at;
    struct ArrowArrayStream stream;
    must(tape_query(p.db, sql, &options, &stream, &error), &error);
    struct ArrowArray batch;
    assert_int_equal(stream.get_next(&stream, &batch), 0);
    assert_non_null(batch.release);
    assert_int_equal(batch.length, 1);
    assert_int_equal(batch.n_children, (int64_t)columns);
    for (size_t i = 0; i < columns; i++) {
        const struct ArrowArray *column = batch.children[i];
        out[i] = ((const double *)column->buffers[1])[column->offset];
    }
    batch.release(&batch);
    stream.release(&stream);
}

/* What README.md promises, as a user would ask, at the ends of appends all over the run. */
static void sim_run_keeps_its_invariants_in_sql(void **state) {
    (void)state;
    const char *const sql =
        "SELECT (SELECT sum(balance) FROM accounts),"
        " (SELECT min(available) FROM accounts),"
        " (SELECT coalesce(2 * sum(volume), 0) FROM trades),"
        " (SELECT coalesce(sum(filled_volume), 0) FROM orders),"
        " (SELECT coalesce(sum(volume), 0) FROM ticks),"
        " (SELECT coalesce(sum(long_volume - short_volume), 0) FROM positions),"
        " (SELECT coalesce(max(abs(a.margin - coalesce(p.margin, 0))), 0) FROM accounts a LEFT JOIN"
        "  (SELECT user_id, sum(margin_rate * volume_multiplier * (long_volume * long_price +"
        "   short_volume * short_price)) AS margin"
        "   FROM positions JOIN instruments USING (instrument_id) GROUP BY user_id) p"
        "  USING (user_id)),"
        " (SELECT count(*)::DOUBLE FROM ticks WHERE bid_price >= ask_price AND ask_price > 0),"
        " (SELECT count(*)::DOUBLE FROM trades WHERE order_id NOT IN (SELECT order_id FROM orders)"
        "  OR counter_order_id NOT IN (SELECT order_id FROM orders))";
    sim_options options = options_of(9, ORDERS);
    sim_result result = run_sim(&options);
    sums s = read_all(1, result.last_seq);
    assert_int_equal(s.end_count, COUNT_OF(s.ends));
    for (size_t i = 0; i < s.end_count; i++) {
        double row[9];
        query_row(sql, s.ends[i], row, COUNT_OF(row));
        assert_true(row[0] == 2 * USERS * DEPOSIT);
        assert_true(row[1] >= 0);
        assert_true(row[2] == row[3]);
        assert_true(2 * row[4] == row[2]);
        assert_true(row[5] == 0);
        assert_true(row[6] < 1e-6);
        assert_true(row[7] == 0 && row[8] == 0);
    }
}

static void sim_run_leaves_every_order_once(void **state) {
    (void)state;
    sim_options options = options_of(3, 500);
    (void)run_sim(&options);
    for (unsigned i = 1; i <= 501; i++) {
        char id[41];
        (void)snprintf(id, sizeof id, "s3-o%08u", i);
        const char *key = id;
        tape_order order;
        tape_error error;
        tape_status status = tape_get(p.db, TAPE_TABLE_ORDERS, &key, 1, 0, &order, &error);
        assert_int_equal(status, i <= 500 ? TAPE_OK : TAPE_NOT_FOUND);
    }
}

static void sim_run_with_the_same_seed_writes_the_same_records(void **state) {
    (void)state;
    uint64_t hash[2];
    for (int i = 0; i < 2; i++) {
        if (i == 1) {
            place_deinit(state);
            place_init(state);
        }
        sim_options options = options_of(42, 1000);
        options.level = i == 0 ? TAPE_WRITTEN : TAPE_DURABLE;
        sim_result result = run_sim(&options);
        tape_error error;
        must(tape_wait(p.db, result.last_seq, TAPE_DURABLE, -1, &error), &error);
        hash[i] = read_all(1, result.last_seq).hash;
    }
    assert_true(hash[0] == hash[1]);
}

static void sim_run_refuses_a_seed_it_knows_and_adds_another(void **state) {
    (void)state;
    sim_options options = options_of(1, 200);
    sim_result first = run_sim(&options);
    sim_result again;
    tape_error error;
    options.orders = 0; /* even of nothing */
    assert_int_equal(sim_run(p.db, &options, &again, &error), TAPE_EXISTS);
    assert_non_null(strstr(error.text, "--seed"));
    assert_int_equal(again.records, 0);
    options = options_of(2, 200);
    sim_result second = run_sim(&options);
    assert_int_equal(second.first_seq, first.last_seq + 1);
    (void)read_all(second.first_seq, second.last_seq); /* its own sums hold, too */
}

static bool stop_at_once(void *context, uint64_t orders_done) {
    *(uint64_t *)context = orders_done;
    return false;
}

static void sim_run_stops_when_it_is_told_to(void **state) {
    (void)state;
    uint64_t seen = UINT64_MAX;
    sim_options options = options_of(5, SIM_ORDERS_MAX); /* would take years */
    options.progress = stop_at_once;
    options.progress_context = &seen;
    sim_result result = run_sim(&options);
    assert_true(seen <= result.orders && result.orders < SIM_ORDERS_MAX);
    assert_int_equal(result.records, result.last_seq);
    tape_error error;
    must(tape_wait(p.db, result.last_seq, TAPE_DURABLE, 0, &error), &error);
}

static void sim_run_refuses_options_that_make_no_sense(void **state) {
    (void)state;
    const struct {
        uint32_t users, instruments;
        double rate;
        uint64_t orders;
        int level;
        const char *word;
    } cases[] = {
        {1, 1, 0, 10, TAPE_WRITTEN, "users"},
        {SIM_USERS_MAX + 1, 1, 0, 10, TAPE_WRITTEN, "users"},
        {10, 0, 0, 10, TAPE_WRITTEN, "instruments"},
        {10, SIM_INSTRUMENTS_MAX + 1, 0, 10, TAPE_WRITTEN, "instruments"},
        {SIM_USERS_MAX, 100, 0, 10, TAPE_WRITTEN, "positions"},
        {10, 1, -1, 10, TAPE_WRITTEN, "rate"},
        {10, 1, 0.0 / 0.0, 10, TAPE_WRITTEN, "rate"},
        {10, 1, 0, SIM_ORDERS_MAX + 1, TAPE_WRITTEN, "orders"},
        {10, 1, 0, 10, 9, "level"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        sim_options options = {.users = cases[i].users,
                               .instruments = cases[i].instruments,
                               .rate = cases[i].rate,
                               .orders = cases[i].orders,
                               .level = (tape_level)cases[i].level};
        sim_result result;
        tape_error error;
        assert_int_equal(sim_run(p.db, &options, &result, &error), TAPE_INVALID);
        assert_non_null(strstr(error.text, cases[i].word));
        assert_int_equal(result.records, 0);
    }
}

static void sim_run_at_a_rate_sends_all_orders(void **state) {
    (void)state;
    sim_options options = options_of(6, 300);
    options.rate = 3000;
    int64_t start_ns = clock_monotonic_ns();
    sim_result result = run_sim(&options);
    assert_int_equal(result.orders, 300);
    assert_true(clock_monotonic_ns() - start_ns >= 99 * NS_PER_SECOND / 1000); /* never faster */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, place_init, place_deinit)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(sim_run_keeps_its_invariants_at_the_end_of_every_append),
        TEST(sim_run_keeps_its_invariants_in_sql),
        TEST(sim_run_leaves_every_order_once),
        TEST(sim_run_with_the_same_seed_writes_the_same_records),
        TEST(sim_run_refuses_a_seed_it_knows_and_adds_another),
        TEST(sim_run_stops_when_it_is_told_to),
        TEST(sim_run_refuses_options_that_make_no_sense),
        TEST(sim_run_at_a_rate_sends_all_orders),
    };
    return cmocka_run_group_tests_name("sim", tests, NULL, NULL);
}
