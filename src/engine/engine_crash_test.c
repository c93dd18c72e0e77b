/* The whole engine on the simulated disk: power loss, crash and faults at every step of a life with
 * checkpoints and a journal that is trimmed behind them. What was acknowledged as durable (after a
 * power loss) or as written (after a crash of the process) must be found by key, by its version,
 * and in the journal's order. */
#include "engine/engine_internal.h"
#include "os/os_sim.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOT "/db"
#define SEGMENT KIB(64)
#define USERS 7

typedef struct outcome {
    bool created;
    uint64_t appended;
    uint64_t written;
    uint64_t durable;
} outcome;

static uint64_t scale(uint64_t quick, uint64_t full) {
    const char *text = getenv("TAPE_TEST_SCALE");
    return text != NULL && strcmp(text, "full") == 0 ? full : quick;
}

static tape_status open_sim(os_disk *disk, tape **db, tape_error *error) {
    tape_open_options options;
    tape_open_options_init(&options);
    options.window_bytes = KIB(64);
    options.memtable_bytes = KIB(32);
    options.retain_bytes = 0;
    return engine_open(disk, ROOT, &options, false, db, error);
}

/* Record n: a trade of its own key when n is even, else a version of one of the accounts. */
static tape_record record_of(uint64_t n, tape_trade *trade, tape_account *account) {
    if (n % 2 == 0) {
        memset(trade, 0, sizeof *trade);
        (void)snprintf(trade->trade_id, sizeof trade->trade_id, "t%llu", (unsigned long long)n);
        trade->price = (double)n;
        trade->ts = (int64_t)n;
        return (tape_record)TAPE_RECORD(TRADES, trade);
    }
    memset(account, 0, sizeof *account);
    (void)snprintf(account->user_id, sizeof account->user_id, "u%llu",
                   (unsigned long long)(n % USERS));
    account->balance = (double)n;
    account->ts = (int64_t)n;
    return (tape_record)TAPE_RECORD(ACCOUNTS, account);
}

static tape_status append_some(tape *db, size_t appends, outcome *o, tape_error *error) {
    tape_status status = TAPE_OK;
    for (size_t i = 0; status == TAPE_OK && i < appends; i++) {
        tape_trade trades[3];
        tape_account accounts[3];
        tape_record records[3];
        size_t count = 1 + i % 3;
        for (size_t k = 0; k < count; k++) {
            records[k] = record_of(o->appended + 1 + k, &trades[k], &accounts[k]);
        }
        tape_append_options options;
        tape_append_options_init(&options);
        options.timeout_ns = 0;
        o->appended += count;
        status = tape_append(db, records, count, &options, NULL, error);
        o->written = status == TAPE_OK ? o->appended : o->written;
        if (status == TAPE_OK && i % 4 == 3) {
            status = tape_wait(db, o->written, TAPE_DURABLE, 0, error);
            o->durable = status == TAPE_OK ? o->written : o->durable;
        }
        if (status == TAPE_OK && i % 50 == 49) {
            status = tape_checkpoint(db, error);
            o->durable = status == TAPE_OK ? o->written : o->durable;
        }
    }
    return status;
}

static void live(os_disk *disk, outcome *o) {
    tape_error error;
    tape *db = NULL;
    *o = (outcome){0};
    if (engine_create(disk, ROOT, SEGMENT, &error) != TAPE_OK) {
        return;
    }
    o->created = true;
    for (int round = 0; round < 2; round++) {
        if (open_sim(disk, &db, &error) != TAPE_OK) {
            return;
        }
        tape_status status = append_some(db, round == 0 ? 260 : 60, o, &error);
        if (tape_close(&db, &error) != TAPE_OK || status != TAPE_OK) {
            return;
        }
        o->durable = o->written;
    }
}

static void print_damage(void *context, const tape_error *finding) {
    (void)context;
    print_error("%s\n", finding->text);
}

/* Every record up to `last` is there by key, at its own seq. */
static void check_rows(tape *db, uint64_t last) {
    tape_error error;
    for (uint64_t n = 1; n <= last; n++) {
        tape_trade trade;
        tape_account account;
        tape_record record = record_of(n, &trade, &account);
        char key_text[41] = "";
        memcpy(key_text, n % 2 == 0 ? trade.trade_id : account.user_id, 32);
        const char *key[] = {key_text};
        _Alignas(8) uint8_t found[TAPE_RECORD_BYTES_MAX];
        if (tape_get(db, record.table, key, 1, n, found, &error) != TAPE_OK) {
            fail_msg("record %llu of %llu: %s", (unsigned long long)n, (unsigned long long)last,
                     error.text);
        }
        assert_int_equal(load_u64(found), n);
        assert_memory_equal(found + 8, (const uint8_t *)record.data + 8, record.size_bytes - 8);
    }
}

static void check_recovered(os_disk *disk, const outcome *o, uint64_t least, const char *what,
                            uint64_t step) {
    tape_error error = {0};
    tape *db = NULL;
    tape_status status = open_sim(disk, &db, &error);
    if (!o->created && status == TAPE_NO_STORE) {
        return;
    }
    if (status != TAPE_OK) {
        fail_msg("%s at step %llu: %s", what, (unsigned long long)step, error.text);
    }
    uint64_t last = journal_seq(db->journal, TAPE_WRITTEN);
    if (last < least || last > o->appended) {
        fail_msg("%s at step %llu: %llu, acknowledged %llu, appended %llu", what,
                 (unsigned long long)step, (unsigned long long)last, (unsigned long long)least,
                 (unsigned long long)o->appended);
    }
    check_rows(db, last);
    if (tape_verify(db, print_damage, NULL, NULL, NULL, &error) != TAPE_OK) {
        fail_msg("%s at step %llu: %s", what, (unsigned long long)step, error.text);
    }
    outcome more = {.appended = last};
    assert_int_equal(append_some(db, 60, &more, &error), TAPE_OK);
    check_rows(db, more.appended);
    assert_int_equal(tape_close(&db, &error), TAPE_OK);
}

/* The life itself, undisturbed: what the other tests cut short. */
static void undisturbed_life_ends_with_everything_durable(void **state) {
    (void)state;
    os_sim *sim = os_sim_create(1);
    os_disk *disk = os_sim_process_start(sim);
    outcome o;
    live(disk, &o);
    assert_true(o.created);
    assert_int_equal(o.appended, 519 + 120);
    assert_int_equal(o.durable, o.appended);
    assert_true(os_sim_steps(sim) > 150);
    check_recovered(disk, &o, o.durable, "nothing", 0);
    os_sim_destroy(&sim);
}

static void power_loss_at_every_step_keeps_what_was_durable(void **state) {
    (void)state;
    bool done = false;
    for (uint64_t step = 1; !done; step += scale(3, 1)) {
        os_sim *sim = os_sim_create(step * 31);
        os_sim_crash_at(sim, step);
        outcome o;
        live(os_sim_process_start(sim), &o);
        done = !os_sim_crash_reached(sim);
        os_sim_power_loss(sim, NULL);
        os_sim_crash_at(sim, 0);
        check_recovered(os_sim_process_start(sim), &o, o.durable, "power loss", step);
        os_sim_destroy(&sim);
    }
}

static void process_crash_at_every_step_keeps_what_was_written(void **state) {
    (void)state;
    bool done = false;
    for (uint64_t step = 1; !done; step += scale(3, 1)) {
        os_sim *sim = os_sim_create(step);
        os_sim_crash_at(sim, step);
        outcome o;
        os_disk *disk = os_sim_process_start(sim);
        live(disk, &o);
        done = !os_sim_crash_reached(sim);
        os_sim_process_crash(disk);
        os_sim_crash_at(sim, 0);
        check_recovered(os_sim_process_start(sim), &o, o.written, "process crash", step);
        os_sim_destroy(&sim);
    }
}

/* A fault of any kind on any file: refused by name, or every acknowledged record is right. */
static void faults_are_refused_by_name_or_harmless(void **state) {
    (void)state;
    static const os_sim_effect effects[] = {OS_SIM_LOST, OS_SIM_TORN, OS_SIM_MISDIRECTED,
                                            OS_SIM_EIO};
    static const char *const files[] = {"*.journal", "*.sst*", "*MANIFEST*", "*TAPE*"};
    uint64_t refused = 0;
    uint64_t whole = 0;
    for (size_t f = 0; f < COUNT_OF(files); f++) {
        for (size_t e = 0; e < COUNT_OF(effects); e++) {
            bool hit = true;
            for (uint64_t skip = 0; hit; skip += scale(5, 1)) {
                os_sim *sim = os_sim_create(skip);
                os_sim_fault fault = {.operation = OS_SIM_WRITE,
                                      .effect = effects[e],
                                      .path = files[f],
                                      .skip = skip,
                                      .count = 1,
                                      .to_offset = 4096};
                size_t number = os_sim_fault_add(sim, &fault);
                outcome o;
                os_disk *disk = os_sim_process_start(sim);
                live(disk, &o);
                hit = os_sim_fault_hits(sim, number) > 0;
                os_sim_process_crash(disk);
                os_sim_drop_caches(sim);
                disk = os_sim_process_start(sim);
                tape *db = NULL;
                tape_error error = {0};
                tape_status status = open_sim(disk, &db, &error);
                if (effects[e] == OS_SIM_EIO && (status == TAPE_FAILED || status == TAPE_IO)) {
                    status =
                        open_sim(disk, &db, &error); /* the fault met the recovery; it is over */
                }
                if (status == TAPE_OK &&
                    tape_verify(db, NULL, NULL, NULL, NULL, &error) == TAPE_OK) {
                    uint64_t last = journal_seq(db->journal, TAPE_WRITTEN);
                    if (last < o.durable || last > o.appended) {
                        fail_msg("%s, effect %zu at write %llu: %llu of %llu durable records",
                                 files[f], e, (unsigned long long)skip, (unsigned long long)last,
                                 (unsigned long long)o.durable);
                    }
                    check_rows(db, last);
                    whole++;
                } else if (status != TAPE_OK) {
                    if (status != TAPE_CORRUPT && status != TAPE_NO_STORE) {
                        fail_msg("%s, effect %zu at write %llu: %s: %s", files[f], e,
                                 (unsigned long long)skip, tape_status_name(status), error.text);
                    }
                    assert_true(strlen(error.text) > 0);
                    refused++;
                }
                if (db != NULL) {
                    (void)!tape_close(&db, NULL);
                }
                os_sim_destroy(&sim);
            }
        }
    }
    assert_true(refused > 0 && whole > 0);
}

static void log_nothing(void *context, log_level level, const char *line) {
    (void)context;
    (void)level;
    (void)line;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(undisturbed_life_ends_with_everything_durable),
        cmocka_unit_test(power_loss_at_every_step_keeps_what_was_durable),
        cmocka_unit_test(process_crash_at_every_step_keeps_what_was_written),
        cmocka_unit_test(faults_are_refused_by_name_or_harmless),
    };
    log_set(LOG_ERROR, log_nothing, NULL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
