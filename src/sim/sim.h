/* sim: the built-in exchange. A price-time-priority matching engine fed by a seeded order flow,
 * whose records go into a store through the public interface alone. */
#ifndef SIM_H
#define SIM_H

#include <tape/tape.h>

typedef struct sim_options {
    uint64_t orders; /* how many orders to send */
    uint64_t seed;
    uint32_t instruments;
    uint32_t users;
    double rate;      /* orders per second; 0: as fast as it goes */
    tape_level level; /* acknowledged at, in batches */
    /* Called about ten times a second; return false to stop. May be NULL. */
    bool (*progress)(void *context, uint64_t orders_done);
    void *progress_context;
} sim_options;
void sim_options_init(sim_options *options); /* 100,000 orders, seed 1, 4 instruments, 100 users */

typedef struct sim_result {
    uint64_t orders, trades, cancels, rejects, records;
    uint64_t first_seq, last_seq; /* 0 when nothing was appended */
} sim_result;

tape_status sim_run(tape *db, const sim_options *options, sim_result *result,
                    tape_error *error) TAPE_CHECKED;

#endif
