/* kill -9 under load, again and again on one store: everything acknowledged as written is there, in
 * order, whole, and by key. TAPE_TEST_SCALE=full runs hundreds of rounds. */
#include <tape/reader.h>
#include <tape/tape.h>

#include "base/base.h"
#include "base/base_testing.h"
#include "os/os.h"

#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PRODUCERS 2

/* Shared with the child: what it has been told. */
typedef struct shared {
    _Atomic uint64_t acknowledged[PRODUCERS]; /* trades 1..n of the producer are written */
    _Atomic uint64_t durable[PRODUCERS];
    _Atomic uint64_t next_account;
} shared;

typedef struct producer {
    tape *db;
    shared *to;
    size_t number;
    uint64_t next;
    uint64_t random;
} producer;

static void name_of(char *out, size_t size, size_t number, uint64_t n) {
    char text[41];
    int length = snprintf(text, sizeof text, "p%zu-%llu", number, (unsigned long long)n);
    memset(out, 0, size);
    memcpy(out, text, (size_t)length);
}

/* One append: a few trades of this producer and an account that counts them. */
static void produce_one(producer *p) {
    tape_trade trades[5];
    tape_record records[6];
    size_t count = 1 + random_next(&p->random) % 5;
    memset(trades, 0, sizeof trades);
    for (size_t i = 0; i < count; i++) {
        name_of(trades[i].trade_id, sizeof trades[i].trade_id, p->number, p->next + i);
        trades[i].price = (double)(p->next + i);
        trades[i].volume = (double)count;
        records[i] = (tape_record)TAPE_RECORD(TRADES, &trades[i]);
    }
    tape_account account = {0};
    name_of(account.user_id, sizeof account.user_id, p->number, 0);
    account.balance = (double)(p->next + count - 1);
    records[count] = (tape_record)TAPE_RECORD(ACCOUNTS, &account);
    tape_append_options options;
    tape_append_options_init(&options);
    options.level = random_next(&p->random) % 50 == 0 ? TAPE_DURABLE : TAPE_WRITTEN;
    options.timeout_ns = -1;
    tape_append_result result;
    tape_error error;
    if (tape_append(p->db, records, count + 1, &options, &result, &error) != TAPE_OK) {
        (void)fprintf(stderr, "append: %s\n", error.text);
        _exit(3);
    }
    p->next += count;
    atomic_store(&p->to->acknowledged[p->number], p->next - 1);
}

static void produce(void *argument) {
    for (;;) {
        produce_one(argument);
    }
}

static void child_run(const char *dir, shared *to, uint64_t seed) {
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = MIB(8);
    options.memtable_bytes = MIB(1);
    tape *db = NULL;
    tape_error error;
    if (tape_open(dir, &options, &db, &error) != TAPE_OK) {
        (void)fprintf(stderr, "open: %s\n", error.text);
        _exit(2);
    }
    producer producers[PRODUCERS];
    os_thread *thread = NULL;
    for (size_t i = 0; i < PRODUCERS; i++) {
        producers[i] =
            (producer){db, to, i, atomic_load(&to->acknowledged[i]) + 1, seed * 7 + i + 1};
        if (os_thread_start(&thread, "producer", -1, produce, &producers[i], &error) != TAPE_OK) {
            _exit(4);
        }
    }
    for (uint64_t random = seed;;) {
        os_sleep_ns((int64_t)(random_next(&random) % 20000000));
        if (tape_checkpoint(db, &error) != TAPE_OK) {
            (void)fprintf(stderr, "checkpoint: %s\n", error.text);
            _exit(5);
        }
    }
}

/* Reads the whole journal: per producer trades 1, 2, 3, ... and after each append its account. */
static void check_journal(const char *dir, uint64_t counts[PRODUCERS]) {
    tape_reader *reader = NULL;
    tape_error error = {0};
    assert_int_equal(tape_reader_open(dir, NULL, &reader, &error), TAPE_OK);
    uint64_t next_seq = 1;
    uint64_t pending = 0;
    for (size_t count = 1; count > 0;) {
        tape_reader_record records[256];
        if (tape_reader_poll(reader, records, 256, 0, &count, &error) != TAPE_OK) {
            fail_msg("%s", error.text);
        }
        for (size_t i = 0; i < count; i++) {
            const tape_trade *trade = records[i].record;
            assert_int_equal(trade->seq, next_seq++);
            if (records[i].table == TAPE_TABLE_TRADES) {
                size_t number = (size_t)(trade->trade_id[1] - '0');
                char want[40];
                name_of(want, sizeof want, number, ++counts[number]);
                assert_memory_equal(trade->trade_id, want, sizeof want);
                assert_true(records[i].more);
                pending++;
                assert_true(pending <= 5 && (double)pending <= trade->volume);
            } else {
                const tape_account *account = records[i].record;
                size_t number = (size_t)(account->user_id[1] - '0');
                assert_false(records[i].more);
                assert_true(account->balance == (double)counts[number]);
                pending = 0;
            }
        }
    }
    assert_int_equal(pending, 0); /* no append is cut in the middle */
    tape_reader_close(&reader);
}

static void check_keys(tape *db, const uint64_t counts[PRODUCERS], uint64_t *random) {
    tape_error error = {0};
    for (size_t k = 0; k < PRODUCERS; k++) {
        for (int i = 0; i < 50 && counts[k] > 0; i++) {
            uint64_t n = i == 0 ? counts[k] : 1 + random_next(random) % counts[k];
            char name[41] = "";
            name_of(name, 40, k, n);
            const char *key[] = {name};
            tape_trade trade;
            if (tape_get(db, TAPE_TABLE_TRADES, key, 1, 0, &trade, &error) != TAPE_OK) {
                fail_msg("%s: %s", name, error.text);
            }
            assert_true(trade.price == (double)n);
        }
        char name[41] = "";
        name_of(name, 32, k, 0);
        const char *key[] = {name};
        tape_account account;
        tape_status status = tape_get(db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &account, &error);
        assert_int_equal(status, counts[k] > 0 ? TAPE_OK : TAPE_NOT_FOUND);
        assert_true(status != TAPE_OK || account.balance == (double)counts[k]);
    }
}

static void print_damage(void *context, const tape_error *finding) {
    (void)context;
    print_error("%s\n", finding->text);
}

static void killed_under_load_keeps_everything_acknowledged_as_written(void **state) {
    (void)state;
    const char *scale = getenv("TAPE_TEST_SCALE");
    bool full = scale != NULL && strcmp(scale, "full") == 0;
    uint64_t rounds = full ? 300 : 10;
    uint64_t seed = (uint64_t)clock_realtime_ns();
    print_message("seed %llu\n", (unsigned long long)seed);
    char root[] = "/tmp/tape-kill-XXXXXX";
    assert_non_null(mkdtemp(root));
    char dir[64];
    (void)snprintf(dir, sizeof dir, "%s/db", root);
    shared *to = mmap(NULL, sizeof *to, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(to != MAP_FAILED);
    tape_error error = {0};
    uint64_t random = seed | 1;
    uint64_t counts[PRODUCERS] = {0};
    for (uint64_t round = 0; round < rounds; round++) {
        if (round % 25 == 0) { /* a fresh store now and then keeps the checks quick */
            char command[128];
            (void)snprintf(command, sizeof command, "rm -rf %s", dir);
            assert_int_equal(system(command), 0);
            if (tape_create(dir, NULL, &error) != TAPE_OK) {
                fail_msg("%s", error.text);
            }
            memset(to, 0, sizeof *to);
        }
        pid_t child = fork();
        if (child == 0) {
            child_run(dir, to, random);
        }
        os_sleep_ns((int64_t)(20000000 + random_next(&random) % 150000000));
        assert_int_equal(kill(child, SIGKILL), 0);
        int ended = 0;
        assert_int_equal(waitpid(child, &ended, 0), child);
        if (!WIFSIGNALED(ended)) {
            fail_msg("round %llu: the child ended by itself: %d", (unsigned long long)round, ended);
        }
        tape *db = NULL;
        if (tape_open(dir, NULL, &db, &error) != TAPE_OK) {
            fail_msg("round %llu: %s", (unsigned long long)round, error.text);
        }
        memset(counts, 0, sizeof counts);
        check_journal(dir, counts);
        for (size_t k = 0; k < PRODUCERS; k++) {
            assert_true(counts[k] >= atomic_load(&to->acknowledged[k]));
            atomic_store(&to->acknowledged[k], counts[k]);
        }
        check_keys(db, counts, &random);
        if (round % 5 == 4 && tape_verify(db, print_damage, NULL, NULL, NULL, &error) != TAPE_OK) {
            fail_msg("round %llu: %s", (unsigned long long)round, error.text);
        }
        assert_int_equal(tape_close(&db, &error), TAPE_OK);
    }
    print_message("%llu rounds, at the end %llu and %llu trades\n", (unsigned long long)rounds,
                  (unsigned long long)counts[0], (unsigned long long)counts[1]);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", root);
    assert_int_equal(system(command), 0);
    (void)munmap(to, sizeof *to);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_under_load_keeps_everything_acknowledged_as_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
