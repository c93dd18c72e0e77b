/* PostgreSQL: see peer_postgres.h. */
#include "peer_postgres.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BINARIES "/usr/lib/postgresql/*/bin/postgres"
#define START_SECONDS_MAX 30
#define STATEMENTS_MAX 32
#define COPY_BYTES_MAX (1u << 20)
#define EPOCH_NS INT64_C(946684800000000000) /* PostgreSQL's times count from 2000 */
#define QUERY_CANCELED "57014"
#define OID_INT8 20u
#define OID_FLOAT8 701u
#define OID_TIMESTAMP 1114u

struct postgres {
    pid_t pid;
    char bin[256], dir[512], settings[1024];
    PGconn *connection, *appending;
    const char *statements[STATEMENTS_MAX];
    uint8_t *copy; /* rows on their way */
    size_t copy_bytes;
};

/* --- the server --- */

/* Who is to run it: PostgreSQL refuses root. */
static const struct passwd *user_for(void) {
    if (getuid() != 0) {
        return NULL;
    }
    const struct passwd *user = getpwnam("postgres");
    return user != NULL ? user : getpwnam("nobody");
}

/* In a child: becomes that user, with output to a file, and ends with its parent. */
static void become(const postgres *p, const struct passwd *user) {
    char log[640];
    (void)snprintf(log, sizeof log, "%s/log", p->dir);
    if (user != NULL && (initgroups(user->pw_name, user->pw_gid) != 0 ||
                         setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0)) {
        _exit(126);
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGQUIT);
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (chdir(p->dir) != 0 || fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0) {
        _exit(126);
    }
}

static pid_t spawn(const postgres *p, const char *program, char *const *arguments) {
    char path[512];
    const struct passwd *user = user_for();
    (void)snprintf(path, sizeof path, "%s/%s", p->bin, program);
    pid_t pid = fork();
    if (pid == 0) {
        become(p, user);
        (void)execv(path, arguments);
        _exit(127);
    }
    BENCH_CHECK(pid > 0);
    return pid;
}

/* The last line of the server's log. */
static void last_words(const postgres *p, char *out, size_t size) {
    char path[640];
    char line[512];
    (void)snprintf(path, sizeof path, "%s/log", p->dir);
    FILE *file = fopen(path, "r");
    (void)snprintf(out, size, "it says nothing");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n\"\\")] = '\0';
        if (line[0] != '\0') {
            (void)snprintf(out, size, "%s", line);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

static bool make_dir(postgres *p, char *missing, size_t missing_bytes) {
    const struct passwd *user = user_for();
    const char *dir = bench_path("postgres");
    char parent[512];
    (void)snprintf(p->dir, sizeof p->dir, "%s", dir);
    (void)snprintf(parent, sizeof parent, "%s", bench_path("."));
    if (mkdir(dir, 0700) != 0 || strlen(dir) > 80) {
        (void)snprintf(missing, missing_bytes, "%s cannot hold its socket", dir);
        return false;
    }
    /* That user has to come through. */
    if (user != NULL && (chown(dir, user->pw_uid, user->pw_gid) != 0 || chmod(parent, 0711) != 0)) {
        (void)snprintf(missing, missing_bytes, "%s cannot be given to another user", dir);
        return false;
    }
    return true;
}

static bool init_database(const postgres *p, char *missing, size_t missing_bytes) {
    char *arguments[] = {"initdb", "-D", "data", "-A",         "trust",     "-U",
                         "bench",  "-E", "UTF8", "--locale=C", "--no-sync", NULL};
    int status = 0;
    pid_t pid = spawn(p, "initdb", arguments);
    BENCH_CHECK(waitpid(pid, &status, 0) == pid);
    if (status != 0) {
        char words[512];
        last_words(p, words, sizeof words);
        (void)snprintf(missing, missing_bytes, "initdb failed: %s", words);
    }
    return status == 0;
}

static PGconn *connect_to(const postgres *p) {
    char info[640];
    (void)snprintf(info, sizeof info, "host=%s port=5432 user=bench dbname=postgres", p->dir);
    return PQconnectdb(info);
}

static bool start_server(postgres *p, int threads) {
    char workers[64], gather[64];
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    char buffers[64], cache[64];
    (void)snprintf(buffers, sizeof buffers, "shared_buffers=%lluMB",
                   (unsigned long long)(memory / 4 >> 20));
    (void)snprintf(cache, sizeof cache, "effective_cache_size=%lluMB",
                   (unsigned long long)(memory / 2 >> 20));
    (void)snprintf(workers, sizeof workers, "max_parallel_workers=%d", threads);
    (void)snprintf(gather, sizeof gather, "max_parallel_workers_per_gather=%d", threads);
    static char *const fixed[] = {"listen_addresses=",        "work_mem=512MB",
                                  "maintenance_work_mem=1GB", "synchronous_commit=off",
                                  "wal_level=minimal",        "max_wal_senders=0",
                                  "max_wal_size=16GB",        "autovacuum=off",
                                  "random_page_cost=1.1",     "effective_io_concurrency=200",
                                  "checkpoint_timeout=1h"};
    char *arguments[64] = {"postgres", "-D", "data", "-k", p->dir, "-p", "5432"};
    char *own[] = {buffers, cache, workers, gather};
    size_t at = 7;
    for (size_t i = 0; i < BENCH_COUNT_OF(own); i++) {
        arguments[at++] = "-c";
        arguments[at++] = own[i];
    }
    for (size_t i = 0; i < BENCH_COUNT_OF(fixed); i++) {
        arguments[at++] = "-c";
        arguments[at++] = fixed[i];
    }
    p->pid = spawn(p, "postgres", arguments);
    int used = snprintf(p->settings, sizeof p->settings,
                        "over a UNIX socket, one connection, statements prepared, answers binary; "
                        "%s, %s, %s, %s",
                        buffers, cache, workers, gather);
    for (size_t i = 1; i < BENCH_COUNT_OF(fixed); i++) {
        used += snprintf(p->settings + used, sizeof p->settings - (size_t)used, ", %s", fixed[i]);
    }
    (void)snprintf(p->settings + used, sizeof p->settings - (size_t)used,
                   "; COPY of binary rows in one transaction, then indexes, VACUUM ANALYZE");
    for (int i = 0; i < START_SECONDS_MAX * 20; i++) {
        p->connection = connect_to(p);
        if (PQstatus(p->connection) == CONNECTION_OK) {
            p->appending = connect_to(p);
            return PQstatus(p->appending) == CONNECTION_OK;
        }
        PQfinish(p->connection);
        p->connection = NULL;
        bench_sleep_ns(BENCH_SECOND_NS / 20);
    }
    return false;
}

static bool find_binaries(postgres *p) {
    glob_t found = {0};
    const char *given = getenv("POSTGRES_BIN");
    if (given != NULL) {
        (void)snprintf(p->bin, sizeof p->bin, "%s", given);
    } else if (glob(BINARIES, 0, NULL, &found) == 0) {
        /* Names rise with the versions. */
        (void)snprintf(p->bin, sizeof p->bin, "%s", found.gl_pathv[found.gl_pathc - 1]);
        *strrchr(p->bin, '/') = '\0';
    }
    globfree(&found);
    return p->bin[0] != '\0';
}

postgres *postgres_open(int threads, char *missing, size_t missing_bytes) {
    postgres *p = bench_alloc(sizeof *p);
    if (!find_binaries(p)) {
        (void)snprintf(missing, missing_bytes, "it is not installed");
    } else if (make_dir(p, missing, missing_bytes) && init_database(p, missing, missing_bytes)) {
        if (start_server(p, threads)) {
            p->copy = bench_alloc(COPY_BYTES_MAX);
            bench_print_fact("PostgreSQL", "%s",
                             PQparameterStatus(p->connection, "server_version"));
            return p;
        }
        char words[512];
        last_words(p, words, sizeof words);
        (void)snprintf(missing, missing_bytes, "it does not start: %s", words);
    }
    postgres_close(&p);
    return NULL;
}

const char *postgres_settings(const postgres *p) {
    return p->settings;
}

void postgres_close(postgres **handle) {
    postgres *p = *handle;
    if (p == NULL) {
        return;
    }
    PQfinish(p->connection);
    PQfinish(p->appending);
    if (p->pid > 0) {
        (void)kill(p->pid, SIGQUIT); /* nothing of it is needed any more */
        (void)waitpid(p->pid, NULL, 0);
    }
    if (p->dir[0] != '\0') {
        bench_remove(p->dir);
    }
    free(p->copy);
    free(p);
    *handle = NULL;
}

/* --- tables --- */

static void run(PGconn *connection, const char *sql) {
    PGresult *result = PQexec(connection, sql);
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN) {
        bench_fail("PostgreSQL: %s: %s", sql, PQerrorMessage(connection));
    }
    PQclear(result);
}

/* Columns of eight bytes, then enumerations, then text: none is padded. */
static int rank(const tape_field_info *field) {
    return field->kind == TAPE_FIELD_ENUM ? 1 : field->kind == TAPE_FIELD_ID ? 2 : 0;
}

static void create_enum(postgres *p, const tape_table_info *table, const tape_field_info *field) {
    char sql[1024];
    int used = snprintf(sql, sizeof sql, "CREATE TYPE %s_%s AS ENUM (", table->name, field->name);
    bool first = true;
    for (size_t i = 0; i < field->enum_count; i++) {
        if (field->enum_names[i] != NULL) {
            used += snprintf(sql + used, sizeof sql - (size_t)used, "%s'%s'", first ? "" : ", ",
                             field->enum_names[i]);
            first = false;
        }
    }
    (void)snprintf(sql + used, sizeof sql - (size_t)used, ")");
    run(p->connection, sql);
}

static void create_table(postgres *p, const tape_table_info *table) {
    char sql[2048];
    int used = snprintf(sql, sizeof sql, "CREATE TABLE %s (", table->name);
    bool first = true;
    for (int wanted = 0; wanted < 3; wanted++) {
        for (uint32_t i = 0; i < table->field_count; i++) {
            const tape_field_info *field = &table->fields[i];
            char type[128];
            if (rank(field) != wanted) {
                continue;
            }
            if (field->kind == TAPE_FIELD_ENUM) {
                create_enum(p, table, field);
            }
            (void)snprintf(type, sizeof type, "%s_%s", table->name, field->name);
            used += snprintf(sql + used, sizeof sql - (size_t)used, "%s%s %s", first ? "" : ", ",
                             field->name,
                             field->kind == TAPE_FIELD_U64    ? "bigint"
                             : field->kind == TAPE_FIELD_TIME ? "timestamp"
                             : field->kind == TAPE_FIELD_F64  ? "double precision"
                             : field->kind == TAPE_FIELD_ENUM ? type
                                                              : "text");
            first = false;
        }
    }
    (void)snprintf(sql + used, sizeof sql - (size_t)used, ")");
    run(p->connection, sql);
}

static void put(postgres *p, const void *data, size_t bytes) {
    memcpy(p->copy + p->copy_bytes, data, bytes);
    p->copy_bytes += bytes;
}

static void put_16(postgres *p, uint16_t value) {
    value = __builtin_bswap16(value);
    put(p, &value, sizeof value);
}

static void put_text(postgres *p, const char *text, size_t bytes) {
    uint32_t length = __builtin_bswap32((uint32_t)bytes);
    put(p, &length, sizeof length);
    put(p, text, bytes);
}

static void put_64(postgres *p, uint64_t value) {
    value = __builtin_bswap64(value);
    put_text(p, (const char *)&value, sizeof value);
}

static void put_field(postgres *p, const tape_field_info *field, const uint8_t *row, uint64_t seq) {
    const uint8_t *at = row + field->offset;
    uint64_t word = 0;
    if (field->kind == TAPE_FIELD_ENUM) {
        const char *name = field->enum_names[*at];
        BENCH_CHECK(name != NULL);
        put_text(p, name, strlen(name));
    } else if (field->kind == TAPE_FIELD_ID) {
        put_text(p, (const char *)at, strnlen((const char *)at, field->size_bytes));
    } else {
        memcpy(&word, at, sizeof word);
        if (field->kind == TAPE_FIELD_TIME) {
            BENCH_CHECK(word % 1000 == 0);
            word = (uint64_t)(((int64_t)word - EPOCH_NS) / 1000);
        }
        put_64(p, field->kind == TAPE_FIELD_U64 ? seq : word);
    }
}

static void flush(postgres *p, PGconn *connection) {
    if (PQputCopyData(connection, (const char *)p->copy, (int)p->copy_bytes) != 1) {
        bench_fail("PostgreSQL: %s", PQerrorMessage(connection));
    }
    p->copy_bytes = 0;
}

static void put_header(postgres *p) {
    static const char header[19] = "PGCOPY\n\377\r\n\0"; /* flags and extension: none */
    put(p, header, sizeof header);
}

static void put_rows(postgres *p, PGconn *connection, const tape_table_info *table,
                     const uint8_t *rows, size_t count, uint64_t first_seq) {
    for (size_t k = 0; k < count; k++, rows += table->size_bytes) {
        if (p->copy_bytes > COPY_BYTES_MAX - 2048) {
            flush(p, connection);
        }
        put_16(p, (uint16_t)table->field_count);
        for (int wanted = 0; wanted < 3; wanted++) {
            for (uint32_t i = 0; i < table->field_count; i++) {
                if (rank(&table->fields[i]) == wanted) {
                    put_field(p, &table->fields[i], rows, first_seq + k);
                }
            }
        }
    }
}

static void end_copy(postgres *p, PGconn *connection) {
    put_16(p, UINT16_MAX);
    flush(p, connection);
    if (PQputCopyEnd(connection, NULL) != 1) {
        bench_fail("PostgreSQL: %s", PQerrorMessage(connection));
    }
    PGresult *result;
    while ((result = PQgetResult(connection)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            bench_fail("PostgreSQL: %s", PQerrorMessage(connection));
        }
        PQclear(result);
    }
}

void postgres_load_begin(postgres *p, uint16_t table) {
    char sql[128];
    run(p->connection, "BEGIN");
    create_table(p, tape_table(table));
    (void)snprintf(sql, sizeof sql, "COPY %s FROM STDIN (FORMAT binary, FREEZE)",
                   tape_table(table)->name);
    run(p->connection, sql);
    put_header(p);
}

void postgres_load(postgres *p, uint16_t table, const void *rows, size_t count,
                   uint64_t first_seq) {
    put_rows(p, p->connection, tape_table(table), rows, count, first_seq);
}

void postgres_load_end(postgres *p, uint16_t table) {
    (void)table;
    end_copy(p, p->connection);
    run(p->connection, "COMMIT");
}

void postgres_append(postgres *p, uint16_t table, const void *rows, size_t count,
                     uint64_t first_seq) {
    char sql[128];
    (void)snprintf(sql, sizeof sql, "COPY %s FROM STDIN (FORMAT binary)", tape_table(table)->name);
    run(p->appending, sql);
    put_header(p);
    put_rows(p, p->appending, tape_table(table), rows, count, first_seq);
    end_copy(p, p->appending);
}

void postgres_settle(postgres *p) {
    run(p->connection, "CREATE UNIQUE INDEX trades_seq ON trades (seq)");
    run(p->connection, "CREATE UNIQUE INDEX orders_key ON orders (order_id)");
    run(p->connection, "CREATE INDEX ticks_time ON ticks (instrument_id, ts) INCLUDE (last_price)");
    run(p->connection, "VACUUM ANALYZE");
    run(p->connection, "CHECKPOINT");
    char sql[64];
    (void)snprintf(sql, sizeof sql, "SET statement_timeout = '%ds'", POSTGRES_SECONDS_MAX);
    run(p->connection, sql);
}

/* --- queries --- */

static const char *prepared_for(postgres *p, const char *sql) {
    static char names[STATEMENTS_MAX][8];
    for (size_t i = 0; i < STATEMENTS_MAX; i++) {
        (void)snprintf(names[i], sizeof names[i], "s%zu", i);
        if (p->statements[i] == sql) {
            return names[i];
        }
        if (p->statements[i] == NULL) {
            PGresult *result = PQprepare(p->connection, names[i], sql, 0, NULL);
            if (PQresultStatus(result) != PGRES_COMMAND_OK) {
                bench_fail("PostgreSQL: %s: %s", sql, PQerrorMessage(p->connection));
            }
            PQclear(result);
            p->statements[i] = sql;
            return names[i];
        }
    }
    bench_fail("more than %d statements", STATEMENTS_MAX);
}

static void read_column(const PGresult *result, int column, answer *out) {
    Oid type = PQftype(result, column);
    for (int row = 0; row < PQntuples(result); row++) {
        const char *data = PQgetvalue(result, row, column);
        size_t bytes = (size_t)PQgetlength(result, row, column);
        uint64_t word = 0;
        double real = 0;
        if (PQgetisnull(result, row, column)) {
            continue;
        }
        if (type != OID_INT8 && type != OID_FLOAT8 && type != OID_TIMESTAMP) {
            answer_add_text(out, (uint32_t)column, data, bytes);
            continue;
        }
        memcpy(&word, data, sizeof word);
        word = __builtin_bswap64(word);
        memcpy(&real, &word, sizeof real);
        if (type == OID_TIMESTAMP) {
            answer_add_time(out, (uint32_t)column, (int64_t)word * 1000 + EPOCH_NS);
        } else {
            answer_add(out, (uint32_t)column, type == OID_INT8 ? (double)(int64_t)word : real);
        }
    }
}

int64_t postgres_query(postgres *p, const char *sql, const char *param, answer *out) {
    const char *name = prepared_for(p, sql);
    int64_t start_ns = bench_now_ns();
    PGresult *result =
        PQexecPrepared(p->connection, name, param == NULL ? 0 : 1, &param, NULL, NULL, 1);
    int64_t elapsed_ns = bench_now_ns() - start_ns;
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state != NULL && strcmp(state, QUERY_CANCELED) == 0) {
        PQclear(result);
        return -1;
    }
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        bench_fail("PostgreSQL: %s: %s", sql, PQerrorMessage(p->connection));
    }
    *out = (answer){.rows = (uint64_t)PQntuples(result), .columns = (uint32_t)PQnfields(result)};
    BENCH_CHECK(out->columns <= ANSWER_COLUMNS_MAX);
    for (int c = 0; c < PQnfields(result); c++) {
        read_column(result, c, out);
    }
    PQclear(result);
    return elapsed_ns;
}

uint64_t postgres_heap_bytes(postgres *p, uint16_t table) {
    char sql[128];
    (void)snprintf(sql, sizeof sql, "SELECT pg_relation_size('%s')", tape_table(table)->name);
    PGresult *result = PQexec(p->connection, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK) {
        bench_fail("PostgreSQL: %s: %s", sql, PQerrorMessage(p->connection));
    }
    uint64_t bytes = strtoull(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return bytes;
}
