/* Functions of your own in SQL: one of rows and one that aggregates. Run it on the store that
 * embed.c made.
 *
 *     cc udf.c $(pkg-config --cflags --libs tape) -lm -o udf && ./udf /tmp/embed-store
 */
#include <tape/tape.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void check(tape_status status, const tape_error *error) {
    if (status != TAPE_OK) {
        (void)fprintf(stderr, "%s: %s\n", tape_status_name(status), error->text);
        exit(1);
    }
}

static bool is_null(const tape_vector *v, size_t row) {
    return v->valid != NULL && (v->valid[row / 64] >> (row % 64) & 1) == 0;
}

/* in_ticks(price, tick): the price as a number of ticks. A row with a NULL among its arguments is
 * NULL, whatever is set for it; the value that stands for a NULL means nothing. */
static tape_status in_ticks(void *context, const tape_vector *arguments, size_t rows,
                            tape_results *results, tape_error *error) {
    (void)context;
    const double *prices = arguments[0].values;
    const double *ticks = arguments[1].values;
    int64_t *out = tape_results_values(results);
    for (size_t i = 0; i < rows; i++) {
        if (is_null(&arguments[0], i) || is_null(&arguments[1], i)) {
            continue;
        }
        double number = floor(prices[i] / ticks[i] + 0.5);
        if (!(ticks[i] > 0 && fabs(number) < 1e15)) {
            (void)snprintf(error->text, sizeof error->text, "a price in ticks of %g", ticks[i]);
            return TAPE_INVALID;
        }
        out[i] = (int64_t)number;
    }
    return TAPE_OK;
}

/* price_range(price): the highest less the lowest. DuckDB fills states on several threads and
 * combines them. */
typedef struct range {
    uint64_t count;
    double low, high;
} range;

static void widen(range *r, double low, double high, uint64_t count) {
    if (count == 0) {
        return;
    }
    r->low = r->count == 0 || low < r->low ? low : r->low;
    r->high = r->count == 0 || high > r->high ? high : r->high;
    r->count += count;
}

static tape_status range_update(void *context, const tape_vector *arguments, size_t rows,
                                void **states, tape_error *error) {
    (void)context;
    (void)error;
    const double *prices = arguments[0].values;
    for (size_t i = 0; i < rows; i++) {
        widen(states[i], prices[i], prices[i], 1);
    }
    return TAPE_OK;
}

static tape_status range_combine(void *context, void **sources, void **targets, size_t count,
                                 tape_error *error) {
    (void)context;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        const range *from = sources[i];
        widen(targets[i], from->low, from->high, from->count);
    }
    return TAPE_OK;
}

static tape_status range_finish(void *context, void **states, size_t count, tape_results *results,
                                tape_error *error) {
    (void)context;
    (void)error;
    double *out = tape_results_values(results);
    for (size_t i = 0; i < count; i++) {
        const range *r = states[i];
        if (r->count == 0) {
            tape_results_set_null(results, i);
        } else {
            out[i] = r->high - r->low;
        }
    }
    return TAPE_OK;
}

/* Known to the store until it is closed, so they are static. */
static const tape_type DOUBLES[] = {TAPE_TYPE_DOUBLE, TAPE_TYPE_DOUBLE};
static const tape_function IN_TICKS = {.size_bytes = sizeof IN_TICKS,
                                       .name = "in_ticks",
                                       .arguments = DOUBLES,
                                       .argument_count = 2,
                                       .result = TAPE_TYPE_INT64,
                                       .call = in_ticks};
static const tape_aggregate PRICE_RANGE = {.size_bytes = sizeof PRICE_RANGE,
                                           .name = "price_range",
                                           .arguments = DOUBLES,
                                           .argument_count = 1,
                                           .result = TAPE_TYPE_DOUBLE,
                                           .state_bytes = sizeof(range),
                                           .update = range_update,
                                           .combine = range_combine,
                                           .finish = range_finish};

static void append_trade(tape *db, const char *id, const char *instrument, double price) {
    tape_error error;
    tape_trade trade = {.side = TAPE_SIDE_SELL, .price = price, .volume = 1};
    (void)snprintf(trade.trade_id, sizeof trade.trade_id, "%s", id);
    (void)snprintf(trade.instrument_id, sizeof trade.instrument_id, "%s", instrument);
    tape_record record = TAPE_RECORD(TRADES, &trade);
    check(tape_append(db, &record, 1, NULL, NULL, &error), &error);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: udf DIR\n");
        return 2;
    }
    tape_error error;
    tape *db = NULL;
    check(tape_open(argv[1], NULL, &db, &error), &error);
    append_trade(db, "t2", "IF2601", 3912.8);
    append_trade(db, "t3", "IC2601", 5800);
    check(tape_add_function(db, &IN_TICKS, &error), &error);
    check(tape_add_aggregate(db, &PRICE_RANGE, &error), &error);

    /* A statement is prepared once and kept by its text: give values as parameters. */
    const tape_value tick = {.type = TAPE_TYPE_DOUBLE, .real = 0.2};
    tape_query_options options;
    tape_query_options_init(&options);
    options.params = &tick;
    options.param_count = 1;
    struct ArrowArrayStream stream;
    struct ArrowArray batch;
    check(tape_query(db,
                     "SELECT max(in_ticks(price, $1)), price_range(price), instrument_id "
                     "FROM trades GROUP BY instrument_id ORDER BY instrument_id",
                     &options, &stream, &error),
          &error);
    while (stream.get_next(&stream, &batch) == 0 && batch.release != NULL) {
        const int64_t *highest = batch.children[0]->buffers[1];
        const double *ranges = batch.children[1]->buffers[1];
        const int32_t *ends = batch.children[2]->buffers[1];
        const char *instruments = batch.children[2]->buffers[2];
        for (int64_t row = 0; row < batch.length; row++) {
            printf("%.*s: %lld ticks at most, prices within %g\n", (int)(ends[row + 1] - ends[row]),
                   instruments + ends[row], (long long)highest[row], ranges[row]);
        }
        batch.release(&batch);
    }
    stream.release(&stream);
    check(tape_close(&db, &error), &error);
    return 0;
}
