/* What the Arrow writer wrote is read back by a small reader of its own and must show the same
 * rows. */
#include "cli/result_fixture.h"

#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>

static int begin(void **state) {
    (void)state;
    fixture_begin();
    return 0;
}

static int end(void **state) {
    (void)state;
    fixture_end();
    return 0;
}

/* --- a reader of FlatBuffers: every access is checked against the buffer --- */

typedef struct message {
    const uint8_t *data; /* metadata */
    size_t size;
    const uint8_t *body;
    size_t body_size;
} message;

static uint32_t u32_at(const message *m, size_t at) {
    assert_true(at % 4 == 0 && at + 4 <= m->size);
    return load_u32(m->data + at);
}

static size_t root_of(const message *m) {
    return u32_at(m, 0);
}

/* Where a table's field is; 0 when it is left out. */
static size_t field_of(const message *m, size_t table, size_t field) {
    size_t vtable = table - (size_t)(int32_t)u32_at(m, table);
    assert_true(vtable + 4 <= m->size && vtable % 2 == 0);
    uint16_t size;
    memcpy(&size, m->data + vtable, sizeof size);
    if (4 + 2 * field + 2 > size) {
        return 0;
    }
    uint16_t offset;
    memcpy(&offset, m->data + vtable + 4 + 2 * field, sizeof offset);
    return offset == 0 ? 0 : table + offset;
}

static size_t reference_of(const message *m, size_t table, size_t field) {
    size_t at = field_of(m, table, field);
    return at == 0 ? 0 : at + u32_at(m, at);
}

static int64_t i64_of(const message *m, size_t table, size_t field) {
    size_t at = field_of(m, table, field);
    if (at == 0) {
        return 0;
    }
    assert_true(at % 8 == 0 && at + 8 <= m->size);
    return (int64_t)load_u64(m->data + at);
}

static uint8_t u8_of(const message *m, size_t table, size_t field) {
    size_t at = field_of(m, table, field);
    return at == 0 ? 0 : m->data[at];
}

static int16_t i16_of(const message *m, size_t table, size_t field) {
    size_t at = field_of(m, table, field);
    int16_t value = 0;
    if (at != 0) {
        memcpy(&value, m->data + at, sizeof value);
    }
    return value;
}

/* --- a reader of the stream --- */

typedef struct reader {
    const uint8_t *at;
    const uint8_t *end;
} reader;

/* False at the end-of-stream mark, which must be the last. */
static bool next_message(reader *r, message *m) {
    assert_true(r->end - r->at >= 8);
    assert_int_equal(load_u32(r->at), UINT32_MAX);
    m->size = load_u32(r->at + 4);
    m->data = r->at + 8;
    if (m->size == 0) {
        assert_ptr_equal(r->at + 8, r->end);
        return false;
    }
    assert_true(m->size % 8 == 0 && m->size <= (size_t)(r->end - m->data));
    size_t root = root_of(m);
    assert_int_equal(i16_of(m, root, 0), 4); /* V5 */
    m->body = m->data + m->size;
    m->body_size = (size_t)i64_of(m, root, 3);
    assert_true(m->body_size % 8 == 0 && m->body_size <= (size_t)(r->end - m->body));
    r->at = m->body + m->body_size;
    return true;
}

typedef struct batch_reader {
    const message *m;
    size_t nodes, buffers, variadic; /* places of the next ones */
    size_t nodes_left, buffers_left;
} batch_reader;

static batch_reader open_batch(const message *m, size_t table) {
    size_t nodes = reference_of(m, table, 1);
    size_t buffers = reference_of(m, table, 2);
    size_t variadic = reference_of(m, table, 4);
    return (batch_reader){
        m, nodes + 4, buffers + 4, variadic + 4, u32_at(m, nodes), u32_at(m, buffers)};
}

static const void *next_buffer(batch_reader *b, int64_t *size) {
    assert_true(b->buffers_left-- > 0 && b->buffers % 8 == 0);
    uint64_t offset = load_u64(b->m->data + b->buffers);
    *size = (int64_t)load_u64(b->m->data + b->buffers + 8);
    b->buffers += 16;
    assert_true(offset % 8 == 0 && offset + (uint64_t)*size <= b->m->body_size);
    return *size == 0 ? NULL : b->m->body + offset;
}

static struct ArrowArray *read_array(batch_reader *b, const arrow_node *node,
                                     struct ArrowArray *const *dictionaries) {
    const void *data[8] = {0};
    static int64_t sizes[8][1];
    size_t count = (size_t)arrow_node_buffers(node);
    int64_t size = 0;
    assert_true(b->nodes_left-- > 0);
    int64_t length = (int64_t)load_u64(b->m->data + b->nodes);
    int64_t nulls = (int64_t)load_u64(b->m->data + b->nodes + 8);
    b->nodes += 16;
    for (size_t i = 0; i < count; i++) {
        data[i] = next_buffer(b, &size);
    }
    if (node->is_view) {
        int64_t more = (int64_t)load_u64(b->m->data + b->variadic);
        b->variadic += 8;
        assert_true(more <= 1);
        for (int64_t i = 0; i < more; i++) {
            data[count++] = next_buffer(b, &sizes[i][0]);
        }
        data[count++] = sizes;
    }
    struct ArrowArray *children[FIXTURE_CHILDREN_MAX];
    for (size_t i = 0; i < node->child_count; i++) {
        children[i] = read_array(b, &node->children[i], dictionaries);
    }
    struct ArrowArray *array = fixture_array(length, 0, count, data, node->child_count, children);
    array->null_count = nulls;
    array->dictionary = node->dictionary == NULL ? NULL : dictionaries[node->dictionary_id];
    return array;
}

static struct ArrowArray *read_records(const message *m, size_t table, const arrow_node *root,
                                       struct ArrowArray *const *dictionaries) {
    batch_reader b = open_batch(m, table);
    const void *none[1] = {NULL};
    struct ArrowArray *children[FIXTURE_CHILDREN_MAX];
    for (size_t i = 0; i < root->child_count; i++) {
        children[i] = read_array(&b, &root->children[i], dictionaries);
    }
    assert_int_equal(b.nodes_left, 0);
    assert_int_equal(b.buffers_left, 0);
    return fixture_array(i64_of(m, table, 0), 0, 1, none, root->child_count, children);
}

static char *as_json(fixture_stream *s) {
    result_options options = {.format = RESULT_JSON};
    tape_status status;
    char *text = fixture_write(s, &options, NULL, &status, NULL);
    assert_int_equal(status, TAPE_OK);
    return text;
}

/* Writes `s` as Arrow, reads it back, and compares the rows; returns the count of dictionary
 * messages. */
static unsigned check_round_trip(fixture_stream *s) {
    result_options options = {.format = RESULT_ARROW};
    size_t size = 0;
    tape_status status;
    tape_error error = {0};
    char *bytes = fixture_write(s, &options, &size, &status, &error);
    assert_int_equal(status, TAPE_OK);
    arrow_node *root = NULL;
    assert_int_equal(arrow_tree_open(s->schema, &root, NULL, &error), TAPE_OK);
    reader r = {(const uint8_t *)bytes, (const uint8_t *)bytes + size};
    message m;
    assert_true(next_message(&r, &m));
    assert_int_equal(u8_of(&m, root_of(&m), 1), 1);
    size_t fields = reference_of(&m, reference_of(&m, root_of(&m), 2), 1);
    assert_int_equal(u32_at(&m, fields), s->schema->n_children);
    fixture_stream again = {.schema = s->schema};
    struct ArrowArray *dictionaries[4] = {0};
    unsigned dictionary_messages = 0;
    while (next_message(&r, &m)) {
        size_t header = reference_of(&m, root_of(&m), 2);
        if (u8_of(&m, root_of(&m), 1) == 2) {
            batch_reader b = open_batch(&m, reference_of(&m, header, 1));
            dictionaries[i64_of(&m, header, 0)] =
                read_array(&b, root->children[14].dictionary, NULL);
            dictionary_messages++;
        } else {
            assert_int_equal(u8_of(&m, root_of(&m), 1), 3);
            again.batches[again.count++] = read_records(&m, header, root, dictionaries);
        }
    }
    assert_int_equal(again.count, s->count);
    char *wanted = as_json(s);
    char *got = as_json(&again);
    assert_string_equal(got, wanted);
    free(wanted);
    free(got);
    free(bytes);
    arrow_tree_close(&root);
    return dictionary_messages;
}

static void every_layout_reads_back(void **state) {
    (void)state;
    fixture_stream s = {
        .schema = fixture_all_schema(), .batches = {fixture_all_plain()}, .count = 1};
    assert_int_equal(check_round_trip(&s), 1);
}

static void slices_read_back_as_what_they_show(void **state) {
    (void)state;
    fixture_stream s = {
        .schema = fixture_all_schema(), .batches = {fixture_all_sliced()}, .count = 1};
    (void)check_round_trip(&s);
    for (int64_t from = 0; from <= 4; from++) {
        for (int64_t length = 0; from + length <= 4; length++) {
            s.batches[0]->offset = from;
            s.batches[0]->length = length;
            (void)check_round_trip(&s);
        }
    }
}

static void a_dictionary_is_sent_again_only_when_it_has_changed(void **state) {
    (void)state;
    fixture_stream s = {.schema = fixture_all_schema(),
                        .batches = {fixture_all_plain(), fixture_all_plain()},
                        .count = 2};
    assert_int_equal(check_round_trip(&s), 1);
    static const int32_t offsets[] = {0, 2, 3, 4};
    const void *values[3] = {NULL, offsets, "nosl"};
    s.batches[1]->children[14]->dictionary = fixture_array(2, 1, 3, values, 0, NULL);
    result_options options = {.format = RESULT_ARROW};
    size_t size = 0;
    tape_status status;
    char *bytes = fixture_write(&s, &options, &size, &status, NULL);
    reader r = {(const uint8_t *)bytes, (const uint8_t *)bytes + size};
    message m;
    unsigned kinds[4] = {0};
    while (next_message(&r, &m)) {
        kinds[u8_of(&m, root_of(&m), 1)]++;
    }
    assert_int_equal(kinds[2], 2);
    assert_int_equal(kinds[3], 2);
    free(bytes);
}

static void a_result_without_rows_is_a_schema_and_an_end(void **state) {
    (void)state;
    fixture_stream s = {.schema = fixture_all_schema()};
    assert_int_equal(check_round_trip(&s), 0);
}

/* Of a stream that other libraries have read; what is sent must not change unnoticed. */
static void the_bytes_are_those_of_the_published_format(void **state) {
    (void)state;
    static const int64_t numbers[] = {1, 2};
    const void *data[2] = {NULL, numbers};
    const void *none[1] = {NULL};
    struct ArrowSchema *column = fixture_schema("l", "n", 0, NULL);
    struct ArrowArray *array = fixture_array(2, 0, 2, data, 0, NULL);
    fixture_stream s = {.schema = fixture_schema("+s", "", 1, &column), .count = 1};
    s.batches[0] = fixture_array(2, 0, 1, none, 1, &array);
    result_options options = {.format = RESULT_ARROW};
    size_t size = 0;
    tape_status status;
    char *bytes = fixture_write(&s, &options, &size, &status, NULL);
    assert_int_equal(status, TAPE_OK);
    assert_int_equal(size, 312);
    assert_int_equal(crc32c(0, bytes, size), 0xab6ff3efu);
    free(bytes);
}

static void metadata_of_a_column_goes_along(void **state) {
    (void)state;
    static const char pairs[] = "\1\0\0\0\4\0\0\0name\5\0\0\0value";
    struct ArrowSchema *column = fixture_schema("tsu:UTC", "n", 0, NULL);
    column->metadata = pairs;
    fixture_stream s = {.schema = fixture_schema("+s", "", 1, &column)};
    result_options options = {.format = RESULT_ARROW};
    size_t size = 0;
    tape_status status;
    char *bytes = fixture_write(&s, &options, &size, &status, NULL);
    assert_non_null(memmem(bytes, size, "\4\0\0\0name", 9));
    assert_non_null(memmem(bytes, size, "\5\0\0\0value", 10));
    assert_non_null(memmem(bytes, size, "\3\0\0\0UTC", 8));
    free(bytes);
}

static void a_result_that_fails_has_no_end_mark(void **state) {
    (void)state;
    fixture_stream s = {.schema = fixture_all_schema(),
                        .batches = {fixture_all_plain()},
                        .count = 1,
                        .fail_with = EIO,
                        .fail_text = "broken"};
    result_options options = {.format = RESULT_ARROW};
    size_t size = 0;
    tape_status status;
    tape_error error;
    char *bytes = fixture_write(&s, &options, &size, &status, &error);
    assert_int_equal(status, TAPE_SQL);
    assert_memory_not_equal(bytes + size - 8, "\xff\xff\xff\xff\0\0\0\0", 8);
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_layout_reads_back),
        cmocka_unit_test(slices_read_back_as_what_they_show),
        cmocka_unit_test(a_dictionary_is_sent_again_only_when_it_has_changed),
        cmocka_unit_test(a_result_without_rows_is_a_schema_and_an_end),
        cmocka_unit_test(the_bytes_are_those_of_the_published_format),
        cmocka_unit_test(metadata_of_a_column_goes_along),
        cmocka_unit_test(a_result_that_fails_has_no_end_mark),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
