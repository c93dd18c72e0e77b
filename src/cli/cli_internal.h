/* cli: the command `tape`. Private to the module; there is nothing for others. See README.md. */
#ifndef CLI_INTERNAL_H
#define CLI_INTERNAL_H

#include "base/base.h"
#include "cli/result_internal.h"

#include <tape/tape.h>

#include <stdatomic.h>
#include <stdio.h>

/* Exit statuses, as the contract has them. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOT_FOUND = 3 };

#define CLI_OPTIONS_MAX 12
#define CLI_REPEATS_MAX 100

/* Where a verb runs: at a terminal, in a script, or in the owner of a store for another process.
 * Verbs write to `out` and `err` and nowhere else. */
typedef struct cli {
    FILE *out;
    FILE *err;
    tape *db;   /* the store, opened by who runs the verb; NULL for verbs without one */
    bool asked; /* runs in the owner for another process: no paths */
    bool out_terminal;
    bool err_terminal;    /* progress may be shown there */
    int width;            /* of the terminal behind `out`; 0: not one */
    const char *out_path; /* of the file that `out` writes; NULL: not known */
    bool out_gone;        /* whoever read `out` has closed it: nothing more to say, nor to write */
    int out_errno;        /* of the first write to `out` that failed */
    const char *where;    /* errors begin with it: "FILE line 3"; NULL: nothing to say */
} cli;

typedef struct cli_option {
    const char *name;  /* without the dashes */
    char letter;       /* short form, or 0 */
    const char *value; /* what the help calls its value; NULL: it has none */
    const char *help;
    bool repeats; /* may be given several times, up to CLI_REPEATS_MAX; one option of a verb may */
} cli_option;

typedef struct cli_args cli_args;

typedef enum cli_store {
    STORE_NONE,  /* the verb opens what it needs itself */
    STORE_READ,  /* reads; in the owner when there is one */
    STORE_WRITE, /* changes; in the owner when there is one */
    STORE_OWN,   /* becomes the owner, or gets LOCKED */
} cli_store;

typedef struct cli_verb {
    const char *name;
    const char *synopsis;     /* what stands after the name */
    const char *summary;      /* one line */
    const char *text;         /* paragraphs */
    const char *examples;     /* lines, or NULL */
    cli_store store;          /* DIR is the first word when it is not STORE_NONE */
    int words_min, words_max; /* -1: no limit */
    cli_option options[CLI_OPTIONS_MAX];
    /* Looks at the words before a store is opened: an exit status, EXIT_DONE to go on. May be NULL.
     * It may complete `args`, see args_set. */
    int (*check)(cli *c, cli_args *args);
    int (*run)(cli *c, const cli_args *args);
    /* Instead of `run`, in the process that was started: for verbs that do more than that, such as
     * a shell. Opens the store itself. NULL for most. */
    int (*start)(cli *c, const cli_args *args);
} cli_verb;

struct cli_args {
    const cli_verb *verb;
    const char *values[CLI_OPTIONS_MAX];  /* by option; NULL: not given; "": has none */
    const char *repeats[CLI_REPEATS_MAX]; /* every value of the option that may repeat */
    int repeat_count;
    int count;
    char **words;
    bool help; /* --help was among them */
};

/* --- verbs (verbs.c) --- */
extern const cli_verb cli_verbs[];
extern const size_t cli_verb_count;
const cli_verb *cli_verb_named(const char *name);
int cli_help(cli *c, const char *verb);

/* --- words (args.c) --- */
/* Reads the words after the verb: options anywhere, "--" ends them. Prints a USAGE error and
 * returns EXIT_USAGE when they are wrong. `args->words` points into `argv`, which is reordered. */
int args_parse(cli *c, const cli_verb *verb, int argc, char **argv, cli_args *args);
const char *args_value(const cli_args *args, const char *option);
void args_set(cli_args *args, const char *option, const char *value);
bool args_takes(const cli_verb *verb, const char *option);
/* Each prints a USAGE error and returns false when the option's value is not one. Absent: `*out`
 * stays. */
bool args_u64(cli *c, const cli_args *args, const char *option, uint64_t *out);
bool args_f64(cli *c, const cli_args *args, const char *option, double *out);
bool args_level(cli *c, const cli_args *args, const char *option, tape_level *out);
bool args_format(cli *c, const cli_args *args, result_format *out);
/* The nearest of `count` names to `word`, or NULL when none is near. (nearest.c) */
const char *cli_nearest(const char *word, const char *const *names, size_t count);
/* The table called `name`, or NULL after a USAGE error. */
const tape_table_info *args_table(cli *c, const char *name);

/* --- words out (report.c) --- */
/* `tape: USAGE: ...`; returns EXIT_USAGE. */
int cli_usage(cli *c, const char *format, ...) PRINTF_LIKE(2, 3);
/* `tape: CODE: ...` in one line; returns the exit status that follows. */
int cli_fail(cli *c, const tape_error *error);
int cli_fail_text(cli *c, tape_status status, const char *format, ...) PRINTF_LIKE(3, 4);
/* What another process's verb wrote as its error, to `err`, with this process's `where`. */
void cli_pass_error(cli *c, const char *text, size_t size);
/* Writes to `out` and notes a failure, for cli_finish to tell. */
bool cli_write(cli *c, const void *data, size_t size, bool flush);
/* Writes out what is held back of `out`; EXIT_DONE or what a failed write makes of it. */
int cli_finish(cli *c, int exit_status);

/* Progress on a terminal: one line on `err` that replaces itself. Nothing when `err` is none, or
 * takes no more for now: showing never waits. */
typedef struct progress {
    cli *c;
    int64_t started_ns;
    int64_t next_ns;
    bool shown;
} progress;
void progress_start(progress *p, cli *c);
/* True about five times a second: time to call progress_show. */
bool progress_due(progress *p);
void progress_show(progress *p, const char *format, ...) PRINTF_LIKE(2, 3);
/* "[####      ]  42 %" of a share from 0 to 1. */
const char *progress_bar(double share, char out[48]);
/* Takes the line away. */
void progress_end(progress *p);
double progress_seconds(const progress *p);
/* "1,234,567" */
const char *group_digits(uint64_t value, char out[32]);

/* Columns of the terminal that `out` is; 0: it is none. (main.c) */
int cli_width(const cli *c);

/* --- Ctrl-C (main.c) --- */
/* True once the user or the system asked this process to stop; a second time ends it. */
bool cli_stopped(void);
/* From now on, Ctrl-C and SIGTERM set the flag instead of ending the process. */
void cli_catch_stop(void);
/* The same, and no number of Ctrl-C ends the process: for the shell. */
void cli_outlive_interrupts(void);
/* Forgets Ctrl-C. False when the process was asked to end, which stays. */
bool cli_clear_stop(void);
/* Whether `out`'s reader went away, or this process was asked to stop. For long work. */
bool cli_cancelled(void *cli_pointer);

/* --- stores (session.c) --- */
/* Runs a verb: checks it, opens its store or asks the owner, runs it, closes. */
int session_run(cli *c, cli_args *args);
/* Opens DIR as the owner, answering other processes from then on. LOCKED is tried again for a
 * moment, because short readers own a store too. */
tape_status session_open(const char *dir, tape **out, tape_error *error) TAPE_CHECKED;

/* A store that may change hands: its owner is asked, or DIR is opened and this process is the
 * owner. */
typedef struct session {
    const char *dir;
    tape *db; /* when this process owns it */
} session;
/* Runs one verb on the store, wherever its owner is. */
int session_ask(session *s, cli *c, const cli_args *args);
/* The first half of that: the owner has answered, or `s->db` is open for the verb's function. */
tape_status session_find(session *s, cli *c, const cli_args *args, bool *answered, int *exit_status,
                         tape_error *error) TAPE_CHECKED;
/* Closes. Returns `exit_status`, or what a failed close makes of EXIT_DONE. */
int session_end(session *s, cli *c, int exit_status);

/* --- the verbs --- */
int verb_init(cli *c, const cli_args *args);
int verb_load_check(cli *c, cli_args *args);
int verb_load(cli *c, const cli_args *args);
int verb_sim_check(cli *c, cli_args *args);
int verb_sim(cli *c, const cli_args *args);
int verb_get_check(cli *c, cli_args *args);
int verb_get(cli *c, const cli_args *args);
/* Words that name a range of keys: TABLE [KEY...], --from, --to, --prefix. EXIT_DONE or USAGE. */
int cli_check_range(cli *c, const cli_args *args);
int verb_scan_check(cli *c, cli_args *args);
int verb_scan(cli *c, const cli_args *args);
/* A stream as Parquet to `out`; releases it. */
tape_status cli_write_parquet(cli *c, struct ArrowArrayStream *stream,
                              tape_error *error) TAPE_CHECKED;
int verb_sql_check(cli *c, cli_args *args);
int verb_sql(cli *c, const cli_args *args);
int verb_sql_start(cli *c, const cli_args *args);
int verb_tail_check(cli *c, cli_args *args);
int verb_tail(cli *c, const cli_args *args);
int verb_status_check(cli *c, cli_args *args);
int verb_status(cli *c, const cli_args *args);
int verb_verify(cli *c, const cli_args *args);
int verb_verify_start(cli *c, const cli_args *args);
int verb_checkpoint(cli *c, const cli_args *args);
int verb_compact_check(cli *c, cli_args *args);
int verb_compact(cli *c, const cli_args *args);
int verb_archive_check(cli *c, cli_args *args);
int verb_archive(cli *c, const cli_args *args);
int verb_bench_check(cli *c, cli_args *args);
int verb_bench(cli *c, const cli_args *args);
int verb_help(cli *c, const cli_args *args);

#endif
