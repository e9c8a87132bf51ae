/* The primitives of docs/arithmetic.md in plain C. */
#ifndef INTCODEC_CORE_INTEGERS_H
#define INTCODEC_CORE_INTEGERS_H

#include <stdint.h>

/* Arithmetic shift floor(v / 2^s) without C's implementation-defined right shift of negative numbers. Compilers turn it
 * into one instruction. */
static inline int32_t ic_sar(int32_t v, int s) {
    return v < 0 ? ~(int32_t)((uint32_t)~v >> s) : (int32_t)((uint32_t)v >> s);
}

/* Wrapping sum and product: what the SIMD instructions do. */
static inline int32_t ic_add(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
static inline int32_t ic_mul(int32_t a, int32_t b) { return (int32_t)((uint32_t)a * (uint32_t)b); }

static inline int32_t ic_clamp(int32_t v, int32_t lo, int32_t hi) { return v < lo ? lo : v > hi ? hi : v; }

/* clamp((v + half) >> s, lo, hi), half = 2^(s-1) or 0 */
static inline int32_t ic_rescale(int32_t v, int s, int32_t lo, int32_t hi) {
    return ic_clamp(ic_sar(ic_add(v, (int32_t)((1u << s) >> 1)), s), lo, hi);
}

/* floor(sqrt(n)) digit by digit. */
static inline int32_t ic_isqrt(int32_t n) {
    uint32_t rest = (uint32_t)n, root = 0;
    for (uint32_t bit = 1u << 30; bit; bit >>= 2) {
        const uint32_t trial = root + bit;
        root >>= 1;
        if (rest >= trial) {
            rest -= trial;
            root += bit;
        }
    }
    return (int32_t)root;
}

/* One value of the second half of GDN. r is at least 1 for every norm that the contract allows; the guard keeps a
 * broken model from dividing by zero. */
static inline int32_t ic_gdn_value(int32_t x, int32_t norm, int32_t numerator, int shift, int32_t lo, int32_t hi,
                                   int inverse) {
    const int32_t r = ic_isqrt(norm), m = inverse ? r : numerator / (r ? r : 1);
    return ic_rescale(ic_mul(x, m), shift, lo, hi);
}

#endif
