/* A view: every read of it sees one moment, whatever is appended meanwhile. Run it on the store
 * that embed.c made.
 *
 *     cc view.c $(pkg-config --cflags --libs tape) -o view && ./view /tmp/embed-store
 */
#include <tape/tape.h>

#include <stdio.h>
#include <stdlib.h>

static void check(tape_status status, const tape_error *error) {
    if (status != TAPE_OK) {
        (void)fprintf(stderr, "%s: %s\n", tape_status_name(status), error->text);
        exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: view DIR\n");
        return 2;
    }
    tape_error error;
    tape *db = NULL;
    check(tape_open(argv[1], NULL, &db, &error), &error);

    /* Everything written so far; `at` would be an earlier record. */
    tape_view *view = NULL;
    check(tape_view_open(db, 0, TAPE_WRITTEN, &view, &error), &error);

    tape_account account = {.user_id = "alice", .balance = 1e6, .available = 5e5, .margin = 5e5};
    tape_record record = TAPE_RECORD(ACCOUNTS, &account);
    check(tape_append(db, &record, 1, NULL, NULL, &error), &error);

    const char *alice[] = {"alice"};
    check(tape_view_get(view, TAPE_TABLE_ACCOUNTS, alice, 1, &account, &error), &error);
    printf("in the view alice has %g available\n", account.available);
    check(tape_get(db, TAPE_TABLE_ACCOUNTS, alice, 1, 0, &account, &error), &error);
    printf("now alice has %g available\n", account.available);

    /* Many keys at once, which costs less than one after the other; one word per key field. */
    const char *users[] = {"alice", "bob", "carol"};
    tape_account accounts[3];
    bool found[3];
    check(tape_view_get_many(view, TAPE_TABLE_ACCOUNTS, users, 1, 3, accounts, found, &error),
          &error);
    for (size_t i = 0; i < 3; i++) {
        if (found[i]) {
            printf("%s: %g available at seq %llu\n", users[i], accounts[i].available,
                   (unsigned long long)accounts[i].seq);
        } else {
            printf("%s: no account\n", users[i]);
        }
    }
    tape_view_close(&view);
    check(tape_close(&db, &error), &error);
    return 0;
}
