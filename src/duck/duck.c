/* Duck: databases, sessions, errors.
 *
 * Threads: a duck's session list has a mutex; a session belongs to one thread at a time but for
 * duck_session_interrupt and duck_session_progress.
 * Failure: DuckDB's message is condensed to one line and its kind decides the status. */
#include "duck/vector_store.h"

#include <stdio.h>
#include <stdlib.h>

/* --- errors --- */

static tape_status status_of_text(const char *text) {
    static const struct {
        const char *prefix;
        tape_status status;
    } KINDS[] = {
        {"Permission Error", TAPE_FORBIDDEN}, {"Out of Memory Error", TAPE_NO_MEMORY},
        {"INTERRUPT Error", TAPE_CANCELLED},  {"Interrupt Error", TAPE_CANCELLED},
        {"FATAL Error", TAPE_FAILED},         {"INTERNAL Error", TAPE_FAILED},
    };
    for (size_t n = 0; n < COUNT_OF(KINDS); n++) {
        if (strncmp(text, KINDS[n].prefix, strlen(KINDS[n].prefix)) == 0) {
            return KINDS[n].status;
        }
    }
    return TAPE_SQL;
}

/* Up to the picture of the statement that DuckDB draws below its message; its first line tells
 * where. Returns the line's number, or 0. */
static unsigned cut_picture(char *text) {
    unsigned line = 0;
    char *picture = strstr(text, "\n\nLINE ");
    if (picture != NULL) {
        (void)sscanf(picture, "\n\nLINE %u", &line);
        *picture = '\0';
    }
    return line;
}

static void squeeze_blanks(char *text) {
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        bool blank = (unsigned char)*from <= ' ';
        if (!blank) {
            *to++ = *from;
        } else if (to > text && to[-1] != ' ') {
            *to++ = ' ';
        }
    }
    while (to > text && to[-1] == ' ') {
        to--;
    }
    *to = '\0';
}

tape_status duck_fail(tape_error *error, const char *text) {
    if (text == NULL || *text == '\0') {
        return error_set(error, TAPE_SQL, "DuckDB failed without saying why");
    }
    tape_status status = status_of_text(text);
    char *copy = mem_strdup(text);
    unsigned line = cut_picture(copy);
    if (status == TAPE_NO_MEMORY) {
        copy[strcspn(copy, "\n")] = '\0';
        (void)error_set(error, status,
                        "%s: make the statement smaller or allow queries more memory", copy);
        goto out;
    }
    squeeze_blanks(copy);
    /* Advice to change a setting, which a statement cannot. */
    char *advice = strstr(copy, " Use \"SET ");
    if (advice != NULL) {
        *advice = '\0';
    }
    if (line > 1) {
        (void)error_set(error, status, "%s (line %u)", copy, line);
    } else {
        (void)error_set(error, status, "%s", copy);
    }
out:
    free(copy);
    return status;
}

char *duck_quote(const char *text) {
    buffer b = {0};
    buffer_append(&b, "'", 1);
    for (; *text != '\0'; text++) {
        buffer_append(&b, *text == '\'' ? "''" : text, *text == '\'' ? 2 : 1);
    }
    buffer_append(&b, "'", 2);
    return (char *)b.data;
}

/* --- databases --- */

static tape_status open_database(duck *d, const duck_options *options, tape_error *error) {
    char memory[32];
    char threads[16];
    (void)snprintf(memory, sizeof memory, "%lluB", (unsigned long long)options->memory_bytes);
    (void)snprintf(threads, sizeof threads, "%d", d->threads);
    const char *const settings[][2] = {
        {"memory_limit", memory},
        {"threads", threads},
        {"autoinstall_known_extensions", "false"},
        {"autoload_known_extensions", "false"},
        {"allow_community_extensions", "false"},
        {"allow_persistent_secrets", "false"},
    };
    duckdb_config config = NULL;
    char *text = NULL;
    tape_status status = TAPE_OK;
    if (duckdb_create_config(&config) != DuckDBSuccess) {
        status = error_set(error, TAPE_NO_MEMORY, "no memory to open DuckDB");
        goto out;
    }
    for (size_t n = 0; n < COUNT_OF(settings); n++) {
        if (duckdb_set_config(config, settings[n][0], settings[n][1]) != DuckDBSuccess) {
            status = error_set(error, TAPE_FAILED, "this DuckDB does not know the setting %s = %s",
                               settings[n][0], settings[n][1]);
            goto out;
        }
    }
    if (duckdb_open_ext(NULL, &d->database, config, &text) != DuckDBSuccess) {
        status = duck_fail(error, text);
        error_prefix(error, "DuckDB does not open");
    }
out:
    duckdb_free(text);
    duckdb_destroy_config(&config);
    return status;
}

static void append_list(buffer *b, const char *setting, const char *const *values, size_t count) {
    buffer_printf(b, "SET %s = [", setting);
    for (size_t n = 0; n < count; n++) {
        char *quoted = duck_quote(values[n]);
        buffer_printf(b, "%s%s", n == 0 ? "" : ", ", quoted);
        free(quoted);
    }
    buffer_append_text(b, "];");
}

static tape_status register_functions(duck *d, duckdb_connection connection, tape_error *error) {
    bool done = (d->columns == NULL ||
                 (duck_register_scan(d, connection) && duck_register_superseded(d, connection))) &&
                (d->stats == NULL || duck_register_status(d, connection));
    return done ? TAPE_OK
                : error_set(error, TAPE_FAILED, "this DuckDB does not take tape's own functions");
}

/* Closes the database to everything outside but the named files, the named directories and the
 * spill directory, and nails the settings down. */
static tape_status lock_down(duck_session *s, const duck_options *options, tape_error *error) {
    buffer b = {0};
    buffer_append_text(&b, "SET TimeZone = 'UTC'; SET produce_arrow_string_view = false;"
                           "SET arrow_large_buffer_size = false;"
                           "SET preserve_insertion_order = true;");
    if (options->path_count > 0) {
        append_list(&b, "allowed_paths", options->paths, options->path_count);
    }
    size_t count = 0;
    const char **directories = mem_alloc((options->directory_count + 1) * sizeof *directories);
    for (; count < options->directory_count; count++) {
        directories[count] = options->directories[count];
    }
    if (options->temp_dir != NULL) {
        directories[count++] = options->temp_dir;
    }
    if (count > 0) {
        append_list(&b, "allowed_directories", directories, count);
    }
    char *temp_dir = duck_quote(options->temp_dir == NULL ? "" : options->temp_dir);
    buffer_printf(&b, "SET temp_directory = %s;", temp_dir);
    free(temp_dir);
    free(directories);
    /* Sessions ask for progress one by one: see session_tell_progress. */
    buffer_append_text(&b, "SET allowed_configs = ['enable_progress_bar', "
                           "'enable_progress_bar_print', 'progress_bar_time'];"
                           "SET enable_external_access = false; SET lock_configuration = true");
    buffer_append(&b, "", 1);
    tape_status status = duck_session_run(s, (const char *)b.data, error);
    buffer_deinit(&b);
    return status;
}

tape_status duck_open(duck **out, const duck_options *options, tape_error *error) {
    duck *d = mem_zalloc(sizeof *d);
    duck_session *s = NULL;
    *out = NULL;
    (void)pthread_mutex_init(&d->mutex, NULL);
    (void)pthread_mutex_init(&d->adding, NULL);
    d->columns = options->columns;
    d->stats = options->stats;
    d->stats_context = options->stats_context;
    d->threads = options->threads > 0 ? options->threads : os_cpu_count();
    tape_status status = open_database(d, options, error);
    if (status != TAPE_OK) {
        goto out;
    }
    d->vectors = d->columns == NULL ? NULL : vector_store_create(d->database);
    status = duck_session_open(d, &s, error);
    if (status != TAPE_OK) {
        goto out;
    }
    status = register_functions(d, s->connection, error);
    if (status == TAPE_OK) {
        status = lock_down(s, options, error);
    }
    duck_session_close(&s);
out:
    if (status != TAPE_OK) {
        duck_close(&d);
    }
    *out = d;
    return status;
}

void duck_close(duck **handle) {
    duck *d = *handle;
    *handle = NULL;
    if (d == NULL) {
        return;
    }
    ASSERT(d->sessions == NULL);
    vector_store_close(&d->vectors);
    duckdb_close(&d->database);
    duck_aggregate *g = atomic_load(&d->aggregates);
    while (g != NULL) {
        duck_aggregate *next = g->next;
        free(g);
        g = next;
    }
    (void)pthread_mutex_destroy(&d->mutex);
    (void)pthread_mutex_destroy(&d->adding);
    free(d);
}

/* --- sessions --- */

/* DuckDB counts what a statement has done only where a bar is wanted, which it is not to print. */
static tape_status session_tell_progress(duck_session *s, tape_error *error) {
    return duck_session_run(s,
                            "SET enable_progress_bar = true; SET enable_progress_bar_print = false;"
                            "SET progress_bar_time = 0",
                            error);
}

tape_status duck_session_open(duck *d, duck_session **out, tape_error *error) {
    duck_session *s = mem_zalloc(sizeof *s);
    *out = NULL;
    s->duck = d;
    if (duckdb_connect(d->database, &s->connection) != DuckDBSuccess) {
        free(s);
        return error_set(error, TAPE_NO_MEMORY, "DuckDB opens no further connection");
    }
    duckdb_client_context context;
    duckdb_connection_get_client_context(s->connection, &context);
    s->connection_id = duckdb_client_context_get_connection_id(context);
    duckdb_destroy_client_context(&context);
    (void)pthread_mutex_lock(&d->mutex);
    s->next = d->sessions;
    d->sessions = s;
    (void)pthread_mutex_unlock(&d->mutex);
    tape_status status = session_tell_progress(s, error);
    if (status != TAPE_OK) {
        duck_session_close(&s);
    }
    *out = s;
    return status;
}

void duck_session_close(duck_session **handle) {
    duck_session *s = *handle;
    *handle = NULL;
    if (s == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&s->duck->mutex);
    duck_session **link = &s->duck->sessions;
    while (*link != s) {
        link = &(*link)->next;
    }
    *link = s->next;
    (void)pthread_mutex_unlock(&s->duck->mutex);
    duckdb_destroy_prepare(&s->parser);
    duckdb_disconnect(&s->connection);
    free(s);
}

duck_session *duck_find_session(duck *d, idx_t connection_id) {
    (void)pthread_mutex_lock(&d->mutex);
    duck_session *s = d->sessions;
    while (s != NULL && s->connection_id != connection_id) {
        s = s->next;
    }
    (void)pthread_mutex_unlock(&d->mutex);
    return s;
}

static duck_session *session_of(duck *d, duckdb_client_context *context) {
    duck_session *s = duck_find_session(d, duckdb_client_context_get_connection_id(*context));
    duckdb_destroy_client_context(context);
    return s;
}

duck_session *duck_bound_session(duck *d, duckdb_bind_info info) {
    duckdb_client_context context;
    duckdb_table_function_get_client_context(info, &context);
    return session_of(d, &context);
}

duck_session *duck_scalar_bound_session(duck *d, duckdb_bind_info info) {
    duckdb_client_context context;
    duckdb_scalar_function_get_client_context(info, &context);
    return session_of(d, &context);
}

void duck_session_see(duck_session *s, uint64_t after, uint64_t seq) {
    atomic_store_explicit(&s->after, after, memory_order_relaxed);
    atomic_store_explicit(&s->seq, seq, memory_order_release);
}

void duck_session_hint(duck_session *s, uint16_t table, const columns_hint *hint) {
    ASSERT(table >= 1 && table <= TAPE_TABLE_COUNT);
    atomic_store_explicit(&s->hints[table], hint, memory_order_release);
}

tape_status duck_session_set(duck_session *s, const char *name, const char *text,
                             tape_error *error) {
    char *quoted = duck_quote(text);
    char *sql = mem_printf("SET VARIABLE \"%s\" = %s", name, quoted);
    tape_status status = duck_session_run(s, sql, error);
    free(sql);
    free(quoted);
    return status;
}

void duck_session_interrupt(duck_session *s) {
    atomic_store(&s->interrupted, true);
    duckdb_interrupt(s->connection);
}

void duck_forget_progress(duck_session *s) {
    atomic_store_explicit(&s->scan_rows, 0, memory_order_relaxed);
    atomic_store_explicit(&s->scanned_rows, 0, memory_order_relaxed);
}

/* DuckDB does not know how far scans of the columns are, nor they how far anything else is: whoever
 * has come further is believed. */
double duck_session_progress(duck_session *s) {
    double told = duckdb_query_progress(s->connection).percentage / 100;
    uint64_t rows = atomic_load_explicit(&s->scan_rows, memory_order_relaxed);
    uint64_t scanned = atomic_load_explicit(&s->scanned_rows, memory_order_relaxed);
    double share = rows == 0 ? -1 : (double)scanned / (double)rows;
    share = told > share ? told : share;
    return share < 0 ? -1 : share;
}

tape_status duck_session_each(duck_session *s, const char *sql,
                              void (*visit)(void *context, const char *text), void *context,
                              tape_error *error) {
    duckdb_result result;
    tape_status status = TAPE_OK;
    if (duckdb_query(s->connection, sql, &result) != DuckDBSuccess) {
        status = duck_fail(error, duckdb_result_error(&result));
        goto out;
    }
    for (idx_t row = 0; visit != NULL && row < duckdb_row_count(&result); row++) {
        char *text = duckdb_value_varchar(&result, 0, row);
        visit(context, text == NULL ? "" : text);
        duckdb_free(text);
    }
out:
    duckdb_destroy_result(&result);
    return status;
}

tape_status duck_session_run(duck_session *s, const char *sql, tape_error *error) {
    return duck_session_each(s, sql, NULL, NULL, error);
}

tape_status duck_session_parse(duck_session *s, const char *sql, size_t size, char **tree,
                               tape_error *error) {
    duckdb_result result = {0};
    tape_status status = TAPE_OK;
    *tree = NULL;
    if (s->parser == NULL && duckdb_prepare(s->connection, "SELECT json_serialize_sql($1::VARCHAR)",
                                            &s->parser) != DuckDBSuccess) {
        status = duck_fail(error, duckdb_prepare_error(s->parser));
        duckdb_destroy_prepare(&s->parser);
        return status;
    }
    if (duckdb_bind_varchar_length(s->parser, 1, sql, size) != DuckDBSuccess) {
        return error_set(error, TAPE_SQL, "the statement is not valid UTF-8");
    }
    if (duckdb_execute_prepared(s->parser, &result) != DuckDBSuccess) {
        status = duck_fail(error, duckdb_result_error(&result));
    } else {
        char *text = duckdb_value_varchar(&result, 0, 0);
        *tree = mem_strdup(text == NULL ? "" : text);
        duckdb_free(text);
        status = duck_check_tree(s->duck, *tree, error);
    }
    if (status != TAPE_OK) {
        free(*tree);
        *tree = NULL;
    }
    duckdb_destroy_result(&result);
    return status;
}
