/* Arrow schemas, arrays and streams made by hand, for tests. */
#ifndef CLI_RESULT_FIXTURE_H
#define CLI_RESULT_FIXTURE_H

#include "cli/result_internal.h"

#define FIXTURE_CHILDREN_MAX 24

/* Everything made lives until fixture_end. */
void fixture_begin(void);
void fixture_end(void);

struct ArrowSchema *fixture_schema(const char *format, const char *name, size_t children,
                                   struct ArrowSchema *const *child);
/* The buffers in `data` stay the caller's; null_count -1. */
struct ArrowArray *fixture_array(int64_t length, int64_t offset, size_t buffers,
                                 const void *const *data, size_t children,
                                 struct ArrowArray *const *child);

typedef struct fixture_stream {
    struct ArrowSchema *schema;
    struct ArrowArray *batches[4];
    size_t count;
    size_t next;
    int fail_with; /* errno after the last batch, or 0 */
    const char *fail_text;
    unsigned released; /* streams and batches given back */
} fixture_stream;
struct ArrowArrayStream fixture_open(fixture_stream *s);

/* All of a result as text; the caller frees. `*status` is what result_write returned. */
char *fixture_write(fixture_stream *s, const result_options *options, size_t *size,
                    tape_status *status, tape_error *error);

/* A column of every layout, four rows: schema, and the same rows in two arrays, of which one has
 * every kind of offset. */
struct ArrowSchema *fixture_all_schema(void);
struct ArrowArray *fixture_all_plain(void);
struct ArrowArray *fixture_all_sliced(void);

#endif
