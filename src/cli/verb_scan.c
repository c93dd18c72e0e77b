/* tape scan: the rows of a range of keys, in their order.
 *
 * Purpose: the loop over a scan of a view. Rows are lines of JSON as `get` prints them, or go
 * through an Arrow stream into the formats of `sql`.
 * Failure: rows printed before a failure stay printed; the exit status tells. */
#include "cli/cli_internal.h"
#include "cli/rows.h"

#include <errno.h>
#include <stdlib.h>

#define SCAN_ROWS 1024

typedef struct scan_words {
    uint64_t at;
    uint64_t limit;
    uint64_t width;
    result_format format;
    tape_scan_options options;
} scan_words;

static bool read_words(cli *c, const cli_args *args, scan_words *out) {
    const tape_table_info *table = args_table(c, args->words[1]);
    *out = (scan_words){.limit = UINT64_MAX, .format = RESULT_JSON, .width = (uint64_t)c->width};
    tape_scan_options_init(&out->options);
    if (table == NULL || !args_u64(c, args, "at", &out->at) ||
        !args_u64(c, args, "limit", &out->limit) || !args_u64(c, args, "width", &out->width) ||
        !args_format(c, args, &out->format)) {
        return false;
    }
    out->options.table = table->id;
    out->options.key = (const char *const *)args->words + 2;
    out->options.key_count = (size_t)args->count - 2;
    out->options.from = args_value(args, "from");
    out->options.to = args_value(args, "to");
    out->options.prefix = args_value(args, "prefix");
    out->options.backward = args_value(args, "reverse") != NULL;
    out->options.versions = args_value(args, "versions") != NULL;
    return true;
}

/* Words that name a range of keys: TABLE [KEY...] and --from, --to, --prefix. */
int cli_check_range(cli *c, const cli_args *args) {
    const tape_table_info *table = args_table(c, args->words[1]);
    if (table == NULL) {
        return EXIT_USAGE;
    }
    bool bounded = args_value(args, "from") != NULL || args_value(args, "to") != NULL;
    bool prefixed = args_value(args, "prefix") != NULL;
    uint32_t given = (uint32_t)args->count - 2;
    if (given > table->key_count) {
        return cli_usage(c, "the key of %s has %u field%s, and %u words were given", table->name,
                         table->key_count, table->key_count == 1 ? "" : "s", given);
    }
    if (bounded && prefixed) {
        return cli_usage(c, "--prefix does not go together with --from and --to");
    }
    if ((bounded || prefixed) && given == table->key_count) {
        return cli_usage(c, "with its whole key given there is no range left of %s", table->name);
    }
    return EXIT_DONE;
}

/* What depends on this process is settled here, so that an owner elsewhere does the same. */
int verb_scan_check(cli *c, cli_args *args) {
    scan_words words;
    int status = cli_check_range(c, args);
    if (status != EXIT_DONE) {
        return status;
    }
    if (!read_words(c, args, &words)) {
        return EXIT_USAGE;
    }
    bool binary = words.format == RESULT_ARROW || words.format == RESULT_PARQUET;
    if (binary && c->out_terminal) {
        return cli_usage(c, "--format %s is not for a terminal: send it to a file",
                         result_format_name(words.format));
    }
    if (!c->asked && args_value(args, "width") == NULL) {
        static char width[24]; /* one process, one command */
        (void)snprintf(width, sizeof width, "%llu", (unsigned long long)words.width);
        args_set(args, "width", width);
    }
    return EXIT_DONE;
}

typedef struct scan_run {
    cli *c;
    tape_scan *scan;
    uint64_t left;    /* of --limit */
    tape_error error; /* the scan's own; status OK while all is well */
} scan_run;

static tape_status next_rows(void *context, const void **rows, size_t *count, tape_error *error) {
    scan_run *run = context;
    tape_status status = TAPE_OK;
    *count = 0;
    if (run->left == 0) {
        return TAPE_OK;
    }
    size_t max = run->left < SCAN_ROWS ? (size_t)run->left : SCAN_ROWS;
    status = tape_scan_next(run->scan, max, rows, count, &run->error);
    if (status != TAPE_OK) {
        *error = run->error;
    }
    run->left -= *count;
    return status;
}

static tape_status print_lines(scan_run *run, uint16_t table, tape_error *error) {
    const tape_table_info *info = tape_table(table);
    size_t capacity = KIB(4);
    char *line = mem_alloc(capacity);
    tape_status status = TAPE_OK;
    for (size_t count = 1; status == TAPE_OK && count > 0;) {
        const uint8_t *rows = NULL;
        const void *start = NULL;
        if (cli_cancelled(run->c)) {
            status = error_set(error, TAPE_CANCELLED, "the scan was interrupted");
            break;
        }
        status = next_rows(run, &start, &count, error);
        rows = start;
        for (size_t i = 0; status == TAPE_OK && i < count; i++) {
            const uint8_t *row = rows + i * info->size_bytes;
            size_t size = tape_record_to_json(table, row, false, line, capacity);
            if (size >= capacity) {
                capacity = 2 * size;
                line = mem_realloc(line, capacity);
                size = tape_record_to_json(table, row, false, line, capacity);
            }
            line[size++] = '\n';
            if (!cli_write(run->c, line, size, false)) {
                count = 0; /* the end tells of it */
            }
        }
    }
    free(line);
    return status;
}

static tape_status print_stream(scan_run *run, const scan_words *words, tape_error *error) {
    cli *c = run->c;
    struct ArrowArrayStream stream;
    rows_source source = {tape_table(words->options.table), next_rows, run};
    rows_stream(&source, &stream);
    tape_status status = TAPE_OK;
    if (words->format == RESULT_PARQUET) {
        status = cli_write_parquet(c, &stream, error);
    } else {
        result_options options = {.format = words->format,
                                  .width = (int)(words->width > 100000 ? 0 : words->width),
                                  .stop = cli_cancelled,
                                  .stop_context = c};
        status = result_write(&stream, &options, c->out, NULL, error);
    }
    if (status != TAPE_OK && run->error.status != TAPE_OK) {
        *error = run->error;
    }
    return status;
}

int verb_scan(cli *c, const cli_args *args) {
    scan_words words;
    scan_run run = {.c = c};
    tape_view *view = NULL;
    tape_error error = {0};
    if (!read_words(c, args, &words)) {
        return EXIT_USAGE;
    }
    run.left = words.limit;
    tape_status status = tape_view_open(c->db, words.at, TAPE_WRITTEN, &view, &error);
    if (status == TAPE_OK) {
        status = tape_scan_open(view, &words.options, &run.scan, &error);
    }
    if (status == TAPE_OK) {
        status = words.format == RESULT_JSON ? print_lines(&run, words.options.table, &error)
                                             : print_stream(&run, &words, &error);
    }
    tape_scan_close(&run.scan);
    tape_view_close(&view);
    if (status == TAPE_OK) {
        return EXIT_DONE;
    }
    c->out_gone = c->out_gone || error.os_errno == EPIPE;
    return cli_fail(c, &error);
}
