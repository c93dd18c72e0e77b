/* DIR/TAPE: the identity of a store.
 *
 * Format: text lines, "tape store\nformat 1\nid <32 hex>\nsegment_bytes <n>\ncreated_ns <n>\n" and
 * a last line "crc32c <8 hex>\n" over everything before it. Written once, atomically, and last when
 * a store is made: a directory without it is not a store. */
#include "journal/journal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define IDENTITY_FILE "TAPE"

static char *identity_path(const char *root) {
    return mem_printf("%s/" IDENTITY_FILE, root);
}

static bool identity_hex(const char *text, uint8_t out[16]) {
    for (size_t i = 0; i < 16; i++) {
        unsigned byte = 0;
        if (sscanf(text + 2 * i, "%2x", &byte) != 1) {
            return false;
        }
        out[i] = (uint8_t)byte;
    }
    return true;
}

static tape_status identity_parse(const char *path, const char *text, size_t size,
                                  journal_identity *out, tape_error *error) {
    const char *crc_line = strstr(text, "crc32c ");
    unsigned stored = 0;
    if (strncmp(text, "tape store\n", 11) != 0 || crc_line == NULL ||
        sscanf(crc_line, "crc32c %8x", &stored) != 1) {
        return error_set_file(error, TAPE_CORRUPT, path, 0,
                              "%s is not the identity of a tape store (%zu bytes): restore it from "
                              "a snapshot",
                              path, size);
    }
    uint32_t actual = crc32c(0, text, (size_t)(crc_line - text));
    if (actual != stored) {
        return error_set_file(error, TAPE_CORRUPT, path, 0,
                              "%s: wrong checksum: expected %08x, actual %08x", path, stored,
                              actual);
    }
    unsigned format = 0;
    char id[33] = "";
    if (sscanf(text, "tape store\nformat %u\n", &format) != 1) {
        return error_set_file(error, TAPE_CORRUPT, path, 0, "%s: no format number", path);
    }
    if (format > FORMAT_VERSION) {
        return error_set_file(error, TAPE_NEWER, path, 0,
                              "%s says format %u, this tape reads up to %u: use a newer tape", path,
                              format, FORMAT_VERSION);
    }
    if (sscanf(text,
               "tape store\nformat %u\nid %32s\nsegment_bytes %" SCNu64 "\ncreated_ns %" SCNd64,
               &format, id, &out->segment_bytes, &out->created_ts) != 4 ||
        strlen(id) != 32 || !identity_hex(id, out->store_id) ||
        out->segment_bytes < JOURNAL_SEGMENT_BYTES_MIN ||
        out->segment_bytes > JOURNAL_SEGMENT_BYTES_MAX ||
        (out->segment_bytes & (out->segment_bytes - 1)) != 0) {
        return error_set_file(error, TAPE_CORRUPT, path, 0, "%s: a field is missing or wrong",
                              path);
    }
    return TAPE_OK;
}

tape_status journal_identity_read(os_disk *disk, const char *root, journal_identity *out,
                                  tape_error *error) {
    *out = (journal_identity){0};
    char *path = identity_path(root);
    char *text = NULL;
    size_t size = 0;
    tape_status status = os_read_small(disk, path, &text, &size, error);
    if (status == TAPE_OK) {
        status = identity_parse(path, text, size, out, error);
    } else if (status == TAPE_NOT_FOUND || status == TAPE_INVALID) {
        status = error_set_file(error, TAPE_NO_STORE, root, TAPE_NO_OFFSET,
                                "%s is not a tape store: make one with: tape init %s", root, root);
    }
    free(text);
    free(path);
    return status;
}

static tape_status identity_write(os_disk *disk, const char *root, const journal_identity *identity,
                                  tape_error *error) {
    buffer text = {0};
    buffer_printf(&text, "tape store\nformat %u\nid ", FORMAT_VERSION);
    for (size_t i = 0; i < 16; i++) {
        buffer_printf(&text, "%02x", identity->store_id[i]);
    }
    buffer_printf(&text, "\nsegment_bytes %" PRIu64 "\ncreated_ns %" PRId64 "\n",
                  identity->segment_bytes, identity->created_ts);
    buffer_printf(&text, "crc32c %08x\n", crc32c(0, text.data, text.size));
    char *path = identity_path(root);
    tape_status status = os_write_small(disk, path, text.data, text.size, error);
    free(path);
    buffer_deinit(&text);
    return status;
}

tape_status journal_place_init(journal_place *place, os_disk *disk, const char *root,
                               tape_error *error) {
    *place = (journal_place){.disk = disk};
    tape_status status = journal_identity_read(disk, root, &place->identity, error);
    if (status != TAPE_OK) {
        return status;
    }
    place->root = mem_strdup(root);
    place->dir = mem_printf("%s/journal", root);
    place->salt = format_salt(place->identity.store_id);
    return TAPE_OK;
}

void journal_place_deinit(journal_place *place) {
    free(place->root);
    free(place->dir);
    *place = (journal_place){0};
}

tape_status journal_create(os_disk *disk, const char *root, uint64_t segment_bytes,
                           journal_identity *out, tape_error *error) {
    if (segment_bytes < JOURNAL_SEGMENT_BYTES_MIN || segment_bytes > JOURNAL_SEGMENT_BYTES_MAX ||
        (segment_bytes & (segment_bytes - 1)) != 0) {
        return error_set(error, TAPE_INVALID,
                         "segment_bytes is %" PRIu64 ": it must be a power of two from %" PRIu64
                         " to %" PRIu64,
                         segment_bytes, (uint64_t)JOURNAL_SEGMENT_BYTES_MIN,
                         (uint64_t)JOURNAL_SEGMENT_BYTES_MAX);
    }
    *out = (journal_identity){.segment_bytes = segment_bytes, .created_ts = clock_realtime_ns()};
    os_random(out->store_id, sizeof out->store_id);
    journal_place place = {
        .disk = disk,
        .root = mem_strdup(root),
        .dir = mem_printf("%s/journal", root),
        .identity = *out,
        .salt = format_salt(out->store_id),
    };
    tape_status status = os_dir_make(disk, place.dir, error);
    if (status == TAPE_OK) {
        status = segment_prepare(&place, error);
    }
    if (status == TAPE_OK) {
        segment_header header = {.body_bytes = segment_bytes, .first_seq = 1};
        status = segment_publish(&place, &header, error);
    }
    if (status == TAPE_OK) {
        status = identity_write(disk, root, out, error);
    }
    journal_place_deinit(&place);
    return status;
}
