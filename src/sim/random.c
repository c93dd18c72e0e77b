/* Random numbers for the order flow: xoshiro256** seeded by splitmix64.
 *
 * Invariants
 *  1 Integer arithmetic only: a seed gives the same numbers on every machine and compiler. */
#include "sim/sim_internal.h"

void sim_random_init(sim_random *r, uint64_t seed) {
    for (size_t i = 0; i < COUNT_OF(r->state); i++) {
        seed += UINT64_C(0x9e3779b97f4a7c15);
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        r->state[i] = z ^ (z >> 31);
    }
}

static uint64_t rotate_left(uint64_t v, int bits) {
    return (v << bits) | (v >> (64 - bits));
}

uint64_t sim_random_next(sim_random *r) {
    uint64_t *s = r->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint32_t sim_random_below(sim_random *r, uint32_t n) {
    return (uint32_t)(((sim_random_next(r) >> 32) * n) >> 32);
}

#define LOG_BITS 16 /* fraction bits of a logarithm */

/* 2^LOG_BITS * log2(v), v not 0: the exponent is the position of the highest bit; squaring the
 * mantissa doubles its logarithm, which brings the fraction's bits out one by one. */
static uint64_t log2_fixed(uint64_t v) {
    unsigned exponent = 63u - (unsigned)__builtin_clzll(v);
    uint64_t mantissa = (v << (63u - exponent)) >> 32; /* [2^31, 2^32) stands for [1, 2) */
    uint64_t result = exponent;
    for (int i = 0; i < LOG_BITS; i++) {
        mantissa = (mantissa * mantissa) >> 31;
        uint64_t bit = mantissa >> 32;
        mantissa >>= bit;
        result = (result << 1) | bit;
    }
    return result;
}

int64_t sim_random_exponential(sim_random *r, int64_t mean) {
    const uint64_t ln2 = 45426; /* 2^LOG_BITS * ln(2) */
    uint64_t below_zero = ((uint64_t)64 << LOG_BITS) - log2_fixed(sim_random_next(r) | 1);
    uint64_t natural = (below_zero * ln2) >> LOG_BITS; /* -ln(u), LOG_BITS of fraction */
    return (int64_t)(((uint64_t)mean * natural) >> LOG_BITS);
}
