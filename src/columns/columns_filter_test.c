/* Rows that a hint passes over: never one that it is after. */
#include "columns/columns_testing.h"

#include <math.h>

#define ROWS 20000u

static bool passes(const tape_trade *t, const columns_hint *h) {
    bool good = t->ts >= h->ts_min && t->ts <= h->ts_max;
    bool named = h->instruments == NULL;
    for (size_t n = 0; n < h->instrument_count; n++) {
        named = named || strncmp(t->instrument_id, h->instruments[n], sizeof t->instrument_id) == 0;
    }
    for (size_t n = 0; n < h->bound_count; n++) {
        double v = h->bounds[n].field == 9 ? t->price : t->volume;
        good = good && v >= h->bounds[n].min && v <= h->bounds[n].max;
    }
    return good && named;
}

/* Looks at the trades run by run; returns how many came although the hint is not after them. */
static uint64_t check_hint(const columns *c, const columns_hint *hint, uint32_t run, bool among) {
    uint32_t selected[COLUMNS_FILTER_ROWS_MAX];
    bool given[COLUMNS_FILTER_ROWS_MAX];
    uint64_t extra = 0;
    columns_filter *f = columns_filter_make(c, TAPE_TABLE_TRADES, hint);
    assert_non_null(f);
    for (uint64_t first = 0; first < ROWS; first += run) {
        uint32_t rows = ROWS - first < run ? (uint32_t)(ROWS - first) : run;
        uint32_t asked = rows;
        memset(given, 0, sizeof given);
        if (among) { /* every third row is not asked about */
            asked = 0;
            for (uint32_t i = 0; i < rows; i++) {
                selected[asked] = i;
                asked += i % 3 != 1;
            }
        }
        uint32_t count = columns_filter_rows(f, first, among, selected, asked);
        assert_true(count <= asked);
        for (uint32_t i = 0; i < count; i++) {
            uint32_t row = !among && count == rows ? i : selected[i];
            assert_true(row < rows && !given[row] && (!among || row % 3 != 1));
            given[row] = true;
        }
        for (uint32_t i = 0; i < rows; i++) {
            tape_trade trade = trade_of(first + i + 1);
            bool wanted = passes(&trade, hint) && (!among || i % 3 != 1);
            assert_true(given[i] || !wanted);
            extra += given[i] && !wanted;
        }
    }
    columns_filter_free(&f);
    assert_null(f);
    return extra;
}

static void filter_gives_every_row_the_hint_is_after_and_few_others(void **state) {
    (void)state;
    columns *c = open_columns(MIB(256));
    apply_trades(c, 1, ROWS);
    const tape_table_info *info = record_table(TAPE_TABLE_TRADES);
    assert_string_equal(info->fields[9].name, "price");
    assert_string_equal(info->fields[10].name, "volume");
    static const char *const few[] = {"i1", "i000000000012", "nobody"};
    static const char *const many[] = {"i1", "i03", "i004", "i0005", "i00006", "i000007"};
    static const char *const none[] = {"nobody"};
    static const columns_bound upper[] = {{9, 1800, INFINITY}};
    static const columns_bound both[] = {{9, 100, 1100}, {10, -5000, -4000}};
    static const columns_bound point[] = {{9, 100.125, 100.125}};
    static const columns_bound nearly_all[] = {{9, 10, INFINITY}};
    const columns_hint hints[] = {
        {.ts_min = 5000000, .ts_max = 6000000},
        {.ts_min = INT64_MIN, .ts_max = 300},
        {.ts_min = 19000000, .ts_max = INT64_MAX},
        {.ts_min = INT64_MIN, .ts_max = INT64_MAX, .instruments = few, .instrument_count = 3},
        {.ts_min = INT64_MIN, .ts_max = INT64_MAX, .instruments = many, .instrument_count = 6},
        {.ts_min = INT64_MIN, .ts_max = INT64_MAX, .instruments = none, .instrument_count = 1},
        {.ts_min = INT64_MIN, .ts_max = INT64_MAX, .bounds = upper, .bound_count = 1},
        {.ts_min = INT64_MIN, .ts_max = INT64_MAX, .bounds = both, .bound_count = 2},
        {.ts_min = INT64_MIN, .ts_max = INT64_MAX, .bounds = point, .bound_count = 1},
        {.ts_min = 0,
         .ts_max = 9000000,
         .instruments = few,
         .instrument_count = 3,
         .bounds = both,
         .bound_count = 2},
    };
    for (size_t n = 0; n < COUNT_OF(hints); n++) {
        static const uint32_t runs[] = {COLUMNS_FILTER_ROWS_MAX, 1000, 7, 1};
        for (size_t r = 0; r < COUNT_OF(runs); r++) {
            uint64_t extra = check_hint(c, &hints[n], runs[r], false);
            assert_true(extra <= ROWS / 100);
            assert_int_equal(check_hint(c, &hints[n], runs[r], true), 0);
        }
    }
    const columns_hint whole = {
        .ts_min = INT64_MIN, .ts_max = INT64_MAX, .bounds = nearly_all, .bound_count = 1};
    assert_true(check_hint(c, &whole, COLUMNS_FILTER_ROWS_MAX, false) <= 80);
    columns_close(&c);
}

static void no_hint_makes_no_filter(void **state) {
    (void)state;
    columns *c = open_columns(MIB(256));
    static const char *const some[] = {"x"};
    const columns_hint all = {.ts_min = INT64_MIN, .ts_max = INT64_MAX};
    const columns_hint named = {
        .ts_min = INT64_MIN, .ts_max = INT64_MAX, .instruments = some, .instrument_count = 1};
    assert_null(columns_filter_make(c, TAPE_TABLE_TRADES, NULL));
    assert_null(columns_filter_make(c, TAPE_TABLE_TRADES, &all));
    assert_null(columns_filter_make(c, TAPE_TABLE_ACCOUNTS, &named)); /* it has no instruments */
    columns_filter *f = columns_filter_make(c, TAPE_TABLE_TRADES, &named);
    assert_non_null(f);
    columns_filter_free(&f);
    columns_filter_free(&f);
    columns_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter_gives_every_row_the_hint_is_after_and_few_others),
        cmocka_unit_test(no_hint_makes_no_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
