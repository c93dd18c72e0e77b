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
