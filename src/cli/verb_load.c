/* tape load: the rows of files as records.
 *
 * Purpose: the loop from tape_import_next to tape_append.
 * Format: the rejects file is CSV: the row's own columns and then `rejected_row`,
 * `rejected_column`, `rejected_value`, `rejected_reason`. Loaded again, those four are left out.
 * Invariants: (L1) nothing is reported as loaded before it has reached the level that was asked
 * for, also when the load ends with an error; (L2) appends hold no more than TAPE_APPEND_BYTES_MAX;
 * (L3) at most ACK_WINDOW appends are written and not yet at the level.
 * Failure: rows before the one that failed stay; the message says how far it got. */
#include "cli/cli_internal.h"
#include "os/os.h"

#include <stdlib.h>

#define FRAME_BYTES 64u
#define ACK_WINDOW 64u
#define APPEND_TIMEOUT_NS (NS_PER_SECOND / 2)
#define REJECTED_COLUMNS "rejected_row,rejected_column,rejected_value,rejected_reason"

typedef struct load {
    cli *c;
    const tape_table_info *table;
    const char *file;         /* what errors call the input */
    const char *rejects_path; /* NULL: stop at the first bad row */
    os_file *rejects;
    uint64_t rejects_bytes;
    tape_level level;
    tape_append_options append;
    tape_import *import;
    tape_record *records; /* the one append being made */
    size_t append_max;    /* records in one append */
    uint64_t skipped;     /* asked for */
    uint64_t rows;        /* appended */
    uint64_t duplicates;
    uint64_t rejected;
    uint64_t first_seq;
    uint64_t last_seq;
    uint64_t behind_seq; /* what the next wait waits for */
    uint64_t appends;    /* since the last wait */
    progress line;
} load;

static bool key_is_seq(const tape_table_info *table) {
    return table->fields[table->key_fields[0]].kind == TAPE_FIELD_U64;
}

int verb_load_check(cli *c, cli_args *args) {
    uint64_t skip = 0;
    tape_level level = TAPE_DURABLE;
    const tape_table_info *table = args_table(c, args->words[1]);
    if (table == NULL || !args_u64(c, args, "skip", &skip) || !args_level(c, args, "ack", &level)) {
        return EXIT_USAGE;
    }
    const char *rejects = args_value(args, "rejects");
    os_stat found;
    if (rejects != NULL && os_path_stat(os_disk_linux(), rejects, &found, NULL) == TAPE_OK &&
        found.size > 0) {
        return cli_fail_text(c, TAPE_EXISTS,
                             "--rejects %s is there already: remove it or name another file",
                             rejects);
    }
    return EXIT_DONE;
}

/* --- how far it got --- */

/* Everything appended so far reaches the level, however long the device takes. */
static tape_status settle(load *l, uint64_t seq, tape_error *error) {
    tape_status status = TAPE_OK;
    if (l->level == TAPE_WRITTEN || seq == 0) {
        return TAPE_OK;
    }
    do {
        status = tape_wait(l->c->db, seq, l->level, APPEND_TIMEOUT_NS, error);
    } while (status == TAPE_TIMEOUT);
    return status;
}

static void show_progress(load *l) {
    if (!progress_due(&l->line)) {
        return;
    }
    char rows[32];
    char rate[32];
    char percent[16] = "";
    uint64_t seen = l->rows + l->duplicates + l->rejected;
    double share = tape_import_progress(l->import);
    if (share >= 0) {
        (void)snprintf(percent, sizeof percent, "  %.0f %%", share * 100);
    }
    progress_show(&l->line, "%s rows  %s rows/s%s", group_digits(seen, rows),
                  group_digits((uint64_t)((double)seen / progress_seconds(&l->line)), rate),
                  percent);
}

/* What to do next. A second run leaves out the rows of event tables that are there, but not others.
 * */
static void advise(const load *l, const tape_error *error, char *out, size_t size) {
    uint64_t done = l->skipped + l->rows + l->duplicates + l->rejected;
    char skip[48] = "";
    if ((l->append.flags & TAPE_UNIQUE) == 0 && done > 0) {
        (void)snprintf(skip, sizeof skip, " with --skip %llu", (unsigned long long)done);
    }
    out[0] = '\0';
    if (error->status == TAPE_CANCELLED) {
        (void)snprintf(out, size, "; run it again%s to go on", skip);
    } else if (error->status == TAPE_INVALID && l->rejects_path == NULL) {
        (void)snprintf(out, size, "; fix the row and run it again%s, or use --rejects FILE", skip);
    }
}

/* Ends with `error`, after the rows that are in are as safe as was asked for. */
static int stop_at(load *l, const tape_error *error) {
    tape_error unsettled = {0};
    progress_end(&l->line);
    if (settle(l, l->last_seq, &unsettled) != TAPE_OK) {
        bool same = strcmp(error->text, unsettled.text) == 0;
        return cli_fail_text(l->c, unsettled.status,
                             "%s; %llu rows were appended, seq %llu..%llu, and are not known to be "
                             "safe%s%s",
                             error->text, (unsigned long long)l->rows,
                             (unsigned long long)l->first_seq, (unsigned long long)l->last_seq,
                             same ? "" : ": ", same ? "" : unsettled.text);
    }
    char advice[128];
    advise(l, error, advice, sizeof advice);
    return cli_fail_text(l->c, error->status, "%s; loaded %llu rows before it (seq %llu..%llu)%s",
                         error->text, (unsigned long long)l->rows, (unsigned long long)l->first_seq,
                         (unsigned long long)l->last_seq, advice);
}

/* --- appending --- */

static tape_status append_records(load *l, const uint8_t *structs, size_t count,
                                  tape_error *error) {
    tape_append_result done = {0};
    for (size_t i = 0; i < count; i++) {
        l->records[i] = (tape_record){.table = l->table->id,
                                      .size_bytes = l->table->size_bytes,
                                      .data = structs + i * l->table->size_bytes};
    }
    tape_status status = TAPE_OK;
    do {
        status = tape_append(l->c->db, l->records, count, &l->append, &done, error);
        show_progress(l);
    } while (status == TAPE_BUSY && !cli_stopped());
    if (status == TAPE_BUSY) {
        return error_set(error, TAPE_CANCELLED, "interrupted");
    }
    if (status != TAPE_OK) {
        return status;
    }
    l->rows += count - done.duplicates;
    l->duplicates += done.duplicates;
    if (done.first_seq != 0) {
        l->first_seq = l->first_seq == 0 ? done.first_seq : l->first_seq;
        l->last_seq = done.last_seq;
    }
    if (++l->appends < ACK_WINDOW / 2) {
        return TAPE_OK;
    }
    l->appends = 0;
    uint64_t seq = l->behind_seq;
    l->behind_seq = l->last_seq;
    return settle(l, seq, error);
}

/* A run of good rows, in as few appends as may be. */
static tape_status append_run(load *l, const void *structs, size_t count, uint64_t first_row,
                              tape_error *error) {
    const uint8_t *at = structs;
    for (size_t done = 0; done < count;) {
        size_t some = count - done < l->append_max ? count - done : l->append_max;
        tape_status status = append_records(l, at + done * l->table->size_bytes, some, error);
        if (status == TAPE_INVALID) {
            error_prefix(error, "%s rows %llu to %llu", l->file,
                         (unsigned long long)(first_row + done),
                         (unsigned long long)(first_row + done + some - 1));
        }
        if (status != TAPE_OK) {
            return status;
        }
        done += some;
    }
    return TAPE_OK;
}

/* --- bad rows --- */

static tape_status rejects_write(load *l, const tape_import_reject *reject, tape_error *error) {
    tape_status status = TAPE_OK;
    if (strcmp(l->rejects_path, "/dev/null") == 0) {
        return TAPE_OK; /* counted, and not kept */
    }
    buffer line = {0};
    if (l->rejects == NULL) {
        status = os_file_open(os_disk_linux(), l->rejects_path, OS_WRITE | OS_CREATE, &l->rejects,
                              error);
        buffer_printf(&line, "%s,%s\n", reject->header, REJECTED_COLUMNS);
    }
    buffer_printf(&line, "%s,%llu,", reject->line, (unsigned long long)reject->row);
    text_csv_cell(&line, reject->column, strlen(reject->column));
    buffer_append(&line, ",", 1);
    text_csv_cell(&line, reject->value, strlen(reject->value));
    buffer_append(&line, ",", 1);
    text_csv_cell(&line, reject->reason, strlen(reject->reason));
    buffer_append(&line, "\n", 1);
    if (status == TAPE_OK) {
        status = os_file_write(l->rejects, l->rejects_bytes, line.data, line.size, error);
        l->rejects_bytes += line.size;
    }
    buffer_deinit(&line);
    return status;
}

/* What was rejected is on disk before the load says it is done. */
static tape_status rejects_end(load *l, tape_error *error) {
    tape_status status = l->rejects == NULL ? TAPE_OK : os_file_sync(l->rejects, error);
    os_file_close(&l->rejects);
    return status;
}

static tape_status take_reject(load *l, const tape_import_reject *reject, tape_error *error) {
    if (l->rejects_path != NULL) {
        l->rejected++;
        return rejects_write(l, reject, error);
    }
    if (reject->column[0] == '\0') { /* the row as a whole */
        return error_set(error, TAPE_INVALID, "%s row %llu: %s", l->file,
                         (unsigned long long)reject->row, reject->reason);
    }
    return error_set(error, TAPE_INVALID, "%s row %llu: column '%s': value '%s': %s", l->file,
                     (unsigned long long)reject->row, reject->column, reject->value,
                     reject->reason);
}

/* --- the verb --- */

static tape_status read_and_append(load *l, tape_error *error) {
    for (;;) {
        const void *structs = NULL;
        size_t count = 0;
        uint64_t first_row = 0;
        tape_import_reject reject = {0};
        if (cli_stopped()) {
            return error_set(error, TAPE_CANCELLED, "interrupted");
        }
        tape_status status = tape_import_next(l->import, l->append_max * 16, &structs, &count,
                                              &first_row, &reject, error);
        if (status == TAPE_OK && count == 0 && reject.row == 0) {
            return TAPE_OK;
        }
        if (status == TAPE_OK && count > 0) {
            status = append_run(l, structs, count, first_row, error);
        } else if (status == TAPE_OK) {
            status = take_reject(l, &reject, error);
        }
        if (status != TAPE_OK) {
            return status;
        }
        show_progress(l);
    }
}

static int run_load(load *l) {
    cli *c = l->c;
    tape_error error = {0};
    cli_catch_stop();
    progress_start(&l->line, c);
    tape_status status = read_and_append(l, &error);
    tape_error rejects_error = {0};
    tape_status kept = rejects_end(l, &rejects_error);
    if (status == TAPE_OK && kept != TAPE_OK) {
        status = kept;
        error = rejects_error;
    }
    if (status != TAPE_OK) {
        return stop_at(l, &error);
    }
    status = settle(l, l->last_seq, &error);
    progress_end(&l->line);
    if (status != TAPE_OK) {
        return cli_fail(c, &error);
    }
    (void)fprintf(c->out,
                  "loaded %llu rows into %s, seq %llu..%llu, %llu duplicates, %llu rejected\n",
                  (unsigned long long)l->rows, l->table->name, (unsigned long long)l->first_seq,
                  (unsigned long long)l->last_seq, (unsigned long long)l->duplicates,
                  (unsigned long long)l->rejected);
    return EXIT_DONE;
}

int verb_load(cli *c, const cli_args *args) {
    tape_import_options options;
    tape_import_options_init(&options);
    load l = {.c = c,
              .table = args_table(c, args->words[1]),
              .file = args->count == 3 ? args->words[2] : "input",
              .rejects_path = args_value(args, "rejects"),
              .level = TAPE_DURABLE};
    if (l.table == NULL || !args_u64(c, args, "skip", &options.skip) ||
        !args_level(c, args, "ack", &l.level)) {
        return EXIT_USAGE;
    }
    options.table = l.table->id;
    l.skipped = options.skip;
    options.paths = (const char *const *)args->words + 2;
    options.path_count = (size_t)args->count - 2;
    options.select = args_value(args, "select");
    tape_append_options_init(&l.append);
    l.append.timeout_ns = APPEND_TIMEOUT_NS;
    l.append.flags = l.table->kind == TAPE_KIND_EVENT && !key_is_seq(l.table) ? TAPE_UNIQUE : 0;
    l.append_max = TAPE_APPEND_BYTES_MAX / (FRAME_BYTES + ALIGN_UP(l.table->size_bytes, 64)) / 2;
    l.records = mem_alloc(l.append_max * sizeof *l.records);
    tape_error error;
    int exit_status = EXIT_FAILED;
    if (tape_import_open(&options, &l.import, &error) == TAPE_OK) {
        exit_status = run_load(&l);
    } else {
        exit_status = cli_fail(c, &error);
    }
    tape_import_close(&l.import);
    free(l.records);
    return exit_status;
}
