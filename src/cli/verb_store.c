/* The small verbs on a store: init, get, status, verify, checkpoint. */
#include "cli/cli_internal.h"

#include <stdlib.h>

int verb_init(cli *c, const cli_args *args) {
    tape_error error;
    if (tape_create(args->words[0], NULL, &error) != TAPE_OK) {
        return cli_fail(c, &error);
    }
    (void)fprintf(c->out, "made an empty store in %s\n", args->words[0]);
    return EXIT_DONE;
}

int verb_checkpoint(cli *c, const cli_args *args) {
    (void)args;
    tape_error error;
    return tape_checkpoint(c->db, &error) == TAPE_OK ? EXIT_DONE : cli_fail(c, &error);
}

/* --- get --- */

int verb_get_check(cli *c, cli_args *args) {
    uint64_t at = 0;
    const tape_table_info *table = args_table(c, args->words[1]);
    if (table == NULL || !args_u64(c, args, "at", &at)) {
        return EXIT_USAGE;
    }
    if ((uint32_t)args->count - 2 == table->key_count) {
        return EXIT_DONE;
    }
    buffer key = {0};
    for (uint32_t i = 0; i < table->key_count; i++) {
        buffer_printf(&key, "%s%s", i == 0 ? "" : " ", table->fields[table->key_fields[i]].name);
    }
    int status = cli_usage(c, "the key of %s is %u word%s: tape get DIR %s %.*s", table->name,
                           table->key_count, table->key_count == 1 ? "" : "s", table->name,
                           (int)key.size, (const char *)key.data);
    buffer_deinit(&key);
    return status;
}

int verb_get(cli *c, const cli_args *args) {
    const tape_table_info *table = args_table(c, args->words[1]);
    uint64_t at = 0;
    _Alignas(8) uint8_t record[TAPE_RECORD_BYTES_MAX];
    tape_error error;
    if (table == NULL || !args_u64(c, args, "at", &at)) {
        return EXIT_USAGE;
    }
    tape_status status = tape_get(c->db, table->id, (const char *const *)args->words + 2,
                                  (size_t)args->count - 2, at, record, &error);
    if (status != TAPE_OK) {
        int exit_status = cli_fail(c, &error);
        return status == TAPE_NOT_FOUND ? EXIT_NOT_FOUND : exit_status;
    }
    size_t size = tape_record_to_json(table->id, record, false, NULL, 0) + 1;
    char *line = mem_alloc(size);
    (void)tape_record_to_json(table->id, record, false, line, size);
    (void)fprintf(c->out, "%s\n", line);
    free(line);
    return EXIT_DONE;
}

/* --- status --- */

int verb_status_check(cli *c, cli_args *args) {
    result_format format = RESULT_TABLE;
    if (!args_format(c, args, &format)) {
        return EXIT_USAGE;
    }
    if (format != RESULT_TABLE && format != RESULT_JSON) {
        return cli_usage(c, "--format %s: a status is printed as table or json",
                         args_value(args, "format"));
    }
    return EXIT_DONE;
}

typedef struct status_number {
    const char *name;
    uint64_t value;
    const char *meaning;
} status_number;

static void print_status_json(cli *c, const tape_stats *s) {
    FILE *out = c->out;
    (void)fprintf(out,
                  "{\"written\":%llu,\"durable\":%llu,\"committed\":%llu,\"applied\":%llu,"
                  "\"queryable\":%llu,\"archived\":%llu,\"oldest\":%llu,\"rows\":{",
                  (unsigned long long)s->written, (unsigned long long)s->durable,
                  (unsigned long long)s->committed, (unsigned long long)s->applied,
                  (unsigned long long)s->queryable, (unsigned long long)s->archived,
                  (unsigned long long)s->oldest);
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        (void)fprintf(out, "%s\"%s\":%llu", id == 1 ? "" : ",", tape_table(id)->name,
                      (unsigned long long)s->rows[id]);
    }
    (void)fprintf(out,
                  "},\"bytes\":{\"journal\":%llu,\"store\":%llu,\"archive\":%llu,\"window\":%llu,"
                  "\"memtable\":%llu,\"columns\":%llu},",
                  (unsigned long long)s->journal_bytes, (unsigned long long)s->store_bytes,
                  (unsigned long long)s->archive_bytes, (unsigned long long)s->window_bytes,
                  (unsigned long long)s->memtable_bytes, (unsigned long long)s->columns_bytes);
    (void)fprintf(out,
                  "\"epoch\":%llu,\"sync\":{\"method\":\"%s\",\"floor_ns\":%lld,\"count\":%llu},"
                  "\"busy\":%llu,",
                  (unsigned long long)s->epoch, s->sync_method, (long long)s->sync_floor_ns,
                  (unsigned long long)s->syncs, (unsigned long long)s->busy);
    if (c->asked) {
        (void)fprintf(out, "\"owner_pid\":%lld,", (long long)s->owner_pid);
    } else {
        (void)fputs("\"owner_pid\":null,", out);
    }
    (void)fprintf(out,
                  "\"recovery\":{\"records\":%llu,\"from_window\":%llu,\"cut_bytes\":%llu,"
                  "\"duration_ns\":%lld}}\n",
                  (unsigned long long)s->recovered_records,
                  (unsigned long long)s->recovered_from_window, (unsigned long long)s->cut_bytes,
                  (long long)s->recovery_ns);
}

static void print_numbers(FILE *out, const char *title, const status_number *numbers,
                          size_t count) {
    (void)fprintf(out, "%s\n", title);
    for (size_t i = 0; i < count; i++) {
        char text[32];
        (void)fprintf(out, "  %-12s %18s%s%s\n", numbers[i].name,
                      group_digits(numbers[i].value, text), numbers[i].meaning == NULL ? "" : "  ",
                      numbers[i].meaning == NULL ? "" : numbers[i].meaning);
    }
}

static void print_status_table(cli *c, const char *dir, const tape_stats *s) {
    const status_number levels[] = {
        {"written", s->written, "survives a crash of the process"},
        {"durable", s->durable, "survives power loss"},
        {"committed", s->committed, "durable on every node that has to have it"},
        {"applied", s->applied, "seen by get"},
        {"queryable", s->queryable, "seen by SQL"},
        {"archived", s->archived, "in Parquet files"},
        {"oldest", s->oldest, "the first record the journal keeps"},
    };
    const status_number bytes[] = {
        {"journal", s->journal_bytes, "on disk"},     {"store", s->store_bytes, "on disk"},
        {"archive", s->archive_bytes, "on disk"},     {"window", s->window_bytes, "in memory"},
        {"memtable", s->memtable_bytes, "in memory"}, {"columns", s->columns_bytes, "in memory"},
    };
    status_number rows[TAPE_TABLE_COUNT];
    for (uint16_t id = 1; id <= TAPE_TABLE_COUNT; id++) {
        rows[id - 1] = (status_number){tape_table(id)->name, s->rows[id], NULL};
    }
    (void)fprintf(c->out, "%s, epoch %llu, ", dir, (unsigned long long)s->epoch);
    if (c->asked) {
        (void)fprintf(c->out, "owned by process %lld\n", (long long)s->owner_pid);
    } else {
        (void)fputs("nobody owns it\n", c->out);
    }
    print_numbers(c->out, "last record that is", levels, COUNT_OF(levels));
    print_numbers(c->out, "records", rows, COUNT_OF(rows));
    print_numbers(c->out, "bytes", bytes, COUNT_OF(bytes));
    (void)fprintf(c->out, "syncs with %s, which takes %.1f us at least; %llu since it was opened\n",
                  s->sync_method, (double)s->sync_floor_ns / 1e3, (unsigned long long)s->syncs);
    (void)fprintf(c->out,
                  "the last open took %.1f ms: %llu records replayed, %llu of them from shared "
                  "memory, %llu bytes of a torn tail cut\n",
                  (double)s->recovery_ns / 1e6, (unsigned long long)s->recovered_records,
                  (unsigned long long)s->recovered_from_window, (unsigned long long)s->cut_bytes);
}

int verb_status(cli *c, const cli_args *args) {
    result_format format = RESULT_TABLE;
    tape_stats stats = {.size_bytes = sizeof stats};
    tape_error error;
    if (!args_format(c, args, &format)) {
        return EXIT_USAGE;
    }
    /* A store opened for this alone has nothing better to do than to catch up. */
    if (tape_stats_read(c->db, !c->asked, &stats, &error) != TAPE_OK) {
        return cli_fail(c, &error);
    }
    if (format == RESULT_JSON) {
        print_status_json(c, &stats);
    } else {
        print_status_table(c, args->words[0], &stats);
    }
    return EXIT_DONE;
}

/* --- verify --- */

typedef struct verify_run {
    cli *c;
    uint64_t damages;
} verify_run;

static void print_damage(void *context, const tape_error *finding) {
    verify_run *run = context;
    FILE *out = run->c->out;
    run->damages++;
    if (finding->file[0] != '\0' && strstr(finding->text, finding->file) == NULL) {
        (void)fprintf(out, "%s: ", finding->file);
    }
    if (finding->offset != TAPE_NO_OFFSET && strstr(finding->text, "offset") == NULL) {
        (void)fprintf(out, "offset %llu: ", (unsigned long long)finding->offset);
    }
    (void)fprintf(out, "%s\n", finding->text);
}

static int verify_end(verify_run *run, const char *dir, tape_status status, uint64_t records,
                      uint64_t files, const tape_error *error) {
    if (status == TAPE_OK && run->damages == 0) {
        (void)fprintf(run->c->out, "ok: %llu records, %llu files\n", (unsigned long long)records,
                      (unsigned long long)files);
        return EXIT_DONE;
    }
    if (run->damages == 0) {
        return cli_fail(run->c, error);
    }
    return cli_fail_text(
        run->c, TAPE_CORRUPT,
        "%llu damage%s found in %s, listed on stdout: restore the files named from "
        "a copy",
        (unsigned long long)run->damages, run->damages == 1 ? "" : "s", dir);
}

int verb_verify(cli *c, const cli_args *args) {
    verify_run run = {.c = c};
    uint64_t records = 0;
    uint64_t files = 0;
    tape_error error = {0};
    tape_status status = tape_verify(c->db, print_damage, &run, &records, &files, &error);
    return verify_end(&run, args->words[0], status, records, files, &error);
}

/* A store that is too damaged to open is checked file by file. */
int verb_verify_start(cli *c, const cli_args *args) {
    session s = {.dir = args->words[0]};
    bool answered = false;
    int exit_status = EXIT_FAILED;
    tape_error error = {0};
    tape_status status = session_find(&s, c, args, &answered, &exit_status, &error);
    if (status == TAPE_OK) {
        if (!answered) {
            c->db = s.db;
            exit_status = verb_verify(c, args);
        }
        return session_end(&s, c, exit_status);
    }
    if (status != TAPE_CORRUPT) {
        return cli_fail(c, &error);
    }
    verify_run run = {.c = c};
    uint64_t records = 0;
    uint64_t files = 0;
    tape_error finding = {0};
    status = tape_verify_dir(s.dir, print_damage, &run, &records, &files, &finding);
    if (run.damages == 0) {
        print_damage(&run, &error); /* what kept it from opening */
    }
    return verify_end(&run, s.dir, status, records, files, &error);
}
