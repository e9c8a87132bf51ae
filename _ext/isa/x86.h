/* What AVX2 and AVX-512 share beside vector.h. Define TARGET, INLINE and REGISTER (their vector type) before. */

typedef int32_t pair_t __attribute__((may_alias, aligned(2))); /* two int16 at any int16 address */

/* A pair of inputs in every lane, in one load. */
INLINE REGISTER pair_at(const char *x) {
    REGISTER v;
    __asm__("vpbroadcastd %1, %0" : "=v"(v) : "m"(*(const pair_t *)x));
    return v;
}
