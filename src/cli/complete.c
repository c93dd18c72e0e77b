/* Completion of words in the shell.
 *
 * Purpose: from a line up to its cursor to the words that may stand there. Knows commands of the
 * shell and what follows each; of SQL, that tables come after FROM and JOIN and in quotes, a
 * table's columns after its name and a dot, and anything else anywhere.
 * Invariants: (K1) a keyword is offered in the case of what was typed, and only for something
 * typed; names come as the catalogue has them. */
#include "cli/complete.h"

#include <tape/tape.h>

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

static const char *const keywords[] = {
    "ALL",    "AND",     "ANTI",    "AS",        "ASC",       "ASOF",      "BETWEEN",   "BY",
    "CASE",   "CAST",    "CROSS",   "DESC",      "DESCRIBE",  "DISTINCT",  "ELSE",      "END",
    "EXCEPT", "EXCLUDE", "EXISTS",  "EXPLAIN",   "FALSE",     "FILTER",    "FROM",      "FULL",
    "GROUP",  "HAVING",  "ILIKE",   "IN",        "INNER",     "INTERSECT", "INTERVAL",  "IS",
    "JOIN",   "LEFT",    "LIKE",    "LIMIT",     "NOT",       "NULL",      "OFFSET",    "ON",
    "OR",     "ORDER",   "OVER",    "PARTITION", "PIVOT",     "QUALIFY",   "RECURSIVE", "REPLACE",
    "RIGHT",  "ROWS",    "SELECT",  "SEMI",      "SUMMARIZE", "THEN",      "TIMESTAMP", "TRUE",
    "UNION",  "UNNEST",  "UNPIVOT", "USING",     "VALUES",    "WHEN",      "WHERE",     "WINDOW",
    "WITH",
};
static const char *const macros[] = {"account_pnl(",  "latest(",      "market_stats(", "ohlc(",
                                     "tape_status()", "user_trades(", "vwap("};

const char *complete_word(const completions *c, size_t i) {
    return (const char *)c->text.data + c->offsets[i];
}

void complete_offer(completions *c, const char *word) {
    if (strncasecmp(word, c->prefix, strlen(c->prefix)) != 0 || c->count == COMPLETIONS_MAX) {
        return;
    }
    for (size_t i = 0; i < c->count; i++) {
        if (strcmp(complete_word(c, i), word) == 0) {
            return;
        }
    }
    c->offsets[c->count++] = c->text.size;
    buffer_append(&c->text, word, strlen(word) + 1);
}

static void offer_list(completions *c, const char *const *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        complete_offer(c, words[i]);
    }
}

static void offer_keywords(completions *c) {
    bool lower = islower((unsigned char)c->prefix[0]) != 0;
    for (size_t i = 0; i < COUNT_OF(keywords) && c->prefix[0] != '\0'; i++) {
        char word[32];
        size_t n = 0;
        for (; keywords[i][n] != '\0' && n + 1 < sizeof word; n++) {
            word[n] = keywords[i][n];
            word[n] = lower ? (char)tolower((unsigned char)word[n]) : word[n];
        }
        word[n] = '\0';
        complete_offer(c, word);
    }
}

static void offer_tables(completions *c) {
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = tape_table(id);
        char history[64];
        (void)snprintf(history, sizeof history, "%s_history", table->name);
        complete_offer(c, table->name);
        if (table->kind == TAPE_KIND_ENTITY) {
            complete_offer(c, history);
        }
    }
}

/* Of the table called `name`, or of all when there is none. */
static void offer_columns(completions *c, const char *name) {
    char table_name[64];
    (void)snprintf(table_name, sizeof table_name, "%s", name);
    char *history = strstr(table_name, "_history");
    if (history != NULL) {
        *history = '\0';
    }
    const tape_table_info *wanted = tape_table_named(table_name);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = tape_table(id);
        for (uint32_t i = 0; (wanted == NULL || wanted == table) && i < table->field_count; i++) {
            complete_offer(c, table->fields[i].name);
        }
    }
}

static bool is_word(char c) {
    return isalnum((unsigned char)c) != 0 || c == '_';
}

/* Copies the word that ends at `end`, not before `start`; returns where it begins. */
static const char *word_before(const char *start, const char *end, char *out, size_t size) {
    const char *begin = end;
    while (begin > start && is_word(begin[-1])) {
        begin--;
    }
    size_t length = (size_t)(end - begin) < size ? (size_t)(end - begin) : size - 1;
    memcpy(out, begin, length);
    out[length] = '\0';
    return begin;
}

static void complete_sql(completions *c, const char *line) {
    char before[64];
    const char *start = word_before(line, line + strlen(line), c->prefix, sizeof c->prefix);
    if (start > line && start[-1] == '\'') {
        offer_tables(c);
        return;
    }
    if (start > line && start[-1] == '.') {
        (void)word_before(line, start - 1, before, sizeof before);
        offer_columns(c, before);
        return;
    }
    const char *end = start;
    while (end > line && isspace((unsigned char)end[-1]) != 0) {
        end--;
    }
    (void)word_before(line, end, before, sizeof before);
    offer_tables(c);
    offer_list(c, macros, COUNT_OF(macros));
    if (strcasecmp(before, "from") != 0 && strcasecmp(before, "join") != 0) {
        offer_columns(c, "");
        offer_keywords(c);
    }
}

static void complete_command(completions *c, const char *line, const char *const *commands,
                             size_t command_count) {
    static const char *const modes[] = {"table", "csv", "json", "line"};
    static const char *const switches[] = {"on", "off"};
    static const char *const params[] = {"set", "list", "clear"};
    size_t name = strcspn(line, " \t");
    const char *argument = line + name + strspn(line + name, " \t");
    size_t first = strcspn(argument, " \t");
    (void)snprintf(c->prefix, sizeof c->prefix, "%s", line[name] == '\0' ? line : argument);
    if (line[name] == '\0') {
        offer_list(c, commands, command_count);
    } else if (strncmp(line, ".read", name) == 0 || strncmp(line, ".output", name) == 0) {
        c->files = true;
    } else if (argument[first] != '\0') {
        return;
    } else if (strncmp(line, ".schema", name) == 0) {
        offer_tables(c);
    } else if (strncmp(line, ".mode", name) == 0) {
        offer_list(c, modes, COUNT_OF(modes));
    } else if (strncmp(line, ".timer", name) == 0) {
        offer_list(c, switches, COUNT_OF(switches));
    } else if (strncmp(line, ".param", name) == 0) {
        offer_list(c, params, COUNT_OF(params));
    }
}

/* How far all words agree, whatever their case. */
static size_t agreed_length(const completions *c) {
    size_t length = strlen(complete_word(c, 0));
    for (size_t i = 1; i < c->count; i++) {
        size_t same = 0;
        while (same < length && tolower((unsigned char)complete_word(c, 0)[same]) ==
                                    tolower((unsigned char)complete_word(c, i)[same])) {
            same++;
        }
        length = same;
    }
    return length;
}

void complete_agree(completions *c) {
    c->insert[0] = '\0';
    size_t agreed = c->count == 0 ? 0 : agreed_length(c);
    if (c->count == 1) {
        const char *word = complete_word(c, 0);
        bool more = agreed > 0 && strchr("(/", word[agreed - 1]) != NULL;
        (void)snprintf(c->insert, sizeof c->insert, "%s%s", word, more ? "" : " ");
    } else if (agreed > strlen(c->prefix)) {
        (void)snprintf(c->insert, sizeof c->insert, "%.*s", (int)agreed, complete_word(c, 0));
    }
}

void complete_line(completions *out, const char *line, bool begins, const char *const *commands,
                   size_t command_count) {
    *out = (completions){0};
    if (begins && line[0] == '.') {
        complete_command(out, line, commands, command_count);
    } else {
        complete_sql(out, line);
    }
    complete_agree(out);
}

void completions_deinit(completions *c) {
    buffer_deinit(&c->text);
}
