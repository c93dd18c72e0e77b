/* record_testing: what the tests of this module share: seeded random records, and checks of errors.
 */
#ifndef RECORD_TESTING_H
#define RECORD_TESTING_H

#include "base/base_testing.h"
#include "record_internal.h"

#include <math.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

typedef union any_record {
    uint8_t bytes[TAPE_RECORD_BYTES_MAX];
    uint64_t align;
    tape_order order;
    tape_trade trade;
    tape_account account;
    tape_position position;
    tape_instrument instrument;
    tape_tick tick;
    tape_depth depth;
} any_record;

/* A finite double: decimals as markets have them, or any bit pattern. */
static inline double random_f64(uint64_t *state) {
    static const double scale[] = {1, 10, 100, 1e4, 1e8, 1e-3};
    double value;
    if (random_below(state, 2) == 0) {
        int64_t units = (int64_t)(random_next(state) >> (20 + random_below(state, 40)));
        return (double)(random_below(state, 2) == 0 ? units : -units) /
               scale[random_below(state, COUNT_OF(scale))];
    }
    do {
        uint64_t bits = random_next(state);
        memcpy(&value, &bits, sizeof value);
    } while (!isfinite(value));
    return value;
}

static inline void random_id(uint64_t *state, char *out, size_t size, bool key) {
    static const char *const pieces[] = {"a",
                                         "Z",
                                         "0",
                                         "9",
                                         "-",
                                         " ",
                                         "\"",
                                         "\\",
                                         "/",
                                         "\xc3\xa9",
                                         "\xe6\xb2\xaa",
                                         "\xf0\x9f\x93\x88",
                                         "~",
                                         ","};
    size_t wanted = random_below(state, size + 1);
    size_t length = 0;
    memset(out, 0, size);
    if (key && wanted == 0) {
        wanted = 1;
    }
    while (length < wanted) {
        const char *piece = pieces[random_below(state, COUNT_OF(pieces))];
        piece = length + strlen(piece) <= wanted ? piece : "x";
        memcpy(out + length, piece, strlen(piece));
        length += strlen(piece);
    }
}

/* A record that validates, with anything in its fields but seq, which is 0. */
static inline void random_record(const tape_table_info *table, uint64_t *state, any_record *out) {
    memset(out, 0, sizeof *out);
    for (uint32_t i = 1; i < table->field_count; i++) {
        const tape_field_info *field = &table->fields[i];
        uint8_t *at = out->bytes + field->offset;
        for (uint32_t j = 0; j < field->count; j++, at += field->size_bytes) {
            double number;
            switch (field->kind) {
            case TAPE_FIELD_U64:
            case TAPE_FIELD_TIME:
                store_u64(at, random_next(state));
                break;
            case TAPE_FIELD_F64:
                number = random_f64(state);
                memcpy(at, &number, sizeof number);
                break;
            case TAPE_FIELD_ENUM:
                *at = (uint8_t)random_below(state, field->enum_count);
                break;
            case TAPE_FIELD_ID:
                random_id(state, (char *)at, field->size_bytes, field->is_key != 0);
                break;
            }
        }
    }
}

/* A record with its keys filled and nothing else. */
static inline void minimal_record(const tape_table_info *table, any_record *out) {
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < table->key_count; i++) {
        out->bytes[table->fields[table->key_fields[i]].offset] = 'k';
    }
}

/* INVALID, on one line, with `wanted` in its text. */
static inline void check_invalid(tape_status status, const tape_error *error, const char *wanted) {
    assert_int_equal(status, TAPE_INVALID);
    assert_int_equal(error->status, TAPE_INVALID);
    assert_null(strchr(error->text, '\n'));
    if (strstr(error->text, wanted) == NULL) {
        fail_msg("\"%s\" does not hold \"%s\"", error->text, wanted);
    }
}

#endif
