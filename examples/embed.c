/* Embed tape: make a store, append a trade with the accounts it changes as one unit, read it back
 * by key and by SQL.
 *
 *     cc embed.c $(pkg-config --cflags --libs tape) -o embed && ./embed /tmp/embed-store
 */
#include <tape/tape.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(tape_status status, const tape_error *error) {
    if (status != TAPE_OK) {
        (void)fprintf(stderr, "%s: %s\n", tape_status_name(status), error->text);
        exit(1);
    }
}

static void print_query(tape *db, const char *sql) {
    tape_error error;
    struct ArrowArrayStream stream;
    struct ArrowArray batch;
    check(tape_query(db, sql, NULL, &stream, &error), &error);
    /* Two DOUBLE columns: buffer 1 of a column holds its values. */
    while (stream.get_next(&stream, &batch) == 0 && batch.release != NULL) {
        const double *volume = batch.children[0]->buffers[1];
        const double *turnover = batch.children[1]->buffers[1];
        for (int64_t row = 0; row < batch.length; row++) {
            printf("volume %g, turnover %g\n", volume[row], turnover[row]);
        }
        batch.release(&batch);
    }
    stream.release(&stream);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: embed DIR\n");
        return 2;
    }
    tape_error error;
    tape *db = NULL;
    check(tape_create(argv[1], NULL, &error), &error);
    check(tape_open(argv[1], NULL, &db, &error), &error);

    tape_trade trade = {.trade_id = "t1",
                        .user_id = "alice",
                        .instrument_id = "IF2601",
                        .side = TAPE_SIDE_BUY,
                        .price = 3900.2,
                        .volume = 2};
    tape_account buyer = {.user_id = "alice", .balance = 1e6, .available = 9e5, .margin = 1e5};
    tape_account seller = {.user_id = "bob", .balance = 1e6, .available = 9e5, .margin = 1e5};
    tape_record unit[] = {TAPE_RECORD(TRADES, &trade), TAPE_RECORD(ACCOUNTS, &buyer),
                          TAPE_RECORD(ACCOUNTS, &seller)};
    tape_append_options options;
    tape_append_options_init(&options);
    options.level = TAPE_DURABLE;
    tape_append_result result;
    check(tape_append(db, unit, 3, &options, &result, &error), &error);
    printf("durable: seq %llu to %llu\n", (unsigned long long)result.first_seq,
           (unsigned long long)result.last_seq);

    const char *key[] = {"alice"};
    tape_account account;
    check(tape_get(db, TAPE_TABLE_ACCOUNTS, key, 1, 0, &account, &error), &error);
    printf("alice has %g available\n", account.available);
    print_query(db, "SELECT sum(volume), sum(price * volume) FROM trades");
    check(tape_close(&db, &error), &error);
    return 0;
}
