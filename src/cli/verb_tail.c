/* tape tail: records in order, as lines of JSON.
 *
 * Purpose: the loop over a <tape/reader.h>. Needs no owner.
 * Invariants: (T1) only whole lines are written; when following, what a poll brought is written
 * before the next; (T2) without --follow it ends at the last record there was when it began, so
 * that a writer that is faster does not keep it for ever.
 * Failure: a reader that was overtaken by retention says LOST and ends. */
#include "cli/cli_internal.h"
#include "cli/params.h"

#include <tape/reader.h>

#include <stdlib.h>

#define TAIL_BATCH 256
#define TAIL_POLL_NS (NS_PER_SECOND / 2) /* how soon a closed stdout is noticed */
#define TAIL_NAMES_MAX 256

typedef struct tail {
    cli *c;
    tape_reader_options from;
    bool tables[TAPE_TABLE_COUNT + 1];
    char *instruments[TAIL_NAMES_MAX]; /* of `names` */
    size_t instrument_count;
    char *names;
    uint64_t to; /* last seq wanted */
    uint64_t limit;
    uint64_t printed;
    bool follow;
    const tape_field_info *instrument_field[TAPE_TABLE_COUNT + 1]; /* NULL: it has none */
    buffer lines;
} tail;

/* --- what to print --- */

static bool choose_tables(tail *t, const char *list) {
    char *names = mem_strdup(list);
    char *rest = names;
    bool known = true;
    for (char *name; known && (name = strsep(&rest, ",")) != NULL;) {
        const tape_table_info *table = args_table(t->c, name);
        known = table != NULL;
        if (known) {
            t->tables[table->id] = true;
        }
    }
    free(names);
    return known;
}

static bool choose_instruments(tail *t, const char *list) {
    t->names = mem_strdup(list);
    char *rest = t->names;
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        if (t->instrument_count == TAIL_NAMES_MAX) {
            (void)cli_usage(t->c, "--instruments takes at most %d names", TAIL_NAMES_MAX);
            return false;
        }
        t->instruments[t->instrument_count++] = name;
    }
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        const tape_table_info *table = tape_table(id);
        for (uint32_t i = 0; i < table->field_count; i++) {
            if (strcmp(table->fields[i].name, "instrument_id") == 0) {
                t->instrument_field[id] = &table->fields[i];
            }
        }
    }
    return true;
}

static bool instrument_wanted(const tail *t, const tape_reader_record *record) {
    const tape_field_info *field = t->instrument_field[record->table];
    if (field == NULL) {
        return false;
    }
    const char *id = (const char *)record->record + field->offset;
    size_t length = strnlen(id, field->size_bytes);
    for (size_t i = 0; i < t->instrument_count; i++) {
        if (strlen(t->instruments[i]) == length && memcmp(t->instruments[i], id, length) == 0) {
            return true;
        }
    }
    return false;
}

/* --- where to start --- */

static bool choose_start(tail *t, const char *from) {
    tape_reader_options *o = &t->from;
    if (from == NULL || strcmp(from, "earliest") == 0) {
        return true;
    }
    if (strcmp(from, "latest") == 0) {
        o->from_latest = true;
        return true;
    }
    char *end = NULL;
    unsigned long long seq = strtoull(from, &end, 10);
    if (from[0] >= '0' && from[0] <= '9' && *end == '\0') {
        o->from_seq = seq == 0 ? 1 : seq;
        return true;
    }
    o->from_time = cli_parse_time(from, &o->from_ts);
    if (!o->from_time) {
        (void)cli_usage(t->c,
                        "--from %s is not earliest, latest, a SEQ or a time as "
                        "2024-08-08T23:59:00Z",
                        from);
    }
    return o->from_time;
}

static bool read_options(tail *t, const cli_args *args) {
    const char *tables = args_value(args, "tables");
    const char *instruments = args_value(args, "instruments");
    tape_level level = TAPE_WRITTEN;
    tape_reader_options_init(&t->from);
    t->to = UINT64_MAX;
    t->limit = UINT64_MAX;
    t->follow = args_value(args, "follow") != NULL;
    if (tables == NULL) {
        memset(t->tables, 1, sizeof t->tables);
    }
    if ((tables != NULL && !choose_tables(t, tables)) ||
        (instruments != NULL && !choose_instruments(t, instruments)) ||
        !args_level(t->c, args, "level", &level) || !args_u64(t->c, args, "to", &t->to) ||
        !args_u64(t->c, args, "limit", &t->limit) || !choose_start(t, args_value(args, "from"))) {
        return false;
    }
    t->from.level = (int)level;
    return true;
}

int verb_tail_check(cli *c, cli_args *args) {
    tail t = {.c = c};
    bool ok = read_options(&t, args);
    free(t.names);
    return ok ? EXIT_DONE : EXIT_USAGE;
}

/* --- printing --- */

static void print_record(tail *t, const tape_reader_record *record) {
    buffer *out = &t->lines;
    size_t room = 1024;
    for (;;) {
        buffer_reserve(out, room);
        size_t length = tape_record_to_json(record->table, record->record, true,
                                            (char *)out->data + out->size, room);
        if (length + 1 < room) {
            out->size += length;
            out->data[out->size++] = '\n';
            t->printed++;
            return;
        }
        room = length + 2;
    }
}

static bool flush_lines(tail *t) {
    bool written = cli_write(t->c, t->lines.data, t->lines.size, t->follow);
    t->lines.size = 0;
    return written;
}

/* Prints what is wanted of a batch; true when that was the last. */
static bool print_batch(tail *t, const tape_reader_record *records, size_t count) {
    for (size_t i = 0; i < count; i++) {
        uint64_t seq = load_u64(records[i].record);
        if (seq > t->to) {
            return true;
        }
        if (t->printed < t->limit && t->tables[records[i].table] &&
            (t->instrument_count == 0 || instrument_wanted(t, &records[i]))) {
            print_record(t, &records[i]);
        }
        if (seq == t->to || t->printed >= t->limit) {
            return true;
        }
    }
    return false;
}

/* Without --follow: nothing past the newest record there is now. */
static tape_status bound_end(tail *t, const char *dir, tape_error *error) {
    tape_reader_options options;
    tape_reader *newest = NULL;
    tape_reader_options_init(&options);
    options.level = t->from.level;
    options.from_latest = true;
    tape_status status = tape_reader_open(dir, &options, &newest, error);
    if (status == TAPE_OK) {
        uint64_t last = tape_reader_next_seq(newest) - 1;
        t->to = last < t->to ? last : t->to;
    }
    tape_reader_close(&newest);
    return status;
}

static tape_status print_records(tail *t, tape_reader *reader, tape_error *error) {
    tape_reader_record records[TAIL_BATCH];
    bool done = t->limit == 0 || tape_reader_next_seq(reader) > t->to;
    while (!done) {
        size_t count = 0;
        tape_status status = tape_reader_poll(reader, records, TAIL_BATCH,
                                              t->follow ? TAIL_POLL_NS : 0, &count, error);
        if (status != TAPE_OK) {
            return status;
        }
        done = print_batch(t, records, count) || (count == 0 && !t->follow);
        if (!flush_lines(t) || (count == 0 && cli_cancelled(t->c))) {
            break; /* cli_finish tells why, where there is something to tell */
        }
    }
    return TAPE_OK;
}

int verb_tail(cli *c, const cli_args *args) {
    const char *dir = args->words[0];
    tail t = {.c = c};
    tape_reader *reader = NULL;
    tape_error error;
    int exit_status = EXIT_DONE;
    if (!read_options(&t, args)) {
        exit_status = EXIT_USAGE;
        goto out;
    }
    tape_status status = t.follow ? TAPE_OK : bound_end(&t, dir, &error);
    if (status == TAPE_OK) {
        status = tape_reader_open(dir, &t.from, &reader, &error);
    }
    if (status == TAPE_OK) {
        status = print_records(&t, reader, &error);
    }
    if (status != TAPE_OK) {
        exit_status = cli_fail(c, &error);
    }
out:
    tape_reader_close(&reader);
    buffer_deinit(&t.lines);
    free(t.names);
    return exit_status;
}
