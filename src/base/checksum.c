/* CRC-32C: the processor's instruction where the build may use it, tables elsewhere. */
#include "base/base.h"

#define CRC32C_POLYNOMIAL_REFLECTED 0x82f63b78u

/* table[k][b]: the checksum of byte b followed by k zero bytes. */
static uint32_t crc32c_table[8][256];
/* Advances a checksum over LANE_BYTES zero bytes, for running three lanes side by side. */
#define LANE_BYTES 256u
static uint32_t crc32c_shift[4][256];

static uint32_t crc32c_shift_zeros(uint32_t crc, size_t count) {
    for (size_t i = 0; i < count; i++) {
        crc = crc32c_table[0][crc & 0xff] ^ (crc >> 8);
    }
    return crc;
}

__attribute__((constructor)) static void crc32c_init(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1) != 0 ? CRC32C_POLYNOMIAL_REFLECTED : 0);
        }
        crc32c_table[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; b++) {
        for (size_t k = 1; k < 8; k++) {
            uint32_t previous = crc32c_table[k - 1][b];
            crc32c_table[k][b] = crc32c_table[0][previous & 0xff] ^ (previous >> 8);
        }
        for (size_t k = 0; k < 4; k++) {
            crc32c_shift[k][b] = crc32c_shift_zeros(b << (8 * k), LANE_BYTES);
        }
    }
}

static uint32_t soft_word(uint32_t crc, uint64_t word) {
    word ^= crc;
    uint32_t out = 0;
    for (size_t k = 0; k < 8; k++) {
        out ^= crc32c_table[7 - k][(word >> (8 * k)) & 0xff];
    }
    return out;
}

static uint32_t soft_bytes(uint32_t crc, const uint8_t *p, size_t size) {
    for (; size >= 8; p += 8, size -= 8) {
        crc = soft_word(crc, load_u64(p));
    }
    for (; size > 0; p++, size--) {
        crc = crc32c_table[0][(crc ^ *p) & 0xff] ^ (crc >> 8);
    }
    return crc;
}

uint32_t crc32c_software(uint32_t crc, const void *data, size_t size) {
    return ~soft_bytes(~crc, data, size);
}

#if defined(CRC32C_WORD)

static uint32_t lane_shift(uint32_t crc) {
    return crc32c_shift[0][crc & 0xff] ^ crc32c_shift[1][(crc >> 8) & 0xff] ^
           crc32c_shift[2][(crc >> 16) & 0xff] ^ crc32c_shift[3][crc >> 24];
}

uint32_t crc32c(uint32_t crc, const void *data, size_t size) {
    const uint8_t *p = data;
    crc = ~crc;
    /* The instruction takes three cycles and one can start every cycle: three lanes fill the pipe.
     */
    while (size >= 3 * LANE_BYTES) {
        uint32_t a = crc;
        uint32_t b = 0;
        uint32_t c = 0;
        for (size_t i = 0; i < LANE_BYTES; i += 8) {
            a = CRC32C_WORD(a, load_u64(p + i));
            b = CRC32C_WORD(b, load_u64(p + LANE_BYTES + i));
            c = CRC32C_WORD(c, load_u64(p + 2 * LANE_BYTES + i));
        }
        crc = lane_shift(lane_shift(a) ^ b) ^ c;
        p += 3 * LANE_BYTES;
        size -= 3 * LANE_BYTES;
    }
    for (; size >= 8; p += 8, size -= 8) {
        crc = CRC32C_WORD(crc, load_u64(p));
    }
    for (; size > 0; p++, size--) {
        crc = CRC32C_BYTE(crc, *p);
    }
    return ~crc;
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t size) {
    return crc32c_software(crc, data, size);
}

#endif
