/* duck, tests: a database over columns that the test fills, and answers as text. */
#ifndef DUCK_TESTING_H
#define DUCK_TESTING_H

#include "duck/duck.h"
#include "os/os.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/* One database, one session, and the columns it sees. */
typedef struct fixture {
    columns *columns;
    duck *duck;
    duck_session *session;
    uint64_t seq; /* of the last record applied */
} fixture;

static inline void top_open(fixture *t) {
    tape_error error;
    *t = (fixture){0};
    if (columns_create(&t->columns, &(columns_options){.bytes_max = GIB(1)}, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    const duck_options options = {.memory_bytes = MIB(512), .threads = 2, .columns = t->columns};
    if (duck_open(&t->duck, &options, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(duck_session_open(t->duck, &t->session, &error), TAPE_OK);
}

static inline void top_close(fixture *t) {
    duck_session_close(&t->session);
    duck_close(&t->duck);
    columns_close(&t->columns);
}

/* Applies one record as the next seq, and shows it to the session. */
static inline void top_apply(fixture *t, uint16_t table, const void *payload, int64_t ts) {
    const tape_table_info *info = record_table(table);
    uint64_t record[TAPE_RECORD_BYTES_MAX / 8];
    tape_error error;
    memcpy(record, payload, info->size_bytes);
    t->seq++;
    memcpy(record, &t->seq, sizeof t->seq);
    memcpy(record + 1, &ts, sizeof ts);
    record_view view = {.table = info,
                        .payload = record,
                        .size = info->size_bytes,
                        .version = info->version,
                        .seq = t->seq,
                        .ts = ts};
    if (columns_apply(t->columns, &view, 1, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    duck_session_see(t->session, 0, t->seq);
}

static inline void join_text(void *context, const char *text) {
    buffer *b = context;
    buffer_append_text(b, b->size > 0 ? "|" : "");
    buffer_append_text(b, text);
}

/* The first column of a statement's answer, its rows with | between them. */
static inline void check_answer(duck_session *s, const char *sql, const char *expected) {
    buffer b = {0};
    tape_error error;
    if (duck_session_each(s, sql, join_text, &b, &error) != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    buffer_append(&b, "", 1);
    if (strcmp((const char *)b.data, expected) != 0) {
        fail_msg("%s: %s, not %s", sql, (const char *)b.data, expected);
    }
    buffer_deinit(&b);
}

static inline void check_refused(duck_session *s, const char *sql, tape_status status,
                                 const char *text) {
    tape_error error;
    tape_status got = duck_session_run(s, sql, &error);
    if (got != status || strstr(error.text, text) == NULL) {
        fail_msg("%s: %s %s", sql, tape_status_name(got), got == TAPE_OK ? "" : error.text);
    }
}

#endif
