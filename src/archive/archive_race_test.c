/* Readers beside a writer who appends, archives, drops, merges and expires: every reader sees
 * exactly the records up to its seq, whatever moves beneath it. */
#include "archive/archive_testing.h"

#include <inttypes.h>
#include <stdio.h>

#define KEYS 50u
#define READERS 2
#define ROUNDS 25

typedef struct shared {
    world w;
    _Atomic uint32_t stop;
    _Atomic uint64_t reads;
    char failure[READERS][512];
} shared;

static shared s;

/* Odd seqs are trades, even ones orders whose keys come in turn. */
static void append(uint64_t count) {
    static tape_trade trade;
    static tape_order order;
    tape_error error;
    world *w = &s.w;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t seq = ++w->count;
        int64_t ts = w->now + (int64_t)(seq / 2000) * ARCHIVE_DAY_NS;
        record_view v = {.version = 1, .seq = seq, .ts = ts};
        if (seq % 2 == 1) {
            trade = (tape_trade){.seq = seq, .ts = ts, .price = (double)seq};
            (void)snprintf(trade.trade_id, sizeof trade.trade_id, "t%" PRIu64, seq);
            (void)snprintf(trade.instrument_id, sizeof trade.instrument_id, "I%" PRIu64, seq % 7);
            v.table = record_table(TAPE_TABLE_TRADES);
            v.payload = &trade;
        } else {
            order = (tape_order){.seq = seq, .ts = ts, .price = (double)seq};
            (void)snprintf(order.order_id, sizeof order.order_id, "o%" PRIu64, seq / 2 % KEYS);
            v.table = record_table(TAPE_TABLE_ORDERS);
            v.payload = &order;
        }
        v.size = v.table->size_bytes;
        world_ok(columns_apply(w->c, &v, 1, &error), &error);
    }
}

static tape_status find_archived(void *context, const tape_table_info *table, slice key,
                                 uint64_t at, uint64_t *seq, tape_error *error) {
    (void)context;
    (void)error;
    uint64_t number = strtoull((const char *)key.data + 2, NULL, 10);
    ASSERT(table->id == TAPE_TABLE_ORDERS && key.size < RECORD_KEY_BYTES_MAX);
    *seq = 0;
    for (uint64_t i = at; i > 0 && *seq == 0; i--) {
        if (i % 2 == 0 && i / 2 % KEYS == number) {
            *seq = i;
        }
    }
    return TAPE_OK;
}

/* count(*), count(DISTINCT seq) and sum of seq of a table. */
static tape_status sum(duck_session *session, const world_view *v, uint16_t table,
                       archive_rows rows, int64_t out[3], tape_error *error) {
    const tape_table_info *info = record_table(table);
    buffer sql = {0};
    buffer_append_text(&sql, "SELECT count(*), count(DISTINCT seq), sum(seq)::BIGINT FROM (");
    if (archive_view_sql(v->view, info, rows, v->seq, NULL, &sql, NULL)) {
        buffer_append_text(&sql, " UNION ALL ");
    }
    buffer_printf(&sql, "SELECT * FROM tape_scan('%s', '%s'))", info->name,
                  rows == ARCHIVE_NEWEST && info->kind == TAPE_KIND_ENTITY ? "newest" : "all");
    buffer_end(&sql);
    tape_status status = archive_run_integers(session, (const char *)sql.data, out, 3, error);
    buffer_deinit(&sql);
    return status;
}

static bool read_once(duck_session *session, char failure[512]) {
    tape_error error;
    int64_t trades[3];
    int64_t orders[3];
    int64_t versions[3];
    world_view v = world_view_open(&s.w);
    duck_session_see(session, archive_view_seq(v.view), v.seq);
    tape_status status = sum(session, &v, TAPE_TABLE_TRADES, ARCHIVE_NEWEST, trades, &error);
    if (status == TAPE_OK) {
        status = sum(session, &v, TAPE_TABLE_ORDERS, ARCHIVE_NEWEST, orders, &error);
    }
    if (status == TAPE_OK) {
        status = sum(session, &v, TAPE_TABLE_ORDERS, ARCHIVE_VERSIONS, versions, &error);
    }
    if (status != TAPE_OK) {
        (void)snprintf(failure, 512, "%.500s", error.text);
    } else {
        int64_t odd = (int64_t)((v.seq + 1) / 2);
        int64_t even = (int64_t)(v.seq / 2);
        int64_t newest = even < (int64_t)KEYS ? even : (int64_t)KEYS;
        int64_t newest_sum = newest * (even + even - newest + 1);
        if (trades[0] != odd || trades[1] != odd || trades[2] != odd * odd || orders[0] != newest ||
            orders[1] != newest || orders[2] != newest_sum || versions[0] != even ||
            versions[2] != even * (even + 1)) {
            (void)snprintf(failure, 512,
                           "at %" PRIu64 " of %" PRIu64 ": trades %" PRId64 " (%" PRId64
                           "), orders %" PRId64 " sum %" PRId64 " (%" PRId64 " sum %" PRId64
                           "), versions %" PRId64 " (%" PRId64 ")",
                           archive_view_seq(v.view), v.seq, trades[0], odd, orders[0], orders[2],
                           newest, newest_sum, versions[0], even);
        }
    }
    world_view_close(&v);
    return failure[0] == '\0';
}

static void run_reader(void *argument) {
    char *failure = argument;
    duck_session *session = NULL;
    tape_error error;
    if (duck_session_open(s.w.reader, &session, &error) != TAPE_OK) {
        (void)snprintf(failure, 512, "%.500s", error.text);
    }
    while (session != NULL && atomic_load(&s.stop) == 0 && read_once(session, failure)) {
        atomic_fetch_add(&s.reads, 1);
    }
    duck_session_close(&session);
}

static void readers_see_exactly_the_records_up_to_their_seq(void **state) {
    (void)state;
    world *w = &s.w;
    tape_error error;
    os_thread *threads[READERS];
    world_init(w, 3);
    w->options.file_rows_max = 4000;
    w->options.disk = w->disk;
    w->options.dir = w->dir;
    world_ok(archive_open(&w->a, &w->options, &error), &error);
    columns_options options = {
        .bytes_max = GIB(1), .archived = find_archived, .archived_context = w};
    world_ok(columns_create(&w->c, &options, &error), &error);
    world_ok(archive_attach(w->a, w->c, &error), &error);
    (void)world_reader(w);
    append(100);
    for (size_t i = 0; i < READERS; i++) {
        world_ok(os_thread_start(&threads[i], "reader", -1, run_reader, s.failure[i], &error),
                 &error);
    }
    for (int round = 0; round < ROUNDS || atomic_load(&s.reads) < 20; round++) {
        bool worked = false;
        append(200 + (uint64_t)round * 7 % 100);
        world_ok(archive_take(w->a, columns_seq(w->c), (archive_beat){0}, &error), &error);
        append(50);
        columns_drop(w->c, archive_seq(w->a));
        world_ok(archive_merge(w->a, (archive_beat){0}, &worked, &error), &error);
        if (round % 5 == 4) {
            int32_t day = archive_day_of(w->a, w->now) + round / 12;
            world_ok(archive_merge_day(w->a, day, (archive_beat){0}, &error), &error);
        }
        uint64_t files = 0;
        uint64_t records = 0;
        if (round % 10 == 9) {
            world_ok(archive_verify(w->a, NULL, NULL, &files, &records, &error), &error);
        }
        for (size_t i = 0; i < READERS; i++) {
            if (s.failure[i][0] != '\0') {
                fail_msg("%s", s.failure[i]);
            }
        }
    }
    atomic_store(&s.stop, 1);
    for (size_t i = 0; i < READERS; i++) {
        os_thread_join(&threads[i]);
        assert_string_equal(s.failure[i], "");
    }
    archive_stats stats;
    archive_stats_read(w->a, &stats);
    assert_true(stats.merges > 2 && stats.takes >= ROUNDS);
    assert_int_equal(w->a->forget_count, 0);
    w->count = 0;
    world_deinit(w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_exactly_the_records_up_to_their_seq),
    };
    return cmocka_run_group_tests_name("archive_race", tests, NULL, NULL);
}
