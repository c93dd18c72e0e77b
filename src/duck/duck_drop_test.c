/* Duck: scans beside a writer, and beside an archive that lets chunks go whose memory is used
 * again. */
#include "duck/duck_testing.h"

#define TICKS_PER_ROUND 50000u
#define ROUNDS 24u

static fixture top;

static void apply_ticks(uint64_t count) {
    tape_tick ticks[500];
    record_view views[500];
    tape_error error;
    for (uint64_t done = 0; done < count;) {
        size_t n = 0;
        for (; n < COUNT_OF(ticks) && done < count; n++, done++) {
            top.seq++;
            ticks[n] = (tape_tick){.seq = top.seq,
                                   .ts = (int64_t)top.seq,
                                   .instrument_id = "IF2601",
                                   .last_price = (double)top.seq,
                                   .volume = 1};
            views[n] = (record_view){.table = record_table(TAPE_TABLE_TICKS),
                                     .payload = &ticks[n],
                                     .size = sizeof ticks[n],
                                     .version = TAPE_TICKS_VERSION,
                                     .seq = top.seq,
                                     .ts = ticks[n].ts};
        }
        if (columns_apply(top.columns, views, n, &error) != TAPE_OK) {
            fail_msg("%s", error.text);
        }
    }
}

/* One scan of everything that a pin holds; what it must give follows from the two seqs. */
static bool scan_is_right(duck_session *s, duck_statement *st) {
    columns_pin *pin = columns_pin_open(top.columns);
    uint64_t after = columns_pin_base(pin);
    uint64_t seq = columns_seq(top.columns);
    duck_result *r;
    duck_value v[4];
    tape_error error;
    size_t rows;
    duck_session_see(s, after, seq);
    if (duck_statement_start(st, NULL, 0, &r, &error) != TAPE_OK ||
        duck_result_next(r, &rows, &error) != TAPE_OK || rows != 1) {
        print_error("%s\n", error.text);
        return false;
    }
    for (size_t n = 0; n < COUNT_OF(v); n++) {
        duck_result_value(r, n, 0, &v[n]);
    }
    double count = (double)(seq - after);
    double sum = (double)(after + 1 + seq) / 2 * count;
    bool right = (double)v[0].integer == count && v[1].real == sum && v[2].real == count &&
                 (uint64_t)v[3].integer == seq;
    if (!right) {
        print_error("after %llu up to %llu: %lld %f %f %lld\n", (unsigned long long)after,
                    (unsigned long long)seq, (long long)v[0].integer, v[1].real, v[2].real,
                    (long long)v[3].integer);
    }
    duck_result_close(&r);
    columns_pin_close(&pin);
    return right;
}

static duck_statement *prepare(duck_session *s) {
    duck_statement *st;
    tape_error error;
    assert_int_equal(duck_statement_prepare(s,
                                            "SELECT count(*), sum(last_price), sum(volume), "
                                            "max(seq) FROM tape_scan('ticks', 'all')",
                                            &st, &error),
                     TAPE_OK);
    return st;
}

typedef struct reader {
    duck_session *session;
    duck_statement *statement;
    _Atomic bool stop;
    _Atomic uint64_t scans;
    _Atomic bool wrong;
} reader;

static void read_on(void *argument) {
    reader *r = argument;
    while (!atomic_load(&r->stop) && !atomic_load(&r->wrong)) {
        atomic_store(&r->wrong, !scan_is_right(r->session, r->statement));
        atomic_fetch_add(&r->scans, 1);
    }
}

static void duck_scans_are_right_while_chunks_come_and_go(void **state) {
    (void)state;
    tape_error error;
    reader readers[2];
    os_thread *threads[COUNT_OF(readers)];
    top_open(&top);
    apply_ticks(10);
    for (size_t n = 0; n < COUNT_OF(readers); n++) {
        readers[n] = (reader){0};
        assert_int_equal(duck_session_open(top.duck, &readers[n].session, &error), TAPE_OK);
        readers[n].statement = prepare(readers[n].session);
        assert_int_equal(os_thread_start(&threads[n], "reader", -1, read_on, &readers[n], &error),
                         TAPE_OK);
    }
    duck_statement *st = prepare(top.session);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        apply_ticks(TICKS_PER_ROUND);
        assert_true(scan_is_right(top.session, st));
        if (round % 3 == 2) {
            uint64_t seq = top.seq - TICKS_PER_ROUND / 2;
            assert_int_equal(columns_hand_over(top.columns, seq, &error), TAPE_OK);
            columns_drop(top.columns, seq);
            assert_true(scan_is_right(top.session, st));
        }
    }
    for (size_t n = 0; n < COUNT_OF(readers); n++) {
        atomic_store(&readers[n].stop, true);
        os_thread_join(&threads[n]);
        assert_false(readers[n].wrong);
        assert_true(readers[n].scans > 0);
        duck_statement_close(&readers[n].statement);
        duck_session_close(&readers[n].session);
    }
    duck_statement_close(&st);
    top_close(&top);
}

/* A result that is still being read keeps what it shows, whatever is dropped meanwhile. */
static void duck_results_stay_while_what_they_show_is_dropped(void **state) {
    (void)state;
    tape_error error;
    duck_result *r;
    size_t rows;
    top_open(&top);
    apply_ticks(300000);
    columns_pin *pin = columns_pin_open(top.columns);
    duck_session_see(top.session, 0, 300000);
    assert_int_equal(duck_session_start(top.session,
                                        "SELECT seq, last_price FROM tape_scan('ticks', 'all')", &r,
                                        &error),
                     TAPE_OK);
    assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
    assert_int_equal(columns_hand_over(top.columns, 290000, &error), TAPE_OK);
    columns_drop(top.columns, 290000);
    apply_ticks(300000);
    duck_statement *st;
    duck_session *other;
    assert_int_equal(duck_session_open(top.duck, &other, &error), TAPE_OK);
    st = prepare(other);
    assert_true(scan_is_right(other, st));
    uint64_t seq = 0;
    while (rows > 0) {
        for (size_t row = 0; row < rows; row++) {
            duck_value v[2];
            duck_result_value(r, 0, row, &v[0]);
            duck_result_value(r, 1, row, &v[1]);
            seq++;
            assert_true((uint64_t)v[0].integer == seq && v[1].real == (double)seq);
        }
        assert_int_equal(duck_result_next(r, &rows, &error), TAPE_OK);
    }
    assert_int_equal(seq, 300000);
    duck_result_close(&r);
    columns_pin_close(&pin);
    assert_true(scan_is_right(other, st));
    duck_statement_close(&st);
    duck_session_close(&other);
    top_close(&top);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duck_scans_are_right_while_chunks_come_and_go),
        cmocka_unit_test(duck_results_stay_while_what_they_show_is_dropped),
    };
    return cmocka_run_group_tests_name("duck and dropped chunks", tests, NULL, NULL);
}
