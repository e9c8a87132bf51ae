/* AVX2: a register tile of 6 pixels by 16 lanes, vpmaddwd and vpaddd.
 *
 * 12 accumulators, 2 weight vectors, 1 broadcast and 1 product are all 16 registers. vpmaddwd of two int16 pairs is
 * exact here: weights and activations are never -32768 on both sides.
 */
#include "kernels.h"

#ifdef IC_X86
#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define INLINE static inline TARGET __attribute__((always_inline))

static int supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}

typedef int32_t pair_t __attribute__((may_alias, aligned(2))); /* two int16 at any int16 address */

INLINE __m256i pair_at(const char *x) {
    __m256i v;
    __asm__("vpbroadcastd %1, %0" : "=x"(v) : "m"(*(const pair_t *)x));
    return v;
}

INLINE __m256i finish(const IcDot *d, __m256i acc, const int32_t *shift) {
    __m256i r = _mm256_srav_epi32(acc, _mm256_loadu_si256((const __m256i *)shift));
    r = _mm256_min_epi32(_mm256_max_epi32(r, _mm256_set1_epi32(d->lo)), _mm256_set1_epi32(d->hi));
    if (d->slope) {
        const __m256i product = _mm256_mullo_epi32(r, _mm256_set1_epi32(d->slope));
        const __m256i leaky = _mm256_srai_epi32(_mm256_add_epi32(product, _mm256_set1_epi32(1 << 15)), 16);
        r = _mm256_blendv_epi8(r, leaky, _mm256_srai_epi32(r, 31));
    }
    return r;
}

INLINE __m256i pack(__m256i a, __m256i b) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8); }

INLINE void tile(const IcDot *d, const int16_t *x, char *out, const int pixels) {
    __m256i acc[12];
    const ptrdiff_t s = 2 * d->x_pixel;
    const char *weight = (const char *)d->weight;
#pragma GCC unroll 6
    for (int p = 0; p < pixels; p++) {
        acc[2 * p] = _mm256_loadu_si256((const __m256i *)d->bias);
        acc[2 * p + 1] = _mm256_loadu_si256((const __m256i *)(d->bias + 8));
    }
    for (int r = 0; r < d->rows; r++, x += d->x_row) {
        const char *x0 = (const char *)x, *x3 = x0 + 3 * s;
        for (int k = d->pairs; k > 0; k--, weight += 64, x0 += 4, x3 += 4) {
            const __m256i w0 = _mm256_loadu_si256((const __m256i *)weight);
            const __m256i w1 = _mm256_loadu_si256((const __m256i *)(weight + 32));
#pragma GCC unroll 6
            for (int p = 0; p < pixels; p++) {
                const __m256i b = pair_at((p < 3 ? x0 : x3) + (p % 3) * s);
                acc[2 * p] = _mm256_add_epi32(acc[2 * p], _mm256_madd_epi16(w0, b));
                acc[2 * p + 1] = _mm256_add_epi32(acc[2 * p + 1], _mm256_madd_epi16(w1, b));
            }
        }
    }
#pragma GCC unroll 6
    for (int p = 0; p < pixels; p++) {
        const __m256i a = finish(d, acc[2 * p], d->shift), b = finish(d, acc[2 * p + 1], d->shift + 8);
        __m256i *at = (__m256i *)(out + (d->wide ? 4 : 2) * p * d->out_pixel);
        if (d->wide) _mm256_storeu_si256(at, a), _mm256_storeu_si256(at + 1, b);
        else _mm256_storeu_si256(at, pack(a, b));
    }
}

static TARGET void dot(const IcDot *d, int groups, int pixels) {
    const int16_t *x = d->x;
    char *out = d->out;
    const ptrdiff_t step = (d->wide ? 4 : 2) * d->out_pixel;
    (void)groups; /* always one */
    for (; pixels >= 6; pixels -= 6, x += 6 * d->x_pixel, out += 6 * step) tile(d, x, out, 6);
    for (; pixels >= 3; pixels -= 3, x += 3 * d->x_pixel, out += 3 * step) tile(d, x, out, 3);
    for (; pixels >= 1; pixels -= 1, x += d->x_pixel, out += step) tile(d, x, out, 1);
}

static TARGET void square(const int16_t *x, int16_t *q, int count, int shift) { ic_square_body(x, q, count, shift); }

/* isqrt and quotient as in avx512vnni.c: a float estimate below the true value by less than 1, then one comparison. */
INLINE __m256i isqrt(__m256i n) {
    const __m256 f = _mm256_mul_ps(_mm256_sqrt_ps(_mm256_cvtepi32_ps(n)), _mm256_set1_ps(1.0f - 0x1p-20f));
    const __m256i r = _mm256_cvttps_epi32(f);
    const __m256i rest = _mm256_sub_epi32(n, _mm256_madd_epi16(r, r)); /* r < 2^15: the low halves give r * r */
    return _mm256_sub_epi32(r, _mm256_cmpgt_epi32(rest, _mm256_add_epi32(r, r))); /* a mask is -1 */
}

INLINE __m256i divide(__m256i k, __m256i r, int small) {
    if (small) {
        const __m256 f = _mm256_mul_ps(_mm256_cvtepi32_ps(k), _mm256_set1_ps(1.0f - 0x1p-21f));
        const __m256i q = _mm256_cvttps_epi32(_mm256_div_ps(f, _mm256_cvtepi32_ps(r)));
        const __m256i rest = _mm256_sub_epi32(k, _mm256_mullo_epi32(q, r));
        return _mm256_add_epi32(q, _mm256_add_epi32(_mm256_cmpgt_epi32(r, rest), _mm256_set1_epi32(1)));
    }
    const __m256d a = _mm256_div_pd(_mm256_cvtepi32_pd(_mm256_castsi256_si128(k)),
                                    _mm256_cvtepi32_pd(_mm256_castsi256_si128(r)));
    const __m256d b = _mm256_div_pd(_mm256_cvtepi32_pd(_mm256_extracti128_si256(k, 1)),
                                    _mm256_cvtepi32_pd(_mm256_extracti128_si256(r, 1)));
    return _mm256_set_m128i(_mm256_cvttpd_epi32(b), _mm256_cvttpd_epi32(a));
}

INLINE void roots_at(const IcRoots *g, const int c, const int inverse, const int small) {
    const __m256i lo = _mm256_set1_epi32(g->lo), hi = _mm256_set1_epi32(g->hi);
    const __m256i shift = _mm256_loadu_si256((const __m256i *)(g->shift + c));
    const __m256i half = _mm256_loadu_si256((const __m256i *)(g->half + c));
    const __m256i numerator = _mm256_loadu_si256((const __m256i *)(g->numerator + c));
    const int32_t *norm = g->norm + c;
    const int16_t *x = g->x + c;
    int16_t *out = g->out + c;
    for (int p = g->pixels; p > 0; p--, norm += g->norm_pixel, x += g->x_pixel, out += g->out_pixel) {
        const __m256i r = isqrt(_mm256_loadu_si256((const __m256i *)norm));
        const __m256i v = _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)x));
        /* A root is below 2^15: its high half is 0, and the low halves give the product. */
        const __m256i product =
            inverse ? _mm256_madd_epi16(v, r) : _mm256_mullo_epi32(v, divide(numerator, r, small));
        __m256i y = _mm256_srav_epi32(_mm256_add_epi32(product, half), shift);
        y = _mm256_min_epi32(_mm256_max_epi32(y, lo), hi);
        _mm_storeu_si128((__m128i *)out, _mm256_castsi256_si128(pack(y, y)));
    }
}

static TARGET void roots(const IcRoots *g) {
    int c = 0;
    for (; c + 8 <= g->channels; c += 8) {
        if (g->inverse) roots_at(g, c, 1, 1);
        else if (g->small) roots_at(g, c, 0, 1);
        else roots_at(g, c, 0, 0);
    }
    ic_roots_tail(g, c);
}

static TARGET void add(const IcPair *g) { IC_PAIR_BODY(g, ic_sum); }
static TARGET void gate(const IcPair *g) { IC_PAIR_BODY(g, ic_product); }
static TARGET void index_of(int32_t *v, int count, const int32_t *threshold, int thresholds) {
    ic_index_body(v, count, threshold, thresholds);
}

#define VECTOR 32
#define FINISH(d, v, shift) finish(d, (__m256i)(v), shift)
#define NARROW(at, v) \
    _mm_storeu_si128((__m128i *)(at), _mm256_castsi256_si128(pack((__m256i)(v), (__m256i)(v))))
#include "flow_rows.h"
#include "tiles.h"

const IcIsa ic_avx2 = {"avx2", IC_GROUP, 0, supported, dot, square, roots, add, gate, index_of,
                            tile_in, tile_out, &flow_loops};
#endif
