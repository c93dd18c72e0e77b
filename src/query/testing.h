/* What the tests of this module share: columns to ask about, and answers as text. */
#ifndef QUERY_TESTING_H
#define QUERY_TESTING_H

#include "columns/columns.h"

#include <tape/tape.h>

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Adds one record with the next seq; `more` when the next belongs to the same append. */
void testing_add(columns *c, uint16_t table, const void *record, int64_t ts, bool more);

/* The rows of a stream, cells joined by '|' and rows ended by '\n', NULL as "NULL". Fails the test
 * on an error unless `failed` is given: then it gets the errno value. Releases the stream. Caller
 * frees. */
char *testing_text(struct ArrowArrayStream *stream, int *failed);

/* A new empty directory, and its removal with all files in it. */
char *testing_dir(void);
void testing_dir_remove(char *dir);
/* DIR/NAME; caller frees. */
char *testing_path(const char *dir, const char *name);
void testing_write(const char *path, const void *data, size_t size);
void testing_write_gzip(const char *path, const void *data, size_t size);
void testing_write_zstd(const char *path, const void *data, size_t size);
char *testing_read(const char *path, size_t *size);

uint64_t testing_random(uint64_t *state);

#endif
