/* Scans: the rows of a range of keys, in their order, of one moment. Run it on the store that
 * embed.c made.
 *
 *     cc scan.c $(pkg-config --cflags --libs tape) -o scan && ./scan /tmp/embed-store [PREFIX]
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

/* Prints what a scan of accounts brings, a few rows at a time. */
static void print_accounts(tape_view *view, const tape_scan_options *options) {
    tape_error error;
    tape_scan *scan = NULL;
    check(tape_scan_open(view, options, &scan, &error), &error);
    const void *rows = NULL;
    size_t count = 0;
    do {
        check(tape_scan_next(scan, 100, &rows, &count, &error), &error);
        const tape_account *accounts = rows;
        for (size_t i = 0; i < count; i++) {
            printf("  %.*s seq %llu balance %g\n", (int)sizeof accounts[i].user_id,
                   accounts[i].user_id, (unsigned long long)accounts[i].seq, accounts[i].balance);
        }
    } while (count > 0);
    tape_scan_close(&scan);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        (void)fprintf(stderr, "usage: scan DIR [PREFIX]\n");
        return 2;
    }
    tape_error error;
    tape *db = NULL;
    tape_view *view = NULL;
    check(tape_open(argv[1], NULL, &db, &error), &error);
    check(tape_view_open(db, 0, TAPE_WRITTEN, &view, &error), &error);

    tape_scan_options options;
    tape_scan_options_init(&options);
    options.table = TAPE_TABLE_ACCOUNTS;
    options.prefix = argc > 2 ? argv[2] : NULL;
    printf("accounts by user:\n");
    print_accounts(view, &options);

    options.backward = true;
    printf("the highest user first:\n");
    print_accounts(view, &options);

    /* With its whole key given a scan has one row; with versions, all it ever was. */
    const char *alice[] = {"alice"};
    options = (tape_scan_options){.size_bytes = sizeof options,
                                  .table = TAPE_TABLE_ACCOUNTS,
                                  .key = alice,
                                  .key_count = 1,
                                  .versions = true};
    printf("what alice's account was:\n");
    print_accounts(view, &options);

    tape_view_close(&view);
    check(tape_close(&db, &error), &error);
    return 0;
}
