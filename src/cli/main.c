/* tape: the command.
 *
 * Purpose: the process around a verb: descriptors, signals, the terminal.
 * Invariants: (M1) SIGPIPE is ignored, so that a request whose reader goes does not end the owner
 * of a store; a command whose own stdout was closed ends as other tools do, by that signal. */
#include "cli/cli_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

static atomic_int stop_signal; /* 0: none came */
static bool outlives_interrupts;

/* Whoever asks the process to end is not unheard for a Ctrl-C that follows. */
static void on_stop(int signal_number) {
    int none = 0;
    if (signal_number != SIGINT) {
        atomic_store(&stop_signal, signal_number);
    } else {
        (void)atomic_compare_exchange_strong(&stop_signal, &none, signal_number);
    }
}

bool cli_stopped(void) {
    return atomic_load(&stop_signal) != 0;
}

bool cli_clear_stop(void) {
    int expected = SIGINT;
    if (!atomic_compare_exchange_strong(&stop_signal, &expected, 0) && expected != 0) {
        return false;
    }
    cli_catch_stop();
    return true;
}

void cli_catch_stop(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {.sa_handler = on_stop};
    for (size_t i = 0; i < COUNT_OF(signals); i++) {
        struct sigaction now;
        /* The second one finds the default again and ends the process; calls that wait return. */
        bool once = signals[i] != SIGINT || !outlives_interrupts;
        action.sa_flags = once ? (int)SA_RESETHAND : 0;
        if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN) {
            (void)sigaction(signals[i], &action, NULL);
        }
    }
}

void cli_outlive_interrupts(void) {
    outlives_interrupts = true;
    cli_catch_stop();
}

/* Descriptors 0 to 2 are there, so that no file of a store is ever opened as one of them. */
static void keep_standard_files(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", O_RDWR) != fd) {
            exit(EXIT_FAILED);
        }
    }
}

/* Characters have widths only where the locale says UTF-8. */
static void use_utf8(void) {
    if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1) {
        (void)setlocale(LC_CTYPE, "C.UTF-8");
    }
}

int cli_width(const cli *c) {
    struct winsize size = {0};
    int fd = fileno(c->out);
    if (isatty(fd) == 0) {
        return 0;
    }
    const char *columns = getenv("COLUMNS");
    int width = columns == NULL ? 0 : atoi(columns);
    if (width <= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0) {
        width = size.ws_col;
    }
    return width > 0 ? width : 80;
}

static int run(cli *c, int argc, char **argv) {
    if (argc < 2) {
        FILE *out = c->out;
        c->out = c->err;
        (void)cli_help(c, NULL);
        c->out = out;
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        (void)fprintf(c->out, "tape %s\n", tape_version());
        return EXIT_DONE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        return cli_help(c, NULL);
    }
    const cli_verb *verb = cli_verb_named(name);
    if (verb == NULL) {
        return cli_help(c, name);
    }
    cli_args args;
    int status = args_parse(c, verb, argc - 2, argv + 2, &args);
    c->err_terminal = c->err_terminal || args_value(&args, "progress") != NULL;
    if (args.help) {
        return cli_help(c, verb->name);
    }
    return status == EXIT_DONE ? session_run(c, &args) : status;
}

int main(int argc, char **argv) {
    keep_standard_files();
    use_utf8();
    (void)signal(SIGPIPE, SIG_IGN);
    log_set(LOG_WARN, NULL, NULL);
    cli c = {.out = stdout,
             .err = stderr,
             .out_terminal = isatty(STDOUT_FILENO) != 0,
             .err_terminal = isatty(STDERR_FILENO) != 0};
    c.width = cli_width(&c);
    int status = cli_finish(&c, run(&c, argc, argv));
    if (c.out_gone) {
        (void)signal(SIGPIPE, SIG_DFL);
        (void)raise(SIGPIPE);
    }
    return status;
}
