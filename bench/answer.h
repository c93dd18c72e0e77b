/* answer: what a statement gave, boiled down so that engines can be compared: the number of rows
 * and, by column, the sum of its values: numbers as doubles, times in seconds since
 * MARKET_START_TS, texts by a hash. The order of rows does not show. */
#ifndef ANSWER_H
#define ANSWER_H

#include "bench.h"

#define ANSWER_COLUMNS_MAX 16u

typedef struct answer {
    uint64_t rows;
    uint32_t columns;
    double sums[ANSWER_COLUMNS_MAX];
} answer;

static inline void answer_add(answer *a, uint32_t column, double value) {
    a->sums[column] += value;
}
/* `ns` since 1970. */
void answer_add_time(answer *a, uint32_t column, int64_t ns);
void answer_add_text(answer *a, uint32_t column, const char *text, size_t size_bytes);
/* Ends the program when two engines disagree: sums within 1e-9. */
void answer_compare(const char *statement, const char *who, const answer *a, const char *other,
                    const answer *b);

/* Runs a statement on tape to its end: without the result cache. Returns the ns from the call to
 * the last batch. `params` may be NULL. */
int64_t answer_by_tape(tape *db, const char *sql, const tape_value *params, size_t param_count,
                       answer *out);

#endif
