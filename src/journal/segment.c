/* Segment files: names, headers, making the next one.
 *
 * Invariants
 *  S1 a file under its final name has a synced header and a body of full size; it was renamed there
 *     after the sync, and the directory was synced before any record went into it.
 *  S2 indexes are consecutive; only the lowest are ever removed, lowest first. */
#include "journal/journal_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ZERO_CHUNK_BYTES MIB(1)

char *segment_path(const journal_place *place, uint64_t index) {
    return mem_printf("%s/%016" PRIx64 SEGMENT_SUFFIX, place->dir, index);
}

typedef struct list_state {
    uint64_t *indexes;
    size_t count;
    size_t capacity;
} list_state;

static void list_visit(void *context, const char *name, bool is_dir, uint64_t size) {
    (void)size;
    list_state *state = context;
    uint64_t index = 0;
    int used = 0;
    if (is_dir || sscanf(name, "%16" SCNx64 SEGMENT_SUFFIX "%n", &index, &used) != 1 ||
        used != 16 + (int)strlen(SEGMENT_SUFFIX) || name[used] != '\0') {
        return;
    }
    if (state->count == state->capacity) {
        state->capacity = state->capacity == 0 ? 64 : 2 * state->capacity;
        state->indexes = mem_realloc(state->indexes, state->capacity * sizeof *state->indexes);
    }
    state->indexes[state->count++] = index;
}

tape_status segment_list_read(const journal_place *place, segment_list *out, tape_error *error) {
    list_state state = {0};
    tape_status status = os_dir_list(place->disk, place->dir, list_visit, &state, error);
    if (status == TAPE_OK && state.count == 0) {
        status = error_set_file(error, TAPE_CORRUPT, place->dir, TAPE_NO_OFFSET,
                                "%s holds no journal segment: restore the store from a snapshot",
                                place->dir);
    }
    /* Names are of equal length, so byte order is the order of indexes. */
    for (size_t i = 1; status == TAPE_OK && i < state.count; i++) {
        if (state.indexes[i] != state.indexes[i - 1] + 1) {
            char *path = segment_path(place, state.indexes[i - 1] + 1);
            status = error_set_file(error, TAPE_CORRUPT, path, TAPE_NO_OFFSET,
                                    "journal segment %s is missing between two others: restore it "
                                    "from a snapshot",
                                    path);
            free(path);
        }
    }
    if (status == TAPE_OK) {
        *out = (segment_list){.first = state.indexes[0], .count = state.count};
    }
    free(state.indexes);
    return status;
}

tape_status segment_header_read(const journal_place *place, uint64_t index, segment_header *out,
                                tape_error *error) {
    char *path = segment_path(place, index);
    os_file *file = NULL;
    size_t got = 0;
    uint64_t size = 0;
    tape_status status = os_file_open(place->disk, path, OS_READ, &file, error);
    if (status == TAPE_OK) {
        status = os_file_read(file, 0, out, sizeof *out, &got, error);
    }
    if (status == TAPE_OK) {
        status = os_file_size(file, &size, error);
    }
    if (status == TAPE_OK && size != SEGMENT_HEADER_BYTES + place->identity.segment_bytes) {
        status = error_set_file(error, TAPE_CORRUPT, path, size,
                                "%s: size expected %" PRIu64 ", actual %" PRIu64
                                ": the segment is cut or grown",
                                path, SEGMENT_HEADER_BYTES + place->identity.segment_bytes, size);
    }
    if (status == TAPE_OK) {
        ASSERT(got == sizeof *out);
        status = segment_header_check(out, place->identity.store_id, index, path, error);
    }
    if (status == TAPE_OK && out->body_bytes != place->identity.segment_bytes) {
        status = error_set_file(error, TAPE_CORRUPT, path, 40,
                                "%s at offset 40: body size expected %" PRIu64 ", actual %" PRIu64,
                                path, place->identity.segment_bytes, out->body_bytes);
    }
    os_file_close(&file);
    free(path);
    return status;
}

static char *temporary_path(const journal_place *place) {
    return mem_printf("%s/" SEGMENT_TEMPORARY, place->dir);
}

tape_status segment_prepare(const journal_place *place, tape_error *error) {
    char *path = temporary_path(place);
    uint8_t *zeros = mem_zalloc(ZERO_CHUNK_BYTES);
    os_file *file = NULL;
    uint64_t size = SEGMENT_HEADER_BYTES + place->identity.segment_bytes;
    tape_status status = os_remove(place->disk, path, error);
    if (status == TAPE_NOT_FOUND || status == TAPE_OK) {
        status = os_file_open(place->disk, path, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file, error);
    }
    for (uint64_t at = 0; status == TAPE_OK && at < size; at += ZERO_CHUNK_BYTES) {
        size_t chunk = (size_t)(size - at < ZERO_CHUNK_BYTES ? size - at : ZERO_CHUNK_BYTES);
        status = os_file_write(file, at, zeros, chunk, error);
        /* In pieces, so that a flush of the active segment never queues behind a large one. */
        if (status == TAPE_OK && (at / ZERO_CHUNK_BYTES) % 8 == 7) {
            status = os_file_sync(file, error);
        }
    }
    if (status == TAPE_OK) {
        status = os_file_sync(file, error);
    }
    os_file_close(&file);
    if (status != TAPE_OK) {
        /* A half-made file would only take the space that is missing. */
        tape_status ignored = os_remove(place->disk, path, NULL);
        (void)ignored;
    }
    free(zeros);
    free(path);
    return status;
}

tape_status segment_publish(const journal_place *place, segment_header *header, tape_error *error) {
    uint8_t page[SEGMENT_HEADER_BYTES] = {0};
    memcpy(header->store_id, place->identity.store_id, sizeof header->store_id);
    segment_header_seal(header);
    memcpy(page, header, sizeof *header);
    char *from = temporary_path(place);
    char *to = segment_path(place, header->index);
    os_file *file = NULL;
    tape_status status = os_file_open(place->disk, from, OS_WRITE, &file, error);
    if (status == TAPE_OK) {
        status = os_file_write(file, 0, page, sizeof page, error);
    }
    if (status == TAPE_OK) {
        status = os_file_sync(file, error);
    }
    os_file_close(&file);
    if (status == TAPE_OK) {
        status = os_rename(place->disk, from, to, error);
    }
    if (status == TAPE_OK) {
        status = os_dir_sync(place->disk, place->dir, error);
    }
    free(from);
    free(to);
    return status;
}

tape_status segment_find(const journal_place *place, segment_list segments, uint64_t seq,
                         uint64_t *index, tape_error *error) {
    /* The last segment whose first_seq is at most `seq`, by bisection. */
    uint64_t low = 0;
    uint64_t high = segments.count; /* first_seq of [high, ...) is above seq */
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        segment_header header;
        tape_status status = segment_header_read(place, segments.first + middle, &header, error);
        if (status != TAPE_OK) {
            return status;
        }
        if (header.first_seq <= seq) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == 0) {
        segment_header header;
        tape_status status = segment_header_read(place, segments.first, &header, error);
        if (status != TAPE_OK) {
            return status;
        }
        return error_set(error, TAPE_TOO_OLD,
                         "seq %" PRIu64 " is no longer in the journal: the oldest kept is %" PRIu64,
                         seq, header.first_seq);
    }
    *index = segments.first + low - 1;
    return TAPE_OK;
}
