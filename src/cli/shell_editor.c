/* The terminal of the shell: editing of lines, history, completion.
 *
 * Format: the history file is the line editor's own: a head, then a line per entry, with spaces and
 * the like in octal. It is
 * TAPE_HISTORY (nothing is kept when that is empty), else $XDG_STATE_HOME/tape/history, else
 * ~/.tape_history.
 * Invariants: (E1) a line is in the file once it was entered, whatever becomes of the process, and
 * shells that run beside each other lose none of each other's; (E2) nobody but the user may read
 * the file: lines may name what others should not see. Threads: one; signals may come to another.
 */
#include "cli/complete.h"
#include "cli/shell_internal.h"
#include "os/os.h"

#include <errno.h>
#include <histedit.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 2000
#define HISTORY_BYTES_MAX KIB(512) /* of the file; beyond, what is no longer in use goes */
#define HISTORY_HEAD "_HiStOrY_V2_\n"
#define STOP_POLL_MS 200

struct shell_editor {
    EditLine *line;
    History *history;
    char *history_path; /* NULL: none is kept */
    bool (*more)(void *context);
    void *more_context;
};

/* --- history --- */

static char *find_history_path(void) {
    const char *chosen = getenv("TAPE_HISTORY");
    const char *state = getenv("XDG_STATE_HOME");
    const char *home = getenv("HOME");
    if (chosen != NULL) {
        return chosen[0] == '\0' ? NULL : mem_strdup(chosen);
    }
    if (state != NULL && state[0] == '/') {
        char *dir = mem_printf("%s/tape", state);
        (void)!os_dir_make(os_disk_linux(), state, NULL); /* most often it is there */
        (void)!os_dir_make(os_disk_linux(), dir, NULL);
        char *path = mem_printf("%s/history", dir);
        free(dir);
        return path;
    }
    return home == NULL ? NULL : mem_printf("%s/.tape_history", home);
}

/* Keeps what was loaded of a file that has grown long. */
static void shorten_history(const shell_editor *e) {
    HistEvent event;
    struct stat found;
    if (stat(e->history_path, &found) != 0 || (uint64_t)found.st_size <= HISTORY_BYTES_MAX) {
        return;
    }
    char *making = mem_printf("%s.making-%ld", e->history_path, (long)getpid());
    if (history(e->history, &event, H_SAVE, making) < 0 ||
        os_rename(os_disk_linux(), making, e->history_path, NULL) != TAPE_OK) {
        (void)remove(making);
    }
    free(making);
}

static void open_history(shell_editor *e) {
    HistEvent event;
    e->history = history_init();
    (void)history(e->history, &event, H_SETSIZE, HISTORY_LINES);
    (void)history(e->history, &event, H_SETUNIQUE, 1);
    mode_t before = umask(077);
    e->history_path = find_history_path();
    if (e->history_path != NULL) {
        (void)history(e->history, &event, H_LOAD, e->history_path);
        shorten_history(e);
    }
    (void)umask(before);
}

/* As the editor's own way of saving has it: what is not a plain character in octal. */
static void append_entry(buffer *out, const char *line) {
    for (; *line != '\0'; line++) {
        unsigned char c = (unsigned char)*line;
        if (c <= ' ' || c == '\\' || c == 0x7f) {
            buffer_printf(out, "\\%03o", c);
        } else {
            buffer_append(out, line, 1);
        }
    }
    buffer_append(out, "\n", 1);
}

void shell_editor_remember(shell_editor *e, const char *line) {
    HistEvent event;
    size_t length = strcspn(line, "\r\n");
    if (strspn(line, " \t") >= length) {
        return;
    }
    char *kept = mem_printf("%.*s", (int)length, line);
    buffer entry = {0};
    append_entry(&entry, kept);
    /* 0: the same as the line before. */
    bool entered = history(e->history, &event, H_ENTER, kept) > 0;
    if (entered && e->history_path != NULL) {
        mode_t before = umask(077);
        FILE *file = fopen(e->history_path, "ae");
        (void)umask(before);
        if (file != NULL) {
            bool empty = fseek(file, 0, SEEK_END) == 0 && ftell(file) == 0;
            (void)fprintf(file, "%s%.*s", empty ? HISTORY_HEAD : "", (int)entry.size,
                          (const char *)entry.data);
            (void)fclose(file);
        }
    }
    buffer_deinit(&entry);
    free(kept);
}

/* --- completion --- */

static void offer_file(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    completions *list = context;
    if (name[0] == '.' && list->prefix[0] != '.') {
        return;
    }
    char *shown = mem_printf("%s%s", name, is_dir ? "/" : "");
    complete_offer(list, shown);
    free(shown);
}

/* Of the path typed, the part after the last slash is completed. */
static void offer_files(completions *list) {
    char *path = mem_strdup(list->prefix);
    char *slash = strrchr(path, '/');
    (void)snprintf(list->prefix, sizeof list->prefix, "%s", slash == NULL ? path : slash + 1);
    if (slash != NULL) {
        slash[1] = '\0';
    }
    if (os_dir_list(os_disk_linux(), slash == NULL ? "." : path, offer_file, list, NULL) ==
        TAPE_OK) {
        complete_agree(list);
    }
    free(path);
}

static void show_words(FILE *out, const completions *list) {
    (void)fputc('\n', out);
    for (size_t i = 0; i < list->count; i++) {
        (void)fprintf(out, "%s%s", complete_word(list, i), i + 1 < list->count ? "  " : "\n");
    }
}

static unsigned char complete(EditLine *line, int key) {
    (void)key;
    shell_editor *e = NULL;
    (void)el_get(line, EL_CLIENTDATA, &e);
    const LineInfo *info = el_line(line);
    char *typed = mem_printf("%.*s", (int)(info->cursor - info->buffer), info->buffer);
    completions list;
    complete_line(&list, typed, !e->more(e->more_context), shell_command_names,
                  shell_command_count);
    free(typed);
    if (list.files) {
        offer_files(&list);
    }
    unsigned char result = CC_ERROR;
    if (list.insert[0] != '\0') {
        el_deletestr(line, (int)strlen(list.prefix));
        result = el_insertstr(line, list.insert) == 0 ? CC_REFRESH : CC_ERROR;
    } else if (list.count > 1) {
        FILE *out = NULL;
        (void)el_get(line, EL_GETFP, 1, &out);
        show_words(out, &list);
        result = CC_REDISPLAY;
    }
    completions_deinit(&list);
    return result;
}

/* --- the terminal --- */

static char *prompt(EditLine *line) {
    static char first[] = "tape> ";
    static char more[] = "   -> ";
    shell_editor *e = NULL;
    (void)el_get(line, EL_CLIENTDATA, &e);
    return e->more(e->more_context) ? more : first;
}

/* One character from the terminal, for the editor. Ctrl-C may come between two reads, or to another
 * thread, and would be noticed at the next key only: so it is looked for while waiting. */
static int read_char(EditLine *line, wchar_t *out) {
    mbstate_t state = {0};
    FILE *in = NULL;
    (void)el_get(line, EL_GETFP, 0, &in);
    struct pollfd ready = {.fd = fileno(in), .events = POLLIN};
    for (;;) {
        char byte;
        if (cli_stopped()) {
            errno = EINTR;
            return -1;
        }
        if (poll(&ready, 1, STOP_POLL_MS) <= 0) {
            continue;
        }
        ssize_t got = read(ready.fd, &byte, 1);
        if (got <= 0) {
            return got < 0 ? -1 : 0;
        }
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-1) {
            *out = (unsigned char)byte; /* not of the locale's encoding: as it is */
            return 1;
        }
        if (used != (size_t)-2) {
            return 1;
        }
    }
}

shell_editor *shell_editor_open(cli *c, bool (*more)(void *context), void *more_context) {
    shell_editor *e = mem_zalloc(sizeof *e);
    e->more = more;
    e->more_context = more_context;
    open_history(e);
    e->line = el_init("tape", stdin, c->out, c->err);
    (void)el_set(e->line, EL_CLIENTDATA, e);
    (void)el_set(e->line, EL_PROMPT, prompt);
    (void)el_set(e->line, EL_EDITOR, "emacs");
    (void)el_set(e->line, EL_SIGNAL, 0);
    (void)el_set(e->line, EL_GETCFN, read_char);
    (void)el_set(e->line, EL_HIST, history, e->history);
    (void)el_set(e->line, EL_ADDFN, "tape-complete", "complete a word of SQL", complete);
    (void)el_set(e->line, EL_BIND, "^I", "tape-complete", NULL);
    (void)el_set(e->line, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_source(e->line, NULL);
    return e;
}

void shell_editor_close(shell_editor **editor) {
    shell_editor *e = *editor;
    el_end(e->line);
    history_end(e->history);
    free(e->history_path);
    free(e);
    *editor = NULL;
}

/* The editor itself would take over the terminal only after the prompt: what is typed between the
 * two would be shown twice. */
const char *shell_editor_read(shell_editor *e, int *length) {
    (void)el_set(e->line, EL_PREP_TERM, 1);
    return el_gets(e->line, length);
}
