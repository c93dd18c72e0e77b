#include "catalog_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

/* The catalogue, and what it was at version 1 of every table, so that these tests stay as they are
 * when it grows. */
static catalog_model current;
static catalog_model model;

static char *print_lock(const catalog_model *of) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    catalog_lock_print(of, out);
    (void)fclose(out);
    return text;
}

/* The complaints of checking `now` against `lock`; empty when there are none. Caller frees. */
static char *complaints_of(const catalog_model *now, const char *lock) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    bool ok = catalog_lock_check(now, lock, out);
    (void)fclose(out);
    assert_int_equal(ok, size == 0);
    return text;
}

static void check_refused(const catalog_model *now, const char *lock, const char *wanted) {
    char *complaints = complaints_of(now, lock);
    if (strstr(complaints, wanted) == NULL) {
        fail_msg("\"%s\" does not hold \"%s\"", complaints, wanted);
    }
    free(complaints);
}

static void check_accepted(const catalog_model *now, const char *lock) {
    char *complaints = complaints_of(now, lock);
    assert_string_equal(complaints, "");
    free(complaints);
}

/* `text` with its first `from` replaced. Caller frees. */
static char *replaced(const char *text, const char *from, const char *to) {
    size_t size = strlen(text);
    size_t at = 0;
    while (at < size && strncmp(text + at, from, strlen(from)) != 0) {
        at++;
    }
    assert_true(at < size);
    size_t room = size + strlen(to) + 1;
    char *out = malloc(room);
    assert_non_null(out);
    (void)snprintf(out, room, "%.*s%s%s", (int)at, text, to, text + at + strlen(from));
    return out;
}

static int load(void **state) {
    (void)state;
    if (!catalog_model_load(&current, stderr)) {
        return -1;
    }
    model = current;
    for (size_t i = 0; i < model.table_count; i++) {
        catalog_table *table = &model.tables[i];
        size_t kept = 0;
        while (kept < table->field_count && table->fields[kept].since == 1) {
            kept++;
        }
        table->field_count = kept;
        table->version = 1;
    }
    return catalog_model_check(&model, stderr) ? 0 : -1;
}

static void catalog_keeps_what_was_released(void **state) {
    (void)state;
    char *lock = calloc(1, 1 << 20);
    FILE *in = fopen(CATALOG_LOCK, "r");
    assert_non_null(in);
    assert_non_null(lock);
    assert_true(fread(lock, 1, (1 << 20) - 1, in) > 1000);
    (void)fclose(in);
    check_accepted(&current, lock);
    free(lock);
}

static void catalog_lock_check_accepts_what_it_printed(void **state) {
    (void)state;
    char *lock = print_lock(&model);
    check_accepted(&model, lock);
    check_accepted(&model, "");
    free(lock);
}

static void catalog_lock_check_refuses_a_catalogue_that_changed(void **state) {
    (void)state;
    static const struct {
        const char *released;
        const char *other;
        const char *wanted;
    } changes[] = {
        {"field orders price f64", "field orders cost f64", "a released field is gone or changed"},
        {"field orders user_id id offset 56", "field orders user_id id offset 48", "user_id"},
        {"field orders user_id id offset 56 size 32", "field orders user_id id offset 56 size 24",
         "user_id"},
        {"field orders price f64", "field orders price u64", "price"},
        {"field depth bid_price f64 offset 32 size 8 count 10",
         "field depth bid_price f64 offset 32 size 8 count 5", "bid_price"},
        {"field trades side enum:side", "field trades side enum:order_type", "side"},
        {"field trades volume f64 offset 200 size 8 count 1 since 1",
         "field trades volume f64 offset 200 size 8 count 1 since 2", "volume"},
        {"count 1 since 1 key", "count 1 since 1", "order_id"},
        {"field trades reserved1 reserved", "field trades spare reserved", "spare"},
        {"table 1 orders entity", "table 1 commands entity", "another name or kind"},
        {"table 1 orders entity", "table 1 orders event", "another name or kind"},
        {"table 2 trades", "table 64 trades", "a released table is gone"},
        {"table 2 trades", "table 0 trades", "a released table is gone"},
        {"trades event version 1 size 208", "trades event version 2 size 208", "has shrunk"},
        {"trades event version 1 size 208", "trades event version 1 size 216", "has shrunk"},
        {"trades event version 1 size 208", "trades event version 1 size 200", "rise together"},
        {"trades event version 1 size 208", "trades event version 0 size 208", "rise together"},
        {"value side 1 buy", "value side 1 bid", "a released value is gone or changed"},
        {"value side 1 buy", "value side 3 buy", "a released value is gone or changed"},
        {"value side 0 -", "value side 0 none", "a released value is gone or changed"},
        {"value side 0 -", "value sides 0 -", "a released value is gone or changed"},
        {"field trades price f64 offset 192 size 8 count 1 since 1\n", "",
         "an added field needs a higher version"},
        {"table 2 trades event version 1 size 208\n", "", "line of a released table is missing"},
        {"field trades price", "felt trades price", "a line that is not understood"},
        {"table 2 trades event version 1", "table 2 trades event", "a line that is not understood"},
    };
    char *lock = print_lock(&model);
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        char *doctored = replaced(lock, changes[i].released, changes[i].other);
        check_refused(&model, doctored, changes[i].wanted);
        free(doctored);
    }
    free(lock);
}

/* A copy of the catalogue in which trades has one more field. */
static catalog_model *with_field(catalog_field field, unsigned version) {
    catalog_model *out = malloc(sizeof *out);
    assert_non_null(out);
    *out = model;
    catalog_table *trades = &out->tables[1];
    field.type = trades->type;
    field.doc = "";
    trades->fields[trades->field_count++] = field;
    trades->version = version;
    assert_true(catalog_model_check(out, stderr));
    return out;
}

static void catalog_lock_check_accepts_fields_added_at_the_end_with_a_version(void **state) {
    (void)state;
    char *lock = print_lock(&model);
    catalog_model *now = with_field(
        (catalog_field){.name = "fee", .kind = CATALOG_KIND_F64, .since = 2, .size = 8, .count = 1},
        2);
    check_accepted(now, lock);
    /* And once that is released, it stays: */
    char *later = print_lock(now);
    check_accepted(now, later);
    check_refused(&model, later, "has shrunk");
    check_refused(&model, later, "a released field is gone or changed");
    free(later);
    free(now);
    free(lock);
}

static void catalog_lock_check_refuses_fields_added_otherwise(void **state) {
    (void)state;
    char *lock = print_lock(&model);
    catalog_model *now = with_field(
        (catalog_field){.name = "fee", .kind = CATALOG_KIND_F64, .since = 1, .size = 8, .count = 1},
        1);
    check_refused(now, lock, "an added field needs a higher version");
    check_refused(now, lock, "rise together");
    free(now);

    now = with_field((catalog_field){.name = "venue",
                                     .kind = CATALOG_KIND_ID,
                                     .since = 2,
                                     .size = 8,
                                     .count = 1,
                                     .key = true},
                     2);
    check_refused(now, lock, "the key of a released table cannot grow");
    free(now);

    /* In the place of reserved bytes: everything keeps its offset, and still it is refused. */
    now = malloc(sizeof *now);
    assert_non_null(now);
    *now = model;
    now->tables[1].version = 2;
    for (size_t i = 0; i < now->tables[1].field_count; i++) {
        catalog_field *field = &now->tables[1].fields[i];
        if (field->kind == CATALOG_KIND_RESERVED) {
            field->name = "flags";
            field->since = 2;
        }
    }
    check_refused(now, lock, "an added field stands before the released end");
    free(now);
    free(lock);
}

static void catalog_lock_check_accepts_added_tables_and_values(void **state) {
    (void)state;
    char *lock = print_lock(&model);
    catalog_model *now = malloc(sizeof *now);
    assert_non_null(now);
    *now = model;
    catalog_table *added = &now->tables[now->table_count++];
    *added = model.tables[2];
    added->id = (unsigned)now->table_count;
    added->name = "transfers";
    catalog_enum *side = &now->enums[0];
    side->values[side->value_count] =
        (catalog_value){.name = "CROSS", .text = "cross", .number = (unsigned)side->value_count};
    side->value_count++;
    assert_true(catalog_model_check(now, stderr));
    check_accepted(now, lock);
    free(now);
    free(lock);
}

/* Loads a copy, spoils it, and looks for the complaint. */
#define CHECK_MODEL_REFUSED(spoil, wanted)                                                         \
    do {                                                                                           \
        catalog_model *m = malloc(sizeof *m);                                                      \
        char *text = NULL;                                                                         \
        size_t size = 0;                                                                           \
        FILE *out = open_memstream(&text, &size);                                                  \
        assert_non_null(m);                                                                        \
        assert_non_null(out);                                                                      \
        *m = model;                                                                                \
        spoil;                                                                                     \
        assert_false(catalog_model_check(m, out));                                                 \
        (void)fclose(out);                                                                         \
        if (strstr(text, wanted) == NULL) {                                                        \
            fail_msg("\"%s\" does not hold \"%s\"", text, wanted);                                 \
        }                                                                                          \
        free(text);                                                                                \
        free(m);                                                                                   \
    } while (0)

static void catalog_model_check_refuses_broken_invariants(void **state) {
    (void)state;
    catalog_model *copy = malloc(sizeof *copy);
    assert_non_null(copy);
    *copy = model;
    assert_true(catalog_model_check(copy, stderr));
    free(copy);
    CHECK_MODEL_REFUSED(m->tables[0].fields[0].name = "number", "R1");
    CHECK_MODEL_REFUSED(m->tables[0].fields[1].kind = CATALOG_KIND_U64, "R1");
    CHECK_MODEL_REFUSED(m->tables[0].id = 3, "do not count");
    CHECK_MODEL_REFUSED(m->tables[1].name = "orders", "two tables have the name");
    CHECK_MODEL_REFUSED(m->tables[0].fields[8].size = 4, "R2");
    CHECK_MODEL_REFUSED(m->tables[0].fields[2].size = 36, "its size is not a multiple of 8");
    CHECK_MODEL_REFUSED(m->tables[0].fields[13].size = 6, "its size is not a multiple of 8");
    CHECK_MODEL_REFUSED(m->tables[0].fields[2].key = false, "has no key");
    CHECK_MODEL_REFUSED(m->tables[0].fields[3].key = true, "its key is too long");
    CHECK_MODEL_REFUSED(m->tables[0].fields[4].since = 2, "not between 1 and");
    CHECK_MODEL_REFUSED((m->tables[0].version = 2, m->tables[0].fields[4].since = 2),
                        "behind a field of a higher version");
    CHECK_MODEL_REFUSED(m->tables[0].fields[5].enumeration = "colour", "enumeration is not there");
    CHECK_MODEL_REFUSED(m->tables[0].fields[5].name = "price", "stands twice");
    CHECK_MODEL_REFUSED(m->tables[0].fields[5].type = "trade", "its table's type");
    CHECK_MODEL_REFUSED(m->tables[0].fields[9].count = 0, "has no bytes");
    CHECK_MODEL_REFUSED(m->enums[0].values[1].number = 7, "not numbered");
    CHECK_MODEL_REFUSED(m->enums[0].values[1].text = NULL, "only value 0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(catalog_keeps_what_was_released),
        cmocka_unit_test(catalog_lock_check_accepts_what_it_printed),
        cmocka_unit_test(catalog_lock_check_refuses_a_catalogue_that_changed),
        cmocka_unit_test(catalog_lock_check_accepts_fields_added_at_the_end_with_a_version),
        cmocka_unit_test(catalog_lock_check_refuses_fields_added_otherwise),
        cmocka_unit_test(catalog_lock_check_accepts_added_tables_and_values),
        cmocka_unit_test(catalog_model_check_refuses_broken_invariants),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
