/* tape sim: the built-in exchange on a store. */
#include "cli/cli_internal.h"

#include "sim/sim.h"

static bool read_options(cli *c, const cli_args *args, sim_options *options) {
    uint64_t instruments = options->instruments;
    uint64_t users = options->users;
    if (!args_u64(c, args, "orders", &options->orders) ||
        !args_u64(c, args, "seed", &options->seed) ||
        !args_u64(c, args, "instruments", &instruments) || !args_u64(c, args, "users", &users) ||
        !args_f64(c, args, "rate", &options->rate) ||
        !args_level(c, args, "ack", &options->level)) {
        return false;
    }
    if (instruments == 0 || instruments > UINT32_MAX || users == 0 || users > UINT32_MAX) {
        (void)cli_usage(c, "--instruments and --users are from 1 to %u", UINT32_MAX);
        return false;
    }
    options->instruments = (uint32_t)instruments;
    options->users = (uint32_t)users;
    return true;
}

int verb_sim_check(cli *c, cli_args *args) {
    sim_options options;
    sim_options_init(&options);
    return read_options(c, args, &options) ? EXIT_DONE : EXIT_USAGE;
}

typedef struct sim_progress {
    progress line;
    uint64_t orders;
} sim_progress;

static bool show_progress(void *context, uint64_t done) {
    sim_progress *p = context;
    if (progress_due(&p->line)) {
        char orders[32];
        char rate[32];
        progress_show(&p->line, "%s orders  %s orders/s  %.0f %%", group_digits(done, orders),
                      group_digits((uint64_t)((double)done / progress_seconds(&p->line)), rate),
                      p->orders == 0 ? 100.0 : 100.0 * (double)done / (double)p->orders);
    }
    return !cli_stopped();
}

int verb_sim(cli *c, const cli_args *args) {
    sim_options options;
    sim_options_init(&options);
    options.level = TAPE_DURABLE;
    if (!read_options(c, args, &options)) {
        return EXIT_USAGE;
    }
    sim_progress shown = {.orders = options.orders};
    sim_result result = {0};
    tape_error error = {0};
    options.progress = show_progress;
    options.progress_context = &shown;
    cli_catch_stop();
    progress_start(&shown.line, c);
    tape_status status = sim_run(c->db, &options, &result, &error);
    double seconds = progress_seconds(&shown.line);
    progress_end(&shown.line);
    if (status != TAPE_OK && status != TAPE_CANCELLED) {
        return cli_fail(c, &error);
    }
    if (cli_stopped()) {
        return cli_fail_text(c, TAPE_CANCELLED,
                             "interrupted after %llu of %llu orders: %llu records, seq %llu..%llu, "
                             "are in the store",
                             (unsigned long long)result.orders, (unsigned long long)options.orders,
                             (unsigned long long)result.records,
                             (unsigned long long)result.first_seq,
                             (unsigned long long)result.last_seq);
    }
    (void)fprintf(c->out,
                  "%llu orders, %llu trades, %llu cancels, %llu rejects: %llu records, seq "
                  "%llu..%llu, in %.2f s\n",
                  (unsigned long long)result.orders, (unsigned long long)result.trades,
                  (unsigned long long)result.cancels, (unsigned long long)result.rejects,
                  (unsigned long long)result.records, (unsigned long long)result.first_seq,
                  (unsigned long long)result.last_seq, seconds);
    return EXIT_DONE;
}
