/* Tree: JSON as DuckDB writes it, and what is none. */
#include "query/plan_internal.h"
#include "query/testing.h"

static void check_text(const tree_node *node, const char *want, size_t size) {
    assert_non_null(node);
    assert_int_equal(node->size, size);
    assert_memory_equal(node->text, want, size);
}

static void tree_reads_what_duckdb_writes(void **state) {
    (void)state;
    const char *json = " {\"a\":[1,-2.5e3,18446744073709551615,true,false,null],\n"
                       "\"b\":{\"c\":\"x\",\"d\":[]},\"e\":\"\",\"f\":{}} ";
    json_tree t;
    assert_true(tree_parse(&t, json, strlen(json)));
    const tree_node *a = tree_member(t.root, "a");
    assert_int_equal(a->kind, TREE_LIST);
    check_text(a, "[1,-2.5e3,18446744073709551615,true,false,null]", 47);
    check_text(a->first->next, "-2.5e3", 6);
    check_text(a->first->next->next, "18446744073709551615", 20);
    assert_int_equal(a->first->next->next->next->kind, TREE_BOOL);
    check_text(tree_member(t.root, "b"), "{\"c\":\"x\",\"d\":[]}", 16);
    check_text(tree_member(tree_member(t.root, "b"), "c"), "x", 1);
    assert_null(tree_member(t.root, "c"));
    assert_null(tree_member(a, "c"));
    assert_null(tree_member(NULL, "c"));
    assert_true(tree_set(t.root, "a"));
    assert_false(tree_set(t.root, "e"));
    assert_false(tree_set(t.root, "f"));
    assert_false(tree_set(tree_member(t.root, "b"), "d"));
    assert_false(tree_set(t.root, "nothing"));
    size_t nodes = 0;
    for (tree_node *n = t.root; n != NULL; n = tree_next(t.root, n, true)) {
        nodes++;
    }
    assert_int_equal(nodes, 13);
    tree_deinit(&t);
}

static void tree_texts_are_unescaped(void **state) {
    (void)state;
    const char *json = "[\"a\\\"b\\\\c\\/\\b\\f\\n\\r\\t\",\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\","
                       "\"x\\u0000y\",\"\xc3\xa9\"]";
    json_tree t;
    assert_true(tree_parse(&t, json, strlen(json)));
    const tree_node *n = t.root->first;
    check_text(n, "a\"b\\c/\b\f\n\r\t", 11);
    check_text(n->next, "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10);
    check_text(n->next->next, "x\0y", 3);
    check_text(n->next->next->next, "\xc3\xa9", 2);
    assert_true(tree_is_name(t.root->first->next->next->next, "\xc3\xa9"));
    tree_deinit(&t);
}

static void tree_is_none_of_what_is_no_json(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "{",
        "}",
        "[1",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{1:2}",
        "[1}",
        "{\"a\":1]",
        "\"abc",
        "\"a\\\"",
        "\"\\x\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "[nul]",
        "[tru]",
        "[x]",
        "1 2",
        "[] []",
        "[\"a\" 1]",
        "{\"a\" 1}",
        "\"\\ud800\"",
        "\"\\ud800\\u0041\"",
    };
    for (size_t n = 0; n < COUNT_OF(bad); n++) {
        json_tree t;
        if (tree_parse(&t, bad[n], strlen(bad[n]))) {
            fail_msg("%s", bad[n]);
        }
        assert_null(t.root);
        tree_deinit(&t);
    }
}

/* Cut anywhere, and with any byte changed, it is read or refused, and memory stays whole. */
static void tree_survives_damage(void **state) {
    (void)state;
    const char *json = "{\"a\":[1,\"\\u0041\\n\",{\"b\":null}],\"c\":{\"d\":[true,-1.5]}}";
    size_t size = strlen(json);
    uint64_t random = 3;
    for (size_t n = 0; n <= size; n++) {
        char *copy = mem_alloc(n + 1);
        memcpy(copy, json, n);
        json_tree t;
        assert_int_equal(tree_parse(&t, copy, n), n == size);
        tree_deinit(&t);
        free(copy);
    }
    for (int n = 0; n < 20000; n++) {
        char *copy = mem_alloc(size);
        memcpy(copy, json, size);
        for (int changes = 0; changes < 3; changes++) {
            static const char BYTES[] = "{}[]\",:\\u019atn \x80\xff";
            copy[testing_random(&random) % size] =
                BYTES[testing_random(&random) % (sizeof BYTES - 1)];
        }
        json_tree t;
        bool good = tree_parse(&t, copy, size);
        size_t nodes = 0;
        for (tree_node *x = t.root; good && x != NULL; x = tree_next(t.root, x, true)) {
            nodes++;
        }
        assert_true(nodes < size);
        tree_deinit(&t);
        free(copy);
    }
}

static void tree_nests_as_deep_as_it_likes(void **state) {
    (void)state;
    size_t depth = 1000000;
    char *json = mem_alloc(2 * depth);
    memset(json, '[', depth);
    memset(json + depth, ']', depth);
    json_tree t;
    assert_true(tree_parse(&t, json, 2 * depth));
    tree_deinit(&t);
    assert_false(tree_parse(&t, json, 2 * depth - 1));
    tree_deinit(&t);
    free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_reads_what_duckdb_writes),
        cmocka_unit_test(tree_texts_are_unescaped),
        cmocka_unit_test(tree_is_none_of_what_is_no_json),
        cmocka_unit_test(tree_survives_damage),
        cmocka_unit_test(tree_nests_as_deep_as_it_likes),
    };
    return cmocka_run_group_tests_name("query_tree", tests, NULL, NULL);
}
