/* Arrow: blocks whose parts may be released in any order. */
#include "query/arrow_internal.h"
#include "query/testing.h"

static const arrow_column COLUMNS[] = {
    {.name = "n", .kind = ARROW_U64, .elements = 1},
    {.name = "t", .kind = ARROW_TEXT, .elements = 1},
    {.name = "l", .kind = ARROW_F64, .elements = 3},
    {.name = "none", .kind = ARROW_TIME, .elements = 1},
};

static void make(struct ArrowArray *out) {
    static const uint64_t number = 7;
    static const double list[] = {1, 2, 3};
    const arrow_cell cells[] = {
        {.data = &number, .size = 8}, {.data = "text", .size = 4}, {.data = list, .size = 24}, {0}};
    arrow_row_make(out, COLUMNS, cells, COUNT_OF(cells));
}

static void count_release(void *context) {
    (*(int *)context)++;
}

static void check_values(const struct ArrowArray *a) {
    assert_int_equal(a->length, 1);
    assert_int_equal(a->n_children, 4);
    assert_int_equal(*(const uint64_t *)a->children[0]->buffers[1], 7);
    assert_memory_equal(a->children[1]->buffers[2], "text", 4);
    assert_int_equal(((const int32_t *)a->children[1]->buffers[1])[1], 4);
    assert_true(((const double *)a->children[2]->children[0]->buffers[1])[2] == 3);
    assert_int_equal(a->children[3]->null_count, 1);
    assert_int_equal(*(const uint8_t *)a->children[3]->buffers[0], 0);
}

static void arrow_rows_release_in_any_order(void **state) {
    (void)state;
    for (int order = 0; order < 3; order++) {
        struct ArrowArray row;
        make(&row);
        check_values(&row);
        struct ArrowArray list = *row.children[2];
        row.children[2]->release = NULL;
        struct ArrowArray element = *list.children[0];
        list.children[0]->release = NULL;
        if (order == 0) {
            row.release(&row);
            list.release(&list);
        } else {
            list.release(&list);
            if (order == 1) {
                row.release(&row);
            }
        }
        assert_true(((const double *)element.buffers[1])[0] == 1);
        element.release(&element);
        if (order == 2) {
            row.release(&row);
        }
        assert_null(row.release);
    }
}

static void arrow_shared_arrays_hold_their_owner(void **state) {
    (void)state;
    struct ArrowArray row;
    struct ArrowArray shared[2];
    int released = 0;
    make(&row);
    for (int n = 0; n < 2; n++) {
        arrow_array_share(&shared[n], &row, (arrow_owner){count_release, &released});
        check_values(&shared[n]);
    }
    struct ArrowArray child = *shared[0].children[2];
    shared[0].children[2]->release = NULL;
    shared[0].release(&shared[0]);
    assert_int_equal(released, 0);
    shared[1].release(&shared[1]);
    assert_int_equal(released, 1);
    assert_true(((const double *)child.children[0]->buffers[1])[1] == 2);
    child.release(&child);
    assert_int_equal(released, 2);
    check_values(&row);
    row.release(&row);
}

static void arrow_schemas_are_copied_whole(void **state) {
    (void)state;
    struct ArrowSchema schema;
    struct ArrowSchema copy;
    int released = 0;
    arrow_schema_make(&schema, COLUMNS, COUNT_OF(COLUMNS), (arrow_owner){count_release, &released});
    assert_string_equal(schema.format, "+s");
    assert_string_equal(schema.children[2]->format, "+w:3");
    assert_string_equal(schema.children[2]->children[0]->format, "g");
    assert_string_equal(schema.children[3]->format, "tsn:");
    arrow_schema_copy(&copy, &schema);
    schema.release(&schema);
    assert_int_equal(released, 1);
    assert_string_equal(copy.children[1]->name, "t");
    assert_string_equal(copy.children[2]->children[0]->format, "g");
    assert_int_equal(copy.children[0]->flags, ARROW_FLAG_NULLABLE);
    copy.release(&copy);
}

static void arrow_sizes_are_told(void **state) {
    (void)state;
    struct ArrowSchema schema;
    struct ArrowArray row;
    make(&row);
    arrow_schema_make(&schema, COLUMNS, COUNT_OF(COLUMNS), (arrow_owner){0});
    uint64_t bytes = arrow_array_bytes(&schema, &row);
    assert_true(bytes > 50 && bytes < 4096);
    /* What is not known is not told. */
    schema.children[0]->format = "vu";
    assert_true(arrow_array_bytes(&schema, &row) == UINT64_MAX);
    schema.release(&schema);
    row.release(&row);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrow_rows_release_in_any_order),
        cmocka_unit_test(arrow_shared_arrays_hold_their_owner),
        cmocka_unit_test(arrow_schemas_are_copied_whole),
        cmocka_unit_test(arrow_sizes_are_told),
    };
    return cmocka_run_group_tests_name("query_arrow", tests, NULL, NULL);
}
