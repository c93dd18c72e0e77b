/* Duck: scalar functions and aggregates of the user's.
 *
 * Invariants
 *  U1 A user's code sees arrays by row and never a type of DuckDB's; text is lent for the call.
 *  U2 Text that comes back is copied, and it is UTF-8 or the statement fails.
 *  U3 The state of an aggregate with a destructor is preceded by a pointer to the aggregate: DuckDB
 *     tells a destructor nothing else.
 * Threads: calls come on DuckDB's threads, several at once; functions are added one at a time.
 * Failure: a status of the user's ends the statement with the text; duck_add_... change nothing. */
#include "duck/duck_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define ARGUMENTS_MAX 64u
#define NAME_BYTES_MAX 63u
#define STATE_BYTES_MAX MIB(1)
#define STATE_ALIGN 8u

/* --- results --- */

struct tape_results {
    tape_type type;
    duckdb_vector vector;
    uint64_t *validity; /* once there is one */
    size_t offset;      /* of row 0 in the vector */
    size_t rows;
    bool not_utf8;
};

static size_t value_bytes(tape_type type) {
    switch (type) {
    case TAPE_TYPE_BOOL:
        return sizeof(bool);
    case TAPE_TYPE_TEXT:
        return sizeof(tape_text);
    default:
        return sizeof(uint64_t);
    }
}

static void results_init(tape_results *r, tape_type type, duckdb_vector vector, size_t offset,
                         size_t rows) {
    *r = (tape_results){.type = type, .vector = vector, .offset = offset, .rows = rows};
    if (type == TAPE_TYPE_TEXT) {
        /* A row that is never set is an empty text, not a wild pointer. */
        duckdb_string_t *texts = duckdb_vector_get_data(vector);
        memset(texts + offset, 0, rows * sizeof *texts);
    }
}

void tape_results_set_null(tape_results *results, size_t row) {
    ASSERT(row < results->rows);
    if (results->validity == NULL) {
        duckdb_vector_ensure_validity_writable(results->vector);
        results->validity = duckdb_vector_get_validity(results->vector);
    }
    duckdb_validity_set_row_invalid(results->validity, results->offset + row);
}

void *tape_results_values(tape_results *results) {
    if (results->type == TAPE_TYPE_TEXT) {
        return NULL;
    }
    char *data = duckdb_vector_get_data(results->vector);
    return data + results->offset * value_bytes(results->type);
}

/* The length of the UTF-8 sequence at `text`, 0 when it is none. */
static size_t utf8_sequence(const uint8_t *text, size_t size) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = text[0] < 0x80   ? 1
                    : text[0] < 0xc2 ? 0
                    : text[0] < 0xe0 ? 2
                    : text[0] < 0xf0 ? 3
                    : text[0] < 0xf5 ? 4
                                     : 0;
    if (length <= 1 || length > size) {
        return length <= size ? length : 0;
    }
    uint32_t point = text[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
        point = point << 6 | (text[i] & 0x3f);
    }
    bool surrogate = point >= 0xd800 && point < 0xe000;
    return point < least[length] || point > 0x10ffff || surrogate ? 0 : length;
}

static bool is_utf8(const char *data, size_t size) {
    const uint8_t *text = (const uint8_t *)data;
    for (size_t at = 0; at < size;) {
        if (size - at >= 8 && (load_u64(text + at) & UINT64_C(0x8080808080808080)) == 0) {
            at += 8;
            continue;
        }
        size_t length = utf8_sequence(text + at, size - at);
        if (length == 0) {
            return false;
        }
        at += length;
    }
    return true;
}

void tape_results_set_text(tape_results *results, size_t row, const char *data, size_t size_bytes) {
    ASSERT(row < results->rows && results->type == TAPE_TYPE_TEXT);
    if (!is_utf8(data, size_bytes) || size_bytes > UINT32_MAX) {
        results->not_utf8 = true;
        return;
    }
    duckdb_vector_assign_string_element_len(results->vector, results->offset + row,
                                            size_bytes == 0 ? "" : data, size_bytes);
}

/* What a call came to, as one line, or NULL; caller frees. */
static char *call_problem(const char *name, tape_status status, const tape_error *error,
                          const tape_results *results) {
    if (status != TAPE_OK) {
        return mem_printf("%s: %s", name,
                          error->text[0] != '\0' ? error->text : tape_status_name(status));
    }
    if (results != NULL && results->not_utf8) {
        return mem_printf("%s: its result is not valid UTF-8", name);
    }
    return NULL;
}

/* --- arguments --- */

typedef struct arguments {
    tape_vector vectors[ARGUMENTS_MAX];
    void *blocks[ARGUMENTS_MAX]; /* what had to be made for them */
    size_t count;
} arguments;

static bool row_valid(const uint64_t *validity, size_t row) {
    return validity == NULL || (validity[row / 64] >> (row % 64) & 1) != 0;
}

static void *texts_of(duckdb_string_t *from, const uint64_t *validity, const uint32_t *picked,
                      size_t count) {
    tape_text *texts = mem_alloc((count + 1) * sizeof *texts);
    for (size_t i = 0; i < count; i++) {
        size_t row = picked == NULL ? i : picked[i];
        texts[i] = (tape_text){.data = ""};
        if (row_valid(validity, row)) {
            texts[i].data = duckdb_string_t_data(&from[row]);
            texts[i].size_bytes = duckdb_string_t_length(from[row]);
        }
    }
    return texts;
}

static void *words_of(const void *from, size_t bytes, const uint32_t *picked, size_t count) {
    char *to = mem_alloc((count + 1) * bytes);
    for (size_t i = 0; i < count; i++) {
        memcpy(to + i * bytes, (const char *)from + picked[i] * bytes, bytes);
    }
    return to;
}

/* The arguments' rows, or those that are picked (none of which is NULL). */
static void arguments_init(arguments *a, const tape_type *types, size_t argument_count,
                           duckdb_data_chunk input, const uint32_t *picked, size_t rows) {
    a->count = argument_count;
    for (size_t n = 0; n < argument_count; n++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(input, n);
        void *data = duckdb_vector_get_data(vector);
        const uint64_t *validity = duckdb_vector_get_validity(vector);
        a->blocks[n] = NULL;
        if (types[n] == TAPE_TYPE_TEXT) {
            a->blocks[n] = texts_of(data, validity, picked, rows);
        } else if (picked != NULL) {
            a->blocks[n] = words_of(data, value_bytes(types[n]), picked, rows);
        }
        a->vectors[n] = (tape_vector){.type = types[n],
                                      .values = a->blocks[n] == NULL ? data : a->blocks[n],
                                      .valid = picked == NULL ? validity : NULL};
    }
}

static void arguments_deinit(arguments *a) {
    for (size_t n = 0; n < a->count; n++) {
        free(a->blocks[n]);
    }
}

/* --- scalar functions --- */

static void set_null_rows(tape_results *results, const arguments *a) {
    for (size_t n = 0; n < a->count; n++) {
        const uint64_t *valid = a->vectors[n].valid;
        for (size_t row = 0; valid != NULL && row < results->rows; row++) {
            if (!row_valid(valid, row)) {
                tape_results_set_null(results, row);
            }
        }
    }
}

static void function_run(duckdb_function_info info, duckdb_data_chunk input, duckdb_vector output) {
    const tape_function *f = duckdb_scalar_function_get_extra_info(info);
    size_t rows = duckdb_data_chunk_get_size(input);
    tape_results results;
    arguments a;
    tape_error error = {0};
    arguments_init(&a, f->arguments, f->argument_count, input, NULL, rows);
    results_init(&results, f->result, output, 0, rows);
    tape_status status = f->call(f->context, a.vectors, rows, &results, &error);
    char *problem = call_problem(f->name, status, &error, &results);
    if (problem != NULL) {
        duckdb_scalar_function_set_error(info, problem);
    } else if (!f->takes_null) {
        set_null_rows(&results, &a);
    }
    free(problem);
    arguments_deinit(&a);
}

/* --- aggregates --- */

static size_t state_header_bytes(const tape_aggregate *g) {
    return g->destroy == NULL ? 0 : sizeof(tape_aggregate *);
}

static idx_t aggregate_state_bytes(duckdb_function_info info) {
    const tape_aggregate *g = duckdb_aggregate_function_get_extra_info(info);
    size_t bytes = state_header_bytes(g) + ALIGN_UP(g->state_bytes, STATE_ALIGN);
    return bytes == 0 ? STATE_ALIGN : bytes;
}

static void aggregate_init(duckdb_function_info info, duckdb_aggregate_state state) {
    const tape_aggregate *g = duckdb_aggregate_function_get_extra_info(info);
    ASSERT((uintptr_t)state % STATE_ALIGN == 0);
    memset((void *)state, 0, aggregate_state_bytes(info));
    if (g->destroy != NULL) {
        memcpy((void *)state, &g, sizeof g);
    }
}

/* The user's part of states, those that are picked or all; caller frees. */
static void **states_of(const tape_aggregate *g, const duckdb_aggregate_state *from,
                        const uint32_t *picked, size_t count) {
    void **states = mem_alloc((count + 1) * sizeof *states);
    for (size_t i = 0; i < count; i++) {
        states[i] = (char *)from[picked == NULL ? i : picked[i]] + state_header_bytes(g);
    }
    return states;
}

static void aggregate_fail(duckdb_function_info info, const tape_aggregate *g, tape_status status,
                           const tape_error *error, const tape_results *results) {
    char *problem = call_problem(g->name, status, error, results);
    if (problem != NULL) {
        duckdb_aggregate_function_set_error(info, problem);
    }
    free(problem);
}

/* The rows without a NULL among the arguments; NULL when that is all of them. Caller frees. */
static uint32_t *rows_without_null(duckdb_data_chunk input, size_t argument_count, size_t rows,
                                   size_t *count) {
    const uint64_t *masks[ARGUMENTS_MAX];
    size_t mask_count = 0;
    for (size_t n = 0; n < argument_count; n++) {
        const uint64_t *validity =
            duckdb_vector_get_validity(duckdb_data_chunk_get_vector(input, n));
        if (validity != NULL) {
            masks[mask_count++] = validity;
        }
    }
    *count = rows;
    if (mask_count == 0) {
        return NULL;
    }
    uint32_t *picked = mem_alloc((rows + 1) * sizeof *picked);
    *count = 0;
    for (size_t row = 0; row < rows; row++) {
        bool valid = true;
        for (size_t n = 0; n < mask_count; n++) {
            valid = valid && row_valid(masks[n], row);
        }
        picked[*count] = (uint32_t)row;
        *count += valid;
    }
    return picked;
}

static void aggregate_update(duckdb_function_info info, duckdb_data_chunk input,
                             duckdb_aggregate_state *from) {
    const tape_aggregate *g = duckdb_aggregate_function_get_extra_info(info);
    size_t count = duckdb_data_chunk_get_size(input);
    uint32_t *picked =
        g->takes_null ? NULL : rows_without_null(input, g->argument_count, count, &count);
    arguments a;
    tape_error error = {0};
    arguments_init(&a, g->arguments, g->argument_count, input, picked, count);
    void **states = states_of(g, from, picked, count);
    tape_status status =
        count == 0 ? TAPE_OK : g->update(g->context, a.vectors, count, states, &error);
    aggregate_fail(info, g, status, &error, NULL);
    free(states);
    arguments_deinit(&a);
    free(picked);
    DUCK_HAND_ON(g);
}

static void aggregate_combine(duckdb_function_info info, duckdb_aggregate_state *from,
                              duckdb_aggregate_state *to, idx_t count) {
    const tape_aggregate *g = duckdb_aggregate_function_get_extra_info(info);
    DUCK_TAKE_OVER(g);
    void **sources = states_of(g, from, NULL, count);
    void **targets = states_of(g, to, NULL, count);
    tape_error error = {0};
    tape_status status = g->combine(g->context, sources, targets, count, &error);
    aggregate_fail(info, g, status, &error, NULL);
    free(targets);
    free(sources);
    DUCK_HAND_ON(g);
}

static void aggregate_finish(duckdb_function_info info, duckdb_aggregate_state *from,
                             duckdb_vector output, idx_t count, idx_t offset) {
    const tape_aggregate *g = duckdb_aggregate_function_get_extra_info(info);
    DUCK_TAKE_OVER(g);
    void **states = states_of(g, from, NULL, count);
    tape_results results;
    tape_error error = {0};
    results_init(&results, g->result, output, offset, count);
    tape_status status = g->finish(g->context, states, count, &results, &error);
    aggregate_fail(info, g, status, &error, &results);
    free(states);
    DUCK_HAND_ON(g);
}

static void aggregate_destroy(duckdb_aggregate_state *from, idx_t count) {
    if (count == 0) {
        return;
    }
    const tape_aggregate *g;
    memcpy(&g, (const void *)from[0], sizeof g);
    DUCK_TAKE_OVER(g);
    void **states = states_of(g, from, NULL, count);
    g->destroy(g->context, states, count);
    free(states);
}

/* --- adding --- */

static duckdb_type duckdb_type_of(tape_type type) {
    switch (type) {
    case TAPE_TYPE_BOOL:
        return DUCKDB_TYPE_BOOLEAN;
    case TAPE_TYPE_INT64:
        return DUCKDB_TYPE_BIGINT;
    case TAPE_TYPE_UINT64:
        return DUCKDB_TYPE_UBIGINT;
    case TAPE_TYPE_DOUBLE:
        return DUCKDB_TYPE_DOUBLE;
    case TAPE_TYPE_TEXT:
        return DUCKDB_TYPE_VARCHAR;
    case TAPE_TYPE_TIME:
        return DUCKDB_TYPE_TIMESTAMP_NS;
    }
    return DUCKDB_TYPE_INVALID;
}

static bool name_is_plain(const char *name) {
    size_t size = strlen(name);
    bool letter = (name[0] >= 'a' && name[0] <= 'z') || name[0] == '_';
    return letter && size <= NAME_BYTES_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == size;
}

static tape_status check_signature(const char *name, const tape_type *types, size_t count,
                                   tape_type result, tape_error *error) {
    if (name == NULL || !name_is_plain(name)) {
        return error_set(error, TAPE_INVALID,
                         "a function's name is up to %u lower-case letters, digits and _, and does "
                         "not begin with a digit: \"%.80s\" is not",
                         NAME_BYTES_MAX, name == NULL ? "" : name);
    }
    if (count > ARGUMENTS_MAX || (count > 0 && types == NULL)) {
        return error_set(error, TAPE_INVALID, "%s: a function has up to %u arguments, not %zu",
                         name, ARGUMENTS_MAX, count);
    }
    for (size_t n = 0; n < count; n++) {
        if (duckdb_type_of(types[n]) == DUCKDB_TYPE_INVALID) {
            return error_set(error, TAPE_INVALID, "%s: argument %zu has no known type: %d", name,
                             n + 1, (int)types[n]);
        }
    }
    if (duckdb_type_of(result) == DUCKDB_TYPE_INVALID) {
        return error_set(error, TAPE_INVALID, "%s: its result has no known type: %d", name,
                         (int)result);
    }
    return TAPE_OK;
}

/* Asks DuckDB what it makes of a call: only a name that it does not know is free. */
static tape_status check_free(duck_session *s, const char *name, tape_error *error) {
    char *sql = mem_printf("SELECT %s()", name);
    char *unknown = mem_printf("Catalog Error: Scalar Function with name %s does not exist", name);
    duckdb_prepared_statement probe = NULL;
    tape_status status = TAPE_OK;
    bool known = duckdb_prepare(s->connection, sql, &probe) == DuckDBSuccess;
    const char *text = known ? NULL : duckdb_prepare_error(probe);
    if (text != NULL && strncmp(text, "Parser Error", strlen("Parser Error")) == 0) {
        tape_error said;
        (void)duck_fail(&said, text);
        status = error_set(error, TAPE_INVALID, "%s cannot be the name of a function: %s", name,
                           said.text);
    } else if (text == NULL || strncmp(text, unknown, strlen(unknown)) != 0) {
        status = error_set(error, TAPE_EXISTS,
                           "there is a function %s already: give yours another name", name);
    }
    duckdb_destroy_prepare(&probe);
    free(unknown);
    free(sql);
    return status;
}

static bool register_function(duck_session *s, const tape_function *function) {
    duckdb_scalar_function f = duckdb_create_scalar_function();
    duckdb_scalar_function_set_name(f, function->name);
    for (size_t n = 0; n < function->argument_count; n++) {
        duckdb_logical_type type =
            duckdb_create_logical_type(duckdb_type_of(function->arguments[n]));
        duckdb_scalar_function_add_parameter(f, type);
        duckdb_destroy_logical_type(&type);
    }
    duckdb_logical_type result = duckdb_create_logical_type(duckdb_type_of(function->result));
    duckdb_scalar_function_set_return_type(f, result);
    duckdb_destroy_logical_type(&result);
    if (function->takes_null) {
        duckdb_scalar_function_set_special_handling(f);
    }
    if (function->changes) {
        duckdb_scalar_function_set_volatile(f);
    }
    duckdb_scalar_function_set_extra_info(f, (void *)(uintptr_t)function, NULL);
    duckdb_scalar_function_set_function(f, function_run);
    bool done = duckdb_register_scalar_function(s->connection, f) == DuckDBSuccess;
    duckdb_destroy_scalar_function(&f);
    return done;
}

static bool register_aggregate(duck_session *s, const tape_aggregate *aggregate) {
    duckdb_aggregate_function f = duckdb_create_aggregate_function();
    duckdb_aggregate_function_set_name(f, aggregate->name);
    for (size_t n = 0; n < aggregate->argument_count; n++) {
        duckdb_logical_type type =
            duckdb_create_logical_type(duckdb_type_of(aggregate->arguments[n]));
        duckdb_aggregate_function_add_parameter(f, type);
        duckdb_destroy_logical_type(&type);
    }
    duckdb_logical_type result = duckdb_create_logical_type(duckdb_type_of(aggregate->result));
    duckdb_aggregate_function_set_return_type(f, result);
    duckdb_destroy_logical_type(&result);
    /* NULLs are left out here; DuckDB would leave out whole calls. */
    duckdb_aggregate_function_set_special_handling(f);
    duckdb_aggregate_function_set_extra_info(f, (void *)(uintptr_t)aggregate, NULL);
    duckdb_aggregate_function_set_functions(f, aggregate_state_bytes, aggregate_init,
                                            aggregate_update, aggregate_combine, aggregate_finish);
    if (aggregate->destroy != NULL) {
        duckdb_aggregate_function_set_destructor(f, aggregate_destroy);
    }
    bool done = duckdb_register_aggregate_function(s->connection, f) == DuckDBSuccess;
    duckdb_destroy_aggregate_function(&f);
    return done;
}

/* One of the two is NULL. */
static tape_status add(duck *d, const tape_function *function, const tape_aggregate *aggregate,
                       tape_error *error) {
    const char *name = function != NULL ? function->name : aggregate->name;
    duck_session *s = NULL;
    (void)pthread_mutex_lock(&d->adding);
    tape_status status = duck_session_open(d, &s, error);
    if (status == TAPE_OK) {
        status = check_free(s, name, error);
    }
    if (status == TAPE_OK) {
        bool done =
            function != NULL ? register_function(s, function) : register_aggregate(s, aggregate);
        if (!done) {
            status = error_set(error, TAPE_INVALID, "DuckDB does not take the function %s", name);
        }
    }
    if (status == TAPE_OK && aggregate != NULL) {
        duck_aggregate *g = mem_zalloc(sizeof *g);
        g->aggregate = aggregate;
        g->next = atomic_load(&d->aggregates);
        atomic_store_explicit(&d->aggregates, g, memory_order_release);
    }
    duck_session_close(&s);
    (void)pthread_mutex_unlock(&d->adding);
    return status;
}

tape_status duck_add_function(duck *d, const tape_function *function, tape_error *error) {
    tape_status status = check_signature(function->name, function->arguments,
                                         function->argument_count, function->result, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (function->call == NULL) {
        return error_set(error, TAPE_INVALID, "%s: there is nothing to call", function->name);
    }
    return add(d, function, NULL, error);
}

tape_status duck_add_aggregate(duck *d, const tape_aggregate *aggregate, tape_error *error) {
    tape_status status = check_signature(aggregate->name, aggregate->arguments,
                                         aggregate->argument_count, aggregate->result, error);
    if (status != TAPE_OK) {
        return status;
    }
    if (aggregate->update == NULL || aggregate->combine == NULL || aggregate->finish == NULL) {
        return error_set(error, TAPE_INVALID,
                         "%s: an aggregate has functions to update, combine and finish",
                         aggregate->name);
    }
    if (aggregate->state_bytes > STATE_BYTES_MAX) {
        return error_set(error, TAPE_INVALID, "%s: a state is at most %llu bytes, not %zu",
                         aggregate->name, (unsigned long long)STATE_BYTES_MAX,
                         aggregate->state_bytes);
    }
    return add(d, NULL, aggregate, error);
}
