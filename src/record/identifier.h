/* identifier: the hot path's check of an identifier field: printable ASCII up to the end or to the
 * first zero byte, and zeros from there. Nearly all identifiers are that; of the others,
 * record_id_problem tells whether and why they are wrong.
 *
 * Inline, because the size is a constant where it is called. Two ways that give the same answer. */
#ifndef IDENTIFIER_H
#define IDENTIFIER_H

#include "base/base.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define IDENTIFIER_ONES UINT64_C(0x0101010101010101)

/* Eight bytes at a time; `size` is a multiple of 8. In each word `printable` has 0xff where a byte
 * is in 0x20..0x7e; those must be the low bytes, what is above them zero, and every word after one
 * that is not full must be zero. Additions carry from byte to byte only where a byte has its high
 * bit set, which is wrong already. */
static inline bool identifier_plain_words(const char *id, size_t size) {
    uint64_t wrong = 0;
    uint64_t after_end = 0;
    for (size_t i = 0; i < size; i += 8) {
        uint64_t word = load_u64(id + i);
        uint64_t flags = (word + 0x60 * IDENTIFIER_ONES) & (0x80 * IDENTIFIER_ONES);
        uint64_t printable = (flags << 1) - (flags >> 7);
        wrong |= (word | (word + IDENTIFIER_ONES)) & (0x80 * IDENTIFIER_ONES);
        wrong |= (printable & (printable + 1)) | (word & ~printable) | (word & after_end);
        after_end = ~(uint64_t)((int64_t)printable >> 63);
    }
    return wrong == 0;
}

#if defined(__SSE2__)
/* Sixteen bytes at a time, as masks with a bit for each byte: the printable ones must be the low
 * bits and the rest zero bytes. Compared as signed, bytes from 0x80 up are below the printable
 * ones. */
static inline bool identifier_plain_vectors(const char *id, size_t size) {
    uint64_t printable = 0;
    uint64_t zero = 0;
    for (size_t i = 0; i < size; i += 16) {
        size_t at = size - i < 16 ? size - 16 : i;
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(id + at));
        __m128i above = _mm_cmpgt_epi8(bytes, _mm_set1_epi8(0x1f));
        __m128i delete = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
        __m128i none = _mm_cmpeq_epi8(bytes, _mm_setzero_si128());
        printable |= (uint64_t)_mm_movemask_epi8(_mm_andnot_si128(delete, above)) << at;
        zero |= (uint64_t)_mm_movemask_epi8(none) << at;
    }
    uint64_t all = (UINT64_C(1) << size) - 1;
    return (printable & (printable + 1)) == 0 && (printable | zero) == all;
}
#endif

static inline bool identifier_plain(const char *id, size_t size) {
#if defined(__SSE2__)
    if (size >= 16 && size < 64) {
        return identifier_plain_vectors(id, size);
    }
#endif
    return identifier_plain_words(id, size);
}

#endif
