/* The words of a command: GNU long options anywhere among them.
 *
 * Purpose: not getopt_long, which keeps its state in globals: the owner of a store reads the words
 * of several requests at once.
 * Format: --name VALUE, --name=VALUE, any prefix of a name that fits one option only, -o VALUE,
 * -oVALUE; "--" ends the options; "-" and what starts with "-- " (a comment of SQL) are words. An
 * option given twice has its last value, but for the one of a verb that may repeat.
 * Threads: no state. */
#include "cli/cli_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static int option_index(const cli_verb *verb, const char *name) {
    for (int i = 0; i < CLI_OPTIONS_MAX && verb->options[i].name != NULL; i++) {
        if (strcmp(verb->options[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

const char *args_value(const cli_args *args, const char *option) {
    int index = option_index(args->verb, option);
    return index < 0 ? NULL : args->values[index];
}

void args_set(cli_args *args, const char *option, const char *value) {
    int index = option_index(args->verb, option);
    ASSERT(index >= 0);
    args->values[index] = value;
}

bool args_takes(const cli_verb *verb, const char *option) {
    return option_index(verb, option) >= 0;
}

static int unknown_option(cli *c, const cli_verb *verb, const char *word, size_t length) {
    const char *names[CLI_OPTIONS_MAX + 1] = {"help"};
    size_t count = 1;
    for (int i = 0; i < CLI_OPTIONS_MAX && verb->options[i].name != NULL; i++) {
        names[count++] = verb->options[i].name;
    }
    char *name = mem_printf("%.*s", (int)length, word);
    const char *near =
        name[0] == '-' && name[1] == '-' ? cli_nearest(name + 2, names, count) : NULL;
    int status =
        near == NULL
            ? cli_usage(c, "%s has no option %s: see `tape help %s`", verb->name, name, verb->name)
            : cli_usage(c, "%s has no option %s: did you mean --%s?", verb->name, name, near);
    free(name);
    return status;
}

/* The option that `name` (`length` bytes) is, whole or as the prefix of one; -1 none, -2 several.
 * */
static int find_long(const cli_verb *verb, const char *name, size_t length) {
    int found = -1;
    for (int i = 0; i < CLI_OPTIONS_MAX && verb->options[i].name != NULL; i++) {
        if (strncmp(verb->options[i].name, name, length) != 0) {
            continue;
        }
        if (verb->options[i].name[length] == '\0') {
            return i;
        }
        found = found == -1 ? i : -2;
    }
    return found;
}

static int find_short(const cli_verb *verb, char letter) {
    for (int i = 0; i < CLI_OPTIONS_MAX && verb->options[i].name != NULL; i++) {
        if (verb->options[i].letter == letter) {
            return i;
        }
    }
    return -1;
}

static bool is_option(const char *word) {
    if (word[0] != '-' || word[1] == '\0') {
        return false;
    }
    size_t name = strcspn(word, "=");
    return memchr(word, ' ', name) == NULL && memchr(word, '\n', name) == NULL;
}

/* Takes the option at argv[*at], and its value from there or from the next word. */
static int take_option(cli *c, int argc, char **argv, int *at, cli_args *args) {
    const cli_verb *verb = args->verb;
    const char *word = argv[*at];
    bool is_long = word[1] == '-';
    size_t length = is_long ? strcspn(word, "=") : 2;
    const char *value = word[length] == '\0' ? NULL : word + length + is_long;
    if ((is_long && length == 6 && memcmp(word, "--help", 6) == 0) || strcmp(word, "-h") == 0) {
        args->help = true;
        return EXIT_DONE;
    }
    int index = is_long ? find_long(verb, word + 2, length - 2) : find_short(verb, word[1]);
    if (index == -2) {
        return cli_usage(c, "%.*s may be several options of %s: write it out", (int)length, word,
                         verb->name);
    }
    if (index < 0) {
        return unknown_option(c, verb, word, length);
    }
    const cli_option *option = &verb->options[index];
    if (option->value == NULL) {
        if (value != NULL) {
            return cli_usage(c, "--%s takes no value", option->name);
        }
        args->values[index] = "";
        return EXIT_DONE;
    }
    if (value == NULL) {
        if (*at + 1 >= argc) {
            return cli_usage(c, "--%s needs a value: --%s %s", option->name, option->name,
                             option->value);
        }
        value = argv[++*at];
    }
    if (option->repeats && args->repeat_count == CLI_REPEATS_MAX) {
        return cli_usage(c, "--%s is given more than %d times", option->name, CLI_REPEATS_MAX);
    }
    if (option->repeats) {
        args->repeats[args->repeat_count++] = value;
    }
    args->values[index] = value;
    return EXIT_DONE;
}

static int check_count(cli *c, const cli_args *args) {
    const cli_verb *verb = args->verb;
    if (args->count < verb->words_min) {
        return cli_usage(c, "too few arguments: tape %s %s", verb->name, verb->synopsis);
    }
    if (verb->words_max >= 0 && args->count > verb->words_max) {
        return cli_usage(c, "'%s' is one argument too many: tape %s %s",
                         args->words[verb->words_max], verb->name, verb->synopsis);
    }
    return EXIT_DONE;
}

int args_parse(cli *c, const cli_verb *verb, int argc, char **argv, cli_args *args) {
    *args = (cli_args){.verb = verb, .words = argv};
    bool only_words = false;
    for (int i = 0; i < argc; i++) {
        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && is_option(argv[i])) {
            int status = take_option(c, argc, argv, &i, args);
            if (status != EXIT_DONE || args->help) {
                return status;
            }
        } else {
            args->words[args->count++] = argv[i]; /* count never passes i */
        }
    }
    return check_count(c, args);
}

bool args_u64(cli *c, const cli_args *args, const char *option, uint64_t *out) {
    const char *text = args_value(args, option);
    if (text == NULL) {
        return true;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0) {
        (void)cli_usage(c, "--%s %s is not a whole number from 0 to 18446744073709551615", option,
                        text);
        return false;
    }
    *out = value;
    return true;
}

bool args_f64(cli *c, const cli_args *args, const char *option, double *out) {
    const char *text = args_value(args, option);
    if (text == NULL) {
        return true;
    }
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !isfinite(value) || value < 0) {
        (void)cli_usage(c, "--%s %s is not a number from 0 up", option, text);
        return false;
    }
    *out = value;
    return true;
}

bool args_level(cli *c, const cli_args *args, const char *option, tape_level *out) {
    static const char *const names[] = {"", "written", "durable", "committed"};
    const char *text = args_value(args, option);
    if (text == NULL) {
        return true;
    }
    for (size_t i = 1; i < COUNT_OF(names); i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (tape_level)i;
            return true;
        }
    }
    (void)cli_usage(c, "--%s %s is not a level: written, durable or committed", option, text);
    return false;
}

bool args_format(cli *c, const cli_args *args, result_format *out) {
    const char *text = args_value(args, "format");
    if (text == NULL || result_format_named(text, out)) {
        return true;
    }
    (void)cli_usage(c, "--format %s is not a format: %s", text, RESULT_FORMAT_NAMES);
    return false;
}

const tape_table_info *args_table(cli *c, const char *name) {
    const tape_table_info *table = tape_table_named(name);
    if (table != NULL) {
        return table;
    }
    const char *names[TAPE_TABLE_COUNT];
    buffer list = {0};
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        names[id - 1] = tape_table(id)->name;
        buffer_printf(&list, "%s%s",
                      id == 1                  ? ""
                      : id == TAPE_TABLE_COUNT ? " and "
                                               : ", ",
                      names[id - 1]);
    }
    const char *near = cli_nearest(name, names, TAPE_TABLE_COUNT);
    if (near != NULL) {
        (void)cli_usage(c, "there is no table '%s': did you mean %s?", name, near);
    } else {
        (void)cli_usage(c, "there is no table '%s': there are %.*s", name, (int)list.size,
                        (const char *)list.data);
    }
    buffer_deinit(&list);
    return NULL;
}
