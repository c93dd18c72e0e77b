/* Which way to make a write durable is fastest on this device: measured once per device and kept.
 *
 * DIR/journal/probe: "device <n>\nmethod <name>\nfdatasync_ns <n>\ndsync_ns <n>\ndirect_ns <n>\n",
 * medians of writing one small run of a zero-filled file and having it durable; 0: not possible. */
#include "journal/journal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define PROBE_FILE_BYTES MIB(1)
#define PROBE_WRITE_BYTES 256u
#define PROBE_ROUNDS 25

const char *sync_method_name(journal_sync method) {
    switch (method) {
    case JOURNAL_SYNC_DSYNC:
        return "O_DSYNC";
    case JOURNAL_SYNC_DIRECT:
        return "O_DIRECT";
    default:
        return "fdatasync";
    }
}

unsigned sync_method_flags(journal_sync method) {
    switch (method) {
    case JOURNAL_SYNC_DSYNC:
        return OS_DSYNC;
    case JOURNAL_SYNC_DIRECT:
        return OS_DSYNC | OS_DIRECT;
    default:
        return 0;
    }
}

static int compare_i64(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Median ns of one durable write, or 0 when the method does not work here. */
static int64_t probe_method(const journal_place *place, const char *path, journal_sync method) {
    os_file *file = NULL;
    int64_t ns[PROBE_ROUNDS];
    bool direct = method == JOURNAL_SYNC_DIRECT;
    size_t size = direct ? OS_DIRECT_ALIGN : PROBE_WRITE_BYTES;
    void *data = aligned_alloc(OS_DIRECT_ALIGN, OS_DIRECT_ALIGN);
    ASSERT(data != NULL);
    memset(data, 0x5a, OS_DIRECT_ALIGN);
    tape_status status =
        os_file_open(place->disk, path, OS_WRITE | sync_method_flags(method), &file, NULL);
    for (size_t i = 0; status == TAPE_OK && i < PROBE_ROUNDS; i++) {
        int64_t start = clock_monotonic_ns();
        status = os_file_write(file, i * (uint64_t)size, data, size, NULL);
        if (status == TAPE_OK && method == JOURNAL_SYNC_FDATASYNC) {
            status = os_file_sync(file, NULL);
        }
        ns[i] = clock_monotonic_ns() - start;
    }
    os_file_close(&file);
    free(data);
    if (status != TAPE_OK) {
        return 0;
    }
    qsort(ns, PROBE_ROUNDS, sizeof ns[0], compare_i64);
    return ns[PROBE_ROUNDS / 2] > 0 ? ns[PROBE_ROUNDS / 2] : 1;
}

static tape_status probe_measure(const journal_place *place, int64_t ns[3], tape_error *error) {
    char *path = mem_printf("%s/probe.tmp", place->dir);
    uint8_t *zeros = mem_zalloc(PROBE_FILE_BYTES);
    os_file *file = NULL;
    tape_status status = os_file_open(place->disk, path, OS_WRITE | OS_CREATE, &file, error);
    if (status == TAPE_OK) {
        status = os_file_write(file, 0, zeros, PROBE_FILE_BYTES, error);
    }
    if (status == TAPE_OK) {
        status = os_file_sync(file, error);
    }
    os_file_close(&file);
    if (status == TAPE_OK) {
        ns[0] = probe_method(place, path, JOURNAL_SYNC_FDATASYNC);
        ns[1] = probe_method(place, path, JOURNAL_SYNC_DSYNC);
        ns[2] = probe_method(place, path, JOURNAL_SYNC_DIRECT);
        status = os_remove(place->disk, path, error);
    }
    free(zeros);
    free(path);
    return status;
}

static const journal_sync probe_methods[] = {JOURNAL_SYNC_FDATASYNC, JOURNAL_SYNC_DSYNC,
                                             JOURNAL_SYNC_DIRECT};

static bool probe_read(const journal_place *place, const char *path, uint64_t device,
                       sync_probe *out) {
    char *text = NULL;
    size_t size = 0;
    uint64_t of_device = 0;
    char name[16] = "";
    bool found = false;
    if (os_read_small(place->disk, path, &text, &size, NULL) == TAPE_OK &&
        sscanf(text, "device %" SCNu64 "\nmethod %15s\nfdatasync_ns %" SCNd64, &of_device, name,
               &out->floor_ns) == 3 &&
        of_device == device) {
        for (size_t i = 0; i < COUNT_OF(probe_methods); i++) {
            if (strcmp(name, sync_method_name(probe_methods[i])) == 0) {
                out->method = probe_methods[i];
                found = true;
            }
        }
    }
    free(text);
    return found;
}

tape_status sync_probe_get(const journal_place *place, bool may_write, sync_probe *out,
                           tape_error *error) {
    os_stat stat;
    tape_status status = os_path_stat(place->disk, place->dir, &stat, error);
    if (status != TAPE_OK) {
        return status;
    }
    char *path = mem_printf("%s/probe", place->dir);
    *out = (sync_probe){.method = JOURNAL_SYNC_FDATASYNC};
    if (!probe_read(place, path, stat.device, out) && may_write) {
        int64_t ns[3] = {0};
        status = probe_measure(place, ns, error);
        size_t best = 0;
        for (size_t i = 1; i < COUNT_OF(ns); i++) {
            /* Only a clear gain is worth leaving the plain way. */
            if (ns[i] != 0 && ns[i] * 10 < ns[best] * 9) {
                best = i;
            }
        }
        out->method = probe_methods[best];
        out->floor_ns = ns[0];
        if (status == TAPE_OK) {
            buffer text = {0};
            buffer_printf(&text,
                          "device %" PRIu64 "\nmethod %s\nfdatasync_ns %" PRId64
                          "\ndsync_ns %" PRId64 "\ndirect_ns %" PRId64 "\n",
                          stat.device, sync_method_name(out->method), ns[0], ns[1], ns[2]);
            status = os_write_small(place->disk, path, text.data, text.size, error);
            buffer_deinit(&text);
        }
    }
    free(path);
    return status;
}
