/* A scan's rows as an Arrow stream, of the columns and types that SQL gives. */
#ifndef CLI_ROWS_H
#define CLI_ROWS_H

#include "cli/result_internal.h"

typedef struct rows_source {
    const tape_table_info *table;
    /* The next rows, good until the next call; *count 0 ends them. */
    tape_status (*next)(void *context, const void **rows, size_t *count, tape_error *error);
    void *context;
} rows_source;

/* `source` and what it points to outlive the stream. */
void rows_stream(const rows_source *source, struct ArrowArrayStream *out);

#endif
