/* Follow a store from another process: print every trade as it is written.
 *
 *     cc follow.c $(pkg-config --cflags --libs tape-reader) -o follow && ./follow DIR [SECONDS]
 */
#include <tape/reader.h>

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    if (argc < 2) {
        (void)fprintf(stderr, "usage: follow DIR [SECONDS to wait for more]\n");
        return 2;
    }
    int64_t wait_ns = (argc > 2 ? atoll(argv[2]) : 1) * 1000000000;
    tape_error error;
    tape_reader *reader = NULL;
    if (tape_reader_open(argv[1], NULL, &reader, &error) != TAPE_OK) {
        (void)fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    tape_reader_record records[256];
    size_t count = 0;
    while (tape_reader_poll(reader, records, 256, wait_ns, &count, &error) == TAPE_OK &&
           count > 0) {
        for (size_t i = 0; i < count; i++) {
            if (records[i].table == TAPE_TABLE_TRADES) {
                const tape_trade *trade = records[i].record;
                printf("%llu %.*s %g x %g\n", (unsigned long long)trade->seq,
                       (int)sizeof trade->instrument_id, trade->instrument_id, trade->price,
                       trade->volume);
            }
        }
    }
    printf("next seq %llu\n", (unsigned long long)tape_reader_next_seq(reader));
    tape_reader_close(&reader);
    return 0;
}
