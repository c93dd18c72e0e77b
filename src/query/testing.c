#include "query/testing.h"

#include "os/os.h"

#include <zlib.h>
#include <zstd.h>

void testing_add(columns *c, uint16_t table, const void *record, int64_t ts, bool more) {
    static uint64_t seq;
    static bool inside; /* an append */
    if (!inside) {
        seq = columns_seq(c);
    }
    inside = more;
    const tape_table_info *info = record_table(table);
    record_view view = {.table = info,
                        .payload = record,
                        .size = info->size_bytes,
                        .version = info->version,
                        .flags = more ? RECORD_MORE : 0,
                        .seq = ++seq,
                        .ts = ts};
    tape_error error;
    if (columns_apply(c, &view, 1, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

/* --- streams --- */

static bool bit(const void *bits, int64_t index) {
    return bits == NULL || (((const uint8_t *)bits)[index / 8] >> (index % 8) & 1) != 0;
}

static void append_scalar(buffer *out, const char *format, const struct ArrowArray *array,
                          int64_t row) {
    const void *data = array->buffers[1];
    char text[40];
    switch (format[0]) {
    case 'b':
        buffer_append_text(out, bit(data, row) ? "true" : "false");
        break;
    case 'i':
        buffer_printf(out, "%d", ((const int32_t *)data)[row]);
        break;
    case 'l':
    case 't':
        buffer_printf(out, "%lld", (long long)((const int64_t *)data)[row]);
        break;
    case 'L':
        buffer_printf(out, "%llu", (unsigned long long)((const uint64_t *)data)[row]);
        break;
    case 'g':
        buffer_append(out, text, number_format_f64(((const double *)data)[row], text));
        break;
    case 'u': {
        const int32_t *offsets = data;
        buffer_append(out, (const char *)array->buffers[2] + offsets[row],
                      (size_t)(offsets[row + 1] - offsets[row]));
        break;
    }
    default:
        buffer_printf(out, "<%s>", format);
        break;
    }
}

static void append_cell(buffer *out, const struct ArrowSchema *schema,
                        const struct ArrowArray *array, int64_t row) {
    row += array->offset;
    if (!bit(array->buffers[0], row)) {
        buffer_append_text(out, "NULL");
        return;
    }
    if (strncmp(schema->format, "+w:", 3) != 0) {
        append_scalar(out, schema->format, array, row);
        return;
    }
    int64_t count = strtoll(schema->format + 3, NULL, 10);
    for (int64_t n = 0; n < count; n++) {
        buffer_append_text(out, n == 0 ? "[" : ",");
        append_scalar(out, schema->children[0]->format, array->children[0],
                      array->children[0]->offset + row * count + n);
    }
    buffer_append_text(out, "]");
}

char *testing_text(struct ArrowArrayStream *stream, int *failed) {
    struct ArrowSchema schema;
    buffer out = {0};
    assert_int_equal(stream->get_schema(stream, &schema), 0);
    for (;;) {
        struct ArrowArray array;
        int failure = stream->get_next(stream, &array);
        if (failed != NULL) {
            *failed = failure;
        } else if (failure != 0) {
            fail_msg("%s", stream->get_last_error(stream));
        }
        if (failure != 0 || array.release == NULL) {
            break;
        }
        for (int64_t row = 0; row < array.length; row++) {
            for (int64_t c = 0; c < schema.n_children; c++) {
                buffer_append(&out, "|", c > 0);
                append_cell(&out, schema.children[c], array.children[c], row + array.offset);
            }
            buffer_append(&out, "\n", 1);
        }
        array.release(&array);
    }
    schema.release(&schema);
    stream->release(stream);
    buffer_append(&out, "", 1);
    return (char *)out.data;
}

/* --- files --- */

char *testing_dir(void) {
    const char *base = getenv("TMPDIR");
    char *dir = mem_printf("%s/tape-test-XXXXXX", base == NULL ? "/tmp" : base);
    assert_non_null(mkdtemp(dir));
    return dir;
}

static void remove_entry(void *context, const char *name, bool is_dir, uint64_t size) {
    tape_error error;
    (void)size;
    char *path = testing_path(context, name);
    tape_status status = is_dir ? os_dir_remove(os_disk_linux(), path, &error)
                                : os_remove(os_disk_linux(), path, &error);
    assert_int_equal(status, TAPE_OK);
    free(path);
}

void testing_dir_remove(char *dir) {
    tape_error error;
    assert_int_equal(os_dir_list(os_disk_linux(), dir, remove_entry, dir, &error), TAPE_OK);
    assert_int_equal(os_dir_remove(os_disk_linux(), dir, &error), TAPE_OK);
    free(dir);
}

char *testing_path(const char *dir, const char *name) {
    return mem_printf("%s/%s", dir, name);
}

void testing_write(const char *path, const void *data, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

void testing_write_gzip(const char *path, const void *data, size_t size) {
    gzFile file = gzopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(gzwrite(file, data, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
}

void testing_write_zstd(const char *path, const void *data, size_t size) {
    size_t room = ZSTD_compressBound(size);
    void *packed = mem_alloc(room);
    size_t packed_size = ZSTD_compress(packed, room, data, size, 3);
    assert_false(ZSTD_isError(packed_size));
    testing_write(path, packed, packed_size);
    free(packed);
}

char *testing_read(const char *path, size_t *size) {
    char *data;
    tape_error error;
    if (os_read_small(os_disk_linux(), path, &data, size, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
    return data;
}

uint64_t testing_random(uint64_t *state) {
    *state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* --- a small exchange --- */
#define MS INT64_C(1000000)

static void stats(void *context, tape_stats *out) {
    (void)context;
    out->written = 7;
    out->queryable = 6;
    out->rows[TAPE_TABLE_TRADES] = 5;
    out->owner_pid = 123;
    memcpy(out->sync_method, "fdatasync", sizeof "fdatasync");
}

void market_open_query(market *m, uint64_t memory_bytes, bool spill) {
    tape_error error;
    query_options options = {.columns = m->columns,
                             .temp_dir = spill ? m->dir : NULL,
                             .memory_bytes = memory_bytes,
                             .threads = 2,
                             .running_max = m->running_max,
                             .cache_bytes = m->cache_bytes,
                             .get = m->get,
                             .stats = stats,
                             .context = m->context};
    if (query_open(&m->query, &options, &error) != TAPE_OK) {
        fail_msg("%s", error.text);
    }
}

market market_open(void) {
    market m = {.dir = testing_dir()};
    tape_error error;
    columns_options options = {.bytes_max = GIB(1)};
    assert_int_equal(columns_create(&m.columns, &options, &error), TAPE_OK);
    market_open_query(&m, MIB(512), true);
    return m;
}

void market_close(market *m) {
    query_close(&m->query);
    columns_close(&m->columns);
    testing_dir_remove(m->dir);
}

void market_add_trade(market *m, const char *id, const char *user, const char *instrument,
                      tape_side side, double price, double volume, int64_t ts) {
    tape_trade t = {.side = (uint8_t)side, .price = price, .volume = volume};
    memcpy(t.trade_id, id, strlen(id));
    memcpy(t.user_id, user, strlen(user));
    memcpy(t.instrument_id, instrument, strlen(instrument));
    testing_add(m->columns, TAPE_TABLE_TRADES, &t, ts, false);
}

void market_add_order(market *m, const char *id, double filled, tape_order_status status) {
    tape_order o = {.side = TAPE_SIDE_BUY,
                    .price = 3900,
                    .volume = 10,
                    .filled_volume = filled,
                    .status = (uint8_t)status};
    memcpy(o.order_id, id, strlen(id));
    memcpy(o.user_id, "u1", 2);
    memcpy(o.instrument_id, "IF2601", 6);
    testing_add(m->columns, TAPE_TABLE_ORDERS, &o, MARKET_T0, false);
}

/* seq 1..12 */
void market_fill(market *m) {
    tape_account account = {.user_id = "u1", .balance = 1000, .available = 900};
    tape_position position = {
        .user_id = "u1", .instrument_id = "IF2601", .long_volume = 2, .long_price = 3890};
    tape_instrument instrument = {.instrument_id = "IF2601", .volume_multiplier = 300};
    tape_tick tick = {.instrument_id = "IF2601", .last_price = 3901};
    tape_depth depth = {.instrument_id = "IF2601", .bid_price = {3900, 3899.8}};
    market_add_trade(m, "t1", "u1", "IF2601", TAPE_SIDE_BUY, 3900, 1, MARKET_T0);
    market_add_trade(m, "t2", "", "IF2601", TAPE_SIDE_SELL, 3902, 3, MARKET_T0 + 10000 * MS);
    market_add_trade(m, "a-trade-id-of-more-than-twelve-bytes", "u1", "IF2602", TAPE_SIDE_ABSENT,
                     3950.5, 2, MARKET_T0 + 70000 * MS);
    market_add_order(m, "o1", 0, TAPE_ORDER_STATUS_ACCEPTED);
    market_add_order(m, "o2", 0, TAPE_ORDER_STATUS_ACCEPTED);
    market_add_order(m, "o1", 4, TAPE_ORDER_STATUS_PARTIAL);
    market_add_order(m, "o1", 10, TAPE_ORDER_STATUS_FILLED);
    testing_add(m->columns, TAPE_TABLE_ACCOUNTS, &account, MARKET_T0, false);
    testing_add(m->columns, TAPE_TABLE_POSITIONS, &position, MARKET_T0, false);
    testing_add(m->columns, TAPE_TABLE_INSTRUMENTS, &instrument, MARKET_T0, false);
    testing_add(m->columns, TAPE_TABLE_TICKS, &tick, MARKET_T0 + 1, false);
    testing_add(m->columns, TAPE_TABLE_DEPTH, &depth, MARKET_T0, false);
}

tape_status market_run(market *m, const char *sql, uint64_t seq, const tape_query_options *options,
                       struct ArrowArrayStream *out, tape_error *error) {
    tape_query_options defaults = {.size_bytes = sizeof defaults, .timeout_ns = -1};
    return query_run(m->query, sql, seq, options == NULL ? &defaults : options, out, error);
}

char *market_answer_at(market *m, const char *sql, uint64_t seq) {
    struct ArrowArrayStream stream;
    tape_error error;
    if (market_run(m, sql, seq, NULL, &stream, &error) != TAPE_OK) {
        fail_msg("%s: %s", sql, error.text);
    }
    return testing_text(&stream, NULL);
}

void market_check_at(market *m, const char *sql, uint64_t seq, const char *want) {
    char *got = market_answer_at(m, sql, seq);
    if (strcmp(got, want) != 0) {
        fail_msg("%s\ngot:\n%swant:\n%s", sql, got, want);
    }
    free(got);
}

void market_check(market *m, const char *sql, const char *want) {
    market_check_at(m, sql, columns_seq(m->columns), want);
}
