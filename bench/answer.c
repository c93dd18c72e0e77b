/* Answers that can be compared, and tape's: see answer.h. */
#include "answer.h"

#include "market.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define BATCHES_MAX 65536u

void answer_add_time(answer *a, uint32_t column, int64_t ns) {
    answer_add(a, column, (double)(ns - MARKET_START_TS) / 1e9);
}

void answer_add_text(answer *a, uint32_t column, const char *text, size_t size_bytes) {
    uint32_t hash = 0;
    for (size_t i = 0; i < size_bytes; i++) {
        hash = hash * 31 + (uint8_t)text[i];
    }
    answer_add(a, column, (double)hash);
}

void answer_compare(const char *statement, const char *who, const answer *a, const char *other,
                    const answer *b) {
    if (a->rows != b->rows || a->columns != b->columns) {
        bench_fail("%s\n%s gives %" PRIu64 " rows of %u columns, %s %" PRIu64 " of %u", statement,
                   who, a->rows, a->columns, other, b->rows, b->columns);
    }
    for (uint32_t i = 0; i < a->columns; i++) {
        if (!(fabs(a->sums[i] - b->sums[i]) <= fabs(b->sums[i]) * 1e-9 + 1e-6)) {
            bench_fail("%s\ncolumn %u of %s adds up to %.17g, of %s to %.17g", statement, i + 1,
                       who, a->sums[i], other, b->sums[i]);
        }
    }
}

/* --- Arrow --- */

static bool is_valid(const struct ArrowArray *column, int64_t row) {
    const uint8_t *bits = column->buffers[0];
    return bits == NULL || (bits[row >> 3] >> (row & 7) & 1) != 0;
}

static void add_text(answer *a, uint32_t to, const struct ArrowArray *column, int64_t row,
                     bool large) {
    const char *data = column->buffers[2];
    if (large) {
        const int64_t *offsets = column->buffers[1];
        answer_add_text(a, to, data + offsets[row], (size_t)(offsets[row + 1] - offsets[row]));
    } else {
        const int32_t *offsets = column->buffers[1];
        answer_add_text(a, to, data + offsets[row], (size_t)(offsets[row + 1] - offsets[row]));
    }
}

static void add_column(answer *a, uint32_t to, const struct ArrowSchema *schema,
                       const struct ArrowArray *column) {
    const char *format = schema->format;
    bool is_time = strncmp(format, "ts", 2) == 0;
    int64_t unit_ns = !is_time ? 1 : format[2] == 'n' ? 1 : format[2] == 'u' ? 1000 : 1000000;
    for (int64_t i = column->offset; i < column->offset + column->length; i++) {
        const void *data = column->buffers[1];
        if (!is_valid(column, i)) {
            continue;
        }
        if (is_time) {
            answer_add_time(a, to, ((const int64_t *)data)[i] * unit_ns);
        } else if (strcmp(format, "g") == 0) {
            answer_add(a, to, ((const double *)data)[i]);
        } else if (strcmp(format, "l") == 0) {
            answer_add(a, to, (double)((const int64_t *)data)[i]);
        } else if (strcmp(format, "L") == 0) {
            answer_add(a, to, (double)((const uint64_t *)data)[i]);
        } else if (strcmp(format, "u") == 0 || strcmp(format, "U") == 0) {
            add_text(a, to, column, i, format[0] == 'U');
        } else {
            bench_fail("column %s is of type %s", schema->name, format);
        }
    }
}

int64_t answer_by_tape(tape *db, const char *sql, const tape_value *params, size_t param_count,
                       answer *out) {
    static struct ArrowArray batches[BATCHES_MAX];
    tape_error error;
    struct ArrowArrayStream stream;
    struct ArrowSchema schema;
    tape_query_options options;
    tape_query_options_init(&options);
    options.params = params;
    options.param_count = param_count;
    options.no_cache = true;
    size_t count = 0;
    int64_t start_ns = bench_now_ns();
    bench_check(tape_query(db, sql, &options, &stream, &error), &error);
    do {
        BENCH_CHECK(count < BATCHES_MAX);
        if (stream.get_next(&stream, &batches[count]) != 0) {
            bench_fail("%s: %s", sql, stream.get_last_error(&stream));
        }
    } while (batches[count].release != NULL && ++count > 0);
    int64_t elapsed_ns = bench_now_ns() - start_ns;

    BENCH_CHECK(stream.get_schema(&stream, &schema) == 0);
    BENCH_CHECK(schema.n_children <= ANSWER_COLUMNS_MAX);
    *out = (answer){.columns = (uint32_t)schema.n_children};
    for (size_t k = 0; k < count; k++) {
        out->rows += (uint64_t)batches[k].length;
        for (uint32_t i = 0; i < out->columns; i++) {
            add_column(out, i, schema.children[i], batches[k].children[i]);
        }
        batches[k].release(&batches[k]);
    }
    schema.release(&schema);
    stream.release(&stream);
    return elapsed_ns;
}
