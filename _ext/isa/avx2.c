/* AVX2: a register tile of 6 pixels by 16 lanes, vpmaddwd and vpaddd.
 *
 * 12 accumulators, 2 weight vectors, 1 broadcast and 1 product are all 16 registers. vpmaddwd of two int16 pairs is
 * exact here: weights and activations are never -32768 on both sides.
 */
#include "isa/sets.h"

#ifdef IC_X86
#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))
#define INLINE static inline TARGET __attribute__((always_inline))
#define REGISTER __m256i
#include "isa/x86.h"

static int supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}

INLINE __m256i pack(__m256i a, __m256i b) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8); }

/* As in avx512vnni.c. */
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

#define VECTOR 32
#define SHIFTS(at) INTS(at)
#define SHIFT(v, by) ((Ints)_mm256_srav_epi32((__m256i)(v), (__m256i)(by)))
#define CLAMP(v, lo, hi) \
    ((Ints)_mm256_min_epi32(_mm256_max_epi32((__m256i)(v), _mm256_set1_epi32(lo)), _mm256_set1_epi32(hi)))
#define NEGATIVE(v, a, b) ((Ints)_mm256_blendv_epi8((__m256i)(b), (__m256i)(a), (__m256i)((v) >> 31)))
#define NARROW(at, v) \
    _mm_storeu_si128((__m128i *)(at), _mm256_castsi256_si128(pack((__m256i)(v), (__m256i)(v))))
#define WIDEN(at) ((Ints)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(at))))
#define ESTIMATE(n) ((Ints)_mm256_cvttps_epi32( \
    _mm256_mul_ps(_mm256_sqrt_ps(_mm256_cvtepi32_ps((__m256i)(n))), _mm256_set1_ps(1.0f - 0x1p-20f))))
#define QUOTIENT(k, r, small) ((Ints)divide((__m256i)(k), (__m256i)(r), small))
#define PRODUCT15(x, m) ((Ints)_mm256_madd_epi16((__m256i)(x), (__m256i)(m))) /* the high half of m is 0 */
#include "isa/loops.h"
#include "isa/vector.h"

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
    const Ints by0 = SHIFTS(d->shift), by1 = SHIFTS(d->shift + 8);
#pragma GCC unroll 6
    for (int p = 0; p < pixels; p++) {
        const __m256i a = (__m256i)finish(d, (Ints)acc[2 * p], by0), b = (__m256i)finish(d, (Ints)acc[2 * p + 1], by1);
        __m256i *at = (__m256i *)(out + (d->wide ? 4 : 2) * p * d->out_pixel);
        if (d->wide) _mm256_storeu_si256(at, a), _mm256_storeu_si256(at + 1, b);
        else _mm256_storeu_si256(at, pack(a, b));
    }
}

static TARGET void dot(const IcDot *d, int groups, int pixels) {
    const int16_t *x = d->x;
    char *out = d->out;
    (void)groups; /* always one */
    EACH(6, tile(d, x, out, 6));
    EACH(3, tile(d, x, out, 3));
    EACH(1, tile(d, x, out, 1));
}

const IcIsa ic_avx2 = {"avx2", IC_GROUP, 0, supported, dot, .roots = roots, .tile_in = tile_in, .tile_out = tile_out,
                       .gate = gate_plain, LOOPS};
#endif
