/* duck, private. */
#ifndef DUCK_INTERNAL_H
#define DUCK_INTERNAL_H

#include "duck/duck.h"
#include "os/os.h"

/* Its declarations leave parameter lists empty. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <duckdb.h>
#pragma GCC diagnostic pop

#include <pthread.h>

struct duck {
    duckdb_database database;
    const columns *columns;
    void (*stats)(void *context, tape_stats *out);
    void *stats_context;
    int threads;
    pthread_mutex_t mutex; /* guards `sessions` */
    duck_session *sessions;
};

struct duck_session {
    duck *duck;
    duck_session *next;
    duckdb_connection connection;
    idx_t connection_id;
    _Atomic uint64_t seq;
    _Atomic bool interrupted; /* by duck_session_interrupt, since the statement started */
    duckdb_prepared_statement parser;
};

/* The session of a connection; it stays open while a statement of it runs. */
duck_session *duck_find_session(duck *d, idx_t connection_id);

/* Registers tape_scan and tape_status. */
tape_status duck_register_functions(duck *d, duckdb_connection connection, tape_error *error);

#endif
