/* The figures themselves: histograms and medians against exact answers. */
#include "bench.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static int compare_u64(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void histogram_quantiles_are_within_a_hundredth(void **state) {
    (void)state;
    enum { COUNT = 20000 };
    static uint64_t values[COUNT];
    uint64_t seed = 3;
    bench_histogram *h = bench_histogram_create(1);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = bench_random(&seed) >> (bench_random(&seed) % 64);
        bench_add(h, values[i]);
    }
    qsort(values, COUNT, sizeof *values, compare_u64);
    static const double quantiles[] = {0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999};
    for (size_t i = 0; i < BENCH_COUNT_OF(quantiles); i++) {
        double exact = (double)values[(size_t)ceil(quantiles[i] * COUNT) - 1];
        assert_true(fabs(bench_quantile(h, quantiles[i]) - exact) <= exact * 0.01);
    }
    assert_int_equal(h->count, COUNT);
    assert_int_equal(h->max, values[COUNT - 1]);
    free(h);
}

static void histogram_keeps_small_values_exactly(void **state) {
    (void)state;
    bench_histogram *h = bench_histogram_create(0.5);
    for (uint64_t value = 0; value < 256; value++) {
        bench_add(h, value);
    }
    assert_true(bench_quantile(h, 0.5) == 127 * 0.5);
    assert_true(bench_quantile(h, 1) == 255 * 0.5);
    bench_histogram_reset(h);
    assert_true(bench_quantile(h, 0.5) == 0);
    assert_true(h->ns_per_unit == 0.5);
    free(h);
}

static void histogram_merge_is_as_if_added_to_one(void **state) {
    (void)state;
    bench_histogram *a = bench_histogram_create(1);
    bench_histogram *b = bench_histogram_create(1);
    bench_add(a, 10);
    bench_add(a, UINT64_MAX);
    bench_add(b, 1000);
    bench_histogram_merge(b, a);
    assert_int_equal(b->count, 3);
    assert_int_equal(b->max, UINT64_MAX);
    assert_true(bench_quantile(b, 0.33) == 10);
    free(a);
    free(b);
}

static void series_quantiles_interpolate(void **state) {
    (void)state;
    bench_series s = {0};
    assert_true(bench_median(&s) == 0);
    bench_push(&s, 4);
    bench_push(&s, 1);
    bench_push(&s, 3);
    bench_push(&s, 2);
    assert_true(bench_median(&s) == 2.5);
    assert_true(bench_series_quantile(&s, 0) == 1);
    assert_true(bench_series_quantile(&s, 1) == 4);
    assert_true(bench_series_quantile(&s, 0.25) == 1.75);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(histogram_quantiles_are_within_a_hundredth),
        cmocka_unit_test(histogram_keeps_small_values_exactly),
        cmocka_unit_test(histogram_merge_is_as_if_added_to_one),
        cmocka_unit_test(series_quantiles_interpolate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
