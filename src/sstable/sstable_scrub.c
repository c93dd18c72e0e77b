/* sstable_scrub.c: reads a table file from the device and compares it with what the manifest says.
 *
 * The page cache would answer with bytes that were read, and checked, long ago; rot is on the
 * device. Where a file system refuses to read past the cache, the cache is read. */
#include "sstable/sstable_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <xxhash.h>

#define PIECE_BYTES MIB(1)

/* The file's footer, gathered from the end of the pieces, and the hash of what is before it. */
typedef struct scrub_state {
    XXH3_state_t *content;
    uint64_t content_bytes;
    uint8_t footer[SSTABLE_FOOTER_BYTES];
} scrub_state;

static void scrub_take(scrub_state *s, uint64_t offset, const uint8_t *piece, size_t size) {
    size_t content = 0;
    if (offset < s->content_bytes) {
        uint64_t left = s->content_bytes - offset;
        content = size < left ? size : (size_t)left;
        (void)XXH3_64bits_update(s->content, piece, content);
    }
    if (content < size) {
        memcpy(s->footer + (offset + content - s->content_bytes), piece + content, size - content);
    }
}

static tape_status scrub_read(os_file *file, const sstable_info *info, scrub_state *s,
                              uint8_t *piece, bool (*beat)(void *context, uint64_t bytes),
                              void *context, tape_error *error) {
    const char *path = os_file_path(file);
    for (uint64_t offset = 0; offset < info->size_bytes; offset += PIECE_BYTES) {
        uint64_t left = info->size_bytes - offset;
        size_t wanted = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        size_t got = 0;
        tape_status status = os_file_read(file, offset, piece, PIECE_BYTES, &got, error);
        if (status != TAPE_OK) {
            return status;
        }
        if (got != wanted) {
            return error_set_file(error, TAPE_CORRUPT, path, offset + got,
                                  "%s: the file ends at offset %" PRIu64 ", expected %" PRIu64
                                  " bytes; " SSTABLE_RESTORE_HINT,
                                  path, offset + got, info->size_bytes);
        }
        scrub_take(s, offset, piece, got);
        if (!beat(context, got)) {
            return error_set_file(error, TAPE_CANCELLED, path, offset,
                                  "%s: the scrub was cancelled", path);
        }
    }
    return TAPE_OK;
}

tape_status sstable_scrub(const sstable_place *place, const sstable_info *info,
                          bool (*beat)(void *context, uint64_t bytes), void *context,
                          tape_error *error) {
    char *path = sstable_path(place->dir, info->number);
    scrub_state s = {.content = XXH3_createState()};
    uint8_t *piece = aligned_alloc(OS_DIRECT_ALIGN, PIECE_BYTES);
    os_file *file = NULL;
    uint64_t size = 0;
    ASSERT(s.content != NULL && piece != NULL && info->size_bytes > SSTABLE_FOOTER_BYTES);
    (void)XXH3_64bits_reset(s.content);
    s.content_bytes = info->size_bytes - SSTABLE_FOOTER_BYTES;
    tape_status status =
        sstable_file_open(place, path, OS_READ | OS_DIRECT, info, &file, &size, error);
    if (status == TAPE_INVALID) {
        status = sstable_file_open(place, path, OS_READ, info, &file, &size, error);
    }
    if (status == TAPE_OK) {
        status = scrub_read(file, info, &s, piece, beat, context, error);
    }
    if (status == TAPE_OK) {
        sstable_footer footer;
        status = sstable_footer_read(s.footer, info->size_bytes, path, place->store_id,
                                     info->number, info, &footer, error);
    }
    uint64_t actual = XXH3_64bits_digest(s.content);
    if (status == TAPE_OK && actual != info->content_xxh3) {
        status =
            error_set_file(error, TAPE_CORRUPT, path, TAPE_NO_OFFSET,
                           "%s: the content on the device is damaged: hash expected "
                           "0x%016" PRIx64 ", actual 0x%016" PRIx64 "; `tape verify` says where",
                           path, info->content_xxh3, actual);
    }
    os_file_close(&file);
    (void)XXH3_freeState(s.content);
    free(piece);
    free(path);
    return status;
}
