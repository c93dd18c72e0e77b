/* Readers, a writer and an archive beside each other: money moves between accounts, so that at
 * every seq the sum over all accounts is what it was; rows are handed over, archived and dropped
 * meanwhile. Made for the thread sanitizer, but shows wrong sums without it too. */
#include "columns/columns_testing.h"
#include "os/os.h"

#include <sched.h>

#define ACCOUNTS TAPE_TABLE_ACCOUNTS
#define USERS 300u
#define ROWS (3u * COLUMNS_CHUNK_ROWS)
#define TAKEN_MAX 400000u

/* A row of the archive's, the newest of its key when it was taken. */
typedef struct taken_row {
    uint64_t seq;
    double balance;
} taken_row;

typedef struct shared {
    columns *columns;
    uint64_t last_seq[USERS]; /* writer only: of the newest version of each */
    taken_row *taken;
    /* The archive's view: rows are there before its seq says so. */
    _Atomic uint64_t taken_count, archived;
    _Atomic bool done;
    _Atomic uint64_t scans, wrong, takes;
} shared;

static tape_status archived(void *context, const tape_table_info *table, slice key, uint64_t at,
                            uint64_t *seq, tape_error *error) {
    shared *s = context;
    uint32_t user = 0;
    for (size_t n = 5; n < key.size; n++) {
        user = user * 10 + (uint32_t)(key.data[n] - '0');
    }
    (void)table;
    if (s->last_seq[user] > at) {
        return error_set(error, TAPE_CORRUPT, "the archive was asked for a key that is hot");
    }
    *seq = s->last_seq[user];
    return TAPE_OK;
}

static void write_transfers(void *argument) {
    shared *s = argument;
    double balance[USERS] = {0};
    tape_account accounts[64];
    record_view views[64];
    uint32_t users[64];
    uint64_t random = 3;
    tape_error error;
    for (uint64_t seq = 0; seq < ROWS;) {
        uint32_t batch = 2 * (1 + (uint32_t)random_below(&random, 32));
        for (uint32_t n = 0; n < batch; n++) {
            bool first = n % 2 == 0;
            double amount = first ? 1 + (double)random_below(&random, 100) : 0;
            /* Some hardly ever change, so that they stand in the archive for long. */
            size_t range = random_below(&random, 50) == 0 ? USERS : USERS / 4;
            users[n] = (uint32_t)random_below(&random, range);
            while (!first && users[n] == users[n - 1]) {
                users[n] = (users[n] + 1) % USERS;
            }
            balance[users[n]] += first ? -amount : 0;
            accounts[n] = (tape_account){.balance = balance[users[n]], .available = amount};
            if (!first) {
                balance[users[n]] += accounts[n - 1].available;
                accounts[n].balance = balance[users[n]];
            }
            put_id(accounts[n].user_id, sizeof accounts[n].user_id, "user", users[n], 8);
            seq++;
            views[n] = view_of(ACCOUNTS, &accounts[n], seq, (int64_t)seq);
            views[n].flags = first ? RECORD_MORE : 0;
        }
        for (uint32_t n = 0; n < batch; n++) {
            /* The call-back is about the versions before the one being added. */
            if (columns_apply(s->columns, &views[n], 1, &error) != TAPE_OK) {
                atomic_fetch_add(&s->wrong, 1);
            }
            s->last_seq[users[n]] = views[n].seq;
        }
    }
    atomic_store(&s->done, true);
}

/* Visits the newest versions at `seq` among the hot rows after `after`. */
static uint64_t read_hot(const columns *c, uint64_t after, uint64_t seq, double *sum,
                         taken_row *out) {
    uint32_t selected[VECTOR];
    double balance[VECTOR];
    uint64_t seqs[VECTOR];
    uint64_t count = 0;
    uint64_t row = columns_row_after(c, ACCOUNTS, after);
    uint64_t end = columns_row_after(c, ACCOUNTS, seq);
    while (row < end) {
        uint64_t run = COLUMNS_CHUNK_ROWS - row % COLUMNS_CHUNK_ROWS;
        run = run < VECTOR ? run : VECTOR;
        run = run < end - row ? run : end - row;
        const columns_hint hint = {.ts_min = (int64_t)after + 1, .ts_max = (int64_t)seq};
        uint32_t found = columns_newest(c, ACCOUNTS, row, (uint32_t)run, seq, selected);
        if (found > 0 && !columns_chunk_wanted(c, ACCOUNTS, row, &hint)) {
            return UINT64_MAX;
        }
        columns_read(c, ACCOUNTS, 3, row, selected, found, balance);
        columns_read(c, ACCOUNTS, 0, row, selected, found, seqs);
        for (uint32_t i = 0; i < found; i++, count++) {
            *sum += balance[i];
            if (out != NULL) {
                out[count] = (taken_row){.seq = seqs[i], .balance = balance[i]};
            }
        }
        row += run;
    }
    return count;
}

static bool sum_is_right(const shared *s, uint64_t after, uint64_t taken, uint64_t seq) {
    uint64_t seqs[VECTOR];
    bool newest[VECTOR];
    double sum = 0;
    uint64_t count = read_hot(s->columns, after, seq, &sum, NULL);
    for (uint64_t from = 0; from < taken; from += VECTOR) {
        uint32_t run = taken - from < VECTOR ? (uint32_t)(taken - from) : VECTOR;
        for (uint32_t i = 0; i < run; i++) {
            seqs[i] = s->taken[from + i].seq;
        }
        columns_archived_newest(s->columns, ACCOUNTS, seqs, run, seq, newest);
        for (uint32_t i = 0; i < run; i++) {
            sum += newest[i] ? s->taken[from + i].balance : 0;
            count += newest[i];
        }
    }
    return sum == 0 && count <= USERS;
}

static void read_sums(void *argument) {
    shared *s = argument;
    columns_pin *held = NULL;
    uint64_t held_after = 0, held_taken = 0, held_seq = 0;
    while (!atomic_load(&s->done)) {
        columns_pin *pin = columns_pin_open(s->columns);
        uint64_t after = atomic_load(&s->archived);
        uint64_t taken = atomic_load(&s->taken_count);
        uint64_t seq = columns_seq(s->columns);
        /* Rows that a later take added are not in this view. */
        while (taken > 0 && s->taken[taken - 1].seq > after) {
            taken--;
        }
        bool right =
            after >= columns_pin_base(pin) && seq >= after && sum_is_right(s, after, taken, seq);
        if (held != NULL) {
            right = right && sum_is_right(s, held_after, held_taken, held_seq) &&
                    sum_is_right(s, held_after, held_taken, seq);
        }
        atomic_fetch_add(&s->wrong, !right);
        if (atomic_fetch_add(&s->scans, 1) % 8 == 0) {
            columns_pin_close(&held);
            held = pin;
            held_after = after;
            held_taken = taken;
            held_seq = seq;
        } else {
            columns_pin_close(&pin);
        }
    }
    columns_pin_close(&held);
}

static void archive_rows(void *argument) {
    shared *s = argument;
    tape_error error;
    while (!atomic_load(&s->done)) {
        uint64_t from = atomic_load(&s->archived);
        uint64_t seq = columns_seq(s->columns);
        if (seq < from + 5000) {
            (void)sched_yield();
            continue;
        }
        columns_pin *pin = columns_pin_open(s->columns);
        if (columns_hand_over(s->columns, seq, &error) != TAPE_OK) {
            atomic_fetch_add(&s->wrong, 1);
        }
        uint64_t count = atomic_load(&s->taken_count);
        double sum = 0;
        count += read_hot(s->columns, from, seq, &sum, s->taken + count);
        atomic_store(&s->taken_count, count);
        atomic_store(&s->archived, seq);
        columns_pin_close(&pin);
        columns_drop(s->columns, seq);
        uint64_t takes = atomic_fetch_add(&s->takes, 1);
        (void)columns_rows(s->columns, ACCOUNTS);
        (void)columns_bytes(s->columns);
        columns_superseded pairs[64];
        (void)columns_superseded_read(s->columns, ACCOUNTS, 0, seq, takes % 100, pairs, 64);
    }
}

static void columns_tell_every_sum_beside_writer_and_archive(void **state) {
    (void)state;
    static shared s;
    const columns_options options = {
        .bytes_max = GIB(1), .archived = archived, .archived_context = &s};
    void (*const bodies[])(void *) = {write_transfers, archive_rows, read_sums, read_sums};
    os_thread *threads[COUNT_OF(bodies)];
    tape_error error;
    s.taken = mem_alloc(TAKEN_MAX * sizeof *s.taken);
    assert_int_equal(columns_create(&s.columns, &options, &error), TAPE_OK);
    for (size_t n = 0; n < COUNT_OF(bodies); n++) {
        assert_int_equal(os_thread_start(&threads[n], "columns", -1, bodies[n], &s, &error),
                         TAPE_OK);
    }
    for (size_t n = 0; n < COUNT_OF(bodies); n++) {
        os_thread_join(&threads[n]);
    }
    assert_int_equal(atomic_load(&s.wrong), 0);
    assert_true(atomic_load(&s.scans) > 0 && atomic_load(&s.takes) > 0);
    columns_pin *pin = columns_pin_open(s.columns);
    assert_true(sum_is_right(&s, atomic_load(&s.archived), atomic_load(&s.taken_count),
                             columns_seq(s.columns)));
    columns_pin_close(&pin);
    assert_int_equal(columns_bytes(s.columns), bytes_held(s.columns));
    columns_close(&s.columns);
    free(s.taken);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_tell_every_sum_beside_writer_and_archive),
    };
    return cmocka_run_group_tests_name("columns_race", tests, NULL, NULL);
}
