/* Frames: see format.h. */
#include "format/format.h"

uint64_t frame_write(void *frame, uint64_t salt, uint64_t position, uint16_t type, uint16_t version,
                     uint32_t flags, int64_t append_ts, const void *payload, size_t payload_size) {
    ASSERT(position % FRAME_ALIGN == 0);
    ASSERT(payload_size <= FRAME_BYTES_MAX - FRAME_HEADER_BYTES);
    uint8_t *bytes = frame;
    uint32_t size_bytes = (uint32_t)(FRAME_HEADER_BYTES + payload_size);
    uint64_t span = frame_span(size_bytes);
    if (payload_size > 0 && payload != bytes + FRAME_HEADER_BYTES) {
        memcpy(bytes + FRAME_HEADER_BYTES, payload, payload_size);
    }
    memset(bytes + size_bytes, 0, span - size_bytes);
    frame_header header = {
        .size_bytes = size_bytes,
        .type = type,
        .version = version,
        .flags = flags,
        .append_ts = append_ts,
    };
    const uint8_t *body = bytes + FRAME_HEADER_BYTES;
    uint32_t crc = frame_checksum_body(body, payload_size);
    crc = frame_checksum_place(crc, salt, position, body, payload_size);
    header.crc32c = frame_checksum_finish(crc, &header);
    memcpy(bytes, &header, sizeof header);
    return span;
}

frame_verdict frame_read(const void *data, size_t available, uint64_t salt, uint64_t position,
                         frame_header *out, uint32_t *expected, uint32_t *actual) {
    const uint8_t *bytes = data;
    if (available < 8) {
        return FRAME_TRUNCATED;
    }
    if (load_u64(bytes) == 0) {
        return FRAME_ZERO;
    }
    uint32_t size_bytes = load_u32(bytes);
    if (size_bytes < FRAME_HEADER_BYTES || size_bytes > FRAME_BYTES_MAX) {
        return FRAME_BAD_SIZE;
    }
    uint64_t span = frame_span(size_bytes);
    if (span > available) {
        return FRAME_TRUNCATED;
    }
    frame_header header;
    memcpy(&header, bytes, sizeof header);
    const uint8_t *payload = bytes + FRAME_HEADER_BYTES;
    size_t payload_size = size_bytes - FRAME_HEADER_BYTES;
    uint32_t crc = frame_checksum_body(payload, payload_size);
    crc = frame_checksum_place(crc, salt, position, payload, payload_size);
    crc = frame_checksum_finish(crc, &header);
    if (crc != header.crc32c) {
        if (expected != NULL) {
            *expected = header.crc32c;
        }
        if (actual != NULL) {
            *actual = crc;
        }
        return FRAME_BAD_CRC;
    }
    uint64_t at = size_bytes;
    uint64_t rest = 0;
    for (; at % 8 != 0; at++) {
        rest |= bytes[at];
    }
    for (; at < span; at += 8) {
        rest |= load_u64(bytes + at);
    }
    if (rest != 0) {
        return FRAME_BAD_PADDING;
    }
    *out = header;
    return FRAME_VALID;
}

const char *frame_verdict_text(frame_verdict verdict) {
    switch (verdict) {
    case FRAME_VALID:
        return "valid";
    case FRAME_ZERO:
        return "zero bytes where a frame should start";
    case FRAME_TRUNCATED:
        return "a frame longer than the space left for it";
    case FRAME_BAD_SIZE:
        return "a frame size out of range";
    case FRAME_BAD_CRC:
        return "a wrong frame checksum";
    case FRAME_BAD_PADDING:
        return "padding that is not zero";
    }
    return "unknown";
}
