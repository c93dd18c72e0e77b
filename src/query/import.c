/* Import: tape_import_*. Files in, records out, in the order of the files.
 *
 * Without `select`, CSV and JSON lines are read by our own code and never guessed at; Parquet, and
 * every kind with `select`, is read by a DuckDB of the import's own that can reach the named files
 * and its spill directory, nothing else.
 *
 * Invariants
 *  M1 Rows come in the order of the files, and of the rows in them (or of the select's result).
 *  M2 A batch ends before a bad row; the bad row is told when the batch is used up.
 *  M3 A packed file that is damaged or cut off is refused, whoever reads it.
 * Threads: one at a time, but for tape_import_progress.
 * Failure: what went wrong once is the answer to every later call. */
#include "query/import_internal.h"
#include "query/query_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define BATCH_ROWS 1024u
/* For DuckDB: what it needs to parse in parallel and sort a few million rows; beyond it spills. */
#define DUCK_BYTES MIB(256)
#define DUCK_THREADS 2

struct tape_import {
    const tape_table_info *table;
    import_file *files;
    size_t file_count;
    char *select;
    uint64_t skip;
    uint64_t bytes_total;
    uint64_t bytes_done; /* of files that are done */
    size_t file;         /* the one being read */
    row_source *rows;
    char *temp_dir; /* NULL: none was made */
    char *unpacked; /* a Parquet file that was unpacked there */
    duck *duck;
    duck_session *session;
    duck_result *result;
    value_source *values;
    uint64_t rows_expected; /* of `result`, about: for progress; 0: unknown */
    uint64_t result_row;    /* `row` when `result` started */
    uint64_t row;           /* the last one read, from 1, over all files */
    uint8_t *batch;
    size_t batch_rows;
    size_t batch_at;
    uint64_t batch_row; /* number of the first row in the batch */
    bool bad;           /* `problem` waits to be told, for row `row` */
    row_problem problem;
    bool ended;
    tape_error error; /* status TAPE_OK while all is well */
    _Atomic uint64_t progress_millionths;
    _Atomic bool progress_known;
};

/* --- problems and columns --- */

void csv_append(buffer *out, bool first, const char *text, size_t size) {
    bool quote = false;
    for (size_t n = 0; n < size; n++) {
        quote = quote || text[n] == ',' || text[n] == '"' || text[n] == '\n' || text[n] == '\r';
    }
    buffer_append(out, ",", !first);
    buffer_append(out, "\"", quote);
    for (size_t n = 0; n < size; n++) {
        buffer_append(out, "\"", quote && text[n] == '"');
        buffer_append(out, &text[n], 1);
    }
    buffer_append(out, "\"", quote);
}

void problem_set(row_problem *problem, const char *column, const char *value, size_t value_size,
                 const char *reason) {
    const size_t room = sizeof problem->value - 4;
    size_t size = value_size < room ? value_size : room;
    while (size < value_size && size > 0 && ((unsigned char)value[size] & 0xc0) == 0x80) {
        size--; /* not inside a character */
    }
    (void)snprintf(problem->column, sizeof problem->column, "%.63s", column);
    (void)snprintf(problem->value, sizeof problem->value, "%.*s%s", (int)size, value,
                   size < value_size ? "..." : "");
    (void)snprintf(problem->reason, sizeof problem->reason, "%.255s", reason);
}

/* "trades.side is "x": it must be one of ..." -> side, x, it must be one of ... */
void problem_from_error(row_problem *problem, const tape_table_info *table,
                        const tape_error *error) {
    size_t prefix = strlen(table->name) + 1;
    const char *text = error->text;
    bool named = strncmp(text, table->name, prefix - 1) == 0 && text[prefix - 1] == '.';
    if (!named) {
        problem_set(problem, "", "", 0, text);
        return;
    }
    size_t name_size = strcspn(text + prefix, " [:");
    char *name = mem_printf("%.*s", (int)name_size, text + prefix);
    const char *rest = text + prefix + name_size;
    rest += strcspn(rest, " ");
    rest += strspn(rest, " ");
    const char *colon = NULL;
    for (const char *at = strstr(rest, ": "); at != NULL; at = strstr(at + 1, ": ")) {
        colon = at;
    }
    bool worded = strncmp(rest, "is empty", 8) == 0 || strncmp(rest, "is given", 8) == 0;
    if (strncmp(rest, "is ", 3) == 0 && !worded && colon != NULL) {
        const char *value = rest + 3;
        bool quoted = *value == '"' && colon - value >= 2 && colon[-1] == '"';
        problem_set(problem, name, value + quoted, (size_t)(colon - value) - (quoted ? 2 : 0),
                    colon + 2);
    } else {
        problem_set(problem, name, "", 0, rest);
    }
    free(name);
}

row_outcome import_validate(const tape_table_info *table, const void *record,
                            row_problem *problem) {
    tape_error error;
    if (record_validate(table, record, &error) == TAPE_OK) {
        return ROW_GOOD;
    }
    problem_from_error(problem, table, &error);
    return ROW_BAD;
}

static void list_columns(const tape_table_info *table, buffer *out) {
    for (uint32_t f = 0; f < table->field_count; f++) {
        if (table->fields[f].kind != TAPE_FIELD_U64) {
            buffer_printf(out, "%s%s", out->size == 0 ? "" : ", ", table->fields[f].name);
        }
    }
    buffer_append(out, "", 1);
}

tape_status import_column(const tape_table_info *table, const char *what, const char *name,
                          size_t size, bool *seen, const tape_field_info **out, tape_error *error) {
    int shown = (int)(size < 64 ? size : 64);
    for (uint32_t f = 0; f < table->field_count; f++) {
        const tape_field_info *field = &table->fields[f];
        if (strlen(field->name) != size || memcmp(field->name, name, size) != 0) {
            continue;
        }
        if (field->kind == TAPE_FIELD_U64) {
            return error_set(error, TAPE_INVALID,
                             "%s the column %s, which tape gives itself: leave it out", what,
                             field->name);
        }
        if (seen[f]) {
            return error_set(error, TAPE_INVALID, "%s the column %s twice", what, field->name);
        }
        seen[f] = true;
        *out = field;
        return TAPE_OK;
    }
    buffer names = {0};
    list_columns(table, &names);
    tape_status status =
        error_set(error, TAPE_INVALID, "%s the column \"%.*s\", which %s does not have; it has %s",
                  what, shown, name, table->name, (const char *)names.data);
    buffer_deinit(&names);
    return status;
}

tape_status import_columns_end(const tape_table_info *table, const char *what, const bool *seen,
                               tape_error *error) {
    for (uint32_t k = 0; k < table->key_count; k++) {
        uint32_t f = table->key_fields[k];
        if (!seen[f] && table->fields[f].kind != TAPE_FIELD_U64) {
            return error_set(error, TAPE_INVALID, "%s no column %s, which is the key of %s", what,
                             table->fields[f].name, table->name);
        }
    }
    return TAPE_OK;
}

/* --- DuckDB's part --- */

static tape_status make_temp_dir(tape_import *m, tape_error *error) {
    const char *base = getenv("TMPDIR");
    uint64_t id;
    os_random(&id, sizeof id);
    char *dir = mem_printf("%s/tape-import-%016llx", base == NULL || *base == '\0' ? "/tmp" : base,
                           (unsigned long long)id);
    tape_status status = os_dir_make(os_disk_linux(), dir, error);
    if (status == TAPE_OK) {
        m->temp_dir = dir;
    } else {
        free(dir);
    }
    return status;
}

static void remove_file(void *context, const char *name, bool is_dir, uint64_t size) {
    const tape_import *m = context;
    (void)size;
    if (!is_dir) {
        char *path = mem_printf("%s/%s", m->temp_dir, name);
        tape_error ignored;
        if (os_remove(os_disk_linux(), path, &ignored) != TAPE_OK) {
            log_line(LOG_WARN, "%s", ignored.text);
        }
        free(path);
    }
}

static void remove_temp_dir(tape_import *m) {
    tape_error error;
    if (m->temp_dir == NULL) {
        return;
    }
    if (os_dir_list(os_disk_linux(), m->temp_dir, remove_file, m, &error) != TAPE_OK ||
        os_dir_remove(os_disk_linux(), m->temp_dir, &error) != TAPE_OK) {
        log_line(LOG_WARN, "%s", error.text);
    }
    free(m->temp_dir);
    m->temp_dir = NULL;
}

static tape_status open_duck(tape_import *m, tape_error *error) {
    const char **paths = mem_zalloc(m->file_count * sizeof *paths);
    for (size_t n = 0; n < m->file_count; n++) {
        paths[n] = m->files[n].path;
    }
    const duck_options options = {.memory_bytes = DUCK_BYTES,
                                  .threads = DUCK_THREADS,
                                  .temp_dir = m->temp_dir,
                                  .paths = paths,
                                  .path_count = m->file_count};
    tape_status status = duck_open(&m->duck, &options, error);
    free(paths);
    if (status == TAPE_OK) {
        status = duck_session_open(m->duck, &m->session, error);
    }
    return status;
}

static uint64_t count_lines(const uint8_t *data, size_t size) {
    uint64_t lines = 0;
    for (size_t n = 0; n < size; n++) {
        lines += data[n] == '\n';
    }
    return lines;
}

/* Reads a file to its end (M3), into the file `to` unless that is NULL. Adds its lines to *lines.
 */
static tape_status unpack(const import_file *file, const char *to, uint64_t *lines,
                          tape_error *error) {
    byte_source *source = NULL;
    os_file *out = NULL;
    uint8_t *data = mem_alloc(MIB(1));
    uint64_t offset = 0;
    size_t got = 1;
    tape_status status = byte_source_open(&source, file, error);
    if (status == TAPE_OK && to != NULL) {
        status = os_file_open(os_disk_linux(), to, OS_WRITE | OS_CREATE, &out, error);
    }
    while (status == TAPE_OK && got > 0) {
        status = byte_source_read(source, data, MIB(1), &got, error);
        *lines += count_lines(data, got);
        if (status == TAPE_OK && out != NULL && got > 0) {
            status = os_file_write(out, offset, data, got, error);
            offset += got;
        }
    }
    os_file_close(&out);
    byte_source_close(&source);
    free(data);
    return status;
}

/* Makes the file one that DuckDB can read, and *path its name (caller frees). */
static tape_status ready_file(tape_import *m, const import_file *file, char **path,
                              tape_error *error) {
    bool parquet = file->kind == IMPORT_PARQUET;
    bool move = parquet && file->packing != IMPORT_PLAIN;
    uint64_t lines = 0;
    *path = NULL;
    if (parquet && !move) {
        *path = mem_strdup(file->path);
        return TAPE_OK;
    }
    char *to = move ? mem_printf("%s/%zu.parquet", m->temp_dir, (size_t)(file - m->files)) : NULL;
    tape_status status = unpack(file, to, &lines, error);
    if (status != TAPE_OK) {
        free(to);
        return status;
    }
    m->rows_expected += parquet ? 0 : lines;
    *path = to != NULL ? to : mem_strdup(file->path);
    return TAPE_OK;
}

static void take_text(void *context, const char *text) {
    char **out = context;
    if (*out == NULL) {
        *out = mem_strdup(text);
    }
}

/* DuckDB sniffs a CSV file each time a statement over it is bound, and reads all of it for that.
 * Its own account of what it found makes the view that needs no sniffing. NULL when there is none.
 */
static char *sniffed_source(tape_import *m, const char *path) {
    char *quoted = duck_quote(path);
    char *sql = mem_printf("SELECT Prompt FROM sniff_csv(%s, sample_size = -1)", quoted);
    char *prompt = NULL;
    char *source = NULL;
    tape_error ignored;
    if (duck_session_each(m->session, sql, take_text, &prompt, &ignored) == TAPE_OK &&
        prompt != NULL) {
        /* FROM read_csv('PATH', ...); with the path as it is, quotes and all. */
        char *head = mem_printf("FROM read_csv('%s'", path);
        if (strncmp(prompt, head, strlen(head)) == 0) {
            char *rest = prompt + strlen(head);
            rest[strcspn(rest, ";")] = '\0';
            source = mem_printf("FROM read_csv(%s%s", quoted, rest);
        }
        free(head);
    }
    free(prompt);
    free(sql);
    free(quoted);
    return source;
}

static tape_status create_input(tape_import *m, char *const *paths, tape_error *error) {
    static const char *const READERS[] = {
        [IMPORT_CSV] = "read_csv",
        [IMPORT_JSON] = "read_json",
        [IMPORT_PARQUET] = "read_parquet",
    };
    import_kind kind = m->files[0].kind;
    buffer list = {0};
    tape_status status = TAPE_SQL;
    for (size_t n = 0; n < m->file_count; n++) {
        char *quoted = duck_quote(paths[n]);
        buffer_printf(&list, "%s%s", n == 0 ? "" : ", ", quoted);
        free(quoted);
    }
    buffer_append(&list, "", 1);
    if (kind == IMPORT_CSV && m->file_count == 1) {
        char *source = sniffed_source(m, paths[0]);
        if (source != NULL) {
            char *sql = mem_printf("CREATE VIEW input AS %s", source);
            status = duck_session_run(m->session, sql, error);
            free(sql);
        }
        free(source);
    }
    if (status != TAPE_OK) {
        char *sql =
            mem_printf("CREATE VIEW input AS FROM %s([%s]%s%s)", READERS[kind],
                       (const char *)list.data, kind == IMPORT_PARQUET ? "" : ", sample_size = -1",
                       m->file_count > 1 ? ", union_by_name = true" : "");
        status = duck_session_run(m->session, sql, error);
        if (status != TAPE_OK && error != NULL) {
            error_prefix(error, "%s cannot be read", m->files[0].path);
            error->status = error->status == TAPE_SQL ? TAPE_INVALID : error->status;
        }
        free(sql);
    }
    buffer_deinit(&list);
    return status;
}

static tape_status check_select(tape_import *m, tape_error *error) {
    function_list forbidden = {0};
    admitted a = {0};
    tape_status status = schema_create(m->session, false, error);
    if (status == TAPE_OK) {
        status = admit_list_functions(m->session, &forbidden, error);
    }
    if (status == TAPE_OK) {
        status = admit(m->session, &forbidden, m->select, false, &a, error);
        if (status == TAPE_FORBIDDEN && error != NULL) {
            error->status = status = TAPE_INVALID;
            error_prefix(error, "the select must be one SELECT over the relation input");
        }
    }
    admitted_deinit(&a);
    function_list_deinit(&forbidden);
    return status;
}

static void take_number(void *context, const char *text) {
    *(uint64_t *)context += strtoull(text, NULL, 10);
}

static void count_parquet_rows(tape_import *m, const char *path) {
    char *quoted = duck_quote(path);
    char *sql = mem_printf("SELECT num_rows FROM parquet_file_metadata(%s)", quoted);
    tape_error ignored;
    if (duck_session_each(m->session, sql, take_number, &m->rows_expected, &ignored) != TAPE_OK) {
        m->rows_expected = 0;
    }
    free(sql);
    free(quoted);
}

static tape_status start_result(tape_import *m, const char *sql, const char *what,
                                tape_error *error) {
    m->result_row = m->row;
    tape_status status = duck_session_start(m->session, sql, &m->result, error);
    if (status == TAPE_OK) {
        status = value_source_open(&m->values, m->result, what, m->table, error);
    }
    return status;
}

static tape_status open_select(tape_import *m, tape_error *error) {
    char **paths = mem_zalloc(m->file_count * sizeof *paths);
    tape_status status = TAPE_OK;
    for (size_t n = 1; n < m->file_count; n++) {
        if (m->files[n].kind != m->files[0].kind) {
            status = error_set(error, TAPE_INVALID,
                               "with a select all files must be of one kind: %s and %s are not",
                               m->files[0].path, m->files[n].path);
            goto out;
        }
    }
    status = check_select(m, error);
    for (size_t n = 0; n < m->file_count && status == TAPE_OK; n++) {
        status = ready_file(m, &m->files[n], &paths[n], error);
        if (status == TAPE_OK && m->files[n].kind == IMPORT_PARQUET) {
            count_parquet_rows(m, paths[n]);
        }
    }
    if (status == TAPE_OK) {
        status = create_input(m, paths, error);
    }
    if (status == TAPE_OK) {
        status = start_result(m, m->select, "the select gives", error);
    }
out:
    for (size_t n = 0; n < m->file_count; n++) {
        free(paths[n]);
    }
    free(paths);
    return status;
}

/* --- file after file --- */

static void close_file(tape_import *m) {
    row_source_close(&m->rows);
    value_source_close(&m->values);
    duck_result_close(&m->result);
    if (m->unpacked != NULL) {
        tape_error ignored;
        if (os_remove(os_disk_linux(), m->unpacked, &ignored) != TAPE_OK) {
            log_line(LOG_WARN, "%s", ignored.text);
        }
        free(m->unpacked);
        m->unpacked = NULL;
    }
}

static tape_status open_parquet(tape_import *m, const import_file *file, tape_error *error) {
    char *path = NULL;
    tape_status status = ready_file(m, file, &path, error);
    if (status != TAPE_OK) {
        return status;
    }
    char *quoted = duck_quote(path);
    char *sql = mem_printf("FROM read_parquet(%s)", quoted);
    char *what = mem_printf("%s has", file->path);
    if (strcmp(path, file->path) != 0) {
        m->unpacked = mem_strdup(path);
    }
    m->rows_expected = 0;
    count_parquet_rows(m, path);
    status = start_result(m, sql, what, error);
    if (status == TAPE_SQL && error != NULL) {
        error_prefix(error, "%s cannot be read", file->path);
        error->status = status = TAPE_INVALID;
    }
    free(what);
    free(sql);
    free(quoted);
    free(path);
    return status;
}

static tape_status open_file(tape_import *m, tape_error *error) {
    const import_file *file = &m->files[m->file];
    return file->kind == IMPORT_PARQUET ? open_parquet(m, file, error)
                                        : row_source_open(&m->rows, file, m->table, error);
}

static void note_progress(tape_import *m) {
    double share = -1;
    if (m->ended) {
        share = 1;
    } else if (m->rows != NULL) {
        share = m->bytes_total == 0 ? -1
                                    : (double)(m->bytes_done + row_source_position(m->rows)) /
                                          (double)m->bytes_total;
    } else if (m->result != NULL && m->rows_expected > 0) {
        /* A select may give fewer rows than it reads, or more. */
        double part = (double)(m->row - m->result_row) / (double)m->rows_expected;
        part = part > 1 ? 1 : part;
        share = m->select != NULL
                    ? part
                    : ((double)m->bytes_done + part * (double)m->files[m->file].size_bytes) /
                          (double)m->bytes_total;
    }
    if (share >= 0) {
        share = share > 1 ? 1 : share;
        atomic_store_explicit(&m->progress_millionths, (uint64_t)(share * 1e6),
                              memory_order_relaxed);
        atomic_store_explicit(&m->progress_known, true, memory_order_relaxed);
    }
}

/* --- open and close --- */

void tape_import_options_init(tape_import_options *options) {
    *options = (tape_import_options){.size_bytes = sizeof *options};
}

static tape_status take_options(tape_import *m, const tape_import_options *options,
                                tape_error *error) {
    if (options->size_bytes != sizeof *options) {
        return error_set(error, TAPE_INVALID,
                         "the import's options are not those of tape_import_options_init");
    }
    m->table = record_table(options->table);
    if (m->table == NULL) {
        return error_set(error, TAPE_INVALID, "there is no table %u", options->table);
    }
    if (options->path_count == 0) {
        return error_set(error, TAPE_INVALID, "there is no file to import");
    }
    m->skip = options->skip;
    m->select = options->select == NULL ? NULL : mem_strdup(options->select);
    m->files = mem_zalloc(options->path_count * sizeof *m->files);
    for (size_t n = 0; n < options->path_count; n++) {
        m->file_count++;
        tape_status status = import_file_init(&m->files[n], options->paths[n], error);
        if (status != TAPE_OK) {
            return status;
        }
        m->bytes_total += m->files[n].size_bytes;
    }
    m->batch = mem_alloc((size_t)BATCH_ROWS * m->table->size_bytes);
    return TAPE_OK;
}

tape_status tape_import_open(const tape_import_options *options, tape_import **out,
                             tape_error *error) {
    tape_import *m = mem_zalloc(sizeof *m);
    tape_error unwanted;
    bool needs_duck = options->select != NULL;
    *out = NULL;
    error = error == NULL ? &unwanted : error;
    tape_status status = take_options(m, options, error);
    for (size_t n = 0; n < m->file_count; n++) {
        needs_duck = needs_duck || m->files[n].kind == IMPORT_PARQUET;
    }
    if (status == TAPE_OK && needs_duck) {
        status = make_temp_dir(m, error);
        if (status == TAPE_OK) {
            status = open_duck(m, error);
        }
    }
    if (status == TAPE_OK) {
        status = m->select != NULL ? open_select(m, error) : open_file(m, error);
    }
    if (status != TAPE_OK) {
        tape_import_close(&m);
    }
    *out = m;
    return status;
}

void tape_import_close(tape_import **import) {
    tape_import *m = *import;
    *import = NULL;
    if (m == NULL) {
        return;
    }
    close_file(m);
    duck_session_close(&m->session);
    duck_close(&m->duck);
    remove_temp_dir(m);
    for (size_t n = 0; n < m->file_count; n++) {
        free(m->files[n].path);
    }
    free(m->files);
    free(m->select);
    free(m->batch);
    free(m);
}

/* --- rows --- */

/* One row of the file being read. */
static row_outcome read_row(tape_import *m, void *record) {
    return m->rows != NULL ? row_source_next(m->rows, record, &m->problem, &m->error)
                           : value_source_next(m->values, record, &m->problem, &m->error);
}

/* The next row, of this file or a later one. */
static row_outcome next_row(tape_import *m, void *record) {
    for (;;) {
        row_outcome outcome = read_row(m, record);
        if (outcome == ROW_FAIL && m->error.status == TAPE_SQL && m->select == NULL) {
            m->error.status = TAPE_INVALID;
            error_prefix(&m->error, "%s cannot be read", m->files[m->file].path);
        }
        if (outcome != ROW_END) {
            return outcome;
        }
        close_file(m);
        m->bytes_done += m->files[m->file].size_bytes;
        m->file++;
        if (m->select != NULL || m->file == m->file_count) {
            return ROW_END;
        }
        if (open_file(m, &m->error) != TAPE_OK) {
            return ROW_FAIL;
        }
    }
}

static void fill_batch(tape_import *m) {
    m->batch_at = 0;
    m->batch_rows = 0;
    while (m->batch_rows < BATCH_ROWS) {
        bool wanted = m->row >= m->skip;
        void *record = m->batch + m->batch_rows * m->table->size_bytes;
        row_outcome outcome = next_row(m, wanted ? record : NULL);
        m->row += outcome == ROW_GOOD || outcome == ROW_BAD;
        if (outcome == ROW_GOOD && wanted) {
            m->batch_row = m->batch_rows == 0 ? m->row : m->batch_row;
            m->batch_rows++;
        } else if (outcome == ROW_BAD) {
            m->bad = true;
            break;
        } else if (outcome == ROW_END || outcome == ROW_FAIL) {
            m->ended = true;
            break;
        }
    }
    note_progress(m);
}

static void tell_problem(tape_import *m, tape_import_reject *reject) {
    m->bad = false;
    reject->row = m->row;
    memcpy(reject->column, m->problem.column, sizeof reject->column);
    memcpy(reject->value, m->problem.value, sizeof reject->value);
    memcpy(reject->reason, m->problem.reason, sizeof reject->reason);
    reject->line = m->problem.line;
    reject->header = m->problem.header;
}

tape_status tape_import_next(tape_import *m, size_t max, const void **records, size_t *count,
                             uint64_t *first_row, tape_import_reject *reject, tape_error *error) {
    *reject = (tape_import_reject){.line = "", .header = ""};
    *records = NULL;
    *count = 0;
    *first_row = 0;
    if (m->batch_at == m->batch_rows && !m->bad && !m->ended) {
        fill_batch(m);
    }
    size_t left = m->batch_rows - m->batch_at;
    if (left > 0) {
        *count = left < max ? left : max;
        *records = m->batch + m->batch_at * m->table->size_bytes;
        *first_row = m->batch_row + m->batch_at;
        m->batch_at += *count;
        return TAPE_OK;
    }
    if (m->bad) {
        tell_problem(m, reject);
        return TAPE_OK;
    }
    if (m->error.status != TAPE_OK && error != NULL) {
        *error = m->error;
    }
    return m->error.status;
}

double tape_import_progress(tape_import *m) {
    if (!atomic_load_explicit(&m->progress_known, memory_order_relaxed)) {
        return -1;
    }
    return (double)atomic_load_explicit(&m->progress_millionths, memory_order_relaxed) / 1e6;
}
