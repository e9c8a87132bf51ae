/* The instruction-set layer: three small functions per set, one table entry each, every entry exact to the bit.
 *
 * Theory of operation. All heavy work of an integer network is one shape: for some output pixels and a block of output
 * channels ("lanes"), a dot product over a few runs of contiguous int16 values (one run per kernel row, kw * C long)
 * with exact int32 accumulation. `dot` computes it in a register tile of several pixels by up to `lanes` channels and
 * requantises in the registers. A run is read as pairs of int16 because every SIMD set has the pair product (pmaddwd,
 * vpdpwssd, two smlal, dot_i16x8_s). `square` and `roots` are the two halves of GDN around the same `dot`.
 *
 * The contract is docs/arithmetic.md; scalar.c is its plain form in C and the truth for the other files. Sums wrap
 * modulo 2^32 in every set alike, so a model without a proof gives wrong pixels but never undefined behaviour.
 */
#ifndef INTCODEC_KERNELS_H
#define INTCODEC_KERNELS_H

#include <stddef.h>
#include <stdint.h>

/* Lanes come in groups of this many: one AVX-512 register of int32. */
#define IC_GROUP 16

#if defined(__x86_64__) && defined(__GNUC__)
#define IC_X86 1
#endif
#if defined(__aarch64__) && defined(__GNUC__) && !defined(__AARCH64EB__)
#define IC_NEON 1
#endif
#if defined(__wasm_simd128__)
#define IC_WASM 1
#endif

/* One row of output pixels times one block of lanes. Strides are in elements. */
typedef struct {
    const int16_t *x;      /* first tap of the first pixel; one element past each odd run may be read */
    ptrdiff_t x_pixel;     /* from a pixel's taps to the next pixel's */
    ptrdiff_t x_row;       /* from a run to the next */
    int rows, pairs;       /* runs, and int16 pairs per run */
    int tap_pairs;         /* pairs per tap where neighbouring pixels' taps overlap in whole pairs (stride 1), else 0 */
    const int16_t *weight; /* [rows][pairs][lanes][2], or [rows][pairs][2][lanes] where the set is `planar` */
    const int32_t *bias;   /* [lanes], the rounding constant included */
    const int32_t *shift;  /* [lanes], 0..30 */
    int32_t lo, hi, slope; /* clamp, then LeakyReLU where slope != 0 */
    void *out;             /* int32 where `wide`, else int16 */
    ptrdiff_t out_pixel;
    int wide;
} IcDot;

/* The second half of GDN: y = clamp((x * m + half) >> shift), m = isqrt(norm) or numerator / isqrt(norm). */
typedef struct {
    const int32_t *norm;
    ptrdiff_t norm_pixel;
    const int16_t *x;
    int16_t *out; /* may be x */
    ptrdiff_t x_pixel, out_pixel;
    const int32_t *numerator, *shift, *half; /* [channels], half = 2^(shift-1) */
    int32_t lo, hi;
    int inverse;
    int small; /* every quotient is below 2^19: a float estimate is less than one off */
    int channels, pixels;
} IcRoots;

/* A row of two tensors, pixels * channels values that lie together on either side (docs/arithmetic.md, section 6). */
typedef struct {
    const int16_t *a, *b;
    int16_t *out16; /* one of the two is NULL */
    int32_t *out32;
    const int32_t *a_shift, *b_shift; /* add: [channels] */
    const int32_t *shift, *half;      /* [channels], half = 2^(shift-1) or 0 */
    const int32_t *table;             /* gate: values for b = table_lo .. table_lo + table_last */
    int32_t table_lo, table_last, lo, hi;
    int channels, pixels;
} IcPair;

struct IcFlow;
struct IcTiles;

typedef struct {
    const char *name;
    int lanes;  /* channels per block of packed weights, a multiple of IC_GROUP */
    int planar; /* layout of a weight pair, see IcDot.weight */
    int (*supported)(void);
    void (*dot)(const IcDot *d, int groups, int pixels); /* groups: lanes of this block / IC_GROUP */
    void (*square)(const int16_t *x, int16_t *q, int count, int shift);
    void (*roots)(const IcRoots *g);
    void (*add)(const IcPair *g);
    void (*gate)(const IcPair *g);
    void (*index)(int32_t *v, int count, const int32_t *threshold, int thresholds); /* in place */
    /* winograd.h; NULL where convolutions are computed directly */
    void (*tile_in)(const int16_t *const *row, ptrdiff_t column, int channels, int across, int16_t *v, ptrdiff_t plane);
    void (*tile_out)(const struct IcTiles *g);
    const struct IcFlow *flow; /* flow.h; NULL where no clips are coded */
} IcIsa;

extern const IcIsa ic_scalar, ic_avx2, ic_avx512vnni, ic_neon, ic_wasm;

/* Best set that this machine supports, at most `name` (NULL: no cap). NULL if `name` is unknown or not available. */
const IcIsa *ic_isa_find(const char *name);
/* The i-th compiled set, fastest first, NULL past the last. */
const IcIsa *ic_isa_at(int i);

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

/* floor(sqrt(n)) digit by digit: integers only. */
static inline int32_t ic_isqrt(int32_t n) {
    uint32_t rest = (uint32_t)n, root = 0;
    for (uint32_t bit = 1u << 30; bit; bit >>= 2) {
        uint32_t trial = root + bit;
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
    int32_t r = ic_isqrt(norm);
    int32_t m = inverse ? r : numerator / (r ? r : 1);
    return ic_rescale(ic_mul(x, m), shift, lo, hi);
}

/* The plain form of `roots` for the channels from c on: the scalar set's, and what is left of a vector. */
static inline void ic_roots_tail(const IcRoots *g, int c) {
    for (; c < g->channels; c++)
        for (int p = 0; p < g->pixels; p++)
            g->out[p * g->out_pixel + c] =
                (int16_t)ic_gdn_value(g->x[p * g->x_pixel + c], g->norm[p * g->norm_pixel + c], g->numerator[c],
                                      g->shift[c], g->lo, g->hi, g->inverse);
}

/* clamp((v + half) >> s) in unsigned steps that a vector set has one instruction each for: adding 2^31 turns the
 * arithmetic shift into a logical one. */
static inline int32_t ic_pair_value(uint32_t v, int32_t half, int32_t s, int32_t lo, int32_t hi) {
    const uint32_t top = 0x80000000u;
    return ic_clamp((int32_t)(((v + (uint32_t)half + top) >> s) - (top >> s)), lo, hi);
}

/* Bodies of every set's `add` and `gate`, like `square`'s. The sums wrap; a gate's index is held inside its table
 * whatever the values are. */
static inline uint32_t ic_sum(const IcPair *g, ptrdiff_t i, int c) {
    return ((uint32_t)(int32_t)g->a[i] << g->a_shift[c]) + ((uint32_t)(int32_t)g->b[i] << g->b_shift[c]);
}
static inline uint32_t ic_product(const IcPair *g, ptrdiff_t i, int c) {
    (void)c;
    return (uint32_t)(int32_t)g->a[i] * (uint32_t)g->table[ic_clamp(g->b[i] - g->table_lo, 0, g->table_last)];
}
#define IC_PAIR_BODY(g, VALUE)                                                                                  \
    do {                                                                                                        \
        const IcPair q = *(g); /* a copy: no store through `out` can change it */                               \
        const int32_t *const half = q.half, *const shift = q.shift;                                             \
        for (ptrdiff_t p = 0, at = 0; p < q.pixels; p++, at += q.channels) {                                    \
            if (q.out16) {                                                                                      \
                int16_t *restrict out = q.out16 + at;                                                           \
                for (int c = 0; c < q.channels; c++)                                                            \
                    out[c] = (int16_t)ic_pair_value(VALUE(&q, at + c, c), half[c], shift[c], q.lo, q.hi);       \
            } else {                                                                                            \
                int32_t *restrict out = q.out32 + at;                                                           \
                for (int c = 0; c < q.channels; c++)                                                            \
                    out[c] = ic_pair_value(VALUE(&q, at + c, c), half[c], shift[c], q.lo, q.hi);                \
            }                                                                                                   \
        }                                                                                                       \
    } while (0)

/* Body of every set's `index`: the thresholds below each value. Counting them all is quicker than a search, in vectors. */
static inline void ic_index_body(int32_t *v, int count, const int32_t *threshold, int thresholds) {
    enum { PART = 64 };
    for (int i = 0; i < count; i += PART) {
        int32_t value[PART] = {0}, below[PART] = {0};
        const int n = count - i < PART ? count - i : PART;
        for (int k = 0; k < n; k++) value[k] = v[i + k];
        for (int t = 0; t < thresholds; t++)
            for (int k = 0; k < PART; k++) below[k] += threshold[t] < value[k];
        for (int k = 0; k < n; k++) v[i + k] = below[k];
    }
}

/* Body of every set's `square`; the compiler vectorises it for the set whose function includes it. */
static inline void ic_square_body(const int16_t *x, int16_t *q, int count, int shift) {
    const int32_t half = (int32_t)((1u << shift) >> 1);
    for (int i = 0; i < count; i++) q[i] = (int16_t)(((int32_t)x[i] * x[i] + half) >> shift); /* never negative */
}

#endif
