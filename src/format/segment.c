/* Segment headers, the store's salt and the chained hash: see format.h. */
#include "format/format.h"

#include <stdlib.h>
#include <xxhash.h>

static uint32_t segment_header_checksum(const segment_header *header) {
    segment_header copy = *header;
    copy.crc32c = 0;
    return crc32c(0, &copy, sizeof copy);
}

void segment_header_seal(segment_header *header) {
    header->magic = SEGMENT_MAGIC;
    header->format_version = FORMAT_VERSION;
    header->crc32c = segment_header_checksum(header);
}

tape_status segment_header_check(const segment_header *header, const uint8_t store_id[16],
                                 uint64_t index, const char *file, tape_error *error) {
    if (header->magic != SEGMENT_MAGIC) {
        return error_set_file(error, TAPE_CORRUPT, file, 0,
                              "%s at offset 0: not a journal segment: magic expected %016llx, "
                              "actual %016llx",
                              file, (unsigned long long)SEGMENT_MAGIC,
                              (unsigned long long)header->magic);
    }
    uint32_t actual = segment_header_checksum(header);
    if (actual != header->crc32c) {
        return error_set_file(error, TAPE_CORRUPT, file, 12,
                              "%s at offset 12: wrong header checksum: expected %08x, actual %08x",
                              file, header->crc32c, actual);
    }
    if (header->format_version > FORMAT_VERSION) {
        return error_set_file(
            error, TAPE_NEWER, file, 8,
            "%s has format version %u, this tape reads up to %u: use a newer tape", file,
            header->format_version, FORMAT_VERSION);
    }
    if (memcmp(header->store_id, store_id, 16) != 0) {
        return error_set_file(error, TAPE_CORRUPT, file, 16,
                              "%s at offset 16: the segment belongs to another store", file);
    }
    if (header->index != index) {
        return error_set_file(
            error, TAPE_CORRUPT, file, 32,
            "%s at offset 32: segment number expected %llu, actual %llu: the file "
            "stands in another one's place",
            file, (unsigned long long)index, (unsigned long long)header->index);
    }
    return TAPE_OK;
}

uint64_t format_salt(const uint8_t store_id[16]) {
    return XXH3_64bits(store_id, 16);
}

struct chain {
    XXH3_state_t *state;
};

chain *chain_create(void) {
    chain *c = mem_zalloc(sizeof *c);
    c->state = XXH3_createState();
    ASSERT(c->state != NULL);
    return c;
}

void chain_destroy(chain **c) {
    if (*c != NULL) {
        (void)XXH3_freeState((*c)->state);
        free(*c);
        *c = NULL;
    }
}

void chain_start(chain *c, const uint8_t previous[16]) {
    (void)XXH3_128bits_reset(c->state);
    (void)XXH3_128bits_update(c->state, previous, 16);
}

void chain_add(chain *c, const void *data, size_t size) {
    (void)XXH3_128bits_update(c->state, data, size);
}

void chain_finish(chain *c, uint8_t out[16]) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(c->state));
    memcpy(out, canonical.digest, 16);
}
