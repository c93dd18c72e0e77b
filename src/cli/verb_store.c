/* The small verbs on a store: init, get, verify, checkpoint, compact, archive. */
#include "cli/cli_internal.h"
#include "cli/params.h"

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

/* --- compact --- */

/* A table, as many key words as it has key fields or fewer, and bounds only with a table. */
int verb_compact_check(cli *c, cli_args *args) {
    if (args->count == 1) {
        static const char *const bounds[] = {"from", "to", "prefix"};
        for (size_t i = 0; i < COUNT_OF(bounds); i++) {
            if (args_value(args, bounds[i]) != NULL) {
                return cli_usage(c, "--%s needs a table: tape compact %s", bounds[i],
                                 args->verb->synopsis);
            }
        }
        return EXIT_DONE;
    }
    return cli_check_range(c, args);
}

typedef struct compact_run {
    cli *c;
    progress line;
} compact_run;

static bool compact_progress(void *context, uint64_t done, uint64_t total) {
    compact_run *run = context;
    if (progress_due(&run->line)) {
        char shown[32];
        progress_show(&run->line, "compacted %3.0f %% of %s bytes",
                      total == 0 ? 100.0 : 100.0 * (double)done / (double)total,
                      group_digits(total, shown));
    }
    return !cli_cancelled(run->c);
}

int verb_compact(cli *c, const cli_args *args) {
    compact_run run = {.c = c};
    tape_compact_options options;
    tape_error error;
    tape_compact_options_init(&options);
    if (args->count > 1) {
        const tape_table_info *table = args_table(c, args->words[1]);
        if (table == NULL) {
            return EXIT_USAGE;
        }
        options.table = table->id;
        options.key = (const char *const *)args->words + 2;
        options.key_count = (size_t)args->count - 2;
        options.from = args_value(args, "from");
        options.to = args_value(args, "to");
        options.prefix = args_value(args, "prefix");
    }
    options.progress = compact_progress;
    options.context = &run;
    if (!c->asked) {
        cli_catch_stop();
    }
    progress_start(&run.line, c);
    tape_status status = tape_compact(c->db, &options, &error);
    progress_end(&run.line);
    return status == TAPE_OK ? EXIT_DONE : cli_fail(c, &error);
}

/* --- archive --- */

/* Whether `text` is "YYYY-MM-DD" of a day that exists. */
static bool is_date(const char *text) {
    int64_t ns = 0;
    char *midnight = mem_printf("%sT00:00:00Z", text);
    bool ok = strlen(text) == strlen("YYYY-MM-DD") && cli_parse_time(midnight, &ns);
    free(midnight);
    return ok;
}

int verb_archive_check(cli *c, cli_args *args) {
    const char *date = args_value(args, "date");
    return date == NULL || is_date(date)
               ? EXIT_DONE
               : cli_usage(c, "--date %s is not a day as 2024-08-08", date);
}

typedef struct archive_run {
    cli *c;
    progress line;
} archive_run;

static bool archive_progress(void *context, uint64_t done, uint64_t total) {
    archive_run *run = context;
    if (progress_due(&run->line)) {
        char shown[32];
        char bar[48];
        double share = total == 0 ? 0 : (double)done / (double)total;
        progress_show(&run->line, "archived %s of %s rows", progress_bar(share, bar),
                      group_digits(total, shown));
    }
    return !cli_cancelled(run->c);
}

int verb_archive(cli *c, const cli_args *args) {
    archive_run run = {.c = c};
    tape_archive_options options;
    tape_stats stats = {.size_bytes = sizeof stats};
    tape_error error;
    tape_archive_options_init(&options);
    options.date = args_value(args, "date");
    options.progress = archive_progress;
    options.context = &run;
    if (!c->asked) {
        cli_catch_stop();
    }
    progress_start(&run.line, c);
    tape_status status = tape_archive(c->db, &options, &error);
    progress_end(&run.line);
    if (status == TAPE_OK) {
        status = tape_stats_read(c->db, false, &stats, &error);
    }
    if (status != TAPE_OK) {
        return cli_fail(c, &error);
    }
    (void)fprintf(c->out, "archived to seq %llu: %llu file%s, %llu bytes\n",
                  (unsigned long long)stats.archived, (unsigned long long)stats.archive_files,
                  stats.archive_files == 1 ? "" : "s", (unsigned long long)stats.archive_bytes);
    return EXIT_DONE;
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
