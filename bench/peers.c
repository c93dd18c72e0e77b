/* The machine and the device themselves: what nothing that stores a record can undercut. */
#include "peers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- copy and checksum --- */

struct limit {
    uint8_t *ring;
    uint64_t mask;
    uint64_t position;
    uint32_t crc; /* kept, so that the sums are computed */
    uint8_t *records;
};

#if defined(__x86_64__)
#define CRC_TARGET __attribute__((target("sse4.2")))
#define CRC_WORD(crc, word) ((uint32_t)__builtin_ia32_crc32di((crc), (word)))
#define CRC_BYTE(crc, byte) __builtin_ia32_crc32qi((crc), (byte))
#elif defined(__ARM_FEATURE_CRC32)
#include <arm_acle.h>
#define CRC_TARGET
#define CRC_WORD(crc, word) __crc32cd((crc), (word))
#define CRC_BYTE(crc, byte) __crc32cb((crc), (byte))
#else
#error "the limit needs a processor with a CRC-32C instruction"
#endif

CRC_TARGET BENCH_INLINE uint32_t crc_words(uint32_t crc, const uint8_t *p, size_t size_bytes) {
    for (; size_bytes >= 8; p += 8, size_bytes -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        crc = CRC_WORD(crc, word);
    }
    for (; size_bytes > 0; p++, size_bytes--) {
        crc = CRC_BYTE(crc, *p);
    }
    return crc;
}

CRC_TARGET uint32_t bench_crc32c(uint32_t crc, const void *data, size_t size_bytes) {
    return ~crc_words(~crc, data, size_bytes);
}

limit *limit_create(uint64_t ring_bytes) {
    limit *l = bench_alloc(sizeof *l);
    l->ring = bench_alloc(ring_bytes);
    l->mask = ring_bytes - 1;
    l->records = bench_alloc(BENCH_TICKS_DISTINCT * LIMIT_FRAME_BYTES);
    uint64_t seed = 1;
    for (size_t i = 0; i < BENCH_TICKS_DISTINCT * LIMIT_FRAME_BYTES; i++) {
        l->records[i] = (uint8_t)bench_random(&seed);
    }
    return l;
}

void limit_destroy(limit **l) {
    free((*l)->ring);
    free((*l)->records);
    free(*l);
    *l = NULL;
}

CRC_TARGET BENCH_INLINE void limit_loop(limit *l, uint64_t ops, uint32_t group, bool fenced,
                                        bench_histogram *h) {
    uint64_t overhead = bench_group_overhead(group, fenced);
    uint64_t position = l->position;
    uint32_t crc = l->crc;
    for (uint64_t done = 0; done < ops; done += group) {
        uint64_t start = bench_ticks();
        for (uint32_t i = 0; i < group; i++) {
            uint8_t *to = l->ring + (position & l->mask);
            memcpy(to, l->records + (done + i) % BENCH_TICKS_DISTINCT * LIMIT_FRAME_BYTES,
                   LIMIT_FRAME_BYTES);
            crc ^= crc_words(~0u, to, LIMIT_FRAME_BYTES);
            position += LIMIT_FRAME_BYTES;
            if (fenced) {
                bench_fence();
            }
        }
        bench_add(h, bench_elapsed(start, overhead));
    }
    l->position = position;
    l->crc = crc;
}

CRC_TARGET void limit_run(limit *l, uint64_t ops, uint32_t group, bool fenced, bench_histogram *h) {
    if (fenced) {
        limit_loop(l, ops, group, true, h);
    } else {
        limit_loop(l, ops, group, false, h);
    }
}

/* --- write and sync --- */

struct raw_file {
    int fd;
    uint64_t position;
    uint64_t size_bytes;
};

raw_file *raw_create(const char *path, uint64_t size_bytes) {
    raw_file *raw = bench_alloc(sizeof *raw);
    raw->fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    raw->size_bytes = size_bytes;
    uint8_t *zeros = bench_alloc(BENCH_MIB(1));
    BENCH_CHECK(raw->fd >= 0 && size_bytes % BENCH_MIB(1) == 0);
    for (uint64_t at = 0; at < size_bytes; at += BENCH_MIB(1)) {
        if (pwrite(raw->fd, zeros, BENCH_MIB(1), (off_t)at) != (ssize_t)BENCH_MIB(1)) {
            bench_fail("%s could not be filled: %s", path, strerror(errno));
        }
    }
    BENCH_CHECK(fsync(raw->fd) == 0);
    free(zeros);
    return raw;
}

void raw_append_sync(raw_file *raw, const void *data, size_t size_bytes) {
    if (raw->position + size_bytes > raw->size_bytes) {
        raw->position = 0;
    }
    ssize_t wrote = pwrite(raw->fd, data, size_bytes, (off_t)raw->position);
    if (wrote != (ssize_t)size_bytes || fdatasync(raw->fd) != 0) {
        bench_fail("raw write and sync: %s", strerror(errno));
    }
    raw->position += size_bytes;
}

void raw_close(raw_file **raw) {
    (void)close((*raw)->fd);
    free(*raw);
    *raw = NULL;
}
